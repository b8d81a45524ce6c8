#!/usr/bin/env python3
"""latent check: what it says about a healthy folder, one in use, and damaged ones, and what --repair makes of them."""
import glob
import os
import shutil
import sqlite3
import subprocess
import unittest

from harness import CALL_S, LATENT, SRC, Daemon, main

DOCS = [{"id": str(i), "text": f"document number{i} about trains and weather"} for i in range(300)]


def check(data, *args):
    got = subprocess.run([LATENT, "check", "--data", data, *args], capture_output=True, text=True, timeout=CALL_S)
    return got.returncode, got.stdout, got.stderr


class Check(unittest.TestCase):
    def setUp(self):
        self.d = Daemon()
        self.addCleanup(self.d.__exit__, None, None, None)
        self.d.start()
        self.d.latent("collection", "create", "c")
        self.d.add("c", DOCS)

    def status_of_c(self):
        return next(c for c in self.d.status()["collections"] if c["name"] == "c")

    def assert_serves(self):
        self.d.start()
        self.assertEqual(self.status_of_c()["documents"], 300)
        for i in (0, 150, 299):
            hits = self.d.search("c", "-k", "1", f"number{i}")
            self.assertEqual([h["id"] for h in hits], [str(i)])
        self.d.stop()

    def test_in_use_and_healthy(self):
        code, out, err = check(self.d.data)
        self.assertEqual((code, out), (1, ""))
        self.assertIn(f"in use by process {self.d.process.pid}", err)
        self.d.stop()
        self.assertEqual(check(self.d.data), (0, "1 collection, 300 documents, 300 chunks: no problems\n", ""))

    def test_after_a_crash(self):
        self.d.kill()
        code, out, _ = check(self.d.data)
        self.assertEqual(code, 0, out)
        self.assertIn("no problems", out)
        self.assert_serves()

    def test_graph_of_noise(self):
        self.d.stop()
        segment, = glob.glob(os.path.join(self.d.data, "graph", "*", "segment-*.seg"))
        with open(segment, "wb") as f:
            f.write(os.urandom(50000))
        code, out, _ = check(self.d.data)
        self.assertEqual(code, 1)
        self.assertIn("collection c: graph: " + os.path.basename(segment), out)
        code, out, _ = check(self.d.data, "--repair")
        self.assertEqual(code, 0, out)
        self.assertIn("graph made anew, 300 vectors", out)
        self.assertEqual(check(self.d.data)[0], 0)
        self.assert_serves()
        self.assertNotIn("rebuilt", self.d.log_text())

    def test_words_and_a_vector_lost(self):
        self.d.stop()
        db = sqlite3.connect(os.path.join(self.d.data, "store.db"))
        db.execute("DELETE FROM words_1_data WHERE id > 10")
        db.execute("DELETE FROM vectors WHERE chunk = 151")
        db.commit()
        db.close()
        code, out, _ = check(self.d.data)
        self.assertEqual(code, 1)
        self.assertIn("words do not match", out)
        self.assertIn("chunks whose vector is missing or has the wrong length: 1\n", out)
        code, out, _ = check(self.d.data, "--repair")
        self.assertEqual(code, 0, out)
        self.assertIn("document 150: will be embedded again", out)
        self.d.start()
        while self.status_of_c()["pending_chunks"]:
            pass
        self.d.stop()
        self.assertEqual(check(self.d.data)[:2], (0, "1 collection, 300 documents, 300 chunks: no problems\n"))
        self.assert_serves()

    def test_store_of_noise(self):
        """Who checks is told what is wrong, not to check."""
        self.d.stop()
        store = os.path.join(self.d.data, "store.db")
        with open(store, "wb") as f:
            f.write(os.urandom(50000))
        for extra in ("store.db-wal", "store.db-shm"):
            if os.path.exists(os.path.join(self.d.data, extra)):
                os.unlink(os.path.join(self.d.data, extra))
        for args in ([], ["--repair"]):
            code, out, err = check(self.d.data, *args)
            self.assertEqual(code, 1)
            self.assertIn(store, out + err)
            self.assertNotIn("tells more", out + err)

    @unittest.skipUnless(os.geteuid() == 0, "only root works in another user's folder")
    def test_root_in_another_users_folder(self):
        """What root's daemon and tools make there is the user's, killed or not: its own daemon starts after that."""
        self.d.stop()
        shutil.rmtree(self.d.data)
        os.makedirs(self.d.data)
        os.chown(self.d.data, 4242, 4243)

        def assert_theirs():
            for folder, _, names in os.walk(self.d.data):
                for name in [".", *names]:
                    st = os.stat(os.path.join(folder, name))
                    self.assertEqual((st.st_uid, st.st_gid), (4242, 4243), f"{folder}/{name}")

        self.d.start()
        self.d.latent("collection", "create", "c")
        self.d.add("c", DOCS)
        self.d.kill()
        self.assertTrue(os.path.exists(os.path.join(self.d.data, "store.db-wal")))
        assert_theirs()
        self.assert_serves()
        segment, = glob.glob(os.path.join(self.d.data, "graph", "*", "segment-*.seg"))
        assert_theirs()
        with open(segment, "wb") as f:
            f.write(os.urandom(50000))
        code, out, _ = check(self.d.data, "--repair")
        self.assertEqual(code, 0, out)
        self.assertIn("graph made anew", out)
        assert_theirs()
        os.unlink(self.d.log_path)
        os.chown(self.d.folder, 4242, 4243)
        # root's home, and what lies in it, may be closed to that user
        self.d.env = {**self.d.env, "HOME": self.d.folder}
        self.d.args += ["--model", shutil.copy(os.path.join(SRC, "models", "latent-mini-q8_0.gguf"), self.d.folder)]
        self.d.wrap = lambda command: ["setpriv", "--reuid=4242", "--regid=4243", "--clear-groups", *command]
        self.assert_serves()
        self.assertNotIn("error", self.d.log_text())

    def test_used_wrongly(self):
        self.d.stop()
        self.assertEqual(check(self.d.data + "-absent")[0], 1)
        self.assertEqual(check(self.d.data, "--nonsense")[0], 2)
        code, out, _ = check(self.d.data, "--help")
        self.assertEqual(code, 0)
        self.assertIn("--repair", out)


if __name__ == "__main__":
    main()
