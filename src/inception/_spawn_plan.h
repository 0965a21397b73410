/* A compiled plan: what runtime/plan.py writes and the stub walks. Numbers below are exported to Python; nothing is said twice.
 *
 *     header | names of inherited fds, NUL-terminated | steps | data (strings, structs, pointer arrays)
 *
 * Pointers in steps and data are absolute: the stub maps a plan at PLAN_BASE and nowhere else.
 */
#ifndef INCEPTION_SPAWN_PLAN_H
#define INCEPTION_SPAWN_PLAN_H

#include <stdint.h>

#define PLAN_BASE 0x100000000UL /* 4 GiB: far from a static program at 4 MiB, its heap and its stack */
#define PLAN_MAGIC 0x314e4c50U  /* "PLN1" */
#define PLAN_SLOTS 256

/* Descriptors of the stub, before those that the plan names. */
#define FD_PLAN 3
#define FD_REPORT 4
#define FD_PARENT 5 /* slot 0: a pidfd of the process that cloned us */
#define SLOT_PARENT 0

struct plan_header {
    uint32_t magic;
    uint32_t steps;        /* how many */
    uint32_t steps_offset;
    uint32_t inherited;    /* how many fds the caller must give; they become slots 1.. */
    uint32_t names_offset;
    uint32_t cgroup_offset; /* a cgroup2 directory to clone into, 0 for none */
    uint64_t clone_flags;
    uint64_t size;
};

struct plan_step {
    uint16_t op;
    uint16_t number;     /* of the system call, for OP_SYSCALL */
    int16_t out;         /* slot for the result, -1 for none; what the slot held is closed */
    uint16_t slot_mask;  /* bit i: argument i is a slot, its descriptor is passed */
    int16_t tolerate[2]; /* errnos that are no failure, 0 for none; after one, `skip` steps are passed over */
    uint16_t skip;
    uint16_t reserved;
    uint64_t arg[6];
};

/* Steps that are more than one system call, because they must look before they act. */
enum plan_op {
    OP_SYSCALL,
    OP_TARGET,       /* (root, path, kind, source, mode, resolve): openat2, making what is missing; -> O_PATH fd */
    OP_WRITE,        /* (dirfd, path, data, size, resolve): openat2, write, close */
    OP_EXPECT_FS,    /* (fd, magic): fstatfs says so, or EXDEV */
    OP_EXPECT_DEV,   /* (fd, type, device): fstat says so, or ENODEV */
    OP_MASK,         /* (root, path, null, empty, resolve): cover a file with null, a directory with the empty mount */
    OP_CHOWN_STDIO,  /* (uid): pipes, sockets and terminals on 0, 1, 2 */
    OP_SEND_FD,      /* (socket, fd, name, size): SCM_RIGHTS */
    OP_PAUSE,        /* (value, wait, fd): tell the caller, and give it fd; with wait, go on when it says so */
    OP_ACCEPT,       /* (listening socket): whoever connects and sends a byte is the caller from here on */
    OP_HOOK,         /* (input, output, path, argv, envp, timeout in ms): run a program to its end, which must be a good one */
    OP_FIND,         /* (paths, argv): one of the paths can be executed */
    OP_PRESERVE,     /* (first fd, count): they become 3, 4, ... of the program */
    OP_PARENT_ALIVE, /* (fd): end at once when the process behind the pidfd has ended */
    OP_FORK,         /* (flags): the child goes on, the parent reports it and ends */
    OP_REAP,         /* (): the child goes on; the parent forwards signals, reaps and ends with the child's status */
    OP_MODE_OF,      /* (root, path, fs, resolve): the filesystem to be made gets the mode of what it will cover, if that is there */
    OP_CLOSE,        /* (slots...): they hold nothing from here on */
    OP_EXEC,         /* (paths, argv, envp): the first path that can be executed */
};

enum { TARGET_DIRECTORY, TARGET_FILE, TARGET_LIKE_SOURCE };

enum report_kind { REPORT_FAILED = 1, REPORT_PAUSED = 2, REPORT_FORKED = 3 };

/* One message on FD_REPORT. The end of the stream without a failure is a successful execve: the descriptor closes there. */
struct report {
    int32_t kind;
    int32_t step;
    int32_t error;
    int32_t value;       /* the pid of FORKED, the value of PAUSED, the index of the path that OP_EXEC gave up at,
                            * the exit status of a hook */
    int32_t head_size;   /* the first bytes of a file that exists but can't be executed */
    unsigned char head[128];
};

#define PLAN_CONSTANTS(X)                                                                                                     \
    X(PLAN_BASE) X(PLAN_MAGIC) X(PLAN_SLOTS) X(FD_PARENT) X(SLOT_PARENT) X(OP_SYSCALL) X(OP_TARGET) X(OP_WRITE)            \
    X(OP_EXPECT_FS)                                                                                                            \
    X(OP_EXPECT_DEV) X(OP_MASK) X(OP_CHOWN_STDIO) X(OP_SEND_FD) X(OP_PAUSE) X(OP_ACCEPT) X(OP_HOOK) X(OP_FIND) X(OP_PRESERVE)  \
    X(OP_PARENT_ALIVE) X(OP_FORK) X(OP_REAP) X(OP_MODE_OF) X(OP_CLOSE) X(OP_EXEC) X(TARGET_DIRECTORY) X(TARGET_FILE) X(TARGET_LIKE_SOURCE)

#endif
