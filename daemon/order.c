#include "daemon/order.h"

#include <pthread.h>
#include <stdlib.h>

struct order {
    pthread_mutex_t lock;
    unsigned refs;
    struct writer *writer; /* known from the first op on */
    struct order_place *head, **tail;
};

struct order *order_create(void)
{
    struct order *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    pthread_mutex_init(&o->lock, NULL);
    o->refs = 1;
    o->tail = &o->head;
    return o;
}

/* With the lock, which it gives up. */
static void unlock_drop(struct order *o, unsigned n_refs)
{
    unsigned left = o->refs -= n_refs;
    pthread_mutex_unlock(&o->lock);
    if (left)
        return;
    pthread_mutex_destroy(&o->lock);
    free(o);
}

void order_unref(struct order **op)
{
    struct order *o = *op;
    *op = NULL;
    if (!o)
        return;
    pthread_mutex_lock(&o->lock);
    unlock_drop(o, 1);
}

void order_enter(struct order *o, struct order_place *p)
{
    pthread_mutex_lock(&o->lock);
    *p = (struct order_place){.order = o};
    o->refs++;
    *o->tail = p;
    o->tail = &p->next;
    pthread_mutex_unlock(&o->lock);
}

static void take_out(struct order *o, struct order_place *p)
{
    struct order_place **link = &o->head;
    while (*link != p)
        link = &(*link)->next;
    *link = p->next;
    if (!p->next)
        o->tail = link;
    p->order = NULL;
}

/* Lets go who may, from the first on; how many places that were. The lock is held while ops are handed on, else two
 * threads could do so in the wrong order; a place may be freed as soon as its op is with the writer. */
static unsigned go(struct order *o)
{
    unsigned n = 0;
    for (struct order_place *first; (first = o->head) && first->op; n++) {
        struct writer_op *op = first->op;
        take_out(o, first);
        writer_submit(o->writer, op);
    }
    return n;
}

void order_submit(struct order_place *p, struct writer *w, struct writer_op *op)
{
    struct order *o = p->order;
    if (!o) {
        writer_submit(w, op);
        return;
    }
    pthread_mutex_lock(&o->lock);
    o->writer = w;
    p->op = op;
    unlock_drop(o, go(o));
}

void order_leave(struct order_place *p)
{
    struct order *o = p->order;
    if (!o)
        return;
    pthread_mutex_lock(&o->lock);
    take_out(o, p);
    unlock_drop(o, 1 + go(o));
}
