/* Weights in blocks as what their blocks hold: whole numbers, scales and minima. */
#ifndef MODEL_TENSOR_SPLIT_H
#define MODEL_TENSOR_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/tensor.h"

/* Fewest values of a row that share a scale: 32, of q2_K, q3_K and q6_K 16; 0: the type has no blocks. */
size_t tensor_split_unit(enum tensor_type type);

/* Whether the type's values have a minimum added. */
bool tensor_split_has_min(enum tensor_type type);

/* n values (whole blocks) at p, of any alignment: value i is scale[i / unit] (q[i] - 128) + min[i / unit], to the bit what tensor_unpack
 * gives (but for the sign of 0) where that is added in f32. unit: 16, or 32 where tensor_split_unit allows it. Thread-safety: safe. */
void tensor_split(enum tensor_type type, const void *p, uint64_t n, size_t unit, uint8_t *q, float *scale, float *min);

#endif
