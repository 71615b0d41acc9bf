from cpython.object cimport PyObject

from streammix.core.scalars cimport whole_number

cdef extern from "Python.h":
    PyObject *code_of "PyDict_GetItemWithError"(PyObject *, PyObject *) except? NULL  # a borrowed reference


cdef inline bint find_code(PyObject *codes, PyObject *text, double *code) except -1:
    """Whether a level that is an exact string is known; its code."""
    cdef PyObject *found = code_of(codes, text)
    return found != NULL and whole_number(found, code)


cdef class Rules:
    cdef readonly list given
    cdef readonly int n_columns
    cdef object explain
    cdef dict first_column
    cdef int *next_column
    cdef int *kind
    cdef double *low
    cdef double *high
    cdef int *shared
    cdef list codes
    cdef list externals
    cdef list compositions
    cdef list unseen
    cdef bint has_unseen
    cdef void write(self, int column, double v, double *row) noexcept
    cdef int fill(self, int column, object value, double *row) except -1
    cdef int finish(self, dict x, double *row) except -1
    cdef int read_shared(self, int column, object value, double *row) except -1
    cdef int check_compositions(self, double *row) except -1
    cdef double convert(self, int column, object value) except? -1.0
    cdef double time(self, int column, object value) except? -1.0
    cdef double level(self, int column, object value) except? -1.0
    cdef double number(self, int column, object value) except? -1.0
