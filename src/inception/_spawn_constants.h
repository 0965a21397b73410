/* The kernel's numbers that Python and C share, each taken from its header.
 *
 * CONSTANT(name) exports one under its own name. What the headers of the oldest supported build machine (Debian 12, Linux 6.1)
 * lack is defined here first; such numbers are the same on all architectures (system calls from 424 on are unified).
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* <sys/mount.h> clashes with <linux/mount.h> before glibc 2.37. */
#ifndef MNT_DETACH
#define MNT_FORCE 1
#define MNT_DETACH 2
#define MNT_EXPIRE 4
#define UMOUNT_NOFOLLOW 8
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef MOVE_MOUNT_BENEATH
#define MOVE_MOUNT_BENEATH 0x00000200
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_statmount
#define SYS_statmount 457
#endif
#ifndef SYS_listmount
#define SYS_listmount 458
#endif
#ifndef SYS_set_mempolicy_home_node
#define SYS_set_mempolicy_home_node 450
#endif
#ifndef PIDFD_NONBLOCK
#define PIDFD_NONBLOCK O_NONBLOCK
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif
#ifndef DEVPTS_SUPER_MAGIC
#define DEVPTS_SUPER_MAGIC 0x1cd1
#endif
#ifndef TMPFS_MAGIC
#define TMPFS_MAGIC 0x01021994
#endif
#ifndef MQUEUE_MAGIC
#define MQUEUE_MAGIC 0x19800202
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif
#ifndef MPOL_WEIGHTED_INTERLEAVE
#define MPOL_WEIGHTED_INTERLEAVE 6
#endif
#ifndef SCHED_EXT
#define SCHED_EXT 7
#endif

#define SYSTEM_CALLS(X)                                                                                                       \
    X(accept4) X(bind) X(bpf) X(capget) X(capset) X(chdir) X(chroot) X(clone3) X(close) X(close_range) X(connect) X(dup3) X(execve) X(execveat) X(exit)     \
    X(exit_group) X(faccessat2) X(fchdir) X(fchmod) X(fchmodat) X(fchmodat2) X(fchown) X(fchownat) X(fcntl) X(fsconfig)       \
    X(fsmount) X(fsopen) X(fspick) X(fstatfs) X(getpid) X(getppid) X(ioctl) X(ioprio_set) X(kcmp) X(keyctl) X(kill)           \
    X(linkat) X(listen) X(listmount) X(memfd_create) X(mkdirat) X(mknodat) X(mount) X(mount_setattr) X(move_mount)                      \
    X(name_to_handle_at) X(open_by_handle_at) X(open_tree) X(openat) X(openat2) X(personality) X(pidfd_getfd)                 \
    X(pidfd_open) X(pidfd_send_signal) X(pivot_root) X(ppoll) X(prctl) X(prlimit64) X(read) X(readlinkat)             \
    X(renameat2) X(rt_sigprocmask) X(sched_setaffinity) X(sched_setattr) X(seccomp) X(sethostname) X(setdomainname)           \
    X(set_mempolicy) X(socket) X(setgid) X(setgroups) X(setns) X(setpriority) X(setregid) X(setresgid) X(setresuid) X(setsid)           \
    X(setuid) X(statfs) X(statmount) X(statx) X(symlinkat) X(getdents64) X(syncfs) X(umask) X(umount2) X(unlinkat) X(unshare) X(wait4)      \
    X(waitid) X(write)

#define CONSTANTS(X)                                                                                                          \
    X(AT_EMPTY_PATH) X(AT_FDCWD) X(AT_RECURSIVE) X(AT_REMOVEDIR) X(AT_SYMLINK_FOLLOW) X(AT_SYMLINK_NOFOLLOW)                  \
    X(AT_NO_AUTOMOUNT)                                                                                                        \
    X(AUDIT_ARCH_AARCH64) X(AUDIT_ARCH_ARM) X(AUDIT_ARCH_I386) X(AUDIT_ARCH_X86_64)                                           \
    X(BPF_ABS) X(BPF_ALU) X(BPF_AND) X(BPF_JA) X(BPF_JEQ) X(BPF_JGE) X(BPF_JGT) X(BPF_JMP) X(BPF_JSET) X(BPF_K) X(BPF_LD)     \
    X(BPF_RET) X(BPF_W)                                                                                                       \
    X(BPF_CGROUP_DEVICE) X(BPF_F_ALLOW_MULTI) X(BPF_F_REPLACE) X(BPF_OBJ_GET_INFO_BY_FD) X(BPF_PROG_ATTACH)                   \
    X(BPF_PROG_DETACH) X(BPF_PROG_GET_FD_BY_ID) X(BPF_PROG_LOAD) X(BPF_PROG_QUERY) X(BPF_PROG_TYPE_CGROUP_DEVICE)             \
    X(CAP_LAST_CAP)                                                                                                           \
    X(CGROUP_SUPER_MAGIC) X(CGROUP2_SUPER_MAGIC) X(DEVPTS_SUPER_MAGIC) X(MQUEUE_MAGIC) X(OVERLAYFS_SUPER_MAGIC)               \
    X(PROC_SUPER_MAGIC) X(SYSFS_MAGIC) X(TMPFS_MAGIC)                                                                         \
    X(CLONE_CLEAR_SIGHAND) X(CLONE_FILES) X(CLONE_FS) X(CLONE_INTO_CGROUP) X(CLONE_NEWCGROUP) X(CLONE_NEWIPC) X(CLONE_NEWNET) \
    X(CLONE_NEWNS) X(CLONE_NEWPID) X(CLONE_NEWTIME) X(CLONE_NEWUSER) X(CLONE_NEWUTS) X(CLONE_PARENT) X(CLONE_PIDFD)           \
    X(CLONE_VFORK) X(CLONE_VM)                                                                                                \
    X(CLOSE_RANGE_CLOEXEC) X(CLOSE_RANGE_UNSHARE)                                                                             \
    X(FSCONFIG_CMD_CREATE) X(FSCONFIG_CMD_RECONFIGURE) X(FSCONFIG_SET_BINARY) X(FSCONFIG_SET_FD) X(FSCONFIG_SET_FLAG)         \
    X(FSCONFIG_SET_PATH) X(FSCONFIG_SET_PATH_EMPTY) X(FSCONFIG_SET_STRING)                                                    \
    X(FSMOUNT_CLOEXEC) X(FSOPEN_CLOEXEC) X(FSPICK_CLOEXEC) X(FSPICK_EMPTY_PATH)                                               \
    X(F_DUPFD_CLOEXEC) X(F_ADD_SEALS) X(F_SEAL_GROW) X(F_SEAL_SEAL) X(F_SEAL_SHRINK) X(F_SEAL_WRITE)                          \
    X(MFD_ALLOW_SEALING) X(MFD_CLOEXEC) X(MFD_EXEC) X(MFD_NOEXEC_SEAL)                                                        \
    X(MNT_DETACH) X(MNT_EXPIRE) X(MNT_FORCE) X(UMOUNT_NOFOLLOW)                                                               \
    X(MOUNT_ATTR_IDMAP) X(MOUNT_ATTR_NOATIME) X(MOUNT_ATTR_NODEV) X(MOUNT_ATTR_NODIRATIME) X(MOUNT_ATTR_NOEXEC)               \
    X(MOUNT_ATTR_NOSUID) X(MOUNT_ATTR_NOSYMFOLLOW) X(MOUNT_ATTR_RDONLY) X(MOUNT_ATTR_RELATIME)                                \
    X(MOUNT_ATTR_STRICTATIME) X(MOUNT_ATTR__ATIME)                                                                            \
    X(MOVE_MOUNT_BENEATH) X(MOVE_MOUNT_F_EMPTY_PATH) X(MOVE_MOUNT_SET_GROUP) X(MOVE_MOUNT_T_EMPTY_PATH)                       \
    X(MOVE_MOUNT_T_SYMLINKS)                                                                                                  \
    X(MS_BIND) X(MS_DIRSYNC) X(MS_I_VERSION) X(MS_LAZYTIME) X(MS_MANDLOCK) X(MS_MOVE) X(MS_NOATIME) X(MS_NODEV)               \
    X(MS_NODIRATIME) X(MS_NOEXEC) X(MS_NOSUID) X(MS_NOSYMFOLLOW) X(MS_PRIVATE) X(MS_RDONLY) X(MS_REC) X(MS_RELATIME)          \
    X(MS_REMOUNT) X(MS_SHARED) X(MS_SILENT) X(MS_SLAVE) X(MS_STRICTATIME) X(MS_SYNCHRONOUS) X(MS_UNBINDABLE)                  \
    X(OPEN_TREE_CLOEXEC) X(OPEN_TREE_CLONE)                                                                                   \
    X(O_APPEND) X(O_CLOEXEC) X(O_CREAT) X(O_DIRECTORY) X(O_EXCL) X(O_NOCTTY) X(O_NOFOLLOW) X(O_NONBLOCK) X(O_PATH)            \
    X(O_RDONLY) X(O_RDWR) X(O_TMPFILE) X(O_TRUNC) X(O_WRONLY)                                                                 \
    X(MPOL_BIND) X(MPOL_DEFAULT) X(MPOL_F_NUMA_BALANCING) X(MPOL_F_RELATIVE_NODES) X(MPOL_F_STATIC_NODES) X(MPOL_INTERLEAVE)  \
    X(MPOL_LOCAL) X(MPOL_PREFERRED) X(MPOL_PREFERRED_MANY) X(MPOL_WEIGHTED_INTERLEAVE)                                       \
    X(PR_CAPBSET_DROP) X(PR_CAPBSET_READ) X(PR_CAP_AMBIENT) X(PR_CAP_AMBIENT_CLEAR_ALL) X(PR_CAP_AMBIENT_RAISE)               \
    X(PR_SET_CHILD_SUBREAPER) X(PR_SET_DUMPABLE) X(PR_SET_KEEPCAPS) X(PR_SET_NAME) X(PR_SET_NO_NEW_PRIVS)                     \
    X(PR_SET_PDEATHSIG) X(PR_SET_SECUREBITS)                                                                                  \
    X(P_PID) X(P_PIDFD) X(WEXITED) X(WNOHANG) X(WNOWAIT)                                                                      \
    X(RENAME_EXCHANGE) X(RENAME_NOREPLACE) X(RENAME_WHITEOUT)                                                                 \
    X(RESOLVE_BENEATH) X(RESOLVE_CACHED) X(RESOLVE_IN_ROOT) X(RESOLVE_NO_MAGICLINKS) X(RESOLVE_NO_SYMLINKS)                   \
    X(RESOLVE_NO_XDEV)                                                                                                        \
    X(RLIMIT_AS) X(RLIMIT_CORE) X(RLIMIT_CPU) X(RLIMIT_DATA) X(RLIMIT_FSIZE) X(RLIMIT_LOCKS) X(RLIMIT_MEMLOCK)                \
    X(RLIMIT_MSGQUEUE) X(RLIMIT_NICE) X(RLIMIT_NOFILE) X(RLIMIT_NPROC) X(RLIMIT_RSS) X(RLIMIT_RTPRIO) X(RLIMIT_RTTIME)        \
    X(RLIMIT_SIGPENDING) X(RLIMIT_STACK)                                                                                      \
    X(SECCOMP_FILTER_FLAG_LOG) X(SECCOMP_FILTER_FLAG_NEW_LISTENER) X(SECCOMP_FILTER_FLAG_SPEC_ALLOW)                          \
    X(SECCOMP_FILTER_FLAG_TSYNC) X(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)                                                    \
    X(SECCOMP_RET_ALLOW) X(SECCOMP_RET_DATA) X(SECCOMP_RET_ERRNO) X(SECCOMP_RET_KILL_PROCESS) X(SECCOMP_RET_KILL_THREAD)      \
    X(SECCOMP_RET_LOG) X(SECCOMP_RET_TRACE) X(SECCOMP_RET_TRAP) X(SECCOMP_RET_USER_NOTIF)                                     \
    X(SECCOMP_SET_MODE_FILTER)                                                                                                \
    X(STATX_BASIC_STATS) X(STATX_MNT_ID)                                                                                      \
    X(S_IFBLK) X(S_IFCHR) X(S_IFDIR) X(S_IFIFO) X(S_IFLNK) X(S_IFREG) X(S_IFSOCK)                                             \
    X(AF_INET) X(AF_UNIX) X(IFF_UP) X(KEYCTL_JOIN_SESSION_KEYRING) X(SIOCSIFFLAGS) X(SOCK_CLOEXEC) X(SOCK_DGRAM) X(SOCK_SEQPACKET) X(SOCK_STREAM) \
    X(TCSETS) X(TIOCGPTN) X(TIOCGPTPEER) X(TIOCGWINSZ) X(TIOCNOTTY) X(TIOCSCTTY) X(TIOCSPTLCK) X(TIOCSWINSZ)                            \
    X(_LINUX_CAPABILITY_VERSION_3)
