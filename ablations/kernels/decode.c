/* Boxes of stored images, resized: of a JPEG no more is decoded than its box needs.

   The filter is Pillow's: a triangle over max(1, scale) source pixels to each side, its weights normalised at the edges.
   First the rows of the window are mixed to rows of the output, sixteen-bit with eight bits of fraction, then pixels
   within a row, in float. Pixels have four bytes on the way, so that a pixel is a vector. */
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jpeglib.h>

enum { FINE, WARNED, UNREADABLE, COLOURS };
enum { JPEG, RAW };
enum { MARGIN = 8, LANES = 8, PIXEL = 4 }; /* upsampling of colours looks at neighbours, so some more are decoded */

typedef float vector __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef float pixel __attribute__((vector_size(PIXEL * sizeof(float)), aligned(sizeof(float)), may_alias));

typedef struct { struct jpeg_error_mgr base; jmp_buf back; } errors;
typedef struct { long first, taps; } span;
typedef struct { void *at; size_t size; } block;
typedef struct {
    struct jpeg_decompress_struct jpeg;
    errors errors;
    int made;
    block window, spans[2], weights[2], mixed, row, line;
} scratch; /* of a thread, kept from image to image */

static void leave(j_common_ptr jpeg) { longjmp(((errors *)jpeg->err)->back, 1); }

static void count(j_common_ptr jpeg, int level) { if (level < 0) jpeg->err->num_warnings++; }

static void say_nothing(j_common_ptr jpeg) { (void)jpeg; }

static void *room(block *of, size_t size) {
    if (of->size < size) {
        free(of->at);
        of->at = aligned_alloc(64, (size + 127) / 64 * 64);
        of->size = of->at ? size : 0;
    }
    return of->at;
}

static void release(scratch *mine) {
    if (mine->made) jpeg_destroy_decompress(&mine->jpeg);
    block *every[] = {&mine->window, &mine->spans[0], &mine->spans[1], &mine->weights[0], &mine->weights[1],
                      &mine->mixed, &mine->row, &mine->line};
    for (size_t i = 0; i < sizeof every / sizeof *every; i++) free(every[i]->at);
    memset(mine, 0, sizeof *mine);
}

/* Which source pixels make each of `out` pixels of [from, to), and how much of each: `most` weights a pixel, in float.
   As in Pillow's precompute_coeffs. */
static long taps(double from, double to, long in, long out, block *spans, block *weights) {
    double scale = (to - from) / out, reach = scale < 1 ? 1 : scale;
    long most = (long)ceil(reach) * 2 + 2; /* even, for two pixels are one vector */
    span *at = room(spans, out * sizeof *at);
    float *weight = room(weights, out * most * sizeof *weight);
    if (!at || !weight) return 0;
    for (long i = 0; i < out; i++, weight += most) {
        double centre = from + (i + 0.5) * scale, total = 0;
        long first = (long)(centre - reach + 0.5), last = (long)(centre + reach + 0.5);
        if (centre - reach + 0.5 < 0) first = 0;
        if (last > in) last = in;
        if (first > in - 1) first = in - 1;
        if (last <= first) last = first + 1;
        for (long k = 0; k < most; k++) {
            double far = fabs((k + first - centre + 0.5) / reach);
            weight[k] = k < last - first && far < 1 ? (float)(1 - far) : 0;
            total += weight[k];
        }
        if (total == 0) total = weight[0] = 1;
        for (long k = 0; k < most; k++) weight[k] /= (float)total;
        at[i].first = first;
        at[i].taps = last - first;
    }
    return most;
}

/* The rows [top, bottom) and at least the columns [*left, *right) of a JPEG, four bytes a pixel, into the window. */
static int decoded(scratch *mine, const uint8_t *data, size_t size, long height, long width, long top, long bottom,
                   long *left, long *right) {
    struct jpeg_decompress_struct *jpeg = &mine->jpeg;
    if (!mine->made) {
        jpeg->err = jpeg_std_error(&mine->errors.base);
        mine->errors.base.error_exit = leave;
        mine->errors.base.emit_message = count;
        mine->errors.base.output_message = say_nothing;
    }
    if (setjmp(mine->errors.back)) {
        jpeg_abort_decompress(jpeg);
        return UNREADABLE;
    }
    if (!mine->made) {
        jpeg_create_decompress(jpeg);
        mine->made = 1;
    }
    mine->errors.base.num_warnings = 0;
    jpeg_mem_src(jpeg, data, size);
    jpeg_read_header(jpeg, TRUE);
    int colours = jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK;
    if (colours || (long)jpeg->image_width != width || (long)jpeg->image_height != height) {
        jpeg_abort_decompress(jpeg);
        return colours ? COLOURS : UNREADABLE;
    }
    jpeg->out_color_space = JCS_EXT_RGBX;
    jpeg->dct_method = JDCT_ISLOW;
    jpeg_start_decompress(jpeg);
    JDIMENSION from = *left > MARGIN ? *left - MARGIN : 0;
    JDIMENSION across = (*right + MARGIN < width ? *right + MARGIN : width) - from;
    if (from || across < (JDIMENSION)width) jpeg_crop_scanline(jpeg, &from, &across);
    *left = from;
    *right = from + across;
    size_t stride = (size_t)across * PIXEL;
    uint8_t *window = room(&mine->window, stride * (bottom - top) + 64);
    if (!window) leave((j_common_ptr)jpeg);
    long begin = top > MARGIN ? top - MARGIN : 0;
    if (begin) jpeg_skip_scanlines(jpeg, begin);
    JSAMPROW row = window;
    while ((long)jpeg->output_scanline < top) jpeg_read_scanlines(jpeg, &row, 1);
    while ((long)jpeg->output_scanline < bottom) {
        row = window + (jpeg->output_scanline - top) * stride;
        jpeg_read_scanlines(jpeg, &row, 1);
    }
    long warnings = mine->errors.base.num_warnings;
    jpeg_abort_decompress(jpeg);
    return warnings ? WARNED : FINE;
}

/* One row of the output in sixteen bits out of `taps` rows of bytes; a weight of 1 is 65535. */
static void mix(const uint8_t *restrict from, size_t stride, long taps, const float *weights, uint16_t *restrict to,
                size_t n) {
    uint16_t share[64];
    const uint8_t *restrict a = from, *restrict b = from + stride, *restrict c = b + stride, *restrict d = c + stride;
    for (long k = 0; k < 4; k++) share[k] = k < taps ? (uint16_t)(weights[k] * 65535 + 0.5f) : 0;
#define PART(of, by) ((uint16_t)(((uint32_t)(uint16_t)((of) << 8) * (by)) >> 16))
    switch (taps < 4 ? taps : 4) {
    case 1: for (size_t i = 0; i < n; i++) to[i] = PART(a[i], share[0]); break;
    case 2: for (size_t i = 0; i < n; i++) to[i] = PART(a[i], share[0]) + PART(b[i], share[1]); break;
    case 3: for (size_t i = 0; i < n; i++) to[i] = PART(a[i], share[0]) + PART(b[i], share[1]) + PART(c[i], share[2]); break;
    default:
        for (size_t i = 0; i < n; i++)
            to[i] = PART(a[i], share[0]) + PART(b[i], share[1]) + PART(c[i], share[2]) + PART(d[i], share[3]);
    }
    for (long k = 4; k < taps; k++) {
        const uint8_t *restrict more = from + k * stride;
        uint16_t by = (uint16_t)(weights[k] * 65535 + 0.5f);
        for (size_t i = 0; i < n; i++) to[i] += PART(more[i], by);
    }
}

static void widened(const uint16_t *restrict from, float *restrict to, long pixels, int channels) {
    if (channels == PIXEL)
        for (long i = 0; i < pixels * PIXEL; i++) to[i] = from[i];
    else
        for (long i = 0; i < pixels; i++) {
            to[4 * i] = from[3 * i];
            to[4 * i + 1] = from[3 * i + 1];
            to[4 * i + 2] = from[3 * i + 2];
            to[4 * i + 3] = 0;
        }
}

/* Pixels of one row out of pixels of one row, both in float; the weights stand once for each channel. */
static void across(const float *restrict row, long left, const span *spans, const float *restrict weights, long most,
                   long width, float *restrict to) {
    for (long x = 0; x < width; x++, weights += most * PIXEL) {
        const float *at = row + (spans[x].first - left) * PIXEL;
        vector sum = *(const vector *)at * *(const vector *)weights;
        for (long k = 2; k < spans[x].taps; k += 2)
            sum += *(const vector *)(at + k * PIXEL) * *(const vector *)(weights + k * PIXEL);
        *(pixel *)(to + x * PIXEL) = __builtin_shufflevector(sum, sum, 0, 1, 2, 3)
                                   + __builtin_shufflevector(sum, sum, 4, 5, 6, 7);
    }
}

/* Sixteen-bit pixels in float to three bytes each, mirrored or not. Each is written with the byte behind it, which the
   next one overwrites; the last one of the last row is not. */
static void written(const float *restrict from, uint8_t *restrict line, uint8_t *restrict to, long width, int flip,
                    int last) {
    for (long i = 0; i < width * PIXEL; i++) line[i] = (uint8_t)(int)(from[i] * (255.0f / (255 * 255.99609375f)) + 0.5f);
    for (long i = 0; i < width - last; i++) memcpy(to + 3 * i, line + PIXEL * (flip ? width - 1 - i : i), PIXEL);
    if (last) memcpy(to + 3 * (width - 1), line + PIXEL * (flip ? 0 : width - 1), 3);
}

static int cropped(scratch *mine, const uint8_t *data, size_t size, int mode, long height, long width,
                   const double box[4], int flip, long out_height, long out_width, uint8_t *out) {
    int status = FINE, channels = mode == RAW ? 3 : PIXEL;
    if (!(box[0] >= 0 && box[1] >= 0 && box[2] > box[0] && box[3] > box[1])) return UNREADABLE;
    long most_x = taps(box[0], box[2], width, out_width, &mine->spans[0], &mine->weights[0]);
    long most_y = taps(box[1], box[3], height, out_height, &mine->spans[1], &mine->weights[1]);
    if (!most_x || !most_y) return UNREADABLE;
    const span *xs = mine->spans[0].at, *ys = mine->spans[1].at;
    long left = xs[0].first, right = 0, top = ys[0].first, bottom = 0;
    for (long i = 0; i < out_width; i++) if (xs[i].first + xs[i].taps > right) right = xs[i].first + xs[i].taps;
    for (long i = 0; i < out_height; i++) if (ys[i].first + ys[i].taps > bottom) bottom = ys[i].first + ys[i].taps;
    const uint8_t *window;
    size_t stride;
    if (mode == RAW) {
        if (size != (size_t)height * width * 3) return UNREADABLE;
        stride = (size_t)width * 3;
        window = data + top * stride + left * 3;
    } else {
        long need = left;
        status = decoded(mine, data, size, height, width, top, bottom, &left, &right);
        if (status > WARNED) return status;
        stride = (size_t)(right - left) * PIXEL;
        window = (uint8_t *)mine->window.at + (need - left) * PIXEL;
        left = need;
    }
    long pixels = 0;
    for (long i = 0; i < out_width; i++)
        if (xs[i].first + xs[i].taps - left > pixels) pixels = xs[i].first + xs[i].taps - left;
    uint16_t *mixed = room(&mine->mixed, (size_t)(pixels + 16) * PIXEL * sizeof *mixed);
    float *row = room(&mine->row, ((size_t)(pixels + 16) + out_width) * PIXEL * sizeof *row);
    float *wide = room(&mine->line, (size_t)out_width * (most_x + 2) * PIXEL * sizeof *wide);
    if (!mixed || !row || !wide) return UNREADABLE;
    float *made = row + (pixels + 16) * PIXEL;
    uint8_t *line = (uint8_t *)(wide + out_width * most_x * PIXEL);
    const float *narrow = mine->weights[0].at, *down = mine->weights[1].at;
    for (long i = 0; i < out_width * most_x; i++)
        for (int c = 0; c < PIXEL; c++) wide[i * PIXEL + c] = narrow[i];
    memset(row + pixels * PIXEL, 0, 16 * PIXEL * sizeof *row); /* weightless, but no number would be NaN times zero */
    for (long y = 0; y < out_height; y++) {
        mix(window + (ys[y].first - top) * stride, stride, ys[y].taps, down + y * most_y, mixed, pixels * channels);
        widened(mixed, row, pixels, channels);
        across(row, left, xs, wide, most_x, out_width, made);
        written(made, line, out + y * out_width * 3, out_width, flip, y == out_height - 1);
    }
    return status;
}

/* One image, for a thread that is somebody else's; its scratch stays with it. */
void decode_crop(const uint8_t *data, uint64_t size, uint32_t mode, uint32_t height, uint32_t width, double x0,
                 double y0, double x1, double y1, uint32_t flip, uint32_t out_height, uint32_t out_width, uint8_t *out,
                 uint8_t *status) {
    static _Thread_local scratch mine;
    const double box[4] = {x0, y0, x1, y1};
    *status = cropped(&mine, data, size, mode, height, width, box, flip, out_height, out_width, out);
}

typedef struct {
    const uint8_t *data;
    const uint64_t *pointers, *sizes;
    const uint8_t *modes;
    const uint16_t *heights, *widths;
    const double *boxes;
    const uint8_t *flips;
    uint8_t *out, *statuses;
    long count, height, width;
    atomic_long next;
} batch;

static void *work(void *given) {
    batch *of = given;
    scratch mine = {0};
    for (long i; (i = atomic_fetch_add(&of->next, 1)) < of->count;)
        of->statuses[i] = cropped(&mine, of->data + of->pointers[i], of->sizes[i], of->modes[i], of->heights[i],
                                  of->widths[i], of->boxes + 4 * i, of->flips[i], of->height, of->width,
                                  of->out + i * of->height * of->width * 3);
    release(&mine);
    return NULL;
}

/* A batch, over so many threads. */
void decode_crops(const uint8_t *data, const uint64_t *pointers, const uint64_t *sizes, const uint8_t *modes,
                  const uint16_t *heights, const uint16_t *widths, const double *boxes, const uint8_t *flips,
                  uint8_t *out, uint8_t *statuses, long count, long height, long width, long threads) {
    batch of = {data, pointers, sizes, modes, heights, widths, boxes, flips, out, statuses, count, height, width, 0};
    pthread_t others[256];
    long started = 0;
    while (started < threads - 1 && started < 256 && !pthread_create(&others[started], NULL, work, &of)) started++;
    work(&of);
    while (started) pthread_join(others[--started], NULL);
}
