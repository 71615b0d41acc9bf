/* Doubles as decimals: in the fewest digits that read back as the same double, the nearest to it among those.

That is Raffaello Giulietti's Schubfach: the numbers that read as a double are an interval, which holds a number s·10^k, or
(s + 1)·10^k, of one digit less than needed, or of as many as needed; which, is told by its ends in units of 10^k / 4, in
whole numbers whose last bit says whether something was cut off. */
#ifndef STREAMMIX_DECIMAL_H
#define STREAMMIX_DECIMAL_H

#include <stdint.h>
#include <string.h>

#define LEAST_TEN (-292)
#define MOST_TEN 324
#define LONGEST_DOUBLE 25 /* characters */

/* a power of ten: 128 bits, the first of which is 1; what comes after those is rounded up */
typedef struct {
    uint64_t high, low;
} ten_digits;

static inline uint64_t high_product(uint64_t a, uint64_t b, uint64_t *low) {
#ifdef __SIZEOF_INT128__
    __extension__ typedef unsigned __int128 wide;
    const wide product = (wide)a * b;
    *low = (uint64_t)product;
    return (uint64_t)(product >> 64);
#else
    const uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    const uint64_t low_part = a0 * b0, middle = a1 * b0 + (low_part >> 32), other = a0 * b1 + (uint32_t)middle;
    *low = other << 32 | (uint32_t)low_part;
    return a1 * b1 + (middle >> 32) + (other >> 32);
#endif
}

/* The first 64 bits of c·ten, the last of which is 1 where any bit after them is. */
static inline uint64_t scaled_to_odd(ten_digits ten, uint64_t c) {
    uint64_t low, rest;
    const uint64_t carried = high_product(ten.low, c, &rest);
    uint64_t high = high_product(ten.high, c, &low);
    low += carried;
    high += low < carried;
    return high | (low > 1);
}

/* The decimal s·10^k of a positive double. */
static inline uint64_t shortest(uint64_t bits, const ten_digits *tens, int *exponent) {
    const uint64_t fraction = bits & 0xfffffffffffff;
    const int raised = (int)(bits >> 52), is_narrow = !fraction && raised > 1; /* half as wide below as above */
    const uint64_t c = raised ? fraction | (uint64_t)1 << 52 : fraction;
    const int q = (raised ? raised : 1) - 1075, is_odd = (int)(c & 1);
    const int k = (q * 1262611 - (is_narrow ? 524031 : 0)) >> 22; /* of 2^q, or of three quarters of it: log10, down */
    const int h = q + ((-k * 1741647) >> 19) + 1;                 /* log2 of 10^-k, down */
    const ten_digits ten = tens[-k - LEAST_TEN];
    const uint64_t lower = scaled_to_odd(ten, (4 * c - 2 + (uint64_t)is_narrow) << h) + (uint64_t)is_odd;
    const uint64_t value = scaled_to_odd(ten, (4 * c) << h);
    const uint64_t upper = scaled_to_odd(ten, (4 * c + 2) << h) - (uint64_t)is_odd;
    const uint64_t s = value / 4;
    *exponent = k;
    if (s >= 10) {
        const uint64_t t = s / 10;
        const int is_low_inside = lower <= 40 * t, is_high_inside = 40 * t + 40 <= upper;
        if (is_low_inside != is_high_inside) {
            *exponent = k + 1;
            return t + (uint64_t)is_high_inside;
        }
    }
    const int is_low_inside = lower <= 4 * s, is_high_inside = 4 * s + 4 <= upper;
    if (is_low_inside != is_high_inside) return s + (uint64_t)is_high_inside;
    const uint64_t middle = 4 * s + 2;
    return s + (uint64_t)(value > middle || (value == middle && (s & 1)));
}

/* The eight digits of a number below 10^8, the first in the lowest byte: fours, pairs and single ones at once. */
static inline uint64_t eight_digits(uint64_t n) {
    const uint64_t fours = n / 10000 | n % 10000 << 32;
    const uint64_t high = fours * 10486 >> 20 & 0x0000007f0000007f, pairs = high | (fours - 100 * high) << 16;
    const uint64_t tens = pairs * 103 >> 10 & 0x000f000f000f000f;
    return tens | (pairs - 10 * tens) << 8;
}

static inline char *put_digits(char *at, uint64_t digits, int n) {
    digits |= 0x3030303030303030;
    for (int i = 0; i < 8; i++) at[i] = (char)(digits >> 8 * i);
    return at + n;
}

/* Write a whole number, and up to seven characters more; return what comes after it. */
static inline char *write_whole(char *at, uint64_t n) {
    const uint64_t high = n / 100000000;
    if (high) return put_digits(write_whole(at, high), eight_digits(n - high * 100000000), 8);
    const uint64_t digits = eight_digits(n);
    const int zeros = digits ? __builtin_ctzll(digits) / 8 : 7;
    return put_digits(at, digits >> 8 * zeros, 8 - zeros);
}

#define WRITTEN 24 /* characters at once, more than a double has digits */

/* Write a double as JSON has it, null where it is no number or infinite, and up to 24 characters more; return what comes
after it. */
static inline char *write_double(char *at, double value, const ten_digits *tens) {
    uint64_t bits;
    int k;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7ff0000000000000) == 0x7ff0000000000000) return memcpy(at, "null", 4), at + 4;
    if (bits >> 63) *at++ = '-';
    bits &= 0x7fffffffffffffff;
    if (!bits) return memcpy(at, "0.0", 3), at + 3;
    uint64_t s = shortest(bits, tens, &k);
    for (; s % 10 == 0; k++) s /= 10;
    char digits[2 * WRITTEN] = {0};
    const int n = (int)(write_whole(digits, s) - digits), point = n + k;
    if (-5 < point && point <= 0) { /* 0.00123 */
        memcpy(at, "0.0000", 6);
        memcpy(at + 2 - point, digits, WRITTEN);
        return at + 2 - point + n;
    }
    if (0 < point && point < n) { /* 12.3 */
        memcpy(at, digits, WRITTEN);
        at[point] = '.';
        memcpy(at + point + 1, digits + point, WRITTEN);
        return at + n + 1;
    }
    if (n <= point && point <= 16) { /* 1230.0 */
        memcpy(at, digits, WRITTEN);
        memset(at + n, '0', (size_t)k);
        memcpy(at + point, ".0", 2);
        return at + point + 2;
    }
    *at++ = digits[0]; /* 1.23e-45 */
    if (n > 1) {
        *at++ = '.';
        memcpy(at, digits + 1, WRITTEN);
        at += n - 1;
    }
    *at++ = 'e';
    if (point < 1) *at++ = '-';
    return write_whole(at, (uint64_t)(point < 1 ? 1 - point : point - 1));
}

#endif
