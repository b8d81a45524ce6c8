#!/usr/bin/env python3
"""What one command of `latent` takes, its process included: get, search and status against one running daemon, in turns.

  tests/bench/bench_cli.py [BUILD-FOLDER] [--runs 600] [--client LATENT ...]

Each further --client is another program that takes its turns against the same daemon: an earlier version's, say. Printed are the
medians by the clock, from before the process is started to after its end, and of the process's own CPU time.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

SRC = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMMANDS = {"get": ["get", "-c", "c", "a"], "search": ["search", "-c", "c", "-k", "1", "late trains"], "status": ["status"]}


def run(args, env):
    """Milliseconds by the clock and of CPU time."""
    null = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    start = time.monotonic()
    pid = os.posix_spawn(args[0], args, env, file_actions=null)
    _, status, used = os.wait4(pid, 0)
    clock = time.monotonic() - start
    if status:
        sys.exit(f"{' '.join(args)}: exit status {os.waitstatus_to_exitcode(status)}")
    return clock * 1e3, (used.ru_utime + used.ru_stime) * 1e3


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("build", nargs="?", default=os.path.join(SRC, "build"))
    a.add_argument("--runs", type=int, default=600)
    a.add_argument("--client", action="append", default=[])
    a = a.parse_args()
    latent = os.path.abspath(os.path.join(a.build, "clients", "cli", "latent"))
    clients = [latent] + [os.path.abspath(c) for c in a.client]
    with tempfile.TemporaryDirectory(prefix="latentd-cli-") as home:
        path = os.path.join(home, "s")
        daemon = subprocess.Popen([os.path.join(a.build, "daemon", "latentd"), "--data", os.path.join(home, "data"), "--socket", path,
                                   "--device", "cpu", "--log-level", "warn"], env=dict(os.environ, OMP_WAIT_POLICY="passive"))
        try:
            while b'"phase":"ready"' not in subprocess.run([latent, "--socket", path, "status", "--json"], capture_output=True).stdout:
                time.sleep(0.1)
            subprocess.run([latent, "--socket", path, "collection", "create", "c"], check=True, stdout=subprocess.DEVNULL)
            subprocess.run([latent, "--socket", path, "add", "-c", "c", "--jsonl", "-"], check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, input=b'{"id":"a","text":"The train was late again."}\n')
            got = {(c, name): [] for c in clients for name in COMMANDS}
            for i in range(a.runs):
                for name, command in COMMANDS.items():
                    for c in clients if i % 2 else clients[::-1]:
                        got[c, name].append(run([c, "--socket", path, *command], os.environ))
        finally:
            daemon.terminate()
            daemon.wait()
    print("| command | client | ms by the clock | ms of CPU |\n| --- | --- | --- | --- |")
    for (c, name), times in got.items():
        clock, cpu = (statistics.median(t) for t in zip(*times))
        print(f"| {name} | {os.path.relpath(c)} | {clock:.2f} | {cpu:.2f} |")


main()
