#!/usr/bin/env python3
"""A reranker beside the model: the scores of transformers by `latent rerank` and by the wire, searches in its order, limits, and files that are refused."""
import json
import os
import struct
import tempfile
import unittest

from harness import CALL_S, SRC, Daemon, main
from wire import CANCEL, RERANK, SEARCH, Wire, unpack

EINVAL, ENOTFOUND, ELIMIT, EUTF8, ETOOLONG, EEMPTY, ETIMEOUT, ECANCELLED, EUNSUPPORTED = 1, 4, 7, 8, 9, 10, 22, 23, 24  # base/err.h
TRUNCATE = 1
TEXTS_MAX, QUERY_MAX = 1000, 65536  # proto/maxima.h
LIMIT = 640  # tokens, the fixture's


def fixture(name):
    return os.path.join(SRC, "tests", "golden", "rerankers", name)


def decoder(name):
    return os.path.join(SRC, "tests", "golden", "decoders", name + ".gguf")


def cases(name):
    with open(fixture(name + ".json"), encoding="utf-8") as f:
        return json.load(f)["cases"]


def floats(data):
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def varints(data):
    out, n, shift = [], 0, 0
    for byte in data:
        n |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            out.append(n)
            n = shift = 0
    return out


def scores(w, query, texts, on_long=0, deadline_ms=0):
    """The reply, its scores, tokens used and seen, and {index: code}."""
    reply = w.call(RERANK, [(1, query)] + [(2, t) for t in texts] + [(3, on_long)], deadline_ms)
    body = reply.body(RERANK) or {}
    errors = {}
    for e in map(unpack, body.get(4, [])):
        errors[e.get(1, [0])[0]] = unpack(e[3][0])[1][0]
    return reply, floats(body.get(1, [b""])[0]), varints(body.get(2, [b""])[0]), varints(body.get(3, [b""])[0]), errors


class Rerank(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.d = Daemon("--model", decoder("qwen3"), "--reranker", fixture("qwen3-f32.gguf")).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.d.__exit__(None, None, None)

    def test_scores_and_order(self):
        for case in cases("qwen3-f32"):
            docs = case["documents"]
            lines = "".join(json.dumps({"id": str(i), "text": d["text"]}) + "\n" for i, d in enumerate(docs) if d["text"])
            got = self.d.json_lines("rerank", "--json", "--jsonl", "-", case["query"], stdin="\n \t\n" + lines + "\n")  # blank lines are none, as add has it
            want = sorted((i for i in range(len(docs)) if docs[i]["text"]), key=lambda i: -docs[i]["score"])
            self.assertEqual([int(g["id"]) for g in got], want)
            self.assertEqual([g["rank"] for g in got], list(range(1, len(want) + 1)))
            for g in got:
                d = docs[int(g["id"])]
                self.assertAlmostEqual(g["score"], d["score"], delta=1e-5)
                self.assertEqual((g["tokens"], g["tokens_seen"], g["truncated"]), (len(d["ids"]), len(d["ids"]), False))
                self.assertEqual(g["text"], d["text"])

    def test_encoders(self):
        """ModernBERT's, which see a pair and all of its tokens."""
        for name in ("modernbert-mean", "modernbert-cls"):
            with self.subTest(name), Daemon("--model", decoder("modernbert"), "--reranker", fixture(name + ".gguf")) as d:
                for case in cases(name):
                    docs = [x for x in case["documents"] if x["text"]]
                    lines = "".join(json.dumps({"id": str(i), "text": x["text"]}) + "\n" for i, x in enumerate(docs))
                    for g in d.json_lines("rerank", "--json", "--jsonl", "-", case["query"], stdin=lines):
                        self.assertAlmostEqual(g["score"], docs[int(g["id"])]["score"], delta=1e-3)
                        self.assertEqual(g["tokens"], len(docs[int(g["id"])]["ids"]))

    def test_every_text_by_the_wire(self):
        with Wire(self.d.socket) as w:
            for case in cases("qwen3-f32"):
                _, got, tokens, seen, errors = scores(w, case["query"], [d["text"] for d in case["documents"]])
                self.assertEqual(errors, {})
                self.assertEqual(tokens, [len(d["ids"]) for d in case["documents"]])
                self.assertEqual(seen, tokens)
                for score, d in zip(got, case["documents"], strict=True):
                    self.assertAlmostEqual(score, d["score"], delta=1e-5)
            reply, got, *_ = scores(w, "a question", [])
            self.assertEqual((reply.code, got), (0, []))

    def test_plain_lines(self):
        case = cases("qwen3-f32")[1]
        lines = "".join(d["text"] + "\n" for d in case["documents"])
        best = max(case["documents"], key=lambda d: d["score"])
        got = self.d.latent("rerank", "-k", "1", case["query"], stdin=lines).stdout
        self.assertEqual(got, f" 1. {best['score']:<7.4f} {best['text']}\n")
        self.assertEqual(len(self.d.latent("rerank", case["query"], stdin=lines).stdout.splitlines()), len(case["documents"]))

    def test_titles_go_before_texts(self):
        case = cases("qwen3-f32")[0]
        first, rest = case["documents"][0]["text"].split(" ", 1)
        got, = self.d.json_lines("rerank", "--json", "--jsonl", "-", case["query"], stdin=json.dumps({"id": "x", "title": first, "text": rest}) + "\n")
        self.assertAlmostEqual(got["score"], case["documents"][0]["score"], delta=1e-5)

    def test_one_more_text_changes_no_score(self):
        case = cases("qwen3-f32")[0]
        texts = [d["text"] for d in case["documents"]]
        with Wire(self.d.socket) as w:
            many = scores(w, case["query"], texts * 20)[1]
            for i, score in enumerate(many):
                self.assertAlmostEqual(score, case["documents"][i % len(texts)]["score"], delta=1e-5)

    def test_bad_lines_are_named(self):
        got = self.d.latent("rerank", "--jsonl", "-", "q", stdin='{"id":"a","text":"b"}\nno JSON\n{"id":"c"}\n', check=False)
        self.assertEqual((got.returncode, len(got.stdout.splitlines())), (1, 1))
        self.assertIn("line 2", got.stderr)
        self.assertIn("line 3", got.stderr)

    def test_usage(self):
        for args in ((), ("a", "b"), ("-k", "0", "q"), ("--json",), ("--nothing", "q")):
            self.assertEqual(self.d.latent("rerank", *args, stdin="", check=False).returncode, 2)
        self.assertEqual(self.d.latent("rerank", "q", "--jsonl", "/nowhere", check=False).returncode, 1)

    def test_too_long(self):
        words = "fox " * 2000
        with Wire(self.d.socket) as w:
            _, got, tokens, seen, errors = scores(w, "which fox", ["a", words, "b"])
            self.assertEqual((errors, got[1], tokens[1]), ({1: ETOOLONG}, 0, 0))
            self.assertGreater(seen[1], LIMIT)
            self.assertNotEqual(got[0], 0)
            _, cut, tokens, seen, errors = scores(w, "which fox", ["a", words, "b"], TRUNCATE)
            self.assertEqual((errors, tokens[1]), ({}, LIMIT))
            self.assertGreater(seen[1], LIMIT)
            self.assertEqual((cut[0], cut[2]), (got[0], got[2]))
            self.assertTrue(0 < cut[1] < 1)
            errors = scores(w, words, ["a", "b"], TRUNCATE)[4]  # the question is not cut
            self.assertEqual(errors, {0: ETOOLONG, 1: ETOOLONG})
        got = self.d.latent("rerank", "q", stdin="a\n" + words + "\n", check=False)
        self.assertEqual((got.returncode, len(got.stdout.splitlines())), (1, 1))
        self.assertIn("line 2: question and document have", got.stderr)
        got = self.d.latent("rerank", "--truncate", "q", stdin="a\n" + words + "\n")
        self.assertIn("1 text cut at", got.stderr)

    def test_bad_texts_fail_alone(self):
        with Wire(self.d.socket) as w:
            good = scores(w, "q", ["x", "y"])[1]
            reply, got, tokens, _, errors = scores(w, "q", ["a\0b", "x", b"\xff", "y", "\0"])
            self.assertEqual((reply.code, errors), (0, {0: EUTF8, 2: EUTF8, 4: EUTF8}))
            self.assertEqual((got[1], got[3]), tuple(good))
            self.assertEqual([n > 0 for n in tokens], [False, True, False, True, False])
            said = [unpack(unpack(e)[3][0])[2][0] for e in reply.body(RERANK)[4]]
            self.assertEqual(said, [b"the text has a NUL byte at offset 1", b"the text is not valid UTF-8 at byte 0", b"the text has a NUL byte at offset 0"])
            self.assertEqual(scores(w, "q\0", ["x"])[0].code, EUTF8)

    def test_limits(self):
        with Wire(self.d.socket) as w:
            self.assertEqual(scores(w, "q", ["x"] * (TEXTS_MAX + 1))[0].code, ELIMIT)
            self.assertEqual(scores(w, "q" * (QUERY_MAX + 1), ["x"])[0].code, ELIMIT)
            self.assertEqual(scores(w, "q" * QUERY_MAX, ["x"] * 600)[0].code, ELIMIT)
            self.assertEqual(scores(w, b"\xff", ["x"])[0].code, EUTF8)
            self.assertEqual(w.call(RERANK, [(1, "q"), (2, "x"), (3, 9)]).code, EINVAL)
            self.assertEqual(scores(w, "  ", ["x"])[4], {0: EEMPTY})
            self.assertEqual(len(scores(w, "q", ["x"] * TEXTS_MAX)[1]), TEXTS_MAX)
        got = self.d.latent("rerank", "q", stdin="x\n" * (TEXTS_MAX + 1), check=False)
        self.assertEqual(got.returncode, 1)
        self.assertIn("more than 1000 texts", got.stderr)

    def test_cancelled_and_too_late(self):
        texts = [(2, "the index of the library " * 12)] * TEXTS_MAX
        with Wire(self.d.socket) as w:
            number = w.send(RERANK, [(1, "which fox")] + texts)
            cancel = w.send(CANCEL, [(1, number)])
            first, second = w.receive(), w.receive()
            self.assertEqual((first.id, first.code, second.id), (number, ECANCELLED, cancel))
            self.assertEqual(scores(w, "which fox", [t for _, t in texts], deadline_ms=1)[0].code, ETIMEOUT)
            case = cases("qwen3-f32")[0]
            got = scores(w, case["query"], [case["documents"][0]["text"]])[1]
            self.assertAlmostEqual(got[0], case["documents"][0]["score"], delta=1e-5)

    def test_status(self):
        got = self.d.status()["reranker"]
        self.assertEqual((got["model"], got["model_path"], got["weight_type"], got["token_limit"], got["device_kind"]),
                         ("tiny qwen3-f32", fixture("qwen3-f32.gguf"), "f32", LIMIT, "cpu"))
        self.assertGreater(got["memory_bytes"], os.path.getsize(fixture("qwen3-f32.gguf")) // 2)
        self.assertEqual((len(got["fingerprint"]), got["queries"], got["bulk"]), (64, 0, 0))
        self.assertEqual(got["device"], self.d.status()["device"])
        self.assertIn("reranker:    tiny qwen3-f32", self.d.latent("status").stdout)


class Search(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.d = Daemon("--model", decoder("qwen3"), "--reranker", fixture("qwen3-f32.gguf")).__enter__()
        cls.case = cases("qwen3-f32")[0]
        cls.docs = {str(i): d for i, d in enumerate(cls.case["documents"]) if d["text"].strip()}
        cls.d.latent("collection", "create", "c")
        cls.d.add("c", [{"id": i, "text": d["text"], "metadata": {"n": 1}} for i, d in cls.docs.items()])
        cls.order = sorted(cls.docs, key=lambda i: -cls.docs[i]["score"])

    @classmethod
    def tearDownClass(cls):
        cls.d.__exit__(None, None, None)

    def test_all_candidates(self):
        plain = {h["id"]: h["score"] for h in self.d.search("c", "--mode", "dense", self.case["query"])}
        hits, used = self.d.search_all("c", "--mode", "dense", "--rerank", "100", self.case["query"])
        self.assertEqual([h["id"] for h in hits], self.order)
        for h in hits:
            self.assertAlmostEqual(h["rerank_score"], self.docs[h["id"]]["score"], delta=1e-5)
            self.assertAlmostEqual(h["score"], plain[h["id"]], delta=1e-5)
            self.assertEqual((h["text"], h["metadata"]), (self.docs[h["id"]]["text"], {"n": 1}))
        self.assertEqual([h["rank"] for h in hits], list(range(1, len(hits) + 1)))
        self.assertEqual((used["reranked"], used["rerank_cut"], used["k"], used["short_reason"]), (len(hits), 0, 10, "exhausted"))

    def test_first_candidates(self):
        """What comes behind them keeps its place, k cuts, and a k that is reached is not short."""
        plain = [h["id"] for h in self.d.search("c", "--mode", "dense", self.case["query"])]
        for n in range(1, len(plain) + 1):
            want = sorted(plain[:n], key=lambda i: -self.docs[i]["score"]) + plain[n:]
            for k in (1, 2, len(plain)):
                hits, used = self.d.search_all("c", "--mode", "dense", "--rerank", str(n), "-k", str(k), self.case["query"])
                self.assertEqual([h["id"] for h in hits], want[:k])
                self.assertEqual([h["rerank_score"] is not None for h in hits], [i < n for i in range(k)])
                self.assertEqual((used["reranked"], used["k"], used["short_reason"]), (min(n, k), k, ""))

    def test_without(self):
        hits, used = self.d.search_all("c", self.case["query"])
        self.assertEqual(({h["rerank_score"] for h in hits}, used["reranked"]), ({None}, 0))

    def test_plain_output_has_both_scores(self):
        first = self.d.latent("search", "-c", "c", "--rerank", "9", "-k", "1", self.case["query"]).stdout.splitlines()[0]
        number, rerank, score, name = first.split()[:4]
        self.assertEqual((number, name), ("1.", self.order[0]))
        self.assertAlmostEqual(float(rerank), self.docs[name]["score"], delta=1e-3)
        self.assertGreater(float(score), 0)

    def test_run_file(self):
        with tempfile.TemporaryDirectory() as home:
            queries, out = os.path.join(home, "q.jsonl"), os.path.join(home, "run")
            with open(queries, "w", encoding="utf-8") as f:
                f.write(json.dumps({"_id": "q1", "text": self.case["query"]}) + "\n")
            self.d.latent("search", "-c", "c", "--mode", "dense", "--rerank", "3", "--queries", queries, "--run", out)
            with open(out, encoding="utf-8") as f:
                rows = [line.split() for line in f]
        plain = [h["id"] for h in self.d.search("c", "--mode", "dense", self.case["query"])]
        self.assertEqual([r[2] for r in rows], sorted(plain[:3], key=lambda i: -self.docs[i]["score"]) + plain[3:])
        falling = [float(r[4]) for r in rows]
        self.assertEqual(falling, sorted(falling, reverse=True))
        self.assertEqual(len(set(falling)), len(falling))

    def test_wire(self):
        with Wire(self.d.socket) as w:
            base = [(1, "c"), (2, self.case["query"]), (5, 1)]
            reply = w.call(SEARCH, base + [(10, 1), (15, 9)])  # no_text: scored all the same
            hits = [unpack(h) for h in reply.body(SEARCH)[1]]
            self.assertEqual([h[1][0].decode() for h in hits], self.order)
            self.assertTrue(all(6 not in h and 7 not in h and 8 not in h and 9 in h for h in hits))
            self.assertEqual(w.call(SEARCH, base + [(15, TEXTS_MAX + 1)]).code, ELIMIT)
            self.assertEqual(w.call(SEARCH, [(1, "c"), (3, b"\0\0\x80\x3f" * 32), (5, 1), (15, 5)]).code, EEMPTY)
            self.assertEqual(w.call(SEARCH, [(1, "nowhere"), (2, "q"), (15, 5)]).code, ENOTFOUND)

    def test_long_chunks_are_cut(self):
        self.d.latent("collection", "create", "long", "--temporary")
        self.d.add("long", [{"id": "a", "text": "fox " * 400}, {"id": "b", "text": "dog"}])
        hits, used = self.d.search_all("long", "--mode", "dense", "--rerank", "5", "--chunks", "which fox")
        self.assertEqual(len(hits), used["reranked"])
        self.assertGreater(used["rerank_cut"], 0)
        self.assertTrue(all(0 < h["rerank_score"] < 1 for h in hits))

    def test_usage(self):
        for args in (("--rerank", "0", "q"), ("--rerank", "1001", "q"), ("--rerank", "5", "--vector", "[1]")):
            self.assertEqual(self.d.latent("search", "-c", "c", *args, check=False).returncode, 2)


class Without(unittest.TestCase):
    def test_no_reranker(self):
        for args, why in (((), "--reranker"), (("--recover", "--reranker", fixture("qwen3-f32.gguf")), "--recover")):
            with self.subTest(why), Daemon("--model", decoder("qwen3"), *args) as d, Wire(d.socket) as w:
                self.assertIsNone(d.status()["reranker"])
                for reply in (w.call(RERANK, [(1, "q"), (2, "x")]), w.call(SEARCH, [(1, "c"), (2, "q"), (15, 5)])):
                    self.assertEqual((reply.code, reply.retryable), (EUNSUPPORTED, False))
                    self.assertIn(why, reply.message)
                got = d.latent("rerank", "q", stdin="x\n", check=False)
                self.assertEqual(got.returncode, 1)
                self.assertIn("no reranker", got.stderr)


class Start(unittest.TestCase):
    def refused(self, names, *args):
        d = Daemon(*args, wait=None)
        try:
            d.start()
            self.assertNotEqual(d.process.wait(CALL_S), 0)
            for name in names:
                self.assertIn(name, d.log_text())
        finally:
            d.__exit__(None, None, None)

    def test_unfit_files(self):
        good, model = fixture("qwen3-f32.gguf"), decoder("qwen3")
        self.refused(["/nowhere/r.gguf"], "--model", model, "--reranker", "/nowhere/r.gguf")
        self.refused([decoder("qwen2"), "no reranker"], "--model", model, "--reranker", decoder("qwen2"))
        self.refused([good, "goes with --reranker"], "--model", good)
        with open(good, "rb") as f:
            data = f.read()
        for old, new, names in ((b"{document}", b"{documenX}", "no {document}"), (b"cls.output.weight", b"cls.outpux.weight", "cls.output.weight"),
                                (b"yes", b"yas", "labels")):
            with self.subTest(names), tempfile.TemporaryDirectory() as home:
                path = os.path.join(home, "r.gguf")
                with open(path, "wb") as f:
                    f.write(data.replace(old, new, 1) if old != b"yes" else data.replace(b"\3" + bytes(7) + old, b"\3" + bytes(7) + new, 1))
                self.refused([path, names], "--model", model, "--reranker", path)

    def test_quantised_and_one_label(self):
        with Daemon("--model", decoder("qwen3"), "--reranker", fixture("qwen3-q8_0.gguf")) as d, Wire(d.socket) as w:
            for case in cases("qwen3-q8_0"):
                for got, want in zip(scores(w, case["query"], [x["text"] for x in case["documents"]])[1], case["documents"], strict=True):
                    self.assertAlmostEqual(got, want["score"], delta=0.05)
        with Daemon("--model", decoder("qwen3"), "--reranker", fixture("one-label.gguf")) as d, Wire(d.socket) as w:
            for case in cases("one-label"):
                for got, want in zip(scores(w, case["query"], [x["text"] for x in case["documents"]])[1], case["documents"], strict=True):
                    self.assertAlmostEqual(got, want["score"], delta=0.02)

    def test_memory_is_shared(self):
        """A bound on the device's memory is for both; what each plans for stays within its part of it."""
        with Daemon("--model", decoder("qwen3"), "--reranker", fixture("qwen3-f32.gguf"), "--device-memory", "8") as d:
            self.assertLess(d.status()["reranker"]["memory_bytes"], 8 << 20)
            case = cases("qwen3-f32")[0]
            with Wire(d.socket) as w:
                got = scores(w, case["query"], [case["documents"][0]["text"]])[1]
            self.assertAlmostEqual(got[0], case["documents"][0]["score"], delta=1e-5)

    def test_on_a_vulkan_device(self):
        for args in ((), ("--device-memory", "12")):
            with Daemon("--model", decoder("qwen3"), "--reranker", fixture("qwen3-f32.gguf"), *args, device="llvmpipe") as d, Wire(d.socket) as w:
                s = d.status()["reranker"]
                self.assertEqual(s["device_kind"], "vulkan")
                self.assertLess(s["memory_bytes"], (12 << 20) if args else 1 << 40)
                case = cases("qwen3-f32")[1]
                for got, want in zip(scores(w, case["query"], [x["text"] for x in case["documents"]])[1], case["documents"], strict=True):
                    self.assertAlmostEqual(got, want["score"], delta=1e-5)

    def test_configured(self):
        with tempfile.TemporaryDirectory() as home:
            path = os.path.join(home, "latentd.conf")
            with open(path, "w", encoding="utf-8") as f:
                f.write(f"reranker = {fixture('qwen3-f32.gguf')}\n")
            with Daemon("--config", path, "--model", decoder("qwen3")) as d:
                self.assertEqual(d.status()["reranker"]["model"], "tiny qwen3-f32")


if __name__ == "__main__":
    main()
