#!/usr/bin/env python3
"""What was acknowledged survives kill -9, and a restart neither loses it nor embeds it again."""
import json
import os
import random
import struct
import subprocess
import threading
import time
import unittest

from harness import Daemon, LATENT, START_S, main, needs_faults
from wire import ADD, CREATE, DELETE, GET, SEARCH, Wire, add, document as wire_document, unpack

ROUNDS = int(os.environ.get("LATENTD_KILLS", "15"))
IDS = {"c": 240, "v": 160}  # in "v" clients bring the vectors
DIM = 40
WORDS = ("river bridge tower garden engine violin harbour winter lantern orchard copper falcon meadow thunder "
         "library castle desert island market window").split()


def document(i):
    r = random.Random(i)
    return {"id": f"doc-{i}", "text": " ".join(r.choice(WORDS) for _ in range(12)), "metadata": {"n": i}}


def text_of(coll, i, version):
    r = random.Random(f"{coll} {i} {version}")
    return f"{coll}{i}x{version} " + " ".join(r.choice(WORDS) for _ in range(12))


def vector_of(text):
    r = random.Random(text)
    return struct.pack(f"<{DIM}f", *(r.uniform(-1, 1) for _ in range(DIM)))


class World:
    """What the daemon acknowledged: for each document its version, 0 for none, and whether search has to find it at once. A request
    that was under way when the daemon died leaves two possibilities for each of its documents, until one is seen."""

    def __init__(self, rng):
        self.random = rng
        self.version = {(c, i): (0, True) for c in IDS for i in range(IDS[c])}
        self.last = dict.fromkeys(self.version, 0)
        self.open = {}
        self.n = {"add": 0, "add --async": 0, "delete": 0}
        self.n_open = self.n_kept = 0
        self.error = None

    def work(self, path):
        try:
            with Wire(path) as w:
                while True:
                    self.request(w)
        except (OSError, ConnectionError):
            pass  # killed
        except Exception as e:  # pylint: disable=broad-except
            self.error = e

    def request(self, w):
        r = self.random
        coll = r.choice("ccv")
        ids = r.sample(range(IDS[coll]), r.choice((1, 3, 8, 20)))
        if r.random() < 0.3:
            ids = [i for i in ids if self.version[coll, i][0]]
            self.open = {(coll, i): (0, True) for i in ids}
            what, reply = "delete", w.call(DELETE, [(1, coll)] + [(2, str(i)) for i in ids]) if ids else None
        else:
            later = r.random() < 0.3
            for i in ids:
                self.last[coll, i] += 1
            self.open = {(coll, i): (self.last[coll, i], not later or coll == "v") for i in ids}
            docs = [wire_document(str(i), text_of(coll, i, self.last[coll, i]),
                                  **({"vector": vector_of(text_of(coll, i, self.last[coll, i]))} if coll == "v" else {})) for i in ids]
            what, reply = "add --async" if later else "add", w.call(ADD, add(coll, docs, wait_accepted=later))
        if reply:
            assert reply.code == 0 and 4 not in (reply.body(ADD) or {}), (what, reply.message)
            self.n[what] += 1
        self.version.update(self.open)
        self.open = {}

    def check(self, test, d):
        with Wire(d.socket) as w:
            self.n_open += bool(self.open)
            for coll in IDS:
                there = {}
                for data in w.call(GET, [(1, coll)] + [(2, str(i)) for i in range(IDS[coll])]).body(GET).get(1, []):
                    doc = unpack(data)
                    there[int(doc[1][0])] = doc[2][0].decode()
                for i in range(IDS[coll]):
                    version, found = self.version[coll, i]
                    if (coll, i) in self.open:
                        maybe = self.open[coll, i][0]
                        if there.get(i) == (text_of(coll, i, maybe) if maybe else None):
                            self.n_kept += maybe != version
                            self.version[coll, i] = version, found = maybe, not maybe or coll == "v"
                    test.assertEqual(there.get(i), text_of(coll, i, version) if version else None, (coll, i, version))
                for i in self.random.sample(range(IDS[coll]), 12):
                    self.check_found(test, w, coll, i)
            self.open = {}

    def check_found(self, test, w, coll, i):
        """By its own vector and by its own word; the version before it by neither."""
        version, must = self.version[coll, i]
        if version and must:
            test.assertEqual(self.hits(w, coll, text_of(coll, i, version), 1)[:1], [text_of(coll, i, version)])
            test.assertEqual(self.hits(w, coll, f"{coll}{i}x{version}", 2), [text_of(coll, i, version)])
        for old in range(1, self.last[coll, i] + 1)[-3:]:
            if old != version and must:
                test.assertEqual(self.hits(w, coll, f"{coll}{i}x{old}", 2), [])
                test.assertNotIn(text_of(coll, i, old), self.hits(w, coll, text_of(coll, i, old), 1))

    @staticmethod
    def hits(w, coll, text, mode):
        """Texts, best first. mode: 1 dense, 2 words."""
        fields = [(1, coll), (4, 3), (5, mode)] + ([(3, vector_of(text))] if coll == "v" and mode == 1 else [(2, text)])
        return [unpack(h)[7][0].decode() for h in w.call(SEARCH, fields).body(SEARCH).get(1, [])]


class Durability(unittest.TestCase):
    def test_kill(self):
        """Documents are added, replaced and deleted by a client that records what was acknowledged; the daemon is killed at a random
        moment, over and over on the same folder. In every other round graphs are saved and the log is emptied all the time."""
        seed = int(os.environ.get("LATENTD_SEED", "1"))
        print(f"seed {seed} (LATENTD_SEED sets it), {ROUNDS} kills (LATENTD_KILLS)")
        world = World(random.Random(seed))
        with Daemon() as d:
            d.latent("collection", "create", "c")
            with Wire(d.socket) as w:
                self.assertEqual(w.call(CREATE, [(1, "v"), (2, DIM), (4, 1)]).code, 0)
            n = 0
            while n < ROUNDS or not min(world.n.values()):  # a slow machine may need more, to have acknowledged one of each
                self.assertLess(n, 20 * ROUNDS, world.n)
                client = threading.Thread(target=world.work, args=(d.socket,))
                client.start()
                time.sleep(world.random.uniform(0, 0.3))
                d.kill()
                client.join()
                self.assertIsNone(world.error)
                d.env["LATENTD_FAULT"] = "" if n % 2 else "maintain.due=always,maintain.save=always"
                d.start()
                world.check(self, d)
                n += 1
            print(f"{n} kills, {world.n} acknowledged requests, {world.n_open} under way when killed, {world.n_kept} documents of them durable")
            log = d.log_text()
            self.assertNotIn(" warn ", log)
            self.assertNotIn(" error ", log)
            self.assertEqual(d.stop(), 0)
            got = subprocess.run([LATENT, "check", "--data", d.data], capture_output=True, text=True)
            self.assertEqual(got.returncode, 0, got.stdout)
            d.start()

    def test_restart_embeds_nothing_again(self):
        with Daemon() as d:
            d.latent("collection", "create", "c")
            d.add("c", [document(i) for i in range(300)])
            d.kill()
            d.start()
            s = d.status()
            self.assertEqual(s["queue"]["texts_done"], 0)
            self.assertEqual(s["collections"][0]["pending_chunks"], 0)
            self.assertEqual(len(d.search("c", "--mode", "dense", "-k", "10", "river bridge")), 10)

    def test_async_add_is_finished_after_a_kill(self):
        with Daemon() as d:
            d.latent("collection", "create", "c")
            docs = [document(i) for i in range(1000)]
            d.add("c", docs, "--async")
            d.kill()
            d.start()
            self.wait_for(d, lambda c: not c["pending_chunks"])
            info = d.json_lines("collection", "info", "c", "--json")[0]
            self.assertEqual((info["documents"], info["pending_chunks"]), (1000, 0))
            self.assertEqual(d.search("c", "--mode", "dense", docs[999]["text"])[0]["score"] > 0.5, True)

    @needs_faults
    def test_a_graph_that_cannot_be_saved(self):
        """Searches and writes go on; status says what is wrong and since when, until it is over."""
        with Daemon(env={"LATENTD_FAULT": "graph.segment.write=always,maintain.due=always,maintain.save=always"}) as d:
            self.assertEqual(d.status()["warning"], "")
            d.latent("collection", "create", "c")
            d.add("c", [document(i) for i in range(20)])
            end = time.monotonic() + START_S
            while not d.status()["warning"]:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.05)
            self.assertRegex(d.status()["warning"], r"^collection c: its graph has not been saved for \d+ s: \S+/graph/1/\S+: no space left")
            self.assertIn("warning:     collection c", d.latent("status").stdout)
            d.add("c", [document(20)])
            self.assertEqual(d.search("c", "--mode", "dense", "-k", "1", document(20)["text"])[0]["id"], "doc-20")
            d.kill()
            d.env["LATENTD_FAULT"] = ""
            d.start()
            self.assertEqual(d.status()["warning"], "")
            self.assertEqual(d.search("c", "--mode", "dense", "-k", "1", document(20)["text"])[0]["id"], "doc-20")

    @needs_faults
    def test_writes_go_on_while_a_graph_is_saved(self):
        """A save stands still in its middle: what is added, replaced and deleted meanwhile is acknowledged and found, and all of it is
        there after a kill at that point. The save of the start that follows ends."""
        with Daemon() as d:
            d.latent("collection", "create", "c")
            d.add("c", [document(i) for i in range(300)])
            self.assertEqual(d.stop(), 0)
            for n, held in enumerate((2, 5, 8), 1):  # passes of the save before it stands still
                d.env["LATENTD_FAULT"] = f"maintain.due=always,maintain.save=always,save.hold:{held}=always"
                d.start()
                first = 1000 * held
                d.add("c", [document(first)])
                self.wait_for(d, lambda c: c["compaction"]["running"])
                d.add("c", [document(first + i) for i in range(1, 40)])
                d.latent("delete", "-c", "c", f"doc-{first}", f"doc-{held}")
                self.assertTrue(d.json_lines("collection", "info", "c", "--json")[0]["compaction"]["running"])
                for again in range(2):
                    for i in (1, 20, 39):
                        self.assertEqual(d.search("c", "--mode", "dense", "-k", "1", document(first + i)["text"])[0]["id"], f"doc-{first + i}")
                    for gone in (first, held):
                        self.assertNotIn(f"doc-{gone}", [h["id"] for h in d.search("c", "-k", "10", document(gone)["text"])])
                    self.assertEqual(d.json_lines("collection", "info", "c", "--json")[0]["documents"], 300 + 38 * n)
                    d.kill()
                    d.env["LATENTD_FAULT"] = "maintain.due=always,maintain.save=always"
                    d.start()
                self.wait_for(d, lambda c: c["compaction"]["last_ms"])
                self.assertEqual(d.stop(), 0)
            self.assertNotIn(" error ", d.log_text())

    def wait_for(self, d, true_of):
        end = time.monotonic() + START_S
        while not true_of(d.json_lines("collection", "info", "c", "--json")[0]):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)

    def test_clean_stop_reopens_without_work(self):
        with Daemon() as d:
            d.latent("collection", "create", "c")
            d.add("c", [document(i) for i in range(500)])
            self.assertEqual(d.stop(), 0)
            d.start()
            info = d.json_lines("collection", "info", "c", "--json")[0]
            self.assertFalse(info["degraded"])
            self.assertGreater(info["bytes_index"], 0)
            self.assertEqual(d.status()["queue"]["texts_done"], 0)


if __name__ == "__main__":
    main()
