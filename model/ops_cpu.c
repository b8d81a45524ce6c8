#include "model/ops_cpu.h"

#include <sched.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "base/cpu.h"
#include "model/ops_cpu_internal.h"

#define DEFAULT_BATCH_TOKENS 8192

void *cpu_alloc(size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 2)
        return NULL;
    return aligned_alloc(64, bytes ? (bytes + 63) & ~(size_t)63 : 64);
}

const struct cpu_kernels *cpu_kernels_choose(void)
{
#if defined(__x86_64__)
    const unsigned f = cpu_features();
    if (f & CPU_AVX512)
        return &cpu_kernels_avx512;
    if (f & CPU_AVX2)
        return &cpu_kernels_avx2;
#endif
    return &cpu_kernels_c;
}

vnni_multiply *vnni_choose(vnni_pack **pack)
{
#if defined(__x86_64__)
    const unsigned f = cpu_features();
    if (f & CPU_AVX512_VNNI && f & CPU_AVX512) {
        *pack = vnni_pack_avx512;
        return f & CPU_AMX_INT8 ? vnni_multiply_amx : vnni_multiply_avx512;
    }
    *pack = vnni_pack_plain;
    if (f & CPU_AVX512_VNNI)
        return vnni_multiply_narrow;
    if (f & CPU_AVX_VNNI)
        return vnni_multiply_avxvnni;
#elif defined(__aarch64__)
    if (cpu_features() & CPU_NEON_DOTPROD) {
        *pack = vnni_pack_plain;
        return vnni_multiply_dot;
    }
#endif
    *pack = NULL;
    return NULL;
}

fine_multiply *fine_choose(fine_quantise **quantise, vnni_pack **pack)
{
#if defined(__x86_64__)
    const unsigned f = cpu_features();
    if (f & CPU_AVX512_VNNI && f & CPU_AVX512) {
        *quantise = fine_quantise_avx512;
        *pack = vnni_pack_avx512;
        return fine_multiply_avx512;
    }
    *pack = vnni_pack_plain;
    if (f & CPU_AVX512_VNNI) {
        *quantise = fine_quantise_narrow;
        return fine_multiply_narrow;
    }
    if (f & CPU_AVX_VNNI) {
        *quantise = fine_quantise_avxvnni;
        return fine_multiply_avxvnni;
    }
    if (f & CPU_AVX2) {
        *quantise = fine_quantise_avx2;
        return fine_multiply_avx2;
    }
#elif defined(__aarch64__)
    if (cpu_features() & CPU_NEON_DOTPROD) {
        *quantise = fine_quantise_dot;
        *pack = fine_pack_dot;
        return fine_multiply_dot;
    }
    if (cpu_features() & CPU_NEON) {
        *quantise = fine_quantise_neon;
        *pack = fine_pack_neon;
        return fine_multiply_neon;
    }
#endif
    *quantise = NULL;
    *pack = NULL;
    return NULL;
}

static cpu_attention_fn *attention_half_choose(void)
{
#if defined(__x86_64__)
    if (cpu_features() & CPU_AVX512_BF16)
        return attention_half_avx512;
#endif
    return NULL;
}

/* ---- memory ---- */

static int buf_create(struct ops *op, size_t max_rows, size_t cols, struct ops_buf **out, struct err_msg *em)
{
    (void)op;
    size_t n;
    struct ops_buf *b = calloc(1, sizeof *b);
    if (b && !__builtin_mul_overflow(max_rows, cols, &n) && n)
        b->v = cpu_alloc(n, sizeof(float));
    if (!b || !b->v) {
        free(b);
        return err_set(em, LT_ENOMEM, "no memory for %zu rows of %zu values", max_rows, cols);
    }
    b->max_rows = max_rows;
    b->cols = cols;
    *out = b;
    return 0;
}

static void buf_destroy(struct ops *op, struct ops_buf **bp)
{
    (void)op;
    if (*bp)
        free((*bp)->v);
    free(*bp);
    *bp = NULL;
}

/* Of its buffers only rows that leave a stretch are ever touched (ops_cpu_place.c), and texts are at different ops at one time: each has memory
 * of its own, and there is no room. */
static int room_create(struct ops *op, size_t n_floats, struct ops_room **room, struct err_msg *em)
{
    (void)op, (void)n_floats, (void)em;
    *room = NULL;
    return 0;
}

static void room_destroy(struct ops *op, struct ops_room **room)
{
    (void)op, (void)room;
}

static int buf_create_in(struct ops *op, struct ops_room *room, size_t max_rows, size_t cols, struct ops_buf **out, struct err_msg *em)
{
    (void)room;
    return buf_create(op, max_rows, cols, out, em);
}

static uint64_t scratch_bytes(struct ops *op, const struct ops_use *u)
{
    (void)op, (void)u;
    return 0;
}

static int mat_create(struct ops *op, const struct tensor *const *parts, size_t n_parts, struct ops_mat **w,
                      struct err_msg *em)
{
    return cpu_mat_create((struct cpu_ops *)op, parts, n_parts, w, em);
}

static uint64_t mat_bytes(struct ops *op, const struct tensor *t)
{
    return cpu_mat_bytes((struct cpu_ops *)op, t);
}

static int table_create(struct ops *op, const struct tensor *t, struct ops_mat **out, struct err_msg *em)
{
    (void)op;
    struct ops_mat *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(em, LT_ENOMEM, "no memory for a table");
    w->table = true;
    w->tensor = *t;
    w->m = t->rows;
    w->k = t->cols;
    *out = w;
    return 0;
}

static void mat_destroy(struct ops *op, struct ops_mat **w)
{
    cpu_mat_destroy((struct cpu_ops *)op, w);
}

static int vec_create(struct ops *op, const float *v, size_t n, struct ops_vec **out, struct err_msg *em)
{
    (void)op;
    struct ops_vec *p = calloc(1, sizeof *p);
    if (p)
        p->v = cpu_alloc(n, sizeof *v);
    if (!p || !p->v) {
        free(p);
        return err_set(em, LT_ENOMEM, "no memory for %zu values", n);
    }
    memcpy(p->v, v, n * sizeof *v);
    p->n = n;
    *out = p;
    return 0;
}

static void vec_destroy(struct ops *op, struct ops_vec **vp)
{
    (void)op;
    if (*vp) {
        free((*vp)->v);
        free((*vp)->turns);
    }
    free(*vp);
    *vp = NULL;
}

static int buf_write(struct ops *op, struct ops_buf *b, const float *v, size_t n)
{
    (void)op;
    if (n > b->max_rows * b->cols)
        return LT_EINVAL;
    memcpy(b->v, v, n * sizeof *v);
    b->batch = 0;
    return 0;
}

static int buf_read(struct ops *op, const struct ops_buf *b, float *v, size_t n)
{
    (void)op;
    if (n > b->max_rows * b->cols)
        return LT_EINVAL;
    memcpy(v, b->v, n * sizeof *v);
    return 0;
}

/* ---- the batch ---- */

static int begin(struct ops *op, const struct ops_batch *b, struct err_msg *em)
{
    struct cpu_ops *o = (struct cpu_ops *)op;
    o->recording = false;
    o->n_commands = 0;
    o->batch_number++;
    if (b->n_tokens > o->base.info.max_batch_tokens)
        return err_set(em, LT_ELIMIT, "%u tokens in a batch, %u are the limit", b->n_tokens, o->base.info.max_batch_tokens);
    if (!b->n_tokens || !b->n_seqs || b->n_seqs > b->n_tokens)
        return err_set(em, LT_EINVAL, "a batch of %u texts with %u tokens", b->n_seqs, b->n_tokens);
    o->batch = *b;
    o->n_pooled = o->longest = 0;
    o->seq_offset[0] = 0;
    for (uint32_t s = 0; s < b->n_seqs; s++) {
        const uint32_t first = b->seq_offset[s], end = b->seq_offset[s + 1];
        if (first != o->seq_offset[s] || end <= first || end > b->n_tokens || b->pool_skip[s] >= end - first)
            return err_set(em, LT_EINVAL, "text %u of the batch: rows %u to %u, %u not pooled", s, first, end, b->pool_skip[s]);
        o->seq_offset[s + 1] = end;
        o->pool_skip[s] = b->pool_skip[s];
        o->pooled_offset[s] = o->n_pooled;
        o->n_pooled += end - first - b->pool_skip[s];
        o->longest = end - first > o->longest ? end - first : o->longest;
        for (uint32_t t = first; t < end; t++) {
            o->position[t] = t - first;
            o->text[t] = s;
        }
    }
    o->pooled_offset[b->n_seqs] = o->n_pooled;
    if (o->seq_offset[b->n_seqs] != b->n_tokens)
        return err_set(em, LT_EINVAL, "the texts of a batch do not fill it");
    memcpy(o->ids, b->ids, b->n_tokens * sizeof *o->ids);
    o->error = 0;
    o->loose = false;
    o->recording = true;
    return 0;
}

static int end(struct ops *op, const struct ops_buf *src, uint32_t rows, float *out, struct err_msg *em)
{
    struct cpu_ops *o = (struct cpu_ops *)op;
    if (!o->recording)
        return err_set(em, LT_EINVAL, "no batch was begun");
    o->recording = false;
    int r = o->error;
    if (!r && src && rows > src->max_rows)
        r = LT_EINVAL;
    if (!r)
        r = cpu_run(o, src);
    if (r)
        return err_set(em, r, "the batch failed on the CPU: %s", err_text(r));
    o->base.info.n_submits++;
    if (src) {
        memcpy(out, src->v, rows * src->cols * sizeof *out);
        o->base.info.n_readbacks++;
    }
    return 0;
}

/* ---- the device ---- */

static void destroy(struct ops *op)
{
    struct cpu_ops *o = (struct cpu_ops *)op;
    team_destroy(&o->team);
    cpu_free_spares(o);
    cpu_dnnl_destroy(&o->dnnl);
    for (unsigned i = 0; o->workers && i < o->n_threads; i++) {
        free(o->workers[i].q);
        free(o->workers[i].fine_x);
        free(o->workers[i].fine_parts);
        free(o->workers[i].row);
        free(o->workers[i].row_scale);
        free(o->workers[i].sums);
        free(o->workers[i].attention);
        free(o->workers[i].arena);
    }
    free(o->workers);
    free(o->ids);
    free(o->seq_offset);
    free(o->pooled_offset);
    free(o->pool_skip);
    free(o->position);
    free(o->text);
    free(o->group);
    free(o->commands);
    free(o->claims);
    free(o);
}

static unsigned usable_cpus(void)
{
    cpu_set_t set;
    const int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > CPU_MAX_THREADS ? CPU_MAX_THREADS : (unsigned)n;
}

/* One part in so many is ours: the index, the page cache under both, and other programs live on the rest. Layers that find no room
 * are unpacked from the model file when they are needed. */
#define SHARE_OF_MEMORY 2

/* What the system says can be had without swapping; 0: it does not say. */
static uint64_t available_memory(void)
{
    unsigned long long kib = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib * 1024;
}

static void name_cpu(struct cpu_ops *o)
{
    char brand[49] = "CPU";
#if defined(__x86_64__)
    unsigned r[12], max = __get_cpuid_max(0x80000000, NULL);
    if (max >= 0x80000004) {
        for (unsigned i = 0; i < 3; i++)
            __get_cpuid(0x80000002 + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]);
        memcpy(brand, r, 48);
        brand[48] = '\0';
    }
#endif
    const char *p = brand + strspn(brand, " ");
    snprintf(o->base.info.name, sizeof o->base.info.name, "%s (%u thread%s, %s%s%s)", p, o->n_threads,
             o->n_threads == 1 ? "" : "s", o->kernels->name, cpu_features() & CPU_AMX_INT8 ? ", amx" : "", o->int8 ? ", int8" : "");
    snprintf(o->base.info.kind, sizeof o->base.info.kind, "cpu");
}

static int make_memory(struct cpu_ops *o)
{
    const size_t n = (size_t)o->base.info.max_batch_tokens + 1;
    o->ids = cpu_alloc(n, sizeof *o->ids);
    o->seq_offset = cpu_alloc(n, sizeof *o->seq_offset);
    o->pooled_offset = cpu_alloc(n, sizeof *o->pooled_offset);
    o->pool_skip = cpu_alloc(n, sizeof *o->pool_skip);
    o->position = cpu_alloc(n, sizeof *o->position);
    o->text = cpu_alloc(n, sizeof *o->text);
    o->group = cpu_alloc(n, sizeof *o->group);
    o->workers = calloc(o->n_threads, sizeof *o->workers);
    if (!o->ids || !o->seq_offset || !o->pooled_offset || !o->pool_skip || !o->position || !o->text || !o->group ||
        !o->workers)
        return LT_ENOMEM;
    for (unsigned i = 0; i < o->n_threads; i++) {
        o->workers[i].row_scale = cpu_alloc(CPU_MATMUL_MOST_ROWS, sizeof(float));
        o->workers[i].attention = cpu_alloc(ATTENTION_SCRATCH, sizeof(float));
        if (!o->workers[i].row_scale || !o->workers[i].attention)
            return LT_ENOMEM;
    }
    return 0;
}

static const struct ops_vtbl *table(void)
{
    static struct ops_vtbl v = {
        .destroy = destroy,
        .buf_create = buf_create,
        .buf_destroy = buf_destroy,
        .room_create = room_create,
        .room_destroy = room_destroy,
        .buf_create_in = buf_create_in,
        .scratch_bytes = scratch_bytes,
        .mat_create = mat_create,
        .mat_bytes = mat_bytes,
        .table_create = table_create,
        .mat_destroy = mat_destroy,
        .vec_create = vec_create,
        .vec_destroy = vec_destroy,
        .begin = begin,
        .end = end,
        .buf_write = buf_write,
        .buf_read = buf_read,
    };
    cpu_record_table(&v);
    return &v;
}

int ops_cpu_create(struct ops **out, const struct ops_cpu_params *p, struct err_msg *em)
{
    int r;
    struct cpu_ops *o = calloc(1, sizeof *o);
    if (!o)
        return err_set(em, LT_ENOMEM, "no memory for the CPU device");
    struct ops *base = &o->base;
    base->v = table();
    o->n_threads = p->n_threads ? p->n_threads : usable_cpus();
    if (o->n_threads > CPU_MAX_THREADS)
        o->n_threads = CPU_MAX_THREADS;
    base->info.shared = true;
    base->info.memory_bytes = available_memory() / SHARE_OF_MEMORY;
    base->info.max_batch_tokens = p->max_batch_tokens ? p->max_batch_tokens : DEFAULT_BATCH_TOKENS;
    o->kernels = cpu_kernels_choose();
#if defined(__x86_64__)
    o->own_f32 = o->kernels != &cpu_kernels_c; /* oneDNN has kernels for SSE; elsewhere plain C++ */
#else
    o->own_f32 = true;
#endif
    o->multiply = vnni_choose(&o->pack_block);
    o->multiply_fine = fine_choose(&o->quantise_fine, &o->pack_fine);
    r = make_memory(o);
    if (r) {
        err_set(em, r, "no memory for batches of %u tokens", base->info.max_batch_tokens);
        goto out;
    }
    if ((r = cpu_dnnl_create(&o->dnnl, o->n_threads, em)) < 0)
        goto out;
    if ((r = team_create(&o->team, o->n_threads, em)) < 0)
        goto out;
    o->int8 = !p->exact && (o->multiply || cpu_dnnl_exact_int8(o->dnnl));
    o->half = o->int8 ? attention_half_choose() : NULL;
    base->info.max_head_dim = ATTENTION_MAX_DIM;
    base->info.attention_rounding = o->half ? ATTENTION_HALF_ROUNDING : 0;
    base->info.fine_blocks = o->multiply_fine;
    name_cpu(o);
    *out = base;
    base = NULL;
out:
    ops_destroy(&base);
    return r;
}
