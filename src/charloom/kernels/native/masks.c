/* Dropout: random numbers for masks, and masked activations. */

/* Write x (T, B, W) times `scale` to y, with zeros for elements whose half is below `threshold`.
 *
 * `halves` has rows `stride` apart, one for each batch row: T · W numbers, or T to keep or drop whole time steps.
 */
EXPORT void FN(drop)(
    const number *restrict x, const uint16_t *restrict halves, int64_t stride, int64_t each, int64_t threshold,
    double scale, number *restrict y, int64_t T, int64_t B, int64_t W)
{
    const uint16_t least = (uint16_t)threshold;
    const number factor = (number)scale;
    for (int64_t t = 0; t < T; t++)
        for (int64_t b = 0; b < B; b++) {
            const number *restrict x_t = x + (t * B + b) * W;
            number *restrict y_t = y + (t * B + b) * W;
            const uint16_t *restrict drawn = halves + b * stride + t * each;
            if (each == W)
                for (int64_t j = 0; j < W; j++)
                    y_t[j] = drawn[j] >= least ? x_t[j] * factor : 0;
            else
                for (int64_t j = 0; j < W; j++)
                    y_t[j] = drawn[0] >= least ? x_t[j] * factor : 0;
        }
}

/* Write n words, a multiple of 4, for each lane to out (L, n): the Philox words of an address, as in `rng.philox`. */
EXPORT void FN(random_words)(
    uint32_t *out, uint32_t key0, uint32_t key1, const uint32_t *lanes, int64_t L, uint32_t step, uint32_t purpose,
    int64_t n)
{
    for (int64_t i = 0; i < L; i++)
        for (int64_t block = 0; block < n / 4; block++) {
            uint32_t *words = out + i * n + 4 * block;
            words[0] = (uint32_t)block, words[1] = lanes[i], words[2] = step, words[3] = purpose;
            philox(words, key0, key1);
        }
}
