/* One record: the step of the statistics, and the M-step of what moved. */

static inline vd unit_kappa(const engine *e, const block *b, int u, int k) {
    return b->fixed ? all(0.0) : CONST_AT(e->kappa + b->mass[u] * e->kpad + k);
}

/* one Normal's step, where its field is there, and its M-step's variance */
static inline vd normal_learn(double x, vd rho, vd kappa, vd scale, double *stat, int kpad) {
    double *offset = stat + kpad, *variance = stat + 2 * kpad;
    vd v = x < INFINITY ? normal_step(all(x), CONST_AT(stat), rho, offset, variance) : CONST_AT(variance);
    return normal_variance(v, scale, kappa);
}

/* The step (where there is a record) and the M-step of Normals; in pairs, which share a division. The locals are for
 * the compiler, which must assume that a store through a vector changes any field of a struct. */
static inline void normals_learn(const engine *e, const block *b, int k, const double *row) {
    const int kpad = e->kpad, units = b->units, fixed = b->fixed;
    const int *column = b->column, *mass = b->mass;
    const double *rho = e->rho + k, *kappa = e->kappa + k, *p = b->prior + k;
    double *s = b->stat + k, *t = b->theta + k;
    vi lanes = (vi)all(0.0) - 1;
    if (b->lanes) lanes = *(const vi *)(b->lanes + k);
    int last = -1;
    vd weight = all(0.0), share = all(0.0);
    for (int u = 0; u < units; u++, s += 3 * kpad, t += 2 * kpad, p += kpad) {
        if (mass[u] != last && !fixed) {
            last = mass[u];
            weight = (vd)((vi)CONST_AT(rho + last * kpad) & lanes);
            share = CONST_AT(kappa + last * kpad);
        }
        vd v = normal_learn(row ? row[column[u]] : INFINITY, weight, share, CONST_AT(p), s, kpad);
        if (u + 1 == units) {
            normal_maximize(v, t, kpad);
            break;
        }
        u++, s += 3 * kpad, p += kpad;
        if (mass[u] != last && !fixed) {
            last = mass[u];
            weight = (vd)((vi)CONST_AT(rho + last * kpad) & lanes);
            share = CONST_AT(kappa + last * kpad);
        }
        vd w = normal_learn(row ? row[column[u]] : INFINITY, weight, share, CONST_AT(p), s, kpad);
        normal_maximize_two(v, w, t, t + 2 * kpad, kpad);
        t += 2 * kpad;
    }
}

static inline void block_maximize(const engine *e, const block *b, int k) {
    const int kpad = e->kpad;
    if (b->kind == NORMAL || b->kind == LOGNORMAL) {
        normals_learn(e, b, k, 0);
        return;
    }
    for (int u = 0; u < b->units; u++) {
        double *s = b->stat + u * b->stat_rows * kpad + k, *t = b->theta + u * b->theta_rows * kpad + k;
        const double *p = b->prior + u * b->prior_rows * kpad + k;
        long m = b->fixed ? 0 : b->mass[u] * kpad + k;
        vd kappa = unit_kappa(e, b, u, k);
        switch (b->kind) {
        case MVN: mvn_maximize(b->size, s, p, kappa, t, kpad); break;
        case GAMMA: gamma_maximize(s, p, kappa, t, kpad); break;
        case DIRICHLET: dirichlet_maximize(b->size, s, p, kappa, t, kpad); break;
        case NEGATIVE_BINOMIAL: negative_binomial_maximize(s, p, kappa, t, kpad); break;
        case INVERSE_GAUSSIAN: inverse_gaussian_maximize(s, CONST_AT(p), kappa, t, kpad); break;
        case EXPONENTIAL: exponential_maximize(CONST_AT(s), CONST_AT(p), kappa, t); break;
        case POISSON: poisson_maximize(CONST_AT(s), CONST_AT(p), kappa, t, kpad); break;
        case GEOMETRIC: geometric_maximize(CONST_AT(s), CONST_AT(p), kappa, t, kpad); break;
        case BERNOULLI: bernoulli_maximize(CONST_AT(s), CONST_AT(p), kappa, t, kpad); break;
        case MULTINOMIAL: multinomial_maximize(b->size, s, p, kappa, t, kpad); break;
        case BINOMIAL: binomial_maximize(CONST_AT(s), all(b->size), CONST_AT(p), kappa, t, kpad); break;
        case CATEGORICAL: {
            vd beta = b->fixed ? all(0.0) : CONST_AT(p);
            categorical_maximize(CONST_AT(s), CONST_AT(e->count + m), beta, b->size, t, kpad);
            break;
        }
        case VONMISES: vonmises_maximize(s, CONST_AT(p), kappa, b->constant, t, kpad); break;
        case STUDENT: student_maximize(s, CONST_AT(p), kappa, b->constant, t, kpad); break;
        case UNIFORM: AT(t) = 1.0 / CONST_AT(s); break;
        case INFLATED: inflated_maximize(b, s, p, kappa, t, kpad); break;
        }
    }
}

static inline vd prior_share(const engine *e, vd count) { return e->prior_weight / (count + e->prior_weight); }

static void maximize(engine *e) {
    forget_steps(e);
    for (int m = 0; m < e->n_masses; m++)
        for (int k = 0; k < e->kpad; k += W)
            AT(e->kappa + m * e->kpad + k) = prior_share(e, CONST_AT(e->count + m * e->kpad + k));
    for (int i = 0; i < e->n_blocks; i++)
        if (e->blocks[i].kind != EXTERNAL)
            for (int k = 0; k < e->kpad; k += W) block_maximize(e, e->blocks + i, k);
    e->weight_prior = e->prior_weight * step_sizes(e, all(e->clock[0]), e->start[0])[0] / e->k;
}

static inline void block_step(const engine *e, const block *b, int k, const double *row) {
    const int kpad = e->kpad;
    for (int u = 0; u < b->units; u++) {
        double *s = b->stat + u * b->stat_rows * kpad + k;
        double x = row[b->column[u * b->width]];
        const double *p = b->prior + u * b->prior_rows * kpad + k;
        vd rho = CONST_AT(e->rho + b->mass[u] * kpad + k);
        if (b->lanes) rho = (vd)((vi)rho & *(const vi *)(b->lanes + k));
        if (b->kind == MVN) {
            int pattern = e->pattern[b - e->blocks];
            double *y = e->y + b->y * kpad + k;
            if (pattern == FULL) mvn_step(b->size, rho, row + b->column[0], s, b->theta + k, p, kpad, y, y + b->size * kpad);
            if (pattern == PARTIAL) mvn_partial_step(e, b, k, rho, row);
            continue;
        }
        if (b->kind == MULTINOMIAL) {
            int pattern = e->pattern[b - e->blocks];
            if (pattern <= PARTIAL)
                multinomial_step(b->size, row + b->column[0], pattern, rho, s, b->theta + k, kpad);
            continue;
        }
        if (b->kind == DIRICHLET) {
            int pattern = unit_pattern(b, u, row);
            const double *t = b->theta + u * b->theta_rows * kpad + k;
            if (pattern == FULL) dirichlet_step(b->size, row + b->column[u * b->width], rho, s, t, kpad);
            if (pattern == PARTIAL) dirichlet_partial_step(b->size, row + b->column[u * b->width], rho, s, t, kpad);
            continue;
        }
        if (!(x < INFINITY)) continue;
        if (b->kind == GAMMA) {
            gamma_step(all(x), all(row[b->column[2 * u + 1]]), rho, s, b->theta + u * 4 * kpad + k, kpad);
            continue;
        }
        if (b->kind == NEGATIVE_BINOMIAL) {
            negative_binomial_step(all(x), rho, s, b->theta + u * 4 * kpad + k, kpad);
            continue;
        }
        if (b->kind == INVERSE_GAUSSIAN) {
            inverse_gaussian_step(all(x), rho, s, b->theta + u * 3 * kpad + k, kpad);
            continue;
        }
        const double *kept = e->y + (b->y + u) * kpad;
        if (b->kind == VONMISES) {
            vonmises_step(all(kept[0]), all(kept[1]), rho, s, kpad);
            continue;
        }
        if (b->kind == INFLATED) {
            const double *theta = b->theta + u * b->theta_rows * kpad + k;
            inflated_step(b, row + b->column[u * b->width], rho, s, theta, kpad);
            continue;
        }
        if (b->kind == STUDENT) {
            student_step(all(x), CONST_AT(kept + k), rho, s, b->theta + u * 6 * kpad + k, kpad);
            continue;
        }
        if (b->kind != CATEGORICAL) {
            mean_step(all(x), rho, s);
            continue;
        }
        vd t = categorical_step(rho, s, s + (1 + (long)x) * kpad);
        for (int j = 0; j < W && !every(t <= GROWN); j++)
            if (t[j] > GROWN)
                for (long v = 0; v <= b->size; v++) s[v * kpad + j] /= t[j];
    }
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
    if (e->whole) return 0;
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

static int learn(engine *e, const double *row, double w) {
    const int kpad = e->kpad;
    if (e->scored) e->total = total_mass(e);
    int status = expect(e, row);
    if (status) return status;
    if (needs_fork(e, row)) return FORK;
    e->n_active = kpad == LANES;
    e->active[0] = 0;
    for (int g = 0; kpad > LANES && g < kpad; g += LANES) {
        vi silent = CONST_AT(e->r + g) <= NEGLIGIBLE;
        for (int k = g + W; k < g + LANES; k += W) silent &= CONST_AT(e->r + k) <= NEGLIGIBLE;
        if (!every(silent)) e->active[e->n_active++] = g;
    }
    for (int m = 0; m < e->n_masses; m++) {
        if (m > 0 && !mass_observed(e, m, row)) continue;
        const double next = next_step(e, m), gamma = weighted_step(next, w), kept = 1.0 - gamma;
        const double records = weighted_records(next, w, gamma);
        double *mass = e->mass + m * kpad;
        for (int k = 0; k < kpad; k += W) {
            vd r = CONST_AT(e->r + k);
            vd s = kept * AT(mass + k) + gamma * select_(r > NEGLIGIBLE, r, all(0.0));
            AT(mass + k) = select_(CONST_AT(e->bias + k) == 0.0, vmax(s, all(SMALLEST)), all(0.0));
        }
        for (int i = 0; i < e->n_active; i++)
            for (int k = e->active[i]; k < e->active[i] + LANES; k += W) {
                double *at = e->count + m * kpad + k;
                vd r = CONST_AT(e->r + k);
                vi moved = r > NEGLIGIBLE;
                vd count = select_(moved, vmax(AT(mass + k) * records, all(SMALLEST)), AT(at));
                AT(at) = count;
                AT(e->rho + m * kpad + k) = select_(moved, vmin(w * r / count, all(1.0)), all(0.0));
                AT(e->kappa + m * kpad + k) = prior_share(e, count);
            }
        e->clock[m] += w;
        if (m == 0) e->weight_prior = e->prior_weight * gamma / e->k;
    }
    if (w != 1.0) e->weight_prior = e->prior_weight * step_sizes(e, all(e->clock[0]), e->start[0])[0] / e->k;
    for (int i = 0; i < e->n_blocks; i++) {
        const block *b = e->blocks + i;
        if (b->fixed) continue;
        for (int g = 0; g < e->n_active; g++)
            for (int k = e->active[g]; k < e->active[g] + LANES; k += W) {
                if (b->kind == NORMAL || b->kind == LOGNORMAL) {
                    normals_learn(e, b, k, row);
                    continue;
                }
                block_step(e, b, k, row);
                block_maximize(e, b, k);
            }
    }
    if (e->top < -1e20) {
        tame(e);
        maximize(e);
    }
    return LEARNT;
}
