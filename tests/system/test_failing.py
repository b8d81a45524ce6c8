#!/usr/bin/env python3
"""Texts that cannot be embedded, some or all of them, and a device that can embed none: every wait ends, every failure is counted and
named, and nothing that was acknowledged is given up for the device's sake."""
import os
import shutil
import time
import unittest

from harness import SRC, START_S, STEADY_DEVICE, Daemon, main, needs_faults
from wire import ADD, Wire, add, document

MODEL = os.path.join(SRC, "models", "latent-mini-q8_0.gguf")
ENOMEM, EIO = 2, 3  # base/err.h
SMALL = os.path.join(SRC, "tests", "golden", "decoders", "mistral.gguf")


def docs(n=100):
    return [{"id": f"d{i}", "text": f"number {i}"} for i in range(n)]


class Failing(unittest.TestCase):
    def job(self, d):
        return d.json_lines("job", "list", "--json")[0]

    def settle(self, d, documents):
        end = time.monotonic() + START_S
        while True:
            info = d.json_lines("collection", "info", "c", "--json")[0]
            if not info["pending_chunks"]:
                break
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)
        self.assertEqual((info["documents"], info["chunks"]), (documents, documents))

    @needs_faults
    def test_one_in_ten(self):
        bad = [f"d{i}" for i in range(3, 100, 10)]
        with Daemon("--model", SMALL, env={"LATENTD_FAULT": ",".join(f"embed.{i}=always" for i in bad)}) as d:
            d.latent("collection", "create", "c")
            got = d.add("c", docs(), check=False)
            self.assertEqual(got.returncode, 1)
            for i in bad:
                self.assertIn(f"{i}: vector holds NaN", got.stderr)
            self.assertIn("10 failed", got.stderr)
            job = self.job(d)
            self.assertEqual((job["state"], job["searchable"], job["failed"], job["pending_chunks"]), ("failed", 90, 10, 0))
            self.assertIn("vector holds NaN", job["last_error"])
            self.assertEqual(d.json_lines("collection", "info", "c", "--json")[0]["documents"], 90)

    @needs_faults
    def test_all(self):
        with Daemon("--model", SMALL, env={"LATENTD_FAULT": ",".join(f"embed.d{i}=always" for i in range(12))}) as d:
            d.latent("collection", "create", "c")
            d.add("c", docs(12), "--async")
            end = time.monotonic() + START_S
            while self.job(d)["state"] != "failed":
                self.assertLess(time.monotonic(), end)
                time.sleep(0.05)
            self.assertEqual((self.job(d)["searchable"], self.job(d)["failed"]), (0, 12))

    @needs_faults
    def test_device(self):
        with Daemon("--model", SMALL, env={"LATENTD_FAULT": "embed.batch=always"}) as d:
            d.latent("collection", "create", "c")
            got = d.add("c", docs(), check=False)
            self.assertEqual(got.returncode, 1)
            self.assertIn("accepted and durable, but it cannot be embedded now: fault point", got.stderr)
            self.assertIn("texts cannot be embedded", d.status()["warning"])
            job = self.job(d)
            self.assertEqual((job["state"], job["accepted"], job["failed"], job["pending_chunks"]), ("running", 100, 0, 100))
            d.latent("delete", "-c", "c", "d7")
            d.kill()
            d.env["LATENTD_FAULT"] = ""
            d.start()
            self.settle(d, 99)
            self.assertEqual(self.job(d)["state"], "done")

    @needs_faults
    def test_device_recovers(self):
        with Daemon("--model", SMALL, env={"LATENTD_FAULT": "embed.batch=fail"}) as d:
            d.latent("collection", "create", "c")
            d.add("c", docs(), "--async")
            self.settle(d, 100)
            self.assertEqual(d.status()["warning"], "")
            self.assertEqual(self.job(d)["failed"], 0)

    @needs_faults
    def test_not_stored_once(self):
        """Who waits is told so, and it is tried again by itself."""
        with Daemon("--model", SMALL, env={"LATENTD_FAULT": "feed.store=fail"}) as d, Wire(d.socket) as w:
            d.latent("collection", "create", "c")
            reply = w.call(ADD, add("c", [document("a", "a text")]))
            self.assertEqual((reply.code, reply.retryable), (ENOMEM, True), reply.message)
            self.assertIn("accepted and durable, but its vectors cannot be stored now: fault point: feed.store", reply.message)
            self.settle(d, 1)
            self.assertEqual(w.call(ADD, add("c", [document("b", "another")])).code, 0)

    @needs_faults
    def test_nowhere_to_store_them(self):
        """The data folder goes away under texts that wait for their vectors: who waits is told, and they are embedded once it is back."""
        with Daemon("--model", SMALL, env=STEADY_DEVICE) as d, Wire(d.socket) as w:
            d.latent("collection", "create", "c")
            w.send(ADD, add("c", [document(f"d{i}", f"number {i} " + "word " * 100) for i in range(300)]))
            while d.json_lines("collection", "info", "c", "--json")[0]["documents"] < 300:
                time.sleep(0.02)
            os.rename(d.data, d.data + "-moved")
            reply = w.receive()
            self.assertEqual((reply.code, reply.retryable), (EIO, False), reply.message)
            self.assertRegex(reply.message, "accepted and durable, but .*store.db: moved, deleted or replaced while in use")
            d.stop()
            os.rename(d.data + "-moved", d.data)
            d.env["LATENTD_FAULT"] = ""
            d.start()
            self.settle(d, 300)

    def test_model_cut_short(self):
        """A whole model embeds after the next start what this one could not."""
        n = 60
        with Daemon(wait=None) as d:
            d.stop()
            d.env.update(STEADY_DEVICE)
            model = os.path.join(d.folder, "model.gguf")
            shutil.copy(MODEL, model)
            d.args += ["--model", model]
            d.wait_for = "ready"
            d.start()
            d.latent("collection", "create", "c")
            d.add("c", [{"id": f"d{i}", "text": f"number {i} " * 30} for i in range(n)], "--async")
            os.truncate(model, 1 << 20)
            end = time.monotonic() + START_S
            while "cut short" not in d.status()["warning"]:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.05)
            self.assertEqual(d.json_lines("collection", "info", "c", "--json")[0]["documents"], n)
            self.assertEqual(self.job(d)["failed"], 0)
            for args in (["embed"], ["search", "-c", "c", "text"]):
                got = d.latent(*args, stdin="text\n", check=False)
                self.assertEqual(got.returncode, 1)
                self.assertIn("the model file was cut short in use; start again with a whole one (LATENT_ECORRUPT)", got.stderr)
            self.assertEqual(d.stop(), 0)
            shutil.copy(MODEL, model)
            d.env["LATENTD_FAULT"] = ""
            d.start()
            self.settle(d, n)
            self.assertEqual(d.search("c", "-k", "1", "--mode", "text", f"{n - 1}")[0]["id"], f"d{n - 1}")


if __name__ == "__main__":
    main()
