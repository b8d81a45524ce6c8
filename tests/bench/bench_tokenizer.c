/* Our side of bench_tokenizer.py: texts as (u32 length, bytes) records in a file; each line on standard input
 * is answered by one line, the seconds and ids of a pass over all of them: "e" encodes, "c" cuts into chunks of 512. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "model/chunk.h"

struct texts {
    char *data;
    size_t len;
};

static int pass(const struct texts *t, const struct text_rules *r, char what, size_t *n_out, struct err_msg *em)
{
    struct tokenizer_ids ids = {0};
    int e = 0;
    *n_out = 0;
    for (size_t at = 0; at + 4 <= t->len && e == 0;) {
        uint32_t n;
        memcpy(&n, t->data + at, 4);
        if (n > t->len - at - 4)
            return err_set(em, LT_EFORMAT, "the file of texts is cut short");
        if (what == 'e') {
            e = tokenizer_encode(r->tokenizer, t->data + at + 4, n, &ids, em);
            *n_out += ids.n;
        } else {
            struct chunk_span *spans = NULL;
            size_t n_spans = 0;
            e = chunk_text_rules(r, "a title", 7, t->data + at + 4, n, NULL, &spans, &n_spans, NULL, em);
            *n_out += n_spans;
            free(spans);
        }
        at += 4 + n;
    }
    tokenizer_ids_finish(&ids);
    return e;
}

int main(int argc, char **argv)
{
    struct err_msg em = {0};
    struct tokenizer *t = NULL;
    struct texts texts = {0};
    char *json = NULL, line[16];
    size_t len = 0, n;
    int status = 1;
    if (argc != 3) {
        fprintf(stderr, "usage: bench_tokenizer tokenizer.json texts.bin\n");
        return 2;
    }
    if (file_read(argv[1], TOKENIZER_JSON_MAX, &json, &len, &em) < 0 || tokenizer_create(&t, json, len, &em) < 0 ||
        file_read(argv[2], (size_t)1 << 30, &texts.data, &texts.len, &em) < 0)
        goto out;
    struct text_rules r = {.tokenizer = t, .token_limit = 512, .bos = 1, .eos = 2};
    while (fgets(line, sizeof line, stdin)) {
        uint64_t start = clock_ns();
        if (pass(&texts, &r, line[0], &n, &em) < 0)
            goto out;
        printf("%.6f %zu\n", (double)(clock_ns() - start) * 1e-9, n);
        fflush(stdout);
    }
    status = 0;
out:
    if (status)
        fprintf(stderr, "bench_tokenizer: %s\n", em.text);
    free(json);
    free(texts.data);
    tokenizer_destroy(&t);
    return status;
}
