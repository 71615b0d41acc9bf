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
        double *ahead
        double *ahead_from
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
    long accumulator_rows(const engine *) noexcept nogil
    long work_doubles(const engine *) noexcept nogil
    long matrix_rows(const engine *) noexcept nogil
    double compounded_step(const engine *, int, const table *, long, long, const double *, double *) noexcept nogil
    int rows_need_fork(const engine *, const table *, long, long) noexcept nogil
    void fill_tables() noexcept
    double log_density(const engine *, double) noexcept nogil
    double total_mass(const engine *) noexcept nogil


cdef class Table:
    cdef table t
    cdef list columns
    cdef readonly long n_rows


cdef class Engine:
    cdef engine e
    cdef const kernels *run
    cdef list keep
    cdef readonly object responsibilities
    cdef readonly list theta
    cdef readonly object layout
    cdef readonly int n_components
    cdef double *bind(self, array) except NULL
    cdef int *bind_ints(self, array) except NULL
    cdef const int64_t *bind_lanes(self, lanes, int kpad) except NULL
