#!/usr/bin/env python3
"""Texts per second by the size of a client's batches: one client that waits for each answer before it sends the next batch.

  tests/bench/bench_batches.py [BUILD-FOLDER] [--sizes 1,4,16,64,256,1024] [--texts 1024] [--rounds 5] [--model FILE] [--device cpu]

The same texts, of 3 to 300 words in no order, go to a private daemon in batches of each size in turn, all sizes in each round: as an
`embed` (nothing is stored) and as an `add` to an empty collection that answers when all is found by search. Printed are medians over
the rounds, of texts per second of the daemon's CPU time and by the clock, and how the device took them (`latent status`).
"""
import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
from wire import ADD, CREATE, DROP, EMBED, STATUS, Wire, add, document, unpack  # noqa: E402

SRC = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SEED = 48


def texts(n):
    with open(os.path.join(SRC, "proto", "PROTOCOL.md"), encoding="utf-8") as f:
        words = re.findall(r"[A-Za-z]{2,}", f.read())
    r = random.Random(SEED)
    return [" ".join(r.choices(words, k=int(3 * 100 ** r.random()))) for _ in range(n)]


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def counters(wire):
    queue = unpack(wire.call(STATUS, []).body(STATUS)[19][0])
    return queue.get(5, [0])[0], queue.get(7, [0])[0]  # tokens, batches


def checked(reply):
    if reply.code:
        sys.exit(f"refused: {reply.message}")
    return reply


def embed(wire, batch, _):
    wire.send(EMBED, [(1, [(1, t)]) for t in batch] + [(4, 1)])
    while checked(wire.receive()).more:
        pass


def add_batch(wire, batch, at):
    checked(wire.call(ADD, add("c", [document(str(at + i), t) for i, t in enumerate(batch)])))


def one_round(wire, pid, call, size, all_texts):
    """Texts a second by CPU time and by the clock; tokens a batch of the device, and batches."""
    if call is add_batch:
        checked(wire.call(CREATE, [(1, "c")]))
    before, cpu, clock = counters(wire), cpu_seconds(pid), time.monotonic()
    for at in range(0, len(all_texts), size):
        call(wire, all_texts[at:at + size], at)
    cpu, clock, after = cpu_seconds(pid) - cpu, time.monotonic() - clock, counters(wire)
    if call is add_batch:
        checked(wire.call(DROP, [(1, "c")]))
    n = after[1] - before[1]
    return len(all_texts) / max(cpu, 1e-3), len(all_texts) / clock, (after[0] - before[0]) / n, n


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("build", nargs="?", default=os.path.join(SRC, "build"))
    a.add_argument("--sizes", default="1,4,16,64,256,1024")
    a.add_argument("--texts", type=int, default=1024)
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--model")
    a.add_argument("--device", default="cpu")
    a = a.parse_args()
    sizes, all_texts = [int(s) for s in a.sizes.split(",")], texts(a.texts)
    with tempfile.TemporaryDirectory(prefix="latentd-batches-") as home:
        path = os.path.join(home, "s")
        daemon = subprocess.Popen([os.path.join(a.build, "daemon", "latentd"), "--data", os.path.join(home, "data"), "--socket", path,
                                   "--device", a.device, "--log-level", "warn", *(["--model", a.model] if a.model else [])],
                                  env=dict(os.environ, OMP_WAIT_POLICY="passive"))
        try:
            while not os.path.exists(path):
                time.sleep(0.05)
            with Wire(path) as wire:
                while wire.call(STATUS, []).body(STATUS).get(2) != [4]:
                    time.sleep(0.1)
                for name, call in (("embed", embed), ("add", add_batch)):
                    one_round(wire, daemon.pid, call, max(sizes), all_texts)  # warm
                    got = {s: [] for s in sizes}
                    for _ in range(a.rounds):
                        for s in sizes:
                            got[s].append(one_round(wire, daemon.pid, call, s, all_texts))
                    print(f"\n| {name}: texts a batch | texts/s by CPU time (least to most) | by the clock | tokens a batch of the device | of these batches |"
                          "\n| --- | --- | --- | --- | --- |")
                    for s in sizes:
                        cpu, clock, tokens, n = zip(*got[s])
                        print(f"| {s} | {statistics.median(cpu):,.0f} ({min(cpu):,.0f} to {max(cpu):,.0f}) | {statistics.median(clock):,.0f} | "
                              f"{statistics.median(tokens):,.0f} | {statistics.median(n):,.0f} |", flush=True)
        finally:
            daemon.terminate()
            daemon.wait()


main()
