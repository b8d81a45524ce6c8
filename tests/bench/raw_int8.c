#include "tests/bench/raw_int8.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

struct product {
    dnnl_primitive_t primitive;
    dnnl_memory_t x, w, y, scale;
    double times;
};

struct raw {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    struct product *products;
    size_t n;
    int n_threads;
};

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#if DNNL_VERSION_MAJOR >= 3
static int make(struct raw *r, struct product *p, const struct raw_shape *s, uint32_t rows)
{
    const dnnl_dims_t xd = {rows, s->k}, wd = {s->k, s->n}, yd = {rows, s->n}, sd = {s->n};
    dnnl_memory_desc_t x = NULL, w = NULL, y = NULL, scale = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    bool good = !dnnl_memory_desc_create_with_tag(&x, 2, xd, dnnl_s8, dnnl_ab) &&
                !dnnl_memory_desc_create_with_tag(&w, 2, wd, dnnl_s8, dnnl_format_tag_any) &&
                !dnnl_memory_desc_create_with_tag(&y, 2, yd, dnnl_f32, dnnl_ab) &&
                !dnnl_memory_desc_create_with_tag(&scale, 1, sd, dnnl_f32, dnnl_a) &&
                !dnnl_primitive_attr_create(&attr) &&
                !dnnl_primitive_attr_set_scales_mask(attr, DNNL_ARG_WEIGHTS, 1 << 1) &&
                !dnnl_matmul_primitive_desc_create(&pd, r->engine, x, w, NULL, y, attr) &&
                !dnnl_primitive_create(&p->primitive, pd) &&
                !dnnl_memory_create(&p->x, x, r->engine, DNNL_MEMORY_ALLOCATE) &&
                !dnnl_memory_create(&p->y, y, r->engine, DNNL_MEMORY_ALLOCATE) &&
                !dnnl_memory_create(&p->scale, scale, r->engine, DNNL_MEMORY_ALLOCATE) &&
                !dnnl_memory_create(&p->w, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), r->engine,
                                    DNNL_MEMORY_ALLOCATE);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    dnnl_memory_desc_t all[] = {x, w, y, scale};
    for (int i = 0; i < 4; i++)
        if (all[i])
            dnnl_memory_desc_destroy(all[i]);
    return good ? 0 : -1;
}
#else
static int make(struct raw *r, struct product *p, const struct raw_shape *s, uint32_t rows)
{
    const dnnl_dims_t xd = {rows, s->k}, wd = {s->k, s->n}, yd = {rows, s->n};
    dnnl_memory_desc_t x, w, y;
    dnnl_matmul_desc_t md;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    float *scale = calloc(s->n, sizeof *scale);
    for (uint32_t i = 0; scale && i < s->n; i++)
        scale[i] = 0.01f;
    bool good = scale && !dnnl_memory_desc_init_by_tag(&x, 2, xd, dnnl_s8, dnnl_ab) &&
                !dnnl_memory_desc_init_by_tag(&w, 2, wd, dnnl_s8, dnnl_format_tag_any) &&
                !dnnl_memory_desc_init_by_tag(&y, 2, yd, dnnl_f32, dnnl_ab) && !dnnl_primitive_attr_create(&attr) &&
                !dnnl_primitive_attr_set_output_scales(attr, s->n, 1 << 1, scale) &&
                !dnnl_matmul_desc_init(&md, &x, &w, NULL, &y) &&
                !dnnl_primitive_desc_create(&pd, &md, attr, r->engine, NULL) &&
                !dnnl_primitive_create(&p->primitive, pd) &&
                !dnnl_memory_create(&p->x, &x, r->engine, DNNL_MEMORY_ALLOCATE) &&
                !dnnl_memory_create(&p->y, &y, r->engine, DNNL_MEMORY_ALLOCATE) &&
                !dnnl_memory_create(&p->w, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), r->engine,
                                    DNNL_MEMORY_ALLOCATE);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    free(scale);
    return good ? 0 : -1;
}
#endif

struct raw *raw_create(const struct raw_shape *shapes, size_t n_shapes, uint32_t rows, int n_threads)
{
    struct raw *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    omp_set_num_threads(n_threads); /* primitives are made for the threads that will run them */
    r->n_threads = n_threads;
    r->products = calloc(n_shapes, sizeof *r->products);
    bool good = r->products && !dnnl_engine_create(&r->engine, dnnl_cpu, 0) &&
                !dnnl_stream_create(&r->stream, r->engine, dnnl_stream_default_flags);
    for (; good && r->n < n_shapes; r->n++) {
        r->products[r->n].times = shapes[r->n].rows;
        good = make(r, &r->products[r->n], &shapes[r->n], rows) == 0;
    }
    omp_set_num_threads(1);
    if (!good) {
        raw_destroy(r);
        return NULL;
    }
    return r;
}

void raw_destroy(struct raw *r)
{
    for (size_t i = 0; r && i < r->n; i++) {
        const struct product *p = &r->products[i];
        const dnnl_memory_t all[] = {p->x, p->w, p->y, p->scale};
        for (int j = 0; j < 4; j++)
            if (all[j])
                dnnl_memory_destroy(all[j]);
        if (p->primitive)
            dnnl_primitive_destroy(p->primitive);
    }
    if (r && r->stream)
        dnnl_stream_destroy(r->stream);
    if (r && r->engine)
        dnnl_engine_destroy(r->engine);
    if (r)
        free(r->products);
    free(r);
}

double raw_time(struct raw *r, clockid_t clock)
{
    double total = 0;
    omp_set_num_threads(r->n_threads);
    for (size_t i = 0; i < r->n; i++) {
        const struct product *p = &r->products[i];
        const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, p->x},
                                        {DNNL_ARG_WEIGHTS, p->w},
                                        {DNNL_ARG_DST, p->y},
#if DNNL_VERSION_MAJOR >= 3
                                        {DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, p->scale},
#endif
        };
        enum { TIMES = 4 };
        dnnl_primitive_execute(p->primitive, r->stream, sizeof args / sizeof *args, args);
        const double start = now(clock);
        for (int j = 0; j < TIMES; j++)
            dnnl_primitive_execute(p->primitive, r->stream, sizeof args / sizeof *args, args);
        total += (now(clock) - start) / TIMES * p->times;
    }
    omp_set_num_threads(1);
    return total;
}
