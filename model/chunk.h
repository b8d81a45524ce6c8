/* Long texts into chunks that fit the model: paragraphs first, then sentences, then words and
 * characters, with a stated overlap. */
#ifndef MODEL_CHUNK_H
#define MODEL_CHUNK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/text.h"

struct chunk_params {
    uint32_t max_tokens;     /* of a chunk with its title and specials; 0: the model's limit */
    uint32_t overlap_tokens; /* most tokens a chunk repeats of the one before, in whole sentences;
                                0: CHUNK_OVERLAP_DEFAULT; CHUNK_OVERLAP_NONE: none */
};
#define CHUNK_OVERLAP_DEFAULT 64
#define CHUNK_OVERLAP_NONE UINT32_MAX

struct chunk_span {
    uint32_t start, end; /* bytes in the text, [start, end), at character boundaries */
};

/* Cuts a text into spans such that `title`, a space and the span's text, with the specials, are at
 * most max_tokens. A text that fits is one span, all of it. Spans ascend in start and in end; every
 * character that is not white space lies in at least one.
 *
 * A title that takes more than half of the limit is cut for the chunks: *title_used (may be NULL) is
 * how many of its bytes go before every chunk.
 *
 * Ownership: *spans is malloc'ed on success, the caller frees it.
 * Errors: LT_EEMPTY (nothing but white space, in title and text), else as text_encode. */
int chunk_text(const struct model *m, const char *title, size_t title_len, const char *text, size_t len,
               const struct chunk_params *p, struct chunk_span **spans, size_t *n, size_t *title_used,
               struct err_msg *em);
int chunk_text_rules(const struct text_rules *r, const char *title, size_t title_len, const char *text,
                     size_t len, const struct chunk_params *p, struct chunk_span **spans, size_t *n,
                     size_t *title_used, struct err_msg *em);

#endif
