#include "gpu/access.h"

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NODE "renderD"

static int explain(const char *path, struct err_msg *em)
{
    char group[64], text[1024];
    struct group g, *found = NULL;
    struct stat st;
    if (stat(path, &st) < 0)
        return 0;
    if (getgrgid_r(st.st_gid, &g, text, sizeof text, &found) == 0 && found)
        snprintf(group, sizeof group, "%.60s", g.gr_name);
    else
        snprintf(group, sizeof group, "%u", (unsigned)st.st_gid);
    return err_set(em, LT_EPERM, "a GPU is there, but this user may not open %s, which is group %s's (usermod -aG %s USER, then log in anew)",
                   path, group, group);
}

int gpu_access(const char *dir, struct err_msg *em)
{
    char first[512] = "";
    DIR *d = opendir(dir);
    if (!d)
        return 0;
    for (const struct dirent *e; (e = readdir(d));) {
        char path[512];
        if (strncmp(e->d_name, NODE, strlen(NODE)) != 0 || snprintf(path, sizeof path, "%s/%s", dir, e->d_name) >= (int)sizeof path)
            continue;
        if (access(path, R_OK | W_OK) < 0 && errno == EACCES && (!*first || strcmp(path, first) < 0))
            memcpy(first, path, sizeof first);
    }
    closedir(d);
    return *first ? explain(first, em) : 0;
}
