/* The mathematics of each family, once: over vectors whose lanes are components (a record) or records (a block).
 *
 * A family has a log density, a step of its statistics towards one record (weight rho), and an M-step from the
 * statistics to theta. kappa is the share of the prior's pseudo-observations in the M-step.
 */
#define HALF_LOG_2PI 0.91893853320467274178

static inline vd shrink(vd statistic, vd prior, vd kappa) {
    return plus_product(statistic, kappa, prior - statistic);
}

/* ---- Normal: the mean is anchor + offset, so that nothing is lost far from zero */
static inline vd normal_deviation(vd x, vd anchor, vd offset) { return (x - anchor) - offset; }

static inline vd normal_square(vd deviation, vd precision) { return 0.5 * deviation * deviation * precision; }

static inline void normal_density(density *a, vd deviation, vd precision) {
    a->sum -= normal_square(deviation, precision);
    times_root(a, precision);
}

static inline vd normal_step(vd x, vd anchor, vd rho, double *offset, double *variance) {
    vd before = AT(offset), deviation = normal_deviation(x, anchor, before), move = rho * deviation;
    vd after = (1.0 - rho) * plus_product(AT(variance), move, deviation);
    AT(offset) = before + move;
    AT(variance) = after;
    return after;
}

static inline vd normal_variance(vd statistic, vd scale, vd kappa, double least) {
    return vmax(shrink(statistic, scale, kappa), scale * least);
}

static inline void normal_maximize(vd variance, double *theta, int kpad) {
    AT(theta) = variance;
    AT(theta + kpad) = 1.0 / variance;
}

static inline void normal_maximize_two(vd one, vd two, vd inverse, double *theta, int kpad) {
    AT(theta) = one;
    AT(theta + kpad) = inverse * two;
    AT(theta + 2 * kpad) = two;
    AT(theta + 3 * kpad) = inverse * one;
}

/* 1 / (one * two) for each of two pairs, by one division where the product of all is a number */
static inline void inverses(vd one, vd two, vd *of_one, vd *of_two) {
    vd both = one * two, inverse = 1.0 / both;
    vi fits = (both > 1e-290) & (both < 1e290);
    *of_one = inverse * two;
    *of_two = inverse * one;
    if (every(fits)) return;
    *of_one = select_(fits, *of_one, 1.0 / one);
    *of_two = select_(fits, *of_two, 1.0 / two);
}

/* 1 / x for each of one, two or four, by one division likewise */
static inline __attribute__((always_inline)) void some_inverses(const int n, const vd *x, vd *of) {
    if (n == 1) of[0] = 1.0 / x[0];
    if (n == 2) inverses(x[0], x[1], of, of + 1);
    if (n < 4) return;
    vd one = x[0] * x[1], two = x[2] * x[3], inverse = 1.0 / (one * two), of_one = inverse * two, of_two = inverse * one;
    vi fits = (vmin(one, two) > 1e-145) & (vmax(one, two) < 1e145);
    of[0] = of_one * x[1], of[1] = of_one * x[0], of[2] = of_two * x[3], of[3] = of_two * x[2];
    if (every(fits)) return;
    vd apart[4];
    inverses(x[0], x[1], apart, apart + 1);
    inverses(x[2], x[3], apart + 2, apart + 3);
    for (int h = 0; h < 4; h++) of[h] = select_(fits, of[h], apart[h]);
}

/* theta of one, two or four Normals, which share a division */
static inline __attribute__((always_inline)) void normals_maximize(const int n, const vd *variance, double *theta,
                                                                   int kpad) {
    if (n == 1) {
        normal_maximize(variance[0], theta, kpad);
        return;
    }
    vd one = variance[0] * variance[1], of_one, of_two;
    if (n == 2) of_one = 1.0 / one;
    else {
        inverses(one, variance[2] * variance[3], &of_one, &of_two);
        normal_maximize_two(variance[2], variance[3], of_two, theta + 4 * kpad, kpad);
    }
    normal_maximize_two(variance[0], variance[1], of_one, theta, kpad);
}

/* ---- families whose statistic is the mean of x */
static inline void mean_step(vd x, vd rho, double *mean) { AT(mean) = plus_product(AT(mean), rho, x - AT(mean)); }

static inline void exponential_density(density *a, vd x, vd rate) {
    a->sum = less_product(a->sum, rate, x);
    times(a, rate);
}

static inline void exponential_maximize(vd mean, vd prior, vd kappa, double *theta) {
    AT(theta) = 1.0 / vmax(shrink(mean, prior, kappa), all(SMALLEST));
}

static inline vd geometric_exponent(vd x, vd log_p, vd log_q) { return plus_product(log_p, x, log_q); }

static inline void geometric_maximize(vd mean, vd prior, vd kappa, double *theta, int kpad) {
    vd m = vmax(shrink(mean, prior, kappa), all(SMALLEST)), p = 1.0 / (1.0 + m), q = m * p;
    vi rare = p < 0.5;
    AT(theta) = p;
    AT(theta + kpad) = select_(rare, vlog(p), vlog_complement(vmin(q, all(0.5))));
    AT(theta + 2 * kpad) = select_(rare, vlog_complement(vmin(p, all(0.5))), vlog(q));
}

static inline void bernoulli_density(density *a, vd x, vd p, vd q) {
    times(a, vmax(select_(x > 0.5, p, q), all(SMALLEST)));
}

static inline void bernoulli_maximize(vd mean, vd prior, vd kappa, double *theta, int kpad) {
    vd p = vmin(shrink(mean, prior, kappa), all(1.0));
    AT(theta) = p;
    AT(theta + kpad) = 1.0 - p;
}

/* ---- Categorical: counts[v] / total is the share of level v; p = counts[v] * slope + floor */
static inline vd categorical_probability(vd count, vd slope, vd floor) {
    return vmax(plus_product(floor, count, slope), all(SMALLEST));
}

/* n records, V levels, beta pseudo-observations of each level and of an unseen one */
static inline void categorical_maximize(vd total, vd n, vd beta, double levels, double *theta, int kpad) {
    vd inverse = 1.0 / (total * (n + beta * (levels + 1.0)));
    AT(theta) = n * inverse;
    AT(theta + kpad) = beta * (total * inverse);
}

#define GROWN 1e100 /* a total beyond it is brought back to 1 */

/* The share of every level shrinks by (1 - rho) through the total alone: O(1) levels are touched. */
static inline vd categorical_step(vd rho, double *total, double *count) {
    vd kept = vmax(1.0 - rho, all(1e-15));
    vd t = AT(total) / kept;
    AT(total) = t;
    AT(count) = plus_product(AT(count), rho, t);
    return t;
}
