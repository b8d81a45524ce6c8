#!/usr/bin/env python3
"""Our tokeniser against the Hugging Face `tokenizers` library, in turns within one run, one thread each.

    python3 -m venv V && V/bin/pip install tokenizers==0.23.3 zstandard
    V/bin/python tests/bench/bench_tokenizer.py --bench build/tests/bench/bench_tokenizer \\
        --tokenizer TOKENIZER.json --texts PASSAGES.jsonl[.zst]

Both sides are given the same texts and time encoding alone. Theirs includes making Python's Encoding objects, as it
cannot be used without.
"""
import argparse
import json
import os
import struct
import subprocess
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer  # noqa: E402


def read_texts(path, n):
    if path.endswith(".zst"):
        import zstandard
        stream = zstandard.open(path, "rt", encoding="utf-8")
    else:
        stream = open(path, encoding="utf-8")
    with stream:
        return [json.loads(line)["text"] for _, line in zip(range(n), stream)]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--bench", required=True)
    ap.add_argument("--tokenizer", required=True)
    ap.add_argument("--texts", required=True)
    ap.add_argument("--n", type=int, default=5000)
    ap.add_argument("--rounds", type=int, default=5)
    a = ap.parse_args()
    texts = read_texts(a.texts, a.n)
    joined = "\n\n".join(texts)
    tok = Tokenizer.from_file(a.tokenizer)
    for name, batch in (("passages", texts), ("one long text", [joined]),
                        ("without spaces", ["".join(joined.split())[:1 << 20]])):
        raw = [t.encode() for t in batch]
        n_bytes = sum(map(len, raw))
        with tempfile.NamedTemporaryFile() as f:
            f.write(b"".join(struct.pack("<I", len(b)) + b for b in raw))
            f.flush()
            p = subprocess.Popen([a.bench, a.tokenizer, f.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 text=True, bufsize=1)

            def ours(what):
                p.stdin.write(what + "\n")
                seconds, n = p.stdout.readline().split()
                return float(seconds), int(n)

            best, theirs, chunks = [], [], []
            for _ in range(a.rounds):
                seconds, n_ours = ours("e")
                best.append(seconds)
                start = time.perf_counter()
                n_theirs = sum(len(e.ids) for e in tok.encode_batch(batch, add_special_tokens=False))
                theirs.append(time.perf_counter() - start)
                chunks.append(ours("c")[0])
            p.stdin.close()
            p.wait()
        assert n_ours == n_theirs
        ratios = sorted(t / b for t, b in zip(theirs, best))
        print(f"{name}: {n_bytes} bytes, {n_ours} ids: ours {n_bytes / min(best) / 1e6:.1f} MB/s, tokenizers "
              f"{n_bytes / min(theirs) / 1e6:.1f} MB/s, {ratios[len(ratios) // 2]:.1f} times (median of {a.rounds} "
              f"pairs); into chunks of 512 {n_bytes / min(chunks) / 1e6:.1f} MB/s")


main()
