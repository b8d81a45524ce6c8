"""The protocol under Noise_XK_25519_ChaChaPoly_SHA256, written from proto/PROTOCOL.md and the RFCs alone (7748, 8439): a second
implementation against which the daemon's is held, and a client that may send anything under any key. Slow, and not for secrets."""
import base64
import ctypes
import hashlib
import hmac
import os
import struct

from wire import HELLO, Wire, frame

P = 2 ** 255 - 19


def x25519(secret, point=(9).to_bytes(32, "little")):
    k = int.from_bytes(secret, "little") & ~(7 | 1 << 255) | 1 << 254
    x1 = int.from_bytes(point, "little") & (1 << 255) - 1
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in range(254, -1, -1):
        bit = k >> t & 1
        if swap ^ bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
        swap = bit
        a, b = x2 + z2, x2 - z2
        aa, bb = a * a % P, b * b % P
        e = aa - bb
        da, cb = (x3 - z3) * a % P, (x3 + z3) * b % P
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def chacha_block(key, counter, nonce):
    s = list(struct.unpack("<16I", b"expand 32-byte k" + key + struct.pack("<I", counter) + nonce))
    w = s[:]
    quarters = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
    for _ in range(10):
        for a, b, c, d in quarters:
            for into, by, on, left in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                w[into] = w[into] + w[by] & 0xFFFFFFFF
                v = w[on] ^ w[into]
                w[on] = (v << left | v >> 32 - left) & 0xFFFFFFFF
    return struct.pack("<16I", *((x + y) & 0xFFFFFFFF for x, y in zip(w, s)))


def chacha(key, nonce, data):
    out = bytearray()
    for i in range(0, len(data), 64):
        out += bytes(x ^ y for x, y in zip(data[i:i + 64], chacha_block(key, 1 + i // 64, nonce)))
    return bytes(out)


def tag(key, nonce, data, aad):
    one_time = chacha_block(key, 0, nonce)[:32]
    r = int.from_bytes(one_time[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    text = aad + bytes(-len(aad) % 16) + data + bytes(-len(data) % 16) + struct.pack("<QQ", len(aad), len(data))
    acc = 0
    for i in range(0, len(text), 16):
        acc = (acc + int.from_bytes(text[i:i + 16] + b"\1", "little")) * r % ((1 << 130) - 5)
    return (acc + int.from_bytes(one_time[16:], "little") & (1 << 128) - 1).to_bytes(16, "little")


REKEY_RECORDS = 65536


class Cipher:
    def __init__(self, key):
        self.key, self.n = key, 0

    def nonce(self):
        if self.n == REKEY_RECORDS:
            self.key, self.n = chacha(self.key, bytes(4) + b"\xff" * 8, bytes(32)), 0
        self.n += 1
        return bytes(4) + struct.pack("<Q", self.n - 1)

    def seal(self, data, aad=b""):
        nonce = self.nonce()
        out = chacha(self.key, nonce, data)
        return out + tag(self.key, nonce, out, aad)

    def open(self, data, aad=b""):
        nonce = self.nonce()
        if tag(self.key, nonce, data[:-16], aad) != data[-16:]:
            raise ConnectionError("a record that does not fit its tag")
        return chacha(self.key, nonce, data[:-16])


class FastCipher(Cipher):
    """The same with libsodium's cipher, for many records; the keys still change as above."""
    sodium = None

    def call(self, name, data, aad, room):
        if not FastCipher.sodium:
            FastCipher.sodium = ctypes.CDLL("libsodium.so.23")
            assert FastCipher.sodium.sodium_init() >= 0
        out, size = ctypes.create_string_buffer(room), ctypes.c_ulonglong()
        run = getattr(FastCipher.sodium, "crypto_aead_chacha20poly1305_ietf_" + name)
        data, aad = [data, ctypes.c_ulonglong(len(data))], [aad, ctypes.c_ulonglong(len(aad))]
        middle = [*data, *aad, None] if name == "encrypt" else [None, *data, *aad]
        if run(out, ctypes.byref(size), *middle, self.nonce(), self.key):
            raise ConnectionError("a record that does not fit its tag")
        return out.raw[:size.value]

    def seal(self, data, aad=b""):
        return self.call("encrypt", data, aad, len(data) + 16)

    def open(self, data, aad=b""):
        return self.call("decrypt", data, aad, len(data))


class Key:
    """A client's."""

    def __init__(self):
        self.secret = os.urandom(32)
        self.public = x25519(self.secret)
        self.text = base64.b64encode(self.public).decode()


class NoiseWire(Wire):
    """A session under a key; server is its public key as text."""

    def __init__(self, path, key, server, transport=Cipher, **more):
        self.key, self.server, self.transport = key, base64.b64decode(server), transport
        self.plain = b""
        self.sending = None
        super().__init__(path, hello=HELLO[:10] + b"\1" + HELLO[11:], **more)

    def mix_hash(self, data):
        self.h = hashlib.sha256(self.h + data).digest()

    def mix_key(self, shared):
        first = hmac.digest(hmac.digest(self.chain, shared, "sha256"), b"\1", "sha256")
        self.cipher = Cipher(hmac.digest(hmac.digest(self.chain, shared, "sha256"), first + b"\2", "sha256"))
        self.chain = first

    def seal(self, data):
        out = self.cipher.seal(data, self.h)
        self.mix_hash(out)
        return out

    def opened(self, answer):
        self.h = self.chain = b"Noise_XK_25519_ChaChaPoly_SHA256"
        self.mix_hash(HELLO[:10] + b"\1" + HELLO[11:] + answer)
        self.mix_hash(self.server)
        secret = os.urandom(32)
        public = x25519(secret)
        self.mix_hash(public)
        self.mix_key(x25519(secret, self.server))
        self.socket.sendall(public + self.seal(b""))
        theirs = super().take(48)
        self.mix_hash(theirs[:32])
        self.mix_key(x25519(secret, theirs[:32]))
        assert self.cipher.open(theirs[32:], self.h) == b""
        self.mix_hash(theirs[32:])
        static = self.seal(self.key.public)
        self.mix_key(x25519(self.key.secret, theirs[:32]))
        self.socket.sendall(static + self.seal(b""))
        temp = hmac.digest(self.chain, b"", "sha256")
        first = hmac.digest(temp, b"\1", "sha256")
        self.sending, self.receiving = self.transport(first), self.transport(hmac.digest(temp, first + b"\2", "sha256"))

    def send_frame(self, message):
        data = frame(message)
        for i in range(0, len(data), 65519):
            record = self.sending.seal(data[i:i + 65519])
            self.socket.sendall(struct.pack("<H", len(record)) + record)

    def take(self, n):
        if not self.sending:
            return super().take(n)
        while len(self.plain) < n:
            self.plain += self.receiving.open(super().take(struct.unpack("<H", super().take(2))[0]))
        out, self.plain = self.plain[:n], self.plain[n:]
        return out
