/* One system call that kernel exploits and escapes begin with; prints "NAME ERRNO" for each name on the command line. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_fsopen
#define SYS_fsopen 430
#endif
#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#endif
#ifndef AF_ALG
#define AF_ALG 38
#endif

static long attempt(const char *name)
{
    static char zeros[256];

    if (!strcmp(name, "af_alg")) return socket(AF_ALG, SOCK_SEQPACKET, 0);
    if (!strcmp(name, "af_vsock")) return socket(40, SOCK_STREAM, 0);
    if (!strcmp(name, "keyctl")) return syscall(SYS_keyctl, 0, -3, 0, 0, 0);
    if (!strcmp(name, "add_key")) return syscall(SYS_add_key, "user", "x", "y", 1, -3);
    if (!strcmp(name, "request_key")) return syscall(SYS_request_key, "user", "x", 0, -3);
    if (!strcmp(name, "bpf")) return syscall(SYS_bpf, 0, zeros, sizeof zeros);
    if (!strcmp(name, "userfaultfd")) return syscall(SYS_userfaultfd, 0);
    if (!strcmp(name, "io_uring_setup")) return syscall(SYS_io_uring_setup, 1, zeros);
    if (!strcmp(name, "open_by_handle_at")) return syscall(SYS_open_by_handle_at, AT_FDCWD, zeros, 0);
    if (!strcmp(name, "perf_event_open")) return syscall(SYS_perf_event_open, zeros, 0, -1, -1, 0);
    if (!strcmp(name, "unshare_user")) return unshare(CLONE_NEWUSER);
    if (!strcmp(name, "clone_user")) return syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (!strcmp(name, "clone3")) return syscall(SYS_clone3, zeros, 64);
    if (!strcmp(name, "fsopen")) return syscall(SYS_fsopen, "tmpfs", 0);
    if (!strcmp(name, "mount")) return syscall(SYS_mount, "x", "/", "tmpfs", 0, 0);
    if (!strcmp(name, "setns")) return syscall(SYS_setns, -1, 0);
    if (!strcmp(name, "init_module")) return syscall(SYS_init_module, zeros, 1, "");
    if (!strcmp(name, "kexec_load")) return syscall(SYS_kexec_load, 0, 0, 0, 0);
    if (!strcmp(name, "personality")) return syscall(SYS_personality, 0x0040000);
    if (!strcmp(name, "getpid")) return getpid();
    errno = 999;
    return -1;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        long result = attempt(argv[i]);
        if (result == 0 && !strncmp(argv[i], "clone", 5))
            _exit(0); /* the child of a clone that must not have worked */
        printf("%s %d\n", argv[i], result < 0 ? errno : 0);
        fflush(stdout);
    }
    return 0;
}
