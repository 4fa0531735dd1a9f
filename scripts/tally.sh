#!/usr/bin/env bash
# Sums what the tests appended to the tally file ("name count unit" a line), and says what a complete run would have had beside it.
# tests/shared_data.tally holds the sums of a complete run, so that a clone without ../shared/data can say how much it left out.
set -euo pipefail
cd "$(dirname "$0")/.."
tally=$1
complete=tests/shared_data.tally
sums=$(mktemp)
trap 'rm -f "$sums"' EXIT
awk 'NF >= 3 { unit = $3; for (i = 4; i <= NF; i++) unit = unit " " $i; sum[$1 " " unit] += $2 }
     END { for (key in sum) { at = index(key, " "); print substr(key, 1, at - 1), sum[key], substr(key, at + 1) } }' "$tally" | sort >"$sums"
cp "$sums" target/test.tally.sums

if [ -s "$sums" ]; then
    echo "ran on shared data:"
    awk '{ name = $1; count = $2; $1 = $2 = ""; printf "  %-40s %12d%s\n", name, count, $0; sum[$0] += count }
         END { for (unit in sum) { printf "  %-40s %12d%s\n", "in all", sum[unit], unit } }' "$sums"
else
    echo "ran on shared data: nothing"
fi

left_out=$(awk 'FILENAME == ARGV[1] { ran[$1] = 1; next } !/^#/ && NF >= 3 && !($1 in ran)' "$sums" "$complete")
if [ -n "$left_out" ]; then
    if [ -d ../shared/data ]; then echo "left out, although ../shared/data is here (did a test not run?):"; else echo "left out, because ../shared/data is absent:"; fi
    awk '{ name = $1; count = $2; $1 = $2 = ""; printf "  %-40s %12d%s\n", name, count, $0 }' <<<"$left_out"
fi
unlisted=$(awk 'FILENAME == ARGV[1] { known[$1] = 1; next } !($1 in known) { print $1 }' "$complete" "$sums")
if [ -n "$unlisted" ]; then
    echo "not yet in $complete:" $unlisted
fi
