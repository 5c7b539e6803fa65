# shellcheck shell=bash disable=SC2034,SC2154
# A board of a million members behind nginx: ranks of random members beside a responder that says the same to everybody (one of the
# peers of 10-peers.sh, as it is there), durable scores beside the durable writes of 85-writes.sh, and ranks when there is no Redis.

# fill_board COUNT: members m0, m1, ... whose names say nothing of their scores; until every one of them is in Redis.
fill_board() {
    local began=$EPOCHREALTIME last=$URL/api/leaderboards/bench/m$(($1 - 1))
    sqlite3 "$DATABASE" <<SQL
.timeout 10000
PRAGMA cache_size = -500000;
INSERT INTO larder_scores (board, member, score)
WITH RECURSIVE counter (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM counter WHERE n + 1 < $1)
SELECT 'bench', 'm' || n, n * 618033989 % 1000000007 FROM counter;
SQL
    told 'inserted by SQL in' "$(since "$began")" s
    began=$EPOCHREALTIME
    until curl -sf -m 10 -D "$work/head" -o "$work/answer" "$last" && grep -q 'detail=L2' "$work/head" &&
        [[ $(jq .members "$work/answer") == "$1" ]]; do
        awk -v took="$(since "$began")" 'BEGIN { exit took > 120 }' || { echo "not in Redis after 120 s: $(cat "$work/head")" >&2; return 1; }
        sleep 0.1
    done
    told 'and in Redis after another' "$(since "$began")" s
}

# start_ceiling: the peers' responder as they start it themselves, in its nginx; its URL is in $ceiling.
start_ceiling() {
    (
        set +e
        BENCH=$peers MAX_CONNECTIONS=32
        # shellcheck disable=SC1091
        source "$peers/lib/common.sh"
        prepare
        load_contestants "$peers/contestants/20-fcgi-ceiling"
        start ceiling-fcgi-evented
        url_of ceiling-fcgi-evented detail >"$work/ceiling.new"
        mv "$work/ceiling.new" "$work/ceiling"
        wait
    ) &
    until [[ -s $work/ceiling ]]; do kill -0 $!; sleep 0.1; done
    ceiling=$(cat "$work/ceiling")
}

# What takes turns, each for so many SECONDS.
rank_load() { script=boards.lua load "$URL/api/leaderboards/bench" "${1:-$seconds}" 32; }

ceiling_load() { load "$ceiling" "${1:-$seconds}" 32; }
row_load() { write_load "$URL/api/bench/rows/" "${1:-$seconds}"; }

submit_load() {
    script=boards.lua load "$URL/api/leaderboards/bench/scores" "${1:-$seconds}" 32 \
        -H "Authorization: Bearer $ADMIN_TOKEN" -H 'Content-Type: application/json'
}

# in_turns FIRST SECOND: medians of what SECOND reaches in a second, and of that over FIRST within each round, as $rates and $over. Every
# other round goes backwards, so that drift favours nobody.
in_turns() {
    local round name order ratios=() reached_rates=()
    local -A rate_of
    "$1" 1
    "$2" 1
    for ((round = 0; round < rounds; round++)); do
        if ((round % 2)); then order=("$2" "$1"); else order=("$1" "$2"); fi
        for name in "${order[@]}"; do
            "$name"
            rate_of[$name]=$rate
        done
        reached_rates+=("${rate_of[$2]}")
        ratios+=("$(divide "${rate_of[$2]}" "${rate_of[$1]}")")
    done
    rates=$(median "${reached_rates[@]}") over=$(median "${ratios[@]}")
}

compare_ranks() {
    local before
    client ranks "$URL/api/leaderboards/bench" 11 L2
    find_peers 'over ceiling-fcgi-evented' || return 0
    start_ceiling
    before=$(count_of "$URL" misses)
    in_turns ceiling_load rank_load
    told 'ranks a second' "$rates"
    reached 'over ceiling-fcgi-evented' "$over" '>=' 0.6
    told 'of these not from Redis' $(($(count_of "$URL" misses) - before))
    tell_costs 'a rank' rank_load
}

compare_submits() {
    on_a_disk 'over durable writes of one row' || return 0
    in_turns row_load submit_load
    told 'scores a second' "$rates"
    reached 'over durable writes of one row' "$over" '>=' 1
    tell_costs 'a score' submit_load
}

boards() {
    export MEMBERS=$((1000000 / scale))
    start_stack --set board.bench.mode=last
    fill_board "$MEMBERS"
    compare_ranks
    compare_submits
    kill -KILL "$REDIS_PID"
    client ranks "$URL/api/leaderboards/bench" 200 origin >"$work/ranks"
    told 'rank without Redis, median' "$(jq .median_ms "$work/ranks")" ms
    reached 'the slowest of first, last, unknown, 198 between' "$(jq .slowest_ms "$work/ranks")" '<' 50 ms
}

figure boards boards '4 * (rounds + 1) * (seconds + 1) + 90' 'a board of 1,000,000 members, 32 clients'
