#!/usr/bin/env python3
"""Turns `apt-cache dumpavail` (standard input) into JSON lines for `latent add --jsonl -`.

One document per package: its name as title, its description as text, section and tags as metadata.
Without --all: every package of Section graphics, and of the others those with the smallest SHA-256 of
their name, --count in all, so that every run and every machine takes the same ones.
"""
import argparse
import hashlib
import json
import sys


def records(lines):
    """Yields each package record as a dict of its fields; continuation lines are joined."""
    record, field = {}, None
    for line in lines:
        line = line.rstrip("\n")
        if not line:
            if record:
                yield record
            record, field = {}, None
        elif line[0] in " \t" and field:
            record[field] += "\n" + line[1:]
        else:
            field, _, value = line.partition(":")
            record[field] = value.strip()
    if record:
        yield record


def document(record):
    name = record["Package"]
    tags = [t.strip() for t in record.get("Tag", "").replace("\n", " ").split(",") if t.strip()]
    section = record.get("Section", "unknown").rsplit("/", 1)[-1]
    text = record.get("Description", record.get("Description-en", ""))
    metadata = {"section": section, "priority": record.get("Priority", "unknown"), "tags": tags}
    return {"id": name, "title": name, "text": text, "metadata": metadata}


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--all", action="store_true", help="every package")
    args.add_argument("--count", type=int, default=10000, help="how many without --all")
    args = args.parse_args()
    sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    packages = {}
    for record in records(sys.stdin):
        if "Package" in record and record["Package"] not in packages:
            doc = document(record)
            if doc["text"]:
                packages[doc["id"]] = doc
    docs = list(packages.values())
    if not args.all:
        docs.sort(key=lambda d: (d["metadata"]["section"] != "graphics",
                                 hashlib.sha256(d["id"].encode()).digest()))
        docs = docs[: args.count]
    for doc in docs:
        sys.stdout.write(json.dumps(doc, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
