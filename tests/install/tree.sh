#!/bin/bash
# make install and make uninstall: what is there afterwards works, and what is gone is all that came, but no data and nothing
# that somebody has changed.
. "$(dirname "$0")/common.sh"
PATH=$PATH:/usr/sbin:/sbin

root=$scratch/root
installed "$root"

# find_one NAME: the installed file of that name, below DESTDIR.
find_one()
{
    local found
    found=$(find "$root" -path "*/$1")
    [ -f "$found" ] || complain "$1 is not installed once: ${found:-nowhere}"
    echo "$found"
}

complete_with()
{
    bash -c '
        PATH=$1:$PATH
        . "$2"
        shift 2
        COMP_WORDS=(larder "$@")
        COMP_CWORD=$#
        _larder
        printf "%s\n" "${COMPREPLY[@]}" | sort | paste -sd " "' completion "$PWD" "$(find_one bash-completion/completions/larder)" "$@"
}

# completes WANTED WORD...: what the last word may become.
completes()
{
    local wanted=$1 got
    shift
    got=$(complete_with "$@")
    [ "$got" = "$wanted" ] || complain "larder $* completes to '$got', not to '$wanted'"
}

completion()
{
    completes "$(./larder --help | awk '/^  [a-z]/ { print $1 }' | sort | paste -sd ' ')" ''
    completes 'check' ch
    completes '--print' check --p
    completes '--all --key --tag' purge -
    completes '--config --help --version' --
    printf '[store]\nsql = %s/sql\ndatabase = %s/new.db\n' "$source_dir" "$scratch" >"$scratch/larder.conf"
    completes 'stocks' -c "$scratch/larder.conf" import ''
    : >"$scratch/prices.csv"
    completes "$scratch/prices.csv" import stocks "$scratch/pr"
    completes "$scratch/larder.conf" -c "$scratch/larder.c"
}

# The user, made as systemd makes it.
accounts()
{
    find_one tmpfiles.d/larder.conf >/dev/null
    command -v systemd-sysusers >/dev/null || { echo "skipped: systemd-sysusers is missing"; return; }
    mkdir -p "$scratch/machine/etc"
    systemd-sysusers --root="$scratch/machine" "$(find_one sysusers.d/larder.conf)" >"$scratch/sysusers" 2>&1
    grep -q '^larder:' "$scratch/machine/etc/passwd" || complain "systemd-sysusers makes no user: $(cat "$scratch/sysusers")"
}

# Units, as systemd reads them; the program that they start need not be on this machine.
units()
{
    local unit
    accounts
    command -v systemd-analyze >/dev/null || { echo "skipped: systemd-analyze is missing"; return; }
    mkdir -p "$scratch/units"
    for unit in larder.service larder.socket; do
        sed -e "s|^ExecStart=[^ ]*|ExecStart=$(command -v true)|" -e '/^Documentation=/d' "$(find_one "system/$unit")" \
            >"$scratch/units/$unit"
    done
    systemd-analyze verify "$scratch/units/larder.service" "$scratch/units/larder.socket" 2>"$scratch/verify"
    # Only of ours: the machine's other units are none of our business.
    grep -E '(^|/)larder\.(service|socket)' "$scratch/verify" && complain "systemd-analyze does not like the units"
}

# What nginx is told to include reads as a whole, with the places moved below DESTDIR.
snippets()
{
    local folder
    command -v nginx >/dev/null || { echo "skipped: nginx is missing"; return; }
    folder=$(dirname "$(find_one nginx/larder-pass.conf)")
    mkdir -p "$scratch/nginx"
    cp "$folder"/*.conf "$scratch/nginx"
    sed -i "s|include .*/nginx/|include $scratch/nginx/|" "$scratch"/nginx/*.conf
    cat >"$scratch/nginx.conf" <<NGINX
error_log stderr;
pid $scratch/nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path $scratch/nginx/body;
    fastcgi_temp_path $scratch/nginx/fastcgi;
    proxy_temp_path $scratch/nginx/proxy;
    scgi_temp_path $scratch/nginx/scgi;
    uwsgi_temp_path $scratch/nginx/uwsgi;
    include $scratch/nginx/larder.conf;
    server {
        listen unix:$scratch/nginx.sock;
        include $scratch/nginx/larder-locations.conf;
    }
}
NGINX
    nginx -t -q -e stderr -p "$scratch" -c "$scratch/nginx.conf" || complain "nginx does not take the installed files"
}

# A configuration that was changed, and whatever lies in the directory of data, are not ours to remove.
removal()
{
    local conf left state
    conf=$(find_one larder/larder.conf)
    state=$(sed -n 's/^#database = \(.*\)\/larder.db$/\1/p' "$conf")
    [ "$state" ] || complain "$conf does not say where the database is"
    make uninstall DESTDIR="$root" >"$scratch/uninstall.log" 2>&1 || complain "make uninstall fails: $(cat "$scratch/uninstall.log")"
    left=$(find "$root" ! -type d -print -o -name larder ! -path "$root$(sed -n 's/^prefix = //p' Makefile)" -print)
    [ "$left" ] && complain "make uninstall leaves: $left"

    installed "$root"
    mkdir -p "$root$state"
    echo data >"$root$state/larder.db"
    echo '# changed' >>"$conf"
    installed "$root"
    grep -q '^# changed' "$conf" || complain "make install replaces a changed configuration"
    make uninstall DESTDIR="$root" >"$scratch/uninstall.log" 2>&1
    left=$(find "$root" -type f | sort)
    [ "$left" = "$(printf '%s\n' "$conf" "$root$state/larder.db" | sort)" ] ||
        complain "make uninstall is to leave configuration and data alone, and leaves: $left"
}

completion
grep -q '^UNITS_TRUE = #' Makefile || units
snippets
removal
conclude
