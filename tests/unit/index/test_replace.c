/* index_replace. */
#include "kit_box.h"

/* NULL: no such document. */
static char *get_text(struct box *b, const char *id, bool *searchable)
{
    struct index_documents d;
    struct index_id want = {id, strlen(id)};
    assert_int_equal(index_get(b->r, "c", &want, 1, 0, &d, NULL), 0);
    char *s = d.n ? strdup(d.docs[0].text) : NULL;
    if (searchable)
        *searchable = d.n && d.docs[0].searchable;
    index_documents_finish(&d);
    return s;
}

/* One collection in another's place: by name, in memory and after a start; the other's rows go, its documents do not come back. */
static void test_replace(void **state)
{
    struct box box, *b = &box;
    struct err_msg em;
    struct index_collection c;
    uint64_t seq, other;
    kit_dir(b->dir);
    b->ix = kit_open(b->dir);
    assert_int_equal(index_reader_create(&b->r, b->ix, NULL), 0);
    kit_create(b->ix, "c");
    kit_create(b->ix, "d");
    kit_ok(kit_put(b->ix, "c", "a", "old text", NULL, 0, &em), &em);
    kit_ok(kit_put(b->ix, "c", "b", "gone", NULL, 0, &em), &em);
    kit_commit(b->ix);
    kit_embed_pending(b->ix);
    assert_int_equal(index_seqs(b->ix, "c", &seq, &other), 0);
    assert_int_equal(index_replace(b->ix, "c", "none", seq, &em), LT_ENOTFOUND);
    assert_non_null(strstr(em.text, "none"));
    assert_int_equal(index_replace(b->ix, "none", "d", seq, &em), LT_ENOTFOUND);
    assert_int_equal(index_replace(b->ix, "c", "c", seq, &em), LT_EINVAL);
    assert_int_equal(index_replace(b->ix, "c", "d", seq - 1, &em), LT_EBUSY);
    kit_ok(kit_put(b->ix, "d", "a", "new text", NULL, 0, &em), &em);
    assert_int_equal(index_replace(b->ix, "c", "d", seq, &em), LT_EBUSY); /* a group is open */
    kit_commit(b->ix);
    assert_int_equal(index_replace(b->ix, "c", "d", seq, &em), LT_EBUSY); /* not searchable yet */
    assert_non_null(strstr(em.text, "not searchable"));
    kit_embed_pending(b->ix);
    struct index_collection_params tmp = {.name = "t", .temporary = true};
    kit_ok(index_create(b->ix, &tmp, &em), &em);
    assert_int_equal(index_replace(b->ix, "c", "t", seq, &em), LT_EINVAL);
    kit_ok(index_replace(b->ix, "c", "d", seq, &em), &em);
    for (int i = 0; i < 2; i++) {
        bool searchable = false, more = true;
        assert_int_equal(index_info(b->ix, "d", &c, &em), LT_ENOTFOUND);
        kit_ok(index_info(b->ix, "c", &c, &em), &em);
        assert_int_equal(c.documents, 1);
        char *text = get_text(b, "a", &searchable);
        assert_non_null(text);
        assert_string_equal(text, "new text");
        assert_true(searchable);
        free(text);
        assert_null(get_text(b, "b", NULL));
        for (int k = 0; more && k < 100; k++)
            kit_ok(index_maintain(b->ix, 10, &more, &em), &em);
        kit_check(b->ix);
        box_reopen(b);
    }
    kit_create(b->ix, "d"); /* the name is free */
    index_reader_destroy(&b->r);
    index_close(&b->ix);
    kit_remove(b->dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_replace)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
