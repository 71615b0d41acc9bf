# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Columns of numbers of any type, with gaps, that the kernels read where they lie."""

import numpy as np

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Realloc
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport NAN, isinf
from libc.stdint cimport uint8_t

from streammix.core.engine cimport (
    BIT, FLOAT32, FLOAT64, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64,
    MAY_BE_INFINITE, MAY_BE_MISSING, SCANNED, cells, lie_together, read_cells, read_rows, scan_column, scan_together, table,
)

from streammix.core.transforms cimport transformed

from streammix.core.rules import KINDS

# the kinds of cells by the names of Arrow's types, and by their size and NumPy's (buffers') codes
ARROW_KINDS = {
    "double": FLOAT64, "float": FLOAT32, "int8": INT8, "int16": INT16, "int32": INT32, "int64": INT64,
    "uint8": UINT8, "uint16": UINT16, "uint32": UINT32, "uint64": UINT64, "bool": BIT,
}
cdef int[11] SIZES = [8, 4, 1, 2, 4, 8, 1, 2, 4, 8, 0]
cdef double MISSING = NAN
cdef enum: SOME = 512  # cells at a time: they stay in the first-level cache


cdef int buffer_kind(const char *code, Py_ssize_t size) noexcept:
    """The kind of an array's numbers by their code in the buffer protocol; -1: none that can be read."""
    if code[0] in b"@=":
        code += 1
    if code[0] == 0 or code[1] != 0:
        return -1
    if code[0] == b"d" and size == 8:
        return FLOAT64
    if code[0] == b"f" and size == 4:
        return FLOAT32
    if code[0] in b"bhilq":
        return INT8 if size == 1 else INT16 if size == 2 else INT32 if size == 4 else INT64
    if code[0] in b"BHILQ?":
        return UINT8 if size == 1 else UINT16 if size == 2 else UINT32 if size == 4 else UINT64
    return -1


cdef class Table:
    """Columns of numbers that the kernels read where they lie; null and NaN are missing.

    Parameters
    ----------
    columns
        For each column an array of numbers (1-D, any stride), None where all is missing, or (field, kind) of `frame`.
    n_rows
        How many rows there are; as many as in the first column, an array, where left out.
    frame
        What has ``__arrow_c_stream__``: the fields that columns refer to.
    """

    def __cinit__(self, list columns, n_rows=None, frame=None):
        cdef int c, n = len(columns)
        cdef long s
        self.owners = list(columns)
        self.n_rows = len(columns[0]) if n_rows is None else n_rows
        self.t.n_columns = n
        self.t.n_segments = 1
        self.t.gaps = <char *>PyMem_Calloc(max(n, 1), 1)
        if frame is not None and self.n_rows:
            self.take_batches(frame.__arrow_c_stream__())
            self.t.n_segments = self.n_batches
        self.t.first = <long *>PyMem_Calloc(self.t.n_segments + 1, sizeof(long))
        self.t.cells = <cells *>PyMem_Calloc(max(self.t.n_segments * n, 1), sizeof(cells))
        self.t.first[1] = self.n_rows
        for s in range(self.n_batches):
            self.t.first[s + 1] = self.t.first[s] + self.batches[s].length
        for c in range(n):
            self.t.gaps[c] = MAY_BE_MISSING | MAY_BE_INFINITE
            column = columns[c]
            if isinstance(column, tuple):
                for s in range(self.n_batches):
                    bind_field(&self.t.cells[s * n + c], &self.batches[s], column[0], column[1])
            else:
                self.bind_array(c, column)

    def __dealloc__(self):
        cdef long s
        for s in range(self.n_batches):
            self.batches[s].release(&self.batches[s])
        PyMem_Free(self.batches)
        PyMem_Free(self.t.first)
        PyMem_Free(self.t.cells)
        PyMem_Free(self.t.gaps)

    cdef int take_batches(self, capsule) except -1:
        """Take over the batches of a stream; the capsule releases the stream itself."""
        cdef ArrowArrayStream *stream = <ArrowArrayStream *>PyCapsule_GetPointer(capsule, "arrow_array_stream")
        cdef ArrowArray *batch
        cdef long room = 0
        while True:
            if self.n_batches == room:
                room = 2 * room + 1
                batch = <ArrowArray *>PyMem_Realloc(self.batches, room * sizeof(ArrowArray))
                if batch == NULL:
                    raise MemoryError
                self.batches = batch
            batch = &self.batches[self.n_batches]
            if stream.get_next(stream, batch):
                raise ValueError(stream.get_last_error(stream).decode())
            if batch.release == NULL:
                return 0
            self.n_batches += 1

    cdef int bind_array(self, int c, array) except -1:
        """Let a column be an array, or missing, in every segment."""
        cdef Py_buffer view
        cdef cells first
        cdef long s
        first.valid = NULL
        first.kind = FLOAT64
        first.data = <const char *>&MISSING
        first.stride = 0
        if array is not None:
            PyObject_GetBuffer(array, &view, PyBUF_STRIDES | PyBUF_FORMAT)
            first.kind = buffer_kind(view.format, view.itemsize)
            first.data = <const char *>view.buf
            first.stride = view.strides[0]
            is_right = view.ndim == 1 and view.shape[0] == self.n_rows and first.kind >= 0
            PyBuffer_Release(&view)
            if not is_right:
                raise ValueError("a column that isn't one number a row")
        self.owners[c] = array
        for s in range(self.t.n_segments):
            self.t.cells[s * self.t.n_columns + c] = first
            self.t.cells[s * self.t.n_columns + c].data += self.t.first[s] * first.stride
        return 0

    def check(self, const double[::1] low, const double[::1] high, const uint8_t[::1] whole):
        """Look at every cell: {column: the first row outside its bounds, or not whole where it has to be}.

        Afterwards it is known which columns have no gaps.
        """
        cdef int c, known = 0, is_within
        cdef long bad
        cdef char gaps
        found = {}
        for c in range(self.t.n_columns):
            if c >= known and lie_together(&self.t, c, SCANNED) and not (
                    whole[c] | whole[c + 1] | whole[c + 2] | whole[c + 3]):
                with nogil:
                    is_within = scan_together(&self.t, c, &low[c], &high[c], self.t.gaps + c)
                known = c + SCANNED if is_within else known
            bad = -1
            if c >= known:
                gaps = 0
                with nogil:
                    bad = scan_column(&self.t, c, low[c], high[c], whole[c], &gaps)
                self.t.gaps[c] = gaps
            if isinf(low[c]) or isinf(high[c]):
                self.t.gaps[c] |= MAY_BE_INFINITE
            if bad >= 0:
                found[c] = bad
        return found

    def transform(self, int column, str kind):
        """Replace a column's values by what such a column holds of them, by the function that reads single records."""
        cdef long at = 0, n, i
        cdef int code = KINDS[kind]
        cdef double[SOME] block
        values = np.empty(self.n_rows)
        cdef double[::1] out = values
        with nogil:
            while at < self.n_rows:
                n = min(<long>SOME, self.n_rows - at)
                read_cells(&self.t, column, at, n, block)
                for i in range(n):
                    out[at + i] = transformed(code, block[i]) if block[i] == block[i] else NAN
                at += n
        self.bind_array(column, values)

    def rows(self, long begin, long end):
        """Rows as a matrix."""
        cdef double[:, ::1] out
        result = np.empty((end - begin, self.t.n_columns))
        if result.size:
            out = result
            read_rows(&self.t, begin, end - begin, &out[0, 0])
        return result


cdef void bind_field(cells *c, ArrowArray *batch, int field, int kind) noexcept:
    """Let a column of a segment be a field of a record batch."""
    cdef ArrowArray *array = batch.children[field]
    cdef long offset = array.offset + batch.offset
    c.kind = kind
    c.stride = SIZES[kind]
    c.data = <const char *>array.buffers[1]
    if kind == BIT:
        c.bit = offset
    else:
        c.data += offset * c.stride
    c.valid = <const uint8_t *>array.buffers[0] if array.null_count != 0 else NULL
    c.valid_bit = offset


def table_of(rows):
    """The table of a matrix."""
    return Table(list(rows.T), len(rows))


def most_responsible(const double[:, :] responsibilities):
    """The most responsible component of each row, the first among equals."""
    cdef Py_ssize_t i, k
    cdef int best
    result = np.zeros(responsibilities.shape[0], dtype=np.int32)
    cdef int[::1] out = result
    for i in range(responsibilities.shape[0]):
        best = 0
        for k in range(1, responsibilities.shape[1]):
            if responsibilities[i, k] > responsibilities[i, best]:
                best = <int>k
        out[i] = best
    return result
