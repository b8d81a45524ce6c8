#include "model/arch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/layout.h"
#include "model/tokenizer_gguf.h"
#include "model/tokenizer_words.h"

struct family {
    const char *name; /* general.architecture */
    bool rope_pairs;  /* the converter reorders query and key rows */
    bool qk_norm;
    bool gemma;       /* post-norms, tanh GELU, scaled token vectors, local layers, dense layers at the end */
    bool full_mask;   /* where the file does not say */
    bool second;      /* Gemma 2: as gemma but for its scores' cap and its local layers */
    bool modern;      /* ModernBERT: LayerNorm, local layers behind a global one, exact GELU, fused tensors */
};

static const struct family families[] = {
    {"llama", .rope_pairs = true},
    {"llama-embed", .rope_pairs = true, .full_mask = true},
    {"eurobert", .full_mask = true},
    {"modern-bert", .full_mask = true, .modern = true},
    {"qwen2"},
    {"qwen2vl"}, /* of text alone, whose three positions are one */
    {"qwen3", .qk_norm = true},
    {"qwen3vl", .qk_norm = true}, /* the same */
    {"gemma2", .gemma = true, .second = true},
    {"gemma3", .qk_norm = true, .gemma = true},
    {"gemma-embedding", .qk_norm = true, .gemma = true, .full_mask = true},
};

struct reader {
    const struct gguf *g;
    const struct family *family;
    struct model_info *i;
    struct err_msg *em;
};

/* ---- keys "family.name" ---- */

struct key {
    char s[96];
};

static struct key key_of(const struct reader *r, const char *name)
{
    struct key k;
    snprintf(k.s, sizeof k.s, "%s.%s", r->family->name, name);
    return k;
}

static int get_u32(struct reader *r, const char *name, uint32_t *out)
{
    return gguf_u32(r->g, key_of(r, name).s, out, r->em);
}

/* 0 and *out untouched where the key is absent. */
static int maybe_u32(struct reader *r, const char *name, uint32_t *out)
{
    return gguf_maybe(get_u32(r, name, out));
}

static int maybe_f32(struct reader *r, const char *name, float *out)
{
    return gguf_maybe(gguf_f32(r->g, key_of(r, name).s, out, r->em));
}

static int unsupported(struct reader *r, const char *what)
{
    return err_set(r->em, LT_EUNSUPPORTED, "model: %s is not supported (architecture %s)", what, r->family->name);
}

static bool is(const char *s, size_t len, const char *want)
{
    return strlen(want) == len && !memcmp(s, want, len);
}

/* ---- decoder ---- */

static int read_sizes(struct reader *r)
{
    struct model_info *i = r->i;
    uint32_t value_length, n_experts = 0;
    int e;
    if ((e = get_u32(r, "context_length", &i->token_limit)) < 0 ||
        (e = get_u32(r, "embedding_length", &i->hidden)) < 0 || (e = get_u32(r, "block_count", &i->n_layers)) < 0 ||
        (e = maybe_u32(r, "expert_count", &n_experts)) < 0)
        return e;
    if (n_experts)
        return unsupported(r, "a mixture of experts");
    if (i->token_limit > LAYOUT_MAX_TOKENS)
        i->token_limit = LAYOUT_MAX_TOKENS;
    if ((e = get_u32(r, "feed_forward_length", &i->ffn)) < 0 ||
        (e = get_u32(r, "attention.head_count", &i->n_heads)) < 0)
        return e;
    i->n_kv_heads = i->n_heads;
    i->head_dim = i->n_heads ? i->hidden / i->n_heads : 0;
    if ((e = maybe_u32(r, "attention.head_count_kv", &i->n_kv_heads)) < 0 ||
        (e = maybe_u32(r, "attention.key_length", &i->head_dim)) < 0 ||
        (e = gguf_f32(r->g, key_of(r, r->family->modern ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon").s, &i->norm_eps,
                      r->em)) < 0)
        return e;
    value_length = i->head_dim;
    if ((e = maybe_u32(r, "attention.value_length", &value_length)) < 0)
        return e;
    if (value_length != i->head_dim)
        return unsupported(r, "a value size other than the key size");
    const struct tensor *table = gguf_tensor(r->g, "token_embd.weight");
    if (!table || table->rows > UINT32_MAX)
        return err_set(r->em, LT_EFORMAT, "model: tensor token_embd.weight is missing or too large");
    i->vocab = (uint32_t)table->rows;
    return 0;
}

/* YaRN beside its divisor; what else its keys may change is refused. */
static int read_yarn(struct reader *r)
{
    static const char *const plain[] = {"rope.scaling.attn_factor", "rope.scaling.yarn_ext_factor", "rope.scaling.yarn_attn_factor"};
    struct model_info *i = r->i;
    float other = 1, log_multiplier = 0;
    int e = get_u32(r, "rope.scaling.original_context_length", &i->yarn_context);
    i->yarn_fast = 32;
    i->yarn_slow = 1;
    if (e < 0 || (e = maybe_f32(r, "rope.scaling.yarn_beta_fast", &i->yarn_fast)) < 0 ||
        (e = maybe_f32(r, "rope.scaling.yarn_beta_slow", &i->yarn_slow)) < 0 ||
        (e = maybe_f32(r, "rope.scaling.yarn_log_multiplier", &log_multiplier)) < 0)
        return e;
    for (size_t k = 0; k < sizeof plain / sizeof *plain; k++) {
        if ((e = maybe_f32(r, plain[k], &other)) < 0)
            return e;
        if (other != 1)
            return unsupported(r, plain[k]);
    }
    if (log_multiplier != 0)
        return unsupported(r, "rope.scaling.yarn_log_multiplier");
    if (!i->yarn_context || i->yarn_context > 1u << 24 || !(i->yarn_fast > i->yarn_slow && i->yarn_slow > 0 && i->yarn_fast < 1e6f) ||
        !(i->rope_divisor >= 1) || !(i->rope_theta > 1))
        return err_set(r->em, LT_EFORMAT, "model: YaRN's keys are out of range");
    i->rope_magnitude = (float)(1 + 0.1 * log(i->rope_divisor));
    return 0;
}

static int read_scaling(struct reader *r)
{
    const char *type = "linear";
    size_t len = strlen(type);
    float factor = 0, temperature = 0;
    char what[80];
    int e;
    if ((e = gguf_maybe(gguf_str(r->g, key_of(r, "rope.scaling.type").s, &type, &len, r->em))) < 0 ||
        (e = maybe_f32(r, "rope.scale_linear", &factor)) < 0 || (e = maybe_f32(r, "rope.scaling.factor", &factor)) < 0 ||
        (e = maybe_f32(r, "attention.temperature_scale", &temperature)) < 0)
        return e;
    if (temperature != 0)
        return unsupported(r, "an attention scale that depends on the length (attention.temperature_scale)");
    if (is(type, len, "none"))
        return 0;
    const bool yarn = is(type, len, "yarn");
    if (!yarn && !is(type, len, "linear")) {
        snprintf(what, sizeof what, "RoPE scaling \"%.*s\"", (int)(len < 40 ? len : 40), type);
        return unsupported(r, what);
    }
    if (!(factor >= 0 && factor <= 1e6f))
        return err_set(r->em, LT_EFORMAT, "model: RoPE scaling factor %g is out of range", (double)factor);
    r->i->rope_divisor = factor;
    return yarn ? read_yarn(r) : 0;
}

static int read_rope(struct reader *r)
{
    struct model_info *i = r->i;
    uint32_t rotated = i->head_dim;
    int e;
    i->rope_theta = 10000;
    i->rope_pairs = r->family->rope_pairs;
    if ((e = maybe_f32(r, "rope.freq_base", &i->rope_theta)) < 0 ||
        (e = maybe_u32(r, "rope.dimension_count", &rotated)) < 0 || (e = read_scaling(r)) < 0)
        return e;
    if (rotated != i->head_dim)
        return unsupported(r, "RoPE on a part of each head");
    i->rope_factors = gguf_tensor(r->g, "rope_freqs.weight") != NULL;
    i->qkv_bias = gguf_tensor(r->g, "blk.0.attn_q.bias") != NULL;
    i->qk_norm = r->family->qk_norm;
    return 0;
}

/* Another converter's names for Gemma's RoPE bases. Its files also lack what says that no space goes before a text, and were meant for a program
 * that knows; by our names' defaults their vectors would be wrong. */
static int refuse_other_bases(struct reader *r)
{
    static const char *const names[] = {"rope.global.freq_base", "rope.local.freq_base"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        char what[64];
        float base;
        const int e = gguf_f32(r->g, key_of(r, names[k]).s, &base, r->em);
        if (e == LT_ENOTFOUND)
            continue;
        snprintf(what, sizeof what, "another converter's %s", names[k]);
        return e < 0 ? e : unsupported(r, what);
    }
    return 0;
}

/* Gemma 2: half of its layers are local, and turn as the others do; attention's scores are capped. */
static int read_second(struct reader *r)
{
    struct model_info *i = r->i;
    int e;
    i->window = 4096;
    i->window_period = 2;
    i->rope_theta_local = i->rope_theta;
    i->attention_cap = 50;
    if ((e = maybe_f32(r, "attn_logit_softcapping", &i->attention_cap)) < 0)
        return e;
    if (!(i->attention_cap > 0))
        return err_set(r->em, LT_EFORMAT, "model: attn_logit_softcapping is %g, must be over 0", (double)i->attention_cap);
    return i->rope_divisor > 0 ? unsupported(r, "RoPE scaling") : 0;
}

static int read_window(struct reader *r)
{
    struct model_info *i = r->i;
    int e;
    i->window_period = 6;
    i->rope_theta_local = 10000;
    if (r->family->second && (e = read_second(r)) < 0)
        return e;
    e = get_u32(r, "attention.sliding_window", &i->window);
    if (e == LT_ENOTFOUND && !r->family->full_mask)
        e = 0; /* no layer is local, or Gemma 2's */
    if (e < 0 ||
        (e = maybe_u32(r, "attention.sliding_window_pattern", &i->window_period)) < 0 ||
        (e = maybe_f32(r, "rope.freq_base_swa", &i->rope_theta_local)) < 0)
        return e;
    if (r->family->full_mask) /* the key counts both sides */
        i->window = i->window / 2 + 1;
    return 0;
}

static int read_gemma(struct reader *r)
{
    struct model_info *i = r->i;
    const struct tensor *dense[] = {gguf_tensor(r->g, "dense_2.weight"), gguf_tensor(r->g, "dense_3.weight")};
    const uint32_t largest = r->family->second ? 46 : 62;
    int e;
    if (!r->family->gemma)
        return 0;
    if ((e = refuse_other_bases(r)) < 0 || (e = read_window(r)) < 0)
        return e;
    i->post_norms = true;
    i->gate = MODEL_GATE_GELU_TANH;
    i->embed_scale = sqrtf((float)i->hidden);
    if (i->n_layers == largest && i->n_heads) /* Gemma's 27B alone scale by another size than their heads' */
        i->attention_scale = 1 / sqrtf((float)i->hidden / (float)i->n_heads);
    for (int k = 0; k < 2; k++)
        if (dense[k])
            i->dense[k] = dense[k]->rows > UINT32_MAX ? UINT32_MAX : (uint32_t)dense[k]->rows;
    return 0;
}

/* The gate is GELU unless the file names another. */
static int read_activation(struct reader *r)
{
    static const struct {
        const char *name;
        enum model_gate gate;
    } known[] = {{"gelu", MODEL_GATE_GELU},  {"geglu", MODEL_GATE_GELU},  {"silu", MODEL_GATE_SILU},
                 {"swish", MODEL_GATE_SILU}, {"swiglu", MODEL_GATE_SILU}};
    const char *name = known[0].name;
    size_t len = strlen(name);
    char what[80];
    const int e = gguf_maybe(gguf_str(r->g, key_of(r, "hidden_activation").s, &name, &len, r->em));
    if (e < 0)
        return e;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        if (is(name, len, known[k].name)) {
            r->i->gate = known[k].gate;
            return 0;
        }
    }
    snprintf(what, sizeof what, "the activation \"%.*s\"", (int)(len < 40 ? len : 40), name);
    return unsupported(r, what);
}

static int read_modern(struct reader *r)
{
    struct model_info *i = r->i;
    int e;
    if (!r->family->modern)
        return 0;
    if (i->rope_divisor > 0)
        return unsupported(r, "RoPE scaling");
    i->layer_norm = i->fused = i->global_first = true;
    i->bare_first = !gguf_tensor(r->g, "blk.0.attn_norm.weight");
    i->window_period = 3;
    i->rope_theta_local = i->rope_theta;
    if ((e = read_activation(r)) < 0 || (e = maybe_u32(r, "attention.sliding_window", &i->window)) < 0 ||
        (e = maybe_u32(r, "attention.sliding_window_pattern", &i->window_period)) < 0 ||
        (e = maybe_f32(r, "rope.freq_base_swa", &i->rope_theta_local)) < 0)
        return e;
    if (i->window) /* the key counts both sides */
        i->window = i->window / 2 + 1;
    return 0;
}

/* ---- what surrounds it ---- */

/* The labels of a reranker's head, as many as it has rows: which row is the score, or the half of it. */
static int read_labels(struct reader *r)
{
    struct model_info *i = r->i;
    struct bytes_in in = {0};
    size_t n = 1, n_yes = 0, n_no = 0;
    int e = gguf_strings(r->g, key_of(r, "classifier.output_labels").s, &in, &n, r->em);
    i->n_labels = 1;
    if (e == LT_ENOTFOUND)
        return 0;
    if (e < 0)
        return e;
    if (n < 1 || n > 2)
        return err_set(r->em, LT_EUNSUPPORTED, "model: a reranker with %zu labels is not supported: one, or yes and no", n);
    i->n_labels = (uint32_t)n;
    for (size_t k = 0; k < n && n == 2; k++) {
        const uint64_t len = bytes_u64(&in);
        const char *s = (const char *)bytes_take(&in, len);
        if (s && is(s, len, "yes")) {
            i->label = (uint32_t)k;
            n_yes++;
        }
        n_no += s && is(s, len, "no");
    }
    return n == 2 && (n_yes != 1 || n_no != 1) ? unsupported(r, "a reranker with two labels other than yes and no") : 0;
}

/* What its head sees, and what else is between that and its rows. */
static int read_modern_head(struct reader *r)
{
    uint32_t type = 1;
    const int e = maybe_u32(r, "classifier.pooling_type", &type);
    if (e < 0)
        return e;
    if (type != 1 && type != 2)
        return err_set(r->em, LT_EUNSUPPORTED, "model: classifier.pooling_type %u is not supported", type);
    r->i->pooling = type == 1 ? MODEL_POOL_MEAN : MODEL_POOL_CLS;
    r->i->head_dense = gguf_tensor(r->g, "cls.weight") != NULL;
    return 0;
}

static int read_rank(struct reader *r)
{
    struct model_info *i = r->i;
    int e;
    if (r->family->modern == i->causal)
        return unsupported(r, i->causal ? "a reranker with the causal mask" : "a reranker with the full mask");
    if (r->family->second)
        return unsupported(r, "a reranker, whose logits would be capped,");
    i->pooling = MODEL_POOL_LAST;
    if (r->family->modern && (e = read_modern_head(r)) < 0)
        return e;
    i->ranks = true;
    i->head_bias = gguf_tensor(r->g, "cls.output.bias") != NULL;
    return read_labels(r);
}

static int read_pooling(struct reader *r)
{
    static const enum model_pooling known[] = {MODEL_POOL_MEAN, MODEL_POOL_MEAN, MODEL_POOL_CLS, MODEL_POOL_LAST};
    uint32_t type = 0; /* none: the file is a plain language model */
    int e = maybe_u32(r, "pooling_type", &type);
    r->i->causal = !r->family->full_mask;
    if (e < 0 || (e = gguf_maybe(gguf_bool(r->g, key_of(r, "attention.causal").s, &r->i->causal, r->em))) < 0)
        return e;
    if (type == 4)
        return read_rank(r);
    if (type > 4)
        return err_set(r->em, LT_EUNSUPPORTED, "model: pooling_type %u is not known", type);
    r->i->pooling = known[type];
    return 0;
}

static int read_tokens(struct reader *r)
{
#define TOKENIZER "tokenizer.ggml."
    struct model_info *i = r->i;
    const char *kind = "none", *pre = "";
    size_t len = strlen(kind), pre_len = 0;
    int e;
    if ((e = gguf_maybe(gguf_str(r->g, TOKENIZER "model", &kind, &len, r->em))) < 0 ||
        (e = gguf_maybe(gguf_str(r->g, TOKENIZER "pre", &pre, &pre_len, r->em))) < 0)
        return e;
    i->has_tokenizer = !is(kind, len, "none") && !is(kind, len, "no_vocab");
    i->bos = i->eos = i->unk = -1;
    if (!i->has_tokenizer)
        return 0;
    /* What a file that does not say means. */
    const bool sentencepiece = is(kind, len, "llama");
    if (sentencepiece) {
        i->bos = 1;
        i->eos = 2;
        i->unk = 0;
    }
    const bool lines = is(kind, len, "gemma4") || (is(kind, len, "gpt2") && words_kind_find(pre, pre_len) == WORDS_LINES);
    i->add_bos = sentencepiece || words_whole_first(pre, pre_len);
    if ((e = tokenizer_gguf_id(r->g, TOKENIZER "bos_token_id", &i->bos, r->em)) < 0 ||
        (e = tokenizer_gguf_id(r->g, TOKENIZER "eos_token_id", &i->eos, r->em)) < 0 ||
        (e = tokenizer_gguf_id(r->g, TOKENIZER "unknown_token_id", &i->unk, r->em)) < 0 ||
        (e = gguf_maybe(gguf_bool(r->g, TOKENIZER "add_bos_token", &i->add_bos, r->em))) < 0 ||
        (e = gguf_maybe(gguf_bool(r->g, TOKENIZER "add_eos_token", &i->add_eos, r->em))) < 0)
        return e;
    if (lines && i->bos >= 0) /* Gemma's checkpoints deny it, and llama.cpp knows better */
        i->add_bos = true;
    return 0;
#undef TOKENIZER
}

int arch_read(const struct gguf *g, struct model_info *i, struct err_msg *em)
{
    struct reader r = {.g = g, .i = i, .em = em};
    const char *arch;
    size_t len;
    uint32_t n_files = 1;
    int e = gguf_str(g, "general.architecture", &arch, &len, em);
    if (e < 0 || (e = gguf_maybe(gguf_u32(g, "split.count", &n_files, em))) < 0)
        return e;
    if (n_files > 1)
        return err_set(em, LT_EUNSUPPORTED, "model: the file is one of %u of a model; \"llama-gguf-split --merge\" makes one of them", n_files);
    for (size_t f = 0; f < sizeof families / sizeof *families; f++)
        if (is(arch, len, families[f].name))
            r.family = &families[f];
    if (!r.family)
        return err_set(em, LT_EUNSUPPORTED, "model: architecture \"%.*s\" is not supported", (int)(len < 40 ? len : 40), arch);
    i->foreign = true;
    if ((e = read_sizes(&r)) < 0 || (e = read_rope(&r)) < 0 || (e = read_gemma(&r)) < 0 ||
        (e = read_modern(&r)) < 0 || (e = read_pooling(&r)) < 0)
        return e;
    if ((e = read_tokens(&r)) < 0)
        return e;
    return i->ranks && !i->has_tokenizer ? unsupported(&r, "a reranker without a tokenizer") : 0;
}

/* ---- what follows from the numbers ---- */

bool arch_ignores(const struct model_info *i, const char *tensor)
{
    return i->foreign && (!strcmp(tensor, "output.weight") || (!strcmp(tensor, "rope_freqs.weight") && !i->rope_factors));
}

uint64_t arch_rope_row(const struct model_info *i, uint64_t row)
{
    const uint64_t at = row % i->head_dim, half = i->head_dim / 2;
    return i->rope_pairs ? row - at + 2 * (at % half) + at / half : row;
}

bool arch_layer_is_local(const struct model_info *i, uint32_t layer)
{
    return i->window && (layer + !i->global_first) % i->window_period != 0;
}

/* YaRN's share of the plain frequency: 1 up to the pair that makes yarn_fast turns, 0 from the one that makes yarn_slow. */
static double yarn_keep(const struct model_info *i, uint32_t k)
{
    const double d = i->head_dim, turn = 2 * M_PI, ctx = i->yarn_context, log_base = 2 * log(i->rope_theta);
    const double first = fmax(0, floor(d * log(ctx / (i->yarn_fast * turn)) / log_base));
    const double last = fmin(d - 1, ceil(d * log(ctx / (i->yarn_slow * turn)) / log_base));
    const double at = (k - first) / fmax(0.001, last - first);
    return 1 - fmin(1, fmax(0, at));
}

double arch_rope_freq(const struct model_info *i, bool local, uint32_t k)
{
    const uint32_t half = i->head_dim / 2;
    const double plain = pow(local ? i->rope_theta_local : i->rope_theta, -(double)k / half);
    if (local || !(i->rope_divisor > 0))
        return plain;
    const double keep = i->yarn_context ? yarn_keep(i, k) : 0;
    return plain * keep + plain / i->rope_divisor * (1 - keep);
}

void arch_set_mask(struct model_info *i, bool causal)
{
    if (i->window && causal != i->causal)
        i->window = !causal ? i->window / 2 + 1 : i->window > 1 ? 2 * (i->window - 1) : 1;
    i->causal = causal;
}

double arch_attention_scale(const struct model_info *i, bool local)
{
    const double m = !local && i->rope_magnitude > 0 ? i->rope_magnitude : 1;
    return (i->attention_scale > 0 ? i->attention_scale : 1 / sqrt((double)i->head_dim)) * m * m;
}

void arch_rope_freqs(const struct model_info *i, bool local, const float *factors, float *out)
{
    for (uint32_t k = 0; k < i->head_dim / 2; k++)
        out[k] = (float)arch_rope_freq(i, local, k) / (factors ? factors[k] : 1);
}
