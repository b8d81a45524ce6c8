/* A text as the model wants it: prefix or instruction, title, specials, limit, pool mask. */
#ifndef MODEL_TEXT_H
#define MODEL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/tokenizer.h"

struct model;

/* NV-Embed's. A model without a template of its own was not trained with instructions; one that the user insists on
 * still goes in front, in this form. */
#define TEXT_INSTRUCT_TEMPLATE "Instruct: {}\nQuery: "

/* What a model says about its texts. Filled from a model by text_rules_of; tests fill it themselves.
 * Borrows everything from the model. */
struct text_rules {
    const struct tokenizer *tokenizer;
    uint32_t token_limit;          /* tokens, BOS and EOS included */
    int32_t bos, eos;              /* -1: none is added */
    const char *query_prefix;      /* exact text before a query; NULL or "": none */
    const char *instruct_template; /* "{}" stands for the instruction; NULL or "": TEXT_INSTRUCT_TEMPLATE */
    const char *passage_template;  /* text before a passage, "{}" stands for its title or "none"; NULL or "": the title, a space */
    const int32_t *suffix;         /* ids behind a text that has a template, before EOS */
    uint32_t n_suffix;             /* 0: none */
    bool pool_prefix;              /* what goes before a query takes part in the pool */
    bool keep_eos;                 /* a text that is cut ends in suffix and EOS, too; NV-Embed's loses it */
};

/* One text; all pointers are borrowed for the call. */
struct text_input {
    const char *text;
    size_t len; /* bytes */
    const char *title; /* passages: goes before the text with one space between (or as the model's template has it), alone
                        * when that is blank; NULL: none */
    size_t title_len;
    bool query;           /* takes the model's prefix or instruction */
    const char *instruct; /* queries: NULL takes the model's prefix, "" neither prefix nor instruction */
    bool truncate;        /* cut at the limit instead of LT_ETOOLONG */
};

/* Thread-safety: unsafe. A zeroed struct is empty; the array is kept and grown between calls. */
struct text_tokens {
    int32_t *ids;
    uint32_t n;      /* at most the token limit */
    uint32_t n_skip; /* leading positions left out of the pool; < n */
    uint32_t n_behind; /* of n, those that stand behind the text: suffix and EOS */
    uint32_t n_seen; /* tokens before the cut; n when nothing was cut */
    bool truncated;
    char *joined;    /* what was tokenised, prefix or title and text, without NUL; of the last call, also of one that failed */
    size_t len;      /* its bytes */
    size_t text_at;  /* those before the text */
    /* working memory */
    uint32_t cap;
    struct tokenizer_ids scratch;
    size_t joined_cap;
};

/* LT_EUNSUPPORTED when the model has no tokenizer. */
int text_rules_of(const struct model *m, struct text_rules *r, struct err_msg *em);

/* Replaces out's contents by the tokens of a text.
 *
 * Truncation keeps BOS and the first limit - 1 tokens, and so loses EOS, as NV-Embed does; with rules.keep_eos it keeps BOS, what
 * stands behind the text, and what fits between them.
 * Errors: LT_EUTF8 (which part, which byte), LT_EEMPTY (no text, or an instruction that leaves nothing to
 * pool; blank counts as none), LT_ETOOLONG (found and allowed tokens), LT_EUNSUPPORTED (no tokenizer, a template without {}),
 * LT_ELIMIT (text, title or instruction: more bytes than the tokeniser takes), LT_ENOMEM; out is then empty, but that n_seen counts a
 * text's tokens that is too long. */
int text_encode(const struct model *m, const struct text_input *in, struct text_tokens *out,
                struct err_msg *em);
int text_encode_rules(const struct text_rules *r, const struct text_input *in, struct text_tokens *out,
                      struct err_msg *em);

/* The template that goes before a text, {} standing for the instruction or the title; "" for none: a title then stands before a
 * passage with one space. Lives as long as the rules' model. */
const char *text_template(const struct text_rules *r, const struct text_input *in);

/* Whether EOS stands behind a text that was, or was not, cut. */
bool text_ends_in_eos(const struct text_rules *r, bool cut);

/* For each of the ids that text_encode_rules has just put into t, the byte of t->joined where its first character begins: of BOS 0, of
 * suffix and EOS t->len, or, behind a cut, where what was cut off begins; several ids of one character have the same.
 *
 * offsets  room for t->n
 * used     bytes of t->joined that the ids stand for: t->len where nothing was cut
 * Errors: LT_ENOMEM. */
int text_offsets(const struct text_rules *r, struct text_tokens *t, uint32_t *offsets, uint32_t *used, struct err_msg *em);

/* True when there is nothing but ASCII white space. */
bool text_is_blank(const char *s, size_t len);

/* ---- for those who make tokens by rules of their own (model/rank.h) ---- */

/* LT_EUTF8: the message names what it is, and the byte. s may be NULL, which is no text. */
int text_check_utf8(const char *what, const char *s, size_t len, struct err_msg *em);
/* Room for so many bytes joined, and for so many ids. Errors: LT_ENOMEM; t is as it was. */
int text_join_room(struct text_tokens *t, size_t len, struct err_msg *em);
int text_ids_room(struct text_tokens *t, size_t n, struct err_msg *em);

/* Frees the arrays and zeroes the struct. */
void text_tokens_finish(struct text_tokens *t);
/* The same, if they take more than TEXT_KEPT bytes together, as after a large text. */
#define TEXT_KEPT (1u << 20)
void text_tokens_trim(struct text_tokens *t);

#endif
