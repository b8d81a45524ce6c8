#!/usr/bin/env python3
"""Ingest as a job: listed, cancelled while it runs, alive after kill -9, never embedded twice, and abandoned where its client died."""
import json
import os
import pty
import re
import signal
import subprocess
import tempfile
import time
import unittest

from harness import CALL_S, LATENT, QUICK_MODEL, STEADY_DEVICE, Daemon, main, needs_faults
from wire import ADD, GET, JOB_CANCEL, JOB_CLOSE, JOB_LIST, JOB_OPEN, Wire, add, document, unpack

N_BATCHES = 10
N_BATCH = 80
STATE_OPEN, STATE_DONE, STATE_CANCELLED, STATE_FAILED, STATE_ABANDONED = 0, 2, 3, 4, 5
CANCELLED = 23  # LT_ECANCELLED


def text(i):
    """About 60 of the model's tokens: four in a batch of the steady device."""
    return f"document {i} about " + " ".join(f"subject{(i * 7 + j) % 97} matter{(i + j) % 89}" for j in range(3))


def batch(b):
    return [document(f"d{i}", text(i)) for i in range(b * N_BATCH, (b + 1) * N_BATCH)]


def job_row(w, job):
    for raw in w.call(JOB_LIST, []).body(JOB_LIST).get(1, []):
        row = {field: values[0] for field, values in unpack(raw).items()}
        if row[1] == job:
            return {"state": row.get(4, 0), "accepted": row.get(5, 0), "searchable": row.get(6, 0), "failed": row.get(7, 0),
                    "pending": row.get(8, 0), "received": row.get(14, 0), "done": row.get(15, 0)}
    raise AssertionError(f"no job {job}")


def wait_for(w, job, done):
    end = time.monotonic() + CALL_S
    while time.monotonic() < end:
        row = job_row(w, job)
        if done(row):
            return row
        time.sleep(0.01)
    raise AssertionError(f"job {job} stays {row}")


def begin(w, n_batches=N_BATCHES):
    """A job with more work than is done when this returns; every document is durable."""
    job = w.call(JOB_OPEN, [(1, "c"), (2, "import"), (3, N_BATCH * n_batches)]).body(JOB_OPEN)[1][0]
    sent = [w.send(ADD, add("c", batch(b), wait_accepted=True, job=job)) for b in range(n_batches)]
    for _ in sent:
        reply = w.receive()
        assert reply.code == 0, (reply.code, reply.message)
    return job


def unignored():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def adding(d):
    """A `latent add` that reads its lines from here, and for which no signal is ignored."""
    return subprocess.Popen([LATENT, "--socket", d.socket, "add", "-c", "c", "--jsonl", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, preexec_fn=unignored)


def texts_done(d):
    return d.status()["queue"]["texts_done"]


class Jobs(unittest.TestCase):
    @needs_faults
    def test_cancel_running_work(self):
        with Daemon(*QUICK_MODEL, env=STEADY_DEVICE) as d:
            d.latent("collection", "create", "c")
            with Wire(d.socket) as w:
                job = begin(w)
                wait_for(w, job, lambda row: row["searchable"] > 0)
                self.assertEqual(d.latent("job", "cancel", str(job)).returncode, 0)
                row = wait_for(w, job, lambda row: row["state"] == STATE_CANCELLED)
                self.assertEqual(row["pending"], 0)
                self.assertEqual(row["accepted"], N_BATCH * N_BATCHES)
                kept = row["searchable"]
                self.assertTrue(0 < kept < N_BATCH * N_BATCHES, kept)
                # what was searchable stays, the rest is gone from everywhere
                info = d.json_lines("collection", "info", "c", "--json")[0]
                self.assertEqual(info["documents"], kept)
                self.assertEqual(w.call(GET, [(1, "c"), (2, f"d{N_BATCH * N_BATCHES - 1}")]).body(GET).get(1, []), [])
                # and the job takes nothing more; cancelling again changes nothing
                late = w.call(ADD, add("c", [document("late", "a late text")], job=job)).body(ADD)
                self.assertNotIn(3, late)  # none went in
                self.assertEqual(unpack(unpack(late[4][0])[3][0])[1], [CANCELLED])
                self.assertEqual(d.latent("job", "cancel", str(job)).returncode, 0)
                self.assertEqual(job_row(w, job)["searchable"], kept)
            d.kill()
            d.start()
            with Wire(d.socket) as w:
                self.assertEqual(job_row(w, job)["state"], STATE_CANCELLED)
            self.assertEqual(d.json_lines("collection", "info", "c", "--json")[0]["documents"], kept)
            self.assertEqual(texts_done(d), 0)
            d.add("c", [{"id": "new", "text": "work goes on"}])
            self.assertEqual(d.search("c", "work goes on")[0]["id"], "new")

    @needs_faults
    def test_survives_kill_without_embedding_again(self):
        with Daemon(*QUICK_MODEL, env=STEADY_DEVICE) as d:
            d.latent("collection", "create", "c")
            with Wire(d.socket) as w:
                job = begin(w)
                self.assertEqual(w.call(JOB_CLOSE, [(1, job)]).code, 0)
                done = wait_for(w, job, lambda row: row["searchable"] > 0)["searchable"]
                while not re.search(r"(?m)^ +at d\d+\n +\d+ %, about \d.* left$", d.latent("job", "list").stdout):
                    row = job_row(w, job)  # between two batches there may be no item
                    self.assertGreater(row["pending"], 0, row)
            d.kill()
            d.env["LATENTD_FAULT"] = ""
            d.start()
            with Wire(d.socket) as w:
                row = wait_for(w, job, lambda row: row["state"] == STATE_DONE)
            self.assertEqual((row["searchable"], row["failed"], row["pending"]), (N_BATCH * N_BATCHES, 0, 0))
            self.assertLessEqual(texts_done(d), N_BATCH * N_BATCHES - done)
            self.assertEqual(d.search("c", text(3))[0]["id"], "d3")

    @needs_faults
    def test_killed_while_it_cancels(self):
        """The documents that a cancellation had not come to go after the next start; none is embedded."""
        with Daemon(*QUICK_MODEL, env=STEADY_DEVICE) as d:
            d.latent("collection", "create", "c")
            d.stop()
            d.env["LATENTD_FAULT"] += ",job.bite:1=kill"
            d.start()
            with Wire(d.socket) as w:
                job = begin(w)
                with self.assertRaises(OSError):
                    w.call(JOB_CANCEL, [(1, job)])
            d.process.wait(CALL_S)
            d.env["LATENTD_FAULT"] = ""
            d.start()
            with Wire(d.socket) as w:
                row = wait_for(w, job, lambda row: row["pending"] == 0)
                self.assertEqual((row["state"], row["accepted"]), (STATE_CANCELLED, N_BATCH * N_BATCHES))
                self.assertEqual(d.json_lines("collection", "info", "c", "--json")[0]["documents"], row["searchable"])
                self.assertEqual(w.call(GET, [(1, "c"), (2, f"d{N_BATCH * N_BATCHES - 1}")]).body(GET).get(1, []), [])
                self.assertEqual(w.call(JOB_CANCEL, [(1, job)]).code, 0)
                self.assertEqual(texts_done(d), 0)
                d.add("c", [{"id": "new", "text": "work goes on"}])

    @needs_faults
    def test_cancelled_twice_at_once(self):
        """And closed and added to meanwhile: everybody is answered when all has gone."""
        with Daemon(*QUICK_MODEL, env=STEADY_DEVICE) as d, Wire(d.socket) as w, Wire(d.socket) as other:
            d.latent("collection", "create", "c")
            job = begin(w)
            cancels = [(x, x.send(JOB_CANCEL, [(1, job)])) for x in (w, other, w)]
            other.send(JOB_CLOSE, [(1, job)])
            other.send(ADD, add("c", [document("kept", "a text of its own"), document("d799", "back again")], wait_accepted=True))
            for x, _ in cancels:
                reply = x.receive()
                self.assertEqual((reply.code, reply.message), (0, ""))
            for _ in range(2):
                self.assertEqual(other.receive().code, 0)
            row = wait_for(w, job, lambda row: row["pending"] == 0)
            self.assertEqual(row["state"], STATE_CANCELLED)
            self.assertEqual(row["received"], row["done"])
            self.assertEqual(d.json_lines("collection", "info", "c", "--json")[0]["documents"], row["searchable"] + 2)

    def test_time_left_is_told_when_it_can_be_known(self):
        with Daemon() as d, Wire(d.socket) as w:
            d.latent("collection", "create", "c")
            job = w.call(JOB_OPEN, [(1, "c"), (2, "label"), (4, 1000)]).body(JOB_OPEN)[1][0]
            for size, said in ((9, r"(?m)^ +1 %$"), (1, r"(?m)^ +1 %, about \d.* left$")):
                w.call(ADD, add("c", [document(str(size), "a text", source_bytes=size)], job=job))
                self.assertRegex(d.latent("job", "list").stdout, said)

    def state_of(self, w, job):
        row = job_row(w, job)
        return row["state"], row["received"], row["done"]

    def test_client_killed(self):
        """What a client sent before kill -9 becomes searchable, then its job is abandoned; another one goes on with it and closes it."""
        lines = [json.dumps({"id": f"d{i}", "text": f"line number {i}"}) + "\n" for i in range(300)]
        sent = 256  # whole batches of 128: the third waits for more
        with Daemon(*QUICK_MODEL) as d:
            d.latent("collection", "create", "c")
            client = subprocess.Popen([LATENT, "--socket", d.socket, "add", "-c", "c", "--jsonl", "-"], stdin=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL, text=True)
            try:
                client.stdin.write("".join(lines))
                client.stdin.flush()
                with Wire(d.socket) as w:
                    end = time.monotonic() + CALL_S
                    while not d.json_lines("job", "list", "--json"):
                        self.assertLess(time.monotonic(), end)
                    row = wait_for(w, 1, lambda row: row["searchable"] == sent)
                    self.assertEqual(row["state"], STATE_OPEN)
                    client.kill()
                    client.wait()
                    wait_for(w, 1, lambda row: row["state"] == STATE_ABANDONED)
                    n = sum(map(len, lines[:sent]))
                    self.assertEqual(self.state_of(w, 1), (STATE_ABANDONED, n, n))
                    said = d.latent("job", "list").stdout
                    self.assertRegex(said, r"(?m)^ +1  abandoned ")
                    # A connection that had nothing to do with it.
                    w.call(JOB_OPEN, [(1, "c")])
                    with Wire(d.socket) as other:
                        self.assertEqual(other.call(ADD, add("c", [document("more", "one more line", source_bytes=50)], job=1)).code, 0)
                        for _ in range(3):  # each ends a connection and changes something
                            d.add("c", [{"id": "x", "text": "apart from it"}])
                            self.assertEqual(self.state_of(w, 1), (STATE_OPEN, n + 50, n + 50))
                    wait_for(w, 1, lambda row: row["state"] == STATE_ABANDONED)
                    self.assertEqual(w.call(JOB_CLOSE, [(1, 1)]).code, 0)
                    self.assertEqual(job_row(w, 1)["state"], STATE_DONE)
                    self.assertEqual(job_row(w, 2)["state"], STATE_OPEN)  # its client is there yet
            finally:
                client.stdin.close()
                client.kill()
                client.wait()

    def ended_by_cancel(self, d, client, said, added):
        self.assertEqual(client.returncode, 1)
        first, summary, stays = said.splitlines()
        self.assertEqual(first, "latent: c: the job was cancelled (LATENT_ECANCELLED)")
        self.assertRegex(summary, f"^{added} added to c ")
        there = d.json_lines("collection", "info", "c", "--json")[0]["documents"]
        self.assertRegex(stays, f"^{there} documents? of the job stays? in c; those that search did not find yet were dropped.$")

    @needs_faults
    def test_cancelled_while_added_to(self):
        """The client is told, and says so once, however many of its requests are refused for it."""
        with Daemon(*QUICK_MODEL, env=STEADY_DEVICE) as d:
            d.latent("collection", "create", "c")
            client = subprocess.Popen([LATENT, "--socket", d.socket, "add", "-c", "c", "--jsonl", "-"], stdin=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True)
            try:
                for i in range(20 * 128):  # more than are in flight at a time
                    client.stdin.write(json.dumps({"id": f"d{i}", "text": f"line number {i}"}) + "\n")
                client.stdin.flush()
                end = time.monotonic() + CALL_S
                while not [j for j in d.json_lines("job", "list", "--json") if j["accepted"] >= 256]:
                    self.assertLess(time.monotonic(), end)
                d.latent("job", "cancel", "1")
                said = client.communicate(timeout=CALL_S)[1]
            finally:
                client.kill()
                client.wait()
            self.ended_by_cancel(d, client, said, r"\d+ documents?")
            self.assertEqual(d.json_lines("job", "list", "--json")[0]["state"], "cancelled")

    def test_added_to_after_a_cancel(self):
        """What comes only then is refused document by document, and that is said once as well."""
        with Daemon(*QUICK_MODEL) as d:
            d.latent("collection", "create", "c")
            client = subprocess.Popen([LATENT, "--socket", d.socket, "add", "-c", "c", "--jsonl", "-"], stdin=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True)
            lines = [json.dumps({"id": f"d{i}", "text": f"line number {i}"}) + "\n" for i in range(5 * 128)]
            try:
                client.stdin.write("".join(lines[:257]))  # whole batches of 128: the last waits for more
                client.stdin.flush()
                end = time.monotonic() + CALL_S
                while not [j for j in d.json_lines("job", "list", "--json") if j["searchable"] == 256]:
                    self.assertLess(time.monotonic(), end)
                d.latent("job", "cancel", "1")
                said = client.communicate("".join(lines[257:]), timeout=CALL_S)[1]
            finally:
                client.kill()
                client.wait()
            self.ended_by_cancel(d, client, said, "256 documents")

    @needs_faults
    def test_killed_while_added_to(self):
        """The client says of how many it does not know whether they are in."""
        with Daemon(*QUICK_MODEL, env=STEADY_DEVICE) as d:
            d.latent("collection", "create", "c")
            client = subprocess.Popen([LATENT, "--socket", d.socket, "add", "-c", "c", "--jsonl", "-"], stdin=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True)
            try:
                client.stdin.write("".join(json.dumps({"id": f"d{i}", "text": f"line number {i}"}) + "\n" for i in range(257)))
                client.stdin.flush()
                end = time.monotonic() + CALL_S
                while not [j for j in d.json_lines("job", "list", "--json") if j["accepted"] == 256]:
                    self.assertLess(time.monotonic(), end)
                d.kill()
                said = client.communicate(timeout=CALL_S)[1]
            finally:
                client.kill()
                client.wait()
            self.assertEqual(client.returncode, 2)
            added, more = re.search(r"(?m)^(\d+) documents added to c .*\nUp to (\d+) more that were on their way may be in c, too\.$", said).groups()
            self.assertIn(int(added) + int(more), (256, 257))  # the last line is sent at the end of input, and the client may not know yet
            d.start()

    def interrupted(self, d, number):
        """What an add says that has two requests' 256 documents in as the signal comes."""
        before = [j["job"] for j in d.json_lines("job", "list", "--json")]
        client = adding(d)
        try:
            client.stdin.write("".join(json.dumps({"id": f"d{i}", "text": f"line number {i}"}) + "\n" for i in range(257)))
            client.stdin.flush()
            end = time.monotonic() + CALL_S
            while not [j for j in d.json_lines("job", "list", "--json") if j["accepted"] == 256 and j["job"] not in before]:
                self.assertLess(time.monotonic(), end)
            client.send_signal(number)
            end_of_input, client.stdin = client.stdin, None  # it stays open: the signal alone ends the client
            said = client.communicate(timeout=CALL_S)[1]
            end_of_input.close()
        finally:
            client.kill()
            client.wait()
        self.assertEqual(client.returncode, -number)  # a shell's 130, and its loops end
        return said

    @needs_faults
    def test_interrupted(self):
        """Ctrl-C: what is in is told, those included that the client had no answer for yet, and the job is closed."""
        with Daemon(*QUICK_MODEL, env=STEADY_DEVICE) as d:
            d.latent("collection", "create", "c")
            for number in (signal.SIGINT, signal.SIGTERM):
                first, summary, *more, last = self.interrupted(d, number).splitlines()
                self.assertEqual(first, "latent: interrupted")
                added = int(re.match(r"(\d+) documents added to c ", summary)[1])
                if added < 256:
                    self.assertRegex(more[0], r"^In all 256 of its documents are in c, \d+ chunks? of them not searchable yet\.$")
                self.assertEqual(len(more), added < 256)
                self.assertEqual(last, "What was added stays. Run it again to go on: what is there is not embedded again.")
                self.assertEqual(d.json_lines("collection", "info", "c", "--json")[0]["documents"], 256)
                self.assertNotIn("open", [j["state"] for j in d.json_lines("job", "list", "--json")])

    @needs_faults
    def test_interrupted_eval(self):
        """Its collection does not stay, with all that waits there to be embedded."""
        with Daemon(*QUICK_MODEL, env=STEADY_DEVICE) as d, tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "qrels"))
            for name, lines in (("corpus.jsonl", [json.dumps({"_id": f"d{i}", "title": "", "text": text(i)}) for i in range(3000)]),
                                ("queries.jsonl", [json.dumps({"_id": "q", "text": "subject"})]),
                                (os.path.join("qrels", "test.tsv"), ["query-id\tcorpus-id\tscore", "q\td1\t1"])):
                with open(os.path.join(folder, name), "w") as f:
                    f.write("\n".join(lines) + "\n")
            client = subprocess.Popen([LATENT, "--socket", d.socket, "eval", folder], stderr=subprocess.PIPE, text=True, preexec_fn=unignored)
            end = time.monotonic() + CALL_S
            while not [c for c in d.json_lines("collection", "list", "--json") if c["documents"]]:
                self.assertLess(time.monotonic(), end)
            client.send_signal(signal.SIGINT)
            said = client.communicate(timeout=CALL_S)[1]
            self.assertEqual(client.returncode, -signal.SIGINT)
            self.assertRegex(said, r"^\d+ documents in .*\nlatent: interrupted\n$")
            self.assertEqual(d.json_lines("collection", "list", "--json"), [])

    @needs_faults
    def test_collection_dropped_while_added_to(self):
        """Nothing is said to be in it."""
        with Daemon(*QUICK_MODEL, env=STEADY_DEVICE) as d:
            d.latent("collection", "create", "c")
            client = adding(d)
            client.stdin.write("".join(json.dumps({"id": f"d{i}", "text": text(i)}) + "\n" for i in range(512)))
            client.stdin.flush()
            end = time.monotonic() + CALL_S
            while not [j for j in d.json_lines("job", "list", "--json") if j["accepted"] >= 256]:
                self.assertLess(time.monotonic(), end)
            d.latent("collection", "drop", "c")
            said = client.communicate(timeout=CALL_S)[1]
            self.assertEqual(client.returncode, 1)
            self.assertRegex(said, r"^latent: c: .*\(LATENT_ENOTFOUND\)\n\d+ documents? added to c [^\n]*\n$")

    def test_interrupted_without_a_daemon(self):
        """One that hangs or has gone cannot be asked."""
        with Daemon(*QUICK_MODEL) as d:
            d.latent("collection", "create", "c")
            client = adding(d)
            try:
                end = time.monotonic() + CALL_S
                while not d.json_lines("job", "list", "--json"):
                    self.assertLess(time.monotonic(), end)
                d.kill()
                client.send_signal(signal.SIGINT)
                client.wait(timeout=CALL_S)
                said = client.stderr.read()
            finally:
                client.stdin.close()
                client.stderr.close()
                client.kill()
                client.wait()
            self.assertEqual(client.returncode, -signal.SIGINT)
            self.assertRegex(said, r"^latent: interrupted\nlatent: .*: no daemon answers there \(LATENT_ECONN\)\n")
            self.assertIn("\n0 documents added to c ", said)
            d.start()

    def test_daemon_killed(self):
        """The jobs of a run that ended are nobody's: what they have is embedded, then they are abandoned."""
        with Daemon(*QUICK_MODEL) as d:
            d.latent("collection", "create", "c")
            with Wire(d.socket) as w:
                job = begin(w, 1)
                idle = w.call(JOB_OPEN, [(1, "c"), (2, "idle")]).body(JOB_OPEN)[1][0]
                d.kill()
            d.start()
            with Wire(d.socket) as w:
                wait_for(w, idle, lambda row: row["state"] == STATE_ABANDONED)
                row = wait_for(w, job, lambda row: row["state"] != STATE_OPEN)
                self.assertEqual((row["state"], row["searchable"], row["pending"]), (STATE_ABANDONED, N_BATCH, 0))
                self.assertEqual(row["received"], row["done"])
                d.stop()
            d.start()
            with Wire(d.socket) as w:
                self.assertEqual(w.call(JOB_CANCEL, [(1, job)]).code, 0)
                self.assertEqual(job_row(w, job)["state"], STATE_CANCELLED)

    def test_bytes(self):
        """Bytes as the client says, or those of the strings; of refused documents as well; forged ones do no harm."""
        with Daemon(*QUICK_MODEL) as d, Wire(d.socket) as w:
            d.latent("collection", "create", "c")
            job = w.call(JOB_OPEN, [(1, "c"), (2, "sizes"), (4, 900)]).body(JOB_OPEN)[1][0]
            w.call(ADD, add("c", [document("a", "four", title="t", metadata="{}")], job=job))
            self.assertEqual(self.state_of(w, job), (STATE_OPEN, 8, 8))
            self.assertRegex(d.latent("job", "list").stdout, r"(?m)^ +8 of 900 B done\n +1 %$")
            w.call(ADD, add("c", [document("b", "four", source_bytes=92), document("", "bad", source_bytes=100), document("bad", "")], job=job))
            self.assertEqual(self.state_of(w, job), (STATE_OPEN, 203, 203))
            w.call(ADD, add("c", [document("c", "four", source_bytes=2**32 - 1)] * 3, job=job))
            self.assertEqual(self.state_of(w, job), (STATE_OPEN, 203 + 3 * (2**32 - 1), 203 + 3 * (2**32 - 1)))
            for forged in (2**32, 2**63, 2**64 - 1):
                reply = w.call(ADD, add("c", [document("f", f"number {forged}", source_bytes=forged)], job=job))
                self.assertEqual(reply.code, 0)
            row = job_row(w, job)
            self.assertEqual(row["received"], row["done"])
            self.assertLess(row["received"], 10 * 2**32)
            bad = [document("x", "text") + [(6, b"5")], document("x", "text") + [(6, 1), (6, 2)]]
            for fields in bad:  # another type, and twice
                self.assertNotEqual(w.call(ADD, add("c", [fields], job=job)).code, 0)

    def test_last_failure(self):
        """Which document it was, and why, however long its name."""
        with Daemon(*QUICK_MODEL) as d, Wire(d.socket) as w:
            d.latent("collection", "create", "c")
            job = w.call(JOB_OPEN, [(1, "c")]).body(JOB_OPEN)[1][0]
            for name, begins in (("d1", "d1: "), ("x" + "\u20ac" * 150, "x" + "\u20ac" * 39 + ": "), (b"a\xffb", "ab: "), ("", "the id")):
                w.call(ADD, add("c", [document("fine", "a text"), document(name, " ")], job=job))
                row = d.json_lines("job", "list", "--json")[0]
                self.assertTrue(row["last_error"].startswith(begins), row)
                self.assertRegex(row["last_error"], r"empty|UTF-8")
                self.assertNotIn("LT_", row["last_error"])

    def test_what_is_over_stays_as_it_ended(self):
        """Documents that come for it are refused, whatever they are, and count nowhere."""
        late = [document("late", "a late text"), document("blank", "")]
        with Daemon(*QUICK_MODEL) as d, Wire(d.socket) as w:
            d.latent("collection", "create", "c")
            for end, state, code in ((JOB_CLOSE, STATE_DONE, 1), (JOB_CANCEL, STATE_CANCELLED, CANCELLED)):
                job = w.call(JOB_OPEN, [(1, "c")]).body(JOB_OPEN)[1][0]
                self.assertEqual(w.call(ADD, add("c", [document("a", "a text")], job=job)).code, 0)
                self.assertEqual(w.call(end, [(1, job)]).code, 0)
                before = job_row(w, job)
                self.assertEqual(before["state"], state)
                reply = w.call(ADD, add("c", late, job=job)).body(ADD)
                self.assertNotIn(3, reply)  # none went in
                self.assertEqual([unpack(unpack(e)[3][0])[1] for e in reply[4]], [[code], [10]])  # LT_EEMPTY
                w.call(ADD, add("c", late[1:], job=job))
                self.assertEqual(job_row(w, job), before)
            # One that was open when its document was refused has failed, however soon it was closed.
            job = w.call(JOB_OPEN, [(1, "c")]).body(JOB_OPEN)[1][0]
            w.send(ADD, add("c", late[1:], job=job))
            w.send(JOB_CLOSE, [(1, job)])
            for _ in range(2):
                self.assertEqual(w.receive().code, 0)
            self.assertEqual((job_row(w, job)["state"], job_row(w, job)["failed"]), (STATE_FAILED, 1))

    def test_progress(self):
        """The line on a terminal tells bytes, and never more than its width nor what would move the cursor."""
        with Daemon(*QUICK_MODEL) as d:
            d.latent("collection", "create", "c")
            path = os.path.join(d.folder, "docs.jsonl")
            with open(path, "w", encoding="utf-8") as f:
                f.writelines(json.dumps({"id": f"\u001b[2J{i} " + "é" * 100, "text": f"line number {i}"}) + "\n" for i in range(300))
            size = os.path.getsize(path)
            for width in (40, 200):
                try:
                    ours, theirs = pty.openpty()
                except OSError as e:
                    self.skipTest(f"no terminal to be had: {e}")
                client = subprocess.Popen(["sh", "-c", f'stty cols {width} <&2; exec "$@"', "sh", LATENT, "--socket", d.socket, "add", "-c", "c",
                                           "--jsonl", path], stderr=theirs)
                os.close(theirs)
                said = b""
                try:
                    while True:
                        said += os.read(ours, 4096)
                except OSError:  # its end
                    pass
                os.close(ours)
                self.assertEqual(client.wait(CALL_S), 0)
                lines = [x.split("\n")[0].rstrip("\r") for x in said.decode().split("\r\x1b[K") if x.startswith("[")]
                self.assertTrue(lines, said)
                self.assertLess(max(map(len, lines)), width)
                self.assertNotIn("\x1b", "".join(lines))
                if width == 200:
                    self.assertRegex(lines[0], rf"^\[#*\.*\] +\d+ %  128 documents  \d+/s  [\d.]+ of {size / 1024:.0f} KiB  .*left  at  \[2J128 é+")


if __name__ == "__main__":
    main()
