/* Floats into a tensor's storage type. Thread-safety: safe. */
#ifndef MODEL_QUANTISE_H
#define MODEL_QUANTISE_H

#include "model/tensor.h"
#include "base/err.h"

/* Writes one row of cols values as tensor_row_bytes(type, cols) bytes: any type without blocks, Q8_0, Q4_K, Q5_K, Q6_K.
 *
 * importance  weight of each column's squared error, over 0; NULL: all alike. Only the K types use it.
 *
 * LT_ENAN when a value is not finite; LT_ELIMIT when one is too large for the type;
 * LT_EUNSUPPORTED for a type that is only read. */
int quantise_row(enum tensor_type type, const float *v, const float *importance, uint64_t cols, uint8_t *out);

#endif
