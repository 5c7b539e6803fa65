#!/bin/bash
# The manual as it is installed, against what the program says of itself: every command and option, every setting with its
# default, the files at the places where they are.
. "$(dirname "$0")/common.sh"

installed "$scratch/root"
man8=$(find "$scratch/root" -name larder.8)
man5=$(find "$scratch/root" -name larder.conf.5)
./larder --help >"$scratch/help" || complain "larder --help fails"
LARDER_STORE_SQL=$source_dir/sql LARDER_STORE_DATABASE=$scratch/larder.db ./larder --config /dev/null check --print \
    >"$scratch/settings" || complain "larder check --print fails"

# The text of larder.8 that describes the command $1.
described()
{
    awk -v command="$1" '
        /^\.Sh / { commands = $2 == "COMMANDS" }
        /^\.It / && commands && text { on = 0 }
        /^\.It / && commands { if ($2 == "Ic" && $3 == command) on = 1; text = 0; if (on) print; next }
        { text = 1; if (commands && on) print }' "$man8"
}

# Commands, and the options that the help names behind each.
count=0
while read -r line; do
    read -r command _ <<<"$line"
    count=$((count + 1))
    text=$(described "$command")
    [ "$text" ] || complain "larder.8 does not describe the command $command"
    for option in $(cut -c 1-50 <<<"$line" | grep -oE -e '--[a-z-]+'); do
        grep -qE "Fl -${option#--}( |\$)" <<<"$text" || complain "larder.8 does not describe $command $option"
    done
done < <(grep -E '^  [a-z]' "$scratch/help")
[ $count -gt 0 ] || complain "larder --help names no commands"
for option in $(grep -E '^  -' "$scratch/help" | grep -oE -e '--[a-z-]+'); do
    grep -qE "^\.It .*Fl -${option#--}( |\$)" "$man8" || complain "larder.8 does not describe $option"
done
while read -r command; do
    grep -qE "^  $command " "$scratch/help" || complain "larder.8 describes $command, which larder --help does not name"
done < <(awk '/^\.Sh / { commands = $2 == "COMMANDS" } commands && /^\.It Ic / { print $3 }' "$man8" | sort -u)

# Settings, by section, with their defaults.
awk '/^\[/ { section = $0 } /^#?[a-z0-9_]+ =/ { sub(/^#/, ""); print section, $0 }' "$scratch/settings" |
    sed 's/ = *$//; s/ =$//' | sort -u >"$scratch/program"
awk '/^\.Ss \[/ { section = substr($2, 1, length($2) - 4) "]" }
    /^\.It Cm / && section { sub(/^\.It Cm /, ""); sub(/ No = Ar /, " = "); sub(/\\&$/, ""); print section, $0 }' "$man5" |
    sort -u >"$scratch/page"
# These two are set here; boards are described in words.
keep() { grep -v -e '^\[store\] sql ' -e '^\[store\] database ' -e '^\[board\.' "$1" >"$1.kept"; }
keep "$scratch/program"
keep "$scratch/page"
[ "$(wc -l <"$scratch/program.kept")" -gt 20 ] || complain "larder check --print shows hardly any settings"
diff "$scratch/program.kept" "$scratch/page.kept" || complain "larder.conf.5 (>) differs from the program's settings (<)"

# Places: each that a page names below larder's own directories is where it was installed, or is made while larder runs.
while read -r path; do
    case $path in
        */larder.sock | */larder.db) continue ;;
    esac
    [ -e "$scratch/root$path" ] || complain "the manual names $path, which is not installed"
done < <(sed -n 's/^\.It Pa \(\/[^ ]*\).*/\1/p' "$man8" "$man5" | sort -u)

conclude
