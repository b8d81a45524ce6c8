#!/usr/bin/env python3
"""The graph against its peers on every set, as one table: reads what bench_peers.py --out wrote, prints Markdown.

  tests/bench/ann_table.py [--note "MACHINE AND DATE"] tests/bench/results/ann-*.tsv >tests/bench/results/ann.md

Speeds are queries/s of one thread (CPU time) at a recall@10, on a straight line between an index's measured points; "-": it does
not reach that recall with the ef it was given. Sizes leave out exact vectors where an index keeps them in a file of their own
(ours does).
"""
import argparse
import csv

from bench_peers import at_recall

OURS, BASE, NEWEST = "latentd-int8", "hnswlib", ("symqg", "svs", "vsag-sq8")
RECALLS = (0.95, 0.99)


class Set:
    def __init__(self, path):
        self.curves, self.build, self.bytes = {}, {}, {}
        with open(path) as f:
            for row in csv.DictReader(f, delimiter="\t"):
                name, index = row["set"], row["index"]
                self.name = name
                self.curves.setdefault(index, []).append((float(row["recall@10"]), float(row["queries/s"])))
                self.build[index], self.bytes[index] = float(row["build s"]), float(row["bytes/vector"])

    def speed(self, index, recall):
        return at_recall(self.curves.get(index, []), recall)

    def over(self, others, recall):
        """Ours against the best of the others."""
        ours, best = self.speed(OURS, recall), max((self.speed(o, recall) or 0 for o in others), default=0)
        return f"{ours / best:.2f}" if ours and best else "-"


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--note", default="")
    a.add_argument("points", nargs="+")
    a = a.parse_args()
    sets = [Set(p) for p in a.points]
    peers = {i for s in sets for i in s.curves if not i.startswith("latentd")}
    print("# The graph and its peers\n\nWritten by `tests/bench/ann_table.py` from the points in `ann-*.tsv`, which "
          "`tests/bench/bench_peers.py SPEC --out tests/bench/results/ann-NAME`\nmeasured and drew as `ann-*.svg`; "
          "their heads say how. Each peer's graph was built once, and its build time is of then. SVS has float16 vectors where its "
          f"compression,\nLVQ, does not run: on other CPUs than Intel's. {a.note}\n")
    print(f"## {OURS} against the others\n")
    print("| set | recall | × hnswlib | × best of FAISS, USearch | × best of SymQG, SVS, VSAG | build, hnswlib's time ÷ ours | bytes a vector ÷ hnswlib's, int8, 1 bit |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for s in sets:
        for r in RECALLS:
            size = ", ".join(f"{s.bytes[c] / s.bytes[BASE]:.2f}" for c in (OURS, "latentd-1bit") if c in s.bytes)
            print(f"| {s.name} | {r} | {s.over([BASE], r)} | {s.over(['faiss', 'usearch', 'usearch-i8'], r)} | {s.over(NEWEST, r)} | "
                  f"{s.build[BASE] / s.build[OURS]:.2f} | {size} |")
    print("\n## Queries/s at recall 0.95 / 0.99, build in CPU seconds, bytes a vector\n")
    names = [i for i in (OURS, "latentd-1bit") if any(i in s.curves for s in sets)] + sorted(peers)
    print("| index | " + " | ".join(s.name for s in sets) + " |")
    print("| --- |" + " --- |" * len(sets))
    for i in names:
        cells = []
        for s in sets:
            speeds = [s.speed(i, r) for r in RECALLS]
            cells.append(" / ".join(f"{q:,.0f}" if q else "-" for q in speeds) + f"; {s.build[i]:,.0f} s; {s.bytes[i]:,.0f}"
                         if i in s.curves else "not run")
        print(f"| {i} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
