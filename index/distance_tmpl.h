/* What is plain code compiled for each kind of vector unit (quantise.h, rotate.h), as functions of struct distance. Included with
 * TARGET, a function attribute or nothing, and NAME(x), the function's name there. */

TARGET static void NAME(quantise)(const float *v, size_t n, float inverse, int32_t limit, int8_t *q, struct quantised *out)
{
    quantise_body(v, n, inverse, limit, q, out);
}

TARGET static float NAME(largest)(const float *v, size_t n)
{
    return largest_body(v, n);
}

TARGET static double NAME(sum2)(const float *v, size_t n)
{
    return sum2_body(v, n);
}

TARGET static void NAME(scale)(const float *v, size_t n, double f, float *out)
{
    scale_body(v, n, f, out);
}

TARGET static void NAME(rotate)(float *x, size_t n)
{
    rotate_body(x, n);
}
