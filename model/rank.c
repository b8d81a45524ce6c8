/* The prompt is tokenised as one string, since words may go on across the template's joints; which tokens belong to what stands behind the
 * document is told by where their first characters are. */
#include "model/rank.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define PIECE_MAX 64 /* bytes of BOS and EOS in a template */

struct piece {
    const char *s; /* NULL: there is none */
    size_t len;
};

static const char query_slot[] = "{query}", document_slot[] = "{document}";

int rank_check_template(const char *s, struct err_msg *em)
{
    const char *const slots[] = {query_slot, document_slot};
    for (int k = 0; k < 2; k++) {
        const char *first = strstr(s, slots[k]);
        if (!first || strstr(first + 1, slots[k]))
            return err_set(em, LT_EUNSUPPORTED, "model: the reranker's prompt has %s %s", first ? "more than one" : "no", slots[k]);
    }
    return 0;
}

/* The piece of an id, whose bytes lie in the file */
static struct piece piece_of(const struct gguf *g, int32_t id, struct err_msg *em)
{
    struct bytes_in in;
    size_t n, len = 0;
    const char *s = NULL;
    if (gguf_strings(g, "tokenizer.ggml.tokens", &in, &n, em) < 0 || id < 0 || (size_t)id >= n)
        return (struct piece){NULL, 0};
    for (int32_t i = 0; i <= id; i++) {
        len = (size_t)bytes_u64(&in);
        s = (const char *)bytes_take(&in, len);
    }
    return (struct piece){s, s ? len : 0};
}

/* *out becomes a pair's template where both pieces are there; it stays as it is where one is not. */
static int pair_template(const struct gguf *g, const struct model_info *i, char **out, struct err_msg *em)
{
    const struct piece bos = piece_of(g, i->bos, em), eos = piece_of(g, i->eos, em);
    char *t;
    if (!bos.len || !eos.len || bos.len > PIECE_MAX || eos.len > PIECE_MAX || !i->has_tokenizer)
        return 0;
    if (asprintf(&t, "%.*s%s%.*s%s%.*s", (int)bos.len, bos.s, query_slot, (int)eos.len, eos.s, document_slot, (int)eos.len, eos.s) < 0)
        return err_set(em, LT_ENOMEM, "model: no memory for the reranker's prompt");
    free(*out);
    *out = t;
    return 0;
}

int rank_read_template(const struct gguf *g, const struct model_info *i, char **out, struct err_msg *em)
{
    static const char key[] = "tokenizer.chat_template.rerank";
    int r = gguf_text(g, key, RANK_TEMPLATE_MAX, out, em);
    if (r == 0 && !**out && !i->causal)
        r = pair_template(g, i, out, em);
    if (r == 0 && !**out)
        r = err_set(em, LT_EUNSUPPORTED, "model: it is a reranker without a prompt (%s)", key);
    return r < 0 ? r : rank_check_template(*out, em);
}

struct rank_rules rank_rules_of(const struct model *m)
{
    const struct model_info *i = model_info(m);
    return (struct rank_rules){model_tokenizer(m), i->token_limit, i->rank_template, i->pooling == MODEL_POOL_LAST};
}

static int check(const struct rank_input *in, struct err_msg *em)
{
    int e;
    if ((e = text_check_utf8("query", in->query, in->query_len, em)) < 0 || (e = text_check_utf8("title", in->title, in->title_len, em)) < 0 ||
        (e = text_check_utf8("text", in->text, in->len, em)) < 0)
        return e;
    return text_is_blank(in->query, in->query_len) ? err_set(em, LT_EEMPTY, "the query is empty") : 0;
}

/* The prompt under construction: out->joined, out->len of it. */
static void put(struct text_tokens *out, const char *s, size_t len)
{
    if (len)
        memcpy(out->joined + out->len, s, len);
    out->len += len;
}

static struct tokenizer_span put_query(const struct rank_input *in, struct text_tokens *out)
{
    const size_t from = out->len;
    put(out, in->query, in->query_len);
    return (struct tokenizer_span){from, out->len};
}

static struct tokenizer_span put_document(const struct rank_input *in, struct text_tokens *out)
{
    const size_t from = out->text_at = out->len;
    put(out, in->title, in->title_len);
    if (in->title_len && in->len)
        put(out, " ", 1);
    put(out, in->text, in->len);
    return (struct tokenizer_span){from, out->len};
}

/* plain: where the query and the document lie in it. */
static int join(const struct rank_rules *r, const struct rank_input *in, struct text_tokens *out, struct tokenizer_span plain[static 2],
                struct err_msg *em)
{
    const char *t = r->template_text, *query = strstr(t, query_slot), *document = strstr(t, document_slot);
    const size_t fixed = strlen(t) + 2; /* a space, and not nothing */
    size_t most;
    if (!size_add(in->query_len, in->len, &most) || !size_add(most, in->title_len, &most) || !size_add(most, fixed, &most) ||
        most > TOKENIZER_TEXT_MAX)
        return err_set(em, LT_ELIMIT, "a prompt of more than %u bytes", TOKENIZER_TEXT_MAX);
    if (text_join_room(out, most, em) < 0)
        return LT_ENOMEM;
    const char *slots[2] = {query, document};
    const bool query_first = query < document;
    for (int k = 0; k < 2; k++) {
        const bool is_query = (k == 0) == query_first;
        const char *slot = slots[is_query ? 0 : 1];
        put(out, t, (size_t)(slot - t));
        plain[k] = is_query ? put_query(in, out) : put_document(in, out);
        t = slot + (is_query ? strlen(query_slot) : strlen(document_slot));
    }
    put(out, t, strlen(t));
    return 0;
}

/* Tokens of ids whose first character is at byte `at` or behind it, all at the end. */
static size_t tokens_from(const struct tokenizer_ids *ids, size_t at)
{
    size_t n = 0;
    while (n < ids->n && ids->starts[ids->n - 1 - n] >= at)
        n++;
    return n;
}

/* The ids, without as many of the document's last ones as are over the limit. */
static int finish(const struct rank_rules *r, const struct tokenizer_ids *ids, size_t document_at, size_t document_end, bool truncate,
                  struct text_tokens *out, struct err_msg *em)
{
    const size_t seen = ids->n, limit = r->token_limit, n = seen < limit ? seen : limit;
    const size_t tail = tokens_from(ids, document_end), before = seen - tokens_from(ids, document_at);
    out->n_seen = (uint32_t)seen;
    if (seen > limit && (!truncate || before + tail >= limit))
        return err_set(em, LT_ETOOLONG, truncate ? "the query leaves nothing to the document: %zu tokens, the reranker takes %u"
                                                 : "question and document have %zu tokens, the reranker takes %u",
                       truncate ? before + tail : seen, r->token_limit);
    if (text_ids_room(out, n, em) < 0)
        return LT_ENOMEM;
    const size_t head = seen > limit ? limit - tail : seen;
    memcpy(out->ids, ids->ids, head * sizeof *out->ids);
    if (head < n)
        memcpy(out->ids + head, ids->ids + seen - tail, tail * sizeof *out->ids);
    out->n = (uint32_t)n;
    out->truncated = seen > n;
    return 0;
}

int rank_encode(const struct rank_rules *r, const struct rank_input *in, struct text_tokens *out, struct err_msg *em)
{
    struct tokenizer_span plain[2] = {{0, 0}, {0, 0}};
    int e;
    out->n = out->n_skip = out->n_seen = 0;
    out->len = out->text_at = 0;
    out->truncated = false;
    if ((e = check(in, em)) < 0 || (e = join(r, in, out, plain, em)) < 0 ||
        (e = tokenizer_encode_plain(r->tokenizer, out->joined, out->len, plain, 2, &out->scratch, em)) < 0)
        return e;
    const struct tokenizer_span *document = plain[0].from == out->text_at ? &plain[0] : &plain[1];
    if ((e = finish(r, &out->scratch, document->from, document->to, in->truncate, out, em)) < 0)
        return e;
    out->n_skip = r->pools_last && out->n ? out->n - 1 : 0;
    return out->n ? 0 : err_set(em, LT_EEMPTY, "the prompt has no tokens");
}
