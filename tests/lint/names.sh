#!/bin/bash
# What things are called, and what may change at file scope.
. "$(dirname "$0")/common.sh"
need_ctags

# Exported names without their module's prefix: file and name.
other_names='
src/main.c main
src/import.c cli_import
src/command_openapi.c cli_openapi
'

# Prefixes of enum constants that are not their module's: header and prefix.
other_constants='
src/base/metrics.h METRIC_
'

# State that outlives a call, beside what hangs from struct app: the log's sink, the base of the metrics, and flags that
# signal handlers set. File and variable.
state='
src/base/log.c sink
src/base/metrics.c before
src/base/metrics.c head
src/base/metrics.c head_before
src/base/metrics.c mine
src/base/metrics.c table
src/base/metrics.c table_slots
src/command_writer.c child_stop
src/cli_stats.c told_to_end
src/server/supervisor.c child_hold
src/server/supervisor.c child_stop
src/server/supervisor.c signal_child
src/server/supervisor.c signal_end
src/server/supervisor.c signal_reload
src/server/supervisor.c signal_upgrade
'

# A module may stand in several files: a_b.c without a header of its own is part of a.c. So the module of a file is its own
# name and that of each header beside it whose name it extends.
modules_of()
{
    local folder=${1%/*} stem

    stem=$(basename "$1" | sed 's/\.[ch]$//')
    echo "$stem"
    [ -e "$folder/$stem.h" ] && return
    while [ "${stem%_*}" != "$stem" ]; do
        stem=${stem%_*}
        [ -e "$folder/$stem.h" ] && echo "$stem"
    done
}

check_tags()
{
    c_files src | while read -r file; do
        ctags -f - --c-kinds=efptvx --map-c=+.h --fields=+nkKt --excmd=number --sort=no "$file" 2>/dev/null |
            awk -F '\t' -v modules="$(modules_of "$file" | tr '\n' ' ')" \
                -v constants="$other_constants" '
                function complain(message) { print $2 ":" line ": " message }

                function has_prefix(name, upper,    i, prefix) {
                    for (i = 1; i <= modules_count; i++) {
                        prefix = upper ? toupper(module[i]) : module[i]
                        if (name == prefix || index(name, prefix "_") == 1)
                            return 1
                    }
                    return 0
                }

                function has_other_prefix(name,    i, n, entry, word) {
                    n = split(constants, entry, "\n")
                    for (i = 1; i <= n; i++)
                        if (split(entry[i], word, " ") == 2 && word[1] == $2 && index(name, word[2]) == 1)
                            return 1
                    return 0
                }

                BEGIN { modules_count = split(modules, module, " ") }

                {
                    line = kind = type = ""
                    local = 0
                    for (i = 4; i <= NF; i++) {
                        if ($i ~ /^line:/)
                            line = substr($i, 6)
                        else if ($i ~ /^typeref:/)
                            type = substr($i, 9)
                        else if ($i ~ /^file:/)
                            local = 1
                        else if ($i !~ /:/)
                            kind = $i
                    }
                    header = $2 ~ /\.h$/
                }

                kind == "typedef" && $1 !~ /_fn$/ {
                    complain("typedef " $1 ": only function types have one, and end in _fn")
                }
                kind == "typedef" && type ~ /^(struct|union|enum):[A-Za-z0-9_]*$/ { complain("a typedef for a " type) }
                kind ~ /^(function|variable|prototype|externvar)$/ && header && !has_prefix($1, 0) {
                    complain($1 " is exported without the prefix " module[1] "_")
                }
                kind == "function" && !header && local && index($1, module[1] "_") == 1 {
                    complain($1 " is static: no prefix " module[1] "_")
                }
                kind == "enumerator" && header && !has_prefix($1, 1) && !has_other_prefix($1) {
                    complain($1 " is a constant without the prefix " toupper(module[1]) "_")
                }'
    done
}

# Where NAME first stands in FILE.
complain_of()
{
    local line

    line=$(grep -nwm 1 -e "$2" "$1" | cut -d: -f1)
    echo "$1:${line:-1}: $2 $3"
}

# What the compiler made of a file tells exported from static, and constant from mutable, better than its text.
check_symbols()
{
    local module

    c_files src | grep '\.c$' | while read -r file; do
        if ! compile -w -O0 -fno-pic -c "$file" -o "$scratch/object" 2>"$scratch/errors"; then
            echo "$file:1: does not compile: $(grep -m 1 error "$scratch/errors")"
            continue
        fi
        nm "$scratch/object" >"$scratch/symbols"
        awk '$(NF - 1) ~ /^[bBCdDsSgG]$/ { sub(/\.[0-9]+$/, "", $NF); print $NF }' "$scratch/symbols" |
            while read -r name; do
                grep -qxF "$file $name" <<<"$state" || complain_of "$file" "$name" 'can change and outlives the call'
            done
        module=$(modules_of "$file" | tr '\n' '|')
        awk '$(NF - 1) ~ /^[BCDGRSTVW]$/ { print $NF }' "$scratch/symbols" | grep -vE "^(${module%|})(_|\$)" |
            while read -r name; do
                grep -qxF "$file $name" <<<"$other_names" ||
                    complain_of "$file" "$name" "is exported without the prefix ${module%%|*}_"
            done
    done
}

check()
{
    check_tags
    check_symbols
}

need nm --version
conclude check
