"""The node between two topics of a real broker, and beside it what Kafka's own tools do on the same machine in the same run.

    kafka.py KIND ROW RESULT PEER --binary SHELFD --stores DIR [--events N] [--goal GOAL]…

KIND is `through` (events in, durable, facts out), `light` (light events while a heavy import runs, and the same ones straight to a topic) or
`outage` (a backlog that is drained when the broker comes, while fresh changes go on). RESULT and PEER are written as `shelfd bench --json` writes them. The broker
is the project's own (scripts/kafka.sh), in a directory of its own; processes are stopped by their ids.

How long a message took is told by the broker, which stamps what is published when it has appended it (LogAppendTime); so nobody
reads along while the measuring goes on, and the generator is nearly idle.

The broker stands for a machine elsewhere, so it does not write to the disk on which the node syncs: where there is room, its logs are in
memory. It never syncs anyway, as it comes; but on one disk the node's sync waits behind all that the system writes back for it.
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request

from confluent_kafka import Consumer, Producer, TopicPartition

HOME = pathlib.Path(__file__).resolve().parents[2]
SKUS = 5_000
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# What the yardstick sends: as the project's design paper has it.
RECORD_BYTES = 250
LIGHT_PER_S = 200
WARM_UP_MS = 2_000
FRESH_PER_S = 20


def say(words):
    print(f"bench: {words}", file=sys.stderr, flush=True)


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


MEMORY_DISK = pathlib.Path("/dev/shm")
BROKER_BYTES = 8_000_000_000


# As Kafka's own start script has it: with a small heap it stands still now and then to tidy it up.
JVM = "-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent -Xms1g -Xmx1g"


class Broker:
    def __init__(self, parent):
        roomy = MEMORY_DISK.is_dir() and shutil.disk_usage(MEMORY_DISK).free >= BROKER_BYTES
        self.dir = MEMORY_DISK / f"shelfd-bench-{os.getpid()}" if roomy else parent / "broker"
        self.keeps = "memory of the broker" if roomy else "page cache of the broker, on the node's disk"
        port, controller = free_ports(2)
        self.address = f"127.0.0.1:{port}"
        self.env = dict(os.environ, SHELFD_KAFKA_PORT=str(port), SHELFD_KAFKA_CONTROLLER_PORT=str(controller), SHELFD_KAFKA_JVM=JVM)

    def script(self, *words):
        ran = subprocess.run([HOME / "scripts/kafka.sh", *words], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
        return ran.stdout

    def start(self):
        self.script("start", str(self.dir))

    def stop(self):
        self.script("reset", str(self.dir))

    def topic(self, name, *settings):
        self.script("topic", name, "3", *settings)

    def producer(self, **settings):
        return Producer({"bootstrap.servers": self.address, "linger.ms": 5, "compression.type": "lz4", "queue.buffering.max.messages": 500_000} | settings)

    def ends(self, topic):
        """How many messages a topic has in all."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "ends"})
        parts = consumer.list_topics(topic).topics[topic].partitions
        marks = [consumer.get_watermark_offsets(TopicPartition(topic, one), timeout=30) for one in parts]
        consumer.close()
        return sum(high for _, high in marks)

    def read(self, topic, wanted):
        """The wanted messages of a topic, by key: (when the broker had it in ms, body)."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "bench", "enable.auto.commit": False, "enable.partition.eof": True, "auto.offset.reset": "earliest"})
        parts = list(consumer.list_topics(topic).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, one, 0) for one in parts])
        left = len(parts)
        while left:
            for message in consumer.consume(10_000, 1.0):
                if message.error():
                    left -= 1
                elif message.key().startswith(wanted):
                    yield message.timestamp()[1], json.loads(message.value())
        consumer.close()

    def tool_rate(self, topic, count, size, tool):
        if tool == "produce":
            said = self.script("tool", "ProducerPerformance", "--topic", topic, "--num-records", str(count), "--record-size", str(size), "--throughput", "-1",
                               "--producer-props", f"bootstrap.servers={self.address}", "linger.ms=5", "compression.type=lz4")
            # `1000000 records sent, 123456.7 records/sec (…), …`
            last = [line for line in said.splitlines() if "records sent" in line][-1]
            return float(last.split("records sent, ")[1].split(" records/sec")[0])
        said = self.script("tool", "ConsumerPerformance", "--bootstrap-server", self.address, "--topic", topic, "--messages", str(count), "--timeout", "60000")
        names, values = [[cell.strip() for cell in line.split(",")] for line in said.splitlines() if "," in line][-2:]
        return float(values[names.index("fetch.nMsg.sec")])

    def warm_up(self, count):
        """A broker that has run for a while: a new one spends the first half a minute compiling itself, on the node's cores."""
        self.topic("warm")
        for tool in ("produce", "consume"):
            self.tool_rate("warm", count, RECORD_BYTES, tool)


class Node:
    def __init__(self, binary, parent, config):
        self.dir = parent / "node"
        self.dir.mkdir()
        file = self.dir / "config.toml"
        file.write_text(config)
        self.log = open(self.dir / "log", "w")
        self.child = subprocess.Popen([binary, "run", "--config", file, "--data", self.dir / "data", "--listen", "127.0.0.1:0", "--until-stdin-ends"],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)
        for line in self.child.stdout:
            if "listening on " in line:
                self.url = line.split("listening on ")[1].strip()
                break
        else:
            sys.exit(f"bench: the node did not start; {self.dir / 'log'} says why: {(self.dir / 'log').read_text()[-2000:]}")
        threading.Thread(target=self.child.stdout.read, daemon=True).start()
        self.before = self.cpu()

    def cpu(self):
        fields = pathlib.Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def memory(self, what):
        lines = pathlib.Path(f"/proc/{self.child.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(what))

    def usage(self):
        return {"cpu_s": self.cpu() - self.before, "resident_kib": self.memory("VmRSS"), "peak_kib": self.memory("VmHWM")}

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def topics(self):
        status = self.ask("/v1/status")
        return {one["name"]: one for one in status["kafka_in"] + status["kafka_out"]}

    def stop(self):
        self.child.stdin.close()
        self.child.wait(30)
        self.log.close()


def config(broker, ins, outs):
    text = f'[kafka]\nbrokers = "{broker.address}"\n'
    text += "".join(f'[[kafka.in]]\ntopic = "{topic}"\nclass = "{topic}"\n' for topic in ins)
    return text + "".join(f'[[kafka.out]]\ntopic = "{topic}"\nwhat = "{topic}"\n' for topic in outs)


def stamp(now_ms):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_ms // 1000)) + f".{now_ms % 1000:03}Z"


def event(number, source, sku, now_ms, what="receipt"):
    return (f'{{"specversion":"1.0","id":"{source}-{number}","source":"{source}","type":"inventory.{what}","time":"{stamp(now_ms)}",'
            f'"data":{{"warehouse":"main","sku":"{sku}","quantity":1}}}}')


HEADERS = [("content-type", b"application/cloudevents+json")]


def fill(broker, topic, count):
    say(f"{count} events into the topic {topic}")
    producer = broker.producer()
    when = stamp(int(time.time() * 1000))
    for number in range(count):
        # By hand: a million calls of `event` would take longer than the measuring.
        sku = f"s-{number * 7919 % SKUS}"
        body = (f'{{"specversion":"1.0","id":"h-{number}","source":"erp","type":"inventory.receipt","time":"{when}",'
                f'"data":{{"warehouse":"main","sku":"{sku}","quantity":1}}}}')
        while True:
            try:
                producer.produce(topic, body, f"main/{sku}", headers=HEADERS)
                break
            except BufferError:
                producer.poll(0.05)
        if number % 10_000 == 0:
            producer.poll(0)
    producer.flush()


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def latency(values_ms):
    us = [value * 1000.0 for value in values_ms] or [0.0]
    return {"mean": sum(us) / len(us), "p50": quantile(us, 0.5), "p90": quantile(us, 0.9), "p99": quantile(us, 0.99), "p999": quantile(us, 0.999), "max": max(us)}


def line(kind, count, seconds, values_ms=()):
    return {"kind": kind, "requests": count, "accepted": count, "accepted_per_s": count / seconds, "found": 0, "not_accepted": {}, "latency_us": latency(values_ms)}


def machine():
    with open("/proc/cpuinfo") as file:
        models = [one.split(":")[1].strip() for one in file if one.startswith("model name")]
    return f"{models[0] if models else 'unknown'}, {os.cpu_count()} cores"


def result(args, subject, seconds, lines, usage=None, gauges=(), durability="", beside=()):
    return {
        "row": args.row, "subject": subject, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": machine(), "durability": durability,
        "settings": {"events": args.events, "skus": SKUS}, "seconds": seconds, "usage": usage, "lines": lines, "beside": list(beside),
        "gauges": [{"name": name, "value": value, "unit": unit} for name, value, unit in gauges], "goals": args.goal if subject == "shelfd" else [],
    }


def follow(node, done, each=lambda topics: None):
    """Waits until `done` says so of the topics' state; the most that each lagged."""
    most = {}
    begun = time.time()
    while True:
        topics = node.topics()
        for name, one in topics.items():
            most[name] = max(most.get(name, 0), one["lag"])
        each(topics)
        if done(topics):
            return most
        if node.child.poll() is not None or time.time() - begun > 3600:
            sys.exit(f"bench: it did not come to its end: {topics}; {(node.dir / 'log').read_text()[-2000:]}")
        time.sleep(0.1)


DURABLE = "fsync before the place is written; published after that"
MEMORY = 1_024 / 1_000_000


def through(args, broker, work):
    broker.start()
    for topic in ("heavy", "updated", "bench"):
        broker.topic(topic)
    broker.topic("availability", "cleanup.policy=compact")
    broker.warm_up(args.events)
    fill(broker, "heavy", args.events)
    node = Node(args.binary, work, config(broker, ["heavy"], ["updated", "availability"]))
    # From when it takes messages, as the tools count: how long a group of consumers takes to form on a new broker is the broker's.
    began = {}

    def look(topics):
        if topics["heavy"]["messages"] > 0 and not began:
            began.update(at=time.time(), taken=topics["heavy"]["messages"], cpu=node.cpu())

    lag = follow(node, lambda at: at["heavy"]["messages"] >= args.events and at["updated"]["lag"] == 0 and at["availability"]["lag"] == 0, look)
    seconds, usage = time.time() - began["at"], node.usage()
    taken, cpu = args.events - began["taken"], node.cpu() - began["cpu"]
    published = broker.ends("updated")
    node.stop()
    if published < args.events:
        sys.exit(f"bench: {args.events} events came, and only {published} changes were published")
    say("Kafka's own tools beside it")
    produced = broker.tool_rate("bench", args.events, RECORD_BYTES, "produce")
    consumed = broker.tool_rate("bench", args.events, RECORD_BYTES, "consume")
    both = 1 / (1 / produced + 1 / consumed)
    gauges = [("per_cpu_s", taken / cpu, "events a second of the node's CPU"), ("peak", usage["peak_kib"] * MEMORY, "MB"),
              ("most_lag_in", lag["heavy"], "messages"), ("most_lag_out", lag["updated"], "facts")]
    own = result(args, "shelfd", seconds, [line("event", taken, seconds)], usage, gauges, DURABLE)
    told = [("produced", produced, "a second"), ("consumed", consumed, "a second")]
    peer = result(args, "Kafka's own tools", args.events / both, [line("record", args.events, args.events / both)], None, told, broker.keeps)
    return own, peer


def light(args, broker, work):
    broker.start()
    for topic in ("heavy", "light"):
        broker.topic(topic)
    for topic in ("updated", "direct"):
        broker.topic(topic, "message.timestamp.type=LogAppendTime")
    broker.topic("availability", "cleanup.policy=compact")
    broker.warm_up(args.events)
    fill(broker, "heavy", args.events)
    node = Node(args.binary, work, config(broker, ["light", "heavy"], ["updated", "availability"]))
    producer = broker.producer(**{"linger.ms": 0})
    stop, sent = threading.Event(), []

    def tills():
        begun = time.time()
        while not stop.is_set():
            number = len(sent)
            time.sleep(max(0.0, begun + number / LIGHT_PER_S - time.time()))
            now_ms = time.time_ns() // 1_000_000
            sku = f"till-{number % 50}"
            body = event(number, "pos", sku, now_ms)
            producer.produce("light", body, f"main/{sku}", headers=HEADERS)
            # What the machine and the broker alone take at the same moment: the peer.
            producer.produce("direct", body, f"main/{sku}", headers=HEADERS)
            producer.poll(0)
            sent.append(now_ms)
        producer.flush()

    # Only while the import runs, after a warm-up as in every row, to its last message. What the tills sent before the node had joined
    # its group waited for the node's start, not for the import; so the warm-up begins when both consumers have taken something.
    window = {}

    def look(topics):
        taken = topics["heavy"]["messages"]
        if taken > 0 and topics["light"]["messages"] > 0:
            window.setdefault("from", time.time() * 1000 + WARM_UP_MS)
        if taken < args.events:
            window["until"] = time.time() * 1000

    thread = threading.Thread(target=tills)
    thread.start()
    begun = time.time()
    lag = follow(node, lambda at: at["heavy"]["messages"] >= args.events and at["updated"]["lag"] < 100, look)
    stop.set()
    thread.join()
    follow(node, lambda at: at["light"]["messages"] >= len(sent) and at["updated"]["lag"] == 0)
    seconds, usage = time.time() - begun, node.usage()
    node.stop()

    def waits(topic, id_of):
        """How long each event of the window took to be on a topic, by its number."""
        found = {int(id_of(body).split("-")[1]): appended_ms for appended_ms, body in broker.read(topic, b"main/till-")}
        if len(found) < len(sent):
            sys.exit(f"bench: {len(sent)} light events were sent, and {len(found)} of them are on the topic {topic}")
        return {number: max(0, at - sent[number]) for number, at in found.items() if window["from"] <= sent[number] <= window["until"]}

    def told(waited, *more):
        within = sum(value <= 50 for value in waited.values()) / len(waited) * 100
        return ([line("light event", len(waited), (window["until"] - window["from"]) / 1000, waited.values())],
                [("within_50_ms", within, "% of light events"), *more])

    through_node, alone = waits("updated", lambda body: body["fact"]["id"]), waits("direct", lambda body: body["id"])
    lines, gauges = told(through_node, ("peak", usage["peak_kib"] * MEMORY, "MB"), ("most_lag_light", lag["light"], "messages"))
    own = result(args, "shelfd", seconds, lines, usage, gauges, DURABLE, [line("heavy event", args.events, seconds)])
    lines, gauges = told(alone)
    return own, result(args, "the broker alone, at the same moments", seconds, lines, None, gauges, broker.keeps)


def outage(args, broker, work):
    node = Node(args.binary, work, config(broker, [], ["updated", "availability"]))
    say(f"{args.events} facts while there is no broker")
    subprocess.run([args.binary, "bench", "--url", node.url, "--work", "batch", "--batch", "1000", "--connections", "4", "--skus", str(SKUS), "--warm-up", "0",
                    "--for", "3600", "--enough", str(args.events), "--json"], stdout=subprocess.DEVNULL, check=True)
    with urllib.request.urlopen(node.url + "/readyz") as ready:
        if ready.status != 200:
            sys.exit("bench: the node is not ready without its broker")
    backlog = node.topics()["updated"]["lag"]
    broker.start()
    broker.topic("bench")
    broker.topic("availability", "cleanup.policy=compact", "message.timestamp.type=LogAppendTime")
    # The backlog goes out as soon as its topic is there.
    there = dict(at=time.time(), cpu=node.cpu(), published=node.topics()["updated"]["published"])
    broker.topic("updated")
    stop, sent = threading.Event(), []

    def fresh():
        while not stop.is_set():
            number = len(sent)
            begun = time.time_ns() // 1_000_000
            node.ask("/v1/events", json.loads(event(number, "pos", f"fresh-{number % 20}", begun)))
            sent.append((begun, f"fresh-{number % 20}", number // 20 + 1))
            time.sleep(1 / FRESH_PER_S)

    say("the broker is there")
    began = {}

    def look(topics):
        if topics["updated"]["published"] > 0 and "at" not in began:
            began.update(at=time.time(), cpu=node.cpu(), published=topics["updated"]["published"])
            thread.start()

    thread = threading.Thread(target=fresh)
    follow(node, lambda at: at["updated"]["lag"] < 100, look)
    ended, cpu, published = time.time(), node.cpu(), node.topics()["updated"]["published"]
    stop.set()
    thread.join()
    follow(node, lambda at: at["updated"]["lag"] == 0 and at["availability"]["lag"] == 0)
    usage = node.usage()
    node.stop()
    # A backlog that is gone at the first look is counted from before its topic was made.
    if published == began["published"]:
        began = there
    seconds, drained = ended - began["at"], published - began["published"]
    seen = {}
    for appended_ms, body in broker.read("availability", b"main/fresh-"):
        seen.setdefault(body["sku"], []).append((body["version"], appended_ms))
    waited = []
    for begun, sku, version in sent:
        first = [appended for shown, appended in seen[sku] if shown >= version]
        waited.append(max(0, min(first) - begun))
    sizes = []
    for _, body in broker.read("updated", b"main/fresh-"):
        sizes.append(len(json.dumps(body, separators=(",", ":"))))
    size = sum(sizes) // max(1, len(sizes))
    few = min(args.events, 1_000_000)
    produced = broker.tool_rate("bench", few, size, "produce")
    gauges = [("per_cpu_s", drained / (cpu - began["cpu"]), "facts a second of the node's CPU"), ("peak", usage["peak_kib"] * MEMORY, "MB"),
              ("backlog", backlog, "facts"), ("fresh_p99", quantile(waited, 0.99), "ms"), ("fresh_max", max(waited), "ms")]
    own = result(args, "shelfd", seconds, [line("fact", drained, seconds)], usage, gauges, DURABLE, [line("fresh change", len(waited), seconds, waited)])
    peer = result(args, "Kafka's ProducerPerformance", few / produced, [line("record", few, few / produced)], None, [("record", size, "bytes")],
                  broker.keeps)
    return own, peer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["through", "light", "outage"])
    parser.add_argument("row")
    parser.add_argument("result")
    parser.add_argument("peer")
    parser.add_argument("--binary", required=True)
    parser.add_argument("--stores", required=True)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--goal", action="append", default=[])
    args = parser.parse_args()
    args.binary = str(pathlib.Path(args.binary).resolve())
    work = pathlib.Path(args.stores).resolve() / f"kafka-{os.getpid()}"
    work.mkdir(parents=True)
    broker = Broker(work)
    try:
        own, peer = globals()[args.kind](args, broker, work)
        for value, file in ((own, args.result), (peer, args.peer)):
            if value is not None:
                pathlib.Path(file).write_text(json.dumps(value) + "\n")
    finally:
        broker.stop()
        shutil.rmtree(work, ignore_errors=True)


main()
