# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The per-record half of Mixture: from a Python call to the kernels and back."""

import numpy as np

from libc.math cimport INFINITY

from streammix.core.engine cimport IMPOSSIBLE, LEARNT, Engine, log_density, total_mass
from streammix.core.reader cimport Reader

from streammix.core.reader import as_record

cdef double LARGEST_WEIGHT = 1e100


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


cdef class Records:
    """The per-record half of a mixture: what runs at every record is here, the rest calls up to the subclass.

    The subclass sets `_engine` and `_reader` when there is a state to learn into, and defines `_learn_slow` and
    `_expect_slow` for every other moment (warming up, mini-batches, averaging, new levels, newly missing fields).
    """

    cdef Engine engine, learner
    cdef Reader reader
    cdef Waiting waiting
    cdef int every
    cdef public long long _n_seen

    def _bind(self, Engine engine, Engine learner, Reader reader, int every, Waiting waiting):
        """Take the engine that predicts, the one that learns here (or None), and where rows may wait (or None).

        Each `every`-th record is the subclass's to learn, where it is not 0.
        """
        self.engine = engine
        self.learner = learner
        self.reader = reader
        self.every = every
        self.waiting = waiting

    @property
    def _engine(self):
        return self.engine

    @property
    def _reader(self):
        return self.reader

    def learn_one(self, x, double w=1.0):
        """Learn one record.

        Parameters
        ----------
        x
            The record: field -> value. An absent field, None and NaN are missing.
        w
            Its weight, a positive number; a weight of 2 counts as two records.

        Raises
        ------
        RecordError
            If the record is refused: it names the field, the value and what was expected; the model is as before.
        """
        cdef int status
        cdef Engine learner = self.learner
        if self.engine is None or not isinstance(x, dict) or not 0.0 < w <= LARGEST_WEIGHT:
            self._learn_slow(x, w)
            return
        if learner is None:
            if self.waiting is None or self.waiting.n + 1 >= self.waiting.size:
                self._learn_slow(x, w)
                return
            self.reader.read(<dict>x, &self.waiting.row_view[self.waiting.n, 0])
            if self.reader.unseen:
                self._learn_slow(x, w)
                return
            self.waiting.weight_view[self.waiting.n] = w
            self.waiting.n += 1
            self._n_seen += 1
            return
        if self.every and (self._n_seen + 1) % self.every == 0:
            self._learn_slow(x, w)
            return
        self.reader.read(<dict>x, learner.e.row)
        if self.reader.unseen:
            self._learn_slow(x, w)
            return
        status = learner.run.learn(&learner.e, learner.e.row, w)
        if status == LEARNT:
            self._n_seen += 1
        else:
            self._learn_slow(x, w)

    cdef int expect(self, x) except -1:
        """The E-step of a record; 0 where there is no state yet."""
        if self.engine is None:
            return 0
        self.reader.read(x if isinstance(x, dict) else as_record(x), self.engine.e.row)
        return 2 if self.engine.run.expect(&self.engine.e, self.engine.e.row) == IMPOSSIBLE else 1

    def predict_proba_one(self, x):
        """Return the responsibilities of the components for a record, {0: r0, 1: r1, …}; uniform while warming up.

        Raises
        ------
        RecordError
            If the record is refused.
        """
        cdef dict result
        cdef int k, n, status = self.expect(x)
        if status != 1:
            n = self.n_components
            return dict.fromkeys(range(n), 1.0 / n) if status == 0 else dict(enumerate(self.weights.tolist()))
        result = self.engine.template.copy()
        for k in range(self.engine.e.k):
            result[k] = self.engine.e.r[k]
        return result

    def predict_one(self, x):
        """Return the component with the largest responsibility for a record; 0 while warming up."""
        cdef int k, best = 0
        if self.expect(x) != 1:
            return 0
        for k in range(1, self.engine.e.k):
            if self.engine.e.r[k] > self.engine.e.r[best]:
                best = k
        return best

    def log_density_one(self, x):
        """Return log p(x) of a record under the mixture; 0.0 while warming up."""
        cdef int status = self.expect(x)
        return log_density(&self.engine.e, total_mass(&self.engine.e)) if status == 1 else -INFINITY if status else 0.0

    def score_one(self, x):
        """Return −log p(x): the higher, the more anomalous; 0.0 while warming up."""
        cdef int status = self.expect(x)
        return -log_density(&self.engine.e, total_mass(&self.engine.e)) if status == 1 else INFINITY if status else 0.0

