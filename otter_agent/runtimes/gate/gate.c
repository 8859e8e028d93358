/* OTTER's gate: the first program of a container. It waits at a FIFO for one byte, then becomes the
 * module by execve, same pid. So a module never runs before its network is there, whatever its image
 * knows of OTTER.
 *
 *     gate FIFO PROGRAM [ARG...]
 *
 * Freestanding: images may hold nothing but one static program. No allocation, no libc. PID 1 without
 * handlers ignores SIGTERM, so a held container is ended with SIGKILL. The FIFO is close-on-exec: whoever
 * opened the other end sees it close at the moment the module starts.
 *
 * Exit: 126 PROGRAM can't be run, 127 not found, 125 the gate itself failed.
 */

typedef unsigned long size;

#define AT_FDCWD (-100L)
#define O_CLOEXEC 02000000L
#define ENOENT 2
#define EINTR 4
#define ENOEXEC 8
#define EACCES 13
#define ENOTDIR 20
#define PATH_BYTES 4096

#if defined(__x86_64__)
enum { SYS_READ = 0, SYS_WRITE = 1, SYS_CLOSE = 3, SYS_EXECVE = 59, SYS_EXIT = 231, SYS_OPENAT = 257 };

static long call4(long n, long a, long b, long c, long d) {
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

__asm__(".globl _start\n_start:\n xor %ebp,%ebp\n mov %rsp,%rdi\n and $-16,%rsp\n call begin\n");

#elif defined(__aarch64__)
enum { SYS_OPENAT = 56, SYS_CLOSE = 57, SYS_READ = 63, SYS_WRITE = 64, SYS_EXIT = 94, SYS_EXECVE = 221 };

static long call4(long n, long a, long b, long c, long d) {
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}

__asm__(".globl _start\n_start:\n mov x29,#0\n mov x30,#0\n mov x0,sp\n bl begin\n");

#else
#error "no gate for this architecture yet: add its system calls and _start"
#endif

static size length(const char *text) {
    size n = 0;
    while (text[n])
        n++;
    return n;
}

static void say(const char *text) { call4(SYS_WRITE, 2, (long)text, (long)length(text), 0); }

__attribute__((noreturn)) static void fail(const char *what, const char *whom, const char *why, int status) {
    say("otter gate: ");
    say(what);
    say(whom);
    say(why);
    for (;;)
        call4(SYS_EXIT, status, 0, 0, 0);
}

/* Returns once a byte came. End of file is someone who only looked: wait again. */
static void wait_at(const char *fifo) {
    for (;;) {
        char byte;
        long fd = call4(SYS_OPENAT, AT_FDCWD, (long)fifo, O_CLOEXEC, 0);
        long got;
        if (fd == -EINTR)
            continue;
        if (fd < 0)
            fail("cannot open ", fifo, "\n", 125);
        do
            got = call4(SYS_READ, fd, (long)&byte, 1, 0);
        while (got == -EINTR);
        if (got == 1)
            return; /* left open: it closes when the module starts */
        if (got < 0)
            fail("cannot read ", fifo, "\n", 125);
        call4(SYS_CLOSE, fd, 0, 0, 0);
    }
}

static const char *search_path(char **env) {
    for (; *env; env++) {
        const char *e = *env;
        if (e[0] == 'P' && e[1] == 'A' && e[2] == 'T' && e[3] == 'H' && e[4] == '=')
            return e + 5;
    }
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

static long run(const char *file, char **argv, char **env) {
    return call4(SYS_EXECVE, (long)file, (long)argv, (long)env, 0);
}

/* As execvp(3), but a file that no interpreter takes is an error, not a shell script. */
static long run_found(char **argv, char **env) {
    const char *name = argv[0], *path = search_path(env);
    size name_bytes = length(name);
    long worst = -ENOENT;
    char file[PATH_BYTES];
    if (!*name)
        return -ENOENT;
    for (size i = 0; name[i]; i++)
        if (name[i] == '/')
            return run(name, argv, env);
    for (;;) {
        size n = 0;
        while (path[n] && path[n] != ':')
            n++;
        if (n + name_bytes + 2 <= PATH_BYTES) {
            size at = 0;
            long error;
            while (at < n) {
                file[at] = path[at];
                at++;
            }
            if (n)
                file[at++] = '/';
            for (size i = 0; i <= name_bytes; i++)
                file[at + i] = name[i];
            error = run(file, argv, env);
            if (error == -EACCES)
                worst = error; /* what execvp reports if nothing better comes */
            else if (error != -ENOENT && error != -ENOTDIR)
                return error;
        }
        if (!path[n])
            return worst;
        path += n + 1;
    }
}

__attribute__((noreturn, used)) void begin(long *stack) {
    long argc = stack[0];
    char **argv = (char **)(stack + 1), **env = argv + argc + 1;
    long error;
    if (argc < 3)
        fail("usage: gate FIFO PROGRAM [ARG...]", "", "\n", 125);
    wait_at(argv[1]);
    error = run_found(argv + 2, env);
    if (error == -ENOENT || error == -ENOTDIR)
        fail("cannot run ", argv[2], ": it (or its interpreter) is not in the image\n", 127);
    if (error == -EACCES)
        fail("cannot run ", argv[2], ": permission denied\n", 126);
    if (error == -ENOEXEC)
        fail("cannot run ", argv[2], ": not a program for this machine (wrong architecture, or a script without #!)\n", 126);
    fail("cannot run ", argv[2], ": the kernel refused\n", 126);
}
