/* Vectors of token ids, for comparisons with other programs: reads (u32 count, i32 ids) records on standard input, writes the
 * floats of each, little-endian as the machine is.
 *
 *   dump_vectors MODEL [--device cpu|ref|NAME] [--mask causal|full] [--pooling mean|last|cls] [--dim N] < ids > vectors */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/engine.h"
#include "model/model.h"
#include "model/ref/ref_forward.h"

#define IDS_MAX 65536

static int by_reference(const struct model *m, const struct engine_seq *s, float *out, struct err_msg *em)
{
    const uint32_t dim = model_info(m)->dim;
    if (model_info(m)->ranks)
        return err_set(em, LT_EUNSUPPORTED, "the reference has no scores");
    double *v = calloc(dim, sizeof *v);
    int r = v ? ref_forward(m, s, 1, NULL, v, em) : LT_ENOMEM;
    for (uint32_t i = 0; i < dim && r == 0; i++)
        out[i] = (float)v[i];
    free(v);
    return r;
}

static int run(const struct model *m, struct engine *e, struct err_msg *em)
{
    static int32_t ids[IDS_MAX];
    const uint32_t dim = model_info(m)->dim;
    float *v = calloc(dim, sizeof *v);
    uint32_t n;
    int r = v ? 0 : LT_ENOMEM, status = 0;
    while (r == 0 && fread(&n, sizeof n, 1, stdin) == 1) {
        if (n > IDS_MAX || fread(ids, sizeof *ids, n, stdin) != n)
            r = err_set(em, LT_EFORMAT, "a record is cut short or too long");
        const struct engine_seq s = {ids, n, 0};
        if (r == 0)
            r = e ? engine_embed(e, &s, 1, v, &status, em) : by_reference(m, &s, v, em);
        if (r == 0 && status < 0)
            r = err_set(em, status, "a text of %u ids: %s", n, err_text(status));
        if (r == 0)
            fwrite(v, sizeof *v, dim, stdout);
    }
    free(v);
    return r == 0 && fflush(stdout) ? LT_EIO : r;
}

int main(int argc, char **argv)
{
    struct model_params p = {0};
    struct engine_params ep = {.device = "cpu", .n_threads = 2};
    struct err_msg em = {{0}};
    struct model *m = NULL;
    struct engine *e = NULL;
    int r = argc < 2 || argc % 2 ? LT_EINVAL : 0;
    for (int i = 2; i + 1 < argc && r == 0; i += 2) {
        if (!strcmp(argv[i], "--device"))
            ep.device = argv[i + 1];
        else if (!strcmp(argv[i], "--mask"))
            p.mask = !strcmp(argv[i + 1], "full") ? MODEL_MASK_FULL : MODEL_MASK_CAUSAL;
        else if (!strcmp(argv[i], "--pooling"))
            p.pooling = argv[i + 1];
        else if (!strcmp(argv[i], "--dim"))
            p.dim = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        else
            r = LT_EINVAL;
    }
    if (r < 0)
        err_set(&em, r, "usage: dump_vectors MODEL [--device D] [--mask M] [--pooling P] [--dim N]");
    if (r == 0)
        r = model_open_as(&m, argv[1], &p, &em);
    if (r == 0 && strcmp(ep.device, "ref"))
        r = engine_create(&e, m, &ep, &em);
    if (r == 0)
        r = run(m, e, &em);
    if (r < 0)
        fprintf(stderr, "dump_vectors: %s\n", em.text[0] ? em.text : err_text(r));
    engine_destroy(&e);
    model_destroy(&m);
    return r < 0;
}
