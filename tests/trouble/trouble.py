"""A bucket in trouble, under an idempotent librdkafka producer with the delivery timeout that Kafka's own producer has.

With the log on a disk: so many of a hundred requests are answered 503; then the bucket hangs, then it is gone; then it comes back; then
it is gone for as long as the log has room. With the log in the bucket: the same but for the last, and gone for a part of the time
only, as nothing can be acknowledged meanwhile and a producer gives up after two minutes. It must hold that

- the producer is told no error: every record is acknowledged;
- every acknowledged record is there once, in order, read by another client at the end;
- the broker does not exit, and its memory stays within --memory and what a program takes;
- what is in memory or in the log is served meanwhile;
- afterwards everything is uploaded, the producer is no longer slowed, and fsck finds nothing wrong.

    MILLSTREAM_TROUBLE_BUSY    seconds of 503s (600)     MILLSTREAM_TROUBLE_RING    size of the log (2GiB)
    MILLSTREAM_TROUBLE_GONE    seconds without (120)     MILLSTREAM_TROUBLE_RATE    bytes a second (5242880)
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from proxy import Proxy

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "compat"))
from broker import free_ports  # noqa: E402

BINARY, SERVICE = os.environ["MILLSTREAM_BINARY"], os.environ["MILLSTREAM_S3_SERVICE"]
BUSY_SECONDS = float(os.environ.get("MILLSTREAM_TROUBLE_BUSY", "600"))
GONE_SECONDS = float(os.environ.get("MILLSTREAM_TROUBLE_GONE", "120"))
RING = os.environ.get("MILLSTREAM_TROUBLE_RING", "2GiB")
RATE = int(os.environ.get("MILLSTREAM_TROUBLE_RATE", str(5 << 20)))
BUSY_PERCENT = 30
# What is acknowledged is uploaded a minute later at the latest.
UPLOADED_SECONDS_MAX = 120
# Of the time without a bucket, what a producer outlasts when nothing can be acknowledged.
GONE_SECONDS_MAX = 60
MEMORY_MIB = 256
# The program, its threads, what the allocator keeps.
BESIDE_MIB = 64
TOPIC, PARTITIONS, RECORD_BYTES = "trouble", 4, 4096
BACK_SECONDS_MAX = 600
# Clients tell each connection that is lost.
QUIET = {"log_level": 0}
KEYS = {"AWS_ACCESS_KEY_ID": "millstream", "AWS_SECRET_ACCESS_KEY": "test-only-secret", "AWS_REGION": "us-east-1"}
ENVIRONMENT = {**{k: v for k, v in os.environ.items() if not k.startswith("AWS_")}, **KEYS}


class Service:
    def __init__(self, folder):
        (folder / "root" / "bucket").mkdir(parents=True)
        self.port = free_ports(1)[0]
        arguments = ["--access", KEYS["AWS_ACCESS_KEY_ID"], "--secret", KEYS["AWS_SECRET_ACCESS_KEY"], "--region", KEYS["AWS_REGION"]]
        arguments += ["--port", f"127.0.0.1:{self.port}", "posix", folder / "root"]
        self.process = subprocess.Popen([SERVICE, *arguments], stdout=open(folder / "service.log", "w"), stderr=subprocess.STDOUT)
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=1)
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.1)
        sys.exit((folder / "service.log").read_text())


class Broker:
    def __init__(self, folder, storage, log):
        self.log_file = folder / "broker.log"
        arguments = ["start", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0", "--memory", f"{MEMORY_MIB}MiB"]
        arguments += ["--data", folder / "data", "--storage", storage, "--wal", log]
        self.process = subprocess.Popen(
            [BINARY, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=open(self.log_file, "w"), env=ENVIRONMENT
        )
        ready = self.process.stdout.readline().decode().split()
        if ready[:1] != ["ready"]:
            sys.exit(self.log_file.read_text())
        self.kafka, self.console = ready[1].removeprefix("kafka="), ready[2].removeprefix("console=")
        self.resident_mib_max = 0

    def metrics(self):
        page = urllib.request.urlopen(f"http://{self.console}/metrics", timeout=10).read().decode()
        lines = (line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    def look(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the broker has exited: {self.log_file.read_text()[-2000:]}")
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        resident = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:"))
        self.resident_mib_max = max(self.resident_mib_max, resident)
        if resident > MEMORY_MIB + BESIDE_MIB:
            raise AssertionError(f"{resident:.0f} MiB in RAM with --memory {MEMORY_MIB}MiB")
        return self.metrics()


def value_of(number):
    return b"%020d" % number + bytes([number % 251]) * (RECORD_BYTES - 20)


class Load:
    """Records at a fixed rate, numbered by partition, until it is stopped."""

    def __init__(self, broker):
        self.sent, self.acknowledged, self.errors = [0] * PARTITIONS, 0, []
        self.latest = time.monotonic()
        self.slowest = 0.0
        settings = {"bootstrap.servers": broker.kafka, "enable.idempotence": True, "linger.ms": 5, **QUIET}
        # As Kafka's own producer has them.
        settings |= {"delivery.timeout.ms": 120000, "request.timeout.ms": 30000, "queue.buffering.max.kbytes": 32768}
        self.producer = Producer(settings)
        self.ends = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def delivered(self, error, message):
        if error is not None:
            self.errors.append(str(error))
            return
        self.acknowledged += 1
        self.slowest = max(self.slowest, message.latency() or 0.0)

    def run(self):
        began, count = time.monotonic(), 0
        while not self.ends.is_set():
            due = int((time.monotonic() - began) * RATE / RECORD_BYTES)
            while count < due and not self.ends.is_set():
                partition = count % PARTITIONS
                try:
                    self.producer.produce(TOPIC, value_of(self.sent[partition]), partition=partition, on_delivery=self.delivered)
                except BufferError:
                    # Its memory is full, as Kafka's producer blocks then; what is not sent in time is sent later.
                    self.producer.poll(0.05)
                    continue
                self.sent[partition] += 1
                count += 1
            self.producer.poll(0.01)

    def stop(self):
        self.ends.set()
        self.thread.join()
        left = self.producer.flush(BACK_SECONDS_MAX)
        if left or self.errors:
            raise AssertionError(f"{left} records not acknowledged, {len(self.errors)} given up: {self.errors[:3]}")
        if self.acknowledged != sum(self.sent):
            raise AssertionError(f"{sum(self.sent)} records sent, {self.acknowledged} acknowledged")


class Run:
    def __init__(self, folder, log):
        self.service = Service(folder)
        self.proxy = Proxy(self.service.port)
        self.storage = f"s3://bucket/prefix?endpoint=http://127.0.0.1:{self.proxy.port}"
        self.broker = Broker(folder, self.storage, log)

    def begin(self):
        admin = AdminClient({"bootstrap.servers": self.broker.kafka, **QUIET})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS)])[TOPIC].result(30)
        self.load = Load(self.broker)

    def phase(self, name, manner, ends, percent=0, seconds_max=3600):
        self.proxy.set(manner, percent)
        began, requests, acknowledged = time.monotonic(), self.proxy.requests, self.load.acknowledged
        while True:
            time.sleep(0.5)
            metrics, took = self.broker.look(), time.monotonic() - began
            if self.load.errors:
                raise AssertionError(f"{name}: the producer was told {self.load.errors[:3]}")
            if ends(metrics, took):
                break
            if took > seconds_max:
                raise AssertionError(f"{name}: not over after {took:.0f} s: {metrics}")
        acknowledged = self.load.acknowledged - acknowledged
        requests = self.proxy.requests - requests
        print(
            f"{name}: {took:.0f} s, {acknowledged * RECORD_BYTES / took / 1e6:.2f} MB/s acknowledged, {requests / took:.1f} requests/s, "
            f"log {wal_use(metrics):.0%}, throttle {metrics[THROTTLE] * 1000:.0f} ms, "
            f"at most {self.broker.resident_mib_max:.0f} MiB in RAM",
            flush=True,
        )
        return acknowledged

    def reads_what_is_newest(self):
        """Somebody who has kept up reads on, whatever the bucket does."""
        reader = Consumer({"bootstrap.servers": self.broker.kafka, "group.id": "reader", **QUIET})
        low, high = reader.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=30)
        reader.assign([TopicPartition(TOPIC, 0, max(low, high - 5))])
        read = [message for message in reader.consume(5, 30) if message.error() is None]
        reader.close()
        if len(read) < min(5, high - low):
            raise AssertionError(f"{len(read)} of the newest 5 records came while the bucket was gone")

    def verify(self):
        reader = Consumer({"bootstrap.servers": self.broker.kafka, "group.id": "verifier", "fetch.max.bytes": 8 << 20, **QUIET})
        reader.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
        read, idle_since = [0] * PARTITIONS, time.monotonic()
        while read != self.load.sent:
            for message in reader.consume(1000, 1.0):
                if message.error() is not None:
                    continue
                partition, number = message.partition(), read[message.partition()]
                if message.offset() != number or message.value() != value_of(number):
                    raise AssertionError(f"partition {partition} offset {message.offset()}: not record {number}")
                read[partition] += 1
                idle_since = time.monotonic()
            if time.monotonic() - idle_since > 60:
                raise AssertionError(f"{read} read of {self.load.sent}")
        for partition in range(PARTITIONS):
            end = reader.get_watermark_offsets(TopicPartition(TOPIC, partition), timeout=30)[1]
            if end != self.load.sent[partition]:
                raise AssertionError(f"partition {partition} ends at {end}, {self.load.sent[partition]} records were sent")
        reader.close()

    def end(self):
        began = time.monotonic()
        while self.broker.look()["millstream_upload_behind_bytes"] > 0:
            if time.monotonic() - began > UPLOADED_SECONDS_MAX:
                raise AssertionError("not everything is uploaded")
            time.sleep(1)
        self.broker.process.terminate()
        if self.broker.process.wait(timeout=30) != 0:
            raise AssertionError("the broker did not stop cleanly")
        subprocess.run([BINARY, "fsck", "--storage", self.storage], check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)

    def kill(self):
        for process in (self.broker.process, self.service.process):
            process.kill()
            process.wait()


def of_log(name):
    return f'millstream_{name}{{wal="default"}}'


THROTTLE = of_log("produce_throttle_seconds")


def wal_use(metrics):
    return metrics[of_log("wal_used_bytes")] / metrics[of_log("wal_capacity_bytes")]


def back(metrics, took):
    """As if nothing had been."""
    keeps_up = metrics[of_log("append_age_seconds")] < 1 and metrics[THROTTLE] == 0
    return took > 2 and keeps_up and wal_use(metrics) < 0.5


def trouble(what, log):
    on_a_disk = log != "storage"
    with tempfile.TemporaryDirectory(prefix="millstream-trouble-") as folder:
        run = Run(Path(folder), log if not on_a_disk else f"file://{folder}/wal?size={log}")
        try:
            run.begin()
            run.phase("as usual", "honest", lambda _, took: took > 3)
            busy = run.phase(f"{BUSY_PERCENT}% 503", "busy", lambda _, took: took > BUSY_SECONDS, percent=BUSY_PERCENT)
            if busy * RECORD_BYTES < 0.8 * RATE * BUSY_SECONDS:
                raise AssertionError("the producer was held up though most requests succeeded")
            without = GONE_SECONDS if on_a_disk else min(GONE_SECONDS, GONE_SECONDS_MAX)
            run.phase("hangs", "hangs", lambda _, took: took > without / 3)
            run.phase("gone", "gone", lambda _, took: took > without * 2 / 3)
            run.phase("back", "honest", back, seconds_max=BACK_SECONDS_MAX)
            if on_a_disk:
                run.phase("gone for as long as the log lasts", "gone", lambda metrics, _: wal_use(metrics) > 0.87)
                run.reads_what_is_newest()
                run.phase("back", "honest", back, seconds_max=BACK_SECONDS_MAX)
            run.load.stop()
            run.verify()
            run.end()
            total = sum(run.load.sent)
            print(
                f"{what}: {total} records, {total * RECORD_BYTES / 1e9:.2f} GB, none given up, none lost, none twice; "
                f"the slowest took {run.load.slowest:.1f} s; at most {run.broker.resident_mib_max:.0f} MiB in RAM "
                f"with --memory {MEMORY_MIB}MiB",
                flush=True,
            )
        except BaseException:
            print(run.broker.log_file.read_text()[-4000:], file=sys.stderr)
            raise
        finally:
            run.kill()


if __name__ == "__main__":
    trouble("log on a disk", RING)
    trouble("log in the bucket", "storage")
