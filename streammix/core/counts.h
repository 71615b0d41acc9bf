/* Poisson, Binomial and Multinomial: counts beside their expectations.
 *
 * Where there are MANY_COUNTS and more, the terms x log p of a log density grow beyond its own size. Then it is taken as
 * minus the deviance, the sum of x log(x / mean) - x + mean, which is small where the density is not (Loader 2000); what
 * all components share follows suit (counts_constant).
 */
static inline vd deviance(vd x, vd mean, vd log_mean) {
    vi none = x == 0.0;
    vd least = select_(none, all(1.0), x);
    return select_(none, mean, x * excess((mean - least) / least, log_mean - vlog(least)));
}

/* ---- Poisson */
static inline vd poisson_few(vd x, vd rate, vd log_rate) { return plus_product(-rate, x, log_rate); }

static inline vd poisson_exponent(vd x, vd rate, vd log_rate) {
    vi many = x >= MANY_COUNTS;
    vd few = poisson_few(x, rate, log_rate);
    return some(many) ? select_(many, -deviance(x, rate, log_rate), few) : few;
}

static inline void poisson_maximize(vd mean, vd prior, vd kappa, double *theta, int kpad) {
    vd rate = vmax(shrink(mean, prior, kappa), all(SMALLEST));
    AT(theta) = rate;
    AT(theta + kpad) = vlog(rate);
}

/* ---- Binomial of n trials */
static inline vd binomial_exponent(vd x, double n, vd p, vd log_p, vd log_q) {
    if (n < MANY_COUNTS) return x * log_p + (n - x) * log_q;
    vd log_n = vlog(all(n));
    return -(deviance(x, n * p, log_n + log_p) + deviance(n - x, n * (1.0 - p), log_n + log_q));
}

static inline void binomial_maximize(vd mean, vd n, vd prior, vd kappa, double *theta, int kpad) {
    vd p = vmin(shrink(mean, prior, kappa) / n, all(1.0));
    AT(theta) = p;
    AT(theta + kpad) = vlog(vmax(p, all(SMALLEST)));
    AT(theta + 2 * kpad) = select_(p < 1.0, vlog_complement(vmin(p, all(1.0 - 0x1p-53))), vlog(all(SMALLEST)));
}

/* ---- Multinomial of n counts given their sum. theta is p[n], log p[n], the mean sum. Counts that are there in part are
 * multinomial again, given the sum of those, with the probabilities p over the sum of theirs. */
static inline double sum_of_counts(int n, const double *row) {
    double sum = 0.0;
    for (int j = 0; j < n; j++) sum += row[j] > 0.0 ? row[j] : 0.0;
    return sum;
}

static inline vd seen_probability(int n, const double *row, const double *theta, int kpad) {
    vd sum = all(SMALLEST);
    for (int j = 0; j < n; j++)
        if (row[j] == row[j]) sum += CONST_AT(theta + j * kpad);
    return sum;
}

/* the sum of all counts that goes with the sum of those that are there, or else what it may count for */
static inline vd scaled_sum(vd sum, vd seen) { return vmin(sum / seen, all(LARGEST)); }

static inline vd multinomial_exponent(int n, const double *row, int pattern, const double *theta, int kpad) {
    const double whole = sum_of_counts(n, row), *log_p = theta + n * kpad;
    vd sum = all(0.0), seen = all(1.0), log_seen = all(0.0);
    if (pattern == PARTIAL) {
        seen = seen_probability(n, row, theta, kpad);
        log_seen = vlog(seen);
    }
    if (whole < MANY_COUNTS) {
        for (int j = 0; j < n; j++) sum += (row[j] > 0.0 ? row[j] : 0.0) * CONST_AT(log_p + j * kpad);
        return sum - whole * log_seen;
    }
    const vd scale = scaled_sum(all(whole), seen), log_scale = vlog(all(whole)) - log_seen;
    for (int j = 0; j < n; j++)
        if (row[j] == row[j])
            sum -= deviance(all(row[j]), scale * CONST_AT(theta + j * kpad), log_scale + CONST_AT(log_p + j * kpad));
    return sum;
}

/* Missing counts enter by their expectation, the sum of those that are there times p over the sum of their p: then the
 * joint density of the counts that are there, given their sum, and of the missing ones is that of a negative
 * multinomial, and its part in p is the product of p^x over all of them. */
static inline void multinomial_step(int n, const double *row, int pattern, vd rho, double *stat, const double *theta,
                                    int kpad) {
    vd scale = all(0.0);
    if (pattern == PARTIAL) scale = scaled_sum(all(sum_of_counts(n, row)), seen_probability(n, row, theta, kpad));
    for (int j = 0; j < n; j++) {
        vd x = scale * CONST_AT(theta + j * kpad);
        if (row[j] == row[j]) x = all(row[j]);
        mean_step(x, rho, stat + j * kpad);
    }
}

static inline void multinomial_maximize(int n, const double *stat, const double *prior, vd kappa, double *theta,
                                        int kpad) {
    vd sum = all(0.0);
    for (int j = 0; j < n * kpad; j += kpad) {
        vd mean = vmax(shrink(CONST_AT(stat + j), CONST_AT(prior + j), kappa), all(SMALLEST));
        AT(theta + j) = mean;
        sum += mean;
    }
    const vd inverse = 1.0 / sum;
    for (int j = 0; j < n * kpad; j += kpad) {
        vd p = vmax(AT(theta + j) * inverse, all(SMALLEST));
        AT(theta + j) = p;
        AT(theta + n * kpad + j) = vlog(p);
    }
    AT(theta + 2 * n * kpad) = sum;
}
