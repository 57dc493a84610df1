/* A whole JPEG, decoded strictly: what libjpeg only warns of is counted, for it goes on and delivers wrong pixels. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

enum { GOOD, DAMAGED, UNREADABLE, OTHER_COLOURS }; /* of the two at once, damage is told */

struct strict {
    struct jpeg_error_mgr base;
    jmp_buf out;
    char *message;
};

static void fail(j_common_ptr info)
{
    struct strict *errors = (struct strict *)info->err;
    info->err->format_message(info, errors->message);
    longjmp(errors->out, 1);
}

static void warn(j_common_ptr info, int level)
{
    struct strict *errors = (struct strict *)info->err;
    if (level < 0 && info->err->num_warnings++ == 0)
        info->err->format_message(info, errors->message);
}

static void silent(j_common_ptr info) { (void)info; }

/* Without `pixels`, reads the header alone. `facts`: width, height, components. `message`: JMSG_LENGTH_MAX bytes.
   `pixels`: (height, width, 3) RGB, or (height, width, 4) where there are four components, which are left as they are. */
int inspect_jpeg(const unsigned char *data, unsigned long size, unsigned char *pixels, int *facts, char *message)
{
    struct jpeg_decompress_struct info;
    struct strict errors;
    info.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = fail;
    errors.base.emit_message = warn;
    errors.base.output_message = silent;
    errors.message = message;
    message[0] = 0;
    if (setjmp(errors.out)) {
        jpeg_destroy_decompress(&info);
        return UNREADABLE;
    }
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, (unsigned char *)data, size);
    jpeg_read_header(&info, TRUE);
    facts[0] = (int)info.image_width;
    facts[1] = (int)info.image_height;
    facts[2] = info.num_components;
    if (pixels) {
        int four = info.num_components == 4;
        info.out_color_space = four ? JCS_CMYK : JCS_RGB;
        jpeg_start_decompress(&info);
        size_t row = (size_t)info.output_width * info.output_components;
        while (info.output_scanline < info.output_height) {
            JSAMPROW at = pixels + row * info.output_scanline;
            jpeg_read_scanlines(&info, &at, 1);
        }
        jpeg_finish_decompress(&info);
    }
    int four = info.num_components == 4, warned = errors.base.num_warnings > 0;
    jpeg_destroy_decompress(&info);
    return warned ? DAMAGED : four ? OTHER_COLOURS : GOOD;
}
