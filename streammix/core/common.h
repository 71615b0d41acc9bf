/* One record: what does not depend on the component. */

/* whether every cell is there and inside its support: zero times anything else is not zero */
static inline int is_whole(const double *row, int n) {
    vd sum = all(0.0), x;
    double rest = 0.0;
    if (n < W)
        for (int c = 0; c < n; c++) rest += 0.0 * row[c];
    else
        for (int c = 0; c < n; c += W) {
            memcpy(&x, row + (c + W <= n ? c : n - W), sizeof x);
            sum += 0.0 * x;
        }
    return rest == rest && every(sum == sum);
}

/* sum of log x over a unit's coordinates; where some are missing, what they leave together is one */
static double log_volume(const block *b, int u, const double *row) {
    const double *x = row + b->column[u * b->width], *log_x = x + b->width / 2;
    int pattern = b->kind == GAMMA ? (*x < INFINITY ? FULL : ABSENT) : unit_pattern(b, u, row);
    double sum = pattern == PARTIAL ? log(rest_of(b->size, x)) : 0.0;
    for (int j = 0; j < b->width / 2 && pattern <= PARTIAL; j++) sum += log_x[j] == log_x[j] ? log_x[j] : 0.0;
    return sum;
}

/* how many fields of a block of Normals a record has */
static inline int fields_there(const engine *e, const block *b, const double *row) {
    int n = 0;
    if (e->whole) return b->units;
    for (int u = 0; u < b->units; u++) n += row[b->column[u]] < INFINITY;
    return n;
}

static inline double inflated_common(const block *b, const double *x) {
    if (!(*x < INFINITY) || is_zero(b, *x)) return 0.0;
    switch (b->inner) {
    case LOGNORMAL: return -*x;
    case POISSON: return poisson_constant(*x);
    case BINOMIAL: return binomial_constant(b->size, *x);
    case NEGATIVE_BINOMIAL: return log_count_constant(*x);
    case GAMMA: return -x[1];
    }
    return 0.0;
}

#define OBSERVED(x) \
    for (int u = 0; u < b->units && (x = row + b->column[u * b->width], 1); u++) \
        if (*x < INFINITY)

/* what a record adds to the log density of every component, and what else of a block depends on the record alone */
static inline __attribute__((always_inline)) double block_common(engine *e, const block *b, const double *row) {
    const double *x;
    double c = 0.0;
    switch (b->kind) {
    case NORMAL: return -HALF_LOG_2PI * fields_there(e, b, row);
    case LOGNORMAL:
        OBSERVED(x) c -= *x;
        return c - HALF_LOG_2PI * fields_there(e, b, row);
    case MVN: {
        int pattern = e->whole ? FULL : unit_pattern(b, 0, row);
        e->pattern[b - e->blocks] = pattern;
        for (int j = 0; pattern == PARTIAL && j < b->size; j++)
            if (row[b->column[j]] == row[b->column[j]]) c -= HALF_LOG_2PI;
        return pattern == FULL ? -HALF_LOG_2PI * b->size : c;
    }
    case MULTINOMIAL: {
        int pattern = e->whole ? FULL : unit_pattern(b, 0, row);
        e->pattern[b - e->blocks] = pattern;
        return pattern <= PARTIAL ? counts_constant(b->size, row + b->column[0]) : 0.0;
    }
    case POISSON: OBSERVED(x) c += poisson_constant(*x); return c;
    case BINOMIAL: OBSERVED(x) c += binomial_constant(b->size, *x); return c;
    case GAMMA: OBSERVED(x) c -= x[1]; return c;
    case NEGATIVE_BINOMIAL: OBSERVED(x) c += log_count_constant(*x); return c;
    case INVERSE_GAUSSIAN: OBSERVED(x) c += inverse_gaussian_common(*x); return c;
    case DIRICHLET:
        for (int u = 0; u < b->units; u++) c -= log_volume(b, u, row);
        return c;
    case INFLATED:
        for (int u = 0; u < b->units; u++) c += inflated_common(b, row + b->column[u * b->width]);
        return c;
    case VONMISES:
        OBSERVED(x) {
            double *angle = e->y + (b->y + u) * e->kpad;
            vd cosine, sine;
            half_angle(all(turns_of(*x, b->constant)), &cosine, &sine);
            angle[0] = cosine[0];
            angle[1] = sine[0];
        }
    }
    return 0.0;
}

static inline void prepare(engine *e, const double *row) {
    e->whole = is_whole(row, e->n_columns);
    for (int i = 0; i < e->n_blocks; i++) e->common[i] = block_common(e, e->blocks + i, row);
}
