/* `inception-runc` for `state`, `start`, `kill` and `delete` of containers with nothing unusual, without Python; and for `run`,
   `create` and `exec` of what was done before (_shortcut_kept.h).

   Engines call these four all the time, and an interpreter takes longer to start than they take to do. What they need,
   `create` has written into the container's folder as `shortcut` (runtime/shortcut.py, which has its form). Whatever else is
   asked for, or turns out otherwise than expected, is Python's: this program becomes the other one, with the same
   arguments, before it has changed anything; for a start that fails half-way it hands over the connection to init.

   Compiled with PYTHON and SCRIPT, paths of the interpreter and of the command in Python. */

#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "_spawn_start.h"

enum { SIZE = 64 << 10, WORDS = 4096, ID_MAX = 1024, FOLDERS = 64 };

static char **arguments;
static int argument_count;

/* Python does it, from the beginning. *first*, if any, is a word for it before all others. */
static void __attribute__((noreturn))
python(char *first)
{
    static char *words[WORDS + 8];
    int count = 0;
    words[count++] = PYTHON;
    words[count++] = "-IS";
    words[count++] = SCRIPT;
    if (first != NULL)
        words[count++] = first;
    for (int i = 1; i < argument_count && count < WORDS; i++)
        words[count++] = arguments[i];
    execv(PYTHON, words);
    fprintf(stderr, "inception-runc: %s: %s\n", PYTHON, strerror(errno));
    exit(1);
}

/* ---- what was asked for ------------------------------------------------------------------------------------------------ */

struct call {
    const char *root, *verb, *id, *signal, *bundle, *pid_file, *process;
    int force, detach;
    int first, id_at; /* of `exec`: where the words of its options begin, and its id */
    const char *log; /* if any: what is said is Python's */
    int other; /* another global option than those for the root and the log */
};

static int
takes_value(const char *name)
{
    static const char *const names[] = {"root", "log", "log-format", "rootless", "criu"};
    for (unsigned int i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return 1;
    return 0;
}

static int
is_name(const char *id)
{
    size_t length = strlen(id);
    if (length == 0 || length > ID_MAX || strcmp(id, ".") == 0 || strcmp(id, "..") == 0)
        return 0;
    for (const char *c = id; *c; c++)
        if (!(isascii(*c) && (isalnum(*c) || strchr("_+-.", *c))))
            return 0;
    return 1;
}

/* Take the option at *i* if it is *name* (or *letter*): its value, as a word of its own or after "="; NULL if it is another. */
static const char *
option(int *i, const char *name, const char *letter)
{
    const char *word = arguments[*i];
    const size_t length = strlen(name);
    if (strncmp(word, name, length) == 0 && word[length] == '=')
        return word + length + 1;
    if ((strcmp(word, name) != 0 && strcmp(word, letter) != 0) || *i + 1 >= argument_count)
        return NULL;
    return arguments[++*i];
}

static int
is_detach(const char *word)
{
    return strcmp(word, "-d") == 0 || strcmp(word, "--detach") == 0;
}

/* `run` or `create [-b|--bundle FOLDER] [--pid-file FILE] ID`, `run [-d|--detach]`; the folder as Python would spell it. */
static void
parse_run(struct call *call, int i)
{
    static char here[4096];
    const char *value;
    if (call->other || getenv("LISTEN_FDS") != NULL)
        python(NULL);
    for (; i < argument_count && arguments[i][0] == '-'; i++) {
        if ((value = option(&i, "--bundle", "-b")) != NULL)
            call->bundle = value;
        else if ((value = option(&i, "--pid-file", "")) != NULL && *value)
            call->pid_file = value;
        else if (is_detach(arguments[i]) && strcmp(call->verb, "run") == 0)
            call->detach = 1;
        else
            python(NULL);
    }
    if (call->bundle == NULL)
        call->bundle = getcwd(here, sizeof here);
    if (i + 1 != argument_count || call->bundle == NULL)
        python(NULL);
    call->id = arguments[i];
}

/* `exec [-d|--detach] [--pid-file FILE]` and `-p|--process FILE ID`, or `[-u USER] [-e NAME=VALUE] [--cwd FOLDER] ID COMMAND...` */
static void
parse_exec(struct call *call, int i)
{
    static const char *const names[] = {"-u", "--user", "-e", "--env", "--cwd"};
    const char *value;
    int words = 0;
    call->first = i;
    for (; i < argument_count && arguments[i][0] == '-'; i++) {
        if ((value = option(&i, "--process", "-p")) != NULL)
            call->process = value;
        else if (strcmp(arguments[i], "--pid-file") == 0 && i + 1 < argument_count && *arguments[i + 1])
            call->pid_file = arguments[++i];
        else if (is_detach(arguments[i]))
            call->detach = 1;
        else {
            int known = 0;
            for (unsigned int k = 0; k < sizeof names / sizeof *names; k++)
                known = known || strcmp(arguments[i], names[k]) == 0;
            if (!known || i + 1 >= argument_count)
                python(NULL);
            words++;
            i++;
        }
    }
    if (call->other || i >= argument_count || (call->process != NULL ? words > 0 || i + 1 != argument_count : i + 1 >= argument_count))
        python(NULL);
    call->id_at = i;
    call->id = arguments[i];
}

/* An ordinary user, be it as root of a user namespace of their own: linux/namespaces.py has the same rule. */
static int
is_rootless(void)
{
    char map[64] = "";
    unsigned long inside, outside, size;
    int fd;
    if (geteuid() != 0 || (fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC)) < 0)
        return 1;
    ssize_t length = read(fd, map, sizeof map - 1);
    close(fd);
    return length <= 0 || sscanf(map, "%lu %lu %lu", &inside, &outside, &size) != 3 || inside || outside || size != 4294967295UL;
}

/* Anything that is not plainly one of ours goes to Python, its errors too. */
static struct call
parse(void)
{
    struct call call = {0};
    int i = 1;
    for (; i < argument_count && arguments[i][0] == '-'; i++) {
        char *name = arguments[i] + (arguments[i][1] == '-' ? 2 : 1), *value = strchr(name, '=');
        char plain[32];
        if (strcmp(name, "systemd-cgroup") == 0) {
            call.other = 1; /* what `create` did is what counts */
            continue;
        }
        size_t length = value ? (size_t)(value - name) : strlen(name);
        if (length == 0 || length >= sizeof plain)
            python(NULL);
        memcpy(plain, name, length);
        plain[length] = 0;
        if (!takes_value(plain) || (value == NULL && ++i >= argument_count))
            python(NULL);
        const char *given = value ? value + 1 : arguments[i];
        if (strcmp(plain, "root") == 0)
            call.root = given;
        else if (strcmp(plain, "log") == 0)
            call.log = given;
        else if (strcmp(plain, "log-format") == 0 && (strcmp(given, "json") == 0 || strcmp(given, "text") == 0))
            call.log = call.log != NULL ? call.log : ""; /* also without a file words have another form */
        else
            call.other = 1;
    }
    if (i >= argument_count)
        python(NULL);
    call.verb = arguments[i++];
    int is_kill = strcmp(call.verb, "kill") == 0, is_delete = strcmp(call.verb, "delete") == 0;
    if (strcmp(call.verb, "run") == 0 || strcmp(call.verb, "create") == 0)
        parse_run(&call, i);
    else if (strcmp(call.verb, "exec") == 0)
        parse_exec(&call, i);
    else if (!is_kill && !is_delete && strcmp(call.verb, "state") != 0 && strcmp(call.verb, "start") != 0)
        python(NULL);
    for (int other = call.id == NULL; other && i < argument_count; i++) {
        if (is_delete && (strcmp(arguments[i], "-f") == 0 || strcmp(arguments[i], "--force") == 0))
            call.force = 1;
        else if (arguments[i][0] == '-')
            python(NULL);
        else if (call.id == NULL)
            call.id = arguments[i];
        else if (is_kill && call.signal == NULL)
            call.signal = arguments[i];
        else
            python(NULL);
    }
    if (call.id == NULL || !is_name(call.id))
        python(NULL);
    /* There is nothing to say in it, but it must be there. */
    if (call.log != NULL && *call.log && open(call.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) < 0)
        python(NULL);
    if (call.root == NULL) {
        static char own[SIZE];
        const char *folder = getenv("XDG_RUNTIME_DIR");
        call.root = "/run/inception-runc";
        if (folder != NULL && *folder && is_rootless()) {
            if (snprintf(own, sizeof own, "%s/inception-runc", folder) >= (int)sizeof own)
                python(NULL);
            call.root = own;
        }
    }
    return call;
}

/* ---- what is known ------------------------------------------------------------------------------------------------------ */

struct container {
    int folder; /* its folder */
    int pid;
    unsigned long long start_time;
    char *boot_id, *freezer;
    char *cgroups[FOLDERS + 1];
    char *state[3]; /* the JSON of its state: what stands around its pid and its status */
};

static ssize_t
read_at(int folder, const char *path, char *buffer, size_t size)
{
    int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    size_t length = 0;
    ssize_t got;
    while (length < size - 1 && (got = read(fd, buffer + length, size - 1 - length)) > 0)
        length += (size_t)got;
    close(fd);
    buffer[length] = 0;
    return (ssize_t)length;
}

static char *
next_line(char **at)
{
    char *line = *at, *end = line ? strchr(line, '\n') : NULL;
    if (end == NULL)
        python(NULL);
    *end = 0;
    *at = end + 1;
    return line;
}

static struct container
load(const struct call *call)
{
    static char path[SIZE], text[SIZE];
    struct container container = {0};
    if (snprintf(path, sizeof path, "%s/%s", call->root, call->id) >= (int)sizeof path)
        python(NULL);
    container.folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (container.folder < 0 && errno == ENOENT && call->force)
        exit(0); /* `delete --force` of none: containerd's shim asks for it after each container */
    ssize_t length = container.folder < 0 ? -1 : read_at(container.folder, "shortcut", text, sizeof text);
    if (length < 0 || length >= (ssize_t)sizeof text - 1)
        python(NULL);
    char *at = text;
    char *numbers = next_line(&at);
    if (sscanf(numbers, "1 %d %llu", &container.pid, &container.start_time) != 2 || container.pid <= 0)
        python(NULL);
    container.boot_id = next_line(&at);
    container.freezer = next_line(&at);
    for (int i = 0;; i++) {
        char *line = next_line(&at);
        if (*line == 0)
            break;
        if (i >= FOLDERS)
            python(NULL);
        container.cgroups[i] = line;
    }
    for (int i = 0; i < 3; i++) {
        container.state[i] = at;
        at = memchr(at, '\f', (size_t)(text + length - at));
        if (at == NULL && i < 2)
            python(NULL);
        if (at != NULL)
            *at++ = 0;
    }
    return container;
}

/* Whether *pid* is the process that started then, and is no zombie. See linux/process.py, is_alive. */
static int
is_alive(const struct container *container)
{
    char path[64], text[4096];
    unsigned long long start = 0;
    char state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", container->pid);
    if (read_at(AT_FDCWD, path, text, sizeof text) <= 0)
        return 0;
    char *at = strrchr(text, ')');
    if (at == NULL || sscanf(at + 1, " %c", &state) != 1)
        return 0;
    at += 2;
    for (int field = 3; field < 22 && at != NULL; field++)
        at = strchr(at + 1, ' ');
    if (at == NULL || sscanf(at, " %llu", &start) != 1)
        return 0;
    if (start != container->start_time || state == 'Z' || state == 'X')
        return 0;
    if (read_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", text, sizeof text) <= 0)
        python(NULL);
    text[strcspn(text, "\n")] = 0;
    return strcmp(text, container->boot_id) == 0;
}

static int
is_frozen(const struct container *container)
{
    char text[4096];
    if (*container->freezer == 0 || read_at(AT_FDCWD, container->freezer, text, sizeof text) < 0)
        return 0;
    return strstr(text, "frozen 1") != NULL || strncmp(text, "FROZEN", 6) == 0;
}

static const char *
status_of(const struct container *container)
{
    if (!is_alive(container))
        return "stopped";
    if (is_frozen(container))
        return "paused";
    return faccessat(container->folder, "start", F_OK, 0) == 0 ? "created" : "running";
}

/* A pidfd of its init, certain to be of it; -1 when it has ended. */
static int
open_init(const struct container *container)
{
    int pidfd = (int)syscall(SYS_pidfd_open, container->pid, 0);
    if (pidfd >= 0 && is_alive(container))
        return pidfd;
    if (pidfd >= 0)
        close(pidfd);
    return -1;
}

/* The container's lock, or -1 when somebody has it or the folder is another by now. Inherited by Python if it comes to that. */
static int
try_lock(const struct container *container)
{
    struct stat ours, theirs;
    int fd = openat(container->folder, "lock", O_RDWR);
    if (fd < 0)
        return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &ours) == 0 && fstatat(container->folder, "lock", &theirs, 0) == 0 &&
        ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev)
        return fd;
    close(fd);
    return -1;
}

/* ---- the commands ------------------------------------------------------------------------------------------------------- */

static int
show_state(const struct container *container)
{
    const char *status = status_of(container);
    int pid = strcmp(status, "stopped") == 0 ? 0 : container->pid;
    printf("%s%d%s%s%s\n", container->state[0], pid, container->state[1], status, container->state[2]);
    return fflush(stdout) == 0 ? 0 : 1;
}

static int
signal_number(const char *text)
{
    static const char *const names[] = {"", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV",
                                        "USR2", "PIPE", "ALRM", "TERM"};
    if (strncmp(text, "SIG", 3) == 0)
        text += 3;
    for (int number = 1; number < (int)(sizeof names / sizeof *names); number++)
        if (strcmp(text, names[number]) == 0)
            return number;
    char *end;
    long number = isdigit((unsigned char)*text) ? strtol(text, &end, 10) : 0;
    if (number < 1 || number > 64 || *end)
        python(NULL);
    return (int)number;
}

static int
send_signal(const struct container *container, const char *signal)
{
    int number = signal_number(signal != NULL ? signal : "TERM");
    int pidfd = open_init(container);
    if (pidfd < 0 || syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0) < 0)
        python(NULL);
    return 0;
}

static int
start(const struct container *container)
{
    int lock = try_lock(container);
    if (lock < 0)
        python(NULL);
    int pidfd = open_init(container);
    int channel = socket(AF_UNIX, SOCK_SEQPACKET, 0); /* both stay open for Python, if it comes to that */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/started", container->folder);
    if (pidfd < 0 || channel < 0 || is_frozen(container) ||
        renameat(container->folder, "start", container->folder, "started") < 0) {
        close(lock);
        python(NULL);
    }
    int connected = connect(channel, (struct sockaddr *)&address, sizeof address) == 0;
    char byte = 0;
    ssize_t got = -1;
    if (connected && (send(channel, &byte, 1, MSG_NOSIGNAL) == 1 || errno == EPIPE))
        do {
            got = recv(channel, &byte, 1, MSG_PEEK);
        } while (got < 0 && (errno == EINTR || errno == ECONNRESET));
    if (got == 0)
        return 0; /* the other end was closed by its execve: the program runs */
    char word[64];
    snprintf(word, sizeof word, "--started=%d,%d", connected ? channel : -1, pidfd);
    fcntl(pidfd, F_SETFD, 0);
    python(word);
}

/* Everything in the container's folder, the state after all else, the lock last, since others wait for it. As runtime/state.py,
 * Folder.remove. */
static void
remove_files(int folder)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (entries != NULL) {
        for (struct dirent *entry; (entry = readdir(entries)) != NULL;)
            if (strcmp(entry->d_name, "lock") != 0 && strcmp(entry->d_name, "state.json") != 0 &&
                strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                unlinkat(folder, entry->d_name, 0);
        closedir(entries);
    }
    unlinkat(folder, "state.json", 0);
    unlinkat(folder, "lock", 0);
}

static void
delete(const struct container *container)
{
    int lock = try_lock(container);
    if (lock < 0)
        python(NULL);
    int busy = is_alive(container);
    for (int i = 0; container->cgroups[i] != NULL && !busy; i++)
        busy = rmdir(container->cgroups[i]) < 0 && errno != ENOENT;
    if (busy) {
        close(lock);
        python(NULL);
    }
    remove_files(container->folder);
}

#include "_shortcut_kept.h"

int
main(int argc, char **argv)
{
    argument_count = argc;
    arguments = argv;
    if (argc < 3 || argc > WORDS)
        python(NULL);
    struct call call = parse();
    if (strcmp(call.verb, "run") == 0 || strcmp(call.verb, "create") == 0)
        return run_again(&call);
    struct container container = load(&call);
    if (strcmp(call.verb, "exec") == 0)
        return exec_again(&call, &container);
    if (strcmp(call.verb, "state") == 0)
        return show_state(&container);
    if (strcmp(call.verb, "kill") == 0)
        return send_signal(&container, call.signal);
    if (strcmp(call.verb, "start") == 0)
        return start(&container);
    delete(&container);
    static char path[SIZE];
    snprintf(path, sizeof path, "%s/%s", call.root, call.id);
    if (rmdir(path) < 0 && errno != ENOENT)
        python(NULL);
    return 0;
}
