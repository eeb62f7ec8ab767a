"""As much of Kafka's protocol as a load on coordinators needs: requests made by hand, so that what is timed is the broker and no client."""

import socket
import struct


class Connection:
    """One connection; `send` and `receive` apart, so that many of them can wait at once."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.flexible = []

    def send(self, key, version, body, flexible=False):
        head = struct.pack(">hhi", key, version, 1) + string("bench") + (b"\0" if flexible else b"")
        self.socket.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        self.flexible.append(flexible)

    def receive(self):
        """The body of the next answer."""
        (length,) = struct.unpack(">i", self.exactly(4))
        frame = self.exactly(length)
        return Reader(frame, 5 if self.flexible.pop(0) else 4)

    def ask(self, key, version, body, flexible=False):
        self.send(key, version, body, flexible)
        return self.receive()

    def exactly(self, length):
        held = bytearray(length)
        view, at = memoryview(held), 0
        while at < length:
            got = self.socket.recv_into(view[at:])
            if got == 0:
                raise ConnectionError("the broker closed the connection")
            at += got
        return bytes(held)

    def close(self):
        self.socket.close()


class Reader:
    """Walks an answer."""

    def __init__(self, frame, at):
        self.frame = frame
        self.at = at

    def number(self, kind):
        (value,) = struct.unpack_from(">" + kind, self.frame, self.at)
        self.at += struct.calcsize(">" + kind)
        return value

    def string(self):
        length = self.number("h")
        return None if length < 0 else self.take(length).decode()

    def take(self, length):
        self.at += length
        return self.frame[self.at - length : self.at]

    def varint(self):
        value, shift = 0, 0
        while True:
            byte = self.number("B")
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value


def string(text):
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text.encode())) + text.encode()


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def data(octets):
    return struct.pack(">i", len(octets)) + octets


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def compact(octets):
    """A compact string, or compact bytes."""
    return varint(len(octets) + 1) + octets


def compact_array(items):
    return varint(len(items) + 1) + b"".join(items)


def transactional_batch(producer_id, epoch, value):
    """A batch of one record, the first that this epoch of the producer writes."""
    record = b"\0" + zigzag(0) + zigzag(0) + zigzag(-1) + zigzag(len(value)) + value + zigzag(0)
    record = zigzag(len(record)) + record
    covered = struct.pack(">hiqqqhii", 0x10, 0, 0, 0, producer_id, epoch, 0, 1) + record
    return struct.pack(">qiibI", 0, 9 + len(covered), -1, 2, crc32c(covered)) + covered


def zigzag(value):
    return varint((value << 1) ^ (value >> 63))


def crc32c(octets):
    checksum = 0xFFFFFFFF
    for byte in octets:
        checksum = checksum >> 8 ^ CRC32C[(checksum ^ byte) & 0xFF]
    return checksum ^ 0xFFFFFFFF


def crc32c_table():
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
        yield number


CRC32C = list(crc32c_table())
