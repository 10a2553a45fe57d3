/* The elementwise part of every cell in training, forward and backward: gates and states of one time step.
 *
 *     elman    h = φ(a)                                                       (1)
 *     lstm     i, f, g, o = σ(a_i), σ(a_f), tanh(a_g), σ(a_o)                 (2)
 *              c_t = f ⊙ c_{t−1} + i ⊙ g                                      (3)
 *              h_t = o ⊙ tanh(c_t)                                            (4)
 *     gru      r, z = σ(a_r + u_r), σ(a_z + u_z);  m = u_n + b_hn             (5)  u = W_hh h_{t−1}
 *              n = tanh(a_n + r ⊙ m)                                          (6)
 *              h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}                                (7)
 *
 * A forward function keeps the values for its derivative in `gates`. A backward function receives the gradient of the
 * loss in h_t in two parts: d_h from the layer above, `carried` from the next time step. It overwrites `carried` with
 * the elementwise part of the gradient in h_{t−1}; the caller adds the part that passes through a product.
 *
 * Shapes: B batch, H cell size. Sources: see the scratch engine's cell files.
 */
#ifndef TRAINING_CELLS_H
#define TRAINING_CELLS_H

/* Write d_h ⊙ φ'(a), computed from h = φ(a), into d_a. */
static void activate_backward(
    int64_t activation, const number *restrict h, const number *restrict d_h, number *restrict d_a, int64_t n)
{
    if (activation == TANH)
        for (int64_t j = 0; j < n; j++)
            d_a[j] = d_h[j] * (1 - h[j] * h[j]);
    else if (activation == SIGMOID)
        for (int64_t j = 0; j < n; j++)
            d_a[j] = d_h[j] * (h[j] * (1 - h[j]));
    else
        for (int64_t j = 0; j < n; j++)
            d_a[j] = h[j] > 0 ? d_h[j] : 0;
}

/* Backward pass of (1); all (B, H). The gradient in h_{t−1} has no elementwise part. */
static void elman_backward(
    int64_t activation, const number *h, const number *d_h, number *carried, number *d_a, int64_t B, int64_t H)
{
    for (int64_t b = 0; b < B; b++, h += H, d_h += H, carried += H, d_a += H) {
        for (int64_t j = 0; j < H; j++)
            carried[j] += d_h[j];
        activate_backward(activation, h, carried, d_a, H);
    }
}

/* Compute (2) to (4): a, gates (B, 4H); c_before, c, h (B, H). */
static void lstm_forward(
    const number *restrict a, const number *restrict c_before, number *restrict gates, number *restrict c,
    number *restrict h, int64_t B, int64_t H)
{
    for (int64_t b = 0; b < B; b++, a += 4 * H, gates += 4 * H, c_before += H, c += H, h += H) {
        number *i = gates, *f = gates + H, *g = gates + 2 * H, *o = gates + 3 * H;
        FN(activate)(SIGMOID, a, gates, 2 * H); /* (2) */
        FN(activate)(TANH, a + 2 * H, g, H);
        FN(activate)(SIGMOID, a + 3 * H, o, H);
        for (int64_t j = 0; j < H; j++)
            c[j] = f[j] * c_before[j] + i[j] * g[j]; /* (3) */
        FN(activate)(TANH, c, h, H);
        for (int64_t j = 0; j < H; j++)
            h[j] *= o[j]; /* (4) */
    }
}

/* Backward pass of (2) to (4); d_c (B, H) becomes the gradient in c_{t−1}; tanh_c (H) is scratch space. */
static void lstm_backward(
    const number *restrict gates, const number *restrict c_before, const number *restrict c,
    const number *restrict d_h, const number *restrict carried, number *restrict d_c, number *restrict d_a,
    number *restrict tanh_c, int64_t B, int64_t H)
{
    for (int64_t b = 0; b < B; b++) {
        const number *i = gates, *f = gates + H, *g = gates + 2 * H, *o = gates + 3 * H;
        number *d_i = d_a, *d_f = d_a + H, *d_g = d_a + 2 * H, *d_o = d_a + 3 * H;
        FN(activate)(TANH, c, tanh_c, H);
        for (int64_t j = 0; j < H; j++) {
            number d = d_h[j] + carried[j];
            d_o[j] = d * tanh_c[j] * (o[j] * (1 - o[j]));       /* (4), (2) */
            d_c[j] += d * o[j] * (1 - tanh_c[j] * tanh_c[j]); /* (4) */
        }
        for (int64_t j = 0; j < H; j++) {
            number d = d_c[j];
            d_i[j] = d * g[j] * (i[j] * (1 - i[j]));        /* (3), (2) */
            d_f[j] = d * c_before[j] * (f[j] * (1 - f[j])); /* (3), (2) */
            d_g[j] = d * i[j] * (1 - g[j] * g[j]);          /* (3), (2) */
            d_c[j] = d * f[j];                              /* (3) */
        }
        gates += 4 * H, d_a += 4 * H;
        c_before += H, c += H, d_h += H, carried += H, d_c += H;
    }
}

/* Compute (5) to (7) of one row with a = x + bias: x, bias, u, gates (3H), u is overwritten; the others (H). */
static void gru_forward_row(
    const number *restrict x, const number *restrict bias, number *restrict u, const number *restrict b_hn,
    const number *restrict h_before, number *restrict gates, number *restrict m, number *restrict h, int64_t H)
{
    for (int64_t j = 0; j < 2 * H; j++)
        u[j] += x[j] + bias[j];
    FN(activate)(SIGMOID, u, gates, 2 * H); /* (5) */
    for (int64_t j = 0; j < H; j++) {
        m[j] = u[2 * H + j] + b_hn[j];
        u[2 * H + j] = x[2 * H + j] + bias[2 * H + j] + gates[j] * m[j];
    }
    FN(activate)(TANH, u + 2 * H, gates + 2 * H, H); /* (6) */
    for (int64_t j = 0; j < H; j++)
        h[j] = gates[2 * H + j] + gates[H + j] * (h_before[j] - gates[2 * H + j]); /* (7) */
}

/* Backward pass of (5) to (7); the caller adds d_u W_hh to `carried`, with d_u (B, 3H) the gradient in u. */
static void gru_backward(
    const number *restrict gates, const number *restrict m, const number *restrict h_before,
    const number *restrict d_h, number *restrict carried, number *restrict d_a, number *restrict d_u, int64_t B,
    int64_t H)
{
    for (int64_t b = 0; b < B; b++) {
        const number *r = gates, *z = gates + H, *n = gates + 2 * H;
        number *d_r = d_a, *d_z = d_a + H, *d_n = d_a + 2 * H;
        for (int64_t j = 0; j < H; j++) {
            number d = d_h[j] + carried[j];
            d_n[j] = d * (1 - z[j]) * (1 - n[j] * n[j]);             /* (7), (6) */
            d_z[j] = d * (h_before[j] - n[j]) * (z[j] * (1 - z[j])); /* (7), (5) */
            carried[j] = d * z[j];                                   /* (7) */
        }
        for (int64_t j = 0; j < H; j++) {
            d_u[2 * H + j] = d_n[j] * r[j];                 /* (6) */
            d_r[j] = d_n[j] * m[j] * (r[j] * (1 - r[j])); /* (6), (5) */
            d_u[j] = d_r[j];
            d_u[H + j] = d_z[j];
        }
        gates += 3 * H, d_a += 3 * H, d_u += 3 * H;
        m += H, h_before += H, d_h += H, carried += H;
    }
}

/* Add the rows of x (B, n) to `out` (n) through `total` (n), to avoid sums with a term per character. */
static void add_rows(const number *restrict x, number *restrict total, number *restrict out, int64_t B, int64_t n)
{
    memcpy(total, x, (size_t)n * sizeof(number));
    for (int64_t b = 1; b < B; b++)
        for (int64_t j = 0; j < n; j++)
            total[j] += x[b * n + j];
    for (int64_t j = 0; j < n; j++)
        out[j] += total[j];
}

#endif
