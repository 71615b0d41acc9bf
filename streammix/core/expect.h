/* One record: the E-step over all components. */

/* a missing value (NaN) says nothing; infinity stands for a value outside the support of this unit's family */
static inline void outside(double x, vd *dead) {
    if (x == x) *dead = all(-INFINITY);
}

/* two at a time: their precisions are multiplied before the product is taken apart */
static inline void normals_density(const block *b, int k, int kpad, const double *row, density *a, vd *dead) {
    const double *s = b->stat + k, *t = b->theta + kpad + k;
    const int units = b->units, *column = b->column;
    int u = 0, present = units;
    for (; u + 1 < units; u += 2, s += 6 * kpad, t += 4 * kpad) {
        double x = row[column[u]], y = row[column[u + 1]];
        vd px = CONST_AT(t), py = CONST_AT(t + 2 * kpad);
        if ((u & 127) == 126) renormalise(a);
        if (x < INFINITY && y < INFINITY) {
            a->sum -= normal_square(normal_deviation(all(x), CONST_AT(s), CONST_AT(s + kpad)), px) +
                      normal_square(normal_deviation(all(y), CONST_AT(s + 3 * kpad), CONST_AT(s + 4 * kpad)), py);
            times_root(a, px * py);
            continue;
        }
        if (x < INFINITY) normal_density(a, normal_deviation(all(x), CONST_AT(s), CONST_AT(s + kpad)), px);
        else outside(x, dead), present--;
        if (y < INFINITY)
            normal_density(a, normal_deviation(all(y), CONST_AT(s + 3 * kpad), CONST_AT(s + 4 * kpad)), py);
        else outside(y, dead), present--;
    }
    if (u < units) {
        double x = row[column[u]];
        if (x < INFINITY) normal_density(a, normal_deviation(all(x), CONST_AT(s), CONST_AT(s + kpad)), CONST_AT(t));
        else outside(x, dead), present--;
    }
    a->sum -= HALF_LOG_2PI * present;
}

static inline __attribute__((always_inline)) void block_density(const engine *e, const block *b, int k, const double *row, density *a, vd *dead) {
    const int kpad = e->kpad;
    switch (b->kind) {
    case NORMAL:
    case LOGNORMAL: normals_density(b, k, kpad, row, a, dead); break;
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
            if (x < INFINITY) a->sum += poisson_exponent(all(x), CONST_AT(t), CONST_AT(t + kpad));
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
            double x = row[b->column[2 * u]];
            const double *t = b->theta + u * 4 * kpad + k;
            if (x < INFINITY)
                a->sum += gamma_exponent(all(x), all(row[b->column[2 * u + 1]]), CONST_AT(b->stat + u * 2 * kpad + k),
                                         CONST_AT(t), CONST_AT(t + kpad), CONST_AT(t + 2 * kpad), CONST_AT(t + 3 * kpad));
            else outside(x, dead);
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
    renormalise(a);
}

/* whether every cell is there and inside its support: zero times anything else is not zero */
static inline int is_whole(const double *row, int n) {
    double sum = 0.0;
    for (int c = 0; c < n; c++) sum += 0.0 * row[c];
    return sum == sum;
}

/* sum of log x over a unit's coordinates; where some are missing, what they leave together is one */
static double log_volume(const block *b, int u, const double *row) {
    const double *x = row + b->column[u * b->width], *log_x = x + b->width / 2;
    int pattern = b->kind == GAMMA ? (*x < INFINITY ? FULL : ABSENT) : unit_pattern(b, u, row);
    double sum = pattern == PARTIAL ? log(rest_of(b->size, x)) : 0.0;
    for (int j = 0; j < b->width / 2 && pattern <= PARTIAL; j++) sum += log_x[j] == log_x[j] ? log_x[j] : 0.0;
    return sum;
}

/* whether a family's density has a factor that is the same for all components, beside those that have cases of their own */
static inline int adds_to_all(int kind) {
    return makes_zeros(kind) || kind == LOGNORMAL || kind == GAMMA || kind == INVERSE_GAUSSIAN;
}

/* what does not depend on the component */
static inline void prepare(engine *e, const double *row) {
    e->whole = is_whole(row, e->n_columns);
    for (int i = 0; i < e->n_blocks; i++) {
        const block *b = e->blocks + i;
        double c = 0.0;
        if (b->kind == MVN) {
            int pattern = e->whole ? FULL : unit_pattern(b, 0, row);
            e->pattern[i] = pattern;
            if (pattern == FULL) c = -HALF_LOG_2PI * b->size;
            for (int j = 0; pattern == PARTIAL && j < b->size; j++)
                if (row[b->column[j]] == row[b->column[j]]) c -= HALF_LOG_2PI;
        } else if (b->kind == MULTINOMIAL) {
            e->pattern[i] = e->whole ? FULL : unit_pattern(b, 0, row);
            if (e->pattern[i] <= PARTIAL) c = counts_constant(b->size, row + b->column[0]);
        } else if (b->kind == GAMMA || b->kind == DIRICHLET) {
            for (int u = 0; u < b->units; u++) c -= log_volume(b, u, row);
        } else if (b->kind == VONMISES) {
            for (int u = 0; u < b->units; u++) {
                double x = row[b->column[u]], *angle = e->y + (b->y + u) * e->kpad;
                if (!(x < INFINITY)) continue;
                vd cosine, sine;
                half_angle(all(turns_of(x, b->constant)), &cosine, &sine);
                angle[0] = cosine[0];
                angle[1] = sine[0];
            }
        } else {
            const int inflated = b->kind == INFLATED, kind = inflated ? b->inner : b->kind;
            for (int u = 0; u < b->units && adds_to_all(kind); u++) {
                double x = row[b->column[u * b->width]];
                if (!(x < INFINITY) || (inflated && is_zero(b, x))) continue;
                if (kind == GAMMA) c -= row[b->column[u * b->width] + 1];
                if (kind == NEGATIVE_BINOMIAL) c += log_count_constant(x);
                if (kind == LOGNORMAL) c -= x;
                if (kind == INVERSE_GAUSSIAN) c += inverse_gaussian_common(x);
                if (kind == POISSON) c += poisson_constant(x);
                if (kind == BINOMIAL) c += binomial_constant(b->size, x);
            }
        }
        e->common[i] = c;
    }
}

/* the log densities of W components by the first blocks */
static inline __attribute__((always_inline)) vd blocks_density(const engine *e, int k, const double *row, int n_blocks, density *result) {
    density a = density_one();
    vd dead = CONST_AT(e->bias + k);
    for (int i = 0; i < n_blocks; i++) {
        const block *b = e->blocks + i;
        const density before = a;
        const vd dead_before = dead;
        block_density(e, b, k, row, &a, &dead);
        a.sum += e->common[i];
        if (!b->lanes) continue;
        const vi mask = *(const vi *)(b->lanes + k);
        a.sum = select_(mask, a.sum, before.sum);
        a.product = select_(mask, a.product, before.product);
        a.exponent = (mask & a.exponent) | (~mask & before.exponent);
        dead = select_(mask, dead, dead_before);
    }
    *result = a;
    return dead;
}

/* as exp(e->lp) * e->r */
static inline vd write_density(engine *e, int k, density *a, vd dead) {
    vd root, scale = density_scale(a, &root) + dead;
    AT(e->lp + k) = scale;
    AT(e->r + k) = root;
    return scale;
}

static inline int leaves_early(const engine *e) { return ends_in_gaussians(e) && e->pattern[e->n_blocks - 1] == FULL; }

static inline vd gaussian_squares(const engine *e, int k, const double *row, int first, int last, vd sum) {
    const block *b = e->blocks + e->n_blocks - 1;
    return mvn_squares(b->size, first, last, row + b->column[0], b->stat + k, b->theta + k, e->kpad,
                       e->y + b->y * e->kpad + k, sum);
}

/* the log densities of W components, of which e->lp has the squares of the head; `top` is the greatest so far */
static __attribute__((noinline)) vd gaussian_density(engine *e, int k, const double *row, vd top) {
    const int last = e->n_blocks - 1;
    const block *b = e->blocks + last;
    density a;
    vd dead = blocks_density(e, k, row, last, &a), squares = CONST_AT(e->lp + k);
    mvn_root(&a, b->size, b->theta + k, e->kpad);
    const vd most = a.sum + e->common[last] + from_int(a.exponent) * 0.34657359027997264 + dead + 1.0;
    for (int i = NEAREST; i < b->size; i += NEAREST) {
        if (every(most - squares < top + (EXP_CUT - 2.0))) {
            AT(e->lp + k) = all(-INFINITY);
            AT(e->r + k) = all(1.0);
            return all(-INFINITY);
        }
        squares = gaussian_squares(e, k, row, i, i + NEAREST < b->size ? i + NEAREST : b->size, squares);
    }
    a.sum -= squares;
    a.sum += e->common[last];
    return write_density(e, k, &a, dead);
}

/* the most likely components by the head first: what the others are held against */
static vd many_densities(engine *e, const double *row) {
    int first = 0;
    double least = INFINITY;
    for (int k = 0; k < e->kpad; k += W) {
        vd squares = gaussian_squares(e, k, row, 0, NEAREST, all(0.0));
        AT(e->lp + k) = squares;
        double here = -largest(CONST_AT(e->bias + k) - squares)[0];
        if (here < least) least = here, first = k;
    }
    vd top = largest(gaussian_density(e, first, row, all(-INFINITY)));
    for (int k = 0; k < e->kpad; k += W) {
        if (k == first) continue;
        vd scale = gaussian_density(e, k, row, top);
        if (!every(scale <= top)) top = vmax(largest(scale), top);
    }
    return top;
}

#define LEAST -1e300 /* of a log density, but for those of scipy.stats */

/* the background's log density */
static double background_density(const engine *e, const double *row) {
    double sum = 0.0;
    for (int c = 0; c < e->n_columns; c++) {
        double x = row[c];
        if (x < INFINITY) sum -= e->width[c] + e->slope[c] * (x > LEAST ? x : LEAST);
    }
    return sum;
}

/* The E-step: responsibilities into e->r, the pieces of the record's log density into e->top and e->sum. */
static int expect(engine *e, const double *row) {
    const int kpad = e->kpad;
    prepare(e, row);
    vd top = all(-INFINITY);
    if (leaves_early(e)) top = many_densities(e, row);
    else {
        for (int k = 0; k < kpad; k += W) {
            density a;
            vd dead = blocks_density(e, k, row, e->n_blocks, &a);
            top = vmax(write_density(e, k, &a, dead), top);
        }
        top = largest(top);
    }
    if (!(top[0] > -INFINITY)) return IMPOSSIBLE;
    vd rest = all(0.0);
    if (e->width) {
        const vd away = all(background_density(e, row));
        top = vmax(top, away);
        rest = background_mass(e) * vexp(away - top);
    }
    vd parts[LANES / W], prior = all(e->weight_prior);
    for (int h = 0; h < LANES / W; h++) parts[h] = all(0.0);
    for (int g = 0; g < kpad; g += LANES)
        for (int h = 0; h < LANES / W; h++) {
            const int k = g + h * W;
            vd x = CONST_AT(e->lp + k) - top;
            if (kpad >= MANY && every(x < EXP_CUT)) {
                AT(e->r + k) = all(0.0);
                continue;
            }
            vd t = vexp(x) * (CONST_AT(e->r + k) * (CONST_AT(e->mass + k) + prior));
            AT(e->r + k) = t;
            parts[h] += t;
        }
    const vd sum = spread_sum(parts) + rest, inverse = 1.0 / sum;
    if (!(sum[0] > 0.0)) return IMPOSSIBLE;
    for (int k = 0; k < kpad; k += W) AT(e->r + k) *= inverse;
    e->top = top[0];
    e->sum = sum[0];
    return LEARNT;
}
