/* Matrices of weights in blocks whose products take activations of 16 bits: see ops_cpu_fine.h. */
#include <stdlib.h>
#include <string.h>

#include "model/ops_cpu_internal.h"
#include "model/tensor_split.h"

#define BESIDE_INT8 256 /* where the CPU has int8, shorter rows stay in f32: they cost little */

bool cpu_becomes_fine(const struct cpu_ops *o, const struct tensor *t)
{
    return o->multiply_fine && tensor_split_unit(t->type) && t->cols % FINE_UNIT == 0 && (!o->int8 || t->cols >= BESIDE_INT8);
}

/* Longer rows of x than before, in every worker */
static int grow_rows(struct cpu_ops *o, size_t k, struct err_msg *em)
{
    for (unsigned i = 0; k > o->fine_k && i < o->n_threads; i++) {
        struct cpu_worker *w = &o->workers[i];
        int8_t *x = cpu_alloc(2 * k, CPU_FINE_ROWS);
        struct fine_part *parts = cpu_alloc(k / FINE_SMALL_UNIT, CPU_FINE_ROWS * sizeof *parts);
        if (!x || !parts) {
            free(x);
            free(parts);
            return err_set(em, LT_ENOMEM, "no memory for rows of %zu values", k);
        }
        free(w->fine_x);
        free(w->fine_parts);
        w->fine_x = x;
        w->fine_parts = parts;
    }
    o->fine_k = k > o->fine_k ? k : o->fine_k;
    return 0;
}

int cpu_fine_room(struct cpu_ops *o, struct ops_mat *w, const struct tensor *const *parts, size_t n_parts, struct err_msg *em)
{
    bool has_min = false;
    w->unit = FINE_UNIT;
    for (size_t i = 0; i < n_parts; i++) {
        w->unit = tensor_split_unit(parts[i]->type) < w->unit ? FINE_SMALL_UNIT : w->unit;
        has_min = has_min || tensor_split_has_min(parts[i]->type);
    }
    const size_t n = w->k / w->unit, cols = (w->m + VNNI_COLS - 1) / VNNI_COLS * VNNI_COLS;
    w->part_scale = cpu_alloc(n * cols, sizeof(float));
    w->part_min = has_min ? cpu_alloc(n * cols, sizeof(float)) : NULL;
    if (!w->part_scale || (has_min && !w->part_min))
        return err_set(em, LT_ENOMEM, "no memory for a %zu by %zu matrix", w->m, w->k);
    const size_t last = n * (cols - VNNI_COLS); /* of the block that may not be full */
    memset(w->part_scale + last, 0, n * VNNI_COLS * sizeof(float));
    if (has_min)
        memset(w->part_min + last, 0, n * VNNI_COLS * sizeof(float));
    return grow_rows(o, w->k, em);
}

void cpu_fine_pack(struct ops_mat *w, size_t j, const struct tensor *t, size_t row, uint8_t *q, float *room)
{
    const size_t n = w->k / w->unit, at = j / VNNI_COLS * n * VNNI_COLS + j % VNNI_COLS;
    tensor_split(t->type, (const uint8_t *)t->data + row * tensor_row_bytes(t->type, t->cols), t->cols, w->unit, q, room, room + n);
    for (size_t i = 0; i < n; i++) {
        w->part_scale[at + i * VNNI_COLS] = room[i];
        if (w->part_min)
            w->part_min[at + i * VNNI_COLS] = room[n + i];
    }
}

void cpu_fine_prepare(struct cpu_ops *o, unsigned thread, const struct ops_mat *w, const float *x, struct cpu_range rows)
{
    struct cpu_worker *me = &o->workers[thread];
    o->quantise_fine(x, rows.end - rows.begin, w->k, w->unit, me->fine_x + rows.begin * 2 * w->k, me->fine_parts + rows.begin * (w->k / w->unit));
}

void cpu_fine_multiply(struct cpu_ops *o, unsigned thread, const struct ops_mat *w, struct cpu_range cols, const void *weights, const void *next,
                       size_t first, size_t n, float *sums)
{
    const struct cpu_worker *rows = o->workers[thread].bytes;
    const size_t n_parts = w->k / w->unit, at = cols.begin * n_parts;
    o->multiply_fine(&(struct fine_block){
        .x = rows->fine_x + first * 2 * w->k,
        .parts = rows->fine_parts + first * n_parts,
        .n_rows = n,
        .k = w->k,
        .unit = w->unit,
        .w = weights,
        .scale = w->part_scale + at,
        .min = w->part_min ? w->part_min + at : NULL,
        .next = next,
        .sums = sums,
    });
}

uint64_t cpu_fine_bytes(uint64_t m, uint64_t k, size_t unit, bool has_min)
{
    return m * (k + k / unit * (has_min ? 2 : 1) * sizeof(float));
}
