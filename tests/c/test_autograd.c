/* test_autograd.c: what the engine promises beside right gradients: accumulation, lifetimes of graphs, refusals with their
 * messages, freezing, second order, long chains, fan-out, slices and views. */
#include "scope_help.h"

#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static fg_tensor *leaf(fg_shape shape, const fg_real *v) {
    fg_tensor *t = fg_from_reals(s, shape, v);
    ck_assert_int_eq(fg_tensor_set_requires_grad(t, true), FG_OK);
    return t;
}
#define LEAF(...)                                                                                                                \
    leaf(FG_SHAPE((int64_t)(sizeof((fg_real[]){ __VA_ARGS__ }) / sizeof(fg_real))), (const fg_real[]){ __VA_ARGS__ })
#define SAYS(text) ck_assert_msg(strstr(fg_last_error(ctx), text) != NULL, "'%s' lacks '%s'", fg_last_error(ctx), text)
/* A call that must fail in a scope of its own. */
#define FAILS(status, text, call)                                                                                                \
    do {                                                                                                                         \
        fg_scope *q = fg_scope_open(ctx);                                                                                        \
        fg_status st_ = (call);                                                                                                  \
        ck_assert_msg(st_ == (status), "status %s: %s", fg_status_name(st_), fg_last_error(ctx));                                \
        SAYS(text);                                                                                                              \
        ck_assert_int_eq(fg_scope_close(q), status);                                                                             \
    } while (0)

/* ---------------------------------------------------------------- backward, graphs */
START_TEST(backward_accumulates) {
    fg_tensor *x = LEAF(2, 3);
    for (int i = 1; i <= 3; i++) {
        ck_assert_int_eq(fg_backward(s, total(s, fg_square(s, x))), FG_OK);
        ck_assert_double_eq(at(fg_tensor_grad(x), 0), 4 * i);
        ck_assert_double_eq(at(fg_tensor_grad(x), 1), 6 * i);
    }
    fg_tensor *g = fg_tensor_grad(x);
    ck_assert(!fg_tensor_requires_grad(g) && fg_tensor_is_leaf(g));
    ck_assert_int_eq(fg_tensor_set_grad(x, NULL), FG_OK);
    ck_assert_ptr_null(fg_tensor_grad(x));
}
END_TEST

START_TEST(freed_graph_names_its_op) {
    fg_tensor *x = LEAF(1, 2), *l = total(s, fg_exp(s, x));
    ck_assert_int_eq(fg_backward(s, l), FG_OK);
    FAILS(FG_ESTATE, "the graph of 'sum' was freed by an earlier backward", fg_backward(q, l));
    ck_assert_double_eq(at(fg_tensor_grad(x), 0), (double)(fg_real)at(fg_exp(s, x), 0)); /* untouched by the refusal */
    fg_tensor *shared = fg_exp(s, x), *a = total(s, shared), *b = fg_mean(s, shared, NULL, false);
    ck_assert_int_eq(fg_backward(s, a), FG_OK);
    FAILS(FG_ESTATE, "the graph of 'exp' was freed", fg_backward(q, b));
}
END_TEST

START_TEST(retained_graph_runs_twice) {
    fg_tensor *x = LEAF(1, 2), *shared = fg_square(s, x), *a = total(s, shared), *b = total(s, fg_mul(s, shared, x));
    ck_assert_int_eq(fg_backward_with(s, a, NULL, true), FG_OK);
    ck_assert_int_eq(fg_backward_with(s, a, NULL, true), FG_OK);
    ck_assert_double_eq(at(fg_tensor_grad(x), 1), 8);
    ck_assert_int_eq(fg_backward(s, b), FG_OK); /* a shared subgraph: 3 x^2 more */
    ck_assert_double_eq(at(fg_tensor_grad(x), 1), 20);
}
END_TEST

START_TEST(graph_frees_its_memory) {
    fg_tensor *x = fg_zeros(s, FG_F32, FG_SHAPE(1000));
    fg_tensor_set_requires_grad(x, true);
    size_t before = fg_memory_stats(ctx).live;
    fg_scope *q = fg_scope_open(ctx);
    fg_tensor *l = fg_keep(total(q, fg_exp(q, fg_exp(q, x))));
    fg_scope_close(q);
    size_t held = fg_memory_stats(ctx).live;
    ck_assert_msg(held > before + 8000, "a loss does not keep what its backward needs: %zu bytes", held - before);
    q = fg_scope_open(ctx);
    fg_backward(q, l);
    fg_tensor_set_grad(x, NULL);
    ck_assert_int_eq(fg_scope_close(q), FG_OK);
    ck_assert_msg(fg_memory_stats(ctx).live < before + 2000, "backward freed nothing");
    fg_release(l);
    ck_assert_uint_eq(fg_memory_stats(ctx).live, before);
}
END_TEST

START_TEST(given_gradient) {
    fg_tensor *x = LEAF(1, 2, 3), *y = fg_square(s, x);
    FAILS(FG_EINVAL, "the gradient given has shape [2], the tensor [3]",
          fg_backward_with(q, y, fg_zeros(q, FG_F32, FG_SHAPE(2)), true));
    FAILS(FG_EINVAL, "only a tensor of one element has an implied gradient, this one is [3]", fg_backward(q, y));
    ck_assert_int_eq(fg_backward_with(s, y, fg_from_reals(s, FG_SHAPE(3), (fg_real[]){ 1, 0, -2 }), false), FG_OK);
    ck_assert_double_eq(at(fg_tensor_grad(x), 0), 2);
    ck_assert_double_eq(at(fg_tensor_grad(x), 1), 0);
    ck_assert_double_eq(at(fg_tensor_grad(x), 2), -12);
    /* integers are converted, also where y is a leaf */
    fg_tensor *z = LEAF(0, 0, 0), *dy = fg_from_i32(s, FG_SHAPE(3), (int32_t[]){ 5, 6, 7 });
    ck_assert_int_eq(fg_backward_with(s, z, dy, false), FG_OK);
    ck_assert_double_eq(at(fg_tensor_grad(z), 2), 7);
    fg_tensor *w = LEAF(1, 1, 1), *out = NULL;
    ck_assert_int_eq(fg_grad(s, w, dy, &w, 1, false, false, &out), FG_OK);
    ck_assert_int_eq(fg_tensor_dtype(out), FG_F32);
    ck_assert_double_eq(at(out, 1), 6);
}
END_TEST

START_TEST(refuses_what_needs_no_gradient) {
    fg_tensor *x = LEAF(1, 2), *c = fg_full(s, FG_F32, FG_SHAPE(2), 1);
    FAILS(FG_ESTATE, "does not depend on anything that requires a gradient", fg_backward(q, total(q, c)));
    FAILS(FG_ESTATE, "detached", fg_backward(q, total(q, fg_detach(q, fg_square(q, x)))));
    bool on = fg_set_grad_enabled(ctx, false);
    ck_assert(on);
    fg_tensor *y = total(s, fg_square(s, x));
    fg_set_grad_enabled(ctx, true);
    ck_assert(!fg_tensor_requires_grad(y));
    FAILS(FG_ESTATE, "no_grad", fg_backward(q, y));
    fg_tensor *out;
    FAILS(FG_EINVAL, "grad: tensor 0 of the list does not require a gradient",
          fg_grad(q, total(q, fg_mul(q, x, c)), NULL, &c, 1, false, false, &out));
    ck_assert_ptr_null(out);
    FAILS(FG_EINVAL, "NULL", fg_backward(q, NULL));
}
END_TEST

START_TEST(contexts_do_not_mix) {
    fg_context *other = fg_context_new();
    fg_scope *o = fg_scope_open(other);
    fg_tensor *x = LEAF(1, 2), *alien = fg_full(o, FG_F32, FG_SHAPE(2), 1);
    FAILS(FG_EINVAL, "add: tensor 1 belongs to another context", fg_add(q, x, alien) ? FG_OK : fg_scope_status(q));
    FAILS(FG_EINVAL, "belongs to another context", fg_backward_with(q, fg_square(q, x), alien, false));
    ck_assert_int_eq(fg_tensor_set_grad(x, alien), FG_EINVAL);
    FAILS(FG_EINVAL, "another context", fg_backward(q, alien));
    fg_scope_close(o);
    fg_context_free(other);
}
END_TEST

/* ---------------------------------------------------------------- versions and in-place writes */
START_TEST(changed_saved_input_is_named) {
    fg_tensor *x = LEAF(1, 2), *c = fg_full(s, FG_F32, FG_SHAPE(2), 3), *y = fg_mul(s, x, c);
    ck_assert_int_eq(fg_tensor_fill(c, 4), FG_OK); /* allowed: c is a plain tensor */
    FAILS(FG_ESTATE, "input 1 of 'mul' was changed in place after 'mul' saved it", fg_backward(q, total(q, y)));
    ck_assert_ptr_null(fg_tensor_grad(x));
    /* a leaf written under no_grad, as by hand-made updates */
    fg_tensor *z = fg_square(s, x);
    fg_set_grad_enabled(ctx, false);
    ck_assert_int_eq(fg_tensor_fill(x, 1), FG_OK);
    fg_set_grad_enabled(ctx, true);
    FAILS(FG_ESTATE, "'square'", fg_backward(q, total(q, z)));
    /* addition saves nothing, so that a change does not matter */
    fg_tensor *a = fg_add(s, x, c);
    fg_tensor_fill(c, 5);
    ck_assert_int_eq(fg_backward(s, total(s, a)), FG_OK);
    /* an optimizer's step between forward and backward is such a write */
    fg_tensor *w = LEAF(1, 1), *v = fg_square(s, w);
    fg_optimizer *opt = fg_sgd_new(ctx, &w, 1, &(fg_sgd_opts){ .lr = 1 });
    fg_tensor_set_grad(w, fg_full(s, FG_F32, FG_SHAPE(2), 1));
    ck_assert_int_eq(fg_optimizer_step(opt), FG_OK);
    FAILS(FG_ESTATE, "'square'", fg_backward(q, total(q, v)));
    fg_optimizer_release(opt);
}
END_TEST

START_TEST(in_place_is_refused) {
    fg_tensor *x = LEAF(1, 2), *y = fg_exp(s, x), *base = fg_zeros(s, FG_F32, FG_SHAPE(4, 2));
    fg_tensor *row = fg_slice(s, base, 0, 1, 2), *flat = fg_reshape(s, base, FG_SHAPE(8));
    ck_assert_int_eq(fg_tensor_fill(y, 0), FG_ESTATE);
    SAYS("fill: cannot write in place into the result of exp");
    ck_assert_int_eq(fg_tensor_fill(x, 0), FG_ESTATE);
    SAYS("leaf that requires grad outside no_grad");
    ck_assert_ptr_null(fg_tensor_data_mut(row));
    SAYS("through a view (shape [2,2])");
    ck_assert_int_eq(fg_tensor_fill(flat, 1), FG_ESTATE);
    ck_assert_int_eq(fg_tensor_copy(fg_detach(s, x), y), FG_ESTATE);
    fg_set_grad_enabled(ctx, false);
    ck_assert_int_eq(fg_tensor_fill(y, 0), FG_ESTATE); /* a node stays a node */
    ck_assert_int_eq(fg_tensor_fill(x, 7), FG_OK);
    fg_set_grad_enabled(ctx, true);
    uint32_t version = fg_tensor_version(row);
    ck_assert_int_eq(fg_tensor_fill(base, 9), FG_OK);
    ck_assert_double_eq(at(row, 0), 9);
    ck_assert_uint_gt(fg_tensor_version(row), version); /* the version belongs to the storage */
}
END_TEST

START_TEST(failed_backward_clears_gradients) {
    fg_tensor *x = LEAF(1, 2), *c = fg_full(s, FG_F32, FG_SHAPE(2), 3), *w = LEAF(5, 5), *untouched = LEAF(1, 1);
    fg_backward(s, total(s, fg_square(s, untouched)));
    fg_backward(s, total(s, fg_square(s, w)));
    ck_assert_double_eq(at(fg_tensor_grad(w), 0), 10);
    fg_tensor *deep = fg_mul(s, x, c), *y = fg_mul(s, deep, w); /* w's part comes first, then x's fails */
    fg_tensor_fill(c, 4);
    FAILS(FG_ESTATE, "(the gradients of 1 parameters were cleared)", fg_backward(q, total(q, y)));
    ck_assert_ptr_null(fg_tensor_grad(w));
    ck_assert_ptr_null(fg_tensor_grad(x));
    ck_assert_ptr_nonnull(fg_tensor_grad(untouched));
}
END_TEST

/* ---------------------------------------------------------------- freezing */
START_TEST(freezing_is_fixed_at_forward) {
    fg_tensor *x = LEAF(1, 2), *w = LEAF(3, 4);
    fg_tensor_set_requires_grad(w, false);
    fg_tensor *frozen = total(s, fg_mul(s, x, w));
    fg_tensor_set_requires_grad(w, true); /* does not change an existing graph */
    fg_tensor *open = total(s, fg_mul(s, x, w));
    fg_tensor_set_requires_grad(x, false); /* nor does this */
    ck_assert_int_eq(fg_backward(s, frozen), FG_OK);
    ck_assert_ptr_null(fg_tensor_grad(w));
    ck_assert_double_eq(at(fg_tensor_grad(x), 1), 4);
    ck_assert_int_eq(fg_backward(s, open), FG_OK);
    ck_assert_double_eq(at(fg_tensor_grad(w), 1), 2);
    ck_assert_double_eq(at(fg_tensor_grad(x), 1), 8);
}
END_TEST

/* A frozen D computes no weight gradients and saves nothing for them: its inputs need not stay. */
START_TEST(frozen_network_saves_nothing) {
    size_t held[2];
    uint64_t requests[2];
    fg_layer *d[] = {
        fg_layer_new(ctx, "Conv2d", &(fg_conv_layer){ .in_channels = 8, .out_channels = 8, .kernel = { 3, 3 }, .same = true }),
        fg_layer_new(ctx, "Conv2d", &(fg_conv_layer){ .in_channels = 8, .out_channels = 8, .kernel = { 3, 3 }, .same = true }),
    };
    fg_layer *net = fg_sequential_new(ctx, d, 2);
    fg_tensor *x = fg_normal(s, FG_SHAPE(4, 16, 16, 8), 0, 1, FG_STREAM_DEFAULT), *w, *dx[2];
    fg_tensor_set_requires_grad(x, true);
    for (int frozen = 0; frozen < 2; frozen++) {
        fg_layer_freeze(net, frozen);
        size_t before = fg_memory_stats(ctx).live;
        fg_scope *q = fg_scope_open(ctx);
        fg_tensor *y = fg_keep(total(q, fg_layer_forward(q, net, x)));
        ck_assert_int_eq(fg_scope_close(q), FG_OK);
        held[frozen] = fg_memory_stats(ctx).live - before;
        uint64_t at_start = fg_memory_stats(ctx).requests;
        q = fg_scope_open(ctx);
        ck_assert_int_eq(fg_backward(q, y), FG_OK);
        fg_scope_close(q);
        requests[frozen] = fg_memory_stats(ctx).requests - at_start;
        fg_release(y);
        dx[frozen] = fg_scope_adopt(s, fg_keep(fg_tensor_grad(x)));
        fg_tensor_set_grad(x, NULL);
        for (int i = 0; fg_layer_param(net, i, &w, NULL, 0); i++) {
            ck_assert(frozen ? !fg_tensor_grad(w) : fg_tensor_grad(w) != NULL);
            fg_tensor_set_grad(w, NULL);
        }
    }
    ck_assert_mem_eq(fg_tensor_data(dx[0]), fg_tensor_data(dx[1]), fg_tensor_bytes(dx[0]));
    ck_assert_msg(held[0] > held[1] + 30000, "open %zu, frozen %zu bytes held by the graph", held[0], held[1]);
    ck_assert_msg(requests[0] > requests[1], "open %d, frozen %d requests in backward", (int)requests[0], (int)requests[1]);
    fg_layer_release(net);
}
END_TEST

/* ---------------------------------------------------------------- grad() */
START_TEST(grad_of_what_was_asked_for) {
    fg_tensor *x = LEAF(1, 2), *w = LEAF(3, 4), *free_leaf = LEAF(1, 1);
    fg_tensor *h = fg_mul(s, x, w), *y = total(s, fg_square(s, h)), *out[5], *xs[] = { h, x, free_leaf, y, x };
    ck_assert_int_eq(fg_grad(s, y, NULL, xs, 5, false, true, out), FG_OK);
    ck_assert_double_eq(at(out[0], 1), 16); /* 2 h */
    ck_assert_double_eq(at(out[1], 1), 64); /* 2 h w */
    ck_assert(out[2] == FG_NONE);
    ck_assert_double_eq(at(out[3], 0), 1);  /* dy/dy */
    ck_assert_double_eq(at(out[4], 1), 64); /* asked for twice */
    ck_assert_ptr_null(fg_tensor_grad(x));  /* grad() leaves .grad alone */
    ck_assert_ptr_null(fg_tensor_grad(w));
    /* a leaf as y */
    fg_tensor *one = LEAF(2);
    ck_assert_int_eq(fg_grad(s, one, NULL, &one, 1, false, false, out), FG_OK);
    ck_assert_double_eq(at(out[0], 0), 1);
    /* without retaining, the graph is gone afterwards */
    ck_assert_int_eq(fg_grad(s, y, NULL, &x, 1, false, false, out), FG_OK);
    FAILS(FG_ESTATE, "was freed", fg_grad(q, y, NULL, &x, 1, false, false, out));
}
END_TEST

START_TEST(create_graph_differentiates_again) {
    fg_tensor *x = LEAF(2, 3), *g, *gg, *ggg;
    fg_tensor *y = total(s, fg_pow(s, x, 3));
    fg_grad(s, y, NULL, &x, 1, true, true, &g);
    ck_assert(fg_tensor_requires_grad(g));
    fg_grad(s, total(s, g), NULL, &x, 1, true, true, &gg);
    fg_grad(s, total(s, gg), NULL, &x, 1, true, true, &ggg);
    ck_assert_double_eq_tol(at(g, 0), 12, 1e-5);
    ck_assert_double_eq_tol(at(gg, 0), 12, 1e-5);
    ck_assert_double_eq_tol(at(ggg, 1), 6, 1e-5);
    fg_grad(s, y, NULL, &x, 1, false, true, &g);
    ck_assert(!fg_tensor_requires_grad(g)); /* without create_graph it is a plain tensor */
    ck_assert_int_eq(fg_scope_status(s), FG_OK);
}
END_TEST

/* R1 through batch norm: D(x) = sum(BN(x) v) has, per channel, a gradient that the statistics of the batch shape. For one
 * channel of two values a, b with D = v1 n(a) + v2 n(b), shifting both leaves D as it is: the gradient sums to zero. */
START_TEST(second_order_through_batch_norm) {
    fg_tensor *x = leaf(FG_SHAPE(4, 1), (const fg_real[]){ 0.5, -1, 2, 0.25 });
    fg_tensor *v = fg_from_reals(s, FG_SHAPE(4, 1), (const fg_real[]){ 1, -2, 0.5, 3 }), *g, *r1g;
    fg_tensor *w = LEAF(1.5);
    fg_tensor *y = fg_batch_norm(s, x, w, NULL, NULL, NULL, &(fg_batch_norm_opts){ .training = true });
    ck_assert_int_eq(fg_grad(s, total(s, fg_mul(s, y, v)), NULL, &x, 1, true, true, &g), FG_OK);
    double sum = 0, big = 0;
    for (int i = 0; i < 4; i++) sum += at(g, i), big = fmax(big, fabs(at(g, i)));
    ck_assert_msg(fabs(sum) < 1e-5 && big > 0.1, "sum %g, largest %g", sum, big);
    fg_tensor *r1 = total(s, fg_square(s, g));
    ck_assert_int_eq(fg_grad(s, r1, NULL, &w, 1, false, true, &r1g), FG_OK);
    /* r1 = w^2 k: dr1/dw = 2 r1 / w */
    ck_assert_double_eq_tol(at(r1g, 0), 2 * at(r1, 0) / 1.5, 1e-3);
    fg_tensor *r1x;
    ck_assert_int_eq(fg_grad(s, r1, NULL, &x, 1, false, false, &r1x), FG_OK);
    double rsum = 0, dot = 0, rbig = 0;
    for (int i = 0; i < 4; i++) rsum += at(r1x, i), dot += at(r1x, i) * at(x, i), rbig = fmax(rbig, fabs(at(r1x, i)));
    ck_assert_msg(fabs(rsum) < 1e-3 && rbig > 0.1, "R1 must not feel a shift: %g (largest %g)", rsum, rbig);
    /* scaling x by k divides the gradient by k: Euler's theorem, dr1/dx . x = -2 r1 (up to eps) */
    ck_assert_double_eq_tol(dot, -2 * at(r1, 0), 2e-3 * at(r1, 0) + 1e-3);
}
END_TEST

/* ---------------------------------------------------------------- shapes of graphs */
enum { CHAIN = 40000 };
static void *long_chain(void *arg) {
    fg_context *c = fg_context_new();
    bool *ok = arg;
    for (int mode = 0; mode < 5 && c; mode++) {
        fg_scope *q = fg_scope_open(c);
        fg_tensor *x = fg_full(q, FG_F32, FG_SHAPE(1), 1), *sum = x, *g = NULL;
        fg_tensor_set_requires_grad(x, true);
        for (int i = 0; i < CHAIN; i++) { /* scopes of their own: only the graph holds the chain */
            fg_scope *r = fg_scope_open(c);
            fg_tensor *next = fg_keep(mode < 3 ? fg_add(r, sum, x) : fg_mul(r, sum, x)); /* mul saves sum, which owns a node */
            fg_scope_close(r);
            if (sum != x) fg_release(sum);
            sum = next;
        }
        if (mode % 3 == 0) ok[mode] = fg_backward(q, sum) == FG_OK && fg_tensor_at(fg_tensor_grad(x), 0) == CHAIN + 1;
        if (mode == 1) ok[1] = fg_grad(q, sum, NULL, &x, 1, true, true, &g) == FG_OK && fg_tensor_at(g, 0) == CHAIN + 1;
        fg_release(sum); /* in modes 2 and 4 without a backward */
        if (mode % 2 == 0) ok[mode] = ok[mode] || (mode > 0 && fg_scope_status(q) == FG_OK);
        fg_scope_close(q);
    }
    fg_context_free(c);
    return NULL;
}
START_TEST(long_chain_needs_no_stack) {
    pthread_attr_t attr;
    pthread_t thread;
    bool ok[5] = { false };
    pthread_attr_init(&attr);
    ck_assert_int_eq(pthread_attr_setstacksize(&attr, 256 * 1024), 0);
    ck_assert_int_eq(pthread_create(&thread, &attr, long_chain, ok), 0);
    pthread_join(thread, NULL);
    for (int i = 0; i < 5; i++) ck_assert_msg(ok[i], "mode %d failed", i);
}
END_TEST

START_TEST(fan_out_sums) {
    fg_tensor *x = LEAF(1, 2), *y = fg_square(s, x), *sum = NULL;
    for (int i = 1; i <= 20; i++) {
        fg_tensor *part = fg_affine(s, y, i, 0);
        sum = sum ? fg_add(s, sum, part) : part;
    }
    sum = fg_add(s, fg_add(s, sum, x), fg_add(s, x, x)); /* and the leaf itself three times */
    ck_assert_int_eq(fg_backward(s, total(s, sum)), FG_OK);
    ck_assert_double_eq(at(fg_tensor_grad(x), 0), 210 * 2 + 3);
    ck_assert_double_eq(at(fg_tensor_grad(x), 1), 210 * 4 + 3);
    fg_tensor *z = LEAF(3); /* one tensor on both sides of an op */
    ck_assert_int_eq(fg_backward(s, total(s, fg_mul(s, z, z))), FG_OK);
    ck_assert_double_eq(at(fg_tensor_grad(z), 0), 6);
    /* the two gradients of an addition are one buffer: neither may write into the other's */
    fg_tensor *a = LEAF(1, 1), *b = LEAF(1, 1), *t = fg_add(s, a, b);
    ck_assert_int_eq(fg_backward(s, total(s, fg_add(s, t, a))), FG_OK);
    ck_assert_double_eq(at(fg_tensor_grad(a), 0), 2);
    ck_assert_double_eq(at(fg_tensor_grad(b), 0), 1);
}
END_TEST

START_TEST(slices_add_into_their_rows) {
    for (int create = 0; create < 2; create++) {
        fg_tensor *x = leaf(FG_SHAPE(4, 2), (const fg_real[]){ 1, 2, 3, 4, 5, 6, 7, 8 }), *h = fg_affine(s, x, 1, 0), *g;
        fg_tensor *a = fg_slice(s, h, 0, 0, 2), *b = fg_slice(s, h, 0, 1, 3), *c = fg_slice(s, h, 1, 1, 1);
        fg_tensor *l = fg_add(s, fg_add(s, total(s, a), fg_affine(s, total(s, fg_square(s, b)), 0.5, 0)), total(s, c));
        ck_assert_int_eq(fg_grad(s, l, NULL, &x, 1, create, true, &g), FG_OK);
        const double want[] = { 1, 2, 4, 6, 5, 7, 7, 9 };
        for (int i = 0; i < 8; i++) ck_assert_msg(at(g, i) == want[i], "create_graph %d, %d: %g", create, i, at(g, i));
        /* slices of the leaf itself, into .grad */
        fg_tensor *m = fg_add(s, total(s, fg_slice(s, x, 0, 3, 1)), total(s, fg_square(s, fg_slice(s, x, 0, 2, 2))));
        ck_assert_int_eq(fg_backward(s, m), FG_OK);
        const double rows[] = { 0, 0, 0, 0, 10, 12, 15, 17 };
        for (int i = 0; i < 8; i++) ck_assert_double_eq(at(fg_tensor_grad(x), i), rows[i]);
    }
}
END_TEST

/* Many slices of one large tensor cost no zero-filled copies: memory stays near one gradient, not one per slice. */
START_TEST(slices_cost_no_copies) {
    enum { ROWS = 64, WIDE = 4096 };
    fg_tensor *x = fg_zeros(s, FG_F32, FG_SHAPE(ROWS, WIDE));
    fg_tensor_set_requires_grad(x, true);
    fg_tensor *sum = NULL;
    for (int i = 0; i < ROWS; i++) {
        fg_tensor *part = total(s, fg_slice(s, x, 0, i, 1));
        sum = sum ? fg_add(s, sum, part) : part;
    }
    fg_memory_reset_peak(ctx);
    size_t before = fg_memory_stats(ctx).live;
    ck_assert_int_eq(fg_backward(s, sum), FG_OK);
    size_t peak = fg_memory_stats(ctx).peak - before, one = sizeof(fg_real) * ROWS * WIDE;
    ck_assert_msg(peak < 2 * one, "%zu bytes at the peak, one gradient has %zu", peak, one);
    ck_assert_double_eq(at(fg_tensor_grad(x), ROWS * WIDE - 1), 1);
}
END_TEST

START_TEST(concat_splits_by_views) {
    fg_tensor *a = leaf(FG_SHAPE(1, 2), (const fg_real[]){ 1, 2 }), *b = leaf(FG_SHAPE(2, 2), (const fg_real[]){ 3, 4, 5, 6 });
    for (int axis = 0; axis < 2; axis++) {
        fg_tensor *parts[] = { axis ? fg_slice(s, b, 0, 0, 1) : a, axis ? a : b };
        fg_tensor *y = fg_concat(s, parts, 2, axis);
        fg_tensor *l = total(s, fg_square(s, y));
        ck_assert_int_eq(fg_backward(s, l), FG_OK);
        ck_assert_double_eq(at(fg_tensor_grad(a), 1), 4);
        ck_assert_double_eq(at(fg_tensor_grad(b), 0), 6);
        ck_assert_double_eq(at(fg_tensor_grad(b), 3), axis ? 0 : 12);
        fg_tensor_set_grad(a, NULL);
        fg_tensor_set_grad(b, NULL);
    }
    /* the gradients are buffers of their own: adding to one leaves the other */
    fg_tensor *both[] = { a, b }, *y = total(s, fg_concat(s, both, 2, 0));
    fg_backward(s, y);
    fg_backward(s, total(s, a));
    ck_assert_double_eq(at(fg_tensor_grad(a), 0), 2);
    for (int i = 0; i < 4; i++) ck_assert_double_eq(at(fg_tensor_grad(b), i), 1);
}
END_TEST

/* .grad that aliases a tensor the caller gave must not be written through. */
/* Long copies go to the team in pieces, the last of which takes the rest. */
START_TEST(long_copies_are_whole) {
    fg_set_threads(ctx, 3);
    static const int64_t rows[] = { 1, 7, 300, 2048 };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (int axis = 0; axis < 2; axis++) {
            int64_t n = rows[r], a = 200003 / n, b = 3 * n > 900 ? 5 : 70001;
            fg_tensor *x = fg_reshape(s, fg_arange(s, FG_F32, 0, 1, n * a), FG_SHAPE(n, a));
            fg_tensor *y = fg_reshape(s, fg_arange(s, FG_F32, 0.5, 1, n * b), axis ? FG_SHAPE(n, b) : FG_SHAPE(n * b, 1));
            if (!axis) x = fg_reshape(s, x, FG_SHAPE(n * a, 1));
            fg_tensor *both = fg_concat(s, (fg_tensor *[]){ x, y }, 2, axis);
            int64_t at_y = axis ? a : n * a;
            fg_tensor *p = fg_slice(s, both, axis, 0, at_y), *q = fg_slice(s, both, axis, at_y, axis ? b : n * b);
            ck_assert_int_eq(fg_scope_status(s), FG_OK);
            ck_assert_mem_eq(fg_tensor_data(p), fg_tensor_data(x), fg_tensor_bytes(x));
            ck_assert_mem_eq(fg_tensor_data(q), fg_tensor_data(y), fg_tensor_bytes(y));
        }
}
END_TEST

/* relu and its kind write their gradient over the incoming one, but only where nobody else holds that. */
START_TEST(only_lonely_gradients_are_overwritten) {
    fg_tensor *x = LEAF(-1, 2), *c = fg_from_reals(s, FG_SHAPE(2), (fg_real[]){ 3, 5 }), *out[2];
    fg_tensor *y = fg_relu(s, x), *loss = total(s, fg_mul(s, y, c)), *xs[] = { y, x };
    ck_assert_int_eq(fg_grad(s, loss, NULL, xs, 2, false, true, out), FG_OK); /* asked for, and on its way to x */
    ck_assert(at(out[0], 0) == 3 && at(out[0], 1) == 5);
    ck_assert(at(out[1], 0) == 0 && at(out[1], 1) == 5);
    fg_tensor *dy = fg_from_reals(s, FG_SHAPE(2), (fg_real[]){ 7, 8 }); /* the caller's */
    ck_assert_int_eq(fg_backward_with(s, y, dy, true), FG_OK);
    ck_assert(at(dy, 0) == 7 && at(fg_tensor_grad(x), 0) == 0 && at(fg_tensor_grad(x), 1) == 8);
    fg_tensor *a = LEAF(-1, 2), *b = LEAF(1, -1); /* add hands the same tensor to both, by a view to one of them */
    fg_tensor *sum = fg_add(s, fg_relu(s, a), fg_reshape(s, fg_relu(s, fg_reshape(s, b, FG_SHAPE(1, 2))), FG_SHAPE(2)));
    ck_assert_int_eq(fg_backward(s, total(s, fg_mul(s, sum, c))), FG_OK);
    ck_assert(at(fg_tensor_grad(a), 0) == 0 && at(fg_tensor_grad(a), 1) == 5);
    ck_assert(at(fg_tensor_grad(b), 0) == 3 && at(fg_tensor_grad(b), 1) == 0);
}
END_TEST

START_TEST(given_gradient_is_not_written) {
    fg_tensor *x = LEAF(1, 1), *dy = fg_full(s, FG_F32, FG_SHAPE(2), 1);
    ck_assert_int_eq(fg_backward_with(s, x, dy, false), FG_OK);
    ck_assert_int_eq(fg_backward_with(s, fg_add(s, x, x), dy, false), FG_OK);
    ck_assert_double_eq(at(fg_tensor_grad(x), 0), 3);
    ck_assert_double_eq(at(dy, 0), 1);
}
END_TEST

START_TEST(modes_come_back) {
    fg_tensor *x = LEAF(1, 2), *g;
    fg_grad(s, total(s, fg_square(s, x)), NULL, &x, 1, false, true, &g);
    ck_assert(fg_grad_enabled(ctx));
    fg_set_grad_enabled(ctx, false);
    fg_tensor *y = fg_square(s, x);
    ck_assert(!fg_tensor_requires_grad(y));
    fg_set_grad_enabled(ctx, true);
    fg_tensor *i32 = fg_arange(s, FG_I32, 0, 1, 3);
    ck_assert_int_eq(fg_tensor_set_requires_grad(i32, true), FG_EINVAL);
    ck_assert_msg(fg_tensor_set_requires_grad(fg_square(s, x), false) != FG_OK, "a node's flag is not the caller's to change");
}
END_TEST

/* Graphs that are never run, and tensors that a host forgets: the context takes them with it (seen by LeakSanitizer). */
START_TEST(context_takes_graphs_along) {
    fg_context *c = fg_context_new();
    fg_scope *q = fg_scope_open(c);
    fg_tensor *x = fg_full(q, FG_F32, FG_SHAPE(1000), 1);
    fg_tensor_set_requires_grad(x, true);
    fg_backward(q, total(q, fg_exp(q, x)));
    fg_tensor *kept = fg_keep(total(q, fg_square(q, fg_exp(q, x))));
    fg_context_free(c); /* with an open scope and a graph */
    ck_assert_int_eq((int)fg_tensor_numel(kept), 0);
    fg_release(kept);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("autograd");
    TCase *t = tcase_create("autograd");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, backward_accumulates);
    tcase_add_test(t, freed_graph_names_its_op);
    tcase_add_test(t, retained_graph_runs_twice);
    tcase_add_test(t, graph_frees_its_memory);
    tcase_add_test(t, given_gradient);
    tcase_add_test(t, refuses_what_needs_no_gradient);
    tcase_add_test(t, contexts_do_not_mix);
    tcase_add_test(t, changed_saved_input_is_named);
    tcase_add_test(t, in_place_is_refused);
    tcase_add_test(t, failed_backward_clears_gradients);
    tcase_add_test(t, freezing_is_fixed_at_forward);
    tcase_add_test(t, frozen_network_saves_nothing);
    tcase_add_test(t, grad_of_what_was_asked_for);
    tcase_add_test(t, create_graph_differentiates_again);
    tcase_add_test(t, second_order_through_batch_norm);
    tcase_add_test(t, long_chain_needs_no_stack);
    tcase_add_test(t, fan_out_sums);
    tcase_add_test(t, slices_add_into_their_rows);
    tcase_add_test(t, slices_cost_no_copies);
    tcase_add_test(t, concat_splits_by_views);
    tcase_add_test(t, long_copies_are_whole);
    tcase_add_test(t, only_lonely_gradients_are_overwritten);
    tcase_add_test(t, given_gradient_is_not_written);
    tcase_add_test(t, modes_come_back);
    tcase_add_test(t, context_takes_graphs_along);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
