/* A daemon that is nobody's child.
 *
 * The caller's process is left as it is: no signal is sent to it (not SIGCHLD either), no child is there to be waited for, and its signal
 * handlers, threads, working folder and descriptors stay what they are. The daemon is a session of its own whose parent is init (or the
 * subreaper among the caller's ancestors), with / as its folder, umask 077, default signals and no descriptor but 0 to 2. The
 * environment, limits and cgroup are the caller's.
 * Thread-safety: safe, as long as nobody changes the environment. */
#ifndef CLIENTS_C_SPAWN_H
#define CLIENTS_C_SPAWN_H

#include "base/paths.h"

/* Which latentd to run: the one named; else $LATENTD_PROGRAM; else one that came with this library; else the one that was installed with
 * it; else the first in $PATH. A process with more rights than its user has does not look at the environment.
 * Errors: LT_ENOTFOUND, LT_EPERM, says where it has been looked for. */
int spawn_find(char program[static PATHS_MAX], const char *named, struct err_msg *em);

/* Runs it. *words: what it says on standard output and error can be read here, without waiting; at the end of that it has ended, or says
 * no more. The caller closes it.
 * Blocks: until the program runs.
 * Errors: the errno's code; nothing runs then. */
int spawn_daemon(const char *program, char *const argv[], int *words, struct err_msg *em);

#endif
