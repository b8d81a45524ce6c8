#!/usr/bin/env python3
"""Everything at once: clients that add, delete, search, embed, look at the status, cancel jobs, come and go, and a stop in
the middle of it. Meant for the thread sanitizer, whose report makes the daemon's exit status 66."""
import os
import random
import struct
import threading
import unittest

from harness import CALL_S, QUICK_MODEL, Daemon, main
from wire import (ADD, CANCEL, CREATE, DELETE, DROP, EMBED, EXPLAIN, GET, INFO, JOB_CANCEL, JOB_CLOSE, JOB_LIST, JOB_OPEN, LIST, REPLACE, SEARCH,
                  STATUS, Wire, add, document)

SEED = int(os.environ.get("LATENTD_SEED", "1"))
ROUNDS = 10
WORDS = "edit photographs paint picture sound music network server file editor game chess mail letter shell script".split()
# A job that somebody cancels, a collection that goes, a stop, a full queue: all that may be answered here.
ENOTFOUND, EEXIST, EINVAL, EBUSY, ECANCELLED, ESHUTDOWN = 4, 5, 1, 16, 23, 25
EXPECTED = {0, ENOTFOUND, EEXIST, EINVAL, EBUSY, ECANCELLED, ESHUTDOWN}


class Client(threading.Thread):
    def __init__(self, path, kind, number):
        super().__init__(name=f"{kind.__name__}-{number}")
        self.path, self.kind, self.number = path, kind, number
        self.random = random.Random(SEED * 1000 + number)
        self.rounds = 0
        self.stopped = False  # by the daemon, which was told to
        self.problem = None

    def run(self):
        try:
            while self.rounds < ROUNDS:
                with Wire(self.path) as w:
                    for _ in range(5):
                        self.kind(self, w)
                        self.rounds += 1
        except OSError:
            self.stopped = True
        except BaseException as e:  # shown by the test
            self.problem = e

    def check(self, reply):
        if reply.code not in EXPECTED:
            raise AssertionError(f"{self.name}: error {reply.code}: {reply.message}")
        return reply

    def call(self, w, body, fields):
        return self.check(w.call(body, fields))

    def text(self, n=12):
        return " ".join(self.random.choice(WORDS) for _ in range(n))


def adder(c, w):
    """Pipelined additions, every third one large, some replaced at once."""
    sent = []
    for i in range(6):
        n = 150 if i % 3 == 0 else 3
        docs = [document(str(c.random.randrange(400)), c.text(), title="a title", metadata=f'{{"n":{j}}}') for j in range(n)]
        if i % 3 == 0:
            docs.append(document("long", c.text(1500)))
        sent.append(w.send(ADD, add("main", docs, wait_accepted=i % 2 == 0)))
    for _ in sent:
        c.check(w.receive())


def deleter(c, w):
    c.call(w, DELETE, [(1, "main")] + [(2, str(c.random.randrange(400))) for _ in range(20)])
    c.call(w, GET, [(1, "main")] + [(2, str(c.random.randrange(400))) for _ in range(20)])


def searcher(c, w):
    sent = [w.send(SEARCH, [(1, "main"), (2, c.text(4)), (4, 5), (5, c.random.randrange(3)),
                            (6, c.random.choice(["", "n < 40", "n in (1, 2, 3)"])), (12, c.random.randrange(2))])
            for _ in range(20)]
    for _ in sent:
        c.check(w.receive())


def embedder(c, w):
    c.call(w, EMBED, [(1, [(1, c.text())]) for _ in range(c.random.choice((1, 40)))])
    c.call(w, EXPLAIN, [(1, c.text(c.random.choice((3, 1500))))])


def looker(c, w):
    for body, fields in ((STATUS, []), (LIST, []), (INFO, [(1, "main")]), (JOB_LIST, [])):
        c.call(w, body, fields)


def worker(c, w):
    """A job that is filled, and then cancelled or closed."""
    reply = c.call(w, JOB_OPEN, [(1, "main"), (2, "a job")])
    if reply.code:
        return
    job = reply.body(JOB_OPEN)[1][0]
    sent = [w.send(ADD, add("main", [document(f"job{i}", c.text()) for i in range(50)], job=job)) for _ in range(3)]
    sent.append(w.send(JOB_CANCEL if c.random.randrange(2) else JOB_CLOSE, [(1, job)]))
    for _ in sent:
        c.check(w.receive())


def builder(c, w):
    """Collections that come and go, with vectors of their own."""
    name = f"own{c.number}"
    c.call(w, CREATE, [(1, name), (2, 4), (4, 1)])
    vector = struct.pack("<4f", *(c.random.random() + 0.1 for _ in range(4)))
    c.call(w, ADD, add(name, [document(str(i), "text", vector=vector) for i in range(20)]))
    c.call(w, SEARCH, [(1, name), (3, vector)])
    other = c.call(w, CREATE, [(1, name + "b"), (2, 4), (4, 1)]).body(CREATE)
    c.call(w, ADD, add(name, [document("more", "text", vector=vector)]))
    if other:
        c.call(w, REPLACE, [(1, name + "b"), (2, name), (3, other[11][0])])
    c.call(w, SEARCH, [(1, name + "b"), (3, vector)])
    c.call(w, DROP, [(1, name + "b")])


def leaver(c, w):
    """Requests that nobody waits for, some cancelled, some with a deadline that passes."""
    first = w.send(ADD, add("main", [document(str(i), c.text()) for i in range(100)]))
    w.send(CANCEL, [(1, first)])
    w.send(EMBED, [(1, [(1, c.text())]) for _ in range(30)], deadline_ms=1)
    w.send(SEARCH, [(1, "main"), (2, c.text(3))])
    w.socket.close()
    w.__init__(c.path)


KINDS = (adder, deleter, searcher, embedder, looker, worker, builder, leaver)


class Everything(unittest.TestCase):
    def clients(self, d):
        print(f"seed {SEED} (LATENTD_SEED sets it)")
        d.latent("collection", "create", "main")
        clients = [Client(d.socket, kind, i * 10 + j) for i, kind in enumerate(KINDS) for j in range(2)]
        for c in clients:
            c.start()
        return clients

    def finish(self, clients):
        for c in clients:
            c.join(CALL_S)
            self.assertFalse(c.is_alive(), c.name)
            if c.problem:
                raise c.problem

    def test_all_of_it_to_the_end(self):
        with Daemon("--searchers", "3", *QUICK_MODEL) as d:
            clients = self.clients(d)
            self.finish(clients)
            self.assertEqual([c.name for c in clients if c.stopped], [])
            self.assertEqual([c.rounds for c in clients], [ROUNDS] * len(clients))
            with Wire(d.socket) as w:
                self.assertEqual(w.call(ADD, add("main", [document("last", "a zebra")])).code, 0)
            self.assertEqual(d.search("main", "zebra", "--mode", "text")[0]["id"], "last")

    def test_stop_in_the_middle(self):
        with Daemon("--searchers", "3", *QUICK_MODEL) as d:
            clients = self.clients(d)
            while sum(c.rounds for c in clients) < len(clients) * 5:
                clients[0].join(0.05)
            self.assertEqual(d.stop(), 0, d.log_text())
            self.finish(clients)
            self.assertTrue(any(c.stopped for c in clients))
            d.start()  # and what is there can be opened
            self.assertEqual(d.status()["phase"], "ready")


if __name__ == "__main__":
    main()
