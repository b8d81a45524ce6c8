/* An import writes the same file with any number of threads, and the digests in it are those of its tensors: a table of many rounds, whose
 * last is short, and matrices of less than one (model/import_tensors.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "model/digest.h"
#include "model/import.h"
#include "model/model.h"
#include "tests/tools/checkpoint_maker.h"

static int n_bad;

static void fail(const char *what, const char *why)
{
    printf("FAIL %s: %s\n", what, why);
    n_bad++;
}

static void check_digests(const char *path)
{
    struct model *m = NULL;
    struct err_msg em = {""};
    const uint8_t *told;
    const struct tensor *t;
    if (model_open(&m, path, &em) < 0) {
        fail(path, em.text);
        return;
    }
    if (model_digests_fresh(m))
        fail(path, "no digests in it");
    for (size_t i = 0; (t = model_tensor_at(m, i, &told)); i++) {
        uint8_t real[DIGEST_BYTES];
        digest_tensor(t, NULL, real);
        if (memcmp(real, told, DIGEST_BYTES))
            fail(t->name, "its digest is another");
    }
    model_destroy(&m);
}

static void check_type(const char *dir, enum tensor_type type)
{
    static const unsigned threads[] = {1, 2, 3, 64};
    char path[200], *first = NULL;
    size_t first_len = 0;
    struct err_msg em = {""};
    snprintf(path, sizeof path, "%s/model.gguf", dir);
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        const struct import_params p = {.type = type, .n_threads = threads[i]};
        char *data = NULL;
        size_t len = 0;
        if (import_folder(dir, path, &p, NULL, &em) < 0 || file_read(path, 64 << 20, &data, &len, &em) < 0) {
            fail(path, em.text);
            break;
        }
        check_digests(path);
        if (!first) {
            first = data;
            first_len = len;
            printf("%s: %zu bytes\n", tensor_type_name(type), len);
            continue;
        }
        if (len != first_len || memcmp(data, first, len))
            fail(tensor_type_name(type), "another number of threads made another file");
        free(data);
    }
    free(first);
    unlink(path);
}

int main(void)
{
    static const struct checkpoint_shape shape = {.hidden = 64, .layers = 1, .heads = 2, .kv_heads = 1, .head_dim = 32, .ffn = 96, .vocab = 40000,
                                                  .positions = 64, .latents = 8, .latent_heads = 2, .latent_head_dim = 16, .type = TENSOR_BF16,
                                                  .seed = 9};
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_Q8_0};
    char dir[] = "/tmp/latentd-import.XXXXXX", command[128];
    struct err_msg em = {""};
    if (!mkdtemp(dir) || checkpoint_make(dir, &shape, NULL, &em) < 0) {
        printf("FAIL %s: %s\n", dir, em.text);
        return 1;
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        check_type(dir, types[i]);
    snprintf(command, sizeof command, "rm -r %s", dir);
    n_bad += system(command) != 0;
    return n_bad ? 1 : 0;
}
