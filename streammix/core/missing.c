/* Gaussian records with some coordinates missing: the observed ones are scored by their marginal; the missing ones
 * enter the statistics by their conditional expectation and conditional covariance. One component at a time. */
#include "engine.h"

static double bounded(double x, double bound) { return x > bound ? bound : x < -bound ? -bound : x; }

static double factor_entry(const block *b, int kpad, int lane, int i, int j) {
    if (i == j) return 1.0;
    return b->stat[(3L * b->size + (long)i * (i - 1) / 2 + j) * kpad + lane];
}

/* C = L diag(d) L^T of one component, d from the statistics or from theta */
static void covariance(const engine *e, const block *b, int lane, const double *d, double *C) {
    int D = b->size;
    for (int i = 0; i < D; i++)
        for (int j = 0; j <= i; j++) {
            double s = 0.0;
            for (int m = 0; m <= j; m++)
                s += factor_entry(b, e->kpad, lane, i, m) * factor_entry(b, e->kpad, lane, j, m) * d[(long)m * e->kpad + lane];
            C[i * D + j] = C[j * D + i] = s;
        }
}

/* Log density of the observed coordinates; where wanted, the deviations with the gaps filled by their conditional
 * expectation, and the conditional covariance (D x D, zero in observed rows and columns). */
double mvn_partial(const engine *e, const block *b, int lane, const double *row, double *dense, double *filled,
                   double *cond) {
    mvn_covariance_of(e, b, lane, dense);
    return mvn_partial_given(e, b, lane, row, dense, filled, cond);
}

void mvn_covariance_of(const engine *e, const block *b, int lane, double *dense) {
    covariance(e, b, lane, b->theta, dense);
}

double mvn_partial_given(const engine *e, const block *b, int lane, const double *row, double *dense, double *filled,
                         double *cond) {
    const int D = b->size, kpad = e->kpad;
    double *C = dense, *G = C + D * D, *z = G + D * D, *pivot = z + D, *u = pivot + D;
    int observed[D], n = 0;
    for (int i = 0; i < D; i++)
        if (row[b->column[i]] == row[b->column[i]]) observed[n++] = i;
    double quadratic = 0.0, log_det = 0.0;
    for (int i = 0; i < n; i++) {
        int a = observed[i];
        double s = (row[b->column[a]] - b->stat[(long)a * kpad + lane]) - b->stat[(long)(D + a) * kpad + lane];
        if (filled) filled[a] = s;
        double p = C[a * D + a];
        for (int j = 0; j < i; j++) {
            double c = C[a * D + observed[j]];
            for (int m = 0; m < j; m++) c -= G[i * D + m] * G[j * D + m] * pivot[m];
            double l = c / pivot[j];
            G[i * D + j] = l;
            p -= l * c;
            s -= l * z[j];
        }
        double least = b->theta[(long)a * kpad + lane] * 1e-15;
        pivot[i] = p > least ? p : least;
        z[i] = s;
        quadratic += s * s / pivot[i];
        log_det += log(pivot[i]);
    }
    double log_density = -0.5 * (quadratic + log_det) - 0.91893853320467274178 * n;
    if (log_density < -1e299) log_density = -1e299;
    if (!filled) return log_density;
    memset(cond, 0, sizeof(double) * D * D);
    int gaps[D], n_gaps = 0;
    for (int i = 0; i < D; i++)
        if (row[b->column[i]] != row[b->column[i]]) gaps[n_gaps++] = i;
    for (int g = 0; g < n_gaps; g++) {
        double *ug = u + g * D, expectation = 0.0;
        for (int i = 0; i < n; i++) {
            double c = C[gaps[g] * D + observed[i]];
            for (int j = 0; j < i; j++) c -= G[i * D + j] * ug[j];
            ug[i] = c;
            expectation += c * z[i] / pivot[i];
        }
        filled[gaps[g]] = bounded(expectation, LARGEST);
        for (int h = 0; h <= g; h++) {
            const double *uh = u + h * D;
            double c = C[gaps[g] * D + gaps[h]];
            for (int i = 0; i < n; i++) c -= ug[i] * uh[i] / pivot[i];
            cond[gaps[g] * D + gaps[h]] = cond[gaps[h] * D + gaps[g]] = bounded(c, LARGEST * LARGEST);
        }
    }
    return log_density;
}

void mvn_partial_update(const engine *e, const block *b, int lane, const double *row, double rho) {
    const int D = b->size, kpad = e->kpad;
    double *C = e->dense, *filled = C + 3 * D * D + 2 * D, *cond = filled + D;
    double *d = b->stat + 2L * D * kpad + lane, *L = b->stat + 3L * D * kpad + lane;
    mvn_partial(e, b, lane, row, C, filled, cond);
    covariance(e, b, lane, b->stat + 2L * D * kpad, C);
    for (int i = 0; i < D; i++) {
        b->stat[(long)(D + i) * kpad + lane] += rho * filled[i];
        for (int j = 0; j <= i; j++)
            C[i * D + j] = (1.0 - rho) * (C[i * D + j] + rho * filled[i] * filled[j]) + rho * cond[i * D + j];
    }
    for (int i = 0; i < D; i++) {
        double p = C[i * D + i];
        for (int j = 0; j < i; j++) {
            double c = C[i * D + j];
            for (int m = 0; m < j; m++)
                c -= L[((long)i * (i - 1) / 2 + m) * kpad] * L[((long)j * (j - 1) / 2 + m) * kpad] * d[(long)m * kpad];
            double l = bounded(c / d[(long)j * kpad], LARGEST);
            L[((long)i * (i - 1) / 2 + j) * kpad] = l;
            p -= l * c;
        }
        double least = PIVOT_FLOOR * b->prior[(long)i * kpad + lane];
        d[(long)i * kpad] = p > least ? p : least;
    }
}
