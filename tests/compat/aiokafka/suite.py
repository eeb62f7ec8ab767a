"""The cases of aiokafka, whose groups and transactions are its own."""

import asyncio
import functools
import random
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, OffsetOutOfRangeError, ProducerFenced
from aiokafka.structs import OffsetAndMetadata

from cases import BOOTSTRAP, UNTIL_SECONDS_MAX, check, name, restart_broker, run, same

LIMIT = 1048588


def main():
    cases = {"topics": topics, "create-partitions": create_partitions}
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        cases[f"codec-{codec}"] = functools.partial(round_trip, codec)
    cases |= {
        "headers": headers,
        "keys": keys,
        "timestamps": timestamps,
        "acks": acks,
        "big-records": big_records,
        "idempotence": idempotence,
        "seek": seek,
        "seek-by-time": seek_by_time,
        "offset-out-of-range": offset_out_of_range,
        "delete-records": delete_records,
        "commits": commits,
        "group-rebalance": group_rebalance,
        "static-members": static_members,
        "group-admin": group_admin,
        "describe-configs": describe_configs,
        "transactions": transactions,
        "transaction-offsets": transaction_offsets,
        "transaction-fenced": transaction_fenced,
        "idempotence-restart": idempotence_restart,
        "transaction-restart": transaction_restart,
        "restart": restart,
    }
    run([(about, lambda test=test: asyncio.run(test())) for about, test in cases.items()])


async def topics():
    topic = await create("topics", 3, {"retention.ms": "3600000"})
    async with admin() as client:
        same(3, len((await client.describe_topics([topic]))[0]["partitions"]), "partitions")
        answer = await client.create_topics([NewTopic(topic, 1, 1)])
        same(36, answer.topic_errors[0][1], "the error of a topic that is there")
        await client.delete_topics([topic])
        await until("the topic is gone", lambda: absent(client, topic))


async def absent(client, topic):
    return topic not in await client.list_topics()


async def create_partitions():
    topic = await create("grows", 1)
    async with admin() as client:
        await client.create_partitions({topic: NewPartitions(3)})
        await until("3 partitions", lambda: partitions_are(client, topic, 3))
    await produce(topic, [b"v"], partition=2)
    same([b"v"], [r.value for r in await read(topic, 3)], "records")


async def partitions_are(client, topic, count):
    return len((await client.describe_topics([topic]))[0]["partitions"]) == count


async def round_trip(codec):
    topic = await create(f"codec-{codec}", 1)
    sent = [b"value-%d-" % i + b"x" * (i % 50) for i in range(500)]
    await produce(topic, sent, compression_type=None if codec == "none" else codec, linger_ms=20)
    same(sent, [r.value for r in await read(topic, 1)], "records")


async def headers():
    topic = await create("headers", 1)
    sent = (("twice", b"1"), ("twice", b"2"), ("empty", b""), ("ключ", b"\x00\xff\x7f"))
    async with producer() as client:
        await client.send_and_wait(topic, b"v", headers=list(sent))
    same(sent, (await read(topic, 1))[0].headers, "headers")


async def keys():
    topic = await create("keys", 3)
    async with producer() as client:
        for i in range(30):
            await client.send(topic, b"v%d" % i, key=b"key-%d" % (i % 10))
        await client.send_and_wait(topic, None, key=b"gone")
    by_key = {}
    for record in await read(topic, 3):
        by_key.setdefault(record.key, set()).add(record.partition)
        check((record.value is None) == (record.key == b"gone"), "a null value where one was sent")
    same(11, len(by_key), "keys")
    check(all(len(partitions) == 1 for partitions in by_key.values()), f"a key is in two partitions: {by_key}")


async def timestamps():
    created, appended = await create("create-time", 1), await create("append-time", 1, {"message.timestamp.type": "LogAppendTime"})
    hour_ago = int(time.time() * 1000) - 3_600_000
    async with producer() as client:
        same(hour_ago, (await client.send_and_wait(created, b"v", timestamp_ms=hour_ago)).timestamp, "acknowledged")
        check((await client.send_and_wait(appended, b"v", timestamp_ms=hour_ago)).timestamp > hour_ago, "append time acknowledged")
    same((hour_ago, 0), stamp(await read(created, 1)), "create time")
    at, kind = stamp(await read(appended, 1))
    check(at > hour_ago and kind == 1, "append time")


def stamp(records):
    return records[0].timestamp, records[0].timestamp_type


async def acks():
    for level in (0, 1, "all"):
        topic = await create(f"acks-{level}", 1)
        sent = [b"v%d" % i for i in range(100)]
        await produce(topic, sent, acks=level)
        await until(f"100 records with acks {level}", lambda topic=topic: count_is(topic, 100))


async def count_is(topic, count):
    return len(await read(topic, 1)) == count


async def big_records():
    topic, wider = await create("big", 1), await create("bigger", 1, {"max.message.bytes": "12000000"})
    fits, ten_megabytes = random.randbytes(LIMIT - 75), random.randbytes(10_000_000)
    await produce(topic, [fits], max_request_size=20_000_000)
    for size in (LIMIT, 2 * LIMIT):
        await refuses(MessageSizeTooLargeError, produce(topic, [random.randbytes(size)], max_request_size=20_000_000))
    check([fits] == [r.value for r in await read(topic, 1)], "the record at the limit comes back")
    await produce(wider, [ten_megabytes], max_request_size=20_000_000)
    check([ten_megabytes] == [r.value for r in await read(wider, 1)], "10 MB come back")


async def idempotence():
    topic = await create("idempotence", 1)
    sent = [b"value-%d" % i for i in range(2000)]
    await produce(topic, sent, enable_idempotence=True, max_batch_size=500)
    same(sent, [r.value for r in await read(topic, 1)], "records")


async def seek():
    topic = await create("seek", 1)
    await produce(topic, [b"v%d" % i for i in range(100)])
    partition = TopicPartition(topic, 0)
    async with consumer() as client:
        client.assign([partition])
        client.seek(partition, 42)
        same(b"v42", (await following(client)).value, "at 42")
        same({partition: 0}, await client.beginning_offsets([partition]), "beginning")
        same({partition: 100}, await client.end_offsets([partition]), "end")


async def seek_by_time():
    topic = await create("time", 1)
    base = int(time.time() * 1000) - 100_000
    async with producer() as client:
        for i in range(100):
            await client.send(topic, b"v%d" % i, timestamp_ms=base + i * 1000)
        await client.flush()
    partition = TopicPartition(topic, 0)
    async with consumer() as client:
        for at, offset in ((0, 0), (base, 0), (base + 1, 1), (base + 55_000, 55), (base + 99_000, 99)):
            same(offset, (await client.offsets_for_times({partition: at}))[partition].offset, f"the offset for {at - base}")
        same(None, (await client.offsets_for_times({partition: base + 99_001}))[partition], "after the last")


async def offset_out_of_range():
    topic = await create("range", 1)
    await produce(topic, [b"v"] * 10)
    partition = TopicPartition(topic, 0)
    async with consumer(auto_offset_reset="none") as client:
        client.assign([partition])
        client.seek(partition, 11)
        await refuses(OffsetOutOfRangeError, client.getone())


async def delete_records():
    topic = await create("delete-records", 1)
    await produce(topic, [b"v%d" % i for i in range(100)])
    async with admin() as client:
        await client.delete_records({TopicPartition(topic, 0): RecordsToDelete(30)})
    same(b"v30", (await read(topic, 1))[0].value, "the first record")


async def commits():
    topic, group = await create("commits", 1), name("commits")
    await produce(topic, [b"v%d" % i for i in range(20)])
    partition = TopicPartition(topic, 0)
    async with consumer(topic, group_id=group) as client:
        await following(client)
        await client.commit({partition: OffsetAndMetadata(7, "a note")})
        same(7, await client.committed(partition), "committed")
    async with admin() as client:
        same("a note", (await client.list_consumer_group_offsets(group))[partition].metadata, "the note")
    async with consumer(topic, group_id=group) as client:
        same(7, (await following(client)).offset, "where the next member goes on")


class Member(ConsumerRebalanceListener):
    """A member of a group that consumes in a task of its own."""

    def __init__(self, group, topic, found, **options):
        self.found, self.error, self.revoked = found, None, 0
        self.client = consumer(group_id=group, heartbeat_interval_ms=300, **options)
        self.topic = topic
        self.task = asyncio.create_task(self.consume())

    async def consume(self):
        async with self.client as client:
            client.subscribe([self.topic], listener=self)
            try:
                while True:
                    for records in (await client.getmany(timeout_ms=50)).values():
                        self.found.extend(record.value for record in records)
                    if client.assignment():
                        await commit(client)
            except asyncio.CancelledError:
                pass
            except KafkaError as error:
                self.error = error

    def on_partitions_revoked(self, revoked):
        self.revoked += 1

    def on_partitions_assigned(self, assigned):
        pass

    @property
    def assigned(self):
        return {partition.partition for partition in self.client.assignment()}

    async def close(self):
        self.task.cancel()
        await asyncio.wait_for(asyncio.wait([self.task]), 20)


async def commit(client):
    try:
        await client.commit()
    except KafkaError:
        # A rebalance is under way, and the next commit holds these records too.
        pass


async def group_rebalance():
    topic, group, found = await create("group", 4), name("group"), []
    first = Member(group, topic, found)
    await until("the first has all", lambda: len(first.assigned) == 4)
    second = Member(group, topic, found)
    await until("each has two", lambda: len(first.assigned) == 2 and len(second.assigned) == 2)
    sent = [b"value-%d" % i for i in range(400)]
    await produce(topic, sent)
    await until("all is consumed", lambda: len(found) >= 400)
    same(sorted(sent), sorted(found), "each record once")
    await first.close()
    await until("the second has all", lambda: len(second.assigned) == 4)
    await second.close()


async def static_members():
    topic, group = await create("static", 4), name("static")
    a = Member(group, topic, [], group_instance_id="a")
    b = Member(group, topic, [], group_instance_id="b")
    await until("each has two", lambda: len(a.assigned) == 2 and len(b.assigned) == 2)
    before, revoked = a.assigned, b.revoked
    await a.close()
    again = Member(group, topic, [], group_instance_id="a")
    await until("it has its partitions again", lambda: again.assigned == before)
    same(revoked, b.revoked, "rebalances of the other")
    await again.close()
    await b.close()


async def group_admin():
    topic, group = await create("group-admin", 1), name("group-admin")
    member = Member(group, topic, [])
    await until("assigned", lambda: len(member.assigned) == 1)
    async with admin() as client:
        described = (await client.describe_consumer_groups([group]))[0].groups[0]
        same((0, group, "Stable"), tuple(described[:3]), "described")
        check((group, "consumer") in [tuple(found[:2]) for found in await client.list_consumer_groups()], "listed")
    await member.close()


async def describe_configs():
    topic = await create("configs", 1, {"retention.ms": "3600000"})
    async with admin() as client:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        check("3600000" in str(await client.describe_configs([resource])), "retention.ms is described")
        await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "7200000"})])
        await until("it is altered", lambda: described_with(client, resource, "7200000"))


async def described_with(client, resource, value):
    return value in str(await client.describe_configs([resource]))


async def transactions():
    topic = await create("transactions", 2)
    async with transactional(name("transactional")) as client:
        kept = await transact(client, topic, 20)
        await client.commit_transaction()
        await transact(client, topic, 20)
        await client.abort_transaction()
        unfinished = await transact(client, topic, 20)
        same(sorted(kept), await committed(topic, 2, len(kept)), "committed while one is open")
        await client.commit_transaction()
        same(sorted(kept + unfinished), await committed(topic, 2, len(kept + unfinished)), "committed")
    same(60, len(await read(topic, 2)), "with what is aborted")


async def transaction_offsets():
    source, target, group = await create("from", 1), await create("to", 1), name("transaction-offsets")
    partition = TopicPartition(source, 0)
    async with transactional(name("transactional")) as client:
        kept = await transact(client, target, 10)
        await client.send_offsets_to_transaction({partition: 10}, group)
        await client.commit_transaction()
        await transact(client, target, 10)
        await client.send_offsets_to_transaction({partition: 20}, group)
        await client.abort_transaction()
    same(sorted(kept), await committed(target, 1, len(kept)), "records")
    async with admin() as client:
        same(10, (await client.list_consumer_group_offsets(group))[partition].offset, "committed")


async def transaction_fenced():
    topic, identity = await create("fenced", 1), name("transactional")
    first = transactional(identity)
    await first.start()
    await transact(first, topic, 5)
    async with transactional(identity) as second:
        kept = await transact(second, topic, 5)
        await refuses(ProducerFenced, first.commit_transaction())
        await second.commit_transaction()
    same(sorted(kept), await committed(topic, 1, len(kept)), "the second's alone")
    await first.stop()


async def idempotence_restart():
    """The broker is killed with batches under way; each value is there once, and in order."""
    topic, sent = await create("idempotence-restart", 1), []
    async with producer(enable_idempotence=True, max_batch_size=500) as client:
        for number in range(3):
            values = [b"value-%d-%d" % (number, i) for i in range(1000)]
            sending = [await client.send(topic, value) for value in values]
            await asyncio.to_thread(restart_broker)
            await asyncio.gather(*sending)
            sent += values
    same(sent, [r.value for r in await read(topic, 1)], "records in the log")


async def transaction_restart():
    topic, kept = await create("transaction-restart", 2), []
    async with transactional(name("transactional")) as client:
        for commits in (True, False, True):
            sent = await transact(client, topic, 200)
            await asyncio.to_thread(restart_broker)
            for i in range(200):
                sent.append(b"after-%d" % random.getrandbits(60))
                await client.send(topic, sent[-1])
            if commits:
                await client.commit_transaction()
                kept += sent
            else:
                await client.abort_transaction()
    found = await committed(topic, 2, len(kept))
    same([], sorted(set(kept) - set(found)), "committed values that are missing")
    same(sorted(kept), found, "committed")


async def restart():
    topic, group, found = await create("restart", 1), name("restart"), []
    member = Member(group, topic, found)
    before, after = [b"before-%d" % i for i in range(100)], [b"after-%d" % i for i in range(100)]
    async with producer(enable_idempotence=True) as client:
        await asyncio.gather(*[await client.send(topic, value) for value in before])
        await until("the first half is consumed", lambda: len(found) == 100)
        await asyncio.to_thread(restart_broker)
        for value in after:
            await client.send_and_wait(topic, value)
    await until("the second half is consumed", lambda: len(set(found)) == 200)
    await member.close()
    same(before + after, [r.value for r in await read(topic, 1)], "records in the log")


def admin():
    return Closing(AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP))


class Closing:
    """Starts a client, and closes it in the end."""

    def __init__(self, client):
        self.client = client

    async def __aenter__(self):
        await self.client.start()
        return self.client

    async def __aexit__(self, *_):
        await self.client.close()


async def create(about, partitions, settings=None):
    topic = name(about)
    async with admin() as client:
        await client.create_topics([NewTopic(topic, partitions, 1, topic_configs=settings or {})])
        await until("the topic is there", lambda: partitions_are(client, topic, partitions))
    return topic


def producer(**options):
    return AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, **options)


def transactional(identity):
    return producer(transactional_id=identity, transaction_timeout_ms=120_000)


async def transact(client, topic, count):
    """Begins a transaction and has so many values in the log."""
    sent = [b"transacted-%d" % random.getrandbits(60) for _ in range(count)]
    await client.begin_transaction()
    await asyncio.gather(*[await client.send(topic, value) for value in sent])
    return sent


async def committed(topic, partitions, count):
    """Who commits is answered when it is decided; readers see it when the partitions have heard of it, on Kafka as well, so these are waited for."""
    deadline = time.monotonic() + 20
    while True:
        found = sorted(r.value for r in await read(topic, partitions, isolation_level="read_committed"))
        if len(found) >= count or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.05)


async def produce(topic, values, partition=None, **options):
    async with producer(**options) as client:
        await asyncio.gather(*[await client.send(topic, value, partition=partition) for value in values])


def consumer(*topics, **options):
    options.setdefault("auto_offset_reset", "earliest")
    return AIOKafkaConsumer(*topics, bootstrap_servers=BOOTSTRAP, enable_auto_commit=False, **options)


async def read(topic, partitions, **options):
    """Everything from the beginning to the end of all partitions, which is asked first."""
    every, records = [TopicPartition(topic, partition) for partition in range(partitions)], []
    async with consumer(**options) as client:
        client.assign(every)
        ends = await client.end_offsets(every)
        await client.seek_to_beginning(*every)
        deadline = time.monotonic() + UNTIL_SECONDS_MAX
        while True:
            positions = [await client.position(partition) for partition in every]
            if all(position >= ends[partition] for position, partition in zip(positions, every)):
                return records
            check(time.monotonic() < deadline, f"read only {len(records)} records")
            for found in (await client.getmany(timeout_ms=200)).values():
                records.extend(found)


async def following(client):
    return await asyncio.wait_for(client.getone(), UNTIL_SECONDS_MAX)


async def until(what, holds):
    deadline = time.monotonic() + UNTIL_SECONDS_MAX
    while time.monotonic() < deadline:
        held = holds()
        if await held if asyncio.iscoroutine(held) else held:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {UNTIL_SECONDS_MAX} s: {what}")


async def refuses(kind, attempt):
    try:
        await attempt
    except KafkaError as error:
        check(isinstance(error, kind), f"expected {kind.__name__}, found {type(error).__name__}: {error}")
        return
    raise AssertionError(f"expected {kind.__name__}, found no error")


main()
