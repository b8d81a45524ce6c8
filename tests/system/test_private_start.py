#!/usr/bin/env python3
"""A latentd of a program's own that does not start, or is not the program's to have: each time with the reason."""
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
import unittest

from harness import BUILD, CALL_S, Daemon, LATENT, SRC, START_S, main
from private_host import Host, HOST, PrivateTest, ended, until
from wire import HELLO


class Start(PrivateTest):
    def test_folder_that_something_else_has(self):
        os.mkdir(self.data, 0o700)
        with open(os.path.join(self.data, "lock"), "w") as f:
            f.write("4711\n")
            f.flush()
            fcntl.flock(f, fcntl.LOCK_EX)
            with Host(self.data) as h:
                answer, timeout = "error LATENT_ETIMEOUT ", 1000
                while answer.startswith("error LATENT_ETIMEOUT ") and timeout < START_S * 1000:  # latentd has not even begun
                    self.assertEqual(h("timeout", timeout), "ok")
                    answer, timeout = h("connect"), timeout * 2
                self.check(answer, "LATENT_ELOCKED", "in use by process 4711", self.data)
                h.send("timeout", "0")
                h.answer()
                h.send("connect")
                fcntl.flock(f, fcntl.LOCK_UN)
                self.assertEqual(h.answer(), "ok")

    def test_folder_that_is_not_for_data(self):
        with Host(os.path.join(self.root, "file", "x")) as h:
            with open(os.path.join(self.root, "file"), "w"):
                pass
            self.assertRegex(h("connect"), "^error LATENT_E.*cannot create the data folder")
        with Host(os.path.join(self.root, "file")) as h:
            self.assertRegex(h("connect"), "^error LATENT_E")
        with Host("") as h:
            self.check(h("connect"), "LATENT_EINVAL", "needs a data folder")
        with Host("~/x") as h:
            self.check(h("connect"), "LATENT_EINVAL", "~/x: ~ is not expanded here")
        os.mkdir(self.data)
        os.chmod(self.data, 0o777)
        with Host(self.data) as h:
            self.check(h("connect"), "LATENT_EPERM", "everybody may write there", "chmod o-w")
            os.chmod(self.data, 0o770)
            self.assertEqual(h("connect"), "ok")

    @unittest.skipUnless(os.geteuid() == 0, "only root can be another user")
    def test_other_users(self):
        os.chmod(self.root, 0o755)
        os.mkdir(self.data, 0o755)
        with Host(self.data) as h:
            self.assertEqual(h("connect"), "ok")
            os.chmod(os.path.join(self.data, "latentd.sock"), 0o666)
            # the other user need not be able to read the build folder
            host = shutil.copy(HOST, self.root)
            shutil.copy(os.path.join(BUILD, "clients", "c", "liblatent.so.0"), self.root)
            got = subprocess.run(["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", host, self.data], input="connect\n", text=True,
                                 capture_output=True, timeout=CALL_S, env=dict(os.environ, LD_LIBRARY_PATH=self.root))
            self.check(got.stdout, "LATENT_EPERM", "belongs to user 0")
        theirs = os.path.join(self.root, "theirs")
        os.mkdir(theirs, 0o700)
        os.chown(theirs, 4242, 4242)
        with Host(theirs) as h:
            self.check(h("connect"), "LATENT_EPERM", "belongs to user 4242")
            self.assertEqual(os.listdir(theirs), [])
            # a third user's socket there is not the folder's user's daemon
            os.chown(theirs, 4242, 4243)
            os.chmod(theirs, 0o770)
            script = ("import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\nprint('up', flush=True)\n"
                      "c = s.accept()[0]\nc.sendall(bytes.fromhex(sys.argv[2]))\nc.recv(99)\nc.recv(99)\n")
            with subprocess.Popen(["setpriv", "--reuid=4243", "--regid=4243", "--clear-groups", "python3", "-c", script,
                                   os.path.join(theirs, "latentd.sock"), HELLO.hex()], stdout=subprocess.PIPE, text=True) as fake:
                self.assertEqual(fake.stdout.readline(), "up\n")
                self.check(h("connect"), "LATENT_EPERM", "user 4243's daemon serves a folder of user 4242")
                fake.wait(CALL_S)

    def test_long_path(self):
        deep = os.path.join(self.data, *("d" * 100 for _ in range(4)))
        with Host(deep) as h:
            self.assertEqual([h("connect"), h("create"), h("audit")], ["ok", "ok", "done"])
            self.assertTrue(os.path.exists(os.path.join(deep, "latentd.sock")))
            self.assertEqual(subprocess.run([LATENT, "--socket", os.path.join(deep, "latentd.sock"), "collection", "list"],
                                            capture_output=True, text=True, timeout=CALL_S).returncode, 0)
            pid = h.pid()
        until(ended, pid)
        self.assertFalse(os.path.exists(os.path.join(deep, "latentd.sock")))
        with Host(os.path.join(self.data, *("d" * 200 for _ in range(3)))) as h:
            self.check(h("connect"), "LATENT_EINVAL", "SQLite takes at most 504")
        with Host(os.path.join(self.data, *("d" * 200 for _ in range(6)))) as h:
            self.check(h("connect"), "LATENT_EINVAL", "too long")

    def test_no_program(self):
        script = os.path.join(self.root, "latentd")
        with open(script, "w") as f:
            f.write("#!/nonexistent\n")
        for program, code, words in (("/nonexistent/latentd", "LATENT_ENOTFOUND", "cannot run /nonexistent/latentd: No such file"),
                                     (script, "LATENT_EPERM", "Permission denied"), (self.root, "LATENT_EPERM", "cannot run")):
            with Host(self.data, env={"LATENTD_PROGRAM": program}) as h:
                self.check(h("connect"), code, words)
                self.assertEqual(h("audit"), "done")
        os.chmod(script, 0o755)
        with Host(self.data, env={"LATENTD_PROGRAM": script}) as h:
            self.check(h("connect"), "LATENT_ENOTFOUND", "No such file")  # its interpreter
            self.assertEqual(h("audit"), "done")

    def test_program_that_is_no_daemon(self):
        for text, words in (("echo the disk is on fire >&2; exit 3", "latentd did not start: the disk is on fire"),
                            ("exit 0", "it ended without a word"), ("kill -9 $$", "it ended without a word"),
                            ("i=0; while [ $i -lt 3000 ]; do echo noise noise noise; i=$((i+1)); done; echo last words", "last words")):
            script = os.path.join(self.root, "latentd")
            with open(script, "w") as f:
                f.write(f"#!/bin/sh\n{text}\n")
            os.chmod(script, 0o755)
            with Host(self.data, env={"LATENTD_PROGRAM": script}) as h:
                self.check(h("connect"), "LATENT_ECONN", words)
                self.assertEqual(h("audit"), "done")

    def test_daemon_that_does_not_start(self):
        """Its own last words, with its own code."""
        bad = os.path.join(self.root, "bad.gguf")
        with open(bad, "wb") as f:
            f.write(b"GGUF" + bytes(100))
        with open(os.path.join(SRC, "models", "latent-mini-q8_0.gguf"), "rb") as f, open(bad + "2", "wb") as cut:
            cut.write(f.read(1 << 20))
        for model, options, code, words in ((bad, (), "LATENT_EUNSUPPORTED", bad), (bad + "2", (), "LATENT_E", bad + "2"),
                                            ("/nonexistent.gguf", (), "LATENT_ENOTFOUND", "model /nonexistent.gguf: No such file"),
                                            ("", ("--device", "nonesuch"), "LATENT_EDEVICE", "nonesuch"),
                                            ("", ("--frobnicate",), "LATENT_EINVAL", "unknown option --frobnicate"),
                                            ("", ("--socket", "/x"), "LATENT_EINVAL", "--private")):
            with Host(self.data, model, options) as h:
                answer = h("connect")
                self.assertTrue(answer.startswith(f"error {code}"), answer)
                self.assertIn(words, answer)
                self.assertEqual(h("audit"), "done")
                self.assertEqual(h("search", "x"), "error LATENT_ECONN not connected")

    def test_damaged_store(self):
        os.mkdir(self.data, 0o700)
        with open(os.path.join(self.data, "store.db"), "wb") as f:
            f.write(b"x" * 8192)
        with Host(self.data) as h:
            self.check(h("connect"), "LATENT_ECORRUPT", "store.db", "latent check tells more")

    def test_other_model(self):
        with Host(self.data) as first, Host(self.data, os.path.join(SRC, "tests", "golden", "decoders", "mistral.gguf")) as second:
            self.assertEqual(first("connect"), "ok")
            self.check(second("connect"), "LATENT_EMODEL", "serves", "latent-mini-q8_0.gguf")
            link = os.path.join(self.root, "link.gguf")
            os.symlink(os.path.join(SRC, "models", "latent-mini-q8_0.gguf"), link)
            with Host(self.data, link) as third:
                self.assertEqual(third("connect"), "ok")

    def test_daemon_that_does_not_answer(self):
        with Host(self.data) as first, Host(self.data) as second:
            self.assertEqual(first("connect"), "ok")
            pid = first.pid()
            os.kill(pid, signal.SIGSTOP)
            self.assertEqual(second("timeout", 200), "ok")
            self.assertRegex(second("connect"), "^error LATENT_E(TIMEOUT|LOCKED) ")
            self.assertEqual([second("audit"), second("timeout", 0)], ["done", "ok"])
            second.send("connect")
            time.sleep(6)  # longer than it waits for an answer
            os.kill(pid, signal.SIGCONT)
            self.assertEqual(second.answer(), "ok")
            self.assertEqual(second.pid(), pid)

    def test_giving_up(self):
        script = os.path.join(self.root, "latentd")
        with open(script, "w") as f:
            f.write("#!/bin/sh\nwhile :; do sleep 1; done\n")
        os.chmod(script, 0o755)
        with Host(self.data, env={"LATENTD_PROGRAM": script}) as h:
            self.assertEqual(h("patience", 3), "ok")
            self.check(h("connect"), "LATENT_ECANCELLED", "given up")
            self.assertEqual([h("timeout", 100), h("patience", -1)], ["ok", "ok"])
            self.check(h("connect"), "LATENT_ETIMEOUT")
            self.assertEqual(h("audit"), "done")

    def test_forged_lock(self):
        """What stands in a lock that nobody holds leads nowhere."""
        os.mkdir(self.data, 0o700)
        with Daemon() as other:
            for text in (b"", b"x" * 5000, b"12\n" + other.socket.encode() + b"\n", b"12\n/nonexistent\n"):
                with open(os.path.join(self.data, "lock"), "wb") as f:
                    f.write(text)
                with Host(self.data) as h:
                    self.assertEqual(h("connect"), "ok", text)
                    self.assertIn(f"data {self.data}", h("status"))
                    os.kill(h.pid(), signal.SIGKILL)

    def test_joins_a_daemon_with_a_socket_elsewhere(self):
        for relative in (False, True):
            d = Daemon()
            if relative:
                d.wrap = lambda command, d=d: ["sh", "-c", 'cd "$0" && exec "$@"', d.folder,
                                               *("latentd.sock" if a == d.socket else a for a in command)]
            with d, Host(d.data) as h:
                self.assertEqual(h("connect"), "ok")
                self.assertEqual(h.pid(), d.process.pid)


if __name__ == "__main__":
    main()
