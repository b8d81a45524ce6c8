#include "model/ops_cpu_dnnl.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"

/* ---- what differs between the versions ---- */

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t desc_own;        /* to be destroyed */
typedef const_dnnl_memory_desc_t desc_view; /* owned by a primitive */

static int desc_init(desc_own *d, dnnl_dim_t rows, dnnl_dim_t cols, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    const dnnl_dims_t dims = {rows, cols};
    return dnnl_memory_desc_create_with_tag(d, 2, dims, type, tag);
}
static void desc_finish(desc_own *d)
{
    if (*d)
        dnnl_memory_desc_destroy(*d);
    *d = NULL;
}
static desc_view desc_of(const desc_own *d)
{
    return *d;
}
static int matmul_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t e, desc_view x, desc_view w, desc_view y,
                       dnnl_primitive_attr_t attr)
{
    return dnnl_matmul_primitive_desc_create(pd, e, x, w, NULL, y, attr);
}
#else
typedef dnnl_memory_desc_t desc_own;
typedef const dnnl_memory_desc_t *desc_view;

static int desc_init(desc_own *d, dnnl_dim_t rows, dnnl_dim_t cols, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    const dnnl_dims_t dims = {rows, cols};
    return dnnl_memory_desc_init_by_tag(d, 2, dims, type, tag);
}
static void desc_finish(desc_own *d)
{
    (void)d;
}
static desc_view desc_of(const desc_own *d)
{
    return d;
}
static int matmul_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t e, desc_view x, desc_view w, desc_view y,
                       dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t md;
    int r = dnnl_matmul_desc_init(&md, x, w, NULL, y);
    return r ? r : (int)dnnl_primitive_desc_create(pd, &md, attr, e, NULL);
}
#endif

/* ---- the device ---- */

/* One product of n rows, made when it is first needed and kept. */
struct product {
    dnnl_primitive_t primitive;
    size_t scratch_bytes;
    dnnl_memory_t *x, *y, *scratch; /* one a thread; their data pointers are set for each call */
};

struct cpu_shape {
    struct cpu_dnnl *dnnl;
    struct cpu_shape *next;
    size_t k, n_cols;
    bool int8, slow; /* slow: oneDNN has only its reference for it */
    desc_own packed;
    dnnl_primitive_desc_t packed_by; /* owns the description that version 2 copies and version 3 borrows */
    _Atomic(struct product *) product[DNNL_ROWS + 1];
};

struct cpu_dnnl {
    dnnl_engine_t engine;
    dnnl_primitive_attr_t attr;
    unsigned n_threads;
    dnnl_stream_t *stream;
    void **scratch; /* one a thread, grown by its thread */
    size_t *scratch_bytes;
    struct cpu_shape *shapes;
    pthread_mutex_t lock; /* making of shapes and products */
};

struct cpu_panel {
    struct cpu_shape *shape;
    dnnl_memory_t weights;
};

static int failed(struct err_msg *em, int status, const char *what)
{
    if (status == dnnl_out_of_memory)
        return err_set(em, LT_ENOMEM, "oneDNN: out of memory (%s)", what);
    return err_set(em, LT_EDEVICE, "oneDNN: %s failed with status %d", what, status);
}

/* oneDNN follows the same mask as our own kernels; it takes the cap only before its first product. */
static void cap_isa(void)
{
#if defined(__x86_64__)
    if (!getenv("LATENTD_CPU_MASK"))
        return;
    const unsigned f = cpu_features();
    dnnl_cpu_isa_t isa = dnnl_cpu_isa_sse41;
    if (f & CPU_AMX_INT8)
        return;
    if (f & CPU_AVX2)
        isa = dnnl_cpu_isa_avx2;
    if (f & CPU_AVX512)
        isa = dnnl_cpu_isa_avx512_core;
    if (f & CPU_AVX512 && f & CPU_AVX512_VNNI)
        isa = f & CPU_AVX512_BF16 ? dnnl_cpu_isa_avx512_core_bf16 : dnnl_cpu_isa_avx512_core_vnni;
    dnnl_set_max_cpu_isa(isa);
#endif
}

int cpu_dnnl_create(struct cpu_dnnl **out, unsigned n_threads, struct err_msg *em)
{
    int r = 0;
    cap_isa();
    omp_set_num_threads(1);
    struct cpu_dnnl *d = calloc(1, sizeof *d);
    if (!d)
        return err_set(em, LT_ENOMEM, "no memory for the CPU device");
    pthread_mutex_init(&d->lock, NULL);
    d->n_threads = n_threads;
    d->stream = calloc(n_threads, sizeof *d->stream);
    d->scratch = calloc(n_threads, sizeof *d->scratch);
    d->scratch_bytes = calloc(n_threads, sizeof *d->scratch_bytes);
    if (!d->stream || !d->scratch || !d->scratch_bytes)
        r = dnnl_out_of_memory;
    if (!r)
        r = dnnl_engine_create(&d->engine, dnnl_cpu, 0);
    if (!r)
        r = dnnl_primitive_attr_create(&d->attr);
    if (!r)
        r = dnnl_primitive_attr_set_scratchpad_mode(d->attr, dnnl_scratchpad_mode_user);
    for (unsigned i = 0; !r && i < n_threads; i++)
        r = dnnl_stream_create(&d->stream[i], d->engine, dnnl_stream_default_flags);
    if (r) {
        cpu_dnnl_destroy(&d);
        return failed(em, r, "creating the CPU engine");
    }
    *out = d;
    return 0;
}

static void product_destroy(struct product *p, unsigned n_threads)
{
    if (!p)
        return;
    for (unsigned i = 0; i < n_threads; i++) {
        if (p->x && p->x[i])
            dnnl_memory_destroy(p->x[i]);
        if (p->y && p->y[i])
            dnnl_memory_destroy(p->y[i]);
        if (p->scratch && p->scratch[i])
            dnnl_memory_destroy(p->scratch[i]);
    }
    if (p->primitive)
        dnnl_primitive_destroy(p->primitive);
    free(p->x);
    free(p->y);
    free(p->scratch);
    free(p);
}

static void shape_destroy(struct cpu_shape *s)
{
    if (!s)
        return;
    for (size_t i = 0; i <= DNNL_ROWS; i++)
        product_destroy(atomic_load(&s->product[i]), s->dnnl->n_threads);
    if (s->packed_by)
        dnnl_primitive_desc_destroy(s->packed_by);
    free(s);
}

void cpu_dnnl_destroy(struct cpu_dnnl **dp)
{
    struct cpu_dnnl *d = *dp;
    *dp = NULL;
    if (!d)
        return;
    for (struct cpu_shape *s = d->shapes, *next; s; s = next) {
        next = s->next;
        shape_destroy(s);
    }
    for (unsigned i = 0; d->stream && i < d->n_threads; i++)
        if (d->stream[i])
            dnnl_stream_destroy(d->stream[i]);
    for (unsigned i = 0; d->scratch && i < d->n_threads; i++)
        free(d->scratch[i]);
    if (d->attr)
        dnnl_primitive_attr_destroy(d->attr);
    if (d->engine)
        dnnl_engine_destroy(d->engine);
    pthread_mutex_destroy(&d->lock);
    free(d->stream);
    free(d->scratch);
    free(d->scratch_bytes);
    free(d);
}

/* ---- shapes and their products ---- */

/* packed: the weights' layout, or NULL for oneDNN to choose. */
static int describe(const struct cpu_shape *s, size_t n, const desc_own *packed, dnnl_primitive_desc_t *pd)
{
    desc_own x = {0}, w = {0}, y = {0};
    const dnnl_dim_t rows = (dnnl_dim_t)n, k = (dnnl_dim_t)s->k, cols = (dnnl_dim_t)s->n_cols;
    int r = desc_init(&x, rows, k, s->int8 ? dnnl_u8 : dnnl_f32, dnnl_ab);
    if (!r && !packed)
        r = desc_init(&w, k, cols, s->int8 ? dnnl_s8 : dnnl_f32, dnnl_format_tag_any);
    if (!r)
        r = desc_init(&y, rows, cols, s->int8 ? dnnl_s32 : dnnl_f32, dnnl_ab);
    if (!r)
        r = matmul_desc(pd, s->dnnl->engine, desc_of(&x), packed ? desc_of(packed) : desc_of(&w), desc_of(&y),
                        s->dnnl->attr);
    desc_finish(&x);
    desc_finish(&w);
    desc_finish(&y);
    return r;
}

static int shape_get(struct cpu_dnnl *d, size_t k, size_t n_cols, bool int8, struct cpu_shape **out, struct err_msg *em)
{
    for (struct cpu_shape *s = d->shapes; s; s = s->next) {
        if (s->k == k && s->n_cols == n_cols && s->int8 == int8) {
            *out = s;
            return 0;
        }
    }
    struct cpu_shape *s = calloc(1, sizeof *s);
    if (!s)
        return failed(em, dnnl_out_of_memory, "a matrix shape");
    s->dnnl = d;
    s->k = k;
    s->n_cols = n_cols;
    s->int8 = int8;
    int r = describe(s, DNNL_ROWS, NULL, &s->packed_by);
    if (r) {
        shape_destroy(s);
        return failed(em, r, "choosing a matrix product");
    }
    const char *name = "";
    dnnl_primitive_desc_query(s->packed_by, dnnl_query_impl_info_str, 0, &name);
    s->slow = strncmp(name, "ref", 3) == 0;
#if !defined(__x86_64__)
    s->slow = s->slow || strncmp(name, "gemm", 4) == 0; /* "gemm:jit" is plain C++ there, and of int8 by way of doubles */
#endif
#if DNNL_VERSION_MAJOR >= 3
    s->packed = (desc_own)dnnl_primitive_desc_query_md(s->packed_by, dnnl_query_weights_md, 0);
#else
    s->packed = *dnnl_primitive_desc_query_md(s->packed_by, dnnl_query_weights_md, 0);
#endif
    s->next = d->shapes;
    d->shapes = s;
    *out = s;
    return 0;
}

static int product_create(const struct cpu_shape *s, size_t n, struct product **out)
{
    struct cpu_dnnl *d = s->dnnl;
    dnnl_primitive_desc_t pd = NULL;
    struct product *p = calloc(1, sizeof *p);
    int r = p ? 0 : dnnl_out_of_memory;
    if (!r) {
        p->x = calloc(d->n_threads, sizeof(dnnl_memory_t));
        p->y = calloc(d->n_threads, sizeof(dnnl_memory_t));
        p->scratch = calloc(d->n_threads, sizeof(dnnl_memory_t));
        if (!p->x || !p->y || !p->scratch)
            r = dnnl_out_of_memory;
    }
    if (!r)
        r = describe(s, n, &s->packed, &pd);
    if (!r)
        r = dnnl_primitive_create(&p->primitive, pd);
    if (!r) {
        desc_view x = dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0);
        desc_view y = dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0);
        desc_view scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
        p->scratch_bytes = dnnl_memory_desc_get_size(scratch);
        for (unsigned i = 0; !r && i < d->n_threads; i++) {
            r = dnnl_memory_create(&p->x[i], x, d->engine, DNNL_MEMORY_NONE);
            if (!r)
                r = dnnl_memory_create(&p->y[i], y, d->engine, DNNL_MEMORY_NONE);
            if (!r)
                r = dnnl_memory_create(&p->scratch[i], scratch, d->engine, DNNL_MEMORY_NONE);
        }
    }
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (r) {
        product_destroy(p, d->n_threads);
        return failed(NULL, r, "");
    }
    *out = p;
    return 0;
}

static int product_get(struct cpu_shape *s, size_t n, struct product **out)
{
    struct product *p = atomic_load_explicit(&s->product[n], memory_order_acquire);
    int r = 0;
    if (!p) {
        pthread_mutex_lock(&s->dnnl->lock);
        p = atomic_load_explicit(&s->product[n], memory_order_relaxed);
        if (!p) {
            r = product_create(s, n, &p);
            if (!r)
                atomic_store_explicit(&s->product[n], p, memory_order_release);
        }
        pthread_mutex_unlock(&s->dnnl->lock);
    }
    *out = p;
    return r;
}

/* ---- panels ---- */

/* The shape of a panel, from any thread. */
static int shape_find(struct cpu_dnnl *d, size_t k, size_t n_cols, bool int8, struct cpu_shape **s, struct err_msg *em)
{
    pthread_mutex_lock(&d->lock);
    const int r = shape_get(d, k, n_cols, int8, s, em);
    pthread_mutex_unlock(&d->lock);
    return r;
}

int cpu_panel_size(struct cpu_dnnl *d, size_t k, size_t n_cols, bool int8, size_t *bytes, struct err_msg *em)
{
    struct cpu_shape *s;
    const int r = shape_find(d, k, n_cols, int8, &s, em);
    if (r)
        return r;
    *bytes = (dnnl_memory_desc_get_size(desc_of(&s->packed)) + 63) & ~(size_t)63;
    return 0;
}

/* w[n_cols, k] into the panel's own layout */
static int reorder(const struct cpu_panel *p, unsigned thread, const void *w)
{
    const struct cpu_shape *s = p->shape;
    struct cpu_dnnl *d = s->dnnl;
    desc_own plain = {0};
    dnnl_memory_t from = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t primitive = NULL;
    int r = desc_init(&plain, (dnnl_dim_t)s->k, (dnnl_dim_t)s->n_cols, s->int8 ? dnnl_s8 : dnnl_f32, dnnl_ba);
    if (!r)
        r = dnnl_memory_create(&from, desc_of(&plain), d->engine, (void *)(uintptr_t)w);
    if (!r)
        r = dnnl_reorder_primitive_desc_create(&pd, desc_of(&plain), d->engine, desc_of(&s->packed), d->engine, NULL);
    if (!r)
        r = dnnl_primitive_create(&primitive, pd);
    if (!r) {
        const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, p->weights}};
        r = dnnl_primitive_execute(primitive, d->stream[thread], 2, args);
        if (!r)
            r = dnnl_stream_wait(d->stream[thread]);
    }
    if (primitive)
        dnnl_primitive_destroy(primitive);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (from)
        dnnl_memory_destroy(from);
    desc_finish(&plain);
    return r;
}

int cpu_panel_create(struct cpu_dnnl *d, unsigned thread, struct cpu_panel **out, size_t k, size_t n_cols, bool int8,
                     const void *w, void *room, struct err_msg *em)
{
    struct cpu_shape *s = NULL;
    int r = shape_find(d, k, n_cols, int8, &s, em);
    if (r)
        return r;
    struct cpu_panel *p = calloc(1, sizeof *p);
    if (!p)
        return failed(em, dnnl_out_of_memory, "a matrix");
    p->shape = s;
    r = dnnl_memory_create(&p->weights, desc_of(&s->packed), d->engine, room);
    if (!r)
        r = reorder(p, thread, w);
    if (r) {
        cpu_panel_destroy(&p);
        return failed(em, r, "packing a matrix");
    }
    *out = p;
    return 0;
}

void cpu_panel_destroy(struct cpu_panel **pp)
{
    struct cpu_panel *p = *pp;
    *pp = NULL;
    if (!p)
        return;
    if (p->weights)
        dnnl_memory_destroy(p->weights);
    free(p);
}

int cpu_panel_run(const struct cpu_panel *panel, unsigned thread, size_t n, const void *x, void *y)
{
    struct cpu_dnnl *d = panel->shape->dnnl;
    struct product *p;
    int r = product_get(panel->shape, n, &p);
    if (r)
        return r;
    if (p->scratch_bytes > d->scratch_bytes[thread]) {
        free(d->scratch[thread]);
        d->scratch_bytes[thread] = 0;
        d->scratch[thread] = aligned_alloc(4096, (p->scratch_bytes + 4095) & ~(size_t)4095);
        if (!d->scratch[thread])
            return LT_ENOMEM;
        d->scratch_bytes[thread] = p->scratch_bytes;
    }
    r = dnnl_memory_set_data_handle(p->x[thread], (void *)(uintptr_t)x);
    if (!r)
        r = dnnl_memory_set_data_handle(p->y[thread], y);
    if (!r && p->scratch_bytes)
        r = dnnl_memory_set_data_handle(p->scratch[thread], d->scratch[thread]);
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, p->x[thread]},
                                    {DNNL_ARG_WEIGHTS, panel->weights},
                                    {DNNL_ARG_DST, p->y[thread]},
                                    {DNNL_ARG_SCRATCHPAD, p->scratch[thread]}};
    if (!r)
        r = dnnl_primitive_execute(p->primitive, d->stream[thread], 4, args);
    return r ? failed(NULL, r, "") : 0;
}

/* ---- the probe ---- */

/* Neighbouring products of 255 · 127 overflow 16 bits at once, where an instruction set multiplies by way of them. */
bool cpu_dnnl_exact_int8(struct cpu_dnnl *d)
{
    enum { K = 64, N = 64, ROWS = 16 };
    static int8_t w[N * K];
    void *room = NULL;
    size_t bytes;
    uint8_t x[ROWS * K];
    int32_t y[ROWS * N];
    struct cpu_panel *p = NULL;
    for (int i = 0; i < N * K; i++)
        w[i] = i / K % 2 ? -127 : 127;
    memset(x, 255, sizeof x);
    bool good = cpu_panel_size(d, K, N, true, &bytes, NULL) == 0 && (room = aligned_alloc(64, bytes)) &&
                cpu_panel_create(d, 0, &p, K, N, true, w, room, NULL) == 0 && !p->shape->slow &&
                cpu_panel_run(p, 0, ROWS, x, y) == 0;
    for (int i = 0; good && i < ROWS * N; i++)
        good = y[i] == (i % 2 ? -255 * 127 * K : 255 * 127 * K);
    cpu_panel_destroy(&p);
    free(room);
    return good;
}
