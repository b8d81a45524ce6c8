#!/usr/bin/env python3
"""Bytes written for each byte ingested, in a small form of tests/bench/write_amplification.py: at most six; and on disk afterwards: at most three."""
import itertools
import os
import random
import signal
import struct
import unittest

from harness import Daemon, main
from wire import ADD, CREATE, Wire, add, document
from writes import ingested_bytes, written_at_end

N, DIM = 8000, 384
AT_MOST = 6
# Texts once and words' index, vectors twice (store and file) and as codes, links.
DISK_AT_MOST = 3


class WriteAmplification(unittest.TestCase):
    def ingest(self, w, n_per_request):
        """N documents of about 80 words out of 20,000, as frequent as in language; bytes of all that came with them."""
        r, n_bytes = random.Random(1), 0
        ranks = range(1, 20001)
        words, weights = [f"word{i}" for i in ranks], list(itertools.accumulate(1 / i for i in ranks))
        for at in range(0, N, n_per_request):
            docs = []
            for i in range(at, at + n_per_request):
                d = {"id": f"d{i}", "title": f"title {i}", "text": " ".join(r.choices(words, cum_weights=weights, k=80))}
                docs.append(document(d["id"], d["text"], title=d["title"],
                                     vector=struct.pack(f"<{DIM}f", *(b - 127.5 for b in r.randbytes(DIM)))))
                n_bytes += ingested_bytes(d) + 4 * DIM
            reply = w.call(ADD, add("c", docs))
            self.assertEqual((reply.code, 4 in reply.body(ADD)), (0, False), reply.message)
        return n_bytes

    def test_ingest(self):
        """From the daemon's start to the end of its clean stop."""
        with Daemon() as d:
            with Wire(d.socket) as w:
                self.assertEqual(w.call(CREATE, [(1, "c"), (2, DIM), (4, 1)]).code, 0)
                ingested = self.ingest(w, 200)
            d.process.send_signal(signal.SIGTERM)
            written = written_at_end(d.process)
            self.assertEqual(d.process.returncode, 0)
            print(f"{ingested / 1e6:.1f} MB ingested, {written / 1e6:.1f} written: {written / ingested:.2f}")
            self.assertGreater(written, ingested)  # or it was not counted
            self.assertLessEqual(written, AT_MOST * ingested)
            taken = sum(os.lstat(os.path.join(folder, name)).st_blocks * 512 for folder, _, names in os.walk(d.data) for name in names
                        if name != "reserve")
            print(f"{taken / 1e6:.1f} MB on disk: {taken / ingested:.2f}")
            self.assertLessEqual(taken, DISK_AT_MOST * ingested)


if __name__ == "__main__":
    main()
