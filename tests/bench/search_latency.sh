#!/bin/bash
# Search latency over 60,000 chunks through the socket: Debian's package descriptions, and as queries the first words of
# descriptions of the packages left out.
#   tests/bench/search_latency.sh [BUILD-FOLDER]
set -eu
src=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$src/build}
home=$(mktemp -d)
daemon=
trap '[ -z "$daemon" ] || kill $daemon; wait 2>/dev/null; rm -rf "$home"' EXIT

apt-cache dumpavail | python3 "$src/dist/debian_packages.py" --all >"$home/all.jsonl"
head -n 60000 "$home/all.jsonl" >"$home/docs.jsonl"
tail -n +60001 "$home/all.jsonl" | awk 'NR % 7 == 0' | head -n 500 | python3 -c '
import json, sys
for line in sys.stdin:
    print(" ".join(json.loads(line)["text"].split()[:8]))' >"$home/queries.txt"

"$build/daemon/latentd" --data "$home/data" --socket "$home/s" --log-level warn &
daemon=$!
until "$build/clients/cli/latent" --socket "$home/s" status --json 2>/dev/null | grep -q '"phase":"ready"'; do sleep 0.1; done
"$build/clients/cli/latent" --socket "$home/s" collection create debian >/dev/null
"$build/clients/cli/latent" --socket "$home/s" add -c debian --jsonl "$home/docs.jsonl"
"$build/tests/bench/bench_search" "$home/s" debian "$home/queries.txt"
