# shellcheck shell=bash
# Sourced by every script of this directory, which runs in the directory of the build. A script prints what is wrong, and fails
# if anything is.

set -u
LC_ALL=C
export LC_ALL
unset CDPATH MAKEFLAGS MAKELEVEL MFLAGS

# shellcheck disable=SC2034
source_dir=${LARDER_SOURCE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
scratch=$(mktemp -d) || exit 2
trap 'rm -rf "$scratch"' EXIT
wrong=0

complain()
{
    printf '%s\n' "$*"
    wrong=1
}

# installed DIR: make install below DIR, as a package is made.
installed()
{
    make install DESTDIR="$1" >"$scratch/install.log" 2>&1 && return
    cat "$scratch/install.log"
    exit 1
}

conclude()
{
    exit $wrong
}
