/* latentd: reads its settings and serves, or runs one of its tools. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/version.h"
#include "daemon/core.h"
#include "daemon/options.h"
#include "daemon/systemd.h"
#include "daemon/tool_backup.h"
#include "daemon/tool_bench.h"
#include "daemon/tool_check.h"
#include "daemon/tool_hnswlib.h"
#include "daemon/tool_import.h"
#include "daemon/tool_selftest.h"

/* oneDNN's OpenMP teams would spin between batches and take the processors from searches. Their library reads the
 * environment before main runs, so the variable has to be there before the process starts. */
static void want_passive_threads(char **argv)
{
    if (getenv("OMP_WAIT_POLICY") || setenv("OMP_WAIT_POLICY", "passive", 1) < 0)
        return;
    execv("/proc/self/exe", argv); /* goes on here when it fails: slower, not wrong */
}

static int serve(const struct settings *s)
{
    enum log_level level;
    prctl(PR_SET_NAME, "latentd"); /* for pgrep and top: started by /proc/self/exe it is called exe */
    if (log_level_parse(s->log_level, &level) == 0)
        log_set_level(level);
    log_find_journal();
    if (s->is_private)
        systemd_forget();
    log_info("daemon", "latentd " LATENTD_VERSION ", data in %s", s->data);
    return core_run(s);
}

static int run(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "import") == 0)
        return tool_import(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "selftest") == 0) {
        want_passive_threads(argv);
        return tool_selftest(argc - 1, argv + 1);
    }
    if (argc > 1 && strcmp(argv[1], "bench") == 0) {
        want_passive_threads(argv);
        return tool_bench(argc - 1, argv + 1);
    }
    if (argc > 1 && strcmp(argv[1], "check") == 0)
        return tool_check(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "backup") == 0)
        return tool_backup(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "import-hnswlib") == 0)
        return tool_hnswlib(argc - 1, argv + 1);
    struct settings s;
    enum options_action action;
    struct err_msg em = {""};
    int status = 0;
    settings_init(&s);
    if (options_read(argc, argv, &s, NULL, &action, &em) < 0) {
        fprintf(stderr, "latentd: %s\nTry latentd --help.\n", em.text);
        status = 2;
    } else if (action == OPTIONS_HELP) {
        options_help(stdout);
    } else if (action == OPTIONS_VERSION) {
        puts("latentd " LATENTD_VERSION);
    } else {
        want_passive_threads(argv);
        status = serve(&s);
    }
    settings_finish(&s);
    return status;
}

/* A report that is not there, on a full disk say, must not look like success. */
int main(int argc, char **argv)
{
    file_keep_standard();
    const int status = run(argc, argv), late = fflush(stdout) != 0 ? errno : 0;
    if (!late && !ferror(stdout))
        return status;
    fprintf(stderr, "latentd: cannot write the output: %s\n", late ? strerror(late) : "write error");
    return status ? status : 1;
}
