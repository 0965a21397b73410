/* The start of a process from a compiled plan: the stub as a file, the clone that becomes it, what it reports.
 *
 * Without Python: shared by the extension (_spawn.c) and the command (_shortcut.c), which include it once.
 */
#ifndef INCEPTION_SPAWN_START_H
#define INCEPTION_SPAWN_START_H

#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "_spawn_constants.h"
#include "_spawn_stub.h"

/* ---- the stub as a file -------------------------------------------------------------------------------------------- */

enum { STUB_ADDRESS = 0x400000, SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

static int stub_file = -1; /* made once a process; in Python guarded by the GIL */
static struct stat stub_status;

static int
memory_file(const char *name, unsigned flags)
{
    int fd = (int)syscall(SYS_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        fd = (int)syscall(SYS_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

static int
write_all(int fd, const void *data, size_t size)
{
    for (const char *at = data; size;) {
        ssize_t written = write(fd, at, size);
        if (written < 0)
            return -1;
        at += written;
        size -= (size_t)written;
    }
    return 0;
}

/* An fd of the sealed program, or -1 and errno. A library that closes descriptors it does not know may have closed ours. */
static int
open_stub(void)
{
    struct stat status;
    if (stub_file >= 0 && fstat(stub_file, &status) == 0 && status.st_ino == stub_status.st_ino &&
        status.st_dev == stub_status.st_dev)
        return stub_file;
    const size_t size = (size_t)(__stop_stub - __start_stub);
    struct {
        Elf64_Ehdr file;
        Elf64_Phdr segment;
    } header;
    memset(&header, 0, sizeof header);
    memcpy(header.file.e_ident, ELFMAG, SELFMAG);
    header.file.e_ident[EI_CLASS] = ELFCLASS64;
    header.file.e_ident[EI_DATA] = ELFDATA2LSB;
    header.file.e_ident[EI_VERSION] = EV_CURRENT;
    header.file.e_type = ET_EXEC;
    header.file.e_machine = STUB_MACHINE;
    header.file.e_version = EV_CURRENT;
    header.file.e_entry = STUB_ADDRESS + sizeof header + (Elf64_Addr)(stub_entry - __start_stub);
    header.file.e_phoff = offsetof(__typeof__(header), segment);
    header.file.e_ehsize = sizeof header.file;
    header.file.e_phentsize = sizeof header.segment;
    header.file.e_phnum = 1;
    header.segment.p_type = PT_LOAD;
    header.segment.p_flags = PF_R | PF_X;
    header.segment.p_vaddr = header.segment.p_paddr = STUB_ADDRESS;
    header.segment.p_filesz = header.segment.p_memsz = sizeof header + size;
    header.segment.p_align = 0x1000;
    int fd = memory_file("inception-init", MFD_EXEC);
    if (fd < 0)
        return -1;
    if (write_all(fd, &header, sizeof header) < 0 || write_all(fd, __start_stub, size) < 0 ||
        fchmod(fd, 0555) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0 || fstat(fd, &stub_status) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return stub_file = fd;
}

/* ---- the start of a process ---------------------------------------------------------------------------------------- */

enum { STACK_SIZE = 64 << 10, GIVEN_MAX = PLAN_SLOTS - 8 };

/* Everything that the clones need, ready in the caller's memory, which they share until they execute something. */
struct start {
    uint64_t flags;
    int cgroup, stub, plan, report, parent; /* descriptors; parent: a pidfd of who clones */
    int stdio[3];
    int given[GIVEN_MAX], given_count;
    char *stack;
    int report_ours; /* our end of the channel */
    int step, error; /* of what fails before the plan is walked: step -1 */
};

/* clone3 onto a stack of its own; the child runs run(argument), which does not return. */
static long
clone_onto(struct clone_args *args, int (*run)(void *), void *argument)
{
#if defined(__x86_64__)
    long result;
    register void *r12 __asm__("r12") = (void *)run;
    register void *r13 __asm__("r13") = argument;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r13, %%rdi\n\t"
                     "call *%%r12\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(result)
                     : "a"((long)SYS_clone3), "D"(args), "S"(sizeof *args), "r"(r12), "r"(r13)
                     : "rcx", "r11", "memory");
    return result;
#else
    register long x8 __asm__("x8") = SYS_clone3;
    register long x0 __asm__("x0") = (long)args;
    register long x1 __asm__("x1") = sizeof *args;
    register void *x19 __asm__("x19") = (void *)run;
    register void *x20 __asm__("x20") = argument;
    __asm__ volatile("svc 0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, #0\n\t"
                     "mov x0, x20\n\t"
                     "blr x19\n\t"
                     "brk #1\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x19), "r"(x20)
                     : "memory", "cc");
    return x0;
#endif
}

/* Ignored signals stay ignored over execve; Python ignores SIGPIPE and whoever ran us may have ignored others. */
static void
default_signals(void)
{
    struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } action = {0};
    for (int signal = 1; signal <= 64; signal++)
        sys(SYS_rt_sigaction, signal, (long)&action, 0, sizeof action.mask, 0, 0);
}

/* In the clone: give the stub exactly its descriptors, at their numbers, and execute it. */
static int
become_stub(void *argument)
{
    struct start *start = argument;
    static const char name[] = "inception-init";
    const char *const argv[] = {name, NULL}, *const envp[] = {NULL};
    const int count = FD_PARENT + 1 + start->given_count;
    int source[FD_PARENT + 1 + GIVEN_MAX];
    long result = 0;

    for (int i = 0; i < 3; i++)
        source[i] = start->stdio[i];
    source[FD_PLAN] = start->plan;
    source[FD_REPORT] = start->report;
    source[FD_PARENT] = start->parent;
    for (int i = 0; i < start->given_count; i++)
        source[FD_PARENT + 1 + i] = start->given[i];
    for (int i = 0; i < count && result >= 0; i++)
        source[i] = (int)(result = sys(SYS_fcntl, source[i], F_DUPFD_CLOEXEC, count, 0, 0, 0));
    long stub = result < 0 ? result : sys(SYS_fcntl, start->stub, F_DUPFD_CLOEXEC, count, 0, 0, 0);
    if (stub < 0)
        result = stub;
    for (int i = 0; i < count && result >= 0; i++)
        result = sys(SYS_dup3, source[i], i, 0, 0, 0, 0);
    if (result >= 0) {
        /* Really closed, not only on execve: from here on no descriptor of the caller is in this process. */
        if (stub > count)
            sys(SYS_close_range, count, stub - 1, 0, 0, 0, 0);
        sys(SYS_close_range, stub + 1, ~0U, 0, 0, 0, 0);
        default_signals();
        static const char empty[] = "";
        result = sys(SYS_execveat, stub, (long)empty, (long)argv, (long)envp, AT_EMPTY_PATH, 0);
    }
    start->error = (int)-result;
    sys(SYS_exit_group, 127, 0, 0, 0, 0, 0);
    return 0;
}

/* Clone and execute the stub; the pid, or -errno. *pidfd is set on success. */
static long
clone_stub(struct start *start, int *pidfd)
{
    struct clone_args args = {
        .flags = start->flags | CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
        .pidfd = (uint64_t)(uintptr_t)pidfd,
        .exit_signal = SIGCHLD,
        .stack = (uint64_t)(uintptr_t)start->stack,
        .stack_size = STACK_SIZE,
    };
    if (start->cgroup >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)start->cgroup;
    }
    start->error = 0;
    start->step = -1;
    long pid = clone_onto(&args, become_stub, start);
    if (pid > 0 && start->error) {
        sys(SYS_wait4, pid, 0, 0, 0, 0, 0);
        sys(SYS_close, *pidfd, 0, 0, 0, 0, 0);
        return -start->error;
    }
    return pid;
}

/* The next report: 1, 0 at the end of the stream (execve succeeded), or -errno, with *report that of no step. *fd is what came
 * along, or -1. */
static long
receive_report(int channel, struct report *report, int *fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {report, sizeof *report};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    *fd = -1;
    memset(report, 0, sizeof *report);
    report->step = -1;
    long size = sys(SYS_recvmsg, channel, (long)&message, MSG_CMSG_CLOEXEC, 0, 0, 0);
    if (size == -ECONNRESET) /* it ended with our byte unread; what it said before that is still queued */
        size = sys(SYS_recvmsg, channel, (long)&message, MSG_CMSG_CLOEXEC, 0, 0, 0);
    if (size <= 0)
        return size;
    if (message.msg_controllen >= CMSG_LEN(sizeof(int)) && control.header.cmsg_type == SCM_RIGHTS)
        memcpy(fd, CMSG_DATA(&control.header), sizeof *fd);
    return size == sizeof *report ? 1 : -EPROTO;
}

static void
kill_and_reap(pid_t pid, int pidfd)
{
    if (pidfd >= 0) {
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
        close(pidfd);
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

#endif
