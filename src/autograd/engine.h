/* engine.h: what node.c and engine.c share. */
#ifndef FG_ENGINE_H
#define FG_ENGINE_H

#include "node.h"

void fg_node_drop_saved(fg_node *node);

#endif
