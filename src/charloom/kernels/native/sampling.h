/* From logits to a character: the arithmetic of `generation.filters` for one row.
 *
 *     s = logits + bias, −∞ if banned, less ln penalty if recently generated (1)
 *     temperature 0: the largest s, the lowest id on ties                    (2)
 *     w = exp((s − max s) / temperature)                                     (3)
 *     top-k, then top-p of the rest, then min-p: w becomes 0                 (4)
 *     id = the first with w_0 + … + w_id > u Σ w, in id order                (5)
 *
 * w is float (1e-7), its sums are double. The likeliest are taken from a heap, so (4) does not sort all V. The uniform
 * number u is a function of the seed, the sample and the position: Philox 4x32-10 (Salmon et al. 2011), as in rng.py.
 */
#ifndef SAMPLING_H
#define SAMPLING_H

enum { NOBODY = -1, PURPOSE_SAMPLE = 7 };

static void philox(uint32_t words[4], uint32_t key0, uint32_t key1)
{
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = (uint64_t)0xD2511F53u * words[0], product1 = (uint64_t)0xCD9E8D57u * words[2];
        uint32_t high0 = (uint32_t)(product0 >> 32), high1 = (uint32_t)(product1 >> 32);
        words[0] = high1 ^ words[1] ^ key0;
        words[2] = high0 ^ words[3] ^ key1;
        words[1] = (uint32_t)product1;
        words[3] = (uint32_t)product0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

/* The uniform number in [0, 1) for a position of a sample, as from `rng.uniforms`. */
EXPORT double FN(uniform)(const SamplingRule *rule, int64_t sample, int64_t position)
{
    uint32_t words[4] = {0, (uint32_t)sample, (uint32_t)position, PURPOSE_SAMPLE};
    philox(words, rule->key0, rule->key1);
    return ((double)(words[0] >> 5) * 67108864.0 + (double)(words[1] >> 6)) * 0x1p-53;
}

/* Write (1) to `rows->scores`. */
static void score(const SamplingRule *rule, const Samples *rows, const number *logits, const int64_t *recent, int64_t V)
{
    for (int64_t v = 0; v < V; v++)
        rows->scores[v] = rule->banned[v] ? -INFINITY : (float)logits[v];
    if (rule->bias)
        for (int64_t v = 0; v < V; v++)
            rows->scores[v] += rule->bias[v];
    if (rule->log_penalty == 0)
        return;
    for (int64_t i = 0; i < rows->num_recent; i++) {
        int64_t id = recent[i];
        if (id >= 0 && !rule->banned[id]) /* once, however often it occurs */
            rows->scores[id] = (float)logits[id] + (rule->bias ? rule->bias[id] : 0) - (float)rule->log_penalty;
    }
}

/* The id of the largest score, the lowest on ties; −1 if one is NaN or the largest is not finite. */
static int64_t likeliest(const float *scores, int64_t V)
{
    int64_t best = 0;
    for (int64_t v = 0; v < V; v++) {
        if (scores[v] != scores[v])
            return NOBODY;
        if (scores[v] > scores[best])
            best = v;
    }
    return isfinite(scores[best]) ? best : NOBODY;
}

static int likelier(const float *scores, int64_t a, int64_t b)
{
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
}

/* Sift heap[parent] down to its place. */
static void sift(int64_t *heap, const float *scores, int64_t parent, int64_t size)
{
    int64_t moving = heap[parent];
    while (2 * parent + 1 < size) {
        int64_t child = 2 * parent + 1;
        if (child + 1 < size && likelier(scores, heap[child + 1], heap[child]))
            child++;
        if (!likelier(scores, heap[child], moving))
            break;
        heap[parent] = heap[child];
        parent = child;
    }
    heap[parent] = moving;
}

/* Move the likeliest id of heap[:size] to its end. */
static void pop(int64_t *heap, const float *scores, int64_t size)
{
    int64_t last = heap[size - 1];
    heap[size - 1] = heap[0];
    heap[0] = last;
    sift(heap, scores, 0, size - 1);
}

/* Set to 0 the weights that top-k and then top-p exclude. */
static void keep_likeliest(const SamplingRule *rule, const Samples *rows, int64_t V)
{
    const float *scores = rows->scores;
    float *weights = rows->weights;
    int64_t *heap = rows->heap, num_kept = rule->top_k < V ? rule->top_k : V, kept = 0;
    double total = 0, before = 0;
    for (int64_t v = 0; v < V; v++)
        heap[v] = v;
    for (int64_t parent = V / 2 - 1; parent >= 0; parent--)
        sift(heap, scores, parent, V);
    if (rule->top_k < V)
        for (int64_t i = 0; i < num_kept; i++) { /* move the likeliest to the end of the heap, one by one */
            pop(heap, scores, V - i);
            total += weights[heap[V - 1 - i]];
        }
    else
        for (int64_t v = 0; v < V; v++)
            total += weights[v];
    for (; kept < num_kept && (rule->top_p >= 1 || before < rule->top_p * total); kept++) {
        if (rule->top_k >= V)
            pop(heap, scores, V - kept);
        before += weights[heap[V - 1 - kept]];
    }
    for (int64_t i = 0; i < V - kept; i++)
        weights[heap[i]] = 0;
}

/* Compute (5). */
static int64_t draw(const float *weights, int64_t V, double u)
{
    double total = 0, reached = 0;
    int64_t last = 0;
    for (int64_t v = 0; v < V; v++)
        total += weights[v];
    for (int64_t v = 0; v < V; v++)
        if (weights[v] > 0) {
            last = v;
            reached += weights[v];
            if (reached > u * total)
                break;
        }
    return last;
}

/* Choose an id for a row. */
EXPORT int64_t FN(choose)(const SamplingRule *rule, const Samples *rows, int64_t b, int64_t V)
{
    float *scores = rows->scores, *weights = rows->weights;
    score(rule, rows, rows->logits + b * V, rows->recent + b * rows->num_recent, V);
    int64_t best = likeliest(scores, V);
    if (best == NOBODY || rule->temperature == 0)
        return best; /* (2) */
    float peak = scores[best], inverse = (float)(1 / rule->temperature);
    for (int64_t v = 0; v < V; v++) { /* a difference may overflow to −∞, and −∞ · 0 is NaN */
        float below = scores[v] - peak;
        weights[v] = (below < -3.4028235e38f ? -3.4028235e38f : below) * inverse;
    }
    for (int64_t v = 0; v < V; v++)
        weights[v] = exp_f32(weights[v]); /* (3) */
    for (int64_t v = 0; v < V; v++)
        weights[v] = scores[v] == -INFINITY ? 0 : weights[v];
    if (rule->top_k < V || rule->top_p < 1)
        keep_likeliest(rule, rows, V);
    if (rule->min_p > 0)
        for (int64_t v = 0; v < V; v++) /* the largest weight is 1 */
            weights[v] = weights[v] >= (float)rule->min_p ? weights[v] : 0;
    return draw(weights, V, FN(uniform)(rule, rows->samples[b], rows->positions[b]));
}

#endif
