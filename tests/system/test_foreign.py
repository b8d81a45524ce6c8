#!/usr/bin/env python3
"""GGUF files of other programs, served: the vectors of transformers, search, --mask, --pooling and --dim, and refusals by name."""
import json
import os
import tempfile
import unittest

from harness import CALL_S, SRC, Daemon, main

FOLDER = os.path.join(SRC, "tests", "golden", "decoders")


def model(name):
    return os.path.join(FOLDER, name + ".gguf")


def cases(name):
    with open(os.path.join(FOLDER, name + ".json"), encoding="utf-8") as f:
        return json.load(f)["cases"]


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5


class Foreign(unittest.TestCase):
    def test_vectors_and_search(self):
        for name in ("mistral", "llama", "qwen2", "qwen3", "gemma2", "gemma3", "embeddinggemma", "eurobert", "modernbert"):
            with self.subTest(name), Daemon("--model", model(name)) as d:
                want = cases(name)
                lines = "".join(json.dumps({"ids": c["ids"]}) + "\n" for c in want)
                for got, case in zip(d.json_lines("embed", "--ids", stdin=lines), want, strict=True):
                    self.assertGreater(cosine(got["embedding"], case["vector"]), 0.99999)
                one_line = [c for c in want if "\n" not in c["text"]]
                text = "".join(c["text"] + "\n" for c in one_line)
                for got, case in zip(d.json_lines("embed", "--json", stdin=text), one_line, strict=True):
                    if name != "embeddinggemma":  # it puts words of its own before a passage
                        self.assertEqual(got["tokens"], len(case["ids"]))
                        self.assertGreater(cosine(got["embedding"], case["vector"]), 0.99999)
                d.latent("collection", "create", "c")
                d.add("c", [{"id": str(i), "text": c["text"]} for i, c in enumerate(want)])
                hits = d.search("c", "--mode", "dense", "-k", "5", want[1]["text"])
                self.assertEqual({h["id"] for h in hits}, {str(i) for i in range(5)})

    def test_overruled(self):
        want = cases("mistral")[0]
        ids = json.dumps({"ids": want["ids"]}) + "\n"
        with Daemon("--model", model("mistral"), "--mask", "full") as d:
            self.assertLess(cosine(d.json_lines("embed", "--ids", stdin=ids)[0]["embedding"], want["vector"]), 0.9999)
        with Daemon("--model", model("mistral"), "--pooling", "last") as d:
            self.assertLess(cosine(d.json_lines("embed", "--ids", stdin=ids)[0]["embedding"], want["vector"]), 0.9999)
        with Daemon("--model", model("mistral"), "--dim", "8") as d:
            got = d.json_lines("embed", "--ids", stdin=ids)[0]["embedding"]
            self.assertGreater(cosine(got, want["vector"][:8]), 0.99999)
            self.assertAlmostEqual(sum(x * x for x in got), 1, places=5)

    def test_refused_by_name(self):
        with open(model("qwen2"), "rb") as f:
            good = f.read()
        for old, new, names in ((b"qwen2", b"qwenX", '"qwenX"'), (b"qwen2", None, '"qwenY"')):
            with self.subTest(names), tempfile.TemporaryDirectory() as home:
                path = os.path.join(home, "m.gguf")
                with open(path, "wb") as f:
                    if new:  # the architecture, its first place
                        f.write(good.replace(old, new, 1))
                    else:    # the pre-tokeniser: behind its own key
                        at = good.index(old, good.index(b"tokenizer.ggml.pre"))
                        f.write(good[:at] + b"qwenY" + good[at + 5:])
                d = Daemon("--model", path, wait=None)
                try:
                    d.start()
                    d.process.wait(CALL_S)
                    self.assertNotEqual(d.process.returncode, 0)
                    self.assertIn(names, d.log_text())
                finally:
                    d.__exit__(None, None, None)


if __name__ == "__main__":
    main()
