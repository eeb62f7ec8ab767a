"""The systems under load: how each is started, and what the kernel says of its process."""

import fcntl
import os
import shutil
import subprocess
import sys

import broker
import disk

NAMES = ("millstream", "kafka", "kafka-sync")
# Millstream with another write-ahead log; `{folder}` is the broker's.
LOGS = {"millstream-shared": "file://{folder}/shared?shared", "millstream-storage": "storage"}
# Writing to it makes the kernel forget what it keeps of files.
DROP_CACHES = "/proc/sys/vm/drop_caches"
# What Kafka's own start script gives the virtual machine.
JAVA = ("-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35")


class System:
    """One of the systems; `started` gives a broker of it on a fresh folder."""

    def __init__(self, name, binary, start):
        self.name = name
        self.binary = binary
        self.start = start

    def started(self, folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        # What the system before wrote and deleted is not this one's.
        disk.settle()
        return Running(self.start(folder / "broker"), self.binary, folder)


class Running:
    """A broker that runs, and the load generator pointed at it. Leaving it stops the broker and deletes its data."""

    def __init__(self, server, binary, folder):
        self.server = server
        self.binary = binary
        self.folder = folder
        self.pid = server.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stop()
        shutil.rmtree(self.folder)

    def command(self, *words):
        """A `millstream` command against this broker."""
        return [str(self.binary), *map(str, words), "--bootstrap", self.server.address, "--timeout", "60", "--json"]

    def do(self, *words):
        done = subprocess.run(self.command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, words))} failed:\n{done.stderr}\nthe broker's log is {self.server.log_path}")
        return done.stdout

    def begin(self, *words, nice=0):
        """The same, which goes on beside what comes next; with `nice` it takes what everybody else leaves of the processors."""
        command = ["nice", "-n", str(nice), *self.command(*words)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def forget_caches(self):
        """A broker that was stopped and started again, and nothing of its files in the kernel's memory."""
        self.server.stop()
        subprocess.run(["sync"], check=True)
        with open(DROP_CACHES, "w") as caches:
            caches.write("3\n")
        self.server.start()
        self.pid = self.server.process.pid

    def create(self, topic, partitions):
        self.do("topic", "create", topic, "--partitions", partitions)

    def cpu_seconds(self):
        """User and system time of the whole process since it began."""
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self):
        with open(f"/proc/{self.pid}/status") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) / 1024
        sys.exit("the broker is gone")


def named(name, binary, root):
    if name == "millstream":
        return System(name, binary, lambda folder: broker.Millstream(folder, binary))
    if name in LOGS:
        return System(name, binary, lambda folder: broker.Millstream(folder, binary, options=["--wal", LOGS[name].format(folder=folder)]))
    libs = kafkas_jars(root)
    settings = {"log.flush.interval.messages": "1"} if name == "kafka-sync" else {}
    return System(name, binary, lambda folder: broker.Kafka(folder, libs, settings, JAVA))


def kafkas_jars(root):
    """Installed as for the compatibility suites, once."""
    tools = root / "tests" / "compat" / "tools"
    cache = root / "target" / "compat" / "tools"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([tools / "install"], cwd=tools, env=dict(os.environ, CACHE=str(cache)), check=True)
    return cache / "libs"
