#include "mp.h"

#include <stdlib.h>
#include <string.h>

/* ---- reading ---------------------------------------------------------------------------- */

struct mp_reader mp_reader(const void *data, size_t size)
{
    const uint8_t *at = data;
    return (struct mp_reader){.at = at, .end = at + size};
}

static uint64_t big_endian(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

/* How a first byte from C0 to DF goes on: its type, and the bytes of the number behind it. */
static const struct form {
    uint8_t type, number;
} forms[32] = {
    {MP_NIL, 0}, {UINT8_MAX, 0}, {MP_BOOL, 0}, {MP_BOOL, 0},  /* c0: nil, never used, false, true */
    {MP_BIN, 1}, {MP_BIN, 2}, {MP_BIN, 4},                    /* c4: bin */
    {MP_EXT, 1}, {MP_EXT, 2}, {MP_EXT, 4},                    /* c7: ext */
    {MP_FLOAT, 4}, {MP_FLOAT, 8},                             /* ca: float */
    {MP_UINT, 1}, {MP_UINT, 2}, {MP_UINT, 4}, {MP_UINT, 8},   /* cc: uint */
    {MP_INT, 1}, {MP_INT, 2}, {MP_INT, 4}, {MP_INT, 8},       /* d0: int */
    {MP_EXT, 0}, {MP_EXT, 0}, {MP_EXT, 0}, {MP_EXT, 0}, {MP_EXT, 0}, /* d4: ext of 1 .. 16 */
    {MP_STR, 1}, {MP_STR, 2}, {MP_STR, 4},                    /* d9: str */
    {MP_ARRAY, 2}, {MP_ARRAY, 4}, {MP_MAP, 2}, {MP_MAP, 4},   /* dc: array, map */
};

static void number(struct mp_item *item, const uint8_t *at, unsigned bytes)
{
    uint64_t raw = big_endian(at, bytes);
    if (item->type == MP_FLOAT) {
        if (bytes == 4) {
            uint32_t half = (uint32_t)raw;
            float single;
            memcpy(&single, &half, 4);
            item->f = (double)single;
        } else
            memcpy(&item->f, &raw, 8);
    } else if (item->type == MP_INT && raw >> (8 * bytes - 1)) { /* below 0: extend the sign */
        raw |= bytes < 8 ? ~UINT64_C(0) << (8 * bytes) : 0;
        memcpy(&item->i, &raw, 8);
    } else {
        item->type = MP_UINT;
        item->u = raw;
    }
}

/* The byte string of a str, bin or ext whose length is known. */
static enum mp_result bytes_of(struct mp_reader *in, struct mp_item *item)
{
    if (item->type == MP_EXT) {
        if (in->at == in->end)
            return MP_SHORT;
        item->ext = (int8_t)*in->at++;
    }
    if ((size_t)(in->end - in->at) < item->count)
        return MP_SHORT;
    item->data = in->at;
    in->at += item->count;
    return MP_OK;
}

static enum mp_result next(struct mp_reader *in, struct mp_item *item)
{
    memset(item, 0, sizeof *item);
    if (in->at == in->end)
        return MP_SHORT;
    uint8_t first = *in->at++;
    if (first < 0x80 || first >= 0xe0) {
        item->type = first < 0x80 ? MP_UINT : MP_INT;
        item->i = (int8_t)first; /* the same bits where it is a uint */
        return MP_OK;
    }
    if (first < 0xc0) {
        item->type = first < 0x90 ? MP_MAP : first < 0xa0 ? MP_ARRAY : MP_STR;
        item->count = first & (first < 0xa0 ? 0x0f : 0x1f);
        return item->type == MP_STR ? bytes_of(in, item) : MP_OK;
    }
    struct form form = forms[first - 0xc0];
    if (form.type == UINT8_MAX)
        return MP_ILLEGAL;
    if ((size_t)(in->end - in->at) < form.number)
        return MP_SHORT;
    const uint8_t *digits = in->at;
    in->at += form.number;
    item->type = form.type;
    switch (item->type) {
    case MP_NIL: return MP_OK;
    case MP_BOOL: item->b = first & 1; return MP_OK;
    case MP_FLOAT: case MP_UINT: case MP_INT: number(item, digits, form.number); return MP_OK;
    default: break;
    }
    item->count = form.number ? (uint32_t)big_endian(digits, form.number) : UINT32_C(1) << (first - 0xd4);
    return item->type == MP_ARRAY || item->type == MP_MAP ? MP_OK : bytes_of(in, item);
}

bool mp_read(struct mp_reader *in, struct mp_item *item)
{
    return next(in, item) == MP_OK;
}

enum mp_result mp_scan(struct mp_reader *in)
{
    /* Objects that are still to come. Each takes a byte at least: when there are more than bytes,
     * the object cannot end in time. So nesting costs no memory, and stated lengths no time. */
    for (uint64_t open = 1; open; open--) {
        struct mp_item item;
        enum mp_result result = next(in, &item);
        if (result != MP_OK)
            return result;
        if (item.type == MP_ARRAY)
            open += item.count;
        else if (item.type == MP_MAP)
            open += 2 * (uint64_t)item.count;
        if (open - 1 > (uint64_t)(in->end - in->at))
            return MP_SHORT;
    }
    return MP_OK;
}

bool mp_skip(struct mp_reader *in)
{
    return mp_scan(in) == MP_OK;
}

bool mp_equals(const struct mp_item *item, const char *text)
{
    return item->type == MP_STR && item->count == strlen(text) && memcmp(item->data, text, item->count) == 0;
}

/* ---- the value profile ------------------------------------------------------------------ */

bool mp_is_utf8(const uint8_t *data, size_t size)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000}; /* below: an overlong form */
    for (size_t i = 0; i < size;) {
        uint8_t first = data[i++];
        if (first < 0x80)
            continue;
        unsigned more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
        if (first < 0xc0 || first >= 0xf8 || size - i < more)
            return false;
        uint32_t point = first & (0x3fu >> more);
        for (unsigned k = 0; k < more; k++, i++) {
            if ((data[i] & 0xc0) != 0x80)
                return false;
            point = point << 6 | (data[i] & 0x3f);
        }
        if (point < least[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
            return false;
    }
    return true;
}

struct profile {
    const uint8_t *base, *end;
    unsigned handles;
};

static int compare_keys(const struct profile *with, uint32_t a, uint32_t b)
{
    struct mp_item x, y;
    struct mp_reader in_a = {with->base + a, with->end}, in_b = {with->base + b, with->end};
    next(&in_a, &x);
    next(&in_b, &y);
    int order = memcmp(x.data, y.data, x.count < y.count ? x.count : y.count);
    return order ? order : (x.count > y.count) - (x.count < y.count);
}

static void sift(const struct profile *with, uint32_t *heap, size_t at, size_t size)
{
    for (size_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && compare_keys(with, heap[child], heap[child + 1]) < 0)
            child++;
        if (compare_keys(with, heap[at], heap[child]) >= 0)
            return;
        uint32_t swap = heap[at];
        heap[at] = heap[child];
        heap[child] = swap;
    }
}

/* Heapsort: never worse than n log n, whoever chose the keys, and four bytes for each of them. */
static bool distinct(const struct profile *with, uint32_t *keys, size_t size)
{
    for (size_t i = size / 2; i-- > 0;)
        sift(with, keys, i, size);
    for (size_t left = size; left > 1;) {
        uint32_t largest = keys[0];
        keys[0] = keys[--left];
        sift(with, keys, 0, left);
        if (compare_keys(with, largest, keys[0]) == 0)
            return false;
        keys[left] = largest;
    }
    return true;
}

static enum mp_result check(const struct profile *with, struct mp_reader *in, unsigned depth);

static enum mp_result check_map(const struct profile *with, struct mp_reader *in, uint32_t count, unsigned depth)
{
    enum { FEW = 16 };
    uint32_t few[FEW], *keys = few; /* where each key stands; the scan saw that there are so many */
    if (count > FEW && !(keys = malloc(count * sizeof *keys)))
        return MP_NOMEM;
    enum mp_result result = MP_OK;
    for (uint32_t i = 0; i < count && result == MP_OK; i++) {
        struct mp_reader key = *in;
        struct mp_item item;
        keys[i] = (uint32_t)(in->at - with->base);
        if (next(&key, &item) != MP_OK || item.type != MP_STR)
            result = MP_ILLEGAL;
        else if ((result = check(with, in, depth)) == MP_OK)
            result = check(with, in, depth);
    }
    if (result == MP_OK && !distinct(with, keys, count))
        result = MP_ILLEGAL;
    if (keys != few)
        free(keys);
    return result;
}

/* An actor reference: msgpack of [aid?, name?]. */
static bool is_reference(const struct mp_item *ext)
{
    struct mp_reader in = mp_reader(ext->data, ext->count);
    struct mp_item item;
    if (mp_scan(&in) != MP_OK || in.at != in.end)
        return false;
    in = mp_reader(ext->data, ext->count);
    if (!mp_read(&in, &item) || item.type != MP_ARRAY)
        return false;
    struct mp_item part[2] = {{.type = MP_NIL}, {.type = MP_NIL}};
    for (uint32_t i = 0; i < item.count && i < 2; i++)
        mp_read(&in, &part[i]);
    return (part[0].type == MP_NIL || part[0].type == MP_UINT)
        && (part[1].type == MP_NIL || (part[1].type == MP_STR && mp_is_utf8(part[1].data, part[1].count)));
}

static bool good_ext(const struct profile *with, const struct mp_item *ext)
{
    switch (ext->ext) {
    case -1: return ext->count == 4 || ext->count == 8 || ext->count == 12;
    case 1: return ext->count == 1 && ext->data[0] < with->handles;
    case 2: return is_reference(ext);
    default: return true; /* unknown: handed on as it is */
    }
}

static enum mp_result check(const struct profile *with, struct mp_reader *in, unsigned depth)
{
    struct mp_item item;
    enum mp_result result = next(in, &item);
    if (result != MP_OK)
        return result;
    if ((item.type == MP_ARRAY || item.type == MP_MAP) && depth-- == 0)
        return MP_ILLEGAL;
    switch (item.type) {
    case MP_STR: return mp_is_utf8(item.data, item.count) ? MP_OK : MP_ILLEGAL;
    case MP_EXT: return good_ext(with, &item) ? MP_OK : MP_ILLEGAL;
    case MP_MAP: return check_map(with, in, item.count, depth);
    case MP_ARRAY:
        for (uint32_t i = 0; i < item.count && result == MP_OK; i++)
            result = check(with, in, depth);
        return result;
    default: return MP_OK;
    }
}

enum mp_result mp_profile(const void *data, size_t size, unsigned depth, unsigned handles)
{
    struct mp_reader in = mp_reader(data, size);
    struct profile with = {.base = in.at, .end = in.end, .handles = handles};
    return check(&with, &in, depth);
}

/* ---- writing ---------------------------------------------------------------------------- */

void mp_free(struct mp_buf *out)
{
    free(out->data);
    *out = (struct mp_buf){0};
}

bool mp_reserve(struct mp_buf *out, size_t more)
{
    if (out->failed || more > SIZE_MAX / 4 - out->size) {
        out->failed = true;
        return false;
    }
    size_t need = out->size + more, room = out->room ? out->room : 64;
    if (need <= out->room)
        return true;
    while (room < need)
        room *= 2;
    uint8_t *data = realloc(out->data, room);
    if (!data) {
        out->failed = true;
        return false;
    }
    out->data = data;
    out->room = room;
    return true;
}

void mp_raw(struct mp_buf *out, const void *data, size_t size)
{
    if (size && mp_reserve(out, size)) {
        memcpy(out->data + out->size, data, size);
        out->size += size;
    }
}

/* A first byte and a number of so many bytes. */
static void tagged(struct mp_buf *out, uint8_t first, uint64_t value, unsigned bytes)
{
    uint8_t raw[9] = {first};
    for (unsigned i = 0; i < bytes; i++)
        raw[1 + i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    mp_raw(out, raw, 1 + bytes);
}

/* A length in its shortest form; `first` is the form with two bytes, and stands between the others. */
static void length(struct mp_buf *out, uint8_t first, uint32_t value, bool has_one_byte)
{
    if (value > UINT16_MAX)
        tagged(out, first + 1, value, 4);
    else if (value > UINT8_MAX || !has_one_byte)
        tagged(out, first, value, 2);
    else
        tagged(out, first - 1, value, 1);
}

void mp_nil(struct mp_buf *out)
{
    tagged(out, 0xc0, 0, 0);
}

void mp_bool(struct mp_buf *out, bool value)
{
    tagged(out, value ? 0xc3 : 0xc2, 0, 0);
}

void mp_uint(struct mp_buf *out, uint64_t value)
{
    if (value < 0x80)
        tagged(out, (uint8_t)value, 0, 0);
    else if (value <= UINT8_MAX)
        tagged(out, 0xcc, value, 1);
    else if (value <= UINT16_MAX)
        tagged(out, 0xcd, value, 2);
    else if (value <= UINT32_MAX)
        tagged(out, 0xce, value, 4);
    else
        tagged(out, 0xcf, value, 8);
}

void mp_int(struct mp_buf *out, int64_t value)
{
    if (value >= 0)
        mp_uint(out, (uint64_t)value);
    else if (value >= -32)
        tagged(out, (uint8_t)value, 0, 0);
    else if (value >= INT8_MIN)
        tagged(out, 0xd0, (uint64_t)value, 1);
    else if (value >= INT16_MIN)
        tagged(out, 0xd1, (uint64_t)value, 2);
    else if (value >= INT32_MIN)
        tagged(out, 0xd2, (uint64_t)value, 4);
    else
        tagged(out, 0xd3, (uint64_t)value, 8);
}

void mp_float(struct mp_buf *out, double value)
{
    uint64_t raw;
    memcpy(&raw, &value, 8);
    tagged(out, 0xcb, raw, 8);
}

void mp_text(struct mp_buf *out, const char *text)
{
    mp_str(out, text, strlen(text));
}

/* Longer than 4 GiB: nothing that could be sent; the buffer fails as if memory had run out. */
static bool too_long(struct mp_buf *out, size_t size)
{
    if (size > UINT32_MAX)
        out->failed = true;
    return size > UINT32_MAX;
}

void mp_str(struct mp_buf *out, const void *data, size_t size)
{
    if (too_long(out, size))
        return;
    if (size < 32)
        tagged(out, (uint8_t)(0xa0 | size), 0, 0);
    else
        length(out, 0xda, (uint32_t)size, true);
    mp_raw(out, data, size);
}

void mp_bin_head(struct mp_buf *out, uint32_t size)
{
    length(out, 0xc5, size, true);
}

void mp_bin(struct mp_buf *out, const void *data, size_t size)
{
    if (too_long(out, size))
        return;
    mp_bin_head(out, (uint32_t)size);
    mp_raw(out, data, size);
}

void mp_array(struct mp_buf *out, uint32_t count)
{
    if (count < 16)
        tagged(out, (uint8_t)(0x90 | count), 0, 0);
    else
        length(out, 0xdc, count, false);
}

void mp_map(struct mp_buf *out, uint32_t count)
{
    if (count < 16)
        tagged(out, (uint8_t)(0x80 | count), 0, 0);
    else
        length(out, 0xde, count, false);
}

void mp_ext(struct mp_buf *out, int8_t type, const void *data, size_t size)
{
    if (too_long(out, size))
        return;
    if (size == 1 || size == 2 || size == 4 || size == 8 || size == 16) {
        uint8_t first = 0xd4;
        for (size_t n = size; n > 1; n /= 2)
            first++;
        tagged(out, first, 0, 0);
    } else
        length(out, 0xc8, (uint32_t)size, true);
    mp_raw(out, &type, 1);
    mp_raw(out, data, size);
}
