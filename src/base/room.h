/* room.h: what the files of base/ share among themselves. */
#ifndef FG_BASE_ROOM_H
#define FG_BASE_ROOM_H

#include "base.h"

fg_allocator *fg_allocator_new(void);
fg_allocator *fg_allocator_keep(fg_allocator *a); /* one fg_allocator_free more is needed to end it */
void fg_allocator_free(
    fg_allocator *a); /* returns slabs, live cells included, and cached blocks; live large blocks are their owners' business */
void fg_allocator_call_ends(fg_allocator *a); /* the outermost public call returns: see fg_memory_fail_nth */

fg_team *fg_team_new(int cores); /* of as many threads as the process has cores */
void fg_team_free(fg_team *team);
/* Joins the running threads and sets how many the next parallel section may use. */
void fg_team_resize(fg_team *team, int threads);
int fg_team_size(const fg_team *team);

#endif
