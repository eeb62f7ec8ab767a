"""The cases of confluent-kafka for Python, and by it of librdkafka."""

import functools
import random
import threading
import time

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)

from cases import BOOTSTRAP, check, name, restart_broker, run, same, until

LIMIT = 1048588


def main():
    cases = [("topics", topics), ("create-partitions", create_partitions)]
    cases += [(f"codec-{codec}", lambda codec=codec: round_trip(codec)) for codec in ("none", "gzip", "snappy", "lz4", "zstd")]
    cases += [
        ("headers", headers),
        ("keys", keys),
        ("timestamps", timestamps),
        ("acks", acks),
        ("big-records", big_records),
        ("unknown-topic", unknown_topic),
        ("idempotence", idempotence),
        ("seek", seek),
        ("seek-by-time", seek_by_time),
        ("offset-out-of-range", offset_out_of_range),
        ("list-offsets", list_offsets),
        ("delete-records", delete_records),
        ("commits", commits),
        ("group-rebalance", lambda: rebalance("range")),
        ("cooperative-rebalance", lambda: rebalance("cooperative-sticky")),
        ("static-members", static_members),
        ("group-admin", group_admin),
        ("group-offsets", group_offsets),
        ("describe-configs", describe_configs),
        ("alter-configs", alter_configs),
        ("describe-cluster", describe_cluster),
        ("consumer-protocol", lambda: rebalance(None)),
        ("consumer-protocol-static", lambda: static_members(group_protocol())),
        ("transactions", transactions),
        ("transaction-offsets", transaction_offsets),
        ("transaction-fenced", transaction_fenced),
        ("transaction-restart", transaction_restart),
        ("idempotence-restart", idempotence_restart),
        ("restart", restart),
    ]
    run(cases)


def topics():
    topic = create("topics", 3, {"retention.ms": "3600000"})
    same(3, len(admin().list_topics(topic, timeout=20).topics[topic].partitions), "partitions")
    described = admin().describe_topics(TopicCollection([topic]))[topic].result(20)
    same(3, len(described.partitions), "partitions described")
    refuses(KafkaError.TOPIC_ALREADY_EXISTS, lambda: create_exactly(topic, 1))
    refuses(KafkaError.TOPIC_EXCEPTION, lambda: create_exactly("no/slash", 1))
    refuses(KafkaError.INVALID_CONFIG, lambda: create_exactly(name("bad"), 1, {"retention.ms": "soon"}))
    refuses(KafkaError.INVALID_CONFIG, lambda: create_exactly(name("bad"), 1, {"no.such.config": "1"}))
    admin().delete_topics([topic])[topic].result(20)
    until("the topic is gone", lambda: topic not in admin().list_topics(timeout=20).topics)
    refuses(KafkaError.UNKNOWN_TOPIC_OR_PART, lambda: admin().delete_topics([topic])[topic].result(20))


def create_partitions():
    topic = create("grows", 1)
    admin().create_partitions([NewPartitions(topic, 3)])[topic].result(20)
    until("3 partitions", lambda: len(admin().list_topics(topic, timeout=20).topics[topic].partitions) == 3)
    produce(topic, [(b"v", None)], partition=2)
    same([b"v"], [m.value() for m in read(topic, 3)], "records")
    refuses(KafkaError.INVALID_PARTITIONS, lambda: admin().create_partitions([NewPartitions(topic, 2)])[topic].result(20))


def round_trip(codec):
    topic = create(f"codec-{codec}", 1)
    sent = [(b"value-%d-" % i + b"x" * (i % 50), None) for i in range(500)]
    produce(topic, sent, {"compression.type": codec, "linger.ms": 20})
    same([value for value, _ in sent], [m.value() for m in read(topic, 1)], "records")


def headers():
    topic = create("headers", 1)
    sent = [("twice", b"1"), ("twice", b"2"), ("empty", b""), ("null", None), ("ключ", b"\x00\xff\x7f")]
    client = producer({})
    client.produce(topic, b"v", headers=sent)
    same(0, client.flush(20), "unsent")
    same(sent, read(topic, 1)[0].headers(), "headers")


def keys():
    topic = create("keys", 3)
    produce(topic, [(b"v%d" % i, b"key-%d" % (i % 10)) for i in range(30)])
    produce(topic, [(None, b""), (b"", None)], partition=0)
    found = read(topic, 3)
    same(32, len(found), "records")
    by_key = {}
    for message in found:
        if message.key():
            by_key.setdefault(message.key(), set()).add(message.partition())
    same(10, len(by_key), "keys")
    check(all(len(partitions) == 1 for partitions in by_key.values()), f"a key is in two partitions: {by_key}")
    check(any(m.key() == b"" and m.value() is None for m in found), "an empty key with a null value")
    check(any(m.key() is None and m.value() == b"" for m in found), "a null key with an empty value")


def timestamps():
    created, appended = create("create-time", 1), create("append-time", 1, {"message.timestamp.type": "LogAppendTime"})
    hour_ago = int(time.time() * 1000) - 3_600_000
    for topic in (created, appended):
        client = producer({})
        client.produce(topic, b"v", timestamp=hour_ago)
        same(0, client.flush(20), "unsent")
    same(hour_ago, read(created, 1)[0].timestamp()[1], "create time")
    kind, at = read(appended, 1)[0].timestamp()
    same(TIMESTAMP_LOG_APPEND_TIME, kind, "type")
    check(at > hour_ago, "append time")


def acks():
    for level in ("0", "1", "all"):
        topic = create(f"acks-{level}", 1)
        produce(topic, [(b"v%d" % i, None) for i in range(100)], {"acks": level})
        until(f"100 records with acks {level}", lambda: watermarks(topic) == (0, 100))


def big_records():
    topic, wider = create("big", 1), create("bigger", 1, {"max.message.bytes": "12000000"})
    wide = {"message.max.bytes": 20_000_000, "batch.num.messages": 1}
    fits = random.randbytes(LIMIT - 75)
    produce(topic, [(fits, None)], wide)
    refuses(KafkaError.MSG_SIZE_TOO_LARGE, lambda: produce(topic, [(random.randbytes(LIMIT), None)], wide))
    refuses(KafkaError.MSG_SIZE_TOO_LARGE, lambda: produce(topic, [(random.randbytes(10_000_000), None)], wide))
    check([fits] == [m.value() for m in read(topic, 1)], "the record at the limit comes back")
    ten_megabytes = random.randbytes(10_000_000)
    produce(wider, [(ten_megabytes, None)], wide)
    check([ten_megabytes] == [m.value() for m in read(wider, 1)], "10 MB come back")


def unknown_topic():
    topic = name("made-by-the-producer")
    produce(topic, [(b"v", None)])
    same([b"v"], [m.value() for m in read(topic, 1)], "records")


def idempotence():
    topic = create("idempotence", 2)
    sent = [(b"value-%d" % i, None) for i in range(3000)]
    produce(topic, sent, {"enable.idempotence": True, "batch.num.messages": 10})
    same(sorted(value for value, _ in sent), sorted(m.value() for m in read(topic, 2)), "records")


def idempotence_restart():
    """The broker is killed with batches under way, again and again; each value is there once, and in order."""
    topic, sent, answered, errors, under_way = create("idempotence-restart", 1), [], [], [], []
    options = {"enable.idempotence": True, "batch.num.messages": 10, "linger.ms": 0, "message.timeout.ms": 60_000}
    client = producer({**options, "queue.buffering.max.messages": 100_000})

    def delivered(error, message):
        (errors if error else answered).append(error or message.value())

    for number in range(3):
        for i in range(10_000):
            sent.append(b"value-%d-%d" % (number, i))
            client.produce(topic, sent[-1], on_delivery=delivered)
        # Some of them have been answered, so that others are on their way.
        deadline, wanted = time.monotonic() + 40, number * 10_000 + 100
        while len(answered) < wanted and time.monotonic() < deadline:
            client.poll(0.001)
        under_way.append(len(sent) - len(answered))
        restart_broker()
    same(0, client.flush(60), "unsent")
    same([], errors, "errors")
    check(any(under_way), "sends were under way when the broker was killed")
    same(sent, [m.value() for m in read(topic, 1)], "records in the log")


def seek():
    topic = create("seek", 1)
    produce(topic, [(b"v%d" % i, None) for i in range(100)])
    client = consumer({})
    client.assign([TopicPartition(topic, 0, 42)])
    same(b"v42", following(client).value(), "at 42")
    client.seek(TopicPartition(topic, 0, 7))
    same(b"v7", following(client).value(), "at 7")
    same((0, 100), client.get_watermark_offsets(TopicPartition(topic, 0), timeout=20), "watermarks")
    client.close()


def seek_by_time():
    topic = create("time", 1)
    base = int(time.time() * 1000) - 100_000
    client = producer({})
    for i in range(100):
        client.produce(topic, b"v%d" % i, timestamp=base + i * 1000)
    same(0, client.flush(20), "unsent")
    reader = consumer({})
    for at, offset in ((0, 0), (base, 0), (base + 1, 1), (base + 55_000, 55), (base + 99_000, 99)):
        found = reader.offsets_for_times([TopicPartition(topic, 0, at)], timeout=20)[0]
        same(offset, found.offset, f"the offset for {at - base}")
    same(-1, reader.offsets_for_times([TopicPartition(topic, 0, base + 99_001)], timeout=20)[0].offset, "after the last")
    reader.close()


def offset_out_of_range():
    topic = create("range", 1)
    produce(topic, [(b"v", None)] * 10)
    client = consumer({"auto.offset.reset": "error"})
    client.assign([TopicPartition(topic, 0, 11)])
    until("the error", lambda: error_of(client.poll(0.2)) in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE))
    client.close()


def error_of(message):
    return message.error().code() if message is not None and message.error() else None


def list_offsets():
    topic = create("specs", 1)
    base = int(time.time() * 1000) - 10_000
    client = producer({})
    for at in (0, 5000, 9000, 3000):
        client.produce(topic, b"v", timestamp=base + at)
        same(0, client.flush(20), "unsent")
    expected = [
        (OffsetSpec.earliest(), 0),
        (OffsetSpec.latest(), 4),
        (OffsetSpec.max_timestamp(), 2),
        (OffsetSpec.for_timestamp(base + 4000), 1),
    ]
    partition = TopicPartition(topic, 0)
    for spec, offset in expected:
        same(offset, admin().list_offsets({partition: spec})[partition].result(20).offset, str(spec))


def delete_records():
    topic = create("delete-records", 1)
    produce(topic, [(b"v%d" % i, None) for i in range(100)])
    target = TopicPartition(topic, 0, 30)
    same(30, admin().delete_records([target])[target].result(20).low_watermark, "low watermark")
    same((30, 100), watermarks(topic), "watermarks")
    same(b"v30", read(topic, 1)[0].value(), "the first record")
    beyond = TopicPartition(topic, 0, 101)
    refuses(KafkaError.OFFSET_OUT_OF_RANGE, lambda: admin().delete_records([beyond])[beyond].result(20))


def commits():
    topic, group = create("commits", 1), name("commits")
    produce(topic, [(b"v%d" % i, None) for i in range(20)])
    client = consumer({"group.id": group})
    client.subscribe([topic])
    following(client)
    client.commit(offsets=[TopicPartition(topic, 0, 7, "a note")], asynchronous=False)
    found = client.committed([TopicPartition(topic, 0)], timeout=20)[0]
    same((7, "a note"), (found.offset, found.metadata), "committed")
    client.close()
    client = consumer({"group.id": group})
    client.subscribe([topic])
    same(7, following(client).offset(), "where the next member goes on")
    client.close()


class Member:
    """A member of a group that consumes in a thread of its own."""

    def __init__(self, group, topic, found, options):
        self.assigned, self.error, self.closing = set(), None, False
        # With the newer protocol they are the group's.
        times = {} if "group.protocol" in options else {"session.timeout.ms": 10_000, "heartbeat.interval.ms": 300}
        self.client = consumer({"group.id": group, **times, **options})
        self.client.subscribe([topic])
        self.found = found
        self.thread = threading.Thread(target=self.consume, daemon=True)
        self.thread.start()

    def consume(self):
        while not self.closing:
            try:
                message = self.client.poll(0.05)
                self.assigned = {partition.partition for partition in self.client.assignment()}
            except KafkaException as error:
                self.error = error.args[0].code()
                break
            if message is None:
                continue
            if message.error():
                self.error = message.error().code()
                if self.error == KafkaError._FATAL:
                    self.error = self.client.fatal_error() if hasattr(self.client, "fatal_error") else self.error
                continue
            self.found.append(message.value())
            self.client.store_offsets(message)
        self.client.close()

    def close(self):
        self.closing = True
        self.thread.join(20)
        check(not self.thread.is_alive(), "the member closes")


def group_protocol():
    """KIP-848."""
    return {"group.protocol": "consumer"}


def rebalance(strategy):
    """With the strategy, or without one by the newer protocol."""
    topic, group, found = create("group", 4), name("group"), []
    options = {"enable.auto.commit": True, "enable.auto.offset.store": False}
    options |= {"partition.assignment.strategy": strategy} if strategy else group_protocol()
    sent = [b"first-%d" % i for i in range(400)]
    produce(topic, [(value, value) for value in sent])
    first = Member(group, topic, found, options)
    until("the first has all", lambda: len(first.assigned) == 4)
    until("the first records", lambda: len(found) >= 400)
    second = Member(group, topic, found, options)
    until("each has two", lambda: len(first.assigned) == 2 and len(second.assigned) == 2)
    more = [b"second-%d" % i for i in range(400)]
    produce(topic, [(value, value) for value in more])
    until("all is consumed", lambda: len(found) >= 800)
    first.close()
    until("the second has all", lambda: len(second.assigned) == 4)
    second.close()
    same(sorted(sent + more), sorted(found), "each record once")


def static_members(protocol=None):
    topic, group = create("static", 4), name("static")
    options = {"enable.auto.offset.store": False, **(protocol or {})}
    a = Member(group, topic, [], {"group.instance.id": "a", **options})
    b = Member(group, topic, [], {"group.instance.id": "b", **options})
    until("each has two", lambda: len(a.assigned) == 2 and len(b.assigned) == 2)
    before = a.assigned
    a.close()
    time.sleep(1.5)
    same(2, len(b.assigned), "partitions of the other after a static member has closed")
    again = Member(group, topic, [], {"group.instance.id": "a", **options})
    until("it has its partitions again", lambda: again.assigned == before)
    usurper = Member(group, topic, [], {"group.instance.id": "a", **options})
    # The newer protocol refuses who comes while the other is there.
    refused = usurper if protocol else again
    until("one of them is fenced", lambda: refused.error is not None)
    for member in (usurper, again, b):
        member.close()


def group_admin():
    topic, group = create("group-admin", 2), name("group-admin")
    member = Member(group, topic, [], {"client.id": "the-client", "enable.auto.offset.store": False})
    until("assigned", lambda: len(member.assigned) == 2)
    described = admin().describe_consumer_groups([group])[group].result(20)
    same(("STABLE", "range", 1), (described.state.name, described.partition_assignor, len(described.members)), "described")
    only = described.members[0]
    same(("the-client", 2), (only.client_id, len(only.assignment.topic_partitions)), "member")
    check(group in [g.group_id for g in admin().list_consumer_groups().result(20).valid], "listed")
    refuses(KafkaError.NON_EMPTY_GROUP, lambda: admin().delete_consumer_groups([group])[group].result(20))
    member.close()
    until("empty", lambda: admin().describe_consumer_groups([group])[group].result(20).state.name == "EMPTY")
    admin().delete_consumer_groups([group])[group].result(20)
    refuses(KafkaError.GROUP_ID_NOT_FOUND, lambda: admin().delete_consumer_groups([group])[group].result(20))


def group_offsets():
    topic, group = create("group-offsets", 1), name("group-offsets")
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 5)])
    admin().alter_consumer_group_offsets([asked])[group].result(20)
    found = admin().list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(20)
    same([(topic, 0, 5)], [(p.topic, p.partition, p.offset) for p in found.topic_partitions], "offsets")


def describe_configs():
    topic = create("configs", 1, {"retention.ms": "3600000"})
    found = configs(topic)
    same(("3600000", False), (found["retention.ms"].value, found["retention.ms"].is_default), "retention.ms")
    same(("delete", True), (found["cleanup.policy"].value, found["cleanup.policy"].is_default), "cleanup.policy")


def configs(topic):
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    return admin().describe_configs([resource])[resource].result(20)


def alter_configs():
    topic = create("alter-configs", 1)

    def alter(key, value, how=AlterConfigOpType.SET):
        entry = ConfigEntry(key, value, incremental_operation=how)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        admin().incremental_alter_configs([resource])[resource].result(20)

    alter("retention.ms", "1234567")
    until("it is told", lambda: configs(topic)["retention.ms"].value == "1234567")
    alter("retention.ms", None, AlterConfigOpType.DELETE)
    until("the default is told", lambda: configs(topic)["retention.ms"].value == "604800000")
    refuses(KafkaError.INVALID_CONFIG, lambda: alter("retention.ms", "soon"))
    refuses(KafkaError.INVALID_CONFIG, lambda: alter("no.such.config", "1"))


def describe_cluster():
    found = admin().describe_cluster().result(20)
    same(1, len(found.nodes), "nodes")
    same(BOOTSTRAP, f"{found.nodes[0].host}:{found.controller.port}", "address")


def transactions():
    topic, client = create("transactions", 2), transactional(name("transactional"))
    kept = transact(client, topic, 20)
    client.commit_transaction(40)
    transact(client, topic, 20)
    client.abort_transaction(40)
    unfinished = transact(client, topic, 20)
    same(sorted(kept), committed(topic, 2, len(kept)), "committed while one is open")
    client.commit_transaction(40)
    same(sorted(kept + unfinished), committed(topic, 2, len(kept + unfinished)), "committed")
    same(60, len(read(topic, 2, {"isolation.level": "read_uncommitted"})), "with what is aborted")


def transaction_offsets():
    source, target, group = create("from", 1), create("to", 1), name("transaction-offsets")
    produce(source, [(b"v", None)] * 30)
    client, reader = transactional(name("transactional")), consumer({"group.id": group})
    reader.subscribe([source])
    following(reader)
    kept = transact(client, target, 10)
    client.send_offsets_to_transaction([TopicPartition(source, 0, 10)], reader.consumer_group_metadata(), 40)
    client.commit_transaction(40)
    transact(client, target, 10)
    client.send_offsets_to_transaction([TopicPartition(source, 0, 20)], reader.consumer_group_metadata(), 40)
    client.abort_transaction(40)
    same(sorted(kept), committed(target, 1, len(kept)), "records")
    same(10, reader.committed([TopicPartition(source, 0)], timeout=20)[0].offset, "committed")
    reader.close()


def transaction_fenced():
    topic, identity = create("fenced", 1), name("transactional")
    first = transactional(identity)
    transact(first, topic, 5)
    second = transactional(identity)
    kept = transact(second, topic, 5)
    try:
        first.commit_transaction(40)
    except KafkaException as error:
        check(error.args[0].fatal(), f"the first is fenced: {error}")
    else:
        raise AssertionError("the first has committed")
    second.commit_transaction(40)
    same(sorted(kept), committed(topic, 1, len(kept)), "the second's alone")


def transaction_restart():
    """The broker is killed within transactions; each is whole or not there."""
    topic, client, kept = create("transaction-restart", 2), transactional(name("transactional")), []
    for commits in (True, False, True):
        sent = transact(client, topic, 200)
        restart_broker()
        for i in range(200):
            sent.append(b"after-%d-%d" % (len(kept), i))
            client.produce(topic, sent[-1])
        if commits:
            client.commit_transaction(60)
            kept += sent
        else:
            client.abort_transaction(60)
    same(sorted(kept), committed(topic, 2, len(kept)), "committed")


def transactional(identity):
    client = producer({"transactional.id": identity, "transaction.timeout.ms": 120_000, "message.timeout.ms": 60_000})
    client.init_transactions(40)
    return client


def transact(client, topic, count):
    """Begins a transaction and has so many values in the log."""
    sent = [b"transacted-%d" % random.getrandbits(60) for _ in range(count)]
    client.begin_transaction()
    for value in sent:
        client.produce(topic, value)
    same(0, client.flush(40), "unsent")
    return sent


def committed(topic, partitions, count):
    """Who commits is answered when it is decided; readers see it when the partitions have heard of it, on Kafka as well, so these are waited for."""
    deadline = time.monotonic() + 20
    while True:
        found = sorted(m.value() for m in read(topic, partitions, {"isolation.level": "read_committed"}))
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def restart():
    topic, group, found = create("restart", 1), name("restart"), []
    member = Member(group, topic, found, {"enable.auto.offset.store": False})
    client = producer({"enable.idempotence": True, "message.timeout.ms": 60_000})
    for i in range(200):
        client.produce(topic, b"before-%d" % i)
    same(0, client.flush(20), "unsent before")
    until("the first half is consumed", lambda: len(found) == 200)
    restart_broker()
    for i in range(200):
        client.produce(topic, b"after-%d" % i)
    same(0, client.flush(60), "unsent after")
    until("the second half is consumed", lambda: len(set(found)) == 400)
    member.close()
    expected = [b"before-%d" % i for i in range(200)] + [b"after-%d" % i for i in range(200)]
    same(expected, [m.value() for m in read(topic, 1)], "records in the log")


@functools.cache
def admin():
    return AdminClient({"bootstrap.servers": BOOTSTRAP, "log_level": 3})


def create(about, partitions, settings=None):
    return create_exactly(name(about), partitions, settings)


def create_exactly(topic, partitions, settings=None):
    admin().create_topics([NewTopic(topic, partitions, 1, config=settings or {})])[topic].result(20)
    until("the topic is there", lambda: topic in admin().list_topics(timeout=20).topics)
    return topic


def producer(options):
    return Producer({"bootstrap.servers": BOOTSTRAP, "message.timeout.ms": 25_000, "log_level": 3, **options})


def produce(topic, records, options=None, partition=-1):
    """Produces (value, key) pairs; raises the first error that a delivery ends with."""
    client, errors = producer(options or {}), []
    for value, key in records:
        client.produce(topic, value, key, partition, on_delivery=lambda error, _: errors.append(error) if error else None)
    same(0, client.flush(30), "unsent")
    if errors:
        raise KafkaException(errors[0])


def consumer(options):
    return Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": "none",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "log_level": 3,
            **options,
        }
    )


def watermarks(topic):
    client = consumer({})
    found = client.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)
    client.close()
    return found


def read(topic, partitions, options=None):
    """Everything from the beginning to the end of all partitions."""
    client, messages, ended = consumer({"enable.partition.eof": True, **(options or {})}), [], set()
    client.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    deadline = time.monotonic() + 40
    while len(ended) < partitions:
        check(time.monotonic() < deadline, f"read only {len(messages)} records")
        message = client.poll(0.2)
        if message is None:
            continue
        if message.error():
            check(message.error().code() == KafkaError._PARTITION_EOF, f"while reading: {message.error()}")
            ended.add(message.partition())
        else:
            messages.append(message)
    client.close()
    return messages


def following(client):
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        message = client.poll(0.2)
        if message is not None:
            check(not message.error(), f"while reading: {message.error()}")
            return message
    raise AssertionError("no record in 40 s")


def refuses(code, test):
    try:
        test()
    except KafkaException as error:
        same(code, error.args[0].code(), f"the error of {error}")
        return
    raise AssertionError(f"expected error {code}, found none")


main()
