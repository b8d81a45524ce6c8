#!/usr/bin/env python3
"""Judges what compilers say of kernels: vendors.py [--table] LOG…

A LOG is what bench_kernels or kernels --log debug and the layer tests/tools/layer_still.c say of one device: a line "still: …" with a kernel's
constants, then one with its name, the time that it took and the compiler's statistics. A kernel must build; in less than SECONDS, on a machine
that does other things beside it; and spill no more than SPILLS of an invocation's (AMD's and NVIDIA's compilers) or a thread's (Intel's) registers,
but for what is ACCEPTED. Of a device called GPU-WAY there must be kernels of that way.
"""
import os
import re
import sys

SECONDS = 30
# Keeping a few values of a loop's preparation elsewhere costs nothing; who has a thousand spends all its time with them.
SPILLS = 16
# Heads beyond 128 on NVIDIA's: q and the output alone are up to 256 registers of 255. What they take without matrices instead is not known there.
ACCEPTED = {("attention_coop", "Spills_to_memory"): 448}
SPILLED = ("Spilled_VGPRs", "Spill_Count", "Spills", "Spills_to_memory")
REGISTERS = ("VGPRs", "Max_live_registers", "Number_of_GPRs")
OTHERS = ("Instructions", "Instruction_count", "Code_size", "Subgroups_per_SIMD", "Max_warps/SM", "Inverse_Throughput", "Max_dispatch_width", "Cycle_Count",
          "Cycles", "Static_cycle_count", "LDS_size", "Workgroup_Memory_Size", "SLM_size", "Scratch_size", "Scratch_Memory_Size")


def kernels(path):
    """Each kernel of a log: name, specialisation constants, subgroup's size, statistics by name, milliseconds."""
    said = None
    with open(path, errors="replace") as f:
        for line in f:
            if line.startswith("still:"):
                said, _, failed = line[len("still:"):].partition("|")
                continue
            built = re.search(r" gpu: (\S+) built in ([\d.]+) ms(?:: (.*))?", line)
            if built and said is not None:
                statistics = dict(pair.split("=", 1) for pair in (failed + " " + (built[3] or "")).split())
                yield built[1], said.strip(), statistics.pop("subgroup", "?"), statistics, float(built[2])
                said = None


def first(statistics, names):
    return next((float(statistics[n]) for n in names if n in statistics), 0)


def accepted(name, statistics):
    return max((n for (kernel, what), n in ACCEPTED.items() if kernel == name and what in statistics), default=SPILLS)


def judge(path, table):
    device, n, slowest, bad = os.path.basename(path), 0, 0, []
    way = device.partition("-")[2]
    taken = not way
    for name, constants, subgroup, statistics, ms in kernels(path):
        n += 1
        taken = taken or f"matmul_{way}" in name
        slowest = max(slowest, ms)
        spilled = first(statistics, SPILLED)
        which = f"{device}: {name} ({constants})"
        if "failed" in statistics:
            bad.append(f"{which} is not built: {statistics['failed']}")
        elif not statistics:
            bad.append(f"{which}: nothing is known of it")
        if spilled > accepted(name, statistics):
            bad.append(f"{which} spills {spilled:.0f} registers")
        if ms > 1000 * SECONDS:
            bad.append(f"{which} takes {ms / 1000:.0f} s to build")
        if table:
            rest = " ".join(f"{k}={statistics[k]}" for k in OTHERS if k in statistics)
            print(f"{device:10} {name:18} {constants:34} of {subgroup:>2}, registers {first(statistics, REGISTERS):.0f}, spilled {spilled:.0f}, {ms:.0f} ms, {rest}")
    if not taken:
        bad.append(f"{device}: no kernel is called matmul_{way}")
    if n < 10:
        bad.append(f"{device}: {n} kernels only")
    print(f"{device}: {n} kernels, the slowest built in {slowest / 1000:.1f} s, {len(bad)} to be mended")
    for line in bad:
        print("  " + line)
    return not bad


def main():
    table = sys.argv[1:2] == ["--table"]
    results = [judge(path, table) for path in sys.argv[1 + table:]]
    sys.exit(0 if results and all(results) else 1)


if __name__ == "__main__":
    main()
