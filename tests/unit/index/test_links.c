/* Links: lists as bytes, short and wide; a graph with wide links in memory and on disk; a collection that outgrows short ones.
 * Runs with the fault point graph.links.short, which lets a process have 40 nodes with short links. */
#include "store_kit.h"

#include "base/file.h"
#include "index/graph.h"
#include "index/graph_list.h"
#include "index/segment.h"

#define ROOM_MAX 64u
#define DIM 40

static uint8_t bytes[4 + ROOM_MAX * 4 + ROOM_MAX / 8 + 16] __attribute__((aligned(4)));

static struct list list_of(uint32_t room, bool wide)
{
    memset(bytes, 0xA5, sizeof bytes);
    memset(bytes, 0, 4);
    return (struct list){(_Atomic uint32_t *)(void *)bytes, room, wide, true};
}

static int by_id(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a & LINK_ID, y = *(const uint32_t *)b & LINK_ID;
    return (x > y) - (x < y);
}

static void assert_has(struct list l, uint32_t *want, uint32_t n)
{
    uint32_t got[ROOM_MAX], children = 0;
    assert_int_equal(list_read_marked(l, got), n);
    qsort(got, n, sizeof *got, by_id);
    qsort(want, n, sizeof *want, by_id);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(got[i], want[i]);
        children += (want[i] & LINK_CHILD) != 0;
    }
    assert_int_equal(list_children(l), children);
    for (uint32_t i = list_bytes(l.room, l.wide, true); i < sizeof bytes; i++)
        assert_int_equal(bytes[i], 0xA5); /* nothing behind it is touched */
}

/* Against a plain array, with the largest numbers there are. */
static void test_lists(void **state)
{
    uint64_t seed = unit_seed();
    for (int round = 0; round < 400; round++) {
        bool wide = round & 1;
        uint32_t room = 4 + (uint32_t)(unit_rand(&seed) % (ROOM_MAX - 3)), want[ROOM_MAX], n = 0;
        uint32_t limit = wide ? 0x7FFFFFF0u : GRAPH_SHORT_MAX, most = limit - 1;
        struct list l = list_of(room, wide);
        for (int step = 0; step < 30; step++) {
            uint32_t op = (uint32_t)(unit_rand(&seed) % 3), id = most - (uint32_t)(unit_rand(&seed) % 200) * (limit / 211);
            bool there = false;
            for (uint32_t i = 0; i < n; i++)
                there |= (want[i] & LINK_ID) == id;
            if (op == 0 && !there) {
                assert_int_equal(list_append(l, id), n < room);
                if (n < room)
                    want[n++] = id;
            } else if (op == 1 && n) {
                uint32_t at = (uint32_t)(unit_rand(&seed) % n);
                bool on = unit_rand(&seed) & 1;
                want[at] = on ? want[at] | LINK_CHILD : want[at] & LINK_ID;
                list_mark(l, want[at] & LINK_ID, on);
            } else if (op == 2) { /* about half goes, some come, marks change */
                uint32_t kept = 0;
                for (uint32_t i = 0; i < n; i++)
                    if (unit_rand(&seed) & 1)
                        want[kept++] = unit_rand(&seed) & 1 ? want[i] ^ LINK_CHILD : want[i];
                for (n = kept; n < room && unit_rand(&seed) % 4; n++)
                    want[n] = (uint32_t)step * 1000 + n; /* never in it yet */
                list_write(l, want, n);
            }
            assert_has(l, want, n);
        }
    }
}

/* A reader that meets the writer half-way, as bytes: the link in motion is left out, the others are there. */
static void test_in_motion(void **state)
{
    for (int wide = 0; wide < 2; wide++) {
        struct list l = list_of(8, wide);
        uint32_t links[5] = {10, 0x20000, 0x30003, 40, 50}, got[8];
        list_write(l, links, 5);
        uint32_t word = atomic_load(l.word);
        atomic_store(l.word, word | LIST_STEP);
        assert_int_equal(list_read(l, got), 5); /* at rest, though the version is odd */
        if (wide)
            atomic_store(&list_high_wide(l)[1], (uint16_t)LINK_MOVING_WIDE);
        else
            atomic_store(&list_high(l)[1], (uint8_t)LINK_MOVING_SHORT);
        atomic_store(&list_low(l)[1], 0x1234);
        assert_int_equal(list_read(l, got), 4);
        assert_int_equal(got[0], 10);
        assert_int_equal(got[1], 0x30003);
        atomic_store(l.word, (word & ~LIST_COUNT) | LIST_STEP | LIST_COUNT); /* a length beyond its room */
        assert_int_equal(list_read(l, got), 7);
        assert_int_equal(list_length(l), 8);
    }
}

static void vector_of(uint64_t label, float *v)
{
    uint64_t s = label * 77 + 5;
    for (int i = 0; i < DIM; i++)
        v[i] = (float)(int64_t)(unit_rand(&s) >> 40) / 8388608.0f - 1;
}

static struct graph *open_graph(const char *dir, bool wide, enum graph_codes codes, uint64_t *seq)
{
    struct graph *g = NULL;
    struct err_msg em = {""};
    struct graph_params p = {.dim = DIM, .metric = METRIC_L2, .m = 8, .codes = codes, .wide = wide};
    kit_ok(graph_open(&g, dir, &p, seq, NULL, &em), &em);
    return g;
}

static void assert_sound(const struct graph *g, uint64_t n)
{
    struct graph_report rep;
    if (graph_check(g, &rep) < 0)
        fail_msg("%s", rep.text);
    assert_int_equal(rep.n_live, n);
    assert_int_equal(rep.n_reached, n);
}

/* Built, thinned, saved, opened by somebody who would not ask for wide links, and changed again. */
static void wide_graph(enum graph_codes codes)
{
    char dir[128];
    uint64_t seq;
    struct err_msg em = {""};
    float v[DIM];
    struct graph *g = open_graph(kit_dir(dir), true, codes, &seq);
    for (uint64_t label = 0; label < 3000; label++) {
        vector_of(label, v);
        assert_int_equal(graph_add(g, label, v), 0);
    }
    for (uint64_t label = 0; label < 3000; label += 3)
        assert_int_equal(graph_remove(g, label), 0);
    assert_sound(g, 2000);
    kit_ok(graph_checkpoint(g, 7, &em), &em);
    graph_destroy(&g);
    g = open_graph(dir, false, codes, &seq);
    assert_int_equal(seq, 7);
    assert_sound(g, 2000);
    for (uint64_t label = 0; label < 3000; label += 3) {
        vector_of(label, v);
        assert_int_equal(graph_add(g, label, v), 0);
    }
    assert_false(graph_full(g));
    assert_sound(g, 3000);
    struct graph_scratch *s;
    assert_int_equal(graph_scratch_create(&s), 0);
    for (uint64_t label = 0; label < 3000; label += 37) {
        struct graph_hit hit;
        size_t n;
        vector_of(label, v);
        assert_int_equal(graph_search(g, s, &(struct graph_query){.v = v, .k = 1}, &hit, &n, NULL), 0);
        assert_int_equal(n, 1);
        assert_int_equal(hit.label, label);
    }
    graph_scratch_destroy(&s);
    graph_destroy(&g);
    kit_remove(dir);
}

static void test_wide_graph(void **state)
{
    wide_graph(GRAPH_CODES_INT8);
    wide_graph(GRAPH_CODES_F32);
    wide_graph(GRAPH_CODES_1BIT);
}

/* What a first page may say about links. */
static void test_header(void **state)
{
    struct segment_layout l;
    struct segment_header h = {.links = 3, .stride = 64, .upper_stride = 64, .shift = 12, .hash_mask = 63, .n_slots = GRAPH_SHORT_MAX};
    assert_true(segment_layout(&h, &l));
    h.n_slots++;
    assert_false(segment_layout(&h, &l));
    h.links = 4;
    assert_true(segment_layout(&h, &l));
    for (uint32_t links = 0; links < 10; links++) {
        h.links = links;
        h.n_slots = 10;
        assert_int_equal(segment_layout(&h, &l), links == 3 || links == 4);
    }
}

/* The last: from its 41st node with short links on, this process gets no more of them. */
static void test_outgrown(void **state)
{
    char dir[128], id[16], text[64];
    struct err_msg em = {""};
    struct index *ix = kit_open(kit_dir(dir));
    struct index_reader *r = NULL;
    struct index_result res;
    bool more = true;
    kit_create(ix, "c");
    for (int i = 0; i < 100; i++) {
        snprintf(id, sizeof id, "d%d", i);
        snprintf(text, sizeof text, "word%d common text", i);
        kit_ok(kit_put(ix, "c", id, text, NULL, 0, &em), &em);
        kit_commit(ix);
        kit_embed_pending(ix); /* never refused */
    }
    kit_ok(index_reader_create(&r, ix, &em), &em);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 100; i += 9) { /* before the graph is made anew, and after */
            snprintf(id, sizeof id, "d%d", i);
            snprintf(text, sizeof text, "word%d common text", i);
            assert_int_equal(kit_search(r, "c", INDEX_DENSE, text, NULL, 1, &res), 0);
            assert_int_equal(res.n, 1);
            assert_string_equal(res.hits[0].id, id);
            assert_int_equal(res.degraded, !round);
            index_result_finish(&res);
        }
        more = true;
        while (more)
            kit_ok(index_maintain(ix, 50, &more, &em), &em);
    }
    kit_check(ix);
    index_reader_destroy(&r);
    index_close(&ix);
    kit_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),  cmocka_unit_test(test_in_motion), cmocka_unit_test(test_wide_graph),
        cmocka_unit_test(test_header), cmocka_unit_test(test_outgrown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
