"""A latentd of its own, with its own folder and socket, for one test; and the command line to talk to it.

Everything is bounded in time. LATENTD_BUILD names the build folder (meson sets it).
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

SRC = os.environ.get("LATENTD_SRC", os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.environ.get("LATENTD_BUILD", os.path.join(SRC, "build"))
SHARED = os.environ.get("LATENTD_SHARED", "")
LATENTD = os.path.join(BUILD, "daemon", "latentd")
LATENT = os.path.join(BUILD, "clients", "cli", "latent")
SANITIZED = os.environ.get("LATENTD_SANITIZE", "none") != "none"
# Limits are there to end a hung test, not to time anything; instrumented code is several times slower.
START_S = 900 if SANITIZED else 300
CALL_S = 1800 if SANITIZED else 600
# Builds without fault points cannot be made to fail.
needs_faults = unittest.skipUnless(os.environ.get("LATENTD_FAULTS") == "yes", "this build has no fault points")
# For tests of what happens while texts wait for the device: each batch of them but the questions' takes 50 ms longer, so that on no
# machine all of them are done too soon. Without fault points it is only likely.
SLOW_DEVICE = {"LATENTD_FAULT": "device.slow=always"}
# The same, and each of these has the fewest tokens that such batches have, 256, however quick the model is.
STEADY_DEVICE = {"LATENTD_FAULT": "device.slow=always,device.unmeasured=always"}
# Texts go through it in no time, instrumented too: for tests that are not about the model.
QUICK_MODEL = ("--model", os.path.join(SRC, "tests", "golden", "decoders", "mistral.gguf"))


def vulkan_environment():
    """For what loads Vulkan drivers: they leave a little behind when they are unloaded, in modules that then have no name to
    suppress."""
    return dict(os.environ, ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0")


class Daemon:
    """Starts latentd in a temporary folder; use as a context manager."""

    def __init__(self, *args, env=None, folder=None, wait="ready", device="cpu"):
        self.args = list(args) + ["--device", device]
        self.env = dict(os.environ if device == "cpu" else vulkan_environment(), **(env or {}))
        self.own_folder = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix="latentd-test-")
        self.data = os.path.join(self.folder, "data")
        self.socket = os.path.join(self.folder, "latentd.sock")
        self.log_path = os.path.join(self.folder, "log")
        self.process = None
        self.wait_for = wait
        self.wrap = list  # makes the command that is started of latentd's own

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.wrap([LATENTD, "--data", self.data, "--socket", self.socket, "--log-level", "info", *self.args]),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env)
        if self.wait_for:
            self.wait(self.wait_for)
        return self

    def wait(self, phase):
        """Until `latent status` names the phase ("" for any answer)."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"latentd ended with {self.process.returncode}:\n{self.log_text()}")
            got = self.latent("status", "--json", check=False)
            if got.returncode == 0 and phase in ("", json.loads(got.stdout)["phase"]):
                return
            time.sleep(0.05)
        raise AssertionError(f"latentd did not reach '{phase}':\n{self.log_text()}")

    def port(self):
        """The one that it has for `--listen 127.0.0.1:0`: no two daemons can be given the same."""
        return int(re.findall(r"listening on 127\.0\.0\.1:(\d+)", self.log_text())[-1])

    def log_text(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def kill(self):
        """kill -9, as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(CALL_S)

    def stop(self):
        """SIGTERM; the exit status."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(CALL_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"latentd did not stop on SIGTERM:\n{self.log_text()}")
        return self.process.returncode

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise

    def __exit__(self, kind, value, trace):
        try:
            if self.process and self.process.poll() is None:
                code = self.stop()
                if kind is None and code != 0:
                    raise AssertionError(f"latentd stopped with {code}:\n{self.log_text()}")
        finally:
            if kind and os.path.exists(self.log_path):
                code = self.process.returncode if self.process else None
                print(f"latentd's log, exit status {code}:\n{self.log_text()[-12000:]}", file=sys.stderr)
            if self.own_folder:
                shutil.rmtree(self.folder, ignore_errors=True)

    def latent(self, *args, stdin=None, check=True):
        """Runs `latent --socket … ARGS`; with check, an exit status other than 0 fails the test."""
        got = subprocess.run([LATENT, "--socket", self.socket, *args], input=stdin, capture_output=True,
                             text=True, timeout=CALL_S, env=self.env)
        if check and got.returncode != 0:
            raise AssertionError(f"latent {' '.join(args)}: {got.returncode}\n{got.stdout}{got.stderr}\n"
                                 f"{self.log_text() if os.path.exists(self.log_path) else ''}")
        return got

    def json_lines(self, *args, stdin=None):
        return [json.loads(line) for line in self.latent(*args, stdin=stdin).stdout.splitlines()]

    def status(self):
        return self.json_lines("status", "--json")[0]

    def add(self, collection, docs, *args, check=True):
        lines = "".join(json.dumps(d) + "\n" for d in docs)
        return self.latent("add", "-c", collection, "--jsonl", "-", *args, stdin=lines, check=check)

    def search(self, collection, *args):
        """The hits."""
        return self.search_all(collection, *args)[0]

    def search_all(self, collection, *args):
        """The hits, and what was used to find them."""
        *hits, last = self.json_lines("search", "-c", collection, "--json", *args)
        return hits, last["search"]


def main():
    """Runs the calling file's tests; the last lines say how many ran."""
    unittest.main(verbosity=2)
