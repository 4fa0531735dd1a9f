#!/usr/bin/env bash
# The long versions of all that shows that nothing is lost, nothing is done twice and nothing is oversold: one after another, with a
# line of progress now and then, and a table at the end of what was run, how many cases, and what was found. Ctrl-C ends the one that
# runs and prints the table so far.
#
#   scripts/torture.sh                  all of it: many hours
#   scripts/torture.sh NAME…            those
#   scripts/torture.sh --short [NAME…]  with as many cases as `make test` has: half an hour, a look and not the proof
#   scripts/torture.sh --list           the names, and what each of them is
#   SHELFD_TORTURE_CASES=200 scripts/torture.sh killed   so many cases in place of the full number
#   SHELFD_TEST_SEED=7 scripts/torture.sh                other random choices
#
# Each stage is tests that read SHELFD_TORTURE and print `torture: NAME: N cases, M found`. Fuzzing is apart: `make fuzz`.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$HOME/.cargo/bin:$PATH"

# name | which tests: lib (inside the crate) or promises (the real binary) | filter | what it is
stages=(
    "cuts|lib|faults::cuts|power cuts at every point of a store's life"
    "errors|lib|faults::errors|each read, write, sync and resize fails, once and from then on"
    "broken|lib|faults::broken|flipped bits, cut files, swapped pages"
    "simulator|lib|simulator|the whole node on one thread with simulated time, by seeds"
    "killed|promises|crash::|the real binary under load, kill -9"
    "linearizable|promises|linearizable::|histories of concurrent clients under kill, checked"
    "full_disk|promises|full_disk::|a disk that fills up and gets room again"
    "clocks|promises|clocks::|clocks that jump, go back, change their zone"
    "plug|promises|plug::|a machine with systemd whose plug is pulled"
    "poison|promises|poison::|each kind of actor dies at its worst moment"
    "museum|promises|museum::|twelve known ways of overselling"
    "kafka|promises|kafka::|broker and node killed in mid-stream, months of a shop"
)

if [ "${1:-}" = --list ]; then
    for stage in "${stages[@]}"; do
        IFS='|' read -r name _ _ about <<<"$stage"
        printf '%-13s %s\n' "$name" "$about"
    done
    exit 0
fi
short=0
if [ "${1:-}" = --short ]; then
    short=1
    shift
fi
wanted=("$@")
for name in "${wanted[@]}"; do
    printf '%s\n' "${stages[@]}" | grep -q "^$name|" || { echo "torture: there is no $name; --list names them all" >&2; exit 64; }
done

# Deaths are planted by the thousand, and each would have its trace written out.
export RUST_BACKTRACE=0
unset SHELFD_TORTURE
if [ "$short" = 0 ]; then export SHELFD_TORTURE=50; fi
scripts/setup.sh broker clock || exit 1
# Without an emulator its stage fails and says what is missing; the others run.
if [ "$short" = 0 ]; then scripts/setup.sh plug || true; fi
# The optimiser's work pays for itself within minutes; what a debug build asserts stays in.
cargo=(${CARGO:-cargo} test --locked --quiet --profile proof)
"${cargo[@]}" --no-run --lib --test promises || exit 1

logs=target/torture
mkdir -p "$logs"
table=()
total_cases=0
total_found=0
failed=0
stopped=0
# Cargo does not hand a signal on to the tests that it runs.
trap 'stopped=1; for job in $(jobs -p); do pkill -P "$job"; kill "$job"; done 2>/dev/null' INT TERM
summary() {
    printf '\n%-13s %9s %12s %7s  %s\n' stage seconds cases found verdict
    for row in "${table[@]}"; do
        IFS='|' read -r name took cases found verdict <<<"$row"
        printf '%-13s %9s %12s %7s  %s\n' "$name" "$took" "$cases" "$found" "$verdict"
    done
    printf '\nshelfd %s, %s, seed %s%s: %d stages, %d cases, %d found, %d failed%s\n' \
        "$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1) ($(git describe --always --dirty 2>/dev/null || echo no commit))" \
        "$(date -u +%Y-%m-%dT%H:%MZ)" "${SHELFD_TEST_SEED:-default}" "${SHELFD_TORTURE_CASES:+, shortened to $SHELFD_TORTURE_CASES cases}$([ "$short" = 1 ] && echo ', as many cases as make test has')" \
        "${#table[@]}" "$total_cases" "$total_found" "$failed" "$([ "$stopped" = 1 ] && echo ', stopped before the end')"
}

# Runs tests by their names; what they say of themselves comes as it is said, and everything goes to the log.
run() {
    local log=$1
    shift
    "${cargo[@]}" "${target[@]}" -- --exact "$@" --nocapture --test-threads "${RUST_TEST_THREADS:-2}" 2>&1 |
        tee "$log" | grep --line-buffered -aE '^torture: |: [0-9]+ cases in |^test .*FAILED|^error' &
    local reader=$!
    while kill -0 "$reader" 2>/dev/null; do
        wait "$reader"
        [ "$stopped" = 0 ] || return
    done
}
# What such tests have in their names.
proof='finds|planted|is_refused$|agrees_with'

for stage in "${stages[@]}"; do
    [ "$stopped" = 0 ] || break
    IFS='|' read -r name kind filter about <<<"$stage"
    if [ ${#wanted[@]} -gt 0 ] && ! printf '%s\n' "${wanted[@]}" | grep -qx "$name"; then continue; fi
    printf '\n== %s: %s\n' "$name" "$about"
    begin=$SECONDS
    target=(--lib)
    [ "$kind" = promises ] && target=(--test promises)
    # Tests that prove on planted bugs that a check can fail are run as well, and what they find is what they must find.
    mapfile -t tests < <("${cargo[@]}" "${target[@]}" "$filter" -- --list 2>/dev/null | sed -n 's/: test$//p')
    mapfile -t proofs < <(printf '%s\n' "${tests[@]}" | grep -E "$proof")
    mapfile -t tests < <(printf '%s\n' "${tests[@]}" | grep -vE "$proof" | grep .)
    : >"$logs/$name.log"
    : >"$logs/$name.proofs.log"
    [ ${#tests[@]} = 0 ] || run "$logs/$name.log" "${tests[@]}"
    [ ${#proofs[@]} = 0 ] || [ "$stopped" = 1 ] || run "$logs/$name.proofs.log" "${proofs[@]}" | grep -v '^torture: '
    took=$((SECONDS - begin))
    read -r cases found < <(awk '/^torture: .*: [0-9]+ cases, [0-9]+ found$/ { c += $(NF-3); f += $(NF-1) } END { print c + 0, f + 0 }' "$logs/$name.log")
    read -r passed broke < <(cat "$logs/$name.log" "$logs/$name.proofs.log" | awk '/^test result:/ { p += $4; f += $6 } END { print p + 0, f + 0 }')
    # One that was stopped has got as far as it said last.
    [ "$stopped" = 0 ] || cases=$(grep -aoE ': [0-9]+ cases in ' "$logs/$name.log" | tail -1 | tr -dc '0-9')
    cases=${cases:-0}
    # Stages whose tests do not count cases are counted by tests.
    [ "$cases" = 0 ] && cases=$passed
    verdict="$passed tests passed, ${#proofs[@]} of them on planted bugs"
    if [ "$stopped" = 1 ]; then
        verdict=stopped
    elif [ $((${#tests[@]} + ${#proofs[@]})) = 0 ]; then
        verdict="no such tests"
        failed=$((failed + 1))
    elif [ "$broke" -gt 0 ] || [ "$passed" -lt $((${#tests[@]} + ${#proofs[@]})) ]; then
        verdict="$((${#tests[@]} + ${#proofs[@]} - passed)) tests failed: see $logs/$name.log and $name.proofs.log"
        failed=$((failed + 1))
    fi
    total_cases=$((total_cases + cases))
    total_found=$((total_found + found))
    table+=("$name|$took|$cases|$found|$verdict")
done
summary
[ "$failed" = 0 ] && [ "$total_found" = 0 ] && [ "$stopped" = 0 ]
