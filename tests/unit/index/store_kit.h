/* A data folder for tests of the index: a fresh one each, with a fake model that turns a text into a vector
 * by hashing its words, so that texts with common words are near each other. */
#ifndef TESTS_STORE_KIT_H
#define TESTS_STORE_KIT_H

#include "tests/unit.h"

#include <dirent.h>
#include <math.h>
#include <unistd.h>

#include "index/index.h"

#define KIT_DIM 48u
#define KIT_MODEL "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static inline void kit_embed(const char *s, size_t len, float v[static KIT_DIM])
{
    memset(v, 0, KIT_DIM * sizeof *v);
    v[0] = 0.05f;
    for (size_t i = 0; i < len;) {
        uint64_t h = 1469598103934665603u;
        for (; i < len && s[i] != ' '; i++)
            h = (h ^ (unsigned char)s[i]) * 1099511628211u;
        for (int j = 0; j < 4; j++)
            v[unit_rand(&h) % KIT_DIM] += (unit_rand(&h) & 1) ? 1.0f : -1.0f;
        while (i < len && s[i] == ' ')
            i++;
    }
}

static inline void kit_remove(const char *dir)
{
    char cmd[600];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
    assert_int_equal(system(cmd), 0);
}

static inline char *kit_dir(char buf[static 128])
{
    const char *tmp = getenv("TMPDIR");
    snprintf(buf, 128, "%.90s/latentd-test-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(buf));
    return buf;
}

static inline struct index *kit_open(const char *dir)
{
    struct index *ix = NULL;
    struct err_msg em = {""};
    struct index_params p = {.dir = dir, .fingerprint = KIT_MODEL, .dim = KIT_DIM};
    int r = index_open(&ix, &p, &em);
    if (r < 0)
        fail_msg("index_open: %s: %s", err_name(r), em.text);
    return ix;
}

static inline void kit_ok(int r, const struct err_msg *em)
{
    if (r < 0)
        fail_msg("%s: %s", err_name(r), em->text);
}

static inline void kit_create(struct index *ix, const char *name)
{
    struct err_msg em;
    kit_ok(index_create(ix, &(struct index_collection_params){.name = name}, &em), &em);
}

static inline int kit_put(struct index *ix, const char *coll, const char *id, const char *text,
                          const char *metadata, uint64_t job, struct err_msg *em)
{
    struct index_doc d = {.collection = coll, .id = id, .id_len = strlen(id), .text = text,
                          .text_len = strlen(text), .metadata = metadata,
                          .metadata_len = metadata ? strlen(metadata) : 0, .job = job};
    return index_put(ix, &d, em);
}

static inline void kit_commit(struct index *ix)
{
    struct err_msg em;
    kit_ok(index_commit(ix, NULL, &em), &em);
}

/* In how many bites. */
static inline int kit_cancel(struct index *ix, uint64_t job)
{
    struct err_msg em;
    int r, n = 0;
    do {
        r = index_job_cancel(ix, job, &em);
        kit_ok(r, &em);
        n++;
    } while (r > 0);
    return n;
}

/* Embeds all that is pending; how many chunks. */
static inline size_t kit_embed_pending(struct index *ix)
{
    size_t total = 0, set = 0;
    for (uint64_t after = 0;;) {
        struct index_chunk_list list;
        struct err_msg em;
        kit_ok(index_pending(ix, after, 64, 1 << 20, &list, &em), &em);
        if (!list.n) {
            const bool end = list.next == after;
            after = list.next;
            index_chunk_list_finish(&list);
            if (end)
                return total;
            continue;
        }
        float *v = malloc(list.n * KIT_DIM * sizeof *v);
        uint64_t *ids = malloc(list.n * sizeof *ids);
        for (size_t i = 0; i < list.n; i++) {
            ids[i] = list.chunks[i].chunk;
            kit_embed(list.chunks[i].text, list.chunks[i].text_len, v + i * KIT_DIM);
        }
        kit_ok(index_set_vectors(ix, ids, v, list.n, KIT_DIM, &set, &em), &em);
        total += set;
        after = list.next;
        free(v);
        free(ids);
        index_chunk_list_finish(&list);
        kit_commit(ix);
    }
}

static inline int kit_search(struct index_reader *r, const char *coll, enum index_mode mode, const char *text,
                             const char *filter, uint32_t k, struct index_result *res)
{
    float v[KIT_DIM];
    struct err_msg em = {""};
    kit_embed(text, strlen(text), v);
    struct index_query q = {.collection = coll, .text = text, .text_len = strlen(text), .vector = v,
                            .dim = KIT_DIM, .fingerprint = KIT_MODEL, .k = k, .mode = mode, .filter = filter};
    int ret = index_search(r, &q, res, &em);
    if (ret < 0 && ret != LT_EFORMAT)
        print_message("search: %s: %s\n", err_name(ret), em.text);
    return ret;
}

static inline int kit_rank(const struct index_result *res, const char *id)
{
    for (size_t i = 0; i < res->n; i++)
        if (strcmp(res->hits[i].id, id) == 0)
            return (int)i;
    return -1;
}

static inline void kit_say(void *arg, const char *line)
{
    (void)arg;
    print_message("check: %s\n", line);
}

static inline void kit_check(struct index *ix)
{
    struct err_msg em;
    kit_ok(index_check(ix, kit_say, NULL, &em), &em);
}

#endif
