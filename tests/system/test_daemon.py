#!/usr/bin/env python3
"""The daemon as a process: start, stop, sockets, keys, priorities, and the example of the client library."""
import base64
import grp
import json
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
import unittest

from harness import BUILD, CALL_S, Daemon, LATENT, LATENTD, QUICK_MODEL, SLOW_DEVICE, SRC, main, needs_faults


class Process(unittest.TestCase):
    def test_second_daemon_on_the_same_folder_names_the_first(self):
        with Daemon() as d:
            got = subprocess.run([LATENTD, "--data", d.data, "--socket", d.socket + "2"], capture_output=True, text=True,
                                 timeout=CALL_S)
            self.assertNotEqual(got.returncode, 0)
            self.assertIn(str(d.process.pid), got.stderr)

    def test_second_daemon_on_the_same_socket_is_refused(self):
        with Daemon() as d:
            got = subprocess.run([LATENTD, "--data", d.data + "2", "--socket", d.socket], capture_output=True, text=True,
                                 timeout=CALL_S)
            self.assertNotEqual(got.returncode, 0)
            self.assertEqual(d.status()["phase"], "ready")

    @needs_faults
    def test_two_that_start_at_once_on_a_stale_socket(self):
        """One has found that nobody serves there, and has not removed it yet, when the other comes: which would bind, and then be removed."""
        with tempfile.TemporaryDirectory(prefix="latentd-test-") as folder:
            hold = os.path.join(folder, "hold")
            with Daemon(*QUICK_MODEL, env={"LATENTD_FAULT": f"listen.stale={hold}"}) as first:
                first.kill()
                second = Daemon(*QUICK_MODEL, "--idle-exit", "1", folder=first.folder, wait=None)
                second.data, second.log_path = first.data + "2", first.log_path + "2"
                first.wait_for = None
                with open(hold, "w"):
                    first.start()
                try:
                    while "nobody serves there any more" not in first.log_text():
                        self.assertIsNone(first.process.poll(), first.log_text())
                        time.sleep(0.02)
                    self.assertEqual(second.start().process.wait(CALL_S), 1, second.log_text())
                    self.assertIn(f"LT_ELOCKED: {first.socket}: another process is about to serve there, or just ends", second.log_text())
                finally:
                    os.unlink(hold)
                first.wait("ready")
                self.assertEqual(first.status()["pid"], first.process.pid)
                self.assertEqual(second.start().process.wait(CALL_S), 1, second.log_text())
                self.assertIn(f"LT_ELOCKED: another process (pid {first.process.pid}) serves on {first.socket}", second.log_text())
                self.assertEqual(first.status()["pid"], first.process.pid)

    def test_stale_socket_is_replaced(self):
        with Daemon() as d:
            d.kill()
            self.assertTrue(os.path.exists(d.socket))
            d.start()
            self.assertEqual(d.status()["phase"], "ready")
            self.assertEqual(d.stop(), 0)
            self.assertEqual([name for name in os.listdir(d.folder) if name.startswith("latentd.sock")], [])

    def test_socket_is_the_users_own_and_goes_at_the_end(self):
        with Daemon() as d:
            self.assertEqual(stat.S_IMODE(os.stat(d.socket).st_mode), 0o600)
            self.assertEqual(d.stop(), 0)
            self.assertFalse(os.path.exists(d.socket))

    def test_started_with_nothing_open(self):
        """What it opens never takes the numbers of standard input, output and error, into which the log would then go."""
        d = Daemon()
        d.wrap = lambda command: ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command]
        with d:
            for fd in (0, 1, 2):
                self.assertEqual(os.readlink(f"/proc/{d.process.pid}/fd/{fd}"), "/dev/null")
            d.latent("collection", "create", "c")
            d.add("c", [{"id": "a", "text": "retouch pictures"}])
            with open(os.path.join(d.data, "lock")) as f:
                self.assertEqual(f.read(), f"{d.process.pid}\n{d.socket}\n")

    def test_is_found_by_its_name(self):
        with Daemon() as d:
            with open(f"/proc/{d.process.pid}/comm", encoding="ascii") as f:
                self.assertEqual(f.read(), "latentd\n")

    def test_few_descriptors(self):
        """However few files may be open, the daemon says what is wrong, or starts."""
        with tempfile.TemporaryDirectory(prefix="latentd-test-") as folder:
            codes = set()
            for n in [*range(4, 26), 32, 64]:
                got = subprocess.run([LATENTD, "--data", os.path.join(folder, "data"), "--socket", os.path.join(folder, "s"), *QUICK_MODEL,
                                      "--device", "cpu", "--idle-exit", "1"], capture_output=True, text=True, timeout=CALL_S,
                                     preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)))
                self.assertIn(got.returncode, (0, 1), (n, got.stderr))
                if got.returncode:
                    self.assertRegex(got.stderr, r" error daemon: LT_E\w+: .*(files|descriptors)", n)
                codes.add(got.returncode)
            self.assertEqual((codes, got.returncode), ({0, 1}, 0))

    @needs_faults
    def test_no_thread_for_the_writer(self):
        """With too few threads allowed (TasksMax, ulimit -u): it says so, however far it has come."""
        with Daemon(*QUICK_MODEL, wait=None, env={"LATENTD_FAULT": "writer.thread=always"}) as d:
            self.assertEqual(d.process.wait(CALL_S), 1)
            self.assertIn("cannot start the writer thread", d.log_text())

    def test_interrupt_and_hangup_stop_cleanly_too(self):
        self.addCleanup(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, signal.SIG_DFL))  # the suites may run under nohup
        for number in (signal.SIGINT, signal.SIGHUP):
            with Daemon(*QUICK_MODEL) as d:
                d.process.send_signal(number)
                self.assertEqual(d.process.wait(CALL_S), 0, number)
                self.assertFalse(os.path.exists(d.socket), number)

    def test_a_hangup_that_is_ignored(self):
        d = Daemon(*QUICK_MODEL)
        d.wrap = lambda command: ["nohup", *command]
        with d:
            d.process.send_signal(signal.SIGHUP)
            self.assertEqual(d.status()["phase"], "ready")

    def test_used_wrongly(self):
        folder = tempfile.mkdtemp(prefix="latentd-never-")
        self.addCleanup(shutil.rmtree, folder)
        data, socket_path = os.path.join(folder, "data"), os.path.join(folder, "sock")
        for args in (["--frobnicate"], ["--listen", "nowhere"], ["--log-level", "loud"], ["serve"], ["import"],
                     ["--config", "/nonexistent.conf"]):
            got = subprocess.run([LATENTD, "--data", data, "--socket", socket_path, *args]
                                 if args[0] not in ("import", "serve") else [LATENTD, *args],
                                 capture_output=True, text=True, timeout=CALL_S)
            self.assertIn(got.returncode, (1, 2), args)
            self.assertTrue(got.stderr, args)
        self.assertFalse(os.path.exists(socket_path))

    def test_config_file(self):
        with Daemon(wait=None) as d:
            d.stop()
            path = os.path.join(d.folder, "latentd.conf")
            with open(path, "w") as f:
                f.write(f"# a comment\ndata = {d.data}\nsocket = {d.socket}\nno-such-setting = 1\n")
            got = subprocess.run([LATENTD, "--config", path], capture_output=True, text=True, timeout=CALL_S)
            self.assertNotEqual(got.returncode, 0)
            self.assertIn("4", got.stderr)
            self.assertIn("no-such-setting", got.stderr)

    def test_unknown_device_names_those_there_are(self):
        with Daemon(device="nonesuch", wait=None) as d:
            self.assertNotEqual(d.process.wait(CALL_S), 0)
            self.assertRegex(d.log_text(), "nonesuch.*cpu")

    def test_damaged_model_file(self):
        with Daemon(wait=None) as d:
            d.stop()
            path = os.path.join(d.folder, "bad.gguf")
            with open(path, "wb") as f:
                f.write(b"GGUF" + bytes(100))
            got = subprocess.run([LATENTD, "--data", d.data, "--socket", d.socket, "--model", path], capture_output=True,
                                 text=True, timeout=CALL_S)
            self.assertNotEqual(got.returncode, 0)
            self.assertIn("bad.gguf", got.stderr)

    def test_auto_never_takes_a_software_driver(self):
        with Daemon(device="auto") as d:
            status = d.status()
            self.assertEqual(status["device_kind"], "cpu")
            self.assertEqual(status.get("device_note", ""), "")  # nothing that was asked for is missing

    def test_model_file_is_overruled(self):
        """With causal mask and the first token's vector, what comes after it cannot matter; with the full mask it does."""
        model = os.path.join(SRC, "tests", "golden", "decoders", "mistral.gguf")
        texts = ['{"ids":[1,20,21]}', '{"ids":[1,30,31,32]}']

        def run(*args):
            with Daemon("--model", model, *args) as d:
                got = d.json_lines("embed", "--ids", stdin="\n".join(texts) + "\n")
                return d.status(), [g["embedding"] for g in got]

        plain, vectors = run()
        self.assertEqual((plain["mask"], plain["pooling"], plain["dim"]), ("causal", "mean", 32))
        self.assertNotEqual(vectors[0], vectors[1])
        causal, vectors = run("--pooling", "cls")
        self.assertEqual((causal["mask"], causal["pooling"]), ("causal", "cls"))
        self.assertEqual(vectors[0], vectors[1])
        full, vectors = run("--pooling", "cls", "--mask", "full")
        self.assertEqual((full["mask"], full["pooling"]), ("full", "cls"))
        self.assertNotEqual(vectors[0], vectors[1])
        cut, vectors = run("--dim", "16")
        self.assertEqual((cut["dim"], len(vectors[0])), (16, 16))
        self.assertAlmostEqual(sum(x * x for x in vectors[0]), 1, places=5)
        # Vectors of different kinds never meet in a collection.
        self.assertEqual(len({s["fingerprint"] for s in (plain, causal, full, cut)}), 4)

    def test_llvmpipe_when_named(self):
        with Daemon(device="LLVMpipe") as d:
            s = d.status()
            self.assertEqual(s["device_kind"], "vulkan")
            self.assertIn("llvmpipe", s["device"])
            d.latent("collection", "create", "c")
            d.add("c", [{"id": "a", "text": "retouch pictures"}, {"id": "b", "text": "a shell"}])
            self.assertEqual(d.search("c", "--mode", "dense", "edit photographs")[0]["id"], "a")

    @needs_faults
    def test_cpu_takes_over_from_a_lost_device(self):
        # Submissions of fixed size: else a slow machine would make more of them at the start than the sixty.
        with Daemon(*QUICK_MODEL, device="llvmpipe", env={"LATENTD_FAULT": "gpu_small_submits=always,gpu_submit:60=always"}) as d:
            s = d.status()
            self.assertEqual((s["device_kind"], s["device_note"]), ("vulkan", ""))
            d.latent("collection", "create", "c")
            for i in range(100):
                d.add("c", [{"id": str(i), "text": f"retouch picture {i}"}])
                s = d.status()
                if s["device_kind"] == "cpu":
                    break
            self.assertEqual(s["device_kind"], "cpu")
            self.assertRegex(s["device_note"], "llvmpipe.* was lost")
            self.assertEqual(len(d.search("c", "--mode", "dense", "edit photographs")), min(i + 1, 10))

    def test_library_example(self):
        with Daemon() as d:
            d.latent("collection", "create", "c")
            d.add("c", [{"id": "a", "text": "retouch pictures"}, {"id": "b", "text": "a shell"}])
            got = subprocess.run([os.path.join(BUILD, "clients", "c", "latent_example"), "c", "edit photographs"],
                                 capture_output=True, text=True, timeout=CALL_S,
                                 env=dict(os.environ, LATENTD_SOCKET=d.socket))
            self.assertEqual(got.returncode, 0, got.stderr)
            self.assertRegex(got.stdout.splitlines()[0], r"^0\.\d+ a$")

    def test_queries_overtake_bulk(self):
        """While hundreds of long texts wait for the device, a search is answered before they are done."""
        with Daemon(env=SLOW_DEVICE) as d:
            d.latent("collection", "create", "c")
            d.add("c", [{"id": "first", "text": "retouch pictures"}])
            text = "the quick brown fox jumps over the lazy dog and runs away into the woods " * 20
            d.add("c", [{"id": str(i), "text": f"{i} {text}"} for i in range(600)], "--async")
            self.assertEqual(d.search("c", "--mode", "dense", "edit photographs")[0]["id"], "first")
            self.assertGreater(d.status()["queue"]["pending_chunks"], 0)


def user_command(d, *args, uid=4242, gid=4242, groups="--clear-groups"):
    return ["setpriv", f"--reuid={uid}", f"--regid={gid}", groups, LATENT, "--socket", d.socket, *args]


def as_user(d, *args, **who):
    got = subprocess.run(user_command(d, *args, **who), capture_output=True, text=True, timeout=CALL_S)
    return got.returncode, got.stderr


@unittest.skipUnless(os.geteuid() == 0, "only root can be another user")
class Users(unittest.TestCase):
    def test_by_account(self):
        """A user who belongs to the group, by a process that does not have it."""
        user = pwd.getpwnam("daemon")
        with Daemon(*QUICK_MODEL, "--allow-group", grp.getgrgid(user.pw_gid).gr_name) as d:
            os.chmod(d.folder, 0o755)
            os.chmod(d.socket, 0o666)
            self.assertEqual(as_user(d, "collection", "create", "c", uid=user.pw_uid), (0, ""))
            self.assertEqual(as_user(d, "collection", "list", uid=4242)[0], 2)
            self.assertIn("user 4242 tried the Unix socket", d.log_text())

    @needs_faults
    def test_accounts_that_do_not_answer(self):
        """Whom nobody knows waits, and nobody else; nor does the end."""
        with Daemon(*QUICK_MODEL, "--allow-group", grp.getgrgid(os.getgid()).gr_name, env={"LATENTD_FAULT": "members.hang=always"}) as d:
            os.chmod(d.folder, 0o755)
            os.chmod(d.socket, 0o666)
            strangers = [subprocess.Popen(user_command(d, "status"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(3)]
            d.latent("collection", "create", "c")
            self.assertEqual(as_user(d, "collection", "list", gid=os.getgid())[0], 0)
            for p in strangers:
                self.assertIn("this user may not use its socket (LATENT_EPERM)", p.communicate(timeout=CALL_S)[1])
                self.assertEqual(p.returncode, 2)
            self.assertIn("nobody says in time whether user 4242 belongs to the group of allow-group", d.log_text())
            late = subprocess.Popen(user_command(d, "status"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.assertEqual(d.stop(), 0)
            late.wait(CALL_S)

    def test_other_users(self):
        """By the socket's mode, by the peer's credentials, and by those whom the settings name."""
        with Daemon() as d:
            os.chmod(d.folder, 0o755)
            code, said = as_user(d, "status")
            self.assertEqual(code, 2)
            self.assertIn("LATENT_EPERM", said)
            self.assertIn("allow-users", said)
            os.chmod(d.socket, 0o666)  # a mode that is too wide opens nothing
            for args in (["status"], ["collection", "create", "c"]):
                code, said = as_user(d, *args)
                self.assertEqual(code, 2)
                self.assertIn("this user may not use its socket (LATENT_EPERM)", said)
                self.assertIn("allow-users", said)
                self.assertNotIn("Start one", said)
            self.assertIn("user 4242 tried the Unix socket", d.log_text())
            self.assertEqual(d.status()["collections"], [])
        group = grp.getgrgid(os.getgid()).gr_name
        for args, uid, gid in ((["--allow-users", "4241,4242"], 4242, 4242), (["--allow-group", group], 4242, os.getgid())):
            with Daemon(*args) as d:
                os.chmod(d.folder, 0o755)
                self.assertEqual(as_user(d, "collection", "create", "c", uid=uid, gid=gid), (0, ""), args)
                self.assertEqual(as_user(d, "status", uid=4243)[0], 2, args)
                self.assertEqual([c["name"] for c in d.status()["collections"]], ["c"])
        # Those beside the first one count as well, of a process whose user no list of users has.
        others = [g for g in range(5000, 5400) if g != os.getgid()]
        with Daemon("--allow-group", group) as d:
            os.chmod(d.folder, 0o755)
            os.chmod(d.socket, 0o666)
            for groups, code in (([os.getgid()], 0), (others + [os.getgid()], 0), (others, 2)):
                self.assertEqual(as_user(d, "collection", "list", groups="--groups=" + ",".join(map(str, groups)))[0], code, groups)


class Remote(unittest.TestCase):
    def remote(self, d, key, *args, server_key=None, check=True):
        got = subprocess.run([LATENT, "--connect", f"127.0.0.1:{self.port}", "--server-key", server_key or self.server_key,
                              "--key", key, *args], capture_output=True, text=True, timeout=CALL_S)
        if check:
            self.assertEqual(got.returncode, 0, got.stderr)
        return got

    def key(self, d, name):
        path = os.path.join(d.folder, name)
        got = subprocess.run([LATENT, "key", "generate", "-o", path], capture_output=True, text=True)
        self.assertEqual(got.returncode, 0, got.stderr)
        return path, got.stdout.strip()

    def authorize(self, d, public, *args):
        got = subprocess.run([LATENT, "key", "add", public, "--file", os.path.join(d.data, "authorized_keys"), *args],
                             capture_output=True, text=True)
        self.assertEqual(got.returncode, 0, got.stderr)

    def test_a_client_that_waits_looks_whether_the_daemon_is_there(self):
        """One whose machine lost its power ends no connection, and some calls have no deadline."""
        with Daemon(*QUICK_MODEL, "--listen", "127.0.0.1:0") as d:
            key, public = self.key(d, "key")
            self.authorize(d, public, "--rights", "query")
            with subprocess.Popen([LATENT, "--connect", f"127.0.0.1:{d.port()}", "--server-key", d.status()["server_key"], "--key", key, "embed"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as p:
                p.stdin.write("x\n" * 64)
                p.stdin.flush()
                self.assertIn('"embedding":[', p.stdout.readline())
                timer = "01"  # something is still to be acknowledged
                while timer == "01":
                    with open("/proc/net/tcp", encoding="ascii") as f:
                        timer, = (row[5][:2] for row in map(str.split, f) if (row[2], row[3]) == (f"0100007F:{d.port():04X}", "01"))
                self.assertEqual(timer, "02")  # of keepalive
                p.stdin.close()
                p.stdout.read()
            self.assertEqual(p.returncode, 0)

    def test_strangers_do_not_hold_the_places_of_others(self):
        """Silent connections, and such as begin a handshake and do not go on: more of them than there is room for, before each of ours."""
        for sent, n, connections in ((b"", 70, 512), (b"latentd\0", 70, 512), (b"", 5, 4)):
            with Daemon(*QUICK_MODEL, "--listen", "127.0.0.1:0", "--connections", str(connections)) as d:
                self.port = d.port()
                self.server_key = d.status()["server_key"]
                key, public = self.key(d, "key")
                self.authorize(d, public, "--rights", "query")
                strangers = []
                try:
                    for _ in range(n):
                        strangers.append(socket.create_connection(("127.0.0.1", self.port), timeout=CALL_S))
                        strangers[-1].sendall(sent)
                    self.remote(d, key, "collection", "list")
                    d.latent("collection", "list")
                finally:
                    for s in strangers:
                        s.close()

    def test_many_at_once_do_not_keep_each_other_out(self):
        """More than there are places for strangers: each is answered, in its turn."""
        with Daemon(*QUICK_MODEL, "--listen", "127.0.0.1:0") as d:
            port, many = d.port(), []
            d.process.send_signal(signal.SIGSTOP)
            try:
                for _ in range(100):
                    many.append(socket.create_connection(("127.0.0.1", port), timeout=CALL_S))
                    many[-1].sendall(b"latentd\0\1\0\1" + bytes(5))
                d.process.send_signal(signal.SIGCONT)
                for s in many:
                    self.assertEqual(s.recv(8), b"latentd\0")
            finally:
                d.process.send_signal(signal.SIGCONT)
                for s in many:
                    s.close()

    def test_keys_and_rights(self):
        with Daemon("--listen", "127.0.0.1:0") as d:
            self.port = d.port()
            self.server_key = d.status()["server_key"]
            self.assertRegex(self.server_key, r"^[A-Za-z0-9+/]{43}=$")
            stranger, _ = self.key(d, "stranger.key")
            reader, reader_public = self.key(d, "reader.key")
            writer, writer_public = self.key(d, "writer.key")
            self.authorize(d, reader_public, "--rights", "query", "--collections", "open")
            self.authorize(d, writer_public, "--rights", "admin")
            # a key that nobody authorised
            got = self.remote(d, stranger, "status", check=False)
            self.assertNotEqual(got.returncode, 0)
            self.assertIn("LATENT_EAUTH", got.stderr)
            # the writer may do everything
            for name in ("open", "closed"):
                self.remote(d, writer, "collection", "create", name)
                lines = "".join(json.dumps({"id": str(i), "text": t}) + "\n" for i, t in enumerate(["retouch pictures", "a shell"]))
                path = os.path.join(d.folder, "docs.jsonl")
                with open(path, "w") as f:
                    f.write(lines)
                self.remote(d, writer, "add", "-c", name, "--jsonl", path)
            # the reader may search one collection, and nothing else
            hits = self.remote(d, reader, "search", "-c", "open", "--json", "edit photographs").stdout.splitlines()
            self.assertEqual(json.loads(hits[0])["id"], "0")
            for args in (["search", "-c", "closed", "x"], ["delete", "-c", "open", "0"], ["collection", "drop", "open"],
                         ["collection", "create", "mine"]):
                got = self.remote(d, reader, *args, check=False)
                self.assertEqual(got.returncode, 1, args)
                self.assertIn("LATENT_EPERM", got.stderr)
            # another server's key
            got = self.remote(d, writer, "status", server_key=reader_public, check=False)
            self.assertEqual(got.returncode, 2)
            self.assertIn("without proving that it has the key that was named for it (LATENT_EAUTH)", got.stderr)
            # a revoked key stays outside
            subprocess.run([LATENT, "key", "revoke", reader_public, "--file", os.path.join(d.data, "authorized_keys")], check=True)
            got = self.remote(d, reader, "search", "-c", "open", "x", check=False)
            self.assertIn("LATENT_EAUTH", got.stderr)

    def test_no_keys_are_said_to_be_none(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "keys")
            for words in ("there is no such file", "no keys"):
                got = subprocess.run([LATENT, "key", "list", "--file", path], capture_output=True, text=True)
                self.assertEqual((got.returncode, got.stdout), (0, ""))
                self.assertTrue(got.stderr.startswith(f"{path}: {words}"), got.stderr)
                with open(path, "w") as f:
                    f.write("# nobody yet\n")

    def test_key_add_says_what_it_takes(self):
        """One that would be refused from the first moment on is not added."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "keys")
            public = base64.b64encode(bytes(range(32))).decode()
            today = time.strftime("%Y-%m-%d", time.gmtime())
            for args, words in ((["--expires", "2020-01-31"], "expires on 2020-01-31 would be refused already"),
                                (["--expires", today], f"expires on {today} would be refused already"),
                                (["--expires", "2037-02-30"], 'expires= takes a day, YYYY-MM-DD, not "2037-02-30"'),
                                (["--rights", "query,write"], '"query,write" are no rights: query, ingest, admin, joined by commas'),
                                (["--collections", "a,b/c"], 'collections= takes 64 names of collections at most, joined by commas, or *, not "a,b/c"')):
                got = subprocess.run([LATENT, "key", "add", public, "--file", path, *args], capture_output=True, text=True)
                self.assertEqual((got.returncode, got.stdout), (1, ""), args)
                self.assertIn(words, got.stderr)
                self.assertFalse(os.path.exists(path))
            later = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 2 * 86400))
            got = subprocess.run([LATENT, "key", "add", public, "--file", path, "--expires", later], capture_output=True, text=True)
            self.assertEqual((got.returncode, got.stderr), (0, ""))

    def test_broken_key_files(self):
        """A key that cannot be read is not one that is not there, on either side."""
        with Daemon("--listen", "127.0.0.1:0") as d:
            self.port = d.port()
            self.server_key = d.status()["server_key"]
            key, public = self.key(d, "key")
            self.authorize(d, public, "--rights", "query")
            self.remote(d, key, "status")
            keys = os.path.join(d.data, "authorized_keys")
            with open(keys, encoding="ascii") as f:
                good = f.read()
            with open(keys, "a", encoding="ascii") as f:
                f.write(public[:-1] + " query\n")
            got = self.remote(d, key, "status", check=False)
            self.assertEqual(got.returncode, 1)
            self.assertIn("no key is accepted until the daemon's file of them, which cannot be read, is mended: its log says what is "
                          "wrong (LATENT_EAUTH)", got.stderr)
            self.assertIn(f"{keys}: line 2: the public key has 43 characters, not 44; no key", d.log_text())
            self.assertEqual(d.log_text().count(keys + ": line 2"), 1)
            with open(keys, "w", encoding="ascii") as f:
                f.write(good)
            self.remote(d, key, "status")
            with open(key, encoding="ascii") as f:
                lines = f.read()
            with open(key, "w", encoding="ascii") as f:
                f.write(lines[:-4])
            got = self.remote(d, key, "status", check=False)
            self.assertIn(f"{key}: line 3: the secret key has 41 characters, not 44 (LATENT_EFORMAT)", got.stderr)
            got = self.remote(d, key + ".gone", "status", check=False)
            self.assertIn(f"{key}.gone: No such file or directory (LATENT_ENOTFOUND)", got.stderr)
            got = self.remote(d, key, "status", server_key=self.server_key[1:], check=False)
            self.assertIn("the server's key has 43 characters, not 44 (LATENT_EINVAL)", got.stderr)
            os.chmod(key, 0o644)
            got = d.latent("--server-key", self.server_key, "--key", key, "status", check=False)
            self.assertIn("others may read this key", got.stderr)
            self.assertNotIn("allow-users", got.stderr)  # it is not the daemon that refuses

    def test_keys_demanded_on_the_unix_socket(self):
        with Daemon("--socket-keys", "yes", wait=None) as d:
            while "server key" not in d.log_text():
                self.assertIsNone(d.process.poll(), d.log_text())
                time.sleep(0.02)
            server_key = re.search(r"latentd.sock, server key (\S+)", d.log_text()).group(1)
            reader, reader_public = self.key(d, "reader.key")
            writer, writer_public = self.key(d, "writer.key")
            self.authorize(d, reader_public, "--rights", "query")
            self.authorize(d, writer_public, "--rights", "admin")

            def latent(key, *args, server=server_key):
                return subprocess.run([LATENT, "--socket", d.socket, "--server-key", server, "--key", key, *args],
                                      capture_output=True, text=True, timeout=CALL_S)

            while json.loads(latent(reader, "status", "--json").stdout)["phase"] != "ready":
                time.sleep(0.02)
            self.assertEqual(json.loads(latent(reader, "status", "--json").stdout)["server_key"], server_key)
            # nobody comes in without a key, not even the daemon's own user; nor with the wrong one, nor by the wrong name
            got = d.latent("status", check=False)
            self.assertEqual(got.returncode, 2)
            self.assertIn("demands a key", got.stderr)
            stranger, _ = self.key(d, "stranger.key")
            self.assertIn("LATENT_EAUTH", latent(stranger, "status").stderr)
            self.assertNotEqual(latent(writer, "status", server=reader_public).returncode, 0)
            self.assertIn("needs --server-key KEY and --key FILE", d.latent("--key", writer, "status", check=False).stderr)
            # the key's rights hold
            self.assertEqual(latent(writer, "collection", "create", "c").returncode, 0)
            got = latent(reader, "collection", "create", "mine")
            self.assertEqual(got.returncode, 1)
            self.assertIn("LATENT_EPERM", got.stderr)
            path = os.path.join(d.folder, "docs.jsonl")
            with open(path, "w") as f:
                f.write('{"id":"a","text":"retouch pictures"}\n{"id":"b","text":"a shell"}\n')
            self.assertEqual(latent(writer, "add", "-c", "c", "--jsonl", path).returncode, 0)
            hits = latent(reader, "search", "-c", "c", "--json", "edit photographs").stdout.splitlines()
            self.assertEqual(json.loads(hits[0])["id"], "a")

    def test_no_such_port(self):
        """99999 would become 34463."""
        with tempfile.TemporaryDirectory() as folder:
            key = os.path.join(folder, "key")
            public = subprocess.run([LATENT, "key", "generate", "-o", key], capture_output=True, text=True, check=True).stdout.strip()
            got = subprocess.run([LATENTD, "--data", folder + "/data", "--socket", folder + "/s", "--listen", "127.0.0.1:99999"],
                                 capture_output=True, text=True, timeout=CALL_S)
            self.assertEqual(got.returncode, 1)
            self.assertIn("listen must be HOST:PORT, with a port up to 65535, not '127.0.0.1:99999'", got.stderr)
            got = subprocess.run([LATENT, "--connect", "127.0.0.1:99999", "--server-key", public, "--key", key, "status"],
                                 capture_output=True, text=True, timeout=CALL_S)
            self.assertEqual(got.returncode, 2)
            self.assertIn("'99999' is no port (LATENT_EINVAL)", got.stderr)

    def test_plain_bytes_on_tcp_get_nothing(self):
        with Daemon("--listen", "127.0.0.1:0") as d:
            self.port = d.port()
            for sent in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 64, b"\xff" * 5000, b""):
                got = b""
                with socket.create_connection(("127.0.0.1", self.port), timeout=30) as s:
                    try:
                        s.sendall(sent)
                        s.shutdown(socket.SHUT_WR)
                        while chunk := s.recv(4096):
                            got += chunk
                    except OSError:  # closed on us at some point
                        pass
                    self.assertLess(len(got), 64)
            self.assertEqual(d.status()["phase"], "ready")


class Hostile(unittest.TestCase):
    def test_garbage_on_the_unix_socket(self):
        with Daemon() as d:
            silent = [socket.socket(socket.AF_UNIX) for _ in range(20)]
            for s in silent:
                s.connect(d.socket)
            for sent in (b"\0" * 100, b"\xff" * 100000, os.urandom(4096), b"LATENT"):
                with socket.socket(socket.AF_UNIX) as s:
                    s.settimeout(30)
                    s.connect(d.socket)
                    try:
                        s.sendall(sent)
                        s.shutdown(socket.SHUT_WR)
                        while s.recv(4096):
                            pass
                    except OSError:  # closed on us at some point
                        pass
            # silent clients hold nothing up, and are shown the door
            self.assertEqual(d.status()["phase"], "ready")
            silent[0].settimeout(CALL_S)
            self.assertEqual(silent[0].recv(1), b"")
            for s in silent:
                s.close()


if __name__ == "__main__":
    main()
