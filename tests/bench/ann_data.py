"""Vectors for the index benchmarks: real ones from files, embedding-like ones from a generator.

A set is (base, queries, name), float32 and of unit length unless it says L2. Specs:

  fvecs:BASE,QUERIES    files with, per vector, its dimension as int32 and then float32 values (passages.py writes them)
  wiki:FOLDER           base.fvecs.gz and query-passages.fvecs.gz
  wikiq:FOLDER          the same base, query-questions.fvecs.gz: queries from another distribution
  mnist:FOLDER          the IDX files of 60,000 training and 10,000 test images, the first 1,000 of those as queries
  like:N,DIM[,SEED]     N embedding-like vectors
"""
import gzip
import os

import numpy as np

N_QUERIES = 1000


def unit(a):
    return a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-30)


def fvecs(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as f:
        a = np.frombuffer(f.read(), dtype=np.int32)
    return a.reshape(-1, a[0] + 1)[:, 1:].view(np.float32).copy()


def write_fvecs(path, a):
    with open(path, "wb") as f:
        for i in range(0, len(a), 65536):
            part = np.ascontiguousarray(a[i:i + 65536], dtype=np.float32)
            head = np.full((len(part), 1), a.shape[1], dtype=np.int32)
            f.write(np.hstack([head, part.view(np.int32)]).tobytes())


def embedding_like(n, dim, seed=1, n_queries=N_QUERIES):
    """What text embeddings look like: a common mean, topics within topics, a spectrum that falls as a power, unit length.

    The variance along the i-th of 256 directions falls as 1/i, which gives an intrinsic dimension near that of the default
    model's passages; a point is 0.5 of its topic, 0.5 of its subtopic and 0.7 of its own."""
    rng = np.random.default_rng(seed)
    rank = min(256, dim)
    basis = rng.standard_normal((rank, dim), dtype=np.float32) / np.sqrt(np.arange(1, rank + 1, dtype=np.float32))[:, None]
    n_topics, n_sub = 100, max(1, n // 100)
    topics = rng.standard_normal((n_topics, rank), dtype=np.float32)
    subtopics = 0.5 * topics[rng.integers(n_topics, size=n_sub)] + 0.5 * rng.standard_normal((n_sub, rank), dtype=np.float32)
    mean = 0.3 * rng.standard_normal((1, dim), dtype=np.float32) * np.linalg.norm(basis) / np.sqrt(dim)

    def draw(m):
        out = np.empty((m, dim), dtype=np.float32)
        for i in range(0, m, 20000):
            k = min(20000, m - i)
            z = subtopics[rng.integers(n_sub, size=k)] + 0.7 * rng.standard_normal((k, rank), dtype=np.float32)
            out[i:i + k] = unit(z @ basis + mean)
        return out
    return draw(n), draw(n_queries)


def mnist(folder):
    def images(name):
        with gzip.open(os.path.join(folder, name)) as f:
            return np.frombuffer(f.read(), dtype=np.uint8, offset=16).reshape(-1, 784).astype(np.float32)
    return images("train-images-idx3-ubyte.gz"), images("t10k-images-idx3-ubyte.gz")[:N_QUERIES]


def load(spec):
    """(name, base, queries, metric), metric "cosine" (all of unit length) or "l2"."""
    kind, _, rest = spec.partition(":")
    if kind == "fvecs":
        b, q = rest.split(",")
        return "passages", unit(fvecs(b)), unit(fvecs(q)), "cosine"
    if kind in ("wiki", "wikiq"):
        q = "query-questions" if kind == "wikiq" else "query-passages"
        base, queries = fvecs(f"{rest}/base.fvecs.gz"), fvecs(f"{rest}/{q}.fvecs.gz")
        return "wiki-lsa-128" + ("-questions" if kind == "wikiq" else ""), unit(base), unit(queries), "cosine"
    if kind == "mnist":
        base, queries = mnist(rest)
        return "mnist-784", base, queries, "l2"
    if kind == "like":
        n, dim, *seed = (int(x) for x in rest.split(","))
        base, queries = embedding_like(n, dim, *seed)
        return f"like-{n}x{dim}", base, queries, "cosine"
    raise SystemExit(f"{spec}: no such kind of data")


def nearest(base, queries, metric, k):
    """Exact: the k nearest of each query."""
    out = np.empty((len(queries), k), dtype=np.int64)
    best = np.full((len(queries), k), np.inf, dtype=np.float32)
    out[:] = -1
    for i in range(0, len(base), 50000):
        part = base[i:i + 50000]
        d = -(queries @ part.T)
        if metric == "l2":
            d = 2 * d + np.einsum("ij,ij->i", part, part)
        kk = min(k, d.shape[1])
        near = np.argpartition(d, kk - 1, axis=1)[:, :kk]
        d = np.concatenate([best, np.take_along_axis(d, near, 1)], axis=1)
        ids = np.concatenate([out, near + i], axis=1)
        keep = np.argsort(d, axis=1, kind="stable")[:, :k]
        best, out = np.take_along_axis(d, keep, 1), np.take_along_axis(ids, keep, 1)
    return out
