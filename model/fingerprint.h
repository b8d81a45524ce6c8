/* What tells models apart: SHA-256 over all that makes a text's vector, so tensors (by their digests), tokeniser, architecture and pooling.
 * Names, templates and token limits are not in it. Two files with the same fingerprint give the same vectors.
 * Thread-safety: safe. */
#ifndef MODEL_FINGERPRINT_H
#define MODEL_FINGERPRINT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/gguf.h"
#include "model/model.h"

#define FINGERPRINT_BYTES sizeof((struct model_info){0}.fingerprint)

struct fingerprint_of {
    const struct gguf *gguf;
    const struct model_info *info;
    const uint8_t *digests;     /* of its tensors in order of name, DIGEST_BYTES each */
    const char *tokenizer_json; /* of a file of ours that has a tokeniser */
    size_t tokenizer_len;
};

/* 64 hex digits and NUL. Errors: LT_EFORMAT (a tokeniser's key of another type), LT_ENOMEM, LT_EINTERNAL (libsodium). */
int fingerprint_make(const struct fingerprint_of *of, char out[static FINGERPRINT_BYTES], struct err_msg *em);

#endif
