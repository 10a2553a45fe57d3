/* What a compilation is for: a number type, a processor level, and whether the order of sums is portable.
 *
 * Every file is compiled once for each flavour. FN(decode) is then decode_f32_v3, for example.
 */
#ifndef FLAVOUR_H
#define FLAVOUR_H

#include <stdint.h>

#ifdef DOUBLE
typedef double number;

#define exp_n exp_f64
#define tanh_n tanh_f64
#define sigmoid_n sigmoid_f64
#define sqrt_n sqrt
#define fabs_n fabs
#define rint_n rint
#else
typedef float number;

#define exp_n exp_f32
#define tanh_n tanh_f32
#define sigmoid_n sigmoid_f32
#define sqrt_n sqrtf
#define fabs_n fabsf
#define rint_n rintf
#endif

#define JOINED_(name, suffix, level) name##_##suffix##_##level
#define JOINED(name, suffix, level) JOINED_(name, suffix, level)
#define FN(name) JOINED(name, SUFFIX, LEVEL)

#define EXPORT __attribute__((visibility("default")))

enum { LANES = 16 }; /* rows of a panel */
typedef number numbers_v __attribute__((vector_size(LANES * sizeof(number)), aligned(sizeof(number))));
typedef int32_t ints_v __attribute__((vector_size(LANES * 4), aligned(4)));

#endif
