/* Multivariate Normals, a record: the unit lower triangle L and the pivots d of the covariance are the statistic.
 *
 * Up to 8 components the distance of one row from the next is a constant, so that places are no work. */
static inline long triangle(long i) { return i * (i - 1) / 2; }

static inline vd mvn_bounded(vd x) { return vmin(vmax(x, all(-LARGEST)), all(LARGEST)); }

/* y = L^-1 (x - mean) of n coordinates from the i-th, side by side; returns `sum` and their squares. The entries of y
 * are within bounds where it is `bounded`; *most gets the greatest of them. */
ALWAYS_INLINE vd mvn_squares_of(const int n, const int bounded, long D, long i, const double *x, const double *stat,
                                const double *theta, const long kpad, double *y, vd sum, vd *most) {
    const double *anchor = stat + i * kpad, *offset = anchor + D * kpad, *precision = theta + (D + i) * kpad, *row[4];
    vd s[4];
    row[0] = stat + (3 * D + triangle(i)) * kpad;
    for (int h = 1; h < n; h++) row[h] = row[h - 1] + (i + h - 1) * kpad;
    for (int h = 0; h < n; h++)
        s[h] = normal_deviation(all(x[i + h]), CONST_AT(anchor + h * kpad), CONST_AT(offset + h * kpad));
    for (long j = 0; j < i * kpad; j += kpad) {
        vd yj = CONST_AT(y + j);
        for (int h = 0; h < n; h++) s[h] = less_product(s[h], CONST_AT(row[h] + j), yj);
    }
    y += i * kpad;
    for (int h = 0; h < n; h++) {
        for (int g = 0; g < n - 1; g++)
            if (g < h) s[h] = less_product(s[h], CONST_AT(row[h] + (i + g) * kpad), s[g]);
        if (bounded) s[h] = mvn_bounded(s[h]);
        AT(y + h * kpad) = s[h];
        *most = vmax(vmax(s[h], -s[h]), *most);
        sum = plus_product(sum, 0.5 * s[h] * s[h], CONST_AT(precision + h * kpad));
    }
    return sum;
}

/* the same of the coordinates from `first` up to `last`, four at a time */
ALWAYS_INLINE vd mvn_sum(const int bounded, long D, long first, long last, const double *x, const double *stat,
                         const double *theta, const long kpad, double *y, vd sum, vd *most) {
    vd largest = all(0.0);
    long i = first;
    for (; i + 4 <= last; i += 4) sum = mvn_squares_of(4, bounded, D, i, x, stat, theta, kpad, y, sum, &largest);
    for (; i + 2 <= last; i += 2) sum = mvn_squares_of(2, bounded, D, i, x, stat, theta, kpad, y, sum, &largest);
    for (; i < last; i++) sum = mvn_squares_of(1, bounded, D, i, x, stat, theta, kpad, y, sum, &largest);
    *most = largest;
    return sum;
}

static __attribute__((noinline)) vd mvn_bounded_squares(long D, long first, long last, const double *x,
                                                        const double *stat, const double *theta, long kpad, double *y,
                                                        vd sum) {
    vd most;
    return mvn_sum(1, D, first, last, x, stat, theta, kpad, y, sum, &most);
}

/* y is kept for the step */
static inline vd mvn_squares(long D, long first, long last, const double *x, const double *stat, const double *theta,
                             long kpad, double *y, vd sum) {
    vd most, squares;
    if (kpad == LANES) squares = mvn_sum(0, D, first, last, x, stat, theta, LANES, y, sum, &most);
    else squares = mvn_sum(0, D, first, last, x, stat, theta, kpad, y, sum, &most);
    return every(most <= LARGEST) ? squares : mvn_bounded_squares(D, first, last, x, stat, theta, kpad, y, sum);
}

/* multiply by the density at the mean */
static inline void mvn_root(density *a, int D, const double *theta, int kpad) {
    const double *root = theta + 3 * D * kpad;
    a->product *= CONST_AT(root);
    a->exponent += (vi)(CONST_AT(root + kpad) + SHIFTER) - (vi)all(SHIFTER);
    renormalise(a);
}

/* what the pivots of a factor step by, from one to the next */
typedef struct {
    vd rho, kept, t, sigma;
} pivots;

/* the step of n means and pivots from the i-th, and what their columns of L step by, into h */
ALWAYS_INLINE void some_pivots(const int n, pivots *p, long D, long i, const double *x, double *stat,
                               const double *theta, const double *prior, const double *least, const long kpad,
                               const double *y, double *h) {
    double *anchor = stat + i * kpad, *offset = anchor + D * kpad, *d = offset + D * kpad;
    const double *inverse = theta + (2 * D + i) * kpad;
    vd ratio[4], t[4], of[4];
    prior += i * kpad, y += i * kpad, h += i * kpad;
    for (int g = 0; g < n; g++) {
        vd a = CONST_AT(y + g * kpad);
        ratio[g] = a * CONST_AT(inverse + g * kpad);
        p->t = plus_product(p->t, p->rho, a * ratio[g]);
        t[g] = p->t;
    }
    some_inverses(n, t, of);
    for (int g = 0; g < n; g++) {
        vd a = CONST_AT(y + g * kpad), before = AT(offset + g * kpad), scale = CONST_AT(prior + g * kpad);
        AT(offset + g * kpad) =
            plus_product(before, p->rho, normal_deviation(all(x[i + g]), CONST_AT(anchor + g * kpad), before));
        AT(d + g * kpad) = vmax(p->kept * plus_product(AT(d + g * kpad), p->sigma, a * a), scale * least[i + g]);
        p->sigma = p->rho * of[g];
        AT(h + g * kpad) = p->sigma * ratio[g];
    }
}

ALWAYS_INLINE void entry_step(double *l, vd y, vd h, vd *w) {
    const vd before = AT(l);
    AT(l) = plus_product(before, h, *w);
    *w = plus_product(*w, y, before);
}

/* n rows of L from the i-th, side by side, as each entry waits for the one after it */
ALWAYS_INLINE void some_rows_step(const int n, long i, double *L, const long kpad, const double *y, const double *h) {
    double *row[4];
    vd w[4];
    for (int g = 0; g < n; g++) {
        row[g] = L + triangle(i + g) * kpad;
        w[g] = CONST_AT(y + (i + g) * kpad);
        for (long j = (i + g - 1) * kpad; j >= i * kpad; j -= kpad)
            entry_step(row[g] + j, CONST_AT(y + j), CONST_AT(h + j), w + g);
    }
    for (long j = (i - 1) * kpad; j >= 0; j -= kpad) {
        const vd yj = CONST_AT(y + j), hj = CONST_AT(h + j);
        for (int g = 0; g < n; g++) entry_step(row[g] + j, yj, hj, w + g);
    }
}

/* the last rows first: they are still in the cache from the E-step */
ALWAYS_INLINE void rows_step(long D, double *L, const long kpad, const double *y, const double *h) {
    long i = D;
    for (; i >= 4; i -= 4) some_rows_step(4, i - 4, L, kpad, y, h);
    if (i == 3) some_rows_step(1, 2, L, kpad, y, h);
    if (i >= 2) some_rows_step(2, 0, L, kpad, y, h);
}

ALWAYS_INLINE void mvn_step_by(long D, vd rho, const double *x, double *stat, const double *theta, const double *prior,
                               const double *least, const long kpad, const double *y, double *h) {
    pivots p = {rho, 1.0 - rho, all(1.0), rho};
    long i = 0;
    for (; i + 4 <= D; i += 4) some_pivots(4, &p, D, i, x, stat, theta, prior, least, kpad, y, h);
    for (; i + 2 <= D; i += 2) some_pivots(2, &p, D, i, x, stat, theta, prior, least, kpad, y, h);
    for (; i < D; i++) some_pivots(1, &p, D, i, x, stat, theta, prior, least, kpad, y, h);
    rows_step(D, stat + 3 * D * kpad, kpad, y, h);
}

/* covariance' = (1 - rho) (covariance + rho deviation deviation^T): a rank-one update of the factor in O(D^2), where
 * t_i = 1 + rho (y_1^2 / d_1 + ... + y_i^2 / d_i) and the divisions don't wait for one another */
static inline void mvn_step(long D, vd rho, const double *x, double *stat, const double *theta, const double *prior,
                            const double *least, long kpad, const double *y, double *h) {
    if (kpad == LANES) mvn_step_by(D, rho, x, stat, theta, prior, least, LANES, y, h);
    else mvn_step_by(D, rho, x, stat, theta, prior, least, kpad, y, h);
}

/* the pivot, 1 over it, and 1 over the statistic */
static inline void mvn_parameters(vd statistic, vd pivot, vd inverse, double *theta, long stride) {
    AT(theta) = pivot;
    AT(theta + stride) = inverse * statistic;
    AT(theta + 2 * stride) = inverse * pivot;
}

ALWAYS_INLINE void some_pivots_maximize(const int n, long D, const double *d, const double *prior, const double *least,
                                        vd kappa, double *theta, const long kpad, density *root) {
    vd pivot[4], product[4], of[4];
    for (int h = 0; h < n; h++) {
        vd a = CONST_AT(d + h * kpad), scale = CONST_AT(prior + h * kpad);
        pivot[h] = vmax(shrink(a, scale, kappa), scale * least[h]);
        product[h] = pivot[h] * a;
    }
    some_inverses(n, product, of);
    for (int h = 0; h < n; h++) {
        vd a = CONST_AT(d + h * kpad);
        mvn_parameters(a, pivot[h], of[h], theta + h * kpad, D * kpad);
        times_root(root, of[h] * a);
    }
}

ALWAYS_INLINE void mvn_maximize_by(long D, const double *stat, const double *prior, const double *least, vd kappa,
                                   double *theta, const long kpad) {
    const double *d = stat + 2 * D * kpad;
    density root = density_one();
    long i = 0;
    for (; i + 4 <= D; i += 4) {
        some_pivots_maximize(4, D, d + i * kpad, prior + i * kpad, least + i, kappa, theta + i * kpad, kpad, &root);
        if ((i & 124) == 124) renormalise(&root);
    }
    for (; i + 2 <= D; i += 2)
        some_pivots_maximize(2, D, d + i * kpad, prior + i * kpad, least + i, kappa, theta + i * kpad, kpad, &root);
    for (; i < D; i++) some_pivots_maximize(1, D, d + i * kpad, prior + i * kpad, least + i, kappa, theta + i * kpad, kpad, &root);
    renormalise(&root);
    AT(theta + 3 * D * kpad) = root.product;
    AT(theta + (3 * D + 1) * kpad) = from_int(root.exponent);
}

static inline void mvn_maximize(long D, const double *stat, const double *prior, const double *least, vd kappa,
                                double *theta, long kpad) {
    if (kpad == LANES) mvn_maximize_by(D, stat, prior, least, kappa, theta, LANES);
    else mvn_maximize_by(D, stat, prior, least, kappa, theta, kpad);
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
static inline void mvn_factor(int D, const double *C, const double *prior, const double *least, int kpad, double *d,
                              double *L) {
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
        AT(d + i * kpad) = vmax(pivot, CONST_AT(prior + i * kpad) * least[i]);
    }
}
