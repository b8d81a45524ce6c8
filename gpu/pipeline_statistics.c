#include "gpu/pipeline_statistics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/vk.h"

/* The name as it may stand in a line; false: there is none. */
static bool make_name(const char name[static VK_MAX_DESCRIPTION_SIZE], char out[static PIPELINE_STATISTICS_NAME + 1])
{
    const size_t len = strnlen(name, PIPELINE_STATISTICS_NAME);
    for (size_t i = 0; i < len; i++)
        out[i] = name[i] > ' ' && name[i] <= '~' && name[i] != '=' ? name[i] : '_';
    out[len] = 0;
    return len > 0;
}

/* False: of a kind that is not known. */
static bool make_value(const VkPipelineExecutableStatisticKHR *s, char out[static 32])
{
    switch (s->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR:
        snprintf(out, 32, "%d", s->value.b32 != VK_FALSE);
        return true;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR:
        snprintf(out, 32, "%lld", (long long)s->value.i64);
        return true;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR:
        snprintf(out, 32, "%llu", (unsigned long long)s->value.u64);
        return true;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR:
        snprintf(out, 32, "%g", s->value.f64);
        return true;
    default:
        return false;
    }
}

void pipeline_statistics_format(const VkPipelineExecutableStatisticKHR *list, uint32_t n, char text[static PIPELINE_STATISTICS_TEXT], size_t *len)
{
    for (uint32_t i = 0; i < n && i < PIPELINE_STATISTICS_MAX; i++) {
        char name[PIPELINE_STATISTICS_NAME + 1], value[32];
        if (!make_name(list[i].name, name) || !make_value(&list[i], value))
            continue;
        const size_t room = PIPELINE_STATISTICS_TEXT - *len, need = strlen(name) + strlen(value) + 2;
        if (need >= room)
            return;
        snprintf(text + *len, room, " %s=%s", name, value);
        *len += need;
    }
}

struct answers {
    VkPipelineExecutablePropertiesKHR executables[PIPELINE_EXECUTABLES_MAX];
    VkPipelineExecutableStatisticKHR statistics[PIPELINE_STATISTICS_MAX];
};

/* A function of the device's extension; NULL: the driver has none for all that it says. */
static PFN_vkVoidFunction find_function(struct gpu *g, const char *name)
{
    PFN_vkGetDeviceProcAddr find = (PFN_vkGetDeviceProcAddr)(void *)vkGetInstanceProcAddr(g->in.instance, "vkGetDeviceProcAddr");
    return find ? find(g->dev, name) : NULL;
}

/* How many of p's executables are in a; 0: the driver does not say. */
static uint32_t ask_executables(struct gpu *g, VkPipeline p, struct answers *a)
{
    PFN_vkGetPipelineExecutablePropertiesKHR get =
        (PFN_vkGetPipelineExecutablePropertiesKHR)(void *)find_function(g, "vkGetPipelineExecutablePropertiesKHR");
    const VkPipelineInfoKHR of = {.sType = VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, .pipeline = p};
    uint32_t n = PIPELINE_EXECUTABLES_MAX;
    for (uint32_t i = 0; i < n; i++)
        a->executables[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR;
    if (!get || get(g->dev, &of, &n, a->executables) < 0)
        return 0;
    return n < PIPELINE_EXECUTABLES_MAX ? n : PIPELINE_EXECUTABLES_MAX;
}

static uint32_t ask_statistics(struct gpu *g, VkPipeline p, uint32_t executable, struct answers *a)
{
    PFN_vkGetPipelineExecutableStatisticsKHR get =
        (PFN_vkGetPipelineExecutableStatisticsKHR)(void *)find_function(g, "vkGetPipelineExecutableStatisticsKHR");
    const VkPipelineExecutableInfoKHR of = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
        .pipeline = p,
        .executableIndex = executable,
    };
    uint32_t n = PIPELINE_STATISTICS_MAX;
    for (uint32_t i = 0; i < n; i++)
        a->statistics[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
    if (!get || get(g->dev, &of, &n, a->statistics) < 0)
        return 0;
    return n;
}

void pipeline_statistics_read(struct gpu *g, VkPipeline p, char text[static PIPELINE_STATISTICS_TEXT])
{
    text[0] = 0;
    struct answers *a = g->tells ? calloc(1, sizeof *a) : NULL;
    const uint32_t n = a ? ask_executables(g, p, a) : 0;
    if (n) {
        size_t len = (size_t)snprintf(text, PIPELINE_STATISTICS_TEXT, ": subgroup=%u", a->executables[n - 1].subgroupSize);
        pipeline_statistics_format(a->statistics, ask_statistics(g, p, n - 1, a), text, &len);
    }
    free(a);
}
