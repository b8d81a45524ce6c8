// Functions whose built-in forms are too coarse on some drivers (Vulkan allows exp an error of 3 + 2|x| ulp).

// What is left of x beside n ln 2, in two parts, the first with few enough bits for n * part to be exact.
float exp_part_f32(float n, float x)
{
    precise float r = (x - n * 0.693359375) + n * 2.12194440e-4;
    return r;
}

// exp(r) - 1 on |r| <= ln 2 / 2: least-squares fit of (exp(r) - 1 - r) / r²
float exp_less_1_f32(float r)
{
    float p = 1.39336521e-3;
    p = p * r + 8.36317986e-3;
    p = p * r + 4.16664667e-2;
    p = p * r + 1.66665763e-1;
    p = p * r + 0.5;
    precise float e = r + r * r * p;
    return e;
}

// exp(x) to about 1e-7 relative; 0 below -87, Inf above 88, NaN of NaN.
float exp_f32(float x)
{
    float c = clamp(x, -87.0, 88.0);
    precise float n = round(c * 1.44269504);
    precise float e = 1.0 + exp_less_1_f32(exp_part_f32(n, c));
    e *= uintBitsToFloat(uint(int(n) + 127) << 23);
    return isnan(x) ? x : (x < -87.0 ? 0.0 : (x > 88.0 ? uintBitsToFloat(0x7F800000u) : e));
}

// tanh(x) to about 3e-7 relative, as e / (e + 2) with e = exp(2 x) - 1, put together so that small x keep their bits; NaN of NaN.
float tanh_f32(float x)
{
    float c = clamp(x + x, -20.0, 20.0); // 1 from 9.1 on
    precise float n = round(c * 1.44269504);
    float scale = uintBitsToFloat(uint(int(n) + 127) << 23);
    precise float e = exp_less_1_f32(exp_part_f32(n, c)) * scale + (scale - 1.0);
    return isnan(x) ? x : e / (e + 2.0);
}

// 1 - erf(t) for t >= 0, to about 1e-7 absolute; 0 above 4.2, where it is below 3e-9.
float erfc_pos_f32(float t)
{
    if (t < 1.0) {
        // erf(t) / t as a polynomial in t², least squares
        float s = t * t;
        float p = 7.88249672e-5;
        p = p * s - 8.01885501e-4;
        p = p * s + 5.18931216e-3;
        p = p * s - 2.68543288e-2;
        p = p * s + 1.12835974e-1;
        p = p * s - 3.76126260e-1;
        p = p * s + 1.12837911;
        return 1.0 - t * p;
    }
    // -log(erfc(t)) / t as a polynomial in t, least squares on 1 … 4.2
    float q = -8.37870175e-7;
    q = q * t + 3.09427924e-5;
    q = q * t - 4.75420529e-4;
    q = q * t + 4.21964237e-3;
    q = q * t - 2.49676052e-2;
    q = q * t + 1.07657298e-1;
    q = q * t + 6.34266853e-1;
    q = q * t + 1.12887466;
    return t > 4.2 ? 0.0 : exp_f32(-t * q);
}

float silu_f32(float x)
{
    return x / (1.0 + exp_f32(-x));
}

// x Φ(x), the exact erf form; through erfc, so that large negative x does not cancel.
float gelu_f32(float x)
{
    float half_tail = 0.5 * erfc_pos_f32(abs(x) * 0.707106781);
    return x * (x < 0.0 ? half_tail : 1.0 - half_tail);
}

// x (1 + tanh(u)) / 2 = x / (1 + exp(-2u)), u = sqrt(2 / pi) (x + 0.044715 x³)
float gelu_tanh_f32(float x)
{
    return x / (1.0 + exp_f32(-x * (1.59576912 + 0.0713548163 * x * x)));
}

// 1 / sqrt(x) with one Newton step, since some drivers use the CPU's 12-bit estimate.
float rsqrt_f32(float x)
{
    float r = inversesqrt(x);
    return r * (1.5 - 0.5 * x * r * r);
}
