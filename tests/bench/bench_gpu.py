#!/usr/bin/env python3
"""NV-Embed's shapes on a GPU, beside what else runs on it; one command, whose table goes into tests/bench/results.

  tests/bench/bench_gpu.py --device H200 [--build build] [--layers 32] [--llama package/bins/linux-x64-vulkan] [--write]

Makes a checkpoint of the released shape with random weights (tests/tools/make_checkpoint), imports it at f16, q8_0 and q4_K, and measures
bench_embed on each. In the same run, where they are to be had: torch's bf16 matrix products (the device's measured rate) and a decoder
of the same layers in torch with SDPA; llama.cpp's Vulkan backend on a decoder of the same layers (npm's
@node-llama-cpp/linux-x64-vulkan; pip install gguf), f16, and for the query Q4_K: its embedding form and its text form, with and without
flash attention, texts together and one at a time, the best of all. Rates in TFLOP/s count two operations per weight of the layers and
token, attention left out, for everyone. With fewer --layers our rates stay what they are, within the share of embedding and pooler; times
of a query do not, and their row says so, nor does llama.cpp's rate, which has a part beside the layers: 1.88 of it with 8, 1.36 with all.
Cheap rows come first, and each is printed, and with --write put into results/gpu.md, as soon as it is known; a software device's never go
there. --models keeps the models for another run.
"""
import argparse
import concurrent.futures
import datetime
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = os.path.join(HERE, "results", "gpu.md")
RELEASED = {"hidden": 4096, "layers": 32, "heads": 32, "kv_heads": 8, "head_dim": 128, "ffn": 14336, "vocab": 32000}
# What is measured, by the key of its row: the text of the row and its goal.
ROWS = {
    "matmul": ("bf16 matrix products of torch, the decoder's shapes", ""),
    "f16": ("f16, 512-token texts", "≥ 0.60 of the matrix products"),
    "torch": ("f16 against torch with SDPA, bf16", "≥ 1.0"),
    "llama": ("f16 against llama.cpp's Vulkan backend", "≥ 2.0"),
    "q8_0": ("q8_0 against f16, 512-token texts", "≥ 0.80"),
    "query": ("one query of 32 tokens, q4_K", "≤ 3 ms"),
    "llama_query": ("the same query against llama.cpp's Vulkan backend, Q4_K", ""),
    "q8_0_load": ("device memory of q8_0, told to use no more than 9 GB", "≤ 9 GB, no layer streamed"),
    "q4_K_load": ("device memory of q4_K, told to use no more than 5 GB", "≤ 5 GB, no layer streamed"),
}
MODELS_OF = {"f16": ("f16",), "torch": ("f16",), "llama": ("f16",), "q8_0": ("f16", "q8_0"), "query": ("q4_K",), "llama_query": ("q4_K",),
             "q8_0_load": ("q8_0",), "q4_K_load": ("q4_K",)}
LOAD_MB = {"q8_0": 9000, "q4_K": 5000}
NOT_RUN = "not run yet"
STARTED = time.monotonic()


def say(*words):
    print(f"[{time.monotonic() - STARTED:6.1f} s]", *words, file=sys.stderr, flush=True)


def weights(s):
    return s["layers"] * s["hidden"] * ((2 * s["heads"] + 2 * s["kv_heads"]) * s["head_dim"] + 3 * s["ffn"])


def make_models(a, shape, folder):
    """Model files by type, those that the wanted rows take and that are not there from another run."""
    types = sorted({t for row in a.rows for t in MODELS_OF.get(row, ())})
    models = {t: os.path.join(folder, f"{t}.gguf") for t in types}
    missing = [t for t in types if not os.path.exists(models[t])]
    if not missing:
        return models
    tool = os.path.join(a.build, "tests", "tools", "make_checkpoint")
    latent = os.path.join(a.build, "clients", "cli", "latent")
    checkpoint = os.path.join(folder, "checkpoint")
    say("making the checkpoint")
    subprocess.run([tool, checkpoint, *(f"{k}={v}" for k, v in {**shape, **a.more}.items())], check=True, stderr=subprocess.DEVNULL)

    def import_one(t):
        subprocess.run([latent, "import", checkpoint, "-o", models[t], "--type", t], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        say(f"imported at {t}: {os.path.getsize(models[t]):,} bytes")

    say("importing at", *missing)
    with concurrent.futures.ThreadPoolExecutor() as pool:  # an import writes and digests on one thread
        list(pool.map(import_one, missing))
    shutil.rmtree(checkpoint)
    return models


class Ours:
    def __init__(self, a):
        self.a, self.tool = a, os.path.join(a.build, "tests", "bench", "bench_embed")
        self.device = self.driver = ""

    def run(self, model, texts, length, memory_mb=0, rounds=None):
        """What bench_embed prints: milliseconds of a call, and the rest."""
        command = [self.tool, model, self.a.device, "0", str(texts), str(length), str(rounds or self.a.rounds), str(memory_mb)]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        say(out.strip())
        self.device, self.driver = re.match(r"(.*) \[(.*)\], ", out).groups()
        return float(re.search(r"([\d.]+) ms", out).group(1)), out


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
    """TFLOP/s of the layers' products alone, each in the faster of the two orders in which weights may lie."""
    shapes = [(s["hidden"], (s["heads"] + 2 * s["kv_heads"]) * s["head_dim"]), (s["heads"] * s["head_dim"], s["hidden"]),
              (s["hidden"], 2 * s["ffn"]), (s["ffn"], s["hidden"])]
    seconds = 0.0
    for k, m in shapes:
        x = torch.randn(tokens, k, device="cuda", dtype=torch.bfloat16)
        w = torch.randn(m, k, device="cuda", dtype=torch.bfloat16)
        across = w.t().contiguous()
        seconds += min(torch_median(torch, lambda: torch.nn.functional.linear(x, w), rounds), torch_median(torch, lambda: x @ across, rounds))
    return 2 * tokens * sum(k * m for k, m in shapes) / seconds / 1e12


def torch_decoder(torch, s, texts, length):
    """A call of the layers on texts × length rows: full attention, grouped heads, SwiGLU. Its argument: whether the attention is told of the
    groups, or given keys and values for every head, whichever kernel is the faster."""
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
    def run(grouped):
        x = start
        for qkv, out, up, down in layers:
            y = f.linear(f.rms_norm(x, (h,), gain), qkv).view(texts, length, nh + 2 * nk, d).transpose(1, 2)
            q, k, v = rotate(y[:, :nh]), rotate(y[:, nh:nh + nk]), y[:, nh + nk:]
            if not grouped:
                k, v = k.repeat_interleave(nh // nk, 1), v.repeat_interleave(nh // nk, 1)
            y = f.scaled_dot_product_attention(q, k, v, enable_gqa=grouped)
            x = x + f.linear(y.transpose(1, 2).reshape(texts, length, nh * d), out)
            gate, value = f.linear(f.rms_norm(x, (h,), gain), up).chunk(2, -1)
            x = x + f.linear(f.silu(gate) * value, down)
        return x
    return run


def llama_ms(a, s, texts, length, folder, weight_type):
    """Milliseconds of llama.cpp's call on the GPU, or None with the reason said. In a process of its own: it may end itself."""
    if not a.llama:
        return None
    best = None
    for arch in ("llama-embed", "llama"):
        path = os.path.join(folder, "llama.gguf")
        command = [sys.executable, os.path.abspath(__file__), "--llama-run", arch, weight_type, path, "--device", a.device, "--llama", a.llama,
                   "--texts", str(texts), "--length", str(length), "--rounds", str(a.rounds)]
        try:
            out = subprocess.run([*command, *(f"--shape={k}={v}" for k, v in s.items())], stdout=subprocess.PIPE, text=True, timeout=a.llama_timeout).stdout
        except subprocess.TimeoutExpired as e:
            out = (e.stdout or b"").decode()
            say("llama.cpp: no longer waited for")
        if os.path.exists(path):
            os.remove(path)
        best = min([float(ms) for ms in re.findall(r"^ms ([\d.]+)$", out, re.M)] + ([best] if best else []), default=None)
    return best


def llama_run(a, s):
    """The process of llama_ms: prints each figure as it has it."""
    import bench_llama
    arch, weight_type, path = a.llama_run
    bench_llama.load(os.path.abspath(a.llama))
    shape = bench_llama.Shape(s["hidden"], s["layers"], s["heads"], s["kv_heads"], s["ffn"], s["vocab"])
    bench_llama.write_model(path, shape, weight_type, arch)
    say(f"llama.cpp: {arch} {weight_type}, {os.path.getsize(path):,} bytes written")
    peer = bench_llama.Llama(a.llama, path, n_tokens=a.texts * a.length, n_seqs=a.texts, vocab=s["vocab"], gpu=True)
    if not peer.offloaded:
        say("llama.cpp: did not offload its layers, so its row is left out")
        return
    for flash in (1, 0):
        peer.set_flash(flash)
        for n in sorted({a.texts, 1}, reverse=True):
            peer.run(n, a.length)
            ms = statistics.median(peer.run(n, a.length)[0] for _ in range(a.rounds)) / n * a.texts * 1e3
            say(f"llama.cpp: {arch} {weight_type}, {n} x {a.length} at a time, flash attention {flash}: {ms:.3f} ms")
            print(f"ms {ms:.6f}", flush=True)


def command():
    """The command line without where things lay."""
    places, words = ("--build", "--folder", "--models", "--llama"), sys.argv[1:]
    return " ".join(["bench_gpu.py", *("DIR" if i and words[i - 1] in places else w for i, w in enumerate(words))])


class Results:
    """Rows as they come: printed, and written where that was asked for."""

    def __init__(self, a, shape, ours):
        self.a, self.ours, self.rows, self.ms, self.peak = a, ours, {}, {}, 0
        self.cut = "" if shape == RELEASED else ", cut to " + " ".join(f"{k}={v}" for k, v in shape.items() if v != RELEASED[k])

    def add(self, key, text):
        where = f"{self.ours.device}, {self.ours.driver}, {datetime.date.today()}, `{command()}`{self.cut}"
        self.rows[key] = (text, where)
        say(f"{ROWS[key][0]}: {text}")
        if self.a.write and self.ours.driver and "software" not in self.ours.driver:
            write_table({**read_rows(), **self.rows})


def measure_torch(a, shape, r):
    """The device's rate, and the milliseconds of a call."""
    torch, tokens = torch_device(), a.texts * a.length
    if not torch:
        say("torch: not here, or without a GPU")
        return
    if {"matmul", "f16"} & set(a.rows):
        r.peak = torch_matmul(torch, shape, tokens, a.rounds)
        say(f"torch: products {r.peak:.4g} TFLOP/s")
    if "torch" in a.rows:
        run = torch_decoder(torch, shape, a.texts, a.length)
        r.ms["torch"] = min(torch_median(torch, lambda: run(g), a.rounds) for g in (True, False)) * 1e3
        say(f"torch: decoder {r.ms['torch']:.3f} ms")
    torch.cuda.empty_cache()


def measure_load(r, ours, models, t):
    _, out = ours.run(models[t], 1, 32, LOAD_MB[t], 1)  # with layers streamed a call takes seconds
    streamed, used, rows = (int(re.search(p, out).group(1)) for p in (r"(\d+) layers streamed", r"(\d+) MB of device", r"batches of (\d+)"))
    r.add(f"{t}_load", f"{used / 1000:.2f} GB with room for {rows} tokens a submission, {streamed} layers streamed")


def measure(a, shape, folder, r, ours):
    tokens = a.texts * a.length
    models = make_models(a, shape, folder)
    if "query" in a.rows or "llama_query" in a.rows:
        r.ms["query"] = ours.run(models["q4_K"], 1, 32)[0]
        r.add("query", f"{r.ms['query']:.2f} ms")
    if "f16" in models:
        r.ms["f16"] = ours.run(models["f16"], a.texts, a.length)[0]
        rate = 2.0 * weights(shape) * tokens / r.ms["f16"] / 1e9
        text = f"{tokens / r.ms['f16'] * 1e3:,.0f} tokens/s, {rate:.4g} TFLOP/s"
        if r.peak:
            r.add("matmul", f"{r.peak:.4g} TFLOP/s")
        r.add("f16", f"{rate / r.peak:.2f} ({text})" if r.peak else text)
        if "torch" in r.ms:
            r.add("torch", f"{r.ms['torch'] / r.ms['f16']:.2f} ({tokens / r.ms['torch'] * 1e3:,.0f} tokens/s)")
    if "q8_0" in a.rows:
        ms = ours.run(models["q8_0"], a.texts, a.length)[0]
        r.add("q8_0", f"{r.ms['f16'] / ms:.2f} ({tokens / ms * 1e3:,.0f} tokens/s)")
    for t in ("q4_K", "q8_0"):
        if f"{t}_load" in a.rows:
            measure_load(r, ours, models, t)
    if not a.models:
        for path in models.values():  # llama.cpp's takes as much
            os.remove(path)
    if "llama" in a.rows and (ms := llama_ms(a, shape, a.texts, a.length, folder, "F16")):
        r.add("llama", f"{ms / r.ms['f16']:.2f} ({tokens / ms * 1e3:,.0f} tokens/s)")
    if "llama_query" in a.rows and (ms := llama_ms(a, shape, 1, 32, folder, "Q4_K")):
        r.add("llama_query", f"{ms / r.ms['query']:.2f} ({ms:.2f} ms)")


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
    a.add_argument("--rows", default=",".join(ROWS), help="which are measured, of %(default)s; what they are compared with as well")
    a.add_argument("--layers", type=int, default=RELEASED["layers"])
    a.add_argument("--texts", type=int, default=16)
    a.add_argument("--length", type=int, default=512)
    a.add_argument("--rounds", type=int, default=9)
    a.add_argument("--shape", action="append", default=[], metavar="NAME=N", help="another shape, as make_checkpoint's, for a trial")
    a.add_argument("--folder", help="where the models are made (45 GB at full size); default: the temporary folder")
    a.add_argument("--models", metavar="FOLDER", help="the same, but they stay there, and those that are there are used")
    a.add_argument("--llama", help="folder of llama.cpp's Vulkan libraries")
    a.add_argument("--llama-timeout", type=float, default=180, help="seconds for each of its models (default %(default)s)")
    a.add_argument("--llama-run", nargs=3, help=argparse.SUPPRESS)
    a.add_argument("--write", action="store_true", help="put what ran into " + os.path.relpath(TABLE))
    a = a.parse_args()
    a.rows = a.rows.split(",")
    if unknown := set(a.rows) - set(ROWS):
        sys.exit(f"bench_gpu: no such row: {', '.join(unknown)}")
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
    if a.llama_run:
        llama_run(a, shape)
        return
    ours = Ours(a)
    r = Results(a, shape, ours)
    try:
        measure_torch(a, shape, r)
        if a.models:
            os.makedirs(a.models, exist_ok=True)
            measure(a, shape, a.models, r, ours)
        else:
            with tempfile.TemporaryDirectory(dir=a.folder) as folder:
                measure(a, shape, folder, r, ours)
    except subprocess.CalledProcessError as e:
        say(f"{e.cmd[0]} failed: {(e.stderr or b'').decode(errors='replace')[-500:]}")
        sys.exit(1)
    finally:
        sys.stdout.write(table(r.rows))
    if a.write and "software" in ours.driver:
        sys.exit("bench_gpu: not written: a software device")


if __name__ == "__main__":
    main()
