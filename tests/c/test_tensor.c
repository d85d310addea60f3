/* test_tensor.c: making, sharing, writing, converting, printing and releasing tensors; scopes; failures. */
#define _GNU_SOURCE
#include "tensor.h"

#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static fg_context *ctx;
static fg_scope *s;
static size_t live;

static void setup(void) {
    ctx = fg_context_new();
    ck_assert_ptr_nonnull(ctx);
    live = fg_memory_stats(ctx).live;
    s = fg_scope_open(ctx);
    ck_assert_ptr_nonnull(s);
}

static void teardown(void) {
    if (s) fg_scope_close(s);
    ck_assert_uint_eq(ctx->tensors->count, 0);
    ck_assert_uint_eq(fg_memory_stats(ctx).live, live);
    fg_context_free(ctx);
}

START_TEST(making_and_reading) {
    fg_tensor *t = fg_from_reals(s, FG_SHAPE(2, 3), (fg_real[]){ 1, 2, 3, 4, 5, (fg_real)-6.5 });
    ck_assert_int_eq(fg_tensor_ndim(t), 2);
    ck_assert_int_eq(fg_tensor_numel(t), 6);
    ck_assert_int_eq(fg_tensor_size(t, 0), 2);
    ck_assert_int_eq(fg_tensor_size(t, -1), 3);
    ck_assert_int_eq(fg_tensor_size(t, 2), -1);
    ck_assert_int_eq(fg_tensor_size(t, -3), -1);
    ck_assert_int_eq(fg_tensor_dtype(t), FG_F32);
    ck_assert(fg_tensor_at(t, 5) == -6.5);
    ck_assert(isnan(fg_tensor_at(t, 6)) && isnan(fg_tensor_at(t, -1)));
    ck_assert_ptr_eq(fg_tensor_context(t), ctx);
    ck_assert(fg_tensor_is_leaf(t) && !fg_tensor_requires_grad(t));
    ck_assert_str_eq(fg_tensor_op_name(t), "");
    ck_assert_ptr_null(fg_tensor_grad(t));
    double v;
    ck_assert_int_eq(fg_tensor_item(t, &v), FG_EINVAL);
    ck_assert_str_eq(fg_last_error(ctx), "item: a tensor of shape [2,3] has 6 elements, not one");
    ck_assert_int_eq(fg_tensor_item(fg_full(s, FG_BF16, FG_SCALAR, 2.5), &v), FG_OK);
    ck_assert(v == 2.5);
    fg_tensor *i = fg_from_i32(s, FG_SHAPE(2), (int32_t[]){ -7, 2000000011 }),
              *u = fg_from_u8(s, FG_SHAPE(3), (uint8_t[]){ 0, 7, 255 });
    ck_assert(fg_tensor_at(i, 1) == 2000000011 && fg_tensor_at(u, 2) == 255);
    fg_tensor *z = fg_zeros(s, FG_I32, FG_SHAPE(40, 50));
    for (int k = 0; k < 2000; k++) ck_assert(fg_tensor_at(z, k) == 0);
    fg_tensor *a = fg_arange(s, FG_F32, 2, -0.5, 4), *b = fg_arange(s, FG_I32, 16777217, 2, 3);
    ck_assert(fg_tensor_at(a, 0) == 2 && fg_tensor_at(a, 3) == 0.5);
    ck_assert(fg_tensor_at(b, 2) == 16777221); /* not by way of a float */
    static const fg_dtype all[] = { FG_F32, FG_BF16, FG_U8, FG_I32 };
    for (int k = 0; k < 4; k++) {
        fg_tensor *f = fg_full(s, all[k], FG_SHAPE(37), 3);
        for (int e = 0; e < 37; e++) ck_assert(fg_tensor_at(f, e) == 3);
        fg_dtype back;
        ck_assert(fg_dtype_from_name(fg_dtype_name(all[k]), &back) && back == all[k]);
        ck_assert_uint_eq(fg_tensor_bytes(f), 37 * fg_dtype_size(all[k]));
    }
    fg_dtype none;
    ck_assert(!fg_dtype_from_name("f16", &none));
    ck_assert_int_eq(fg_tensor_numel(fg_empty(s, FG_F32, FG_SHAPE(3, 0, 2))), 0);
    ck_assert_int_eq(fg_scope_status(s), FG_OK);
}
END_TEST

START_TEST(storage_is_aligned) {
    for (int n = 1; n < 300; n += 7) {
        fg_tensor *t = fg_empty(s, FG_F32, FG_SHAPE(n));
        ck_assert_uint_eq((uintptr_t)fg_tensor_data(t) % 64, 0);
    }
}
END_TEST

START_TEST(small_tensors_cost_one_request) {
    uint64_t before = fg_memory_stats(ctx).requests;
    fg_tensor *t = fg_tensor_new(ctx, FG_F32, &FG_SHAPE(FG_INLINE_BYTES / sizeof(fg_real)));
    ck_assert_uint_eq(fg_memory_stats(ctx).requests, before + 1);
    fg_tensor *big = fg_tensor_new(ctx, FG_F32, &FG_SHAPE(FG_INLINE_BYTES / sizeof(fg_real) + 1));
    ck_assert_uint_eq(fg_memory_stats(ctx).requests, before + 3);
    fg_release(t);
    fg_release(big);
}
END_TEST

START_TEST(bad_shapes_are_refused) {
    ck_assert_ptr_null(fg_empty(s, FG_F32, FG_SHAPE(2, -3)));
    ck_assert_str_eq(fg_last_error(ctx), "tensor: shape [2,-3] has a negative size");
    ck_assert_ptr_null(fg_zeros(s, FG_F32, FG_SHAPE((int64_t)1 << 40, (int64_t)1 << 40)));
    ck_assert_str_eq(fg_last_error(ctx), "tensor: shape [1099511627776,1099511627776] is too large");
    ck_assert_ptr_null(fg_empty(s, FG_F32, (fg_shape){ 7, { 1 } }));
    ck_assert_ptr_null(fg_empty(s, (fg_dtype)9, FG_SHAPE(1)));
    ck_assert_ptr_null(fg_arange(s, FG_F32, 0, 1, -1));
    ck_assert_int_eq(fg_scope_status(s), FG_EINVAL);
    fg_status st = fg_scope_close(s);
    s = NULL;
    ck_assert_int_eq(st, FG_EINVAL);
    ck_assert_str_eq(fg_last_error(ctx), "tensor: shape [2,-3] has a negative size"); /* the first */
}
END_TEST

/* ---------------------------------------------------------------- sharing */
START_TEST(views_share_and_keep_the_storage) {
    for (int n = 4; n <= 400; n *= 10) { /* inline data, and a block of its own */
        fg_tensor *t = fg_tensor_new(ctx, FG_F32, &FG_SHAPE(n));
        for (int i = 0; i < n; i++) fg_reals(t)[i] = (fg_real)i;
        fg_tensor *half = fg_tensor_view(t, &FG_SHAPE(n / 4, 2), (size_t)(n / 2) * sizeof(fg_real));
        fg_tensor *last = fg_tensor_view(half, &FG_SHAPE(1), (size_t)(n / 2 - 1) * sizeof(fg_real));
        ck_assert(half && last && half->is_view && !t->is_view);
        ck_assert_ptr_null(fg_tensor_view(half, &FG_SHAPE(1), (size_t)(n / 2) * sizeof(fg_real)));
        ck_assert_ptr_nonnull(strstr(fg_last_error(ctx), "does not fit"));
        ck_assert_ptr_null(fg_tensor_view(half, &FG_SHAPE(n), 0));
        ck_assert_ptr_null(fg_tensor_view(half, &FG_SHAPE(1), SIZE_MAX));
        fg_release(t); /* the base goes first */
        fg_release(half);
        fg_tensor *other = fg_tensor_new(ctx, FG_F32, &FG_SHAPE(n)); /* must not get the memory of the view */
        memset(fg_data(other), 0xff, fg_tensor_bytes(other));
        ck_assert(fg_tensor_at(last, 0) == n - 1);
        fg_release(other);
        fg_release(last);
    }
}
END_TEST

START_TEST(detach_shares_without_history) {
    fg_tensor *t = fg_full(s, FG_F32, FG_SHAPE(3), 1);
    ck_assert_int_eq(fg_tensor_set_requires_grad(t, true), FG_OK);
    fg_tensor *d = fg_detach(s, t);
    ck_assert(!fg_tensor_requires_grad(d) && fg_tensor_data(d) == fg_tensor_data(t));
    ck_assert_int_eq(fg_tensor_set_requires_grad(d, true), FG_OK); /* as gradient penalties do */
    ck_assert_ptr_null(fg_detach(s, NULL));
    fg_context *other = fg_context_new();
    fg_scope *os = fg_scope_open(other);
    ck_assert_ptr_null(fg_detach(os, t));
    ck_assert_int_eq(fg_scope_close(os), FG_EINVAL);
    fg_context_free(other);
}
END_TEST

START_TEST(grad_fields) {
    fg_tensor *t = fg_full(s, FG_F32, FG_SHAPE(3), 1), *g = fg_full(s, FG_F32, FG_SHAPE(3), 2);
    ck_assert_int_eq(fg_tensor_set_grad(t, g), FG_OK);
    ck_assert_ptr_eq(fg_tensor_grad(t), g);
    ck_assert_uint_eq(g->refs, 2);
    ck_assert_int_eq(fg_tensor_set_grad(t, fg_full(s, FG_F32, FG_SHAPE(4), 2)), FG_EINVAL);
    ck_assert_str_eq(fg_last_error(ctx), "set_grad: the tensor is f32 [3], the gradient f32 [4]");
    ck_assert_int_eq(fg_tensor_set_grad(t, fg_full(s, FG_I32, FG_SHAPE(3), 2)), FG_EINVAL);
    ck_assert_ptr_eq(fg_tensor_grad(t), g);
    ck_assert_int_eq(fg_tensor_set_grad(t, t), FG_OK); /* no cycle: a bare twin is held */
    ck_assert(fg_tensor_grad(t) != t && fg_tensor_data(fg_tensor_grad(t)) == fg_tensor_data(t));
    ck_assert_uint_eq(g->refs, 1);
    ck_assert_int_eq(fg_tensor_set_grad(t, NULL), FG_OK);
    ck_assert_ptr_null(fg_tensor_grad(t));
    ck_assert_int_eq(fg_tensor_set_grad(t, g), FG_OK); /* released with t */
    ck_assert_int_eq(fg_tensor_set_requires_grad(fg_zeros(s, FG_I32, FG_SHAPE(1)), true), FG_EINVAL);
    ck_assert_int_eq(fg_tensor_set_requires_grad(t, true), FG_OK);
    ck_assert_int_eq(fg_tensor_set_requires_grad(t, false), FG_OK);
}
END_TEST

/* ---------------------------------------------------------------- writing */
START_TEST(in_place_rules) {
    fg_tensor *t = fg_zeros(s, FG_F32, FG_SHAPE(4));
    uint32_t v = fg_tensor_version(t);
    ck_assert_int_eq(fg_tensor_fill(t, 3), FG_OK);
    ck_assert_uint_eq(fg_tensor_version(t), v + 1);
    ck_assert(fg_tensor_at(t, 3) == 3);
    fg_real *p = fg_tensor_data_mut(t);
    ck_assert_ptr_nonnull(p);
    p[0] = 9;
    ck_assert_uint_eq(fg_tensor_version(t), v + 2);
    fg_tensor *view = fg_detach(s, t);
    ck_assert_uint_eq(fg_tensor_version(view), v + 2); /* the counter is the storage's */
    ck_assert_int_eq(fg_tensor_fill(view, 1), FG_ESTATE);
    ck_assert_str_eq(fg_last_error(ctx), "fill: cannot write in place through a view (shape [4]): write to its base");
    ck_assert_int_eq(fg_tensor_set_requires_grad(t, true), FG_OK);
    ck_assert_int_eq(fg_tensor_fill(t, 1), FG_ESTATE);
    ck_assert_str_eq(fg_last_error(ctx), "fill: cannot write in place into a leaf that requires grad outside no_grad");
    ck_assert_ptr_null(fg_tensor_data_mut(t));
    ck_assert_uint_eq(fg_tensor_version(t), v + 2);
    bool was = fg_set_grad_enabled(ctx, false);
    ck_assert_int_eq(fg_tensor_fill(t, 1), FG_OK);
    fg_set_grad_enabled(ctx, was);
    ck_assert_uint_eq(fg_tensor_version(t), v + 3);
    ck_assert(fg_tensor_at(view, 0) == 1);
}
END_TEST

START_TEST(copy_converts) {
    fg_tensor *f = fg_from_reals(s, FG_SHAPE(5), (fg_real[]){ (fg_real)-1.7, (fg_real)2.7, 300, NAN, INFINITY });
    fg_tensor *i = fg_zeros(s, FG_I32, FG_SHAPE(5)), *u = fg_zeros(s, FG_U8, FG_SHAPE(5)), *b = fg_zeros(s, FG_BF16, FG_SHAPE(5));
    ck_assert_int_eq(fg_tensor_copy(i, f), FG_OK);
    static const double as_int[] = { -1, 2, 300, 0, INT32_MAX }, as_byte[] = { 0, 2, 255, 0, 255 };
    ck_assert_int_eq(fg_tensor_copy(u, f), FG_OK);
    for (int k = 0; k < 5; k++) ck_assert(fg_tensor_at(i, k) == as_int[k] && fg_tensor_at(u, k) == as_byte[k]);
    ck_assert_int_eq(fg_tensor_copy(b, f), FG_OK);
    ck_assert(fg_tensor_at(b, 0) == -1.703125 && isnan(fg_tensor_at(b, 3)) && isinf(fg_tensor_at(b, 4)));
    ck_assert_int_eq(fg_tensor_copy(f, b), FG_OK);
    ck_assert(fg_tensor_at(f, 1) == 2.703125);
    ck_assert_int_eq(fg_tensor_copy(f, fg_zeros(s, FG_F32, FG_SHAPE(4))), FG_EINVAL);
    ck_assert_str_eq(fg_last_error(ctx), "copy: the target has shape [5], the source [4]");
    ck_assert_int_eq(fg_tensor_copy(f, f), FG_OK);
    ck_assert_int_eq(fg_tensor_copy(f, NULL), FG_EINVAL);
    /* every pair of dtypes */
    static const fg_dtype all[] = { FG_F32, FG_BF16, FG_U8, FG_I32 };
    for (int from = 0; from < 4; from++)
        for (int k = 0; k < 4; k++) {
            fg_tensor *a = fg_arange(s, all[from], 3, 1, 5), *c = fg_zeros(s, all[k], FG_SHAPE(5));
            ck_assert_int_eq(fg_tensor_copy(c, a), FG_OK);
            for (int e = 0; e < 5; e++) ck_assert(fg_tensor_at(c, e) == 3 + e);
        }
}
END_TEST

START_TEST(bf16_rounds_to_nearest_even) {
    static const struct {
        uint32_t in;
        uint16_t out;
    } cases[] = { { 0x3f800000, 0x3f80 }, { 0x3f808000, 0x3f80 }, { 0x3f818000, 0x3f82 }, { 0x3f808001, 0x3f81 },
                  { 0x7f7fffff, 0x7f80 }, { 0xff800000, 0xff80 }, { 0x80000000, 0x8000 }, { 0x00000001, 0x0000 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float f;
        memcpy(&f, &cases[i].in, 4);
        ck_assert_uint_eq(fg_bf16_from_float(f), cases[i].out);
    }
    uint32_t bits = 0x7f800001; /* a NaN whose payload rounding would lose */
    float f;
    memcpy(&f, &bits, 4);
    ck_assert(isnan(fg_bf16_to_float(fg_bf16_from_float(f))));
    for (uint32_t b = 0; b < 65536; b++) { /* every bf16 survives the round trip */
        float v = fg_bf16_to_float((uint16_t)b);
        if (!isnan(v)) ck_assert_uint_eq(fg_bf16_from_float(v), b);
    }
}
END_TEST

/* ---------------------------------------------------------------- scopes */
START_TEST(keep_take_adopt) {
    fg_scope *in = fg_scope_open(ctx);
    fg_tensor *a = fg_full(in, FG_F32, FG_SHAPE(1), 1), *b = fg_full(in, FG_F32, FG_SHAPE(1), 2),
              *c = fg_full(in, FG_F32, FG_SHAPE(1), 3);
    ck_assert_ptr_eq(fg_keep(a), a);
    ck_assert_ptr_eq(fg_scope_take(in, b), b);
    ck_assert_ptr_null(fg_scope_take(in, b));
    ck_assert_ptr_eq(fg_keep(c), c);
    ck_assert_ptr_eq(fg_scope_adopt(in, c), c);
    ck_assert_uint_eq(c->refs, 2);
    ck_assert_int_eq(fg_scope_close(in), FG_OK);
    ck_assert_uint_eq(ctx->tensors->count, 2);
    ck_assert(fg_tensor_at(a, 0) == 1 && fg_tensor_at(b, 0) == 2);
    fg_release(a);
    fg_release(b);
    fg_release(NULL);
    ck_assert_ptr_null(fg_keep(NULL));
    ck_assert_ptr_eq(fg_keep(FG_NONE), FG_NONE);
    fg_release(FG_NONE);
}
END_TEST

START_TEST(scopes_nest_in_any_order) {
    fg_scope *a = fg_scope_open(ctx), *b = fg_scope_open(ctx), *c = fg_scope_open(ctx);
    for (int i = 0; i < 1000; i++) { /* beyond the first capacity */
        ck_assert_ptr_nonnull(fg_zeros(a, FG_F32, FG_SHAPE(3)));
        ck_assert_ptr_nonnull(fg_zeros(c, FG_F32, FG_SHAPE(30)));
    }
    fg_scope_error(b, FG_EINVAL, "b: %d", 1);
    fg_scope_error(b, FG_EIO, "b: %d", 2);
    ck_assert_int_eq(fg_scope_close(b), FG_EINVAL);
    ck_assert_str_eq(fg_last_error(ctx), "b: 1");
    ck_assert_int_eq(fg_scope_close(a), FG_OK);
    ck_assert_ptr_eq(fg_scope_context(c), ctx);
    ck_assert_int_eq(fg_scope_close(c), FG_OK);
    ck_assert_int_eq(fg_scope_close(NULL), FG_ENOMEM);
    ck_assert_ptr_null(fg_zeros(NULL, FG_F32, FG_SHAPE(1)));
}
END_TEST

static void *meddle(void *arg) {
    fg_scope *mine = arg;
    ck_assert_ptr_null(fg_scope_open(ctx));
    ck_assert_ptr_null(fg_zeros(mine, FG_F32, FG_SHAPE(3)));
    ck_assert_int_eq(fg_scope_status(mine), FG_EBUSY);
    return NULL;
}

START_TEST(another_thread_gets_busy) {
    fg_scope *theirs = fg_scope_open(ctx);
    ck_assert(fg_enter(ctx));
    pthread_t t;
    ck_assert_int_eq(pthread_create(&t, NULL, meddle, theirs), 0);
    pthread_join(t, NULL);
    fg_leave(ctx);
    ck_assert_int_eq(fg_scope_close(theirs), FG_EBUSY);
    ck_assert_str_eq(fg_last_error(ctx), "another thread is inside this context");
}
END_TEST

static fg_status formula(void) {
    fg_scope *in = fg_scope_open(ctx);
    fg_tensor *a = fg_normal(in, FG_SHAPE(100), 0, 1, FG_STREAM_DEFAULT);
    fg_tensor *b = fg_detach(in, a);
    fg_tensor *c = fg_full(in, FG_BF16, FG_SHAPE(5), 1);
    for (int i = 0; i < 40; i++) fg_detach(in, c);
    if (a && b) fg_tensor_set_grad(a, b);
    return fg_scope_close(in);
}

START_TEST(every_allocation_may_fail) {
    for (int transient = 0; transient < 2; transient++) {
        int nth = 1, failures = 0;
        for (;; nth++) {
            size_t before = fg_memory_stats(ctx).live;
            uint64_t requests = fg_memory_stats(ctx).requests;
            fg_memory_fail_nth(ctx, (uint64_t)nth, transient);
            fg_status st = formula();
            bool reached = fg_memory_stats(ctx).requests - requests >= (uint64_t)nth;
            fg_memory_fail_nth(ctx, 0, false);
            ck_assert_uint_eq(fg_memory_stats(ctx).live, before);
            if (st != FG_OK) {
                failures++;
                ck_assert_int_eq(st, FG_ENOMEM);
                ck_assert_ptr_nonnull(strstr(fg_last_error(ctx), "out of memory: "));
            }
            ck_assert_int_eq(st == FG_OK, transient || !reached);
            if (!reached) break;
        }
        ck_assert_int_eq(failures, transient ? 0 : nth - 1);
        ck_assert_int_gt(nth, 45);
    }
}
END_TEST

/* ---------------------------------------------------------------- the context goes first */
START_TEST(tensors_outlive_their_context_harmlessly) {
    fg_context *c = fg_context_new();
    fg_scope *in = fg_scope_open(c);
    fg_tensor *small = fg_keep(fg_full(in, FG_F32, FG_SHAPE(2), 1)), *big = fg_keep(fg_full(in, FG_F32, FG_SHAPE(5000), 1));
    fg_tensor *view = fg_keep(fg_detach(in, big));
    fg_tensor *base = fg_full(in, FG_F32, FG_SHAPE(3), 1), *alone = fg_keep(fg_detach(in, base)); /* of a base that goes */
    fg_keep(small);
    ck_assert_int_eq(fg_tensor_set_grad(big, fg_full(in, FG_F32, FG_SHAPE(5000), 1)), FG_OK);
    fg_scope_close(in);
    fg_scope *left_open = fg_scope_open(c);
    fg_full(left_open, FG_F32, FG_SHAPE(7000), 1);
    fg_context_free(c);
    fg_tensor *all[] = { small, big, view, alone };
    for (int i = 0; i < 4; i++) {
        ck_assert_ptr_null(fg_tensor_context(all[i]));
        ck_assert_ptr_null(fg_tensor_data(all[i]));
        ck_assert_ptr_null(fg_tensor_data_mut(all[i]));
        ck_assert_int_eq(fg_tensor_numel(all[i]), 0);
        ck_assert_int_ne(fg_tensor_fill(all[i], 1), FG_OK);
        ck_assert_int_ne(fg_tensor_copy(all[i], all[0]), FG_OK);
        ck_assert_int_ne(fg_tensor_set_requires_grad(all[i], true), FG_OK);
        ck_assert_ptr_null(fg_tensor_grad(all[i]));
        ck_assert_str_eq(fg_tensor_op_name(all[i]), "");
        ck_assert(isnan(fg_tensor_at(all[i], 0)));
        char text[100];
        fg_tensor_print(all[i], text, sizeof text);
        fg_release(all[i]);
    }
    fg_release(small);
}
END_TEST

START_TEST(graphs_go_with_their_context) {
    fg_context *c = fg_context_new();
    fg_scope *in = fg_scope_open(c);
    fg_tensor *w = fg_keep(fg_full(in, FG_F32, FG_SHAPE(300), 1));
    ck_assert_int_eq(fg_tensor_set_requires_grad(w, true), FG_OK);
    fg_tensor *y = fg_keep(fg_square(in, fg_mul(in, w, w))), *loss = fg_keep(fg_mean(in, y, NULL, false));
    ck_assert_int_eq(fg_backward_with(in, loss, NULL, true), FG_OK);
    ck_assert_int_eq(fg_scope_close(in), FG_OK);
    ck_assert_ptr_nonnull(fg_tensor_grad(w));
    fg_context_free(c); /* nodes hold tensors and tensors hold nodes: ASan sees a leak or a late use */
    ck_assert_str_eq(fg_tensor_op_name(loss), "");
    ck_assert_ptr_null(fg_tensor_grad(w));
    fg_release(y);
    fg_release(w);
    fg_release(loss);
}
END_TEST

START_TEST(results_of_ops_are_not_written_in_place) {
    fg_tensor *w = fg_full(s, FG_F32, FG_SHAPE(3), 1);
    ck_assert_int_eq(fg_tensor_set_requires_grad(w, true), FG_OK);
    fg_tensor *y = fg_square(s, w);
    ck_assert_ptr_nonnull(y);
    bool was = fg_set_grad_enabled(ctx, false); /* not even under no_grad */
    ck_assert_int_eq(fg_tensor_fill(y, 1), FG_ESTATE);
    fg_set_grad_enabled(ctx, was);
    ck_assert_str_eq(fg_last_error(ctx),
                     "fill: cannot write in place into the result of square: it has a graph; detach and copy it first");
    ck_assert_int_eq(fg_tensor_set_requires_grad(y, false), FG_ESTATE);
    ck_assert_int_eq(fg_tensor_set_requires_grad(y, true), FG_OK);
    ck_assert(!fg_tensor_is_leaf(y));
    fg_tensor *g = fg_tensor_set_grad(w, y) == FG_OK ? fg_tensor_grad(w) : NULL; /* a gradient is always detached */
    ck_assert(g && g != y && fg_tensor_is_leaf(g) && !fg_tensor_requires_grad(g));
    ck_assert_int_eq(fg_tensor_set_grad(w, NULL), FG_OK);
}
END_TEST

/* ---------------------------------------------------------------- printing */
static const char *text_of(fg_tensor *t) {
    static char buf[20000];
    size_t n = fg_tensor_print(t, buf, sizeof buf);
    ck_assert_uint_eq(n, strlen(buf));
    char part[10]; /* a short buffer is filled and terminated, the length needed is told */
    ck_assert_uint_eq(fg_tensor_print(t, part, sizeof part), n);
    ck_assert_int_eq(strncmp(part, buf, 9), 0);
    ck_assert_uint_eq(fg_tensor_print(t, NULL, 0), n);
    return buf;
}

START_TEST(print_goldens) {
    ck_assert_str_eq(text_of(fg_from_reals(s, FG_SHAPE(2, 2), (fg_real[]){ (fg_real)0.5, -1, 2, (fg_real)0.25 })),
                     "[[ 0.5000, -1.0000],\n [ 2.0000,  0.2500]]\n[FloatTensor of size 2x2]");
    ck_assert_str_eq(text_of(fg_from_reals(s, FG_SHAPE(3), (fg_real[]){ 1, -20, 3 })),
                     "[  1., -20.,   3.]\n[FloatTensor of size 3]");
    ck_assert_str_eq(text_of(fg_from_i32(s, FG_SHAPE(2, 1), (int32_t[]){ 7, -100 })),
                     "[[   7],\n [-100]]\n[IntTensor of size 2x1]");
    ck_assert_str_eq(text_of(fg_from_u8(s, FG_SHAPE(2), (uint8_t[]){ 7, 255 })), "[  7, 255]\n[ByteTensor of size 2]");
    ck_assert_str_eq(text_of(fg_full(s, FG_BF16, FG_SHAPE(1), 1.5)), "[1.5000]\n[BFloat16Tensor of size 1]");
    ck_assert_str_eq(text_of(fg_full(s, FG_F32, FG_SCALAR, 1.5)), "1.5000\n[FloatTensor scalar]");
    ck_assert_str_eq(text_of(fg_full(s, FG_I32, FG_SCALAR, 42)), "42\n[IntTensor scalar]");
    ck_assert_str_eq(text_of(fg_empty(s, FG_F32, FG_SHAPE(0, 3))), "[]\n[FloatTensor of size 0x3]");
    ck_assert_str_eq(text_of(fg_from_reals(s, FG_SHAPE(4), (fg_real[]){ NAN, INFINITY, -INFINITY, (fg_real)0.5 })),
                     "[   nan,    inf,   -inf, 0.5000]\n[FloatTensor of size 4]");
    ck_assert_str_eq(text_of(fg_from_reals(s, FG_SHAPE(2), (fg_real[]){ (fg_real)1e-6, 1 })),
                     "[1.0000e-06, 1.0000e+00]\n[FloatTensor of size 2]");
    ck_assert_str_eq(text_of(fg_arange(s, FG_I32, 0, 1, 8)), "[0, 1, 2, 3, 4, 5, 6, 7]\n[IntTensor of size 8]");
    fg_tensor *cube = fg_zeros(s, FG_I32, FG_SHAPE(2, 2, 2));
    ck_assert_str_eq(text_of(cube), "[[[0, 0],\n  [0, 0]],\n\n [[0, 0],\n  [0, 0]]]\n[IntTensor of size 2x2x2]");
    char shape[40];
    ck_assert_uint_eq(fg_shape_print(&FG_SHAPE(64, 28, 28, 1), shape, sizeof shape), 12);
    ck_assert_str_eq(shape, "[64,28,28,1]");
    fg_shape_print(&FG_SCALAR, shape, sizeof shape);
    ck_assert_str_eq(shape, "[]");
}
END_TEST

START_TEST(print_wraps_and_summarises) {
    ck_assert_str_eq(text_of(fg_arange(s, FG_I32, 1000, 1, 20)),
                     "[1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012,\n"
                     " 1013, 1014, 1015, 1016, 1017, 1018, 1019]\n[IntTensor of size 20]");
    ck_assert_str_eq(text_of(fg_arange(s, FG_I32, 0, 1, 2000)),
                     "[   0,    1,    2, ..., 1997, 1998, 1999]\n[IntTensor of size 2000]");
    ck_assert_ptr_null(strstr(text_of(fg_arange(s, FG_I32, 0, 1, 1000)), "...")); /* the threshold itself is printed whole */
    ck_assert_str_eq(
        text_of(fg_zeros(s, FG_U8, FG_SHAPE(2000, 8))),
        "[[0, 0, 0, ..., 0, 0, 0],\n [0, 0, 0, ..., 0, 0, 0],\n [0, 0, 0, ..., 0, 0, 0],\n ...,\n"
        " [0, 0, 0, ..., 0, 0, 0],\n [0, 0, 0, ..., 0, 0, 0],\n [0, 0, 0, ..., 0, 0, 0]]\n[ByteTensor of size 2000x8]");
    fg_tensor *big = fg_zeros(s, FG_F32, FG_SHAPE(100, 50, 40, 10)); /* 2 million elements: O(printed) */
    double start = fg_clock_seconds();
    for (int i = 0; i < 20; i++) ck_assert_uint_lt(fg_tensor_print(big, NULL, 0), 20000);
    ck_assert_double_lt(fg_clock_seconds() - start, 1.0);
}
END_TEST

int main(void) {
    TCase *tc = tcase_create("tensor");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, making_and_reading);
    tcase_add_test(tc, storage_is_aligned);
    tcase_add_test(tc, small_tensors_cost_one_request);
    tcase_add_test(tc, bad_shapes_are_refused);
    tcase_add_test(tc, views_share_and_keep_the_storage);
    tcase_add_test(tc, detach_shares_without_history);
    tcase_add_test(tc, grad_fields);
    tcase_add_test(tc, in_place_rules);
    tcase_add_test(tc, copy_converts);
    tcase_add_test(tc, bf16_rounds_to_nearest_even);
    tcase_add_test(tc, keep_take_adopt);
    tcase_add_test(tc, scopes_nest_in_any_order);
    tcase_add_test(tc, another_thread_gets_busy);
    tcase_add_test(tc, every_allocation_may_fail);
    tcase_add_test(tc, tensors_outlive_their_context_harmlessly);
    tcase_add_test(tc, graphs_go_with_their_context);
    tcase_add_test(tc, results_of_ops_are_not_written_in_place);
    tcase_add_test(tc, print_goldens);
    tcase_add_test(tc, print_wraps_and_summarises);
    Suite *suite = suite_create("tensor");
    suite_add_tcase(suite, tc);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
