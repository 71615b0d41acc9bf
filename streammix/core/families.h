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

static inline vd normal_step(vd x, vd anchor, vd rho, double *offset, double *variance) {
    vd before = AT(offset), deviation = normal_deviation(x, anchor, before), move = rho * deviation;
    vd after = (1.0 - rho) * (AT(variance) + move * deviation);
    AT(offset) = before + move;
    AT(variance) = after;
    return after;
}

static inline vd normal_variance(vd statistic, vd scale, vd kappa) {
    return vmax(shrink(statistic, scale, kappa), scale * PIVOT_FLOOR);
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
static inline void mean_step(vd x, vd rho, double *mean) { AT(mean) += rho * (x - AT(mean)); }

static inline void exponential_density(density *a, vd x, vd rate) {
    a->sum -= rate * x;
    times(a, rate);
}

static inline void exponential_maximize(vd mean, vd prior, vd kappa, double *theta) {
    AT(theta) = 1.0 / vmax(shrink(mean, prior, kappa), all(SMALLEST));
}

static inline vd geometric_exponent(vd x, vd log_p, vd log_q) { return x * log_q + log_p; }

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
    return vmax(count * slope + floor, all(SMALLEST));
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
    AT(count) += rho * t;
    return t;
}

/* ---- Multivariate Normal: unit lower triangle L and pivots d of the covariance are the statistic */
static inline long triangle(long i) { return i * (i - 1) / 2; }

static inline vd mvn_bounded(vd x) { return vmin(vmax(x, all(-LARGEST)), all(LARGEST)); }

/* The same, its entries within bounds where it is `bounded`; *most gets the greatest of them. */
static inline __attribute__((always_inline)) vd mvn_sum(const int bounded, int D, int first, int last, const double *x,
                                                        const double *stat, const double *theta, int kpad, double *y,
                                                        vd sum, vd *most) {
    const double *anchor = stat, *offset = stat + D * kpad, *L = stat + 3 * D * kpad, *precision = theta + D * kpad;
    vd largest = all(0.0);
    for (int i = first; i < last; i += 2) {
        const int pair = i + 1 < last;
        const double *row = L + triangle(i) * kpad, *next = pair ? row + i * kpad : row;
        const int k = i * kpad, l = pair ? k + kpad : k;
        vd s = normal_deviation(all(x[i]), CONST_AT(anchor + k), CONST_AT(offset + k));
        vd t = normal_deviation(all(x[i + pair]), CONST_AT(anchor + l), CONST_AT(offset + l));
        for (int j = 0; j < k; j += kpad) {
            vd yj = CONST_AT(y + j);
            s -= CONST_AT(row + j) * yj;
            t -= CONST_AT(next + j) * yj;
        }
        if (bounded) s = mvn_bounded(s);
        AT(y + k) = s;
        largest = vmax(vmax(s, -s), largest);
        sum += normal_square(s, CONST_AT(precision + k));
        if (!pair) break;
        t -= CONST_AT(next + k) * s;
        if (bounded) t = mvn_bounded(t);
        AT(y + l) = t;
        largest = vmax(vmax(t, -t), largest);
        sum += normal_square(t, CONST_AT(precision + l));
    }
    *most = largest;
    return sum;
}

/* y = L^-1 (x - mean), kept for the step; of the coordinates from an even `first` up to `last`, two at a time. Returns
 * `sum` and their squares. */
static inline vd mvn_squares(int D, int first, int last, const double *x, const double *stat, const double *theta,
                             int kpad, double *y, vd sum) {
    vd most, squares = mvn_sum(0, D, first, last, x, stat, theta, kpad, y, sum, &most);
    if (every(most <= LARGEST)) return squares;
    return mvn_sum(1, D, first, last, x, stat, theta, kpad, y, sum, &most);
}

/* multiply by the density at the mean */
static inline void mvn_root(density *a, int D, const double *theta, int kpad) {
    const double *root = theta + 3 * D * kpad;
    a->product *= CONST_AT(root);
    a->exponent += (vi)(CONST_AT(root + kpad) + SHIFTER) - (vi)all(SHIFTER);
    renormalise(a);
}

/* covariance' = (1 - rho) (covariance + rho deviation deviation^T): a rank-one update of the factor in O(D^2), where
 * t_i = 1 + rho (y_1^2 / d_1 + ... + y_i^2 / d_i) and the divisions don't wait for one another */
static inline void mvn_step(int D, vd rho, const double *x, double *stat, const double *theta, const double *prior,
                            int kpad, const double *y, double *h) {
    double *anchor = stat, *offset = stat + D * kpad, *d = stat + 2 * D * kpad, *L = stat + 3 * D * kpad;
    const double *inverse = theta + 2 * D * kpad;
    vd kept = 1.0 - rho, sigma = rho, t = all(1.0);
    for (int i = 0; i < D; i += 2) {
        const int k = i * kpad, pair = i + 1 < D, l = pair ? k + kpad : k;
        vd a = CONST_AT(y + k), b = CONST_AT(y + l), offset_a = AT(offset + k), offset_b = AT(offset + l);
        vd ratio_a = a * CONST_AT(inverse + k), ratio_b = b * CONST_AT(inverse + l), of_a, of_b;
        vd t_a = t + rho * (a * ratio_a), t_b = t_a + rho * (b * ratio_b);
        inverses(t_a, t_b, &of_a, &of_b);
        AT(offset + k) = offset_a + rho * normal_deviation(all(x[i]), CONST_AT(anchor + k), offset_a);
        AT(d + k) = vmax(kept * (AT(d + k) + sigma * (a * a)), CONST_AT(prior + k) * PIVOT_FLOOR);
        sigma = rho * of_a;
        AT(h + k) = sigma * ratio_a;
        if (!pair) break;
        AT(offset + l) = offset_b + rho * normal_deviation(all(x[i + 1]), CONST_AT(anchor + l), offset_b);
        AT(d + l) = vmax(kept * (AT(d + l) + sigma * (b * b)), CONST_AT(prior + l) * PIVOT_FLOOR);
        sigma = rho * of_b;
        AT(h + l) = sigma * ratio_b;
        t = t_b;
    }
    for (int i = 1; i < D; i += 2) { /* two rows at a time, the second one entry ahead */
        const int pair = i + 1 < D;
        double *row = L + triangle(i) * kpad, *next = pair ? row + i * kpad : row;
        vd w = CONST_AT(y + i * kpad), v = w;
        if (pair) {
            v = CONST_AT(y + (i + 1) * kpad);
            vd l = AT(next + i * kpad);
            AT(next + i * kpad) = l + CONST_AT(h + i * kpad) * v;
            v += w * l;
        }
        for (int j = (i - 1) * kpad; j >= 0; j -= kpad) {
            vd l = AT(row + j), m = AT(next + j), hj = CONST_AT(h + j), yj = CONST_AT(y + j);
            AT(row + j) = l + hj * w;
            w += yj * l;
            AT(next + j) = m + hj * v;
            v += yj * m;
        }
    }
}

/* the pivot, 1 over it, and 1 over the statistic */
static inline void mvn_parameters(vd statistic, vd pivot, vd inverse, double *theta, int stride) {
    AT(theta) = pivot;
    AT(theta + stride) = inverse * statistic;
    AT(theta + 2 * stride) = inverse * pivot;
}

static inline void mvn_maximize(int D, const double *stat, const double *prior, vd kappa, double *theta, int kpad) {
    density root = density_one();
    for (int i = 0; i < D; i += 2) {
        const int k = i * kpad, l = i + 1 < D ? k + kpad : k;
        const double *pivot = stat + 2 * D * kpad;
        vd a = CONST_AT(pivot + k), b = CONST_AT(pivot + l), scale_a = CONST_AT(prior + k), scale_b = CONST_AT(prior + l);
        vd d_a = vmax(shrink(a, scale_a, kappa), scale_a * PIVOT_FLOOR), of_a;
        vd d_b = vmax(shrink(b, scale_b, kappa), scale_b * PIVOT_FLOOR), of_b;
        inverses(d_a * a, d_b * b, &of_a, &of_b);
        mvn_parameters(a, d_a, of_a, theta + k, D * kpad);
        mvn_parameters(b, d_b, of_b, theta + l, D * kpad);
        times_root(&root, of_a * a);
        if (k != l) times_root(&root, of_b * b);
        if ((i & 126) == 126) renormalise(&root);
    }
    renormalise(&root);
    AT(theta + 3 * D * kpad) = root.product;
    AT(theta + (3 * D + 1) * kpad) = from_int(root.exponent);
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
