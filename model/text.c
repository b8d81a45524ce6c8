/* NV-Embed's encoding protocol: prefix, title and text are one string for the tokeniser; BOS and EOS
 * go around the ids; the pool leaves out as many leading positions as the prefix has tokens when it
 * is tokenised alone and without BOS. That number is right because the prefix's last piece, a lone
 * U+2581, merges into the first word, and BOS takes its place. */
#include "model/text.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

bool text_is_blank(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (s[i] != ' ' && (s[i] < '\t' || s[i] > '\r'))
            return false;
    return true;
}

int text_check_utf8(const char *what, const char *s, size_t len, struct err_msg *em)
{
    size_t at = s ? utf8_check(s, len) : UTF8_VALID;
    if (at == UTF8_VALID)
        return 0;
    return err_set(em, LT_EUTF8, "the %s is not valid UTF-8 at byte %zu", what, at);
}

int text_join_room(struct text_tokens *t, size_t len, struct err_msg *em)
{
    if (len <= t->joined_cap)
        return 0;
    char *p = realloc(t->joined, len * 2);
    if (!p)
        return err_set(em, LT_ENOMEM, "%s", err_text(LT_ENOMEM));
    t->joined = p;
    t->joined_cap = len * 2;
    return 0;
}

int text_ids_room(struct text_tokens *t, size_t n, struct err_msg *em)
{
    if (n <= t->cap)
        return 0;
    int32_t *p = realloc(t->ids, n * 2 * sizeof *p);
    if (!p)
        return err_set(em, LT_ENOMEM, "%s", err_text(LT_ENOMEM));
    t->ids = p;
    t->cap = (uint32_t)n * 2;
    return 0;
}

const char *text_template(const struct text_rules *r, const struct text_input *in)
{
    const char *form = !in->query ? r->passage_template : !in->instruct ? r->query_prefix : *in->instruct ? r->instruct_template : "";
    if (in->query && in->instruct && *in->instruct && (!form || !*form))
        form = TEXT_INSTRUCT_TEMPLATE;
    return form ? form : "";
}

/* What goes before a query into out->joined; its length. */
static int put_prefix(const struct text_rules *r, const struct text_input *in, struct text_tokens *out, size_t *len,
                      struct err_msg *em)
{
    const char *prefix = text_template(r, in), *slot = NULL;
    size_t n_instruct = in->instruct ? strlen(in->instruct) : 0;
    *len = 0;
    if (n_instruct && !(slot = strstr(prefix, "{}")))
        return err_set(em, LT_EUNSUPPORTED, "the model's instruction template has no place for an instruction");
    size_t n = strlen(prefix), head = slot ? (size_t)(slot - prefix) : n;
    if (text_join_room(out, n + n_instruct + 1, em) < 0)
        return LT_ENOMEM;
    memcpy(out->joined, prefix, head);
    *len = head;
    if (slot) {
        memcpy(out->joined + head, in->instruct, n_instruct);
        memcpy(out->joined + head + n_instruct, slot + 2, n - head - 2);
        *len = n + n_instruct - 2;
    }
    return 0;
}

/* What goes before a passage, its title included, into out->joined; its length. */
static int put_title(const char *form, const char *title, size_t title_len, bool alone, struct text_tokens *out, size_t *len,
                     struct err_msg *em)
{
    const char *slot = strstr(form, "{}"), *tail = slot ? slot + 2 : "";
    const size_t head = slot ? (size_t)(slot - form) : strlen(form);
    *len = 0;
    if (*form && !title_len) {
        title = "none";
        title_len = slot ? 4 : 0;
    }
    if (!slot && !alone)
        tail = title_len ? " " : "";
    if (text_join_room(out, head + title_len + strlen(tail) + 1, em) < 0)
        return LT_ENOMEM;
    memcpy(out->joined, form, head);
    if (title_len)
        memcpy(out->joined + head, title, title_len);
    memcpy(out->joined + head + title_len, tail, strlen(tail));
    *len = head + title_len + strlen(tail);
    return 0;
}

/* A part of what is tokenised as one. */
static int check_part(const char *what, const char *s, size_t len, struct err_msg *em)
{
    if (len > TOKENIZER_TEXT_MAX)
        return err_set(em, LT_ELIMIT, "the %s has %zu bytes, at most %u are taken", what, len, TOKENIZER_TEXT_MAX);
    return text_check_utf8(what, s, len, em);
}

/* prefix, title, space, text as one string, its first `*prefix_len` bytes the prefix. */
static int join(const struct text_rules *r, const struct text_input *in, struct text_tokens *out, size_t *prefix_len,
                struct err_msg *em)
{
    const char *text = in->text;
    size_t title_len = in->query || !in->title ? 0 : in->title_len, text_len = in->len;
    int e;
    if ((e = check_part("text", in->text, in->len, em)) < 0 || (e = check_part("title", in->title, title_len, em)) < 0 ||
        (e = check_part("instruction", in->instruct, in->instruct ? strlen(in->instruct) : 0, em)) < 0)
        return e;
    if (text_is_blank(in->title, title_len))
        title_len = 0;
    if (text_is_blank(text, text_len)) {
        if (!title_len)
            return err_set(em, LT_EEMPTY, "the text is empty");
        text_len = 0;
    }
    size_t n;
    *prefix_len = 0;
    if (in->query) {
        if ((e = put_prefix(r, in, out, prefix_len, em)) < 0)
            return e;
        n = *prefix_len;
    } else if ((e = put_title(text_template(r, in), in->title, title_len, !text_len, out, &n, em)) < 0) {
        return e;
    }
    const size_t len = n + text_len;
    if (len > TOKENIZER_TEXT_MAX)
        return err_set(em, LT_ELIMIT, "the text has %zu bytes with the %s, at most %u are taken", len,
                       in->query ? "instruction" : "title", TOKENIZER_TEXT_MAX);
    if (text_join_room(out, len + 1, em) < 0)
        return LT_ENOMEM;
    if (text_len)
        memcpy(out->joined + n, text, text_len);
    out->text_at = n;
    out->len = len;
    return 0;
}

bool text_ends_in_eos(const struct text_rules *r, bool cut)
{
    return r->eos >= 0 && (!cut || r->keep_eos);
}

/* BOS, ids, suffix, EOS, cut at the limit. */
static int finish(const struct text_rules *r, const struct tokenizer_ids *ids, const struct text_input *in, struct text_tokens *out,
                  struct err_msg *em)
{
    const size_t suffix = *text_template(r, in) ? r->n_suffix : 0;
    size_t head = r->bos >= 0, seen = head + ids->n + suffix + (r->eos >= 0);
    size_t n = seen < r->token_limit ? seen : r->token_limit;
    out->n_seen = (uint32_t)seen;
    if (seen > r->token_limit && !in->truncate)
        return err_set(em, LT_ETOOLONG, "the text has %zu tokens, the model takes %u", seen, r->token_limit);
    if (text_ids_room(out, n, em) < 0)
        return LT_ENOMEM;
    const bool eos = text_ends_in_eos(r, n < seen);
    const size_t behind = (n < seen && !r->keep_eos ? 0 : suffix) + eos, body = n - head - behind;
    if (head)
        out->ids[0] = r->bos;
    memcpy(out->ids + head, ids->ids, body * sizeof *out->ids);
    if (behind > eos)
        memcpy(out->ids + head + body, r->suffix, suffix * sizeof *out->ids);
    if (eos)
        out->ids[n - 1] = r->eos;
    out->n = (uint32_t)n;
    out->n_behind = (uint32_t)behind;
    out->truncated = seen > n;
    return 0;
}

int text_encode_rules(const struct text_rules *r, const struct text_input *in, struct text_tokens *out,
                      struct err_msg *em)
{
    size_t prefix_len = 0;
    int e;
    out->n = out->n_skip = out->n_seen = out->n_behind = 0;
    out->len = out->text_at = 0;
    out->truncated = false;
    if (r->token_limit < 4 + r->n_suffix)
        return err_set(em, LT_EINVAL, "a limit of %u tokens leaves no room for a text", r->token_limit);
    if ((e = join(r, in, out, &prefix_len, em)) < 0 ||
        (e = tokenizer_encode(r->tokenizer, out->joined, out->len, &out->scratch, em)) < 0 ||
        (e = finish(r, &out->scratch, in, out, em)) < 0)
        goto out;
    if (prefix_len && !r->pool_prefix) {
        if ((e = tokenizer_encode(r->tokenizer, out->joined, prefix_len, &out->scratch, em)) < 0)
            goto out;
        if (out->scratch.n >= out->n) {
            e = err_set(em, LT_EEMPTY, "the instruction takes all %u tokens, nothing is left of the text", out->n);
            goto out;
        }
        out->n_skip = (uint32_t)out->scratch.n;
    }
out:
    if (e < 0)
        out->n = 0;
    if (e < 0 && e != LT_ETOOLONG)
        out->n_seen = 0;
    return e;
}

int text_offsets(const struct text_rules *r, struct text_tokens *t, uint32_t *offsets, uint32_t *used, struct err_msg *em)
{
    const uint32_t head = r->bos >= 0, body = t->n - head - t->n_behind;
    int e = tokenizer_encode(r->tokenizer, t->joined, t->len, &t->scratch, em);
    *used = e == 0 && body < t->scratch.n ? t->scratch.starts[body] : (uint32_t)t->len;
    for (uint32_t i = 0; i < t->n && e == 0; i++)
        offsets[i] = i < head ? 0 : i - head < body ? t->scratch.starts[i - head] : *used;
    return e;
}

void text_tokens_finish(struct text_tokens *t)
{
    free(t->ids);
    free(t->joined);
    tokenizer_ids_finish(&t->scratch);
    memset(t, 0, sizeof *t);
}

void text_tokens_trim(struct text_tokens *t)
{
    const struct tokenizer_ids *s = &t->scratch;
    if (t->joined_cap + t->cap * sizeof *t->ids + s->cap * (sizeof *s->ids + sizeof *s->starts) > TEXT_KEPT)
        text_tokens_finish(t);
}
