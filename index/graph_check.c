/* The verifier: whatever searching and changing rely on, looked at node by node. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/clock.h"
#include "index/graph_int.h"
#include "index/segment.h"

#define CLIMB_MAX 256 /* steps up a tree, which is some twenty deep: a loop of up to 127 nodes is found */

void report_problem(struct graph_report *rep, const char *fmt, ...)
{
    va_list ap;
    size_t len = strlen(rep->text);
    rep->damaged = true;
    if (rep->n_problems++ && len + 3 < sizeof rep->text) {
        memcpy(rep->text + len, "; ", 3);
        len += 2;
    }
    va_start(ap, fmt);
    vsnprintf(rep->text + len, sizeof rep->text - len, fmt, ap);
    va_end(ap);
}

static void check_list(const struct core *c, struct graph_report *rep, uint32_t id, uint32_t level)
{
    struct list list = core_links(c, id, level);
    const struct node_head *h = core_head(c, id);
    uint32_t links[2 * GRAPH_M_MAX + 8];
    if (!list.word) {
        report_problem(rep, "node %u: no list for level %u", id, level);
        return;
    }
    if ((atomic_load_explicit(list.word, memory_order_relaxed) & LIST_COUNT) > list.room)
        report_problem(rep, "node %u: list of level %u is too long", id, level);
    uint32_t n = list_read_marked(list, links);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t to = links[i] & LINK_ID;
        if (to >= core_n_slots(c)) {
            report_problem(rep, "node %u: link to %u, which does not exist", id, to);
            continue;
        }
        const struct node_head *t = core_head(c, to);
        enum node_state state = node_state(t);
        if (to == id)
            report_problem(rep, "node %u: link to itself", id);
        if (state != NODE_LIVE && state != NODE_DEAD)
            report_problem(rep, "node %u: link to %u, which is free", id, to);
        if (t->level < level)
            report_problem(rep, "node %u: link to %u, which is not on level %u", id, to, level);
        for (uint32_t j = 0; j < i; j++)
            if ((links[j] & LINK_ID) == to)
                report_problem(rep, "node %u: two links to %u", id, to);
        if ((links[i] & LINK_CHILD) && (core_parent(c, to) != id || state != NODE_LIVE || node_state(h) != NODE_LIVE))
            report_problem(rep, "node %u: %u is not its child", id, to);
    }
}

/* The other half of a tree edge. */
static bool names_child(const struct core *c, uint32_t parent, uint32_t id)
{
    uint32_t links[2 * GRAPH_M_MAX + 8], n = list_read_marked(core_list(c, parent), links);
    for (uint32_t i = 0; i < n; i++)
        if (links[i] == (id | LINK_CHILD))
            return true;
    return false;
}

static void check_node(const struct core *c, struct graph_report *rep, uint32_t id)
{
    const struct node_head *h = core_head(c, id);
    enum node_state state = node_state(h);
    if (state != NODE_LIVE && state != NODE_DEAD && state != NODE_FREE) {
        report_problem(rep, "node %u: state %d", id, (int)state);
        return;
    }
    if (state == NODE_FREE)
        return;
    if (h->level > LEVEL_MAX) {
        report_problem(rep, "node %u: level %u", id, h->level);
        return;
    }
    for (uint32_t l = 0; l <= h->level; l++)
        check_list(c, rep, id, l);
    if (state != NODE_LIVE)
        return;
    if (core_find(c, h->label) != id)
        report_problem(rep, "label %llu: lookup does not lead to node %u",
                       (unsigned long long)h->label, id);
    if ((uint32_t)XXH3_64bits(core_vector(c, id), c->dim * sizeof(float)) != h->vec_sum)
        report_problem(rep, "label %llu: exact vector differs from its checksum",
                       (unsigned long long)h->label);
    uint32_t parent = core_parent(c, id);
    if (id == atomic_load(&c->root) ? parent != ID_NONE : parent >= core_n_slots(c))
        report_problem(rep, "node %u: parent %u", id, parent);
    else if (parent < core_n_slots(c) && !names_child(c, parent, id))
        report_problem(rep, "node %u: its parent %u does not name it", id, parent);
}

/* Do a node's ancestors come round to one of them? Each of these may be sound by itself, and no walk from the root reaches them. Where
 * all edges of the tree are good, and none comes round, every node is reached. */
static bool comes_round(const struct core *c, uint32_t id)
{
    const uint32_t n = core_n_slots(c);
    uint32_t mark = id, at = core_parent(c, id);
    for (uint32_t step = 1, next = 2; step < CLIMB_MAX && at < n; step++) {
        if (at == mark)
            return true;
        if (step == next) {
            mark = at;
            next *= 2;
        }
        at = core_parent(c, at);
    }
    return false;
}

int graph_check_some(const struct graph *g, uint32_t *at, uint32_t max, uint64_t until_ns, struct graph_report *rep)
{
    const struct core *c = graph_core(g);
    const uint32_t n = core_n_slots(c);
    for (uint32_t i = 0; i < n && i < max && (!i || i % 16 || clock_ns() < until_ns); i++) {
        *at = *at + 1 < n ? *at + 1 : 0;
        check_node(c, rep, *at);
        if (node_state(core_head(c, *at)) == NODE_LIVE && comes_round(c, *at))
            report_problem(rep, "node %u: its parents lead round, not to the root", *at);
    }
    return rep->n_problems ? LT_ECORRUPT : 0;
}

/* Live nodes that a walk from entry and root reaches over level 0, which is what a search walks. */
static int count_reached(const struct core *c, struct graph_report *rep)
{
    uint32_t n = core_n_slots(c), n_queue = 0, links[2 * GRAPH_M_MAX + 8];
    uint32_t starts[2] = {atomic_load(&c->entry), atomic_load(&c->root)};
    uint32_t *queue = malloc(((size_t)n + 1) * sizeof *queue);
    uint8_t *seen = calloc(n + 1u, 1);
    int r = queue && seen ? 0 : LT_ENOMEM;
    for (int i = 0; !r && i < 2; i++)
        if (starts[i] < n && !seen[starts[i]]) {
            seen[starts[i]] = 1;
            queue[n_queue++] = starts[i];
        }
    for (uint32_t at = 0; at < n_queue; at++) {
        rep->n_reached += node_state(core_head(c, queue[at])) == NODE_LIVE;
        uint32_t k = list_read(core_list(c, queue[at]), links);
        for (uint32_t i = 0; i < k; i++) {
            uint32_t to = links[i] & LINK_ID;
            if (to < n && !seen[to]) {
                seen[to] = 1;
                queue[n_queue++] = to;
            }
        }
    }
    free(queue);
    free(seen);
    return r;
}

int graph_check(const struct graph *g, struct graph_report *rep)
{
    struct graph_report unused;
    const struct core *c = graph_core(g);
    uint32_t n = core_n_slots(c), levels[LEVEL_MAX + 1] = {0};
    rep = rep ? rep : &unused;
    memset(rep, 0, sizeof *rep);
    int r = segment_check(g, rep);
    if (r < 0)
        return r;
    for (uint32_t id = 0; id < n; id++) {
        const struct node_head *h = core_head(c, id);
        check_node(c, rep, id);
        if (node_state(h) == NODE_LIVE) {
            rep->n_live++;
            levels[h->level <= LEVEL_MAX ? h->level : 0]++;
        }
    }
    if (rep->n_live != atomic_load(&c->n_live))
        report_problem(rep, "%llu live nodes, %u counted", (unsigned long long)rep->n_live,
                       atomic_load(&c->n_live));
    if (memcmp(levels, c->level_count, sizeof levels) != 0)
        report_problem(rep, "the counts of nodes by level are wrong");
    if ((r = count_reached(c, rep)) < 0)
        return r;
    if (rep->n_reached != rep->n_live)
        report_problem(rep, "%llu of %llu live nodes are reached",
                       (unsigned long long)rep->n_reached, (unsigned long long)rep->n_live);
    return rep->n_problems ? LT_ECORRUPT : 0;
}
