#!/usr/bin/env bash
# The first rows of the performance page, on this machine, in one run: the node beside its peers, one table at the end, and every
# result as target/bench/*.json. Rounds are interleaved (node, peer, node, peer), each on a fresh store, since a machine is not
# the same from one minute to the next; the ratio printed is the median of the rounds.
#
#   scripts/bench.sh          three rounds of ten seconds
#   scripts/bench.sh quick    one round of three seconds: a look, not a result
#
# BENCH_BINARIES=DIR measures the binaries in DIR instead of building a release; the figures are then of those.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$HOME/.cargo/bin:$PATH"
unset SHELFD_URL SHELFD_TOKEN

case "${1:-full}" in
quick) rounds=1 seconds=3 warm_up=1 ;;
full) rounds=3 seconds=10 warm_up=3 ;;
*)
    echo "usage: scripts/bench.sh [quick]" >&2
    exit 64
    ;;
esac

binaries=${BENCH_BINARIES:-target/release}
if [ -z "${BENCH_BINARIES:-}" ]; then
    cargo build --release --locked --bin shelfd --example bare_loop
fi
shelfd=$binaries/shelfd
bare_loop=$binaries/examples/bare_loop

out=target/bench
stores=$out/stores
mkdir -p "$out"
rm -rf "$out"/*.json "$stores"
mkdir -p "$stores"

peer_pid=
peer_url=
stop_peer() {
    if [ -n "$peer_pid" ]; then
        kill "$peer_pid" 2>/dev/null || true
        wait "$peer_pid" 2>/dev/null || true
        peer_pid=
    fi
    rm -rf "$stores/bare_loop"
}
trap 'stop_peer; rm -rf "$stores"' EXIT

# Starts the bare loop on a fresh store and a free port. It says where it listens in its first line.
start_peer() {
    mkfifo "$stores/address"
    "$bare_loop" "$stores/bare_loop" >"$stores/address" &
    peer_pid=$!
    read -r line <"$stores/address"
    peer_url=${line#listening on }
    rm "$stores/address"
}

failed=0
number=0
# One row: `row NAME PEER OPTIONS…`, PEER being `bare` or `alone`.
row() {
    local name=$1 peer=$2 round file
    shift 2
    number=$((number + 1))
    for round in $(seq "$rounds"); do
        file=$(printf '%s/%02d-%d' "$out" "$number" "$round")
        echo "bench: $name (round $round of $rounds)" >&2
        "$shelfd" bench --json --row "$name" --for "$seconds" --warm-up "$warm_up" --store-in "$stores" "$@" >"$file-a-shelfd.json" ||
            failed=1
        if [ "$peer" = bare ]; then
            start_peer
            "$shelfd" bench --json --row "$name" --for "$seconds" --warm-up "$warm_up" --url "$peer_url" --pid "$peer_pid" \
                --subject 'bare loop' "$@" >"$file-b-bare_loop.json" || failed=1
            stop_peer
        fi
    done
}

row 'sale, 64 connections' bare --work sale --connections 64
row 'sale, 256 connections' bare --work sale --connections 256
row 'sale, 2,100 due a second' bare --work sale --rate 2100
row 'batches of 1,000, 5,000 SKUs' bare --work batch --batch 1000 --connections 8
row 'batches of 1,000, 100,000 SKUs' bare --work batch --batch 1000 --connections 8 --skus 100000
row 'reads while sales are committed' bare --work read --beside sale
row 'hold, then confirm, 64 connections' alone --work hold-confirm
row 'baskets of 10 lines, held' alone --work basket --lines 10 --ttl 30

left_out=
if ! benches/peers/postgres.sh 'sale, 64 connections' "$seconds" "$out/01-9-c-postgresql.json"; then
    left_out='PostgreSQL (its reason stands above)'
fi

# A run without a result left an empty file, and was reported when it failed.
find "$out" -maxdepth 1 -name '*.json' -empty -delete
echo
"$shelfd" bench --report "$out"
echo
echo "The generator shared the machine with what it measured. The results are in $out/*.json."
if [ -n "$left_out" ]; then
    echo "Left out: $left_out." >&2
fi
if [ "$failed" != 0 ]; then
    echo "At least one run failed (see above): its row is missing or incomplete." >&2
    exit 70
fi
