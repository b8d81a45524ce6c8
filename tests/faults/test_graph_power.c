/* The power fails while a graph is saved, written anew or changed: what was not synced reaches the disk in part and in any order, names
 * as well as bytes. What is left is one of the two last saved states, whole: nothing is damaged, every vector of it is there.
 *
 * The calls that make things durable, or change names, are ours here (below); each is a moment at which the power may fail. */
#include "tests/unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "index/graph.h"

#define DIM 16
#define N_LABELS 500u
#define ROUNDS 120
#define FILES_MAX 2000
#define NAMES_MAX 32
#define PAGE 4096u

/* A file, whatever its names; held open, so that its number is not used again. */
struct file {
    ino_t ino;
    int fd;
    char *data; /* as of its last sync */
    size_t len;
};

struct name {
    char text[64];
    int file;
};

static struct {
    char dir[64], left[96]; /* the graph's folder; what the failure left of it */
    ino_t dir_ino;
    struct file files[FILES_MAX];
    int n_files;
    struct name names[NAMES_MAX]; /* as of the folder's last sync */
    int n_names;
    int fail_in; /* such calls from now; 0: not armed */
    bool failed;
    uint64_t seed;
} disk;

static int file_of(ino_t ino)
{
    for (int i = disk.n_files - 1; i >= 0; i--)
        if (disk.files[i].ino == ino)
            return i;
    return -1;
}

static int look(struct name out[static NAMES_MAX])
{
    int n = 0;
    DIR *d = opendir(disk.dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        struct stat st;
        if (e->d_name[0] == '.')
            continue;
        int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0 && fstat(fd, &st) == 0 && n < NAMES_MAX);
        int f = file_of(st.st_ino);
        if (f < 0) {
            assert_true(disk.n_files < FILES_MAX);
            disk.files[f = disk.n_files++] = (struct file){.ino = st.st_ino, .fd = fd};
        } else {
            close(fd);
        }
        snprintf(out[n].text, sizeof out[n].text, "%.60s", e->d_name);
        out[n++].file = f;
    }
    closedir(d);
    return n;
}

static char *contents(int fd, size_t *len)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    char *data = malloc((size_t)st.st_size + 1);
    *len = (size_t)st.st_size;
    assert_int_equal(pread(fd, data, *len, 0), st.st_size);
    return data;
}

static void synced(int fd)
{
    struct stat st;
    struct name now[NAMES_MAX];
    const int n = look(now);
    assert_int_equal(fstat(fd, &st), 0);
    if (st.st_ino == disk.dir_ino) {
        memcpy(disk.names, now, sizeof now);
        disk.n_names = n;
    }
    int f = file_of(st.st_ino);
    if (f >= 0) {
        free(disk.files[f].data);
        disk.files[f].data = contents(disk.files[f].fd, &disk.files[f].len); /* fd may be for writing only */
    }
}

/* What was synced, and of what was not, some pages. */
static void leave_file(const char *name, const struct file *f)
{
    char path[200];
    size_t len;
    char *now = contents(f->fd, &len);
    const unsigned of_ten = (unsigned)(unit_rand(&disk.seed) % 3) * 5; /* none, half, all */
    size_t end = len > f->len && of_ten < 10 && unit_rand(&disk.seed) % 2 ? f->len : len;
    char *data = calloc(1, end + 1);
    memcpy(data, f->data ? f->data : "", f->len < end ? f->len : end);
    for (size_t at = 0; at < end; at += PAGE)
        if (unit_rand(&disk.seed) % 10 < of_ten)
            memcpy(data + at, now + at, end - at < PAGE ? end - at : PAGE);
    snprintf(path, sizeof path, "%s/%s", disk.left, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, data, end) == (ssize_t)end);
    close(fd);
    free(data);
    free(now);
}

static int find(const struct name *names, int n, const char *text)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i].text, text) == 0)
            return i;
    return -1;
}

static void power_fails(void)
{
    struct name now[NAMES_MAX];
    char cmd[300];
    const int n = look(now);
    disk.failed = true;
    disk.fail_in = 0;
    snprintf(cmd, sizeof cmd, "rm -rf '%s' && mkdir '%s'", disk.left, disk.left);
    assert_int_equal(system(cmd), 0);
    for (int i = 0; i < disk.n_names; i++) { /* as it was, or as it is now */
        const int at = find(now, n, disk.names[i].text);
        if (at >= 0 && unit_rand(&disk.seed) % 2)
            leave_file(now[at].text, &disk.files[now[at].file]);
        else if (at >= 0 || unit_rand(&disk.seed) % 2)
            leave_file(disk.names[i].text, &disk.files[disk.names[i].file]);
    }
    for (int i = 0; i < n; i++)
        if (find(disk.names, disk.n_names, now[i].text) < 0 && unit_rand(&disk.seed) % 2)
            leave_file(now[i].text, &disk.files[now[i].file]);
}

static void moment(void)
{
    if (disk.dir_ino && disk.fail_in && --disk.fail_in == 0)
        power_fails();
}

int fsync(int fd)
{
    moment();
    int r = (int)syscall(SYS_fsync, fd);
    if (r == 0 && disk.dir_ino)
        synced(fd);
    return r;
}

int fdatasync(int fd)
{
    return fsync(fd);
}

int rename(const char *from, const char *to)
{
    moment();
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int unlinkat(int fd, const char *path, int flags)
{
    moment();
    return (int)syscall(SYS_unlinkat, fd, path, flags);
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

/* ---- the graph ---- */

static void vector_of(uint32_t label, uint32_t version, float *v)
{
    uint64_t s = label * 1000003ull + version;
    for (int i = 0; i < DIM; i++)
        v[i] = (float)(int64_t)(unit_rand(&s) >> 40) / 8388608.0f - 1;
}

struct state {
    uint64_t seq;
    uint32_t version[N_LABELS]; /* 0: not there */
};

static struct graph *open_graph(const char *dir, enum graph_codes codes, uint64_t *seq, struct graph_report *rep)
{
    struct graph *g;
    struct err_msg em;
    struct graph_params p = {.dim = DIM, .metric = METRIC_COSINE, .m = 6, .ef_construction = 40, .codes = codes};
    if (graph_open(&g, dir, &p, seq, rep, &em) < 0)
        fail_msg("%s", em.text);
    return g;
}

/* Opens what the failure left: one of the two states. */
static void check_left(enum graph_codes codes, const struct state *before, const struct state *after)
{
    struct graph_report rep = {0};
    struct graph_scratch *s;
    uint64_t seq, n_live = 0;
    struct graph *g = open_graph(disk.left, codes, &seq, &rep);
    if (rep.damaged)
        fail_msg("after the failure: %s", rep.text);
    if (seq != before->seq && seq != after->seq)
        fail_msg("operation %llu, neither %llu nor %llu", (unsigned long long)seq, (unsigned long long)before->seq, (unsigned long long)after->seq);
    const struct state *want = seq == after->seq ? after : before;
    if (graph_check(g, &rep) < 0)
        fail_msg("after the failure: %s", rep.text);
    assert_int_equal(graph_scratch_create(&s), 0);
    for (uint64_t label = 0; label < N_LABELS; label++) {
        struct graph_hit hit;
        float v[DIM];
        size_t n;
        n_live += want->version[label] != 0;
        if (graph_has(g, label) != (want->version[label] != 0))
            fail_msg("label %llu is%s there", (unsigned long long)label, want->version[label] ? " not" : "");
        if (!want->version[label])
            continue;
        vector_of((uint32_t)label, want->version[label], v);
        assert_int_equal(graph_search(g, s, &(struct graph_query){.v = v, .k = 1, .labels = &label, .n_labels = 1}, &hit, &n, NULL), 0);
        if (n != 1 || hit.score < 0.9999f)
            fail_msg("label %llu has another vector", (unsigned long long)label);
    }
    assert_int_equal(graph_count(g), n_live);
    graph_scratch_destroy(&s);
    graph_destroy(&g);
}

static void change(struct graph *g, struct state *now, uint64_t *rng, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t label = (uint32_t)(unit_rand(rng) % N_LABELS);
        float v[DIM];
        if (now->version[label] && unit_rand(rng) % 3 == 0) {
            assert_int_equal(graph_remove(g, label), 0);
            now->version[label] = 0;
        } else {
            now->version[label] = 1 + (uint32_t)(unit_rand(rng) % 1000000);
            vector_of(label, now->version[label], v);
            assert_int_equal(graph_add(g, label, v), 0);
        }
    }
}

static void run(enum graph_codes codes, uint64_t seed)
{
    static struct state saved, now;
    struct stat st;
    struct err_msg em;
    struct graph_report rep;
    uint64_t seq;
    int n_failed = 0;
    memset(&disk, 0, sizeof disk);
    memset(&saved, 0, sizeof saved);
    disk.seed = seed;
    assert_non_null(unit_folder(disk.dir, "power"));
    snprintf(disk.left, sizeof disk.left, "%s-left", disk.dir);
    struct graph *g = open_graph(disk.dir, codes, &seq, &rep);
    assert_int_equal(stat(disk.dir, &st), 0);
    disk.dir_ino = st.st_ino;
    now = saved;
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        disk.failed = false;
        change(g, &now, &seed, 1 + (uint32_t)(unit_rand(&seed) % 150));
        now.seq = round;
        if (round % 5 == 0) {
            power_fails(); /* while nothing is being saved */
        } else {
            disk.fail_in = 1 + (int)(unit_rand(&seed) % 9);
            if ((round % 3 == 0 ? graph_compact(g, round, &em) : graph_checkpoint(g, round, &em)) < 0)
                fail_msg("%s", em.text);
        }
        if (disk.failed)
            check_left(codes, &saved, round % 5 == 0 ? &saved : &now);
        n_failed += disk.failed;
        if (round % 5) { /* it has returned: from here on the new state counts */
            saved = now;
            power_fails();
            check_left(codes, &saved, &saved);
        }
        if (round % 40 == 20) {
            graph_destroy(&g);
            g = open_graph(disk.dir, codes, &seq, &rep);
            assert_int_equal(seq, saved.seq);
            now = saved;
        }
    }
    print_message("codes %d: the power failed in %d of %d rounds, and after each\n", (int)codes, n_failed, ROUNDS);
    assert_true(n_failed > ROUNDS / 2);
    graph_destroy(&g);
    disk.dir_ino = 0;
    for (int i = 0; i < disk.n_files; i++) {
        close(disk.files[i].fd);
        free(disk.files[i].data);
    }
    char cmd[300];
    snprintf(cmd, sizeof cmd, "rm -rf '%s' '%s'", disk.dir, disk.left);
    assert_int_equal(system(cmd), 0);
}

static void test_power(void **state)
{
    const uint64_t seed = unit_seed();
    run(GRAPH_CODES_INT8, seed);
    run(GRAPH_CODES_1BIT, seed + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_power)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
