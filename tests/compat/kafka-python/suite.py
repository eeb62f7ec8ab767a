"""The cases of kafka-python, whose protocol code shares nothing with the other clients'."""

import functools
import random
import threading
import time

from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import MessageSizeTooLargeError, OffsetOutOfRangeError, TopicAlreadyExistsError, UnknownTopicOrPartitionError

from cases import BOOTSTRAP, check, name, restart_broker, run, same, until

LIMIT = 1048588


def main():
    cases = [("topics", topics)]
    cases += [(f"codec-{codec}", lambda codec=codec: round_trip(codec)) for codec in ("none", "gzip", "snappy", "lz4", "zstd")]
    cases += [
        ("headers", headers),
        ("keys", keys),
        ("big-records", big_records),
        ("idempotence", idempotence),
        ("seek", seek),
        ("seek-by-time", seek_by_time),
        ("offset-out-of-range", offset_out_of_range),
        ("delete-records", delete_records),
        ("commits", commits),
        ("group-rebalance", group_rebalance),
        ("static-members", static_members),
        ("group-admin", group_admin),
        ("describe-configs", describe_configs),
        ("restart", restart),
    ]
    run(cases)


def topics():
    topic = create("topics", 3, {"retention.ms": "3600000"})
    same(3, len(admin().describe_topics([topic])[0]["partitions"]), "partitions")
    refuses(TopicAlreadyExistsError, lambda: admin().create_topics([NewTopic(topic, 1, 1)]))
    admin().delete_topics([topic])
    until("the topic is gone", lambda: topic not in admin().list_topics())
    refuses(UnknownTopicOrPartitionError, lambda: admin().delete_topics([topic]))


def round_trip(codec):
    topic = create(f"codec-{codec}", 1)
    sent = [b"value-%d-" % i + b"x" * (i % 50) for i in range(500)]
    produce(topic, sent, compression_type=None if codec == "none" else codec, linger_ms=20)
    same(sent, [r.value for r in read(topic, 1)], "records")


def headers():
    topic = create("headers", 1)
    sent = [("twice", b"1"), ("twice", b"2"), ("empty", b""), ("ключ", b"\x00\xff\x7f")]
    with producer() as client:
        client.send(topic, b"v", headers=sent).get(20)
    same(sent, list(read(topic, 1)[0].headers), "headers")


def keys():
    topic = create("keys", 3)
    with producer() as client:
        for i in range(30):
            client.send(topic, b"v%d" % i, key=b"key-%d" % (i % 10))
        client.send(topic, None, key=b"gone").get(20)
        client.flush(20)
    by_key = {}
    for record in read(topic, 3):
        by_key.setdefault(record.key, set()).add(record.partition)
        check((record.value is None) == (record.key == b"gone"), "a null value where one was sent")
    same(11, len(by_key), "keys")
    check(all(len(partitions) == 1 for partitions in by_key.values()), f"a key is in two partitions: {by_key}")


def big_records():
    topic = create("big", 1)
    fits = random.randbytes(LIMIT - 75)
    produce(topic, [fits], max_request_size=20_000_000)
    for size in (LIMIT, 2 * LIMIT):
        refuses(MessageSizeTooLargeError, lambda size=size: produce(topic, [random.randbytes(size)], max_request_size=20_000_000))
    check([fits] == [r.value for r in read(topic, 1)], "the record at the limit comes back")


def idempotence():
    topic = create("idempotence", 1)
    sent = [b"value-%d" % i for i in range(2000)]
    produce(topic, sent, enable_idempotence=True, acks="all", batch_size=500)
    same(sent, [r.value for r in read(topic, 1)], "records")


def seek():
    topic = create("seek", 1)
    produce(topic, [b"v%d" % i for i in range(100)])
    partition = TopicPartition(topic, 0)
    with consumer() as client:
        client.assign([partition])
        client.seek(partition, 42)
        same(b"v42", next(client).value, "at 42")
        same({partition: 0}, client.beginning_offsets([partition]), "beginning")
        same({partition: 100}, client.end_offsets([partition]), "end")


def seek_by_time():
    topic = create("time", 1)
    base = int(time.time() * 1000) - 100_000
    with producer() as client:
        for i in range(100):
            client.send(topic, b"v%d" % i, timestamp_ms=base + i * 1000)
        client.flush(20)
    partition = TopicPartition(topic, 0)
    with consumer() as client:
        for at, offset in ((0, 0), (base, 0), (base + 1, 1), (base + 55_000, 55), (base + 99_000, 99)):
            same(offset, client.offsets_for_times({partition: at})[partition].offset, f"the offset for {at - base}")
        same(None, client.offsets_for_times({partition: base + 99_001})[partition], "after the last")


def offset_out_of_range():
    topic = create("range", 1)
    produce(topic, [b"v"] * 10)
    partition = TopicPartition(topic, 0)
    with consumer(auto_offset_reset="none") as client:
        client.assign([partition])
        client.seek(partition, 11)
        refuses(OffsetOutOfRangeError, lambda: client.poll(20_000))


def delete_records():
    topic = create("delete-records", 1)
    produce(topic, [b"v%d" % i for i in range(100)])
    admin().delete_records({TopicPartition(topic, 0): 30})
    same(b"v30", read(topic, 1)[0].value, "the first record")


def commits():
    topic, group = create("commits", 1), name("commits")
    produce(topic, [b"v%d" % i for i in range(20)])
    partition = TopicPartition(topic, 0)
    with consumer(group_id=group, enable_auto_commit=False) as client:
        client.subscribe([topic])
        next(client)
        client.commit({partition: OffsetAndMetadata(7, "a note", -1)})
        found = client.committed(partition, metadata=True)
        same((7, "a note"), (found.offset, found.metadata), "committed")
    with consumer(group_id=group) as client:
        client.subscribe([topic])
        same(7, next(client).offset, "where the next member goes on")


class Rebalances(ConsumerRebalanceListener):
    """Counts how often a member is told to give partitions up."""

    def __init__(self, member):
        self.member = member

    def on_partitions_revoked(self, revoked):
        self.member.revoked += 1

    def on_partitions_assigned(self, assigned):
        pass


class Member:
    """A member of a group that consumes in a thread of its own."""

    def __init__(self, group, topic, found, **options):
        self.assigned, self.revoked, self.closing, self.found = set(), 0, False, found
        self.client = consumer(group_id=group, session_timeout_ms=10_000, heartbeat_interval_ms=300, **options)
        self.client.subscribe([topic], listener=Rebalances(self))
        self.thread = threading.Thread(target=self.consume, daemon=True)
        self.thread.start()

    def consume(self):
        while not self.closing:
            for records in self.client.poll(50).values():
                self.found.extend(record.value for record in records)
            self.assigned = set(self.client.assignment())
        self.client.close()

    def close(self):
        self.closing = True
        self.thread.join(20)
        check(not self.thread.is_alive(), "the member closes")


def group_rebalance():
    topic, group, found = create("group", 4), name("group"), []
    first = Member(group, topic, found)
    until("the first has all", lambda: len(first.assigned) == 4)
    second = Member(group, topic, found)
    until("each has two", lambda: len(first.assigned) == 2 and len(second.assigned) == 2)
    sent = [b"value-%d" % i for i in range(400)]
    produce(topic, sent)
    until("all is consumed", lambda: len(found) >= 400)
    same(sorted(sent), sorted(found), "each record once")
    first.close()
    until("the second has all", lambda: len(second.assigned) == 4)
    second.close()


def static_members():
    topic, group = create("static", 4), name("static")
    a = Member(group, topic, [], group_instance_id="a")
    b = Member(group, topic, [], group_instance_id="b")
    until("each has two", lambda: len(a.assigned) == 2 and len(b.assigned) == 2)
    before, revoked = a.assigned, b.revoked
    a.close()
    again = Member(group, topic, [], group_instance_id="a")
    until("it has its partitions again", lambda: again.assigned == before)
    same(revoked, b.revoked, "rebalances of the other")
    again.close()
    b.close()


def group_admin():
    topic, group = create("group-admin", 1), name("group-admin")
    member = Member(group, topic, [])
    until("assigned", lambda: len(member.assigned) == 1)
    described = admin().describe_groups([group])[group]
    same(("Stable", 1), (described["group_state"], len(described["members"])), "described")
    check(group in [found["group_id"] for found in admin().list_groups()], "listed")
    member.close()
    until("empty", lambda: admin().describe_groups([group])[group]["group_state"] == "Empty")
    admin().delete_groups([group])
    check(group not in [found["group_id"] for found in admin().list_groups()], "deleted")


def describe_configs():
    topic = create("configs", 1, {"retention.ms": "3600000"})
    found = admin().describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
    check("3600000" in str(found), f"retention.ms is among {found}")


def restart():
    topic = create("restart", 1)
    with producer(retries=100, delivery_timeout_ms=60_000) as client:
        for i in range(100):
            client.send(topic, b"before-%d" % i)
        client.flush(20)
        restart_broker()
        for i in range(100):
            client.send(topic, b"after-%d" % i).get(60)
    expected = [b"before-%d" % i for i in range(100)] + [b"after-%d" % i for i in range(100)]
    same(expected, [r.value for r in read(topic, 1)], "records in the log")


@functools.cache
def admin():
    return KafkaAdminClient(bootstrap_servers=BOOTSTRAP)


def create(about, partitions, settings=None):
    topic = name(about)
    admin().create_topics([NewTopic(topic, partitions, 1, topic_configs=settings or {})])
    until("the topic is there", lambda: topic in admin().list_topics())
    return topic


def producer(**options):
    options.setdefault("enable_idempotence", False)
    return KafkaProducer(bootstrap_servers=BOOTSTRAP, max_block_ms=20_000, **options)


def produce(topic, values, **options):
    with producer(**options) as client:
        for sending in [client.send(topic, value) for value in values]:
            sending.get(30)


def consumer(**options):
    options.setdefault("auto_offset_reset", "earliest")
    return KafkaConsumer(bootstrap_servers=BOOTSTRAP, consumer_timeout_ms=40_000, **options)


def read(topic, partitions):
    """Everything from the beginning to the end of all partitions."""
    every, records = [TopicPartition(topic, partition) for partition in range(partitions)], []
    with consumer() as client:
        client.assign(every)
        ends = client.end_offsets(every)
        client.seek_to_beginning(*every)
        deadline = time.monotonic() + 40
        while any(client.position(partition) < ends[partition] for partition in every):
            check(time.monotonic() < deadline, f"read only {len(records)} records")
            for found in client.poll(200).values():
                records.extend(found)
    return records


def refuses(kind, test):
    try:
        test()
    except Exception as error:
        check(isinstance(error, kind), f"expected {kind.__name__}, found {type(error).__name__}: {error}")
        return
    raise AssertionError(f"expected {kind.__name__}, found no error")


main()
