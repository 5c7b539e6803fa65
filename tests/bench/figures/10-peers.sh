# shellcheck shell=bash disable=SC2034,SC2154
# Beside what else could do the same work: the bench of such programs, with larder as one more contestant. A ratio is the median of the
# ratios within each round, for the machine is not as fast in one round as in another.

peers=${BENCH_PEERS:-$root/../shared/bench}

# find_peers [WHAT]: skips that, or the figure, where they are not.
find_peers() {
    [[ -x $peers/run && -x $peers/syscalls ]] && return
    skip "there is no bench of other programs in $(realpath -sm --relative-to="$root" "$peers")" "${1:-}"
    return 1
}

# ratio_to PEER NAME: larder's contestant NAME over PEER; null when there was no measurement of one of them.
ratio_to() {
    jq --arg peer "$1" --arg name "$2" '
        def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor]
            else (.[length / 2 - 1] + .[length / 2]) / 2 end;
        [.runs[] | select(.name == $peer and .rate > 0)] as $base |
        [.runs[] | select(.name == $name) | . as $run | $base[] | select(.round == $run.round) | $run.rate / .rate] | median
        ' "$work/peers.json"
}

# compare CASE NAME PEER...: measures; what was found is in $work/peers.json.
compare() {
    local status=0
    "$peers/run" --load "$bench/larder" --cases "$1" --connections 32 --rounds "$rounds" --duration "$seconds" \
        --reference ceiling-fcgi-evented --json "$work/peers.json" "${@:2}" || status=$?
    # 1: some contestant gave a wrong answer. Whether it was larder shows below.
    ((status <= 1)) && [[ -s $work/peers.json ]]
}

# hold NAME PEER OPERATOR PROMISED
hold() {
    local ratio
    ratio=$(ratio_to "$2" "$1")
    if [[ $ratio != null ]]; then
        reached "over $2" "$ratio" "$3" "$4"
    elif jq -e --arg name "$1" 'any(.runs[]; .name == $name)' "$work/peers.json" >/dev/null; then
        skip 'it could not be measured here' "over $2"
    else
        echo "$1 gave no answer, or a wrong one" >&2
        return 1
    fi
}

# tell NAME: what helps to judge the ratios.
tell() {
    told 'requests a second' "$(jq --arg name "$1" '.results[] | select(.name == $name).rate.median' "$work/peers.json")"
    told 'cores taken by processes that are not measured, at worst' "$(jq '[.runs[].foreign_cpu] | max' "$work/peers.json")"
}

hit_l1_detail() {
    local peer
    find_peers || return 0
    compare detail larder ceiling-fcgi-evented lua webdis php fastapi naive-c-keep
    hold larder ceiling-fcgi-evented '>=' 0.92
    for peer in lua webdis php fastapi naive-c-keep; do hold larder "$peer" '>' 1; done
    tell larder
}

hit_l1_list() {
    find_peers || return 0
    compare list larder ceiling-fcgi-evented
    hold larder ceiling-fcgi-evented '>=' 0.92
    tell larder
}

hit_l2() {
    find_peers || return 0
    compare detail larder-l2 ceiling-fcgi-evented lua
    hold larder-l2 ceiling-fcgi-evented '>=' 0.78
    hold larder-l2 lua '>=' 0.85
    tell larder-l2
}

# Hits from nginx's own cache in either; ours is asked for anew each second, and lets purges through.
microcache() {
    find_peers || return 0
    compare "$1" larder-front fastcgi-cache
    hold larder-front fastcgi-cache '>=' 0.95
    tell larder-front
}
microcache_detail() { microcache detail; }
microcache_list() { microcache list; }

miss() {
    local peer
    find_peers || return 0
    compare miss larder-miss ceiling-fcgi-evented lua php naive-c-keep
    hold larder-miss ceiling-fcgi-evented '>=' 0.55
    for peer in lua php naive-c-keep; do hold larder-miss "$peer" '>' 1; done
    tell larder-miss
}

# Only the peers' programs know how to start one of them for strace, and look for them below their own folder: a folder of links.
syscalls() {
    local entry calls
    find_peers || return 0
    if ! command -v strace >/dev/null; then skip 'strace is not installed'; return; fi
    mkdir -p "$work/bench/contestants"
    for entry in lib src syscalls; do ln -s "$(realpath "$peers/$entry")" "$work/bench/$entry"; done
    ln -s "$bench/larder" "$work/bench/contestants/larder"
    "$work/bench/syscalls" larder detail 8 "$seconds" | tee "$work/calls"
    calls=$(awk '/^larder, detail: .* in the application/ { on = 1; next } /^larder/ { on = 0 } on && $1 == "all" { print $2 }' \
        "$work/calls")
    [[ $calls ]]
    reached 'of all of larder, for each hit' "$calls" '<=' 4
}

figure hit-l1-detail hit_l1_detail 'rounds * 7 * (seconds + 1) + 20' 'hit in L1 through nginx, one stock'
figure hit-l1-list hit_l1_list 'rounds * 2 * (seconds + 1) + 10' 'hit in L1 through nginx, list of 11 KB'
figure hit-l2 hit_l2 'rounds * 3 * (seconds + 1) + 10' 'hit in Redis through nginx, L1 off'
figure miss miss 'rounds * 5 * (seconds + 1) + 15' 'SQLite by primary key, caches off'
figure syscalls syscalls '2 * seconds + 10' 'system calls of a hit in L1'
figure microcache-detail microcache_detail 'rounds * 3 * (seconds + 1) + 10' "hit in nginx's own cache, one stock"
figure microcache-list microcache_list 'rounds * 3 * (seconds + 1) + 10' "hit in nginx's own cache, list of 11 KB"
