/* Blocks of the types that latentd reads and does not write. */
#ifndef TESTS_GOLDEN_BLOCK_ENCODE_H
#define TESTS_GOLDEN_BLOCK_ENCODE_H

#include <stdbool.h>

#include "base/bytes.h"
#include "model/tensor.h"

bool golden_only_read(enum tensor_type type);

/* One block of such a type from its values, made the plain way: from the largest value or the range of those that share a scale. */
void golden_block(enum tensor_type type, const float *v, struct bytes_out *out);

#endif
