/* Conversations with random faults in them: whatever a primary says, the library neither crashes nor
 * leaks, and what it says in turn is frames. The argument is the number of rounds. */
#include "play.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test.h"

static uint32_t state;

static uint32_t dice(uint32_t sides)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % sides;
}

struct seed {
    uint8_t kind, flags, nfds;
    uint32_t channel;
    const char *body;
    size_t size;
};

#define SEED(kind, flags, nfds, channel, body) {kind, flags, nfds, channel, body, sizeof body - 1}
static const struct seed seeds[] = {
    SEED(AWP_KIND_TELL, 0, 0, 0, "\x91\xc0\xa2hi"),
    SEED(AWP_KIND_TELL, 0, 0, 0, "\x94\xc0\xc0\xc0\x81\xa4name\xa1n\x82\xa1k\x93\x01\xcb\0\0\0\0\0\0\0\0\xc0\xa1l\xd6\xff\0\0\0\0"),
    SEED(AWP_KIND_TELL, 0, 1, 0, "\x93\xc0\xc0\x91\x92\x01\x81\xa4head\xc4\x02xy\xd4\x01\x00"),
    SEED(AWP_KIND_TELL, 3, 1, 2, "\x93\xc0\xc0\x91\x92\x01\x80\xc4\x02\x92\x01"),
    SEED(AWP_KIND_TELL, 2, 0, 2, "\xc0\xc4\x01\x02"),
    SEED(AWP_KIND_CALL, 0, 0, 4, "\x94\xc0\xc0\xc0\x81\xa3ttl\xcd\x03\xe8\xa2hi"),
    SEED(AWP_KIND_CALL, 3, 0, 6, "\x91\xc0\xc4\x01\x91"),
    SEED(AWP_KIND_CALL, 2, 0, 6, "\xc0\xc4\x01\xc0"),
    SEED(AWP_KIND_CANCEL, 0, 0, 4, "\x90\xc0"),
    SEED(AWP_KIND_CANCEL, 0, 0, 6, "\x90\xc0"),
    SEED(AWP_KIND_REPLY, 0, 0, 3, "\x90\x05"),
    SEED(AWP_KIND_REPLY, 3, 1, 3, "\x91\x91\x92\x01\x80\xc4\x01\xd4"),
    SEED(AWP_KIND_REPLY, 2, 0, 3, "\xc0\xc4\x02\x01\x00"),
    SEED(AWP_KIND_ERROR, 0, 0, 3, "\xc0\x82\xa4" "code\xa3" "app\xa7message\xa1!"),
    SEED(AWP_KIND_ERROR, 0, 0, 1, "\xc0\x81\xa4" "code\xa3" "app"),
    SEED(AWP_KIND_LISTENING, 0, 0, 1, "\x90\x81\xa4mode\xa7handoff"),
    SEED(AWP_KIND_LISTENING, 0, 1, 1, "\x91\x91\x92\x02\x81\xa6shared\xc3\x81\xa4mode\xa6shared"),
    SEED(AWP_KIND_CONN, 0, 1, 1, "\x92\x01\x91\x92\x01\x80\xc0"),
    SEED(AWP_KIND_CONN, 0, 2, 1, "\x92\x02\x92\x92\x01\x80\x92\x01\x80\xc0"),
    SEED(AWP_KIND_LISTEN_CLOSE, 0, 0, 1, "\xc0\xc0"),
    SEED(AWP_KIND_CREDIT, 0, 0, 0, "\x91\xcd\x01\x00\xc0"),
    SEED(AWP_KIND_ACK, 0, 0, 0, "\x91\x01\xc0"),
    SEED(AWP_KIND_HANDLE_ACK, 0, 0, 0, "\x92\x01\x91\x01\xc0"),
    SEED(AWP_KIND_SETTINGS, 0, 0, 0, "\xc0\x81\xa6limits\x81\xa6window\xce\x00\x01\x00\x00"),
    SEED(AWP_KIND_SETTINGS_ACK, 0, 0, 0, "\xc0\xc0"),
    SEED(AWP_KIND_UNDELIVERABLE, 0, 0, 0, "\x91\x01\x81\xa4" "code\xa7" "expired"),
    SEED(AWP_KIND_UNIMPLEMENTED, 0, 0, 3, "\x91\x21\xc0"),
    SEED(AWP_KIND_PING, 0, 0, 5, "\xc1"),
    SEED(0x60, 0, 1, 5, "\xc0\xc0"),
    SEED(AWP_KIND_STOP, 0, 0, 0, "\xc0\x81\xa8" "deadline\xcd\x03\xe8"),
    SEED(AWP_KIND_GOODBYE, 0, 0, 0, "\xc0\x81\xa4recv\x00"),
    SEED(AWP_KIND_ABORT, 0, 0, 0, "\xc0\x81\xa4" "code\x01"),
};

struct app {
    struct awp_message *held[8];
    struct awp_listener *listener;
};

/* An application that answers now, later or never. */
static void take_events(struct play *play, struct app *app)
{
    while (awp_next(play->awp, &play->event)) {
        struct awp_event *event = &play->event;
        if (event->descriptor.fd >= 0)
            close(event->descriptor.fd);
        if (event->type == AWP_CONNECTION && event->listener)
            awp_closed(event->listener, 1, 1);
        if (event->type == AWP_LISTENER_ENDED) {
            awp_unlisten(event->listener);
            app->listener = NULL;
        }
        if (event->type == AWP_STOP && dice(2))
            awp_goodbye(play->awp);
        if (event->type == AWP_ANSWER)
            awp_free(event->message);
        if (event->type != AWP_MESSAGE)
            continue;
        struct awp_message **slot = &app->held[dice(8)];
        struct awp_send what = {.body = event->message->body, .size = event->message->size};
        if (event->message->is_call && dice(3) == 0)
            awp_reply(event->message, &what);
        awp_free(*slot);
        *slot = event->message;
    }
    if (dice(16) == 0)
        awp_hold(play->awp, dice(2));
}

static void act(struct play *play, struct app *app)
{
    struct mp_buf request = {0};
    uint32_t call = 0;
    switch (dice(8)) {
    case 0: awp_tell(play->awp, &(struct awp_send){.body = "\xc0", .size = 1}); break;
    case 1: awp_call(play->awp, &(struct awp_send){.ttl = dice(2) ? 1 : 0}, app, &call); break;
    case 2: awp_cancel(play->awp, 3 + 2 * dice(4)); break;
    case 3: if (app->listener && dice(2)) {
                awp_unlisten(app->listener);
                app->listener = NULL;
            }
            break;
    case 4: awp_log(play->awp, 20, "fuzz", "\xff", 1); break;
    default: break;
    }
    mp_free(&request);
}

static size_t spoil(uint8_t *bytes, size_t size)
{
    switch (dice(6)) {
    case 0: bytes[dice((uint32_t)size)] = (uint8_t)dice(256); break;
    case 1: bytes[16 + dice((uint32_t)size - 16)] ^= (uint8_t)(1u << dice(8)); break;
    case 2: bytes[7] = (uint8_t)dice(0x30); break;
    case 3: bytes[15] = (uint8_t)dice(8); break;
    case 4: return size - dice(3);
    default: break;
    }
    return size;
}

static void round_of(int sock)
{
    struct play play;
    struct app app = {0};
    struct mp_buf request = {0};
    active(&play, "window=65536 max_message=65536 max_partial=65536");
    mp_map(&request, 1);
    mp_text(&request, AWP_KEY_LISTEN_CREDIT);
    mp_uint(&request, 4);
    CHECK(awp_listen(play.awp, &request, &app, &app.listener) == 0);
    mp_free(&request);
    CHECK(awp_call(play.awp, &(struct awp_send){0}, &app, NULL) == 0);
    fault.send_most = dice(4) ? 0 : 1 + dice(40);
    for (unsigned step = dice(60) + 5; step && awp_fd(play.awp) >= 0; step--) {
        /* The last seeds end the connection: they come seldom. */
        size_t ends = 3, count = sizeof seeds / sizeof *seeds;
        const struct seed *seed = &seeds[dice((uint32_t)(dice(20) ? count - ends : count))];
        uint8_t bytes[512];
        int fds[2] = {sock, sock};
        size_t size = make_frame(bytes, seed->kind, seed->flags, seed->nfds, seed->channel, seed->body, seed->size);
        if (dice(4) == 0)
            size = spoil(bytes, size);
        unsigned nfds = dice(20) ? seed->nfds : dice(3);
        say(&play, bytes, size, fds, nfds);
        awp_dispatch(play.awp);
        take_events(&play, &app);
        act(&play, &app);
        listen_to(&play);
    }
    fault.send_most = 0;
    for (size_t length; heard(&play, &length);)
        continue;
    awp_close(play.awp);
    play.awp = NULL;
    for (size_t i = 0; i < sizeof app.held / sizeof *app.held; i++)
        awp_free(app.held[i]);
    close(play.fd);
    free(play.heard);
}

int main(int argc, char **argv)
{
    unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 500;
    int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(sock >= 0);
    unsigned before = open_fds();
    for (unsigned long i = 0; i < rounds; i++) {
        state = (uint32_t)i * 2654435761u + 1;
        round_of(sock);
        if (open_fds() != before)
            fprintf(stderr, "round %lu leaves descriptors open\n", i);
        CHECK(open_fds() == before);
    }
    close(sock);
    puts("test_fuzz: all well");
    return 0;
}
