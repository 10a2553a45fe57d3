/* The time steps of an Elman network, an LSTM and a GRU over a window, forward and backward.
 *
 *     u_t = W_hh h_{t−1}                        (1)  then the cell's function in training_cells.h
 *     d_h_{t−1} ← d_h_{t−1} + W_hhᵀ d_u_t       (2)  backward: the gates' derivative, then the product
 *     d_b ← d_b + Σ_b d_a_t;  d_x[rows_t] ← d_x[rows_t] + d_a_t   (3)  while d_a_t is in the cache
 *
 * The products are in floats (products.h), or of factors rounded to bfloat16 (tiles.h).
 */

/* Write a w to `out`, or add it if `adds`: a (B, K), out (B, N). */
static void multiply_by_recurrent(const Window *window, const number *a, int64_t K, int64_t N, number *out, int adds)
{
    /* integers of eight bytes: little-endian, so a BLAS with integers of four reads them correctly too */
    const number one = 1, kept = adds ? 1 : 0;
#ifndef DOUBLE
    if (window->tiles) {
        FN(multiply_in_tiles)(
            a, window->panels, window->left, out, window->B, K, N, N, adds, window->tiles);
        return;
    }
#endif
    if (window->gemm)
        ((Gemm *)window->gemm)(
            "N", "N", &N, &window->B, &K, &one, window->w, &window->w_stride, a, &K, &kept, out, &N);
    else
        FN(multiply)(a, window->w, window->w_stride, out, window->B, K, N, adds);
}

/* Write the state that time step t reads: the state before it, or the reset state in rows that are reset. */
static void begin_step(const Window *window, int64_t t, const number *reset_state, const number *values, number *read)
{
    int64_t B = window->B, H = window->H;
    for (int64_t b = 0; window->resets && b < B; b++)
        memcpy(
            read + (t * B + b) * H, window->resets[t * B + b] ? reset_state + b * H : values + (t * B + b) * H,
            (size_t)H * sizeof(number));
}

/* Stop the gradient in rows that are reset before time step t. */
static void cut(const Window *window, int64_t t, number *gradient)
{
    for (int64_t b = 0; window->resets && b < window->B; b++)
        if (window->resets[t * window->B + b])
            memset(gradient + b * window->H, 0, (size_t)window->H * sizeof(number));
}

/* Add the row of x that each batch row reads, and the bias. */
static void add_inputs(const Window *window, int64_t t, number *restrict u)
{
    int64_t n = window->gates;
    for (int64_t b = 0; b < window->B; b++) {
        const number *mine = window->x + window->rows[t * window->B + b] * n;
        for (int64_t j = 0; j < n; j++)
            u[b * n + j] += mine[j] + window->bias[j];
    }
}

/* Compute (3). */
static void give_back(const Window *window, int64_t t)
{
    int64_t B = window->B, n = window->gates;
    const number *d_a = window->d_a + t * B * n;
    add_rows(d_a, window->room, window->d_bias, B, n);
    for (int64_t b = 0; window->d_x && b < B; b++) {
        number *out = window->d_x + window->rows[t * B + b] * n;
        for (int64_t j = 0; j < n; j++)
            out[j] += d_a[b * n + j];
    }
}

EXPORT void FN(rnn_forward)(const Window *window)
{
    int64_t T = window->T, B = window->B, H = window->H, n = window->gates, size = B * H;
    const number *read_h = window->resets ? window->read_h : window->h;
    const number *read_c = window->resets ? window->read_c : window->c;
    number *u = window->room;
    for (int64_t t = 0; t < T; t++) {
        number *h = window->h + (t + 1) * size;
        begin_step(window, t, window->reset_h, window->h, window->read_h);
        if (window->cell == LSTM)
            begin_step(window, t, window->reset_c, window->c, window->read_c);
        multiply_by_recurrent(window, read_h + t * size, H, n, u, 0); /* (1) */
        if (window->cell != GRU)
            add_inputs(window, t, u);
        if (window->cell == ELMAN)
            FN(activate)(window->activation, u, h, size);
        else if (window->cell == LSTM)
            lstm_forward(u, read_c + t * size, window->kept + t * B * n, window->c + (t + 1) * size, h, B, H);
        else
            for (int64_t b = 0; b < B; b++)
                gru_forward_row(
                    window->x + window->rows[t * B + b] * n, window->bias, u + b * n, window->bias_hn,
                    read_h + (t * B + b) * H, window->kept + (t * B + b) * n, window->m + (t * B + b) * H, h + b * H,
                    H);
    }
}

EXPORT void FN(rnn_backward)(const Window *window)
{
    int64_t B = window->B, H = window->H, n = window->gates, size = B * H;
    const number *read_h = window->resets ? window->read_h : window->h;
    const number *read_c = window->resets ? window->read_c : window->c;
    number *carried = window->carried;
    for (int64_t t = window->T - 1; t >= 0; t--) {
        const number *d_h = window->d_h + t * size, *kept = window->kept + t * B * n;
        number *d_a = window->d_a + t * B * n, *d_u = window->d_u + t * B * n;
        if (window->cell == ELMAN)
            elman_backward(window->activation, window->h + (t + 1) * size, d_h, carried, d_a, B, H);
        else if (window->cell == LSTM)
            lstm_backward(
                kept, read_c + t * size, window->c + (t + 1) * size, d_h, carried, window->d_c, d_a, window->room, B,
                H);
        else
            gru_backward(kept, window->m + t * size, read_h + t * size, d_h, carried, d_a, d_u, B, H);
        multiply_by_recurrent(window, d_u, n, H, carried, window->cell == GRU); /* (2) */
        cut(window, t, carried);
        if (window->cell == LSTM)
            cut(window, t, window->d_c);
        give_back(window, t);
    }
}
