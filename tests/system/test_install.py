#!/usr/bin/env python3
"""What `meson install` puts in place works from there, and a program builds against the library with pkg-config."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import harness
from harness import BUILD, CALL_S, SANITIZED, SRC, Daemon, main



class Quickstart(unittest.TestCase):
    """What it says where it cannot go on; nothing is installed or built."""
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="latentd-install-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        os.chmod(self.dir, 0o755)
        os.mkdir(os.path.join(self.dir, "dist"))
        shutil.copy(os.path.join(SRC, "quickstart"), self.dir)
        shutil.copy(os.path.join(SRC, "dist", "packages.sh"), os.path.join(self.dir, "dist"))

    def run_it(self, **more):
        got = subprocess.run(["bash", os.path.join(self.dir, "quickstart")], capture_output=True, text=True, timeout=CALL_S,
                             stdin=subprocess.DEVNULL, **more)
        self.assertEqual(got.returncode, 1, got)
        return got.stderr

    def script(self, text, *path):
        path = os.path.join(self.dir, *path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as f:
            f.write("#!/bin/sh\n" + text + "\n")
        os.chmod(path, 0o755)

    def test_packages_that_cannot_be_installed(self):
        tools = os.path.join(self.dir, "tools")
        for name in ("apt-get", "dpkg-query", "sudo"):
            self.script("exit 1", "tools", name)
        said = self.run_it(env=dict(os.environ, PATH=tools + ":" + os.environ["PATH"]))
        self.assertRegex(said, r"as root:\n +apt-get install .*build-essential")

    def test_interrupted_while_packages_are_counted(self):
        """It ends without a word of the shell's. What it would install, build and start is played by scripts."""
        for name, text in (("dpkg-query", "echo installed"), ("apt-get", "exit 1"), ("meson", ""), ("ninja", ""), ("apt-cache", "kill -INT 0; sleep 10")):
            self.script(text, "tools", name)
        self.script("exec sleep 60", "build", "daemon", "latentd")
        self.script("echo '\"phase\":\"ready\"'", "build", "clients", "cli", "latent")
        got = subprocess.run(["bash", os.path.join(self.dir, "quickstart")], capture_output=True, text=True, timeout=CALL_S, stdin=subprocess.DEVNULL,
                             env=dict(os.environ, PATH=os.path.join(self.dir, "tools") + ":" + os.environ["PATH"]), start_new_session=True)
        self.assertEqual((got.returncode, got.stderr), (130, ""), got.stdout)

    def test_build_of_another_user(self):
        os.mkdir(os.path.join(self.dir, "build"))
        os.chmod(os.path.join(self.dir, "build"), 0o555)
        said = self.run_it(**({"user": 65534} if os.geteuid() == 0 else {}))
        self.assertIn(f"cannot write to {self.dir}/build.", said)


class Install(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="latentd-install-")
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        got = subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", self.root], capture_output=True,
                             text=True, timeout=CALL_S)
        self.assertEqual(got.returncode, 0, got.stdout + got.stderr)
        self.found = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                self.found.setdefault(name, os.path.join(folder, name))

    def test_everything_is_there(self):
        for name in ("latentd", "latent", "latent.h", "liblatent.so", "liblatent.so.0", "liblatent.pc", "latentd.conf", "latent.1",
                     "latentd.8", "latentd.conf.5", "latentd.service", "latentd.socket", "latent-mini-q8_0.gguf"):
            self.assertIn(name, self.found)

    def test_installed_daemon_has_a_model(self):
        old = harness.LATENTD, harness.LATENT
        harness.LATENTD, harness.LATENT = self.found["latentd"], self.found["latent"]
        try:
            with Daemon() as d:
                s = d.status()
                self.assertEqual(os.path.realpath(s["model_path"]), os.path.realpath(self.found["latent-mini-q8_0.gguf"]))
        finally:
            harness.LATENTD, harness.LATENT = old

    def test_settings_of_root_are_where_the_sample_is(self):
        unit = os.path.join(os.path.dirname(self.found["latentd.socket"]), "latentd.service")
        with open(unit) as f:
            places = re.findall(r"--config (\S+)", f.read())
        self.assertEqual(len(places), 1)
        if os.geteuid() == 0:
            text = subprocess.run([self.found["latentd"], "--help"], capture_output=True, text=True, check=True, timeout=CALL_S).stdout
            places.append(re.search(r"(?m)^  config (\S+)", text).group(1))
        for place in places:
            self.assertEqual(self.root + place, self.found["latentd.conf"])

    def test_sample_configuration_is_read(self):
        with Daemon("--config", self.found["latentd.conf"]) as d:
            self.assertEqual(d.status()["phase"], "ready")

    def cc(self, language, text, name, *more):
        """A program of this text against the installed header; its path."""
        program = os.path.join(self.root, name)
        got = subprocess.run([{"c": "cc", "c++": "c++"}[language], "-x", language, "-", "-o", program, "-Wall", "-Wextra", "-pedantic", "-Werror", *more,
                              "-I" + os.path.dirname(self.found["latent.h"])], input=text, capture_output=True, text=True, timeout=CALL_S)
        self.assertEqual(got.returncode, 0, got.stderr)
        return program

    def test_layout(self):
        """What programs that were compiled against this header rely on: places and sizes of all fields, values of all constants. What is
        in liblatent.layout changes only together with the library's soname; what is new is added to it."""
        with open(self.found["latent.h"], encoding="utf-8") as f:
            header = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
        lines = []
        for name, body in re.findall(r"struct (latent_\w+) \{(.*?)\n\};", header, re.S):
            lines.append(f'printf("{name} %zu\\n", sizeof(struct {name}));')
            for field in re.findall(r"(\w+)(?:\[\d+\])?\s*(?=[,;])", body):
                lines.append(f'printf("{name}.{field} %zu\\n", offsetof(struct {name}, {field}));')
        for body in re.findall(r"enum latent_\w+ \{(.*?)\}", header, re.S):
            lines += [f'printf("{name} %d\\n", (int){name});' for name in re.findall(r"LATENT_\w+", body)]
        self.assertGreater(len(lines), 150)
        text = "#include <latent.h>\n#include <stdio.h>\nint main(void)\n{\n" + "\n".join(lines) + "\nreturn 0;\n}\n"
        got = subprocess.run([self.cc("c", text, "layout")], capture_output=True, text=True, check=True, timeout=CALL_S).stdout.splitlines()
        with open(os.path.join(SRC, "tests", "system", "liblatent.layout"), encoding="ascii") as f:
            self.assertEqual(sorted(got), sorted(f.read().splitlines()))
        plain = "#include <latent.h>\nint main() { return LATENT_OK; }\n"
        for language, standards in (("c", ("c89", "c99", "c11", "c17")), ("c++", ("c++98", "c++11", "c++17"))):
            for standard in standards if shutil.which("c++") or language == "c" else ():
                self.cc(language, plain.replace("main()", "main(void)"), "plain", "-std=" + standard)

    def test_readme(self):
        """Its lines of C compile as they stand."""
        with open(os.path.join(SRC, "README.md"), encoding="utf-8") as f:
            blocks = re.findall(r"(?:^    .*\n)+", f.read(), re.M)
        programs = [b for b in blocks if b.startswith("    struct latent *c")]
        self.assertEqual(len(programs), 2)
        for body in programs:
            text = "#include <latent.h>\n#include <stdio.h>\nint main(void)\n{\n" + body + "    return 0;\n}\n"
            got = subprocess.run(["cc", "-x", "c", "-", "-c", "-o", os.path.join(self.root, "readme.o"), "-Wall", "-Wextra", "-Werror",
                                  "-I" + os.path.dirname(self.found["latent.h"])], input=text, capture_output=True, text=True, timeout=CALL_S)
            self.assertEqual(got.returncode, 0, got.stderr)

    def test_prototypes(self):
        """Like the layout: a line of liblatent.prototypes changes only together with the library's soname. And every function has the version
        that programs were linked with."""
        with open(self.found["latent.h"], encoding="utf-8") as f:
            header = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
        got = sorted(" ".join(text.split()) for text in re.findall(r"(?:LATENT_API|typedef) ([^;{]+);", header))
        with open(os.path.join(SRC, "tests", "system", "liblatent.prototypes"), encoding="ascii") as f:
            self.assertEqual(got, f.read().splitlines())
        symbols = subprocess.run(["nm", "-D", "--defined-only", self.found["liblatent.so"]], capture_output=True, text=True, check=True).stdout
        versions = {line.split()[-1].partition("@")[2] for line in symbols.splitlines() if " T " in line}
        self.assertEqual(versions, {"@LATENT_0"})
        dynamic = subprocess.run(["readelf", "-d", self.found["liblatent.so"]], capture_output=True, text=True, check=True).stdout
        self.assertIn("soname: [liblatent.so.0]", dynamic)

    def test_uninstall(self):
        got = subprocess.run(["meson", "--internal", "uninstall"], cwd=BUILD, capture_output=True, text=True, timeout=CALL_S)
        self.assertEqual(got.returncode, 0, got.stdout + got.stderr)
        self.assertEqual([os.path.join(folder, name) for folder, _, names in os.walk(self.root) for name in names], [])
        self.assertFalse(os.path.exists(self.root) and os.listdir(self.root))

    def test_library(self):
        symbols = subprocess.run(["nm", "-D", "--defined-only", self.found["liblatent.so"]], capture_output=True, text=True,
                                 check=True).stdout
        names = sorted(line.split()[-1].split("@")[0] for line in symbols.splitlines() if " T " in line)
        with open(os.path.join(SRC, "tests", "system", "liblatent.symbols")) as f:
            self.assertEqual(names, f.read().split())
        with open(self.found["liblatent.pc"]) as f:
            text = f.read()
        pc = os.path.join(self.root, "pc")
        os.mkdir(pc)
        prefix = next(line.split("=", 1)[1] for line in text.splitlines() if line.startswith("prefix="))
        with open(os.path.join(pc, "liblatent.pc"), "w") as f:
            f.write(text.replace(f"prefix={prefix}", f"prefix={self.root}{prefix}"))
        env = dict(os.environ, PKG_CONFIG_PATH=pc)
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "liblatent"], env=env, capture_output=True, text=True, check=True)
        program = os.path.join(self.root, "example")
        extra = ["-fsanitize=" + os.environ["LATENTD_SANITIZE"]] if SANITIZED else []
        subprocess.run(["cc", os.path.join(SRC, "clients", "c", "example.c"), "-o", program, *flags.stdout.split(), *extra,
                        "-Wl,-rpath," + os.path.dirname(self.found["liblatent.so"])], check=True, timeout=CALL_S)
        with Daemon() as d:
            d.latent("collection", "create", "c")
            d.add("c", [{"id": "a", "text": "retouch pictures"}, {"id": "b", "text": "a shell"}])
            got = subprocess.run([program, "c", "edit photographs"], capture_output=True, text=True, timeout=CALL_S,
                                 env=dict(os.environ, LATENTD_SOCKET=d.socket))
            self.assertEqual(got.returncode, 0, got.stderr)
            self.assertRegex(got.stdout.splitlines()[0], r"^0\.\d+ a$")
        with open(os.path.join(SRC, "clients", "c", "example.c")) as f:
            self.assertLessEqual(sum(1 for line in f if line.strip()), 22)


if __name__ == "__main__":
    main()
