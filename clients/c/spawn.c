/* Two processes are made, of which the first leaves at once, so that the daemon is init's. Both begin on stacks of their own in the caller's
 * memory (as posix_spawn's child does): nothing is copied, however large the caller is, and no lock that another of its threads holds
 * is copied either. What they may do is system calls; signals are set without the C library, which keeps notes of its own about them. The
 * first is made without an exit signal: the caller hears nothing of its end, and no wait of the caller's own finds it. */
#include "clients/c/spawn.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_BYTES (64u << 10)
#define FIRST_KEPT_FD 3 /* above standard input, output and error */

/* Sanitizers know nothing of these stacks. */
#define BARE __attribute__((no_sanitize("address", "undefined", "thread")))

struct launch {
    const char *program;
    char *const *argv, **envp;
    char *inner_stack; /* its upper end */
    int null, words;
    int max_fd;
    volatile int error; /* errno's; 0: it runs */
};

/* The daemon, until it is latentd. */
BARE static int become(void *arg)
{
    struct launch *l = arg;
    static const unsigned long zeros[16]; /* the kernel's own structs: SIG_DFL without flags, and a mask of no signals */
    for (int i = 1; i < NSIG; i++)
        syscall(SYS_rt_sigaction, i, zeros, NULL, NSIG / 8); /* what may not be changed stays */
    setsid();
    umask(077);
    if (chdir("/") < 0 || dup2(l->null, STDIN_FILENO) < 0 || dup2(l->words, STDOUT_FILENO) < 0 || dup2(l->words, STDERR_FILENO) < 0) {
        l->error = errno;
        return 1;
    }
#ifdef SYS_close_range
    if (syscall(SYS_close_range, FIRST_KEPT_FD, ~0u, 0) < 0)
#endif
        for (int fd = FIRST_KEPT_FD; fd < l->max_fd; fd++)
            close(fd);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, zeros, NULL, NSIG / 8);
    execve(l->program, l->argv, l->envp);
    l->error = errno;
    return 1;
}

/* The one between. */
BARE static int leave(void *arg)
{
    struct launch *l = arg;
    pid_t pid = clone(become, l->inner_stack, CLONE_VM | CLONE_VFORK, l);
    if (pid < 0)
        l->error = errno;
    else if (l->error)
        waitpid(pid, NULL, __WALL);
    return 0;
}

/* errno's, or 0 when it runs. */
static int launch(struct launch *l)
{
    sigset_t all, old;
    int cancel, e = errno;
    char *stack = mmap(NULL, 2 * STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return ENOMEM;
    l->inner_stack = stack + STACK_BYTES;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* no handler of the caller's runs in the others */
    pid_t pid = clone(leave, stack + 2 * STACK_BYTES, CLONE_VM | CLONE_VFORK, l);
    if (pid < 0)
        l->error = errno;
    while (pid > 0 && waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
        ;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_setcancelstate(cancel, NULL);
    munmap(stack, 2 * STACK_BYTES);
    errno = e;
    return l->error;
}

/* Where the caller has closed 0, 1 or 2, descriptors of ours must not take their places. */
static int lift(int fd)
{
    int up = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FIRST_KEPT_FD);
    if (fd >= 0)
        close(fd);
    return up;
}

/* The environment, and what latentd would else have to start itself once more for (see its main.c). NULL: out of memory. */
static char **environment(void)
{
    static char passive[] = "OMP_WAIT_POLICY=passive";
    size_t n = 0;
    while (environ[n])
        n++;
    char **out = calloc(n + 2, sizeof *out);
    if (out) {
        memcpy(out, environ, n * sizeof *out);
        out[n] = getenv("OMP_WAIT_POLICY") ? NULL : passive;
    }
    return out;
}

int spawn_daemon(const char *program, char *const argv[], int *words, struct err_msg *em)
{
    int ends[2] = {-1, -1}, e = 0;
    struct launch l = {.program = program, .argv = argv, .envp = environment(), .words = -1, .null = lift(open("/dev/null", O_RDWR | O_CLOEXEC))};
    const long max_fd = sysconf(_SC_OPEN_MAX);
    l.max_fd = max_fd > 0 && max_fd < 65536 ? (int)max_fd : 65536;
    /* Without waiting on both sides: a reader that has stopped must not stop the daemon. */
    if (!l.envp || l.null < 0 || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        e = errno;
        goto out;
    }
    ends[0] = lift(ends[0]);
    l.words = ends[1] = lift(ends[1]);
    e = ends[0] < 0 || ends[1] < 0 ? EMFILE : launch(&l);
out:
    free(l.envp);
    if (l.null >= 0)
        close(l.null);
    if (ends[1] >= 0)
        close(ends[1]);
    if (e == 0) {
        *words = ends[0];
        return 0;
    }
    if (ends[0] >= 0)
        close(ends[0]);
    return err_set(em, err_from_errno(e), "%.300s: %s", program, strerror(e));
}

/* ---- which program ---- */

static bool runs(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static bool take(char out[static PATHS_MAX], const char *folder, size_t len, const char *name)
{
    return snprintf(out, PATHS_MAX, "%.*s%s", (int)len, folder, name) < PATHS_MAX && runs(out);
}

/* Beside the library: as installed, wherever that has been moved to, and in a build folder. */
static bool beside(char out[static PATHS_MAX])
{
    static const char *const places[] = {"/../bin/latentd", "/../../bin/latentd", "/../../daemon/latentd", "/latentd"};
    Dl_info info;
    char exe[PATHS_MAX];
    const char *file = dladdr((const void *)&spawn_find, &info) ? info.dli_fname : NULL;
    if (!file || file[0] != '/') { /* a part of the program: its name is what it was called by */
        ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
        exe[n > 0 ? n : 0] = 0;
        file = exe;
    }
    const char *slash = strrchr(file, '/');
    for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++)
        if (take(out, file, (size_t)(slash - file), places[i]))
            return true;
    return false;
}

static bool in_path(char out[static PATHS_MAX])
{
    for (const char *at = secure_getenv("PATH"); at && *at;) {
        size_t len = strcspn(at, ":");
        if (len && at[0] == '/' && take(out, at, len, "/latentd"))
            return true;
        at += len + (at[len] == ':');
    }
    return false;
}

int spawn_find(char program[static PATHS_MAX], const char *named, struct err_msg *em)
{
    const char *env = secure_getenv("LATENTD_PROGRAM");
    const char *which = named ? named : env;
    if (which) {
        char *real = realpath(which, NULL);
        const bool ok = real && strlen(real) < PATHS_MAX && runs(real);
        if (ok)
            strcpy(program, real);
        int e = real ? EACCES : errno;
        free(real);
        return ok ? 0 : err_set(em, e == EACCES ? LT_EPERM : LT_ENOTFOUND, "cannot run %.300s: %s", which, strerror(e));
    }
    if (beside(program) || take(program, "", 0, LATENTD_BINDIR "/latentd") || in_path(program))
        return 0;
    return err_set(em, LT_ENOTFOUND,
                   "there is no latentd to run: neither %s/latentd nor one in PATH; LATENTD_PROGRAM names one that is elsewhere",
                   LATENTD_BINDIR);
}
