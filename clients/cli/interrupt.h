/* SIGINT and SIGTERM, taken as "enough": the connection ends at once, so that whatever waits for an answer comes back with LATENT_ECONN, and
 * what is known can be said before the process dies by the signal after all. A second one ends it where it is.
 *
 * Thread-safety: unsafe; once in a process. */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <stdbool.h>

/* fd: the connection's, which is shut down when a signal comes. A signal that is ignored stays so (`nohup`, a shell's `&`). */
void interrupt_watch(int fd);

/* Since interrupt_watch. A read of a file or terminal that waited then has failed with EINTR. */
bool interrupt_came(void);

/* Ends the process by the signal that came. */
void interrupt_die(void);

#endif
