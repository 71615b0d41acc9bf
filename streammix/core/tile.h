/* Blocks of records at fixed parameters go in tiles of TILE, rows in lanes. Sums keep row i in the i mod 8-th partial sum,
 * so that their order does not depend on the vector width. */

#define ROWS for (int i = 0; i < TILE; i += W)
#define PART(i) ((i) % LANES / W) /* which vector of partial sums rows i to i + W are in */

/* the pieces of accumulate's work */
typedef struct {
    double *x, *seen;             /* columns x TILE: values with 0 for missing; 1, 0, or -1 outside the support */
    double *gaps;                 /* columns: 1 where some cell of the column isn't seen */
    double *origin, *centred;     /* units of Normals (x TILE): a value amid the components, and x - origin */
    double *r;                    /* k x TILE: log densities, then responsibilities up to scale, then times weights */
    double *common, *weight, *top, *sum, *scale;
    double *away;                 /* the background's log density */
    double *constant;             /* units x 2 x kpad */
    double *factor;               /* the parameters of one component after the other. MVNs: anchor, offset, precision,
                                   * L; Normals: HEAD and FOUR a unit */
    double *angle;                /* von Mises: units x (cos, sin of half the angle) x TILE */
    double *across;               /* MVNs: TILE x padded D: the tile with a record's fields together */
    double *single;               /* k x singles: masses, and the sums of all blocks but MVNs and categoricals */
    long singles;
    double *scatter;              /* MVNs: k x (anchor, offset, S1, S2) */
    double *y, *delta;            /* TILE x padded D */
    double log_total;             /* of the masses */
    double background;            /* its share beside them */
    uint64_t respond;             /* of one component: a bit a row with a share */
    uint64_t *full, *partial;     /* MVNs: a bit a row that has all of the coordinates, or some but not all */
    uint64_t *keys;               /* patterns of gaps: each the number of a block, and a bit a coordinate */
    double *reordered;            /* and numbers_of_pattern for each: the factors of all components in its order */
    long n_patterns, n_made;      /* for how many there is room; how many were made: the oldest make room */
    int deep, density_only;       /* the largest MVN's D; whether no sums are wanted */
    double *deviations, *record;  /* of one record: deep x LANES; columns */
    double *observed;             /* masses x TILE: of those of units with gaps, 1 where a row has some value */
    int *gappy, n_gappy;          /* which those are */
    int missing, outside;         /* some cell of the tile is missing or outside; outside */
    int *live, n_live;            /* the components that may respond to some row; the others' r is 0 */
    double *upper;                /* Gaussians that may be left early: k x TILE: no log density is above it */
    uint64_t *done;               /* and k: a bit a row of which the log density is known */
    int n_plain;                  /* tiles to come that take no such look: the last one found nothing to leave */
} tile;

static double *take(double **work, long n) {
    double *p = *work;
    *work += (n + LANES - 1) / LANES * LANES;
    return p;
}

static inline int round_up(int n) { return (n + LANES - 1) / LANES * LANES; }

static inline void add_density(double *lp, vd v) { AT(lp) = vmax(AT(lp) + v, all(LEAST)); }

#define HEAD 2 /* the sum of the units' constants; whether the component stands apart from the origin */
#define FOUR 4 /* anchor, offset, precision, constant; where it doesn't stand apart: mean - origin, 0, the same */

/* what one component of a block has in tile.factor */
static inline long factor_size(const block *b) {
    if (b->kind == MVN) return triangle(b->size) + 3 * b->size;
    return is_normal(b) ? HEAD + (long)b->units * FOUR : 0;
}

static tile carve(const engine *e, int density_only, double *work) {
    tile t = {0};
    long units = 0, normals = 0, angles = 0, singles = e->n_masses, scatter = 0, factor = 0, across = 0, deep = 0;
    for (int i = 0; i < e->n_blocks; i++) {
        const block *b = e->blocks + i;
        units += b->units;
        if (is_normal(b)) normals += b->units;
        if (b->kind == VONMISES) angles += b->units;
        factor += e->k * factor_size(b);
        if (b->kind == MVN) {
            scatter += e->k * (3 + round_up(b->size)) * round_up(b->size);
            across += TILE * round_up(b->size);
            if (b->size > deep) deep = b->size;
        } else if (b->kind != CATEGORICAL)
            singles += b->units * b->acc_rows;
    }
    t.x = take(&work, (long)e->n_columns * TILE);
    t.seen = take(&work, (long)e->n_columns * TILE);
    t.gaps = take(&work, e->n_columns);
    t.origin = take(&work, normals);
    t.centred = take(&work, normals * TILE);
    t.r = take(&work, (long)e->k * TILE);
    t.common = take(&work, TILE);
    t.weight = take(&work, TILE);
    t.top = take(&work, TILE);
    t.sum = take(&work, TILE);
    t.scale = take(&work, TILE);
    t.away = take(&work, TILE);
    t.constant = take(&work, units * 2 * e->kpad);
    t.factor = take(&work, factor);
    t.angle = take(&work, angles * 2 * TILE);
    t.across = take(&work, across);
    t.singles = singles;
    t.single = take(&work, singles * e->k);
    t.scatter = take(&work, scatter);
    t.y = take(&work, TILE * round_up(deep));
    t.delta = take(&work, TILE * round_up(deep));
    t.full = (uint64_t *)take(&work, e->n_blocks);
    t.partial = (uint64_t *)take(&work, e->n_blocks);
    t.deep = deep;
    t.density_only = density_only;
    t.n_patterns = deep ? patterns_kept(deep, e->kpad) : 0;
    t.keys = (uint64_t *)take(&work, t.n_patterns * words_of_pattern(deep));
    t.reordered = take(&work, t.n_patterns * numbers_of_pattern(deep, e->kpad));
    t.deviations = take(&work, deep * LANES);
    t.record = take(&work, e->n_columns);
    t.observed = take(&work, (long)e->n_masses * TILE);
    t.gappy = (int *)take(&work, e->n_masses);
    t.live = (int *)take(&work, (e->k + 1) / 2);
    if (ends_in_gaussians(e)) {
        t.upper = take(&work, (long)e->k * TILE);
        t.done = (uint64_t *)take(&work, e->k);
    }
    memset(t.across, 0, sizeof(double) * across);
    memset(t.single, 0, sizeof(double) * singles * e->k);
    for (int c = 0; c < e->n_columns; c++) t.gaps[c] = 1.0;
    t.log_total = log(total_mass(e));
    t.background = background_mass(e);
    return t;
}

#define APART 1e5 /* standard deviations from the origin: up to there, x - origin costs a log density about 1e-10 */

/* One component of a block of Normals. Where it is near the origin of each unit, a deviation is one subtraction from
 * what all components share, x - origin; where it isn't, x - anchor keeps what x - origin would lose. */
static void normal_factor(const block *b, int k, int kpad, const double *constant, const double *origin, double *f) {
    double *own = f + HEAD;
    f[0] = f[1] = 0.0;
    for (int u = 0; u < b->units; u++, own += FOUR) {
        own[0] = b->stat[u * 3L * kpad + k];
        own[1] = b->stat[(u * 3L + 1) * kpad + k];
        own[2] = b->theta[(u * 2L + 1) * kpad + k];
        own[3] = constant[u * 2L * kpad + k];
        double distance = own[0] - origin[u];
        f[0] += own[3];
        if (!(distance * distance * own[2] <= APART * APART)) f[1] = 1.0;
    }
    if (f[1] > 0.0) return;
    own = f + HEAD;
    for (int u = 0; u < b->units; u++, own += FOUR) {
        own[0] = (own[0] - origin[u]) + own[1];
        own[1] = 0.0;
    }
}

static int first_served(const engine *e, const block *b) {
    for (int k = 0; k < e->k; k++)
        if (!b->lanes || b->lanes[k]) return k;
    return 0;
}

/* anchor, offset, precision, L of one component after the other; those of a vector of components lie together */
static void group_factors(const block *b, int n_components, int kpad, double *factor) {
    const int D = b->size;
    const long size = factor_size(b);
    for (int first = 0; first < n_components; first += LANES) {
        const int n = n_components - first < LANES ? n_components - first : LANES;
        double *own = factor + first * size;
        for (long j = 0; j < size; j++) {
            const double *from = j < 2 * D || j >= 3 * D ? b->stat + j * kpad : b->theta + (j - D) * kpad;
            for (int k = 0; k < n; k++) own[k * size + j] = from[first + k];
        }
    }
}

/* per unit and component, what does not depend on the record: constants, or for Bernoulli log q and log p */
static void constants(const engine *e, tile *t) {
    const int kpad = e->kpad;
    double *c = t->constant, *s = t->scatter, *factor = t->factor, *origin = t->origin;
    for (int n = 0; n < e->n_blocks; n++) {
        const block *b = e->blocks + n;
        for (int u = 0; u < b->units; u++, c += 2 * kpad) {
            const double *theta = b->theta + u * b->theta_rows * kpad;
            for (int k = 0; k < kpad; k += W) {
                vd v = all(0.0);
                if (b->kind == NORMAL || b->kind == LOGNORMAL)
                    v = 0.5 * vlog(CONST_AT(theta + kpad + k)) - HALF_LOG_2PI;
                if (b->kind == INVERSE_GAUSSIAN) v = 0.5 * vlog(CONST_AT(theta + k)) - HALF_LOG_2PI;
                if (b->kind == EXPONENTIAL || b->kind == UNIFORM) v = vlog(CONST_AT(theta + k));
                if (b->kind == GAMMA || b->kind == VONMISES || b->kind == STUDENT)
                    v = 0.5 * vlog(CONST_AT(theta + 3 * kpad + k));
                if (b->kind == INFLATED) {
                    v = vlog(CONST_AT(inflated_theta(b, theta, KEPT, kpad) + k));
                    if (b->inner == EXPONENTIAL) v += vlog(CONST_AT(theta + k));
                    if (b->inner == GAMMA) v += 0.5 * vlog(CONST_AT(theta + 3 * kpad + k));
                    if (b->inner == NORMAL || b->inner == LOGNORMAL)
                        v += 0.5 * vlog(CONST_AT(theta + kpad + k)) - HALF_LOG_2PI;
                    AT(c + kpad + k) = vlog(vmax(CONST_AT(inflated_theta(b, theta, AT_ZERO, kpad) + k), all(SMALLEST)));
                }
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
        if (is_normal(b)) {
            const int first = first_served(e, b);
            for (int u = 0; u < b->units; u++) origin[u] = b->stat[u * 3L * kpad + first];
            for (int k = 0; k < e->k; k++, factor += factor_size(b))
                normal_factor(b, k, kpad, c - 2L * b->units * kpad, origin, factor);
            origin += b->units;
        }
        if (b->kind != MVN) continue;
        const int D = b->size, P = round_up(D);
        group_factors(b, e->k, kpad, factor);
        factor += e->k * factor_size(b);
        for (int k = 0; k < e->k && !t->density_only; k++, s += (3 + P) * P) {
            memset(s, 0, sizeof(double) * (3 + P) * P);
            for (int j = 0; j < D; j++) {
                s[j] = b->stat[(long)j * kpad + k];
                s[P + j] = b->stat[(long)(D + j) * kpad + k];
            }
        }
    }
}

/* Takes NaN and infinity out of a column. `seen` is written only where it isn't all 1, as it stands without gaps. */
static void mark_gaps(tile *t, int c, vi *missing, vi *outside) {
    double *x = t->x + c * TILE, *seen = t->seen + c * TILE;
    vi gaps = (vi)all(0.0);
    ROWS {
        vd v = AT(x + i);
        vi out = v == INFINITY, none = ~(v < INFINITY);
        *outside |= out;
        gaps |= none;
        AT(x + i) = select_(none, all(0.0), v);
        AT(seen + i) = select_(none, select_(out, all(-1.0), all(0.0)), all(1.0));
    }
    t->gaps[c] = some(gaps);
    *missing |= gaps;
}

/* a square of W x W from rows of one stride to rows of another */
#if W == 8
static inline void transpose(const double *in, long from, double *out, long stride) {
    __m512d v[8], u[8];
    for (int i = 0; i < 8; i++) v[i] = _mm512_loadu_pd(in + i * from);
    for (int i = 0; i < 8; i += 2) {
        u[i] = _mm512_unpacklo_pd(v[i], v[i + 1]);
        u[i + 1] = _mm512_unpackhi_pd(v[i], v[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = i; j < i + 2; j++) {
            v[j] = _mm512_shuffle_f64x2(u[j], u[j + 2], 0x88);
            v[j + 2] = _mm512_shuffle_f64x2(u[j], u[j + 2], 0xdd);
        }
    for (int j = 0; j < 4; j++) {
        _mm512_storeu_pd(out + j * stride, _mm512_shuffle_f64x2(v[j], v[j + 4], 0x88));
        _mm512_storeu_pd(out + (j + 4) * stride, _mm512_shuffle_f64x2(v[j], v[j + 4], 0xdd));
    }
}
#elif W == 4
static inline void transpose(const double *in, long from, double *out, long stride) {
    __m256d v[4], u[4];
    for (int i = 0; i < 4; i++) v[i] = _mm256_loadu_pd(in + i * from);
    for (int i = 0; i < 4; i += 2) {
        u[i] = _mm256_unpacklo_pd(v[i], v[i + 1]);
        u[i + 1] = _mm256_unpackhi_pd(v[i], v[i + 1]);
    }
    for (int j = 0; j < 2; j++) {
        _mm256_storeu_pd(out + j * stride, _mm256_permute2f128_pd(u[j], u[j + 2], 0x20));
        _mm256_storeu_pd(out + (j + 2) * stride, _mm256_permute2f128_pd(u[j], u[j + 2], 0x31));
    }
}
#else
static inline void transpose(const double *in, long from, double *out, long stride) {
    for (int i = 0; i < W; i++)
        for (int j = 0; j < W; j++) out[i * stride + j] = in[j * from + i];
}
#endif

/* the first n of each column of TILE, with each row's numbers together */
static void turn(const double *x, int columns, int n, double *out, long stride) {
    const int square = n - n % W;
    int j = 0;
    for (; j + W <= columns; j += W)
        for (int i = 0; i < square; i += W) transpose(x + j * TILE + i, TILE, out + i * stride + j, stride);
    for (int c = 0; c < columns; c++)
        for (int i = c < j ? square : 0; i < n; i++) out[i * stride + c] = x[c * TILE + i];
}

static void centre(const block *b, const tile *t, const double *origin, double *centred) {
    for (int u = 0; u < b->units; u++)
        ROWS AT(centred + u * TILE + i) = CONST_AT(t->x + b->column[u] * TILE + i) - origin[u];
}

/* which rows have all coordinates of a block, and which have some */
static void find_patterns(const block *b, const tile *t, uint64_t *full, uint64_t *partial) {
    uint64_t every_one = ~(uint64_t)0, any = 0;
    for (int j = 0; j < b->size; j++) {
        const double *seen = t->seen + b->column[j] * TILE;
        uint64_t rows = ~(uint64_t)0;
        if (t->gaps[b->column[j]] > 0.0) {
            rows = 0;
            ROWS rows |= (uint64_t)lanes_of(CONST_AT(seen + i) > 0.0) << i;
        }
        every_one &= rows;
        any |= rows;
    }
    *full = every_one;
    *partial = any & ~every_one;
}

/* W columns of a table, TILE rows of which are at hand as an array whose rows lie together */
static void copy_squares(const cells *first, long begin, double *x) {
    const long stride = first->stride / (long)sizeof(double);
    const double *from = (const double *)first->data + begin * stride;
    ROWS transpose(from + i * stride, stride, x + i, TILE);
}

/* rows of a column, zeros after the last */
static void copy_cells(const table *in, int c, long begin, int n, double *x) {
    read_cells(in, c, begin, n, x);
    for (int i = n; i < TILE; i++) x[i] = 0.0;
}

/* whether some are NaN or infinite: then 0 times them isn't 0 */
static int has_gaps(const double *x) {
    vd zero = all(0.0);
    ROWS zero += CONST_AT(x + i) * 0.0;
    return some(zero != zero);
}

static void load(const engine *e, const table *in, long begin, int n, const double *w, int sums, tile *t) {
    vi missing = (vi)all(0.0), outside = (vi)all(0.0);
    for (int c = 0; c < e->n_columns;) {
        const int side = n == TILE && lie_together(in, c, W) ? W : 1;
        if (side == W) copy_squares(in->cells + c, begin, t->x + c * TILE);
        else copy_cells(in, c, begin, n, t->x + c * TILE);
        for (const int last = c + side; c < last; c++)
            if (t->gaps[c] > 0.0 || has_gaps(t->x + c * TILE)) mark_gaps(t, c, &missing, &outside);
    }
    t->missing = some(missing);
    t->outside = some(outside);
    for (int i = 0; i < TILE; i++) t->weight[i] = i >= n ? 0.0 : w ? w[begin + i] : 1.0;
    double *across = t->across, *origin = t->origin, *centred = t->centred, *angle = t->angle;
    for (int i = 0; i < e->n_blocks; i++) {
        const block *b = e->blocks + i;
        if (is_normal(b)) {
            centre(b, t, origin, centred);
            origin += b->units;
            centred += b->units * TILE;
        }
        for (int u = 0; b->kind == VONMISES && u < b->units; u++, angle += 2 * TILE) {
            for (int row = 0; row < TILE; row++)
                angle[row] = turns_of(t->x[b->column[u] * TILE + row], b->constant);
            for (int row = 0; row < TILE; row += W)
                half_angle(CONST_AT(angle + row), (vd *)(angle + row), (vd *)(angle + TILE + row));
        }
        if (b->kind == MVN) {
            if (t->missing) find_patterns(b, t, t->full + i, t->partial + i);
            if (sums) turn(t->x + b->column[0] * TILE, b->size, TILE, across, round_up(b->size));
            across += TILE * round_up(b->size);
        }
    }
}

/* a record's contribution counts where its cell is seen */
static inline vd where_seen(const tile *t, int column, int i, vd v) {
    return t->missing ? select_(CONST_AT(t->seen + column * TILE + i) > 0.0, v, all(0.0)) : v;
}
