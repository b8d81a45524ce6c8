#!/usr/bin/env python3
"""Writes model/unicode_lower_table.h: every character's lower case, as Unicode 17.0.0 defines it.

The mapping is asked from the library whose ids we must equal (PyPI tokenizers 0.23.3, whose Lowercase
maps character by character with Rust's char::to_lowercase), and checked in two ways: each mapped
character is assigned and cased in Unicode 17.0.0 but not all of them in 16.0.0 (PyPI unicodedata2
17.0.0 tells the category), and those that Python knows have the lower case that Python gives.

    python3 -m venv V && V/bin/pip install tokenizers==0.23.3 unicodedata2==17.0.0
    V/bin/python tests/tools/make_unicode_lower.py > model/unicode_lower_table.h
"""
import sys
import unicodedata

import unicodedata2
from tokenizers import normalizers

VERSION = "17.0.0"


def mapping():
    lower = normalizers.Lowercase()
    table = {}
    for cp in range(0x110000):
        if 0xD800 <= cp < 0xE000:
            continue
        c = chr(cp)
        low = lower.normalize_str(c)
        if low != c:
            table[cp] = low
    return table


def check(table):
    assert unicodedata2.unidata_version == VERSION
    for cp, low in table.items():
        assert unicodedata2.category(chr(cp)) in ("Lu", "Lt", "Nl", "So"), hex(cp)
    for cp in range(0x110000):
        c = chr(cp)
        if unicodedata.category(c) not in ("Cn", "Cs") and c.lower() != c:
            # Pairs may be added later to a capital that had none, never taken away.
            assert table.get(cp) == c.lower(), hex(cp)
    assert [cp for cp, low in table.items() if len(low) > 1] == [0x130]
    assert table[0x130] == "i\u0307"
    assert 0x16EA0 in table  # new in 17.0.0: says that the library is not older


def runs(table):
    out = []
    for cp in sorted(table):
        if len(table[cp]) > 1:
            continue
        delta = ord(table[cp]) - cp
        if out:
            first, last, step, d = out[-1]
            gap = cp - last
            if d == delta and (gap == step or (step == 0 and gap in (1, 2))):
                out[-1] = (first, cp, gap, delta)
                continue
        out.append((cp, cp, 0, delta))
    return [(a, b, s or 1, d) for a, b, s, d in out]


def main():
    table = mapping()
    check(table)
    blocks = bytearray(0x110000 >> 10)
    for cp in table:
        blocks[cp >> 10] |= 1 << (cp >> 7 & 7)
    used = max(i for i, b in enumerate(blocks) if b) + 1
    w = sys.stdout.write
    w(f"/* Lower case of Unicode {VERSION}: {len(table)} characters. Made by "
      "tests/tools/make_unicode_lower.py; do not edit. */\n")
    w(f'#define UNICODE_LOWER_VERSION "{VERSION}"\n\n')
    w("/* A bit for each block of 128 code points that holds a mapped one. */\n")
    w(f"static const uint8_t lower_blocks[{used}] = {{\n")
    for i in range(0, used, 16):
        w("    " + " ".join(f"0x{b:02X}," for b in blocks[i:min(i + 16, used)]) + "\n")
    w("};\n\n/* first, last, step, what to add; ascending. U+0130 stands apart. */\n")
    w("static const struct lower_run lower_runs[] = {\n")
    for a, b, s, d in runs(table):
        w(f"    {{0x{a:04X}, 0x{b:04X}, {s}, {d}}},\n")
    w("};\n")


main()
