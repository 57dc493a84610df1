/* A part of a baseline JPEG, as nearly all photographs are, to the bit what libjpeg makes of it and in half its time.

   Three quarters of libjpeg's time go into Huffman codes. Here one look into a table of ten bits gives a whole
   coefficient: code, run and value. What lies beside the window is read over, what lies below is not read.
   Whatever is unusual, be it progressive, damaged or of another colour space, is left to libjpeg. Part of decode.c. */
enum { SMALLEST = 16 };     /* side of an image; libjpeg upsamples smaller ones otherwise */
enum { NOWHERE = 1 << 20 }; /* bits behind the end of a file that has no marker there */
enum { MOST = 8192 };       /* of a coefficient, and half-way through its transform, lest libjpeg's 16 bits overflow */
enum { LOOK = 11, LONGEST = 16, DONE = 64 };

typedef int32_t lanes __attribute__((vector_size(32)));

typedef struct {
    uint8_t given[LONGEST + 256]; /* as in the file: how many codes of each length, then their symbols */
    int known;
    int32_t fast[1 << LOOK];      /* value, run, 128, bits of code and value; or symbol and bits of the code; or 0 */
    uint16_t far[1 << LOOK];      /* all that is whole in a look: places, 128 at the end of the block, bits; or 0 */
    int32_t beyond[LONGEST + 2];  /* the first code of a length that is none, from the left of sixteen bits */
    int32_t first[LONGEST + 1];   /* where the symbols of a length begin, less its first code */
} table;

typedef struct {
    int h, v, quant, dc, ac, id;
    long wide, high, from_x, to_x, from_y, to_y; /* samples in all, and blocks that are read */
    size_t offset, stride;
    uint8_t *plane;
} component;

typedef struct {
    table tables[2][4];
    uint16_t quant[4][DONE + 16];
    component of[3];
    int components, known_quant, known_tables, restart, jfif, adobe;
    long width, height, max_h, max_v;
} baseline;

typedef struct { const uint8_t *at, *end; uint64_t bits; int have, fed; } reader;

static const uint8_t natural[DONE + 16] = {
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63};

/* Bits. While a block is read they are in variables of its own, which stay in registers. */

/* Up to the next marker, behind which there are zeros, byte by byte; the rare case. */
static __attribute__((noinline)) void refill_slowly(reader *in) {
    in->bits = in->have ? in->bits >> (64 - in->have) << (64 - in->have) : 0;
    while (in->have <= 56) {
        uint64_t byte = 0;
        if (in->at < in->end && (in->at[0] != 255 || (in->end - in->at > 1 && in->at[1] == 0))) {
            byte = in->at[0];
            in->at += byte == 255 ? 2 : 1;
        } else
            in->fed += in->at < in->end && in->at[0] == 255 && in->end - in->at > 1 ? 8 : NOWHERE;
        in->bits |= byte << (56 - in->have);
        in->have += 8;
    }
}

static inline __attribute__((always_inline)) void refill(reader *in) {
    if (__builtin_expect(in->end - in->at >= 8, 1)) {
        uint64_t next;
        memcpy(&next, in->at, 8);
        if (__builtin_expect(!(next & ~(next + 0x0101010101010101u) & 0x8080808080808080u), 1)) { /* no byte is 255 */
            in->bits |= __builtin_bswap64(next) >> in->have;
            int whole = (63 - in->have) >> 3;
            in->at += whole;
            in->have += 8 * whole;
            return;
        }
    }
    reader same = *in; /* so that this one's address is not taken */
    refill_slowly(&same);
    *in = same;
}

static inline int extended(int value, int size) { return value < 1 << (size - 1) ? value - (1 << size) + 1 : value; }

static inline int taken(reader *in, int size) {
    int value = (int)(in->bits >> (64 - size));
    in->bits <<= size;
    in->have -= size;
    return value;
}

/* Symbol and length of a code that is longer than a look; -1 for one that is none. */
static __attribute__((noinline)) int32_t searched(const table *by, int32_t sixteen) {
    for (int length = LOOK + 1; length <= LONGEST; length++)
        if (sixteen < by->beyond[length])
            return by->given[LONGEST + by->first[length] + (sixteen >> (16 - length))] << 8 | length;
    return -1;
}

static inline int32_t looked(const reader *in, const table *by) {
    int32_t entry = by->fast[in->bits >> (64 - LOOK)];
    return __builtin_expect(entry != 0, 1) ? entry : searched(by, (int32_t)(in->bits >> 48));
}

/* The constant part of a block, told as a difference to that of the block before; 0 where the stream is none. */
static inline __attribute__((always_inline)) int constant(reader *in, const table *dc, int *before) {
    if (in->have < 32) refill(in);
    int32_t entry = looked(in, dc);
    int size = entry >> 8 & 255;
    if (entry < 0 || size > 11) return 0;
    taken(in, entry & 31);
    if (size) *before = (int16_t)(*before + extended(taken(in, size), size));
    return 1;
}

/* One block: its coefficients, times the quantiser, in their natural order. Returns the place of the last one, or -1
   where the stream is none. */
static __attribute__((noinline)) int stored_block(reader *stream, const table *dc, const table *ac,
                                                  const uint16_t *quant, int *before, int16_t *to) {
    reader in = *stream;
    if (!constant(&in, dc, before)) return -1;
    int32_t entry;
    int size, last = 0;
    int value = *before * quant[0], wild = value < -MOST || value >= MOST;
    to[0] = (int16_t)value;
    for (int k = 1; k < DONE; k++) {
        if (in.have < 32) refill(&in);
        entry = ac->fast[in.bits >> (64 - LOOK)];
        if (__builtin_expect(entry & 128, 1)) { /* all of it */
            k += entry >> 8 & 15;
            in.bits <<= entry & 31;
            in.have -= entry & 31;
            value = (entry >> 16) * quant[k];
            wild |= value < -MOST || value >= MOST;
            to[natural[k]] = (int16_t)value;
            last = k;
            continue;
        }
        if (!entry && (entry = searched(ac, (int32_t)(in.bits >> 48))) < 0) return -1;
        int both = entry >> 8 & 255;
        taken(&in, entry & 31);
        size = both & 15;
        if (!size && both != 0xF0) break;
        k += both >> 4;
        if (!size) continue;
        value = extended(taken(&in, size), size) * quant[k];
        wild |= value < -MOST || value >= MOST;
        to[natural[k]] = (int16_t)value;
        last = k;
    }
    *stream = in;
    return last < DONE && !wild ? last : -1;
}

/* A block of which the DC alone matters, for the next one's is told as a difference: several coefficients at a look. */
static __attribute__((noinline)) int skipped_block(reader *stream, const table *dc, const table *ac, int *before) {
    reader in = *stream;
    if (!constant(&in, dc, before)) return -1;
    int32_t entry;
    int size, k = 1;
    while (k < DONE) {
        if (in.have < 32) refill(&in);
        uint64_t look = in.bits >> (64 - LOOK);
        unsigned far = ac->far[look];
        int next = k + (int)(far >> 8);
        if (__builtin_expect(far && next + (int)(far >> 7 & 1) <= DONE, 1)) { /* a full block has no end of its own */
            in.bits <<= far & 31;
            in.have -= far & 31;
            k = next;
            if (far & 128) break;
            continue;
        }
        entry = ac->fast[look];
        if (entry & 128) {
            k += (entry >> 8 & 15) + 1;
            taken(&in, entry & 31);
            continue;
        }
        if (!entry && (entry = searched(ac, (int32_t)(in.bits >> 48))) < 0) return -1;
        int both = entry >> 8 & 255;
        taken(&in, entry & 31);
        size = both & 15;
        if (!size && both != 0xF0) break;
        k += (both >> 4) + 1;
        in.bits <<= size;
        in.have -= size;
    }
    *stream = in;
    return k <= DONE ? 0 : -1;
}

/* Tables. For DC a symbol is a size; for AC a run and a size. */

/* How far one look reaches: coefficients that are whole in it, up to the end of the block. */
static unsigned reached(const table *of, int look) {
    int bits = 0, places = 0;
    for (int rest = look;;) {
        int32_t entry = of->fast[rest];
        int length = entry & 31, both = entry >> 8 & 255, end = !(entry & 128) && !(both & 15) && both != 0xF0;
        if (!entry || bits + length > LOOK || places > 48 || (!(entry & 128) && both & 15)) break;
        bits += length;
        if (end) return (unsigned)places << 8 | 128 | bits;
        places += entry & 128 ? (entry >> 8 & 15) + 1 : 16;
        rest = rest << length & ((1 << LOOK) - 1);
    }
    return bits ? (unsigned)places << 8 | bits : 0;
}

static int built(table *of, const uint8_t *given, int symbols, int ac) {
    if (of->known && !memcmp(of->given, given, LONGEST + symbols)) return 1;
    of->known = 0;
    memset(of->given, 0, sizeof of->given);
    memcpy(of->given, given, LONGEST + symbols);
    memset(of->fast, 0, sizeof of->fast);
    int code = 0, at = 0;
    for (int length = 1; length <= LONGEST; length++, code <<= 1) {
        of->first[length] = at - code;
        for (int i = 0; i < given[length - 1]; i++, at++, code++) {
            int both = given[LONGEST + at], size = ac ? both & 15 : 0, run = both >> 4;
            if (code >= 1 << length || (!ac && both > 15)) return 0;
            if (length > LOOK) continue;
            int spare = LOOK - length;
            for (int rest = 0; rest < 1 << spare; rest++) {
                int32_t *entry = &of->fast[code << spare | rest];
                if (ac && size && size <= spare)
                    *entry = (int32_t)((uint32_t)extended(rest >> (spare - size), size) << 16) | run << 8 | 128 |
                             (length + size);
                else
                    *entry = both << 8 | length;
            }
        }
        of->beyond[length] = code << (16 - length);
    }
    for (int look = 0; ac && look < 1 << LOOK; look++) of->far[look] = (uint16_t)reached(of, look);
    of->known = 1;
    return 1;
}

/* The accurate integer transform of Loeffler, Ligtenberg and Moschytz, rounded where libjpeg's rounds (jidctint.c). */

static inline void transformed(lanes x[8], int shift) {
    lanes z1, z2, z3, z4, z5, t0, t1, t2, t3, even[4];
    z1 = (x[2] + x[6]) * 4433;
    t2 = z1 - x[6] * 15137;
    t3 = z1 + x[2] * 6270;
    t0 = (x[0] + x[4]) << 13;
    t1 = (x[0] - x[4]) << 13;
    even[0] = t0 + t3;
    even[3] = t0 - t3;
    even[1] = t1 + t2;
    even[2] = t1 - t2;
    t0 = x[7];
    t1 = x[5];
    t2 = x[3];
    t3 = x[1];
    z1 = (t0 + t3) * -7373;
    z2 = (t1 + t2) * -20995;
    z3 = t0 + t2;
    z4 = t1 + t3;
    z5 = (z3 + z4) * 9633;
    z3 = z3 * -16069 + z5;
    z4 = z4 * -3196 + z5;
    t0 = t0 * 2446 + z1 + z3;
    t1 = t1 * 16819 + z2 + z4;
    t2 = t2 * 25172 + z2 + z3;
    t3 = t3 * 12299 + z1 + z4;
    lanes half = (lanes){0} + (1 << (shift - 1));
    x[0] = (even[0] + t3 + half) >> shift;
    x[7] = (even[0] - t3 + half) >> shift;
    x[1] = (even[1] + t2 + half) >> shift;
    x[6] = (even[1] - t2 + half) >> shift;
    x[2] = (even[2] + t1 + half) >> shift;
    x[5] = (even[2] - t1 + half) >> shift;
    x[3] = (even[3] + t0 + half) >> shift;
    x[4] = (even[3] - t0 + half) >> shift;
}

static inline void transposed(lanes x[8]) {
    lanes a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = SHUFFLED(lanes, x[i], x[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        a[i + 1] = SHUFFLED(lanes, x[i], x[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            b[i + j] = SHUFFLED(lanes, a[i + j], a[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            b[i + j + 2] = SHUFFLED(lanes, a[i + j], a[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; i++) {
        x[i] = SHUFFLED(lanes, b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        x[i + 4] = SHUFFLED(lanes, b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

/* Samples of a block; returns 0 where libjpeg's sixteen bits would have overflown half-way. */
static __attribute__((noinline)) int samples(const int16_t *coefficients, int last, uint8_t *to, size_t stride) {
    if (!last) { /* one colour */
        int value = ((coefficients[0] * 4 + 16) >> 5) + 128;
        value = value < 0 ? 0 : value > 255 ? 255 : value;
        for (int y = 0; y < 8; y++) memset(to + y * stride, value, 8);
        return 1;
    }
    typedef int16_t halves __attribute__((vector_size(16), aligned(2), may_alias));
    lanes x[8];
    for (int y = 0; y < 8; y++) x[y] = __builtin_convertvector(*(const halves *)(coefficients + 8 * y), lanes);
    transformed(x, 11);
    lanes wild = {0};
    for (int y = 0; y < 8; y++) wild |= (x[y] < -MOST) | (x[y] >= MOST);
    for (int lane = 0; lane < 8; lane++)
        if (wild[lane]) return 0;
    transposed(x);
    transformed(x, 18);
    transposed(x);
    for (int y = 0; y < 8; y++) {
        lanes value = x[y] + 128;
        lanes above = value > 255;
        value = (value & (value >= 0) & ~above) | (above & 255);
        typedef uint8_t bytes __attribute__((vector_size(8), aligned(1), may_alias));
        *(bytes *)(to + y * stride) = __builtin_convertvector(value, bytes);
    }
    return 1;
}

/* Markers */

static int two(const uint8_t *at) { return at[0] << 8 | at[1]; }

static int quantisers(baseline *of, const uint8_t *at, const uint8_t *end) {
    while (at < end) {
        int number = *at & 15, wide = *at >> 4;
        if (number > 3 || wide > 1 || end - ++at < DONE * (1 + wide)) return 0;
        for (int k = 0; k < DONE; k++) of->quant[number][k] = wide ? two(at + 2 * k) : at[k];
        of->known_quant |= 1 << number;
        at += DONE * (1 + wide);
    }
    return 1;
}

static int codes(baseline *of, const uint8_t *at, const uint8_t *end) {
    while (at < end) {
        if (end - at < 1 + LONGEST || (*at & 15) > 3 || *at >> 4 > 1) return 0;
        int ac = *at >> 4, number = *at & 15, symbols = 0;
        for (int i = 0; i < LONGEST; i++) symbols += at[1 + i];
        if (symbols > 256 || end - at < 1 + LONGEST + symbols) return 0;
        if (!built(&of->tables[ac][number], at + 1, symbols, ac)) return 0;
        of->known_tables |= 1 << (4 * ac + number);
        at += 1 + LONGEST + symbols;
    }
    return 1;
}

static int frame(baseline *of, const uint8_t *at, const uint8_t *end) {
    if (of->components || end - at < 6 || at[0] != 8) return 0;
    of->height = two(at + 1);
    of->width = two(at + 3);
    of->components = at[5];
    if ((of->components != 1 && of->components != 3) || end - at != 6 + 3 * of->components) return 0;
    for (int i = 0; i < of->components; i++) {
        const uint8_t *one = at + 6 + 3 * i;
        of->of[i].id = one[0];
        of->of[i].h = one[1] >> 4;
        of->of[i].v = one[1] & 15;
        of->of[i].quant = one[2];
        if (one[2] > 3 || of->of[i].h < 1 || of->of[i].h > 4 || of->of[i].v < 1 || of->of[i].v > 4) return 0;
    }
    if (of->components == 1) of->of[0].h = of->of[0].v = 1;
    of->max_h = of->of[0].h;
    of->max_v = of->of[0].v;
    if (!((of->max_h == 1 && of->max_v == 1) || (of->max_h == 2 && of->max_v <= 2 && of->max_v >= 1))) return 0;
    for (int i = 1; i < of->components; i++)
        if (of->of[i].h != 1 || of->of[i].v != 1) return 0;
    return of->width >= SMALLEST && of->height >= SMALLEST;
}

static int scan(baseline *of, const uint8_t *at, const uint8_t *end) {
    if (!of->components || end - at != 1 + 2 * of->components + 3 || at[0] != of->components) return 0;
    for (int i = 0; i < of->components; i++) {
        component *one = &of->of[i];
        one->dc = at[2 + 2 * i] >> 4;
        one->ac = at[2 + 2 * i] & 15;
        if (at[1 + 2 * i] != one->id || one->dc > 3 || one->ac > 3) return 0;
        if (!(of->known_tables >> one->dc & of->known_tables >> (4 + one->ac) & 1)) return 0;
        if (!(of->known_quant >> one->quant & 1)) return 0;
    }
    at += 1 + 2 * of->components;
    if (at[0] != 0 || at[1] != 63 || at[2] != 0) return 0;
    if (of->components == 1) return 1;
    int named = of->of[0].id == 1 && of->of[1].id == 2 && of->of[2].id == 3;
    return of->jfif || (of->adobe < 0 && named) || of->adobe == 1; /* luminance and two colours, as libjpeg would say */
}

/* The header up to the image's data; NULL for an image that is libjpeg's. Tables are kept from image to image, for many
   are the same, but one that an image does not define is not there for it. */
static const uint8_t *header(baseline *of, const uint8_t *at, const uint8_t *end) {
    of->components = of->known_quant = of->known_tables = of->restart = of->jfif = 0;
    of->adobe = -1;
    if (end - at < 4 || at[0] != 255 || at[1] != 0xD8) return NULL;
    for (at += 2; end - at >= 4;) {
        if (at[0] != 255) return NULL;
        int marker = at[1], length = two(at + 2);
        if (length < 2 || end - at < 2 + length) return NULL;
        const uint8_t *body = at + 4, *next = at + 2 + length;
        if (marker == 0xDB) {
            if (!quantisers(of, body, next)) return NULL;
        } else if (marker == 0xC4) {
            if (!codes(of, body, next)) return NULL;
        } else if (marker == 0xC0 || marker == 0xC1) {
            if (!frame(of, body, next)) return NULL;
        } else if (marker == 0xDD) {
            if (length != 4) return NULL;
            of->restart = two(body);
        } else if (marker == 0xE0) {
            if (length >= 16 && !memcmp(body, "JFIF", 5)) {
                if (body[5] != 1) return NULL;
                of->jfif = 1;
            }
        } else if (marker == 0xEE) {
            if (length >= 14 && !memcmp(body, "Adobe", 5)) of->adobe = body[11];
        } else if (marker == 0xDA)
            return scan(of, body, next) ? next : NULL;
        else if ((marker & 0xF0) != 0xE0 && marker != 0xFE)
            return NULL;
        at = next;
    }
    return NULL;
}

/* Which blocks are needed, and room for their samples. Upsampling looks at one more sample to each side. */
static int laid_out(baseline *of, long top, long bottom, long left, long right, struct memory *planes) {
    size_t size = 0;
    for (int i = 0; i < of->components; i++) {
        component *one = &of->of[i];
        long down = of->max_v / one->v, over = of->max_h / one->h;
        one->wide = (of->width + over - 1) / over;
        one->high = (of->height + down - 1) / down;
        long x0 = left / over - (over > 1), x1 = (right - 1) / over + 1 + (over > 1);
        long y0 = top / down - (down > 1), y1 = (bottom - 1) / down + 1 + (down > 1);
        one->from_x = (x0 < 0 ? 0 : x0) / 8;
        one->from_y = (y0 < 0 ? 0 : y0) / 8;
        one->to_x = ((x1 > one->wide ? one->wide : x1) + 7) / 8;
        one->to_y = ((y1 > one->high ? one->high : y1) + 7) / 8;
        one->stride = (size_t)(one->to_x - one->from_x) * 8;
        one->offset = size;
        size += one->stride * (one->to_y - one->from_y) * 8 + 64;
    }
    uint8_t *at = room(planes, size);
    for (int i = 0; at && i < of->components; i++) of->of[i].plane = at + of->of[i].offset;
    return at != NULL;
}

static int restarted(reader *in, int number) {
    if (in->fed > in->have || in->have - in->fed >= 8) return 0; /* read on behind the marker, or bytes are left over */
    if (in->end - in->at < 2 || in->at[0] != 255 || in->at[1] != 0xD0 + number % 8) return 0;
    in->at += 2;
    in->bits = 0;
    in->have = in->fed = 0;
    return 1;
}

static int entropy(baseline *of, const uint8_t *data, const uint8_t *end) {
    reader in = {data, end, 0, 0, 0};
    long mcus = (of->width + 8 * of->max_h - 1) / (8 * of->max_h), last_row = 0, done = 0;
    int before[3] = {0}, restarts = 0;
    for (int i = 0; i < of->components; i++) {
        long row = (of->of[i].to_y + of->of[i].v - 1) / of->of[i].v;
        if (row > last_row) last_row = row;
    }
    for (long my = 0; my < last_row; my++)
        for (long mx = 0; mx < mcus; mx++, done++) {
            if (of->restart && done && done % of->restart == 0) {
                if (!restarted(&in, restarts++)) return 0;
                memset(before, 0, sizeof before);
            }
            for (int i = 0; i < of->components; i++) {
                component *one = &of->of[i];
                const table *dc = &of->tables[0][one->dc], *ac = &of->tables[1][one->ac];
                for (int v = 0; v < one->v; v++)
                    for (int h = 0; h < one->h; h++) {
                        long x = mx * one->h + h, y = my * one->v + v;
                        if (x < one->from_x || x >= one->to_x || y < one->from_y || y >= one->to_y) {
                            if (skipped_block(&in, dc, ac, &before[i]) < 0) return 0;
                            continue;
                        }
                        int16_t coefficients[DONE] __attribute__((aligned(32))) = {0};
                        int last = stored_block(&in, dc, ac, of->quant[one->quant], &before[i], coefficients);
                        if (last < 0) return 0;
                        uint8_t *at = one->plane + (y - one->from_y) * 8 * one->stride + (x - one->from_x) * 8;
                        if (!samples(coefficients, last, at, one->stride)) return 0;
                    }
            }
            if (in.fed > in.have) return 0;
        }
    return 1;
}

/* Rows of one colour at full width, from place `left` on, as libjpeg's fancy upsampling makes them (jdsample.c). */

static const uint8_t *at_row(const component *of, long y) {
    y = y < 0 ? 0 : y >= of->high ? of->high - 1 : y;
    return of->plane + (y - of->from_y * 8) * of->stride - of->from_x * 8;
}

/* Doubled across, from sums with one more to each side; returns where `left` is. */
static const uint8_t *spread(const int16_t *restrict sums, long left, long right, int round, int shift,
                             uint8_t *restrict to) {
    long n = (right + 1) / 2 - left / 2;
    for (long i = 0; i < n; i++) {
        int three = 3 * sums[i + 1];
        to[2 * i] = (uint8_t)((three + sums[i] + round) >> shift);
        to[2 * i + 1] = (uint8_t)((three + sums[i + 2] + (shift == 2 ? round + 1 : round - 1)) >> shift);
    }
    return to + left % 2;
}

/* A row of colours at the full width. At the edges a sample stands for its neighbour, which changes nothing there. */
static const uint8_t *widened(const component *of, long y, long left, long right, int both_ways, int16_t *restrict sums,
                              uint8_t *to) {
    long from = left / 2 - 1, first = from < 0 ? 0 : from;
    long end = (right + 1) / 2 + 1, last = end < of->wide ? end : of->wide;
    if (both_ways) {
        const uint8_t *restrict near = at_row(of, y >> 1);
        const uint8_t *restrict far = at_row(of, y & 1 ? (y >> 1) + 1 : (y >> 1) - 1);
        for (long x = first; x < last; x++) sums[x - from] = (int16_t)(3 * near[x] + far[x]);
    } else {
        const uint8_t *restrict row = at_row(of, y);
        for (long x = first; x < last; x++) sums[x - from] = row[x];
    }
    if (from < 0) sums[0] = sums[1];
    for (long x = last; x < end; x++) sums[x - from] = sums[last - 1 - from];
    return both_ways ? spread(sums, left, right, 8, 4, to) : spread(sums, left, right, 1, 2, to);
}

static inline uint32_t clamped(int32_t value) { return (uint32_t)(value < 0 ? 0 : value > 255 ? 255 : value); }

static void coloured(const uint8_t *restrict y, const uint8_t *restrict cb, const uint8_t *restrict cr, long n,
                     uint32_t *restrict to) {
    for (long i = 0; i < n; i++) {
        int32_t l = y[i], b = cb[i] - 128, r = cr[i] - 128;
        to[i] = clamped(l + ((91881 * r + 32768) >> 16))
              | clamped(l + ((-22554 * b - 46802 * r + 32768) >> 16)) << 8
              | clamped(l + ((116130 * b + 32768) >> 16)) << 16;
    }
}

static void pixels(const baseline *of, long top, long bottom, long left, long right, uint32_t *to, uint8_t *lines) {
    long n = right - left, room = (n + 64 + 63) / 64 * 64;
    int16_t *sums = (int16_t *)(lines + 2 * room);
    for (long y = top; y < bottom; y++, to += n) {
        const uint8_t *restrict luminance = at_row(&of->of[0], y) + left, *colour[2];
        if (of->components == 1) {
            for (long i = 0; i < n; i++) to[i] = luminance[i] * 0x010101u;
            continue;
        }
        for (int i = 0; i < 2; i++) {
            const component *one = &of->of[1 + i];
            colour[i] = of->max_h == 1 ? at_row(one, y) + left
                                       : widened(one, y, left, right, of->max_v == 2, sums, lines + i * room);
        }
        coloured(luminance, colour[0], colour[1], n, to);
    }
}

/* Rows [top, bottom) and columns [left, right), four bytes a pixel, into the first memory. Returns 0, whatever it may
   have written there, where the image is libjpeg's. */
static int baseline_window(struct memory own[4], const uint8_t *data, size_t size, long height, long width, long top,
                           long bottom, long left, long right) {
    struct memory *window = &own[0], *lines = &own[1], *planes = &own[2], *tables = &own[3];
    int fresh = !tables->at;
    baseline *of = room(tables, sizeof *of);
    if (!of || !room(window, sizeof(uint32_t) * (right - left) * (bottom - top))) return 0;
    if (!room(lines, 8 * (right - left) + 512)) return 0;
    if (fresh) memset(of, 0, sizeof *of);
    const uint8_t *at = header(of, data, data + size);
    if (!at || of->height != height || of->width != width) return 0;
    if (!laid_out(of, top, bottom, left, right, planes) || !entropy(of, at, data + size)) return 0;
    pixels(of, top, bottom, left, right, window->at, lines->at);
    return 1;
}
