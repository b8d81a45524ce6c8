#!/usr/bin/env python3
"""Our graph and its peers on the same vectors in one run: recall against exact search, queries per second, one thread.

  pip install numpy hnswlib usearch faiss-cpu rabitqlib scalable-vs pyvsag
  tests/bench/bench_peers.py SPEC [--peers NAME,…] [--efs N,…] [--rounds 3] [--build BUILD] [--cache DIR] [--out PREFIX] [--codes int8,…]

SPEC names the vectors (ann_data.py). Each library is a process of its own; the rounds go through all of them in turn, so that
what else the machine does hits all alike, and each point is the median of its rounds. Times are CPU time of the process.
Writes PREFIX.tsv (every point), PREFIX.svg (the curves) and prints the speed of each at recall 0.95 and 0.99, between its points.
Ours is "latentd-CODES"; hnswlib, FAISS and USearch have its M 16 and efConstruction 200; the others their own best settings.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

import numpy as np

import ann_data

HERE = os.path.dirname(os.path.abspath(__file__))
K = 10
EFS = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 400, 600]
COLOURS = ["#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#bcbd22", "#ff7f0e", "#7f7f7f", "#000000", "#aec7e8"]


class Worker:
    def __init__(self, name, args, scratch):
        self.name, self.out = name, os.path.join(scratch, name + ".ids")
        self.p = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE)

    def ask(self, line):
        self.p.stdin.write(line + "\n")
        self.p.stdin.flush()
        answer = self.p.stdout.readline().split()
        if not answer:
            raise RuntimeError(f"{self.name}: ended")
        return [float(x) for x in answer]

    def search(self, ef, n):
        qps = self.ask(f"search {ef} {self.out}")[0]
        return qps, np.fromfile(self.out, dtype=np.int64).reshape(n, K)

    def close(self):
        self.p.stdin.close()
        self.p.wait()


def recall_of(ids, truth):
    """Hits among the K nearest; an equal distance to the K-th counts, which truth holds up to its width."""
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(ids.tolist(), truth.tolist())]))


def at_recall(curve, want):
    """Queries per second where the curve crosses the recall, on a straight line between its points; None: it never does."""
    curve = sorted(curve)
    if curve and curve[0][0] >= want:
        return max(q for r, q in curve if r >= want)
    best = None
    for (r0, q0), (r1, q1) in zip(curve, curve[1:]):
        if r0 < want <= r1:
            q = q0 + (q1 - q0) * (want - r0) / (r1 - r0)
            best = q if best is None else max(best, q)
    return best


def svg(path, title, curves):
    w, h, left, top, right, bottom = 760, 460, 70, 40, 170, 50
    points = [p for c in curves.values() for p in c if p[0] >= 0.8]
    if not points:
        return
    lo, hi = np.log10(min(p[1] for p in points)), np.log10(max(p[1] for p in points))
    lo, hi = np.floor(lo * 5) / 5, np.ceil(hi * 5) / 5

    def x(r):  # recall stretched towards 1: -log10(1 - recall), so that 0.9, 0.99 and 0.999 are equally far apart
        return left + (w - left - right) * (-np.log10(max(1 - r, 0.0005)) + np.log10(0.2)) / (np.log10(0.2) - np.log10(0.0005))

    def y(q):
        return top + (h - top - bottom) * (hi - np.log10(q)) / (hi - lo)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" font-family="sans-serif" font-size="12">',
           f'<rect width="{w}" height="{h}" fill="white"/><text x="{left}" y="22" font-size="15">{title}</text>']
    for r in (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999):
        out.append(f'<path d="M{x(r):.1f} {top}V{h - bottom}" stroke="#ddd"/><text x="{x(r):.1f}" y="{h - bottom + 18}" text-anchor="middle">{r}</text>')
    for e in range(int(np.floor(lo)), int(np.ceil(hi)) + 1):
        for m in (1, 2, 5):
            q = m * 10.0 ** e
            if lo <= np.log10(q) <= hi:
                out.append(f'<path d="M{left} {y(q):.1f}H{w - right}" stroke="#ddd"/><text x="{left - 6}" y="{y(q) + 4:.1f}" text-anchor="end">{q:g}</text>')
    out.append(f'<text x="{(left + w - right) / 2}" y="{h - 10}" text-anchor="middle">recall@10</text>')
    out.append(f'<text x="14" y="{h / 2}" transform="rotate(-90 14 {h / 2})" text-anchor="middle">queries/s, one thread</text>')
    for n, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[n % len(COLOURS)]
        pts = " ".join(f"{x(r):.1f},{y(q):.1f}" for r, q in sorted(curve) if r >= 0.8)
        width = 3 if name.startswith("latentd") else 1.5
        out.append(f'<polyline points="{pts}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
        out.append(f'<path d="M{w - right + 12} {top + 10 + 20 * n}h22" stroke="{colour}" stroke-width="{width}"/>'
                   f'<text x="{w - right + 40}" y="{top + 14 + 20 * n}">{name}</text>')
    out.append("</svg>\n")
    with open(path, "w") as f:
        f.write("\n".join(out))


def prepare(spec, cache):
    """The vectors as files in the cache; (name, folder, metric)."""
    folder = os.path.join(cache, spec.replace("/", "_").replace(":", "_"))
    note = os.path.join(folder, "set.json")
    if not os.path.exists(note):
        os.makedirs(folder, exist_ok=True)
        name, base, queries, metric = ann_data.load(spec)
        for what, a in (("base", base), ("queries", queries)):
            np.save(os.path.join(folder, what + ".npy"), a)
            ann_data.write_fvecs(os.path.join(folder, what + ".fvecs"), a)
        np.save(os.path.join(folder, "truth.npy"), ann_data.nearest(base, queries, metric, K))
        json.dump([name, metric], open(note, "w"))
    name, metric = json.load(open(note))
    return name, folder, metric


def ours(build, folder, metric, codes):
    """The command of a worker with our graph."""
    return [os.path.join(os.path.abspath(build), "tests", "bench", "bench_worker"), os.path.join(folder, "base.fvecs"),
            os.path.join(folder, "queries.fvecs"), metric, codes]


def theirs(peer, folder, metric):
    return [sys.executable, os.path.join(HERE, "ann_peer.py"), peer, os.path.join(folder, "base.npy"),
            os.path.join(folder, "queries.npy"), metric, folder]


def parse(parser):
    """With the arguments that all these benchmarks have."""
    parser.add_argument("--build", default=os.path.join(HERE, "..", "..", "build"))
    parser.add_argument("--cache", default="/tmp/latentd-bench")
    parser.add_argument("--out")
    return parser.parse_args()


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("spec")
    a.add_argument("--peers", default="hnswlib,faiss,usearch,usearch-i8,symqg,symqg-8bit,rabitq-hnsw,svs,vsag-sq8")
    a.add_argument("--codes", default="int8,1bit")
    a.add_argument("--efs", default=",".join(map(str, EFS)))
    a.add_argument("--rounds", type=int, default=3)
    a = parse(a)
    name, folder, metric = prepare(a.spec, a.cache)
    truth = np.load(os.path.join(folder, "truth.npy"))[:, :K]
    n = len(np.load(os.path.join(folder, "base.npy"), mmap_mode="r"))
    efs = [int(e) for e in a.efs.split(",")]
    workers = []
    for codes in filter(None, a.codes.split(",")):
        workers.append(Worker("latentd-" + codes, ours(a.build, folder, metric, codes), folder))
    for peer in filter(None, a.peers.split(",")):
        workers.append(Worker(peer, theirs(peer, folder, metric), folder))
    build, alive = {}, []
    for w in workers:
        try:
            build[w.name] = w.ask("build")
            alive.append(w)
            print(f"{w.name}: built in {build[w.name][0]:.1f} s, {build[w.name][1] / n:.0f} bytes a vector", flush=True)
        except RuntimeError as e:
            print(e, flush=True)
    times, recalls = {}, {}
    for _ in range(a.rounds):
        for ef in efs:
            for w in alive:
                qps, ids = w.search(ef, len(truth))
                times.setdefault((w.name, ef), []).append(qps)
                recalls[w.name, ef] = recall_of(ids, truth)
    for w in workers:
        w.close()
    curves = {w.name: [(recalls[w.name, ef], statistics.median(times[w.name, ef])) for ef in efs] for w in alive}
    if a.out:
        with open(a.out + ".tsv", "w") as f:
            f.write("set\tindex\tef\trecall@10\tqueries/s\tbuild s\tbytes/vector\n")
            for c in curves:
                for ef, (r, q) in zip(efs, curves[c]):
                    f.write(f"{name}\t{c}\t{ef}\t{r:.4f}\t{q:.0f}\t{build[c][0]:.1f}\t{build[c][1] / n:.0f}\n")
        svg(a.out + ".svg", f"{name}: recall and speed", curves)
    print(f"{name}, load {os.getloadavg()[0]:.1f}: queries/s at recall")
    for c in curves:
        row = [at_recall(curves[c], want) for want in (0.9, 0.95, 0.99)]
        print(f"  {c:16s}" + "".join(f"{q:10.0f}" if q else "         -" for q in row), flush=True)


if __name__ == "__main__":
    main()
