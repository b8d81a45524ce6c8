#!/usr/bin/env python3
"""NV-Embed's shapes on a GPU, beside what else runs on it; one command, whose table goes into tests/bench/results.

  tests/bench/bench_gpu.py --device H200 [--build build] [--layers 32] [--llama package/bins/linux-x64-vulkan] [--write]

Makes a checkpoint of the released shape with random weights (tests/tools/make_checkpoint), imports it at f16, q8_0 and q4_K, and measures
bench_embed on each. In the same run, where they are to be had: torch's bf16 matrix products (the device's measured rate) and a decoder
of the same layers in torch with SDPA; llama.cpp's Vulkan backend on a decoder of the same layers (npm's
@node-llama-cpp/linux-x64-vulkan; pip install gguf). Rates in TFLOP/s count two operations per weight of the layers and token, attention
left out, for everyone. With fewer --layers the rates stay what they are, within the share of embedding and pooler; times of a query
do not, and their row says so. --write replaces the rows of results/gpu.md that have run; a software device's never go there.
"""
import argparse
import datetime
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = os.path.join(HERE, "results", "gpu.md")
TYPES = ("f16", "q8_0", "q4_K")
RELEASED = {"hidden": 4096, "layers": 32, "heads": 32, "kv_heads": 8, "head_dim": 128, "ffn": 14336, "vocab": 32000}
# What is measured, by the key of its row: the text of the row and its goal.
ROWS = {
    "matmul": ("bf16 matrix products of torch, the decoder's shapes", ""),
    "f16": ("f16, 512-token texts", "≥ 0.60 of the matrix products"),
    "torch": ("f16 against torch with SDPA, bf16", "≥ 1.0"),
    "llama": ("f16 against llama.cpp's Vulkan backend", "≥ 2.0"),
    "q8_0": ("q8_0 against f16, 512-token texts", "≥ 0.80"),
    "query": ("one query of 32 tokens, q4_K", "≤ 3 ms"),
}
NOT_RUN = "not run yet"


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def weights(s):
    return s["layers"] * s["hidden"] * ((2 * s["heads"] + 2 * s["kv_heads"]) * s["head_dim"] + 3 * s["ffn"])


def make_models(a, shape, folder):
    """Model files by type; each step prints its own progress."""
    tool = os.path.join(a.build, "tests", "tools", "make_checkpoint")
    latent = os.path.join(a.build, "clients", "cli", "latent")
    checkpoint = os.path.join(folder, "checkpoint")
    subprocess.run([tool, checkpoint, *(f"{k}={v}" for k, v in {**shape, **a.more}.items())], check=True)
    models = {t: os.path.join(folder, f"{t}.gguf") for t in TYPES}
    for t, path in models.items():
        say(f"importing at {t}")
        subprocess.run([latent, "import", checkpoint, "-o", path, "--type", t], check=True, stdout=sys.stderr)
    return models


class Ours:
    def __init__(self, a):
        self.a, self.tool = a, os.path.join(a.build, "tests", "bench", "bench_embed")
        self.device = self.driver = ""

    def run(self, model, texts, length):
        """Milliseconds of a call."""
        out = subprocess.run([self.tool, model, self.a.device, "0", str(texts), str(length), str(self.a.rounds)], check=True,
                             stdout=subprocess.PIPE, text=True).stdout
        say(out.strip())
        self.device, self.driver = re.match(r"(.*) \[(.*)\], ", out).groups()
        return float(re.search(r"([\d.]+) ms", out).group(1))


def torch_device():
    try:
        import torch
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


def torch_median(torch, run, rounds):
    times = []
    for i in range(rounds + 3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:])


def torch_matmul(torch, s, tokens, rounds):
    """TFLOP/s of the layers' products alone, largest first choice of the library's."""
    shapes = [(s["hidden"], (s["heads"] + 2 * s["kv_heads"]) * s["head_dim"]), (s["heads"] * s["head_dim"], s["hidden"]),
              (s["hidden"], 2 * s["ffn"]), (s["ffn"], s["hidden"])]
    pairs = [(torch.randn(tokens, k, device="cuda", dtype=torch.bfloat16), torch.randn(k, m, device="cuda", dtype=torch.bfloat16))
             for k, m in shapes]
    seconds = torch_median(torch, lambda: [x @ w for x, w in pairs], rounds)
    return 2 * tokens * sum(k * m for k, m in shapes) / seconds / 1e12


def torch_decoder(torch, s, texts, length):
    """A call of the layers on texts × length rows: full attention, grouped heads, SwiGLU."""
    f, opts = torch.nn.functional, {"device": "cuda", "dtype": torch.bfloat16}
    h, d, nh, nk = s["hidden"], s["head_dim"], s["heads"], s["kv_heads"]
    layers = [[torch.randn(m, k, **opts) / k ** 0.5 for k, m in
               ((h, (nh + 2 * nk) * d), (nh * d, h), (h, 2 * s["ffn"]), (s["ffn"], h))] for _ in range(s["layers"])]
    gain = torch.ones(h, **opts)
    angle = torch.outer(torch.arange(length, device="cuda", dtype=torch.float32), 1e4 ** (-torch.arange(0, d, 2, device="cuda") / d))
    cos, sin = (torch.cat((t, t), -1).to(torch.bfloat16) for t in (angle.cos(), angle.sin()))
    start = torch.randn(texts, length, h, **opts)

    def rotate(x):
        return x * cos + torch.cat((-x[..., d // 2:], x[..., :d // 2]), -1) * sin

    @torch.inference_mode()
    def run():
        x = start
        for qkv, out, up, down in layers:
            y = f.linear(f.rms_norm(x, (h,), gain), qkv).view(texts, length, nh + 2 * nk, d).transpose(1, 2)
            q, k, v = rotate(y[:, :nh]), rotate(y[:, nh:nh + nk]), y[:, nh + nk:]
            y = f.scaled_dot_product_attention(q, k, v, enable_gqa=True)
            x = x + f.linear(y.transpose(1, 2).reshape(texts, length, nh * d), out)
            gate, value = f.linear(f.rms_norm(x, (h,), gain), up).chunk(2, -1)
            x = x + f.linear(f.silu(gate) * value, down)
        return x
    return run


def llama_ms(a, s, texts, length, folder):
    """Milliseconds of llama.cpp's call on the GPU, or None with the reason said."""
    if not a.llama:
        return None
    try:
        import bench_llama
    except ImportError as e:
        say(f"llama.cpp: {e}")
        return None
    path = os.path.join(folder, "llama.gguf")
    bench_llama.write_model(path, bench_llama.Shape(s["hidden"], s["layers"], s["heads"], s["kv_heads"], s["ffn"], s["vocab"]), "F16")
    peer = bench_llama.Llama(os.path.abspath(a.llama), path, n_tokens=texts * length, n_seqs=texts, vocab=s["vocab"],
                             gpu=True)
    if not peer.offloaded:
        say("llama.cpp: did not offload its layers, so its row is left out")
        return None
    best = float("inf")
    for n in (texts, 1):  # it masks the attention of a whole batch, so one text at a time may be faster
        peer.run(n, length)
        best = min(best, statistics.median(peer.run(n, length)[0] for _ in range(a.rounds)) / n)
    return best * texts * 1e3


def measure(a, shape, folder):
    """Results by row: a figure as text."""
    got, flop = {}, 2.0 * weights(shape) * a.texts * a.length
    models, ours = make_models(a, shape, folder), Ours(a)
    ms = {t: ours.run(models[t], a.texts, a.length) for t in ("f16", "q8_0")}
    rate = flop / ms["f16"] / 1e9
    tokens = a.texts * a.length
    got["q8_0"] = f"{ms['f16'] / ms['q8_0']:.2f} ({tokens / ms['q8_0'] * 1e3:,.0f} tokens/s)"
    got["query"] = f"{ours.run(models['q4_K'], 1, 32):.2f} ms"
    got["f16"] = f"{tokens / ms['f16'] * 1e3:,.0f} tokens/s, {rate:.4g} TFLOP/s"
    torch = torch_device()
    if torch:
        peak = torch_matmul(torch, shape, tokens, a.rounds)
        got["matmul"] = f"{peak:.4g} TFLOP/s"
        got["f16"] = f"{rate / peak:.2f} ({got['f16']})"
        peer = torch_median(torch, torch_decoder(torch, shape, a.texts, a.length), a.rounds) * 1e3
        got["torch"] = f"{peer / ms['f16']:.2f} ({tokens / peer * 1e3:,.0f} tokens/s)"
    peer = llama_ms(a, shape, a.texts, a.length, folder)
    if peer:
        got["llama"] = f"{peer / ms['f16']:.2f} ({tokens / peer * 1e3:,.0f} tokens/s)"
    return ours, got


def read_rows():
    """Rows of the table so far, by key: what stands in its last three columns."""
    rows = {}
    if os.path.exists(TABLE):
        with open(TABLE) as f:
            for line in f:
                cells = [c.strip() for c in line.strip().strip("|").split("|")]
                key = next((k for k, (text, _) in ROWS.items() if cells[0] == text), None)
                if key and len(cells) == 4:
                    rows[key] = cells[2:]
    return rows


def table(rows):
    lines = ["| what | goal | result | where, when, command |", "| --- | --- | --- | --- |"]
    for key, (text, goal) in ROWS.items():
        result, where = rows.get(key, (NOT_RUN, ""))
        lines.append(f"| {text} | {goal} | {result} | {where} |")
    return "\n".join(lines) + "\n"


def write_table(rows):
    with open(TABLE, "w") as f:
        f.write("# NV-Embed's shapes on a GPU\n\nWritten by `tests/bench/bench_gpu.py --device NAME --write`; its head says what is compared. "
                "A ratio is ours over the\nother's rate. A row that says \"" + NOT_RUN + "\" has never run on a GPU.\n\n" + table(rows))


def arguments():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--device", help="part of the device's name, or its UUID")
    a.add_argument("--build", default=os.path.join(HERE, "..", "..", "build"))
    a.add_argument("--layers", type=int, default=RELEASED["layers"])
    a.add_argument("--texts", type=int, default=16)
    a.add_argument("--length", type=int, default=512)
    a.add_argument("--rounds", type=int, default=9)
    a.add_argument("--shape", action="append", default=[], metavar="NAME=N", help="another shape, as make_checkpoint's, for a trial")
    a.add_argument("--folder", help="where the models are made (48 GB at full size); default: the temporary folder")
    a.add_argument("--llama", help="folder of llama.cpp's Vulkan libraries")
    a.add_argument("--write", action="store_true", help="put what ran into " + os.path.relpath(TABLE))
    a = a.parse_args()
    a.more = {}
    for pair in a.shape:
        name, _, value = pair.partition("=")
        a.more[name] = int(value)
    return a


def main():
    a = arguments()
    if not a.device:
        sys.stdout.write(table(read_rows()))
        return
    shape = dict(RELEASED, layers=a.layers)
    shape.update({k: a.more.pop(k) for k in list(a.more) if k in RELEASED})
    with tempfile.TemporaryDirectory(dir=a.folder) as folder:
        ours, got = measure(a, shape, folder)
    cut = "" if shape == RELEASED else ", cut to " + " ".join(f"{k}={v}" for k, v in shape.items() if v != RELEASED[k])
    where = f"{ours.device}, {ours.driver}, {datetime.date.today()}, `bench_gpu.py {' '.join(sys.argv[1:])}`{cut}"
    rows = {k: (v, where) for k, v in got.items()}
    sys.stdout.write(table(rows))
    if a.write and re.search("software", ours.driver):
        sys.exit("bench_gpu: not written: a software device")
    if a.write:
        write_table({**read_rows(), **rows})


if __name__ == "__main__":
    main()
