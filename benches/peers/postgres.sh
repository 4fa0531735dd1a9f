#!/usr/bin/env bash
# PostgreSQL as a peer: the same work (remember the event id, change the stock if it does not go below zero, append an outbox
# entry), durable before the answer, 64 clients over a Unix socket, driven by pgbench. `one` is a single prepared statement, as who
# knows the database writes it; `four` is the transaction of four prepared statements that an application framework sends.
#
#   benches/peers/postgres.sh ROW SECONDS RESULT.json one|four
#
# A cluster of its own in a directory of its own, stopped and removed at the end. Needs Debian's `postgresql`.
set -euo pipefail
row=$1 seconds=$2 form=${4:-one}
result=$(realpath -m "$3")
skus=5000
clients=64

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 || true)
if [ -z "$bin" ] || [ ! -x "$bin/initdb" ] || [ ! -x "$bin/pgbench" ]; then
    echo "bench: PostgreSQL is missing; apt-get install postgresql brings it" >&2
    exit 69
fi

# The server refuses to run as root.
if [ "$(id -u)" = 0 ]; then
    as_postgres=(setpriv --reuid=postgres --regid=postgres --init-groups)
else
    as_postgres=()
fi

# Beside the other stores, so that the disk is the same; elsewhere when postgres may not go there.
work=$(mktemp -d -p "$(realpath "$(dirname "$result")")")
chmod 711 "$work"
if [ "$(id -u)" = 0 ]; then
    chown postgres:postgres "$work"
    if ! "${as_postgres[@]}" test -w "$work"; then
        rmdir "$work"
        work=$(mktemp -d -p /var/tmp)
        chown postgres:postgres "$work"
        echo "bench: PostgreSQL keeps its store in $work, since it may not reach the others'" >&2
    fi
fi
stop() {
    "${as_postgres[@]}" "$bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap stop EXIT

cd "$work"
"${as_postgres[@]}" "$bin/initdb" -D "$work/data" -U postgres --auth=trust --encoding=UTF8 --locale=C >/dev/null
"${as_postgres[@]}" "$bin/pg_ctl" -D "$work/data" -l "$work/log" -w start >/dev/null \
    -o "-c listen_addresses='' -c unix_socket_directories='$work' -c shared_buffers=512MB -c max_wal_size=4GB -c max_connections=100 -c fsync=on -c synchronous_commit=on"

psql() { "${as_postgres[@]}" "$bin/psql" -h "$work" -U postgres -q -v ON_ERROR_STOP=1 "$@"; }
psql <<SQL
create table dedup (id bigint primary key);
create table stock (sku int primary key, on_hand bigint not null check (on_hand >= 0)) with (fillfactor = 50);
create table outbox (seq bigserial primary key, event bigint not null, sku int not null, on_hand bigint not null);
insert into stock select sku, 1000000000 from generate_series(0, $skus - 1) as sku;
SQL
psql -c 'vacuum analyze'

case "$form" in
one)
    subject='PostgreSQL, one prepared statement'
    cat >"$work/sale.sql" <<SQL
\set sku random(0, $skus - 1)
\set id random(1, 9000000000000000000)
with seen as (insert into dedup values (:id) on conflict do nothing returning id),
     moved as (update stock set on_hand = on_hand - 1 from seen where sku = :sku returning stock.on_hand)
insert into outbox (event, sku, on_hand) select :id, :sku, on_hand from moved;
SQL
    ;;
four)
    subject='PostgreSQL, four statements'
    cat >"$work/sale.sql" <<SQL
\set sku random(0, $skus - 1)
\set id random(1, 9000000000000000000)
begin;
insert into dedup values (:id);
update stock set on_hand = on_hand - 1 where sku = :sku;
insert into outbox (event, sku, on_hand) select :id, :sku, on_hand from stock where sku = :sku;
commit;
SQL
    ;;
*)
    echo "usage: benches/peers/postgres.sh ROW SECONDS RESULT.json one|four" >&2
    exit 64
    ;;
esac
chmod 644 "$work/sale.sql"

"${as_postgres[@]}" "$bin/pgbench" -h "$work" -U postgres -n -M prepared -c "$clients" -j 2 -T 2 -f "$work/sale.sql" >/dev/null 2>&1
"${as_postgres[@]}" "$bin/pgbench" -h "$work" -U postgres -n -M prepared -c "$clients" -j 2 -T "$seconds" -f "$work/sale.sql" \
    -l --log-prefix="$work/latency" >"$work/summary" 2>&1
failures=$(sed -n 's/^number of failed transactions: \([0-9]*\).*/\1/p' "$work/summary")

# The third column of pgbench's log is the latency in microseconds.
cat "$work"/latency.* | awk '{print $3}' | sort -n >"$work/sorted"
awk -v row="$row" -v subject="$subject" -v seconds="$seconds" -v failures="${failures:-0}" -v clients="$clients" -v skus="$skus" \
    -v at="$(date -u +%Y-%m-%dT%H:%M:%SZ)" -v version="$("$bin/postgres" --version | sed -n 's/.* \([0-9][0-9.]*\).*/\1/p')" '
    { value[NR] = $1; sum += $1 }
    function percentile(p,   i) { i = int(NR * p + 0.999999); return value[i < 1 ? 1 : i] }
    END {
        if (NR == 0) exit 1
        printf "{\"row\":\"%s\",\"subject\":\"%s\",\"at\":\"%s\",\"machine\":\"\",\"version\":\"%s\",", row, subject, at, version
        printf "\"durability\":\"fsync=on, synchronous_commit=on\","
        printf "\"settings\":{\"connections\":%d,\"skus\":%d},\"seconds\":%d,\"usage\":null,\"lines\":[{\"kind\":\"sale\",", clients, skus, seconds
        printf "\"requests\":%d,\"accepted\":%d,\"accepted_per_s\":%.1f,\"found\":0,\"not_accepted\":", NR + failures, NR, NR / seconds
        if (failures > 0) printf "{\"failed\":%d},", failures; else printf "{},"
        printf "\"latency_us\":{\"mean\":%.1f,\"p50\":%d,\"p90\":%d,\"p99\":%d,\"p999\":%d,\"max\":%d}}]}\n", \
            sum / NR, percentile(0.5), percentile(0.9), percentile(0.99), percentile(0.999), value[NR]
    }' "$work/sorted" >"$work/result"
cat "$work/result" >"$result"
