# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The per-record half of Mixture: from a Python call to the kernels and back."""

import numpy as np

from cpython.dict cimport PyDict_Copy
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.list cimport PyList_GET_ITEM
from cpython.object cimport PyObject
from libc.math cimport INFINITY

from streammix.core.engine cimport IMPOSSIBLE, LEARNT, Engine, log_density, total_mass
from streammix.core.reader cimport Reader

from streammix.core.values import as_record, short
from streammix.errors import RecordError

cdef extern from "Python.h":
    ctypedef struct PyFloatObject:
        double ob_fval
    Py_ssize_t references_to "Py_REFCNT"(PyObject *)

cdef double LARGEST_WEIGHT = 1e100


cdef double other_weight(object w) except? -1.0:
    """A weight that is not a Python float; None is 1."""
    try:
        return 1.0 if w is None else w
    except (TypeError, ValueError, OverflowError):
        raise RecordError(
            f"a record's weight must be a positive number up to {LARGEST_WEIGHT:g}, not {short(w)}"
        ) from None


cdef class Waiting:
    """The rows of a mini-batch that isn't full yet."""

    cdef readonly object rows, weights
    cdef double[:, ::1] row_view
    cdef double[::1] weight_view
    cdef public int n
    cdef readonly int size

    def __cinit__(self, int size, int n_columns):
        self.size = size
        self.n = 0
        self.rows = np.empty((size, n_columns))
        self.weights = np.empty(size)
        self.row_view = self.rows
        self.weight_view = self.weights

    def add(self, rows, weights):
        """Append rows and their weights; there is room for them."""
        end = self.n + len(rows)
        self.rows[self.n:end] = rows
        self.weights[self.n:end] = weights
        self.n = end


cdef class Answers:
    """Makes the dicts {0: r0, 1: r1, …} of responsibilities.

    An answer is a copy of a dict kept here. A number that nobody but this object holds any more, as after the answer
    was dropped, takes its next value in place; any other is left to whoever holds it. Two dicts take turns, since the
    last answer is often still in its caller's hands.
    """

    cdef list dicts, numbers
    cdef int turn
    cdef readonly int size

    def __cinit__(self, int size):
        cdef double nothing = 0.0
        self.size = size
        self.numbers = [[nothing for _ in range(size)] for _ in range(2)]  # each number is an object of its own
        self.dicts = [dict(enumerate(numbers)) for numbers in self.numbers]

    cdef dict answer(self, const double *r):
        cdef list numbers
        cdef dict kept
        cdef PyObject *number
        cdef int k
        self.turn = 1 - self.turn
        numbers = self.numbers[self.turn]
        kept = self.dicts[self.turn]
        for k in range(self.size):
            number = <PyObject *>PyList_GET_ITEM(numbers, k)
            if references_to(number) == 2:  # the list's and the dict's
                (<PyFloatObject *>number).ob_fval = r[k]
            else:
                numbers[k] = kept[k] = r[k]
        return PyDict_Copy(kept)


cdef class Records:
    """The per-record half of a mixture: what runs at every record is here, the rest calls up to the subclass.

    The subclass says by `_bind` where there is a state to learn into, and defines `_learn_slow` for every other moment
    (warming up, new fields, newly missing fields), `_learn_waiting` for full mini-batches, `_average` for what follows
    each so-manieth record, `_codes_of` for new levels, and, where there is a `_clock`, `_learn_timed`.
    """

    cdef Engine engine, learner
    cdef Reader reader
    cdef Waiting waiting
    cdef int every
    cdef bint takes_levels
    cdef Answers answers
    cdef public long long _n_seen
    cdef public object _clock

    def _bind(self, Engine engine, Engine learner, Reader reader, int every, Waiting waiting, bint takes_levels):
        """Take the engine that predicts, the one that learns here (or None), and where rows may wait (or None).

        After each `every`-th record the subclass averages, where it is not 0. `takes_levels`: no record is refused for
        its values together, so that its new levels can be taken at once.
        """
        self.engine = engine
        self.learner = learner
        self.reader = reader
        self.every = every
        self.waiting = waiting
        self.takes_levels = takes_levels
        if engine is not None and (self.answers is None or self.answers.size != engine.n_components):
            self.answers = Answers(engine.n_components)

    @property
    def _engine(self):
        return self.engine

    @property
    def _reader(self):
        return self.reader

    def learn_one(self, x, w=1.0):
        """Learn one record.

        Parameters
        ----------
        x
            The record: field -> value. An absent field, None and NaN are missing.
        w
            Its weight, a positive number; a weight of 2 counts as two records, None as 1.

        Raises
        ------
        RecordError
            If the record is refused: it names the field, the value and what was expected; the model is as before.
        """
        cdef double weight = PyFloat_AS_DOUBLE(w) if PyFloat_CheckExact(w) else other_weight(w)
        if self._clock is None:
            self.learn(x, weight)
        else:
            self._learn_timed(x, weight)

    def _learn_weighed(self, x, double weight):
        """Learn one record, of a weight that its time is reckoned in."""
        self.learn(x, weight)

    cdef int learn(self, x, double weight) except -1:
        cdef Engine learner = self.learner
        cdef Reader reader = self.reader
        cdef Waiting waiting
        if self.engine is None or not isinstance(x, dict) or not 0.0 < weight <= LARGEST_WEIGHT:
            self._learn_slow(x, weight)
            return 0
        if learner is None:
            waiting = self.waiting
            if waiting is None or waiting.n == waiting.size:
                self._learn_slow(x, weight)
                return 0
            reader.read(<dict>x, &waiting.row_view[waiting.n, 0])
            if reader.has_news and not self.take_levels(reader, &waiting.row_view[waiting.n, 0]):
                self._learn_slow(x, weight)
                return 0
            waiting.weight_view[waiting.n] = weight
            waiting.n += 1
            self._n_seen += 1
            if waiting.n == waiting.size:
                self._learn_waiting()
            return 0
        reader.read(<dict>x, learner.e.row)
        if reader.has_news and not self.take_levels(reader, learner.e.row):
            self._learn_slow(x, weight)
        elif learner.run.learn(&learner.e, learner.e.row, weight) == LEARNT:
            self._n_seen += 1
            if self.every and self._n_seen % self.every == 0:
                self._average()
        else:
            self._learn_slow(x, weight)
        return 0

    cdef bint take_levels(self, Reader reader, double *row) except -1:
        """Give the unknown levels of a record their places; whether that is all that is new, and the engine stays."""
        if reader.new_fields or not self.takes_levels:
            return False
        codes = self._codes_of(reader.unseen)
        if codes is None:
            return False
        for (column, _), code in zip(reader.unseen, codes):
            row[<int>column] = code
        return True

    cdef int expect(self, x, bint alone) except -1:
        """The E-step of a record, by the components alone or with the background; 0 where there is no state yet."""
        cdef Engine engine = self.engine
        cdef Reader reader = self.reader
        cdef const double *width
        cdef int status
        if engine is None:
            return 0
        reader.read(<dict>x if isinstance(x, dict) else as_record(x), engine.e.row)
        width = engine.e.width
        if alone:
            engine.e.width = NULL
        status = engine.run.expect(&engine.e, engine.e.row)
        engine.e.width = width
        return 2 if status == IMPOSSIBLE else 1

    def predict_proba_one(self, x):
        """Return the responsibilities of the components for a record, {0: r0, 1: r1, …}; uniform while warming up.

        Raises
        ------
        RecordError
            If the record is refused.
        """
        if self.expect(x, True) != 1:
            return dict(enumerate(self.weights.tolist()))
        return self.answers.answer(self.engine.e.r)

    def predict_one(self, x):
        """Return the component with the largest responsibility for a record; 0 while warming up."""
        cdef int k, best = 0
        if self.expect(x, True) != 1:
            return 0
        for k in range(1, self.engine.e.k):
            if self.engine.e.r[k] > self.engine.e.r[best]:
                best = k
        return best

    def log_density_one(self, x):
        """Return log p(x) of a record under the mixture; 0.0 while warming up."""
        cdef int status = self.expect(x, False)
        return log_density(&self.engine.e, total_mass(&self.engine.e)) if status == 1 else -INFINITY if status else 0.0

    def score_one(self, x):
        """Return −log p(x): the higher, the more anomalous; 0.0 while warming up."""
        cdef int status = self.expect(x, False)
        if status != 1:
            return INFINITY if status else 0.0
        return 0.0 - log_density(&self.engine.e, total_mass(&self.engine.e))  # -0.0 is no score

