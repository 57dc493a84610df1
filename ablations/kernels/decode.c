/* Crops out of stored images: a box of a JPEG or of raw RGB pixels, resized as Pillow resizes it, bit for bit.
 *
 * Of a JPEG only the window that the box needs is decoded (jpeg_skip_scanlines, jpeg_crop_scanline), with libjpeg's
 * exact inverse DCT and its smooth upsampling of colours. Entropy coding cannot be skipped, only left early: after the
 * last row of the window. The filter is Pillow's for BILINEAR, a triangle as wide as the scale, in its own fixed point:
 * along rows first, rounded to bytes, then along columns.
 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef JCS_EXTENSIONS
#error "this jpeglib.h is not libjpeg-turbo's"
#endif

enum { FINE, WARNED, UNREADABLE, COLOURS };
enum { JPEG, RAW };
enum { BITS = 22 };        /* of a weight's fraction, as Pillow has it */
enum { MARGIN = 4 };       /* pixels round a window whose colours are interpolated from their neighbours */
enum { MOST_SCANS = 500 }; /* of a progressive JPEG: a hostile one has thousands, each over the whole image */
enum { MOST_SIDE = 65535 };
enum { ROWS = 4 }; /* filtered side by side, each pixel padded to 4 bytes: 16 lanes */

typedef uint8_t cell __attribute__((vector_size(16)));
typedef uint32_t quad __attribute__((vector_size(16)));

#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLED(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLED(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif

/* Memory that a thread keeps from one image to the next. */
struct memory {
    void *at;
    size_t size;
};

struct scratch {
    struct memory bounds[2], weights[2], exact, lines, columns, filtered, baseline[4];
};

/* Output i of an axis is the sum over k < taps of weights[i * taps + k] * input[first[i] + k]; from..to is read. */
struct axis {
    int from, to, taps;
    int *first;
    int32_t *weights;
};

struct job {
    const uint8_t *data;
    size_t size;
    int mode, height, width;
    const double *box; /* x0, y0, x1, y1 */
    int mirrored, h, w;
    uint8_t *to;
};

struct reader {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr error;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
};

static void *room(struct memory *memory, size_t size)
{
    if (memory->size < size) {
        free(memory->at);
        memory->at = aligned_alloc(64, (size + 63) / 64 * 64);
        memory->size = memory->at ? size : 0;
    }
    return memory->at;
}

#include "baseline.c"

/* Pillow's precompute_coeffs and normalize_coeffs_8bpc, with its box in single precision; reversed where mirrored.
 *
 * Every output gets as many taps as the one with the most, so that no loop over taps has a branch to guess; those that
 * it lacks weigh nothing. Outputs are filled up to a multiple of ROWS.
 */
static int weigh(struct axis *axis, int input, float begin, float end, int outputs, int mirrored,
                 struct memory *bounds, struct memory *kept, struct memory *temporary)
{
    double scale = (double)(end - begin) / outputs;
    double support = scale < 1.0 ? 1.0 : scale, inverse = 1.0 / support;
    int most = (int)ceil(support) * 2 + 1, filled = (outputs + ROWS - 1) / ROWS * ROWS, taps = 0;
    int *first = room(bounds, sizeof(int) * 2 * filled), *last = first + filled;
    double *exact = room(temporary, sizeof(double) * most);
    if (!first || !exact)
        return 0;
    for (int i = 0; i < outputs; i++) {
        double centre = begin + (i + 0.5) * scale;
        int from = (int)(centre - support + 0.5), to = (int)(centre + support + 0.5);
        first[i] = from < 0 ? 0 : from;
        last[i] = to > input ? input : to;
        taps = last[i] - first[i] > taps ? last[i] - first[i] : taps;
    }
    axis->taps = taps;
    axis->from = first[0];
    axis->to = last[outputs - 1];
    axis->weights = room(kept, sizeof(int32_t) * taps * filled);
    if (!axis->weights)
        return 0;
    memset(axis->weights, 0, sizeof(int32_t) * taps * filled);
    for (int i = 0; i < outputs; i++) {
        double centre = begin + (i + 0.5) * scale, sum = 0.0;
        int count = last[i] - first[i], spare = first[i] + taps - axis->to;
        int early = spare > 0 ? spare : 0; /* taps before the first, where those behind the last would leave the input */
        int32_t *weights = axis->weights + (size_t)(mirrored ? outputs - 1 - i : i) * taps + early;
        for (int k = 0; k < count; k++) {
            double distance = fabs((k + first[i] - centre + 0.5) * inverse);
            sum += exact[k] = distance < 1.0 ? 1.0 - distance : 0.0;
        }
        for (int k = 0; k < count; k++)
            weights[k] = (int32_t)(0.5 + (sum != 0.0 ? exact[k] / sum : exact[k]) * (1 << BITS));
        first[i] -= early;
    }
    for (int i = 0, j = outputs - 1; mirrored && i < j; i++, j--) {
        int swapped = first[i];
        first[i] = first[j];
        first[j] = swapped;
    }
    for (int i = outputs; i < filled; i++)
        first[i] = axis->from;
    axis->first = first;
    return 1;
}

/* 16 sums of weighted bytes, `step` apart for the taps of one sum, rounded. Rounded weights may sum to over one. */
static inline __attribute__((always_inline)) cell weighted(const uint8_t *from, size_t step, const int32_t *weights,
                                                           int taps)
{
    const int half = 1 << (BITS - 1);
#if defined(__AVX512F__)
    __m512i sum = _mm512_set1_epi32(half);
    for (int k = 0; k < taps; k++) {
        __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(from + k * step)));
        sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(bytes, _mm512_set1_epi32(weights[k])));
    }
    return (cell)_mm512_cvtusepi32_epi8(_mm512_srli_epi32(sum, BITS));
#elif defined(__AVX2__)
    __m256i low = _mm256_set1_epi32(half), high = low;
    for (int k = 0; k < taps; k++) {
        const uint8_t *at = from + k * step;
        __m256i weight = _mm256_set1_epi32(weights[k]);
        __m256i one = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)at));
        __m256i other = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(at + 8)));
        low = _mm256_add_epi32(low, _mm256_mullo_epi32(one, weight));
        high = _mm256_add_epi32(high, _mm256_mullo_epi32(other, weight));
    }
    __m256i words = _mm256_packus_epi32(_mm256_srli_epi32(low, BITS), _mm256_srli_epi32(high, BITS));
    words = _mm256_permute4x64_epi64(words, 0xd8);
    return (cell)_mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
#else
    uint32_t sum[16];
    cell bytes;
    for (int lane = 0; lane < 16; lane++)
        sum[lane] = half;
    for (int k = 0; k < taps; k++)
        for (int lane = 0; lane < 16; lane++)
            sum[lane] += from[k * step + lane] * (uint32_t)weights[k];
    for (int lane = 0; lane < 16; lane++)
        bytes[lane] = sum[lane] >> BITS < 255 ? sum[lane] >> BITS : 255;
    return bytes;
#endif
}

/* Sets four rows of `width` pixels, each of 4 bytes, beside one another: pixel x of all four is columns[4 x ...]. */
static void interleave(const uint32_t *const rows[ROWS], int width, uint32_t *restrict columns)
{
    const uint32_t *restrict a = rows[0], *restrict b = rows[1], *restrict c = rows[2], *restrict d = rows[3];
    for (int x = 0; x < width; x++) {
        columns[4 * x] = a[x];
        columns[4 * x + 1] = b[x];
        columns[4 * x + 2] = c[x];
        columns[4 * x + 3] = d[x];
    }
}

/* Filters four rows at once into packed RGB rows, `pitch` bytes apart. */
static inline __attribute__((always_inline)) void filter_rows(const struct axis *axis, int outputs,
                                                              const uint8_t *columns, uint8_t *to, size_t pitch,
                                                              int taps)
{
    const int32_t *weights = axis->weights;
    for (int i = 0; i < outputs; i += 4, to += 12) {
        quad pixels[4];
        for (int each = 0; each < 4; each++, weights += taps)
            pixels[each] = (quad)weighted(columns + 16 * (ptrdiff_t)(axis->first[i + each] - axis->from), 16, weights,
                                          taps);
        quad a = SHUFFLED(quad, pixels[0], pixels[1], 0, 4, 1, 5), b = SHUFFLED(quad, pixels[2], pixels[3], 0, 4, 1, 5);
        quad c = SHUFFLED(quad, pixels[0], pixels[1], 2, 6, 3, 7), d = SHUFFLED(quad, pixels[2], pixels[3], 2, 6, 3, 7);
        quad rows[ROWS] = {SHUFFLED(quad, a, b, 0, 1, 4, 5), SHUFFLED(quad, a, b, 2, 3, 6, 7),
                           SHUFFLED(quad, c, d, 0, 1, 4, 5), SHUFFLED(quad, c, d, 2, 3, 6, 7)};
        for (int row = 0; row < ROWS; row++) {
            cell packed = SHUFFLED(cell, (cell)rows[row], (cell)rows[row], 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 3,
                                   3, 3);
            memcpy(to + row * pitch, &packed, sizeof packed);
        }
    }
}

/* Filters columns of rows that are `pitch` bytes apart, into packed rows of `bytes` bytes. */
static inline __attribute__((always_inline)) void filter_columns(const struct axis *axis, int outputs,
                                                                 const uint8_t *from, size_t pitch, size_t bytes,
                                                                 uint8_t *to, int taps)
{
    const int32_t *weights = axis->weights;
    for (int i = 0; i < outputs; i++, to += bytes, weights += taps) {
        const uint8_t *rows = from + (axis->first[i] - axis->from) * pitch;
        size_t x = 0;
        for (; x + 16 <= bytes; x += 16) {
            cell sum = weighted(rows + x, pitch, weights, taps);
            memcpy(to + x, &sum, sizeof sum);
        }
        if (x < bytes) {
            cell sum = weighted(rows + x, pitch, weights, taps);
            memcpy(to + x, &sum, bytes - x);
        }
    }
}

/* Calls `filter` with a constant number of taps where it is a usual one, for then its loop over them is unrolled. */
#define WITH_TAPS(taps, filter, ...)                                                                                   \
    switch (taps) {                                                                                                    \
    case 2: filter(__VA_ARGS__, 2); break;                                                                             \
    case 3: filter(__VA_ARGS__, 3); break;                                                                             \
    case 4: filter(__VA_ARGS__, 4); break;                                                                             \
    case 5: filter(__VA_ARGS__, 5); break;                                                                             \
    case 6: filter(__VA_ARGS__, 6); break;                                                                             \
    default: filter(__VA_ARGS__, taps);                                                                                \
    }

/* A crop under way: its axes, and what its rows pass through. */
struct crop {
    struct axis across, down;
    uint32_t *lines[ROWS];
    uint32_t *columns;
    uint8_t *filtered;
    size_t pitch;
};

static int prepare(struct crop *crop, const struct job *job, struct scratch *scratch)
{
    const double *box = job->box;
    if (!weigh(&crop->across, job->width, box[0], box[2], job->w, job->mirrored, &scratch->bounds[0],
               &scratch->weights[0], &scratch->exact) ||
        !weigh(&crop->down, job->height, box[1], box[3], job->h, 0, &scratch->bounds[1], &scratch->weights[1],
               &scratch->exact))
        return 0;
    crop->columns = room(&scratch->columns, 16 * (size_t)(crop->across.to - crop->across.from));
    crop->pitch = (3 * (size_t)job->w + 2 * 16) / 16 * 16;
    size_t rows = (crop->down.to - crop->down.from + ROWS - 1) / ROWS * ROWS;
    crop->filtered = room(&scratch->filtered, rows * crop->pitch + 16);
    return crop->columns && crop->filtered;
}

/* Makes room for rows of so many pixels, with some to spare behind each for libjpeg's vector instructions. */
static int widen(struct crop *crop, size_t width, struct scratch *scratch)
{
    size_t line = (width + 16 + 15) / 16 * 16;
    uint32_t *lines = room(&scratch->lines, 4 * ROWS * line);
    for (int row = 0; row < ROWS; row++)
        crop->lines[row] = lines + row * line;
    return lines != NULL;
}

/* Takes the next rows of the source, at most four, each beginning with the first column that is read. */
static void take(struct crop *crop, const struct job *job, const uint32_t *const rows[ROWS], int done)
{
#ifdef DECODE_ALONE /* for the benchmark: what libjpeg takes */
    return;
#endif
    interleave(rows, crop->across.to - crop->across.from, crop->columns);
    WITH_TAPS(crop->across.taps, filter_rows, &crop->across, job->w, (const uint8_t *)crop->columns,
              crop->filtered + done * crop->pitch, crop->pitch)
}

static void finish(const struct crop *crop, const struct job *job)
{
#ifdef DECODE_ALONE
    return;
#endif
    WITH_TAPS(crop->down.taps, filter_columns, &crop->down, job->h, crop->filtered, crop->pitch, 3 * (size_t)job->w,
              job->to)
}

static int of_raw(const struct job *job, struct crop *crop, struct scratch *scratch)
{
    int width = crop->across.to - crop->across.from;
    const uint8_t *end = job->data + job->size;
    const uint32_t *rows[ROWS];
    if (!widen(crop, width, scratch))
        return UNREADABLE;
    for (int row = 0; row < ROWS; row++)
        rows[row] = crop->lines[row];
    for (int done = 0, height = crop->down.to - crop->down.from; done < height; done += ROWS) {
        for (int row = 0; row < ROWS && done + row < height; row++) {
            const uint8_t *from =
                job->data + 3 * ((size_t)(crop->down.from + done + row) * job->width + crop->across.from);
            int safe = end - from > 3 * (ptrdiff_t)width ? width : width - 1; /* four bytes are read of each pixel */
            for (int x = 0; x < safe; x++)
                memcpy(crop->lines[row] + x, from + 3 * x, 4);
            if (safe < width)
                memcpy(crop->lines[row] + safe, from + 3 * safe, 3);
        }
        take(crop, job, rows, done);
    }
    finish(crop, job);
    return FINE;
}

static void fail(j_common_ptr jpeg) { longjmp(((struct reader *)jpeg)->failed, 1); }

static void say_nothing(j_common_ptr jpeg) { (void)jpeg; }

static void count(j_common_ptr jpeg, int level)
{
    if (level < 0)
        jpeg->err->num_warnings++;
}

static void limit_scans(j_common_ptr jpeg)
{
    if (jpeg->is_decompressor && ((j_decompress_ptr)jpeg)->input_scan_number > MOST_SCANS)
        fail(jpeg);
}

/* Whether a window of this sampling is the same as out of the whole image: 4:4:4, 4:2:2, 4:4:0, 4:2:0 and grey. */
static int usual(const struct jpeg_decompress_struct *jpeg)
{
    if (jpeg->max_h_samp_factor > 2 || jpeg->max_v_samp_factor > 2)
        return 0;
    for (int each = 1; each < jpeg->num_components; each++)
        if (jpeg->comp_info[each].h_samp_factor != 1 || jpeg->comp_info[each].v_samp_factor != 1)
            return 0;
    return 1;
}

static int of_jpeg(const struct job *job, struct crop *crop, struct scratch *scratch)
{
    struct reader reader;
    struct jpeg_decompress_struct *jpeg = &reader.jpeg;
    jpeg->err = jpeg_std_error(&reader.error);
    reader.error.error_exit = fail;
    reader.error.output_message = say_nothing;
    reader.error.emit_message = count;
    volatile int created = 0;
    if (setjmp(reader.failed)) {
        if (created)
            jpeg_destroy_decompress(jpeg);
        return UNREADABLE;
    }
    jpeg_create_decompress(jpeg);
    created = 1;
    reader.progress.progress_monitor = limit_scans;
    jpeg->progress = &reader.progress;
    jpeg_mem_src(jpeg, (unsigned char *)job->data, job->size);
    jpeg_read_header(jpeg, TRUE);
    if ((int)jpeg->image_width != job->width || (int)jpeg->image_height != job->height)
        fail((j_common_ptr)jpeg);
    if (jpeg->num_components != 1 && jpeg->num_components != 3) {
        jpeg_destroy_decompress(jpeg);
        return COLOURS;
    }
    jpeg->out_color_space = JCS_EXT_RGBX;
    jpeg->dct_method = JDCT_ISLOW;
    jpeg->do_fancy_upsampling = TRUE;
    jpeg->do_block_smoothing = FALSE; /* of progressive images that end early: differs in a window */
    jpeg_start_decompress(jpeg);

    int from = crop->across.from, to = crop->across.to, top = crop->down.from;
    JDIMENSION left = 0, width = jpeg->output_width;
    if (usual(jpeg)) {
        int beside = jpeg->max_h_samp_factor > 1 ? MARGIN : 0, above = jpeg->max_v_samp_factor > 1 ? MARGIN : 0;
        left = from > beside ? from - beside : 0;
        width = (to + beside < job->width ? to + beside : job->width) - left;
        if (width < jpeg->output_width)
            jpeg_crop_scanline(jpeg, &left, &width);
        if (top > above)
            jpeg_skip_scanlines(jpeg, top - above);
    }
    if (!widen(crop, jpeg->output_width, scratch))
        fail((j_common_ptr)jpeg);
    int height = crop->down.to - top, done = 0;
    while (done < height) {
        int skipped = (int)jpeg->output_scanline < top;
        JSAMPROW lines[ROWS];
        const uint32_t *rows[ROWS];
        int got = 0, wanted = skipped ? 1 : height - done < ROWS ? height - done : ROWS;
        for (int row = 0; row < ROWS; row++) {
            lines[row] = (JSAMPROW)crop->lines[row];
            rows[row] = crop->lines[row] + (from - (int)left);
        }
        while (got < wanted)
            got += jpeg_read_scanlines(jpeg, lines + got, wanted - got);
        if (!skipped) {
            take(crop, job, rows, done);
            done += got;
        }
    }
    int warned = reader.error.num_warnings > 0;
    jpeg_destroy_decompress(jpeg);
    finish(crop, job);
    return warned ? WARNED : FINE;
}

/* Without libjpeg; returns 0 where the image is not for that. */
static int of_baseline(const struct job *job, struct crop *crop, struct scratch *scratch)
{
#ifdef LIBJPEG_ALONE /* for tests and the benchmark */
    return 0;
#endif
    int left = crop->across.from, top = crop->down.from, width = crop->across.to - left, height = crop->down.to - top;
    if (!baseline_window(scratch->baseline, job->data, job->size, job->height, job->width, top, crop->down.to, left,
                         crop->across.to))
        return 0;
    const uint32_t *window = scratch->baseline[0].at;
    for (int done = 0; done < height; done += ROWS) {
        const uint32_t *rows[ROWS];
        for (int row = 0; row < ROWS; row++)
            rows[row] = window + (size_t)width * (done + row < height ? done + row : height - 1);
        take(crop, job, rows, done);
    }
    finish(crop, job);
    return 1;
}

static int valid(const struct job *job)
{
    float x0 = job->box[0], y0 = job->box[1], x1 = job->box[2], y1 = job->box[3];
    return job->height > 0 && job->width > 0 && job->height <= MOST_SIDE && job->width <= MOST_SIDE && job->h > 0 &&
           job->w > 0 && job->h <= MOST_SIDE && job->w <= MOST_SIDE && x0 >= 0 && y0 >= 0 && x1 <= job->width &&
           y1 <= job->height && x0 < x1 && y0 < y1;
}

static int of_stored(const struct job *job, struct scratch *scratch)
{
    struct crop crop;
    if (!scratch || !valid(job) || !prepare(&crop, job, scratch))
        return UNREADABLE;
    if (job->mode == JPEG && of_baseline(job, &crop, scratch))
        return FINE;
#ifdef BASELINE_ALONE /* for tests, which see what is left to libjpeg */
    return UNREADABLE;
#endif
    if (job->mode == JPEG)
        return of_jpeg(job, &crop, scratch);
    if (job->mode != RAW || job->size != 3 * (size_t)job->height * job->width)
        return UNREADABLE;
    return of_raw(job, &crop, scratch);
}

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int keyed;

static void discard(void *old)
{
    struct scratch *scratch = old;
    for (int each = 0; each < 2; each++) {
        free(scratch->bounds[each].at);
        free(scratch->weights[each].at);
    }
    free(scratch->exact.at);
    free(scratch->lines.at);
    free(scratch->columns.at);
    free(scratch->filtered.at);
    for (int each = 0; each < 4; each++)
        free(scratch->baseline[each].at);
    free(scratch);
}

static void make_key(void) { keyed = pthread_key_create(&key, discard) == 0; }

/* The thread's own, freed when it ends. */
static struct scratch *own_scratch(void)
{
    pthread_once(&once, make_key);
    struct scratch *scratch = keyed ? pthread_getspecific(key) : NULL;
    if (keyed && !scratch && (scratch = calloc(1, sizeof *scratch)) && pthread_setspecific(key, scratch)) {
        free(scratch);
        scratch = NULL;
    }
    return scratch;
}

/* One crop into `to` (h, w, 3), on a thread of somebody else's. `status`: 0 good, 1 decoded with warnings, 2 unreadable,
 * 3 neither RGB nor grey. */
void decode_crop(const uint8_t *data, uint64_t size, uint32_t mode, uint32_t height, uint32_t width, double x0,
                 double y0, double x1, double y1, uint32_t mirrored, uint32_t h, uint32_t w, uint8_t *to,
                 uint8_t *status)
{
    const double box[4] = {x0, y0, x1, y1};
    const struct job job = {data, size, mode, height, width, box, mirrored, h, w, to};
    *status = of_stored(&job, own_scratch());
}

struct batch {
    const uint8_t *data;
    uint64_t bytes;
    long count, h, w;
    const uint64_t *pointers, *sizes;
    const uint8_t *modes, *mirrored;
    const uint16_t *heights, *widths;
    const double *boxes;
    uint8_t *to, *statuses;
    atomic_long next;
};

static void *work(void *shared)
{
    struct batch *batch = shared;
    struct scratch *scratch = own_scratch();
    for (long i; (i = atomic_fetch_add(&batch->next, 1)) < batch->count;) {
        uint64_t at = batch->pointers[i], size = batch->sizes[i];
        const struct job job = {
            batch->data + at, size, batch->modes[i], batch->heights[i], batch->widths[i], batch->boxes + 4 * i,
            batch->mirrored[i], batch->h, batch->w, batch->to + 3 * (size_t)i * batch->h * batch->w,
        };
        int inside = at <= batch->bytes && size <= batch->bytes - at;
        batch->statuses[i] = inside ? of_stored(&job, scratch) : UNREADABLE;
    }
    return NULL;
}

/* `count` crops of images in `data`, by so many threads, of which the caller is one, into `to` (count, h, w, 3) and `statuses` (count). */
void decode_crops(const uint8_t *data, uint64_t bytes, const uint64_t *pointers, const uint64_t *sizes,
                  const uint8_t *modes, const uint16_t *heights, const uint16_t *widths, const double *boxes,
                  const uint8_t *mirrored, uint8_t *to, uint8_t *statuses, long count, long h, long w, long threads)
{
    struct batch batch = {.data = data, .bytes = bytes, .count = count, .h = h, .w = w, .pointers = pointers,
                          .sizes = sizes, .modes = modes, .mirrored = mirrored, .heights = heights, .widths = widths,
                          .boxes = boxes, .to = to, .statuses = statuses};
    pthread_t others[256];
    int started = 0;
    while (started < threads - 1 && started < 256 && started < count - 1 &&
           pthread_create(&others[started], NULL, work, &batch) == 0)
        started++;
    work(&batch);
    while (started > 0)
        pthread_join(others[--started], NULL);
}
