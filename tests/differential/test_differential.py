#!/usr/bin/env python3
"""Tests of the tool itself, on a definition of their own: python3 tests/differential/test_differential.py"""

import random
import unittest

import compare
import generate
import hearing
import player
import records
import schema
from world import Batch, World

REQUEST = {
    "apiKey": 0, "type": "request", "name": "ThingRequest", "validVersions": "0-2", "flexibleVersions": "2+",
    "fields": [
        {"name": "Topics", "type": "[]Topic", "versions": "0+", "nullableVersions": "1+", "fields": [
            {"name": "Name", "type": "string", "versions": "0+", "entityType": "topicName"},
            {"name": "PartitionIndex", "type": "int32", "versions": "0+"},
            {"name": "Note", "type": "string", "versions": "1+", "nullableVersions": "1+", "default": "null"}]},
        {"name": "Extra", "type": "int64", "versions": "2+", "taggedVersions": "2+", "tag": 0, "default": "-1"}],
}  # fmt: skip
RESPONSE = {
    "apiKey": 0, "type": "response", "name": "ThingResponse", "validVersions": "0-2", "flexibleVersions": "2+",
    "fields": [
        {"name": "ErrorCode", "type": "int16", "versions": "0+"},
        {"name": "MemberId", "type": "string", "versions": "0+"},
        {"name": "Things", "type": "[]string", "versions": "0+"}],
}  # fmt: skip
RULES = """
# a comment
* ..MemberId id:member chosen by the broker
Thing Things unordered order says nothing
Thing ErrorCode codes:3=29 for the test
"""


def api():
    return schema.Api(0, REQUEST, RESPONSE)


def compared(*answers, ids=None):
    comparison = compare.Comparison(compare.Rules(RULES), ids or compare.Ids(), "own-", "Thing")
    comparison.structures("", *answers)
    return comparison.differences


class Schema(unittest.TestCase):
    def test_what_is_written_is_read(self):
        body = {"Topics": [{"Name": "t", "PartitionIndex": 7, "Note": None}], "Extra": 5}
        for version in (0, 1, 2):
            structure = api().structures(version)[0]
            out = bytearray()
            structure.write(out, body)
            read = structure.read(schema.Reader(bytes(out)))
            self.assertEqual(read["Topics"][0]["PartitionIndex"], 7)
            self.assertEqual(read.get("Extra"), 5 if version == 2 else None)

    def test_bytes_are_as_the_protocol_guide_has_them(self):
        frame = api().encode(2, 9, "me", {"Topics": [{"Name": "t", "PartitionIndex": 1}], "unknown tags": [(3, b"x")]})
        self.assertEqual(bytes(frame), b"\0\0\0\2\0\0\0\x09\0\2me\0" + b"\2\2t\0\0\0\1\0\0" + b"\1\3\1x")

    def test_a_null_is_written_where_none_may_be(self):
        out = bytearray()
        api().structures(0)[0].write(out, {"Topics": None})
        self.assertEqual(bytes(out), b"\xff\xff\xff\xff")

    def test_bytes_that_end_early_or_late_are_no_answer(self):
        whole = b"\0\0\0\1" + b"\0\0" + b"\0\1m" + b"\0\0\0\0"
        self.assertEqual(api().decode(0, whole)[1], {"ErrorCode": 0, "MemberId": "m", "Things": []})
        for frame in (whole[:-1], whole + b"\0"):
            with self.assertRaises(schema.Unreadable):
                api().decode(0, frame)


class Compare(unittest.TestCase):
    def test_the_same_is_no_difference_and_anything_else_is_one(self):
        one = {"ErrorCode": 0, "MemberId": "a", "Things": ["x", "y"]}
        self.assertEqual(compared(one, {**one, "MemberId": "b", "Things": ["y", "x"]}), [])
        self.assertEqual(compared(one, {**one, "Things": ["x"]}), [("Things[#]", 2, 1)])
        self.assertEqual(compared(one, {**one, "Things": ["x", "z"]}), [("Things[]", "y", "z")])

    def test_an_error_is_told_alone_and_a_pair_of_errors_may_be_permitted(self):
        one = {"ErrorCode": 0, "MemberId": "a", "Things": ["x"]}
        other = {"ErrorCode": 5, "MemberId": "", "Things": []}
        self.assertEqual(compared(one, other), [("ErrorCode", 0, 5)])
        self.assertEqual(compared({**one, "ErrorCode": 3}, {**other, "ErrorCode": 29}), [])
        self.assertEqual(compared({**one, "ErrorCode": 29}, {**other, "ErrorCode": 3}), [("ErrorCode", 29, 3)])

    def test_ids_are_compared_by_what_they_stand_for(self):
        ids = compare.Ids()
        said = lambda member: {"ErrorCode": 0, "MemberId": member, "Things": []}
        self.assertEqual(compared(said("k1"), said("m1"), ids=ids), [])
        self.assertEqual(compared(said("k2"), said("m2"), ids=ids), [])
        self.assertEqual(compared(said("k1"), said("m2"), ids=ids), [("MemberId", "k1", "m2")])
        self.assertEqual(compared(said("k1"), said(""), ids=ids), [("MemberId", "k1", "")])
        one = ids.symbol(0, "member", "k2")
        self.assertEqual(compare.resolved({"a": [one]}, 1), {"a": ["m2"]})

    def test_what_is_empty_through_and_through_and_what_others_have_is_left_out(self):
        rules = compare.Rules("Thing Markers some:Topics t\nThing ..Topics some:Parts t\nThing Entries own:Entity,Kind t")

        def differences(path, kafka, millstream):
            comparison = compare.Comparison(rules, compare.Ids(), "own-", "Thing")
            comparison.values(path, kafka, millstream)
            return comparison.differences

        refused = {"Topics": [{"Parts": [], "ErrorCode": 3}]}
        self.assertEqual(differences("Markers", [refused], []), [("Markers[#]", 1, 0)])
        bare, some = {"Topics": [{"Parts": []}]}, {"Topics": [{"Parts": []}, {"Parts": [1]}]}
        self.assertEqual(differences("Markers", [bare], []), [])
        self.assertEqual(differences("Markers", [some], [{"Topics": [{"Parts": [1]}]}]), [])
        self.assertEqual(differences("Markers", [some], []), [("Markers[#]", 1, 0)])
        entry = lambda name, kind=1: {"Entity": [{"Name": name}], "Kind": kind}
        ours = [entry("own-u", 2), entry("own-u", 1)]
        self.assertEqual(differences("Entries", [entry("other-u"), *ours], ours[::-1]), [])
        self.assertEqual(differences("Entries", ours[:1], []), [("Entries[#]", 1, 0)])
        nameless = {"Entity": None, "Kind": 1}
        self.assertEqual(differences("Entries", [nameless], []), [("Entries[#]", 1, 0)])

    def test_what_kafka_tells_below_its_floor_is_the_floor(self):
        rules = compare.Rules("Thing Stable floor:Start t")

        def differences(kafka, millstream):
            comparison = compare.Comparison(rules, compare.Ids(), "own-", "Thing")
            comparison.structures("", {"Start": 5, "Stable": kafka}, {"Start": 5, "Stable": millstream})
            return comparison.differences

        self.assertEqual(differences(1, 5), [])
        self.assertEqual(differences(7, 7), [])
        for kafka, millstream in ((1, 1), (1, 6), (7, 5), (-1, 5)):
            self.assertEqual(len(differences(kafka, millstream)), 1)

    def test_a_line_that_says_nothing_is_refused(self):
        for text in ("Thing Things ignore", "Thing Things whatever it is"):
            with self.assertRaises(SystemExit):
                compare.Rules(text)


class Hearing(unittest.TestCase):
    def test_a_group_of_each_partition_asks_until_it_is_given_all(self):
        self.assertEqual(hearing.partition_of("hello", 8), 99162322 % 8)
        self.assertEqual(hearing.partition_of("polygenelubricants", 8), 0, "the least number has no opposite")
        self.assertEqual(hearing.partition_of(hearing.asking_group(5, 8), 8), 5)
        told = lambda count: {"Assignment": {"TopicPartitions": [{"TopicId": "a", "Partitions": list(range(count))}]}}
        answers, asked = [{"Assignment": None}, told(1), told(2), told(2)], []

        def ask(body):
            asked.append(body["GroupId"])
            return answers.pop(0)

        self.assertTrue(hearing.until_heard(ask, ["hello", "polygenelubricants"], 8, ["t"], {"a": 2}))
        self.assertEqual([hearing.partition_of(it, 8) for it in asked], [0, 0, 0, 2])


class Records(unittest.TestCase):
    def test_a_batch_is_taken_apart_as_it_was_made(self):
        data = Batch([(b"k", b"v"), (None, b"w")], 7, time=1000, epoch=2, sequence=5).on(0)
        self.assertEqual(records.crc32c(b"123456789"), 0xE3069283)
        [batch] = records.taken_apart(data + data[:20])
        self.assertEqual((batch["ProducerId"], batch["ProducerEpoch"], batch["BaseSequence"], batch["Count"]), (7, 2, 5, 2))


class Generate(unittest.TestCase):
    def test_a_seed_makes_the_same_requests_and_each_can_be_written(self):
        def made():
            world = World(random.Random("1"), "own-", 0, 1)
            bodies = []
            for _ in range(50):
                for version in (0, 1, 2):
                    body = generate.request(world, api(), version)
                    generate.spoiled(world, body, api().structures(version)[0])
                    api().encode(version, 1, "me", compare.resolved(body, 0))
                    bodies.append(repr(body))
            return bodies

        self.assertEqual(made(), made())

    def test_nothing_stands_twice_in_what_was_put_wrong(self):
        body = {"Topics": [{"Name": "a", "Partitions": [{"Index": 1}, {"Index": 1, "More": 2}, {"Index": 2}]}]}
        generate.tidy(body)
        self.assertEqual(body, {"Topics": [{"Name": "a", "Partitions": [{"Index": 1}, {"Index": 2}]}]})


class Judge(unittest.TestCase):
    def test_a_connection_that_kafka_closes_over_an_answer_is_told_unless_it_is_permitted(self):
        judge = player.Judge(compare.Rules("Thing - closed t"), compare.Ids(), "own-", None)
        answer = {"ErrorCode": 42}
        self.assertEqual(judge.differences(api(), [player.CLOSED, answer]), [])
        self.assertTrue(judge.parts, "what follows may be different as well")
        self.assertNotEqual(judge.differences(api(), [answer, player.CLOSED]), [])
        self.assertNotEqual(judge.differences(api(), [player.SILENT, answer]), [])


if __name__ == "__main__":
    unittest.main()
