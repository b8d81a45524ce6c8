/* One writer, several readers: a document that is replaced again and again is always found, in one version. */
#include "store_kit.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/clock.h"

#define N_READERS 3
#define N_DOCS 60
#define ROUNDS 25

static struct index *ix;
static atomic_bool stop;
static atomic_int failures;
static atomic_ulong searches;

static void *reader_main(void *arg)
{
    struct index_reader *r;
    uint64_t seed = (uintptr_t)arg;
    if (index_reader_create(&r, ix, NULL) < 0) {
        atomic_fetch_add(&failures, 1);
        return NULL;
    }
    while (!atomic_load(&stop)) {
        sched_yield(); /* without time slices, as under SCHED_FIFO, the writer would never have its turn */
        char id[16], text[64];
        float v[KIT_DIM];
        struct index_result res;
        struct err_msg em;
        int i = (int)(unit_rand(&seed) % N_DOCS);
        snprintf(id, sizeof id, "d%d", i);
        snprintf(text, sizeof text, "topic%d topic%d topic%d", i, i, i);
        kit_embed(text, strlen(text), v);
        struct index_query q = {.collection = "c", .text = text, .text_len = strlen(text), .vector = v,
                                .dim = KIT_DIM, .k = 5, .mode = (enum index_mode)(unit_rand(&seed) % 3),
                                .filter = unit_rand(&seed) % 2 ? "kept" : NULL};
        int ret = index_search(r, &q, &res, &em);
        bool found = false;
        for (size_t h = 0; ret == 0 && h < res.n; h++)
            found = found || strcmp(res.hits[h].id, id) == 0;
        if (!found) {
            print_message("mode %d: %s: %zu hits, %s\n", (int)q.mode, id, res.n, ret < 0 ? em.text : "not among them");
            atomic_fetch_add(&failures, 1);
        }
        index_result_finish(&res);
        struct index_documents d;
        struct index_id want = {id, strlen(id)};
        if (index_get(r, "c", &want, 1, 0, &d, &em) < 0 || d.n != 1)
            atomic_fetch_add(&failures, 1);
        index_documents_finish(&d);
        atomic_fetch_add(&searches, 1);
    }
    index_reader_destroy(&r);
    return NULL;
}

static void put_all(int round)
{
    struct err_msg em;
    for (int i = 0; i < N_DOCS; i++) {
        char id[16], text[80];
        snprintf(id, sizeof id, "d%d", i);
        snprintf(text, sizeof text, "topic%d topic%d topic%d round%d", i, i, i, round);
        kit_ok(kit_put(ix, "c", id, text, "{\"kept\":true}", 0, &em), &em);
        if (i % 7 == 0)
            kit_commit(ix);
    }
    kit_commit(ix);
    kit_embed_pending(ix);
}

static void test_replace(void **state)
{
    char dir[128];
    struct err_msg em;
    pthread_t threads[N_READERS];
    ix = kit_open(kit_dir(dir));
    kit_create(ix, "c");
    put_all(0);
    for (uintptr_t t = 0; t < N_READERS; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, reader_main, (void *)(t + 1)), 0);
    uint64_t until = clock_ns() + 4000000000u;
    for (int round = 1; round <= ROUNDS && clock_ns() < until; round++) {
        bool more;
        struct index_collection *list;
        size_t n;
        put_all(round);
        kit_ok(index_maintain(ix, 1, &more, &em), &em);
        assert_int_equal(index_list(ix, &list, &n), 0);
        assert_int_equal(list[0].documents, N_DOCS);
        free(list);
    }
    /* A collection that goes while others search is no accident either. */
    kit_create(ix, "brief");
    kit_ok(index_drop(ix, "brief", &em), &em);
    atomic_store(&stop, true);
    for (int t = 0; t < N_READERS; t++)
        pthread_join(threads[t], NULL);
    print_message("%lu searches\n", atomic_load(&searches));
    assert_int_equal(atomic_load(&failures), 0);
    kit_check(ix);
    index_close(&ix);
    kit_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_replace)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
