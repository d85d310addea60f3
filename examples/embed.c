/* embed.c: Forger inside a C program, in two ways.
 *
 *   embed c [--steps N] [--seed N] [--threads N]   trains a GAN from C alone: no Lua runs
 *   embed lua SCRIPT [ARGUMENT...]                 runs a Lua script in a state of this program's own, `require "forger"` built
 * in
 *
 * The GAN of the first way turns 2-D noise into points on a ring: the distribution to imitate is small enough to be judged
 * by two numbers, the mean radius and how much of the circle is covered. Build: make examples, or
 *   cc embed.c -lforger_lua -lforger -llua5.4 -lpng -lz -lm -lpthread
 *
 * The pattern to copy: ops run in a scope (fg_scope_open .. fg_scope_close), read like the formula, and pass NULL on after an
 * error, so that one look at the status of the close is enough. */
#include <forger.h>
#include <forger_lua.h>

#include <lauxlib.h>
#include <lualib.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 128, LATENT = 2, HIDDEN = 64, MAX_PARAMS = 16, SECTORS = 16 };
static const double PI = 3.14159265358979323846, RADIUS = 2, THICKNESS = 0.1;

static const char *usage = "usage: embed c [--steps N] [--seed N] [--threads N]\n"
                           "       embed lua SCRIPT [ARGUMENT...]\n"
                           "  c    train a small GAN on points of a ring, in C alone (default: 2000 steps, seed 1)\n"
                           "  lua  run a Lua script; require \"forger\" finds the library inside this program\n";

/* ---------------------------------------------------------------- the GAN in C */
/* An MLP n_in -> HIDDEN -> HIDDEN -> n_out. fg_sequential_new takes over the references of its layers. */
static fg_layer *make_mlp(fg_context *ctx, int n_in, int n_out) {
    fg_act_layer slope = { 0.2 };
    fg_layer *layers[] = {
        fg_layer_new(ctx, "Linear", &(fg_linear_layer){ .in_features = n_in, .out_features = HIDDEN }),
        fg_layer_new(ctx, "LeakyReLU", &slope),
        fg_layer_new(ctx, "Linear", &(fg_linear_layer){ .in_features = HIDDEN, .out_features = HIDDEN }),
        fg_layer_new(ctx, "LeakyReLU", &slope),
        fg_layer_new(ctx, "Linear", &(fg_linear_layer){ .in_features = HIDDEN, .out_features = n_out }),
    };
    return fg_sequential_new(ctx, layers, 5);
}

static fg_optimizer *make_adam(fg_context *ctx, const fg_layer *net) {
    fg_tensor *params[MAX_PARAMS];
    int n = 0;
    while (n < MAX_PARAMS && fg_layer_param(net, n, &params[n], NULL, 0)) n++;
    return fg_adam_new(ctx, params, n, &(fg_adam_opts){ .lr = 1e-3, .beta1 = 0.5, .beta2 = 0.9, .has_betas = true });
}

/* Real data: points [BATCH,2] at RADIUS from the origin, a little spread. */
static fg_tensor *ring(fg_scope *s) {
    fg_tensor *angle = fg_uniform(s, FG_SHAPE(BATCH, 1), 0, 2 * PI, FG_STREAM_DATA);
    fg_tensor *radius = fg_normal(s, FG_SHAPE(BATCH, 1), RADIUS, THICKNESS, FG_STREAM_DATA);
    fg_tensor *xy[] = { fg_mul(s, radius, fg_cos(s, angle)), fg_mul(s, radius, fg_sin(s, angle)) };
    return fg_concat(s, xy, 2, 1);
}

static fg_tensor *latent(fg_scope *s, int n, fg_stream stream) { return fg_normal(s, FG_SHAPE(n, LATENT), 0, 1, stream); }

/* D learns to tell real from fake: softplus(-D(x)) + softplus(D(G(z))), and R1: 1/2 E|dD/dx|^2 on real points, which keeps
 * the game stable (Mescheder et al. 2018). The penalty is a gradient inside the loss: create_graph makes it differentiable. */
static fg_status step_d(fg_context *ctx, fg_layer *g, fg_layer *d, fg_optimizer *opt, double *loss_out) {
    fg_scope *s = fg_scope_open(ctx);
    fg_tensor *fake = fg_detach(s, fg_layer_forward(s, g, latent(s, BATCH, FG_STREAM_LATENT)));
    fg_tensor *real = ring(s), *slope = NULL;
    if (real) fg_tensor_set_requires_grad(real, true);
    fg_tensor *score = fg_layer_forward(s, d, real);
    fg_grad(s, fg_sum(s, score, NULL, false), NULL, &real, 1, true, true, &slope);
    fg_tensor *r1 = fg_mean(s, fg_sum(s, fg_square(s, slope), FG_AXES(1), false), NULL, false);
    fg_tensor *loss = fg_add(s, fg_mean(s, fg_softplus(s, fg_neg(s, score)), NULL, false),
                             fg_mean(s, fg_softplus(s, fg_layer_forward(s, d, fake)), NULL, false));
    if (loss) fg_tensor_item(loss, loss_out);
    fg_optimizer_zero_grad(opt);
    fg_backward(s, fg_add(s, loss, fg_affine(s, r1, 0.05, 0)));
    fg_status st = fg_scope_close(s); /* the first error of any call above */
    return st == FG_OK ? fg_optimizer_step(opt) : st;
}

/* G learns to fool D: softplus(-D(G(z))). D is frozen meanwhile: no gradients of its weights are computed. */
static fg_status step_g(fg_context *ctx, fg_layer *g, fg_layer *d, fg_optimizer *opt, double *loss_out) {
    fg_scope *s = fg_scope_open(ctx);
    fg_layer_freeze(d, true);
    fg_tensor *score = fg_layer_forward(s, d, fg_layer_forward(s, g, latent(s, BATCH, FG_STREAM_LATENT)));
    fg_tensor *loss = fg_mean(s, fg_softplus(s, fg_neg(s, score)), NULL, false);
    if (loss) fg_tensor_item(loss, loss_out);
    fg_optimizer_zero_grad(opt);
    fg_backward(s, loss);
    fg_layer_freeze(d, false);
    fg_status st = fg_scope_close(s);
    return st == FG_OK ? fg_optimizer_step(opt) : st;
}

/* Mean and standard deviation of the radius over 2000 samples, and how many of SECTORS equal sectors hold samples. */
typedef struct quality {
    double mean, spread;
    int sectors;
} quality;
static fg_status judge(fg_context *ctx, fg_layer *g, quality *q) {
    enum { N = 2000 };
    double sum = 0, squares = 0;
    int count[SECTORS] = { 0 };
    bool grad = fg_set_grad_enabled(ctx, false); /* sampling needs no graph */
    fg_scope *s = fg_scope_open(ctx);
    fg_tensor *y = fg_layer_forward(s, g, latent(s, N, FG_STREAM_SAMPLE)); /* a stream of its own: looking changes nothing */
    const fg_real *p = y ? fg_tensor_data(y) : NULL;
    for (int i = 0; p && i < N; i++) {
        double x = p[2 * i], z = p[2 * i + 1], r = sqrt(x * x + z * z);
        sum += r, squares += r * r;
        count[(int)((atan2(z, x) + PI) / (2 * PI) * SECTORS) % SECTORS]++;
    }
    q->mean = sum / N;
    q->spread = sqrt(fmax(0, squares / N - q->mean * q->mean));
    q->sectors = 0;
    for (int i = 0; i < SECTORS; i++) q->sectors += count[i] >= N / SECTORS / 10;
    fg_set_grad_enabled(ctx, grad);
    return fg_scope_close(s);
}

static int train(long steps, long seed, long threads) {
    char why[160];
    fg_context *ctx = fg_context_new_error(why, sizeof why);
    if (!ctx) {
        fprintf(stderr, "embed: %s\n", why);
        return 1;
    }
    if (threads) fg_set_threads(ctx, (int)threads);
    fg_manual_seed(ctx, (uint64_t)seed);
    fg_layer *g = make_mlp(ctx, LATENT, 2), *d = make_mlp(ctx, 2, 1);
    fg_optimizer *opt_g = g ? make_adam(ctx, g) : NULL, *opt_d = d ? make_adam(ctx, d) : NULL;
    fg_status st = opt_g && opt_d ? FG_OK : fg_last_status(ctx);
    quality q = { 0, 0, 0 };
    for (long i = 1; i <= steps && st == FG_OK; i++) {
        double loss_d = 0, loss_g = 0;
        st = step_d(ctx, g, d, opt_d, &loss_d);
        if (st == FG_OK) st = step_g(ctx, g, d, opt_g, &loss_g);
        if (st == FG_OK && (i % 500 == 0 || i == steps)) {
            st = judge(ctx, g, &q);
            printf("step %5ld  D %.3f  G %.3f  radius %.3f +- %.3f  sectors %d/%d\n", i, loss_d, loss_g, q.mean, q.spread,
                   q.sectors, SECTORS);
        }
    }
    if (st != FG_OK) fprintf(stderr, "embed: %s\n", fg_last_error(ctx));
    bool good = st == FG_OK && fabs(q.mean - RADIUS) < 0.2 && q.spread < 0.5 && q.sectors == SECTORS;
    if (st == FG_OK)
        printf("%s: the ring has radius %.1f +- %.1f and %d sectors\n", good ? "the fakes lie on the ring" : "not yet a ring",
               RADIUS, THICKNESS, SECTORS);
    fg_optimizer_release(opt_g);
    fg_optimizer_release(opt_d);
    fg_layer_release(g);
    fg_layer_release(d);
    fg_context_free(ctx);
    return good ? 0 : 1;
}

/* ---------------------------------------------------------------- a Lua state of our own */
/* Runs protected, so that any Lua error ends here and not in the host. Arguments: script, its arguments as `arg`. */
static int protected_run(lua_State *L) {
    int argc = (int)lua_tointeger(L, 1);
    char **argv = lua_touserdata(L, 2);
    luaL_openlibs(L);
    fg_lua_open(L); /* from here on `require "forger"` works without any file on disk */
    lua_createtable(L, argc - 1, 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_setglobal(L, "arg");

    /* A tensor made in C, in the context of this state, is a global of the script, which may hand one back. */
    fg_context *ctx = fg_lua_context(L);
    fg_scope *s = fg_scope_open(ctx);
    /* Lua takes a reference of its own. Should the push raise, the open scope goes with the state. */
    fg_lua_push(L, fg_full(s, FG_F32, FG_SHAPE(2, 3), 1));
    if (fg_scope_close(s) != FG_OK) return luaL_error(L, "%s", fg_last_error(ctx));
    lua_setglobal(L, "from_host");

    if (luaL_loadfile(L, argv[0]) != LUA_OK) return lua_error(L);
    lua_call(L, 0, 1);
    if (!lua_isnil(L, -1)) {
        double v = 0;
        if (fg_tensor_item(fg_lua_check(L, -1), &v) != FG_OK) return luaL_error(L, "%s", fg_last_error(ctx));
        printf("the script returned %g\n", v);
    }
    return 0;
}

static int run_script(int argc, char **argv) {
    lua_State *L = luaL_newstate();
    if (!L) {
        fprintf(stderr, "embed: out of memory\n");
        return 1;
    }
    lua_pushcfunction(L, protected_run);
    lua_pushinteger(L, argc);
    lua_pushlightuserdata(L, argv);
    int st = lua_pcall(L, 2, 0, 0);
    if (st != LUA_OK) fprintf(stderr, "embed: %s\n", lua_tostring(L, -1) ? lua_tostring(L, -1) : "an error without a message");
    lua_close(L); /* frees the state's context and its tensors */
    return st == LUA_OK ? 0 : 1;
}

/* ---------------------------------------------------------------- command line */
static int misuse(const char *what, const char *value) {
    fprintf(stderr, "embed: %s%s\n%s", what, value, usage);
    return 2;
}

int main(int argc, char **argv) {
    if (argc < 2) return misuse("a mode is missing: c or lua", "");
    for (int i = 1; i < argc && (i == 1 || strcmp(argv[1], "lua")); i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            fputs(usage, stdout);
            return 0;
        }
    if (!strcmp(argv[1], "lua")) {
        if (argc < 3) return misuse("a script is missing", "");
        return run_script(argc - 2, argv + 2);
    }
    if (strcmp(argv[1], "c")) return misuse("unknown mode ", argv[1]);
    static const char *name[] = { "--steps", "--seed", "--threads" };
    static const long least[] = { 1, 0, 1 }, most[] = { 100000000, 2147483647, 64 };
    long value[] = { 2000, 1, 0 };
    for (int i = 2; i < argc; i += 2) {
        int k = 0;
        while (k < 3 && strcmp(argv[i], name[k])) k++;
        if (k == 3) return misuse("unknown option ", argv[i]);
        char *end = NULL;
        if (i + 1 < argc) value[k] = strtol(argv[i + 1], &end, 10);
        if (!end || end == argv[i + 1] || *end || value[k] < least[k] || value[k] > most[k])
            return misuse("a number is needed after ", argv[i]);
    }
    return train(value[0], value[1], value[2]);
}
