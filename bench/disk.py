"""What the disk itself takes to make a little last, and when it has nothing left to do."""

import contextlib
import os
import threading
import time
from pathlib import Path

BLOCK = 4096
BLOCKS = 4096
# A look at the disk beside a load is so rare that it is no load.
BESIDE_SECONDS = 0.01
QUIET_SECONDS = 2
SETTLES_SECONDS_MAX = 60


class Probe:
    """4 KiB at a time, written to a preallocated file and made durable (fdatasync); how long each took, in ms."""

    def __init__(self, folder):
        self.path = folder / "probe"
        self.block = os.urandom(BLOCK)
        self.took = []

    def __enter__(self):
        self.file = open(self.path, "wb", buffering=0)
        self.file.write(bytes(BLOCK * BLOCKS))
        os.fsync(self.file.fileno())
        return self

    def __exit__(self, *_):
        self.file.close()
        self.path.unlink()

    def look(self):
        began = time.perf_counter()
        os.pwrite(self.file.fileno(), self.block, len(self.took) % BLOCKS * BLOCK)
        os.fdatasync(self.file.fileno())
        self.took.append((time.perf_counter() - began) * 1000)


def fdatasyncs(folder, seconds=3):
    """How long the disk takes while nothing else is asked of it, one look right after the other."""
    with Probe(folder) as probe:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            probe.look()
    return probe.took


@contextlib.contextmanager
def fdatasyncs_beside(folder):
    """How long it takes while something else runs: a stall of the disk that a load feels is seen here too, in another file."""
    over = threading.Event()
    with Probe(folder) as probe:

        def looks():
            while not over.wait(BESIDE_SECONDS):
                probe.look()

        looking = threading.Thread(target=looks)
        looking.start()
        try:
            yield probe.took
        finally:
            over.set()
            looking.join()


def settle():
    """Waits until no disk has anything to write or to discard.

    What ran before leaves work behind: pages that the kernel writes later, and the room of deleted files, of which a file system that is
    mounted with `discard` tells the disk when its journal is next committed. Either stalls everybody's syncs for tenths of a second.
    """
    os.sync()
    until = time.monotonic() + SETTLES_SECONDS_MAX
    quiet_since, before = time.monotonic(), written()
    while time.monotonic() < min(until, quiet_since + QUIET_SECONDS):
        time.sleep(0.1)
        now = written()
        if now != before:
            quiet_since, before = time.monotonic(), now


def written():
    """Sectors that were written and discarded, of each disk. Where the kernel does not tell, nothing changes."""
    try:
        lines = Path("/proc/diskstats").read_text().splitlines()
    except OSError:
        return []
    return [(words[2], words[9], words[16:17]) for words in map(str.split, lines)]
