#!/usr/bin/env python3
"""latentd beside the vector stores that a program would embed, all of them the whole way: ingest, search, filters, restart, deletion.

  tests/bench/bench_stores.py [SPEC] [--stores latentd,chroma,…] [--python 'sqlite-vec=/usr/bin/python3'] [--out FILE.md]

SPEC as in ann_data.py, by default like:100000,384. Run it with a Python that has numpy and the stores (PyPI: chromadb, lancedb,
milvus-lite, pymilvus, qdrant-edge-py, sqlite-vec); --python names another for a store, for instance since sqlite-vec wants one whose
sqlite3 loads extensions. LATENTD_BUILD names latentd's build folder. Vectors are given, so that no model is measured.

Each store runs alone, one after the other, as a process of its own (store_peer.py says what it does there); latentd is a daemon, and its
client speaks the protocol in plain Python, so each of its searches crosses between processes twice, which the others' do not. Times of
searches are medians by the clock; cpu is of the store and its client together. Recall is of ten.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np

import ann_data

HERE = os.path.dirname(os.path.abspath(__file__))
STORES = "latentd,qdrant-edge,chroma,lancedb,milvus-lite,sqlite-vec"
SHARES = (0.5, 0.15, 0.1, 0.01, 0.001)
SEED, N_QUERIES, TRUE = 5, 500, 10


def nearest(base, queries, mask):
    """Rows of each query's ten nearest that the mask lets through, -1 where there are fewer."""
    rows = np.flatnonzero(mask)
    near = ann_data.nearest(base[rows], queries, "cosine", TRUE)
    return np.where(near < 0, -1, rows[near])


def make_input(spec, path):
    name, base, queries, metric = ann_data.load(spec)
    if metric != "cosine":
        sys.exit(f"{spec}: the stores are compared by cosine")
    queries = queries[:N_QUERIES]
    n = len(base)
    u = np.random.default_rng(SEED).permutation(n) % 10000
    below = np.array([int(10000 * s) for s in SHARES])
    arrays = {"true": nearest(base, queries, np.ones(n, bool)), "true_half": nearest(base, queries, np.arange(n) % 2 == 1)}
    arrays.update({f"true_{i}": nearest(base, queries, u < b) for i, b in enumerate(below)})
    np.savez(path, base=base, queries=queries, u=u, below=below, **arrays)
    return name


def version(python, store):
    package = {"chroma": "chromadb", "qdrant-edge": "qdrant-edge-py"}.get(store, store)
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    got = subprocess.run([python, "-c", code], capture_output=True, text=True)
    return "" if store == "latentd" else " " + got.stdout.strip()


def run(store, python, path):
    folder = tempfile.mkdtemp(prefix="store-")
    try:
        got = subprocess.run([python, os.path.join(HERE, "store_peer.py"), store, folder, path], stdout=subprocess.PIPE, text=True)
        if got.returncode:
            print(f"{store}: ended with {got.returncode}", file=sys.stderr)
            return None
        return dict(json.loads(got.stdout.splitlines()[-1]), store=store + version(python, store))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def at_95(r):
    a = r["at_95"]
    return f"{a['ms']:.2f} (ef {a['ef']})" if a else "-"


def found(s):
    return f"{s['ms']:.2f} / {s['recall']:.3f}" + (f", {100 * s['short']:.0f} % short" if s["short"] else "")


MB = 1e6
ROWS = [
    ("ingest until all is found by search, s by the clock (cpu)", lambda r: f"{r['ingest_s']:.0f} ({r['ingest_cpu_s']:.0f})"),
    ("a search of 10, ms / recall, as it comes", lambda r: found(r["all"])),
    ("cpu of it, ms", lambda r: f"{r['all']['cpu_ms']:.2f}"),
    ("… at recall 0.95 or more, ms", at_95),
    *[(f"filter that lets {100 * s:g} % through, ms / recall", lambda r, i=i: found(r["filtered"][i])) for i, s in enumerate(SHARES)],
    ("open again and answer, s", lambda r: f"{r['open_s']:.2f}"),
    ("add one document, ms until it is durable and found (of 200, missed by the search that followed)",
     lambda r: f"{r['single_ms']:.1f}" + (f" ({r['missed']})" if r["missed"] else "")),
    ("delete every second document, s by the clock (cpu)", lambda r: f"{r['delete_s']:.0f} ({r['delete_cpu_s']:.0f})"),
    ("a search of 10 afterwards, ms / recall", lambda r: found(r["half"])),
    ("memory after the searches, MB", lambda r: f"{r['resident'] / MB:.0f}"),
    ("disk, MB: all, and 100 s after half was deleted", lambda r: f"{r['disk'] / MB:.0f}, {r['disk_half'] / MB:.0f}"),
]


def table(results):
    lines = ["| | " + " | ".join(r["store"] for r in results) + " |", "| --- |" + " --- |" * len(results)]
    return lines + [f"| {name} | " + " | ".join(cell(r) for r in results) + " |" for name, cell in ROWS]


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("spec", nargs="?", default="like:100000,384")
    a.add_argument("--stores", default=STORES)
    a.add_argument("--python", action="append", default=[], metavar="STORE=PROGRAM")
    a.add_argument("--out")
    args = a.parse_args()
    pythons = dict(p.split("=", 1) for p in args.python)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "input.npz")
        name = make_input(args.spec, path)
        results = []
        for store in args.stores.split(","):
            print(f"{store} …", file=sys.stderr, flush=True)
            results.append(run(store, pythons.get(store, sys.executable), path))
    lines = [f"{name}, {N_QUERIES} queries, one client", "", *table([r for r in results if r])]
    print("\n".join(lines))
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
