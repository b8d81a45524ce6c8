#include "model/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <sodium.h>

#include "base/bytes.h"
#include "base/file.h"
#include "model/checkpoint.h"
#include "model/gguf_write.h"
#include "model/golden.h"
#include "model/import_tensors.h"
#include "model/layout.h"
#include "model/model_load.h"
#include "model/ref/ref_forward.h"
#include "model/tokenizer.h"

struct import {
    const char *dir;
    const struct import_params *p;
    struct import_report rep;
    struct model_info info;
    struct checkpoint_texts texts;
    struct checkpoint *checkpoint;
    struct layout_item *items;
    size_t n_items;
    uint64_t source_bytes; /* of the checkpoint's tensors */
    struct gguf_writer *w;
    char *tokenizer;
    size_t tokenizer_len;
    struct golden_plan golden;
    uint64_t vectors_at, digests_at; /* offsets in the file */
    struct err_msg *em;
};

int import_type(const char *name, enum tensor_type *type)
{
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_Q8_0, TENSOR_Q4_K};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (!strcasecmp(name, tensor_type_name(types[i]))) {
            *type = types[i];
            return 0;
        }
    }
    return LT_EINVAL;
}

/* ---- what is to be written ---- */

/* Every number of a text passes through its token vectors, and reading them costs the same in any type: where they are
 * a small part of the model they stay finer than 8 bits. */
#define TABLE_SHARE 5

static bool fine_table(enum tensor_type type, const struct layout_item *it, uint64_t n_params)
{
    return type == TENSOR_Q8_0 && !strcmp(it->name, "token_embd.weight") && it->rows * it->cols < n_params / TABLE_SHARE;
}

/* Where a file of 4-bit weights keeps more: see model/FORMAT.md. */
static enum tensor_type finer(const char *name)
{
    static const struct {
        const char *part;
        enum tensor_type type;
    } parts[] = {
        {"pooler.attn_", TENSOR_Q8_0},
        {"pooler.ffn_", TENSOR_Q6_K},
        {"token_embd.", TENSOR_Q6_K},
        {".attn_v.", TENSOR_Q6_K},
        {".attn_output.", TENSOR_Q6_K},
        {".ffn_down.", TENSOR_Q5_K},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(name, parts[i].part))
            return parts[i].type;
    return TENSOR_Q4_K;
}

/* The type that the tensor would have if its rows divided by every block. */
static enum tensor_type wanted_type(enum tensor_type type, const struct layout_item *it, uint64_t n_params)
{
    if (it->f32)
        return TENSOR_F32;
    if (fine_table(type, it, n_params))
        return TENSOR_F16;
    return type == TENSOR_Q4_K ? finer(it->name) : type;
}

enum tensor_type import_tensor_type(enum tensor_type type, const struct layout_item *it, uint64_t n_params)
{
    const enum tensor_type wanted = wanted_type(type, it, n_params);
    return tensor_row_bytes(wanted, it->cols) ? wanted : TENSOR_F16;
}

static enum tensor_type stored_type(const struct import *im, const struct layout_item *it)
{
    return import_tensor_type(im->p->type, it, im->rep.n_params);
}

static int check_source(struct import *im, const struct layout_item *it)
{
    const struct safetensors_entry *e = checkpoint_find(im->checkpoint, it->source);
    if (!e)
        return err_set(im->em, LT_EFORMAT, "%s: tensor %s is missing", im->dir, it->source);
    if (!e->usable)
        return err_set(im->em, LT_EUNSUPPORTED, "%s: tensor %s is %s; F32, F16 and BF16 are supported", im->dir,
                       it->source, e->dtype);
    bool fits = it->vector ? e->n_dims == 1 && e->dims[0] == it->cols
                           : e->n_dims == 2 && e->dims[0] == it->rows && e->dims[1] == it->cols;
    if (fits)
        return 0;
    char shape[SAFETENSORS_MAX_DIMS * 24] = "";
    size_t at = 0;
    for (uint32_t i = 0; i < e->n_dims; i++)
        at += (size_t)snprintf(shape + at, sizeof shape - at, "%s%llu", i ? " x " : "",
                               (unsigned long long)e->dims[i]);
    char want[48] = "";
    if (!it->vector)
        snprintf(want, sizeof want, "%llu x ", (unsigned long long)it->rows);
    at = strlen(want);
    snprintf(want + at, sizeof want - at, "%llu", (unsigned long long)it->cols);
    return err_set(im->em, LT_EFORMAT, "%s: tensor %s has shape %s, config.json makes it %s", im->dir, it->source,
                   shape, want);
}

static int check_sources(struct import *im)
{
    int r;
    const struct safetensors_entry *e;
    for (size_t i = 0; i < im->n_items; i++)
        if ((r = check_source(im, &im->items[i])) < 0)
            return r;
    for (size_t t = 0; (e = checkpoint_at(im->checkpoint, t)); t++) {
        size_t i = 0;
        while (i < im->n_items && strcmp(im->items[i].source, e->name))
            i++;
        if (i == im->n_items)
            return err_set(im->em, LT_EFORMAT, "%s: tensor %.120s has no place in this architecture", im->dir, e->name);
    }
    return 0;
}

static int read_tokenizer(struct import *im)
{
    char path[4096];
    struct tokenizer *t = NULL;
    struct err_msg why;
    snprintf(path, sizeof path, "%s/tokenizer.json", im->dir);
    int r = file_read(path, TOKENIZER_JSON_MAX, &im->tokenizer, &im->tokenizer_len, im->em);
    if (r == LT_ENOTFOUND)
        return 0;
    if (r < 0)
        return r;
    if ((r = tokenizer_create(&t, im->tokenizer, im->tokenizer_len, &why)) < 0)
        return err_set(im->em, r, "%s: %s", im->dir, why.text);
    uint32_t n = tokenizer_info(t)->n_vocab;
    int32_t unk = tokenizer_info(t)->unk;
    tokenizer_destroy(&t);
    if (n > im->info.vocab)
        return err_set(im->em, LT_EFORMAT, "%s: tokenizer.json has %u ids, config.json says %u", im->dir, n,
                       im->info.vocab);
    im->info.unk = unk;
    im->rep.has_tokenizer = true;
    return 0;
}

/* ---- writing ---- */

static void write_text(struct import *im, const char *key, const char *s)
{
    gguf_write_str(im->w, key, s, strlen(s));
}

static void write_goldens(struct import *im)
{
    uint32_t lengths[GOLDEN_MAX], skips[GOLDEN_MAX];
    for (size_t g = 0; g < im->golden.n; g++) {
        lengths[g] = im->golden.seq[g].n;
        skips[g] = im->golden.seq[g].n_skip;
    }
    gguf_write_array(im->w, "latentd.golden.lengths", GGUF_U32, lengths, im->golden.n, NULL);
    gguf_write_array(im->w, "latentd.golden.skips", GGUF_U32, skips, im->golden.n, NULL);
    gguf_write_array(im->w, "latentd.golden.ids", GGUF_I32, im->golden.ids, im->golden.n_ids, NULL);
    gguf_write_array(im->w, "latentd.golden.vectors", GGUF_F32, NULL, (size_t)im->rep.n_goldens * im->info.dim,
                     &im->vectors_at);
}

static uint32_t file_type(enum tensor_type type)
{
    return type == TENSOR_F32 ? 0 : type == TENSOR_F16 ? 1 : type == TENSOR_Q8_0 ? 7 : type == TENSOR_Q4_K ? 15 : 32;
}

static void write_keys(struct import *im)
{
    const struct model_info *i = &im->info;
    write_text(im, "general.architecture", "latentd");
    write_text(im, "general.name", i->name);
    gguf_write_u32(im->w, "general.alignment", GGUF_ALIGNMENT);
    gguf_write_u32(im->w, "general.file_type", file_type(im->p->type));
    gguf_write_u32(im->w, "general.quantization_version", 2);
    gguf_write_u32(im->w, "latentd.format_version", 1);
    gguf_write_u32(im->w, "latentd.context_length", i->token_limit);
    gguf_write_u32(im->w, "latentd.embedding_length", i->hidden);
    gguf_write_u32(im->w, "latentd.block_count", i->n_layers);
    gguf_write_u32(im->w, "latentd.feed_forward_length", i->ffn);
    gguf_write_u32(im->w, "latentd.attention.head_count", i->n_heads);
    gguf_write_u32(im->w, "latentd.attention.head_count_kv", i->n_kv_heads);
    gguf_write_u32(im->w, "latentd.attention.key_length", i->head_dim);
    gguf_write_f32(im->w, "latentd.attention.layer_norm_rms_epsilon", i->norm_eps);
    gguf_write_bool(im->w, "latentd.attention.causal", i->causal);
    gguf_write_f32(im->w, "latentd.rope.freq_base", i->rope_theta);
    gguf_write_u32(im->w, "latentd.vocab_size", i->vocab);
    write_text(im, "latentd.pooling", layout_pooling_name(i->pooling));
    gguf_write_u32(im->w, "latentd.pooler.latent_count", i->n_latents);
    gguf_write_u32(im->w, "latentd.pooler.head_count", i->n_latent_heads);
    gguf_write_u32(im->w, "latentd.pooler.key_length", i->latent_head_dim);
    gguf_write_u32(im->w, "latentd.pooler.feed_forward_length", i->latent_ffn);
    gguf_write_f32(im->w, "latentd.pooler.layer_norm_epsilon", i->layer_norm_eps);
    gguf_write_i32(im->w, "latentd.token.bos", i->bos);
    gguf_write_i32(im->w, "latentd.token.eos", i->eos);
    gguf_write_i32(im->w, "latentd.token.unk", i->unk);
    gguf_write_bool(im->w, "latentd.token.add_bos", i->add_bos);
    gguf_write_bool(im->w, "latentd.token.add_eos", i->add_eos);
    write_text(im, "latentd.query_prefix", im->texts.query_prefix);
    write_text(im, "latentd.instruct_template", im->texts.instruct_template);
    if (im->tokenizer)
        gguf_write_str(im->w, "tokenizer.huggingface.json", im->tokenizer, im->tokenizer_len);
    gguf_write_blank(im->w, DIGEST_KEY, im->n_items * DIGEST_HEX, &im->digests_at);
    write_goldens(im);
}

static void report_progress(const struct import *im, const char *stage, double fraction)
{
    if (im->p->progress)
        im->p->progress(im->p->progress_arg, stage, fraction, im->source_bytes);
}

static bool tensor_progress(void *arg, uint64_t n_weights)
{
    const struct import *im = arg;
    report_progress(im, "tensors", (double)n_weights / (double)im->rep.n_params);
    return im->p->stop && *im->p->stop;
}

/* The norm whose output a matrix multiplies: its gains say how much each column varies. */
static const char *norm_before(const char *name)
{
    static const char *const pairs[][2] = {
        {"attn_q", "attn_norm"}, {"attn_k", "attn_norm"}, {"attn_v", "attn_norm"}, {"ffn_gate", "ffn_norm"},
        {"ffn_up", "ffn_norm"},  {"attn_kv", "context_norm"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (!strcmp(name, pairs[i][0]))
            return pairs[i][1];
    return NULL;
}

static const struct safetensors_entry *gains_of(const struct import *im, const struct layout_item *it)
{
    char part[64], norm[128];
    const char *dot = strrchr(it->name, '.');
    if (!dot || strcmp(dot, ".weight"))
        return NULL;
    snprintf(part, sizeof part, "%.*s", (int)(dot - it->name), it->name);
    char *last = strrchr(part, '.');
    const char *before = last ? norm_before(last + 1) : NULL;
    if (!before)
        return NULL;
    *last = 0;
    snprintf(norm, sizeof norm, "%s.%s.weight", part, before);
    for (size_t i = 0; i < im->n_items; i++)
        if (!strcmp(im->items[i].name, norm) && im->items[i].cols == it->cols)
            return checkpoint_find(im->checkpoint, im->items[i].source);
    return NULL;
}

static int name_order(const void *a, const void *b)
{
    const struct import_tensor *x = a, *y = b;
    return strcmp(x->item->name, y->item->name);
}

/* In order of name, as a reader lists them. */
static int write_digests(struct import *im, struct import_tensor *list)
{
    char *hex = malloc(im->n_items * DIGEST_HEX + 1);
    if (!hex)
        return err_set(im->em, LT_ENOMEM, "no memory for digests");
    qsort(list, im->n_items, sizeof *list, name_order);
    for (size_t i = 0; i < im->n_items; i++)
        sodium_bin2hex(hex + i * DIGEST_HEX, DIGEST_HEX + 1, list[i].digest, DIGEST_BYTES);
    int r = gguf_write_patch(im->w, im->digests_at, hex, im->n_items * DIGEST_HEX, im->em);
    free(hex);
    return r;
}

static int write_tensors(struct import *im)
{
    struct import_tensor *list = calloc(im->n_items, sizeof *list);
    if (!list)
        return err_set(im->em, LT_ENOMEM, "no memory for the list of tensors");
    for (size_t i = 0; i < im->n_items; i++) {
        const struct layout_item *it = &im->items[i];
        list[i] = (struct import_tensor){it, checkpoint_find(im->checkpoint, it->source), gains_of(im, it), stored_type(im, it), {0}};
        gguf_write_tensor(im->w, it->name, list[i].type, it->rows, it->cols);
    }
    const struct import_tensors all = {.dir = im->dir, .tensor = list, .n = im->n_items, .n_threads = im->p->n_threads,
                                       .progress = tensor_progress, .progress_arg = im};
    int r = import_tensors_write(&all, im->w, im->em);
    if (!r)
        r = write_digests(im, list);
    free(list);
    return r;
}

static void golden_progress(void *arg, double fraction)
{
    report_progress(arg, "golden vectors", fraction);
}

/* From the file as written, so that they are those of the weights as stored. */
static int compute_goldens(struct import *im)
{
    struct model *m = NULL;
    size_t n = (size_t)im->rep.n_goldens * im->info.dim;
    struct ref_probe probe = {.arg = im, .progress = golden_progress, .stop = im->p->stop};
    struct bytes_out bytes = {0};
    double *vec = calloc(n, sizeof *vec);
    int r = vec ? 0 : err_set(im->em, LT_ENOMEM, "no memory for golden vectors");
    if (!r && !(r = gguf_write_flush(im->w, im->em)) &&
        !(r = model_open_unproven(&m, gguf_write_tmp_path(im->w), im->em)))
        r = ref_forward(m, im->golden.seq, im->golden.n, &probe, vec, im->em);
    if (r == LT_ECANCELLED)
        err_set(im->em, r, "%s: import stopped", im->dir);
    if (!r) {
        for (size_t i = 0; i < n; i++)
            bytes_put_f32(&bytes, (float)vec[i]);
        r = bytes.bad ? err_set(im->em, LT_ENOMEM, "no memory for golden vectors")
                      : gguf_write_patch(im->w, im->vectors_at, bytes.data, bytes.len, im->em);
        snprintf(im->rep.fingerprint, sizeof im->rep.fingerprint, "%s", model_info(m)->fingerprint);
        report_progress(im, "golden vectors", 1);
    }
    bytes_out_finish(&bytes);
    model_destroy(&m);
    free(vec);
    return r;
}

static int import(struct import *im, const char *out)
{
    int r;
    struct stat st;
    if (sodium_init() < 0)
        return err_set(im->em, LT_EINTERNAL, "libsodium does not start");
    if ((r = checkpoint_config(im->dir, &im->info, &im->texts, im->em)) < 0 ||
        (r = read_tokenizer(im)) < 0 || (r = layout_check(&im->info, im->em)) < 0 ||
        (r = checkpoint_open(&im->checkpoint, im->dir, im->em)) < 0 ||
        (r = layout_list(&im->info, &im->items, &im->n_items, im->em)) < 0 || (r = check_sources(im)) < 0)
        return r;
    for (size_t i = 0; i < im->n_items; i++) {
        im->rep.n_params += im->items[i].rows * im->items[i].cols;
        im->source_bytes += checkpoint_find(im->checkpoint, im->items[i].source)->len_bytes;
    }
    im->rep.f16_table = fine_table(im->p->type, im->items, im->rep.n_params);
    for (size_t i = 0; i < im->n_items; i++) {
        const struct layout_item *it = &im->items[i];
        if (stored_type(im, it) != wanted_type(im->p->type, it, im->rep.n_params) && !im->rep.n_f16++)
            snprintf(im->rep.first_f16, sizeof im->rep.first_f16, "%s", it->name);
    }
    im->rep.n_tensors = (uint32_t)im->n_items;
    snprintf(im->rep.name, sizeof im->rep.name, "%s", im->info.name);
    golden_plan(&im->golden, &im->info, im->rep.n_params);
    im->rep.n_goldens = im->golden.n;
    if ((r = gguf_write_create(&im->w, out, im->em)) < 0)
        return r;
    write_keys(im);
    if ((r = write_tensors(im)) < 0 || (r = compute_goldens(im)) < 0 || (r = checkpoint_whole(im->checkpoint, im->em)) < 0)
        return r;
    if (stat(gguf_write_tmp_path(im->w), &st) == 0)
        im->rep.len_bytes = (uint64_t)st.st_size;
    return gguf_write_commit(im->w, im->em);
}

int import_folder(const char *dir, const char *out, const struct import_params *p, struct import_report *report,
                  struct err_msg *em)
{
    struct import *im = calloc(1, sizeof *im);
    if (!im)
        return err_set(em, LT_ENOMEM, "no memory");
    im->dir = dir;
    im->p = p;
    im->em = em;
    int r = import(im, out);
    if (!r && report)
        *report = im->rep;
    gguf_write_destroy(&im->w);
    checkpoint_destroy(&im->checkpoint);
    free(im->items);
    free(im->tokenizer);
    free(im);
    return r;
}
