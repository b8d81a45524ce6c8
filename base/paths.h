/* Where the daemon and its clients meet when nothing else is said: XDG folders for a user, the system's folders for root.
 *
 * Results go into a buffer of PATHS_MAX bytes. LT_ELIMIT when a path does not fit.
 * Thread-safety: safe, as long as nobody changes the environment. */
#ifndef BASE_PATHS_H
#define BASE_PATHS_H

#include <stddef.h>

#include "base/err.h"

#define PATHS_MAX 1024

/* The data folder: /var/lib/latentd for root, else $XDG_DATA_HOME/latentd, else ~/.local/share/latentd. */
int paths_data_dir(char out[static PATHS_MAX]);

/* The socket: /run/latentd/latentd.sock for root, else $XDG_RUNTIME_DIR/latentd/latentd.sock,
 * else /tmp/latentd-UID/latentd.sock (whoever uses that asks paths_socket_ours). */
int paths_socket(char out[static PATHS_MAX]);

/* 0, except for a socket in a folder /tmp/latentd-…, which anybody can make: LT_EPERM where that is no folder of ours, or one that others
 * can write to, LT_ENOTFOUND where there is none. Neither side may use the socket then: another user's daemon would be given our texts. */
int paths_socket_ours(const char *path);

/* latentd.conf: for root latentd/latentd.conf in the folder of settings that was chosen when building (/etc, or /usr/local/etc), where
 * the sample of it is installed; else $XDG_CONFIG_HOME/latentd/latentd.conf, else
 * ~/.config/latentd/latentd.conf. */
int paths_config_file(char out[static PATHS_MAX]);

/* Caches of the user: /var/cache/latentd for root, else $XDG_CACHE_HOME/latentd, else ~/.cache/latentd. */
int paths_cache_dir(char out[static PATHS_MAX]);

#endif
