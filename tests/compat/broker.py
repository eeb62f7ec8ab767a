"""The brokers that the suites are run against: started on loopback, killed and started again in the middle, stopped."""

import socket
import subprocess
import sys
import threading
import time

READY_SECONDS_MAX = 120


class Process:
    """A process that says in its log when it serves."""

    def __init__(self, folder, command, ready):
        self.log_path = folder / "log"
        self.command = command
        self.ready = ready
        self.process = None
        self.started_at = None
        self.start()

    def start(self):
        begin = self.log_path.stat().st_size if self.log_path.exists() else 0
        self.started_at = time.monotonic()
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            with open(self.log_path, errors="replace") as log:
                log.seek(begin)
                said = log.read()
            if self.ready in said:
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                sys.exit(f"the broker is not ready; see {self.log_path}:\n{said[-2000:]}")
            time.sleep(0.005)

    def restart(self):
        self.process.kill()
        self.process.wait()
        self.start()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Millstream(Process):
    def __init__(self, folder, binary, settings=(), options=()):
        folder.mkdir()
        self.address = f"127.0.0.1:{free_ports(1)[0]}"
        command = [binary, "start", "--data", folder / "data", "--listen", self.address, "--console", "127.0.0.1:0", *options]
        for setting in settings:
            command += ["--set", setting]
        super().__init__(folder, command, "ready kafka=")


class Kafka(Process):
    """One node in KRaft mode, with Kafka's defaults but for what a single node and a small machine need, and `settings`."""

    def __init__(self, folder, libs, settings=None, java=("-Xmx1g", "-XX:+UseSerialGC"), features=()):
        folder.mkdir()
        port, controller = free_ports(2)
        self.address = f"127.0.0.1:{port}"
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(folder / "data"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "share.coordinator.state.topic.num.partitions": "4",
            "log.cleaner.dedupe.buffer.size": "16777216",
            **(settings or {}),
        }
        path = folder / "server.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        logging = folder / "log4j2.yaml"
        logging.write_text(LOGGING)
        java = ["java", *java, f"-Dlog4j2.configurationFile={logging}", "-cp", f"{libs}/*"]
        levels = [word for feature in features for word in ("--feature", feature)]
        formatted = subprocess.run(
            [*java, "kafka.tools.StorageTool", "format", "-t", "compat-cluster-0000001", "-c", path, *levels],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        if formatted.returncode != 0:
            sys.exit(f"Kafka can't format its folder:\n{formatted.stdout}")
        super().__init__(folder, [*java, "kafka.Kafka", path], "Kafka Server started")


LOGGING = """\
Configuration:
  Appenders:
    Console: {name: STDOUT, PatternLayout: {pattern: "[%d] %p %m (%c)%n"}}
  Loggers:
    Root: {level: INFO, AppenderRef: {ref: STDOUT}}
"""


GIVEN_AWAY = set()
CHOOSING = threading.Lock()


def free_ports(count):
    """Ports that nobody listens on now, nor gets from here again. They are below those that outgoing connections take, so that a
    restart finds them free."""
    found = []
    with CHOOSING:
        for port in range(21000 + time.time_ns() // 1000 % 8000, 32000):
            if port in GIVEN_AWAY or not is_free(port):
                continue
            found.append(port)
            if len(found) == count:
                GIVEN_AWAY.update(found)
                return found
    sys.exit("no free port between 21000 and 32000")


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
