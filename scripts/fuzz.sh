#!/usr/bin/env bash
# Coverage-guided fuzzing of every target of src/fuzz.rs, on the pinned compiler and with nothing to install but g++.
#
#   scripts/fuzz.sh                     each target for 300 seconds; a table at the end
#   scripts/fuzz.sh SECONDS [TARGET…]   for so long, those
#   scripts/fuzz.sh minimize [TARGET…]  keeps of each corpus the smallest inputs that reach as much
#
# Inputs that reach something new are kept in target/fuzz/TARGET; what is worth keeping for everybody goes to fuzz/corpus with
# `minimize`. An input that breaks something lies in target/fuzz/found, and the command that repeats it is printed. Ctrl-C ends the
# target that runs, and prints the table so far.
#
# Our crates alone are instrumented: a wrapper of rustc adds LLVM's coverage to the members of the workspace, so that the libraries
# are those that the tests have built.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$HOME/.cargo/bin:$PATH"

all=(events messages paths mapping config facts rows snapshots operations)
out=target/fuzz
mkdir -p "$out/found"

wrapper=$PWD/$out/rustc
cat >"$wrapper" <<'WRAPPER'
#!/bin/sh
exec "$@" --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=16
WRAPPER
chmod +x "$wrapper"
RUSTC_WORKSPACE_WRAPPER=$wrapper CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_INCREMENTAL=0 \
    ${CARGO:-cargo} build --locked --quiet -p shelfd-fuzz || exit 1
binary=${CARGO_TARGET_DIR:-target}/debug/shelfd-fuzz

if [ "${1:-}" = minimize ]; then
    shift
    for name in "${@:-${all[@]}}"; do
        new=$(mktemp -d)
        SHELFD_FUZZ=$name "$binary" -merge=1 "$new" "fuzz/corpus/$name" "$out/$name" 2>/dev/null || exit 1
        # The seeds that people wrote stay, by their names.
        find "fuzz/corpus/$name" -type f -regextype posix-extended -regex '.*/[0-9a-f]{40}' -delete
        for input in "$new"/*; do
            cmp -s "$input" <(cat "fuzz/corpus/$name"/seed-* 2>/dev/null) || cp "$input" "fuzz/corpus/$name/"
        done
        echo "$name: $(find "fuzz/corpus/$name" -type f | wc -l) inputs"
        rm -r "$new"
    done
    exit 0
fi

seconds=${1:-300}
[ $# -gt 0 ] && shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=("${all[@]}")
table=()
failed=0
stopped=0
trap 'stopped=1' INT
summary() {
    printf '\n%-12s %9s %12s %9s %8s %7s\n' target seconds inputs coverage corpus found
    for row in "${table[@]}"; do
        # shellcheck disable=SC2086 # the row's columns
        printf '%-12s %9s %12s %9s %8s %7s\n' $row
    done
}
for name in "${targets[@]}"; do
    [ "$stopped" = 0 ] || break
    mkdir -p "$out/$name"
    log=$out/$name.log
    begin=$SECONDS
    echo "== $name, $seconds s"
    SHELFD_FUZZ=$name "$binary" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1 \
        -artifact_prefix="$out/found/$name-" "$out/$name" "fuzz/corpus/$name" >"$log" 2>&1
    status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
    coverage=$(grep -o 'cov: [0-9]*' "$log" | tail -1 | tr -dc '0-9')
    found=0
    # libFuzzer ends with 0 when its time is over, and when it is interrupted.
    if [ "$status" != 0 ] && [ "$stopped" = 0 ]; then
        found=1
        failed=$((failed + 1))
        grep -aE '^(thread|assertion|  left|  right|SUMMARY)' "$log" | head -8
        input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -1)
        echo "again with: SHELFD_FUZZ=$name $binary ${input:-(no input was written; see $log)}"
    fi
    table+=("$name $((SECONDS - begin)) ${runs:-?} ${coverage:-?} $(find "$out/$name" -type f | wc -l) $found")
done
summary
echo "fuzz: ${#table[@]} targets, $failed found"
[ "$failed" = 0 ]
