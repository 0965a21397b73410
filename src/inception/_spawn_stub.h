/* The stub: a program of a few kilobytes that walks a plan.
 *
 * Why a program. Until its last execve, a process that becomes a container's init has the file and the memory of whoever
 * started it. With a clone that shares memory that would be the caller's Python: an image whose entrypoint is a script with
 * `#!/proc/self/exe` would execute, and could later overwrite, the host's interpreter (CVE-2019-5736), and during an exec into
 * a running container its processes could ptrace the joining one. So the clone executes this first, from a sealed memory file:
 * nothing of the host is mapped in it, nothing can be written through it, the caller goes on at once, and system calls that
 * refuse shared memory (user and time namespaces) work. It costs one execve of a static program, 0.1 to 0.2 ms.
 *
 * How it is built. The functions below lie in a linker section of their own, "stub"; make_stub() in _spawn.c puts an ELF header
 * before a copy of that section. Rules of the place: no libc, no data, no string constants, no calls out of the section, no
 * allocation. It decides nothing: every path, flag and number comes from the plan.
 */
#ifndef INCEPTION_SPAWN_STUB_H
#define INCEPTION_SPAWN_STUB_H

#include "_spawn_plan.h"

#define STUB static __attribute__((section("stub"), noinline, used))
#define STUB_INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__)
#define STUB_MACHINE EM_X86_64
__asm__(".pushsection stub,\"ax\",@progbits\n"
        ".hidden stub_entry\n.globl stub_entry\n"
        "stub_entry:\n"
        "  xor %ebp, %ebp\n"
        "  and $-16, %rsp\n"
        "  call stub_main\n"
        "  hlt\n"
        ".popsection\n");

STUB_INLINE long
sys(long number, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
#define STUB_MACHINE EM_AARCH64
__asm__(".pushsection stub,\"ax\",%progbits\n"
        ".hidden stub_entry\n.globl stub_entry\n"
        "stub_entry:\n"
        "  mov x29, #0\n"
        "  bl stub_main\n"
        "  brk #1\n"
        ".popsection\n");

STUB_INLINE long
sys(long number, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
    return x0;
}
#endif

#define SYS(name, ...) SYS_FILL(SYS_##name, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define SYS_FILL(number, a, b, c, d, e, f, ...) \
    sys(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

extern const unsigned char stub_entry[] __attribute__((visibility("hidden")));
extern const unsigned char __start_stub[] __attribute__((visibility("hidden")));
extern const unsigned char __stop_stub[] __attribute__((visibility("hidden")));

enum { STUB_PATH_MAX = 4096 };

STUB_INLINE void
stub_exit(int status)
{
    for (;;)
        SYS(exit_group, status);
}

STUB_INLINE void
stub_clear(void *at, size_t size)
{
    for (volatile unsigned char *byte = at; size; size--)
        *byte++ = 0;
}

STUB long
stub_openat2(int dirfd, const char *path, uint64_t flags, uint64_t resolve)
{
    struct open_how how;
    how.flags = flags | O_CLOEXEC;
    how.mode = 0;
    how.resolve = resolve;
    long fd = -EAGAIN;
    for (int attempt = 0; attempt < 128 && fd == -EAGAIN; attempt++) /* a rename elsewhere raced with ".." */
        fd = SYS(openat2, dirfd, path, &how, sizeof how);
    return fd;
}

/* ---- reports ------------------------------------------------------------------------------------------------------- */

STUB long
stub_send(int socket_fd, const void *bytes, size_t size, int fd)
{
    struct {
        size_t length;
        int level, type;
        int fd, padding;
    } control;
    struct iovec part;
    struct msghdr message;
    stub_clear(&message, sizeof message);
    part.iov_base = (void *)bytes;
    part.iov_len = size;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (fd >= 0) {
        control.length = sizeof(size_t) + 3 * sizeof(int);
        control.level = SOL_SOCKET;
        control.type = SCM_RIGHTS;
        control.fd = fd;
        control.padding = 0;
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
    }
    return SYS(sendmsg, socket_fd, &message, MSG_NOSIGNAL);
}

STUB void
stub_fail(int channel, int step, long error, int value, const char *path)
{
    struct report report;
    stub_clear(&report, sizeof report);
    report.kind = REPORT_FAILED;
    report.step = step;
    report.error = (int32_t)-error;
    report.value = value;
    if (path) { /* with the container's own rights, in its own view: the caller explains a bad `#!` line from it */
        long fd = stub_openat2(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, RESOLVE_NO_MAGICLINKS);
        struct stat status;
        if (fd >= 0 && SYS(fstat, fd, &status) == 0 && S_ISREG(status.st_mode)) {
            long size = SYS(read, fd, report.head, sizeof report.head);
            report.head_size = size > 0 ? (int32_t)size : 0;
        }
    }
    stub_send(channel, &report, sizeof report, -1);
    stub_exit(127);
}

/* ---- places to mount on -------------------------------------------------------------------------------------------- */

/* Append from[0..size) to the path of length *length; 0 when it does not fit. */
STUB int
stub_append(char *path, size_t *length, const char *from, size_t size)
{
    if (*length + size + 1 > STUB_PATH_MAX)
        return 0;
    for (size_t i = 0; i < size; i++)
        path[*length + i] = from[i];
    *length += size;
    path[*length] = 0;
    return 1;
}

STUB size_t
stub_length(const char *text)
{
    size_t length = 0;
    while (*(const volatile char *)(text + length)) /* volatile: or the compiler makes this a call of strlen */
        length++;
    return length;
}

/* Make the first missing component of *path*; or, where that is a link that dangles, write its target into *path*. */
STUB long
stub_make_next(int root, char *path, int file, long mode, uint64_t resolve)
{
    size_t at = 0;
    for (;;) {
        while (path[at] == '/')
            at++;
        size_t end = at;
        while (path[end] && path[end] != '/')
            end++;
        char kept = path[end];
        path[end] = 0;
        long found = stub_openat2(root, path, O_PATH, resolve);
        path[end] = kept;
        if (found >= 0) {
            SYS(close, found);
            if (!kept)
                return 0;
            at = end;
            continue;
        }
        if (found != -ENOENT)
            return found;
        long parent = root;
        char name[256];
        if (end - at >= sizeof name)
            return -ENAMETOOLONG;
        for (size_t i = 0; i < end - at; i++)
            name[i] = path[at + i];
        name[end - at] = 0;
        if (at > 0) {
            kept = path[at];
            path[at] = 0;
            parent = stub_openat2(root, path, O_PATH | O_DIRECTORY, resolve);
            path[at] = kept;
            if (parent < 0)
                return parent;
        }
        char link[STUB_PATH_MAX];
        long size = SYS(readlinkat, parent, name, link, sizeof link);
        long result;
        if (size >= 0 && !(resolve & RESOLVE_NO_SYMLINKS)) {
            char rest[STUB_PATH_MAX];
            size_t rest_length = 0, length = size && link[0] == '/' ? 0 : at;
            result = -ENAMETOOLONG; /* the rest begins with its slash, or is empty */
            if (stub_append(rest, &rest_length, path + end, stub_length(path + end)) &&
                stub_append(path, &length, link, (size_t)size) && stub_append(path, &length, rest, rest_length))
                result = 0;
        } else {
            size_t more = end;
            while (path[more] == '/')
                more++;
            if (file && !path[more])
                result = SYS(mknodat, parent, name, S_IFREG | mode, 0);
            else
                result = SYS(mkdirat, parent, name, mode | (mode >> 2 & 0111));
            if (result == -EEXIST)
                result = 0;
        }
        if (parent != root)
            SYS(close, parent);
        return result;
    }
}

STUB long
stub_target(int root, const char *path, int kind, int source, long mode, uint64_t resolve)
{
    char work[STUB_PATH_MAX];
    size_t length = 0;
    while (*path == '/')
        path++;
    if (!stub_append(work, &length, path, stub_length(path)))
        return -ENAMETOOLONG;
    if (length == 0) {
        work[0] = '.';
        work[1] = 0;
    }
    if (kind == TARGET_LIKE_SOURCE) {
        struct stat status;
        long result = SYS(fstat, source, &status);
        if (result < 0)
            return result;
        kind = S_ISDIR(status.st_mode) ? TARGET_DIRECTORY : TARGET_FILE;
    }
    for (int attempt = 0; attempt < 512; attempt++) { /* bounds both the depth and loops of links */
        long fd = stub_openat2(root, work, O_PATH, resolve);
        if (fd != -ENOENT)
            return fd;
        long made = stub_make_next(root, work, kind == TARGET_FILE, mode, resolve);
        if (made < 0)
            return made;
    }
    return -ELOOP;
}

STUB long
stub_mode_of(int root, const char *path, int fs, uint64_t resolve)
{
    while (*path == '/')
        path++;
    long target = stub_openat2(root, path, O_PATH | O_DIRECTORY, resolve);
    if (target < 0)
        return 0; /* whoever makes it says what is wrong with it */
    struct stat status;
    char key[5], value[6];
    long result = SYS(fstat, target, &status);
    SYS(close, target);
    key[0] = 'm'; /* strings would lie in data that the stub has not */
    key[1] = 'o';
    key[2] = 'd';
    key[3] = 'e';
    key[4] = 0;
    value[0] = '0';
    for (int i = 1; i < 5; i++)
        value[i] = (char)('0' + (status.st_mode >> (12 - 3 * i) & 7));
    value[5] = 0;
    return result < 0 ? result : SYS(fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0);
}

STUB long
stub_clone_mount(int fd)
{
    uint64_t empty = 0;
    return SYS(open_tree, fd, &empty, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
}

STUB long
stub_attach(int mount_fd, int target_fd)
{
    uint64_t empty = 0;
    return SYS(move_mount, mount_fd, &empty, target_fd, &empty, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

STUB long
stub_mask(int root, const char *path, int null, int empty, uint64_t resolve, int *empty_attached)
{
    while (*path == '/')
        path++;
    long target = stub_openat2(root, path, O_PATH, resolve);
    if (target == -ENOENT || target == -ENOTDIR)
        return 0;
    if (target < 0)
        return target;
    struct stat status;
    long result = SYS(fstat, target, &status);
    if (result == 0) {
        int directory = S_ISDIR(status.st_mode);
        long cover = empty;
        if (!directory || *empty_attached) /* a mount that is attached already is cloned; a clone of a detached one is refused */
            cover = stub_clone_mount(directory ? empty : null);
        result = cover < 0 ? cover : stub_attach((int)cover, (int)target);
        if (cover >= 0 && cover != empty)
            SYS(close, cover);
        else if (result == 0)
            *empty_attached = 1;
    }
    SYS(close, target);
    return result;
}

/* ---- small ones ---------------------------------------------------------------------------------------------------- */

STUB long
stub_write(int dirfd, const char *path, const char *data, size_t size, uint64_t resolve)
{
    long fd = stub_openat2(dirfd, path, O_WRONLY | O_NOCTTY, resolve);
    if (fd < 0)
        return fd;
    long written = SYS(write, fd, data, size);
    SYS(close, fd);
    return written < 0 ? written : written == (long)size ? 0 : -EIO;
}

STUB long
stub_expect_fs(int fd, uint64_t magic)
{
    struct statfs status;
    long result = SYS(fstatfs, fd, &status);
    return result < 0 ? result : (uint64_t)status.f_type == magic ? 0 : -EXDEV;
}

STUB long
stub_expect_dev(int fd, uint64_t type, uint64_t device)
{
    struct stat status;
    long result = SYS(fstat, fd, &status);
    return result < 0 ? result : (status.st_mode & S_IFMT) == type && status.st_rdev == device ? 0 : -ENODEV;
}

STUB long
stub_chown_stdio(uint32_t uid)
{
    for (int fd = 0; fd < 3; fd++) {
        struct stat status;
        if (SYS(fstat, fd, &status) < 0)
            continue;
        /* Never a file or a device that others use: /dev/null has one owner for the whole machine. */
        int terminal = S_ISCHR(status.st_mode) && (status.st_rdev >> 8 & 0xfff) >= 136 && (status.st_rdev >> 8 & 0xfff) <= 143;
        if (!terminal && !S_ISFIFO(status.st_mode) && !S_ISSOCK(status.st_mode))
            continue;
        long result = status.st_uid == uid ? 0 : SYS(fchown, fd, uid, -1);
        if (result < 0 && result != -EPERM && result != -EINVAL && result != -EROFS)
            return result;
    }
    return 0;
}

STUB void
stub_wait(int channel)
{
    char byte;
    long result;
    do
        result = SYS(read, channel, &byte, 1);
    while (result == -EINTR);
    if (result != 1)
        stub_exit(127); /* the caller has gone */
}

STUB long
stub_pause(int channel, int step, int value, int wait, int fd)
{
    struct report report;
    stub_clear(&report, sizeof report);
    report.kind = REPORT_PAUSED;
    report.step = step;
    report.value = value;
    long result = stub_send(channel, &report, sizeof report, fd);
    if (result < 0 || !wait)
        return result < 0 ? result : 0;
    stub_wait(channel);
    return 0;
}

/* Wait for a new caller. One that connects and goes away without a word was not it. Signals that end a program end us, which
   as process 1 of a namespace the kernel would not do by itself. */
STUB long
stub_accept(int listener)
{
    uint64_t deadly = 1UL << (SIGHUP - 1) | 1UL << (SIGINT - 1) | 1UL << (SIGQUIT - 1) | 1UL << (SIGTERM - 1);
    SYS(rt_sigprocmask, SIG_BLOCK, &deadly, 0, sizeof deadly);
    long signals = SYS(signalfd4, -1, &deadly, sizeof deadly, SFD_CLOEXEC);
    if (signals < 0)
        return signals;
    for (;;) {
        struct pollfd events[2];
        struct signalfd_siginfo info;
        events[0].fd = listener;
        events[1].fd = (int)signals;
        events[0].events = events[1].events = POLLIN;
        if (SYS(ppoll, events, 2, 0, 0, 0) < 0)
            continue;
        if (events[1].revents & POLLIN && SYS(read, signals, &info, sizeof info) == sizeof info)
            stub_exit(128 + (int)info.ssi_signo);
        if (!events[0].revents)
            continue;
        long channel = SYS(accept4, listener, 0, 0, SOCK_CLOEXEC);
        if (channel == -EINTR || channel == -ECONNABORTED)
            continue;
        if (channel < 0)
            return channel;
        char byte;
        long result;
        do
            result = SYS(read, channel, &byte, 1);
        while (result == -EINTR);
        if (result == 1) {
            SYS(close, signals);
            return channel;
        }
        SYS(close, channel);
    }
}

/* Run a program to its end. ECHILD: it failed, *status is its exit status; ETIMEDOUT: it was killed after its time. */
STUB long
stub_hook(int input, int output, const char *path, const char *const *argv, const char *const *envp, long timeout_ms,
          int *status)
{
    int pidfd = -1, ended = 0;
    /* Not clone3: filters that can't look into its structure say that there is none. */
    long pid = SYS(clone, CLONE_PIDFD | SIGCHLD, 0, &pidfd, 0, 0);
    if (pid < 0)
        return pid;
    if (pid == 0) {
        uint64_t none = 0;
        SYS(setsid, 0);
        SYS(lseek, input, 0, SEEK_SET);
        long result = SYS(dup3, input, 0, 0);
        for (int i = 1; i <= 2 && result >= 0 && output >= 0; i++)
            result = SYS(dup3, output, i, 0);
        SYS(rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof none);
        if (result >= 0)
            SYS(execve, path, argv, envp);
        stub_exit(127);
    }
    struct pollfd child;
    struct timespec left;
    child.fd = pidfd;
    child.events = POLLIN;
    left.tv_sec = timeout_ms / 1000;
    left.tv_nsec = timeout_ms % 1000 * 1000000;
    long result;
    do
        result = SYS(ppoll, &child, 1, timeout_ms >= 0 ? &left : 0, 0, 0);
    while (result == -EINTR);
    if (result <= 0)
        SYS(pidfd_send_signal, pidfd, SIGKILL, 0, 0);
    while (SYS(wait4, pid, &ended, 0, 0) == -EINTR)
        ;
    SYS(close, pidfd);
    *status = (ended & 0x7f) ? 128 + (ended & 0x7f) : (ended >> 8 & 0xff);
    return result == 0 ? -ETIMEDOUT : *status ? -ECHILD : 0;
}

/* Move the descriptors first.. to 3.., in this order: a source is never overwritten before it was copied. */
STUB long
stub_preserve(int first, int count, int *channel)
{
    long result = SYS(fcntl, *channel, F_DUPFD_CLOEXEC, first + count);
    if (result < 0)
        return result;
    *channel = (int)result;
    for (int i = 0; i < count; i++)
        if ((result = SYS(dup3, first + i, 3 + i, 0)) < 0)
            return result;
    return 0;
}

STUB long
stub_fork(int channel, int step, uint64_t flags)
{
    struct clone_args args;
    int pidfd = -1, gate[2];
    char byte;
    /* What the child reports must come after the report of the child: who hears that it failed first would wait for us, and the
       child would stay a zombie, in whose pid namespace init can't die. So it waits until our end of a pipe is closed. */
    long pid = SYS(pipe2, gate, O_CLOEXEC);
    if (pid < 0)
        return pid;
    stub_clear(&args, sizeof args);
    args.flags = flags | CLONE_PARENT | CLONE_PIDFD; /* our parent waits for the child, which takes over our exit signal */
    args.pidfd = (uint64_t)(uintptr_t)&pidfd;
    pid = SYS(clone3, &args, sizeof args);
    if (pid <= 0) {
        SYS(close, gate[1]);
        while (pid == 0 && SYS(read, gate[0], &byte, 1) == -EINTR)
            ;
        SYS(close, gate[0]);
        return pid;
    }
    struct report report;
    stub_clear(&report, sizeof report);
    report.kind = REPORT_FORKED;
    report.step = step;
    report.value = (int32_t)pid;
    stub_send(channel, &report, sizeof report, pidfd);
    stub_exit(0);
    return 0;
}

/* Be a container's init beside the process that matters: forward signals to it, reap everything, end as it ends. */
STUB long
stub_reap(void)
{
    struct clone_args args;
    stub_clear(&args, sizeof args);
    args.exit_signal = SIGCHLD;
    long child = SYS(clone3, &args, sizeof args);
    if (child == -ENOSYS) /* Docker's profile answers so, to make libraries use clone(2) */
        child = SYS(clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0) { /* in the foreground of the terminal, if there is one: what is typed then reaches it, not us twice */
        int self = (int)SYS(getpid, 0);
        SYS(setpgid, 0, 0);
        SYS(ioctl, 0, TIOCSPGRP, &self);
    }
    if (child <= 0)
        return child;
    SYS(close_range, 3, ~0U, 0);
    uint64_t all = ~0UL;
    for (;;) {
        siginfo_t info;
        long signal = SYS(rt_sigtimedwait, &all, &info, 0, sizeof all);
        if (signal != SIGCHLD) {
            if (signal > 0)
                SYS(kill, child, signal);
            continue;
        }
        int status;
        long ended;
        while ((ended = SYS(wait4, -1, &status, WNOHANG, 0)) > 0)
            if (ended == child)
                stub_exit((status & 0x7f) ? 128 + (status & 0x7f) : (status >> 8 & 0xff));
    }
}

/* Whether one of *paths* is a file that this process may execute, as execve would find it. */
STUB long
stub_find(const char *const *paths, int *at)
{
    long error = -ENOENT;
    for (int i = 0; paths[i]; i++) {
        struct stat status;
        long result = SYS(newfstatat, AT_FDCWD, paths[i], &status, 0);
        if (result < 0) {
            if (result == -ENOENT || result == -ENOTDIR)
                continue;
        } else {
            result = S_ISDIR(status.st_mode) ? -EACCES : SYS(faccessat2, AT_FDCWD, paths[i], X_OK, AT_EACCESS);
        }
        if (result >= 0)
            return 0;
        error = result;
        *at = i;
        if (result != -EACCES)
            return error;
    }
    return error;
}

STUB void
stub_exec(int channel, int step, const char *const *paths, const char *const *argv, const char *const *envp)
{
    uint64_t none = 0;
    SYS(rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof none);
    long error = -ENOENT;
    int at = 0;
    const char *seen = 0;
    for (int i = 0; paths[i]; i++) {
        long result = SYS(execve, paths[i], argv, envp);
        if (result == -ENOTDIR || result == -ENOENT) {
            /* A script whose interpreter is missing gives ENOENT too; then it was found, and the search ends here. */
            struct stat status;
            if (SYS(newfstatat, AT_FDCWD, paths[i], &status, 0) < 0)
                continue;
        } else if (result == -EACCES) {
            if (error != -EACCES) {
                error = result;
                at = i;
                seen = paths[i];
            }
            continue;
        }
        error = result;
        at = i;
        seen = paths[i];
        break;
    }
    stub_fail(channel, step, error, at, seen);
}

/* ---- the walk ------------------------------------------------------------------------------------------------------ */

STUB void
stub_walk(const struct plan_header *plan)
{
    const struct plan_step *steps = (const void *)((const char *)plan + plan->steps_offset);
    int slots[PLAN_SLOTS];
    int empty_attached = 0, channel = FD_REPORT;
    for (int i = 0; i < PLAN_SLOTS; i++)
        *(volatile int *)&slots[i] = i <= (int)plan->inherited ? FD_PARENT + i : -1;
    for (uint32_t i = 0; i < plan->steps; i++) {
        const struct plan_step *step = &steps[i];
        long a[6];
        for (int k = 0; k < 6; k++)
            a[k] = step->slot_mask >> k & 1 ? slots[step->arg[k]] : (long)step->arg[k];
        long result;
        int value = 0;
        switch (step->op) {
        case OP_SYSCALL:
            do
                result = sys(step->number, a[0], a[1], a[2], a[3], a[4], a[5]);
            while (result == -EINTR);
            break;
        case OP_TARGET:
            result = stub_target((int)a[0], (char *)a[1], (int)a[2], (int)a[3], a[4], (uint64_t)a[5]);
            break;
        case OP_WRITE:
            result = stub_write((int)a[0], (char *)a[1], (char *)a[2], (size_t)a[3], (uint64_t)a[4]);
            break;
        case OP_EXPECT_FS:
            result = stub_expect_fs((int)a[0], (uint64_t)a[1]);
            break;
        case OP_EXPECT_DEV:
            result = stub_expect_dev((int)a[0], (uint64_t)a[1], (uint64_t)a[2]);
            break;
        case OP_MASK:
            result = stub_mask((int)a[0], (char *)a[1], (int)a[2], (int)a[3], (uint64_t)a[4], &empty_attached);
            break;
        case OP_CHOWN_STDIO:
            result = stub_chown_stdio((uint32_t)a[0]);
            break;
        case OP_SEND_FD:
            result = stub_send((int)a[0], (void *)a[2], (size_t)a[3], (int)a[1]);
            break;
        case OP_PAUSE:
            result = stub_pause(channel, (int)i, (int)a[0], (int)a[1], step->slot_mask & 4 ? (int)a[2] : -1);
            break;
        case OP_ACCEPT:
            result = stub_accept((int)a[0]);
            if (result >= 0) {
                SYS(close, channel);
                channel = (int)result;
            }
            break;
        case OP_HOOK:
            result = stub_hook((int)a[0], step->slot_mask & 2 ? (int)a[1] : -1, (void *)a[2], (void *)a[3], (void *)a[4], a[5],
                               &value);
            break;
        case OP_FIND:
            result = stub_find((void *)a[0], &value);
            break;
        case OP_PRESERVE:
            result = stub_preserve((int)a[0], (int)a[1], &channel);
            break;
        case OP_PARENT_ALIVE: {
            struct pollfd parent;
            struct timespec now;
            parent.fd = (int)a[0];
            parent.events = POLLIN;
            now.tv_sec = 0;
            now.tv_nsec = 0;
            result = SYS(ppoll, &parent, 1, &now, 0, 0);
            if (result > 0)
                stub_exit(128 + SIGKILL);
            break;
        }
        case OP_FORK:
            result = stub_fork(channel, (int)i, (uint64_t)a[0]);
            break;
        case OP_REAP:
            result = stub_reap();
            break;
        case OP_MODE_OF:
            result = stub_mode_of((int)a[0], (char *)a[1], (int)a[2], (uint64_t)a[3]);
            break;
        case OP_CLOSE:
            result = 0;
            for (int k = 0; k < 6; k++)
                if (step->slot_mask >> k & 1 && a[k] >= 0) {
                    SYS(close, a[k]);
                    slots[step->arg[k]] = -1;
                }
            break;
        case OP_EXEC:
            stub_exec(channel, (int)i, (void *)a[0], (void *)a[1], (void *)a[2]);
            result = -EINVAL;
            break;
        default:
            result = -ENOSYS;
        }
        if (result < 0) {
            if (-result == step->tolerate[0] || -result == step->tolerate[1]) {
                i += step->skip;
                continue;
            }
            stub_fail(channel, (int)i, result, value, 0);
        }
        if (step->out >= 0 && step->out < PLAN_SLOTS) {
            if (slots[step->out] >= 0)
                SYS(close, slots[step->out]);
            slots[step->out] = (int)result;
        }
    }
    stub_exit(0);
}

__attribute__((section("stub"), used, noreturn, visibility("hidden"))) void
stub_main(void)
{
    long size = SYS(lseek, FD_PLAN, 0, SEEK_END);
    if (size >= (long)sizeof(struct plan_header)) {
        long at = SYS(mmap, PLAN_BASE, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED_NOREPLACE, FD_PLAN, 0);
        const struct plan_header *plan = (const void *)PLAN_BASE;
        if (at == (long)PLAN_BASE && plan->magic == PLAN_MAGIC && plan->size == (uint64_t)size) {
            SYS(close, FD_PLAN);
            SYS(close_range, FD_REPORT, ~0U, CLOSE_RANGE_CLOEXEC);
            stub_walk(plan);
        }
    }
    /* Started by a container through /proc/self/exe, not by us. */
    stub_exit(127);
    __builtin_unreachable();
}

#endif
