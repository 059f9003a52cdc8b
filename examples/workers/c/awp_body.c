#include "awp_internal.h"

#include <math.h>
#include <string.h>

bool awp_array(struct mp_reader *in, uint32_t *count)
{
    struct mp_item item;
    if (!mp_read(in, &item) || (item.type != MP_ARRAY && item.type != MP_NIL))
        return false;
    *count = item.count;
    return true;
}

bool awp_map(struct mp_reader *in, uint32_t *count)
{
    struct mp_item item;
    if (!mp_read(in, &item) || (item.type != MP_MAP && item.type != MP_NIL))
        return false;
    *count = item.count;
    return true;
}

void awp_value(struct mp_reader *in, struct mp_item *item, struct mp_reader *whole)
{
    struct mp_reader peek = *in;
    if (!mp_read(&peek, item))
        *item = (struct mp_item){.type = MP_NIL};
    const uint8_t *begin = in->at;
    mp_skip(in);
    if (whole)
        *whole = (struct mp_reader){begin, in->at};
}

bool awp_number(const struct mp_item *item, double *value)
{
    *value = item->type == MP_UINT ? (double)item->u : item->f;
    return item->type == MP_UINT || (item->type == MP_FLOAT && isfinite(item->f) && item->f >= 0);
}

/* Bytes of the UTF-8 character at `text`; 0: it is none. */
static size_t character(const uint8_t *text, size_t size)
{
    for (size_t n = 1; n <= 4 && n <= size; n++)
        if (mp_is_utf8(text, n))
            return n;
    return 0;
}

/* Texts of C programs may be anything: what is not UTF-8 becomes question marks, and what is too
 * long for a frame of any peer is cut off behind a character. */
void awp_put_text(struct mp_buf *out, const char *text, size_t size)
{
    uint8_t clean[AWP_TEXT];
    size_t used = 0;
    for (size_t at = 0, n; at < size; at += n) {
        const uint8_t *from = (const uint8_t *)text + at;
        n = character(from, size - at);
        if (used + (n ? n : 1) > sizeof clean)
            break;
        if (n)
            memcpy(clean + used, from, n);
        else
            clean[used] = '?';
        n = n ? n : 1;
        used += n;
    }
    mp_str(out, clean, used);
}

void awp_put_error(struct mp_buf *out, const char *code, const char *text, size_t size)
{
    mp_map(out, size ? 2 : 1);
    mp_text(out, "code");
    mp_text(out, code);
    if (size) {
        mp_text(out, "message");
        awp_put_text(out, text, size);
    }
}

bool awp_read_error(struct mp_reader in, struct mp_item *code, struct mp_item *text)
{
    uint32_t pairs;
    *code = *text = (struct mp_item){.type = MP_NIL};
    if (!awp_map(&in, &pairs))
        return false;
    for (; pairs; pairs--) {
        struct mp_item key, value;
        awp_value(&in, &key, NULL);
        awp_value(&in, &value, NULL);
        if (mp_equals(&key, "code"))
            *code = value;
        else if (mp_equals(&key, "message"))
            *text = value;
    }
    return code->type == MP_STR && (text->type == MP_STR || text->type == MP_NIL);
}
