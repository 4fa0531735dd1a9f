#!/usr/bin/env bash
# Where the time of an event goes: the instructions of each layer of the node, counted by callgrind while `shelfd bench` drives it.
# Times differ by a third on a shared machine; these numbers repeat. They are of user space alone: system calls, cache misses and
# waiting are not in them, and the node is slow under valgrind, so that fewer events share a commit than do in earnest.
#
#   benches/layers.sh [BINARY]    sales by themselves on 64 connections, then batches of 1,000; BINARY: target/release/shelfd
#
# The binary needs its symbols (the release profile keeps them). ARCHITECTURE.md quotes the result.
set -euo pipefail
cd "$(dirname "$0")/.."
shelfd=${1:-target/release/shelfd}
for tool in valgrind callgrind_control callgrind_annotate; do
    command -v "$tool" >/dev/null || { echo "$tool is missing; apt-get install valgrind brings it" >&2; exit 69; }
done

work=$(mktemp -d)
node=
trap '[ -z "$node" ] || kill "$node" 2>/dev/null || true; rm -rf "$work"' EXIT

# A layer's name and the function whose instructions, with those of all that it calls, are its own. A layer within another is indented.
layers() {
    cat <<'LAYERS'
connection and HTTP|shelfd::http::server::connection::\{\{closure\}\} 
  reading and decoding a body|ingress::rows::decode 
  writing the verdicts|http::events::(many|one) 
warehouse|warehouse::State::on_look 
  ids known or not|store::Store>::known 
  deciding|shelfd::actors::desk::Desk::decide 
    the domain's judgement|domain::stock::decide::decide 
    encoding the fact|actors::draft::Draft::sku 
journal's thread|storage::journal::Journal::run
  redb: insert|redb::table::Table<K,V>::insert 
  redb: commit|redb::transactions::WriteTransaction::commit 
  fold and answers|journal::Journal>::landed 
LAYERS
}

# One workload: `count NAME EVENTS OPTIONS…`.
count() {
    local name=$1 events=$2 url accepted
    shift 2
    valgrind --tool=callgrind --instr-atstart=no --callgrind-out-file="$work/out" \
        "$shelfd" run --data "$work/store" --listen 127.0.0.1:0 >"$work/log" 2>&1 &
    node=$!
    until url=$(grep -o 'http://127.0.0.1:[1-9][0-9]*' "$work/log" | head -1) && [ -n "$url" ]; do
        kill -0 "$node" 2>/dev/null || { cat "$work/log" >&2; exit 70; }
        sleep 0.2
    done
    "$shelfd" bench --url "$url" --for 600 --warm-up 0 --enough "$((events / 10))" "$@" >/dev/null
    callgrind_control -i on "$node" >/dev/null 2>&1
    accepted=$("$shelfd" bench --json --url "$url" --for 600 --warm-up 0 --no-opening --enough "$events" "$@" |
        grep -o '"accepted":[0-9 ]*' | head -1 | grep -o '[0-9]*$')
    callgrind_control -i off "$node" >/dev/null 2>&1
    kill -TERM "$node"
    wait "$node" 2>/dev/null || true
    node=
    callgrind_annotate --auto=no --inclusive=yes --threshold=100 "$work/out" >"$work/all" 2>/dev/null
    printf '%s: instructions for each of %d events\n' "$name" "$accepted"
    sed -n 's/^ *\([0-9,]*\) .*PROGRAM TOTALS.*/\1/p' "$work/all" | head -1 | tr -d , |
        awk -v n="$accepted" '{printf "  %-32s %8d\n", "all threads", $1 / n}'
    layers | while IFS='|' read -r layer function; do
        grep -E -m 1 "$function" "$work/all" | tr -d , |
            awk -v n="$accepted" -v layer="$layer" '{printf "  %-32s %8d\n", layer, $1 / n}' || true
    done
    rm -rf "$work/store" "$work/out"
}

count 'a sale by itself, 64 connections' 4000 --work sale --connections 64 --skus 500
count 'a row of a batch of 1,000' 30000 --work batch --batch 1000 --connections 8
