#!/usr/bin/env python3
"""Builds indexes with hnswlib, imports each with `latent collection import-hnswlib`, and asks both the same questions at the same ef:
99.9 % of the results have to be hnswlib's. hnswlib.sh calls it."""
import os
import sys
import tempfile

# This file's own name is hnswlib's.
here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != here]

import hnswlib  # noqa: E402
import numpy as np  # noqa: E402

sys.path.insert(0, os.path.join(here, "..", "system"))
os.environ["LATENTD_BUILD"] = os.path.abspath(os.environ["LATENTD_BUILD"])

from harness import Daemon  # noqa: E402
from wire import SEARCH, Wire, unpack  # noqa: E402

N, N_QUERIES, K = 20000, 300, 10
EFS = (24, 64, 200)  # the daemon looks for some more than k, so that a smaller ef than theirs would be raised
CASES = [("cosine", 96, 16, 200), ("l2", 32, 8, 100), ("ip", 64, 24, 150), ("l2", 300, 16, 100)]
SEED = int(os.environ.get("LATENTD_SEED", "1"))


def same(index, queries, wire, name, ef):
    index.set_ef(ef)
    labels, distances = index.knn_query(queries, K, num_threads=1)
    n = 0
    for i, q in enumerate(queries):
        fields = [(1, name), (3, q.astype("<f4").tobytes()), (4, K), (5, 1), (7, ef), (9, 1), (10, 1)]
        reply = wire.call(SEARCH, fields)
        assert reply.code == 0, reply.message
        body = reply.body(SEARCH)
        assert body[4] == [ef], f"asked for ef {ef}, got {body.get(4)}"
        ours = {int(unpack(h)[1][0]) for h in body[1]}
        assert len(ours) == K, len(ours)
        n += len(ours & set(labels[i].tolist()))
    return n / (K * len(queries))


def main():
    rng = np.random.default_rng(SEED)
    worst = 1.0
    with tempfile.TemporaryDirectory() as folder:
        queries = {}
        indexes = {}
        for number, (space, dim, m, efc) in enumerate(CASES):
            name = f"h{number}"
            centres = rng.standard_normal((100, dim), dtype=np.float32)
            base = centres[rng.integers(0, 100, N)] + 0.7 * rng.standard_normal((N, dim), dtype=np.float32)
            queries[name] = centres[rng.integers(0, 100, N_QUERIES)] + 0.7 * rng.standard_normal((N_QUERIES, dim), dtype=np.float32)
            index = hnswlib.Index(space, dim)
            index.init_index(N, ef_construction=efc, M=m, random_seed=SEED)
            index.add_items(base, rng.permutation(3 * N)[:N], num_threads=1)
            path = os.path.join(folder, name + ".bin")
            index.save_index(path)
            indexes[name] = index
        with Daemon(folder=folder) as d:
            d.stop()
            for number, (space, dim, _, _) in enumerate(CASES):
                got = d.latent("collection", "import-hnswlib", os.path.join(folder, f"h{number}.bin"), "--space", space, "--dim", str(dim),
                               "--data", d.data)
                print(got.stdout.strip())
            d.start()
            with Wire(d.socket) as w:
                for number, case in enumerate(CASES):
                    for ef in EFS:
                        share = same(indexes[f"h{number}"], queries[f"h{number}"], w, f"h{number}", ef)
                        worst = min(worst, share)
                        print(f"{case}, ef {ef}: {share:.5f} of the results are hnswlib's")
    print(f"worst: {worst:.5f}")
    return worst < 0.999


if __name__ == "__main__":
    sys.exit(main())
