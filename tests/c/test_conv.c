/* test_conv.c: every convolution kernel of every ISA of this machine that asks for no flag, wherever it fits, all three
 * directions, against sums in double: the layers of the reference networks, and odd geometries (maps of one pixel,
 * rectangles, uneven padding, strides to 4, kernels larger than the map, channels from 1 to 64). Bias and activations, the same
 * bits for any number of workers, NaN and infinities reaching exactly the outputs that use them, sizes of scratch and partials
 * within their contract. build: both */
#include "conv_cases.h"

/* n, h, w, ci, oh, ow, co, kh, kw, sh, sw, pt, pl */
static const fg_conv_geom geoms[] = {
    /* the book's DCGAN, discriminator: 5x5 "same" */
    { 8, 28, 28, 1, 14, 14, 32, 5, 5, 2, 2, 1, 1 },
    { 3, 14, 14, 32, 7, 7, 64, 5, 5, 2, 2, 1, 1 },
    { 7, 7, 7, 64, 4, 4, 128, 5, 5, 2, 2, 2, 2 },
    { 9, 4, 4, 128, 4, 4, 256, 5, 5, 1, 1, 2, 2 },
    /* its generator: transposed, so DX is the forward pass */
    { 6, 14, 14, 128, 7, 7, 128, 5, 5, 2, 2, 1, 1 },
    { 2, 28, 28, 64, 14, 14, 128, 5, 5, 2, 2, 1, 1 },
    { 8, 28, 28, 64, 14, 14, 128, 5, 5, 2, 2, 1, 1 },
    { 2, 28, 28, 32, 28, 28, 64, 5, 5, 1, 1, 2, 2 },
    { 5, 28, 28, 1, 28, 28, 32, 5, 5, 1, 1, 2, 2 },
    /* GANs in Action: 3x3 */
    { 6, 28, 28, 1, 14, 14, 32, 3, 3, 2, 2, 0, 0 },
    { 6, 14, 14, 32, 7, 7, 64, 3, 3, 2, 2, 0, 0 },
    { 6, 7, 7, 64, 4, 4, 128, 3, 3, 2, 2, 1, 1 },
    { 2, 14, 14, 128, 7, 7, 256, 3, 3, 2, 2, 0, 0 },
    { 2, 14, 14, 64, 14, 14, 128, 3, 3, 1, 1, 1, 1 },
    { 3, 28, 28, 1, 14, 14, 64, 3, 3, 2, 2, 0, 0 },
    /* DCGAN 64x64: 4x4 */
    { 2, 64, 64, 3, 32, 32, 64, 4, 4, 2, 2, 1, 1 },
    { 7, 64, 64, 3, 32, 32, 64, 4, 4, 2, 2, 1, 1 },
    { 1, 32, 32, 64, 16, 16, 128, 4, 4, 2, 2, 1, 1 },
    { 2, 16, 16, 128, 8, 8, 256, 4, 4, 2, 2, 1, 1 },
    { 2, 8, 8, 256, 4, 4, 512, 4, 4, 2, 2, 1, 1 },
    { 6, 4, 4, 512, 1, 1, 1, 4, 4, 1, 1, 0, 0 },
    { 6, 4, 4, 512, 1, 1, 100, 4, 4, 1, 1, 0, 0 },
    { 6, 28, 28, 1, 14, 14, 48, 4, 4, 2, 2, 1, 1 },
    { 9, 28, 28, 3, 14, 14, 48, 4, 4, 2, 2, 1, 1 },
    /* maps of one pixel */
    { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0 },
    { 13, 1, 1, 17, 1, 1, 31, 1, 1, 1, 1, 0, 0 },
    { 7, 1, 1, 5, 1, 1, 6, 5, 5, 1, 1, 2, 2 },
    { 2, 1, 1, 16, 3, 3, 5, 3, 3, 1, 1, 2, 2 },
    { 29, 1, 1, 48, 1, 1, 64, 3, 3, 2, 2, 1, 1 },
    { 5, 5, 5, 3, 1, 1, 16, 5, 5, 1, 1, 0, 0 },
    /* 1x1 kernels */
    { 3, 9, 9, 16, 9, 9, 48, 1, 1, 1, 1, 0, 0 },
    { 6, 9, 9, 17, 5, 5, 3, 1, 1, 2, 2, 0, 0 },
    { 1, 6, 7, 31, 6, 7, 2, 1, 1, 1, 1, 0, 0 },
    /* stride beyond the kernel: pixels without taps */
    { 3, 11, 11, 5, 4, 4, 17, 2, 2, 3, 3, 0, 0 },
    { 7, 13, 13, 16, 4, 4, 5, 1, 1, 4, 4, 1, 1 },
    { 2, 10, 12, 3, 3, 4, 2, 2, 1, 4, 3, 0, 0 },
    { 8, 9, 9, 2, 3, 3, 33, 2, 2, 4, 4, 1, 0 },
    /* stride 3 */
    { 4, 17, 17, 16, 6, 6, 31, 5, 5, 3, 3, 2, 2 },
    { 15, 10, 10, 5, 4, 4, 17, 4, 4, 3, 3, 1, 1 },
    { 6, 20, 20, 1, 7, 7, 3, 7, 7, 3, 3, 3, 3 },
    { 1, 8, 8, 31, 3, 3, 64, 3, 3, 3, 3, 0, 0 },
    /* rectangles: images, kernels, strides */
    { 6, 5, 19, 16, 5, 10, 17, 3, 5, 1, 2, 1, 2 },
    { 2, 19, 5, 3, 10, 5, 31, 5, 3, 2, 1, 2, 1 },
    { 7, 12, 9, 5, 4, 9, 16, 7, 1, 3, 1, 3, 0 },
    { 3, 9, 12, 17, 9, 6, 2, 1, 7, 1, 2, 0, 3 },
    { 8, 1, 40, 3, 1, 20, 16, 1, 4, 1, 2, 0, 1 },
    { 5, 40, 1, 16, 40, 1, 3, 5, 1, 1, 1, 2, 0 },
    { 6, 1, 300, 2, 1, 300, 5, 1, 3, 1, 1, 0, 1 },
    { 1, 2, 600, 16, 2, 600, 17, 3, 3, 1, 1, 1, 1 },
    /* uneven padding, cropped and more than the kernel reaches */
    { 6, 14, 14, 5, 14, 14, 16, 5, 5, 1, 1, 4, 0 },
    { 2, 14, 14, 16, 14, 14, 5, 5, 5, 1, 1, 0, 4 },
    { 9, 7, 7, 3, 4, 4, 17, 4, 4, 2, 2, 3, 0 },
    { 3, 7, 8, 2, 6, 7, 2, 4, 4, 2, 2, 5, 6 },
    { 6, 6, 6, 31, 9, 9, 16, 3, 3, 1, 1, 3, 3 },
    { 7, 4, 4, 3, 9, 9, 3, 3, 3, 1, 1, 5, 4 },
    { 6, 12, 12, 5, 4, 4, 16, 3, 3, 2, 2, -1, -2 },
    /* the last rows and columns of the image unused */
    { 6, 15, 16, 16, 6, 7, 31, 3, 3, 2, 2, 0, 0 },
    { 2, 16, 15, 5, 4, 4, 48, 4, 4, 3, 3, 0, 0 },
    /* kernel larger than the map */
    { 6, 3, 3, 17, 3, 3, 16, 7, 7, 1, 1, 3, 3 },
    { 4, 2, 2, 1, 2, 2, 5, 5, 5, 1, 1, 2, 2 },
    { 17, 2, 3, 3, 2, 2, 31, 7, 6, 2, 2, 3, 3 },
    /* channels and odd batches */
    { 1, 6, 6, 64, 6, 6, 31, 3, 3, 1, 1, 1, 1 },
    { 14, 6, 6, 31, 3, 3, 64, 4, 4, 2, 2, 1, 1 },
    { 15, 5, 5, 48, 5, 5, 1, 3, 3, 1, 1, 1, 1 },
    { 6, 5, 5, 1, 5, 5, 1, 3, 3, 1, 1, 1, 1 },
    { 3, 8, 8, 2, 8, 8, 2, 5, 5, 1, 1, 2, 2 },
    { 31, 4, 4, 48, 4, 4, 3, 3, 3, 1, 1, 1, 1 },
    { 65, 3, 3, 8, 3, 3, 9, 3, 3, 1, 1, 1, 1 },
    { 6, 6, 6, 7, 6, 6, 15, 3, 3, 1, 1, 1, 1 },
    { 2, 5, 5, 400, 5, 5, 4, 2, 2, 1, 1, 0, 0 },
    { 70, 2, 2, 3, 2, 2, 4, 2, 2, 1, 1, 0, 0 },
    { 10, 70, 1, 9, 1, 1, 2, 70, 1, 1, 1, 0, 0 },
    { 2, 70, 2, 20, 5, 2, 3, 70, 1, 1, 1, 2, 0 },
    /* few channels against many: every way of striding, odd widths, borders wider than the middle, images one by one */
    { 5, 28, 28, 1, 14, 14, 64, 3, 3, 2, 2, 0, 0 },
    { 1, 28, 28, 1, 28, 28, 32, 5, 5, 1, 1, 2, 2 },
    { 7, 13, 37, 1, 13, 37, 19, 5, 3, 1, 1, 2, 1 },
    { 5, 9, 31, 2, 5, 16, 33, 3, 5, 2, 2, 1, 2 },
    { 1, 17, 26, 2, 17, 13, 16, 5, 4, 1, 2, 2, 1 },
    { 7, 12, 27, 3, 6, 14, 24, 4, 4, 2, 2, 1, 1 },
    { 1, 40, 45, 3, 14, 15, 17, 5, 5, 3, 3, 2, 1 },
    { 5, 7, 29, 4, 7, 29, 21, 3, 3, 1, 1, 1, 1 },
    { 7, 6, 24, 5, 6, 12, 23, 3, 6, 1, 2, 1, 2 },
    { 1, 33, 19, 8, 33, 19, 40, 3, 3, 1, 1, 1, 1 },
    { 5, 8, 25, 15, 4, 13, 32, 4, 3, 2, 2, 1, 1 },
    { 9, 14, 14, 1, 14, 14, 16, 3, 3, 1, 1, -1, 3 },
    { 7, 3, 20, 1, 5, 20, 8, 7, 9, 1, 1, 4, 4 },
    { 33, 6, 14, 1, 3, 14, 9, 3, 3, 2, 1, 1, 1 },
    { 7, 3, 40, 1, 3, 40, 32, 5, 5, 1, 1, 2, 2 },
    { 3, 50, 14, 1, 50, 14, 20, 3, 3, 1, 1, 1, 1 },
    /* and many against few */
    { 5, 12, 17, 64, 12, 17, 1, 3, 3, 1, 1, 1, 1 },
    { 7, 9, 15, 24, 7, 13, 2, 5, 5, 1, 1, 1, 1 },
    { 1, 14, 13, 32, 14, 13, 3, 5, 3, 1, 1, 2, 1 },
    { 5, 7, 12, 33, 8, 13, 5, 4, 4, 1, 1, 2, 2 },
    { 7, 5, 21, 16, 5, 21, 15, 3, 3, 1, 1, 1, 1 },
};
enum { GEOMS = sizeof geoms / sizeof *geoms };

/* The i-th kernel of this level's own that a caller without flags may get for this geometry; the first is the one it gets,
 * the others serve those that the first does not fit. Kernels of lower levels, further down the table's list, have their
 * turn with their level. NULL after the last. */
static const fg_conv_kernel *kernel_at(fg_isa_level isa, int which, fg_conv_dir dir, int i) {
    const fg_conv_kernel *const *c = fg_kernels_for(isa)->conv;
    for (int at = 0; at < FG_CONV_KERNELS && c[at]; at++)
        if (c[at]->isa == isa && !c[at]->needs && (!c[at]->fits || c[at]->fits(&geoms[which], dir)) && i-- == 0) return c[at];
    return NULL;
}
#define EACH_KERNEL(c, isa, which, dir)                                                                                          \
    for (int c##_i = 0; c##_i < FG_CONV_KERNELS; c##_i++)                                                                        \
        for (const fg_conv_kernel *c = kernel_at(isa, which, (fg_conv_dir)(dir), c##_i); c; c = NULL)

/* Geometry `which` for one kernel */
static problem problem_of(const fg_conv_kernel *kernel, int which, fg_conv_dir dir, bool at_start) {
    problem p = problem_new(&geoms[which], dir, (uint64_t)which + 1, 0, at_start);
    p.kernel = kernel;
    return p;
}

static void check_output(const fg_context *ctx, const problem *p, int which, int64_t at) {
    total t = exact_sum(p, at);
    int64_t channels = p->dir == FG_CONV_FWD ? p->g.co : p->g.ci;
    double bias = p->a.bias ? (double)p->a.bias[at % channels] : 0;
    double want = act_exact(t.sum + bias, p->a.act, (double)p->a.slope), got = (double)p->out.p[at];
    double tol = real_eps * ((4 + sqrt((double)t.terms)) * t.size + fabs(bias) + 4 * fabs(want) + 1e-3);
    REQUIRE(fabs(got - want) <= tol, "%s %s, geometry %d, %s, bias %d, act %d: output %ld is %.9g, expected %.9g", ctx->k->isa,
            p->kernel->name, which, dir_names[p->dir], p->a.bias != NULL, (int)p->a.act, (long)at, got, want);
}

/* All outputs of small problems; of large ones the corners, a sample, and that nothing was left unwritten. */
static void check_problem(const fg_context *ctx, const problem *p, int which) {
    int64_t size = out_size(&p->g, p->dir);
    for (int64_t i = 0; i < size; i++)
        REQUIRE(isfinite(p->out.p[i]), "%s %s, geometry %d, %s: output %ld is %g", ctx->k->isa, p->kernel->name, which,
                dir_names[p->dir], (long)i, (double)p->out.p[i]);
    if (macs(&p->g) < 1.5e6) {
        for (int64_t i = 0; i < size; i++) check_output(ctx, p, which, i);
        return;
    }
    int64_t samples = (int64_t)(5e5 / (macs(&p->g) / (double)size)) + 20;
    for (int64_t i = 0; i < samples; i++) check_output(ctx, p, which, random_below(size));
    for (int64_t i = 0; i < 20 && i < size; i++) check_output(ctx, p, which, i), check_output(ctx, p, which, size - 1 - i);
}

START_TEST(geometries) {
    EACH_ISA(isa) {
        fg_context *ctx = context_for(isa);
        for (int i = 0; i < GEOMS; i++)
            for (int d = 0; d < 3; d++) {
                fg_conv_plan chosen;
                ck_assert(fg_conv_choose(ctx->k, &geoms[i], (fg_conv_dir)d, 0, &chosen));
                ck_assert_ptr_eq(chosen.kernel, kernel_at(isa, i, (fg_conv_dir)d, 0));
                EACH_KERNEL(c, isa, i, d) {
                    problem p = problem_of(c, i, (fg_conv_dir)d, (i + d) % 2);
                    drive(ctx, &p);
                    check_problem(ctx, &p, i);
                    problem_free(&p);
                }
            }
        fg_context_free(ctx);
    }
}
END_TEST

START_TEST(bias_and_activation) {
    EACH_ISA(isa) {
        fg_context *ctx = context_for(isa);
        for (int i = 0; i < GEOMS; i++) {
            if (macs(&geoms[i]) > 1e7) continue;
            for (int d = 0; d < 2; d++)
                for (int v = 0; v < 3; v++) EACH_KERNEL(c, isa, i, d) {
                        problem p = problem_of(c, i, (fg_conv_dir)d, i % 2);
                        p.a.act = (fg_act)((i + v * 2 + d) % 6), p.a.slope = (fg_real)0.2;
                        if (v) p.a.bias = p.bias.p;
                        drive(ctx, &p);
                        check_problem(ctx, &p, i);
                        problem_free(&p);
                    }
        }
        fg_context_free(ctx);
    }
}
END_TEST

START_TEST(same_bits_for_any_team) {
    EACH_ISA(isa) {
        fg_context *ctx[3];
        for (int t = 0; t < 3; t++) ctx[t] = context_for(isa), fg_set_threads(ctx[t], t + 1);
        for (int i = 0; i < GEOMS; i++)
            for (int d = 0; d < 3; d++) EACH_KERNEL(c, isa, i, d) {
                    size_t bytes = (size_t)out_size(&geoms[i], (fg_conv_dir)d) * sizeof(fg_real);
                    problem p = problem_of(c, i, (fg_conv_dir)d, false);
                    fg_real *first = malloc(bytes);
                    for (int t = 0; t < 3; t++) {
                        drive(ctx[t], &p);
                        if (t == 0) memcpy(first, p.out.p, bytes);
                        REQUIRE(!memcmp(first, p.out.p, bytes), "%s %s, geometry %d, %s: other bits with %d threads",
                                ctx[t]->k->isa, c->name, i, dir_names[d], t + 1);
                    }
                    free(first);
                    problem_free(&p);
                }
        for (int t = 0; t < 3; t++) fg_context_free(ctx[t]);
    }
}
END_TEST

typedef struct mark {
    int operand; /* whose index is marked */
    char *hit;
} mark;
static void mark_product(void *arg, int64_t xi, int64_t wi, int64_t yi) {
    mark *m = arg;
    m->hit[m->operand == 0 ? xi : m->operand == 1 ? wi : yi] = 1;
}

/* One NaN or infinity in an operand: outputs are not finite where, and only where, a product uses it. */
static void spread(fg_context *ctx, const fg_conv_kernel *c, int i, fg_conv_dir dir, int operand, fg_real bad) {
    problem p = problem_of(c, i, dir, false);
    fence *f = operand == 0 ? &p.x : operand == 1 ? &p.w : &p.y;
    int64_t size = operand == 0 ? x_size(&p.g) : operand == 1 ? w_size(&p.g) : y_size(&p.g), outs = out_size(&p.g, dir);
    for (int round = 0; round < 3; round++) {
        int64_t at = round == 0 ? 0 : round == 1 ? size - 1 : random_below(size);
        fg_real old = f->p[at];
        f->p[at] = bad;
        drive(ctx, &p);
        f->p[at] = old;
        mark m = { out_operand(dir), calloc((size_t)outs, 1) };
        products(&p.g, operand, at, mark_product, &m);
        for (int64_t o = 0; o < outs; o++)
            REQUIRE(isfinite(p.out.p[o]) == !m.hit[o], "%s %s, geometry %d, %s: %g in operand %d at %ld, output %ld is %g",
                    ctx->k->isa, c->name, i, dir_names[dir], (double)bad, operand, (long)at, (long)o, (double)p.out.p[o]);
        free(m.hit);
    }
    problem_free(&p);
}

START_TEST(special_values_stay_where_they_belong) {
    EACH_ISA(isa) {
        fg_context *ctx = context_for(isa);
        for (int i = 0; i < GEOMS; i++) {
            if (macs(&geoms[i]) > 1e7) continue;
            for (int d = 0; d < 3; d++)
                for (int operand = 0; operand < 3; operand++) {
                    if (operand == out_operand((fg_conv_dir)d)) continue;
                    if (operand == 1 && geoms[i].n < 6 && isa != FG_ISA_SCALAR)
                        continue; /* documented: zeros stand for taps outside */
                    EACH_KERNEL(c, isa, i, d)
                    spread(ctx, c, i, (fg_conv_dir)d, operand, operand == 1 || i % 2 ? (fg_real)INFINITY : (fg_real)NAN);
                }
        }
        fg_context_free(ctx);
    }
}
END_TEST

/* Plans of layers far larger than a test can run keep their promises. */
START_TEST(plans_of_large_layers) {
    static const fg_conv_geom big[] = {
        { 128, 64, 64, 512, 64, 64, 512, 7, 7, 1, 1, 3, 3 },    { 4096, 256, 256, 3, 128, 128, 64, 4, 4, 2, 2, 1, 1 },
        { 64, 4, 4, 2048, 4, 4, 2048, 5, 5, 1, 1, 2, 2 },       { 1, 1024, 1024, 64, 1024, 1024, 3, 7, 7, 1, 1, 3, 3 },
        { 512, 16, 16, 1, 16, 16, 1, 5, 5, 1, 1, 2, 2 },        { 512, 16, 16, 1024, 16, 16, 2, 5, 5, 1, 1, 2, 2 },
        { 1, 1024, 1024, 1, 1024, 1024, 32, 3, 3, 1, 1, 1, 1 }, { 1, 40, 4096, 5, 20, 600, 256, 4, 4, 2, 2, 1, 1 },
    };
    EACH_ISA(isa)
    for (size_t i = 0; i < sizeof big / sizeof *big; i++)
        for (int d = 0; d < 3; d++) {
            fg_conv_plan p;
            fg_conv_choose(fg_kernels_for(isa), &big[i], (fg_conv_dir)d, 0, &p);
            ck_assert_int_ge(p.chunks, 8);
            ck_assert_int_le(p.chunks, 1 << 16);
            ck_assert_uint_le(p.partials, (size_t)32 << 20);
            ck_assert_uint_le(p.scratch, (size_t)2 << 20);
        }
}
END_TEST

START_TEST(levels_differ) { check_levels_differ(); }
END_TEST

int main(void) {
    Suite *s = suite_create("conv");
    TCase *t = tcase_create("conv");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, levels_differ);
    tcase_add_test(t, geometries);
    tcase_add_test(t, bias_and_activation);
    tcase_add_test(t, same_bits_for_any_team);
    tcase_add_test(t, special_values_stay_where_they_belong);
    tcase_add_test(t, plans_of_large_layers);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
