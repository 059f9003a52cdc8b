/* Limits: their names, defaults and floors; and the capabilities by name. */
#include "awp_internal.h"

#include <stdlib.h>
#include <string.h>

static const struct limit {
    const char *name;
    size_t offset;
    uint32_t normal, floor;
} table[] = {
#define LIMIT(field, NAME) \
    {AWP_LIMIT_##NAME, offsetof(struct awp_limits, field), AWP_DEFAULT_##NAME, AWP_FLOOR_##NAME}
    LIMIT(max_frame, MAX_FRAME),
    LIMIT(max_message, MAX_MESSAGE),
    LIMIT(max_partial, MAX_PARTIAL),
    LIMIT(window, WINDOW),
    LIMIT(max_depth, MAX_DEPTH),
    LIMIT(max_fds, MAX_FDS),
    LIMIT(fds_in_flight, FDS_IN_FLIGHT),
    LIMIT(max_calls, MAX_CALLS),
    LIMIT(max_listeners, MAX_LISTENERS),
    LIMIT(max_meta, MAX_META),
    LIMIT(max_monitors, MAX_MONITORS),
#undef LIMIT
};

enum { LIMITS = sizeof table / sizeof *table };

static uint32_t *field(struct awp_limits *limits, const struct limit *limit)
{
    return (uint32_t *)(void *)((char *)limits + limit->offset);
}

/* Take what somebody says of one limit; less than the floor counts as the floor (AWP-LM-1). */
static void set(struct awp_limits *limits, const struct limit *limit, uint64_t value)
{
    value = value < limit->floor ? limit->floor : value;
    *field(limits, limit) = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

void awp_limits_default(struct awp_limits *limits)
{
    for (size_t i = 0; i < LIMITS; i++)
        *field(limits, &table[i]) = table[i].normal;
}

void awp_limits_merge(struct awp_limits *limits, const struct awp_limits *some)
{
    struct awp_limits from = *some;
    for (size_t i = 0; i < LIMITS; i++)
        if (*field(&from, &table[i]))
            set(limits, &table[i], *field(&from, &table[i]));
    if (limits->max_fds > AWP_GROUP)
        limits->max_fds = AWP_GROUP;
}

void awp_limits_from_text(struct awp_limits *limits, const char *text)
{
    while (*text) {
        size_t size = strcspn(text, " ");
        for (size_t i = 0; i < LIMITS; i++) {
            size_t name = strlen(table[i].name);
            if (size > name && text[name] == '=' && strncmp(text, table[i].name, name) == 0)
                set(limits, &table[i], strtoull(text + name + 1, NULL, 10));
        }
        text += size;
        text += strspn(text, " ");
    }
}

bool awp_limits_read(struct awp_limits *limits, struct mp_reader in)
{
    uint32_t pairs;
    if (!awp_map(&in, &pairs))
        return false;
    for (; pairs; pairs--) {
        struct mp_item key, value;
        awp_value(&in, &key, NULL);
        awp_value(&in, &value, NULL);
        for (size_t i = 0; i < LIMITS; i++) {
            if (!mp_equals(&key, table[i].name))
                continue;
            if (value.type != MP_UINT)
                return false;
            set(limits, &table[i], value.u);
        }
    }
    return true;
}

void awp_limits_write(struct mp_buf *out, const struct awp_limits *limits, bool all)
{
    struct awp_limits from = *limits;
    uint32_t count = 0;
    for (size_t i = 0; i < LIMITS; i++)
        count += all || *field(&from, &table[i]);
    mp_map(out, count);
    for (size_t i = 0; i < LIMITS; i++)
        if (all || *field(&from, &table[i])) {
            mp_text(out, table[i].name);
            mp_uint(out, *field(&from, &table[i]));
        }
}

void awp_limits_raise(struct awp_limits *limits, const struct awp_limits *wanted)
{
    struct awp_limits to = *wanted;
    for (size_t i = 0; i < LIMITS; i++)
        if (&limits->window != field(limits, &table[i]) && *field(&to, &table[i]) > *field(limits, &table[i]))
            set(limits, &table[i], *field(&to, &table[i]));
}

/* ---- capabilities ----------------------------------------------------------------------- */

static const char *const caps[] = {
    AWP_CAP_MSG, AWP_CAP_CALL, AWP_CAP_FRAG, AWP_CAP_ACK, AWP_CAP_LOG, AWP_CAP_HANDLE, AWP_CAP_HANDLE_SEND,
    AWP_CAP_HANDLE_ACK, AWP_CAP_HANDLE_HEAD, AWP_CAP_LISTEN_HANDOFF, AWP_CAP_LISTEN_SHARED, NULL,
};

const char *const *awp_caps_known(void)
{
    return caps;
}

uint32_t awp_cap_bit(const char *name, size_t size)
{
    for (unsigned i = 0; caps[i]; i++)
        if (strlen(caps[i]) == size && memcmp(caps[i], name, size) == 0)
            return UINT32_C(1) << i;
    return 0;
}

bool awp_in_force(const struct awp *awp, const char *capability)
{
    return awp->caps_in_force & awp_cap_bit(capability, strlen(capability));
}

bool awp_has(const struct awp *awp, const char *capability)
{
    return awp_in_force(awp, capability);
}
