"""A second Linux kernel, booted in user space in two seconds, that runs one command.

    python -m tests.kernel.guest -- COMMAND [ARG...]

For machines whose own kernel has no sch_netem or no cgroup v2, and loads no modules. The kernel is
user-mode Linux 6.1 from Debian's package `user-mode-linux`; nothing is installed on the machine.

    __main__.py   arguments and exit status
    parts.py      what a guest is made of: kernel, busybox, ptrace shim; kept in a cache
    machine.py    one guest: its control folder, its process, its exit status
    init.sh       process 1, first half: builds the guest's file tree
    command.sh    process 1, second half: loads kernel modules, runs the command
    xstate.c      lets user-mode Linux run on processors with AMX

The guest sees this machine's files at the same paths, read-only under an overlay on a tmpfs; what
it writes is forgotten, but for the shared folder. /proc /sys /dev /run /var/lib/docker are its own.

What to know when writing tests for it:

- It has one processor. A system call costs about 7 us, starting a process about 6 ms.
- It has no cpuset controller, no swap limit, no nf_tables for IPv4 (iptables is the legacy one).
- AVX-512 registers are not saved around signal handlers; the C library is told not to use them.
- It is no security boundary: root inside can mount more of the machine.
"""
