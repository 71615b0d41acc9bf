# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Writing scored records as lines of JSON."""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef extern from "decimal.h":
    int LEAST_TEN, MOST_TEN, LONGEST_DOUBLE
    ctypedef struct ten_digits:
        unsigned long long high, low
    char *write_whole(char *, unsigned long long) nogil
    char *write_double(char *, double, const ten_digits *) nogil

cdef enum: LONGEST_REST = 240  # of a line: its keys and whole numbers, a score and an outlier

cdef ten_digits tens[324 + 292 + 1]
cdef bint are_known = False


cdef int work_out_tens() except -1:
    global are_known
    for q in range(LEAST_TEN, MOST_TEN + 1):
        digits = -(-(10 ** max(q, 0) << 1300) // 10 ** max(-q, 0))
        surplus = digits.bit_length() - 128
        digits = -(-digits >> surplus)
        tens[q - LEAST_TEN].high = digits >> 64
        tens[q - LEAST_TEN].low = digits & (1 << 64) - 1
    are_known = True
    return 0


cdef inline char *write(char *at, const char *text, Py_ssize_t size) noexcept nogil:
    memcpy(at, text, size)
    return at + size


cdef inline char *write_integer(char *at, long long value) noexcept nogil:
    if value < 0:
        at[0] = b"-"
        return write_whole(at + 1, 0 - <unsigned long long>value)
    return write_whole(at, <unsigned long long>value)


def scored_lines(bytes source, const long long[:] offsets, const int[:] components,
                 const double[:, :] responsibilities, const double[:] scores,
                 const long long[:] labels=None, const double[:] outliers=None):
    """Return one line of JSON a record.

    Parameters
    ----------
    source
        The records' source, as JSON.
    offsets, components, responsibilities, scores
        (n,), (n,), (n, K) and (n,).
    labels, outliers
        (n,), where the rows have them.
    """
    cdef Py_ssize_t i, j, n = offsets.shape[0], k = responsibilities.shape[1], size = len(source)
    cdef const char *name = source
    cdef char *begin
    cdef char *at
    if not are_known:
        work_out_tens()
    begin = at = <char *>malloc(n * (size + (k + 1) * (LONGEST_DOUBLE + 1) + LONGEST_REST) + 1)
    if begin == NULL:
        raise MemoryError
    with nogil:
        for i in range(n):
            at = write(at, b'{"position":{"source":', 22)
            at = write(at, name, size)
            at = write(at, b',"offset":', 10)
            at = write_integer(at, offsets[i])
            at = write(at, b'},"component":', 14)
            at = write_whole(at, components[i])
            at = write(at, b',"responsibilities":[', 21)
            for j in range(k):
                if j:
                    at = write(at, b",", 1)
                at = write_double(at, responsibilities[i, j], tens)
            at = write(at, b'],"score":', 10)
            at = write_double(at, scores[i], tens)
            if labels is not None:
                at = write(at, b',"label":', 9)
                at = write_integer(at, labels[i])
                at = write(at, b',"outlier":', 11)
                at = write_double(at, outliers[i], tens)
            at = write(at, b"}\n", 2)
    try:
        return begin[:at - begin]
    finally:
        free(begin)
