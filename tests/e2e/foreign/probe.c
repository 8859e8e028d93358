/* A program that knows nothing of OTTER and tells what it sees. Static, for images without anything else.
 *
 *     probe report            what it was given, to stdout and /work/report.txt; then waits for a signal
 *     probe resolve NAME...   their addresses; status 1 if one has none
 *     probe listen PORT       accepts connections, for ever
 *     probe connect NAME PORT what connect(2) says
 *     probe write FILE        tries to add a line
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

extern char **environ;

static int said(const char *what) {
    printf("%s: %s\n", what, errno ? strerror(errno) : "done");
    return errno != 0;
}

static void tell(FILE *to, int argc, char **argv) {
    char cwd[4096] = "?", host[256] = "?";
    gethostname(host, sizeof host);
    if (!getcwd(cwd, sizeof cwd))
        perror("cwd");
    fprintf(to, "cwd %s\nuid %d gid %d\nhost %s\n", cwd, getuid(), getgid(), host);
    for (int i = 0; i < argc; i++)
        fprintf(to, "argv %s\n", argv[i]);
    for (char **e = environ; *e; e++)
        fprintf(to, "env %s\n", *e);
    fflush(to);
}

static int report(int argc, char **argv) {
    sigset_t all;
    int number;
    FILE *file = fopen("/work/report.txt", "w");
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    for (number = 1; number < 32; number++)
        signal(number, (void (*)(int))exit); /* never called: a handler is what the kernel asks for */
    tell(stdout, argc, argv);
    if (!file)
        return said("/work/report.txt");
    tell(file, argc, argv);
    sigwait(&all, &number);
    printf("signal %d\n", number);
    return 0;
}

static struct addrinfo *look_up(const char *name, const char *port) {
    struct addrinfo wish = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(name, port, &wish, &found);
    if (!error)
        return found;
    printf("%s: %s\n", name, gai_strerror(error));
    return NULL;
}

static int resolve(int argc, char **argv) {
    int missing = 0;
    for (int i = 2; i < argc; i++) {
        struct addrinfo *found = look_up(argv[i], NULL);
        missing |= !found;
        if (found)
            printf("%s %s\n", argv[i], inet_ntoa(((struct sockaddr_in *)found->ai_addr)->sin_addr));
    }
    return missing;
}

static int listen_at(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 16))
        return said("listen");
    printf("listens\n");
    for (;;)
        close(accept(fd, NULL, NULL));
}

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    setvbuf(stdout, NULL, _IOLBF, 0);
    errno = 0;
    if (!strcmp(verb, "report"))
        return report(argc, argv);
    if (!strcmp(verb, "resolve"))
        return resolve(argc, argv);
    if (!strcmp(verb, "listen") && argc == 3)
        return listen_at(atoi(argv[2]));
    if (!strcmp(verb, "connect") && argc == 4) {
        struct addrinfo *to = look_up(argv[2], argv[3]);
        return !to || (connect(socket(AF_INET, SOCK_STREAM, 0), to->ai_addr, to->ai_addrlen), said("connect"));
    }
    if (!strcmp(verb, "write") && argc == 3) {
        int fd = open(argv[2], O_WRONLY | O_APPEND);
        return fd < 0 || write(fd, "127.0.0.1 mine\n", 15) < 0 ? said(argv[2]) : 0;
    }
    return 2;
}
