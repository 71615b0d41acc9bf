/* The E-step of a tile of records: the families' densities with records in lanes. */

/* Normal units of one component. Sums of squares and of constants stay in registers, and are added up in the same order
 * whether cells are missing or not, so that a row's density doesn't depend on the other rows of its tile. */
static void normal_rows_density(const block *b, const double *f, const tile *t, double *lp) {
    const double *x0 = t->x, *seen = t->seen;
    const int *columns = b->column, units = b->units, is_log = b->kind == LOGNORMAL, missing = t->missing;
    for (int i = 0; i < TILE; i += 4 * W) {
        vd q[4] = {all(0.0), all(0.0), all(0.0), all(0.0)}, constant[4] = {q[0], q[0], q[0], q[0]};
        for (int u = 0; u < units; u++) {
            const double *x = x0 + columns[u] * TILE + i, *own = f + u * FOUR;
            const vd anchor = all(own[0]), offset = all(own[1]), precision = all(own[2]), constant_u = all(own[3]);
            if (missing) {
                for (int h = 0; h < 4; h++) {
                    vd xh = CONST_AT(x + h * W), d = normal_deviation(xh, anchor, offset);
                    vi there = CONST_AT(seen + columns[u] * TILE + i + h * W) > 0.0;
                    q[h] += select_(there, d * d * precision, all(0.0));
                    constant[h] += select_(there, constant_u - (is_log ? 1.0 : 0.0) * xh, all(0.0));
                }
            } else if (is_log) {
                for (int h = 0; h < 4; h++) {
                    vd xh = CONST_AT(x + h * W), d = normal_deviation(xh, anchor, offset);
                    q[h] += d * d * precision;
                    constant[h] += constant_u - xh;
                }
            } else {
                for (int h = 0; h < 4; h++) {
                    vd d = normal_deviation(CONST_AT(x + h * W), anchor, offset);
                    q[h] += d * d * precision;
                }
                constant[0] += constant_u;
            }
        }
        for (int h = 0; h < 4; h++) AT(lp + i + h * W) += constant[missing || is_log ? h : 0] - 0.5 * q[h];
    }
}

static void block_rows_density(const engine *e, const block *b, const double *c, int k, tile *t, double *lp) {
    const int kpad = e->kpad;
    for (int u = 0; u < b->units; u++, c += 2 * kpad) {
        const int column = b->column[u];
        const double *x = t->x + column * TILE, *theta = b->theta + u * b->theta_rows * kpad + k;
        const double *s = b->stat + u * b->stat_rows * kpad + k;
        switch (b->kind) {
        case EXPONENTIAL:
            ROWS AT(lp + i) += where_seen(t, column, i, c[k] - theta[0] * CONST_AT(x + i));
            break;
        case POISSON:
            ROWS AT(lp + i) +=
                where_seen(t, column, i, poisson_exponent(CONST_AT(x + i), all(theta[0]), all(theta[kpad])));
            break;
        case BERNOULLI:
            ROWS AT(lp + i) +=
                where_seen(t, column, i, select_(CONST_AT(x + i) > 0.5, all(c[kpad + k]), all(c[k])));
            break;
        case BINOMIAL:
            ROWS AT(lp + i) += where_seen(
                t, column, i,
                binomial_exponent(CONST_AT(x + i), all(b->size), all(theta[kpad]), all(theta[2 * kpad])));
            break;
        case CATEGORICAL:
            for (int i = 0; i < TILE; i++) t->top[i] = x[i] < b->size ? s[(1 + (long)x[i]) * kpad] : 0.0;
            ROWS AT(lp + i) += where_seen(
                t, column, i, vlog(categorical_probability(CONST_AT(t->top + i), all(theta[0]), all(theta[kpad]))));
            break;
        }
    }
}

/* y = L^-1 (x - mean) for 4 W rows at a time, two of its coordinates at once */
static void mvn_rows_density(const block *b, const double *f, double constant, tile *t, double *lp) {
    const int D = b->size;
    const double *x = t->x + b->column[0] * TILE, *L = f + 3 * D;
    for (int i = 0; i < TILE; i += 4 * W) {
        vd q[4] = {all(0.0), all(0.0), all(0.0), all(0.0)}, y[4], z[4];
        for (int a = 0; a < D; a += 2) {
            const int pair = a + 1 < D;
            const double *row = L + triangle(a), *next = row + a;
            for (int h = 0; h < 4; h++) {
                y[h] = normal_deviation(CONST_AT(x + a * TILE + i + h * W), all(f[a]), all(f[D + a]));
                z[h] = pair ? normal_deviation(CONST_AT(x + (a + 1) * TILE + i + h * W), all(f[a + 1]), all(f[D + a + 1]))
                            : all(0.0);
            }
            for (int j = 0; j < a; j++) {
                vd l = all(row[j]), m = all(next[j]);
                for (int h = 0; h < 4; h++) {
                    vd yj = CONST_AT(t->y + j * TILE + i + h * W);
                    y[h] -= l * yj;
                    z[h] -= m * yj;
                }
            }
            for (int h = 0; h < 4; h++) {
                AT(t->y + a * TILE + i + h * W) = y[h];
                q[h] += y[h] * y[h] * f[2 * D + a];
            }
            if (!pair) continue;
            for (int h = 0; h < 4; h++) {
                z[h] -= next[a] * y[h];
                AT(t->y + (a + 1) * TILE + i + h * W) = z[h];
                q[h] += z[h] * z[h] * f[2 * D + a + 1];
            }
        }
        for (int h = 0; h < 4; h++) AT(lp + i + h * W) += constant - 0.5 * q[h];
    }
}

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

static void mvn_rows_missing(const engine *e, const block *b, int k, const double *before, tile *t, double *lp) {
    for (int i = 0; i < TILE; i++) {
        int pattern = tile_pattern(b, t, i);
        if (pattern == FULL) continue;
        lp[i] = before[i];
        if (pattern == PARTIAL) lp[i] += mvn_partial(e, b, k, record_of(e, t, i), t->dense, 0, 0);
    }
}

/* log factorials: what a record adds to every component */
static void rows_common(const engine *e, const block *b, tile *t) {
    memset(t->common, 0, sizeof(double) * TILE);
    if (b->kind != POISSON && b->kind != BINOMIAL) return;
    for (int u = 0; u < b->units; u++)
        for (int i = 0; i < TILE; i++) {
            double x = t->x[b->column[u] * TILE + i];
            if (t->seen[b->column[u] * TILE + i] > 0.0)
                t->common[i] += b->kind == POISSON ? -log_factorial(x) : log_choose(b->size, x);
        }
}

static void rows_outside(const block *b, int n_components, tile *t) {
    for (int u = 0; u < (b->kind == MVN ? b->size : b->units); u++)
        for (int k = 0; k < n_components; k++)
            if (!b->lanes || b->lanes[k])
                for (int i = 0; i < TILE; i++)
                    if (t->seen[b->column[u] * TILE + i] < 0.0) t->r[k * TILE + i] = -INFINITY;
}

/* The E-step of a tile: log densities, then responsibilities, into t->r; the log density of each row into t->sum. */
static void tile_expect(const engine *e, tile *t) {
    double before[TILE] __attribute__((aligned(64)));
    memset(t->r, 0, sizeof(double) * e->k * TILE);
    for (int external = 0; external < 2; external++) {
        const double *c = t->constant, *factor = t->factor, *after = factor;
        for (int n = 0; n < e->n_blocks; c += 2 * e->kpad * e->blocks[n].units, n++) {
            const block *b = e->blocks + n;
            factor = after;
            after += e->k * factor_size(b);
            if (external && t->outside) rows_outside(b, e->k, t);
            if ((b->kind == EXTERNAL) != external) continue;
            rows_common(e, b, t);
            for (int k = 0; k < e->k; k++) {
                double *lp = t->r + k * TILE;
                if (b->lanes && !b->lanes[k]) continue;
                if (b->kind == EXTERNAL)
                    for (int u = 0; u < b->units; u++)
                        ROWS AT(lp + i) += CONST_AT(t->x + b->column[u] * TILE + i);
                else if (b->kind == MVN) {
                    if (t->missing) memcpy(before, lp, sizeof before);
                    mvn_rows_density(b, factor + k * factor_size(b), c[k], t, lp);
                    if (t->missing) mvn_rows_missing(e, b, k, before, t, lp);
                } else if (b->kind == NORMAL || b->kind == LOGNORMAL)
                    normal_rows_density(b, factor + k * factor_size(b), t, lp);
                else
                    block_rows_density(e, b, c, k, t, lp);
                ROWS AT(lp + i) = vmax(AT(lp + i) + CONST_AT(t->common + i), all(external ? -INFINITY : -1e300));
            }
        }
    }
    double log_total = log(total_mass(e));
    ROWS {
        vd top = CONST_AT(t->r + i);
        for (int k = 1; k < e->k; k++) top = vmax(CONST_AT(t->r + k * TILE + i), top);
        vd sum = all(0.0), level = vmax(top, all(-1e306));
        for (int k = 0; k < e->k; k++) {
            vd v = vexp(CONST_AT(t->r + k * TILE + i) - level) * (e->mass[k] + e->weight_prior);
            AT(t->r + k * TILE + i) = v;
            sum += v;
        }
        vd inverse = 1.0 / vmax(sum, all(SMALLEST));
        for (int k = 0; k < e->k; k++) AT(t->r + k * TILE + i) *= inverse;
        AT(t->sum + i) = select_(sum > 0.0, top + vlog(vmax(sum, all(SMALLEST))) - log_total, all(-INFINITY));
    }
}
