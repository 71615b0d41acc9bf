from cpython.object cimport PyObject


cdef struct place:
    PyObject *key
    PyObject *other  # an equal key that came last time; it may be gone, and is only compared
    int column, kind
    double low, high
    PyObject *codes  # of levels; None for numbers


cdef class Reader:
    cdef readonly int n_columns
    cdef readonly list rules
    cdef object explain
    cdef dict first_column
    cdef list keys
    cdef int n_places, n_out_of_order
    cdef place *places
    cdef bint is_out_of_order, has_more, has_news
    cdef object ignored  # the fields that the model leaves out; None: all that it doesn't know
    cdef dict constant
    cdef int *next_column
    cdef int *kind
    cdef double *low
    cdef double *high
    cdef int *shared
    cdef list codes
    cdef list externals
    cdef readonly list unseen, new_fields
    cdef list compositions
    cdef int check_compositions(self, double *row) except -1
    cdef int read(self, dict x, double *row) except -1
    cdef int fill(self, int column, object value, double *row) except -1
    cdef int read_shared(self, int column, object value, double *row) except -1
    cdef int find(self, int at, object key, Py_ssize_t n_fields) except -1
    cdef int forget(self) except -1
    cdef int drop_places(self) except -1
    cdef int notice(self, object name, object value) except -1
    cdef int finish(self, dict x, double *row, int known) except -1
    cdef void write(self, int column, double v, double *row) noexcept
    cdef double convert(self, int column, object value) except? -1.0
    cdef double time(self, int column, object value) except? -1.0
    cdef double level(self, int column, object value) except? -1.0
    cdef double number(self, int column, object value) except? -1.0
