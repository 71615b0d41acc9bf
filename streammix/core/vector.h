/* Vectors of W doubles and the elementary functions on them.
 *
 * Every lane does the same IEEE operations in the same order whatever W is: nothing is reassociated, and a product is
 * fused with a sum where it is written so and nowhere else. So all levels give the same bits where the processor fuses.
 */
typedef double vd __attribute__((vector_size(8 * W), may_alias));
typedef int64_t vi __attribute__((vector_size(8 * W), may_alias));
typedef uint64_t vu __attribute__((vector_size(8 * W), may_alias));

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define AT(p) (*(vd *)(p))
#define CONST_AT(p) (*(const vd *)(p))

static inline vd all(double a) { return a - (vd){0}; } /* not a + 0: that is not a where a is -0, so it costs an addition */

/* a + b c and a - b c, rounded once; twice on processors that can't fuse the two */
#if W == 8
static inline vd plus_product(vd a, vd b, vd c) { return (vd)_mm512_fmadd_pd((__m512d)b, (__m512d)c, (__m512d)a); }
static inline vd less_product(vd a, vd b, vd c) { return (vd)_mm512_fnmadd_pd((__m512d)b, (__m512d)c, (__m512d)a); }
#elif W == 4
static inline vd plus_product(vd a, vd b, vd c) { return (vd)_mm256_fmadd_pd((__m256d)b, (__m256d)c, (__m256d)a); }
static inline vd less_product(vd a, vd b, vd c) { return (vd)_mm256_fnmadd_pd((__m256d)b, (__m256d)c, (__m256d)a); }
#elif defined(__FP_FAST_FMA)
static inline vd plus_product(vd a, vd b, vd c) { return (vd){fma(b[0], c[0], a[0]), fma(b[1], c[1], a[1])}; }
static inline vd less_product(vd a, vd b, vd c) { return plus_product(a, -b, c); }
#else
static inline vd plus_product(vd a, vd b, vd c) { return a + b * c; }
static inline vd less_product(vd a, vd b, vd c) { return a - b * c; }
#endif

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
static inline int every(vi mask) { return (mask[0] & mask[1]) != 0; }
#if defined(__SSE2__)
static inline vd vmax(vd a, vd b) { return (vd)_mm_max_pd((__m128d)a, (__m128d)b); }
static inline vd vmin(vd a, vd b) { return (vd)_mm_min_pd((__m128d)a, (__m128d)b); }
static inline vd vsqrt(vd x) { return (vd)_mm_sqrt_pd((__m128d)x); }
#else
static inline vd vmax(vd a, vd b) { return select_(a > b, a, b); }
static inline vd vmin(vd a, vd b) { return select_(a < b, a, b); }
static inline vd vsqrt(vd x) { return (vd){sqrt(x[0]), sqrt(x[1])}; }
#endif
#endif

/* v, or b where the number at p isn't positive */
static inline vd where_positive(const double *p, vd v, vd b) {
#if W == 8
    return (vd)_mm512_mask_mov_pd((__m512d)b, _mm512_cmp_pd_mask(_mm512_load_pd(p), _mm512_setzero_pd(), _CMP_GT_OQ),
                                  (__m512d)v);
#else
    return select_(CONST_AT(p) > 0.0, v, b);
#endif
}

#define MANTISSA 0x000fffffffffffffLL
#define ONE_BITS 0x3ff0000000000000LL
#define SHIFTER 6755399441055744.0 /* 1.5 * 2^52: adding it rounds to an integer in the low bits */

static inline vd from_int(vi n) { return (vd)(n + (vi)all(SHIFTER)) - SHIFTER; }

/* v, or 0 where x is below a limit, or not above it */
#if W == 8
static inline vd unless_below(vd x, double limit, vd v) {
    return (vd)_mm512_maskz_mov_pd(_mm512_cmp_pd_mask((__m512d)x, _mm512_set1_pd(limit), _CMP_GE_OQ), (__m512d)v);
}
static inline vd where_above(vd x, double limit, vd v) {
    return (vd)_mm512_maskz_mov_pd(_mm512_cmp_pd_mask((__m512d)x, _mm512_set1_pd(limit), _CMP_GT_OQ), (__m512d)v);
}
#else
static inline vd unless_below(vd x, double limit, vd v) { return (vd)((x >= limit) & (vi)v); }
static inline vd where_above(vd x, double limit, vd v) { return (vd)((x > limit) & (vi)v); }
#endif


static const double sixteenths[16] __attribute__((aligned(64))) = {
    1.0, 1.0442737824274138, 1.0905077326652577, 1.1387886347566916,
    1.189207115002721, 1.241857812073484, 1.2968395546510096, 1.3542555469368927,
    1.4142135623730951, 1.4768261459394993, 1.5422108254079407, 1.6104903319492543,
    1.681792830507429, 1.7562521603732995, 1.8340080864093424, 1.9152065613971474,
};

/* 2^(j / 16) of each lane's lowest four bits j */
static inline vd power_of_sixteenth(vi n) {
#if W == 8
    return (vd)_mm512_permutex2var_pd(_mm512_load_pd(sixteenths), (__m512i)n, _mm512_load_pd(sixteenths + 8));
#else
    int64_t j[W] __attribute__((aligned(8 * W)));
    *(vi *)j = n & 15;
    __asm__("" : "+m"(j)); /* by way of memory: taking lanes out one by one costs more */
    vd v;
    for (int i = 0; i < W; i++) v[i] = sixteenths[j[i]];
    return v;
#endif
}

#define EXP_CUT -708.0 /* below it exp is 0, here */

#define ABREAST 4
#define STEP for (int h = 0; h < n; h++)

/* exp(x) of n <= ABREAST vectors, each x <= 709, step by step side by side, as each step waits for the one before: 2^k
 * by the exponent's bits, 2^(j/16) from a table, and exp(r) by the polynomial of degree 6 through its values at
 * Chebyshev's nodes, less than 3e-17 away. */
static inline __attribute__((always_inline)) void vexps(vd *x, const int n) {
    vd shifted[ABREAST], r[ABREAST], r2[ABREAST], low[ABREAST], high[ABREAST], p[ABREAST];
    STEP shifted[h] = plus_product(all(SHIFTER), x[h], all(23.083120654223414));
    STEP p[h] = shifted[h] - SHIFTER;
    STEP r[h] = less_product(x[h], p[h], all(6.93147180369123816490e-01 / 16)); /* 48 bits: exact */
    STEP r[h] = less_product(r[h], p[h], all(1.90821492927058770002e-10 / 16));
    STEP r2[h] = r[h] * r[h];
    STEP low[h] = plus_product(all(0.5), r[h], all(0.1666666666530169));
    STEP high[h] = plus_product(all(0.04166666666496045), r[h], all(0.00833344970125369));
    STEP p[h] = power_of_sixteenth((vi)shifted[h]);
    STEP high[h] = plus_product(high[h], r2[h], all(0.0013889034348599754));
    STEP low[h] = plus_product(low[h], r2[h], high[h]);
    STEP r[h] = plus_product(r[h], r2[h], low[h]);
    STEP p[h] = plus_product(p[h], p[h], r[h]);
    STEP x[h] = unless_below(x[h], EXP_CUT, (vd)((vi)p[h] + (((vi)shifted[h] & ~15LL) << 48)));
}

static inline __attribute__((always_inline)) vd vexp(vd x) {
    vexps(&x, 1);
    return x;
}

/* a bit a lane */
static inline unsigned lanes_of(vi mask) {
#if W == 8
    return _mm512_movepi64_mask((__m512i)mask);
#elif W == 4
    return _mm256_movemask_pd((__m256d)mask);
#elif defined(__SSE2__)
    return _mm_movemask_pd((__m128d)mask);
#else
    return (mask[0] & 1) | (mask[1] & 2);
#endif
}

static inline int some(vi mask) { return lanes_of(mask) != 0; }

/* the same of x > 0 */
#if W == 8
static inline unsigned positive_lanes(vd x) { return _mm512_cmp_pd_mask((__m512d)x, _mm512_setzero_pd(), _CMP_GT_OQ); }
#else
static inline unsigned positive_lanes(vd x) { return lanes_of(x > 0.0); }
#endif

/* the exponent of a positive number times log 2: at most its logarithm, and at least that less log 2 */
static inline vd rough_log(vd x) { return from_int((vi)((vu)(vi)x >> 52) - 1023) * 0.6931471805599453; }

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

/* positive normal x as 2^e (1 + f), with 1 + f between the square roots of 1/2 and 2 */
typedef struct {
    vd e, f;
} binary;

static inline __attribute__((always_inline)) binary binary_of(vd x, vi extra) {
    vi bits = (vi)x;
    vi k = (vi)((vu)bits >> 52) - 1023 + extra;
    vd m = (vd)((bits & MANTISSA) | ONE_BITS);
    vi high = m > 1.41421356237309504880;
    m = select_(high, m * 0.5, m);
    return (binary){from_int(k - high), m - 1.0};
}

/* log(1 + f) is f - f^2 / 2 + s (f^2 / 2 + this), where s is f / (2 + f) */
static inline __attribute__((always_inline)) vd log_series(vd s) {
    vd z = s * s, w = z * z;
    vd odd = plus_product(all(0.2222219843214978396), w, all(0.1531383769920937332));
    vd even = plus_product(all(0.1818357216161805012), w, all(0.1479819860511658591));
    odd = w * plus_product(all(0.3999999999940941908), w, odd);
    even = plus_product(all(0.2857142874366239149), w, even);
    return plus_product(odd, z, plus_product(all(0.6666666666666735130), w, even));
}

/* its logarithm, where s is f / (2 + f) */
static inline __attribute__((always_inline)) vd binary_log(binary x, vd s) {
    vd half = 0.5 * x.f * x.f;
    vd rest = half - plus_product(x.e * 1.90821492927058770002e-10, s, half + log_series(s));
    return plus_product(x.f - rest, x.e, all(6.93147180369123816490e-01));
}

/* log(x * 2^extra) for positive normal x */
static inline __attribute__((always_inline)) vd vlog_scaled(vd x, vi extra) {
    binary b = binary_of(x, extra);
    return binary_log(b, b.f / (2.0 + b.f));
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

/* the density as exp(result) * root, where root is the product's: no logarithm is needed to compare or to add densities */
static inline vd density_scale(const density *a, vd *root) {
    *root = vsqrt(a->product);
    return plus_product(a->sum, from_int(a->exponent), all(0.34657359027997264)); /* log(2) / 2 */
}

static inline vd density_log(const density *a) {
    return vmax(a->sum, all(-1e300)) + 0.5 * vlog_scaled(a->product, a->exponent);
}

/* the lanes of a group added as a tree, in every lane; additions commute, so each lane has the same bits */
static inline vd spread_sum(const vd *parts) {
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

static inline double sum_of_lanes(const vd *parts) { return spread_sum(parts)[0]; }

/* eight such sums at once, each added in the same order, to eight numbers */
static inline void add_sums_of_lanes(const vd parts[8][LANES / W], double *to) {
#if W == 8
    __m512d half[4], quarter[2], v[8];
    for (int i = 0; i < 8; i++) v[i] = (__m512d)parts[i][0];
    for (int i = 0; i < 4; i++)
        half[i] = _mm512_shuffle_f64x2(v[i], v[i + 4], 0x44) + _mm512_shuffle_f64x2(v[i], v[i + 4], 0xee);
    for (int i = 0; i < 2; i++)
        quarter[i] =
            _mm512_shuffle_f64x2(half[i], half[i + 2], 0x88) + _mm512_shuffle_f64x2(half[i], half[i + 2], 0xdd);
    __m512d whole = _mm512_unpacklo_pd(quarter[0], quarter[1]) + _mm512_unpackhi_pd(quarter[0], quarter[1]);
    whole = _mm512_permutexvar_pd(_mm512_setr_epi64(0, 1, 4, 5, 2, 3, 6, 7), whole);
    _mm512_storeu_pd(to, _mm512_loadu_pd(to) + whole);
#else
    for (int i = 0; i < 8; i++) to[i] += sum_of_lanes(parts[i]);
#endif
}
