/* Batch normalisation with the sum and the ReLU that follow it, for channels-last images on one core.

A training step on a CPU spends as long in these as in its forward convolutions, because PyTorch reads and writes the
images once for each of them. Here they pass through memory twice in each direction: once for the statistics, once for
the result. Arithmetic is fp32 in a fixed order, the statistics are summed in double, so that the same input gives the
same bits.

Images are (rows, channels) with rows = N * H * W and channels a multiple of 16. BF16 is compiled with bfloat16 images,
without it with float ones. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define LANES 16
#define BLOCK 64 /* rows that stay in the first cache while their channels are summed */
#define MOST 4096 /* channels */

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t mask __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));

#ifdef BF16
typedef uint16_t image;
#define NAME(function) function##_bf16

static inline lanes load(const image *from) {
    halves bits;
    memcpy(&bits, from, sizeof bits);
    return (lanes)(__builtin_convertvector(bits, words) << 16);
}

static inline words nearest(lanes value) { /* ties to even; NaN stays NaN; the lower half is rubbish */
    words bits = (words)value;
    return bits + 0x7fff + ((bits >> 16) & 1);
}

static inline void store(image *to, lanes value) {
    halves rounded = __builtin_convertvector(nearest(value) >> 16, halves);
    memcpy(to, &rounded, sizeof rounded);
}

static inline lanes rounded(lanes value) { return (lanes)(nearest(value) & 0xffff0000); }
#else
typedef float image;
#define NAME(function) function##_fp32

static inline lanes load(const image *from) {
    lanes value;
    memcpy(&value, from, sizeof value);
    return value;
}

static inline void store(image *to, lanes value) { memcpy(to, &value, sizeof value); }

static inline lanes rounded(lanes value) { return value; }
#endif

static inline lanes load_float(const float *from) {
    lanes value;
    memcpy(&value, from, sizeof value);
    return value;
}

static inline lanes unless(mask condition, lanes value) { return (lanes)(~condition & (mask)value); }

static inline void gather(double *to, lanes value) {
    for (int lane = 0; lane < LANES; lane++) to[lane] += (double)value[lane];
}

/* What BN makes of x: mean and 1 / deviation of each channel, and from them the factor and summand of each value.

Values are taken relative to the first row, which keeps the difference of the two sums exact where the mean is large.
The moving averages take the batch up unless they are null; that of the variance is unbiased, as PyTorch's. */
void NAME(statistics)(const image *x, long rows, long channels, const float *gamma, const float *beta, double eps,
                      double momentum, float *moving_mean, float *moving_variance, float *mean, float *inverse,
                      float *scale, float *offset) {
    static const lanes zero;
    double sums[2 * MOST];
    memset(sums, 0, 2 * channels * sizeof *sums);
    for (long begin = 0; begin < rows; begin += BLOCK) {
        long end = begin + BLOCK < rows ? begin + BLOCK : rows;
        for (long c = 0; c < channels; c += LANES) {
            lanes shift = load(x + c), sum[4] = {zero, zero, zero, zero}, square[4] = {zero, zero, zero, zero};
            for (long row = begin; row < end; row += 4)
                for (int k = 0; k < 4; k++) { /* four sums at a time, in registers */
                    if (row + k >= end) break;
                    lanes value = load(x + (row + k) * channels + c) - shift;
                    sum[k] += value;
                    square[k] += value * value;
                }
            gather(sums + c, (sum[0] + sum[1]) + (sum[2] + sum[3]));
            gather(sums + channels + c, (square[0] + square[1]) + (square[2] + square[3]));
        }
    }
    for (long first = 0; first < channels; first += LANES) {
        lanes shift = load(x + first);
        for (long c = first; c < first + LANES; c++) {
            double distance = sums[c] / rows, m = distance + (double)shift[c - first];
            double variance = sums[channels + c] / rows - distance * distance;
            if (variance < 0) variance = 0; /* NaN stays NaN */
            double one = 1 / sqrt(variance + eps);
            if (moving_mean) {
                moving_mean[c] += (float)(momentum * (m - moving_mean[c]));
                moving_variance[c] += (float)(momentum * (variance * rows / (rows - 1) - moving_variance[c]));
            }
            mean[c] = (float)m;
            inverse[c] = (float)one;
            scale[c] = (float)(gamma[c] * one);
            offset[c] = (float)(beta[c] - m * gamma[c] * one);
        }
    }
}

/* The inner loops, with what is asked of them as constants: the compiler makes one of each, without a branch. */
#define INLINE static inline __attribute__((always_inline))

INLINE void normalise_as(const image *x, const image *plus, image *y, long rows, long channels, const float *scale,
                         const float *offset, const int added, const int rectify) {
    for (long begin = 0; begin < rows; begin += BLOCK) {
        long end = begin + BLOCK < rows ? begin + BLOCK : rows;
        for (long c = 0; c < channels; c += LANES) {
            lanes a = load_float(scale + c), b = load_float(offset + c);
            for (long row = begin; row < end; row++) {
                long at = row * channels + c;
                lanes value = load(x + at) * a + b;
                if (added) value += load(plus + at);
                if (rectify) value = unless(value < 0, value);
                store(y + at, value);
            }
        }
    }
}

/* y = relu(scale x + offset + plus); plus may be null, and ReLU left out. */
void NAME(normalise)(const image *x, const image *plus, image *y, long rows, long channels, const float *scale,
                     const float *offset, int rectify) {
    if (plus && rectify) normalise_as(x, plus, y, rows, channels, scale, offset, 1, 1);
    else if (plus) normalise_as(x, plus, y, rows, channels, scale, offset, 1, 0);
    else if (rectify) normalise_as(x, plus, y, rows, channels, scale, offset, 0, 1);
    else normalise_as(x, plus, y, rows, channels, scale, offset, 0, 0);
}

/* What follows the normalisation: nothing, ReLU, or the sum with the shortcut and ReLU. */
enum { NOTHING, RECTIFIED, ADDED };

/* The gradient before ReLU; that of an image that was used twice is the sum of two, as an image would hold it. */
INLINE lanes before_relu(const image *dy, const image *other, const image *y, lanes value, lanes a, lanes b,
                         const int follows, const int twice) {
    lanes g = twice ? rounded(load(dy) + load(other)) : load(dy);
    if (follows == ADDED) return unless(load(y) <= 0, g);
    return follows == RECTIFIED ? unless(value * a + b <= 0, g) : g;
}

INLINE void backward_as(const image *dy, const image *other, const image *x, const image *y, image *dx, image *dplus,
                        long rows, long channels, const float *mean, const float *inverse, const float *scale,
                        const float *offset, float *dgamma, float *dbeta, const int follows, const int twice) {
    static const lanes zero;
    double sums[2 * MOST];
    float factor[2 * MOST];
    memset(sums, 0, 2 * channels * sizeof *sums);
    for (long begin = 0; begin < rows; begin += BLOCK) {
        long end = begin + BLOCK < rows ? begin + BLOCK : rows;
        for (long c = 0; c < channels; c += LANES) {
            lanes m = load_float(mean + c), a = load_float(scale + c), b = load_float(offset + c);
            lanes sum[4] = {zero, zero, zero, zero}, product[4] = {zero, zero, zero, zero};
            for (long row = begin; row < end; row += 4)
                for (int k = 0; k < 4; k++) {
                    if (row + k >= end) break;
                    long at = (row + k) * channels + c;
                    lanes value = load(x + at);
                    lanes g = before_relu(dy + at, other + at, y + at, value, a, b, follows, twice);
                    if (follows == ADDED) store(dplus + at, g);
                    sum[k] += g;
                    product[k] += g * (value - m);
                }
            gather(sums + c, (sum[0] + sum[1]) + (sum[2] + sum[3]));
            gather(sums + channels + c, (product[0] + product[1]) + (product[2] + product[3]));
        }
    }
    for (long c = 0; c < channels; c++) {
        double projection = sums[channels + c] * inverse[c];
        double slope = -(double)scale[c] * inverse[c] * projection / rows;
        dbeta[c] = (float)sums[c];
        dgamma[c] = (float)projection;
        factor[c] = (float)slope;
        factor[channels + c] = (float)(-(double)scale[c] * sums[c] / rows - slope * mean[c]);
    }
    for (long begin = 0; begin < rows; begin += BLOCK) {
        long end = begin + BLOCK < rows ? begin + BLOCK : rows;
        for (long c = 0; c < channels; c += LANES) {
            lanes a = load_float(scale + c), b = load_float(offset + c);
            lanes slope = load_float(factor + c), constant = load_float(factor + channels + c);
            for (long row = begin; row < end; row++) {
                long at = row * channels + c;
                lanes value = load(x + at);
                lanes g = follows == ADDED ? load(dplus + at)
                                           : before_relu(dy + at, other + at, y + at, value, a, b, follows, twice);
                store(dx + at, g * a + (value * slope + constant));
            }
        }
    }
}

/* From dy, the gradient of y, and another where y was used twice: dx, and the gradients of gamma and beta.

Where plus took part, y and dplus are given: the mask of ReLU is read off y, and dplus is the gradient of plus. Else the
mask is computed from x. */
void NAME(backward)(const image *dy, const image *other, const image *x, const image *y, image *dx, image *dplus,
                    long rows, long channels, const float *mean, const float *inverse, const float *scale,
                    const float *offset, int rectify, float *dgamma, float *dbeta) {
#define AS(follows, twice)                                                                                            \
    backward_as(dy, other, x, y, dx, dplus, rows, channels, mean, inverse, scale, offset, dgamma, dbeta, follows, twice)
    if (y && other) AS(ADDED, 1);
    else if (y) AS(ADDED, 0);
    else if (rectify && other) AS(RECTIFIED, 1);
    else if (rectify) AS(RECTIFIED, 0);
    else if (other) AS(NOTHING, 1);
    else AS(NOTHING, 0);
#undef AS
}

/* to = one + other: the gradients of an image that was used twice. */
void NAME(add)(const image *one, const image *other, image *to, long count) {
    for (long at = 0; at < count; at += LANES) store(to + at, load(one + at) + load(other + at));
}
