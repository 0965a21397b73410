/* The part of Inception that must be C: raw system calls, and the start of processes.
 *
 * See linux/call.py for the calls and runtime/plan.py for what a plan is.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_spawn_constants.h"

#include <linux/fs.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* ---- the module ---------------------------------------------------------------------------------------------------- */

static PyMethodDef methods[] = {
    {"syscall", (PyCFunction)(void (*)(void))spawn_syscall, METH_FASTCALL,
     "syscall(number, *arguments) -> int\n\nInts, None (0), bytes (NUL-terminated) and writable buffers; raises OSError."},
    {"new_netns", spawn_new_netns, METH_NOARGS, "new_netns() -> fd of a new network namespace"},
    {"socket_in_netns", spawn_socket_in_netns, METH_VARARGS, "socket_in_netns(netns, family, type, protocol) -> fd"},
    {"open_in_netns", spawn_open_in_netns, METH_VARARGS, "open_in_netns(netns, path) -> fd, for writing"},
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
    return self;
}
