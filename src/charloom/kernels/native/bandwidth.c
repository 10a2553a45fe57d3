/* The speed of reading memory, which limits a loop that reads every weight; for the benchmarks. */

/* Sum x (n), n a multiple of 64, `times` times in four streams; x[0] changes, so that every pass reads all of it again. */
EXPORT double FN(sum_repeatedly)(number *x, int64_t n, int64_t times)
{
    double total = 0;
    for (int64_t i = 0; i < times; i++) {
        numbers_v streams[4] = {0}, sum;
        for (int64_t k = 0; k < n / 4; k += LANES)
            for (int q = 0; q < 4; q++)
                streams[q] += *(const numbers_v *)(x + q * (n / 4) + k);
        sum = streams[0] + streams[1] + (streams[2] + streams[3]);
        x[0] = sum[0];
        total += (double)sum[1];
    }
    return total;
}
