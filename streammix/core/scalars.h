/* NumPy's real numbers as they lie in memory. */
#ifndef STREAMMIX_SCALARS_H
#define STREAMMIX_SCALARS_H

#include <math.h>
#include <stdint.h>

/* sign, five bits of exponent, ten of fraction */
static inline double half_value(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double x = exponent == 31 ? (fraction ? NAN : INFINITY)
             : exponent       ? ldexp(1024 + fraction, exponent - 25)
                              : ldexp(fraction, -24);
    return bits >> 15 ? -x : x;
}

/* the number at an address, whose type is given by NumPy's character code */
static inline double scalar_value(const char *at, char code) {
    switch (code) {
    case 'd': return *(const double *)at;
    case 'f': return *(const float *)at;
    case 'e': return half_value(*(const uint16_t *)at);
    case 'g': return (double)*(const long double *)at;
    case '?':
    case 'B': return *(const unsigned char *)at;
    case 'b': return *(const signed char *)at;
    case 'h': return *(const short *)at;
    case 'H': return *(const unsigned short *)at;
    case 'i': return *(const int *)at;
    case 'I': return *(const unsigned int *)at;
    case 'l': return (double)*(const long *)at;
    case 'L': return (double)*(const unsigned long *)at;
    case 'q': return (double)*(const long long *)at;
    case 'Q': return (double)*(const unsigned long long *)at;
    }
    return NAN;
}

#endif
