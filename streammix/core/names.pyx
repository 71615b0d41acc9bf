# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reading one line of JSON into a row of doubles, by the names of the fields that came before.

Flat objects of numbers and of text without escapes are read where they lie. Any other value is handed to the decoder,
and so is the whole line where something is new or wrong.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.object cimport PyObject
from libc.math cimport NAN, isnan
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memset

from streammix.core.reader cimport Reader, place, set_place
from streammix.core.rules cimport Rules, find_code
from streammix.core.scalars cimport is_integral
from streammix.core.transforms cimport LEVEL, WHOLE, transformed

from streammix.errors import RecordError

cdef extern from "json.h":
    int FAR
    ctypedef struct power_of_ten:
        unsigned long long high, low
        long long exponent
    int begins_with(const char *, const char *, const char *, long) nogil
    unsigned long long hash_of(const char *, long, int, int) nogil
    const char *skip_space(const char *) nogil
    ctypedef enum text_kind:
        ASCII
        UNICODE
        ESCAPED
    const char *skip_text(const char *, text_kind *) nogil
    const char *skip_value(const char *) nogil
    const char *read_number(const char *, const char *, const power_of_ten *, double *) nogil
    const char *read_word(const char *, const char *, double *) nogil

cdef enum: MOST_NAMES = 1000  # of fields, beyond which no record is expected to be like another
cdef enum: MOST_PASSED = 4  # fields that may be absent where the next one is sought
cdef enum: PASSED_OVER = -1, WATCHED = -2  # a place's column where the model doesn't read its field

cdef power_of_ten[2 * 100 + 1] powers


def _work_out_powers():
    for q in range(-FAR, FAR + 1):
        digits = (10 ** max(q, 0) << 512) // 10 ** max(-q, 0)
        surplus = digits.bit_length() - 128
        digits >>= surplus
        powers[q + FAR].high = digits >> 64
        powers[q + FAR].low = digits & (1 << 64) - 1
        powers[q + FAR].exponent = surplus - 512


_work_out_powers()


cdef class Names:
    """The fields of a stream's records so far: how they are written, and in which order they come.

    Parameters
    ----------
    decode
        Called with the bytes of a JSON value, returns the value, or raises RecordError.
    """

    def __cinit__(self, object decode):
        self.decode = decode
        self.places = {}
        self.names = [None]
        self.keys = [None]
        self.fields = <field *>calloc(1, sizeof(field))

    def __dealloc__(self):
        free(self.fields)

    cdef int look(self, Reader reader, object left_out) except -1:
        """Note how a reader reads the fields."""
        cdef int i
        self.reader = reader
        self.left_out = left_out
        self.n_columns = reader.n_columns
        self.kinds = reader.rules.kind
        self.next_column = reader.rules.next_column
        self.has_compositions = bool(reader.rules.compositions)
        memset(self.levels, 0, sizeof(self.levels))
        for i in range(1, len(self.names)):
            self.look_at(i)
        return 0

    cdef int look_at(self, int i) except -1:
        cdef place *how = &self.fields[i].how
        name, reader = self.names[i], self.reader
        how.column = PASSED_OVER if name in self.left_out else reader.rules.first_column.get(name, WATCHED)
        if how.column >= 0:
            return set_place(how, reader.rules)
        if how.column == WATCHED and (reader.ignored is None or name in reader.ignored):
            how.column = PASSED_OVER
        how.low = reader.constant.get(name, NAN) if how.column == WATCHED else NAN
        return 0

    cdef int find(self, int last, const char **at, const char *limit) except -1 nogil:
        """The field that comes after another, and what comes after its key; 0 where that is left to the decoder."""
        cdef int i = last, _
        for _ in range(MOST_PASSED):
            i = self.fields[i].next
            if i and begins_with(at[0], limit, self.fields[i].key, self.fields[i].size):
                at[0] += self.fields[i].size
                return i
        with gil:
            return self.look_up(last, at)

    cdef int look_up(self, int last, const char **at) except -1:
        cdef text_kind kind
        cdef const char *begin = at[0]
        self.n_asked += 1
        cdef const char *end = skip_text(begin + 1, &kind) if begin[0] == b'"' else NULL
        if end == NULL:
            return 0
        at[0] = end + 1
        text = begin[:at[0] - begin]
        cdef int i = self.places.get(text, 0) or self.add(text)
        if i and not self.fields[i].next:
            self.fields[i].next = self.fields[last].next
        self.fields[last].next = i
        return i

    cdef int add(self, bytes text) except -1:
        """The number of a field that is new, or written in a new way."""
        cdef int n = len(self.names)
        cdef field *fields
        if len(self.places) >= MOST_NAMES:
            return 0
        try:
            name = self.decode(text)
        except RecordError:
            return 0
        if name in self.names:
            self.places[text] = self.names.index(name)
            return self.places[text]
        fields = <field *>realloc(self.fields, (n + 1) * sizeof(field))
        if fields == NULL:
            raise MemoryError
        self.fields = fields
        self.places[text] = n
        self.names.append(name)
        self.keys.append(text + bytes(8))
        fields[n].key = PyBytes_AS_STRING(self.keys[n])
        fields[n].size = len(text)
        fields[n].next = 0
        fields[n].record = 0
        self.look_at(n)
        return n

    cdef int read(self, const char *at, const char *end, const char *limit, double *row) except -1 nogil:
        """Read a line into a row; 0 where it is left to the decoder."""
        cdef int i = 0, known = 0
        cdef field *here
        for i in range(self.n_columns):
            row[i] = NAN
        self.record += 1
        if at[0] != b'{':
            return 0
        i = 0
        while True:
            at = skip_space(at + 1)
            i = self.find(i, &at, limit)
            here = self.fields + i
            if not i or here.record == self.record:
                return 0
            here.record = self.record
            known |= here.how.column >= 0
            at = skip_space(at)
            if at[0] != b':':
                return 0
            at = skip_space(at + 1)
            if not self.read_value(&at, limit, &here.how, row):
                return 0
            at = skip_space(at)
            if at[0] == b'}':
                break
            if at[0] != b',':
                return 0
        if skip_space(at + 1) != end or not known:
            return 0
        if self.has_compositions:
            with gil:
                return self.are_compositions(row)
        return 1

    cdef Py_ssize_t read_some(self, const char *text, Py_ssize_t size, const long long *starts, const long long *ends,
                              Py_ssize_t most, double *rows) except -1 nogil:
        """Read lines into rows; return how many there are before one that is left to the decoder."""
        cdef Py_ssize_t i
        for i in range(most):
            if not 0 <= starts[i] <= ends[i] <= size or not self.read(
                    text + starts[i], text + ends[i], text + size, rows + i * self.n_columns):
                return i
        return most

    cdef int are_compositions(self, double *row) except -1:
        self.n_asked += 1
        try:
            self.reader.rules.check_compositions(row)
        except RecordError:
            return 0
        return 1

    cdef int read_value(self, const char **at, const char *limit, place *how, double *row) except -1 nogil:
        """Read a value, and what comes after it; 0 where the line is left to the decoder."""
        cdef const char *begin = at[0]
        cdef const char *end
        cdef double v
        cdef int column = how.column
        cdef text_kind kind
        if begin[0] == b'"':
            end = skip_text(begin + 1, &kind)
            if end == NULL:
                return 0
            at[0] = end + 1
            if kind == ASCII and column == PASSED_OVER:
                return 1
            if kind != ESCAPED and column >= 0 and how.kind == LEVEL:
                return self.read_level(begin + 1, end - begin - 1, how, row)
            with gil:
                return self.read_odd(begin, at[0], how, row)
        end = read_number(begin, limit, powers, &v)
        if end == NULL:
            end = read_word(begin, limit, &v)
        if end == NULL or (column >= 0 and how.kind >= LEVEL):
            at[0] = skip_value(begin)
            if at[0] == NULL:
                return 0
            with gil:
                return self.read_odd(begin, at[0], how, row)
        at[0] = end
        if isnan(v) or column == PASSED_OVER:
            return 1
        if column == WATCHED:
            return v == how.low
        if not how.low <= v <= how.high or (how.kind == WHOLE and not is_integral(v)):
            return 0
        while column >= 0:
            row[column] = transformed(self.kinds[column], v)
            column = self.next_column[column]
        return 1

    cdef int read_level(self, const char *text, long size, place *how, double *row) except -1 nogil:
        """Read a level; 0 where it is not known."""
        cdef level *here = self.levels + hash_of(text, size, how.column, LEVEL_BITS)
        if here.text == NULL or here.column != how.column or here.size != size or memcmp(here.text, text, size):
            with gil:
                if not self.find_level(text, size, how, row + how.column):
                    return 0
            here.text, here.size, here.column, here.code = text, size, how.column, row[how.column]
        row[how.column] = here.code
        return 1

    cdef int find_level(self, const char *text, long size, place *how, double *code) except -1:
        self.n_asked += 1
        try:
            key = text[:size].decode()
        except UnicodeDecodeError:
            return 0
        return find_code(how.codes, <PyObject *>key, code)

    cdef int read_odd(self, const char *begin, const char *end, place *how, double *row) except -1:
        """Read a value that the decoder has to decode; 0 where the line is left to it."""
        cdef Rules rules = self.reader.rules
        cdef Py_ssize_t n_unseen = len(rules.unseen)
        self.n_asked += 1
        try:
            value = self.decode(begin[:end - begin])
            if how.column >= 0:
                rules.fill(how.column, value, row)
        except RecordError:
            return 0
        return value is None if how.column == WATCHED else len(rules.unseen) == n_unseen
