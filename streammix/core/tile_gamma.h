/* Gamma, Dirichlet and NegativeBinomial over a tile: rows in lanes, one unit and component at a time. */

static inline int has_gap(const block *b) {
    return b->kind == GAMMA || b->kind == DIRICHLET || b->kind == NEGATIVE_BINOMIAL;
}

/* a group alone in its block is the only unit that a record may have in part */
static inline int may_be_partial(const block *b, const tile *t) {
    return t->missing && b->kind == DIRICHLET && b->units == 1;
}

static inline latent latent_at(const double *theta, int kpad) {
    return (latent){all(theta[0]), all(theta[kpad]), all(theta[2 * kpad]), all(theta[3 * kpad])};
}

static void gamma_rows_density(const engine *e, const block *b, double constant, int u, int k, tile *t, double *lp) {
    const int kpad = e->kpad, n = b->size, column = b->column[u * b->width];
    const double *x = t->x + column * TILE, *theta = b->theta + u * b->theta_rows * kpad + k;
    const double *mean = b->stat + u * b->stat_rows * kpad + k;
    double before[TILE] __attribute__((aligned(64)));
    if (may_be_partial(b, t)) memcpy(before, lp, sizeof before);
    ROWS {
        vd v;
        if (b->kind == NEGATIVE_BINOMIAL) v = negative_binomial_exponent(CONST_AT(x + i), latent_at(theta, kpad));
        else if (b->kind == GAMMA)
            v = constant - theta[0] * gamma_excess(CONST_AT(x + i), CONST_AT(x + TILE + i), all(*mean), all(theta[kpad]),
                                                   all(theta[2 * kpad]));
        else {
            v = all(theta[4 * n * kpad]);
            for (int j = 0; j < n; j++) {
                const double *own = theta + j * kpad;
                v += share_exponent(CONST_AT(x + j * TILE + i), CONST_AT(x + (n + j) * TILE + i), all(mean[j * kpad]),
                                    all(own[0]), all(own[n * kpad]), all(own[2 * n * kpad]), all(own[3 * n * kpad]));
            }
        }
        add_density(lp + i, where_seen(t, column, i, v));
    }
    for (int i = 0; may_be_partial(b, t) && i < t->height; i++) {
        int pattern = tile_pattern(b, t, i);
        if (pattern == FULL) continue;
        lp[i] = before[i];
        if (pattern == PARTIAL)
            lp[i] = fmax(lp[i] + dirichlet_partial(n, record_of(e, t, i) + column, theta - k % W, kpad)[k % W], LEAST);
    }
}

/* one row of a composition that is there in part */
static void partial_row_sums(const engine *e, const block *b, int k, tile *t, int i, double *sum) {
    const int kpad = e->kpad, n = b->size;
    const double *row = record_of(e, t, i) + b->column[0], *theta = b->theta + k - k % W;
    vd rest = all(rest_of(n, row)), missing = missing_concentration(n, row, theta, kpad);
    for (int j = 0; j < n; j++, sum += 3) {
        vd mean = CONST_AT(b->stat + j * kpad + k - k % W), own = all(0.0), x = all(row[j]);
        if (row[j] != row[j]) x = missing_share(rest, CONST_AT(theta + j * kpad), missing, &own);
        vd log_ratio = vlog(vmax(x / mean, all(SMALLEST)));
        double weight = t->r[k * TILE + i];
        sum[0] += weight * x[k % W];
        sum[1] += weight * (excess((x - mean) / mean, log_ratio) + own)[k % W];
        sum[2] += weight * (log_ratio - own)[k % W];
    }
}

/* sums of x (of a latent rate, its expectation), of the excess of x / mean, and of log(x / mean) */
static void gamma_rows_sums(const engine *e, const block *b, int u, int k, tile *t, double *sum) {
    const int kpad = e->kpad, n = b->size, column = b->column[u * b->width];
    const double *theta = b->theta + u * b->theta_rows * kpad + k, *r = t->r + k * TILE;
    double weight[TILE] __attribute__((aligned(64))), *first = sum;
    ROWS AT(weight + i) = where_seen(t, column, i, CONST_AT(r + i));
    for (int i = 0; may_be_partial(b, t) && i < t->height; i++)
        if (tile_pattern(b, t, i) != FULL) weight[i] = 0.0;
    for (int j = 0; j < n; j++, sum += 3) {
        const double *x = t->x + (column + j) * TILE, *own = theta + j * kpad;
        const vd mean = all(b->stat[(u * b->stat_rows + j) * kpad + k]);
        vd values[LANES / W] = {all(0.0)}, excesses[LANES / W] = {all(0.0)}, logs[LANES / W] = {all(0.0)};
        ROWS {
            vd v = CONST_AT(weight + i), value = CONST_AT(x + i), more = all(0.0), ratio, log_ratio;
            if (b->kind == NEGATIVE_BINOMIAL)
                value = latent_rate(value, latent_at(theta, kpad), mean, &ratio, &log_ratio, &more);
            else {
                ratio = (value - mean) * own[n * kpad];
                log_ratio = CONST_AT(x + n * TILE + i) - own[2 * n * kpad];
            }
            values[PART(i)] += v * value;
            excesses[PART(i)] += v * (excess(ratio, log_ratio) + more);
            logs[PART(i)] += v * (log_ratio - more);
        }
        sum[0] += sum_of_lanes(values);
        sum[1] += sum_of_lanes(excesses);
        sum[2] += sum_of_lanes(logs);
    }
    for (int i = 0; may_be_partial(b, t) && i < t->height; i++)
        if (r[i] > 0.0 && tile_pattern(b, t, i) == PARTIAL) partial_row_sums(e, b, k, t, i, first);
}

/* minus the sum of log x over the coordinates: what a record adds to every component */
static void gamma_rows_common(const engine *e, const block *b, int u, tile *t) {
    const int column = b->column[u * b->width];
    for (int i = 0; i < t->height; i++) {
        if (b->kind == NEGATIVE_BINOMIAL) {
            if (t->seen[column * TILE + i] > 0.0) t->common[i] += log_count_constant(t->x[column * TILE + i]);
        } else if (t->missing) {
            t->common[i] -= log_volume(b, u, record_of(e, t, i));
        } else {
            for (int j = b->width / 2; j < b->width; j++) t->common[i] -= t->x[(column + j) * TILE + i];
        }
    }
}
