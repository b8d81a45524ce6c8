/* bench_text MODEL TEXTS [THREADS]: the engine on the CPU from text to vector, for benchmarks that take turns with it.
 *
 * TEXTS holds records of a length (u32, little-endian) and that many bytes. For each line on standard input, "p" embeds all texts as
 * passages in one call, "q" as queries one after the other; the answer is a line of seconds by the clock, seconds of CPU time of
 * all threads, tokens, and the sum of the first vector's values, by which a reader sees that work was done. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/engine.h"
#include "model/model.h"
#include "model/text.h"

struct bench {
    struct model *m;
    struct engine *e;
    uint32_t dim;
    char **text;
    uint32_t *len, n;
    struct text_tokens *tokens; /* one a text */
    struct engine_seq *seqs;
    float *out;
    int *status;
};

static void must(int r, const char *what, const struct err_msg *em)
{
    if (r) {
        fprintf(stderr, "bench_text: %s: %s %s\n", what, err_text(r), em ? em->text : "");
        exit(1);
    }
}

static void *room(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    must(p ? 0 : LT_ENOMEM, "memory", NULL);
    return p;
}

static void read_texts(struct bench *b, const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t head[4];
    must(f ? 0 : LT_EIO, path, NULL);
    while (fread(head, 1, 4, f) == 4) {
        const uint32_t len = (uint32_t)head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 24;
        must(len < 1u << 20 ? 0 : LT_EFORMAT, path, NULL);
        b->text = realloc(b->text, (b->n + 1) * sizeof *b->text);
        b->len = realloc(b->len, (b->n + 1) * sizeof *b->len);
        must(b->text && b->len ? 0 : LT_ENOMEM, path, NULL);
        b->text[b->n] = room(len, 1);
        b->len[b->n] = len;
        must(fread(b->text[b->n++], 1, len, f) == len ? 0 : LT_EFORMAT, path, NULL);
    }
    must(b->n ? 0 : LT_EFORMAT, path, NULL);
    fclose(f);
}

static void encode(struct bench *b, uint32_t i, bool query)
{
    struct err_msg em = {{0}};
    const struct text_input in = {.text = b->text[i], .len = b->len[i], .query = query, .truncate = true};
    must(text_encode(b->m, &in, &b->tokens[i], &em), "a text", &em);
    b->seqs[i] = (struct engine_seq){b->tokens[i].ids, b->tokens[i].n, b->tokens[i].n_skip};
}

static void embed(struct bench *b, uint32_t first, uint32_t n)
{
    struct err_msg em = {{0}};
    must(engine_embed(b->e, b->seqs + first, n, b->out + (size_t)first * b->dim, b->status, &em), "a batch", &em);
    for (uint32_t i = 0; i < n; i++)
        must(b->status[i], "a text of a batch", NULL);
}

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void one(struct bench *b, bool query)
{
    const double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (uint32_t i = 0; i < b->n; i++) {
        encode(b, i, query);
        if (query)
            embed(b, i, 1);
    }
    if (!query)
        embed(b, 0, b->n);
    const double cpu_end = seconds(CLOCK_PROCESS_CPUTIME_ID), wall_end = seconds(CLOCK_MONOTONIC);
    unsigned long tokens = 0;
    double sum = 0;
    for (uint32_t i = 0; i < b->n; i++)
        tokens += b->tokens[i].n;
    for (uint32_t i = 0; i < b->dim; i++)
        sum += b->out[i];
    printf("%.9f %.9f %lu %.6f\n", wall_end - wall, cpu_end - cpu, tokens, sum);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct err_msg em = {{0}};
    struct bench b = {0};
    char line[16];
    if (argc < 3) {
        fputs("usage: bench_text MODEL TEXTS [THREADS]\n", stderr);
        return 2;
    }
    must(model_open(&b.m, argv[1], &em), argv[1], &em);
    const struct engine_params p = {.device = "cpu", .n_threads = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0};
    must(engine_create(&b.e, b.m, &p, &em), "the engine", &em);
    b.dim = model_info(b.m)->dim;
    read_texts(&b, argv[2]);
    b.tokens = room(b.n, sizeof *b.tokens);
    b.seqs = room(b.n, sizeof *b.seqs);
    b.out = room((size_t)b.n * b.dim, sizeof *b.out);
    b.status = room(b.n, sizeof *b.status);
    while (fgets(line, sizeof line, stdin))
        one(&b, line[0] == 'q');
    for (uint32_t i = 0; i < b.n; i++) {
        text_tokens_finish(&b.tokens[i]);
        free(b.text[i]);
    }
    free(b.text);
    free(b.len);
    free(b.tokens);
    free(b.seqs);
    free(b.out);
    free(b.status);
    engine_destroy(&b.e);
    model_destroy(&b.m);
    return 0;
}
