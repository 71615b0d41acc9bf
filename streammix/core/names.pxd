from streammix.core.reader cimport Reader, place


cdef enum: LEVEL_BITS = 10  # of the number of levels whose codes are remembered


cdef struct field:
    const char *key  # as it stands in the text, with its quotation marks
    long size
    int next  # the field that tends to come after it
    long long record  # the last one that it was in
    place how  # to read it


cdef struct level:
    const char *text
    long size
    int column
    double code


cdef class Names:
    cdef object decode, left_out
    cdef Reader reader
    cdef int n_columns, n_asked  # how often Python was asked
    cdef int *kinds  # the reader's rules, for when Python may not be asked
    cdef int *next_column
    cdef bint has_compositions
    cdef dict places  # what stands in the text -> the number of the field
    cdef list names, keys
    cdef level levels[1 << LEVEL_BITS]  # that came already, in the lines at hand
    cdef field *fields  # number 0 is where a record begins
    cdef long long record
    cdef int look(self, Reader reader, object left_out) except -1
    cdef int look_at(self, int i) except -1
    cdef int find(self, int last, const char **at, const char *limit) except -1 nogil
    cdef int look_up(self, int last, const char **at) except -1
    cdef int add(self, bytes text) except -1
    cdef int read(self, const char *at, const char *end, const char *limit, double *row) except -1 nogil
    cdef Py_ssize_t read_some(self, const char *text, Py_ssize_t size, const long long *starts, const long long *ends,
                              Py_ssize_t most, double *rows) except -1 nogil
    cdef int are_compositions(self, double *row) except -1
    cdef int read_value(self, const char **at, const char *limit, place *how, double *row) except -1 nogil
    cdef int read_level(self, const char *text, long size, place *how, double *row) except -1 nogil
    cdef int find_level(self, const char *text, long size, place *how, double *code) except -1
    cdef int read_odd(self, const char *begin, const char *end, place *how, double *row) except -1
