/* msgpack, as much as AWP needs: a reader that points into its input, and a writer.
 *
 * The reader allocates nothing. Take input that is not trusted through mp_scan() and
 * mp_profile() first; on what they accept, mp_read() does not fail before the end. */
#ifndef MP_H
#define MP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mp_type {
    MP_NIL, MP_BOOL, MP_UINT, MP_INT, MP_FLOAT, MP_STR, MP_BIN, MP_EXT, MP_ARRAY, MP_MAP
};

/* One value, or the head of an array or a map, whose elements are read next. */
struct mp_item {
    enum mp_type type;
    union {
        bool b;
        uint64_t u; /* MP_UINT: every integer from 0 up, however it was written */
        int64_t i;  /* MP_INT: below 0 */
        double f;
    };
    const uint8_t *data; /* MP_STR, MP_BIN, MP_EXT */
    uint32_t count;      /* bytes of data, elements of an array, pairs of a map */
    int8_t ext;          /* MP_EXT: its type */
};

struct mp_reader {
    const uint8_t *at, *end;
};

enum mp_result {
    MP_OK,
    MP_SHORT,   /* the object would end behind the end of the input */
    MP_ILLEGAL, /* what msgpack does not know */
    MP_NOMEM
};

struct mp_reader mp_reader(const void *data, size_t size);

/* Read one value or head. False at the end of the input, and for what is not msgpack. */
bool mp_read(struct mp_reader *in, struct mp_item *item);

/* Pass over one whole object; true if there was one. */
bool mp_skip(struct mp_reader *in);

/* Find the end of one object, in one pass and without recursion. */
enum mp_result mp_scan(struct mp_reader *in);

/* Whether one object that mp_scan() found well-formed keeps to the value profile of AWP: UTF-8,
 * keys that are str and distinct, nesting up to `depth`, and handle extensions (type 1) below
 * `handles`. */
enum mp_result mp_profile(const void *data, size_t size, unsigned depth, unsigned handles);

bool mp_is_utf8(const uint8_t *data, size_t size);
bool mp_equals(const struct mp_item *item, const char *text); /* is it this str? */

/* A buffer that grows. After a failed allocation all calls do nothing and `failed` is set, so
 * that one look at the end is enough. Start with {0}, end with mp_free(). */
struct mp_buf {
    uint8_t *data;
    size_t size, room;
    bool failed;
};

void mp_free(struct mp_buf *out);
bool mp_reserve(struct mp_buf *out, size_t more);
void mp_raw(struct mp_buf *out, const void *data, size_t size); /* bytes that are msgpack already */
void mp_nil(struct mp_buf *out);
void mp_bool(struct mp_buf *out, bool value);
void mp_uint(struct mp_buf *out, uint64_t value);
void mp_int(struct mp_buf *out, int64_t value);
void mp_float(struct mp_buf *out, double value);
void mp_text(struct mp_buf *out, const char *text);
void mp_str(struct mp_buf *out, const void *data, size_t size);
void mp_bin(struct mp_buf *out, const void *data, size_t size);
void mp_bin_head(struct mp_buf *out, uint32_t size); /* `size` bytes by mp_raw() follow */
void mp_array(struct mp_buf *out, uint32_t count);   /* `count` values follow */
void mp_map(struct mp_buf *out, uint32_t count);     /* `count` keys and values follow */
void mp_ext(struct mp_buf *out, int8_t type, const void *data, size_t size);

#endif
