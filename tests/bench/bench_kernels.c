/* bench_kernels [OPTION…] [CASE…]: single operations on one device, as the decoder calls them; NV-Embed's sizes unless told otherwise.
 *
 *   --device D       cpu (default), cpu:exact (without activations of 8 bits), vulkan, vulkan:NAME
 *   --types T,…      storage types of the weights: f32, f16, bf16, q8_0, q4_K, q5_K, q6_K (default f16,q8_0,q4_K)
 *   --rows N,…       rows of x (default 8192,2048,512,128,32)
 *   --ms MS          aim of one timed batch of calls (default 50)
 *   --warm MS        calls before that, and before the second table, until a device's clock has risen (default 500)
 *   --copies MIB     of each matrix (default 192: more than the caches of today's GPUs hold); 0: one copy
 *   --kernels no     without the second table
 *   --log debug      also what the device's layer says, of each kernel that it has built for one, with what the driver's compiler tells of it
 *
 * CASE: MxK, a product y[n, M] = x[n, K] wᵀ; products, those four of a layer; layer, a whole one in texts of at most 512 tokens, its q4_K
 * weights mixed with finer ones as the importer does; rms_norm and swiglu; attention:TEXTSxLENGTH, attention:TEXTSxLENGTHxHEAD with heads of
 * another size than 128, a divisor of 1024, as many as have the same values in all. Default: products attention:16x512 attention:1x32 rms_norm
 * swiglu layer.
 *
 * A line's time is a call's share of a batch of many, by the clock, once the device's submissions have grown. Products share their x, so a
 * device that packs x for them does so once; layer has that in it. Calls take turns among copies of the weights that no cache holds. On a GPU
 * a second table follows: what each kernel took by the device's clock when it ran alone, a call's share of it, and in how many dispatches
 * where that was not one. A device may leave out what a later call overwrites unread (model/ops.h): that table shows it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "model/ops_cpu.h"
#include "model/ops_vulkan.h"
#include "model/quantise.h"

enum { HIDDEN = 4096, FFN = 14336, HEADS = 32, KV_HEADS = 8, HEAD = 128, TEXT = 512 };
enum { QKV = (HEADS + 2 * KV_HEADS) * HEAD, MIXED = HEADS * HEAD, WIDEST = 2 * FFN };
enum { MAX_LIST = 16, MAX_COPIES = 16, DISTINCT_ROWS = 64, ROUNDS = 5, MAX_CALLS = 1000, MAX_SETTLING = 24, NOISE = 1 << 20 };

struct matrix {
    struct ops_mat *copy[MAX_COPIES];
    uint32_t n_copies, m, k;
    uint64_t bytes; /* of one */
};

struct bench {
    struct ops *o;
    const char *device;
    enum tensor_type types[MAX_LIST];
    uint32_t rows[MAX_LIST];
    size_t n_types, n_rows;
    uint64_t copies_bytes; /* of one matrix */
    double aim_ms, warm_ms;
    double host_ms; /* a call's share of the last batch, until all were taken */
    bool kernels; /* the second table: profile is on */
    float *noise;
    uint64_t rng;
};

/* What one call does; call counts up, so that weights take turns. */
struct job {
    int (*run)(struct ops *o, const struct job *j, uint32_t call);
    uint32_t n, texts;
    struct ops_buf *x, *y, *qkv, *mixed, *wide, *gated;
    struct ops_room *room[2]; /* of a layer: of qkv and wide, of mixed and gated, which take turns as in the decoder */
    struct matrix w[4];
    struct ops_vec *gain, *freq;
    struct ops_attention attention;
    double flop, bytes; /* of a call; bytes that have to be read or written */
    const char *bytes_of;
};

static const struct ops_attention attention = {HEADS, KV_HEADS, HEAD, false, 0.088388f, 0, true}; /* as with weights that are not f32 */

static void must(int r, const char *what, const struct err_msg *em)
{
    if (r < 0) {
        fprintf(stderr, "bench_kernels: %s: %s %s\n", what, err_text(r), em ? em->text : "");
        exit(1);
    }
}

static void *memory(size_t n)
{
    void *p = calloc(n ? n : 1, 1);
    must(p ? 0 : LT_ENOMEM, "memory", NULL);
    return p;
}

static uint64_t rand64(struct bench *b)
{
    uint64_t z = (b->rng += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* Of about normal values: sums of four even ones. A device's clock depends on what it multiplies. */
static void make_noise(struct bench *b)
{
    b->noise = memory(NOISE * sizeof *b->noise);
    for (size_t i = 0; i < NOISE; i++) {
        const uint64_t bits = rand64(b);
        float sum = 0;
        for (int part = 0; part < 4; part++)
            sum += (float)(bits >> 16 * part & 0xFFFF) / 65535 - 0.5f;
        b->noise[i] = sum * 1.7320508f;
    }
}

/* ---- what calls work on ---- */

/* Rows of one block repeat: what they are multiplied by does not. */
static struct ops_mat *one_matrix(struct bench *b, const enum tensor_type *types, const uint32_t *rows, size_t n_parts, uint32_t k)
{
    struct err_msg em = {{0}};
    struct tensor tensor[3];
    const struct tensor *parts[3];
    float *row = memory(k * sizeof *row);
    struct ops_mat *w = NULL;
    for (size_t p = 0; p < n_parts; p++) {
        const size_t bytes = tensor_row_bytes(types[p], k);
        must(bytes ? 0 : LT_EINVAL, "the type's blocks do not divide the rows", NULL);
        uint8_t *data = memory(rows[p] * bytes);
        for (uint32_t i = 0; i < rows[p] && i < DISTINCT_ROWS; i++) {
            const size_t at = rand64(b) % NOISE;
            for (uint32_t j = 0; j < k; j++)
                row[j] = b->noise[(at + j) % NOISE] / sqrtf((float)k);
            must(quantise_row(types[p], row, NULL, k, data + i * bytes), "weights", NULL);
        }
        for (uint32_t i = DISTINCT_ROWS; i < rows[p]; i++)
            memcpy(data + i * bytes, data + (i - DISTINCT_ROWS) * bytes, bytes);
        tensor[p] = (struct tensor){"w", types[p], rows[p], k, data, rows[p] * bytes};
        parts[p] = &tensor[p];
    }
    must(b->o->v->mat_create(b->o, parts, n_parts, &w, &em), "weights", &em);
    for (size_t p = 0; p < n_parts; p++)
        free((void *)tensor[p].data);
    free(row);
    return w;
}

static struct matrix matrix(struct bench *b, const enum tensor_type *types, const uint32_t *rows, size_t n_parts, uint32_t k)
{
    struct matrix w = {.k = k};
    for (size_t p = 0; p < n_parts; p++) {
        w.m += rows[p];
        w.bytes += rows[p] * tensor_row_bytes(types[p], k);
    }
    while (w.n_copies < MAX_COPIES && (!w.n_copies || w.n_copies * w.bytes < b->copies_bytes))
        w.copy[w.n_copies++] = one_matrix(b, types, rows, n_parts, k);
    return w;
}

static void drop_matrix(struct bench *b, struct matrix *w)
{
    while (w->n_copies)
        b->o->v->mat_destroy(b->o, &w->copy[--w->n_copies]);
}

static struct ops_buf *buffer(struct bench *b, uint32_t rows, uint32_t cols, bool filled)
{
    struct err_msg em = {{0}};
    struct ops_buf *buf = NULL;
    const size_t n = (size_t)rows * cols;
    must(b->o->v->buf_create(b->o, rows, cols, &buf, &em), "buffer", &em);
    if (!filled)
        return buf;
    float *v = memory(n * sizeof *v);
    for (size_t i = 0; i < n; i += NOISE)
        memcpy(v + i, b->noise, (n - i < NOISE ? n - i : NOISE) * sizeof *v);
    must(b->o->v->buf_write(b->o, buf, v, n), "buffer", NULL);
    free(v);
    return buf;
}

/* Two buffers that take turns in the same memory. */
static struct ops_room *room(struct bench *b, uint32_t rows, uint32_t cols1, struct ops_buf **buf1, uint32_t cols2, struct ops_buf **buf2)
{
    struct err_msg em = {{0}};
    struct ops_room *room = NULL;
    must(b->o->v->room_create(b->o, (size_t)rows * (cols1 > cols2 ? cols1 : cols2), &room, &em), "room", &em);
    must(b->o->v->buf_create_in(b->o, room, rows, cols1, buf1, &em), "buffer", &em);
    must(b->o->v->buf_create_in(b->o, room, rows, cols2, buf2, &em), "buffer", &em);
    return room;
}

static void drop_buffers(struct bench *b, struct job *j)
{
    struct ops_buf **bufs[] = {&j->x, &j->y, &j->qkv, &j->mixed, &j->wide, &j->gated};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        if (*bufs[i])
            b->o->v->buf_destroy(b->o, bufs[i]);
    for (size_t i = 0; i < 2; i++)
        if (j->room[i])
            b->o->v->room_destroy(b->o, &j->room[i]);
}

static struct ops_vec *vector(struct bench *b, uint32_t n, bool frequencies)
{
    struct err_msg em = {{0}};
    struct ops_vec *vec = NULL;
    float *v = memory(n * sizeof *v);
    for (uint32_t i = 0; i < n; i++)
        v[i] = frequencies ? powf(10000, -(float)i / (float)n) : 1;
    must(b->o->v->vec_create(b->o, v, n, &vec, &em), "vector", &em);
    free(v);
    return vec;
}

/* ---- calls ---- */

static struct ops_mat *turn(const struct matrix *w, uint32_t call)
{
    return w->copy[call % w->n_copies];
}

static int run_product(struct ops *o, const struct job *j, uint32_t call)
{
    return o->v->matmul(o, j->x, turn(&j->w[0], call), NULL, NULL, j->n, j->y);
}

static int run_attention(struct ops *o, const struct job *j, uint32_t call)
{
    (void)call;
    return o->v->attention(o, j->x, &j->attention, j->y);
}

static int run_rms_norm(struct ops *o, const struct job *j, uint32_t call)
{
    (void)call;
    return o->v->rms_norm(o, j->x, j->gain, 1e-5f, j->n, j->y);
}

static int run_swiglu(struct ops *o, const struct job *j, uint32_t call)
{
    (void)call;
    return o->v->swiglu(o, j->x, j->n, FFN, j->y);
}

static int run_layer(struct ops *o, const struct job *j, uint32_t call)
{
    const struct ops_vtbl *v = o->v;
    int r;
    if ((r = v->rms_norm(o, j->x, j->gain, 1e-5f, j->n, j->y)) < 0 ||
        (r = v->matmul(o, j->y, turn(&j->w[0], call), NULL, NULL, j->n, j->qkv)) < 0 ||
        (r = v->rope(o, j->qkv, j->freq, &attention)) < 0 ||
        (r = v->attention(o, j->qkv, &attention, j->mixed)) < 0 ||
        (r = v->matmul(o, j->mixed, turn(&j->w[1], call), NULL, j->x, j->n, j->x)) < 0 ||
        (r = v->rms_norm(o, j->x, j->gain, 1e-5f, j->n, j->y)) < 0 ||
        (r = v->matmul(o, j->y, turn(&j->w[2], call), NULL, NULL, j->n, j->wide)) < 0 ||
        (r = v->swiglu(o, j->wide, j->n, FFN, j->gated)) < 0 ||
        (r = v->matmul(o, j->gated, turn(&j->w[3], call), NULL, j->x, j->n, j->x)) < 0)
        return r;
    return 0;
}

/* ---- time ---- */

static double batch_ms(struct bench *b, const struct job *j, uint32_t calls)
{
    struct err_msg em = {{0}};
    const uint32_t texts = j->texts ? j->texts : (j->n + TEXT - 1) / TEXT;
    int32_t *ids = memory(j->n * sizeof *ids);
    uint32_t *offset = memory((texts + 1) * sizeof *offset), *skip = memory(texts * sizeof *skip);
    for (uint32_t i = 0; i <= texts; i++)
        offset[i] = (uint32_t)((uint64_t)j->n * i / texts);
    const uint64_t start = clock_ns();
    must(b->o->v->begin(b->o, &(struct ops_batch){ids, j->n, offset, texts, skip}, &em), "begin", &em);
    for (uint32_t i = 0; i < calls; i++)
        must(j->run(b->o, j, i), "call", NULL);
    const uint64_t recorded = clock_ns();
    must(b->o->v->end(b->o, NULL, 0, NULL, &em), "end", &em);
    const double ms = (double)(clock_ns() - start) * 1e-6;
    b->host_ms = (double)(recorded - start) * 1e-6 / calls;
    free(ids);
    free(offset);
    free(skip);
    return ms;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A device's clock falls while it has nothing to do, and takes its time to rise. */
static void warm_up(struct bench *b, const struct job *j, uint32_t calls)
{
    for (double ms = 0; ms < b->warm_ms;)
        ms += batch_ms(b, j, calls);
}

/* A call's share of a batch. The first batches compile kernels, and are divided into many submissions until the device has shown how
 * much it does in one: they count once they no longer become faster. */
static double call_ms(struct bench *b, const struct job *j)
{
    double ms[ROUNDS], before = INFINITY, now = batch_ms(b, j, 1);
    uint32_t calls = 1;
    for (int i = 0; i < MAX_SETTLING && (now < 0.95 * before || (now * calls < 0.5 * b->aim_ms && calls < MAX_CALLS)); i++) {
        before = now;
        const double want = b->aim_ms / now;
        calls = want < 1 ? 1 : want > MAX_CALLS ? MAX_CALLS : (uint32_t)want;
        now = batch_ms(b, j, calls) / calls;
    }
    warm_up(b, j, calls);
    for (int i = 0; i < ROUNDS; i++)
        ms[i] = batch_ms(b, j, calls) / calls;
    qsort(ms, ROUNDS, sizeof *ms, by_value);
    return ms[ROUNDS / 2];
}

static void print_kernels(struct bench *b, const struct job *j, const char *what)
{
    enum { CALLS = 8 };
    struct ops_time times[OPS_TIMES_MAX];
    struct err_msg em = {{0}};
    warm_up(b, j, CALLS);
    batch_ms(b, j, CALLS);
    must(b->o->v->profile_start(b->o, &em), "profile", &em);
    batch_ms(b, j, CALLS);
    const size_t n = b->o->v->profile(b->o, times, OPS_TIMES_MAX);
    printf("%-28s %5u rows:", what, j->n);
    for (size_t i = 0; i < n; i++) {
        printf(" %s %.4f ms", times[i].kernel, times[i].ms / CALLS);
        if (strncmp(times[i].kernel, "mat", 3) == 0)
            printf(" (%.4g TFLOP/s)", times[i].work / times[i].ms * 1e-9);
        if (times[i].n != CALLS)
            printf(" in %.3g dispatches", (double)times[i].n / CALLS);
        printf(i + 1 < n ? "," : "\n");
    }
    fflush(stdout);
}

static void report(struct bench *b, const struct job *j, const char *what)
{
    if (b->kernels) {
        print_kernels(b, j, what);
        return;
    }
    const double ms = call_ms(b, j);
    printf("%-28s %5u rows: %9.4f ms", what, j->n, ms);
    if (j->flop > 0)
        printf(" %8.4g TFLOP/s", j->flop / ms * 1e-9);
    printf(" %7.4g GB/s of %s, recorded in %.4f ms\n", j->bytes / ms * 1e-6, j->bytes_of, b->host_ms);
    fflush(stdout);
}

/* ---- cases ---- */

static void product(struct bench *b, uint32_t m, uint32_t k)
{
    for (size_t t = 0; t < b->n_types; t++) {
        char what[64];
        struct job j = {.run = run_product, .w = {matrix(b, &b->types[t], &m, 1, k)}, .bytes_of = "weights"};
        snprintf(what, sizeof what, "%s %ux%u", tensor_type_name(b->types[t]), m, k);
        for (size_t i = 0; i < b->n_rows; i++) {
            j.n = b->rows[i];
            j.x = buffer(b, j.n, k, true);
            j.y = buffer(b, j.n, m, false);
            j.flop = 2.0 * j.n * m * k;
            j.bytes = (double)j.w[0].bytes;
            report(b, &j, what);
            drop_buffers(b, &j);
        }
        drop_matrix(b, &j.w[0]);
    }
}

static void products(struct bench *b)
{
    product(b, QKV, HIDDEN);
    product(b, HIDDEN, MIXED);
    product(b, 2 * FFN, HIDDEN);
    product(b, HIDDEN, FFN);
}

static void attend(struct bench *b, uint32_t texts, uint32_t length, uint32_t head, const char *what)
{
    struct job j = {.run = run_attention, .n = texts * length, .texts = texts, .attention = attention, .bytes_of = "activations"};
    j.attention.n_heads = HEADS * HEAD / head;
    j.attention.n_kv_heads = KV_HEADS * HEAD / head;
    j.attention.head_dim = head;
    j.x = buffer(b, j.n, QKV, true);
    j.y = buffer(b, j.n, MIXED, false);
    j.flop = 4.0 * j.n * length * HEADS * HEAD;
    j.bytes = 4.0 * j.n * (QKV + HEADS * HEAD);
    report(b, &j, what);
    drop_buffers(b, &j);
}

static void rms_norm(struct bench *b)
{
    struct job j = {.run = run_rms_norm, .gain = vector(b, HIDDEN, false), .bytes_of = "activations"};
    for (size_t i = 0; i < b->n_rows; i++) {
        j.n = b->rows[i];
        j.x = buffer(b, j.n, HIDDEN, true);
        j.y = buffer(b, j.n, HIDDEN, false);
        j.bytes = 8.0 * j.n * HIDDEN;
        report(b, &j, "rms_norm");
        drop_buffers(b, &j);
    }
    b->o->v->vec_destroy(b->o, &j.gain);
}

static void swiglu(struct bench *b)
{
    struct job j = {.run = run_swiglu, .bytes_of = "activations"};
    for (size_t i = 0; i < b->n_rows; i++) {
        j.n = b->rows[i];
        j.x = buffer(b, j.n, 2 * FFN, true);
        j.y = buffer(b, j.n, FFN, false);
        j.bytes = 12.0 * j.n * FFN;
        report(b, &j, "swiglu");
        drop_buffers(b, &j);
    }
}

static void layer(struct bench *b)
{
    struct job j = {.run = run_layer, .gain = vector(b, HIDDEN, false), .freq = vector(b, HEAD / 2, true), .bytes_of = "weights"};
    for (size_t t = 0; t < b->n_types; t++) {
        char what[64];
        const enum tensor_type type = b->types[t], six = type == TENSOR_Q4_K ? TENSOR_Q6_K : type,
                               five = type == TENSOR_Q4_K ? TENSOR_Q5_K : type;
        const uint32_t qkv[] = {HEADS * HEAD, KV_HEADS * HEAD, KV_HEADS * HEAD}, hidden = HIDDEN, up[] = {FFN, FFN};
        j.w[0] = matrix(b, (enum tensor_type[]){type, type, six}, qkv, 3, HIDDEN);
        j.w[1] = matrix(b, &six, &hidden, 1, MIXED);
        j.w[2] = matrix(b, (enum tensor_type[]){type, type}, up, 2, HIDDEN);
        j.w[3] = matrix(b, &five, &hidden, 1, FFN);
        snprintf(what, sizeof what, "%s layer", tensor_type_name(type));
        for (size_t i = 0; i < b->n_rows; i++) {
            j.n = b->rows[i];
            j.x = buffer(b, j.n, HIDDEN, true);
            j.y = buffer(b, j.n, HIDDEN, false);
            j.room[0] = room(b, j.n, QKV, &j.qkv, WIDEST, &j.wide);
            j.room[1] = room(b, j.n, MIXED, &j.mixed, FFN, &j.gated);
            j.flop = j.bytes = 0;
            for (int w = 0; w < 4; w++) {
                j.flop += 2.0 * j.n * j.w[w].m * j.w[w].k;
                j.bytes += (double)j.w[w].bytes;
            }
            report(b, &j, what);
            drop_buffers(b, &j);
        }
        for (int w = 0; w < 4; w++)
            drop_matrix(b, &j.w[w]);
    }
    b->o->v->vec_destroy(b->o, &j.gain);
    b->o->v->vec_destroy(b->o, &j.freq);
}

static int run_case(struct bench *b, const char *name)
{
    unsigned m = 0, k = 0, head = 0;
    char end;
    if (!strcmp(name, "products"))
        products(b);
    else if (!strcmp(name, "layer"))
        layer(b);
    else if (!strcmp(name, "rms_norm"))
        rms_norm(b);
    else if (!strcmp(name, "swiglu"))
        swiglu(b);
    else if (sscanf(name, "attention:%ux%u%c", &m, &k, &end) == 2 && m && k)
        attend(b, m, k, HEAD, name);
    else if (sscanf(name, "attention:%ux%ux%u%c", &m, &k, &head, &end) == 3 && m && k && head && KV_HEADS * HEAD % head == 0)
        attend(b, m, k, head, name);
    else if (sscanf(name, "%ux%u%c", &m, &k, &end) == 2 && m && k)
        product(b, m, k);
    else
        return LT_EINVAL;
    return 0;
}

/* ---- the command line ---- */

static size_t read_rows(const char *arg, uint32_t *rows)
{
    size_t n = 0;
    for (char *end; *arg && n < MAX_LIST; arg = *end ? end + 1 : end)
        if (!(rows[n++] = (uint32_t)strtoul(arg, &end, 10)) || (*end && *end != ','))
            return 0;
    return n;
}

static size_t read_types(const char *arg, enum tensor_type *types)
{
    size_t n = 0;
    while (*arg && n < MAX_LIST) {
        const size_t len = strcspn(arg, ",");
        int found = -1;
        for (int t = 0; t < TENSOR_N_TYPES; t++) {
            const char *name = tensor_type_name((enum tensor_type)t);
            if (name && strlen(name) == len && strncmp(name, arg, len) == 0)
                found = t;
        }
        if (found < 0)
            return 0;
        types[n++] = (enum tensor_type)found;
        arg += len + (arg[len] == ',');
    }
    return n;
}

static int open_device(struct bench *b, struct err_msg *em)
{
    uint32_t most = 0;
    for (size_t i = 0; i < b->n_rows; i++)
        most = b->rows[i] > most ? b->rows[i] : most;
    most = most < 8192 ? 8192 : most;
    const bool exact = !strcmp(b->device, "cpu:exact");
    if (exact || !strcmp(b->device, "cpu"))
        return ops_cpu_create(&b->o, &(struct ops_cpu_params){.max_batch_tokens = most, .exact = exact}, em);
    if (strncmp(b->device, "vulkan", 6) || (b->device[6] && b->device[6] != ':'))
        return err_set(em, LT_EINVAL, "no such device: %s (cpu, cpu:exact, vulkan, vulkan:NAME)", b->device);
    return ops_vulkan_create(&b->o, &(struct ops_vulkan_params){.device = b->device[6] ? b->device + 7 : NULL, .max_batch_tokens = most}, em);
}

int main(int argc, char **argv)
{
    static const char *const usual[] = {"products", "attention:16x512", "attention:1x32", "rms_norm", "swiglu", "layer"};
    struct bench b = {.device = "cpu", .types = {TENSOR_F16, TENSOR_Q8_0, TENSOR_Q4_K}, .rows = {8192, 2048, 512, 128, 32},
                      .n_types = 3, .n_rows = 5, .copies_bytes = 192u << 20, .aim_ms = 50, .warm_ms = 500, .rng = 1};
    struct err_msg em = {{0}};
    int first = 1, tables = 2;
    enum log_level level = LOG_WARN;
    bool good = true;
    for (; first + 1 < argc && argv[first][0] == '-'; first += 2) {
        const char *value = argv[first + 1];
        if (!strcmp(argv[first], "--device"))
            b.device = value;
        else if (!strcmp(argv[first], "--types"))
            good &= (b.n_types = read_types(value, b.types)) > 0;
        else if (!strcmp(argv[first], "--rows"))
            good &= (b.n_rows = read_rows(value, b.rows)) > 0;
        else if (!strcmp(argv[first], "--ms"))
            good &= (b.aim_ms = strtod(value, NULL)) > 0;
        else if (!strcmp(argv[first], "--copies"))
            b.copies_bytes = (uint64_t)strtoul(value, NULL, 10) << 20;
        else if (!strcmp(argv[first], "--warm"))
            good &= (b.warm_ms = strtod(value, NULL)) >= 0;
        else if (!strcmp(argv[first], "--kernels"))
            tables = strcmp(value, "no") ? 2 : 1;
        else if (!strcmp(argv[first], "--log"))
            good &= log_level_parse(value, &level) == 0;
        else
            good = false;
    }
    const char *const *cases = first < argc ? (const char *const *)argv + first : usual;
    const size_t n = first < argc ? (size_t)(argc - first) : sizeof usual / sizeof *usual;
    if (!good || (first < argc && argv[first][0] == '-')) {
        fputs("usage: bench_kernels [--device cpu|vulkan|vulkan:NAME] [--types T,...] [--rows N,...] [--ms MS] [--warm MS]\n"
              "                     [--copies MIB] [--kernels no] [--log LEVEL] [CASE...]\n",
              stderr);
        return 2;
    }
    log_set_level(level);
    make_noise(&b);
    must(open_device(&b, &em), "device", &em);
    printf("%s\n", b.o->info.name);
    for (int table = 0; table < (b.o->v->profile_start ? tables : 1); table++) {
        b.kernels = table == 1;
        if (table)
            printf("kernels alone, by the device's clock:\n");
        for (size_t i = 0; i < n; i++)
            must(run_case(&b, cases[i]), cases[i], NULL);
    }
    ops_destroy(&b.o);
    free(b.noise);
    return 0;
}
