# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""How the values of fields are understood: what of a value goes into which column of a row, and what is refused."""

import numpy as np

from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_CheckExact
from libc.math cimport INFINITY, NAN, isnan
from libc.stdlib cimport free, malloc

from streammix.core.scalars cimport find_scalars, is_integral, plain_number
from streammix.core.transforms cimport COMPLEMENT, LEVEL, LOG, LOG_COMPLEMENT, REAL, WHOLE, transformed
from streammix.core.values cimport is_missing, level_key

from streammix.core.times import time_of
from streammix.core.values import LARGEST, LONGEST_TEXT, is_sound_text, of_magnitude, plain_of, short
from streammix.errors import RecordError

cdef extern from "Python.h":
    double PyFloat_AsDouble(object) except? -1.0

UNSEEN = 2**31 - 1  # the code of a level that the model doesn't know
SLACK = 1e-6  # of the sum of a composition
cdef enum: TEXT_ALONE = 2  # is_open: an unknown level is welcome where it is text
cdef enum: DAY = 64, WEEK
KINDS = {"real": REAL, "whole": WHOLE, "log": LOG, "level": LEVEL, "complement": COMPLEMENT,
         "log_complement": LOG_COMPLEMENT, "day": DAY, "week": WEEK}

find_scalars()


cdef class Rules:
    """Understands the values of fields, and what several of them are together.

    Parameters
    ----------
    given
        One a column: (field, kind, low, high, codes, is_open, is_shared). A field may fill several columns; `codes` maps level
        keys to codes, `is_open` says whether an unknown level is welcome (2: where it is text). Columns that are shared out among
        components of different families (is_shared is 1) take infinity for a value outside their support, as long as
        one takes it, or (2) whatever it is.
    externals
        (column, names of fields, distribution): columns that hold log densities of objects from elsewhere.
    explain
        Called as explain(column, value), returns the sentence for a value that the column refuses.
    compositions
        (columns, names of fields): shares that sum to 1.
    """

    def __cinit__(self, list given, list externals, object explain, list compositions):
        cdef int n = len(given), i
        self.given = given
        self.n_columns = n + len(externals)
        self.explain = explain
        self.externals = externals
        self.compositions = compositions
        self.first_column = {}
        self.next_column = <int *>malloc(sizeof(int) * (n + 1))
        self.kind = <int *>malloc(sizeof(int) * (n + 1))
        self.low = <double *>malloc(sizeof(double) * (n + 1))
        self.high = <double *>malloc(sizeof(double) * (n + 1))
        self.shared = <int *>malloc(sizeof(int) * (n + 1))
        self.codes = [rule[4] for rule in given]
        self.unseen = []
        last = {}
        for i, (field, kind, low, high, codes, _, is_shared) in enumerate(given):
            self.kind[i] = KINDS[kind]
            self.low[i] = low
            self.high[i] = high
            self.shared[i] = is_shared
            self.next_column[i] = -1
            if field in last:
                self.next_column[<int>last[field]] = i
            else:
                self.first_column[field] = i
            last[field] = i
        for _, names, _ in externals:
            for name in names:
                self.first_column.setdefault(name, -1)

    def __dealloc__(self):
        free(self.next_column)
        free(self.kind)
        free(self.low)
        free(self.high)
        free(self.shared)

    def __len__(self):
        return len(self.given)

    cdef void write(self, int column, double v, double *row) noexcept:
        """Write a number that is fit for a field into its columns."""
        while column >= 0:
            row[column] = transformed(self.kind[column], v)
            column = self.next_column[column]

    cdef int fill(self, int column, object value, double *row) except -1:
        """Fill the columns of a field."""
        if value is not None and not PyUnicode_CheckExact(value):
            value = plain_of(value)
        if self.shared[column]:
            return self.read_shared(column, value, row)
        while column >= 0:
            row[column] = self.convert(column, value)
            column = self.next_column[column]
        return 0

    cdef int read_shared(self, int column, object value, double *row) except -1:
        """Fill the columns of a field whose components differ in support: infinity where the value is outside."""
        cdef int fits = self.shared[column] == 2
        refused = None
        while column >= 0:
            try:
                row[column] = self.convert(column, value)
                fits = 1
            except RecordError as error:
                refused = refused or error
                row[column] = INFINITY
            column = self.next_column[column]
        if not fits:
            raise refused
        return 0

    cdef double convert(self, int column, object value) except? -1.0:
        cdef double v
        if self.kind[column] == LEVEL:
            return self.level(column, value)
        if self.kind[column] >= DAY:
            return self.time(column, value)
        if not plain_number(<PyObject *>value, &v):
            v = self.number(column, value)
        if isnan(v):
            return NAN
        if not (self.low[column] <= v <= self.high[column]) or (self.kind[column] == WHOLE and not is_integral(v)):
            self.refuse(column, value)
        return transformed(self.kind[column], v)

    cdef double number(self, int column, object value) except? -1.0:
        """A number of another type: Decimal, a 0-d array, …: whatever has __float__ and isn't text."""
        if is_missing(value):
            return NAN
        if isinstance(value, (str, bytes, complex)) or not hasattr(type(value), "__float__"):
            self.refuse(column, value)
        if hasattr(value, "dtype") and (value.dtype.kind not in "biuf" or value.ndim):
            self.refuse(column, value)
        try:
            return PyFloat_AsDouble(value)
        except (TypeError, ValueError, OverflowError):
            self.refuse(column, value)

    cdef double time(self, int column, object value) except? -1.0:
        """The hours of the day, or the days of the week, of a time; a number is such a one itself."""
        cdef double v
        if plain_number(<PyObject *>value, &v):
            if not isnan(v) and not self.low[column] <= v <= self.high[column]:
                self.refuse(column, value)
            return v
        if is_missing(value):
            return NAN
        found = time_of(value, self.kind[column] == WEEK)
        if found is None:
            self.refuse(column, value)
        return <double>found

    cdef double level(self, int column, object value) except? -1.0:
        cdef dict codes = self.codes[column]
        cdef double found
        if PyUnicode_CheckExact(value) and find_code(<PyObject *>codes, <PyObject *>value, &found):
            return found
        key = level_key(value)
        if key is None or (isinstance(key, str) and (len(key) > LONGEST_TEXT or not is_sound_text(key))):
            self.refuse(column, value)
        code = codes.get(key)
        if code is not None:
            return <double>code
        if key == ("null", None):
            return NAN
        if not self.given[column][5] or (self.given[column][5] == TEXT_ALONE and not isinstance(key, str)):
            self.refuse(column, value)
        self.unseen.append((column, key))
        self.has_unseen = True
        return UNSEEN

    def refuse(self, int column, value):
        raise RecordError(self.explain(column, value), field=self.given[column][0])

    cdef int finish(self, dict x, double *row) except -1:
        """Read what takes objects from elsewhere; refuse what is no composition. How many fields were there for those."""
        if self.compositions:
            self.check_compositions(row)
        return self.read_externals(x, <double[:self.n_columns]>row) if self.externals else 0

    cdef int check_compositions(self, double *row) except -1:
        """Refuse shares that don't sum to 1 or, where some are missing, leave nothing for those."""
        cdef double total
        cdef int gaps, i
        for columns, names in self.compositions:
            total, gaps = 0.0, 0
            for i in columns:
                if isnan(row[i]):
                    gaps += 1
                else:
                    total += row[i]
            if not fits_composition(total, gaps, len(names)):
                raise RecordError(explain_composition(names, total, gaps), field=names[0])
        return 0

    def read_externals(self, dict x, double[::1] row):
        cdef Py_ssize_t column
        known = 0
        for column, names, distribution in self.externals:
            values = []
            for name in names:
                value = plain_of(x.get(name))
                if is_missing(value):
                    continue
                try:
                    if isinstance(value, (str, bytes, complex)):
                        raise TypeError
                    v = float(value)
                except (TypeError, ValueError, OverflowError):
                    v = INFINITY
                if isnan(v):
                    continue
                if not -LARGEST <= v <= LARGEST:
                    expected = of_magnitude("a finite number", value, LARGEST)
                    raise RecordError(f"field {name!r}: expected {expected}, got {short(value)}", field=name)
                values.append(v)
            known += any(name in x for name in names)
            if not values:
                continue
            if len(values) < len(names):
                raise RecordError(f"fields {names!r}: {distribution!r} needs all of them or none")
            row[column] = distribution.log_density([values[0] if len(names) == 1 else values])[0]
        return known


def transformed_column(str kind, const double[:] values):
    """What a column of a kind holds for values, by the very function that reads single records."""
    cdef Py_ssize_t i
    cdef int code = KINDS[kind]
    result = np.empty(values.shape[0])
    cdef double[::1] out = result
    for i in range(values.shape[0]):
        out[i] = transformed(code, values[i])
    return result


cpdef bint fits_composition(double total, int gaps, int size):
    """Whether positive shares may be a composition: they sum to 1, or leave something for those that are missing."""
    if gaps == size:
        return True
    return total < 1.0 if gaps else abs(total - 1.0) <= SLACK


def explain_composition(names, double total, int gaps):
    """The sentence for shares that are no composition."""
    expected = "less than 1 where some are missing" if gaps else f"1 within {SLACK:g}"
    return f"fields {', '.join(map(repr, names))}: expected positive shares that sum to {expected}, got {total!r}"
