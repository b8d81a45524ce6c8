/* The real tokenizers, where the folder of shared data is there. */
#ifndef TESTS_UNIT_MODEL_SHARED_TOKENIZER_H
#define TESTS_UNIT_MODEL_SHARED_TOKENIZER_H

#include "tests/unit.h"

#include "base/file.h"
#include "model/tokenizer.h"

#define SHARED_LATENT_MINI "models/latent-mini/tokenizer.json"
#define SHARED_NV_EMBED "golden/nv-embed-v2-files/tokenizer.json"

/* NULL when the file is not there. */
static inline struct tokenizer *shared_tokenizer(const char *path)
{
    struct tokenizer *t = NULL;
    struct err_msg em = {0};
    char full[4096], *json;
    size_t len;
    snprintf(full, sizeof full, "%s/%s", getenv("LATENTD_SHARED") ? getenv("LATENTD_SHARED") : ".", path);
    if (file_read(full, TOKENIZER_JSON_MAX, &json, &len, &em) < 0) {
        print_message("skipped: no %s\n", full);
        return NULL;
    }
    if (tokenizer_create(&t, json, len, &em) < 0)
        fail_msg("%s: %s", full, em.text);
    free(json);
    return t;
}

#endif
