#!/usr/bin/env bash
# Everything that CI checks. All steps run even when one fails, so that one run tells all; a failed step counts as one failure.
# At the end: what the tests ran on of ../shared/data, what could not be checked, and the sum as the last line.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$HOME/.cargo/bin:$PATH"

scripts/setup.sh broker counter clock || { echo "0 passed, 1 failed (setup)"; exit 1; }

failed_steps=()
notes=()
step() {
    local name=$1 begin=$SECONDS
    shift
    printf '\n== %s\n' "$name"
    "$@" </dev/null || failed_steps+=("$name")
    printf '== %s: %d s\n' "$name" $((SECONDS - begin))
}

# Deaths are planted by the thousand, and each would have its trace written out.
export RUST_BACKTRACE=0
mkdir -p target
log=$PWD/target/test.log
export SHELFD_TEST_TALLY=$PWD/target/test.tally
: >"$log"
: >"$SHELFD_TEST_TALLY"
: >"$SHELFD_TEST_TALLY.not_checked"

deny() {
    local out status
    out=$(scripts/deny.sh 2>&1)
    status=$?
    printf '%s\n' "$out"
    [ "$status" = 2 ] && notes+=("${out##*$'\n'}")
    [ "$status" != 1 ]
}
# What an event costs, in instructions; the last line of a check that could not be made says why.
instructions() {
    local out status
    out=$(scripts/instructions.sh 2>&1)
    status=$?
    printf '%s\n' "$out"
    [ "$status" = 2 ] && notes+=("${out##*$'\n'}")
    [ "$status" = 0 ] || [ "$status" = 2 ]
}
# Most tests wait for a node, a time limit or a disk, so twice as many run at once as there are cores; there are no examples in
# documentation to try.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
tests() { cargo test --locked --no-fail-fast --lib --bins --tests 2>&1 | tee "$log"; }

step format cargo fmt --all --check
step clippy cargo clippy --locked -p shelfd -p bare_loop --all-targets --quiet -- -D warnings
step dependencies deny
step tests tests
step instructions instructions

printf '\n'
scripts/tally.sh "$SHELFD_TEST_TALLY"
mapfile -t -O "${#notes[@]}" notes < <(sort -u "$SHELFD_TEST_TALLY.not_checked")
for note in "${notes[@]}"; do echo "$note"; done
if [ "${#notes[@]}" -gt 0 ]; then echo "${#notes[@]} not checked"; fi

read -r passed failed < <(awk '/^test result:/ { p += $4; f += $6 } END { print p + 0, f + 0 }' "$log")
# A test step that failed without a failed test did not compile, or lost a whole binary.
other=()
for name in "${failed_steps[@]}"; do
    if [ "$name" = tests ] && [ "$failed" -gt 0 ]; then continue; fi
    other+=("$name")
done
if [ "${#failed_steps[@]}" -gt 0 ]; then echo "failed: ${failed_steps[*]}"; fi
echo "$passed passed, $((failed + ${#other[@]})) failed"
[ "${#failed_steps[@]}" = 0 ]
