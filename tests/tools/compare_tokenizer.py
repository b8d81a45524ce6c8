#!/usr/bin/env python3
"""Compares our token ids with those of the Hugging Face `tokenizers` library, text by text.

    python3 -m venv V && V/bin/pip install tokenizers==0.23.3
    V/bin/python tests/tools/compare_tokenizer.py --dump build/tests/tools/dump_ids \\
        --tokenizer models/latent-mini/tokenizer.json [--texts FILE.jsonl[.zst]]... [--lines 120000]
    … --fixture tests/golden/tokenizer/latent-mini.txt   writes the committed fixture instead

The texts are given passages (fields text, title) and generated ones: code, URLs, CJK, emoji, capitals
of every script, special-token look-alikes, runs of spaces, control characters, random Unicode. The
generator has a fixed seed.

The fixture (tests/golden/tokenizer.txt) has one line per text: for each tokenizer how many ids and their
FNV-1a hash, then the text as JSON. Its texts are generated here.
"""
import argparse
import json
import random
import struct
import subprocess
import sys

from tokenizers import Tokenizer

WORDS = ("the quick brown fox jumps over lazy dog search engine vector index Café naïve Straße STRASSE "
         "ΣΊΣΥΦΟΣ Ὀδυσσεύς İstanbul ISPARTA ığdır Москва ЁЖИК Երևան ᲗᲑᲘᲚᲘᲡᲘ Ꭰꭰ Ɐ DŽ Dž ẞ K Å ﬁ ½ ① Ⅷ ⓐ Ⓐ "
         "日本語 東京都 中文分詞 한국어 ภาษาไทย हिन्दी தமிழ் العربية עברית ქართული አማርኛ ខ្មែរ").split()
CODE = ["def f(x, y=1):\n    return x ** y  # power\n", "for (int i = 0; i < n; i++) {\n\t\ta[i] += b[i];\n}",
        "SELECT id, name FROM users WHERE age >= 21 ORDER BY name;", "#include <stdio.h>\r\nint main(void)\r\n{\r\n}",
        "{\"key\": [1, 2.5e-3, null], \"nested\": {\"a\": \"\\u00e9\"}}", "<div class=\"x\">&nbsp;</div>",
        "key: value\nlist:\n  - one\n  - two: {three: 3}\n", "$ git rebase -i HEAD~3 && make -j$(nproc) 2>&1 | tee log",
        "let r = s.chars().map(|c| c.to_lowercase()).collect::<Vec<_>>();", "\\frac{a}{b} \\sum_{i=0}^{n} x_i^2"]
SPECIALS = ["<s>", "</s>", "<unk>", "<S>", "</S>", "<s", "</s", "< s>", "<<s>>", "<0x41>", "<0xE2>", "\u2581",
            "<pad>", "<|endoftext|>", "[CLS]", "</s></s>", "<s></s>", "\u2581\u2581", "<unk><unk>", "<UNK>"]
EMOJI = ["🙂", "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "❤️", "🏳️‍🌈", "1️⃣", "🧑🏻‍🚀", "☃", "𝔘𝔫𝔦"]


def any_char(r):
    while True:
        cp = r.choice((r.randrange(1, 0x80), r.randrange(1, 0x800), r.randrange(1, 0x3000),
                       r.randrange(0x3000, 0x10000), r.randrange(1, 0x110000)))
        if not 0xD800 <= cp < 0xE000:
            return chr(cp)


def capital(r):
    while True:
        c = chr(r.choice((r.randrange(0xC0, 0x590), r.randrange(0x10A0, 0x2C00), r.randrange(0x2C00, 0x2E00),
                          r.randrange(0xA640, 0xA800), r.randrange(0x10400, 0x10600), r.randrange(0x118A0, 0x118E0),
                          r.randrange(0x16E40, 0x16ED4), r.randrange(0x1D400, 0x1D800), r.randrange(0x1E900, 0x1E944))))
        if c.lower() != c or r.random() < 0.1:
            return c


def url(r):
    host = ".".join("".join(r.choice("abcdefghijklmnopqrstuvwxyz0123456789-") for _ in range(r.randrange(2, 12)))
                    for _ in range(r.randrange(2, 4)))
    path = "/".join("".join(r.choice("abcXYZ%20_-.~0123456789") for _ in range(r.randrange(1, 15)))
                    for _ in range(r.randrange(0, 5)))
    return f"https://{host}/{path}?q={r.randrange(10**9)}&lang=de#{r.randrange(99)}"


def long_run(r):
    kind = r.randrange(5)
    n = r.choice((40, 41, 100, 1000, 3000))
    if kind == 0:
        return r.choice("aA=-_.0xé日🙂") * n
    if kind == 1:
        return "".join(r.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") for _ in range(n))
    if kind == 2:
        return " " * r.randrange(1, 200) + "x" + " " * r.randrange(1, 70)
    if kind == 3:
        return "".join(chr(r.randrange(0x4E00, 0x9FFF)) for _ in range(n))
    return "".join(r.choice(("ab", "the", "ing", "\u2581", "<", "s>")) for _ in range(n))


def piece(r):
    k = r.randrange(12)
    if k < 3:
        return " ".join(r.choice(WORDS) for _ in range(r.randrange(1, 12)))
    if k == 3:
        return r.choice(CODE)
    if k == 4:
        return url(r)
    if k == 5:
        return r.choice(SPECIALS)
    if k == 6:
        return "".join(r.choice(EMOJI) for _ in range(r.randrange(1, 4)))
    if k == 7:
        return "".join(capital(r) for _ in range(r.randrange(1, 12)))
    if k == 8:
        return "".join(any_char(r) for _ in range(r.randrange(1, 20)))
    if k == 9:
        return "".join(chr(r.choice((1, 7, 8, 9, 10, 11, 12, 13, 27, 31, 127, 0x85, 0xA0, 0xAD, 0x200B, 0x2028, 0xFEFF)))
                       for _ in range(r.randrange(1, 6)))
    if k == 10:
        return " " * r.randrange(1, 20)
    return "".join(r.choice("etaoin shrdluETAOIN,.;'\"!?0123456789") for _ in range(r.randrange(1, 60)))


def generated(n, seed=7, longs=True):
    r = random.Random(seed)
    for i in range(n):
        if longs and i % 100 == 99:
            yield long_run(r)
        else:
            yield r.choice(("", " ")).join(piece(r) for _ in range(r.randrange(1, 6)))


def passages(path, limit):
    if path.endswith(".zst"):
        import zstandard
        stream = zstandard.open(path, "rt", encoding="utf-8")
    else:
        stream = open(path, encoding="utf-8")
    with stream:
        for i, line in enumerate(stream):
            if i >= limit:
                break
            if path.endswith((".jsonl", ".zst")):
                o = json.loads(line)
                yield (o.get("title") or "") + " " + (o.get("text") or "")
            else:
                yield line


def fnv(ids):
    h = 0xCBF29CE484222325
    for i in ids:
        for b in struct.pack("<i", i):
            h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def write_fixture(toks, path, lines):
    texts = ["", "a", "This is a test", "<s>", "</s>x", "ΑΣ", "İ"] + SPECIALS
    texts += [t for t in generated(lines * 2, seed=11) if len(t.encode()) < 110][:lines]
    texts += ["a" * 41, "ab" * 300, "日本" * 60, " " * 90]
    # Every character that has a lower case, some in a text.
    caps = "".join(chr(c) for c in range(0x80, 0x1F000) if not 0xD800 <= c < 0xE000 and
                   chr(c).lower() != chr(c))
    texts += [caps[i:i + 24] for i in range(0, len(caps), 24)]
    with open(path, "w", encoding="ascii") as f:
        for t in texts:
            for tok in toks:
                ids = tok.encode(t, add_special_tokens=False).ids
                f.write(f"{len(ids)} {fnv(ids):016x} ")
            f.write(json.dumps(t) + "\n")
    print(f"{len(texts)} texts written to {path}")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--tokenizer", required=True, action="append", help="with --fixture: latent-mini's, NV-Embed's")
    ap.add_argument("--dump")
    ap.add_argument("--texts", action="append", default=[])
    ap.add_argument("--lines", type=int, default=60000, help="generated texts, and passages per file")
    ap.add_argument("--seed", type=int, default=7)
    ap.add_argument("--fixture")
    a = ap.parse_args()
    toks = [Tokenizer.from_file(t) for t in a.tokenizer]
    tok = toks[0]
    if a.fixture:
        write_fixture(toks, a.fixture, 1500)
        return 0
    texts = list(generated(a.lines, a.seed))
    for path in a.texts:
        texts += passages(path, a.lines)
    raw = [t.encode() for t in texts]
    feed = b"".join(struct.pack("<I", len(b)) + b for b in raw)
    out = subprocess.run([a.dump, a.tokenizer[0]], input=feed, stdout=subprocess.PIPE, check=True).stdout
    at = bad = n_ids = 0
    for start in range(0, len(texts), 2000):
        batch = texts[start:start + 2000]
        for t, e in zip(batch, tok.encode_batch(batch, add_special_tokens=False)):
            n, = struct.unpack_from("<I", out, at)
            ids = list(struct.unpack_from(f"<{n}i", out, at + 4))
            at += 4 + 4 * n
            n_ids += n
            if ids != e.ids:
                bad += 1
                if bad <= 5:
                    print(f"differs: {t[:200]!r}\n  theirs {e.ids[:40]}\n  ours   {ids[:40]}", file=sys.stderr)
    print(f"{len(texts)} texts, {sum(map(len, raw))} bytes, {n_ids} ids: {bad} differ")
    return 1 if bad or at != len(out) else 0


sys.exit(main())
