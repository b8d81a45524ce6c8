/* A question and a document as a reranker wants them: one prompt, by the template of its file. */
#ifndef MODEL_RANK_H
#define MODEL_RANK_H

#include "model/gguf.h"
#include "model/model.h"
#include "model/text.h"

#define RANK_TEMPLATE_MAX 4096 /* bytes */

/* One pair; all pointers are borrowed for the call. */
struct rank_input {
    const char *query;
    size_t query_len; /* bytes */
    const char *title; /* before the text, with one space between; NULL or "": none */
    size_t title_len;
    const char *text; /* may be empty */
    size_t len;
    bool truncate;    /* the document's last tokens are left out instead of LT_ETOOLONG */
};

/* What a reranker says about its prompts. Filled from a model by rank_rules_of; tests fill it themselves. */
struct rank_rules {
    const struct tokenizer *tokenizer;
    uint32_t token_limit;      /* tokens of a prompt */
    const char *template_text; /* passed rank_check_template */
    bool pools_last;           /* the head sees the last token; otherwise all of them or the first */
};

/* Whether {query} and {document} stand in it once each. Errors: LT_EUNSUPPORTED. */
int rank_check_template(const char *s, struct err_msg *em);

/* The template in a file's keys, as a string that the caller frees, whatever is returned. An encoder's file (i: not causal) may have none: it
 * takes BOS, question, EOS, document, EOS, as a pair is encoded. Errors: LT_EUNSUPPORTED (none, or not such a one); LT_EFORMAT, LT_ELIMIT,
 * LT_ENOMEM. */
int rank_read_template(const struct gguf *g, const struct model_info *i, char **out, struct err_msg *em);

/* m must be one that ranks. */
struct rank_rules rank_rules_of(const struct model *m);

/* Replaces out's contents by the tokens of a prompt; where the head sees the last one, all others are left out of the pool.
 * Control pieces within query, title and text are text. Of out, text_at is where the document begins.
 *
 * Errors: LT_EUTF8 (which part, which byte), LT_EEMPTY (no query; blank counts as none), LT_ETOOLONG (found and allowed tokens; with truncate
 * where the query leaves no token to the document), LT_ELIMIT, LT_ENOMEM; out is then empty, but that n_seen counts the tokens of a prompt that is
 * too long. */
int rank_encode(const struct rank_rules *r, const struct rank_input *in, struct text_tokens *out, struct err_msg *em);

#endif
