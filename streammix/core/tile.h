/* Blocks of records at fixed parameters go in tiles of TILE, rows in lanes. Sums keep row i in the i mod 8-th partial sum,
 * so that their order does not depend on the vector width. */

#define ROWS for (int i = 0, rows_of_tile = t->height; i < rows_of_tile; i += W) /* read once: any store might change it */
#define FEATURES (W == 8 ? 24 : 12) /* sums that a group takes at once: as many as there are registers for */
#define PART(i) ((i) % LANES / W) /* which vector of partial sums rows i to i + W are in */

/* the pieces of accumulate's work */
typedef struct {
    double *x, *seen;             /* columns x TILE: values with 0 for missing; 1, 0, or -1 outside the support */
    double *gaps;                 /* columns: 1 where some cell of the column isn't seen */
    double *origin, *centred;     /* of Normals and MVNs: a value amid the components, and x - origin, x TILE; of
                                   * Normals' units then its squares */
    double *r;                    /* k x TILE: log densities, then responsibilities up to scale, then times weights */
    double *common, *weight, *top, *sum, *scale;
    double *away;                 /* the background's log density */
    double *constant;             /* units x 2 x kpad */
    double *factor;               /* the parameters of one component after the other. MVNs: anchor, offset, precision,
                                   * L; Normals: HEAD and FOUR a unit */
    double *angle;                /* von Mises: units x (cos, sin of half the angle) x TILE */
    double *across;               /* MVNs: TILE x padded D: the tile with a record's fields together */
    double *mass;                 /* masses x kpad: their sums */
    double *tile_mass;            /* the same of this tile */
    double *single;               /* k x singles: the sums of all blocks but MVNs and categoricals */
    long singles;
    double *listed;               /* Normals: k x (S1, S2) of padded units */
    double *begun, *grouped;      /* blocks x kpad / LANES: 1 where there are sums of a group; kpad / LANES x
                                   * group_rows x LANES: those sums (tile_group.h) */
    double *features, *together;  /* FEATURES x TILE; kpad / LANES x TILE x LANES: r, a group with its rows together */
    char *turned;                 /* kpad / LANES: whose r is there */
    double *near;                 /* blocks x kpad: 1 where a component may be summed in a group */
    double *scatter;              /* MVNs: k x (anchor, offset, S1, S2) */
    char *scattered;              /* blocks x k: whether those are begun */
    char *made;                   /* Gaussians that may be left early: kpad / LANES: whether all of the factors is there */
    double *y, *delta;            /* TILE x padded D */
    double log_total;             /* of the masses */
    double background;            /* its share beside them */
    uint64_t *respond;            /* k: a bit a row with a share */
    uint64_t *full, *partial;     /* MVNs: a bit a row that has all of the coordinates, or some but not all */
    uint64_t *keys;               /* patterns of gaps: each the number of a block, and a bit a coordinate */
    double *reordered;            /* and numbers_of_pattern for each: the factors of all components in its order */
    long n_patterns, n_made;      /* for how many there is room; how many were made: the oldest make room */
    int deep, density_only;       /* the largest MVN's D; whether no sums are wanted */
    double *deviations, *record;  /* of one record: deep x LANES; columns */
    double *observed;             /* masses x TILE: of those of units with gaps, 1 where a row has some value */
    int *gappy, n_gappy;          /* which those are */
    int height;                   /* how many rows are worked through: whole vectors of LANES, the last ones filled up */
    uint64_t given;               /* a bit a row of the tile that is there */
    int missing, outside;         /* some cell of the tile is missing or outside; outside */
    int *live, n_live;            /* the components that may respond to some row; the others' r is 0 */
    double *log_mass;             /* Gaussians that may be left early: kpad */
    double *likeliest;            /* TILE: of log densities with their masses the greatest */
    double *upper;                /* k x TILE: no log density with its mass is above it */
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

static inline int lanes_left(int n_components, int first) {
    return n_components - first < LANES ? n_components - first : LANES;
}

#define HEAD 2 /* the sum of the units' constants; whether the component stands apart from the origin */
#define FOUR 4 /* anchor, offset, -precision / 2, constant; where it doesn't stand apart: mean - origin, 0, the same */

/* what one component of a block has in tile.factor */
static inline long factor_size(const block *b) {
    if (b->kind == MVN) return triangle(b->size) + 3 * b->size;
    return is_normal(b) ? HEAD + (long)b->units * FOUR : 0;
}

/* Normals and MVNs: how many columns a block has less their origin */
static inline long centred_columns(const block *b) { return b->kind == MVN ? b->size : is_normal(b) ? b->units : 0; }

/* and how many sums, when components are taken in groups */
static inline long group_rows(const block *b) {
    return b->kind == MVN ? 1 + b->size + triangle(b->size + 1) : is_normal(b) ? 3L * b->units : 0;
}

static inline long listed_size(const block *b) { return is_normal(b) ? 2L * round_up(b->units) : 0; }

/* lays out accumulate's work; returns what lies behind it */
static double *carve(const engine *e, double *work, tile *t) {
    long units = 0, frame = 0, centred = 0, angles = 0, scatter = 0, factor = 0, across = 0, deep = 0, grouped = 0;
    long listed = 0;
    t->singles = 0;
    for (int i = 0; i < e->n_blocks; i++) {
        const block *b = e->blocks + i;
        units += b->units;
        frame += centred_columns(b);
        centred += centred_columns(b) * (is_normal(b) ? 2 : 1);
        grouped += group_rows(b);
        listed += listed_size(b);
        if (b->kind == VONMISES) angles += b->units;
        factor += e->k * factor_size(b);
        if (b->kind == MVN) scatter += e->k * (3 + round_up(b->size)) * round_up(b->size);
        if (b->kind == MVN && b->size > deep) deep = b->size;
        if (centred_columns(b)) across += TILE * round_up(centred_columns(b));
        if (b->kind != MVN && b->kind != CATEGORICAL) t->singles += b->units * b->acc_rows;
    }
    t->x = take(&work, (long)e->n_columns * TILE);
    t->seen = take(&work, (long)e->n_columns * TILE);
    t->gaps = take(&work, e->n_columns);
    t->origin = take(&work, frame);
    t->centred = take(&work, centred * TILE);
    t->r = take(&work, (long)e->k * TILE);
    t->common = take(&work, TILE);
    t->weight = take(&work, TILE);
    t->top = take(&work, TILE);
    t->sum = take(&work, TILE);
    t->scale = take(&work, TILE);
    t->away = take(&work, TILE);
    t->constant = take(&work, units * 2 * e->kpad);
    t->factor = take(&work, factor);
    t->angle = take(&work, angles * 2 * TILE);
    t->across = take(&work, across);
    t->mass = take(&work, (long)e->n_masses * e->kpad);
    t->tile_mass = take(&work, (long)e->n_masses * e->kpad);
    t->single = take(&work, t->singles * e->k);
    t->listed = take(&work, listed * e->k);
    t->begun = take(&work, (long)e->n_blocks * (e->kpad / LANES));
    t->grouped = take(&work, grouped * e->kpad);
    t->features = take(&work, FEATURES * TILE);
    t->together = take(&work, (long)e->kpad * TILE);
    t->turned = (char *)take(&work, e->kpad / LANES);
    t->near = take(&work, (long)e->n_blocks * e->kpad);
    t->scatter = take(&work, scatter);
    t->scattered = (char *)take(&work, (long)e->n_blocks * e->k);
    t->made = (char *)take(&work, e->kpad / LANES);
    t->y = take(&work, TILE * round_up(deep));
    t->delta = take(&work, TILE * round_up(deep));
    t->respond = (uint64_t *)take(&work, e->k);
    t->full = (uint64_t *)take(&work, e->n_blocks);
    t->partial = (uint64_t *)take(&work, e->n_blocks);
    t->deep = deep;
    t->n_patterns = deep ? patterns_kept(deep, e->kpad) : 0;
    t->keys = (uint64_t *)take(&work, t->n_patterns * words_of_pattern(deep));
    t->reordered = take(&work, t->n_patterns * numbers_of_pattern(deep, e->kpad));
    t->deviations = take(&work, deep * LANES);
    t->record = take(&work, e->n_columns);
    t->observed = take(&work, (long)e->n_masses * TILE);
    t->gappy = (int *)take(&work, e->n_masses);
    t->live = (int *)take(&work, e->k);
    if (ends_in_gaussians(e)) {
        t->log_mass = take(&work, e->kpad);
        t->likeliest = take(&work, TILE);
        t->upper = take(&work, (long)e->k * TILE);
        t->done = (uint64_t *)take(&work, e->k);
    }
    return work;
}

static long work_doubles(const engine *e) {
    tile t = {0};
    double *start = (double *)sizeof(vd);
    return carve(e, start, &t) - start;
}

static tile make_tile(const engine *e, int density_only, double *work) {
    tile t = {0};
    carve(e, work, &t);
    t.density_only = density_only;
    memset(t.across, 0, sizeof(double) * (t.mass - t.across));
    memset(t.mass, 0, sizeof(double) * (t.grouped - t.mass));
    memset(t.scattered, 0, (long)e->n_blocks * e->k);
    memset(t.made, 0, e->kpad / LANES);
    for (int c = 0; c < e->n_columns; c++) t.gaps[c] = 1.0;
    t.log_total = log(total_mass(e));
    t.background = background_mass(e);
    for (int k = 0; t.upper && k < e->kpad; k += W)
        AT(t.log_mass + k) = vlog(vmax(CONST_AT(e->mass + k) + e->weight_prior, all(SMALLEST)));
    return t;
}

#define APART 1e5 /* standard deviations from the origin: up to there, x - origin costs a log density about 1e-10 */
#define NEAR 8.0  /* the same: up to there, squares of x - origin cost a variance about 1e-14 */

static inline double nearness(double farthest) { return farthest <= NEAR ? 2.0 : farthest <= APART ? 1.0 : 0.0; }

/* n <= LANES components of a block of Normals, from the `first` on. Where one is near the origin of each unit, a deviation
 * is one subtraction from what all components share, x - origin; where it isn't, x - anchor keeps what x - origin would
 * lose. */
static void normal_factors(const block *b, int first, int n, int kpad, const double *constant, const double *origin,
                           double *own, double *near) {
    const long size = factor_size(b);
    const double *stat = b->stat + first, *precision = b->theta + kpad + first;
    double farthest[LANES] __attribute__((aligned(64))), sum[LANES] __attribute__((aligned(64)));
    for (int lane = 0; lane < LANES; lane += W) {
        vd far = all(0.0), total = all(0.0);
        for (long u = 0; u < b->units; u++) {
            const double *s = stat + 3 * u * kpad + lane;
            const vd distance = (CONST_AT(s) - origin[u]) + CONST_AT(s + kpad);
            const vd square = distance * distance * CONST_AT(precision + 2 * u * kpad + lane);
            far = select_(square <= far, far, square);
            total += CONST_AT(constant + 2 * u * kpad + first + lane);
        }
        AT(farthest + lane) = vsqrt(far);
        AT(sum + lane) = total;
    }
    for (int k = 0; k < n; k++) {
        near[k] = nearness(farthest[k]);
        own[k * size] = sum[k];
        own[k * size + 1] = near[k] == 0.0;
    }
    for (long u = 0; u < b->units; u++) {
        const double *anchor = stat + 3 * u * kpad, *offset = anchor + kpad;
        for (int k = 0; k < n; k++) {
            double *f = own + k * size + HEAD + u * FOUR;
            f[0] = near[k] > 0.0 ? (anchor[k] - origin[u]) + offset[k] : anchor[k];
            f[1] = near[k] > 0.0 ? 0.0 : offset[k];
            f[2] = -0.5 * precision[2 * u * kpad + k];
            f[3] = constant[2 * u * kpad + first + k];
        }
    }
}

#define ASKED 9 /* components whose means are looked at for one that is amid them all */

/* the median of some components' means of a coordinate, whose anchors and offsets are given */
static double amid(const engine *e, const block *b, const double *anchor, const double *offset) {
    double means[ASKED];
    int n = 0;
    const int stride = e->k > ASKED ? e->k / ASKED : 1;
    for (int k = 0; k < e->k && n < ASKED; k += stride) {
        if (b->lanes && !b->lanes[k]) continue;
        const double mean = anchor[k] + offset[k];
        int at = n++;
        for (; at > 0 && means[at - 1] > mean; at--) means[at] = means[at - 1];
        means[at] = mean;
    }
    return n ? means[n / 2] : 0.0;
}

static void find_origin(const engine *e, const block *b, double *origin) {
    const long width = b->kind == MVN ? b->size : 1;
    for (long u = 0; u < centred_columns(b); u++) {
        const double *anchor = b->stat + (b->kind == MVN ? u : u * b->stat_rows) * e->kpad;
        origin[u] = amid(e, b, anchor, anchor + width * e->kpad);
    }
}

/* The same of n <= LANES Gaussians, by the deviations that each coordinate has given those before it: anchor, offset and
 * precision of one after the other. */
static void mvn_frames(const block *b, int first, int n, int kpad, const double *origin, double *own, double *near) {
    const int D = b->size;
    const long size = factor_size(b);
    const double *anchor = b->stat + first, *offset = anchor + (long)D * kpad, *precision = b->theta + (long)D * kpad + first;
    double farthest[LANES] __attribute__((aligned(64)));
    for (int lane = 0; lane < LANES; lane += W) {
        vd far = all(0.0);
        for (long j = 0; j < D; j++) {
            const long at = j * kpad + lane;
            const vd distance = (CONST_AT(anchor + at) - origin[j]) + CONST_AT(offset + at);
            const vd square = distance * distance * CONST_AT(precision + at);
            far = select_(square <= far, far, square);
        }
        AT(farthest + lane) = vsqrt(far);
    }
    for (int k = 0; k < n; k++) near[k] = nearness(farthest[k]);
    for (long j = 0; j < D; j++)
        for (int k = 0; k < n; k++) {
            const double a = anchor[j * kpad + k], o = offset[j * kpad + k];
            double *f = own + k * size + j;
            f[0] = near[k] > 0.0 ? (a - origin[j]) + o : a;
            f[D] = near[k] > 0.0 ? 0.0 : o;
            f[2 * D] = precision[j * kpad + k];
        }
}

/* and of their L some numbers: those of a vector of components lie together */
static void mvn_triangles(const block *b, int first, int n, int kpad, long begin, long end, double *own) {
    const long size = factor_size(b), head = 3L * b->size;
    for (long j = head + begin; j < head + end; j++)
        for (int k = 0; k < n; k++) own[k * size + j] = b->stat[j * kpad + first + k];
}

static inline int may_be_left(const engine *e, const block *b, const tile *t) {
    return t->upper && b - e->blocks == e->n_blocks - 1;
}

/* What a block's components have in tile.factor. Of those that may be left early only what their heads need: the others
 * are made when one of them is wanted. */
static void gaussian_factors(const engine *e, const block *b, const tile *t, const double *constant, const double *origin,
                             double *factor, double *near) {
    const long numbers = may_be_left(e, b, t) ? triangle(NEAREST) : triangle(b->size);
    for (int first = 0; first < e->k; first += LANES) {
        double *own = factor + first * factor_size(b);
        const int n = lanes_left(e->k, first);
        if (is_normal(b)) {
            normal_factors(b, first, n, e->kpad, constant, origin, own, near + first);
            continue;
        }
        mvn_frames(b, first, n, e->kpad, origin, own, near + first);
        mvn_triangles(b, first, n, e->kpad, 0, numbers, own);
    }
}

static const double *whole_factor(const engine *e, const block *b, tile *t, double *factor, int k) {
    const int group = k / LANES, first = group * LANES;
    if (may_be_left(e, b, t) && !t->made[group]) {
        mvn_triangles(b, first, lanes_left(e->k, first), e->kpad, triangle(NEAREST), triangle(b->size),
                      factor + first * factor_size(b));
        t->made[group] = 1;
    }
    return factor + k * factor_size(b);
}

/* per unit and component, what does not depend on the record: constants, or for Bernoulli log q and log p */
static void constants(const engine *e, tile *t) {
    const int kpad = e->kpad;
    double *c = t->constant, *factor = t->factor, *origin = t->origin;
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
                    mvn_root(&a, b->size, theta + k, kpad);
                    v = density_log(&a) - HALF_LOG_2PI * b->size;
                }
                AT(c + k) = v;
            }
        }
        double *near = t->near + (long)n * kpad;
        if (!centred_columns(b)) continue;
        find_origin(e, b, origin);
        gaussian_factors(e, b, t, c - 2L * b->units * kpad, origin, factor, near);
        factor += e->k * factor_size(b);
        origin += centred_columns(b);
    }
}

/* a record's contribution counts where its cell is seen */
static inline vd where_seen(const tile *t, int column, int i, vd v) {
    return t->missing ? select_(CONST_AT(t->seen + column * TILE + i) > 0.0, v, all(0.0)) : v;
}
