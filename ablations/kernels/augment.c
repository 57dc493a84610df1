/* Images of a batch, from bytes to floats: chosen, normalised, zero-padded, cropped and mirrored in one pass.

Images are (height, width, channels). A place outside the image is zero after normalisation, which is the mean. */
#include <stdint.h>

void augment(const uint8_t *images, const int64_t *index, const int64_t *down, const int64_t *right,
             const int64_t *mirrored, const float *mean, float scale, float *to, long batch, long height, long width,
             long channels, long pad) {
    long image = height * width * channels;
    for (long b = 0; b < batch; b++) {
        const uint8_t *from = images + index[b] * image;
        for (long y = 0; y < height; y++) {
            long row = y + down[b] - pad;
            float *line = to + b * image + y * width * channels;
            for (long x = 0; x < width; x++, line += channels) {
                long column = (mirrored[b] ? width - 1 - x : x) + right[b] - pad;
                int outside = row < 0 || row >= height || column < 0 || column >= width;
                long at = (row * width + column) * channels;
                for (long c = 0; c < channels; c++)
                    line[c] = outside ? 0 : ((float)from[at + c] - mean[at + c]) * scale;
            }
        }
    }
}
