#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sodium.h>

#include "base/bytes.h"
#include "base/file.h"
#include "model/arch.h"
#include "model/arch_known.h"
#include "model/digest.h"
#include "model/fingerprint.h"
#include "model/fused.h"
#include "model/gguf.h"
#include "model/layout.h"
#include "model/model_load.h"
#include "model/rank.h"
#include "model/tokenizer.h"
#include "model/tokenizer_gguf.h"

#define MAX_TEMPLATE 4096     /* bytes */
#define MAX_FOREIGN_NAME 65535
#define MAX_GOLDENS 64
#define MAX_GOLDEN_IDS 4096   /* of one sequence */

struct model {
    struct model_info info;
    struct file_map map;
    struct gguf *gguf;
    struct fused *fused; /* NULL: its layers' tensors are apart */
    uint8_t *digests; /* of its tensors in order of name */
    bool digests_fresh;
    struct tokenizer *tokenizer;
    struct tokenizer_ids suffix;
    const char *tokenizer_json; /* borrows from map; NULL: none */
    size_t tokenizer_len;
    char *prefix, *instruct, *rank;
    struct model_golden *golden;
    int32_t *golden_ids;
    float *golden_vecs;
    size_t n_golden;
    struct err_msg *em; /* of the running open */
};

/* ---- keys ---- */

/* A key that may be absent: false then; any other failure goes to *r. */
static bool optional(int found, int *r)
{
    if (found < 0 && found != LT_ENOTFOUND)
        *r = found;
    return found == 0;
}

static int get_size(struct model *m, const char *key, uint32_t *out)
{
    return gguf_u32(m->gguf, key, out, m->em);
}

static int read_pooling(struct model *m)
{
    struct model_info *i = &m->info;
    const char *s;
    size_t len;
    int r = gguf_str(m->gguf, "latentd.pooling", &s, &len, m->em);
    if (r < 0)
        return r;
    const char *name;
    for (int p = 0; (name = layout_pooling_name((enum model_pooling)p)); p++) {
        if (strlen(name) == len && !memcmp(name, s, len)) {
            i->pooling = (enum model_pooling)p;
            break;
        }
    }
    if (!name)
        return err_set(m->em, LT_EUNSUPPORTED, "model: pooling \"%.*s\" is not known", (int)(len < 40 ? len : 40), s);
    if (i->pooling != MODEL_POOL_LATENT)
        return 0;
    if ((r = get_size(m, "latentd.pooler.latent_count", &i->n_latents)) < 0 ||
        (r = get_size(m, "latentd.pooler.head_count", &i->n_latent_heads)) < 0 ||
        (r = get_size(m, "latentd.pooler.key_length", &i->latent_head_dim)) < 0 ||
        (r = get_size(m, "latentd.pooler.feed_forward_length", &i->latent_ffn)) < 0)
        return r;
    return gguf_f32(m->gguf, "latentd.pooler.layer_norm_epsilon", &i->layer_norm_eps, m->em);
}

static int read_tokens(struct model *m)
{
    struct model_info *i = &m->info;
    int r = 0;
    i->bos = i->eos = i->unk = -1;
    optional(gguf_i32(m->gguf, "latentd.token.bos", &i->bos, m->em), &r);
    optional(gguf_i32(m->gguf, "latentd.token.eos", &i->eos, m->em), &r);
    optional(gguf_i32(m->gguf, "latentd.token.unk", &i->unk, m->em), &r);
    optional(gguf_bool(m->gguf, "latentd.token.add_bos", &i->add_bos, m->em), &r);
    optional(gguf_bool(m->gguf, "latentd.token.add_eos", &i->add_eos, m->em), &r);
    i->has_tokenizer = optional(gguf_str(m->gguf, "tokenizer.huggingface.json", &m->tokenizer_json,
                                         &m->tokenizer_len, m->em), &r);
    if (r < 0)
        return r;
    if (m->tokenizer_len > TOKENIZER_JSON_MAX)
        return err_set(m->em, LT_ELIMIT, "model: its tokenizer has %zu bytes, at most %u", m->tokenizer_len,
                       TOKENIZER_JSON_MAX);
    if ((r = gguf_text(m->gguf, "latentd.query_prefix", MAX_TEMPLATE, &m->prefix, m->em)) < 0 ||
        (r = gguf_text(m->gguf, "latentd.instruct_template", MAX_TEMPLATE, &m->instruct, m->em)) < 0)
        return r;
    i->query_prefix = m->prefix;
    i->instruct_template = m->instruct;
    return 0;
}

/* Other programs' may be longer: what there is room for in whole characters. */
static int read_name(struct model *m)
{
    const size_t room = sizeof m->info.name - 1;
    char *name = NULL;
    int r = gguf_text(m->gguf, "general.name", m->info.foreign ? MAX_FOREIGN_NAME : room, &name, m->em);
    if (r == 0) {
        size_t n = strnlen(name, room);
        while (n && ((unsigned char)name[n] & 0xC0) == 0x80)
            n--;
        memcpy(m->info.name, name, n);
        m->info.name[n] = 0;
    }
    free(name);
    return r;
}

/* A file that another program wrote. */
static int read_foreign(struct model *m)
{
    struct model_info *i = &m->info;
    int r = arch_read(m->gguf, i, m->em);
    if (r < 0 || (r = read_name(m)) < 0 || (r = arch_known_apply(m->gguf, i, m->em)) < 0)
        return r;
    i->full_dim = i->dense[1] ? i->dense[1] : i->dense[0] ? i->dense[0] : i->hidden;
    i->dim = i->ranks ? 1 : i->full_dim;
    if (i->ranks && (r = rank_read_template(m->gguf, i, &m->rank, m->em)) < 0)
        return r;
    i->rank_template = m->rank;
    return layout_check(i, m->em);
}

static int read_keys(struct model *m)
{
    struct model_info *i = &m->info;
    int r;
    uint32_t version;
    const char *arch;
    size_t len;
    if ((r = gguf_str(m->gguf, "general.architecture", &arch, &len, m->em)) < 0)
        return r;
    if (len != strlen("latentd") || memcmp(arch, "latentd", len))
        return read_foreign(m);
    if ((r = get_size(m, "latentd.format_version", &version)) < 0)
        return r;
    if (version != 1)
        return err_set(m->em, LT_EVERSION, "model: format version %u, this program reads 1", version);
    if ((r = read_name(m)) < 0 || (r = get_size(m, "latentd.context_length", &i->token_limit)) < 0 ||
        (r = get_size(m, "latentd.embedding_length", &i->hidden)) < 0 ||
        (r = get_size(m, "latentd.block_count", &i->n_layers)) < 0 ||
        (r = get_size(m, "latentd.feed_forward_length", &i->ffn)) < 0 ||
        (r = get_size(m, "latentd.attention.head_count", &i->n_heads)) < 0 ||
        (r = get_size(m, "latentd.attention.head_count_kv", &i->n_kv_heads)) < 0 ||
        (r = get_size(m, "latentd.attention.key_length", &i->head_dim)) < 0 ||
        (r = get_size(m, "latentd.vocab_size", &i->vocab)) < 0 ||
        (r = gguf_f32(m->gguf, "latentd.attention.layer_norm_rms_epsilon", &i->norm_eps, m->em)) < 0 ||
        (r = gguf_f32(m->gguf, "latentd.rope.freq_base", &i->rope_theta, m->em)) < 0 ||
        (r = gguf_bool(m->gguf, "latentd.attention.causal", &i->causal, m->em)) < 0 ||
        (r = read_pooling(m)) < 0 || (r = read_tokens(m)) < 0)
        return r;
    i->dim = i->full_dim = i->hidden;
    return layout_check(i, m->em);
}

/* ---- tensors ---- */

static int check_tensor(struct model *m, const struct layout_item *it)
{
    const struct tensor *t = gguf_tensor(m->gguf, it->name);
    if (!t)
        return err_set(m->em, LT_EFORMAT, "model: tensor %s is missing", it->name);
    if (t->rows != it->rows || t->cols != it->cols)
        return err_set(m->em, LT_EFORMAT, "model: tensor %s is %llu x %llu, must be %llu x %llu", it->name,
                       (unsigned long long)t->rows, (unsigned long long)t->cols, (unsigned long long)it->rows,
                       (unsigned long long)it->cols);
    if (it->f32 && t->type != TENSOR_F32)
        return err_set(m->em, LT_EFORMAT, "model: tensor %s is %s, must be f32", it->name, tensor_type_name(t->type));
    return 0;
}

static int check_tensors(struct model *m)
{
    struct layout_item *items = NULL;
    size_t n;
    uint64_t count[TENSOR_N_TYPES] = {0};
    int r = layout_list(&m->info, &items, &n, m->em);
    for (size_t i = 0; !r && i < n; i++) {
        r = check_tensor(m, &items[i]);
        if (r || items[i].f32)
            continue;
        const enum tensor_type type = gguf_tensor(m->gguf, items[i].name)->type;
        m->info.some_quantised |= tensor_block_len(type) > 1;
        if (!strncmp(items[i].name, "blk.", 4))
            count[type] += items[i].rows * items[i].cols;
    }
    for (size_t t = 0; !r && gguf_n_tensors(m->gguf) != n && t < gguf_n_tensors(m->gguf); t++) {
        const char *name = gguf_tensor_at(m->gguf, t)->name;
        if (arch_ignores(&m->info, name))
            continue;
        size_t i = 0;
        while (i < n && strcmp(items[i].name, name))
            i++;
        if (i == n)
            r = err_set(m->em, LT_EFORMAT, "model: tensor %.100s has no place in this model", name);
    }
    free(items);
    size_t most = 0;
    for (size_t t = 0; t < TENSOR_N_TYPES; t++)
        if (count[t] > count[most])
            most = t;
    snprintf(m->info.weight_type, sizeof m->info.weight_type, "%s", tensor_type_name((enum tensor_type)most));
    m->info.quantised = tensor_block_len((enum tensor_type)most) > 1;
    return r;
}

static int check_rope_factors(struct model *m)
{
    const struct tensor *t = m->info.rope_factors ? gguf_tensor(m->gguf, "rope_freqs.weight") : NULL;
    for (uint64_t i = 0; t && i < t->cols; i++) {
        const float f = ((const float *)t->data)[i];
        if (!(f > 1e-6f && f < 1e6f))
            return err_set(m->em, LT_EFORMAT, "model: rope_freqs.weight holds %g", (double)f);
    }
    return 0;
}

/* ---- golden vectors ---- */

/* The four arrays agree with each other: fills lengths and skips of m->golden. */
static int shape_goldens(struct model *m, const uint8_t *lengths, const uint8_t *skips, size_t n_ids, size_t n_floats)
{
    struct bytes_in len = bytes_in(lengths, 4 * m->n_golden), skip = bytes_in(skips, 4 * m->n_golden);
    size_t sum = 0;
    for (size_t i = 0; i < m->n_golden; i++) {
        struct model_golden *g = &m->golden[i];
        g->n = bytes_u32(&len);
        g->n_skip = bytes_u32(&skip);
        if (!g->n || g->n > MAX_GOLDEN_IDS || g->n_skip >= g->n)
            return err_set(m->em, LT_EFORMAT, "model: golden sequence %zu has %u ids, %u skipped", i, g->n, g->n_skip);
        sum += g->n;
    }
    if (sum != n_ids || n_floats != m->n_golden * m->info.full_dim)
        return err_set(m->em, LT_EFORMAT, "model: golden arrays do not match: %zu ids of %zu, %zu floats", n_ids, sum,
                       n_floats);
    return 0;
}

static int fill_goldens(struct model *m, const uint8_t *ids, size_t n_ids, const uint8_t *vecs, bool proven)
{
    const uint32_t dim = m->info.full_dim;
    struct bytes_in in = bytes_in(ids, 4 * n_ids);
    for (size_t i = 0; i < n_ids; i++) {
        m->golden_ids[i] = (int32_t)bytes_u32(&in);
        if (m->golden_ids[i] < 0 || (uint32_t)m->golden_ids[i] >= m->info.vocab)
            return err_set(m->em, LT_EFORMAT, "model: golden id %d is outside the vocabulary", m->golden_ids[i]);
    }
    in = bytes_in(vecs, 4 * m->n_golden * dim);
    int32_t *next = m->golden_ids;
    for (size_t g = 0; g < m->n_golden; g++) {
        double sum = 0;
        float *v = m->golden_vecs + g * dim;
        for (uint32_t i = 0; i < dim; i++) {
            v[i] = bytes_f32(&in);
            sum += (double)v[i] * v[i];
        }
        if (proven && !(fabs(sqrt(sum) - 1) < 1e-3))
            return err_set(m->em, LT_EFORMAT, "model: golden vector %zu has length %g", g, sqrt(sum));
        m->golden[g].ids = next;
        m->golden[g].vec = v;
        next += m->golden[g].n;
    }
    return 0;
}

static int read_goldens(struct model *m, bool proven)
{
    const uint8_t *lengths, *skips, *ids, *vecs;
    size_t n_skips, n_ids, n_floats;
    int r = gguf_array(m->gguf, "latentd.golden.lengths", GGUF_U32, &lengths, &m->n_golden, m->em);
    if (r == LT_ENOTFOUND)
        return 0;
    if (r < 0 || (r = gguf_array(m->gguf, "latentd.golden.skips", GGUF_U32, &skips, &n_skips, m->em)) < 0 ||
        (r = gguf_array(m->gguf, "latentd.golden.ids", GGUF_I32, &ids, &n_ids, m->em)) < 0 ||
        (r = gguf_array(m->gguf, "latentd.golden.vectors", GGUF_F32, &vecs, &n_floats, m->em)) < 0)
        return r == LT_ENOTFOUND ? LT_EFORMAT : r;
    if (!m->n_golden || m->n_golden > MAX_GOLDENS || n_skips != m->n_golden)
        return err_set(m->em, LT_EFORMAT, "model: %zu golden sequences and %zu skips", m->n_golden, n_skips);
    m->golden = calloc(m->n_golden, sizeof *m->golden);
    m->golden_ids = calloc(n_ids + 1, sizeof *m->golden_ids);
    m->golden_vecs = calloc(n_floats + 1, sizeof *m->golden_vecs);
    if (!m->golden || !m->golden_ids || !m->golden_vecs)
        return err_set(m->em, LT_ENOMEM, "model: no memory for golden vectors");
    if ((r = shape_goldens(m, lengths, skips, n_ids, n_floats)) < 0)
        return r;
    return fill_goldens(m, ids, n_ids, vecs, proven);
}

/* ---- open ---- */

/* A key that is missing makes the file malformed; it is the file that is not found otherwise. */
static int required(int r)
{
    return r == LT_ENOTFOUND ? LT_EFORMAT : r;
}

static int make_tokenizer(struct model *m)
{
    struct model_info *i = &m->info;
    int r = !i->has_tokenizer ? 0
            : i->foreign      ? tokenizer_create_gguf(&m->tokenizer, m->gguf, m->em)
                              : tokenizer_create(&m->tokenizer, m->tokenizer_json, m->tokenizer_len, m->em);
    if (r == 0 && m->tokenizer && tokenizer_info(m->tokenizer)->n_vocab > i->vocab)
        r = err_set(m->em, LT_EFORMAT, "model: the tokenizer has %u ids, the model %u",
                    tokenizer_info(m->tokenizer)->n_vocab, i->vocab);
    if (r == 0 && m->tokenizer && i->text_suffix)
        r = tokenizer_encode_behind(m->tokenizer, i->text_suffix, &m->suffix, m->em);
    return r;
}

/* Keeps the first dim values of the golden vectors too. */
static void cut_goldens(struct model *m)
{
    for (size_t g = 0; g < m->n_golden; g++) {
        float *v = m->golden_vecs + g * m->info.full_dim;
        double sum = 0;
        for (uint32_t i = 0; i < m->info.dim; i++)
            sum += (double)v[i] * v[i];
        for (uint32_t i = 0; i < m->info.dim && sum > 0; i++)
            v[i] = (float)(v[i] / sqrt(sum));
    }
}

static int overrule(struct model *m, const struct model_params *p)
{
    struct model_info *i = &m->info;
    const bool causal = p->mask == MODEL_MASK_FILE ? i->causal : p->mask == MODEL_MASK_CAUSAL;
    enum model_pooling pooling = i->pooling;
    if (i->ranks && (causal != i->causal || (p->pooling && *p->pooling) || p->dim))
        return err_set(m->em, LT_EINVAL, "model: mask, pooling and dimension of a reranker are its file's");
    if (p->pooling && *p->pooling) {
        int k = 0;
        const char *name;
        while ((name = layout_pooling_name((enum model_pooling)k)) && strcmp(name, p->pooling))
            k++;
        if (!name)
            return err_set(m->em, LT_EINVAL, "model: pooling \"%.40s\" is not known: mean, last or cls", p->pooling);
        pooling = (enum model_pooling)k;
        if (pooling == MODEL_POOL_LATENT && i->pooling != pooling)
            return err_set(m->em, LT_EINVAL, "model: it has no latent attention to pool with");
    }
    if (p->dim > i->full_dim)
        return err_set(m->em, LT_EINVAL, "model: a vector has %u values, %u are asked for", i->full_dim, p->dim);
    if (causal != i->causal || pooling != i->pooling)
        m->n_golden = 0;
    if (pooling != MODEL_POOL_LATENT)
        i->n_latents = i->n_latent_heads = i->latent_head_dim = i->latent_ffn = 0;
    arch_set_mask(i, causal);
    i->pooling = pooling;
    if (p->dim && p->dim < i->full_dim) {
        i->dim = p->dim;
        cut_goldens(m);
    }
    return 0;
}

static int load(struct model *m, const char *path, const struct model_params *p, bool proven)
{
    int r;
    if ((r = file_map(path, &m->map, m->em)) < 0 || (r = gguf_parse(&m->gguf, m->map.data, m->map.len, m->em)) < 0 ||
        (r = required(read_keys(m))) < 0 || (r = check_tensors(m)) < 0 ||
        (r = check_rope_factors(m)) < 0 || (r = read_goldens(m, proven)) < 0)
        return r;
    if (m->info.fused && (r = fused_create(&m->fused, m->gguf, &m->info, m->em)) < 0)
        return r;
    if ((proven && (r = make_tokenizer(m)) < 0) || (p && (r = overrule(m, p)) < 0))
        return r;
    m->digests = calloc(gguf_n_tensors(m->gguf) + 1, DIGEST_BYTES);
    if (!m->digests)
        return err_set(m->em, LT_ENOMEM, "model: no memory");
    if ((r = digest_all(m->gguf, path, p ? p->cache_dir : NULL, m->digests, &m->digests_fresh, m->em)) < 0)
        return r;
    return fingerprint_make(&(struct fingerprint_of){m->gguf, &m->info, m->digests, m->tokenizer_json, m->tokenizer_len}, m->info.fingerprint, m->em);
}

static int open_model(struct model **out, const char *path, const struct model_params *p, bool proven,
                      struct err_msg *em)
{
    struct err_msg why = {0};
    struct model *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(em, LT_ENOMEM, "model: no memory");
    m->em = &why;
    int r = load(m, path, p, proven);
    m->em = NULL;
    if (r < 0) {
        bool named = strstr(why.text, path) != NULL;
        err_set(em, r, "%s%s%s", named ? "" : path, named ? "" : ": ", why.text);
        model_destroy(&m);
        return r;
    }
    *out = m;
    return 0;
}

int model_open(struct model **m, const char *path, struct err_msg *em)
{
    return open_model(m, path, NULL, true, em);
}

int model_open_as(struct model **m, const char *path, const struct model_params *p, struct err_msg *em)
{
    return open_model(m, path, p, true, em);
}

int model_open_unproven(struct model **m, const char *path, struct err_msg *em)
{
    return open_model(m, path, NULL, false, em);
}

void model_destroy(struct model **mp)
{
    struct model *m = mp ? *mp : NULL;
    if (!m)
        return;
    tokenizer_destroy(&m->tokenizer);
    tokenizer_ids_finish(&m->suffix);
    fused_destroy(&m->fused);
    gguf_destroy(&m->gguf);
    file_unmap(&m->map);
    free(m->digests);
    free(m->prefix);
    free(m->instruct);
    free(m->rank);
    free(m->golden);
    free(m->golden_ids);
    free(m->golden_vecs);
    free(m);
    *mp = NULL;
}

const struct model_info *model_info(const struct model *m)
{
    return &m->info;
}

const struct tensor *model_tensor(const struct model *m, const char *name)
{
    const struct tensor *part = fused_tensor(m->fused, name);
    return part ? part : gguf_tensor(m->gguf, name);
}

const struct tensor *model_tensor_at(const struct model *m, size_t i, const uint8_t **digest)
{
    if (i >= gguf_n_tensors(m->gguf))
        return NULL;
    *digest = m->digests + i * DIGEST_BYTES;
    return gguf_tensor_at(m->gguf, i);
}

bool model_digests_fresh(const struct model *m)
{
    return m->digests_fresh;
}

bool model_lost(const struct model *m)
{
    return file_map_lost(&m->map);
}

void model_release(const struct model *m, const struct tensor *t)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), map = (uintptr_t)m->map.data;
    const uintptr_t first = ((uintptr_t)t->data + page - 1) & ~(page - 1), end = ((uintptr_t)t->data + t->len_bytes) & ~(page - 1);
    if (first >= map && end > first && end <= map + m->map.len)
        madvise((void *)first, end - first, MADV_DONTNEED);
}

void model_release_all(const struct model *m)
{
    for (size_t i = 0; i < gguf_n_tensors(m->gguf); i++)
        model_release(m, gguf_tensor_at(m->gguf, i));
}

const struct tokenizer *model_tokenizer(const struct model *m)
{
    return m->tokenizer;
}

const int32_t *model_suffix(const struct model *m, uint32_t *n)
{
    *n = (uint32_t)m->suffix.n;
    return m->suffix.ids;
}

uint64_t model_tables_bytes(const struct model *m)
{
    return m->tokenizer ? tokenizer_bytes(m->tokenizer) : 0;
}

size_t model_goldens(const struct model *m, const struct model_golden **g)
{
    if (g)
        *g = m->golden;
    return m->n_golden;
}
