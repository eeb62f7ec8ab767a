"""What is measured: each part takes a system and an empty folder, and returns {what: (value, unit)}."""

import json
import os
import resource
import subprocess
import time

import coordination
import disk

GIB = 1 << 30
# Figures per GiB come from a fixed rate that all systems keep up with, so that they do the same work. Before it is counted, the load
# goes on for long enough that a virtual machine has compiled its hot code, and that as much of what was acknowledged earlier is
# uploaded while it is counted as is left over at its end (Millstream uploads every 224 MiB at the most).
STEADY_MIB = 20
STEADY_WARMUP_SECONDS = 30
STEADY_SECONDS = 40
PEAK_SECONDS = 8
PUBLISH_SECONDS = 20
BACKLOG_SECONDS = 10
COLD_GIB = float(os.environ.get("BENCH_COLD_GIB", "10"))
COLD_READERS = 32
COLD_SECONDS = 30
COLD_PACED_MIB = 300
COLD_SETTLES_SECONDS = 60


def start(system, folder):
    """From the broker's exec to the first acknowledged record of a topic made meanwhile; memory after half a minute without work."""
    with system.started(folder) as running:
        running.create("first", 1)
        produced = running.command("produce", "first", "--linger", 0)
        subprocess.run(produced, input="hello\n", capture_output=True, text=True, check=True)
        took = time.monotonic() - running.server.started_at
        time.sleep(30)
        return {"exec to first acknowledged record": (took, "s"), "memory when idle (VmRSS)": (running.rss_mib(), "MiB")}


def cpu(system, folder):
    """Processor time of the broker for each GiB, 16 partitions, 1 KiB records, at a rate that everybody keeps up with."""
    with system.started(folder) as running:
        running.create("load", 16)
        load(running, "produce", "load", rate=STEADY_MIB * 1024, seconds=STEADY_WARMUP_SECONDS, linger=10)
        before = running.cpu_seconds()
        made = load(running, "produce", "load", rate=STEADY_MIB * 1024, seconds=STEADY_SECONDS, linger=10, warmup=0)
        produced = (running.cpu_seconds() - before) / (made["bytes"] / GIB)
        before = running.cpu_seconds()
        read = json.loads(running.do("bench", "consume", "load"))
        consumed = (running.cpu_seconds() - before) / (read["bytes"] / GIB)
        return {
            "broker's CPU per GiB produced": (produced, "s"),
            "broker's CPU per GiB consumed": (consumed, "s"),
            "rate while it was counted": (made["mib_per_second"], "MiB/s"),
            "memory after it": (running.rss_mib(), "MiB"),
        }


def peak(partitions):
    """As much as is taken, 1 KiB records, linger 5 ms."""

    def measured(system, folder):
        with system.started(folder) as running:
            running.create("load", partitions)
            before, generators = running.cpu_seconds(), children_cpu_seconds()
            made = load(running, "produce", "load", rate=None, seconds=PEAK_SECONDS, linger=5)
            spent, generating = running.cpu_seconds() - before, children_cpu_seconds() - generators
            read = json.loads(running.do("bench", "consume", "load"))
            return {
                "produced at the most": (made["mib_per_second"], "MiB/s"),
                "consumed at the most": (read["mib_per_second"], "MiB/s"),
                "CPU per GiB while producing": (spent / (read["bytes"] / GIB), "s"),
                "of the generator, which shares the processors": (generating / (read["bytes"] / GIB), "s"),
            }

    return measured


def publish(mb):
    """Publish latency at a fixed rate, linger 0, 16 partitions; the disk's own fdatasync before and after it, and beside it."""

    def measured(system, folder):
        with system.started(folder) as running:
            running.create("load", 16)
            alone = disk.fdatasyncs(folder)
            began, stolen = time.monotonic(), stolen_seconds()
            with disk.beside(folder) as beside:
                made = load(running, "produce", "load", rate=mb * 1000, size=1000, seconds=PUBLISH_SECONDS, warmup=5)
            stolen = (stolen_seconds() - stolen) / (time.monotonic() - began) / os.cpu_count()
            alone.extend(disk.fdatasyncs(folder))
            alone.sort()
            late = made["generator_late_ms"]
            return {
                **latency("publish", made),
                "fdatasync of 4 KiB, P50": (quantile(alone, 0.5), "ms"),
                "fdatasync of 4 KiB, P99": (quantile(alone, 0.99), "ms"),
                "publish P99 - fdatasync P99": (made["latency_ms"]["p99"] - quantile(alone, 0.99), "ms"),
                **beside,
                "generator late, P99": (late["p99"], "ms"),
                "of the processors' time, taken by the host of this virtual machine": (100 * stolen, "%"),
            }

    return measured


def end_to_end(mb):
    """From when a record was due to when a consumer has it, linger 0, 16 partitions."""

    def measured(system, folder):
        with system.started(folder) as running:
            running.create("load", 16)
            made = load(running, "e2e", "load", rate=mb * 1000, size=1000, seconds=PUBLISH_SECONDS, warmup=5)
            return latency("end to end", made)

    return measured


def catch_up(system, folder):
    """A backlog is read as fast as possible, again and again, while others go on publishing at 5 MB/s."""
    with system.started(folder) as running:
        running.create("backlog", 16)
        running.create("load", 16)
        load(running, "produce", "backlog", rate=None, seconds=BACKLOG_SECONDS, linger=5)
        alone = load(running, "produce", "load", rate=5000, size=1000, seconds=10, warmup=2)
        writer = running.begin(*load_words("produce", "load", rate=5000, size=1000, seconds=10, warmup=2))
        rates = []
        while writer.poll() is None:
            rates.append(json.loads(running.do("bench", "consume", "backlog"))["mib_per_second"])
        beside = json.loads(writer.communicate()[0])
        return {
            "backlog read at": (quantile(sorted(rates), 0.5), "MiB/s"),
            "publish P99 alone": (alone["latency_ms"]["p99"], "ms"),
            "publish P99 beside the reader": (beside["latency_ms"]["p99"], "ms"),
        }


def write_old(running):
    """Old data that no cache holds."""
    written = 0
    while written < COLD_GIB * GIB:
        written += load(running, "produce", "old", rate=None, seconds=10, linger=5)["bytes"]
    running.forget_caches()
    # What was written is merged, or flushed, for a while.
    time.sleep(COLD_SETTLES_SECONDS)


def cold(system, folder):
    """32 readers begin at old data that no cache holds, while others go on publishing at 5 MB/s; BENCH_COLD_GIB of it, 10 unless told.

    The readers' own work is left to what the broker and the producer do not need of the processors, as if they ran elsewhere.
    """
    with system.started(folder) as running:
        found = publish_beside(running, "cold readers")
        return {**found, "memory after it": (running.rss_mib(), "MiB")}


def cold_paced(system, folder):
    """The same with readers that take COLD_PACED_MIB a second in all, so that the processors which they share with the rest are not the
    limit: what is left is what cold reads do to a producer.
    """
    with system.started(folder) as running:
        return publish_beside(running, "paced cold readers", "--rate", COLD_PACED_MIB)


def publish_beside(running, readers, *pace):
    """What a publish takes alone, and beside so many readers of old data."""
    running.create("old", 16)
    running.create("load", 16)
    write_old(running)
    shape = {"rate": 5000, "size": 1000, "seconds": COLD_SECONDS, "warmup": 5}
    alone = load(running, "produce", "load", **shape)
    words = ["--readers", COLD_READERS, *pace, "--duration", COLD_SECONDS + 10]
    reader = running.begin("bench", "consume", "old", *words, nice=19)
    beside = load(running, "produce", "load", **shape)
    read = json.loads(reader.communicate()[0])
    before, after = alone["latency_ms"], beside["latency_ms"]
    return {
        "old data read at": (read["mib_per_second"], "MiB/s"),
        "publish P50 alone": (before["p50"], "ms"),
        f"publish P50 beside {COLD_READERS} {readers}": (after["p50"], "ms"),
        "publish P99 alone": (before["p99"], "ms"),
        f"publish P99 beside {COLD_READERS} {readers}": (after["p99"], "ms"),
    }


def fresh(system, folder):
    """1,000 partitions that nobody has written to yet take 5 MB/s at once."""
    with system.started(folder) as running:
        running.create("fresh", 1000)
        with disk.beside(folder) as beside:
            made = load(running, "produce", "fresh", rate=5000, size=1000, seconds=10, warmup=0)
        return {
            "publish P99, 1,000 fresh partitions": (made["latency_ms"]["p99"], "ms"),
            "worst, 1,000 fresh partitions": (made["latency_ms"]["max"], "ms"),
            **beside,
        }


def many(system, folder):
    """Memory with 5,000 partitions, each with a record."""
    with system.started(folder) as running:
        for number in range(5):
            running.create(f"many-{number}", 1000)
            load(running, "produce", f"many-{number}", rate=1000, size=100, seconds=1, warmup=0)
        time.sleep(10)
        return {"memory with 5,000 partitions (VmRSS)": (running.rss_mib(), "MiB")}


ALL = {
    "start": start,
    "cpu": cpu,
    "peak-1": peak(1),
    "peak-16": peak(16),
    "peak-128": peak(128),
    "peak-1000": peak(1000),
    "publish-1": publish(1),
    "publish-5": publish(5),
    "publish-20": publish(20),
    "e2e-5": end_to_end(5),
    "catch-up": catch_up,
    "cold": cold,
    "cold-paced": cold_paced,
    "fresh": fresh,
    "many": many,
    **coordination.ALL,
}


def load_words(kind, topic, rate, seconds, linger=0, size=1024, warmup=1):
    words = ["bench", kind, topic, "--size", size, "--duration", seconds, "--warmup", warmup, "--linger", linger]
    return words + (["--rate", rate] if rate else [])


def load(running, kind, topic, **shape):
    return json.loads(running.do(*load_words(kind, topic, **shape)))


def children_cpu_seconds():
    """User and system time of the commands that have ended; the brokers still run."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def stolen_seconds():
    """Time in which a processor had work and the host of this virtual machine ran somebody else's."""
    with open("/proc/stat") as stat:
        return int(stat.readline().split()[8]) / os.sysconf("SC_CLK_TCK")


def latency(name, made):
    times = made["latency_ms"]
    shown = {"P50": "p50", "P99": "p99", "P99.9": "p999", "worst": "max"}
    return {f"{name} {title}": (times[key], "ms") for title, key in shown.items()}


def quantile(times, q):
    return times[min(int(len(times) * q), len(times) - 1)]
