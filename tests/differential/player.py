"""Sends one request to both brokers, and hears what each answers."""

import select
import socket
import struct
import time

import compare
import schema

CLIENT = "differential"
ANSWER_SECONDS_MAX = 8
# What a client asks again after: the broker is not ready, and nothing was done.
NOT_READY = {3, 5, 6, 14, 15, 16, 19, 51, 88, 100}
# What reads alone, and so can be asked again until both have come to the same.
READS = {
    "ListOffsets", "Metadata", "OffsetFetch", "FindCoordinator", "DescribeGroups", "ListGroups", "ApiVersions", "OffsetForLeaderEpoch", "DescribeConfigs",
    "DescribeLogDirs", "ListPartitionReassignments", "DescribeClientQuotas", "DescribeQuorum", "DescribeCluster", "DescribeProducers", "DescribeTransactions",
    "ListTransactions", "ConsumerGroupDescribe", "ListConfigResources", "DescribeTopicPartitions", "ShareGroupDescribe", "StreamsGroupDescribe",
    "DescribeShareGroupOffsets", "DescribeAcls", "ReadShareGroupState", "ReadShareGroupStateSummary",
}  # fmt: skip
PAUSES = (0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0)


class Closed:
    def __repr__(self):
        return "closed"


class Silent:
    def __repr__(self):
        return "silent"


CLOSED, SILENT = Closed(), Silent()


class Connection:
    def __init__(self, address):
        self.address, self.socket, self.correlation = address, None, 0

    def send(self, api, version, body, spoil=None):
        self.correlation += 1
        frame = api.encode(version, self.correlation, CLIENT, body)
        if spoil:
            frame = spoil(frame)
        data = struct.pack(">i", len(frame)) + frame
        for _ in range(2):
            if self.socket is None:
                host, _, port = self.address.rpartition(":")
                self.socket = socket.create_connection((host, int(port)))
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                self.socket.sendall(data)
                return
            except OSError:
                self.close()

    def answer(self, api, version):
        """The answer's tree, or what happened instead."""
        if self.socket is None:
            return CLOSED
        try:
            self.socket.settimeout(ANSWER_SECONDS_MAX)
            frame = self.take(struct.unpack(">i", self.take(4))[0])
        except TimeoutError:
            self.close()
            return SILENT
        except (OSError, EOFError):
            self.close()
            return CLOSED
        correlation, body = api.decode(version, frame)
        if correlation != self.correlation:
            raise schema.Unreadable(f"the answer is to {correlation}, not to {self.correlation}")
        return body

    def take(self, count):
        data = bytearray()
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)

    def is_closed(self):
        """Whether the broker has hung up meanwhile."""
        return self.socket is None or bool(select.select([self.socket], [], [], 0)[0])

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None


class Pair:
    """One connection to each broker: Kafka first."""

    def __init__(self, addresses, apis):
        self.connections = [Connection(it) for it in addresses]
        self.apis = apis

    def ask(self, api, version, body, sides=(0, 1), spoil=None):
        for side in sides:
            self.connections[side].send(api, version, compare.resolved(body, side), spoil)
        if api.name == "Produce" and body.get("Acks") == 0:
            return [self.after_silence(side) for side in sides]
        return [self.heard(side, api, version) for side in sides]

    def heard(self, side, api, version):
        # A broker that knows no such version of ApiVersions answers in version 0.
        known = version if api.key != 18 or api.versions.first <= version <= api.versions.last else 0
        try:
            return self.connections[side].answer(api, known)
        except (schema.Unreadable, struct.error, UnicodeError, IndexError) as error:
            self.connections[side].close()
            return f"unreadable: {error!r}"

    def after_silence(self, side):
        """A request that is not answered: whether the next one is."""
        connection = self.connections[side]
        connection.send(self.apis[18], 0, {})
        return CLOSED if self.heard(side, self.apis[18], 0) is CLOSED else {}

    def close(self):
        for connection in self.connections:
            connection.close()


class Judge:
    """Asks both, compares, and asks again where that is fair."""

    def __init__(self, rules, ids, prefix, told):
        # What has been told already is not asked as often again.
        self.rules, self.ids, self.prefix, self.told = rules, ids, prefix, told
        # Whether the last two answers differ in what is permitted, so that what follows may as well.
        self.parts = False

    def differences(self, api, answers):
        self.parts = False
        kafka, millstream = answers
        if not (isinstance(kafka, dict) and isinstance(millstream, dict)):
            rules = self.rules.of(api.name, "-")
            self.parts = kafka is CLOSED and isinstance(millstream, dict) and "closed" in rules
            same = kafka is millstream or kafka is SILENT and "silent" in rules or self.parts
            return [] if same else [("", show(kafka), show(millstream))]
        comparison = compare.Comparison(self.rules, self.ids, self.prefix, api.name)
        comparison.structures("", kafka, millstream)
        self.parts = comparison.parts
        return comparison.differences

    def judged(self, pair, api, version, body, spoil=None):
        """The answers, how they differ, and how often it was asked again."""
        answers = pair.ask(api, version, body, spoil=spoil)
        found = self.differences(api, answers)
        is_read = api.name in READS or (api.name == "Fetch" and body.get("SessionEpoch", -1) == -1)
        # Each request of a share session has its number: the same one again is another request.
        is_counted = body.get("ShareSessionEpoch", 0) != 0
        again = 0
        for pause in PAUSES[:3] if self.told(api, found) else PAUSES:
            sides = self.asked_again(answers, is_read) if found and not is_counted else ()
            if not sides:
                break
            again += 1
            time.sleep(pause)
            for side, answer in zip(sides, pair.ask(api, version, body, sides, spoil)):
                answers[side] = answer
            found = self.differences(api, answers)
        return answers, found, again

    @staticmethod
    def asked_again(answers, is_read):
        if is_read:
            return (0, 1)
        codes = [set(compare.each_code(it)) if isinstance(it, dict) else set() for it in answers]
        unready = [bool((codes[side] - codes[1 - side]) & NOT_READY) for side in (0, 1)]
        return tuple(side for side in (0, 1) if unready[side])


def show(answer):
    return "answered" if isinstance(answer, dict) else repr(answer)
