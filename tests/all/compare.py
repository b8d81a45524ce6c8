"""What the comparisons with llama.cpp share: records for the dump tools, a file at f32, ids of many lines."""
import os
import struct
import subprocess

import gguf
import numpy as np


def records(items, code):
    return b"".join(struct.pack("<I", len(i)) + (i if code is None else struct.pack(f"<{len(i)}{code}", *i)) for i in items)


def at_f32(source, path):
    r = gguf.GGUFReader(source)
    w = gguf.GGUFWriter(path, r.fields["general.architecture"].contents())
    for key, field in r.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            w.add_key_value(key, field.contents(), field.types[0], sub_type=field.types[-1])
        else:
            w.add_key_value(key, field.contents(), field.types[0])
    for t in r.tensors:
        x = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        w.add_tensor(t.name, x.reshape([int(d) for d in reversed(t.shape)]))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def compare_ids(model, path, build, lines):
    out = subprocess.run([os.path.join(build, "tests/tools/dump_ids"), path], input=records(lines, None),
                         stdout=subprocess.PIPE, check=True).stdout
    at = total = bad = 0
    for line in lines:
        n, = struct.unpack_from("<I", out, at)
        ids = list(struct.unpack_from(f"<{n}i", out, at + 4))
        at += 4 + 4 * n
        want = list(model.ids(line))
        total += len(want)
        if ids != want:
            bad += 1
            print("ids differ:", repr(line)[:200], ids[:20], want[:20])
    print(f"{len(lines)} lines, {total} ids, {bad} lines differ")
    return bad == 0
