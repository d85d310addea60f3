/* test_winograd.c: Winograd convolutions of every ISA of this machine: the transforms against the convolution they stand for,
 * each geometry against sums in double, the rounding error against that of the direct kernel, NaN and infinities, the same
 * bits for any number of workers.
 * build: both */
#include "conv_wino.h"
#include "conv_cases.h"

/* n, h, w, ci, oh, ow, co, kh, kw, sh, sw, pt, pl */
static const fg_conv_geom geoms[] = {
    /* the layers of the reference configurations with 16 channels or more on both sides: 5x5 "same" */
    { 64, 28, 28, 64, 14, 14, 128, 5, 5, 2, 2, 1, 1 },
    { 64, 14, 14, 128, 7, 7, 128, 5, 5, 2, 2, 1, 1 },
    { 64, 14, 14, 32, 7, 7, 64, 5, 5, 2, 2, 1, 1 },
    { 64, 7, 7, 64, 4, 4, 128, 5, 5, 2, 2, 2, 2 },
    { 64, 28, 28, 32, 28, 28, 64, 5, 5, 1, 1, 2, 2 },
    { 64, 4, 4, 128, 4, 4, 256, 5, 5, 1, 1, 2, 2 },
    /* 4x4, padding 1 */
    { 64, 32, 32, 64, 16, 16, 128, 4, 4, 2, 2, 1, 1 },
    { 64, 16, 16, 128, 8, 8, 256, 4, 4, 2, 2, 1, 1 },
    { 64, 8, 8, 256, 4, 4, 512, 4, 4, 2, 2, 1, 1 },
    { 64, 14, 14, 48, 7, 7, 96, 4, 4, 2, 2, 1, 1 },
    { 64, 14, 14, 32, 7, 7, 64, 4, 4, 2, 2, 1, 1 },
    /* 3x3 */
    { 64, 7, 7, 64, 4, 4, 128, 3, 3, 2, 2, 1, 1 },
    { 64, 14, 14, 32, 7, 7, 64, 3, 3, 2, 2, 0, 0 },
    { 64, 14, 14, 64, 14, 14, 128, 3, 3, 1, 1, 1, 1 },
    { 64, 14, 14, 128, 7, 7, 256, 3, 3, 2, 2, 0, 0 },
    /* odd ones: maps of one pixel, channels that fill no vector, rectangles, paddings from cropped to beyond the kernel */
    { 31, 1, 1, 17, 1, 1, 19, 3, 3, 1, 1, 1, 1 },
    { 29, 1, 1, 16, 1, 1, 33, 5, 5, 2, 2, 2, 2 },
    { 7, 9, 11, 17, 9, 11, 31, 3, 5, 1, 1, 1, 2 },
    { 7, 11, 9, 31, 6, 9, 17, 5, 3, 2, 1, 2, 1 },
    { 7, 12, 10, 18, 6, 10, 20, 4, 5, 2, 1, 1, 2 },
    { 7, 10, 12, 23, 10, 6, 16, 5, 4, 1, 2, 2, 1 },
    { 7, 13, 7, 16, 13, 4, 17, 4, 3, 1, 2, 1, 1 },
    { 5, 14, 14, 16, 14, 14, 16, 5, 5, 1, 1, 4, 0 },
    { 5, 14, 14, 16, 14, 14, 16, 5, 5, 1, 1, 0, 4 },
    { 6, 12, 12, 20, 4, 4, 24, 3, 3, 2, 2, -1, -2 },
    { 5, 7, 8, 40, 6, 7, 40, 4, 4, 2, 2, 5, 6 },
    { 6, 15, 16, 33, 6, 7, 50, 3, 3, 2, 2, 0, 0 },
    { 4, 6, 6, 31, 9, 9, 16, 3, 3, 1, 1, 3, 3 },
    { 6, 15, 16, 16, 6, 7, 31, 4, 4, 2, 2, 0, 0 },
    { 1, 30, 40, 24, 30, 40, 40, 4, 4, 1, 1, 2, 1 },
    /* DW by kernel rows: maps of one pixel, rectangles, many and few images, paddings beyond the map and cropped */
    { 70, 1, 1, 17, 1, 1, 19, 5, 5, 1, 1, 2, 2 },
    { 7, 6, 19, 18, 6, 19, 33, 5, 5, 1, 1, 2, 2 },
    { 90, 8, 3, 40, 8, 3, 50, 5, 5, 1, 1, 2, 2 },
    { 3, 3, 30, 16, 7, 33, 29, 5, 5, 1, 1, 4, 4 },
    { 9, 12, 12, 31, 6, 6, 16, 5, 5, 1, 1, -1, -2 },
    { 33, 2, 40, 20, 1, 37, 70, 5, 5, 1, 1, 4, 0 },
    /* weights made anew for each call: 17 MB of them in points */
    { 2, 11, 9, 150, 6, 5, 240, 5, 5, 2, 2, 2, 2 },
};
enum { GEOMS = sizeof geoms / sizeof *geoms, REFERENCE = 15, DIRS = 3 };
/* A method of one level's own, whether or not dispatch would ask it for this geometry; NULL when the level has none. */
static const fg_conv_kernel *method(fg_isa_level isa, const char *name) {
    const fg_kernels *k = fg_kernels_for(isa);
    for (int i = 0; k && i < FG_CONV_KERNELS && k->conv[i]; i++)
        if (k->conv[i]->isa == isa && !strcmp(k->conv[i]->name, name)) return k->conv[i];
    return NULL;
}
static bool has_form(const fg_conv_geom *g, fg_conv_dir d) {
    fg_wino_geom w;
    return fg_wino_geom_of(g, d, &w);
}

static problem problem_of(int which, fg_conv_dir dir, double mean) {
    fg_conv_geom g = geoms[which];
    if (dir != FG_CONV_DW && g.n == 64) g.n = 8; /* DW's sums alone grow with the batch */
    return problem_new(&g, dir, (uint64_t)which + 1, mean, which % 2);
}
static void drive_by(fg_context *ctx, const fg_conv_kernel *kernel, problem *p) {
    p->kernel = kernel;
    drive(ctx, p);
}

/* Output `at` in double, bias and activation included */
static double exact(const problem *p, int64_t at) {
    int64_t channels = p->dir == FG_CONV_FWD ? p->g.co : p->g.ci;
    double sum = exact_sum(p, at).sum;
    if (p->a.bias) sum += (double)p->a.bias[at % channels];
    return act_exact(sum, p->a.act, (double)p->a.slope);
}

/* rms error relative to the rms of the outputs, over a sample of at most `most`, whose exact values are in `want` */
static int64_t sample_at(int64_t i, int64_t count, int64_t size) {
    return count == size ? i : (int64_t)((uint64_t)i * 2654435761u % (uint64_t)size);
}
static double rms_error(const problem *p, const double *want, int64_t count) {
    double e = 0, s = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = (double)p->out.p[sample_at(i, count, out_size(&p->g, p->dir))] - want[i];
        e += d * d, s += want[i] * want[i];
    }
    return sqrt(e / (s + 1e-300));
}
static int64_t sample_of(const problem *p, double *want, int64_t most) {
    int64_t size = out_size(&p->g, p->dir), count = size < most ? size : most;
    for (int64_t i = 0; i < count; i++) want[i] = exact(p, sample_at(i, count, size));
    return count;
}

/* Every geometry and direction, with and without a mean. The bound is stated for the layers of the reference configurations
 * and the vector kernels: 4 times (the eight-point set: 6 times) the rms error of the direct kernel of the same level. Where a
 * direct sum has but few terms, it may be more exact than any transform; then 16 (24) epsilons. Nothing is left unwritten. */
START_TEST(accuracy) {
    enum { MOST = 600 };
    static double want[MOST];
    for (int i = 0; i < GEOMS; i++)
        for (int d = 0; d < DIRS; d++)
            for (int mean = 0; mean < 2; mean++) {
                if (!has_form(&geoms[i], (fg_conv_dir)d)) continue;
                problem p = problem_of(i, (fg_conv_dir)d, mean);
                int64_t count = sample_of(&p, want, MOST);
                for (fg_isa_level isa = FG_ISA_SCALAR; isa < FG_ISA_COUNT; isa++) {
                    const fg_conv_kernel *wino = method(isa, "winograd"), *direct = method(isa, "direct");
                    if (!wino || (isa == FG_ISA_SCALAR && i < REFERENCE && (mean || i % 4 != 3))) continue; /* slow */
                    fg_context *ctx = context_for(isa);
                    drive_by(ctx, direct, &p);
                    double bound = rms_error(&p, want, count);
                    drive_by(ctx, wino, &p);
                    double error = rms_error(&p, want, count);
                    for (int64_t o = 0; o < out_size(&p.g, p.dir); o++)
                        REQUIRE(isfinite(p.out.p[o]), "%s, geometry %d, %s: output %ld is %g", ctx->k->isa, i, dir_names[d],
                                (long)o, (double)p.out.p[o]);
                    fg_wino_geom w;
                    fg_wino_geom_of(&p.g, p.dir, &w);
                    double factor = w.h.n == 8 || w.w.n == 8 ? 6 : 4, most = factor * bound;
                    if (i >= REFERENCE || isa == FG_ISA_SCALAR) most = fmax(most, 4 * factor * real_eps);
                    REQUIRE(error <= most, "%s, geometry %d, %s, mean %d: rms error %.3g, direct %.3g: %.2f times", ctx->k->isa,
                            i, dir_names[d], mean, error, bound, error / bound);
                    fg_context_free(ctx);
                }
                problem_free(&p);
            }
}
END_TEST

START_TEST(bias_and_activation) {
    enum { MOST = 400 };
    static double want[MOST];
    for (int i = REFERENCE; i < GEOMS; i++)
        for (int d = 0; d < 2; d++)
            for (int act = 0; act < 6; act++) {
                if (!has_form(&geoms[i], (fg_conv_dir)d)) continue;
                problem p = problem_of(i, (fg_conv_dir)d, 0);
                p.a.act = (fg_act)act, p.a.slope = (fg_real)0.2, p.a.bias = act % 2 == i % 2 ? p.bias.p : NULL;
                int64_t count = sample_of(&p, want, MOST);
                for (fg_isa_level isa = FG_ISA_SCALAR; isa < FG_ISA_COUNT; isa++) {
                    const fg_conv_kernel *wino = method(isa, "winograd");
                    if (!wino) continue;
                    fg_context *ctx = context_for(isa);
                    drive_by(ctx, wino, &p);
                    double error = rms_error(&p, want, count);
                    REQUIRE(error <= 100 * real_eps, "%s, geometry %d, %s, act %d: rms error %.3g", ctx->k->isa, i, dir_names[d],
                            act, error);
                    fg_context_free(ctx);
                }
                problem_free(&p);
            }
}
END_TEST

/* The same bits as the convolution and then the activation's gradient, closed gates and NaN among them. */
START_TEST(gates) {
    for (int i = REFERENCE; i < GEOMS; i++)
        for (int d = 0; d < 2; d++)
            for (fg_isa_level isa = FG_ISA_SCALAR; isa < FG_ISA_COUNT; isa++) {
                const fg_conv_kernel *wino = method(isa, "winograd");
                if (!wino || !has_form(&geoms[i], (fg_conv_dir)d)) continue;
                ck_assert(wino->gates);
                problem p = problem_of(i, (fg_conv_dir)d, 0);
                fg_act act = (fg_act)(1 + (i + d + (int)isa) % 5);
                fg_context *ctx = context_for(isa);
                size_t n = (size_t)out_size(&p.g, p.dir);
                fence gate = fence_random((int64_t)n, i % 2);
                for (size_t e = 0; e < n; e += 7) gate.p[e] = e % 3 ? 0 : (fg_real)NAN;
                drive_by(ctx, wino, &p);
                fg_real *want = malloc(n * sizeof *want);
                ctx->k->unary_grad[fg_act_unary(act)](p.out.p, gate.p, want, n, (fg_real)0.2, 0);
                p.a.act = act, p.a.slope = (fg_real)0.2, p.a.gate = gate.p;
                drive_by(ctx, wino, &p);
                for (size_t e = 0; e < n; e++)
                    REQUIRE(!memcmp(&want[e], &p.out.p[e], sizeof *want),
                            "%s, geometry %d, %s, gate of %d: output %zu is %.9g, not %.9g", ctx->k->isa, i, dir_names[d],
                            (int)act, e, (double)p.out.p[e], (double)want[e]);
                free(want);
                fence_free(&gate);
                fg_context_free(ctx);
                problem_free(&p);
            }
}
END_TEST

START_TEST(same_bits_for_any_team) {
    for (int i = 0; i < GEOMS; i++)
        for (int d = 0; d < DIRS; d++)
            for (fg_isa_level isa = FG_ISA_AVX2; isa < FG_ISA_COUNT; isa++) {
                const fg_conv_kernel *wino = method(isa, "winograd");
                if (!wino || !has_form(&geoms[i], (fg_conv_dir)d)) continue;
                problem p = problem_of(i, (fg_conv_dir)d, 0);
                size_t bytes = (size_t)out_size(&p.g, p.dir) * sizeof(fg_real);
                fg_real *first = malloc(bytes);
                for (int t = 1; t <= 3; t++) {
                    fg_context *ctx = context_for(isa);
                    fg_set_threads(ctx, t);
                    drive_by(ctx, wino, &p);
                    if (t == 1) memcpy(first, p.out.p, bytes);
                    REQUIRE(!memcmp(first, p.out.p, bytes), "%s, geometry %d, %s: other bits with %d threads", ctx->k->isa, i,
                            dir_names[d], t);
                    fg_context_free(ctx);
                }
                free(first);
                problem_free(&p);
            }
}
END_TEST

/* Whether tile `tile` of an axis may read source pixel `at`: FWD and DW x, DX dy. */
static bool tile_reads(const fg_wino_axis *a, fg_conv_dir dir, int64_t tile, int64_t at) {
    int64_t first = dir == FG_CONV_DX ? a->w0 + a->m * tile : a->stride * (a->m * tile - 1) - a->pad;
    int64_t last = dir == FG_CONV_DX ? first + a->n - 1 : a->stride * (a->m * tile + a->n) - 1 - a->pad;
    return at >= first && at <= last;
}
/* tile of an axis that makes output pixel `at` */
static int64_t tile_making(const fg_wino_axis *a, fg_conv_dir dir, int64_t at) {
    if (dir == FG_CONV_FWD) return at / a->m;
    int64_t rho = (at + a->pad) % a->stride, q = (at + a->pad) / a->stride;
    return (q - a->phase[rho].q) / a->m;
}

/* One NaN or infinity in the source image: every output whose direct sum has it is not finite; others are not finite only
 * if their tile read it. In DW it stays in its channel. One in a weight stays in its output channel. */
START_TEST(special_values_stay_in_their_tiles) {
    for (int i = REFERENCE; i < GEOMS; i++)
        for (int d = 0; d < DIRS; d++)
            for (fg_isa_level isa = FG_ISA_SCALAR; isa < FG_ISA_COUNT; isa++) {
                fg_wino_geom w;
                const fg_conv_kernel *wino = method(isa, "winograd");
                if (!wino || !fg_wino_geom_of(&geoms[i], (fg_conv_dir)d, &w)) continue;
                problem p = problem_of(i, (fg_conv_dir)d, 0);
                const fg_conv_geom *g = &p.g;
                fg_context *ctx = context_for(isa);
                fg_real bad = (fg_real)((i + d) % 2 ? INFINITY : NAN);
                fence *src = d == FG_CONV_DX ? &p.y : &p.x;
                int64_t sc = d == FG_CONV_DX ? g->co : g->ci, sh = d == FG_CONV_DX ? g->oh : g->h;
                int64_t sw = d == FG_CONV_DX ? g->ow : g->w, c = random_below(sc), x = random_below(sw), y = random_below(sh);
                int64_t n = random_below(g->n), at = ((n * sh + y) * sw + x) * sc + c, outs = out_size(g, p.dir);
                src->p[at] = bad;
                drive_by(ctx, wino, &p);
                int64_t oc = d == FG_CONV_FWD ? g->co : g->ci, mw = d == FG_CONV_FWD ? g->ow : g->w,
                        mh = d == FG_CONV_FWD ? g->oh : g->h;
                for (int64_t o = 0; o < outs; o++) {
                    bool finite = isfinite(p.out.p[o]);
                    if (d == FG_CONV_DW) {
                        REQUIRE(finite || o / g->co % g->ci == c, "%s, geometry %d, DW: left its channel", ctx->k->isa, i);
                    } else if (!finite) {
                        int64_t ow = o / oc % mw, oh = o / oc / mw % mh;
                        REQUIRE(o / oc / mw / mh == n && tile_reads(&w.h, p.dir, tile_making(&w.h, p.dir, oh), y) &&
                                    tile_reads(&w.w, p.dir, tile_making(&w.w, p.dir, ow), x),
                                "%s, geometry %d, %s: output %ld is %g, far from %ld", ctx->k->isa, i, dir_names[d], (long)o,
                                (double)p.out.p[o], (long)at);
                    }
                    if (o % 7 == 0 || outs < 5000) {
                        double sum = exact(&p, o);
                        REQUIRE(!finite || isfinite(sum), "%s, geometry %d, %s: output %ld is %g, expected %g", ctx->k->isa, i,
                                dir_names[d], (long)o, (double)p.out.p[o], sum);
                    }
                    if (outs > 5000 && d == FG_CONV_DW) o += 50;
                }
                src->p[at] = 0;
                if (d != FG_CONV_DW) {
                    int64_t wi = random_below(w_size(g)), channel = d == FG_CONV_FWD ? wi % g->co : wi / g->co % g->ci, hits = 0;
                    p.w.p[wi] = bad;
                    drive_by(ctx, method(isa, "direct"), &p);
                    for (int64_t o = 0; o < outs; o++) hits -= !isfinite(p.out.p[o]);
                    drive_by(ctx, wino, &p);
                    for (int64_t o = 0; o < outs; o++) {
                        hits += !isfinite(p.out.p[o]);
                        REQUIRE(isfinite(p.out.p[o]) || o % oc == channel, "%s, geometry %d, %s: a weight left its channel",
                                ctx->k->isa, i, dir_names[d]);
                    }
                    REQUIRE(hits >= 0, "%s, geometry %d, %s: weight %ld was lost", ctx->k->isa, i, dir_names[d], (long)wi);
                }
                fg_context_free(ctx);
                problem_free(&p);
            }
}
END_TEST

/* Dispatch: Winograd where it is granted and pays, never where it is not granted. */
START_TEST(chosen_where_it_pays) {
    const fg_conv_geom large = { 64, 28, 28, 64, 14, 14, 128, 5, 5, 2, 2, 1, 1 },
                       narrow = { 64, 28, 28, 1, 14, 14, 32, 5, 5, 2, 2, 1, 1 };
    const fg_conv_geom single = { 1, 14, 14, 128, 7, 7, 128, 5, 5, 2, 2, 1, 1 },
                       point = { 64, 28, 28, 64, 28, 28, 64, 1, 1, 1, 1, 0, 0 };
    EACH_ISA(isa)
    for (int d = 0; d < DIRS; d++) {
        fg_conv_plan p;
        const fg_kernels *k = fg_kernels_for(isa);
        fg_conv_choose(k, &large, (fg_conv_dir)d, FG_CONV_FAST, &p);
        ck_assert_str_eq(p.kernel->name, "winograd");
        fg_conv_choose(k, &large, (fg_conv_dir)d, 0, &p);
        ck_assert_str_ne(p.kernel->name, "winograd");
        const fg_conv_geom *others[] = { &narrow, &single, &point };
        for (int i = 0; i < 3; i++) {
            fg_conv_choose(k, others[i], (fg_conv_dir)d, FG_CONV_FAST, &p);
            ck_assert_str_ne(p.kernel->name, "winograd");
        }
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("winograd");
    TCase *t = tcase_create("winograd");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, accuracy);
    tcase_add_test(t, bias_and_activation);
    tcase_add_test(t, gates);
    tcase_add_test(t, same_bits_for_any_team);
    tcase_add_test(t, special_values_stay_in_their_tiles);
    tcase_add_test(t, chosen_where_it_pays);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
