# larder behind nginx with 2 workers, and with the nginx files that are shipped. LARDER names the program.
#   larder       as shipped: hits from the memory that the workers share
#   larder-l2    without that: hits from Redis
#   larder-miss  no cache at all: each request asks SQLite
#   larder-front hits from nginx's own cache, for a second each

# write_site: what is shipped, less the places, and the route of case "miss".
write_site() {
    local shipped=$HERE/../../../nginx file locations=larder-locations.conf
    [[ $NAME == larder-front ]] && locations=larder-microcache-locations.conf
    for file in larder-errors.conf larder-pass.conf larder-microcache-pass.conf larder-locations-other.conf "$locations"; do
        sed "s|/usr/share/larder/nginx/|$DIR/|" "$shipped/$file" >"$DIR/$file"
    done
    sed "s|/run/larder/larder.sock|$DIR/fcgi.sock|" "$shipped/larder.conf"
    [[ $NAME == larder-front ]] && sed "s|/run/larder-microcache|$DIR/microcache|" "$shipped/larder-microcache.conf"
    cat <<SITE
server {
    listen 127.0.0.1:@PORT@ backlog=4096;
    include $DIR/$locations;
    location /uncached/ {
        include $DIR/larder-pass.conf;
    }
}
SITE
}

start_larder() {
    local program=${LARDER:-$HERE/../../../build/larder} l1=64M
    [[ -x $program ]] || die "there is no $program; build it, or name it by LARDER="
    [[ $NAME == larder || $NAME == larder-front ]] || l1=0
    cat >"$DIR/larder.conf" <<CONF
[server]
socket = $DIR/fcgi.sock
workers = 2

[store]
database = $DATABASE
sql = $HERE/sql

[redis]
url = unix://$REDIS_SOCKET
prefix = $NAME:

[l1]
size = $l1

[nginx]
cache_path = $DIR/microcache
CONF
    spawn app "$program" --config "$DIR/larder.conf" serve
    wait_for_socket "$DIR/fcgi.sock"
    write_site >"$DIR/site.template"
    spawn_nginx "$DIR/site.template"
    # The route of case "miss" has a life of 0: what is asked there is kept nowhere.
    [[ $NAME == larder-miss ]] && URLS[$NAME:detail]="http://127.0.0.1:$PORT/uncached/api/stocks/AAPL"
    return 0
}

register larder start_larder "detail list miss"
register larder-l2 start_larder "detail list"
register larder-miss start_larder "detail miss"
register larder-front start_larder "detail list"
