from cpython.object cimport PyObject

from streammix.core.rules cimport Rules


cdef struct place:
    PyObject *key
    PyObject *other  # an equal key that came last time; it may be gone, and is only compared
    int column, kind
    double low, high
    PyObject *codes  # of levels; None for numbers


cdef int set_place(place *here, Rules rules) except -1


cdef class Reader:
    cdef readonly int n_columns
    cdef readonly Rules rules
    cdef list keys
    cdef int n_places, n_out_of_order
    cdef place *places
    cdef bint is_out_of_order, has_more, has_news
    cdef object ignored  # the fields that the model leaves out; None: all that it doesn't know
    cdef dict constant
    cdef object awaited  # fields that are not read yet, but are the model's
    cdef readonly list new_fields
    cdef int read(self, dict x, double *row) except -1
    cdef int find(self, int at, object key, Py_ssize_t n_fields) except -1
    cdef int forget(self) except -1
    cdef int drop_places(self) except -1
    cdef int notice(self, object name, object value) except -1
    cdef int finish(self, dict x, double *row, int known) except -1
