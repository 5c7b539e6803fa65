# shellcheck shell=bash disable=SC2154
# What slow statements cost those whose answers are in the cache.

slow_statement() {
    "$bench/slow-statement" --rounds "$rounds" --seconds "$seconds" --port "$(free_port)" | tee "$work/table"
    reached 'p99 of hits, half of the pool computing, over idle' "$(awk '$1 == "median" { print $4 }' "$work/table")" '<=' 3
}

figure slow-statement slow_statement 'rounds * (2 * seconds + 2) + 20' 'hits while half of the pool computes'
