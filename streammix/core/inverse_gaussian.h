/* Inverse Gaussian. With its mean m, x has the square (x - m)^2 / (m x), whose mean is the spread, m mean(1/x) - 1: that is
 * m / shape, a variance over the squared mean. It moves as a variance does, by positive terms alone:
 *
 *   spread' = (1 - rho) (spread m' / m + rho square),   m' = m + rho (x - m)
 */
#define NARROWEST 1e-12
#define LARGEST_SPREAD 1e12
#define LARGEST_SQUARE 1e200 /* x and its mean may be 5e-324 and 1e70 */
#define LEAST_EXPONENT -1e190 /* a log density times a record's weight stays finite */

static inline vd inverse_gaussian_square(vd x, vd mean, vd inverse) {
    vd d = x - mean;
    return (d * inverse) * (d / x);
}

/* the same as a statistic, which has to stay finite */
static inline vd inverse_gaussian_moment(vd x, vd mean, vd inverse) {
    return vmin(inverse_gaussian_square(x, mean, inverse), all(LARGEST_SQUARE));
}

static inline vd inverse_gaussian_exponent(vd x, vd mean, vd ratio, vd inverse) {
    return vmax(-0.5 * ratio * inverse_gaussian_square(x, mean, inverse), all(LEAST_EXPONENT));
}

/* what a record adds to every component: the rest of the density is root of shape / (2 pi) */
static inline double inverse_gaussian_common(double x) { return -1.5 * log(x); }

/* the mean with a share rho of x; what is far from it must not lose the smaller one's digits */
static inline vd inverse_gaussian_mean(vd x, vd mean, vd rho) {
    vi near = is_near((x - mean) / mean);
    return vmax(select_(near, mean + rho * (x - mean), (1.0 - rho) * mean + rho * x), all(LEAST_MEAN));
}

static inline void inverse_gaussian_step(vd x, vd rho, double *stat, const double *theta, int kpad) {
    vd mean = AT(stat), moved = inverse_gaussian_mean(x, mean, rho);
    vd spread = AT(stat + kpad) * (moved / mean) + rho * inverse_gaussian_moment(x, mean, CONST_AT(theta + 2 * kpad));
    AT(stat) = moved;
    AT(stat + kpad) = (1.0 - rho) * vmin(spread, all(LARGEST_SQUARE));
}

/* towards means over a mini-batch, of x and of its square about the mean so far */
static inline void inverse_gaussian_blend(vd x, vd square, vd rho, double *stat, int kpad) {
    vi moves = rho > 0.0;
    vd mean = AT(stat), spread = AT(stat + kpad), moved = inverse_gaussian_mean(x, mean, rho);
    vd distance = vmin(rho * ((x - mean) / mean), all(1e100));
    vd after = (moved / mean) * ((1.0 - rho) * spread + rho * square) - distance * distance;
    AT(stat) = select_(moves, moved, mean);
    AT(stat + kpad) = select_(moves, vmin(vmax(after, all(0.0)), all(LARGEST_SQUARE)), spread);
}

static inline void inverse_gaussian_maximize(const double *stat, vd prior, vd kappa, double *theta, int kpad) {
    vd mean = CONST_AT(stat), spread = shrunk_gap(CONST_AT(stat + kpad), prior, kappa);
    vd ratio = 1.0 / vmin(vmax(spread, all(NARROWEST)), all(LARGEST_SPREAD));
    AT(theta) = mean * ratio;
    AT(theta + kpad) = ratio;
    AT(theta + 2 * kpad) = 1.0 / mean;
}
