/* A packed network as one array of bytes, for hosts without Python: a header, then sections.
 *
 *     header · layers (L) · ends (1) · numbers · small · sums
 *
 * Each section begins at a multiple of 64 bytes. All numbers are little-endian, so the sections are used where they
 * lie; image.py writes them. An image may come from a stranger: `open_image` checks that whatever the header and the
 * layers point to lies inside the image, and computes every size that it can compute instead of reading it.
 */

enum { IMAGE_VERSION = 1, IMAGE_ALIGNMENT = 64, LARGEST_EXTENT = 1 << 24 };

typedef struct {
    char magic[8]; /* charloom */
    int64_t version;
    int64_t size;        /* bytes of the whole image */
    int64_t number_size; /* bytes of a number */
    int64_t cell;
    int64_t activation;
    int64_t residual;
    int64_t folded;
    int64_t vocab_size;
    int64_t width;
    int64_t cell_size;
    int64_t mlp_size;
    int64_t conv_width;
    int64_t table_width;
    int64_t num_layers;
    int64_t layers; /* sections: where they begin in bytes, and how many elements they have */
    int64_t ends;
    int64_t numbers;
    int64_t small;
    int64_t sums;
    int64_t num_numbers;
    int64_t num_small;
    int64_t num_sums;
} ImageHeader;

static int within(int64_t at, int64_t count, int64_t all) { return at >= 0 && count <= all && at <= all - count; }

static int extent(int64_t size, int64_t least) { return size >= least && size <= LARGEST_EXTENT; }

/* Whether `count` elements of `size` bytes from `at` on lie inside the image, aligned. */
static int section(const ImageHeader *image, int64_t at, int64_t count, int64_t size)
{
    return count >= 0 && count <= image->size / size && at % IMAGE_ALIGNMENT == 0 &&
           within(at, count * size, image->size);
}

static int vector(const ImageHeader *image, int64_t at, int64_t count)
{
    return within(at, count, image->num_numbers);
}

static void grow(int64_t *most, int64_t size) { *most = *most > size ? *most : size; }

/* Whether a matrix (M, N) lies inside the image; enlarges the sizes of `net` to fit its inputs and outputs. */
static int matrix(const ImageHeader *image, Network *net, const Matrix *m, int64_t M, int64_t N)
{
    int64_t panels = (M + LANES - 1) / LANES, rows = panels * LANES;
    if (m->panels != panels || m->used != N)
        return 0;
    grow(&net->max_input_size, N);
    grow(&net->max_output_size, rows);
    if (m->scales < 0)
        return m->columns == N && within(m->at, rows * N, image->num_numbers);
    grow(&net->max_int8_size, m->columns);
    return m->columns == (N + 3) / 4 * 4 && within(m->at, rows * m->columns, image->num_small) &&
           within(m->sums, rows, image->num_sums) && vector(image, m->scales, rows);
}

static int layer_fits(const ImageHeader *image, Network *net, const Layer *layer, int reads_table)
{
    int64_t D = net->width, M = net->mlp_size, N = layer == net->layers && !net->residual ? net->table_width : D;
    if (!reads_table && !(matrix(image, net, &layer->w_ih, net->gates, N) && vector(image, layer->bias, net->gates)))
        return 0;
    if (net->cell != MINGRU && !matrix(image, net, &layer->w_hh, net->gates, net->cell_size))
        return 0;
    if (net->cell == GRU && !vector(image, layer->bias_hn, net->cell_size))
        return 0;
    if (!net->residual)
        return 1;
    if (!matrix(image, net, &layer->proj, D, net->cell_size) || !vector(image, layer->norm, D) ||
        !vector(image, layer->conv_weight, net->conv_width * D) || !vector(image, layer->conv_bias, D))
        return 0;
    return M == 0 || (matrix(image, net, &layer->gate_up, 2 * M, D) && matrix(image, net, &layer->down, D, M) &&
                      vector(image, layer->mlp_norm, D));
}

static int header_fits(const ImageHeader *image)
{
    return image->cell >= ELMAN && image->cell <= MINGRU && image->activation >= TANH && image->activation <= RELU &&
           (image->residual == 0 || image->residual == 1) && (image->folded == 0 || image->folded == 1) &&
           extent(image->vocab_size, 1) && extent(image->width, 1) && extent(image->cell_size, 1) &&
           extent(image->mlp_size, 0) && extent(image->conv_width, 1) && extent(image->table_width, 1) &&
           extent(image->num_layers, 1) && (image->residual || image->width == image->cell_size) &&
           (image->residual ? !image->folded && image->table_width == image->width : 1);
}

/* Copy the sizes of the header to `net`, and compute the others that do not depend on the layers. */
static void take_sizes(const ImageHeader *image, Network *net)
{
    static const int64_t blocks[] = {[ELMAN] = 1, [LSTM] = 4, [GRU] = 3, [MINGRU] = 2};
    int64_t states = image->cell == LSTM ? 2 : 1;
    memset(net, 0, sizeof *net);
    net->cell = image->cell;
    net->activation = image->activation;
    net->residual = image->residual;
    net->folded = image->folded;
    net->vocab_size = image->vocab_size;
    net->width = image->width;
    net->cell_size = image->cell_size;
    net->mlp_size = image->residual ? image->mlp_size : 0;
    net->conv_width = image->conv_width;
    net->table_width = image->table_width;
    net->num_layers = image->num_layers;
    net->gates = blocks[net->cell] * net->cell_size;
    net->layer_state = states * net->cell_size + (net->residual ? (net->conv_width - 1) * net->width : 0);
    net->state_size = net->num_layers * net->layer_state;
    net->max_input_size = net->width > net->cell_size ? net->width : net->cell_size;
    net->max_output_size = (net->gates + LANES - 1) / LANES * LANES;
}

/* Make `net` the network of an image, whose bytes it refers to; return what is wrong with the image, or 0. */
static const char *open_image(const void *bytes, int64_t size, Network *net)
{
    const ImageHeader *image = bytes;
    if ((uintptr_t)bytes % IMAGE_ALIGNMENT != 0)
        return "the image does not begin at a multiple of 64 bytes";
    if (size < (int64_t)sizeof *image || memcmp(image->magic, "charloom", 8) != 0)
        return "this is not an image of a network";
    if (image->version != IMAGE_VERSION)
        return "the image is of another version";
    if (image->size != size)
        return "the image is cut off, or followed by something else";
    if (image->number_size != (int64_t)sizeof(number))
        return "the image has numbers of another size";
    if (!header_fits(image))
        return "the header of the image describes no network";
    if (!section(image, image->layers, image->num_layers, sizeof(Layer)) ||
        !section(image, image->ends, 1, sizeof(Ends)) ||
        !section(image, image->numbers, image->num_numbers, sizeof(number)) ||
        !section(image, image->small, image->num_small, 1) || !section(image, image->sums, image->num_sums, 4))
        return "a section lies outside the image";
    take_sizes(image, net);
    const char *begin = bytes;
    net->layers = (const Layer *)(begin + image->layers);
    net->ends = (const Ends *)(begin + image->ends);
    net->numbers = (const number *)(begin + image->numbers);
    net->small = (const int8_t *)(begin + image->small);
    net->sums = (const int32_t *)(begin + image->sums);
    for (int64_t i = 0; i < net->num_layers; i++)
        if (!layer_fits(image, net, net->layers + i, net->folded && i == 0))
            return "a parameter of a layer lies outside the image";
    int64_t V = net->vocab_size;
    if ((net->folded && net->table_width != net->gates) ||
        !matrix(image, net, &net->ends->out, V, net->width) || !vector(image, net->ends->out_bias, V) ||
        !vector(image, net->ends->table, V * net->table_width) ||
        (net->residual && !vector(image, net->ends->norm, net->width)))
        return "a parameter outside the layers lies outside the image";
    for (int64_t i = 0; i < image->num_numbers; i++)
        if (!(fabs_n(net->numbers[i]) < INFINITY))
            return "a number of the image is not finite";
    return 0;
}
