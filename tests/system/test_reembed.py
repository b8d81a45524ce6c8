#!/usr/bin/env python3
"""A collection of another model with the same dimension: refused, then embedded anew in its place."""
import json
import os
import subprocess
import threading
import unittest

from harness import CALL_S, LATENT, SRC, Daemon, main
from wire import ADD, CREATE, INFO, REPLACE, SEARCH, Wire, add, document

OLD, NEW = (os.path.join(SRC, "tests", "golden", "decoders", f"{name}.gguf") for name in ("mistral", "llama"))
EINVAL, ENOTFOUND, EMODEL, EBUSY = 1, 4, 13, 16  # base/err.h
N = 700


def docs():
    out = [{"id": f"d{i}", "title": f"title {i}", "text": f"text number{i} of the library", "metadata": {"n": i}} for i in range(N)]
    out[5]["text"] = "the index of the library " * 300  # more than one chunk
    out[6] = {"id": "d6", "text": "neither title nor metadata"}
    return out


class Reembed(unittest.TestCase):
    def swap(self, d):
        """Makes a collection by the old model, and starts the daemon with the new one."""
        dim, fingerprint = d.status()["dim"], d.status()["fingerprint"]
        d.latent("collection", "create", "c", "--metric", "ip", "--m", "9", "--codes", "1bit")
        d.add("c", docs())
        self.assertEqual(d.stop(), 0)
        d.args = ["--model", NEW, "--device", "cpu"]
        d.start()
        self.assertEqual(d.status()["dim"], dim)
        self.assertNotEqual(d.status()["fingerprint"], fingerprint)

    def info(self, d, name="c"):
        return d.json_lines("collection", "info", name, "--json")[0]

    def check_served_by_words(self, d):
        self.assertEqual([h["id"] for h in d.search("c", "--mode", "text", "-k", "1", "number77")], ["d77"])
        got = d.latent("search", "-c", "c", "--mode", "dense", "number77", check=False)
        self.assertEqual(got.returncode, 1)
        self.assertIn("LATENT_EMODEL", got.stderr)
        self.assertIn("latent collection reembed NAME", got.stderr)
        got = d.add("c", [{"id": "new", "text": "x"}, {"id": "newer", "text": "y"}], check=False)
        self.assertIn("LATENT_EMODEL", got.stderr)
        self.assertEqual(got.stderr.count("latent collection reembed NAME"), 1, got.stderr)

    def check_new(self, d, want):
        k = self.info(d)
        self.assertEqual((k["fingerprint"], k["documents"], k["pending_chunks"]), (d.status()["fingerprint"], len(want), 0))
        self.assertEqual((k["metric"], k["m"], k["index_kind"]), ("ip", 9, "hnsw-1bit"))
        self.assertEqual([c["name"] for c in d.status()["collections"]], ["c"])
        got = {g["id"]: g for g in d.json_lines("get", "-c", "c", "--all")}
        self.assertEqual({i: (g["text"], g.get("title", ""), g.get("metadata", {})) for i, g in got.items()},
                         {w["id"]: (w["text"], w.get("title", ""), w.get("metadata", {})) for w in want})
        for w in want[40:60]:
            vector, = d.json_lines("embed", stdin=f"{w['title']} {w['text']}\n")
            hit = d.search("c", "--mode", "dense", "--exact", "-k", "1", "--vector", json.dumps(vector["embedding"]))[0]
            self.assertEqual(hit["id"], w["id"])
        self.assertEqual([h["id"] for h in d.search("c", "-k", "1", "--mode", "text", "number77")], ["d77"])

    def test_in_its_place(self):
        with Daemon("--model", OLD) as d:
            self.swap(d)
            self.check_served_by_words(d)
            stop, failures, n_asked = threading.Event(), [], [0]

            def ask():
                with Wire(d.socket) as w:
                    while not stop.is_set():
                        reply = w.call(SEARCH, [(1, "c"), (2, "number77"), (4, 1), (5, 2)])
                        n_asked[0] += 1
                        if reply.code or not reply.body(SEARCH).get(1):
                            failures.append(reply.message or "no hit")

            asker = threading.Thread(target=ask)
            asker.start()
            got = d.latent("collection", "reembed", "c")
            stop.set()
            asker.join()
            self.assertIn(f"{N} documents of c embedded by", got.stderr)
            self.assertEqual((failures, n_asked[0] > 0), ([], True))
            self.check_new(d, docs())
            self.assertEqual({j["collection"] for j in d.json_lines("job", "list", "--json") if j["label"] == "reembed"}, {"c"})
            done = d.status()["queue"]["texts_done"]
            self.assertIn("already", d.latent("collection", "reembed", "c").stderr)
            self.assertEqual(d.status()["queue"]["texts_done"], done)
            self.assertEqual(d.stop(), 0)
            d.start()
            self.check_new(d, docs())

    def test_goes_on_where_it_was(self):
        """What an earlier run left is kept, what it had otherwise is mended, and what was deleted meanwhile does not come back."""
        with Daemon("--model", OLD) as d:
            self.swap(d)
            d.latent("collection", "create", "c.reembed", "--metric", "ip", "--m", "9", "--codes", "1bit")
            left = docs()[:400]
            left[3]["text"] = "another text"
            d.add("c.reembed", left + [{"id": "stray", "text": "not in the first"}])
            d.latent("delete", "-c", "c", "d10", "d650")
            before = d.status()["queue"]["texts_done"]
            got = d.latent("collection", "reembed", "c")
            self.assertIn("going on with 401 documents", got.stderr)
            self.assertEqual(d.status()["queue"]["texts_done"] - before, N - 400 + 1 - 1)  # one mended, one of the rest deleted
            self.check_new(d, [w for w in docs() if w["id"] not in ("d10", "d650")])

    def test_killed_on_the_way(self):
        with Daemon("--model", OLD) as d:
            self.swap(d)
            run = subprocess.Popen([LATENT, "--socket", d.socket, "collection", "reembed", "c"], stderr=subprocess.DEVNULL)
            while run.poll() is None and not any(c["name"] == "c.reembed" and c["documents"] > 0 for c in d.status()["collections"]):
                pass
            d.kill()
            run.wait(CALL_S)
            d.start()
            if any(c["name"] == "c.reembed" for c in d.status()["collections"]):
                self.check_served_by_words(d)
                self.assertEqual(self.info(d)["documents"], N)
                d.latent("collection", "reembed", "c")
            self.check_new(d, docs())

    def test_refusals(self):
        with Daemon("--model", OLD) as d:
            self.swap(d)
            w = Wire(d.socket)
            self.addCleanup(w.socket.close)
            got = d.latent("collection", "reembed", "absent", check=False)
            self.assertIn("LATENT_ENOTFOUND", got.stderr)
            self.assertEqual(w.call(CREATE, [(1, "own"), (2, 4), (4, 1)]).code, 0)
            got = d.latent("collection", "reembed", "own", check=False)
            self.assertEqual(got.returncode, 1)
            self.assertIn("nothing in it is embedded", got.stderr)
            for args in (["reembed"], ["reembed", "a", "b"], ["reembed", "c", "--m", "4"], ["info", "c", "--on-long", "error"],
                         ["reembed", "x" * 57]):
                self.assertEqual(d.latent("collection", *args, check=False).returncode, 2, args)
            # a document that the new model does not take: the collection stays
            got = d.latent("collection", "reembed", "c", "--on-long", "error", check=False)
            self.assertEqual(got.returncode, 1)
            self.assertIn("LATENT_ETOOLONG", got.stderr)
            self.check_served_by_words(d)
            seq = w.call(INFO, [(1, "c")]).body(CREATE)[11][0]  # the reply is a Collection, as create's
            self.assertEqual(w.call(CREATE, [(1, "t"), (7, 1)]).code, 0)
            for name, by, at, code in (("c", "absent", seq, ENOTFOUND), ("absent", "c", seq, ENOTFOUND), ("c", "c", seq, EINVAL),
                                       ("c", "own", seq - 1, EBUSY), ("c", "t", seq, EINVAL)):
                self.assertEqual(w.call(REPLACE, [(1, name), (2, by), (3, at)]).code, code, (name, by))
            self.check_served_by_words(d)
            self.assertEqual(w.call(ADD, add("c.reembed", [document("q", "text")])).code, 0)
            self.assertEqual(w.call(REPLACE, [(1, "own"), (2, "c.reembed")]).code, EBUSY)  # own is not as of operation 0


if __name__ == "__main__":
    main()
