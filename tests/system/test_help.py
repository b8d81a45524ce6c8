#!/usr/bin/env python3
"""Each option is in its command's --help and in the manual, and nothing is there that the program does not take."""
import os
import re
import subprocess
import unittest

from harness import CALL_S, LATENT, LATENTD, SRC, main

OPTION = r"(?<![\w-])(--?[a-z][a-z0-9-]*)"
EVERYWHERE = {"-h", "--help", "--version"}
GLOBAL = {"--socket", "--private", "--model", "--connect", "--server-key", "--key"}
TOOLS = ("import", "selftest", "bench", "backup", "check")


def text_of(program, *args):
    got = subprocess.run([program, *args, "--help"], capture_output=True, text=True, timeout=CALL_S)
    assert got.returncode == 0 and not got.stderr, (args, got)
    return got.stdout


def options(text):
    """But for those of other commands, which stand between backquotes."""
    return set(re.findall(OPTION, re.sub(r"`[^`\n]*`", "", text))) - EVERYWHERE


def commands():
    return re.findall(r"(?m)^  ([a-z]+) {2,}\S", text_of(LATENT).split("Options:")[0])


def manual(name):
    """The page's text without its marks."""
    with open(os.path.join(SRC, "man", name), encoding="utf-8") as f:
        return re.sub(r"(?m)^\.(?:BR?I?|RB|I|BI|IR) ", "", re.sub(r'\\f[A-Z]|"', "", f.read().replace("\\-", "-")))


def paragraphs(page, section):
    """[(tag line, text)] of a section's .TP."""
    text = re.split(r"(?m)^\.SH ", page.split(f".SH {section}\n")[1])[0]
    return [tuple((p.lstrip("\n") + "\n").split("\n", 1)) for p in re.split(r"(?m)^\.TP$", text)[1:]]


IN_TABLE = r'\{"([a-z0-9-]+)", (?:no|required)_argument'
COMPARED = r'"--([a-z-]+)"'


def taken(source, pattern=IN_TABLE):
    """The long options in a file of the source: in a table of options, or as the pattern finds them."""
    with open(os.path.join(SRC, source), encoding="utf-8") as f:
        return {"--" + name for name in re.findall(pattern, f.read())} - EVERYWHERE


def taken_by_tool(tool):
    """These take the daemon's options, too, of which two make sense."""
    if tool in ("backup", "check", "import-hnswlib"):
        return taken(f"daemon/tool_{'hnswlib' if tool == 'import-hnswlib' else tool}.c", COMPARED) | {"--data", "--config"}
    return taken(f"daemon/tool_{tool}.c")


class Help(unittest.TestCase):
    def test_nowhere_to_write_it(self):
        """It must not look like success."""
        with open("/dev/full", "w", encoding="utf-8") as full:
            for args in (["--help"], ["--version"], *([tool, "--help"] for tool in TOOLS)):
                got = subprocess.run([LATENTD, *args], stdout=full, stderr=subprocess.PIPE, text=True, timeout=CALL_S)
                self.assertEqual((got.returncode, got.stderr), (1, "latentd: cannot write the output: No space left on device\n"), args)

    def test_manual_has_no_sentence_in_a_macro_that_joins_words(self):
        """.BR, .IR and their like print their arguments without spaces between them, in alternating fonts."""
        for name in sorted(os.listdir(os.path.join(SRC, "man"))):
            if not name[-1].isdigit():
                continue
            with open(os.path.join(SRC, "man", name), encoding="utf-8") as f:
                for number, line in enumerate(f, 1):
                    if re.match(r"\.(BR|RB|BI|IB|IR|RI) ", line):
                        bare = re.sub(r'"[^"]*"', '"', line[4:])
                        self.assertNotRegex(bare, r"[a-z]+ [a-z]+ [a-z]+ [a-z]+", f"{name}:{number}")

    def takes(self, command):
        if command in TOOLS:
            return taken_by_tool(command)
        if command in ("get", "delete"):
            return taken("clients/cli/cmd_documents.c") - ({"--all"} if command == "delete" else set())
        if command == "collection":  # one verb is a tool of latentd's, which has a --help of its own
            return taken("clients/cli/cmd_collection.c") | taken_by_tool("import-hnswlib") - {"--config"}
        return taken(f"clients/cli/cmd_{command}.c")

    def test_commands(self):
        page = paragraphs(manual("latent.1"), "COMMANDS")
        self.assertIn("--collection", manual("latent.1"))
        for command in commands():
            with self.subTest(command):
                said, takes = options(text_of(LATENT, command)), self.takes(command)
                missing = takes - said
                if command in TOOLS:  # latentd's own --help has them all
                    missing -= options(text_of(LATENTD, command))
                self.assertEqual(missing, set(), "not in --help")
                self.assertEqual({o for o in said if o.startswith("--")} - takes, set(), "in --help, not taken")
                mine = [(tag, text) for tag, text in page if re.match(rf"(.*, )?{command}\b", tag)]
                self.assertTrue(mine, "not in the manual")
                shown = options(" ".join(tag + "\n" + text for tag, text in mine))
                self.assertEqual(said - shown - {"--collection"}, set(), "not in the manual")
                self.assertEqual(options(" ".join(part for tag, _ in mine for part in tag.split(", ") if part.startswith(command))) - said - takes,
                                 set(), "in the manual alone")

    def test_global(self):
        said = options(text_of(LATENT).split("Options:")[1])
        self.assertEqual(said, GLOBAL)
        self.assertEqual(said, taken("clients/cli/main.c"))
        self.assertEqual(said, options(" ".join(tag for tag, _ in paragraphs(manual("latent.1"), "OPTIONS"))))
        for command in commands():
            self.assertEqual(subprocess.run([LATENT, "help", command], capture_output=True, text=True, check=True).stdout,
                             text_of(LATENT, command))

    def test_daemon(self):
        said = options(text_of(LATENTD).split("\n\n", 1)[1])
        settings = taken("daemon/settings.c", r'(?:TEXT|NUMBER)\("([a-z-]+)"')
        self.assertEqual(said, settings | {"--config", "--recover", "--private"})
        shown = options(manual("latentd.8"))
        self.assertEqual(shown - said - set().union(*(options(text_of(LATENTD, t)) for t in (*TOOLS, "import-hnswlib"))) - {"--all"}, set())
        described = set()
        for tag, _ in paragraphs(manual("latentd.conf.5"), "SETTINGS"):
            described |= {"--" + name for name in re.split(r"[ ,]+", tag) if name}
        self.assertEqual(described, settings)
        with open(os.path.join(SRC, "dist", "latentd.conf"), encoding="utf-8") as f:
            sample = {"--" + name for name in re.findall(r"(?m)^#([a-z-]+) = ", f.read())}
        self.assertEqual(sample, settings)

    def test_tools(self):
        page = manual("latentd.8")
        for tool in (*TOOLS, "import-hnswlib"):
            with self.subTest(tool):
                said = options(text_of(LATENTD, tool))
                self.assertEqual({o for o in said if o.startswith("--")}, taken_by_tool(tool))
                self.assertEqual({o for o in said if o.startswith("--")} - options(page), set(), "not in the manual")
                self.assertIn(f"latentd {tool}", page)

    def test_protocol_has_every_error(self):
        """Who writes a client from PROTOCOL.md alone has their numbers there."""
        with open(os.path.join(SRC, "base", "err.h"), encoding="utf-8") as f:
            errors = re.findall(r'X\((\w+), (\d+), (\d), "(.*?)"\)', f.read())
        with open(os.path.join(SRC, "proto", "PROTOCOL.md"), encoding="utf-8") as f:
            rows = re.findall(r"(?m)^\| (\d+) \| `LT_(\w+)` \| (yes|no) \| (.*) \|$", f.read())
        self.assertEqual(rows, [(number, name, "yes" if retryable == "1" else "no", text) for name, number, retryable, text in errors])
        self.assertGreater(len(rows), 30)

    def test_what_is_not_taken_is_said(self):
        for args, words in ((["-v"], "latent: no option -v"), (["--socket"], "latent: --socket needs a value"),
                            (["search", "--limit", "3", "x"], "latent search: no option --limit"), (["add", "-c"], "latent add: -c needs a value"),
                            (["collection", "--dim"], "latent collection: --dim needs a value"),
                            (["status", "--json=1"], "latent status: --json takes no value"), (["job", "-x", "list"], "latent job: no option -x"),
                            (["frobnicate"], "latent: no command 'frobnicate'"), (["help", "frobnicate"], "latent: no command 'frobnicate'"),
                            (["collection", "delete", "x"], "no verb 'delete': create, list"),
                            (["delete", "-c", "x", "--all"], "latent delete: no option --all: a collection is dropped with all of it by"),
                            (["add", "-c", "x", "--jsonl", "a", "--jsonl", "b"], "latent add: --jsonl takes one file"),
                            (["add", "-c", "x", "--jsonl", "a.jsonl", "b.jsonl"], "latent add: b.jsonl would be added as one text"),
                            (["key", "add", "x", "--rate", "5/s"], "latent key: --rate takes a whole number from 1 to 1000000, not '5/s'"),
                            (["key", "add", "x", "--rate", "0"], "latent key: --rate takes a whole number from 1 to 1000000, not '0'"),
                            (["search", "--json", "-zq", "x"], "latent search: no option -z"), (["search", "--filter=a", "-jc"], "latent search: no option -j"),
                            (["--connect", "h:1", "-zh"], "latent: no option -z"),
                            (["key", "revoke", "KEY", "--rights", "ingest"], "latent key: --rights goes with add, not with revoke"),
                            (["key", "list", "--collections", "a"], "latent key: --collections goes with add, not with list"),
                            (["key", "add", "KEY", "-o", "FILE"], "latent key: -o goes with generate, not with add"),
                            (["key", "generate", "-o", "FILE", "--file", "F"], "latent key: --file goes with list, add and revoke, not with generate"),
                            (["key", "rotate", "--rate", "5"], "latent key: no such verb: 'rotate'"),
                            (["search", "-c", "c", "--queries", "q", "--run", "r", "--json"], "latent search: --json goes not with --queries"),
                            (["search", "-c", "c", "--queries", "q", "--run", "r", "--chunks"], "latent search: --chunks goes not with --queries"),
                            (["search", "-c", "c", "--queries", "q", "--run", "r", "--vector", "[1]"], "latent search: --vector goes not with --queries"),
                            (["check", "FOLDER"], "latentd check: the folder is named with --data, not 'FOLDER'")):
            got = subprocess.run([LATENT, *args], capture_output=True, text=True, timeout=CALL_S)
            self.assertEqual((got.returncode, got.stdout), (2, ""), args)
            self.assertIn(words, got.stderr)
            self.assertRegex(got.stderr, "Try:? latentd? .*--help", args)

    def test_what_latentd_does_not_take_is_said(self):
        for args in (["-xy"], ["--recover", "-xy"], *([tool, "-xy"] for tool in TOOLS), ["import", "--quiet", "-xy"], ["check", "--recover", "-xy"]):
            got = subprocess.run([LATENTD, *args], capture_output=True, text=True, timeout=CALL_S)
            self.assertEqual((got.returncode, got.stdout), (2, ""), args)
            self.assertIn("unknown option -x\n", got.stderr, args)
        for tool in ("bench", "selftest"):  # an unset variable of a script's: the default model is not meant
            got = subprocess.run([LATENTD, tool, "--model", ""], capture_output=True, text=True, timeout=CALL_S)
            self.assertEqual((got.returncode, got.stdout, got.stderr.splitlines()[0]), (2, "", f"latentd {tool}: --model names no file"))

    def test_options_of_a_daemon_before_what_runs_without_one(self):
        """Somebody else's daemon is meant, and what is done is done here."""
        for option in (["--private", "D"], ["--connect", "h:1"], ["--server-key", "K"], ["--key", "K"], ["--model", "M"]):
            for command in (["key", "list"], ["collection", "import-hnswlib", "F"], *([tool] for tool in TOOLS)):
                got = subprocess.run([LATENT, *option, *command], capture_output=True, text=True, timeout=CALL_S)
                self.assertEqual((got.returncode, got.stdout), (2, ""), (option, command))
                self.assertIn(option[0] + " is for a daemon, and this runs without one", got.stderr)


if __name__ == "__main__":
    main()
