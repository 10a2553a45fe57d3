/* One compilation of everything, for the flavour that the build names: see flavour.h. */
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
#include "flavour.h"
#include "vector_math.h"
#include "charloom.h"
#include "barrier.h"
#include "cells.h"
#include "gemm.h"
#include "network.c"
#include "sampling.h"
#include "generate.c"
#include "training_cells.h"
#include "products.h"
#include "tiles.h"
#include "rnn_window.c"
#include "training_residual.c"
#include "masks.c"
#include "linear_scan.c"
#include "suffix_automaton.c"
#include "online_products.h"
#include "online_elman.h"
#include "online_rules.h"
#include "online.c"
#include "bandwidth.c"
