#!/usr/bin/env python3
"""Requests that meet each other in the daemon: many at once, in one connection or in several."""
import unittest

from harness import Daemon, main
from wire import ADD, GET, Wire, add, document, unpack

LONG = "the quick brown fox jumps over the lazy dog and runs away into the woods " * 5
ENAN = 12


class Blame(unittest.TestCase):
    def test_a_failed_text_is_blamed_on_its_own_request(self):
        """The same id goes into two collections at once; one of the two cannot be embedded."""
        with Daemon(env={"LATENTD_FAULT": "embed.same=fail"}) as d, Wire(d.socket) as w:
            for name in ("queue", "a", "b"):
                d.latent("collection", "create", name)
            # Work ahead of the two, so that both wait when the first of them fails.
            reply = w.call(ADD, add("queue", [document(str(i), f"{i} {LONG}") for i in range(1500)], wait_accepted=True))
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


if __name__ == "__main__":
    main()
