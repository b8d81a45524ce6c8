/* The memory limit: what is read of control groups, how it is divided, and what is refused. */
#include "tests/unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "daemon/memory.h"

#define MIB (1ull << 20)

static char root[64];

static int setup(void **state)
{
    (void)state;
    strcpy(root, "/tmp/latentd-test-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
    char command[100];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

/* A file below root, with its folders. */
static void put(const char *path, const char *text)
{
    char full[400], command[500];
    snprintf(full, sizeof full, "%s%s", root, path);
    snprintf(command, sizeof command, "mkdir -p \"$(dirname '%s')\"", full);
    assert_int_equal(system(command), 0);
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static struct memory_system look(void)
{
    struct memory_system sys;
    memory_look(root, &sys);
    return sys;
}

static void expect(uint64_t machine_mib, uint64_t group_mib, const char *file)
{
    const struct memory_system sys = look();
    assert_int_equal(sys.machine, machine_mib * MIB);
    assert_int_equal(sys.group, group_mib * MIB);
    assert_string_equal(sys.group_file, file);
}

static void test_nothing_known(void **state)
{
    expect(0, 0, "");
    put("/proc/meminfo", "MemFree: 1 kB\n");
    put("/proc/self/cgroup", "");
    expect(0, 0, "");
}

static void test_version_2(void **state)
{
    put("/proc/meminfo", "MemTotal:        2097152 kB\nMemFree:  1 kB\n");
    put("/proc/self/cgroup", "0::/system.slice/latentd.service\n");
    expect(2048, 0, "");
    put("/sys/fs/cgroup/system.slice/latentd.service/memory.max", "max\n");
    put("/sys/fs/cgroup/system.slice/latentd.service/memory.high", "max\n");
    expect(2048, 0, "");
    put("/sys/fs/cgroup/system.slice/latentd.service/memory.max", "536870912\n");
    expect(2048, 512, "memory.max of control group /system.slice/latentd.service");
    put("/sys/fs/cgroup/system.slice/latentd.service/memory.high", "268435456\n");
    expect(2048, 256, "memory.high of control group /system.slice/latentd.service");
    put("/sys/fs/cgroup/system.slice/memory.max", "134217728\n");
    expect(2048, 128, "memory.max of control group /system.slice");
    put("/sys/fs/cgroup/memory.high", "67108864\n");
    expect(2048, 64, "memory.high of control group /");
}

static void test_version_1(void **state)
{
    put("/proc/self/cgroup", "9:name=systemd:/a\n5:cpu,memory:/box/one\n1:cpu:/\n0::/\n");
    put("/sys/fs/cgroup/memory/box/one/memory.limit_in_bytes", "9223372036854771712\n"); /* none */
    expect(0, 0, "");
    put("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "104857600\n");
    expect(0, 100, "memory.limit_in_bytes of control group /box");
}

/* What is no limit is none, and nothing is read outside of the hierarchy. */
static void test_strange(void **state)
{
    static const char *const limits[] = {"", "\n", "-1\n", "12x\n", " 5\n", "0\n", "99999999999999999999999999\n", "0x10\n"};
    static const char *const lines[] = {"0:\n", "::\n", "0::relative\n", "memory\n", ":memory:/g\n", "0::/../../etc\n", "0::/g/../../g\n", "\n\n:\n"};
    put("/proc/self/cgroup", "0::/g\n");
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        put("/sys/fs/cgroup/g/memory.max", limits[i]);
        expect(0, 0, "");
    }
    put("/sys/fs/cgroup/g/memory.max", "1048576\n");
    put("/etc/memory.max", "1048576\n");
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        put("/proc/self/cgroup", lines[i]);
        expect(0, 0, "");
    }
    static char longest[9000] = "0::/";
    memset(longest + 4, 'x', sizeof longest - 5);
    put("/proc/self/cgroup", longest);
    expect(0, 0, "");
    put("/proc/meminfo", "MemTotal: 99999999999999999999999 kB\n");
    expect(0, 0, "");
}

static const struct memory_system none, small = {.machine = 8192 * MIB, .group = 512 * MIB, .group_file = "memory.max of control group /x"};

static uint64_t all(const struct memory_parts *p)
{
    return p->program + p->model + p->reranker + p->store + p->requests;
}

/* Whatever the limit, what the parts get together is within it, and none gets less than it needs. */
static void test_divided(void **state)
{
    uint64_t before = 0;
    for (uint64_t mib = 1; mib < 1 << 20; mib += mib / 7 + 1) {
        struct memory m;
        struct err_msg em = {""};
        memory_init(&m, &none, mib, 3);
        m.least.model = 30 * MIB;
        m.least.reranker = 5 * MIB;
        int r = memory_check(&m, &em);
        if (r < 0) {
            assert_int_equal(r, LT_ENOMEM);
            assert_int_equal(before, 0); /* what is more than enough is enough */
            assert_true(mib * MIB < all(&m.least));
            continue;
        }
        m.parts = (struct memory_parts){.program = m.least.program, .model = 31 * MIB, .reranker = 5 * MIB};
        memory_divide(&m);
        assert_int_equal(m.limit, mib * MIB);
        assert_true(m.parts.model == 31 * MIB && m.parts.reranker == 5 * MIB && m.parts.program == m.least.program);
        assert_true(all(&m.parts) <= m.limit || all(&m.parts) == all(&m.least) + MIB);
        assert_true(m.parts.store >= m.least.store && m.parts.requests >= m.least.requests);
        assert_true(m.parts.requests >= before && m.request_bytes * 2 + m.intake_bytes <= m.parts.requests && m.intake_bytes > 1 << 20);
        assert_true(m.parts.store >= (uint64_t)m.writer_kib * 1024 + 3ull * m.reader_kib * 1024);
        before = m.parts.requests;
    }
    assert_int_equal(before, 1024 * MIB);
}

static int check_for(struct memory *m, uint64_t model, struct err_msg *em)
{
    m->least.model = model;
    return memory_check(m, em);
}

static void test_found(void **state)
{
    struct memory m;
    struct err_msg em = {""};
    memory_init(&m, &small, 0, 3);
    assert_int_equal(m.limit, 384 * MIB);
    assert_string_equal(m.source, "of 512 MiB, memory.max of control group /x");
    assert_int_equal(check_for(&m, 30 * MIB, &em), 0);
    assert_int_equal(m.limit, 384 * MIB);
    /* three quarters are not enough, all but a sixteenth is */
    memory_init(&m, &small, 0, 3);
    const uint64_t others = all(&m.least);
    assert_int_equal(memory_for_models(&m), 480 * MIB - others);
    assert_int_equal(check_for(&m, 450 * MIB - others, &em), 0);
    assert_int_equal(m.limit, 450 * MIB);
    /* nor is that: it goes on with all there is, since nobody set a limit */
    memory_init(&m, &small, 0, 3);
    assert_int_equal(check_for(&m, 2000 * MIB, &em), 0);
    assert_int_equal(m.limit, 480 * MIB);
    /* more than there is is set */
    memory_init(&m, &small, 4096, 3);
    assert_int_equal(m.limit, 480 * MIB);
    assert_string_equal(m.source, "set to 4096 MiB, but there are 512, memory.max of control group /x");
    assert_int_equal(check_for(&m, 2000 * MIB, &em), LT_ENOMEM);
    assert_non_null(strstr(em.text, "480 MiB"));
    assert_non_null(strstr(em.text, "model 2000"));
    assert_null(strstr(em.text, "reranker"));
    m.least.reranker = 100 * MIB;
    assert_int_equal(memory_check(&m, &em), LT_ENOMEM);
    assert_non_null(strstr(em.text, "model 2000, reranker 100, store"));
    /* nothing is known */
    memory_init(&m, &none, 0, 3);
    assert_int_equal(memory_for_models(&m), 0);
    assert_int_equal(check_for(&m, 2000 * MIB, &em), 0);
    memory_divide(&m);
    assert_int_equal(memory_level(&m), MEMORY_FINE);
}

static void test_levels(void **state)
{
    struct memory m = {.limit = UINT64_MAX};
    assert_int_equal(memory_level(&m), MEMORY_FINE);
    const uint64_t used = memory_used(&m);
    assert_true(used > 100 << 10);
    struct memory near = {.limit = used + used / 16};
    assert_int_equal(memory_level(&near), MEMORY_NEAR);
    struct memory full = {.limit = used / 2};
    assert_int_equal(memory_level(&full), MEMORY_FULL);
    /* a driver's counts as well */
    struct memory unseen = {.limit = 4 * used, .unseen = 4 * used};
    assert_int_equal(memory_level(&unseen), MEMORY_FULL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_nothing_known), T(test_version_2), T(test_version_1), T(test_strange),
                                       cmocka_unit_test(test_divided), cmocka_unit_test(test_found), cmocka_unit_test(test_levels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
