/* Thousands of damaged JPEGs through the decoder: `fuzz_decode ROUNDS SEED FILE...` prints how many ended in each status.
 *
 * It is compiled with the address sanitiser, which does not see what libjpeg writes. So the decoder's own buffers end
 * where an unreadable page begins.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

static void *guarded(size_t alignment, size_t size)
{
    (void)alignment;
    size_t whole = (size + PAGE - 1) / PAGE * PAGE;
    char *at = mmap(NULL, whole + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || mprotect(at + whole, PAGE, PROT_NONE))
        return NULL;
    return at + whole - size;
}

static void never_freed(void *at) { (void)at; }

#define aligned_alloc guarded
#define free never_freed
#include "decode.c"
#undef free

static uint64_t state;

static uint64_t drawn(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

static size_t dimensions_at(const uint8_t *data, size_t size)
{
    for (size_t i = 2; i + 18 < size; i++)
        if (data[i] == 0xff && (data[i + 1] == 0xc0 || data[i + 1] == 0xc2))
            return i;
    return 0;
}

static size_t damage(uint8_t *data, size_t size)
{
    for (uint64_t changes = drawn(12); changes > 0; changes--) {
        size_t at = drawn(2) || size < 700 ? drawn(size) : drawn(700);
        data[at] = drawn(3) ? drawn(256) : 0xff;
    }
    size_t at = dimensions_at(data, size);
    if (at && drawn(3) == 0) { /* other dimensions, and other factors of its colours */
        for (int byte = 5; byte < 9; byte++)
            data[at + byte] = byte % 2 ? drawn(2) : drawn(256);
        for (int byte = 11; byte < 18; byte += 3)
            if (drawn(2))
                data[at + byte] = (1 + drawn(4)) << 4 | (1 + drawn(4));
    }
    return drawn(4) ? size : 1 + drawn(size);
}

int main(int count, char **words)
{
    long ended[4] = {0};
    state = 88172645463325252ull + strtoull(words[2], NULL, 10) * 7919;
    for (long round = strtol(words[1], NULL, 10); round > 0; round--) {
        FILE *file = fopen(words[3 + drawn(count - 3)], "rb");
        uint8_t whole[1 << 16];
        size_t size = damage(whole, fread(whole, 1, sizeof whole, file));
        fclose(file);
        uint8_t *data = malloc(size);
        memcpy(data, whole, size);
        size_t at = dimensions_at(data, size);
        int height = at ? data[at + 5] << 8 | data[at + 6] : 40, width = at ? data[at + 7] << 8 | data[at + 8] : 40;
        double x = drawn(1000) * 0.00095 * width, y = drawn(1000) * 0.00095 * height;
        double x1 = x + (width - x) * 0.001 * (1 + drawn(1000)), y1 = y + (height - y) * 0.001 * (1 + drawn(1000));
        int h = 1 + drawn(60), w = 1 + drawn(60);
        uint8_t *to = malloc(3 * h * w), status = 9;
        decode_crop(data, size, drawn(20) ? JPEG : RAW, height, width, x, y, x1, y1, drawn(2), h, w, to, &status);
        ended[status]++;
        free(to);
        free(data);
    }
    printf("%ld %ld %ld %ld\n", ended[FINE], ended[WARNED], ended[UNREADABLE], ended[COLOURS]);
    return 0;
}
