#include "model/engine_device.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "gpu/access.h"
#include "gpu/gpu.h"
#include "gpu/tuning.h"
#include "model/ops_cpu.h"
#include "model/ops_vulkan.h"

static void add_cpu(struct engine_candidate *list, size_t *n)
{
    list[*n] = (struct engine_candidate){.cpu = true, .shared = true, .name = "cpu"};
    *n += 1;
}

static void add_gpu(struct engine_candidate *list, size_t *n, const struct gpu_device_info *d)
{
    struct engine_candidate *c = &list[*n];
    *c = (struct engine_candidate){.shared = d->unified};
    memcpy(c->uuid, d->uuid, sizeof c->uuid);
    memcpy(c->name, d->name, sizeof c->name);
    *n += 1;
}

/* Does auto, or plain "vulkan", take this device? Virtual and unknown kinds count as integrated ones. */
static bool eligible(const struct gpu_device_info *d)
{
    return !d->software && d->kind != GPU_CPU;
}

/* why: what kept Vulkan from listing a device; "" where nothing did. */
static int none_of(const char *device, const struct gpu_device_info *gpus, size_t n_gpus, const char *why, struct err_msg *em)
{
    char names[400] = "cpu";
    for (size_t i = 0; i < n_gpus; i++) {
        size_t at = strlen(names);
        snprintf(names + at, sizeof names - at, ", %.80s (%s)", gpus[i].name, gpus[i].uuid);
    }
    return err_set(em, LT_EDEVICE, "no device matches '%.80s'; here are: %s%s%s", device, names, *why ? "; " : "", why);
}

int engine_candidates(const char *device, struct engine_candidate *list, size_t *n, bool *named, struct err_msg *em)
{
    struct gpu_device_info gpus[ENGINE_CANDIDATES_MAX - 1];
    struct err_msg why = {""}, denied = {""};
    size_t n_gpus = 0;
    const bool any = !device || !device[0] || strcasecmp(device, "auto") == 0;
    const bool vulkan = !any && strcasecmp(device, "vulkan") == 0;
    *n = 0;
    *named = !any;
    if (!any && strcasecmp(device, "cpu") == 0) {
        add_cpu(list, n);
        return 0;
    }
    if (gpu_list(gpus, ENGINE_CANDIDATES_MAX - 1, &n_gpus, &why) < 0) {
        n_gpus = 0; /* no loader or no driver: the CPU is left */
        log_debug("engine", "%s", why.text);
    }
    for (size_t i = 0; i < n_gpus; i++) {
        const struct gpu_device_info *d = &gpus[i];
        if (any || vulkan ? eligible(d) : gpu_matches(d, device)) {
            add_gpu(list, n, d);
        } else if (any) {
            /* Nobody asked for it, so it is nothing to report. */
            log_debug("engine", "%s is a software driver; used only when named", d->name);
        }
        if (*n && !any)
            return 0; /* the best of those that match */
    }
    if (any)
        add_cpu(list, n);
    if (*n)
        return 0;
    return none_of(device, gpus, n_gpus, gpu_access(GPU_NODES, &denied) < 0 ? denied.text : why.text, em);
}

bool engine_may_be_plain(const struct engine_candidate *c)
{
    return !c->plain && (c->cpu || !tuning_asked());
}

int engine_open_device(const struct engine_candidate *c, const struct engine_params *p, uint32_t max_batch_tokens,
                       uint32_t max_cols, struct ops **o, struct err_msg *em)
{
    if (c->cpu) {
        struct ops_cpu_params cpu = {.n_threads = p->n_threads, .max_batch_tokens = max_batch_tokens,
                                      .exact = c->plain};
        return ops_cpu_create(o, &cpu, em);
    }
    struct ops_vulkan_params gpu = {.device = c->uuid, .cache_dir = p->cache_dir,
                                    .max_batch_tokens = max_batch_tokens, .max_cols = max_cols, .memory_bytes = p->memory_bytes,
                                    .host_bytes = p->host_bytes, .path = c->plain ? tuning_path_name(TUNING_F32) : NULL, .words_only = c->plain};
    return ops_vulkan_create(o, &gpu, em);
}
