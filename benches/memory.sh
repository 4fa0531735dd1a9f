#!/usr/bin/env bash
# What the node takes: resident memory (VmRSS, in MB of 10^6 bytes) and the time of a start, for stores of several sizes. It fills
# throw-away stores through the public API and prints one table.
#
#   benches/memory.sh                     every row: about five minutes, and 8 GB of disk
#   benches/memory.sh few many awake      only these rows: idle, few, one, many, awake, ids, million
#
# MEMORY_BINARY=FILE measures that binary instead of building a release. MEMORY_KEEP=DIR keeps the stores there.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$HOME/.cargo/bin:$PATH"
unset SHELFD_URL SHELFD_TOKEN

shelfd=${MEMORY_BINARY:-target/release/shelfd}
if [ -z "${MEMORY_BINARY:-}" ]; then
    cargo build --release --locked --bin shelfd
fi
stores=${MEMORY_KEEP:-$(mktemp -d)}
mkdir -p "$stores"
url=
pid=
day=$(date -u -d '3 hours ago' +%Y-%m-%dT%H)

finish() {
    if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; fi
    wait 2>/dev/null || true
    if [ -z "${MEMORY_KEEP:-}" ]; then rm -rf "$stores"; fi
}
trap finish EXIT

# start STORE: runs the node on a free port, waits until it is ready, and leaves the milliseconds that took in $ready_ms.
start() {
    local log=$stores/$1.log begun
    : >"$log"
    begun=$(date +%s%3N)
    "$shelfd" run --data "$stores/$1" --listen 127.0.0.1:0 >"$log" 2>&1 &
    pid=$!
    url=
    while :; do
        if ! kill -0 "$pid" 2>/dev/null; then
            cat "$log" >&2
            exit 1
        fi
        if [ -z "$url" ]; then url=$(grep -o 'http://127.0.0.1:[0-9]*' "$log" | head -n 1 || true); fi
        if [ -n "$url" ] && curl -sf -o /dev/null "$url/readyz"; then break; fi
        sleep 0.02
    done
    ready_ms=$(($(date +%s%3N) - begun))
}

stop() {
    kill "$1" "$pid" && { wait "$pid" 2>/dev/null || true; }
    pid=
}

# rows SKUS MOVEMENTS [REPEATS]: that many events, as NDJSON. Movements of a SKU are 300 s apart.
rows() {
    awk -v skus="$1" -v movements="$2" -v day="$day" 'BEGIN {
        for (m = 0; m < movements; m++) for (s = 0; s < skus; s++)
            printf "{\"specversion\":\"1.0\",\"id\":\"e-%d-%d\",\"source\":\"bench\",\"type\":\"inventory.receipt\",\"time\":\"%s:%02d:%02d.%03dZ\",\"data\":{\"warehouse\":\"main\",\"sku\":\"460%010d\",\"quantity\":5}}\n", \
                m, s, day, m * 5 % 60, s % 60, s % 1000, s
    }'
}

# Sends NDJSON in bodies of 10,000 rows, two at a time.
send() {
    split --lines=10000 --filter="cat >\"$stores/\$FILE.part\"" - rows-
    find "$stores" -name 'rows-*.part' -print0 | sort -z | xargs -0 -P 2 -I{} sh -c \
        'curl -sSf -o /dev/null -H "content-type: application/x-ndjson" --data-binary @"$1" "$2/v1/events" && rm "$1"' _ {} "$url"
}

# hold SKUS LINES: baskets with a deadline over that many SKUs, so that each of them is awake.
hold() {
    local at
    for ((at = 0; at < $1; at += $2)); do
        awk -v from="$at" -v lines="$2" 'BEGIN {
            printf "{\"channel\":\"default\",\"ttl_s\":900,\"lines\":["
            for (s = from; s < from + lines; s++) printf "%s{\"sku\":\"460%010d\",\"quantity\":1}", (s > from) ? "," : "", s
            print "]}"
        }' | curl -sSf -o /dev/null -X PUT -H 'content-type: application/json' --data-binary @- \
            "$url/v1/warehouses/main/reservations/b-$at"
    done
}

rss() { awk '/^VmRSS/ {printf "%d", $2 * 1024 / 1e6}' "/proc/$pid/status"; }

# row WHAT GOAL FIGURE UNIT
row() { printf '%-58s %8s %8s %s\n' "$1" "$2" "$3" "$4"; }

# loaded NAME SKUS MOVEMENTS WORDS GOAL: after the load, and after a restart.
loaded() {
    start "$1"
    rows "$2" "$3" | send
    sleep 10
    row "$4, 10 s after the load" "" "$(rss)" MB
    sleep 25
    row "$4, 35 s after the load" "$5" "$(rss)" MB
    stop -TERM
    start "$1"
    sleep 5
    row "$4, restarted" "$5" "$(rss)" MB
}

measure() {
    case "$1" in
    idle)
        start idle
        sleep 3
        row "an empty node" "" "$(rss)" MB
        stop -TERM
        ;;
    few)
        loaded few 5000 8 "5,000 SKUs, 8 movements each" 60
        stop -TERM
        ;;
    one)
        loaded one 100000 1 "100,000 SKUs, 1 movement each" 120
        stop -TERM
        ;;
    many)
        loaded many 100000 8 "100,000 SKUs, 8 movements each" 120
        stop -TERM
        ;;
    awake)
        loaded awake 100000 1 "100,000 SKUs" 120
        hold 20000 500
        sleep 10
        row "100,000 SKUs, $(curl -s "$url/metrics" | awk '/awake/ && !/^#/ {print $2; exit}') of them awake" 300 "$(rss)" MB
        stop -TERM
        ;;
    ids)
        start ids
        local before most=0 now part
        rows 1000 1 | send
        sleep 12
        before=$(rss)
        for part in 1 2 3 4 5 6 7 8 9 10; do
            awk -v part="$part" -v day="$day" 'BEGIN {
                for (i = 0; i < 1000000; i++)
                    printf "{\"specversion\":\"1.0\",\"id\":\"i-%d-%d\",\"source\":\"bench\",\"type\":\"inventory.receipt\",\"time\":\"%s:00:00Z\",\"data\":{\"warehouse\":\"main\",\"sku\":\"460%010d\",\"quantity\":1}}\n", part, i, day, i % 1000
            }' | send
            now=$(rss)
            if ((now > most)); then most=$now; fi
        done
        row "10 million ids: most while it was fed, past $before MB" "" "$((most - before))" MB
        sleep 40
        row "10 million ids: 40 s later, past $before MB" 100 "$(($(rss) - before))" MB
        stop -TERM
        start ids
        sleep 5
        row "10 million ids, restarted: past $before MB" 100 "$(($(rss) - before))" MB
        row "10 million ids: ready after a clean stop" "" "$ready_ms" ms
        stop -TERM
        ;;
    million)
        start million
        rows 1000000 1 | send
        sleep 70
        row "1 million SKUs" "" "$(rss)" MB
        stop -TERM
        start million
        row "1 million SKUs: ready after a clean stop" 2000 "$ready_ms" ms
        rows 1000000 1 | sed 's/"id":"e-/"id":"again-/' | send
        stop -KILL
        start million
        row "1 million SKUs: ready after kill -9" 5000 "$ready_ms" ms
        sleep 5
        row "1 million SKUs, restarted" "" "$(rss)" MB
        stop -TERM
        ;;
    *)
        echo "unknown row: $1 (idle, few, one, many, awake, ids, million)" >&2
        exit 64
        ;;
    esac
}

if [ $# -eq 0 ]; then set -- idle few one many awake ids million; fi
row "what" "goal" "here" ""
for what in "$@"; do measure "$what"; done
