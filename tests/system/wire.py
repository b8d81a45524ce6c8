"""The protocol by hand (proto/PROTOCOL.md, proto/latent.proto): what no well-behaved client sends, and many requests at once.

A message is a list of (field number, value): int, float (32 bits), bytes, str, or a list for a message within.
"""
import socket
import struct

from harness import CALL_S

HELLO = b"latentd\0" + struct.pack("<HBBI", 1, 0, 0, 0)
# Request and Response bodies.
STATUS, CREATE, LIST, INFO, DROP, ADD, GET, DELETE, SEARCH, EMBED = range(10, 20)
JOB_OPEN, JOB_CLOSE, JOB_LIST, JOB_CANCEL, CANCEL, RERANK, EXPLAIN, REPLACE = range(20, 28)


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def pack(message):
    out = bytearray()
    for field, value in message:
        if isinstance(value, int):
            out += varint(field << 3) + varint(value)
            continue
        if isinstance(value, float):
            out += varint(field << 3 | 5) + struct.pack("<f", value)
            continue
        value = pack(value) if isinstance(value, list) else value.encode() if isinstance(value, str) else value
        out += varint(field << 3 | 2) + varint(len(value)) + value
    return bytes(out)


def unpack(data):
    """{field: [values]}; messages within stay bytes."""
    out, at = {}, 0

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte = data[at]
            at += 1
            n |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return n

    while at < len(data):
        key = number()
        kind = key & 7
        if kind == 0:
            value = number()
        else:
            size = {1: 8, 5: 4}.get(kind)
            size = number() if size is None else size
            value = data[at:at + size]
            at += size
        out.setdefault(key >> 3, []).append(value)
    return out


def frame(message):
    return struct.pack("<I", len(message)) + message


def request(number, body, fields, deadline_ms=0):
    return pack([(1, number)] + ([(2, deadline_ms)] if deadline_ms else []) + [(body, fields)])


class Reply:
    def __init__(self, data):
        self.raw = unpack(data)
        self.id = self.raw.get(1, [0])[0]
        self.more = bool(self.raw.get(2, [0])[0])
        error = unpack(self.raw[3][0]) if 3 in self.raw else None
        self.code = error.get(1, [0])[0] if error else 0
        self.message = error.get(2, [b""])[0].decode() if error else ""
        self.retryable = bool(error.get(3, [0])[0]) if error else False

    def body(self, number):
        """The body's fields; None: there is another one, or an error."""
        return unpack(self.raw[number][0]) if number in self.raw else None


class Wire:
    """A plain session on a Unix socket; path may be a pair of host and port for those that are not plain."""

    def __init__(self, path, timeout=CALL_S, hello=HELLO):
        self.socket = socket.socket(socket.AF_INET if isinstance(path, tuple) else socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.buffer = b""
        self.next_id = 1
        try:
            self.socket.connect(path)
            self.socket.sendall(hello)
            answer = self.take(16)
            assert answer[:8] == HELLO[:8] and answer[12:] == bytes(4), answer
            self.opened(answer)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def take(self, n):
        while len(self.buffer) < n:
            got = self.socket.recv(1 << 20)
            if not got:
                raise ConnectionError("closed by the daemon")
            self.buffer += got
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def opened(self, answer):
        """The daemon has answered the hello: what follows before the first frame."""

    def send_frame(self, message):
        self.socket.sendall(frame(message))

    def send(self, body, fields, deadline_ms=0):
        """Sends a request; its id."""
        number, self.next_id = self.next_id, self.next_id + 1
        self.send_frame(request(number, body, fields, deadline_ms))
        return number

    def send_at_once(self, body, fields, n):
        """The same request n times in one write; their ids."""
        first, self.next_id = self.next_id, self.next_id + n
        sent = list(range(first, first + n))
        self.socket.sendall(b"".join(frame(request(number, body, fields)) for number in sent))
        return sent

    def receive(self):
        return Reply(self.take(struct.unpack("<I", self.take(4))[0]))

    def receive_end(self):
        """True when the daemon closes now."""
        return not self.buffer and self.socket.recv(1) == b""

    def call(self, body, fields, deadline_ms=0):
        number = self.send(body, fields, deadline_ms)
        reply = self.receive()
        assert reply.id == number, (reply.id, number)
        return reply


def document(name, text, **more):
    return [(1, name), (2, text)] + [({"title": 3, "metadata": 4, "vector": 5, "source_bytes": 6}[k], v) for k, v in more.items()]


def add(collection, documents, wait_accepted=False, job=0):
    return ([(1, collection)] + [(2, d) for d in documents] + ([(4, 1)] if wait_accepted else []) +
            ([(5, job)] if job else []))
