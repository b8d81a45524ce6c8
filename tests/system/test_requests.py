#!/usr/bin/env python3
"""Requests that meet each other in the daemon: many at once, in one connection or in several."""
import json
import os
import random
import struct
import unittest

from harness import QUICK_MODEL, SANITIZED, STEADY_DEVICE, Daemon, main, needs_faults
from wire import (ADD, CANCEL, CREATE, DELETE, DROP, EMBED, EXPLAIN, GET, INFO, JOB_CLOSE, JOB_OPEN, REPLACE, RERANK, SEARCH, STATUS, Wire, add, document,
                  frame, pack, request, unpack)

LONG = "the quick brown fox jumps over the lazy dog and runs away into the woods " * 5
EINVAL, ENOTFOUND, EFORMAT, ELIMIT, EUTF8, ENAN, EBUSY, ECANCELLED = 1, 4, 6, 7, 8, 12, 16, 23  # base/err.h
PROTO_TEXT_MAX = 15 << 20


def real(b):
    return struct.unpack("<f", b)[0]


class Blame(unittest.TestCase):
    @needs_faults
    def test_a_failed_text_is_blamed_on_its_own_request(self):
        """The same id goes into two collections at once; one of the two cannot be embedded."""
        with Daemon(env={"LATENTD_FAULT": "embed.same=fail,device.slow=always"}) as d, Wire(d.socket) as w:
            for name in ("queue", "a", "b"):
                d.latent("collection", "create", name)
            # Work ahead of the two, so that both wait when the first of them fails.
            reply = w.call(ADD, add("queue", [document(str(i), f"{i} {LONG}") for i in range(200)], wait_accepted=True))
            self.assertEqual(reply.code, 0)
            sent = {w.send(ADD, add(name, [document("same", f"text in {name}")])): name for name in ("a", "b")}
            failed = {}
            for _ in sent:
                reply = w.receive()
                errors = reply.body(ADD).get(4, [])
                self.assertLessEqual(len(errors), 1)
                failed[sent[reply.id]] = bool(errors)
                if errors:
                    self.assertEqual(unpack(unpack(errors[0])[3][0])[1][0], ENAN)
            self.assertEqual(sorted(failed.values()), [False, True])
            for name, bad in failed.items():
                found = w.call(GET, [(1, name), (2, "same")]).body(GET)
                self.assertEqual(1 not in found, bad, name)


class Order(unittest.TestCase):
    def test_changes_take_effect_in_the_order_sent(self):
        """A large addition takes long to prepare; what one client sends behind it stays behind it."""
        with Daemon() as d, Wire(d.socket) as w:
            d.latent("collection", "create", "c")
            filler = [document(f"f{i}", f"{i} {LONG}") for i in range(2000)]
            sent = []
            for i in range(3):
                sent.append(w.send(ADD, add("c", filler + [document("replaced", "old"), document("deleted", "old")],
                                            wait_accepted=True)))
                sent.append(w.send(ADD, add("c", [document("replaced", f"new {i}")], wait_accepted=True)))
                sent.append(w.send(DELETE, [(1, "c"), (2, "deleted")]))
            replies = [w.receive() for _ in sent]
            self.assertEqual(sorted(r.id for r in replies), sent)
            for r in replies:
                self.assertEqual(r.code, 0, r.message)
                if r.body(DELETE):
                    self.assertEqual(r.body(DELETE).get(1), [1])  # it was there when its turn came
            found = w.call(GET, [(1, "c"), (2, "replaced"), (2, "deleted")]).body(GET)
            self.assertEqual(found[2], [b"deleted"])
            self.assertEqual(unpack(found[1][0])[2], [b"new 2"])

    def test_refused_changes_do_not_hold_up_those_behind(self):
        with Daemon(*QUICK_MODEL) as d, Wire(d.socket) as w:
            d.latent("collection", "create", "c")
            large = [document(f"f{i}", f"{i} {LONG}") for i in range(400 if SANITIZED else 2000)]
            sent = [w.send(ADD, add("c", large, wait_accepted=True)), w.send(ADD, add("nowhere", large)),
                    w.send(ADD, add("c", [])), w.send(DELETE, [(1, "nowhere"), (2, "x")]), w.send(JOB_CLOSE, [(1, 99)]),
                    w.send(CREATE, [(1, "two")]), w.send(DROP, [(1, "two")]), w.send(ADD, add("c", [document("x", "a text")]))]
            replies = {}
            while len(replies) < len(sent):
                r = w.receive()
                replies[r.id] = r.code
            self.assertEqual([replies[i] for i in sent], [0, ENOTFOUND, EINVAL, ENOTFOUND, ENOTFOUND, 0, 0, 0])

    def test_sequence_numbers_are_the_collections_own(self):
        """Whoever waits until search has come up to the number of an answer does not wait for ever."""
        with Daemon() as d, Wire(d.socket) as w:
            for name in ("c", "other"):
                d.latent("collection", "create", name)
            good, bad = document("good", "a text"), document("bad", "a text", metadata="{")
            for name, fields, count in (("the last one is refused", [good, bad], 1), ("unchanged", [good], 1), ("all are refused", [bad], 0)):
                for wait_accepted in (False, True):
                    w.call(ADD, add("other", [document(name, "another text")]))
                    body = w.call(ADD, add("c", fields, wait_accepted=wait_accepted)).body(ADD)
                    self.assertEqual(body.get(3, [0])[0], count, name)
                    self.assertEqual(body[1], w.call(INFO, [(1, "c")]).body(11)[11], name)
                    if not wait_accepted:
                        self.assertEqual(body[2], body[1], name)
            w.call(ADD, add("other", [document("last", "another text")]))
            self.assertEqual(w.call(DELETE, [(1, "c"), (2, "absent")]).body(DELETE)[3], w.call(INFO, [(1, "c")]).body(11)[11])


class Large(unittest.TestCase):
    """Frames that are unpacked apart from the loop."""

    def test_text_of_nearly_a_frame_and_what_comes_behind_it(self):
        text = "".join(f"Line {i} says that nothing of it gets lost.\n" for i in range(340000))[:PROTO_TEXT_MAX]
        with Daemon() as d, Wire(d.socket) as w:
            d.latent("collection", "create", "c", "--vectors-only", "--dim", "4")
            vector = struct.pack("<4f", 1, 0, 0, 0)
            first = w.send(ADD, add("c", [document("big", text, vector=vector)]))
            behind = [w.send(GET, [(1, "c"), (2, "big")]), w.send(CANCEL, [(1, first)]), w.send(STATUS, [])]
            replies = {}
            while len(replies) < 4:
                r = w.receive()
                replies[r.id] = r
            # The cancel came behind: it found the request in work, or done.
            self.assertIn(replies[first].code, (0, ECANCELLED))
            self.assertEqual(replies[behind[1]].body(CANCEL).get(1, [0])[0], int(replies[first].code == ECANCELLED))
            self.assertEqual(replies[behind[2]].code, 0)
            self.assertEqual(w.call(ADD, add("c", [document("big", text, vector=vector)])).code, 0)
            found = w.call(GET, [(1, "c"), (2, "big")]).body(GET)
            self.assertEqual(unpack(found[1][0])[2][0].decode(), text)

    def test_answers_over_the_limits(self):
        """One error in the place of the whole answer, and then what was asked next."""
        with Daemon(*QUICK_MODEL) as d, Wire(d.socket) as w:
            d.latent("collection", "create", "c", "--vectors-only", "--dim", "1")
            names = [str(i) for i in range(7)]
            for name in names:
                w.call(ADD, add("c", [document(name, "x" * (14 << 20), vector=struct.pack("<f", 1))]))
            for body, fields, mib in ((GET, [(1, "c")] + [(2, name) for name in names], 64), (SEARCH, [(1, "c"), (3, struct.pack("<f", 1))], 16)):
                reply = w.call(body, fields)
                self.assertEqual((reply.code, reply.more), (ELIMIT, False))
                self.assertIn(f"larger than {mib} MiB", reply.message)
                self.assertEqual(w.call(STATUS, []).code, 0)
            self.assertEqual([x["id"] for x in d.json_lines("get", "-c", "c", *names)], names)

    def test_strings_over_the_limits(self):
        """Which one it is, and how long it may be."""
        large = "x" * 70000
        with Daemon(*QUICK_MODEL) as d, Wire(d.socket) as w:
            d.latent("collection", "create", "c")
            for body, field, what, most in ((SEARCH, 2, "query", 65536), (SEARCH, 6, "filter", 16384), (SEARCH, 8, "instruction", 4096),
                                            (EXPLAIN, 1, "text", 65536), (EXPLAIN, 4, "title", 4096), (EXPLAIN, 3, "instruction", 4096),
                                            (EMBED, 3, "instruction", 4096)):
                reply = w.call(body, ([(1, "c")] if body == SEARCH else []) + [(field, large)])
                self.assertEqual((reply.code, reply.message), (ELIMIT, f"the {what} has 70000 bytes, {most} are allowed"))

    def test_malformed(self):
        with Daemon() as d:
            d.latent("collection", "create", "c")
            body = pack([(2, document("x", "y" * 300000))])
            with Wire(d.socket) as w:  # its id can be read: the connection goes on
                w.socket.sendall(frame(pack([(1, 7), (ADD, body + b"\x0a\xff")])))
                r = w.receive()
                self.assertEqual((r.id, r.code), (7, EFORMAT))
                self.assertEqual(w.call(STATUS, []).code, 0)
                r = w.call(ADD, add("c", [document("x", b"\xff" * 300000)]))
                self.assertEqual(unpack(unpack(r.body(ADD)[4][0])[3][0])[1][0], EUTF8)
            with Wire(d.socket) as w:  # no id: an answer, then the end, whatever else was sent
                w.socket.sendall(frame(b"\xff" * 300000) + frame(request(1, STATUS, [])))
                self.assertEqual((w.receive().id, w.receive_end()), (0, True))

    def test_errors_can_be_read(self):
        """Whatever name of the client's they repeat, and wherever it is cut."""
        with Daemon(*QUICK_MODEL) as d, Wire(d.socket) as w:
            d.latent("collection", "create", "c")
            for name in ("x" * n + "\u20ac" * 300 for n in range(3)):
                for body, fields in ((INFO, [(1, name)]), (DROP, [(1, name)]), (CREATE, [(1, name)]), (JOB_OPEN, [(1, name)]),
                                     (REPLACE, [(1, name), (2, name + "b")]), (GET, [(1, name), (2, "x")]), (DELETE, [(1, name), (2, "x")]),
                                     (ADD, add(name, [document("x", "y")])), (SEARCH, [(1, name), (2, "q")]),
                                     (SEARCH, [(1, "c"), (2, "q"), (6, name)])):
                    self.assertNotEqual(w.call(body, fields).code, 0)  # its words are decoded there

    def test_clients_that_leave_while_theirs_is_unpacked(self):
        with Daemon() as d:
            d.latent("collection", "create", "c")
            whole = frame(request(1, ADD, add("c", [document("x", "word " * 1000000)])))
            for i in range(20):
                with Wire(d.socket) as w:
                    w.socket.sendall(whole)
            self.assertEqual(d.status()["phase"], "ready")


class Unsupported(unittest.TestCase):
    def test_rerank(self):
        """The verb is there from the first version on; a model without a reranker says so for good."""
        with Daemon() as d, Wire(d.socket) as w:
            reply = w.call(RERANK, [(1, "a question"), (2, "one text"), (2, "another")])
            self.assertEqual((reply.code, reply.retryable), (24, False))  # LT_EUNSUPPORTED
            self.assertIn("no reranker", reply.message)


class Pipelining(unittest.TestCase):
    def test_more_requests_than_may_be_in_flight_are_read_later(self):
        with Daemon() as d, Wire(d.socket) as w:
            d.latent("collection", "create", "c")
            d.add("c", [{"id": "a", "text": "retouch pictures"}])
            n = 1000  # of which 256 are taken at a time
            w.socket.sendall(b"".join(frame(request(i + 1, SEARCH, [(1, "c"), (2, f"edit photograph {i}")])) for i in range(n)))
            replies = [w.receive() for _ in range(n)]
            self.assertEqual(sorted(r.id for r in replies), list(range(1, n + 1)))
            self.assertEqual({r.code for r in replies}, {0})


class SlowReaders(unittest.TestCase):
    """Clients that ask for much and do not read."""
    N, SIZE = 24, 10 << 20

    def start(self, d):
        d.latent("collection", "create", "c", "--vectors-only", "--dim", "4")
        with Wire(d.socket) as w:
            text = "x" * self.SIZE
            self.assertEqual(w.call(ADD, add("c", [document("big", text, vector=struct.pack("<4f", 1, 0, 0, 0))])).code, 0)

    def ask(self, d, w):
        """Many large replies, all of them done before the first is read. Asked for at once: who asks while those before fill what requests
        may have is read from one at a time, and none of his is refused."""
        sent = w.send_at_once(GET, [(1, "c"), (2, "big")], self.N)
        with Wire(d.socket) as other:
            for _ in range(4):  # searchers work in order of arrival
                self.assertIn(other.call(GET, [(1, "c"), (2, "nothing")]).code, (0, EBUSY))
        return sent

    def test_replies_wait_for_their_client(self):
        with Daemon("--memory", "3000") as d:
            self.start(d)
            with Wire(d.socket) as w:
                sent = self.ask(d, w)
                replies = [w.receive() for _ in sent]
                self.assertEqual(sorted(r.id for r in replies), sent)
                for r in replies:
                    self.assertEqual(len(unpack(r.body(GET)[1][0])[2][0]), self.SIZE)

    def test_not_more_of_them_than_memory_allows(self):
        with Daemon("--memory", "950", "--searchers", "1") as d:
            self.start(d)
            with Wire(d.socket) as w:
                sent = self.ask(d, w)
                codes = sorted((w.receive() for _ in sent), key=lambda r: r.id)
                self.assertEqual([r.id for r in codes], sent)
                # near the limit, which a sanitizer's own memory reaches, requests are read one by one: then none is refused
                self.assertIn({r.code for r in codes}, [{0, EBUSY}] if not SANITIZED else [{0, EBUSY}, {0}])
                self.assertTrue(all(r.retryable for r in codes if r.code))
                self.assertEqual(w.call(GET, [(1, "c"), (2, "big")]).code, 0)  # there is room again

    def test_stop_does_not_wait_for_them(self):
        with Daemon("--memory", "3000") as d:
            self.start(d)
            with Wire(d.socket) as w:
                self.ask(d, w)
                self.assertEqual(d.stop(), 0)

    def test_cancelled_while_they_wait(self):
        with Daemon("--memory", "3000") as d:
            self.start(d)
            with Wire(d.socket) as w:
                sent = self.ask(d, w)[-1]
                cancel = w.send(CANCEL, [(1, sent)])
                replies = {}
                while len(replies) <= self.N:
                    r = w.receive()
                    self.assertNotIn(r.id, replies)  # one answer each
                    replies[r.id] = r
                self.assertEqual(replies[cancel].body(CANCEL).get(1, [0])[0], int(replies[sent].code == ECANCELLED))


class Pages(unittest.TestCase):
    def page(self, w, limit, after="", name="c"):
        reply = w.call(GET, [(1, name), (3, limit), (4, after)])
        self.assertEqual((reply.code, reply.more), (0, False), reply.message)
        return [unpack(d)[1][0].decode() for d in reply.body(GET).get(1, [])]

    def test_all_documents_page_after_page(self):
        """In the order of their ids' bytes, each once though it has two versions; a page with large documents is shorter."""
        with Daemon() as d, Wire(d.socket) as w:
            self.assertEqual(w.call(CREATE, [(1, "c")]).code, 0)
            self.assertEqual(self.page(w, 5), [])
            ids = sorted(["a", "B", "é", "~", "aa"] + [f"n{i}" for i in range(20)], key=str.encode)
            self.assertEqual(w.call(ADD, add("c", [document(i, f"text {i}") for i in ids])).code, 0)
            self.assertEqual(w.call(ADD, add("c", [document("a", "a later text")], wait_accepted=True)).code, 0)
            for limit in (1, 7, 25, 10000):
                got = [self.page(w, limit)]
                while got[-1]:
                    self.assertLessEqual(len(got[-1]), limit)
                    got.append(self.page(w, limit, got[-1][-1]))
                self.assertEqual(sum(got, []), ids)
            self.assertEqual(self.page(w, 1, "n1" + "x" * 510), ["n2"])
            big = "long " * 400000  # in pages of 4 MiB of text
            self.assertEqual(w.call(CREATE, [(1, "large"), (2, 1), (4, 1)]).code, 0)
            for i in range(4):
                self.assertEqual(w.call(ADD, add("large", [document(f"{i}", big, vector=struct.pack("<f", 1))])).code, 0)
            self.assertEqual([self.page(w, 10, after, "large") for after in ("", "2")], [["0", "1", "2"], ["3"]])
            for fields, code in (([(3, 10001)], ELIMIT), ([(2, "a"), (3, 1)], EINVAL), ([(3, 1), (4, "x" * 513)], ELIMIT)):
                self.assertEqual(w.call(GET, [(1, "c")] + fields).code, code)
            self.assertEqual(w.call(GET, [(1, "absent"), (3, 1)]).code, ENOTFOUND)


class Echo(unittest.TestCase):
    def test_a_search_says_what_it_used(self):
        with Daemon() as d, Wire(d.socket) as w:
            d.latent("collection", "create", "c")
            self.assertEqual(w.call(ADD, add("c", [document(str(i), f"text {i} about trains") for i in range(20)])).code, 0)

            def search(*fields):
                reply = w.call(SEARCH, [(1, "c"), (2, "trains")] + list(fields))
                return reply.code, reply.body(SEARCH)

            code, body = search()
            self.assertEqual((code, len(body[1]), body.get(3), body.get(11)), (0, 10, [10], None))
            self.assertEqual((real(body[12][0]), real(body[13][0])), (1, 1))
            self.assertEqual((body.get(14), body.get(15), body.get(16)), ([b"query: "], None, None))
            code, body = search((8, "find programs"), (9, 1))
            self.assertEqual((code, body.get(14), body.get(15), body.get(16)), (0, [b"Instruct: {}\nQuery: "], [b"find programs"], [1]))
            code, body = search((5, 2), (8, "find programs"))  # by words: nothing is embedded
            self.assertEqual((code, body.get(14), body.get(15)), (0, None, None))
            code, body = search((4, 3), (7, 77), (6, "not year < 2000"), (13, 0.5), (14, 2.0))
            self.assertEqual((code, body[3], body[11]), (0, [3], [b"not year < 2000"]))
            self.assertEqual((real(body[12][0]), real(body[13][0])), (0.5, 2))
            code, body = search((4, 5), (5, 2), (6, "year exists"))
            self.assertEqual((code, len(body.get(1, [])), body[2], body[5]), (0, 0, [2], [2])) # text; short: filter
            self.assertNotIn(12, body)
            code, body = search((4, 50), (5, 1))
            self.assertEqual((code, len(body[1]), body[5]), (0, 20, [1])) # short: exhausted
            self.assertEqual(search((13, -1.0))[0], EINVAL)
            self.assertEqual(search((6, "year = "))[0], EFORMAT)

    @needs_faults
    def test_a_short_answer_says_that_chunks_wait(self):
        """A daemon without a model embeds none of what another has left, so that they wait as long as this takes."""
        with Daemon(*QUICK_MODEL, env=STEADY_DEVICE) as d:
            d.latent("collection", "create", "c")
            with Wire(d.socket) as w:
                docs = [document(str(i), f"{i} {LONG}") for i in range(200)]
                self.assertEqual(w.call(ADD, add("c", docs, wait_accepted=True)).code, 0)
            d.kill()
            normal, d.args = d.args, ["--recover"]
            d.start()
            self.assertGreater(d.status()["collections"][0]["pending_chunks"], 0)
            for args in (["-k", "300", "quick"], ["--filter", "year exists", "quick"], ["nothing"]):
                got = d.latent("search", "-c", "c", "--json", *args)
                self.assertEqual(json.loads(got.stdout.splitlines()[-1])["search"]["short_reason"], "pending", args)
                self.assertIn("chunks wait to be embedded", got.stderr)
            d.stop()
            d.args, d.env = normal, dict(os.environ)
            d.start()
            d.add("c", [{"id": "last", "text": "one more"}])  # waits for those before it
            got = d.latent("search", "-c", "c", "-k", "300", "--json", "quick")
            self.assertEqual(json.loads(got.stdout.splitlines()[-1])["search"]["short_reason"], "exhausted")

    def test_two_clients_with_settings_of_their_own(self):
        """Interleaved, and each reply has its client's."""
        with Daemon() as d, Wire(d.socket) as a, Wire(d.socket) as b:
            self.assertEqual(a.call(CREATE, [(1, "c"), (2, 8), (4, 1)]).code, 0)
            vectors = [struct.pack("<8f", *(b - 127.5 for b in random.Random(i).randbytes(8))) for i in range(1000)]
            self.assertEqual(a.call(ADD, add("c", [document(str(i), "text", vector=v) for i, v in enumerate(vectors)])).code, 0)
            asked = {}
            for i in range(50):
                for w in (a, b):
                    ef, k = 20 + 5 * i + (103 if w is b else 0), 1 + i % 9 + (9 if w is b else 0)
                    asked[w, w.send(SEARCH, [(1, "c"), (3, vectors[i]), (4, k), (5, 1), (7, ef)])] = ef, k, str(i)
            for w in (a, b):
                for _ in range(50):
                    reply = w.receive()
                    body = reply.body(SEARCH)
                    self.assertEqual((body[4][0], body[3][0], unpack(body[1][0])[1][0].decode()), asked.pop((w, reply.id)))
                    self.assertEqual(len(body[1]), body[3][0])


if __name__ == "__main__":
    main()
