# larder.conf.5 out of its frame and larder.conf.sample, which is the table of settings as larder prints it:
#
#     awk -f man/settings.awk larder.conf.sample man/larder.conf.5.in
#
# In the frame, `@settings NAME@` stands for the settings of the section NAME, and `@settings@` for the sections that have
# no line of their own, each under its heading. So a setting needs no word here, and a section only where there is more to say.

# TEXT as mdoc wants it: a sentence begins a line, and no line is long.
function describe(text,    words, n, i, line, out)
{
    n = split(text, words, " ")
    for (i = 1; i <= n; i++) {
        if (line != "" && (length(line) + length(words[i]) > 76 || line ~ /\.$/)) {
            out = out line "\n"
            line = ""
        }
        line = line (line == "" ? "" : " ") words[i]
    }
    return out line "\n"
}

# A VALUE that ends like a sentence is none.
function quoted(value)
{
    return value ~ /[.:;,?!]$/ ? value "\\&" : value
}

function items(section)
{
    printed[section] = 1
    printf ".Bl -tag -width Ds\n%s.El\n", settings[section]
}

FNR == 1 { file++ }

# The sample: what a setting is for stands above it.
file == 1 && /^\[/ {
    section = substr($0, 2, length($0) - 2)
    text = ""
    next
}
file == 1 && /^#[a-z0-9_]+ =/ {
    name = substr($1, 2)
    value = $0
    sub(/^#[a-z0-9_]+ = ?/, "", value)
    if (!(section in settings))
        order[++count] = section
    settings[section] = settings[section] ".It Cm " name (value == "" ? "" : " No = Ar " quoted(value)) "\n" describe(text)
    text = ""
    next
}
file == 1 && /^# / { text = text (text == "" ? "" : " ") substr($0, 3) }
file == 1 { next }

# The frame.
/^@settings [a-z0-9_]+@$/ {
    section = substr($2, 1, length($2) - 1)
    if (!(section in settings)) {
        printf "%s:%d: there are no settings of [%s]\n", FILENAME, FNR, section >"/dev/stderr"
        exit 1
    }
    items(section)
    next
}
/^@settings@$/ {
    for (i = 1; i <= count; i++)
        if (!(order[i] in printed)) {
            printf ".Ss [%s\\(rB\n", order[i]
            items(order[i])
        }
    next
}
{ print }
