"""Rounds of kill -9 under a librdkafka producer and a consumer group that commits.

A producer numbers the records of each partition. Two members of a group read them and commit, each commit waited for. Somebody
else asks again and again what is committed. Between all that the broker is killed and started again. Then it must hold that

- every acknowledged record stands where it was acknowledged, and numbers rise from offset to offset: nothing lost, order kept;
- each number is there once, where the broker gives out producer ids (else a repeat whose first answer was lost may be there twice);
- a committed offset never goes back: no question asked after a commit was answered, or after an earlier question, is told less;
- what lies below the committed offset was read by some member.
"""

import os
import random
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time
from concurrent.futures import TimeoutError
from pathlib import Path

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "compat"))
from broker import Millstream  # noqa: E402

BINARY = os.environ["MILLSTREAM_BINARY"]
KILLS = int(os.environ.get("MILLSTREAM_KILLS", "10"))
TOPIC, GROUP, PARTITIONS, MEMBERS = "killed", "survivors", 3, 2
# From the last start to when everybody has caught up.
QUIET_SECONDS_MAX = 120
INIT_PRODUCER_ID = 22
# Clients tell each connection that is lost; that is what is done to them here.
QUIET = {"log_level": 0}


class Broker(Millstream):
    """Killed and started again at the same address. With its log in the bucket it starts in an empty folder each time."""

    def __init__(self, folder, log_in_bucket):
        self.data = log_in_bucket and folder / "data"
        options = ["--storage", f"file://{folder}/bucket", "--wal", "storage"] if log_in_bucket else []
        super().__init__(folder, BINARY, options=["--memory", "128MiB", *options])

    def start(self):
        if self.data:
            shutil.rmtree(self.data, ignore_errors=True)
        super().start()


def serves(address, api):
    """Whether the broker serves an API, as its answer to ApiVersions 0 says."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        frame = struct.pack(">hhih", 18, 0, 1, -1)
        connection.sendall(struct.pack(">i", len(frame)) + frame)
        stream = connection.makefile("rb")
        answer = stream.read(struct.unpack(">i", stream.read(4))[0])
    count = struct.unpack_from(">i", answer, 6)[0]
    return api in [struct.unpack_from(">hhh", answer, 10 + 6 * at)[0] for at in range(count)]


class Run:
    def __init__(self, broker):
        self.address, self.stopping = broker.address, threading.Event()
        self.idempotent = serves(broker.address, INIT_PRODUCER_ID)
        self.lock = threading.Lock()
        self.acknowledged = [{} for _ in range(PARTITIONS)]  # offset: number
        self.read = [set() for _ in range(PARTITIONS)]  # offsets that some member was given
        self.committed = [0] * PARTITIONS  # the greatest that was answered or told
        self.commits = self.questions = self.stuck = 0
        self.wrong = []

    def fail(self, what):
        with self.lock:
            self.wrong.append(what)
        self.stopping.set()

    def guarded(self, work):
        def run():
            try:
                work()
            except Exception as error:
                self.fail(f"{work.__name__}: {type(error).__name__}: {error}")

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def produce(self):
        settings = {"bootstrap.servers": self.address, "acks": "all", "linger.ms": 2, "message.timeout.ms": 120000, **QUIET}
        settings |= {"enable.idempotence": True} if self.idempotent else {"max.in.flight.requests.per.connection": 1}
        producer = Producer(settings)

        def delivered(error, message):
            if error is not None:
                return self.fail(f"a record was given up: {error}")
            number = int(message.value())
            before = self.acknowledged[message.partition()].setdefault(message.offset(), number)
            if before != number:
                self.fail(f"partition {message.partition()} acknowledged {before} and {number} at {message.offset()}")

        number = 0
        while not self.stopping.is_set():
            for partition in range(PARTITIONS):
                producer.produce(TOPIC, str(number).encode(), partition=partition, on_delivery=delivered)
            number += 1
            producer.poll(0)
            time.sleep(0.002)
        if producer.flush(QUIET_SECONDS_MAX):
            self.fail(f"not everything was acknowledged {QUIET_SECONDS_MAX} s after the last start")
        self.sent = number

    def consume(self):
        member = Consumer({
            "bootstrap.servers": self.address, "group.id": GROUP, "enable.auto.commit": False, "auto.offset.reset": "earliest",
            "session.timeout.ms": 10000, "heartbeat.interval.ms": 500, **QUIET,
        })
        member.subscribe([TOPIC])
        while not self.done.is_set():
            given = [message for message in member.consume(200, 0.1) if message.error() is None]
            if not given:
                continue
            with self.lock:
                for message in given:
                    self.read[message.partition()].add(message.offset())
            last = {message.partition(): message.offset() + 1 for message in given}
            try:
                answered = member.commit(
                    offsets=[TopicPartition(TOPIC, partition, offset) for partition, offset in last.items()], asynchronous=False
                )
            except KafkaException:
                # What became of it is unknown, or it is another member's to commit.
                continue
            with self.lock:
                for one in answered:
                    if one.error is None:
                        self.commits += 1
                        self.committed[one.partition] = max(self.committed[one.partition], one.offset)
        member.close()

    def ask(self):
        while not self.done.is_set():
            self.told()
            time.sleep(0.05)

    def told(self):
        """What the group has committed, which must not be less than what anybody was told before the question."""
        with self.lock:
            least = list(self.committed)
        asked = ConsumerGroupTopicPartitions(GROUP, [TopicPartition(TOPIC, it) for it in range(PARTITIONS)])
        try:
            found = self.admin.list_consumer_group_offsets([asked], require_stable=False)[GROUP].result(20).topic_partitions
        except KafkaException:
            return None
        except TimeoutError:
            # Where the broker dies with the administrator's FindCoordinator, librdkafka 2.x does not send it again, ever: its trace shows
            # connections, metadata, and no request that waits for an answer. A new administrator asks anew.
            self.stuck += 1
            self.admin = AdminClient({"bootstrap.servers": self.address, **QUIET})
            return None
        offsets = [0] * PARTITIONS
        for one in found:
            if one.error is not None:
                return None
            offsets[one.partition] = max(one.offset, 0)
            if offsets[one.partition] < least[one.partition]:
                self.fail(f"partition {one.partition} went back from {least[one.partition]} to {one.offset}")
        with self.lock:
            self.questions += 1
            self.committed = [max(pair) for pair in zip(self.committed, offsets)]
        return offsets

    def start(self):
        self.done = threading.Event()
        self.admin = AdminClient({"bootstrap.servers": self.address, **QUIET})
        self.admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(30)
        self.producing = self.guarded(self.produce)
        self.others = [self.guarded(self.consume) for _ in range(MEMBERS)] + [self.guarded(self.ask)]

    def finish(self):
        """Everybody catches up with what the producer had acknowledged in the end."""
        self.stopping.set()
        self.producing.join()
        ends = [max(offsets, default=-1) + 1 for offsets in self.acknowledged]
        deadline = time.monotonic() + QUIET_SECONDS_MAX
        while not self.wrong and any(at < end for at, end in zip(self.told() or [0] * PARTITIONS, ends)):
            if time.monotonic() > deadline:
                self.fail(f"the group stands at {self.committed}, {QUIET_SECONDS_MAX} s after the producer ended at {ends}")
            time.sleep(0.2)
        self.done.set()
        for thread in self.others:
            thread.join(60)

    def verify(self):
        reader = Consumer({"bootstrap.servers": self.address, "group.id": "verify", "enable.auto.commit": False, **QUIET})
        total = repeated = 0
        for partition in range(PARTITIONS):
            _, end = reader.get_watermark_offsets(TopicPartition(TOPIC, partition), timeout=30)
            reader.assign([TopicPartition(TOPIC, partition, 0)])
            there = {}
            deadline = time.monotonic() + QUIET_SECONDS_MAX
            while len(there) < end and time.monotonic() < deadline:
                for message in reader.consume(1000, 1):
                    if message.error() is None:
                        there[message.offset()] = int(message.value())
            self.check(sorted(there) == list(range(end)), f"partition {partition} holds offsets 0 to {end}")
            lost = [(at, number) for at, number in self.acknowledged[partition].items() if there.get(at) != number]
            self.check(not lost, f"partition {partition} lost {lost[:5]}")
            numbers = [there[at] for at in sorted(there)]
            # A repeat stands behind what it repeats.
            once = list(dict.fromkeys(numbers))
            self.check(once == sorted(once), f"partition {partition} is not in order")
            twice = len(numbers) - len(once)
            self.check(set(numbers) == set(range(self.sent)), f"partition {partition} holds each number")
            self.check(not (self.idempotent and twice), f"partition {partition} holds {twice} records twice")
            unread = set(range(self.committed[partition])) - self.read[partition]
            self.check(not unread, f"partition {partition}: {len(unread)} records below the committed offset were read by nobody")
            total, repeated = total + end, repeated + twice
        reader.close()
        return total, repeated

    def check(self, holds, what):
        if not holds:
            self.wrong.append(what)


def rounds(what, log_in_bucket):
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder) / "broker", log_in_bucket)
        run = Run(broker)
        run.start()
        chance = random.Random(KILLS)
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.2, 2.0))
            if run.wrong:
                break
            broker.restart()
        time.sleep(1)
        run.finish()
        total, repeated = run.verify() if not run.wrong else (0, 0)
        if run.wrong:
            print(f"FAILED {what}: {'; '.join(run.wrong[:5])}\n{broker.log_path.read_text()[-3000:]}", file=sys.stderr)
            broker.process.kill()
            return False
        broker.stop()
        if broker.process.returncode != 0:
            raise AssertionError(f"the broker did not stop cleanly: {broker.process.returncode}")
        kind = "idempotent producer" if run.idempotent else f"producer without ids, {repeated} records repeated"
        print(
            f"{what}: killed {KILLS} times; {kind}; {total} records, {run.commits} commits and {run.questions} fetched offsets checked"
            + (f"; the client's administrator was stuck {run.stuck} times" if run.stuck else ""),
            flush=True,
        )
        return True


if __name__ == "__main__":
    passed = [rounds("local ring", False), rounds("log in the bucket", True)]
    # A client's threads may still wait for a broker that is gone.
    sys.stdout.flush()
    os._exit(0 if all(passed) else 1)
