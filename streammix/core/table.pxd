from libc.stdint cimport int64_t

from streammix.core.engine cimport table

cdef extern from "arrow.h":
    ctypedef struct ArrowArray "struct ArrowArray":
        int64_t length, null_count, offset
        const void **buffers
        ArrowArray **children
        void (*release)(ArrowArray *) noexcept
    ctypedef struct ArrowArrayStream "struct ArrowArrayStream":
        int (*get_next)(ArrowArrayStream *, ArrowArray *) noexcept
        const char *(*get_last_error)(ArrowArrayStream *) noexcept


cdef class Table:
    cdef table t
    cdef list owners
    cdef ArrowArray *batches
    cdef long n_batches
    cdef readonly long n_rows
    cdef int take_batches(self, capsule) except -1
    cdef int bind_array(self, int c, array) except -1
