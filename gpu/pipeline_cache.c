#include "gpu/pipeline_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "gpu/vk.h"

#define MAGIC "LTVKPC1\n"
#define HEADER 56

int pipeline_cache_parse(const void *file, size_t len, const uint8_t key[static PIPELINE_CACHE_KEY],
                         const uint8_t **data, size_t *data_len)
{
    struct bytes_in in = bytes_in(file, len);
    const uint8_t *magic = bytes_take(&in, 8);
    const uint8_t *its_key = bytes_take(&in, PIPELINE_CACHE_KEY);
    uint64_t its_len = bytes_u64(&in), hash = bytes_u64(&in);
    if (in.bad || memcmp(magic, MAGIC, 8) != 0)
        return LT_EFORMAT;
    if (memcmp(its_key, key, PIPELINE_CACHE_KEY) != 0)
        return LT_EVERSION;
    if (its_len > PIPELINE_CACHE_MAX || its_len != bytes_left(&in))
        return LT_EFORMAT;
    const uint8_t *p = bytes_take(&in, (size_t)its_len);
    if (!p || XXH3_64bits(p, (size_t)its_len) != hash)
        return LT_EFORMAT;
    *data = p;
    *data_len = (size_t)its_len;
    return 0;
}

uint8_t *pipeline_cache_format(const void *data, size_t data_len, const uint8_t key[static PIPELINE_CACHE_KEY],
                               size_t *len)
{
    struct bytes_out out = {.max = HEADER + PIPELINE_CACHE_MAX};
    bytes_put(&out, MAGIC, 8);
    bytes_put(&out, key, PIPELINE_CACHE_KEY);
    bytes_put_u64(&out, data_len);
    bytes_put_u64(&out, XXH3_64bits(data, data_len));
    bytes_put(&out, data, data_len);
    if (out.bad) {
        bytes_out_finish(&out);
        return NULL;
    }
    *len = out.len;
    return out.data;
}

/* All that may change what a cached pipeline means; llvmpipe's pipelineCacheUUID alone never changes. */
static void make_key(struct gpu *g)
{
    VkPhysicalDeviceProperties props;
    vkGetPhysicalDeviceProperties(g->phys, &props);
    struct bytes_out text = {0};
    bytes_put_u32(&text, props.vendorID);
    bytes_put_u32(&text, props.deviceID);
    bytes_put_u32(&text, props.driverVersion);
    bytes_put_u32(&text, props.apiVersion);
    bytes_put(&text, props.pipelineCacheUUID, VK_UUID_SIZE);
    bytes_put_str(&text, g->info.name);
    bytes_put_str(&text, g->info.driver);
    bytes_put_u32(&text, (uint32_t)sizeof(void *));
    for (int i = 0; i < GPU_KERNEL_COUNT; i++) {
        const struct gpu_kernel_row *row = gpu_kernel_row((enum gpu_kernel)i);
        bytes_put_u64(&text, XXH3_64bits(row->spirv, row->spirv_bytes));
    }
    memset(g->cache_key, 0, sizeof g->cache_key);
    if (!text.bad) {
        XXH128_hash_t h = XXH3_128bits(text.data, text.len);
        XXH128_hash_t h2 = XXH3_128bits_withSeed(text.data, text.len, 1);
        memcpy(g->cache_key, &h, 16);
        memcpy(g->cache_key + 16, &h2, 16);
    }
    bytes_out_finish(&text);
}

static char *make_path(const struct gpu *g, const char *dir)
{
    char *path = NULL;
    /* The name only keeps drivers from overwriting each other; what is inside decides. */
    if (asprintf(&path, "%s/vulkan-%02x%02x%02x%02x%02x%02x%02x%02x.cache", dir, g->cache_key[0],
                 g->cache_key[1], g->cache_key[2], g->cache_key[3], g->cache_key[4], g->cache_key[5],
                 g->cache_key[6], g->cache_key[7]) < 0)
        return NULL;
    return path;
}

int pipeline_cache_init(struct gpu *g, const char *dir, struct err_msg *em)
{
    char *file = NULL;
    size_t len = 0, data_len = 0;
    const uint8_t *data = NULL;
    struct err_msg why;
    make_key(g);
    if (dir) {
        int r = file_make_dirs(dir, 0700, &why);
        if (r < 0)
            log_warn("gpu", "no folder for the pipeline cache: %s", why.text);
        else
            g->cache_path = make_path(g, dir);
    }
    if (g->cache_path) {
        int r = file_read(g->cache_path, HEADER + PIPELINE_CACHE_MAX, &file, &len, &why);
        if (r == 0) {
            r = pipeline_cache_parse(file, len, g->cache_key, &data, &data_len);
            if (r < 0)
                log_warn("gpu", "%s: ignored: %s", g->cache_path,
                         r == LT_EVERSION ? "written by another driver" : "damaged");
        } else if (r != LT_ENOTFOUND) {
            log_warn("gpu", "%s", why.text);
        }
    }
    VkPipelineCacheCreateInfo create = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = data_len,
        .pInitialData = data,
    };
    VkResult result = vkCreatePipelineCache(g->dev, &create, NULL, &g->cache);
    g->counts.cache_loaded = data_len && result == VK_SUCCESS;
    if (result != VK_SUCCESS && data_len) {
        create.initialDataSize = 0;
        create.pInitialData = NULL;
        result = vkCreatePipelineCache(g->dev, &create, NULL, &g->cache);
    }
    free(file);
    return VK(g, em, result);
}

void pipeline_cache_save(struct gpu *g)
{
    size_t len = 0, file_len = 0;
    uint8_t *data = NULL, *file = NULL;
    struct err_msg why;
    if (!g->cache_path || !g->cache_dirty || g->lost)
        return;
    g->cache_dirty = false;
    if (vkGetPipelineCacheData(g->dev, g->cache, &len, NULL) != VK_SUCCESS || !len ||
        len > PIPELINE_CACHE_MAX)
        return;
    data = malloc(len);
    if (!data || vkGetPipelineCacheData(g->dev, g->cache, &len, data) != VK_SUCCESS)
        goto out;
    file = pipeline_cache_format(data, len, g->cache_key, &file_len);
    if (file && file_replace(g->cache_path, file, file_len, 0600, &why) < 0)
        log_warn("gpu", "%s", why.text);
out:
    free(file);
    free(data);
}

void pipeline_cache_finish(struct gpu *g)
{
    if (!g->cache)
        return;
    pipeline_cache_save(g);
    vkDestroyPipelineCache(g->dev, g->cache, NULL);
    g->cache = VK_NULL_HANDLE;
}
