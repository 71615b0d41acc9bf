/* Columns of tables: reading cells as doubles, and checking them. */
#include "engine.h"

#define BLOCK 512 /* cells that are converted at a time: they stay in the first-level cache */

/* the segment that holds a row */
static long segment_of(const table *t, long row) {
    long low = 0, high = t->n_segments - 1;
    while (low < high) {
        long middle = (low + high + 1) / 2;
        if (t->first[middle] <= row) low = middle;
        else high = middle - 1;
    }
    return low;
}

#define CONVERT(type)                                  \
    for (long i = 0; i < n; i++, from += c->stride) { \
        type v;                                        \
        memcpy(&v, from, sizeof v);                    \
        out[i] = (double)v;                            \
    }                                                  \
    break

static inline int bit_at(const uint8_t *bits, long at) { return bits[at >> 3] >> (at & 7) & 1; }

/* n <= 8 bits, which may lie in two bytes, and others above them */
static inline int bits_at(const uint8_t *bits, long at, int n) {
    const int shift = at & 7;
    return bits[at >> 3] >> shift | (shift + n > 8 ? bits[(at >> 3) + 1] << (8 - shift) : 0);
}

/* cells [begin, begin + n) of a segment's column */
static void read_segment(const cells *c, long begin, long n, double *out) {
    const char *from = c->data + begin * c->stride;
    if (c->kind == FLOAT64 && c->stride == sizeof(double)) memcpy(out, from, sizeof(double) * n);
    else if (c->kind == FLOAT32 && c->stride == sizeof(float)) {
        const float *values = (const float *)from;
        for (long i = 0; i < n; i++) out[i] = values[i];
    } else
        switch (c->kind) {
        case FLOAT64: CONVERT(double);
        case FLOAT32: CONVERT(float);
        case INT8: CONVERT(int8_t);
        case INT16: CONVERT(int16_t);
        case INT32: CONVERT(int32_t);
        case INT64: CONVERT(int64_t);
        case UINT8: CONVERT(uint8_t);
        case UINT16: CONVERT(uint16_t);
        case UINT32: CONVERT(uint32_t);
        case UINT64: CONVERT(uint64_t);
        default:
            for (long i = 0; i < n; i++) out[i] = bit_at((const uint8_t *)c->data, c->bit + begin + i);
        }
    if (!c->valid) return;
    for (long i = 0; i < n; i += 8) {
        const int some = n - i < 8 ? (int)(n - i) : 8, all = (1 << some) - 1;
        const int bits = bits_at(c->valid, c->valid_bit + begin + i, some) & all;
        for (int j = 0; bits != all && j < some; j++) { /* no branch: which cells are null can't be foreseen */
            const double choice[2] = {NAN, out[i + j]};
            out[i + j] = choice[bits >> j & 1];
        }
    }
}

void read_cells(const table *t, int column, long begin, long n, double *out) {
    for (long s = t->n_segments == 1 ? 0 : segment_of(t, begin); n > 0; s++) {
        long here = t->first[s + 1] - begin < n ? t->first[s + 1] - begin : n;
        read_segment(t->cells + s * t->n_columns + column, begin - t->first[s], here, out);
        out += here;
        begin += here;
        n -= here;
    }
}

void read_rows(const table *t, long begin, long n, double *out) {
    double x[TILE];
    for (long at = 0; at < n; at += TILE, out += TILE * (long)t->n_columns) {
        int some = n - at < TILE ? (int)(n - at) : TILE;
        for (int c = 0; c < t->n_columns; c++) {
            read_cells(t, c, begin + at, some, x);
            for (int i = 0; i < some; i++) out[i * (long)t->n_columns + c] = x[i];
        }
    }
}

static int is_whole(double v) { return fabs(v) >= 4503599627370496.0 || (double)(int64_t)v == v; }

/* whether a number lies outside the bounds or isn't whole where it has to be; NaN doesn't */
static int is_bad(double v, double low, double high, int whole) {
    return v < low || v > high || (whole && v == v && !is_whole(v));
}

typedef double pair __attribute__((vector_size(16), aligned(8))); /* as wide as every machine has it */
typedef int64_t marks __attribute__((vector_size(16)));

typedef double four __attribute__((vector_size(32), aligned(8)));
typedef int64_t four_marks __attribute__((vector_size(32)));

/* whether all of n groups of SCANNED numbers, a stride apart, lie within their bounds: NaN does nowhere */
static inline __attribute__((always_inline)) int groups_within(const double *x, long n, long stride, const double *low,
                                                               const double *high) {
    const four least = *(const four *)low, most = *(const four *)high;
    four_marks within = {-1, -1, -1, -1};
    for (long i = 0; i < n; i++, x += stride) {
        const four v = *(const four *)x;
        within &= (four_marks)(v >= least) & (four_marks)(v <= most);
    }
    return (within[0] & within[1] & within[2] & within[3]) != 0;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static int groups_within_avx2(const double *x, long n, long stride, const double *low,
                                                              const double *high) {
    return groups_within(x, n, stride, low, high);
}
#endif

static int all_within(const double *x, long n, long stride, const double *low, const double *high) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) return groups_within_avx2(x, n, stride, low, high);
#endif
    return groups_within(x, n, stride, low, high);
}

/* the same of n numbers that lie together */
static int run_within(const double *x, long n, double low, double high) {
    const double least[SCANNED] = {low, low, low, low}, most[SCANNED] = {high, high, high, high};
    int within = all_within(x, n / SCANNED, SCANNED, least, most);
    for (long i = n - n % SCANNED; i < n; i++) within &= x[i] >= low && x[i] <= high;
    return within;
}

/* whether some number lies outside the bounds, and whether some is missing */
static int64_t look(const double *x, long n, double low, double high, int64_t *missing) {
    marks below = {0, 0}, above = {0, 0}, none = {0, 0};
    long i = 0;
    for (; i + 2 <= n; i += 2) {
        pair v = *(const pair *)(x + i);
        below |= (marks)(v < low);
        above |= (marks)(v > high);
        none |= (marks)(v != v);
    }
    for (; i < n; i++) {
        below[0] |= -(int64_t)(x[i] < low || x[i] > high);
        none[0] |= -(int64_t)(x[i] != x[i]);
    }
    *missing = none[0] | none[1];
    return below[0] | below[1] | above[0] | above[1];
}

int lie_together(const table *t, int column, int n) {
    const cells *first = t->cells + column;
    if (t->n_segments != 1 || column + n > t->n_columns || first->stride % (long)sizeof(double) ||
        first->stride < n * (long)sizeof(double) || (uintptr_t)first->data % sizeof(double))
        return 0;
    for (int i = 0; i < n; i++) {
        const cells *c = first + i;
        if (c->kind != FLOAT64 || c->valid || c->stride != first->stride ||
            c->data != first->data + i * (long)sizeof(double))
            return 0;
    }
    return 1;
}

int scan_together(const table *t, int column, const double *low, const double *high, char *gaps) {
    const long stride = t->cells[column].stride / (long)sizeof(double);
    const double *x = (const double *)t->cells[column].data;
    if (all_within(x, t->first[1], stride, low, high)) {
        memset(gaps, 0, SCANNED);
        return 1;
    }
    pair least[SCANNED / 2], most[SCANNED / 2];
    marks out = {0, 0}, none[SCANNED / 2] = {{0, 0}};
    for (int j = 0; j < SCANNED / 2; j++) {
        least[j] = (pair){low[2 * j], low[2 * j + 1]};
        most[j] = (pair){high[2 * j], high[2 * j + 1]};
    }
    for (long i = 0; i < t->first[1]; i++, x += stride)
        for (int j = 0; j < SCANNED / 2; j++) {
            const pair v = *(const pair *)(x + 2 * j);
            out |= (marks)(v < least[j]) | (marks)(v > most[j]);
            none[j] |= (marks)(v != v);
        }
    for (int j = 0; j < SCANNED; j++) gaps[j] = none[j / 2][j % 2] ? MAY_BE_MISSING : 0;
    return !(out[0] | out[1]);
}

long scan_column(const table *t, int column, double low, double high, int whole, char *gaps) {
    double block[BLOCK];
    for (long s = 0; s < t->n_segments; s++) {
        const cells *c = t->cells + s * t->n_columns + column;
        long rows = t->first[s + 1] - t->first[s];
        if (c->stride == 0 && rows && c->kind != BIT) rows = 1; /* one value for all */
        for (long at = 0; at < rows; at += BLOCK) {
            long n = rows - at < BLOCK ? rows - at : BLOCK;
            const double *x = block;
            if (c->kind == FLOAT64 && c->stride == sizeof(double) && !c->valid) x = (const double *)c->data + at;
            else read_segment(c, at, n, block);
            if (!whole && run_within(x, n, low, high)) continue;
            int64_t none = 0, out = look(x, n, low, high, &none);
            if (whole)
                for (long i = 0; i < n; i++) out |= x[i] == x[i] && !is_whole(x[i]);
            if (none) *gaps = MAY_BE_MISSING;
            for (long i = 0; out && i < n; i++)
                if (is_bad(x[i], low, high, whole)) return t->first[s] + at + i;
        }
    }
    return -1;
}
