/* One block of 256 values into a K type's bytes (model/tensor_blocks.h). The same bytes on every machine: compiled without fused
 * multiply-add, and sums have one order.
 *
 * v           256 finite values
 * importance  256 weights > 0 of the squared errors
 *
 * False when a scale does not fit f16. Thread-safety: safe. */
#ifndef MODEL_QUANTISE_K_H
#define MODEL_QUANTISE_K_H

#include <stdbool.h>
#include <stdint.h>

bool quantise_q4_k(const float *v, const float *importance, uint8_t *out);
bool quantise_q5_k(const float *v, const float *importance, uint8_t *out);
bool quantise_q6_k(const float *v, const float *importance, uint8_t *out);

#endif
