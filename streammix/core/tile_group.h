/* Sums of Gaussians over a tile, LANES components at a time, each in a lane. Where most of them respond, and all that do
 * stand near the origin, sums of x - origin and of its products serve them all: a product is taken once for all
 * components, and what is left of each is one multiplication and one addition. At the end they become sums of deviations
 * from each component's own mean; NEAR bounds what that costs.
 *
 * The rows of a group's sums: of a block of Normals the units' weights, values and squares; of an MVN its weight, D
 * values and D (D + 1) / 2 products. */

/* adds the sums of n <= padded features, each weighed by the components of a group */
ALWAYS_INLINE void features_sums(const double *together, const double *features, int height, const int padded, int n,
                                 double *sums) {
    for (int lane = 0; lane < LANES; lane += W) {
        vd part[FEATURES];
        for (int j = 0; j < padded; j++) part[j] = all(0.0);
#pragma GCC unroll 1 /* unrolled, it would not fit the registers */
        for (int i = 0; i < height; i++) {
            const vd weight = CONST_AT(together + i * LANES + lane);
#pragma GCC unroll 24
            for (int j = 0; j < padded; j++) part[j] = plus_product(part[j], weight, all(features[j * TILE + i]));
        }
        for (int j = 0; j < n; j++) AT(sums + j * LANES + lane) += part[j];
    }
}

ALWAYS_INLINE void tile_features_sums(const double *together, const double *features, const int height, int n,
                                      double *sums) {
    if (n <= 4) features_sums(together, features, height, 4, n, sums);
    else if (n <= 8) features_sums(together, features, height, 8, n, sums);
    else if (n <= 12) features_sums(together, features, height, 12, n, sums);
#if W == 8
    else if (n <= 16) features_sums(together, features, height, 16, n, sums);
    else if (n <= 20) features_sums(together, features, height, 20, n, sums);
    else features_sums(together, features, height, 24, n, sums);
#endif
}

/* a whole tile's by loops that know how long they are */
static void some_features_sums(const double *together, const double *features, int height, int n, double *sums) {
    if (height == TILE) tile_features_sums(together, features, TILE, n, sums);
    else tile_features_sums(together, features, height, n, sums);
}

/* how many features to take at once: all in as few parts as there are registers for, of about the same size */
static inline int features_at_once(int n) {
    const int parts = (n + FEATURES - 1) / FEATURES;
    return ((n + parts - 1) / parts + 3) / 4 * 4;
}

/* the weights of a group with a record's together, made once a tile */
static const double *group_weights(tile *t, int group) {
    double *own = t->together + (long)group * LANES * TILE;
    if (!t->turned[group]) turn_squares(t->r + (long)group * LANES * TILE, LANES, t->height, own, LANES);
    t->turned[group] = 1;
    return own;
}

/* a group's own sums, zeros at first */
static double *group_sums(const engine *e, const block *b, tile *t, double *grouped, int group) {
    double *own = grouped + (long)group * group_rows(b) * LANES, *begun = t->begun + (b - e->blocks) * (e->kpad / LANES);
    if (begun[group] == 0.0) memset(own, 0, sizeof(double) * group_rows(b) * LANES);
    begun[group] = 1.0;
    return own;
}

/* vectors of LANES that a row costs a component by itself, and a tile a group */
static inline long row_cost(const block *b) {
    const long q = round_up(b->size) / LANES;
    return b->kind == MVN ? LANES * q * (q + 1) + 5 * q : 6L * b->units / 8 + 1;
}

static inline long group_cost(const block *b, int height) {
    return height * 2 * (b->kind == MVN ? group_rows(b) + 2 : 2L * b->units + 2);
}

/* whether a group is summed as one: it costs less, and whoever responds is near */
static int is_taken_together(const engine *e, const block *b, const tile *t, int group) {
    const double *near = t->near + (b - e->blocks) * (long)e->kpad;
    long rows = 0;
    for (int k = group * LANES; k < (group + 1) * LANES && k < e->k; k++) {
        if (!t->respond[k] || (b->lanes && !b->lanes[k])) continue;
        if (near[k] < 2.0) return 0;
        rows += __builtin_popcountll(t->respond[k]);
    }
    return rows * row_cost(b) > group_cost(b, t->height);
}

static void normal_group_sums(const engine *e, const block *b, tile *t, double *centred, double *grouped,
                              const unsigned char *taken) {
    const int units = b->units, step = features_at_once(2 * units);
    for (int u = 0; u < units; u++)
        ROWS AT(centred + (units + u) * TILE + i) = CONST_AT(centred + u * TILE + i) * CONST_AT(centred + u * TILE + i);
    for (int group = 0; group < e->kpad / LANES; group++) {
        if (!taken[group]) continue;
        const double *weights = group_weights(t, group);
        double *sums = group_sums(e, b, t, grouped, group);
        for (int u = 0; u < units; u++)
            for (int lane = 0; lane < LANES; lane += W)
                AT(sums + u * LANES + lane) +=
                    CONST_AT(t->tile_mass + (long)b->mass[u] * e->kpad + group * LANES + lane);
        sums += units * LANES;
        for (int j = 0; j < 2 * units; j += step)
            some_features_sums(weights, centred + j * TILE, t->height, 2 * units - j < step ? 2 * units - j : step,
                               sums + j * LANES);
    }
}

ALWAYS_INLINE void products(const double *left, const double *right, const int height, double *out) {
    for (int i = 0; i < height; i += W) AT(out + i) = CONST_AT(left + i) * CONST_AT(right + i);
}

/* a feature of an MVN, by number; of rows with gaps, nothing */
static void mvn_feature(const tile *t, const double *centred, const double *whole, int a, int j, double *out) {
    const double *left = centred + a * TILE, *right = centred + j * TILE;
    if (a >= 0 && j >= 0 && !whole && t->height == TILE) products(left, right, TILE, out);
    else
        ROWS {
            vd v = all(1.0);
            if (a >= 0) v = CONST_AT(left + i);
            if (j >= 0) v *= CONST_AT(right + i);
            if (whole) v *= CONST_AT(whole + i);
            AT(out + i) = v;
        }
}

static void mvn_group_sums(const engine *e, const block *b, tile *t, const double *centred, double *grouped,
                           const unsigned char *taken) {
    const int D = b->size, n = (int)group_rows(b), step = features_at_once(n);
    double whole[TILE] __attribute__((aligned(64)));
    for (int i = 0; t->missing && i < t->height; i++) whole[i] = t->full[b - e->blocks] >> i & 1;
    int a = -1, j = -1; /* the next feature's: of the weight neither, of a value one */
    for (int first = 0; first < n; first += step) {
        const int some = n - first < step ? n - first : step;
        for (int f = 0; f < some; f++) {
            mvn_feature(t, centred, t->missing ? whole : NULL, a, j, t->features + f * TILE);
            if (j < 0 ? ++a == D : ++j > a) {
                a = j < 0 ? 0 : a + 1;
                j = 0;
            }
        }
        for (int group = 0; group < e->kpad / LANES; group++)
            if (taken[group])
                some_features_sums(group_weights(t, group), t->features, t->height, some,
                                   group_sums(e, b, t, grouped, group) + first * LANES);
    }
}

/* means of a group's components less the origin: one coordinate's */
static inline void group_means(const block *b, const double *factor, int group, int n_components, long at, double *mean) {
    for (int lane = 0; lane < LANES; lane++) {
        const int k = group * LANES + lane;
        mean[lane] = k < n_components ? factor[k * factor_size(b) + at] : 0.0;
    }
}

/* to an accumulator, as sums of deviations from each component's own mean */
static void gather_group(const engine *e, const block *b, const double *factor, const double *sums, int group,
                         double *acc) {
    const int kpad = e->kpad, D = b->size;
    double mean[(b->kind == MVN ? D : 1) * LANES] __attribute__((aligned(64)));
    acc += group * LANES;
    if (is_normal(b)) {
        const double *values = sums + b->units * LANES, *squares = values + b->units * LANES;
        for (int u = 0; u < b->units; u++) {
            group_means(b, factor, group, e->k, HEAD + u * FOUR, mean);
            for (int lane = 0; lane < LANES; lane += W) {
                const vd m = CONST_AT(mean + lane), value = CONST_AT(values + u * LANES + lane);
                const vd own = value - CONST_AT(sums + u * LANES + lane) * m;
                AT(acc + 2L * u * kpad + lane) += own;
                AT(acc + (2L * u + 1) * kpad + lane) += (CONST_AT(squares + u * LANES + lane) - m * value) - m * own;
            }
        }
        return;
    }
    for (int a = 0; a < D; a++) group_means(b, factor, group, e->k, a, mean + a * LANES);
    for (int lane = 0; lane < LANES; lane += W) {
        const double *values = sums + LANES + lane, *products = values + D * LANES;
        const vd n = CONST_AT(sums + lane);
        for (int a = 0; a < D; a++) {
            const vd m = CONST_AT(mean + a * LANES + lane), own = CONST_AT(values + a * LANES) - n * m;
            AT(acc + (long)a * kpad + lane) += own;
            for (int j = 0; j <= a; j++) {
                const long pair = triangle(a + 1) + j;
                AT(acc + (D + pair) * kpad + lane) +=
                    (CONST_AT(products + pair * LANES) - m * CONST_AT(values + j * LANES)) -
                    CONST_AT(mean + j * LANES + lane) * own;
            }
        }
    }
}
