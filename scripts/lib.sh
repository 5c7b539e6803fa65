# shellcheck shell=bash disable=SC2034
# What the scripts share: messages, and packages of Debian. Sourced, not run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
program=${0##*/}
# The one that Debian's packages belong to, whatever comes first in PATH.
python=/usr/bin/python3

say() { printf '%s: %s\n' "$program" "$*" >&2; }
die() { say "$@"; exit 1; }
wrong_usage() { usage >&2; exit 2; }

build_packages=(gcc libc6-dev make autoconf automake pkg-config
    libfcgi-dev libhiredis-dev libjson-c-dev libsqlite3-dev libinih-dev libsodium-dev libxxhash-dev libdeflate-dev
    libsystemd-dev libcmocka-dev)
stack_packages=(nginx redis-server sqlite3 curl jq libjs-chart.js)
check_packages=(clang libclang-rt-dev valgrind wrk universal-ctags git e2fsprogs mandoc shellcheck prometheus
    apache2-bin libapache2-mod-fcgid lighttpd spawn-fcgi multiwatch systemd
    php-cli php-redis php-sqlite3
    python3 python3-pytest python3-pytest-xdist python3-redis python3-requests python3-prometheus-client
    chromium chromium-driver python3-selenium)
# Clients that are made from /openapi.json run there; any node will do.
command -v node >/dev/null && command -v npm >/dev/null || check_packages+=(nodejs npm)

# need_packages PACKAGE...: installs those that are missing, or says how and ends.
need_packages() {
    local package missing=() as_root=()
    command -v dpkg-query >/dev/null || return 0
    for package; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    if ((EUID != 0)); then
        as_root=(sudo)
        sudo -n true 2>/dev/null || die "packages are missing; install them with
    sudo apt-get install --no-install-recommends ${missing[*]}"
    fi
    say "installing ${missing[*]}"
    if ! { "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2; }
    then
        die "apt-get could not install ${missing[*]}"
    fi
}
