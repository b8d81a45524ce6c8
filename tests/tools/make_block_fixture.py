#!/usr/bin/env python3
"""Writes tests/unit/model/blocks.h: random blocks of each quantised GGUF type and the values that the gguf package's numpy code
makes of them. Needs: pip install gguf. Usage: make_block_fixture.py > tests/unit/model/blocks.h"""
from importlib.metadata import version

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

N_BLOCKS = 2
F16_AT = {Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0], Type.Q4_K: [0, 2],
          Type.Q5_K: [0, 2], Type.Q6_K: [208], Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.IQ4_NL: [0], Type.IQ4_XS: [0]}

rng = np.random.default_rng(1)
print(f"/* Made by tests/tools/make_block_fixture.py with gguf {version('gguf')}; not edited by hand. */")
for kind, places in F16_AT.items():
    values, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (N_BLOCKS, size), dtype=np.uint8)
    for at in places:  # scales that a model could have, of both signs
        scale = (rng.standard_normal(N_BLOCKS) * 0.01).astype(np.float16)
        blocks[:, at:at + 2] = scale.view(np.uint8).reshape(N_BLOCKS, 2)
    want = gguf.dequantize(blocks, kind).astype(np.float32).reshape(-1)
    assert want.size == N_BLOCKS * values
    name = kind.name.lower()
    print(f"\nstatic const uint8_t {name}_bytes[] = {{")
    flat = [f"{b}," for b in blocks.reshape(-1)]
    for i in range(0, len(flat), 28):
        print("    " + "".join(flat[i:i + 28]))
    print(f"}};\nstatic const float {name}_values[] = {{")
    flat = [f"{v:.9g}f," if "." in f"{v:.9g}" or "e" in f"{v:.9g}" else f"{v:.9g}.0f," for v in want]
    for i in range(0, len(flat), 8):
        print("    " + " ".join(flat[i:i + 8]))
    print("};")
