#include "model/engine_memory.h"

#include <string.h>

#include "model/activations.h"
#include "model/engine_device.h"
#include "model/model.h"
#include "model/pooler.h"

uint64_t engine_memory(const struct engine_params *p, const struct ops *o)
{
    const struct ops_info *i = &o->info;
    const uint64_t taken = strcmp(i->kind, "cpu") == 0 ? 0 : p->taken_bytes;
    const double share = p->memory_share > 0 ? p->memory_share : 1;
    uint64_t there = i->memory_bytes > taken ? i->memory_bytes - taken : 0;
    if (p->memory_bytes || (share == 1 && !taken))
        return p->memory_bytes;
    there = i->free_bytes && i->free_bytes < there ? i->free_bytes : there;
    return (uint64_t)((double)there * 0.9 * share) + 1;
}

static void weigh(const struct model *m, struct ops *o, struct plan_weights *w)
{
    const uint8_t *digest;
    const struct tensor *t;
    *w = (struct plan_weights){0};
    for (size_t i = 0; (t = model_tensor_at(m, i, &digest)); i++)
        plan_add(w, o, t);
}

/* What a plan may use of the machine's memory: weights, and of the rest an eighth for batches, which larger ones make nothing faster there; at
 * least what it has to, and never all of it. */
static uint64_t host_part(uint64_t host, uint64_t weights, uint64_t least)
{
    const uint64_t all = host - host / 4, some = weights + (host > weights ? (host - weights) / 8 : 0), want = some < all ? some : all;
    return want > least ? want : least;
}

/* The longest text beside a plan: it takes half of what is left then, since the rest may be others' by that time. */
static uint32_t longest(const struct model_info *mi, struct ops *o, const struct plan *plan, uint64_t host, uint32_t most, uint64_t *taken)
{
    return plan_longest(mi, o, plan, plan->bytes + (host > plan->bytes ? (host - plan->bytes) / 2 : 0), most, taken);
}

static uint64_t driver_bytes(bool cpu, bool shared)
{
    return cpu ? 0 : ENGINE_DRIVER_BYTES + (shared ? 0 : ENGINE_STAGING_BYTES);
}

int engine_plan(const struct engine_params *p, const struct model *m, struct ops *o, uint32_t most, struct plan *plan, struct engine_info *info,
                struct err_msg *em)
{
    const struct model_info *mi = model_info(m);
    const bool bounded = o->info.shared && p->host_bytes;
    const uint64_t driver = driver_bytes(strcmp(o->info.kind, "cpu") == 0, o->info.shared);
    struct plan_weights w;
    weigh(m, o, &w);
    const uint64_t least = o->info.shared ? plan_least(mi, o, &w) : 0;
    uint64_t told = engine_memory(p, o), host = p->host_bytes;
    if (p->least_bytes)
        *p->least_bytes = driver + least;
    if (host && host < driver + least && !p->host_anyway)
        return err_set(em, LT_ENOMEM, "%s: the model needs %llu MiB of the machine's memory, %llu are left for it", o->info.name,
                       (unsigned long long)((driver + least) >> 20) + 1, (unsigned long long)host >> 20);
    if (bounded) {
        host = host > driver ? host - driver : 0;
        if (p->memory_share > 0 && host > least)
            host = least + (uint64_t)((double)(host - least) * p->memory_share);
        const uint64_t part = host_part(host, w.layers + w.others + pooler_folded_bytes(mi, o), least);
        const uint64_t there = o->info.free_bytes && o->info.free_bytes < o->info.memory_bytes ? o->info.free_bytes : o->info.memory_bytes;
        if (part < (told ? told : there) || (!told && !there))
            told = part;
    }
    plan_make(mi, o, &w, told, p->max_batch_tokens, most, plan);
    uint64_t taken = plan->bytes;
    if (bounded) {
        const uint32_t usual = mi->token_limit < PLAN_TOKENS ? mi->token_limit : PLAN_TOKENS;
        most = longest(mi, o, plan, host, most, &taken);
        if (most < usual && !p->max_batch_tokens) { /* as plan_least counts them: rather by streaming layers than not at all */
            plan_make(mi, o, &w, told, PLAN_TOKENS, PLAN_TOKENS, plan);
            most = longest(mi, o, plan, host, PLAN_TOKENS, &taken);
        }
    }
    info->max_batch_tokens = most;
    info->batch_tokens = plan->tokens;
    info->planned_bytes = plan->bytes;
    info->host_shared = o->info.shared;
    info->host_bytes = driver + (o->info.shared ? taken : 0);
    info->unseen_bytes = o->info.shared && strcmp(o->info.kind, "cpu") && !o->info.software ? plan->bytes : 0;
    return 0;
}

int engine_open_for(const struct engine_candidate *c, const struct engine_params *p, const struct model_info *mi, struct ops **o, struct err_msg *em)
{
    const uint32_t tokens = plan_tokens(mi, !c->cpu, p->memory_bytes, p->max_batch_tokens);
    const uint32_t most = tokens > mi->token_limit ? tokens : mi->token_limit;
    return engine_open_device(c, p, most > PLAN_TOKENS_MOST || p->max_batch_tokens ? most : PLAN_TOKENS_MOST, activations_widest(mi), o, em);
}

int engine_least(const struct model *m, const struct engine_params *p, uint64_t *bytes, struct err_msg *em)
{
    struct engine_candidate list[ENGINE_CANDIDATES_MAX];
    size_t n = 0;
    bool named;
    int r = engine_candidates(p->device, list, &n, &named, em);
    for (size_t i = 0; r == 0 && i < n; i++) {
        struct plan_weights w;
        struct ops *o = NULL;
        *bytes = driver_bytes(list[i].cpu, list[i].shared);
        if (!list[i].shared)
            return 0;
        if ((r = engine_open_for(&list[i], p, model_info(m), &o, em)) < 0) {
            r = i + 1 < n ? 0 : r; /* engine_create takes the next one, too */
            continue;
        }
        weigh(m, o, &w);
        *bytes += plan_least(model_info(m), o, &w);
        ops_destroy(&o);
        return 0;
    }
    return r;
}
