#include "daemon/intake.h"

static void link_in(struct intake_place **at, struct intake_place *p)
{
    p->next = *at;
    p->link = at;
    if (p->next)
        p->next->link = &p->next;
    *at = p;
}

static void link_out(struct intake_place *p)
{
    *p->link = p->next;
    if (p->next)
        p->next->link = p->link;
}

static bool has_room(const struct intake *in, size_t bytes)
{
    return !in->taken || (in->taken < in->limit && bytes <= in->limit - in->taken);
}

static void give(struct intake *in, struct intake_place *p, uint64_t now_ms)
{
    in->taken += p->bytes;
    p->waits = false;
    p->since_ms = now_ms;
    link_in(&in->holders, p);
}

bool intake_enter(struct intake *in, struct intake_place *p, size_t bytes, uint64_t now_ms)
{
    *p = (struct intake_place){.bytes = bytes, .waits = in->waiters || !has_room(in, bytes)};
    if (!p->waits) {
        give(in, p, now_ms);
        return true;
    }
    struct intake_place **last = &in->waiters;
    while (*last)
        last = &(*last)->next;
    link_in(last, p);
    return false;
}

void intake_leave(struct intake *in, struct intake_place *p)
{
    if (!p->bytes)
        return;
    link_out(p);
    in->taken -= p->waits ? 0 : p->bytes;
    *p = (struct intake_place){0};
}

struct intake_place *intake_next(struct intake *in, uint64_t now_ms)
{
    struct intake_place *p = in->waiters;
    if (!p || !has_room(in, p->bytes))
        return NULL;
    link_out(p);
    give(in, p, now_ms);
    return p;
}

struct intake_place *intake_late(const struct intake *in, uint64_t now_ms)
{
    for (struct intake_place *p = in->waiters ? in->holders : NULL; p; p = p->next)
        if (now_ms - p->since_ms > INTAKE_PATIENCE_MS + p->got / INTAKE_BYTES_PER_MS)
            return p;
    return NULL;
}
