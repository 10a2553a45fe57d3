/* The operations of a residual block between its matrix products in training, with derivatives.
 *
 *     s = 1 / √(mean x² + ε)                            (1)  one per row
 *     norm(x) = γ ⊙ x s                                 (2)
 *     u_t = b + Σ_k w_k ⊙ v_{t−K+1+k}                   (3)  v = norm(x), depthwise, causal, K taps; none crosses a reset
 *     swiglu(g, u) = g σ(g) ⊙ u                         (4)
 *     mingru   z = σ(a_z), n = g(a_n)                   (5)  g(a) = a + 0.5 if a ≥ 0, else σ(a)
 *              h_t = (1 − z) ⊙ h_{t−1} + z ⊙ n          (6)
 *
 * and the derivative of (2), with d_v the gradient in norm(x),
 *
 *     d_x = s (γ ⊙ d_v − x s · s mean(γ ⊙ d_v ⊙ x)),   d_γ = Σ d_v ⊙ x s                 (7)  s³ may underflow in float32
 *
 * Source: RMSNorm, Zhang & Sennrich (2019); gated MLP, Shazeer (2020); minGRU, Feng et al. (2024).
 * Shapes: T time, B batch, D residual stream, M width of the MLP, K taps, R = T · B consecutive rows.
 */

static number dot(const number *restrict x, const number *restrict y, int64_t n)
{
    int64_t whole = n - n % LANES;
    numbers_v parts = {0};
    number total = 0;
    for (int64_t j = 0; j < whole; j += LANES)
        parts += *(const numbers_v *)(x + j) * *(const numbers_v *)(y + j);
    for (int j = 0; j < LANES; j++)
        total += parts[j];
    for (int64_t j = whole; j < n; j++)
        total += x[j] * y[j];
    return total;
}

/* Compute (1), (2) of one row; return s. */
static number norm_row(const number *restrict x, const number *restrict gain, number *restrict v, int64_t D)
{
    number scale = 1 / sqrt_n(dot(x, x, D) / (number)D + NORM_EPSILON);
    for (int64_t j = 0; j < D; j++)
        v[j] = x[j] * scale * gain[j];
    return scale;
}

/* Compute (7) of one row; d_v is overwritten. */
static void norm_row_backward(
    const number *restrict x, const number *restrict gain, number scale, number *restrict d_v, number *restrict d_x,
    number *restrict d_gain, int64_t D)
{
    for (int64_t j = 0; j < D; j++) {
        d_gain[j] += d_v[j] * x[j] * scale;
        d_v[j] *= gain[j];
    }
    number mean = dot(d_v, x, D) * scale / (number)D;
    for (int64_t j = 0; j < D; j++)
        d_x[j] = scale * (d_v[j] - x[j] * scale * mean);
}

EXPORT void FN(norm_forward)(const number *x, const number *gain, number *v, number *scales, int64_t R, int64_t D)
{
    for (int64_t r = 0; r < R; r++)
        scales[r] = norm_row(x + r * D, gain, v + r * D, D);
}

EXPORT void FN(norm_backward)(
    const number *x, const number *gain, const number *scales, const number *d_v, number *d_x, number *d_gain,
    number *room, int64_t R, int64_t D)
{
    for (int64_t r = 0; r < R; r++) {
        memcpy(room, d_v + r * D, (size_t)D * sizeof(number));
        norm_row_backward(x + r * D, gain, scales[r], room, d_x + r * D, d_gain, D);
    }
}

/* Compute (3) of one row from v at this time step, `now`, and `reach` − 1 earlier ones. */
static void convolve_row(const Convolution *c, const number *now, int64_t reach, number *restrict out)
{
    int64_t D = c->D, K = c->K, step = c->B * D, whole = D - D % LANES;
    const number *tap = c->taps + (K - 1) * D;
    for (int64_t j = 0; j < whole; j += LANES) {
        numbers_v sum = *(const numbers_v *)(c->bias + j);
        for (int64_t lag = 0; lag < reach; lag++)
            sum += *(const numbers_v *)(tap - lag * D + j) * *(const numbers_v *)(now - lag * step + j);
        *(numbers_v *)(out + j) = sum;
    }
    for (int64_t j = whole; j < D; j++) {
        out[j] = c->bias[j];
        for (int64_t lag = 0; lag < reach; lag++)
            out[j] += tap[j - lag * D] * now[j - lag * step];
    }
}

/* Add the gradients of (3) in v and in the taps, from d_u of the time steps `first` to `reach` later. */
static void convolve_row_backward(
    const Convolution *c, const number *d_u, const number *v, int64_t first, int64_t reach, number *restrict d_v)
{
    int64_t D = c->D, step = c->B * D, whole = D - D % LANES;
    const number *tap = c->taps + (c->K - 1) * D;
    number *restrict d_tap = c->d_taps + (c->K - 1) * D;
    for (int64_t j = 0; j < whole; j += LANES) {
        numbers_v sum = *(numbers_v *)(d_v + j), v_j = *(const numbers_v *)(v + j);
        for (int64_t lag = first; lag < reach; lag++) {
            numbers_v e = *(const numbers_v *)(d_u + lag * step + j);
            *(numbers_v *)(d_tap - lag * D + j) += e * v_j;
            sum += e * *(const numbers_v *)(tap - lag * D + j);
        }
        *(numbers_v *)(d_v + j) = sum;
    }
    for (int64_t j = whole; j < D; j++)
        for (int64_t lag = first; lag < reach; lag++) {
            d_tap[j - lag * D] += d_u[j + lag * step] * v[j];
            d_v[j] += d_u[j + lag * step] * tap[j - lag * D];
        }
}

EXPORT void FN(norm_conv_forward)(const Convolution *c)
{
    int64_t B = c->B, D = c->D, K = c->K;
    for (int64_t t = 0; t < c->T; t++)
        for (int64_t b = 0; b < B; b++) {
            int64_t row = t * B + b;
            const number *now = c->v + ((K - 1 + t) * B + b) * D;
            number *restrict out = c->u + row * D;
            c->scales[row] = norm_row(c->x + row * D, c->gain, c->v + ((K - 1 + t) * B + b) * D, D);
            c->age[b] = c->resets && c->resets[row] ? 0 : c->age[b] + 1;
            convolve_row(c, now, c->age[b] + 1 < K ? c->age[b] + 1 : K, out);
        }
}

EXPORT void FN(norm_conv_backward)(const Convolution *c)
{
    int64_t T = c->T, B = c->B, D = c->D, K = c->K;
    for (int64_t b = 0; b < B; b++)
        c->age[b] = K; /* time steps until the next reset */
    for (int64_t t = T - 1; t > -K; t--)
        for (int64_t b = 0; b < B; b++) {
            int64_t reach = c->age[b] + 1, row = t * B + b;
            const number *v_t = c->v + ((K - 1 + t) * B + b) * D;
            number *restrict d_t = c->d_v + ((K - 1 + t) * B + b) * D;
            reach = reach < K ? reach : K;
            reach = reach < T - t ? reach : T - t;
            c->age[b]++;
            convolve_row_backward(c, c->d_u + row * D, v_t, t < 0 ? -t : 0, reach, d_t);
            if (t < 0)
                continue;
            for (int64_t j = 0; j < D; j++)
                c->d_bias[j] += c->d_u[row * D + j];
            norm_row_backward(c->x + row * D, c->gain, c->scales[row], d_t, c->d_x + row * D, c->d_gain, D);
            if (c->resets && c->resets[row])
                c->age[b] = 0;
        }
}

EXPORT void FN(swiglu_forward)(const number *restrict g, const number *restrict u, number *restrict out, int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        out[j] = sigmoid_n(g[j]) * (g[j] * u[j]); /* (4) */
}

EXPORT void FN(swiglu_backward)(
    const number *restrict g, const number *restrict u, const number *restrict d_out, number *restrict d_g,
    number *restrict d_u, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        number open = sigmoid_n(g[j]);
        d_u[j] = d_out[j] * g[j] * open;
        d_g[j] = d_out[j] * u[j] * (open * (1 + g[j] * (1 - open)));
    }
}

/* The state before time step t of a batch row: of the step before, of the window's start, or after a reset. */
static const number *before_step(const Scan *s, int64_t t, int64_t b)
{
    if (s->resets && s->resets[t * s->B + b])
        return s->reset_state + b * s->H;
    return t > 0 ? s->h + ((t - 1) * s->B + b) * s->H : s->h0 + b * s->H;
}

EXPORT void FN(mingru_forward)(const Scan *s)
{
    int64_t H = s->H;
    const number *restrict bias = s->bias;
    for (int64_t t = 0; t < s->T; t++)
        for (int64_t b = 0; b < s->B; b++) {
            int64_t row = t * s->B + b;
            const number *restrict a_z = s->a + row * 2 * H, *restrict a_n = a_z + H;
            const number *restrict before = before_step(s, t, b);
            number *restrict z = s->z + row * H, *restrict n = s->n + row * H, *restrict h = s->h + row * H;
            for (int64_t j = 0; j < H; j++)
                z[j] = sigmoid_n(a_z[j] + bias[j]);
            for (int64_t j = 0; j < H; j++) {
                number candidate = a_n[j] + bias[H + j], below = sigmoid_n(candidate);
                n[j] = candidate >= 0 ? candidate + (number)0.5 : below; /* (5) */
            }
            for (int64_t j = 0; j < H; j++)
                h[j] = before[j] + z[j] * (n[j] - before[j]); /* (6) */
        }
}

EXPORT void FN(mingru_backward)(const Scan *s)
{
    int64_t B = s->B, H = s->H;
    for (int64_t t = s->T - 1; t >= 0; t--) {
        for (int64_t b = 0; b < B; b++) {
            int64_t row = t * B + b;
            const number *restrict before = before_step(s, t, b), *restrict above = s->d_h + row * H;
            const number *restrict z = s->z + row * H, *restrict n = s->n + row * H;
            number *restrict d_z = s->d_a + row * 2 * H, *restrict d_n = d_z + H, *restrict behind = s->carried + b * H;
            for (int64_t j = 0; j < H; j++) {
                number d = above[j] + behind[j];
                number slope = n[j] >= (number)0.5 ? 1 : n[j] * (1 - n[j]);
                d_z[j] = d * (n[j] - before[j]) * (z[j] * (1 - z[j])); /* (6), (5) */
                d_n[j] = d * z[j] * slope;                              /* (6), (5) */
                behind[j] = d * (1 - z[j]);                             /* (6) */
            }
            if (s->resets && s->resets[row])
                memset(behind, 0, (size_t)H * sizeof(number));
        }
        add_rows(s->d_a + t * B * 2 * H, s->room, s->d_bias, B, 2 * H);
    }
}
