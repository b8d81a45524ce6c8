#!/usr/bin/env python3
"""What a key may do: every kind of request under every right, on its own collection and on another's, against PROTOCOL.md's table."""
import os
import re
import time
import unittest

from harness import SRC, Daemon, main
from noise import REKEY_RECORDS, FastCipher, Key, NoiseWire
import wire
from wire import ADD, CREATE, INFO, JOB_LIST, JOB_OPEN, LIST, REPLACE, STATUS, Wire, add, document, unpack

MODEL = os.path.join(SRC, "tests", "golden", "decoders", "mistral.gguf")
ENOTFOUND, EPERM, EAUTH, ERATE = 4, 18, 19, 30  # base/err.h
HANDSHAKE_S = 5     # proto/maxima.h
STRANGERS_MAX = 64  # daemon/conn.c
RIGHTS = ("query", "ingest", "admin")


def table():
    """{request: right}, from the protocol's text."""
    with open(os.path.join(SRC, "proto", "PROTOCOL.md"), encoding="utf-8") as f:
        text = f.read().split("| right | requests |")[1]
    out = {}
    for right, requests in re.findall(r"(?m)^\| (any key|query|ingest|admin) \| (.*) \|$", text):
        for name in re.findall(r"`(\w+)`", requests):
            out[name] = right
    return out


def number(name):
    return getattr(wire, name.upper().replace("COLLECTION_", ""))


def fields(name, c, job):
    """A request about the collection c, and about a job of its."""
    return {
        "collection_create": [(1, c)], "collection_info": [(1, c)], "collection_drop": [(1, c)],
        "collection_replace": [(1, c), (2, c), (3, 1)], "add": add(c, [document("x", "a text")], True), "get": [(1, c), (2, "x")],
        "delete": [(1, c), (2, "x")], "search": [(1, c), (2, "text"), (5, 2)], "embed": [(1, [(1, "text")])], "explain": [(1, "text")],
        "rerank": [(1, "a"), (2, "b")], "job_open": [(1, c)], "job_close": [(1, job)], "job_cancel": [(1, job)], "cancel": [(1, 99)],
    }.get(name, [])


class Rights(unittest.TestCase):
    def test_keys_change_after_many_records(self):
        """As PROTOCOL.md says, in both directions: a client written from it is still understood, and understands."""
        with Daemon("--socket-keys", "yes", "--model", MODEL, wait=None) as d:
            self.start(d).socket.close()
            key = Key()
            with open(self.keys, "a", encoding="ascii") as f:
                f.write(f"{key.text} query\n")
            with NoiseWire(d.socket, key, self.server, transport=FastCipher) as w:
                for _ in range(REKEY_RECORDS // 128 + 2):  # at most 256 in flight
                    sent = [w.send(wire.CANCEL, [(1, 999999999)]) for _ in range(128)]
                    self.assertEqual(sorted(w.receive().id for _ in sent), sent)
                self.assertLess(w.sending.n, 1000)
                self.assertLess(w.receiving.n, 1000)
                self.assertEqual(w.call(STATUS, []).code, 0)

    def start(self, d):
        """The daemon's key, from its log, and a session that may do everything."""
        while not (found := re.search(r"latentd.sock, server key (\S+)", d.log_text())):
            self.assertIsNone(d.process.poll(), d.log_text())
            time.sleep(0.02)
        self.server = found.group(1)
        self.keys = os.path.join(d.data, "authorized_keys")
        root = self.session(d, "admin")
        while root.call(STATUS, []).body(STATUS).get(2) != [4]:  # ready
            time.sleep(0.02)
        return root

    def session(self, d, words):
        """One of a new key with these rights."""
        key = Key()
        with open(self.keys, "a", encoding="ascii") as f:
            os.chmod(self.keys, 0o600)
            f.write(f"{key.text} {words}\n")
        w = NoiseWire(d.socket, key, self.server)
        self.addCleanup(w.socket.close)
        return w

    def job(self, w, collection):
        r = w.call(JOB_OPEN, [(1, collection)])
        self.assertEqual(r.code, 0, r.message)
        return r.body(JOB_OPEN)[1][0]

    def test_table(self):
        rights = table()
        self.assertEqual({number(n) for n in rights}, set(range(STATUS, REPLACE + 1)))
        with Daemon("--model", MODEL, "--socket-keys", "yes", wait=None) as d:
            root = self.start(d)
            for name in ("mine", "theirs"):
                self.assertEqual(root.call(CREATE, [(1, name)]).code, 0)
            for has in RIGHTS:
                w = self.session(d, f"{has} collections=mine")
                for name, needs in sorted(rights.items(), key=lambda x: x[0].endswith(("drop", "cancel", "close"))):
                    may = needs == "any key" or has in (needs, "admin")
                    with self.subTest(right=has, request=name):
                        reply = w.call(number(name), fields(name, "mine", self.job(root, "mine")))
                        self.assertEqual(reply.code == EPERM, not may, reply.message)
                        self.assertNotEqual(reply.code, EAUTH)
                        if fields(name, "mine", 0) != fields(name, "theirs", 1):
                            reply = w.call(number(name), fields(name, "theirs", self.job(root, "theirs")))
                            self.assertEqual(reply.code, EPERM, reply.message)
                            if name in ("job_close", "job_cancel"):  # who has only its number hears no name
                                self.assertNotIn("theirs", reply.message)
                        if name == "collection_drop" and may:
                            self.assertEqual(root.call(CREATE, [(1, "mine")]).code, 0)
                got = w.call(LIST, [])
                if has != "ingest":
                    self.assertEqual([unpack(c)[1] for c in got.body(LIST)[1]], [[b"mine"]])
            self.assertEqual(root.call(INFO, [(1, "theirs")]).code, 0)

    def test_replace(self):
        """It needs both collections: one's rights do not reach for another's documents."""
        with Daemon("--model", MODEL, "--socket-keys", "yes", wait=None) as d:
            root = self.start(d)
            seq = {}
            for name in ("mine", "new", "theirs"):
                self.assertEqual(root.call(CREATE, [(1, name)]).code, 0)
                self.assertEqual(root.call(ADD, add(name, [document("x", "a text")])).code, 0)
                seq[name] = root.call(INFO, [(1, name)]).body(CREATE)[11][0]
            for words, name, by, code in (("admin collections=mine", "mine", "theirs", EPERM), ("admin collections=mine", "theirs", "mine", EPERM),
                                          ("admin collections=mine,new", "mine", "theirs", EPERM),
                                          ("query,ingest collections=mine,new", "mine", "new", EPERM),
                                          ("admin collections=mine,new", "mine", "new", 0)):
                reply = self.session(d, words).call(REPLACE, [(1, name), (2, by), (3, seq[name])])
                self.assertEqual(reply.code, code, (words, name, by, reply.message))
            self.assertEqual([unpack(c)[1] for c in root.call(LIST, []).body(LIST)[1]], [[b"mine"], [b"theirs"]])

    def test_another_collections_job(self):
        """Documents cannot be counted in the job of a collection that they do not go to: rights for one would reach into another."""
        with Daemon("--model", MODEL, "--socket-keys", "yes", wait=None) as d:
            root = self.start(d)
            for name in ("mine", "theirs"):
                self.assertEqual(root.call(CREATE, [(1, name)]).code, 0)
            job = self.job(root, "theirs")
            before = root.call(JOB_LIST, []).body(JOB_LIST)
            w = self.session(d, "ingest collections=mine")
            for job_asked in (job, job + 1):
                reply = w.call(ADD, add("mine", [document("x", "a text"), document("", "no id")], job=job_asked)).body(ADD)
                errors = [unpack(unpack(e)[3][0]) for e in reply[4]]
                self.assertEqual((reply.get(3), errors[0][1], errors[0][2]), (None, [ENOTFOUND], [b"no job %d" % job_asked]))
            self.assertEqual(root.call(JOB_LIST, []).body(JOB_LIST), before)
            self.assertEqual(root.call(ADD, add("theirs", [document("x", "a text")], job=job)).body(ADD)[3], [1])

    def test_revoked_while_connected(self):
        with Daemon("--model", MODEL, "--socket-keys", "yes", wait=None) as d:
            root = self.start(d)
            w = self.session(d, "query")
            self.assertEqual(w.call(STATUS, []).code, 0)
            limited = self.session(d, "query rate=1/s")
            sent = [limited.send(STATUS, []) for _ in range(20)]  # at once, whatever time an answer takes
            self.assertIn(ERATE, [limited.receive().code for _ in sent])
            with open(self.keys, encoding="ascii") as f:
                lines = f.readlines()
            with open(self.keys, "w", encoding="ascii") as f:
                f.writelines(line for line in lines if w.key.text not in line)
            reply = w.call(STATUS, [])
            self.assertEqual((reply.code, reply.retryable), (EAUTH, False))
            self.assertTrue(w.receive_end())
            self.assertEqual(root.call(STATUS, []).code, 0)
            with self.assertRaises(ConnectionError):
                old = NoiseWire(d.socket, w.key, self.server)
                self.addCleanup(old.socket.close)
                self.assertEqual(old.receive().code, EAUTH)
                old.receive()

    @unittest.skipUnless(os.geteuid() == 0, "only root gives files away")
    def test_file_of_another_user(self):
        """It is no keys' file, until it is given back: which changes nothing else of it."""
        with Daemon("--model", MODEL, "--socket-keys", "yes", wait=None) as d:
            w = self.start(d)
            os.chown(self.keys, 1234, 1234)
            self.assertEqual(w.call(STATUS, []).code, EAUTH)
            os.chown(self.keys, 0, 0)
            with NoiseWire(d.socket, w.key, self.server) as again:
                self.assertEqual(again.call(STATUS, []).code, 0)

    def test_sessions_last(self):
        """The time that a handshake may take, and the number of those who have not finished theirs, are no limits of sessions."""
        with Daemon("--model", MODEL, "--socket-keys", "yes", "--listen", "127.0.0.1:0", wait=None) as d:
            root = self.start(d)
            key = Key()
            with open(self.keys, "a", encoding="ascii") as f:
                f.write(f"{key.text} query\n")
            sessions = [root]
            for to in [d.socket] + [("127.0.0.1", d.port())] * (STRANGERS_MAX + 2):
                w = NoiseWire(to, key, self.server)
                self.addCleanup(w.socket.close)
                self.assertEqual(w.call(STATUS, []).code, 0)
                sessions.append(w)
            time.sleep(HANDSHAKE_S + 1)
            for w in sessions:
                self.assertEqual(w.call(STATUS, []).code, 0)

    def test_nothing_before_the_session(self):
        """Frames instead of a hello, and plain ones where a key is demanded: no answer but the refusal."""
        with Daemon("--model", MODEL, "--socket-keys", "yes", wait=None) as d:
            root = self.start(d)
            for name in table():
                data = wire.frame(wire.request(1, number(name), fields(name, "c", 1)))
                for before in (b"", wire.HELLO):
                    got = self.everything(d.socket, before + data)
                    self.assertIn(len(got), (0, 16), name)
                    self.assertNotIn(got[12:], (bytes(4),), name)
            with self.assertRaises(AssertionError):  # the daemon's hello has a reason
                Wire(d.socket)
            self.assertEqual(len(root.call(LIST, []).body(LIST).get(1, [])), 0)

    def everything(self, path, data):
        """What comes back until the daemon closes."""
        with wire.socket.socket(wire.socket.AF_UNIX) as s:
            s.settimeout(60)
            s.connect(path)
            got = b""
            try:
                s.sendall(data + bytes(64))
                while chunk := s.recv(4096):
                    got += chunk
            except ConnectionError:
                pass
            return got


if __name__ == "__main__":
    main()
