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

EXPORT int64_t FN(decode)(
    const Network *net, const Workspace *work, ThreadContext *context, const SamplingRule *rules, const Samples *rows,
    int64_t n, int64_t *ids, double *log_probs)
{
    int64_t B = rows->num_rows, V = net->vocab_size, now[B];
    uint8_t nowhere[B];
    memset(nowhere, 0, (size_t)B);
    for (int64_t i = 0; i < n; i++) {
        int ended = 0;
        for (int64_t b = 0; b < B; b++) {
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
        FN(read_window)(net, work, context, 1, B, now, nowhere, rows->state, 0, rows->logits);
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
