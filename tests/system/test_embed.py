#!/usr/bin/env python3
"""Embed: one entry for each input, however many there are, and honest tokens around the model's limit."""
import math
import os
import struct
import unittest

from harness import SLOW_DEVICE, SRC, Daemon, main
from wire import ADD, EMBED, STATUS, Wire, add, document, pack, unpack

MODEL = os.path.join(SRC, "tests", "golden", "decoders", "mistral.gguf")  # a small one: it is the number that counts here
EINVAL, ELIMIT, EUTF8, ETOOLONG, EEMPTY = 1, 7, 8, 9, 10  # base/err.h
INPUTS_MAX = 10000   # proto/maxima.h
TRUNCATE = 1         # proto/latent.proto, OnLong


def texts(*all_texts):
    return [(1, [(1, text)]) for text in all_texts]


def ids(n, first=1):
    """n token ids of one input."""
    return (1, [(2, b"".join(bytes([first + i % 100]) for i in range(n)))])


def embeddings(w, message):
    """All parts of the reply; each entry as {field: [values]}."""
    w.send(EMBED, message)
    out = []
    while True:
        r = w.receive()
        if r.code:
            raise AssertionError(f"code {r.code}: {r.message}")
        out += [unpack(e) for e in r.body(EMBED).get(1, [])]
        if not r.more:
            return out


def vector(entry):
    return struct.unpack(f"<{len(entry[1][0]) // 4}f", entry[1][0])


class Embed(unittest.TestCase):
    def test_an_entry_for_each_input(self):
        with Daemon("--model", MODEL) as d, Wire(d.socket) as w:
            dim = d.status()["dim"]
            alone = {}
            for n in (0, 1, 33, INPUTS_MAX):
                got = embeddings(w, texts(*(f"number {i % 50}" for i in range(n))))
                self.assertEqual(len(got), n)
                for i, entry in enumerate(got):
                    self.assertNotIn(5, entry)
                    v = vector(entry)
                    self.assertEqual(len(v), dim)
                    self.assertAlmostEqual(math.fsum(x * x for x in v), 1, 4)
                    if n == 33:
                        alone[i] = v
                    elif n == INPUTS_MAX and i % 50 in alone:  # in their places
                        self.assertLess(max(abs(a - b) for a, b in zip(v, alone[i % 50], strict=True)), 1e-6)
            self.assertEqual(w.call(EMBED, texts(*["x"] * (INPUTS_MAX + 1))).code, ELIMIT)
            self.assertEqual(len(embeddings(w, texts("x"))), 1)

    def test_failed_inputs_keep_their_places(self):
        with Daemon("--model", MODEL) as d, Wire(d.socket) as w:
            got = embeddings(w, texts(*("" if i % 7 == 3 else f"number {i}" for i in range(40))))
            self.assertEqual(len(got), 40)
            for i, entry in enumerate(got):
                self.assertEqual(5 in entry, i % 7 == 3, i)
                self.assertEqual(1 in entry, i % 7 != 3, i)
                if i % 7 == 3:
                    self.assertEqual(unpack(entry[5][0])[1][0], EEMPTY)

    def test_a_nul_fails_its_input_alone(self):
        with Daemon("--model", MODEL) as d, Wire(d.socket) as w:
            got = embeddings(w, texts("before", "a\0b", b"a\xff", "behind"))
            self.assertEqual([5 in e for e in got], [False, True, True, False])
            self.assertEqual([unpack(e[5][0])[1][0] for e in got[1:3]], [EUTF8] * 2)
            self.assertEqual(unpack(got[1][5][0])[2], [b"text: a NUL byte at offset 1"])

    def test_what_contradicts_itself(self):
        """An instruction without a query, a text beside token ids or with their count: none is passed over in silence."""
        both, counted = (1, [(1, "a text"), (2, b"\1\2")]), (1, [(1, "a text"), (3, 1)])
        with Daemon("--model", MODEL) as d, Wire(d.socket) as w:
            got = embeddings(w, [*texts("a"), both, ids(2), counted, *texts("b")])
            self.assertEqual([5 in e for e in got], [False, True, False, True, False])
            self.assertEqual(unpack(got[1][5][0]), {1: [EINVAL], 2: [b"either text or token ids, not both"]})
            self.assertEqual(unpack(got[3][5][0]), {1: [EINVAL], 2: [b"instruction_len is for token ids alone"]})
            refused = w.call(EMBED, [*texts("a"), (3, "an instruction")])
            self.assertEqual((refused.code, refused.message), (EINVAL, "only a query has an instruction"))
            self.assertEqual(len(embeddings(w, [*texts("a"), (2, 1), (3, "an instruction")])), 1)

    def test_clients_take_turns(self):
        """One that has sent ten thousand texts does not hold up another with ten."""
        with Daemon("--model", MODEL, env=SLOW_DEVICE) as d, Wire(d.socket) as greedy, Wire(d.socket) as modest, Wire(d.socket) as looking:

            def left():
                return unpack(looking.call(STATUS, []).body(STATUS)[19][0]).get(2, [0])[0]

            many = texts(*("a " * 50 + str(i) for i in range(INPUTS_MAX)))
            greedy.send(EMBED, many)
            greedy.send(EMBED, many)
            while left() <= INPUTS_MAX:  # both are with the device
                pass
            self.assertEqual(len(embeddings(modest, texts(*(f"number {i}" for i in range(10))))), 10)
            self.assertGreater(left(), 0)
            for _ in range(2):
                while greedy.receive().more:
                    pass

    def test_tokens_around_the_limit(self):
        with Daemon("--model", MODEL) as d, Wire(d.socket) as w:
            limit = d.status()["token_limit"]
            for n in (limit - 1, limit, limit + 1, 10 * limit):
                with self.subTest(n):
                    (by_id,) = embeddings(w, [ids(n)])
                    self.assertEqual(by_id[3], [n])
                    if n <= limit:
                        self.assertEqual((by_id[2], by_id.get(4), by_id.get(5)), ([n], None, None))
                    else:
                        self.assertEqual(unpack(by_id[5][0])[1][0], ETOOLONG)
                        self.assertNotIn(1, by_id)
            # Before the model's limit there is the protocol's, for each input alone.
            got = embeddings(w, [ids(65536), ids(65537), ids(3)])
            self.assertEqual([unpack(e[5][0])[1][0] if 5 in e else 0 for e in got], [ETOOLONG, ELIMIT, 0])
            # One more letter is one more token, from some letter on.
            seen = {n: embeddings(w, texts("a " * n))[0] for n in (1, limit - 3, limit - 2, limit - 1, limit, limit + 1, 10 * limit)}
            for n, entry in seen.items():
                tokens = entry[3][0]
                self.assertEqual(5 in entry, tokens > limit, n)
                (cut,) = embeddings(w, texts("a " * n) + [(4, TRUNCATE)])
                self.assertEqual((cut[2], cut[3], cut.get(4)), ([min(tokens, limit)], [tokens], [1] if tokens > limit else None))
                self.assertAlmostEqual(math.fsum(x * x for x in vector(cut)), 1, 4)
            self.assertTrue(any(e[3][0] == limit for e in seen.values()) and any(e[3][0] == limit + 1 for e in seen.values()))


class Add(unittest.TestCase):
    def test_cut_documents_are_named(self):
        long = "a " * 4000
        with Daemon("--model", MODEL) as d, Wire(d.socket) as w:
            d.latent("collection", "create", "c")
            docs = [document(str(i), long if i in (2, 3, 7) else "" if i == 5 else "short") for i in range(9)]
            body = w.call(ADD, add("c", docs) + [(3, TRUNCATE)]).body(ADD)
            self.assertEqual((body[3], body[7], body[8]), ([8], [3], [bytes((2, 3, 7))]))  # accepted, truncated, cut
            self.assertEqual([unpack(e).get(1) for e in body[4]], [[5]])
            body = w.call(ADD, add("c", docs)).body(ADD)  # divided
            self.assertEqual((body.get(7), body.get(8)), (None, None))

    def test_a_nul_fails_its_document_alone(self):
        """In whatever field; one without a good id is named by its index."""
        docs = [document("good", "a text"), document("d1", "a\0b"), document("d2", "a text", title="\0"), document("d3", b"a\xff"),
                document("d4", "a text", metadata='{"a":1}\0'), document("d5\0", "a text"), document("also", "a text")]
        with Daemon("--model", MODEL) as d, Wire(d.socket) as w:
            d.latent("collection", "create", "c")
            body = w.call(ADD, add("c", docs)).body(ADD)
            self.assertEqual(body[3], [2])
            errors = [unpack(e) for e in body[4]]
            self.assertEqual([(e[1][0], e.get(2, [b""])[0]) for e in errors], [(1, b"d1"), (2, b"d2"), (3, b"d3"), (4, b"d4"), (5, b"")])
            said = [unpack(e[3][0]) for e in errors]
            self.assertEqual([e[1][0] for e in said], [EUTF8] * 5)
            self.assertEqual([e[2][0].decode() for e in said],
                             ["text: a NUL byte at offset 1", "title: a NUL byte at offset 0", "text: not valid UTF-8 at byte 1",
                              "metadata: a NUL byte at offset 7", "id: a NUL byte at offset 2"])

    def test_the_same_again_is_not_embedded_again(self):
        """Not after an ingest that a kill ended, either; new metadata are there all the same."""
        def docs(year):
            return [{"id": f"d{i}", "title": f"title {i}", "text": f"number {i} " * (500 if i == 7 else 3), "metadata": {"year": year}}
                    for i in range(300)]

        def texts_done():
            return d.status()["queue"]["texts_done"]

        with Daemon("--model", MODEL) as d:
            d.latent("collection", "create", "c")
            d.add("c", docs(1)[:200])
            d.kill()
            d.start()
            got = d.add("c", docs(1))
            self.assertIn("300 documents added", got.stderr)
            self.assertIn("200 unchanged", got.stderr)
            self.assertEqual(texts_done(), 100)
            got = d.add("c", docs(2), "--async")  # there at once, nothing waits
            self.assertIn("300 unchanged", got.stderr)
            self.assertIn(" 0 tokens", got.stderr)
            self.assertEqual((texts_done(), d.status()["queue"]["pending_chunks"]), (100, 0))
            self.assertEqual({h["id"] for h in d.search("c", "-k", "400", "--mode", "dense", "--filter", "year = 2", "number")},
                             {f"d{i}" for i in range(300)})
            changed = docs(2)
            changed[5]["text"] = "other words"
            self.assertIn("299 unchanged", d.add("c", changed).stderr)
            self.assertEqual(texts_done(), 102)  # and the question
            jobs = [(j["state"], j["accepted"], j["searchable"]) for j in d.json_lines("job", "list", "--json")]
            self.assertEqual(jobs[:3], [("done", 300, 300)] * 3)


if __name__ == "__main__":
    main()
