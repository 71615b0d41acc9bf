from libc.stdint cimport int64_t, uint8_t

cdef extern from "engine.h":
    enum: TILE
    double PIVOT_FLOOR
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
    enum: GAMMA
    enum: DIRICHLET
    enum: NEGATIVE_BINOMIAL
    enum: VONMISES
    enum: STUDENT
    enum: UNIFORM
    enum: INFLATED
    enum: GEOMETRIC
    enum: INVERSE_GAUSSIAN
    enum: MULTINOMIAL
    ctypedef struct block:
        int kind, units, width, inner, fixed
        long size
        double constant
        const int *column
        const int *mass
        const int64_t *lanes
        double *stat
        double *theta
        const double *prior
        const double *least
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
        const double *width
        const double *slope
        const double *point
        double prior_weight
        int step_kind
        double step_value, weight_prior, total
        int scored
        double *lp
        double *root
        double *share
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
    enum: FLOAT64
    enum: FLOAT32
    enum: INT8
    enum: INT16
    enum: INT32
    enum: INT64
    enum: UINT8
    enum: UINT16
    enum: UINT32
    enum: UINT64
    enum: BIT
    ctypedef struct cells:
        int kind
        const char *data
        long stride, bit
        const uint8_t *valid
        long valid_bit
    ctypedef struct table:
        int n_columns
        long n_segments
        long *first
        cells *cells
        char *gaps
    ctypedef struct kernels:
        const char *name
        int (*expect)(engine *, const double *) noexcept nogil
        int (*learn)(engine *, const double *, double) noexcept nogil
        void (*maximize)(engine *) noexcept nogil
        double (*accumulate)(const engine *, const table *, long, long, const double *, const double *, double *,
                             double *, double *, long, double *, long *) noexcept nogil
        void (*blend)(engine *, const double *, const double *, const double *) noexcept nogil
        void (*approach)(engine *, const double *, const double **, double, double *) noexcept nogil
        void (*regress)(engine *, int, const double *, double *) noexcept nogil
        double (*gap)(double) noexcept nogil
        long (*work)(const engine *) noexcept nogil
    const kernels *kernels_for(const char *level) noexcept
    long accumulator_rows(const engine *) noexcept nogil
    long matrix_rows(const engine *) noexcept nogil
    void read_cells(const table *, int, long, long, double *) noexcept nogil
    void read_rows(const table *, long, long, double *) noexcept nogil
    enum: SCANNED
    enum: MAY_BE_MISSING
    enum: MAY_BE_INFINITE
    int lie_together(const table *, int, int) noexcept nogil
    int scan_together(const table *, int, const double *, const double *, char *) noexcept nogil
    long scan_column(const table *, int, double, double, int, char *) noexcept nogil
    int unit_is_missing(const engine *, int, int, const table *, long, long) noexcept nogil
    int rows_need_fork(const engine *, const table *, long, long) noexcept nogil
    double compounded_step(const engine *, int, const table *, long, long, const double *, double *) noexcept nogil
    double compounded_records(const engine *, int, long) noexcept nogil
    void fill_tables() noexcept
    double log_density(const engine *, double) noexcept nogil
    double total_mass(const engine *) noexcept nogil
    double background_mass(const engine *) noexcept nogil


cdef class Binding:
    cdef engine e
    cdef const kernels *run
    cdef list keep
    cdef readonly object responsibilities
    cdef readonly list theta
    cdef readonly object layout
    cdef readonly int n_components
    cdef double *work  # accumulate's, while nobody uses it
    cdef double *records  # a tile of them
    cdef object sums  # the expected statistics of a mini-batch
    cdef double *acc  # the same
    cdef double *part  # of a chunk of a mini-batch
    cdef double *gamma  # of a mini-batch, one a mass
    cdef double *total  # likewise its weight
    cdef take_scratch(self, int y, int deep, int n_columns, int n_cells, given)
    cdef double *bind(self, array) except NULL
    cdef int *bind_ints(self, array) except NULL
    cdef const int64_t *bind_lanes(self, lanes, int kpad) except NULL
    cdef double *take_work(self) except NULL
    cdef void give_work(self, double *work) noexcept
    cdef int make_sums(self, long n_rows) except -1


cdef class Engine(Binding):
    cdef double gather(self, const table *t, long begin, long end, const double *w, double *work, double *out_r,
                       double *out_lp, long *bad) noexcept nogil
    cdef int step(self, const table *t, long begin, long end, const double *w, double *work, double *out_r,
                  double *out_lp, bint careful) noexcept nogil
