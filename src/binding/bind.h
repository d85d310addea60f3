/* bind.h: what the files of binding/ share.
 *
 * One `binding` per Lua state: the context, one permanent scope, the identity of the metatables, the garbage rule's counters.
 * It is the memory of a full userdata that every C closure carries as upvalue 1, so it outlives all of them; its __gc runs last
 * (finalizers run in reverse order of marking) and frees the context.
 *
 * The rule that keeps errors from leaking: no C resource is held across a Lua call that can raise. A result's userdata is
 * made first, then the op runs between fg_enter and fg_leave without touching Lua, then errors are raised. */
#ifndef FG_BIND_H
#define FG_BIND_H

#include "op.h"
#include "forger_lua.h"

#include <lauxlib.h>
#include <lua.h>

typedef struct bind_scope bind_scope;

/* The userdata of a tensor. t is NULL once it was freed; why then says by whom. */
typedef struct bind_handle {
    fg_tensor *t;
    bind_scope *owner; /* the fg.scope that will free it, or NULL */
    uint32_t slot;     /* its place in owner; once freed by a scope: the number of the scope's opening line */
    uint8_t why;       /* 0 alive, else bind_why */
    bool interned;     /* listed in the weak table by its tensor's address */
} bind_handle;
enum bind_why { BIND_FREED = 1, BIND_SCOPE, BIND_COLLECTED };

/* A Lua scope: the handles made while it is the innermost one. */
struct bind_scope {
    bind_scope *outer;
    bind_handle **items;
    uint32_t n, cap;
    uint32_t place; /* number of the line that opened it */
    bool open;
};

typedef struct binding {
    fg_context *ctx;
    fg_scope *scope;
    const void *tensor_mt, *layer_mt, *optimizer_mt, *ema_mt, *scope_mt; /* identities */
    int ref_tensor_mt, ref_interned, ref_places, ref_fields;
    bind_scope *top;
    size_t mark, allowance; /* live bytes after the last collection; how much may grow before the next */
    bool closed;
    size_t lib_len;
    char lib[256]; /* start of the chunk names of our own Lua files: errors point past them */
} binding;

/* ---------------------------------------------------------------- state (bind_state.c) */
/* The binding of the running C closure. Raises when the state is closing. bind_enter also applies the garbage rule, so call
 * it first, before any argument is unpacked. */
binding *bind_self(lua_State *L);
binding *bind_enter(lua_State *L);
binding *bind_find(lua_State *L); /* for hosts: opens the module when needed */
void bind_collect(lua_State *L, binding *b);
/* Raises msg with the position of the first caller outside our own Lua files. */
int bind_raise(lua_State *L, binding *b, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Raises what the core said last and clears it. */
int bind_raise_last(lua_State *L, binding *b);
/* Copies the core's error (the scope's first one) into msg and clears scope and context. */
fg_status bind_take_error(binding *b, char msg[FG_ERROR_CAP]);
/* "bad argument #arg to 'fname' (...)" */
int bind_arg_error(lua_State *L, binding *b, const char *fname, int arg, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* Adds functions with the binding as upvalue 1 to the table at the top. */
void bind_funcs(lua_State *L, binding *b, const luaL_Reg *funcs);
void bind_push_self(lua_State *L);

/* ---------------------------------------------------------------- handles (bind_handle.c) */
void bind_handles_open(lua_State *L, binding *b, int core); /* tensor metatable, scopes; core: index of the module table */
bind_handle *bind_new_handle(lua_State *L, binding *b);     /* pushes an empty one */
void bind_fill(bind_handle *h, fg_tensor *t);               /* takes over the caller's reference */
void bind_push(lua_State *L, binding *b, fg_tensor *t);     /* borrowed tensor, interned; NULL pushes nil */
void bind_intern(lua_State *L, binding *b, int idx);        /* the handle at idx is the one for its tensor from now on */
bool bind_is_tensor(lua_State *L, binding *b, int idx);
fg_tensor *bind_to_tensor(lua_State *L, binding *b, int idx); /* NULL when no tensor; raises when freed */
fg_tensor *bind_check_tensor(lua_State *L, binding *b, const char *fname, int idx);
bind_handle *bind_check_handle(lua_State *L, binding *b, const char *fname, int idx);
void bind_free_handle(lua_State *L, binding *b, bind_handle *h, int why);
void *bind_check_object(lua_State *L, binding *b, const void *mt, size_t size, const char *fname, int idx, const char *noun);

/* Runs make(s, arg) in the permanent scope and pushes its result as a new tensor; out of memory collects garbage and tries
 * once more. bind_try pushes nil and the message instead of raising. */
typedef fg_tensor *(*bind_make_fn)(fg_scope *s, void *arg);
int bind_make(lua_State *L, binding *b, bind_make_fn make, void *arg);
int bind_try(lua_State *L, binding *b, bind_make_fn make, void *arg);

/* ---------------------------------------------------------------- arguments (bind_args.c) */
bool bind_to_int(lua_State *L, int idx, lua_Integer *out); /* an integer or a float with an integral value; no strings */
lua_Integer bind_check_int(lua_State *L, binding *b, const char *fname, int idx);
double bind_check_number(lua_State *L, binding *b, const char *fname, int idx);
int bind_check_axis(lua_State *L, binding *b, const char *fname, int idx, int ndim); /* 1-based or negative -> 0-based */
const char *bind_type_name(lua_State *L, binding *b, int idx);                       /* "a tensor", "nil", "a string 'x'" */
/* Fills opts with the defaults of attrs. */
void bind_attr_defaults(const fg_attr *attrs, void *opts);
/* Reads one attribute from the value at idx. where: how the message names it ("option 'stride'"). */
void bind_read_attr(lua_State *L, binding *b, const char *fname, const fg_attr *a, void *opts, int idx);
/* Reads attributes from arguments first..top: positional ones (at most `positional`), then one table of named ones. */
void bind_read_attrs(lua_State *L, binding *b, const char *fname, const fg_attr *attrs, int positional, void *opts, int first);
void bind_push_attr(lua_State *L, const fg_attr *a, const void *opts); /* pushes its value as Lua writes it */
const fg_attr *bind_find_attr(const fg_attr *attrs, const char *name);
/* Raises "unknown option 'strides', did you mean 'stride'?"; names: a NULL-ended list. */
int bind_unknown(lua_State *L, binding *b, const char *fname, const char *noun, const char *name, const char *const *names);
/* A shape from a table of sizes at idx, or from numbers idx, idx+1, ...; *next is the first index behind them. */
void bind_check_shape(lua_State *L, binding *b, const char *fname, int idx, fg_shape *out, int *next);
void bind_push_shape(lua_State *L, const fg_shape *sh);
fg_stream bind_check_stream(lua_State *L, binding *b, const char *fname, int idx);
fg_dtype bind_check_dtype(lua_State *L, binding *b, const char *fname, int idx);
/* A Lua array of tensors at idx as a C array in a userdata that it pushes. */
fg_tensor **bind_check_list(lua_State *L, binding *b, const char *fname, int idx, int *n);
/* Ids: an i32 tensor as it is (u8 converted), or a Lua array of 1-based positions made into one. */
void bind_ids(lua_State *L, binding *b, const char *fname, int idx);

/* ---------------------------------------------------------------- rooms; each adds to the module table at index core */
void bind_ops_open(lua_State *L, binding *b, int core);
void bind_create_open(lua_State *L, binding *b, int core);
void bind_access_open(lua_State *L, binding *b, int core);
void bind_grad_open(lua_State *L, binding *b, int core);
void bind_layers_open(lua_State *L, binding *b, int core);
void bind_optim_open(lua_State *L, binding *b, int core);
void bind_system_open(lua_State *L, binding *b, int core);
void bind_json_open(lua_State *L, binding *b, int core);
void bind_files_open(lua_State *L, binding *b, int core);

#endif
