/* test_registry.c: the list of all kernels. Nothing is listed twice or empty, every level brings what it is for, and no
 * kernel goes without a test against the scalar reference or without a benchmark: the table below says where they are, and
 * the sources are searched for them.
 * build: float */
#include "kernel_cases.h"

#include "registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 200 };

static int list(fg_isa_level level, fg_kernel_info *all) {
    int n = 0;
    while (fg_kernel_at(level, n, &all[n])) ck_assert_int_lt(++n, MOST);
    return n;
}

START_TEST(every_kernel_is_listed_once) {
    fg_kernel_info a[MOST];
    int scalars = list(FG_ISA_SCALAR, a);
    ck_assert_int_gt(scalars, 80);
    for (int isa = 0; isa < FG_ISA_COUNT; isa++) {
        int n = list((fg_isa_level)isa, a);
        ck_assert_int_eq(n > 0, fg_kernels_for((fg_isa_level)isa) != NULL);
        for (int i = 0; i < n; i++) {
            ck_assert(*a[i].slot && *a[i].shapes && (int)a[i].isa <= isa);
            for (int j = 0; j < i; j++) /* one method may be listed for several levels, the better one first */
                ck_assert_msg(strcmp(a[i].slot, a[j].slot) != 0 || strcmp(a[i].member, a[j].member) != 0 || a[i].isa < a[j].isa,
                              "%s %s is listed twice at level %d", a[i].slot, a[i].member, isa);
        }
    }
    ck_assert(!fg_kernel_at(FG_ISA_SCALAR, -1, a) && !fg_kernel_at(FG_ISA_SCALAR, scalars, a));
    ck_assert(!fg_kernel_at(FG_ISA_COUNT, 0, a));
}
END_TEST

/* Which slots a level brings kernels for. */
static int brought(fg_isa_level level, const char *slot) {
    fg_kernel_info a[MOST];
    int n = list(level, a), count = 0;
    for (int i = 0; i < n; i++) count += a[i].isa == level && (!slot || strcmp(a[i].slot, slot) == 0);
    return count;
}

START_TEST(levels_bring_what_they_are_for) {
    ck_assert_int_eq(brought(FG_ISA_SCALAR, "adam"), 1);
    ck_assert_int_eq(brought(FG_ISA_SCALAR, "unary"), FG_UN_COUNT);
    for (int isa = FG_ISA_AVX2; isa <= FG_ISA_AVX512; isa++) {
        if (!fg_kernels_for((fg_isa_level)isa)) continue;
        static const char *const slots[] = { "gemm", "conv", "adam", "bn_moments", "normal", "transpose2d", "reduce" };
        for (size_t i = 0; i < sizeof slots / sizeof *slots; i++)
            ck_assert_msg(brought((fg_isa_level)isa, slots[i]) > 0, "level %d has no %s of its own", isa, slots[i]);
    }
    if (fg_kernels_for(FG_ISA_AVX512BF16)) {
        ck_assert_int_eq(brought(FG_ISA_AVX512BF16, "gemm16"), 1);
        ck_assert_int_eq(brought(FG_ISA_AVX512BF16, NULL), 1); /* the rest is AVX-512's */
    }
    if (fg_kernels_for(FG_ISA_AMX)) ck_assert(brought(FG_ISA_AMX, "conv") > 0 && brought(FG_ISA_AMX, "gemm16") > 0);
}
END_TEST

/* slot, the test that holds every level to the scalar reference, the benchmark */
static const struct {
    const char *slot, *program, *test, *bench;
} where[] = {
    { "to_bf16", "test_gemm16", "conversion_tails", "elementwise" },
    { "from_bf16", "test_gemm16", "conversion_tails", "elementwise" },
    { "from_u8", "test_gemm16", "conversion_tails", "elementwise" },
    { "unary", "test_kernels", "unary_same_bits", "elementwise" },
    { "unary_grad", "test_kernels", "unary_grad_same_bits", "elementwise" },
    { "binary", "test_kernels", "binary_same_bits", "elementwise" },
    { "select", "test_kernels", "select_axpy_copy", "elementwise" },
    { "loss", "test_kernels", "losses", "elementwise" },
    { "loss_grad", "test_kernels", "losses", "elementwise" },
    { "nonzero", "test_kernels", "nonzero_flags", "elementwise" },
    { "axpy", "test_kernels", "select_axpy_copy", "elementwise" },
    { "copy_strided", "test_kernels", "select_axpy_copy", "elementwise" },
    { "transpose2d", "test_kernels", "transpose", "elementwise" },
    { "bias_act", "test_kernels_sums", "bn_forward", "elementwise" },
    { "reduce", "test_kernels_sums", "reduce_same_bits", "elementwise" },
    { "reduce_rows", "test_kernels_sums", "reduce_matrix", "elementwise" },
    { "reduce_cols", "test_kernels_sums", "reduce_matrix", "elementwise" },
    { "argmax", "test_kernels_sums", "reduce_same_bits", "elementwise" },
    { "sumsq", "test_kernels_sums", "reduce_same_bits", "elementwise" },
    { "all_finite", "test_kernels_sums", "reduce_same_bits", "elementwise" },
    { "log_softmax", "test_kernels_sums", "log_softmax", "elementwise" },
    { "log_softmax_grad", "test_kernels_sums", "log_softmax", "elementwise" },
    { "bn_moments", "test_kernels_sums", "bn_forward", "elementwise" },
    { "bn_apply", "test_kernels_sums", "bn_forward", "elementwise" },
    { "bn_grad_sums", "test_kernels_sums", "bn_backward", "elementwise" },
    { "bn_grad_apply", "test_kernels_sums", "bn_backward", "elementwise" },
    { "act_grad_sums", "test_kernels_sums", "act_backward", "elementwise" },
    { "uniform", "test_kernels", "random_same_bits", "elementwise" },
    { "normal", "test_kernels", "random_same_bits", "elementwise" },
    { "dropout", "test_kernels", "dropout_masks", "elementwise" },
    { "avg_pool", "test_kernels_sums", "pooling", "elementwise" },
    { "avg_pool_adjoint", "test_kernels_sums", "pooling", "elementwise" },
    { "max_pool", "test_kernels_sums", "pooling", "elementwise" },
    { "upsample", "test_kernels_sums", "pooling", "elementwise" },
    { "gemm", "test_gemm", "large_sizes", "product" },
    { "gemm16", "test_gemm16", "large_sizes", "product" },
    { "conv", "test_conv", "geometries", "product" },
    { "adam", "test_kernels_sums", "adam", "elementwise" },
    { "rmsprop", "test_kernels_sums", "rmsprop", "elementwise" },
    { "sgd", "test_kernels_sums", "sgd_and_ema", "elementwise" },
    { "ema", "test_kernels_sums", "sgd_and_ema", "elementwise" },
};

static char *text_of(const char *format, const char *name) {
    char path[200];
    snprintf(path, sizeof path, format, name);
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "cannot read %s", path);
    static char text[1 << 17];
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return text;
}

START_TEST(every_kernel_has_a_test_and_a_benchmark) {
    fg_kernel_info a[MOST];
    int n = list(FG_ISA_SCALAR, a);
    for (int i = 0; i < n; i++) {
        size_t row = 0;
        while (row < sizeof where / sizeof *where && strcmp(where[row].slot, a[i].slot) != 0) row++;
        ck_assert_msg(row < sizeof where / sizeof *where, "%s is listed, but this test does not say what tests it", a[i].slot);
        char want[100];
        snprintf(want, sizeof want, "START_TEST(%s)", where[row].test);
        char *text = text_of("tests/c/%s.c", where[row].program);
        ck_assert_msg(strstr(text, want) != NULL, "%s has no test %s", where[row].program, where[row].test);
        ck_assert_msg(strstr(text, a[i].slot) != NULL, "%s does not speak of %s", where[row].program, a[i].slot);
        bool product = strcmp(where[row].bench, "product") == 0;
        snprintf(want, sizeof want, product ? "%s" : "{ \"%s\"", a[i].slot);
        text = text_of("tests/bench/bench_%s.c", where[row].bench);
        ck_assert_msg(strstr(text, want) != NULL, "bench_%s does not time %s", where[row].bench, a[i].slot);
    }
    for (size_t row = 0; row < sizeof where / sizeof *where; row++) {
        int i = 0;
        while (i < n && strcmp(where[row].slot, a[i].slot) != 0) i++;
        ck_assert_msg(i < n, "there is no kernel %s", where[row].slot);
    }
}
END_TEST

KERNEL_MAIN("registry", every_kernel_is_listed_once, levels_bring_what_they_are_for, every_kernel_has_a_test_and_a_benchmark)
