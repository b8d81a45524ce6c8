/* Epochs: when may memory that readers could still look at be used again?
 *
 * A reader announces itself for the length of one search; the writer takes a thing out of every structure, stamps it
 * with epoch_retire(), and reuses it once epoch_quiet() says that no search from before is left. Neither waits.
 * Thread-safety: safe; an epoch_reader belongs to one thread. */
#ifndef INDEX_GRAPH_EPOCH_H
#define INDEX_GRAPH_EPOCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct epoch_reader {
    _Alignas(64) _Atomic uint64_t at; /* 0: not searching */
    struct epoch_reader *next;
};

/* The reader's memory stays the caller's and must outlive unregistering. Blocks: briefly, on other (un)registerings. */
void epoch_register(struct epoch_reader *r);
void epoch_unregister(struct epoch_reader *r);

void epoch_enter(struct epoch_reader *r);
void epoch_leave(struct epoch_reader *r);

/* The stamp of something just made unreachable. */
uint64_t epoch_retire(void);
/* Everything with a stamp below the result may be reused. */
uint64_t epoch_quiet(void);

#endif
