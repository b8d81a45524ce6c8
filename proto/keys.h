/* Keys: X25519 key pairs in files, and the list of clients that may come in.
 *
 * A public key is written as 44 characters of base64. A secret key exists only in a key file
 * (mode 0600) and in guarded memory. Formats: PROTOCOL.md §7.
 * Thread-safety: safe while nothing changes them. */
#ifndef PROTO_KEYS_H
#define PROTO_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define KEY_BYTES 32
#define KEY_TEXT_BYTES 45 /* base64 and the terminating NUL */

#define KEYS_FILE_MAX (1u << 20) /* bytes of an authorized-keys file */
#define KEYS_LINE_MAX 8192
#define KEYS_MAX 4096
#define KEYS_COLLECTIONS_MAX 64 /* named in one line */
#define KEYS_COMMENT_MAX 200
#define KEYS_RATE_MAX 1000000

/* Starts libsodium; every function that needs it calls this itself. Errors: LT_EINTERNAL. */
int keys_init(void);

struct key_pair {
    uint8_t *secret; /* KEY_BYTES in guarded memory, owned */
    uint8_t public[KEY_BYTES];
};

int key_pair_generate(struct key_pair *k);
/* From a secret that the caller keeps (and wipes). */
int key_pair_from_secret(struct key_pair *k, const uint8_t secret[static KEY_BYTES]);
int key_pair_copy(struct key_pair *to, const struct key_pair *from);
/* Wipes and frees; an empty pair is accepted. */
void key_pair_finish(struct key_pair *k);

void key_text(const uint8_t public[static KEY_BYTES], char out[static KEY_TEXT_BYTES]);
/* Errors: LT_EINVAL: not 44 characters of base64 (blanks around it are refused too). */
int key_parse(const char *text, uint8_t public[static KEY_BYTES]);
/* The same of len bytes, of a secret key too. em says what is wrong, calling the key `what` and repeating nothing of it. */
int key_parse_named(const char *what, const char *text, size_t len, uint8_t out[static KEY_BYTES], struct err_msg *em);
bool key_equal(const uint8_t a[static KEY_BYTES], const uint8_t b[static KEY_BYTES]);

/* Writes a new pair's file, mode 0600, durable. Errors: LT_EEXIST: never overwrites. */
int key_file_create(const char *path, const struct key_pair *k, struct err_msg *em);
/* Errors: LT_ENOTFOUND; LT_EPERM also when others may read the file; LT_EFORMAT with the line and what is wrong there; LT_EINVAL: not a file. */
int key_file_read(const char *path, struct key_pair *k, struct err_msg *em);
/* Reads, or generates and writes when there is none, whole or not at all: where root does in another user's folder, for that user. One process at a
 * time (the data folder's lock). */
int key_file_ensure(const char *path, struct key_pair *k, struct err_msg *em);

/* ---- authorized keys --------------------------------------------------------------------- */

enum key_right {
    KEY_QUERY = 1,  /* status, list, info, get, search, embed, rerank, job list */
    KEY_INGEST = 2, /* add, delete, jobs */
    KEY_ADMIN = 4,  /* collection create and drop; includes the others */
};

struct key_entry {
    uint8_t public[KEY_BYTES];
    unsigned rights;     /* of enum key_right; admin has the other bits set too */
    char **collections;  /* owned names; ignored with all_collections */
    uint32_t n_collections;
    bool all_collections;
    uint32_t rate;       /* requests a second; 0: no limit */
    int64_t expires_s;   /* seconds since 1970 UTC from which on it is refused; 0: never */
    char comment[KEYS_COMMENT_MAX + 1];
    uint32_t line;       /* in the file, from 1 */
};

struct keys {
    struct key_entry *entries;
    uint32_t n;
};

void keys_finish(struct keys *k);

/* Parses a whole file's text; a single bad line refuses it all, named by number.
 * Errors: LT_EFORMAT, LT_ELIMIT, LT_ENOMEM. */
int keys_parse(struct keys *k, const char *text, size_t len, struct err_msg *em);
/* A missing file is an empty list. LT_EPERM also when group or others may write to it. */
int keys_read(const char *path, struct keys *k, struct err_msg *em);

/* The entry of a public key, expired or not; NULL: unknown. Compares with every entry in constant
 * time. Lifetime: until keys_finish. */
const struct key_entry *keys_find(const struct keys *k, const uint8_t public[static KEY_BYTES]);

/* 0, LT_EAUTH (expired) or LT_EPERM (right or collection missing; collection NULL: not asked). */
int key_entry_check(const struct key_entry *e, enum key_right right, const char *collection,
                    int64_t now_s, struct err_msg *em);

/* One line as in the file, with newline. Errors: LT_ELIMIT (size too small), LT_EINVAL. */
int key_entry_format(const struct key_entry *e, char *out, size_t size);
/* Parses one line without newline into an entry that the caller frees with key_entry_finish. */
int key_entry_parse(struct key_entry *e, const char *line, size_t len, struct err_msg *em);
void key_entry_finish(struct key_entry *e);

/* Edit the file at path, keeping all other lines and comments as they are (atomic; owner and mode stay). A new one is the
 * folder's owner's alone where that is another user, and readable by everyone where root makes it in a folder of its own. Block while
 * another process edits in the same folder.
 * Errors: LT_EEXIST (add: the key is there), LT_ENOTFOUND (revoke: it is not). */
int keys_file_add(const char *path, const struct key_entry *e, struct err_msg *em);
int keys_file_revoke(const char *path, const uint8_t public[static KEY_BYTES], struct err_msg *em);

/* A token bucket: `rate` a second, one second's worth in store. Zero is a fresh one.
 * key_rate_take returns true when a request may go on now; rate 0 always may. */
struct key_rate {
    uint64_t last_ns;
    double tokens;
};
bool key_rate_take(struct key_rate *r, uint32_t rate, uint64_t now_ns);

#endif
