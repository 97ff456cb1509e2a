/* One decoded position of a Llama-like model in bfloat16, from embeddings to logits, in one call; and drawing from them.

   What torch does in some forty calls a layer is here eleven stages with a barrier of the same threads between them. The
   time of a position is that of reading every weight once; so weights lie in the order in which they are read, and the
   rest is kept small beside that. Numbers are rounded to bfloat16 where the model's own modules round.

   Layouts. A pair is two neighbouring inputs of one row or output, 32 bits: what VDPBF16PS multiplies and adds.
     panels   [block of 16 outputs][pair of inputs][16 outputs]
     packed   [tile of 16 rows][pair of inputs][16 rows]; for matrix instructions, which take panels as they lie,
              [tile of 16 rows][chunk of 16 pairs][16 rows][pair of the chunk]
   Everything else is row by row. What stands in the place of rows beyond the last is multiplied, and nowhere looked at.

   Built and called by native.py; the structures below are repeated there. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef LATE_THREAD /* a test's: who does not wait for this thread, or shares a place with it, finds what he should not */
#include <unistd.h>
#define DAWDLE(thread) ((thread) == LATE_THREAD ? (void)usleep(200) : (void)0)
#else
#define DAWDLE(thread) ((void)0)
#endif

#if defined(__AVX512BF16__) && defined(__AVX512BW__)
#include <immintrin.h>
#define DOTS_IN_HARDWARE 1
#else
#define DOTS_IN_HARDWARE 0
#endif

/* TILES: by matrix instructions (AMX); 2: by what they do in plain C, for tests. */
#ifndef TILES
#if DOTS_IN_HARDWARE && defined(__AMX_BF16__) && defined(__AMX_TILE__)
#define TILES 1
#else
#define TILES 0
#endif
#endif
#if TILES == 1
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Of the OpenMP that torch has loaded. */
extern int omp_get_thread_num(void), omp_get_num_threads(void);

enum { WIDE = 16, MOST_LAYERS_JOINED = 3 };
enum { CHUNK = 16, CHUNK_WORDS = CHUNK * WIDE, HALF_CHUNK = CHUNK / 2 }; /* in pairs */

/* Weights are fetched this many pairs ahead. An EPYC reads fastest past its caches; a Xeon does so at a third of its speed. */
enum { AHEAD = 128 };
#ifdef __AMX_TILE__
#define FETCH(address) __builtin_prefetch(address, 0, 2)
#define FETCH_VALUES(address) __builtin_prefetch(address, 0, 3) /* while scores are worked out */
#else
#define FETCH(address) __builtin_prefetch(address, 0, 0)
#define FETCH_VALUES(address) ((void)(address))
#endif

typedef uint16_t bf16;
#define ON_A_LINE __attribute__((aligned(64)))
/* Read and written where they lie, as whatever: copied by memcpy, GCC would take them apart and wait for the pieces. */
typedef float floats __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t words __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t shorts __attribute__((vector_size(32), aligned(2), may_alias));

/* Linear layers that read one input, with their adapters: y = W x + s B (A x) + bias. */
typedef struct {
    const uint32_t *weight;                  /* panels of all layers' outputs */
    const uint32_t *b;                       /* panels, from the ranks of a block's own adapter; NULL: not adapted */
    const uint32_t *a;                       /* panels, from the inputs to the ranks of all adapters */
    const float *bias;                       /* or NULL */
    int64_t inputs, outputs;                 /* inputs are a multiple of least() */
    int64_t rank;                            /* of one adapter; another multiple */
    int64_t low_blocks;                      /* of a */
    int64_t first_block[MOST_LAYERS_JOINED]; /* of each layer but the first; beyond the last: never reached */
} Product;

typedef struct {
    Product qkv, out, gate_up, down;
    const float *before_attention, *before_mlp; /* norms' weights */
    const float *query_norm, *key_norm;         /* of heads; NULL: none */
    float eps, mlp_eps, query_eps, key_eps, scaling, unused;
} Layer;

typedef struct {
    const Layer *layers;
    const float *last_norm;
    Product head;
    int64_t num_layers, hidden, inner, heads, shared, size;
    float last_eps, unused;
} Model;

typedef struct {
    bf16 *x;                  /* rows × hidden: embeddings; written over */
    const float *cos, *sin;   /* rows × size */
    bf16 *const *keys;        /* of each layer: rows × shared × room × size */
    bf16 *const *values;
    int64_t row_stride, head_stride; /* of these, in numbers */
    const uint8_t *looks;     /* rows × columns, nonzero where a row may look; NULL: everywhere */
    int64_t looks_stride;
    bf16 *logits;             /* rows × outputs of the head */
    void *work;
    int64_t rows, column;     /* column: where the new position is written; those before it are filled */
    int64_t threads;
} Call;

/* ---- numbers ---- */

static inline floats widened(const bf16 *from) {
    return (floats)(__builtin_convertvector(*(const shorts *)from, words) << 16);
}

static inline shorts narrowed(floats x) {
#if DOTS_IN_HARDWARE
    return (shorts)_mm512_cvtneps_pbh((__m512)x);
#else
    words bits = (words)x;
    words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    ints is_nan = x != x; /* rounding up could carry one into infinity */
    rounded = ((words)is_nan & 0x7fc0) | (~(words)is_nan & rounded);
    return __builtin_convertvector(rounded, shorts);
#endif
}

static inline floats rounded(floats x) {
    shorts narrow = narrowed(x);
    return (floats)(__builtin_convertvector(narrow, words) << 16);
}

static inline floats either(ints where, floats yes, floats no) {
    return (floats)((where & (ints)yes) | (~where & (ints)no));
}

static inline floats all(float x) { return (floats){} + x; }

/* sum += w[even] x[even] + w[odd] x[odd], for 16 pairs. */
static inline floats dot(floats sum, words w, words x) {
#if DOTS_IN_HARDWARE
    return (floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)w, (__m512bh)x);
#else
    const uint32_t upper = 0xffff0000u;
    return sum + (floats)(w << 16) * (floats)(x << 16) + (floats)(w & upper) * (floats)(x & upper);
#endif
}

static inline words loaded(const uint32_t *from) { return *(const words *)from; }

static inline floats loaded_floats(const float *from) { return *(const floats *)from; }

/* exp to two units in the last place; from 88 on infinite, and NaN stays NaN. Cody and Waite's reduction, a polynomial of degree 6. */
static inline floats exponential(floats x) {
    ints beyond = x > all(88.0f);
    x = either(x < all(-87.0f), all(-87.0f), x);
    x = either(beyond, all(88.0f), x);
    const float magic = 12582912.0f; /* 1.5 · 2²³: adding it rounds to a whole number */
    floats shifted = x * 1.44269504f + magic;
    floats whole = shifted - magic;
    floats rest = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    floats value = all(1.9875691500e-4f);
    value = value * rest + 1.3981999507e-3f;
    value = value * rest + 8.3334519073e-3f;
    value = value * rest + 4.1665795894e-2f;
    value = value * rest + 1.6666665459e-1f;
    value = value * rest + 5.0000001201e-1f;
    value = value * rest * rest + rest + 1.0f;
    ints power = ((ints)shifted - 0x4b400000 + 127) << 23;
    return either(beyond, all(INFINITY), value * (floats)power);
}

static inline float total(floats x) {
#if DOTS_IN_HARDWARE
    return _mm512_reduce_add_ps((__m512)x);
#else
    float sum = 0.0f;
    for (int lane = 0; lane < WIDE; lane++) sum += x[lane];
    return sum;
#endif
}

/* Of numbers, among which there is no NaN. */
static inline float largest(floats x) {
#if DOTS_IN_HARDWARE
    return _mm512_reduce_max_ps((__m512)x);
#else
    float most = x[0];
    for (int lane = 1; lane < WIDE; lane++) most = x[lane] > most ? x[lane] : most;
    return most;
#endif
}

/* ---- a tile of a product ---- */

enum { TOGETHER = 4 }; /* blocks of outputs for which a tile of rows is read once */

/* 16 outputs of a tile of rows. */
typedef struct {
    floats rows[WIDE] ON_A_LINE;
} Sums;

static inline int64_t up_to(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }

#if TILES

/* What inputs and ranks are to be multiples of, and pairs that an adapter's ranks take up where they are packed. */
enum { LEAST = 2 * HALF_CHUNK };
static inline int64_t packed_pairs(int64_t pairs) { return up_to(pairs, CHUNK); }

/* Where a pair of a row lies in a packed tile. */
static inline int64_t place_of(int64_t pair, int64_t row) {
    return pair / CHUNK * CHUNK_WORDS + row * CHUNK + pair % CHUNK;
}

/* 16 numbers of each row of a tile, to be inputs of the next product from this pair on. */
static void put_packed(uint32_t *packed, int64_t first_pair, const floats *sums, int rows) {
    for (int row = 0; row < rows; row++) {
        shorts narrow = narrowed(sums[row]);
        memcpy(packed + place_of(first_pair, row), &narrow, sizeof narrow);
    }
}

#if TILES == 1

typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16]; /* of a row of each tile */
    uint8_t rows[16];
} __attribute__((aligned(64))) Shapes;

/* Four times sums; rows and weights of a chunk; rows and weights of half a chunk. */
static const Shapes of_products = {.palette = 1, .bytes = {64, 64, 64, 64, 64, 64, 32, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 8}};
/* Scores; keys; queries. */
static const Shapes of_attention = {.palette = 1, .bytes = {16, 64, 16}, .rows = {16, 16, 16}};

static inline void begin_tiles(const Shapes *shapes) { _tile_loadconfig(shapes); }
static inline void end_tiles(void) { _tile_release(); }

/* What was written before is there: to GCC, loading a tile reads nothing. */
static inline void settle(void) { __asm__ volatile("" ::: "memory"); }

#define FETCH_CHUNK(panel)                                                                                                        \
    for (int line = 0; line < CHUNK; line++) FETCH((panel) + (line + AHEAD) * WIDE)

/* sums of each row += 16 outputs, over pairs of inputs: whole chunks and perhaps half a one. */
static void multiply_tile(Sums *sums, const uint32_t *panel, const uint32_t *packed, int64_t pairs, int rows) {
    (void)rows;
    settle();
    _tile_loadd(0, sums, 64);
    for (; pairs >= CHUNK; pairs -= CHUNK, panel += CHUNK_WORDS, packed += CHUNK_WORDS) {
        FETCH_CHUNK(panel);
        _tile_loadd(4, packed, 64);
        _tile_loadd(5, panel, 64);
        _tile_dpbf16ps(0, 4, 5);
    }
    if (pairs) {
        _tile_loadd(6, packed, 64);
        _tile_loadd(7, panel, 64);
        _tile_dpbf16ps(0, 6, 7);
    }
    _tile_stored(0, sums, 64);
}

#define FOR_EACH_OF_FOUR(DO) DO(0) DO(1) DO(2) DO(3)
#define LOAD(i) _tile_loadd(i, sums + i, 64);
#define STORE(i) _tile_stored(i, sums + i, 64);
#define WHOLE(i)                                                                                                                  \
    FETCH_CHUNK(panels[i] + at);                                                                                                  \
    _tile_loadd(5, panels[i] + at, 64);                                                                                           \
    _tile_dpbf16ps(i, 4, 5);
#define HALVED(i)                                                                                                                 \
    _tile_loadd(7, panels[i] + at, 64);                                                                                           \
    _tile_dpbf16ps(i, 6, 7);

/* The same for several blocks of outputs. */
static void multiply_tiles(
    Sums *sums, const uint32_t *const *panels, int count, const uint32_t *packed, int64_t pairs, int rows) {
    if (count < TOGETHER) {
        for (int i = 0; i < count; i++) multiply_tile(sums + i, panels[i], packed, pairs, rows);
        return;
    }
    int64_t at = 0;
    settle();
    FOR_EACH_OF_FOUR(LOAD)
    for (; pairs >= CHUNK; pairs -= CHUNK, at += CHUNK_WORDS) {
        _tile_loadd(4, packed + at, 64);
        FOR_EACH_OF_FOUR(WHOLE)
    }
    if (pairs) {
        _tile_loadd(6, packed + at, 64);
        FOR_EACH_OF_FOUR(HALVED)
    }
    FOR_EACH_OF_FOUR(STORE)
}

/* The system gives a process this much state on demand only; 0: it does not. */
int is_allowed(void) { return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0; }

#else

static void multiply_tile(Sums *sums, const uint32_t *panel, const uint32_t *packed, int64_t pairs, int rows) {
    for (int64_t pair = 0; pair < pairs; pair++)
        for (int row = 0; row < rows; row++)
            sums->rows[row] = dot(sums->rows[row], loaded(panel + pair * WIDE), (words){} + packed[place_of(pair, row)]);
}

#endif
#else

enum { LEAST = 2 };
static inline int64_t packed_pairs(int64_t pairs) { return pairs; }
static inline int64_t place_of(int64_t pair, int64_t row) { return pair * WIDE + row; }

static void put_packed(uint32_t *packed, int64_t first_pair, const floats *sums, int rows) {
    uint32_t pairs[WIDE][WIDE / 2];
    memset(pairs, 0, sizeof pairs);
    for (int row = 0; row < rows; row++) {
        shorts narrow = narrowed(sums[row]);
        memcpy(pairs[row], &narrow, sizeof narrow);
    }
    for (int pair = 0; pair < WIDE / 2; pair++)
        for (int row = 0; row < WIDE; row++) packed[(first_pair + pair) * WIDE + row] = pairs[row][pair];
}

/* sums[r] += 16 outputs of row r, over pairs of inputs. */
static inline __attribute__((always_inline)) void multiply(
    floats *restrict sums, const uint32_t *restrict panel, const uint32_t *restrict packed, int64_t pairs, const int rows) {
    floats held[WIDE];
    for (int row = 0; row < rows; row++) held[row] = sums[row];
    for (int64_t pair = 0; pair < pairs; pair++) {
        words w = loaded(panel + pair * WIDE);
        const uint32_t *x = packed + pair * WIDE;
        FETCH(panel + (pair + AHEAD) * WIDE);
#pragma GCC unroll 16
        for (int row = 0; row < rows; row++) held[row] = dot(held[row], w, (words){} + x[row]);
    }
    for (int row = 0; row < rows; row++) sums[row] = held[row];
}

static void multiply_tile(Sums *sums_of_block, const uint32_t *panel, const uint32_t *packed, int64_t pairs, int rows) {
    floats *sums = sums_of_block->rows;
    if (rows > 12) multiply(sums, panel, packed, pairs, 16);
    else if (rows > 8) multiply(sums, panel, packed, pairs, 12);
    else if (rows > 4) multiply(sums, panel, packed, pairs, 8);
    else multiply(sums, panel, packed, pairs, 4);
}

#endif

#if TILES != 1
typedef struct {
    int nothing;
} Shapes;
static const Shapes of_products, of_attention;
static inline void begin_tiles(const Shapes *shapes) { (void)shapes; }
static inline void end_tiles(void) {}
int is_allowed(void) { return 1; }

static void multiply_tiles(
    Sums *sums, const uint32_t *const *panels, int count, const uint32_t *packed, int64_t pairs, int rows) {
    for (int i = 0; i < count; i++) multiply_tile(sums + i, panels[i], packed, pairs, rows);
}
#endif

int has_tiles(void) { return TILES == 1; }

int64_t least(void) { return LEAST; }

/* Some blocks of outputs of one tile of rows, rounded. */
static void blocks_of(
    Sums *sums, const Product *product, const int64_t *blocks, int count, const uint32_t *packed, const uint32_t *low, int rows) {
    int64_t pairs = product->inputs / 2, ranks = product->rank / 2;
    const uint32_t *panels[TOGETHER];
    for (int i = 0; i < count; i++) {
        floats bias = {};
        for (int64_t lane = 0, first = blocks[i] * WIDE; product->bias && lane < WIDE && first + lane < product->outputs; lane++)
            bias[lane] = product->bias[first + lane];
        for (int row = 0; row < WIDE; row++) sums[i].rows[row] = bias;
        panels[i] = product->weight + blocks[i] * pairs * WIDE;
    }
    multiply_tiles(sums, panels, count, packed, pairs, rows);
    for (int i = 0; i < count; i++) {
        if (product->b) {
            int64_t layer = 0;
            while (layer + 1 < MOST_LAYERS_JOINED && blocks[i] >= product->first_block[layer]) layer++;
            multiply_tile(
                sums + i, product->b + blocks[i] * ranks * WIDE, low + layer * packed_pairs(ranks) * WIDE, ranks, rows);
        }
        for (int row = 0; row < rows; row++) sums[i].rows[row] = rounded(sums[i].rows[row]);
    }
}

/* ---- stages; each does the share of thread `me` of `of` ---- */

typedef struct {
    const Model *model;
    const Call *call;
    uint32_t *packed, *low, *hidden; /* inputs of a product, A times them, and the inputs of down */
    bf16 *heads;                     /* rows × (heads + 2 shared) × size */
    float *scores, *found;           /* of each thread */
    int64_t tiles, low_words, packed_words, hidden_words, scores_each, found_each;
    int me, of;
} Work;

static inline int64_t from(int64_t count, int me, int of) { return count * me / of; }

static inline int rows_in(const Call *call, int64_t tile) {
    int64_t left = call->rows - tile * WIDE;
    return (int)(left < WIDE ? left : WIDE);
}

/* By columns, for two threads that write to one line of packed rows wait for each other. */
static void normed(const Work *work, const float *weight, float eps) {
    int64_t size = work->model->hidden, chunks = size / WIDE;
    int64_t first = from(chunks, work->me, work->of), last = from(chunks, work->me + 1, work->of);
    float root = sqrtf((float)size);
    for (int64_t tile = 0; tile < work->tiles; tile++) {
        const bf16 *x = work->call->x + tile * WIDE * size;
        int rows = rows_in(work->call, tile);
        float scales[WIDE];
        for (int row = 0; row < rows; row++) {
            floats squares = {};
            for (int64_t i = 0; i < size; i += WIDE) squares += widened(x + row * size + i) * widened(x + row * size + i);
            scales[row] = root / sqrtf(total(squares) + (float)size * eps);
        }
        for (int64_t chunk = first; chunk < last; chunk++) {
            floats sums[WIDE], by = loaded_floats(weight + chunk * WIDE);
            for (int row = 0; row < rows; row++) sums[row] = widened(x + row * size + chunk * WIDE) * scales[row] * by;
            put_packed(work->packed + tile * work->packed_words, chunk * WIDE / 2, sums, rows);
        }
    }
}

/* Every thread for itself: it takes a microsecond, and so would waiting for the others. */
static void low_ranks(const Work *work, const Product *product, const uint32_t *packed, int64_t packed_words) {
    int64_t pairs = product->inputs / 2, tasks = product->low_blocks * work->tiles;
    for (int64_t task = 0; task < tasks; task++) {
        int64_t block = task / work->tiles, tile = task % work->tiles;
        int rows = rows_in(work->call, tile);
        Sums sums = {};
        multiply_tile(&sums, product->a + block * pairs * WIDE, packed + tile * packed_words, pairs, rows);
        int64_t pair = block * WIDE / 2, ranks = product->rank / 2;
        put_packed(work->low + tile * work->low_words, pair / ranks * packed_pairs(ranks) + pair % ranks, sums.rows, rows);
    }
}

/* y, or x + y: row by row. */
static void plain(
    const Work *work, const Product *product, const uint32_t *packed, int64_t packed_words, bf16 *to, int adds) {
    low_ranks(work, product, packed, packed_words);
    int64_t all_blocks = (product->outputs + WIDE - 1) / WIDE, last = from(all_blocks, work->me + 1, work->of);
    for (int64_t first = from(all_blocks, work->me, work->of); first < last; first += TOGETHER) {
        int64_t blocks[TOGETHER] = {first, first + 1, first + 2, first + 3};
        int count = last - first < TOGETHER ? (int)(last - first) : TOGETHER;
        for (int64_t tile = 0; tile < work->tiles; tile++) {
            int rows = rows_in(work->call, tile);
            Sums sums[TOGETHER];
            blocks_of(sums, product, blocks, count, packed + tile * packed_words, work->low + tile * work->low_words, rows);
            for (int i = 0; i < count; i++)
                for (int row = 0; row < rows; row++) {
                    bf16 *place = to + (tile * WIDE + row) * product->outputs + blocks[i] * WIDE;
                    int64_t left = product->outputs - blocks[i] * WIDE;
                    floats found = sums[i].rows[row];
                    if (adds) found += widened(place);
                    shorts narrow = narrowed(found);
                    if (left >= WIDE) memcpy(place, &narrow, sizeof narrow);
                    else memcpy(place, &narrow, (size_t)left * sizeof(bf16));
                }
        }
    }
}

/* silu(gate) · up, packed for down. */
static void gated(const Work *work, const Product *product) {
    low_ranks(work, product, work->packed, work->packed_words);
    int64_t half = product->outputs / 2 / WIDE, last = from(half, work->me + 1, work->of);
    for (int64_t first = from(half, work->me, work->of); first < last; first += TOGETHER / 2) {
        int pairs = last - first < TOGETHER / 2 ? 1 : TOGETHER / 2;
        int64_t blocks[TOGETHER] = {first, half + first, first + 1, half + first + 1};
        for (int64_t tile = 0; tile < work->tiles; tile++) {
            int rows = rows_in(work->call, tile);
            Sums sums[TOGETHER];
            blocks_of(
                sums, product, blocks, 2 * pairs, work->packed + tile * work->packed_words, work->low + tile * work->low_words,
                rows);
            for (int i = 0; i < pairs; i++) {
                floats *gate = sums[2 * i].rows, *up = sums[2 * i + 1].rows;
                for (int row = 0; row < rows; row++) up[row] *= rounded(gate[row] / (1.0f + exponential(-gate[row])));
                put_packed(work->hidden + tile * work->hidden_words, (first + i) * WIDE / 2, up, rows);
            }
        }
    }
}

/* ---- attention ---- */

/* A head, normalised where the model does that, and rotated by halves. */
static void turned(bf16 *head, const float *norm, float eps, const float *cos, const float *sin, int64_t size) {
    float scale = 1.0f;
    if (norm) {
        floats squares = {};
        for (int64_t i = 0; i < size; i += WIDE) squares += widened(head + i) * widened(head + i);
        scale = sqrtf((float)size) / sqrtf(total(squares) + (float)size * eps);
    }
    for (int64_t i = 0, half = size / 2; i < half; i += WIDE) {
        floats first = widened(head + i), second = widened(head + half + i);
        if (norm) {
            first = rounded(first * scale * loaded_floats(norm + i));
            second = rounded(second * scale * loaded_floats(norm + half + i));
        }
        shorts one = narrowed(rounded(first * loaded_floats(cos + i)) - second * loaded_floats(sin + i));
        shorts two = narrowed(rounded(second * loaded_floats(cos + half + i)) + first * loaded_floats(sin + half + i));
        memcpy(head + i, &one, sizeof one);
        memcpy(head + half + i, &two, sizeof two);
    }
}

enum { ASKED = 4, LARGEST_HEAD = 256 }; /* queries that are asked at once, and numbers of a head */

/* Queries as the processor takes them. */
typedef struct {
    uint32_t pairs[LARGEST_HEAD / 2 * ASKED] ON_A_LINE;
} Asked;

#if TILES == 1
/* By pairs of numbers; what stands in the place of those beyond the last is nothing. */
static void ask(Asked *asked, const bf16 *queries, int64_t size, int64_t count) {
    for (int64_t pair = 0; pair < size / 2; pair++)
        for (int64_t query = 0; query < ASKED; query++) {
            uint32_t found = 0;
            if (query < count) memcpy(&found, queries + query * size + 2 * pair, sizeof found);
            asked->pairs[pair * ASKED + query] = found;
        }
}

#define PICKED(one, two, ...) _mm512_permutex2var_ps(one, (__m512i)(ints){__VA_ARGS__}, two)

/* scores[q]: of 16 keys behind each other, for query q. */
static inline void sixteen_scores(floats *scores, const Asked *asked, const bf16 *keys, int64_t size, int64_t count) {
    float found[WIDE * ASKED] ON_A_LINE;
    (void)count;
    settle();
    _tile_zero(0);
    for (int64_t i = 0; i < size; i += 2 * WIDE) {
        _tile_loadd(1, keys + i, size * (int64_t)sizeof(bf16));
        _tile_loadd(2, asked->pairs + i / 2 * ASKED, ASKED * sizeof(uint32_t));
        _tile_dpbf16ps(0, 1, 2);
    }
    _tile_stored(0, found, ASKED * sizeof(float));
    __m512 by_keys[4], halves[4];
    for (int i = 0; i < 4; i++) by_keys[i] = _mm512_load_ps(found + i * WIDE);
    for (int i = 0; i < 2; i++) {
        __m512 one = by_keys[2 * i], two = by_keys[2 * i + 1];
        halves[2 * i] = PICKED(one, two, 0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
        halves[2 * i + 1] = PICKED(one, two, 2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31);
    }
    for (int i = 0; i < 2; i++) {
        scores[2 * i] = (floats)_mm512_shuffle_f32x4(halves[i], halves[2 + i], 0x44);
        scores[2 * i + 1] = (floats)_mm512_shuffle_f32x4(halves[i], halves[2 + i], 0xee);
    }
}
#else
static void ask(Asked *asked, const bf16 *queries, int64_t size, int64_t count) {
    memcpy(asked->pairs, queries, (size_t)(count * size) * sizeof(bf16));
}

#if DOTS_IN_HARDWARE
/* The sums of 16 vectors, as one. */
static inline floats totals(const floats *x) {
    __m512 fours[4];
    for (int i = 0; i < 4; i++) {
        __m512 a = (__m512)x[4 * i], b = (__m512)x[4 * i + 1], c = (__m512)x[4 * i + 2], d = (__m512)x[4 * i + 3];
        __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        fours[i] = _mm512_add_ps(
            (__m512)_mm512_unpacklo_pd((__m512d)ab, (__m512d)cd), (__m512)_mm512_unpackhi_pd((__m512d)ab, (__m512d)cd));
    }
    __m512 one = _mm512_add_ps(_mm512_shuffle_f32x4(fours[0], fours[1], 0x88), _mm512_shuffle_f32x4(fours[0], fours[1], 0xdd));
    __m512 two = _mm512_add_ps(_mm512_shuffle_f32x4(fours[2], fours[3], 0x88), _mm512_shuffle_f32x4(fours[2], fours[3], 0xdd));
    return (floats)_mm512_add_ps(_mm512_shuffle_f32x4(one, two, 0x88), _mm512_shuffle_f32x4(one, two, 0xdd));
}
#else
static inline floats totals(const floats *x) {
    floats found;
    for (int i = 0; i < WIDE; i++) found[i] = total(x[i]);
    return found;
}
#endif

static inline void sixteen_scores(floats *scores, const Asked *asked, const bf16 *keys, int64_t size, int64_t count) {
    for (int64_t query = 0; query < count; query++) {
        floats sums[WIDE] = {};
        for (int64_t i = 0; i < size / 2; i += WIDE) {
            words q = loaded(asked->pairs + query * size / 2 + i);
            for (int key = 0; key < WIDE; key++) sums[key] = dot(sums[key], loaded((const uint32_t *)(keys + key * size) + i), q);
        }
        scores[query] = totals(sums);
    }
}
#endif

/* Rows of scores, for up to so many queries; fewer than 16 keys go by a copy, and what stands behind them is anything. */
static void score(
    float *scores, int64_t stride, const bf16 *queries, const bf16 *keys, const bf16 *values, int64_t columns, int64_t size,
    int64_t count) {
    Asked asked;
    floats found[ASKED];
    ask(&asked, queries, size, count);
    if (columns < WIDE) {
        bf16 few[WIDE * LARGEST_HEAD];
        memcpy(few, keys, (size_t)(columns * size) * sizeof(bf16));
        sixteen_scores(found, &asked, few, size, count);
        for (int64_t query = 0; query < count; query++) *(floats *)(scores + query * stride) = found[query];
    }
    /* The last 16 again where they are not a multiple. */
    for (int64_t next = WIDE; columns >= WIDE && next < columns + WIDE; next += WIDE) {
        int64_t column = (next < columns ? next : columns) - WIDE;
        for (int64_t i = 0; i < WIDE * size; i += 2 * WIDE) FETCH_VALUES(values + column * size + i);
        sixteen_scores(found, &asked, keys + column * size, size, count);
        for (int64_t query = 0; query < count; query++) *(floats *)(scores + query * stride + column) = found[query];
    }
}

typedef uint16_t line __attribute__((vector_size(64), aligned(2), may_alias));

#ifdef __clang__
#define SHUFFLED(one, two, ...) __builtin_shufflevector(one, two, __VA_ARGS__)
#else /* which GCC has since its 12th version only */
#define SHUFFLED(one, two, ...) __builtin_shuffle(one, two, (line){__VA_ARGS__})
#endif

static inline line loaded_line(const bf16 *from) { return *(const line *)from; }

/* to += Σ chance · value over columns, 32 numbers of a head for some of its queries; chances of two columns are a pair. */
static inline __attribute__((always_inline)) void weigh(
    float *to, int64_t to_stride, const uint32_t *chances, int64_t stride, const bf16 *values, int64_t columns, int64_t size,
    const int queries) {
    floats lower[4] = {}, upper[4] = {};
    for (int64_t column = 0; column < columns; column += 2) {
        line one = loaded_line(values + column * size), two = {};
        if (column + 1 < columns) two = loaded_line(values + (column + 1) * size);
        /* Pairs of numbers 0 to 3, 8 to 11, ..., and of those between: what one instruction does. */
        words low = (words)SHUFFLED(
            one, two, 0, 32, 1, 33, 2, 34, 3, 35, 8, 40, 9, 41, 10, 42, 11, 43, 16, 48, 17, 49, 18, 50, 19, 51, 24, 56, 25, 57, 26,
            58, 27, 59);
        words high = (words)SHUFFLED(
            one, two, 4, 36, 5, 37, 6, 38, 7, 39, 12, 44, 13, 45, 14, 46, 15, 47, 20, 52, 21, 53, 22, 54, 23, 55, 28, 60, 29, 61,
            30, 62, 31, 63);
        for (int query = 0; query < queries; query++) {
            words chance = (words){} + chances[query * stride + column / 2];
            lower[query] = dot(lower[query], low, chance);
            upper[query] = dot(upper[query], high, chance);
        }
    }
    for (int query = 0; query < queries; query++)
        for (int lane = 0; lane < WIDE; lane++) {
            int at = lane / 4 * 8 + lane % 4;
            to[query * to_stride + at] = lower[query][lane];
            to[query * to_stride + at + 4] = upper[query][lane];
        }
}

/* The same for all numbers of a head and all of its queries. */
static void weighted(
    float *to, const uint32_t *chances, int64_t stride, const bf16 *values, int64_t columns, int64_t size, int64_t group) {
    for (int64_t query = 0; query < group; query += 4)
        for (int64_t i = 0; i < size; i += 2 * WIDE) {
            float *place = to + query * size + i;
            const uint32_t *some = chances + query * stride;
            switch (group - query) {
            case 1: weigh(place, size, some, stride, values + i, columns, size, 1); break;
            case 2: weigh(place, size, some, stride, values + i, columns, size, 2); break;
            case 3: weigh(place, size, some, stride, values + i, columns, size, 3); break;
            default: weigh(place, size, some, stride, values + i, columns, size, 4);
            }
        }
}

/* Writes exp((score − highest) · scaling) of each column, and zeros up to a whole vector; returns the sum. */
static float chances_of(bf16 *to, float *scores, const uint8_t *looks, int64_t columns, float scaling) {
    int64_t column, padded = up_to(columns, WIDE);
    if (looks)
        for (column = 0; column < columns; column++) scores[column] = looks[column] ? scores[column] : -INFINITY;
    for (column = columns; column < padded; column++) scores[column] = -INFINITY;
    floats most = all(-INFINITY), sum = {};
    for (column = 0; column < padded; column += WIDE) {
        floats found = loaded_floats(scores + column);
        most = either(found > most, found, most);
    }
    float highest = largest(most);
    for (column = 0; column < padded; column += WIDE) {
        floats found = loaded_floats(scores + column);
        floats chance = either(found == all(-INFINITY), all(0.0f), exponential((found - highest) * scaling));
        sum += chance;
        shorts narrow = narrowed(chance);
        memcpy(to + column, &narrow, sizeof narrow);
    }
    return total(sum);
}

/* One head of keys of one row: writes the new position, and what its queries find, packed. */
static void attended(const Work *work, const Layer *layer, int64_t at, int64_t row, int64_t head) {
    const Model *model = work->model;
    const Call *call = work->call;
    int64_t size = model->size, group = model->heads / model->shared, end = call->column + 1;
    bf16 *heads = work->heads + row * (model->heads + 2 * model->shared) * size;
    bf16 *queries = heads + head * group * size;
    bf16 *key = heads + (model->heads + head) * size, *value = key + model->shared * size;
    const float *cos = call->cos + row * size, *sin = call->sin + row * size;
    for (int64_t query = 0; query < group; query++)
        turned(queries + query * size, layer->query_norm, layer->query_eps, cos, sin, size);
    turned(key, layer->key_norm, layer->key_eps, cos, sin, size);
    int64_t begin = row * call->row_stride + head * call->head_stride;
    bf16 *keys = call->keys[at] + begin, *values = call->values[at] + begin;
    memcpy(keys + call->column * size, key, (size_t)size * sizeof(bf16));
    memcpy(values + call->column * size, value, (size_t)size * sizeof(bf16));

    const uint8_t *looks = call->looks ? call->looks + row * call->looks_stride : NULL;
    int64_t first = 0;
    if (looks)
        while (first < end - 1 && !looks[first]) first++;
    float *scores = work->scores + work->me * work->scores_each;
    int64_t columns = end - first, stride = work->scores_each / (group + ASKED);
    uint32_t *chances = (uint32_t *)(scores + ASKED * stride); /* half as wide as scores, for each query */
    float shares[group], *found = work->found + work->me * work->found_each;
    keys += first * size, values += first * size;
    for (int64_t start = 0; start < group; start += ASKED) {
        int64_t count = group - start < ASKED ? group - start : ASKED;
        score(scores, stride, queries + start * size, keys, values, columns, size, count);
        for (int64_t query = 0; query < count; query++)
            shares[start + query] = 1.0f / chances_of(
                (bf16 *)(chances + (start + query) * stride), scores + query * stride, looks ? looks + first : NULL, columns,
                layer->scaling);
    }
    weighted(found, chances, stride, values, columns, size, group);
    uint32_t *packed = work->packed + row / WIDE * work->packed_words;
    for (int64_t query = 0; query < group; query++)
        for (int64_t i = 0; i < size; i += WIDE) {
            shorts narrow = narrowed(loaded_floats(found + query * size + i) * shares[query]);
            uint32_t pairs[WIDE / 2];
            memcpy(pairs, &narrow, sizeof pairs);
            int64_t pair = ((head * group + query) * size + i) / 2;
            for (int lane = 0; lane < WIDE / 2; lane++) packed[place_of(pair + lane, row % WIDE)] = pairs[lane];
        }
}

static void attention(const Work *work, const Layer *layer, int64_t at) {
    int64_t shared = work->model->shared, tasks = work->call->rows * shared;
    for (int64_t task = from(tasks, work->me, work->of); task < from(tasks, work->me + 1, work->of); task++)
        attended(work, layer, at, task % work->call->rows, task / work->call->rows); /* by heads: see normed */
}

/* ---- what is called ---- */

static void wait_for_all(const Work *work) {
    (void)work;
#pragma omp barrier
    DAWDLE(work->me);
}

static int64_t widest(const Model *model) {
    int64_t attended = model->heads * model->size;
    return model->hidden > attended ? model->hidden : attended;
}

static int64_t most_low(const Model *model) {
    int64_t most = 1;
    for (int64_t i = 0; i < model->num_layers; i++) {
        const Layer *layer = model->layers + i;
        const int64_t counts[] = {layer->qkv.low_blocks, layer->out.low_blocks, layer->gate_up.low_blocks, layer->down.low_blocks};
        for (int j = 0; j < 4; j++) most = counts[j] > most ? counts[j] : most;
    }
    return most;
}

static int64_t columns_room(int64_t columns) { return up_to(columns, WIDE) + 2 * WIDE; }

/* Lays `work` out from address `base`; returns the bytes taken. */
static int64_t lay_out(Work *work, char *base, int64_t columns) {
    const Model *model = work->model;
    int64_t rows = work->call->rows, at = 0;
    work->tiles = up_to(rows, WIDE) / WIDE;
    work->packed_words = packed_pairs(widest(model) / 2) * WIDE;
    work->hidden_words = packed_pairs(model->inner / 2) * WIDE;
    work->low_words = most_low(model) * packed_pairs(WIDE / 2) * WIDE;
    work->scores_each = (model->heads / model->shared + ASKED) * columns_room(columns);
    work->found_each = up_to(model->heads / model->shared * model->size, WIDE);
    work->packed = (uint32_t *)(base + at), at += up_to(work->tiles * work->packed_words * 4, 64);
    work->hidden = (uint32_t *)(base + at), at += up_to(work->tiles * work->hidden_words * 4, 64);
    work->low = (uint32_t *)(base + at), at += up_to(work->call->threads * work->tiles * work->low_words * 4, 64);
    work->heads = (bf16 *)(base + at), at += up_to(rows * (model->heads + 2 * model->shared) * model->size * 2, 64);
    work->scores = (float *)(base + at), at += up_to(work->call->threads * work->scores_each * 4, 64);
    work->found = (float *)(base + at), at += up_to(work->call->threads * work->found_each * 4, 64);
    return at;
}

/* Bytes of `work` for up to so many columns. */
int64_t work_bytes(const Model *model, int64_t rows, int64_t columns, int64_t threads) {
    Call call = {.rows = rows, .threads = threads};
    Work work = {.model = model, .call = &call};
    return lay_out(&work, NULL, columns) + 64;
}

void decode(const Model *model, const Call *call) {
    Work whole = {.model = model, .call = call};
    lay_out(&whole, (char *)up_to((int64_t)(intptr_t)call->work, 64), call->column + 1);
#pragma omp parallel num_threads((int)call->threads)
    {
        Work work = whole;
        work.me = omp_get_thread_num(), work.of = omp_get_num_threads();
        work.low += work.me * work.tiles * work.low_words;
        begin_tiles(&of_products);
        for (int64_t at = 0; at < model->num_layers; at++) {
            const Layer *layer = model->layers + at;
            normed(&work, layer->before_attention, layer->eps);
            wait_for_all(&work);
            plain(&work, &layer->qkv, work.packed, work.packed_words, work.heads, 0);
            wait_for_all(&work);
            begin_tiles(&of_attention);
            attention(&work, layer, at);
            begin_tiles(&of_products);
            wait_for_all(&work);
            plain(&work, &layer->out, work.packed, work.packed_words, call->x, 1);
            wait_for_all(&work);
            normed(&work, layer->before_mlp, layer->mlp_eps);
            wait_for_all(&work);
            gated(&work, &layer->gate_up);
            wait_for_all(&work);
            plain(&work, &layer->down, work.hidden, work.hidden_words, call->x, 1);
            wait_for_all(&work);
        }
        normed(&work, model->last_norm, model->last_eps);
        wait_for_all(&work);
        plain(&work, &model->head, work.packed, work.packed_words, call->logits, 0);
        end_tiles();
    }
}

/* ---- drawing ---- */

enum { BLOCK = 256 };

/* Log-odds against the highest, 16 of a row from this token on; those beyond the last are forbidden. */
static inline floats below(const bf16 *logits, int64_t token, int64_t count, float temperature, float highest) {
    floats x;
    if (token + WIDE <= count) x = widened(logits + token);
    else {
        bf16 last[WIDE];
        for (int lane = 0; lane < WIDE; lane++) last[lane] = token + lane < count ? logits[token + lane] : 0xff80; /* −∞ */
        x = widened(last);
    }
    return x / temperature - highest;
}

static inline floats weight_of(floats log_odds) {
    return either(log_odds < all(-87.0f), all(0.0f), exponential(log_odds));
}

/* One token by inverting the cumulative distribution at `uniform`, its log-prob, and the entropy; as choice.py has it. */
static void draw_one(
    const bf16 *logits, int64_t count, float temperature, double uniform, double *blocks, int64_t *token, float *logprob,
    float *entropy) {
    floats most = all(-INFINITY);
    for (int64_t at = 0; at < count; at += WIDE) {
        floats x = below(logits, at, count, temperature, 0.0f);
        most = either(x > most, x, most);
    }
    float highest = largest(most);
    double sum = 0.0, mean = 0.0;
    for (int64_t start = 0; start < count; start += BLOCK) {
        floats weights = {}, products = {};
        for (int64_t at = start; at < start + BLOCK && at < count; at += WIDE) {
            floats x = below(logits, at, count, temperature, highest), weight = weight_of(x);
            weights += weight;
            products += weight * either(x < all(-1e4f), all(-1e4f), x); /* what is forbidden counts nothing */
        }
        blocks[start / BLOCK] = total(weights);
        sum += blocks[start / BLOCK];
        mean += total(products);
    }
    DAWDLE(omp_get_thread_num());
    double target = uniform * sum, passed = 0.0;
    int64_t start = 0, found = 0;
    /* Rounding can put the target on the total: then the last token that has any weight is meant. */
    for (; start + BLOCK < count && !(passed + blocks[start / BLOCK] > target); start += BLOCK) passed += blocks[start / BLOCK];
    while (start > 0 && blocks[start / BLOCK] == 0.0) start -= BLOCK, passed -= blocks[start / BLOCK];
    for (int64_t at = start, is_found = 0; at < start + BLOCK && at < count && !is_found; at += WIDE) {
        floats weight = weight_of(below(logits, at, count, temperature, highest));
        for (int lane = 0; lane < WIDE && !is_found; lane++) {
            passed += weight[lane];
            if (weight[lane] > 0.0f) found = at + lane;
            is_found = passed > target;
        }
    }
    *token = found;
    *logprob = (float)((double)below(logits, found, count, temperature, highest)[0] - log(sum));
    *entropy = (float)(log(sum) - mean / sum);
}

/* `blocks`: room for a sum of each 256 tokens, for each thread. */
void draw(
    const bf16 *logits, int64_t rows, int64_t count, double temperature, const double *uniforms, double *blocks, int64_t *tokens,
    float *logprobs, float *entropies, int64_t threads) {
    int64_t each = (count + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads((int)threads)
    for (int64_t row = 0; row < rows; row++)
        draw_one(
            logits + row * count, count, (float)temperature, uniforms[row], blocks + omp_get_thread_num() * each, tokens + row,
            logprobs + row, entropies + row);
}

/* ---- laying out ---- */

/* A matrix of outputs × inputs, row by row, into panels; outputs beyond the last are zeros. */
void lay_panels(uint32_t *panels, const bf16 *matrix, int64_t stride, int64_t outputs, int64_t inputs, int64_t threads) {
    int64_t blocks = (outputs + WIDE - 1) / WIDE, pairs = inputs / 2;
#pragma omp parallel for num_threads((int)threads)
    for (int64_t block = 0; block < blocks; block++)
        for (int64_t lane = 0; lane < WIDE; lane++) {
            uint32_t *to = panels + block * pairs * WIDE + lane;
            int64_t output = block * WIDE + lane;
            for (int64_t pair = 0; pair < pairs; pair++) {
                uint32_t found = 0;
                if (output < outputs) memcpy(&found, matrix + output * stride + 2 * pair, sizeof found);
                to[pair * WIDE] = found;
            }
        }
}
