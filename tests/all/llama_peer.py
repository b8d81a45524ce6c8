"""llama.cpp's prebuilt library through ctypes: token ids and embeddings of a GGUF file.

  npm pack @node-llama-cpp/linux-x64 && tar xzf node-llama-cpp-linux-x64-*.tgz   # then package/bins/linux-x64
"""
import ctypes as C
import os
import re
import sys


class Opaque(C.Structure):
    """A parameter struct whose layout we need only the start of; large enough for any version."""
    _fields_ = [("words", C.c_uint32 * 256)]


class Batch(C.Structure):
    _fields_ = [("n_tokens", C.c_int32), ("token", C.POINTER(C.c_int32)), ("embd", C.c_void_p),
                ("pos", C.POINTER(C.c_int32)), ("n_seq_id", C.POINTER(C.c_int32)),
                ("seq_id", C.POINTER(C.POINTER(C.c_int32))), ("logits", C.POINTER(C.c_int8))]


MEAN, CLS, LAST, RANK = 1, 2, 3, 4
BATCH = 2048


def load(folder):
    names = sorted(os.listdir(folder))

    def find(stem):
        return os.path.join(folder, next(n for n in names if re.match(rf"lib{stem}\.(v|so)", n)))

    os.environ["LD_LIBRARY_PATH"] = folder
    ggml = C.CDLL(find("ggml"), mode=C.RTLD_GLOBAL)
    l = C.CDLL(find("llama"), mode=C.RTLD_GLOBAL)
    ggml.ggml_backend_load_all_from_path(folder.encode())
    l.ggml = ggml
    l.log = C.CFUNCTYPE(None, C.c_int, C.c_char_p, C.c_void_p)(
        lambda level, text, user: level == 4 and sys.stderr.write("llama.cpp: " + text.decode(errors="replace")))
    l.llama_log_set(l.log, None)
    for name, result, args in (
            ("llama_model_default_params", Opaque, []), ("llama_context_default_params", Opaque, []),
            ("llama_model_load_from_file", C.c_void_p, [C.c_char_p, Opaque]), ("llama_model_free", None, [C.c_void_p]),
            ("llama_init_from_model", C.c_void_p, [C.c_void_p, Opaque]), ("llama_free", None, [C.c_void_p]),
            ("llama_model_quantize_default_params", Opaque, []),
            ("llama_model_quantize", C.c_uint32, [C.c_char_p, C.c_char_p, C.POINTER(Opaque)]),
            ("llama_model_get_vocab", C.c_void_p, [C.c_void_p]), ("llama_model_n_embd", C.c_int32, [C.c_void_p]),
            ("llama_tokenize", C.c_int32, [C.c_void_p, C.c_char_p, C.c_int32, C.POINTER(C.c_int32), C.c_int32,
                                           C.c_bool, C.c_bool]),
            ("llama_batch_init", Batch, [C.c_int32] * 3), ("llama_decode", C.c_int32, [C.c_void_p, Batch]),
            ("llama_set_n_threads", None, [C.c_void_p, C.c_int32, C.c_int32]),
            ("llama_set_embeddings", None, [C.c_void_p, C.c_bool]),
            ("llama_set_causal_attn", None, [C.c_void_p, C.c_bool]),
            ("llama_get_memory", C.c_void_p, [C.c_void_p]),
            ("llama_memory_clear", None, [C.c_void_p, C.c_bool]),
            ("llama_get_embeddings_seq", C.POINTER(C.c_float), [C.c_void_p, C.c_int32])):
        f = getattr(l, name)
        f.restype, f.argtypes = result, args
    return l


def quantise(lib, source, path, file_type):
    """file_type: llama_ftype's number. Source at f32, or of a type that needs no leave to be quantised again."""
    p = lib.llama_model_quantize_default_params()
    p.words[0], p.words[1] = 2, file_type
    if lib.llama_model_quantize(source.encode(), path.encode(), C.byref(p)):
        sys.exit(f"llama.cpp does not quantise {source}")


class Model:
    def __init__(self, lib, path):
        self.l = lib
        self.m = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        if not self.m:
            sys.exit(f"llama.cpp does not load {path}")
        self.vocab = lib.llama_model_get_vocab(self.m)
        self.dim = lib.llama_model_n_embd(self.m)

    def close(self):
        self.l.llama_model_free(self.m)

    def ids(self, text, special=False):
        """Ids of a text (bytes), special pieces in it understood; special: with BOS and EOS as the file says."""
        out = (C.c_int32 * (len(text) + 16))()
        n = self.l.llama_tokenize(self.vocab, text, len(text), out, len(out), special, True)
        if n < 0:
            sys.exit("llama_tokenize failed")
        return out[:n]


class Context:
    """pooling: MEAN, CLS, LAST or RANK; None leaves what the file says. causal likewise."""

    def __init__(self, model, pooling=None, causal=None):
        self.l, self.model = model.l, model
        p = self.l.llama_context_default_params()
        if list(p.words[:4]) != [512, 2048, 512, 1]:
            sys.exit(f"unknown version of llama_context_params: starts {list(p.words[:12])}")
        p.words[0], p.words[1], p.words[2], p.words[3] = BATCH, BATCH, BATCH, 1
        at = self.pooling_word(p)
        if pooling is not None:
            p.words[at] = pooling
        self.c = self.l.llama_init_from_model(model.m, p)
        if not self.c:
            sys.exit("llama.cpp gives no context")
        self.l.llama_set_n_threads(self.c, 2, 2)
        self.l.llama_set_embeddings(self.c, True)
        if causal is not None:
            self.l.llama_set_causal_attn(self.c, causal)
        self.b = self.l.llama_batch_init(BATCH, 0, 1)

    @staticmethod
    def pooling_word(p):
        """Behind rope_scaling_type: both -1, the default that takes what the file says."""
        words = [C.c_int32(w).value for w in p.words[:16]]
        for i in range(4, 12):
            if words[i] == -1 and words[i + 1] == -1:
                return i + 1
        sys.exit(f"unknown version of llama_context_params: {words}")

    def close(self):
        self.l.llama_free(self.c)

    def embed(self, ids):
        b = self.b
        b.n_tokens = len(ids)
        for i, t in enumerate(ids):
            b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = t, i, 1, 1
            b.seq_id[i][0] = 0
        memory = self.l.llama_get_memory(self.c)
        if memory:
            self.l.llama_memory_clear(memory, True)
        if self.l.llama_decode(self.c, b) != 0:
            sys.exit("llama_decode failed")
        v = self.l.llama_get_embeddings_seq(self.c, 0)
        return v
