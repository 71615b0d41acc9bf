/* The step of the statistics towards an accumulator: of a mini-batch, a distributed E-step, or batch EM. */

static void mvn_blend(engine *e, const block *b, int k, vd rho, vd n, const double *acc) {
    const int D = b->size, kpad = e->kpad;
    const long pairs = triangle(D + 1);
    double *stat = b->stat + k, *C = e->matrix + k, *d = C + pairs * kpad, *L = d + D * kpad;
    double *old_d = stat + 2 * D * kpad, *old_L = stat + 3 * D * kpad;
    vi moved = rho > 0.0;
    if (!some(moved)) return;
    mvn_covariance(D, old_d, old_L, kpad, C);
    for (int i = 0; i < D; i++) {
        vd di = rho * (CONST_AT(acc + i * kpad) / n);
        for (int j = 0; j <= i; j++) {
            double *c = C + (triangle(i + 1) + j) * kpad;
            vd dj = rho * (CONST_AT(acc + j * kpad) / n);
            AT(c) = (1.0 - rho) * AT(c) + rho * (CONST_AT(acc + (D + triangle(i + 1) + j) * kpad) / n) - di * dj;
        }
    }
    mvn_factor(D, C, b->prior + k, b->least, kpad, d, L);
    for (int i = 0; i < D; i++) {
        double *offset = stat + (D + i) * kpad;
        AT(offset) = select_(moved, AT(offset) + rho * (CONST_AT(acc + i * kpad) / n), AT(offset));
        AT(old_d + i * kpad) = select_(moved, AT(d + i * kpad), AT(old_d + i * kpad));
    }
    for (long i = 0; i < triangle(D); i++)
        AT(old_L + i * kpad) = select_(moved, AT(L + i * kpad), AT(old_L + i * kpad));
}

static void block_blend(engine *e, const block *b, int k, const double *acc, const double *n_of) {
    const int kpad = e->kpad;
    acc += b->acc * kpad + k;
    for (int u = 0; u < b->units; u++, acc += b->acc_rows * kpad) {
        double *s = b->stat + u * b->stat_rows * kpad + k;
        vd rho = CONST_AT(e->rho + b->mass[u] * kpad + k);
        vd n = vmax(CONST_AT(n_of + b->mass[u] * kpad + k), all(SMALLEST));
        if (b->lanes) rho = (vd)((vi)rho & *(const vi *)(b->lanes + k));
        int kind = b->kind;
        if (kind == INFLATED) { /* its inner family moves by what is left of the zeros */
            vd kept = CONST_AT(acc + (b->acc_rows - 2) * kpad), structural = CONST_AT(acc + (b->acc_rows - 1) * kpad);
            rho = kept_step(kept / n, structural / n, rho, s + (b->stat_rows - 2) * kpad, kpad);
            n = vmax(kept, all(SMALLEST));
            kind = b->inner;
        }
        vi moved = rho > 0.0;
        switch (kind) {
        case NORMAL:
        case LOGNORMAL: {
            vd delta = rho * (CONST_AT(acc) / n);
            AT(s + kpad) += delta;
            AT(s + 2 * kpad) = vmax(
                (1.0 - rho) * AT(s + 2 * kpad) + rho * (CONST_AT(acc + kpad) / n) - delta * delta, all(0.0));
            break;
        }
        case MVN: mvn_blend(e, b, k, rho, n, acc); break;
        case CATEGORICAL:
            for (long v = 0; v < b->size; v++) {
                double *count = s + (1 + v) * kpad;
                vd share = (1.0 - rho) * (AT(count) / AT(s)) + rho * (CONST_AT(acc + v * kpad) / n);
                AT(count) = select_(moved, share, AT(count));
            }
            AT(s) = select_(moved, all(1.0), AT(s));
            break;
        case GAMMA:
        case DIRICHLET:
        case NEGATIVE_BINOMIAL:
            for (long j = 0; j < b->size; j++) {
                const double *own = acc + 3 * j * kpad;
                gap_blend(CONST_AT(own) / n, CONST_AT(own + kpad) / n, CONST_AT(own + 2 * kpad) / n, rho, s + j * kpad,
                          s + (b->size + j) * kpad);
            }
            break;
        case INVERSE_GAUSSIAN:
            inverse_gaussian_blend(CONST_AT(acc) / n, CONST_AT(acc + kpad) / n, rho, s, kpad);
            break;
        case VONMISES:
            for (int i = 0; i < 2; i++) {
                double *mean = s + (2 + i) * kpad;
                AT(mean) = (1.0 - rho) * AT(mean) + rho * (CONST_AT(acc + i * kpad) / n);
            }
            break;
        case STUDENT: {
            vd added = rho * (CONST_AT(acc) / n);
            vd scales = vmax((1.0 - rho) * AT(s + 3 * kpad) + added, all(SMALLEST));
            vd move = added * (CONST_AT(acc + kpad) / vmax(CONST_AT(acc), all(SMALLEST))), share = 1.0 / scales;
            AT(s + kpad) += move * share;
            AT(s + 2 * kpad) = vmax((1.0 - rho) * AT(s + 2 * kpad) + rho * (CONST_AT(acc + 2 * kpad) / n) -
                                    move * move * share, all(0.0));
            AT(s + 3 * kpad) = scales;
            AT(s + 4 * kpad) = (1.0 - rho) * AT(s + 4 * kpad) + rho * (CONST_AT(acc + 3 * kpad) / n);
            break;
        }
        case MULTINOMIAL:
            for (long j = 0; j < b->size * kpad; j += kpad) AT(s + j) = (1.0 - rho) * AT(s + j) + rho * (CONST_AT(acc + j) / n);
            break;
        default: AT(s) = (1.0 - rho) * AT(s) + rho * (CONST_AT(acc) / n);
        }
    }
}

static void blend(engine *e, const double *acc, const double *gamma, const double *total) {
    const int kpad = e->kpad;
    for (int m = 0; m < e->n_masses; m++) {
        if (!(total[m] > 0.0)) {
            memset(e->rho + m * kpad, 0, sizeof(double) * kpad);
            continue;
        }
        const double records = weighted_records(step_size(e, e->clock[m] + 1.0, e->start[m]), total[m], gamma[m]);
        for (int k = 0; k < kpad; k += W) {
            double *mass = e->mass + m * kpad + k, *count = e->count + m * kpad + k;
            vd n = CONST_AT(acc + m * kpad + k) / total[m];
            vd s = vmax((1.0 - gamma[m]) * AT(mass) + gamma[m] * n, all(SMALLEST));
            s = select_(CONST_AT(e->bias + k) == 0.0, s, all(0.0));
            vi moved = n > 0.0;
            AT(mass) = s;
            AT(count) = select_(moved, vmax(s * records, all(SMALLEST)), AT(count));
            AT(e->rho + m * kpad + k) = select_(moved, vmin(gamma[m] * n / s, all(1.0)), all(0.0));
        }
    }
    for (int i = 0; i < e->n_blocks; i++)
        if (!e->blocks[i].fixed)
            for (int k = 0; k < kpad; k += W) block_blend(e, e->blocks + i, k, acc, acc);
}
