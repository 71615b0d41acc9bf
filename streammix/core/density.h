/* One record: the log densities of its blocks, W components at a time. */

/* a missing value (NaN) says nothing; infinity stands for a value outside the support of this unit's family */
static inline void outside(double x, vd *dead) {
    if (x == x) *dead = all(-INFINITY);
}

/* twice what two Normals take from a log density; their precisions are multiplied before the product is taken apart */
static inline __attribute__((always_inline)) vd two_normals(double x, double y, const double *s, const double *t,
                                                            int kpad, density *a) {
    vd d = normal_deviation(all(x), CONST_AT(s), CONST_AT(s + kpad)), px = CONST_AT(t);
    vd f = normal_deviation(all(y), CONST_AT(s + 3 * kpad), CONST_AT(s + 4 * kpad)), py = CONST_AT(t + 2 * kpad);
    times_root(a, px * py);
    return plus_product(f * f * py, d * d, px);
}

static inline vd one_normal(double x, const double *s, const double *t, int kpad, density *a, vd *dead) {
    if (!(x < INFINITY)) {
        outside(x, dead);
        return all(0.0);
    }
    vd d = normal_deviation(all(x), CONST_AT(s), CONST_AT(s + kpad));
    times_root(a, CONST_AT(t));
    return d * d * CONST_AT(t);
}

static inline __attribute__((always_inline)) void normals_density(const block *b, int k, const int kpad, int whole,
                                                                  const double *row, density *a, vd *dead) {
    const double *s = b->stat + k, *t = b->theta + kpad + k;
    const int *column = b->column, *last = column + b->units;
    vd squares = all(0.0);
    for (; whole && column + 1 < last; column += 2, s += 6 * kpad, t += 4 * kpad) {
        squares += two_normals(row[column[0]], row[column[1]], s, t, kpad, a);
        if (((last - column) & 127) < 2) renormalise(a);
    }
    for (; column < last; column++, s += 3 * kpad, t += 2 * kpad) {
        squares += one_normal(row[*column], s, t, kpad, a, dead);
        if (((last - column) & 127) < 2) renormalise(a);
    }
    a->sum = less_product(a->sum, all(0.5), squares);
}

#define PRODUCTS 16 /* a product of so many factors in so many blocks stays small */

static inline __attribute__((always_inline)) void other_density(const engine *e, const block *b, int k, const double *row,
                                                                density *a, vd *dead) {
    const int kpad = e->kpad;
    switch (b->kind) {
    case MVN: {
        int pattern = e->pattern[b - e->blocks];
        double *y = e->y + b->y * kpad + k;
        if (pattern == FULL) {
            mvn_root(a, b->size, b->theta + k, kpad);
            a->sum -= mvn_squares(b->size, 0, b->size, row + b->column[0], b->stat + k, b->theta + k, kpad, y, all(0.0));
        } else if (pattern == PARTIAL) {
            density part = mvn_partial_density(e, b, k, row);
            a->sum += part.sum;
            a->product *= part.product;
            a->exponent += part.exponent;
        } else if (pattern == OUTSIDE)
            *dead = all(-INFINITY);
        break;
    }
    case EXPONENTIAL:
        for (int u = 0; u < b->units; u++) {
            double x = row[b->column[u]];
            if (x < INFINITY) exponential_density(a, all(x), CONST_AT(b->theta + u * kpad + k));
            else outside(x, dead);
            if ((u & 63) == 63) renormalise(a);
        }
        break;
    case POISSON:
        for (int u = 0; u < b->units; u++) {
            double x = row[b->column[u]];
            const double *t = b->theta + u * 2 * kpad + k;
            if (x < MANY_COUNTS) a->sum += poisson_few(all(x), CONST_AT(t), CONST_AT(t + kpad));
            else if (x < INFINITY) a->sum += poisson_exponent(all(x), CONST_AT(t), CONST_AT(t + kpad));
            else outside(x, dead);
        }
        break;
    case GEOMETRIC:
        for (int u = 0; u < b->units; u++) {
            double x = row[b->column[u]];
            const double *t = b->theta + u * 3 * kpad + k;
            if (x < INFINITY) a->sum += geometric_exponent(all(x), CONST_AT(t + kpad), CONST_AT(t + 2 * kpad));
            else outside(x, dead);
        }
        break;
    case BERNOULLI:
        for (int u = 0; u < b->units; u++) {
            double x = row[b->column[u]];
            const double *t = b->theta + u * 2 * kpad + k;
            if (x < INFINITY) bernoulli_density(a, all(x), CONST_AT(t), CONST_AT(t + kpad));
            else outside(x, dead);
            if ((u & 63) == 63) renormalise(a);
        }
        break;
    case BINOMIAL:
        for (int u = 0; u < b->units; u++) {
            double x = row[b->column[u]];
            const double *t = b->theta + u * 3 * kpad + k;
            if (x < INFINITY)
                a->sum += binomial_exponent(all(x), b->size, CONST_AT(t), CONST_AT(t + kpad), CONST_AT(t + 2 * kpad));
            else outside(x, dead);
        }
        break;
    case CATEGORICAL: {
        double x = row[b->column[0]];
        if (x == x) {
            vd count = x < b->size ? CONST_AT(b->stat + (1 + (long)x) * kpad + k) : all(0.0);
            times(a, categorical_probability(count, CONST_AT(b->theta + k), CONST_AT(b->theta + kpad + k)));
        }
        break;
    }
    case GAMMA:
        for (int u = 0; u < b->units; u++) {
            const double *t = b->theta + u * 4 * kpad + k;
            double x = row[b->column[2 * u]], log_x = row[b->column[2 * u + 1]], *apart = e->y + (b->y + u) * kpad + k;
            if (x < INFINITY) {
                AT(apart) = gamma_excess(all(x), all(log_x), CONST_AT(b->stat + u * 2 * kpad + k), CONST_AT(t + kpad),
                                         CONST_AT(t + 2 * kpad));
                gamma_density(a, CONST_AT(apart), t, kpad);
            } else
                outside(x, dead);
            if ((u & 63) == 63) renormalise(a);
        }
        break;
    case DIRICHLET:
        for (int u = 0; u < b->units; u++) {
            const double *s = b->stat + u * b->stat_rows * kpad + k, *t = b->theta + u * b->theta_rows * kpad + k;
            const int *column = b->column + u * b->width;
            int pattern = e->whole ? FULL : unit_pattern(b, u, row);
            if (pattern == FULL) a->sum += dirichlet_exponent(b->size, row + column[0], s, t, kpad);
            if (pattern == PARTIAL) a->sum += dirichlet_partial(b->size, row + column[0], t, kpad);
            if (pattern == OUTSIDE) *dead = all(-INFINITY);
        }
        break;
    case MULTINOMIAL: {
        int pattern = e->pattern[b - e->blocks];
        if (pattern <= PARTIAL) a->sum += multinomial_exponent(b->size, row + b->column[0], pattern, b->theta + k, kpad);
        if (pattern == OUTSIDE) *dead = all(-INFINITY);
        break;
    }
    case NEGATIVE_BINOMIAL:
        for (int u = 0; u < b->units; u++) {
            double x = row[b->column[u]];
            if (x < INFINITY) a->sum += negative_binomial_exponent(all(x), latent_of(b->theta + u * 4 * kpad + k, kpad));
            else outside(x, dead);
        }
        break;
    case INVERSE_GAUSSIAN:
        for (int u = 0; u < b->units; u++) {
            double x = row[b->column[u]];
            const double *t = b->theta + u * 3 * kpad + k;
            if (x < INFINITY) {
                a->sum += inverse_gaussian_exponent(all(x), CONST_AT(b->stat + u * 2 * kpad + k), CONST_AT(t + kpad),
                                                    CONST_AT(t + 2 * kpad)) - HALF_LOG_2PI;
                times_root(a, CONST_AT(t));
            } else
                outside(x, dead);
            if ((u & 63) == 63) renormalise(a);
        }
        break;
    case EXTERNAL:
        for (int u = 0; u < b->units; u++) {
            double x = row[b->column[u]];
            if (x == x) *dead += x;
        }
        break;
    case VONMISES:
        for (int u = 0; u < b->units; u++) {
            const double *t = b->theta + u * 4 * kpad + k, *angle = e->y + (b->y + u) * kpad;
            double x = row[b->column[u]];
            if (x < INFINITY) {
                a->sum += vonmises_exponent(all(angle[0]), all(angle[1]), t, kpad);
                times_root(a, CONST_AT(t + 3 * kpad));
            } else
                outside(x, dead);
            if ((u & 63) == 63) renormalise(a);
        }
        break;
    case STUDENT:
        for (int u = 0; u < b->units; u++) {
            const double *s = b->stat + u * 5 * kpad + k, *t = b->theta + u * 6 * kpad + k;
            double x = row[b->column[u]], *log_plus = e->y + (b->y + u) * kpad + k;
            if (x < INFINITY) {
                vd d = normal_deviation(all(x), CONST_AT(s), CONST_AT(s + kpad));
                AT(log_plus) = vlog_plus(student_square(d, t, kpad));
                a->sum += student_exponent(CONST_AT(log_plus), CONST_AT(t));
                times_root(a, CONST_AT(t + 3 * kpad));
            } else
                outside(x, dead);
            if ((u & 63) == 63) renormalise(a);
        }
        break;
    case INFLATED:
        for (int u = 0; u < b->units; u++) {
            const double *s = b->stat + u * b->stat_rows * kpad + k, *t = b->theta + u * b->theta_rows * kpad + k;
            const double *x = row + b->column[u * b->width];
            if (*x < INFINITY) inflated_density(a, b, x, s, t, kpad);
            else outside(*x, dead);
            if ((u & 63) == 63) renormalise(a);
        }
        break;
    case UNIFORM:
        for (int u = 0; u < b->units; u++) {
            double x = row[b->column[u]];
            if (x < INFINITY) times(a, CONST_AT(b->theta + u * kpad + k));
            else outside(x, dead);
            if ((u & 63) == 63) renormalise(a);
        }
        break;
    }
    if (b->units > PRODUCTS) renormalise(a);
}

/* `a` and `dead` where a block serves a component, what they were before it where it doesn't */
static inline void only_lanes(const engine *e, int i, int k, density before, vd dead_before, density *a, vd *dead) {
    const block *b = e->blocks + i;
    const vi mask = *(const vi *)(b->lanes + k);
    a->sum = select_(mask, a->sum + e->common[i], before.sum);
    a->product = select_(mask, a->product, before.product);
    a->exponent = (mask & a->exponent) | (~mask & before.exponent);
    *dead = select_(mask, *dead, dead_before);
}

/* of the families that aren't Normals: apart, so that what those need stays in registers */
static __attribute__((noinline)) vd other_densities(const engine *e, int k, const double *row, int n_blocks, vd dead,
                                                    density *result) {
    density a = *result;
    for (int i = 0; i < n_blocks; i++) {
        const block *b = e->blocks + i;
        const density before = a;
        const vd dead_before = dead;
        if (is_normal(b)) continue;
        other_density(e, b, k, row, &a, &dead);
        if (i % PRODUCTS == PRODUCTS - 1) renormalise(&a);
        if (b->lanes) only_lanes(e, i, k, before, dead_before, &a, &dead);
    }
    *result = a;
    return dead;
}

/* the log densities of W components by the first blocks */
static inline __attribute__((always_inline)) vd blocks_density(const engine *e, int k, const double *row, int n_blocks,
                                                               density *result, const int kpad) {
    density a = density_one();
    vd dead = CONST_AT(e->bias + k);
    double common = 0.0;
    int others = 0;
    for (int i = 0; i < n_blocks; i++) {
        if (!e->blocks[i].lanes) common += e->common[i];
        others += !is_normal(e->blocks + i);
    }
    a.sum = all(common);
    if (others) dead = other_densities(e, k, row, n_blocks, dead, &a);
    for (int i = 0; i < n_blocks && others < n_blocks; i++) {
        const block *b = e->blocks + i;
        const density before = a;
        const vd dead_before = dead;
        if (!is_normal(b)) continue;
        normals_density(b, k, kpad, e->whole, row, &a, &dead);
        if (i % PRODUCTS == PRODUCTS - 1) renormalise(&a);
        if (b->lanes) only_lanes(e, i, k, before, dead_before, &a, &dead);
    }
    *result = a;
    return dead;
}
