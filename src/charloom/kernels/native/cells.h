/* The elementwise part of a time step, for one row.
 *
 *     elman    h = φ(a)                                                     (1)
 *     lstm     i, f, g, o = σ(a_i), σ(a_f), tanh(a_g), σ(a_o)               (2)
 *              c_t = f ⊙ c_{t−1} + i ⊙ g                                    (3)
 *              h_t = o ⊙ tanh(c_t)                                          (4)
 *     gru      r, z = σ(a_r + u_r), σ(a_z + u_z)                            (5)  u = W_hh h_{t−1} + (0, 0, b_hn)
 *              n = tanh(a_n + r ⊙ u_n)                                      (6)
 *              h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}                              (7)
 *     mingru   z = σ(a_z), n = g(a_n)                                       (8)  g(a) = a + 0.5 if a ≥ 0, else σ(a)
 *              h_t = (1 − z) ⊙ h_{t−1} + z ⊙ n                              (9)
 *
 * `a` is W_ih x + b, for elman and lstm plus W_hh h_{t−1}. Sources: see the scratch engine's files.
 */
#ifndef CELLS_H
#define CELLS_H

enum { ELMAN, LSTM, GRU, MINGRU };

EXPORT void FN(activate)(int64_t activation, const number *restrict a, number *restrict h, int64_t n)
{
    if (activation == TANH)
        for (int64_t j = 0; j < n; j++)
            h[j] = tanh_n(a[j]);
    else if (activation == SIGMOID)
        for (int64_t j = 0; j < n; j++)
            h[j] = sigmoid_n(a[j]);
    else if (activation == EXP)
        for (int64_t j = 0; j < n; j++)
            h[j] = exp_n(a[j]);
    else
        for (int64_t j = 0; j < n; j++)
            h[j] = a[j] <= 0 ? 0 : a[j]; /* in this order NaN stays NaN */
}

static void lstm_step(const number *restrict a, number *restrict h, number *restrict c, int64_t H)
{
    const number *a_i = a, *a_f = a + H, *a_g = a + 2 * H, *a_o = a + 3 * H;
    for (int64_t j = 0; j < H; j++) {
        c[j] = sigmoid_n(a_f[j]) * c[j] + sigmoid_n(a_i[j]) * tanh_n(a_g[j]); /* (2), (3) */
        h[j] = sigmoid_n(a_o[j]) * tanh_n(c[j]);                              /* (2), (4) */
    }
}

static void gru_step(const number *restrict a, const number *restrict u, number *restrict h, int64_t H)
{
    for (int64_t j = 0; j < H; j++) {
        number r = sigmoid_n(a[j] + u[j]), z = sigmoid_n(a[H + j] + u[H + j]); /* (5) */
        number n = tanh_n(a[2 * H + j] + r * u[2 * H + j]);                    /* (6) */
        h[j] = n + z * (h[j] - n);                                             /* (7) */
    }
}

static void mingru_step(const number *restrict a, number *restrict h, int64_t H)
{
    for (int64_t j = 0; j < H; j++) {
        number z = sigmoid_n(a[j]), below = sigmoid_n(a[H + j]); /* for all: cheaper than a branch */
        number n = a[H + j] >= 0 ? a[H + j] + (number)0.5 : below;
        h[j] += z * (n - h[j]); /* (8), (9) */
    }
}

#endif
