#!/usr/bin/env python3
"""A start that has to make its graphs anew: it answers meanwhile and says how far it is."""
import glob
import os
import random
import re
import shutil
import struct
import subprocess
import time
import unittest

from cgroup import Cgroup
from harness import CALL_S, LATENT, SANITIZED, START_S, Daemon, main, needs_faults
from wire import ADD, CREATE, DELETE, SEARCH, STATUS, Wire, add, document, unpack

DIM = 64
WIDE, MANY = 1000, 6000  # the vectors take several times what an idle daemon does
RECOVERING, READY = 3, 4  # proto/latent.proto


def vector(i, dim=DIM):
    return struct.pack(f"<{dim}f", *(b - 127.5 for b in random.Random(i).randbytes(dim)))


def fill(w, name, n, first=0):
    """Documents with vectors of their own."""
    for at in range(first, n, 100):
        reply = w.call(ADD, add(name, [document(f"{i}", f"number{i}", vector=vector(i)) for i in range(at, min(n, at + 100))]))
        assert reply.code == 0 and 4 not in reply.body(ADD), reply.message


def memory(d, what="RssAnon"):
    """Bytes that the daemon has of its own; or another of proc(5)'s figures."""
    with open(f"/proc/{d.process.pid}/status", encoding="ascii") as f:
        return 1024 * int(re.search(what + r":\s+(\d+)", f.read()).group(1))


class Recovery(unittest.TestCase):
    @unittest.skipIf(SANITIZED, "a sanitizer's own memory is in the way")
    def test_memory(self):
        """Making a lost graph anew takes half the memory that ingest took, at most: in anonymous memory above what an idle daemon has;
        and it gets through with half of all that ingest had as the limit, page cache included."""
        with Daemon(env={"MALLOC_PERTURB_": "0"}) as d:  # it would touch what is allocated and not used
            with Wire(d.socket) as w:
                self.assertEqual(w.call(CREATE, [(1, "c"), (2, WIDE), (4, 1), (6, 40)]).code, 0)
                idle = memory(d)
                for at in range(0, MANY, 100):
                    reply = w.call(ADD, add("c", [document(f"{i}", f"number{i}", vector=vector(i, WIDE)) for i in range(at, at + 100)]))
                    self.assertEqual((reply.code, 4 in reply.body(ADD)), (0, False), reply.message)
                ingest, most = memory(d), memory(d, "VmHWM")
            self.rebuild(d)
            again = memory(d)
            print(f"memory of its own: idle {idle >> 20} MiB, after ingest {ingest >> 20}, after making the graph anew {again >> 20}")
            self.assertLessEqual(2 * (again - idle), ingest - idle)
            print(f"at most resident, files' pages included: {most >> 20} MiB")
            try:
                group = Cgroup(most // 2)
            except OSError as e:
                print(f"not run with a limit, no control group here: {e}")
                return
            try:
                d.wrap = group.wrap
                self.rebuild(d)
                self.rebuild(d, lose=False)
                d.kill()
            finally:
                d.stop()
                group.close()
            print(f"again with a limit of {most >> 21} MiB")

    def rebuild(self, d, lose=True):
        """Kills the daemon; with its graph's files gone, or only what was not saved yet, it comes up whole."""
        d.kill()
        if lose:
            shutil.rmtree(os.path.join(d.data, "graph", "1"))
        d.start()
        with Wire(d.socket) as w:
            for i in (0, MANY // 2, MANY - 1):
                hit = w.call(SEARCH, [(1, "c"), (3, vector(i, WIDE)), (4, 1), (5, 1)]).body(SEARCH)
                self.assertEqual((unpack(hit[1][0])[1], hit.get(6)), ([str(i).encode()], None))

    def nearest(self, w, name, i):
        return unpack(w.call(SEARCH, [(1, name), (3, vector(i)), (4, 1), (5, 1)]).body(SEARCH)[1][0])[1][0].decode()

    def percentages(self, w):
        """Of every status until all is recovered."""
        seen, end = [], time.monotonic() + START_S
        while True:
            self.assertLess(time.monotonic(), end, seen)
            body = w.call(STATUS, []).body(STATUS)
            phase, percent = body.get(2, [0])[0], body.get(3, [0])[0]
            if phase == READY:
                return seen, percent
            if phase == RECOVERING:
                seen.append(percent)

    def test_repaired_once(self):
        """After a crash with a damaged graph, and with strange files in every folder: the first start mends what there is to mend and
        clears its own left-overs away, the second and third have nothing to say."""
        with Daemon() as d:
            with Wire(d.socket) as w:
                self.assertEqual(w.call(CREATE, [(1, "c"), (2, DIM), (4, 1)]).code, 0)
                fill(w, "c", 100)
            self.assertEqual(d.stop(), 0)
            d.start()
            with Wire(d.socket) as w:
                fill(w, "c", 130, 100)
            d.kill()
            segment, = glob.glob(os.path.join(d.data, "graph", "1", "segment-*.seg"))
            with open(segment, "r+b") as f:
                f.write(os.urandom(5000))
            graph = os.path.join(d.data, "graph", "1")
            for folder in (d.data, os.path.dirname(graph), graph):
                for name in ("notes.txt", ".atomicwrite-x", "MANIFEST.tmp", "store.db.tmp"):
                    with open(os.path.join(folder, name), "wb") as f:
                        f.write(os.urandom(100))
            said = []
            for _ in range(3):
                before = len(d.log_text())
                d.start()
                with Wire(d.socket) as w:
                    self.assertEqual([self.nearest(w, "c", i) for i in (0, 129)], ["0", "129"])
                self.assertEqual(d.stop(), 0)
                said.append(d.log_text()[before:])
            self.assertIn("segment-", said[0])
            self.assertIn("index is complete", said[0])
            for folder in (d.data, os.path.dirname(graph), graph):
                for name in ("notes.txt", ".atomicwrite-x", "store.db.tmp"):
                    self.assertIn(f"{folder}/{name}: not latentd's, left alone", said[0])
            for text in said[1:]:
                for word in (" warn ", " error ", "index is complete", "rebuilt"):
                    self.assertNotIn(word, text)
            self.assertFalse(os.path.exists(os.path.join(graph, "MANIFEST.tmp")))
            for folder in (d.data, os.path.dirname(graph), graph):
                self.assertTrue(os.path.exists(os.path.join(folder, "notes.txt")))

    def test_recover(self):
        """With a model that is not there and a graph of noise: what is stored can be read, exported, deleted and found by words; what
        needs a model is refused for good; the next normal start has it all."""
        docs = [{"id": f"{i}", "text": f"document number{i} about trains", "title": f"t{i}", "metadata": {"n": i}} for i in range(1500)]
        with Daemon() as d:
            d.latent("collection", "create", "c")
            d.latent("collection", "create", "other", "--vectors-only", "--dim", "4")
            d.add("c", docs[:50])
            d.add("c", docs[50:], "--async")
            d.kill()
            segments = glob.glob(os.path.join(d.data, "graph", "*", "*"))
            for path in segments:
                with open(path, "wb") as f:
                    f.write(os.urandom(9000))
            before = {path: os.stat(path).st_mtime_ns for path in segments}
            normal = d.args
            d.args = ["--recover", "--model", "/nowhere/absent.gguf"]
            d.start()
            status = d.status()
            self.assertEqual((status["model"], status["device"], status["percent"]), ("", "", 100))
            self.assertIn("--recover", status["warning"])
            self.assertRegex(d.latent("status").stdout, "warning: .*--recover")
            self.assertEqual([(c["name"], c["index_kind"], c["degraded"]) for c in status["collections"]],
                             [("c", "exact", True), ("other", "exact", True)])
            self.assertEqual(sorted(d.json_lines("get", "-c", "c", "--all"), key=lambda x: int(x["id"])), docs)
            self.assertEqual(d.json_lines("get", "-c", "c", "7"), docs[7:8])
            self.assertEqual(d.json_lines("get", "-c", "other", "--all"), [])
            hits = d.search("c", "-k", "1", "number7")
            self.assertEqual([h["id"] for h in hits], ["7"])
            for args in (["add", "-c", "c", "--jsonl", "-"], ["embed"], ["collection", "create", "new"],
                         ["search", "-c", "c", "--mode", "dense", "trains"]):
                got = d.latent(*args, stdin='{"id": "x", "text": "a text"}\n', check=False)
                self.assertEqual(got.returncode, 1, args)
                self.assertIn("--recover", got.stderr, args)
            with Wire(d.socket) as w:
                reply = w.call(ADD, add("c", [document("x", "a text")]))
                self.assertEqual((reply.code, reply.retryable), (24, False))  # LT_EUNSUPPORTED
            d.latent("delete", "-c", "c", "3", "4")
            d.latent("collection", "drop", "other")
            self.assertEqual({path: os.stat(path).st_mtime_ns for path in segments if "/1/" in path},
                             {path: t for path, t in before.items() if "/1/" in path})
            self.assertEqual(d.stop(), 0)
            d.args = normal
            d.start()
            end = time.monotonic() + START_S
            while d.status()["queue"]["pending_chunks"]:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.05)
            self.assertEqual([(c["name"], c["documents"]) for c in d.status()["collections"]], [("c", 1498)])
            self.assertEqual(d.search("c", "--mode", "dense", "-k", "1", docs[7]["text"])[0]["id"], "7")
            self.assertEqual(d.stop(), 0)
            got = subprocess.run([LATENT, "check", "--data", d.data], capture_output=True, text=True, timeout=CALL_S)
            self.assertEqual(got.returncode, 0, got.stdout)

    @needs_faults
    def test_progress(self):
        """Two graphs, one lost, the other without its last part; documents are added and deleted meanwhile. The percentage never falls."""
        with Daemon("--index-threads", "1") as d:
            with Wire(d.socket) as w:
                for name in ("lost", "behind"):
                    self.assertEqual(w.call(CREATE, [(1, name), (2, DIM), (4, 1)]).code, 0)
                    fill(w, name, 200)
            self.assertEqual(d.stop(), 0)
            d.start()
            with Wire(d.socket) as w:
                fill(w, "behind", 280, 200)
            d.kill()
            shutil.rmtree(os.path.join(d.data, "graph", "1"))
            d.env["LATENTD_FAULT"] = "refill.slow=always"
            d.wait_for = None
            d.start()
            d.wait("")
            with Wire(d.socket) as w:
                before = {}
                while before.get(2, [0])[0] != RECOVERING:
                    before = w.call(STATUS, []).body(STATUS)
                self.assertEqual([self.nearest(w, "lost", i) for i in (0, 199)], ["0", "199"])
                fill(w, "lost", 220, 200)
                self.assertEqual(w.call(DELETE, [(1, "behind")] + [(2, f"{i}") for i in range(1, 150)]).code, 0)
                seen, last = self.percentages(w)
                seen.insert(0, before.get(3, [0])[0])
                self.assertEqual(last, 100)
                self.assertEqual(seen, sorted(seen))
                self.assertLess(max(seen), 100)
                self.assertGreater(len(set(seen)), 3, seen)
                self.assertEqual([self.nearest(w, "lost", i) for i in (0, 199, 219)], ["0", "199", "219"])
                self.assertEqual([self.nearest(w, "behind", i) for i in (0, 279)], ["0", "279"])
            self.assertEqual(d.log_text().count("index is complete"), 2)
            self.assertEqual(len(glob.glob(os.path.join(d.data, "graph", "*"))), 2)


if __name__ == "__main__":
    main()
