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
    int v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    int v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
    if (v4 && (!level || !strcmp(level, "v4"))) return &kernels_v4;
    if (v3 && (!level || !strcmp(level, "v3"))) return &kernels_v3;
#endif
    if (!level || !strcmp(level, "v1")) return &kernels_v1;
    return 0;
}

double step_size(const engine *e, double n, double start) { return kernels_for(0)->step(e, n, start); }

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

/* blend's work: a covariance and its new factor */
long matrix_rows(const engine *e) {
    long rows = 1;
    for (int i = 0; i < e->n_blocks; i++) {
        long D = e->blocks[i].size;
        if (e->blocks[i].kind == MVN && D * (D + 1) > rows) rows = D * (D + 1);
    }
    return rows;
}
