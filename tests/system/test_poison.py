#!/usr/bin/env python3
"""Records that can never be embedded, in the middle of the queue: each is named once, taken out and told to whoever waits for it with a
code that says not to try again; what is behind it goes on, in the memory of a run without them, and no start has anything to do."""
import os
import re
import sqlite3
import subprocess
import time
import unittest

from harness import CALL_S, LATENT, QUICK_MODEL, SANITIZED, START_S, STEADY_DEVICE, Daemon, main, needs_faults
from wire import ADD, DELETE, JOB_CLOSE, JOB_LIST, JOB_OPEN, Wire, add, document, unpack

N_LIVE, N = 40, 700
ONE_THREAD = ("--threads", "1")  # of the model: each has working memory once it has had work, so that peaks can be compared
CORRUPT = 26  # base/err.h
FAILED = 4  # a job's state
# Of a document in the queue, and what is said about it.
POISON = {
    "p600": ("DELETE FROM texts WHERE doc = {doc}", "has no text"),
    "p601": ("UPDATE chunks SET end = 2000000000 WHERE chunk = {chunk}", "lies outside its text"),
    "p602": ("UPDATE chunks SET start = -5 WHERE chunk = {chunk}", "lies outside its text"),
    "p603": ("UPDATE texts SET text = x'c3280a' WHERE doc = {doc}; UPDATE chunks SET end = 3 WHERE chunk = {chunk}", "UTF-8"),
    "p604": ("UPDATE documents SET n_chunks = 2000000000 WHERE doc = {doc}", "chunks"),
    "p605": ("UPDATE documents SET first_chunk = 1 WHERE doc = {doc}", "chunks"),
    "p607": ("UPDATE documents SET n_pending = 7 WHERE doc = {doc}", "chunks"),
}
# These are mended on the way: a vector that is there already, and a live version without text, which another one replaces.
HARMLESS = {
    "p606": "INSERT INTO vectors VALUES({chunk}, x'00')",
    "live1": "DELETE FROM texts WHERE doc = (SELECT min(doc) FROM documents WHERE id = 'live1')",
}


def text(name, words=14):
    """As it is, about 150 of the quick model's tokens: a batch of the steady device each."""
    return f"{name} tells of " + " ".join(f"subject{(len(name) * 7 + j) % 97}" for j in range(words))


def peak(d):
    """Bytes that the daemon had resident at most, since its start."""
    with open(f"/proc/{d.process.pid}/status", encoding="ascii") as f:
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))


class Poison(unittest.TestCase):
    def store(self, d):
        db = sqlite3.connect(os.path.join(d.data, "store.db"), timeout=60)
        db.execute("PRAGMA wal_autocheckpoint = 0")
        self.addCleanup(db.close)
        return db

    def job(self, w, job):
        for raw in w.call(JOB_LIST, []).body(JOB_LIST)[1]:
            row = {k: v[0] for k, v in unpack(raw).items()}
            if row[1] == job:
                return row
        raise AssertionError(job)

    def queue(self, d):
        """A daemon with a slow device, killed with most of a job in its queue; the job's number."""
        d.latent("collection", "create", "c")
        d.add("c", [{"id": f"live{i}", "text": text(f"live{i}")} for i in range(N_LIVE)])
        with Wire(d.socket) as w:
            job = w.call(JOB_OPEN, [(1, "c"), (2, "import"), (3, N)]).body(JOB_OPEN)[1][0]
            names = [f"p{i}" for i in range(N)] + ["live1"]
            for at in range(0, len(names), 300):
                reply = w.call(ADD, add("c", [document(n, text(n) + " anew") for n in names[at:at + 300]], wait_accepted=True, job=job))
                self.assertEqual(reply.code, 0, reply.message)
        d.kill()
        d.env["LATENTD_FAULT"] = ""
        return job

    def poison(self, d):
        db = self.store(d)
        for name, sql in {**{k: v[0] for k, v in POISON.items()}, **HARMLESS}.items():
            doc, chunk = db.execute("SELECT doc, first_chunk FROM documents WHERE live = 0 AND id = ?", (name,)).fetchone()
            for one in sql.format(doc=doc, chunk=chunk).split("; "):
                self.assertEqual(db.execute(one).rowcount, 1, one)
        db.commit()
        db.close()

    def finish(self, d, job):
        """Starts again and waits for the job's end, while a client adds and waits for that; the daemon's peak of memory."""
        d.start()
        with Wire(d.socket, timeout=START_S) as w:
            reply = w.call(ADD, add("c", [document("late", "a late one")]))
            self.assertEqual((reply.code, 4 in reply.body(ADD)), (0, False), reply.message)
            self.assertEqual(w.call(JOB_CLOSE, [(1, job)]).code, 0)
            end = time.monotonic() + START_S
            while self.job(w, job).get(4, 0) == 1:
                self.assertLess(time.monotonic(), end, d.log_text()[-3000:])
                time.sleep(0.05)
        return peak(d)

    @needs_faults
    @unittest.skipIf(SANITIZED, "a sanitizer's own memory is in the way")
    def test_memory(self):
        peaks = []
        for poisoned in (False, True):
            with Daemon(*QUICK_MODEL, *ONE_THREAD, env={"MALLOC_PERTURB_": "0", **STEADY_DEVICE}) as d:
                job = self.queue(d)
                if poisoned:
                    self.poison(d)
                peaks.append(self.finish(d, job))
                self.assertEqual(d.status()["collections"][0]["documents"], N_LIVE + N + 1 - (len(POISON) if poisoned else 0))
        print(f"at most resident: {peaks[0] >> 20} MiB, with poisoned records {peaks[1] >> 20}")
        self.assertLess(peaks[1], peaks[0] * 1.1 + (4 << 20))

    @needs_faults
    def test_taken_out(self):
        with Daemon(*QUICK_MODEL, env=STEADY_DEVICE) as d:
            job = self.queue(d)
            self.poison(d)
            before = len(d.log_text())
            self.finish(d, job)
            with Wire(d.socket) as w:
                row = self.job(w, job)
                self.assertEqual((row[4], row[6], row[7], row.get(8, 0)), (FAILED, N + 1 - len(POISON), len(POISON), 0))
            failed, = [j for j in d.json_lines("job", "list", "--json") if j["job"] == job]
            self.assertRegex(failed["last_error"], "^p60[0-57]: ")
            self.assertIn(failed["last_error"], d.latent("job", "list").stdout)
            log = d.log_text()[before:]
            for name, (_, why) in POISON.items():
                lines = [line for line in log.splitlines() if f"'{name}'" in line]
                self.assertEqual(len(lines), 1, lines)
                self.assertIn(why, lines[0])
                self.assertEqual(d.json_lines("get", "-c", "c", name) if d.latent("get", "-c", "c", name, check=False).returncode == 0
                                 else [], [])
            self.assertNotIn("trying again", log)
            for name in ("p599", "p606", "p608", f"p{N - 1}", "late", "live0", "live2"):
                self.assertEqual(len(d.json_lines("get", "-c", "c", name)), 1, name)
            self.assertEqual(d.search("c", "--mode", "dense", "-k", "1", text("live1") + " anew")[0]["id"], "live1")
            # Given again, they are like any other.
            d.add("c", [{"id": name, "text": text(name)} for name in POISON])
            self.assertEqual(d.status()["warning"], "")
            self.assertEqual(d.status()["collections"][0]["documents"], N_LIVE + N + 1)
            for _ in range(2):
                self.assertEqual(d.stop(), 0)
                before = len(d.log_text())
                d.start()
                self.assertNotRegex(d.log_text()[before:], " warn | error ")
            self.assertEqual(d.stop(), 0)
            # What live1's lost text had put into the word index is all that is left.
            got = subprocess.run([LATENT, "check", "--data", d.data, "--repair"], capture_output=True, text=True, timeout=CALL_S)
            self.assertEqual(got.returncode, 0, got.stdout)
            self.assertNotIn("document", got.stdout.replace("documents,", ""))

    @needs_faults
    def test_told_to_who_waits(self):
        """The client's other documents go in, the poisoned one is an error of its own that is not retryable."""
        with Daemon(*QUICK_MODEL, env=STEADY_DEVICE) as d:
            d.latent("collection", "create", "c")
            db = self.store(d)
            with Wire(d.socket) as w:
                first = w.send(ADD, add("c", [document(f"p{i}", text(f"p{i}", 5)) for i in range(600)], wait_accepted=True))
                second = w.send(ADD, add("c", [document(n, text(n)) for n in ("a", "b", "x")]))
                self.assertEqual(w.receive().id, first)
                end = time.monotonic() + START_S  # a moment later it is the store's, with a long queue before it
                while not (row := db.execute("SELECT doc FROM documents WHERE id = 'b'").fetchone()):
                    self.assertLess(time.monotonic(), end)
                db.execute("DELETE FROM texts WHERE doc = ?", row)
                db.commit()
                reply = w.receive()
                self.assertEqual((reply.id, reply.code), (second, 0), reply.message)
                body = reply.body(ADD)
                self.assertEqual(body[3], [2])
                item, = [unpack(raw) for raw in body[4]]
                error = unpack(item[3][0])
                self.assertEqual((item[2], error[1], error.get(3)), ([b"b"], [CORRUPT], None))
                self.assertIn(b"has no text", error[2][0])

    def test_delete_and_replace(self):
        """A stored document whose text is lost can be deleted and replaced, beside others of the same moment."""
        with Daemon(*QUICK_MODEL) as d:
            d.latent("collection", "create", "c")
            d.add("c", [{"id": f"d{i}", "text": text(f"d{i}")} for i in range(30)])
            d.stop()
            db = self.store(d)
            db.execute("DELETE FROM texts WHERE doc IN (SELECT doc FROM documents WHERE id IN ('d3', 'd4', 'd5', 'd6'))")
            db.execute("UPDATE documents SET n_chunks = 70000 WHERE id = 'd7'")
            db.execute("UPDATE documents SET first_chunk = 2 WHERE id = 'd8'")
            db.commit()
            db.close()
            d.start()
            self.assertIn("no text", d.latent("get", "-c", "c", "d6", check=False).stderr)
            with Wire(d.socket) as w:
                sent = [w.send(DELETE, [(1, "c"), (2, f"d{i}")]) for i in (3, 7, 8, 9)]
                sent.append(w.send(ADD, add("c", [document("d4", text("d4")), document("e", text("e"))])))
                replies = {r.id: r for r in (w.receive() for _ in sent)}
                self.assertEqual([(replies[i].code, replies[i].message) for i in sent], [(0, "")] * 5)
            d.add("c", [{"id": "d5", "text": text("d5")}])
            for i in (0, 1, 2, 4, 5, 10, 29):
                self.assertEqual(d.search("c", "--mode", "dense", "-k", "1", text(f"d{i}"))[0]["id"], f"d{i}")
                self.assertEqual(d.search("c", "--mode", "text", "-k", "1", f"d{i}")[0]["id"], f"d{i}")
            self.assertEqual(d.status()["collections"][0]["documents"], 27)
            self.assertEqual(d.stop(), 0)

    def test_words_damaged(self):
        """A collection whose word index is beyond use: adding to it is refused for good, however often it is tried, with a bounded
        log and memory; another collection is not touched by it; nothing that was accepted is lost when it has been repaired."""
        with Daemon(*QUICK_MODEL, *ONE_THREAD, env={"MALLOC_PERTURB_": "0"}) as d:
            d.latent("collection", "create", "c")
            d.latent("collection", "create", "other")
            d.add("c", [{"id": f"d{i}", "text": text(f"d{i}")} for i in range(300)])
            d.stop()
            db = self.store(d)
            db.execute("UPDATE words_1_data SET block = x'ffffffffffffffffff' WHERE id = 10")
            db.commit()
            db.close()
            d.start()
            high = 0
            for i in range(30):
                with Wire(d.socket, timeout=START_S) as w:
                    bad = w.send(ADD, add("c", [document(f"new{i}", text(f"new{i}"))]))
                    good = w.send(ADD, add("other", [document(f"o{i}", text(f"o{i}"))]))
                    replies = {r.id: r for r in (w.receive(), w.receive())}
                    self.assertEqual((replies[good].code, 4 in replies[good].body(ADD)), (0, False), replies[good].message)
                    self.assertEqual((replies[bad].code, replies[bad].retryable), (CORRUPT, False), replies[bad].message)
                    self.assertIn("check --repair", replies[bad].message)
                if i == 9:  # every thread has had its first work
                    high = peak(d)
            if not SANITIZED:
                self.assertLess(peak(d), high * 1.1 + (4 << 20))
            self.assertIn("check --repair", d.status()["warning"])
            self.assertLess(d.log_text().count(" error "), 100)
            self.assertEqual(d.stop(), 0)
            copy = d.data + ".copy"  # words can be made anew, so they do not keep a backup from being made
            for command in (["backup", "--data", d.data, copy], ["check", "--data", copy, "--repair"], ["check", "--data", copy],
                            ["check", "--data", d.data, "--repair"]):
                got = subprocess.run([LATENT, *command], capture_output=True, text=True, timeout=CALL_S)
                self.assertEqual(got.returncode, 0, (command, got.stdout, got.stderr))
            d.start()
            end = time.monotonic() + START_S
            while d.status()["queue"]["pending_chunks"]:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.05)
            self.assertEqual(d.status()["warning"], "")
            for i in (0, 15, 29):
                self.assertEqual(d.search("c", "--mode", "dense", "-k", "1", text(f"new{i}"))[0]["id"], f"new{i}")


if __name__ == "__main__":
    main()
