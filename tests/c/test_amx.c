/* test_amx.c: the bf16 kernels for AMX, compiled a second time over portable stand-ins for the tile operations, so that packing,
 * runs and edges are checked on every machine; and the library's own on machines that have AMX. The cases are in amx_cases.h.
 * Here packing is plain C too; test_amx_vectors.c has the same checks with the vectors of amx_blocks.h. */
#define FG_AMX_STANDIN
#include "conv_amx_body.h"
#include "conv_amx_dw_body.h"
#include "gemm_amx_body.h"
#include "amx_cases.h"

int main(void) { return run_suite("amx"); }
