#!/usr/bin/env python3
"""A graph larger than memory: the process that searches it gets a cgroup whose limit is a share of the graph's files.

  pip install numpy; sudo tests/bench/bench_paged.py SPEC [--shares 2,0.5,0.25] [--codes int8,1bit] [--ef 64] [--build BUILD] [--cache DIR] [--out FILE.tsv]

SPEC as in bench_peers.py. The limit counts what the process itself needs, too: its queries, its code, its search memory. Page
faults are per query; a major one waits for the disk. Needs root, for the cgroup (version 1 or 2).
"""
import argparse
import glob
import os
import shutil
import subprocess
import sys

import numpy as np

from bench_peers import HERE, K, Worker, ours, parse, prepare, recall_of

sys.path.insert(0, os.path.join(HERE, "..", "system"))
from cgroup import Cgroup  # noqa: E402


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("spec")
    a.add_argument("--shares", default="2,0.5,0.25")
    a.add_argument("--codes", default="int8,1bit")
    a.add_argument("--ef", type=int, default=64)
    a = parse(a)
    name, folder, metric = prepare(a.spec, a.cache)
    truth = np.load(os.path.join(folder, "truth.npy"))[:, :K]
    rows = ["set\tcodes\tgraph MiB\tvectors MiB\tlimit MiB\tef\trecall@10\tqueries/s (CPU time)\tmajor faults/query\tminor faults/query"]
    for codes in a.codes.split(","):
        graph = os.path.join(folder, "paged-" + codes)
        shutil.rmtree(graph, ignore_errors=True)
        exe, base, *tail = ours(a.build, folder, metric, codes) + [graph]
        w = Worker("build", [exe, base, *tail], folder)
        w.ask("build")
        w.ask("save")
        w.close()
        size = os.path.getsize(glob.glob(os.path.join(graph, "segment-*"))[0])
        vectors = os.path.getsize(glob.glob(os.path.join(graph, "vectors-*"))[0])
        for share in a.shares.split(","):
            limit = int(float(share) * (size + vectors))
            subprocess.run(["sync"], check=True)
            for path in glob.glob(os.path.join(graph, "*")):  # the pages must be the new group's
                fd = os.open(path, os.O_RDONLY)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(fd)
            group = Cgroup(limit)
            try:
                w = Worker("paged", group.wrap([exe, "-", *tail]), folder)
                w.search(a.ef, len(truth))  # warm, as far as there is room
                qps, major, minor = w.ask(f"search {a.ef} {w.out}")
                ids = np.fromfile(w.out, dtype=np.int64).reshape(len(truth), K)
                w.close()
            finally:
                group.close()
            rows.append(f"{name}\t{codes}\t{size / 2**20:.0f}\t{vectors / 2**20:.0f}\t{limit / 2**20:.0f}\t{a.ef}\t"
                        f"{recall_of(ids, truth):.4f}\t{qps:.0f}\t{major:.2f}\t{minor:.2f}")
            print(rows[-1], flush=True)
        shutil.rmtree(graph)
    if a.out:
        with open(a.out, "w") as f:
            f.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    sys.exit(main())
