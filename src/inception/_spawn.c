/* The part of Inception that must be C: raw system calls, and the start of processes.
 *
 * See linux/call.py for the calls and runtime/plan.py for what a plan is.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_spawn_start.h"

/* The numbers a build needs, whatever the header calls them. */
#if defined(__x86_64__)
#define ARCHITECTURE "x86_64"
#elif defined(__aarch64__)
#define ARCHITECTURE "aarch64"
#else
#error "inception runs on x86-64 and aarch64"
#endif

/* ---- system calls -------------------------------------------------------------------------------------------------- */

static PyObject *
spawn_syscall(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    long values[7] = {0};
    Py_buffer buffers[7];
    int held = 0;
    PyObject *result = NULL;

    if (count < 1 || count > 7) {
        PyErr_SetString(PyExc_TypeError, "syscall() takes a number and up to six arguments");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (args[i] == Py_None)
            continue;
        if (PyLong_Check(args[i])) {
            values[i] = (long)PyLong_AsUnsignedLongMask(args[i]);
            if (PyErr_Occurred())
                goto done;
            continue;
        }
        /* bytes end with a NUL that they don't count, so they serve as strings; results go to a bytearray. */
        if (PyObject_GetBuffer(args[i], &buffers[held], PyBUF_SIMPLE) < 0)
            goto done;
        values[i] = (long)buffers[held++].buf;
    }
    long answer;
    int error;
    Py_BEGIN_ALLOW_THREADS
    answer = syscall(values[0], values[1], values[2], values[3], values[4], values[5], values[6]);
    error = errno;
    Py_END_ALLOW_THREADS
    if (answer == -1) {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
    } else {
        result = PyLong_FromLong(answer);
    }
done:
    while (held)
        PyBuffer_Release(&buffers[--held]);
    return result;
}

static PyObject *
spawn_address(PyObject *self, PyObject *buffer)
{
    (void)self;
    Py_buffer view;
    if (PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *address = PyLong_FromVoidPtr(view.buf);
    PyBuffer_Release(&view);
    return address;
}

/* ---- a helper that shares our descriptors -------------------------------------------------------------------------- */

/* Namespaces belong to threads. To make a network namespace, or a socket in one, without moving any thread of the caller, a
 * child that shares memory and descriptors does it: what it opens is open here. No Python, no allocation, no locks in there. */
struct errand {
    int flags;        /* namespaces to make */
    int netns;        /* or one to enter, -1 for none */
    int family, type, protocol;
    const char *path; /* to open there instead of making a socket: /proc/sys/net shows the opener's namespace */
    int fd, error;
};

/* A namespace starts with its loopback down, which surprises every program. */
static int
loopback_up(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int done = ioctl(fd, SIOCSIFFLAGS, &lo);
    close(fd);
    return done;
}

static int
run_errand(void *argument)
{
    struct errand *errand = argument;
    if (errand->netns >= 0 && syscall(SYS_setns, errand->netns, CLONE_NEWNET) < 0)
        errand->error = errno;
    else if (errand->path != NULL)
        errand->fd = open(errand->path, O_WRONLY | O_CLOEXEC);
    else if (errand->netns >= 0)
        errand->fd = socket(errand->family, errand->type | SOCK_CLOEXEC, errand->protocol);
    else if (loopback_up() < 0)
        errand->error = errno;
    else
        errand->fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (errand->fd < 0 && errand->error == 0)
        errand->error = errno;
    _exit(0);
}

static PyObject *
send_on_errand(struct errand *errand)
{
    static const size_t stack_size = 64 << 10;
    char *stack = PyMem_RawMalloc(stack_size);
    if (stack == NULL)
        return PyErr_NoMemory();
    errand->fd = -1;
    errand->error = 0;
    Py_BEGIN_ALLOW_THREADS
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    /* No exit signal: the caller's SIGCHLD handling does not see it, and only __WCLONE waits for it. */
    int pid = clone(run_errand, stack + stack_size, CLONE_VM | CLONE_VFORK | CLONE_FILES | errand->flags, errand);
    if (pid < 0)
        errand->error = errno;
    else
        while (waitpid(pid, NULL, __WCLONE) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    Py_END_ALLOW_THREADS
    PyMem_RawFree(stack);
    if (errand->fd < 0) {
        errno = errand->error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyLong_FromLong(errand->fd);
}

static PyObject *
spawn_new_netns(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    struct errand errand = {.flags = CLONE_NEWNET, .netns = -1};
    return send_on_errand(&errand);
}

static PyObject *
spawn_socket_in_netns(PyObject *self, PyObject *args)
{
    (void)self;
    struct errand errand = {0};
    if (!PyArg_ParseTuple(args, "iiii", &errand.netns, &errand.family, &errand.type, &errand.protocol))
        return NULL;
    return send_on_errand(&errand);
}

static PyObject *
spawn_open_in_netns(PyObject *self, PyObject *args)
{
    (void)self;
    struct errand errand = {0};
    if (!PyArg_ParseTuple(args, "iy", &errand.netns, &errand.path))
        return NULL;
    return send_on_errand(&errand);
}

/* ---- the start of a process ---------------------------------------------------------------------------------------- */

static PyObject *SpawnError;

static void
set_spawn_error(int step, int error, int value, const void *head, int head_size)
{
    PyObject *exception = PyObject_CallFunction(SpawnError, "iiiy#", step, error, value, head ? head : "", (Py_ssize_t)head_size);
    if (exception == NULL)
        return;
    PyObject *numbers[] = {PyLong_FromLong(step), PyLong_FromLong(error), PyLong_FromLong(value)};
    static const char *const names[] = {"step", "errno", "value"};
    for (int i = 0; i < 3; i++) {
        if (numbers[i])
            PyObject_SetAttrString(exception, names[i], numbers[i]);
        Py_XDECREF(numbers[i]);
    }
    PyObject *bytes = PyBytes_FromStringAndSize(head, head_size);
    if (bytes)
        PyObject_SetAttrString(exception, "head", bytes);
    Py_XDECREF(bytes);
    PyErr_SetObject(SpawnError, exception);
    Py_DECREF(exception);
}

static void
release_start(struct start *start)
{
    const int fds[] = {start->cgroup, start->plan, start->report, start->parent, start->report_ours};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    PyMem_RawFree(start->stack);
    memset(start, 0, sizeof *start);
    start->cgroup = start->plan = start->report = start->parent = start->report_ours = -1;
}

/* Fill *start from a plan's header, the caller's fds by name and three stdio fds; -1 with an exception set. */
static int
prepare_start(struct start *start, const Py_buffer *plan, PyObject *fds, PyObject *stdio, int with_channel)
{
    const struct plan_header *header = plan->buf;
    memset(start, 0, sizeof *start);
    start->cgroup = start->plan = start->report = start->parent = start->report_ours = -1;
    const uint64_t size = (uint64_t)plan->len;
    if (size < sizeof *header || header->magic != PLAN_MAGIC || header->size != size || header->names_offset >= size ||
        header->cgroup_offset >= size || header->inherited > GIVEN_MAX || ((const char *)plan->buf)[size - 1] != 0 ||
        header->steps_offset + (uint64_t)header->steps * sizeof(struct plan_step) > size) {
        PyErr_SetString(PyExc_ValueError, "not a compiled plan");
        return -1;
    }
    const char *name = (const char *)plan->buf + header->names_offset, *const end = (const char *)plan->buf + size;
    for (uint32_t i = 0; i < header->inherited && name < end; i++, name += strlen(name) + 1) {
        PyObject *fd = PyDict_GetItemString(fds, name);
        if (fd == NULL) {
            PyErr_Format(PyExc_ValueError, "the plan needs the file descriptor \"%s\"", name);
            return -1;
        }
        start->given[i] = PyObject_AsFileDescriptor(fd);
        if (start->given[i] < 0)
            return -1;
        start->given_count++;
    }
    if (!PyArg_ParseTuple(stdio, "iii", &start->stdio[0], &start->stdio[1], &start->stdio[2]))
        return -1;
    start->flags = header->clone_flags;
    int channel[2] = {-1, -1};
    if ((start->stub = open_stub()) < 0)
        goto failed;
    if (header->cgroup_offset) {
        start->cgroup = open((const char *)plan->buf + header->cgroup_offset, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (start->cgroup < 0)
            goto failed;
    }
    if ((start->plan = memory_file("inception-plan", MFD_NOEXEC_SEAL)) < 0 ||
        write_all(start->plan, plan->buf, (size_t)plan->len) < 0 ||
        (with_channel && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) < 0))
        goto failed;
    start->report_ours = channel[0];
    start->report = channel[1];
    start->stack = PyMem_RawMalloc(STACK_SIZE);
    if (start->stack == NULL) {
        release_start(start);
        PyErr_NoMemory();
        return -1;
    }
    return 0;
failed:;
    int error = errno;
    release_start(start);
    set_spawn_error(-1, error, 0, NULL, 0);
    return -1;
}

/* Read reports until the process runs (0), pauses (1), or failed (-1, exception set; the process is reaped).
 * *channel is consumed unless it paused; *passed is the descriptor that came with the pause, or -1. *pid and *pidfd change when
 * the plan forks. */
static int
follow_start(int *channel, pid_t *pid, int *pidfd, int *passed)
{
    *passed = -1;
    for (;;) {
        struct report report;
        int fd;
        long result;
        Py_BEGIN_ALLOW_THREADS
        result = receive_report(*channel, &report, &fd);
        Py_END_ALLOW_THREADS
        if (result == -EINTR) {
            if (PyErr_CheckSignals() == 0)
                continue;
        } else if (result == 0) {
            close(*channel);
            *channel = -1;
            return 0;
        } else if (result > 0 && report.kind == REPORT_PAUSED) {
            *passed = fd;
            return 1;
        } else if (result > 0 && report.kind == REPORT_FORKED) {
            while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR)
                ;
            close(*pidfd);
            *pid = report.value;
            *pidfd = fd;
            continue;
        } else {
            set_spawn_error(report.step, result < 0 ? (int)-result : report.error, report.value, report.head, report.head_size);
        }
        close(*channel);
        *channel = -1;
        kill_and_reap(*pid, *pidfd);
        return -1;
    }
}

static int
start_process(PyObject *args, pid_t *pid, int *pidfd, int *channel, int *passed)
{
    Py_buffer plan;
    PyObject *fds, *stdio;
    struct start start;
    if (!PyArg_ParseTuple(args, "y*O!O!", &plan, &PyDict_Type, &fds, &PyTuple_Type, &stdio))
        return -1;
    int prepared = prepare_start(&start, &plan, fds, stdio, 1);
    PyBuffer_Release(&plan);
    if (prepared < 0)
        return -1;
    long result;
    Py_BEGIN_ALLOW_THREADS
    start.parent = (int)syscall(SYS_pidfd_open, getpid(), 0);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    result = start.parent < 0 ? -errno : clone_stub(&start, pidfd);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    Py_END_ALLOW_THREADS
    if (result > 0) {
        *pid = (pid_t)result;
        *channel = start.report_ours;
        start.report_ours = -1;
    }
    release_start(&start);
    if (result < 0) {
        set_spawn_error(-1, (int)-result, 0, NULL, 0);
        return -1;
    }
    return follow_start(channel, pid, pidfd, passed);
}

static PyObject *
spawn_spawn(PyObject *self, PyObject *args)
{
    (void)self;
    pid_t pid;
    int pidfd, channel, passed;
    int state = start_process(args, &pid, &pidfd, &channel, &passed);
    if (state < 0)
        return NULL;
    if (state > 0) {
        close(channel);
        if (passed >= 0)
            close(passed);
        kill_and_reap(pid, pidfd);
        PyErr_SetString(PyExc_ValueError, "the plan pauses: begin() it");
        return NULL;
    }
    return Py_BuildValue("ii", (int)pid, pidfd);
}

static PyObject *
spawn_begin(PyObject *self, PyObject *args)
{
    (void)self;
    pid_t pid;
    int pidfd, channel, passed;
    if (start_process(args, &pid, &pidfd, &channel, &passed) < 0)
        return NULL;
    return Py_BuildValue("iiii", (int)pid, pidfd, channel, passed);
}

static PyObject *
spawn_resume(PyObject *self, PyObject *args)
{
    (void)self;
    int pid, pidfd, channel, passed;
    if (!PyArg_ParseTuple(args, "iii", &pid, &pidfd, &channel))
        return NULL;
    /* EPIPE: it went on without being told, as after a pause that does not wait; what it reported is still there to read. */
    if (send(channel, "", 1, MSG_NOSIGNAL) < 0 && errno != EPIPE) {
        int error = errno;
        close(channel);
        kill_and_reap(pid, pidfd);
        set_spawn_error(-1, error, 0, NULL, 0);
        return NULL;
    }
    if (follow_start(&channel, &pid, &pidfd, &passed) < 0)
        return NULL;
    return Py_BuildValue("iiii", pid, pidfd, channel, passed);
}

/* ---- the start of a container with its monitor --------------------------------------------------------------------- */

enum { KEPT_MAX = 128, WORDS_MAX = 64 };

/* caller ──clone──▶ a child that ends at once ──clone──▶ the monitor ──clone──▶ init
 *
 * All share the caller's memory, each until its execve, each waiting for the one it made: the monitor's program starts when
 * init's execve has succeeded, or never. The child in between makes the monitor an orphan, so that it is nobody's zombie. */
struct launch {
    struct start start;
    char *stack_between, *stack_monitor;
    const char *argv[WORDS_MAX + 1], *envp[WORDS_MAX + 1];
    int kept[KEPT_MAX], kept_count;
    int init_fd, errors_fd; /* where init's pidfd goes; what becomes stderr, or -1 */
    int handover;           /* socket: our end sends the pidfds of init and of the monitor */
    uint64_t no_signals;
    struct report report;
    int failed;
    int pid, monitor_pid;
};

static void
fail_launch(struct launch *launch, int step, long error)
{
    launch->failed = 1;
    launch->report.step = step;
    launch->report.error = (int)-error;
    sys(SYS_exit_group, 1, 0, 0, 0, 0, 0);
}

static long
send_fd(int socket_fd, int fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    char byte = 0;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    memset(&control, 0, sizeof control);
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    return sys(SYS_sendmsg, socket_fd, (long)&message, MSG_NOSIGNAL, 0, 0, 0);
}

static int
become_monitor(void *argument)
{
    struct launch *launch = argument;
    struct start *start = &launch->start;
    int pidfd = -1, fd;
    long result;

    sys(SYS_setsid, 0, 0, 0, 0, 0, 0);
    launch->monitor_pid = (int)sys(SYS_getpid, 0, 0, 0, 0, 0, 0);
    start->parent = (int)sys(SYS_pidfd_open, launch->monitor_pid, 0, 0, 0, 0, 0);
    if (start->parent < 0)
        fail_launch(launch, -1, start->parent);
    /* Made here, so that no copy in another process keeps init's end open and its closing unseen. */
    int channel[2];
    result = sys(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, (long)channel, 0, 0);
    if (result < 0)
        fail_launch(launch, -1, result);
    start->report_ours = channel[0];
    start->report = channel[1];
    long pid = clone_stub(start, &pidfd);
    if (pid < 0)
        fail_launch(launch, -1, pid);
    sys(SYS_close, start->report, 0, 0, 0, 0, 0);
    for (;;) {
        result = receive_report(start->report_ours, &launch->report, &fd);
        if (result == -EINTR)
            continue;
        if (result <= 0 || launch->report.kind != REPORT_FORKED)
            break;
        sys(SYS_wait4, pid, 0, 0, 0, 0, 0);
        sys(SYS_close, pidfd, 0, 0, 0, 0, 0);
        pid = launch->report.value;
        pidfd = fd;
    }
    launch->pid = (int)pid;
    if (result == 0)
        result = send_fd(launch->handover, pidfd);
    else {
        sys(SYS_pidfd_send_signal, pidfd, SIGKILL, 0, 0, 0, 0);
        sys(SYS_wait4, pid, 0, 0, 0, 0, 0);
        if (result > 0 && launch->report.kind == REPORT_FAILED) {
            launch->failed = 1;
            sys(SYS_exit_group, 1, 0, 0, 0, 0, 0);
        }
        fail_launch(launch, -1, result < 0 ? result : -EPROTO);
    }
    if (result > 0)
        result = send_fd(launch->handover, start->parent);
    long null = sys(SYS_openat, AT_FDCWD, (long)"/dev/null", O_RDWR | O_CLOEXEC, 0, 0, 0);
    if (null < 0)
        result = null;
    long errors = launch->errors_fd >= 0 ? launch->errors_fd : null;
    if (result > 0)
        result = sys(SYS_dup3, pidfd, launch->init_fd, O_CLOEXEC, 0, 0, 0);
    if (result >= 0 && errors < 3) /* it would be overwritten below */
        result = errors = sys(SYS_fcntl, errors, F_DUPFD_CLOEXEC, 3, 0, 0, 0);
    if (result >= 0)
        result = sys(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC, 0, 0, 0);
    for (int i = 0; i < 3 && result >= 0; i++)
        if (null != i)
            result = sys(SYS_dup3, i == 2 ? errors : null, i, 0, 0, 0, 0);
        else
            result = sys(SYS_fcntl, i, F_SETFD, 0, 0, 0, 0);
    for (int i = 0; i < launch->kept_count && result >= 0; i++)
        result = sys(SYS_fcntl, launch->kept[i], F_SETFD, 0, 0, 0, 0);
    if (result >= 0) {
        default_signals();
        sys(SYS_rt_sigprocmask, SIG_SETMASK, (long)&launch->no_signals, 0, sizeof launch->no_signals, 0, 0);
        sys(SYS_chdir, (long)"/", 0, 0, 0, 0, 0);
        result = sys(SYS_execve, (long)launch->argv[0], (long)launch->argv, (long)launch->envp, 0, 0, 0);
    }
    sys(SYS_pidfd_send_signal, pidfd, SIGKILL, 0, 0, 0, 0);
    sys(SYS_wait4, pid, 0, 0, 0, 0, 0);
    fail_launch(launch, -2, result);
    return 0;
}

static int
make_monitor(void *argument)
{
    struct launch *launch = argument;
    struct clone_args args = {
        .flags = CLONE_VM | CLONE_VFORK | CLONE_CLEAR_SIGHAND,
        .exit_signal = SIGCHLD,
        .stack = (uint64_t)(uintptr_t)launch->stack_monitor,
        .stack_size = STACK_SIZE,
    };
    long pid = clone_onto(&args, become_monitor, launch);
    if (pid < 0)
        fail_launch(launch, -1, pid);
    if (launch->failed)
        sys(SYS_wait4, pid, 0, 0, 0, 0, 0);
    sys(SYS_exit_group, 0, 0, 0, 0, 0, 0);
    return 0;
}

/* Point words[] at the bytes objects of *list*, which must stay alive. */
static int
borrow_words(PyObject *list, const char **words)
{
    Py_ssize_t count = PyList_GET_SIZE(list);
    if (count > WORDS_MAX) {
        PyErr_SetString(PyExc_ValueError, "too many words");
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        if ((words[i] = PyBytes_AsString(PyList_GET_ITEM(list, i))) == NULL)
            return -1;
    words[count] = NULL;
    return 0;
}

static PyObject *
spawn_launch(PyObject *self, PyObject *args)
{
    (void)self;
    Py_buffer plan;
    PyObject *fds, *stdio, *argv, *envp, *kept, *result = NULL;
    struct launch launch;
    int handover[2] = {-1, -1};
    memset(&launch, 0, sizeof launch);
    if (!PyArg_ParseTuple(args, "y*O!O!O!O!O!ii", &plan, &PyDict_Type, &fds, &PyTuple_Type, &stdio, &PyList_Type, &argv,
                          &PyList_Type, &envp, &PyList_Type, &kept, &launch.init_fd, &launch.errors_fd))
        return NULL;
    int prepared = borrow_words(argv, launch.argv) < 0 || borrow_words(envp, launch.envp) < 0
                       ? -1
                       : prepare_start(&launch.start, &plan, fds, stdio, 0);
    PyBuffer_Release(&plan);
    if (prepared < 0)
        return NULL;
    if (PyList_GET_SIZE(kept) > KEPT_MAX) {
        PyErr_SetString(PyExc_ValueError, "too many descriptors");
        goto done;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(kept); i++) {
        int fd = PyObject_AsFileDescriptor(PyList_GET_ITEM(kept, i));
        if (fd < 0)
            goto done;
        launch.kept[launch.kept_count++] = fd;
    }
    launch.stack_between = PyMem_RawMalloc(STACK_SIZE);
    launch.stack_monitor = PyMem_RawMalloc(STACK_SIZE);
    if (launch.stack_between == NULL || launch.stack_monitor == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, handover) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        goto done;
    }
    launch.handover = handover[1];
    long pid;
    int status = 0;
    Py_BEGIN_ALLOW_THREADS
    sigset_t all, before;
    sigfillset(&all);
    struct clone_args clone_args = {
        .flags = CLONE_VM | CLONE_VFORK | CLONE_CLEAR_SIGHAND,
        .exit_signal = 0, /* nobody's SIGCHLD: __WCLONE waits for it */
        .stack = (uint64_t)(uintptr_t)launch.stack_between,
        .stack_size = STACK_SIZE,
    };
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pid = clone_onto(&clone_args, make_monitor, &launch);
    if (pid > 0)
        while (waitpid((pid_t)pid, &status, __WCLONE) < 0 && errno == EINTR)
            ;
    close(handover[1]); /* the monitor's end: where it was killed, its messages have an end */
    handover[1] = -1;
    if (pid > 0 && WIFSIGNALED(status)) { /* what was in between is gone, and the monitor may use our memory still */
        struct pollfd monitor = {.fd = handover[0]};
        poll(&monitor, 1, 10000); /* until it has executed its program, or has ended */
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    Py_END_ALLOW_THREADS
    launch.start.parent = launch.start.report = launch.start.report_ours = -1; /* the monitor's descriptors, not ours */
    if (pid < 0) {
        set_spawn_error(-1, (int)-pid, 0, NULL, 0);
        goto done;
    }
    if (launch.failed) {
        const struct report *report = &launch.report;
        set_spawn_error(report->step, report->error, report->value, report->head, report->head_size);
        goto done;
    }
    struct report unused;
    int pidfd = -1, monitor_pidfd = -1, killed = receive_report(handover[0], &unused, &pidfd) == 0;
    killed = killed || receive_report(handover[0], &unused, &monitor_pidfd) == 0 || WIFSIGNALED(status);
    if (killed || pidfd < 0 || monitor_pidfd < 0) { /* what came without its descriptor found no number for it */
        if (pidfd >= 0)
            close(pidfd);
        if (monitor_pidfd >= 0)
            close(monitor_pidfd);
        if (launch.monitor_pid > 0)
            kill(launch.monitor_pid, SIGKILL); /* its init ends with it */
        set_spawn_error(-2, killed ? EPROTO : EMFILE, 0, NULL, 0);
        goto done;
    }
    result = Py_BuildValue("iiii", launch.pid, pidfd, launch.monitor_pid, monitor_pidfd);
done:
    for (int i = 0; i < 2; i++)
        if (handover[i] >= 0)
            close(handover[i]);
    PyMem_RawFree(launch.stack_between);
    PyMem_RawFree(launch.stack_monitor);
    release_start(&launch.start);
    return result;
}

/* ---- the module ---------------------------------------------------------------------------------------------------- */

static PyMethodDef methods[] = {
    {"syscall", (PyCFunction)(void (*)(void))spawn_syscall, METH_FASTCALL,
     "syscall(number, *arguments) -> int\n\nInts, None (0), bytes (NUL-terminated) and writable buffers; raises OSError."},
    {"address", spawn_address, METH_O,
     "address(buffer) -> int\n\nWhere the bytes of *buffer* lie, for structures that point at them; keep it alive."},
    {"new_netns", spawn_new_netns, METH_NOARGS, "new_netns() -> fd of a new network namespace, its loopback up"},
    {"socket_in_netns", spawn_socket_in_netns, METH_VARARGS, "socket_in_netns(netns, family, type, protocol) -> fd"},
    {"open_in_netns", spawn_open_in_netns, METH_VARARGS, "open_in_netns(netns, path) -> fd, for writing"},
    {"spawn", spawn_spawn, METH_VARARGS, "spawn(plan, fds, stdio) -> (pid, pidfd)\n\nRaises SpawnError."},
    {"begin", spawn_begin, METH_VARARGS, "begin(plan, fds, stdio) -> (pid, pidfd, channel, fd that came with the pause); channel is -1 when it runs"},
    {"resume", spawn_resume, METH_VARARGS, "resume(pid, pidfd, channel) -> (pid, pidfd, channel, fd)"},
    {"launch", spawn_launch, METH_VARARGS,
     "launch(plan, fds, stdio, argv, envp, kept, init_fd, errors_fd) -> (pid, pidfd, monitor_pid, monitor_pidfd)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_spawn", NULL, -1, methods, NULL, NULL, NULL, NULL};

struct constant {
    const char *name;
    long long value;
};

static const struct constant constants[] = {
#define X(name) {#name, (long long)(name)},
    CONSTANTS(X)
#undef X
#define X(name) {"SYS_" #name, SYS_##name},
    SYSTEM_CALLS(X)
#undef X
#define X(name) {#name, (long long)(name)},
    PLAN_CONSTANTS(X)
#undef X
};

PyMODINIT_FUNC
PyInit__spawn(void)
{
    PyObject *self = PyModule_Create(&module);
    if (self == NULL)
        return NULL;
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        PyObject *value = PyLong_FromLongLong(constants[i].value);
        if (value == NULL || PyModule_AddObject(self, constants[i].name, value) < 0)
            return NULL;
    }
    PyModule_AddStringConstant(self, "ARCHITECTURE", ARCHITECTURE);
    SpawnError = PyErr_NewExceptionWithDoc("inception._spawn.SpawnError",
                                           "A start failed: `step` (-1: before the plan, -2: the monitor), `errno`, `value` "
                                           "(of an execve: which path), `head` (the first bytes of the file).",
                                           NULL, NULL);
    if (SpawnError == NULL || PyModule_AddObjectRef(self, "SpawnError", SpawnError) < 0)
        return NULL;
    return self;
}
