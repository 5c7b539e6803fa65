# shellcheck shell=bash disable=SC2154
# What a hit in L1 costs in instructions, which no other load on the machine changes. tests/system compares it with the same file.

instructions() {
    local count kept
    if ! command -v valgrind >/dev/null; then skip 'valgrind is not installed'; return; fi
    count=$("$python" "$bench/instructions.py" "$(free_port)")
    kept=$(grep -v '^#' "$bench/instructions.txt")
    reached "of a worker for each hit; instructions.txt says $kept" "$count" '<=' $((kept * 11 / 10))
}

figure instructions instructions 20 'instructions of a hit in L1, by callgrind'
