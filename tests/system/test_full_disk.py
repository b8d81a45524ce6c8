#!/usr/bin/env python3
"""A data folder on a file system that is full: read-only, not dead, and by itself well again. Needs the right to mount."""
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import unittest

from harness import CALL_S, Daemon, QUICK_MODEL, START_S, STEADY_DEVICE, main
from wire import ADD, CREATE, DELETE, DROP, GET, JOB_CANCEL, JOB_OPEN, SEARCH, STATUS, Wire, add, document, unpack

ENOSPC = 17  # base/err.h
MIB = 1 << 20
DIM = 32


def vector(i):
    return struct.pack(f"<{DIM}f", *(((i * 2654435761 >> b) % 1000) / 1000 + 0.001 for b in range(DIM)))


class Small(Daemon):
    """With a data folder of a few MiB."""

    def mount(self, mib):
        os.makedirs(self.data)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "latentd-test", self.data], check=True)
        return self

    def resize(self, mib):
        subprocess.run(["mount", "-o", f"remount,size={mib}m", self.data], check=True)

    def __exit__(self, *what):
        try:
            if self.process and self.process.poll() is None:
                self.stop()
        finally:
            subprocess.run(["umount", "-l", self.data], check=False)
            super().__exit__(*what)


class FullDisk(unittest.TestCase):
    def document(self, i, size=20000):
        return document(f"d{i}", f"number{i} " + os.urandom(size // 2).hex(), vector=vector(i))

    def fill(self, w, n=0):
        """Adds documents from the n-th on until there is no room; the number of the first that did not go in, and why."""
        while n < 100000:
            reply = w.call(ADD, add("c", [self.document(n)]))
            if reply.code:
                return n, reply
            self.assertNotIn(4, reply.body(ADD))
            n += 1
        self.fail("the disk never filled")

    def status(self, w):
        body = w.call(STATUS, []).body(STATUS)
        return bool(body.get(4)), body.get(5, [b""])[0].decode()

    def wait_writable(self, w):
        end = time.monotonic() + START_S
        while self.status(w)[0]:
            self.assertLess(time.monotonic(), end, self.status(w))
            time.sleep(0.05)

    def add_again(self, w, doc):
        """As soon as the daemon says that it is writable again."""
        self.wait_writable(w)
        reply = w.call(ADD, add("c", [doc]))
        self.assertEqual(reply.code, 0, reply.message)

    def check_reason(self, d, text, least=0):
        """Path, bytes free, bytes needed; needed is more than free, or else nobody would understand."""
        m = re.search(r"(\S+): no space left \((\d+) bytes free, (\d+) needed\)", text)
        self.assertIsNotNone(m, text)
        self.assertEqual(m.group(1), d.data)
        self.assertGreater(int(m.group(3)), int(m.group(2)), text)
        self.assertGreater(int(m.group(3)), least)

    def found(self, w, i):
        reply = w.call(SEARCH, [(1, "c"), (3, vector(i)), (4, 1), (5, 1)])
        self.assertEqual(reply.code, 0, reply.message)
        hits = reply.body(SEARCH)[1]
        return unpack(hits[0])[1][0].decode() == f"d{i}"

    def test_full_then_larger(self):
        with Small(wait=None) as d:
            d.stop()
            shutil.rmtree(d.data, ignore_errors=True)
            d.mount(48)
            d.start()
            d.wait("ready")
            with Wire(d.socket) as w:
                self.assertEqual(w.call(CREATE, [(1, "c"), (2, DIM), (4, 1)]).code, 0)
                n, reply = self.fill(w)
                self.assertGreater(n, 100)
                self.assertEqual((reply.code, reply.retryable), (ENOSPC, True))
                self.check_reason(d, reply.message)
                read_only, reason = self.status(w)
                self.assertTrue(read_only)
                self.check_reason(d, reason)
                # again, now that it is known; and it stays one and the same answer
                again = w.call(ADD, add("c", [self.document(n)]))
                self.assertEqual((again.code, again.retryable), (ENOSPC, True))
                self.check_reason(d, again.message)
                # everything that was acknowledged is there and found
                self.assertEqual(unpack(w.call(GET, [(1, "c"), (2, f"d{n - 1}")]).body(GET)[1][0])[1], [f"d{n - 1}".encode()])
                self.assertTrue(all(self.found(w, i) for i in (0, n // 2, n - 1)))
                # what makes room is taken
                reply = w.call(DELETE, [(1, "c")] + [(2, f"d{i}") for i in range(20)])
                self.assertEqual((reply.code, reply.message), (0, ""))
                self.assertEqual(reply.body(DELETE)[1], [20])
                d.resize(128)
                self.wait_writable(w)
                self.assertEqual(w.call(ADD, add("c", [self.document(n)])).code, 0)
                self.assertTrue(self.found(w, n))
            self.assertEqual(d.stop(), 0)

    def test_deleting_makes_room(self):
        with Small(wait=None) as d:
            d.stop()
            shutil.rmtree(d.data, ignore_errors=True)
            d.mount(48)
            d.start()
            d.wait("ready")
            with Wire(d.socket) as w:
                self.assertEqual(w.call(CREATE, [(1, "c"), (2, DIM), (4, 1)]).code, 0)
                n, _ = self.fill(w)
                for i in range(0, n - 20, 20):
                    reply = w.call(DELETE, [(1, "c")] + [(2, f"d{j}") for j in range(i, i + 20)])
                    self.assertEqual((reply.code, reply.message), (0, ""), i)
                self.add_again(w, self.document(n))
                self.assertTrue(self.found(w, n - 1) and self.found(w, n))

    def test_start_on_a_full_disk(self):
        with Small(wait=None) as d:
            d.stop()
            shutil.rmtree(d.data, ignore_errors=True)
            d.mount(48)
            d.start()
            d.wait("ready")
            with Wire(d.socket) as w:
                self.assertEqual(w.call(CREATE, [(1, "c"), (2, DIM), (4, 1)]).code, 0)
                n, _ = self.fill(w)
            for end in (d.kill, d.stop):
                end()
                self.assertTrue(os.path.exists(os.path.join(d.data, "reserve")))
                fd = os.open(os.path.join(d.data, "ballast"), os.O_CREAT | os.O_WRONLY)
                try:
                    while True:  # to the last byte
                        os.write(fd, bytes(4096))
                except OSError:
                    os.close(fd)
                d.start()
                d.wait("ready")
                with Wire(d.socket) as w:
                    self.assertTrue(all(self.found(w, i) for i in (0, n // 2, n - 1)))
                    self.assertEqual(w.call(ADD, add("c", [self.document(n)])).code, ENOSPC)
                    reply = w.call(DELETE, [(1, "c"), (2, "d1")])
                    self.assertEqual((reply.code, reply.message), (0, ""))
                    os.unlink(os.path.join(d.data, "ballast"))
                    for i in range(2, n // 2 - 1):  # until there is a reserve again
                        self.assertEqual(w.call(DELETE, [(1, "c"), (2, f"d{i}")]).code, 0)
                    self.add_again(w, self.document(1))
                    n = self.fill(w, n + 1)[0]

    def test_cancelling_makes_room(self):
        """Of a job whose documents filled the disk, to the last byte, before they were embedded."""
        with Small(*QUICK_MODEL, wait=None, env=STEADY_DEVICE) as d:
            d.stop()
            shutil.rmtree(d.data, ignore_errors=True)
            d.mount(40)
            d.start()
            d.wait("ready")
            with Wire(d.socket) as w:
                self.assertEqual(w.call(CREATE, [(1, "c")]).code, 0)
                job = w.call(JOB_OPEN, [(1, "c")]).body(JOB_OPEN)[1][0]
                n, code = 0, 0
                while not code:
                    docs = [document(f"d{n + i}", f"number{n + i} " + "word " * 100) for i in range(500)]
                    code = w.call(ADD, add("c", docs, wait_accepted=True, job=job)).code
                    n += 0 if code else len(docs)
                self.assertEqual(code, ENOSPC)
                self.assertGreater(n, 1000)
                fd = os.open(os.path.join(d.data, "ballast"), os.O_CREAT | os.O_WRONLY)
                try:
                    while True:
                        os.write(fd, bytes(4096))
                except OSError:
                    os.close(fd)
                reply = w.call(JOB_CANCEL, [(1, job)])
                self.assertEqual((reply.code, reply.message), (0, ""))
                row = unpack(reply.raw[JOB_OPEN][0])
                self.assertEqual((row[4], row.get(8, [0])), ([3], [0]))
                info = d.json_lines("collection", "info", "c", "--json")[0]
                self.assertEqual((info["documents"], info["pending_chunks"]), (row.get(6, [0])[0], 0))
                os.unlink(os.path.join(d.data, "ballast"))
                self.wait_writable(w)
                self.assertEqual(w.call(ADD, add("c", [document("new", "a text")])).code, 0)

    def test_who_waits_for_search_is_told(self):
        """Texts went in, and then there is no room for their vectors: the answer comes at once and names what is missing; they are embedded
        when there is room again."""
        with Small(*QUICK_MODEL, wait=None, env=STEADY_DEVICE) as d:
            d.stop()
            shutil.rmtree(d.data, ignore_errors=True)
            d.mount(40)
            d.start()
            d.wait("ready")
            with Wire(d.socket) as w, Wire(d.socket) as looking:
                self.assertEqual(w.call(CREATE, [(1, "c")]).code, 0)
                w.send(ADD, add("c", [document(f"d{i}", f"number{i} " + "word " * 100) for i in range(500)]))
                while d.json_lines("collection", "info", "c", "--json")[0]["documents"] < 500:
                    time.sleep(0.02)
                fd = os.open(os.path.join(d.data, "ballast"), os.O_CREAT | os.O_WRONLY)
                try:
                    while True:
                        os.write(fd, bytes(4096))
                except OSError:
                    os.close(fd)
                reply = w.receive()
                self.assertEqual((reply.code, reply.retryable), (ENOSPC, True), reply.message)
                self.assertIn("accepted and durable", reply.message)
                self.check_reason(d, reply.message)
                self.assertTrue(self.status(looking)[0])
                os.unlink(os.path.join(d.data, "ballast"))
                self.add_again(w, document("new", "a text"))
            info = d.json_lines("collection", "info", "c", "--json")[0]
            self.assertEqual((info["documents"], info["pending_chunks"]), (501, 0))

    def test_one_document_that_does_not_fit(self):
        """It is refused by its size; what is small still goes in."""
        with Small(wait=None) as d:
            d.stop()
            shutil.rmtree(d.data, ignore_errors=True)
            d.mount(32)
            d.start()
            d.wait("ready")
            with Wire(d.socket) as w:
                self.assertEqual(w.call(CREATE, [(1, "c"), (2, DIM), (4, 1)]).code, 0)
                for _ in range(2):
                    reply = w.call(ADD, add("c", [self.document(0, 14 * MIB)] + [self.document(1, 2000)]))
                    self.assertEqual(reply.code, ENOSPC)
                    self.check_reason(d, reply.message, least=14 * MIB)
                self.wait_writable(w)
                self.assertEqual(w.call(ADD, add("c", [self.document(1, 2000)])).code, 0)
                self.assertEqual(w.call(DROP, [(1, "c")]).code, 0)


def may_mount():
    try:
        return subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True,
                              timeout=CALL_S).returncode == 0
    except OSError:
        return False


if __name__ == "__main__":
    if not may_mount():
        print("skipped: no right to mount here")
        sys.exit(77)
    main()
