#!/usr/bin/env python3
"""Explain: the prompt, the ids and the pool it tells are those of which the vectors come."""
import json
import os
import struct
import subprocess
import tempfile
import unittest

from harness import LATENTD, SRC, Daemon, main
from wire import EMBED, EXPLAIN, Wire, unpack

ELIMIT, EINVAL, EUTF8, ETOOLONG, EEMPTY, EUNSUPPORTED = 7, 1, 8, 9, 10, 24  # base/err.h
TEXT_MAX = 65536  # proto/maxima.h
CHUNK, TRUNCATE, ERROR = range(3)  # proto/latent.proto
LONG = "The committee met again and talked about the budget of the town. " * 60 + "\n\nPenguins swim in the cold sea. " * 30


def numbers(data):
    """A packed field's."""
    return unpack(b"".join(b"\x08" + data[a:b] for a, b in spans(data))).get(1, [])


def spans(data):
    start = 0
    for i, byte in enumerate(data):
        if byte < 128:
            yield start, i + 1
            start = i + 1


class Explain(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon().__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.__exit__(None, None, None)

    def explain(self, *args, stdin=None):
        got, = self.daemon.json_lines("explain", "--json", *args, stdin=stdin)
        return got

    def vector(self, *args, stdin):
        return self.daemon.json_lines("embed", *args, stdin=stdin)[0]["embedding"]

    def vector_of(self, text):
        """Of what explain told of a text."""
        return self.vector("--ids", stdin=json.dumps({"ids": text["ids"], "instruction_len": text["pool_from"]}) + "\n")

    def check(self, text):
        """What holds of every explained text."""
        prompt = text["prompt"].encode()
        self.assertEqual(len(text["ids"]), len(text["offsets"]))
        self.assertEqual(text["tokens"], len(text["ids"]))
        self.assertEqual(text["offsets"], sorted(text["offsets"]))
        self.assertLess(text["pool_from"], text["tokens"])
        for at in text["offsets"]:
            self.assertLessEqual(at, len(prompt))
            prompt[:at].decode()  # between characters
        self.assertEqual(text["truncated"], text["tokens_seen"] > text["tokens"])

    def test_a_query(self):
        status = self.daemon.status()
        got = self.explain("--query", "Edit photographs, naïve 日本🙂")
        for key in ("model", "fingerprint", "weight_type", "device", "device_kind", "pooling", "mask", "dim", "token_limit"):
            self.assertEqual(got[key], status[key], key)
        self.assertEqual(got["template"], "query: ")
        text, = got["texts"]
        self.check(text)
        self.assertEqual((text["prompt"], text["text_at"]), ("query: Edit photographs, naïve 日本🙂", 7))
        self.assertEqual((text["bos"], text["eos"], text["ids"][0], text["ids"][-1]), (True, True, 1, 2))
        self.assertEqual((text["offsets"][0], text["offsets"][-1]), (0, len(text["prompt"].encode())))
        self.assertEqual(text["pool_from"], 3)  # BOS, query and the colon
        self.assertEqual(self.vector("--query", stdin=text["prompt"][7:] + "\n"), self.vector_of(text))

    def test_an_instruction(self):
        got = self.explain("--query", "--instruct", "find tools", "hammer")
        text, = got["texts"]
        self.assertEqual((got["template"], text["prompt"]), ("Instruct: {}\nQuery: ", "Instruct: find tools\nQuery: hammer"))
        self.assertEqual(self.vector("--query", "--instruct", "find tools", stdin="hammer\n"), self.vector_of(text))
        self.assertNotEqual(self.vector("--query", stdin="hammer\n"), self.vector_of(text))

    def test_known_ids(self):
        with open(os.path.join(SRC, "models", "latent-mini", "cases.json")) as f:
            for case in json.load(f)["cases"]:
                text, = self.explain(*["--query"] * case["query"], stdin=case["text"])["texts"]
                self.check(text)
                self.assertEqual((text["ids"], text["pool_from"]), (case["ids"], case["instruction_len"]))

    def test_a_document_and_its_chunks(self):
        """The vectors that search finds are those of the explained ids, chunk by chunk."""
        self.daemon.latent("collection", "create", "c")
        self.daemon.add("c", [{"id": "long", "title": "Minutes", "text": LONG}, {"id": "short", "title": "GIMP", "text": "pictures"}])
        for name, title, text, chunks in (("long", "Minutes", LONG, True), ("short", "GIMP", "pictures", False)):
            got = self.explain("--title", title, stdin=text)
            self.assertEqual(got["template"], "")
            self.assertEqual(len(got["texts"]) > 1, chunks)
            for i, part in enumerate(got["texts"]):
                self.check(part)
                self.assertFalse(part["truncated"])
                whole = text.encode()[part["start"]:part["end"]].decode()
                self.assertEqual(part["prompt"], f"{title} {whole}")
                self.assertEqual(part["prompt"].encode()[part["text_at"]:].decode(), whole)
                hits = self.daemon.search("c", "--mode", "dense", "--chunks", "--exact", "-k", "50", "--vector",
                                          json.dumps(self.vector_of(part)))
                hit, = (h for h in hits if (h["id"], h["chunk"]) == (name, i))
                self.assertEqual((hit["start"], hit["end"]), (part["start"], part["end"]))
                self.assertGreater(hit["score"], 0.9999)  # vectors are stored at 16 bits

    def test_cut(self):
        limit = self.daemon.status()["token_limit"]
        text, = self.explain("--on-long", "truncate", stdin=LONG)["texts"]
        self.check(text)
        self.assertEqual((text["tokens"], text["truncated"], text["bos"], text["eos"]), (limit, True, True, False))
        self.assertEqual(text["prompt"], LONG)
        self.assertNotEqual(text["ids"][-1], 2)
        used = text["prompt_used"]
        self.assertTrue(text["offsets"][-1] < used < len(LONG.encode()), used)
        whole, = self.explain("--on-long", "truncate", LONG.encode()[:used].decode())["texts"]
        self.assertEqual((whole["ids"][:limit], whole["prompt_used"]), (text["ids"], used))
        shown = self.daemon.latent("explain", "--on-long", "truncate", stdin=LONG).stdout
        self.assertIn(f": the prompt's first {used} bytes of {len(LONG.encode())}\n", shown)
        self.assertLess(len(shown.splitlines()[-1]), 80)  # the last token, and not all that was cut off
        (query,) = self.explain("--query", "--on-long", "truncate", stdin=LONG)["texts"]
        self.assertEqual(query["tokens"], limit)
        for args in (["--on-long", "error"], ["--query"]):
            got = self.daemon.latent("explain", *args, stdin=LONG, check=False)
            self.assertEqual(got.returncode, 1)
            self.assertIn("LATENT_ETOOLONG", got.stderr)

    def test_for_people(self):
        out = self.daemon.latent("explain", "--query", 'a "b"\t日').stdout
        self.assertIn('prompt:   "query: a \\"b\\"\\t日"\n', out)
        self.assertRegex(out, r"(?m)^ +0 +1  no +\(begin\)$")
        self.assertRegex(out, r"(?m)^ +\d+ +2  yes +\(end\)$")
        self.assertRegex(out, 'no +"query"\n')
        self.assertIn("of at most 512, the first 3 left out of the pool\n", out)
        self.assertRegex(self.daemon.latent("explain", stdin=LONG).stdout, "(?m)^chunk 1 of .*, bytes .*")
        for args in (["a", "b"], ["--instruct", "a", "b"], ["--query", "--title", "a", "b"], ["--on-long", "odd", "b"]):
            self.assertEqual(self.daemon.latent("explain", *args, check=False).returncode, 2, args)

    def test_limits(self):
        with Wire(self.daemon.socket) as w:
            for fields, code in (([(1, "x" * TEXT_MAX), (5, TRUNCATE)], 0), ([(1, "x" * (TEXT_MAX + 1))], ELIMIT),
                                 ([(1, "x"), (4, "t" * 4097)], ELIMIT), ([(1, "x"), (2, 1), (3, "i" * 4097)], ELIMIT),
                                 ([(1, "x"), (2, 1), (4, "t")], EINVAL), ([(1, "x"), (3, "i")], EINVAL), ([], EEMPTY),
                                 ([(1, "x"), (5, 3)], EINVAL), ([(1, b"a\xff")], EUTF8), ([(1, "x y " * 800), (5, ERROR)], ETOOLONG)):
                self.assertEqual(w.call(EXPLAIN, fields).code, code, fields)
            self.assertEqual(w.call(EMBED, [(1, [(1, "x")])]).code, 0)

    def test_many_chunks(self):
        """The least limit and a long title make a great many of a text: what they take together is bounded."""
        with open(os.path.join(SRC, "tests", "golden", "decoders", "mistral.gguf"), "rb") as f:
            good = f.read()
        key = b"llama.context_length" + struct.pack("<I", 4)
        at = good.index(key) + len(key)
        with tempfile.NamedTemporaryFile(suffix=".gguf") as model:
            model.write(good[:at] + struct.pack("<I", 16) + good[at + 4:])
            model.flush()
            with Daemon("--model", model.name) as d, Wire(d.socket) as w:
                for n, code in ((20000, 0), (TEXT_MAX, ELIMIT)):
                    reply = w.call(EXPLAIN, [(1, "1" * n), (4, "documents " * 400)])
                    self.assertEqual(reply.code, code, n)
                    if code:
                        self.assertIn("bytes to tell", reply.message)
                        continue
                    parts = [unpack(t) for t in reply.body(EXPLAIN)[1]]
                    self.assertGreater(len(parts), 1000)
                    for part in parts:
                        ids, offsets = numbers(part[5][0]), numbers(part[6][0])
                        self.assertTrue(len(ids) == len(offsets) == part[8][0] <= 16)

    def test_what_cannot_be_explained(self):
        with Daemon("--recover") as d, Wire(d.socket) as w:
            reply = w.call(EXPLAIN, [(1, "x")])
            self.assertEqual((reply.code, reply.retryable), (EUNSUPPORTED, False))
        with tempfile.TemporaryDirectory() as folder:
            model = os.path.join(folder, "ids.gguf")
            subprocess.run([LATENTD, "import", os.path.join(SRC, "tests", "golden", "tiny-f16"), "-o", model], check=True, capture_output=True)
            with Daemon("--model", model) as d, Wire(d.socket) as w:
                reply = w.call(EXPLAIN, [(1, "x")])
                self.assertEqual(reply.code, EUNSUPPORTED)
                self.assertIn("no tokenizer", reply.message)


if __name__ == "__main__":
    main()
