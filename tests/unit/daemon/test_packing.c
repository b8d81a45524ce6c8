/* Texts on their way to a device: their ids stay theirs while the array grows and moves, and it counts as the request's memory. */
#include "tests/unit.h"

#include "daemon/packing.h"
#include "daemon/request.h"

enum { TEXTS = 50 };

static size_t charged, allowed;

/* In place of request.c's. */
bool request_charge(struct request *rq, size_t bytes)
{
    (void)rq;
    if (charged + bytes > allowed)
        return false;
    charged += bytes;
    return true;
}

static int put(struct packing *p, uint32_t text, float *out)
{
    int32_t ids[2 * TEXTS];
    const uint32_t n = 1 + text * 7 % (2 * TEXTS);
    for (uint32_t i = 0; i < n; i++)
        ids[i] = (int32_t)(text * 1000 + i);
    return packing_put(p, NULL, ids, n, text % n, out);
}

static void test_texts(void **state)
{
    struct packing p;
    float out[TEXTS];
    charged = 0;
    allowed = SIZE_MAX;
    assert_int_equal(packing_init(&p, TEXTS), 0);
    for (uint32_t t = 0; t < TEXTS; t++)
        assert_int_equal(put(&p, t, out + t), 0);
    packing_settle(&p);
    assert_int_equal(p.n_texts, TEXTS);
    assert_int_equal(charged, p.cap_ids * sizeof *p.ids);
    for (uint32_t t = 0; t < TEXTS; t++) {
        assert_int_equal(p.texts[t].n, 1 + t * 7 % (2 * TEXTS));
        assert_int_equal(p.texts[t].n_skip, t % p.texts[t].n);
        assert_ptr_equal(p.texts[t].out, out + t);
        for (uint32_t i = 0; i < p.texts[t].n; i++)
            assert_int_equal(p.texts[t].ids[i], t * 1000 + i);
    }
    packing_finish(&p);
}

static void test_no_room(void **state)
{
    struct packing p;
    float out;
    charged = 0;
    allowed = 400;
    assert_int_equal(packing_init(&p, TEXTS), 0);
    int r = 0;
    for (uint32_t t = 0; t < TEXTS && r == 0; t++)
        r = put(&p, t, &out);
    assert_int_equal(r, LT_EBUSY);
    assert_true(charged <= allowed && charged == p.cap_ids * sizeof *p.ids && p.n_texts > 0 && p.n_texts < TEXTS);
    const size_t n = p.n_texts, ids = p.n_ids;
    assert_int_equal(put(&p, 13, &out), LT_EBUSY); /* 92 ids */
    assert_true(p.n_texts == n && p.n_ids == ids);
    packing_settle(&p);
    assert_int_equal(p.texts[n - 1].ids[0], (n - 1) * 1000);
    packing_finish(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_texts), cmocka_unit_test(test_no_room)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
