from cpython.object cimport PyObject


cdef class Reader:
    cdef readonly int n_columns
    cdef readonly list rules
    cdef object explain
    cdef dict first_column
    cdef list position_keys
    cdef int position_count
    cdef int *position_column
    cdef PyObject **position_key
    cdef int *next_column
    cdef int *kind
    cdef double *low
    cdef double *high
    cdef int *shared
    cdef int read_shared(self, int column, object value, double *row) except -1
    cdef public list codes
    cdef public list externals
    cdef public list unseen
    cdef int read(self, dict x, double *row) except -1
    cdef int slow_column(self, int position, object key) except -2
    cdef double convert(self, int column, object value) except? -1.0
    cdef double level(self, int column, object value) except? -1.0
    cdef double number(self, int column, object value) except? -1.0
