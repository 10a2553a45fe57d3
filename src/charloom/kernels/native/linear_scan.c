/* The linear recurrence of minGRU, h_t = keep_t ⊙ h_{t−1} + update_t, and its derivative; arrays (B, T, H).
 *
 * Every operation is rounded as written, so that the results are those of NumPy, bit for bit.
 */

EXPORT void FN(scan_forward)(
    const number *keep, const number *update, const number *h0, number *h, int64_t B, int64_t T, int64_t H)
{
#pragma clang fp contract(off)
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = 0; t < T; t++) {
            int64_t at = (b * T + t) * H;
            const number *before = t > 0 ? h + at - H : h0 + b * H;
            for (int64_t j = 0; j < H; j++)
                h[at + j] = keep[at + j] * before[j] + update[at + j];
        }
}

/* d_update_t = d_h_t + keep_{t+1} ⊙ d_update_{t+1},  d_keep_t = d_update_t ⊙ h_{t−1} */
EXPORT void FN(scan_backward)(
    const number *keep, const number *h0, const number *h, const number *d_h, number *d_keep, number *d_update,
    number *d_h0, int64_t B, int64_t T, int64_t H)
{
#pragma clang fp contract(off)
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = T - 1; t >= 0; t--) {
            int64_t at = (b * T + t) * H;
            const number *before = t > 0 ? h + at - H : h0 + b * H;
            for (int64_t j = 0; j < H; j++) {
                number carried = t < T - 1 ? keep[at + H + j] * d_update[at + H + j] : 0;
                d_update[at + j] = d_h[at + j] + carried;
                d_keep[at + j] = d_update[at + j] * before[j];
                if (t == 0)
                    d_h0[b * H + j] = d_update[at + j] * keep[at + j];
            }
        }
}
