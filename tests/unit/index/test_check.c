/* The checker and its repairs: each kind of damage is found by name, mended, and nothing else is lost. */
#include "kit_sql.h"

#include <sqlite3.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/file.h"
#include "index/graph_int.h"
#include "index/segment.h"
#include "index/store.h"

#define N_DOCS 60

static char text_of_says[65536];

static void say(void *arg, const char *line)
{
    (void)arg;
    size_t n = strlen(text_of_says);
    snprintf(text_of_says + n, sizeof text_of_says - n, "%s\n", line);
}

static int check(const char *dir, bool repair, struct index_check_report *rep)
{
    struct err_msg em = {""};
    struct index_check_params p = {.dir = dir, .repair = repair, .say = say};
    text_of_says[0] = 0;
    return index_check_folder(&p, rep, &em);
}

/* Two collections: texts, of which one has three chunks, and vectors of a client's own. */
static void make_folder(const char *dir)
{
    struct err_msg em;
    struct index *ix = kit_open(dir);
    kit_create(ix, "t");
    kit_ok(index_create(ix, &(struct index_collection_params){.name = "v", .dim = 3, .vectors_only = true}, &em), &em);
    for (int i = 0; i < N_DOCS; i++) {
        char id[16], text[64];
        snprintf(id, sizeof id, "d%d", i);
        snprintf(text, sizeof text, "word%d of a text in three parts", i);
        struct index_span spans[3] = {{0, 8}, {8, 16}, {16, 24}};
        struct index_doc d = {.collection = "t", .id = id, .id_len = strlen(id), .text = text, .text_len = strlen(text),
                              .spans = i == 7 ? spans : NULL, .n_spans = 3};
        kit_ok(index_put(ix, &d, &em), &em);
        float v[3] = {1, (float)i, 2};
        struct index_doc dv = {.collection = "v", .id = id, .id_len = strlen(id), .text = text, .text_len = strlen(text),
                               .vectors = v, .dim = 3};
        kit_ok(index_put(ix, &dv, &em), &em);
    }
    kit_commit(ix);
    kit_embed_pending(ix);
    kit_ok(index_delete(ix, "t", "d50", 3, &em), &em);
    kit_commit(ix);
    index_close(&ix);
}

/* The folder serves: documents are there but for the lost ones, each is found by its word and by its vector. */
static void serves(const char *dir, const char *lost_t, const char *lost_v)
{
    struct index *ix = kit_open(dir);
    struct index_reader *rd;
    struct err_msg em;
    struct index_collection info;
    kit_embed_pending(ix);
    bool more = true;
    while (more)
        kit_ok(index_maintain(ix, 100, &more, &em), &em);
    kit_check(ix);
    kit_ok(index_info(ix, "t", &info, &em), &em);
    assert_false(info.degraded);
    assert_int_equal(info.pending_chunks, 0);
    assert_int_equal(index_reader_create(&rd, ix, &em), 0);
    for (int i = 0; i < N_DOCS; i++) {
        char id[16], word[16];
        struct index_result res;
        snprintf(id, sizeof id, "d%d", i);
        snprintf(word, sizeof word, "word%d", i);
        assert_int_equal(kit_search(rd, "t", INDEX_TEXT, word, NULL, 1, &res), 0);
        bool there = i != 50 && !(lost_t && strcmp(lost_t, id) == 0);
        if (res.n != there)
            fail_msg("%s: %zu hits for its word", id, res.n);
        index_result_finish(&res);
        struct index_query q = {.collection = "v", .vector = (float[]){1, (float)i, 2}, .dim = 3, .k = 1,
                                .mode = INDEX_DENSE};
        kit_ok(index_search(rd, &q, &res, &em), &em);
        assert_int_equal(res.n, 1);
        if (!(lost_v && strcmp(lost_v, id) == 0))
            if (strcmp(res.hits[0].id, id) != 0)
                fail_msg("%s is nearest to the vector of %s", res.hits[0].id, id);
        index_result_finish(&res);
    }
    index_reader_destroy(&rd);
    index_close(&ix);
}

#define DOC_T(n) "(SELECT doc FROM documents WHERE coll = 1 AND id = 'd" #n "')"
#define CHUNK_T(n) "(SELECT first_chunk FROM documents WHERE coll = 1 AND id = 'd" #n "')"
#define DOC_V(n) "(SELECT doc FROM documents WHERE coll = 2 AND id = 'd" #n "')"
#define CHUNK_V(n) "(SELECT first_chunk FROM documents WHERE coll = 2 AND id = 'd" #n "')"

static void test_rows(void **state)
{
    static const struct {
        const char *damage, *named, *mended, *lost_t, *lost_v;
    } cases[] = {
        {"DELETE FROM texts WHERE doc = " DOC_T(5), "documents without text: 1", "document d5: is taken out", "d5", NULL},
        {"DELETE FROM documents WHERE doc = " DOC_T(5), "texts without document: 1", "", "d5", NULL},
        {"DELETE FROM chunks WHERE chunk = 1 + " CHUNK_T(7), "documents that miss chunks: 1", "document d7: is taken out",
         "d7", NULL},
        {"UPDATE chunks SET end = 9999 WHERE chunk = " CHUNK_T(9), "chunks that lie outside their text: 1", "document d9: is taken out",
         "d9", NULL},
        {"DELETE FROM vectors WHERE chunk = 1 + " CHUNK_T(7), "chunks whose vector is missing or has the wrong length: 1",
         "document d7: will be embedded again", NULL, NULL},
        {"UPDATE vectors SET data = substr(data, 1, 40) WHERE chunk = " CHUNK_T(8), "the wrong length",
         "document d8: will be embedded again", NULL, NULL},
        {"UPDATE vectors SET data = zeroblob(length(data)) WHERE chunk = " CHUNK_T(8), "chunks whose vector cannot be compared: 1",
         "document d8: will be embedded again", NULL, NULL},
        {"UPDATE vectors SET data = CAST(x'0000c07f' || substr(data, 5) AS BLOB) WHERE chunk = 1 + " CHUNK_T(7),
         "chunks whose vector cannot be compared: 1", "document d7: will be embedded again", NULL, NULL},
        {"UPDATE vectors SET data = CAST(substr(data, 1, 8) || x'0000807f' AS BLOB) WHERE chunk = " CHUNK_V(8),
         "chunks whose vector cannot be compared: 1", "collection v, document d8: is taken out; add it again", NULL, "d8"},
        {"DELETE FROM vectors WHERE chunk = " CHUNK_V(8), "chunks whose vector is missing or has the wrong length: 1",
         "collection v, document d8: is taken out; add it again", NULL, "d8"},
        {"UPDATE chunks SET vseq = NULL WHERE chunk = " CHUNK_T(8), "documents neither searchable nor pending: 1",
         "document d8: will be embedded again", NULL, NULL},
        {"UPDATE documents SET live = 0 WHERE doc = " DOC_T(8), "documents neither searchable nor pending: 1",
         "document d8: will be embedded again", NULL, NULL},
        {"INSERT INTO vectors VALUES(99999, x'00')", "vectors without chunk: 1", "", NULL, NULL},
        {"INSERT INTO chunks VALUES(5000, 77777, 1, 0, 0, 1, NULL)", "chunks without document: 1", "", NULL, NULL},
        {"UPDATE documents SET n_pending = 3 WHERE doc = " DOC_T(8), "miscount what is pending", "", NULL, NULL},
        {"UPDATE counters SET next_chunk = 4, next_doc = 4, seq = 4", "rows from the future", "", NULL, NULL},
        {"UPDATE collections SET documents = 3, chunks = 12", "collections with wrong figures: 2", "", NULL, NULL},
        {"INSERT INTO jobs(collection, coll, label, state, total_documents, total_bytes, created_ms)"
         " VALUES('t', 1, '', 9, 0, 0, 0)", "jobs in no known state: 1", "", NULL, NULL},
        {"INSERT INTO documents VALUES(4000, 3, 'x', 1, 1, 0, 1, 1, 0, 0, NULL, '', 0)",
         "documents of no collection: 1", "", NULL, NULL},
        /* A vector that another one took the place of: the graph's is not the store's. */
        {"UPDATE vectors SET data = (SELECT data FROM vectors v WHERE v.chunk = " CHUNK_T(3) ") WHERE chunk = " CHUNK_T(4),
         "collection t: vectors of the graph that are not the store's: 1", "collection t: graph made anew", NULL, NULL},
        {"UPDATE texts SET text = CAST('word8, other words than these before' AS BLOB) WHERE doc = " DOC_V(8), "collection v: words do not match",
         "collection v: words indexed anew", NULL, NULL},
        {"UPDATE texts SET text = CAST('word8 of a text that has changed' AS BLOB) WHERE doc = " DOC_T(8),
         "collection t: words do not match", "collection t: words indexed anew", NULL, NULL},
        {"DELETE FROM words_1_idx; DELETE FROM words_1_data WHERE id > 10", "collection t: words do not match",
         "collection t: words indexed anew", NULL, NULL},
        /* So that FTS5 does not open it any more. */
        {"UPDATE words_1_data SET block = x'ffffffffffffffffff' WHERE id = 10", "collection t: words do not match",
         "collection t: words indexed anew", NULL, NULL},
        {"DELETE FROM words_1_data", "collection t: words do not match", "collection t: words indexed anew", NULL, NULL},
        {"DELETE FROM words_1_config", "collection t: words do not match", "collection t: words indexed anew", NULL, NULL},
        {"DROP TABLE words_1_idx", "collection t: words do not match", "collection t: words indexed anew", NULL, NULL},
        {"DROP TABLE words_1_data", "collection t: words do not match", "collection t: words indexed anew", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char dir[128];
        struct index_check_report rep;
        make_folder(kit_dir(dir));
        assert_int_equal(check(dir, false, &rep), 0);
        assert_int_equal(rep.n_documents, 2 * N_DOCS - 1);
        kit_sql(dir, cases[i].damage);
        for (int repeat = 0; repeat < 2; repeat++) { /* looking changes nothing */
            if (check(dir, false, &rep) != LT_ECORRUPT || !strstr(text_of_says, cases[i].named) || !rep.n_problems)
                fail_msg("%s:\n%s", cases[i].damage, text_of_says);
        }
        if (check(dir, true, &rep) != 0 || !strstr(text_of_says, cases[i].mended) || rep.n_left)
            fail_msg("repair after %s:\n%s", cases[i].damage, text_of_says);
        if (check(dir, false, &rep) != 0)
            fail_msg("left after %s:\n%s", cases[i].damage, text_of_says);
        serves(dir, cases[i].lost_t, cases[i].lost_v);
        kit_remove(dir);
    }
}

static void damage_segment(const char *dir, int coll, int how)
{
    char path[400], name[300] = "";
    snprintf(path, sizeof path, "%s/graph/%d", dir, coll);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        if (strstr(e->d_name, how == 3 ? ".vec" : how == 4 ? "MANIFEST" : ".seg"))
            snprintf(name, sizeof name, "%s", e->d_name);
    closedir(d);
    assert_true(name[0]);
    snprintf(path + strlen(path), sizeof path - strlen(path), "/%s", name);
    FILE *f = fopen(path, how == 0 ? "wb" : "r+b");
    assert_non_null(f);
    for (int i = 0; how < 2 && i < 20000; i++)
        fputc(i * 37, f);
    if (how == 2 || how == 3) { /* one bit, far behind the header */
        assert_int_equal(fseek(f, 4096 + 20, SEEK_SET), 0);
        int c = fgetc(f);
        assert_int_equal(fseek(f, 4096 + 20, SEEK_SET), 0);
        fputc(c ^ 64, f);
    }
    if (how == 4)
        assert_int_equal(ftruncate(fileno(f), 10), 0);
    fclose(f);
}

static void test_graphs(void **state)
{
    for (int how = 0; how < 6; how++) {
        char dir[128], cmd[500];
        struct index_check_report rep;
        make_folder(kit_dir(dir));
        if (how == 5) { /* another collection's graph */
            snprintf(cmd, sizeof cmd, "rm -rf '%s/graph/1' && cp -r '%s/graph/2' '%s/graph/1'", dir, dir, dir);
            assert_int_equal(system(cmd), 0);
        } else {
            damage_segment(dir, 1, how);
        }
        for (int repeat = 0; repeat < 2; repeat++)
            if (check(dir, false, &rep) != LT_ECORRUPT || !strstr(text_of_says, "collection t: "))
                fail_msg("damage %d: %s", how, text_of_says);
        if (check(dir, true, &rep) != 0 || !strstr(text_of_says, "collection t: graph made anew, 61 vectors"))
            fail_msg("damage %d: %s", how, text_of_says);
        assert_true(rep.n_problems > 0 && rep.n_left == 0);
        assert_int_equal(check(dir, false, &rep), 0);
        serves(dir, NULL, NULL);
        kit_remove(dir);
    }
}

/* Takes a label out of the lookup in the segment of t. */
static void forget_label(const char *dir)
{
    char graph[300], path[SEGMENT_PATH], *data;
    size_t len;
    struct segment_manifest m;
    struct segment_header h;
    struct segment_layout l;
    struct err_msg em;
    snprintf(graph, sizeof graph, "%s/graph/1", dir);
    kit_ok(segment_manifest_read(graph, &m, &em), &em);
    segment_path(path, graph, m.gen);
    kit_ok(file_read(path, 64u << 20, &data, &len, &em), &em);
    assert_int_equal(segment_header_unpack(&h, (uint8_t *)data), 0);
    assert_true(segment_layout(&h, &l));
    uint32_t *slots = (uint32_t *)(void *)(data + l.hash), i = 0;
    while (slots[i] == HASH_EMPTY)
        i++;
    slots[i] = HASH_GONE;
    for (uint64_t b = 0; b < l.n_blocks; b++) {
        uint64_t from = l.nodes + b * SEGMENT_BLOCK, n = l.sums - from < SEGMENT_BLOCK ? l.sums - from : SEGMENT_BLOCK;
        uint64_t sum = XXH3_64bits(data + from, n);
        memcpy(data + l.sums + b * 8, &sum, 8);
    }
    kit_ok(file_replace(path, data, len, 0600, &em), &em);
    free(data);
}

/* Two nodes that name each other, parent and child both ways, and that no other one leads to: each is sound by itself. */
static void cut_off_two(struct core *c)
{
    uint32_t two[2], n_two = 0, n_slots = core_n_slots(c), links[2 * GRAPH_M_MAX + 8];
    for (uint32_t id = 0; id < n_slots && n_two < 2; id++)
        if (node_state(core_head(c, id)) == NODE_LIVE && !core_head(c, id)->level && !list_children(core_list(c, id)) &&
            id != atomic_load(&c->root) && id != atomic_load(&c->entry))
            two[n_two++] = id;
    assert_int_equal(n_two, 2);
    for (uint32_t id = 0; id < n_slots; id++) {
        if (node_state(core_head(c, id)) == NODE_FREE)
            continue;
        uint32_t n = list_read_marked(core_list(c, id), links), n_left = 0;
        for (uint32_t i = 0; i < n; i++)
            if ((links[i] & LINK_ID) != two[0] && (links[i] & LINK_ID) != two[1])
                links[n_left++] = links[i];
        list_write(core_list(c, id), links, n_left);
    }
    for (int i = 0; i < 2; i++) {
        list_write(core_list(c, two[i]), (uint32_t[]){two[!i] | LINK_CHILD}, 1);
        core_set_parent(c, two[i], two[!i]);
    }
}

/* Changes one list of the graph of t, or what goes with it, and saves it: every checksum fits what is there. */
static void forge(const char *dir, int how)
{
    struct err_msg em;
    struct index *ix = kit_open(dir);
    kit_ok(index_delete(ix, "t", "d3", 2, &em), &em); /* a free slot, for a link to it */
    kit_commit(ix);
    struct collection *c = collection_find(ix, "t");
    kit_ok(refill_checkpoint(ix, c, false, &em), &em);
    struct core *core = graph_core(c->graph);
    uint32_t n_slots = core_n_slots(core), id = 0, high = 0, links[2 * GRAPH_M_MAX + 8], n, at = 0, free_slot = 0;
    while (node_state(core_head(core, id)) != NODE_LIVE || list_children(core_list(core, id)) < 1)
        id++;
    while (node_state(core_head(core, free_slot)) != NODE_FREE)
        free_slot++;
    n = list_read_marked(core_list(core, id), links);
    assert_true(n >= 2);
    while (links[at] & LINK_CHILD) /* a link that is not of the tree */
        at++;
    assert_true(at < n);
    switch (how) {
    case 0: links[at] = n_slots + 100; break;
    case 1: links[at] = id; break;
    case 2: links[at] = free_slot; break;
    case 3: links[at] = links[at ? 0 : 1] & LINK_ID; break; /* twice */
    case 4: links[at] |= LINK_CHILD; break;                  /* somebody else's child */
    case 5: /* a child forgotten */
        for (uint32_t i = 0; i < n; i++)
            links[i] &= LINK_ID;
        break;
    case 6: n = 0; break;
    case 7: core_head(core, id)->level = 9; break;
    case 8: core_set_parent(core, id, id == atomic_load(&core->root) ? 1 : id); break;
    case 9: core->level_count[0]++; break;
    case 10: break; /* below */
    case 11: core_head(core, id)->vec_sum ^= 1; break;
    case 12: cut_off_two(core); break;
    default: /* on a level above, a link to a node that is not there */
        while (node_state(core_head(core, high)) != NODE_LIVE || !core_head(core, high)->level)
            high++;
        assert_true(high < n_slots);
        list_write(core_links(core, high, 1), (uint32_t[]){core_head(core, id)->level ? n_slots : id}, 1);
    }
    if (how <= 6)
        list_write(core_list(core, id), links, n);
    kit_ok(graph_checkpoint(c->graph, atomic_load(&c->graph_seq), &em), &em);
    collection_release(c);
    index_close(&ix);
    if (how == 10)
        forget_label(dir);
}

/* One neighbour that is not, under right checksums: named, mended, and nothing is lost. Not found, because no harm: a link to
 * another live node of the level. */
static void test_forged(void **state)
{
    static const char *const named[] = {"which does not exist", "link to itself", "which is free", "two links to", "is not its child", "does not name it",
                                        "does not name it", "level 9", "parent", "counts of nodes by level", "lookup does not lead",
                                        "exact vector differs", "58 of 60 live nodes are reached", "which "};
    for (int how = 0; how < (int)(sizeof named / sizeof *named); how++) {
        char dir[128];
        struct index_check_report rep;
        make_folder(kit_dir(dir));
        forge(dir, how);
        if (check(dir, false, &rep) != LT_ECORRUPT || !strstr(text_of_says, named[how]))
            fail_msg("forged %d: %s", how, text_of_says);
        if (check(dir, true, &rep) != 0 || !strstr(text_of_says, "collection t: graph made anew, 60 vectors"))
            fail_msg("forged %d: %s", how, text_of_says);
        assert_int_equal(check(dir, false, &rep), 0);
        serves(dir, "d3", NULL);
        kit_remove(dir);
    }
}

/* One round of housekeeping. */
static void keep_house(struct index *ix)
{
    struct err_msg em;
    ix->maintain_ns = 0; /* it is due */
    for (bool more = true; more;)
        kit_ok(index_maintain(ix, 100, &more, &em), &em);
}

/* The same, and nobody asks: a running store comes upon it by itself, within its housekeeping, and makes the graph anew. A round that gets
 * little time looks at a few nodes of one collection. */
static void test_forged_in_use(void **state)
{
    for (int how = 0; how < 14; how++) {
        char dir[128];
        struct err_msg em;
        if (how == 9) /* a figure that nothing relies on; check finds it */
            continue;
        make_folder(kit_dir(dir));
        forge(dir, how);
        struct index *ix = kit_open(dir);
        struct index_check_report rep;
        int r = LT_ECORRUPT;
        for (size_t i = 0; r < 0 && i < N_DOCS * ix->n_collections; i++) {
            keep_house(ix);
            text_of_says[0] = 0;
            r = index_check(ix, say, NULL, &em);
        }
        if (r < 0)
            fail_msg("forged %d: %s", how, text_of_says);
        index_close(&ix);
        assert_int_equal(check(dir, false, &rep), 0);
        kit_remove(dir);
    }
}

/* A collection whose words FTS5 does not open can be dropped all the same, and its space comes back. */
static void test_dropped(void **state)
{
    char dir[128];
    struct err_msg em;
    struct index_check_report rep;
    make_folder(kit_dir(dir));
    kit_sql(dir, "UPDATE words_1_data SET block = x'ff' WHERE id = 10");
    struct index *ix = kit_open(dir);
    kit_ok(index_drop(ix, "t", &em), &em);
    for (bool more = true; more;)
        kit_ok(index_maintain(ix, 100, &more, &em), &em);
    kit_create(ix, "t");
    index_close(&ix);
    assert_int_equal(check(dir, false, &rep), 0);
    assert_int_equal(rep.n_collections, 2);
    sqlite3 *db;
    char path[300];
    snprintf(path, sizeof path, "%s/store.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "SELECT block FROM words_1_data", NULL, NULL, NULL), SQLITE_ERROR); /* no such table */
    assert_int_equal(sqlite3_exec(db, "SELECT block FROM words_2_data", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    kit_remove(dir);
}

static void put_vector(struct index *ix, const char *collection, int i, float third)
{
    char id[16];
    struct err_msg em;
    snprintf(id, sizeof id, "d%d", i);
    float v[3] = {1, (float)i, third};
    struct index_doc d = {.collection = collection, .id = id, .id_len = strlen(id), .vectors = v, .dim = 3};
    kit_ok(index_put(ix, &d, &em), &em);
}

/* A graph of the same shape, size and age that belongs to another collection, or to the same one of another store. */
static void test_not_ours(void **state)
{
    for (int other_store = 0; other_store < 2; other_store++) {
        char dirs[2][128], cmd[900];
        struct err_msg em;
        struct index_check_report rep;
        for (int i = 0; i < 2; i++) {
            struct index *ix = kit_open(kit_dir(dirs[i]));
            for (int k = 0; k < 2; k++)
                kit_ok(index_create(ix, &(struct index_collection_params){.name = k ? "b" : "a", .dim = 3, .vectors_only = true}, &em), &em);
            for (int n = 0; n < N_DOCS; n++)
                for (int k = 0; k < 2; k++)
                    put_vector(ix, k ? "b" : "a", n, (float)(3 + k + 10 * i));
            kit_commit(ix);
            index_close(&ix);
        }
        snprintf(cmd, sizeof cmd, "rm -rf '%s/graph/1' && cp -r '%s/graph/%d' '%s/graph/1'", dirs[0], dirs[other_store], other_store ? 1 : 2,
                 dirs[0]);
        assert_int_equal(system(cmd), 0);
        assert_int_equal(check(dirs[0], false, &rep), LT_ECORRUPT);
        assert_non_null(strstr(text_of_says, "collection a: graph: its files are not of this store"));
        struct index *ix = kit_open(dirs[0]); /* without a check, too */
        struct index_collection a, b;
        kit_ok(index_info(ix, "a", &a, &em), &em);
        kit_ok(index_info(ix, "b", &b, &em), &em);
        assert_true(a.degraded && !b.degraded);
        for (bool more = true; more;)
            kit_ok(index_maintain(ix, 100, &more, &em), &em);
        kit_check(ix);
        index_close(&ix);
        assert_int_equal(check(dirs[0], false, &rep), 0);
        kit_remove(dirs[0]);
        kit_remove(dirs[1]);
    }
}

/* Whose own score f32 takes for nothing. */
static void test_tiny_vectors(void **state)
{
    const float v[2][2] = {{3e-25f, 1e-25f}, {-2e-30f, 0}};
    char dir[128];
    struct err_msg em;
    struct index_check_report rep;
    (void)state;
    kit_dir(dir);
    struct index *ix = kit_open(dir);
    kit_ok(index_create(ix, &(struct index_collection_params){.name = "v", .dim = 2, .vectors_only = true, .metric = METRIC_IP}, &em), &em);
    for (int i = 0; i < 2; i++)
        kit_ok(index_put(ix, &(struct index_doc){.collection = "v", .id = i ? "a" : "b", .id_len = 1, .text = "t", .text_len = 1,
                                                 .vectors = v[i], .dim = 2}, &em), &em);
    kit_commit(ix);
    index_close(&ix);
    assert_int_equal(check(dir, false, &rep), 0);
    assert_int_equal(rep.n_problems, 0);
    kit_remove(dir);
}

static void test_no_store(void **state)
{
    char dir[128], path[200];
    struct index_check_report rep;
    kit_dir(dir);
    assert_int_equal(check(dir, true, &rep), LT_ENOTFOUND);
    assert_int_equal(access(dir, F_OK), 0);
    snprintf(path, sizeof path, "%s/absent", dir);
    assert_int_equal(check(path, true, &rep), LT_ENOTFOUND);
    assert_int_not_equal(access(path, F_OK), 0);
    make_folder(dir);
    struct index *ix = kit_open(dir);
    assert_int_equal(check(dir, false, &rep), LT_ELOCKED);
    index_close(&ix);
    assert_int_equal(check(dir, false, &rep), 0);
    /* Noise where the store was. */
    snprintf(path, sizeof path, "%s/store.db", dir);
    FILE *f = fopen(path, "r+b");
    for (int i = 0; i < 8192; i++)
        fputc(i * 7, f);
    fclose(f);
    int r = check(dir, true, &rep);
    assert_true(r == LT_ECORRUPT || r == LT_EFORMAT);
    assert_int_equal(rep.n_left, 1);
    struct err_msg em;
    assert_int_equal(index_open(&ix, &(struct index_params){.dir = dir}, &em), r);
    assert_non_null(strstr(em.text, path));
    kit_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_graphs),
                                       cmocka_unit_test(test_forged), cmocka_unit_test(test_forged_in_use), cmocka_unit_test(test_not_ours),
                                       cmocka_unit_test(test_tiny_vectors), cmocka_unit_test(test_no_store), cmocka_unit_test(test_dropped)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
