# shellcheck shell=bash
# Sourced by every script of this directory. Sets the working directory to the tree that is looked at: the first argument,
# or the one that this file lies in. A script prints `file:line: message` for each violation and fails if there is any.

set -u
LC_ALL=C
export LC_ALL

root=${1:-$(dirname "${BASH_SOURCE[0]}")/../..}
cd "$root" || exit 2

scratch=$(mktemp -d) || exit 2
trap 'rm -rf "$scratch"' EXIT

c_files()
{
    find "$@" -type f -name '*.[ch]' 2>/dev/null | sort
}

# Runs CHECK, a function that prints violations, and ends the script by what it printed. A check that has trouble of its own
# has not checked anything: that is a failure too.
conclude()
{
    "$1" >"$scratch/violations" 2>"$scratch/trouble"
    sort -u -t: -k1,1 -k2,2n -k3 "$scratch/violations"
    sort -u "$scratch/trouble" >&2
    [ ! -s "$scratch/violations" ] && [ ! -s "$scratch/trouble" ]
    exit
}

# Without the tool a rule cannot be checked: the script counts as skipped.
need()
{
    "$@" >/dev/null 2>&1 && return
    echo "skipped: $1 is missing"
    exit 77
}

need_ctags()
{
    need ctags --version
    ctags --version | grep -q 'Universal Ctags' && return
    echo "skipped: ctags is not Universal Ctags"
    exit 77
}

# The compiler as the build calls it, less what only the code's quality asks for.
compile()
{
    local defines

    defines=$(grep -ohE -e '-DLARDER_[A-Z]+' Makefile.am 2>/dev/null | sed 's/$/=""/')
    # shellcheck disable=SC2086
    ${CC:-cc} -std=gnu17 -D_GNU_SOURCE -Isrc -DPACKAGE_VERSION='""' $defines "$@"
}
