/* Functions called with the arguments of a file, so that Python can compare another processor's results.
 *
 * The file has words of eight bytes:
 *
 *     arrays       their number, then for each its size in bytes and its bytes, padded to whole words
 *     addresses    their number, then for each: array, byte, target; the array's word at that byte becomes the address
 *                  of the target, an array, or of a plain matrix product if it is −1. So structs are arrays.
 *     calls        their number, then for each: the function's name in 32 bytes, a double, the number of arguments, and
 *                  the arguments: each 0 and an integer, or 1 and an array
 *
 * The output has the bytes of every array after the calls; words that were addresses are 0.
 */

enum { MOST_ARGUMENTS = 16 };

typedef struct {
    int64_t array, byte, target;
} Address;

typedef struct {
    char name[32];
    double factor;
    int64_t num_arguments;
    int64_t arguments[MOST_ARGUMENTS]; /* integers and addresses */
} Call;

/* out = a b, or out += a b, as `sgemm_` computes it for columns first: out (N, B), a (M × K is N × K), b (K, B). */
static void plain_gemm(
    const char *ta, const char *tb, const int64_t *m, const int64_t *n, const int64_t *k, const number *one,
    const number *a, const int64_t *lda, const number *b, const int64_t *ldb, const number *kept, number *c,
    const int64_t *ldc)
{
    (void)ta, (void)tb, (void)one;
    for (int64_t j = 0; j < *n; j++)
        for (int64_t i = 0; i < *m; i++) {
            number sum = *kept == 0 ? 0 : c[j * *ldc + i];
            for (int64_t q = 0; q < *k; q++)
                sum += a[q * *lda + i] * b[j * *ldb + q];
            c[j * *ldc + i] = sum;
        }
}

static void *at(const Call *call, int i) { return (void *)call->arguments[i]; }

static int is(const Call *call, const char *name) { return strcmp(call->name, name) == 0; }

static int call_scan(const Call *c)
{
    const int64_t *n = c->arguments;
    if (is(c, "scan_forward"))
        FN(scan_forward)(at(c, 0), at(c, 1), at(c, 2), at(c, 3), n[4], n[5], n[6]);
    else if (is(c, "scan_backward"))
        FN(scan_backward)(
            at(c, 0), at(c, 1), at(c, 2), at(c, 3), at(c, 4), at(c, 5), at(c, 6), n[7], n[8], n[9]);
    else if (is(c, "mingru_forward"))
        FN(mingru_forward)(at(c, 0));
    else if (is(c, "mingru_backward"))
        FN(mingru_backward)(at(c, 0));
    else
        return 0;
    return 1;
}

static int call_block(const Call *c)
{
    const int64_t *n = c->arguments;
    if (is(c, "norm_forward"))
        FN(norm_forward)(at(c, 0), at(c, 1), at(c, 2), at(c, 3), n[4], n[5]);
    else if (is(c, "norm_backward"))
        FN(norm_backward)(at(c, 0), at(c, 1), at(c, 2), at(c, 3), at(c, 4), at(c, 5), at(c, 6), n[7], n[8]);
    else if (is(c, "norm_conv_forward"))
        FN(norm_conv_forward)(at(c, 0));
    else if (is(c, "norm_conv_backward"))
        FN(norm_conv_backward)(at(c, 0));
    else if (is(c, "swiglu_forward"))
        FN(swiglu_forward)(at(c, 0), at(c, 1), at(c, 2), n[3]);
    else if (is(c, "swiglu_backward"))
        FN(swiglu_backward)(at(c, 0), at(c, 1), at(c, 2), at(c, 3), at(c, 4), n[5]);
    else
        return 0;
    return 1;
}

static int call_automaton(const Call *c)
{
    const int64_t *n = c->arguments;
    if (is(c, "automaton_build"))
        FN(automaton_build)(at(c, 0), n[1], n[2], at(c, 3), at(c, 4), at(c, 5), at(c, 6));
    else if (is(c, "automaton_read"))
        FN(automaton_read)(
            at(c, 0), n[1], n[2], at(c, 3), at(c, 4), at(c, 5), at(c, 6), at(c, 7), at(c, 8), at(c, 9));
    else if (is(c, "automaton_spread"))
        FN(automaton_spread)(at(c, 0), n[1], at(c, 2), at(c, 3), at(c, 4), at(c, 5), at(c, 6));
    else
        return 0;
    return 1;
}

static int call_other(const Call *c)
{
    const int64_t *n = c->arguments;
    if (is(c, "drop"))
        FN(drop)(at(c, 0), at(c, 1), n[2], n[3], n[4], c->factor, at(c, 5), n[6], n[7], n[8]);
    else if (is(c, "random_words"))
        FN(random_words)(
            at(c, 0), (uint32_t)n[1], (uint32_t)n[2], at(c, 3), n[4], (uint32_t)n[5], (uint32_t)n[6], n[7]);
    else if (is(c, "rnn_forward"))
        FN(rnn_forward)(at(c, 0));
    else if (is(c, "rnn_backward"))
        FN(rnn_backward)(at(c, 0));
    else if (is(c, "activate"))
        FN(activate)(n[0], at(c, 1), at(c, 2), n[3]);
    else
        return 0;
    return 1;
}

typedef struct {
    const int64_t *words;
    int64_t at;
} Reader;

static int64_t word(Reader *from) { return from->words[from->at++]; }

static const void *bytes(Reader *from, int64_t size)
{
    const void *found = from->words + from->at;
    from->at += (size + 7) / 8;
    return found;
}

static void read_call(Reader *from, void **all, Call *call)
{
    memcpy(call->name, bytes(from, 32), 32);
    memcpy(&call->factor, bytes(from, 8), 8);
    call->num_arguments = word(from);
    for (int64_t i = 0; i < call->num_arguments; i++) {
        int64_t is_array = word(from), value = word(from);
        call->arguments[i] = is_array ? (int64_t)all[value] : value;
    }
}

static void run_calls(const char *path, const char *out_path)
{
    int64_t size;
    Reader from = {contents(path, &size), 0};
    int64_t num = word(&from), sizes[num];
    void *all[num];
    for (int64_t i = 0; i < num; i++) {
        sizes[i] = word(&from);
        all[i] = guarded(sizes[i], 8);
        memcpy(all[i], bytes(&from, sizes[i]), (size_t)sizes[i]);
    }
    int64_t num_addresses = word(&from);
    const Address *addresses = bytes(&from, num_addresses * (int64_t)sizeof(Address));
    for (int64_t i = 0; i < num_addresses; i++) {
        const Address *a = addresses + i;
        void *target = a->target < 0 ? (void *)(uintptr_t)plain_gemm : all[a->target];
        memcpy((char *)all[a->array] + a->byte, &target, sizeof target);
    }
    for (int64_t left = word(&from); left > 0; left--) {
        Call call;
        read_call(&from, all, &call);
        if (!call_scan(&call) && !call_block(&call) && !call_automaton(&call) && !call_other(&call))
            fail("there is no such function");
    }
    for (int64_t i = 0; i < num_addresses; i++)
        memset((char *)all[addresses[i].array] + addresses[i].byte, 0, 8);
    FILE *out = fopen(out_path, "wb");
    for (int64_t i = 0; out && i < num; i++)
        fwrite(all[i], 1, (size_t)sizes[i], out);
    if (!out || fclose(out) != 0)
        fail("the output could not be written");
}
