/* A model file, opened: what it is, its weights, its tokeniser and its golden vectors.
 *
 * model_open maps the file and checks every key, tensor and shape against model/FORMAT.md before it returns, so what
 * stands behind a struct model is consistent. Nothing is written after that.
 * Thread-safety: safe. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/tensor.h"

struct model;
struct tokenizer;

enum model_pooling {
    MODEL_POOL_LATENT, /* NV-Embed's latent attention, then the mean */
    MODEL_POOL_MEAN,
    MODEL_POOL_LAST,
    MODEL_POOL_CLS, /* the first pooled token */
};

enum model_gate {
    MODEL_GATE_SILU,
    MODEL_GATE_GELU_TANH, /* the tanh form */
    MODEL_GATE_GELU,      /* the exact one */
};

struct model_info {
    char name[128];         /* "latent-mini" */
    uint32_t dim;           /* floats of an embedding; 1 of a reranker: a score */
    uint32_t full_dim;      /* those that the model makes; more than dim when model_params cut them */
    uint32_t n_layers, hidden, n_heads, n_kv_heads, head_dim;
    uint32_t ffn;           /* width between up and down projection */
    uint32_t vocab;         /* ids are 0 … vocab-1 */
    uint32_t token_limit;   /* tokens of one text at most, all special tokens and the instruction included */
    float norm_eps;         /* of the decoder's norms */
    float rope_theta;
    bool causal;            /* a token sees only itself and those before it */
    enum model_pooling pooling;
    uint32_t n_latents, n_latent_heads, latent_head_dim, latent_ffn; /* 0 unless pooling is MODEL_POOL_LATENT */
    float layer_norm_eps;   /* of the pooler's norms */
    /* What other programs' files have beyond NV-Embed's decoder; 0 and false are NV-Embed's. See model/arch.h. */
    bool foreign;           /* written by another program: the tokeniser comes from its own keys */
    bool rope_pairs;        /* query and key rows lie as pairs (2i, 2i + 1) of each head */
    bool rope_factors;      /* rope_freqs.weight divides the frequencies */
    float rope_divisor;     /* linear scaling: so are they by this in layers that see all; 0: not */
    uint32_t yarn_context;  /* YaRN: only those that turn slowly within so many positions are divided; 0: all are */
    float yarn_fast, yarn_slow; /* turns within them from which on a frequency is kept, and up to which it is divided */
    bool qkv_bias;          /* on query, key and value */
    bool qk_norm;           /* RMSNorm on each query and key head */
    bool post_norms;        /* RMSNorm on what attention and feed-forward add to the stream */
    bool layer_norm;        /* LayerNorm without bias in RMSNorm's place, and one on the token vectors */
    bool bare_first;        /* no norm before the first layer's attention */
    bool fused;             /* query, key and value are one tensor, gate and up another (model/fused.h) */
    enum model_gate gate;
    float embed_scale;      /* token vectors are multiplied by it; 0: they are not */
    float attention_scale;  /* multiplies q·k; 0: 1 / sqrt(head_dim) */
    float attention_cap;    /* a score s becomes cap · tanh(s / cap); 0: it stays as it is */
    float rope_magnitude;   /* so does its square, YaRN's, in layers that see all; 0: 1 */
    uint32_t window;        /* in local layers a token sees those less than so many away; 0: no layer is local */
    uint32_t window_period; /* of so many layers one is not local: */
    bool global_first;      /* the first of them; otherwise the last */
    float rope_theta_local; /* of local layers */
    uint32_t dense[2];      /* widths of linear layers after the pooling; 0: none */
    bool ranks;             /* a reranker: what is pooled, full_dim values, goes through a head (model/head.h) */
    uint32_t n_labels;      /* rows of the head: 1, or 2 with "yes" and "no"; 0 unless it ranks */
    uint32_t label;         /* the row of "yes" */
    bool head_bias;
    bool head_dense;        /* between the pooled state and the head's rows: a linear layer, GELU and LayerNorm */
    const char *lacks;      /* what the model has and the file does not, for people; NULL: nothing known; static */
    const char *rank_template; /* the prompt, {query} and {document} in it once; NULL unless it ranks; lives as long as the model */

    char weight_type[16];   /* "f32", "f16", "bf16", "q8_0", "q4_K" …: what most of the decoder's weights are stored as */
    bool quantised;         /* that type has blocks: 8 bits or fewer */
    bool some_quantised;    /* some matrix is stored so, the pooler's included */
    char fingerprint[65];   /* hex SHA-256 over tensors, tokeniser and pooling; two files with the same give the same vectors */
    bool has_tokenizer;     /* false: serves token ids only */
    int32_t bos, eos, unk;  /* -1: none */
    bool add_bos, add_eos;  /* bos before, eos after every text */
    const char *query_prefix;      /* exact text before every query, e.g. "query: "; "" for none; lives as long as the model */
    const char *instruct_template; /* text before a query, "{}" stands for the instruction, e.g. "Instruct: {}\nQuery: ";
                                    * "" when the model knows no instructions */
    const char *passage_template;  /* text before a passage, "{}" stands for its title or "none"; NULL: the title, a space */
    const char *text_suffix;       /* exact text behind a query or passage that has one of them, before EOS; NULL: none; static */
    bool pool_prefix;              /* what goes before a query takes part in the pool; NV-Embed leaves it out */
};

enum model_mask {
    MODEL_MASK_FILE, /* as the file says */
    MODEL_MASK_CAUSAL,
    MODEL_MASK_FULL,
};

/* How a model is used where its file is to be overruled. Golden vectors are dropped when the mask or the pooling
 * differs from the file's. */
struct model_params {
    enum model_mask mask;
    const char *pooling; /* "mean", "last" or "cls"; NULL or "": as the file says */
    uint32_t dim;        /* keep the first so many values of a vector, at unit length again (Matryoshka); 0: all */
    const char *cache_dir; /* keeps what is computed for a large file without digests; NULL: nothing is kept */
};

/* Values of a golden vector: a reranker's is of the state before its head. */
static inline uint32_t model_golden_dim(const struct model_info *i)
{
    return i->ranks ? i->full_dim : i->dim;
}

/* An id sequence with the unit vector that the reference computed from the weights as stored. */
struct model_golden {
    const int32_t *ids;
    uint32_t n;
    uint32_t n_skip;  /* leading ids left out of the pool */
    const float *vec; /* model_golden_dim floats, unit length */
};

/* Opens and checks a model file.
 *
 * Ownership: *m is the caller's, freed by model_destroy; untouched on error.
 * Blocks: on disk. The tensors' bytes are read only where the file has no digests of them (model/digest.h), and for a large
 *         file only until model_params.cache_dir has them.
 * Errors: LT_ENOTFOUND, LT_EPERM, LT_EIO; LT_EFORMAT (not a GGUF file, or damaged: offset in the message);
 *         LT_EUNSUPPORTED (an architecture or tensor type we do not run, named); LT_ELIMIT; LT_ENOMEM. */
int model_open(struct model **m, const char *path, struct err_msg *em);
/* The same with params, which are borrowed for the call. Further errors: LT_EINVAL (a pooling or a size that the model does
 * not have; anything overruled in a reranker). */
int model_open_as(struct model **m, const char *path, const struct model_params *p, struct err_msg *em);
void model_destroy(struct model **m);

/* Lives as long as the model. */
const struct model_info *model_info(const struct model *m);

/* A tensor by its GGUF name ("blk.0.attn_q.weight"), also where the file keeps it as a part of another (model/fused.h); NULL when there is
 * none. Lives as long as the model. */
const struct tensor *model_tensor(const struct model *m, const char *name);

/* Tensor i in order of name with the DIGEST_BYTES of its digest; NULL past the last. */
const struct tensor *model_tensor_at(const struct model *m, size_t i, const uint8_t **digest);
/* True when the digests were computed from the bytes as it was opened, so that comparing them tells nothing. */
bool model_digests_fresh(const struct model *m);
/* True once something was read that the file no longer has, since it was cut short in use; zeros came instead. */
bool model_lost(const struct model *m);

/* Lets go of the memory that reading t took; it is read from disk or the system's cache when it is needed again. */
void model_release(const struct model *m, const struct tensor *t);
void model_release_all(const struct model *m);

/* NULL when the file carries none. Lives as long as the model. */
const struct tokenizer *model_tokenizer(const struct model *m);
/* The ids of model_info.text_suffix, n of them; lives as long as the model. */
const int32_t *model_suffix(const struct model *m, uint32_t *n);
/* Memory that it takes beside its weights, whose file is mapped: the tokenizer's. */
uint64_t model_tables_bytes(const struct model *m);

/* Number of golden vectors; *g (may be NULL) points to them, as long as the model. */
size_t model_goldens(const struct model *m, const struct model_golden **g);

#endif
