#!/usr/bin/env python3
"""A checkpoint folder becomes a model file, is served, and gives the expected vectors; a hostile file is refused."""
import json
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

from harness import CALL_S, LATENT, LATENTD, SANITIZED, SRC, Daemon, main, vulkan_environment

MAKE_CHECKPOINT = os.path.join(os.environ["LATENTD_BUILD"], "tests", "tools", "make_checkpoint")
TINY = os.path.join(SRC, "tests", "golden", "tiny-f16")


def run(*args):
    return subprocess.run([LATENT, "import", *args], capture_output=True, text=True, timeout=CALL_S)


class Import(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="latentd-import-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.model = os.path.join(self.folder, "model.gguf")

    def test_without_a_tokenizer_it_serves_ids(self):
        got = run(TINY, "-o", self.model, "--type", "f32")
        self.assertEqual(got.returncode, 0, got.stderr)
        with open(os.path.join(TINY, "cases.json")) as f:
            cases = json.load(f)["cases"]
        with Daemon("--model", self.model) as d:
            self.assertFalse(d.status()["has_tokenizer"])
            lines = "".join(json.dumps({"ids": c["ids"], "instruction_len": c["instruction_len"]}) + "\n" for c in cases)
            answers = d.json_lines("embed", "--ids", stdin=lines)
            for case, answer in zip(cases, answers, strict=True):
                worst = max(abs(a - b) for a, b in zip(answer["embedding"], case["embedding"], strict=True))
                self.assertLess(worst, 5e-6, case["name"])
            bad = d.latent("embed", "--ids", stdin='{"ids":[1,999999]}\n{"ids":[1],"instruction_len":1}\n{"ids":[1,40]}\n', check=False)
            self.assertEqual(bad.returncode, 1)
            self.assertEqual(["embedding" in line and '"embedding":null' not in line for line in bad.stdout.splitlines()],
                             [False, False, True])
            text = d.latent("embed", stdin="words\n", check=False)
            self.assertEqual(text.returncode, 1)
            self.assertIn("LATENT_EUNSUPPORTED", text.stderr)

    def test_another_models_collection_is_refused(self):
        self.assertEqual(run(TINY, "-o", self.model, "--type", "f16").returncode, 0)
        with Daemon() as d:
            d.latent("collection", "create", "c")
            d.add("c", [{"id": "a", "text": "one"}])
            d.stop()
            d.args += ["--model", self.model]
            d.start()
            got = d.latent("search", "-c", "c", "--vector", json.dumps([0.1] * 64), check=False)
            self.assertEqual(got.returncode, 1)
            # what is stored is still there
            self.assertEqual(d.json_lines("get", "-c", "c", "a")[0]["text"], "one")

    def test_four_bits(self):
        """A generated checkpoint whose rows divide, and one whose rows do not, which import says."""
        folder = os.path.join(self.folder, "made")
        subprocess.run([MAKE_CHECKPOINT, folder, "hidden=256", "layers=2", "heads=4", "kv_heads=4", "ffn=512", "vocab=512",
                        "positions=256", "latents=256", "latent_heads=1", "latent_head_dim=256", "shard_bytes=2000000"],
                       check=True, timeout=CALL_S, stderr=subprocess.DEVNULL)
        self.assertGreater(len([n for n in os.listdir(folder) if n.endswith(".safetensors")]), 2)
        vectors = {}
        for kind in ("f32", "q4_K"):
            got = run(folder, "-o", self.model, "--type", kind)
            self.assertEqual(got.returncode, 0, got.stderr)
            self.assertNotIn("stored as f16", got.stdout)
            with Daemon("--model", self.model) as d:
                self.assertEqual(d.status()["weight_type"], kind)
                ids = json.dumps({"ids": list(range(3, 60, 2)), "instruction_len": 2}) + "\n"
                vectors[kind] = d.json_lines("embed", "--ids", stdin=ids)[0]["embedding"]
        self.assertGreater(sum(a * b for a, b in zip(vectors["f32"], vectors["q4_K"], strict=True)), 0.98)
        got = run(TINY, "-o", self.model, "--type", "q4_k")
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertIn("are stored as f16", got.stdout)

    def test_a_flipped_bit_is_found_and_named(self):
        self.assertEqual(run(TINY, "-o", self.model, "--type", "f32").returncode, 0)
        with open(self.model, "r+b") as f:
            f.seek(-256, os.SEEK_END)  # the lowest bit of one bias: too little for the golden vectors
            byte = f.read(1)[0]
            f.seek(-256, os.SEEK_END)
            f.write(bytes([byte ^ 1]))
        with Daemon("--model", self.model) as d:
            deadline = time.monotonic() + CALL_S
            while True:
                got = d.latent("embed", "--ids", stdin='{"ids":[1,40]}\n', check=False)
                if got.returncode or time.monotonic() > deadline:
                    break
            self.assertEqual(got.returncode, 1)
            self.assertIn("LATENT_ECORRUPT", got.stderr)
            self.assertIn("pooler.ffn_down.bias", d.log_text())

    def test_interrupted_it_leaves_nothing(self):
        """By a signal that asks, and by one that doesn't; an older file stays as it was."""
        folder = os.path.join(self.folder, "made")
        subprocess.run([MAKE_CHECKPOINT, folder, "hidden=1024", "layers=2" if SANITIZED else "layers=6", "heads=8", "kv_heads=8", "ffn=4096", "vocab=8192",
                        "positions=256", "latents=256", "latent_heads=1", "latent_head_dim=256"],
                       check=True, timeout=CALL_S, stderr=subprocess.DEVNULL)
        with open(self.model, "w") as f:
            f.write("an older file")
        for how, status in ((signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGKILL, -signal.SIGKILL)):
            p = subprocess.Popen([LATENTD, "import", folder, "-o", self.model, "--type", "q4_K", "--progress"],
                                 stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
            self.assertTrue(p.stderr.read(1))  # it is under way
            p.send_signal(how)
            message = p.communicate(timeout=CALL_S)[1].decode()
            self.assertEqual(p.returncode, status, message)
            if status == 1:
                self.assertRegex(message, "latentd import: .*: import stopped\n$")
            self.assertEqual(sorted(os.listdir(self.folder)), ["made", "model.gguf"])
            with open(self.model) as f:
                self.assertEqual(f.read(), "an older file")

    def test_interrupted_at_the_golden_vectors(self):
        folder = os.path.join(self.folder, "made")
        subprocess.run([MAKE_CHECKPOINT, folder, "hidden=512", "layers=12", "heads=8", "kv_heads=8", "ffn=2048", "vocab=2048",
                        "positions=256", "latents=64", "latent_heads=1", "latent_head_dim=256"],
                       check=True, timeout=CALL_S, stderr=subprocess.DEVNULL)
        p = subprocess.Popen([LATENTD, "import", folder, "-o", self.model, "--type", "q8_0", "--progress"],
                             stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        seen = b""
        while b"golden" not in seen:
            seen += p.stderr.read(1) or self.fail(seen)
        p.send_signal(signal.SIGINT)
        message = p.communicate(timeout=CALL_S)[1].decode()
        self.assertEqual(p.returncode, 1, message)
        self.assertRegex(message, "latentd import: .*: import stopped\n$")
        self.assertEqual(os.listdir(self.folder), ["made"])

    def test_refusals_leave_no_file(self):
        broken = os.path.join(self.folder, "broken")
        shutil.copytree(TINY, broken)
        shard = os.path.join(broken, "model-00001-of-00002.safetensors")
        os.truncate(shard, os.path.getsize(shard) // 2)
        for args in ([broken, "-o", self.model], [os.path.join(self.folder, "nowhere"), "-o", self.model],
                     [TINY, "-o", self.model, "--type", "q3"], [TINY]):
            got = run(*args)
            self.assertIn(got.returncode, (1, 2), args)
            self.assertTrue(got.stderr, args)
            self.assertFalse(os.path.exists(self.model))
        self.assertEqual([n for n in os.listdir(self.folder) if n != "broken"], [])

    def test_damaged_model_files_are_refused(self):
        self.assertEqual(run(TINY, "-o", self.model, "--type", "f32").returncode, 0)
        with open(self.model, "rb") as f:
            good = f.read()
        for name, data in (("cut", good[: len(good) // 2]), ("empty", b""), ("count", good[:16] + b"\xff" * 8 + good[24:])):
            path = os.path.join(self.folder, name + ".gguf")
            with open(path, "wb") as f:
                f.write(data)
            got = subprocess.run([LATENTD, "--data", os.path.join(self.folder, "d"), "--socket", os.path.join(self.folder, "s"),
                                  "--device", "cpu", "--model", path], capture_output=True, text=True, timeout=CALL_S)
            self.assertEqual(got.returncode, 1, name)
            self.assertIn(name + ".gguf", got.stderr)

    @unittest.skipIf(SANITIZED, "a sanitizer's own memory is in the way")
    def test_memory_stays_bounded(self):
        """An import takes less than its checkpoint has, golden vectors included: 46 MB here, and as much with ten layers."""
        folder = os.path.join(self.folder, "made")
        subprocess.run([MAKE_CHECKPOINT, folder, "hidden=1024", "layers=2", "heads=8", "kv_heads=8", "ffn=4096", "vocab=8192",
                        "positions=256", "latents=64", "latent_heads=1", "latent_head_dim=256"],
                       check=True, timeout=CALL_S, stderr=subprocess.DEVNULL)
        size = sum(os.path.getsize(os.path.join(folder, n)) for n in os.listdir(folder))
        self.assertGreater(size, 100e6)
        p = subprocess.Popen([LATENTD, "import", folder, "-o", self.model, "--type", "q8_0"], stdout=subprocess.DEVNULL)
        status, usage = os.wait4(p.pid, 0)[1:]
        p.returncode = status
        self.assertEqual(status, 0)
        self.assertLess(usage.ru_maxrss * 1024, 80e6)

    @unittest.skipIf(SANITIZED, "kernels-cpu and golden_engine-cpu run what it runs")
    def test_selftest(self):
        """A table, a line for every kind of case; a model whose golden vectors are wrong fails, by name and exit status."""
        def selftest(*args):
            return subprocess.run([LATENT, "selftest", *args], capture_output=True, text=True, timeout=CALL_S,
                                  env=vulkan_environment())
        got = selftest("--device", "cpu")
        self.assertEqual(got.returncode, 0, got.stdout + got.stderr)
        for name in ("embed_rows", "matmul", "attention", "softmax_groups", "batch", "golden vectors"):
            self.assertRegex(got.stdout, rf"(?m)^  {name} +[1-9][0-9]* +0  passed")
        self.assertIn("1 of 1 device passed", got.stdout)
        self.assertEqual(run(TINY, "-o", self.model, "--type", "f32").returncode, 0)
        with open(self.model, "r+b") as f:
            data = f.read()
            at = data.index(b"latentd.golden.vectors") + len("latentd.golden.vectors") + 4 + 4 + 8
            f.seek(at)
            first = struct.unpack("<ff", data[at:at + 8])
            f.write(struct.pack("<ff", first[0] - 1e-4 * first[1], first[1] + 1e-4 * first[0]))  # turned a little
        got = selftest("--device", "cpu", "--model", self.model)
        self.assertEqual(got.returncode, 1, got.stdout)
        self.assertRegex(got.stdout, r"golden vectors +1 +1  FAILED; .* fails the self-test: largest difference")
        for args, status in ((["--device", "nowhere"], 1), (["--model", "/nowhere"], 1), (["--nothing"], 2), (["word"], 2)):
            got = selftest(*args)
            self.assertEqual(got.returncode, status, args)
            self.assertTrue(got.stderr)

    def test_bench(self):
        """A rate; a profile only where there is a device's clock for it."""
        def bench(*args):
            return subprocess.run([LATENT, "bench", *args], capture_output=True, text=True, timeout=CALL_S,
                                  env=vulkan_environment())
        got = bench("--device", "cpu", "--texts", "3", "--tokens", "5", "--rounds", "2")
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertRegex(got.stdout, r"3 texts of 5 tokens: [0-9.]+ ms a call \(median of 2\), [1-9][0-9]* tokens/s")
        for args, status in ((["--device", "cpu", "--rounds", "1", "--profile"], 1), (["--device", "nowhere"], 1), (["--model", "/nowhere"], 1),
                             (["--texts", "0"], 2), (["--tokens", "99999"], 2), (["--rounds", "x"], 2), (["word"], 2)):
            got = bench(*args)
            self.assertEqual(got.returncode, status, args)
            self.assertTrue(got.stderr)


if __name__ == "__main__":
    main()
