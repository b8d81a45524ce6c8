/* config.json of an NV-Embed checkpoint into the model's numbers. Where a field is absent the released class has a
 * default, and NV-Embed's own config.json relies on that: the tables below carry those defaults. */
#include "model/checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/file.h"
#include "base/utf8.h"
#include "model/json_limit.h"

#define MAX_CONFIG (1u << 20) /* bytes */
#define MAX_DEPTH 16
#define MAX_VALUES 65536
#define RELEASED_TEMPLATE "Instruct: {}\nQuery: "
/* The model card's instruction for retrieval, for queries that bring none. */
#define RELEASED_PREFIX "Instruct: Given a question, retrieve passages that answer the question\nQuery: "
#define FFN_FACTOR 4 /* the pooler's feed-forward is this many times the hidden size */

static bool absent(const json_t *v)
{
    return !v || json_is_null(v);
}

static int get_u32(const json_t *o, const char *key, uint32_t fallback, uint32_t *out, struct err_msg *em)
{
    const json_t *v = json_object_get(o, key);
    *out = fallback;
    if (absent(v))
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UINT32_MAX)
        return err_set(em, LT_EFORMAT, "config.json: %s is not a number of 32 bits", key);
    *out = (uint32_t)json_integer_value(v);
    return 0;
}

static int get_id(const json_t *o, const char *key, int32_t fallback, int32_t *out, struct err_msg *em)
{
    uint32_t v;
    int r = get_u32(o, key, (uint32_t)fallback, &v, em);
    if (!r && v > INT32_MAX)
        r = err_set(em, LT_EFORMAT, "config.json: %s is not a token id", key);
    if (!r)
        *out = (int32_t)v;
    return r;
}

static int get_f32(const json_t *o, const char *key, double fallback, float *out, struct err_msg *em)
{
    const json_t *v = json_object_get(o, key);
    *out = (float)fallback;
    if (absent(v))
        return 0;
    if (!json_is_number(v))
        return err_set(em, LT_EFORMAT, "config.json: %s is not a number", key);
    *out = (float)json_number_value(v);
    return 0;
}

static int get_bool(const json_t *o, const char *key, bool fallback, bool *out, struct err_msg *em)
{
    const json_t *v = json_object_get(o, key);
    *out = absent(v) ? fallback : json_is_true(v);
    if (!absent(v) && !json_is_boolean(v))
        return err_set(em, LT_EFORMAT, "config.json: %s is not a boolean", key);
    return 0;
}

/* The key's text must be `want` where it is there at all. */
static int expect(const json_t *o, const char *key, const char *want, struct err_msg *em)
{
    const json_t *v = json_object_get(o, key);
    if (absent(v) || (json_is_string(v) && !strcmp(json_string_value(v), want)))
        return 0;
    return err_set(em, LT_EUNSUPPORTED, "config.json: %s is %.60s; only \"%s\" is supported", key,
                   json_is_string(v) ? json_string_value(v) : "not a string", want);
}

static int get_object(const json_t *o, const char *key, const json_t **out, struct err_msg *em)
{
    *out = json_object_get(o, key);
    if (absent(*out))
        *out = NULL;
    else if (!json_is_object(*out))
        return err_set(em, LT_EFORMAT, "config.json: %s is not an object", key);
    return 0;
}

/* One object of RoPE's settings, called `name`: its base, where it has one, to *theta. Nothing but the plain kind is supported. */
static int read_rope_object(json_t *o, const char *name, float *theta, struct err_msg *em)
{
    const char *key;
    json_t *v;
    int r;
    if (!json_is_object(o))
        return err_set(em, LT_EFORMAT, "config.json: %s is not an object", name);
    if ((r = expect(o, "rope_type", "default", em)) < 0 || (r = expect(o, "type", "default", em)) < 0)
        return r;
    json_object_foreach(o, key, v)
        if (!absent(v) && strcmp(key, "rope_theta") && strcmp(key, "rope_type") && strcmp(key, "type"))
            return err_set(em, LT_EUNSUPPORTED, "config.json: %s.%.40s is not supported", name, key);
    return get_f32(o, "rope_theta", (double)*theta, theta, em);
}

/* transformers wrote RoPE's base beside rope_scaling up to its version 4, and writes it into rope_parameters since. */
static int read_rope(const json_t *text, struct model_info *i, struct err_msg *em)
{
    static const char *const names[] = {"rope_scaling", "rope_parameters"};
    int r = get_f32(text, "rope_theta", 10000, &i->rope_theta, em);
    for (size_t n = 0; n < sizeof names / sizeof *names && r == 0; n++) {
        json_t *o = json_object_get(text, names[n]);
        float theta = i->rope_theta;
        if (absent(o))
            continue;
        if ((r = read_rope_object(o, names[n], &theta, em)) < 0)
            return r;
        if (theta != i->rope_theta && !absent(json_object_get(text, "rope_theta")))
            return err_set(em, LT_EFORMAT, "config.json: rope_theta is %g, %s.rope_theta %g", (double)i->rope_theta, names[n], (double)theta);
        i->rope_theta = theta;
    }
    return r;
}

static int read_decoder(const json_t *text, uint32_t hidden, struct model_info *i, struct err_msg *em)
{
    int r;
    if ((r = expect(text, "model_type", "bidir_mistral", em)) < 0 || (r = expect(text, "hidden_act", "silu", em)) < 0 ||
        (r = get_u32(text, "hidden_size", hidden, &i->hidden, em)) < 0 ||
        (r = get_u32(text, "intermediate_size", 14336, &i->ffn, em)) < 0 ||
        (r = get_u32(text, "num_hidden_layers", 32, &i->n_layers, em)) < 0 ||
        (r = get_u32(text, "num_attention_heads", 32, &i->n_heads, em)) < 0 ||
        (r = get_u32(text, "num_key_value_heads", 8, &i->n_kv_heads, em)) < 0 ||
        (r = get_u32(text, "vocab_size", 32000, &i->vocab, em)) < 0 ||
        (r = get_u32(text, "max_position_embeddings", 32768, &i->token_limit, em)) < 0 ||
        (r = get_f32(text, "rms_norm_eps", 1e-5, &i->norm_eps, em)) < 0 ||
        (r = read_rope(text, i, em)) < 0 ||
        (r = get_id(text, "bos_token_id", 1, &i->bos, em)) < 0 ||
        (r = get_id(text, "eos_token_id", 2, &i->eos, em)) < 0 ||
        (r = get_id(text, "unk_token_id", 0, &i->unk, em)) < 0)
        return r;
    if (!i->n_heads || (absent(json_object_get(text, "head_dim")) && i->hidden % i->n_heads))
        return err_set(em, LT_EFORMAT, "config.json: hidden_size %u is not a multiple of num_attention_heads %u",
                       i->hidden, i->n_heads);
    return get_u32(text, "head_dim", i->hidden / i->n_heads, &i->head_dim, em);
}

static int read_pooler(const json_t *latent, struct model_info *i, struct err_msg *em)
{
    int r;
    uint32_t hidden_dim, latent_dim;
    bool normalize;
    if ((r = expect(latent, "model_type", "latent_attention", em)) < 0 ||
        (r = get_u32(latent, "num_latents_value", 512, &i->n_latents, em)) < 0 ||
        (r = get_u32(latent, "num_cross_heads", 8, &i->n_latent_heads, em)) < 0 ||
        (r = get_u32(latent, "cross_dim_head", 4096, &i->latent_head_dim, em)) < 0 ||
        /* The released default, 4096, is the released hidden size; another can only be meant where it is written. */
        (r = get_u32(latent, "hidden_dim", i->hidden, &hidden_dim, em)) < 0 ||
        (r = get_u32(latent, "latent_dim", i->hidden, &latent_dim, em)) < 0 ||
        (r = get_bool(latent, "output_normalize", true, &normalize, em)) < 0)
        return r;
    if (hidden_dim != i->hidden || latent_dim != i->hidden)
        return err_set(em, LT_EUNSUPPORTED, "config.json: hidden_dim %u and latent_dim %u must be hidden_size %u",
                       hidden_dim, latent_dim, i->hidden);
    i->pooling = MODEL_POOL_LATENT;
    i->layer_norm_eps = 1e-5f; /* torch's default, in no config */
    i->latent_ffn = i->hidden <= UINT32_MAX / FFN_FACTOR ? FFN_FACTOR * i->hidden : 0;
    return 0;
}

static int get_text(const json_t *o, const char *key, const char *fallback, char *out, size_t cap, struct err_msg *em)
{
    const json_t *v = json_object_get(o, key);
    const char *s = absent(v) ? fallback : json_string_value(v);
    if (!s || strlen(s) >= cap)
        return err_set(em, LT_EFORMAT, "config.json: latentd.%s is not a text of less than %zu bytes", key, cap);
    memcpy(out, s, strlen(s) + 1);
    return 0;
}

/* Name and prefixes: our own object where it is there, else what the model is known to take. */
static int read_texts(const json_t *config, struct model_info *i, struct checkpoint_texts *t, struct err_msg *em)
{
    int r;
    const json_t *ours;
    if ((r = get_object(config, "latentd", &ours, em)) < 0)
        return r;
    const char *path = json_string_value(json_object_get(config, "_name_or_path"));
    const char *slash = path ? strrchr(path, '/') : NULL, *name = slash && slash[1] ? slash + 1 : path;
    bool mini = path && !strcmp(path, "latent-mini");
    char known[sizeof i->name];
    snprintf(known, sizeof known, "%s", name && *name ? name : "nv-embed");
    if (utf8_check(known, strlen(known)) != UTF8_VALID) /* cut within a character */
        snprintf(known, sizeof known, "nv-embed");
    if ((r = get_text(ours, "name", known, i->name, sizeof i->name, em)) < 0 ||
        (r = get_text(ours, "query_prefix", mini ? "query: " : RELEASED_PREFIX, t->query_prefix, sizeof t->query_prefix,
                      em)) < 0 ||
        (r = get_text(ours, "instruct_template", mini ? "" : RELEASED_TEMPLATE, t->instruct_template,
                      sizeof t->instruct_template, em)) < 0)
        return r;
    return get_u32(ours, "token_limit", i->token_limit, &i->token_limit, em);
}

static int read_config(const json_t *config, const json_t *tokenizer, struct model_info *i, struct checkpoint_texts *t,
                       struct err_msg *em)
{
    int r;
    const json_t *text, *latent;
    uint32_t hidden;
    bool mask_instruction;
    if ((r = expect(config, "model_type", "nvembed", em)) < 0 || (r = expect(config, "mask_type", "b", em)) < 0 ||
        (r = get_u32(config, "hidden_size", 4096, &hidden, em)) < 0 ||
        (r = get_bool(config, "is_mask_instruction", true, &mask_instruction, em)) < 0 ||
        (r = get_object(config, "text_config", &text, em)) < 0 ||
        (r = get_object(config, "latent_attention_config", &latent, em)) < 0 ||
        (r = read_decoder(text, hidden, i, em)) < 0 || (r = read_pooler(latent, i, em)) < 0 ||
        (r = get_bool(config, "add_eos", true, &i->add_eos, em)) < 0 ||
        (r = get_bool(tokenizer, "add_bos_token", true, &i->add_bos, em)) < 0)
        return r;
    if (!mask_instruction)
        return err_set(em, LT_EUNSUPPORTED, "config.json: is_mask_instruction false is not supported");
    if (i->hidden != hidden && !absent(json_object_get(config, "hidden_size")))
        return err_set(em, LT_EFORMAT, "config.json: hidden_size is %u, text_config.hidden_size %u", hidden, i->hidden);
    i->dim = i->hidden;
    i->causal = false;
    return read_texts(config, i, t, em);
}

static int load(const char *what, size_t flags, const char *text, size_t len, json_t **out, struct err_msg *em)
{
    json_error_t why;
    int r = json_limit_check(what, text, len, MAX_DEPTH, MAX_VALUES, em);
    if (r < 0)
        return r;
    *out = json_loadb(text, len, JSON_REJECT_DUPLICATES | flags, &why);
    if (!json_is_object(*out))
        return err_set(em, LT_EFORMAT, "%s: %s", what, *out ? "not a JSON object" : why.text);
    return 0;
}

int checkpoint_config_parse(const char *config, size_t len, const char *tokenizer_config, size_t tokenizer_len,
                            struct model_info *info, struct checkpoint_texts *texts, struct err_msg *em)
{
    json_t *c = NULL, *t = NULL;
    int r = load("config.json", 0, config, len, &c, em);
    if (!r && tokenizer_config) /* its model_max_length is 1e30 written out, in the release too; no number of it is used */
        r = load("tokenizer_config.json", JSON_DECODE_INT_AS_REAL, tokenizer_config, tokenizer_len, &t, em);
    memset(info, 0, sizeof *info);
    if (!r)
        r = read_config(c, t, info, texts, em);
    json_decref(c);
    json_decref(t);
    return r;
}

int checkpoint_config(const char *dir, struct model_info *info, struct checkpoint_texts *texts, struct err_msg *em)
{
    char path[4096], *config = NULL, *tokenizer = NULL;
    size_t len = 0, tokenizer_len = 0;
    int r;
    if ((size_t)snprintf(path, sizeof path, "%s/tokenizer_config.json", dir) >= sizeof path)
        return err_set(em, LT_ELIMIT, "%.200s…: path too long", path);
    r = file_read(path, MAX_CONFIG, &tokenizer, &tokenizer_len, em);
    if (r < 0 && r != LT_ENOTFOUND)
        return r;
    snprintf(path, sizeof path, "%s/config.json", dir);
    r = file_read(path, MAX_CONFIG, &config, &len, em);
    if (!r)
        r = checkpoint_config_parse(config, len, tokenizer, tokenizer_len, info, texts, em);
    free(config);
    free(tokenizer);
    return r;
}
