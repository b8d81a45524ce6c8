#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const uint8_t *bytes_take(struct bytes_in *b, size_t n)
{
    if (b->bad || (size_t)(b->end - b->p) < n) {
        b->bad = true;
        return NULL;
    }
    const uint8_t *p = b->p;
    b->p += n;
    return p;
}

void bytes_align(struct bytes_in *b, size_t align)
{
    bytes_take(b, -bytes_pos(b) & (align - 1));
}

static uint64_t take_le(struct bytes_in *b, size_t n)
{
    const uint8_t *p = bytes_take(b, n);
    uint64_t v = 0;
    for (size_t i = 0; p && i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint8_t bytes_u8(struct bytes_in *b)
{
    return (uint8_t)take_le(b, 1);
}

uint16_t bytes_u16(struct bytes_in *b)
{
    return (uint16_t)take_le(b, 2);
}

uint32_t bytes_u32(struct bytes_in *b)
{
    return (uint32_t)take_le(b, 4);
}

uint64_t bytes_u64(struct bytes_in *b)
{
    return take_le(b, 8);
}

float bytes_f32(struct bytes_in *b)
{
    uint32_t u = bytes_u32(b);
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

double bytes_f64(struct bytes_in *b)
{
    uint64_t u = bytes_u64(b);
    double f;
    memcpy(&f, &u, sizeof f);
    return f;
}

void bytes_out_finish(struct bytes_out *b)
{
    free(b->data);
    *b = (struct bytes_out){.max = b->max};
}

uint8_t *bytes_room(struct bytes_out *b, size_t n)
{
    size_t need;
    if (b->bad || !size_add(b->len, n, &need) || (b->max && need > b->max)) {
        b->bad = true;
        return NULL;
    }
    if (need > b->cap || !b->data) {
        size_t cap = b->cap ? b->cap : 64;
        while (cap < need)
            cap = cap > SIZE_MAX / 2 ? need : cap * 2;
        uint8_t *data = realloc(b->data, cap);
        if (!data) {
            b->bad = true;
            return NULL;
        }
        b->data = data;
        b->cap = cap;
    }
    uint8_t *p = b->data + b->len;
    b->len = need;
    return p;
}

void bytes_put(struct bytes_out *b, const void *data, size_t n)
{
    uint8_t *p = bytes_room(b, n);
    if (p && n)
        memcpy(p, data, n);
}

void bytes_put_str(struct bytes_out *b, const char *s)
{
    bytes_put(b, s, strlen(s));
}

void bytes_printf(struct bytes_out *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : (char *)bytes_room(b, (size_t)n + 1);
    if (!p) {
        b->bad = true;
        return;
    }
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len--; /* the terminator stays behind the end, uncounted */
}

static void put_le(struct bytes_out *b, uint64_t v, size_t n)
{
    uint8_t *p = bytes_room(b, n);
    for (size_t i = 0; p && i < n; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

void bytes_put_u8(struct bytes_out *b, uint8_t v)
{
    put_le(b, v, 1);
}

void bytes_put_u16(struct bytes_out *b, uint16_t v)
{
    put_le(b, v, 2);
}

void bytes_put_u32(struct bytes_out *b, uint32_t v)
{
    put_le(b, v, 4);
}

void bytes_put_u64(struct bytes_out *b, uint64_t v)
{
    put_le(b, v, 8);
}

void bytes_put_f32(struct bytes_out *b, float v)
{
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    put_le(b, u, 4);
}

void bytes_put_f64(struct bytes_out *b, double v)
{
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    put_le(b, u, 8);
}
