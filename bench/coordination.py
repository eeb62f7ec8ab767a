"""What coordinators and metadata cost, on any broker: parts like those of `parts.py`, with requests made by hand."""

import statistics
import struct
import time

import records
import wire

CREATE_TOPICS, METADATA, FIND_COORDINATOR, JOIN_GROUP, SYNC_GROUP = 19, 3, 10, 11, 14
PRODUCE, INIT_PRODUCER_ID, END_TXN = 0, 22, 26
# NOT_COORDINATOR, COORDINATOR_NOT_AVAILABLE, COORDINATOR_LOAD_IN_PROGRESS: the coordinator's partition is still being made.
NOT_YET = (14, 15, 16)
CONCURRENT_TRANSACTIONS = 51
# The bit of a batch that belongs to a transaction.
TRANSACTIONAL = 0x10
MEMBERS = 200
REBALANCES = 20
PARTITIONS = 100
TRANSACTIONS = 60
TOPICS = 50_000
TOPICS_TOGETHER = 500


def rebalance(system, folder):
    """A classic group of 200 members that all join anew: from the first JoinGroup until the last has its assignment."""
    with system.started(folder) as running:
        coordinator = coordinator_of(running.server.address, "large", 0)
        members = [Member(coordinator) for _ in range(MEMBERS)]
        for turn in range(3):
            rejoin(members, turn)
        took = [rejoin(members, 3 + turn) for turn in range(REBALANCES)]
        for member in members:
            member.connection.close()
        return {f"a rebalance of {MEMBERS} members, median": (statistics.median(took), "ms")}


class Member:
    def __init__(self, address):
        self.connection = wire.Connection(address)
        self.id = ""
        self.generation = -1

    def join(self, turn):
        # Another subscription each time: who joins a stable group with what it has already is answered without a rebalance.
        subscription = struct.pack(">h", 1) + wire.array([wire.string("shared")]) + wire.data(struct.pack(">i", turn)) + wire.array([])
        protocols = wire.array([wire.string("range") + wire.data(subscription)])
        body = wire.string("large") + struct.pack(">ii", 60_000, 60_000) + wire.string(self.id) + wire.string(None) + wire.string("consumer") + protocols
        self.connection.send(JOIN_GROUP, 5, body)

    def joined(self):
        """The members, for who leads."""
        answer = self.connection.receive()
        answer.number("i")
        error = answer.number("h")
        self.generation = answer.number("i")
        answer.string()
        leader = answer.string()
        self.id = answer.string()
        if error == 79:  # MEMBER_ID_REQUIRED: the id has been handed out, the member is to come again with it.
            return None
        expect(error, "JoinGroup")
        if leader != self.id:
            return []
        members = []
        for _ in range(answer.number("i")):
            members.append(answer.string())
            answer.string()
            answer.take(answer.number("i"))
        return members

    def sync(self, members):
        # Four partitions each, by no rule but that somebody has them.
        assignment = struct.pack(">h", 1) + wire.array([wire.string("shared") + wire.array([struct.pack(">i", p) for p in range(4)])]) + wire.data(b"")
        assignments = wire.array([wire.string(member) + wire.data(assignment) for member in members])
        self.connection.send(SYNC_GROUP, 3, wire.string("large") + struct.pack(">i", self.generation) + wire.string(self.id) + wire.string(None) + assignments)

    def synced(self):
        answer = self.connection.receive()
        answer.number("i")
        expect(answer.number("h"), "SyncGroup")


def rejoin(members, turn):
    """Milliseconds of one rebalance of all of them."""
    if not members[0].id:
        for member in members:
            member.join(turn)
            if member.joined() is not None:
                raise SystemExit("a member without an id was let in")
    began = time.perf_counter()
    for member in members:
        member.join(turn)
    led = [member.joined() for member in members]
    for member, names in zip(members, led):
        member.sync(names)
    for member in members:
        member.synced()
    return (time.perf_counter() - began) * 1000


def transaction(system, folder):
    """A transaction that writes to 100 partitions and is committed, one after the other, as clients of Kafka 4 make them (KIP-890)."""
    with system.started(folder) as running:
        running.create("written", PARTITIONS)
        name = b"bench"
        coordinator = wire.Connection(coordinator_of(running.server.address, name.decode(), 1))
        leader = wire.Connection(running.server.address)
        producer = init_producer(coordinator, name)
        took = []
        for turn in range(10 + TRANSACTIONS):
            batches = [struct.pack(">i", p) + wire.compact(records.batch([(None, b"x" * 100)], 0, *producer, 0, attributes=TRANSACTIONAL)) + b"\0" for p in range(PARTITIONS)]
            topics = wire.compact_array([wire.compact(b"written") + wire.compact_array(batches) + b"\0"])
            began = time.perf_counter()
            until_taken(lambda: produce(leader, wire.compact(name) + struct.pack(">hi", -1, 30_000) + topics + b"\0"))
            producer = until_taken(lambda: end(coordinator, name, producer))
            if turn >= 10:
                took.append((time.perf_counter() - began) * 1000)
        coordinator.close()
        leader.close()
        return {
            f"a transaction of {PARTITIONS} partitions, median": (statistics.median(took), "ms"),
            f"a transaction of {PARTITIONS} partitions, the slowest tenth begins at": (sorted(took)[len(took) * 9 // 10], "ms"),
        }


def init_producer(coordinator, name):
    def asked():
        answer = coordinator.ask(INIT_PRODUCER_ID, 5, wire.compact(name) + struct.pack(">iqh", 60_000, -1, -1) + b"\0", flexible=True)
        answer.number("i")
        error = answer.number("h")
        return error, (answer.number("q"), answer.number("h"))

    return until_taken(asked)


def produce(leader, body):
    answer = leader.ask(PRODUCE, 12, body, flexible=True)
    worst = 0
    for _ in range(answer.varint() - 1):
        answer.take(answer.varint() - 1)
        for _ in range(answer.varint() - 1):
            answer.number("i")
            worst = answer.number("h") or worst
            answer.take(24)
            for _ in range(answer.varint() - 1):
                answer.number("i")
                answer.take(max(answer.varint() - 1, 0))
                answer.take(answer.varint())
            answer.take(max(answer.varint() - 1, 0))
            skip_tags(answer)
        skip_tags(answer)
    return worst, None


def skip_tags(answer):
    for _ in range(answer.varint()):
        answer.varint()
        answer.take(answer.varint())


def end(coordinator, name, producer):
    answer = coordinator.ask(END_TXN, 5, wire.compact(name) + struct.pack(">qh?", *producer, True) + b"\0", flexible=True)
    answer.number("i")
    error = answer.number("h")
    return error, (answer.number("q"), answer.number("h"))


def until_taken(ask):
    """Asks again, as clients do, while the transaction before is still being ended or a coordinator is only coming up."""
    until = time.monotonic() + 60
    while True:
        error, value = ask()
        if error == 0:
            return value
        if error not in (*NOT_YET, CONCURRENT_TRANSACTIONS) or time.monotonic() > until:
            raise SystemExit(f"the broker answered error {error}")
        time.sleep(0.001)


def metadata(system, folder):
    """The description of 50,000 topics, read whole."""
    with system.started(folder) as running:
        connection = wire.Connection(running.server.address)
        for first in range(0, TOPICS, TOPICS_TOGETHER):
            topics = [wire.string(f"topic-{number:05}") + struct.pack(">ihii", 1, 1, 0, 0) for number in range(first, first + TOPICS_TOGETHER)]
            answer = connection.ask(CREATE_TOPICS, 4, wire.array(topics) + struct.pack(">i?", 60_000, False))
            answer.number("i")
            for _ in range(answer.number("i")):
                answer.string()
                expect(answer.number("h"), "CreateTopics")
                answer.string()
        took = []
        while len(took) < 20:
            began = time.perf_counter()
            answer = connection.ask(METADATA, 12, b"\0\0\0\0", flexible=True)
            took.append((time.perf_counter() - began) * 1000)
            if len(answer.frame) < TOPICS * 30:
                raise SystemExit(f"{len(answer.frame)} bytes are no description of {TOPICS} topics")
        connection.close()
        return {f"metadata of {TOPICS} topics, median": (statistics.median(took), "ms")}


def coordinator_of(address, key, kind):
    connection = wire.Connection(address)

    def asked():
        answer = connection.ask(FIND_COORDINATOR, 2, wire.string(key) + struct.pack(">b", kind))
        answer.number("i")
        error = answer.number("h")
        answer.string()
        answer.number("i")
        return error, f"{answer.string()}:{answer.number('i')}"

    found = until_taken(asked)
    connection.close()
    return found


def expect(error, what):
    if error != 0:
        raise SystemExit(f"{what} answered error {error}")


ALL = {"rebalance": rebalance, "transaction": transaction, "metadata": metadata}
