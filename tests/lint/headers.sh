#!/bin/bash
# Headers stand alone, are guarded by their name, and come first in the file that keeps their promises.
. "$(dirname "$0")/common.sh"

check_alone()
{
    local name guard

    c_files src | grep '\.h$' | while read -r header; do
        name=${header#src/}
        printf '#include "%s"\n#include "%s"\n' "$name" "$name" >"$scratch/alone.c"
        if ! compile -Wall -Wextra -fsyntax-only "$scratch/alone.c" 2>"$scratch/errors" || [ -s "$scratch/errors" ]; then
            echo "$header:1: does not compile alone: $(grep -m 1 -E 'error|warning' "$scratch/errors")"
        fi
        guard=LARDER_$(basename "$header" .h | tr 'a-z' 'A-Z')_H
        grep -qx "#ifndef $guard" "$header" && grep -qx "#define $guard" "$header" ||
            echo "$header:1: is not guarded by $guard"
    done
}

# The includes that may come first in FILE, as a pattern: its own header; a_b.c without one keeps the promises of a.h, or of
# another header of the same family.
own_header()
{
    local stem=${1%.c}

    if [ -e "$stem.h" ]; then
        echo "${stem#src/}[.]h"
        return
    fi
    while [ "${stem%_*}" != "$stem" ]; do
        stem=${stem%_*}
        if [ -e "$stem.h" ]; then
            echo "${stem#src/}(_[a-z0-9_]+)?[.]h"
            return
        fi
    done
}

check_first()
{
    local own

    c_files src | grep '\.c$' | while read -r file; do
        own=$(own_header "$file")
        [ -n "$own" ] || continue
        awk -v own="$own" '
            /^[ \t]*#[ \t]*include/ {
                found = 1
                if ($0 !~ "\"" own "\"")
                    print FILENAME ":" FNR ": the first include is not its own header"
                exit
            }
            END {
                if (!found)
                    print FILENAME ":1: does not include its own header"
            }' "$file"
    done
}

check()
{
    check_alone
    check_first
}

conclude check
