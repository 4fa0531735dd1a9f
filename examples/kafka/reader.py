#!/usr/bin/env python3
"""Keeps an exact copy of what may be promised, from the topic inventory.availability.

    pip install confluent-kafka
    reader.py 127.0.0.1:9092 inventory.availability copy.json

The rule is one line: of each key keep the highest version, and drop the rest. Messages may come again after a crash of the node or of the
broker; they never make a copy older. The topic is compacted, so reading it from its beginning gives every SKU, and no place has to
be remembered. Whenever everything there is has been read, the copy is written to the file, whole.
"""

import json
import os
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition


def write(path, copy):
    """All or nothing: whoever reads the file never sees half of it."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump({key: copy[key] for key in sorted(copy)}, file, ensure_ascii=False, indent=1)
    os.replace(path + ".new", path)


def main(brokers, topic, path):
    consumer = Consumer({
        "bootstrap.servers": brokers,
        "group.id": "unused",  # partitions are assigned by hand, and no place is kept
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
    })
    partitions = consumer.list_topics(topic, timeout=60).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
    copy, behind, changed = {}, set(partitions), True
    while True:
        message = consumer.poll(1.0)
        if message is None:
            continue
        error = message.error()
        if error is None:
            behind.add(message.partition())
            sku = json.loads(message.value())
            key = message.key().decode()
            if key not in copy or sku["version"] > copy[key]["version"]:
                copy[key] = {"version": sku["version"], "available": sku["available"]}
                changed = True
        elif error.code() == KafkaError._PARTITION_EOF:
            behind.discard(message.partition())
            if not behind and changed:
                write(path, copy)
                changed = False
        elif not error.retriable() and error.fatal():
            sys.exit(f"the broker refuses: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
