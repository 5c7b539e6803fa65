# shellcheck shell=bash disable=SC2034,SC2154
# Durable writes of single rows through nginx by 32 clients, against plain FastCGI processes that commit once for each request
# (commit_each.c): behind the same nginx files, on the same disk, in turns. How much there is to gain is the disk's to say: so once
# more with syncs that take longer (slow_sync.c). And writes behind against larder's own through.

# on_a_disk [WHAT]: skips that, or the figure, where a commit costs nothing.
on_a_disk() {
    [[ $(stat -f -c %T "$work") != tmpfs ]] || { skip "$work is in memory; name a directory on a disk by TMPDIR" "${1:-}"; return 1; }
    told 'fdatasync of 4 KiB more on this disk, median' "$(client sync "$work" | jq .median_us)" us
}

# start_commit_each HOW: as many processes as nginx can have connections to them, and the stack's nginx once more before them. Sets `each`.
start_commit_each() {
    local here=$work/$1 port
    mkdir "$here"
    port=$(free_port)
    "$work/commit_each" "$here/fcgi.sock" 64 "$here/rows.db" "$1" &
    until [[ -S $here/fcgi.sock ]]; do kill -0 $!; sleep 0.1; done
    chmod 777 "$here/fcgi.sock"
    sed "s|$work/stack/larder.sock|$here/fcgi.sock|" "$work/stack/nginx/larder.conf" >"$here/larder.conf"
    cp "$work/stack/nginx/"larder-{errors,refusals,pass,locations{,-other}}.conf "$here/"
    sed -i "s|$work/stack/nginx/|$here/|" "$here/"larder-locations*.conf
    sed -e "s|$work/stack/nginx|$here|; s|127.0.0.1:[0-9]*|127.0.0.1:$port|" "$work/stack/nginx.conf" >"$here/nginx.conf"
    nginx -e "$here/nginx.log" -c "$here/nginx.conf" &
    until listens "$port"; do kill -0 $!; sleep 0.1; done
    each=http://127.0.0.1:$port/api/bench/rows/
}

# put_one URL: the answer to one write, as JSON; its status is in $status.
put_one() {
    status=$(curl -s -o "$work/answer" -w '%{http_code}' -X PUT -H "Authorization: Bearer $ADMIN_TOKEN" \
        -H 'Content-Type: application/json' -d '{"value":7,"note":"one"}' "${1}99999")
}

# must_write URL: that what takes part does the work.
must_write() {
    put_one "$1"
    [[ $status == 200 && $(jq -c . "$work/answer") == '{"id":99999,"value":7,"note":"one"}' ]] ||
        { echo "$1: $status $(cat "$work/answer")" >&2; return 1; }
}

# write_load URL [SECONDS]
write_load() { script=writes.lua load "$1" "${2:-$seconds}" 32 -H "Authorization: Bearer $ADMIN_TOKEN" -H 'Content-Type: application/json'; }

children_of() { cat "/proc/$1/task/"*/children | tr ' ' '\n' | grep .; }

# cpu_of NAME: the processor's time that larder's processes of that name, or nginx, or Redis have had, in seconds.
cpu_of() {
    local pid pids=("$REDIS_PID")
    [[ $1 == nginx ]] && mapfile -t pids < <(children_of "$NGINX_PID")
    [[ $1 == larder* ]] && mapfile -t pids < <(children_of "$LARDER_PID" | while read -r pid; do
        if [[ $(cat "/proc/$pid/comm") == "$1" ]]; then echo "$pid"; fi
    done)
    for pid in "${pids[@]}"; do sed 's/.*) //' "/proc/$pid/stat"; done |
        awk -v hertz="$(getconf CLK_TCK)" '{ sum += $12 + $13 } END { print sum / hertz }'
}

# tell_costs WHAT LOAD [ARGUMENT...]: what one of those costs each kind of process.
tell_costs() {
    local name what=$1 before=()
    shift
    for name in nginx 'larder: worker' 'larder: writer' redis; do before+=("$(cpu_of "$name")"); done
    "$@"
    for name in nginx 'larder: worker' 'larder: writer' redis; do
        told "processor's time of ${name#larder: } for $what" \
            "$(awk -v a="${before[0]}" -v b="$(cpu_of "$name")" -v n="$(awk "BEGIN { print $rate * $seconds }")" \
                'BEGIN { print (b - a) / n * 1e6 }')" us
        before=("${before[@]:1}")
    done
}

# on_slower_disk US: what is started from here on syncs so much later.
on_slower_disk() {
    "${CC:-cc}" -D_GNU_SOURCE -O2 -Wall -shared -fPIC -o "$work/slow_sync.so" "$bench/slow_sync.c" -ldl
    export LD_PRELOAD=$work/slow_sync.so SLOW_SYNC_US=$1
}

# compare_commits: larder in turns with both ways of committing each write by itself.
compare_commits() {
    local round queue alone through="/api/bench/rows/" plain="/api/bench/rows-alone/"
    local rates=() over=() over_plain=() over_alone=() queues=() alones=()
    "${CC:-cc}" -std=gnu17 -D_GNU_SOURCE -O2 -Wall -o "$work/commit_each" "$bench/commit_each.c" -lfcgi -lsqlite3 -ljson-c -lpthread
    start_stack
    start_commit_each queue && queue=$each
    start_commit_each alone && alone=$each
    for each in "$URL$through" "$URL$plain" "$queue" "$alone"; do
        must_write "$each"
        write_load "$each" 1
    done
    for ((round = 0; round < rounds; round++)); do
        write_load "$queue"
        queues+=("$rate")
        write_load "$alone"
        alones+=("$rate")
        write_load "$URL$plain"
        over_plain+=("$(divide "$rate" "${queues[-1]}")")
        write_load "$URL$through"
        rates+=("$rate")
        over+=("$(divide "$rate" "${queues[-1]}")")
        over_alone+=("$(divide "$rate" "${alones[-1]}")")
    done
    told 'a second, one commit each, in a queue' "$(median "${queues[@]}")"
    told 'a second, one commit each, by the busy handler' "$(median "${alones[@]}")"
    told 'a second, larder' "$(median "${rates[@]}")"
    reached 'over one commit each, by the busy handler' "$(median "${over_alone[@]}")" '>=' 5
    reached 'over one commit each, in a queue' "$(median "${over[@]}")" '>=' 5
    told 'the same without a purge' "$(median "${over_plain[@]}")"
}

writes() {
    on_a_disk || return 0
    compare_commits
    tell_costs 'a write' write_load "$URL/api/bench/rows/"
}

writes_slow_disk() {
    on_a_disk || return 0
    on_slower_disk 2000
    compare_commits
}

# put_rows URL COUNT: so many rows of ids of their own, as fast as they are accepted; prints how many seconds that took.
put_rows() {
    local began=$EPOCHREALTIME loading took failed
    WRITES=$2 WRITES_DONE=$work/done wrk -t1 -c32 -d300s --timeout 30s -s "$bench/writes.lua" \
        -H "Authorization: Bearer $ADMIN_TOKEN" -H 'Content-Type: application/json' "$1" >"$work/wrk" &
    loading=$!
    until [[ -e $work/done ]]; do kill -0 $loading; sleep 0.01; done
    took=$(since "$began")
    kill -INT $loading
    wait $loading
    read -r _ _ failed < <(sed -n 's/^LOAD //p' "$work/wrk")
    [[ $failed == 0 ]] || { echo "${failed:-all} requests failed"; cat "$work/wrk"; return 1; } >&2
    echo "$took"
}

# since TIME: seconds.
since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }'; }

# rows_in_time COUNT SECONDS: until the database holds so many of those; prints how many seconds that took, which are at most SECONDS.
rows_in_time() {
    local began=$EPOCHREALTIME
    until (($(sqlite3 -readonly "$DATABASE" 'SELECT count(*) FROM bench_rows WHERE id > 1000000') >= $1)); do
        awk -v took="$(since "$began")" -v most="$2" 'BEGIN { exit took > most }' || { echo "$1 writes were not applied in $2 s" >&2; return 1; }
        sleep 0.02
    done
    since "$began"
}

behind() {
    local count=$((100000 / scale)) round ratios=() rates=() rate_through found accepting applying
    on_a_disk || return 0
    copy_sql
    sed -e 's|bench-write|bench-behind|; s|/rows/|/rows-behind/|; s|^-- shape:.*|&\n-- write:  behind|' \
        "$bench/resources/bench-write.sql" >"$work/sql/resources/bench-behind.sql"
    found=$(LARDER_STORE_SQL=$work/sql LARDER_STORE_DATABASE=$work/none.db "$larder" check 2>&1) || true
    if [[ $found == *'write: behind is not available'* ]]; then skip 'this larder does not write behind'; return; fi
    start_stack
    put_one "$URL/api/bench/rows-behind/"
    [[ $status == 202 ]] || { skip "a write behind is answered $status, not 202"; return; }
    write_load "$URL/api/bench/rows/" 1
    write_load "$URL/api/bench/rows-behind/" 1
    for ((round = 0; round < rounds; round++)); do
        write_load "$URL/api/bench/rows/"
        rate_through=$rate
        write_load "$URL/api/bench/rows-behind/"
        rates+=("$rate")
        ratios+=("$(divide "$rate" "$rate_through")")
    done
    told 'a second' "$(median "${rates[@]}")"
    reached 'over write-through' "$(median "${ratios[@]}")" '>=' 1.5
    accepting=$(put_rows "$URL/api/bench/rows-behind/" "$count")
    applying=$(rows_in_time "$count" 60)
    told "$count accepted in" "$accepting" s
    reached 'and all applied, after the last was accepted' "$applying" '<=' 10 s
}

figure writes writes '(4 * rounds + 1) * (seconds + 1) + 15' 'durable writes of one row, 32 clients'
figure writes-slow-disk writes_slow_disk '4 * rounds * (seconds + 1) + 15' 'the same, each sync 2 ms later, as on many disks'
figure behind behind '2 * rounds * (seconds + 1) + 40' 'writes behind, 32 clients'
