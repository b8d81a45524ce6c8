/* Neighbour lists: how they lie in records and upper blocks, reading them without locks, changing them under readers.
 *
 * A list is a word (length and version), the low 16 bits of each link, then the upper part of each: a byte, or two bytes in a
 * graph with wide links; on level 0 a bit for each link follows, set for tree edges, which only the writer looks at.
 *
 * Every part is a store of its own, so a link that changes is taken apart first: its upper part becomes LINK_MOVING, then the
 * low part changes, then the upper one. A reader whose list kept its version meanwhile has whole links; one that gives up
 * retrying leaves out those that are in motion, which are about to go or just coming.
 *
 * Thread-safety: one writer, many readers of the same list. */
#ifndef INDEX_GRAPH_LIST_H
#define INDEX_GRAPH_LIST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINK_CHILD 0x80000000u /* marks a tree edge, in what list_read_marked and list_write handle */
#define LINK_ID 0x7FFFFFFFu
#define LIST_COUNT 0x3FFu /* low bits of a list's word: its length */
#define LIST_STEP 0x400u  /* the version's lowest bit: odd while the list is being rearranged */
#define LIST_READ_TRIES 16
#define LINK_MOVING_SHORT 0xFFu
#define LINK_MOVING_WIDE 0xFFFFu

/* Where a list is. */
struct list {
    _Atomic uint32_t *word; /* NULL: there is none */
    uint32_t room;
    bool wide;
    bool marked; /* has bits for tree edges */
};

/* Bytes of a list. */
static inline uint32_t list_bytes(uint32_t room, bool wide, bool marked)
{
    return 4 + room * (wide ? 4u : 3u) + (marked ? (room + 7) / 8 : 0);
}

static inline _Atomic uint16_t *list_low(struct list l)
{
    return (_Atomic uint16_t *)(void *)(l.word + 1);
}

static inline _Atomic uint8_t *list_high(struct list l)
{
    return (_Atomic uint8_t *)(void *)(list_low(l) + l.room);
}

static inline _Atomic uint16_t *list_high_wide(struct list l)
{
    return list_low(l) + l.room;
}

static inline uint8_t *list_marks(struct list l)
{
    return (uint8_t *)(void *)list_high(l) + (size_t)l.room * (l.wide ? 2 : 1);
}

/* Link i as it is just now. */
static inline uint32_t list_link(struct list l, uint32_t i)
{
    uint32_t high = l.wide ? (uint32_t)atomic_load_explicit(&list_high_wide(l)[i], memory_order_acquire)
                           : (uint32_t)atomic_load_explicit(&list_high(l)[i], memory_order_acquire);
    return high << 16 | atomic_load_explicit(&list_low(l)[i], memory_order_acquire);
}

/* The length as it is just now, within the list's room. */
static inline uint32_t list_length(struct list l)
{
    uint32_t n = atomic_load_explicit(l.word, memory_order_acquire) & LIST_COUNT;
    return n < l.room ? n : l.room;
}

/* Of a list that the writer was met in: every link that is not in motion. */
uint32_t list_read_moving(struct list l, uint32_t *out);

/* Copies a list's links, without marks, to out, which has room for l.room of them; returns their number. Ids are not checked. */
static inline uint32_t list_read(struct list l, uint32_t *out)
{
    for (int i = 0; i < LIST_READ_TRIES; i++) {
        uint32_t before = atomic_load_explicit(l.word, memory_order_acquire), n = before & LIST_COUNT;
        if (n > l.room)
            n = l.room;
        if (l.wide) {
            for (uint32_t j = 0; j < n; j++)
                out[j] = list_link(l, j);
        } else {
            const _Atomic uint16_t *low = list_low(l);
            const _Atomic uint8_t *high = list_high(l);
            for (uint32_t j = 0; j < n; j++)
                out[j] = (uint32_t)atomic_load_explicit(&high[j], memory_order_acquire) << 16 |
                         atomic_load_explicit(&low[j], memory_order_acquire);
        }
        if (!(before & LIST_STEP) && atomic_load_explicit(l.word, memory_order_relaxed) == before)
            return n;
    }
    return list_read_moving(l, out);
}

/* ---- the writer's ---- */

/* The same with LINK_CHILD. */
uint32_t list_read_marked(struct list l, uint32_t *out);
/* How many links are marked. */
uint32_t list_children(struct list l);
/* Sets or takes away the mark of the link to id, if there is one. */
void list_mark(struct list l, uint32_t id, bool on);
/* Without a mark; false when the list is full. */
bool list_append(struct list l, uint32_t id);
/* n <= l.room links, with LINK_CHILD where that is wanted and the list can say it. */
void list_write(struct list l, const uint32_t *links, uint32_t n);

#endif
