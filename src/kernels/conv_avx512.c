/* conv_avx512.c: convolution for AVX-512. FWD and DX are in conv_body.h, DW in conv_dw_body.h, the register tiles in
 * tile_body.h, the vectors in tile_avx512.h. */
#include "tile_avx512.h"
#include "conv_body.h"
#include "conv_dw_body.h"

static void conv_run(const fg_conv_plan *p, const fg_conv_args *a, int chunk, int worker) {
    float *scratch = (float *)((char *)a->scratch + (size_t)worker * p->scratch);
    if (p->dir == FG_CONV_DW) run_dw(p, a, chunk, scratch);
    else run_band(p, a, chunk, scratch);
}

static const fg_conv_kernel direct = {
    .name = "direct", .isa = ISA_LEVEL, .plan = conv_plan, .pack = conv_pack, .run = conv_run, .finish = finish_dw
};

void fg_kernels_avx512_conv(fg_kernels *k) {
    fg_conv_prefer(k, &direct);
    fg_conv_prefer(k, &fg_conv_narrow_avx512);
}
