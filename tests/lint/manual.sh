#!/bin/bash
# The manual: every page is what mandoc calls clean, and the one on resources describes every word that a resource may have.
# Whether the others know every command and setting is for tests/install/manual.sh, which asks the program.
. "$(dirname "$0")/common.sh"
need mandoc -T ascii /dev/null

page=man/larder-resource.5
words_from=src/config/catalog_draft.c

# Whether other programs' pages are installed is no matter of ours.
pages()
{
    local frame=man/larder.conf.5.in

    {
        find man -type f -name '*.[1-9]' 2>/dev/null | sort | while read -r file; do
            mandoc -T lint "$file" 2>&1
        done
        if [ -e $frame ]; then
            awk -f man/settings.awk larder.conf.sample $frame >"$scratch/larder.conf.5"
            mandoc -T lint "$scratch/larder.conf.5" 2>&1 | sed "s|$scratch/larder.conf.5|$frame|"
        fi
    } | grep -v -e 'referenced manual not found' -e 'outdated mandoc.db' |
        sed -e 's/^mandoc: \([^:]*:[0-9]*\):[0-9]*: /\1: /' -e 's/^mandoc: \([^:]*\): \([A-Z]\)/\1:1: \2/'
}

words()
{
    [ -e $words_from ] || return 0
    awk '/word_names\[/ { inside = 1 }
        inside { while (match($0, /"[a-z_]+"/)) { print NR, substr($0, RSTART + 1, RLENGTH - 2); $0 = substr($0, RSTART + RLENGTH) } }
        /};/ { inside = 0 }' $words_from >"$scratch/words"
    [ -s "$scratch/words" ] || echo "$words_from:1: holds no words, where they are looked for"
    while read -r line word; do
        grep -qs "^\.It Cm $word :" $page || echo "$words_from:$line: $page does not describe $word"
    done <"$scratch/words"
}

check()
{
    pages
    words
}

conclude check
