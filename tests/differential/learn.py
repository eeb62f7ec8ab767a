"""What the generator takes from answers: what exists, who is a member, which epoch is next. Only what both brokers agree on."""

from world import Member, Producer, Session


def learn(world, ids, api, version, sent, answers):
    """`answers` are Kafka's and Millstream's; ids are looked up in pairs."""
    kafka = answers[0]
    teach = TEACH.get(api)
    if teach:
        teach(world, ids, version, sent, kafka)


def symbol(ids, kind, value):
    """The pair that a value of Kafka's belongs to; the value itself where both have chosen the same, or the client has."""
    return ids.symbol(0, kind, value) or value


def metadata(world, ids, version, sent, answer):
    for told in answer["Topics"]:
        topic = world.topics.get(told["Name"])
        if topic is None:
            continue
        topic.partitions = len(told["Partitions"])
        if told.get("TopicId", "0" * 32) != "0" * 32:
            topic.id = symbol(ids, "topic", told["TopicId"])


def init_producer_id(world, ids, version, sent, answer):
    if answer["ErrorCode"] == 0:
        world.producers.append(Producer(symbol(ids, "producer", answer["ProducerId"]), answer["ProducerEpoch"], sent.get("TransactionalId")))


def end_txn(world, ids, version, sent, answer):
    if version >= 5 and answer["ErrorCode"] == 0:
        one = Producer(symbol(ids, "producer", answer["ProducerId"]), answer["ProducerEpoch"], sent["TransactionalId"])
        world.producers.append(one)


def produce(world, ids, version, sent, answer):
    taken = {}
    for topic in answer["Responses"]:
        for told in topic["PartitionResponses"]:
            if told["ErrorCode"] == 0:
                taken[name_of(topic), told["Index"]] = told["BaseOffset"]
    for topic in sent["TopicData"]:
        for one in topic["PartitionData"]:
            base = taken.get((plain(topic), one["Index"]))
            batch = one.get("Records")
            if base is None or not hasattr(batch, "more") or "sequence" not in batch.more:
                continue
            for producer in world.producers:
                if producer.id is batch.producer_id and producer.epoch == batch.more["epoch"]:
                    place = (name_in(world, topic), one["Index"])
                    producer.sequences[place] = batch.more["sequence"] + len(batch.pairs)


def name_of(topic):
    return topic.get("Name") or topic.get("TopicId")


def plain(topic):
    """As Kafka's answer names it."""
    name = name_of(topic)
    return name.on(0) if hasattr(name, "on") else name


def name_in(world, topic):
    if topic.get("Name"):
        return topic["Name"]
    return next((it.name for it in world.topics.values() if it.id is topic["TopicId"]), "")


def join_group(world, ids, version, sent, answer):
    group = world.groups.get(sent["GroupId"])
    if group is None or answer["ErrorCode"] not in (0, 79):
        return
    member = group.member(symbol(ids, "member", answer["MemberId"]))
    member.instance = sent.get("GroupInstanceId")
    if answer["ErrorCode"] == 0:
        group.generation, group.protocol = answer["GenerationId"], answer["ProtocolName"]
        group.leader = symbol(ids, "member", answer["Leader"])
        if group.leader is member.id or group.leader == member.id:
            there = {symbol(ids, "member", it["MemberId"]) for it in answer["Members"]}
            group.members = [it for it in group.members if it.id in there or it is member]
    # Few, so that they meet again.
    group.members = group.members[-4:]


def consumer_heartbeat(world, ids, version, sent, answer):
    group = world.groups.get(sent["GroupId"])
    if group is None or answer["ErrorCode"] != 0:
        return
    # The one that the client has chosen, else the one that was chosen for it.
    member = group.member(sent["MemberId"] or symbol(ids, "member", answer["MemberId"]))
    member.epoch = max(answer["MemberEpoch"], 0)
    member.instance = sent.get("InstanceId") if sent["MemberEpoch"] == 0 else member.instance
    member.has_joined = True
    assignment = answer.get("Assignment")
    if assignment:
        member.assigned = [{"TopicId": symbol(ids, "topic", it["TopicId"]), "Partitions": it["Partitions"]} for it in assignment["TopicPartitions"]]
    group.members = group.members[-4:]


def streams_heartbeat(world, ids, version, sent, answer):
    group = world.groups.get(sent["GroupId"])
    if group is not None and answer["ErrorCode"] == 0:
        group.member(sent["MemberId"]).epoch = max(answer["MemberEpoch"], 0)
        group.members = group.members[-4:]


def fetch(world, ids, version, sent, answer):
    if answer.get("ErrorCode") or not answer.get("SessionId"):
        return
    known = symbol(ids, "session", answer["SessionId"])
    for session in world.sessions:
        if session.id is known:
            session.epoch += 1
            return
    world.sessions = world.sessions[-1:] + [Session(known)]


def share_fetch(world, ids, version, sent, answer):
    group = world.groups.get(sent.get("GroupId"))
    if group is not None and answer["ErrorCode"] == 0:
        for member in group.members:
            if member.id == sent["MemberId"]:
                member.session_epoch = 0 if sent["ShareSessionEpoch"] == -1 else sent["ShareSessionEpoch"] + 1


TEACH = {
    "Metadata": metadata,
    "InitProducerId": init_producer_id,
    "EndTxn": end_txn,
    "Produce": produce,
    "JoinGroup": join_group,
    "ConsumerGroupHeartbeat": consumer_heartbeat,
    "ShareGroupHeartbeat": consumer_heartbeat,
    "StreamsGroupHeartbeat": streams_heartbeat,
    "Fetch": fetch,
    "ShareFetch": share_fetch,
    "ShareAcknowledge": share_fetch,
}
