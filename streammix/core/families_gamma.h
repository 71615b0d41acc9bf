/* Gamma, Beta, Dirichlet and NegativeBinomial. Their statistics are, for each coordinate, the mean of x and its gap, the
 * logarithm of the mean less the mean of log x: both move without loss however concentrated or far from 1 the records
 * are, as a Normal's mean and variance do. In place of a square stands the excess t - log(1 + t) of t = x / mean - 1. */

#define LEAST_MEAN 1e-200 /* so that x / mean is finite */

/* one record's step; log_ratio is log(x / mean), `apart` its excess, and `own` the gap of x itself where it is an
 * expectation */
static inline void gap_step(vd x, vd t, vd log_ratio, vd apart, vd own, vd rho, double *mean, double *gap) {
    vd m = AT(mean), move = rho * t;
    vi near = is_near(t), small = is_near(move);
    vd moved = vmax(select_(near, plus_product(m, rho, x - m), (1.0 - rho) * m + rho * x), all(LEAST_MEAN));
    vd more = plus_product(-step_excess(move), rho, apart);
    if (some(~small)) more = select_(small, more, vlog(moved / m) - rho * log_ratio);
    AT(mean) = moved;
    AT(gap) = vmax(plus_product(plus_product(more, rho, own), 1.0 - rho, AT(gap)), all(0.0));
}

/* the same towards means over a mini-batch: of x, of its excess and of its log_ratio, both about the mean so far */
static inline void gap_blend(vd x, vd excess_of_x, vd log_ratio, vd rho, double *mean, double *gap) {
    vd m = AT(mean), t = (x - m) / m, move = rho * t;
    vi small = is_near(move);
    vd moved = vmax(select_(is_near(t), m + rho * (x - m), (1.0 - rho) * m + rho * x), all(LEAST_MEAN));
    vd more = rho * excess_of_x - near_excess(move);
    if (some(~small)) more = select_(small, more, vlog(moved / m) - rho * log_ratio);
    more = vmax((1.0 - rho) * AT(gap) + more, all(0.0));
    AT(gap) = select_(rho > 0.0, more, AT(gap));
    AT(mean) = select_(rho > 0.0, moved, m);
}

static double gap_of(double a) {
    vd gap;
    gamma_terms(all(a), &gap, 0, 0);
    return gap[0];
}

static inline vd shrunk_gap(vd gap, vd prior, vd kappa) { return vmax(shrink(gap, prior, kappa), prior * PIVOT_FLOOR); }

/* ---- Gamma: theta is shape, 1 / mean, log mean, exp(2 constant) */
static inline vd gamma_excess(vd x, vd log_x, vd mean, vd inverse, vd log_mean) {
    return excess((x - mean) * inverse, log_x - log_mean);
}

static inline void gamma_density(density *a, vd apart, const double *theta, int kpad) {
    a->sum -= CONST_AT(theta) * apart;
    times_root(a, CONST_AT(theta + 3 * kpad));
}

/* `apart` is the record's gamma_excess */
static inline void gamma_step(vd x, vd log_x, vd apart, vd rho, double *stat, const double *theta, int kpad) {
    vd t = (x - AT(stat)) * CONST_AT(theta + kpad);
    gap_step(x, t, log_x - CONST_AT(theta + 2 * kpad), apart, all(0.0), rho, stat, stat + kpad);
}

/* one division serves 1 / c, c / (c + 3), 1 / mean and log mean; their numbers' product is far from 0 and infinity */
static inline void gamma_maximize(const double *stat, const double *prior, vd kappa, double *theta, int kpad) {
    vd square, mean = CONST_AT(stat), usual = CONST_AT(prior), least = vmax(usual * PIVOT_FLOOR, all(LEAST_GAP));
    vd gap = vmax(shrink(CONST_AT(stat + kpad), usual, kappa), least);
    vd c = vmin(gap, all(MOST_TABLED)), more = c + 3.0, of_gap = c * more;
    binary m = binary_of(mean, (vi)all(0.0));
    vd two = 2.0 + m.f, of_mean = mean * two, inverse = 1.0 / (of_gap * of_mean);
    vd one = of_mean * inverse, other = of_gap * inverse;
    AT(theta) = shape_by(gap, more * one, c * c * one, &square);
    AT(theta + kpad) = two * other;
    AT(theta + 2 * kpad) = binary_log(m, m.f * mean * other);
    AT(theta + 3 * kpad) = square;
}

/* ---- NegativeBinomial: theta is size, mean, 1 / (size + mean), constant(size) */
typedef struct {
    vd size, mean, inverse, constant;
} latent;

static inline latent latent_of(const double *theta, int kpad) {
    return (latent){CONST_AT(theta), CONST_AT(theta + kpad), CONST_AT(theta + 2 * kpad), CONST_AT(theta + 3 * kpad)};
}

static inline vd negative_binomial_exponent(vd x, latent p) {
    vd total = p.size + x, ratio = total * p.inverse, more;
    vi counted = x > 0.0;
    vd least = select_(counted, x, all(1.0));
    gamma_terms(total, 0, 0, &more);
    vd of_size = p.size * excess((x - p.mean) * p.inverse, vlog(ratio));
    vd of_x = x * excess(p.size * p.inverse * ((p.mean - x) / least), vlog(vmax(ratio * (p.mean / least), all(SMALLEST))));
    return select_(counted, p.constant - more, all(0.0)) - of_size - select_(counted, of_x, p.size * p.inverse * p.mean);
}

/* The latent rate given x is Gamma with shape size + x: its expectation, the t and log_ratio of that about the
 * statistics' mean, and its gap. */
static inline vd latent_rate(vd x, latent p, vd about, vd *t, vd *log_ratio, vd *own) {
    vd rate = vmax((p.size + x) * p.inverse * p.mean, all(LEAST_MEAN));
    gamma_terms(p.size + x, own, 0, 0);
    *t = (rate - about) / about;
    *log_ratio = vlog(rate / about);
    return rate;
}

static inline void negative_binomial_step(vd x, vd rho, double *stat, const double *theta, int kpad) {
    vd t, log_ratio, own, rate = latent_rate(x, latent_of(theta, kpad), AT(stat), &t, &log_ratio, &own);
    gap_step(rate, t, log_ratio, excess(t, log_ratio), own, rho, stat, stat + kpad);
}

static inline void negative_binomial_maximize(const double *stat, const double *prior, vd kappa, double *theta,
                                              int kpad) {
    vd square, mean = vmax(shrink(CONST_AT(stat), CONST_AT(prior), kappa), all(LEAST_MEAN));
    vd size = shape_of(shrunk_gap(CONST_AT(stat + kpad), CONST_AT(prior + kpad), kappa), &square);
    AT(theta) = size;
    AT(theta + kpad) = mean;
    AT(theta + 2 * kpad) = 1.0 / (size + mean);
    AT(theta + 3 * kpad) = 0.5 * vlog(square);
}

/* ---- Dirichlet of n coordinates (Beta is x and 1 - x). theta is concentration[n], 1 / mean[n], log mean[n], tilt[n],
 * constant, where concentration = total mean exp(w) and tilt = total (exp(w) - 1): w is about 1 / total, and the records'
 * means, not the concentrations' shares, are what densities are taken about. */
static inline vd share_exponent(vd x, vd log_x, vd mean, vd concentration, vd inverse, vd log_mean, vd tilt) {
    vd deviation = x - mean;
    return tilt * deviation - concentration * excess(deviation * inverse, log_x - log_mean);
}

/* row holds the n coordinates and then their logarithms */
static inline vd dirichlet_exponent(int n, const double *row, const double *stat, const double *theta, int kpad) {
    vd sum = CONST_AT(theta + 4 * n * kpad);
    for (int j = 0; j < n; j++) {
        const double *t = theta + j * kpad;
        sum += share_exponent(all(row[j]), all(row[n + j]), CONST_AT(stat + j * kpad), CONST_AT(t),
                              CONST_AT(t + n * kpad), CONST_AT(t + 2 * n * kpad), CONST_AT(t + 3 * n * kpad));
    }
    return sum;
}

static inline void dirichlet_step(int n, const double *row, vd rho, double *stat, const double *theta, int kpad) {
    for (int j = 0; j < n; j++) {
        double *mean = stat + j * kpad;
        vd t = (row[j] - AT(mean)) * CONST_AT(theta + (n + j) * kpad);
        vd log_ratio = row[n + j] - CONST_AT(theta + (2 * n + j) * kpad);
        gap_step(all(row[j]), t, log_ratio, excess(t, log_ratio), all(0.0), rho, mean, mean + n * kpad);
    }
}

/* what the missing coordinates of a composition have together */
static inline double rest_of(int n, const double *x) {
    double rest = 1.0;
    for (int j = 0; j < n; j++) rest -= x[j] == x[j] ? x[j] : 0.0;
    return rest > SMALLEST ? rest : SMALLEST;
}

static inline vd missing_concentration(int n, const double *row, const double *theta, int kpad) {
    vd sum = all(0.0);
    for (int j = 0; j < n; j++)
        if (row[j] != row[j]) sum += CONST_AT(theta + j * kpad);
    return sum;
}

static inline vd marginal_exponent(vd x, vd log_x, vd concentration, vd total) {
    vd constant, expected = concentration / total;
    gamma_terms(concentration, 0, 0, &constant);
    return constant - concentration * excess((x - expected) / expected, log_x - vlog(expected));
}

/* the coordinates that are there, and the rest, are Dirichlet again */
static inline vd dirichlet_partial(int n, const double *row, const double *theta, int kpad) {
    vd rest = all(rest_of(n, row)), missing = missing_concentration(n, row, theta, kpad), total = missing, sum;
    for (int j = 0; j < n; j++)
        if (row[j] == row[j]) total += CONST_AT(theta + j * kpad);
    gamma_terms(total, 0, 0, &sum);
    sum = marginal_exponent(rest, vlog(rest), missing, total) - sum;
    for (int j = 0; j < n; j++)
        if (row[j] == row[j]) sum += marginal_exponent(all(row[j]), all(row[n + j]), CONST_AT(theta + j * kpad), total);
    return sum;
}

/* given those, the missing ones are rest times a Dirichlet of their own: expectation and gap of one of them */
static inline vd missing_share(vd rest, vd concentration, vd missing, vd *own) {
    vd whole;
    gamma_terms(missing, &whole, 0, 0);
    gamma_terms(concentration, own, 0, 0);
    *own = vmax(*own - whole, all(0.0));
    return vmax(rest * (concentration / missing), all(LEAST_MEAN));
}

static void dirichlet_partial_step(int n, const double *row, vd rho, double *stat, const double *theta, int kpad) {
    vd rest = all(rest_of(n, row)), missing = missing_concentration(n, row, theta, kpad);
    for (int j = 0; j < n; j++) {
        double *mean = stat + j * kpad;
        vd own = all(0.0), x = all(row[j]);
        if (row[j] != row[j]) x = missing_share(rest, CONST_AT(theta + j * kpad), missing, &own);
        vd t = (x - AT(mean)) / AT(mean), log_ratio = vlog(vmax(x / AT(mean), all(SMALLEST)));
        gap_step(x, t, log_ratio, excess(t, log_ratio), own, rho, mean, mean + n * kpad);
    }
}

#define LEAST_CONCENTRATION 1e-10
#define LARGEST_CONCENTRATION 1e12
#define SETTLED 1e-7 /* a step of Newton's method: the next one would be about its square */

static inline vd within_bounds(vd concentration) {
    return vmin(vmax(concentration, all(LEAST_CONCENTRATION)), all(LARGEST_CONCENTRATION));
}

/* Newton's method in log total and w: w_j = gap(concentration_j) - gap(total) - gap_j and sum of mean_j (exp(w_j) - 1) = 0,
 * in which every term is small where concentrations are large. Each lane stops by itself. */
static void dirichlet_maximize(int n, const double *stat, const double *prior, vd kappa, double *theta, int kpad) {
    double *residual = theta, *slope = theta + n * kpad, *gap = theta + 2 * n * kpad, *w = theta + 3 * n * kpad;
    vd spread = all(0.0);
    for (int j = 0; j < n * kpad; j += kpad) {
        vd mean = CONST_AT(stat + j), usual = CONST_AT(prior) * vmax(1.0 / mean - 1.0, all(0.0));
        AT(gap + j) = vmin(shrunk_gap(CONST_AT(stat + n * kpad + j), vmin(usual, all(LARGEST_GAP)), kappa), all(LARGEST_GAP));
        AT(w + j) = all(0.0);
        spread += mean * AT(gap + j);
    }
    const double free = n - 1.0;
    spread = vmin(vmax(spread / free, all(LEAST_GAP)), all(LARGEST_GAP));
    vd total = rough_shape(spread) * free;
    vd error = all(1.0); /* of the last step; a lane stops where it is small */
    for (int times = 0; times < 100 && some(error > SETTLED); times++) {
        vi active = error > SETTLED;
        vd whole, whole_slope, over = all(0.0), above = over, below = over;
        gamma_terms(total, &whole, &whole_slope, 0);
        for (int j = 0; j < n * kpad; j += kpad) {
            vd own, own_slope, mean = CONST_AT(stat + j), wj = AT(w + j);
            vd less_one, share = mean * vexp_both(wj, &less_one);
            gamma_terms(within_bounds(total * share), &own, &own_slope, 0);
            vd e = wj - (own - whole) + AT(gap + j);
            over += mean * less_one;
            share /= 1.0 + own_slope;
            AT(residual + j) = e;
            AT(slope + j) = own_slope;
            above += share * e;
            below += share * (own_slope - whole_slope);
        }
        vd step = vmin(vmax((over - above) / vmax(below, all(SMALLEST)), all(-1.0)), all(1.0)), next = total * vexp(step);
        vi inside = (next > 1.0 / LARGEST_GAP) & (next < 1.0 / LEAST_GAP); /* else the total stays, and w settles */
        step = select_(inside, step, all(0.0));
        vd most = vmax(step, -step);
        for (int j = 0; j < n * kpad; j += kpad) {
            vd own_slope = AT(slope + j), v = -(AT(residual + j) + (own_slope - whole_slope) * step) / (1.0 + own_slope);
            most = vmax(most, vmax(v, -v));
            v = AT(w + j) + vmin(vmax(v, all(-5.0)), all(5.0));
            AT(w + j) = select_(active, vmin(vmax(v, all(-700.0)), all(700.0)), AT(w + j));
        }
        total = select_(active & inside, next, total);
        error = select_(active, most, error);
    }
    vd constant;
    gamma_terms(total, 0, 0, &constant);
    constant = -constant;
    for (int j = 0; j < n * kpad; j += kpad) {
        vd own, less_one, wj = AT(w + j), mean = CONST_AT(stat + j);
        vd concentration = within_bounds(total * mean * vexp_both(wj, &less_one));
        gamma_terms(concentration, 0, 0, &own);
        constant += own - concentration * wj;
        AT(theta + j) = concentration;
        AT(theta + n * kpad + j) = 1.0 / mean;
        AT(theta + 2 * n * kpad + j) = vlog(mean);
        AT(w + j) = total * less_one;
    }
    AT(theta + 4 * n * kpad) = constant;
}
