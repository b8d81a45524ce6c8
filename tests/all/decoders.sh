#!/bin/sh
# Every decoder family of tests/golden/decoders beside llama.cpp's prebuilt library of the npm package @node-llama-cpp/linux-x64: ids of
# 2,000 mixed lines, and f32 vectors. What is fetched stays in build-peers.
set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/all/peers.inc
exec "$python" tests/all/decoders.py "$llama_cpp" "$build"
