/* kernels [--device cpu|cpu:exact|vulkan|vulkan:NAME] [--bench] [--brief] [--single] [--blocks] [--seed N] [--log LEVEL] [CHECK…]
 * cpu:exact: without activations of 8 bits. --brief: fewer and smaller cases of what is costly; a build with sanitizers always has those.
 * --single: without the checks of many ops together. --blocks: those with weights in blocks alone. --log debug: also what the device's layer
 * says, of each kernel that it has built for one.
 * Exit status: 0 all passed, 1 some failed, 2 used wrongly, 77 no such device. */
#include "base/log.h"
#include "gpu/gpu.h"
#include "model/conformance/conform.h"

#include "model/ops_cpu.h"
#include "model/ops_vulkan.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

static int open_device(struct ops **o, const char *device, struct err_msg *em)
{
    const bool exact = strcmp(device, "cpu:exact") == 0;
    if (exact || strcmp(device, "cpu") == 0)
        return ops_cpu_create(o, &(struct ops_cpu_params){.max_batch_tokens = CONFORM_BATCH, .exact = exact}, em);
    if (strcmp(device, "vulkan") == 0 || strncmp(device, "vulkan:", 7) == 0)
        return ops_vulkan_create(o, &(struct ops_vulkan_params){.device = device[6] ? device + 7 : NULL,
                                                                .max_batch_tokens = CONFORM_BATCH}, em);
    return err_set(em, LT_EINVAL, "no such device: %s (cpu, cpu:exact, vulkan, vulkan:NAME)", device);
}

static bool of_many(const char *name)
{
    return strcmp(name, "sequence") == 0 || strcmp(name, "batch") == 0;
}

static bool wanted(const char *name, char **names, int n)
{
    bool named = false;
    for (int i = 0; i < n; i++)
        named |= strcmp(names[i], name) == 0;
    return named || n == 0;
}

int main(int argc, char **argv)
{
    const char *device = "cpu";
    uint64_t seed = 1;
    bool bench = false, brief = false, single = false, blocks = false;
    enum log_level level = LOG_INFO;
    int first = 1;
    for (; first < argc && argv[first][0] == '-'; first++) {
        if (strcmp(argv[first], "--bench") == 0)
            bench = true;
        else if (strcmp(argv[first], "--brief") == 0)
            brief = true;
        else if (strcmp(argv[first], "--single") == 0)
            single = true;
        else if (strcmp(argv[first], "--blocks") == 0)
            blocks = true;
        else if (strcmp(argv[first], "--device") == 0 && first + 1 < argc)
            device = argv[++first];
        else if (strcmp(argv[first], "--seed") == 0 && first + 1 < argc)
            seed = strtoull(argv[++first], NULL, 0);
        else if (strcmp(argv[first], "--log") == 0 && first + 1 < argc && log_level_parse(argv[first + 1], &level) == 0)
            first++;
        else {
            fprintf(stderr, "usage: kernels [--device cpu|cpu:exact|vulkan|vulkan:NAME] [--bench] [--brief] [--single] [--blocks] [--seed N]"
                            " [--log LEVEL] [CHECK...]\n");
            return 2;
        }
    }
    log_set_level(level);
    struct err_msg em = {""};
    struct ops *o = NULL;
    struct conform k;
    int r = open_device(&o, device, &em);
    if (r) {
        fprintf(stderr, "kernels: %s\n", em.text);
        return r == LT_EINVAL ? 2 : 77;
    }
    conform_init(&k, o, seed);
    k.bench = bench;
    k.brief = brief || SANITIZED;
    k.only_blocks = blocks;
    printf("device: %s\n", o->info.name);
    for (const struct conform_check *c = conform_checks; c->name; c++) {
        const unsigned failed = k.n_failed, cases = k.n_cases;
        if (!wanted(c->name, argv + first, argc - first) || (single && of_many(c->name)))
            continue;
        c->run(&k);
        printf("%-16s %4u cases, %u failed\n", c->name, k.n_cases - cases, k.n_failed - failed);
        fflush(stdout);
    }
    ops_destroy(&o);
    printf("%u cases, %u failed\n", k.n_cases, k.n_failed);
    if (gpu_validation_messages())
        printf("FAILED: %llu messages of the validation layers\n", (unsigned long long)gpu_validation_messages());
    return k.n_failed || gpu_validation_messages() ? 1 : 0;
}
