/* The list of everything that Python may call, and of the structs that it hands over.
 *
 * Python reads this file: it makes a ctypes class of each struct and declares each function. So it has one
 * declaration a line, no preprocessor conditions inside the list, and integers of a stated width. The library
 * contains a hash of this file, and Python refuses a library that was built from another one.
 *
 * `number` is float or double: each function exists as NAME_f32 and NAME_f64. Shapes are in comments; arrays are
 * C-contiguous unless a stride is given. Symbols: T time, B rows, V vocabulary, H cell size, D stream width,
 * M gated MLP, K taps, L layers, S state size.
 */
#ifndef CHARLOOM_H
#define CHARLOOM_H

#include <stdint.h>

/* A matrix in panels of 16 rows; `at` counts numbers, or bytes if its rows have scales (int8). */
typedef struct {
    int64_t at;
    int64_t panels;
    int64_t columns; /* with padding */
    int64_t used;    /* without */
    int64_t sums;    /* of each row, −1 unless int8 */
    int64_t scales;  /* of each row, −1 unless int8 */
} Matrix;

/* The matrices of a layer, and where its vectors begin in `numbers`; −1 if it has none. */
typedef struct {
    Matrix w_ih;
    Matrix w_hh;
    Matrix proj;
    Matrix gate_up;
    Matrix down;
    int64_t bias;
    int64_t bias_hn;
    int64_t norm;
    int64_t conv_weight;
    int64_t conv_bias;
    int64_t mlp_norm;
} Layer;

/* The parameters outside the layers. */
typedef struct {
    Matrix out;
    int64_t out_bias;
    int64_t norm;
    int64_t table;
} Ends;

/* A packed network: see packing.py, which fills it. */
typedef struct {
    int64_t cell;
    int64_t activation;
    int64_t residual;
    int64_t folded;
    int64_t vocab_size;
    int64_t width;
    int64_t cell_size;
    int64_t gates;
    int64_t mlp_size;
    int64_t conv_width;
    int64_t table_width;
    int64_t layer_state;
    int64_t state_size;
    int64_t max_input_size;
    int64_t max_output_size;
    int64_t max_int8_size;
    int64_t num_layers;
    const Layer *layers;    /* (L) */
    const Ends *ends;       /* (1) */
    const number *numbers;
    const int8_t *small;
    const int32_t *sums;
} Network;

/* One thread's memory for passes of a limited number of rows (T · B). */
typedef struct {
    number *stream;  /* (rows, D) */
    number *x;       /* input of the next product, (rows, max_input_size) */
    number *scratch; /* for the work between products */
    int8_t *small;   /* x as int8, (rows, max_int8_size) */
    number *scales;  /* of the rows of `small`, (rows) */
} Workspace;

/* A thread's share of a pass, and the memory that all threads of the pass share. */
typedef struct {
    int64_t part;     /* number of this thread, from 0 */
    int64_t parts;    /* number of threads */
    int64_t waited;   /* how often this thread has met the others */
    int64_t place;    /* the half of `shared` in use */
    int64_t place_of_state;
    int64_t *arrived; /* the barrier's count */
    number *shared;   /* results of products, two places of (rows, max_output_size) */
    number *of_state; /* results of W_hh h if kept separate (GRU), two places of (B, max_output_size) */
} ThreadContext;

/* How a character is chosen: SamplingParams without None. */
typedef struct {
    uint32_t key0; /* lower half of the seed */
    uint32_t key1; /* upper half */
    double temperature;
    double top_p;
    double min_p;
    double log_penalty;
    int64_t top_k;
    int64_t end;           /* the id that ends a sample, or −1 */
    const uint8_t *banned; /* (V) */
} SamplingRule;

/* The samples of a thread. */
typedef struct {
    int64_t num_rows;     /* B */
    int64_t num_recent;   /* R, 0 without a repetition penalty */
    number *logits;       /* (B, V) */
    number *state;        /* (B, S) */
    int64_t *recent;      /* (B, R) */
    int64_t *positions;   /* (B) */
    int64_t *samples;     /* (B) */
    float *scores;        /* scratch space, (V) */
    float *weights;       /* scratch space, (V) */
    int64_t *heap;        /* scratch space, (V) */
} Samples;

/* Read ids (T, B); update state (B, S); write the logits from step `first` on, (T − first, B, V). */
void read_window(const Network *net, const Workspace *work, ThreadContext *context, int64_t T, int64_t B, const int64_t *ids, const uint8_t *resets, number *state, int64_t first, number *logits);

/* Generate up to n characters in each row; return how many each gained, or −1 if a logit was not finite. */
int64_t decode(const Network *net, const Workspace *work, ThreadContext *context, const SamplingRule *rule, const Samples *rows, int64_t n, int64_t *ids, double *log_probs);

/* Write the loss of each target in nats, (n); the logits (n, V) are overwritten. */
void nats_of_targets(number *logits, const int64_t *targets, number *nats, int64_t n, int64_t V);

/* The parts of the above, for tests. */

/* Add W x_r to row r of `out` (rows, max_output_size), for this thread's panels; rows of x are `x_stride` apart. */
void add_product(const Network *net, const Workspace *work, const ThreadContext *context, const Matrix *m, const number *x, int64_t x_stride, int64_t rows, number *out);

/* Choose an id for row b, or −1 if the largest logit is not finite. */
int64_t choose(const SamplingRule *rule, const Samples *rows, int64_t b, int64_t V);

/* The uniform number in [0, 1) for a position of a sample. */
double uniform(const SamplingRule *rule, int64_t sample, int64_t position);

/* The log-probability of a character in nats; weights (V) is scratch space. */
double log_probability(const number *logits, int64_t id, float *weights, int64_t V);

/* Write φ of each element of a (n) to h; 0 tanh, 1 sigmoid, 2 relu, 3 exp. */
void activate(int64_t activation, const number *a, number *h, int64_t n);

#endif
