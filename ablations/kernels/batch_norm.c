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
            for (long row = begin; row < end; row++) {
                lanes value = load(x + row * channels + c) - shift;
                sum[row & 3] += value;
                square[row & 3] += value * value;
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

/* y = relu(scale x + offset + plus); plus may be null, and ReLU left out. */
void NAME(normalise)(const image *x, const image *plus, image *y, long rows, long channels, const float *scale,
                     const float *offset, int rectify) {
    for (long begin = 0; begin < rows; begin += BLOCK) {
        long end = begin + BLOCK < rows ? begin + BLOCK : rows;
        for (long c = 0; c < channels; c += LANES) {
            lanes a = load_float(scale + c), b = load_float(offset + c);
            for (long row = begin; row < end; row++) {
                long at = row * channels + c;
                lanes value = load(x + at) * a + b;
                if (plus) value += load(plus + at);
                if (rectify) value = unless(value < 0, value);
                store(y + at, value);
            }
        }
    }
}

/* A gradient, or the sum of the two of an image that was used twice, as an image would hold it. */
static inline lanes gradient(const image *dy, const image *other) {
    return other ? rounded(load(dy) + load(other)) : load(dy);
}

/* From dy, the gradient of y (and another, where y was used twice): dx, the gradient of plus where there is one, and those of gamma and beta.

The mask of ReLU is read off y where plus took part in it, and recomputed from x where not. */
void NAME(backward)(const image *dy, const image *other, const image *x, const image *y, image *dx, image *dplus, long rows, long channels,
                    const float *mean, const float *inverse, const float *scale, const float *offset, int rectify,
                    float *dgamma, float *dbeta) {
    static const lanes zero;
    double sums[2 * MOST];
    float factor[2 * MOST];
    memset(sums, 0, 2 * channels * sizeof *sums);
    for (long begin = 0; begin < rows; begin += BLOCK) {
        long end = begin + BLOCK < rows ? begin + BLOCK : rows;
        for (long c = 0; c < channels; c += LANES) {
            lanes m = load_float(mean + c), a = load_float(scale + c), b = load_float(offset + c);
            lanes sum[4] = {zero, zero, zero, zero}, product[4] = {zero, zero, zero, zero};
            for (long row = begin; row < end; row++) {
                long at = row * channels + c;
                lanes g = gradient(dy + at, other ? other + at : 0), value = load(x + at);
                if (rectify) g = unless((y ? load(y + at) : value * a + b) <= 0, g);
                if (dplus) store(dplus + at, g);
                sum[row & 3] += g;
                product[row & 3] += g * (value - m);
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
                lanes value = load(x + at), g;
                if (dplus) {
                    g = load(dplus + at);
                } else {
                    g = gradient(dy + at, other ? other + at : 0);
                    if (rectify) g = unless((y ? load(y + at) : value * a + b) <= 0, g);
                }
                store(dx + at, g * a + (value * slope + constant));
            }
        }
    }
}

/* to = one + other: the gradients of an image that was used twice. */
void NAME(add)(const image *one, const image *other, image *to, long count) {
    for (long at = 0; at < count; at += LANES) store(to + at, load(one + at) + load(other + at));
}
