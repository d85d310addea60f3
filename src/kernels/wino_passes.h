/* wino_passes.h: the transforms of Winograd, from the programs that make_winograd.lua wrote; included by conv_wino_body.h.
 *
 * A pass runs a program over `lines` lines of one axis, `il` numbers apart in the source, `ol` in the target; within a line the
 * numbers (vectors of channels) are `is` and `os` apart. Two passes transform a tile, through memory between them. With vectors
 * most tiles are transformed at once, as a plane: what the first program makes stays in registers (the same bits).
 *
 *      window  . . . . .     first:      m m m m m     second:     p p p p p
 *              . . . . .     each row    m m m m m     each        p p p p p     points, or outputs from points
 *              . . . . .    -------->    m m m m m     column      p p p p p
 *              . . . . .                 m m m m m    -------->    p p p p p
 */
typedef void (*pass_fn)(const fg_real *in, int64_t is, int64_t il, fg_real *out, int64_t os, int64_t ol, int lines);

#define I(j)         v_load(in + (j)*is)
#define O(i, v)      v_store(out + (i)*os, v)
#define S(c)         v_set((fg_real)(c))
#define ADD(a, b)    v_add(a, b)
#define SUB(a, b)    v_sub(a, b)
#define MUL(a, b)    v_mul(a, b)
#define NEG(a)       v_neg(a)
#define FMA(a, b, c) v_fma(a, b, c)
#define PROGRAM(name, ...)                                                                                                       \
    static void name(const fg_real *in, int64_t is, int64_t il, fg_real *out, int64_t os, int64_t ol, int lines) {               \
        for (; lines > 0; lines--, in += il, out += ol) { __VA_ARGS__ }                                                          \
    }
#include "wino_programs.h"
#include "wino_edge_programs.h"
#undef I
#undef O
#undef PROGRAM

/* A whole tile: the first program along numbers `is` apart in each of the lines, `il` apart, that the second reads; what they
 * make goes to out[second][first], `ol` and `os` apart. */
typedef void (*plane_fn)(const fg_real *in, int64_t is, int64_t il, fg_real *out, int64_t os, int64_t ol);
#ifdef FG_SIMD_H
#define I(j)    in[(j)*is]
#define O(i, v) out[(i)*os] = v
#define PROGRAM(name, ...)                                                                                                       \
    INLINE __attribute__((unused)) void name##_of(const vf *in, int is, vf *out, int os) { __VA_ARGS__ }
#include "wino_programs.h"
#include "wino_edge_programs.h"
#undef I
#undef O
#undef PROGRAM
/* programs, which numbers they read and which they make, as bits */
#define IN_ALL_4      in6_all, 0x3f, 0x3f
#define IN_FRONT_4    in6_front, 0x1f, 0x1f
#define IN_ALL_3      edge_in3_all, 0x1f, 0x37
#define IN_FRONT_3    edge_in3_front, 0x0f, 0x17
#define IN_ALL_2      edge_in2_all, 0x0f, 0x27
#define IN_FRONT_2    edge_in2_front, 0x07, 0x07
#define OUT_ALL_4     out6_4_all, 0x3f, 0x0f
#define OUT_FRONT_4   out6_4_front, 0x1f, 0x0f
#define OUT_BEHIND_4  out6_4_behind, 0x1f, 0x0f
#define OUT_ALL_3     edge_out3_all, 0x37, 0x07
#define OUT_FRONT_3   edge_out3_front, 0x17, 0x07
#define OUT_BEHIND_3  edge_out3_behind, 0x1b, 0x07
#define OUT_ALL_2     edge_out2_all, 0x27, 0x03
#define OUT_FRONT_2   edge_out2_front, 0x07, 0x03
#define OUT_BEHIND_2  edge_out2_behind, 0x13, 0x03
#define LIFT_ALL_4    lift6_4, 0x0f, 0x3f
#define LIFT_FRONT_4  lift6_4_front, 0x0f, 0x1f
#define LIFT_ALL_3    edge_lift3_all, 0x07, 0x37
#define LIFT_FRONT_3  edge_lift3_front, 0x07, 0x17
#define LIFT_ALL_2    edge_lift2_all, 0x03, 0x27
#define LIFT_FRONT_2  edge_lift2_front, 0x03, 0x07
#define TAPS_3        taps6_3, 0x07, 0x3f
#define TAPS_FRONT    taps6_2_front, 0x03, 0x1f
#define TAPS_BEHIND   taps6_2_behind, 0x03, 0x1f
#define UNTAPS_3      untaps6_3, 0x3f, 0x07
#define UNTAPS_FRONT  untaps6_2_front, 0x1f, 0x03
#define IN_FIVE_W     in6_all, 0x3f, 0x3f
#define IN_FIVE_H     in8_all, 0xff, 0xff
#define TAPS_FIVE_W   taps6_5, 0x1f, 0x3f
#define TAPS_FIVE_H   taps8_5, 0x1f, 0xff
#define OUT_FIVE_W    out6_2_all, 0x3f, 0x03
#define OUT_FIVE_H    out8_4_all, 0xff, 0x0f
#define LIFT_FIVE_W   lift6_2, 0x03, 0x3f
#define LIFT_FIVE_H   lift8_4, 0x0f, 0xff
#define UNTAPS_FIVE_H untaps8_5, 0xff, 0x1f
#define UNTAPS_FIVE_W untaps6_5, 0x3f, 0x1f
/* Tiles that make 4 outputs along each axis, and those with a last tile of 3 or 2 (of 1: two passes); a on the first axis, b on
 * the second. */
#define EDGES(X, a, b)                                                                                                           \
    X(a##_4, b##_4)                                                                                                              \
    X(a##_4, b##_3)                                                                                                              \
    X(a##_3, b##_4)                                                                                                              \
    X(a##_3, b##_3)                                                                                                              \
    X(a##_4, b##_2)                                                                                                              \
    X(a##_2, b##_4)                                                                                                              \
    X(a##_2, b##_2)
#define PAIRS(X, a, b)                                                                                                           \
    EDGES(X, a, a)                                                                                                               \
    EDGES(X, a, b)                                                                                                               \
    EDGES(X, b, a)                                                                                                               \
    EDGES(X, b, b)
/* Kernels with 3, 4 and 5 taps: what they lack of the six points depends on their phases. Then 5x5 kernels with stride 1. */
#define PLANES(X)                                                                                                                \
    PAIRS(X, IN_ALL, IN_FRONT)                                                                                                   \
    PAIRS(X, LIFT_ALL, LIFT_FRONT)                                                                                               \
    PAIRS(X, OUT_FRONT, OUT_BEHIND)                                                                                              \
    EDGES(X, OUT_ALL, OUT_ALL)                                                                                                   \
    EDGES(X, OUT_ALL, OUT_FRONT)                                                                                                 \
    EDGES(X, OUT_FRONT, OUT_ALL)                                                                                                 \
    EDGES(X, OUT_ALL, OUT_BEHIND)                                                                                                \
    EDGES(X, OUT_BEHIND, OUT_ALL)                                                                                                \
    X(TAPS_3, TAPS_3)                                                                                                            \
    X(TAPS_3, TAPS_FRONT)                                                                                                        \
    X(TAPS_FRONT, TAPS_3)                                                                                                        \
    X(TAPS_3, TAPS_BEHIND)                                                                                                       \
    X(TAPS_BEHIND, TAPS_3)                                                                                                       \
    X(TAPS_FRONT, TAPS_FRONT)                                                                                                    \
    X(TAPS_FRONT, TAPS_BEHIND)                                                                                                   \
    X(TAPS_BEHIND, TAPS_FRONT)                                                                                                   \
    X(TAPS_BEHIND, TAPS_BEHIND)                                                                                                  \
    X(UNTAPS_3, UNTAPS_3)                                                                                                        \
    X(UNTAPS_3, UNTAPS_FRONT)                                                                                                    \
    X(UNTAPS_FRONT, UNTAPS_3)                                                                                                    \
    X(UNTAPS_FRONT, UNTAPS_FRONT)                                                                                                \
    X(IN_FIVE_W, IN_FIVE_H)                                                                                                      \
    X(OUT_FIVE_W, OUT_FIVE_H)                                                                                                    \
    X(LIFT_FIVE_W, LIFT_FIVE_H)                                                                                                  \
    X(TAPS_FIVE_W, TAPS_FIVE_H)                                                                                                  \
    X(UNTAPS_FIVE_H, UNTAPS_FIVE_W)
#define PLANE(...) PLANE_OF(__VA_ARGS__)
#define PLANE_OF(p, reads_p, makes_p, q, reads_q, makes_q)                                                                       \
    static void p##_then_##q(const fg_real *in, int64_t is, int64_t il, fg_real *out, int64_t os, int64_t ol) {                  \
        vf mid[FG_WINO_POINTS][FG_WINO_POINTS], x[FG_WINO_POINTS], y[FG_WINO_POINTS];                                            \
        UNROLL for (int l = 0; l < FG_WINO_POINTS; l++) {                                                                        \
            if (!(reads_q >> l & 1)) continue;                                                                                   \
            UNROLL for (int j = 0; j < FG_WINO_POINTS; j++) if (reads_p >> j & 1) x[j] = v_load(in + l * il + j * is);           \
            p##_of(x, 1, mid[l], 1);                                                                                             \
        }                                                                                                                        \
        UNROLL for (int j = 0; j < FG_WINO_POINTS; j++) {                                                                        \
            if (!(makes_p >> j & 1)) continue;                                                                                   \
            q##_of(mid[0] + j, FG_WINO_POINTS, y, 1);                                                                            \
            UNROLL for (int l = 0; l < FG_WINO_POINTS; l++) if (makes_q >> l & 1) v_store(out + j * os + l * ol, y[l]);          \
        }                                                                                                                        \
    }
PLANES(PLANE)
#define ENTRY(...)                                     ENTRY_OF(__VA_ARGS__)
#define ENTRY_OF(p, read_p, made_p, q, read_q, made_q) { p, q, p##_then_##q },
static plane_fn plane_of(pass_fn first, pass_fn second) {
    static const struct {
        pass_fn first, second;
        plane_fn run;
    } planes[] = { PLANES(ENTRY) };
    for (size_t i = 0; i < sizeof planes / sizeof *planes; i++)
        if (planes[i].first == first && planes[i].second == second) return planes[i].run;
    return NULL;
}
#else
static plane_fn plane_of(pass_fn first, pass_fn second) { return (void)first, (void)second, NULL; }
#endif
#undef S
#undef ADD
#undef SUB
#undef MUL
#undef NEG
#undef FMA

/* Points up to the last that some phase uses. */
static int points_in_use(const fg_wino_axis *a) {
    int n = 0;
    for (int i = 0; i < a->phases; i++) n = (int)max64(n, a->phase[i].first + a->phase[i].points);
    return n;
}
/* [point 0 missing][infinity missing] */
#define BY_POINTS(name)                                                                                                          \
    {                                                                                                                            \
        { name##_all, name##_front }, { name##_behind, name##_middle }                                                           \
    }
static bool last_missing(const fg_wino_axis *a, const fg_wino_phase *f) { return f->first + f->points < a->n; }
/* `m`: outputs of the tile */
static pass_fn input_pass(const fg_wino_axis *a, const fg_wino_phase *f, int m) {
    static const pass_fn six[2][2] = BY_POINTS(in6),
                         edge[3][2][2] = { BY_POINTS(edge_in1), BY_POINTS(edge_in2), BY_POINTS(edge_in3) };
    if (a->n == 8) return in8_all;
    int front = f ? f->first : 0, behind = f && last_missing(a, f);
    return m < a->m ? edge[m - 1][front][behind] : six[front][behind];
}
static pass_fn output_pass(const fg_wino_axis *a, const fg_wino_phase *f, int m) {
    static const pass_fn six[2][2] = BY_POINTS(out6_4),
                         edge[3][2][2] = { BY_POINTS(edge_out1), BY_POINTS(edge_out2), BY_POINTS(edge_out3) };
    if (a->n == 8) return out8_4_all;
    if (m < a->m) return edge[m - 1][f->first][last_missing(a, f)];
    return a->m == 4 ? six[f->first][last_missing(a, f)] : a->m == 3 ? out6_3_all : out6_2_all;
}
/* taps of a phase to points (`back`: the transpose) */
static pass_fn weight_pass(const fg_wino_axis *a, const fg_wino_phase *f, bool back) {
    static const pass_fn one[3][2] = { { taps6_1_front, untaps6_1_front },
                                       { taps6_1_middle, untaps6_1_middle },
                                       { taps6_1_behind, untaps6_1_behind } };
    static const pass_fn two[2][2] = { { taps6_2_front, untaps6_2_front }, { taps6_2_behind, untaps6_2_behind } };
    static const pass_fn most[3][2] = { { taps6_3, untaps6_3 }, { taps6_4, untaps6_4 }, { taps6_5, untaps6_5 } };
    if (a->n == 8) return back ? untaps8_5 : taps8_5;
    return f->taps == 1 ? one[f->place][back] : f->taps == 2 ? two[f->place][back] : most[f->taps - 3][back];
}
