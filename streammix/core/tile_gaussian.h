/* Normals and multivariate Normals over a tile of records: densities and sums of one component. Several vectors of rows
 * go side by side, so that sums wait for nobody and a parameter is read once for all of them. */

#define SIDE 8               /* vectors side by side */
#define FEW (W == 8 ? 8 : 4) /* where two of each are held: half of the registers */
#define PAIR (W == 8 ? 2 : LANES / W) /* in low tiles */

/* unrolled at once, so that the vectors never see memory */
#define ABREAST_OF(n) _Pragma("GCC unroll 8") for (int h = 0; h < n; h++)

/* read once: the compiler would read it again for each use, and reading is what these loops wait for */
#if defined(__x86_64__)
#define IN_REGISTER(v) __asm__("" : "+v"(v))
#else
#define IN_REGISTER(v) (void)(v)
#endif

/* mean - x: the sign is nothing to a square */
ALWAYS_INLINE vd to_mean(const double *x, const double *own, int apart) {
    vd d = own[0] - CONST_AT(x);
    if (apart) d += own[1];
    return d;
}

/* where a unit's deviations start from: its column, or the same less the origin */
ALWAYS_INLINE const double *unit_values(const block *b, const tile *t, const double *centred, int u, int apart) {
    return apart ? t->x + b->column[u] * TILE : centred + u * TILE;
}

/* the log density of a row doesn't depend on the other rows of its tile: a missing cell takes its constant back */
ALWAYS_INLINE void some_squares(const block *b, const double *f, const double *centred, const tile *t, int apart,
                                int missing, int i, const int side, double *lp) {
    const vd constant = all(f[0]);
    const int units = b->units;
    vd q[SIDE];
    ABREAST_OF(side) q[h] = constant;
    for (int u = 0; u < units; u++) {
        const double *own = f + HEAD + u * FOUR, *x = unit_values(b, t, centred, u, apart) + i;
        const vd half = all(own[2]); /* the precision times -1/2: exactly so, as powers of 2 go */
        if (missing && t->gaps[b->column[u]] > 0.0) {
            const double *seen = t->seen + b->column[u] * TILE + i;
            const vd back = all(-own[3]);
            ABREAST_OF(side) {
                vd d = to_mean(x + h * W, own, apart);
                q[h] = where_positive(seen + h * W, plus_product(q[h], d * d, half), q[h] + back);
            }
        } else
            ABREAST_OF(side) {
                vd d = to_mean(x + h * W, own, apart);
                q[h] = plus_product(q[h], d * d, half);
            }
    }
    ABREAST_OF(side) add_density(lp + i + h * W, q[h]);
}

ALWAYS_INLINE void normal_squares(const block *b, const double *f, const double *centred, const tile *t, int apart,
                                  int missing, double *lp) {
    int i = 0;
    for (; i + SIDE * W <= t->height; i += SIDE * W) some_squares(b, f, centred, t, apart, missing, i, SIDE, lp);
    for (; i + PAIR * W <= t->height; i += PAIR * W) some_squares(b, f, centred, t, apart, missing, i, PAIR, lp);
    if (i < t->height) some_squares(b, f, centred, t, apart, missing, i, LANES / W, lp);
}

static void normal_rows_density(const block *b, const double *f, const double *centred, const tile *t, double *lp) {
    const int apart = f[1] > 0.0;
    if (t->missing && apart) normal_squares(b, f, centred, t, 1, 1, lp);
    else if (t->missing) normal_squares(b, f, centred, t, 0, 1, lp);
    else if (apart)
        normal_squares(b, f, centred, t, 1, 0, lp);
    else
        normal_squares(b, f, centred, t, 0, 0, lp);
}

/* adds the sums of deviations and of their squares of `n` units, at most ABREAST */
ALWAYS_INLINE void normal_moments(const int *column, const double *own, const double *centred, const double *r,
                                  const tile *t, int apart, int missing, int n, double *sum) {
    vd parts[2 * ABREAST][LANES / W];
    const double *x[ABREAST];
    const int height = t->height;
    for (int u = 0; u < n; u++) x[u] = apart ? t->x + column[u] * TILE : centred + u * TILE;
    for (int h = 0; h < LANES; h += W) {
        vd first[ABREAST], second[ABREAST];
        for (int u = 0; u < n; u++) first[u] = second[u] = all(0.0);
#pragma GCC unroll 1 /* unrolled, it would not fit the registers */
        for (int i = h; i < height; i += LANES) {
            const vd weight = CONST_AT(r + i);
            for (int u = 0; u < n; u++) {
                vd d = to_mean(x[u] + i, own + u * FOUR, apart), v = weight * d;
                if (missing) v = select_(CONST_AT(t->seen + column[u] * TILE + i) > 0.0, v, all(0.0));
                first[u] -= v;
                second[u] = plus_product(second[u], v, d);
            }
        }
        for (int u = 0; u < n; u++) {
            parts[2 * u][PART(h)] = first[u];
            parts[2 * u + 1][PART(h)] = second[u];
        }
    }
    if (n == ABREAST) add_sums_of_lanes((const vd(*)[LANES / W])parts, sum);
    else
        for (int u = 0; u < 2 * n; u++) sum[u] += sum_of_lanes(parts[u]);
}

ALWAYS_INLINE void normal_units_sums(const block *b, const double *f, const double *centred, const double *r,
                                     const tile *t, int apart, int missing, double *sum) {
    const double *own = f + HEAD;
    int u = 0;
    for (; u + ABREAST <= b->units; u += ABREAST)
        normal_moments(b->column + u, own + u * FOUR, centred + u * TILE, r, t, apart, missing, ABREAST, sum + 2 * u);
    for (; u < b->units; u++)
        normal_moments(b->column + u, own + u * FOUR, centred + u * TILE, r, t, apart, missing, 1, sum + 2 * u);
}

static void normal_rows_sums(const block *b, const double *f, const double *centred, const double *r, const tile *t,
                             double *sum) {
    const int apart = f[1] > 0.0;
    if (t->missing && apart) normal_units_sums(b, f, centred, r, t, 1, 1, sum);
    else if (t->missing) normal_units_sums(b, f, centred, r, t, 0, 1, sum);
    else if (apart) normal_units_sums(b, f, centred, r, t, 1, 0, sum);
    else normal_units_sums(b, f, centred, r, t, 0, 0, sum);
}

#define FEW_ROWS 16 /* of a tile: up to there, they are taken one by one */

/* the same sums of the rows that respond, fields in lanes: `across` has each row's x - origin together */
static void normal_listed_sums(const block *b, const double *f, uint64_t respond, const double *r, const double *across,
                               double *sums) {
    const int P = round_up(b->units);
    const double *own = f + HEAD;
    double mean[P] __attribute__((aligned(64)));
    for (int u = 0; u < P; u++) mean[u] = u < b->units ? own[u * FOUR] : 0.0;
    for (int u = 0; u < P; u += W) {
        vd first = AT(sums + u), second = AT(sums + P + u);
        for (uint64_t left = respond; left; left &= left - 1) {
            const int i = __builtin_ctzll(left);
            const vd d = CONST_AT(across + i * P + u) - CONST_AT(mean + u), v = d * r[i];
            first += v;
            second = plus_product(second, v, d);
        }
        AT(sums + u) = first;
        AT(sums + P + u) = second;
    }
}

/* ---- multivariate */

/* y = L^-1 (x - mean), of the coordinates from an even `first` up to `last`, two of them at once; `side` vectors of rows,
 * to whose sums of squares q they are added */
ALWAYS_INLINE void mvn_forward(int D, const double *f, const double *x, int apart, int first, int last, int side,
                               double *solved, vd *q) {
    const double *L = f + 3 * D;
    vd y[FEW], z[FEW];
    int a = first;
    for (; a + 1 < last; a += 2) {
        const double *row = L + triangle(a), *next = row + a;
        ABREAST_OF(side) {
            y[h] = CONST_AT(x + a * TILE + h * W) - f[a];
            z[h] = CONST_AT(x + (a + 1) * TILE + h * W) - f[a + 1];
        }
        if (apart) ABREAST_OF(side) {
            y[h] -= f[D + a];
            z[h] -= f[D + a + 1];
        }
        for (int j = 0; j < a; j++) {
            vd l = all(row[j]), m = all(next[j]);
            ABREAST_OF(side) {
                vd yj = CONST_AT(solved + j * TILE + h * W);
                IN_REGISTER(yj);
                y[h] = less_product(y[h], l, yj);
                z[h] = less_product(z[h], m, yj);
            }
        }
        ABREAST_OF(side) {
            AT(solved + a * TILE + h * W) = y[h];
            q[h] = plus_product(q[h], y[h] * y[h], all(f[2 * D + a]));
            z[h] = less_product(z[h], all(next[a]), y[h]);
            AT(solved + (a + 1) * TILE + h * W) = z[h];
            q[h] = plus_product(q[h], z[h] * z[h], all(f[2 * D + a + 1]));
        }
    }
    if (a < last) {
        const double *row = L + triangle(a);
        ABREAST_OF(side) y[h] = CONST_AT(x + a * TILE + h * W) - f[a];
        if (apart) ABREAST_OF(side) y[h] -= f[D + a];
        for (int j = 0; j < a; j++)
            ABREAST_OF(side) y[h] = less_product(y[h], all(row[j]), CONST_AT(solved + j * TILE + h * W));
        ABREAST_OF(side) q[h] = plus_product(q[h], y[h] * y[h], all(f[2 * D + a]));
    }
}

/* where a component's deviations start from, as for Normals */
ALWAYS_INLINE const double *mvn_values(const block *b, const tile *t, const double *centred, int apart) {
    return apart ? t->x + b->column[0] * TILE : centred;
}

static inline int is_apart(const engine *e, const block *b, const tile *t, int k) {
    return t->near[(b - e->blocks) * (long)e->kpad + k] == 0.0;
}

ALWAYS_INLINE void some_density(int D, const double *f, double constant, const double *x, int apart, const int side,
                                double *solved, double *lp) {
    vd q[FEW];
    ABREAST_OF(side) q[h] = all(0.0);
    mvn_forward(D, f, x, apart, 0, D, side, solved, q);
    ABREAST_OF(side) add_density(lp + h * W, constant - 0.5 * q[h]);
}

ALWAYS_INLINE void mvn_tile_density(int D, const double *f, double constant, const double *x, int apart, const tile *t,
                                    double *lp) {
    int i = 0;
    for (; i + FEW * W <= t->height; i += FEW * W) some_density(D, f, constant, x + i, apart, FEW, t->y + i, lp + i);
    for (; i + PAIR * W <= t->height; i += PAIR * W) some_density(D, f, constant, x + i, apart, PAIR, t->y + i, lp + i);
    if (i < t->height) some_density(D, f, constant, x + i, apart, LANES / W, t->y + i, lp + i);
}

static void mvn_rows_density(const block *b, const double *f, double constant, const double *centred, int apart, tile *t,
                             double *lp) {
    if (apart) mvn_tile_density(b->size, f, constant, mvn_values(b, t, centred, 1), 1, t, lp);
    else mvn_tile_density(b->size, f, constant, centred, 0, t, lp);
}

/* ---- multivariate, of rows with gaps: components in lanes */

static int tile_pattern(const block *b, const tile *t, int i) {
    int present = 0;
    for (int j = 0; j < b->size; j++) present += t->seen[b->column[j] * TILE + i] > 0.0;
    return present == b->size ? FULL : present ? PARTIAL : ABSENT;
}

static const double *record_of(const engine *e, tile *t, int i) {
    for (int c = 0; c < e->n_columns; c++)
        t->record[c] = t->seen[c * TILE + i] > 0.0 ? t->x[c * TILE + i] : NAN;
    return t->record;
}

typedef struct {
    int n, *order;   /* as in missing.h */
    const double *x; /* D: the coordinates */
    double *factors; /* of all components; behind them the logarithm of the density at the mean */
} partial_row;

/* The factors of a row's pattern of gaps, which are made where they aren't at hand. */
static double *factors_of_pattern(const engine *e, const block *b, const partial_row *p, tile *t) {
    const int D = b->size, kpad = e->kpad;
    const long words = words_of_pattern(t->deep), size = numbers_of_pattern(t->deep, kpad);
    uint64_t key[words];
    memset(key, 0, sizeof key);
    key[0] = b - e->blocks;
    for (int a = 0; a < p->n; a++) key[1 + p->order[a] / 64] |= (uint64_t)1 << p->order[a] % 64;
    for (long i = 0; i < t->n_made && i < t->n_patterns; i++) {
        const uint64_t *known = t->keys + i * words;
        if (known[1] == key[1] && !memcmp(known, key, sizeof key)) return t->reordered + i * size;
    }
    const long place = t->n_made++ % t->n_patterns;
    double *factors = t->reordered + place * size;
    memcpy(t->keys + place * words, key, sizeof key);
    for (int k = 0; k < kpad; k += W) {
        double *F = factors + k;
        mvn_reorder(D, p->n, p->order, t->density_only, b->stat + k, b->theta + k, kpad, F, kpad);
        if (!t->density_only) mvn_conditional_covariance(D, p->n, p->order, F, kpad);
        const density root = mvn_observed_root(D, p->n, p->order, F, kpad);
        *entry(F, (long)D * D + 2 * D, kpad) = density_log(&root) - HALF_LOG_2PI * p->n;
    }
    return factors;
}

static void take_row(const engine *e, const block *b, int i, tile *t, partial_row *p) {
    p->x = record_of(e, t, i) + b->column[0];
    p->n = mvn_order(b->size, p->x, p->order);
    p->factors = factors_of_pattern(e, b, p, t);
}

static void mvn_partial_rows_density(const engine *e, const block *b, int i, tile *t) {
    const int D = b->size, kpad = e->kpad;
    int order[D];
    partial_row p = {0, order, NULL, NULL};
    take_row(e, b, i, t, &p);
    for (int k = 0; k < kpad; k += W) {
        double *F = p.factors + k;
        vd lp = *entry(F, (long)D * D + 2 * D, kpad) -
                mvn_observed_squares(D, p.n, order, p.x, b->stat + k, kpad, F, kpad, (vd *)t->deviations);
        lp = vmax(lp, all(LEAST));
        for (int j = 0; j < W && k + j < e->k; j++)
            if (!b->lanes || b->lanes[k + j]) {
                double *to = t->r + (k + j) * TILE + i;
                *to = fmax(*to + lp[j], LEAST);
            }
    }
}

/* adds to an accumulator's sums of deviations and of their products */
static void mvn_partial_sums(const engine *e, const block *b, int i, tile *t, double *acc) {
    const int D = b->size, kpad = e->kpad;
    vd *filled = (vd *)t->deviations;
    int order[D];
    partial_row p = {0, order, NULL, NULL};
    take_row(e, b, i, t, &p);
    for (int k = 0; k < kpad; k += W) {
        double *F = p.factors + k, *S1 = acc + k, *S2 = S1 + (long)D * kpad;
        vd r = all(0.0);
        for (int j = 0; j < W && k + j < e->k; j++)
            if (!b->lanes || b->lanes[k + j]) r[j] = t->r[(k + j) * TILE + i];
        if (!some(r > 0.0)) continue;
        mvn_observed_squares(D, p.n, order, p.x, b->stat + k, kpad, F, kpad, filled);
        mvn_fill(D, p.n, order, p.x, b->stat + k, kpad, F, kpad, filled);
        for (int a = 0; a < D; a++) {
            const vd share = r * filled[a];
            AT(S1 + (long)a * kpad) += share;
            for (int j = 0; j <= a; j++) AT(S2 + (triangle(a + 1) + j) * kpad) += share * filled[j];
        }
        for (int q = p.n; q < D; q++)
            for (int o = q; o < D; o++)
                AT(S2 + (triangle(order[o] + 1) + order[q]) * kpad) +=
                    r * *entry(F, (long)order[q] * D + order[o], kpad);
    }
}

/* ---- multivariate, sums of whole rows */

/* a block of the outer products' sums, `rows` x `vectors`; each entry is summed in the order of the records */
ALWAYS_INLINE void outer_block(const double *left, const double *right, int n, int P, int rows, int vectors,
                               double *S2) {
    vd s[8][2];
    for (int o = 0; o < rows; o++)
        for (int v = 0; v < vectors; v++) s[o][v] = AT(S2 + o * P + v * W);
    for (int i = 0; i < n; i++, left += P, right += P) {
        vd d[2];
        for (int v = 0; v < vectors; v++) d[v] = CONST_AT(right + v * W);
        for (int o = 0; o < rows; o++)
            for (int v = 0; v < vectors; v++) s[o][v] = plus_product(s[o][v], all(left[o]), d[v]);
    }
    for (int o = 0; o < rows; o++)
        for (int v = 0; v < vectors; v++) AT(S2 + o * P + v * W) = s[o][v];
}

/* the lower triangle of the sum of rows' outer products, and what of the upper one lies in the same vectors */
static void outer_products(const double *delta, int n, int D, double *S2) {
    const int P = round_up(D);
    for (int a = 0, rows; a < D; a += rows) {
        const double *left = delta + a;
        rows = W == 8 && D - a > 4 ? 8 : 4;
        int j = 0;
        for (; j + W < a + rows; j += 2 * W)
            if (rows == 8) outer_block(left, delta + j, n, P, 8, 2, S2 + a * P + j);
            else outer_block(left, delta + j, n, P, 4, 2, S2 + a * P + j);
        if (j >= a + rows) continue;
        if (rows == 8) outer_block(left, delta + j, n, P, 8, 1, S2 + a * P + j);
        else outer_block(left, delta + j, n, P, 4, 1, S2 + a * P + j);
    }
}

/* Adds to the sums of deviations and of outer products. A row's deviations times the root of its responsibility serve
 * both sides of its outer product. */
static void mvn_full_sums(int D, const double *root, const int *rows, int n, const double *across, double *delta,
                          double *own) {
    const int P = round_up(D);
    double *S1 = own + 2 * P, *S2 = S1 + P;
    for (int a = 0; a < P; a += W) {
        const vd anchor = CONST_AT(own + a), offset = CONST_AT(own + P + a);
        vd sum = AT(S1 + a);
        for (int j = 0; j < n; j++) {
            const vd weight = all(root[rows[j]]);
            vd d = normal_deviation(CONST_AT(across + rows[j] * P + a), anchor, offset) * weight;
            AT(delta + j * P + a) = d;
            sum = plus_product(sum, d, weight);
        }
        AT(S1 + a) = sum;
    }
    outer_products(delta, n, D, S2);
}

/* sums of some rows: where few respond, only they cost */
static void mvn_rows_sums(const block *b, uint64_t respond, const double *r, const double *across, const tile *t,
                          double *own) {
    int rows[TILE], n = 0;
    if (respond == ~(uint64_t)0)
        for (; n < TILE; n++) rows[n] = n;
    else
        for (; respond; respond &= respond - 1) rows[n++] = __builtin_ctzll(respond);
    double root[TILE] __attribute__((aligned(64)));
    ROWS AT(root + i) = vsqrt(CONST_AT(r + i));
    mvn_full_sums(b->size, root, rows, n, across, t->delta, own);
}
