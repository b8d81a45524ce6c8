#!/usr/bin/env python3
"""Ingest as a job: listed, cancelled while it runs, alive after kill -9, and never embedded twice."""
import re
import time
import unittest

from harness import CALL_S, SLOW_DEVICE, Daemon, main
from wire import ADD, GET, JOB_CANCEL, JOB_CLOSE, JOB_LIST, JOB_OPEN, Wire, add, document, unpack

N_BATCHES = 5
N_BATCH = 80
STATE_CANCELLED, STATE_DONE = 3, 2
CANCELLED = 23  # LT_ECANCELLED


def text(i):
    return f"document {i} about " + " ".join(f"subject{(i * 7 + j) % 97} matter{(i + j) % 89}" for j in range(60))


def batch(b):
    return [document(f"d{i}", text(i)) for i in range(b * N_BATCH, (b + 1) * N_BATCH)]


def job_row(w, job):
    for raw in w.call(JOB_LIST, []).body(JOB_LIST).get(1, []):
        row = {field: values[0] for field, values in unpack(raw).items()}
        if row[1] == job:
            return {"state": row.get(4, 0), "accepted": row.get(5, 0), "searchable": row.get(6, 0), "failed": row.get(7, 0),
                    "pending": row.get(8, 0)}
    raise AssertionError(f"no job {job}")


def wait_for(w, job, done):
    end = time.monotonic() + CALL_S
    while time.monotonic() < end:
        row = job_row(w, job)
        if done(row):
            return row
        time.sleep(0.01)
    raise AssertionError(f"job {job} stays {row}")


def begin(w):
    """A job with more work than is done when this returns; every document is durable."""
    job = w.call(JOB_OPEN, [(1, "c"), (2, "import"), (3, N_BATCH * N_BATCHES)]).body(JOB_OPEN)[1][0]
    sent = [w.send(ADD, add("c", batch(b), wait_accepted=True, job=job)) for b in range(N_BATCHES)]
    for _ in sent:
        reply = w.receive()
        assert reply.code == 0, (reply.code, reply.message)
    return job


def texts_done(d):
    return d.status()["queue"]["texts_done"]


class Jobs(unittest.TestCase):
    def test_cancel_running_work(self):
        with Daemon(env=SLOW_DEVICE) as d:
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

    def test_survives_kill_without_embedding_again(self):
        with Daemon(env=SLOW_DEVICE) as d:
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


if __name__ == "__main__":
    main()
