#!/usr/bin/env python3
"""llama.cpp's rate on a decoder with the default model's layer sizes, beside ours: q8_0, two threads each.

  npm pack @node-llama-cpp/linux-x64 && tar xzf node-llama-cpp-linux-x64-*.tgz; pip install gguf numpy
  tests/bench/bench_llama.py package/bins/linux-x64 [--build BUILD]

The peer's model has random weights: 3 layers of 384 with 6 heads, SwiGLU 1024, 32,000 pieces, no pooler, which ours does have on
top; then 12 layers of 768 with 12 heads, SwiGLU 2048. In turns, by the clock and by the CPU time of all threads: 16 texts of 128 tokens (bench_ops for ours), one of 128, and one query of 16 tokens. llama.cpp computes the attention of a
batch over all its texts and masks it, so its best rate may be with one text a batch.
"""
import argparse
import collections
import ctypes as C
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import gguf
import numpy as np

Shape = collections.namedtuple("Shape", "d layers heads kv_heads ffn vocab")
SHAPE = Shape(384, 3, 6, 6, 1024, 32000)
LARGE = Shape(768, 12, 12, 12, 2048, 32000)
ROUNDS = 7


class Opaque(C.Structure):
    """A parameter struct whose layout we need only the start of; large enough for any version."""
    _fields_ = [("words", C.c_uint32 * 256)]


class Batch(C.Structure):
    _fields_ = [("n_tokens", C.c_int32), ("token", C.POINTER(C.c_int32)), ("embd", C.c_void_p),
                ("pos", C.POINTER(C.c_int32)), ("n_seq_id", C.POINTER(C.c_int32)),
                ("seq_id", C.POINTER(C.POINTER(C.c_int32))), ("logits", C.POINTER(C.c_int8))]


def write_model(path, s=SHAPE, weight_type="Q8_0"):
    """A Llama-family file; every matrix repeats the same random values, from another start."""
    r = np.random.default_rng(1)
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(s.layers)
    w.add_context_length(4096)
    w.add_embedding_length(s.d)
    w.add_feed_forward_length(s.ffn)
    w.add_head_count(s.heads)
    w.add_head_count_kv(s.kv_heads)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(s.d // s.heads)
    w.add_vocab_size(s.vocab)
    w.add_tokenizer_model("no_vocab")
    stored = gguf.GGMLQuantizationType[weight_type]
    values = (r.standard_normal(1 << 24) / s.d ** 0.5).astype(np.float32)

    def mat(name, rows, cols):
        x = np.resize(np.roll(values, int(r.integers(len(values)))), (rows, cols))
        w.add_tensor(name, gguf.quants.quantize(x, stored), raw_dtype=stored)

    mat("token_embd.weight", s.vocab, s.d)
    w.add_tensor("output_norm.weight", np.ones(s.d, np.float32))
    d, kv = s.d, s.d // s.heads * s.kv_heads
    for i in range(s.layers):
        for name in ("attn_norm", "ffn_norm"):
            w.add_tensor(f"blk.{i}.{name}.weight", np.ones(d, np.float32))
        for name, rows, cols in (("attn_q", d, d), ("attn_k", kv, d), ("attn_v", kv, d), ("attn_output", d, d),
                                 ("ffn_gate", s.ffn, d), ("ffn_up", s.ffn, d), ("ffn_down", d, s.ffn)):
            mat(f"blk.{i}.{name}.weight", rows, cols)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


class Llama:
    """A model in a context for batches of n_tokens and n_seqs texts; with gpu, all layers there, or offloaded is false."""

    def __init__(self, folder, model, n_tokens=2048, n_seqs=16, vocab=SHAPE.vocab, gpu=False):
        self.vocab = vocab
        names = sorted(os.listdir(folder))
        os.environ["LD_LIBRARY_PATH"] = folder
        self.ggml = C.CDLL(os.path.join(folder, next(n for n in names if re.match(r"libggml\.(v|so)", n))), mode=C.RTLD_GLOBAL)
        self.l = C.CDLL(os.path.join(folder, next(n for n in names if re.match(r"libllama\.(v|so)", n))), mode=C.RTLD_GLOBAL)
        self.ggml.ggml_backend_load_all_from_path(folder.encode())
        l = self.l
        silent = C.CFUNCTYPE(None, C.c_int, C.c_char_p, C.c_void_p)
        self.said = []
        self.log = silent(lambda level, text, user: self.said.append(text or b""))
        l.llama_log_set(self.log, None)
        l.llama_model_default_params.restype = Opaque
        l.llama_context_default_params.restype = Opaque
        l.llama_model_load_from_file.restype = C.c_void_p
        l.llama_model_load_from_file.argtypes = [C.c_char_p, Opaque]
        l.llama_init_from_model.restype = C.c_void_p
        l.llama_init_from_model.argtypes = [C.c_void_p, Opaque]
        l.llama_batch_init.restype = Batch
        l.llama_decode.argtypes = [C.c_void_p, Batch]
        l.llama_set_n_threads.argtypes = [C.c_void_p, C.c_int32, C.c_int32]
        l.llama_set_embeddings.argtypes = [C.c_void_p, C.c_bool]
        l.llama_set_causal_attn.argtypes = [C.c_void_p, C.c_bool]
        l.llama_get_memory.restype = C.c_void_p
        l.llama_get_memory.argtypes = [C.c_void_p]
        l.llama_memory_clear.argtypes = [C.c_void_p, C.c_bool]
        p = l.llama_model_default_params()
        if C.c_int32(p.words[4]).value not in (0, 999, -1):
            sys.exit(f"unknown version of llama_model_params: starts {list(p.words[:8])}")
        p.words[4] = 999 if gpu else 0  # n_gpu_layers
        m = l.llama_model_load_from_file(model.encode(), p)
        self.offloaded = re.search(rb"offloaded (\d+)/\1 layers to GPU", b"".join(self.said)) is not None
        if not m:
            sys.exit("llama.cpp does not load the model")
        p = l.llama_context_default_params()
        if list(p.words[:4]) != [512, 2048, 512, 1]:
            sys.exit(f"unknown version of llama_context_params: starts {list(p.words[:8])}")
        p.words[0], p.words[1], p.words[2], p.words[3] = 2 * n_tokens, n_tokens, n_tokens, n_seqs  # n_ctx, n_batch, n_ubatch, n_seq_max
        self.c = l.llama_init_from_model(m, p)
        if not self.c:
            sys.exit("llama.cpp gives no context")
        l.llama_set_n_threads(self.c, 2, 2)
        l.llama_set_embeddings(self.c, True)
        l.llama_set_causal_attn(self.c, False)
        self.b = l.llama_batch_init(n_tokens, 0, 1)

    def run(self, texts, length):
        """Seconds for one batch of texts, of the clock and of CPU time."""
        b = self.b
        b.n_tokens = texts * length
        for i in range(b.n_tokens):
            b.token[i] = (i * 7919) % self.vocab
            b.pos[i] = i % length
            b.n_seq_id[i] = 1
            b.seq_id[i][0] = i // length
            b.logits[i] = 1
        self.l.llama_memory_clear(self.l.llama_get_memory(self.c), True)
        start, cpu = time.perf_counter(), time.process_time()
        if self.l.llama_decode(self.c, b) != 0:
            sys.exit("llama_decode failed")
        self.l.llama_synchronize(C.c_void_p(self.c))
        return time.perf_counter() - start, time.process_time() - cpu


def ours(build, large, texts, length):
    out = subprocess.run([os.path.join(build, "tests", "bench", "bench_ops")] + large + ["2", str(texts), str(length)], check=True,
                         capture_output=True, text=True, env=dict(os.environ, OMP_WAIT_POLICY="passive")).stdout
    return [float(x) / 1000 for x in re.findall(r"tokens/s \(([\d.]+) ms\), products", out)]


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("folder")
    a.add_argument("--build", default=os.path.join(os.path.dirname(__file__), "..", "..", "build"))
    a.add_argument("--rounds", type=int, default=ROUNDS)
    a = a.parse_args()
    for shape, large in ((SHAPE, []), (LARGE, ["--large"])):
        with tempfile.TemporaryDirectory() as home:
            path = os.path.join(home, "peer.gguf")
            write_model(path, shape)
            peer = Llama(os.path.abspath(a.folder), path)
            print(f"{shape.layers} layers of {shape.d}")
            for texts, length in ((16, 128), (1, 128), (1, 16)):
                peer.run(texts, length)
                pairs = [(ours(a.build, large, texts, length), min(peer.run(texts, length) for _ in range(3))) for _ in range(a.rounds)]
                for clock in (0, 1):
                    x, y = (statistics.median(p[side][clock] for p in pairs) for side in (0, 1))
                    print(f"{texts} x {length} tokens, {('clock', 'CPU time')[clock]}: ours {x * 1e3:.2f} ms ({texts * length / x:.0f} tokens/s), "
                          f"llama.cpp {y * 1e3:.2f} ms ({texts * length / y:.0f} tokens/s), "
                          f"ratio {statistics.median(q[clock] / p[clock] for p, q in pairs):.2f}")


if __name__ == "__main__":
    main()
