#!/usr/bin/env python3
"""A small index saved by hnswlib, and what hnswlib answers from it: the files of tests/golden/hnswlib.

  pip install hnswlib numpy; tests/tools/make_hnswlib_fixture.py tests/golden/hnswlib

index.bin: 600 elements of 8 dimensions, L2, M 4, efConstruction 40, labels 5 i + 2. queries.f32: 50 queries.
answers.u64: for ef 10, 30 and 100 and each query the labels of the 10 nearest.
"""
import os
import sys

import hnswlib
import numpy as np

rng = np.random.default_rng(3)
base = rng.standard_normal((600, 8), dtype=np.float32)
queries = rng.standard_normal((50, 8), dtype=np.float32)
index = hnswlib.Index("l2", 8)
index.init_index(600, ef_construction=40, M=4, random_seed=5)
index.add_items(base, np.arange(600) * 5 + 2, num_threads=1)
out = sys.argv[1]
index.save_index(os.path.join(out, "index.bin"))
queries.tofile(os.path.join(out, "queries.f32"))
with open(os.path.join(out, "answers.u64"), "wb") as f:
    for ef in (10, 30, 100):
        index.set_ef(ef)
        labels, _ = index.knn_query(queries, 10, num_threads=1)
        f.write(labels.astype(np.uint64).tobytes())
