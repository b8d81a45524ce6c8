#!/usr/bin/env python3
"""Writes tests/golden/rerankers: tiny random rerankers as GGUF files, and what they must give.

Qwen3 as llama.cpp's converter writes Qwen3-Reranker (the head's rows are those of "yes" and "no" in the language model's head), in F16 and in Q8_0,
and a Qwen3 with one label; ModernBERT with the head of its sequence classification, which sees the mean or the first token (llama.cpp knows the first of
them only in later versions, so that one is compared with transformers alone). Prompts and scores are those of `transformers` in float64, from the same weights rounded as stored: P(yes) is the softmax of
both logits at the prompt's last token. llama.cpp's own rank pooling of the same file is compared before anything is kept, ids too.

    python3 -m venv V && V/bin/pip install torch==2.15.0 transformers==5.23.0 gguf==0.19.0 numpy
    npm pack @node-llama-cpp/linux-x64 && tar xzf node-llama-cpp-linux-x64-*.tgz
    V/bin/python tests/tools/make_rerankers.py package/bins/linux-x64
"""
import json
import os
import sys

import gguf
import numpy as np
import torch
import transformers as tf

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "golden", "rerankers")
sys.path.insert(0, os.path.join(HERE, "..", "all"))
import llama_peer  # noqa: E402
from make_decoders import SHAPE, byte_level, common, modernbert, randomise, write_weights  # noqa: E402

TEMPLATE = ("<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the "
            "answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n<Instruct>: Given a web search query, retrieve relevant passages that "
            "answer the query\n<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
PAIR = "[CLS]{query}[SEP]{document}[SEP]"
PLAIN = "query: {query} document: {document}"
CASES = [
    ("which fox is quick", ["the quick brown fox jumps over the lazy dog", "a library of documents", "12345 and 6 x 7 = 42\n\n\tnaïve 日本語 🙂",
                            "the index of the library " * 12, "a", ""]),
    ("Where do dogs sleep?", ["dogs and other animals", "In the library: vectors, then documents.", "{query} and {document} are text here"]),
]


def q8_0(x):
    """As stored in Q8_0: blocks of 32 along a row."""
    return gguf.quants.dequantize(gguf.quants.quantize(x, gguf.GGMLQuantizationType.Q8_0), gguf.GGMLQuantizationType.Q8_0)


def build(name, labels, template, kind, seed):
    path = os.path.join(OUT, name + ".gguf")
    w = gguf.GGUFWriter(path, "qwen3")
    w.add_name(f"tiny {name}")
    n = byte_level(w, "qwen2", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], eos="<|im_end|>", bos="<|endoftext|>")
    c = tf.Qwen3Config(**(SHAPE | dict(max_position_embeddings=640)), vocab_size=n, rope_parameters={"rope_theta": 10000.0, "rope_type": "default"})
    common(w, c)
    w.add_rope_freq_base(10000.0)
    w.add_pooling_type(gguf.PoolingType.RANK)
    w.add_classifier_output_labels(labels)
    w.add_chat_template([{"name": "rerank", "template": template}])
    torch.manual_seed(seed)
    model = randomise(tf.Qwen3Model(c), seed)
    model.config._attn_implementation = "eager"
    head = torch.randn(len(labels), c.hidden_size, generator=torch.Generator().manual_seed(seed + 1)).half().double() * 0.5
    if kind == "q8_0":
        state = {k: torch.from_numpy(q8_0(p.float().numpy())).double() if p.ndim == 2 and p.shape[1] % 32 == 0 else p
                 for k, p in model.state_dict().items()}
        model.load_state_dict(state)
    write(w, model, kind)
    w.add_tensor("cls.output.weight", head.float().numpy().astype(np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path, model, head


def build_pair(name, pooling, seed):
    """ModernBERT: its file, and what gives a prompt's logit."""
    path = os.path.join(OUT, name + ".gguf")
    w = gguf.GGUFWriter(path, "modern-bert")
    w.add_name(f"tiny {name}")
    c = modernbert(w, gguf.PoolingType.RANK)[0].config
    c.num_labels, c.classifier_pooling = 1, pooling
    if pooling == "cls":
        w.add_uint32("modern-bert.classifier.pooling_type", 2)
    torch.manual_seed(seed)
    model = randomise(tf.ModernBertForSequenceClassification(c), seed)
    model.config._attn_implementation = "eager"
    write_weights(w, model.model, True, False)
    for ours, theirs in (("cls.weight", model.head.dense.weight), ("cls.norm.weight", model.head.norm.weight),
                         ("cls.output.weight", model.classifier.weight), ("cls.output.bias", model.classifier.bias)):
        w.add_tensor(ours, theirs.detach().float().numpy())
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()

    def logit(ids):
        with torch.no_grad():
            return float(model(input_ids=torch.tensor([ids])).logits[0, 0])
    return path, logit


def write(w, model, kind):
    if kind != "q8_0":
        write_weights(w, model, kind == "f16", False)
        return

    class Quantised:
        """The writer, but that matrices of whole blocks go in as Q8_0."""

        def add_tensor(self, name, x):
            if x.ndim == 2 and x.shape[1] % 32 == 0:
                q = gguf.GGMLQuantizationType.Q8_0
                w.add_tensor(name, gguf.quants.quantize(x.astype(np.float32), q), raw_dtype=q)
            else:
                w.add_tensor(name, x)
    write_weights(Quantised(), model, False, False)


def score(model, head, ids):
    with torch.no_grad():
        state = model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0, -1]
        logits = head @ state
    return float(torch.softmax(logits, 0)[0]) if len(logits) == 2 else float(logits[0])


def make(lib, name, labels, template, path, score_of, compared, limit):
    peer = llama_peer.Model(lib, path)
    context = llama_peer.Context(peer, llama_peer.RANK)
    cases, worst = [], 0.0
    for query, documents in CASES:
        rows = []
        for d in documents:
            prompt = template.replace("{document}", "\0").replace("{query}", query).replace("\0", d)
            ids = list(peer.ids(prompt.encode()))
            ours = score_of(ids)
            if compared:
                worst = max(worst, abs(ours - context.embed(ids)[0]))
            rows.append({"text": d, "ids": ids, "score": round(ours, 9)})
        cases.append({"query": query, "documents": rows})
    context.close()
    peer.close()
    scores = [r["score"] for c in cases for r in c["documents"]]
    print(f"{name}: {os.path.getsize(path)} bytes, scores {min(scores):.4f} to {max(scores):.4f}, llama.cpp within {worst:.2g}")
    if compared and worst > limit:
        sys.exit("they do not agree")
    with open(os.path.join(OUT, name + ".json"), "w", encoding="utf-8") as f:
        body = ",\n".join('  {"query": %s, "documents": [\n%s\n  ]}' % (json.dumps(c["query"]), ",\n".join(
            "    " + json.dumps(d, ensure_ascii=False) for d in c["documents"])) for c in cases)
        f.write(f'{{"labels": {json.dumps(labels)}, "template": {json.dumps(template)}, "cases": [\n{body}\n]}}\n')


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    lib = llama_peer.load(os.path.abspath(sys.argv[1]))
    os.makedirs(OUT, exist_ok=True)
    for name, labels, template, kind, seed, limit in (("qwen3-f32", ["yes", "no"], TEMPLATE, "f32", 59, 2e-3), ("qwen3-q8_0", ["yes", "no"], TEMPLATE, "q8_0", 59, 0.05),
                                                      ("one-label", ["LABEL_0"], PLAIN, "f16", 12, None)):
        path, model, head = build(name, labels, template, kind, seed)
        # with one label that is a row of a language model's head llama.cpp takes the softmax of that one
        make(lib, name, labels, template, path, lambda ids, m=model, h=head: score(m, h, ids), len(labels) == 2, limit)
    for name, pooling, seed in (("modernbert-mean", "mean", 21), ("modernbert-cls", "cls", 22)):
        path, logit = build_pair(name, pooling, seed)
        make(lib, name, [], PAIR, path, logit, pooling == "mean", 1e-2)


if __name__ == "__main__":
    main()
