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

static inline vd inner_exponent(const block *b, vd x, const double *s, const double *theta, int kpad) {
    switch (b->inner) {
    case NORMAL: return -normal_square(normal_deviation(x, all(s[0]), all(s[kpad])), all(theta[kpad]));
    case LOGNORMAL: return -normal_square(normal_deviation(x, all(s[0]), all(s[kpad])), all(theta[kpad])) - x;
    case EXPONENTIAL: return -theta[0] * x;
    case POISSON: return poisson_exponent(x, all(theta[0]), all(theta[kpad]));
    default: return binomial_exponent(x, all(b->size), all(theta[kpad]), all(theta[2 * kpad]));
    }
}

static void inflated_rows_density(const block *b, const double *c, int k, int kpad, const tile *t, double *lp) {
    for (int u = 0; u < b->units; u++, c += 2 * kpad) {
        const double *x = t->x + b->column[u] * TILE, *s = b->stat + u * b->stat_rows * kpad + k;
        const double *theta = b->theta + u * b->theta_rows * kpad + k;
        ROWS {
            vd v = CONST_AT(x + i), other = c[k] + inner_exponent(b, v, s, theta, kpad);
            add_density(lp + i, where_seen(t, b->column[u], i, select_(zeros_of(b, v), all(c[kpad + k]), other)));
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

static void inflated_rows_sums(const block *b, int k, int kpad, const tile *t, double *sum) {
    const int normal = b->inner == NORMAL || b->inner == LOGNORMAL;
    for (int u = 0; u < b->units; u++) {
        const double *x = t->x + b->column[u] * TILE, *s = b->stat + u * b->stat_rows * kpad + k;
        const double *theta = b->theta + u * b->theta_rows * kpad + k;
        const double stays = *inflated_theta(b, theta, ZERO_KEPT, kpad);
        const double structural = *inflated_theta(b, theta, ZERO_STRUCTURAL, kpad);
        vd sums[4][LANES / W] = {{all(0.0)}};
        ROWS {
            vd value = CONST_AT(x + i), r = where_seen(t, b->column[u], i, CONST_AT(t->r + k * TILE + i));
            vi zero = zeros_of(b, value);
            if (normal) value = select_(zero, all(0.0), normal_deviation(value, all(s[0]), all(s[kpad])));
            sums[3][PART(i)] += select_(zero, r * structural, all(0.0));
            r = select_(zero, r * stays, r);
            sums[0][PART(i)] += r * value;
            sums[1][PART(i)] += r * value * value;
            sums[2][PART(i)] += r;
        }
        ADD_SUMS(sums, normal ? 2 : 1);
        ADD_SUMS((sums + 2), 2);
    }
}
