/* One record: the E-step over all components. */

#define LOG_2 0.6931471805599453
#define LEAST -1e300 /* of a log density, but for those of scipy.stats: a record that overflows is possible */

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

static inline vd rough_log_masses(const engine *e, int k) { return rough_log(CONST_AT(e->mass + k) + e->weight_prior); }

/* The log densities of W components, of which e->lp has the squares of the head; returned with their masses. `top` is the
 * greatest of such so far. */
static __attribute__((noinline)) vd gaussian_density(engine *e, int k, const double *row, vd top) {
    const int last = e->n_blocks - 1;
    const vd mass = rough_log_masses(e, k);
    const block *b = e->blocks + last;
    density a;
    vd dead = blocks_density(e, k, row, last, &a, e->kpad), squares = CONST_AT(e->lp + k);
    mvn_root(&a, b->size, b->theta + k, e->kpad);
    const vd most = a.sum + e->common[last] + from_int(a.exponent) * 0.34657359027997264 + dead + mass + 1.0;
    for (int i = NEAREST; i < b->size; i += NEAREST) {
        if (every(most - squares < top - (FAINT + 2.0))) {
            AT(e->lp + k) = all(-INFINITY);
            AT(e->root + k) = all(1.0);
            return all(-INFINITY);
        }
        squares = gaussian_squares(e, k, row, i, i + NEAREST < b->size ? i + NEAREST : b->size, squares);
    }
    a.sum = vmax(a.sum - squares, all(LEAST)) + e->common[last];
    return write_density(e, k, &a, dead) + mass;
}

/* the most likely components by the head first: what the others are held against */
static void many_densities(engine *e, const double *row) {
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
    for (int k = 0; k < e->kpad; k += W) {
        const vd scale = CONST_AT(e->lp + k);
        if (every(scale == -INFINITY)) continue;
        AT(e->lp + k) = select_(scale + rough_log_masses(e, k) < top - FAINT, all(-INFINITY), scale);
    }
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
        if (is_far) a.sum = vmax(a.sum, all(LEAST));
        small &= write_density(e, k, &a, dead) < HIGHEST;
    }
    return every(small);
}

/* the background's log density */
static double background_density(const engine *e, const double *row) {
    double sum = 0.0;
    for (int c = 0; c < e->n_columns; c++) {
        double x = row[c];
        if (x < INFINITY) sum -= x == e->point[c] ? LOG_2 : e->width[c] + e->slope[c] * (x > LEAST ? x : LEAST);
    }
    return sum;
}

static inline int note_shares(engine *e, vd top, vd sum) {
    e->top = top[0];
    e->sum = sum[0];
    return LEARNT;
}

/* The shares once the greatest log density is known; IMPOSSIBLE where all are minus infinity. */
static __attribute__((noinline)) int find_shares_from_top(engine *e, const double *row) {
    vd top = highest(e), rest = all(0.0);
    if (!(top[0] > -INFINITY)) {
        find_densities(e, row, 1, e->kpad);
        top = highest(e);
        if (!(top[0] > -INFINITY)) return IMPOSSIBLE;
    }
    if (e->width) {
        const vd away = all(background_density(e, row));
        top = vmax(top, away);
        rest = background_mass(e) * vexp(away - top);
    }
    vd sum = weigh(e, &top, e->kpad) + rest;
    return sum[0] > 0.0 ? note_shares(e, top, sum) : IMPOSSIBLE;
}

/* The shares of a record into e->share, the pieces of its log density into e->top and e->sum. The greatest log density
 * is looked for only where exp would overflow or vanish without it, or where a background is beside the components. */
static inline __attribute__((always_inline)) int find_shares(engine *e, const double *row, const int kpad) {
    prepare(e, row);
    if (kpad >= MANY && leaves_early(e)) many_densities(e, row);
    else if (find_densities(e, row, 0, kpad) && !e->width) {
        vd sum = weigh(e, 0, kpad);
        if (sum[0] > LEAST_SUM) return note_shares(e, all(0.0), sum);
    }
    return find_shares_from_top(e, row);
}

/* The E-step: responsibilities into e->r. */
static int expect(engine *e, const double *row) {
    int status = find_shares(e, row, e->kpad);
    const vd sum = all(e->sum);
    for (int k = 0; k < e->kpad && !status; k += W) AT(e->r + k) = CONST_AT(e->share + k) / sum;
    return status;
}
