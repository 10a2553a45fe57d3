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
    const float *bias;     /* added to the logits, (V), or 0 for none */
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

/* One network of an ensemble, with what a thread needs to read with it. */
typedef struct {
    const Network *net;
    const Workspace *work;
    ThreadContext *context;
    number *state; /* (B, S) */
} Member;

/* A window of training: its arrays forward and backward; d_u is d_a except for a GRU. */
typedef struct {
    int64_t cell;
    int64_t activation;
    int64_t T;
    int64_t B;
    int64_t H;
    int64_t gates;           /* G · H */
    int64_t w_stride;        /* between the rows of w */
    int64_t tiles;           /* 1, 2, 3: factors rounded to bfloat16 (float32 only), multiplied in C, in AMX, in dot products of pairs; else 0 */
    const void *gemm;        /* the BLAS's function for this type of numbers, or 0 for our own */
    const number *x;         /* W_ih x, (R, G·H) */
    const number *bias;      /* (G·H) */
    const number *bias_hn;   /* (H), GRU */
    const int64_t *rows;     /* the row of x that a time step reads, (T, B) */
    const number *w;         /* W_hhᵀ (H, G·H) forward, W_hh (G·H, H) backward */
    const uint16_t *panels;  /* the same if products are rounded: see tiles.h */
    uint16_t *left;          /* scratch space for the rounded left factor, in whole tiles */
    const uint8_t *resets;   /* (T, B), or 0 for none */
    const number *reset_h;   /* the state after a reset, (B, H) */
    const number *reset_c;
    number *h;               /* the state before every time step and after the last, (T + 1, B, H) */
    number *c;
    number *read_h;          /* the state that each time step reads, (T, B, H); unused without resets */
    number *read_c;
    number *kept;            /* gates, (T, B, G·H); may share the memory of x if each row is read once */
    number *m;               /* W_hn h + b_hn, (T, B, H), GRU */
    number *room;            /* scratch space, (B, G·H) */
    const number *d_h;       /* the gradient from the layer above, (T, B, H) */
    number *carried;         /* the gradient in h after the window, replaced by that before it, (B, H) */
    number *d_c;             /* the same of c */
    number *d_a;             /* the gradient in the gates' inputs, (T, B, G·H) */
    number *d_u;             /* the gradient in W_hh h, (T, B, G·H) */
    number *d_bias;          /* added to, (G·H) */
    number *d_x;             /* added to, (R, G·H), or 0 if d_a holds the same */
} Window;

/* RMSNorm and the causal convolution of its output, over a window. */
typedef struct {
    int64_t T;
    int64_t B;
    int64_t D;
    int64_t K;
    const number *x;       /* (T, B, D) */
    const number *gain;    /* (D) */
    const number *taps;    /* (K, D), oldest first */
    const number *bias;    /* (D) */
    const uint8_t *resets; /* (T, B), or 0 for none */
    int64_t *age;          /* forward: earlier inputs in reach of the taps, K − 1 or more on entry (B); backward: scratch space */
    number *v;             /* norm(x), (K − 1 + T, B, D); begins with the past */
    number *scales;        /* (T, B) */
    number *u;             /* (T, B, D) */
    const number *d_u;     /* (T, B, D) */
    number *d_v;           /* the gradient in v from after the window; its first K − 1 steps become that in the past */
    number *d_x;           /* (T, B, D) */
    number *d_gain;        /* added to, (D) */
    number *d_taps;        /* added to, (K, D) */
    number *d_bias;        /* added to, (D) */
} Convolution;

/* minGRU over a window; a is W_ih x. */
typedef struct {
    int64_t T;
    int64_t B;
    int64_t H;
    const number *a;           /* (T, B, 2H) */
    const number *bias;        /* (2H) */
    const number *h0;          /* (B, H) */
    const uint8_t *resets;     /* (T, B), or 0 for none */
    const number *reset_state; /* (B, H) */
    number *z;                 /* (T, B, H) */
    number *n;                 /* (T, B, H) */
    number *h;                 /* (T, B, H) */
    const number *d_h;         /* (T, B, H) */
    number *carried;           /* the gradient in h after the window, becomes that in h0, (B, H) */
    number *d_a;               /* (T, B, 2H) */
    number *d_bias;            /* added to, (2H) */
    number *room;              /* scratch space, (2H) */
} Scan;

/* The online trainer's Elman network, or the gradient of its parameters: see layout.py. Rows are padded with zeros to
 * whole vectors of 16 numbers; X', H' and V' are lengths with padding. */
typedef struct {
    int64_t V;
    int64_t H;
    int64_t X;        /* width of the table: of an embedding, or H */
    int64_t one_hot;  /* whether the table holds W_ih, one row per character */
    number *table;    /* (V, X') */
    number *w_ih;     /* (H, X'), unused if the input is one-hot */
    number *w_hh;     /* (H, H') */
    number *w_out;    /* (V, H') */
    number *bias;     /* (H') */
    number *out_bias; /* (V') */
} OnlineWeights;

/* The flat vectors that hold these parameters, their gradient, moments and average. */
typedef struct {
    int64_t size;         /* P */
    int64_t table_end;    /* where the table ends */
    int64_t matrices_end; /* where the matrices end, which decay */
    int64_t table_row;    /* X' */
    int64_t averages;     /* whether an average is kept */
    number *w;            /* (P) */
    number *g;            /* (P); the table's part is zero between updates */
    number *first;        /* (P) */
    number *second;       /* (P) */
    number *average;      /* (P), unused without averaging */
} FlatVectors;

/* Values of a window of up to T time steps. */
typedef struct {
    number *x;      /* embeddings read, (T, X'); unused if the input is one-hot */
    number *before; /* the state that each time step reads, (T, H') */
    number *a;      /* pre-activations, (T, H'); backward overwrites them with d_a */
    number *h;      /* hidden states, (T, H') */
    number *y;      /* logits, (T, V'); the loss overwrites them with d_y */
    number *d_h;    /* (T, H') */
    number *d_x;    /* (T, X') */
    int64_t *rows;  /* distinct characters of the window, (V) */
    int64_t *seen;  /* the last step that read each character, (V) */
} OnlineTape;

/* The function that is differentiated, and the clipping of its gradient. */
typedef struct {
    int64_t activation;
    int64_t last;     /* whether to predict only the last character of a window */
    int64_t sums;     /* whether to differentiate the sum of the losses, not the mean */
    double clip_norm; /* ceiling on the gradient norm; infinite = no clipping */
} Objective;

/* The constants of an optimiser, in float64 so that 1 − β is computed before rounding: see online_rules.h. */
typedef struct {
    int64_t code;
    int64_t inside;  /* whether adagrad's ε is under the root */
    int64_t at_rest; /* whether a zero gradient changes nothing, so that untouched rows can be skipped */
    double momentum; /* μ */
    double beta1;    /* β₁ of adam */
    double beta2;    /* β₂ of adam, β of rmsprop */
    double epsilon;  /* ε */
    double decay;    /* λ */
    double ceiling;  /* c; infinite = elements are not clipped */
} UpdateRule;

/* Two pending updates: W_hh += p_a u_aᵀ and W_out += p_y u_yᵀ. */
typedef struct {
    number *p_a; /* (H') */
    number *u_a; /* (H') */
    number *p_y; /* (V') */
    number *u_y; /* (H') */
} PendingUpdates;

/* The inputs and the measurements of S steps. */
typedef struct {
    int64_t S;
    const int64_t *text;           /* the characters of each window and the one after it, window after window */
    const int64_t *begins;         /* where each window begins in `text`, (S) */
    const int64_t *lengths;        /* characters read, (S) */
    const uint8_t *resets;         /* whether the state is reset before a character of `text` is read */
    const number *reset_state;     /* states after resets, (R, H') */
    const int64_t *reset_rows;     /* each step's row of `reset_state`, (S) */
    const double *rates;           /* learning rates, (S) */
    const double *average_weights; /* weights of the newest parameters in the average, (S) */
    double *loss;                  /* output: mean nats per predicted character, (S) */
    double *grad_norm;             /* output: L2 before clipping, (S) */
} StepRange;

/* RMSNorm of R rows: v, scales. */
void norm_forward(const number *x, const number *gain, number *v, number *scales, int64_t R, int64_t D);
void norm_backward(const number *x, const number *gain, const number *scales, const number *d_v, number *d_x, number *d_gain, number *room, int64_t R, int64_t D);

/* RMSNorm and convolution over a window. */
void norm_conv_forward(const Convolution *c);
void norm_conv_backward(const Convolution *c);

/* g σ(g) ⊙ u of n numbers. */
void swiglu_forward(const number *g, const number *u, number *out, int64_t n);
void swiglu_backward(const number *g, const number *u, const number *d_out, number *d_g, number *d_u, int64_t n);

/* minGRU over a window. */
void mingru_forward(const Scan *s);
void mingru_backward(const Scan *s);

/* Dropout with given random numbers; see masks.c. */
void drop(const number *x, const uint16_t *halves, int64_t stride, int64_t each, int64_t threshold, double scale, number *y, int64_t T, int64_t B, int64_t W);
void random_words(uint32_t *out, uint32_t key0, uint32_t key1, const uint32_t *lanes, int64_t L, uint32_t step, uint32_t purpose, int64_t n);

/* a w, or out + a w if `adds`: a (B, K), w (K, N) with rows w_stride apart, out (B, N). */
void multiply(const number *a, const number *w, int64_t w_stride, number *out, int64_t B, int64_t K, int64_t N, int64_t adds);

/* The transpose of x (R, C), rows out_stride apart. */
void transpose(const number *x, int64_t R, int64_t C, number *out, int64_t out_stride);

/* The same product of factors rounded to bfloat16, float32 only; see tiles.h. */
void lay_out_tiles(const number *w, int64_t K, int64_t N, int64_t k_stride, int64_t n_stride, uint16_t *panels);
void multiply_in_tiles(const number *a, const uint16_t *panels, uint16_t *left, number *out, int64_t M, int64_t K, int64_t N, int64_t out_stride, int64_t adds, int64_t way);
void multiply_laid_out_tiles(const uint16_t *left, const uint16_t *panels, number *out, int64_t M, int64_t K, int64_t N, int64_t out_stride, int64_t adds, int64_t way);

/* Compute the states and gates of every time step of a window. */
void rnn_forward(const Window *window);

/* Compute the gradients of a window. */
void rnn_backward(const Window *window);

/* Read ids (T, B); update state (B, S); write the logits from step `first` on, (T − first, B, V). */
void read_window(const Network *net, const Workspace *work, ThreadContext *context, int64_t T, int64_t B, const int64_t *ids, const uint8_t *resets, number *state, int64_t first, number *logits);

/* Generate up to n characters in each row by its own rule (B); return how many each gained, or −1 if a logit was not finite. */
int64_t decode(const Network *net, const Workspace *work, ThreadContext *context, const SamplingRule *rules, const Samples *rows, int64_t n, int64_t *ids, double *log_probs);

/* The same for the mean of the probabilities of K networks; found (K, B, V) is scratch space. */
int64_t decode_ensemble(const Member *members, int64_t K, number *found, const SamplingRule *rules, const Samples *rows, int64_t V, int64_t n, int64_t *ids, double *log_probs);

/* Write the loss of each target in nats, (n); the logits (n, V) are overwritten. */
void nats_of_targets(number *logits, const int64_t *targets, number *nats, int64_t n, int64_t V);

/* The linear recurrence of minGRU, arrays (B, T, H). */
void scan_forward(const number *keep, const number *update, const number *h0, number *h, int64_t B, int64_t T, int64_t H);
void scan_backward(const number *keep, const number *h0, const number *h, const number *d_h, number *d_keep, number *d_update, number *d_h0, int64_t B, int64_t T, int64_t H);

/* The suffix automaton of a short text of n symbols; see suffix_automaton.c. */
int64_t automaton_build(const int32_t *columns, int64_t n, int64_t num_columns, int32_t *length, int32_t *link, int32_t *edges, int32_t *prefix);
void automaton_read(const int32_t *columns, int64_t n, int64_t num_columns, const int32_t *length, const int32_t *link, const int32_t *edges, int32_t *best, int64_t *end, int64_t *seen, int64_t *at);
void automaton_spread(const int32_t *order, int64_t n, const int32_t *length, const int32_t *link, int32_t *best, int64_t *end, int64_t *seen);

/* Text to numbers, and numbers to ids; see utf8.c. */
int64_t utf8_numbers(const uint8_t *data, int64_t n, int64_t kind, const int32_t *slots, int32_t stops, uint16_t *numbers, int64_t *at);
int64_t mark_lines(const uint16_t *numbers, int64_t n, int64_t newline, int64_t boundary, uint16_t *marked, int64_t *counts);
void count_numbers(const uint16_t *numbers, int64_t n, int64_t *counts, int64_t size);
void ids_of_numbers(const uint16_t *numbers, int64_t n, const uint32_t *table, int64_t width, void *ids);

/* CRC-32 of whole blocks; see crc32.c. */
int64_t crc32_blocks(int64_t crc, const uint8_t *data, int64_t n);
/* SHA-256 of whole blocks; see sha256.c. */
void sha256_blocks(uint32_t *state, const uint8_t *data, int64_t num_blocks, int64_t plain);

/* Take the updates of a StepRange up to a non-finite loss or gradient; return the number taken.
 *
 * `tape` fits the longest window, the state h (H') is updated, `count` counts earlier updates. */
int64_t update_windows(const Objective *objective, const UpdateRule *rule, const FlatVectors *vectors, const OnlineWeights *weights, const OnlineWeights *gradients, const OnlineTape *tape, const StepRange *steps, number *h, int64_t count);

/* The same for windows of one one-hot character and SGD without momentum, decay, averaging and clipping of elements. */
int64_t update_characters(const Objective *objective, const OnlineWeights *weights, const OnlineTape *tape, const PendingUpdates *pending, const StepRange *steps, number *h);

/* Read x (n), n a multiple of 64, `times` times: the speed of memory. */
double sum_repeatedly(number *x, int64_t n, int64_t times);

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

/* The online trainer's products, (1) to (5) of online_products.h; N is a padded length. */
void add_matrix_product(const number *w, int64_t M, int64_t N, const number *x, number *out, int64_t downwards);
void update_and_add_product(number *w, int64_t M, int64_t N, const number *p, const number *u, const number *x, number *out, int64_t downwards);
void add_pulled_back(const number *w, int64_t M, int64_t N, const number *d, number *out, int64_t downwards);
void add_products_over_time(const number *w, int64_t M, int64_t N, const number *x, int64_t T, number *out);
void write_outer_products(const number *d, int64_t M, const number *x, int64_t N, int64_t T, number *out);
void write_pulled_back(const number *d, int64_t M, const number *w, int64_t N, int64_t T, number *out);
double square_sum(const number *x, int64_t n);

/* The loss of one time step in nats; the logits y (V') become `scale` times its gradient. */
double loss_and_gradient(number *y, int64_t V, int64_t target, double scale);

/* Update the numbers from `begin` to `end` of the flat vectors by the rule; the gradient is multiplied by s first. */
void update_segment(const UpdateRule *rule, const FlatVectors *vectors, int64_t begin, int64_t end, int64_t decays, double s, double rate, int64_t count);

#endif
