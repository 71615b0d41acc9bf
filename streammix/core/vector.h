/* Vectors of W doubles and the elementary functions on them.
 *
 * Every lane does the same IEEE operations in the same order whatever W is (no contraction, no reassociation), so that
 * all levels give the same bits.
 */
typedef double vd __attribute__((vector_size(8 * W), may_alias));
typedef int64_t vi __attribute__((vector_size(8 * W), may_alias));
typedef uint64_t vu __attribute__((vector_size(8 * W), may_alias));

#define AT(p) (*(vd *)(p))
#define CONST_AT(p) (*(const vd *)(p))

static inline vd all(double a) { return a - (vd){0}; } /* not a + 0: that is not a where a is -0, so it costs an addition */

/* where the compiler misses the one instruction; the same values: b where a lane compares false */
#if W == 8
static inline vd select_(vi mask, vd a, vd b) {
    return (vd)_mm512_mask_blend_pd(_mm512_movepi64_mask((__m512i)mask), (__m512d)b, (__m512d)a);
}
static inline vd vmax(vd a, vd b) { return (vd)_mm512_max_pd((__m512d)a, (__m512d)b); }
static inline vd vmin(vd a, vd b) { return (vd)_mm512_min_pd((__m512d)a, (__m512d)b); }
static inline vd vsqrt(vd x) { return (vd)_mm512_sqrt_pd((__m512d)x); }
static inline int every(vi mask) { return _mm512_movepi64_mask((__m512i)mask) == 255; }
#elif W == 4
static inline vd select_(vi mask, vd a, vd b) {
    return (vd)_mm256_blendv_pd((__m256d)b, (__m256d)a, (__m256d)mask);
}
static inline vd vmax(vd a, vd b) { return (vd)_mm256_max_pd((__m256d)a, (__m256d)b); }
static inline vd vmin(vd a, vd b) { return (vd)_mm256_min_pd((__m256d)a, (__m256d)b); }
static inline vd vsqrt(vd x) { return (vd)_mm256_sqrt_pd((__m256d)x); }
static inline int every(vi mask) { return _mm256_movemask_pd((__m256d)mask) == 15; }
#else
static inline vd select_(vi mask, vd a, vd b) { return (vd)((mask & (vi)a) | (~mask & (vi)b)); }
static inline vd vmax(vd a, vd b) { return (vd){a[0] > b[0] ? a[0] : b[0], a[1] > b[1] ? a[1] : b[1]}; }
static inline vd vmin(vd a, vd b) { return (vd){a[0] < b[0] ? a[0] : b[0], a[1] < b[1] ? a[1] : b[1]}; }
static inline vd vsqrt(vd x) { return (vd){sqrt(x[0]), sqrt(x[1])}; }
static inline int every(vi mask) { return (mask[0] & mask[1]) != 0; }
#endif

#define MANTISSA 0x000fffffffffffffLL
#define ONE_BITS 0x3ff0000000000000LL
#define SHIFTER 6755399441055744.0 /* 1.5 * 2^52: adding it rounds to an integer in the low bits */

static inline vd from_int(vi n) { return (vd)(n + (vi)all(SHIFTER)) - SHIFTER; }

/* exp(x) for x <= 709; 0 below -708 */
static inline vd vexp(vd x) {
    vd shifted = vmax(x, all(-708.0)) * 1.4426950408889634074 + SHIFTER;
    vd n = shifted - SHIFTER;
    vi bits = (vi)shifted - (vi)all(SHIFTER);
    vd r = (vmax(x, all(-708.0)) - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    vd r2 = r * r, r4 = r2 * r2, r8 = r4 * r4;
    vd low = (0.5 + r * (1.0 / 6)) + r2 * (1.0 / 24 + r * (1.0 / 120));
    vd mid = (1.0 / 720 + r * (1.0 / 5040)) + r2 * (1.0 / 40320 + r * (1.0 / 362880));
    vd top = (1.0 / 3628800 + r * (1.0 / 39916800)) + r2 * (1.0 / 479001600 + r * (1.0 / 6227020800.0));
    vd p = 1.0 + (r + r2 * (low + r4 * mid + r8 * top));
    vd scale = (vd)((bits + 1023) << 52);
    return select_(x < -708.0, all(0.0), p * scale);
}

/* lanes in halves, quarters and pairs changing places */
#if W == 8
#define OTHER_HALF(x) __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3)
#define OTHER_TWO(x) __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5)
#define OTHER_ONE(x) __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6)
#elif W == 4
#define OTHER_TWO(x) __builtin_shufflevector(x, x, 2, 3, 0, 1)
#define OTHER_ONE(x) __builtin_shufflevector(x, x, 1, 0, 3, 2)
#else
#define OTHER_ONE(x) __builtin_shufflevector(x, x, 1, 0)
#endif

/* the largest lane, in every lane: the same whatever the order of the comparisons */
static inline vd largest(vd x) {
#if W > 4
    x = vmax(x, OTHER_HALF(x));
#endif
#if W > 2
    x = vmax(x, OTHER_TWO(x));
#endif
    return vmax(x, OTHER_ONE(x));
}

/* log(x * 2^extra) for positive normal x */
static inline vd vlog_scaled(vd x, vi extra) {
    vi bits = (vi)x;
    vi k = (vi)((vu)bits >> 52) - 1023 + extra;
    vd m = (vd)((bits & MANTISSA) | ONE_BITS);
    vi high = m > 1.41421356237309504880;
    m = select_(high, m * 0.5, m);
    k -= high;
    vd e = from_int(k);
    vd f = m - 1.0, s = f / (2.0 + f), z = s * s, w = z * z;
    vd t1 = w * (0.3999999999940941908 + w * (0.2222219843214978396 + w * 0.1531383769920937332));
    vd t2 = z * (0.6666666666666735130 +
                 w * (0.2857142874366239149 + w * (0.1818357216161805012 + w * 0.1479819860511658591)));
    vd half = 0.5 * f * f;
    return e * 6.93147180369123816490e-01 -
           ((half - (s * (half + (t1 + t2)) + e * 1.90821492927058770002e-10)) - f);
}

static inline vd vlog(vd x) { return vlog_scaled(x, (vi)all(0.0)); }

/* log(1 - p) for p in [0, 1), without loss where p is small */
static inline vd vlog_complement(vd p) {
    vd q = 1.0 - p;
    return vlog(q) - (p - (1.0 - q)) / q;
}

/* A log density in the making: a sum, and a product whose logarithm is taken once at the end. */
typedef struct {
    vd sum, product;
    vi exponent;
} density;

static inline density density_one(void) { return (density){all(0.0), all(1.0), (vi)all(0.0)}; }

/* multiply the density by sqrt(v), v positive and normal */
static inline void times_root(density *a, vd v) {
    vi bits = (vi)v;
    a->exponent += (vi)((vu)bits >> 52) - 1023;
    a->product *= (vd)((bits & MANTISSA) | ONE_BITS);
}

static inline void times(density *a, vd v) {
    vi bits = (vi)v;
    vi e = (vi)((vu)bits >> 52) - 1023;
    vd m = (vd)((bits & MANTISSA) | ONE_BITS);
    a->exponent += e + e;
    a->product *= m * m;
}

/* before the product of mantissas can overflow: called at least every 256 factors */
static inline void renormalise(density *a) {
    vi bits = (vi)a->product;
    a->exponent += (vi)((vu)bits >> 52) - 1023;
    a->product = (vd)((bits & MANTISSA) | ONE_BITS);
}

/* the density as exp(result) * root, where root lies in [1, 2): no logarithm is needed to compare or to add densities */
static inline vd density_scale(density *a, vd *root) {
    renormalise(a);
    *root = vsqrt(a->product);
    return vmax(a->sum, all(-1e300)) + from_int(a->exponent) * 0.34657359027997264 /* log(2) / 2 */;
}

static inline vd density_log(const density *a) {
    return vmax(a->sum, all(-1e300)) + 0.5 * vlog_scaled(a->product, a->exponent);
}

/* the lanes of a group added as a tree, in every lane; additions commute, so each lane has the same bits */
static inline vd sum_of_lanes(const vd *parts) {
#if W > 4
    vd x = parts[0] + OTHER_HALF(parts[0]);
    x += OTHER_TWO(x);
#elif W > 2
    vd x = parts[0] + parts[1];
    x += OTHER_TWO(x);
#else
    vd x = (parts[0] + parts[2]) + (parts[1] + parts[3]);
#endif
    return x + OTHER_ONE(x);
}

/* eight partial sums, row i in the i mod 8-th, added as a tree */
static inline double tree(const double *s) {
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}
