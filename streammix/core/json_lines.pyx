# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reading lines of JSON into rows of doubles, as the reader reads the dicts that a decoder makes of them.

A line that `names` leaves to the decoder is decoded: what it makes of that is read, or refused.
"""

import numpy as np

from libc.string cimport memchr

from streammix.core.names cimport Names
from streammix.core.reader cimport Reader

from streammix.errors import RecordError

cdef enum: AT_ONCE = 512  # lines between two looks at whether Python is asked so often that it had better be held
cdef enum: ASKED_ONCE_IN = 16


def line_ends(bytes text):
    """Return the positions of the line feeds in a text."""
    cdef const char *begin = text
    cdef const char *end = begin + len(text)
    cdef const char *at = begin
    cdef Py_ssize_t n = 0, room = len(text) // 128 + 64
    cdef long long[::1] view
    found = np.empty(room, dtype=np.int64)
    view = found
    while at < end:
        at = <const char *>memchr(at, 10, end - at)
        if at == NULL:
            break
        if n == room:
            room *= 2
            found = np.resize(found, room)
            view = found
        view[n] = at - begin
        n += 1
        at += 1
    return found[:n]


cdef class JsonLines:
    """A sequence of records, each of which is a dict to whoever asks for it; one that can't be read raises RecordError.

    Parameters
    ----------
    data, starts, ends
        Line i is ``data[starts[i]:ends[i]]``.
    names
        The fields of the stream.
    decode
        Called with a line, returns the record as a dict, its keys in their order, or raises RecordError.
    left_out
        The fields that are no part of the records.
    """

    cdef bytes data
    cdef const long long[::1] starts, ends
    cdef Names names
    cdef object decode, left_out

    def __init__(self, bytes data, starts, ends, Names names, object decode, object left_out=frozenset()):
        self.data = data
        self.starts = starts
        self.ends = ends
        self.names = names
        self.decode = decode
        self.left_out = left_out

    def __len__(self):
        return self.starts.shape[0]

    def __getitem__(self, index):
        if isinstance(index, slice):
            begin, end, step = index.indices(len(self))
            if step != 1:
                raise ValueError("records are taken in order")
            starts, ends = self.starts[begin:max(begin, end)], self.ends[begin:max(begin, end)]
            return JsonLines(self.data, starts, ends, self.names, self.decode, self.left_out)
        cdef Py_ssize_t i = range(len(self))[index]
        record = self.decode(self.data[self.starts[i]:self.ends[i]])
        return {name: value for name, value in record.items() if name not in self.left_out} if self.left_out else record

    def begin_as_objects(self):
        """Whether each line begins as an object does, and so is none that counts as no record."""
        cdef const char *text = self.data
        cdef Py_ssize_t i, size = len(self.data)
        for i in range(len(self)):
            if not 0 <= self.starts[i] < size or text[self.starts[i]] != b'{':
                return False
        return True

    def without(self, fields):
        """Return the records without some fields."""
        return JsonLines(self.data, self.starts, self.ends, self.names, self.decode, self.left_out.union(fields))

    def rows(self, Reader reader):
        """Read the records as `Reader.rows` reads dicts; the indices of the good ones are a range where none is refused."""
        cdef Py_ssize_t n = 0, i = 0, done = 0, most, n_lines = len(self), size = len(self.data)
        cdef double[:, ::1] view
        cdef const char *text = self.data
        cdef Names names = self.names
        cdef bint is_plain = not reader.rules.externals
        result = np.empty((max(n_lines, 1), reader.n_columns))
        view = result
        good, unknown, refused = [], [], []
        names.look(reader, self.left_out)
        while i < n_lines:
            most = min(AT_ONCE, n_lines - i) if is_plain else 0
            if most and names.n_asked * ASKED_ONCE_IN > done:
                names.n_asked = 0
                done = names.read_some(text, size, &self.starts[i], &self.ends[i], most, &view[n, 0])
            elif most:
                names.n_asked = 0
                with nogil:
                    done = names.read_some(text, size, &self.starts[i], &self.ends[i], most, &view[n, 0])
            if refused:
                good += range(i, i + done)
            n += done
            i += done
            if done == most and most:
                continue
            try:
                reader.read(<dict>self[i], &view[n, 0])
            except RecordError as error:
                if not refused:
                    good = list(range(i))
                refused.append((i, error.with_traceback(None)))  # without the frames that it came through
                i += 1
                continue
            if reader.has_news:
                if reader.new_fields:
                    break
                for column, key in reader.unseen:
                    unknown.append((n, column, key))
            if refused:
                good.append(i)
            n += 1
            i += 1
        return result[:n], good if refused else range(n), unknown, refused
