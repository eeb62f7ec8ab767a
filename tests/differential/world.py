"""What a stream of requests knows: its names, and what the brokers have told of them. Few of each, so that requests meet."""

import struct
import uuid

import records

UNKNOWN = "nobody"


class Topic:
    def __init__(self, name):
        self.name, self.id, self.partitions = name, None, 0
        # Where the next record goes, by partition.
        self.ends = {}


class Group:
    def __init__(self, name, kind):
        self.name, self.kind = name, kind
        self.generation, self.protocol, self.leader = -1, "range", None
        self.members = []

    def member(self, member_id):
        for member in self.members:
            if member.id == member_id:
                return member
        self.members.append(Member(member_id))
        return self.members[-1]


class Member:
    def __init__(self, member_id):
        self.id, self.epoch, self.instance = member_id, 0, None
        self.has_joined = False
        self.assigned = []
        self.session_epoch = 0


class Producer:
    def __init__(self, producer_id, epoch, transactional_id):
        self.id, self.epoch, self.transactional_id = producer_id, epoch, transactional_id
        # The next sequence of each partition that it has written to.
        self.sequences = {}


class Session:
    def __init__(self, session_id):
        self.id, self.epoch = session_id, 1


class World:
    def __init__(self, rng, prefix, now, node):
        self.rng, self.prefix, self.now, self.node = rng, prefix, now, node
        self.topics = {name: Topic(name) for name in (f"{prefix}t{at}" for at in range(6))}
        self.groups = {}
        for kind in ("classic", "consumer", "share", "streams"):
            for at in range(2):
                group = Group(f"{prefix}{kind}{at}", kind)
                self.groups[group.name] = group
                if kind != "classic":
                    # One: who of several has which partition is a matter of the order in which tables are walked.
                    group.members = [Member(self.uuid_text())]
        # The ones whose offsets are altered, and whose share-partitions are asked for as by brokers.
        self.altered, self.stateful = (Group(prefix + name, "share") for name in ("altered", "stateful"))
        self.transactional_ids = [f"{prefix}x{at}" for at in range(3)]
        self.producers = []
        # Of all its share-partitions: a state begins with the next one each time, as Millstream takes a repeat for one.
        self.state_epoch = 0
        self.sessions = []
        # Records.
        self.has_deleted = False

    def uuid_text(self):
        """As Kafka writes one."""
        import base64

        return base64.urlsafe_b64encode(uuid.UUID(int=self.rng.getrandbits(128), version=4).bytes).decode().rstrip("=")

    def there(self):
        return [it for it in self.topics.values() if it.partitions]

    def chance(self, percent):
        return self.rng.random() * 100 < percent

    def weighted(self, *pairs):
        """One of the values, each with its weight; a value that can be called makes one."""
        value = self.rng.choices([it[1] for it in pairs], [it[0] for it in pairs])[0]
        return value() if callable(value) else value

    def a_topic(self, is_new=False):
        there = self.there()
        if is_new or not there:
            return self.rng.choice(list(self.topics.values()))
        if self.chance(90):
            return self.rng.choice(there)
        return self.weighted((5, lambda: self.rng.choice(list(self.topics.values()))), (3, Topic(self.prefix + "gone")), (1, Topic("")), (1, Topic("a/b")))

    def a_group(self, kind, is_join=False):
        if is_join:
            return self.rng.choice([it for it in self.groups.values() if it.kind == kind])
        if self.chance(4):
            return self.weighted((3, Group(self.prefix + UNKNOWN, kind)), (1, Group("", kind)))
        if self.chance(6):
            return self.rng.choice(list(self.groups.values()))
        return self.rng.choice([it for it in self.groups.values() if it.kind == kind])

    def a_producer(self, transactional_id=None):
        if transactional_id:
            own = [it for it in self.producers if it.transactional_id == transactional_id]
            return own[-1] if own and self.chance(92) else self.rng.choice(self.producers or [Producer(123456, 0, None)])
        return self.rng.choice(self.producers[-4:] or [Producer(123456, 0, None)])


class Batch:
    """A batch that has each broker's own producer id."""

    def __init__(self, pairs, producer_id, **more):
        self.pairs, self.producer_id, self.more = pairs, producer_id, more

    def on(self, side):
        producer = self.producer_id.on(side) if hasattr(self.producer_id, "on") else self.producer_id
        return records.batch(self.pairs, producer=producer, **self.more)

    def __repr__(self):
        return f"<batch {self.pairs} of {self.producer_id} {self.more}>"


def subscription(topics):
    """What a consumer of the classic protocol sends as its metadata."""
    out = struct.pack(">hi", 0, len(topics))
    for topic in topics:
        out += struct.pack(">h", len(topic)) + topic.encode()
    return out + struct.pack(">i", -1)
