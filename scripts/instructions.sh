#!/usr/bin/env bash
# Counts the instructions of the steps that every event takes (benches/counts) and compares them with benches/instructions.toml.
# Times differ by a third on a shared machine; these numbers repeat. A step that grows by more than 10 % fails, unless the record
# changes with it, so that whoever makes an event dearer says so.
#
#   scripts/instructions.sh           compares; exit code 1: a step grew, 2: not checked, and the last line says why
#   scripts/instructions.sh --record  writes the record anew
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$HOME/.cargo/bin:$PATH"

record=benches/instructions.toml
steps=(decode_row decode_body decide fold encode_fact decode_fact)
times=1000

if ! command -v valgrind >/dev/null; then
    echo "not checked: instruction counts (valgrind is missing; apt-get install valgrind brings it)"
    exit 2
fi
# The record holds for one kind of processor.
if [ "$(uname -m)" != x86_64 ]; then
    echo "not checked: instruction counts (the record is of x86_64, this is $(uname -m))"
    exit 2
fi
${CARGO:-cargo} build --locked --quiet -p shelfd-counts
binary=${CARGO_TARGET_DIR:-target}/debug/shelfd-counts

# All instructions of a process that repeats a step so many times, its start included.
instructions() {
    local said
    said=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" "$1" "$2" 2>&1) ||
        { echo "$said" >&2; return 1; }
    sed -n 's/^==[0-9]*== Collected : \([0-9]*\).*/\1/p' <<<"$said"
}

new=$(mktemp)
trap 'rm -f "$new"' EXIT
{
    echo "# Instructions of one step of one event on fixed data (benches/counts), counted by callgrind on x86_64; decode_body: of ten events."
    echo "# Written by: scripts/instructions.sh --record"
} >"$new"
grew=0
for step in "${steps[@]}"; do
    few=$(instructions "$step" 10)
    many=$(instructions "$step" $((times + 10)))
    count=$(((many - few) / times))
    echo "$step = $count" >>"$new"
    if [ "${1:-}" = --record ]; then
        echo "$step: $count instructions"
        continue
    fi
    known=$(sed -n "s/^$step = \([0-9]*\)$/\1/p" "$record")
    if [ -z "$known" ]; then
        echo "$step: $count instructions, and $record does not know it" >&2
        grew=1
        continue
    fi
    # In tenths of a per cent.
    change=$(((count - known) * 1000 / known))
    sign=+ size=$change
    if [ "$change" -lt 0 ]; then sign=- size=$((-change)); fi
    printf '%-12s %6d instructions, recorded %6d: %s%d.%d %%\n' "$step" "$count" "$known" "$sign" $((size / 10)) $((size % 10))
    if [ "$change" -gt 100 ]; then
        echo "$step takes more than 10 % more instructions than recorded" >&2
        grew=1
    elif [ "$change" -lt -100 ]; then
        echo "$step got cheaper by more than 10 %: record it, so that it stays so (scripts/instructions.sh --record)"
    fi
done
if [ "${1:-}" = --record ]; then
    mv "$new" "$record"
    chmod 644 "$record"
    trap - EXIT
elif [ "$grew" != 0 ]; then
    echo "If that is what it should cost: scripts/instructions.sh --record, and say in the commit why." >&2
    exit 1
fi
