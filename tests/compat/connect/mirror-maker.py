"""The cases of MirrorMaker 2, which copies both ways between the broker that is tried and one of Apache Kafka."""

import os
import subprocess
from pathlib import Path

import broker
from cases import BOOTSTRAP, check, name, restart_broker, run, same, until

CACHE, WORK = Path(os.environ["CACHE"]), Path(os.environ["WORK"])
LIBS = CACHE / "libs"
# Most of a case is waiting for a JVM: each look at a topic's settings, or a group's offsets, begins one.
CASE_SECONDS_MAX = 300
JAVA = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


class Side:
    """One of the two clusters, under the name that the other puts before its topics."""

    def __init__(self, alias, address):
        self.alias, self.address = alias, address

    def kcat(self, *arguments, input=None):
        command = ["kcat", "-q", "-b", self.address, *arguments]
        return subprocess.run(command, input=input, stdout=subprocess.PIPE, text=True, timeout=60).stdout.splitlines()

    def produce(self, topic, lines, *options):
        self.kcat("-P", "-t", topic, *options, input="".join(line + "\n" for line in lines))

    def lines(self, topic, form="%s"):
        return self.kcat("-C", "-e", "-t", topic, "-o", "beginning", "-f", form + "\n")

    def tool(self, tool, *arguments):
        command = [*JAVA, "-Dlog4j2.level=ERROR", "-cp", f"{LIBS}/*", f"org.apache.kafka.tools.{tool}", "--bootstrap-server", self.address, *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120).stdout

    def create(self, topic, partitions=1, *options):
        told = self.tool("TopicCommand", "--create", "--topic", topic, "--partitions", str(partitions), *options)
        check(f"Created topic {topic}" in told, f"{topic} is created: {told}")


def both_ways(case):
    """The case, from this cluster to the other and back."""

    def one_after_the_other():
        for here, there in (TRIED, PARTNER), (PARTNER, TRIED):
            mirror()
            case(here, there)

    return one_after_the_other


def records(here, there):
    topic, lines = name("records"), [f"line {i}" for i in range(500)]
    here.create(topic)
    here.produce(topic, lines[:250])
    until("the first half is there", lambda: there.lines(f"{here.alias}.{topic}") == lines[:250])
    here.produce(topic, lines[250:])
    until("all is there", lambda: there.lines(f"{here.alias}.{topic}") == lines)


def headers_and_keys(here, there):
    topic, form = name("headers"), "%p %T %k %s %h"
    here.create(topic, 3)
    for i in range(9):
        here.produce(topic, [f"k{i}:v{i}"], "-K:", "-H", f"h={i}", "-H", "twice=a", "-H", "twice=b", "-z", "zstd", "-p", str(i % 3))
    sent = sorted(here.lines(topic, form))
    same(9, len(sent), "records sent")
    until("partitions, times, keys, values and headers are the same", lambda: sorted(there.lines(f"{here.alias}.{topic}", form)) == sent)


def topic_settings(here, there):
    topic = name("settings")
    here.create(topic, 2, "--config", "retention.ms=7200000", "--config", "cleanup.policy=compact")
    described = lambda: there.tool("TopicCommand", "--describe", "--topic", f"{here.alias}.{topic}")
    until("it is there with its settings", lambda: all(it in described() for it in ("PartitionCount: 2", "retention.ms=7200000", "cleanup.policy=compact")))
    here.tool("TopicCommand", "--alter", "--topic", topic, "--partitions", "4")
    until("it grows with the first", lambda: "PartitionCount: 4" in described())


def group_offsets(here, there):
    topic, group, lines = name("offsets"), name("group"), [f"line {i}" for i in range(100)]
    here.create(topic)
    here.produce(topic, lines)
    until("all is there", lambda: there.lines(f"{here.alias}.{topic}") == lines)
    read = here.kcat("-G", group, "-e", "-X", "auto.offset.reset=earliest", topic)
    same(lines, read, "what the group reads here")
    moved = lambda: there.tool("consumer.group.ConsumerGroupCommand", "--describe", "--group", group, "--offsets")
    until("its offset is known there", lambda: [row.split()[3] for row in moved().splitlines() if f"{here.alias}.{topic}" in row] == ["100"])
    here.produce(topic, ["one more"])
    until("the last is there", lambda: there.lines(f"{here.alias}.{topic}") == [*lines, "one more"])
    same(["one more"], there.kcat("-G", group, "-e", "-X", "auto.offset.reset=earliest", f"{here.alias}.{topic}"), "what the group goes on with there")


def internal_topics(here, there):
    until("heartbeats of the other side", lambda: len(there.lines(f"{here.alias}.heartbeats", "%S")) > 0)
    until("checkpoints of the other side", lambda: f"{here.alias}.checkpoints.internal" in there.tool("TopicCommand", "--list"))
    told = there.tool("TopicCommand", "--list").split()
    check(not any(topic.startswith(f"{here.alias}.{there.alias}.") for topic in told), f"no copies of copies: {told}")


def restart():
    mirror()
    topics = {side: name("restart") for side in (TRIED, PARTNER)}
    lines = [f"line {i}" for i in range(200)]
    for here, topic in topics.items():
        here.create(topic)
        here.produce(topic, lines[:100])
    pairs = [(TRIED, PARTNER), (PARTNER, TRIED)]
    # What was under way when the broker went may be copied twice.
    copied = lambda here, there: list(dict.fromkeys(there.lines(f"{here.alias}.{topics[here]}")))
    until("the first half is copied", lambda: all(copied(here, there) == lines[:100] for here, there in pairs))
    restart_broker()
    for here, topic in topics.items():
        here.produce(topic, lines[100:])
    # MirrorMaker may have to stop its tasks and join its group anew before it goes on.
    until("the second half is copied", lambda: all(copied(here, there) == lines for here, there in pairs), 150)


MIRRORS = []


def mirror():
    """MirrorMaker, which all cases share; the first of them starts it."""
    if MIRRORS:
        return
    folder = WORK / "mirror"
    folder.mkdir()
    properties = {
        "clusters": f"{TRIED.alias}, {PARTNER.alias}",
        **{f"{side.alias}.bootstrap.servers": side.address for side in (TRIED, PARTNER)},
        "topics": ".*", "groups": ".*", "topics.exclude": ".*[\\\\-\\\\.]internal, __.*", "replication.factor": "1", "tasks.max": "1",
        **{f"{topic}.topic.replication.factor": "1" for topic in ("checkpoints", "heartbeats", "offset-syncs")},
        **{f"{storage}.storage.replication.factor": "1" for storage in ("config", "offset", "status")},
        "refresh.topics.interval.seconds": "1", "refresh.groups.interval.seconds": "1", "sync.topic.configs.interval.seconds": "1",
        "emit.checkpoints.interval.seconds": "1", "emit.heartbeats.interval.seconds": "1",
        "sync.group.offsets.enabled": "true", "sync.group.offsets.interval.seconds": "1", "offset.lag.max": "0",
        "consumer.auto.offset.reset": "earliest", "consumer.metadata.max.age.ms": "1000",
    }
    for here, there in (TRIED, PARTNER), (PARTNER, TRIED):
        properties[f"{here.alias}->{there.alias}.enabled"] = "true"
        # What a worker is told goes under the name of the cluster that it writes to.
        worker = {"offset.flush.interval.ms": "500", "scheduled.rebalance.max.delay.ms": "1000"}
        properties |= {f"{there.alias}.{key}": value for key, value in worker.items()}
    (folder / "properties").write_text("".join(f"{key} = {value}\n" for key, value in properties.items()))
    (folder / "log4j2.yaml").write_text(broker.LOGGING)
    command = [*JAVA, f"-Dlog4j2.configurationFile={folder}/log4j2.yaml", "-cp", f"{LIBS}/*", "org.apache.kafka.connect.mirror.MirrorMaker"]
    MIRRORS.append(broker.Process(folder, [*command, folder / "properties"], "Kafka MirrorMaker started"))


TRIED = Side("tried", BOOTSTRAP)
PARTNER = Side("partner", broker.Kafka(WORK / "partner", LIBS).address)

run([
    ("records", both_ways(records)),
    ("headers-and-keys", both_ways(headers_and_keys)),
    ("topic-settings", both_ways(topic_settings)),
    ("group-offsets", both_ways(group_offsets)),
    ("internal-topics", both_ways(internal_topics)),
    ("restart", restart),
], CASE_SECONDS_MAX)
