#!/usr/bin/env python3
"""Writes tests/golden/decoders: one tiny random model of each decoder family as a GGUF file, and what it must give.

The weights are drawn here, rounded to f16 (so that a file of F16 matrices holds them exactly), run in `transformers` in float64,
and written with the names, orders and keys of llama.cpp's converter. Token ids are llama.cpp's, its vectors are compared
before anything is kept: cosine 0.9999 or more with those of transformers.

    python3 -m venv V && V/bin/pip install torch==2.15.0 transformers==5.23.0 gguf==0.19.0 numpy
    npm pack @node-llama-cpp/linux-x64 && tar xzf node-llama-cpp-linux-x64-*.tgz
    V/bin/python tests/tools/make_decoders.py package/bins/linux-x64
"""
import json
import os
import re
import sys
from collections import Counter

import gguf
import numpy as np
import torch
import transformers as tf

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "golden", "decoders")
sys.path.insert(0, os.path.join(HERE, "..", "all"))
import llama_peer  # noqa: E402

TRAIN = ("the quick brown fox jumps over the lazy dog and the other dogs do not mind that the fox is there while a vector "
         "search engine finds documents about foxes, dogs and other animals in the index of the library there and then ") * 3
TEXTS = ["the quick brown fox", "Vectors find documents about animals, don't they?", "12345 and 6 x 7 = 42\n\n\tnaïve 日本語 🙂",
         "the index of the library " * 12, "a"]
# Qwen3-VL-Embedding's, from its chat template with its own instruction for what is not a query.
CHAT = "<|im_start|>system\nRepresent the user's input.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


# ---- vocabularies ----

def merges_of(words, n):
    """The first n byte-pair merges of these words (tuples of symbols with counts)."""
    out = []
    words = dict(words)
    for _ in range(n):
        pairs = Counter()
        for w, c in words.items():
            for p in zip(w, w[1:]):
                pairs[p] += c
        best = max(pairs, key=lambda p: (pairs[p], p))
        out.append(best)
        merged = {}
        for w, c in words.items():
            i, new = 0, []
            while i < len(w):
                if w[i:i + 2] == best:
                    new.append(w[i] + w[i + 1])
                    i += 2
                else:
                    new.append(w[i])
                    i += 1
            merged[tuple(new)] = merged.get(tuple(new), 0) + c
        words = merged
    return out


def byte_chars():
    keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return {b: chr(b) for b in keep} | {b: chr(0x100 + i) for i, b in enumerate(b for b in range(256) if b not in keep)}


def byte_level(w, pre, specials, **ids):
    merges = merges_of(Counter(tuple("\u0120" + x) for x in TRAIN.split()), 60)
    tokens = list(dict.fromkeys([*byte_chars().values(), *(a + b for a, b in merges)]))
    types = [gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.CONTROL] * len(specials)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens + specials)
    w.add_token_types(types)
    w.add_token_merges([f"{a} {b}" for a, b in merges])
    special_ids(w, {k: len(tokens) + specials.index(v) for k, v in ids.items() if isinstance(v, str)}, ids)
    return len(tokens) + len(specials)


def sentencepiece(w, prefix, specials, **ids):
    merges = merges_of(Counter(tuple("\u2581" + x) for x in TRAIN.split()), 60)
    chars = sorted(set("\u2581" + TRAIN.replace(" ", "")) | set("ABCVxyz.?'=\n"))
    pieces = list(dict.fromkeys([*chars, *(a + b for a, b in merges)]))
    tokens = [*specials, *(f"<0x{b:02X}>" for b in range(256)), *pieces]
    scores = [0.0] * (len(specials) + 256) + [-1e4] * len(chars) + [-float(i) for i in range(len(pieces) - len(chars))]
    kinds = [gguf.TokenType.UNKNOWN if s == "<unk>" else gguf.TokenType.CONTROL for s in specials]
    types = kinds + [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * len(pieces)
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(tokens)
    w.add_token_scores(scores)
    w.add_token_types(types)
    w.add_add_space_prefix(prefix)
    special_ids(w, {k: tokens.index(v) for k, v in ids.items() if isinstance(v, str)}, ids)
    return len(tokens)


def special_ids(w, ids, flags):
    for name, put in (("bos", w.add_bos_token_id), ("eos", w.add_eos_token_id), ("unk", w.add_unk_token_id)):
        if name in ids:
            put(ids[name])
    w.add_add_bos_token(flags.get("add_bos", False))
    w.add_add_eos_token(flags.get("add_eos", False))


# ---- weights ----

def randomise(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:  # Gemma's are stored as what is added to 1
                p.copy_(torch.randn(p.shape, generator=g) * 0.2 + (0 if "gemma" in model.config.model_type else 1))
            else:
                p.copy_(torch.randn(p.shape, generator=g) * (0.5 if "embed" in name else 0.25))
            p.copy_(p.to(torch.float16).to(p.dtype))
    return model.double().eval()


def paired(x, heads):
    """The converter's order of Llama's query and key rows."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
MODERN = {"attn.Wqkv": "attn_qkv", "attn.Wo": "attn_output", "mlp.Wi": "ffn_up", "mlp.Wo": "ffn_down", "attn_norm": "attn_norm", "mlp_norm": "ffn_norm"}
WHOLE = {"embed_tokens": "token_embd", "norm": "output_norm", "embeddings.tok_embeddings": "token_embd", "embeddings.norm": "token_embd_norm",
         "final_norm": "output_norm"}
GEMMA = NAMES | {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
                 "post_feedforward_layernorm": "post_ffw_norm"}


def write_weights(w, model, f16, pairs):
    c = model.config
    gemma = "gemma" in c.model_type
    for name, p in model.state_dict().items():
        x = p.float().numpy()
        if name.removesuffix(".weight") in WHOLE:
            name = WHOLE[name.removesuffix(".weight")] + ".weight"
        else:
            _, layer, part, kind = re.sub(r"(attn|mlp)\.", r"\1|", name).split(".")
            part = ((GEMMA if gemma else NAMES) | MODERN)[part.replace("|", ".")]
            if pairs and part in ("attn_q", "attn_k"):
                x = paired(x, c.num_attention_heads if part == "attn_q" else c.num_key_value_heads)
            name = f"blk.{layer}.{part}.{kind}"
        if gemma and "norm" in name:
            x = x + 1
        w.add_tensor(name, x.astype(np.float16) if f16 and x.ndim == 2 else x.astype(np.float32))


def sizes(w, c):
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)


def common(w, c):
    sizes(w, c)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_key_length(c.head_dim)
    w.add_value_length(c.head_dim)
    w.add_rope_dimension_count(c.head_dim)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)


# ---- the families ----

SHAPE = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             head_dim=16, max_position_embeddings=512, rms_norm_eps=1e-5, attention_dropout=0.0)


def mistral(w):
    n = sentencepiece(w, True, ["<unk>", "<s>", "</s>"], unk="<unk>", bos="<s>", eos="</s>", add_bos=True)
    c = tf.MistralConfig(**SHAPE, vocab_size=n, sliding_window=None, rope_parameters={"rope_theta": 10000.0, "rope_type": "default"})
    common(w, c)
    w.add_rope_freq_base(10000.0)
    return tf.MistralModel(c), dict(pairs=True, pooling="mean", causal=True)


def llama(w):
    n = byte_level(w, "llama-bpe", ["<|begin_of_text|>", "<|end_of_text|>"], bos="<|begin_of_text|>", eos="<|end_of_text|>",
                   add_bos=True)
    scaling = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}
    c = tf.LlamaConfig(**SHAPE, vocab_size=n, rope_parameters=scaling)
    common(w, c)
    w.add_rope_freq_base(500000.0)
    w.add_pooling_type(gguf.PoolingType.CLS)
    w.add_causal_attention(False)
    m = tf.LlamaModel(c)
    plain = 500000.0 ** -(torch.arange(0, 16, 2, dtype=torch.float64) / 16)
    w.add_tensor("rope_freqs.weight", (plain / m.rotary_emb.inv_freq.double()).float().numpy())
    return m, dict(pairs=True, pooling="cls", causal=False)


def qwen2(w):
    n = byte_level(w, "qwen2", ["<|endoftext|>", "<|im_end|>"], eos="<|im_end|>", bos="<|endoftext|>", add_eos=True)
    shape = {k: v for k, v in SHAPE.items() if k != "head_dim"}
    c = tf.Qwen2Config(**shape, vocab_size=n, rope_parameters={"rope_theta": 1e6, "rope_type": "linear", "factor": 2.0})
    c.head_dim = 8
    common(w, c)
    w.add_rope_freq_base(1e6)
    w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    w.add_rope_scaling_factor(2.0)
    w.add_pooling_type(gguf.PoolingType.MEAN)
    return tf.Qwen2Model(c), dict(f16=True, pooling="mean", causal=True)


def qwen3(w):
    n = byte_level(w, "qwen2", ["<|endoftext|>", "<|im_end|>"], eos="<|endoftext|>", bos="<|im_end|>", add_eos=True)
    c = tf.Qwen3Config(**SHAPE, vocab_size=n, rope_parameters={
        "rope_theta": 10000.0, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128})
    common(w, c)
    w.add_rope_freq_base(10000.0)
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    w.add_rope_scaling_factor(4.0)
    w.add_rope_scaling_orig_ctx_len(128)
    w.add_pooling_type(gguf.PoolingType.LAST)
    return tf.Qwen3Model(c), dict(f16=True, pooling="last", causal=True)


def gemma_config(n, **more):
    local, whole = ["sliding_attention"], ["full_attention"]
    shape = SHAPE | dict(num_hidden_layers=4, intermediate_size=32, num_attention_heads=2, num_key_value_heads=1)
    return tf.Gemma3TextConfig(**shape, vocab_size=n, query_pre_attn_scalar=16, layer_types=local * 2 + whole + local, **more)


def gemma3(w):
    n = sentencepiece(w, False, ["<pad>", "<eos>", "<bos>", "<unk>"], unk="<unk>", bos="<bos>", eos="<eos>", add_bos=True)
    c = gemma_config(n, sliding_window=7, rope_parameters={
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}})
    common(w, c)
    w.add_rope_freq_base(1e6)
    w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    w.add_rope_scaling_factor(8.0)
    w.add_sliding_window(7)
    w.add_uint32("gemma3.attention.sliding_window_pattern", 3)
    return tf.Gemma3TextModel(c), dict(f16=True, pooling="mean", causal=True)


def embeddinggemma(w):
    n = sentencepiece(w, False, ["<pad>", "<eos>", "<bos>", "<unk>"], unk="<unk>", bos="<bos>", eos="<eos>", add_bos=True,
                      add_eos=True)
    c = gemma_config(n, sliding_window=10, use_bidirectional_attention=True, rope_parameters={
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "full_attention": {"rope_type": "default", "rope_theta": 1e6}})
    common(w, c)
    w.add_rope_freq_base(1e6)
    w.add_sliding_window(10)
    w.add_uint32("gemma-embedding.attention.sliding_window_pattern", 3)
    w.add_pooling_type(gguf.PoolingType.MEAN)
    g = torch.Generator().manual_seed(3)
    dense = [torch.randn(48, 32, generator=g).half().double(), torch.randn(32, 48, generator=g).half().double()]
    w.add_uint32("gemma-embedding.dense_2_feat_in", 32)
    w.add_uint32("gemma-embedding.dense_2_feat_out", 48)
    w.add_uint32("gemma-embedding.dense_3_feat_in", 48)
    w.add_uint32("gemma-embedding.dense_3_feat_out", 32)
    return tf.Gemma3TextModel(c), dict(f16=True, pooling="mean", causal=False, dense=dense)


def eurobert(w):
    n = byte_level(w, "jina-v5-nano", ["<|begin_of_text|>", "<|end_of_text|>"], bos="<|begin_of_text|>", eos="<|end_of_text|>", add_bos=True,
                   add_eos=True)
    c = tf.EuroBertConfig(**(SHAPE | dict(head_dim=8)), vocab_size=n, pad_token_id=None, bos_token_id=None, eos_token_id=None, mask_token_id=0,
                          rope_parameters={"rope_theta": 250000.0, "rope_type": "default"})
    common(w, c)
    w.add_rope_freq_base(250000.0)
    w.add_rope_scaling_type(gguf.RopeScalingType.NONE)
    w.add_causal_attention(False)
    w.add_pooling_type(gguf.PoolingType.LAST)
    return tf.EuroBertModel(c), dict(f16=True, pooling="last", causal=False)


def qwen3vl(w):
    n = byte_level(w, "qwen2", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], eos="<|im_end|>", bos="<|endoftext|>")
    c = tf.models.qwen3_vl.Qwen3VLTextConfig(**SHAPE, vocab_size=n, rope_parameters={
        "rope_theta": 5000000.0, "rope_type": "default", "mrope_interleaved": True, "mrope_section": [4, 2, 2]})
    common(w, c)
    w.add_rope_freq_base(5000000.0)
    w.add_rope_dimension_sections([4, 2, 2, 0])
    w.add_num_deepstack_layers(1)
    w.add_pooling_type(gguf.PoolingType.LAST)
    return tf.Qwen3VLTextModel(c), dict(f16=True, pooling="last", causal=True)


def gemma2(w):
    n = sentencepiece(w, False, ["<pad>", "<eos>", "<bos>", "<unk>"], unk="<unk>", bos="<bos>", eos="<eos>", add_bos=True, add_eos=True)
    shape = SHAPE | dict(num_hidden_layers=4, intermediate_size=32, num_attention_heads=2, num_key_value_heads=1)
    c = tf.Gemma2Config(**shape, vocab_size=n, query_pre_attn_scalar=16, sliding_window=7, attn_logit_softcapping=5.0,
                        rope_parameters={"rope_theta": 10000.0, "rope_type": "default"})
    common(w, c)
    w.add_attn_logit_softcapping(5.0)
    w.add_final_logit_softcapping(30.0)
    w.add_sliding_window(7)
    w.add_pooling_type(gguf.PoolingType.LAST)
    return tf.Gemma2Model(c), dict(f16=True, pooling="last", causal=True)


def modernbert(w, pooling=gguf.PoolingType.CLS):
    n = byte_level(w, "modern-bert", ["[CLS]", "[SEP]"], bos="[CLS]", eos="[SEP]", add_bos=True, add_eos=True)
    c = tf.ModernBertConfig(vocab_size=n, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4, norm_eps=1e-5,
                            max_position_embeddings=512, local_attention=14, layer_types=["full_attention", *["sliding_attention"] * 2, "full_attention"],
                            pad_token_id=None, bos_token_id=None, eos_token_id=None, cls_token_id=None, sep_token_id=None, rope_parameters={
                                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                                "full_attention": {"rope_type": "default", "rope_theta": 160000.0}})
    sizes(w, c)
    w.add_layer_norm_eps(c.norm_eps)
    w.add_layer_norm_rms_eps(c.norm_eps)
    w.add_causal_attention(False)
    w.add_rope_freq_base(160000.0)
    w.add_rope_freq_base_swa(10000.0)
    w.add_rope_scaling_type(gguf.RopeScalingType.NONE)
    w.add_sliding_window(14)
    w.add_sliding_window_pattern(3)
    w.add_pooling_type(pooling)
    return tf.ModernBertModel(c), dict(f16=True, pooling="cls", causal=False)


FAMILIES = [mistral, llama, qwen2, qwen3, gemma3, embeddinggemma, eurobert, qwen3vl, gemma2, modernbert]


# ---- expectations ----

def vector(model, ids, how, dense):
    mask = torch.zeros(1, 1, len(ids), len(ids), dtype=torch.float64)
    if not how["causal"] and not re.search("gemma|modern", model.config.model_type):
        kw = {"attention_mask": mask}
    else:
        kw = {}
    with torch.no_grad():
        h = model(input_ids=torch.tensor([ids]), use_cache=False, **kw).last_hidden_state[0]
        v = {"mean": h.mean(0), "cls": h[0], "last": h[-1]}[how["pooling"]]
        for d in dense:
            v = d @ v
    return (v / v.norm()).numpy()


def foreign(model):
    """The same weights under the other mask, where transformers has a setting for it; it changes the window too."""
    if "gemma3" not in model.config.model_type:
        return None
    c = model.config.to_dict()
    c["use_bidirectional_attention"] = not c["use_bidirectional_attention"]
    other = tf.Gemma3TextModel(tf.Gemma3TextConfig(**c)).to(torch.float64).eval()
    other.config._attn_implementation = "eager"
    other.load_state_dict(model.state_dict())
    return other


def make(family, lib):
    name = family.__name__.replace("_", "-")
    path = os.path.join(OUT, name + ".gguf")
    arch = {"mistral": "llama", "embeddinggemma": "gemma-embedding", "modernbert": "modern-bert"}.get(name, name)
    w = gguf.GGUFWriter(path, arch)
    w.add_name("tiny Qwen3-VL-Embedding" if name == "qwen3vl" else f"tiny {name}")
    torch.manual_seed(7)
    model, how = family(w)
    randomise(model, sum(map(ord, name)))
    model.config._attn_implementation = "eager"
    write_weights(w, model, how.get("f16", False), how.get("pairs", False))
    dense = how.get("dense", [])
    for k, d in enumerate(dense):
        w.add_tensor(f"dense_{k + 2}.weight", d.float().numpy())
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    peer = llama_peer.Model(lib, path)
    context = llama_peer.Context(peer, {"mean": llama_peer.MEAN, "cls": llama_peer.CLS, "last": llama_peer.LAST}[how["pooling"]],
                                 how["causal"])
    cases, least, other = [], 1.0, foreign(model)
    for text in TEXTS:
        ids = list(peer.ids(text.encode(), True))
        v = vector(model, ids, how, dense)
        theirs = np.array(context.embed(ids)[:len(v)], dtype=np.float64)
        cosine = float(v @ theirs / np.linalg.norm(theirs))
        least = min(least, cosine)
        cases.append({"text": text, "ids": ids, "vector": [round(float(x), 8) for x in v]})
        if other:
            cases[-1]["foreign"] = [round(float(x), 8) for x in vector(other, ids, how, dense)]
    chat = CHAT.format(TEXTS[1]) if name == "qwen3vl" else None
    passage = f', "passage": {{"text": {json.dumps(TEXTS[1])}, "ids": {list(peer.ids(chat.encode(), True))}}}' if chat else ""
    context.close()
    peer.close()
    print(f"{name}: {os.path.getsize(path)} bytes, least cosine of llama.cpp to transformers {least:.8f}")
    if least < 0.9999:
        sys.exit("they do not agree")
    body = ",\n".join("  " + json.dumps(c, ensure_ascii=False) for c in cases)
    with open(os.path.join(OUT, name + ".json"), "w", encoding="utf-8") as f:
        f.write(f'{{"causal": {json.dumps(how["causal"])}, "pooling": {json.dumps(how["pooling"])}{passage}, "cases": [\n{body}\n]}}\n')


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    lib = llama_peer.load(os.path.abspath(sys.argv[1]))
    os.makedirs(OUT, exist_ok=True)
    for family in FAMILIES:
        if len(sys.argv) == 2 or family.__name__ in sys.argv[2:]:
            make(family, lib)


if __name__ == "__main__":
    main()
