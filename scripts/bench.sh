#!/usr/bin/env bash
# Every row of the performance page, on this machine, in one run: the node beside its peers, one table at the end, every result as
# target/bench/*.json and a plot of every row in target/bench/plots. Rounds are interleaved (node, peer, node, peer), each on a fresh
# store, since a machine is not the same from one minute to the next; the ratio printed is the median of the rounds.
#
#   scripts/bench.sh          everything, three rounds of five seconds: about twenty minutes beside the build
#   scripts/bench.sh quick    one round of two seconds of the most telling rows: a look, not a result; under three minutes
#   scripts/bench.sh soak     what takes long: 50 million events, and half an hour at half of what the node carries
#   scripts/bench.sh report   the table of the last run once more; `report --markdown` for the README
#
# BENCH_BINARIES=DIR measures the binaries in DIR instead of building a release; the figures are then of those.
# BENCH_ONLY=WORD runs only the rows whose name has the word. BENCH_SOAK_S, BENCH_SOAK_EVENTS: another length of the soak. BENCH_OUT=DIR:
# the results elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$HOME/.cargo/bin:$PATH"
unset SHELFD_URL SHELFD_TOKEN

mode=${1:-full}
case "$mode" in
quick) rounds=1 seconds=2 warm_up=1 ;;
full) rounds=3 seconds=5 warm_up=2 ;;
soak) rounds=1 seconds=${BENCH_SOAK_S:-1800} warm_up=5 ;;
report) ;;
*)
    echo "usage: scripts/bench.sh [quick|soak|report]" >&2
    exit 64
    ;;
esac

binaries=${BENCH_BINARIES:-target/release}
shelfd=$binaries/shelfd
bare_loop=$binaries/bare_loop
out=${BENCH_OUT:-target/bench}
if [ "$mode" = soak ] || { [ "$mode" = report ] && [ "${2:-}" = soak ]; }; then out=$out/soak; fi
if [ "$mode" = report ]; then
    shift
    if [ "${1:-}" = soak ]; then shift; fi
    exec "$shelfd" bench --report "$out" "$@"
fi
if [ -z "${BENCH_BINARIES:-}" ]; then
    cargo build --release --locked -p shelfd -p bare_loop
fi

stores=$out/stores
mkdir -p "$out"
rm -rf "$out"/*.json "$out/plots" "$stores"
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
left_out=()
file=
# Where the result of a subject goes.
measured() {
    file=$(printf '%s/%02d-%d-%s.json' "$out" "$number" "$round" "$1")
    echo "bench: $name, $1 (round $round of $rounds)" >&2
}

# What is lost of a row is said, and the other rows go on.
kept() {
    if ! "$@" >"$file"; then
        failed=1
        rm -f "$file"
    fi
}

node() {
    measured a-shelfd
    kept "$shelfd" bench --json --row "$name" --for "$seconds" --warm-up "$warm_up" --store-in "$stores" "$@"
}

bare() {
    measured b-bare_loop
    start_peer
    kept "$shelfd" bench --json --row "$name" --for "$seconds" --warm-up "$warm_up" --url "$peer_url" --pid "$peer_pid" \
        --subject 'bare loop' "$@"
    stop_peer
}

# A peer of another kind: `other WORD SCRIPT MORE…`; one that is missing has said so itself.
other() {
    local word=$1 script=$2
    shift 2
    measured "$word"
    if ! "benches/peers/$script.sh" "$name" "$seconds" "$file" "$@"; then
        left_out+=("$word of \"$name\"")
        rm -f "$file"
    fi
}

# A row between two topics of a real broker, once, and Kafka's own tools in the same run: `through NAME KIND EVENTS GOALS…`; see
# benches/peers/kafka.py for the kinds.
through() {
    local name=$1 kind=$2 events=$3 round=1 rounds=1 own python
    shift 3
    number=$((number + 1))
    case "$name" in *"${BENCH_ONLY:-}"*) ;; *) return ;; esac
    measured a-shelfd
    own=$file
    measured g-kafka
    if ! python=$(scripts/kafka.sh python) || ! scripts/kafka.sh fetch; then
        left_out+=("\"$name\" and Kafka's own tools")
        return
    fi
    local goals=()
    for goal in "$@"; do goals+=(--goal "$goal"); done
    if ! "$python" benches/peers/kafka.py "$kind" "$name" "$own" "$file" --binary "$shelfd" --stores "$stores" --events "$events" "${goals[@]}"; then
        failed=1
        rm -f "$own" "$file"
    fi
}

# One row: `row NAME PEERS OPTIONS…`. PEERS is a comma-separated list: bare, one (PostgreSQL), four, redis64, redis256, pipelined.
row() {
    local name=$1 peers=$2 round
    shift 2
    number=$((number + 1))
    case "$name" in *"${BENCH_ONLY:-}"*) ;; *) return ;; esac
    for round in $(seq "$rounds"); do
        node "$@"
        case ",$peers," in *,bare,*) bare "$@" ;; esac
        case ",$peers," in *,one,*) other c-postgresql-one postgres one ;; esac
        case ",$peers," in *,four,*) other d-postgresql-four postgres four ;; esac
        case ",$peers," in *,redis64,*) other e-redis redis 64 1 ;; esac
        case ",$peers," in *,redis256,*) other e-redis redis 256 1 ;; esac
        case ",$peers," in *,pipelined,*) other f-redis-pipelined redis 64 64 ;; esac
    done
}

# A row of the node alone, once: `once NAME SECONDS OPTIONS…`.
once() {
    local name=$1 round=1 rounds=1 seconds=$2
    shift 2
    number=$((number + 1))
    case "$name" in *"${BENCH_ONLY:-}"*) ;; *) return ;; esac
    node "$@"
}

growth=(--growth 'batches of 1,000 events by the number of SKUs')
batch=(--work batch --batch 1000 --connections 8)

throughput() {
    row 'sale, 64 connections' bare,one,four,redis64,pipelined --work sale --connections 64 \
        --goal 'ratio:bare loop >= 0.85' --goal 'ratio:PostgreSQL, one prepared statement >= 3'
    row 'sale, 256 connections' bare,redis256 --work sale --connections 256 --goal 'ratio:bare loop >= 0.85'
    row 'sale, 2,100 due a second' bare --work sale --rate 2100 \
        --goal 'p50_ms <= 1' --goal 'p99_ms <= 5' --goal 'p999_ms <= 20'
    row 'reads while 5,000 sales a second are committed' bare --work read --beside sale --beside-rate 5000 \
        --goal 'ratio:bare loop >= 0.8'
    row 'batches of 1,000, 5,000 SKUs' bare "${batch[@]}" "${growth[@]}" --goal 'per_s >= 500000'
    row 'batches of 1,000, 100,000 SKUs' bare "${batch[@]}" --skus 100000 "${growth[@]}" --goal 'per_s >= 500000'
}

# How the node fares when it is not simply asked for all that it has.
characters() {
    once 'a single sale beside batches of 10,000' "$1" --work sale --connections 16 --rate 500 \
        --beside batch --beside-connections 1 --batch 10000 --goal 'p99_ms <= 20'
    once 'overload: batches of 1,000, twice and ten times' "$1" --probe overload "${batch[@]}" \
        --goal 'x2_to_best >= 0.9' --goal 'x2_refused_p99 <= 10' --goal 'x2_recovered_after <= 1' \
        --goal 'x10_to_best >= 0.9' --goal 'x10_refused_p99 <= 10' --goal 'x10_recovered_after <= 1'
    once 'bytes on the disk for an event' "$1" --probe disk "${batch[@]}" --goal 'written_to_fact <= 3'
    once 'idle, 5,000 SKUs' "$1" --probe idle --goal 'cpu <= 0.5' --goal 'resident <= 57.2'
}

# Through a real broker; the tools are those that come with it. What the node's share is of two cores that the broker uses as well, the
# figure per second of its CPU tells.
kafka() {
    through 'Kafka in, durable, Kafka out' through "$1" 'per_cpu_s >= 75000' "ratio:Kafka's own tools >= 0.5" 'peak <= 300'
    through 'Kafka: light events while a heavy import runs' light "$1" 'within_50_ms >= 99.9' 'peak <= 300'
    through 'Kafka: a backlog after an outage' outage "$2" "ratio:Kafka's ProducerPerformance >= 0.5" 'peak <= 300'
}

# A virtual machine's memory is its host's until it is touched, and again soon after it is freed: a page of the file then costs ten
# microseconds more than on a box that has been up for a day, whose page cache is full. A row that writes gigabytes would measure that. Once
# for a run: what is read a second time is kept in favour of the store's own pages.
fill_page_cache() {
    case "$1" in *"${BENCH_ONLY:-}"*) ;; *) return ;; esac
    local mib=$(($(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo) / 1024 - 3072))
    if [ "$mib" -gt 0 ]; then
        echo "bench: filling the page cache with $mib MiB of zeros" >&2
        truncate -s "${mib}M" "$stores/zeros"
        cat "$stores/zeros" >/dev/null
    fi
}

# Goals of memory are in MB on the performance page, and figures of processes in MiB: 57.2, 95.3, 114.4 and 286.1 MiB are 60, 100, 120 and 300 MB.
case "$mode" in
quick)
    throughput
    row 'baskets of 10 lines, held, 256 connections' alone --connections 256 --work basket --lines 10 --ttl 30 --goal 'per_s >= 10000'
    characters 3
    kafka 200000 200000
    once 'start, 100,000 SKUs' 2 --probe start "${batch[@]}" --skus 100000 --goal 'lost <= 0'
    ;;
full)
    throughput
    row 'batches of 1,000, 1,000,000 SKUs' bare "${batch[@]}" --skus 1000000 "${growth[@]}" --goal 'per_s >= 350000' \
        --goal 'slower_than:batches of 1,000, 1,000 SKUs <= 1.5'
    row 'baskets of 10 lines, held, 256 connections' alone --connections 256 --work basket --lines 10 --ttl 30 --goal 'per_s >= 10000'
    row 'hold, then confirm, 64 connections' alone --work hold-confirm
    rounds=1
    row 'batches of 1,000, 1,000 SKUs' bare "${batch[@]}" --skus 1000 "${growth[@]}"
    row 'batches of 1,000, 10,000 SKUs' bare "${batch[@]}" --skus 10000 "${growth[@]}"
    row 'batches of 1,000, one hot SKU' bare "${batch[@]}" --skus 1
    row 'batches of 1,000, 100,000 SKUs, Zipf 1.1' bare "${batch[@]}" --skus 100000 --zipf 1.1
    characters 8
    once 'start, 1,000,000 SKUs' 5 --probe start "${batch[@]}" --skus 1000000 \
        --goal 'ready_after_stop <= 2' --goal 'ready_after_kill <= 5' --goal 'lost <= 0'
    once 'memory, 100,000 SKUs asleep' 5 --probe memory --skus 100000 --goal 'at_rest <= 114.4'
    once 'memory, 20,000 of 100,000 SKUs awake' 5 --probe memory --skus 100000 --awake 20000 --goal 'settled <= 286.1'
    once '10 million remembered ids' 300 --probe ids "${batch[@]}" --enough 10000000 \
        --goal 'ids_cost <= 95.3' --goal 'longest_growth <= 5'
    kafka 1000000 5000000
    ;;
soak)
    fill_page_cache '50 million events, 100,000 SKUs'
    once '50 million events, 100,000 SKUs' 3600 --probe ids --work batch --batch 1000 --connections 4 --skus 100000 \
        --enough "${BENCH_SOAK_EVENTS:-50000000}" --timeline 5 --goal 'slower_at_the_end <= 1.1'
    rm -f "$stores/zeros"
    once 'half an hour at half of the maximum' "$seconds" --probe soak --work mixed --connections 64 --skus 20000 --ttl 30 \
        --timeline 5 --goal 'memory_at_the_end <= 1.1' --goal 'p99_at_the_end <= 1.5' --goal 'left_in_flight <= 64'
    ;;
esac

echo
"$shelfd" bench --report "$out" --plots "$out/plots"
echo
echo "The results are in $out/*.json, the plots in $out/plots."
if [ "${#left_out[@]}" -gt 0 ]; then
    printf 'Left out (the reason stands above): %s\n' "${left_out[@]}" >&2
fi
if [ "$failed" != 0 ]; then
    echo "At least one run failed (see above): its row is missing or incomplete." >&2
    exit 70
fi
