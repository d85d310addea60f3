/* registry.c: the list of all kernels. registry.h says what it is for. */
#include "registry.h"

#include <stddef.h>

static const char *const unary[] = { "affine", "exp",  "log",     "sqrt",     "square", "abs",        "sign",  "sin",
                                     "cos",    "tanh", "sigmoid", "softplus", "relu",   "leaky_relu", "clamp", "pow" };
static const char *const binary[] = { "add", "sub", "mul", "div", "max", "min", "eq", "ne", "lt", "le", "gt", "ge" };
static const char *const losses[] = { "bce", "bce_logits" };
#define COUNT(names) ((int)(sizeof(names) / sizeof *(names)))
_Static_assert(COUNT(unary) == FG_UN_COUNT && COUNT(binary) == FG_BIN_COUNT && COUNT(losses) == FG_LOSS_COUNT, "names");

/* ONE(field, shapes): one kernel. EACH(field, names, shapes): one for each name. LIST(field, most, type, shapes): pointers to
 * kernels that have names of their own. SET(name, first field, pointers, shapes): one kernel in several pointers. */
#define SLOTS(ONE, EACH, LIST, SET)                                                                                              \
    ONE(to_bf16, "x[n] -> y16[n]")                                                                                               \
    ONE(from_bf16, "x16[n] -> y[n]")                                                                                             \
    ONE(from_u8, "x8[n] -> y[n]")                                                                                                \
    EACH(unary, unary, "x[n] -> y[n]")                                                                                           \
    EACH(unary_grad, unary, "dy[n], v[n] -> dx[n]")                                                                              \
    EACH(binary, binary, "a[n or 1], b[n or 1] -> y[n]")                                                                         \
    ONE(select, "c8[n or 1], a[n or 1], b[n or 1] -> y[n]")                                                                      \
    EACH(loss, losses, "x[n], t[n] -> y[n]")                                                                                     \
    EACH(loss_grad, losses, "dy[n], x[n], t[n] -> dx[n]")                                                                        \
    ONE(nonzero, "x[n] -> y8[n]")                                                                                                \
    ONE(axpy, "x[n], y[n] -> y[n]")                                                                                              \
    ONE(copy_strided, "x[n*stride] -> y[n]")                                                                                     \
    ONE(transpose2d, "x[rows][cols] -> y[cols][rows]")                                                                           \
    ONE(bias_act, "y[rows][c], bias[c] -> y[rows][c]")                                                                           \
    ONE(reduce, "x[n] -> a number")                                                                                              \
    ONE(reduce_rows, "x[rows][n] -> y[rows]")                                                                                    \
    ONE(reduce_cols, "x[rows][n] -> y[n]")                                                                                       \
    ONE(argmax, "x[n*stride] -> an index")                                                                                       \
    ONE(sumsq, "x[n] -> a number")                                                                                               \
    ONE(all_finite, "x[n] -> a truth")                                                                                           \
    ONE(log_softmax, "x[rows][n] -> y[rows][n]")                                                                                 \
    ONE(log_softmax_grad, "dy[rows][n], y[rows][n] -> dx[rows][n]")                                                              \
    ONE(bn_moments, "x[rows][c] -> mean[c], m2[c]")                                                                              \
    ONE(bn_apply, "x[rows][c], scale[c], shift[c] -> y[rows][c]")                                                                \
    ONE(bn_grad_sums, "dy, y, x[rows][c], mean[c] -> sum_g[c], sum_gx[c]")                                                       \
    ONE(bn_grad_apply, "dy, y, x[rows][c], mean, a, b, k[c] -> dx[rows][c]")                                                     \
    ONE(act_grad_sums, "dy, y[rows][c] -> g[rows][c], sum[c]")                                                                   \
    ONE(uniform, "key, offset, first -> y[n]")                                                                                   \
    ONE(normal, "key, offset, first -> y[n]")                                                                                    \
    ONE(dropout, "x[n], key, offset, first -> y[n]")                                                                             \
    ONE(avg_pool, "x[images][h][w][c] -> y[images][oh][ow][c]")                                                                  \
    ONE(avg_pool_adjoint, "dy[images][oh][ow][c] -> dx[images][h][w][c]")                                                        \
    ONE(max_pool, "x[images][h][w][c] -> y, where[images][oh][ow][c]")                                                           \
    ONE(upsample, "x[images][h][w][c] -> y[images][h*fh][w*fw][c]")                                                              \
    SET(gemm, gemm_plan, 4, "a[m][k], b[k][n], bias[n] -> c[m][n], transposed or not")                                           \
    LIST(gemm16, FG_GEMM16_KERNELS, fg_gemm16_kernel, "a16[m][k], b16[k][n], bias[n] -> c or c16[m][n], transposed or not")      \
    LIST(conv, FG_CONV_KERNELS, fg_conv_kernel, "two of x[n][h][w][ci], w[kh][kw][ci][co], y[n][oh][ow][co] -> the third")       \
    ONE(adam, "p, g, m, v[n] -> p, m, v[n]")                                                                                     \
    ONE(rmsprop, "p, g, v, buf[n] -> p, v, buf[n]")                                                                              \
    ONE(sgd, "p, g, buf[n] -> p, buf[n]")                                                                                        \
    ONE(ema, "e, p[n] -> e[n]")

typedef void (*kernel_fn)(void);
#define SIZE_ONE(field, shapes)              +sizeof(kernel_fn)
#define SIZE_EACH(field, names, shapes)      +sizeof(kernel_fn) * COUNT(names)
#define SIZE_LIST(field, most, type, shapes) +sizeof(const type *) * (most)
#define SIZE_SET(name, field, count, shapes) +sizeof(kernel_fn) * (count)
_Static_assert(sizeof(fg_kernels) == sizeof(const char *) SLOTS(SIZE_ONE, SIZE_EACH, SIZE_LIST, SIZE_SET),
               "a slot of fg_kernels is missing from the list above");

typedef struct slot {
    const char *name;
    size_t offset;
    int count; /* most kernels */
    const char *const *members;
    enum { PLAIN, GEMM16, CONV } kind;
    const char *shapes;
} slot;
#define AT_gemm16                            GEMM16
#define AT_conv                              CONV
#define SLOT_ONE(field, shapes)              { #field, offsetof(fg_kernels, field), 1, NULL, PLAIN, shapes },
#define SLOT_EACH(field, names, shapes)      { #field, offsetof(fg_kernels, field), COUNT(names), names, PLAIN, shapes },
#define SLOT_LIST(field, most, type, shapes) { #field, offsetof(fg_kernels, field), most, NULL, AT_##field, shapes },
#define SLOT_SET(name, field, count, shapes) { #name, offsetof(fg_kernels, field), 1, NULL, PLAIN, shapes },
static const slot slots[] = { SLOTS(SLOT_ONE, SLOT_EACH, SLOT_LIST, SLOT_SET) };

static kernel_fn pointer_of(const fg_kernels *k, const slot *s, int i) {
    return *(const kernel_fn *)(const void *)((const char *)k + s->offset + (size_t)i * sizeof(kernel_fn));
}

/* The lowest level whose table has the same kernel. */
static fg_isa_level brought_by(const fg_kernels *k, fg_isa_level level, const slot *s, int i) {
    for (int l = 0; l < (int)level; l++) {
        const fg_kernels *lower = fg_kernels_for((fg_isa_level)l);
        if (lower && pointer_of(lower, s, i) == pointer_of(k, s, i)) return (fg_isa_level)l;
    }
    return level;
}

bool fg_kernel_at(fg_isa_level level, int i, fg_kernel_info *info) {
    const fg_kernels *k = fg_kernels_for(level);
    if (!k || i < 0) return false;
    for (size_t n = 0; n < sizeof slots / sizeof *slots; n++) {
        const slot *s = &slots[n];
        int count = 0;
        while (count < s->count && (s->kind == PLAIN || (s->kind == CONV ? (const void *)k->conv[count] : k->gemm16[count])))
            count++;
        if (i >= count) {
            i -= count;
            continue;
        }
        *info = (fg_kernel_info){ .slot = s->name, .member = s->members ? s->members[i] : "", .index = i, .shapes = s->shapes };
        if (s->kind == CONV) info->member = k->conv[i]->name, info->isa = k->conv[i]->isa;
        else if (s->kind == GEMM16) info->member = k->gemm16[i]->name, info->isa = k->gemm16[i]->isa;
        else info->isa = brought_by(k, level, s, i);
        return true;
    }
    return false;
}
