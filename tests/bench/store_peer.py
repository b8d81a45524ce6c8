#!/usr/bin/env python3
"""One store as a process of its own, for bench_stores.py: goes the whole way of a program's data and prints what it measured as JSON.

  store_peer.py NAME FOLDER INPUT.npz

INPUT.npz has base, queries (float32, unit length), u (a number of each document, 0 to 9,999), below (bounds of it, by which searches
are filtered), true, true_half and true_0 … (rows of each query's ten nearest: of all, of those left after every second is deleted, of those
below each bound). Every store gets the same ids, texts, metadata and vectors, in batches of 1,000 from one client that waits, and gives
back id, text and metadata of ten hits a search, one search at a time, with the settings that its documentation gives first.
"""
import json
import os
import resource
import statistics
import subprocess
import sys
import time

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
K, BATCH, SINGLES = 10, 1000, 200
REST_S = 100  # before the second look at the disk: latentd tidies its database after a minute in which nothing was written
EFS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


class Store:
    """add and delete return when it is durable as far as the store goes; settled when all of it is found through the index."""
    pids = ()  # of processes of its own
    efs = EFS  # () where there is nothing to set

    def __init__(self, folder, dim):
        self.folder, self.dim = folder, dim

    def settled(self):
        pass

    def close(self):
        pass


class Latentd(Store):
    def open(self, new):
        from harness import QUICK_MODEL, Daemon
        from wire import CREATE, Wire
        self.daemon = Daemon(*QUICK_MODEL, folder=self.folder)
        self.daemon.start()
        self.pids = (self.daemon.process.pid,)
        self.wire = Wire(self.daemon.socket)
        if new:
            self.call(CREATE, [(1, "c"), (2, self.dim), (4, 1)])

    def call(self, what, fields):
        reply = self.wire.call(what, fields)
        if reply.code:
            sys.exit(f"refused: {reply.message}")
        return reply.body(what)

    def add(self, ids, vectors, texts, us):
        from wire import ADD, add, document
        self.call(ADD, add("c", [document(f"d{i}", t, metadata='{"u":%d}' % u, vector=v.astype("<f4").tobytes())
                                 for i, v, t, u in zip(ids, vectors, texts, us)]))

    def search(self, vector, ef, below):
        from wire import SEARCH, unpack
        fields = [(1, "c"), (3, vector.astype("<f4").tobytes()), (4, K), (5, 1)]
        fields += ([(6, f"u < {below}")] if below is not None else []) + ([(7, ef)] if ef else [])
        return [int(unpack(h)[1][0][1:]) for h in self.call(SEARCH, fields).get(1, [])]

    def delete(self, ids):
        from wire import DELETE
        self.call(DELETE, [(1, "c")] + [(2, f"d{i}") for i in ids])

    def close(self):
        self.wire.socket.close()
        self.daemon.stop()


class Chroma(Store):
    def open(self, new):
        import chromadb
        self.client = chromadb.PersistentClient(self.folder, chromadb.config.Settings(anonymized_telemetry=False))
        self.c = self.client.create_collection("all", configuration={"hnsw": {"space": "cosine"}}) if new else self.client.get_collection("all")
        self.ef = None

    def add(self, ids, vectors, texts, us):
        self.c.add(ids=[f"d{i}" for i in ids], embeddings=vectors, documents=texts, metadatas=[{"u": int(u)} for u in us])

    def search(self, vector, ef, below):
        if ef and ef != self.ef:
            self.c.modify(configuration={"hnsw": {"ef_search": ef}})
            self.ef = ef
        got = self.c.query(query_embeddings=[vector], n_results=K, where={"u": {"$lt": int(below)}} if below is not None else None,
                           include=["documents", "metadatas", "distances"])
        return [int(i[1:]) for i in got["ids"][0]]

    def delete(self, ids):
        self.c.delete(ids=[f"d{i}" for i in ids])

    def close(self):
        del self.c, self.client


class Lance(Store):
    def open(self, new):
        import lancedb
        self.db = lancedb.connect(self.folder)
        self.t = None if new else self.db.open_table("c")

    def add(self, ids, vectors, texts, us):
        rows = [{"id": f"d{i}", "vector": v, "text": t, "u": int(u)} for i, v, t, u in zip(ids, vectors, texts, us)]
        if self.t is None:
            self.t = self.db.create_table("c", rows)
        else:
            self.t.add(rows)
        self.new = True

    def settled(self):
        from lancedb.index import FTS, BTree, HnswSq
        if not self.t.list_indices():
            self.t.create_index("vector", config=HnswSq(distance_type="cosine"))
            self.t.create_index("u", config=BTree())
            self.t.create_index("text", config=FTS())
        self.t.optimize()

    def search(self, vector, ef, below):
        q = self.t.search(vector, vector_column_name="vector").limit(K)
        q = q.where(f"u < {below}", prefilter=True) if below is not None else q
        return [int(r["id"][1:]) for r in (q.ef(ef) if ef else q).select(["id", "text", "u", "_distance"]).to_list()]

    def delete(self, ids):
        self.t.delete("id in (" + ",".join(f"'d{i}'" for i in ids) + ")")


class QdrantEdge(Store):
    """Qdrant's own engine, in the process."""

    def open(self, new):
        import qdrant_edge as q
        self.q = q
        if not new:
            self.s = q.EdgeShard.load(self.folder)
            return
        self.s = q.EdgeShard.create(self.folder, q.EdgeConfig(vectors={"v": q.EdgeVectorParams(size=self.dim, distance=q.Distance.Cosine)}))
        self.s.update(q.UpdateOperation.create_field_index("u", q.PayloadSchemaType.Integer))

    def add(self, ids, vectors, texts, us):
        q = self.q
        self.s.update(q.UpdateOperation.upsert_points([q.Point(int(i), {"v": v.tolist()}, {"text": t, "u": int(u)})
                                                       for i, v, t, u in zip(ids, vectors, texts, us)]))
        self.s.flush()

    def settled(self):
        self.s.optimize()

    def search(self, vector, ef, below):
        q = self.q
        where = q.Filter(must=[q.FieldCondition("u", range=q.RangeFloat(lt=float(below)))]) if below is not None else None
        got = self.s.query(q.QueryRequest(limit=K, query=q.Query.Nearest(vector.tolist(), "v"), with_payload=True, filter=where,
                                          params=q.SearchParams(hnsw_ef=ef) if ef else None))
        return [p.id for p in got]

    def delete(self, ids):
        self.s.update(self.q.UpdateOperation.delete_points([int(i) for i in ids]))
        self.s.flush()

    def close(self):
        self.s.close()


class MilvusLite(Store):
    def open(self, new):
        from pymilvus import DataType, MilvusClient
        self.c = MilvusClient(os.path.join(self.folder, "milvus.db"))
        if new:
            schema = self.c.create_schema()
            schema.add_field("id", DataType.INT64, is_primary=True)
            schema.add_field("v", DataType.FLOAT_VECTOR, dim=self.dim)
            schema.add_field("text", DataType.VARCHAR, max_length=4096)
            schema.add_field("u", DataType.INT64)
            index = self.c.prepare_index_params()
            index.add_index("v", index_type="HNSW", metric_type="COSINE", params={"M": 16, "efConstruction": 200})
            self.c.create_collection("c", schema=schema, index_params=index)
        self.c.load_collection("c")

    def add(self, ids, vectors, texts, us):
        self.c.insert("c", [{"id": int(i), "v": v.tolist(), "text": t, "u": int(u)} for i, v, t, u in zip(ids, vectors, texts, us)])

    def settled(self):
        self.c.flush("c")

    def search(self, vector, ef, below):
        got = self.c.search("c", [vector.tolist()], filter=f"u < {below}" if below is not None else "", limit=K, output_fields=["text", "u"],
                            search_params={"params": {"ef": ef}} if ef else None)
        return [h["id"] for h in got[0]]

    def delete(self, ids):
        self.c.delete("c", ids=[int(i) for i in ids])

    def close(self):
        self.c.close()


class SqliteVec(Store):
    """Exact: it has no graph."""
    efs = ()

    def open(self, new):
        import sqlite3
        import sqlite_vec
        self.db = sqlite3.connect(os.path.join(self.folder, "vec.db"))
        self.db.enable_load_extension(True)
        sqlite_vec.load(self.db)
        self.db.execute("pragma journal_mode = wal")
        if new:
            self.db.execute(f"create virtual table c using vec0(v float[{self.dim}] distance_metric=cosine, u integer, +text text)")

    def add(self, ids, vectors, texts, us):
        with self.db:
            self.db.executemany("insert into c(rowid, v, u, text) values(?, ?, ?, ?)",
                                [(int(i), v.tobytes(), int(u), t) for i, v, t, u in zip(ids, vectors, texts, us)])

    def search(self, vector, ef, below):
        where = f" and u < {below}" if below is not None else ""
        return [r[0] for r in self.db.execute(f"select rowid, text, u from c where v match ? and k = {K}{where}", (vector.tobytes(),))]

    def delete(self, ids):
        with self.db:
            self.db.executemany("delete from c where rowid = ?", [(int(i),) for i in ids])

    def close(self):
        self.db.close()


STORES = {"latentd": Latentd, "chroma": Chroma, "lancedb": Lance, "qdrant-edge": QdrantEdge, "milvus-lite": MilvusLite, "sqlite-vec": SqliteVec}


def cpu_seconds(store):
    own = sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    for pid in store.pids:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            own += sum(int(n) for n in f.read().rsplit(")", 1)[1].split()[11:13]) / os.sysconf("SC_CLK_TCK")
    return own


def resident(pid="self"):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(f.read().split("VmRSS:")[1].split()[0]) * 1024


def disk_bytes(folder):
    return int(subprocess.run(["du", "-s", "-B1", folder], capture_output=True, text=True, check=True).stdout.split()[0])


def searched(store, queries, true, ef=0, below=None):
    """Recall, the median and the 99th percentile of a search's milliseconds by the clock, and the share of answers with too few hits."""
    for q in queries[:20]:
        store.search(q, ef, below)
    right = short = most = 0
    times, cpu = [], cpu_seconds(store)
    for q, t in zip(queries, true):
        begun = time.perf_counter()
        got = store.search(q, ef, below)
        times.append((time.perf_counter() - begun) * 1e3)
        t = set(t[t >= 0].tolist())
        right, most, short = right + len(t & set(got)), most + len(t), short + (len(got) < len(t))
    times.sort()
    n = len(times)
    return {"recall": right / most, "cpu_ms": (cpu_seconds(store) - cpu) / n * 1e3, "ms": statistics.median(times), "p99": times[n * 99 // 100],
            "short": short / n, "ef": ef}


def texts_of(ids):
    words = "harbour clerk amber river ledger quiet engine winter paper bridge signal copper orchard lantern meadow station".split()
    return [" ".join(words[(i * 7 + j * j + i // 16 * j) % len(words)] for j in range(20)) + f" {i}" for i in ids]


def at_recall(store, queries, true, wanted):
    """The first of the store's settings that finds so many; None where none does or there is nothing to set."""
    for ef in store.efs:
        got = searched(store, queries, true, ef)
        if got["recall"] >= wanted:
            return got
    return None


def main():
    name, folder, path = sys.argv[1:4]
    d = np.load(path)
    base, queries, u = d["base"], d["queries"], d["u"]
    store, out = STORES[name](folder, base.shape[1]), {"store": name}
    texts, before = texts_of(range(len(base))), resident()
    store.open(True)
    clock, cpu = time.monotonic(), cpu_seconds(store)
    for at in range(0, len(base), BATCH):
        ids = range(at, min(at + BATCH, len(base)))
        store.add(ids, base[at:at + BATCH], texts[at:at + BATCH], u[at:at + BATCH])
    store.settled()
    out["ingest_s"], out["ingest_cpu_s"] = time.monotonic() - clock, cpu_seconds(store) - cpu
    out["all"] = searched(store, queries, d["true"])
    out["at_95"] = at_recall(store, queries, d["true"], 0.95)
    out["filtered"] = [searched(store, queries[:300], d[f"true_{i}"], 0, int(b)) for i, b in enumerate(d["below"])]
    out["resident"] = resident() - before + sum(map(resident, store.pids))
    out["disk"] = disk_bytes(folder)

    store.close()
    clock = time.monotonic()
    store = STORES[name](folder, base.shape[1])
    store.open(False)
    store.search(queries[0], 0, None)
    out["open_s"] = time.monotonic() - clock

    times = []
    for i in range(SINGLES):  # one document, found at once
        begun = time.perf_counter()
        new = len(base) + i
        vector = queries[i] if i < len(queries) else base[i]
        store.add([new], vector[None], texts_of([new]), [9999])
        times.append((time.perf_counter() - begun) * 1e3)
        out["missed"] = out.get("missed", 0) + (new not in store.search(vector, 0, None))
    out["single_ms"] = statistics.median(times)
    store.delete(range(len(base), len(base) + SINGLES))

    clock, cpu = time.monotonic(), cpu_seconds(store)
    for at in range(0, len(base), 2 * BATCH):
        store.delete(range(at, min(at + 2 * BATCH, len(base)), 2))
    store.settled()
    out["delete_s"], out["delete_cpu_s"] = time.monotonic() - clock, cpu_seconds(store) - cpu
    out["half"] = searched(store, queries, d["true_half"])
    time.sleep(REST_S)
    out["disk_half"] = disk_bytes(folder)
    store.close()
    print(json.dumps(out))


if __name__ == "__main__":
    main()
