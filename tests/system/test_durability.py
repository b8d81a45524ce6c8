#!/usr/bin/env python3
"""What was acknowledged survives kill -9, and a restart neither loses it nor embeds it again."""
import json
import os
import random
import subprocess
import threading
import time
import unittest

from harness import Daemon, LATENT, main

ROUNDS = int(os.environ.get("LATENTD_KILLS", "50"))
WORDS = ("river bridge tower garden engine violin harbour winter lantern orchard copper falcon meadow thunder "
         "library castle desert island market window").split()


def document(i):
    r = random.Random(i)
    return {"id": f"doc-{i}", "text": " ".join(r.choice(WORDS) for _ in range(12)), "metadata": {"n": i}}


class Durability(unittest.TestCase):
    def test_kill_while_adding(self):
        """Batches are added one after the other by a client that records what was acknowledged; the daemon is killed at a random
        moment, 50 times over on the same folder."""
        random.seed(int(os.environ.get("LATENTD_SEED", "1")))
        with Daemon() as d:
            d.latent("collection", "create", "c")
            acknowledged, next_id = [], 0
            for _ in range(ROUNDS):
                stop = threading.Event()
                done = []

                def feed(start):
                    i = start
                    while not stop.is_set():
                        docs = [document(i + k) for k in range(8)]
                        got = subprocess.run([LATENT, "--socket", d.socket, "add", "-c", "c", "--jsonl", "-"],
                                             input="".join(json.dumps(x) + "\n" for x in docs), capture_output=True, text=True)
                        i += 8
                        if got.returncode != 0:
                            break
                        done.extend(x["id"] for x in docs)
                    done.append(i)

                t = threading.Thread(target=feed, args=(next_id,))
                t.start()
                time.sleep(random.uniform(0, 0.15))
                d.kill()
                stop.set()
                t.join()
                next_id = done.pop()
                acknowledged += done
                d.start()
                check = acknowledged[-64:] + random.sample(acknowledged, min(64, len(acknowledged)))
                if check:
                    self.assertEqual(d.latent("get", "-c", "c", *check, check=False).returncode, 0)
            self.assertTrue(acknowledged)
            for i in range(0, len(acknowledged), 500):
                got = d.latent("get", "-c", "c", *acknowledged[i:i + 500])
                self.assertEqual(len(got.stdout.splitlines()), len(acknowledged[i:i + 500]))
            # Found by search, too: each by its own text, without waiting for anything.
            for name in random.sample(acknowledged, min(25, len(acknowledged))):
                text = document(int(name.split("-")[1]))["text"]
                hits = d.search("c", "--mode", "dense", "-k", "3", text)
                self.assertIn(name, [h["id"] for h in hits])
            self.assertEqual(d.latent("collection", "list").returncode, 0)

    def test_restart_embeds_nothing_again(self):
        with Daemon() as d:
            d.latent("collection", "create", "c")
            d.add("c", [document(i) for i in range(300)])
            d.kill()
            d.start()
            s = d.status()
            self.assertEqual(s["queue"]["texts_done"], 0)
            self.assertEqual(s["collections"][0]["pending_chunks"], 0)
            self.assertEqual(len(d.search("c", "--mode", "dense", "-k", "10", "river bridge")), 10)

    def test_async_add_is_finished_after_a_kill(self):
        with Daemon() as d:
            d.latent("collection", "create", "c")
            docs = [document(i) for i in range(2000)]
            d.add("c", docs, "--async")
            d.kill()
            d.start()
            for _ in range(1200):
                info = d.json_lines("collection", "info", "c", "--json")[0]
                if info["pending_chunks"] == 0:
                    break
                time.sleep(0.05)
            self.assertEqual((info["documents"], info["pending_chunks"]), (2000, 0))
            self.assertEqual(d.search("c", "--mode", "dense", docs[1999]["text"])[0]["score"] > 0.5, True)

    def test_clean_stop_reopens_without_work(self):
        with Daemon() as d:
            d.latent("collection", "create", "c")
            d.add("c", [document(i) for i in range(500)])
            self.assertEqual(d.stop(), 0)
            d.start()
            info = d.json_lines("collection", "info", "c", "--json")[0]
            self.assertFalse(info["degraded"])
            self.assertGreater(info["bytes_index"], 0)
            self.assertEqual(d.status()["queue"]["texts_done"], 0)


if __name__ == "__main__":
    main()
