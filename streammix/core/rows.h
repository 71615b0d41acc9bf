/* Blocks of records at fixed parameters: the E-step and the expected statistics (accumulate), and the step of the
 * statistics towards them (blend). Rows go in tiles of TILE, rows in lanes; sums keep row i in the i mod 8-th partial
 * sum, so that their order does not depend on the vector width. */

#define ROWS for (int i = 0; i < TILE; i += W)

/* the pieces of accumulate's work */
typedef struct {
    double *x, *seen;             /* columns x TILE: values with 0 for missing; 1, 0, or -1 outside the support */
    double *r;                    /* k x TILE: log densities, then responsibilities times weights */
    double *common, *weight, *top, *sum;
    double *constant;             /* units x 2 x kpad */
    double *partial;              /* partial sums: rows x k x 8 */
    double *scatter;              /* MVNs: k x (anchor, offset, S1, S2) */
    double *y, *delta, *weighted; /* TILE x padded D */
    double *dense, *filled, *record;
    int missing, outside;         /* some cell of the tile is missing or outside; outside */
} tile;

static double *take(double **work, long n) {
    double *p = *work;
    *work += (n + LANES - 1) / LANES * LANES;
    return p;
}

static inline int round_up(int n) { return (n + LANES - 1) / LANES * LANES; }

static tile carve(const engine *e, double *work) {
    tile t = {0};
    long units = 0, partial = e->n_masses, scatter = 0, deep = 0;
    for (int i = 0; i < e->n_blocks; i++) {
        const block *b = e->blocks + i;
        units += b->units;
        if (b->kind == MVN) {
            scatter += e->k * (3 + round_up(b->size)) * round_up(b->size);
            if (b->size > deep) deep = b->size;
        } else if (b->kind != CATEGORICAL)
            partial += b->units * b->acc_rows;
    }
    t.x = take(&work, (long)e->n_columns * TILE);
    t.seen = take(&work, (long)e->n_columns * TILE);
    t.r = take(&work, (long)e->k * TILE);
    t.common = take(&work, TILE);
    t.weight = take(&work, TILE);
    t.top = take(&work, TILE);
    t.sum = take(&work, TILE);
    t.constant = take(&work, units * 2 * e->kpad);
    t.partial = take(&work, partial * e->k * LANES);
    t.scatter = take(&work, scatter);
    t.y = take(&work, TILE * round_up(deep));
    t.delta = take(&work, TILE * round_up(deep));
    t.weighted = take(&work, TILE * round_up(deep));
    t.dense = take(&work, 4 * deep * deep + 4 * deep);
    t.filled = take(&work, deep * deep + deep);
    t.record = take(&work, e->n_columns);
    memset(t.partial, 0, sizeof(double) * partial * e->k * LANES);
    return t;
}

/* per unit and component, what does not depend on the record: constants, or for Bernoulli log q and log p */
static void constants(const engine *e, tile *t) {
    const int kpad = e->kpad;
    double *c = t->constant, *s = t->scatter;
    for (int n = 0; n < e->n_blocks; n++) {
        const block *b = e->blocks + n;
        for (int u = 0; u < b->units; u++, c += 2 * kpad) {
            const double *theta = b->theta + u * b->theta_rows * kpad;
            for (int k = 0; k < kpad; k += W) {
                vd v = all(0.0);
                if (b->kind == NORMAL || b->kind == LOGNORMAL)
                    v = 0.5 * vlog(CONST_AT(theta + kpad + k)) - HALF_LOG_2PI;
                if (b->kind == EXPONENTIAL) v = vlog(CONST_AT(theta + k));
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
        if (b->kind != MVN) continue;
        const int D = b->size, P = round_up(D);
        for (int k = 0; k < e->k; k++, s += (3 + P) * P) {
            memset(s, 0, sizeof(double) * (3 + P) * P);
            for (int j = 0; j < D; j++) {
                s[j] = b->stat[(long)j * kpad + k];
                s[P + j] = b->stat[(long)(D + j) * kpad + k];
            }
        }
    }
}

static void load(const engine *e, const table *in, long begin, int n, const double *w, tile *t) {
    t->missing = t->outside = 0;
    for (int c = 0; c < e->n_columns; c++)
        for (int i = 0; i < TILE; i++) {
            double v = i < n ? cell(in, c, begin + i) : 0.0;
            int outside = v == INFINITY, seen = v == v && !outside;
            t->missing |= !seen;
            t->outside |= outside;
            t->x[c * TILE + i] = seen ? v : 0.0;
            t->seen[c * TILE + i] = seen - outside;
        }
    for (int i = 0; i < TILE; i++) t->weight[i] = i >= n ? 0.0 : w ? w[begin + i] : 1.0;
}

/* a record's contribution counts where its cell is seen */
static inline vd where_seen(const tile *t, int column, int i, vd v) {
    return t->missing ? select_(CONST_AT(t->seen + column * TILE + i) > 0.0, v, all(0.0)) : v;
}

static void block_rows_density(const engine *e, const block *b, const double *c, int k, tile *t, double *lp) {
    const int kpad = e->kpad;
    for (int u = 0; u < b->units; u++, c += 2 * kpad) {
        const int column = b->column[u];
        const double *x = t->x + column * TILE, *theta = b->theta + u * b->theta_rows * kpad + k;
        const double *s = b->stat + u * b->stat_rows * kpad + k;
        switch (b->kind) {
        case LOGNORMAL:
            ROWS AT(lp + i) -= CONST_AT(x + i);
            /* fall through */
        case NORMAL:
            ROWS {
                vd d = normal_deviation(CONST_AT(x + i), all(s[0]), all(s[kpad]));
                AT(lp + i) += where_seen(t, column, i, c[k] - 0.5 * d * d * theta[kpad]);
            }
            break;
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

/* two triangles' worth of work: y = L^-1 (x - mean) for W rows at a time */
static void mvn_rows_density(const engine *e, const block *b, const double *c, int k, tile *t, double *lp) {
    const int D = b->size, kpad = e->kpad;
    const double *x = t->x + b->column[0] * TILE, *s = b->stat + k, *L = s + 3L * D * kpad;
    for (int i = 0; i < TILE; i += 4 * W) {
        vd q0 = all(0.0), q1 = q0, q2 = q0, q3 = q0;
        for (int a = 0; a < D; a++) {
            const double *xa = x + a * TILE + i;
            vd anchor = all(s[a * kpad]), offset = all(s[(D + a) * kpad]);
            vd y0 = normal_deviation(CONST_AT(xa), anchor, offset);
            vd y1 = normal_deviation(CONST_AT(xa + W), anchor, offset);
            vd y2 = normal_deviation(CONST_AT(xa + 2 * W), anchor, offset);
            vd y3 = normal_deviation(CONST_AT(xa + 3 * W), anchor, offset);
            const double *row = L + triangle(a) * kpad;
            for (int j = 0; j < a; j++) {
                vd l = all(row[j * kpad]);
                const double *yj = t->y + j * TILE + i;
                y0 -= l * CONST_AT(yj);
                y1 -= l * CONST_AT(yj + W);
                y2 -= l * CONST_AT(yj + 2 * W);
                y3 -= l * CONST_AT(yj + 3 * W);
            }
            double *ya = t->y + a * TILE + i;
            AT(ya) = y0, AT(ya + W) = y1, AT(ya + 2 * W) = y2, AT(ya + 3 * W) = y3;
            vd precision = all(b->theta[(D + a) * kpad + k]);
            q0 += y0 * y0 * precision, q1 += y1 * y1 * precision;
            q2 += y2 * y2 * precision, q3 += y3 * y3 * precision;
        }
        AT(lp + i) += c[k] - 0.5 * q0;
        AT(lp + i + W) += c[k] - 0.5 * q1;
        AT(lp + i + 2 * W) += c[k] - 0.5 * q2;
        AT(lp + i + 3 * W) += c[k] - 0.5 * q3;
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
        const double *c = t->constant;
        for (int n = 0; n < e->n_blocks; c += 2 * e->kpad * e->blocks[n].units, n++) {
            const block *b = e->blocks + n;
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
                    mvn_rows_density(e, b, c, k, t, lp);
                    if (t->missing) mvn_rows_missing(e, b, k, before, t, lp);
                } else
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

/* the rows' weights for one unit: nothing where its cell is missing */
static inline vd row_weight(const tile *t, const double *r, int column, int i) {
    return where_seen(t, column, i, CONST_AT(r + i));
}

static void block_rows_sums(const engine *e, const block *b, int k, const tile *t, double *partial, double *acc) {
    const int kpad = e->kpad;
    const double *r = t->r + k * TILE;
    for (int u = 0; u < b->units; u++, partial += b->acc_rows * e->k * LANES) {
        const int column = b->column[u];
        const double *x = t->x + column * TILE, *s = b->stat + u * b->stat_rows * kpad + k;
        double *sum = partial + k * LANES, *square = sum + e->k * LANES;
        if (b->kind == CATEGORICAL) {
            for (int i = 0; i < TILE; i++)
                if (t->seen[column * TILE + i] > 0.0) acc[(long)x[i] * kpad + k] += r[i];
        } else if (b->kind == NORMAL || b->kind == LOGNORMAL) {
            for (int h = 0; h < LANES; h += W) {
                vd s1 = AT(sum + h), s2 = AT(square + h), anchor = all(s[0]), offset = all(s[kpad]);
                for (int i = h; i < TILE; i += LANES) {
                    vd d = normal_deviation(CONST_AT(x + i), anchor, offset), v = row_weight(t, r, column, i) * d;
                    s1 += v;
                    s2 += v * d;
                }
                AT(sum + h) = s1;
                AT(square + h) = s2;
            }
        } else if (b->kind != EXTERNAL) {
            for (int h = 0; h < LANES; h += W)
                for (int i = h; i < TILE; i += LANES)
                    AT(sum + h) += row_weight(t, r, column, i) * CONST_AT(x + i);
        }
    }
}

#define OUTER 8 /* rows of the outer products held in registers */

static void mvn_rows_sums(const engine *e, const block *b, int k, tile *t, double *own) {
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
        for (int a = 0; a < D; a++) delta[a] = t->x[(b->column[0] + a) * TILE + i];
        for (int a = D; a < P; a++) delta[a] = 0.0;
        for (int a = 0; a < P; a += W) {
            vd v = normal_deviation(AT(delta + a), CONST_AT(own + a), CONST_AT(own + P + a));
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
        double *r = t->r + k * TILE, any = 0.0;
        ROWS {
            vd v = CONST_AT(r + i);
            AT(r + i) = select_(v > NEGLIGIBLE, v * CONST_AT(t->weight + i), all(0.0));
        }
        for (int i = 0; i < TILE; i++) any += r[i];
        if (!(any > 0.0)) continue;
        double *partial = t->partial;
        for (int m = 0; m < e->n_masses; m++, partial += stride)
            for (int i = 0; i < TILE; i++) {
                int observed = !t->missing || e->mass_width[m] == 0;
                for (int j = 0; !observed && j < e->mass_width[m]; j++)
                    observed = t->seen[(e->mass_column[m] + j) * TILE + i] > 0.0;
                partial[k * LANES + i % LANES] += observed ? r[i] : 0.0;
            }
        double *scatter = t->scatter;
        for (int n = 0; n < e->n_blocks; n++) {
            const block *b = e->blocks + n;
            const int P = round_up(b->size);
            int serves = !b->fixed && (!b->lanes || b->lanes[k]);
            if (b->kind == MVN) {
                if (serves) mvn_rows_sums(e, b, k, t, scatter + k * (3 + P) * P);
                scatter += (long)e->k * (3 + P) * P;
            } else {
                if (serves) block_rows_sums(e, b, k, t, partial, acc + b->acc * e->kpad);
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
    double log_likelihood = 0.0;
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
            for (int i = 0; i < n; i++) {
                if (*bad < 0 && !(t.sum[i] > -INFINITY)) *bad = at + i;
                log_likelihood += t.weight[i] * t.sum[i];
                if (out_lp) out_lp[at + i] = t.sum[i];
                if (out_r)
                    for (int k = 0; k < e->k; k++) out_r[(at + i) * e->k + k] = t.r[k * TILE + i];
            }
        }
        if (acc) tile_sums(e, &t, acc);
    }
    if (acc) gather_sums(e, &t, acc);
    return log_likelihood;
}

static void mvn_blend(engine *e, const block *b, int k, vd rho, vd n, const double *acc) {
    const int D = b->size, kpad = e->kpad;
    const long pairs = triangle(D + 1);
    double *stat = b->stat + k, *C = e->matrix + k, *d = C + pairs * kpad, *L = d + D * kpad;
    double *old_d = stat + 2 * D * kpad, *old_L = stat + 3 * D * kpad;
    vi moved = rho > 0.0;
    mvn_covariance(D, old_d, old_L, kpad, C);
    for (int i = 0; i < D; i++) {
        vd di = rho * (CONST_AT(acc + i * kpad) / n);
        for (int j = 0; j <= i; j++) {
            double *c = C + (triangle(i + 1) + j) * kpad;
            vd dj = rho * (CONST_AT(acc + j * kpad) / n);
            AT(c) = (1.0 - rho) * AT(c) + rho * (CONST_AT(acc + (D + triangle(i + 1) + j) * kpad) / n) - di * dj;
        }
    }
    mvn_factor(D, C, b->prior + k, kpad, d, L);
    for (int i = 0; i < D; i++) {
        AT(stat + (D + i) * kpad) += select_(moved, rho * (CONST_AT(acc + i * kpad) / n), all(0.0));
        AT(old_d + i * kpad) = select_(moved, AT(d + i * kpad), AT(old_d + i * kpad));
    }
    for (long i = 0; i < triangle(D); i++)
        AT(old_L + i * kpad) = select_(moved, AT(L + i * kpad), AT(old_L + i * kpad));
}

static void block_blend(engine *e, const block *b, int k, const double *acc, const double *n_of) {
    const int kpad = e->kpad;
    acc += b->acc * kpad + k;
    for (int u = 0; u < b->units; u++, acc += b->acc_rows * kpad) {
        double *s = b->stat + u * b->stat_rows * kpad + k;
        vd rho = CONST_AT(e->rho + b->mass[u] * kpad + k);
        vd n = vmax(CONST_AT(n_of + b->mass[u] * kpad + k), all(SMALLEST));
        if (b->lanes) rho = (vd)((vi)rho & *(const vi *)(b->lanes + k));
        vi moved = rho > 0.0;
        switch (b->kind) {
        case NORMAL:
        case LOGNORMAL: {
            vd delta = rho * (CONST_AT(acc) / n);
            AT(s + kpad) += delta;
            AT(s + 2 * kpad) = vmax(
                (1.0 - rho) * AT(s + 2 * kpad) + rho * (CONST_AT(acc + kpad) / n) - delta * delta, all(0.0));
            break;
        }
        case MVN: mvn_blend(e, b, k, rho, n, acc); break;
        case CATEGORICAL:
            for (long v = 0; v < b->size; v++) {
                double *count = s + (1 + v) * kpad;
                vd share = (1.0 - rho) * (AT(count) / AT(s)) + rho * (CONST_AT(acc + v * kpad) / n);
                AT(count) = select_(moved, share, AT(count));
            }
            AT(s) = select_(moved, all(1.0), AT(s));
            break;
        default: AT(s) = (1.0 - rho) * AT(s) + rho * (CONST_AT(acc) / n);
        }
    }
}

static void blend(engine *e, const double *acc, const double *gamma, const double *total) {
    const int kpad = e->kpad;
    for (int m = 0; m < e->n_masses; m++) {
        if (!(total[m] > 0.0)) {
            memset(e->rho + m * kpad, 0, sizeof(double) * kpad);
            continue;
        }
        for (int k = 0; k < kpad; k += W) {
            double *mass = e->mass + m * kpad + k, *count = e->count + m * kpad + k;
            vd n = CONST_AT(acc + m * kpad + k) / total[m];
            vd s = vmax((1.0 - gamma[m]) * AT(mass) + gamma[m] * n, all(SMALLEST));
            s = select_(CONST_AT(e->bias + k) == 0.0, s, all(0.0));
            vi moved = n > 0.0;
            AT(mass) = s;
            AT(count) = select_(moved, s * (total[m] / gamma[m]), AT(count));
            AT(e->rho + m * kpad + k) = select_(moved, vmin(gamma[m] * n / s, all(1.0)), all(0.0));
        }
    }
    for (int i = 0; i < e->n_blocks; i++)
        if (!e->blocks[i].fixed)
            for (int k = 0; k < kpad; k += W) block_blend(e, e->blocks + i, k, acc, acc);
}
