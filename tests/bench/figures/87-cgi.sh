# shellcheck shell=bash disable=SC2154
# Plain CGI: a process for each request, which finds its answer in Redis.

cgi() {
    local count=$((500 / scale)) found
    ((count >= 20)) || count=20
    start_stack
    found=$("$python" "$bench/cgi.py" "$larder" "$work/stack/larder.conf" /api/bench/items/7 "$count")
    reached 'a hit, from the start of the process to the end of its answer, median' "$(jq .median <<<"$found")" '<=' 10 ms
    told 'the same, 99 of 100' "$(jq .p99 <<<"$found")" ms
    told 'of that the start of a program that does nothing, median' "$(jq .start <<<"$found")" ms
}

figure cgi cgi 10 'plain CGI, a hit in Redis'
