/* pixels.h: what the image writers share: numbers to bytes, and the shapes of images. */
#ifndef FG_PIXELS_H
#define FG_PIXELS_H

#include "tensor.h"

/* [H,W] or [H,W,C] with C = 1, 3, 4 (with lead: one more axis before them); false when t is no such image. */
typedef struct fg_image_dims {
    int64_t n, h, w, c;
} fg_image_dims;
bool fg_image_dims_of(const fg_tensor *t, bool lead, fg_image_dims *d);
/* count pixels of t from element index first on (c channels each) into out[count][c]. lo..hi maps to 0..255 as fg_png_save
 * says; x, y: position of the first pixel, for the chequerboard of NaN in grey; pixels lie in one row. */
void fg_pixels_to_bytes(const fg_tensor *t, int64_t first, int64_t count, int64_t c, double lo, double hi, int64_t x, int64_t y,
                        uint8_t *out);
/* FG_EINVAL unless lo < hi are finite or t is u8; who names the caller. */
fg_status fg_check_range(fg_context *ctx, const char *who, const fg_tensor *t, double lo, double hi);

#endif
