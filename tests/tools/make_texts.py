#!/usr/bin/env python3
"""Writes tests/golden/texts.jsonl: texts of many kinds with the ids and vectors that the default model's checkpoint gives for them.

Ids come from the `tokenizers` library, vectors from `transformers`' Mistral layers in float64 with every token seeing all, and from
NV-Embed's pooler in plain torch. Before anything is written both have to give the checkpoint's own cases.json.

    python3 -m venv V && V/bin/pip install torch==2.15.0 transformers==5.24.0 safetensors tokenizers numpy
    V/bin/python tests/tools/make_texts.py FOLDER-OF-LATENT-MINI

One JSON object a line: text, query, title and instruct where there are some, cut where the text is over the limit, relevant (of a query:
which line holds what it asks for, from 0), ids, instruction_len, and embedding: f32, little-endian, base64.
"""
import base64
import json
import os
import sys

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import MistralConfig, MistralModel

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "golden", "texts.jsonl")
LIMIT = 512

# What a query below asks for, and the query: a small retrieval set.
PAIRS = [
    ("Rinse the rice until the water runs clear, add one and a half cups of water for each cup, and let it stand with the lid on for ten minutes.", "how to cook rice"),
    ("The bicycle chain should be cleaned and oiled every few hundred kilometres, more often when it has rained.", "when do I oil my bike's chain"),
    ("A solar eclipse happens when the moon passes between the sun and the earth and its shadow falls on the ground.", "what causes an eclipse of the sun"),
    ("Penguins lay one or two eggs and keep them warm on their feet, under a fold of skin.", "how do penguins hatch their young"),
    ("The treaty of 1648 ended thirty years of war in central Europe and gave princes the choice of their religion.", "peace after the thirty years' war"),
    ("To restore a deleted branch, find its last commit in the reflog and create the branch anew at that place.", "I removed a git branch by mistake"),
    ("Photosynthesis turns carbon dioxide and water into sugar and oxygen with the energy of light.", "how plants make sugar from light"),
    ("Symptoms of influenza begin suddenly: fever, dry cough, headache, and pain in muscles and joints.", "signs of the flu"),
    ("The library opens at nine in the morning on weekdays and at eleven on Saturdays; it is closed on Sundays.", "opening hours of the library"),
    ("An overdraft is money that the bank lends when more is taken from an account than there is in it.", "spending more than is in my bank account"),
    ("Cut the tomato plant's side shoots while they are short, so that its strength goes into the fruit.", "pruning tomatoes"),
    ("The violin has four strings, tuned in fifths, and is held between chin and shoulder.", "instrument with four strings played with a bow"),
    ("A hash table finds an entry in constant time on average, but keeps no order among its keys.", "data structure with fast lookup of keys"),
    ("Water boils at a lower temperature on a mountain, since the pressure of the air is lower there.", "why does water boil earlier at high altitude"),
    ("The train to the coast leaves from platform seven at twenty past the hour.", "which platform for the seaside train"),
    ("Marie Curie received two Nobel prizes, one in physics and one in chemistry, for her work on radioactivity.", "woman scientist who studied radioactive elements"),
    ("Sourdough needs flour, water and time: wild yeast in the starter makes it rise overnight.", "baking bread without bought yeast"),
    ("A vaccine shows the immune system a harmless part of a germ, so that it knows the germ when it comes.", "how immunisation works"),
    ("In chess the king and a rook may castle once, if neither has moved and no square between them is attacked.", "rules for castling"),
    ("The volcano threw ash eight kilometres high and covered the villages on its slopes.", "eruption that buried villages"),
    ("Use a soft cloth without any cleaner on the camera's lens, and blow the dust off first.", "how should I clean my lens"),
    ("Inflation means that prices rise in general and money buys less than before.", "money losing its worth"),
    ("Bees tell each other where flowers are by a dance whose angle shows the direction from the sun.", "how bees communicate"),
    ("The contract may be ended by either side with three months' notice to the end of a quarter.", "notice period of the agreement"),
    ("To resize a partition, unmount it, shrink the file system first, and only then the partition.", "make a disk partition smaller"),
    ("Glaciers carve valleys in the shape of a U, rivers in the shape of a V.", "what shape of valley does ice leave"),
    ("The heart pumps about five litres of blood a minute through the body of an adult at rest.", "how much blood does the heart move"),
    ("Add salt only at the end, or the beans will stay hard.", "why do my beans not get soft"),
    ("Knots in a climbing rope weaken it; the figure of eight keeps most of its strength.", "strong knot for climbers"),
    ("The printer blinks twice when the paper is jammed and three times when the toner is empty.", "printer lamp blinking three times"),
    ("Gulliver wakes on the beach, tied to the ground by people no larger than his hand.", "novel about a traveller among tiny people"),
    ("Diesel engines ignite their fuel by compression, without a spark.", "engine with no spark plugs"),
    ("Whales are mammals: they breathe air and feed their calves with milk.", "are whales fish"),
    ("Write the date of birth in the first field and the number of the passport in the second.", "filling in the visa form"),
    ("A leap second is added when the earth's rotation has fallen behind atomic clocks.", "keeping clocks in step with the earth's turning"),
    ("The orchestra tunes to an A that the oboe gives, at 440 or 443 hertz.", "which note do musicians tune to"),
]

# What trips tokenisers and poolers. (text, options)
ODD = [
    ("x", {}), ("A", {"query": True}), (" leading and trailing  ", {}), ("two  spaces   three", {}), ("tab\tand\nnewline\r\n\r\nend", {}),
    ("ÄPFEL, naïve café, ĞÜN, straße, İstanbul", {}), ("日本語の文章を検索する。", {}), ("中文分词没有空格", {"query": True}), ("한국어 문장입니다", {}),
    ("Пример русского текста с заглавными БУКВАМИ", {}), ("مرحبا بالعالم", {}), ("שלום עולם", {}), ("हिन्दी में एक वाक्य", {}), ("ไทยไม่มีช่องว่าง", {}),
    ("👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🙂", {}), ("e\u0301 and \u00e9 are not the same bytes", {}), ("\u200bzero\u200dwidth\ufeff", {}), ("ﬁne ﬂat ligatures №½", {}),
    ("1234567890 3.14159 1e-9 0xDEADBEEF", {}), ("2024-05-31T12:00:00Z", {}), ("192.168.0.1:8080/24 fe80::1%eth0", {}), ("+49 (0)30 1234-5678", {}),
    ("https://example.org/a/b?c=d&e=%20f#g", {}), ("user.name+tag@example.co.uk", {}), ("C:\\Users\\name\\file.txt /usr/lib/x86_64-linux-gnu/lib.so.6", {}),
    ("int main(void)\n{\n    return printf(\"%s\\n\", \"hi\") < 0;\n}\n", {}), ("for i in range(10):\n\tprint(f\"{i:>3}\")\n", {}),
    ("SELECT a.id, count(*) FROM a JOIN b ON a.id = b.a_id WHERE b.x IS NOT NULL GROUP BY 1;", {}),
    ("name: build\non: [push]\njobs:\n  test:\n    runs-on: linux\n    steps:\n      - run: make check\n", {}),
    ("{\"key\": [1, 2, {\"nested\": null}], \"t\": true}", {}), ("<p class=\"a\">text &amp; more</p>", {}), ("# Title\n\n- item *one*\n- item `two`\n\n> quote\n", {}),
    ("\\frac{a}{b} = \\sum_{i=0}^{n} x_i^2", {}), ("grep -rn 'a\\|b' --include='*.c' . | sort -u > out.txt 2>&1", {}),
    ("<s> begins, </s> ends, <unk> is unknown", {}), ("</s>", {}), ("a</s>b<s>c", {"query": True}), ("<S></S> in capitals", {}), ("▁ the mark itself ▁▁", {}),
    ("query: a passage that begins like a query", {}), ("query: query: twice", {"query": True}), ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {}),
    ("!!!???...,,,;;;:::---___***", {}), ("Antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis", {}), ("I'm, you're, don't, o'clock, rock'n'roll", {}),
    ("NOT not Not nOt", {}), ("hammer", {"query": True, "instruct": "Given a task, find the tool for it"}),
    ("how are you", {"query": True, "instruct": "Find the same sentence in 日本語"}), ("retouch and compose pictures", {"title": "GIMP"}),
    ("", {"title": "a title alone"}), ("text under a title of some length", {"title": "On the keeping of bees in towns, with remarks on honey, second edition"}),
    ("The committee met again and talked about the budget of the town. " * 20, {}), ("token " * 509, {}), ("token " * 510, {"cut": True}),
    ("Many words make a text that is far too long for this model and loses its end. " * 60, {"cut": True}),
    ("0" * 700, {"cut": True}), ("долгий текст " * 200, {"cut": True}),
]


def prompt_of(case):
    if case.get("query"):
        return (f"Instruct: {case['instruct']}\nQuery: " if "instruct" in case else "query: "), case["text"]
    title = case.get("title", "")
    return "", f"{title} {case['text']}" if title and case["text"] else title or case["text"]


def encode(tokenizer, case):
    """NV-Embed's encoding: BOS by the tokenizer, EOS as text, cut on the right; how many positions the prefix takes."""
    prefix, text = prompt_of(case)
    ids = tokenizer.encode(prefix + text + "</s>").ids
    assert (len(ids) > LIMIT) == bool(case.get("cut")), (len(ids), text[:40])
    return ids[:LIMIT], len(tokenizer.encode(prefix, add_special_tokens=False).ids) if prefix else 0


class Model:
    def __init__(self, folder):
        with open(os.path.join(folder, "config.json")) as f:
            config = json.load(f)
        with open(os.path.join(folder, "model.safetensors.index.json")) as f:
            names = set(json.load(f)["weight_map"].values())
        weights = {k: v.double() for n in sorted(names) for k, v in load_file(os.path.join(folder, n)).items()}
        text, head = config["text_config"], config["latent_attention_config"]
        self.decoder = MistralModel(MistralConfig(**{k: v for k, v in text.items() if k not in ("architectures", "model_type")},
                                                  attn_implementation="eager")).double().eval()
        own = {k.removeprefix("embedding_model."): v for k, v in weights.items() if k.startswith("embedding_model.")}
        self.decoder.load_state_dict(own)
        self.pooler = {k.removeprefix("latent_attention_model."): v for k, v in weights.items() if k.startswith("latent_attention_model.")}
        self.heads = head["num_cross_heads"]

    def pool(self, h):
        p, norm = self.pooler, torch.nn.functional.layer_norm
        cross, ff = "cross_attend_blocks.0.", "cross_attend_blocks.1."
        n = norm(h, h.shape[-1:], p[cross + "norm.weight"], p[cross + "norm.bias"])
        c = norm(p["latents"], h.shape[-1:], p[cross + "norm_context.weight"], p[cross + "norm_context.bias"])
        q = n @ p[cross + "fn.to_q.weight"].T
        k, v = (c @ p[cross + "fn.to_kv.weight"].T).chunk(2, -1)
        q, k, v = (x.view(x.shape[0], self.heads, -1).transpose(0, 1) for x in (q, k, v))
        mixed = torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, -1) @ v
        h = mixed.transpose(0, 1).reshape(h.shape[0], -1) @ p[cross + "fn.to_out.weight"].T + h
        z = norm(h, h.shape[-1:], p[ff + "norm.weight"], p[ff + "norm.bias"]) @ p[ff + "fn.net.0.weight"].T + p[ff + "fn.net.0.bias"]
        value, gate = z.chunk(2, -1)
        return (value * torch.nn.functional.gelu(gate)) @ p[ff + "fn.net.2.weight"].T + p[ff + "fn.net.2.bias"] + h

    def embed(self, ids, skip):
        with torch.no_grad():
            mask = torch.zeros(1, 1, len(ids), len(ids), dtype=torch.float64)  # every token sees all
            h = self.decoder(input_ids=torch.tensor([ids]), attention_mask=mask, use_cache=False).last_hidden_state[0]
            v = self.pool(h)[skip:].mean(0)
        return (v / v.norm()).numpy()


def main():
    folder = sys.argv[1]
    tokenizer, model = Tokenizer.from_file(os.path.join(folder, "tokenizer.json")), Model(folder)
    with open(os.path.join(folder, "cases.json")) as f:
        for case in json.load(f)["cases"]:
            ids, skip = encode(tokenizer, case)
            worst = np.abs(model.embed(ids, skip) - case["embedding"]).max()
            assert (ids, skip) == (case["ids"], case["instruction_len"]) and worst < 1e-7, (case["text"], worst)
    cases = [{"text": text} for text, _ in PAIRS] + [{"text": text, **more} for text, more in ODD]
    cases += [{"text": query, "query": True, "relevant": i} for i, (_, query) in enumerate(PAIRS)]
    with open(OUT, "w") as out:
        for case in cases:
            ids, skip = encode(tokenizer, case)
            vector = model.embed(ids, skip).astype("<f4").tobytes()
            case |= {"ids": ids, "instruction_len": skip, "embedding": base64.b64encode(vector).decode()}
            out.write(json.dumps(case, ensure_ascii=False) + "\n")
    print(f"{len(cases)} texts")


if __name__ == "__main__":
    main()
