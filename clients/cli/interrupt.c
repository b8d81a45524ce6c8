#include "clients/cli/interrupt.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>

static const int signals[] = {SIGINT, SIGTERM};
#define N_SIGNALS (sizeof signals / sizeof *signals)

static volatile sig_atomic_t came, watched = -1;

static void on_signal(int number)
{
    const int e = errno;
    came = number;
    for (size_t i = 0; i < N_SIGNALS; i++)
        signal(signals[i], SIG_DFL);
    shutdown(watched, SHUT_RDWR);
    errno = e;
}

void interrupt_watch(int fd)
{
    const struct sigaction act = {.sa_handler = on_signal}; /* without SA_RESTART: a read that waits is to end */
    struct sigaction old;
    watched = fd;
    for (size_t i = 0; i < N_SIGNALS; i++)
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(signals[i], &act, NULL);
}

bool interrupt_came(void)
{
    return came != 0;
}

void interrupt_die(void)
{
    raise(came);
    _Exit(128 + came); /* the signal is blocked */
}
