/* A label that gets a new node in the middle of a search: the search has passed the new one before that was a result, and the old one is
 * out of all lists before it is come to. It is found all the same. The writer's steps are made by the search's own filter, between two
 * looks at nodes. */
#include "tests/unit.h"

#include "index/graph_int.h"

#define DIM 24
#define N 900u
#define TRIALS 60u
#define LABEL 5000u /* the first of those that are replaced */

static struct moment {
    struct graph *g;
    const struct graph_scratch *s; /* the search's */
    uint64_t label;
    uint32_t old, new;
    bool over, met_first; /* the new node is in its place; it was met before that, and the old one was not */
} now;

static void random_vector(uint64_t *rng, float *v)
{
    for (int i = 0; i < DIM; i++)
        v[i] = (float)(unit_rand(rng) % 2001) / 1000 - 1;
}

static bool visited(uint32_t id)
{
    return now.s->visited[id >> 6] >> (id & 63) & 1;
}

/* The second half of an addition, as node_add does it; and all that a sweep does until the old node is out of every list. */
static void replace(void)
{
    struct core *c = graph_core(now.g);
    now.over = true;
    atomic_fetch_add(&c->n_replaced, 1);
    core_hash_move(c, now.label, now.old, now.new);
    c->level_count[core_head(c, now.new)->level]++;
    node_live(c, now.new);
    remove_node(c, now.g->scratch, now.old);
    atomic_fetch_add(&c->n_replaced, 1);
    remove_sweep_begin(c);
    remove_sweep_some(c, now.g->scratch, UINT32_MAX);
}

static bool allow(void *arg, uint64_t label)
{
    if (!now.over && visited(now.new) && !visited(now.old)) {
        now.met_first = true;
        replace();
    }
    return true;
}

/* The first half of an addition at v: linked, and no result yet. */
static void begin(const float *v)
{
    struct graph *g = now.g;
    struct core *c = graph_core(g);
    const uint32_t level = node_level(g);
    now.over = now.met_first = false;
    now.old = core_find_live(c, now.label);
    assert_int_equal(core_hash_reserve(c, 1), 0);
    assert_int_equal(remove_reserve(c), 0);
    assert_int_equal(node_create(g, c, now.label, v, level, &now.new), 0);
    node_insert(c, g->scratch, now.new, level, g->p.ef_construction);
}

static unsigned count(const struct graph_hit *hits, size_t n)
{
    unsigned found = 0;
    for (size_t i = 0; i < n; i++)
        found += hits[i].label == now.label;
    return found;
}

static unsigned run(enum graph_codes codes)
{
    struct graph_params p = {.dim = DIM, .m = 8, .ef_construction = 60, .metric = METRIC_L2, .codes = codes};
    struct graph_scratch *s;
    struct graph_report rep;
    uint64_t seq, rng = unit_seed();
    unsigned n_met = 0;
    float v[DIM], q[DIM];
    assert_int_equal(graph_open(&now.g, NULL, &p, &seq, NULL, NULL), 0);
    assert_int_equal(graph_scratch_create(&s), 0);
    now.s = s;
    for (uint64_t i = 0; i < N; i++) {
        random_vector(&rng, v);
        assert_int_equal(graph_add(now.g, i, v), 0);
    }
    for (uint64_t i = 0; i < TRIALS; i++) {
        struct graph_hit hits[8];
        size_t n;
        /* The old node and the new one are both nearer to the query than all others, on different sides of it. */
        random_vector(&rng, q);
        memcpy(v, q, sizeof v);
        now.label = LABEL + i;
        v[i % DIM] += 0.9f;
        assert_int_equal(graph_add(now.g, now.label, v), 0);
        v[i % DIM] -= 1.8f;
        begin(v);
        struct graph_query query = {.v = q, .k = 8, .ef = 200, .allow = allow};
        assert_int_equal(graph_search(now.g, s, &query, hits, &n, NULL), 0);
        n_met += now.met_first;
        if (!now.over)
            replace();
        assert_int_equal(count(hits, n), 1);
    }
    assert_int_equal(graph_check(now.g, &rep), 0);
    assert_int_equal(rep.n_reached, N + TRIALS);
    graph_scratch_destroy(&s);
    graph_destroy(&now.g);
    return n_met;
}

static void test_in_the_middle(void **state)
{
    for (int codes = GRAPH_CODES_INT8; codes <= GRAPH_CODES_1BIT; codes++) {
        const unsigned n = run((enum graph_codes)codes);
        print_message("codes %d: in %u of %u searches the new node came first\n", codes, n, TRIALS);
        assert_true(n > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_in_the_middle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
