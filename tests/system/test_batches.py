#!/usr/bin/env python3
"""What a client sends at once is embedded at once: larger client batches never make more batches of the device, or emptier ones."""
import os
import random
import unittest

from harness import QUICK_MODEL, Daemon, main, needs_faults
from wire import ADD, CREATE, EMBED, Wire, add, document, unpack

SIZES = (1, 4, 8, 16, 64, 256)
N = 256
INTERACTIVE_MAX, BULK_TOKENS_MIN = 4, 256  # daemon/device.h, daemon/device.c


class Batches(unittest.TestCase):
    def counters(self):
        queue = self.d.status()["queue"]
        return [queue[k] for k in ("texts_done", "tokens_done", "batches_done")]

    def embed(self, texts, size):
        """Tokens of each text."""
        tokens = []
        for at in range(0, N, size):
            got = self.w.call(EMBED, [(1, [(1, t)]) for t in texts[at:at + size]])
            self.assertEqual(got.code, 0, got.message)
            tokens += [unpack(e)[2][0] for e in got.body(EMBED)[1]]
        return tokens

    def add(self, texts, size):
        name = f"by{size}"
        self.assertEqual(self.w.call(CREATE, [(1, name)]).code, 0)
        for at in range(0, N, size):
            got = self.w.call(ADD, add(name, [document(str(at + i), t) for i, t in enumerate(texts[at:at + size])]))
            self.assertEqual((got.code, got.body(ADD)[3]), (0, [min(size, N - at)]), got.message)

    def expected(self, tokens, size, few):
        """Batches of the device: each request's own, filled up to the least that bulk work has, and `few` texts in one."""
        n = 0
        for at in range(0, N, size):
            left = 0
            for k, t in enumerate(tokens[at:at + size]):
                if k == 0 or (size > few and left < t):
                    n, left = n + 1, BULK_TOKENS_MIN
                left -= t
        return n

    @needs_faults
    def test_larger_batches_are_fuller(self):
        """With the device's speed left unmeasured, on which the size of bulk batches depends."""
        seed = int(os.environ.get("LATENTD_SEED", "48"))
        print(f"LATENTD_SEED={seed}")
        r = random.Random(seed)
        texts = [" ".join(r.choices(("red", "green", "blue", "plum"), k=r.randint(1, 12))) for _ in range(N)]
        with Daemon(*QUICK_MODEL, env={"LATENTD_FAULT": "device.unmeasured=always"}) as self.d, Wire(self.d.socket) as self.w:
            tokens = self.embed(texts, N)
            self.assertLessEqual(max(tokens) * INTERACTIVE_MAX, BULK_TOKENS_MIN)
            self.assertGreater(sum(tokens), 8 * BULK_TOKENS_MIN)
            for call, few in ((self.embed, INTERACTIVE_MAX), (self.add, 0)):
                got = []
                for size in SIZES:
                    before = self.counters()
                    call(texts, size)
                    n_texts, n_tokens, n_batches = (b - a for a, b in zip(before, self.counters()))
                    self.assertEqual((n_texts, n_tokens), (N, sum(tokens)), (call.__name__, size))
                    got.append(n_batches)
                print(call.__name__, dict(zip(SIZES, got)))
                self.assertEqual(got, [self.expected(tokens, size, few) for size in SIZES])
                self.assertEqual(got, sorted(got, reverse=True))
                self.assertEqual(got[0], N)


if __name__ == "__main__":
    main()
