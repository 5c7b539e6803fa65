# larder behind nginx over kept connections: 2 workers, hits from Redis. LARDER names the program.
start_larder() {
    local program=${LARDER:-$HERE/../../../build/larder}
    [[ -x $program ]] || die "there is no $program; build it, or name it by LARDER="
    cat >"$DIR/larder.conf" <<CONF
[server]
socket = $DIR/fcgi.sock
workers = 2

[store]
database = $DATABASE
sql = $HERE/sql

[redis]
url = unix://$REDIS_SOCKET
CONF
    spawn app "$program" --config "$DIR/larder.conf" serve
    wait_for_socket "$DIR/fcgi.sock"
    spawn_nginx "$BENCH/lib/fcgi-keep.conf"
}

register larder start_larder "detail list miss"
