#include "model/gguf_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"

#define MAX_HEADER (1u << 30) /* keys and tensor list, held in memory until the first data */
#define BUFFER_BYTES (1u << 20)

struct gguf_writer {
    char *path, *tmp;
    char self[40]; /* the unfinished file by its descriptor */
    bool named;    /* it lies at tmp; otherwise it has no name yet and goes with the process */
    int fd;
    int error; /* first failure */
    bool committed, header_done;
    struct bytes_out keys, tensors;
    uint64_t n_keys, n_tensors;
    size_t *len; /* bytes of each listed tensor */
    size_t cap;
    size_t current, done; /* tensor being written, bytes of it so far */
    uint64_t data_len;    /* of the data section, as listed or as written */
    uint8_t *buf;
    size_t buf_len;
};

/* A file without a name leaves nothing behind, however the process ends. False where the file system has none. */
static bool open_nameless(struct gguf_writer *w)
{
    char *dir = strdup(w->path), *slash = dir ? strrchr(dir, '/') : NULL;
    if (slash)
        slash[slash == dir] = 0;
    w->fd = dir ? open(slash ? dir : ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0644) : -1;
    free(dir);
    snprintf(w->self, sizeof w->self, "/proc/self/fd/%d", w->fd);
    if (w->fd >= 0 && access(w->self, R_OK) == 0)
        return true;
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
    return false;
}

/* Gives it the name that is renamed next. A file that a killed import left there is replaced. */
static int give_name(struct gguf_writer *w)
{
    if (w->named)
        return 0;
    if (unlink(w->tmp) < 0 && errno != ENOENT)
        return err_from_errno(errno);
    if (linkat(AT_FDCWD, w->self, AT_FDCWD, w->tmp, AT_SYMLINK_FOLLOW) < 0)
        return err_from_errno(errno);
    w->named = true;
    return 0;
}

int gguf_write_create(struct gguf_writer **out, const char *path, struct err_msg *em)
{
    struct stat there;
    struct gguf_writer *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(em, LT_ENOMEM, "no memory");
    w->fd = -1;
    if (stat(path, &there) == 0 && !S_ISREG(there.st_mode)) {
        gguf_write_destroy(&w);
        return err_set(em, LT_EINVAL, "%s: not a regular file", path);
    }
    w->keys.max = w->tensors.max = MAX_HEADER;
    w->path = strdup(path);
    w->buf = malloc(BUFFER_BYTES);
    if (!w->path || !w->buf || asprintf(&w->tmp, "%s.tmp", path) < 0) {
        w->tmp = NULL;
        gguf_write_destroy(&w);
        return err_set(em, LT_ENOMEM, "no memory");
    }
    if (!open_nameless(w)) {
        w->fd = open(w->tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        w->named = true;
    }
    if (w->fd < 0) {
        int r = err_set(em, err_from_errno(errno), "%s: cannot create: %s", w->tmp, strerror(errno));
        gguf_write_destroy(&w);
        return r;
    }
    *out = w;
    return 0;
}

void gguf_write_destroy(struct gguf_writer **wp)
{
    struct gguf_writer *w = wp ? *wp : NULL;
    if (!w)
        return;
    if (w->fd >= 0) {
        close(w->fd);
        if (!w->committed && w->named)
            unlink(w->tmp);
    }
    bytes_out_finish(&w->keys);
    bytes_out_finish(&w->tensors);
    free(w->len);
    free(w->buf);
    free(w->path);
    free(w->tmp);
    free(w);
    *wp = NULL;
}

static int fail(struct gguf_writer *w, int code, struct err_msg *em)
{
    if (!w->error)
        w->error = code;
    return err_set(em, w->error, "%s: cannot write: %s", w->tmp, w->error == LT_ENOSPC ? "no space left" : err_text(w->error));
}

static void put_string(struct bytes_out *b, const char *s, size_t len)
{
    bytes_put_u64(b, len);
    bytes_put(b, s, len);
}

static void put_key(struct gguf_writer *w, const char *key, enum gguf_type type)
{
    put_string(&w->keys, key, strlen(key));
    bytes_put_u32(&w->keys, type);
    w->n_keys++;
}

void gguf_write_u32(struct gguf_writer *w, const char *key, uint32_t v)
{
    put_key(w, key, GGUF_U32);
    bytes_put_u32(&w->keys, v);
}

void gguf_write_i32(struct gguf_writer *w, const char *key, int32_t v)
{
    put_key(w, key, GGUF_I32);
    bytes_put_u32(&w->keys, (uint32_t)v);
}

void gguf_write_f32(struct gguf_writer *w, const char *key, float v)
{
    put_key(w, key, GGUF_F32);
    bytes_put_f32(&w->keys, v);
}

void gguf_write_bool(struct gguf_writer *w, const char *key, bool v)
{
    put_key(w, key, GGUF_BOOL);
    bytes_put_u8(&w->keys, v);
}

void gguf_write_str(struct gguf_writer *w, const char *key, const char *s, size_t len)
{
    put_key(w, key, GGUF_STRING);
    put_string(&w->keys, s, len);
}

void gguf_write_blank(struct gguf_writer *w, const char *key, size_t len, uint64_t *offset)
{
    put_key(w, key, GGUF_STRING);
    bytes_put_u64(&w->keys, len);
    *offset = 4 + 4 + 8 + 8 + w->keys.len;
    uint8_t *p = bytes_room(&w->keys, len);
    if (p)
        memset(p, '0', len);
}

void gguf_write_array(struct gguf_writer *w, const char *key, enum gguf_type elem, const void *data, size_t count,
                      uint64_t *offset)
{
    size_t bytes;
    put_key(w, key, GGUF_ARRAY);
    bytes_put_u32(&w->keys, elem);
    bytes_put_u64(&w->keys, count);
    if (offset)
        *offset = 4 + 4 + 8 + 8 + w->keys.len;
    uint8_t *p = size_mul(count, 4, &bytes) ? bytes_room(&w->keys, bytes) : NULL;
    if (!p) {
        w->keys.bad = true;
        return;
    }
    memset(p, 0, bytes);
    for (size_t i = 0; data && i < count; i++) {
        uint32_t v;
        memcpy(&v, (const uint8_t *)data + 4 * i, 4);
        for (int j = 0; j < 4; j++)
            p[4 * i + (size_t)j] = (uint8_t)(v >> (8 * j));
    }
}

void gguf_write_tensor(struct gguf_writer *w, const char *name, enum tensor_type type, uint64_t rows, uint64_t cols)
{
    size_t bytes = 0;
    if (w->n_tensors == w->cap) {
        size_t cap = w->cap ? 2 * w->cap : 256;
        size_t *len = reallocarray(w->len, cap, sizeof *len);
        if (!len) {
            w->error = w->error ? w->error : LT_ENOMEM;
            return;
        }
        w->len = len;
        w->cap = cap;
    }
    if (!rows || !size_mul(tensor_row_bytes(type, cols), (size_t)rows, &bytes) || !bytes)
        w->error = w->error ? w->error : LT_EINVAL;
    put_string(&w->tensors, name, strlen(name));
    bytes_put_u32(&w->tensors, rows == 1 ? 1 : 2);
    bytes_put_u64(&w->tensors, cols);
    if (rows != 1)
        bytes_put_u64(&w->tensors, rows);
    bytes_put_u32(&w->tensors, type);
    bytes_put_u64(&w->tensors, w->data_len);
    w->len[w->n_tensors++] = bytes;
    w->data_len += (bytes + GGUF_ALIGNMENT - 1) / GGUF_ALIGNMENT * GGUF_ALIGNMENT;
}

static int drain(struct gguf_writer *w)
{
    int r = file_write_full(w->fd, w->buf, w->buf_len);
    w->buf_len = 0;
    return r;
}

static int put(struct gguf_writer *w, const void *data, size_t len)
{
    int r;
    for (const uint8_t *p = data; len;) {
        size_t n = BUFFER_BYTES - w->buf_len < len ? BUFFER_BYTES - w->buf_len : len;
        memcpy(w->buf + w->buf_len, p, n);
        w->buf_len += n;
        p += n;
        len -= n;
        if (w->buf_len == BUFFER_BYTES && (r = drain(w)) < 0)
            return r;
    }
    return 0;
}

static int put_header(struct gguf_writer *w)
{
    int r;
    struct bytes_out head = {0};
    static const uint8_t zeros[GGUF_ALIGNMENT];
    if (w->keys.bad || w->tensors.bad)
        return LT_ENOMEM;
    bytes_put(&head, GGUF_MAGIC, 4);
    bytes_put_u32(&head, GGUF_VERSION);
    bytes_put_u64(&head, w->n_tensors);
    bytes_put_u64(&head, w->n_keys);
    size_t len = head.len + w->keys.len + w->tensors.len;
    r = head.bad ? LT_ENOMEM : put(w, head.data, head.len);
    if (!r)
        r = put(w, w->keys.data, w->keys.len);
    if (!r)
        r = put(w, w->tensors.data, w->tensors.len);
    if (!r)
        r = put(w, zeros, -len & (GGUF_ALIGNMENT - 1));
    bytes_out_finish(&head);
    w->header_done = true;
    return r;
}

int gguf_write_data(struct gguf_writer *w, const void *data, size_t len, struct err_msg *em)
{
    static const uint8_t zeros[GGUF_ALIGNMENT];
    int r = w->error;
    if (!r && !w->header_done)
        r = put_header(w);
    for (const uint8_t *p = data; !r && len;) {
        if (w->current == w->n_tensors)
            return fail(w, LT_EINVAL, em);
        size_t left = w->len[w->current] - w->done, n = left < len ? left : len;
        r = put(w, p, n);
        p += n;
        len -= n;
        w->done += n;
        if (!r && w->done == w->len[w->current]) {
            r = put(w, zeros, -w->done & (GGUF_ALIGNMENT - 1));
            w->current++;
            w->done = 0;
        }
    }
    return r ? fail(w, r, em) : 0;
}

int gguf_write_flush(struct gguf_writer *w, struct err_msg *em)
{
    int r = w->error;
    if (!r && !w->header_done)
        r = put_header(w);
    if (!r && w->current != w->n_tensors)
        r = LT_EINVAL;
    if (!r)
        r = drain(w);
    return r ? fail(w, r, em) : 0;
}

const char *gguf_write_tmp_path(const struct gguf_writer *w)
{
    return w->named ? w->tmp : w->self;
}

int gguf_write_patch(struct gguf_writer *w, uint64_t offset, const void *data, size_t len, struct err_msg *em)
{
    int r = gguf_write_flush(w, em);
    if (r < 0)
        return r;
    const uint8_t *p = data;
    while (len) {
        ssize_t n = pwrite(w->fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail(w, err_from_errno(n < 0 ? errno : EIO), em);
        p += n;
        offset += (size_t)n;
        len -= (size_t)n;
    }
    return 0;
}

int gguf_write_commit(struct gguf_writer *w, struct err_msg *em)
{
    int r = gguf_write_flush(w, em);
    if (r < 0)
        return r;
    if (fsync(w->fd) < 0)
        return fail(w, err_from_errno(errno), em);
    if ((r = give_name(w)) < 0)
        return fail(w, r, em);
    if (rename(w->tmp, w->path) < 0)
        return fail(w, err_from_errno(errno), em);
    w->committed = true;
    if ((r = file_sync_parent(w->path)) < 0)
        return err_set(em, r, "%s: cannot sync its folder: %s", w->path, err_text(r));
    return 0;
}
