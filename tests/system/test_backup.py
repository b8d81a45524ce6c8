#!/usr/bin/env python3
"""`latent backup`: a copy made under load is as of one moment, can be checked and served, and answers as the original did."""
import base64
import os
import shutil
import stat
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from harness import CALL_S, LATENT, SANITIZED, SRC, START_S, Daemon, main
from wire import ADD, CREATE, GET, SEARCH, Wire, add, document, unpack

MODEL = os.path.join(SRC, "tests", "golden", "decoders", "mistral.gguf")
DIM = 24


def vector(i):
    return struct.pack(f"<{DIM}f", *(((i * 2654435761 >> b) % 1000) / 1000 + 0.001 for b in range(DIM)))


def latent(*args):
    return subprocess.run([LATENT, *args], capture_output=True, text=True, timeout=CALL_S)


class Writer(threading.Thread):
    """Adds documents one after the other, and knows how many were acknowledged."""

    def __init__(self, path):
        super().__init__()
        self.path, self.done, self.stop, self.failed = path, 0, False, None

    def run(self):
        try:
            with Wire(self.path) as w:
                while not self.stop:
                    reply = w.call(ADD, add("v", [document(f"d{self.done}", f"number{self.done} of many", vector=vector(self.done))]))
                    assert reply.code == 0 and 4 not in reply.body(ADD), reply.message
                    self.done += 1
        except Exception as e:  # told by the test
            self.failed = e


class Backup(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="latentd-backup-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def to(self, name):
        return os.path.join(self.folder, name)

    def backup(self, d, name, *more):
        got = latent("backup", "--data", d.data, *more, self.to(name))
        self.assertEqual((got.returncode, got.stderr), (0, ""), got)
        self.assertFalse(os.path.exists(self.to(name) + ".part"))
        return got.stdout

    def served(self, name, *args):
        """A daemon on the copy."""
        d = Daemon(*args, folder=self.to("of-" + name))
        os.mkdir(d.folder)
        d.data = self.to(name)
        return d

    def answers(self, d):
        with Wire(d.socket) as w:
            out = []
            for i in range(0, 200, 10):
                for mode in (0, 1, 2):
                    hits = w.call(SEARCH, [(1, "v"), (2, f"number{i}"), (3, vector(i)), (4, 5), (5, mode), (12, 1)]).body(SEARCH)
                    self.assertNotIn(6, hits)  # degraded
                    out.append([(unpack(h)[1], unpack(h)[5]) for h in hits.get(1, [])])
            return out

    def settle(self, d):
        """Until graphs are made."""
        end = time.monotonic() + START_S
        while any(c["degraded"] or c["pending_chunks"] for c in d.status()["collections"]):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)

    def test_under_load(self):
        with Daemon("--model", MODEL) as d:
            with Wire(d.socket) as w:
                self.assertEqual(w.call(CREATE, [(1, "v"), (2, DIM), (4, 1)]).code, 0)
            writer = Writer(d.socket)
            writer.start()
            while writer.done < 200 and not writer.failed:
                time.sleep(0.01)
            copies = []
            for i in range(3):
                before = writer.done
                said = self.backup(d, f"copy{i}")
                copies.append((f"copy{i}", before, writer.done + 1))
                self.assertIn("1 collection, ", said)
            writer.stop = True
            writer.join()
            self.assertIsNone(writer.failed)
            self.assertGreater(writer.done, copies[0][1])
            self.backup(d, "last")
            copies.append(("last", writer.done, writer.done))
            self.settle(d)
            want = self.answers(d)
        for name, least, most in copies:
            self.assertEqual(os.listdir(self.to(name)), ["store.db"])
            got = latent("check", "--data", self.to(name))
            self.assertEqual(got.returncode, 0, got.stdout)
            with self.served(name, "--model", MODEL) as d:
                self.settle(d)
                n = d.status()["collections"][0]["documents"]
                self.assertTrue(least <= n <= most, (name, least, n, most))
                with Wire(d.socket) as w:
                    got = w.call(GET, [(1, "v"), (2, f"d{n - 1}"), (2, f"d{n}")]).body(GET)
                    self.assertEqual(([unpack(x)[1] for x in got[1]], got[2]), ([[f"d{n - 1}".encode()]], [f"d{n}".encode()]))
                if name == "last":
                    self.assertEqual(self.answers(d), want)
                d.add("v", [{"id": "after", "vector": [1] * DIM}])  # it lives on

    def test_unfinished_work_and_keys(self):
        """Of a daemon that was killed: what waited to be embedded is embedded by the copy's daemon. The keys come along."""
        with Daemon("--model", MODEL, "--socket-keys", "yes", wait=None) as d:
            while not os.path.exists(os.path.join(d.data, "server_key")):
                self.assertIsNone(d.process.poll(), d.log_text())
                time.sleep(0.02)
            d.stop()
            latent("key", "add", base64.b64encode(bytes(range(32))).decode(), "--file", os.path.join(d.data, "authorized_keys"))
            d.args = ["--model", MODEL, "--device", "cpu"]
            d.wait_for = "ready"
            d.start()
            d.latent("collection", "create", "c")
            n = 400 if SANITIZED else 1000  # more than are embedded by the time that it is killed
            d.add("c", [{"id": f"d{i}", "text": f"number {i} " * 40} for i in range(n)], "--async")
            d.kill()
            said = self.backup(d, "copy")
            self.assertIn(f"{n} documents", said)
            for name in ("server_key", "authorized_keys"):
                with open(os.path.join(d.data, name), "rb") as a, open(os.path.join(self.to("copy"), name), "rb") as b:
                    self.assertEqual(a.read(), b.read())
                self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.to("copy"), name)).st_mode), 0o600)
            self.assertEqual(stat.S_IMODE(os.stat(self.to("copy")).st_mode), 0o700)
        with self.served("copy", "--model", MODEL) as d:
            self.settle(d)
            self.assertEqual(d.search("c", "-k", "1", "--mode", "text", f"{n - 1}")[0]["id"], f"d{n - 1}")

    def test_refusals(self):
        """None leaves anything, and what an earlier one left is no hindrance."""
        def refused(words, *args, code=1):
            got = latent("backup", *args)
            self.assertEqual((got.returncode, got.stdout), (code, ""), args)
            self.assertIn(words, got.stderr)
            self.assertEqual(sorted(os.listdir(self.folder)), before)

        with Daemon("--model", MODEL) as d:
            d.latent("collection", "create", "c")
            d.add("c", [{"id": str(i), "text": f"number {i} and {os.urandom(400).hex()}"} for i in range(60)])
            os.mkdir(self.to("there"))
            os.mkdir(self.to("odd"))
            with open(self.to("odd/store.db"), "wb") as f:
                f.write(os.urandom(9000))
            self.backup(d, "sound/")
            shutil.copytree(self.to("sound"), self.to("damaged"))
            with open(self.to("damaged/store.db"), "r+b") as f:
                f.seek(5 * 4096)
                f.write(os.urandom(8 * 4096))
            before = sorted(os.listdir(self.folder))
            refused("is there already", "--data", d.data, self.to("there"))
            refused("No such file", "--data", self.to("there"), self.to("new"))
            refused("not a database", "--data", self.to("odd"), self.to("new"))
            refused("\nNothing was copied", "--data", self.to("damaged"), self.to("new"))
            refused("No such file", "--data", d.data, self.to("absent/new"))
            refused("where to?", "--data", d.data, code=2)
            refused("Try latentd backup --help", "--data", d.data, self.to("new"), self.to("newer"), code=2)
            os.mkdir(self.to("new.part"))
            with open(self.to("new.part/store.db"), "wb") as f:
                f.write(b"half of it")
            self.backup(d, "new")
            self.assertEqual(os.listdir(self.to("new")), ["store.db"])

    @unittest.skipUnless(os.geteuid() == 0, "only root mounts")
    def test_no_room(self):
        small = self.to("small")
        os.mkdir(small)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "latentd-test", small], capture_output=True, check=False).returncode:
            self.skipTest("no right to mount here")
        self.addCleanup(subprocess.run, ["umount", "-l", small], check=False)
        with Daemon("--model", MODEL) as d:
            d.latent("collection", "create", "c")
            d.add("c", [{"id": str(i), "text": os.urandom(30000).hex()} for i in range(40)], "--on-long", "truncate")
            got = latent("backup", "--data", d.data, os.path.join(small, "copy"))
            self.assertEqual(got.returncode, 1)
            self.assertRegex(got.stderr, r"small/copy.part: no space left \(\d+ bytes free, \d+ needed\)")
            self.assertEqual(os.listdir(small), [])


if __name__ == "__main__":
    main()
