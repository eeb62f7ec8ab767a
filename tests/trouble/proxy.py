"""An HTTP proxy before an S3 service that injects faults: what the service does to its clients on a bad day.

    honest   everything goes through
    busy     so many requests of a hundred are answered 503 SlowDown, and never reach the service
    hangs    requests are taken and never answered
    gone     connections are reset
"""

import asyncio
import random
import threading

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
HEAD_BYTES_MAX = 1 << 20


class Proxy:
    def __init__(self, upstream_port):
        self.upstream_port, self.manner, self.percent = upstream_port, "honest", 0
        self.requests = self.refused = 0
        self.connections = set()
        self.loop = asyncio.new_event_loop()
        started = threading.Event()
        threading.Thread(target=self.run, args=(started,), daemon=True).start()
        started.wait()

    def run(self, started):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0, limit=HEAD_BYTES_MAX))
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        self.loop.run_forever()

    def set(self, manner, percent=0):
        """From now on, for connections that are there too."""
        self.manner, self.percent = manner, percent
        if manner == "gone":
            self.loop.call_soon_threadsafe(lambda: [it.transport.abort() for it in list(self.connections)])

    async def serve(self, reader, writer):
        self.connections.add(writer)
        upstream = None
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(length_of(head) or 0)
                self.requests += 1
                if self.manner == "gone":
                    return writer.transport.abort()
                while self.manner == "hangs":
                    await asyncio.sleep(0.1)
                if self.manner == "busy" and random.random() * 100 < self.percent:
                    self.refused += 1
                    writer.write(b"HTTP/1.1 503 Slow Down\r\ncontent-length: %d\r\n\r\n" % len(SLOW_DOWN))
                    if not head.startswith(b"HEAD"):
                        writer.write(SLOW_DOWN)
                    await writer.drain()
                    continue
                if upstream is None:
                    upstream = await asyncio.open_connection("127.0.0.1", self.upstream_port, limit=HEAD_BYTES_MAX)
                upstream[1].write(head)
                upstream[1].write(body)
                await upstream[1].drain()
                await self.answer(head, upstream[0], writer)
        except (asyncio.IncompleteReadError, ConnectionError, OSError):
            pass
        finally:
            self.connections.discard(writer)
            for closing in [writer, *([upstream[1]] if upstream else [])]:
                closing.close()

    async def answer(self, asked, upstream, writer):
        """Copies one answer, whatever its body."""
        head = await upstream.readuntil(b"\r\n\r\n")
        writer.write(head)
        status = int(head.split(b" ", 2)[1])
        if asked.startswith(b"HEAD") or status in (204, 304):
            pass
        elif header(head, b"transfer-encoding") == b"chunked":
            while True:
                line = await upstream.readuntil(b"\r\n")
                size = int(line.split(b";")[0], 16)
                writer.write(line + await upstream.readexactly(size + 2))
                if size == 0:
                    break
        else:
            writer.write(await upstream.readexactly(length_of(head) or 0))
        await writer.drain()


def header(head, name):
    for line in head.split(b"\r\n")[1:]:
        found, _, value = line.partition(b":")
        if found.strip().lower() == name:
            return value.strip().lower()
    return None


def length_of(head):
    value = header(head, b"content-length")
    return int(value) if value else None
