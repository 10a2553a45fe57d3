/* The WebAssembly module: streams of text over model images, for a page without a server. It imports nothing.
 *
 * A page asks `charloom_alloc` for room, copies an image there, and opens streams on it; memory is given back all at
 * once by `charloom_reset`. Every argument is a 32-bit integer, an address or a double, so that JavaScript passes plain
 * numbers; the arrays whose addresses it receives are as in stream.c.
 */
#define SUFFIX f32p
#define LEVEL base
#include "library.c"
#include "image.c"
#include "stream.c"

#define PAGE_CALLS(name) __attribute__((export_name(#name))) name

extern unsigned char __heap_base;

static const char *wrong;
static uintptr_t top;

static void *allocate(int64_t size)
{
    const uint64_t page = 65536;
    uint64_t begin = top ? top : ((uintptr_t)&__heap_base + 63) / 64 * 64;
    uint64_t have = __builtin_wasm_memory_size(0) * page;
    if (size < 0 || size > INT32_MAX)
        return 0;
    uint64_t end = (begin + (uint64_t)size + 63) / 64 * 64;
    if (end > have && __builtin_wasm_memory_grow(0, (end - have + page - 1) / page) == (size_t)-1)
        return 0;
    top = (uintptr_t)end;
    return memset((void *)(uintptr_t)begin, 0, (size_t)size);
}

/* Room for `size` bytes, aligned to 64, or 0. */
void *PAGE_CALLS(charloom_alloc)(int32_t size) { return allocate(size); }

/* Give all memory back: every stream and every image is gone. */
void PAGE_CALLS(charloom_reset)(void) { top = 0; }

/* The hash of the header that the module was built from, and why the last `charloom_open` failed: text ending in 0. */
const char *PAGE_CALLS(charloom_header)(void) { return HEADER_HASH; }
const char *PAGE_CALLS(charloom_error)(void) { return wrong; }

/* Open a stream on an image; 0 if that fails. */
Stream *PAGE_CALLS(charloom_open)(const void *image, int32_t size, int32_t capacity, int32_t num_recent)
{
    Stream *s = allocate(sizeof *s);
    wrong = s ? open_stream(image, size, capacity, num_recent, s) : "there is not enough memory";
    return wrong ? 0 : s;
}

void PAGE_CALLS(charloom_begin)(Stream *s, int32_t sample) { begin_stream(s, sample); }

void PAGE_CALLS(charloom_rule)(
    Stream *s, uint32_t key0, uint32_t key1, double temperature, int32_t top_k, double top_p, double min_p,
    double penalty, int32_t end)
{
    set_rule(s, key0, key1, temperature, top_k, top_p, min_p, penalty, end);
}

int32_t PAGE_CALLS(charloom_read)(Stream *s, int32_t n) { return (int32_t)read_text(s, n); }
int32_t PAGE_CALLS(charloom_score)(Stream *s, int32_t n) { return (int32_t)score_text(s, n); }
int32_t PAGE_CALLS(charloom_write)(Stream *s, int32_t n) { return (int32_t)write_text(s, n); }

/* The id that would be generated next, without reading it; −1 if a logit is not finite. */
int32_t PAGE_CALLS(charloom_choose)(Stream *s)
{
    return (int32_t)FN(choose)(&s->rule, &s->row, 0, s->net.vocab_size);
}

/* The log-probability of a character as the next, in nats. */
double PAGE_CALLS(charloom_log_probability)(Stream *s, int32_t id)
{
    if (id < 0 || id >= s->net.vocab_size)
        return -INFINITY;
    return FN(log_probability)(s->row.logits, id, s->row.weights, s->net.vocab_size);
}

int32_t PAGE_CALLS(charloom_vocab_size)(const Stream *s) { return (int32_t)s->net.vocab_size; }
int32_t PAGE_CALLS(charloom_state_size)(const Stream *s) { return (int32_t)s->net.state_size; }
int64_t *PAGE_CALLS(charloom_ids)(const Stream *s) { return s->ids; }
double *PAGE_CALLS(charloom_log_probs)(const Stream *s) { return s->log_probs; }
number *PAGE_CALLS(charloom_nats)(const Stream *s) { return s->nats; }
number *PAGE_CALLS(charloom_logits)(const Stream *s) { return s->row.logits; }
number *PAGE_CALLS(charloom_state)(const Stream *s) { return s->row.state; }
uint8_t *PAGE_CALLS(charloom_banned)(const Stream *s) { return s->banned; }
