/* Multinomials over a tile: rows in lanes, one component at a time. A count that is missing is 0 in the tile. */

static inline vd counts_sum(const block *b, const tile *t, int i) {
    vd sum = all(0.0);
    for (int j = 0; j < b->size; j++) sum += CONST_AT(t->x + b->column[j] * TILE + i);
    return sum;
}

/* the probability of the counts that each row has */
static inline vd counts_seen(const block *b, const tile *t, const double *theta, int kpad, int i) {
    vd sum = all(SMALLEST);
    for (int j = 0; j < b->size; j++)
        sum += select_(CONST_AT(t->seen + b->column[j] * TILE + i) > 0.0, all(theta[j * kpad]), all(0.0));
    return sum;
}

static void multinomial_rows_density(const engine *e, const block *b, int k, const tile *t, double *lp) {
    const int kpad = e->kpad, n = b->size;
    const double *theta = b->theta + k, *log_p = theta + n * kpad;
    ROWS {
        vd whole = counts_sum(b, t, i), seen = all(1.0), log_seen = all(0.0), few = all(0.0);
        if (t->missing) {
            vi some_missing = (vi)all(0.0);
            for (int j = 0; j < n; j++) some_missing |= ~(CONST_AT(t->seen + b->column[j] * TILE + i) > 0.0);
            if (some(some_missing)) {
                seen = select_(some_missing, counts_seen(b, t, theta, kpad, i), seen);
                log_seen = vlog(seen);
            }
        }
        for (int j = 0; j < n; j++) few += CONST_AT(t->x + b->column[j] * TILE + i) * log_p[j * kpad];
        few -= whole * log_seen;
        vi many = whole >= MANY_COUNTS;
        if (some(many)) {
            vd sum = all(0.0), least = select_(many, whole, all(1.0)), log_scale = vlog(least) - log_seen;
            vd scale = scaled_sum(least, seen);
            for (int j = 0; j < n; j++) {
                const int column = b->column[j];
                vd own = deviance(CONST_AT(t->x + column * TILE + i), scale * theta[j * kpad], log_scale + log_p[j * kpad]);
                sum -= t->missing ? select_(CONST_AT(t->seen + column * TILE + i) > 0.0, own, all(0.0)) : own;
            }
            few = select_(many, sum, few);
        }
        add_density(lp + i, few);
    }
}

static void multinomial_rows_sums(const engine *e, const block *b, int k, const tile *t, double *sum) {
    const int kpad = e->kpad;
    const double *theta = b->theta + k, *r = t->r + k * TILE;
    double scale[TILE] __attribute__((aligned(64)));
    if (t->missing)
        ROWS AT(scale + i) = scaled_sum(counts_sum(b, t, i), counts_seen(b, t, theta, kpad, i));
    for (int j = 0; j < b->size; j++) {
        const double *x = t->x + b->column[j] * TILE, *seen = t->seen + b->column[j] * TILE;
        vd parts[LANES / W] = {all(0.0)};
        ROWS {
            vd value = CONST_AT(x + i);
            if (t->missing) value = select_(CONST_AT(seen + i) > 0.0, value, CONST_AT(scale + i) * theta[j * kpad]);
            parts[PART(i)] += CONST_AT(r + i) * value;
        }
        sum[j] += sum_of_lanes(parts);
    }
}
