/* Blocks of records at fixed parameters go in tiles of TILE, rows in lanes. Sums keep row i in the i mod 8-th partial sum,
 * so that their order does not depend on the vector width. */

#define ROWS for (int i = 0; i < TILE; i += W)

/* the pieces of accumulate's work */
typedef struct {
    double *x, *seen;             /* columns x TILE: values with 0 for missing; 1, 0, or -1 outside the support */
    double *r;                    /* k x TILE: log densities, then responsibilities times weights */
    double *common, *weight, *top, *sum;
    double *constant;             /* units x 2 x kpad */
    double *factor;               /* MVNs: k x (anchor, offset, precision, L); Normals: k x units x FOUR: the same numbers
                                   * as in stat, theta and constant, with each component's together */
    double *across;               /* MVNs: TILE x padded D: the tile with a record's fields together */
    double *partial;              /* partial sums: rows x k x 8 */
    double *scatter;              /* MVNs: k x (anchor, offset, S1, S2) */
    double *y, *delta, *weighted; /* TILE x padded D */
    double *dense, *filled, *record;
    double likelihood[LANES] __attribute__((aligned(64))); /* partial sums of weighted log densities */
    int missing, outside;         /* some cell of the tile is missing or outside; outside */
} tile;

static inline int some(vi mask) {
    int64_t any = 0;
    for (int j = 0; j < W; j++) any |= mask[j];
    return any != 0;
}

static double *take(double **work, long n) {
    double *p = *work;
    *work += (n + LANES - 1) / LANES * LANES;
    return p;
}

static inline int round_up(int n) { return (n + LANES - 1) / LANES * LANES; }

#define FOUR 4 /* anchor, offset, precision, constant */

/* what one component of a block has in tile.factor */
static inline long factor_size(const block *b) {
    if (b->kind == MVN) return triangle(b->size) + 3 * b->size;
    return b->kind == NORMAL || b->kind == LOGNORMAL ? (long)b->units * FOUR : 0;
}

static tile carve(const engine *e, double *work) {
    tile t = {0};
    long units = 0, partial = e->n_masses, scatter = 0, factor = 0, across = 0, deep = 0;
    for (int i = 0; i < e->n_blocks; i++) {
        const block *b = e->blocks + i;
        units += b->units;
        factor += e->k * factor_size(b);
        if (b->kind == MVN) {
            scatter += e->k * (3 + round_up(b->size)) * round_up(b->size);
            across += TILE * round_up(b->size);
            if (b->size > deep) deep = b->size;
        } else if (b->kind != CATEGORICAL)
            partial += b->units * b->acc_rows;
    }
    t.x = take(&work, (long)e->n_columns * TILE);
    t.seen = take(&work, (long)e->n_columns * TILE);
    t.r = take(&work, (long)e->k * TILE);
    t.common = take(&work, TILE);
    t.weight = take(&work, TILE);
    t.top = take(&work, TILE);
    t.sum = take(&work, TILE);
    t.constant = take(&work, units * 2 * e->kpad);
    t.factor = take(&work, factor);
    t.across = take(&work, across);
    t.partial = take(&work, partial * e->k * LANES);
    t.scatter = take(&work, scatter);
    t.y = take(&work, TILE * round_up(deep));
    t.delta = take(&work, TILE * round_up(deep));
    t.weighted = take(&work, TILE * round_up(deep));
    t.dense = take(&work, 4 * deep * deep + 4 * deep);
    t.filled = take(&work, deep * deep + deep);
    t.record = take(&work, e->n_columns);
    memset(t.partial, 0, sizeof(double) * partial * e->k * LANES);
    return t;
}

/* per unit and component, what does not depend on the record: constants, or for Bernoulli log q and log p */
static void constants(const engine *e, tile *t) {
    const int kpad = e->kpad;
    double *c = t->constant, *s = t->scatter, *factor = t->factor;
    for (int n = 0; n < e->n_blocks; n++) {
        const block *b = e->blocks + n;
        for (int u = 0; u < b->units; u++, c += 2 * kpad) {
            const double *theta = b->theta + u * b->theta_rows * kpad;
            for (int k = 0; k < kpad; k += W) {
                vd v = all(0.0);
                if (b->kind == NORMAL || b->kind == LOGNORMAL)
                    v = 0.5 * vlog(CONST_AT(theta + kpad + k)) - HALF_LOG_2PI;
                if (b->kind == EXPONENTIAL) v = vlog(CONST_AT(theta + k));
                if (b->kind == BERNOULLI) {
                    v = vlog(vmax(CONST_AT(theta + kpad + k), all(SMALLEST)));
                    AT(c + kpad + k) = vlog(vmax(CONST_AT(theta + k), all(SMALLEST)));
                }
                if (b->kind == MVN) {
                    density a = density_one();
                    for (int j = 0; j < b->size; j++) {
                        times_root(&a, CONST_AT(theta + (b->size + j) * kpad + k));
                        renormalise(&a);
                    }
                    v = density_log(&a) - HALF_LOG_2PI * b->size;
                }
                AT(c + k) = v;
            }
        }
        if (b->kind == NORMAL || b->kind == LOGNORMAL) {
            const double *own = c - 2L * b->units * kpad;
            for (int k = 0; k < e->k; k++)
                for (int u = 0; u < b->units; u++, factor += FOUR) {
                    factor[0] = b->stat[u * 3L * kpad + k];
                    factor[1] = b->stat[(u * 3L + 1) * kpad + k];
                    factor[2] = b->theta[(u * 2L + 1) * kpad + k];
                    factor[3] = own[u * 2L * kpad + k];
                }
        }
        if (b->kind != MVN) continue;
        const int D = b->size, P = round_up(D);
        for (int k = 0; k < e->k; k++, s += (3 + P) * P, factor += factor_size(b)) {
            for (int j = 0; j < 2 * D; j++) factor[j] = b->stat[(long)j * kpad + k];
            for (int j = 0; j < D; j++) factor[2 * D + j] = b->theta[(long)(D + j) * kpad + k];
            for (long j = 0; j < triangle(D); j++) factor[3 * D + j] = b->stat[(3L * D + j) * kpad + k];
            memset(s, 0, sizeof(double) * (3 + P) * P);
            for (int j = 0; j < D; j++) {
                s[j] = b->stat[(long)j * kpad + k];
                s[P + j] = b->stat[(long)(D + j) * kpad + k];
            }
        }
    }
}

static void load(const engine *e, const table *in, long begin, int n, const double *w, tile *t) {
    vi missing = (vi)all(0.0), outside = (vi)all(0.0);
    for (int c = 0; c < e->n_columns; c++) {
        double *x = t->x + c * TILE;
        read_cells(in, c, begin, n, x);
        for (int i = n; i < TILE; i++) x[i] = 0.0;
        ROWS {
            vd v = AT(x + i);
            vi out = v == INFINITY, none = (v != v) | out;
            missing |= none;
            outside |= out;
            AT(x + i) = select_(none, all(0.0), v);
            AT(t->seen + c * TILE + i) = select_(none, select_(out, all(-1.0), all(0.0)), all(1.0));
        }
    }
    t->missing = some(missing);
    t->outside = some(outside);
    for (int i = 0; i < TILE; i++) t->weight[i] = i >= n ? 0.0 : w ? w[begin + i] : 1.0;
    double *across = t->across;
    for (int i = 0; i < e->n_blocks; i++) {
        const block *b = e->blocks + i;
        if (b->kind != MVN) continue;
        const int P = round_up(b->size);
        for (int j = 0; j < b->size; j++)
            for (int row = 0; row < TILE; row++) across[row * P + j] = t->x[(b->column[0] + j) * TILE + row];
        for (int j = b->size; j < P; j++)
            for (int row = 0; row < TILE; row++) across[row * P + j] = 0.0;
        across += TILE * P;
    }
}

/* a record's contribution counts where its cell is seen */
static inline vd where_seen(const tile *t, int column, int i, vd v) {
    return t->missing ? select_(CONST_AT(t->seen + column * TILE + i) > 0.0, v, all(0.0)) : v;
}
