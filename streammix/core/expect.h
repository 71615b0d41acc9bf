/* One record: the E-step over all components. */

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
    return d * d * px + f * f * py;
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
    a->sum -= 0.5 * squares;
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

/* whether every cell is there and inside its support: zero times anything else is not zero */
static inline int is_whole(const double *row, int n) {
    vd sum = all(0.0), x;
    double rest = 0.0;
    if (n < W)
        for (int c = 0; c < n; c++) rest += 0.0 * row[c];
    else
        for (int c = 0; c < n; c += W) {
            memcpy(&x, row + (c + W <= n ? c : n - W), sizeof x);
            sum += 0.0 * x;
        }
    return rest == rest && every(sum == sum);
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

/* how many fields of a block of Normals a record has */
static inline int fields_there(const engine *e, const block *b, const double *row) {
    int n = 0;
    if (e->whole) return b->units;
    for (int u = 0; u < b->units; u++) n += row[b->column[u]] < INFINITY;
    return n;
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
            if (b->kind == NORMAL || b->kind == LOGNORMAL) c -= HALF_LOG_2PI * fields_there(e, b, row);
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

/* `a` and `dead` where a block serves a component, what they were before it where it doesn't */
static inline void only_lanes(const engine *e, int i, int k, density before, vd dead_before, density *a, vd *dead) {
    const block *b = e->blocks + i;
    if (i % PRODUCTS == PRODUCTS - 1) renormalise(a);
    if (!b->lanes) return;
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
        only_lanes(e, i, k, before, dead_before, &a, &dead);
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
    for (int i = 0; i < n_blocks && others < n_blocks; i++) {
        const block *b = e->blocks + i;
        const density before = a;
        const vd dead_before = dead;
        if (!is_normal(b)) continue;
        normals_density(b, k, kpad, e->whole, row, &a, &dead);
        only_lanes(e, i, k, before, dead_before, &a, &dead);
    }
    *result = a;
    return others ? other_densities(e, k, row, n_blocks, dead, result) : dead;
}

#define FARTHEST -1e300 /* a log density that overflows counts as that: the record is possible */

/* as exp(e->lp) * e->root */
static inline vd write_density(engine *e, int k, const density *a, vd dead) {
    vd root, scale = density_scale(a, &root) + dead;
    AT(e->lp + k) = scale;
    AT(e->root + k) = root;
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
    vd dead = blocks_density(e, k, row, last, &a, e->kpad), squares = CONST_AT(e->lp + k);
    mvn_root(&a, b->size, b->theta + k, e->kpad);
    const vd most = a.sum + e->common[last] + from_int(a.exponent) * 0.34657359027997264 + dead + 1.0;
    for (int i = NEAREST; i < b->size; i += NEAREST) {
        if (every(most - squares < top + (EXP_CUT - 2.0))) {
            AT(e->lp + k) = all(-INFINITY);
            AT(e->root + k) = all(1.0);
            return all(-INFINITY);
        }
        squares = gaussian_squares(e, k, row, i, i + NEAREST < b->size ? i + NEAREST : b->size, squares);
    }
    a.sum = vmax(a.sum - squares, all(FARTHEST)) + e->common[last];
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

#define HIGHEST 300.0   /* exp of a log density up to it, times root and mass, is far from infinity */
#define LEAST_SUM 1e-150 /* what exp takes for 0 is far below NEGLIGIBLE of a greater one */

static inline vd highest(const engine *e) {
    vd top = CONST_AT(e->lp);
    for (int k = W; k < e->kpad; k += W) top = vmax(CONST_AT(e->lp + k), top);
    return largest(top);
}

/* The components' shares of a record, up to a factor, into e->share: their masses times exp of their log densities less
 * `top`, where that is not NULL. Returns the sum. */
static inline __attribute__((always_inline)) vd weigh(engine *e, const vd *top, const int kpad) {
    vd parts[LANES / W] = {all(0.0)}, prior = all(e->weight_prior);
    for (int g = 0; g < kpad; g += LANES)
        for (int h = 0; h < LANES / W; h++) {
            const int k = g + h * W;
            vd x = CONST_AT(e->lp + k);
            if (top) x -= *top;
            vd t = all(0.0);
            if (kpad < MANY || !every(x < EXP_CUT))
                t = vexp(x) * (CONST_AT(e->root + k) * (CONST_AT(e->mass + k) + prior));
            AT(e->share + k) = t;
            if (g) parts[h] += t;
            else parts[h] = t;
        }
    return spread_sum(parts);
}

/* The log densities; returns whether they are such that exp of them does not overflow. */
static inline __attribute__((always_inline)) int find_densities(engine *e, const double *row, int is_far, const int kpad) {
    vi small = (vi)all(0.0) - 1;
    for (int k = 0; k < kpad; k += W) {
        density a;
        vd dead = blocks_density(e, k, row, e->n_blocks, &a, kpad);
        if (is_far) a.sum = vmax(a.sum, all(FARTHEST));
        small &= write_density(e, k, &a, dead) < HIGHEST;
    }
    return every(small);
}

static inline int note_shares(engine *e, vd top, vd sum) {
    e->top = top[0];
    e->sum = sum[0];
    return LEARNT;
}

/* The shares where the log densities are too great for exp or all too small for it, IMPOSSIBLE where all are minus
 * infinity: the greatest of them is found first. */
static __attribute__((noinline)) int find_extreme_shares(engine *e, const double *row) {
    vd top = highest(e);
    if (!(top[0] > -INFINITY)) {
        find_densities(e, row, 1, e->kpad);
        top = highest(e);
        if (!(top[0] > -INFINITY)) return IMPOSSIBLE;
    }
    return note_shares(e, top, weigh(e, &top, e->kpad));
}

static __attribute__((noinline)) int find_shares_of_many(engine *e, const double *row) {
    vd top = many_densities(e, row), sum = weigh(e, &top, e->kpad);
    return sum[0] > LEAST_SUM ? note_shares(e, top, sum) : find_extreme_shares(e, row);
}

/* The shares of a record into e->share, the pieces of its log density into e->top and e->sum. The greatest log density
 * is found only where it is needed. */
static inline __attribute__((always_inline)) int find_shares(engine *e, const double *row, const int kpad) {
    prepare(e, row);
    if (kpad >= MANY && leaves_early(e)) return find_shares_of_many(e, row);
    if (!find_densities(e, row, 0, kpad)) return find_extreme_shares(e, row);
    vd sum = weigh(e, 0, kpad);
    return sum[0] > LEAST_SUM ? note_shares(e, all(0.0), sum) : find_extreme_shares(e, row);
}

/* The E-step: responsibilities into e->r. */
static int expect(engine *e, const double *row) {
    int status = find_shares(e, row, e->kpad);
    const vd inverse = all(1.0 / e->sum);
    for (int k = 0; k < e->kpad && !status; k += W) AT(e->r + k) = CONST_AT(e->share + k) * inverse;
    return status;
}
