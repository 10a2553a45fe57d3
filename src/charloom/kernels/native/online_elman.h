/* Elman network over one window of the online trainer: forward, loss, and backward through time.
 *
 *     a_t = W_ih x_t + W_hh h_{t−1} + b          (1)  x_t one-hot (a row of the table) or an embedding
 *     h_t = φ(a_t)                               (2)  φ is tanh, σ or relu
 *     y_t = W_out h_t + b_out                    (3)
 *     L = Σ_t log Σ_v exp y_tv − y_t[target]     (4)  nats, over the predicted time steps: all, or the last
 *     ∂L/∂y_t = softmax(y_t) − one-hot(target)   (5)
 *
 * Source: Elman (1990), in the form of PyTorch's nn.RNN with one bias; backward through time by hand.
 * Shapes: T time, V vocabulary, H hidden size, X width of the table, and V', H', X' with padding, which stays zero.
 */
#ifndef ONLINE_ELMAN_H
#define ONLINE_ELMAN_H

static inline void add_vector(const number *restrict x, number *restrict out, int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        out[j] += x[j];
}

static inline void copy_vector(const number *x, number *out, int64_t n)
{
    memcpy(out, x, (size_t)n * sizeof(number));
}

static inline void clear_vector(number *out, int64_t n)
{
    memset(out, 0, (size_t)n * sizeof(number));
}

/* (2): a, h (H'). */
static void write_hidden(const OnlineWeights *weights, int64_t activation, const number *a, number *h)
{
    int64_t H = weights->H;
    FN(activate)(activation, a, h, padded(H));
    clear_vector(h + H, padded(H) - H); /* σ(0) is not 0 */
}

/* The largest of y (N), by lanes: comparisons do not wait for each other. */
static number largest_of_lanes(const number *y, int64_t N)
{
    number most[LANES];
    memcpy(most, y, sizeof(most));
    for (int64_t v = LANES; v < N; v += LANES)
        for (int j = 0; j < LANES; j++)
            most[j] = y[v + j] > most[j] ? y[v + j] : most[j];
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            most[j] = most[half + j] > most[j] ? most[half + j] : most[j];
    return most[0];
}

/* Return (4) of one time step; overwrite y (V') with `scale` times (5). */
EXPORT double FN(loss_and_gradient)(number *y, int64_t V, int64_t target, double scale)
{
    int64_t N = padded(V);
    for (int64_t v = V; v < N; v++)
        y[v] = y[0];
    number m = largest_of_lanes(y, N);
    number at_target = y[target] - m;
    for (int64_t v = 0; v < N; v++)
        y[v] = exp_n(y[v] - m);
    clear_vector(y + V, N - V);
    line_v parts = {0};
    for (int64_t v = 0; v < N; v += LINE)
        parts += load(y + v);
    number total = lane_sum(parts), factor = (number)scale / total;
    for (int64_t v = 0; v < N; v++)
        y[v] *= factor;
    y[target] -= (number)scale;
    return log((double)total) - (double)at_target;
}

/* Write W_ih x + b, the part of (1) that needs no state, into a (T, H'); x (T, X') receives the embeddings read. */
static void project_window(const OnlineWeights *weights, const int64_t *ids, int64_t T, number *x, number *a)
{
    int64_t H = padded(weights->H), X = padded(weights->X);
    for (int64_t t = 0; t < T; t++) {
        const number *row = weights->table + ids[t] * X;
        number *a_t = a + t * H;
        if (weights->one_hot)
            for (int64_t j = 0; j < H; j++)
                a_t[j] = weights->bias[j] + row[j];
        else {
            copy_vector(weights->bias, a_t, H);
            copy_vector(row, x + t * X, X);
        }
    }
    if (!weights->one_hot)
        FN(add_products_over_time)(weights->w_ih, weights->H, X, x, T, a);
}

/* Read ids (T), update the state h (H'), and predict from time step `first` on. */
static void elman_window_forward(
    const OnlineWeights *weights, int64_t activation, const int64_t *ids, const uint8_t *resets,
    const number *reset_state, int64_t T, int64_t first, const OnlineTape *tape, number *h)
{
    int64_t H = padded(weights->H), V = padded(weights->V);
    project_window(weights, ids, T, tape->x, tape->a);
    for (int64_t t = 0; t < T; t++) {
        number *before = tape->before + t * H, *a = tape->a + t * H, *h_t = tape->h + t * H;
        const number *carried = t > 0 ? h_t - H : h;
        copy_vector(resets[t] ? reset_state : carried, before, H);
        FN(add_matrix_product)(weights->w_hh, weights->H, H, before, a, t & 1); /* (1) */
        write_hidden(weights, activation, a, h_t);                          /* (2) */
    }
    copy_vector(tape->h + (T - 1) * H, h, H);
    for (int64_t t = first; t < T; t++)
        copy_vector(weights->out_bias, tape->y + t * V, V);
    FN(add_products_over_time)(weights->w_out, weights->V, H, tape->h + first * H, T - first, tape->y + first * V); /* (3) */
}

/* Write Σ_t d_t to out (n), for d (T, n). */
static void sum_over_time(const number *d, int64_t T, int64_t n, number *out)
{
    copy_vector(d, out, n);
    for (int64_t t = 1; t < T; t++)
        add_vector(d + t * n, out, n);
}

/* Compute gradients from d_y in `tape.y`: add to rows of the table, overwrite everything else; `tape.a` becomes d_a. */
static void elman_window_backward(
    const OnlineWeights *weights, int64_t activation, const int64_t *ids, const uint8_t *resets, int64_t T,
    int64_t first, const OnlineTape *tape, const OnlineWeights *gradients)
{
    int64_t H = padded(weights->H), V = padded(weights->V), X = padded(weights->X), predicted = T - first;
    number *d_a = tape->a, *d_h = tape->d_h, *d_y = tape->y + first * V;
    clear_vector(d_h, first * H);
    FN(write_pulled_back)(d_y, weights->V, weights->w_out, H, predicted, d_h + first * H); /* (3) */
    for (int64_t t = T - 1; t >= 0; t--) {
        activate_backward(activation, tape->h + t * H, d_h + t * H, d_a + t * H, H); /* (2) */
        if (t > 0 && !resets[t])
            FN(add_pulled_back)(weights->w_hh, weights->H, H, d_a + t * H, d_h + (t - 1) * H, t & 1); /* (1) */
    }
    FN(write_outer_products)(d_y, weights->V, tape->h + first * H, H, predicted, gradients->w_out); /* (3) */
    sum_over_time(d_y, predicted, V, gradients->out_bias);
    FN(write_outer_products)(d_a, weights->H, tape->before, H, T, gradients->w_hh); /* (1) */
    sum_over_time(d_a, T, H, gradients->bias);
    const number *d_x = d_a;
    if (!weights->one_hot) {
        FN(write_outer_products)(d_a, weights->H, tape->x, X, T, gradients->w_ih);
        FN(write_pulled_back)(d_a, weights->H, weights->w_ih, X, T, tape->d_x);
        d_x = tape->d_x;
    }
    for (int64_t t = 0; t < T; t++)
        add_vector(d_x + t * X, gradients->table + ids[t] * X, X);
}

#endif
