/* How a device's memory is divided: the released model's 304 tensors on Vulkan devices that need not be there, and the plan of the buffers. */
#include "tests/unit.h"

#include "gpu/tuning.h"
#include "gpu/vk.h"
#include "model/activations.h"
#include "model/import.h"
#include "model/layout.h"
#include "model/ops_vulkan_impl.h"
#include "model/plan.h"

#define GB 1000000000ull

static const struct model_info released = {.dim = 4096, .full_dim = 4096, .n_layers = 32, .hidden = 4096, .n_heads = 32, .n_kv_heads = 8,
                                           .head_dim = 128, .ffn = 14336, .vocab = 32000, .token_limit = 32768, .norm_eps = 1e-5f,
                                           .rope_theta = 10000, .pooling = MODEL_POOL_LATENT, .n_latents = 512, .n_latent_heads = 8,
                                           .latent_head_dim = 4096, .latent_ffn = 16384, .layer_norm_eps = 1e-5f, .bos = 1, .eos = 2,
                                           .add_bos = true, .add_eos = true, .quantised = true, .weight_type = "q4_K"};

/* Cooperative matrices of NVIDIA's, AMD's and lavapipe's kind; int8 dot products; nothing at all. */
static const struct gpu_coop coops[] = {{16, 16, 16, 32, true, 4}, {16, 16, 16, 64, true, 0}, {8, 8, 8, 8, true, 1}, {0}, {0}};
enum { DEVICES = sizeof coops / sizeof *coops };

struct device {
    struct gpu g;
    struct ops_vulkan v;
    struct ops_vtbl vtbl;
};

static struct ops *device_init(struct device *d, int kind, uint64_t allowed)
{
    struct err_msg em;
    *d = (struct device){
        .g = {.vendor = kind ? 0x1002 : 0x10DE, .forced_path = -1, .allowed_bytes = allowed,
              .info = {.kind = GPU_DISCRETE, .memory_bytes = 24 * GB},
              .limits = {.max_shared = 49152, .max_invocations = 1024, .max_group_size = {1024, 1024, 64}, .max_groups = {65535, 65535, 65535},
                         .max_range = UINT32_MAX, .offset_align = 64, .shuffles = true, .dot = kind == 3, .dot_fast = kind == 3,
                         .coop = coops[kind]}},
        .vtbl = {.mat_bytes = ops_vulkan_mat_bytes, .scratch_bytes = ops_vulkan_scratch_bytes},
    };
    assert_int_equal(tuning_table_fill(&d->g.table, d->g.vendor, false, "", &em), 0);
    d->v.g = &d->g;
    d->v.base = (struct ops){.v = &d->vtbl, .info = {.rooms = true, .memory_bytes = 24 * GB, .max_batch_tokens = 32768}};
    return &d->v.base;
}

static struct plan_weights weights_of(struct ops *o, enum tensor_type type)
{
    struct plan_weights w = {0};
    struct layout_item *items = NULL;
    struct err_msg em;
    size_t n;
    assert_int_equal(layout_list(&released, &items, &n, &em), 0);
    assert_int_equal(n, 304);
    for (size_t i = 0; i < n; i++) {
        const struct tensor t = {items[i].name, import_tensor_type(type, &items[i], 7851016192), items[i].rows, items[i].cols, NULL, 0};
        plan_add(&w, o, &t);
    }
    free(items);
    return w;
}

/* All of the plan's parts, as the engine makes them. */
static uint64_t total(struct ops *o, const struct plan_weights *w, const struct plan *p, uint64_t folded)
{
    const struct ops_use u = plan_use(&released, p->tokens, p->texts);
    return w->layers + w->others + folded + activations_bytes(&released, true, p->tokens, p->texts) + ops_vulkan_scratch_bytes(o, &u);
}

static struct plan plan_for(int kind, enum tensor_type type, uint64_t memory)
{
    struct device d;
    struct plan p;
    struct ops *o = device_init(&d, kind, memory);
    const struct plan_weights w = weights_of(o, type);
    plan_make(&released, o, &w, memory, 0, 32768, &p);
    /* the folded matrices are two of 4096 by 4096, in blocks of 32 values with an f16 */
    if (!p.streams)
        assert_true(total(o, &w, &p, 2ull * 4096 * 4096 / 32 * 34) <= memory);
    assert_true(p.layer_bytes >= w.layers || p.streams);
    return p;
}

static void the_released_model_fits(void **state)
{
    for (int kind = 0; kind < DEVICES; kind++) {
        const struct plan eight = plan_for(kind, TENSOR_Q8_0, 9 * GB), four = plan_for(kind, TENSOR_Q4_K, 5 * GB);
        assert_false(eight.streams);
        assert_false(four.streams);
        assert_true(eight.tokens >= 512 && four.tokens >= 512);
        printf("device %d: batches of %u tokens at q8_0 in 9 GB, of %u at q4_K in 5 GB\n", kind, eight.tokens, four.tokens);
    }
}

/* With ever less memory there are fewer tokens first, then streamed layers, and batches that are worth reading layers for. */
static void less_memory_means_fewer_tokens_first(void **state)
{
    for (int kind = 0; kind < DEVICES; kind++) {
        uint32_t least = UINT32_MAX;
        bool streamed = false;
        for (uint64_t memory = 6 * GB; memory > 4 * GB; memory -= GB / 50) {
            const struct plan p = plan_for(kind, TENSOR_Q4_K, memory);
            assert_true(!streamed || p.streams);
            assert_true(p.streams ? p.tokens >= PLAN_TOKENS : p.tokens >= PLAN_TOKENS_LEAST && p.tokens <= least);
            least = p.streams ? least : p.tokens;
            streamed = p.streams;
        }
        assert_true(streamed && least < PLAN_TOKENS);
    }
}

/* What a plan says it takes is what it is made of, never more than it may where that is enough, and never less than the least. */
static void bytes_are_counted(void **state)
{
    for (int kind = 0; kind < DEVICES; kind++) {
        struct device d;
        struct plan p;
        struct ops *o = device_init(&d, kind, 6 * GB);
        const struct plan_weights w = weights_of(o, TENSOR_Q4_K);
        const uint64_t least = plan_least(&released, o, &w), layer = w.layers / released.n_layers;
        assert_true(least > w.others + layer && least < w.others + w.layers);
        plan_make(&released, o, &w, 6 * GB, 0, 32768, &p);
        assert_false(p.streams);
        assert_int_equal(p.bytes, total(o, &w, &p, 2ull * 4096 * 4096 / 32 * 34));
        assert_true(p.bytes <= 6 * GB);
        for (uint64_t memory = 1; memory < 6 * GB; memory += GB / 7) {
            plan_make(&released, o, &w, memory, PLAN_TOKENS, 32768, &p);
            assert_true(p.bytes >= least && p.bytes <= (memory > least ? memory : least));
            assert_int_equal(p.bytes == least, p.streams && p.layer_bytes <= layer);
        }
    }
}

/* The longest text is what fits beside the weights, and no shorter than a submission. */
static void longest_text_fits(void **state)
{
    struct device d;
    struct plan p;
    struct ops *o = device_init(&d, 0, 6 * GB);
    const struct plan_weights w = weights_of(o, TENSOR_Q4_K);
    uint64_t bytes = 0, one_more = 0;
    plan_make(&released, o, &w, 1, PLAN_TOKENS, 32768, &p);
    assert_int_equal(plan_longest(&released, o, &p, 1, 32768, &bytes), PLAN_TOKENS);
    assert_int_equal(bytes, plan_least(&released, o, &w));
    for (uint64_t room = 2 * GB; room < 16 * GB; room += GB) {
        const uint32_t n = plan_longest(&released, o, &p, room, 32768, &bytes);
        assert_true(n > PLAN_TOKENS && bytes <= room);
        if (n == 32768)
            return;
        assert_int_equal(plan_longest(&released, o, &p, UINT64_MAX, n + 1, &one_more), n + 1);
        assert_true(one_more > room);
    }
    fail();
}

/* What was asked for stays; what is not known has no bound. */
static void asked_is_kept(void **state)
{
    struct device d;
    struct plan p;
    struct ops *o = device_init(&d, 0, 0);
    const struct plan_weights w = weights_of(o, TENSOR_Q4_K);
    plan_make(&released, o, &w, 5 * GB, 4000, 32768, &p);
    assert_int_equal(p.tokens, 4000);
    assert_true(p.streams);
    plan_make(&released, o, &w, 5 * GB, 4000, 300, &p);
    assert_int_equal(p.tokens, 300);
    assert_int_equal(p.texts, 300);
    /* nor is what others have to be had */
    o->info.free_bytes = 3 * GB;
    plan_make(&released, o, &w, 0, 0, 32768, &p);
    assert_true(p.streams && p.layer_bytes < 27 * (GB / 10));
    plan_make(&released, o, &w, 5 * GB, 0, 32768, &p);
    assert_true(p.streams && p.layer_bytes < 27 * (GB / 10));
    o->info.free_bytes = 0;
    /* more than there is cannot be used, unless what there is is the host's */
    o->info.memory_bytes = 2 * GB;
    plan_make(&released, o, &w, 5 * GB, 0, 32768, &p);
    assert_true(p.streams && p.layer_bytes < 2 * GB);
    strcpy(o->info.kind, "cpu");
    plan_make(&released, o, &w, 5 * GB, 0, 32768, &p);
    assert_false(p.streams);
    o->info.memory_bytes = 0;
    plan_make(&released, o, &w, 0, 0, 32768, &p);
    assert_true(!p.streams && p.layer_bytes == 0 && p.tokens >= PLAN_TOKENS);
    plan_make(&released, o, &w, 1, 0, 32768, &p);
    assert_true(p.streams && p.layer_bytes == 1 && p.tokens == PLAN_TOKENS);
}

/* A row of the released model takes the four widest things that are needed at one time. */
static void rooms_are_shared(void **state)
{
    assert_int_equal(activations_bytes(&released, true, 512, 512), 512 * 4 * (2 * 4096 + 2 * 16384 + 16384));
    assert_int_equal(activations_bytes(&released, true, 500, 500), 512 * 4 * (2 * 4096 + 2 * 16384 + 16384));
    assert_true(activations_bytes(&released, false, 512, 512) > 3 * activations_bytes(&released, true, 512, 512));
    assert_int_equal(activations_widest(&released), 2 * 16384);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_released_model_fits),
        cmocka_unit_test(less_memory_means_fewer_tokens_first),
        cmocka_unit_test(bytes_are_counted), cmocka_unit_test(longest_text_fits),
        cmocka_unit_test(asked_is_kept),
        cmocka_unit_test(rooms_are_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
