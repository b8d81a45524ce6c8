"""Ids and vectors of one GGUF file beside llama.cpp: smollm2.py LIBRARY-FOLDER MODEL BUILD [LINES]

llama.cpp rounds activations to 8 bits for 4-bit weights; latentd does not. So its vectors are compared twice: for the same weights at f32,
where both compute the same (every cosine 0.9999 or more), and for the file as it is, where ours must be as near to its vectors as its
own f32 ones are.
"""
import os
import subprocess
import sys
import tempfile

import numpy as np

import llama_peer
import mixed_lines
from compare import at_f32, compare_ids, records

TEXTS, LONGEST = 40, 120


def vectors(lib, path, ids):
    model = llama_peer.Model(lib, path)
    context = llama_peer.Context(model, llama_peer.MEAN, True)
    v = np.array([context.embed(i)[:model.dim] for i in ids], dtype=np.float64)
    context.close()
    model.close()
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def main():
    folder, path, build = sys.argv[1:4]
    n = int(sys.argv[4]) if len(sys.argv) > 4 else 100_000
    lib = llama_peer.load(os.path.abspath(folder))
    model = llama_peer.Model(lib, path)
    lines = [t.encode() for t in mixed_lines.lines(n, special=["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>"])]
    good = compare_ids(model, path, build, lines)
    ids = [list(model.ids(line, True))[:LONGEST] for line in lines[::max(1, n // TEXTS)]]
    model.close()
    out = subprocess.run([os.path.join(build, "tests/tools/dump_vectors"), path, "--mask", "causal", "--pooling", "mean"],
                         input=records(ids, "i"), stdout=subprocess.PIPE, check=True).stdout
    ours = np.frombuffer(out, dtype=np.float32).reshape(len(ids), -1).astype(np.float64)
    with tempfile.TemporaryDirectory() as home:
        whole = os.path.join(home, "f32.gguf")
        at_f32(path, whole)
        exact, rounded = vectors(lib, whole, ids), vectors(lib, path, ids)
    same = (ours * exact).sum(1)
    near, own = (ours * rounded).sum(1), (exact * rounded).sum(1)
    print(f"{len(ids)} texts: cosine to llama.cpp with f32 weights at least {same.min():.7f}; with the file's own {near.min():.6f}, "
          f"where llama.cpp is at {own.min():.6f} from itself")
    good = good and same.min() >= 0.9999 and (near >= own - 1e-4).all()
    return 0 if good else 1


sys.exit(main())
