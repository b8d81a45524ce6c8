/* Ops behind each other in every order that model/ops.h allows, in one batch.
 *
 * A device may leave out rows that only other ops wanted, and give a product what a norm, a gate or another product made in a form of its
 * own. Programs are drawn at random: norms, gates and products over three narrow buffers and three wide ones, read again and overwritten. Each
 * runs in one batch, then every op in its own, where no device can leave out anything. Bit for bit on the CPU; elsewhere 1e-6 of the
 * largest value, since a fused kernel may round otherwise, or where products round what goes into them, four of those roundings. And
 * the plain C ops must come to the same, within 1e-4, or a hundred roundings: that both runs are wrong would go unnoticed otherwise. */
#include "model/conformance/conform.h"

#include <math.h>

enum { NARROW = 512, WIDE = 1024, SLOTS = 6, STEPS = 14, MATS = 4 };

enum kind { NORM, NORM_ADD, GATE, PRODUCT, SCALE, LAYER_NORM, KINDS };

struct step {
    enum kind kind;
    int x, y, residual, mat; /* slots; residual -1: none */
    unsigned which;          /* gate, or whether there is a bias */
};

struct slot {
    struct ops_buf *b;
    float *want;
    bool filled;
    enum kind made; /* by what; SCALE: of no interest */
    int from;
    bool taken, gone; /* some op has read it; no other can rely on it */
};

struct sequence {
    struct slot slots[SLOTS]; /* the first half is narrow */
    struct ops_mat *mats[MATS];
    float *weights[MATS];
    struct ops_vec *gain[2], *bias[2];
    float *gains, *biases;
    uint32_t n;
};

static uint32_t cols_of(int slot)
{
    return slot < SLOTS / 2 ? NARROW : WIDE;
}

static uint32_t mat_rows(int mat)
{
    return mat % 2 ? WIDE : NARROW;
}

static uint32_t mat_cols(int mat)
{
    return mat / 2 ? WIDE : NARROW;
}

static int any(struct conform *k, int n)
{
    return (int)(conform_rand(k) % (uint64_t)n);
}

/* A slot that can be read, narrow, wide or either (0); -1: there is none. */
static int readable(struct conform *k, const struct sequence *q, uint32_t cols)
{
    const int first = any(k, SLOTS);
    for (int i = 0; i < SLOTS; i++) {
        const int s = (first + i) % SLOTS;
        if (q->slots[s].filled && !q->slots[s].gone && (!cols || cols_of(s) == cols))
            return s;
    }
    return -1;
}

static int writable(struct conform *k, uint32_t cols, int but)
{
    const int half = cols == NARROW ? 0 : SLOTS / 2;
    int s = half + any(k, SLOTS / 2);
    return s == but ? half + (s - half + 1) % (SLOTS / 2) : s;
}

/* What of the slots cannot be read once s has read x and written y: what came from y, and a gate and its product behind another product. */
static void age(struct sequence *q, const struct step *s)
{
    struct slot *x = &q->slots[s->x];
    x->taken = true;
    for (int i = 0; i < SLOTS; i++) {
        struct slot *t = &q->slots[i];
        const bool late = t->made == NORM || t->made == GATE || t->made == PRODUCT;
        if (t->taken && late && i != s->y && (t->from == s->y || (s->kind == PRODUCT && t->made != NORM && i != s->x)))
            t->gone = true;
    }
    if (s->kind == PRODUCT && x->made == GATE && s->y != s->x)
        q->slots[x->from].taken = true; /* its parts may be no more */
    q->slots[s->y].filled = true;
    q->slots[s->y].gone = q->slots[s->y].taken = false;
    q->slots[s->y].made = s->x == s->y ? SCALE : s->kind;
    q->slots[s->y].from = s->kind == NORM || s->kind == GATE ? s->x : s->residual;
}

/* The next op of a program. A gate's rows go to products in a row only, and a gated product's nowhere else. */
static struct step draw(struct conform *k, const struct sequence *q, const struct step *last)
{
    for (;;) {
        struct step s = {.kind = (enum kind)any(k, KINDS), .residual = -1, .which = (unsigned)any(k, 3)};
        if (any(k, 2)) /* most are products */
            s.kind = PRODUCT;
        if ((s.x = readable(k, q, s.kind == GATE ? WIDE : 0)) < 0)
            continue;
        if (last && any(k, 3)) /* most read what was just made */
            s.x = last->y;
        const struct slot *x = &q->slots[s.x];
        if (x->gone || (s.kind == GATE && cols_of(s.x) != WIDE) ||
            (x->taken && x->made == GATE && (s.kind != PRODUCT || last->kind != PRODUCT || last->x != s.x)))
            continue;
        if (x->taken && x->made == PRODUCT && q->slots[s.x].from < 0 && s.kind != GATE)
            continue;
        s.y = s.kind == GATE ? writable(k, NARROW, -1) : writable(k, cols_of(s.x), s.kind == NORM_ADD ? s.x : -1);
        if (s.kind == SCALE)
            s.y = s.x;
        if (s.kind == NORM_ADD && (!q->slots[s.y].filled || q->slots[s.y].gone || q->slots[s.y].taken))
            continue;
        if (s.kind == PRODUCT) {
            s.mat = any(k, 2) + (cols_of(s.x) == WIDE ? 2 : 0);
            s.y = writable(k, mat_rows(s.mat), s.x);
            if (any(k, 2))
                s.residual = readable(k, q, mat_rows(s.mat));
            if (s.residual >= 0 && (s.residual == s.x || q->slots[s.residual].taken))
                s.residual = -1;
        }
        return s;
    }
}

static int perform(struct ops *o, const struct sequence *q, const struct step *s)
{
    const struct ops_vtbl *v = o->v;
    struct ops_buf *x = q->slots[s->x].b, *y = q->slots[s->y].b;
    const int wide = cols_of(s->x) == WIDE;
    switch (s->kind) {
    case NORM:
        return v->rms_norm(o, x, q->gain[wide], 1e-5f, q->n, y);
    case NORM_ADD:
        return v->rms_norm_add(o, x, q->gain[wide], 1e-5f, q->n, y);
    case GATE:
        return (s->which == 0 ? v->swiglu : s->which == 1 ? v->geglu_tanh : v->geglu)(o, x, q->n, NARROW, y);
    case SCALE:
        return v->scale(o, x, 0.75f, q->n);
    case LAYER_NORM:
        return v->layer_norm(o, x, q->gain[wide], NULL, 1e-5f, q->n, y);
    default:
        return v->matmul(o, x, q->mats[s->mat], s->which ? q->bias[s->mat % 2] : NULL,
                         s->residual < 0 ? NULL : q->slots[s->residual].b, q->n, y);
    }
}

static void reference(const struct sequence *q, const struct step *s)
{
    float *x = q->slots[s->x].want, *y = q->slots[s->y].want;
    const uint32_t d = cols_of(s->x);
    switch (s->kind) {
    case NORM:
        ref_rms_norm(x, q->gains, 1e-5f, q->n, d, y);
        break;
    case NORM_ADD:
        ref_rms_norm_add(x, q->gains, 1e-5f, q->n, d, y);
        break;
    case GATE:
        (s->which == 0 ? ref_swiglu : s->which == 1 ? ref_geglu_tanh : ref_geglu)(x, q->n, NARROW, y);
        break;
    case SCALE:
        ref_scale(x, 0.75f, q->n, d);
        break;
    case LAYER_NORM:
        ref_layer_norm(x, q->gains, NULL, 1e-5f, q->n, d, y);
        break;
    default:
        ref_matmul(x, q->weights[s->mat], s->which ? q->biases : NULL, s->residual < 0 ? NULL : q->slots[s->residual].want, q->n,
                   mat_rows(s->mat), d, y);
    }
}

/* Fills the first narrow buffer; the program's end to out. */
static void run(struct conform *k, struct sequence *q, const float *x, const struct step *steps, bool each, float *out)
{
    struct conform_batch b;
    const int last = steps[STEPS - 1].y;
    conform_ok(k, k->o->v->buf_write(k->o, q->slots[0].b, x, (size_t)q->n * NARROW), "buf_write");
    conform_layout(k, &b, q->n, 40, 0);
    for (int i = 0; i < STEPS; i++) {
        if (each || i == 0)
            conform_start(k, &b);
        const int r = perform(k->o, q, &steps[i]);
        if (r)
            conform_fail(k, "op %d: %s", i, err_name(r));
        if (each || i == STEPS - 1)
            conform_end(k, &b);
    }
    conform_forget(&b);
    conform_ok(k, k->o->v->buf_read(k->o, q->slots[last].b, out, (size_t)q->n * cols_of(last)), "buf_read");
}

static void program(struct conform *k, struct sequence *q, enum tensor_type type, uint32_t n, int number)
{
    struct step steps[STEPS];
    char text[STEPS * 8 + 1] = "";
    const size_t all = (size_t)n * WIDE;
    float *x = conform_fill(k, all, FILL_NORMAL), *one = conform_fill(k, all, FILL_ZERO), *each = conform_fill(k, all, FILL_ZERO);
    q->n = n;
    for (int i = 0; i < SLOTS; i++)
        q->slots[i].filled = q->slots[i].gone = q->slots[i].taken = false;
    q->slots[0].filled = true;
    q->slots[0].made = SCALE;
    memcpy(q->slots[0].want, x, (size_t)n * NARROW * sizeof *x);
    for (int i = 0; i < STEPS; i++) {
        steps[i] = draw(k, q, i ? &steps[i - 1] : NULL);
        age(q, &steps[i]);
        reference(q, &steps[i]);
        snprintf(text + strlen(text), 9, " %c%d%d%c", "nagpsl"[steps[i].kind], steps[i].x, steps[i].y,
                 steps[i].residual < 0 ? '-' : '0' + steps[i].residual);
    }
    conform_case(k, "sequence %d %s n %u:%s", number, tensor_type_name(type), n, text);
    run(k, q, x, steps, true, each);
    run(k, q, x, steps, false, one);
    const int last = steps[STEPS - 1].y;
    const bool cpu = strcmp(k->o->info.kind, "cpu") == 0, rounds = type != TENSOR_F32 && k->o->info.rounding > 1e-6;
    const bool int8 = type == TENSOR_Q8_0 && (k->int8 || k->o->info.int8_blocks);
    const double same = cpu ? 0 : rounds && !k->o->info.software ? 4 * k->o->info.rounding : 1e-6;
    const double right = int8 ? 0.1 : rounds ? 100 * k->o->info.rounding : cpu && type != TENSOR_F32 ? 5e-2 : 1e-4;
    double largest = 0;
    for (size_t i = 0; i < (size_t)n * cols_of(last); i++)
        largest = fmax(largest, fabs(q->slots[last].want[i]));
    for (size_t i = 0; i < (size_t)n * cols_of(last); i++) {
        if (!(fabs((double)one[i] - each[i]) <= same * largest))
            conform_fail(k, "value %zu is %.9g in one batch, %.9g in many", i, one[i], each[i]);
        if (!(fabs((double)one[i] - q->slots[last].want[i]) <= right * largest))
            conform_fail(k, "value %zu is %.9g, want %.9g", i, one[i], q->slots[last].want[i]);
    }
    free(x);
    free(one);
    free(each);
}

static void make(struct conform *k, struct sequence *q, enum tensor_type type, uint32_t rows)
{
    q->gains = conform_fill(k, WIDE, FILL_NORMAL);
    q->biases = conform_fill(k, WIDE, FILL_NORMAL);
    for (int i = 0; i < 2; i++) {
        q->gain[i] = conform_vec(k, q->gains, i ? WIDE : NARROW);
        q->bias[i] = conform_vec(k, q->biases, i ? WIDE : NARROW);
    }
    for (int i = 0; i < SLOTS; i++) {
        q->slots[i].b = conform_buf(k, NULL, rows, cols_of(i));
        q->slots[i].want = conform_fill(k, (size_t)rows * cols_of(i), FILL_ZERO);
    }
    for (int i = 0; i < MATS; i++) {
        const size_t m = mat_rows(i), d = mat_cols(i), len = m * tensor_row_bytes(type, d);
        struct err_msg em = {""};
        q->weights[i] = conform_fill(k, m * d, FILL_NORMAL);
        for (size_t j = 0; j < m * d; j++) /* values keep their size, and every type holds these */
            q->weights[i][j] = roundf(fmaxf(-1, fminf(1, q->weights[i][j] / 3)) * 127) / 127 * 3 / sqrtf((float)d);
        void *data = malloc(len);
        if (!data)
            exit(1);
        conform_encode(type, q->weights[i], m * d, data);
        const struct tensor t = {"w", type, m, d, data, len}, *const part = &t;
        for (uint64_t row = 0; row < m; row++)
            tensor_row_f32(&t, row, q->weights[i] + row * d);
        if (k->o->v->mat_create(k->o, &part, 1, &q->mats[i], &em)) {
            conform_fail(k, "mat_create: %s", em.text);
            exit(1);
        }
        free(data);
    }
}

static void drop(struct conform *k, struct sequence *q)
{
    for (int i = 0; i < 2; i++) {
        conform_drop_vec(k, q->gain[i]);
        conform_drop_vec(k, q->bias[i]);
    }
    for (int i = 0; i < SLOTS; i++) {
        conform_drop(k, q->slots[i].b);
        free(q->slots[i].want);
    }
    for (int i = 0; i < MATS; i++) {
        k->o->v->mat_destroy(k->o, &q->mats[i]);
        free(q->weights[i]);
    }
    free(q->gains);
    free(q->biases);
}

void check_sequence(struct conform *k)
{
    static const enum tensor_type types[] = {TENSOR_F16, TENSOR_Q8_0, TENSOR_F32};
    static const uint32_t rows[] = {1, 3, 9, 32, 70}; /* among them few for which k is divided, and more */
    const bool few = conform_few_kernels(k);
    const uint32_t most = few ? 24 : k->brief ? 33 : 70;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        struct sequence q = {0};
        if (k->only_blocks && types[t] != TENSOR_Q8_0)
            continue;
        conform_case(k, "sequence: making weights");
        make(k, &q, types[t], 70);
        for (int i = 0; i < (few && t && !k->only_blocks ? 3 : k->brief ? 5 : t ? 6 : 25); i++) {
            const uint32_t n = rows[(size_t)i % (sizeof rows / sizeof *rows)];
            program(k, &q, types[t], n < most ? n : most, i);
        }
        drop(k, &q);
    }
}
