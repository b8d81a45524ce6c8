/* Texts and chunks for a model: its file's keys as rules. */
#include "model/chunk.h"
#include "model/model.h"
#include "model/text.h"

int text_rules_of(const struct model *m, struct text_rules *r, struct err_msg *em)
{
    const struct model_info *info = model_info(m);
    uint32_t n_suffix;
    *r = (struct text_rules){
        .tokenizer = model_tokenizer(m),
        .token_limit = info->token_limit,
        .bos = info->add_bos ? info->bos : -1,
        .eos = info->add_eos ? info->eos : -1,
        .query_prefix = info->query_prefix,
        .instruct_template = info->instruct_template,
        .passage_template = info->passage_template,
        .suffix = model_suffix(m, &n_suffix),
        .pool_prefix = info->pool_prefix,
        .keep_eos = info->foreign,
    };
    r->n_suffix = n_suffix;
    if (!r->tokenizer)
        return err_set(em, LT_EUNSUPPORTED, "the model %s has no tokenizer: it takes token ids only", info->name);
    return 0;
}

int text_encode(const struct model *m, const struct text_input *in, struct text_tokens *out, struct err_msg *em)
{
    struct text_rules r;
    int e = text_rules_of(m, &r, em);
    if (e == 0)
        e = text_encode_rules(&r, in, out, em);
    else
        out->n = out->n_skip = out->n_seen = 0;
    return e;
}

int chunk_text(const struct model *m, const char *title, size_t title_len, const char *text, size_t len,
               const struct chunk_params *p, struct chunk_span **spans, size_t *n, size_t *title_used,
               struct err_msg *em)
{
    struct text_rules r;
    int e = text_rules_of(m, &r, em);
    return e < 0 ? e : chunk_text_rules(&r, title, title_len, text, len, p, spans, n, title_used, em);
}
