#!/usr/bin/env python3
"""Vectors of real text for bench_peers.py: passages and, from other passages, first sentences as queries.

  tests/bench/passages.py PASSAGES.jsonl.zst OUT-FOLDER [--count 100000] [--queries 1000] [--build BUILD]

Embeds with a private latentd and its default model through `latent embed`; writes OUT/base.fvecs and OUT/queries.fvecs
(per vector: dimension as int32, then float32 values).
"""
import argparse
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time


def embed(latent, texts, out, query):
    """Streams texts through `latent embed` and writes an fvecs file."""
    args = latent + ["embed", "--truncate"] + (["--query"] if query else [])
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as lines, open(out, "wb") as f:
        for t in texts:
            lines.write(" ".join(t.split()) + "\n")
        lines.flush()
        with open(lines.name) as stdin, subprocess.Popen(args, stdin=stdin, stdout=subprocess.PIPE, text=True) as p:
            n = 0
            for line in p.stdout:
                v = json.loads(line)["embedding"]
                f.write(struct.pack("<i", len(v)) + struct.pack(f"<{len(v)}f", *v))
                n += 1
                if n % 10000 == 0:
                    print(f"{n} of {len(texts)}", file=sys.stderr)
        assert p.returncode == 0 and n == len(texts)


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("passages")
    a.add_argument("out")
    a.add_argument("--count", type=int, default=100000)
    a.add_argument("--queries", type=int, default=1000)
    a.add_argument("--build", default=os.path.join(os.path.dirname(__file__), "..", "..", "build"))
    a = a.parse_args()
    with subprocess.Popen(["zstdcat", a.passages], stdout=subprocess.PIPE, text=True) as p:
        texts = []
        for line in p.stdout:
            texts.append(json.loads(line)["text"])
            if len(texts) == a.count + a.queries:
                p.kill()
                break
    base = texts[: a.count]
    queries = [re.split(r"(?<=[.!?])\s", t.strip(), maxsplit=1)[0] for t in texts[a.count:]]
    os.makedirs(a.out, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        sock = os.path.join(home, "s")
        daemon = subprocess.Popen([os.path.join(a.build, "daemon", "latentd"), "--data", os.path.join(home, "data"),
                                   "--socket", sock, "--log-level", "warn"])
        latent = [os.path.join(a.build, "clients", "cli", "latent"), "--socket", sock]
        try:
            for _ in range(300):
                got = subprocess.run(latent + ["status", "--json"], capture_output=True, text=True)
                if '"phase":"ready"' in got.stdout:
                    break
                time.sleep(0.1)
            start = time.monotonic()
            embed(latent, base, os.path.join(a.out, "base.fvecs"), False)
            print(f"{a.count / (time.monotonic() - start):.0f} passages/s", file=sys.stderr)
            embed(latent, queries, os.path.join(a.out, "queries.fvecs"), True)
        finally:
            daemon.terminate()
            daemon.wait()


if __name__ == "__main__":
    main()
