/* What somebody else may have laid in a data folder, which root opens too: links where latentd has files of its own lead nowhere. */
#include "store_kit.h"

#include <sys/stat.h>

#include "base/file.h"

static void test_links(void **state)
{
    static const char *const names[] = {"lock", "reserve"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char dir[128], path[200], other[200], *data;
        size_t len;
        struct index *ix = NULL;
        struct err_msg em;
        struct index_params p = {.dir = kit_dir(dir), .fingerprint = KIT_MODEL, .dim = KIT_DIM};
        snprintf(other, sizeof other, "%s/others", dir);
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        kit_ok(file_replace(other, "theirs", 6, 0600, &em), &em);
        assert_int_equal(symlink(other, path), 0);
        const int r = index_open(&ix, &p, &em);
        if (r < 0)
            assert_non_null(strstr(em.text, path));
        index_close(&ix);
        kit_ok(file_read(other, 1 << 24, &data, &len, &em), &em);
        if (len != 6 || strcmp(data, "theirs") != 0)
            fail_msg("%s: %zu bytes are left", names[i], len);
        free(data);
        kit_remove(dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_links)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
