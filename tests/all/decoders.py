"""The tiny models of every decoder family, and the tiny rerankers, beside llama.cpp: decoders.py LIBRARY-FOLDER BUILD [LINES]

All ids the same; vectors with f32 weights under each mask and pooling: cosine 0.9999 or more. Gemma's, EuroBERT and ModernBERT only under the mask
they were made with: under the other one llama.cpp leaves EmbeddingGemma's, EuroBERT's and ModernBERT's mask as it is, and of Gemma 3's window the side before
(model/FORMAT.md); tests/golden/decoders has what transformers makes of Gemma's. Rerankers of two labels: the score that llama.cpp's rank pooling gives, within 5e-3 (its
cache has 16 bits).
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

import llama_peer
from compare import at_f32, compare_ids, records
from mixed_lines import lines

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "..", "golden", "decoders")
FAMILIES = ["mistral", "llama", "qwen2", "qwen3", "gemma3", "embeddinggemma", "eurobert", "qwen3vl", "gemma2", "modernbert"]
POOLING = {"mean": llama_peer.MEAN, "cls": llama_peer.CLS, "last": llama_peer.LAST}
TEXTS, LONGEST = 30, 100


def compare_vectors(lib, name, path, build, ids, causal, pooling):
    out = subprocess.run([os.path.join(build, "tests/tools/dump_vectors"), path, "--mask", "causal" if causal else "full", "--pooling", pooling],
                         input=records(ids, "i"), stdout=subprocess.PIPE, check=True).stdout
    ours = np.frombuffer(out, dtype=np.float32).reshape(len(ids), -1).astype(np.float64)
    model = llama_peer.Model(lib, path)
    context = llama_peer.Context(model, POOLING[pooling], causal)
    theirs = np.array([context.embed(i)[:ours.shape[1]] for i in ids], dtype=np.float64)
    context.close()
    model.close()
    least = ((ours * theirs).sum(1) / np.linalg.norm(theirs, axis=1)).min()
    print(f"{name}, {'causal' if causal else 'full'} mask, {pooling}: {len(ids)} texts, least cosine {least:.7f}")
    return least >= 0.9999


def compare_scores(lib, build, ids):
    path = os.path.join(FOLDER, "..", "rerankers", "qwen3-f32.gguf")
    out = subprocess.run([os.path.join(build, "tests/tools/dump_vectors"), path], input=records(ids, "i"), stdout=subprocess.PIPE, check=True).stdout
    ours = np.frombuffer(out, dtype=np.float32)
    model = llama_peer.Model(lib, path)
    context = llama_peer.Context(model, llama_peer.RANK)
    theirs = np.array([context.embed(i)[0] for i in ids])
    context.close()
    model.close()
    print(f"reranker: {len(ids)} texts, scores {theirs.min():.4f} to {theirs.max():.4f}, largest difference {np.abs(ours - theirs).max():.2g}")
    return len(ours) == len(ids) and np.abs(ours - theirs).max() <= 5e-3


def main():
    folder, build = sys.argv[1:3]
    n = int(sys.argv[3]) if len(sys.argv) > 3 else 2000
    lib = llama_peer.load(os.path.abspath(folder))
    good = True
    texts = [t.encode() for t in lines(n, special=["<s>", "</s>", "<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "<bos>", "<eos>"])]
    for name in FAMILIES:
        path = os.path.join(FOLDER, name + ".gguf")
        with open(os.path.join(FOLDER, name + ".json"), encoding="utf-8") as f:
            how = json.load(f)
        model = llama_peer.Model(lib, path)
        good &= compare_ids(model, path, build, texts)
        ids = [list(model.ids(t, True))[:LONGEST] for t in texts[::max(1, n // TEXTS)]]
        model.close()
        ids = [i for i in ids if i]
        with tempfile.TemporaryDirectory() as home:
            whole = os.path.join(home, "f32.gguf")
            at_f32(path, whole)
            for causal in (how["causal"],) if "gemma" in name or "bert" in name else (how["causal"], not how["causal"]):
                for pooling in POOLING:
                    good &= compare_vectors(lib, name, whole, build, ids, causal, pooling)
    model = llama_peer.Model(lib, os.path.join(FOLDER, "..", "rerankers", "qwen3-f32.gguf"))
    ids = [list(model.ids(t))[:LONGEST] for t in texts[::max(1, n // TEXTS)]]
    model.close()
    good &= compare_scores(lib, build, [i for i in ids if i])
    return 0 if good else 1


sys.exit(main())
