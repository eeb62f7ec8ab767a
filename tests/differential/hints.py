"""What the fields of requests are filled with, by `API.Field` or by the field's name alone."""

from generate import GROUP_SETTINGS, OFFSETS, OMIT, Spoil, TOPIC_SETTINGS, any_value, structure, without_repeats
from world import Batch, Topic, UNKNOWN, subscription

NO_UUID = "0" * 32


def topic_name(c):
    if c.api == "AlterShareGroupOffsets":
        # Of nothing that is there Kafka makes a group without anything.
        c.topic = c.world.rng.choice(c.world.there() or list(c.world.topics.values()))
        return c.topic.name
    c.topic = c.world.a_topic(is_new=c.api in ("CreateTopics",))
    return c.topic.name


def topic_id(c):
    """Metadata and DeleteTopics take a name or an id; elsewhere the id is all there is."""
    by_either = c.api in ("Metadata", "DeleteTopics")
    # All of a request in one way: under an id and a name the same topic would be asked for twice.
    if by_either and ("Name" in c.value or c.by_name):
        c.value["Name"] = c.value.get("Name") or topic_name(c)
        return NO_UUID
    c.topic = c.world.a_topic()
    if by_either:
        c.value["Name"] = None
    return c.topic.id or "0" * 30 + "77"


def name_beside_id(c):
    if "Name" in c.value:
        return c.value["Name"]
    if c.api == "DeleteTopics" and not c.by_name:
        c.topic = c.world.a_topic()
        c.value["TopicId"] = c.topic.id or "0" * 30 + "77"
        return None
    return topic_name(c)


def partition(c):
    count = c.topic.partitions if c.topic else 1
    if c.api in ("AlterShareGroupOffsets", "DescribeShareGroupOffsets"):
        return c.world.rng.randrange(max(count, 1))
    return c.world.weighted((92, lambda: c.world.rng.randrange(max(count, 1))), (4, count), (2, -1), (2, 99))


def partitions(c):
    if not c.field.is_array:
        return c.world.weighted((5, 1), (3, 0), (1, 3))
    if c.field.structure:
        return any_value(c, c.field)
    return without_repeats([partition(c) for _ in range(c.world.weighted((8, 1), (3, 2), (1, 1 if c.api == "WriteTxnMarkers" else 0)))])


def offset(c):
    if c.api == "AlterShareGroupOffsets":
        return c.world.rng.choice(OFFSETS)
    return c.world.weighted((50, lambda: c.world.rng.choice(OFFSETS)), (20, 0), (5, -1), (3, 100), (1, -2), (1, 1 << 40))


def leader_epoch(c):
    return c.world.weighted((75, -1), (20, 0), (4, 1), (1, -2))


def time(c):
    # Of deleted records Kafka tells the greatest time until their segment goes: an offset below the log's start, which nobody can fetch.
    greatest = -1 if c.world.has_deleted else -3
    return c.world.weighted((4, -1), (4, -2), (2, greatest), (3, lambda: c.world.now + c.world.rng.randrange(-5, 20)), (1, 0))


def wait(_):
    return 20


def timeout(_):
    return 5000


def member_id(c):
    return c.member.id


def group_name(c):
    return c.group.name


def several_groups(c):
    return without_repeats([c.group.name] + [c.world.a_group(c.group.kind).name for _ in range(c.world.weighted((3, 0), (1, 1)))])


def generation(c):
    known = c.member.epoch if c.group.kind != "classic" else c.group.generation
    return c.world.weighted((85, known), (5, -1), (5, known + 1), (3, 0), (2, known - 1))


def instance(c):
    if c.member.instance is None:
        return c.world.weighted((30, None), (1, UNKNOWN), (1, ""))
    return c.member.instance if c.world.chance(90) else None


def new_instance(c):
    if c.group.kind in ("streams", "share"):
        return None
    # Kafka does not forget which name a member had before.
    if c.member.has_joined:
        return c.member.instance
    return c.world.weighted((12, c.member.instance), (1, c.world.prefix + "i0"), (1, c.world.prefix + "i1"))


def topics_of(c):
    there = c.world.there()
    return [it.name for it in c.world.rng.sample(there, min(len(there), c.world.rng.randrange(1, 3)))]


def is_joining(c):
    return c.value.get("MemberEpoch", 0) in (0,)


def subscribed(c):
    if is_joining(c) or c.world.chance(15):
        return topics_of(c) + ([c.world.prefix + "gone"] if c.world.chance(10) else [])
    return None


def owned(c):
    if is_joining(c):
        return []
    if c.world.chance(60):
        return None
    return [dict(it) for it in c.member.assigned]


def member_epoch(c):
    if c.is_stranger:
        return c.world.weighted((3, 5), (1, -1), (1, -2))
    if c.member.epoch == 0:
        return c.world.weighted((90, 0), (5, -1), (3, 1), (2, -2))
    return c.world.weighted((80, c.member.epoch), (8, 0), (6, -1), (2, -2), (2, c.member.epoch + 1), (2, c.member.epoch - 1))


def protocols(c):
    names = c.world.weighted((8, ["range"]), (2, ["range", "sticky"]), (1, ["sticky"]), (1, []))
    return [{"Name": name, "Metadata": subscription(topics_of(c))} for name in names]


def assignments(c):
    if c.group.leader is None or c.member.id != c.group.leader:
        return [] if c.world.chance(90) else [{"MemberId": c.member.id, "Assignment": b"z"}]
    return [{"MemberId": it.id, "Assignment": b"\0\0\0\0\0\0" + it_at(at)} for at, it in enumerate(c.group.members)]


def it_at(at):
    return b"\xff\xff\xff\xff" if at % 2 else b"\0\0\0\0"


def settings(c):
    kind = c.value.get("ResourceType", 2)
    pool = {2: TOPIC_SETTINGS, 32: GROUP_SETTINGS}.get(kind, {"no.such.setting": ([], ["1"])})
    chosen = c.world.rng.sample(sorted(pool), min(len(pool), c.world.weighted((6, 1), (2, 2), (2, 0))))
    made = []
    for name in chosen:
        good, bad = pool[name]
        value = c.world.rng.choice(good if good and c.world.chance(80) else bad)
        one = {"Name": name, "Value": value if c.world.chance(95) else None}
        if c.api == "IncrementalAlterConfigs":
            one["ConfigOperation"] = c.world.weighted((8, 0), (3, 1), (1, 2), (1, 3)) if kind in (2, 32) else 0
        made.append(one)
    return made


def resource_type(c):
    # Kafka refuses a whole DescribeConfigs for one resource of an unknown type.
    return c.world.weighted((10, 2), (4, 32), (1, 16), (1, 3 if c.api == "DescribeConfigs" else 0))


def resource_name(c):
    kind = c.value["ResourceType"]
    return {2: topic_name, 32: group_name}.get(kind, lambda _: c.world.prefix + "some")(c)


def acks(c):
    c.acks = c.world.weighted((14, -1), (4, 1), (1, 2))
    return c.acks


def records_of(c):
    world = c.world
    place = (c.topic.name if c.topic else "", c.value.get("Index", 0))
    count = world.weighted((6, 1), (3, 2), (1, 5), (1, 0) if world.chance(20) else (1, 3))
    pairs = [(b"k%d" % world.rng.randrange(3), b"v%d" % world.rng.randrange(1000)) for _ in range(count)]
    more = {"time": world.now + world.rng.randrange(10)}
    producer = None
    transactional = getattr(c, "is_transactional", False)
    # Which of several faults is told is not what this is for.
    if c.acks == 2:
        return Batch(pairs, -1, **more)
    # None that has transactions writes beside them: Kafka keeps what it was refused before.
    if transactional or world.chance(25) and c.producer.transactional_id is None:
        producer = c.producer
    if producer:
        following = producer.sequences.get(place, 0)
        more["sequence"] = following
        if following:
            more["sequence"] = world.weighted((85, following), (8, 0), (7, following + 3))
        more["epoch"] = producer.epoch if world.chance(95) else max(producer.epoch + world.rng.choice((-1, 1)), 0)
        more["attributes"] = 0x10 if transactional else 0
    if world.chance(6):
        more["spoil"] = world.rng.choice(SPOILS)
    return Batch(pairs, producer.id if producer else -1, **more)


SPOILS = [
    Spoil("wrong checksum", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    Spoil("cut", lambda data: data[:-3]),
    Spoil("magic 3", lambda data: data[:16] + b"\x03" + data[17:]),
    Spoil("twice", lambda data: data + data),
    Spoil("nothing", lambda data: b""),
    Spoil("short length", lambda data: data[:8] + b"\0\0\0\x05" + data[12:]),
    Spoil("base offset", lambda data: b"\0\0\0\0\0\0\0\x07" + data[8:]),
]


def produce_transactional_id(c):
    c.is_transactional = c.producer.transactional_id is not None and c.world.chance(70)
    return c.producer.transactional_id if c.is_transactional else c.world.weighted((30, None), (1, UNKNOWN))


def isolation(c):
    # Of a batch that is cut Kafka tells the aborted transactions, too.
    c.isolation = 0 if c.value.get("MaxBytes", 1 << 20) < 1 << 20 else c.world.weighted((5, 0), (5, 1))
    return c.isolation


def session_id(c):
    if c.session is None:
        return 0
    return 0 if c.session == "new" else c.session.id


def session_epoch(c):
    if c.session is None:
        return -1
    return 0 if c.session == "new" else c.world.weighted((20, c.session.epoch), (1, c.session.epoch + 1), (1, -1))


def state_epoch(c):
    if c.api == "InitializeShareGroupState":
        c.world.state_epoch += 1
    return c.world.weighted((8, c.world.state_epoch), (1, c.world.state_epoch + (c.api != "InitializeShareGroupState")))


def present(c):
    """What a producer says who goes on: an epoch that has passed is not said, as Kafka aborts what is open for it."""
    own = [it for it in c.world.producers if it.transactional_id == c.value.get("TransactionalId")]
    if "ProducerId" in c.value:
        return own[-1] if c.value["ProducerId"] != -1 else Nobody
    return own[-1] if own and own[-1].transactional_id and c.world.chance(20) else Nobody


class Nobody:
    id = epoch = -1


def replicas(c):
    return c.world.weighted((4, [c.world.node]), (1, None), (1, []))


def manual(c):
    if c.world.chance(92):
        return []
    return [{"PartitionIndex": at, "BrokerIds": [c.world.node]} for at in range(c.world.rng.randrange(1, 3))]


def coordinator_key(c):
    if c.value.get("KeyType", 0) == 1:
        return c.world.rng.choice(c.world.transactional_ids)
    return c.group.name


def topology(c):
    if not is_joining(c):
        return None if c.world.chance(95) else any_value(c, c.field)
    names = topics_of(c)
    one = {"SubtopologyId": "0", "SourceTopics": names, "SourceTopicRegex": [], "StateChangelogTopics": [], "RepartitionSinkTopics": [], "RepartitionSourceTopics": [], "CopartitionGroups": []}
    return {"Epoch": c.world.weighted((9, 0), (1, 1)), "Subtopologies": [one]}


def tasks(c):
    return [] if is_joining(c) else None


def quota_entity(c):
    kind = c.world.weighted((5, "user"), (5, "client-id"), (1, "ip"), (1, "host"))
    name = c.world.weighted((4, c.world.prefix + "u"), (1, c.world.prefix + "v"), (1, None))
    if kind == "ip" and name:
        name = "10.1.2.3"
    return [{"EntityType": kind, "EntityName": name}]


def acl_principal(c):
    return c.world.weighted((6, "User:" + c.world.prefix + "u"), (3, "User:*"), (1, "nobody"))


def acl_name(c):
    """Of the stream's own: another stream's entries are not to go with a filter."""
    if c.field.nullable and c.api == "DescribeAcls" and c.world.chance(20):
        return None
    return c.world.weighted((4, lambda: c.world.rng.choice(list(c.world.topics))), (2, c.world.prefix + "classic0"), (1, c.world.prefix))


def is_filter(c):
    return "Describe" in c.api or "Delete" in c.api


def acl_operation(c):
    return c.world.weighted((40 if is_filter(c) else 1, 1), (30, 2), (50, 3), (30, 8), (10, 15), (1, 99))


def acl_permission(c):
    return c.world.weighted((60 if is_filter(c) else 1, 1), (60, 3), (20, 2), (1, 99))


HINTS = {
    # Access control lists.
    **{f"{api}.{name}": word for api in ("DescribeAcls", "CreateAcls", "DeleteAcls") for name, word in {
        "ResourceType": lambda c: c.world.weighted((60, 2), (40, 3), (20, 5), (4, 4), (10, 7), (1, 1)),
        "ResourceTypeFilter": lambda c: c.world.weighted((6, 1), (6, 2), (3, 3), (1, 99)),
        "ResourceName": acl_name, "ResourceNameFilter": acl_name,
        "ResourcePatternType": lambda c: c.world.weighted((80, 3), (40, 4), (1, 1), (1, 2)),
        "PatternTypeFilter": lambda c: c.world.weighted((5, 3), (3, 4), (4, 1), (4, 2)),
        "Principal": acl_principal, "PrincipalFilter": lambda c: None if c.world.chance(60) else acl_principal(c),
        "Host": lambda c: c.world.weighted((5, "*"), (2, "10.0.0.1")), "HostFilter": lambda c: c.world.weighted((6, None), (2, "*"), (1, "10.0.0.1")),
        "Operation": acl_operation, "PermissionType": acl_permission,
    }.items()},
    "TopicId": topic_id, "Metadata.Name": name_beside_id, "DeleteTopics.Name": name_beside_id,
    "PartitionIndex": partition, "Partition": partition, "Index": partition, "Partitions": partitions, "PartitionIndexes": partitions,
    "Offset": offset, "FetchOffset": offset, "CommittedOffset": offset, "StartOffset": offset,
    "LastOffset": lambda c: c.value.get("FirstOffset", 0) + c.world.weighted((4, 0), (3, 1), (1, -1), (1, 50)), "FirstOffset": offset,
    "CurrentLeaderEpoch": leader_epoch, "LastFetchedEpoch": lambda c: -1, "CommittedLeaderEpoch": leader_epoch,
    "ReplicaId": lambda c: -1, "ReplicaState": lambda c: OMIT, "ReplicaDirectoryId": lambda c: OMIT, "HighWatermark": lambda c: OMIT,
    "Timestamp": time, "MaxWaitMs": wait, "TimeoutMs": timeout, "timeoutMs": timeout, "RetentionTimeMs": lambda c: -1,
    "MaxBytes": lambda c: c.world.weighted((6, 1 << 20), (1, 200), (1, 0)),
    "PartitionMaxBytes": lambda c: c.world.weighted((6, 1 << 20), (1, 100), (1, 0)) if c.isolation == 0 else 1 << 20,
    "MinBytes": lambda c: c.world.weighted((3, 0), (2, 1), (1, 1000)),
    "IsolationLevel": isolation,
    "SessionId": session_id, "SessionEpoch": session_epoch, "RackId": lambda c: None if c.field.nullable else "",
    "Acks": acks, "Produce.TransactionalId": produce_transactional_id, "Records": records_of,
    # Groups.
    "GroupId": group_name, "Groups": lambda c: any_value(c, c.field) if c.field.structure else several_groups(c), "GroupIds": several_groups,
    "GroupsNames": several_groups, "MemberId": member_id, "GenerationId": generation, "GenerationIdOrMemberEpoch": generation,
    "GroupInstanceId": instance, "JoinGroup.GroupInstanceId": new_instance, "InstanceId": new_instance,
    "SessionTimeoutMs": lambda c: c.world.weighted((30, 30000 if c.version else 3000), (1, 10), (1, -1), (1, 1800001)),
    "RebalanceTimeoutMs": lambda c: (300 if c.api == "JoinGroup" else 45000 if is_joining(c) or c.world.chance(10) else -1),
    "ProtocolType": lambda c: c.world.weighted((30, "consumer"), (1, "connect"), (1, "")), "Protocols": protocols,
    "ProtocolName": lambda c: c.world.weighted((20, c.group.protocol), (1, None), (1, "nope")), "Assignments": assignments,
    "Reason": lambda c: c.world.weighted((1, None), (1, "because")), "MemberEpoch": member_epoch,
    "OffsetFetch.MemberId": lambda c: c.world.weighted((3, None), (2, c.member.id)),
    "OffsetFetch.MemberEpoch": lambda c: generation(c) if c.value["MemberId"] else -1,
    "SubscribedTopicNames": subscribed, "SubscribedTopicRegex": lambda c: None, "TopicPartitions": lambda c: owned(c) if "Heartbeat" in c.api else any_value(c, c.field),
    "ServerAssignor": lambda c: c.world.weighted((12, None), (2, "uniform"), (2, "range"), (1, "nope")),
    "StatesFilter": lambda c: c.world.weighted((3, []), (1, ["Stable"]), (1, ["Empty", "dead"]), (1, ["nope"])),
    "TypesFilter": lambda c: c.world.weighted((3, []), (1, ["classic"]), (1, ["Consumer", "share"]), (1, ["nope"])),
    "Topology": topology, "ActiveTasks": tasks, "StandbyTasks": tasks, "WarmupTasks": tasks, "ProcessId": lambda c: "p" if is_joining(c) else None,
    "UserEndpoint": lambda c: None, "ClientTags": lambda c: [] if is_joining(c) else None, "TaskOffsets": lambda c: None, "TaskEndOffsets": lambda c: None,
    # What is asked for by a group's first member Kafka forgets.
    "ShutdownApplication": lambda c: c.world.chance(2) and not is_joining(c), "EndpointInformationEpoch": lambda c: 0,
    # Shares.
    "ShareSessionEpoch": lambda c: c.world.weighted((12, c.member.session_epoch), (1, 0), (1, -1), (1, 5)), "MaxRecords": lambda c: c.world.rng.choice((500, 1)),
    "StateEpoch": state_epoch, "BatchSize": lambda c: c.world.rng.choice((500, 1)), "ShareAcquireMode": lambda c: 0, "IsRenewAck": lambda c: False,
    "ShareFetch.ForgottenTopicsData": lambda c: any_value(c, c.field) if c.member.session_epoch else [],
    "Fetch.ForgottenTopicsData": lambda c: any_value(c, c.field) if c.session not in (None, "new") else [],
    # About none Kafka does not answer.
    "Transactions": lambda c: any_value(c, c.field) or [structure(c, c.field.structure)],
    "AcknowledgementBatches": lambda c: any_value(c, c.field) if c.member.session_epoch and c.world.chance(30) else [],
    "AcknowledgeTypes": lambda c: [c.world.weighted((5, 1), (3, 2), (2, 3), (1, 0), (1, 9))],
    # Transactions.
    "TransactionalId": lambda c: c.transactional_id if not c.field.nullable or c.world.chance(75) else None,
    "TransactionalIds": lambda c: [c.transactional_id], "V3AndBelowTransactionalId": lambda c: c.transactional_id,
    "TransactionTimeoutMs": lambda c: c.world.weighted((30, 60000), (1, 0), (1, -1), (1, 2000000000)),
    "ProducerId": lambda c: c.producer.id, "V3AndBelowProducerId": lambda c: c.producer.id,
    "ProducerEpoch": lambda c: c.producer.epoch + c.world.weighted((90, 0), (5, 1), (5, -1)),
    "V3AndBelowProducerEpoch": lambda c: c.producer.epoch + c.world.weighted((90, 0), (5, 1), (5, -1)),
    "InitProducerId.ProducerId": lambda c: present(c).id, "InitProducerId.ProducerEpoch": lambda c: present(c).epoch,
    "CoordinatorEpoch": lambda c: 0, "TransactionVersion": lambda c: c.world.chance(50) * 1,
    "ListTransactions.ProducerIdFilters": lambda c: [] if c.world.chance(80) else [c.producer.id],
    "StateFilters": lambda c: c.world.weighted((3, []), (1, ["Ongoing"]), (1, ["Empty", "CompleteCommit"]), (1, ["nope"])),
    "DurationFilter": lambda c: c.world.weighted((5, -1), (1, 1 << 40)),
    "TransactionalIdPattern": lambda c: c.world.weighted((3, None), (1, c.world.prefix + "x.*"), (1, "("), (1, "")),
    # Administration.
    "NumPartitions": lambda c: c.world.weighted((6, 1), (4, 2), (4, 3), (1, -1), (1, 0), (1, -2)),
    "CreateTopics.ReplicationFactor": lambda c: c.world.weighted((9, 1), (4, -1), (1, 0), (1, -2)), "CreateTopics.Assignments": manual,
    "CreatePartitions.Assignments": lambda c: c.world.weighted((9, None), (1, [{"BrokerIds": [c.world.node]}])),
    "Count": lambda c: (c.topic.partitions if c.topic else 1) + c.world.weighted((4, 1), (3, 0), (1, -1)) if c.world.chance(95) else 0,
    "Configs": settings, "ResourceType": resource_type, "ResourceName": resource_name,
    "ConfigurationKeys": lambda c: c.world.weighted((3, None), (3, ["retention.ms"]), (1, ["cleanup.policy", "no.such.setting"]), (1, [])),
    "IncludeDocumentation": lambda c: False, "ValidateOnly": lambda c: c.world.chance(30), "validateOnly": lambda c: c.world.chance(15),
    "BrokerId": lambda c: c.world.rng.choice((77, -1, 1 << 30)), "Replicas": replicas,
    "ElectionType": lambda c: c.world.weighted((3, 0), (2, 1), (1, 2)), "Key": coordinator_key, "CoordinatorKeys": lambda c: [coordinator_key(c)],
    "KeyType": lambda c: c.world.weighted((5, 0), (4, 1), (1, 3)), "ClientSoftwareName": lambda c: c.world.weighted((5, "diff"), (1, ""), (1, "a b")),
    "ClientSoftwareVersion": lambda c: c.world.weighted((5, "1.0"), (1, ""), (1, "!")), "EndpointType": lambda c: c.world.weighted((8, 1), (1, 3)),
    "ResponsePartitionLimit": lambda c: c.world.weighted((4, 2000), (2, 1), (1, 2), (1, 0)),
    "Entity": quota_entity, "AlterClientQuotas.Key": lambda c: c.world.weighted((3, "producer_byte_rate"), (3, "consumer_byte_rate"), (1, "nope"), (1, "request_percentage")),
    "AlterClientQuotas.Value": lambda c: c.world.weighted((4, 1e9), (1, 1e8), (1, -1.0), (1, 0.0)), "Remove": lambda c: c.world.chance(25),
    "Components": lambda c: any_value(c, c.field), "DescribeClientQuotas.EntityType": lambda c: c.world.weighted((5, "user"), (5, "client-id"), (1, "host")),
    "MatchType": lambda c: c.world.weighted((6, 0), (1, 1), (1, 7)), "Match": lambda c: c.world.prefix + "u" if c.value["MatchType"] == 0 else None,
    "FeatureUpdates": lambda c: c.world.weighted((1, []), (2, [{"Feature": "no.such.feature", "MaxVersionLevel": 1}]), (1, [{"Feature": "metadata.version", "MaxVersionLevel": 1000}])),
    "ResourceTypes": lambda c: c.world.weighted((2, []), (2, [2]), (1, [16]), (1, [32]), (1, [99])),
}  # fmt: skip
