/* Postings that are kept between searches: the same hits and scores as without, whatever came and went, and in which order. */
#include "kit_box.h"

#include <pthread.h>
#include <stdatomic.h>

#include "index/postings.h"

#define N_DOCS 400
#define N_ROUNDS 900
#define N_WORDS 14

static uint64_t state_of_random;

static uint32_t below(uint32_t n)
{
    return (uint32_t)(unit_rand(&state_of_random) % n);
}

static const char *const words[N_WORDS] = {"amber", "birch", "copper", "delta", "ember", "fjord", "garnet",
                                           "harbor", "indigo", "juniper", "kelp", "lagoon", "marble", "nectar"};

/* Words, those in front more often. */
static void make_text(char *out, size_t size, uint32_t n)
{
    *out = 0;
    for (uint32_t i = 0; i < n; i++) {
        strncat(out, words[below(below(N_WORDS) + 1)], size - strlen(out) - 2);
        strcat(out, " ");
    }
}

/* Two stores that are told the same: one keeps postings, the other none. */
struct pair {
    struct box with, without;
};

static int pair_setup(void **state)
{
    struct pair *p = calloc(1, sizeof *p);
    struct err_msg em;
    assert_non_null(p);
    state_of_random = 7;
    for (int i = 0; i < 2; i++) {
        struct box *b = i ? &p->without : &p->with;
        kit_dir(b->dir);
        box_open(b);
        kit_create(b->ix, "c");
    }
    kit_ok(index_set_caches(p->without.ix, 65536, 32768, 0, &em), &em);
    *state = p;
    return 0;
}

static int pair_teardown(void **state)
{
    struct pair *p = *state;
    for (int i = 0; i < 2; i++) {
        box_close(i ? &p->without : &p->with);
        kit_remove(i ? p->without.dir : p->with.dir);
    }
    free(p);
    return 0;
}

static void stage(struct box *b, const char *id, const char *text)
{
    struct err_msg em;
    kit_ok(kit_put(b->ix, "c", id, text, "{\"even\": true}", 0, &em), &em);
    kit_commit(b->ix);
}

/* The last of what waits becomes searchable; false: nothing waits. */
static bool embed_last(struct box *b)
{
    struct index_chunk_list list;
    struct err_msg em;
    float v[KIT_DIM];
    kit_ok(index_pending(b->ix, 0, 64, 1 << 20, &list, &em), &em);
    const bool any = list.n;
    if (any) {
        const struct index_chunk *c = &list.chunks[list.n - 1];
        kit_embed(c->text, c->text_len, v);
        kit_ok(index_set_vectors(b->ix, &c->chunk, v, 1, KIT_DIM, NULL, &em), &em);
        kit_commit(b->ix);
    }
    index_chunk_list_finish(&list);
    return any;
}

static void search(struct box *b, enum index_mode mode, const char *text, const char *filter, uint32_t k, struct index_result *res)
{
    assert_int_equal(kit_search(b->r, "c", mode, text, filter, k, res), 0);
}

static void assert_same(struct pair *p, enum index_mode mode, const char *text, const char *filter, uint32_t k)
{
    struct index_result a, b;
    search(&p->with, mode, text, filter, k, &a);
    search(&p->without, mode, text, filter, k, &b);
    if (a.n != b.n)
        fail_msg("\"%s\": %zu hits, %zu without", text, a.n, b.n);
    for (size_t i = 0; i < a.n; i++)
        if (strcmp(a.hits[i].id, b.hits[i].id) || memcmp(&a.hits[i].score, &b.hits[i].score, sizeof(float)))
            fail_msg("\"%s\", hit %zu: %s %.9g, %s %.9g without", text, i, a.hits[i].id, (double)a.hits[i].score, b.hits[i].id,
                     (double)b.hits[i].score);
    assert_int_equal(a.why, b.why);
    index_result_finish(&a);
    index_result_finish(&b);
}

static void change(struct pair *p)
{
    char text[300], id[16];
    struct err_msg em;
    const uint32_t what = below(10) < 7 ? below(8) : 8 + below(3) / 2;
    snprintf(id, sizeof id, "%u", below(N_DOCS));
    make_text(text, sizeof text, 3 + below(12));
    for (int i = 0; i < 2; i++) {
        struct box *b = i ? &p->without : &p->with;
        if (what < 2) {
            const int r = index_delete(b->ix, "c", id, strlen(id), &em);
            assert_true(r == 0 || r == LT_ENOTFOUND);
            kit_commit(b->ix);
        } else {
            stage(b, id, text);
            if (what < 8)
                kit_embed_pending(b->ix);
        }
    }
    while (what == 9 && embed_last(&p->with)) { /* with those that rounds of 8 have left waiting */
        embed_last(&p->without);
        assert_same(p, INDEX_TEXT, words[below(N_WORDS)], NULL, N_DOCS);
        assert_same(p, INDEX_TEXT, words[0], NULL, N_DOCS);
    }
}

static void fill(struct pair *p, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        char text[300], id[16];
        struct err_msg em;
        snprintf(id, sizeof id, "%u", i);
        make_text(text, sizeof text, 3 + below(12));
        kit_ok(kit_put(p->with.ix, "c", id, text, NULL, 0, &em), &em);
        kit_ok(kit_put(p->without.ix, "c", id, text, NULL, 0, &em), &em);
    }
    for (int i = 0; i < 2; i++) {
        kit_commit(i ? p->without.ix : p->with.ix);
        kit_embed_pending(i ? p->without.ix : p->with.ix);
    }
}

static void test_same_as_without(void **state)
{
    struct pair *p = *state;
    fill(p, N_DOCS);
    for (int i = 0; i < N_ROUNDS; i++) {
        char text[300];
        change(p);
        make_text(text, sizeof text, 1 + below(4));
        assert_same(p, below(3) ? INDEX_TEXT : INDEX_HYBRID, text, below(5) ? NULL : "even = true", 1 + below(below(8) ? 20 : N_DOCS));
    }
}

/* Most of what is kept has gone, and all that would be best. */
static void test_after_large_deletions(void **state)
{
    struct pair *p = *state;
    struct err_msg em;
    fill(p, N_DOCS);
    for (uint32_t n = 1; n < N_DOCS / 2; n *= 2) {
        for (int w = 0; w < N_WORDS; w++)
            assert_same(p, INDEX_TEXT, words[w], NULL, 5);
        struct index_result res;
        search(&p->with, INDEX_TEXT, words[0], NULL, n, &res);
        for (size_t i = 0; i < res.n; i++)
            for (int j = 0; j < 2; j++)
                kit_ok(index_delete(j ? p->without.ix : p->with.ix, "c", res.hits[i].id, res.hits[i].id_len, &em), &em);
        kit_commit(p->with.ix);
        kit_commit(p->without.ix);
        index_result_finish(&res);
        for (int w = 0; w < N_WORDS; w++)
            assert_same(p, INDEX_TEXT, words[w], NULL, w % 2 ? 5 : N_DOCS);
    }
}

static uint64_t kept_bytes(struct box *b)
{
    struct index_status st;
    index_get_status(b->ix, &st);
    return st.bytes_postings;
}

/* Until memory is short. */
static void test_status_tells_what_is_kept(void **state)
{
    struct pair *p = *state;
    fill(p, N_DOCS);
    assert_int_equal(kept_bytes(&p->with), 0);
    for (int w = 0; w < N_WORDS; w++)
        assert_same(p, INDEX_TEXT, words[w], NULL, 5);
    assert_true(kept_bytes(&p->with) >= N_DOCS * sizeof(struct posting));
    assert_int_equal(kept_bytes(&p->without), 0);
    index_set_lean(p->with.ix, true);
    assert_int_equal(kept_bytes(&p->with), 0);
}

/* ---- beside a writer ------------------------------------------------------------ */

#define N_SHARED 64

struct looking {
    struct box *b;
    atomic_bool done;
    atomic_uint n_looks, n_short;
};

/* Each text has the word, in one of its versions, at any time. */
static void *look(void *arg)
{
    struct looking *l = arg;
    struct index_reader *r = NULL;
    assert_int_equal(index_reader_create(&r, l->b->ix, NULL), 0);
    while (!atomic_load(&l->done) || !atomic_load(&l->n_looks)) {
        struct index_result res;
        if (kit_search(r, "c", INDEX_TEXT, "amber", NULL, N_SHARED, &res) == 0) {
            bool seen[N_SHARED] = {false};
            for (size_t i = 0; i < res.n; i++)
                seen[atoi(res.hits[i].id)] = true;
            for (int i = 0; i < N_SHARED; i++)
                atomic_fetch_add(&l->n_short, !seen[i]);
            index_result_finish(&res);
        }
        atomic_fetch_add(&l->n_looks, 1);
    }
    index_reader_destroy(&r);
    return NULL;
}

static void test_replaced_meanwhile(void **state)
{
    struct box *b = *state;
    struct looking l = {.b = b};
    pthread_t threads[2];
    struct err_msg em;
    for (int i = 0; i < N_SHARED; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        kit_ok(kit_put(b->ix, "c", id, "amber", NULL, 0, &em), &em);
    }
    kit_commit(b->ix);
    kit_embed_pending(b->ix);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look, &l), 0);
    for (int i = 0; i < 400; i++) {
        char id[16], text[64];
        snprintf(id, sizeof id, "%d", i * 7 % N_SHARED);
        snprintf(text, sizeof text, "amber of round %d", i);
        kit_ok(kit_put(b->ix, "c", id, text, NULL, 0, &em), &em);
        kit_commit(b->ix);
        if (i % 3)
            kit_embed_pending(b->ix);
        else
            while (i % 2 && embed_last(b))
                ;
    }
    atomic_store(&l.done, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&l.n_short), 0);
}

/* ---- what is kept --------------------------------------------------------------- */

static void keep(struct postings_cache *c, const char *stem, const struct postings_view *v, uint64_t n)
{
    struct postings *p = postings_begin(c, stem, strlen(stem), v, n);
    for (uint64_t i = 1; i <= n; i++)
        postings_add(c, &p, i, 1, 3);
    postings_keep(c, &p);
}

static size_t kept(struct postings_cache *c, const char *stem, const struct postings_view *v)
{
    struct postings *p = postings_find(c, stem, strlen(stem), v, 1000);
    const size_t n = p ? p->n : 0;
    postings_release(c, p);
    return n;
}

static void test_views(void **state)
{
    struct postings_budget budget = {.limit = 1 << 20};
    struct postings_cache c;
    struct postings_view v = {0}, before, after;
    (void)state;
    postings_init(&c, &budget, 101);
    postings_before(&c, &v);
    postings_after(&c, &v, 50);
    keep(&c, "word", &v, 200);
    assert_int_equal(kept(&c, "word", &v), 100); /* those that had come by then */
    assert_int_equal(kept(&c, "wor", &v), 0);
    before = after = v;
    before.seq = 49;
    assert_int_equal(kept(&c, "word", &before), 0); /* which may hold what had gone by then */
    postings_come(&c, 101, 5, 51);
    postings_committed(&c);
    postings_go(&c, 100);
    postings_before(&c, &after);
    postings_after(&c, &after, 51);
    assert_int_equal(after.high, 105);
    assert_int_equal(kept(&c, "word", &after), 100);
    postings_come(&c, 104, 1, 52); /* a number that is lower */
    postings_after(&c, &after, 52);
    assert_int_equal(kept(&c, "word", &after), 0);
    keep(&c, "word", &after, 200);
    assert_int_equal(kept(&c, "word", &after), 105);
    postings_go(&c, 126); /* more than an eighth of 1,000 */
    postings_after(&c, &after, 53);
    assert_int_equal(kept(&c, "word", &after), 0);
    postings_finish(&c);
    assert_int_equal(atomic_load(&budget.used), 0);
}

static void test_budget(void **state)
{
    struct postings_budget budget = {.limit = 64 << 10};
    struct postings_cache c;
    struct postings_view v = {.seq = 1, .high = UINT64_MAX};
    char stem[16];
    (void)state;
    postings_init(&c, &budget, 1);
    for (int i = 0; i < 100; i++) {
        snprintf(stem, sizeof stem, "w%d", i);
        keep(&c, stem, &v, 500);
        assert_true(atomic_load(&budget.used) <= atomic_load(&budget.limit));
        assert_int_equal(kept(&c, "w0", &v), 500); /* used again and again */
    }
    assert_int_equal(kept(&c, "w1", &v), 0);
    assert_int_equal(kept(&c, "w99", &v), 500);
    keep(&c, "large", &v, 5000); /* more than a quarter */
    assert_int_equal(kept(&c, "large", &v), 0);
    assert_int_equal(kept(&c, "w99", &v), 500);
    struct postings *p = postings_begin(&c, "far", 3, &v, 10);
    postings_add(&c, &p, 1ull << 32, 1, 1); /* a number that has no room */
    assert_null(p);
    for (int i = 0; i < 2 * POSTINGS_WORDS; i++) {
        snprintf(stem, sizeof stem, "s%d", i);
        keep(&c, stem, &v, 1);
    }
    assert_int_equal(kept(&c, stem, &v), 1);
    postings_drop(&c);
    assert_int_equal(atomic_load(&budget.used), 0);
    assert_int_equal(kept(&c, stem, &v), 0);
    postings_finish(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_budget),
        cmocka_unit_test_setup_teardown(test_same_as_without, pair_setup, pair_teardown),
        cmocka_unit_test_setup_teardown(test_after_large_deletions, pair_setup, pair_teardown),
        cmocka_unit_test_setup_teardown(test_status_tells_what_is_kept, pair_setup, pair_teardown),
        cmocka_unit_test_setup_teardown(test_replaced_meanwhile, box_setup, box_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
