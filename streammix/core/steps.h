/* Step sizes, gamma of the record at n after a start of `start` records: a power law, or a constant. */

static inline vd step_sizes(const engine *e, vd n, double start) {
    if (e->step_kind == 1) return all(e->step_value);
    vd gamma = e->step_value == 1.0 ? 1.0 / (start + n) : vexp(-e->step_value * vlog(1.0 + n / start)) / start;
    return vmin(gamma, all(1.0)); /* a start may be worth less than one record */
}

static double step_of(const engine *e, double n, double start) { return step_sizes(e, all(n), start)[0]; }

/* of the next record of a mass; the records after it are computed along with it */
static inline double next_step(const engine *e, int m) {
    double *ahead = e->ahead + m * LANES, *from = e->ahead_from + m, n = e->clock[m] + 1.0, at = n - *from;
    if (!(at >= 0.0 && at < LANES && *from + (int)at == n)) {
        at = 0.0;
        *from = n;
        for (int i = 0; i < LANES; i++) ahead[i] = n + i;
        for (int i = 0; i < LANES; i += W) AT(ahead + i) = step_sizes(e, CONST_AT(ahead + i), e->start[m]);
    }
    return ahead[(int)at];
}

/* after a change of the clocks or the starts */
static void forget_steps(const engine *e) {
    for (int m = 0; m < e->n_masses; m++) e->ahead_from[m] = NAN;
}
