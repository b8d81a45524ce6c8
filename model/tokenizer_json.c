/* tokenizer.json into the tables of tokenizer_impl.h. The bytes may be hostile: they are measured
 * before jansson sees them, every field is checked for its type and range, and what is not
 * understood is refused by its name rather than skipped. */
#include "model/tokenizer_impl.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/json_limit.h"

struct reader {
    struct tokenizer *t;
    json_t *root, *model, *vocab;
    char *arena_at;
    struct err_msg *em;
};

__attribute__((format(printf, 3, 4))) static int bad(struct reader *r, int code, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(r->em, code, "tokenizer.json: %s", text);
}

static bool present(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return v && !json_is_null(v);
}

/* A flag that may be absent or null (then false). */
static int flag(struct reader *r, const json_t *o, const char *where, const char *key, bool *out)
{
    const json_t *v = json_object_get(o, key);
    *out = json_is_true(v);
    if (v && !json_is_boolean(v) && !json_is_null(v))
        return bad(r, LT_EFORMAT, "%s.%s is not a boolean", where, key);
    return 0;
}

static int text_of(struct reader *r, const json_t *o, const char *where, const char *key, const char **s,
                   size_t *len)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_string(v))
        return bad(r, LT_EFORMAT, "%s.%s is not a string", where, key);
    *s = json_string_value(v);
    *len = json_string_length(v);
    if (*len > TOKENIZER_PIECE_MAX)
        return bad(r, LT_ELIMIT, "%s.%s is longer than %d bytes", where, key, TOKENIZER_PIECE_MAX);
    return 0;
}

static const char *type_of(const json_t *o)
{
    const char *s = json_string_value(json_object_get(o, "type"));
    return s ? s : "";
}

/* ---- vocabulary and added tokens ---- */

static int take_id(struct reader *r, const json_t *v, const char *where, const char *name, int32_t *id)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= TOKENIZER_VOCAB_MAX)
        return bad(r, LT_EFORMAT, "%s: the id of \"%.40s\" is not a number in 0 … %u", where, name,
                   TOKENIZER_VOCAB_MAX - 1);
    *id = (int32_t)json_integer_value(v);
    if ((uint32_t)*id >= r->t->info.n_vocab)
        r->t->info.n_vocab = (uint32_t)*id + 1;
    return 0;
}

static const char *keep(struct reader *r, const char *s, size_t len)
{
    char *p = r->arena_at;
    memcpy(p, s, len);
    r->arena_at += len;
    return p;
}

/* A piece of one character, and the byte pieces. */
static int note_special_forms(struct reader *r, const char *s, size_t len, int32_t id)
{
    uint32_t cp;
    int byte = tokenizer_byte_of_piece(s, len);
    if (len && utf8_decode(s, len, &cp) == len)
        return char_map_put(&r->t->chars, cp, id);
    if (byte >= 0)
        r->t->byte_id[byte] = id;
    return 0;
}

static int read_vocab(struct reader *r, uint8_t *used)
{
    struct tokenizer *t = r->t;
    const char *key;
    json_t *v;
    int e;
    json_object_foreach(r->vocab, key, v) {
        size_t len = strlen(key);
        int32_t id = 0;
        if (len > TOKENIZER_PIECE_MAX)
            return bad(r, LT_ELIMIT, "model.vocab holds a piece longer than %d bytes", TOKENIZER_PIECE_MAX);
        if ((e = take_id(r, v, "model.vocab", key, &id)) < 0)
            return e;
        if (used[id])
            return bad(r, LT_EFORMAT, "model.vocab gives id %d twice", id);
        used[id] = 1;
        const char *s = keep(r, key, len);
        piece_map_put(&t->pieces, s, (uint32_t)len, id);
        if (note_special_forms(r, s, len, id) < 0)
            return LT_ENOMEM;
    }
    return 0;
}

static int read_one_added(struct reader *r, const json_t *o, uint8_t *used)
{
    struct tokenizer *t = r->t;
    const char *s;
    size_t len;
    int32_t id;
    int e;
    if (!json_is_object(o))
        return bad(r, LT_EFORMAT, "added_tokens holds something that is not an object");
    if ((e = text_of(r, o, "added_tokens[]", "content", &s, &len)) < 0)
        return e;
    if (!len)
        return bad(r, LT_EFORMAT, "added_tokens holds an empty one");
    if ((e = take_id(r, json_object_get(o, "id"), "added_tokens", s, &id)) < 0)
        return e;
    static const char *const refused[] = {"single_word", "lstrip", "rstrip", "normalized"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        bool on = false;
        if ((e = flag(r, o, "added_tokens[]", refused[i], &on)) < 0)
            return e;
        if (on)
            return bad(r, LT_EUNSUPPORTED, "the added token \"%.40s\" is %s, which is not supported", s,
                       refused[i]);
    }
    bool special = false;
    if ((e = flag(r, o, "added_tokens[]", "special", &special)) < 0)
        return e;
    for (uint32_t i = 0; i < t->n_added; i++)
        if (t->added[i].len == len && !memcmp(t->added[i].s, s, len))
            return bad(r, LT_EFORMAT, "the added token \"%.40s\" stands there twice", s);
    int32_t known = piece_map_find(&t->pieces, s, len);
    if (known >= 0 ? known != id : used[id])
        return bad(r, LT_EFORMAT, "the added token \"%.40s\" has another id than the vocabulary says", s);
    used[id] = 1;
    const char *kept = keep(r, s, len);
    if (known < 0)
        piece_map_put(&t->pieces, kept, (uint32_t)len, id);
    t->added[t->n_added++] = (struct added_token){kept, (uint32_t)len, id, special};
    return 0;
}

static int read_added(struct reader *r, uint8_t *used)
{
    struct tokenizer *t = r->t;
    const json_t *list = json_object_get(r->root, "added_tokens");
    size_t n = json_array_size(list);
    int e;
    if (list && !json_is_array(list) && !json_is_null(list))
        return bad(r, LT_EFORMAT, "added_tokens is not a list");
    if (n > TOKENIZER_ADDED_MAX)
        return bad(r, LT_ELIMIT, "more than %d added tokens", TOKENIZER_ADDED_MAX);
    if (!n)
        return 0;
    if (!(t->added = calloc(n, sizeof *t->added)))
        return LT_ENOMEM;
    for (size_t i = 0; i < n; i++)
        if ((e = read_one_added(r, json_array_get(list, i), used)) < 0)
            return e;
    tokenizer_index_added(t);
    return 0;
}

/* ---- merges ---- */

/* A merge is "left right" or ["left", "right"]. */
static int split_merge(struct reader *r, const json_t *v, size_t i, const char *part[2], size_t len[2])
{
    if (json_is_string(v)) {
        const char *s = json_string_value(v), *sp;
        size_t n = json_string_length(v);
        sp = memchr(s, ' ', n);
        if (!sp || memchr(sp + 1, ' ', n - (size_t)(sp + 1 - s)))
            return bad(r, LT_EFORMAT, "model.merges[%zu] is not two pieces with a space between", i);
        part[0] = s;
        len[0] = (size_t)(sp - s);
        part[1] = sp + 1;
        len[1] = n - len[0] - 1;
    } else {
        if (json_array_size(v) != 2 || !json_is_string(json_array_get(v, 0)) ||
            !json_is_string(json_array_get(v, 1)))
            return bad(r, LT_EFORMAT, "model.merges[%zu] is neither a string nor a pair of strings", i);
        for (int k = 0; k < 2; k++) {
            part[k] = json_string_value(json_array_get(v, (size_t)k));
            len[k] = json_string_length(json_array_get(v, (size_t)k));
        }
    }
    if (!len[0] || !len[1] || len[0] + len[1] > TOKENIZER_PIECE_MAX)
        return bad(r, LT_EFORMAT, "model.merges[%zu] has an empty or over-long piece", i);
    return 0;
}

static int read_merges(struct reader *r)
{
    struct tokenizer *t = r->t;
    const json_t *list = json_object_get(r->model, "merges");
    if (!json_is_array(list))
        return bad(r, LT_EFORMAT, "model.merges is not a list");
    size_t n = json_array_size(list);
    int e;
    if (merge_map_init(&t->merges, n) < 0)
        return LT_ENOMEM;
    /* Symbols that do not spell their own text (bytes, the unknown piece) may stick together across
     * any boundary; then nothing is cut. */
    bool cut = t->byte_fallback && !t->ignore_merges;
    for (int b = 0; b < 256; b++)
        cut = cut && t->byte_id[b] >= 0;
    for (size_t i = 0; i < n; i++) {
        const char *part[2];
        size_t len[2];
        char both[TOKENIZER_PIECE_MAX];
        if ((e = split_merge(r, json_array_get(list, i), i, part, len)) < 0)
            return e;
        memcpy(both, part[0], len[0]);
        memcpy(both + len[0], part[1], len[1]);
        int32_t a = piece_map_find(&t->pieces, part[0], len[0]), b = piece_map_find(&t->pieces, part[1], len[1]);
        int32_t ab = piece_map_find(&t->pieces, both, len[0] + len[1]);
        if (a < 0 || b < 0 || ab < 0)
            return bad(r, LT_EFORMAT, "model.merges[%zu] names a piece that is not in the vocabulary", i);
        merge_map_put(&t->merges, a, b, (uint32_t)i, ab);
        tokenizer_note_join(t, part[0], len[0], part[1], len[1]);
        cut = cut && tokenizer_byte_of_piece(part[0], len[0]) < 0 && tokenizer_byte_of_piece(part[1], len[1]) < 0;
    }
    if (!cut)
        memset(t->joins, 0xFF, sizeof t->joins);
    return 0;
}

/* ---- normalizer ---- */

static int step_content(struct reader *r, const json_t *o, const char *key, struct norm_step *step)
{
    const char *s;
    size_t len;
    int e;
    if ((e = text_of(r, o, "normalizer", key, &s, &len)) < 0)
        return e;
    if (!len)
        return bad(r, LT_EUNSUPPORTED, "normalizer: an empty %s is not supported", key);
    for (size_t i = 0; i < len;) {
        if (step->n_content == NORM_CONTENT_MAX)
            return bad(r, LT_EUNSUPPORTED, "normalizer: a %s of more than %d characters is not supported", key,
                       NORM_CONTENT_MAX);
        i += utf8_decode(s + i, len - i, &step->content[step->n_content++]);
    }
    return 0;
}

static int read_normal_step(struct reader *r, const json_t *o, int depth)
{
    struct norm *norm = &r->t->norm;
    const char *type = type_of(o);
    int e;
    if (!strcmp(type, "Sequence") && depth < 4) {
        const json_t *list = json_object_get(o, "normalizers");
        if (!json_is_array(list))
            return bad(r, LT_EFORMAT, "normalizer.normalizers is not a list");
        for (size_t i = 0; i < json_array_size(list); i++)
            if ((e = read_normal_step(r, json_array_get(list, i), depth + 1)) < 0)
                return e;
        return 0;
    }
    if (norm->n_steps == NORM_STEPS_MAX)
        return bad(r, LT_EUNSUPPORTED, "normalizer: more than %d steps", NORM_STEPS_MAX);
    struct norm_step *step = &norm->steps[norm->n_steps++];
    if (!strcmp(type, "Lowercase")) {
        step->kind = NORM_LOWERCASE;
        r->t->info.lowercase = true;
        return 0;
    }
    if (!strcmp(type, "Prepend")) {
        step->kind = NORM_PREPEND;
        return step_content(r, o, "prepend", step);
    }
    if (strcmp(type, "Replace") != 0)
        return bad(r, LT_EUNSUPPORTED, "normalizer \"%.60s\" is not supported", type);
    step->kind = NORM_REPLACE;
    const json_t *pattern = json_object_get(o, "pattern");
    const char *s;
    size_t len;
    if (!json_is_string(json_object_get(pattern, "String")))
        return bad(r, LT_EUNSUPPORTED, "normalizer Replace: only a String pattern is supported");
    if ((e = text_of(r, pattern, "normalizer.pattern", "String", &s, &len)) < 0)
        return e;
    if (!len || utf8_decode(s, len, &step->pattern) != len)
        return bad(r, LT_EUNSUPPORTED, "normalizer Replace: only a pattern of one character is supported");
    return step_content(r, o, "content", step);
}

/* ---- the rest ---- */

/* post_processor: which tokens the template puts around a single text. */
static int read_template(struct reader *r)
{
    const json_t *post = json_object_get(r->root, "post_processor"), *item;
    size_t i;
    if (!present(r->root, "post_processor"))
        return 0;
    if (strcmp(type_of(post), "TemplateProcessing") != 0)
        return bad(r, LT_EUNSUPPORTED, "post_processor \"%.60s\" is not supported", type_of(post));
    const json_t *single = json_object_get(post, "single");
    if (!json_is_array(single))
        return bad(r, LT_EFORMAT, "post_processor.single is not a list");
    bool seen_text = false;
    json_array_foreach(single, i, item) {
        const json_t *special = json_object_get(item, "SpecialToken");
        if (!special) {
            if (!json_object_get(item, "Sequence") || seen_text)
                return bad(r, LT_EFORMAT, "post_processor.single[%zu] is neither a token nor the text", i);
            seen_text = true;
            continue;
        }
        const char *name = json_string_value(json_object_get(special, "id"));
        const json_t *ids = json_object_get(
            json_object_get(json_object_get(post, "special_tokens"), name ? name : ""), "ids");
        const json_t *id = json_array_get(ids, 0);
        if (json_array_size(ids) != 1 || !json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= r->t->info.n_vocab)
            return bad(r, LT_EFORMAT, "post_processor.special_tokens: no valid id for \"%.40s\"",
                       name ? name : "");
        int32_t *slot = seen_text ? &r->t->info.eos : &r->t->info.bos;
        if (*slot >= 0)
            return bad(r, LT_EUNSUPPORTED, "post_processor: more than one token on a side is not supported");
        *slot = (int32_t)json_integer_value(id);
    }
    if (!seen_text)
        return bad(r, LT_EFORMAT, "post_processor.single lacks the text");
    return 0;
}

static int read_model_head(struct reader *r)
{
    struct tokenizer *t = r->t;
    int e;
    if (!json_is_object(r->root))
        return bad(r, LT_EFORMAT, "not an object");
    r->model = json_object_get(r->root, "model");
    if (!json_is_object(r->model))
        return bad(r, LT_EFORMAT, "model is not an object");
    if (strcmp(type_of(r->model), "BPE") != 0)
        return bad(r, LT_EUNSUPPORTED, "model type \"%.60s\" is not supported, only BPE", type_of(r->model));
    static const char *const refused[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 3; i++) {
        const json_t *v = json_object_get(r->model, refused[i]);
        bool harmless = !v || json_is_null(v) || (json_is_string(v) && !json_string_length(v)) ||
                        (json_is_number(v) && json_number_value(v) == 0);
        if (!harmless)
            return bad(r, LT_EUNSUPPORTED, "model.%s is not supported", refused[i]);
    }
    if (present(r->root, "pre_tokenizer"))
        return bad(r, LT_EUNSUPPORTED, "pre_tokenizer \"%.60s\" is not supported",
                   type_of(json_object_get(r->root, "pre_tokenizer")));
    if ((e = flag(r, r->model, "model", "byte_fallback", &t->byte_fallback)) < 0 ||
        (e = flag(r, r->model, "model", "fuse_unk", &t->fuse_unk)) < 0 ||
        (e = flag(r, r->model, "model", "ignore_merges", &t->ignore_merges)) < 0)
        return e;
    r->vocab = json_object_get(r->model, "vocab");
    if (!json_is_object(r->vocab) || !json_object_size(r->vocab))
        return bad(r, LT_EFORMAT, "model.vocab is not an object with pieces");
    if (json_object_size(r->vocab) > TOKENIZER_VOCAB_MAX)
        return bad(r, LT_ELIMIT, "more than %u pieces", TOKENIZER_VOCAB_MAX);
    return 0;
}

/* The unknown piece is needed only where some byte has no piece of its own. */
static int read_unk(struct reader *r)
{
    struct tokenizer *t = r->t;
    const char *s;
    size_t len;
    int e;
    if (present(r->model, "unk_token")) {
        if ((e = text_of(r, r->model, "model", "unk_token", &s, &len)) < 0)
            return e;
        if ((t->info.unk = piece_map_find(&t->pieces, s, len)) < 0)
            return bad(r, LT_EFORMAT, "model.unk_token \"%.40s\" is not in the vocabulary", s);
        return 0;
    }
    for (int b = 0; b < 256; b++)
        if (!t->byte_fallback || t->byte_id[b] < 0)
            return bad(r, LT_EUNSUPPORTED, "neither an unk_token nor pieces for all bytes");
    return 0;
}

/* Bytes that all pieces and added tokens need together. */
static size_t arena_size(struct reader *r)
{
    size_t total = 1, i;
    const char *key;
    json_t *v;
    json_object_foreach(r->vocab, key, v)
        total += strlen(key);
    json_array_foreach(json_object_get(r->root, "added_tokens"), i, v)
        total += json_string_length(json_object_get(v, "content"));
    return total;
}

static int read_all(struct reader *r)
{
    struct tokenizer *t = r->t;
    uint8_t *used = NULL;
    int e;
    if ((e = read_model_head(r)) < 0)
        return e;
    size_t n_added = json_array_size(json_object_get(r->root, "added_tokens"));
    t->arena = r->arena_at = malloc(arena_size(r));
    used = calloc(TOKENIZER_VOCAB_MAX, 1);
    if (!t->arena || !used || piece_map_init(&t->pieces, json_object_size(r->vocab) + n_added) < 0 ||
        char_map_init(&t->chars) < 0) {
        e = LT_ENOMEM;
        goto out;
    }
    /* Merges may name the model's own pieces only, so they come before the added tokens. */
    if ((e = read_vocab(r, used)) < 0 || (e = read_unk(r)) < 0 || (e = read_merges(r)) < 0 ||
        (e = read_added(r, used)) < 0)
        goto out;
    if (present(r->root, "normalizer") && (e = read_normal_step(r, json_object_get(r->root, "normalizer"), 0)) < 0)
        goto out;
    if ((e = norm_prepare(&t->norm, r->em)) < 0)
        goto out;
    e = read_template(r);
out:
    free(used);
    return e;
}

int tokenizer_read_json(struct tokenizer *t, const char *json, size_t len, struct err_msg *em)
{
    struct reader r = {.t = t, .em = em};
    json_error_t je;
    int e;
    if (len > TOKENIZER_JSON_MAX)
        return bad(&r, LT_ELIMIT, "%zu bytes, at most %u are read", len, TOKENIZER_JSON_MAX);
    if ((e = json_limit_check("tokenizer.json", json, len, TOKENIZER_JSON_DEPTH, TOKENIZER_JSON_VALUES, em)) < 0)
        return e;
    r.root = json_loadb(json, len, JSON_REJECT_DUPLICATES, &je);
    if (!r.root)
        return bad(&r, LT_EFORMAT, "line %d, column %d: %s", je.line, je.column, je.text);
    e = read_all(&r);
    if (e == LT_ENOMEM)
        bad(&r, e, "%s", err_text(e));
    json_decref(r.root);
    return e;
}
