#!/usr/bin/env python3
"""One peer library as a process of its own, for bench_peers.py: reads commands, prints one line for each.

  ann_peer.py NAME BASE.npy QUERIES.npy METRIC CACHE

  build            -> "SECONDS BYTES"       CPU seconds (from the cache's note when it was built before), bytes of its file
  search EF OUT    -> "QUERIES-PER-SECOND"  by CPU time, one thread; the ids go to OUT as int64

CPU time and not the clock: on a machine with other work it is what the library itself took.
"""
import json
import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402

K, M, EFC = 10, 16, 200


class Peer:
    call_overhead = 0.0  # seconds a query that the caller and not the library takes

    def __init__(self, base, queries, metric, path):
        self.base, self.queries, self.metric, self.path = base, queries, metric, path
        self.dim = base.shape[1]

    def save(self):
        self.i.save(self.path)


class Hnswlib(Peer):
    def build(self, n_threads=1):
        import hnswlib
        self.i = hnswlib.Index("l2" if self.metric == "l2" else "ip", self.dim)
        self.i.init_index(len(self.base), ef_construction=EFC, M=M)
        self.i.add_items(self.base, num_threads=n_threads)

    def save(self):
        self.i.save_index(self.path)

    def load(self):
        import hnswlib
        self.i = hnswlib.Index("l2" if self.metric == "l2" else "ip", self.dim)
        self.i.load_index(self.path)

    def search(self, ef):
        self.i.set_ef(max(ef, K))
        return self.i.knn_query(self.queries, K, num_threads=1)[0]


class Faiss(Peer):
    def make(self, faiss):
        return faiss.IndexHNSWFlat(self.dim, M, faiss.METRIC_L2)

    def build(self):
        import faiss
        faiss.omp_set_num_threads(1)
        self.i = self.make(faiss)
        self.i.hnsw.efConstruction = EFC
        if not self.i.is_trained:
            self.i.train(self.base[:50000])
        self.i.add(self.base)

    def save(self):
        import faiss
        faiss.write_index(self.i, self.path)

    def load(self):
        import faiss
        faiss.omp_set_num_threads(1)
        self.i = faiss.read_index(self.path)

    def search(self, ef):
        self.i.hnsw.efSearch = ef
        return self.i.search(self.queries, K)[1]


class FaissSQ(Faiss):
    def make(self, faiss):
        return faiss.IndexHNSWSQ(self.dim, faiss.ScalarQuantizer.QT_8bit, M, faiss.METRIC_L2)


class Usearch(Peer):
    dtype = "f32"

    def make(self):
        from usearch.index import Index
        return Index(ndim=self.dim, metric="l2sq" if self.metric == "l2" else "cos", dtype=self.dtype, connectivity=M, expansion_add=EFC)

    def build(self):
        self.i = self.make()
        self.i.add(np.arange(len(self.base)), self.base, threads=1)

    def load(self):
        self.i = self.make()
        self.i.load(self.path)

    def search(self, ef):
        self.i.expansion_search = ef
        return self.i.search(self.queries, K, threads=1).keys


class UsearchI8(Usearch):
    dtype = "i8"


class Symqg(Peer):
    degree, bits = 32, 0

    def build(self):
        import rabitqlib
        self.i = rabitqlib.SymqgIndex(self.dim, self.degree, "l2", self.bits)
        self.i.build(self.base, 400, 1)

    def load(self):
        import rabitqlib
        self.i = rabitqlib.SymqgIndex.load(self.path)

    def search(self, ef):
        return self.i.search_batch(self.queries, K, ef, 1)[0]


class Symqg64(Symqg):
    degree = 64


class Symqg8(Symqg):
    bits = 8


class RabitqHnsw(Peer):
    def build(self):
        import rabitqlib
        kmeans = rabitqlib.RaBitQKMeans(self.dim, 16, num_threads=1)
        kmeans.train(self.base)
        self.i = rabitqlib.HnswIndex(self.dim, len(self.base), M=M, ef_construction=EFC, nbits=5, metric="l2")
        self.i.build(self.base, kmeans.centroids, kmeans.assignments, 1)

    def load(self):
        import rabitqlib
        self.i = rabitqlib.HnswIndex.load(self.path)

    def search(self, ef):
        return self.i.search(self.queries, K, ef, 1)[0]


def on_intel():
    with open("/proc/cpuinfo") as f:
        return "GenuineIntel" in f.read()


class Svs(Peer):
    """LVQ4x8, its recommended compression, where it runs: on Intel's CPUs; float16 elsewhere."""

    def build(self):
        import svs
        p = svs.VamanaBuildParameters(alpha=1.2, graph_max_degree=32, window_size=200)
        if on_intel():
            svs.write_vecs(self.base, self.path + ".fvecs")
            loader = svs.VectorDataLoader(self.path + ".fvecs", svs.DataType.float32, dims=self.dim)
            loader = svs.LVQLoader(loader, primary=4, residual=8, strategy=svs.LVQStrategy.Turbo)
            self.i = svs.Vamana.build(p, loader, svs.DistanceType.L2, num_threads=1)
        else:
            self.i = svs.Vamana.build(p, self.base.astype(np.float16), svs.DistanceType.L2, num_threads=1)

    def parts(self):
        return [os.path.join(self.path, part) for part in ("config", "graph", "data")]

    def save(self):
        os.makedirs(self.path, exist_ok=True)
        self.i.save(*self.parts())

    def load(self):
        import svs
        config, graph, data = self.parts()
        loader = svs.VectorDataLoader(data, svs.DataType.float16)
        if on_intel():
            loader = svs.LVQLoader(data)
        self.i = svs.Vamana(config, svs.GraphLoader(graph), loader, svs.DistanceType.L2)

    def search(self, ef):
        self.i.search_window_size = max(ef, K)
        return self.i.search(self.queries, K)[0]


class Vsag(Peer):
    base_type = "sq4_uniform"

    def make(self):
        import pyvsag
        pyvsag.set_logger_off()
        return pyvsag.Index("hgraph", json.dumps({
            "dtype": "float32", "metric_type": "l2", "dim": self.dim,
            "index_param": {"base_quantization_type": self.base_type, "max_degree": 32, "ef_construction": 400,
                            "use_reorder": True, "precise_quantization_type": "fp32", "build_thread_count": 1}}))

    def build(self):
        self.i = self.make()
        self.i.build(np.array(self.base).reshape(-1), np.arange(len(self.base), dtype=np.int64), len(self.base), self.dim)

    def load(self):
        self.i = self.make()
        self.i.load(self.path)

    def prepare(self):
        """Its Python interface takes one query a call; what the call costs is timed on ten vectors and taken off."""
        small = self.make()
        small.build(np.array(self.base[:10]).reshape(-1), np.arange(10, dtype=np.int64), 10, self.dim)
        p = json.dumps({"hgraph": {"ef_search": K}})
        start = time.process_time()
        for q in self.queries:
            small.knn_search(q, K, p)
        self.call_overhead = (time.process_time() - start) / len(self.queries)

    def search(self, ef):
        p = json.dumps({"hgraph": {"ef_search": ef}})
        return np.array([self.i.knn_search(q, K, p)[0] for q in self.queries])


class VsagSq8(Vsag):
    base_type = "sq8_uniform"


PEERS = {"hnswlib": Hnswlib, "faiss": Faiss, "faiss-sq8": FaissSQ, "usearch": Usearch, "usearch-i8": UsearchI8, "symqg": Symqg,
         "symqg-64": Symqg64, "symqg-8bit": Symqg8, "rabitq-hnsw": RabitqHnsw, "svs": Svs, "vsag-sq4": Vsag, "vsag-sq8": VsagSq8}


def size_of(path):
    if os.path.isdir(path):
        return sum(os.path.getsize(os.path.join(folder, f)) for folder, _, files in os.walk(path) for f in files)
    return os.path.getsize(path) if os.path.exists(path) else 0


def main():
    name, base, queries, metric, cache = sys.argv[1:6]
    path = os.path.join(cache, name)
    p = PEERS[name](np.load(base, mmap_mode="r"), np.load(queries), metric, path)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print do it elsewhere
    for line in sys.stdin:
        cmd = line.split()
        if cmd[0] == "build" and len(cmd) > 1:  # anew, on so many threads, by the clock
            cpu, clock = time.process_time(), time.monotonic()
            p.build(int(cmd[1]))
            print(f"{time.process_time() - cpu:.2f} 0 {time.monotonic() - clock:.2f}", file=out, flush=True)
        elif cmd[0] == "build":
            note = path + ".json"
            if os.path.exists(note):
                p.load()
                seconds = json.load(open(note))
            else:
                start = time.process_time()
                p.build()
                seconds = time.process_time() - start
                p.save()
                json.dump(seconds, open(note, "w"))
            if hasattr(p, "prepare"):
                p.prepare()
            print(f"{seconds:.2f} {size_of(path)}", file=out, flush=True)
        else:
            start = time.process_time()
            ids = p.search(int(cmd[1]))
            t = (time.process_time() - start) / len(p.queries) - p.call_overhead
            np.asarray(ids).astype(np.int64).tofile(cmd[2])
            print(f"{1 / max(t, 1e-9):.1f}", file=out, flush=True)


if __name__ == "__main__":
    main()
