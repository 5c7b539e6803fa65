# shellcheck shell=bash disable=SC2154
# 1,000 clients at once, on two hosts, ask for one key that is nowhere yet and whose statement takes a second.

cold() {
    local steps=2000000 best before after round clients=$((1000 / scale)) answer
    ((clients >= 2)) || clients=2
    start_stack --hosts 2
    best=$(for round in a b c; do
        curl -sf -o /dev/null -w '%{time_total}\n' "$URL/api/bench/slow/$round?steps=$steps"
    done | sort -g | head -n 1)
    steps=$(awk -v steps=$steps -v took="$best" 'BEGIN { printf "%d", steps / took }')
    for ((round = 0; round < 3; round++)); do
        before=$(($(count_of "$URL" statements) + $(count_of "$URL2" statements)))
        answer=$(client cold "$clients" "/api/bench/slow/cold$round?steps=$steps" "$URL" "$URL2")
        echo "$answer"
        after=$(($(count_of "$URL" statements) + $(count_of "$URL2" statements)))
        jq -c ". + {statements: $((after - before))}" <<<"$answer" >>"$work/rounds"
    done
    reached "times the statement ran for $clients clients, at most" "$(jq -s 'map(.statements) | max' "$work/rounds")" '=' 1
    reached 'answers but 200, and 503 with Retry-After' "$(jq -s 'map(.other) | max' "$work/rounds")" '=' 0
    told '200, at least' "$(jq -s 'map(.ok) | min' "$work/rounds")"
    told '503 with Retry-After, at most' "$(jq -s 'map(.busy) | max' "$work/rounds")"
    told 'the last answer, at worst' "$(jq -s 'map(.seconds) | max' "$work/rounds")" s
}

figure cold cold 20 'cold key, statement of 1 s, 1,000 clients at once on two hosts'
