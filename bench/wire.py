"""As much of Kafka's protocol as a load on coordinators needs: requests made by hand, so that what is timed is the broker and no client."""

import socket
import struct

from schema import varint


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


def compact(octets):
    """A compact string, or compact bytes."""
    return varint(len(octets) + 1) + octets


def compact_array(items):
    return varint(len(items) + 1) + b"".join(items)
