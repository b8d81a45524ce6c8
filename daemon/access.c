#include "daemon/access.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/plural.h"

#define ALLOWED_USERS_MAX 256

struct access {
    char *path;
    struct grant **grants;
    size_t n;
    unsigned generation;
    struct stat seen; /* zeroed: no file */
    bool broken;      /* grants nothing, since it cannot be read */
};

struct grant *grant_ref(struct grant *g)
{
    if (g)
        atomic_fetch_add(&g->refs, 1);
    return g;
}

void grant_unref(struct grant **gp)
{
    struct grant *g = *gp;
    *gp = NULL;
    if (g && atomic_fetch_sub(&g->refs, 1) == 1) {
        key_entry_finish(&g->entry);
        free(g);
    }
}

static void drop_grants(struct access *a)
{
    for (size_t i = 0; i < a->n; i++)
        grant_unref(&a->grants[i]);
    free(a->grants);
    a->grants = NULL;
    a->n = 0;
}

/* Moves the parsed entries into grants. */
static int take_keys(struct access *a, struct keys *k)
{
    a->grants = calloc(k->n ? k->n : 1, sizeof *a->grants);
    if (!a->grants)
        return LT_ENOMEM;
    for (uint32_t i = 0; i < k->n; i++) {
        struct grant *g = calloc(1, sizeof *g);
        if (!g)
            return LT_ENOMEM;
        atomic_init(&g->refs, 1);
        g->entry = k->entries[i];
        memset(&k->entries[i], 0, sizeof k->entries[i]);
        a->grants[a->n++] = g;
    }
    return 0;
}

static int reload(struct access *a, struct err_msg *em)
{
    struct keys k = {0};
    drop_grants(a);
    a->generation++;
    int r = keys_read(a->path, &k, em);
    if (r == 0 && (r = take_keys(a, &k)) < 0)
        err_set(em, r, "%.200s: out of memory", a->path);
    keys_finish(&k);
    if (r < 0)
        drop_grants(a);
    a->broken = r < 0;
    return r;
}

static void look(const char *path, struct stat *st)
{
    if (stat(path, st) < 0)
        memset(st, 0, sizeof *st);
}

int access_create(struct access **out, const char *path, struct err_msg *em)
{
    struct access *a = calloc(1, sizeof *a);
    if (!a || !(a->path = strdup(path))) {
        free(a);
        return err_set(em, LT_ENOMEM, "out of memory");
    }
    look(path, &a->seen);
    int r = reload(a, em);
    if (r < 0)
        access_destroy(&a);
    *out = a;
    return r;
}

void access_destroy(struct access **ap)
{
    struct access *a = *ap;
    if (!a)
        return;
    drop_grants(a);
    free(a->path);
    free(a);
    *ap = NULL;
}

unsigned access_generation(struct access *a)
{
    struct stat st;
    look(a->path, &st);
    /* The time of change is that of contents, owner and mode. */
    if (st.st_ino == a->seen.st_ino && st.st_size == a->seen.st_size && st.st_ctim.tv_sec == a->seen.st_ctim.tv_sec &&
        st.st_ctim.tv_nsec == a->seen.st_ctim.tv_nsec)
        return a->generation;
    a->seen = st;
    struct err_msg em;
    if (reload(a, &em) < 0)
        log_error("access", "%s; no key is accepted until this is mended", em.text);
    else
        log_info("access", "%s: %zu key%s", a->path, a->n, plural(a->n));
    return a->generation;
}

struct grant *access_find(struct access *a, const uint8_t public[static KEY_BYTES])
{
    struct grant *found = NULL;
    for (size_t i = 0; i < a->n; i++)
        if (key_equal(a->grants[i]->entry.public, public))
            found = a->grants[i];
    return grant_ref(found);
}

const char *access_why_none(const struct access *a)
{
    return a->broken ? "no key is accepted until the daemon's file of them, which cannot be read, is mended: its log says what is wrong"
                     : "this key is not among the authorized keys";
}

static int user_id(const char *name, unsigned *uid)
{
    char *end;
    unsigned long v = strtoul(name, &end, 10);
    if (*name && !*end && v < UINT32_MAX) {
        *uid = (unsigned)v;
        return 0;
    }
    const struct passwd *pw = getpwnam(name);
    if (!pw)
        return LT_ENOTFOUND;
    *uid = pw->pw_uid;
    return 0;
}

int access_users_init(struct access_users *u, const char *users, const char *group, struct err_msg *em)
{
    *u = (struct access_users){0};
    if (group) {
        const struct group *gr = getgrnam(group);
        if (!gr)
            return err_set(em, LT_ENOTFOUND, "allow-group: no group '%.100s'", group);
        u->group = gr->gr_gid;
        u->has_group = true;
    }
    if (!users)
        return 0;
    char *list = strdup(users), *save = NULL;
    u->uids = calloc(ALLOWED_USERS_MAX, sizeof *u->uids);
    int r = list && u->uids ? 0 : err_set(em, LT_ENOMEM, "out of memory");
    for (char *name = r == 0 ? strtok_r(list, ", ", &save) : NULL; name; name = strtok_r(NULL, ", ", &save)) {
        if (u->n == ALLOWED_USERS_MAX || user_id(name, &u->uids[u->n]) < 0) {
            r = err_set(em, LT_ENOTFOUND, "allow-users: no user '%.100s', or too many", name);
            break;
        }
        u->n++;
    }
    free(list);
    if (r < 0)
        access_users_finish(u);
    return r;
}

void access_users_finish(struct access_users *u)
{
    free(u->uids);
    *u = (struct access_users){0};
}

/* Is gid among the further groups of the peer's process? */
static bool process_in_group(int fd, unsigned gid)
{
    gid_t few[64], *all = few;
    socklen_t len = sizeof few;
    bool found = false;
    int r = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, all, &len);
    if (r < 0 && errno == ERANGE && (all = malloc(len)))
        r = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, all, &len);
    for (size_t i = 0; r == 0 && i < len / sizeof *all; i++)
        found = found || all[i] == gid;
    if (all != few)
        free(all);
    return found;
}

enum access_peer access_peer(const struct access_users *u, int fd, unsigned *uid)
{
    struct ucred c = {0};
    socklen_t len = sizeof c;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len) < 0)
        return ACCESS_NO;
    *uid = c.uid;
    if (c.uid == geteuid() || c.uid == 0)
        return ACCESS_YES;
    for (size_t i = 0; i < u->n; i++)
        if (u->uids[i] == c.uid)
            return ACCESS_YES;
    if (!u->has_group)
        return ACCESS_NO;
    return c.gid == u->group || process_in_group(fd, u->group) ? ACCESS_YES : ACCESS_ASK;
}
