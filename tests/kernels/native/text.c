/* Text of a model image, as the WebAssembly module writes it.
 *
 * A case is a line: key0 key1 temperature top_k top_p min_p penalty end sample R n, then the ids of the prompt. Its
 * result is four lines: ids, log-probabilities, the last logits, the losses of all characters but the first; numbers
 * are printed as their bits.
 */

enum { CAPACITY = 32, LONGEST_LINE = 65536 };

static void *allocate(int64_t size) { return guarded(size, 8); }

static void print_bits(const void *numbers, int64_t n, int size)
{
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits = 0;
        memcpy(&bits, (const char *)numbers + i * size, (size_t)size);
        printf("%s%0*llx", i ? " " : "", 2 * size, (unsigned long long)bits);
    }
}

/* Read n ids in pieces; with `scores`, print the loss of each. */
static void read_all(Stream *s, const int64_t *ids, int64_t n, int scores)
{
    for (int64_t done = 0, piece; done < n; done += piece) {
        piece = n - done < CAPACITY ? n - done : CAPACITY;
        memcpy(s->ids, ids + done, (size_t)piece * 8);
        if ((scores ? score_text(s, piece) : read_text(s, piece)) < 0)
            fail("an id is not in the vocabulary");
        if (scores) {
            printf("%s", done ? " " : "");
            print_bits(s->nats, piece, sizeof(number));
        }
    }
}

/* Run one case; `ids` has its prompt of m characters and room for n more. */
static void run_case(Stream *s, int64_t *ids, int64_t m, int64_t n)
{
    int64_t end = s->rule.end, written = 0;
    double log_probs[n];
    read_all(s, ids, m, 0);
    while (written < n) {
        int64_t found = write_text(s, n - written < CAPACITY ? n - written : CAPACITY);
        if (found < 0)
            fail("a logit is not finite");
        memcpy(ids + m + written, s->ids, (size_t)found * 8);
        memcpy(log_probs + written, s->log_probs, (size_t)found * 8);
        written += found;
        if (ids[m + written - 1] == end)
            break;
    }
    for (int64_t i = 0; i < written; i++)
        printf("%s%lld", i ? " " : "", (long long)ids[m + i]);
    printf("\n");
    print_bits(log_probs, written, 8);
    printf("\n");
    print_bits(s->row.logits, s->net.vocab_size, sizeof(number));
    printf("\n");
    begin_stream(s, 0);
    read_all(s, ids, 1, 0);
    read_all(s, ids + 1, m + written - 1, 1);
    printf("\n");
}

static double next(char **text) { return strtod(*text, text); }

static void write_cases(const char *image_path, const char *cases_path)
{
    int64_t size;
    void *image = contents(image_path, &size);
    FILE *cases = fopen(cases_path, "r");
    static char line[LONGEST_LINE];
    int kept = num_arrays;
    if (!cases)
        fail("the cases could not be read");
    for (; fgets(line, LONGEST_LINE, cases); release(kept)) {
        Stream s;
        char *text = line;
        uint32_t key0 = (uint32_t)next(&text), key1 = (uint32_t)next(&text);
        double temperature = next(&text);
        int64_t top_k = (int64_t)next(&text);
        double top_p = next(&text), min_p = next(&text), penalty = next(&text);
        int64_t end = (int64_t)next(&text), sample = (int64_t)next(&text), num_recent = (int64_t)next(&text);
        int64_t n = (int64_t)next(&text), m = 0, *ids = guarded(LONGEST_LINE / 2 * 8 + n * 8, 8);
        for (char *after = text; ids && strtoll(text, &after, 10) >= 0 && after != text; text = after)
            ids[m++] = strtoll(text, 0, 10);
        const char *wrong = open_stream(image, size, CAPACITY, num_recent, &s);
        if (wrong) {
            printf("%s\n", wrong);
            exit(3);
        }
        set_rule(&s, key0, key1, temperature, top_k, top_p, min_p, penalty, end);
        begin_stream(&s, sample);
        run_case(&s, ids, m, n);
    }
    fclose(cases);
}

static uint64_t state;

/* xorshift64 (Marsaglia 2003) */
static uint64_t random_word(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

/* A word that a careless or hostile writer might have put in place of another. */
static uint64_t other_word(uint64_t word)
{
    switch (random_word() % 6) {
    case 0: return random_word();
    case 1: return random_word() % 4096;
    case 2: return word + random_word() % 64 - 32;
    case 3: return (uint64_t)-1 - random_word() % 3;
    case 4: return word * 2;
    default: return (uint64_t)1 << random_word() % 64;
    }
}

static void damage(const char *path, uint64_t seed, int64_t n)
{
    int64_t size, opened = 0;
    const char *whole = contents(path, &size);
    const ImageHeader *header = (const ImageHeader *)whole;
    int64_t records = header->numbers / 8; /* words of the header, the layers and the ends */
    int kept = num_arrays;
    state = seed * 2654435761u + 1;
    for (int64_t i = 0; i < n; i++, release(kept)) {
        Stream s;
        uint64_t *image = guarded(size, 64);
        if (!image)
            fail("there is not enough memory");
        memcpy(image, whole, (size_t)size);
        for (uint64_t changes = 1 + random_word() % 3; changes > 0; changes--) {
            uint64_t at = random_word() % (uint64_t)records;
            image[at] = other_word(image[at]);
        }
        int64_t given = random_word() % 8 ? size : (int64_t)(random_word() % (uint64_t)size);
        if (open_stream(image, given, 4, 2, &s))
            continue;
        opened++;
        s.ids[0] = 0;
        if (read_text(&s, 1) == 1)
            write_text(&s, 3);
    }
    printf("%lld of %lld opened\n", (long long)opened, (long long)n);
}
