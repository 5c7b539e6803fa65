# shellcheck shell=bash disable=SC2154
# Debian of one release or another in a directory of its own, for scripts that build and test there. Sourced after lib.sh.
#
# A release is fetched once, into $LARDER_ROOTS/RELEASE, and never changed; what is worked in are copies of it. What runs in one
# has processes and mounts of its own, which end with it.

roots=${LARDER_ROOTS:-/var/cache/larder}
mirror=${LARDER_MIRROR:-http://deb.debian.org/debian}

# debian_copy RELEASE NAME: $roots/NAME as a copy of RELEASE, where it is not there yet.
debian_copy() {
    local base=$roots/$1 copy=$roots/$2
    ((EUID == 0)) || die "only root can make and enter a chroot; run it as root"
    mkdir -p "$roots"
    if [[ ! -d $base ]]; then
        need_packages debootstrap
        say "fetching Debian $1 into $base"
        rm -rf "$base.new"
        debootstrap --variant=minbase "$1" "$base.new" "$mirror" >"$base.log" 2>&1 || { tail -n 20 "$base.log" >&2; die "debootstrap failed"; }
        # Nothing starts by being installed.
        printf '#!/bin/sh\nexit 101\n' >"$base.new/usr/sbin/policy-rc.d"
        chmod 755 "$base.new/usr/sbin/policy-rc.d"
        mv "$base.new" "$base"
    fi
    [[ -d $copy ]] && return
    rm -rf "$copy.new"
    cp -a --reflink=auto "$base" "$copy.new"
    mv "$copy.new" "$copy"
}

# debian_put NAME: this tree as it is, without what git ignores, in place of /src/larder of the copy.
debian_put() {
    local source=$roots/$1/src/larder
    rm -rf "$source"
    mkdir -p "$source"
    git -C "$root" ls-files -z --cached --others --exclude-standard |
        (cd "$root" && tar --null --ignore-failed-read -T - -cf - 2>/dev/null) | tar -xf - -C "$source"
    # Real data, where tests find it beside the tree.
    rm -rf "$roots/$1/src/shared"
    [[ ! -d $root/../shared/data ]] || { mkdir "$roots/$1/src/shared" && cp -r "$root/../shared/data" "$roots/$1/src/shared"; }
    [[ -e $source/configure.ac ]] || die "what belongs to the tree is only known to git"
}

# debian_run NAME COMMAND...: in the copy, in /src, with nothing of this environment but where to fetch packages.
debian_run() {
    local copy=$roots/$1 variable environment=(PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive)
    shift
    for variable in http_proxy https_proxy no_proxy; do
        [[ -v $variable ]] && environment+=("$variable=${!variable}")
    done
    cp /etc/resolv.conf "$copy/etc/resolv.conf"
    # shellcheck disable=SC2016
    unshare --mount --pid --fork --kill-child bash -c '
        set -e
        mount --make-rprivate /
        mount -t proc proc "$0/proc"
        mount -t tmpfs -o mode=1777 shm "$0/dev/shm"
        mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$0/dev/pts"
        exec chroot "$0" env -i "$@"' \
        "$copy" "${environment[@]}" sh -c 'cd /src && exec "$@"' sh "$@"
}
