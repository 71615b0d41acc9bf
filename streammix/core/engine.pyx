# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The binding of the compiled core: Engine binds the arrays of a State to the kernels."""

import math
import os

import numpy as np

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.math cimport INFINITY, NAN
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memset

from streammix.core.table cimport Table

from streammix.core.layout import CHUNK, GROUP, INFLATING, rows_of, width_of
from streammix.errors import ConfigError

cdef extern from "stdlib.h" nogil:
    void *aligned_alloc(size_t alignment, size_t size)


fill_tables()

KINDS = {
    "normal": NORMAL, "lognormal": LOGNORMAL, "mvn": MVN, "exponential": EXPONENTIAL, "poisson": POISSON,
    "bernoulli": BERNOULLI, "binomial": BINOMIAL, "categorical": CATEGORICAL, "external": EXTERNAL,
    "gamma": GAMMA, "beta": DIRICHLET, "dirichlet": DIRICHLET, "negative_binomial": NEGATIVE_BINOMIAL,
    "vonmises": VONMISES, "student": STUDENT, "uniform": UNIFORM, "geometric": GEOMETRIC,
    "inverse_gaussian": INVERSE_GAUSSIAN, "multinomial": MULTINOMIAL,
}
LEAST_SHARE = PIVOT_FLOOR  # of a prior's scale, that a Gaussian's variance is where nothing else is known
cdef long ROWS_OF_A_CHUNK = CHUNK
cdef long GROUP_SIZE = GROUP


def aligned(*shape, dtype=np.float64):
    """Return zeros that start at a multiple of 64 bytes, as the kernels' loads need."""
    buffer = np.zeros(math.prod(shape) * np.dtype(dtype).itemsize + 64, dtype=np.uint8)
    cdef const unsigned char[::1] flat = buffer
    return np.ndarray(shape, dtype, buffer, (64 - <size_t>&flat[0] % 64) % 64)


def digamma_gap(double a):
    """log a - digamma(a) of a positive number, without loss where it is large."""
    return kernels_for(NULL).gap(a)


def level_name(wanted=None):
    """The name of the level that runs: the machine's best, or the one asked for (v1, v3, v4)."""
    cdef const kernels *k
    cdef bytes name
    if wanted is None:
        k = kernels_for(NULL)
    else:
        name = wanted.encode()
        k = kernels_for(name)
    if k == NULL:
        raise ConfigError(f"this machine has no level {wanted!r}; levels are v1, v3 and v4")
    return k.name.decode()


include "binding.pxi"


cdef class Engine(Binding):
    """The kernels at work on the arrays that they are bound to."""

    def expect(self, const double[::1] row):
        """The E-step of a row: (log density, responsibilities), or None where no component can have made it."""
        if self.run.expect(&self.e, &row[0]) == IMPOSSIBLE:
            return None
        return log_density(&self.e, total_mass(&self.e)), self.responsibilities[:self.e.k]

    def alone(self, const double[::1] row):
        """The E-step of a row by the components alone: responsibilities, or None where none can have made it."""
        cdef const double *width = self.e.width
        self.e.width = NULL
        status = self.run.expect(&self.e, &row[0])
        self.e.width = width
        return None if status == IMPOSSIBLE else self.responsibilities[:self.e.k]

    def expect_rows(self, Table t, double[:, ::1] out_r, double[::1] out_lp, double[::1] outliers=None):
        """The E-step of each row by itself: responsibilities as by `alone`, NaN for None, and log densities.

        `outliers` receives what the background is responsible for.
        """
        cdef const double *width = self.e.width
        cdef double *row
        cdef long at = 0, i, n
        cdef int j, status
        cdef double left
        if self.records == NULL:
            self.records = self.bind(aligned(TILE, t.t.n_columns))
        with nogil:
            while at < t.n_rows:
                n = min(<long>TILE, t.n_rows - at)
                read_rows(&t.t, at, n, self.records)
                for i in range(at, at + n):
                    row = self.records + (i - at) * t.t.n_columns
                    status = self.run.expect(&self.e, row)
                    out_lp[i] = -INFINITY if status == IMPOSSIBLE else log_density(&self.e, total_mass(&self.e))
                    if outliers is not None:
                        left = 0.0
                        if width != NULL and status != IMPOSSIBLE:
                            left = 1.0
                            for j in range(self.e.k):
                                left -= self.e.r[j]
                        outliers[i] = max(left, 0.0)
                    if width != NULL:
                        self.e.width = NULL
                        status = self.run.expect(&self.e, row)
                        self.e.width = width
                    for j in range(self.e.k):
                        out_r[i, j] = NAN if status == IMPOSSIBLE else self.e.r[j]
                at += n

    def regress(self, int number, const double[:, ::1] x, const double[:, ::1] r):
        """Conditional expectations of the coordinates of a MultivariateNormal, the block of this number: (n, D).

        Those of x (n, D) that are NaN are unknown. Components are mixed by r (n, K); those that the block doesn't
        serve are left out.
        """
        cdef long i
        cdef int j, k
        cdef const block *b = self.e.blocks + number
        out, each = np.zeros((x.shape[0], b.size)), aligned(b.size, self.e.kpad)
        cdef double[:, ::1] mixed = out
        cdef double[:, ::1] values = each
        with nogil:
            for i in range(x.shape[0]):
                self.run.regress(&self.e, number, &x[i, 0], &values[0, 0])
                for k in range(self.e.k):
                    if r[i, k] > 0.0 and (b.lanes == NULL or b.lanes[k]):
                        for j in range(b.size):
                            mixed[i, j] += r[i, k] * values[j, k]
        return out

    def learn_rows(self, Table t, long begin, long end, w, double[:, ::1] out_r, double[::1] out_lp):
        """Learn rows one by one; returns (how many were learnt, why it stopped: 0, 1 or 2)."""
        cdef long i, at = begin, n
        cdef int j, status = LEARNT, k = self.e.k, width = t.t.n_columns
        cdef const double[::1] weights = w
        cdef const double *pw = NULL
        cdef double *row
        cdef double *r
        if begin >= end:
            return 0, status
        if w is not None:
            pw = &weights[0]
        if self.records == NULL:
            self.records = self.bind(aligned(TILE, width))
        self.e.scored = out_r is not None
        with nogil:
            while at < end and status == LEARNT:
                n = min(<long>TILE, end - at)
                row = self.records
                read_rows(&t.t, at, n, row)
                for i in range(at, at + n):
                    status = self.run.learn(&self.e, row, pw[i] if pw != NULL else 1.0)
                    if status != LEARNT:
                        break
                    if out_r is not None:
                        r = &out_r[i, 0]
                        for j in range(k):
                            r[j] = self.e.r[j]
                        out_lp[i] = log_density(&self.e, self.e.total)
                    row += width
                    at += 1
        self.e.scored = 0
        return at - begin, status

    def learn_batches(self, Table t, long begin, long end, long size, w=None, double[:, ::1] out_r=None,
                      double[::1] out_lp=None, bint careful=False):
        """Learn mini-batches of `size` rows, as many as are whole.

        Where it is careful, or where scores are wanted, a mini-batch with a row that no component can have made is
        not learnt. Returns (how many rows were learnt, why it stopped: 0, 1 or 2).
        """
        cdef const double[::1] weights = w
        cdef const double *pw = NULL
        cdef double *pr = NULL
        cdef double *pl = NULL
        cdef double *work
        cdef long at = begin
        cdef int status = LEARNT
        if begin + size > end:
            return 0, status
        self.make_sums(size)
        work = self.take_work()
        if w is not None:
            pw = &weights[0]
        if out_lp is not None:
            pr, pl = &out_r[0, 0], &out_lp[0]
        with nogil:
            while at + size <= end and status == LEARNT:
                status = self.step(&t.t, at, at + size, pw, work, pr, pl, careful or pl != NULL)
                at += size if status == LEARNT else 0
        self.give_work(work)
        return at - begin, status

    def learn_stretch(self, Table t, long begin, long end, Table full, double[:, ::1] rows, double[::1] row_weights,
                      long waiting, w=None, double[:, ::1] out_r=None, double[::1] out_lp=None, bint careful=False):
        """Learn rows by mini-batches, where they lie or, of a mini-batch in part, with those that wait for the rest.

        Those that wait are the first `waiting` of `rows`, of which `full` is the table. `careful` is as in
        `learn_batches`. Returns (how many rows were learnt or wait by now, how many wait, why it stopped: 0, 1 or 2);
        a mini-batch of rows that wait is left whole where a mass has to be made for it.
        """
        cdef const double[::1] weights = w
        cdef const double *pw = NULL
        cdef double *pr = NULL
        cdef double *pl = NULL
        cdef double *work
        cdef long at = begin, size = rows.shape[0], stop, i, bad = -1
        cdef int status = LEARNT
        self.make_sums(size)
        work = self.take_work()
        if w is not None:
            pw = &weights[0]
        if out_lp is not None:
            pr, pl = &out_r[0, 0], &out_lp[0]
        careful = careful or pl != NULL
        with nogil:
            while at < end and status == LEARNT:
                if waiting == 0 and at + size <= end:
                    status = self.step(&t.t, at, at + size, pw, work, pr, pl, careful)
                    at += size if status == LEARNT else 0
                    continue
                stop = min(end, at + size - waiting)
                if careful:
                    self.run.accumulate(&self.e, &t.t, at, stop, NULL, NULL, NULL, work, pr, 0, pl, &bad)
                    if bad >= 0:
                        status = IMPOSSIBLE
                        break
                read_rows(&t.t, at, stop - at, &rows[waiting, 0])
                for i in range(at, stop):
                    row_weights[waiting + i - at] = pw[i] if pw != NULL else 1.0
                waiting += stop - at
                at = stop
                if waiting == size:
                    status = self.step(&full.t, 0, size, &row_weights[0], work, NULL, NULL, False)
                    waiting = 0 if status == LEARNT else size
        self.give_work(work)
        return at - begin, waiting, status

    cdef int step(self, const table *t, long begin, long end, const double *w, double *work, double *out_r,
                  double *out_lp, bint careful) noexcept nogil:
        """Learn a mini-batch; return LEARNT, or why nothing was done."""
        cdef long bad
        cdef int m
        if rows_need_fork(&self.e, t, begin, end):
            return FORK
        self.gather(t, begin, end, w, work, out_r, out_lp, &bad)
        if careful and bad >= 0:
            return IMPOSSIBLE
        for m in range(self.e.n_masses):
            self.gamma[m] = compounded_step(&self.e, m, t, begin, end, w, &self.total[m])
        self.run.blend(&self.e, self.acc, self.gamma, self.total)
        for m in range(self.e.n_masses):
            self.e.clock[m] += self.total[m]
        self.run.maximize(&self.e)
        return LEARNT

    cdef double gather(self, const table *t, long begin, long end, const double *w, double *work, double *out_r,
                       double *out_lp, long *bad) noexcept nogil:
        """Fill `acc` with the expected statistics of rows: chunks of CHUNK rows summed by themselves, added in order."""
        cdef long at = begin, stop, first, i, n = accumulator_rows(&self.e) * self.e.kpad
        cdef double total = 0.0
        cdef double *into
        bad[0] = -1
        memset(self.acc, 0, n * sizeof(double))
        while at < end:
            stop = min(at + ROWS_OF_A_CHUNK, end)
            into = self.acc if at == begin else self.part
            if at > begin:
                memset(self.part, 0, n * sizeof(double))
            total += self.run.accumulate(&self.e, t, at, stop, w, NULL, into, work, out_r, 0, out_lp, &first)
            if at > begin:
                for i in range(n):
                    self.acc[i] += self.part[i]
            if bad[0] < 0:
                bad[0] = first
            at = stop
        return total

    def collect(self, Table t, long begin, long end, w=None, double[:, ::1] out_r=None, double[::1] out_lp=None):
        """The expected statistics of rows at the current parameters, until the next call; scores where wanted.

        Returns (accumulator, the weighted sum of log densities, the first row that no component can have made, or -1).
        """
        cdef const double[::1] weights = w
        cdef const double *pw = NULL
        cdef double *pr = NULL
        cdef double *pl = NULL
        cdef double *work
        cdef double total
        cdef long bad
        self.make_sums(end - begin)
        work = self.take_work()
        if w is not None and begin < end:
            pw = &weights[0]
        if out_lp is not None and begin < end:
            pr, pl = &out_r[0, 0], &out_lp[0]
        with nogil:
            total = self.gather(&t.t, begin, end, pw, work, pr, pl, &bad)
        self.give_work(work)
        return self.sums, total, bad

    def accumulate(self, Table t, long begin, long end, w=None, resp=None, double[:, ::1] acc=None,
                   double[:, ::1] out_r=None, double[::1] out_lp=None, bint by_component=False):
        """Add the expected statistics of rows at the current parameters to `acc`.

        `out_r` is (rows, K), or (K, rows) by component.

        Returns (the weighted sum of log densities, the first row that no component can have made, or -1).
        """
        cdef const double[::1] weights = w
        cdef const double[:, ::1] given = resp
        cdef double *work
        cdef const double *pw = NULL
        cdef const double *pg = NULL
        cdef double *pa = NULL
        cdef double *pr = NULL
        cdef double *pl = NULL
        cdef long bad = -1, length = 0
        cdef double total
        if begin >= end:
            return 0.0, -1
        if weights is not None:
            pw = &weights[0]
        if given is not None:
            pg = &given[0, 0]
        if acc is not None:
            pa = &acc[0, 0]
        if out_r is not None:
            pr = &out_r[0, 0]
            length = out_r.shape[1] if by_component else 0
        if out_lp is not None:
            pl = &out_lp[0]
        work = self.take_work()
        with nogil:
            total = self.run.accumulate(&self.e, &t.t, begin, end, pw, pg, pa, work, pr, length, pl, &bad)
        self.give_work(work)
        return total, bad

    def blend(self, const double[:, ::1] acc, const double[::1] gamma, const double[::1] total):
        """Step the statistics towards an accumulator: gamma and the records' total weight, one a mass."""
        self.run.blend(&self.e, &acc[0, 0], &gamma[0], &total[0])

    def approach(self, state, double gamma):
        """Step masses and statistics gamma of the way towards those of another state of the same layout."""
        cdef const double[::1] values
        cdef const double **stat
        cdef const double *mass
        cdef int i
        self.make_sums(0)
        values = state.masses.reshape(-1)
        mass = &values[0]
        stat = <const double **>PyMem_Calloc(max(self.e.n_blocks, 1), sizeof(double *))
        try:
            for i in range(self.e.n_blocks):
                if self.e.blocks[i].kind != EXTERNAL:
                    values = state.statistics[i].reshape(-1)
                    stat[i] = &values[0]
            self.run.approach(&self.e, mass, stat, gamma, self.acc)
        finally:
            PyMem_Free(stat)

    def maximize(self):
        """The M-step of everything, after a blend or a change of the clocks."""
        self.run.maximize(&self.e)

    def compounded(self, Table t, long begin, long end, w=None):
        """(gamma, total weight), one a mass, of a mini-batch of rows."""
        cdef const double[::1] weights = w
        cdef const double *pw = NULL
        cdef int m
        gamma, total = np.zeros(self.e.n_masses), np.zeros(self.e.n_masses)
        cdef double[::1] g = gamma
        cdef double[::1] n = total
        if weights is not None and begin < end:
            pw = &weights[0]
        for m in range(self.e.n_masses):
            g[m] = compounded_step(&self.e, m, &t.t, begin, end, pw, &n[m])
        return gamma, total

    def steps(self, totals):
        """Gamma, one a mass, of a mini-batch: how many records each mass observes, of weight 1."""
        return np.array([compounded_records(&self.e, m, int(n)) for m, n in enumerate(totals)])

    def forks_needed(self, Table t, long begin, long end):
        """The (block, unit) that share the components' mass but are missing from some of the rows."""
        return [(i, u) for i in range(self.e.n_blocks) for u in range(self.e.blocks[i].units)
                if unit_is_missing(&self.e, i, u, &t.t, begin, end)]
