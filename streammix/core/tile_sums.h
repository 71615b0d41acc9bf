/* The expected statistics of tiles of records, and accumulate, which goes over a block of them. */

/* the rows' weights for one unit: nothing where its cell is missing */
static inline vd row_weight(const tile *t, const double *r, int column, int i) {
    return where_seen(t, column, i, CONST_AT(r + i));
}

static void normal_rows_sums(const block *b, const double *f, int k, const tile *t, double *partial, long stride) {
    const double *x0 = t->x, *seen = t->seen, *r = t->r + k * TILE;
    const int *columns = b->column, units = b->units, missing = t->missing;
    partial += k * LANES;
    for (int u = 0; u < units; u++, partial += 2 * stride) {
        const double *x = x0 + columns[u] * TILE, *there = seen + columns[u] * TILE;
        const vd anchor = all(f[u * FOUR]), offset = all(f[u * FOUR + 1]);
        for (int h = 0; h < LANES; h += W) {
            vd s1 = AT(partial + h), s2 = AT(partial + stride + h);
            if (missing)
                for (int i = h; i < TILE; i += LANES) {
                    vd d = normal_deviation(CONST_AT(x + i), anchor, offset);
                    vd v = select_(CONST_AT(there + i) > 0.0, CONST_AT(r + i), all(0.0)) * d;
                    s1 += v;
                    s2 += v * d;
                }
            else
                for (int i = h; i < TILE; i += LANES) {
                    vd d = normal_deviation(CONST_AT(x + i), anchor, offset), v = CONST_AT(r + i) * d;
                    s1 += v;
                    s2 += v * d;
                }
            AT(partial + h) = s1;
            AT(partial + stride + h) = s2;
        }
    }
}

static void block_rows_sums(const engine *e, const block *b, int k, const tile *t, double *partial, double *acc) {
    const int kpad = e->kpad;
    const double *r = t->r + k * TILE;
    for (int u = 0; u < b->units; u++, partial += b->acc_rows * e->k * LANES) {
        const int column = b->column[u];
        const double *x = t->x + column * TILE;
        double *sum = partial + k * LANES;
        if (b->kind == CATEGORICAL) {
            for (int i = 0; i < TILE; i++)
                if (t->seen[column * TILE + i] > 0.0) acc[(long)x[i] * kpad + k] += r[i];
        } else if (b->kind != EXTERNAL) {
            for (int h = 0; h < LANES; h += W)
                for (int i = h; i < TILE; i += LANES)
                    AT(sum + h) += row_weight(t, r, column, i) * CONST_AT(x + i);
        }
    }
}

#define OUTER 8 /* rows of the outer products held in registers */

static void mvn_rows_sums(const engine *e, const block *b, int k, tile *t, const double *across, double *own) {
    const int D = b->size, P = round_up(D);
    const double *r = t->r + k * TILE;
    double *S1 = own + 2 * P, *S2 = S1 + P;
    int n = 0;
    for (int i = 0; i < TILE; i++) {
        if (!(r[i] > 0.0)) continue;
        if (t->missing) {
            int pattern = tile_pattern(b, t, i);
            if (pattern == ABSENT) continue;
            if (pattern == PARTIAL) {
                double *filled = t->filled, *cond = filled + D;
                mvn_partial(e, b, k, record_of(e, t, i), t->dense, filled, cond);
                for (int a = 0; a < D; a++) {
                    S1[a] += r[i] * filled[a];
                    for (int j = 0; j <= a; j++)
                        S2[a * P + j] += r[i] * (filled[a] * filled[j] + cond[a * D + j]);
                }
                continue;
            }
        }
        double *delta = t->delta + n * P, *weighted = t->weighted + n * P;
        for (int a = 0; a < P; a += W) {
            vd v = normal_deviation(CONST_AT(across + i * P + a), CONST_AT(own + a), CONST_AT(own + P + a));
            AT(delta + a) = v;
            v *= r[i];
            AT(weighted + a) = v;
            AT(S1 + a) += v;
        }
        n++;
    }
    for (int a = 0; a < D; a += OUTER)
        for (int j = 0; j < a + OUTER && j < P; j += W) {
            vd s[OUTER];
            for (int o = 0; o < OUTER; o++) s[o] = AT(S2 + (a + o) * P + j);
            for (int i = 0; i < n; i++) {
                vd d = CONST_AT(t->delta + i * P + j);
                const double *weighted = t->weighted + i * P + a;
                for (int o = 0; o < OUTER; o++) s[o] += weighted[o] * d;
            }
            for (int o = 0; o < OUTER; o++) AT(S2 + (a + o) * P + j) = s[o];
        }
}

static void tile_sums(const engine *e, tile *t, double *acc) {
    const long stride = (long)e->k * LANES;
    for (int k = 0; k < e->k; k++) {
        double *r = t->r + k * TILE;
        vi any = (vi)all(0.0);
        ROWS {
            vd v = CONST_AT(r + i);
            v = select_(v > NEGLIGIBLE, v * CONST_AT(t->weight + i), all(0.0));
            AT(r + i) = v;
            any |= v > 0.0;
        }
        if (!some(any)) continue;
        double *partial = t->partial;
        const double *across = t->across;
        for (int m = 0; m < e->n_masses; m++, partial += stride) {
            if (!t->missing || e->mass_width[m] == 0) {
                ROWS AT(partial + k * LANES + i % LANES) += CONST_AT(r + i);
                continue;
            }
            for (int i = 0; i < TILE; i++) {
                int observed = 0;
                for (int j = 0; !observed && j < e->mass_width[m]; j++)
                    observed = t->seen[(e->mass_column[m] + j) * TILE + i] > 0.0;
                partial[k * LANES + i % LANES] += observed ? r[i] : 0.0;
            }
        }
        double *scatter = t->scatter;
        const double *factor = t->factor;
        for (int n = 0; n < e->n_blocks; factor += e->k * factor_size(e->blocks + n), n++) {
            const block *b = e->blocks + n;
            const int P = round_up(b->size);
            int serves = !b->fixed && (!b->lanes || b->lanes[k]);
            if (b->kind == MVN) {
                if (serves) mvn_rows_sums(e, b, k, t, across, scatter + k * (3 + P) * P);
                across += TILE * P;
                scatter += (long)e->k * (3 + P) * P;
            } else {
                if (serves && (b->kind == NORMAL || b->kind == LOGNORMAL))
                    normal_rows_sums(b, factor + k * factor_size(b), k, t, partial, stride);
                else if (serves) block_rows_sums(e, b, k, t, partial, acc + b->acc * e->kpad);
                if (b->kind != CATEGORICAL) partial += b->units * b->acc_rows * stride;
            }
        }
    }
}

static void gather_sums(const engine *e, const tile *t, double *acc) {
    const long stride = (long)e->k * LANES;
    const double *partial = t->partial, *s = t->scatter;
    for (int m = 0; m < e->n_masses; m++, partial += stride)
        for (int k = 0; k < e->k; k++) acc[m * e->kpad + k] += tree(partial + k * LANES);
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
            for (long row = 0; row < b->units * b->acc_rows; row++, partial += stride)
                for (int k = 0; k < e->k; k++) out[row * e->kpad + k] += tree(partial + k * LANES);
    }
}

static double accumulate(const engine *e, const table *in, long begin, long end, const double *w, const double *resp,
                         double *acc, double *work, double *out_r, double *out_lp, long *bad) {
    tile t = carve(e, work);
    *bad = -1;
    constants(e, &t);
    for (long at = begin; at < end; at += TILE) {
        int n = end - at < TILE ? (int)(end - at) : TILE;
        load(e, in, at, n, w, &t);
        if (resp)
            for (int k = 0; k < e->k; k++)
                for (int i = 0; i < TILE; i++) t.r[k * TILE + i] = i < n ? resp[(at + i) * e->k + k] : 0.0;
        else {
            tile_expect(e, &t);
            vi impossible = (vi)all(0.0);
            ROWS {
                vd lp = CONST_AT(t.sum + i), weight = CONST_AT(t.weight + i);
                vi counts = weight > 0.0;
                impossible |= counts & ~(lp > -INFINITY);
                AT(t.likelihood + i % LANES) += select_(counts, weight * lp, all(0.0));
            }
            if (some(impossible))
                for (int i = 0; i < n && *bad < 0; i++)
                    if (!(t.sum[i] > -INFINITY)) *bad = at + i;
            if (out_lp) memcpy(out_lp + at, t.sum, sizeof(double) * n);
            if (out_r)
                for (int i = 0; i < n; i++)
                    for (int k = 0; k < e->k; k++) out_r[(at + i) * e->k + k] = t.r[k * TILE + i];
        }
        if (acc) tile_sums(e, &t, acc);
    }
    if (acc) gather_sums(e, &t, acc);
    return tree(t.likelihood);
}
