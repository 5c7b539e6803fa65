#!/bin/bash
# What no file holds: promises to finish it later, stray blanks, tabs in C, paths of somebody's machine, a megabyte.
. "$(dirname "$0")/common.sh"

# Every file that belongs to the project; in an unpacked archive, where git cannot say, what lies in its folders.
files()
{
    if [ -e .git ] && git ls-files -co --exclude-standard >"$scratch/files" 2>/dev/null; then
        sort -u "$scratch/files"
    else
        find . -type d \( -name '.?*' ! -name .ci -o -name autom4te.cache -o -name build-aux -o -name __pycache__ -o -name _build -o -name _inst \) -prune -o -type f ! -name '*.o' ! -name '*.a' \
            ! -name '*.log' ! -name '*.trs' ! -name configure ! -name 'Makefile.in' ! -name aclocal.m4 ! -path './build*' -print |
            sed 's|^\./||' | sort
    fi | while read -r file; do
        [ -f "$file" ] && echo "$file"
    done
}

# Files whose lines are text of ours: neither inputs of fuzzers nor binary.
texts()
{
    files | grep -v '^tests/fuzz/corpus/' | tr '\n' '\0' | xargs -0r grep -lI '' /dev/null
}

search()
{
    tr '\n' '\0' | xargs -0r grep -nHIE -e "$1" /dev/null | awk -v message="$2" '
        match($0, /^[^:]*:[0-9]+:/) { print substr($0, 1, RLENGTH) " " message }'
}

check()
{
    # Written so that this file does not hold what it looks for.
    texts | search '(^|[^A-Za-z])(TO[D]O|FIX[M]E|XX[X]|HA[C]K)([^A-Za-z]|$)' 'is a promise to finish it later'
    texts | search '[[:blank:]]$' 'ends in a blank'
    texts | grep '\.[ch]$' | search "$(printf '\t')" 'holds a tab'
    texts | search '(^|[^A-Za-z0-9._/~-])/(home|Users|root|work|workspace)/[A-Za-z0-9]' \
        'names a path of one machine'
    files | while read -r file; do
        [ "$(wc -c <"$file")" -le 1048576 ] || echo "$file:1: is larger than 1 MiB"
    done
}

conclude check
