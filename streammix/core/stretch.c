/* What a stretch of rows means for the masses: which it observes, and the step it makes. */
#include "engine.h"

typedef double pair __attribute__((vector_size(16), aligned(8))); /* as wide as every machine has it */
typedef int64_t marks __attribute__((vector_size(16)));

/* how many numbers are there */
static int count_seen(const double *x, int n) {
    marks seen = {0, 0};
    int i = 0, odd = 0;
    for (; i + 2 <= n; i += 2) {
        pair v = *(const pair *)(x + i);
        seen -= (marks)(v == v);
    }
    for (; i < n; i++) odd += x[i] == x[i];
    return (int)(seen[0] + seen[1]) + odd;
}

/* In how many of the rows [begin, begin + n), n <= TILE, a unit has some value; x gets NaN in the other rows. */
static int find_observed(const table *t, int column, int width, long begin, int n, double *x) {
    double y[TILE];
    read_cells(t, column, begin, n, x);
    for (int j = 1; j < width; j++) {
        read_cells(t, column + j, begin, n, y);
        for (int i = 0; i < n; i++) x[i] = x[i] == x[i] ? x[i] : y[i];
    }
    return count_seen(x, n);
}

/* whether every row of the table has some value of a unit, by what is known of its columns */
static int is_always_observed(const table *t, int column, int width) {
    for (int j = 0; j < width; j++)
        if (!(t->gaps[column + j] & MAY_BE_MISSING)) return 1;
    return 0;
}

int unit_is_missing(const engine *e, int i, int u, const table *t, long begin, long end) {
    const block *b = e->blocks + i;
    int width = b->width, column = b->column[u * width];
    double x[TILE];
    if (b->fixed || b->mass[u] != 0 || is_always_observed(t, column, width)) return 0;
    for (long at = begin; at < end; at += TILE) {
        int n = end - at < TILE ? (int)(end - at) : TILE;
        if (find_observed(t, column, width, at, n, x) < n) return 1;
    }
    return 0;
}

int rows_need_fork(const engine *e, const table *t, long begin, long end) {
    for (int i = 0; i < e->n_blocks; i++)
        for (int u = 0; u < e->blocks[i].units; u++)
            if (unit_is_missing(e, i, u, t, begin, end)) return 1;
    return 0;
}

#define FAR 500.0  /* of n0 + n: from there on a sum over records is an integral with two corrections */
#define NODES 10   /* of Gauss and Legendre's rule, on either side */
static const double node[NODES] = {
    0.07652652113349733, 0.22778585114164507, 0.37370608871541955, 0.5108670019508271, 0.636053680726515,
    0.7463319064601508, 0.8391169718222188, 0.9122344282513259, 0.9639719272779138, 0.9931285991850949,
};
static const double share[NODES] = {
    0.15275338713072584, 0.14917298647260374, 0.14209610931838204, 0.13168863844917664, 0.11819453196151841,
    0.10193011981724044, 0.08327674157670475, 0.06267204833410907, 0.04060142980038694, 0.017614007139152118,
};
#define SHORT 64.0 /* of n0 + n in so many parts, a few nodes are as good: the error is below 1e-16 of the sum */
#define SHORT_NODES 2
static const double short_node[SHORT_NODES] = {0.33998104358485626, 0.8611363115940526};
static const double short_share[SHORT_NODES] = {0.6521451548625461, 0.34785484513745385};

/* The sum of log(1 - gamma) over records first, first + 1, …, last, where gamma = c u^-alpha at u = n0 + n >= FAR:
 * Euler's and Maclaurin's formula at the midpoints. */
static double log_kept_far(const engine *e, double start, double first, double last) {
    const double alpha = e->step_value;
    double sum = 0.0;
    for (double a = first - 0.5, b; a < last + 0.5; a = b) {
        b = 2.0 * (start + a) - start;
        if (b > last + 0.5) b = last + 0.5;
        double middle = 0.5 * (a + b), half = 0.5 * (b - a), part = 0.0;
        const int is_short = half * SHORT <= start + middle, nodes = is_short ? SHORT_NODES : NODES;
        const double *x = is_short ? short_node : node, *weight = is_short ? short_share : share;
        for (int i = 0; i < nodes; i++)
            part += weight[i] * (log1p(-step_size(e, middle - half * x[i], start)) +
                                 log1p(-step_size(e, middle + half * x[i], start)));
        sum += half * part;
    }
    for (int side = 0; side < 2; side++) {
        double n = side ? last + 0.5 : first - 0.5, sign = side ? 1.0 : -1.0;
        double gamma = step_size(e, n, start), u = start + n;
        double slope = alpha * gamma / (u * (1.0 - gamma));
        double third = (alpha * (alpha + 1.0) * (alpha + 2.0) * gamma +
                        alpha * (2.0 * alpha + 1.0) * (2.0 * alpha + 2.0) * gamma * gamma) / (u * u * u);
        sum += sign * (third * (7.0 / 5760.0) - slope / 24.0);
    }
    return sum;
}

/* 1 - prod(1 - gamma_i) over n records of weight 1 */
static double compounded(const engine *e, double clock, double start, long n) {
    double all = 0.0;
    if (n == 0) return 0.0;
    if (e->step_kind == 1) return -expm1(n * log1p(-e->step_value));
    if (e->step_value == 1.0) return n / (start + clock + n);
    long near = n < 64 ? n : start + clock >= FAR ? 0 : (long)(FAR - (start + clock)) + 1;
    if (near > n - 32) near = n;
    for (long i = 1; i <= near; i++) all += step_size(e, clock + i, start) * (1.0 - all);
    if (near < n) all -= expm1(log_kept_far(e, start, clock + near + 1.0, clock + n)) * (1.0 - all);
    return all;
}

double compounded_records(const engine *e, int m, long n) { return compounded(e, e->clock[m], e->start[m], n); }

double compounded_step(const engine *e, int m, const table *t, long begin, long end, const double *w, double *total) {
    double clock = e->clock[m], start = e->start[m], all = 0.0;
    int column = e->mass_column[m], width = e->mass_width[m], is_plain = 1;
    int is_whole_mass = m == 0 || width == 0 || is_always_observed(t, column, width);
    double x[TILE];
    long n_observed = 0;
    if (w)
        for (long i = begin; i < end && is_plain; i++) is_plain = w[i] == 1.0;
    *total = 0.0;
    if (is_plain && is_whole_mass) n_observed = end - begin;
    else
        for (long at = begin; at < end; at += TILE) {
            int n = end - at < TILE ? (int)(end - at) : TILE;
            if (is_whole_mass) memset(x, 0, sizeof x);
            else n_observed += find_observed(t, column, width, at, n, x);
            for (int i = 0; !is_plain && i < n; i++) {
                if (x[i] != x[i]) continue;
                double gamma = weighted_step(step_size(e, clock + 1.0, start), w[at + i]);
                all += gamma * (1.0 - all); /* accurate for the smallest weights, too */
                clock += w[at + i];
                *total += w[at + i];
            }
        }
    if (!is_plain) return all;
    *total = n_observed;
    return compounded(e, clock, start, n_observed);
}
