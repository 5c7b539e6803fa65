# shellcheck shell=bash disable=SC2034,SC2154
# A list of 12 KB for clients that take gzip: larder's stored gzip against the same larder, told nothing of gzip, behind nginx compressing.
# nginx compresses at its default level, 1: the one that costs it least.

measure_gzip() {
    local port compressing other url each round name ratios=() rates=()
    start_stack
    port=$(free_port)
    other=http://127.0.0.1:$port/api/bench/list
    url=$URL/api/bench/list
    # The stack's own nginx, at another port, with another pair of hands for compressing.
    mkdir "$work/nginx"
    sed '/HTTP_ACCEPT_ENCODING/d' "$work/stack/nginx/larder-pass.conf" >"$work/nginx/larder-pass.conf"
    cp "$work/stack/nginx/"larder{,-errors,-refusals,-locations{,-other}}.conf "$work/nginx/"
    sed -i "s|$work/stack/nginx/|$work/nginx/|" "$work/nginx/"larder-locations*.conf
    sed -e "s|$work/stack/nginx|$work/nginx|; s|127.0.0.1:[0-9]*|127.0.0.1:$port|" \
        -e 's|access_log off;|&\n    gzip on;\n    gzip_types application/json;|' "$work/stack/nginx.conf" >"$work/nginx.conf"
    nginx -e "$work/nginx.log" -c "$work/nginx.conf" &
    compressing=$!
    until listens "$port"; do kill -0 "$compressing"; sleep 0.1; done

    for name in larder nginx; do
        [[ $name == larder ]] && each=$url || each=$other
        curl -s -o /dev/null "$each"
        curl -s -H 'Accept-Encoding: gzip' -D "$work/head" "$each" >"$work/body.$name.gz"
        grep -qi '^Content-Encoding: gzip' "$work/head" || { echo "what $name gives is not compressed" >&2; return 1; }
        told "bytes compressed by $name" "$(wc -c <"$work/body.$name.gz")"
        gzip -d <"$work/body.$name.gz" >"$work/body.$name"
        load "$each" 1 32 -H 'Accept-Encoding: gzip'
    done
    cmp "$work/body.larder" "$work/body.nginx"
    told 'bytes plain' "$(wc -c <"$work/body.larder")"
    for ((round = 0; round < rounds; round++)); do
        load "$url" "$seconds" 32 -H 'Accept-Encoding: gzip'
        rates+=("$rate")
        load "$other" "$seconds" 32 -H 'Accept-Encoding: gzip'
        ratios+=("$(divide "${rates[-1]}" "$rate")")
    done
    told 'requests a second' "$(median "${rates[@]}")"
    reached 'over nginx compressing' "$(median "${ratios[@]}")" '>=' 2
}

figure gzip measure_gzip 'rounds * 2 * seconds + 10' 'list of 12 KB, compressed once and for all'
