/* Saving in bites, while the graph changes between them: what is saved is the graph of one moment, byte by byte, whatever came after;
 * what came after stays in memory and goes into the next one; and a save that ends early leaves all as it was. */
#include "store_kit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/file.h"
#include "index/graph.h"
#include "index/graph_save.h"

#define N_LABELS 1400u /* at most; a vector each */
#define N_FIRST 800u
#define BITE 3000u /* bytes: a hundred bites or more */
#define SEQ 7u

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_MEMORY_TELLS 0 /* a sanitizer's grows meanwhile, and takes ten times as long */
#else
#define OWN_MEMORY_TELLS 1
#endif

static void vector_of(uint64_t label, uint64_t version, uint32_t dim, float *v)
{
    uint64_t s = label * 77 + version * 1000003 + 5;
    for (uint32_t i = 0; i < dim; i++)
        v[i] = (float)(int64_t)(unit_rand(&s) >> 40) / 8388608.0f - 1;
}

/* A graph, and which version of each label's vector is in it; 0: none. */
struct world {
    struct graph *g;
    char dir[128];
    struct graph_params p;
    uint32_t version[N_LABELS];
    uint64_t rng;
};

static void open_world(struct world *w)
{
    struct err_msg em;
    uint64_t seq;
    kit_ok(graph_open(&w->g, w->dir, &w->p, &seq, NULL, &em), &em);
}

static void put(struct world *w, uint64_t label)
{
    static float v[1024];
    vector_of(label, ++w->version[label], w->p.dim, v);
    assert_int_equal(graph_add(w->g, label, v), 0);
}

static void take(struct world *w, uint64_t label)
{
    assert_int_equal(graph_remove(w->g, label), w->version[label] ? 0 : LT_ENOTFOUND);
    w->version[label] = 0;
}

/* True when label is found by its own vector, and exactly. */
static bool found(const struct world *w, uint64_t label)
{
    static float v[1024];
    struct graph_scratch *s;
    struct graph_hit hit;
    size_t n;
    vector_of(label, w->version[label], w->p.dim, v);
    struct graph_query q = {.v = v, .k = 1, .ef = N_LABELS};
    assert_int_equal(graph_scratch_create(&s), 0);
    assert_int_equal(graph_search(w->g, s, &q, &hit, &n, NULL), 0);
    graph_scratch_destroy(&s);
    return n == 1 && hit.label == label && hit.score > 0.9999f;
}

/* Adds, replaces and removes a little; what was just put is found. */
static void change(struct world *w, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t label = unit_rand(&w->rng) % N_LABELS, other = unit_rand(&w->rng) % N_LABELS;
        put(w, label);
        if (unit_rand(&w->rng) % 4)
            take(w, other);
        if (i == 0 && label != other && !found(w, label))
            fail_msg("label %llu is not found during the save", (unsigned long long)label);
    }
}

/* Many at once, by several threads. */
static void change_many(struct world *w)
{
    static float v[64 * 1024];
    uint64_t labels[64];
    int results[64];
    for (uint32_t i = 0; i < 64; i++) {
        labels[i] = unit_rand(&w->rng) % N_LABELS;
        vector_of(labels[i], ++w->version[labels[i]], w->p.dim, v + (size_t)i * w->p.dim);
    }
    graph_add_many(w->g, labels, v, 64, 4, results);
    for (uint32_t i = 0; i < 64; i++)
        assert_int_equal(results[i], 0);
}

static void sound(const struct world *w)
{
    struct graph_report rep;
    uint64_t n = 0;
    if (graph_check(w->g, &rep) < 0)
        fail_msg("%s", rep.text);
    for (uint32_t i = 0; i < N_LABELS; i++) {
        n += w->version[i] != 0;
        if (graph_has(w->g, i) != (w->version[i] != 0))
            fail_msg("label %u: there or not there", i);
        if (w->version[i] && i % 17 == 0 && !found(w, i))
            fail_msg("label %u is not found", i);
    }
    assert_int_equal(rep.n_live, n);
    assert_int_equal(rep.n_reached, n);
}

/* mapped: from its file, with changes since; else only in memory. */
static void make_world(struct world *w, enum graph_codes codes, uint32_t dim, bool mapped)
{
    struct err_msg em;
    memset(w, 0, sizeof *w);
    w->p = (struct graph_params){.dim = dim, .m = 6, .ef_construction = 40, .codes = codes};
    w->rng = 11;
    open_world((kit_dir(w->dir), w));
    for (uint64_t label = 0; label < N_FIRST; label++)
        put(w, label);
    if (mapped) {
        kit_ok(graph_checkpoint(w->g, 3, &em), &em);
        graph_destroy(&w->g);
        open_world(w);
        change(w, 60);
    }
    for (uint64_t label = 0; label < N_FIRST; label += 9)
        take(w, label);
}

static void remove_world(struct world *w)
{
    graph_destroy(&w->g);
    kit_remove(w->dir);
}

static void begin(struct world *w, bool whole)
{
    struct err_msg em;
    kit_ok(graph_save_begin(w->g, whole, &em), &em);
    w->g->save->bite = BITE;
}

static bool step(struct world *w)
{
    struct err_msg em;
    bool done;
    kit_ok(graph_save_step(w->g, SEQ, UINT64_MAX, &done, &em), &em);
    return done;
}

/* The whole segment, without this file's number in its first page. */
static char *segment_of(const struct world *w, size_t *len)
{
    struct segment_manifest m;
    struct segment_header h;
    struct err_msg em;
    char path[SEGMENT_PATH], *data;
    kit_ok(segment_manifest_read(w->dir, &m, &em), &em);
    segment_path(path, w->dir, m.gen);
    kit_ok(file_read(path, 64u << 20, &data, len, &em), &em);
    kit_ok(segment_header_unpack(&h, (uint8_t *)data), &em);
    h.gen = h.vectors_gen = 1;
    segment_header_pack(&h, (uint8_t *)data);
    return data;
}

static const struct {
    enum graph_codes codes;
    uint32_t dim;
} kinds[] = {{GRAPH_CODES_INT8, 48}, {GRAPH_CODES_INT8, OWN_MEMORY_TELLS ? 256 : 96}, {GRAPH_CODES_1BIT, 64}, {GRAPH_CODES_F32, 24}};

/* Two like graphs; one is saved at once, the other while it changes, and, if lean, moves into the file out of memory. The files are the same. */
static void same_moment(enum graph_codes codes, uint32_t dim, bool mapped, bool threads, bool lean)
{
    static struct world one, other, then;
    struct err_msg em;
    size_t len[2];
    unsigned n_steps = 0;
    make_world(&one, codes, dim, mapped);
    make_world(&other, codes, dim, mapped);
    kit_ok(graph_checkpoint(one.g, SEQ, &em), &em);
    graph_set_lean(other.g, lean);
    begin(&other, false);
    while (other.g->save->phase == SAVE_SWEEP)
        step(&other);
    then = other;
    do {
        if (threads && n_steps % 8 == 4)
            change_many(&other);
        else
            change(&other, 3);
        n_steps++;
    } while (!step(&other));
    print_message("codes %d, mapped %d, lean %d: %u bites\n", (int)codes, mapped, lean, n_steps);
    assert_true(n_steps > 30);
    assert_int_equal(other.g->core->seg != NULL, mapped || lean);
    sound(&other);
    char *a = segment_of(&one, &len[0]), *b = segment_of(&other, &len[1]);
    assert_int_equal(len[0], len[1]);
    for (size_t i = 0; i < len[0]; i++)
        if (a[i] != b[i])
            fail_msg("codes %d, mapped %d: byte %zu of %zu differs after %u bites", (int)codes, mapped, i, len[0], n_steps);
    free(a);
    free(b);
    change(&other, 300); /* on what the graph is mapped from now, and freed slots */
    sound(&other);
    graph_destroy(&other.g); /* and is forgotten: the store has it */
    then.g = NULL;
    open_world(&then);
    assert_int_equal(atomic_load(&then.g->covered_seq), SEQ);
    sound(&then);
    remove_world(&then);
    remove_world(&one);
}

static void test_moment(void **state)
{
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int mapped = 0; mapped < 2; mapped++)
            for (int lean = 0; lean <= ((k == 3 || (k == 0 && OWN_MEMORY_TELLS)) && !mapped); lean++)
                same_moment(kinds[k].codes, kinds[k].dim, mapped, k < 2, lean);
}

static uint64_t own_memory(void)
{
    unsigned long long resident = 0, files = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*u %llu %llu", &resident, &files), 2);
    fclose(f);
    return (resident - files) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* What a lean graph had in memory goes back to the system with each save, and it works on in its file, again and again. */
static void test_lean(void **state)
{
    static struct world w;
    struct err_msg em;
    const uint32_t dim = OWN_MEMORY_TELLS ? 1024 : 128;
    make_world(&w, GRAPH_CODES_F32, dim, false);
    sound(&w);
    const uint64_t own = graph_own_bytes(w.g), before = own_memory();
    assert_true(own >= N_FIRST * dim * sizeof(float) && own < 2 * N_FIRST * dim * sizeof(float));
    graph_set_lean(w.g, true);
    for (int pass = 0; pass < 2; pass++) {
        kit_ok(graph_checkpoint(w.g, SEQ, &em), &em);
        graph_set_lean(w.g, true);
        assert_int_equal(graph_own_bytes(w.g), 0);
        const uint64_t now = own_memory();
        print_message("%llu KiB in memory were %llu, and %llu of the graph's\n", (unsigned long long)now >> 10, (unsigned long long)before >> 10,
                      (unsigned long long)own >> 10);
        assert_true(!OWN_MEMORY_TELLS || now + own / 2 < before);
        change(&w, 5);
        assert_true(graph_own_bytes(w.g) > 0);
        sound(&w);
    }
    remove_world(&w);
}

/* Nodes that are dead when the moment comes, since they died during the sweep before it: they are left out of the file, and the graph
 * that goes on keeps them until it has swept them. Saved many times, on and on. */
static void test_dead(void **state)
{
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        static struct world w, then;
        unsigned n_dead = 0;
        make_world(&w, kinds[k].codes, kinds[k].dim, k % 2);
        for (int i = 0; i < 6; i++) {
            struct graph_info info;
            begin(&w, false);
            do {
                if (w.g->save->phase == SAVE_SWEEP) {
                    change(&w, 2);
                    then = w;
                    n_dead = w.g->save->c->dead.n;
                }
            } while (w.g->save->phase == SAVE_SWEEP && !step(&w));
            do
                change(&w, 2);
            while (!step(&w));
            assert_true(n_dead > 0);
            graph_info(w.g, &info);
            assert_true(info.n_changes > 0); /* those after the moment count for the next one */
            sound(&w);
            then.g = NULL;
            open_world(&then);
            sound(&then);
            graph_destroy(&then.g);
        }
        remove_world(&w);
    }
}

static unsigned n_files(const char *dir)
{
    unsigned n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* Ended after every so many bites, by the caller or by the graph's end: the former files are current, or those of the moment. */
static void test_ended(void **state)
{
    for (int whole = 0; whole < 2; whole++) {
        static struct world w, then;
        unsigned n_old = 0, n_new = 0;
        bool done = false;
        for (unsigned n = 0; !done; n += 1 + n / 5) {
            struct err_msg em;
            make_world(&w, GRAPH_CODES_INT8, 48, n % 2);
            kit_ok(graph_checkpoint(w.g, 5, &em), &em);
            then = w;
            change(&w, 20);
            begin(&w, whole);
            for (unsigned i = 0; i < n && !done; i++) {
                struct graph_report rep;
                uint32_t n_blocks;
                done = step(&w);
                assert_int_equal(graph_scrub(w.g, UINT32_MAX, &n_blocks, &rep), 0);
                assert_int_equal(n_blocks > 0, !graph_saving(w.g)); /* its errand may just put other files in the place of these */
            }
            if (n % 3) {
                graph_save_abort(w.g);
                assert_false(graph_saving(w.g));
                sound(&w);
                change(&w, 50);
                sound(&w);
            }
            bool new = atomic_load(&w.g->covered_seq) == SEQ;
            graph_destroy(&w.g);
            if (n % 3) { /* else the manifest may just have been written when the graph went */
                then.g = NULL;
                open_world(&then);
                assert_int_equal(atomic_load(&then.g->covered_seq), new ? SEQ : 5);
                if (!new)
                    sound(&then);
                assert_int_equal(n_files(then.dir), 3);
                graph_destroy(&then.g);
            }
            n_old += !new;
            n_new += new;
            kit_remove(w.dir);
        }
        assert_true(n_old > 5 && n_new > 0);
    }
}

/* The folder is another's after every so many bites: it has files of the same names, and keeps them as they are. */
static void test_forsaken(void **state)
{
    static const char *const theirs[] = {"MANIFEST", "segment-0000000000000002.seg", "vectors-0000000000000002.vec"};
    static struct world w;
    unsigned n_begun = 0;
    for (int whole = 0; whole < 2; whole++) {
        bool over = false;
        for (unsigned n = 0; !over; n += 1 + n / 5) {
            struct err_msg em;
            struct stat st;
            char path[256], away[160];
            bool done;
            make_world(&w, GRAPH_CODES_INT8, 48, n % 2);
            kit_ok(graph_checkpoint(w.g, 5, &em), &em);
            begin(&w, whole);
            for (unsigned i = 0; i < n && w.g->save && w.g->save->phase < SAVE_MANIFEST; i++)
                step(&w);
            over = !w.g->save || w.g->save->phase >= SAVE_MANIFEST;
            if (!over) {
                snprintf(away, sizeof away, "%s-away", w.dir);
                assert_true(rename(w.dir, away) == 0 && mkdir(w.dir, 0700) == 0);
                for (size_t i = 0; i < 3; i++) {
                    snprintf(path, sizeof path, "%s/%s", w.dir, theirs[i]);
                    assert_int_equal(file_replace(path, "theirs", 6, 0600, &em), 0);
                }
                graph_forsake(w.g);
                if (n % 3)
                    graph_save_abort(w.g);
                assert_int_equal(graph_save_step(w.g, SEQ, UINT64_MAX, &done, &em), n % 3 ? 0 : LT_EIO);
                assert_false(graph_saving(w.g));
                assert_int_equal(graph_save_begin(w.g, whole, &em), LT_EIO);
                change(&w, 20);
                sound(&w);
                n_begun++;
                kit_remove(away);
            }
            graph_destroy(&w.g);
            for (size_t i = 0; i < 3 && !over; i++) {
                snprintf(path, sizeof path, "%s/%s", w.dir, theirs[i]);
                assert_int_equal(stat(path, &st), 0);
                assert_int_equal(st.st_size, 6);
            }
            assert_true(over || n_files(w.dir) == 3);
            kit_remove(w.dir);
        }
    }
    assert_true(n_begun > 10);
}

/* A graph without free slots: made in bites, or given up at the first change, at whatever bite. */
static void test_whole(void **state)
{
    static struct world w;
    struct err_msg em;
    struct graph_info info;
    bool done = false;
    unsigned n_given_up = 0;
    make_world(&w, GRAPH_CODES_INT8, 48, true);
    for (unsigned n = 0; !done; n += 1 + n / 5) {
        int r = 0;
        begin(&w, true);
        while (w.g->save->phase == SAVE_SWEEP)
            step(&w);
        for (unsigned i = 0; i < n && !done; i++)
            done = step(&w);
        if (done)
            break;
        put(&w, 5);
        while (r == 0 && !done)
            r = graph_save_step(w.g, SEQ, UINT64_MAX, &done, &em);
        assert_int_equal(r, LT_EBUSY);
        assert_true(done && !graph_saving(w.g));
        done = false;
        n_given_up++;
    }
    assert_true(n_given_up > 5);
    graph_info(w.g, &info);
    assert_int_equal(info.n_slots, info.n_live);
    assert_int_equal(info.n_changes, 0);
    sound(&w);
    graph_destroy(&w.g);
    open_world(&w);
    sound(&w);
    remove_world(&w);
}

enum { KEPT = 0, NOT_REACHED = 3, WRONG = 5 };

/* In a process of its own: what is written at its end, what is kept before a change, or what goes into the new file of vectors, fails. */
static int save_without_room(bool mapped, int after)
{
    static struct world w;
    struct err_msg em = {""};
    char spec[80];
    bool done = false;
    int r = 0;
    snprintf(spec, sizeof spec, "graph.segment.write:%d=always", after + (mapped ? 20 : 0));
    setenv("LATENTD_FAULT", spec, 1);
    make_world(&w, GRAPH_CODES_INT8, 48, mapped);
    begin(&w, false);
    while (r == 0 && !done) {
        change(&w, 3);
        r = graph_save_step(w.g, SEQ, UINT64_MAX, &done, &em);
    }
    if (r == 0)
        return NOT_REACHED;
    sound(&w);
    change(&w, 50);
    sound(&w);
    if (r != LT_ENOSPC || !em.text[0] || graph_saving(w.g) || n_files(w.dir) != (mapped ? 3 : 0))
        return WRONG;
    graph_destroy(&w.g);
    open_world(&w);
    if (atomic_load(&w.g->covered_seq) != (mapped ? 3 : 0))
        return WRONG;
    remove_world(&w);
    return KEPT;
}

static void test_no_room(void **state)
{
    const char *compiled = getenv("LATENTD_FAULTS");
    if (!compiled || strcmp(compiled, "yes") != 0)
        skip();
    for (int mapped = 0; mapped < 2; mapped++) {
        int n_kept = 0, status = 0;
        for (int after = 0; WEXITSTATUS(status) != NOT_REACHED; after += 1 + after) {
            fflush(NULL);
            pid_t pid = fork();
            if (pid == 0)
                _exit(save_without_room(mapped, after));
            assert_int_equal(waitpid(pid, &status, 0), pid);
            assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == KEPT || WEXITSTATUS(status) == NOT_REACHED));
            n_kept += WEXITSTATUS(status) == KEPT;
        }
        assert_true(n_kept >= 6);
    }
}

/* ---- what is on its way to the disk ---- */

/* Bytes of the files of one kind that were written and not sent on their way; the graph's calls end up here. */
static atomic_bool counted;
static atomic_llong unsent, unsent_max, runs, pieces;

static bool is_vectors(int fd)
{
    char link[40], path[600];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    return strstr(path, "/vectors-") != NULL;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    if (atomic_load(&counted) && is_vectors(fd)) {
        long long now = atomic_fetch_add(&unsent, (long long)len) + (long long)len;
        if (now > atomic_load(&unsent_max))
            atomic_store(&unsent_max, now);
    }
    if (atomic_load(&counted) && !is_vectors(fd))
        atomic_fetch_add(len == SEGMENT_RUN && at % SEGMENT_RUN == 0 ? &runs : &pieces, 1);
    return syscall(SYS_pwrite64, fd, data, len, at);
}

int sync_file_range(int fd, off_t at, off_t len, unsigned flags)
{
    if (atomic_load(&counted) && is_vectors(fd) && (flags & SYNC_FILE_RANGE_WRITE))
        atomic_fetch_sub(&unsent, (long long)len);
    return (int)syscall(SYS_sync_file_range, fd, at, len, flags);
}

/* Exact vectors, written anew by a compaction or for the first time: never more than two windows of 8 MiB wait for their last sync. */
/* Whole runs, but for the first and the last; besides, checksums, header and manifest. */
static void test_runs(void **state)
{
    (void)state;
    static struct world w;
    struct err_msg em;
    const uint32_t n = 2000;
    memset(&w, 0, sizeof w);
    w.p = (struct graph_params){.dim = 1024, .m = 4, .ef_construction = 8, .codes = GRAPH_CODES_F32};
    open_world((kit_dir(w.dir), &w));
    float v[1024];
    for (uint32_t i = 0; i < n; i++) {
        vector_of(i, 1, w.p.dim, v);
        assert_int_equal(graph_add(w.g, i, v), 0);
    }
    atomic_store(&counted, true);
    kit_ok(graph_checkpoint(w.g, 1, &em), &em);
    atomic_store(&counted, false);
    print_message("%lld whole runs, %lld pieces\n", atomic_load(&runs), atomic_load(&pieces));
    assert_true(atomic_load(&runs) >= (long long)(n * w.p.dim * 4 / SEGMENT_RUN) - 1);
    assert_true(atomic_load(&pieces) <= 6);
    graph_destroy(&w.g);
    kit_remove(w.dir);
}

static void test_paced(void **state)
{
    static struct world w;
    struct err_msg em;
    const uint32_t n = 3000;
    memset(&w, 0, sizeof w);
    w.p = (struct graph_params){.dim = 3072, .m = 4, .ef_construction = 8, .codes = GRAPH_CODES_1BIT};
    open_world((kit_dir(w.dir), &w));
    float *v = malloc(w.p.dim * sizeof *v);
    for (uint32_t i = 0; i < n; i++) {
        vector_of(i, 1, w.p.dim, v);
        assert_int_equal(graph_add(w.g, i, v), 0);
    }
    free(v);
    for (int whole = 0; whole < 2; whole++) {
        atomic_store(&unsent, 0);
        atomic_store(&unsent_max, 0);
        atomic_store(&counted, true);
        kit_ok(whole ? graph_compact(w.g, 2, &em) : graph_checkpoint(w.g, 1, &em), &em);
        atomic_store(&counted, false);
        print_message("%s: at most %lld of %llu KiB unsent\n", whole ? "compaction" : "first save", atomic_load(&unsent_max) / 1024,
                      (unsigned long long)n * w.p.dim * 4 / 1024);
        assert_true(atomic_load(&unsent_max) > 0);
        assert_true(atomic_load(&unsent_max) <= 2 * (8 << 20));
    }
    graph_destroy(&w.g);
    kit_remove(w.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_room), /* first: fault points are armed once a process */
        cmocka_unit_test(test_moment), cmocka_unit_test(test_lean), cmocka_unit_test(test_dead),  cmocka_unit_test(test_ended),
        cmocka_unit_test(test_forsaken), cmocka_unit_test(test_whole), cmocka_unit_test(test_runs), cmocka_unit_test(test_paced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
