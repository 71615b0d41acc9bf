/* The plain part of JSON: what is read here is what any decoder reads; whatever else there is, is left to one.

Text ends with a byte that no token has: a line feed, or the zero behind the last byte. */
#ifndef STREAMMIX_JSON_H
#define STREAMMIX_JSON_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define FAR 100 /* the largest power of ten that is known */

/* a power of ten: 128 bits, the first of which is 1, times a power of two; what comes after those is cut off */
typedef struct {
    uint64_t high, low;
    int64_t exponent;
} power_of_ten;

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define IS_LITTLE 1
#else
#define IS_LITTLE 0
#endif

static inline uint64_t eight_bytes(const char *at) {
    uint64_t bytes;
    memcpy(&bytes, at, 8);
    return bytes;
}

/* Whether a text begins with another, of n > 0 bytes and eight zeros. */
static inline int begins_with(const char *at, const char *end, const char *other, long n) {
    if (end - at < n + 8 || !IS_LITTLE) return end - at >= n && !memcmp(at, other, (size_t)n);
    for (; n > 8; n -= 8, at += 8, other += 8)
        if (eight_bytes(at) != eight_bytes(other)) return 0;
    return (eight_bytes(at) ^ eight_bytes(other)) << (64 - 8 * n) == 0;
}

/* A number of so many bits that another text, or another seed, hardly has. */
static inline uint64_t hash_of(const char *at, long n, int seed, int bits) {
    uint64_t hash = (uint64_t)(n + seed);
    for (; n >= 8; n -= 8, at += 8) hash = (hash ^ eight_bytes(at)) * 0x9e3779b97f4a7c15; /* its first bits are mixed best */
    for (; n > 0; n--) hash = (hash ^ (unsigned char)*at++) * 0x9e3779b97f4a7c15;
    return hash >> (64 - bits);
}

static inline const char *skip_space(const char *at) {
    while (*at == ' ' || *at == '\t' || *at == '\r') at++;
    return at;
}

/* Whether the power's digits tell which double is next to w·10^q, w > 0; that double's bits. */
static inline int scaled(uint64_t w, long q, const power_of_ten *powers, uint64_t *bits) {
#ifdef __SIZEOF_INT128__
    if (-FAR <= q && q <= FAR) {
        __extension__ typedef unsigned __int128 wide;
        const power_of_ten ten = powers[q + FAR];
        const int zeros = __builtin_clzll(w);
        const uint64_t full = w << zeros;
        /* the product's first 128 bits, too little by less than two, for the power's cut and their own; then four */
        wide product = (wide)full * ten.high + (uint64_t)((wide)full * ten.low >> 64);
        const int is_short = !(product >> 127);
        product <<= is_short;
        const wide half = (wide)1 << 74, rest = product & (2 * half - 1);
        const int64_t exponent = ten.exponent - zeros - is_short + 64 + 127 + 1023;
        *bits = ((uint64_t)(exponent - 1) << 52) + (uint64_t)(product >> 75) + (rest > half); /* the first bit adds one */
        return rest + 4 - half > 4; /* unsigned: not within four below a tie, or at one */
    }
#endif
    return 0;
}

static inline int is_digit(char c) {
    return '0' <= c && c <= '9';
}

/* Read at most eight digits at once, and return how many there were. */
static inline int some_digits(const char *at, uint64_t *w) {
    static const uint64_t ones[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
    uint64_t text = eight_bytes(at) ^ 0x3030303030303030;
    const uint64_t odd = (text | (text + 0x0606060606060606)) & 0xf0f0f0f0f0f0f0f0;
    const int n = odd ? __builtin_ctzll(odd) / 8 : 8;
    text = n ? text << (64 - 8 * n) : 0; /* behind zeros */
    text = text * 10 + (text >> 8); /* pairs of digits, then of pairs, the first in the lowest byte */
    text = (text & 0x00ff00ff00ff00ff) * 100 + (text >> 16 & 0x00ff00ff00ff00ff);
    *w = *w * ones[n] + (text & 0xffff) * 10000 + (text >> 32 & 0xffff);
    return n;
}

/* Read digits, and return what comes after them. */
static inline const char *skip_digits(const char *at, const char *end, uint64_t *w) {
    if (IS_LITTLE && end - at >= 16) {
        const int n = some_digits(at, w);
        if (n < 8) return at + n;
        at += 8 + some_digits(at + 8, w);
    }
    for (; is_digit(*at); at++) *w = *w * 10 + (uint64_t)(*at - '0');
    return at;
}

/* Read a number, and return what comes after it; NULL where that takes another decoder, or it is none. */
static inline const char *read_number(const char *at, const char *end, const power_of_ten *powers, double *value) {
    const int is_negative = *at == '-';
    const char *const first = at += is_negative;
    uint64_t w = 0;
    int is_whole = 1;
    long q = 0;
    if (!is_digit(*at)) return NULL;
    for (; is_digit(*at); at++) w = w * 10 + (uint64_t)(*at - '0');
    if (*first == '0' && at - first > 1) return NULL;
    long n = at - first;
    if (*at == '.') {
        const char *const point = at++;
        at = skip_digits(at, end, &w);
        if (at == point + 1) return NULL;
        n = at - first - 1;
        q = point + 1 - at;
        for (const char *zero = first; n > 19 && (*zero == '0' || *zero == '.'); zero++) n -= *zero == '0';
        is_whole = 0;
    }
    if (n > 19) return NULL; /* beyond 64 bits, perhaps */
    if (*at == 'e' || *at == 'E') {
        const int is_small = at[1] == '-';
        const char *const digits = at += 1 + (is_small || at[1] == '+');
        uint64_t e = 0;
        at = skip_digits(at, end, &e);
        if (at == digits || at - digits > 4) return NULL;
        q += is_small ? -(long)e : (long)e;
        is_whole = 0;
    }
    uint64_t bits;
    double v = (double)w;
    memcpy(&bits, &v, sizeof bits);
    if (!is_whole && w && !scaled(w, q, powers, &bits)) return NULL;
    bits |= (uint64_t)(is_negative & (w || !is_whole)) << 63; /* of whole numbers 0 has no sign */
    memcpy(value, &bits, sizeof bits);
    return at;
}

/* Read null, which is NaN, true or false, and return what comes after it; NULL where it is none of them. */
static inline const char *read_word(const char *at, const char *end, double *value) {
    if (end - at > 5) {
        *value = NAN;
        if (!memcmp(at, "null", 4)) return at + 4;
        *value = *at == 't';
        if (!memcmp(at, "true", 4)) return at + 4;
        if (!memcmp(at, "false", 5)) return at + 5;
    }
    return NULL;
}

typedef enum { ASCII, UNICODE, ESCAPED } text_kind;

/* Return the quotation mark at a text's end, and of what kind the text is; NULL where there is none. */
static inline const char *skip_text(const char *at, text_kind *kind) {
    unsigned char seen = 0;
    int is_escaped = 0;
    for (; *at != '"'; at++) {
        if ((unsigned char)*at < ' ') return NULL;
        if (*at == '\\') {
            is_escaped = 1;
            if ((unsigned char)*++at < ' ') return NULL;
        }
        seen |= (unsigned char)*at;
    }
    *kind = is_escaped ? ESCAPED : seen < 128 ? ASCII : UNICODE;
    return at;
}

/* Return what comes after a value, if it is one; NULL where the text ends before. */
static inline const char *skip_value(const char *at) {
    int depth = 0;
    text_kind kind;
    const char *const first = at;
    do {
        if ((unsigned char)*at < ' ' && *at != '\t') return NULL;
        if (*at == '"' && !(at = skip_text(at + 1, &kind))) return NULL;
        if (!depth && at != first && (*at == ',' || *at == '}' || *at == ']' || *at == ' ')) return at;
        depth += *at == '{' || *at == '[';
        depth -= *at == '}' || *at == ']';
        at++;
    } while (depth >= 0);
    return NULL;
}

#endif
