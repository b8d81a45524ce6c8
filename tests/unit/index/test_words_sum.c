/* Sums of several words' postings against adding them up one by one, over many blocks. */
#include "tests/unit.h"

#include "base/clock.h"
#include "index/allowed.h"
#include "index/words_score.h"
#include "index/words_sum.h"

#define N_CHUNKS 200000u
#define N_LISTS 7

static uint64_t state_of_random;

/* A word that one in `every` chunks from `first` on holds; those up to `kept` are kept. */
static void make(struct words_list *l, uint64_t first, uint32_t every, uint64_t kept, bool finds)
{
    struct postings *p = calloc(1, sizeof *p);
    p->room = N_CHUNKS;
    p->items = calloc(p->room, sizeof *p->items);
    *l = (struct words_list){.kept = kept ? p : NULL, .finds = finds, .weight = 1.0f / (float)every + 0.5f, .flat = 0.54f, .slope = 0.01f};
    for (uint64_t chunk = first + 1; chunk < first + N_CHUNKS; chunk++) {
        if (unit_rand(&state_of_random) % every)
            continue;
        const uint16_t n = 1 + unit_rand(&state_of_random) % 4, length = 1 + unit_rand(&state_of_random) % 200;
        if (chunk <= kept)
            p->items[p->n++] = (struct posting){(uint32_t)chunk, n, length};
        else
            assert_int_equal(words_list_add(l, chunk, n, length), 0);
    }
    if (!kept) {
        free(p->items);
        free(p);
    }
}

static void take_apart(struct words_list *l)
{
    if (l->kept) {
        free(l->kept->items);
        free(l->kept);
    }
    words_list_finish(l);
}

static void add(float *sum, const struct words_list *l, const struct allowed *a, uint64_t chunk, uint64_t first, float n, float length)
{
    float *s = &sum[chunk - first];
    if ((a && !allowed_has(a, chunk)) || (!l->finds && *s == 0))
        return;
    *s += l->weight * n * (WORDS_K1 + 1) / (n + l->flat + l->slope * length);
}

static size_t add_up(float *sum, const struct words_list *lists, const struct allowed *a, uint64_t first)
{
    size_t n = 0;
    memset(sum, 0, N_CHUNKS * sizeof *sum);
    for (int finds = 1; finds >= 0; finds--)
        for (const struct words_list *l = lists; l < lists + N_LISTS; l++) {
            if (l->finds != (finds == 1))
                continue;
            for (size_t i = 0; l->kept && i < l->kept->n; i++)
                add(sum, l, a, l->kept->items[i].chunk, first, l->kept->items[i].n, l->kept->items[i].length);
            for (size_t i = 0; i < l->n_read; i++)
                add(sum, l, a, l->read[i].chunk, first, l->read[i].n, l->read[i].length);
        }
    for (size_t i = 0; i < N_CHUNKS; i++)
        n += sum[i] > 0;
    return n;
}

static void check(uint64_t first, uint32_t rarest, struct allowed *a)
{
    struct words_list lists[N_LISTS];
    struct words_sum s = {0};
    float *sum = malloc(N_CHUNKS * sizeof *sum);
    for (uint32_t i = 0; i < N_LISTS; i++)
        make(&lists[i], first, i % 2 ? 3 : rarest, i % 3 && first < UINT32_MAX / 2 ? first + N_CHUNKS / (i + 1) : 0, i < 4);
    const size_t n = add_up(sum, lists, a, first);
    for (int round = 0; round < 2; round++) { /* nothing of the first is left in the second */
        assert_int_equal(words_sum(&s, lists, N_LISTS, a, 0), 0);
        assert_int_equal(s.n, n);
        for (size_t i = 0; i < s.n; i++)
            assert_true(s.slots[i].score == sum[s.slots[i].chunk - first]);
    }
    assert_true(n > 0);
    assert_int_equal(words_sum(&s, lists, N_LISTS, a, clock_ns() - 1), 0); /* too few blocks for a look at the clock */
    for (int i = 0; i < N_LISTS; i++)
        take_apart(&lists[i]);
    words_sum_finish(&s);
    free(sum);
}

static void test_sums(void **state)
{
    (void)state;
    state_of_random = 3;
    check(0, 5, NULL);
    check(0, 20000, NULL); /* whole blocks without */
    check(123456789, 50, NULL);
    check(1ull << 40, 50, NULL); /* numbers that are never kept */
}

static void test_allowed(void **state)
{
    (void)state;
    state_of_random = 4;
    struct allowed *a = calloc(1, sizeof *a + N_CHUNKS / 8 + 64);
    a->base = 64000;
    a->n_bits = 64 * (N_CHUNKS / 2 / 64);
    for (uint64_t i = 0; i < a->n_bits / 64; i++)
        a->words[i] = unit_rand(&state_of_random);
    check(0, 5, a);
    check(0, 300, a);
    free(a);
}

static void test_every_chunk_of_a_block(void **state)
{
    (void)state;
    struct words_list l = {.finds = true, .weight = 1, .flat = 1};
    struct words_sum s = {0};
    for (uint64_t i = 0; i < 40000; i++)
        assert_int_equal(words_list_add(&l, i, 1, 1), 0);
    assert_int_equal(words_list_count(&l, NULL), 40000);
    assert_int_equal(words_sum(&s, &l, 1, NULL, 0), 0);
    assert_int_equal(s.n, 40000);
    words_list_finish(&l);
    assert_int_equal(words_sum(&s, &l, 0, NULL, 0), 0);
    assert_int_equal(s.n, 0);
    words_sum_finish(&s);
}

static void test_deadline(void **state)
{
    (void)state;
    struct words_list l = {.finds = true, .weight = 1, .flat = 1};
    struct words_sum s = {0};
    for (uint64_t i = 0; i < 200; i++) /* each in a block of its own */
        assert_int_equal(words_list_add(&l, i << 20, 1, 1), 0);
    assert_int_equal(words_sum(&s, &l, 1, NULL, 1), LT_ETIMEOUT);
    assert_int_equal(words_sum(&s, &l, 1, NULL, 0), 0);
    assert_int_equal(s.n, 200);
    words_list_finish(&l);
    words_sum_finish(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_allowed),
        cmocka_unit_test(test_every_chunk_of_a_block),
        cmocka_unit_test(test_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
