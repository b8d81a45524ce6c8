#!/usr/bin/env python3
"""The command line from end to end, as a user types it."""
import contextlib
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import tempfile
import termios
import time
import unittest

from harness import CALL_S, Daemon, LATENT, LATENTD, QUICK_MODEL, SRC, START_S, main

DOCS = [
    {"id": "gimp", "title": "GIMP", "text": "retouch and compose pictures", "metadata": {"kind": "graphics", "year": 1998}},
    {"id": "vlc", "title": "VLC", "text": "plays films and music", "metadata": {"kind": "video", "year": 2001}},
    {"id": "bash", "title": "bash", "text": "a shell that runs commands", "metadata": {"kind": "shell", "year": 1989}},
    {"id": "zsh", "title": "zsh", "text": "another command interpreter", "metadata": {"kind": "shell", "year": 1990}},
    {"id": "ardour", "title": "Ardour", "text": "record and mix sound in many tracks", "metadata": {"kind": "audio", "year": 2005}},
]


class CommandLine(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon().__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.__exit__(None, None, None)

    def fresh(self, name, docs=DOCS):
        self.daemon.latent("collection", "create", name)
        self.daemon.add(name, docs)
        return name

    def test_help_and_version(self):
        for args in (["--help"], ["--version"], ["search", "--help"], ["add", "--help"]):
            got = subprocess.run([LATENT, *args], capture_output=True, text=True)
            self.assertEqual(got.returncode, 0)
            self.assertTrue(got.stdout)
        for args in (["--help"], ["--version"], ["import", "--help"]):
            self.assertEqual(subprocess.run([LATENTD, *args], capture_output=True).returncode, 0)

    def test_used_wrongly(self):
        for args in ([], ["frobnicate"], ["search"], ["search", "-c", "x"], ["add", "-c", "x"],
                     ["search", "-c", "x", "-k", "0", "q"], ["search", "-c", "x", "--mode", "odd", "q"], ["search", "-c", "x", "--fusion", "rrf", "q"],
                     ["collection"], ["collection", "create"], ["--connect", "localhost:1", "status"],
                     ["embed", "text"], ["get", "-c", "x"], ["--nonsense"]):
            got = self.daemon.latent(*args, check=False)
            self.assertEqual(got.returncode, 2, args)
            self.assertTrue(got.stderr, args)

    def test_no_daemon_names_the_command_that_starts_one(self):
        got = subprocess.run([LATENT, "--socket", "/tmp/latentd-nobody.sock", "status"],
                             capture_output=True, text=True)
        self.assertEqual(got.returncode, 2)
        self.assertIn("latentd --socket /tmp/latentd-nobody.sock", got.stderr)
        got = subprocess.run([LATENT, "status"], capture_output=True, text=True, env=dict(os.environ, LATENTD_SOCKET="/tmp/latentd-nobody.sock"))
        self.assertEqual(got.returncode, 2)
        self.assertIn("latentd --socket /tmp/latentd-nobody.sock", got.stderr)

    def test_status(self):
        s = self.daemon.status()
        self.assertEqual(s["phase"], "ready")
        self.assertEqual(s["dim"], 384)
        self.assertEqual(s["token_limit"], 512)
        self.assertEqual(s["pooling"], "latent")
        self.assertRegex(s["fingerprint"], "^[0-9a-f]{64}$")
        self.assertIn("device", self.daemon.latent("status").stdout)

    def test_json_fields_are_in_the_manual(self):
        """Each one that is printed, below its command."""
        self.fresh("fields")
        with open(os.path.join(SRC, "man", "latent.1"), encoding="utf-8") as f:
            parts = f.read().split('.SH "JSON FIELDS"')[1].split(".SH FILTERS")[0].split(".SS ")[1:]
        told = {part.split()[0]: set(re.findall(r"\w+", part)) for part in parts}

        def keys(value):
            for key, inner in value.items():
                yield key
                if isinstance(inner, dict):
                    yield from keys(inner)

        for command in (["status"], ["collection", "list"], ["job", "list"]):
            got = self.daemon.json_lines(*command, "--json")
            self.assertTrue(got)
            self.assertEqual({key for one in got for key in keys(one)} - told[command[0]], set(), command)

    def test_search_by_meaning_words_and_both(self):
        name = self.fresh("modes")
        self.assertEqual(self.daemon.search(name, "--mode", "dense", "edit photographs")[0]["id"], "gimp")
        self.assertEqual(self.daemon.search(name, "--mode", "text", "interpreter")[0]["id"], "zsh")
        self.assertEqual(self.daemon.search(name, "watch a movie")[0]["id"], "vlc")
        hits = self.daemon.search(name, "-k", "3", "shell")
        self.assertEqual([h["rank"] for h in hits], [1, 2, 3])
        self.assertEqual(set(hits[0]), {"id", "chunk", "start", "end", "score", "rerank_score", "rank", "title", "text", "metadata"})
        self.assertEqual(sorted((h["score"] for h in hits), reverse=True), [h["score"] for h in hits])

    def test_fewer_than_k_is_no_error(self):
        name = self.fresh("few")
        got = self.daemon.latent("search", "-c", name, "-k", "50", "--json", "--mode", "dense", "shell")
        self.assertEqual(len(got.stdout.splitlines()), len(DOCS) + 1)
        self.assertIn(f"{len(DOCS)} of 50", got.stderr)

    def test_json_says_what_was_used(self):
        name = self.fresh("used")
        hits, used = self.daemon.search_all(name, "shell")
        self.assertEqual(set(used), {"hits", "mode", "k", "ef", "short_reason", "degraded", "degraded_reason", "tokens", "truncated",
                                     "template", "instruct", "chunks", "filter", "dense_weight", "text_weight", "fusion", "seq",
                                     "reranked", "rerank_cut"})
        self.assertEqual((used["hits"], used["mode"], used["k"], used["short_reason"]), (len(hits), "hybrid", 10, "exhausted"))
        self.assertEqual((used["dense_weight"], used["text_weight"], used["degraded"], used["chunks"]), (1, 1, False, False))
        self.assertEqual((used["tokens"], used["truncated"], used["template"], used["instruct"]), (5, False, "query: ", ""))
        self.assertEqual(used["fusion"], "rank")
        self.assertGreaterEqual(used["seq"], len(DOCS))
        _, used = self.daemon.search_all(name, "-k", "2", "--mode", "dense", "--ef", "33", "--filter", "year > 1900", "--chunks",
                                         "--instruct", "find programs", "shell")
        self.assertEqual((used["hits"], used["mode"], used["k"], used["short_reason"], used["filter"], used["chunks"]),
                         (2, "dense", 2, "", "year > 1900", True))
        self.assertEqual((used["template"], used["instruct"]), ("Instruct: {}\nQuery: ", "find programs"))
        self.assertEqual((used["dense_weight"], used["text_weight"], used["fusion"]), (0, 0, ""))
        _, used = self.daemon.search_all(name, "--exact", "--mode", "dense", "--filter", "year < 0", "shell")
        self.assertEqual((used["hits"], used["ef"], used["short_reason"]), (0, 0, "filter"))
        _, used = self.daemon.search_all(name, "--mode", "text", "shell")
        self.assertEqual((used["mode"], used["tokens"], used["template"], used["ef"]), ("text", 0, "", 0))

    def test_fusion(self):
        name = self.fresh("fusion")
        hits, used = self.daemon.search_all(name, "--fusion", "score", "--weights", "0,1", "shell")
        self.assertEqual((used["mode"], used["fusion"], used["dense_weight"], used["text_weight"]), ("hybrid", "score", 0, 1))
        self.assertEqual(hits[0]["id"], "bash")
        self.assertAlmostEqual(hits[0]["score"], 2.5, places=5)  # one of five has the word: 2 deviations above the mean, the others half of one below
        self.assertEqual([h["score"] for h in hits[1:]], [0] * 4)
        both, _ = self.daemon.search_all(name, "--fusion", "score", "shell")
        near, _ = self.daemon.search_all(name, "--fusion", "score", "--weights", "1,0", "shell")
        near = {h["id"]: h["score"] for h in near}
        for h in both:
            self.assertAlmostEqual(h["score"], near[h["id"]] + (2.5 if h["id"] == "bash" else 0), places=4)
        self.assertAlmostEqual(sum(near.values()), 15, places=4)  # deviations add up to nothing; each counts from 3 below

    def test_filters(self):
        name = self.fresh("filters")
        def ids(expr):
            return {h["id"] for h in self.daemon.search(name, "--mode", "dense", "--filter", expr, "program")}
        self.assertEqual(ids("kind = 'shell'"), {"bash", "zsh"})
        self.assertEqual(ids("kind in ('video', 'audio')"), {"vlc", "ardour"})
        self.assertEqual(ids("kind = 'shell' and not year < 1990"), {"zsh"})
        self.assertEqual(ids("kind = 'nothing'"), set())
        bad = self.daemon.latent("search", "-c", name, "--filter", "kind = ", "x", check=False)
        self.assertEqual(bad.returncode, 1)
        self.assertIn("LATENT_EFORMAT", bad.stderr)

    def test_replace_get_delete(self):
        name = self.fresh("changes")
        self.daemon.add(name, [{"id": "vlc", "title": "", "text": "grows tomatoes in a garden"}])
        got = self.daemon.json_lines("get", "-c", name, "vlc")
        self.assertEqual(got, [{"id": "vlc", "text": "grows tomatoes in a garden", "title": "", "metadata": {}}])
        self.assertEqual(self.daemon.search(name, "--mode", "dense", "vegetables")[0]["id"], "vlc")
        self.assertNotIn("vlc", [h["id"] for h in self.daemon.search(name, "--mode", "text", "films")])
        gone = self.daemon.latent("delete", "-c", name, "vlc", "nobody", check=False)
        self.assertEqual(gone.returncode, 1)
        self.assertIn("nobody", gone.stderr)
        self.assertNotIn("vlc", [h["id"] for h in self.daemon.search(name, "vegetables")])
        some = self.daemon.latent("get", "-c", name, "bash", "vlc", check=False)
        self.assertEqual(some.returncode, 1)
        self.assertEqual(json.loads(some.stdout)["id"], "bash")
        self.assertIn("vlc", some.stderr)

    def test_ids_that_no_document_can_have(self):
        """Paths are ids, and of those that a shell finds some may be no UTF-8; the others' documents come and go as ever."""
        name = self.fresh("odd")
        odd = [b"caf\xe9.txt", b"x" * 513, b""]

        def run(*args):
            got = subprocess.run([LATENT, "--socket", self.daemon.socket, *args], capture_output=True, timeout=CALL_S)
            self.assertEqual(got.returncode, 1, got.stderr)
            for said in ("latent: caf\\xe9.txt: no such document\n", f"latent: {'x' * 513}: no such document\n", "latent: : no such document\n"):
                self.assertIn(said, got.stderr.decode())
            return got.stdout.decode()

        self.assertEqual([json.loads(line)["id"] for line in run("get", "-c", name, "vlc", *odd, "zsh").splitlines()], ["vlc", "zsh"])
        self.assertEqual(run("delete", "-c", name, *odd, "vlc"), "1 deleted\n")
        self.assertEqual(run("delete", "-c", name, *odd), "0 deleted\n")
        self.assertEqual(len(self.daemon.json_lines("get", "-c", name, "--all")), len(DOCS) - 1)

    def test_status_of_strange_paths(self):
        """Nothing in a path of the daemon's acts on the terminal or makes a line of its own."""
        with tempfile.TemporaryDirectory(prefix="latentd-test-") as outer:
            folder = os.path.join(outer, "a\x1b[31m\nqueue: none\x9b")
            os.mkdir(folder)
            model = shutil.copy(QUICK_MODEL[1], folder)
            with Daemon("--model", model, folder=folder) as d:
                said = d.latent("status").stdout
                self.assertEqual(re.findall(r"[^\n -~\u00a0-\U0010ffff]", said), [])
                shown = folder.replace("\x1b", "\\x1b").replace("\n", "\\n").replace("\x9b", "\\xc2\\x9b")
                self.assertIn(f"             {shown}/mistral.gguf\n", said)
                self.assertIn(f"data:        {shown}/data\n", said)
                self.assertEqual(d.status()["data_dir"], d.data)
                got = d.latent("search", "-c", "no\x1b", "x", check=False)
                self.assertIn("no\\x1b", got.stderr)
                d.stop()
                for command in ([LATENT, "--socket", d.socket], [LATENT, "--private", os.path.join(folder, "log")]):
                    got = subprocess.run([*command, "status"], capture_output=True, text=True, timeout=CALL_S)
                    self.assertEqual(got.returncode, 2)
                    self.assertIn(shown, got.stderr)
                    self.assertEqual(re.findall(r"[^\n -~\u00a0-\U0010ffff]", got.stderr), [])

    def test_paths_that_are_no_utf8(self):
        """They can be told over the wire, with a sign for each byte that cannot."""
        with tempfile.TemporaryDirectory(prefix="latentd-test-") as outer:
            folder = outer + "/caf\udce9"
            os.mkdir(folder)
            model = shutil.copy(QUICK_MODEL[1], folder)
            with Daemon("--model", model, folder=folder, wait=None) as d:
                got = subprocess.run([LATENT, "--socket", d.socket, "status"], capture_output=True, text=True, timeout=CALL_S)
                while "no daemon" in got.stderr or "loading" in got.stdout:
                    got = subprocess.run([LATENT, "--socket", d.socket, "status"], capture_output=True, text=True, timeout=CALL_S)
                self.assertEqual((got.returncode, got.stderr), (0, ""))
                self.assertIn(f"data:        {outer}/caf\ufffd/data\n", got.stdout)
            got = subprocess.run([LATENT, "--private", folder + "/own", "--model", model, "collection", "create", "c"],
                                 capture_output=True, text=True, timeout=CALL_S)
            self.assertEqual(got.returncode, 0, got.stderr)

    def test_bad_items_are_named_and_the_rest_goes_in(self):
        self.daemon.latent("collection", "create", "bad")
        lines = ["{\"id\":\"one\",\"text\":\"first\"}", "{not json", "{\"text\":\"no id\"}",
                 "{\"id\":\"empty\",\"text\":\"\"}", "{\"id\":\"two\",\"text\":\"second\"}"]
        got = self.daemon.latent("add", "-c", "bad", "--jsonl", "-", stdin="\n".join(lines) + "\n", check=False)
        self.assertEqual(got.returncode, 1)
        for said in ("stdin:2", "stdin:3", "stdin:4", "2 documents", "3 failed"):
            self.assertIn(said, got.stderr)
        self.assertEqual(len(self.daemon.json_lines("get", "-c", "bad", "one", "two")), 2)

    def test_blank_texts_are_refused(self):
        """From files as from lines; a title that is the document's own is something to find it by."""
        self.daemon.latent("collection", "create", "blank")
        paths = [os.path.join(self.daemon.folder, name) for name in ("nothing.txt", "white.md", "heading.md")]
        for path, text in zip(paths, ("", " \n\t\n", "# A heading\n")):
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        lines = ['{"id":"a","text":" \\n"}', '{"id":"b","text":"","title":"\\t"}', '{"id":"c","text":" ","title":"A title"}']
        got = self.daemon.latent("add", "-c", "blank", "--jsonl", "-", *paths, stdin="\n".join(lines) + "\n", check=False)
        self.assertEqual(got.returncode, 1)
        for where in ("stdin:1: a", "stdin:2: b", *paths[:2]):
            self.assertIn(f"{where}: the text is empty (LATENT_EEMPTY)\n", got.stderr)
        self.assertIn("; 4 failed", got.stderr)
        self.assertEqual([d["id"] for d in self.daemon.json_lines("get", "-c", "blank", "--all")], sorted([paths[2], "c"]))

    def test_jsonl_without_its_option(self):
        self.daemon.latent("collection", "create", "lines")
        path = os.path.join(self.daemon.folder, "some.jsonl")
        with open(path, "w", encoding="ascii") as f:
            f.write('{"id":"a","text":"one"}\n{"id":"b","text":"two"}\n')
        got = self.daemon.latent("add", "-c", "lines", path)
        self.assertIn(f"latent: {path}: is added as one text; with --jsonl its lines are documents\n", got.stderr)
        self.assertEqual([d["id"] for d in self.daemon.json_lines("get", "-c", "lines", "--all")], [path])

    def test_what_get_prints_can_be_added_again(self):
        """Every digit of metadata too, which a search shows as well."""
        self.daemon.latent("collection", "create", "from")
        self.daemon.latent("collection", "create", "to")
        metadata = {"pi": 3.141592653589793, "price": 1234567.8912, "big": 2**53 + 1, "e": 1e22, "in": [{"x": 2 / 3}]}
        self.daemon.add("from", [{"id": "a", "text": "one", "metadata": metadata}, {"id": "b", "text": "two", "metadata": {"tenth": 0.1}}])
        printed = self.daemon.latent("get", "-c", "from", "--all").stdout
        self.assertEqual([json.loads(line)["metadata"] for line in printed.splitlines()], [metadata, {"tenth": 0.1}])
        self.assertIn('"tenth":0.1}', printed)
        self.daemon.latent("add", "-c", "to", "--jsonl", "-", stdin=printed)
        self.assertEqual(self.daemon.latent("get", "-c", "to", "--all").stdout, printed)
        self.assertEqual([h["metadata"] for h in self.daemon.search("to", "--mode", "text", "one")], [metadata])
        self.assertEqual([h["id"] for h in self.daemon.search("to", "--filter", "pi = 3.141592653589793", "one")], ["a"])

    def test_output_that_nobody_takes(self):
        """A reader that has enough, as head has, is no error to talk about; a full disk is, once."""
        self.daemon.latent("collection", "create", "much", "--vectors-only", "--dim", "1")
        self.daemon.add("much", [{"id": str(i), "text": f"text {i} " * 100, "vector": [i + 1]} for i in range(3000)])
        args = [LATENT, "--socket", self.daemon.socket, "get", "-c", "much", "--all"]
        with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
            self.assertIn('"id":"0"', p.stdout.readline())
            p.stdout.close()
            self.assertEqual(p.stderr.read(), "")
            self.assertEqual(p.wait(), 1)
        with open("/dev/full", "w") as full:
            for more in (args, args[:-2] + ["much", "7"], args[:3] + ["search", "-c", "much", "text"], args[:3] + ["status"]):
                got = subprocess.run(more, stdout=full, stderr=subprocess.PIPE, text=True)
                self.assertEqual((got.returncode, got.stderr), (1, "latent: cannot write the output: No space left on device\n"), more)
        got = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *args], stderr=subprocess.PIPE, text=True)
        self.assertEqual((got.returncode, got.stderr), (1, "latent: cannot write the output: Bad file descriptor\n"))

    def test_embed_for_nobody(self):
        """It ends when nobody takes its output, though its input goes on."""
        args = [LATENT, "--socket", self.daemon.socket, "embed"]
        with subprocess.Popen(["yes", "a text"], stdout=subprocess.PIPE) as source, subprocess.Popen(
                args, stdin=source.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
            source.stdout.close()
            self.assertIn("embedding", p.stdout.readline())
            p.stdout.close()
            self.assertEqual((p.stderr.read(), p.wait(CALL_S)), ("", 1))
        with open("/dev/full", "w") as full:
            got = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual((got.returncode, got.stderr), (0, ""))
            got = subprocess.run(args, input="a text\n", stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual((got.returncode, got.stderr), (1, "latent: cannot write the output: No space left on device\n"))

    def test_others_texts_cannot_act_on_the_terminal(self):
        self.daemon.latent("collection", "create", "escapes")
        self.daemon.add("escapes", [{"id": "red\x1b[31m", "title": "two\nlines\x9b31m", "text": "zebra\x1b]0;owned\x07\x7f \x9b1m stripes"}])
        got = self.daemon.latent("search", "-c", "escapes", "--mode", "text", "zebra").stdout
        self.assertRegex(got, r"^ 1\. [\d.]+ +red\\x1b\[31m  two\\nlines\\xc2\\x9b31m\n +zebra \]0;owned 1m stripes\n$")
        got = self.daemon.latent("get", "-c", "escapes", "\x1b[2J\nlatent: all is well", check=False)
        self.assertEqual(got.stderr, "latent: \\x1b[2J\\nlatent: all is well: no such document\n")
        self.assertEqual([h["id"] for h in self.daemon.search("escapes", "zebra")], ["red\x1b[31m"])  # JSON has its own escapes

    def test_progress_cannot_act_on_the_terminal(self):
        """Nor what it says of a document whose id is another's, or a path."""
        self.daemon.latent("collection", "create", "drawn")
        docs = [{"id": f"d{i}", "text": "x"} for i in range(128)] + [{"id": "red\x1b[31m\x9b31m\u0416", "text": "x"}]
        said, (ours, theirs) = b"", pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 400, 0, 0))
        with open(ours, "rb", buffering=0) as terminal:
            with open(theirs, "wb", buffering=0) as stderr:
                got = subprocess.run([LATENT, "--socket", self.daemon.socket, "add", "-c", "drawn", "--jsonl", "-"], stderr=stderr, timeout=CALL_S,
                                     input="".join(json.dumps(d) + "\n" for d in docs).encode())
                self.assertEqual(got.returncode, 0)
            with contextlib.suppress(OSError):  # how a terminal says that there is no more
                while got := terminal.read(65536):
                    said += got
        said = said.decode()
        self.assertIn("at red [31m  31m\u0416", said)
        self.assertEqual(re.findall(r"[\x1b\x80-\x9f].?.?", said.replace("\x1b[K", "")), [])

    def test_files_as_they_come(self):
        """From other systems and editors, and what only looks like a file."""
        self.daemon.latent("collection", "create", "kinds")
        with tempfile.TemporaryDirectory() as folder:
            def at(name, data):
                path = os.path.join(os.fsencode(folder), name)
                with open(path, "wb") as f:
                    f.write(data)
                return path

            mark = b"\xef\xbb\xbf"
            self.daemon.latent("add", "-c", "kinds", at(b"marked.md", mark + b"# Heading\r\n\r\nbody\r\n"))
            got = self.daemon.json_lines("get", "-c", "kinds", os.path.join(folder, "marked.md"))[0]
            self.assertEqual((got["title"], got["text"]), ("Heading", "# Heading\r\n\r\nbody\r\n"))
            lines = mark + b'{"id":"j1","text":"one"}\r\n\r\n{"id":"j2","text":"two"}'
            self.daemon.latent("add", "-c", "kinds", "--jsonl", at(b"marked.jsonl", lines))
            self.assertEqual(len(self.daemon.json_lines("get", "-c", "kinds", "j1", "j2")), 2)
            deep = os.path.join(folder, *["long folder ü" * 10] * 2)
            os.makedirs(deep)
            self.daemon.latent("add", "-c", "kinds", at(os.fsencode(deep + "/note.md"), b"text"))
            label = self.daemon.json_lines("job", "list", "--json")[0]["label"]
            self.assertTrue(label.startswith("…") and label.endswith("ü/note.md") and 250 < len(label.encode()) <= 256, label)
            os.mkfifo(os.path.join(folder, "fifo"))
            for path, words in ((at(b"wide.txt", "wide".encode("utf-16")), "wide.txt: UTF-16, not UTF-8: iconv -f UTF-16 -t UTF-8 converts it"),
                                (os.path.join(folder, "fifo"), "fifo: not a regular file"),
                                (at(b"latin\xe9.txt", b"text"), "latin\\xe9.txt: id: not valid UTF-8"),
                                (at(b"end\nfifo: gone.txt", b"\xff"), "end\\nfifo: gone.txt: not valid UTF-8")):
                got = self.daemon.latent("add", "-c", "kinds", path, check=False)
                self.assertEqual(got.returncode, 1, path)
                self.assertIn(words, got.stderr)

    def test_invalid_utf8_names_the_offset(self):
        self.daemon.latent("collection", "create", "utf8")
        with tempfile.NamedTemporaryFile(suffix=".txt") as f:
            f.write(b"abc\xff")
            f.flush()
            got = self.daemon.latent("add", "-c", "utf8", f.name, check=False)
        self.assertEqual(got.returncode, 1)
        self.assertIn("at byte 3", got.stderr)

    def test_mistakes_of_a_first_day(self):
        """Each says what is wrong, once, and where it can be what to do instead."""
        self.daemon.latent("collection", "create", "first")
        with tempfile.TemporaryDirectory() as folder:
            def at(name, data):
                path = os.path.join(folder, name)
                with open(path, "wb") as f:
                    f.write(data)
                return path

            closed = at("closed.txt", b"text")
            os.chmod(closed, 0)
            for args, words in (
                    (["search", "-c", "fisrt", "x"], "no collection fisrt (LATENT_ENOTFOUND)\nThose there are: latent collection list"),
                    (["add", "-c", "fisrt", at("a.txt", b"text")], "A new one: latent collection create NAME"),
                    (["add", "-c", "first", folder], f"{folder}: a folder: name the files in it"),
                    (["add", "-c", "first", "--jsonl", folder], f"latent: {folder}: Is a directory"),
                    (["add", "-c", "first", "--jsonl", "/nonexistent.jsonl"], "latent: /nonexistent.jsonl: No such file"),
                    (["add", "-c", "first", "/nonexistent.txt"], "/nonexistent.txt: cannot open: No such file"),
                    (["add", "-c", "first", at("b.txt", b"abc\xff")], "not valid UTF-8 at byte 3 (LATENT_EUTF8)"),
                    (["add", "-c", "first", at("c.txt", b"a\0b")], "not a text file"),
                    (["add", "-c", "first", at("d.txt", b"a" * (17 << 20))], "17825792 bytes, at most 16777216 are read (LATENT_ELIMIT)"),
                    (["add", "-c", "first", "--jsonl", at("e.jsonl", b"a" * (17 << 20))], "e.jsonl:1: line is longer than 16 MiB"),
                    (["search", "-c", "first", "--filter", "year >", "x"], "filter: at byte 6: expected a value"),
                    (["search", "-c", "first", "--filter", "a b", "x"], "filter: at byte 2: expected and, or, or the end, found \"b\""),
                    (["get", "-c", "first", "absent"], "absent: no such document")) + (
                    ((["add", "-c", "first", closed], "closed.txt: cannot open: Permission denied"),) if os.geteuid() else ()):
                got = self.daemon.latent(*args, check=False)
                self.assertEqual(got.returncode, 1, args)
                self.assertIn(words, got.stderr)
                path = args[-1]
                self.assertLessEqual(got.stderr.count(path + ":"), 1, "named once is enough")
        self.assertEqual([j["collection"] for j in self.daemon.json_lines("job", "list", "--json")].count("fisrt"), 0)

    def test_unknown_collection(self):
        for args in (["search", "-c", "nope", "x"], ["get", "-c", "nope", "x"], ["collection", "info", "nope"],
                     ["collection", "drop", "nope"]):
            got = self.daemon.latent(*args, check=False)
            self.assertEqual(got.returncode, 1, args)
            self.assertIn("LATENT_ENOTFOUND", got.stderr)

    def test_vectors_only(self):
        self.daemon.latent("collection", "create", "raw", "--dim", "3", "--vectors-only", "--metric", "l2")
        self.daemon.add("raw", [{"id": "x", "vector": [1, 0, 0]}, {"id": "y", "vector": [0, 2, 0]}])
        hits = self.daemon.search("raw", "--vector", "[0, 1.5, 0]")
        self.assertEqual([h["id"] for h in hits], ["y", "x"])
        self.assertAlmostEqual(hits[0]["score"], -0.25, 5)
        # Texts beside the vectors are found by their words, alone or together with a vector.
        self.daemon.add("raw", [{"id": "w", "vector": [0, 0, 3], "text": "late trains", "metadata": {"n": 1}}])
        self.assertEqual([h["id"] for h in self.daemon.search("raw", "trains")], ["w"])
        self.assertEqual([h["id"] for h in self.daemon.search("raw", "--mode", "text", "--filter", "n = 1", "train")], ["w"])
        self.assertEqual([h["id"] for h in self.daemon.search("raw", "-k", "2", "--vector", "[0, 1.5, 0]", "trains")][0], "w")
        # A collection of the model's own vectors takes no others.
        self.daemon.latent("collection", "create", "own")
        refused = self.daemon.add("own", [{"id": "v", "text": "a", "vector": [1, 2, 3]}], check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("--vectors-only", refused.stderr)
        wrong = self.daemon.add("raw", [{"id": "z", "vector": [1, 2]}], check=False)
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("LATENT_EDIM", wrong.stderr)
        wrong = self.daemon.latent("search", "-c", "raw", "--vector", "[1]", check=False)
        self.assertIn("LATENT_EDIM", wrong.stderr)

    def test_codes(self):
        self.daemon.latent("collection", "create", "bits", "--dim", "40", "--vectors-only", "--codes", "1bit")
        near, far = [1] * 40, [1] * 20 + [-1] * 20
        self.daemon.add("bits", [{"id": "near", "vector": near}, {"id": "far", "vector": far}])
        self.assertEqual([h["id"] for h in self.daemon.search("bits", "--vector", json.dumps(near))], ["near", "far"])
        info = json.loads(self.daemon.latent("collection", "info", "bits", "--json").stdout)
        self.assertEqual(info["index_kind"], "hnsw-1bit")
        wrong = self.daemon.latent("collection", "create", "other", "--codes", "2bit", check=False)
        self.assertEqual(wrong.returncode, 2)
        self.assertIn("--codes takes", wrong.stderr)

    def test_import_hnswlib(self):
        fixture = os.path.join(os.environ["LATENTD_SRC"], "tests", "golden", "hnswlib", "index.bin")
        with tempfile.TemporaryDirectory() as folder:
            def run(*args):
                return self.daemon.latent("collection", "import-hnswlib", *args, "--data", folder, check=False)
            got = run(fixture, "--space", "l2", "--dim", "8")
            self.assertEqual((got.returncode, got.stdout), (0, "collection index: 600 documents\n"), got.stderr)
            for args, status, word in (([fixture, "--space", "l2", "--dim", "8"], 1, "exists"),
                                       ([fixture, "--space", "l2", "--dim", "9", "--name", "n"], 1, "dimension 9"),
                                       ([fixture, "--space", "l3", "--dim", "8"], 2, "--space"),
                                       ([fixture, "--space", "l2"], 2, "--dim"), (["--space", "l2", "--dim", "8"], 2, "FILE")):
                got = run(*args)
                self.assertEqual(got.returncode, status, args)
                self.assertIn(word, got.stderr)

    def test_long_text_is_chunked(self):
        self.daemon.latent("collection", "create", "long")
        filler = "The committee met again and talked about the budget of the town. " * 120
        text = filler + "\n\nPenguins swim in the cold sea of Antarctica.\n\n" + filler
        self.daemon.add("long", [{"id": "minutes", "text": text}])
        hit = self.daemon.search("long", "birds of the south pole")[0]
        self.assertEqual(hit["id"], "minutes")
        self.assertIn("Penguins", hit["text"])
        self.assertEqual(text.encode()[hit["start"]:hit["end"]].decode(), hit["text"])
        got = self.daemon.add("long", [{"id": "refused", "text": text}], "--on-long", "error", check=False)
        self.assertEqual(got.returncode, 1)
        self.assertIn("LATENT_ETOOLONG", got.stderr)
        self.assertIn("1 cut", self.daemon.add("long", [{"id": "cut", "text": text}], "--on-long", "truncate").stderr)

    def test_files(self):
        self.daemon.latent("collection", "create", "files")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "tea.md")
            with open(path, "w") as f:
                f.write("# Making tea\n\nPour boiling water over the leaves.\n")
            self.daemon.latent("add", "-c", "files", path)
        hit = self.daemon.search("files", "hot drinks")[0]
        self.assertEqual((hit["id"], hit["title"]), (path, "Making tea"))

    def test_embed(self):
        with open(os.path.join(SRC, "models", "latent-mini", "cases.json")) as f:
            cases = json.load(f)["cases"]
        case = next(c for c in cases if c["query"] and "\n" not in c["text"])
        got = self.daemon.json_lines("embed", "--query", "--json", stdin=case["text"] + "\n")[0]
        self.assertEqual(set(got), {"embedding", "tokens", "tokens_seen", "truncated"})
        self.assertEqual((got["tokens"], got["tokens_seen"]), (len(case["ids"]), len(case["ids"])))
        cut, = self.daemon.json_lines("embed", "--truncate", stdin="word " * 2000 + "\n")
        self.assertEqual((cut["tokens"], cut["truncated"]), (512, True))
        self.assertGreater(cut["tokens_seen"], 2000)
        self.assertGreater(sum(a * b for a, b in zip(got["embedding"], case["embedding"])), 0.999)
        ids = self.daemon.json_lines("embed", "--ids", stdin=json.dumps(
            {"ids": case["ids"], "instruction_len": case["instruction_len"]}) + "\n")[0]
        self.assertEqual(ids["embedding"], got["embedding"])
        bad = self.daemon.latent("embed", stdin="fine\n\nalso fine\n", check=False)
        self.assertEqual(bad.returncode, 1)
        self.assertEqual(len(bad.stdout.splitlines()), 3)
        self.assertIn("line 2", bad.stderr)

    def test_embed_more_than_a_request_takes(self):
        text = "late trains " * 30000
        got = self.daemon.json_lines("embed", "--truncate", stdin=(text + "\n") * 60)
        self.assertEqual([x["truncated"] for x in got], [True] * 60)

    def test_async_then_searchable(self):
        self.daemon.latent("collection", "create", "async")
        self.daemon.add("async", DOCS, "--async")
        end = time.monotonic() + START_S
        while (info := self.daemon.json_lines("collection", "info", "async", "--json")[0])["pending_chunks"]:
            self.assertLess(time.monotonic(), end)
        self.assertEqual(info["documents"], len(DOCS))
        self.assertEqual(self.daemon.search("async", "edit photographs")[0]["id"], "gimp")

    def test_batch_run_file(self):
        name = self.fresh("batch")
        with tempfile.TemporaryDirectory() as folder:
            queries, out = os.path.join(folder, "q.jsonl"), os.path.join(folder, "run")
            with open(queries, "w") as f:
                f.write("{\"_id\":\"q1\",\"text\":\"edit photographs\"}\n{\"_id\":\"q2\",\"text\":\"play a film\"}\n")
            self.daemon.latent("search", "-c", name, "-k", "2", "--queries", queries, "--run", out)
            with open(out) as f:
                rows = [line.split() for line in f]
        self.assertEqual([(r[0], r[1], r[3], r[5]) for r in rows],
                         [("q1", "Q0", "1", "latent"), ("q1", "Q0", "2", "latent"),
                          ("q2", "Q0", "1", "latent"), ("q2", "Q0", "2", "latent")])
        self.assertEqual(rows[0][2], "gimp")

    def test_eval(self):
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "qrels"))
            with open(os.path.join(folder, "corpus.jsonl"), "w") as f:
                for d in DOCS:
                    f.write(json.dumps({"_id": d["id"], "title": d["title"], "text": d["text"]}) + "\n")
            with open(os.path.join(folder, "queries.jsonl"), "w") as f:
                f.write("{\"_id\":\"q1\",\"text\":\"edit photographs\"}\n{\"_id\":\"unjudged\",\"text\":\"x\"}\n")
            with open(os.path.join(folder, "qrels", "test.tsv"), "w") as f:
                f.write("query-id\tcorpus-id\tscore\nq1\tgimp\t1\n")
            for more in ([], ["--ef", "20"], ["--exact"]):
                got = self.daemon.json_lines("eval", folder, "--mode", "dense", "--json", *more)[0]
                self.assertEqual((got["ndcg@10"], got["recall@100"], got["mrr@10"]), (1.0, 1.0, 1.0))
                self.assertGreater(got["qps"], 0)
            for ef in ("0", "x", "100001"):
                self.assertEqual(self.daemon.latent("eval", folder, "--ef", ef, check=False).returncode, 2)
            with open(os.path.join(folder, "corpus.jsonl"), "a") as f:
                f.write("{\"_id\":\"blank\",\"text\":\" \"}\n")
            got = self.daemon.latent("eval", folder, "--json", check=False)  # measured, but not on all of it
            self.assertEqual((got.returncode, json.loads(got.stdout)["ndcg@10"]), (1, 1.0))
            self.assertIn(" 1 failed\n", got.stderr)
            with open(os.path.join(folder, "qrels", "test.tsv"), "w") as f:
                f.write("query-id\tcorpus-id\tscore\n")
            got = self.daemon.latent("eval", folder, "--json", check=False)  # no figure of nothing
            self.assertEqual((got.returncode, got.stdout), (1, ""))
            self.assertIn("test.tsv: no query is judged\n", got.stderr)
        self.assertFalse([c for c in self.daemon.status()["collections"] if c["name"].startswith("eval-")])

    def test_jobs(self):
        self.fresh("jobs")
        jobs = self.daemon.json_lines("job", "list", "--json")
        mine = [j for j in jobs if j["collection"] == "jobs"]
        self.assertEqual([(j["state"], j["accepted"], j["searchable"]) for j in mine], [("done", len(DOCS), len(DOCS))])
        self.assertEqual(self.daemon.latent("job", "cancel", "999999999", check=False).returncode, 1)

    def test_collection_rules(self):
        self.daemon.latent("collection", "create", "twice")
        again = self.daemon.latent("collection", "create", "twice", check=False)
        self.assertEqual(again.returncode, 1)
        self.assertIn("LATENT_EEXIST", again.stderr)
        for name in (".hidden", "a/b", "x" * 65, ""):
            self.assertEqual(self.daemon.latent("collection", "create", name, check=False).returncode, 1, name)
        self.daemon.latent("collection", "drop", "twice")
        self.assertNotIn("twice", self.daemon.latent("collection", "list").stdout)


if __name__ == "__main__":
    main()
