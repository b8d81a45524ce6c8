#include "daemon/tool_selftest.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/paths.h"
#include "base/plural.h"
#include "base/refused.h"
#include "base/version.h"
#include "daemon/find_model.h"
#include "gpu/access.h"
#include "gpu/tuning.h"
#include "model/conformance/conform.h"
#include "model/engine.h"
#include "model/engine_device.h"
#include "model/model.h"

#define MAX_COLS 16384 /* floats of a row in the cases at most */

static const char help[] =
    "Usage: latentd selftest [--device D] [--model FILE]\n\n"
    "Runs every operation's conformance cases on this machine's devices, and the golden vectors of a model.\n\n"
    "  --device D    auto (default): all devices that the daemon would try; or cpu, vulkan, part of a device's\n"
    "                name, a UUID\n"
    "  --model FILE  whose golden vectors; default: the model that latentd serves without arguments\n"
    "  --help        print this and exit\n"
    "  --version     print the version and exit\n\n"
    "Exit status 0 when every device passed, 1 when one did not or could not be opened.\n";

static void row(const char *check, unsigned cases, unsigned failed, const char *note)
{
    printf("  %-16s %7u %7u  %s%s%s\n", check, cases, failed, failed ? "FAILED" : "passed", *note ? "; " : "", note);
    fflush(stdout);
}

/* The cases of every op; false when one failed. */
static bool run_ops(const struct engine_candidate *c)
{
    const struct engine_params p = {0};
    struct ops *o = NULL;
    struct err_msg em = {""};
    struct conform k;
    if (engine_open_device(c, &p, CONFORM_BATCH, MAX_COLS, &o, &em) < 0) {
        printf("%s: cannot be opened: %s\n", c->name, em.text);
        return false;
    }
    printf("%s (%s%s%s)\n  %-16s %7s %7s\n", o->info.name, o->info.kind, o->info.uuid[0] ? ", " : "", o->info.uuid, "check",
           "cases", "failed");
    conform_init(&k, o, 1);
    k.brief = o->info.software;
    for (const struct conform_check *check = conform_checks; check->name; check++) {
        const unsigned failed = k.n_failed, cases = k.n_cases;
        if (check->run == check_matmul && !c->cpu) /* in run_ways */
            continue;
        check->run(&k);
        row(check->name, k.n_cases - cases, k.n_failed - failed, "");
    }
    ops_destroy(&o);
    return !k.n_failed;
}

/* The products' cases in each way that the device offers: which one a model's products take depends on the device and their rows. */
static bool run_ways(const struct engine_candidate *c)
{
    const struct engine_params p = {0};
    bool good = true;
    for (int way = 0; way < TUNING_PATHS && !c->cpu; way++) {
        const char *name = tuning_path_name((enum tuning_path)way);
        struct ops *o = NULL;
        struct err_msg em = {""};
        struct conform k;
        char check[32];
        setenv("LATENTD_VULKAN_MATMUL", name, 1);
        const int r = engine_open_device(c, &p, CONFORM_BATCH, MAX_COLS, &o, &em);
        unsetenv("LATENTD_VULKAN_MATMUL");
        snprintf(check, sizeof check, "matmul as %s", name);
        if (r < 0) {
            printf("  %-16s %7s %7s  %s\n", check, "-", "-", r == LT_ENOTFOUND ? "not offered" : em.text);
            good &= r == LT_ENOTFOUND;
            continue;
        }
        conform_init(&k, o, 1);
        k.brief = o->info.software;
        check_matmul(&k);
        row(check, k.n_cases, k.n_failed, "");
        good &= !k.n_failed;
        ops_destroy(&o);
    }
    return good;
}

static bool run_goldens(const struct engine_candidate *c, const struct model *m)
{
    const struct engine_params p = {.device = c->cpu ? "cpu" : c->uuid};
    struct engine *e = NULL;
    struct err_msg em = {""};
    char note[sizeof em.text];
    const int r = engine_create(&e, m, &p, &em);
    const unsigned n = r < 0 ? 1 : engine_info(e)->n_goldens;
    if (r < 0)
        snprintf(note, sizeof note, "%s", em.text);
    else
        snprintf(note, sizeof note, "largest difference %.2g, smallest cosine %.6f", engine_info(e)->selftest_error,
                 engine_info(e)->selftest_cosine);
    row("golden vectors", n, r < 0, note);
    engine_destroy(&e);
    return r == 0;
}

static int wrong(const char *what, const char *which)
{
    fprintf(stderr, "latentd selftest: %s%s\nTry latentd selftest --help.\n", what, which);
    return 2;
}

static int fail(int code, const struct err_msg *em)
{
    fprintf(stderr, "latentd selftest: %s\n", em->text[0] ? em->text : err_text(code));
    return 1;
}

static int test_devices(const char *device, const char *path)
{
    struct engine_candidate list[ENGINE_CANDIDATES_MAX];
    struct model *m = NULL;
    struct err_msg em = {""};
    size_t n = 0, n_good = 0;
    bool named;
    int r = engine_candidates(device, list, &n, &named, &em);
    if (r < 0 || (r = model_open(&m, path, &em)) < 0)
        return fail(r, &em);
    printf("latentd " LATENTD_VERSION ", model %s (%s)\n", model_info(m)->name, model_info(m)->weight_type);
    if (!named && n == 1 && gpu_access(GPU_NODES, &em) < 0)
        printf("%s\n", em.text);
    for (size_t i = 0; i < n; i++) {
        const bool ops = run_ops(&list[i]), ways = run_ways(&list[i]), goldens = run_goldens(&list[i], m);
        n_good += ops && ways && goldens;
    }
    model_destroy(&m);
    printf("%zu of %zu device%s passed\n", n_good, n, plural(n));
    return n_good == n ? 0 : 1;
}

int tool_selftest(int argc, char **argv)
{
    static const struct option opts[] = {{"device", required_argument, NULL, 'd'}, {"model", required_argument, NULL, 'm'},
                                         {"help", no_argument, NULL, 'h'},         {"version", no_argument, NULL, 'V'},
                                         {0}};
    const char *device = NULL;
    char path[PATHS_MAX] = "";
    struct err_msg em = {""};
    optind = 0;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", opts, NULL)) != -1;) {
        if (c == 'd')
            device = optarg;
        else if (c == 'm' && snprintf(path, sizeof path, "%s", optarg) >= (int)sizeof path)
            return wrong("the path is too long: ", optarg);
        else if (c == 'm' && !path[0])
            return wrong("--model names no file", "");
        else if (c == 'h')
            return fputs(help, stdout) < 0;
        else if (c == 'V')
            return puts("latentd " LATENTD_VERSION) < 0;
        else if (c == ':')
            return wrong("a value is missing after ", refused_option(argv, opts));
        else if (c == '?')
            return wrong("unknown option ", refused_option(argv, opts));
    }
    if (optind != argc)
        return wrong("no arguments are taken, not ", argv[optind]);
    int r = path[0] ? 0 : find_model(path, sizeof path, &em);
    return r < 0 ? fail(r, &em) : test_devices(device, path);
}
