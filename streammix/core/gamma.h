/* The gamma function's logarithm and derivatives over vectors, in the forms in which nothing cancels for large arguments:
 *
 *   gap(a)      = log a - digamma(a)               about 1 / (2 a)
 *   slope(a)    = -a gap'(a) = a trigamma(a) - 1    about 1 / (2 a), to 1e-7
 *   constant(a) = a log a - a - log Gamma(a)        about log(a / (2 pi)) / 2
 *
 * Stirling's series from RAISED on. Below it the argument is raised by eight; with y = a (a + 7) the eight factors
 * a, ..., a + 7 are y (y + 6) (y + 10) (y + 12).
 */
#define RAISED 9.0

/* t - log(1 + t), where log_ratio is log(1 + t): the polynomial is vlog's, which keeps every digit of a small t */
static inline vi is_near(vd t) { return (t > -0.29) & (t < 0.41); }

static inline vd near_excess(vd t) {
    vd s = t / (2.0 + t), half = 0.5 * t * t;
    return less_product(half, s, half + log_series(s));
}

/* the same of a step's t, which tends to be tiny: then a polynomial without a division does */
static inline vd step_excess(vd t) {
    vd t2 = t * t, t4 = t2 * t2, t8 = t4 * t4;
    vd low = plus_product(less_product(all(0.5), t, all(1.0 / 3)), t2, less_product(all(0.25), t, all(0.2)));
    vd mid = plus_product(less_product(all(1.0 / 6), t, all(1.0 / 7)), t2, less_product(all(0.125), t, all(1.0 / 9)));
    vd top = plus_product(less_product(all(0.1), t, all(1.0 / 11)), t2, all(1.0 / 12));
    vd tiny = t2 * plus_product(plus_product(low, t4, mid), t8, top);
    vi is_tiny = (t > -0.03125) & (t < 0.03125);
    if (every(is_tiny)) return tiny;
    return select_(is_tiny, tiny, near_excess(t));
}

static inline vd excess(vd t, vd log_ratio) { return select_(is_near(t), near_excess(t), t - log_ratio); }

/* exp(x) for x <= 709, and that less 1 */
static inline vd vexp_both(vd x, vd *less_one) {
    vd r = vmax(x, all(-0.3)), r2 = r * r, r4 = r2 * r2, r8 = r4 * r4;
    r = vmin(r, all(0.3));
    vd low = (0.5 + r * (1.0 / 6)) + r2 * (1.0 / 24 + r * (1.0 / 120));
    vd mid = (1.0 / 720 + r * (1.0 / 5040)) + r2 * (1.0 / 40320 + r * (1.0 / 362880));
    vd top = (1.0 / 3628800 + r * (1.0 / 39916800)) + r2 * (1.0 / 479001600 + r * (1.0 / 6227020800.0));
    vd whole = vexp(x);
    *less_one = select_((x > -0.3) & (x < 0.3), r + r2 * (low + r4 * mid + r8 * top), whole - 1.0);
    return whole;
}

/* any of the three, for a > 0; what is not wanted is NULL */
static inline void gamma_terms(vd a, vd *gap, vd *slope, vd *constant) {
    vi small = a < RAISED;
    vd high = a, quotient = all(0.0), squares = quotient, log_ratio = quotient, square = a, eight = quotient;
    if (some(small)) {
        vd b = vmin(a, all(RAISED)), up = b + 8.0, y = b * (b + 7.0), dy = 2.0 * b + 7.0;
        vd u = y * (y + 6.0), v = (y + 10.0) * (y + 12.0), du = 2.0 * y + 6.0, dv = 2.0 * y + 22.0;
        vd product = u * v, inverse = 1.0 / product, first = dy * (du * v + u * dv) * inverse;
        high = select_(small, up, a);
        quotient = select_(small, first, all(0.0));
        if (slope) {
            vd second = 2.0 * (dy * dy * (u + v + du * dv) + (du * v + u * dv)) * inverse;
            squares = select_(small, first * first - second, all(0.0));
        }
        log_ratio = vlog(select_(small, b / up, all(1.0)));
        if (constant) {
            vd p2 = up * up, p4 = p2 * p2, p8 = p4 * p4;
            square = select_(small, product * product / (p8 * p4 * (p2 * up)), a);
            eight = select_(small, all(8.0), all(0.0));
        }
    }
    vd i = 1.0 / high, x = i * i, x2 = x * x, x4 = x2 * x2;
    if (gap) {
        vd series = (1.0 / 12 - x * (1.0 / 120)) + x2 * (1.0 / 252 - x * (1.0 / 240)) +
                    x4 * ((1.0 / 132 - x * (691.0 / 32760)) + x2 * (1.0 / 12 - x * (3617.0 / 8160)));
        *gap = (log_ratio + quotient) + i * (0.5 + i * series);
    }
    if (slope) {
        vd own = i * (0.5 + i * ((1.0 / 6 - x * (1.0 / 30)) + x2 * (1.0 / 42))); /* to 1e-7: for Newton's method */
        *slope = select_(small, a * (i * (1.0 + own) + squares) - 1.0, own);
    }
    if (constant) {
        vd series = (1.0 / 12 - x * (1.0 / 360)) + x2 * (1.0 / 1260 - x * (1.0 / 1680)) +
                    x4 * ((1.0 / 1188 - x * (691.0 / 360360)) + x2 * (1.0 / 156 - x * (3617.0 / 122400)));
        *constant = (0.5 * vlog(square) - HALF_LOG_2PI) + ((a * log_ratio + eight) - i * series);
    }
}

#define LEAST_GAP 5e-11 /* the shape lies between about 1e-6 and 1e10 */
#define LARGEST_GAP 1e6

/* The inverse of gap, to 1e-8: a rational function of small gaps, Lambert's expansion for large ones. */
static inline vd rough_shape(vd gap) {
    vd square = gap * gap;
    vd p = (0.49999999678841806 + gap * 1.8744242827943183) +
           square * ((3.5474154149545383 + gap * 2.4838934116630464) + square * 0.3631389865109762);
    vd q = (1.0 + gap * 3.41551316631527) +
           square * ((6.067543341486667 + gap * 3.381954374018668) + square * 0.38042108162332383);
    vi large = gap > 1.5;
    vd above = p, below = gap * q;
    if (some(large)) {
        vd r = 1.0 / gap, l = vlog(gap);
        vd none = (-0.5771865147788778 + r * 1.1916105294498613) + r * r * (-6.637820919834164 + r * 6.647923422748448);
        vd one = r * (0.9809010923947765 + r * (3.451131114617161 + r * 2.8450656152530907));
        vd two = r * r * (-1.1094361050110861 + r * 0.3832870109915775);
        above = select_(large, all(1.0), p);
        below = select_(large, gap + l + (none + l * (one + l * two)), below);
    }
    return above / below;
}

/* the same where a gap is so large: one Newton step in logarithms from within 1e-8, which squares to nothing */
static __attribute__((noinline)) vd small_shape_of(vd gap, vd *constant) {
    vd rough = rough_shape(gap), found, slope;
    gamma_terms(rough, &found, &slope, constant);
    vd step = (found - gap) * found / (gap * slope);
    *constant += step * (rough * found); /* d constant / d log a = a gap(a) */
    return rough + rough * step;
}

#define MOST_TABLED 17.9 /* of gaps */

/* The shape with this gap, not below LEAST_GAP, and exp of twice its constant, where c is the gap but at most
 * MOST_TABLED, `inverse` is 1 / c and `share` is c / (c + 3). */
static inline vd shape_by(vd gap, vd inverse, vd share, vd *square) {
    vd within, second;
    vi interval = interval_of(share * (224.0 / 3), 64.0, &within), far = gap > MOST_TABLED;
    vd shape = by_interval(gamma_table[0], interval, within, &second) * inverse;
    *square = second * inverse;
    if (!some(far)) return shape;
    vd constant, small = small_shape_of(vmin(vmax(gap, all(MOST_TABLED)), all(LARGEST_GAP)), &constant);
    *square = select_(far, vexp(2.0 * constant), *square);
    return select_(far, small, shape);
}

static inline vd shape_of(vd gap, vd *square) {
    vd target = vmax(gap, all(LEAST_GAP)), c = vmin(target, all(MOST_TABLED));
    return shape_by(target, 1.0 / c, c / (c + 3.0), square);
}
