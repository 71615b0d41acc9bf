/* The mathematics of each family, once: over vectors whose lanes are components (a record) or records (a block).
 *
 * A family has a log density, a step of its statistics towards one record (weight rho), and an M-step from the
 * statistics to theta. kappa is the share of the prior's pseudo-observations in the M-step.
 */
#define HALF_LOG_2PI 0.91893853320467274178

static inline vd shrink(vd statistic, vd prior, vd kappa) { return statistic + kappa * (prior - statistic); }

/* ---- Normal: the mean is anchor + offset, so that nothing is lost far from zero */
static inline vd normal_deviation(vd x, vd anchor, vd offset) { return (x - anchor) - offset; }

static inline vd normal_square(vd deviation, vd precision) { return 0.5 * deviation * deviation * precision; }

static inline void normal_density(density *a, vd deviation, vd precision) {
    a->sum -= normal_square(deviation, precision);
    times_root(a, precision);
}

static inline void normal_step(vd deviation, vd rho, double *offset, double *variance) {
    vd move = rho * deviation;
    AT(offset) += move;
    AT(variance) = (1.0 - rho) * (AT(variance) + move * deviation);
}

static inline vd normal_variance(vd statistic, vd scale, vd kappa) {
    return vmax(shrink(statistic, scale, kappa), scale * PIVOT_FLOOR);
}

/* theta of one Normal, and of two for the price of one division */
static inline void normal_maximize(vd variance, double *theta, int kpad) {
    AT(theta) = variance;
    AT(theta + kpad) = 1.0 / variance;
}

static inline void normal_maximize_two(vd one, vd two, double *theta, double *theta_two, int kpad) {
    vd inverse = 1.0 / (one * two);
    AT(theta) = one;
    AT(theta + kpad) = inverse * two;
    AT(theta_two) = two;
    AT(theta_two + kpad) = inverse * one;
}

/* ---- families whose statistic is the mean of x */
static inline void mean_step(vd x, vd rho, double *mean) { AT(mean) += rho * (x - AT(mean)); }

static inline void exponential_density(density *a, vd x, vd rate) {
    a->sum -= rate * x;
    times(a, rate);
}

static inline void exponential_maximize(vd mean, vd prior, vd kappa, double *theta) {
    AT(theta) = 1.0 / vmax(shrink(mean, prior, kappa), all(SMALLEST));
}

static inline vd poisson_exponent(vd x, vd rate, vd log_rate) { return x * log_rate - rate; }

static inline void poisson_maximize(vd mean, vd prior, vd kappa, double *theta, int kpad) {
    vd rate = vmax(shrink(mean, prior, kappa), all(SMALLEST));
    AT(theta) = rate;
    AT(theta + kpad) = vlog(rate);
}

static inline void bernoulli_density(density *a, vd x, vd p, vd q) {
    times(a, vmax(select_(x > 0.5, p, q), all(SMALLEST)));
}

static inline void bernoulli_maximize(vd mean, vd prior, vd kappa, double *theta, int kpad) {
    vd p = vmin(shrink(mean, prior, kappa), all(1.0));
    AT(theta) = p;
    AT(theta + kpad) = 1.0 - p;
}

static inline vd binomial_exponent(vd x, vd n, vd log_p, vd log_q) { return x * log_p + (n - x) * log_q; }

static inline void binomial_maximize(vd mean, vd n, vd prior, vd kappa, double *theta, int kpad) {
    vd p = vmin(shrink(mean, prior, kappa) / n, all(1.0));
    AT(theta) = p;
    AT(theta + kpad) = vlog(vmax(p, all(SMALLEST)));
    AT(theta + 2 * kpad) = select_(p < 1.0, vlog_complement(vmin(p, all(1.0 - 0x1p-53))), vlog(all(SMALLEST)));
}

/* ---- Categorical: counts[v] / total is the share of level v; p = counts[v] * slope + floor */
static inline vd categorical_probability(vd count, vd slope, vd floor) {
    return vmax(count * slope + floor, all(SMALLEST));
}

/* n records, V levels, beta pseudo-observations of each level and of an unseen one */
static inline void categorical_maximize(vd total, vd n, vd beta, double levels, double *theta, int kpad) {
    vd scale = 1.0 / (n + beta * (levels + 1.0));
    AT(theta) = n / total * scale;
    AT(theta + kpad) = beta * scale;
}

#define GROWN 1e100 /* a total beyond it is brought back to 1 */

/* The share of every level shrinks by (1 - rho) through the total alone: O(1) levels are touched. */
static inline vd categorical_step(vd rho, double *total, double *count) {
    vd kept = vmax(1.0 - rho, all(1e-15));
    vd t = AT(total) / kept;
    AT(total) = t;
    AT(count) += rho * t;
    return t;
}

/* ---- Multivariate Normal: unit lower triangle L and pivots d of the covariance are the statistic */
static inline long triangle(long i) { return i * (i - 1) / 2; }

/* y = L^-1 (x - mean), kept for the step */
static inline void mvn_density(density *a, int D, const double *x, const double *stat, const double *theta, int kpad,
                               double *y) {
    const double *anchor = stat, *offset = stat + D * kpad, *L = stat + 3 * D * kpad;
    for (int i = 0; i < D; i++) {
        vd s = normal_deviation(all(x[i]), CONST_AT(anchor + i * kpad), CONST_AT(offset + i * kpad));
        const double *row = L + triangle(i) * kpad;
        for (int j = 0; j < i; j++) s -= CONST_AT(row + j * kpad) * CONST_AT(y + j * kpad);
        s = vmin(vmax(s, all(-LARGEST)), all(LARGEST));
        AT(y + i * kpad) = s;
        normal_density(a, s, CONST_AT(theta + (D + i) * kpad));
        if ((i & 127) == 127) renormalise(a);
    }
}

/* covariance' = (1 - rho) (covariance + rho deviation deviation^T): a rank-one update of the factor in O(D^2) */
static inline void mvn_step(int D, vd rho, const double *x, double *stat, const double *prior, int kpad,
                            const double *y, double *h) {
    double *anchor = stat, *offset = stat + D * kpad, *d = stat + 2 * D * kpad, *L = stat + 3 * D * kpad;
    vd kept = 1.0 - rho, sigma = rho;
    for (int i = 0; i < D; i++) {
        vd deviation = normal_deviation(all(x[i]), AT(anchor + i * kpad), AT(offset + i * kpad));
        AT(offset + i * kpad) += rho * deviation;
        double *row = L + triangle(i) * kpad;
        vd w = CONST_AT(y + i * kpad);
        for (int j = i - 1; j >= 0; j--) {
            vd l = AT(row + j * kpad);
            AT(row + j * kpad) = l + CONST_AT(h + j * kpad) * w;
            w += CONST_AT(y + j * kpad) * l;
        }
        vd pivot = AT(d + i * kpad), yi = CONST_AT(y + i * kpad);
        vd grown = pivot + sigma * yi * yi, inverse = 1.0 / grown;
        AT(h + i * kpad) = sigma * yi * inverse;
        sigma = sigma * pivot * inverse;
        AT(d + i * kpad) = vmax(kept * grown, CONST_AT(prior + i * kpad) * PIVOT_FLOOR);
    }
}

static inline void mvn_maximize(int D, const double *stat, const double *prior, vd kappa, double *theta, int kpad) {
    for (int i = 0; i < D; i++) {
        vd scale = CONST_AT(prior + i * kpad);
        vd d = vmax(shrink(CONST_AT(stat + (2 * D + i) * kpad), scale, kappa), scale * PIVOT_FLOOR);
        AT(theta + i * kpad) = d;
        AT(theta + (D + i) * kpad) = 1.0 / d;
    }
}

/* the lower triangle, row by row, of the covariance behind a factor */
static inline void mvn_covariance(int D, const double *d, const double *L, int kpad, double *C) {
    for (int i = 0; i < D; i++)
        for (int j = 0; j <= i; j++) {
            vd s = CONST_AT(d + j * kpad);
            if (j < i) s *= CONST_AT(L + (triangle(i) + j) * kpad);
            for (int m = 0; m < j; m++) {
                vd l = CONST_AT(L + (triangle(j) + m) * kpad) * CONST_AT(d + m * kpad);
                s += (j < i ? CONST_AT(L + (triangle(i) + m) * kpad) : CONST_AT(L + (triangle(j) + m) * kpad)) * l;
            }
            AT(C + (triangle(i + 1) + j) * kpad) = s;
        }
}

/* the factor of a covariance given as its lower triangle, row by row */
static inline void mvn_factor(int D, const double *C, const double *prior, int kpad, double *d, double *L) {
    for (int i = 0; i < D; i++) {
        double *row = L + triangle(i) * kpad;
        vd pivot = CONST_AT(C + (triangle(i + 1) + i) * kpad);
        for (int j = 0; j < i; j++) {
            vd s = CONST_AT(C + (triangle(i + 1) + j) * kpad);
            const double *other = L + triangle(j) * kpad;
            for (int m = 0; m < j; m++)
                s -= AT(row + m * kpad) * CONST_AT(other + m * kpad) * CONST_AT(d + m * kpad);
            vd l = vmin(vmax(s / CONST_AT(d + j * kpad), all(-LARGEST)), all(LARGEST));
            AT(row + j * kpad) = l;
            pivot -= l * s;
        }
        AT(d + i * kpad) = vmax(pivot, CONST_AT(prior + i * kpad) * PIVOT_FLOOR);
    }
}
