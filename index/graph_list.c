#include "index/graph_list.h"

#include <string.h>

#include "index/graph.h"

uint32_t list_read_moving(struct list l, uint32_t *out)
{
    const uint32_t moving = l.wide ? LINK_MOVING_WIDE : LINK_MOVING_SHORT;
    uint32_t n = list_length(l), kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        for (int tries = 0; tries < LIST_READ_TRIES; tries++) {
            /* Within one version a place changes once at most, so two like looks at its upper part have one link between them. */
            uint32_t before = atomic_load_explicit(l.word, memory_order_acquire);
            uint32_t link = list_link(l, i), again = list_link(l, i);
            if (link != again || atomic_load_explicit(l.word, memory_order_relaxed) != before)
                continue;
            if (link >> 16 != moving)
                out[kept++] = link;
            break;
        }
    }
    return kept;
}

uint32_t list_read_marked(struct list l, uint32_t *out)
{
    uint32_t n = list_read(l, out);
    const uint8_t *marks = list_marks(l);
    for (uint32_t i = 0; i < n; i++) {
        out[i] = out[i] < LINK_ID ? out[i] : LINK_ID; /* a forged one: no node has that number */
        if (l.marked && marks[i / 8] >> (i % 8) & 1)
            out[i] |= LINK_CHILD;
    }
    return n;
}

uint32_t list_children(struct list l)
{
    uint32_t n = list_length(l), k = 0;
    const uint8_t *marks = list_marks(l);
    for (uint32_t i = 0; l.marked && i < n; i++)
        k += marks[i / 8] >> (i % 8) & 1;
    return k;
}

static void put_mark(struct list l, uint32_t i, bool on)
{
    uint8_t *byte = &list_marks(l)[i / 8], bit = (uint8_t)(1u << (i % 8));
    if (l.marked)
        *byte = (uint8_t)(on ? *byte | bit : *byte & ~bit);
}

void list_mark(struct list l, uint32_t id, bool on)
{
    uint32_t n = list_length(l);
    for (uint32_t i = 0; i < n; i++)
        if (list_link(l, i) == id)
            put_mark(l, i, on);
}

static void put_high(struct list l, uint32_t i, uint32_t high)
{
    if (l.wide)
        atomic_store_explicit(&list_high_wide(l)[i], (uint16_t)high, memory_order_release);
    else
        atomic_store_explicit(&list_high(l)[i], (uint8_t)high, memory_order_release);
}

static void put_link(struct list l, uint32_t i, uint32_t id)
{
    put_high(l, i, l.wide ? LINK_MOVING_WIDE : LINK_MOVING_SHORT);
    atomic_store_explicit(&list_low(l)[i], (uint16_t)id, memory_order_release);
    put_high(l, i, id >> 16);
}

/* A damaged length counts as none: what lies behind it is not a list. */
static uint32_t length_of(uint32_t word, uint32_t room)
{
    return (word & LIST_COUNT) <= room ? word & LIST_COUNT : 0;
}

bool list_append(struct list l, uint32_t id)
{
    uint32_t word = atomic_load_explicit(l.word, memory_order_relaxed), n = length_of(word, l.room);
    if (n == l.room)
        return false;
    put_link(l, n, id);
    put_mark(l, n, false);
    atomic_store_explicit(l.word, (word & ~LIST_COUNT) + 2 * LIST_STEP + n + 1, memory_order_release);
    return true;
}

/* Links in both lists are never absent on the way: the new ones overwrite dropped ones or go to the end, then entries from
 * the end are copied into the gaps that are left, and only then the length drops. */
void list_write(struct list l, const uint32_t *links, uint32_t n)
{
    uint32_t cur[2 * GRAPH_M_MAX], fresh[2 * GRAPH_M_MAX], n_fresh = 0, gap = 0;
    bool used[2 * GRAPH_M_MAX] = {false};
    uint32_t word = atomic_load_explicit(l.word, memory_order_relaxed);
    uint32_t n_old = length_of(word, l.room), end = n_old;
    uint32_t version = (word & ~LIST_COUNT) | LIST_STEP;
    for (uint32_t i = 0; i < n_old; i++)
        cur[i] = list_link(l, i);
    atomic_store_explicit(l.word, version | n_old, memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = 0;
        while (at < n_old && (used[at] || ((cur[at] ^ links[i]) & LINK_ID)))
            at++;
        if (at == n_old) {
            fresh[n_fresh++] = links[i];
            continue;
        }
        used[at] = true;
        cur[at] = links[i];
    }
    for (uint32_t i = 0; i < n_fresh; i++) {
        while (gap < end && used[gap])
            gap++;
        end += gap == end;
        used[gap] = true;
        put_link(l, gap, fresh[i] & LINK_ID);
        cur[gap] = fresh[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        if (used[i])
            continue;
        do
            end--;
        while (!used[end]);
        put_link(l, i, cur[end] & LINK_ID);
        cur[i] = cur[end];
    }
    for (uint32_t i = 0; i < n; i++)
        put_mark(l, i, cur[i] & LINK_CHILD);
    atomic_store_explicit(l.word, (version + LIST_STEP) | n, memory_order_release);
}
