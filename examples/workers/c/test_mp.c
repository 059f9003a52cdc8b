/* The msgpack codec alone. */
#include "mp.h"

#include <math.h>
#include <string.h>

#include "test.h"

static void writes(const char *hex, struct mp_buf *out)
{
    char text[256] = "";
    for (size_t i = 0; i < out->size; i++)
        snprintf(text + 2 * i, sizeof text - 2 * i, "%02x", out->data[i]);
    if (strcmp(text, hex) != 0)
        fprintf(stderr, "wrote %s, not %s\n", text, hex);
    CHECK(strcmp(text, hex) == 0);
    mp_free(out);
}

#define WRITES(hex, call) \
    do { \
        struct mp_buf out = {0}; \
        call; \
        writes(hex, &out); \
    } while (0)

static void test_shortest_forms(void)
{
    WRITES("c0", mp_nil(&out));
    WRITES("c3", mp_bool(&out, true));
    WRITES("7f", mp_uint(&out, 127));
    WRITES("cc80", mp_uint(&out, 128));
    WRITES("cd0100", mp_uint(&out, 256));
    WRITES("ce00010000", mp_uint(&out, 65536));
    WRITES("cf0000000100000000", mp_uint(&out, UINT64_C(1) << 32));
    WRITES("e0", mp_int(&out, -32));
    WRITES("d0df", mp_int(&out, -33));
    WRITES("d1ff7f", mp_int(&out, -129));
    WRITES("d2ffff7fff", mp_int(&out, -32769));
    WRITES("d38000000000000000", mp_int(&out, INT64_MIN));
    WRITES("05", mp_int(&out, 5));
    WRITES("cb3ff8000000000000", mp_float(&out, 1.5));
    WRITES("a26869", mp_text(&out, "hi"));
    WRITES("c4026869", mp_bin(&out, "hi", 2));
    WRITES("c50100", mp_bin_head(&out, 256));
    WRITES("c600010000", mp_bin_head(&out, 65536));
    WRITES("9f", mp_array(&out, 15));
    WRITES("dc0010", mp_array(&out, 16));
    WRITES("df00010000", mp_map(&out, 65536));
    WRITES("d40107", mp_ext(&out, 1, "\7", 1));
    WRITES("d8ff00000000000000000000000000000000", mp_ext(&out, -1, (char[16]){0}, 16));
    WRITES("c70302616263", mp_ext(&out, 2, "abc", 3));
    char text[40] = "0123456789012345678901234567890";
    struct mp_buf out = {0};
    mp_text(&out, text);
    CHECK(out.size == 32 && out.data[0] == 0xbf);
    mp_str(&out, text, 32);
    CHECK(out.size == 32 + 34 && out.data[32] == 0xd9 && out.data[33] == 32);
    mp_free(&out);
}

static struct mp_item read_one(const char *bytes, size_t size)
{
    struct mp_reader in = mp_reader(bytes, size);
    struct mp_item item;
    CHECK(mp_read(&in, &item));
    return item;
}

static void test_reading(void)
{
    struct mp_item item = read_one("\xd0\x80", 2);
    CHECK(item.type == MP_INT && item.i == -128);
    item = read_one("\xd1\x00\x80", 3);
    CHECK(item.type == MP_UINT && item.u == 128); /* a signed form of what is not negative */
    item = read_one("\xff", 1);
    CHECK(item.type == MP_INT && item.i == -1);
    item = read_one("\xd3\x80\0\0\0\0\0\0\0", 9);
    CHECK(item.type == MP_INT && item.i == INT64_MIN);
    item = read_one("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9);
    CHECK(item.type == MP_UINT && item.u == UINT64_MAX);
    item = read_one("\xca\x3f\xc0\0\0", 5);
    CHECK(item.type == MP_FLOAT && item.f == 1.5);
    item = read_one("\xcb\x7f\xf8\0\0\0\0\0\0", 9);
    CHECK(item.type == MP_FLOAT && isnan(item.f));
    item = read_one("\xd5\x05\x01\x02", 4);
    CHECK(item.type == MP_EXT && item.ext == 5 && item.count == 2 && item.data[1] == 2);
    item = read_one("\xdf\0\0\0\x02", 5);
    CHECK(item.type == MP_MAP && item.count == 2);
}

static enum mp_result scan(const char *bytes, size_t size)
{
    struct mp_reader in = mp_reader(bytes, size);
    enum mp_result result = mp_scan(&in);
    CHECK(result != MP_OK || in.at == in.end);
    return result;
}

static void test_scanning(void)
{
    CHECK(scan("\x92\x01\x02", 3) == MP_OK);
    CHECK(scan("\x81\xa1x\x90", 4) == MP_OK);
    CHECK(scan("", 0) == MP_SHORT);
    CHECK(scan("\x92\x01", 2) == MP_SHORT);
    CHECK(scan("\xdb\xff\xff\xff\xffx", 6) == MP_SHORT);
    CHECK(scan("\xc1", 1) == MP_ILLEGAL);
    CHECK(scan("\x91\xc1", 2) == MP_ILLEGAL);
    char bomb[300]; /* arrays of 2^32 - 1 elements, in one another: no memory, no time */
    for (size_t i = 0; i < sizeof bomb; i += 5)
        memcpy(bomb + i, "\xdd\xff\xff\xff\xff", 5);
    CHECK(scan(bomb, sizeof bomb) == MP_SHORT);
    static char deep[1000000];
    memset(deep, 0x91, sizeof deep - 1);
    CHECK(scan(deep, sizeof deep) == MP_OK);
}

static bool good(const char *bytes, size_t size)
{
    return mp_profile(bytes, size, 64, 2) == MP_OK;
}

static void test_profile(void)
{
    CHECK(good("\xa2\xc3\xa4", 3));
    CHECK(!good("\xa1\xff", 2));
    CHECK(!good("\xa2\xc0\x80", 3));         /* overlong */
    CHECK(!good("\xa3\xed\xa0\x80", 4));     /* a surrogate */
    CHECK(!good("\xa1\xc3", 2));             /* cut */
    CHECK(!good("\xa4\xf4\x90\x80\x80", 5)); /* beyond the last character */
    CHECK(good("\x82\xa1" "a\x01\xa1" "b\x02", 7));
    CHECK(!good("\x82\xa1" "a\x01\xa1" "a\x02", 7));
    CHECK(!good("\x82\xa1" "a\x01\xd9\x01" "a\x02", 8)); /* the same key, written differently */
    CHECK(!good("\x81\x01\x01", 3));
    CHECK(!good("\x91\x81\xc0\x01", 4));
    CHECK(good("\xd4\x01\x01", 3) && !good("\xd4\x01\x02", 3)); /* there are two handles */
    CHECK(good("\xd5\x02\x91\x07", 4) && !good("\xd4\x02\xc0", 3));
    CHECK(good("\xd4\x63\x00", 3)); /* unknown types are no violation */
    char deep[66];
    memset(deep, 0x91, sizeof deep);
    deep[64] = deep[65] = 1;
    CHECK(good(deep, 65));
    deep[64] = (char)0x91;
    CHECK(!good(deep, 66));
}

static void test_many_keys(void)
{
    for (unsigned same = 0; same < 2; same++) {
        struct mp_buf out = {0};
        enum { KEYS = 5000 };
        mp_map(&out, KEYS);
        for (unsigned i = 0; i < KEYS; i++) {
            char key[16];
            snprintf(key, sizeof key, "k%u", same && i == KEYS - 1 ? 17 : i);
            mp_text(&out, key);
            mp_nil(&out);
        }
        CHECK((mp_profile(out.data, out.size, 64, 0) == MP_OK) == !same);
        mp_free(&out);
    }
}

/* Whatever comes, what scan and profile accept is read to its end. */
static void test_random(void)
{
    uint32_t state = 1;
    for (unsigned round = 0; round < 200000; round++) {
        uint8_t bytes[24];
        for (size_t i = 0; i < sizeof bytes; i++) {
            state = state * 1664525 + 1013904223;
            bytes[i] = (uint8_t)(state >> 24) | (i < 3 ? 0x80 : 0);
        }
        struct mp_reader in = mp_reader(bytes, sizeof bytes), again = in;
        struct mp_item item;
        if (mp_scan(&in) != MP_OK || mp_profile(bytes, (size_t)(in.at - bytes), 64, 0) != MP_OK)
            continue;
        while (again.at < in.at)
            CHECK(mp_read(&again, &item));
        CHECK(again.at == in.at);
    }
}

int main(void)
{
    test_shortest_forms();
    test_reading();
    test_scanning();
    test_profile();
    test_many_keys();
    test_random();
    puts("test_mp: all well");
    return 0;
}
