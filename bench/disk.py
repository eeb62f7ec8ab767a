"""What the disk itself takes to make a little last, and when it has nothing left to do."""

import contextlib
import os
import sys
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
def beside(folder):
    """How the disk fares while something else runs: a stall of it that a load feels is seen here too, in another file; and what is read
    meanwhile. Yields figures by their names, which are there when it ends."""
    over, figures, failures = threading.Event(), {}, []
    with Probe(folder) as probe:

        def looks():
            try:
                while not over.wait(BESIDE_SECONDS):
                    probe.look()
            except OSError as error:
                failures.append(error)

        looking, before = threading.Thread(target=looks), sectors()
        looking.start()
        try:
            yield figures
        finally:
            over.set()
            looking.join()
    if failures:
        sys.exit(f"the disk could not be looked at beside the load: {failures[0]}")
    if took := sorted(probe.took):
        figures["fdatasync of 4 KiB beside the load, P99"] = (took[len(took) * 99 // 100], "ms")
        figures["fdatasync of 4 KiB beside the load, worst"] = (took[-1], "ms")
    figures["read from the disk meanwhile, by whomever"] = (most_read(before, sectors()), "MiB")


def settle():
    """Waits until nobody asks a disk for anything.

    What ran before leaves work behind: pages that the kernel writes later, and the room of deleted files, of which a file system that is
    mounted with `discard` tells the disk when its journal is next committed. Either stalls everybody's syncs for tenths of a second, and so
    does somebody who reads what is not in memory.
    """
    os.sync()
    until = time.monotonic() + SETTLES_SECONDS_MAX
    quiet_since, before = time.monotonic(), sectors()
    while time.monotonic() < quiet_since + QUIET_SECONDS:
        if time.monotonic() > until:
            print(f"the disk is not quiet after {SETTLES_SECONDS_MAX} s: what comes next is measured beside whoever uses it", file=sys.stderr)
            return
        time.sleep(0.1)
        now = sectors()
        if now != before:
            quiet_since, before = time.monotonic(), now


def sectors():
    """Sectors of 512 bytes that were read, written and discarded, of each disk. Where the kernel does not tell, there is no disk."""
    try:
        lines = Path("/proc/diskstats").read_text().splitlines()
    except OSError:
        return {}
    return {words[2]: [int(word) for word in (words[5], words[9], *words[16:17])] for words in map(str.split, lines)}


def most_read(before, after):
    """MiB read from the disk that most was read from: a partition counts as well as its disk."""
    return max((after[name][0] - before[name][0] for name in before if name in after), default=0) / 2048
