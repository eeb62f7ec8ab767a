"""Waits until Kafka's coordinators of groups have heard of topics. They hear after the brokers, each partition of `__consumer_offsets` by
itself, and nothing tells when: so a group of each such partition asks to be given the topics, until it is."""

import os
import time

SECONDS_MAX = 30
PAUSE_SECONDS = 0.02


def partition_of(group, count):
    """As Kafka: the name's hash in Java."""
    code = 0
    for at in group.encode("utf-16-be")[1::2]:
        code = (31 * code + at) & 0xFFFFFFFF
    code = code - (1 << 32) if code >> 31 else code
    return (0 if code == -(1 << 31) else abs(code)) % count


def asking_group(partition, count):
    """One of this process's own, which no stream takes for one of its groups."""
    names = (f"hearing-{os.getpid()}-{partition}-{at}" for at in range(1000))
    return next(name for name in names if partition_of(name, count) == partition)


def until_heard(ask, groups, count, names, expected):
    """`ask` sends a heartbeat to Kafka and answers with what it said. `groups` are those that will ask later, of a log with `count`
    partitions; `expected` is how many partitions each topic id has. Whether all were heard of in time."""
    deadline = time.monotonic() + SECONDS_MAX
    for partition in sorted({partition_of(it, count) for it in groups}):
        group = asking_group(partition, count)
        while given(ask(joining(group, names))) != expected:
            if time.monotonic() > deadline:
                return False
            time.sleep(PAUSE_SECONDS)
    return True


def joining(group, names):
    """Anew each time, which is answered with all that the member has."""
    return {"GroupId": group, "MemberId": "m", "MemberEpoch": 0, "RebalanceTimeoutMs": 45_000, "SubscribedTopicNames": names, "TopicPartitions": []}


def given(answer):
    """How many partitions of each topic id."""
    assignment = answer.get("Assignment") if isinstance(answer, dict) else None
    return {it["TopicId"]: len(it["Partitions"]) for it in assignment["TopicPartitions"]} if assignment else None
