# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reading structs, decoded records of one shape, into rows of doubles as the reader reads dicts.

A decoder fills a struct faster than a dict, and its values lie at known places. Values that take more than a look,
and records with one that is refused, are left to the reader: those are decoded again, as dicts.
"""

import numpy as np

from cpython.list cimport PyList_GET_ITEM
from cpython.object cimport PyObject
from libc.math cimport NAN, floor
from libc.stdlib cimport free, malloc
from libc.string cimport memchr

from streammix.core.reader cimport Reader, place, set_place
from streammix.core.rules cimport find_code
from streammix.core.transforms cimport ALIKE, LEVEL, REAL, SHARED, WHOLE

from streammix.errors import RecordError

cdef extern from "structmember.h":
    ctypedef struct PyMemberDef:
        Py_ssize_t offset
        int type
    int T_OBJECT_EX

cdef extern from "Python.h":
    ctypedef struct PyMemberDescrObject:
        PyMemberDef *d_member
    bint is_float "PyFloat_CheckExact"(PyObject *)
    double float_value "PyFloat_AS_DOUBLE"(PyObject *)
    bint is_whole "PyLong_CheckExact"(PyObject *)
    double whole_value "PyLong_AsDouble"(PyObject *) except? -1.0
    bint is_text "PyUnicode_CheckExact"(PyObject *)
    PyObject *Py_None
    PyObject *Py_True
    PyObject *Py_False

cdef enum: AT_ONCE = 512  # records that are decoded at a time: their memory is used again while it is warm


def line_ends(bytes text):
    """Return the positions of the line feeds in a text."""
    cdef const char *begin = text
    cdef const char *end = begin + len(text)
    cdef const char *at = begin
    cdef Py_ssize_t n = 0, room = len(text) // 128 + 64
    cdef long long[::1] view
    found = np.empty(room, dtype=np.int64)
    view = found
    while at < end:
        at = <const char *>memchr(at, 10, end - at)
        if at == NULL:
            break
        if n == room:
            room *= 2
            found = np.resize(found, room)
            view = found
        view[n] = at - begin
        n += 1
        at += 1
    return found[:n]


cdef class Structs:
    """A sequence of records, each of which is a dict to whoever asks for it; one that can't be read raises RecordError.

    Parameters
    ----------
    n
        How many there are.
    kind
        The type of the structs.
    names
        The fields, (name, attribute of the type) each; others are passed over.
    unset
        What an attribute is where its field is absent.
    decode
        Called as decode(begin, end), returns some of the records as structs, or None where one of them can't be.
    again
        Called as again(i), returns the i-th record as a dict, its keys in their order.
    """

    cdef Py_ssize_t n, first
    cdef object kind, unset, decode, again
    cdef list names

    def __init__(self, Py_ssize_t n, object kind, list names, object unset, object decode, object again,
                 Py_ssize_t first=0):
        self.n = n
        self.kind = kind
        self.names = names
        self.unset = unset
        self.decode = decode
        self.again = again
        self.first = first

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if isinstance(index, slice):
            begin, end, step = index.indices(self.n)
            if step != 1:
                raise ValueError("records are taken in order")
            return Structs(
                max(end - begin, 0), self.kind, self.names, self.unset, self.decode, self.again, self.first + begin
            )
        return self.again(self.first + range(self.n)[index])

    def without(self, fields):
        """Return the records without some fields."""
        again = self.again

        def fewer(i):
            return {name: value for name, value in again(i).items() if name not in fields}

        names = [pair for pair in self.names if pair[0] not in fields]
        return Structs(self.n, self.kind, names, self.unset, self.decode, fewer, self.first)

    def rows(self, Reader reader):
        """Read the records as `Reader.rows` reads dicts; the indices of the good ones are a range where none is refused."""
        cdef Py_ssize_t n = 0, i, begin, end
        cdef int n_fields = 0, done
        cdef double[:, ::1] view
        cdef place *places = <place *>malloc(sizeof(place) * (len(self.names) + 1))
        cdef Py_ssize_t *offsets = <Py_ssize_t *>malloc(sizeof(Py_ssize_t) * (len(self.names) + 1))
        cdef bint is_plain = not reader.rules.externals
        cdef list records
        result = np.empty((max(self.n, 1), reader.n_columns))
        view = result
        good, unknown, refused = [], [], []
        try:
            if places == NULL or offsets == NULL:
                raise MemoryError
            for name, attribute in self.names:
                column = reader.rules.first_column.get(name, -1)
                is_watched = column < 0 and reader.ignored is not None and name not in reader.ignored
                if is_plain and (column >= 0 or is_watched):
                    offsets[n_fields] = offset_of(self.kind, attribute)
                    places[n_fields].column = column
                    if is_watched:
                        places[n_fields].low = places[n_fields].high = reader.constant.get(name, NAN)
                    else:
                        set_place(places + n_fields, reader.rules)
                    n_fields += 1
            for begin in range(0, self.n, AT_ONCE):
                end = min(begin + AT_ONCE, self.n)
                records = self.decode(self.first + begin, self.first + end) if is_plain else None
                for i in range(begin, end):
                    done = 0
                    if records is not None:
                        done = read(reader, <char *>PyList_GET_ITEM(records, i - begin), places, offsets, n_fields,
                                    <PyObject *>self.unset, &view[n, 0])
                    if not done:
                        try:
                            reader.read(<dict>self.again(self.first + i), &view[n, 0])
                        except RecordError as error:
                            if not refused:
                                good = list(range(i))
                            refused.append((i, error))
                            continue
                        if reader.has_news:
                            if reader.new_fields:
                                return result[:n], good if refused else range(n), unknown, refused
                            for column, key in reader.unseen:
                                unknown.append((n, column, key))
                    if refused:
                        good.append(i)
                    n += 1
        finally:
            free(places)
            free(offsets)
        return result[:n], good if refused else range(n), unknown, refused


cdef Py_ssize_t offset_of(object kind, str attribute) except -1:
    """Where in its objects a type keeps an attribute."""
    cdef object member = kind.__dict__[attribute]
    if type(member).__name__ != "member_descriptor" or (<PyMemberDescrObject *>member).d_member.type != T_OBJECT_EX:
        raise TypeError(f"{attribute!r} is no plain member of {kind!r}")
    return (<PyMemberDescrObject *>member).d_member.offset


cdef int read(
    Reader reader, char *record, place *places, Py_ssize_t *offsets, int n_fields, PyObject *unset, double *row
) except -1:
    """Fill the row; return 0 where this record is to be read by the reader itself."""
    cdef PyObject *value
    cdef place *here
    cdef double v
    cdef int i, known = 0
    for i in range(reader.n_columns):
        row[i] = NAN
    for i in range(n_fields):
        value = (<PyObject **>(record + offsets[i]))[0]
        if value == unset:
            continue
        here = places + i
        if here.column < 0:  # a field that the model doesn't know: no news where it is missing, or as it has always been
            if value != Py_None and not (is_float(value) and float_value(value) == here.low):
                return 0
            continue
        known = 1
        if here.kind > SHARED:  # a time
            try:
                row[here.column] = reader.rules.time(here.column, <object>value)
            except RecordError:
                return 0
            continue
        if here.kind == LEVEL:
            if value == Py_None:
                row[here.column] = reader.rules.level(here.column, None)
                continue
            if not (is_text(value) and find_code(here.codes, value, &v)):
                return 0
            row[here.column] = v
            continue
        if is_float(value):
            v = float_value(value)
        elif is_whole(value):
            try:
                v = whole_value(value)
            except OverflowError:
                return 0
        elif value == Py_None:
            continue
        elif value == Py_True or value == Py_False:
            v = value == Py_True
        else:
            return 0
        if not (here.low <= v <= here.high) or here.kind == SHARED:
            return 0
        if here.kind == REAL:
            row[here.column] = v
        elif here.kind == WHOLE and v != floor(v):
            return 0
        else:
            reader.rules.write(here.column, v, row)
    if reader.rules.compositions:
        return 0
    return known
