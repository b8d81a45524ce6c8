/* What a search knows of words, while texts that hold them come and go. */
#include "kit_box.h"

#include <pthread.h>
#include <stdatomic.h>

#define N 200

static void put(struct box *b, const char *id, const char *text)
{
    struct err_msg em;
    kit_ok(kit_put(b->ix, "c", id, text, NULL, 0, &em), &em);
    kit_commit(b->ix);
    kit_embed_pending(b->ix);
}

static void put_number(struct box *b, int i, const char *text)
{
    char id[16];
    snprintf(id, sizeof id, "%d", i);
    put(b, id, text);
}

static void fill(struct box *b)
{
    struct err_msg em;
    for (int i = 0; i < N; i++) {
        char id[16], text[64];
        snprintf(id, sizeof id, "%d", i);
        snprintf(text, sizeof text, "number%d %s", i, i % 2 ? "blue" : "green");
        kit_ok(kit_put(b->ix, "c", id, text, NULL, 0, &em), &em);
    }
    kit_commit(b->ix);
    kit_embed_pending(b->ix);
}

static size_t count(struct box *b, const char *text)
{
    struct index_result res;
    assert_int_equal(kit_search(b->r, "c", INDEX_TEXT, text, NULL, N, &res), 0);
    size_t n = res.n;
    index_result_finish(&res);
    return n;
}

/* A word that was asked for in vain is found as soon as a text has it, whether the text is a new one or takes another's place. */
static void test_asked_before(void **state)
{
    struct box *b = *state;
    fill(b);
    assert_int_equal(count(b, "zebra"), 0);
    put(b, "z", "a zebra");
    assert_int_equal(count(b, "zebra"), 1);
    assert_int_equal(count(b, "okapi"), 0);
    put_number(b, 7, "an okapi"); /* as many texts as before */
    assert_int_equal(count(b, "okapi"), 1);
    put_number(b, 8, "a second okapi");
    assert_int_equal(count(b, "okapi"), 2);
    put_number(b, 7, "nothing");
    put_number(b, 8, "nothing");
    assert_int_equal(count(b, "okapi"), 0);
}

/* A word that was frequent finds by itself again when it has become rare. */
static void test_frequent_before(void **state)
{
    struct box *b = *state;
    fill(b);
    put(b, "z", "a zebra");
    assert_int_equal(count(b, "zebra blue"), 1); /* half of the texts have the other */
    for (int i = 5; i < N; i += 2)
        put_number(b, i, "grey");
    assert_int_equal(count(b, "zebra blue"), 3);
}

/* A checksum in hex, say, or a sentence in a script that puts no spaces between words. */
static void test_long_words(void **state)
{
    static const size_t lengths[] = {63, 64, 65, 128, 256};
    struct box *b = *state;
    for (int i = 0; i < 5; i++) {
        char text[300], id[16];
        snprintf(id, sizeof id, "%d", i);
        memset(text, 'a' + i, lengths[i]);
        text[lengths[i]] = 0;
        put(b, id, text);
        assert_int_equal(count(b, text), 1);
    }
}

#define N_LOOKERS 2
#define N_CHANGES 80

struct looking {
    struct box *b;
    atomic_bool done;
    atomic_uint n_failed;
};

static void *look(void *arg)
{
    struct looking *l = arg;
    while (!atomic_load(&l->done)) {
        struct index_reader *r = NULL;
        assert_int_equal(index_reader_create(&r, l->b->ix, NULL), 0);
        for (int i = 0; i < 50; i++) {
            struct index_result res = {0};
            if (kit_search(r, "c", INDEX_TEXT, "zebra", NULL, N, &res) < 0 || res.n != 1)
                atomic_fetch_add(&l->n_failed, 1);
            index_result_finish(&res);
        }
        index_reader_destroy(&r);
    }
    return NULL;
}

/* Other collections come and go while a searcher opens this one's words, for which FTS5 has statements of its own. */
static void test_other_collections(void **state)
{
    struct box *b = *state;
    struct looking l = {.b = b};
    pthread_t threads[N_LOOKERS];
    struct err_msg em;
    put(b, "a", "a zebra");
    for (int i = 0; i < N_LOOKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look, &l), 0);
    for (int i = 0; i < N_CHANGES; i++) {
        bool more;
        kit_create(b->ix, "x");
        kit_ok(index_drop(b->ix, "x", &em), &em);
        kit_ok(index_maintain(b->ix, 2, &more, &em), &em);
    }
    atomic_store(&l.done, true);
    for (int i = 0; i < N_LOOKERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&l.n_failed), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_asked_before, box_setup, box_teardown),
        cmocka_unit_test_setup_teardown(test_frequent_before, box_setup, box_teardown),
        cmocka_unit_test_setup_teardown(test_long_words, box_setup, box_teardown),
        cmocka_unit_test_setup_teardown(test_other_collections, box_setup, box_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
