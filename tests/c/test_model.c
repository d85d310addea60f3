/* test_model.c: model files of C hosts: a round trip, and refusal of what does not fit. */
#include "forger.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static fg_context *ctx;
static char path[64];
static void setup(void) {
    ctx = fg_context_new();
    ck_assert_ptr_nonnull(ctx);
    snprintf(path, sizeof path, "/tmp/fg_model_%d.safetensors", (int)getpid());
}
static void teardown(void) {
    unlink(path);
    fg_context_free(ctx);
}

static fg_layer *generator(void) {
    fg_layer *l[] = {
        fg_layer_new(ctx, "Linear", &(fg_linear_layer){ 8, 3 * 3 * 6, true }),
        fg_layer_new(ctx, "Reshape", &(fg_reshape_layer){ FG_SHAPE(3, 3, 6) }),
        fg_layer_new(ctx, "BatchNorm", &(fg_batch_norm_layer){ 6, 1e-3, 0.01, false }),
        fg_layer_new(ctx, "LeakyReLU", &(fg_act_layer){ 0.2 }),
        fg_layer_new(
            ctx, "ConvTranspose2d",
            &(fg_conv_layer){ .in_channels = 6, .out_channels = 2, .kernel = { 5, 4 }, .stride = { 2, 2 }, .same = true }),
        fg_layer_new(ctx, "Conv2d",
                     &(fg_conv_layer){ .in_channels = 2, .out_channels = 1, .kernel = { 3, 3 }, .pad = { 1, 0, 2, 1 } }),
        fg_layer_new(ctx, "Tanh", NULL),
    };
    return fg_sequential_new(ctx, l, 7);
}

START_TEST(round_trip) {
    fg_layer *a = generator();
    ck_assert_ptr_nonnull(a);
    fg_scope *s = fg_scope_open(ctx);
    fg_tensor *z = fg_normal(s, FG_SHAPE(4, 8), 0, 1, FG_STREAM_LATENT);
    fg_layer_forward(s, a, z); /* moves the running statistics */
    ck_assert_int_eq(fg_model_save(a, path, &(fg_meta){ "note", "hello" }, 1), FG_OK);
    fg_stream_state before = fg_stream_get(ctx, FG_STREAM_INIT);
    fg_layer *b = fg_model_load(ctx, path);
    ck_assert_msg(b != NULL, "%s", fg_last_error(ctx));
    ck_assert_uint_eq(fg_stream_get(ctx, FG_STREAM_INIT).offset, before.offset);
    fg_layer_train(a, false);
    fg_layer_train(b, false);
    fg_tensor *ya = fg_layer_forward(s, a, z), *yb = fg_layer_forward(s, b, z);
    ck_assert_msg(ya && yb, "%s", fg_last_error(ctx));
    ck_assert_int_eq(memcmp(fg_tensor_data(ya), fg_tensor_data(yb), (size_t)fg_tensor_numel(ya) * sizeof(fg_real)), 0);
    ck_assert_int_eq((int)fg_tensor_size(ya, 1), 5); /* 6 rows + 1 of padding, kernel 3 */
    fg_scope_close(s);
    fg_layer_release(a);
    fg_layer_release(b);
}
END_TEST

static void refused(const char *architecture, const char *expect) {
    fg_scope *s = fg_scope_open(ctx);
    fg_tensor *w = fg_zeros(s, FG_F32, FG_SHAPE(2, 3));
    fg_meta meta[] = { { "format", "forger-model-1" }, { "architecture", architecture } };
    ck_assert_int_eq(fg_tensors_save(ctx, path, (const char *[]){ "weight" }, &w, 1, meta, 2), FG_OK);
    fg_scope_close(s);
    fg_layer *l = fg_model_load(ctx, path);
    ck_assert_ptr_null(l);
    ck_assert_msg(strstr(fg_last_error(ctx), expect) != NULL, "'%s' lacks '%s'", fg_last_error(ctx), expect);
}
START_TEST(damage_is_refused) {
    refused("{\"class\":\"Linear\",\"config\":{\"in_features\":2,\"out_features\":3}}", "'bias' is missing");
    refused("{\"class\":\"Linear\",\"config\":{\"in_features\":3,\"out_features\":2,\"bias\":false}}", "the layer has [3,2]");
    refused("{\"class\":\"Linear\",\"config\":{\"in_features\":30000,\"out_features\":30000}}", "900000000 weights, the file 6");
    refused("{\"class\":\"Block\",\"config\":[]}", "not a built-in layer");
    refused("{\"class\":\"Linear\",\"config\":{\"in_featurs\":2}}", "bad option 'in_featurs'");
    refused("{\"class\":\"Sequential\"}", "no children");
    refused("{\"class\":\"Tanh\",\"config\":{}}", "1 tensors, the architecture uses 0");
    refused("{\"class\":", "line 1");
    refused("[]", "no class");
}
END_TEST
START_TEST(missing_file) {
    ck_assert_ptr_null(fg_model_load(ctx, "/nonexistent/g.safetensors"));
    ck_assert_int_eq(fg_last_status(ctx), FG_EIO);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("model");
    TCase *t = tcase_create("files");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, round_trip);
    tcase_add_test(t, damage_is_refused);
    tcase_add_test(t, missing_file);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
