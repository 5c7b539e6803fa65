# shellcheck shell=bash disable=SC2034,SC2154
# What figures are made of. Sourced by scripts/bench.
#
# A figure's function runs in a subshell under `set -e`, with `work` (a directory of its own), `rounds`, `seconds`, `scale` and `larder`.
# It tells what it found by `reached`, `told` and `skip`. To fail, it ends with a status other than 0, having said why.

bench=$root/tests/bench
larder=$(realpath -sm "${LARDER:-$root/build/larder}")
export LARDER=$larder
declare -A figure_function figure_seconds figure_what
figures=()

# figure NAME FUNCTION SECONDS WHAT: SECONDS is an expression of `rounds` and `seconds`, an estimate.
figure() {
    figures+=("$1")
    figure_function[$1]=$2 figure_seconds[$1]=$(($3)) figure_what[$1]=$4
}

# put_row WHAT VALUE OPERATOR PROMISED UNIT VERDICT [WHY]: one line of results; numbers and OPERATOR are JSON.
put_row() {
    jq -cn --arg figure "$figure_name" --arg what "$1" --argjson value "$2" --argjson operator "$3" --argjson promised "$4" \
        --arg unit "$5" --arg verdict "$6" --arg why "${7:-}" '
        {$figure, $what, $value, unit: (if $unit == "" then null else $unit end),
         promised: (if $operator == null then null else {$operator, value: $promised} end),
         verdict: (if $verdict != "" then $verdict
            elif $operator == null then "told"
            elif {">=": ($value >= $promised), ">": ($value > $promised), "<=": ($value <= $promised), "<": ($value < $promised),
                  "=": ($value == $promised)}[$operator] then "ok"
            else "short" end),
         why: (if $why == "" then null else $why end)}' >>"$results"
}

# reached WHAT VALUE OPERATOR PROMISED [UNIT]
reached() { put_row "$1" "$2" "\"$3\"" "$4" "${5:-}" ''; }

# told WHAT VALUE [UNIT]: worth knowing; nothing is promised.
told() { put_row "$1" "$2" null null "${3:-}" ''; }

# skip WHY [WHAT]: of the figure, or all of it.
skip() { put_row "${2:-${figure_what[$figure_name]}}" null null null '' skipped "$1"; }

print_head() { printf '%-15s %-58s %12s  %-12s %s\n' figure what reached promised ''; }

# print_rows: lines of results, as a table.
print_rows() {
    local name what value promised verdict
    jq -r 'def short: if . == null then "-" elif (. * 1000 | round) == . * 1000 and (. | round) == . then tostring
            elif . < 100 and . > -100 then . * 1000 | round / 1000 | tostring else round | tostring end;
        [.figure, .what, (.value | short) + (if .unit and .value then " " + .unit else "" end),
         (if .promised then .promised.operator + " " + (.promised.value | short) else "-" end),
         if .verdict == "told" then "-" else .verdict + (if .why then ": " + .why else "" end) end] | @tsv' |
        while IFS=$'\t' read -r name what value promised verdict; do
            printf '%-15s %-58s %12s  %-12s %s\n' "$name" "$what" "$value" "$promised" "${verdict#-}"
        done
}

# median NUMBER...
median() { printf '%s\n' "$@" | sort -g | awk '{ a[NR] = $1 } END { print NR % 2 ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'; }
# divide A B
divide() { awk -v a="$1" -v b="$2" 'BEGIN { if (b == 0) exit 1; printf "%.6f\n", a / b }'; }

# free_port: the first of two neighbouring ports where nobody listens; below those of the system tests, which may run beside this.
free_port() {
    local port
    for ((port = 12000 + $$ % 700 * 10; port < 20000; port += 10)); do
        if listens "$port" || listens $((port + 1)); then continue; fi
        echo "$port"
        return
    done
    echo 'no free port' >&2
    return 1
}
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# copy_sql: the shipped SQL and the benchmark's, as $work/sql; the benchmark's migrations are numbered behind the shipped ones.
copy_sql() {
    local number file
    cp -r "$root/sql" "$work/sql"
    cp "$bench"/resources/*.sql "$work/sql/resources/"
    number=$(find "$work/sql/migrations" -name '[0-9]*.sql' | wc -l)
    for file in "$bench"/migrations/*.sql; do
        cp "$file" "$work/sql/migrations/$(printf '%04d' $((++number)))-${file##*/}"
    done
}

# start_stack [OPTION...]: a stack with the SQL of copy_sql, below `work`; its environment becomes variables.
start_stack() {
    local port
    mkdir "$work/stack"
    [[ -e $work/sql ]] || copy_sql
    port=$(free_port)
    "$root/scripts/stack" up --dir "$work/stack" --port "$port" --workers 2 --sql "$work/sql" "$@"
    # shellcheck disable=SC1091
    source "$work/stack/env"
}

# count_of URL COUNTER: of that host's /stats.
count_of() { curl -sf -m 10 "$1/stats" | jq ".counters.$2"; }

# load URL SECONDS CONNECTIONS [ARGUMENT...]: wrk's run; sets `rate`, requests a second, and `p99`, microseconds. Every answer must be 2xx.
# `script` names another of the scripts in tests/bench than load.lua.
load() {
    local url=$1 duration=$2 connections=$3 failed
    shift 3
    wrk -t1 "-c$connections" "-d${duration}s" --timeout 30s -s "$bench/${script:-load.lua}" "$@" "$url" >"$work/wrk"
    read -r rate p99 failed < <(sed -n 's/^LOAD //p' "$work/wrk")
    [[ $failed == 0 ]] || { echo "$url: ${failed:-all} requests failed"; cat "$work/wrk"; return 1; } >&2
}

# client ARGUMENT...
client() { "$python" "$bench/client.py" "$@"; }

# fill_items COUNT: entries of /api/bench/items/{n} in Redis, for n below COUNT. All are copies of larder's own entry for 0, which knows
# its key as little as Redis knows what it holds; so an answer whose n is 0 is a copy, and one with the n asked for was computed.
fill_items() {
    local count=$1 physical from
    curl -sf -m 10 -o /dev/null "$URL/api/bench/items/0"
    physical=$(redis-cli -s "$REDIS_SOCKET" --scan --pattern '*bench:item:0')
    [[ $physical && $physical != *$'\n'* ]] || { echo "not one entry in Redis: '$physical'" >&2; return 1; }
    cat >"$work/fill.lua" <<'LUA'
local entry, left = redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])
local prefix = KEYS[1]:sub(1, -2)
for n = ARGV[1], ARGV[2] do redis.call('SET', prefix .. string.format('%d', n), entry, 'PX', left) end
LUA
    local sha
    sha=$(redis-cli -s "$REDIS_SOCKET" -x SCRIPT LOAD <"$work/fill.lua")
    # Small steps: larder must not take Redis for dead meanwhile.
    for ((from = 1; from < count; from += 5000)); do
        echo "EVALSHA $sha 1 $physical $from $((from + 5000 < count ? from + 4999 : count - 1))"
    done | redis-cli -s "$REDIS_SOCKET" >"$work/fill.log"
    ! grep -i err "$work/fill.log"
}
