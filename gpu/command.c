/* Recording one batch.
 *
 * Barriers: a dispatch or copy waits for earlier ones only when it reads what they wrote, or writes what they read or
 * wrote. Each buffer remembers the epoch of its last read and write; a barrier covers all memory and starts a new epoch. Between dispatches it
 * leaves copies out, which some devices make elsewhere and wait for longer: before a copy, and behind one, there is one for those, too. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/fault.h"
#include "gpu/pipeline_cache.h"
#include "gpu/vk.h"

/* A submission with as little as a kernel's launch in it takes about as long as this much work. */
#define WORK_LEAST 1000

static void free_retired(struct gpu *g)
{
    while (g->retired) {
        struct gpu_buf *b = g->retired;
        g->retired = b->next;
        gpu_buf_destroy(g, &b);
    }
}

void command_finish(struct gpu *g)
{
    free_retired(g);
    gpu_buf_destroy(g, &g->staging);
    for (uint32_t i = 0; i < g->n_pools; i++)
        vkDestroyDescriptorPool(g->dev, g->pools[i], NULL);
    submit_finish(g);
}

static int check_usable(const struct gpu *g, struct err_msg *em)
{
    return g->lost ? err_set(em, LT_EDEVICELOST, "%s: device lost", g->info.name) : 0;
}

int gpu_begin(struct gpu *g, struct err_msg *em)
{
    int r = check_usable(g, em);
    if (r < 0)
        return r;
    g->recording = false;
    if ((r = submit_wait(g, em)) < 0)
        return r;
    free_retired(g);
    for (uint32_t i = 0; i < g->n_pools; i++) {
        if ((r = VK(g, em, vkResetDescriptorPool(g->dev, g->pools[i], 0))) < 0)
            return r;
    }
    g->pool_at = g->pool_used = 0;
    g->epoch++;
    g->copied = g->copy_waits = false;
    g->pipelines_at_begin = g->counts.pipelines;
    if ((r = submit_record(g, em)) < 0)
        return r;
    g->recording = true;
    return 0;
}

static int take_set(struct gpu *g, uint32_t n_bindings, VkDescriptorSet *set, struct err_msg *em)
{
    int r;
    if (g->pool_at < g->n_pools && g->pool_used == GPU_POOL_SETS) {
        g->pool_at++;
        g->pool_used = 0;
    }
    if (g->pool_at == g->n_pools) {
        if (g->n_pools == GPU_MAX_POOLS)
            return err_set(em, LT_ELIMIT, "more than %d dispatches in a batch",
                           GPU_MAX_POOLS * GPU_POOL_SETS);
        VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, GPU_POOL_SETS * GPU_MAX_BINDINGS};
        VkDescriptorPoolCreateInfo create = {
            .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
            .maxSets = GPU_POOL_SETS,
            .poolSizeCount = 1,
            .pPoolSizes = &size,
        };
        if ((r = VK(g, em, vkCreateDescriptorPool(g->dev, &create, NULL, &g->pools[g->n_pools]))) < 0)
            return r;
        g->n_pools++;
    }
    VkDescriptorSetAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = g->pools[g->pool_at],
        .descriptorSetCount = 1,
        .pSetLayouts = &g->set_layout[n_bindings],
    };
    if ((r = VK(g, em, vkAllocateDescriptorSets(g->dev, &info, set))) == 0)
        g->pool_used++;
    return r;
}

static bool conflicts(const struct gpu *g, const struct gpu_buf *b, char access)
{
    bool written = b->write_epoch == g->epoch, read = b->read_epoch == g->epoch;
    return access == 'r' ? written : written || read;
}

static void mark(const struct gpu *g, struct gpu_buf *b, char access)
{
    if (access != 'w')
        b->read_epoch = g->epoch;
    if (access != 'r')
        b->write_epoch = g->epoch;
}

/* copies: of what comes next, too; of what came before it always knows. */
static void barrier(struct gpu *g, bool copies)
{
    copies |= g->copied;
    const VkPipelineStageFlags stages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | (copies ? VK_PIPELINE_STAGE_TRANSFER_BIT : 0);
    VkMemoryBarrier all = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | (copies ? VK_ACCESS_TRANSFER_WRITE_BIT : 0),
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                         (copies ? VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT : 0),
    };
    if (!fault("gpu_no_barrier")) /* which synchronisation validation must notice */
        vkCmdPipelineBarrier(g->cmd, stages, stages, 0, 1, &all, 0, NULL, 0, NULL);
    g->copied = false;
    g->copy_waits = !copies;
    g->epoch++;
    g->counts.barriers++;
}

static int check_dispatch(const struct gpu *g, const struct gpu_dispatch *d, struct err_msg *em)
{
    const struct gpu_kernel_row *row = gpu_kernel_row(d->kernel);
    for (uint32_t i = 0; row->access[i]; i++) {
        const struct gpu_arg *a = &d->args[i];
        uint64_t len = a->len ? a->len : a->buf->len - a->offset;
        if (a->offset % g->limits.offset_align || a->offset > a->buf->len || !len ||
            len > a->buf->len - a->offset)
            return err_set(em, LT_EINVAL, "%s: binding %u does not lie in its buffer", row->name, i);
        if (len > g->limits.max_range)
            return err_set(em, LT_ELIMIT, "%s: binding %u of %s has %llu bytes, at most %llu are allowed",
                           g->info.name, i, row->name, (unsigned long long)len,
                           (unsigned long long)g->limits.max_range);
    }
    for (int i = 0; i < 3; i++) {
        if (d->groups[i] > g->limits.max_groups[i])
            return err_set(em, LT_ELIMIT, "%s: %s over %u work-groups, at most %u are allowed",
                           g->info.name, row->name, d->groups[i], g->limits.max_groups[i]);
    }
    return 0;
}

static void write_set(struct gpu *g, VkDescriptorSet set, const struct gpu_dispatch *d, uint32_t n)
{
    VkDescriptorBufferInfo infos[GPU_MAX_BINDINGS];
    VkWriteDescriptorSet writes[GPU_MAX_BINDINGS];
    for (uint32_t i = 0; i < n; i++) {
        const struct gpu_arg *a = &d->args[i];
        infos[i] = (VkDescriptorBufferInfo){a->buf->buffer, a->offset,
                                            a->len ? a->len : a->buf->len - a->offset};
        writes[i] = (VkWriteDescriptorSet){
            .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
            .dstSet = set,
            .dstBinding = i,
            .descriptorCount = 1,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .pBufferInfo = &infos[i],
        };
    }
    vkUpdateDescriptorSets(g->dev, n, writes, 0, NULL);
}

/* Whether what has been recorded had better go to the device while the rest is: recording takes a microsecond or several a dispatch, which a
 * short query would wait for. Each early submission is twice as long as the one before, so that the device gets the next before it is
 * done with this; and there is none that the host would have to wait for a slot for. */
static bool goes_early(const struct gpu *g)
{
    return !g->fixed_work && g->n_flying + 1 < GPU_SLOTS && g->slots[g->slot].n_dispatches >= (uint32_t)GPU_EARLY << g->n_flying;
}

/* Makes room for so much work in the submission being recorded, or sends that and begins the next. */
static int make_room(struct gpu *g, double work, struct err_msg *em)
{
    struct gpu_slot *s = &g->slots[g->slot];
    int r;
    if (s->work == 0 || (s->work + work <= submit_room(g) && !profile_full(g) && !goes_early(g)))
        return 0;
    if ((r = submit_send(g, em)) < 0 || (r = submit_record(g, em)) < 0)
        return r;
    barrier(g, true);
    return 0;
}

/* Records groups first … first + n - 1 along the axis, all of the others. */
static void record_groups(struct gpu *g, const struct gpu_dispatch *d, VkPipeline pipeline, VkDescriptorSet set, int axis,
                          uint32_t first, uint32_t n, double work)
{
    const struct gpu_kernel_row *row = gpu_kernel_row(d->kernel);
    uint32_t base[3] = {0}, count[3];
    bool wait = g->profile != NULL;
    for (int i = 0; i < 3; i++)
        count[i] = d->groups[i] ? d->groups[i] : 1;
    base[axis] = first;
    count[axis] = n;
    /* Parts of one dispatch do not depend on each other, but validation layers know whole buffers only: a barrier for them, too,
     * where two ever meet in one submission. */
    for (uint32_t i = 0; row->access[i]; i++)
        wait |= conflicts(g, d->args[i].buf, row->access[i]);
    if (wait)
        barrier(g, false);
    for (uint32_t i = 0; row->access[i]; i++)
        mark(g, d->args[i].buf, row->access[i]);
    g->slots[g->slot].n_dispatches++;
    if (g->profile)
        profile_before(g);
    vkCmdBindPipeline(g->cmd, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    vkCmdBindDescriptorSets(g->cmd, VK_PIPELINE_BIND_POINT_COMPUTE, g->layout[d->kernel], 0, 1, &set, 0, NULL);
    vkCmdPushConstants(g->cmd, g->layout[d->kernel], VK_SHADER_STAGE_COMPUTE_BIT, 0, row->push_bytes, d->push);
    if (first) /* which Debian 12's synchronisation validation does not know */
        vkCmdDispatchBase(g->cmd, base[0], base[1], base[2], count[0], count[1], count[2]);
    else
        vkCmdDispatch(g->cmd, count[0], count[1], count[2]);
    if (g->profile)
        profile_after(g, d->kernel, work);
}

static int record_in_parts(struct gpu *g, const struct gpu_dispatch *d, VkPipeline pipeline, VkDescriptorSet set,
                           struct err_msg *em)
{
    const double work = d->work > WORK_LEAST ? d->work : WORK_LEAST;
    int axis = d->groups[1] > d->groups[0] ? 1 : 0;
    axis = d->groups[2] > d->groups[axis] ? 2 : axis;
    const uint32_t n = d->groups[axis] ? d->groups[axis] : 1;
    const double parts = ceil(work / submit_room(g));
    const uint32_t step = parts >= n ? 1 : (uint32_t)ceil(n / parts);
    for (uint32_t at = 0; at < n; at += step) {
        const uint32_t some = n - at < step ? n - at : step;
        int r = make_room(g, work * some / n, em);
        if (r < 0)
            return r;
        record_groups(g, d, pipeline, set, axis, at, some, work * some / n);
        g->slots[g->slot].work += work * some / n;
    }
    return 0;
}

int gpu_dispatch(struct gpu *g, const struct gpu_dispatch *d, struct err_msg *em)
{
    uint32_t n = (uint32_t)strlen(gpu_kernel_row(d->kernel)->access);
    VkPipeline pipeline;
    VkDescriptorSet set;
    int r;
    assert(g->recording);
    if ((r = check_usable(g, em)) < 0 || (r = check_dispatch(g, d, em)) < 0)
        return r;
    if ((r = pipeline_get(g, d->kernel, d->spec, &pipeline, em)) < 0)
        return r;
    if ((r = take_set(g, n, &set, em)) < 0)
        return r;
    write_set(g, set, d, n);
    g->counts.dispatches++;
    return record_in_parts(g, d, pipeline, set, em);
}

int gpu_copy(struct gpu *g, struct gpu_buf *dst, uint64_t dst_offset, struct gpu_buf *src,
             uint64_t src_offset, uint64_t len, struct err_msg *em)
{
    int r;
    assert(g->recording);
    if ((r = check_usable(g, em)) < 0 || !len)
        return r;
    if (len % 4 || src_offset > src->len || len > src->len - src_offset || dst_offset > dst->len ||
        len > dst->len - dst_offset)
        return err_set(em, LT_EINVAL, "copy beyond a buffer's end");
    if ((r = make_room(g, (double)len, em)) < 0)
        return r;
    if (g->copy_waits || conflicts(g, src, 'r') || conflicts(g, dst, 'w'))
        barrier(g, true);
    mark(g, src, 'r');
    mark(g, dst, 'w');
    VkBufferCopy region = {src_offset, dst_offset, len};
    vkCmdCopyBuffer(g->cmd, src->buffer, dst->buffer, 1, &region);
    g->copied = true;
    g->slots[g->slot].work += (double)len;
    return 0;
}

int gpu_submit(struct gpu *g, struct err_msg *em)
{
    int r;
    assert(g->recording);
    g->recording = false;
    if ((r = check_usable(g, em)) < 0)
        return r;
    VkMemoryBarrier to_host = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_HOST_READ_BIT,
    };
    vkCmdPipelineBarrier(g->cmd, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
                         VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &to_host, 0, NULL, 0, NULL);
    if ((r = submit_send(g, em)) < 0 || (r = submit_wait(g, em)) < 0)
        return r;
    g->counts.batches++;
    free_retired(g);
    /* The cache is written once a batch has needed no new pipeline, not after each of the first ones. */
    if (g->counts.pipelines == g->pipelines_at_begin)
        pipeline_cache_save(g);
    if (g->in.validate && gpu_validation_messages() != g->validation_at_create)
        return err_set(em, LT_EINTERNAL, "%s: the validation layers have spoken, see the log", g->info.name);
    return 0;
}
