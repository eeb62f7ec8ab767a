"""Kafka's messages by their definitions: read from the jar that the broker runs from, written and read as trees of plain values.

A structure is a dict by the definition's names, an array a list, bytes and records are bytes, a UUID is 32 digits. What a dict lacks is
written as the definition's default. A null that a field can't be is written all the same, as the null of its type: a broker has to
refuse it.
"""

import json
import re
import struct
import zipfile

NUMBERS = {
    "int8": struct.Struct(">b"),
    "int16": struct.Struct(">h"),
    "uint16": struct.Struct(">H"),
    "int32": struct.Struct(">i"),
    "uint32": struct.Struct(">I"),
    "int64": struct.Struct(">q"),
    "float64": struct.Struct(">d"),
}
BOOL = struct.Struct(">?")
NO_UUID = "0" * 32


class Unreadable(Exception):
    """The bytes are not such a message."""


class Reader:
    """Bytes, and how far they are read."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        end = self.at + count
        if count < 0 or end > len(self.data):
            raise Unreadable(f"{count} bytes at {self.at} of {len(self.data)}")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_tags(reader):
    """Unknown ones are passed over."""
    return {reader.varint(): reader.take(reader.varint()) for _ in range(reader.varint())}


class Versions:
    def __init__(self, text):
        self.first, self.last = 0, -1
        if text != "none":
            first, _, last = text.partition("-")
            self.last = int(last) if last else 32767 if first.endswith("+") else int(first)
            self.first = int(first.rstrip("+"))

    def __contains__(self, version):
        return self.first <= version <= self.last


class Field:
    """One field of a structure in one version: `write` and `read` are all that is needed at run time."""

    def __init__(self, raw, version, flexible, common):
        self.name, self.type = raw["name"], raw["type"]
        self.nullable = version in Versions(raw.get("nullableVersions", "none"))
        self.entity = raw.get("entityType")
        self.key = raw.get("mapKey", False)
        self.tag = int(raw["tag"]) if version in Versions(raw.get("taggedVersions", "none")) else None
        self.element = self.type.removeprefix("[]")
        self.is_array = self.type != self.element
        self.structure = None
        if self.element not in NUMBERS and self.element not in ("bool", "string", "bytes", "records", "uuid"):
            self.structure = Structure(self.element, raw.get("fields") or common[self.element], version, flexible, common)
        self.default = self.default_of(raw)
        one = codec(self.element, self.structure, flexible, self.nullable and not self.is_array)
        self.write, self.read = array(one, flexible) if self.is_array else one

    def default_of(self, raw):
        text = raw.get("default")
        if text in ("null", None) and (text == "null" or self.is_array):
            return None if text == "null" else []
        if self.structure:
            return {}
        if self.type in NUMBERS:
            return float(text or 0) if self.type == "float64" else int(str(text or 0), 0)
        if self.type == "bool":
            return str(text).lower() == "true"
        return {"string": text or "", "uuid": NO_UUID}.get(self.type, b"")


class Structure:
    """A structure's fields in one version."""

    def __init__(self, name, raw, version, flexible, common):
        self.name, self.flexible = name, flexible
        fields = [Field(it, version, flexible, common) for it in raw if version in Versions(it["versions"])]
        self.fields = [it for it in fields if it.tag is None]
        self.tagged = sorted((it for it in fields if it.tag is not None), key=lambda it: it.tag)

    def all(self):
        return self.fields + self.tagged

    def write(self, out, value):
        for field in self.fields:
            field.write(out, value.get(field.name, field.default))
        if self.flexible:
            self.write_tags(out, value)

    def write_tags(self, out, value):
        tags = []
        for field in self.tagged:
            if value.get(field.name, field.default) != field.default:
                body = bytearray()
                field.write(body, value[field.name])
                tags.append((field.tag, body))
        # A tag that nobody knows, which a broker has to pass over.
        tags += value.get("unknown tags", [])
        out += varint(len(tags))
        for tag, body in tags:
            out += varint(tag) + varint(len(body)) + body

    def read(self, reader):
        value = {field.name: field.read(reader) for field in self.fields}
        if self.flexible:
            tags = read_tags(reader)
            for field in self.tagged:
                value[field.name] = field.read(Reader(tags[field.tag])) if field.tag in tags else field.default
        return value


def codec(kind, structure, flexible, nullable):
    if structure is not None:
        return structure_codec(structure, nullable)
    if kind == "uuid":
        return (lambda out, value: out.extend(bytes.fromhex(value or NO_UUID))), (lambda reader: reader.take(16).hex())
    if kind in NUMBERS or kind == "bool":
        form = NUMBERS.get(kind, BOOL)
        # What is below nothing is what its bytes say.
        wrap = (lambda value: value % (1 << 8 * form.size)) if kind.startswith("uint") else (lambda value: value)
        # A field that can't be null is written as nothing at all.
        write = lambda out, value: out.extend(b"" if value is None else form.pack(wrap(value)))
        return write, lambda reader: form.unpack(reader.take(form.size))[0]
    return text_codec(kind, flexible)


def structure_codec(structure, nullable):
    def write(out, value):
        if nullable:
            out += b"\xff" if value is None else b"\x01"
        if value is not None:
            structure.write(out, value)

    def read(reader):
        if nullable and reader.take(1)[0] >= 0x80:
            return None
        return structure.read(reader)

    return write, read


def text_codec(kind, flexible):
    length = NUMBERS["int16" if kind == "string" else "int32"]

    def write(out, value):
        data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        if flexible:
            out += varint(0 if data is None else len(data) + 1)
        else:
            out += length.pack(-1 if data is None else len(data))
        out += data or b""

    def read(reader):
        count = reader.varint() - 1 if flexible else length.unpack(reader.take(length.size))[0]
        if count < 0:
            return None
        data = bytes(reader.take(count))
        return data.decode("utf-8", "surrogateescape") if kind == "string" else data

    return write, read


def array(one, flexible):
    write_one, read_one = one
    length = NUMBERS["int32"]

    def write(out, value):
        count = -1 if value is None else len(value)
        out += varint(count + 1) if flexible else length.pack(count)
        for item in value or ():
            write_one(out, item)

    def read(reader):
        count = reader.varint() - 1 if flexible else length.unpack(reader.take(4))[0]
        return None if count < 0 else [read_one(reader) for _ in range(count)]

    return write, read


class Api:
    """A request and its answer, by version."""

    def __init__(self, key, request, response):
        self.key, self.name = key, request["name"].removesuffix("Request")
        self.request, self.response = request, response
        self.versions = Versions(request["validVersions"])
        self.is_last_unstable = bool(request.get("latestVersionUnstable"))
        self.compiled = {}

    def structures(self, version):
        """Those of the request and of the answer."""
        if version not in self.compiled:
            self.compiled[version] = [self.structure(it, version) for it in (self.request, self.response)]
        return self.compiled[version]

    def structure(self, raw, version):
        common = {it["name"]: it["fields"] for it in raw.get("commonStructs", ())}
        return Structure(raw["name"], raw["fields"], version, self.is_flexible(version), common)

    def is_flexible(self, version):
        return version in Versions(self.request.get("flexibleVersions", "none"))

    def encode(self, version, correlation, client, body):
        """A frame with its length."""
        out = bytearray(struct.pack(">hhih", self.key, version, correlation, len(client))) + client.encode()
        if self.is_flexible(version):
            out += b"\0"
        self.structures(version)[0].write(out, body)
        return out

    def decode(self, version, frame):
        """The answer's correlation id and body."""
        reader = Reader(frame)
        correlation = NUMBERS["int32"].unpack(reader.take(4))[0]
        # ApiVersions' answer is read before a client can know what the broker knows.
        if self.is_flexible(version) and self.key != 18:
            read_tags(reader)
        body = self.structures(version)[1].read(reader)
        if reader.at != len(frame):
            raise Unreadable(f"{len(frame) - reader.at} bytes are left over")
        return correlation, body


def read_apis(jar):
    """All APIs of a `kafka-clients` jar, by key."""
    found = {}
    with zipfile.ZipFile(jar) as archive:
        for name in archive.namelist():
            if re.fullmatch(r"common/message/\w+(Request|Response)\.json", name):
                text = re.sub(r"(?m)^\s*//.*$|(?<=[\s,{\[\]}])//.*$", "", archive.read(name).decode())
                raw = json.loads(text)
                found.setdefault(raw["apiKey"], {})[raw["type"]] = raw
    return {key: Api(key, it["request"], it["response"]) for key, it in sorted(found.items()) if len(it) == 2}
