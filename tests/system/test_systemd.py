#!/usr/bin/env python3
"""The units, and the daemon under a manager: this test plays systemd's part, with sockets passed in and notifications read."""
import contextlib
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
import unittest

from harness import BUILD, CALL_S, Daemon, LATENT, LATENTD, QUICK_MODEL, SRC, START_S, main, needs_faults
from wire import STATUS, Wire

ANALYZE = shutil.which("systemd-analyze")


@unittest.skipUnless(ANALYZE, "no systemd-analyze here")
class Units(unittest.TestCase):
    """As installed, but for the program's place."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="latentd-units-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def unit(self, source, name):
        with open(source) as f:
            text, n = re.subn(r"(?m)^(ExecStart=)\S+", r"\g<1>" + LATENTD, f.read())
        self.assertEqual(n, 0 if name.endswith(".socket") else 1)
        path = os.path.join(self.folder, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def analyze(self, *args):
        got = subprocess.run([ANALYZE, "--no-pager", *args], capture_output=True, text=True, timeout=CALL_S,
                             env=dict(os.environ, XDG_RUNTIME_DIR=self.folder))
        self.assertEqual(got.returncode, 0, got.stdout + got.stderr)
        return got.stdout, got.stderr

    def test_system_units(self):
        service = self.unit(os.path.join(BUILD, "dist", "latentd.service"), "latentd.service")
        unix = self.unit(os.path.join(SRC, "dist", "systemd", "latentd.socket"), "latentd.socket")
        _, complaints = self.analyze("verify", "--man=no", service, unix)
        self.assertNotIn("latentd", complaints)
        # Tenths of systemd's exposure level, of which 10 is the worst; above the threshold it fails.
        out, _ = self.analyze("security", "--offline=true", "--threshold=20", service)
        self.assertIn("Overall exposure level", out)

    def test_user_unit(self):
        service = self.unit(os.path.join(BUILD, "dist", "latentd-user.service"), "latentd.service")
        _, complaints = self.analyze("--user", "verify", "--man=no", service)
        self.assertNotIn("latentd", complaints)

    def test_bad_settings_are_not_read_again(self):
        """Exit status 2 says that starting once more makes no difference."""
        got = subprocess.run([LATENTD, "--nonesuch"], capture_output=True, timeout=CALL_S)
        self.assertEqual(got.returncode, 2)
        for name in ("latentd.service", "latentd-user.service"):
            with open(os.path.join(BUILD, "dist", name)) as f:
                self.assertRegex(f.read(), r"(?m)^RestartPreventExitStatus=2$")

    def test_options_of_the_unit_are_known(self):
        """ExecStart's options, with a settings file that is there."""
        with open(os.path.join(BUILD, "dist", "latentd.service")) as f:
            args = re.search(r"(?m)^ExecStart=\S+ (.*)$", f.read()).group(1).split()
        args[args.index("--config") + 1] = os.path.join(SRC, "dist", "latentd.conf")
        got = subprocess.run([LATENTD, *args, "--help"], capture_output=True, text=True, timeout=CALL_S)
        self.assertEqual((got.returncode, got.stderr), (0, ""))


class Devices(unittest.TestCase):
    def test_gpus_are_in_reach(self):
        """The service's own user may open the nodes of GPUs: by these groups, and no other devices by a wider setting."""
        with open(os.path.join(BUILD, "dist", "latentd.service")) as f:
            unit = f.read()
        self.assertEqual(re.findall(r"(?m)^SupplementaryGroups=(.*)$", unit), ["render video"])
        allowed = re.findall(r"(?m)^DeviceAllow=(\S+)", unit)
        self.assertIn("char-drm", allowed)
        self.assertNotRegex(unit, r"(?m)^(PrivateDevices=(yes|true|1|on)|DevicePolicy=auto)")


class Manager(Daemon):
    """Starts the daemon as systemd would: sockets from descriptor 3 on, the notification socket's name in the environment."""

    def __init__(self, sockets, *args, pid="$$", journal=lambda st: "0:0", **more):
        super().__init__(*args, wait=None, **more)
        self.sockets, self.pid, self.journal = sockets, pid, journal
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notices.settimeout(START_S)
        self.notices.bind(os.path.join(self.folder, "notify"))

    def start(self):
        kept = [s.fileno() for s in self.sockets]
        # Copied high first, so that none is overwritten on its way down to 3.
        high = "".join(f"exec {50 + i}>&{fd}; " for i, fd in enumerate(kept))
        down = "".join(f"exec {3 + i}>&{50 + i} {50 + i}>&-; " for i in range(len(kept)))
        script = f'{high}{down}export LISTEN_PID={self.pid} LISTEN_FDS={len(kept)}; exec "$0" "$@"'
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", script, LATENTD, "--data", self.data, "--socket", self.socket, *self.args], pass_fds=kept,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=dict(self.env, NOTIFY_SOCKET=os.path.join(self.folder, "notify"), JOURNAL_STREAM=self.journal(os.fstat(log.fileno()))))
        return self

    def notice(self):
        return self.notices.recv(4096).decode()

    def __exit__(self, *what):
        self.notices.close()
        super().__exit__(*what)


def listening(path):
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.listen(16)
    return s


class Activation(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="latentd-activation-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.path = os.path.join(self.folder, "passed.sock")

    def test_socket_passed_in(self):
        with listening(self.path) as passed:
            with socket.socket(socket.AF_UNIX) as early:
                early.connect(self.path)  # before there is a daemon: it waits in the kernel's queue
                with Manager([passed]) as d:
                    self.assertEqual(d.notice(), "READY=1")
                    early.settimeout(START_S)
                    early.sendall(b"latentd\0\1\0\0\0\0\0\0\0")
                    self.assertEqual(early.recv(16)[:8], b"latentd\0")
                    with Wire(self.path) as w:
                        self.assertEqual(w.call(STATUS, []).body(STATUS)[2], [4])  # ready when it said so
                    self.assertFalse(os.path.exists(d.socket))  # none of its own beside it
                    self.assertEqual(d.stop(), 0)
                    self.assertEqual(d.notice(), "STOPPING=1")
            # It is the manager's: the next daemon takes it over with all that came meanwhile.
            self.assertTrue(os.path.exists(self.path))
            with Manager([passed]) as d:
                self.assertEqual(d.notice(), "READY=1")
                with Wire(self.path) as w:
                    self.assertEqual(w.call(STATUS, []).code, 0)

    def test_first_command_starts_and_waits(self):
        """The command line's first request, which has a daemon started, is answered like any other."""
        with listening(self.path) as passed:
            first = subprocess.Popen([LATENT, "--socket", self.path, "collection", "create", "c"], stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True)
            passed.settimeout(START_S)
            select.select([passed], [], [], START_S)  # it has come
            with Manager([passed]) as d:
                out, said = first.communicate(timeout=CALL_S)
                self.assertEqual(first.returncode, 0, said)
                self.assertIn("c ", out)
                self.assertEqual(d.notice(), "READY=1")

    def test_unix_and_tcp_passed_in(self):
        with listening(self.path) as unix, socket.create_server(("127.0.0.1", 0)) as tcp:
            with Manager([tcp, unix]) as d:
                self.assertEqual(d.notice(), "READY=1")
                with Wire(self.path) as w:
                    key = w.call(STATUS, []).body(STATUS)[23][0].decode()
                self.assertIn(f"127.0.0.1:{tcp.getsockname()[1]}, server key {key}", d.log_text())
                with socket.create_connection(tcp.getsockname()[:2], timeout=START_S) as s:
                    s.sendall(b"latentd\0\1\0\0\0\0\0\0\0")  # a plain session
                    self.assertEqual(s.recv(16)[12:], b"\x13\0\0\0")  # LT_EAUTH: TCP takes none, passed in or not

    def test_sockets_meant_for_another_process(self):
        with listening(self.path) as passed, Manager([passed], pid="1") as d:
            self.assertEqual(d.notice(), "READY=1")
            with Wire(d.socket) as w:
                self.assertEqual(w.call(STATUS, []).code, 0)

    def test_what_is_no_listening_socket_is_left_out(self):
        with listening(self.path) as passed, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.socket() as idle, \
                open("/dev/null", "rb") as file:
            datagrams.bind(("127.0.0.1", 0))
            idle.bind(("127.0.0.1", 0))
            with Manager([file, datagrams, idle, passed]) as d:
                self.assertEqual(d.notice(), "READY=1")
                for fd in (3, 4, 5):
                    self.assertIn(f"descriptor {fd}, which was passed", d.log_text())
                self.assertNotIn("descriptor 6,", d.log_text())
                with Wire(self.path) as w:
                    self.assertEqual(w.call(STATUS, []).code, 0)

    def test_more_sockets_than_are_taken(self):
        """Whoever connects to one of them would wait for ever: none is left out without a word."""
        with listening(self.path) as passed, contextlib.ExitStack() as stack:
            with Manager([passed] + [stack.enter_context(passed.dup()) for _ in range(16)]) as d:
                self.assertEqual(d.process.wait(START_S), 1)
                self.assertIn("more than 16 sockets were passed in", d.log_text())

    def test_lines_in_the_journal(self):
        """The journal has a time and a level for each line; another file has neither, though systemd started the daemon."""
        with listening(self.path) as passed:
            for journal, line in ((lambda st: f"{st.st_dev}:{st.st_ino}", r"(?m)^<6>daemon: ready after"),
                                  (lambda st: f"{st.st_dev}:{st.st_ino + 1}", r"(?m)^\d{4}-\S+Z info  daemon: ready after")):
                with Manager([passed], journal=journal) as d:
                    self.assertEqual(d.notice(), "READY=1")
                    self.assertRegex(d.log_text(), line)

    @needs_faults
    def test_a_stop_does_not_wait_for_a_large_model(self):
        """It is no failure either, which the manager would show and start anew after."""
        held = os.path.join(self.folder, "held")
        open(held, "w", encoding="ascii").close()
        with listening(self.path) as passed, Manager([passed], env={"LATENTD_FAULT": f"load.deaf={held}"}) as d:
            with Wire(self.path) as w:
                while w.call(STATUS, []).body(STATUS).get(2) != [1]:  # it loads its model
                    self.assertIsNone(d.process.poll())
                self.assertEqual(d.stop(), 0)
                self.assertEqual(w.socket.recv(1), b"")
            self.assertIn("stopped while it was loading", d.log_text())
        with Daemon(*QUICK_MODEL, env={"LATENTD_FAULT": f"load.deaf={held}"}, wait="loading model") as d:
            self.assertEqual(d.stop(), 0)
            self.assertEqual(sorted(os.listdir(d.folder)), ["data", "log"])

    def test_failed_start_is_not_ready(self):
        with listening(self.path) as passed, Manager([passed], "--model", "/nonexistent.gguf") as d:
            self.assertEqual(d.process.wait(CALL_S), 1)
            self.assertEqual(d.notice(), "STOPPING=1")
            self.assertIn("/nonexistent.gguf", d.log_text())


if __name__ == "__main__":
    main()
