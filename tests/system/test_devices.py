#!/usr/bin/env python3
"""Which device serves: without a Vulkan library, with a card beside a software driver, by UUID, and with too little memory."""
import glob
import os
import re
import subprocess
import tempfile
import unittest

from harness import CALL_S, LATENT, LATENTD, SANITIZED, SRC, Daemon, main, needs_faults, vulkan_environment

# The same places as in tests/vulkan_env.sh.
LLVMPIPE = ["/usr/share/vulkan/icd.d/lvp_icd.json", "/usr/share/vulkan/icd.d/lvp_icd.*.json"]
SWIFTSHADER = [os.environ.get("LATENTD_SWIFTSHADER_ICD", ""), "/usr/lib/chromium/vk_swiftshader_icd.json",
               "/usr/lib/chromium-browser/vk_swiftshader_icd.json", "/opt/google/chrome/vk_swiftshader_icd.json"]
MODEL = os.path.join(SRC, "tests", "golden", "decoders", "mistral.gguf")  # a small one, since software drivers are slow


def driver(patterns):
    """The driver's manifest. Missing it is a failure in CI, else a reason to skip."""
    found = [path for pattern in patterns if pattern for path in glob.glob(pattern)]
    if not found and not os.environ.get("CI") and not os.environ.get("LATENTD_REQUIRE_VULKAN"):
        raise unittest.SkipTest(f"none of {patterns}")
    return found[0]


def drivers(*manifests):
    return {"VK_DRIVER_FILES": ":".join(manifests), "VK_ICD_FILENAMES": ":".join(manifests)}


def serves(d):
    """One text through the device; its status."""
    got = d.json_lines("embed", "--json", stdin="retouch pictures\n")[0]
    assert len(got["embedding"]) == d.status()["dim"] and got["tokens"] > 0
    return d.status()


class Devices(unittest.TestCase):
    def test_without_a_vulkan_library(self):
        """The program doesn't need it to start; who asks for a GPU hears what is missing."""
        needed = subprocess.run(["readelf", "-d", LATENTD], capture_output=True, text=True, check=True).stdout
        self.assertIn("NEEDED", needed)
        self.assertNotIn("vulkan", needed)
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "libvulkan.so.1"), "w"):
                pass  # what the system has is not reached
            env = {"LD_LIBRARY_PATH": folder}
            for name in ("auto", "cpu"):
                with Daemon(device=name, env=env) as d:
                    self.assertEqual(serves(d)["device_kind"], "cpu")
            for name in ("vulkan", "llvmpipe"):
                with Daemon(device=name, env=env, wait=None) as d:
                    self.assertNotEqual(d.process.wait(CALL_S), 0)
                    self.assertRegex(d.log_text(), f"no device matches '{name}'; here are: cpu; Vulkan: .*libvulkan.so.1")

    @needs_faults
    def test_a_card_goes_before_a_software_driver(self):
        """SwiftShader plays the card (fault point gpu_discrete): auto and "vulkan" take it, whichever comes first, and UUIDs and
        names choose either."""
        both = [driver(LLVMPIPE), driver(SWIFTSHADER)]
        env = dict(drivers(*both), LATENTD_FAULT="gpu_discrete=always")
        with Daemon(device="nothing-like-it", env=env, wait=None) as d:
            self.assertNotEqual(d.process.wait(CALL_S), 0)
            said = d.log_text()
        listed = dict(re.findall(r"(SwiftShader|llvmpipe)[^()]*\([^()]*\) \(([0-9a-f-]{36})\)", said))
        self.assertEqual(sorted(listed), ["SwiftShader", "llvmpipe"], said)
        for order in (both, both[::-1]):
            with Daemon("--model", MODEL, device="auto", env=dict(env, **drivers(*order))) as d:
                s = serves(d)
                self.assertEqual((s["device_kind"], s["device_note"]), ("vulkan", ""))
                self.assertIn("SwiftShader", s["device"])
        for name, uuid in listed.items():
            with Daemon("--model", MODEL, device=uuid.upper(), env=env) as d:
                self.assertIn(name, serves(d)["device"])
        with Daemon(device="vulkan", env=drivers(*both), wait=None) as d:  # no card, and a software driver must be named
            self.assertNotEqual(d.process.wait(CALL_S), 0)
            self.assertIn("no device matches 'vulkan'", d.log_text())

    @needs_faults
    def test_auto_skips_a_card_that_fails(self):
        """A card that computes nothing, since no memory can be had of it: named in the status, and the CPU serves."""
        env = dict(drivers(driver(SWIFTSHADER)), LATENTD_FAULT="gpu_discrete=always,gpu_alloc:3=always")
        with Daemon("--model", MODEL, device="auto", env=env) as d:
            s = serves(d)
            self.assertEqual(s["device_kind"], "cpu")
            self.assertRegex(s["device_note"], "skipped SwiftShader.*device memory needed")

    @needs_faults
    def test_plain_products_where_fast_ones_are_wrong(self):
        """A driver whose faster products (fault point gpu_fast_product) give nothing fails the golden vectors: the device serves without them
        and says so. One whose way of products was chosen is not given another."""
        env = dict(drivers(driver(LLVMPIPE)), LATENTD_FAULT="gpu_fast_product=always")
        with Daemon(device="llvmpipe", env=env) as d:
            s = serves(d)
            self.assertEqual(s["device_kind"], "vulkan")
            self.assertRegex(s["device_note"], "^in plain f32, since its faster ways fail: llvmpipe.*self-test")
        with Daemon(device="llvmpipe", env=dict(env, LATENTD_VULKAN_MATMUL="rows"), wait=None) as d:
            self.assertNotEqual(d.process.wait(CALL_S), 0)
            self.assertRegex(d.log_text(), "llvmpipe.*self-test")
        with Daemon(device="llvmpipe", env=dict(env, LATENTD_VULKAN_MATMUL="f32")) as d:
            self.assertEqual(serves(d)["device_note"], "")

    def test_less_memory_than_the_model_takes(self):
        """Layers pass through the device, and the status says so; the vectors stay what they are."""
        with Daemon() as d:
            want = d.json_lines("embed", "--json", stdin="retouch pictures\n")[0]["embedding"]
        for name, env in (("cpu", {}), ("llvmpipe", drivers(driver(LLVMPIPE)))):
            with self.subTest(name), Daemon("--device-memory", "12", device=name, env=env) as d:
                s = serves(d)
                self.assertRegex(s["device_note"], r"[1-9][0-9]* of [0-9]+ layers do not fit the device and are streamed")
                got = d.json_lines("embed", "--json", stdin="retouch pictures\n")[0]["embedding"]
                self.assertGreater(sum(a * b for a, b in zip(got, want, strict=True)), 0.999)

    @unittest.skipIf(SANITIZED, "vulkan_faults and golden_engine-llvmpipe open the same device")
    def test_selftest_names_the_device_to_ask_for(self):
        """Where the validation layers are installed, they have nothing to say (gpu/gpu.h); where not, only CI needs them."""
        env = dict(vulkan_environment(), **drivers(driver(LLVMPIPE)), LATENTD_VULKAN_VALIDATE="1",
                   VK_KHRONOS_VALIDATION_SYNCVAL_SHADER_ACCESSES_HEURISTIC="1")
        command = [LATENT, "selftest", "--device", "llvmpipe", "--model", MODEL]
        got = subprocess.run(command, capture_output=True, text=True, timeout=CALL_S, env=env)
        if "validation is not installed" in got.stderr and not os.environ.get("CI") and not os.environ.get("LATENTD_REQUIRE_VULKAN"):
            got = subprocess.run(command, capture_output=True, text=True, timeout=CALL_S, env=dict(env, LATENTD_VULKAN_VALIDATE="0"))
        self.assertNotIn("validation", got.stdout + got.stderr)
        self.assertEqual(got.returncode, 0, got.stdout + got.stderr)
        self.assertRegex(got.stdout, r"(?m)^llvmpipe.* \(vulkan, [0-9a-f-]{36}\)$")
        for name in ("embed_rows", "rms_norm", "attention", "gated", "sequence", "softmax_groups", "batch", "golden vectors"):
            self.assertRegex(got.stdout, rf"(?m)^  {name} +[1-9][0-9]* +0  passed")
        for way in ("f32", "rows", "dot"):  # every product in each
            self.assertRegex(got.stdout, rf"(?m)^  matmul as {way} +[1-9][0-9]{{2,}} +0  passed")
        self.assertRegex(got.stdout, r"(?m)^  matmul as coop +(-|[1-9][0-9]*) ")


if __name__ == "__main__":
    main()
