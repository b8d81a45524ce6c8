/* A batch as a row of submissions, each within the budget of gpu/budget.h.
 *
 * The slots are a ring: one records while the others' submissions run, so the device goes from one to the next without the
 * host's round trip, and nothing is read back between them. Work of a later submission is ordered behind an earlier one's by a
 * barrier at its beginning. A slot is recorded anew once its fence has been waited for, which is also when the budget learns. */
#include <assert.h>

#include "base/clock.h"
#include "base/fault.h"
#include "gpu/vk.h"

#define FIXED_SMALL 80000000 /* under the fault point that makes batches of many submissions */

int submit_init(struct gpu *g, uint64_t fixed_work, struct err_msg *em)
{
    int r;
    budget_init(&g->budget);
    g->fixed_work = fault("gpu_small_submits") ? FIXED_SMALL : fixed_work;
    for (int i = 0; i < GPU_SLOTS; i++) {
        struct gpu_slot *s = &g->slots[i];
        VkCommandPoolCreateInfo pool = {
            .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
            .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
            .queueFamilyIndex = g->family,
        };
        if ((r = VK(g, em, vkCreateCommandPool(g->dev, &pool, NULL, &s->pool))) < 0)
            return r;
        VkCommandBufferAllocateInfo cmd = {
            .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
            .commandPool = s->pool,
            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
            .commandBufferCount = 1,
        };
        if ((r = VK(g, em, vkAllocateCommandBuffers(g->dev, &cmd, &s->cmd))) < 0)
            return r;
        VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
        if ((r = VK(g, em, vkCreateFence(g->dev, &fence, NULL, &s->fence))) < 0)
            return r;
    }
    return 0;
}

void submit_finish(struct gpu *g)
{
    for (int i = 0; i < GPU_SLOTS; i++) {
        vkDestroyFence(g->dev, g->slots[i].fence, NULL);
        vkDestroyCommandPool(g->dev, g->slots[i].pool, NULL);
    }
}

double submit_room(const struct gpu *g)
{
    return g->fixed_work ? (double)g->fixed_work : g->budget.work;
}

static struct gpu_slot *oldest(struct gpu *g)
{
    return &g->slots[(g->slot + GPU_SLOTS - g->n_flying) % GPU_SLOTS];
}

/* Until the oldest submission is done, or the time is up. */
static int wait_oldest(struct gpu *g, uint64_t ns, struct err_msg *em)
{
    struct gpu_slot *s = oldest(g);
    VkResult result = vkWaitForFences(g->dev, 1, &s->fence, VK_TRUE, ns);
    if (result == VK_TIMEOUT) {
        g->lost = g->hung = true;
        return err_set(em, LT_EDEVICELOST, "%s: no answer for %llu ms", g->info.name, (unsigned long long)(ns / 1000000));
    }
    if (result == VK_ERROR_DEVICE_LOST)
        g->n_flying = 0; /* on a lost device nothing runs any more */
    else if (result < 0)
        g->lost = g->hung = true; /* it may still run, but nobody can tell when it is done */
    if (result < 0) {
        vk_check(g, em, result, "vkWaitForFences");
        return LT_EDEVICELOST;
    }
    g->n_flying--;
    uint64_t now = clock_ns(), from = s->sent_ns > g->idle_ns ? s->sent_ns : g->idle_ns;
    g->idle_ns = now;
    if (s->n_pipelines == g->counts.pipelines) { /* else the host was busy compiling and looked late */
        if (now - from > g->counts.longest_ns)
            g->counts.longest_ns = now - from;
        budget_learn(&g->budget, s->work, now - from);
    }
    return profile_collect(g, (uint32_t)(s - g->slots), em);
}

int submit_wait(struct gpu *g, struct err_msg *em)
{
    int r = 0;
    while (g->n_flying && !g->hung && r == 0)
        r = wait_oldest(g, g->timeout_ns, em);
    return g->hung ? LT_EDEVICELOST : r;
}

bool submit_settle(struct gpu *g, uint64_t ns)
{
    struct err_msg ignored;
    g->hung = false;
    while (g->n_flying && !g->hung)
        wait_oldest(g, ns, &ignored);
    return !g->hung;
}

int submit_record(struct gpu *g, struct err_msg *em)
{
    struct gpu_slot *s = &g->slots[g->slot];
    int r = 0;
    if (g->n_flying == GPU_SLOTS && (r = wait_oldest(g, g->timeout_ns, em)) < 0)
        return r;
    /* Here and not once it has been waited for: where it fails the slot is not used. */
    if ((r = VK(g, em, vkResetFences(g->dev, 1, &s->fence))) < 0 || (r = VK(g, em, vkResetCommandPool(g->dev, s->pool, 0))) < 0)
        return r;
    VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    if ((r = VK(g, em, vkBeginCommandBuffer(s->cmd, &begin))) < 0)
        return r;
    s->work = 0;
    s->n_dispatches = 0;
    g->cmd = s->cmd;
    profile_record(g);
    return 0;
}

int submit_send(struct gpu *g, struct err_msg *em)
{
    struct gpu_slot *s = &g->slots[g->slot];
    int r = VK(g, em, vkEndCommandBuffer(s->cmd));
    if (r < 0)
        return r;
    if (fault("gpu_submit"))
        return VK(g, em, VK_ERROR_DEVICE_LOST);
    VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &s->cmd,
    };
    s->n_pipelines = g->counts.pipelines;
    s->sent_ns = clock_ns();
    if ((r = VK(g, em, vkQueueSubmit(g->queue, 1, &submit, s->fence))) < 0)
        return r;
    g->counts.submits++;
    g->n_flying++;
    g->slot = (g->slot + 1) % GPU_SLOTS;
    return 0;
}
