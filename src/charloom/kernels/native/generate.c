/* The decoding loop: repeatedly choose a character for each sample and read it. And the loss of given characters.
 *
 *     L = log Σ_v exp y_v − y[target]           (1)  nats
 */

static number largest(const number *y, int64_t V)
{
    number most = y[0];
    for (int64_t v = 1; v < V; v++)
        most = y[v] > most ? y[v] : most;
    return most;
}

/* The model's log-probability of a character in nats, over the whole vocabulary at temperature 1. */
EXPORT double FN(log_probability)(const number *logits, int64_t id, float *weights, int64_t V)
{
    number peak = largest(logits, V);
    double total = 0;
    for (int64_t v = 0; v < V; v++)
        weights[v] = exp_f32((float)(logits[v] - peak));
    for (int64_t v = 0; v < V; v++)
        total += weights[v];
    return (double)(logits[id] - peak) - log_f64(total);
}

/* Choose a character for each row, and write it as the i-th of n: −1 if a logit is not finite, 1 if a row has ended. */
static int64_t FN(choose_rows)(
    const SamplingRule *rules, const Samples *rows, int64_t V, int64_t i, int64_t n, int64_t *now, int64_t *ids,
    double *log_probs)
{
    int64_t ended = 0;
    for (int64_t b = 0; b < rows->num_rows; b++) {
        int64_t id = FN(choose)(rules + b, rows, b, V);
        if (id < 0)
            return -1;
        if (log_probs)
            log_probs[b * n + i] = FN(log_probability)(rows->logits + b * V, id, rows->weights, V);
        ids[b * n + i] = now[b] = id;
        if (rows->num_recent > 0)
            rows->recent[b * rows->num_recent + rows->positions[b] % rows->num_recent] = id;
        rows->positions[b]++;
        ended |= id == rules[b].end;
    }
    return ended;
}

EXPORT int64_t FN(decode)(
    const Network *net, const Workspace *work, ThreadContext *context, const SamplingRule *rules, const Samples *rows,
    int64_t n, int64_t *ids, double *log_probs)
{
    int64_t B = rows->num_rows, V = net->vocab_size, now[B];
    uint8_t nowhere[B];
    memset(nowhere, 0, (size_t)B);
    for (int64_t i = 0; i < n; i++) {
        int64_t ended = FN(choose_rows)(rules, rows, V, i, n, now, ids, log_probs);
        if (ended < 0)
            return -1;
        FN(read_window)(net, work, context, 1, B, now, nowhere, rows->state, 0, rows->logits);
        if (ended)
            return i + 1;
    }
    return n;
}

/* The log of the mean of the probabilities of K networks, from their logits (K, rows, V), which are overwritten:
 *
 *     l_k = y_k − log Σ_v exp y_k,v             (2)  the log-probabilities of a network
 *     y = m + log Σ_k exp (l_k − m) − log K     (3)  m = max_k l_k
 */
static void FN(average)(number *found, number *logits, int64_t K, int64_t rows, int64_t V)
{
    for (int64_t r = 0; r < K * rows; r++) {
        number *y = found + r * V, peak = largest(y, V);
        double total = 0;
        for (int64_t v = 0; v < V; v++)
            total += exp_n(y[v] - peak);
        number log_total = peak + (number)log_f64(total); /* (2) */
        for (int64_t v = 0; v < V; v++)
            y[v] -= log_total;
    }
    double log_K = log_f64((double)K);
    for (int64_t i = 0; i < rows * V; i++) {
        number most = found[i], sum = 0;
        for (int64_t k = 1; k < K; k++)
            most = found[k * rows * V + i] > most ? found[k * rows * V + i] : most;
        for (int64_t k = 0; k < K; k++)
            sum += exp_n(found[k * rows * V + i] - most);
        logits[i] = most + (number)(log_f64((double)sum) - log_K); /* (3) */
    }
}

EXPORT int64_t FN(decode_ensemble)(
    const Member *members, int64_t K, number *found, const SamplingRule *rules, const Samples *rows, int64_t V,
    int64_t n, int64_t *ids, double *log_probs)
{
    int64_t B = rows->num_rows, now[B];
    uint8_t nowhere[B];
    memset(nowhere, 0, (size_t)B);
    for (int64_t i = 0; i < n; i++) {
        int64_t ended = FN(choose_rows)(rules, rows, V, i, n, now, ids, log_probs);
        if (ended < 0)
            return -1;
        for (int64_t k = 0; k < K; k++) {
            const Member *m = members + k;
            FN(read_window)(m->net, m->work, m->context, 1, B, now, nowhere, m->state, 0, found + k * B * V);
        }
        FN(average)(found, rows->logits, K, B, V);
        if (ended)
            return i + 1;
    }
    return n;
}

EXPORT void FN(nats_of_targets)(number *logits, const int64_t *targets, number *nats, int64_t n, int64_t V)
{
    int64_t whole = V - V % LANES;
    for (int64_t i = 0; i < n; i++) {
        number *y = logits + i * V, peak = largest(y, V), total = 0;
        number at_target = y[targets[i]] - peak;
        numbers_v parts = {0};
        for (int64_t v = 0; v < V; v++)
            y[v] = exp_n(y[v] - peak);
        for (int64_t v = 0; v < whole; v += LANES)
            parts += *(const numbers_v *)(y + v);
        for (int j = 0; j < LANES; j++)
            total += parts[j];
        for (int64_t v = whole; v < V; v++)
            total += y[v];
        nats[i] = (number)(log_f64((double)total) - (double)at_target); /* (1) */
    }
}
