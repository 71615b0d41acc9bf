# The first half of the module engine: what an Engine is bound to.


cdef class Binding:
    """Binds the arrays of a State to the kernels; owns scratch and theta, which are functions of them.

    Parameters
    ----------
    layout
        One (kind, columns, size, fixed, lanes) a block.
    state
        The statistics: `masses`, `counts`, `clocks`, `starts`, `mass_units`, `statistics`, `priors`, `prior_weight`,
        `least`.
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
        n_columns = n_cells = 0
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
            n_cells += len(columns)
            if kind == "mvn":
                e.blocks[i].y = y
                y += 2 * size
                deep = max(deep, size)
        e.n_columns = n_columns
        e.mass_column = self.bind_ints(mass_column)
        e.mass_width = self.bind_ints(mass_width)
        self.take_scratch(max(y, 1), deep, n_columns, n_cells, state.least)
        e.active = self.bind_ints(np.zeros(e.kpad // GROUP, dtype=np.intc))
        e.pattern = self.bind_ints(np.zeros(n, dtype=np.intc))
        self.run.maximize(e)

    def __dealloc__(self):
        PyMem_Free(self.e.blocks)
        free(self.work)

    cdef take_scratch(self, int y, int deep, int n_columns, int n_cells, given):
        """Make one array of all that is computed anew each time: making an array costs more than filling it.

        `given` has each column's least share of the prior's scale, or is None.
        """
        cdef engine *e = &self.e
        cdef Py_ssize_t lanes = e.kpad
        sizes = [lanes, lanes, lanes, lanes, lanes, e.n_masses * lanes, e.n_masses * lanes, y * lanes,
                 (deep * deep + 3 * deep) * GROUP_SIZE, matrix_rows(e) * lanes, e.n_masses * GROUP_SIZE, e.n_masses,
                 e.n_blocks, n_columns, n_cells]
        places, end = [], 0
        for size in sizes:
            places.append(end)
            end += (size + GROUP - 1) // GROUP * GROUP
        scratch = aligned(end)
        scratch[e.k:lanes] = -np.inf  # the bias of padding
        self.responsibilities = scratch[places[1]:places[1] + lanes]
        cdef double *first = self.bind(scratch)
        e.bias, e.r, e.lp = first + <Py_ssize_t>places[0], first + <Py_ssize_t>places[1], first + <Py_ssize_t>places[2]
        e.root, e.share = first + <Py_ssize_t>places[3], first + <Py_ssize_t>places[4]
        e.rho, e.kappa, e.y = first + <Py_ssize_t>places[5], first + <Py_ssize_t>places[6], first + <Py_ssize_t>places[7]
        e.dense, e.matrix = first + <Py_ssize_t>places[8], first + <Py_ssize_t>places[9]
        e.ahead, e.ahead_from = first + <Py_ssize_t>places[10], first + <Py_ssize_t>places[11]
        e.common, e.row = first + <Py_ssize_t>places[12], first + <Py_ssize_t>places[13]
        cdef double *least = first + <Py_ssize_t>places[14]
        cdef const double[::1] shares = given
        cdef int i, j
        for i in range(e.n_blocks):
            e.blocks[i].least = least
            for j in range(e.blocks[i].units * e.blocks[i].width):
                least[j] = PIVOT_FLOOR if given is None else shares[e.blocks[i].column[j]]
            least += e.blocks[i].units * e.blocks[i].width

    cdef double *bind(self, array) except NULL:
        cdef double[::1] flat = array.reshape(-1)
        if <size_t>&flat[0] % 64:
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

    def set_background(self, const double[:, ::1] spread, const double[::1] points):
        """Add a background component: (2, columns) of the logarithm of what it is spread over, and a slope.

        Its log density is the sum of -(width + slope x) over the cells that are there; its share is what the masses
        leave of 1. The array may change between calls. A cell that is its column's one of `points` has probability
        1/2 instead; NaN where a column has no such value.
        """
        self.keep += [spread, points]
        self.e.width, self.e.slope, self.e.point = &spread[0, 0], &spread[1, 0], &points[0]

    def set_step(self, step):
        """Let the step size be another: (code, value)."""
        self.e.step_kind, self.e.step_value = step
        self.run.maximize(&self.e)  # what the prior weighs goes by it

    def set_levels(self, int block, long size):
        """Let a categorical block have so many levels; its array has room for them."""
        self.e.blocks[block].size = size
        self.run.maximize(&self.e)

    cdef double *take_work(self) except NULL:
        """Accumulate's work: the engine's own, or another where a second thread asks for it meanwhile."""
        cdef double *work = self.work
        cdef size_t size = (self.run.work(&self.e) // GROUP_SIZE + 1) * GROUP_SIZE * sizeof(double)
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

    def accumulator(self):
        """Zeros for expected statistics: rows x padded components."""
        return aligned(accumulator_rows(&self.e), self.e.kpad)

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
