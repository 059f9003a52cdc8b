/* standin.py once more, for where there is a C compiler: it says and does the same.
 *
 * A hostile worker is started for each case, and an interpreter takes longer to begin than all the rest
 * of a case. The kit compiles this as it begins; where it cannot, it takes standin.py.
 */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Connect to a unix socket; does not return where that fails. */
static int connected(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int end = socket(AF_UNIX, SOCK_STREAM, 0);

    if (end < 0 || strlen(path) >= sizeof address.sun_path)
        _exit(1);
    strcpy(address.sun_path, path);
    if (connect(end, (struct sockaddr *)&address, sizeof address) < 0)
        _exit(1);
    return end;
}

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value ? value : "";
}

/* Send a line, and a descriptor with it. */
static void give(int kit, char *line, size_t size, int fd)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = line, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    struct cmsghdr *rights;

    message.msg_control = control.room;
    message.msg_controllen = sizeof control.room;
    rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    if (sendmsg(kit, &message, MSG_NOSIGNAL) != (ssize_t)size)
        _exit(1);
}

int main(int argc, char **argv)
{
    const char *channel = variable("ACTORCLUSTER_CHANNEL"), *path = "";
    int kit, size, held = -1;
    unsigned char number;
    char line[1024], order;

    if (argc != 2)
        return 1;
    kit = connected(argv[1]);
    if (strncmp(channel, "unix:", 5) == 0) {
        path = channel + 5;
        held = connected(path);
    } else if (strncmp(channel, "fd:", 3) == 0) {
        held = atoi(channel + 3);
    }
    /* The kit asks the channel itself who is at its other end; the rest is said here. */
    size = snprintf(line, sizeof line, "%d\t%d\t%s\t%s\t%s", (int)getpid(), (int)getppid(),
                    variable("ACTORCLUSTER_WORKER_ID"), variable("ACTORCLUSTER_TOKEN"), path);
    if (size < 0 || (size_t)size >= sizeof line)
        return 1;
    give(kit, line, (size_t)size, held);
    close(held);
    for (;;) {
        if (read(kit, &order, 1) != 1 || read(kit, &number, 1) != 1)
            _exit(0);
        if (order == 'I') {
            signal(number, SIG_IGN);
            if (write(kit, "I", 1) != 1)
                _exit(1);
        } else if (order == 'K') {
            kill(getpid(), number);
        } else {
            _exit(number);
        }
    }
}
