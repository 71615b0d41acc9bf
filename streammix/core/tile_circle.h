/* Tiles of angles, of Student's t, of zero-inflated and of uniform fields: densities and sums with records in lanes. */

static void vonmises_rows_density(const block *b, const double *c, int k, int kpad, const double *angle, const tile *t,
                                  double *lp) {
    for (int u = 0; u < b->units; u++, c += 2 * kpad, angle += 2 * TILE) {
        const double *theta = b->theta + u * 4L * kpad + k;
        ROWS {
            vd h = half_sine(CONST_AT(angle + i), CONST_AT(angle + TILE + i), all(theta[0]), all(theta[kpad]));
            add_density(lp + i, where_seen(t, b->column[u], i, c[k] - 2.0 * h * h * theta[2 * kpad]));
        }
    }
}

static void student_rows_density(const block *b, const double *c, int k, int kpad, const tile *t, double *lp) {
    for (int u = 0; u < b->units; u++, c += 2 * kpad) {
        const double *x = t->x + b->column[u] * TILE, *s = b->stat + u * 5L * kpad + k;
        const double *theta = b->theta + u * 6L * kpad + k;
        ROWS {
            vd d = normal_deviation(CONST_AT(x + i), all(s[0]), all(s[kpad]));
            vd v = c[k] + student_exponent(vlog_plus(d * d * theta[2 * kpad]), all(theta[0]));
            add_density(lp + i, where_seen(t, b->column[u], i, v));
        }
    }
}

/* whether each row's value is the zero of a zero-inflated family */
static inline vi zeros_of(const block *b, vd x) { return x == (b->inner == LOGNORMAL ? -INFINITY : 0.0); }

static inline vd inner_exponent(const block *b, const double *columns, const double *s, const double *theta, int kpad) {
    const vd x = CONST_AT(columns);
    switch (b->inner) {
    case NORMAL: return -normal_square(normal_deviation(x, all(s[0]), all(s[kpad])), all(theta[kpad]));
    case LOGNORMAL: return -normal_square(normal_deviation(x, all(s[0]), all(s[kpad])), all(theta[kpad])) - x;
    case EXPONENTIAL: return -theta[0] * x;
    case POISSON: return poisson_exponent(x, all(theta[0]), all(theta[kpad]));
    case NEGATIVE_BINOMIAL: return negative_binomial_exponent(x, latent_at(theta, kpad));
    case GAMMA: {
        const vd log_x = CONST_AT(columns + TILE);
        return theta[0] * -gamma_excess(x, log_x, all(s[0]), all(theta[kpad]), all(theta[2 * kpad])) - log_x;
    }
    default: return binomial_exponent(x, b->size, all(theta[0]), all(theta[kpad]), all(theta[2 * kpad]));
    }
}

static void inflated_rows_density(const block *b, const double *c, int k, int kpad, const tile *t, double *lp) {
    for (int u = 0; u < b->units; u++, c += 2 * kpad) {
        const int column = b->column[u * b->width];
        const double *x = t->x + column * TILE, *s = b->stat + u * b->stat_rows * kpad + k;
        const double *theta = b->theta + u * b->theta_rows * kpad + k;
        ROWS {
            vd other = c[k] + inner_exponent(b, x + i, s, theta, kpad);
            vd v = select_(zeros_of(b, CONST_AT(x + i)), all(c[kpad + k]), other);
            add_density(lp + i, where_seen(t, column, i, v));
        }
    }
}

/* adds the sums of a row of the accumulator each */
#define ADD_SUMS(sums, rows) \
    for (int row = 0; row < (rows); row++, sum++) *sum += sum_of_lanes(sums[row])

static void vonmises_rows_sums(const block *b, int k, int kpad, const double *angle, const tile *t, double *sum) {
    for (int u = 0; u < b->units; u++, angle += 2 * TILE) {
        const double *s = b->stat + u * 4L * kpad + k;
        vd sums[2][LANES / W] = {{all(0.0)}};
        ROWS {
            vd c = CONST_AT(angle + i), sine = CONST_AT(angle + TILE + i);
            vd h = half_sine(c, sine, all(s[0]), all(s[kpad])), g = half_cosine(c, sine, all(s[0]), all(s[kpad]));
            vd v = 2.0 * h * where_seen(t, b->column[u], i, CONST_AT(t->r + k * TILE + i));
            sums[0][PART(i)] += v * h;
            sums[1][PART(i)] += v * g;
        }
        ADD_SUMS(sums, 2);
    }
}

static void student_rows_sums(const block *b, int k, int kpad, const tile *t, double *sum) {
    for (int u = 0; u < b->units; u++) {
        const double *x = t->x + b->column[u] * TILE, *s = b->stat + u * 5L * kpad + k;
        const double *theta = b->theta + u * 6L * kpad + k;
        vd sums[4][LANES / W] = {{all(0.0)}};
        ROWS {
            vd d = normal_deviation(CONST_AT(x + i), all(s[0]), all(s[kpad])), q = d * d * theta[2 * kpad];
            vd surplus, scale = student_scale(q, all(theta[5 * kpad]), &surplus);
            vd r = where_seen(t, b->column[u], i, CONST_AT(t->r + k * TILE + i)), v = r * scale;
            sums[0][PART(i)] += v;
            sums[1][PART(i)] += v * d;
            sums[2][PART(i)] += v * d * d;
            sums[3][PART(i)] += r * (surplus + vlog_plus(q) + theta[4 * kpad]);
        }
        ADD_SUMS(sums, 4);
    }
}

/* what a record adds to the inner family's sums: of x and its square; of x, its excess and its log_ratio */
static inline void inner_moments(const block *b, const double *columns, vi zero, const double *s, const double *theta,
                                 int kpad, vd *moment) {
    const vd x = CONST_AT(columns);
    vd ratio, log_ratio, more = all(0.0);
    moment[0] = x;
    switch (b->inner) {
    case NORMAL:
    case LOGNORMAL:
        moment[0] = select_(zero, all(0.0), normal_deviation(x, all(s[0]), all(s[kpad])));
        moment[1] = moment[0] * moment[0];
        return;
    case NEGATIVE_BINOMIAL:
        moment[0] = latent_rate(x, latent_at(theta, kpad), all(s[0]), &ratio, &log_ratio, &more);
        break;
    case GAMMA:
        ratio = select_(zero, all(0.0), (x - s[0]) * theta[kpad]);
        log_ratio = select_(zero, all(0.0), CONST_AT(columns + TILE) - theta[2 * kpad]);
        break;
    default: return;
    }
    moment[1] = excess(ratio, log_ratio) + more;
    moment[2] = log_ratio - more;
}

static void inflated_rows_sums(const block *b, int k, int kpad, const tile *t, double *sum) {
    const int inner_rows = b->acc_rows - 2;
    for (int u = 0; u < b->units; u++) {
        const int column = b->column[u * b->width];
        const double *x = t->x + column * TILE, *s = b->stat + u * b->stat_rows * kpad + k;
        const double *theta = b->theta + u * b->theta_rows * kpad + k;
        const double stays = *inflated_theta(b, theta, ZERO_KEPT, kpad);
        const double structural = *inflated_theta(b, theta, ZERO_STRUCTURAL, kpad);
        vd sums[5][LANES / W] = {{all(0.0)}}, moment[3];
        ROWS {
            vd r = where_seen(t, column, i, CONST_AT(t->r + k * TILE + i));
            vi zero = zeros_of(b, CONST_AT(x + i));
            inner_moments(b, x + i, zero, s, theta, kpad, moment);
            sums[4][PART(i)] += select_(zero, r * structural, all(0.0));
            r = select_(zero, r * stays, r);
            for (int j = 0; j < inner_rows; j++) sums[j][PART(i)] += r * moment[j];
            sums[3][PART(i)] += r;
        }
        ADD_SUMS(sums, inner_rows);
        ADD_SUMS((sums + 3), 2);
    }
}
