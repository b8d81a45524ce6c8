#!/usr/bin/env python3
"""hnswlib (PyPI) and ours on the same vectors, one after the other in one run: M 16, efConstruction 200, one thread, cosine, k = 10.

  pip install hnswlib numpy; tests/bench/bench_graph.py BASE.fvecs QUERIES.fvecs [--build BUILD]

tests/bench/passages.py makes the files. Prints both curves and, at recall 0.95, the ratio of queries per second.
"""
import argparse
import os
import re
import subprocess
import tempfile
import time

import hnswlib
import numpy as np

EFS = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]
K = 10


def fvecs(path):
    a = np.fromfile(path, dtype=np.int32)
    return a.reshape(-1, a[0] + 1)[:, 1:].view(np.float32).copy()


def at_recall(curve, want):
    """Queries per second where the curve crosses the recall, between its points."""
    for (r0, q0), (r1, q1) in zip(curve, curve[1:]):
        if r0 < want <= r1:
            return q0 + (q1 - q0) * (want - r0) / (r1 - r0)
    return curve[0][1] if curve and curve[0][0] >= want else float("nan")


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("base")
    a.add_argument("queries")
    a.add_argument("--build", default=os.path.join(os.path.dirname(__file__), "..", "..", "build"))
    a = a.parse_args()
    base, queries = fvecs(a.base), fvecs(a.queries)
    unit = base / np.linalg.norm(base, axis=1, keepdims=True)
    q_unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    truth = np.argsort(-(q_unit @ unit.T), axis=1)[:, :K]

    index = hnswlib.Index("cosine", base.shape[1])
    index.init_index(len(base), ef_construction=200, M=16)
    index.set_num_threads(1)
    start = time.monotonic()
    index.add_items(base, num_threads=1)
    print(f"hnswlib: {len(base)} x {base.shape[1]} built in {time.monotonic() - start:.1f} s", flush=True)
    theirs = []
    for ef in EFS:
        index.set_ef(ef)
        index.knn_query(queries, K, num_threads=1)
        best = 0
        for _ in range(3):
            start = time.monotonic()
            got, _ = index.knn_query(queries, K, num_threads=1)
            best = max(best, len(queries) / (time.monotonic() - start))
        recall = np.mean([len(set(g) & set(t)) / K for g, t in zip(got.tolist(), truth.tolist())])
        theirs.append((recall, best))
        print(f"hnswlib: ef {ef:4d}  recall {recall:.4f}  {best:8.0f} q/s", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        out = subprocess.run([os.path.join(a.build, "tests", "bench", "bench_graph"), a.base, a.queries, "16", "200",
                              os.path.join(folder, "g")], check=True, capture_output=True, text=True).stdout
    print(out)
    ours = [(float(r), float(q)) for r, q in re.findall(r"recall ([\d.]+) +(\d+) q/s", out)]
    for want in (0.95, 0.99):
        x, y = at_recall(ours, want), at_recall(theirs, want)
        print(f"recall {want}: ours {x:.0f} q/s, hnswlib {y:.0f} q/s, ratio {x / y:.2f}")


if __name__ == "__main__":
    main()
