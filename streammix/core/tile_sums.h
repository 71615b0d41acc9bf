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
            for (int i = 0; i < TILE; i++)
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
ALWAYS_INLINE void gappy_sums(const double *observed, const double *r, int n, double *sums) {
    vd parts[LANES][LANES / W];
    for (int h = 0; h < LANES; h += W) {
        vd part[LANES];
        for (int m = 0; m < n; m++) part[m] = all(0.0);
#pragma GCC unroll 1 /* unrolled, it would not fit the registers */
        for (int i = h; i < TILE; i += LANES) {
            const vd weight = CONST_AT(r + i);
            for (int m = 0; m < n; m++)
                part[m] += select_(CONST_AT(observed + m * TILE + i) > 0.0, weight, all(0.0));
        }
        for (int m = 0; m < n; m++) parts[m][PART(h)] = part[m];
    }
    for (int m = 0; m < n && n < LANES; m++) sums[m] += sum_of_lanes(parts[m]);
    if (n == LANES) add_sums_of_lanes((const vd(*)[LANES / W])parts, sums);
}

/* adds to the masses of units, given the sum of r */
static void unit_masses(const engine *e, const tile *t, const double *r, double whole, double *mass) {
    for (int at = 0; at < t->n_gappy;) {
        double sums[LANES] __attribute__((aligned(64))) = {0.0};
        const int left = t->n_gappy - at, n = left >= LANES ? LANES : left >= 3 ? 3 : 1;
        const double *observed = t->observed + at * TILE;
        if (n == LANES) gappy_sums(observed, r, LANES, sums);
        else if (n == 3) gappy_sums(observed, r, 3, sums);
        else gappy_sums(observed, r, 1, sums);
        for (int j = 0; j < n; j++) mass[t->gappy[at + j]] += sums[j];
        at += n;
    }
    for (int m = 1, next = 0; m < e->n_masses; m++)
        if (next < t->n_gappy && t->gappy[next] == m) next++;
        else mass[m] += whole;
}

/* Responsibilities times weights, without those that are negligible, and their sum; returns a bit a row that keeps
 * one. */
static uint64_t rows_that_respond(const tile *t, double *r, double *sum) {
    uint64_t rows = 0;
    vd parts[LANES / W] = {all(0.0)};
    ROWS {
        vd v = CONST_AT(r + i) * CONST_AT(t->scale + i);
        v = select_(v > NEGLIGIBLE, v * CONST_AT(t->weight + i), all(0.0));
        AT(r + i) = v;
        parts[PART(i)] += v;
        rows |= (uint64_t)lanes_of(v > 0.0) << i;
    }
    *sum = sum_of_lanes(parts);
    return rows;
}

static void tile_sums(const engine *e, tile *t, double *acc) {
    find_gappy_masses(e, t);
    for (int l = 0; l < t->n_live; l++) {
        const int k = t->live[l];
        double *r = t->r + k * TILE, *single = t->single + k * t->singles, *scatter = t->scatter;
        const double *across = t->across, *factor = t->factor, *centred = t->centred, *angle = t->angle;
        double sum;
        t->respond = rows_that_respond(t, r, &sum);
        if (!t->respond) continue;
        single[0] += sum;
        unit_masses(e, t, r, sum, single);
        single += e->n_masses;
        for (int n = 0; n < e->n_blocks; factor += e->k * factor_size(e->blocks + n), n++) {
            const block *b = e->blocks + n;
            const int P = round_up(b->size);
            int serves = !b->fixed && (!b->lanes || b->lanes[k]);
            if (b->kind == MVN) {
                const uint64_t rows = t->missing ? t->respond & t->full[n] : t->respond;
                if (serves) mvn_rows_sums(b, rows, t->r + k * TILE, across, t->delta, scatter + k * (3 + P) * P);
                across += TILE * P;
                scatter += (long)e->k * (3 + P) * P;
            } else {
                if (serves && is_normal(b)) normal_rows_sums(b, factor + k * factor_size(b), centred, r, t, single);
                else if (serves && b->kind == VONMISES) vonmises_rows_sums(b, k, e->kpad, angle, t, single);
                else if (serves && b->kind == STUDENT) student_rows_sums(b, k, e->kpad, t, single);
                else if (serves && b->kind == INFLATED) inflated_rows_sums(b, k, e->kpad, t, single);
                else if (serves) block_rows_sums(e, b, k, t, single, acc + b->acc * e->kpad);
                if (is_normal(b)) centred += b->units * TILE;
                if (b->kind == VONMISES) angle += b->units * 2 * TILE;
                if (b->kind != CATEGORICAL) single += b->units * b->acc_rows;
            }
        }
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
static void gather_scatter(int D, const double *s, int n, int kpad, double *out) {
    const long P = round_up(D), size = (3 + P) * P;
    for (int a = 0; a < D; a++) {
        double *pairs = out + (D + triangle(a + 1)) * kpad;
        for (int k = 0; k < n; k++) out[(long)a * kpad + k] += s[k * size + 2 * P + a];
        for (int j = 0; j <= a; j++)
            for (int k = 0; k < n; k++) pairs[(long)j * kpad + k] += s[k * size + (3 + a) * P + j];
    }
}

static void gather_sums(const engine *e, const tile *t, double *acc) {
    const double *single = t->single, *s = t->scatter;
    for (int m = 0; m < e->n_masses; m++, single++)
        for (int k = 0; k < e->k; k++) acc[m * e->kpad + k] += single[k * t->singles];
    for (int n = 0; n < e->n_blocks; n++) {
        const block *b = e->blocks + n;
        double *out = acc + b->acc * e->kpad;
        const int D = b->size, P = round_up(D);
        if (b->kind == MVN) {
            for (int first = 0; first < e->k; first += LANES)
                gather_scatter(D, s + first * (3L + P) * P, e->k - first < LANES ? e->k - first : LANES, e->kpad,
                               out + first);
            s += e->k * (3L + P) * P;
        } else if (b->kind != CATEGORICAL)
            for (long row = 0; row < b->units * b->acc_rows; row++, single++)
                for (int k = 0; k < e->k; k++) out[row * e->kpad + k] += single[k * t->singles];
    }
}

static void given_responsibilities(const double *resp, int n, int n_components, tile *t) {
    for (int k = 0; k < n_components; k++)
        for (int i = 0; i < TILE; i++) t->r[k * TILE + i] = i < n ? resp[i * n_components + k] : 0.0;
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

static double accumulate(const engine *e, const table *in, long begin, long end, const double *w, const double *resp,
                         double *acc, double *work, double *out_r, double *out_lp, long *bad) {
    tile t = carve(e, acc == NULL, work);
    vd likelihood[LANES / W] = {all(0.0)};
    *bad = -1;
    constants(e, &t);
    for (long at = begin; at < end; at += TILE) {
        const int n = end - at < TILE ? (int)(end - at) : TILE;
        load(e, in, at, n, w, acc != NULL, &t);
        all_live(e, &t);
        if (resp) given_responsibilities(resp + at * e->k, n, e->k, &t);
        else {
            tile_expect(e, &t);
            const int first = add_likelihood(&t, n, likelihood);
            if (first < n && *bad < 0) *bad = at + first;
            if (out_lp) memcpy(out_lp + at, t.sum, sizeof(double) * n);
            if (out_r) {
                for (int k = 0; k < e->k; k++) ROWS AT(t.r + k * TILE + i) *= CONST_AT(t.scale + i);
                ROWS AT(t.scale + i) = all(1.0);
                turn(t.r, e->k, n, out_r + at * e->k, e->k);
            }
        }
        if (acc) tile_sums(e, &t, acc);
        if (acc && t.missing) partial_sums(e, &t, acc);
    }
    if (acc) gather_sums(e, &t, acc);
    return sum_of_lanes(likelihood);
}
