/* kill -9 at random moments of opening, checking, ingest, replacement, deletion, embedding, checkpoint, compaction and closing.
 *
 *   test_kills [KILLS]      40, unless said
 *
 * A child works on a folder until it is killed: by the parent after so many steps and so many microseconds, or by itself at a fault
 * point, both chosen by the seed (LATENTD_SEED). The next child compares the whole folder with what was acknowledged (kill_world.h)
 * before it goes on, once as it opened and once more when the graph is complete. A kill damages nothing: a warning in a child's log
 * fails the test, too. */
#include "tests/faults/kill_world.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/unit/index/store_kit.h"

#define KILLS 40
#define STEPS_MAX 40          /* of a child that is killed from outside */
#define STEPS_END 150         /* of one that does not get to its fault point */
#define MICROSECONDS_MAX 4000 /* more, within a step */

/* Points where a child kills itself, and after how many passes at most. */
static const struct {
    const char *name;
    unsigned passes;
} points[] = {{"commit", 30},     {"committed", 30},   {"graph.segment.write", 30}, {"graph.vectors.write", 100},
              {"file.rename", 9}, {"file.renamed", 9}, {"maintain.log", 9},         {"maintain.erase", 1}};

struct child {
    struct world *w;
    struct index *ix;
    const char *dir;
    uint64_t seed;
};

static char log_path[160];

static void must(int r, const struct err_msg *em, const char *what)
{
    if (r < 0)
        world_fail("%s: %s: %s", what, err_name(r), em->text);
}

static void enter(struct child *c, enum phase p)
{
    atomic_store(&c->w->phase, (int)p);
}

static void open_index(struct child *c)
{
    struct err_msg em = {""};
    struct index_params p = {.dir = c->dir, .fingerprint = KIT_MODEL, .dim = KIT_DIM};
    enter(c, OPENING);
    must(index_open(&c->ix, &p, &em), &em, "open");
}

static void commit(struct child *c)
{
    struct err_msg em = {""};
    enter(c, COMMITTING);
    must(index_commit(c->ix, NULL, &em), &em, "commit");
    world_done(c->w);
}

/* With own ids the vectors come along; with others they come later, by embed(). */
static void put(struct child *c, int id)
{
    static char text[WORLD_TEXT];
    char name[16];
    struct index_span spans[3];
    struct err_msg em = {""};
    float v[3 * WORLD_DIM];
    struct doc d = world_planned(c->w, id);
    bool own = id >= WORLD_OWN;
    d.accepted = c->w->docs[id].last + 1;
    d.last = d.accepted;
    d.found = own ? d.accepted : d.found;
    uint32_t n = world_text(id, d.accepted, text, spans);
    for (uint32_t i = 0; own && i < n; i++)
        world_vector(text, spans[i], v + i * WORLD_DIM);
    snprintf(name, sizeof name, "d%d", id);
    struct index_doc doc = {.collection = world_collection(id), .id = name, .id_len = strlen(name), .text = text, .text_len = strlen(text),
                            .spans = spans, .n_spans = n, .vectors = own ? v : NULL, .dim = own ? WORLD_DIM : 0};
    world_plan(c->w, id, d);
    must(index_put(c->ix, &doc, &em), &em, "put");
    c->w->n_puts++;
}

static void delete(struct child *c, int id)
{
    char name[16];
    struct err_msg em = {""};
    struct doc d = world_planned(c->w, id);
    if (!d.accepted)
        return;
    d.accepted = d.found = 0;
    snprintf(name, sizeof name, "d%d", id);
    world_plan(c->w, id, d);
    must(index_delete(c->ix, world_collection(id), name, strlen(name), &em), &em, "delete");
    c->w->n_deletes++;
}

static int any_id(struct child *c)
{
    return (int)(unit_rand(&c->seed) % WORLD_DOCS);
}

static void write_group(struct child *c)
{
    unsigned n = 1 + unit_rand(&c->seed) % (unit_rand(&c->seed) % 8 ? 8 : 60), deletes = unit_rand(&c->seed) % 4;
    for (unsigned i = 0; i < n; i++) {
        bool del = unit_rand(&c->seed) % 4 < deletes;
        enter(c, del ? DELETING : PUTTING);
        if (del)
            delete (c, any_id(c));
        else
            put(c, any_id(c));
    }
    commit(c);
}

static void delete_all(struct child *c)
{
    enter(c, DELETING);
    for (int id = 0; id < WORLD_DOCS; id++)
        delete (c, id);
    commit(c);
}

/* Vectors for the oldest chunks that wait; a document is found from its last one on. */
static void embed(struct child *c)
{
    struct index_chunk_list list;
    struct err_msg em = {""};
    uint64_t ids[64];
    float v[64 * WORLD_DIM];
    enter(c, EMBEDDING);
    must(index_pending(c->ix, 0, 1 + unit_rand(&c->seed) % 64, 1 << 20, &list, &em), &em, "pending");
    for (size_t i = 0; i < list.n; i++) {
        const struct index_chunk *k = &list.chunks[i];
        int id = atoi(k->doc_id + 1);
        ids[i] = k->chunk;
        kit_embed(k->text, k->text_len, v + i * WORLD_DIM);
        if (k->last) {
            struct doc d = world_planned(c->w, id);
            d.found = d.accepted;
            world_plan(c->w, id, d);
            c->w->n_embedded++;
        }
    }
    must(index_set_vectors(c->ix, ids, v, list.n, WORLD_DIM, NULL, &em), &em, "vectors");
    index_chunk_list_finish(&list);
    commit(c);
}

static void maintain(struct child *c, unsigned budget_ms, bool to_the_end)
{
    bool more = true;
    struct err_msg em = {""};
    enter(c, MAINTAINING);
    while (more) {
        must(index_maintain(c->ix, budget_ms, &more, &em), &em, "maintain");
        more = more && to_the_end;
    }
}

/* A collection of n documents. */
static void make_passing(struct child *c, const char *name, int n)
{
    struct err_msg em = {""};
    must(index_create(c->ix, &(struct index_collection_params){.name = name}, &em), &em, "create");
    for (int i = 0; i < n; i++) {
        char id[16];
        snprintf(id, sizeof id, "p%d", i);
        float v[WORLD_DIM];
        kit_embed(id, strlen(id), v);
        struct index_doc doc = {.collection = name, .id = id, .id_len = strlen(id), .text = id, .text_len = strlen(id), .vectors = v,
                                .dim = WORLD_DIM};
        must(index_put(c->ix, &doc, &em), &em, "put");
    }
    commit(c);
}

/* What a kill left of the two below: the second has the first one's place, and then no name of its own, or neither. */
static void drop_left(struct child *c)
{
    struct err_msg em = {""};
    struct index_collection first, second;
    const bool there = index_info(c->ix, "passing", &first, NULL) == 0, other = index_info(c->ix, "second", &second, NULL) == 0;
    if (there && first.documents != 0 && first.documents != 20 && (first.documents != 5 || other))
        must(err_set(&em, LT_ECORRUPT, "%d documents, the second %s", (int)first.documents, other ? "as well" : "gone"), &em, "half replaced");
    if (other && !there)
        must(err_set(&em, LT_ECORRUPT, "the second without the first"), &em, "half replaced");
    if (other) /* before the first, or another kill could leave it alone */
        must(index_drop(c->ix, "second", &em), &em, "drop");
    if (there)
        must(index_drop(c->ix, "passing", &em), &em, "drop");
}

/* Collections that come, hold something, one in the other's place, and go: their rows and files are erased in the background. */
static void temporary(struct child *c)
{
    struct err_msg em = {""};
    uint64_t accepted, searchable;
    enter(c, PUTTING);
    drop_left(c);
    make_passing(c, "passing", 20);
    make_passing(c, "second", 5);
    must(index_seqs(c->ix, "passing", &accepted, &searchable), &em, "seqs");
    enter(c, DELETING);
    must(index_replace(c->ix, "passing", "second", accepted, &em), &em, "replace");
    must(index_drop(c->ix, "passing", &em), &em, "drop");
}

static void reopen(struct child *c)
{
    enter(c, CLOSING);
    index_close(&c->ix);
    open_index(c);
    c->w->n_checkpoints++;
}

static void step(struct child *c)
{
    unsigned what = unit_rand(&c->seed) % 100;
    if (what < 46)
        write_group(c);
    else if (what < 78)
        embed(c);
    else if (what < 92)
        maintain(c, unit_rand(&c->seed) % 4, false);
    else if (what < 94)
        temporary(c);
    else if (what < 96)
        delete_all(c);
    else
        reopen(c);
}

static void child_main(struct child *c, const char *fault)
{
    int fd = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
        _exit(4);
    log_set_level(LOG_WARN);
    setenv("LATENTD_FAULT", fault, 1);
    open_index(c);
    enter(c, CHECKING);
    world_check(c->w, c->ix);
    maintain(c, 20, true);
    enter(c, CHECKING);
    world_check(c->w, c->ix);
    atomic_store(&c->w->checked, true);
    for (int i = 0; i < STEPS_END; i++) {
        step(c);
        atomic_fetch_add(&c->w->n_steps, 1);
    }
    kill(getpid(), SIGKILL);
}

/* Fails when the child ended by itself or said anything. */
static void check_child(int status, const char *dir)
{
    char text[4096] = "";
    FILE *f = fopen(log_path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = 0;
    if (f)
        fclose(f);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL || n)
        fail_msg("status %d, working on %s (left there): %s", status, dir, text);
}

/* Starts a child and sees to it that it is killed; where it was then. */
static enum phase round_of(struct world *w, const char *dir, uint64_t *seed)
{
    char fault[128] = "";
    struct child c = {.w = w, .dir = dir, .seed = unit_rand(seed)};
    unsigned kind = unit_rand(seed) % 8, steps = unit_rand(seed) % STEPS_MAX, us = unit_rand(seed) % MICROSECONDS_MAX;
    const size_t p = unit_rand(seed) % (sizeof points / sizeof *points), passes = unit_rand(seed) % points[p].passes;
    snprintf(fault, sizeof fault, "maintain.due=always,maintain.save=always");
    if (kind < 3)
        snprintf(fault + strlen(fault), sizeof fault - strlen(fault), ",%s:%zu=kill", points[p].name, passes);
    atomic_store(&w->checked, false);
    atomic_store(&w->n_steps, 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child_main(&c, fault);
    int status = 0;
    pid_t ended = 0;
    while (kind > 3 && (!atomic_load(&w->checked) || atomic_load(&w->n_steps) < steps) && ended == 0) {
        usleep(100);
        ended = waitpid(pid, &status, WNOHANG);
    }
    if (kind >= 3 && ended == 0) { /* 3: at once, while it opens and compares */
        usleep(kind > 3 || us % 2 ? us : 20 * us);
        kill(pid, SIGKILL);
    }
    if (ended == 0)
        waitpid(pid, &status, 0);
    check_child(status, dir);
    return (enum phase)atomic_load(&w->phase);
}

/* What the last kill left, compared; closed, and found whole by the checker that opens nothing. */
static void check_end(struct world *w, const char *dir)
{
    struct index_check_report rep;
    struct err_msg em = {""};
    struct index *ix = kit_open(dir);
    bool more = true;
    world_check(w, ix);
    while (more)
        kit_ok(index_maintain(ix, 50, &more, &em), &em);
    world_check(w, ix);
    index_close(&ix);
    kit_ok(index_check_folder(&(struct index_check_params){.dir = dir, .say = kit_say}, &rep, &em), &em);
    ix = kit_open(dir);
    world_check(w, ix);
    index_close(&ix);
}

static struct index *new_folder(char dir[static 128])
{
    struct err_msg em;
    struct index *ix = kit_open(kit_dir(dir));
    kit_create(ix, "texts");
    kit_ok(index_create(ix, &(struct index_collection_params){.name = "own", .dim = WORLD_DIM, .vectors_only = true}, &em), &em);
    return ix;
}

static int n_kills = KILLS;

static void test_kills(void **state)
{
    char dir[128];
    uint64_t seed = unit_seed();
    unsigned hits[N_PHASES] = {0};
    struct world *w = world_create();
    assert_non_null(w);
    struct index *ix = new_folder(dir);
    snprintf(log_path, sizeof log_path, "%s.log", dir);
    index_close(&ix);
    for (int i = 0; i < n_kills; i++)
        hits[round_of(w, dir, &seed)]++;
    check_end(w, dir);
    print_message("%d kills:", n_kills);
    for (int i = 0; i < N_PHASES; i++)
        print_message(" %u %s%s", hits[i], phase_names[i], i + 1 < N_PHASES ? "," : "");
    print_message("\n%llu groups acknowledged (%llu puts, %llu deletes, %llu embedded), %llu checkpoints by closing; %llu under way when killed, "
                  "%llu of them durable\n", (unsigned long long)w->n_groups, (unsigned long long)w->n_puts, (unsigned long long)w->n_deletes,
                  (unsigned long long)w->n_embedded, (unsigned long long)w->n_checkpoints, (unsigned long long)w->n_undecided,
                  (unsigned long long)w->n_kept);
    assert_true(w->n_puts > 0 && w->n_deletes > 0 && w->n_embedded > 0 && w->n_checkpoints > 0);
    unlink(log_path);
    kit_remove(dir);
}

/* The comparison itself: a folder that lost its last group, or the one before, does not pass. */
static void test_a_loss_is_seen(void **state)
{
    char dir[128];
    struct world *w = world_create();
    struct index *ix = new_folder(dir);
    struct child c = {.w = w, .ix = ix, .dir = dir, .seed = 3};
    for (int i = 0; i < 30; i++)
        write_group(&c);
    index_close(&c.ix);
    for (int lie = 0; lie < 4; lie++) {
        int id = WORLD_OWN, status;
        while (!w->docs[id].accepted)
            id++;
        struct doc was = w->docs[id];
        if (lie == 1)
            w->docs[id].accepted = w->docs[id].found = 0; /* a deleted one that is there */
        else if (lie == 2)
            w->docs[id].last = w->docs[id].accepted = w->docs[id].found = was.accepted + 1; /* an older version than acknowledged */
        else if (lie == 3)
            w->docs[id].found = 0; /* one that is found too early */
        pid_t pid = fork();
        if (pid == 0) {
            fclose(stderr);
            ix = kit_open(dir);
            world_check(w, ix);
            _exit(0);
        }
        waitpid(pid, &status, 0);
        assert_int_equal(WEXITSTATUS(status), lie ? 3 : 0);
        w->docs[id] = was;
    }
    kit_remove(dir);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_loss_is_seen), cmocka_unit_test(test_kills)};
    n_kills = argc > 1 ? atoi(argv[1]) : KILLS;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
