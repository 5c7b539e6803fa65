#!/bin/bash
# Every event that the log may name stands in the table of docs/logging.md, and no other does.
. "$(dirname "$0")/common.sh"

table=docs/logging.md

# `file:line event` of each one that the source names, and `file:line ?` where a call does not show which it is. It is the
# second argument of most functions, the third of `write_line`, or assigned to something called `event`.
named()
{
    c_files src | while read -r file; do
        awk -v file="$file" '
            function line_of(at) { return gsub(/\n/, "\n", before) + 1 }

            # The argument NUMBER of the call whose parenthesis opens before TEXT.
            function argument(text, number,    i, c, depth, begin, found) {
                begin = found = 1
                for (i = 1; i <= length(text); i++) {
                    c = substr(text, i, 1)
                    if (c == "\"") {
                        while (i < length(text) && substr(text, ++i, 1) != "\"")
                            if (substr(text, i, 1) == "\\")
                                i++
                    } else if (c == "(" || c == "{") {
                        depth++
                    } else if ((c == ")" || c == "}") && depth-- == 0) {
                        return found == number ? substr(text, begin, i - begin) : ""
                    } else if (c == "," && depth == 0) {
                        if (found++ == number)
                            return substr(text, begin, i - begin)
                        begin = i + 1
                    }
                }
                return ""
            }

            function report(text, strict,    any) {
                while (match(text, /"[a-z0-9_]+"/)) {
                    print file ":" line_of() " " substr(text, RSTART + 1, RLENGTH - 2)
                    text = substr(text, RSTART + RLENGTH)
                    any = 1
                }
                if (!any && strict && text !~ /event/)
                    print file ":" line_of() " ?"
            }

            { all = all $0 "\n" }

            END {
                rest = all
                while (match(rest, /[a-z_.]+(\(| = ")/)) {
                    at = at + RSTART - 1
                    before = substr(all, 1, at)
                    name = substr(rest, RSTART, RLENGTH)
                    quoted = name ~ /"$/
                    at += RLENGTH
                    rest = substr(rest, RSTART + RLENGTH)
                    sub(/(\(| = ")$/, "", name)
                    if (quoted && name ~ /(^|[._])event$/)
                        report("\"" substr(rest, 1, index(rest, "\"")))
                    else if (!quoted && name ~ /^(log_event|log_report|log_write|app_note)$/)
                        report(argument(rest, 2), 1)
                    else if (!quoted && name ~ /^(tell|note_failure)$/)
                        report(argument(rest, 2))
                    else if (!quoted && name == "write_line")
                        report(argument(rest, 3))
                }
            }' "$file"
    done
}

check()
{
    named >"$scratch/named"
    sed -n 's/^| `\([a-z0-9_]*\)` | \(error\|warning\|notice\|info\|debug\).*/\1/p' $table 2>/dev/null | sort >"$scratch/described"
    while read -r place event; do
        if [ "$event" = '?' ]; then
            echo "$place: which event this is cannot be read"
        elif ! grep -qxF "$event" "$scratch/described"; then
            echo "$place: $table does not describe the event $event"
        fi
    done <"$scratch/named"
    sed 's/.* //' "$scratch/named" | sort -u >"$scratch/events"
    comm -13 "$scratch/events" "$scratch/described" | while read -r event; do
        echo "$table:$(grep -nm 1 -F "| \`$event\` |" $table | cut -d: -f1): nothing says $event"
    done
    uniq -d "$scratch/described" | while read -r event; do
        echo "$table:1: describes $event twice"
    done
}

conclude check
