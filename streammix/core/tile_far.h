/* Many Gaussians over a tile of whole records, where most components can't respond to a row: each row's nearest one by the
 * first coordinates is taken first, and the others are left as soon as they are FAINT beside it. Sums of squares only
 * grow, rounded or not, so what is left early has the same share as it would have in the end: none. */

static int leaves_early_in_tile(const engine *e, const tile *t) {
    if (!t->upper || t->missing || t->n_plain) return 0;
    for (int n = 0; n < e->n_blocks; n++)
        if (e->blocks[n].kind == EXTERNAL) return 0;
    return 1;
}

ALWAYS_INLINE vi in_reach(vd upper, const double *top) { return upper - CONST_AT(top) >= -(FAINT + 1.0); }

/* each row's greatest number of t->upper, and which component's it is */
typedef struct {
    double upper[TILE] __attribute__((aligned(64))), component[TILE] __attribute__((aligned(64)));
} greatest;

static inline void note_greatest(greatest *g, int i, vd upper, vd component) {
    AT(g->component + i) = select_(upper > CONST_AT(g->upper + i), component, CONST_AT(g->component + i));
    AT(g->upper + i) = vmax(upper, CONST_AT(g->upper + i));
}

/* t->upper by the first coordinates */
ALWAYS_INLINE void some_heads(const block *b, const double *c, const double *f, const double *x, int apart, int k, int i,
                              const int side, tile *t, greatest *g) {
    const vd constant = all(c[k]), number = all(k);
    const long at = (long)k * TILE + i;
    vd q[FEW];
    ABREAST_OF(side) q[h] = all(0.0);
    mvn_forward(b->size, f, x + i, apart, 0, NEAREST, side, t->y + i, q);
    for (int h = 0; h < side; h++) {
        const vd upper = CONST_AT(t->r + at + h * W) + (constant - 0.5 * q[h]) + t->log_mass[k];
        AT(t->upper + at + h * W) = upper;
        note_greatest(g, i + h * W, upper, number);
    }
}

static void compare_heads(const engine *e, const block *b, const double *c, const double *f, const double *centred,
                          tile *t, greatest *g) {
    for (int k = 0; k < e->k; k++, f += factor_size(b)) {
        const int apart = is_apart(e, b, t, k);
        const double *x = mvn_values(b, t, centred, apart);
        int i = 0;
        for (; i + FEW * W <= t->height; i += FEW * W) some_heads(b, c, f, x, apart, k, i, FEW, t, g);
        for (; i < t->height; i += LANES) some_heads(b, c, f, x, apart, k, i, LANES / W, t, g);
    }
}

/* some rows' values of a column, together */
static inline void take_rows(const double *x, const int *row, int n, double *out) {
    for (int i = 0; i < n; i++) out[i] = x[row[i]];
}

/* adds the log densities of `side` vectors of rows, or gives up on all of them; returns the work that it was. Where the
 * rows are listed, their values are fetched into `taken` as far as they are needed. */
ALWAYS_INLINE long far_vectors(int D, const double *f, vd constant, double mass, const double *x, int apart,
                               const int *row, double *taken, const double *top, int side, double *solved, double *lp) {
    vd q[FEW];
    ABREAST_OF(side) q[h] = all(0.0);
    for (int a = 0; a < D; a += NEAREST) {
        const int last = a + NEAREST < D ? a + NEAREST : D;
        for (int j = a; row && j < last; j++) take_rows(x + j * TILE, row, side * W, taken + j * TILE);
        mvn_forward(D, f, row ? taken : x, apart, a, last, side, solved, q);
        if (last == D) break;
        vi reach = (vi)all(0.0);
        for (int h = 0; h < side; h++) reach |= in_reach(CONST_AT(lp + h * W) + (constant - 0.5 * q[h]) + mass, top + h * W);
        if (some(reach)) continue;
        for (int h = 0; h < side; h++) AT(lp + h * W) = all(LEAST);
        return (long)side * W * a * a;
    }
    for (int h = 0; h < side; h++) add_density(lp + h * W, constant - 0.5 * q[h]);
    return (long)side * W * D * D;
}

/* one component's log densities of some rows, which are taken together */
static long far_rows(const block *b, const double *f, double constant, double mass, const double *x, int apart,
                     uint64_t rows, const double *top, tile *t, double *lp) {
    const int D = b->size;
    long work = 0;
    if (rows == ~(uint64_t)0) {
        for (int i = 0; i < TILE; i += FEW * W)
            work += far_vectors(D, f, all(constant), mass, x + i, apart, NULL, NULL, top + i, FEW, t->y, lp + i);
        return work;
    }
    double tops[TILE] __attribute__((aligned(64))), values[TILE] __attribute__((aligned(64)));
    int row[TILE], n = 0;
    for (; rows; rows &= rows - 1) row[n++] = __builtin_ctzll(rows);
    const int side = n > 2 * W ? FEW : n > W ? 2 : 1, lanes = (n + side * W - 1) / (side * W) * (side * W);
    for (int i = n; i < lanes; i++) row[i] = row[0];
    take_rows(top, row, lanes, tops);
    take_rows(lp, row, lanes, values);
    for (int i = 0; i < lanes; i += side * W)
        if (side == 2)
            work += far_vectors(D, f, all(constant), mass, x, apart, row + i, t->delta, tops + i, 2, t->y, values + i);
        else if (side == 1)
            work += far_vectors(D, f, all(constant), mass, x, apart, row + i, t->delta, tops + i, 1, t->y, values + i);
        else
            work += far_vectors(D, f, all(constant), mass, x, apart, row + i, t->delta, tops + i, FEW, t->y, values + i);
    for (int i = 0; i < n; i++) lp[row[i]] = values[i];
    return work;
}

/* the rows' log densities by the components that are likeliest for them so far; the greatest, with its mass, in t->top */
static void take_likeliest(const engine *e, const block *b, const double *c, double *factor, const double *centred,
                           const greatest *g, uint64_t left, tile *t) {
    double none[TILE] __attribute__((aligned(64)));
    ROWS AT(none + i) = all(-INFINITY);
    while (left) {
        const int k = (int)g->component[__builtin_ctzll(left)];
        double *r = t->r + k * TILE, *upper = t->upper + k * TILE;
        uint64_t rows = 0;
        ROWS rows |= (uint64_t)lanes_of(CONST_AT(g->component + i) == (double)k) << i;
        rows &= left;
        const int apart = is_apart(e, b, t, k);
        far_rows(b, whole_factor(e, b, t, factor, k), c[k], t->log_mass[k], mvn_values(b, t, centred, apart), apart, rows,
                 none, t, r);
        for (uint64_t own = rows; own; own &= own - 1) {
            const int i = __builtin_ctzll(own);
            upper[i] = r[i] + t->log_mass[k];
            t->top[i] = upper[i] > t->top[i] ? upper[i] : t->top[i];
        }
        t->done[k] |= rows;
        left &= ~rows;
    }
}

#define ROUNDS 8 /* of looking for a component that comes near what the first coordinates promise */

/* t->top: a log density, with its mass, that others are to be held against; whose are known is in t->done */
static void find_likeliest(const engine *e, const block *b, const double *c, double *factor, const double *centred,
                           tile *t) {
    greatest g;
    uint64_t left = t->given;
    ROWS AT(t->top + i) = AT(g.upper + i) = all(-INFINITY), AT(g.component + i) = all(0.0);
    compare_heads(e, b, c, factor, centred, t, &g);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t unlike = 0;
        take_likeliest(e, b, c, factor, centred, &g, left, t);
        ROWS unlike |= (uint64_t)lanes_of(CONST_AT(g.upper + i) - CONST_AT(t->top + i) > 0.5 * FAINT) << i;
        left &= unlike;
        if (!left) return;
        ROWS AT(g.upper + i) = all(-INFINITY);
        for (int k = 0; k < e->k; k++) ROWS note_greatest(&g, i, CONST_AT(t->upper + k * TILE + i), all(k));
        for (uint64_t known = left; known; known &= known - 1) {
            const int i = __builtin_ctzll(known);
            if (t->done[(int)g.component[i]] >> i & 1) left &= ~((uint64_t)1 << i);
        }
    }
}

/* adds the last block's log densities, and lists the components that may respond */
static void far_block_rows(const engine *e, const block *b, const double *c, double *factor, const double *centred,
                           tile *t) {
    long work = 0;
    memset(t->done, 0, sizeof(uint64_t) * e->k);
    find_likeliest(e, b, c, factor, centred, t);
    t->n_live = 0;
    for (int k = 0; k < e->k; k++) {
        double *lp = t->r + k * TILE, *upper = t->upper + k * TILE;
        uint64_t rows = 0;
        ROWS rows |= (uint64_t)lanes_of(in_reach(CONST_AT(upper + i), t->top + i)) << i;
        rows &= t->given;
        if (!(rows | t->done[k])) {
            if (e->n_blocks > 1) memset(lp, 0, sizeof(double) * TILE);
            continue;
        }
        t->live[t->n_live++] = k;
        ROWS AT(lp + i) = select_(in_reach(CONST_AT(upper + i), t->top + i), CONST_AT(lp + i), all(LEAST));
        rows &= ~t->done[k];
        if (!rows) continue;
        const int apart = is_apart(e, b, t, k);
        work += far_rows(b, whole_factor(e, b, t, factor, k), c[k], t->log_mass[k], mvn_values(b, t, centred, apart), apart,
                         rows, t->top, t, lp);
    }
    if (work > e->k * TILE * b->size * b->size / 4 * 3) t->n_plain = 16;
}
