#include "daemon/tool_check.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/plural.h"
#include "base/version.h"
#include "daemon/options.h"
#include "index/index.h"

static const char help[] =
    "Usage: latentd check [--data DIR] [--config FILE] [--repair]\n\n"
    "Verifies a data folder while no daemon has it open: the database and its rows, the words, every graph and that\n"
    "it holds each searchable text's vector and none more. One line for each problem.\n\n"
    "  --data DIR     the folder (default: the one latentd would use)\n"
    "  --config FILE  take the folder from these settings\n"
    "  --repair       mend what is wrong: words and graphs are made anew from the database, rows that contradict\n"
    "                 each other are set right, lost vectors are computed again by the next start; what cannot be\n"
    "                 mended is named\n"
    "  --help, --version\n\n"
    "Exit status: 0 nothing is wrong (any more), 1 problems are left, 2 used wrongly.\n";

static void say(void *arg, const char *line)
{
    (void)arg;
    puts(line);
    fflush(stdout);
}

static int check(const char *dir, bool repair)
{
    struct index_check_params p = {.dir = dir, .repair = repair, .say = say};
    struct index_check_report rep;
    struct err_msg em = {""};
    log_set_level(LOG_ERROR);
    int r = index_check_folder(&p, &rep, &em);
    if (r == LT_ELOCKED) {
        fprintf(stderr, "latentd check: %s: stop that daemon first\n", em.text);
        return 1;
    }
    if (r < 0 && !rep.n_collections) { /* it could not be opened, or not be read to the end */
        fprintf(stderr, "latentd check: %s\n", em.text[0] ? em.text : err_text(r));
        if (r == LT_ECORRUPT || r == LT_EFORMAT)
            fputs("The database itself cannot be read; put a copy of the folder back, or salvage with sqlite3's .recover.\n",
                  stderr);
        return 1;
    }
    printf("%llu collection%s, %llu document%s, %llu chunk%s: ", (unsigned long long)rep.n_collections, plural(rep.n_collections),
           (unsigned long long)rep.n_documents, plural(rep.n_documents), (unsigned long long)rep.n_chunks, plural(rep.n_chunks));
    if (!rep.n_problems)
        puts("no problems");
    else if (!repair)
        printf("%u problem%s, which --repair mends\n", rep.n_problems, plural(rep.n_problems));
    else if (!rep.n_left)
        printf("%u problem%s, all mended\n", rep.n_problems, plural(rep.n_problems));
    else
        printf("%u problem%s, %u left\n", rep.n_problems, plural(rep.n_problems), rep.n_left);
    return r < 0;
}

int tool_check(int argc, char **argv)
{
    struct settings s;
    enum options_action action;
    struct err_msg em = {""};
    const char *operand = NULL;
    bool repair = false;
    int n = 0, status;
    for (int i = 0; i < argc; i++) { /* the rest is the daemon's own options */
        if (i && strcmp(argv[i], "--repair") == 0)
            repair = true;
        else
            argv[n++] = argv[i];
    }
    argv[n] = NULL;
    settings_init(&s);
    int r = options_read(n, argv, &s, &operand, &action, &em);
    if (r == 0 && operand && action == OPTIONS_SERVE)
        r = err_set(&em, LT_EINVAL, "the folder is named with --data, not '%.100s'", operand);
    if (r < 0) {
        fprintf(stderr, "latentd check: %s\nTry latentd check --help.\n", em.text);
        status = 2;
    } else if (action == OPTIONS_HELP) {
        status = fputs(help, stdout) < 0;
    } else if (action == OPTIONS_VERSION) {
        status = puts("latentd " LATENTD_VERSION) < 0;
    } else {
        status = check(s.data, repair);
    }
    settings_finish(&s);
    return status;
}
