#include "base/paths.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int join(char out[static PATHS_MAX], const char *a, const char *b)
{
    int n = snprintf(out, PATHS_MAX, "%s%s", a, b);
    return n < 0 || n >= PATHS_MAX ? LT_ELIMIT : 0;
}

/* An XDG variable counts only when it is absolute, as its specification says. */
static const char *env_dir(const char *name)
{
    const char *s = getenv(name);
    return s && s[0] == '/' ? s : NULL;
}

static int under_home(char out[static PATHS_MAX], const char *env, const char *home_tail, const char *tail)
{
    const char *dir = env_dir(env);
    if (dir)
        return join(out, dir, tail);
    const char *home = env_dir("HOME");
    if (!home) {
        const struct passwd *pw = getpwuid(getuid());
        home = pw && pw->pw_dir ? pw->pw_dir : "/";
    }
    char base[PATHS_MAX];
    int r = join(base, home, home_tail);
    return r < 0 ? r : join(out, base, tail);
}

int paths_data_dir(char out[static PATHS_MAX])
{
    if (geteuid() == 0)
        return join(out, "/var/lib/latentd", "");
    return under_home(out, "XDG_DATA_HOME", "/.local/share", "/latentd");
}

int paths_socket(char out[static PATHS_MAX])
{
    if (geteuid() == 0)
        return join(out, "/run/latentd/latentd.sock", "");
    const char *dir = env_dir("XDG_RUNTIME_DIR");
    if (dir)
        return join(out, dir, "/latentd/latentd.sock");
    char tail[64];
    snprintf(tail, sizeof tail, "/tmp/latentd-%u", (unsigned)geteuid());
    return join(out, tail, "/latentd.sock");
}

int paths_socket_ours(const char *path)
{
    static const char common[] = "/tmp/latentd-";
    char dir[PATHS_MAX];
    struct stat st;
    if (strncmp(path, common, sizeof common - 1) != 0)
        return 0;
    const int n = snprintf(dir, sizeof dir, "%.*s", (int)(strcspn(path + sizeof common - 1, "/") + sizeof common - 1), path);
    if (n >= (int)sizeof dir)
        return LT_ELIMIT;
    if (lstat(dir, &st) < 0)
        return err_from_errno(errno);
    return S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022) ? 0 : LT_EPERM;
}

int paths_config_file(char out[static PATHS_MAX])
{
    if (geteuid() == 0)
        return join(out, LATENTD_SYSCONFDIR, "/latentd/latentd.conf");
    return under_home(out, "XDG_CONFIG_HOME", "/.config", "/latentd/latentd.conf");
}

int paths_cache_dir(char out[static PATHS_MAX])
{
    if (geteuid() == 0)
        return join(out, "/var/cache/latentd", "");
    return under_home(out, "XDG_CACHE_HOME", "/.cache", "/latentd");
}
