/* One record: the step of the statistics, and the M-step of what moved. */

/* What the Normals of a block step by, W components of them; the locals are for the compiler, which must assume that a
 * store through a vector changes any field of a struct. */
typedef struct {
    const double *row, *rho, *kappa; /* row: NULL where nothing steps */
    const int *column, *mass;
    const double *least;
    int last;
    vd weight, share;
    vi lanes;
} moves;

/* one Normal's step, where its field is there, and its M-step's variance */
static inline __attribute__((always_inline)) vd normal_learn(moves *m, int u, const double *prior, double *stat, int kpad) {
    double *offset = stat + kpad, *variance = stat + 2 * kpad;
    if (m->mass && m->mass[u] != m->last) {
        m->last = m->mass[u];
        m->weight = (vd)((vi)CONST_AT(m->rho + m->last * kpad) & m->lanes);
        m->share = CONST_AT(m->kappa + m->last * kpad);
    }
    double x = m->row ? m->row[m->column[u]] : INFINITY;
    vd v = x < INFINITY ? normal_step(all(x), CONST_AT(stat), m->weight, offset, variance) : CONST_AT(variance);
    return normal_variance(v, CONST_AT(prior), m->share, m->least[u]);
}

static inline __attribute__((always_inline)) void some_normals_learn(const int n, moves *m, int u, const double *prior,
                                                                     double *stat, double *theta, const int kpad) {
    vd v[4];
    for (int i = 0; i < n; i++) v[i] = normal_learn(m, u + i, prior + i * kpad, stat + 3 * i * kpad, kpad);
    normals_maximize(n, v, theta, kpad);
}

/* The step (where there is a record) and the M-step of Normals, by fours, which share a division. */
static inline __attribute__((always_inline)) void normals_learn(const engine *e, const block *b, int k, const double *row,
                                                                const int kpad) {
    moves m = {row, e->rho + k, e->kappa + k, b->column, b->fixed ? 0 : b->mass, b->least, -1, all(0.0), all(0.0), (vi)all(0.0) - 1};
    if (b->lanes) m.lanes = *(const vi *)(b->lanes + k);
    const double *p = b->prior + k;
    double *s = b->stat + k, *t = b->theta + k;
    int u = 0;
    for (; u + 4 <= b->units; u += 4, s += 12 * kpad, t += 8 * kpad, p += 4 * kpad) some_normals_learn(4, &m, u, p, s, t, kpad);
    if (u + 2 <= b->units) {
        some_normals_learn(2, &m, u, p, s, t, kpad);
        u += 2, s += 6 * kpad, t += 4 * kpad, p += 2 * kpad;
    }
    if (u < b->units) some_normals_learn(1, &m, u, p, s, t, kpad);
}

/* a unit of a block: its cells of the record where it has one, what it steps by, and its arrays */
typedef struct {
    const double *x;
    int is_there;
    vd rho, kappa;
    double *stat, *theta;
    const double *prior;
    long mass;
} unit;

static inline __attribute__((always_inline)) unit unit_of(const engine *e, const block *b, int u, int k, const double *row) {
    const int kpad = e->kpad;
    unit v = {row ? row + b->column[u * b->width] : 0, 0, all(0.0), all(0.0), b->stat + u * b->stat_rows * kpad + k,
              b->theta + u * b->theta_rows * kpad + k, b->prior + u * b->prior_rows * kpad + k, k};
    if (b->fixed) return v;
    v.mass = b->mass[u] * kpad + k;
    v.kappa = CONST_AT(e->kappa + v.mass);
    if (!row) return v;
    v.is_there = *v.x < INFINITY;
    v.rho = CONST_AT(e->rho + v.mass);
    if (b->lanes) v.rho = (vd)((vi)v.rho & *(const vi *)(b->lanes + k));
    return v;
}

/* counts grow from record to record, and are brought back to the size of 1 together */
static inline void categorical_learn(const block *b, double x, vd rho, double *stat, int kpad) {
    vd t = categorical_step(rho, stat, stat + (1 + (long)x) * kpad);
    for (int j = 0; j < W && !every(t <= GROWN); j++)
        if (t[j] > GROWN)
            for (long v = 0; v <= b->size; v++) stat[v * kpad + j] /= t[j];
}

static inline void mvn_learn(const engine *e, const block *b, int k, const double *row, const unit *v) {
    const int pattern = e->pattern[b - e->blocks], kpad = e->kpad;
    double *y = e->y + b->y * kpad + k;
    if (pattern == FULL) mvn_step(b->size, v->rho, v->x, v->stat, v->theta, v->prior, b->least, kpad, y, y + b->size * kpad);
    if (pattern == PARTIAL) mvn_partial_step(e, b, k, v->rho, row);
}

static inline void dirichlet_learn(const block *b, int u, const double *row, const unit *v, int kpad) {
    int pattern = unit_pattern(b, u, row);
    if (pattern == FULL) dirichlet_step(b->size, v->x, v->rho, v->stat, v->theta, kpad);
    if (pattern == PARTIAL) dirichlet_partial_step(b->size, v->x, v->rho, v->stat, v->theta, kpad);
}

#define UNITS for (int u = 0; u < b->units && (v = unit_of(e, b, u, k, row), 1); u++)

/* the step of W components (where there is a record) and their M-step, of families that aren't Normals */
static __attribute__((noinline)) void other_learn(const engine *e, const block *b, int k, const double *row) {
    const int kpad = e->kpad;
    unit v;
    switch (b->kind) {
    case MVN:
        UNITS {
            if (row) mvn_learn(e, b, k, row, &v);
            mvn_maximize(b->size, v.stat, v.prior, b->least, v.kappa, v.theta, kpad);
        }
        break;
    case GAMMA:
        UNITS {
            const double *apart = e->y + (b->y + u) * kpad + k;
            if (v.is_there) gamma_step(all(v.x[0]), all(v.x[1]), CONST_AT(apart), v.rho, v.stat, v.theta, kpad);
            gamma_maximize(v.stat, v.prior, v.kappa, v.theta, kpad);
        }
        break;
    case DIRICHLET:
        UNITS {
            if (row) dirichlet_learn(b, u, row, &v, kpad);
            dirichlet_maximize(b->size, v.stat, v.prior, v.kappa, v.theta, kpad);
        }
        break;
    case NEGATIVE_BINOMIAL:
        UNITS {
            if (v.is_there) negative_binomial_step(all(*v.x), v.rho, v.stat, v.theta, kpad);
            negative_binomial_maximize(v.stat, v.prior, v.kappa, v.theta, kpad);
        }
        break;
    case INVERSE_GAUSSIAN:
        UNITS {
            if (v.is_there) inverse_gaussian_step(all(*v.x), v.rho, v.stat, v.theta, kpad);
            inverse_gaussian_maximize(v.stat, CONST_AT(v.prior), v.kappa, v.theta, kpad);
        }
        break;
    case EXPONENTIAL:
        UNITS {
            if (v.is_there) mean_step(all(*v.x), v.rho, v.stat);
            exponential_maximize(CONST_AT(v.stat), CONST_AT(v.prior), v.kappa, v.theta);
        }
        break;
    case POISSON:
        UNITS {
            if (v.is_there) mean_step(all(*v.x), v.rho, v.stat);
            poisson_maximize(CONST_AT(v.stat), CONST_AT(v.prior), v.kappa, v.theta, kpad);
        }
        break;
    case GEOMETRIC:
        UNITS {
            if (v.is_there) mean_step(all(*v.x), v.rho, v.stat);
            geometric_maximize(CONST_AT(v.stat), CONST_AT(v.prior), v.kappa, v.theta, kpad);
        }
        break;
    case BERNOULLI:
        UNITS {
            if (v.is_there) mean_step(all(*v.x), v.rho, v.stat);
            bernoulli_maximize(CONST_AT(v.stat), CONST_AT(v.prior), v.kappa, v.theta, kpad);
        }
        break;
    case MULTINOMIAL:
        UNITS {
            const int pattern = row ? e->pattern[b - e->blocks] : ABSENT;
            if (pattern <= PARTIAL) multinomial_step(b->size, v.x, pattern, v.rho, v.stat, v.theta, kpad);
            multinomial_maximize(b->size, v.stat, v.prior, v.kappa, v.theta, kpad);
        }
        break;
    case BINOMIAL:
        UNITS {
            if (v.is_there) mean_step(all(*v.x), v.rho, v.stat);
            binomial_maximize(CONST_AT(v.stat), all(b->size), CONST_AT(v.prior), v.kappa, v.theta, kpad);
        }
        break;
    case CATEGORICAL:
        UNITS {
            vd beta = b->fixed ? all(0.0) : CONST_AT(v.prior);
            if (v.is_there) categorical_learn(b, *v.x, v.rho, v.stat, kpad);
            categorical_maximize(CONST_AT(v.stat), CONST_AT(e->count + v.mass), beta, b->size, v.theta, kpad);
        }
        break;
    case VONMISES:
        UNITS {
            const double *angle = e->y + (b->y + u) * kpad;
            if (v.is_there) vonmises_step(all(angle[0]), all(angle[1]), v.rho, v.stat, kpad);
            vonmises_maximize(v.stat, CONST_AT(v.prior), v.kappa, b->constant, v.theta, kpad);
        }
        break;
    case STUDENT:
        UNITS {
            const double *log_plus = e->y + (b->y + u) * kpad + k;
            if (v.is_there) student_step(all(*v.x), CONST_AT(log_plus), v.rho, v.stat, v.theta, kpad);
            student_maximize(v.stat, CONST_AT(v.prior), v.kappa, b->constant, v.theta, kpad);
        }
        break;
    case UNIFORM:
        UNITS AT(v.theta) = 1.0 / CONST_AT(v.stat);
        break;
    case INFLATED:
        UNITS {
            if (v.is_there) inflated_step(b, v.x, v.rho, v.stat, v.theta, kpad);
            inflated_maximize(b, u, v.stat, v.prior, v.kappa, v.theta, kpad);
        }
        break;
    }
}

static inline __attribute__((always_inline)) void block_learn(const engine *e, const block *b, int k, const double *row,
                                                              const int kpad) {
    if (is_normal(b)) normals_learn(e, b, k, row, kpad);
    else other_learn(e, b, k, row);
}

static inline vd prior_share(const engine *e, vd count) { return e->prior_weight / (count + e->prior_weight); }

static void maximize(engine *e) {
    forget_steps(e);
    for (int m = 0; m < e->n_masses; m++)
        for (int k = 0; k < e->kpad; k += W)
            AT(e->kappa + m * e->kpad + k) = prior_share(e, CONST_AT(e->count + m * e->kpad + k));
    for (int i = 0; i < e->n_blocks; i++)
        if (e->blocks[i].kind != EXTERNAL)
            for (int k = 0; k < e->kpad; k += W) block_learn(e, e->blocks + i, k, 0, e->kpad);
    e->weight_prior = e->prior_weight * step_sizes(e, all(e->clock[0]), e->start[0])[0] / e->k;
}

/* After a record absurdly far from every component: keeps the factors' entries where products stay finite. */
static void tame(const engine *e) {
    const int kpad = e->kpad;
    for (int i = 0; i < e->n_blocks; i++) {
        const block *b = e->blocks + i;
        if (b->kind != MVN) continue;
        double *s = b->stat + b->size * kpad;
        for (long j = 0; j < (b->stat_rows - b->size) * kpad; j++) {
            double bound = j / kpad / b->size == 1 ? LARGEST * LARGEST : LARGEST;
            s[j] = s[j] > bound ? bound : s[j] < -bound ? -bound : s[j] == s[j] ? s[j] : 0.0;
        }
    }
}

/* A mass of its own for each unit whose record lacks it, made before anything moves. */
static int needs_fork(const engine *e, const double *row) {
    for (int i = 0; i < e->n_blocks; i++) {
        const block *b = e->blocks + i;
        if (b->fixed) continue;
        for (int u = 0; u < b->units; u++) {
            if (b->mass[u] != 0) continue;
            int present = 0;
            for (int j = 0; j < b->width; j++) present |= row[b->column[u * b->width + j]] == row[b->column[u * b->width + j]];
            if (!present) return 1;
        }
    }
    return 0;
}

/* One step of a mass of W components that may respond, and what their statistics step by: a share rho of the record,
 * and kappa of the prior in the M-step. `kept` is what the step leaves of a mass. */
static inline __attribute__((always_inline)) void mass_learn(const engine *e, int m, int k, vd sum, vd inverse,
                                                             double gamma, double records, const int kpad) {
    double *mass = e->mass + m * kpad + k, *count = e->count + m * kpad + k;
    vd r = CONST_AT(e->r + k), part = vmax(gamma * CONST_AT(e->share + k), all(SMALLEST));
    vd before = (1.0 - gamma) * AT(mass), after = plus_product(before, part, inverse);
    vi moved = r > NEGLIGIBLE;
    AT(e->rho + m * kpad + k) = select_(moved, part / plus_product(part, before, sum), all(0.0));
    vd stands = select_(moved, vmax(after * records, all(SMALLEST)), AT(count));
    AT(count) = stands;
    if (e->prior_weight > 0.0) AT(e->kappa + m * kpad + k) = prior_share(e, stands);
    AT(mass) = select_(CONST_AT(e->bias + k) == 0.0, vmax(select_(moved, after, before), all(SMALLEST)), all(0.0));
}

static inline __attribute__((always_inline)) int learn_lanes(engine *e, const double *row, double w, const int kpad) {
    if (e->scored) e->total = total_mass(e);
    int status = find_shares(e, row, kpad);
    if (status) return status;
    if (!e->whole && needs_fork(e, row)) return FORK;
    const vd sum = all(e->sum), inverse = all(1.0 / e->sum);
    for (int k = 0; k < kpad; k += W) AT(e->r + k) = CONST_AT(e->share + k) / sum;
    e->n_active = kpad == LANES;
    e->active[0] = 0;
    for (int g = 0; kpad > LANES && g < kpad; g += LANES) {
        vi silent = CONST_AT(e->r + g) <= NEGLIGIBLE;
        for (int k = g + W; k < g + LANES; k += W) silent &= CONST_AT(e->r + k) <= NEGLIGIBLE;
        if (!every(silent)) e->active[e->n_active++] = g;
    }
    for (int m = 0; m < e->n_masses; m++) {
        if (m > 0 && !mass_observed(e, m, row)) continue;
        const double next = next_step(e, m), gamma = weighted_step(next, w), records = weighted_records(next, w, gamma);
        for (int g = 0, i = 0; g < kpad; g += LANES) {
            if (kpad == LANES || (i < e->n_active && e->active[i] == g)) {
                for (int k = g; k < g + LANES; k += W) mass_learn(e, m, k, sum, inverse, gamma, records, kpad);
                i++;
                continue;
            }
            for (int k = g; k < g + LANES; k += W) {
                vd s = vmax((1.0 - gamma) * CONST_AT(e->mass + m * kpad + k), all(SMALLEST));
                AT(e->mass + m * kpad + k) = select_(CONST_AT(e->bias + k) == 0.0, s, all(0.0));
            }
        }
        e->clock[m] += w;
        if (m == 0) e->weight_prior = e->prior_weight * gamma / e->k;
    }
    if (w != 1.0) e->weight_prior = e->prior_weight * step_sizes(e, all(e->clock[0]), e->start[0])[0] / e->k;
    for (int i = 0; i < e->n_blocks; i++) {
        const block *b = e->blocks + i;
        if (b->fixed) continue;
        for (int g = e->n_active - 1; g >= 0; g--) /* the last group first, likewise */
            for (int k = e->active[g]; k < e->active[g] + LANES; k += W) block_learn(e, b, k, row, kpad);
    }
    if (e->top < -1e20) {
        tame(e);
        maximize(e);
    }
    return LEARNT;
}

static int learn(engine *e, const double *row, double w) {
    return e->kpad == LANES ? learn_lanes(e, row, w, LANES) : learn_lanes(e, row, w, e->kpad);
}
