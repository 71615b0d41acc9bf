/* The expected statistics of tiles of records, and accumulate, which goes over a block of them. */

/* the rows' weights for one unit: nothing where its cell is missing */
static inline vd row_weight(const tile *t, const double *r, int column, int i) {
    return where_seen(t, column, i, CONST_AT(r + i));
}

static void block_rows_sums(const engine *e, const block *b, int k, tile *t, double *sum, double *acc) {
    const int kpad = e->kpad;
    const double *r = t->r + k * TILE;
    for (int u = 0; u < b->units; u++, sum += b->acc_rows) {
        const int column = b->column[u * b->width];
        const double *x = t->x + column * TILE;
        if (b->kind == CATEGORICAL) {
            for (int i = 0; i < t->height; i++)
                if (t->seen[column * TILE + i] > 0.0) acc[(long)x[i] * kpad + k] += r[i];
        } else if (has_gap(b)) {
            gamma_rows_sums(e, b, u, k, t, sum);
        } else if (b->kind == INVERSE_GAUSSIAN) {
            const vd mean = all(b->stat[u * 2L * kpad + k]), inverse = all(b->theta[(u * 3L + 2) * kpad + k]);
            vd sums[2][LANES / W] = {{all(0.0)}};
            ROWS {
                vd weight = row_weight(t, r, column, i), value = CONST_AT(x + i);
                sums[0][PART(i)] += weight * value;
                sums[1][PART(i)] += weight * inverse_gaussian_moment(value, mean, inverse);
            }
            for (int row = 0; row < 2; row++) sum[row] += sum_of_lanes(sums[row]);
        } else if (b->kind == MULTINOMIAL) {
            multinomial_rows_sums(e, b, k, t, sum);
        } else if (b->kind != EXTERNAL) {
            vd parts[LANES / W] = {all(0.0)};
            ROWS parts[PART(i)] += row_weight(t, r, column, i) * CONST_AT(x + i);
            *sum += sum_of_lanes(parts);
        }
    }
}

/* Lists the masses of units that have gaps in this tile, with 1 for the rows that have some value of them; the others
 * gain what the component's own mass does. */
static void find_gappy_masses(const engine *e, tile *t) {
    t->n_gappy = 0;
    for (int m = 1; t->missing && m < e->n_masses; m++) {
        int has_gaps = e->mass_width[m] > 0;
        for (int j = 0; j < e->mass_width[m]; j++) has_gaps &= t->gaps[e->mass_column[m] + j] > 0.0;
        if (!has_gaps) continue;
        const double *seen = t->seen + e->mass_column[m] * TILE;
        double *observed = t->observed + t->n_gappy * TILE;
        ROWS {
            vd some_value = CONST_AT(seen + i);
            for (int j = 1; j < e->mass_width[m]; j++) some_value = vmax(some_value, CONST_AT(seen + j * TILE + i));
            AT(observed + i) = some_value;
        }
        t->gappy[t->n_gappy++] = m;
    }
}

/* adds to n <= LANES masses the rows that they observe */
ALWAYS_INLINE void gappy_sums(const tile *t, const double *observed, const double *r, int n, double *sums) {
    vd parts[LANES][LANES / W];
    const int height = t->height;
    for (int h = 0; h < LANES; h += W) {
        vd part[LANES];
        for (int m = 0; m < n; m++) part[m] = all(0.0);
#pragma GCC unroll 1 /* unrolled, it would not fit the registers */
        for (int i = h; i < height; i += LANES) {
            const vd weight = CONST_AT(r + i);
            for (int m = 0; m < n; m++)
                part[m] += select_(CONST_AT(observed + m * TILE + i) > 0.0, weight, all(0.0));
        }
        for (int m = 0; m < n; m++) parts[m][PART(h)] = part[m];
    }
    for (int m = 0; m < n && n < LANES; m++) sums[m] += sum_of_lanes(parts[m]);
    if (n == LANES) add_sums_of_lanes((const vd(*)[LANES / W])parts, sums);
}

/* a component's sums of r, one a mass, where its unit is seen; given the sum of all of it */
static void component_masses(const engine *e, const tile *t, const double *r, double whole, double *mass) {
    const long kpad = e->kpad;
    mass[0] = whole;
    for (int at = 0; at < t->n_gappy;) {
        double sums[LANES] __attribute__((aligned(64))) = {0.0};
        const int left = t->n_gappy - at, n = left >= LANES ? LANES : left >= 3 ? 3 : 1;
        const double *observed = t->observed + at * TILE;
        if (n == LANES) gappy_sums(t, observed, r, LANES, sums);
        else if (n == 3) gappy_sums(t, observed, r, 3, sums);
        else gappy_sums(t, observed, r, 1, sums);
        for (int j = 0; j < n; j++) mass[t->gappy[at + j] * kpad] = sums[j];
        at += n;
    }
    for (int m = 1, next = 0; m < e->n_masses; m++)
        if (next < t->n_gappy && t->gappy[next] == m) next++;
        else mass[m * kpad] = whole;
}

/* Responsibilities times weights, without those that are negligible, and their sum; returns a bit a row that keeps
 * one. */
static uint64_t rows_that_respond(const tile *t, double *r, double *sum) {
    uint64_t rows = 0;
    vd parts[LANES / W] = {all(0.0)};
    ROWS {
        vd v = CONST_AT(r + i) * CONST_AT(t->scale + i);
        v = where_above(v, NEGLIGIBLE, v * CONST_AT(t->weight + i));
        AT(r + i) = v;
        parts[PART(i)] += v;
        rows |= (uint64_t)positive_lanes(v) << i;
    }
    *sum = sum_of_lanes(parts);
    return rows;
}

/* what a block has in the tile's arrays of Gaussians */
typedef struct {
    const double *factor;
    double *centred, *across, *single, *scatter, *listed, *grouped;
} gaussian_part;

static gaussian_part first_part(const tile *t) {
    return (gaussian_part){t->factor, t->centred, t->across, t->single, t->scatter, t->listed, t->grouped};
}

static void next_part(const engine *e, const block *b, gaussian_part *p) {
    const long P = round_up(b->size);
    p->factor += e->k * factor_size(b);
    p->centred += centred_size(b);
    p->across += TILE * round_up((int)centred_columns(b));
    p->single += b->kind == MVN || b->kind == CATEGORICAL ? 0 : b->units * b->acc_rows;
    p->scatter += b->kind == MVN ? e->k * (3 + P) * P : 0;
    p->listed += e->k * listed_size(b);
    p->grouped += group_rows(b) * e->kpad;
}

/* a component's sums of an MVN, zeros at first */
static double *scatter_of(const engine *e, const block *b, tile *t, int k, double *scatter) {
    const int D = b->size, P = round_up(D), kpad = e->kpad;
    double *own = scatter + (long)k * (3 + P) * P;
    char *begun = t->scattered + (b - e->blocks) * e->k + k;
    if (*begun) return own;
    *begun = 1;
    memset(own, 0, sizeof(double) * (3 + P) * P);
    for (int j = 0; j < D; j++) {
        own[j] = b->stat[(long)j * kpad + k];
        own[P + j] = b->stat[(long)(D + j) * kpad + k];
    }
    return own;
}

static inline int is_moved(const block *b, int k) { return !b->fixed && (!b->lanes || b->lanes[k]); }

/* Normals or an MVN: groups of components where it pays, the others one by one */
static void gaussian_sums(const engine *e, const block *b, tile *t, const gaussian_part *p) {
    const int groups = e->kpad / LANES;
    unsigned char taken[groups];
    int some_taken = 0, turned = 0;
    for (int group = 0; group < groups; group++) some_taken |= taken[group] = is_taken_together(e, b, t, group);
    if (some_taken && b->kind == MVN) mvn_group_sums(e, b, t, p->centred, p->grouped, taken);
    if (some_taken && is_normal(b)) normal_group_sums(e, b, t, p->centred, p->grouped, taken);
    for (int l = 0; l < t->n_live; l++) {
        const int k = t->live[l], P = round_up(centred_columns(b));
        const double *f = p->factor + k * factor_size(b), *r = t->r + k * TILE;
        if (!t->respond[k] || !is_moved(b, k) || taken[k / LANES]) continue;
        const int few = is_normal(b) && f[1] == 0.0 && !t->missing && __builtin_popcountll(t->respond[k]) <= FEW_ROWS;
        if (!turned && (few || b->kind == MVN))
            turn(b->kind == MVN ? t->x + b->column[0] * TILE : p->centred, (int)centred_columns(b), t->height, p->across, P);
        turned |= few || b->kind == MVN;
        if (b->kind == MVN) {
            const uint64_t rows = t->missing ? t->respond[k] & t->full[b - e->blocks] : t->respond[k];
            mvn_rows_sums(b, rows, r, p->across, t, scatter_of(e, b, t, k, p->scatter));
        } else if (few)
            normal_listed_sums(b, f, t->respond[k], r, p->across, p->listed + k * listed_size(b));
        else
            normal_rows_sums(b, f, p->centred, r, t, p->single + k * t->singles);
    }
}

static void tile_sums(const engine *e, tile *t, double *acc) {
    find_gappy_masses(e, t);
    memset(t->tile_mass, 0, sizeof(double) * e->n_masses * e->kpad);
    memset(t->respond, 0, sizeof(uint64_t) * e->k);
    memset(t->turned, 0, e->kpad / LANES);
    for (int l = 0; l < t->n_live; l++) {
        const int k = t->live[l];
        double sum;
        t->respond[k] = rows_that_respond(t, t->r + k * TILE, &sum);
        if (!t->respond[k]) continue;
        component_masses(e, t, t->r + k * TILE, sum, t->tile_mass + k);
        for (long m = 0; m < e->n_masses; m++) t->mass[m * e->kpad + k] += t->tile_mass[m * e->kpad + k];
    }
    gaussian_part p = first_part(t);
    double *angle = t->angle;
    for (int n = 0; n < e->n_blocks; n++) {
        const block *b = e->blocks + n;
        if (centred_columns(b)) {
            if (!b->fixed) gaussian_sums(e, b, t, &p);
        } else
            for (int l = 0; l < t->n_live; l++) {
                const int k = t->live[l];
                double *single = p.single + k * t->singles;
                if (!t->respond[k] || !is_moved(b, k)) continue;
                if (b->kind == VONMISES) vonmises_rows_sums(b, k, e->kpad, angle, t, single);
                else if (b->kind == STUDENT) student_rows_sums(b, k, e->kpad, t, single);
                else if (b->kind == INFLATED) inflated_rows_sums(b, k, e->kpad, t, single);
                else block_rows_sums(e, b, k, t, single, acc + b->acc * e->kpad);
            }
        if (b->kind == VONMISES) angle += b->units * 2 * TILE;
        next_part(e, b, &p);
    }
}

/* and those of rows that have a part of an MVN */
static void partial_sums(const engine *e, tile *t, double *acc) {
    for (int n = 0; n < e->n_blocks; n++) {
        const block *b = e->blocks + n;
        if (b->kind != MVN || b->fixed) continue;
        for (uint64_t left = t->partial[n]; left; left &= left - 1)
            mvn_partial_sums(e, b, __builtin_ctzll(left), t, acc + b->acc * e->kpad);
    }
}

/* of n components, which lie together in the accumulator */
ALWAYS_INLINE void gather_scatter(int D, const double *s, int n, int kpad, double *out) {
    const long P = round_up(D), size = (3 + P) * P;
    for (int a = 0; a < D; a++) {
        double *pairs = out + (D + triangle(a + 1)) * kpad;
        for (int k = 0; k < n; k++) out[(long)a * kpad + k] += s[k * size + 2 * P + a];
        for (int j = 0; j <= a; j++)
            for (int k = 0; k < n; k++) pairs[(long)j * kpad + k] += s[k * size + (3 + a) * P + j];
    }
}

/* of a vector of components, where any has sums */
static void gather_scatters(int D, const double *s, const char *begun, int n, int kpad, double *out) {
    const long P = round_up(D), size = (3 + P) * P;
    int n_begun = 0;
    for (int k = 0; k < n; k++) n_begun += begun[k];
    if (n_begun == n) gather_scatter(D, s, n, kpad, out);
    else
        for (int k = 0; k < n; k++)
            if (begun[k]) gather_scatter(D, s + k * size, 1, kpad, out + k);
}

static void gather_sums(const engine *e, tile *t, double *acc) {
    t->n_live = 0;
    for (int k = 0; k < e->k; k++)
        if (t->mass[k] > 0.0) t->live[t->n_live++] = k;
    for (long i = 0; i < (long)e->n_masses * e->kpad; i += W) AT(acc + i) += CONST_AT(t->mass + i);
    gaussian_part p = first_part(t);
    for (int n = 0; n < e->n_blocks; next_part(e, e->blocks + n, &p), n++) {
        const block *b = e->blocks + n;
        double *out = acc + b->acc * e->kpad;
        const int D = b->size, P = round_up(D);
        for (int first = 0; b->kind == MVN && first < e->k; first += LANES)
            gather_scatters(D, p.scatter + first * (3L + P) * P, t->scattered + (long)n * e->k + first,
                            lanes_left(e->k, first), e->kpad, out + first);
        for (long row = 0; b->kind != MVN && b->kind != CATEGORICAL && row < b->units * b->acc_rows; row++)
            for (int l = 0; l < t->n_live; l++)
                out[row * e->kpad + t->live[l]] += p.single[t->live[l] * t->singles + row];
        for (long u = 0; is_normal(b) && u < b->units; u++)
            for (int l = 0; l < t->n_live; l++) {
                const int k = t->live[l];
                const double *listed = p.listed + k * listed_size(b) + u;
                out[2 * u * e->kpad + k] += listed[0];
                out[(2 * u + 1) * e->kpad + k] += listed[round_up(b->units)];
            }
        for (int group = 0; centred_columns(b) && group < e->kpad / LANES; group++)
            if (t->begun[n * (e->kpad / LANES) + group] > 0.0)
                gather_group(e, b, p.factor, p.grouped + group * group_rows(b) * LANES, group, out);
    }
}

static void given_responsibilities(const double *resp, int n, int n_components, tile *t) {
    for (int k = 0; k < n_components; k++)
        for (int i = 0; i < t->height; i++) t->r[k * TILE + i] = i < n ? resp[i * n_components + k] : 0.0;
    ROWS AT(t->scale + i) = all(1.0);
}

static void all_live(const engine *e, tile *t) {
    t->n_live = e->k;
    for (int k = 0; k < e->k; k++) t->live[k] = k;
}

/* adds the tile's weighted log densities; returns its first row that no component can have made, or n */
static int add_likelihood(const tile *t, int n, vd *likelihood) {
    vi impossible = (vi)all(0.0);
    ROWS {
        vd lp = CONST_AT(t->sum + i), weight = CONST_AT(t->weight + i);
        vi counts = weight > 0.0;
        impossible |= counts & ~(lp > -INFINITY);
        likelihood[PART(i)] += select_(counts, weight * lp, all(0.0));
    }
    int row = some(impossible) ? 0 : n;
    while (row < n && t->sum[row] > -INFINITY) row++;
    return row;
}

/* responsibilities in place of those up to each row's factor */
static void scale_rows(const engine *e, tile *t) {
    for (int k = 0; k < e->k; k++) ROWS AT(t->r + k * TILE + i) *= CONST_AT(t->scale + i);
    ROWS AT(t->scale + i) = all(1.0);
}

/* n rows' responsibilities, one component `length` after the other */
static void components_out(const engine *e, const tile *t, int n, double *out, long length) {
    double part[TILE] __attribute__((aligned(64)));
    for (int k = 0; k < e->k; k++, out += length) {
        ROWS AT(part + i) = CONST_AT(t->r + k * TILE + i) * CONST_AT(t->scale + i);
        memcpy(out, part, sizeof(double) * n);
    }
}

static double accumulate(const engine *e, const table *in, long begin, long end, const double *w, const double *resp,
                         double *acc, double *work, double *out_r, long length, double *out_lp, long *bad) {
    tile own = make_tile(e, acc == NULL, work), *t = &own;
    vd likelihood[LANES / W] = {all(0.0)};
    *bad = -1;
    constants(e, t);
    for (long at = begin; at < end; at += TILE) {
        const int n = end - at < TILE ? (int)(end - at) : TILE;
        load(e, in, at, n, w, t);
        all_live(e, t);
        if (resp) given_responsibilities(resp + at * e->k, n, e->k, t);
        else {
            tile_expect(e, t);
            const int first = add_likelihood(t, n, likelihood);
            if (first < n && *bad < 0) *bad = at + first;
            if (out_lp) memcpy(out_lp + at, t->sum, sizeof(double) * n);
            if (out_r && length) components_out(e, t, n, out_r + at, length);
            if (out_r && !length) {
                scale_rows(e, t);
                turn(t->r, e->k, n, out_r + at * e->k, e->k);
            }
        }
        if (acc) tile_sums(e, t, acc);
        if (acc && t->missing) partial_sums(e, t, acc);
    }
    if (acc) gather_sums(e, t, acc);
    return sum_of_lanes(likelihood);
}
