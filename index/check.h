/* What checking and repairing share; private to index/. */
#ifndef INDEX_CHECK_H
#define INDEX_CHECK_H

#include "index/store.h"

struct check {
    struct index *ix;
    void (*say)(void *arg, const char *line); /* NULL: nobody listens */
    void *arg;
    unsigned n_problems;
};

/* Counts a problem and says it. */
__attribute__((format(printf, 2, 3))) void check_problem(struct check *c, const char *fmt, ...);

/* A rule about rows. `count` counts what breaks it. What mends it: `bad` selects the documents (column doc) that cannot
 * stay as they are; where `again`, a new embedding helps them. `fix` is a statement. */
struct check_rule {
    const char *what, *count, *bad, *fix;
    bool again;
};
extern const struct check_rule check_rules[];
extern const size_t check_n_rules;

/* SQLite's own check of the file. */
int check_sqlite(struct check *c, struct err_msg *em);
/* All rules. */
int check_rows(struct check *c, struct err_msg *em);
/* The words against the texts; false: a problem. */
bool check_words(struct check *c, const struct collection *k);
/* The graph with itself, and with the store's rows and vectors; false: a problem. */
bool check_graph(struct check *c, const struct collection *k);

#endif
