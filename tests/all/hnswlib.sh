#!/bin/sh
# PyPI's hnswlib beside latentd: indexes that it saves, taken over, answer the same at the same ef. What is fetched stays in build-peers.
set -u
cd "$(dirname "$0")/../.." || exit 2
build=${LATENTD_BUILD:-build-check}
peers=build-peers
[ -x "$build/daemon/latentd" ] || { echo "no build in $build"; exit 77; }
mkdir -p "$peers" || exit 2
if [ ! -x "$peers/venv/bin/python" ] || ! "$peers/venv/bin/python" -c 'import hnswlib' 2>/dev/null; then
    python3 -m venv "$peers/venv" && "$peers/venv/bin/pip" install -q hnswlib==0.8.0 numpy || { echo "the Python package hnswlib cannot be had"; exit 77; }
fi
LATENTD_BUILD=$build exec "$peers/venv/bin/python" tests/all/hnswlib.py
