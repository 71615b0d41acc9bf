/* Which level this machine runs, and the scalar functions that all levels share. */
#include "engine.h"

extern const kernels kernels_v1;
#if defined(__x86_64__)
extern const kernels kernels_v3, kernels_v4;
#endif

/* The level by name, or the best that this machine has where level is NULL; NULL: not to be had here. */
const kernels *kernels_for(const char *level) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    int v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
    int v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
    if (v4 && (!level || !strcmp(level, "v4"))) return &kernels_v4;
    if (v3 && (!level || !strcmp(level, "v3"))) return &kernels_v3;
#endif
    if (!level || !strcmp(level, "v1")) return &kernels_v1;
    return 0;
}

/* gamma of the record at n after a start of `start` records: a power law, or a constant */
double step_size(const engine *e, double n, double start) {
    if (e->step_kind == 1) return e->step_value;
    double gamma = e->step_value == 1.0 ? 1.0 / (start + n) : pow(1.0 + n / start, -e->step_value) / start;
    return gamma < 1.0 ? gamma : 1.0; /* a start may be worth less than one record */
}

static double log_factorials[MANY_COUNTS];

/* log m! less Stirling's approximation of it */
static double stirling_error(double m) {
    if (m < 16) return log_factorials[(int)m] - ((m + 0.5) * log(m) - m + 0.91893853320467274178);
    double s = 1.0 / (m * m);
    return (1.0 / 12 - s * (1.0 / 360 - s * (1.0 / 1260 - s / 1680))) / m;
}

/* log of Gamma(x)^-1 x^x e^-x / x: what a count adds to a density of Gamma functions; nothing where it is 0 */
double log_count_constant(double x) {
    return x > 0.0 ? -0.91893853320467274178 - 0.5 * log(x) - stirling_error(x) : 0.0;
}

double poisson_constant(double x) { return x < MANY_COUNTS ? -log_factorials[(int)x] : log_count_constant(x); }

/* what counts add to a multinomial's log density, NaN where one is missing: beside deviances, a coefficient's logarithm
 * less the entropies in it */
double counts_constant(int n, const double *x) {
    double sum = 0.0, constant = 0.0;
    for (int j = 0; j < n; j++) sum += x[j] > 0.0 ? x[j] : 0.0;
    for (int j = 0; j < n; j++)
        if (x[j] > 0.0) constant += sum < MANY_COUNTS ? -log_factorials[(int)x[j]] : log_count_constant(x[j]);
    return constant + (sum < MANY_COUNTS ? log_factorials[(int)sum] : -log_count_constant(sum));
}

double binomial_constant(double n, double x) { return counts_constant(2, (double[]){x, n - x}); }

/* called once, when the module is imported */
void fill_tables(void) {
    int sign;
    for (int i = 0; i < MANY_COUNTS; i++) log_factorials[i] = lgamma_r(i + 1.0, &sign);
}

long accumulator_rows(const engine *e) {
    long rows = e->n_masses;
    for (int i = 0; i < e->n_blocks; i++) rows += e->blocks[i].units * e->blocks[i].acc_rows;
    return rows;
}

static long padded(long n) { return (n + LANES - 1) / LANES * LANES; }

/* what accumulate needs besides the accumulator; laid out by carve() in tile.h */
long work_doubles(const engine *e) {
    long n = TILE * (2L * e->n_columns + e->kpad + 6) + padded(e->n_columns), deep = 0;
    for (int i = 0; i < e->n_blocks; i++) {
        const block *b = e->blocks + i;
        n += (long)b->units * (2 * e->kpad + b->acc_rows * e->k * (b->kind != MVN && b->kind != CATEGORICAL));
        if (b->kind == NORMAL || b->kind == LOGNORMAL) n += b->units * (4L * e->k + TILE + 1) + 2 * e->k + 2 * LANES;
        if (b->kind == VONMISES) n += 2L * TILE * b->units;
        if (b->kind != MVN) continue;
        n += e->k * (3 + padded(b->size)) * padded(b->size);
        n += e->k * ((long)b->size * (b->size - 1) / 2 + 3 * b->size) + LANES + TILE * padded(b->size);
        if (b->size > deep) deep = b->size;
    }
    n += (long)e->n_masses * (e->k + TILE + 1) + 2 * LANES;
    n += (e->k + LANES) / 2 + LANES;
    if (ends_in_gaussians(e)) n += (long)e->k * (TILE + 1) + LANES;
    if (deep) n += patterns_kept(deep, e->kpad) * (words_of_pattern(deep) + numbers_of_pattern(deep, e->kpad)) + LANES;
    return n + 2 * TILE * padded(deep) + deep * LANES + 2 * padded(e->n_blocks) + padded(e->n_columns) + 64;
}

/* blend's work: a covariance and its new factor */
long matrix_rows(const engine *e) {
    long rows = 1;
    for (int i = 0; i < e->n_blocks; i++) {
        long D = e->blocks[i].size;
        if (e->blocks[i].kind == MVN && D * (D + 1) > rows) rows = D * (D + 1);
    }
    return rows;
}
