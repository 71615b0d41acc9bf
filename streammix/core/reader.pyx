# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reading a record, a dict, into a row of doubles: NaN is missing, a level is its code.

A stream's records tend to have the same keys in the same order, and often the very same key objects: the reader keeps
the key last seen at each position and looks one up only where another object comes.
"""

from cpython.dict cimport PyDict_Next
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.long cimport PyLong_AsDouble, PyLong_CheckExact
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_CheckExact
from libc.math cimport INFINITY, NAN, floor, isnan, log
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp

from streammix.errors import RecordError

cdef extern from "Python.h":
    double PyFloat_AsDouble(object) except? -1.0
    # on borrowed references, which must not be counted at every field
    bint is_float "PyFloat_CheckExact"(PyObject *)
    double float_value "PyFloat_AS_DOUBLE"(PyObject *)
    bint is_text "PyUnicode_CheckExact"(PyObject *)
    int kind_of "PyUnicode_KIND"(PyObject *)
    Py_ssize_t length_of "PyUnicode_GET_LENGTH"(PyObject *)
    const void *data_of "PyUnicode_DATA"(PyObject *)

cdef int MOST_POSITIONS = 4096
cdef enum: REAL, WHOLE, LOG, LEVEL
KINDS = {"real": REAL, "whole": WHOLE, "log": LOG, "level": LEVEL}

LARGEST_LEVEL = 10**300  # whole numbers beyond it are no levels: a file could not hold them
UNSEEN = 2**31 - 1  # the code of a level that the model doesn't know


cdef inline bint same_text(PyObject *a, PyObject *b) noexcept:
    """Whether two exact strings are equal."""
    if not is_text(a) or not is_text(b) or kind_of(a) != kind_of(b) or length_of(a) != length_of(b):
        return False
    return memcmp(data_of(a), data_of(b), length_of(a) * kind_of(a)) == 0


cdef class Reader:
    """Reads dicts into rows.

    Parameters
    ----------
    rules
        One a column: (field, kind, low, high, codes, is_open, is_shared). A field may fill several columns; `codes` maps level
        keys to codes, `is_open` says whether an unknown level is welcome. Columns that are shared out among
        components of different families (is_shared is 1) take infinity for a value outside their support, as long as
        one takes it, or (2) whatever it is.
    externals
        (column, names of fields, distribution): columns that hold log densities of objects from elsewhere.
    explain
        Called as explain(column, value), returns the sentence for a value that the column refuses.
    """

    def __cinit__(self, list rules, list externals, object explain):
        cdef int n = len(rules), i
        self.n_columns = n + len(externals)
        self.rules = rules
        self.explain = explain
        self.externals = externals
        self.first_column = {}
        self.position_keys = []
        self.position_count = 0
        self.position_column = NULL
        self.position_key = NULL
        self.next_column = <int *>malloc(sizeof(int) * (n + 1))
        self.kind = <int *>malloc(sizeof(int) * (n + 1))
        self.low = <double *>malloc(sizeof(double) * (n + 1))
        self.high = <double *>malloc(sizeof(double) * (n + 1))
        self.shared = <int *>malloc(sizeof(int) * (n + 1))
        self.codes = [rule[4] for rule in rules]
        self.unseen = []
        last = {}
        for i, (field, kind, low, high, codes, _, is_shared) in enumerate(rules):
            self.kind[i] = KINDS[kind]
            self.low[i] = low
            self.high[i] = high
            self.shared[i] = is_shared
            self.next_column[i] = -1
            if field in last:
                self.next_column[<int>last[field]] = i
            else:
                self.first_column[field] = i
            last[field] = i
        for _, names, _ in externals:
            for name in names:
                self.first_column.setdefault(name, -1)

    def __dealloc__(self):
        free(self.position_column)
        free(self.position_key)
        free(self.next_column)
        free(self.kind)
        free(self.low)
        free(self.high)
        free(self.shared)

    cdef int read(self, dict x, double *row) except -1:
        """Fill the row; `unseen` then lists (column, level) of unknown levels. Nothing is learnt here."""
        cdef Py_ssize_t at = 0
        cdef PyObject *key
        cdef PyObject *value
        cdef int position = 0, column, i, known = 0
        cdef double v
        for i in range(self.n_columns):
            row[i] = NAN
        if self.unseen:
            self.unseen = []
        while PyDict_Next(x, &at, &key, &value):
            if position < self.position_count and key == self.position_key[position]:
                column = self.position_column[position]
            else:
                column = self.slow_column(position, <object>key)
            position += 1
            if column >= 0 and self.shared[column]:
                self.read_shared(column, <object>value, row)
                known = 1
                continue
            while column >= 0:
                if self.kind[column] == REAL and is_float(value):
                    v = float_value(value)
                    if not (self.low[column] <= v <= self.high[column]) and not isnan(v):
                        self.refuse(column, <object>value)
                else:
                    v = self.convert(column, <object>value)
                row[column] = v
                known = 1
                column = self.next_column[column]
        if self.externals:
            known += self.read_externals(x, row_view(row, self.n_columns))
        if known == 0:
            if x:
                raise RecordError(f"the record {short(x)} has none of the model's fields: "
                                  f"{', '.join(map(repr, self.first_column))}")
            raise RecordError("the record is empty")
        return 0

    cdef int read_shared(self, int column, object value, double *row) except -1:
        """Fill the columns of a field whose components differ in support: infinity where the value is outside."""
        cdef int fits = self.shared[column] == 2
        refused = None
        while column >= 0:
            try:
                row[column] = self.convert(column, value)
                fits = 1
            except RecordError as error:
                refused = refused or error
                row[column] = INFINITY
            column = self.next_column[column]
        if not fits:
            raise refused
        return 0

    cdef int slow_column(self, int position, object key) except -2:
        """The first column of a key that is not the object last seen at its position; adopts it."""
        cdef int column
        if not isinstance(key, str):
            raise RecordError(f"a field's name must be a string, not {short(key)}")
        if position < self.position_count and same_text(<PyObject *>key, self.position_key[position]):
            column = self.position_column[position]
        else:
            column = self.first_column.get(key, -1)
        if position == self.position_count:
            if position >= MOST_POSITIONS:
                return column
            self.position_column = <int *>realloc(self.position_column, sizeof(int) * (position + 1))
            self.position_key = <PyObject **>realloc(self.position_key, sizeof(PyObject *) * (position + 1))
            self.position_keys.append(key)
            self.position_count += 1
        elif position > self.position_count:
            return column
        else:
            self.position_keys[position] = key
        self.position_key[position] = <PyObject *>key
        self.position_column[position] = column
        return column

    cdef double convert(self, int column, object value) except? -1.0:
        cdef double v = NAN
        if value is None and self.kind[column] != LEVEL:
            return NAN
        if self.kind[column] == LEVEL:
            return self.level(column, value)
        if PyFloat_CheckExact(value):
            v = PyFloat_AS_DOUBLE(value)
        elif PyLong_CheckExact(value):
            try:
                v = PyLong_AsDouble(value)
            except OverflowError:
                self.refuse(column, value)
        else:
            v = self.number(column, value)
        if isnan(v):
            return NAN
        if not (self.low[column] <= v <= self.high[column]) or (self.kind[column] == WHOLE and v != floor(v)):
            self.refuse(column, value)
        return log(v) if self.kind[column] == LOG else v

    cdef double number(self, int column, object value) except? -1.0:
        """A number of another type: bool, NumPy's, Decimal, …: whatever has __float__ and isn't text."""
        if value is True or value is False:
            return 1.0 if value else 0.0
        if is_missing(value):
            return NAN
        if isinstance(value, (str, bytes, complex)) or not hasattr(type(value), "__float__"):
            self.refuse(column, value)
        if hasattr(value, "dtype") and (value.dtype.kind not in "biuf" or value.ndim):
            self.refuse(column, value)
        try:
            return PyFloat_AsDouble(value)
        except (TypeError, ValueError, OverflowError):
            self.refuse(column, value)

    cdef double level(self, int column, object value) except? -1.0:
        cdef dict codes = self.codes[column]
        if PyUnicode_CheckExact(value):
            code = codes.get(value)
            if code is not None:
                return <double>code
        key = level_key(value)
        if key is None or (isinstance(key, str) and not is_sound_text(key)):
            self.refuse(column, value)
        code = codes.get(key)
        if code is not None:
            return <double>code
        if key == ("null", None):
            return NAN
        if not self.rules[column][5]:
            self.refuse(column, value)
        self.unseen.append((column, key))
        return UNSEEN

    def refuse(self, int column, value):
        raise RecordError(self.explain(column, value), field=self.rules[column][0])

    def read_externals(self, dict x, double[::1] row):
        known = 0
        for column, names, distribution in self.externals:
            values = []
            for name in names:
                value = x.get(name)
                if is_missing(value):
                    continue
                try:
                    if isinstance(value, (str, bytes, complex)):
                        raise TypeError
                    v = float(value)
                except (TypeError, ValueError, OverflowError):
                    v = INFINITY
                if isnan(v):
                    continue
                if not -1e100 <= v <= 1e100:
                    raise RecordError(f"field {name!r}: expected a finite number, got {short(value)}", field=name)
                values.append(v)
            known += any(name in x for name in names)
            if not values:
                continue
            if len(values) < len(names):
                raise RecordError(f"fields {names!r}: {distribution!r} needs all of them or none")
            row[column] = distribution.log_density([values[0] if len(names) == 1 else values])[0]
        return known

    def rows(self, list records):
        """Read records one by one: (rows, indices of the good ones, [(row, column, key) of unknown levels], refusals).

        Refusals are (index, RecordError).
        """
        import numpy as np

        cdef double[:, ::1] view
        cdef Py_ssize_t n = 0, i
        result = np.empty((max(len(records), 1), self.n_columns))
        view = result
        good, unknown, refused = [], [], []
        for i in range(len(records)):
            try:
                record = records[i]
                if not isinstance(record, dict):
                    record = as_record(record)
                self.read(<dict>record, &view[n, 0])
            except RecordError as error:
                refused.append((i, error))
                continue
            for column, key in self.unseen:
                unknown.append((n, column, key))
            good.append(i)
            n += 1
        return result[:n], good, unknown, refused

    def row(self, dict x):
        """Return the row of one record and the unknown levels in it."""
        import numpy as np

        result = np.empty(self.n_columns)
        cdef double[::1] view = result
        self.read(x, &view[0])
        return result, list(self.unseen)


cdef double[::1] row_view(double *row, int n):
    return <double[:n]>row


cpdef object level_key(object value):
    """The key of a level: itself for text, (type's name, value) for others, so that True is not 1; None: no level."""
    if PyUnicode_CheckExact(value):
        return value
    if value is None or is_missing(value):
        return ("null", None)
    if hasattr(value, "dtype"):
        if value.dtype.kind not in "biufU" or value.ndim:
            return None
        value = value.item()
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        if value != value:
            return ("null", None)
        return ("int", int(value)) if value.is_integer() else None
    if isinstance(value, int):
        return ("int", int(value)) if abs(value) < LARGEST_LEVEL else None
    return None


def level_of(object key):
    """The level behind a key."""
    return key if isinstance(key, str) else key[1]


cpdef bint is_missing(object value):
    """None, and pandas's NA and NaT and NumPy's masked, which can't be compared."""
    return value is None or type(value).__name__ in ("NAType", "NaTType", "MaskedConstant")


def is_sound_text(str text):
    """Whether text comes back the same from a file: two surrogate halves in a row would come back as one character."""
    return text.isascii() or text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") == text


def as_record(x):
    """A plain dict of a record given as another mapping."""
    if not hasattr(x, "keys"):
        raise RecordError(f"a record must be a dict of fields, not {short(x)}")
    return dict(x)


def log_column(const double[:] values):
    """Logarithms, by the very function that reads single records."""
    import numpy as np

    cdef Py_ssize_t i
    result = np.empty(values.shape[0])
    cdef double[::1] out = result
    for i in range(values.shape[0]):
        out[i] = log(values[i])
    return result


def short(value):
    """A value's repr, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # whole numbers beyond Python's limit of digits
        text = f"a {type(value).__name__} too long to print"
    return text if len(text) <= 80 else text[:77] + "..."
