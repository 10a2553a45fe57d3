/* The forward pass: T time steps of B rows, layer by layer; generation is the case T = 1.
 *
 *     plain      x ← cell(W_ih x + b), layer after layer                                                  (1)
 *     residual   u = conv(RMSNorm x),  x ← x + W_o cell(W_ih u + b)                                       (2)
 *                v = RMSNorm x,  x ← x + W_d (silu(W_g v) ⊙ W_u v)                                        (3)
 *     y = W_out x + b_out, in residual networks of RMSNorm x                                              (4)
 *
 * Products that do not read the state (all except W_hh h) are computed for all time steps at once. The order of every
 * sum is independent of the number of rows, steps and threads, so no split changes a bit.
 *
 * Threads divide the panels of each product. Thread `part` of `parts` adds its panels into `shared` and waits for the
 * others; the work between two products is small, and each thread repeats it in its own memory. Products alternate
 * between two places in `shared`, so no thread overwrites results that another may still read.
 */

static const number NORM_EPSILON = (number)1e-6;

/* The outputs [*low, *high) of a vector of `size` that a thread adds: whole panels. */
static void share(int64_t size, const ThreadContext *context, int64_t *low, int64_t *high)
{
    int64_t panels = (size + LANES - 1) / LANES;
    *low = panels * context->part / context->parts * LANES;
    *high = panels * (context->part + 1) / context->parts * LANES;
    *high = *high < size ? *high : size;
}

/* Switch to the other place in `shared`, and return it. */
static number *next_place(const Network *net, ThreadContext *context, int64_t rows)
{
    context->place = 1 - context->place;
    return context->shared + context->place * rows * net->max_output_size;
}

/* Write the table row of each character into the input of the first layer. */
static void look_up(const Network *net, const Workspace *work, const int64_t *ids, int64_t rows)
{
    number *out = net->residual ? work->stream : work->x;
    int64_t stride = net->residual ? net->width : net->max_input_size;
    for (int64_t r = 0; r < rows; r++)
        memcpy(
            out + r * stride, net->numbers + net->ends->table + ids[r] * net->table_width,
            (size_t)net->table_width * sizeof(number));
}

/* Write the table row of each character, which is all of W_ih x + b, into this thread's panels. */
static void begin_with_table(
    const Network *net, const ThreadContext *context, const int64_t *ids, int64_t rows, number *a)
{
    int64_t low, high;
    share(net->gates, context, &low, &high);
    for (int64_t r = 0; r < rows && low < high; r++)
        memcpy(
            a + r * net->max_output_size + low,
            net->numbers + net->ends->table + ids[r] * net->table_width + low, (size_t)(high - low) * sizeof(number));
}

/* Write a vector of `numbers`, or zeros if it is missing (negative), into this thread's panels of each row. */
static void begin_with(
    const Network *net, const ThreadContext *context, int64_t size, int64_t vector, int64_t rows, number *out)
{
    int64_t low, high;
    share(size, context, &low, &high);
    for (int64_t r = 0; r < rows && low < high; r++) {
        number *row = out + r * net->max_output_size + low;
        if (vector < 0)
            memset(row, 0, (size_t)(high - low) * sizeof(number));
        else
            memcpy(row, net->numbers + vector + low, (size_t)(high - low) * sizeof(number));
    }
}

/* Write (0, 0, b_hn) into this thread's panels of each row. */
static void begin_with_hidden_bias(
    const Network *net, const ThreadContext *context, const Layer *layer, int64_t B, number *u)
{
    int64_t low, high, candidate = 2 * net->cell_size;
    share(net->gates, context, &low, &high);
    for (int64_t b = 0; b < B; b++)
        for (int64_t j = low; j < high; j++)
            u[b * net->max_output_size + j] = j < candidate ? 0 : net->numbers[layer->bias_hn + j - candidate];
}

/* Write RMSNorm of each row of the stream to `work->x`. The sum of squares has 16 parts, added in order. */
static void norm(const Network *net, const Workspace *work, int64_t gain, int64_t rows)
{
    int64_t D = net->width, whole = D - D % LANES;
    for (int64_t r = 0; r < rows; r++) {
        const number *x = work->stream + r * D;
        number *out = work->x + r * net->max_input_size, sum = 0;
        numbers_v parts = {0};
        for (int64_t j = 0; j < whole; j += LANES) {
            numbers_v x_j = *(const numbers_v *)(x + j);
            parts += x_j * x_j;
        }
        for (int j = 0; j < LANES; j++)
            sum += parts[j];
        for (int64_t j = whole; j < D; j++)
            sum += x[j] * x[j];
        number factor = 1 / sqrt_n(sum / (number)D + NORM_EPSILON);
        for (int64_t j = 0; j < D; j++)
            out[j] = net->numbers[gain + j] * x[j] * factor;
    }
}

/* Convolve `work->x` over time, in place; the last K − 1 inputs are state. */
static void convolve(
    const Network *net, const Layer *layer, const Workspace *work, int64_t T, int64_t B, const uint8_t *resets,
    number *state, int64_t begin)
{
    int64_t D = net->width, past = net->conv_width - 1;
    const number *taps = net->numbers + layer->conv_weight, *bias = net->numbers + layer->conv_bias;
    number *restrict u = work->scratch;
    for (int64_t r = 0; r < T * B; r++) {
        number *inputs = state + (r % B) * net->state_size + begin + net->layer_state - past * D;
        number *x = work->x + r * net->max_input_size;
        if (resets[r])
            memset(inputs, 0, (size_t)(past * D) * sizeof(number));
        for (int64_t j = 0; j < D; j++)
            u[j] = bias[j] + taps[past * D + j] * x[j];
        for (int64_t k = 0; k < past; k++)
            for (int64_t j = 0; j < D; j++)
                u[j] += taps[k * D + j] * inputs[k * D + j];
        if (past > 0) {
            memmove(inputs, inputs + D, (size_t)((past - 1) * D) * sizeof(number));
            memcpy(inputs + (past - 1) * D, x, (size_t)D * sizeof(number));
        }
        memcpy(x, u, (size_t)D * sizeof(number));
    }
}

/* Run the cell over time: complete the pre-activations `a`, update `state`, write h_t to `work->x`. */
static void recur(
    const Network *net, const Workspace *work, ThreadContext *context, const Layer *layer, int64_t T, int64_t B,
    const uint8_t *resets, number *state, int64_t begin, number *a)
{
    int64_t H = net->cell_size, size = net->cell == LSTM ? 2 * H : H, stride = net->max_output_size;
    for (int64_t t = 0; t < T; t++) {
        number *a_t = a + t * B * stride, *u = 0;
        for (int64_t b = 0; b < B; b++)
            if (resets[t * B + b])
                memset(state + b * net->state_size + begin, 0, (size_t)size * sizeof(number));
        if (net->cell == GRU) {
            context->place_of_state = 1 - context->place_of_state;
            u = context->of_state + context->place_of_state * B * stride;
            begin_with_hidden_bias(net, context, layer, B, u);
            FN(add_product)(net, work, context, &layer->w_hh, state + begin, net->state_size, B, u);
        } else if (net->cell != MINGRU)
            FN(add_product)(net, work, context, &layer->w_hh, state + begin, net->state_size, B, a_t);
        if (t == 0 || net->cell != MINGRU)
            meet(context);
        for (int64_t b = 0; b < B; b++) {
            number *own = state + b * net->state_size + begin;
            if (net->cell == ELMAN)
                FN(activate)(net->activation, a_t + b * stride, own, H);
            else if (net->cell == LSTM)
                lstm_step(a_t + b * stride, own, own + H, H);
            else if (net->cell == GRU)
                gru_step(a_t + b * stride, u + b * stride, own, H);
            else
                mingru_step(a_t + b * stride, own, H);
            memcpy(work->x + (t * B + b) * net->max_input_size, own, (size_t)H * sizeof(number));
        }
    }
}

/* Add W x to the stream. */
static void add_branch(
    const Network *net, const Workspace *work, ThreadContext *context, const Matrix *m, int64_t rows)
{
    int64_t D = net->width;
    number *place = next_place(net, context, rows);
    begin_with(net, context, D, -1, rows, place);
    FN(add_product)(net, work, context, m, work->x, net->max_input_size, rows, place);
    meet(context);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < D; j++)
            work->stream[r * D + j] += place[r * net->max_output_size + j];
}

/* Replace v in `work->x` by silu(W_g v) ⊙ W_u v. */
static void gate(
    const Network *net, const Workspace *work, ThreadContext *context, const Layer *layer, int64_t rows)
{
    int64_t M = net->mlp_size;
    number *place = next_place(net, context, rows);
    begin_with(net, context, 2 * M, -1, rows, place);
    FN(add_product)(net, work, context, &layer->gate_up, work->x, net->max_input_size, rows, place);
    meet(context);
    for (int64_t r = 0; r < rows; r++) {
        const number *restrict own = place + r * net->max_output_size;
        number *restrict x = work->x + r * net->max_input_size;
        for (int64_t j = 0; j < M; j++)
            x[j] = own[j] * sigmoid_n(own[j]) * own[M + j];
    }
}

EXPORT void FN(read_window)(
    const Network *net, const Workspace *work, ThreadContext *context, int64_t T, int64_t B, const int64_t *ids,
    const uint8_t *resets, number *state, int64_t first, number *logits)
{
    int64_t rows = T * B, wanted = rows - first * B;
    if (!net->folded)
        look_up(net, work, ids, rows);
    for (int64_t i = 0; i < net->num_layers; i++) {
        const Layer *layer = net->layers + i;
        int64_t begin = i * net->layer_state;
        if (net->residual) {
            norm(net, work, layer->norm, rows);
            convolve(net, layer, work, T, B, resets, state, begin);
        }
        number *a = next_place(net, context, rows);
        if (i == 0 && net->folded)
            begin_with_table(net, context, ids, rows, a);
        else {
            begin_with(net, context, net->gates, layer->bias, rows, a);
            FN(add_product)(net, work, context, &layer->w_ih, work->x, net->max_input_size, rows, a);
        }
        recur(net, work, context, layer, T, B, resets, state, begin, a);
        if (net->residual) {
            add_branch(net, work, context, &layer->proj, rows); /* (2) */
            if (net->mlp_size > 0) {
                norm(net, work, layer->mlp_norm, rows);
                gate(net, work, context, layer, rows);
                add_branch(net, work, context, &layer->down, rows); /* (3) */
            }
        }
    }
    if (net->residual)
        norm(net, work, net->ends->norm, rows);
    number *place = next_place(net, context, rows);
    begin_with(net, context, net->vocab_size, net->ends->out_bias, wanted, place);
    FN(add_product)(
        net, work, context, &net->ends->out, work->x + first * B * net->max_input_size, net->max_input_size, wanted,
        place); /* (4) */
    meet(context);
    for (int64_t r = 0; r < wanted; r++)
        memcpy(
            logits + r * net->vocab_size, place + r * net->max_output_size, (size_t)net->vocab_size * sizeof(number));
}
