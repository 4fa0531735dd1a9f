#!/usr/bin/env bash
# Redis as a peer: the same work as one Lua script (remember the event id for a week, change the stock if it does not go below zero,
# append to an outbox stream), `appendfsync always`, driven over TCP by its own redis-benchmark.
#
#   benches/peers/redis.sh ROW SECONDS RESULT.json CLIENTS PIPELINE
#
# What counts is what stands in the outbox afterwards, not what was answered. A server of its own on a free port, with its directory
# beside the other stores, stopped and removed at the end. Needs Debian's `redis-server` and `redis-tools`.
set -euo pipefail
row=$1 seconds=$2 result=$3 clients=$4 pipeline=$5
skus=5000

if ! { command -v redis-server && command -v redis-benchmark && command -v redis-cli; } >/dev/null; then
    echo "bench: Redis is missing; apt-get install redis-server redis-tools brings it" >&2
    exit 69
fi

work=$(mktemp -d -p "$(realpath "$(dirname "$result")")")
server=
stop() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap stop EXIT

# A port is free until somebody takes it: another one is tried then.
for attempt in 1 2 3 4 5; do
    port=$((20000 + RANDOM % 20000))
    redis-server --port "$port" --bind 127.0.0.1 --dir "$work" --appendonly yes --appendfsync always --save '' \
        --maxclients 1000 --daemonize no >"$work/log" 2>&1 &
    server=$!
    for _ in $(seq 100); do
        if redis-cli -p "$port" ping >/dev/null 2>&1; then break 2; fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.05
    done
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
done
if [ -z "$server" ]; then
    echo "bench: Redis did not start: $(tail -n 3 "$work/log")" >&2
    exit 69
fi
cli() { redis-cli -p "$port" "$@"; }

# The benchmark draws each random number from one range, so the SKU is taken out of a number of that range.
cat >"$work/sale.lua" <<LUA
if not redis.call('SET', KEYS[1], '1', 'NX', 'EX', 604800) then return 'duplicate' end
local sku = 'stock:' .. (ARGV[1] % $skus)
local left = redis.call('GET', sku) - 1
if left < 0 then redis.call('DEL', KEYS[1]) return 'refused' end
redis.call('SET', sku, left)
redis.call('XADD', 'outbox', '*', 'event', KEYS[1], 'sku', sku, 'on_hand', left)
return 'applied'
LUA
script=$(cli script load "$(cat "$work/sale.lua")")
seq 0 $((skus - 1)) | sed 's/.*/SET stock:& 1000000000/' | cli --pipe >/dev/null

bench() {
    redis-benchmark -h 127.0.0.1 -p "$port" -c "$clients" -P "$pipeline" -n "$1" -r 2000000000 --csv \
        evalsha "$script" 1 event:__rand_int__ __rand_int__
}
# Columns: test, requests a second, mean, min, p50, p95, p99, max in ms.
field() { sed -n '2p' <<<"$1" | tr -d '"' | awk -F, -v column="$2" '{ print $(NF - 7 + column) }'; }

few=$(bench 20000)
rate=$(field "$few" 1)
before=$(cli xlen outbox)
asked=$(awk -v rate="$rate" -v seconds="$seconds" -v least=$((clients * pipeline)) \
    'BEGIN { n = rate * seconds; printf "%d", n < least ? least : n }')
said=$(bench "$asked")
applied=$(($(cli xlen outbox) - before))
rate=$(field "$said" 1)

# redis-benchmark tells a rate over all answers; the time is their number by that rate.
awk -v row="$row" -v clients="$clients" -v pipeline="$pipeline" -v skus="$skus" -v applied="$applied" -v rate="$rate" \
    -v asked="$asked" -v at="$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    -v version="$(redis-server --version | sed -n 's/.* v=\([0-9.]*\).*/\1/p')" \
    -v mean="$(field "$said" 2)" -v p50="$(field "$said" 4)" -v p95="$(field "$said" 5)" -v p99="$(field "$said" 6)" \
    -v max="$(field "$said" 7)" '
    BEGIN {
        if (applied == 0) exit 1
        name = pipeline > 1 ? "Redis, Lua, " pipeline " pipelined" : "Redis, Lua"
        if (asked < applied) asked = applied
        seconds = asked / rate
        printf "{\"row\":\"%s\",\"subject\":\"%s\",\"at\":\"%s\",\"machine\":\"\",\"version\":\"%s\",", row, name, at, version
        printf "\"durability\":\"appendfsync always\",\"settings\":{\"connections\":%d,\"pipeline\":%d,\"skus\":%d},", clients, pipeline, skus
        printf "\"seconds\":%.3f,\"usage\":null,\"lines\":[{\"kind\":\"sale\",\"requests\":%d,\"accepted\":%d,", seconds, asked, applied
        printf "\"accepted_per_s\":%.1f,\"found\":0,\"not_accepted\":", applied / seconds
        if (asked > applied) printf "{\"duplicate or refused\":%d},", asked - applied; else printf "{},"
        # The benchmark knows no p90 and no p99.9: what it says of p95 and of the slowest bounds them from above.
        printf "\"latency_us\":{\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}}]}\n", \
            mean * 1000, p50 * 1000, p95 * 1000, p99 * 1000, max * 1000, max * 1000
    }' >"$work/result"
cat "$work/result" >"$result"
