/* An open index with a reader and an empty collection "c", as the state of a test. */
#ifndef TESTS_KIT_BOX_H
#define TESTS_KIT_BOX_H

#include "store_kit.h"

struct box {
    char dir[128];
    struct index *ix;
    struct index_reader *r;
};

static inline void box_open(struct box *b)
{
    b->ix = kit_open(b->dir);
    assert_int_equal(index_reader_create(&b->r, b->ix, NULL), 0);
}

static inline void box_close(struct box *b)
{
    index_reader_destroy(&b->r);
    index_close(&b->ix);
}

static inline void box_reopen(struct box *b)
{
    box_close(b);
    box_open(b);
}

static inline int box_setup(void **state)
{
    struct box *b = calloc(1, sizeof *b);
    assert_non_null(b);
    kit_dir(b->dir);
    box_open(b);
    kit_create(b->ix, "c");
    *state = b;
    return 0;
}

static inline int box_teardown(void **state)
{
    struct box *b = *state;
    box_close(b);
    kit_remove(b->dir);
    free(b);
    return 0;
}

#endif
