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
        } else if (b->kind != EXTERNAL) {
            vd parts[LANES / W] = {all(0.0)};
            ROWS parts[PART(i)] += row_weight(t, r, column, i) * CONST_AT(x + i);
            *sum += sum_of_lanes(parts);
        }
    }
}

static double mass_of_rows(const engine *e, int m, const tile *t, const double *r) {
    vd parts[LANES / W] = {all(0.0)};
    if (!t->missing || e->mass_width[m] == 0) {
        ROWS parts[PART(i)] += CONST_AT(r + i);
        return sum_of_lanes(parts);
    }
    ROWS {
        vi observed = (vi)all(0.0);
        for (int j = 0; j < e->mass_width[m]; j++)
            observed |= CONST_AT(t->seen + (e->mass_column[m] + j) * TILE + i) > 0.0;
        parts[PART(i)] += select_(observed, CONST_AT(r + i), all(0.0));
    }
    return sum_of_lanes(parts);
}

/* Responsibilities times weights, without those that are negligible; returns a bit a row that keeps one. Their sum is
 * added to the component's own mass. */
static uint64_t rows_that_respond(const tile *t, double *r, double *mass) {
    uint64_t rows = 0;
    vd parts[LANES / W] = {all(0.0)};
    ROWS {
        vd v = CONST_AT(r + i) * CONST_AT(t->scale + i);
        v = select_(v > NEGLIGIBLE, v * CONST_AT(t->weight + i), all(0.0));
        AT(r + i) = v;
        parts[PART(i)] += v;
        rows |= (uint64_t)lanes_of(v > 0.0) << i;
    }
    *mass += sum_of_lanes(parts);
    return rows;
}

static void tile_sums(const engine *e, tile *t, double *acc) {
    for (int k = 0; k < e->k; k++) {
        double *r = t->r + k * TILE, *single = t->single + k * t->singles, *scatter = t->scatter;
        const double *across = t->across, *factor = t->factor, *centred = t->centred, *angle = t->angle;
        t->respond = rows_that_respond(t, r, single++);
        if (!t->respond) continue;
        for (int m = 1; m < e->n_masses; m++) *single++ += mass_of_rows(e, m, t, r);
        for (int n = 0; n < e->n_blocks; factor += e->k * factor_size(e->blocks + n), n++) {
            const block *b = e->blocks + n;
            const int P = round_up(b->size);
            int serves = !b->fixed && (!b->lanes || b->lanes[k]);
            if (b->kind == MVN) {
                if (serves) mvn_rows_sums(e, b, k, t, across, scatter + k * (3 + P) * P);
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

static void gather_sums(const engine *e, const tile *t, double *acc) {
    const double *single = t->single, *s = t->scatter;
    for (int m = 0; m < e->n_masses; m++, single++)
        for (int k = 0; k < e->k; k++) acc[m * e->kpad + k] += single[k * t->singles];
    for (int n = 0; n < e->n_blocks; n++) {
        const block *b = e->blocks + n;
        double *out = acc + b->acc * e->kpad;
        const int D = b->size, P = round_up(D);
        if (b->kind == MVN) {
            for (int k = 0; k < e->k; k++, s += (3 + P) * P)
                for (int a = 0; a < D; a++) {
                    out[(long)a * e->kpad + k] += s[2 * P + a];
                    for (int j = 0; j <= a; j++) out[(D + triangle(a + 1) + j) * e->kpad + k] += s[(3 + a) * P + j];
                }
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
    tile t = carve(e, work);
    vd likelihood[LANES / W] = {all(0.0)};
    *bad = -1;
    constants(e, &t);
    for (long at = begin; at < end; at += TILE) {
        const int n = end - at < TILE ? (int)(end - at) : TILE;
        load(e, in, at, n, w, acc != NULL, &t);
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
    }
    if (acc) gather_sums(e, &t, acc);
    return sum_of_lanes(likelihood);
}
