/* A vector given as JSON text. */
#ifndef CLI_VECTOR_ARG_H
#define CLI_VECTOR_ARG_H

#include <stdint.h>

#include "base/err.h"

/* Parses '[0.1, …]' of 1 to 65,536 finite numbers; *v is malloc'ed. Errors: LT_EFORMAT, LT_ENAN, LT_ENOMEM. */
int vector_parse(const char *json, float **v, uint32_t *dim, struct err_msg *em);

#endif
