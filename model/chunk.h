/* Long texts into chunks that fit the model: paragraphs first, then sentences, then lines, words and
 * characters, with a stated overlap. */
#ifndef MODEL_CHUNK_H
#define MODEL_CHUNK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/text.h"

#define CHUNK_TOKENS_MIN 16 /* least max_tokens: room for the specials, half a title and any character */
#define CHUNK_OVERLAP_DEFAULT 64
#define CHUNK_OVERLAP_NONE UINT32_MAX

struct chunk_params {
    uint32_t max_tokens;     /* of a chunk with its title and specials; 0: the model's limit */
    uint32_t overlap_tokens; /* most tokens that a chunk repeats of the one before; never more than a quarter of a
                                chunk; 0: CHUNK_OVERLAP_DEFAULT */
};

struct chunk_span {
    uint32_t start, end; /* bytes in the text, [start, end), at character boundaries */
};

/* Cuts a text into spans such that the title, a space and the span's text, with the specials, are at most max_tokens
 * when text_encode sees them. A text that fits is one span, all of it.
 *
 * A chunk ends at the last end of a paragraph in its second half, else of a sentence, a line, a word, a punctuation mark, a
 * character. The next begins with as many whole sentences of its end as fit into the overlap; lines or words where
 * there are no sentences. Spans ascend in start and in end; what no span holds is white space.
 *
 * A title of more than half of the limit is cut for the chunks: *title_used (may be NULL) is how many of its bytes to
 * put before every chunk.
 *
 * Ownership: *spans is malloc'ed on success, the caller frees it; untouched on error.
 * Errors: LT_EEMPTY (title and text are blank), LT_EINVAL (max_tokens below CHUNK_TOKENS_MIN or above the model's
 * limit), LT_EUTF8, LT_EUNSUPPORTED, LT_ELIMIT, LT_ENOMEM. */
int chunk_text(const struct model *m, const char *title, size_t title_len, const char *text, size_t len,
               const struct chunk_params *p, struct chunk_span **spans, size_t *n, size_t *title_used,
               struct err_msg *em);
int chunk_text_rules(const struct text_rules *r, const char *title, size_t title_len, const char *text,
                     size_t len, const struct chunk_params *p, struct chunk_span **spans, size_t *n,
                     size_t *title_used, struct err_msg *em);

/* A chunk as the model gets it: in with the span's bytes and the title's first title_used. Borrows what in does. */
static inline struct text_input chunk_input(const struct text_input *in, struct chunk_span span, size_t title_used)
{
    struct text_input part = *in;
    part.text = in->text + span.start;
    part.len = span.end - span.start;
    part.title_len = title_used;
    part.truncate = true;
    return part;
}

#endif
