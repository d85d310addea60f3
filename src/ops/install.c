/* install.c: the top of the core. Lists the rooms that complete a context and gives the engine the recorded ops that it
 * needs; the table of all ops is expanded here from ops.def. */
#include "op.h"
#include "packed.h"

#include <string.h>

const fg_op *const fg_op_table[] = {
#define FG_OP(name) &fg_op_##name,
#include "ops.def"
#undef FG_OP
    NULL
};

const fg_op *fg_op_find(const char *name) {
    for (int i = 0; fg_op_table[i]; i++)
        if (!strcmp(fg_op_table[i]->name, name)) return fg_op_table[i];
    return NULL;
}

static fg_status open_room(fg_context *ctx) {
    ctx->autograd->add = fg_add;
    ctx->autograd->cast = fg_cast;
    return FG_OK;
}

static void close_room(fg_context *ctx) { (void)ctx; }

static const fg_room fg_room_ops = { "ops", open_room, close_room };

/* A room is a constant of another file, which C does not let an initialiser copy: each gets a pair of doors here. */
#define DOORS(room)                                                                                                              \
    static fg_status open_##room(fg_context *ctx) { return fg_room_##room.open(ctx); }                                           \
    static void close_##room(fg_context *ctx) { fg_room_##room.close(ctx); }
DOORS(kernels)
DOORS(tensor)
DOORS(autograd)
DOORS(ops)
DOORS(packed)
#define ROOM(room)                                                                                                               \
    { #room, open_##room, close_##room }
const fg_room fg_rooms[] = { ROOM(kernels), ROOM(tensor), ROOM(autograd), ROOM(ops), ROOM(packed), { NULL, NULL, NULL } };
