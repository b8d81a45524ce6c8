/* These bytes as a write-ahead log: whether it is damaged in its middle. The first byte says whether the checksums are put right. */
#include "tests/fuzz/fuzz.h"

#include "index/log_check.h"

#define PAGE 512u
#define N 6

static uint32_t sums[2];

static uint32_t le32(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static void add(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i + 8 <= n; i += 8) {
        sums[0] += le32(p + i) + sums[1];
        sums[1] += le32(p + i + 4) + sums[0];
    }
}

static void store(uint8_t *p)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(sums[i / 4] >> (24 - 8 * (i % 4)));
}

/* Up to the frame `bad`, which keeps what it has; what is behind goes on from that. */
static void put_right(uint8_t *log, size_t len, size_t bad)
{
    if (len < 32)
        return;
    sums[0] = sums[1] = 0;
    add(log, 24);
    store(log + 24);
    for (size_t i = 0; 32 + (i + 1) * (PAGE + 24) <= len; i++) {
        uint8_t *f = log + 32 + i * (PAGE + 24);
        memcpy(f + 8, log + 16, 8);
        add(f, 8);
        add(f + 24, PAGE);
        store(f + 16);
        f[30] ^= i == bad;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct log_report rep = {UINT64_MAX, UINT64_MAX};
    if (size < 1)
        return 0;
    uint8_t *log = malloc(size);
    if (!log)
        abort();
    memcpy(log, data + 1, size - 1);
    if (data[0] & 1)
        put_right(log, size - 1, data[0] >> 1);
    if (log_check(log, size - 1, &rep) && (rep.at >= size || rep.n_lost < 1 || rep.n_lost > size / PAGE))
        abort();
    free(log);
    return 0;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    const size_t len = 33 + N * (PAGE + 24);
    static const uint8_t head[16] = {0x37, 0x7f, 0x06, 0x82, 0, 0x2d, 0xe2, 0x18, 0, 0, PAGE >> 8, 0};
    if (i > 4 || cap < len)
        return 0;
    memset(buf, 0x11, len);
    memcpy(buf + 1, head, sizeof head);
    for (int k = 0; k < N; k++)
        memset(buf + 33 + (size_t)k * (PAGE + 24) + 4, k % 2, 4); /* every other frame commits */
    buf[0] = (uint8_t)(i == 4 ? 0 : 1 | i << 1);
    return len;
}
