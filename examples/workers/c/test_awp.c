/* The library against a primary that play.c plays, over a real socket pair. */
#include "play.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test.h"

enum { HAND_OFFS = 10000 };

/* ---- tests ------------------------------------------------------------------------------ */

static void test_messages(void)
{
    struct play play;
    active(&play, "");
    SAY(&play, AWP_KIND_PING, 9, "\x93\xc1\xff");
    SAY(&play, AWP_KIND_CALL, 2, "\x91\xc0\xa2hi");
    SAY(&play, AWP_KIND_CALL, 4, "\x91\xc0\xa2ho");
    struct awp_message *call = message_now(&play);
    CHECK(call->is_call && call->size == 3);
    HEAR(&play, AWP_KIND_PONG, "\x93\xc1\xff");
    CHECK(awp_reply(call, &(struct awp_send){.body = "\x03", .size = 1}) == 0);
    CHECK(awp_reply(call, &(struct awp_send){.body = "\x03", .size = 1}) == -EPIPE);
    awp_free(call);
    awp_free(message_now(&play)); /* without an answer */
    pass(&play);
    HEAR(&play, AWP_KIND_REPLY, "\x90\x03");
    HEAR(&play, AWP_KIND_ERROR, "\xc0\x81\xa4" "code\xabnot_handled");
    SAY(&play, AWP_KIND_TELL, 0, "\x91\xc0\xa1\xff");
    CHECK(!pass(&play));
    HEAR(&play, AWP_KIND_UNDELIVERABLE, "\x91\x03\x81\xa4" "code\xab" "bad_payload");
    uint32_t id;
    CHECK(awp_call(play.awp, &(struct awp_send){0}, &play, &id) == 0 && id == 1 && !pass(&play));
    HEAR(&play, AWP_KIND_CALL, "\x91\xc0\xc0");
    SAY(&play, AWP_KIND_REPLY, 1, "\xc0\xa4" "done");
    CHECK(pass(&play) && play.event.type == AWP_ANSWER && play.event.tag == &play && play.event.message->size == 5);
    awp_free(play.event.message);
    CHECK(awp_call(play.awp, &(struct awp_send){.ttl = 1}, &play, &id) == 0 && !pass(&play));
    usleep(5000);
    CHECK(pass(&play) && !strcmp(play.event.error.code, "deadline_exceeded"));
    pass(&play);
    HEAR(&play, AWP_KIND_CANCEL, "\x90\xc0");
    SAY(&play, AWP_KIND_REPLY, 3, "\xc0\xa4late");
    CHECK(!pass(&play)); /* dropped */
    end(&play);
}

/* However the bytes are cut, and whatever interrupts, the same comes out. */
static void test_cuts(void)
{
    uint8_t bytes[512];
    size_t size = FRAME(bytes, AWP_KIND_TELL, AWP_FLAG_FRAG | AWP_FLAG_MORE, 0, 2, "\x91\xc0\xc4\x03\xa5he");
    size += FRAME(bytes + size, AWP_KIND_PING, 0, 0, 0, "\xc0\x01");
    size += FRAME(bytes + size, AWP_KIND_TELL, 0, 0, 0, "\x91\xc0\x05");
    size += FRAME(bytes + size, AWP_KIND_TELL, AWP_FLAG_FRAG, 0, 2, "\xc0\xc4\x03llo");
    for (size_t step = 1; step <= size; step += step < 20 ? 1 : 7) {
        struct play play;
        unsigned count = 0;
        active(&play, "");
        fault.interrupt = step % 2;
        fault.send_most = step % 5;
        for (size_t at = 0; at < size; at += step) {
            say(&play, bytes + at, step < size - at ? step : size - at, NULL, 0);
            while (pass(&play)) {
                CHECK(play.event.type == AWP_MESSAGE && play.event.message->size == (count ? 6 : 1));
                awp_free(play.event.message);
                count++;
            }
        }
        CHECK(count == 2);
        awp_give_credit(play.awp);
        CHECK(!pass(&play));
        HEAR(&play, AWP_KIND_PONG, "\xc0\x01");
        HEAR(&play, AWP_KIND_CREDIT, "\x91\xcd\x02\x00\xc0");
        HEAR(&play, AWP_KIND_ACK, "\x91\x02\xc0");
        memset(&fault, 0, sizeof fault);
        end(&play);
    }
}

/* A message of ours goes in pieces, what is urgent between them, and the next message behind. */
static void test_large(void)
{
    enum { SIZE = 3000000 };
    struct play play;
    struct mp_buf body = {0};
    active(&play, "");
    mp_bin_head(&body, SIZE);
    CHECK(mp_reserve(&body, SIZE));
    memset(body.data + body.size, 'x', SIZE);
    body.size += SIZE;
    CHECK(awp_tell(play.awp, &(struct awp_send){.body = body.data, .size = body.size}) == 0);
    CHECK(awp_tell(play.awp, &(struct awp_send){.body = "\x01", .size = 1}) == 0);
    CHECK(!awp_all_queued(play.awp));
    SAY(&play, AWP_KIND_PING, 0, "\xc0\x02");
    size_t length, total = 0;
    bool pong = false, second = false, last = false;
    while (!second) {
        pass(&play);
        for (const uint8_t *frame; (frame = heard(&play, &length));) {
            pong = pong || (frame[7] == AWP_KIND_PONG && !last);
            if (frame[7] != AWP_KIND_TELL)
                continue;
            second = !(frame[8] & AWP_FLAG_FRAG);
            CHECK(second == last && length <= 256 * 1024 + 16);
            last = second || !(frame[8] & AWP_FLAG_MORE);
            total += second ? 0 : length;
        }
    }
    CHECK(pong && total > SIZE && total < SIZE + 200);
    CHECK(awp_tell(play.awp, &(struct awp_send){.body = body.data, .size = body.size}) == -EAGAIN);
    SAY(&play, AWP_KIND_CREDIT, 0, "\x91\xce\x00\x2d\xc0\x00\xc0");
    CHECK(pass(&play) && play.event.type == AWP_ROOM);
    CHECK(awp_tell(play.awp, &(struct awp_send){.body = body.data, .size = body.size}) == 0);
    mp_free(&body);
    end(&play);
}

#define WITH_HANDLE "\x93\xc0\xc0\x91\x92\x01\x80\xd4\x01\x00"

static void test_descriptors(void)
{
    struct play play;
    uint8_t frame[512];
    active(&play, "");
    unsigned before = open_fds();
    int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int two[2] = {sock, file};
    CHECK(sock >= 0 && file >= 0);
    size_t size = FRAME(frame, AWP_KIND_TELL, 0, 1, 0, WITH_HANDLE);
    for (unsigned i = 0; i < HAND_OFFS; i++) {
        say(&play, frame, size, &sock, 1);
        struct awp_message *message = message_now(&play);
        CHECK(message->handle_count == 1 && awp_is_kind(message->handles[0].fd, AWP_HANDLE_TCP_SOCKET));
        awp_free(message);
        if (i % 100 == 0)
            listen_to(&play);
    }
    say(&play, frame, size, &file, 1); /* not what it says */
    CHECK(!pass(&play));
    HEAR(&play, AWP_KIND_UNDELIVERABLE, "\x91\xcd\x27\x11\x81\xa4" "code\xb2unsupported_handle");
    say(&play, frame, size, NULL, 0); /* none came */
    CHECK(!pass(&play));
    HEAR(&play, AWP_KIND_HANDLE_ACK, "\x92\xcd\x27\x12\x91\xcd\x27\x12\xc0"); /* urgent: in front */
    HEAR(&play, AWP_KIND_UNDELIVERABLE, "\x91\xcd\x27\x12\x81\xa4" "code\xabhandle_lost");

    /* At the limit of open files one is lost, and the next finds its own. */
    struct rlimit limit, low;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    low = limit;
    low.rlim_cur = (rlim_t)(dup(0) + 1); /* two are free */
    close((int)low.rlim_cur - 1);
    CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
    say(&play, frame, FRAME(frame, AWP_KIND_TELL, 0, 2, 0, "\x93\xc0\xc0\x92\x92\x01\x80\x92\x0a\x80\xd4\x01\x00"),
        two, 2);
    say(&play, frame, FRAME(frame, AWP_KIND_TELL, 0, 1, 0, WITH_HANDLE), &sock, 1);
    struct awp_message *message = message_now(&play);
    CHECK(message->handle_count == 1 && awp_is_kind(message->handles[0].fd, AWP_HANDLE_TCP_SOCKET));
    awp_free(message);
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0 && !pass(&play));
    HEAR(&play, AWP_KIND_UNDELIVERABLE, "\x91\xcd\x27\x13\x81\xa4" "code\xabhandle_lost");

    /* Ours: kept until they are acknowledged, though the system is short of something at first. */
    fault.send_error = ETOOMANYREFS;
    struct awp_descriptor ours = {.fd = sock, .kind = AWP_HANDLE_TCP_SOCKET};
    CHECK(awp_tell(play.awp, &(struct awp_send){.handles = &ours, .handle_count = 1}) == 0);
    CHECK(!pass(&play) && awp_timeout(play.awp) <= 20);
    usleep(25000);
    CHECK(!pass(&play) && fcntl(sock, F_GETFD) >= 0);
    HEAR(&play, AWP_KIND_TELL, "\x93\xc0\xc0\x91\x92\x01\x80\xc0");
    SAY(&play, AWP_KIND_HANDLE_ACK, 0, "\x91\x01\xc0");
    CHECK(!pass(&play) && fcntl(sock, F_GETFD) < 0);
    close(file);
    CHECK(open_fds() == before);
    end(&play);
}

static void test_connections(void)
{
    struct play play;
    uint8_t frame[512];
    struct awp_listener *listener;
    struct mp_buf request = {0};
    active(&play, "");
    int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    mp_map(&request, 1);
    mp_text(&request, "credit");
    mp_uint(&request, 3);
    CHECK(awp_listen(play.awp, &request, &play, &listener) == 0 && !pass(&play));
    mp_free(&request);
    HEAR(&play, AWP_KIND_LISTEN, "\xc0\x81\xa6" "credit\x03");
    SAY(&play, AWP_KIND_LISTENING, 1, "\x90\x81\xa4mode\xa7handoff");
    CHECK(pass(&play) && play.event.type == AWP_LISTENING && play.event.tag == &play);
    /* The first is there, the second got lost: it is given back behind the first, which is taken. */
    say(&play, frame, FRAME(frame, AWP_KIND_CONN, 0, 1, 1, "\x92\x01\x91\x92\x01\x80\xc0"), &sock, 1);
    say(&play, frame, FRAME(frame, AWP_KIND_CONN, 0, 1, 1, "\x92\x02\x91\x92\x01\x80\xc0"), NULL, 0);
    CHECK(pass(&play) && play.event.type == AWP_CONNECTION && play.event.listener == listener);
    HEAR(&play, AWP_KIND_CONN_REPLY, "\x92\x02\x91\x02\xc0"); /* written before we have it */
    close(play.event.descriptor.fd);
    CHECK(awp_closed(listener, 1, 1) == 0 && !pass(&play));
    HEAR(&play, AWP_KIND_CONN_CREDIT, "\x92\x01\x01\xc0");
    awp_unlisten(listener);
    CHECK(!pass(&play));
    HEAR(&play, AWP_KIND_LISTEN_CLOSE, "\xc0\xc0");
    say(&play, frame, FRAME(frame, AWP_KIND_CONN, 0, 1, 1, "\x92\x03\x91\x92\x01\x80\xc0"), &sock, 1);
    CHECK(!pass(&play)); /* it crossed LISTEN_CLOSE */
    HEAR(&play, AWP_KIND_CONN_REPLY, "\x92\x03\x91\x03\xc0");
    close(sock);
    end(&play);
}

/* A wider window of ours holds from SETTINGS_ACK on: only then the messages for it are legal. */
static void test_settings(void)
{
    for (unsigned acknowledged = 0; acknowledged < 2; acknowledged++) {
        struct play play;
        active(&play, "window=65536");
        CHECK(awp_set_limits(play.awp, &(struct awp_limits){.window = 131072, .max_calls = 1}) == 0 && !pass(&play));
        HEAR(&play, AWP_KIND_SETTINGS, "\xc0\x81\xa6limits\x82\xa6window\xce\x00\x02\x00\x00\xa9max_calls\x01");
        if (acknowledged)
            SAY(&play, AWP_KIND_SETTINGS_ACK, 0, "\xc0\xc0");
        awp_hold(play.awp, true);
        for (unsigned i = 0; i < 257; i++) /* of 256 each: one more than 65536 */
            SAY(&play, AWP_KIND_TELL, 0, "\x91\xc0\x05");
        while (pass(&play) && play.event.type == AWP_MESSAGE)
            awp_free(play.event.message);
        CHECK((awp_fd(play.awp) >= 0) == acknowledged);
        if (!acknowledged)
            HEAR(&play, AWP_KIND_ABORT, "\xc0\x82\xa4" "code\x0a");
        end(&play);
    }
}

static void test_stop(void)
{
    struct play play;
    active(&play, "");
    SAY(&play, AWP_KIND_CALL, 2, "\x91\xc0\xa2hi");
    struct awp_message *call = message_now(&play);
    SAY(&play, AWP_KIND_STOP, 0, "\xc0\x81\xa8" "deadline\xcd\x03\xe8");
    SAY(&play, AWP_KIND_CALL, 4, "\x91\xc0\xa2no");
    CHECK(pass(&play) && play.event.type == AWP_STOP && play.event.deadline - awp_now() <= 1000);
    CHECK(!pass(&play));
    HEAR(&play, AWP_KIND_ERROR, "\xc0\x81\xa4" "code\xa7refused");
    awp_goodbye(play.awp);
    CHECK(!pass(&play));
    HEAR(&play, AWP_KIND_ERROR, "\xc0\x81\xa4" "code\xabnot_handled"); /* it was begun */
    HEAR(&play, AWP_KIND_GOODBYE, "\xc0\x81\xa4recv\x02");
    char byte;
    CHECK(recv(play.fd, &byte, 1, MSG_DONTWAIT) == 0); /* it has shut down its sending direction */
    SAY(&play, AWP_KIND_GOODBYE, 0, "\xc0\x81\xa4recv\x00");
    CHECK(shutdown(play.fd, SHUT_WR) == 0);
    CHECK(pass(&play) && play.event.type == AWP_CLOSED && play.event.status == 0);
    CHECK(!pass(&play) && awp_fd(play.awp) < 0);
    awp_close(play.awp);
    play.awp = NULL;
    awp_free(call); /* the application's still */
    end(&play);
}

/* Frames that end the connection, and the code that says why. */
static void test_aborts(void)
{
    static const struct {
        const char *bytes;
        size_t size;
        uint8_t code;
    } cases[] = {
#define CASE(code, bytes) {bytes, sizeof bytes - 1, code}
        CASE(AWP_ABORT_BAD_SIGNATURE, "GET / HTTP/1.1\r\n\r\n"),
        CASE(AWP_ABORT_FRAME_TOO_LARGE, "\x95\xce\xff\xff\xff\xff\xce\x20\0\0\0\xce\0\0\0\0"),
        CASE(AWP_ABORT_BAD_LENGTH, "\x95\xce\0\0\0\x02\xce\x20\0\0\0\xce\0\0\0\0\x91\xc0"),
        CASE(AWP_ABORT_STATE_VIOLATION, "\x95\xce\0\0\0\x02\xce\x50\0\0\0\xce\0\0\0\0\xc0\xc0"),
        CASE(AWP_ABORT_PROTOCOL_ERROR, "\x95\xce\0\0\0\x03\xce\x20\x01\0\0\xce\0\0\0\x02\x91\xc0\xc0"),
        CASE(AWP_ABORT_FLOW_VIOLATION, "\x95\xce\0\0\0\x03\xce\x0a\0\0\0\xce\0\0\0\0\x91\x01\xc0"),
        CASE(AWP_ABORT_FD_VIOLATION, "\x95\xce\0\0\0\x02\xce\x06\0\x01\0\xce\0\0\0\0\xc0\xc0"),
#undef CASE
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct play play;
        uint8_t expected[] = "\xc0\x83\xa4" "code\x00";
        active(&play, "");
        expected[7] = cases[i].code;
        say(&play, cases[i].bytes, cases[i].size, NULL, 0);
        CHECK(pass(&play) && play.event.type == AWP_CLOSED && play.event.status == 1);
        hear(&play, AWP_KIND_ABORT, (const char *)expected, 8);
        end(&play);
    }
}

/* A conversation in which everything happens, with memory running out at one place after another:
 * it may end the connection, but nothing else; the sanitizers see what is lost. */
static void converse(struct play *play, int sock)
{
    uint8_t frame[512];
    struct awp_listener *listener = NULL;
    struct mp_buf request = {0};
    mp_map(&request, 0);
    SAY(play, AWP_KIND_WELCOME, 0, WELCOME_HEAD WELCOME_CAPS WELCOME_KINDS);
    pass(play);
    for (unsigned step = 0; step < 8; step++) {
        int copy = step == 3 ? dup(sock) : -1;
        struct awp_descriptor ours = {.fd = copy, .kind = AWP_HANDLE_TCP_SOCKET};
        struct awp_send what = {.body = "\x01", .size = 1, .handles = &ours, .handle_count = step == 3};
        switch (step) {
        case 0: awp_ready(play->awp); break;
        case 1: SAY(play, AWP_KIND_CALL, 2, "\x94\xc0\xc0\xc0\x81\xa4name\xa1n\x81\xa1k\x01"); break;
        case 2: say(play, frame, FRAME(frame, AWP_KIND_TELL, 3, 1, 4, "\x93\xc0\xc0\x91\x92\x01\x80\xc4\x01\x91"), &sock, 1);
                say(play, frame, FRAME(frame, AWP_KIND_TELL, 2, 0, 4, "\xc0\xc4\x01\xc0"), NULL, 0); break;
        case 3: if (awp_tell(play->awp, &what) != 0) close(copy);
                break;
        case 4: awp_call(play->awp, &what, NULL, NULL); break;
        case 5: awp_listen(play->awp, &request, NULL, &listener);
                SAY(play, AWP_KIND_LISTENING, 3, "\x90\x81\xa4mode\xa7handoff"); break;
        case 6: say(play, frame, FRAME(frame, AWP_KIND_CONN, 0, 1, 3, "\x92\x01\x91\x92\x01\x80\xc0"), &sock, 1); break;
        case 7: SAY(play, AWP_KIND_STOP, 0, "\xc0\x80"); break;
        }
        while (pass(play)) {
            if (play->event.type == AWP_CONNECTION)
                close(play->event.descriptor.fd);
            if (play->event.type == AWP_MESSAGE || play->event.type == AWP_ANSWER)
                awp_free(play->event.message);
        }
        if (awp_fd(play->awp) < 0)
            break;
    }
    mp_free(&request);
}

static void test_no_memory(void)
{
    int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned before = open_fds(), failed = 0;
    for (unsigned n = 1;; n++) {
        struct play play;
        fault.allocate = n;
        if (begin(&play, "") == 0) {
            converse(&play, sock);
            failed += awp_fd(play.awp) < 0;
            end(&play);
        }
        bool done = fault.allocate > 0;
        fault.allocate = 0;
        CHECK(open_fds() == before);
        if (done)
            break;
    }
    CHECK(failed > 30);
    close(sock);
}

int main(void)
{
    test_messages();
    test_cuts();
    test_large();
    test_descriptors();
    test_connections();
    test_settings();
    test_stop();
    test_aborts();
    test_no_memory();
    puts("test_awp: all well");
    return 0;
}
