#!/usr/bin/env python3
"""Waiting for a daemon that loads: it costs nothing where there is nothing to wait for. The daemon is played by this test, but for keys."""
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from harness import CALL_S, LATENT, SRC, Daemon, main, needs_faults
from noise import Key, NoiseWire
from wire import CREATE, GET, HELLO, INFO, LIST, SEARCH, STATUS, Wire, frame, pack, unpack

MODEL = os.path.join(SRC, "tests", "golden", "decoders", "mistral.gguf")
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

    @needs_faults
    def test_ready_is_when_requests_are_answered(self):
        """Not when all is loaded: who hears it goes on at once."""
        hold = os.path.join(self.folder, "hold")
        with open(hold, "w", encoding="ascii"):
            pass
        with Daemon("--model", MODEL, wait=None, env={"LATENTD_FAULT": f"load.end={hold}"}) as d:
            while "memory: at most" not in d.log_text():  # little is left to do then
                time.sleep(0.01)
            with Wire(d.socket) as w:
                for _ in range(30):
                    phase = w.call(STATUS, []).body(STATUS).get(2)
                    self.assertEqual((phase == [4], w.call(LIST, []).code), (False, LOADING))
                    time.sleep(0.01)
                os.unlink(hold)
                while w.call(STATUS, []).body(STATUS).get(2) != [4]:
                    time.sleep(0.01)
                self.assertEqual(w.call(LIST, []).code, 0)

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

    def test_every_command_waits(self):
        """The library's calls that have a begin and a finish too."""
        for asks, answers, args in ((SEARCH, {SEARCH: [(1, [(1, "a"), (7, "found")])]}, ["search", "-c", "c", "x"]),
                                    (SEARCH, {SEARCH: []}, ["search", "-c", "c", "--json", "--mode", "text", "x"]),
                                    (INFO, {INFO: [(1, "c")]}, ["collection", "info", "c"])):
            got, asked = self.latent(2, answers, *args)
            self.assertEqual(got.returncode, 0, got.stderr)
            self.assertEqual(got.stderr, "latent: waiting for latentd, which is still loading\n")
            self.assertEqual(asked, [asks, STATUS, STATUS, asks])

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

    @needs_faults
    def test_a_key_waits_too(self):
        """Over TCP and on the Unix socket, under a rate that its looks would use up if they counted while the daemon loads."""
        hold, *keys = (os.path.join(self.folder, name) for name in ("hold", "key1", "key2"))
        open(hold, "w").close()
        with Daemon("--model", MODEL, "--socket-keys", "yes", "--listen", "127.0.0.1:0", env={"LATENTD_FAULT": f"load.hold={hold}"}, wait=None) as d:
            self.addCleanup(lambda: os.path.exists(hold) and os.unlink(hold))
            while not (found := re.search(r"latentd.sock, server key (\S+)", d.log_text())):
                self.assertIsNone(d.process.poll(), d.log_text())
                time.sleep(0.02)
            server = found.group(1)
            looking = Key()
            public = [looking.text]
            for key in keys:
                got = subprocess.run([LATENT, "key", "generate", "-o", key], capture_output=True, text=True, check=True)
                public.append(got.stdout.split()[-1])
            path = os.path.join(d.data, "authorized_keys")
            with open(path, "w", encoding="ascii") as f:
                f.writelines(f"{p} query rate=1/s\n" for p in public)
            os.chmod(path, 0o600)
            waiting = []
            for key, to in zip(keys, (["--socket", d.socket], ["--connect", f"127.0.0.1:{d.port()}"])):
                p = subprocess.Popen([LATENT, *to, "--server-key", server, "--key", key, "collection", "list"], stderr=subprocess.PIPE, text=True)
                self.addCleanup(p.kill)
                self.assertEqual(p.stderr.readline(), "latent: waiting for latentd, which is still loading\n")
                waiting.append(p)
            w = NoiseWire(d.socket, looking, server)
            self.addCleanup(w.socket.close)
            for _ in range(20):
                self.assertEqual(w.call(STATUS, []).code, 0)
                self.assertEqual(w.call(LIST, []).code, LOADING)
            self.assertEqual([p.poll() for p in waiting], [None, None])
            os.unlink(hold)
            for p in waiting:
                self.assertEqual((p.communicate(timeout=CALL_S)[1], p.returncode), ("", 0))


if __name__ == "__main__":
    main()
