"""What the columns of a row hold of a field's value."""

from libc.math cimport log, log1p

cdef enum:
    REAL
    WHOLE
    LOG
    COMPLEMENT
    LOG_COMPLEMENT
    ALIKE  # several columns of one family
    LEVEL
    SHARED  # columns of several families


cdef inline double transformed(int kind, double v) noexcept nogil:
    if kind == LOG:
        return log(v)
    if kind == COMPLEMENT:
        return 1.0 - v
    return log1p(-v) if kind == LOG_COMPLEMENT else v
