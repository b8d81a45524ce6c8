#!/usr/bin/env python3
"""Waiting for a daemon that loads: it costs nothing where there is nothing to wait for. The daemon is played by this test."""
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import unittest

from harness import CALL_S, LATENT, main
from wire import CREATE, GET, HELLO, INFO, SEARCH, STATUS, frame, pack, unpack

LOADING = 29  # LT_ELOADING


class Loading(threading.Thread):
    """A daemon that loads until it has been asked for its status so many times, and notes what it is asked."""

    def __init__(self, folder, looks, answers):
        super().__init__(daemon=True)
        self.path = os.path.join(folder, "s")
        self.looks, self.answers, self.asked = looks, answers, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(1)

    def run(self):
        with self.listener, self.listener.accept()[0] as s, s.makefile("rb") as f:
            s.sendall(HELLO)
            f.read(16)
            while len(head := f.read(4)) == 4:
                raw = unpack(f.read(struct.unpack("<I", head)[0]))
                body = next(n for n in raw if n >= STATUS)
                self.asked.append(body)
                s.sendall(frame(pack([(1, raw[1][0])] + self.answer(body))))

    def answer(self, body):
        if body == STATUS:
            self.looks -= 1
            return [(STATUS, [(2, 1 if self.looks > 0 else 4), (3, 30)])]
        return [({INFO: CREATE}.get(body, body), self.answers[body])] if self.looks <= 0 else [(3, [(1, LOADING), (2, "still loading"), (3, 1)])]


class Waiting(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="latentd-waiting-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def latent(self, looks, answers, *args):
        daemon = Loading(self.folder, looks, answers)
        daemon.start()
        got = subprocess.run([LATENT, "--socket", daemon.path, *args], capture_output=True, text=True, timeout=CALL_S)
        daemon.join(CALL_S)
        os.unlink(daemon.path)
        return got, daemon.asked

    def test_nothing_is_asked_before_a_command(self):
        got, asked = self.latent(0, {GET: [(1, [(1, "a"), (2, "text")])]}, "get", "-c", "c", "a")
        self.assertEqual((got.returncode, got.stderr), (0, ""))
        self.assertEqual(asked, [GET])

    def test_loading_is_waited_for(self):
        got, asked = self.latent(3, {GET: [(1, [(1, "a"), (2, "text")])]}, "get", "-c", "c", "a")
        self.assertEqual((got.returncode, got.stderr), (0, "latent: waiting for latentd, which is still loading\n"))
        self.assertIn('"text"', got.stdout)
        self.assertEqual(asked, [GET, STATUS, STATUS, STATUS, GET])

    def test_status_does_not_wait(self):
        got, asked = self.latent(3, {}, "status")
        self.assertEqual((got.returncode, got.stderr), (0, ""))
        self.assertIn("30 %", got.stdout)
        self.assertEqual(asked, [STATUS])

    def test_many_queries_wait(self):
        """These are sent without waiting for each other's answers, so that something else has to wait before."""
        queries, out = (os.path.join(self.folder, name) for name in ("q", "run"))
        with open(queries, "w") as f:
            f.write('{"_id":"q1","text":"x"}\n')
        got, asked = self.latent(2, {INFO: [(1, "c")], SEARCH: []}, "search", "-c", "c", "--queries", queries, "--run", out)
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertEqual(asked, [INFO, STATUS, STATUS, INFO, SEARCH])


if __name__ == "__main__":
    main()
