/* The E-step of a tile of records: the families' densities with records in lanes. */

static void block_rows_density(const engine *e, const block *b, const double *c, int k, tile *t, double *lp) {
    const int kpad = e->kpad;
    for (int u = 0; u < b->units; u++, c += 2 * kpad) {
        const int column = b->column[u * b->width];
        const double *x = t->x + column * TILE, *theta = b->theta + u * b->theta_rows * kpad + k;
        const double *s = b->stat + u * b->stat_rows * kpad + k;
        switch (b->kind) {
        case EXPONENTIAL:
            ROWS add_density(lp + i, where_seen(t, column, i, c[k] - theta[0] * CONST_AT(x + i)));
            break;
        case POISSON:
            ROWS add_density(
                lp + i, where_seen(t, column, i, poisson_exponent(CONST_AT(x + i), all(theta[0]), all(theta[kpad]))));
            break;
        case GEOMETRIC:
            ROWS {
                vd v = geometric_exponent(CONST_AT(x + i), all(theta[kpad]), all(theta[2 * kpad]));
                add_density(lp + i, where_seen(t, column, i, v));
            }
            break;
        case INVERSE_GAUSSIAN:
            ROWS {
                vd v = c[k] + inverse_gaussian_exponent(CONST_AT(x + i), all(s[0]), all(theta[kpad]), all(theta[2 * kpad]));
                add_density(lp + i, where_seen(t, column, i, v));
            }
            break;
        case BERNOULLI:
            ROWS add_density(
                lp + i, where_seen(t, column, i, select_(CONST_AT(x + i) > 0.5, all(c[kpad + k]), all(c[k]))));
            break;
        case BINOMIAL:
            ROWS {
                vd v = binomial_exponent(CONST_AT(x + i), b->size, all(theta[0]), all(theta[kpad]), all(theta[2 * kpad]));
                add_density(lp + i, where_seen(t, column, i, v));
            }
            break;
        case GAMMA:
        case DIRICHLET:
        case NEGATIVE_BINOMIAL: gamma_rows_density(e, b, c[k], u, k, t, lp); break;
        case CATEGORICAL:
            for (int i = 0; i < t->height; i++) t->top[i] = x[i] < b->size ? s[(1 + (long)x[i]) * kpad] : 0.0;
            ROWS {
                vd v = vlog(categorical_probability(CONST_AT(t->top + i), all(theta[0]), all(theta[kpad])));
                add_density(lp + i, where_seen(t, column, i, v));
            }
            break;
        case MULTINOMIAL: multinomial_rows_density(e, b, k, t, lp); break;
        case UNIFORM: ROWS add_density(lp + i, where_seen(t, column, i, all(c[k]))); break;
        }
    }
}

/* what a record adds to every component, or NULL: log factorials; of log-Normals, log x again */
static const double *rows_common(const engine *e, const block *b, tile *t) {
    const int kind = b->kind == INFLATED ? b->inner : b->kind;
    if (!makes_zeros(kind) && b->kind != LOGNORMAL && b->kind != INVERSE_GAUSSIAN && !has_gap(b) &&
        kind != MULTINOMIAL)
        return NULL;
    memset(t->common, 0, sizeof(double) * TILE);
    for (int u = 0; u < b->units; u++) {
        const double *x = t->x + b->column[u] * TILE, *seen = t->seen + b->column[u] * TILE;
        if (has_gap(b)) gamma_rows_common(e, b, u, t);
        else if (kind == MULTINOMIAL)
            for (int i = 0; i < t->height; i++) t->common[i] = counts_constant(b->size, record_of(e, t, i) + b->column[0]);
        else if (b->kind == LOGNORMAL)
            ROWS AT(t->common + i) -= CONST_AT(x + i); /* 0 where missing */
        else
            for (int i = 0; i < t->height; i++)
                if (seen[i] > 0.0)
                    t->common[i] += kind == POISSON            ? poisson_constant(x[i])
                                    : kind == BINOMIAL         ? binomial_constant(b->size, x[i])
                                    : kind == INVERSE_GAUSSIAN ? inverse_gaussian_common(x[i])
                                                               : log_count_constant(x[i]);
    }
    return t->common;
}

static void rows_outside(const block *b, int n_components, tile *t) {
    for (int u = 0; u < b->units * b->width; u++)
        for (int k = 0; k < n_components; k++)
            if (!b->lanes || b->lanes[k])
                for (int i = 0; i < t->height; i++)
                    if (t->seen[b->column[u] * TILE + i] < 0.0) t->r[k * TILE + i] = -INFINITY;
}

/* adds the block's log densities to each component's */
static void block_rows(const engine *e, const block *b, const double *c, double *factor, const double *centred,
                       const double *angle, tile *t) {
    double before[TILE] __attribute__((aligned(64)));
    const double *common = rows_common(e, b, t);
    for (int k = 0; k < e->k; k++) {
        double *lp = t->r + k * TILE;
        if (b->lanes && !b->lanes[k]) continue;
        if (b->kind == EXTERNAL)
            for (int u = 0; u < b->units; u++) ROWS AT(lp + i) += CONST_AT(t->x + b->column[u] * TILE + i);
        else if (b->kind == MVN) {
            if (t->missing) memcpy(before, lp, sizeof before);
            mvn_rows_density(b, whole_factor(e, b, t, factor, k), c[k], centred, is_apart(e, b, t, k), t, lp);
            for (uint64_t left = t->missing ? ~t->full[b - e->blocks] : 0; left; left &= left - 1)
                lp[__builtin_ctzll(left)] = before[__builtin_ctzll(left)];
        } else if (is_normal(b))
            normal_rows_density(b, factor + k * factor_size(b), centred, t, lp);
        else if (b->kind == VONMISES)
            vonmises_rows_density(b, c, k, e->kpad, angle, t, lp);
        else if (b->kind == STUDENT)
            student_rows_density(b, c, k, e->kpad, t, lp);
        else if (b->kind == INFLATED)
            inflated_rows_density(b, c, k, e->kpad, t, lp);
        else
            block_rows_density(e, b, c, k, t, lp);
        if (common)
            ROWS add_density(lp + i, CONST_AT(common + i));
    }
    for (uint64_t left = b->kind == MVN && t->missing ? t->partial[b - e->blocks] : 0; left; left &= left - 1)
        mvn_partial_rows_density(e, b, __builtin_ctzll(left), t);
}

/* log densities of all components into t->r */
static void tile_densities(const engine *e, tile *t) {
    const int early = leaves_early_in_tile(e, t);
    if (t->n_plain) t->n_plain--;
    for (int k = 0; k < e->k; k++) memset(t->r + k * TILE, 0, sizeof(double) * t->height);
    for (int external = 0; external < 2; external++) {
        const double *c = t->constant, *centred = t->centred, *angle = t->angle;
        double *factor = t->factor;
        for (int n = 0; n < e->n_blocks; n++) {
            const block *b = e->blocks + n;
            if (external && t->outside) rows_outside(b, e->k, t);
            if (early && !external && n + 1 == e->n_blocks) far_block_rows(e, b, c, factor, centred, t);
            else if ((b->kind == EXTERNAL) == external) block_rows(e, b, c, factor, centred, angle, t);
            c += 2 * e->kpad * b->units;
            factor += e->k * factor_size(b);
            centred += centred_size(b);
            if (b->kind == VONMISES) angle += b->units * 2 * TILE;
        }
    }
}

#define EXPS (W == 8 ? 4 : 2) /* vectors whose exp is taken side by side: as many as there are registers for */

/* components that come out FAINT have no share */
static void drop_the_faint(const engine *e, tile *t) {
    ROWS {
        vd likeliest = all(-INFINITY);
        for (int l = 0; l < t->n_live; l++) {
            const int k = t->live[l];
            likeliest = vmax(CONST_AT(t->r + k * TILE + i) + t->log_mass[k], likeliest);
        }
        for (int l = 0; l < t->n_live; l++) {
            double *r = t->r + t->live[l] * TILE + i;
            AT(r) = select_(AT(r) + t->log_mass[t->live[l]] < likeliest - FAINT, all(-INFINITY), AT(r));
        }
    }
}

/* a component's share of each row, not yet divided by the sum over components, which it joins */
ALWAYS_INLINE void some_exp(double *r, double mass, const double *top, double *sum, const int n) {
    vd v[EXPS];
    vi respond = (vi)all(0.0);
    for (int h = 0; h < n; h++) {
        v[h] = CONST_AT(r + h * W) - CONST_AT(top + h * W);
        respond |= v[h] >= EXP_CUT;
    }
    if (!some(respond)) {
        for (int h = 0; h < n; h++) AT(r + h * W) = all(0.0);
        return;
    }
    vexps(v, n);
    for (int h = 0; h < n; h++) {
        v[h] *= mass;
        AT(r + h * W) = v[h];
        AT(sum + h * W) += v[h];
    }
}

static void rows_exp(const tile *t, double *r, double mass) {
    int i = 0;
    for (; i + EXPS * W <= t->height; i += EXPS * W) some_exp(r + i, mass, t->top + i, t->sum + i, EXPS);
    for (; i < t->height; i += W) some_exp(r + i, mass, t->top + i, t->sum + i, 1);
}

static void background_rows(const engine *e, tile *t) {
    ROWS AT(t->away + i) = all(0.0);
    for (int c = 0; c < e->n_columns; c++)
        ROWS {
            const vd x = CONST_AT(t->x + c * TILE + i);
            vd v = select_(x == e->point[c], all(LOG_2), e->width[c] + e->slope[c] * vmax(x, all(LEAST)));
            AT(t->away + i) -= select_(CONST_AT(t->seen + c * TILE + i) > 0.0, v, all(0.0));
        }
}

/* The E-step of a tile: responsibilities, up to each row's factor in t->scale, into t->r; the log density of each row
 * into t->sum. Each pass goes over all rows before the next, so that nothing waits for a sum. */
static void tile_expect(const engine *e, tile *t) {
    tile_densities(e, t);
    if (e->width) background_rows(e, t);
    if (t->upper) drop_the_faint(e, t);
    ROWS {
        vd top = CONST_AT(t->r + t->live[0] * TILE + i);
        for (int l = 1; l < t->n_live; l++) top = vmax(CONST_AT(t->r + t->live[l] * TILE + i), top);
        top = vmax(top, all(-1e306));
        AT(t->sum + i) = all(0.0);
        if (e->width) {
            const vd away = select_(top > -1e305, CONST_AT(t->away + i), all(-INFINITY));
            top = vmax(top, away);
            AT(t->sum + i) = t->background * vexp(away - top);
        }
        AT(t->top + i) = top;
    }
    for (int l = 0; l < t->n_live; l++) {
        const int k = t->live[l];
        rows_exp(t, t->r + k * TILE, e->mass[k] + e->weight_prior);
    }
    ROWS {
        vd sum = CONST_AT(t->sum + i), positive = vmax(sum, all(SMALLEST));
        AT(t->scale + i) = 1.0 / positive;
        AT(t->sum + i) = select_(sum > 0.0, CONST_AT(t->top + i) + vlog(positive) - t->log_total, all(-INFINITY));
    }
}
