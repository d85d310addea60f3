/* node.c: making, recording and releasing graph nodes.
 *
 * A node is one allocator cell: header, one edge per input, then a copy of the op's options. Releasing the last tensor of
 * a long chain must not recurse (a sum over 40,000 steps would overflow the stack): a node whose count reaches zero joins
 * a pending list, and only the outermost release drains it. Saved tensors release their own nodes through the same door. */
#include "engine.h"

#include <string.h>

fg_node *fg_node_new(fg_context *ctx, const fg_op *op, int n, const void *opts) {
    size_t edges = sizeof(fg_node) + (size_t)n * sizeof(fg_edge), bytes = edges + op->opts_size;
    fg_node *node = fg_alloc(ctx, bytes);
    if (!node) return NULL;
    memset(node, 0, edges);
    node->refs = 1;
    node->bytes = (uint32_t)bytes;
    node->op = op;
    node->ctx = ctx;
    node->n = (uint16_t)n;
    node->precision = (uint8_t)ctx->precision;
    node->fast_conv = ctx->fast_conv;
    node->opts = (char *)node + edges;
    if (op->opts_size) memcpy(node->opts, opts, op->opts_size);
    return node;
}

void fg_node_drop_saved(fg_node *node) {
    for (int i = 0; i < node->n; i++) {
        fg_release(node->edge[i].saved);
        node->edge[i].saved = NULL;
    }
    fg_release(node->saved_out);
    node->saved_out = NULL;
}

void fg_node_release(fg_context *ctx, fg_node *node) {
    struct fg_autograd *ag = ctx->autograd;
    if (!node || --node->refs) return;
    node->next = ag->pending;
    ag->pending = node;
    if (ag->draining) return;
    ag->draining = true;
    while ((node = ag->pending) != NULL) {
        ag->pending = node->next;
        fg_node_drop_saved(node);
        fg_release(node->grad);
        for (int i = 0; i < node->n; i++) {
            fg_edge *e = &node->edge[i];
            fg_release(e->leaf);
            if (e->node && --e->node->refs == 0) {
                e->node->next = ag->pending;
                ag->pending = e->node;
            }
        }
        fg_free(ctx, node, node->bytes);
    }
    ag->draining = false;
}

void fg_node_record(fg_node *node, fg_tensor *const *in, fg_tensor *y) {
    const fg_op *op = node->op;
    uint32_t need = 0;
    for (int i = 0; i < node->n; i++) {
        fg_tensor *t = in[i];
        fg_edge *e = &node->edge[i];
        if (!t) continue;
        e->shape = t->shape;
        e->dtype = t->dtype;
        if (!t->requires_grad || (i < 32 && (op->no_grad >> i & 1))) continue;
        if (i < 32) need |= 1u << i;
        if (t->node) {
            e->node = t->node;
            t->node->refs++;
        } else {
            e->leaf = fg_keep(t);
        }
    }
    for (int i = 0; i < node->n && i < FG_OP_SAVE_MAX; i++) {
        if (!in[i] || !(op->save_in[i] & need)) continue;
        node->edge[i].saved = fg_keep(in[i]);
        node->edge[i].version = in[i]->storage->version;
    }
    node->shape = y->shape;
    node->dtype = y->dtype;
    node->seq = ++node->ctx->node_seq;
    if ((op->save_out & need) && (!op->save_out_if || op->save_out_if(node->opts)) && node->saved_out) {
        node->out_version = y->storage->version;
    } else {
        fg_release(node->saved_out);
        node->saved_out = NULL;
    }
    y->node = node; /* takes over the caller's reference */
    y->requires_grad = true;
}

static const char *node_name(const fg_node *node) { return node->op->name; }

static fg_status open_room(fg_context *ctx) {
    ctx->autograd = fg_calloc(ctx, sizeof *ctx->autograd);
    if (!ctx->autograd) return FG_ENOMEM;
    ctx->grad_enabled = true;
    ctx->tensors->node_release = fg_node_release;
    ctx->tensors->node_name = node_name;
    return FG_OK;
}

static void close_room(fg_context *ctx) {
    fg_free(ctx, ctx->autograd, sizeof *ctx->autograd);
    ctx->autograd = NULL;
}

const fg_room fg_room_autograd = { "autograd", open_room, close_room };
