# shellcheck shell=bash disable=SC2046,SC2154
# Memory of 2 workers beside the mapping of 64 MiB that they share, and whether it grows.

# beside PID...: their proportional memory in KiB without the largest mapping that they share.
beside() {
    local pid
    for pid; do cat "/proc/$pid/smaps"; done | awk '
        /^[0-9a-f]+-[0-9a-f]+ / { name = $1; shared = $2 ~ /s$/; next }
        $1 == "Size:" && shared { size[name] = $2 }
        $1 == "Pss:" { pss[name] += $2; sum += $2 }
        END {
            for (name in size) if (size[name] > most) { most = size[name]; largest = name }
            if (most < 65536 * 0.9) { print "there is no shared mapping of 64 MiB" >"/dev/stderr"; exit 1 }
            print sum - pss[largest]
        }'
}

# own PID...: what is theirs alone, in KiB: what a leak would add to. PSS also moves with whoever shares the libraries.
own() { awk '$1 == "Private_Dirty:" { sum += $2 } END { print sum }' $(printf '/proc/%s/smaps_rollup ' "$@"); }

# ask COUNT CONNECTIONS: at least so many requests: hits, misses, lists, 404s and 400s.
ask() {
    local goal
    goal=$(($(count_of "$URL" requests) + $1))
    while (($(count_of "$URL" requests) < goal)); do
        wrk -t1 "-c$2" -d3s --timeout 30s -s "$bench/mixed.lua" "$URL" >"$work/wrk"
    done
    [[ $(count_of "$URL" responses_5xx) == 0 ]] || { echo 'requests failed' >&2; return 1; }
}

memory() {
    local count=$((1000000 / scale)) children workers=() pid before after
    start_stack --set l1.size=64M
    mapfile -t children < <(cat "/proc/$LARDER_PID/task/"*/children | tr ' ' '\n' | grep .)
    for pid in "${children[@]}"; do
        if [[ $(cat "/proc/$pid/comm") == 'larder: worker' ]]; then workers+=("$pid"); fi
    done
    ((${#workers[@]} == 2)) || { echo "there are ${#workers[@]} workers" >&2; return 1; }
    ask $((count / 5)) 32
    reached 'the workers together, beside the mapping' "$(divide "$(beside "${workers[@]}")" 1024)" '<=' 12 MiB
    told 'with the other processes of larder' "$(divide "$(beside "$LARDER_PID" "${children[@]}")" 1024)" MiB
    # With more clients than before growth is looked at: how many requests a worker has in hand at once is luck, and each has its memory.
    ask $((count / 5)) 128
    told 'the workers after 128 clients instead of 32' "$(divide "$(beside "${workers[@]}")" 1024)" MiB
    before=$(own "${workers[@]}")
    ask "$count" 32
    after=$(own "${workers[@]}")
    # The allocator may take a page here and there; losing a byte with each request would be a megabyte.
    reached "grown by, over $count requests" $((after - before)) '<=' 256 KiB
}

figure memory memory 60 'memory of 2 workers with 64 MiB of L1'
