# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The binding of the compiled core: Engine binds the arrays of a State; Records is the per-record half of Mixture."""

import math
import os

import numpy as np

from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc

from streammix.core.reader cimport Reader

from streammix.core.reader import as_record
from streammix.errors import ConfigError

from libc.math cimport INFINITY
from libc.stdint cimport int64_t

cdef extern from "engine.h":
    enum: LEARNT
    enum: IMPOSSIBLE
    enum: FORK
    enum: NORMAL
    enum: LOGNORMAL
    enum: MVN
    enum: EXPONENTIAL
    enum: POISSON
    enum: BERNOULLI
    enum: BINOMIAL
    enum: CATEGORICAL
    enum: EXTERNAL
    ctypedef struct block:
        int kind, units, fixed
        long size
        const int *column
        const int *mass
        const int64_t *lanes
        double *stat
        double *theta
        const double *prior
        long stat_rows, theta_rows, prior_rows, acc_rows, acc, y
    ctypedef struct engine:
        int k, kpad, n_blocks, n_columns, n_masses
        block *blocks
        double *mass
        double *count
        double *clock
        const double *start
        const int *mass_column
        const int *mass_width
        const double *bias
        double prior_weight
        int step_kind
        double step_value, weight_prior, total
        int scored
        double *lp
        double *r
        double *rho
        double *kappa
        double *y
        int *active
        double *common
        int *pattern
        double *dense
        double *matrix
        double *row
    ctypedef struct table:
        int n_columns
        const char **data
        const long *stride
    ctypedef struct kernels:
        const char *name
        int (*expect)(engine *, const double *) noexcept nogil
        int (*learn)(engine *, const double *, double) noexcept nogil
        void (*maximize)(engine *) noexcept nogil
        double (*accumulate)(const engine *, const table *, long, long, const double *, const double *, double *,
                             double *, double *, double *, long *) noexcept nogil
        void (*blend)(engine *, const double *, const double *, const double *) noexcept nogil
    const kernels *kernels_for(const char *level) noexcept
    double step_size(const engine *, double, double) noexcept nogil
    long accumulator_rows(const engine *) noexcept nogil
    long work_doubles(const engine *) noexcept nogil
    long matrix_rows(const engine *) noexcept nogil
    double compounded_step(const engine *, int, const table *, long, long, const double *, double *) noexcept nogil
    int rows_need_fork(const engine *, const table *, long, long) noexcept nogil
    void fill_tables() noexcept
    double log_density(const engine *, double) noexcept nogil
    double total_mass(const engine *) noexcept nogil

fill_tables()

KINDS = {
    "normal": NORMAL, "lognormal": LOGNORMAL, "mvn": MVN, "exponential": EXPONENTIAL, "poisson": POISSON,
    "bernoulli": BERNOULLI, "binomial": BINOMIAL, "categorical": CATEGORICAL, "external": EXTERNAL,
}
GROUP = 8  # components come in groups of this many lanes
cdef double LARGEST_WEIGHT = 1e100
CHUNK = 4096  # rows whose sums are taken together, whatever the number of threads


def rows_of(str kind, long size):
    """(statistics, theta, prior, accumulator): how many rows a unit of a family has in each."""
    return {
        "normal": (3, 2, 1, 2),
        "lognormal": (3, 2, 1, 2),
        "mvn": (3 * size + size * (size - 1) // 2, 2 * size, size, size + size * (size + 1) // 2),
        "exponential": (1, 1, 1, 1),
        "poisson": (1, 2, 1, 1),
        "bernoulli": (1, 2, 1, 1),
        "binomial": (1, 3, 1, 1),
        "categorical": (1 + size, 2, 1, size),
        "external": (0, 0, 0, 0),
    }[kind]


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


cdef class Table:
    """Columns of doubles, each 1-D with any stride, that the kernels read in place; NaN is missing."""

    cdef table t
    cdef list columns
    cdef readonly long n_rows

    def __cinit__(self, list columns):
        cdef int n = len(columns)
        cdef const double[:] column
        self.columns = columns
        self.n_rows = len(columns[0])
        self.t.n_columns = n
        self.t.data = <const char **>PyMem_Calloc(n, sizeof(char *))
        self.t.stride = <const long *>PyMem_Calloc(n, sizeof(long))
        for i in range(n):
            column = columns[i]
            if column.shape[0] != self.n_rows:
                raise ValueError("columns of different lengths")
            self.t.data[i] = <const char *>&column[0] if self.n_rows else NULL
            (<long *>self.t.stride)[i] = column.strides[0]

    def __dealloc__(self):
        PyMem_Free(self.t.data)
        PyMem_Free(<void *>self.t.stride)


def table_of(rows):
    """The table of a C-ordered matrix."""
    return Table([rows[:, j] for j in range(rows.shape[1])])


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

    cdef engine e
    cdef const kernels *run
    cdef list keep
    cdef readonly object responsibilities
    cdef readonly list theta
    cdef readonly object layout
    cdef readonly int n_components
    cdef dict template  # {0: 0.0, 1: 0.0, …}: copied, then filled, it never has to grow

    def __cinit__(self, layout, state, step):
        cdef int i, n = len(layout)
        cdef engine *e = &self.e
        cdef bytes wanted = os.environ.get("STREAMMIX_LEVEL", "").encode()
        self.run = kernels_for(<const char *>wanted if wanted else NULL)
        if self.run == NULL:
            raise ConfigError(f"STREAMMIX_LEVEL={wanted.decode()} can't run here; levels are v1, v3 and v4")
        self.keep = [state]
        self.template = dict.fromkeys(range(state.n_components), 0.0)
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
            units = 1 if kind == "mvn" else len(columns)
            stat, theta, prior, accumulated = rows_of(kind, size)
            masses = state.mass_units[i]
            width = size if kind == "mvn" else 1
            for u in range(units):
                if masses[u]:
                    mass_column[masses[u]] = columns[u * width]
                    mass_width[masses[u]] = width
            e.blocks[i].kind = KINDS[kind]
            e.blocks[i].units = units
            e.blocks[i].size = size
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
        e.rho = self.bind(aligned(e.n_masses, e.kpad))
        e.kappa = self.bind(aligned(e.n_masses, e.kpad))
        e.y = self.bind(aligned(max(y, 1), e.kpad))
        e.active = self.bind_ints(np.zeros(e.kpad // GROUP, dtype=np.intc))
        e.common = self.bind(aligned(n))
        e.pattern = self.bind_ints(np.zeros(n, dtype=np.intc))
        e.dense = self.bind(aligned(4 * deep * deep + 4 * deep))
        e.matrix = self.bind(aligned(matrix_rows(e), e.kpad))
        e.row = self.bind(aligned(n_columns))
        self.run.maximize(e)

    def __dealloc__(self):
        PyMem_Free(self.e.blocks)

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

    def expect(self, const double[::1] row):
        """The E-step of a row: (log density, responsibilities), or None where no component can have made it."""
        if self.run.expect(&self.e, &row[0]) == IMPOSSIBLE:
            return None
        return log_density(&self.e, total_mass(&self.e)), self.responsibilities[:self.e.k]

    def learn_rows(self, Table t, long begin, long end, w, double[:, ::1] out_r, double[::1] out_lp):
        """Learn rows one by one; returns (how many were learnt, why it stopped: 0, 1 or 2)."""
        cdef long i
        cdef int j, status = LEARNT, k = self.e.k
        cdef const double[::1] weights = w
        self.e.scored = out_r is not None
        with nogil:
            for i in range(begin, end):
                for j in range(self.e.n_columns):
                    self.e.row[j] = (<const double *>(t.t.data[j] + i * t.t.stride[j]))[0]
                status = self.run.learn(&self.e, self.e.row, 1.0 if weights is None else weights[i])
                if status != LEARNT:
                    break
                if out_r is not None:
                    for j in range(k):
                        out_r[i, j] = self.e.r[j]
                    out_lp[i] = log_density(&self.e, self.e.total)
            else:
                i = end
        self.e.scored = 0
        return i - begin, status

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
        cdef void *memory
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
        memory = PyMem_Malloc(work_doubles(&self.e) * sizeof(double) + 64)
        if memory == NULL:
            raise MemoryError
        work = <double *>((<size_t>memory + 63) // 64 * 64)
        with nogil:
            total = self.run.accumulate(&self.e, &t.t, begin, end, pw, pg, pa, work, pr, pl, &bad)
        PyMem_Free(memory)
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

    def need_fork(self, Table t, long begin, long end):
        """Whether a field that shares the components' mass is missing from some row."""
        return bool(rows_need_fork(&self.e, &t.t, begin, end))

    @property
    def weights(self):
        """Mixing weights, (K,)."""
        cdef int k
        result = np.empty(self.e.k)
        for k in range(self.e.k):
            result[k] = self.e.mass[k] + self.e.weight_prior
        return result / result.sum()


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

