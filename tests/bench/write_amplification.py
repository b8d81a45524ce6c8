#!/usr/bin/env python3
"""Bytes written for each byte ingested, through the whole daemon: Debian's package descriptions with the default model.

  tests/bench/write_amplification.py [BUILD-FOLDER] [DOCUMENTS]

Ingested: ids, texts, titles, metadata and the stored vectors (4 bytes a dimension). Written: the kernel's write_bytes of the
daemon's process (/proc/PID/io), from its start to the end of its clean stop. The split comes from a library that is preloaded
into the daemon (write_split.c): WAL and database by the page's table, the graph by file; what is left are the pages of the
vectors' file, which is mapped.
"""
import collections
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
from writes import ingested_bytes, written_at_end  # noqa: E402

SRC = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(SRC, "build")
N = int(sys.argv[2]) if len(sys.argv) > 2 else 60000


def documents(path):
    """The first N documents into path; bytes of text, title, metadata and id."""
    available = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=True).stdout
    lines = subprocess.run([sys.executable, os.path.join(SRC, "dist", "debian_packages.py"), "--all"], input=available,
                           capture_output=True, check=True).stdout.splitlines()
    n_bytes = n = 0
    with open(path, "wb") as f:
        while n < N:
            d = json.loads(lines[n % len(lines)])
            d["id"] += f" {n // len(lines)}" if n >= len(lines) else ""
            n_bytes += ingested_bytes(d)
            f.write(json.dumps(d).encode() + b"\n")
            n += 1
    return n_bytes


def latent(socket, *args):
    return subprocess.run([os.path.join(BUILD, "clients", "cli", "latent"), "--socket", socket, *args], capture_output=True, text=True)


def table_of_pages(path):
    db = sqlite3.connect(path)
    names = {}
    for name, page in db.execute("SELECT name, pageno FROM dbstat"):
        names[page] = ("words" if name.startswith(("words_", "vocab_")) else "vectors" if name.startswith("vector") else
                       "texts" if name in ("texts", "documents") else "other")
    db.close()
    return names


def main():
    with tempfile.TemporaryDirectory(prefix="latentd-writes-") as home:
        docs, socket, data = (os.path.join(home, x) for x in ("docs.jsonl", "s", "data"))
        split = os.path.join(home, "split.json")
        text_bytes = documents(docs)
        daemon = subprocess.Popen([os.path.join(BUILD, "daemon", "latentd"), "--data", data, "--socket", socket, "--log-level", "warn"],
                                  env=dict(os.environ, LD_PRELOAD=os.path.join(BUILD, "tests", "bench", "libwrite_split.so"),
                                           WRITE_SPLIT=split, OMP_WAIT_POLICY="passive"))
        try:
            while '"phase":"ready"' not in latent(socket, "status", "--json").stdout:
                time.sleep(0.1)
            latent(socket, "collection", "create", "debian")
            start = time.monotonic()
            added = latent(socket, "add", "-c", "debian", "--jsonl", docs)
            seconds = time.monotonic() - start
            if added.returncode:
                sys.exit(added.stderr)
            dim = json.loads(latent(socket, "status", "--json").stdout)["dim"]
        finally:
            daemon.send_signal(signal.SIGTERM)
            written = written_at_end(daemon)
        with open(split) as f:
            got = json.load(f)
        tables = table_of_pages(os.path.join(data, "store.db"))
        ingested = text_bytes + N * dim * 4
        parts = collections.Counter()
        for kind, size in (("wal", 4120), ("db", 4096)):
            for page, n in got[kind].items():
                parts[("WAL: " if kind == "wal" else "database: ") + tables.get(int(page), "free by the end")] += n * size
        for path, n in got["files"].items():
            if path.startswith(os.path.join(data, "graph")):
                parts["graph: " + os.path.basename(path).split("-")[0]] += n
        parts["mapped, and what is not in the split"] = written - sum(parts.values())
        print(f"{N} documents in {seconds:.1f} s; ingested {ingested / 1e6:.1f} MB: {text_bytes / 1e6:.1f} of text, "
              f"{N * dim * 4 / 1e6:.1f} of vectors\n\n| written | MB | for each byte ingested |\n| --- | --- | --- |")
        for name, n in sorted(parts.items()):
            print(f"| {name} | {n / 1e6:.1f} | {n / ingested:.2f} |")
        print(f"| all (kernel, write_bytes) | {written / 1e6:.1f} | {written / ingested:.2f} |")


main()
