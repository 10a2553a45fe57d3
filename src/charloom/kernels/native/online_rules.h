/* Optimiser rules over flat vectors: parameters w, gradient g, learning rate η, moments m and G.
 *
 *     d = clip(s g, ±c) + λ w                        (1)  s scales the norm down, λ is the L2 decay of matrices
 *     sgd      m ← μ m + d;   w ← w − η m            (2)  m is not kept if μ is 0
 *     adagrad  G ← G + d²;    w ← w − η d / (√G + ε), or √(G + ε)                    (3)
 *     rmsprop  G ← β G + (1 − β) d²;  m ← μ m + d / (√G + ε);  w ← w − η m           (4)
 *     adam     m ← β₁ m + (1 − β₁) d;  G ← β₂ G + (1 − β₂) d²                        (5)
 *              w ← w − η / (1 − β₁ⁿ) · m / (√G / √(1 − β₂ⁿ) + ε)                     (6)  n counts updates
 *     adamw    as adam with λ = 0 in (1), after w ← w − η λ w                        (7)
 *
 * Source: the update rules of torch.optim (2.13), whose moments have the same names and values; ε inside the
 * root as in character-RNN programs written from scratch. Rules are elementwise, so no split changes a bit.
 */
#ifndef ONLINE_RULES_H
#define ONLINE_RULES_H

enum { SGD, ADAGRAD, RMSPROP, ADAM, ADAMW };

/* One update's constants in the precision of the parameters. */
typedef struct {
    number s;
    number c;
    number decay;
    number eta;
} Step;

/* (1); NaN stays NaN. */
static inline number step_of(const Step *step, number g, number w)
{
    number d = g * step->s;
    d = d < -step->c ? -step->c : d;
    d = d > step->c ? step->c : d;
    return d + step->decay * w;
}

static void sgd(Step step, number mu, number *restrict w, const number *restrict g, number *restrict m, int64_t n)
{
    if (mu > 0)
        for (int64_t i = 0; i < n; i++) {
            m[i] = mu * m[i] + step_of(&step, g[i], w[i]);
            w[i] -= step.eta * m[i]; /* (2) */
        }
    else
        for (int64_t i = 0; i < n; i++)
            w[i] -= step.eta * step_of(&step, g[i], w[i]);
}

static void adagrad(
    Step step, number inside, number outside, number *restrict w, const number *restrict g, number *restrict G,
    int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        number d = step_of(&step, g[i], w[i]);
        G[i] += d * d;
        w[i] -= step.eta * d / (sqrt_n(G[i] + inside) + outside); /* (3) */
    }
}

static void rmsprop(
    Step step, const UpdateRule *rule, number *restrict w, const number *restrict g, number *restrict m,
    number *restrict G, int64_t n)
{
    number mu = (number)rule->momentum, beta = (number)rule->beta2, rest = (number)(1 - rule->beta2);
    number epsilon = (number)rule->epsilon;
    for (int64_t i = 0; i < n; i++) {
        number d = step_of(&step, g[i], w[i]);
        G[i] = beta * G[i] + rest * (d * d);
        m[i] = mu * m[i] + d / (sqrt_n(G[i]) + epsilon); /* (4) */
        w[i] -= step.eta * m[i];
    }
}

static void adam(
    Step step, const UpdateRule *rule, double rate, int64_t count, number *restrict w, const number *restrict g,
    number *restrict m, number *restrict G, int64_t n)
{
    number beta1 = (number)rule->beta1, rest1 = (number)(1 - rule->beta1);
    number beta2 = (number)rule->beta2, rest2 = (number)(1 - rule->beta2);
    number epsilon = (number)rule->epsilon, eta = (number)(rate / (1 - pow(rule->beta1, (double)count)));
    number unroot = (number)(1 / sqrt(1 - pow(rule->beta2, (double)count)));
    for (int64_t i = 0; i < n; i++) {
        number d = step_of(&step, g[i], w[i]);
        m[i] = beta1 * m[i] + rest1 * d; /* (5) */
        G[i] = beta2 * G[i] + rest2 * (d * d);
        w[i] -= eta * m[i] / (sqrt_n(G[i]) * unroot + epsilon); /* (6) */
    }
}

/* Update the numbers from `begin` to `end` of the flat vectors; `count` is n of (6), this update included. */
EXPORT void FN(update_segment)(
    const UpdateRule *rule, const FlatVectors *vectors, int64_t begin, int64_t end, int64_t decays, double s, double rate,
    int64_t count)
{
    number *w = vectors->w + begin, *m = vectors->first + begin, *G = vectors->second + begin;
    const number *g = vectors->g + begin;
    int64_t n = end - begin;
    double decay = decays ? rule->decay : 0;
    Step step = {(number)s, (number)rule->ceiling, (number)decay, (number)rate};
    if (rule->code == SGD)
        sgd(step, (number)rule->momentum, w, g, m, n);
    else if (rule->code == ADAGRAD)
        adagrad(
            step, rule->inside ? (number)rule->epsilon : 0, rule->inside ? 0 : (number)rule->epsilon, w, g, G, n);
    else if (rule->code == RMSPROP)
        rmsprop(step, rule, w, g, m, G, n);
    else {
        number keep = rule->code == ADAMW ? (number)(1 - rate * (double)step.decay) : 1;
        for (int64_t i = 0; i < n && keep != 1; i++)
            w[i] *= keep; /* (7) */
        if (rule->code == ADAMW)
            step.decay = 0;
        adam(step, rule, rate, count, w, g, m, G, n);
    }
}

/* Update every parameter; of the table only `rows` if the rule leaves the other rows unchanged. */
static void update_parameters(
    const UpdateRule *rule, const FlatVectors *vectors, const int64_t *rows, int64_t num_rows, double s, double rate,
    int64_t count)
{
    int64_t X = vectors->table_row;
    for (int64_t r = 0; r < num_rows && rule->at_rest; r++)
        FN(update_segment)(rule, vectors, rows[r] * X, (rows[r] + 1) * X, 1, s, rate, count);
    int64_t begin = rule->at_rest ? vectors->table_end : 0;
    FN(update_segment)(rule, vectors, begin, vectors->matrices_end, 1, s, rate, count);
    FN(update_segment)(rule, vectors, vectors->matrices_end, vectors->size, 0, s, rate, count);
}

/* average ← average + weight · (w − average), if averaging is on. */
static void update_average(const FlatVectors *vectors, double weight)
{
    number *restrict average = vectors->average;
    const number *restrict w = vectors->w;
    const number share = (number)weight;
    for (int64_t i = 0; i < vectors->size && vectors->averages; i++)
        average[i] += share * (w[i] - average[i]);
}

#endif
