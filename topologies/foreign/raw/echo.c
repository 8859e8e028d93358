/* Echo over raw TCP and UDP, in plain C: it has never heard of OTTER.
 *
 *     echo serve-tcp PORT                     answers whoever connects
 *     echo serve-udp PORT                     answers every datagram
 *     echo ask-tcp HOST PORT COUNT [FILE]     COUNT exchanges, one round-trip time in ms per line
 *     echo ask-udp HOST PORT COUNT [FILE]
 *
 * Made static for an image that holds nothing else (see Dockerfile). Names go through getaddrinfo,
 * servers bind to all addresses, clients wait for a server that isn't there yet.
 */
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BYTES = 64, PATIENCE_MS = 1000, AGAIN_MS = 50 };

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static struct addrinfo *look_up(const char *host, const char *port, int type) {
    struct addrinfo wish = {.ai_family = AF_INET, .ai_socktype = type}, *found;
    wish.ai_flags = host ? 0 : AI_PASSIVE; /* no host: 0.0.0.0 */
    int error = getaddrinfo(host, port, &wish, &found);
    if (error) {
        fprintf(stderr, "%s: %s\n", host ? host : port, gai_strerror(error));
        exit(1);
    }
    return found;
}

static int bound(const char *port, int type) {
    struct addrinfo *at = look_up(NULL, port, type);
    int one = 1, fd = socket(at->ai_family, type, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, at->ai_addr, at->ai_addrlen))
        die(port);
    return fd;
}

static void serve_tcp(const char *port) {
    int fd = bound(port, SOCK_STREAM);
    if (listen(fd, 16))
        die("listen");
    printf("echo over tcp at port %s\n", port);
    for (int peer; (peer = accept(fd, NULL, NULL)) >= 0; close(peer)) {
        char data[BYTES];
        for (ssize_t got; (got = read(peer, data, sizeof data)) > 0;)
            if (write(peer, data, got) != got)
                break;
    }
    die("accept");
}

static void serve_udp(const char *port) {
    int fd = bound(port, SOCK_DGRAM);
    printf("echo over udp at port %s\n", port);
    for (;;) {
        struct sockaddr_storage from;
        socklen_t length = sizeof from;
        char data[BYTES];
        ssize_t got = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&from, &length);
        if (got >= 0)
            sendto(fd, data, got, 0, (struct sockaddr *)&from, length);
    }
}

/* A connected socket; over TCP it waits until the server is there. */
static int connected(struct addrinfo *to) {
    for (;;) {
        int fd = socket(to->ai_family, to->ai_socktype, 0);
        if (!connect(fd, to->ai_addr, to->ai_addrlen))
            return fd;
        close(fd);
        poll(NULL, 0, AGAIN_MS);
    }
}

/* One exchange; false if no answer came, which over UDP may be. */
static int exchange(int fd, int number) {
    char sent[BYTES] = {0}, back[BYTES];
    snprintf(sent, sizeof sent, "message %d", number);
    if (write(fd, sent, sizeof sent) != sizeof sent)
        return 0;
    for (size_t have = 0; have < sizeof back;) {
        struct pollfd one = {.fd = fd, .events = POLLIN};
        if (poll(&one, 1, PATIENCE_MS) <= 0)
            return 0;
        ssize_t got = read(fd, back + have, sizeof back - have);
        if (got <= 0)
            return 0;
        have += got;
    }
    return !memcmp(sent, back, sizeof sent);
}

static void ask(int type, const char *host, const char *port, int count, FILE *file) {
    struct addrinfo *to = look_up(host, port, type);
    int fd = connected(to);
    for (int i = 0; i < count;) {
        double start = now_ms();
        if (exchange(fd, i)) {
            fprintf(file, "%.3f\n", now_ms() - start);
            i++;
        } else {
            close(fd);
            poll(NULL, 0, AGAIN_MS);
            fd = connected(to);
        }
    }
    fflush(file);
    printf("%d echoes from %s port %s\n", count, host, port);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* to a log, C's stdio would write only every 4 KiB */
    signal(SIGPIPE, SIG_IGN); /* a peer that went away is asked again */
    const char *verb = argc > 2 ? argv[1] : "";
    if (!strcmp(verb, "serve-tcp"))
        serve_tcp(argv[2]);
    else if (!strcmp(verb, "serve-udp"))
        serve_udp(argv[2]);
    else if (argc > 4 && (!strcmp(verb, "ask-tcp") || !strcmp(verb, "ask-udp"))) {
        FILE *file = argc > 5 ? fopen(argv[5], "w") : stdout;
        if (!file)
            die(argv[5]);
        ask(verb[4] == 't' ? SOCK_STREAM : SOCK_DGRAM, argv[2], argv[3], atoi(argv[4]), file);
        return 0;
    }
    fprintf(stderr, "usage: echo serve-tcp|serve-udp PORT, echo ask-tcp|ask-udp HOST PORT COUNT [FILE]\n");
    return 2;
}
