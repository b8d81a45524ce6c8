#!/usr/bin/env python3
"""The command line and daemons that this test plays, which answer as no test can have a real one do."""
import json
import os
import socket
import struct
import subprocess
import tempfile
import threading
import unittest

from harness import CALL_S, LATENT, main
from wire import ADD, CREATE, EMBED, INFO, JOB_OPEN, RERANK, SEARCH, STATUS, frame, pack, unpack


class BusyDaemon(threading.Thread):
    """Speaks the protocol, refuses the first addition once it has taken the second, and keeps what is added."""

    def __init__(self, path):
        super().__init__()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.texts, self.n_adds = {}, 0

    def run(self):
        with self.listener, self.listener.accept()[0] as s:
            self.s = s
            s.sendall(s.recv(16, socket.MSG_WAITALL))
            first = None
            while header := s.recv(4, socket.MSG_WAITALL):
                fields = unpack(s.recv(struct.unpack("<I", header)[0], socket.MSG_WAITALL))
                number = fields[1][0]
                if ADD not in fields:
                    self.answer([(1, number), (JOB_OPEN, [(1, 1)])])
                    continue
                self.n_adds += 1
                if first is None:
                    first = number
                    continue
                documents = [unpack(d) for d in unpack(fields[ADD][0])[2]]
                self.texts.update((d[1][0], d[2][0]) for d in documents)
                if self.n_adds == 2:
                    self.answer([(1, first), (3, [(1, 16), (2, "busy"), (3, 1)])])  # LT_EBUSY
                self.answer([(1, number), (ADD, [(3, len(documents))])])

    def answer(self, fields):
        self.s.sendall(frame(pack(fields)))


class RefusingDaemon(threading.Thread):
    """Opens jobs and makes collections, refuses the rest, and notes what each request was and until when its client waits."""

    def __init__(self, path):
        super().__init__()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.waits = {}  # request: its deadline in milliseconds, 0 for none

    def run(self):
        with self.listener, self.listener.accept()[0] as s:
            s.sendall(s.recv(16, socket.MSG_WAITALL))
            while header := s.recv(4, socket.MSG_WAITALL):
                fields = unpack(s.recv(struct.unpack("<I", header)[0], socket.MSG_WAITALL))
                body = max(fields)
                self.waits[body] = fields.get(2, [0])[0]
                answer = {JOB_OPEN: (JOB_OPEN, [(1, 1)]), CREATE: (11, [(1, "c")])}.get(body, (3, [(1, 1), (2, "refused")]))  # LT_EINVAL
                s.sendall(frame(pack([(1, fields[1][0]), answer])))


class Patience(unittest.TestCase):
    def waits(self, *args, stdin=""):
        with tempfile.TemporaryDirectory(prefix="latentd-test-") as folder:
            os.mkdir(os.path.join(folder, "qrels"))
            for name, text in (("corpus.jsonl", '{"_id":"d","text":"x"}'), ("queries.jsonl", '{"_id":"q","text":"x"}'),
                               ("qrels/test.tsv", "q\td\t1")):
                with open(os.path.join(folder, name), "w") as f:
                    f.write(text + "\n")
            d = RefusingDaemon(os.path.join(folder, "s"))
            d.start()
            args = [a.replace("FOLDER", folder) for a in args]
            got = subprocess.run([LATENT, "--socket", os.path.join(folder, "s"), *args], input=stdin, text=True, capture_output=True, timeout=CALL_S)
            d.join(CALL_S)
            self.assertEqual(got.returncode, 1, got.stderr)
            return d.waits

    def test_what_a_model_takes_its_time_for_has_no_deadline(self):
        """Texts that are on their way together may keep a large model busy for longer than any bound."""
        for body, *args in ((ADD, "add", "-c", "c", "--jsonl", "-"), (ADD, "eval", "FOLDER"), (EMBED, "embed"),
                            (RERANK, "rerank", "q"), (SEARCH, "search", "-c", "c", "--rerank", "9", "q"),
                            (STATUS, "collection", "reembed", "c")):
            with self.subTest(" ".join(args)):
                self.assertEqual(self.waits(*args, stdin='{"id":"x","text":"y"}\n').get(body), 0)

    def test_others_have_one(self):
        for body, *args in ((SEARCH, "search", "-c", "c", "q"), (INFO, "collection", "info", "c")):
            with self.subTest(" ".join(args)):
                self.assertGreater(self.waits(*args).get(body, 0), 0)


class Resent(unittest.TestCase):
    def test_the_last_of_an_id_stays(self):
        """Also where its batch was taken before an earlier one, which was refused first."""
        with tempfile.TemporaryDirectory(prefix="latentd-test-") as folder:
            d = BusyDaemon(os.path.join(folder, "s"))
            d.start()
            docs = [{"id": "x", "text": "old"}] + [{"id": f"d{i}", "text": "t"} for i in range(127)] + [{"id": "x", "text": "new"}]
            got = subprocess.run([LATENT, "--socket", os.path.join(folder, "s"), "add", "-c", "c", "--jsonl", "-"], text=True, timeout=CALL_S,
                                 input="".join(json.dumps(x) + "\n" for x in docs), capture_output=True)
            d.join(CALL_S)
            self.assertEqual(got.returncode, 0, got.stderr)
            self.assertIn("129 documents added", got.stderr)
            self.assertEqual(d.texts[b"x"], b"new")
            self.assertEqual(d.n_adds, 4)


if __name__ == "__main__":
    main()
