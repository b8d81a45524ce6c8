#!/usr/bin/env python3
"""Writes model/unicode_class_table.h: which characters are letters, numbers, punctuation or white space, as Unicode
15.1.0 has them (PyPI unicodedata2 15.1.0; white space is the property White_Space, which has not changed since 6.3).

    python3 -m venv V && V/bin/pip install unicodedata2==15.1.0
    V/bin/python tests/tools/make_unicode_class.py > model/unicode_class_table.h
"""
import sys

import unicodedata2

VERSION = "15.1.0"
SPACE = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
NAMES = {"L": "UNICODE_LETTER", "N": "UNICODE_NUMBER", "P": "UNICODE_PUNCT"}


def class_of(cp):
    return "UNICODE_SPACE" if cp in SPACE else NAMES.get(unicodedata2.category(chr(cp))[0])


def main():
    assert unicodedata2.unidata_version == VERSION
    runs = []
    for cp in range(0x110000):
        c = class_of(cp)
        if c and runs and runs[-1][1] == cp - 1 and runs[-1][2] == c:
            runs[-1][1] = cp
        elif c:
            runs.append([cp, cp, c])
    w = sys.stdout.write
    w(f"/* Classes of Unicode {VERSION}. Made by tests/tools/make_unicode_class.py; do not edit. */\n")
    w(f'#define UNICODE_CLASS_VERSION "{VERSION}"\n\n')
    w("/* first, last, class; ascending */\n")
    w("static const struct class_run class_runs[] = {\n")
    line = "   "
    for a, b, c in runs:
        item = f" {{0x{a:04X}, 0x{b:04X}, {c}}},"
        if len(line) + len(item) > 116:
            w(line + "\n")
            line = "   "
        line += item
    w(line + "\n};\n")


main()
