#!/usr/bin/env python3
"""model/FORMAT.md states every key of a model file that the code reads or writes, and no other.

In the text a name with a dot in front, `.eos` after `latentd.token.bos`, replaces as many parts of the full name before it as it has, but
never the first.
"""
import glob
import os
import re
import sys

SRC = os.environ.get("LATENTD_SRC", os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
NOT_KEYS = {"tokenizer.json"}
# What a forgotten row would hide: fewer than this found is a fault of this test.
LEAST = 60


def text_of(*names):
    out = {}
    for name in names:
        with open(name, encoding="utf-8") as f:
            out[os.path.basename(name)] = f.read()
    return out


def in_code(files):
    keys = set()
    for name, text in files.items():
        keys |= set(re.findall(r'"((?:latentd|general|tokenizer)\.[a-z_.]+)"', text))
        keys |= {"tokenizer.ggml." + k for k in re.findall(r'\b(?:TOKENIZER|KEY) "([a-z_]+)"', text)}
        if name == "arch.c":  # "A." stands for the architecture's name
            keys |= {"A." + k for k in re.findall(r'\(r, "([a-z_.]+)"', text)}
            keys |= {"A." + k for k in re.findall(r'"((?:rope|attention)\.[a-z_.]+)"', text)}
    return {k for k in keys if not k.endswith(".")} - NOT_KEYS


def in_text(text):
    """Names in the first cells of tables of keys, and those in their other cells."""
    first, others, of_keys = set(), set(), False
    for line in text.splitlines():
        if not line.startswith("|"):
            of_keys = False
            continue
        cells = line.strip("|").split("|")
        if cells[0].strip() == "key":
            of_keys = True
        if not of_keys:
            continue
        base = None
        for number, cell in enumerate(cells):
            for word in re.findall(r"(?:\b(?:latentd|general|tokenizer|A))?\.[a-z_]+[a-z_.]*[a-z_]", cell):
                if not word.startswith("."):
                    base = word
                elif base:
                    parts = word[1:].split(".")
                    word = ".".join((base.split(".")[:-len(parts)] or base.split(".")[:1]) + parts)
                else:
                    continue
                (others if number else first).add(word)
    return first, others


def main():
    code = in_code(text_of(*glob.glob(os.path.join(SRC, "model", "*.[ch]"))))
    first, others = in_text(text_of(os.path.join(SRC, "model", "FORMAT.md"))["FORMAT.md"])
    missing, stale = sorted(code - first - others), sorted(first - code)
    print(f"{len(code)} keys in the code, {len(first)} in the text's tables")
    for key in missing:
        print(f"FAIL {key}: read or written, but not in model/FORMAT.md")
    for key in stale:
        print(f"FAIL {key}: in model/FORMAT.md, but neither read nor written")
    return 1 if missing or stale or len(code) < LEAST else 0


sys.exit(main())
