/* A tokeniser from a GGUF file's own keys, `tokenizer.ggml.*`, as llama.cpp's converter writes them: kinds "llama"
 * (SentencePiece with scores) and "gpt2" (byte-level BPE with a named pre-tokeniser). Ids are llama.cpp's, special
 * pieces in the text included.
 * Thread-safety: safe. */
#ifndef MODEL_TOKENIZER_GGUF_H
#define MODEL_TOKENIZER_GGUF_H

#include "model/gguf.h"
#include "model/tokenizer.h"

#define TOKENIZER_MERGES_MAX (8u << 20) /* Gemma's 262,144 pieces can be spelled in about 1.5 million ways */

/* Nothing of g is used after return.
 * Errors: LT_EFORMAT (which key, which piece), LT_EUNSUPPORTED (a kind or pre-tokeniser we do not have, named), LT_ELIMIT,
 *         LT_ENOMEM. */
int tokenizer_create_gguf(struct tokenizer **t, const struct gguf *g, struct err_msg *em);

/* The id of a special piece. *id untouched where there is no such key, or where it is 4294967295, as llama.cpp's own writer puts it for none;
 * INT32_MAX for one that no vocabulary has. Errors: LT_EFORMAT. */
int tokenizer_gguf_id(const struct gguf *g, const char *key, int32_t *id, struct err_msg *em);

/* The bytes of a string array, for hashing; borrowed from the file. Errors: as gguf_strings. */
int tokenizer_gguf_blob(const struct gguf *g, const char *key, const uint8_t **data, size_t *len, struct err_msg *em);

#endif
