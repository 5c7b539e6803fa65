#!/bin/bash
# How long files and functions may be, and how long they are.
. "$(dirname "$0")/common.sh"
need_ctags

file_max=600
header_max=150
function_max=60

functions()
{
    c_files "$@" | ctags -L - -f - --c-kinds=f --fields=+ne --excmd=number --sort=no --map-c=+.h 2>/dev/null |
        awk -F '\t' '{
            line = end = 0
            for (i = 4; i <= NF; i++) {
                if ($i ~ /^line:/)
                    line = substr($i, 6)
                if ($i ~ /^end:/)
                    end = substr($i, 5)
            }
            if (end)
                print $2, line, end - line + 1, $1
        }'
}

check()
{
    find src tests scripts -type f \( -name '*.[ch]' -o -name '*.py' -o -name '*.sh' -o -path 'scripts/*' \) 2>/dev/null |
        while read -r file; do
            max=$file_max
            # A header is for contracts; those of tests hold the code that several programs share.
            case $file in src/*.h) max=$header_max ;; esac
            lines=$(wc -l <"$file")
            [ "$lines" -le $max ] || echo "$file:$((max + 1)): $lines lines, where $max are allowed"
        done
    functions src | awk -v max=$function_max '
        $3 > max { print $1 ":" $2 ": " $4 " has " $3 " lines, where " max " are allowed" }'
}

functions src | sort -n -k3,3 | awk '
    { len[NR] = $3; name[NR] = $4 }
    END {
        if (NR)
            printf "%d functions: median %d lines, p90 %d, longest %d (%s)\n", NR, len[int((NR + 1) / 2)],
                len[int((NR * 9 + 9) / 10)], len[NR], name[NR]
    }'
conclude check
