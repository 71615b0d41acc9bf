# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The binding of the compiled core: Engine binds the arrays of a State to the kernels."""

import math
import os

import numpy as np

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memset

from streammix.core.table cimport Table

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
INFLATING = "inflated "  # before the name of the family inside
GROUP = 8  # components come in groups of this many lanes
CHUNK = 4096  # rows whose sums are taken together, whatever the number of threads
cdef long ROWS_OF_A_CHUNK = CHUNK
cdef long GROUP_SIZE = GROUP


def rows_of(str kind, size):
    """(statistics, theta, prior, accumulator): how many rows a unit of a family has in each."""
    if kind.startswith(INFLATING):
        stat, theta, prior, accumulated = rows_of(kind.removeprefix(INFLATING), size)
        return stat + 2, theta + 5, prior + 2, accumulated + 2
    return {
        "normal": (3, 2, 1, 2),
        "lognormal": (3, 2, 1, 2),
        "mvn": (3 * size + size * (size - 1) // 2, 3 * size + 2, size, size + size * (size + 1) // 2),
        "exponential": (1, 1, 1, 1),
        "poisson": (1, 2, 1, 1),
        "geometric": (1, 3, 1, 1),
        "bernoulli": (1, 2, 1, 1),
        "binomial": (1, 3, 1, 1),
        "multinomial": (size, 2 * size + 1, size, size),
        "categorical": (1 + size, 2, 1, size),
        "external": (0, 0, 0, 0),
        "gamma": (2, 4, 1, 3),
        "beta": (4, 9, 1, 6),
        "dirichlet": (2 * size, 4 * size + 1, 1, 3 * size),
        "negative_binomial": (2, 4, 2, 3),
        "vonmises": (4, 4, 1, 2),
        "student": (5, 6, 1, 4),
        "uniform": (1, 1, 1, 0),
        "inverse_gaussian": (2, 3, 1, 2),
    }[kind]


def width_of(str kind, long size):
    """How many columns a unit of a family reads."""
    widths = {"mvn": size, "multinomial": size, "gamma": 2, "beta": 4, "dirichlet": 2 * size}
    return widths.get(kind.removeprefix(INFLATING), 1)


def digamma_gap(double a):
    """log a - digamma(a) of a positive number, without loss where it is large."""
    return kernels_for(NULL).gap(a)


def aligned(*shape, dtype=np.float64):
    """Zeros that start at a multiple of 64 bytes, as the kernels' loads need."""
    cdef Py_ssize_t size = math.prod(shape) * np.dtype(dtype).itemsize
    buffer = np.zeros(size + 64, dtype=np.uint8)
    cdef unsigned char[::1] view = buffer
    cdef Py_ssize_t start = 64 - <size_t>&view[0] % 64
    return buffer[start:start + size].view(dtype).reshape(shape)


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


cdef class Engine:
    """Binds the arrays of a State to the kernels; owns scratch and theta, which are functions of them.

    Parameters
    ----------
    layout
        One (kind, columns, size, fixed, lanes) a block.
    state
        The statistics: `masses`, `counts`, `clocks`, `starts`, `mass_units`, `statistics`, `priors`, `prior_weight`.
    step
        (code, value) of the step size.
    """

    def __cinit__(self, layout, state, step):
        cdef int i, n = len(layout)
        cdef engine *e = &self.e
        cdef bytes wanted = os.environ.get("STREAMMIX_LEVEL", "").encode()
        self.run = kernels_for(<const char *>wanted if wanted else NULL)
        if self.run == NULL:
            raise ConfigError(f"STREAMMIX_LEVEL={wanted.decode()} can't run here; levels are v1, v3 and v4")
        self.keep = [state]
        self.theta = []
        self.layout = layout
        self.n_components = state.n_components
        e.k = state.n_components
        e.kpad = state.masses.shape[1]
        e.n_blocks = n
        e.n_masses = len(state.masses)
        e.blocks = <block *>PyMem_Calloc(max(n, 1), sizeof(block))
        e.mass = self.bind(state.masses)
        e.count = self.bind(state.counts)
        e.clock = self.bind(state.clocks)
        e.start = self.bind(state.starts)
        e.prior_weight = state.prior_weight
        e.step_kind, e.step_value = step
        n_columns = 0
        y = 0
        deep = 1
        acc = e.n_masses
        mass_column = np.zeros(e.n_masses, dtype=np.intc)
        mass_width = np.zeros(e.n_masses, dtype=np.intc)
        for i in range(n):
            kind, columns, size, fixed, lanes = layout[i]
            width = width_of(kind, size)
            units = len(columns) // width
            stat, theta, prior, accumulated = rows_of(kind, size)
            if kind == "categorical":  # there may be room for levels that are yet to come
                accumulated = state.statistics[i].shape[1] - 1
            masses = state.mass_units[i]
            for u in range(units):
                if masses[u]:
                    mass_column[masses[u]] = columns[u * width]
                    mass_width[masses[u]] = width
            if kind.startswith(INFLATING):
                e.blocks[i].kind = INFLATED
                e.blocks[i].inner = KINDS[kind.removeprefix(INFLATING)]
            else:
                e.blocks[i].kind = KINDS[kind]
            e.blocks[i].units = units
            e.blocks[i].width = width
            if kind in ("vonmises", "student"):
                e.blocks[i].constant = size
            else:
                e.blocks[i].size = 2 if kind == "beta" else size
            if kind in ("vonmises", "student", "gamma"):
                e.blocks[i].y = y
                y += units
            e.blocks[i].fixed = fixed
            e.blocks[i].column = self.bind_ints(np.array(columns, dtype=np.intc))
            e.blocks[i].mass = self.bind_ints(np.array(masses, dtype=np.intc))
            if lanes is not None:
                e.blocks[i].lanes = self.bind_lanes(lanes, e.kpad)
            if kind != "external":
                e.blocks[i].stat = self.bind(state.statistics[i])
                e.blocks[i].prior = self.bind(state.priors[i])
            values = aligned(units, max(theta, 1), e.kpad)
            self.theta.append(values)
            e.blocks[i].theta = self.bind(values)
            e.blocks[i].stat_rows = state.statistics[i].shape[1]
            e.blocks[i].theta_rows = theta
            e.blocks[i].prior_rows = prior
            e.blocks[i].acc_rows = accumulated
            e.blocks[i].acc = acc
            acc += units * accumulated
            n_columns = max(n_columns, max(columns) + 1)
            if kind == "mvn":
                e.blocks[i].y = y
                y += 2 * size
                deep = max(deep, size)
        e.n_columns = n_columns
        e.mass_column = self.bind_ints(mass_column)
        e.mass_width = self.bind_ints(mass_width)
        bias = aligned(e.kpad)
        bias[e.k:] = -np.inf
        e.bias = self.bind(bias)
        self.responsibilities = aligned(e.kpad)
        e.r = self.bind(self.responsibilities)
        e.lp = self.bind(aligned(e.kpad))
        e.root = self.bind(aligned(e.kpad))
        e.share = self.bind(aligned(e.kpad))
        e.rho = self.bind(aligned(e.n_masses, e.kpad))
        e.kappa = self.bind(aligned(e.n_masses, e.kpad))
        e.y = self.bind(aligned(max(y, 1), e.kpad))
        e.active = self.bind_ints(np.zeros(e.kpad // GROUP, dtype=np.intc))
        e.common = self.bind(aligned(n))
        e.pattern = self.bind_ints(np.zeros(n, dtype=np.intc))
        e.dense = self.bind(aligned(deep * deep + 3 * deep, GROUP))
        e.matrix = self.bind(aligned(matrix_rows(e), e.kpad))
        e.row = self.bind(aligned(n_columns))
        e.ahead = self.bind(aligned(e.n_masses, GROUP))
        e.ahead_from = self.bind(aligned(e.n_masses))
        self.run.maximize(e)

    def __dealloc__(self):
        PyMem_Free(self.e.blocks)
        free(self.work)

    cdef double *bind(self, array) except NULL:
        cdef double[::1] flat = array.reshape(-1)
        if array.ctypes.data % 64:
            raise ValueError("an array that isn't aligned to 64 bytes")
        self.keep.append(array)
        return &flat[0]

    cdef int *bind_ints(self, array) except NULL:
        cdef int[::1] flat = array
        self.keep.append(array)
        return &flat[0]

    cdef const int64_t *bind_lanes(self, lanes, int kpad) except NULL:
        cdef int64_t[::1] flat = aligned(kpad, dtype=np.int64)
        np.asarray(flat)[:len(lanes)] = np.where(lanes, -1, 0)
        self.keep.append(flat)
        return &flat[0]

    def set_background(self, const double[:, ::1] spread):
        """Add a background component: (2, columns) of the logarithm of what it is spread over, and a slope.

        Its log density is the sum of -(width + slope x) over the cells that are there; its share is what the masses
        leave of 1. The array may change between calls.
        """
        self.keep.append(spread)
        self.e.width, self.e.slope = &spread[0, 0], &spread[1, 0]

    def alone(self, const double[::1] row):
        """The E-step of a row by the components alone: responsibilities, or None where none can have made it."""
        cdef const double *width = self.e.width
        self.e.width = NULL
        status = self.run.expect(&self.e, &row[0])
        self.e.width = width
        return None if status == IMPOSSIBLE else self.responsibilities[:self.e.k]

    def set_levels(self, int block, long size):
        """Let a categorical block have so many levels; its array has room for them."""
        self.e.blocks[block].size = size
        self.run.maximize(&self.e)

    def expect(self, const double[::1] row):
        """The E-step of a row: (log density, responsibilities), or None where no component can have made it."""
        if self.run.expect(&self.e, &row[0]) == IMPOSSIBLE:
            return None
        return log_density(&self.e, total_mass(&self.e)), self.responsibilities[:self.e.k]

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
        cdef long at = begin, bad
        cdef int m, status = LEARNT
        if begin + size > end:
            return 0, status
        self.make_sums(size)
        work = self.take_work()
        if w is not None:
            pw = &weights[0]
        if out_lp is not None:
            pr, pl = &out_r[0, 0], &out_lp[0]
            careful = True
        with nogil:
            while at + size <= end:
                if rows_need_fork(&self.e, &t.t, at, at + size):
                    status = FORK
                    break
                self.gather(&t.t, at, at + size, pw, work, pr, pl, &bad)
                if careful and bad >= 0:
                    status = IMPOSSIBLE
                    break
                for m in range(self.e.n_masses):
                    self.gamma[m] = compounded_step(&self.e, m, &t.t, at, at + size, pw, &self.total[m])
                self.run.blend(&self.e, self.acc, self.gamma, self.total)
                for m in range(self.e.n_masses):
                    self.e.clock[m] += self.total[m]
                self.run.maximize(&self.e)
                at += size
        self.give_work(work)
        return at - begin, status

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
            total += self.run.accumulate(&self.e, t, at, stop, w, NULL, into, work, out_r, out_lp, &first)
            if at > begin:
                for i in range(n):
                    self.acc[i] += self.part[i]
            if bad[0] < 0:
                bad[0] = first
            at = stop
        return total

    cdef double *take_work(self) except NULL:
        """Accumulate's work: the engine's own, or another where a second thread asks for it meanwhile."""
        cdef double *work = self.work
        cdef size_t size = (work_doubles(&self.e) // GROUP_SIZE + 1) * GROUP_SIZE * sizeof(double)
        self.work = NULL
        if work == NULL:
            work = <double *>aligned_alloc(64, size)
            if work == NULL:
                raise MemoryError
            memset(work, 0, size)
        return work

    cdef void give_work(self, double *work) noexcept:
        if self.work == NULL:
            self.work = work
        else:
            free(work)

    cdef int make_sums(self, long n_rows) except -1:
        """Make the engine's own accumulators, for so many rows."""
        if self.sums is None:
            self.sums = self.accumulator()
            self.acc = self.bind(self.sums)
            self.gamma = self.bind(aligned(self.e.n_masses))
            self.total = self.bind(aligned(self.e.n_masses))
        if self.part == NULL and n_rows > ROWS_OF_A_CHUNK:
            self.part = self.bind(self.accumulator())
        return 0

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

    def accumulator(self):
        """Zeros for expected statistics: rows x padded components."""
        return aligned(accumulator_rows(&self.e), self.e.kpad)

    def accumulate(self, Table t, long begin, long end, w=None, resp=None, double[:, ::1] acc=None,
                   double[:, ::1] out_r=None, double[::1] out_lp=None):
        """Add the expected statistics of rows at the current parameters to `acc`.

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
        cdef long bad = -1
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
        if out_lp is not None:
            pl = &out_lp[0]
        work = self.take_work()
        with nogil:
            total = self.run.accumulate(&self.e, &t.t, begin, end, pw, pg, pa, work, pr, pl, &bad)
        self.give_work(work)
        return total, bad

    def blend(self, const double[:, ::1] acc, const double[::1] gamma, const double[::1] total):
        """Step the statistics towards an accumulator: gamma and the records' total weight, one a mass."""
        self.run.blend(&self.e, &acc[0, 0], &gamma[0], &total[0])

    def maximize(self):
        """The M-step of everything, after a blend or a change of the clocks."""
        self.run.maximize(&self.e)

    def compounded(self, Table t, long begin, long end, w=None):
        """(gamma, total weight), one a mass, of a mini-batch of rows."""
        cdef const double[::1] weights = w
        cdef int m
        gamma, total = np.zeros(self.e.n_masses), np.zeros(self.e.n_masses)
        cdef double[::1] g = gamma
        cdef double[::1] n = total
        for m in range(self.e.n_masses):
            g[m] = compounded_step(&self.e, m, &t.t, begin, end, NULL if weights is None else &weights[0], &n[m])
        return gamma, total

    def steps(self, totals):
        """Gamma, one a mass, of a mini-batch: how many records each mass observes, of weight 1."""
        return np.array([compounded_records(&self.e, m, int(n)) for m, n in enumerate(totals)])

    def forks_needed(self, Table t, long begin, long end):
        """The (block, unit) that share the components' mass but are missing from some of the rows."""
        return [(i, u) for i in range(self.e.n_blocks) for u in range(self.e.blocks[i].units)
                if unit_is_missing(&self.e, i, u, &t.t, begin, end)]

    @property
    def background(self):
        """The background's weight; 0 where there is none."""
        return background_mass(&self.e) / total_mass(&self.e)

    @property
    def weights(self):
        """Mixing weights, (K,)."""
        cdef int k
        result = np.empty(self.e.k)
        for k in range(self.e.k):
            result[k] = self.e.mass[k] + self.e.weight_prior
        return result / result.sum()
