/* Python's and NumPy's real numbers as they lie in memory. */
#ifndef STREAMMIX_SCALARS_H
#define STREAMMIX_SCALARS_H

#include <Python.h>
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

#define MOST_SCALARS 16
static PyTypeObject *scalar_types[MOST_SCALARS]; /* of numbers that lie right behind an object's head */
static char scalar_codes[MOST_SCALARS];
static int n_scalars;

/* Note the type of a NumPy scalar that is 1, where its number lies there; the commonest types first. */
static void note_scalar(PyObject *one, char code) {
    if (n_scalars == MOST_SCALARS || scalar_value((const char *)one + sizeof(PyObject), code) != 1.0) return;
    scalar_types[n_scalars] = Py_TYPE(one);
    scalar_codes[n_scalars++] = code;
}

/* an exact int; 0 where no double holds it */
static inline int whole_number(PyObject *value, double *v) {
#if PY_VERSION_HEX >= 0x030c0000
    if (PyUnstable_Long_IsCompact((PyLongObject *)value)) {
        *v = (double)PyUnstable_Long_CompactValue((PyLongObject *)value);
        return 1;
    }
#else
    const Py_ssize_t size = Py_SIZE(value);
    if (size >= -1 && size <= 1) {
        *v = size ? (double)size * ((PyLongObject *)value)->ob_digit[0] : 0.0;
        return 1;
    }
#endif
    *v = PyLong_AsDouble(value);
    if (*v != -1.0 || !PyErr_Occurred()) return 1;
    PyErr_Clear();
    return 0;
}

/* Whether a value is None (then v is NaN) or one of Python's and NumPy's real numbers, which needs no questions. */
static inline int plain_number(PyObject *value, double *v) {
    PyTypeObject *const kind = Py_TYPE(value);
    if (kind == &PyFloat_Type) {
        *v = PyFloat_AS_DOUBLE(value);
        return 1;
    }
    if (kind == &PyLong_Type) return whole_number(value, v);
    if (kind == &PyBool_Type) {
        *v = value == Py_True;
        return 1;
    }
    *v = NAN;
    if (value == Py_None) return 1;
    for (int i = 0; i < n_scalars; i++)
        if (kind == scalar_types[i]) {
            *v = scalar_value((const char *)value + sizeof(PyObject), scalar_codes[i]);
            return 1;
        }
    return 0;
}

#define INTEGERS 4503599627370496.0 /* doubles from here on are whole, and one plus another is rounded to a whole one */

static inline int is_integral(double v) {
    const double size = fabs(v);
    return size >= INTEGERS || (size + INTEGERS) - INTEGERS == size;
}

#endif
