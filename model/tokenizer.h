/* Text to token ids: SentencePiece-style BPE with byte fallback, read from a tokenizer.json, id for id as the Hugging
 * Face `tokenizers` library does it; tokenizer_gguf.h reads further kinds from GGUF keys, id for id as llama.cpp.
 *
 * Understood of a tokenizer.json: model BPE (byte_fallback, fuse_unk, ignore_merges; no dropout, prefix or suffix);
 * normalizer null, Lowercase, Prepend, Replace of one character, and Sequences of these; pre_tokenizer
 * null; post_processor null or a TemplateProcessing with at most one token on each side; added tokens
 * that are matched in the raw text. All else is refused by name. `truncation`, `padding` and `decoder`
 * play no part here. */
#ifndef MODEL_TOKENIZER_H
#define MODEL_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define TOKENIZER_JSON_MAX (48u << 20)    /* bytes; Gemma's, the largest in use, has 33 MiB */
#define TOKENIZER_JSON_DEPTH 16           /* nested objects and arrays; real files have 7 */
#define TOKENIZER_JSON_VALUES (6u << 20)  /* values in all; Gemma's has 2.5 million */
#define TOKENIZER_VOCAB_MAX (1u << 20)    /* ids */
#define TOKENIZER_ADDED_MAX 8192          /* added tokens */
#define TOKENIZER_PIECE_MAX 4096          /* bytes of one piece or added token */
#define TOKENIZER_TEXT_MAX (64u << 20)    /* bytes of one text */

/* Thread-safety: safe, immutable once created. */
struct tokenizer;

/* Token ids of one text; a zeroed struct is empty. The arrays are kept and grown between calls.
 * Thread-safety: unsafe. */
struct tokenizer_ids {
    int32_t *ids;
    uint32_t *starts; /* byte offset in the text of the character that each id begins with; ascending */
    size_t n, cap;
};

struct tokenizer_info {
    uint32_t n_vocab;  /* largest id + 1 */
    int32_t unk;       /* -1: none */
    int32_t bos, eos;  /* what the template puts before and after a text; -1: nothing */
    bool lowercase;
};

/* Reads len bytes of JSON; they are not used after return.
 * Errors: LT_EFORMAT (which field), LT_EUNSUPPORTED (which part), LT_ELIMIT, LT_ENOMEM. */
int tokenizer_create(struct tokenizer **t, const char *tokenizer_json, size_t len, struct err_msg *em);
void tokenizer_destroy(struct tokenizer **t);

/* Lives as long as the tokenizer. */
const struct tokenizer_info *tokenizer_info(const struct tokenizer *t);

/* Bytes of memory that its tables take. */
uint64_t tokenizer_bytes(const struct tokenizer *t);

/* The id of a piece of the vocabulary or of an added token; -1 when there is none. */
int32_t tokenizer_find(const struct tokenizer *t, const char *piece, size_t len);

/* Replaces out's contents by the ids of the text, without BOS and EOS. Added tokens that stand in the
 * text ("</s>") become their ids, and the segment after one starts afresh, as in the original.
 *
 * Time grows as n log n, whatever the text.
 * Errors: LT_EUTF8 (the message names the byte offset), LT_ELIMIT, LT_ENOMEM; out is then empty. */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, struct tokenizer_ids *out,
                     struct err_msg *em);

/* The same of a text that stands behind other text, whatever that is: without the space that some tokenisers put before a first word. Its own first
 * character is one that no piece has behind another ("\n" of SentencePiece) or starts an added token. */
int tokenizer_encode_behind(const struct tokenizer *t, const char *text, struct tokenizer_ids *out, struct err_msg *em);

/* Bytes from `from` to before `to`. */
struct tokenizer_span {
    size_t from, to;
};

/* The same, but that control pieces ("<|im_end|>") which reach into one of the spans are text like any other there: for what others wrote
 * within a prompt of one's own. */
int tokenizer_encode_plain(const struct tokenizer *t, const char *text, size_t len, const struct tokenizer_span *plain, size_t n_plain,
                           struct tokenizer_ids *out, struct err_msg *em);

/* Frees the arrays and zeroes the struct. */
void tokenizer_ids_finish(struct tokenizer_ids *ids);

#endif
