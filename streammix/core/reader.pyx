# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reading a record, a dict, into a row of doubles: NaN is missing, a level is its code.

A stream's records tend to have the same keys in the same order, and often the very same key objects: the reader keeps
the keys in the order last seen, each with what it takes to read its value (a place), and walks along them. A key is
looked up only where it is neither the next one nor one of the few after it.
"""

import numpy as np

from cpython.dict cimport PyDict_Next
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_CheckExact
from libc.math cimport INFINITY, NAN, isnan, log
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp

from streammix.core.transforms cimport ALIKE, COMPLEMENT, LEVEL, LOG, LOG_COMPLEMENT, REAL, SHARED, WHOLE, transformed
from streammix.core.values cimport is_missing, level_key

from streammix.core.times import time_of
from streammix.core.values import LARGEST, LONGEST_TEXT, as_record, is_sound_text, of_magnitude, plain_of, short
from streammix.errors import RecordError

cdef extern from "Python.h":
    double PyFloat_AsDouble(object) except? -1.0
    # on borrowed references, which must not be counted at every field
    PyObject *code_of "PyDict_GetItemWithError"(PyObject *, PyObject *) except? NULL
    bint is_text "PyUnicode_CheckExact"(PyObject *)
    int kind_of "PyUnicode_KIND"(PyObject *)
    Py_ssize_t length_of "PyUnicode_GET_LENGTH"(PyObject *)
    const void *data_of "PyUnicode_DATA"(PyObject *)

cdef extern from "scalars.h":
    void note_scalar(PyObject *, char) noexcept
    bint whole_number(PyObject *, double *) noexcept
    bint plain_number(PyObject *, double *) noexcept
    bint is_integral(double) noexcept

cdef enum: MOST_PLACES = 4096
cdef enum: MOST_LOOKED_AT = 32  # places whose key may be the very object sought
cdef enum: MOST_COMPARED = 4  # places whose key may be equal to it
cdef enum: MOST_OUT_OF_ORDER = 8  # records in a row, after which their order is the one to expect
KINDS = {"real": REAL, "whole": WHOLE, "log": LOG, "level": LEVEL, "complement": COMPLEMENT,
         "log_complement": LOG_COMPLEMENT}
SLACK = 1e-6  # of the sum of a composition

UNSEEN = 2**31 - 1  # the code of a level that the model doesn't know
cdef enum: NO_COLUMN = -1, NEW_FIELD = -2  # a place's column where the model doesn't read its field
cdef enum: TEXT_ALONE = 2  # is_open: an unknown level is welcome where it is text
cdef enum: DAY = 64, WEEK
KINDS |= {"day": DAY, "week": WEEK}


def find_scalars():
    """Note those of NumPy's types whose numbers lie right behind an object's head; the others are asked for theirs."""
    for code in "dlf?ibBhHILqQeg":
        value = np.dtype(code).type(1)
        if type(value).__basicsize__ >= sizeof(PyObject) + value.itemsize:
            note_scalar(<PyObject *>value, ord(code))


find_scalars()


cdef inline bint same_text(PyObject *a, PyObject *b) noexcept:
    """Whether two exact strings are equal."""
    if not is_text(a) or not is_text(b) or kind_of(a) != kind_of(b) or length_of(a) != length_of(b):
        return False
    return memcmp(data_of(a), data_of(b), length_of(a) * kind_of(a)) == 0


cdef inline bint find_code(PyObject *codes, PyObject *text, double *code) except -1:
    """Whether a level that is an exact string is known; its code."""
    cdef PyObject *found = code_of(codes, text)
    return found != NULL and whole_number(found, code)


cdef inline bint is_again(place *here, PyObject *key) noexcept:
    """Whether a key is equal to the one at a place, but is neither it nor the one that came last time."""
    if here.key == NULL or here.other == key or not same_text(here.key, key):
        return False
    here.other = key
    return True


cdef class Reader:
    """Reads dicts into rows.

    Parameters
    ----------
    rules
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

    def __cinit__(self, list rules, list externals, object explain, list compositions=[]):
        cdef int n = len(rules), i
        self.n_columns = n + len(externals)
        self.rules = rules
        self.explain = explain
        self.externals = externals
        self.compositions = compositions
        self.has_more = bool(externals or compositions)
        self.first_column = {}
        self.keys = []
        self.n_places = 0
        self.places = <place *>calloc(1, sizeof(place))
        self.next_column = <int *>malloc(sizeof(int) * (n + 1))
        self.kind = <int *>malloc(sizeof(int) * (n + 1))
        self.low = <double *>malloc(sizeof(double) * (n + 1))
        self.high = <double *>malloc(sizeof(double) * (n + 1))
        self.shared = <int *>malloc(sizeof(int) * (n + 1))
        self.codes = [rule[4] for rule in rules]
        self.unseen = []
        self.new_fields = []
        last = {}
        for i, (field, kind, low, high, codes, _, is_shared) in enumerate(rules):
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
        free(self.places)
        free(self.next_column)
        free(self.kind)
        free(self.low)
        free(self.high)
        free(self.shared)

    cdef int read(self, dict x, double *row) except -1:
        """Fill the row; `unseen` then lists (column, level) of unknown levels. Nothing is learnt here."""
        cdef Py_ssize_t at = 0
        cdef PyObject *key
        cdef PyObject *value
        cdef place *here
        cdef int expected = 0, i, known = 0
        cdef double v
        for i in range(self.n_columns):
            row[i] = NAN
        if self.has_news:
            self.has_news = False
            self.unseen = []
            self.new_fields = []
        if self.is_out_of_order:
            self.forget()
        elif self.n_out_of_order:
            self.n_out_of_order = 0
        here = self.places
        while PyDict_Next(x, &at, &key, &value):
            if key != here.key and not is_again(here, key):
                expected = self.find(expected, <object>key, len(x))
                here = self.places + expected
            if here.column >= 0:
                known = 1
                if here.kind < LEVEL and plain_number(value, &v) and here.low <= v <= here.high and (
                        here.kind != WHOLE or is_integral(v)):
                    if here.kind <= WHOLE:
                        row[here.column] = v
                    elif here.kind == LOG:
                        row[here.column] = log(v)
                    else:
                        self.write(here.column, v, row)
                elif here.kind == LEVEL and is_text(value) and find_code(here.codes, value, &v):
                    row[here.column] = v
                else:
                    self.fill(here.column, <object>value, row)
                    expected = min(expected, self.n_places)  # a value's own code may have read another record
                    here = self.places + expected
            elif here.column == NEW_FIELD:
                self.notice(<object>key, <object>value)
            if expected < self.n_places:
                expected += 1
                here += 1
        return self.finish(x, row, known) if self.has_more or not known else 0

    cdef void write(self, int column, double v, double *row) noexcept:
        """Write a number that is fit for a field into its columns."""
        while column >= 0:
            row[column] = transformed(self.kind[column], v)
            column = self.next_column[column]

    cdef int finish(self, dict x, double *row, int known) except -1:
        """Read what takes objects from elsewhere; refuse a record that has none of the fields, or no composition."""
        if self.compositions:
            self.check_compositions(row)
        if self.externals:
            known += self.read_externals(x, <double[:self.n_columns]>row)
        if not x:
            raise RecordError("the record is empty")
        if not known:
            fields = ", ".join(map(repr, self.first_column))
            raise RecordError(f"the record {short(x)} has none of the model's fields: {fields}")
        return 0

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

    cdef int notice(self, object name, object value) except -1:
        """Note a value of a field that the model doesn't know."""
        cdef double v
        if plain_number(<PyObject *>value, &v):
            if isnan(v):
                return 0
            known = self.constant.get(name)
            if known is not None and v == <double>known:
                return 0
        elif is_missing(plain_of(value)):
            return 0
        self.new_fields.append((name, value))
        self.has_news = True
        return 0

    def look_out(self, ignored, constant):
        """Note the values of fields that the model doesn't know, in `new_fields`, but for those ignored.

        Numbers that are what they have always been, by `constant`, are passed over.
        """
        self.ignored = ignored
        self.constant = constant
        self.drop_places()

    cdef int drop_places(self) except -1:
        self.n_places = 0
        self.places[0].key = NULL
        self.keys = []
        return 0

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

    cdef int find(self, int at, object key, Py_ssize_t n_fields) except -1:
        """The place of a key that is not the object expected at a place; the last one is for what finds no room."""
        cdef int i, column, n = self.n_places
        cdef place *here
        if not isinstance(key, str):
            raise RecordError(f"a field's name must be a string, not {short(key)}")
        for i in range(at, min(at + MOST_LOOKED_AT, n)):
            if self.places[i].key == <PyObject *>key:
                return i
        for i in range(min(at, MOST_LOOKED_AT)):
            if self.places[i].key == <PyObject *>key:
                self.is_out_of_order = True
                return i
        for i in range(at, min(at + MOST_COMPARED, n)):
            here = self.places + i
            if same_text(here.key, <PyObject *>key):
                # a key that comes twice will come again; one that is made anew for each record is not worth keeping
                if here.other == <PyObject *>key:
                    self.keys[i] = key
                    here.key = <PyObject *>key
                here.other = <PyObject *>key
                return i
        column = self.first_column.get(key, NO_COLUMN if self.ignored is None or key in self.ignored else NEW_FIELD)
        at = min(at, self.n_places)
        here = self.places + at
        if at < self.n_places:
            replaced = self.keys[at]  # goes when nothing here is half done
            self.keys[at] = key
            here.key = <PyObject *>key
        elif at < min(n_fields, MOST_PLACES):
            here = <place *>realloc(self.places, sizeof(place) * (at + 2))
            if here == NULL:
                raise MemoryError
            self.places = here
            here[at + 1].key = NULL
            here += at
            here.key = <PyObject *>key
            self.keys.append(key)
            self.n_places += 1
        else:
            self.is_out_of_order = at < MOST_PLACES
        here.other = NULL
        here.column = column
        if column >= 0:
            here.kind = SHARED if self.shared[column] else ALIKE if self.next_column[column] >= 0 else self.kind[column]
            here.low = self.low[column]
            here.high = self.high[column]
            here.codes = <PyObject *>self.codes[column]
        return at

    cdef int forget(self) except -1:
        """Forget the order of the keys, once record after record has had another one."""
        self.is_out_of_order = False
        self.n_out_of_order += 1
        if self.n_out_of_order < MOST_OUT_OF_ORDER:
            return 0
        self.n_out_of_order = 0
        return self.drop_places()

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
        if not self.rules[column][5] or (self.rules[column][5] == TEXT_ALONE and not isinstance(key, str)):
            self.refuse(column, value)
        self.unseen.append((column, key))
        self.has_news = True
        return UNSEEN

    def refuse(self, int column, value):
        raise RecordError(self.explain(column, value), field=self.rules[column][0])

    def read_externals(self, dict x, double[::1] row):
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

    def rows(self, list records):
        """Read records one by one: (rows, indices of the good ones, [(row, column, key) of unknown levels], refusals).

        Refusals are (index, RecordError). Reading ends before a record that has a field that the model doesn't know.
        """
        cdef double[:, ::1] view
        cdef Py_ssize_t n = 0, i
        result = np.empty((max(len(records), 1), self.n_columns))
        view = result
        good, unknown, refused = [], [], []
        for i in range(len(records)):
            try:
                record = records[i]
                if not isinstance(record, dict):
                    record = as_record(record)
                self.read(<dict>record, &view[n, 0])
            except RecordError as error:
                refused.append((i, error))
                continue
            if self.has_news:
                if self.new_fields:
                    break
                for column, key in self.unseen:
                    unknown.append((n, column, key))
            good.append(i)
            n += 1
        return result[:n], good, unknown, refused

    def row(self, dict x):
        """Return the row of one record and the unknown levels in it."""
        result = np.empty(self.n_columns)
        cdef double[::1] view = result
        self.read(x, &view[0])
        return result, list(self.unseen)


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
