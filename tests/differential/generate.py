"""Makes requests: a walk over the definition, with a word for each field that means something, and then perhaps something wrong."""

from world import Batch, Member, Topic, UNKNOWN, subscription

# How often each API is chosen; 3 where nothing is said.
WEIGHTS = {
    "Produce": 14, "Fetch": 10, "ListOffsets": 5, "Metadata": 4, "OffsetCommit": 5, "OffsetFetch": 5, "JoinGroup": 2, "SyncGroup": 2,
    "Heartbeat": 2, "InitProducerId": 5, "AddPartitionsToTxn": 6, "AddOffsetsToTxn": 4, "TxnOffsetCommit": 4, "EndTxn": 5,
    "ConsumerGroupHeartbeat": 6, "ShareGroupHeartbeat": 4, "ShareFetch": 4, "ShareAcknowledge": 3, "StreamsGroupHeartbeat": 4,
    "CreateTopics": 3, "DeleteTopics": 1, "CreatePartitions": 1, "LeaveGroup": 1, "DeleteGroups": 1, "UpdateFeatures": 1,
    "DeleteRecords": 2, "OffsetDelete": 2, "UnregisterBroker": 1, "ElectLeaders": 1, "AlterPartitionReassignments": 1, "WriteTxnMarkers": 1,
}  # fmt: skip
# Which kind of group an API is about.
GROUPS = {"ConsumerGroup": "consumer", "ShareGroup": "share", "ShareFetch": "share", "ShareAcknowledge": "share", "Share": "share", "Streams": "streams"}
# Settings of topics that both have, with values that are taken and values that are not.
TOPIC_SETTINGS = {
    "retention.ms": (["604800000", "86400000", "-1"], ["-2", "x", ""]),
    "cleanup.policy": (["delete", "compact", "compact,delete"], ["keep", "", "delete,keep"]),
    "max.message.bytes": (["1048588", "2000"], ["-1", "1e6"]),
    "min.insync.replicas": (["1"], ["0", "a"]),
    "compression.type": (["producer", "uncompressed"], ["best"]),
    "segment.bytes": (["1073741824", "1048576"], ["1", "x"]),
    "retention.bytes": (["-1", "1000000000"], ["x"]),
    "delete.retention.ms": (["86400000"], ["-1"]),
    "unclean.leader.election.enable": (["false", "true"], ["maybe"]),
    "message.timestamp.type": (["CreateTime"], ["Never"]),
    "no.such.setting": ([], ["1"]),
}
GROUP_SETTINGS = {
    "consumer.session.timeout.ms": (["45000", "50000"], ["-1", "1", "x"]),
    "consumer.heartbeat.interval.ms": (["5000", "1000"], ["0", "999999999"]),
    "share.auto.offset.reset": (["latest", "earliest", "by_duration:PT1H"], ["middle", "by_duration:1"]),
    "share.record.lock.duration.ms": (["30000", "15000"], ["1", "a"]),
    "streams.num.standby.replicas": (["0", "1"], ["-1", "9"]),
    "no.such.setting": ([], ["1"]),
}
OFFSETS = (0, 1, 2, 3, 5)


class Context:
    """What the fields of one request have in common."""

    def __init__(self, world, api, version):
        self.world, self.api, self.version = world, api, version
        kind = next((it for begin, it in GROUPS.items() if begin in api), None)
        kind = kind or world.weighted((6, "classic"), (2, "consumer"), (1, "share"), (1, "streams"))
        # Nobody joins a group of another protocol: what becomes of that hangs on timeouts.
        self.group = world.a_group("classic" if api == "JoinGroup" else kind, api == "JoinGroup" or "Heartbeat" in api)
        # An altered group's epoch rises in Millstream alone, so that those are of no other kind. They are refused where there are members.
        if api == "AlterShareGroupOffsets" and not any(it.epoch > 0 for it in self.group.members):
            self.group = world.altered
        elif api in ("DescribeShareGroupOffsets", "DeleteShareGroupOffsets", "DeleteGroups") and world.chance(30):
            self.group = world.altered
        # What brokers ask one another is about groups that nobody joins: it would come between a group and its share-partitions.
        elif "ShareGroupState" in api:
            self.group = world.stateful
        members = self.group.members
        self.member = world.rng.choice(members) if members and world.chance(88) else Member(world.weighted((2, ""), (1, UNKNOWN)))
        self.is_stranger = self.member not in members
        self.transactional_id = world.weighted((30, lambda: world.rng.choice(world.transactional_ids)), (1, ""), (1, world.prefix + UNKNOWN))
        self.producer = world.a_producer(self.transactional_id)
        self.by_name = world.chance(50)
        self.session = None
        if api == "Fetch" and version >= 7 and world.chance(20):
            self.session = world.rng.choice(world.sessions) if world.sessions and world.chance(80) else "new"
        self.topic = None
        self.isolation = 0


def request(world, api, version):
    """A request's body."""
    context = Context(world, api.name, version)
    world.has_deleted |= api.name == "DeleteRecords"
    return structure(context, api.structures(version)[0])


def structure(context, definition):
    value = {}
    outer_topic = context.topic
    for field in definition.all():
        if field.tag is not None and not context.world.chance(20):
            continue
        made = one_field(context, field, value)
        if made is not OMIT:
            value[field.name] = made
    context.topic = outer_topic
    return value


OMIT = object()


def one_field(context, field, value):
    import hints

    context.value, context.field = value, field
    word = hints.HINTS.get(f"{context.api}.{field.name}") or hints.HINTS.get(field.name)
    if word:
        return word(context)
    if field.entity == "topicName" and not field.is_array:
        return hints.topic_name(context)
    return any_value(context, field)


def any_value(context, field):
    world = context.world
    if field.nullable and world.chance(12):
        return None
    if field.is_array:
        # Of what coordinators ask one another, one topic without partitions makes Kafka answer nothing.
        count = world.weighted((75, 1), (14, 2), (8, 1 if "GroupState" in context.api or context.api == "AlterShareGroupOffsets" else 0), (3, 3))
        made = [structure(context, field.structure) if field.structure else element(context, field) for _ in range(count)]
        return without_repeats(made)
    return structure(context, field.structure) if field.structure else element(context, field)


def element(context, field):
    world = context.world
    if field.entity == "topicName":
        return world.a_topic().name
    if field.element == "string":
        return world.weighted((3, ""), (2, UNKNOWN), (1, "x"))
    if field.element == "bool":
        return world.chance(50)
    if field.element == "uuid":
        return field.default if not field.is_array else "0" * 32
    if field.element in ("bytes", "records"):
        return b""
    return world.weighted((5, 0), (2, 1), (1, -1))


def without_repeats(items):
    """No client sends the same name twice in one request; what becomes of that is asked for on purpose, by `wrong`."""
    kept, seen = [], set()
    for item in items:
        name = first_name(item) if isinstance(item, dict) else item
        if name is None or repr(name) not in seen:
            seen.add(repr(name))
            kept.append(item)
    return kept


def first_name(item):
    """What tells an element from the others."""
    if item.get("TopicId") not in (None, "0" * 32):
        return item["TopicId"]
    for name in ("Name", "TopicName", "Topic", "PartitionIndex", "Partition", "Index", "GroupId", "TransactionalId", "ProducerId", "ResourceName", "FirstOffset"):
        if item.get(name) is not None:
            return item[name]
    return None


class Spoil:
    """One way in which bytes are wrong."""

    def __init__(self, name, change):
        self.name, self.change = name, change

    def __call__(self, data):
        return self.change(data)

    def __repr__(self):
        return self.name


# What may be put wrong anywhere but here: waits that would be long, and numbers that make brokers busy for long.
KEPT = {
    # Kafka lets a broker go that asks for it itself, and what is deleted under any name is other streams'.
    "BrokerId", "ResourceNameFilter",
    "MaxWaitMs", "TimeoutMs", "timeoutMs", "RebalanceTimeoutMs", "SessionTimeoutMs", "NumPartitions", "Count", "ReplicationFactor", "Replicas",
    "BrokerIds", "ReplicaId", "Acks", "StartOffset", "IsolationLevel", "SubscribedTopicRegex", "SessionId", "Metadata", "ConfigOperation", "ProducerEpoch", "PartitionMaxBytes", "MaxBytes", "StateEpoch", "MemberEpoch", "MemberId", "ProducerIdFilters", "AcquireMode", "RetentionTimeMs", "ConfigurationKeys", "TransactionTimeoutMs",
}  # fmt: skip
NUMBERS = (0, 1, -1, -2, 99, 127)
TEXTS = ("", None, "x" * 300, "bad name!", "ü")


def spoiled(world, body, definition):
    """Puts one place of a request wrong."""
    places = list(each_place(body, definition))
    if not places:
        return
    holder, key, field = world.rng.choice(places)
    old = holder[key]
    if isinstance(old, list):
        # Not what stands there twice: that Millstream answers once where Kafka does as often is known, and no client asks so.
        if field.name != "Transactions" and "GroupState" not in definition.name:
            holder[key] = world.weighted((2, []), (2, None if field.nullable or world.chance(30) else []))
    elif isinstance(old, dict):
        if field.nullable:
            holder[key] = None
    elif field.element == "string":
        text = world.rng.choice(TEXTS)
        # With the stream's prefix: nobody else's group or topic is meant.
        holder[key] = world.prefix + text if text else text
    elif field.element in ("bytes", "records"):
        # Where there are no records at all Kafka does not answer.
        holder[key] = world.rng.choice((b"", b"\0", b"x" * 40, b"" if field.element == "records" else None))
    elif field.element == "uuid":
        holder[key] = world.rng.choice(("0" * 32, "f" * 32, "0" * 31 + "1"))
    elif field.element.startswith("int"):
        top = 2 ** (int(field.element[3:]) - 1)
        # To where a cursor begins Kafka adds, beyond what a number holds.
        tops = () if definition.name == "DescribeTopicPartitionsRequest" else (top - 1, -top)
        holder[key] = world.rng.choice((*NUMBERS, *tops))
    tidy(body)


def tidy(value):
    """Nothing stands twice in any of its arrays."""
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, (dict, list)):
            tidy(inner)
    if isinstance(value, list):
        value[:] = without_repeats(value)


def each_place(body, definition):
    for field in definition.all():
        if field.name in KEPT or field.name not in body:
            continue
        value = body[field.name]
        yield body, field.name, field
        items = value if isinstance(value, list) else [value]
        for at, item in enumerate(items):
            if isinstance(item, dict) and field.structure:
                yield from each_place(item, field.structure)
            elif field.is_array:
                yield items, at, ElementOf(field)


class ElementOf:
    def __init__(self, field):
        self.element, self.nullable = field.element, False
