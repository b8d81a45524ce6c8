"""Lines of every kind for comparing tokenisers: source and prose of Python's own library, and random mixtures of scripts,
numbers, white space, signs and special pieces. The same for the same seed."""
import glob
import os
import random

WORDS = ("the of and to in is it's don't we'll I'M they've you'd THEY'RE naïve café Straße señor größer "
         "Привет мир Ελλάδα שלום مرحبا नमस्ते สวัสดี 日本語 テスト 中文字符 한국어 Việt ﬁne Ⅷ ½ ² ٣ 𝔘𝔫𝔦 👍🏽 👨‍👩‍👧 🇩🇪 é ß İ ſ "
         "foo_bar fooBar x=1; if(a&&b){ } -> :: ... --- \"quoted\" 'single' 'sam 'Tom 're 3.14 1e-9 1234567 00 v2.0.1 "
         "http://a.b/c?d=e&f=g user@example.com C++ #tag $100 €50 100% <b>bold</b> \\n \x00 \x7f \u200b \ufeff \u00ad \u3000").split(" ")
SPACES = [" ", " ", " ", " ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n", "\n ", "\u00a0", "\u2003", "\u3000", "\u0085", " \t ", ""]


def random_char(r):
    while True:
        c = r.choice((r.randrange(0x20, 0x7F), r.randrange(0x80, 0x600), r.randrange(0x600, 0x3000),
                      r.randrange(0x3000, 0xD800), r.randrange(0xE000, 0x10000), r.randrange(0x10000, 0x20000)))
        return chr(c)


def mixed(r, special):
    out = []
    for _ in range(r.randrange(1, 24)):
        kind = r.random()
        if kind < 0.6:
            out.append(r.choice(WORDS))
        elif kind < 0.75:
            out.append(str(r.randrange(10 ** r.randrange(1, 12))))
        elif kind < 0.9:
            out.append("".join(random_char(r) for _ in range(r.randrange(1, 6))))
        elif kind < 0.93 and special:
            out.append(r.choice(special))
        else:
            out.append(r.choice("!?.,;:-_=+*/\\|()[]{}<>@#$%^&~`'\"") * r.randrange(1, 9))
        out.append(r.choice(SPACES) * r.choice((1, 1, 1, 1, 2, 5, 30)))
    return "".join(out)


def lines(n, seed=1, special=()):
    r = random.Random(seed)
    real = []
    for path in sorted(glob.glob(os.path.join(os.path.dirname(os.__file__), "**", "*.py"), recursive=True)):
        if len(real) > 20 * n:
            break
        with open(path, encoding="utf-8", errors="ignore") as f:
            real += f.read().splitlines()
    r.shuffle(real)
    out = [line for line in real if line][:n // 2]
    while len(out) < n:
        out.append(mixed(r, list(special)))
    return out
