/* The circle and von Mises, and Student's t. */

#define PI 3.14159265358979323846

/* log(1 + x) for x >= 0, without loss where x is small */
static inline vd vlog_plus(vd x) {
    vd u = 1.0 + x;
    return vlog(u) + (x - (u - 1.0)) / u;
}

/* x / period less whole turns, from -1/2 to 1/2: exact but for one rounding */
static inline double turns_of(double x, double period) {
    double rest = x;
    if (!(fabs(x) <= 0.5 * period)) rest = fabs(x) <= 1.5 * period ? x - copysign(period, x) : remainder(x, period);
    return rest / period;
}

/* cos and sin of pi t, t from -1/2 to 1/2 */
static inline void half_angle(vd t, vd *cosine, vd *sine) {
    vd size = vmax(t, -t);
    vi steep = size > 0.25;
    vd u = select_(steep, 0.5 - size, size), q = u * u, q2 = q * q, q4 = q2 * q2;
    vd s = ((3.141592653589793 - q * 5.16771278004997) + q2 * (2.5501640398773415 - q * 0.599264529320298)) +
           q4 * ((0.08214588658006067 - q * 0.007370429884817227) +
                 q2 * (0.00046628273072875267 - q * 2.1717406961736065e-05));
    vd c = ((1.0 - q * 4.934802200544679) + q2 * (4.058712126416747 - q * 1.335262768851918)) +
           q4 * ((0.2353306301909148 - q * 0.025806885653583175) +
                 q2 * (0.0019294657514324488 - q * 0.00010356750616219464));
    s *= u;
    vd rising = select_(steep, c, s);
    *cosine = select_(steep, s, c);
    *sine = select_(t < 0.0, -rising, rising);
}

/* ---- von Mises: half angles, so that 1 - cos d = 2 sin^2(d / 2) keeps its digits at any concentration */
#define LEAST_SPREAD 5e-13 /* of 1 - mean cos: of the greatest concentration */
#define MOST_KAPPA 1e12

/* sin and cos of half the way from (cosine, sine) to a record's half angle; the signs of both may be turned */
static inline vd half_sine(vd c, vd s, vd cosine, vd sine) { return s * cosine - c * sine; }

static inline vd half_cosine(vd c, vd s, vd cosine, vd sine) { return c * cosine + s * sine; }

static inline vd vonmises_exponent(vd c, vd s, const double *theta, int kpad) {
    vd h = half_sine(c, s, CONST_AT(theta), CONST_AT(theta + kpad));
    return -2.0 * h * h * CONST_AT(theta + 2 * kpad);
}

static inline void vonmises_step(vd c, vd s, vd rho, double *stat, int kpad) {
    vd h = half_sine(c, s, AT(stat), AT(stat + kpad)), g = half_cosine(c, s, AT(stat), AT(stat + kpad));
    mean_step(2.0 * h * h, rho, stat + 2 * kpad);
    mean_step(2.0 * h * g, rho, stat + 3 * kpad);
}

/* the mean direction's half angle, kappa, and the square of the density at the mean */
static inline void vonmises_maximize(const double *stat, vd prior, vd kappa, double period, double *theta, int kpad) {
    vd u = CONST_AT(stat + 2 * kpad), v = CONST_AT(stat + 3 * kpad), c = 1.0 - u;
    vd length = vsqrt(c * c + v * v), half = 0.5 / vmax(length, all(1e-150));
    vd size = vmax(c, -c), near = vsqrt((length + size) * half), far = v * half / vmax(near, all(0.5));
    vi none = length < 1e-150, back = c < 0.0;
    vd cosine = select_(none, all(1.0), select_(back, vmax(far, -far), near));
    vd sine = select_(none, all(0.0), select_(back, select_(v < 0.0, -near, near), far));
    vd spread = vmax((u * (2.0 - u) - v * v) / (1.0 + length), all(0.0));
    spread = vmax(shrink(spread, prior, kappa), prior * PIVOT_FLOOR);
    spread = vmin(vmax(spread, all(LEAST_SPREAD)), all(1.0));
    length = vmin(vmax(shrink(length, 1.0 - prior, kappa), all(0.0)), all(1.0));
    vd within, s = spread / (spread + 0.5);
    vi interval = interval_of(s * 96.0, 64.0, &within);
    vd square = spread * (2.0 - spread), inverse = 1.0 / square;
    AT(theta) = CONST_AT(stat) * cosine - CONST_AT(stat + kpad) * sine;
    AT(theta + kpad) = CONST_AT(stat + kpad) * cosine + CONST_AT(stat) * sine;
    vd at_mean, scaled = by_interval(vonmises_table[0], interval, within, &at_mean);
    AT(theta + 2 * kpad) = vmin(length * (1.0 + square) * inverse * scaled, all(MOST_KAPPA));
    AT(theta + 3 * kpad) = at_mean * (inverse * (2.0 - spread)) * (1.0 / (period * period));
}

/* ---- Student's t: a normal whose precision is scaled by a latent u, given x a gamma of shape (df + 1) / 2.
 *
 * The statistics are means of u, u (x - location)^2 and u - 1 - log u, each of its expectation given x. With
 * q = z^2 / df it is E u = (1 + 1 / df) / (1 + q), and the last is E u - 1 + log(1 + q) + excess: no term loses digits
 * where df is large. */
#define LEAST_DF 0.1
#define MOST_DF 1e6

static inline vd student_square(vd deviation, const double *theta, int kpad) {
    return deviation * deviation * CONST_AT(theta + 2 * kpad);
}

/* E u, and E u - 1 */
static inline vd student_scale(vd q, vd inverse_df, vd *surplus) {
    vd inverse = 1.0 / (1.0 + q);
    *surplus = (inverse_df - q) * inverse;
    return (1.0 + inverse_df) * inverse;
}

static inline vd student_exponent(vd log_plus, vd df) { return -0.5 * (df + 1.0) * log_plus; }

static inline void student_step(vd x, vd log_plus, vd rho, double *stat, const double *theta, int kpad) {
    vd deviation = normal_deviation(x, AT(stat), AT(stat + kpad)), q = student_square(deviation, theta, kpad);
    vd surplus, added = rho * student_scale(q, CONST_AT(theta + 5 * kpad), &surplus);
    vd kept = (1.0 - rho) * AT(stat + 3 * kpad), scales = vmax(kept + added, all(SMALLEST)), share = added / scales;
    AT(stat + kpad) += share * deviation;
    AT(stat + 2 * kpad) = (1.0 - rho) * AT(stat + 2 * kpad) + kept * share * deviation * deviation;
    AT(stat + 3 * kpad) = scales;
    mean_step(surplus + log_plus + CONST_AT(theta + 4 * kpad), rho, stat + 4 * kpad);
}

/* df, scale^2, 1 / (df scale^2), the square of the density at the location, excess, 1 / df; df is held where given */
static inline void student_maximize(const double *stat, vd prior, vd kappa, double held, double *theta, int kpad) {
    vd square = normal_variance(CONST_AT(stat + 2 * kpad), prior, kappa, PIVOT_FLOOR), df = all(held), within;
    if (!(held > 0.0)) {
        vd c = vmin(vmax(CONST_AT(stat + 4 * kpad), all(1e-7)), all(17.9));
        vi interval = interval_of(c / (c + 3.0) * (224.0 / 3), 64.0, &within);
        df = 2.0 * by_interval(gamma_table[0], interval, within, 0) / c;
        df = vmin(vmax(df, all(LEAST_DF)), all(MOST_DF));
    }
    vd tail = 1.0 / (df + 1.0), inverse_df = 1.0 / df, inverse = 1.0 / square;
    vi interval = interval_of(tail * 17.6, 16.0, &within);
    AT(theta) = df;
    AT(theta + kpad) = square;
    AT(theta + 2 * kpad) = inverse * inverse_df;
    vd second, first = by_interval(student_table[0], interval, within, &second);
    AT(theta + 3 * kpad) = first * inverse * (0.5 / PI);
    AT(theta + 4 * kpad) = tail * second - vlog_plus(inverse_df);
    AT(theta + 5 * kpad) = inverse_df;
}
