/* φ and exp, element by element.
 *
 *     exp x  = 2^n e^r,  n = round(x / ln 2),  r = x − n ln 2 in two parts,  e^r a polynomial of degree 7     (1)
 *     σ(x)   = 1 / (1 + exp(−x))                                                                             (2)
 *     tanh x = x + x³ P(x²) for |x| < 0.625, else sign(x) (1 − 2 / (exp 2|x| + 1))                           (3)
 *     log x  = n ln 2 + 2 artanh s,  x = 2^n m,  ½√2 ≤ m < √2,  s = (m − 1) / (m + 1)                        (4)
 *
 * The float functions have no branch, so that a loop over them becomes vector code; double uses libm, except (4):
 * log-probabilities are double, and libraries differ in the last bit. Relative errors against float64: exp 1e-7, σ
 * and tanh 2e-7; log 4e-16 (tested). NaN stays NaN.
 *
 * Source: the coefficients are those of Cephes' single-precision expf and tanhf (Moshier 1992).
 */
#ifndef VECTOR_MATH_H
#define VECTOR_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { TANH, SIGMOID, RELU, EXP };

static inline float exp_f32(float x)
{
    const float shift = 12582912.0f; /* 1.5 · 2^23: added to a small number, it leaves the nearest integer in the lowest bits */
    x = x < -87.3f ? -87.3f : x;
    x = x > 88.3f ? 88.3f : x;
    float shifted = x * 1.44269504f + shift;
    float n = shifted - shift;
    float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    float e_r = p * (r * r) + r + 1.0f;
    uint32_t bits;
    float power;
    memcpy(&bits, &shifted, 4);
    bits = (bits - (0x4B400000u - 127u)) << 23;
    memcpy(&power, &bits, 4);
    return e_r * power; /* (1) */
}

static inline float tanh_f32(float x)
{
    float size = fabsf(x), z = x * x;
    float p = -5.70498872745e-3f * z + 2.06390887954e-2f;
    p = p * z + -5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z + -3.33332819422e-1f;
    float large = copysignf(1.0f - 2.0f / (exp_f32(size + size) + 1.0f), x);
    return size < 0.625f ? x + x * (z * p) : large; /* (3) */
}

static inline float sigmoid_f32(float x) { return 1.0f / (1.0f + exp_f32(-x)); }

/* (4), with artanh s = s + s³/3 + s⁵/5 + …; s² < 0.0295, so the first term left out is below 2^-54. For normal x. */
static inline double log_f64(double x)
{
    if (!(x > 0 && x < INFINITY))
        return x == 0 ? -INFINITY : x > 0 ? x : NAN;
    uint64_t bits;
    memcpy(&bits, &x, 8);
    uint64_t above = bits - 0x3FE6A09E667F3BCDu; /* the bits of ½√2 */
    int64_t n = (int64_t)above >> 52;
    bits = (above & 0xFFFFFFFFFFFFFu) + 0x3FE6A09E667F3BCDu;
    double m, s, z, series = 0;
    memcpy(&m, &bits, 8);
    s = (m - 1) / (m + 1);
    z = s * s;
    for (int k = 21; k >= 3; k -= 2)
        series = (series + 1.0 / k) * z;
    return (double)n * 0x1.62e42fep-1 + (2 * s + (2 * s * series + (double)n * 0x1.f473de6af278fp-30)); /* ln 2 in two parts */
}

static inline double exp_f64(double x) { return exp(x); }
static inline double tanh_f64(double x) { return tanh(x); }
static inline double sigmoid_f64(double x) { return 1.0 / (1.0 + exp(-x)); }

#endif
