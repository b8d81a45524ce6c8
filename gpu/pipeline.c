#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "gpu/pipeline_statistics.h"
#include "gpu/vk.h"

#define X(name, stem, access, n_spec, push) _Static_assert((n_spec) <= GPU_MAX_SPEC, #name);
GPU_KERNEL_LIST(X)
#undef X

static int make_set_layout(struct gpu *g, uint32_t n_bindings, struct err_msg *em)
{
    VkDescriptorSetLayoutBinding bindings[GPU_MAX_BINDINGS];
    if (g->set_layout[n_bindings])
        return 0;
    for (uint32_t i = 0; i < n_bindings; i++) {
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    }
    VkDescriptorSetLayoutCreateInfo create = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = n_bindings,
        .pBindings = bindings,
    };
    return VK(g, em, vkCreateDescriptorSetLayout(g->dev, &create, NULL, &g->set_layout[n_bindings]));
}

int pipeline_init(struct gpu *g, struct err_msg *em)
{
    int r;
    for (int i = 0; i < GPU_KERNEL_COUNT; i++) {
        const struct gpu_kernel_row *row = gpu_kernel_row((enum gpu_kernel)i);
        uint32_t n_bindings = (uint32_t)strlen(row->access);
        if ((r = make_set_layout(g, n_bindings, em)) < 0)
            return r;
        VkPushConstantRange push = {
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
            .size = row->push_bytes,
        };
        VkPipelineLayoutCreateInfo create = {
            .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
            .setLayoutCount = 1,
            .pSetLayouts = &g->set_layout[n_bindings],
            .pushConstantRangeCount = 1,
            .pPushConstantRanges = &push,
        };
        if ((r = VK(g, em, vkCreatePipelineLayout(g->dev, &create, NULL, &g->layout[i]))) < 0)
            return r;
    }
    return 0;
}

static int build(struct gpu *g, enum gpu_kernel k, const uint32_t *spec, VkPipeline *out, struct err_msg *em)
{
    const struct gpu_kernel_row *row = gpu_kernel_row(k);
    uint64_t start = clock_ns();
    VkShaderModule module = VK_NULL_HANDLE;
    VkSpecializationMapEntry entries[GPU_MAX_SPEC];
    VkShaderModuleCreateInfo code = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = row->spirv_bytes,
        .pCode = row->spirv,
    };
    int r = VK(g, em, vkCreateShaderModule(g->dev, &code, NULL, &module));
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < row->n_spec; i++)
        entries[i] = (VkSpecializationMapEntry){i, 4 * i, 4};
    VkSpecializationInfo info = {row->n_spec, entries, 4 * row->n_spec, spec};
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfoEXT subgroup = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO_EXT,
        .requiredSubgroupSize = g->limits.coop.subgroup,
    };
    VkComputePipelineCreateInfo create = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = VK_PIPELINE_CREATE_DISPATCH_BASE | (g->tells ? VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR : 0u),
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .pNext = row->full_subgroups && g->demands_size ? &subgroup : NULL,
                  .flags = row->full_subgroups ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT_EXT : 0,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = &info},
        .layout = g->layout[k],
    };
    r = VK(g, em, vkCreateComputePipelines(g->dev, g->cache, 1, &create, NULL, out));
    vkDestroyShaderModule(g->dev, module, NULL);
    const double ms = (double)(clock_ns() - start) * 1e-6;
    char statistics[PIPELINE_STATISTICS_TEXT] = "";
    if (r == 0)
        pipeline_statistics_read(g, *out, statistics);
    log_debug("gpu", "%s built in %.1f ms%s", row->name, ms, statistics);
    return r;
}

int pipeline_get(struct gpu *g, enum gpu_kernel k, const uint32_t *spec, VkPipeline *out, struct err_msg *em)
{
    const struct gpu_kernel_row *row = gpu_kernel_row(k);
    for (size_t i = 0; i < g->n_pipelines; i++) {
        struct gpu_pipeline *p = &g->pipelines[i];
        if (p->kernel == k && memcmp(p->spec, spec, 4 * row->n_spec) == 0) {
            *out = p->pipeline;
            return 0;
        }
    }
    if (spec[0] == 0 || spec[0] > g->limits.max_invocations || spec[0] > g->limits.max_group_size[0])
        return err_set(em, LT_ELIMIT, "%s: %s in groups of %u, at most %u are allowed", g->info.name,
                       row->name, spec[0], g->limits.max_invocations);
    if (row->full_subgroups && (!g->limits.coop.subgroup || spec[0] % g->limits.coop.subgroup))
        return err_set(em, LT_ELIMIT, "%s: %s in a group of %u, no multiple of a subgroup", g->info.name, row->name, spec[0]);
    if (g->n_pipelines == g->cap_pipelines) {
        size_t cap = g->cap_pipelines ? 2 * g->cap_pipelines : 32;
        struct gpu_pipeline *more = realloc(g->pipelines, cap * sizeof *more);
        if (!more)
            return err_set(em, LT_ENOMEM, "no memory for a pipeline");
        g->pipelines = more;
        g->cap_pipelines = cap;
    }
    int r = build(g, k, spec, out, em);
    if (r < 0)
        return r;
    struct gpu_pipeline *p = &g->pipelines[g->n_pipelines++];
    *p = (struct gpu_pipeline){.kernel = k, .pipeline = *out};
    memcpy(p->spec, spec, 4 * row->n_spec);
    g->counts.pipelines++;
    g->cache_dirty = true;
    return 0;
}

void pipeline_finish(struct gpu *g)
{
    for (size_t i = 0; i < g->n_pipelines; i++)
        vkDestroyPipeline(g->dev, g->pipelines[i].pipeline, NULL);
    g->n_pipelines = 0;
    for (int i = 0; i < GPU_KERNEL_COUNT; i++)
        vkDestroyPipelineLayout(g->dev, g->layout[i], NULL);
    for (int i = 0; i <= GPU_MAX_BINDINGS; i++)
        vkDestroyDescriptorSetLayout(g->dev, g->set_layout[i], NULL);
}
