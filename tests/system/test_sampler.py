#!/usr/bin/env python3
"""Live searches repeated at leisure: `collection info` and `status` tell recall, and how saving the graph goes."""
import json
import random
import time
import unittest

from harness import START_S, Daemon, main

N, DIM, N_SEARCHES = 4000, 24, 60
WAIT_S = START_S


def vector(generator):
    return [round(generator.uniform(-1, 1), 4) for _ in range(DIM)]


class Sampler(unittest.TestCase):
    def fill(self, d):
        generator = random.Random(3)
        d.latent("collection", "create", "v", "--dim", str(DIM), "--vectors-only")
        d.add("v", [{"id": str(i), "text": "", "vector": vector(generator)} for i in range(N)])

    def ask(self, d):
        generator = random.Random(4)
        for _ in range(N_SEARCHES):
            hits = d.search("v", "--mode", "dense", "--vector", json.dumps(vector(generator)), "--ef", "1000", "-k", "5")
            self.assertGreaterEqual(len(hits), 5)

    def info(self, d):
        return d.json_lines("collection", "info", "v", "--json")[0]

    def test_recall_is_told(self):
        with Daemon("--sample-every", "10") as d:
            self.fill(d)
            self.assertIsNone(self.info(d)["recall"])
            self.assertIn("no search sampled yet", d.latent("collection", "info", "v").stdout)
            self.ask(d)
            until = time.monotonic() + WAIT_S
            while self.info(d)["recall_samples"] < N_SEARCHES // 10 and time.monotonic() < until:
                time.sleep(0.1)
            got = self.info(d)
            self.assertEqual((got["recall"], got["recall_samples"]), (1, N_SEARCHES // 10))
            self.assertIn("recall:      1.000 in 6 sampled searches", d.latent("collection", "info", "v").stdout)
            self.assertEqual(d.status()["collections"][0]["recall_samples"], N_SEARCHES // 10)

    def test_none_when_told_so(self):
        with Daemon("--sample-every", "0") as d:
            self.fill(d)
            self.ask(d)
            self.assertEqual(self.info(d)["recall_samples"], 0)

    def test_compaction_is_told(self):
        with Daemon() as d:
            self.fill(d)
            got = self.info(d)["compaction"]
            self.assertEqual((got["last_ms"], got["bytes"], got["failed_since_ms"], got["error"]), (0, 0, 0, ""))
            self.assertEqual(got["unsaved"], N)
            self.assertIn("none since the daemon's start", d.latent("collection", "info", "v").stdout)
            d.latent("delete", "-c", "v", *[str(i) for i in range(N // 4)]) # more than 4,096 changes now
            before, until = time.time(), time.monotonic() + WAIT_S
            while not self.info(d)["compaction"]["last_ms"] and time.monotonic() < until:
                time.sleep(0.1)
            got = self.info(d)["compaction"]
            self.assertLess(abs(got["last_ms"] / 1000 - before), WAIT_S + 60)
            self.assertGreater(got["bytes"], N // 2 * DIM)
            self.assertEqual((got["unsaved"], got["failed_since_ms"], got["running"]), (0, 0, False))
            self.assertIn("last success", d.latent("collection", "info", "v").stdout)


if __name__ == "__main__":
    main()
