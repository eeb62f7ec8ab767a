"""Record batches: written with whatever is wrong with them, and taken apart so that each of their fields can be compared."""

import struct

import schema

HEADER = struct.Struct(">qiibIhiqqqhii")


def table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


CRC_TABLE = list(table())


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def zigzag(value):
    return schema.varint((value << 1 ^ value >> 63) & 0xFFFFFFFFFFFFFFFF)


def record(delta, time_delta, key, value):
    body = b"\0" + zigzag(time_delta) + zigzag(delta)
    for piece in (key, value):
        body += zigzag(-1) if piece is None else zigzag(len(piece)) + piece
    body += zigzag(0)
    return zigzag(len(body)) + body


def batch(records, time, producer=-1, epoch=-1, sequence=-1, attributes=0, magic=2, base=0, last=None, spoil=None):
    """`records` are pairs of key and value. `spoil` changes the finished bytes."""
    body = b"".join(record(at, at, key, value) for at, (key, value) in enumerate(records))
    last = len(records) - 1 if last is None else last
    tail = struct.pack(">hiqqqhii", attributes, last, time, time + max(last, 0), producer, epoch, sequence, len(records)) + body
    data = struct.pack(">qiibI", base, len(tail) + 9, -1, magic, crc32c(tail)) + tail
    return spoil(data) if spoil else data


def taken_apart(data):
    """The whole batches in what a broker has answered; a beginning of one more is what a client throws away."""
    batches = []
    at = 0
    while data is not None and at + HEADER.size <= len(data):
        fields = HEADER.unpack_from(data, at)
        base, length, leader_epoch, magic, _, attributes, last, first_time, max_time, producer, epoch, sequence, count = fields
        end = at + 12 + length
        if length < 49 or end > len(data):
            break
        is_control, has_append_time = attributes & 0x20, attributes & 8
        batches.append(
            {
                "BaseOffset": base,
                "LeaderEpoch": leader_epoch,
                "Magic": magic,
                "Attributes": attributes,
                "LastOffsetDelta": last,
                "FirstTimestamp": 0 if is_control or has_append_time else first_time,
                "MaxTimestamp": 0 if is_control or has_append_time else max_time,
                "ProducerId": producer,
                "ProducerEpoch": epoch,
                "BaseSequence": sequence,
                "Count": count,
                "Records": control_type(data[at + HEADER.size : end]) if is_control else data[at + HEADER.size : end],
            }
        )
        at = end
    return batches


def control_type(body):
    """Which marker it is; the rest names the coordinator."""
    return body[4:10]
