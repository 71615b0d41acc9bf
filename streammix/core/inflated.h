/* Zero-inflated families: a zero is structural, with a share of its own, or the inner family's. Inner families that
 * are continuous make no zeros: all of them are structural.
 *
 * The statistics of a unit are the inner family's and, last, the means of P(inner | x), kept, by which those are
 * weighed, and of P(structural | x). Each keeps its digits where it is small. */
enum { KEPT, STRUCTURAL, AT_ZERO, ZERO_KEPT, ZERO_STRUCTURAL, INFLATED_ROWS }; /* theta, after the inner family's */
#define LEAST_KEPT 1e-10

static inline int is_zero(const block *b, double x) { return x == (b->inner == LOGNORMAL ? -INFINITY : 0.0); }

static inline const double *inflated_theta(const block *b, const double *theta, int row, int kpad) {
    return theta + (b->theta_rows - INFLATED_ROWS + row) * kpad;
}

static inline int makes_zeros(int inner) {
    return inner == POISSON || inner == BINOMIAL || inner == NEGATIVE_BINOMIAL;
}

static inline void inflated_density(density *a, const block *b, const double *columns, const double *stat,
                                    const double *theta, int kpad) {
    const double x = columns[0];
    if (is_zero(b, x)) {
        times(a, vmax(CONST_AT(inflated_theta(b, theta, AT_ZERO, kpad)), all(SMALLEST)));
        return;
    }
    times(a, CONST_AT(inflated_theta(b, theta, KEPT, kpad)));
    switch (b->inner) {
    case NORMAL:
    case LOGNORMAL:
        normal_density(a, normal_deviation(all(x), CONST_AT(stat), CONST_AT(stat + kpad)), CONST_AT(theta + kpad));
        a->sum -= HALF_LOG_2PI;
        break;
    case EXPONENTIAL: exponential_density(a, all(x), CONST_AT(theta)); break;
    case POISSON: a->sum += poisson_exponent(all(x), CONST_AT(theta), CONST_AT(theta + kpad)); break;
    case BINOMIAL:
        a->sum += binomial_exponent(all(x), b->size, CONST_AT(theta), CONST_AT(theta + kpad),
                                    CONST_AT(theta + 2 * kpad));
        break;
    case NEGATIVE_BINOMIAL: a->sum += negative_binomial_exponent(all(x), latent_of(theta, kpad)); break;
    case GAMMA:
        gamma_density(a, gamma_excess(all(x), all(columns[1]), CONST_AT(stat), CONST_AT(theta + kpad), CONST_AT(theta + 2 * kpad)),
                      theta, kpad);
        break;
    }
}

/* returns the inner family's rho, where `stays` of the record is its */
static inline vd kept_step(vd stays, vd structural, vd rho, double *kept, int kpad) {
    mean_step(stays, rho, kept);
    mean_step(structural, rho, kept + kpad);
    return vmin(rho * stays / vmax(AT(kept), all(SMALLEST)), all(1.0));
}

static inline void inflated_step(const block *b, const double *columns, vd rho, double *stat, const double *theta,
                                 int kpad) {
    const double x = columns[0];
    const int zero = is_zero(b, x);
    vd stays = zero ? CONST_AT(inflated_theta(b, theta, ZERO_KEPT, kpad)) : all(1.0);
    vd structural = zero ? CONST_AT(inflated_theta(b, theta, ZERO_STRUCTURAL, kpad)) : all(0.0);
    vd own = kept_step(stays, structural, rho, stat + (b->stat_rows - 2) * kpad, kpad);
    if (zero && !makes_zeros(b->inner)) return;
    switch (b->inner) {
    case NORMAL:
    case LOGNORMAL: normal_step(all(x), CONST_AT(stat), own, stat + kpad, stat + 2 * kpad); break;
    case GAMMA: {
        vd log_x = all(columns[1]), apart = gamma_excess(all(x), log_x, AT(stat), CONST_AT(theta + kpad), CONST_AT(theta + 2 * kpad));
        gamma_step(all(x), log_x, apart, own, stat, theta, kpad);
        break;
    }
    case NEGATIVE_BINOMIAL: negative_binomial_step(all(x), own, stat, theta, kpad); break;
    default: mean_step(all(x), own, stat);
    }
}

static inline void inflated_maximize(const block *b, int u, const double *stat, const double *prior, vd kappa,
                                     double *theta, int kpad) {
    vd at_zero = all(0.0), p = CONST_AT(prior);
    switch (b->inner) {
    case NORMAL:
    case LOGNORMAL: normal_maximize(normal_variance(CONST_AT(stat + 2 * kpad), p, kappa, b->least[u]), theta, kpad); break;
    case EXPONENTIAL: exponential_maximize(CONST_AT(stat), p, kappa, theta); break;
    case POISSON:
        poisson_maximize(CONST_AT(stat), p, kappa, theta, kpad);
        at_zero = vexp(-CONST_AT(theta));
        break;
    case BINOMIAL:
        binomial_maximize(CONST_AT(stat), all(b->size), p, kappa, theta, kpad);
        at_zero = vexp((double)b->size * CONST_AT(theta + 2 * kpad));
        break;
    case NEGATIVE_BINOMIAL:
        negative_binomial_maximize(stat, prior, kappa, theta, kpad);
        at_zero = vexp(negative_binomial_exponent(all(0.0), latent_of(theta, kpad)));
        break;
    case GAMMA: gamma_maximize(stat, prior, kappa, theta, kpad); break;
    }
    const double *means = stat + (b->stat_rows - 2) * kpad, *shares = prior + (b->prior_rows - 2) * kpad;
    vd kept = vmax(shrink(CONST_AT(means), CONST_AT(shares), kappa), all(LEAST_KEPT));
    vd structural = vmax(shrink(CONST_AT(means + kpad), CONST_AT(shares + kpad), kappa), all(0.0));
    vd whole = 1.0 / (kept + structural);
    kept *= whole;
    structural *= whole;
    vd inner = kept * at_zero, zero = structural + inner, inverse = 1.0 / vmax(zero, all(SMALLEST));
    double *own = theta + (b->theta_rows - INFLATED_ROWS) * kpad;
    AT(own + KEPT * kpad) = kept;
    AT(own + STRUCTURAL * kpad) = structural;
    AT(own + AT_ZERO * kpad) = zero;
    AT(own + ZERO_KEPT * kpad) = inner * inverse;
    AT(own + ZERO_STRUCTURAL * kpad) = structural * inverse;
}
