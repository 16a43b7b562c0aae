/*
 * The lower bound for receiving the process events connector: decodes and counts every event,
 * nothing else.
 *
 * Waits 20 ms between drains, as jobd does, since waking up for every event slows the machine.
 * Prints a line when it listens. On SIGTERM it ends and prints how many forks, execs and exits it
 * decoded, and how often the receive buffer (256 MiB) overran.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/netlink.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DATAGRAMS = 64, BYTES = 256, BUFFER = 256 << 20, PAUSE_US = 20000 };

static volatile sig_atomic_t over;

static void stop(int number)
{
    (void)number;
    over = 1;
}

static int listening(void)
{
    int size = BUFFER, sock = socket(AF_NETLINK, SOCK_DGRAM | SOCK_NONBLOCK, NETLINK_CONNECTOR);
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = CN_IDX_PROC};
    struct {
        struct nlmsghdr head;
        struct cn_msg message;
        enum proc_cn_mcast_op operation;
    } __attribute__((packed)) request = {
        .head = {.nlmsg_len = sizeof request, .nlmsg_type = NLMSG_DONE},
        .message = {.id = {CN_IDX_PROC, CN_VAL_PROC}, .len = sizeof request.operation},
        .operation = PROC_CN_MCAST_LISTEN,
    };
    if (sock < 0 || setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) ||
        bind(sock, (struct sockaddr *)&address, sizeof address) ||
        send(sock, &request, sizeof request, 0) < 0) {
        perror("listen");
        return -1;
    }
    return sock;
}

int main(void)
{
    static char room[DATAGRAMS][BYTES];
    struct mmsghdr datagrams[DATAGRAMS];
    struct iovec parts[DATAGRAMS];
    unsigned long forks = 0, execs = 0, exits = 0, overruns = 0, sum = 0;
    int sock = listening();
    if (sock < 0)
        return 1;
    signal(SIGTERM, stop);
    memset(datagrams, 0, sizeof datagrams);
    for (int index = 0; index < DATAGRAMS; index++) {
        parts[index] = (struct iovec){room[index], BYTES};
        datagrams[index].msg_hdr = (struct msghdr){.msg_iov = &parts[index], .msg_iovlen = 1};
    }
    puts("listening");
    fflush(stdout);
    for (int last = 0; !last;) {
        last = over; /* what is queued when the signal comes is still read */
        for (;;) {
            int count = recvmmsg(sock, datagrams, DATAGRAMS, 0, NULL);
            if (count < 0 && errno == ENOBUFS) {
                overruns++;
                continue;
            }
            if (count <= 0)
                break;
            for (int index = 0; index < count; index++) {
                struct proc_event event;
                memcpy(&event, room[index] + NLMSG_HDRLEN + sizeof(struct cn_msg), sizeof event);
                if (event.what == PROC_EVENT_FORK) {
                    forks++;
                    sum += (unsigned long)event.event_data.fork.child_pid ^ event.timestamp_ns;
                } else if (event.what == PROC_EVENT_EXEC) {
                    execs++;
                    sum += (unsigned long)event.event_data.exec.process_pid ^ event.timestamp_ns;
                } else if (event.what == PROC_EVENT_EXIT) {
                    exits++;
                    sum += event.event_data.exit.exit_code ^ event.timestamp_ns;
                }
            }
        }
        if (!last)
            usleep(PAUSE_US);
    }
    printf("%lu %lu %lu %lu %lu\n", forks, execs, exits, overruns, sum);
    return 0;
}
