/* Recording and submitting one batch.
 *
 * Barriers: a dispatch or copy waits for earlier ones only when it reads what they wrote, or writes what they read or
 * wrote. Each buffer remembers the epoch of its last read and write; a barrier covers all memory and starts a new epoch. */
#include <assert.h>
#include <string.h>

#include "base/fault.h"
#include "gpu/pipeline_cache.h"
#include "gpu/vk.h"

int command_init(struct gpu *g, struct err_msg *em)
{
    int r;
    VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
        .queueFamilyIndex = g->family,
    };
    if ((r = VK(g, em, vkCreateCommandPool(g->dev, &pool, NULL, &g->cmd_pool))) < 0)
        return r;
    VkCommandBufferAllocateInfo cmd = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = g->cmd_pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    if ((r = VK(g, em, vkAllocateCommandBuffers(g->dev, &cmd, &g->cmd))) < 0)
        return r;
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    return VK(g, em, vkCreateFence(g->dev, &fence, NULL, &g->fence));
}

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
    vkDestroyFence(g->dev, g->fence, NULL);
    vkDestroyCommandPool(g->dev, g->cmd_pool, NULL);
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
    free_retired(g);
    g->recording = false;
    if ((r = VK(g, em, vkResetCommandPool(g->dev, g->cmd_pool, 0))) < 0)
        return r;
    for (uint32_t i = 0; i < g->n_pools; i++) {
        if ((r = VK(g, em, vkResetDescriptorPool(g->dev, g->pools[i], 0))) < 0)
            return r;
    }
    g->pool_at = g->pool_used = 0;
    g->epoch++;
    g->pipelines_at_begin = g->counts.pipelines;
    VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    if ((r = VK(g, em, vkBeginCommandBuffer(g->cmd, &begin))) < 0)
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

static void barrier(struct gpu *g)
{
    const VkPipelineStageFlags stages =
        VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    VkMemoryBarrier all = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                         VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
    };
    vkCmdPipelineBarrier(g->cmd, stages, stages, 0, 1, &all, 0, NULL, 0, NULL);
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

int gpu_dispatch(struct gpu *g, const struct gpu_dispatch *d, struct err_msg *em)
{
    const struct gpu_kernel_row *row = gpu_kernel_row(d->kernel);
    uint32_t n = (uint32_t)strlen(row->access);
    VkPipeline pipeline;
    VkDescriptorSet set;
    bool wait = false;
    int r;
    assert(g->recording);
    if ((r = check_usable(g, em)) < 0 || (r = check_dispatch(g, d, em)) < 0)
        return r;
    if ((r = pipeline_get(g, d->kernel, d->spec, &pipeline, em)) < 0)
        return r;
    if ((r = take_set(g, n, &set, em)) < 0)
        return r;
    write_set(g, set, d, n);
    for (uint32_t i = 0; i < n; i++)
        wait |= conflicts(g, d->args[i].buf, row->access[i]);
    if (wait)
        barrier(g);
    for (uint32_t i = 0; i < n; i++)
        mark(g, d->args[i].buf, row->access[i]);
    vkCmdBindPipeline(g->cmd, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    vkCmdBindDescriptorSets(g->cmd, VK_PIPELINE_BIND_POINT_COMPUTE, g->layout[d->kernel], 0, 1, &set, 0,
                            NULL);
    vkCmdPushConstants(g->cmd, g->layout[d->kernel], VK_SHADER_STAGE_COMPUTE_BIT, 0, row->push_bytes,
                       d->push);
    vkCmdDispatch(g->cmd, d->groups[0] ? d->groups[0] : 1, d->groups[1] ? d->groups[1] : 1,
                  d->groups[2] ? d->groups[2] : 1);
    g->counts.dispatches++;
    return 0;
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
    if (conflicts(g, src, 'r') || conflicts(g, dst, 'w'))
        barrier(g);
    mark(g, src, 'r');
    mark(g, dst, 'w');
    VkBufferCopy region = {src_offset, dst_offset, len};
    vkCmdCopyBuffer(g->cmd, src->buffer, dst->buffer, 1, &region);
    return 0;
}

int command_run(struct gpu *g, VkCommandBuffer cmd, struct err_msg *em)
{
    VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &cmd,
    };
    int r = VK(g, em, vkQueueSubmit(g->queue, 1, &submit, g->fence));
    if (r < 0)
        return r;
    g->counts.submits++;
    VkResult result = vkWaitForFences(g->dev, 1, &g->fence, VK_TRUE, g->timeout_ns);
    if (result == VK_TIMEOUT) {
        g->lost = g->hung = true;
        return err_set(em, LT_EDEVICELOST, "%s: no answer for %llu ms", g->info.name,
                       (unsigned long long)(g->timeout_ns / 1000000));
    }
    if ((r = VK(g, em, result)) < 0)
        return r;
    return VK(g, em, vkResetFences(g->dev, 1, &g->fence));
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
    if ((r = VK(g, em, vkEndCommandBuffer(g->cmd))) < 0)
        return r;
    if (fault("gpu_submit"))
        return VK(g, em, VK_ERROR_DEVICE_LOST);
    if ((r = command_run(g, g->cmd, em)) < 0)
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
