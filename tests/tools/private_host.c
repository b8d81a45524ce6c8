/* A program that uses a private latentd, for tests: private_host DIR [MODEL] takes commands on standard input, a line each, and answers each
 * with a line. It has what a daemon's start could upset: a SIGCHLD handler, blocked and ignored signals, another thread, open files. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dirent.h>

#include "clients/c/latent.h"

/* What belongs to the process and must stay as it is. */
struct snapshot {
    char cwd[4096];
    mode_t mask;
    unsigned char fds[1024]; /* 1: open */
    int n_threads;
    sigset_t blocked;
    void (*handlers[NSIG])(int);
};

static volatile sig_atomic_t n_sigchld;

static void on_sigchld(int number)
{
    n_sigchld++;
}

static void on_other(int number)
{
}

static void *sleep_on(void *arg)
{
    for (;;)
        pause();
    return NULL;
}

static int count_dir(const char *path, unsigned char *seen)
{
    DIR *d = opendir(path);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        int number = e->d_name[0] == '.' ? -1 : atoi(e->d_name);
        if (number < 0 || (seen && number == dirfd(d)))
            continue;
        n++;
        if (seen && number < 1024)
            seen[number] = 1;
    }
    if (d)
        closedir(d);
    return n;
}

static void take(struct snapshot *s)
{
    memset(s, 0, sizeof *s);
    if (!getcwd(s->cwd, sizeof s->cwd))
        abort();
    umask(s->mask = umask(0));
    count_dir("/proc/self/fd", s->fds);
    s->n_threads = count_dir("/proc/self/task", NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &s->blocked);
    for (int i = 1; i < NSIG; i++) {
        struct sigaction a = {0};
        if (sigaction(i, NULL, &a) == 0)
            s->handlers[i] = a.sa_handler;
    }
}

/* Names what has changed but for the connection's descriptor. */
static void audit(const struct snapshot *was, int connection)
{
    static struct snapshot now;
    take(&now);
    for (int i = 0; i < 1024; i++)
        if (now.fds[i] != was->fds[i] && i != connection)
            printf("descriptor %d ", i);
    if (connection >= 0 && !(fcntl(connection, F_GETFD) & FD_CLOEXEC))
        printf("no close-on-exec ");
    for (int i = 1; i < NSIG; i++)
        if (now.handlers[i] != was->handlers[i] || sigismember(&now.blocked, i) != sigismember(&was->blocked, i))
            printf("signal %d ", i);
    if (strcmp(now.cwd, was->cwd) != 0 || now.mask != was->mask || now.n_threads != was->n_threads)
        printf("cwd %s umask %o threads %d ", now.cwd, (unsigned)now.mask, now.n_threads);
    if (n_sigchld || waitpid(-1, NULL, WNOHANG | __WALL) >= 0 || errno != ECHILD)
        printf("children, SIGCHLD %d ", (int)n_sigchld);
    printf("done\n");
}

static void say(struct latent *c, int r, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void say(struct latent *c, int r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (r < 0)
        printf("error %s %s\n", latent_code_name(r), latent_error(c));
    else
        vprintf(fmt, ap);
    va_end(ap);
}

static void add(struct latent *c, char *words)
{
    char id[32];
    int n = 1, at = 0, r = 0;
    if (sscanf(words, "%d %n", &n, &at) == 1 && n > 1) /* many, without waiting */
        words += at;
    struct latent_document d = {.id = strsep(&words, " "), .text = words};
    for (int i = 0; i < n && r == 0; i++) {
        struct latent_add_result *added = NULL;
        snprintf(id, sizeof id, "%d", i);
        d.id = n > 1 ? id : d.id;
        r = latent_add(c, &(struct latent_add){.collection = "c", .documents = &d, .n_documents = 1,
                                               .wait = n > 1 ? LATENT_WAIT_ACCEPTED : LATENT_WAIT_SEARCHABLE}, &added);
        latent_free(added);
    }
    say(c, r, "ok\n");
}

static void search(struct latent *c, const char *query)
{
    struct latent_search_result *found = NULL;
    int r = latent_search(c, &(struct latent_search){.collection = "c", .query = query}, &found);
    for (size_t i = 0; found && i < found->n_hits; i++)
        printf("%s ", found->hits[i].id);
    say(c, r, "found\n");
    latent_free(found);
}

static void status(struct latent *c)
{
    struct latent_status *s = NULL;
    int r = latent_status(c, &s);
    say(c, r, "pid %u pending %llu data %s\n", s ? s->pid : 0, s ? (unsigned long long)s->pending_chunks : 0, s ? s->data_dir : "");
    latent_free(s);
}

static bool on_waiting(void *arg, enum latent_phase phase, uint32_t percent)
{
    return --*(long *)arg != 0;
}

int main(int argc, char **argv)
{
    static struct snapshot before;
    char line[4096];
    long patience = -1;
    struct latent *c = latent_new();
    struct latent_private p = {.data = argv[1], .model = argc > 2 && argv[2][0] ? argv[2] : NULL, .device = "cpu", .idle_s = 1,
                               .waiting = on_waiting, .waiting_arg = &patience, .options = (const char *const *)argv + 3};
    pthread_t thread;
    sigset_t some;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGCHLD, on_sigchld);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, on_other);
    sigemptyset(&some);
    sigaddset(&some, SIGHUP);
    sigaddset(&some, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &some, NULL);
    pthread_create(&thread, NULL, sleep_on, NULL);
    if (argc < 2 || !c || open("/proc/self/exe", O_RDONLY) < 0) /* inherited, if the start lets it */
        return 2;
    if (argc < 4)
        p.options = NULL;
    take(&before);
    while (fgets(line, sizeof line, stdin)) {
        char *rest = line, *verb;
        line[strcspn(line, "\n")] = 0;
        verb = strsep(&rest, " ");
        if (strcmp(verb, "connect") == 0)
            say(c, latent_connect_private(c, &p), "ok\n");
        else if (strcmp(verb, "create") == 0)
            say(c, latent_collection_create(c, "c", NULL, NULL), "ok\n");
        else if (strcmp(verb, "add") == 0)
            add(c, rest);
        else if (strcmp(verb, "search") == 0)
            search(c, rest);
        else if (strcmp(verb, "status") == 0)
            status(c);
        else if (strcmp(verb, "audit") == 0)
            audit(&before, latent_fd(c));
        else if (strcmp(verb, "close") == 0)
            latent_close(c), puts("ok");
        else if (strcmp(verb, "timeout") == 0)
            latent_set_timeout(c, (uint32_t)atoi(rest)), puts("ok");
        else if (strcmp(verb, "patience") == 0)
            patience = atoi(rest), puts("ok");
        else
            puts("what?");
    }
    latent_destroy(&c);
    return 0;
}
