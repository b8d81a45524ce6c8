#!/usr/bin/env python3
"""llama.cpp's rate on a decoder with the default model's layer sizes, beside ours: q8_0, two threads each.

  npm pack @node-llama-cpp/linux-x64 && tar xzf node-llama-cpp-linux-x64-*.tgz; pip install gguf numpy
  tests/bench/bench_llama.py package/bins/linux-x64 [--build BUILD] [--file GGUF…]

The peer's model has random weights: 3 layers of 384 with 6 heads, SwiGLU 1024, 32,000 pieces, no pooler, which ours does have on
top; then 12 layers of 768 with 12 heads, SwiGLU 2048. It is of the embedding form, which computes no logits. In turns, by the clock and
by the CPU time of all threads: 16 texts of 128 tokens (bench_ops for ours), one of 128, and one query of 16 tokens. llama.cpp computes
the attention of a batch over all its texts and masks it, so one text at a time may be faster: its best rate counts, of both, with and
without flash attention. `limit` is what our ratio would be were oneDNN's int8 products of these shapes all that a batch takes: one
thread's time for them (bench_ops), by the clock shared out between both threads without a loss.

With --file instead: GGUF files as people have them, by the clock only: ours is bench_embed, which takes what is exact enough for the model.
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
THREADS = 2


class Opaque(C.Structure):
    """A parameter struct whose layout we need only the start of; large enough for any version."""
    _fields_ = [("words", C.c_uint32 * 256)]


class Batch(C.Structure):
    _fields_ = [("n_tokens", C.c_int32), ("token", C.POINTER(C.c_int32)), ("embd", C.c_void_p),
                ("pos", C.POINTER(C.c_int32)), ("n_seq_id", C.POINTER(C.c_int32)),
                ("seq_id", C.POINTER(C.POINTER(C.c_int32))), ("logits", C.POINTER(C.c_int8))]


def quantised(base, rows, cols, stored):
    """rows × cols as the file has them: those of the first few repeat, which costs the peer nothing and us no time."""
    few = np.resize(np.roll(base, rows + cols), (min(rows, 64), cols))
    if stored == gguf.GGMLQuantizationType.Q4_K:  # not among those that the package makes
        out = np.empty((len(few), cols // 256 * 144), np.uint8)
        quantise = ggml_base().ggml_quantize_chunk
        quantise.restype = C.c_size_t
        quantise.argtypes = [C.c_int, C.c_void_p, C.c_void_p, C.c_int64, C.c_int64, C.c_int64, C.c_void_p]
        if quantise(int(stored), few.ctypes.data, out.ctypes.data, 0, len(few), cols, None) != out.nbytes:
            sys.exit("llama.cpp does not quantise")
        few = out
    else:
        few = gguf.quants.quantize(few, stored)
    return np.resize(few, (rows, few.shape[1]))


def write_model(path, s=SHAPE, weight_type="Q8_0", arch="llama-embed"):
    """A Llama-family file with random weights, the same in every layer. llama-embed is the family's embedding form: no causal mask, no
    logits; llama has both, and attention that knows its texts apart."""
    r = np.random.default_rng(1)
    w = gguf.GGUFWriter(path, arch)
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
    base = (r.standard_normal(1 << 20) / s.d ** 0.5).astype(np.float32)
    made = {}

    def mat(name, rows, cols):
        if (rows, cols) not in made:
            made[rows, cols] = quantised(base, rows, cols, stored)
        w.add_tensor(name, made[rows, cols], raw_dtype=stored)

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


libraries = {}


def load(folder):
    """llama.cpp's libraries, with all their backends."""
    if libraries:
        return
    names = sorted(os.listdir(folder))
    for key, pattern in (("base", r"libggml-base\.so"), ("ggml", r"libggml\.(v|so|\w+\.v)"), ("llama", r"libllama\.(v|so|\w+\.v)")):
        libraries[key] = C.CDLL(os.path.join(folder, next(n for n in names if re.match(pattern, n))), mode=C.RTLD_GLOBAL)
    libraries["ggml"].ggml_backend_load_all_from_path(folder.encode())


def ggml_base():
    return libraries["base"]


class Llama:
    """A model in a context for batches of n_tokens and n_seqs texts, whose vectors are means; with gpu, all layers there, or offloaded is
    false. flash: llama.cpp's flash attention, 1, 0, or -1 for its own choice."""

    def __init__(self, folder, model, n_tokens=2048, n_seqs=16, vocab=SHAPE.vocab, gpu=False, flash=-1):
        load(folder)
        self.vocab = vocab
        l = self.l = libraries["llama"]
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
        l.llama_get_embeddings_seq.restype = C.POINTER(C.c_float)
        l.llama_get_embeddings_seq.argtypes = [C.c_void_p, C.c_int32]
        for name in ("llama_free", "llama_model_free", "llama_synchronize"):
            getattr(l, name).argtypes = [C.c_void_p]
            getattr(l, name).restype = None
        p = l.llama_model_default_params()
        if C.c_int32(p.words[4]).value not in (0, 999, -1):
            sys.exit(f"unknown version of llama_model_params: starts {list(p.words[:8])}")
        p.words[4] = 999 if gpu else 0  # n_gpu_layers
        self.m = l.llama_model_load_from_file(model.encode(), p)
        self.offloaded = re.search(rb"offloaded (\d+)/\1 layers to GPU", b"".join(self.said)) is not None
        if not self.m:
            sys.exit("llama.cpp does not load the model: " + b"".join(self.said[-8:]).decode(errors="replace"))
        self.c = None
        self.n_tokens, self.n_seqs = n_tokens, n_seqs
        self.set_flash(flash)
        self.b = l.llama_batch_init(n_tokens, 0, 1)

    def set_flash(self, flash):
        """A context anew, with or without flash attention."""
        l = self.l
        if self.c:
            l.llama_free(self.c)
        p = l.llama_context_default_params()
        # rope scaling, pooling, attention and flash attention are -1 in a row: not given
        at = next((i for i in range(6, 12) if list(p.words[i:i + 4]) == [0xFFFFFFFF] * 4), 0)
        if list(p.words[:4]) != [512, 2048, 512, 1] or not at:
            sys.exit(f"unknown version of llama_context_params: starts {list(p.words[:16])}")
        n = self.n_tokens
        p.words[0], p.words[1], p.words[2], p.words[3] = 2 * n, n, n, self.n_seqs  # n_ctx, n_batch, n_ubatch, n_seq_max
        p.words[at + 1], p.words[at + 3] = 1, flash & 0xFFFFFFFF  # a text's mean
        self.c = l.llama_init_from_model(self.m, p)
        if not self.c:
            sys.exit("llama.cpp gives no context: " + b"".join(self.said[-8:]).decode(errors="replace"))
        l.llama_set_n_threads(self.c, THREADS, THREADS)
        l.llama_set_embeddings(self.c, True)
        l.llama_set_causal_attn(self.c, False)

    def close(self):
        self.l.llama_free(self.c)
        self.l.llama_model_free(self.m)

    def run(self, texts, length):
        """Seconds for one batch of texts, of the clock and of CPU time."""
        b, memory = self.b, self.l.llama_get_memory(self.c)
        b.n_tokens = texts * length
        for i in range(b.n_tokens):
            b.token[i] = (i * 7919) % self.vocab
            b.pos[i] = i % length
            b.n_seq_id[i] = 1
            b.seq_id[i][0] = i // length
            b.logits[i] = 1
        if memory:
            self.l.llama_memory_clear(memory, True)
        start, cpu = time.perf_counter(), time.process_time()
        if self.l.llama_decode(self.c, b) != 0:
            sys.exit("llama_decode failed")
        self.l.llama_synchronize(self.c)
        took = time.perf_counter() - start, time.process_time() - cpu
        if not self.l.llama_get_embeddings_seq(self.c, texts - 1):
            sys.exit("llama.cpp has no vector")
        return took


def ours(build, large, texts, length, threads=THREADS):
    """Seconds of ours and of products alone, each of the clock and of CPU time."""
    out = subprocess.run([os.path.join(build, "tests", "bench", "bench_ops")] + large + [str(threads), str(texts), str(length)], check=True,
                         capture_output=True, text=True, env=dict(os.environ, OMP_WAIT_POLICY="passive")).stdout
    found = re.findall(r"tokens/s \(([\d.]+) ms\), products alone \d+ tokens/s \(([\d.]+) ms\)", out)
    return [[float(x) / 1000 for x in side] for side in zip(*found)]


def best_of(peer, texts, length, tries):
    """Least seconds for the texts, of the clock and of CPU time, together or one after the other."""
    best = [float("inf")] * 2
    for n in {texts, 1}:
        for _ in range(tries):
            best = [min(b, t * texts / n) for b, t in zip(best, peer.run(n, length))]
    return best


def our_file(build, path, texts, length):
    """Seconds of the median call of five."""
    out = subprocess.run([os.path.join(build, "tests", "bench", "bench_embed"), path, "cpu", str(THREADS), str(texts), str(length), "5"],
                         check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=dict(os.environ, OMP_WAIT_POLICY="passive")).stdout
    return float(re.search(r"tokens: ([\d.]+) ms", out).group(1)) / 1e3


def compare_file(folder, build, path, rounds):
    vocab = next(int(t.shape[1]) for t in gguf.GGUFReader(path).tensors if t.name == "token_embd.weight")
    peers = [Llama(folder, path, n_tokens=512, n_seqs=4, vocab=min(vocab, SHAPE.vocab), flash=f) for f in (0, 1)]
    for texts, length in ((4, 128), (1, 128), (1, 16)):
        pairs = []
        for _ in range(rounds):
            pairs.append((our_file(build, path, texts, length), min(best_of(p, texts, length, 3)[0] for p in peers)))
        x, y = (statistics.median(side) for side in zip(*pairs))
        print(f"{os.path.basename(path)}, {texts} x {length} tokens: ours {x * 1e3:.1f} ms, llama.cpp {y * 1e3:.1f} ms, "
              f"ratio {statistics.median(q / p for p, q in pairs):.2f}", flush=True)
    for peer in peers:
        peer.close()


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("folder")
    a.add_argument("--file", nargs="+", default=[])
    a.add_argument("--build", default=os.path.join(os.path.dirname(__file__), "..", "..", "build"))
    a.add_argument("--rounds", type=int, default=ROUNDS)
    a = a.parse_args()
    load(os.path.abspath(a.folder))
    for path in a.file:
        compare_file(a.folder, a.build, path, a.rounds)
    for shape, large in () if a.file else ((SHAPE, []), (LARGE, ["--large"])):
        with tempfile.TemporaryDirectory() as home:
            path = os.path.join(home, "peer.gguf")
            write_model(path, shape)
            peers = [Llama(a.folder, path, flash=f) for f in (0, 1)]
            print(f"{shape.layers} layers of {shape.d}")
            for texts, length in ((16, 128), (1, 128), (1, 16)):
                pairs, products = [], []
                for peer in peers:
                    peer.run(texts, length)
                for _ in range(a.rounds):
                    mine = ours(a.build, large, texts, length)[0]
                    clock, cpu = ours(a.build, large, texts, length, 1)[1]
                    products.append((clock / THREADS, cpu))
                    pairs.append((mine, [min(t) for t in zip(*(best_of(p, texts, length, 3) for p in peers))]))
                for clock in (0, 1):
                    x, y = (statistics.median(p[side][clock] for p in pairs) for side in (0, 1))
                    print(f"{texts} x {length} tokens, {('clock', 'CPU time')[clock]}: ours {x * 1e3:.2f} ms ({texts * length / x:.0f} tokens/s), "
                          f"llama.cpp {y * 1e3:.2f} ms ({texts * length / y:.0f} tokens/s), "
                          f"ratio {statistics.median(q[clock] / p[clock] for p, q in pairs):.2f}, "
                          f"limit {statistics.median(q[clock] / m[clock] for m, (p, q) in zip(products, pairs)):.2f}")
            for peer in peers:
                peer.close()


if __name__ == "__main__":
    main()
