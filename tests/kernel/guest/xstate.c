/* Lets user-mode Linux 6.1 run on processors with AMX.
 *
 * It keeps 2696 bytes of a process's XSAVE area. A host kernel whose area is larger (AMX: 11008
 * bytes) refuses PTRACE_SETREGSET of that size with EFAULT, and user-mode Linux panics: "ptrace set
 * fp regs failed, errno = 14". Preloaded, this ptrace() pads the area to what the host wants; the
 * states beyond it (AMX tiles) are reset. On other hosts everything passes through unchanged.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define GETREGSET 0x4204L
#define SETREGSET 0x4205L
#define XSTATE 0x202L           /* NT_X86_XSTATE */
#define HEADER_END 576          /* legacy area and XSAVE header */
#define AVX512_END 2688
#define PKRU_END 2696

static unsigned char area[1 << 16] __attribute__((aligned(64)));
static size_t host_size;        /* 0 until asked */

static size_t ask_host_size(long pid)
{
    struct iovec io = { area, sizeof area };
    size_t size = 1;            /* "smaller than any": pass through */

    if (syscall(SYS_ptrace, GETREGSET, pid, XSTATE, &io) == 0)
        size = io.iov_len;
    memset(area, 0, sizeof area);
    return size;
}

static long set_padded(long pid, const struct iovec *in)
{
    struct iovec io = { area, host_size };
    uint64_t keep = 0x7;        /* x87, SSE, AVX */

    if (in->iov_len >= AVX512_END)
        keep |= 0xe0;
    if (in->iov_len >= PKRU_END)
        keep |= 0x200;
    memcpy(area, in->iov_base, in->iov_len);
    *(uint64_t *)(area + 512) &= keep;          /* XSTATE_BV: the states that are set */
    return syscall(SYS_ptrace, SETREGSET, pid, XSTATE, &io);
}

long ptrace(int request, ...)
{
    va_list args;
    va_start(args, request);
    long pid = va_arg(args, int);
    void *addr = va_arg(args, void *), *data = va_arg(args, void *);
    va_end(args);

    if (request == SETREGSET && (long)addr == XSTATE) {
        const struct iovec *in = data;
        if (!host_size)
            host_size = ask_host_size(pid);
        if (host_size > in->iov_len && in->iov_len >= HEADER_END)
            return set_padded(pid, in);
    }
    if (request >= 1 && request <= 3) {         /* PTRACE_PEEK*: the C library returns the word */
        long word, result = syscall(SYS_ptrace, (long)request, pid, addr, &word);
        if (result < 0)
            return result;
        errno = 0;
        return word;
    }
    return syscall(SYS_ptrace, (long)request, pid, addr, data);
}
