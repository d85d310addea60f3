/* test_embed_lua.c: a C host that brings its own Lua state: opening, training and closing again and again, two states at once,
 * states without os, io, debug and arg, tensors handed to and fro. */
#include "forger_lua.h"

#include <lauxlib.h>
#include <lualib.h>

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A state with the libraries that a cautious host opens: no os, io or debug. */
static lua_State *open_state(void) {
    static const luaL_Reg libs[] = { { LUA_GNAME, luaopen_base },
                                     { LUA_LOADLIBNAME, luaopen_package },
                                     { LUA_TABLIBNAME, luaopen_table },
                                     { LUA_STRLIBNAME, luaopen_string },
                                     { LUA_MATHLIBNAME, luaopen_math },
                                     { LUA_COLIBNAME, luaopen_coroutine },
                                     { NULL, NULL } };
    lua_State *L = luaL_newstate();
    ck_assert_ptr_nonnull(L);
    for (const luaL_Reg *l = libs; l->func; l++) {
        luaL_requiref(L, l->name, l->func, 1);
        lua_pop(L, 1);
    }
    /* nothing on disk may answer for the embedded files */
    ck_assert_int_eq(luaL_dostring(L, "package.path, package.cpath = '', ''"), LUA_OK);
    lua_pushcfunction(L, fg_lua_open);
    ck_assert_int_eq(lua_pcall(L, 0, 0, 0), LUA_OK);
    return L;
}

static void run(lua_State *L, const char *code) {
    if (luaL_dostring(L, code) != LUA_OK) ck_abort_msg("%s", lua_tostring(L, -1));
}

static const char train[] = "local fg = require 'forger'\n"
                            "fg.manual_seed(7)\n"
                            "local nn = fg.nn\n"
                            "net = nn.Sequential { nn.Linear(4, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1) }\n"
                            "opt = fg.optim.Adam(net, { lr = 1e-2 })\n"
                            "local x = fg.randn(16, 4)\n"
                            "for step = 1, 5 do\n"
                            "  opt:zero_grad()\n"
                            "  loss = fg.bce_with_logits(net(x), 1)\n"
                            "  loss:backward()\n"
                            "  opt:step()\n"
                            "end\n"
                            "value = loss:item()\n";

static double global_number(lua_State *L, const char *name) {
    lua_getglobal(L, name);
    double v = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return v;
}

START_TEST(opens_trains_and_closes_fifty_times) {
    double first = 0;
    for (int i = 0; i < 50; i++) {
        lua_State *L = open_state();
        run(L, train);
        double v = global_number(L, "value");
        if (i == 0) first = v;
        ck_assert_double_eq(v, first);
        ck_assert(v > 0 && v < 1);
        lua_close(L);
    }
}
END_TEST

START_TEST(two_states_share_nothing) {
    lua_State *a = open_state(), *b = open_state();
    run(a, train);
    run(b, "fg = require 'forger'; fg.manual_seed(1); fg.set_threads(1); t = fg.ones(3)");
    run(a, train);
    run(b, train);
    ck_assert_double_eq(global_number(a, "value"), global_number(b, "value"));
    ck_assert_ptr_ne(fg_lua_context(a), fg_lua_context(b));
    lua_getglobal(b, "t");
    ck_assert_ptr_eq(fg_tensor_context(fg_lua_check(b, -1)), fg_lua_context(b));
    lua_pop(b, 1);
    lua_close(b);
    run(a, "assert(loss:item() == value)");
    lua_close(a);
}
END_TEST

static int push_foreign(lua_State *L) {
    fg_lua_push(L, lua_touserdata(L, 1));
    return 1;
}

START_TEST(tensors_go_to_and_fro) {
    lua_State *L = open_state();
    fg_context *ctx = fg_lua_context(L);
    fg_scope *s = fg_scope_open(ctx);
    fg_tensor *t = fg_full(s, FG_F32, FG_SHAPE(2, 3), 1.5);
    fg_lua_push(L, t);
    fg_lua_push(L, t);
    ck_assert(lua_rawequal(L, -1, -2));
    ck_assert_ptr_eq(fg_lua_check(L, -1), t);
    lua_setglobal(L, "t");
    lua_pop(L, 1);
    ck_assert_int_eq(fg_scope_close(s), FG_OK); /* Lua holds a reference of its own */
    run(L, "local fg = require 'forger'; assert(t:sum():item() == 9); y = t * 2; freed = fg.ones(1); freed:free()");
    lua_getglobal(L, "y");
    double v = fg_tensor_at(fg_lua_check(L, -1), 5);
    ck_assert_double_eq(v, 3.0);
    fg_lua_push(L, NULL);
    ck_assert(lua_isnil(L, -1));

    fg_context *other = fg_context_new();
    fg_scope *so = fg_scope_open(other);
    lua_pushcfunction(L, push_foreign);
    lua_pushlightuserdata(L, fg_zeros(so, FG_F32, FG_SCALAR));
    ck_assert_int_ne(lua_pcall(L, 1, 1, 0), LUA_OK);
    ck_assert_ptr_nonnull(strstr(lua_tostring(L, -1), "another context"));
    fg_scope_close(so);
    fg_context_free(other);
    lua_close(L);
}
END_TEST

static int check_global(lua_State *L) {
    lua_getglobal(L, lua_tostring(L, 1));
    fg_lua_check(L, -1);
    return 0;
}

START_TEST(what_is_no_tensor_is_refused) {
    lua_State *L = open_state();
    run(L, "local fg = require 'forger'; number = 3; freed = fg.ones(1); freed:free()");
    static const char *const cases[][2] = { { "number", "tensor expected, got number" },
                                            { "freed", "freed by t:free()" },
                                            { "absent", "tensor expected, got nil" } };
    for (int i = 0; i < 3; i++) {
        lua_pushcfunction(L, check_global);
        lua_pushstring(L, cases[i][0]);
        ck_assert_int_ne(lua_pcall(L, 1, 0, 0), LUA_OK);
        if (!strstr(lua_tostring(L, -1), cases[i][1])) ck_abort_msg("%s", lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    lua_close(L);
}
END_TEST

START_TEST(lives_without_os_io_debug_and_arg) {
    lua_State *L = open_state();
    run(L, "assert(os == nil and io == nil and debug == nil and arg == nil)");
    run(L, train);
    run(L, "local fg = require 'forger'; assert(#tostring(net) > 20); assert(#fg.nn.summary(net, { 1, 4 }) > 20)");
    run(L, "local help = require 'forger.help'; assert(help.text('sum'):find('Sum'))");
    /* errors point at the host's code, not at the embedded files */
    ck_assert_int_ne(luaL_loadbuffer(L, "net(1)", 6, "=host") || lua_pcall(L, 0, 0, 0), LUA_OK);
    if (strncmp(lua_tostring(L, -1), "host:1: ", 8) != 0) ck_abort_msg("%s", lua_tostring(L, -1));
    lua_close(L);
}
END_TEST

START_TEST(models_go_from_lua_to_c_and_back) {
    char path[] = "/tmp/forger_model_XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    lua_State *L = open_state();
    lua_pushstring(L, path);
    lua_setglobal(L, "path");
    run(L, "fg = require 'forger'; nn = fg.nn\n"
           "net = nn.Sequential { nn.Linear(4, 18, { bias = false }), nn.Reshape(3, 3, 2), nn.BatchNorm(2, { eps = 1e-3 }),\n"
           "  nn.LeakyReLU(0.2), nn.ConvTranspose2d(2, 2, { 4, 3 }, { stride = 2, padding = { 1, 0, 2, 1 } }),\n"
           "  nn.Sequential { nn.Conv2d(2, 1, 3, { padding = 'same' }), nn.Tanh() } }\n"
           "net[3].running_mean:fill_(0.5); net:eval(); net.latent = { dim = 4, dist = 'normal' }\n"
           "x = fg.randn(2, 4); y = net(x); assert(net:save(path, { note = 'kept' }))");
    fg_context *ctx = fg_lua_context(L);
    fg_layer *l = fg_model_load(ctx, path);
    if (!l) ck_abort_msg("%s", fg_last_error(ctx));
    fg_layer_train(l, false);
    lua_getglobal(L, "x");
    lua_getglobal(L, "y");
    fg_scope *s = fg_scope_open(ctx);
    fg_tensor *got = fg_layer_forward(s, l, fg_lua_check(L, -2)), *want = fg_lua_check(L, -1);
    ck_assert_ptr_nonnull(got);
    ck_assert_int_eq(fg_tensor_numel(got), fg_tensor_numel(want));
    for (int64_t i = 0; i < fg_tensor_numel(want); i++) ck_assert_double_eq(fg_tensor_at(got, i), fg_tensor_at(want, i));
    ck_assert_int_eq(fg_scope_close(s), FG_OK);
    ck_assert_int_eq(fg_model_save(l, path, NULL, 0), FG_OK);
    fg_layer_release(l);
    run(L, "local twin = assert(nn.load(path)); assert(tostring(twin) == tostring(net)); assert(fg.equal(twin:eval()(x), y))");
    lua_close(L);
    unlink(path);
}
END_TEST

START_TEST(opens_twice) {
    lua_State *L = open_state();
    lua_pushcfunction(L, fg_lua_open);
    ck_assert_int_eq(lua_pcall(L, 0, 0, 0), LUA_OK);
    luaopen_forger_core(L);
    luaopen_forger_core(L);
    ck_assert(lua_rawequal(L, -1, -2));
    run(L, "assert(#package.searchers == 5)"); /* Lua's four and ours, once */
    lua_close(L);
    L = luaL_newstate(); /* a state without `package` is told so */
    lua_pushcfunction(L, fg_lua_open);
    ck_assert_int_ne(lua_pcall(L, 0, 0, 0), LUA_OK);
    ck_assert_ptr_nonnull(strstr(lua_tostring(L, -1), "package"));
    luaopen_forger_core(L); /* the C half needs no libraries at all */
    ck_assert(lua_istable(L, -1));
    lua_close(L);
}
END_TEST

START_TEST(survives_a_fork_after_training) {
    lua_State *L = open_state();
    run(L, "require 'forger'.set_threads(2)");
    run(L, train);
    pid_t pid = fork();
    if (pid == 0) {
        bool ok = luaL_dostring(L, train) == LUA_OK;
        lua_close(L);
        _exit(ok ? 0 : 1);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    run(L, train);
    lua_close(L);
}
END_TEST

/* An allocator that fails at the n-th request: Lua's own memory errors must leave nothing behind in the core. */
typedef struct limited {
    long left;
} limited;

static void *limited_alloc(void *ud, void *p, size_t old, size_t size) {
    limited *l = ud;
    (void)old;
    if (size == 0) {
        free(p);
        return NULL;
    }
    if (l->left == 0) return NULL;
    if (l->left > 0) l->left--;
    return realloc(p, size);
}

static int open_forger(lua_State *L) {
    luaL_openlibs(L);
    return luaopen_forger_core(L);
}

static int work(lua_State *L) {
    static const char code[] = "local core = ...\n"
                               "local t = core.ones(3)\n"
                               "local r = core.scope(function(s) return t * 2 + core.tensor{1, 2, 3} end)\n"
                               "assert(core.json.decode(core.json.encode{a = {1, 2}, b = 'x'}).b == 'x')\n"
                               "local w = core.ones{2, requires_grad = true}\n"
                               "local list = core.grad((w * w):sum(), {w, w})\n"
                               "return tostring(r)\n";
    if (luaL_loadstring(L, code) != LUA_OK) return lua_error(L);
    luaopen_forger_core(L);
    lua_call(L, 1, 1);
    return 1;
}

START_TEST(a_lua_state_out_of_memory_leaks_nothing) {
    int failures = 0;
    bool done = false;
    for (long n = 1; n < 20000 && !done; n += n < 200 ? 1 : 7) {
        limited l = { -1 };
        lua_State *L = lua_newstate(limited_alloc, &l);
        ck_assert_ptr_nonnull(L);
        lua_gc(L, LUA_GCSTOP);
        l.left = n;
        lua_pushcfunction(L, open_forger);
        int rc = lua_pcall(L, 0, 0, 0);
        if (rc == LUA_OK) {
            lua_pushcfunction(L, work);
            rc = lua_pcall(L, 0, 0, 0);
        }
        done = rc == LUA_OK;
        if (!done) failures++;
        l.left = -1;
        lua_settop(L, 0);
        lua_pushcfunction(L, open_forger); /* the state works again */
        ck_assert_int_eq(lua_pcall(L, 0, 0, 0), LUA_OK);
        lua_pushcfunction(L, work);
        if (!done && lua_pcall(L, 0, 0, 0) != LUA_OK) ck_abort_msg("after failure %ld: %s", n, lua_tostring(L, -1));
        lua_close(L);
    }
    ck_assert(done);
    ck_assert_int_gt(failures, 100);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("embed_lua");
    TCase *tc = tcase_create("host");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, opens_trains_and_closes_fifty_times);
    tcase_add_test(tc, two_states_share_nothing);
    tcase_add_test(tc, tensors_go_to_and_fro);
    tcase_add_test(tc, what_is_no_tensor_is_refused);
    tcase_add_test(tc, lives_without_os_io_debug_and_arg);
    tcase_add_test(tc, models_go_from_lua_to_c_and_back);
    tcase_add_test(tc, opens_twice);
    tcase_add_test(tc, survives_a_fork_after_training);
    tcase_add_test(tc, a_lua_state_out_of_memory_leaks_nothing);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
