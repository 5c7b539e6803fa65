# shellcheck shell=bash disable=SC2154
# Hit ratios of L1 on traces, by a program beside this folder; nothing is promised but to be no worse than plain LRU of the same bytes.

eviction() {
    local sources
    if [[ ! -e $bench/eviction.c ]]; then skip 'there is no tests/bench/eviction.c'; return; fi
    sources=("$root"/src/base/*.c "$root/src/cache/entry.c" "$root"/src/cache/l1*.c "$root/src/cache/purged.c")
    "${CC:-cc}" -std=gnu17 -D_GNU_SOURCE -O2 "-I$root/src" -o "$work/eviction" "$bench/eviction.c" "${sources[@]}" \
        -lxxhash -lsodium -ldeflate -lpthread -lm
    "$work/eviction" --json >"$work/ratios"
    while IFS=$'\t' read -r trace mib l1 sieve lru; do
        reached "$trace, $mib MiB: hits in 100 (SIEVE $sieve)" "$l1" '>=' "$lru"
    done < <(jq -r '.eviction[] | [.trace, .mib, ([.l1, .sieve, .lru][] * 10000 | round / 100)] | @tsv' "$work/ratios")
}

figure eviction eviction 30 'hit ratios of L1 on traces'
