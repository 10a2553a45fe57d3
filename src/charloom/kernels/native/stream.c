/* One stream of text, for hosts without Python: a network's memory, what it has read, and how it goes on.
 *
 * The host fills `ids` and calls `read_text`; `write_text` generates into `ids`. The draws are those of `decode`: a seed,
 * a sample number and a position determine each, so the text is the same as Python's.
 */

/* Memory of zeros, aligned to 64 bytes, or 0 if there is no more; the host provides it. */
static void *allocate(int64_t size);

typedef struct {
    Network net;
    Workspace work;
    ThreadContext context;
    SamplingRule rule;
    Samples row;       /* B = 1 */
    int64_t capacity;  /* most characters of one call, C */
    uint8_t *banned;   /* (V), for the host to set */
    uint8_t *resets;   /* (C), zeros */
    int64_t *ids;      /* (C), characters read or generated */
    double *log_probs; /* (C), of the characters generated, in nats */
    number *nats;      /* (C), loss of the characters read */
    number *found;     /* (C, V), logits before each character read */
} Stream;

/* Forget what was read; go on as the sample with this number. */
static void begin_stream(Stream *s, int64_t sample)
{
    memset(s->row.state, 0, (size_t)s->net.state_size * sizeof(number));
    memset(s->row.logits, 0, (size_t)s->net.vocab_size * sizeof(number));
    for (int64_t i = 0; i < s->row.num_recent; i++)
        s->row.recent[i] = -1;
    *s->row.positions = 0;
    *s->row.samples = sample;
}

/* Set how characters are chosen; top_k = V, top_p = 1, min_p = 0, penalty = 1, end = −1 are without effect. */
static void set_rule(
    Stream *s, uint32_t key0, uint32_t key1, double temperature, int64_t top_k, double top_p, double min_p,
    double penalty, int64_t end)
{
    int64_t V = s->net.vocab_size;
    top_k = top_k < 1 ? 1 : top_k > V ? V : top_k;
    s->rule = (SamplingRule){key0,  key1, temperature > 0 ? temperature : 0, top_p, min_p, log_f64(penalty), top_k,
                             end,   s->banned, 0};
}

static int allocate_pass(Stream *s)
{
    int64_t C = s->capacity, of_number = sizeof(number), outputs = s->net.max_output_size;
    s->work.stream = allocate(C * s->net.width * of_number);
    s->work.x = allocate(C * s->net.max_input_size * of_number);
    s->work.scratch = allocate(s->net.width * of_number);
    s->work.small = allocate(C * s->net.max_int8_size);
    s->work.scales = allocate(C * of_number);
    s->context.parts = 1;
    s->context.arrived = allocate(8);
    s->context.shared = allocate(2 * C * outputs * of_number);
    s->context.of_state = allocate(2 * outputs * of_number);
    return s->work.stream && s->work.x && s->work.scratch && s->work.small && s->work.scales && s->context.arrived &&
           s->context.shared && s->context.of_state;
}

static int allocate_row(Stream *s)
{
    int64_t V = s->net.vocab_size;
    s->row.num_rows = 1;
    s->row.logits = allocate(V * (int64_t)sizeof(number));
    s->row.state = allocate(s->net.state_size * (int64_t)sizeof(number));
    s->row.recent = allocate(8 * s->row.num_recent);
    s->row.positions = allocate(8);
    s->row.samples = allocate(8);
    s->row.scores = allocate(4 * V);
    s->row.weights = allocate(4 * V);
    s->row.heap = allocate(8 * V);
    return s->row.logits && s->row.state && s->row.recent && s->row.positions && s->row.samples && s->row.scores &&
           s->row.weights && s->row.heap;
}

/* Make a stream of the network in an image: up to `capacity` characters a call, and a repetition penalty over the last
 * `num_recent` characters. Return what is wrong, or 0.
 */
static const char *open_stream(const void *image, int64_t size, int64_t capacity, int64_t num_recent, Stream *s)
{
    memset(s, 0, sizeof *s);
    const char *wrong = open_image(image, size, &s->net);
    if (wrong)
        return wrong;
    if (capacity < 1 || capacity > LARGEST_EXTENT || num_recent < 0 || num_recent > LARGEST_EXTENT)
        return "the stream's capacity or its number of recent characters is out of range";
    int64_t V = s->net.vocab_size;
    s->capacity = capacity;
    s->row.num_recent = num_recent;
    s->banned = allocate(V);
    s->resets = allocate(capacity);
    s->ids = allocate(8 * capacity);
    s->log_probs = allocate(8 * capacity);
    s->nats = allocate(capacity * (int64_t)sizeof(number));
    s->found = allocate(capacity * V * (int64_t)sizeof(number));
    if (!s->banned || !s->resets || !s->ids || !s->log_probs || !s->nats || !s->found || !allocate_pass(s) ||
        !allocate_row(s))
        return "there is not enough memory";
    set_rule(s, 0, 0, 1, V, 1, 0, 1, -1);
    begin_stream(s, 0);
    return 0;
}

/* Whether the first n of `ids` can be read. */
static int readable(const Stream *s, int64_t n)
{
    if (n < 1 || n > s->capacity)
        return 0;
    for (int64_t i = 0; i < n; i++)
        if (s->ids[i] < 0 || s->ids[i] >= s->net.vocab_size)
            return 0;
    return 1;
}

/* Remember a character that was read: the oldest of `recent` is at the position modulo R. */
static void remember(Stream *s, int64_t id)
{
    int64_t R = s->row.num_recent, p = *s->row.positions, *recent = s->row.recent;
    for (int64_t i = 0; i < R - 1; i++)
        recent[(p + i) % R] = recent[(p + i + 1) % R];
    if (R > 0)
        recent[(p + R - 1) % R] = id;
}

/* Read the first n of `ids`; return n, or −1 if one is no character of the vocabulary. */
static int64_t read_text(Stream *s, int64_t n)
{
    if (!readable(s, n))
        return -1;
    FN(read_window)(&s->net, &s->work, &s->context, n, 1, s->ids, s->resets, s->row.state, n - 1, s->row.logits);
    for (int64_t i = 0; i < n; i++)
        remember(s, s->ids[i]);
    return n;
}

/* The same, and write the loss of each in nats to `nats`. */
static int64_t score_text(Stream *s, int64_t n)
{
    int64_t V = s->net.vocab_size;
    size_t row = (size_t)V * sizeof(number);
    if (!readable(s, n))
        return -1;
    memcpy(s->found, s->row.logits, row);
    if (n > 1)
        FN(read_window)(&s->net, &s->work, &s->context, n - 1, 1, s->ids, s->resets, s->row.state, 0, s->found + V);
    FN(read_window)(&s->net, &s->work, &s->context, 1, 1, s->ids + n - 1, s->resets, s->row.state, 0, s->row.logits);
    FN(nats_of_targets)(s->found, s->ids, s->nats, n, V);
    for (int64_t i = 0; i < n; i++)
        remember(s, s->ids[i]);
    return n;
}

/* Generate up to n characters into `ids`, with `log_probs`; return how many, or −1 if a logit was not finite. */
static int64_t write_text(Stream *s, int64_t n)
{
    if (n < 1 || n > s->capacity)
        return -1;
    return FN(decode)(&s->net, &s->work, &s->context, &s->rule, &s->row, n, s->ids, s->log_probs);
}
