/* The normaliser, character by character: every step understood here maps one character to some,
 * whatever its neighbours, so no normalised copy of the text is ever made. */
#include "model/tokenizer_impl.h"

#include <string.h>

#include "model/unicode_lower.h"

/* Runs the steps from `from` on over n code points in place; returns how many there are then. */
static uint32_t run_steps(const struct norm *norm, uint32_t from, uint32_t *cps, uint32_t n)
{
    for (uint32_t s = from; s < norm->n_steps; s++) {
        const struct norm_step *step = &norm->steps[s];
        uint32_t out[NORM_EXPAND_MAX], m = 0;
        if (step->kind == NORM_PREPEND)
            continue;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t low[2];
            const uint32_t *from_cps = cps + i;
            uint32_t k = 1;
            if (step->kind == NORM_LOWERCASE) {
                k = unicode_lower(cps[i], low);
                from_cps = low;
            } else if (cps[i] == step->pattern) {
                k = step->n_content;
                from_cps = step->content;
            }
            if (m + k > NORM_EXPAND_MAX) /* norm_prepare rules this out */
                k = NORM_EXPAND_MAX - m;
            memcpy(out + m, from_cps, k * sizeof *out);
            m += k;
        }
        memcpy(cps, out, m * sizeof *out);
        n = m;
    }
    return n;
}

uint32_t norm_expand(const struct norm *n, uint32_t cp, uint32_t out[static NORM_EXPAND_MAX])
{
    out[0] = cp;
    return run_steps(n, 0, out, 1);
}

int norm_prepare(struct norm *n, struct err_msg *em)
{
    size_t most = 1, prefix = 0;
    for (uint32_t s = 0; s < n->n_steps; s++) {
        const struct norm_step *step = &n->steps[s];
        size_t factor = step->kind == NORM_LOWERCASE ? 2 : step->kind == NORM_REPLACE ? step->n_content : 1;
        most *= factor;
        prefix *= factor;
        if (step->kind == NORM_PREPEND)
            prefix += step->n_content;
        if (most > NORM_EXPAND_MAX || prefix > NORM_EXPAND_MAX)
            return err_set(em, LT_EUNSUPPORTED,
                           "tokenizer.json: normalizer: one character may become more than %d",
                           NORM_EXPAND_MAX);
    }
    /* A later Prepend stands before an earlier one's content. */
    n->n_prefix = 0;
    for (uint32_t s = n->n_steps; s-- > 0;) {
        if (n->steps[s].kind != NORM_PREPEND)
            continue;
        uint32_t cps[NORM_EXPAND_MAX];
        memcpy(cps, n->steps[s].content, n->steps[s].n_content * sizeof *cps);
        uint32_t k = run_steps(n, s + 1, cps, n->steps[s].n_content);
        if (k > NORM_EXPAND_MAX - n->n_prefix)
            k = NORM_EXPAND_MAX - n->n_prefix;
        memcpy(n->prefix + n->n_prefix, cps, k * sizeof *cps);
        n->n_prefix += k;
    }
    for (uint32_t c = 0; c < 128; c++) {
        uint32_t out[NORM_EXPAND_MAX];
        n->ascii[c] = norm_expand(n, c, out) == 1 ? out[0] : NORM_MANY;
    }
    return 0;
}
