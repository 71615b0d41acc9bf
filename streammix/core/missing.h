/* Gaussian records with some coordinates missing, W components at a time: the observed coordinates are scored by their
 * marginal; the missing ones enter the statistics by their conditional expectation and conditional covariance.
 *
 * A covariance whose rows are taken in another order, the observed ones before the missing, has a factor that follows
 * from L and d by moving one missing row after the other, the last one first, behind the observed rows: a rank-one
 * update, which only adds positive numbers, so that nothing cancels, in O(D^2) a gap.
 *
 * `order` holds the observed coordinates, then the missing ones, each ascending; n is how many are observed. Of a new
 * factor F, [row][stride], entry (i, j), where j now stands before i, is row i * D + j; behind them are the pivots, and
 * 1 over the observed ones. The rows (i, j) of missing i <= j are free: they take the conditional covariance.
 */

/* the order of a record's coordinates */
static inline int mvn_order(int D, const double *x, int *order) {
    int n = 0, last = D;
    for (int i = D - 1; i >= 0; i--)
        if (x[i] != x[i]) order[--last] = i;
    for (int i = 0; n < last; i++)
        if (x[i] == x[i]) order[n++] = i;
    return n;
}

static inline vd *entry(double *F, long row, int stride) { return (vd *)(F + row * stride); }

/* column j takes what column i, which moves behind it, has of some rows */
static inline void rotate(int D, const int *row, const int *end, int i, int j, vd p, vd beta, double *F, int stride) {
    for (; row < end; row++) {
        vd *u = entry(F, (long)*row * D + i, stride), *l = entry(F, (long)*row * D + j, stride);
        const vd v = *u - p * *l;
        *u = v;
        *l += beta * v;
    }
}

/* the factor in another order; without its missing rows where only a density is wanted */
static void mvn_reorder(int D, int n, const int *order, int density_only, const double *stat, const double *theta,
                        int kpad, double *F, int stride) {
    const double *L = stat + 3L * D * kpad;
    const int rows = density_only ? n : D;
    const long pivots = (long)D * D, inverses = pivots + D;
    for (int i = 0; i < D; i++) {
        *entry(F, pivots + i, stride) = CONST_AT(theta + (long)i * kpad);
        *entry(F, inverses + i, stride) = CONST_AT(theta + (long)(D + i) * kpad);
    }
    for (int a = 0; a < rows; a++)
        for (int i = order[a], j = 0; j < i; j++)
            *entry(F, (long)i * D + j, stride) = CONST_AT(L + (triangle(i) + j) * kpad);
    for (int q = D - 1, first = n; q >= n; q--) {
        const int i = order[q];
        vd alpha = *entry(F, pivots + i, stride);
        while (first > 0 && order[first - 1] > i) first--;
        for (int a = first; a < n; a++) {
            const int j = order[a];
            vd *pivot = entry(F, pivots + j, stride);
            const vd before = *pivot, p = *entry(F, (long)j * D + i, stride), share = alpha * p;
            const vd after = before + share * p, inverse = 1.0 / after, beta = share * inverse;
            *pivot = after;
            *entry(F, inverses + j, stride) = inverse;
            alpha *= before * inverse;
            rotate(D, order + a + 1, order + n, i, j, p, beta, F, stride);
            if (!density_only) rotate(D, order + q + 1, order + D, i, j, p, beta, F, stride);
            *entry(F, (long)i * D + j, stride) = beta;
        }
        *entry(F, pivots + i, stride) = alpha;
    }
}

/* y, the observed deviations freed of those before them; returns half the sum of their squares over the pivots */
static vd mvn_observed_squares(int D, int n, const int *order, const double *x, const double *stat, int kpad, double *F,
                               int stride, vd *y) {
    vd sum = all(0.0);
    for (int a = 0; a < n; a++) {
        const int i = order[a];
        vd s = normal_deviation(all(x[i]), CONST_AT(stat + (long)i * kpad), CONST_AT(stat + (long)(D + i) * kpad));
        for (int b = 0; b < a; b++) s -= *entry(F, (long)i * D + order[b], stride) * y[order[b]];
        y[i] = s = mvn_bounded(s);
        sum += normal_square(s, *entry(F, (long)D * D + D + i, stride));
    }
    return sum;
}

/* the deviations, with the gaps filled by their conditional expectation, in place of y */
static void mvn_fill(int D, int n, const int *order, const double *x, const double *stat, int kpad, double *F,
                     int stride, vd *y) {
    for (int q = n; q < D; q++) {
        const int i = order[q];
        vd s = all(0.0);
        for (int b = 0; b < n; b++) s += *entry(F, (long)i * D + order[b], stride) * y[order[b]];
        y[i] = mvn_bounded(s);
    }
    for (int a = 0; a < n; a++) {
        const int i = order[a];
        y[i] = normal_deviation(all(x[i]), CONST_AT(stat + (long)i * kpad), CONST_AT(stat + (long)(D + i) * kpad));
    }
}

/* of the missing coordinates, each pair i <= j */
static void mvn_conditional_covariance(int D, int n, const int *order, double *F, int stride) {
    for (int q = n; q < D; q++)
        for (int o = q; o < D; o++) {
            const int i = order[q], j = order[o];
            vd s = *entry(F, (long)D * D + i, stride);
            if (o > q) s *= *entry(F, (long)j * D + i, stride);
            for (int c = n; c < q; c++)
                s += *entry(F, (long)i * D + order[c], stride) * *entry(F, (long)j * D + order[c], stride) *
                     *entry(F, (long)D * D + order[c], stride);
            *entry(F, (long)i * D + j, stride) = s;
        }
}

/* the observed coordinates' density at their mean, but for the constant */
static density mvn_observed_root(int D, int n, const int *order, double *F, int stride) {
    density root = density_one();
    for (int a = 0; a < n; a++) {
        times_root(&root, *entry(F, (long)D * D + D + order[a], stride));
        if ((a & 127) == 127) renormalise(&root);
    }
    renormalise(&root);
    return root;
}

/* ---- one record */

static __attribute__((noinline)) density mvn_partial_density(const engine *e, const block *b, int k,
                                                             const double *row) {
    const int D = b->size, kpad = e->kpad;
    const double *x = row + b->column[0];
    double *F = e->dense;
    int order[D];
    const int n = mvn_order(D, x, order);
    mvn_reorder(D, n, order, 1, b->stat + k, b->theta + k, kpad, F, W);
    density a = mvn_observed_root(D, n, order, F, W);
    a.sum -= mvn_observed_squares(D, n, order, x, b->stat + k, kpad, F, W, entry(F, (long)D * D + 2 * D, W));
    return a;
}

/* covariance + alpha v v^T, where v is 0 before its entry `first`; v is used up */
static void mvn_rank_one(int D, int first, vd alpha, vd *v, double *d, double *L, int kpad) {
    for (int j = first; j < D; j++) {
        double *pivot = d + (long)j * kpad;
        const vd before = AT(pivot), p = v[j], share = alpha * p, after = before + share * p;
        const vd inverse = 1.0 / vmax(after, all(SMALLEST)), beta = share * inverse;
        AT(pivot) = after;
        alpha *= before * inverse;
        for (int i = j + 1; i < D; i++) {
            double *l = L + (triangle(i) + j) * kpad;
            v[i] -= p * AT(l);
            AT(l) += beta * v[i];
        }
    }
}

/* covariance' = (1 - rho) (covariance + rho filled filled^T) + rho conditional covariance, as rank-one updates: of the
 * last summand, one by each missing coordinate's column of its factor */
static __attribute__((noinline)) void mvn_partial_step(const engine *e, const block *b, int k, vd rho,
                                                       const double *row) {
    const int D = b->size, kpad = e->kpad;
    const double *x = row + b->column[0], *prior = b->prior + k;
    double *stat = b->stat + k, *d = stat + 2L * D * kpad, *L = stat + 3L * D * kpad, *F = e->dense;
    vd *v = entry(F, (long)D * D + 2 * D, W);
    int order[D];
    const int n = mvn_order(D, x, order);
    mvn_reorder(D, n, order, 0, stat, b->theta + k, kpad, F, W);
    mvn_observed_squares(D, n, order, x, stat, kpad, F, W, v);
    mvn_fill(D, n, order, x, stat, kpad, F, W, v);
    for (int i = 0; i < D; i++) AT(stat + (long)(D + i) * kpad) += rho * v[i];
    mvn_rank_one(D, 0, rho, v, d, L, kpad);
    for (int i = 0; i < D; i++) {
        double *pivot = d + (long)i * kpad;
        AT(pivot) = vmax((1.0 - rho) * AT(pivot), CONST_AT(prior + (long)i * kpad) * b->least[i]);
    }
    for (int q = n; q < D; q++) {
        const int i = order[q];
        for (int j = i; j < D; j++) v[j] = all(0.0);
        v[i] = all(1.0);
        for (int o = q + 1; o < D; o++) v[order[o]] = *entry(F, (long)order[o] * D + i, W);
        mvn_rank_one(D, i, rho * *entry(F, (long)D * D + i, W), v, d, L, kpad);
    }
}

/* ---- regression */

static void regress(engine *e, int number, const double *x, double *out) {
    const block *b = e->blocks + number;
    const int D = b->size, kpad = e->kpad;
    vd *filled = entry(e->dense, (long)D * D + 2 * D, W);
    int order[D];
    const int n = mvn_order(D, x, order);
    for (int k = 0; k < kpad; k += W) {
        const double *stat = b->stat + k;
        mvn_reorder(D, n, order, 0, stat, b->theta + k, kpad, e->dense, W);
        mvn_observed_squares(D, n, order, x, stat, kpad, e->dense, W, filled);
        mvn_fill(D, n, order, x, stat, kpad, e->dense, W, filled);
        for (int i = 0; i < D; i++)
            AT(out + (long)i * kpad + k) =
                CONST_AT(stat + (long)i * kpad) + (CONST_AT(stat + (long)(D + i) * kpad) + filled[i]);
    }
}
