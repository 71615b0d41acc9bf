# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reading a record, a dict, into a row of doubles: NaN is missing, a level is its code.

A stream's records tend to have the same keys in the same order, and often the very same key objects: the reader keeps
the keys in the order last seen, each with what it takes to read its value (a place), and walks along them. A key is
looked up only where it is neither the next one nor one of the few after it.
"""

import numpy as np

from cpython.dict cimport PyDict_Next
from cpython.object cimport PyObject
from libc.math cimport NAN, isnan, log
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memmove

from streammix.core.rules cimport Rules, find_code
from streammix.core.scalars cimport find_scalars, is_integral, plain_number
from streammix.core.transforms cimport ALIKE, LEVEL, LOG, SHARED, WHOLE
from streammix.core.values cimport is_missing

from streammix.core.values import as_record, listed, plain_of, short
from streammix.errors import RecordError

cdef extern from "Python.h":
    # on borrowed references, which must not be counted at every field
    bint is_text "PyUnicode_CheckExact"(PyObject *)
    int kind_of "PyUnicode_KIND"(PyObject *)
    Py_ssize_t length_of "PyUnicode_GET_LENGTH"(PyObject *)
    const void *data_of "PyUnicode_DATA"(PyObject *)

cdef enum: MOST_PLACES = 4096
cdef enum: MOST_LOOKED_AT = 32  # places whose key may be the very object sought
cdef enum: MOST_COMPARED = 4  # places whose key may be equal to it
cdef enum: MOST_SPARE = 64  # places beyond a record's fields: it may lack some, or be one of several kinds
cdef enum: MOST_OUT_OF_ORDER = 8  # records in a row, after which their order is the one to expect
cdef enum: NO_COLUMN = -1, NEW_FIELD = -2  # a place's column where the model doesn't read its field

find_scalars()


cdef inline bint same_text(PyObject *a, PyObject *b) noexcept:
    """Whether two exact strings are equal."""
    if not is_text(a) or not is_text(b) or kind_of(a) != kind_of(b) or length_of(a) != length_of(b):
        return False
    return memcmp(data_of(a), data_of(b), length_of(a) * kind_of(a)) == 0


cdef inline bint is_again(place *here, PyObject *key) noexcept:
    """Whether a key is equal to the one at a place, but is neither it nor the one that came last time."""
    if here.key == NULL or here.other == key or not same_text(here.key, key):
        return False
    here.other = key
    return True


cdef int set_place(place *here, Rules rules) except -1:
    """Note what it takes to read the values of a place's column."""
    cdef int column = here.column
    here.kind = SHARED if rules.shared[column] else ALIKE if rules.next_column[column] >= 0 else rules.kind[column]
    here.low = rules.low[column]
    here.high = rules.high[column]
    here.codes = <PyObject *>rules.codes[column]
    return 0


cdef class Reader:
    """Reads dicts into rows, by the rules that `Rules` takes."""

    def __cinit__(self, list rules, list externals, object explain, list compositions=[]):
        self.rules = Rules(rules, externals, explain, compositions)
        self.n_columns = self.rules.n_columns
        self.has_more = bool(externals or compositions)
        self.keys = []
        self.n_places = 0
        self.places = <place *>calloc(1, sizeof(place))
        self.new_fields = []
        self.awaited = ()

    def __dealloc__(self):
        free(self.places)

    @property
    def unseen(self):
        """The unknown levels of the last record, (column, level)."""
        return self.rules.unseen

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
        if self.has_news or self.rules.has_unseen:
            self.has_news = self.rules.has_unseen = False
            self.rules.unseen = []
            self.new_fields = []
        if self.is_out_of_order:
            self.forget()
        elif self.n_out_of_order:
            self.n_out_of_order = 0
        here = self.places
        while PyDict_Next(x, &at, &key, &value):
            if key != here.key:
                if expected < self.n_places and key == here[1].key:  # the field expected is missing
                    expected += 1
                    here += 1
                elif not is_again(here, key):
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
                        self.rules.write(here.column, v, row)
                elif here.kind == LEVEL and is_text(value) and find_code(here.codes, value, &v):
                    row[here.column] = v
                else:
                    self.rules.fill(here.column, <object>value, row)
                    self.has_news |= self.rules.has_unseen
                    expected = min(expected, self.n_places)  # a value's own code may have read another record
                    here = self.places + expected
            elif here.column == NEW_FIELD:
                self.notice(<object>key, <object>value)
                expected = min(expected, self.n_places)
                here = self.places + expected
            if expected < self.n_places:
                expected += 1
                here += 1
        return self.finish(x, row, known) if self.has_more or not known else 0

    cdef int finish(self, dict x, double *row, int known) except -1:
        """Read what takes several fields; refuse a record that has none of the fields."""
        known += self.rules.finish(x, row)
        if not x:
            raise RecordError("the record is empty")
        if not known and not any(name in self.awaited for name in x):
            fields = listed(self.rules.first_column)
            raise RecordError(f"the record {short(x)} has none of the model's fields: {fields}")
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

    def look_out(self, ignored, constant, awaited):
        """Note the values of fields that the model doesn't know, in `new_fields`, but for those ignored.

        Numbers that are what they have always been, by `constant`, are passed over. A record that has none but fields
        that are `awaited` is one of missing values.
        """
        self.ignored = ignored
        self.constant = constant
        self.awaited = awaited
        self.drop_places()

    cdef int drop_places(self) except -1:
        self.n_places = 0
        self.places[0].key = NULL
        self.keys = []
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
        column = self.rules.first_column.get(key, NO_COLUMN if self.ignored is None or key in self.ignored else NEW_FIELD)
        n = self.n_places  # the key's own code may have read another record
        at = min(at, n)
        here = self.places + at
        if n < min(n_fields + MOST_SPARE, MOST_PLACES):
            here = <place *>realloc(self.places, sizeof(place) * (n + 2))
            if here == NULL:
                raise MemoryError
            self.places = here
            self.keys.insert(at, key)
            here += at
            memmove(here + 1, here, sizeof(place) * (n + 1 - at))
            here.key = <PyObject *>key
            self.n_places += 1
        elif at < n:
            replaced = self.keys[at]  # goes when nothing here is half done
            self.keys[at] = key
            here.key = <PyObject *>key
        else:
            self.is_out_of_order = at < MOST_PLACES
        here.other = NULL
        here.column = column
        if column >= 0:
            set_place(here, self.rules)
        return at

    cdef int forget(self) except -1:
        """Forget the order of the keys, once record after record has had another one."""
        self.is_out_of_order = False
        self.n_out_of_order += 1
        if self.n_out_of_order < MOST_OUT_OF_ORDER:
            return 0
        self.n_out_of_order = 0
        return self.drop_places()

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
                refused.append((i, error.with_traceback(None)))  # without the frames that it came through
                continue
            if self.has_news:
                if self.new_fields:
                    break
                for column, key in self.unseen:
                    unknown.append((n, column, key))
            good.append(i)
            n += 1
        return result[:n], good, unknown, refused

    def row(self, x):
        """Return the row of one record, a dict of any kind, and the unknown levels in it."""
        result = np.empty(self.n_columns)
        cdef double[::1] view = result
        self.read(<dict>x, &view[0])
        return result, list(self.unseen)
