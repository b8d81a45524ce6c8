"""A program that has a latentd of its own (tests/tools/private_host.c), and what its tests share."""
import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from harness import BUILD, CALL_S, LATENTD, START_S

HOST = os.path.join(BUILD, "tests", "tools", "private_host")
SEED = int(os.environ.get("SEED", "1"))


def runs(pid):
    """Not when it is a zombie: who reaps orphans is not latentd's affair."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(what, *args):
    end = time.monotonic() + START_S
    while not what(*args):
        if time.monotonic() > end:
            raise AssertionError(f"{what.__name__}{args} did not come true")
        time.sleep(0.02)


def ended(pid):
    return not runs(pid)


def locked_by(folder):
    """The pid in the folder's lock, when somebody holds it."""
    try:
        with open(os.path.join(folder, "lock")) as f:
            fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return 0
    except BlockingIOError:
        with open(os.path.join(folder, "lock")) as f:
            return int(f.readline() or 0)
    return 0


class Host:
    def __init__(self, folder, model="", options=(), env=None):
        self.process = subprocess.Popen([HOST, folder, model, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "LATENTD_PROGRAM": LATENTD, **(env or {})})

    def send(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def answer(self):
        return self.process.stdout.readline().rstrip("\n")

    def __call__(self, *words):
        self.send(*words)
        return self.answer()

    def pid(self):
        return int(re.match(r"pid (\d+)", self("status")).group(1))

    def kill(self):
        self.process.kill()
        self.process.wait(CALL_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(CALL_S)
        finally:
            self.process.kill()
            self.process.stdout.close()


class PrivateTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="private-latentd-")
        self.data = os.path.join(self.root, "data")
        self.addCleanup(self.clean)

    def clean(self):
        """No daemon of this test's stays, whatever happened."""
        for entry in os.listdir("/proc"):
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as f:
                    if entry.isdigit() and self.root.encode() in f.read() and int(entry) != os.getpid():
                        os.kill(int(entry), signal.SIGKILL)
            except (OSError, ValueError):
                pass
        shutil.rmtree(self.root, ignore_errors=True)

    def check(self, answer, code, *words):
        self.assertTrue(answer.startswith(f"error {code} "), answer)
        for word in words:
            self.assertIn(word, answer)
