#!/usr/bin/env python3
"""A latentd of a program's own: started by the library, shared, outlived and gone again."""
import json
import os
import random
import signal
import socket
import subprocess
import time

from harness import BUILD, CALL_S, Daemon, LATENT, main, needs_faults
from private_host import Host, HOST, SEED, PrivateTest, ended, locked_by, until
from wire import Wire


class Private(PrivateTest):
    def test_starts_and_ends_by_itself(self):
        with Host(self.data) as h:
            self.assertEqual(h("connect"), "ok")
            pid = h.pid()
            self.assertEqual([h("create"), h("add", "a edit photographs"), h("search", "pictures")], ["ok", "ok", "a found"])
            self.assertEqual(sorted(os.stat(os.path.join(self.data, n)).st_mode & 0o777 for n in ("latentd.sock", "lock", "latentd.log")),
                             [0o600] * 3)
            self.assertEqual(h("close"), "ok")
            until(ended, pid)  # the program goes on
            self.assertFalse(os.path.exists(os.path.join(self.data, "latentd.sock")))
            self.assertEqual(locked_by(self.data), 0)
            self.check(h("search", "pictures"), "LATENT_ECONN", "not connected")
            self.assertEqual([h("connect"), h("search", "pictures")], ["ok", "a found"])
            self.assertNotEqual(h.pid(), pid)
        with open(os.path.join(self.data, "latentd.log")) as f:
            log = f.read()
        self.assertIn("ready after", log)
        self.assertNotIn("not latentd's", log)

    def test_the_program_is_left_as_it_is(self):
        """And what it is does not reach the daemon."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
            notices.bind(os.path.join(self.root, "notify"))
            notices.setblocking(False)
            with Host(self.data, env={"NOTIFY_SOCKET": os.path.join(self.root, "notify"), "LISTEN_FDS": "1"}) as h:
                self.assertEqual([h("audit"), h("connect"), h("audit")], ["done", "ok", "done"])
                pid = h.pid()
                with open(f"/proc/{pid}/status") as f:
                    status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
                self.assertNotEqual(int(status["PPid"]), h.process.pid)
                self.assertEqual(int(status["SigBlk"], 16), 0)
                self.assertEqual(int(status["SigIgn"], 16) & ~(1 << signal.SIGPIPE - 1), 0)
                self.assertEqual(os.getsid(pid), pid)
                self.assertEqual(os.readlink(f"/proc/{pid}/cwd"), "/")
                opened = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
                self.assertNotIn(HOST, opened)
                self.assertEqual({os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (1, 2)}, {os.path.join(self.data, "latentd.log")})
                os.kill(pid, signal.SIGKILL)
                until(ended, pid)
                self.check(h("status"), "LATENT_ECONN")
                self.assertEqual([h("audit"), h("connect"), h("close"), h("audit")], ["done", "ok", "ok", "done"])
            with self.assertRaises(BlockingIOError):
                notices.recv(100)

    def test_programs_share_it(self):
        """Whoever comes first; in each round from what a killed daemon has left behind."""
        for i in range(2):
            hosts = [Host(self.data) for _ in range(4)]
            for h in hosts:
                h.send("connect")
            self.assertEqual([h.answer() for h in hosts], ["ok"] * 4)
            self.assertEqual(len({h.pid() for h in hosts}), 1)
            self.assertEqual(hosts[0]("create").startswith("error"), i > 0)
            for n, h in enumerate(hosts):
                self.assertEqual(h("add", f"round{i}-{n} edit photographs"), "ok")
            self.assertEqual(len(hosts[-1]("search", "pictures").split()), min(4 * (i + 1), 10) + 1)
            os.kill(hosts[0].pid(), signal.SIGKILL)
            for h in hosts:
                self.check(h("search", "pictures"), "LATENT_ECONN")
                h.__exit__()

    def test_first_comes_as_the_last_leaves(self):
        """Around the moment at which the daemon ends."""
        print("SEED", SEED)
        rng = random.Random(SEED)
        with Host(self.data) as h:
            for _ in range(4):
                self.assertEqual([h("connect"), h("close")], ["ok", "ok"])
                time.sleep(1 + rng.uniform(-0.02, 0.08))

    def test_killed_program(self):
        """Nothing that was acknowledged is lost, and the daemon does not stay."""
        with Host(self.data) as h:
            self.assertEqual([h("connect"), h("create"), h("add", "a edit photographs")], ["ok"] * 3)
            self.assertEqual(h("add", "120 x a text that waits to be embedded while its program is gone " * 8), "ok")
            pid = h.pid()
            h.kill()
        until(ended, pid)
        with Host(self.data) as h:
            self.assertEqual(h("connect"), "ok")
            self.assertIn("pending 0 ", h("status"))  # the daemon had stayed for them
            self.assertEqual(h("search", "edit photographs").split()[0], "a")
            self.assertEqual(len(h("search", "embedded").split()), 11)

    @needs_faults
    def test_work_that_does_not_get_on(self):
        with Host(self.data, env={"LATENTD_FAULT": "embed.batch=always"}) as h:
            self.assertEqual([h("connect"), h("create"), h("add", "2 x texts that are not embedded")], ["ok"] * 3)
            pid = h.pid()
        until(ended, pid)
        with Host(self.data) as h:
            self.assertEqual(h("connect"), "ok")
            until(lambda: "pending 0 " in h("status"))
            self.assertEqual(len(h("search", "embedded").split()), 3)

    def test_program_killed_while_it_starts_one(self):
        print("SEED", SEED)
        rng = random.Random(SEED)
        for _ in range(4):
            with Host(self.data) as h:
                h.send("connect")
                time.sleep(rng.uniform(0, 0.4))
                h.kill()
        until(lambda: not locked_by(self.data))
        with Host(self.data) as h:
            self.assertEqual([h("connect"), h("create")], ["ok", "ok"])

    def test_killed_daemon(self):
        with Host(self.data) as h:
            self.assertEqual([h("connect"), h("create"), h("add", "a edit photographs")], ["ok"] * 3)
            os.kill(h.pid(), signal.SIGKILL)
            self.check(h("search", "pictures"), "LATENT_ECONN")
            self.assertEqual([h("connect"), h("search", "pictures")], ["ok", "a found"])

    def latent(self, *args, code=0, stdin=None):
        got = subprocess.run([LATENT, "--private", self.data, *args], capture_output=True, text=True, timeout=CALL_S, input=stdin)
        self.assertEqual(got.returncode, code, got.stdout + got.stderr)
        return got

    def test_command_line(self):
        self.latent("collection", "create", "notes")
        pid = json.loads(self.latent("status", "--json").stdout)["pid"]
        stay = Wire(os.path.join(self.data, "latentd.sock"))
        self.addCleanup(stay.socket.close)
        self.latent("add", "-c", "notes", "--jsonl", "-", stdin='{"id":"a","text":"retouch pictures"}\n{"id":"b","text":"a shell"}\n')
        self.assertIn("a", self.latent("search", "-c", "notes", "edit photographs").stdout.splitlines()[0])
        self.assertEqual(json.loads(self.latent("status", "--json").stdout)["pid"], pid)
        for args, words in ((["--model", "/nonexistent", "status"], "/nonexistent: No such file"), (["check"], "--data"),
                            (["--socket", "/x", "status"], "--private goes without")):
            self.assertIn(words, self.latent(*args, code=2).stderr)
        # by a name that is not where it is, with nothing said about latentd
        got = subprocess.run(["./latent", "--private", self.data + "2", "collection", "list"], capture_output=True, text=True, timeout=CALL_S,
                             cwd=os.path.dirname(LATENT), env={**os.environ, "PATH": "/nonexistent"})
        self.assertEqual(got.returncode, 0, got.stderr)
        got = subprocess.run([LATENT, "--model", "x", "status"], capture_output=True, text=True, timeout=CALL_S)
        self.assertEqual(got.returncode, 2)
        self.assertIn("--private DIR", got.stderr)

    def test_example(self):
        for query, best in (("hot drinks", "tea"), ("public transport", "trains")):
            got = subprocess.run([os.path.join(BUILD, "clients", "c", "latent_example_private"), self.data, query], capture_output=True,
                                 text=True, timeout=CALL_S)
            self.assertEqual(got.returncode, 0, got.stderr)
            self.assertRegex(got.stdout.splitlines()[0], rf"^0\.\d+ {best}$")

    def test_idle_exit_of_others(self):
        with Daemon("--idle-exit", "1", wait=None) as d:
            connection = None
            while not connection:
                try:
                    connection = Wire(d.socket)
                except OSError:
                    if d.process.poll() is not None:
                        d.start()  # it had ended before anybody came
                    time.sleep(0.02)
            with connection, Host(d.data) as h:
                self.assertEqual(h("connect"), "ok")
                self.assertEqual(h.pid(), d.process.pid)
                time.sleep(1.5)
                self.assertIsNone(d.process.poll())
            self.assertEqual(d.process.wait(CALL_S), 0)
            self.assertFalse(os.path.exists(d.socket))


if __name__ == "__main__":
    main()
