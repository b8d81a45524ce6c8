/* Graphs as no insertion makes them, through deletion: stars, cliques, paths, piles of equal vectors, gaps between levels, parts
 * without a way between them, one-way and random links. Taken over as an hnswlib file, which may have any shape. After every few
 * deletions the graph is whole and each vector that is left is found. */
#include "tests/unit.h"

#include "index/graph_import.h"

#define DIM 8
#define M 5u
#define N_MAX 90u
#define LEVELS 9u

enum shape { STAR, CLIQUES, PATH, EQUAL, LEVEL_GAPS, PARTS, ONE_WAY, NO_LINKS, RANDOM, N_SHAPES };
static const char *const names[] = {"star", "cliques", "path", "equal vectors", "level gaps", "parts", "one-way", "no links", "random"};

struct plan {
    uint32_t n, entry;
    uint32_t level[N_MAX];
    uint32_t n_links[N_MAX][LEVELS + 1], links[N_MAX][LEVELS + 1][2 * M];
};

static void link_to(struct plan *p, uint32_t from, uint32_t to, uint32_t level)
{
    uint32_t *n = &p->n_links[from][level];
    if (from != to && from < p->n && to < p->n && level <= p->level[from] && level <= p->level[to] && *n < (level ? M : 2 * M))
        p->links[from][level][(*n)++] = to;
}

static void both(struct plan *p, uint32_t a, uint32_t b, uint32_t level)
{
    link_to(p, a, b, level);
    link_to(p, b, a, level);
}

static void draw(struct plan *p, enum shape shape, uint64_t *rng)
{
    memset(p, 0, sizeof *p);
    p->n = shape == CLIQUES || shape == EQUAL ? N_MAX : 1 + (uint32_t)(unit_rand(rng) % N_MAX);
    p->entry = (uint32_t)(unit_rand(rng) % p->n);
    if (shape == LEVEL_GAPS) /* one node high above all others, another in between */
        p->level[p->entry] = LEVELS, p->level[unit_rand(rng) % p->n] = LEVELS / 2, p->level[p->entry] = LEVELS;
    for (uint32_t i = 0; i < p->n && shape == RANDOM; i++)
        p->level[i] = (uint32_t)(unit_rand(rng) % 4);
    if (shape == RANDOM)
        p->level[p->entry] = 4;
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t r = (uint32_t)(unit_rand(rng) % p->n);
        switch (shape) {
        case STAR: both(p, p->entry, i, 0); break; /* its list is soon full: the others point at it alone */
        case CLIQUES:
        case EQUAL:
            for (uint32_t j = i / 9 * 9; j < i / 9 * 9 + 9; j++)
                link_to(p, i, j, 0);
            break;
        case PATH: both(p, i, i + 1, 0); break;
        case PARTS: both(p, i, i + 3, 0); break;
        case ONE_WAY: link_to(p, i, i + 1, 0), link_to(p, i, i + 2, 0); break;
        case LEVEL_GAPS: both(p, i, r, 0); both(p, i, r, LEVELS / 2); break;
        case RANDOM:
            for (uint32_t level = 0; level <= 4; level++)
                link_to(p, i, r, level), link_to(p, i, (uint32_t)(unit_rand(rng) % p->n), level);
            break;
        default: break;
        }
    }
}

static void vector_of(enum shape shape, uint32_t i, float *v)
{
    uint64_t s = shape == EQUAL ? 1 : i + 10;
    for (int j = 0; j < DIM; j++)
        v[j] = (float)(unit_rand(&s) % 2000) / 1000 - 1;
}

static void put(char **at, const void *data, size_t len)
{
    memcpy(*at, data, len);
    *at += len;
}

static void put_list(char **at, const uint32_t *links, uint32_t n, uint32_t room)
{
    put(at, &n, 4);
    memcpy(*at, links, n * sizeof *links);
    *at += room * sizeof *links;
}

/* The file hnswlib would have saved. */
static char *write_file(const struct plan *p, enum shape shape, size_t *len)
{
    char *file = calloc(1, 1 << 20), *at = file;
    uint64_t n = p->n, links0 = 4 + 2 * M * 4, record = links0 + DIM * 4 + 8, m = M, m0 = 2 * M, efc = 20, zero = 0, label_at = record - 8;
    int32_t top = (int32_t)p->level[p->entry];
    double mult = 0.6;
    put(&at, &zero, 8);
    put(&at, &n, 8);
    put(&at, &n, 8);
    put(&at, &record, 8);
    put(&at, &label_at, 8);
    put(&at, &links0, 8);
    put(&at, &top, 4);
    put(&at, &p->entry, 4);
    put(&at, &m, 8);
    put(&at, &m0, 8);
    put(&at, &m, 8);
    put(&at, &mult, 8);
    put(&at, &efc, 8);
    for (uint32_t i = 0; i < p->n; i++) {
        float v[DIM];
        uint64_t label = i;
        vector_of(shape, i, v);
        put_list(&at, p->links[i][0], p->n_links[i][0], 2 * M);
        put(&at, v, sizeof v);
        put(&at, &label, 8);
    }
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t bytes = p->level[i] * (4 + M * 4);
        put(&at, &bytes, 4);
        for (uint32_t l = 1; l <= p->level[i]; l++)
            put_list(&at, p->links[i][l], p->n_links[i][l], M);
    }
    *len = (size_t)(at - file);
    return file;
}

static void whole(struct graph *g, struct graph_scratch *s, const bool *there, uint32_t n, enum shape shape)
{
    struct graph_report rep;
    struct graph_hit hits[N_MAX];
    uint32_t live = 0;
    size_t found;
    for (uint32_t i = 0; i < n; i++)
        live += there[i];
    if (graph_check(g, &rep) < 0 || rep.n_reached != live || graph_count(g) != live)
        fail_msg("%s: %u of %u: %s", names[shape], (unsigned)rep.n_reached, live, rep.text);
    for (uint32_t i = 0; i < n; i++) {
        float v[DIM];
        bool hit = false;
        vector_of(shape, i, v);
        struct graph_query q = {.v = v, .k = live ? live : 1, .ef = 2 * N_MAX};
        assert_int_equal(graph_search(g, s, &q, hits, &found, NULL), 0);
        assert_int_equal(found, live);
        for (size_t j = 0; j < found; j++)
            hit |= hits[j].label == i;
        assert_true(hit == there[i]);
    }
}

static void through_deletion(enum shape shape, enum graph_codes codes, uint64_t *rng)
{
    static struct plan p;
    struct hnswlib_file f;
    struct err_msg em;
    struct graph *g = NULL;
    struct graph_scratch *s;
    uint64_t labels[N_MAX], seq;
    bool there[N_MAX];
    size_t len;
    draw(&p, shape, rng);
    char *file = write_file(&p, shape, &len);
    int r = hnswlib_open(&f, file, len, DIM, &em);
    if (r < 0)
        fail_msg("%s: %s", names[shape], em.text);
    struct graph_params gp = {.dim = DIM, .metric = METRIC_L2, .m = M, .ef_construction = 20, .codes = codes};
    assert_int_equal(graph_open(&g, NULL, &gp, &seq, NULL, &em), 0);
    assert_int_equal(graph_scratch_create(&s), 0);
    for (uint32_t i = 0; i < p.n; i++)
        labels[i] = i, there[i] = true;
    assert_int_equal(graph_import(g, &f, labels), 0);
    hnswlib_finish(&f);
    whole(g, s, there, p.n, shape);
    bool centre_first = unit_rand(rng) % 2;
    for (uint32_t op = 0; op < 4 * p.n; op++) {
        uint32_t i = op == 0 && centre_first ? p.entry : (uint32_t)(unit_rand(rng) % p.n);
        float v[DIM];
        vector_of(shape, i, v);
        if (there[i])
            assert_int_equal(graph_remove(g, i), 0);
        else if (op > 2 * p.n) /* first they all go, then some come back */
            assert_int_equal(graph_add(g, i, v), 0);
        else
            continue;
        there[i] = !there[i];
        if (op % 7 == 0)
            whole(g, s, there, p.n, shape);
        if (op % 61 == 60)
            assert_int_equal(graph_compact(g, 0, &em), 0);
    }
    for (uint32_t i = 0; i < p.n; i++) {
        if (there[i])
            assert_int_equal(graph_remove(g, i), 0);
        there[i] = false;
    }
    whole(g, s, there, p.n, shape);
    graph_scratch_destroy(&s);
    graph_destroy(&g);
    free(file);
}

static void test_shapes(void **state)
{
    uint64_t rng = unit_seed();
    for (int shape = 0; shape < N_SHAPES; shape++)
        for (int round = 0; round < 12; round++)
            through_deletion((enum shape)shape, round % 2 ? GRAPH_CODES_F32 : GRAPH_CODES_INT8, &rng);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
