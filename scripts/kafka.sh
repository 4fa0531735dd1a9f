#!/usr/bin/env bash
# A real Apache Kafka (KRaft, one node), pinned, cached under target/parts, run with the machine's Java. For tests and for people.
# No Docker, and nothing outside the project's own directory. Each broker has a directory of its own and is stopped by its process id.
#
#   scripts/kafka.sh fetch                      the jars, once (Maven Central, 54 MB)
#   scripts/kafka.sh start [DIR]                a broker on 127.0.0.1:9092; SHELFD_KAFKA_PORT and SHELFD_KAFKA_SECURE change that
#   scripts/kafka.sh stop [DIR]                 SIGTERM, and the wait for its end
#   scripts/kafka.sh reset [DIR]                stop it and throw away what it stored
#   scripts/kafka.sh topic NAME [PARTITIONS] [KEY=VALUE…]   a topic, compacted with cleanup.policy=compact
#   scripts/kafka.sh demo [DIR]                 start, and the topics of the README's Kafka page
#   scripts/kafka.sh python                     the path of a Python with a Kafka client, in an environment of its own
#   scripts/kafka.sh tool CLASS ARGUMENTS…      one of Kafka's own tools, such as TopicCommand or ProducerPerformance
#
# SHELFD_KAFKA_SECURE=SASL,TLS,EXPIRED gives three more ports: SCRAM (user shelfd, password in DIR/password), TLS with a
# certificate of DIR/ca.pem, and TLS with one that has expired. SHELFD_KAFKA_JVM="OPTIONS…" runs the broker with these options of Java, in
# place of a small heap that is quick to start.
set -euo pipefail
cd "$(dirname "$0")/.."

VERSION=4.1.1
LIBS=$PWD/target/parts/kafka-$VERSION
PORT=${SHELFD_KAFKA_PORT:-9092}
CONTROLLER=${SHELFD_KAFKA_CONTROLLER_PORT:-$((PORT + 1))}
# 22 characters of base64, any: the cluster's id.
CLUSTER=c2hlbGZkLWthZmthLXRlcw

need() {
    command -v "$1" >/dev/null || { echo "kafka: $1 is missing; install it with: apt-get install -y --no-install-recommends $2" >&2; exit 69; }
}

fetch() {
    need java default-jre-headless
    [ -f "$LIBS/whole" ] && return
    need mvn maven
    mkdir -p target/parts
    # One at a time: several tests may begin at once.
    exec 8>target/parts/kafka.lock
    flock 8
    if [ ! -f "$LIBS/whole" ]; then
        echo "kafka: fetching Apache Kafka $VERSION" >&2
        rm -rf "$LIBS"
        mvn -q -f scripts/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory="$LIBS" >&2 ||
            { echo "kafka: could not fetch it; is Maven Central in reach?" >&2; exit 69; }
        touch "$LIBS/whole"
    fi
    exec 8>&-
}

# TLS: an authority, a certificate for 127.0.0.1, and one that expired in 2020.
certificates() {
    local dir=$1
    [ -f "$dir/ca.pem" ] && return
    need openssl openssl
    (
        cd "$dir"
        printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\n' >san
        openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 3650 -subj '/CN=shelfd test authority'
        for name in good expired; do
            openssl req -newkey rsa:2048 -nodes -keyout "$name.key" -out "$name.csr" -subj "/CN=$name"
        done
        openssl x509 -req -in good.csr -CA ca.pem -CAkey ca.key -set_serial 1 -out good.pem -days 3650 -extfile san
        mkdir -p authority && : >authority/index && echo 02 >authority/serial
        printf '[ca]\ndefault_ca=a\n[a]\ndatabase=authority/index\nserial=authority/serial\nnew_certs_dir=authority\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n' >authority/conf
        openssl ca -batch -config authority/conf -cert ca.pem -keyfile ca.key -in expired.csr -out expired.pem -extfile san \
            -startdate 20190101000000Z -enddate 20200101000000Z -notext
        for name in good expired; do cat "$name.key" "$name.pem" ca.pem >"$name.store.pem"; done
    ) >"$dir/openssl.log" 2>&1 || { cat "$dir/openssl.log" >&2; exit 70; }
}

properties() {
    local dir=$1 listeners="PLAINTEXT://127.0.0.1:$PORT" map='CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT' sasl tls expired
    echo "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$CONTROLLER
controller.listener.names=CONTROLLER
log.dirs=$dir/data
num.partitions=1
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.retention.check.interval.ms=2000
log.initial.task.delay.ms=1000
log.segment.delete.delay.ms=1000
controlled.shutdown.enable=true"
    if [ -n "${SHELFD_KAFKA_SECURE:-}" ]; then
        IFS=, read -r sasl tls expired <<<"$SHELFD_KAFKA_SECURE"
        listeners+=",SASL://127.0.0.1:$sasl,TLS://127.0.0.1:$tls,EXPIRED://127.0.0.1:$expired"
        map+=',SASL:SASL_PLAINTEXT,TLS:SSL,EXPIRED:SSL'
        echo "sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.tls.ssl.keystore.type=PEM
listener.name.tls.ssl.keystore.location=$dir/good.store.pem
listener.name.expired.ssl.keystore.type=PEM
listener.name.expired.ssl.keystore.location=$dir/expired.store.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS"
    fi
    echo "listeners=$listeners,CONTROLLER://127.0.0.1:$CONTROLLER
advertised.listeners=$listeners
listener.security.protocol.map=$map"
    [ -z "${SHELFD_KAFKA_PROPERTIES:-}" ] || printf '%s\n' "$SHELFD_KAFKA_PROPERTIES"
}

# A process that has ended and that nobody has waited for is no broker.
alive() { [ -f "$1/pid" ] && [[ "$(sed 's/.*) //' "/proc/$(cat "$1/pid")/stat" 2>/dev/null || echo Z)" != Z* ]]; }

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; }

start() {
    local dir
    fetch
    mkdir -p "$1"
    dir=$(cd "$1" && pwd)
    if alive "$dir"; then echo "kafka: runs already, process $(cat "$dir/pid")" >&2; return; fi
    [ -z "${SHELFD_KAFKA_SECURE:-}" ] || certificates "$dir"
    properties "$dir" >"$dir/server.properties"
    cat >"$dir/log4j2.properties" <<'LOG'
rootLogger.level = warn
rootLogger.appenderRefs = out
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %-5p %c{1}: %m%n
LOG
    local jvm=()
    read -r -a jvm <<<"${SHELFD_KAFKA_JVM:--XX:+UseSerialGC -Xms64m -Xmx512m}"
    local java=(java "${jvm[@]}" -XX:TieredStopAtLevel="${SHELFD_KAFKA_TIER:-4}" -Xshare:auto -Dlog4j2.configurationFile="$dir/log4j2.properties" -cp "$LIBS/*")
    if [ ! -d "$dir/data" ]; then
        local users=()
        if [ -n "${SHELFD_KAFKA_SECURE:-}" ]; then
            [ -f "$dir/password" ] || printf 'swordfish-%s' "$RANDOM$RANDOM" >"$dir/password"
            for kind in SCRAM-SHA-256 SCRAM-SHA-512; do users+=(--add-scram "$kind=[name=shelfd,password=$(cat "$dir/password")]"); done
        fi
        "${java[@]}" kafka.tools.StorageTool format -t $CLUSTER -c "$dir/server.properties" "${users[@]}" >"$dir/format.log" 2>&1 ||
            { cat "$dir/format.log" >&2; exit 70; }
    fi
    # Of no terminal and no group of ours, so that it outlives this script, and Ctrl-C at a node does not stop it.
    setsid "${java[@]}" kafka.Kafka "$dir/server.properties" >>"$dir/broker.log" 2>&1 </dev/null &
    echo $! >"$dir/pid"
    for _ in $(seq 600); do
        alive "$dir" || { tail -20 "$dir/broker.log" >&2; echo "kafka: the broker ended" >&2; exit 70; }
        if answers; then return; fi
        sleep 0.1
    done
    echo "kafka: the broker does not listen on 127.0.0.1:$PORT" >&2
    exit 75
}

stop() {
    [ -f "$1/pid" ] || return 0
    local pid
    pid=$(cat "$1/pid")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 300); do
        alive "$1" || break
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
    rm -f "$1/pid"
}

tool() {
    fetch
    local class=$1
    [[ $class = org.* || $class = kafka.* ]] || class=org.apache.kafka.tools.$class
    shift
    java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.level=error -cp "$LIBS/*" "$class" "$@"
}

# For examples/kafka/reader.py and its test.
python() {
    local home=$PWD/target/parts/python
    need python3 'python3 python3-venv'
    mkdir -p target/parts
    exec 7>target/parts/python.lock
    flock 7
    if ! "$home/bin/python" -c 'import confluent_kafka' 2>/dev/null; then
        rm -rf "$home"
        { python3 -m venv "$home" && "$home/bin/pip" install -q confluent-kafka==2.12.1; } >&2 ||
            { echo "kafka: no Python with confluent-kafka; it needs python3-venv, and PyPI in reach" >&2; exit 69; }
    fi
    exec 7>&-
    echo "$home/bin/python"
}

topic() {
    local name=$1 partitions=${2:-1} settings=()
    shift
    [ $# = 0 ] || shift
    for setting in "$@"; do settings+=(--config "$setting"); done
    tool TopicCommand --bootstrap-server "127.0.0.1:$PORT" --create --if-not-exists --topic "$name" --partitions "$partitions" "${settings[@]}"
}

demo() {
    start "$1"
    topic inventory.light 3
    topic inventory.heavy 3
    topic inventory.updated 3
    topic inventory.availability 3 cleanup.policy=compact
    topic inventory.reservations 3
    topic inventory.drift 1
    # A letter holds the whole message in base64: http.max_body_bytes, a third more, and what stands beside it.
    topic inventory.dead_letters 1 max.message.bytes=22435160
    echo
    echo "Kafka $VERSION listens on 127.0.0.1:$PORT. Go on with:"
    echo "    target/release/shelfd run --config examples/kafka/config.toml --data ./kafka-data"
    echo "    target/release/shelfd check --kafka --config examples/kafka/config.toml"
    echo "Stop it with:  scripts/kafka.sh stop      Throw away what it stored:  scripts/kafka.sh reset"
}

verb=${1:-}
[ $# = 0 ] || shift
case $verb in
fetch | python) "$verb" ;;
start | stop | demo) "$verb" "${1:-target/kafka}" ;;
reset) stop "${1:-target/kafka}" && rm -rf "${1:-target/kafka}" ;;
topic | tool) "$verb" "$@" ;;
*) sed -n 2,18p scripts/kafka.sh; exit 64 ;;
esac
