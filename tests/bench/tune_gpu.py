#!/usr/bin/env python3
"""Finds the numbers of gpu/tuning_table.h for a device, by measuring: for who has a GPU that the table does not know.

  tests/bench/tune_gpu.py --device H200 [--build build] [--numbers few_matrices,groups_wanted] [--small]

Number by number, with those found before: bench_kernels on the operations that the number bears on, with twice and half of the value, and
on in the better direction while that gains more than --gain. A time is the geometric mean over those operations of bench_kernels' medians,
which it takes once the device's clock and submissions have settled, the median of --rounds of them. Ends with the numbers that differ from
the table's, as LATENTD_VULKAN_TUNING takes them; `LATENTD_VULKAN_TUNING=… latent selftest` then says whether all results stay right.
--small: sizes for a software device.
"""
import argparse
import math
import os
import re
import statistics
import subprocess
import sys

KINDS = ("others", "nvidia", "amd", "intel", "software")
HERE = os.path.dirname(os.path.abspath(__file__))
QUERY = (["--types", "q4_K,q8_0", "--rows", "32"], ["layer"])
PRODUCTS = (["--types", "f16,q8_0", "--rows", "8192,512"], ["6144x4096", "4096x14336"])
MANY = (["--types", "f16", "--rows", "8192"], ["layer"])
F32_ATTENTION = (["--rows", "8192"], ["attention:16x512", "attention:16x512x64", "attention:16x512x256", "attention:64x24"])
# What is measured for each number, most promising first.
BEARS_ON = {
    "few_eights": QUERY, "few_sets": QUERY, "few_matrices": QUERY, "few_subgroups": QUERY, "groups_wanted": QUERY, "part_least": QUERY, "parts_mib": QUERY,
    "fragment_ahead": PRODUCTS, "coop_sums": PRODUCTS, "fragment_subgroups": PRODUCTS, "fragment_panel": PRODUCTS, "coop_subgroups": PRODUCTS,
    "coop_few_sums": QUERY, "coop_few_least": QUERY, "coop_few_depth": QUERY, "coop_lanes": PRODUCTS, "coop_columns": PRODUCTS,
    "dot_rows": (["--types", "q8_0,q4_K", "--rows", "8"], ["4096x4096"]), "f32_sums": (["--types", "f32", "--rows", "2048"], ["4096x4096"]),
    **{f"attention_{n}": F32_ATTENTION for n in ("group", "across", "rows", "row_keys", "values", "share")}, "attention_sums": (["--rows", "8192"], ["attention:16x512", "attention:16x512x256"]),
    "attention_keys": (["--rows", "8192"], ["attention:16x512"]), "attention_subgroups": (["--rows", "8192"], ["attention:16x512"]),
    "finish_group": MANY, "row_group": (["--rows", "8192,32"], ["rms_norm"]),
    "few_rows": (["--types", "q4_K,f16", "--rows", "48,96,128,192"], ["6144x4096"]),
}
SMALL = (["--types", "q8_0", "--rows", "64,8"], ["384x384", "attention:2x64", "rms_norm"])


def columns():
    """The table as the header has it: name to (values of the KINDS, least, most)."""
    with open(os.path.join(HERE, "..", "..", "gpu", "tuning_table.h")) as f:
        found = re.findall(r"X\((\w+)" + r", (\d+)" * (len(KINDS) + 2) + r"\)", f.read())
    return {name: tuple(map(int, numbers)) for name, *numbers in found}


class Device:
    def __init__(self, a):
        self.a, self.known = a, {}

    def time(self, changes, what):
        """The geometric mean in milliseconds; None where the device refuses."""
        options, cases = SMALL if self.a.small else what
        key = (tuple(sorted(changes.items())), tuple(options), tuple(cases))
        if key not in self.known:
            env = dict(os.environ, LATENTD_VULKAN_TUNING=",".join(f"{k}={v}" for k, v in changes.items()))
            command = [os.path.join(self.a.build, "tests", "bench", "bench_kernels"), "--device", "vulkan:" + self.a.device,
                       "--ms", str(self.a.ms), "--kernels", "no", *options, *cases]
            self.known[key] = self.measure(command, env)
        return self.known[key]

    def measure(self, command, env):
        means = []
        for _ in range(self.a.rounds):
            got = subprocess.run(command, env=env, capture_output=True, text=True)
            times = [float(ms) for ms in re.findall(r" rows: +([\d.]+) ms", got.stdout)]
            if got.returncode or not times:
                print("   ", got.stderr.strip())
                return None
            means.append(math.exp(sum(map(math.log, times)) / len(times)))
        return statistics.median(means)


def climb(d, name, bounds, start, changes):
    """The best value for the number, its time before and after."""
    what = BEARS_ON[name]
    first = d.time({**changes, name: start}, what)
    if first is None:
        sys.exit("tune_gpu.py: the device cannot be measured")
    print(f"{name} {start}: {first:.4f} ms")
    best, best_ms = start, first
    for up in (True, False):
        value = start * 2 if up else start // 2
        while bounds[0] <= value <= bounds[1]:
            ms = d.time({**changes, name: value}, what)
            print(f"    {value}: {'refused' if ms is None else f'{ms:.4f} ms'}", flush=True)
            if ms is None or ms > best_ms * (1 - d.a.gain):
                break
            best, best_ms = value, ms
            value = value * 2 if up else value // 2
        if best != start:
            break
    return best, first, best_ms


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", required=True, help="part of a Vulkan device's name, or its UUID")
    p.add_argument("--build", default=os.path.join(HERE, "..", "..", "build"))
    p.add_argument("--kind", choices=KINDS, default="others", help="the column to begin with")
    p.add_argument("--numbers", default=",".join(BEARS_ON))
    p.add_argument("--gain", type=float, default=0.02, help="a change has to save this share of the time")
    p.add_argument("--rounds", type=int, default=3, help="runs of bench_kernels for a time, their median")
    p.add_argument("--ms", type=float, default=50, help="aim of one timed batch of calls")
    p.add_argument("--small", action="store_true")
    a = p.parse_args()
    d, table, changes = Device(a), columns(), {}
    at = KINDS.index(a.kind)
    for name in a.numbers.split(","):
        if name not in BEARS_ON:
            p.error(f"no number is called {name}; there are: {', '.join(BEARS_ON)}")
        start = table[name][at]
        best, before, after = climb(d, name, table[name][len(KINDS):], start, changes)
        if best != start:
            changes[name] = best
            print(f"  {name} {best} instead of {start}: {before / after:.2f} times as fast")
    print("LATENTD_VULKAN_TUNING=" + ",".join(f"{k}={v}" for k, v in changes.items()) if changes else "the table's numbers are the best ones")


if __name__ == "__main__":
    main()
