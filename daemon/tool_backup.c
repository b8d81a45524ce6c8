#include "daemon/tool_backup.h"

#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/plural.h"
#include "base/version.h"
#include "daemon/options.h"
#include "index/index.h"

static const char help[] =
    "Usage: latentd backup [--data DIR] [--config FILE] TO\n\n"
    "Copies a data folder to TO, a folder that is not there yet: the store as it is at one moment, while its daemon goes\n"
    "on, and the keys. Graphs are left out, the first start with the copy makes them anew. TO appears when the copy is\n"
    "whole and has passed the database's own check. To restore it, stop the daemon, put TO in the place of its data\n"
    "folder and start again; `latentd check --data TO` verifies all of it before.\n\n"
    "  --data DIR     the folder (default: the one latentd would use)\n"
    "  --config FILE  take the folder from these settings\n"
    "  --help, --version\n\n"
    "Exit status: 0 done, 1 not, 2 used wrongly.\n";

static void show(void *arg, double done)
{
    (void)arg;
    fprintf(stderr, "\r\033[K%3.0f %%", done * 100);
    fflush(stderr);
}

static int backup(const char *dir, const char *to)
{
    const bool terminal = isatty(STDERR_FILENO);
    struct index_backup p = {.dir = dir, .to = to, .progress = terminal ? show : NULL};
    struct index_backup_report rep;
    struct err_msg em = {""};
    log_set_level(LOG_ERROR);
    int r = index_backup(&p, &rep, &em);
    if (terminal)
        fputs("\r\033[K", stderr);
    if (r < 0) {
        fprintf(stderr, "latentd backup: %s\n", em.text[0] ? em.text : err_text(r));
        if (r == LT_ECORRUPT)
            fputs("Nothing was copied. latentd check --repair mends the folder of a daemon that does not run.\n", stderr);
        return 1;
    }
    printf("%s: %llu collection%s, %llu document%s, %.1f MiB", to, (unsigned long long)rep.n_collections, plural(rep.n_collections),
           (unsigned long long)rep.n_documents, plural(rep.n_documents), (double)rep.bytes / (1 << 20));
    if (rep.n_pending)
        printf(", %llu chunk%s still to be embedded", (unsigned long long)rep.n_pending, plural(rep.n_pending));
    putchar('\n');
    return 0;
}

int tool_backup(int argc, char **argv)
{
    struct settings s;
    enum options_action action;
    struct err_msg em = {""};
    const char *to;
    int status = 2;
    settings_init(&s);
    if (options_read(argc, argv, &s, &to, &action, &em) < 0)
        fprintf(stderr, "latentd backup: %s\nTry latentd backup --help.\n", em.text);
    else if (action == OPTIONS_HELP)
        status = fputs(help, stdout) < 0;
    else if (action == OPTIONS_VERSION)
        status = puts("latentd " LATENTD_VERSION) < 0;
    else if (!to)
        fputs("latentd backup: where to?\nTry latentd backup --help.\n", stderr);
    else
        status = backup(s.data, to);
    settings_finish(&s);
    return status;
}
