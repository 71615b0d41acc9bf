/* The layout that the kernels work on, and the table of kernels.
 *
 * Every per-component array is component-minor: [row][kpad], kpad a multiple of LANES, 64-byte aligned.
 * Lanes at and beyond k are padding: they hold valid numbers, a bias of minus infinity keeps them silent.
 * An engine owns none of this memory: it binds the arrays of a State and scratch of its caller.
 */
#ifndef STREAMMIX_ENGINE_H
#define STREAMMIX_ENGINE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LANES 8
#define SCANNED 4 /* columns */
#define TILE 64
#define NEGLIGIBLE 1e-17 /* a responsibility at or below it moves no statistic */
#define PIVOT_FLOOR 1e-10 /* of the prior scale, where nothing is known of a field's resolution */
#define SMALLEST 1e-300
#define PATTERN_NUMBERS (1L << 18) /* for the factors of patterns of gaps: as much as a cache holds */
#define MANY_COUNTS 1024 /* from which on log densities of counts are taken as deviances */
#define LEAST_AWAY 1e-6 /* of the share of a background: it can always come back */
#define LARGEST 1e75 /* of a deviation and of a factor's entry: their products stay finite */

enum { NORMAL, LOGNORMAL, MVN, EXPONENTIAL, POISSON, BERNOULLI, BINOMIAL, CATEGORICAL, EXTERNAL, GAMMA, DIRICHLET,
       NEGATIVE_BINOMIAL, VONMISES, STUDENT, UNIFORM, INFLATED, GEOMETRIC,
       INVERSE_GAUSSIAN, MULTINOMIAL };
enum { FULL, PARTIAL, ABSENT, OUTSIDE };
enum { LEARNT = 0, IMPOSSIBLE = 1, FORK = 2 };

/* Some units (fields; an MVN, multinomial or categorical is a block by itself) that share a family and the components
 * they serve.
 *
 *             statistics                    theta              prior   accumulator
 * NORMAL      anchor, offset, variance      variance, 1/.      scale   S1, S2
 * LOGNORMAL   the same of log x
 * MVN         anchor[D], offset[D], d[D],   d[D], 1/d[D],      d[D]    S1[D], S2[D(D+1)/2]
 *             L[D(D-1)/2]                   1/statistic[D],
 *                                           root of the density
 * EXPONENTIAL mean                          rate               mean    S1
 * POISSON     mean                          rate, log rate     mean    S1
 * BERNOULLI   mean                          p, 1-p             mean    S1
 * GEOMETRIC   mean                          p, log p, log 1-p  mean    S1
 * BINOMIAL    mean                          p, log p, log 1-p  mean    S1
 * MULTINOMIAL mean[D]                       p[D], log p[D], sum   mean[D] S1[D]
 * CATEGORICAL total, counts[V]              slope, floor       beta    counts[V]
 * EXTERNAL    none: the column holds log densities
 * GAMMA       mean, gap                     shape, 1/mean,  gap     S1, excess, log
 *                                           log mean, c
 * DIRICHLET   mean[D], gap[D]               concentration[D], gap   those, of each
 *                                           1/mean[D], log mean[D],
 *                                           tilt[D], c
 * NEGATIVE_   mean, gap, of the latent      size, mean,     mean,   those of the
 *   BINOMIAL  rate                          1/(.+.), c      gap     latent rate
 * VONMISES    anchor's cos, sin,            mean's cos, sin,   spread  S1, S2
 *             mean 1 - cos d, mean sin d    kappa, density^2
 * STUDENT     anchor, offset, mean u d^2,   df, scale^2, ...   scale   S0, S1, S2, S3
 *             mean u, mean u - 1 - log u
 * INVERSE_    mean, spread                  shape,             spread  S1, squares
 *   GAUSSIAN                                shape/mean, 1/mean
 * UNIFORM     width                         1/width            -       -
 * INFLATED    the inner's, kept,            the inner's,       inner's, inner's,
 *             structural                    five shares        shares   shares
 *
 * A GAMMA reads x and log x; a DIRICHLET its D coordinates, then their logarithms. A Beta is a DIRICHLET of x and 1 - x.
 * A von Mises's cos and sin are of half the angle; d is the angle from the anchor. A Student's u is the latent scale
 * of its precision, d the deviation from its location (circle.h).
 */
typedef struct {
    int kind, units;
    int width;             /* columns that a unit reads */
    int inner;             /* the family inside an INFLATED one */
    long size;             /* D of an MVN, Dirichlet or multinomial, V of a categorical, n of a binomial */
    double constant;       /* the period of a von Mises; the df of a Student where it is held, else 0 */
    int fixed;             /* the statistics never move */
    const int *column;     /* units x width */
    const int *mass;       /* units: which mass each unit is weighed by */
    const int64_t *lanes;  /* kpad of 0 or -1: the components it serves; NULL: all */
    double *stat, *theta;
    const double *prior;
    const double *least;   /* units x width: of the prior scale, what a Gaussian's variance or pivot is at the least */
    long stat_rows, theta_rows, prior_rows, acc_rows; /* per unit */
    long acc;              /* first row in an accumulator */
    long y;                /* first row in engine.y: an MVN's forward substitution; a row each von Mises (the record's
                            * cos, sin), Student (log(1 + z^2 / df)) and Gamma (the record's excess) */
} block;

typedef struct {
    int k, kpad, n_blocks, n_columns, n_masses;
    block *blocks;
    double *mass, *count;        /* n_masses x kpad */
    double *clock;               /* n_masses: records (sum of weights) since the start */
    const double *start;         /* n_masses: records that the start counts as */
    const int *mass_column;      /* n_masses: first column of the unit that owns the mass */
    const int *mass_width;       /* and how many columns */
    const double *bias;          /* kpad: 0, or minus infinity for padding */
    const double *width, *slope; /* n_columns: a background's log density is the sum of -(width + slope x) over the cells
                                  * that are there; NULL: there is none. Its share is what the masses leave of 1. */
    const double *point;         /* n_columns: the value that has probability 1/2 there by itself; NaN: none has */
    double prior_weight;         /* pseudo-observations a component and unit */
    int step_kind;
    double step_value;
    double weight_prior;         /* what the prior adds to every mass of mass 0 */
    double top, sum, total;       /* of the last E-step: p(x) = exp(top) sum / total */
    int scored;                   /* whether learning keeps the total, for log densities by what stood before */
    int n_active;
    int whole;                   /* the record of the last E-step has every cell */
    /* scratch */
    double *lp, *root, *share, *r; /* kpad: of the last E-step (expect.h) */
    double *rho, *kappa;           /* n_masses x kpad */
    double *y;                    /* rows x kpad */
    int *active;                  /* kpad / LANES: first lanes of the groups that respond */
    double *common;               /* n_blocks: what a record adds to every component's log density */
    int *pattern;                 /* n_blocks: of a group's coordinates, which are missing: FULL, PARTIAL, ABSENT */
    double *dense;                /* work of Gaussians with gaps: (D^2 + 3 D) x LANES */
    double *matrix;               /* work of blend: rows x kpad */
    double *row;                  /* n_columns */
    double *ahead, *ahead_from;   /* n_masses x LANES: the steps of records to come; n_masses: of which the first */
} engine;

enum { FLOAT64, FLOAT32, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, BIT };

/* A column's cells in a segment of a table, where they lie: numbers a stride of bytes apart, or bits. */
typedef struct {
    int kind;
    const char *data;
    long stride;          /* 0: one number for all rows */
    long bit;             /* of bits: where the first row's is */
    const uint8_t *valid; /* bits that are 0 where a cell is null; NULL: none is */
    long valid_bit;
} cells;

enum { MAY_BE_MISSING = 1, MAY_BE_INFINITE = 2 };

/* Columns in segments of rows; null and NaN are missing. */
typedef struct {
    int n_columns;
    long n_segments;
    long *first;  /* n_segments + 1: the row that a segment begins with */
    cells *cells; /* n_segments x n_columns */
    char *gaps;   /* n_columns: bits: whether some cell MAY_BE_MISSING, whether some MAY_BE_INFINITE */
} table;

typedef struct {
    const char *name;
    int width;
    int (*expect)(engine *e, const double *row);
    int (*learn)(engine *e, const double *row, double w);
    void (*maximize)(engine *e);
    /* expected statistics of rows [begin, end) at fixed parameters, added to acc; given responsibilities in place of
       the E-step's where resp is not NULL; out_lp (rows) and out_r where wanted, which is rows x k, or k x `length`
       where that isn't 0. Returns the weighted sum
       of log densities; *bad gets the first impossible row, or -1. */
    double (*accumulate)(const engine *e, const table *t, long begin, long end, const double *w, const double *resp,
                         double *acc, double *work, double *out_r, long length, double *out_lp, long *bad);
    /* one step towards an accumulator: gamma and the total weight of the records, one a mass */
    void (*blend)(engine *e, const double *acc, const double *gamma, const double *total);
    /* one such step towards a state with these masses and, a block, statistics: gamma of the way. acc is work */
    void (*approach)(engine *e, const double *mass, const double *const *stat, double gamma, double *acc);
    /* an MVN's coordinates, some of them NaN, to each component's conditional expectation of all of them, D x kpad */
    void (*regress)(engine *e, int block, const double *x, double *out);
    double (*gap)(double a); /* log a - digamma(a) */
    long (*work)(const engine *e); /* how many doubles accumulate needs besides the accumulator */
    double (*step)(const engine *e, double n, double start); /* see step_size */
} kernels;

double step_size(const engine *e, double n, double start); /* gamma of the record at n after a start (steps.h) */
double log_count_constant(double x);
double poisson_constant(double x);
double binomial_constant(double n, double x);
double counts_constant(int n, const double *x);
const kernels *kernels_for(const char *level);
long accumulator_rows(const engine *e); /* of kpad doubles: one a mass, then the blocks' */
long matrix_rows(const engine *e);
/* cells.c and stretch.c */
void read_cells(const table *t, int column, long begin, long n, double *out);
void read_rows(const table *t, long begin, long n, double *out); /* n x n_columns */
/* whether n columns are of an array of doubles whose rows lie together */
int lie_together(const table *t, int column, int n);
/* whether such columns, SCANNED of them, have all cells within their bounds; sets gaps as scan_column does */
int scan_together(const table *t, int column, const double *low, const double *high, char *gaps);
/* the first row whose cell is outside [low, high], or isn't whole where it has to be; -1: none. Sets *gaps where one
 * before it is missing. */
long scan_column(const table *t, int column, double low, double high, int whole, char *gaps);
/* whether a unit that shares mass 0 is missing from some row, and whether any is */
int unit_is_missing(const engine *e, int block, int unit, const table *t, long begin, long end);
int rows_need_fork(const engine *e, const table *t, long begin, long end);
/* The step of a mini-batch, 1 - prod(1 - gamma_i) over the records that mass m observes, and their total weight. */
double compounded_step(const engine *e, int m, const table *t, long begin, long end, const double *w, double *total);
/* and that of n records of weight 1 */
double compounded_records(const engine *e, int m, long n);
void fill_tables(void);

/* the step of a record of weight w: exact for the running mean, and w records' worth for small steps */
static inline double weighted_step(double gamma, double w) {
    return w == 1.0 ? gamma : w * gamma / (w * gamma + (1.0 - gamma));
}

/* How many records a weight w counts as beside its step: w / step, or what that tends to where the step vanishes. */
static inline double weighted_records(double gamma, double w, double step) {
    return step >= SMALLEST ? w / step : w + (1.0 - gamma) / gamma;
}

/* the background's share, as beside the masses */
static inline double background_mass(const engine *e) {
    if (!e->width) return 0.0;
    double left = 1.0;
    for (int k = 0; k < e->k; k++) left -= e->mass[k];
    return left > LEAST_AWAY ? left : LEAST_AWAY;
}

static inline double total_mass(const engine *e) {
    double total = background_mass(e);
    for (int k = 0; k < e->k; k++) total += e->mass[k] + e->weight_prior;
    return total;
}

/* of the record of the last E-step, where `total` is from before the record was learnt */
static inline double log_density(const engine *e, double total) { return e->top + log(e->sum / total); }

static inline int mass_observed(const engine *e, int m, const double *row) {
    for (int j = 0; j < e->mass_width[m]; j++) {
        double v = row[e->mass_column[m] + j];
        if (v == v) return 1;
    }
    return e->mass_width[m] == 0;
}

static inline int is_normal(const block *b) { return b->kind == NORMAL || b->kind == LOGNORMAL; }

#define NEAREST 4 /* coordinates by which many Gaussians are compared first */
#define MANY 32   /* components, from which on it pays */

#define FAINT 80.0 /* many Gaussians: a component exp of it less likely than the likeliest has no share */

/* Many Gaussians, last of the blocks, with no more than their means apart: over whole records, the components that come
 * out FAINT are left before their D^2 work is done. Nobody else can tell: what isn't left is held against the same
 * limit in the end. */
static inline int ends_in_gaussians(const engine *e) {
    const block *b = e->blocks + e->n_blocks - 1;
    return e->kpad >= MANY && b->kind == MVN && !b->lanes && b->size > NEAREST;
}

/* whether a unit's coordinates are all there */
static inline int unit_pattern(const block *b, int u, const double *row) {
    const int *column = b->column + u * b->width;
    int present = 0;
    for (int i = 0; i < b->size; i++) {
        if (row[column[i]] == INFINITY) return OUTSIDE;
        present += row[column[i]] == row[column[i]];
    }
    return present == b->size ? FULL : present ? PARTIAL : ABSENT;
}

/* How many patterns of gaps a block of records remembers the factors of, and the numbers that each takes. */
static inline long numbers_of_pattern(long deep, int kpad) { return (deep * deep + 2 * deep + 1) * kpad; }

static inline long words_of_pattern(long deep) { return 1 + (deep + 63) / 64; }

static inline long patterns_kept(long deep, int kpad) {
    long n = PATTERN_NUMBERS / numbers_of_pattern(deep, kpad);
    return n > TILE ? TILE : n < 1 ? 1 : n;
}

#endif
