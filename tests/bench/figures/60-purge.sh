# shellcheck shell=bash disable=SC2154
# Purges of very many entries at once: when they are answered, what they cover is gone for readers, however long cleaning up takes.

tag_purge() {
    local count=$((1000000 / scale)) round times=3
    start_stack
    for ((round = 0; round < times; round++)); do
        fill_items "$count"
        client purge "$URL" "$ADMIN_TOKEN" '{"tag": "bench:items"}' 1 $((count - 1)) 500 | tee -a "$work/rounds"
    done
    believe "$work/rounds"
    reached "answer to a purge of $count entries, median of $times" \
        "$(jq -s 'map(.answer_ms) | sort | .[length / 2 | floor]' "$work/rounds")" '<' 5 ms
    reached 'stale reads after it' "$(jq -s 'map(.stale) | add' "$work/rounds")" '=' 0
}

# believe FILE: that larder took the copies for entries before it purged them; else nothing would have been shown.
believe() {
    jq -es 'all(.[]; .copies_before > 0 and .status == 200)' "$1" >/dev/null ||
        { echo "a purge failed, or larder does not answer from the entries that were made:" >&2; cat "$1" >&2; return 1; }
}

# After `fill_items`, this many-digit pattern covers a tenth of the keys, save for those with fewer digits.
pattern_of() { local zeros=${1#1}; echo "bench:item:$2${zeros//0/?}"; }

pattern_purge() {
    local count=$((1000000 / scale)) tenth round pattern purging idle=() busy=() ratios=()
    [[ $count =~ ^10+$ ]] || { skip '--scale must be a power of ten here'; return; }
    tenth=$((count / 10))
    "${CC:-cc}" -O2 -Wall -o "$work/scan_unlink" "$bench/scan_unlink.c" -lhiredis
    start_stack
    pattern=$(pattern_of "$tenth" 1)
    for ((round = 0; round < 3; round++)); do
        fill_items "$count"
        client purge "$URL" "$ADMIN_TOKEN" "{\"pattern\": \"$pattern\"}" "$tenth" $((2 * tenth - 1)) 500 | tee -a "$work/effect"
        fill_items "$count"
        client purge "$URL" "$ADMIN_TOKEN" "{\"pattern\": \"$pattern\"}" "$tenth" $((2 * tenth - 1)) 0 | tee -a "$work/jobs"
        fill_items "$count"
        "$work/scan_unlink" "$REDIS_SOCKET" "*$pattern" | tee -a "$work/bare"
    done
    believe "$work/effect"
    reached "answer to a purge of $tenth of $count keys" "$(jq -s 'map(.answer_ms) | sort | .[1]' "$work/effect")" '<' 20 ms
    reached 'stale reads after it' "$(jq -s 'map(.stale) | add' "$work/effect")" '=' 0
    if ! jq -es --argjson tenth "$tenth" 'all(.[]; .job.removed == $tenth)' "$work/jobs" >/dev/null ||
        ! jq -es --argjson tenth "$tenth" 'all(.[]; .removed == $tenth)' "$work/bare" >/dev/null; then
        echo "not $tenth keys were removed each time" >&2
        return 1
    fi
    told 'job, from the purge to its end' "$(jq -s 'map(.job_ms) | sort | .[1]' "$work/jobs")" ms
    reached 'over a bare SCAN and UNLINK' \
        "$(jq -n --slurpfile jobs "$work/jobs" --slurpfile bare "$work/bare" \
            '[range(3) | $jobs[.].job_ms / $bare[.].ms] | sort | .[1]')" '<=' 1.5

    # One job after another, each over all keys and with a tenth of them to remove, for as long as a measurement takes.
    load "$URL/api/stocks/AAPL" 1 8
    for ((round = 0; round < rounds; round++)); do
        fill_items "$count"
        load "$URL/api/stocks/AAPL" "$seconds" 8
        idle+=("$p99")
        "$python" "$bench/client.py" purges "$URL" "$ADMIN_TOKEN" "$(pattern_of "$tenth" '{digit}')" >"$work/purges" &
        purging=$!
        sleep 0.1
        load "$URL/api/stocks/AAPL" "$seconds" 8
        busy+=("$p99")
        kill -TERM "$purging"
        wait "$purging"
        cat "$work/purges"
        ratios+=("$(divide "${busy[-1]}" "${idle[-1]}")")
    done
    told 'p99 of hits, idle' "$(median "${idle[@]}")" us
    told 'p99 of hits while jobs run' "$(median "${busy[@]}")" us
    reached 'the one over the other' "$(median "${ratios[@]}")" '<=' 2
}

figure tag-purge tag_purge 25 'purge by tag over 1,000,000 entries'
figure pattern-purge pattern_purge '60 + rounds * (2 * seconds + 6)' 'purge by pattern, 100,000 of 1,000,000 keys'
