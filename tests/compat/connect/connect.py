"""The cases of Kafka Connect in distributed mode: a worker with its REST on loopback, file sources that write exactly once, file sinks."""

import json
import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import broker
from cases import BOOTSTRAP, check, name, restart_broker, run, same, until

CACHE, WORK = Path(os.environ["CACHE"]), Path(os.environ["WORK"])
# Who takes over from a worker that was killed waits for its session to end, twice.
CASE_SECONDS_MAX = 180
FILE = "org.apache.kafka.connect.file.FileStream"


def plugins():
    found = {plugin["class"]: plugin["version"] for plugin in get("/connector-plugins")}
    same("4.3.1 4.3.1", f"{found[FILE + 'SourceConnector']} {found[FILE + 'SinkConnector']}", "versions")
    same(22, len(get("/")["kafka_cluster_id"]), "characters of the cluster's id")
    status, told = request("PUT", f"/connector-plugins/{FILE}SinkConnector/config/validate", {"connector.class": f"{FILE}SinkConnector", "topics": ""})
    check(status == 200 and told["error_count"] > 0, f"a sink without a topic is not valid: {status} {told}")


def source():
    flow = Flow(sinks=False)
    flow.add(100)
    flow.in_topic()
    flow.add(50)
    flow.in_topic()


def sink():
    flow = Flow()
    flow.add(100)
    flow.arrived()


def pause():
    flow = Flow()
    flow.add(10)
    flow.arrived()
    for connector in (flow.source, flow.sink):
        change(connector, "pause")
        until("it is paused", lambda: state(connector) == ["PAUSED", "PAUSED"])
    flow.add(10)
    change(flow.sink, "resume")
    until("it goes on", lambda: state(flow.sink) == ["RUNNING", "RUNNING"])
    same(10, len(flow.arriving()), "lines while the source is paused")
    change(flow.source, "resume")
    flow.arrived()


def source_offsets():
    flow = Flow(sinks=False)
    flow.add(10)
    flow.in_topic()
    position = sum(len(line) + 1 for line in flow.lines)
    until("its position is told", lambda: told_offset(flow.source) == {"position": position})
    change(flow.source, "stop")
    until("it is stopped", lambda: state(flow.source) == ["STOPPED"])
    asked("DELETE", f"/connectors/{flow.source}/offsets")
    same([], get(f"/connectors/{flow.source}/offsets")["offsets"], "offsets after they are reset")
    change(flow.source, "resume")
    until("it begins again", lambda: topic_lines(flow.topic) == 2 * flow.lines)


def sink_offsets():
    flow = Flow()
    flow.add(100)
    flow.arrived()
    # Where a marker stands no line does: numbers of lines are not offsets.
    offsets = [int(offset) for offset in topic_lines(flow.topic, form="%o")]
    until("its offset is told", lambda: told_offset(flow.sink) == {"kafka_offset": offsets[-1] + 1})
    change(flow.sink, "stop")
    until("it is stopped", lambda: state(flow.sink) == ["STOPPED"])
    to = {"partition": {"kafka_topic": flow.topic, "kafka_partition": 0}, "offset": {"kafka_offset": offsets[90]}}
    asked("PATCH", f"/connectors/{flow.sink}/offsets", {"offsets": [to]})
    same({"kafka_offset": offsets[90]}, told_offset(flow.sink), "the offset that was asked for")
    change(flow.sink, "resume")
    until("the last lines come again", lambda: flow.arriving() == flow.lines + flow.lines[90:])


def transforms():
    route = {"type": "org.apache.kafka.connect.transforms.RegexRouter", "regex": ".*", "replacement": "routed-$0"}
    flow = Flow(sinks=False, transforms="route", **{f"transforms.route.{key}": value for key, value in route.items()})
    flow.add(10)
    until("all lines are in the other topic", lambda: topic_lines("routed-" + flow.topic) == flow.lines)


def reconfigure():
    flow = Flow(sinks=False)
    flow.add(10)
    flow.in_topic()
    other = name("other")
    # Else what is added may go the old way still.
    change(flow.source, "stop")
    until("it is stopped", lambda: state(flow.source) == ["STOPPED"])
    flow.configure(topic=other)
    change(flow.source, "resume")
    flow.add(10)
    until("later lines are in the other topic", lambda: topic_lines(other) == flow.lines[10:])
    same(flow.lines[:10], topic_lines(flow.topic), "lines in the first topic")


def dead_letters():
    letters = name("letters")
    flow = Flow(**{
        "value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": "false", "errors.tolerance": "all",
        "errors.deadletterqueue.topic.name": letters, "errors.deadletterqueue.topic.replication.factor": "1"}, configured="sink")
    flow.add(10)
    until("what can't be read is in the queue", lambda: topic_lines(letters) == flow.lines)
    same([], flow.arriving(), "lines in the file")


def delete():
    flow = Flow()
    flow.add(10)
    flow.arrived()
    for connector in (flow.source, flow.sink):
        asked("DELETE", f"/connectors/{connector}")
        until("it is gone", lambda: connector not in get("/connectors"))
        until("so is its status", lambda: request("GET", f"/connectors/{connector}/status")[0] == 404)


def worker_killed():
    flow = Flow()
    flow.add(100)
    flow.arrived()
    worker().process.kill()
    worker().process.wait()
    flow.add(100)
    worker().start()
    flow.arrived(distinct=True)
    flow.in_topic()


def two_workers():
    flows = [Flow(), Flow()]
    second = Worker("second")
    try:
        connectors = [connector for flow in flows for connector in (flow.source, flow.sink)]
        workers = lambda: {task["worker_id"] for connector in connectors for task in get(f"/connectors/{connector}/status")["tasks"]}
        until("both have tasks", lambda: len(workers()) == 2)
        for flow in flows:
            flow.add(50)
            flow.arrived(distinct=True)
    finally:
        second.process.kill()
        second.process.wait()
    for flow in flows:
        flow.add(50)
        flow.arrived(distinct=True)
        flow.in_topic()
    same(1, len(workers()), "workers with tasks")


def restart():
    flow = Flow()
    flow.add(100)
    flow.arrived()
    restart_broker()
    flow.add(100)
    flow.arrived(distinct=True)
    flow.in_topic()


# What the cases are made of.


class Worker(broker.Process):
    def __init__(self, about):
        folder = WORK / about
        folder.mkdir()
        self.address = f"127.0.0.1:{broker.free_ports(1)[0]}"
        string = "org.apache.kafka.connect.storage.StringConverter"
        properties = {
            "bootstrap.servers": BOOTSTRAP, "group.id": "connect", "listeners": f"http://{self.address}", "key.converter": string, "value.converter": string,
            "config.storage.topic": "connect-configs", "config.storage.replication.factor": "1",
            "offset.storage.topic": "connect-offsets", "offset.storage.replication.factor": "1", "offset.storage.partitions": "3",
            "status.storage.topic": "connect-status", "status.storage.replication.factor": "1", "status.storage.partitions": "3",
            "exactly.once.source.support": "enabled", "offset.flush.interval.ms": "500", "scheduled.rebalance.max.delay.ms": "1000",
            "session.timeout.ms": "6000", "heartbeat.interval.ms": "500", "plugin.discovery": "service_load",
        }
        (folder / "properties").write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        (folder / "log4j2.yaml").write_text(broker.LOGGING)
        java = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dlog4j2.configurationFile={folder}/log4j2.yaml", "-cp", f"{CACHE}/libs/*"]
        super().__init__(folder, [*java, "org.apache.kafka.connect.cli.ConnectDistributed", folder / "properties"], "Kafka Connect started")


FIRST = []


def worker():
    """The worker that all cases share, started by the first of them."""
    if not FIRST:
        FIRST.append(Worker("first"))
    return FIRST[0]


class Flow:
    """Lines that go from a file into a topic, and from there into another file. `settings` are the source's, unless it is said."""

    def __init__(self, sinks=True, configured="source", **settings):
        self.topic = name("lines")
        self.source, self.sink = f"{self.topic}-source", f"{self.topic}-sink"
        self.read, self.written = WORK / f"{self.topic}.in", WORK / f"{self.topic}.out"
        self.lines = []
        self.read.touch()
        self.settings = {
            "connector.class": f"{FILE}SourceConnector", "file": str(self.read), "topic": self.topic, "topic.creation.default.replication.factor": "1",
            "topic.creation.default.partitions": "1", **(settings if configured == "source" else {}),
        }
        self.configure()
        until("the source runs", lambda: state(self.source) == ["RUNNING", "RUNNING"])
        if sinks:
            asked("PUT", f"/connectors/{self.sink}/config", {
                "connector.class": f"{FILE}SinkConnector", "file": str(self.written), "topics": self.topic, "consumer.override.auto.offset.reset": "earliest",
                # A worker that was killed is missed soon.
                "consumer.override.session.timeout.ms": "6000", "consumer.override.heartbeat.interval.ms": "500", **(settings if configured == "sink" else {})})
            until("the sink runs", lambda: state(self.sink) == ["RUNNING", "RUNNING"])

    def configure(self, **changed):
        self.settings.update(changed)
        asked("PUT", f"/connectors/{self.source}/config", self.settings)

    def add(self, count):
        added = [f"{self.topic} line {len(self.lines) + i}" for i in range(count)]
        with open(self.read, "a") as file:
            file.write("".join(line + "\n" for line in added))
        self.lines += added

    def in_topic(self):
        until("each line is in the topic once, in order", lambda: topic_lines(self.topic) == self.lines)

    def arriving(self):
        return self.written.read_text().splitlines() if self.written.exists() else []

    def arrived(self, distinct=False):
        """All lines are in the second file. A sink that was stopped hard writes again what it had not committed."""
        order = (lambda lines: list(dict.fromkeys(lines))) if distinct else list
        until("all lines arrive", lambda: order(self.arriving()) == self.lines)


def request(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    made = urllib.request.Request(f"http://{worker().address}{path}", data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(made, timeout=60) as answer:
            said = answer.read()
            return answer.status, json.loads(said) if said else None
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def asked(method, path, body=None):
    """The answer, once the workers are not occupied with a rebalance, nor with what was stopped a moment ago."""
    answers = []

    def answered():
        answers.append(request(method, path, body))
        return answers[-1][0] not in (0, 409, 500)

    until(f"{method} {path} is done", answered)
    status, told = answers[-1]
    check(200 <= status < 300, f"{method} {path}: {status} {told}")
    return told


def get(path):
    return asked("GET", path)


def change(connector, what):
    asked("PUT", f"/connectors/{connector}/{what}")


def state(connector):
    status, told = request("GET", f"/connectors/{connector}/status")
    if status != 200:
        return []
    failed = [one["trace"] for one in [told["connector"], *told["tasks"]] if one["state"] == "FAILED"]
    check(not failed, f"{connector} has failed: {failed}")
    return [one["state"] for one in [told["connector"], *told["tasks"]]]


def told_offset(connector):
    offsets = get(f"/connectors/{connector}/offsets")["offsets"]
    return offsets[0]["offset"] if offsets else None


def topic_lines(topic, form="%s"):
    command = ["kcat", "-q", "-b", BOOTSTRAP, "-C", "-e", "-t", topic, "-o", "beginning", "-f", form + "\n"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=30).stdout.splitlines()


run([
    ("plugins", plugins),
    ("source", source),
    ("sink", sink),
    ("pause", pause),
    ("source-offsets", source_offsets),
    ("sink-offsets", sink_offsets),
    ("transforms", transforms),
    ("reconfigure", reconfigure),
    ("dead-letters", dead_letters),
    ("delete", delete),
    ("worker-killed", worker_killed),
    ("two-workers", two_workers),
    ("restart", restart),
], CASE_SECONDS_MAX)
