#include "tests/unit.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "proto/keys.h"

#define A "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define B "AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

static char dir[64];

static int make_dir(void **state)
{
    snprintf(dir, sizeof dir, "/tmp/latentd-keys-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    assert_int_equal(file_replace(path, text, strlen(text), mode, NULL), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void test_text(void **state)
{
    uint8_t k[KEY_BYTES];
    char t[KEY_TEXT_BYTES];
    assert_int_equal(key_parse(A, k), 0);
    for (int i = 0; i < KEY_BYTES; i++)
        assert_int_equal(k[i], i);
    key_text(k, t);
    assert_string_equal(t, A);
    const char *bad[] = {"", "AAAA", (A "="), (" " A), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8 ",
                         "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=", /* stray bits */
                         "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh88", "AAECAwQFBgcICQoLDA0O-xAREhMUFRYXGBkaGxwdHh8="};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(key_parse(bad[i], k), LT_EINVAL);
}

static void test_key_file(void **state)
{
    struct key_pair k, l;
    struct err_msg em;
    struct stat st;
    char path[128];
    snprintf(path, sizeof path, "%s", path_of("key"));
    assert_int_equal(key_file_read(path, &k, &em), LT_ENOTFOUND);
    assert_int_equal(key_file_ensure(path, &k, &em), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(key_file_ensure(path, &l, &em), 0);
    assert_true(key_equal(k.public, l.public));
    assert_memory_equal(k.secret, l.secret, KEY_BYTES);
    assert_int_equal(key_file_create(path, &k, &em), LT_EEXIST);
    key_pair_finish(&l);
    assert_null(l.secret);
    assert_int_equal(key_pair_copy(&l, &k), 0);
    assert_true(key_equal(k.public, l.public));
    chmod(path, 0640);
    key_pair_finish(&l);
    assert_int_equal(key_file_read(path, &l, &em), LT_EPERM);
    assert_non_null(strstr(em.text, "chmod 600"));
    key_pair_finish(&k);
}

/* A start that ends while it writes the new key: the next one is not in its way. */
static void test_key_file_half(void **state)
{
    struct key_pair k, l;
    struct err_msg em = {{0}};
    int status;
    char path[128];
    snprintf(path, sizeof path, "%s", path_of("half"));
    const pid_t pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){60, 60}); /* the write that goes beyond ends the process */
        _exit(key_file_ensure(path, &k, &em) == 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    if (key_file_ensure(path, &k, &em) < 0)
        fail_msg("%s", em.text);
    assert_int_equal(key_file_read(path, &l, &em), 0);
    assert_true(key_equal(k.public, l.public));
    key_pair_finish(&k);
    key_pair_finish(&l);
}

static void test_bad_key_files(void **state)
{
    struct { const char *text, *say; } bad[] = {
        {"", "no `secret"},
        {"# only words\n", "no `secret"},
        {"public " A "\n", "no `secret"},
        {"secret " A "\nsecret " A "\n", "line 2 has a second secret key"},
        {"secret " A "x\n", "line 1: the secret key has 45 characters, not 44"},
        {"# lost its end\nsecret AAECAwQFBgc\n", "line 2: the secret key has 11 characters, not 44"},
        {"public \n", "line 1: the public key has 0 characters, not 44"},
        {"secret " A "\r\n", "line 1: character 45 of the secret key is none of base64's"},
        {"public AAECAwQFBgcICQoLDA0O-xAREhMUFRYXGBkaGxwdHh8=\n", "line 1: character 21 of the public key is none of base64's"},
        {"secret 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n", "line 1: the secret key has 64 characters, not 44"},
        {"secret AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=\n", "line 1: the secret key is not base64 of 32 bytes"},
        {"\n\nsekret " A "\n", "line 3 is neither"},
        {"public " B "\nsecret " A "\n", "not the secret key's"},
    };
    struct key_pair k;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err_msg em = {{0}};
        write_file(path_of("bad"), bad[i].text, 0600);
        assert_int_equal(key_file_read(path_of("bad"), &k, &em), LT_EFORMAT);
        assert_non_null(strstr(em.text, bad[i].say));
        assert_null(k.secret);
    }
    struct err_msg em = {{0}};
    assert_int_equal(key_file_read(dir, &k, &em), LT_EINVAL);
    assert_non_null(strstr(em.text, "not a regular file"));
    write_file(path_of("good"), "secret " A, 0600);
    assert_int_equal(key_file_read(path_of("good"), &k, NULL), 0);
    key_pair_finish(&k);
}

static int parse(struct keys *k, const char *text, struct err_msg *em)
{
    return keys_parse(k, text, strlen(text), em);
}

static void test_authorized(void **state)
{
    struct keys k;
    struct err_msg em;
    uint8_t key[KEY_BYTES];
    assert_int_equal(parse(&k, "# clients\n\n" A "  query,ingest collections=a,b.c rate=5/s expires=2027-01-31 # my laptop \n"
                               "\t" B " admin\r\n", &em), 0);
    assert_int_equal(k.n, 2);
    key_parse(A, key);
    const struct key_entry *e = keys_find(&k, key);
    assert_non_null(e);
    assert_int_equal(e->rights, KEY_QUERY | KEY_INGEST);
    assert_int_equal(e->n_collections, 2);
    assert_string_equal(e->collections[1], "b.c");
    assert_int_equal(e->rate, 5);
    assert_int_equal(e->line, 3);
    assert_true(e->expires_s == 1801353600); /* date -u -d 2027-01-31 +%s */
    assert_string_equal(e->comment, "my laptop ");
    assert_int_equal(key_entry_check(e, KEY_QUERY, "a", 1801353599, &em), 0);
    assert_int_equal(key_entry_check(e, KEY_QUERY, NULL, 0, &em), 0);
    assert_int_equal(key_entry_check(e, KEY_QUERY, "a", 1801353600, &em), LT_EAUTH);
    assert_int_equal(key_entry_check(e, KEY_QUERY, "c", 0, &em), LT_EPERM);
    assert_int_equal(key_entry_check(e, KEY_ADMIN, "a", 0, &em), LT_EPERM);
    key_parse(B, key);
    e = keys_find(&k, key);
    assert_true(e->all_collections);
    assert_int_equal(key_entry_check(e, KEY_ADMIN, "any", INT64_MAX, &em), 0);
    assert_int_equal(key_entry_check(e, KEY_QUERY, "any", INT64_MAX, &em), 0);
    key[0] ^= 0x80;
    assert_null(keys_find(&k, key));
    keys_finish(&k);
    assert_int_equal(parse(&k, "", &em), 0);
    assert_int_equal(k.n, 0);
    keys_finish(&k);
}

/* Each forged field refuses the whole file and names its line. */
static void test_forged_lines(void **state)
{
    const char *bad[] = {
        "nokey query", A, A " ", A " qery", A " query,", A " query,root", A " query colections=a", A " query collections=",
        A " query collections=a/b", A " query collections=.a", A " query collections=a collections=b",
        A " query collections=*,a", A " query rate=0/s", A " query rate=5", A " query rate=-1/s", A " query rate=1000001/s",
        A " query rate=5/m", A " query expires=2027-02-30", A " query expires=2027-13-01", A " query expires=27-01-01",
        A " query expires=1969-01-01", A " query expires=2027-1-001", A " query # \x01", A "\x7Fquery",
        A " query comment", B " query", "\xFF\xFE",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct keys k;
        struct err_msg em = {{0}};
        char text[512];
        snprintf(text, sizeof text, "\n" B " admin\n%s\n", bad[i]);
        int r = parse(&k, text, &em);
        if (!strcmp(bad[i], A " query,")) { /* a stray comma does no harm */
            assert_int_equal(r, 0);
            keys_finish(&k);
            continue;
        }
        if (r != LT_EFORMAT || strncmp(em.text, "line 3: ", 8))
            fail_msg("\"%s\": %s, %s", bad[i], err_name(r), em.text);
        assert_null(k.entries);
    }
    struct keys k;
    struct err_msg em;
    assert_int_equal(parse(&k, "short= query\n", &em), LT_EFORMAT);
    assert_string_equal(em.text, "line 1: the public key has 6 characters, not 44");
    assert_int_equal(keys_parse(&k, A " query # a\0b", sizeof A " query # a\0b" - 1, NULL), LT_EFORMAT);
    char *big = calloc(1, KEYS_FILE_MAX + 1);
    assert_non_null(big);
    assert_int_equal(keys_parse(&k, big, KEYS_FILE_MAX + 1, NULL), LT_ELIMIT);
    memset(big, 'x', KEYS_LINE_MAX + 1);
    assert_int_equal(keys_parse(&k, big, KEYS_LINE_MAX + 1, NULL), LT_ELIMIT);
    free(big);
}

static void test_limits_of_number(void **state)
{
    struct keys k;
    struct err_msg em = {{0}};
    char *text = calloc(KEYS_MAX + 1, 64), *p = text;
    assert_non_null(text);
    for (uint32_t i = 0; i <= KEYS_MAX; i++) {
        uint8_t key[KEY_BYTES] = {(uint8_t)i, (uint8_t)(i >> 8), (uint8_t)(i >> 16)};
        char t[KEY_TEXT_BYTES];
        key_text(key, t);
        p += sprintf(p, "%s query\n", t);
    }
    assert_int_equal(parse(&k, text, &em), LT_ELIMIT);
    assert_non_null(strstr(em.text, "line 4097"));
    free(text);
    char many[1024] = A " query collections=";
    for (int i = 0; i < KEYS_COLLECTIONS_MAX + 1; i++)
        sprintf(many + strlen(many), "c%d,", i);
    assert_int_equal(parse(&k, many, &em), LT_EFORMAT);
}

static void test_edit_file(void **state)
{
    char path[128], *text;
    size_t len;
    struct err_msg em;
    struct key_entry e;
    struct keys k;
    const char *line = B " ingest collections=x rate=9/s expires=2030-12-01 # ci";
    snprintf(path, sizeof path, "%s", path_of("authorized"));
    assert_int_equal(keys_read(path, &k, &em), 0);
    assert_int_equal(k.n, 0);
    assert_int_equal(key_entry_parse(&e, line, strlen(line), &em), 0);
    assert_int_equal(keys_file_revoke(path, e.public, &em), LT_ENOTFOUND);
    write_file(path, "# head\n" A " query", 0600);
    assert_int_equal(keys_file_add(path, &e, &em), 0);
    assert_int_equal(keys_file_add(path, &e, &em), LT_EEXIST);
    assert_int_equal(file_read(path, 1000, &text, &len, &em), 0);
    char want[300];
    snprintf(want, sizeof want, "# head\n" A " query\n%s\n", line);
    assert_string_equal(text, want);
    free(text);
    uint8_t a[KEY_BYTES];
    key_parse(A, a);
    assert_int_equal(keys_file_revoke(path, a, &em), 0);
    assert_int_equal(file_read(path, 1000, &text, &len, &em), 0);
    snprintf(want, sizeof want, "# head\n%s\n", line);
    assert_string_equal(text, want);
    free(text);
    chmod(path, 0620);
    assert_int_equal(keys_read(path, &k, &em), LT_EPERM);
    char out[KEYS_LINE_MAX];
    snprintf(e.comment, sizeof e.comment, "two\nlines");
    assert_int_equal(key_entry_format(&e, out, sizeof out), LT_EINVAL);
    e.comment[0] = 0;
    assert_int_equal(key_entry_format(&e, out, 20), LT_ELIMIT);
    key_entry_finish(&e);
}

#define EDITORS 8
#define EDITS 4

/* Nothing that one process has written comes undone by another. */
static void test_edit_at_once(void **state)
{
    char path[128];
    struct err_msg em;
    struct keys k;
    snprintf(path, sizeof path, "%s", path_of("at-once"));
    for (int i = 0; i < EDITORS; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        for (int j = 0; pid == 0 && j < EDITS; j++) {
            struct key_entry e = {.public = {(uint8_t)(i + 1), (uint8_t)j}, .rights = KEY_QUERY, .all_collections = true};
            if (keys_file_add(path, &e, &em) < 0 || (j % 2 && keys_file_revoke(path, e.public, &em) < 0))
                _exit(1);
        }
        if (pid == 0)
            _exit(0);
    }
    for (int i = 0; i < EDITORS; i++) {
        int status;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(keys_read(path, &k, &em), 0);
    assert_int_equal(k.n, EDITORS * EDITS / 2);
    keys_finish(&k);
}

/* Root edits the file of the daemon's user, who must be able to read it then. */
static void test_edit_others(void **state)
{
    char path[160], folder[128];
    struct stat st;
    struct err_msg em;
    struct key_entry e = {.public = {1}, .rights = KEY_QUERY, .all_collections = true};
    if (geteuid() != 0)
        skip();
    snprintf(folder, sizeof folder, "%s", path_of("others"));
    snprintf(path, sizeof path, "%s/keys", folder);
    assert_int_equal(mkdir(folder, 0755), 0);
    assert_int_equal(chown(folder, 1234, 1235), 0);
    assert_int_equal(keys_file_add(path, &e, &em), 0); /* a new one */
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, 1234);
    assert_int_equal(st.st_gid, 1235);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(chown(path, 0, 1236), 0);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(keys_file_revoke(path, e.public, &em), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, 0);
    assert_int_equal(st.st_gid, 1236);
    assert_int_equal(st.st_mode & 07777, 0640);
}

static int read_as(const char *path, unsigned uid, const char *said)
{
    struct keys k;
    struct err_msg em = {{0}};
    assert_int_equal(seteuid(uid), 0);
    int r = keys_read(path, &k, &em);
    assert_int_equal(seteuid(0), 0);
    assert_string_equal(em.text, said);
    keys_finish(&k);
    return r;
}

/* Root makes the file in its own folder, for a daemon of another user. */
static void test_made_for_others(void **state)
{
    char path[160], said[300];
    struct stat st;
    struct err_msg em;
    struct key_entry e = {.public = {1}, .rights = KEY_QUERY, .all_collections = true};
    if (geteuid() != 0)
        skip();
    const mode_t mask = umask(077);
    snprintf(path, sizeof path, "%s", path_of("made"));
    assert_int_equal(chmod(dir, 0755), 0);
    assert_int_equal(keys_file_add(path, &e, &em), 0);
    umask(mask);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(read_as(path, 1234, ""), 0);
    assert_int_equal(chmod(path, 0600), 0);
    snprintf(said, sizeof said, "%s: user 1234 may not read it; it holds no secrets: `chmod 644` it", path);
    assert_int_equal(read_as(path, 1234, said), LT_EPERM);
}

static void test_rate(void **state)
{
    struct key_rate r = {0};
    uint64_t s = 1000000000, now = 5 * s;
    for (int i = 0; i < 3; i++)
        assert_true(key_rate_take(&r, 3, now));
    assert_false(key_rate_take(&r, 3, now));
    assert_true(key_rate_take(&r, 3, now + s / 3 + 1));
    assert_false(key_rate_take(&r, 3, now + s / 3 + 2));
    for (int i = 0; i < 3; i++)
        assert_true(key_rate_take(&r, 3, now + 100 * s));
    assert_false(key_rate_take(&r, 3, now + 100 * s));
    for (int i = 0; i < 1000; i++)
        assert_true(key_rate_take(&r, 0, now));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_key_file),
        cmocka_unit_test(test_key_file_half),
        cmocka_unit_test(test_bad_key_files),
        cmocka_unit_test(test_authorized),
        cmocka_unit_test(test_forged_lines),
        cmocka_unit_test(test_limits_of_number),
        cmocka_unit_test(test_edit_file),
        cmocka_unit_test(test_edit_at_once),
        cmocka_unit_test(test_edit_others),
        cmocka_unit_test(test_made_for_others),
        cmocka_unit_test(test_rate),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
