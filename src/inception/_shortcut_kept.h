/* `run`, `create` and `exec` again: what Python has done once for the same configuration or the same command (runtime/kept.py has the
 * file's form), done from the plan that it kept.
 *
 * A plan counts only while everything that decided it is as it was. All of that is one text, the facts; it is made here alone,
 * and handed to Python when nothing fitting was kept. What goes wrong on the way is undone, and Python begins anew: it has the
 * words. Part of _shortcut.c. */

#include <limits.h>
#include <time.h>


enum { TEXT_SIZE = 1 << 20, SECTIONS = 11, MARK_SIZE = 64, SEEN = 512 };
enum { S_FACTS, S_PASSWD, S_WARNINGS, S_PLAN, S_MARK, S_CGROUP, S_CREATING, S_CREATED, S_CONFIG, S_SHORTCUT, S_DEVICES };

struct section {
    char *data; /* with a NUL behind it */
    size_t size;
};

struct text {
    char data[TEXT_SIZE];
    size_t size;
    int broken; /* it did not fit, or could not be read: nothing is kept, nothing is used */
};

static struct text facts, scratch;

static void
append(struct text *text, const char *data, size_t size)
{
    if (size >= TEXT_SIZE - text->size) {
        text->broken = 1;
        return;
    }
    memcpy(text->data + text->size, data, size);
    text->size += size;
    text->data[text->size] = 0;
}

static void __attribute__((format(printf, 2, 3)))
append_words(struct text *text, const char *format, ...)
{
    char words[PATH_MAX * 2];
    va_list list;
    va_start(list, format);
    int size = vsnprintf(words, sizeof words, format, list);
    va_end(list);
    if (size < 0 || size >= (int)sizeof words)
        text->broken = 1;
    else
        append(text, words, (size_t)size);
}

/* The lines of a file that hold one of *words* (all of them without), from their *skip*th blank on; then a form feed. */
static void
append_file(struct text *text, const char *path, const char *const *words, int skip)
{
    ssize_t size = read_at(AT_FDCWD, path, scratch.data, TEXT_SIZE);
    if (size < 0 || size >= TEXT_SIZE - 1)
        text->broken = 1;
    if (words == NULL && size > 0)
        append(text, scratch.data, (size_t)size);
    for (char *line = scratch.data, *end; size > 0 && words != NULL && (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = 0;
        int wanted = 0;
        for (int i = 0; words[i] != NULL; i++)
            wanted = wanted || strstr(line, words[i]) != NULL;
        for (int i = 0; wanted && i < skip; i++)
            line += strcspn(line, " ") + (strchr(line, ' ') != NULL);
        if (wanted)
            append_words(text, "%s\n", line);
    }
    append(text, "\f", 1);
}

/* What decides every plan: this program, our rights, the machine and its hierarchies. */
static void
begin_facts(const char *verb)
{
    static const char *const rights[] = {"Uid:", "Gid:", "Groups:", "Cap", "NoNewPrivs:", "Seccomp:", "Cpus_allowed:", NULL};
    static const char *const hierarchies[] = {" - cgroup", NULL};
    struct stat self;
    if (stat("/proc/self/exe", &self) < 0 || getenv("LISTEN_FDS") != NULL)
        facts.broken = 1;
    append_words(&facts, "%s %lu %lu %ld.%ld\n", verb, self.st_dev, self.st_ino, self.st_mtim.tv_sec, self.st_mtim.tv_nsec);
    append_file(&facts, "/proc/sys/kernel/random/boot_id", NULL, 0);
    append_file(&facts, "/proc/self/status", rights, 0);
    append_file(&facts, "/proc/self/uid_map", NULL, 0);
    append_file(&facts, "/proc/self/oom_score_adj", NULL, 0);
    append_file(&facts, "/proc/self/cgroup", NULL, 0);
    append_file(&facts, "/proc/self/mountinfo", hierarchies, 2); /* without numbers that each mount namespace has of its own */
}

/* FNV-1a: a name for a file, no more; its facts are compared whole. */
static unsigned long long
hash(const struct text *text)
{
    unsigned long long value = 0xcbf29ce484222325ULL;
    for (size_t i = 0; i < text->size; i++)
        value = (value ^ (unsigned char)text->data[i]) * 0x100000001b3ULL;
    return value;
}

/* Whether these facts came by before: in a file of numbers, one a slot, as good as a glance. A first time costs no more than
 * that; what never comes again is not worth keeping. */
static int
seen_before(int folder, const char *path)
{
    unsigned long long mine = hash(&facts), there = 0;
    int fd = openat(folder, path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return 0;
    off_t at = (off_t)(mine % SEEN * sizeof there);
    int seen = pread(fd, &there, sizeof there, at) == sizeof there && there == mine;
    if (!seen && pwrite(fd, &mine, sizeof mine, at) < 0)
        seen = 1; /* then it can't be told */
    close(fd);
    return seen;
}

/* Python does it, and keeps what it did as *name* when this is not the first time. *seen* is where that is known. */
static void __attribute__((noreturn))
python_keeps(const char *name, int folder, const char *seen)
{
    static char word[128];
    int fd = facts.broken || !seen_before(folder, seen) ? -1 : (int)syscall(SYS_memfd_create, "facts", 0);
    if (fd < 0 || write_all(fd, facts.data, facts.size) < 0)
        python(NULL);
    snprintf(word, sizeof word, "--kept=%d,%s", fd, name);
    python(word);
}

/* Whether HOME would still be made of the same file. See kept.py, _passwd. */
static int
same_passwd(char *told)
{
    char path[PATH_MAX], now[256] = "";
    char *expected = strchr(told, '\n');
    struct stat status;
    if (expected == NULL)
        return 0;
    int length = (int)(expected - told);
    expected++;
    if (snprintf(path, sizeof path, "%.*s/etc", length, told) >= (int)sizeof path)
        return 0;
    if (lstat(path, &status) < 0)
        strcpy(now, "- ");
    else if (S_ISLNK(status.st_mode))
        return 0;
    if (snprintf(path, sizeof path, "%.*s/etc/passwd", length, told) >= (int)sizeof path)
        return 0;
    if (lstat(path, &status) < 0)
        strcat(now, "-");
    else
        snprintf(now + strlen(now), sizeof now - strlen(now), "%lu %lu %ld %ld%09ld %ld%09ld", status.st_dev, status.st_ino,
                 status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_ctim.tv_sec, status.st_ctim.tv_nsec);
    return strcmp(now, expected) == 0;
}

/* The sections of the file *path*, if they are *count* and were kept under the facts of today. */
static int
find_kept(int folder, const char *path, struct section *sections, int count)
{
    static char data[TEXT_SIZE + 4096];
    struct stat status;
    if (facts.broken || fstatat(folder, path, &status, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(status.st_mode) ||
        status.st_uid != geteuid() || status.st_mode & 022)
        return 0;
    ssize_t size = read_at(folder, path, data, sizeof data);
    if (size < 8 || size >= (ssize_t)sizeof data - 1 || memcmp(data, "INCKEPT1", 8) != 0)
        return 0;
    char *at = data + 8, *const end = data + size;
    for (int i = 0; i < count; i++) {
        uint32_t length;
        if (end - at < 5)
            return 0;
        memcpy(&length, at, 4);
        if (length > (size_t)(end - at) - 5 || at[4 + length] != 0)
            return 0;
        sections[i] = (struct section){at + 4, length};
        at += 5 + length;
    }
    return at == end && sections[S_FACTS].size == facts.size && memcmp(sections[S_FACTS].data, facts.data, facts.size) == 0 &&
           same_passwd(sections[S_PASSWD].data);
}

/* As the Python command says it without --log; *lines* are words as JSON spells them. */
static void
warn(char *lines)
{
    char now[32];
    time_t seconds = time(NULL);
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime(&seconds));
    for (char *end; (end = strchr(lines, '\n')) != NULL; lines = end + 1)
        fprintf(stderr, "time=\"%s\" level=warning msg=%.*s\n", now, (int)(end - lines), lines);
}

/* ---- a process from a plan ---------------------------------------------------------------------------------------------- */

struct process {
    int pid, pidfd, channel;
};

/* What `run` and `exec` pass on while they wait. See cli_process.py, _FORWARDED. */
static const int forwarded[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGUSR1, SIGUSR2,
                                SIGTERM, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU};

/* From here to the wait they are held back, so that none ends this program with half of something made. */
static void
hold_signals(int how)
{
    sigset_t set;
    sigemptyset(&set);
    for (unsigned int i = 0; i < sizeof forwarded / sizeof *forwarded; i++)
        sigaddset(&set, forwarded[i]);
    sigprocmask(how, &set, NULL);
}

/* Start *plan*, whose only descriptor of the caller's is *given*. 0, or -1 with nothing left behind. */
static int
begin(const struct section *plan, int given, struct process *process)
{
    static char stack[STACK_SIZE] __attribute__((aligned(16)));
    const struct plan_header *header = (const void *)plan->data;
    struct start start = {.cgroup = -1, .stdio = {0, 1, 2}, .given = {given}, .given_count = 1, .stack = stack};
    int channel[2], result = -1;
    if (plan->size < sizeof *header || header->magic != PLAN_MAGIC || header->size != plan->size || header->inherited != 1 ||
        header->cgroup_offset >= plan->size)
        return -1;
    start.flags = header->clone_flags;
    start.stub = open_stub();
    start.plan = memory_file("inception-plan", MFD_NOEXEC_SEAL);
    start.parent = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) < 0)
        return -1;
    start.report = channel[1];
    if (header->cgroup_offset)
        start.cgroup = open(plan->data + header->cgroup_offset, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (start.stub >= 0 && start.plan >= 0 && start.parent >= 0 && (start.cgroup >= 0 || !header->cgroup_offset) &&
        write_all(start.plan, plan->data, plan->size) == 0)
        result = (int)clone_stub(&start, &process->pidfd);
    close(channel[1]);
    close(start.plan);
    process->pid = result;
    process->channel = channel[0];
    if (result < 0)
        close(channel[0]);
    return result < 0 ? -1 : 0;
}

static void
end_process(struct process *process)
{
    close(process->channel);
    kill_and_reap(process->pid, process->pidfd);
}

/* Until it pauses (1) or its program runs (0); -1 when it failed, and is reaped. */
static int
follow(struct process *process)
{
    for (;;) {
        struct report report;
        int fd;
        long result = receive_report(process->channel, &report, &fd);
        if (result == -EINTR)
            continue;
        if (result == 0) {
            close(process->channel);
            return 0;
        }
        if (result > 0 && report.kind == REPORT_PAUSED && fd < 0)
            return 1;
        if (result > 0 && report.kind == REPORT_FORKED) {
            while (waitpid(process->pid, NULL, 0) < 0 && errno == EINTR)
                ;
            close(process->pidfd);
            process->pid = report.value;
            process->pidfd = fd;
            continue;
        }
        end_process(process);
        return -1;
    }
}

static int
resume(struct process *process)
{
    if (send(process->channel, "", 1, MSG_NOSIGNAL) < 0 && errno != EPIPE) {
        end_process(process);
        return -1;
    }
    return follow(process);
}

/* Pass signals on until it ends; its exit code. */
static int
wait_for(const struct process *process)
{
    sigset_t set;
    sigemptyset(&set);
    for (unsigned int i = 0; i < sizeof forwarded / sizeof *forwarded; i++)
        sigaddset(&set, forwarded[i]);
    struct pollfd polled[2] = {{process->pidfd, POLLIN, 0}, {signalfd(-1, &set, SFD_CLOEXEC), POLLIN, 0}};
    for (;;) {
        if (poll(polled, 2, -1) < 0)
            continue;
        struct signalfd_siginfo received;
        if (polled[1].revents & POLLIN && read(polled[1].fd, &received, sizeof received) == sizeof received)
            syscall(SYS_pidfd_send_signal, process->pidfd, received.ssi_signo, NULL, 0);
        if (polled[0].revents)
            break;
    }
    siginfo_t info = {0};
    while (waitid(P_PIDFD, (id_t)process->pidfd, &info, WEXITED) < 0 && errno == EINTR)
        ;
    return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

/* ---- exec --------------------------------------------------------------------------------------------------------------- */

/* The same words in the same container, again: health checks, above all. */
static int
exec_again(const struct container *container)
{
    char name[32];
    struct section sections[S_PLAN + 1];
    begin_facts("exec");
    append_words(&facts, "%d %llu\n", container->pid, container->start_time);
    for (int i = 1; i < argument_count; i++)
        append(&facts, arguments[i], strlen(arguments[i]) + 1);
    snprintf(name, sizeof name, "again.%llu", hash(&facts) % 16);
    if (!find_kept(container->folder, name, sections, S_PLAN + 1))
        python_keeps(name, container->folder, "again.seen");
    int init = open_init(container);
    if (init < 0 || is_frozen(container))
        python(NULL);
    signal(SIGCHLD, SIG_DFL);
    hold_signals(SIG_BLOCK);
    struct process process;
    if (begin(&sections[S_PLAN], init, &process) < 0 || follow(&process) != 0) {
        hold_signals(SIG_UNBLOCK);
        python(NULL);
    }
    warn(sections[S_WARNINGS].data);
    return wait_for(&process);
}

/* ---- run and create ----------------------------------------------------------------------------------------------------- */

struct run {
    const struct call *call;
    struct section *sections;
    struct process process;
    int folder, lock, listener;
    unsigned long long start_time;
    char created[64];
    char path[PATH_MAX];   /* the container's folder */
    char *made[FOLDERS];   /* its cgroups */
    int made_count;
};

/* *data* with what is known by now in the place of the signs. */
static int
fill(const struct run *run, const char *data, struct text *out)
{
    out->size = 0;
    out->broken = 0;
    for (const char *at = data; *at;) {
        size_t plain = strcspn(at, "\1\2\3\4");
        append(out, at, plain);
        at += plain;
        switch (*at ? *at++ : 0) {
        case 1:
            append(out, run->call->id, strlen(run->call->id));
            break;
        case 2:
            append_words(out, "%d", run->process.pid);
            break;
        case 3:
            append_words(out, "%llu", run->start_time);
            break;
        case 4:
            append(out, run->created, strlen(run->created));
            break;
        }
    }
    return out->broken ? -1 : 0;
}

static int
write_at(int folder, const char *name, const char *data, size_t size)
{
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    int result = fd < 0 ? -1 : write_all(fd, data, size);
    if (fd >= 0)
        close(fd);
    return result;
}

static int
write_filled(const struct run *run, int section, const char *name)
{
    char hidden[64];
    snprintf(hidden, sizeof hidden, ".%s", name);
    if (fill(run, run->sections[section].data, &scratch) < 0 || write_at(run->folder, hidden, scratch.data, scratch.size) < 0)
        return -1;
    return renameat(run->folder, hidden, run->folder, name);
}

static int
write_control(const char *path, const char *value, size_t size)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t written = fd < 0 ? -1 : write(fd, value, size);
    if (fd >= 0)
        close(fd);
    return written < 0 ? -1 : 0;
}

static int
attach_devices(const char *path, const struct section *program)
{
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attr.insn_cnt = (uint32_t)(program->size / sizeof(struct bpf_insn));
    attr.insns = (uint64_t)(uintptr_t)program->data;
    attr.license = (uint64_t)(uintptr_t) "Apache-2.0";
    strcpy(attr.prog_name, "inception_dev");
    int loaded = -1, cgroup = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 8 && loaded < 0 && (i == 0 || errno == EAGAIN); i++) /* see linux/bpf.py, _bpf */
        loaded = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr);
    memset(&attr, 0, sizeof attr);
    attr.target_fd = (uint32_t)cgroup;
    attr.attach_bpf_fd = (uint32_t)loaded;
    attr.attach_type = BPF_CGROUP_DEVICE;
    attr.attach_flags = BPF_F_ALLOW_MULTI;
    int result = cgroup < 0 || loaded < 0 ? -1 : (int)syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof attr);
    close(cgroup);
    close(loaded);
    return result;
}

/* Its cgroups, which must all be new, and their limits. */
static int
make_cgroups(struct run *run)
{
    static struct text lines;
    if (fill(run, run->sections[S_CGROUP].data, &lines) < 0)
        return -1;
    for (char *line = lines.data, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = 0;
        char *path = strchr(line, ' ');
        if (path == NULL)
            return -1;
        *path++ = 0;
        char *value = strchr(path, '\t');
        if (value != NULL)
            *value++ = 0;
        int result = -1;
        if (strcmp(line, "mkdir") == 0 && run->made_count < FOLDERS) {
            result = mkdir(path, 0755);
            if (result == 0)
                run->made[run->made_count++] = path;
        } else if (strcmp(line, "devices") == 0)
            result = attach_devices(path, &run->sections[S_DEVICES]);
        else if (strcmp(line, "write") == 0 && value != NULL)
            result = write_control(path, value, strlen(value));
        else if (strcmp(line, "inherit") == 0 && value != NULL) {
            char around[4096], own[4096];
            ssize_t size = read_at(AT_FDCWD, path, own, sizeof own);
            if (size > 1) /* more than a line's end: its parent's already (cgroup.clone_children) */
                continue;
            size = size < 0 ? -1 : read_at(AT_FDCWD, value, around, sizeof around);
            result = size > 1 ? write_control(path, around, (size_t)size) : -1;
        }
        if (result < 0)
            return -1;
    }
    return 0;
}

/* What ends keeps its cgroups busy for a moment. */
static int
remove_cgroups(struct run *run)
{
    for (int i = 0; i < run->made_count; i++)
        for (int tries = 0; rmdir(run->made[i]) < 0 && errno != ENOENT; tries++) {
            if (errno != EBUSY || tries == 100)
                return -1;
            nanosleep(&(struct timespec){0, tries < 10 ? 200000 : 5000000}, NULL);
        }
    return 0;
}

/* Nothing of it is left, and Python begins anew. */
static void __attribute__((noreturn))
undo(struct run *run)
{
    remove_cgroups(run);
    remove_files(run->folder);
    rmdir(run->path);
    close(run->lock);
    hold_signals(SIG_UNBLOCK);
    python(NULL);
}

/* The plan with the container's id in the place of the mark, in strings that end where they did or sooner. */
static int
name_plan(const struct run *run)
{
    const struct section *plan = &run->sections[S_PLAN], *mark = &run->sections[S_MARK];
    const size_t length = strlen(run->call->id);
    char *at = plan->data, *const end = plan->data + plan->size;
    if (mark->size != MARK_SIZE || length > MARK_SIZE)
        return -1;
    while ((at = memmem(at, (size_t)(end - at), mark->data, MARK_SIZE)) != NULL) {
        size_t rest = strlen(at + MARK_SIZE);
        memcpy(at, run->call->id, length);
        memmove(at + length, at + MARK_SIZE, rest);
        memset(at + length + rest, 0, MARK_SIZE - length);
        at += length;
    }
    return 0;
}

static int
read_start_time(struct run *run)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/stat", run->process.pid);
    if (read_at(AT_FDCWD, path, text, sizeof text) <= 0)
        return -1;
    char *at = strrchr(text, ')');
    for (int field = 2; field < 22 && at != NULL; field++)
        at = strchr(at + 1, ' ');
    return at != NULL && sscanf(at, " %llu", &run->start_time) == 1 ? 0 : -1;
}

static int
listen_at(int folder, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", folder, name);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd >= 0 && (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* The folder with its lock; -1 when there is anything. */
static int
make_folder(struct run *run)
{
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    size_t size = strftime(run->created, sizeof run->created, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &parts));
    snprintf(run->created + size, sizeof run->created - size, ".%09ldZ", now.tv_nsec);
    if (snprintf(run->path, sizeof run->path, "%s/%s", run->call->root, run->call->id) >= (int)sizeof run->path ||
        mkdir(run->path, 0700) < 0)
        return -1;
    run->folder = open(run->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    run->lock = openat(run->folder, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (run->lock < 0 || flock(run->lock, LOCK_EX) < 0) {
        rmdir(run->path);
        return -1;
    }
    return 0;
}

/* As `start`, for the process that waits on the socket. 0 when its program runs; else it is reaped. */
static int
let_go(struct run *run)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/started", run->folder);
    close(run->process.channel);
    run->process.channel = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (renameat(run->folder, "start", run->folder, "started") < 0 ||
        connect(run->process.channel, (struct sockaddr *)&address, sizeof address) < 0) {
        end_process(&run->process);
        return -1;
    }
    return resume(&run->process);
}

static int
create(struct run *run)
{
    if (write_filled(run, S_CREATING, "state.json") < 0 ||
        write_at(run->folder, "config.json", run->sections[S_CONFIG].data, run->sections[S_CONFIG].size) < 0 ||
        make_cgroups(run) < 0 || (run->listener = listen_at(run->folder, "start")) < 0 ||
        begin(&run->sections[S_PLAN], run->listener, &run->process) < 0)
        return -1;
    close(run->listener);
    int state = follow(&run->process);
    if (state == 1 && read_start_time(run) == 0)
        state = resume(&run->process);
    if (state < 0)
        return -1;
    if (state == 1 && write_filled(run, S_CREATED, "state.json") == 0 && write_filled(run, S_SHORTCUT, "shortcut") == 0)
        return strcmp(run->call->verb, "run") == 0 ? let_go(run) : 0;
    end_process(&run->process);
    return -1;
}

/* It has ended; remove it as `delete --force` does, which is Python's where it is not simple. */
static void
clean_up(struct run *run)
{
    run->lock = openat(run->folder, "lock", O_RDWR | O_CLOEXEC);
    if (run->lock < 0 && errno == ENOENT)
        return; /* somebody has removed it; what has its name now is another's */
    if (run->lock >= 0 && flock(run->lock, LOCK_EX | LOCK_NB) == 0 && remove_cgroups(run) == 0) {
        remove_files(run->folder);
        rmdir(run->path);
        return;
    }
    if (run->lock >= 0)
        close(run->lock);
    pid_t pid = fork();
    if (pid == 0) {
        execl(PYTHON, PYTHON, "-IS", SCRIPT, "--root", run->call->root, "delete", "--force", run->call->id, NULL);
        _exit(1);
    }
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

/* Both verbs have the same plan. */
static int
run_again(const struct call *call)
{
    static struct section sections[SECTIONS];
    static char name[32], path[PATH_MAX];
    struct run run = {.call = call, .sections = sections, .listener = -1};
    begin_facts("run");
    append_words(&facts, "%s\n", call->bundle);
    if (snprintf(path, sizeof path, "%s/config.json", call->bundle) >= (int)sizeof path)
        python(NULL);
    append_file(&facts, path, NULL, 0);
    snprintf(name, sizeof name, "%016llx", hash(&facts));
    if (snprintf(path, sizeof path, "%s/@plans/%s", call->root, name) >= (int)sizeof path)
        python(NULL);
    if (!find_kept(AT_FDCWD, path, sections, SECTIONS)) {
        strcpy(strrchr(path, '/'), "/seen");
        *strrchr(path, '/') = 0;
        mkdir(call->root, 0711); /* as Folder.make does */
        mkdir(path, 0700);
        path[strlen(path)] = '/';
        python_keeps(name, AT_FDCWD, path);
    }
    if (name_plan(&run) < 0 || make_folder(&run) < 0)
        python(NULL);
    signal(SIGCHLD, SIG_DFL);
    hold_signals(SIG_BLOCK);
    if (create(&run) < 0)
        undo(&run);
    close(run.lock);
    warn(sections[S_WARNINGS].data);
    if (strcmp(call->verb, "run") != 0)
        return 0;
    int code = wait_for(&run.process);
    clean_up(&run);
    return code;
}
