#!/usr/bin/env python3
"""Clients that mean harm or have gone wrong: the daemon lives, serves the others, and gets back what they held."""
import contextlib
import os
import random
import select
import socket
import struct
import tempfile
import time
import unittest

from harness import CALL_S, QUICK_MODEL, Daemon, main, needs_faults
from wire import ADD, GET, HELLO, SEARCH, STATUS, Wire, add, document, frame, pack, request

SEED = int(os.environ.get("LATENTD_SEED", "1"))


def open_files(d):
    return len(os.listdir(f"/proc/{d.process.pid}/fd"))


def resident_kib(d):
    with open(f"/proc/{d.process.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


def raw(d, timeout=CALL_S):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(timeout)
    s.connect(d.socket)
    return s


def until_closed(s):
    """What comes until the daemon closes; it must."""
    got = b""
    try:
        while chunk := s.recv(65536):
            got += chunk
    except ConnectionError:
        pass
    return got


class Hostile(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon("--listen", "127.0.0.1:0")
        self.daemon.__enter__()
        self.port = self.daemon.port()
        self.daemon.latent("collection", "create", "c")
        self.daemon.add("c", [{"id": "a", "text": "retouch pictures"}, {"id": "b", "text": "a shell"}])
        self.assert_serves()
        self.files = open_files(self.daemon)

    def tearDown(self):
        self.daemon.__exit__(None, None, None)

    def assert_serves(self):
        """A good client gets its answer."""
        self.assertEqual(self.daemon.search("c", "edit photographs")[0]["id"], "a")

    def assert_nothing_held(self):
        """The files of those who left are closed. They go when the daemon notices, so this waits for it."""
        end = time.monotonic() + 60
        while open_files(self.daemon) > self.files and time.monotonic() < end:
            time.sleep(0.05)
        self.assertLessEqual(open_files(self.daemon), self.files)

    def test_frames_that_lie(self):
        for sent in (struct.pack("<I", 0xFFFFFFFF), struct.pack("<I", 0), struct.pack("<I", (16 << 20) + 1) + b"x" * 1000):
            with raw(self.daemon) as s:
                s.sendall(HELLO + sent)
                got = until_closed(s)
                self.assertEqual(got[:8], HELLO[:8])
        for cut in (1, 3, 4, 5, 20):  # a request that never ends
            with raw(self.daemon) as s:
                s.sendall(HELLO + frame(request(1, STATUS, []))[:cut])
        self.assert_serves()
        self.assert_nothing_held()

    def test_a_byte_at_a_time(self):
        with raw(self.daemon) as s:
            for byte in HELLO + frame(request(1, STATUS, [])):
                s.sendall(bytes([byte]))
            self.assertGreater(len(s.recv(65536)), 0)
        self.assert_serves()

    def test_random_messages(self):
        print(f"seed {SEED} (LATENTD_SEED sets it)")
        rng = random.Random(SEED)
        good = [request(1, ADD, add("c", [document("z", "some words", metadata=b"{}")])), request(1, SEARCH, [(1, "c"), (2, "words")]),
                request(1, GET, [(1, "c"), (2, "a")])]
        for i in range(300):
            message = bytearray(rng.choice(good))
            for _ in range(rng.randrange(1, 6)):
                message[rng.randrange(len(message))] = rng.randrange(256)
            with raw(self.daemon) as s:
                s.sendall(HELLO + frame(bytes(message)))
                s.shutdown(socket.SHUT_WR)
                if i % 3:
                    until_closed(s)  # otherwise it leaves without an answer
        deep = b""
        for _ in range(200):
            deep = pack([(10, deep)])
        many = pack([(2, 1)] * 600000)
        for message in (deep, many, pack([(1, 1), (16, [(2, "id")] * 70000)])):
            with raw(self.daemon) as s:
                s.sendall(HELLO + frame(message))
                s.shutdown(socket.SHUT_WR)
                until_closed(s)
        self.assert_serves()
        self.assert_nothing_held()

    def test_strangers_on_tcp(self):
        """More silent and half-greeting connections than there is room for: they hold nobody up, and all are shown the door."""
        strangers = []
        for i in range(90):
            s = socket.create_connection(("127.0.0.1", self.port), timeout=CALL_S)
            strangers.append(s)
            try:
                s.sendall((b"", HELLO[:5], HELLO[:11] + b"\1" + HELLO[12:], os.urandom(100))[i % 4])
            except OSError:  # refused already
                pass
        self.assert_serves()
        for s in strangers:
            until_closed(s)
            s.close()
        self.assert_serves()
        self.assert_nothing_held()

    def test_hundreds_of_connections(self):
        held = []
        for _ in range(600):
            try:
                held.append(Wire(self.daemon.socket, timeout=CALL_S))
            except (OSError, AssertionError):  # over the limit on connections
                break
        self.assertGreater(len(held), 50)
        self.assertTrue(all(w.call(STATUS, []).code == 0 for w in held[:50]))
        late = self.daemon.latent("status", check=False)
        self.assertEqual((late.returncode, late.stdout), (2, ""))
        self.assertRegex(late.stderr, r"^latent: the daemon closed the connection \(LATENT_ECONN\)\nIt may have as many clients as it takes .*\n$")
        for w in held:
            w.socket.close()
        self.assert_nothing_held()
        self.assert_serves()

    def test_a_client_that_never_reads(self):
        """Replies to it wait up to a bound, then its requests do; its neighbours notice nothing."""
        with Wire(self.daemon.socket) as w:
            w.call(ADD, add("c", [document("long", "word " * 200000, vector=struct.pack("<384f", 1, *[0] * 383))]))
        before = resident_kib(self.daemon)
        with Wire(self.daemon.socket) as w:
            w.socket.setblocking(False)
            one, sent = frame(request(1, GET, [(1, "c"), (2, "long")])), 0
            ids = 0
            try:
                while sent < 4 << 20:  # 4 MiB of requests ask for a hundred GB of replies
                    ids += 1
                    one = frame(request(ids, GET, [(1, "c"), (2, "long")]))
                    sent += w.socket.send(one)
            except BlockingIOError:
                pass
            self.assertLess(sent, 4 << 20)
            for _ in range(5):
                self.assert_serves()
            self.assertLess(resident_kib(self.daemon) - before, 700 << 10)
        self.assert_nothing_held()

    def test_those_who_leave_in_the_middle(self):
        for i in range(100):
            w = Wire(self.daemon.socket)
            w.send(ADD, add("c", [document(f"gone{i}.{j}", f"a text about leaving {i} {j}") for j in range(20)]))
            w.send(SEARCH, [(1, "c"), (2, "leaving")])
            w.socket.close()
        self.assert_serves()
        self.assert_nothing_held()


class Places(unittest.TestCase):
    def test_silent_ones_on_the_unix_socket_hold_none(self):
        """As many as there are places, and more: anybody on the machine can make them where `allow-users` opens the socket."""
        with Daemon(*QUICK_MODEL, "--connections", "4") as d:
            silent = []
            try:
                for _ in range(6):
                    silent.append(raw(d))
                    d.latent("collection", "list")
            finally:
                for s in silent:
                    s.close()


    def test_a_socket_whose_queue_is_full_is_anothers(self):
        """Its process's number nobody tells then."""
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            d = Daemon(*QUICK_MODEL, folder=folder, wait=None)
            busy = stack.enter_context(socket.socket(socket.AF_UNIX))
            busy.bind(d.socket)
            busy.listen(0)
            with contextlib.suppress(BlockingIOError):
                while True:
                    s = stack.enter_context(socket.socket(socket.AF_UNIX))
                    s.setblocking(False)
                    s.connect(d.socket)
            self.assertEqual(d.start().process.wait(CALL_S), 1)
            self.assertIn(f"LT_ELOCKED: another process serves on {d.socket}\n", d.log_text())


class NoMemory(unittest.TestCase):
    @needs_faults
    def test_a_connection_waits_until_there_is_memory_for_it(self):
        with tempfile.TemporaryDirectory() as folder:
            short = os.path.join(folder, "short")
            with Daemon(*QUICK_MODEL, env={"LATENTD_FAULT": f"conn.memory={short}"}) as d:
                with open(short, "w", encoding="ascii"):
                    pass
                waiting = [raw(d) for _ in range(3)]
                for s in waiting:
                    s.sendall(HELLO)
                end = time.monotonic() + CALL_S
                while d.log_text().count("no memory for a connection") < 2 and time.monotonic() < end:
                    time.sleep(0.05)  # that it was tried again
                os.unlink(short)
                for s in waiting:
                    self.assertEqual(s.recv(8), HELLO[:8])
                    s.close()
                self.assertEqual(d.status()["phase"], "ready")


    @needs_faults
    def test_replies_that_are_not_taken_outlive_their_deadline(self):
        """There is no memory to tell so, and the connection goes with all of them."""
        with tempfile.TemporaryDirectory() as folder:
            short = os.path.join(folder, "short")
            with Daemon(*QUICK_MODEL, env={"LATENTD_FAULT": f"dispatch.memory={short}", "MALLOC_PERTURB_": "165"}) as d:
                d.latent("collection", "create", "c", "--vectors-only", "--dim", "1")
                with Wire(d.socket) as w:
                    for i in range(16):
                        w.call(ADD, add("c", [document(f"d{i}", "word " * 200000, vector=struct.pack("<f", 1))]))
                    with open(short, "w", encoding="ascii"):
                        pass
                    ids = [(2, f"d{i}") for i in range(16)]
                    w.socket.sendall(b"".join(frame(request(100 + i, GET, [(1, "c"), *ids], deadline_ms=2000)) for i in range(3)))
                    hung_up = select.poll()
                    hung_up.register(w.socket, select.POLLHUP)
                    self.assertTrue(hung_up.poll(CALL_S * 1000))
                self.assertEqual(d.status()["phase"], "ready")


if __name__ == "__main__":
    main()
