"""Python's and NumPy's real numbers as they lie in memory (scalars.h); a module that reads some notes their types."""

from cpython.object cimport PyObject

cdef extern from "scalars.h":
    void note_scalar(PyObject *, char) noexcept
    bint whole_number(PyObject *, double *) noexcept
    bint plain_number(PyObject *, double *) noexcept
    bint is_integral(double) noexcept nogil


cdef inline int find_scalars() except -1:
    """Note those of NumPy's types whose numbers lie right behind an object's head; the others are asked for theirs."""
    import numpy as np

    for code in "dlf?ibBhHILqQeg":
        value = np.dtype(code).type(1)
        if type(value).__basicsize__ >= sizeof(PyObject) + value.itemsize:
            note_scalar(<PyObject *>value, ord(code))
    return 0
