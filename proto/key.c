#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "proto/keys.h"

#define KEY_FILE_MAX 4096 /* bytes; ours have 170 */

int keys_init(void)
{
    return sodium_init() < 0 ? LT_EINTERNAL : 0;
}

/* ---- pairs ------------------------------------------------------------------------------- */

static int pair_alloc(struct key_pair *k)
{
    *k = (struct key_pair){0};
    int r = keys_init();
    if (r < 0)
        return r;
    k->secret = sodium_malloc(KEY_BYTES);
    return k->secret ? 0 : LT_ENOMEM;
}

int key_pair_generate(struct key_pair *k)
{
    int r = pair_alloc(k);
    if (r < 0)
        return r;
    randombytes_buf(k->secret, KEY_BYTES);
    crypto_scalarmult_base(k->public, k->secret);
    return 0;
}

int key_pair_from_secret(struct key_pair *k, const uint8_t secret[static KEY_BYTES])
{
    int r = pair_alloc(k);
    if (r < 0)
        return r;
    memcpy(k->secret, secret, KEY_BYTES);
    crypto_scalarmult_base(k->public, k->secret);
    return 0;
}

int key_pair_copy(struct key_pair *to, const struct key_pair *from)
{
    return key_pair_from_secret(to, from->secret);
}

void key_pair_finish(struct key_pair *k)
{
    if (k->secret)
        sodium_free(k->secret); /* wipes */
    *k = (struct key_pair){0};
}

void key_text(const uint8_t public[static KEY_BYTES], char out[static KEY_TEXT_BYTES])
{
    sodium_bin2base64(out, KEY_TEXT_BYTES, public, KEY_BYTES, sodium_base64_VARIANT_ORIGINAL);
}

static int base64_parse(const char *text, size_t len, uint8_t out[static KEY_BYTES])
{
    size_t n;
    const char *end;
    if (len != KEY_TEXT_BYTES - 1 ||
        sodium_base642bin(out, KEY_BYTES, text, len, NULL, &n, &end, sodium_base64_VARIANT_ORIGINAL) ||
        n != KEY_BYTES || end != text + len)
        return LT_EINVAL;
    return 0;
}

int key_parse(const char *text, uint8_t public[static KEY_BYTES])
{
    uint8_t k[KEY_BYTES];
    int r = base64_parse(text, strnlen(text, KEY_TEXT_BYTES), k);
    if (r == 0)
        memcpy(public, k, KEY_BYTES);
    return r;
}

static bool is_base64(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/' || c == '=';
}

int key_parse_named(const char *what, const char *text, size_t len, uint8_t out[static KEY_BYTES], struct err_msg *em)
{
    for (size_t i = 0; i < len; i++)
        if (!is_base64(text[i]))
            return err_set(em, LT_EINVAL, "character %zu of %s is none of base64's", i + 1, what);
    if (len != KEY_TEXT_BYTES - 1)
        return err_set(em, LT_EINVAL, "%s has %zu characters, not %d", what, len, KEY_TEXT_BYTES - 1);
    return base64_parse(text, len, out) < 0 ? err_set(em, LT_EINVAL, "%s is not base64 of %d bytes", what, KEY_BYTES) : 0;
}

bool key_equal(const uint8_t a[static KEY_BYTES], const uint8_t b[static KEY_BYTES])
{
    return sodium_memcmp(a, b, KEY_BYTES) == 0;
}

/* ---- files ------------------------------------------------------------------------------- */

static int write_new(const char *path, const char *text, size_t len, struct err_msg *em)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set(em, err_from_errno(errno), "%s: %s", path, strerror(errno));
    int r = file_write_full(fd, text, len);
    if (r == 0 && fsync(fd) < 0)
        r = LT_EIO;
    if (close(fd) < 0 && r == 0)
        r = LT_EIO;
    if (r == 0)
        r = file_sync_parent(path);
    if (r < 0) {
        unlink(path);
        return err_set(em, r, "%s: cannot be written: %s", path, err_text(r));
    }
    return 0;
}

/* fresh: nothing may be there yet; else it takes the place of what is. */
static int create(const char *path, const struct key_pair *k, bool fresh, struct err_msg *em)
{
    char public[KEY_TEXT_BYTES], secret[KEY_TEXT_BYTES], text[256];
    key_text(k->public, public);
    key_text(k->secret, secret);
    int n = snprintf(text, sizeof text,
                     "# latentd key pair: keep this file to yourself, give away only the public key\n"
                     "public %s\nsecret %s\n", public, secret);
    int r = fresh ? write_new(path, text, (size_t)n, em) : file_replace(path, text, (size_t)n, 0600, em);
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(text, sizeof text);
    return r;
}

int key_file_create(const char *path, const struct key_pair *k, struct err_msg *em)
{
    return create(path, k, true, em);
}

struct key_file {
    uint8_t *secret; /* guarded */
    uint8_t public[KEY_BYTES];
    bool has_secret, has_public;
};

static int key_file_line(struct key_file *f, const char *path, unsigned number, const char *line, size_t len, struct err_msg *em)
{
    const bool is_secret = len >= 7 && !memcmp(line, "secret ", 7), is_public = len >= 7 && !memcmp(line, "public ", 7);
    bool *has = is_secret ? &f->has_secret : &f->has_public;
    struct err_msg why;
    if (!is_secret && !is_public)
        return err_set(em, LT_EFORMAT, "%s: line %u is neither `secret KEY` nor `public KEY`", path, number);
    if (*has)
        return err_set(em, LT_EFORMAT, "%s: line %u has a second %s key", path, number, is_secret ? "secret" : "public");
    *has = true;
    if (key_parse_named(is_secret ? "the secret key" : "the public key", line + 7, len - 7, is_secret ? f->secret : f->public, &why) < 0)
        return err_set(em, LT_EFORMAT, "%s: line %u: %s", path, number, why.text);
    return 0;
}

static int key_file_parse(const char *path, const char *data, size_t len, struct key_pair *k,
                          struct err_msg *em)
{
    struct key_file f = {.secret = k->secret};
    unsigned number = 1;
    for (const char *p = data, *end = data + len; p < end; number++) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((nl ? nl : end) - p);
        if (n && *p != '#' && key_file_line(&f, path, number, p, n, em) < 0)
            return LT_EFORMAT;
        p += n + 1;
    }
    if (!f.has_secret)
        return err_set(em, LT_EFORMAT, "%s: holds no `secret KEY` line", path);
    crypto_scalarmult_base(k->public, k->secret);
    if (f.has_public && !key_equal(f.public, k->public))
        return err_set(em, LT_EFORMAT, "%s: the public key is not the secret key's", path);
    return 0;
}

int key_file_read(const char *path, struct key_pair *k, struct err_msg *em)
{
    char *data = NULL;
    size_t len = 0;
    struct stat st;
    int r = pair_alloc(k);
    if (r < 0)
        return err_set(em, r, "%s: %s", path, err_text(r));
    if (stat(path, &st) < 0) {
        r = err_set(em, err_from_errno(errno), "%s: %s", path, strerror(errno));
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        r = err_set(em, LT_EINVAL, "%s: not a regular file", path);
        goto out;
    }
    if (st.st_mode & 077) {
        r = err_set(em, LT_EPERM, "%s: others may read this key; `chmod 600` it", path);
        goto out;
    }
    if ((r = file_read(path, KEY_FILE_MAX, &data, &len, em)) < 0)
        goto out;
    r = key_file_parse(path, data, len, k, em);
out:
    if (data)
        sodium_memzero(data, len);
    free(data);
    if (r < 0)
        key_pair_finish(k);
    return r;
}

int key_file_ensure(const char *path, struct key_pair *k, struct err_msg *em)
{
    int r = key_file_read(path, k, em);
    if (r != LT_ENOTFOUND)
        return r;
    if ((r = key_pair_generate(k)) < 0)
        return err_set(em, r, "%s: %s", path, err_text(r));
    /* By a rename: half a key would be in the way of every later start. The data folder's lock is held. */
    if ((r = create(path, k, false, em)) < 0)
        key_pair_finish(k);
    return r;
}
