#!/usr/bin/env python3
"""Building with several threads, by the clock: ours and hnswlib's, one after the other, and what each graph then finds.

  pip install numpy hnswlib; tests/bench/bench_build.py SPEC [--threads 1,2] [--codes int8] [--ef 64] [--build BUILD] [--cache DIR] [--out FILE]

SPEC as in ann_data.py; M 16, efConstruction 200. On a machine with other work the clock tells little; CPU seconds stand beside it.
"""
import argparse
import os

import numpy as np

from bench_peers import K, Worker, ours, parse, prepare, recall_of, theirs


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("spec")
    a.add_argument("--threads", default="1,2")
    a.add_argument("--codes", default="int8")
    a.add_argument("--ef", type=int, default=64)
    a = parse(a)
    name, folder, metric = prepare(a.spec, a.cache)
    truth = np.load(os.path.join(folder, "truth.npy"))[:, :K]
    rows = ["set\tindex\tthreads\tseconds by the clock\tCPU seconds\tclock of one thread / this\thnswlib's clock / this\trecall@10 at ef " + str(a.ef)]
    first = {}
    for n in a.threads.split(","):
        clock = {}
        for index, args in (("hnswlib", theirs("hnswlib", folder, metric)), ("latentd-" + a.codes, ours(a.build, folder, metric, a.codes))):
            w = Worker(index, args, folder)
            cpu, _, clock[index] = w.ask(f"build {n}")
            _, ids = w.search(a.ef, len(truth))
            w.close()
            rows.append(f"{name}\t{index}\t{n}\t{clock[index]:.1f}\t{cpu:.1f}\t{first.setdefault(index, clock[index]) / clock[index]:.2f}\t"
                        f"{clock['hnswlib'] / clock[index]:.2f}\t{recall_of(ids, truth):.4f}")
            print(rows[-1], flush=True)
    if a.out:
        with open(a.out, "w") as f:
            f.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
