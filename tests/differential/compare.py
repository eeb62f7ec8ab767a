"""Compares two answers field by field, by the rules of `permitted.txt`."""

import schema
import records

NONE = (None, "", -1, 0, schema.NO_UUID)


class Rule:
    def __init__(self, api, path, kind, argument):
        self.api, self.path, self.kind, self.argument = api, path, kind, argument


class Rules:
    """A line of the file is `API PATH KIND[:ARGUMENT] reason`; `*` stands for every API, a path that begins with `..` for every path that
    ends so."""

    def __init__(self, text):
        self.rules = []
        self.found = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split(None, 3)
            if not words or line.startswith("#"):
                continue
            if len(words) < 4:
                raise SystemExit(f"permitted.txt:{number}: a line is API PATH KIND REASON")
            kind, _, argument = words[2].partition(":")
            if kind not in KINDS:
                raise SystemExit(f"permitted.txt:{number}: there is no kind {kind}; there are {' '.join(KINDS)}")
            self.rules.append(Rule(words[0], words[1], kind, argument))

    def of(self, api, path):
        """The rules of a field, by their kind."""
        at = (api, path)
        if at not in self.found:
            matching = [
                rule
                for rule in self.rules
                if rule.api in ("*", api) and (rule.path in (path, "..") or rule.path.startswith("..") and ("." + path).endswith(rule.path[1:]))
            ]
            kinds = self.found[at] = {}
            for rule in matching:
                # Several of one kind add up, but for the order, where the first one counts.
                if rule.kind not in kinds:
                    kinds[rule.kind] = Rule(rule.api, rule.path, rule.kind, rule.argument)
                elif rule.kind in ("codes", "some"):
                    kinds[rule.kind].argument += "," + rule.argument
        return self.found[at]


KINDS = {
    "ignore": "not compared",
    "null": "null in both or in neither",
    "id": "each broker chooses its own; the argument is what it is an id of",
    "unordered": "in any order; the argument names what tells the elements apart, else it is what does so in most messages",
    "own": "elements whose key does not begin with the stream's prefix, or has it nowhere in it, are left out; the order does not count",
    "codes": "pairs of what Kafka and Millstream may answer, as in 0=37,0=41; * is anything",
    "only": "Kafka has elements that Millstream lacks, or the other way round: only those with a key in both are compared",
    "near": "times that are no further apart than so many milliseconds",
    "empty": "null and an empty array are the same",
    "some": "elements without anything in the array that the argument names, and without an error, may be left out",
    "floor": "what Kafka tells below the field beside it that the argument names counts as that one",
    "good": "only compared in an answer without an error, but for those that the argument names",
    "merge": "elements of one key stand for one, with the arrays that the argument names put together",
    "silent": "Kafka may not answer at all; the path is -",
    "closed": "Kafka may close the connection where Millstream answers; the path is -",
}


# What tells elements apart: names and numbers that stand once in an array.
KEYS = (
    "Name", "TopicName", "Topic", "TopicId", "GroupId", "TransactionalId", "MemberId", "PartitionIndex", "Partition", "Index", "ResourceType",
    "ResourceName", "PatternType", "Principal", "Host", "Operation", "PermissionType", "ConfigName", "ProducerId", "SubtopologyId", "FirstOffset", "Key", "NodeId", "BrokerId", "Feature", "EntityType", "EntityName",
)  # fmt: skip


class Ids:
    """What each broker has chosen, in pairs. An `Id` stands for a pair."""

    def __init__(self):
        self.pairs = {}
        self.known = ({}, {})

    def agree(self, kind, kafka, millstream, is_alone):
        """Whether the two stand for the same, which they do from now on if neither has been seen yet. In a list of several it is not certain
        that they stand at the same place."""
        if kafka in NONE or millstream in NONE:
            return kafka == millstream
        ours = self.known[0].get((kind, kafka)), self.known[1].get((kind, millstream))
        if ours == (None, None):
            if not is_alone and kafka != millstream:
                return True
            one = Id(kind, kafka, millstream)
            self.known[0][kind, kafka] = self.known[1][kind, millstream] = one
            self.pairs.setdefault(kind, []).append(one)
            return True
        return ours[0] is ours[1]

    def symbol(self, side, kind, value):
        return self.known[side].get((kind, value))


class Id:
    """The same thing on both brokers."""

    count = 0

    def __init__(self, kind, *values):
        Id.count += 1
        self.kind, self.values, self.number = kind, values, Id.count

    def on(self, side):
        return self.values[side]

    def __repr__(self):
        return f"<{self.kind} {self.number}>"


def resolved(value, side):
    """A tree with what stands for pairs replaced by what this side knows."""
    if isinstance(value, dict):
        return {name: resolved(it, side) for name, it in value.items()}
    if isinstance(value, list):
        return [resolved(it, side) for it in value]
    return value.on(side) if hasattr(value, "on") else value


class Comparison:
    """Of two answers to one request."""

    def __init__(self, rules, ids, prefix, api):
        self.rules, self.ids, self.prefix, self.api = rules, ids, prefix, api
        self.differences = []
        # Whether what is permitted lets the two go different ways.
        self.parts = False

    def structures(self, path, kafka, millstream):
        names = list(kafka)
        # An error explains what else is different beside it.
        names.sort(key=lambda name: name != "ErrorCode")
        for name in names:
            before = len(self.differences)
            inner = f"{path}.{name}" if path else name
            good = self.rules.of(self.api, inner).get("good")
            if good and kafka.get("ErrorCode") and str(kafka["ErrorCode"]) not in good.argument.split(","):
                continue
            told, floor = kafka[name], self.rules.of(self.api, inner).get("floor")
            if floor and told >= 0:
                # An old version of the message may not have it.
                told = max(told, kafka.get(floor.argument, millstream[name]))
            self.values(inner, told, millstream[name])
            if name == "ErrorCode" and (len(self.differences) > before or kafka[name] != millstream[name]):
                return

    def values(self, path, kafka, millstream):
        rules = self.rules.of(self.api, path)
        if "ignore" in rules:
            return
        if "null" in rules and (kafka is None) == (millstream is None):
            return
        if "near" in rules and abs(kafka - millstream) <= int(rules["near"].argument):
            return
        if "empty" in rules and not kafka and not millstream:
            return
        if "id" in rules:
            if not self.ids.agree(rules["id"].argument, kafka, millstream, "Members[]" not in path):
                self.differs(path, kafka, millstream)
            return
        if path.endswith("Records") and isinstance(kafka, bytes) and "Records." not in path and "[]." in path:
            self.arrays(path, records.taken_apart(kafka), records.taken_apart(millstream), {})
        elif isinstance(kafka, dict) and isinstance(millstream, dict):
            self.structures(path, kafka, millstream)
        elif isinstance(kafka, list) and isinstance(millstream, list):
            self.arrays(path, kafka, millstream, rules)
        elif kafka != millstream:
            if "codes" in rules and {f"{kafka}={millstream}", f"{kafka}=*"} & set(rules["codes"].argument.split(",")):
                self.parts = True
            else:
                self.differs(path, kafka, millstream)

    def arrays(self, path, kafka, millstream, rules):
        if "merge" in rules:
            kafka, millstream = (merged(side, rules["merge"].argument) for side in (kafka, millstream))
        if "some" in rules:
            kafka, millstream = (self.without_empty(path, side, rules["some"]) for side in (kafka, millstream))
        keys = None
        for kind in ("only", "own", "unordered"):
            if kind in rules and keys is None:
                keys = rules[kind].argument.split(",") if rules[kind].argument else [None]
        if "own" in rules:
            kafka, millstream = ([it for it in side if self.is_own(part(it, keys[0]))] for side in (kafka, millstream))
        if keys:
            kafka, millstream = self.ordered(path, kafka, millstream, self.keys_of(kafka + millstream, keys))
        if "only" in rules:
            both = {str(part(it, keys[0])) for it in kafka} & {str(part(it, keys[0])) for it in millstream}
            kafka, millstream = ([it for it in side if str(part(it, keys[0])) in both] for side in (kafka, millstream))
        if len(kafka) != len(millstream):
            self.differs(path + "[#]", len(kafka), len(millstream))
            return
        for one, other in zip(kafka, millstream):
            self.values(path + "[]", one, other)

    def is_own(self, key):
        # What has no name was asked for by its id.
        return key is None or (key.startswith(self.prefix) if isinstance(key, str) else self.prefix in repr(key))

    def without_empty(self, path, items, rule):
        names = rule.argument.split(",")

        def says_something(item):
            return not isinstance(item, dict) or item.get("ErrorCode") or not any(self.is_empty(f"{path}[].{name}", item.get(name)) for name in names)

        return [it for it in items if says_something(it)]

    def is_empty(self, path, items):
        """Also where there are but elements which are so themselves."""
        rule = self.rules.of(self.api, path).get("some")
        return items == [] or bool(rule and items) and not self.without_empty(path, items, rule)

    @staticmethod
    def keys_of(items, keys):
        """Without an argument a rule means the names that most messages use; an array of plain values is ordered by these."""
        if keys == [None] and items and isinstance(items[0], dict):
            return [name for name in KEYS if name in items[0]] or [None]
        return keys

    def ordered(self, path, *sides):
        *sides, keys = sides

        def place(side):
            def of(item):
                found = []
                for key in keys:
                    value = part(item, key)
                    at = self.rules.of(self.api, f"{path}[].{key}" if key else f"{path}[]").get("id")
                    symbol = self.ids.symbol(side, at.argument, value) if at else None
                    found.append(f"{symbol.number:012}" if symbol else str(value))
                return found

            return of

        return [sorted(side, key=place(at)) for at, side in enumerate(sides)]

    def differs(self, path, kafka, millstream):
        self.differences.append((path, kafka, millstream))


def merged(items, name):
    """An answer may name a topic several times, with some of its partitions each."""
    found = {}
    for item in items:
        key = tuple(item.get(it) for it in KEYS)
        if key in found:
            found[key][name] = found[key][name] + item[name]
        else:
            found[key] = dict(item)
    return list(found.values())


def part(item, key):
    return item if key is None else item[key]


def each_code(value):
    """All error codes in a tree."""
    if isinstance(value, dict):
        for name, it in value.items():
            if name == "ErrorCode" and it:
                yield it
            elif isinstance(it, (dict, list)):
                yield from each_code(it)
    elif isinstance(value, list):
        for it in value:
            yield from each_code(it)
