/* One writer, alone or with threads of its own, and readers that never wait: what was acknowledged is found by its own vector, while others come, go and are
 * replaced, and while the graph is saved, at once or bite by bite, moves to its new file, and is written anew without free slots. Meant for
 * the thread sanitizer, too. */
#include "tests/unit.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "index/graph.h"
#include "index/graph_save.h"

#define DIM 33
#define N_KEPT 600  /* labels that stay, being replaced now and then by the same vector */
#define N_FIRST 300 /* labels that are there from the beginning, and stay */
#define N_OPS 4000

static struct graph *g;
static _Atomic uint64_t n_acknowledged, in_work; /* labels; the one that is being replaced */
static atomic_bool done;
static atomic_uint n_missed, n_searches;
static unsigned n_saved;

static void make_vector(uint64_t label, float *v)
{
    uint64_t a = label % 11, b = label + 77;
    for (int i = 0; i < DIM; i++)
        v[i] = (float)(unit_rand(&a) % 1000) + (float)(unit_rand(&b) % 1000) - 1000;
}

static void *reader(void *arg)
{
    struct graph_scratch *s = NULL;
    uint64_t rng = (uint64_t)(uintptr_t)arg;
    float v[DIM];
    if (graph_scratch_create(&s) < 0)
        return NULL;
    while (!atomic_load(&done)) {
        sched_yield(); /* without time slices, as under SCHED_FIFO, the writer would never have its turn */
        uint64_t n_ack = atomic_load(&n_acknowledged), mode = unit_rand(&rng) % 8;
        if (!n_ack)
            continue;
        uint64_t label = unit_rand(&rng) % n_ack, replaced = atomic_load(&in_work);
        if (unit_rand(&rng) % 2 && replaced < n_ack)
            label = replaced;
        /* ef far above k: with so few links a node a narrow walk can miss a vector that lies apart, races or not. */
        struct graph_query q = {.v = v, .k = 3, .ef = 400, .exact = mode < 2};
        if (mode == 2) {
            q.labels = &label;
            q.n_labels = 1;
        }
        struct graph_hit hits[3];
        size_t n = 0;
        make_vector(label, v);
        bool found = false;
        if (graph_search(g, s, &q, hits, &n, NULL) < 0)
            n = 0;
        for (size_t i = 0; i < n; i++) {
            found |= hits[i].label == label;
            for (size_t j = 0; j < i; j++)
                if (hits[i].label == hits[j].label)
                    atomic_fetch_add(&n_missed, 1); /* one label twice */
        }
        if (n < 3 && mode < 2 && n_ack > 3)
            atomic_fetch_add(&n_missed, 1); /* a place taken by a label that was there twice */
        if (!found)
            atomic_fetch_add(&n_missed, 1);
        atomic_fetch_add(&n_searches, 1);
    }
    graph_scratch_destroy(&s);
    return NULL;
}

/* A bite of a save that is under way, else the first of one. */
static void save_some(uint64_t op)
{
    struct err_msg em;
    bool over;
    if (!graph_saving(g)) {
        assert_int_equal(graph_save_begin(g, false, &em), 0);
        g->save->bite = 20000;
    }
    assert_int_equal(graph_save_step(g, op, UINT64_MAX, &over, &em), 0);
    n_saved += over;
}

static void save(char *dir, uint64_t op)
{
    struct err_msg em;
    if (dir && op % 400 < 300)
        save_some(op);
    if (dir && op % 400 == 399)
        assert_int_equal(op % 800 == 399 ? graph_checkpoint(g, op + 1, &em) : graph_compact(g, op + 1, &em), 0);
    else if (op % 500 == 499 && !dir)
        assert_int_equal(graph_compact(g, 0, &em), 0);
}

/* dir NULL: in memory. */
static void run(char *dir)
{
    struct graph_params p = {.dim = DIM, .m = 6, .ef_construction = 40};
    uint64_t seq, rng = unit_seed(), live = 0;
    static bool there[900];
    pthread_t t[3];
    float v[DIM];
    assert_int_equal(graph_open(&g, dir, &p, &seq, NULL, NULL), 0);
    atomic_store(&done, false);
    atomic_store(&n_acknowledged, 0);
    atomic_store(&n_searches, 0);
    n_saved = 0;
    memset(there, 0, sizeof there);
    for (uint64_t i = 0; dir && i < N_FIRST; i++) {
        make_vector(5000000 + i, v);
        assert_int_equal(graph_add(g, 5000000 + i, v), 0);
        live++;
    }
    if (dir) { /* from the file, which the first checkpoint then replaces under the readers */
        struct err_msg em;
        assert_int_equal(graph_checkpoint(g, 1, &em), 0);
        graph_destroy(&g);
        assert_int_equal(graph_open(&g, dir, &p, &seq, NULL, NULL), 0);
        assert_int_equal(seq, 1);
    }
    for (uintptr_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&t[i], NULL, reader, (void *)(i + 1)), 0);
    for (uint64_t op = 0; op < N_OPS; op++) {
        uint64_t kept = op < N_KEPT ? op : unit_rand(&rng) % N_KEPT, other = unit_rand(&rng) % 900;
        make_vector(kept, v);
        atomic_store(&in_work, kept);
        assert_int_equal(graph_add(g, kept, v), 0);
        if (op < N_KEPT)
            atomic_store(&n_acknowledged, op + 1);
        make_vector(100000 + op, v);
        if (there[other]) {
            assert_int_equal(graph_remove(g, 1000 + other), 0);
            live--;
        } else {
            assert_int_equal(graph_add(g, 1000 + other, v), 0);
            live++;
        }
        there[other] = !there[other];
        save(dir, op);
    }
    atomic_store(&done, true);
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    print_message("%u searches meanwhile, %u saves in bites\n", atomic_load(&n_searches), n_saved);
    assert_true(!dir || n_saved > 10);
    struct graph_report rep;
    assert_int_equal(graph_check(g, &rep), 0);
    assert_int_equal(rep.n_reached, N_KEPT + live);
    assert_int_equal(atomic_load(&n_missed), 0);
    graph_destroy(&g);
}

static void test_in_memory(void **state)
{
    run(NULL);
}

static void test_on_disk(void **state)
{
    char dir[] = "/tmp/latentd-threads-XXXXXX";
    assert_non_null(mkdtemp(dir));
    run(dir);
    assert_int_equal(graph_erase(dir, NULL), 0);
}

#define N_MANY 3000u
#define LOT 250u

/* A lot of vectors from label `at` on. odd: some replace earlier ones by the same, one comes twice, one cannot be. */
static void make_lot(uint64_t *rng, uint32_t at, uint32_t n, bool odd, uint64_t *labels, float *v)
{
    for (uint32_t i = 0; i < n; i++) {
        labels[i] = odd && i % 7 == 3 ? unit_rand(rng) % at : at + i;
        make_vector(labels[i], v + i * DIM);
    }
    if (odd) {
        labels[11] = labels[10];
        make_vector(labels[10], v + 11 * DIM);
        v[5 * DIM + 1] = (float)NAN;
    }
}

static double recall(void)
{
    struct graph_scratch *s;
    unsigned hit = 0;
    float v[DIM];
    assert_int_equal(graph_scratch_create(&s), 0);
    for (uint64_t i = 0; i < 200; i++) {
        struct graph_hit near[10], exact[10];
        size_t n;
        make_vector(7000000 + i, v);
        struct graph_query q = {.v = v, .k = 10, .ef = 40};
        assert_int_equal(graph_search(g, s, &q, near, &n, NULL), 0);
        q.exact = true;
        assert_int_equal(graph_search(g, s, &q, exact, &n, NULL), 0);
        for (int a = 0; a < 10; a++)
            for (int b = 0; b < 10; b++)
                hit += near[a].label == exact[b].label;
    }
    graph_scratch_destroy(&s);
    return hit / 2000.0;
}

/* Recall of a graph that so many threads made while others searched it, and while it was saved all the time where there is a dir: all
 * is found, and nobody is out of reach. */
static double many(unsigned n_threads, enum graph_codes codes, const char *dir)
{
    struct graph_params p = {.dim = DIM, .m = 8, .ef_construction = 60, .codes = codes};
    static float v[LOT * DIM];
    uint64_t seq, rng = unit_seed(), labels[LOT];
    int results[LOT];
    pthread_t t[2];
    struct graph_report rep;
    assert_int_equal(graph_open(&g, dir, &p, &seq, NULL, NULL), 0);
    atomic_store(&done, false);
    atomic_store(&n_acknowledged, 0);
    atomic_store(&in_work, UINT64_MAX);
    n_saved = 0;
    for (uintptr_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, reader, (void *)(i + 1)), 0);
    for (uint32_t at = 0, n; at < N_MANY; at += n) {
        n = 1 + (uint32_t)(unit_rand(&rng) % LOT);
        n = n < N_MANY - at ? n : N_MANY - at;
        bool odd = at > 300 && n > 20 && unit_rand(&rng) % 2;
        make_lot(&rng, at, n, odd, labels, v);
        graph_add_many(g, labels, v, n, n_threads, results);
        for (uint32_t i = 0; i < n; i++)
            assert_int_equal(results[i], odd && i == 5 ? LT_ENAN : 0);
        for (uint32_t i = 0; i < n; i++) { /* those that the lot left out */
            make_vector(at + i, v);
            if (!graph_has(g, at + i))
                assert_int_equal(graph_add(g, at + i, v), 0);
        }
        atomic_store(&n_acknowledged, at + n);
        for (int i = 0; dir && i < 12; i++)
            save_some(at);
    }
    atomic_store(&done, true);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(graph_check(g, &rep), 0);
    assert_int_equal(rep.n_reached, N_MANY);
    assert_int_equal(graph_count(g), N_MANY);
    assert_int_equal(atomic_load(&n_missed), 0);
    assert_true(!dir || n_saved > 1);
    double found = recall();
    graph_destroy(&g);
    if (dir) /* as it was last saved */
        assert_int_equal(graph_open(&g, dir, &p, &seq, NULL, NULL), 0);
    if (dir && graph_check(g, &rep) < 0)
        fail_msg("%s", rep.text);
    graph_destroy(&g);
    return found;
}

static void test_many(void **state)
{
    for (int codes = GRAPH_CODES_INT8; codes <= GRAPH_CODES_1BIT; codes++) {
        char dir[] = "/tmp/latentd-threads-XXXXXX";
        assert_non_null(mkdtemp(dir));
        double one = many(1, (enum graph_codes)codes, NULL), four = many(4, (enum graph_codes)codes, NULL);
        double saved = many(4, (enum graph_codes)codes, dir);
        print_message("codes %d: recall %.3f by one thread, %.3f by four, %.3f while it was saved %u times\n", codes, one, four, saved, n_saved);
        assert_true(four >= one - 0.02 && saved >= one - 0.02);
        assert_int_equal(graph_erase(dir, NULL), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_in_memory), cmocka_unit_test(test_on_disk), cmocka_unit_test(test_many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
