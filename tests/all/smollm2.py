"""Ids and vectors of one GGUF file beside llama.cpp: smollm2.py LIBRARY-FOLDER MODEL BUILD [LINES]

llama.cpp rounds activations to 8 bits for 4-bit weights; latentd does not. So its vectors are compared twice: for the same weights at f32,
where both compute the same (every cosine 0.9999 or more), and for the file as it is, where ours must be as near to its vectors as its
own f32 ones are. The same f32 weights then go through llama.cpp's quantiser into the other mixtures that people have, which are compared at f32,
ours without products in int8 (LATENTD_CPU_MASK, of builds with faults).
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
MIXTURES = {"Q2_K": 10, "Q3_K_M": 12, "Q4_0": 2, "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30}


def vectors(lib, path, ids):
    model = llama_peer.Model(lib, path)
    context = llama_peer.Context(model, llama_peer.MEAN, True)
    v = np.array([context.embed(i)[:model.dim] for i in ids], dtype=np.float64)
    context.close()
    model.close()
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def ours(build, path, ids, **environment):
    out = subprocess.run([os.path.join(build, "tests/tools/dump_vectors"), path, "--mask", "causal", "--pooling", "mean"],
                         input=records(ids, "i"), stdout=subprocess.PIPE, check=True, env=os.environ | environment).stdout
    return np.frombuffer(out, dtype=np.float32).reshape(len(ids), -1).astype(np.float64)


def mixtures(lib, build, source, home, ids):
    """Ours of each mixture of types beside llama.cpp's of the same weights at f32."""
    good = True
    for name, number in MIXTURES.items():
        path, whole = os.path.join(home, name + ".gguf"), os.path.join(home, "whole.gguf")
        llama_peer.quantise(lib, source, path, number)
        at_f32(path, whole)
        least = (ours(build, path, ids, LATENTD_CPU_MASK="1") * vectors(lib, whole, ids)).sum(1).min()
        print(f"{name}: least cosine {least:.7f}", flush=True)
        good = good and least >= 0.9999
        os.remove(path)
    return good


def main():
    folder, path, build = sys.argv[1:4]
    n = int(sys.argv[4]) if len(sys.argv) > 4 else 100_000
    lib = llama_peer.load(os.path.abspath(folder))
    model = llama_peer.Model(lib, path)
    lines = [t.encode() for t in mixed_lines.lines(n, special=["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>"])]
    good = compare_ids(model, path, build, lines)
    ids = [list(model.ids(line, True))[:LONGEST] for line in lines[::max(1, n // TEXTS)]]
    model.close()
    mine = ours(build, path, ids)
    with tempfile.TemporaryDirectory() as home:
        whole = os.path.join(home, "f32.gguf")
        at_f32(path, whole)
        exact, rounded = vectors(lib, whole, ids), vectors(lib, path, ids)
        good = mixtures(lib, build, whole, home, ids[::4]) and good
    same = (mine * exact).sum(1)
    near, own = (mine * rounded).sum(1), (exact * rounded).sum(1)
    print(f"{len(ids)} texts: cosine to llama.cpp with f32 weights at least {same.min():.7f}; with the file's own {near.min():.6f}, "
          f"where llama.cpp is at {own.min():.6f} from itself")
    good = good and same.min() >= 0.9999 and (near >= own - 1e-4).all()
    return 0 if good else 1


sys.exit(main())
