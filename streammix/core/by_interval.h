/* Functions without a closed form, read off tables of polynomials of degree 7, one an interval. Each is the Chebyshev
 * interpolant of the function, computed in 40 digits; it is off by less than 1e-14, mostly by less than 1e-16. */
#define COEFFICIENTS 8
#include "intervals_circle.h"
#include "intervals_gamma.h"
#include "intervals_student.h"

/* where s, from 0 to n intervals, lies: the number of its interval, and -1 to 1 within it */
static inline vi interval_of(vd s, double n, vd *within) {
    vd shifted = vmin(vmax(s - 0.5, all(0.0)), all(n - 1.0)) + SHIFTER, whole = shifted - SHIFTER;
    *within = 2.0 * (s - whole) - 1.0;
    return (vi)shifted - (vi)all(SHIFTER);
}

/* columns of the rows that r names, one a lane, as one vector a column */
static inline __attribute__((always_inline)) void columns_of(const double *const *r, vd *c) {
#if W == 8
    __m512d t[8], u[8];
    for (int j = 0; j < 8; j += 2) {
        __m512d a = _mm512_load_pd(r[j]), b = _mm512_load_pd(r[j + 1]);
        t[j] = _mm512_unpacklo_pd(a, b);
        t[j + 1] = _mm512_unpackhi_pd(a, b);
    }
    for (int j = 0; j < 8; j += 4)
        for (int odd = 0; odd < 2; odd++) {
            u[j + odd] = _mm512_shuffle_f64x2(t[j + odd], t[j + 2 + odd], 0x88);
            u[j + 2 + odd] = _mm512_shuffle_f64x2(t[j + odd], t[j + 2 + odd], 0xdd);
        }
    for (int j = 0; j < 4; j++) {
        c[j] = (vd)_mm512_shuffle_f64x2(u[j], u[4 + j], 0x88);
        c[4 + j] = (vd)_mm512_shuffle_f64x2(u[j], u[4 + j], 0xdd);
    }
#elif W == 4
    for (int half = 0; half < 8; half += 4) {
        __m256d a = _mm256_load_pd(r[0] + half), b = _mm256_load_pd(r[1] + half);
        __m256d d = _mm256_load_pd(r[2] + half), e = _mm256_load_pd(r[3] + half);
        __m256d ab = _mm256_unpacklo_pd(a, b), de = _mm256_unpacklo_pd(d, e);
        c[half] = (vd)_mm256_permute2f128_pd(ab, de, 0x20);
        c[half + 2] = (vd)_mm256_permute2f128_pd(ab, de, 0x31);
        ab = _mm256_unpackhi_pd(a, b), de = _mm256_unpackhi_pd(d, e);
        c[half + 1] = (vd)_mm256_permute2f128_pd(ab, de, 0x20);
        c[half + 3] = (vd)_mm256_permute2f128_pd(ab, de, 0x31);
    }
#else
    for (int i = 0; i < COEFFICIENTS; i++) c[i] = (vd){r[0][i], r[1][i]};
#endif
}

static inline vd polynomial(const vd *c, vd x) {
    vd x2 = x * x, pair[COEFFICIENTS / 2];
    for (int i = 0; i < COEFFICIENTS / 2; i++) pair[i] = plus_product(c[2 * i], x, c[2 * i + 1]);
    return plus_product(plus_product(pair[0], x2, pair[1]), x2 * x2, plus_product(pair[2], x2, pair[3]));
}

/* the polynomials of each lane's interval, of which a row of the table has two; `second` is NULL where it isn't wanted */
static inline __attribute__((always_inline)) vd by_interval(const double *table, vi interval, vd x, vd *second) {
    const double *r[W];
    vd c[COEFFICIENTS];
    for (int j = 0; j < W; j++) r[j] = table + interval[j] * (2 * COEFFICIENTS);
    columns_of(r, c);
    vd first = polynomial(c, x);
    if (second) {
        for (int j = 0; j < W; j++) r[j] += COEFFICIENTS;
        columns_of(r, c);
        *second = polynomial(c, x);
    }
    return first;
}
