/* A step of the statistics towards another state's, which enters as a block of records with those moments would: the
 * running average of the statistics moves so. */

/* one unit's moments in the other state, s, about this one's means: in the accumulator's rows */
static void unit_moments(const engine *e, const block *b, int kind, int k, const double *s, const double *own, vd mass,
                         double *acc) {
    const int kpad = e->kpad;
    switch (kind) {
    case NORMAL:
    case LOGNORMAL: {
        const vd shift = (CONST_AT(s) - CONST_AT(own)) + (CONST_AT(s + kpad) - CONST_AT(own + kpad));
        AT(acc) = mass * shift;
        AT(acc + kpad) = mass * (CONST_AT(s + 2 * kpad) + shift * shift);
        break;
    }
    case MVN: {
        const int D = b->size;
        double *C = e->matrix + k;
        mvn_covariance(D, s + 2 * D * kpad, s + 3 * D * kpad, kpad, C);
        for (int i = 0; i < D; i++) {
            const double *mean = s + i * kpad, *before = own + i * kpad;
            const vd shift = (CONST_AT(mean) - CONST_AT(before)) + (CONST_AT(mean + D * kpad) - CONST_AT(before + D * kpad));
            AT(acc + i * kpad) = mass * shift;
            AT(C + triangle(D + 1) * kpad + i * kpad) = shift;
            for (int j = 0; j <= i; j++) {
                const long pair = triangle(i + 1) + j;
                AT(acc + (D + pair) * kpad) =
                    mass * (CONST_AT(C + pair * kpad) + shift * CONST_AT(C + triangle(D + 1) * kpad + j * kpad));
            }
        }
        break;
    }
    case CATEGORICAL:
        for (long v = 0; v < b->size; v++) AT(acc + v * kpad) = mass * (CONST_AT(s + (1 + v) * kpad) / CONST_AT(s));
        break;
    case GAMMA:
    case DIRICHLET:
    case NEGATIVE_BINOMIAL:
        for (long j = 0; j < b->size; j++, acc += 3 * kpad) {
            const vd mean = CONST_AT(s + j * kpad), gap = CONST_AT(s + (b->size + j) * kpad), before = CONST_AT(own + j * kpad);
            const vd log_ratio = vlog(mean / before);
            AT(acc) = mass * mean;
            AT(acc + kpad) = mass * (gap + excess((mean - before) / before, log_ratio));
            AT(acc + 2 * kpad) = mass * (log_ratio - gap);
        }
        break;
    case INVERSE_GAUSSIAN: {
        const vd distance = (CONST_AT(s) - CONST_AT(own)) / CONST_AT(own);
        AT(acc) = mass * CONST_AT(s);
        AT(acc + kpad) = mass * ((CONST_AT(s + kpad) + distance * distance) / (1.0 + distance));
        break;
    }
    case VONMISES:
        for (int i = 0; i < 2; i++) AT(acc + i * kpad) = mass * CONST_AT(s + (2 + i) * kpad);
        break;
    case STUDENT: {
        const vd shift = (CONST_AT(s) - CONST_AT(own)) + (CONST_AT(s + kpad) - CONST_AT(own + kpad));
        const vd weight = CONST_AT(s + 3 * kpad);
        AT(acc) = mass * weight;
        AT(acc + kpad) = mass * (weight * shift);
        AT(acc + 2 * kpad) = mass * (CONST_AT(s + 2 * kpad) + weight * shift * shift);
        AT(acc + 3 * kpad) = mass * CONST_AT(s + 4 * kpad);
        break;
    }
    case MULTINOMIAL:
        for (long j = 0; j < b->size; j++) AT(acc + j * kpad) = mass * CONST_AT(s + j * kpad);
        break;
    case UNIFORM: break;
    default: AT(acc) = mass * CONST_AT(s);
    }
}

/* gamma of the way to a state with these masses and, a block, statistics */
static void approach(engine *e, const double *mass, const double *const *stat, double gamma, double *acc) {
    const int kpad = e->kpad;
    double step[e->n_masses], total[e->n_masses];
    for (int m = 0; m < e->n_masses; m++) {
        step[m] = gamma;
        total[m] = 1.0;
    }
    memcpy(acc, mass, sizeof(double) * e->n_masses * kpad);
    for (int i = 0; i < e->n_blocks; i++) {
        const block *b = e->blocks + i;
        if (b->fixed || b->kind == EXTERNAL) continue;
        for (int u = 0; u < b->units; u++)
            for (int k = 0; k < kpad; k += W) {
                const double *s = stat[i] + u * b->stat_rows * kpad + k, *own = b->stat + u * b->stat_rows * kpad + k;
                double *to = acc + (b->acc + u * b->acc_rows) * kpad + k;
                vd all_of_it = CONST_AT(mass + b->mass[u] * kpad + k);
                if (b->kind != INFLATED) {
                    unit_moments(e, b, b->kind, k, s, own, all_of_it, to);
                    continue;
                }
                const vd kept = CONST_AT(s + (b->stat_rows - 2) * kpad), structural = CONST_AT(s + (b->stat_rows - 1) * kpad);
                unit_moments(e, b, b->inner, k, s, own, all_of_it * kept, to);
                AT(to + (b->acc_rows - 2) * kpad) = all_of_it * kept;
                AT(to + (b->acc_rows - 1) * kpad) = all_of_it * structural;
            }
    }
    blend(e, acc, step, total);
}
