/* Opening a model whose golden vectors are not computed yet: for the importer only. */
#ifndef MODEL_MODEL_LOAD_H
#define MODEL_MODEL_LOAD_H

#include "model/model.h"

/* As model_open, but golden vectors may be all zero and the tokeniser is not built. */
int model_open_unproven(struct model **m, const char *path, struct err_msg *em);

#endif
