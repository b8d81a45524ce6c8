"""Bytes that a process has written, from the kernel's counters, beside those it was given."""
import json
import os


def ingested_bytes(document):
    """Of id, text, title and metadata; vectors come on top, 4 bytes a dimension."""
    metadata = len(json.dumps(document["metadata"]).encode()) if "metadata" in document else 0
    return metadata + sum(len(document.get(k, "").encode()) for k in ("id", "text", "title"))


def written_at_end(process):
    """Waits until the process has ended by itself; what it wrote, with its last words: write_bytes, pages of mapped files included, or
    where that counts nothing, since the file system is in memory, what went through write(2)."""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with open(f"/proc/{process.pid}/io", encoding="ascii") as f:
        io = {k: int(v) for k, v in (line.split(":") for line in f)}
    process.wait()
    return io["write_bytes"] or io["wchar"]
