/* What systemd asks of a service: readiness messages and sockets passed in, without linking to its library.
 * Thread-safety: safe. */
#ifndef DAEMON_SYSTEMD_H
#define DAEMON_SYSTEMD_H

/* Sends a state such as "READY=1" to $NOTIFY_SOCKET; does nothing without one. */
void systemd_notify(const char *state);

/* The number of sockets that were passed in, as descriptors 3, 4, …; 0 when none were or they are another process's.
 * They are made close-on-exec, and the variables are removed, so a second call says 0. */
int systemd_sockets(void);

/* For a daemon that a program has started which may be a service itself: what systemd has told that one is not meant for it. */
void systemd_forget(void);

#define SYSTEMD_FIRST_FD 3

#endif
