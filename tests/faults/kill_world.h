/* What a data folder must hold after kill -9: a model of two collections of documents that is kept in memory shared by the
 * process that is killed and the one that kills, and the comparison of an opened folder with it.
 *
 * The process that writes says what a group is going to change before it commits (world_plan), and that it is durable after
 * (world_done). Killed between the two, either all of the group is there or nothing of it, and the next to compare finds out which.
 * Thread-safety: one process at a time writes and compares. */
#ifndef TESTS_KILL_WORLD_H
#define TESTS_KILL_WORLD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "index/index.h"
#include "tests/unit.h"

#define WORLD_DOCS 240     /* ids */
#define WORLD_OWN 160      /* from this one on they are in the collection whose vectors clients bring */
#define WORLD_PLAN_MAX 512 /* changes of one group */
#define WORLD_DIM 48u
#define WORLD_TEXT 8192

/* What the writer was doing: where the kills hit. */
enum phase { OPENING, CHECKING, PUTTING, DELETING, EMBEDDING, COMMITTING, MAINTAINING, CLOSING, N_PHASES };
extern const char *const phase_names[N_PHASES];

/* Versions of one id; 0: none. found is what search must find: the accepted one, or the one before while that waits for vectors. */
struct doc {
    uint32_t accepted, found;
    uint32_t last; /* the newest version there ever was */
};

struct world {
    struct doc docs[WORLD_DOCS];
    int n_plan;
    struct {
        int id;
        struct doc after;
    } plan[WORLD_PLAN_MAX];

    _Atomic int phase;
    _Atomic bool checked;      /* this process has compared everything */
    _Atomic unsigned n_steps;  /* of this process since then */
    uint64_t n_groups, n_puts, n_deletes, n_embedded, n_checkpoints, n_undecided, n_kept; /* so far */
};

/* Shared with the processes forked later. */
struct world *world_create(void);

/* Ends the process with status 3 and says why. */
_Noreturn void world_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

const char *world_collection(int id); /* its name */
/* The text of a version, its chunks (1 to 3) and their number. */
uint32_t world_text(int id, uint32_t version, char text[static WORLD_TEXT], struct index_span spans[static 3]);
void world_vector(const char *text, struct index_span span, float v[static WORLD_DIM]);

/* The version as the open group will leave it, for planning more. */
struct doc world_planned(const struct world *w, int id);
void world_plan(struct world *w, int id, struct doc after);
void world_done(struct world *w);
/* The group did not happen: it was rolled back. */
void world_forget(struct world *w);

/* Compares all of ix with the model: texts, what words and vectors find and what not, counts, index_check. */
void world_check(struct world *w, struct index *ix);

#endif
