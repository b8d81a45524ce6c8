/* The real tokenizers: from the folder of shared data where it is there, the default model's else from its file in
 * the tree. */
#ifndef TESTS_UNIT_MODEL_SHARED_TOKENIZER_H
#define TESTS_UNIT_MODEL_SHARED_TOKENIZER_H

#include "tests/unit.h"

#include <glob.h>

#include "base/file.h"
#include "model/gguf.h"
#include "model/tokenizer.h"

#define SHARED_LATENT_MINI "models/latent-mini/tokenizer.json"
#define SHARED_NV_EMBED "golden/nv-embed-v2-files/tokenizer.json"

/* The tokenizer within models/latent-mini*.gguf; NULL when there is no such file. */
static inline struct tokenizer *tokenizer_of_default_model(void)
{
    struct tokenizer *t = NULL;
    struct err_msg em = {0};
    struct file_map map = {0};
    struct gguf *g = NULL;
    char pattern[4096];
    const char *json;
    size_t len;
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/models/latent-mini*.gguf", getenv("LATENTD_SRC"));
    if (glob(pattern, 0, NULL, &found) == 0) {
        if (file_map(found.gl_pathv[0], &map, &em) < 0 || gguf_parse(&g, map.data, map.len, &em) < 0 ||
            gguf_str(g, "tokenizer.huggingface.json", &json, &len, &em) < 0 || tokenizer_create(&t, json, len, &em) < 0)
            fail_msg("%s: %s", found.gl_pathv[0], em.text);
        gguf_destroy(&g);
        file_unmap(&map);
    }
    globfree(&found);
    return t;
}

/* NULL when the file is not there. */
static inline struct tokenizer *shared_tokenizer(const char *path)
{
    struct tokenizer *t = NULL;
    struct err_msg em = {0};
    char full[4096], *json;
    size_t len;
    snprintf(full, sizeof full, "%s/%s", getenv("LATENTD_SHARED") ? getenv("LATENTD_SHARED") : ".", path);
    if (file_read(full, TOKENIZER_JSON_MAX, &json, &len, &em) < 0) {
        t = strcmp(path, SHARED_LATENT_MINI) ? NULL : tokenizer_of_default_model();
        if (!t)
            print_message("skipped: no %s\n", full);
        return t;
    }
    if (tokenizer_create(&t, json, len, &em) < 0)
        fail_msg("%s: %s", full, em.text);
    free(json);
    return t;
}

#endif
