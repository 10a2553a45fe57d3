/* The online trainer: many updates in one call.
 *
 * `update_windows` supports every window and rule: forward and backward, gradient norm, update.
 *
 * `update_characters` is for windows of one one-hot character and plain SGD. There the gradient of a matrix is a product,
 *
 *     ∂L/∂W_hh = d_a h_{t−1}ᵀ,  ∂L/∂W_out = d_y h_tᵀ,  ‖∂L‖² = ‖d_a‖² (‖h_{t−1}‖² + 2) + ‖d_y‖² (‖h_t‖² + 1)     (1)
 *
 * so it is never formed: it is stored as two vectors and added to the matrix while the next character's product
 * reads it. One extra turn of the same loop adds the last update. No expression is compiled twice, so splitting
 * a range of steps does not change the result by a single bit.
 */

/* Write the distinct characters of a window to `rows` (V); return their number; `seen` (V) has each one's last step. */
static int64_t distinct(const int64_t *ids, int64_t T, int64_t s, int64_t *seen, int64_t *rows)
{
    int64_t num = 0;
    for (int64_t t = 0; t < T; t++)
        if (seen[ids[t]] != s) {
            seen[ids[t]] = s;
            rows[num++] = ids[t];
        }
    return num;
}

/* The factor that brings a gradient of this norm down to the ceiling. */
static double shrink_of(const Objective *objective, double norm)
{
    return norm > objective->clip_norm ? objective->clip_norm / norm : 1;
}

EXPORT int64_t FN(update_windows)(
    const Objective *objective, const UpdateRule *rule, const FlatVectors *vectors, const OnlineWeights *weights,
    const OnlineWeights *gradients, const OnlineTape *tape, const StepRange *steps, number *h, int64_t count)
{
    int64_t V = padded(weights->V), H = padded(weights->H), X = padded(weights->X);
    for (int64_t v = 0; v < weights->V; v++)
        tape->seen[v] = -1;
    for (int64_t s = 0; s < steps->S; s++) {
        int64_t T = steps->lengths[s], first = objective->last ? T - 1 : 0;
        const int64_t *ids = steps->text + steps->begins[s];
        const uint8_t *resets = steps->resets + steps->begins[s];
        const number *reset_state = steps->reset_state + steps->reset_rows[s] * H;
        elman_window_forward(weights, objective->activation, ids, resets, reset_state, T, first, tape, h);
        double loss = 0, scale = objective->sums ? 1 : 1.0 / (double)(T - first);
        for (int64_t t = first; t < T; t++)
            loss += FN(loss_and_gradient)(tape->y + t * V, weights->V, ids[t + 1], scale);
        elman_window_backward(weights, objective->activation, ids, resets, T, first, tape, gradients);
        int64_t num_rows = distinct(ids, T, s, tape->seen, tape->rows);
        double squares = FN(square_sum)(vectors->g + vectors->table_end, vectors->size - vectors->table_end);
        for (int64_t r = 0; r < num_rows; r++)
            squares += FN(square_sum)(gradients->table + tape->rows[r] * X, X);
        double norm = sqrt(squares);
        steps->loss[s] = loss / (double)(T - first);
        steps->grad_norm[s] = norm;
        if (!isfinite(loss) || !isfinite(norm))
            return s;
        update_parameters(
            rule, vectors, tape->rows, num_rows, shrink_of(objective, norm), steps->rates[s], count + s + 1);
        for (int64_t r = 0; r < num_rows; r++)
            clear_vector(gradients->table + tape->rows[r] * X, X);
        update_average(vectors, steps->average_weights[s]);
    }
    return steps->S;
}

/* Store the update rate · d xᵀ as p uᵀ; the next product adds it to its matrix. */
static void defer_update(
    number rate, const number *restrict d, int64_t M, const number *restrict x, int64_t N, number *restrict p,
    number *restrict u)
{
    for (int64_t i = 0; i < M; i++)
        p[i] = rate * d[i];
    copy_vector(x, u, N);
}

EXPORT int64_t FN(update_characters)(
    const Objective *objective, const OnlineWeights *weights, const OnlineTape *tape, const PendingUpdates *pending,
    const StepRange *steps, number *h)
{
    int64_t V = padded(weights->V), H = padded(weights->H), S = steps->S, x = 0, target = 0;
    number *before = tape->before, *a = tape->a, *h_t = tape->h, *y = tape->y, *d_h = tape->d_h;
    number *p_a = pending->p_a, *u_a = pending->u_a, *p_y = pending->p_y, *u_y = pending->u_y;
    for (int64_t j = 0; j < H; j++)
        p_a[j] = (number)-0.0, u_a[j] = u_y[j] = 0; /* nothing pending: w + −0 · 0 is w bit for bit */
    for (int64_t v = 0; v < V; v++)
        p_y[v] = (number)-0.0;
    for (int64_t s = 0; s <= S; s++) { /* the last turn only adds the pending update */
        copy_vector(h, before, H);
        if (s < S) {
            int64_t at = steps->begins[s];
            x = steps->text[at], target = steps->text[at + 1];
            if (steps->resets[at])
                copy_vector(steps->reset_state + steps->reset_rows[s] * H, before, H);
        }
        project_window(weights, &x, 1, 0, a);
        FN(update_and_add_product)(weights->w_hh, weights->H, H, p_a, u_a, before, a, s & 1);
        write_hidden(weights, objective->activation, a, h_t);
        copy_vector(weights->out_bias, y, V);
        FN(update_and_add_product)(weights->w_out, weights->V, H, p_y, u_y, h_t, y, 0);
        if (s == S)
            break;
        double loss = FN(loss_and_gradient)(y, weights->V, target, 1);
        clear_vector(d_h, H);
        FN(add_pulled_back)(weights->w_out, weights->V, H, y, d_h, 1);
        activate_backward(objective->activation, h_t, d_h, a, H);
        double norm = sqrt(
            FN(square_sum)(a, H) * (FN(square_sum)(before, H) + 2) +
            FN(square_sum)(y, V) * (FN(square_sum)(h_t, H) + 1)); /* (1) */
        steps->loss[s] = loss, steps->grad_norm[s] = norm;
        if (!isfinite(loss) || !isfinite(norm))
            return s;
        number rate = (number)(-steps->rates[s] * shrink_of(objective, norm));
        defer_update(rate, a, H, before, H, p_a, u_a);
        defer_update(rate, y, V, h_t, H, p_y, u_y);
        add_vector(p_a, weights->bias, H);
        add_vector(p_a, weights->table + x * H, H);
        add_vector(p_y, weights->out_bias, V);
        copy_vector(h_t, h, H);
    }
    return S;
}
