#!/usr/bin/env python3
"""Files damaged under a daemon that has them mapped: it says so, its answers stay right, and what it can it rebuilds."""
import glob
import os
import shutil
import subprocess
import time
import unittest

from harness import CALL_S, LATENT, QUICK_MODEL, SRC, START_S, Daemon, main, needs_faults

DOCS = [{"id": str(i), "text": f"document number{i} about trains and weather"} for i in range(300)]
MODEL = os.path.join(SRC, "models", "latent-mini-q8_0.gguf")


class NoMemory(unittest.TestCase):
    @needs_faults
    def test_none_to_map_a_graph(self):
        """That says nothing about its files: the start is refused, and the next one finds them as they were."""
        with Daemon(*QUICK_MODEL) as d:
            d.latent("collection", "create", "c")
            d.add("c", DOCS)
            d.stop()
            files = {f: os.stat(f).st_mtime_ns for f in glob.glob(os.path.join(d.data, "graph", "1", "*"))}
            self.assertEqual(len(files), 3)
            for what in ("segment", "vectors"):
                d.env["LATENTD_FAULT"] = what + ".map=always"
                d.wait_for = None
                d.start()
                self.assertEqual(d.process.wait(CALL_S), 1)
                self.assertRegex(d.log_text(), f"graph/1/{what}-[0-9a-f]+.[a-z]+: there is no memory to map it")
                self.assertEqual({f: os.stat(f).st_mtime_ns for f in files}, files)
                got = subprocess.run([LATENT, "check", "--data", d.data], capture_output=True, text=True, timeout=CALL_S, env=d.env)
                self.assertEqual(got.returncode, 1)
                self.assertIn("there is no memory to map it", got.stdout + got.stderr)
                self.assertNotIn("--repair", got.stdout + got.stderr)
            del d.env["LATENTD_FAULT"]
            d.wait_for = "ready"
            d.start()
            self.assertFalse(d.status()["collections"][0]["degraded"])
            self.assertNotIn("made anew", d.log_text())


class Damage(unittest.TestCase):
    def daemon(self, *args):
        d = Daemon(*args)
        self.addCleanup(d.__exit__, None, None, None)
        d.start()
        return d

    def answers(self, d):
        """Ids and rounded scores: the scores are of the exact vectors."""
        return [[(round(h["score"], 5), h["id"]) for h in d.search("c", "--mode", "dense", "-k", "1", doc["text"])]
                for doc in DOCS[::29]]

    def rebuilt(self, d, times):
        """Waits until the log has said so and the collection is whole again."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            c = d.status()["collections"][0]
            if d.log_text().count("index is complete") == times and not c["degraded"]:
                return
            time.sleep(0.1)
        raise AssertionError(d.log_text())

    def test_graph(self):
        d = self.daemon()
        d.latent("collection", "create", "c")
        d.add("c", DOCS)
        right, times = self.answers(d), 0
        for kind in ("segment-*.seg", "vectors-*.vec"):
            for size in (0, 4096, 20000):
                d.stop()
                d.start()  # from its files
                path, = glob.glob(os.path.join(d.data, "graph", "*", kind))
                before = d.log_text().count("graph is rebuilt")
                os.truncate(path, size)
                self.assertEqual(self.answers(d), right)
                times += 1
                self.rebuilt(d, times)
                self.assertEqual(d.log_text().count("graph is rebuilt"), before + 1)
                self.assertEqual(self.answers(d), right)
        d.add("c", [{"id": "more", "text": "a late one"}])
        self.assertEqual(d.status()["collections"][0]["documents"], 301)
        d.stop()
        got = subprocess.run([LATENT, "check", "--data", d.data], capture_output=True, text=True, timeout=CALL_S)
        self.assertEqual(got.returncode, 0, got.stdout)

    def test_model(self):
        d = self.daemon()
        d.stop()
        path = os.path.join(d.folder, "model.gguf")
        shutil.copy(MODEL, path)
        d.args += ["--model", path]
        d.start()
        d.latent("collection", "create", "c")
        d.add("c", DOCS)
        right = self.answers(d)
        os.truncate(path, 100000)
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            # Token vectors that the processor still has pages of may serve a little longer.
            got = d.latent("embed", "--json", stdin="some thousand other words: quixotic zebra philharmonic\n", check=False)
            if "LATENT_ECORRUPT" in got.stderr:
                break
        self.assertEqual(got.returncode, 1, got.stdout)
        self.assertRegex(got.stderr, "cut short|damaged")
        self.assertIsNone(d.process.poll())
        # Words need no model, and nothing was lost.
        hits = d.search("c", "--mode", "text", "-k", "1", "number150")
        self.assertEqual([h["id"] for h in hits], ["150"])
        d.stop()
        shutil.copy(MODEL, path)
        d.start()
        self.assertEqual(self.answers(d), right)


if __name__ == "__main__":
    main()
