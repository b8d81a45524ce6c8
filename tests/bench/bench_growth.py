#!/usr/bin/env python3
"""How cost grows with the collection: queries/s at recall 0.95 and 0.99, build time and bytes for 10^4 … 10^6 vectors, one thread,
and two threads against one.

  pip install numpy; tests/bench/bench_growth.py [--sizes 10000,100000,1000000] [--dim 384] [--codes int8] [--peers hnswlib] [--build BUILD] [--cache DIR] [--out PREFIX]

Writes PREFIX.tsv and PREFIX.svg. The vectors are ann_data.py's embedding-like ones; times are CPU time, as in bench_peers.py.
"""
import argparse
import os
import statistics

import numpy as np

from bench_peers import COLOURS, K, Worker, at_recall, ours, parse, prepare, recall_of, theirs

EFS = [16, 24, 32, 48, 64, 96, 128, 192, 256, 400, 600, 900]


def svg(path, panels):
    """panels: title, {name: [(n, value)]}; both axes logarithmic."""
    w, h, pad = 420, 320, 60
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{w * len(panels)}" height="{h}" font-family="sans-serif" font-size="12">',
           f'<rect width="{w * len(panels)}" height="{h}" fill="white"/>']
    for p, (title, series) in enumerate(panels):
        points = [q for s in series.values() for q in s]
        x0, x1 = (np.log10(f(q[0] for q in points)) for f in (min, max))
        y0, y1 = (r(np.log10(f(q[1] for q in points)) * 2) / 2 for f, r in ((min, np.floor), (max, np.ceil)))

        def x(n):
            return p * w + pad + (w - 2 * pad) * (np.log10(n) - x0) / max(x1 - x0, 1e-9)

        def y(v):
            return h - pad + (2 * pad - h + 10) * (np.log10(v) - y0) / max(y1 - y0, 1e-9)
        out.append(f'<text x="{p * w + pad}" y="24" font-size="14">{title}</text>')
        for n in sorted({q[0] for q in points}):
            out.append(f'<path d="M{x(n):.1f} {y(10**y0):.1f}V{y(10**y1):.1f}" stroke="#ddd"/>'
                       f'<text x="{x(n):.1f}" y="{h - pad + 18}" text-anchor="middle">{n:,}</text>')
        for e in range(int(np.floor(y0)), int(np.ceil(y1)) + 1):
            if y0 <= e <= y1:
                out.append(f'<path d="M{x(10**x0):.1f} {y(10.0**e):.1f}H{x(10**x1):.1f}" stroke="#ddd"/>'
                           f'<text x="{p * w + pad - 6}" y="{y(10.0**e) + 4:.1f}" text-anchor="end">{10.0**e:g}</text>')
        for i, (name, s) in enumerate(series.items()):
            pts = " ".join(f"{x(n):.1f},{y(v):.1f}" for n, v in sorted(s))
            out.append(f'<polyline points="{pts}" fill="none" stroke="{COLOURS[i]}" stroke-width="2"/>'
                       f'<text x="{p * w + pad + 8}" y="{h - pad - 8 - 15 * i}" fill="{COLOURS[i]}">{name}</text>')
    out.append("</svg>\n")
    with open(path, "w") as f:
        f.write("\n".join(out))


def measure(worker, truth, efs, rounds):
    curve = []
    for ef in efs:
        runs = [worker.search(ef, len(truth)) for _ in range(rounds)]
        curve.append((recall_of(runs[0][1], truth), statistics.median(q for q, _ in runs)))
        if curve[-1][0] > 0.995:
            break
    return curve


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--sizes", default="10000,100000,1000000")
    a.add_argument("--dim", type=int, default=384)
    a.add_argument("--codes", default="int8")
    a.add_argument("--peers", default="hnswlib")
    a.add_argument("--rounds", type=int, default=3)
    a = parse(a)
    rows = ["index\tvectors\tdim\tbuild s\tbytes/vector\tq/s at 0.95\tq/s at 0.99\ttwo threads / one\tby the clock"]
    speed, building = {}, {}
    for size in a.sizes.split(","):
        name, folder, metric = prepare(f"like:{size},{a.dim}", a.cache)
        truth = np.load(os.path.join(folder, "truth.npy"))[:, :K]
        jobs = []
        for c in filter(None, a.codes.split(",")):
            jobs.append(("latentd-" + c, ours(a.build, folder, metric, c)))
        for peer in filter(None, a.peers.split(",")):
            jobs.append((peer, theirs(peer, folder, metric)))
        for index, args in jobs:
            w = Worker(index, args, folder)
            seconds, size_bytes = w.ask("build")[:2]
            curve = measure(w, truth, EFS, a.rounds)
            q95, q99 = at_recall(curve, 0.95), at_recall(curve, 0.99)
            scale = "\t"
            if index.startswith("latentd"):
                pairs = [(w.ask("threads 2 64"), w.ask("threads 1 64")) for _ in range(5)]
                scale = "\t".join(f"{statistics.median(two[i] / one[i] for two, one in pairs):.2f}" for i in (0, 1))
            w.close()
            rows.append(f"{index}\t{size}\t{a.dim}\t{seconds:.1f}\t{size_bytes / int(size):.0f}\t{q95 or 0:.0f}\t{q99 or 0:.0f}\t{scale}")
            print(rows[-1], flush=True)
            speed.setdefault(f"{index}, recall 0.95", []).append((int(size), q95 or 1))
            speed.setdefault(f"{index}, recall 0.99", []).append((int(size), q99 or 1))
            building.setdefault(index, []).append((int(size), seconds))
    if a.out:
        with open(a.out + ".tsv", "w") as f:
            f.write("\n".join(rows) + "\n")
        svg(a.out + ".svg", [("queries/s, one thread", speed), ("build, CPU seconds, one thread", building)])


if __name__ == "__main__":
    main()
