/* A tile's cells: read from a table's columns, looked through for gaps, and turned so that a record's lie together. */

/* Takes NaN and infinity out of a column. `seen` is written only where it isn't all 1, as it stands without gaps. */
static void mark_gaps(tile *t, int c, vi *missing, vi *outside) {
    double *x = t->x + c * TILE, *seen = t->seen + c * TILE;
    vi gaps = (vi)all(0.0);
    ROWS {
        vd v = AT(x + i);
        vi out = v == INFINITY, none = ~(v < INFINITY);
        *outside |= out;
        gaps |= none;
        AT(x + i) = select_(none, all(0.0), v);
        AT(seen + i) = select_(none, select_(out, all(-1.0), all(0.0)), all(1.0));
    }
    t->gaps[c] = some(gaps);
    *missing |= gaps;
}

/* a square of W x W from rows of one stride to rows of another */
#if W == 8
static inline void transpose(const double *in, long from, double *out, long stride) {
    __m512d v[8], u[8];
    for (int i = 0; i < 8; i++) v[i] = _mm512_loadu_pd(in + i * from);
    for (int i = 0; i < 8; i += 2) {
        u[i] = _mm512_unpacklo_pd(v[i], v[i + 1]);
        u[i + 1] = _mm512_unpackhi_pd(v[i], v[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = i; j < i + 2; j++) {
            v[j] = _mm512_shuffle_f64x2(u[j], u[j + 2], 0x88);
            v[j + 2] = _mm512_shuffle_f64x2(u[j], u[j + 2], 0xdd);
        }
    for (int j = 0; j < 4; j++) {
        _mm512_storeu_pd(out + j * stride, _mm512_shuffle_f64x2(v[j], v[j + 4], 0x88));
        _mm512_storeu_pd(out + (j + 4) * stride, _mm512_shuffle_f64x2(v[j], v[j + 4], 0xdd));
    }
}
#elif W == 4
static inline void transpose(const double *in, long from, double *out, long stride) {
    __m256d v[4], u[4];
    for (int i = 0; i < 4; i++) v[i] = _mm256_loadu_pd(in + i * from);
    for (int i = 0; i < 4; i += 2) {
        u[i] = _mm256_unpacklo_pd(v[i], v[i + 1]);
        u[i + 1] = _mm256_unpackhi_pd(v[i], v[i + 1]);
    }
    for (int j = 0; j < 2; j++) {
        _mm256_storeu_pd(out + j * stride, _mm256_permute2f128_pd(u[j], u[j + 2], 0x20));
        _mm256_storeu_pd(out + (j + 2) * stride, _mm256_permute2f128_pd(u[j], u[j + 2], 0x31));
    }
}
#else
static inline void transpose(const double *in, long from, double *out, long stride) {
    for (int i = 0; i < W; i++)
        for (int j = 0; j < W; j++) out[i * stride + j] = in[j * from + i];
}
#endif

/* whole squares of columns of TILE, with each row's numbers together */
static void turn_squares(const double *x, int columns, int n, double *out, long stride) {
    for (int j = 0; j < columns; j += W)
        for (int i = 0; i < n; i += W) transpose(x + j * TILE + i, TILE, out + i * stride + j, stride);
}

/* the first n of each column, likewise */
static void turn(const double *x, int columns, int n, double *out, long stride) {
    const int across = columns - columns % W, down = n - n % W;
    turn_squares(x, across, down, out, stride);
    for (int i = 0; i < n; i++)
        for (int c = i < down ? across : 0; c < columns; c++) out[i * stride + c] = x[c * TILE + i];
}

/* a missing value's is 0 */
static void centre(const block *b, const tile *t, const double *origin, double *centred) {
    for (int u = 0; u < centred_columns(b); u++) {
        const double *x = t->x + b->column[u] * TILE, *seen = t->seen + b->column[u] * TILE;
        double *to = centred + u * TILE;
        ROWS AT(to + i) = CONST_AT(x + i) - origin[u];
        if (t->missing && t->gaps[b->column[u]] > 0.0)
            ROWS AT(to + i) = select_(CONST_AT(seen + i) > 0.0, AT(to + i), all(0.0));
    }
}

/* what a block has of the centred columns, one block after the other */
static inline long centred_size(const block *b) { return centred_columns(b) * (is_normal(b) ? 2 : 1) * TILE; }

/* which rows have all coordinates of a block, and which have some */
static void find_patterns(const block *b, const tile *t, uint64_t *full, uint64_t *partial) {
    uint64_t every_one = ~(uint64_t)0, any = 0;
    for (int j = 0; j < b->size; j++) {
        const double *seen = t->seen + b->column[j] * TILE;
        uint64_t rows = ~(uint64_t)0;
        if (t->gaps[b->column[j]] > 0.0) {
            rows = 0;
            ROWS rows |= (uint64_t)lanes_of(CONST_AT(seen + i) > 0.0) << i;
        }
        every_one &= rows;
        any |= rows;
    }
    *full = every_one;
    *partial = any & ~every_one & t->given;
}

/* W columns of a table, TILE rows of which are at hand as an array whose rows lie together */
static void copy_squares(const cells *first, long begin, double *x) {
    const long stride = first->stride / (long)sizeof(double);
    const double *from = (const double *)first->data + begin * stride;
    for (int i = 0; i < TILE; i += W) transpose(from + i * stride, stride, x + i, TILE);
}

/* rows of a column, zeros after the last */
static void copy_cells(const table *in, int c, long begin, int n, int height, double *x) {
    read_cells(in, c, begin, n, x);
    for (int i = n; i < height; i++) x[i] = 0.0;
}

/* whether some are NaN or infinite: then 0 times them isn't 0 */
static int has_gaps(const tile *t, const double *x) {
    vd zero = all(0.0);
    ROWS zero += CONST_AT(x + i) * 0.0;
    return some(zero != zero);
}

#define LOW 48 /* rows: a tile of more is worked through as a whole, which has all vectors side by side */

static void load(const engine *e, const table *in, long begin, int n, const double *w, tile *t) {
    vi missing = (vi)all(0.0), outside = (vi)all(0.0);
    t->height = n <= LOW ? round_up(n) : TILE;
    for (int c = 0; c < e->n_columns;) {
        const int side = n == TILE && lie_together(in, c, W) ? W : 1;
        if (side == W) copy_squares(in->cells + c, begin, t->x + c * TILE);
        else copy_cells(in, c, begin, n, t->height, t->x + c * TILE);
        for (const int last = c + side; c < last; c++)
            if (t->gaps[c] > 0.0 || (in->gaps[c] && has_gaps(t, t->x + c * TILE))) mark_gaps(t, c, &missing, &outside);
    }
    t->given = ~(uint64_t)0 >> (TILE - n);
    t->missing = some(missing);
    t->outside = some(outside);
    for (int i = 0; i < t->height; i++) t->weight[i] = i >= n ? 0.0 : w ? w[begin + i] : 1.0;
    double *origin = t->origin, *centred = t->centred, *angle = t->angle;
    for (int i = 0; i < e->n_blocks; i++) {
        const block *b = e->blocks + i;
        centre(b, t, origin, centred);
        origin += centred_columns(b);
        centred += centred_size(b);
        for (int u = 0; b->kind == VONMISES && u < b->units; u++, angle += 2 * TILE) {
            for (int row = 0; row < t->height; row++)
                angle[row] = turns_of(t->x[b->column[u] * TILE + row], b->constant);
            for (int row = 0; row < t->height; row += W)
                half_angle(CONST_AT(angle + row), (vd *)(angle + row), (vd *)(angle + TILE + row));
        }
        if (b->kind == MVN && t->missing) find_patterns(b, t, t->full + i, t->partial + i);
    }
}
