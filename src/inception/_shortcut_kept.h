/* `run`, `create` and `exec` again: what Python has done before for a configuration or a command of the same shape
 * (_shortcut_shape.h), done from the plan that it kept (runtime/kept.py has the file's form).
 *
 * A plan counts only while everything that decided it is as it was. All of that is text, the facts; it is made here alone, and
 * handed to Python when nothing fitting was kept. What goes wrong on the way is undone, and Python begins anew: it has the
 * words. Part of _shortcut.c. */

#include <limits.h>
#include <time.h>

#include "_shortcut_shape.h"

enum { SECTIONS = 12, SEEN = 512, PASSWD_SIZE = 64 << 10 };
enum { S_FACTS, S_SHAPE, S_PASSWD, S_WARNINGS, S_PLAN, S_PATCHES, S_CGROUP, S_CREATING, S_CREATED, S_CONFIG, S_SHORTCUT, S_DEVICES };
enum { PATCH_POINTER, PATCH_LENGTH, PATCH_CGROUP };

struct section {
    char *data; /* with a NUL behind it */
    size_t size;
};

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
hash(void)
{
    const struct text *const parts[] = {&facts, &shape, &passwd};
    unsigned long long value = 0xcbf29ce484222325ULL;
    for (int part = 0; part < 3; part++)
        for (size_t i = 0; i < parts[part]->size; i++)
            value = (value ^ (unsigned char)parts[part]->data[i]) * 0x100000001b3ULL;
    return value;
}

static int
is_broken(void)
{
    return facts.broken || shape.broken || passwd.broken;
}

/* What HOME is made of where nobody says what it is: the passwd file of *root*, which may be anything. See users.py. */
static void
read_passwd(const char *root)
{
    static char content[PASSWD_SIZE + 2];
    char path[64];
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    struct stat status;
    int folder = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = folder < 0 ? -1 : (int)syscall(SYS_openat2, folder, "etc/passwd", &how, sizeof how);
    if (folder >= 0 && fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
        append(&passwd, "-", 1);
    } else if (fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
        passwd.broken = 1;
    } else {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t size = read_at(AT_FDCWD, path, content, sizeof content);
        if (size < 0 || size > PASSWD_SIZE)
            passwd.broken = 1;
        append(&passwd, "=", 1);
        append(&passwd, content, size < 0 ? 0 : (size_t)size);
    }
    close(fd);
    close(folder);
}

/* Whether these facts came by before: in a file of numbers, one a slot, as good as a glance. A first time costs no more than
 * that; what never comes again is not worth keeping. */
static int
seen_before(int folder, const char *path)
{
    unsigned long long mine = hash(), there = 0;
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

static int
write_section(int fd, const char *data, size_t size)
{
    uint32_t length = (uint32_t)size;
    return write_all(fd, &length, sizeof length) < 0 || write_all(fd, data, size) < 0 || write_all(fd, "", 1) < 0 ? -1 : 0;
}

/* Python does it, and keeps what it did as *name* when this is not the first time. *seen* is where that is known. */
static void __attribute__((noreturn))
python_keeps(const char *name, int folder, const char *seen)
{
    static char word[128];
    static struct text values;
    for (int i = 0; i < hole_count; i++)
        append(&values, holes[i].value, strlen(holes[i].value) + 1);
    if (values.broken || !seen_before(folder, seen))
        python(NULL);
    int fd = (int)syscall(SYS_memfd_create, "facts", 0);
    if (fd < 0 || write_section(fd, facts.data, facts.size) < 0 || write_section(fd, shape.data, shape.size) < 0 ||
        write_section(fd, passwd.data, passwd.size) < 0 || write_section(fd, values.data, values.size) < 0)
        python(NULL);
    snprintf(word, sizeof word, "--kept=%d,%s", fd, name);
    python(word);
}

static int
is_same(const struct section *section, const struct text *text)
{
    return section->size == text->size && memcmp(section->data, text->data, text->size) == 0;
}

/* The sections of the file *path*, if they are *count* and were kept under the facts of today. */
static int
find_kept(int folder, const char *path, struct section *sections, int count)
{
    static char data[2 * TEXT_SIZE];
    struct stat status;
    if (fstatat(folder, path, &status, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(status.st_mode) ||
        status.st_uid != geteuid() || status.st_mode & 022)
        return 0;
    ssize_t size = read_at(folder, path, data, sizeof data);
    if (size < 8 || size >= (ssize_t)sizeof data - 1 || memcmp(data, "INCKEPT2", 8) != 0)
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
    return at == end && is_same(&sections[S_FACTS], &facts) && is_same(&sections[S_SHAPE], &shape) &&
           is_same(&sections[S_PASSWD], &passwd);
}

/* The value that the two signs of a template at *at* stand for. */
static const struct hole *
hole_of(const char *at)
{
    int number = at[0] && at[1] ? (at[0] - '0') * 64 + at[1] - '0' : -1;
    return number >= 0 && number < hole_count ? &holes[number] : NULL;
}

/* The plan with this time's values. Where a string of it varies, another is put at its end, and what points to it changed. */
static int
fill_plan(const struct section *sections, struct section *plan)
{
    static struct text filled;
    const struct section *kept = &sections[S_PLAN], *patches = &sections[S_PATCHES];
    static const char zeros[8];
    append(&filled, kept->data, kept->size);
    for (const char *at = patches->data, *end = at + patches->size; at < end;) {
        uint32_t words[3]; /* where, what, the length of the template that follows */
        if (end - at < (ptrdiff_t)sizeof words)
            return -1;
        memcpy(words, at, sizeof words);
        at += sizeof words;
        if (words[2] > (size_t)(end - at) || words[0] + 8UL > kept->size)
            return -1;
        append(&filled, zeros, -filled.size % 8);
        const uint64_t start = filled.size;
        for (const char *stop = at + words[2]; at < stop;) {
            const char *sign = memchr(at, 5, (size_t)(stop - at));
            const char *plain = sign == NULL ? stop : sign;
            append(&filled, at, (size_t)(plain - at));
            at = plain;
            if (sign == NULL)
                continue;
            const struct hole *hole = stop - sign >= 3 ? hole_of(sign + 1) : NULL;
            if (hole == NULL)
                return -1;
            append(&filled, hole->value, strlen(hole->value));
            at += 3;
        }
        const uint64_t length = filled.size - start, pointer = PLAN_BASE + start;
        const uint32_t offset = (uint32_t)start;
        append(&filled, zeros, 1);
        if (filled.broken)
            return -1;
        if (words[1] == PATCH_POINTER)
            memcpy(filled.data + words[0], &pointer, sizeof pointer);
        else if (words[1] == PATCH_LENGTH)
            memcpy(filled.data + words[0], &length, sizeof length);
        else if (words[1] == PATCH_CGROUP)
            memcpy(filled.data + words[0], &offset, sizeof offset);
    }
    if (filled.broken || filled.size < sizeof(struct plan_header))
        return -1;
    const uint64_t size = filled.size;
    memcpy(filled.data + offsetof(struct plan_header, size), &size, sizeof size);
    *plan = (struct section){filled.data, filled.size};
    return 0;
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

static int
write_pid(const char *path, int pid)
{
    char hidden[PATH_MAX], text[16];
    if (path == NULL)
        return 0;
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
    if (snprintf(hidden, sizeof hidden, "%.*s.%s.%d", (int)(name - path), path, name, (int)getpid()) >= (int)sizeof hidden)
        return -1;
    int fd = open(hidden, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    int result = fd < 0 ? -1 : write_all(fd, text, (size_t)snprintf(text, sizeof text, "%d", pid));
    close(fd);
    if (result < 0 || rename(hidden, path) < 0) {
        unlink(hidden);
        return -1;
    }
    return 0;
}

/* The shape of what is asked for. */
static void
scan_exec(const struct call *call)
{
    if (call->process != NULL) {
        static struct scan scan;
        static struct text text;
        struct stat status;
        /* A pipe can be read once, and that is Python's, should this come to nothing. */
        const int regular = stat(call->process, &status) == 0 && S_ISREG(status.st_mode);
        ssize_t size = regular ? read_at(AT_FDCWD, call->process, text.data, TEXT_SIZE) : -1;
        text.broken = size < 0 || size >= TEXT_SIZE - 1;
        text.size = text.broken ? 0 : (size_t)size;
        scan_json(&scan, of_process, &text);
        return;
    }
    for (int i = call->first; i < call->id_at; i++) {
        if (strcmp(arguments[i], "-d") == 0 || strcmp(arguments[i], "--detach") == 0)
            continue;
        const int pid_file = strcmp(arguments[i], "--pid-file") == 0;
        const int variable = strcmp(arguments[i], "-e") == 0 || strcmp(arguments[i], "--env") == 0;
        if (!pid_file) {
            scan_word(arguments[i], LITERAL, 0);
            scan_word(arguments[i + 1], variable ? VARIABLE : LITERAL, 0);
        }
        i++;
    }
    scan_word(call->id, LITERAL, 0);
    for (int i = call->id_at + 1; i < argument_count; i++)
        scan_word(arguments[i], ARGUMENT, i - call->id_at - 1);
    has_home = 0; /* the container's own may be empty, or the last one */
}

/* Another process in the same container: health checks, above all. */
static int
exec_again(const struct call *call, const struct container *container)
{
    char name[32], root[32];
    struct stat status;
    struct section sections[S_PATCHES + 1], plan;
    begin_facts(call->process != NULL ? "process" : "exec");
    append_words(&facts, "%d %llu\n", container->pid, container->start_time);
    snprintf(root, sizeof root, "/proc/%d/cgroup", container->pid); /* which is joined: it may have moved below its own */
    append_file(&facts, root, NULL, 0);
    scan_exec(call);
    snprintf(root, sizeof root, "/proc/%d/root", container->pid);
    if (has_home)
        append(&passwd, "+", 1);
    else
        read_passwd(root);
    if (is_broken() || (call->pid_file != NULL && stat(call->pid_file, &status) == 0 && !S_ISREG(status.st_mode)))
        python(NULL);
    snprintf(name, sizeof name, "again.%llu", hash() % 16);
    if (!find_kept(container->folder, name, sections, S_PATCHES + 1))
        python_keeps(name, container->folder, "again.seen");
    int init = open_init(container);
    if (init < 0 || is_frozen(container) || (call->log && sections[S_WARNINGS].size) || fill_plan(sections, &plan) < 0)
        python(NULL);
    signal(SIGCHLD, SIG_DFL);
    hold_signals(SIG_BLOCK);
    struct process process;
    if (begin(&plan, init, &process) < 0 || follow(&process) != 0) {
        hold_signals(SIG_UNBLOCK);
        python(NULL);
    }
    warn(sections[S_WARNINGS].data);
    if (write_pid(call->pid_file, process.pid) < 0) {
        fprintf(stderr, "exec failed: --pid-file %s: %s\n", call->pid_file, strerror(errno));
        return 255;
    }
    return call->detach ? 0 : wait_for(&process);
}

/* ---- run and create ----------------------------------------------------------------------------------------------------- */

struct run {
    const struct call *call;
    struct section *sections, plan;
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
        size_t plain = strcspn(at, "\2\3\4\5");
        append(out, at, plain);
        at += plain;
        const struct hole *hole;
        switch (*at ? *at++ : 0) {
        case 2:
            append_words(out, "%d", run->process.pid);
            break;
        case 3:
            append_words(out, "%llu", run->start_time);
            break;
        case 4:
            append(out, run->created, strlen(run->created));
            break;
        case 5:
            hole = hole_of(at);
            if (hole == NULL)
                return -1;
            append(out, hole->raw, hole->raw_size);
            at += 2;
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
        write_filled(run, S_CONFIG, "config.json") < 0 ||
        make_cgroups(run) < 0 || (run->listener = listen_at(run->folder, "start")) < 0 ||
        begin(&run->plan, run->listener, &run->process) < 0)
        return -1;
    close(run->listener);
    int state = follow(&run->process);
    if (state == 1 && read_start_time(run) == 0)
        state = resume(&run->process);
    if (state < 0)
        return -1;
    if (state == 1 && write_filled(run, S_CREATED, "state.json") == 0 && write_filled(run, S_SHORTCUT, "shortcut") == 0 &&
        write_pid(run->call->pid_file, run->process.pid) == 0) {
        warn(run->sections[S_WARNINGS].data); /* before the program has its say */
        return strcmp(run->call->verb, "run") == 0 ? let_go(run) : 0;
    }
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
    static struct text config;
    static char name[32], path[PATH_MAX], root[PATH_MAX];
    struct run run = {.call = call, .sections = sections, .listener = -1};
    begin_facts("run");
    if (snprintf(path, sizeof path, "%s/config.json", call->bundle) >= (int)sizeof path || !is_clean(call->bundle, strlen(call->bundle)))
        python(NULL);
    append_file(&config, path, NULL, 0);
    config.size -= !config.broken; /* its form feed */
    add_hole(call->id, strlen(call->id), call->id);
    add_hole(call->bundle, strlen(call->bundle), call->bundle);
    scan_config(&config, call->bundle, root);
    if (has_home)
        append(&passwd, "+", 1);
    else
        read_passwd(root);
    snprintf(name, sizeof name, "%016llx", hash());
    if (is_broken() || snprintf(path, sizeof path, "%s/@plans/%s", call->root, name) >= (int)sizeof path)
        python(NULL);
    if (!find_kept(AT_FDCWD, path, sections, SECTIONS)) {
        char *slash = strrchr(path, '/');
        strcpy(slash, "/seen");
        *slash = 0;
        mkdir(call->root, 0711); /* as Folder.make does */
        mkdir(path, 0700);
        *slash = '/';
        python_keeps(name, AT_FDCWD, path);
    }
    if ((call->log && sections[S_WARNINGS].size) || fill_plan(sections, &run.plan) < 0 || make_folder(&run) < 0)
        python(NULL);
    signal(SIGCHLD, SIG_DFL);
    hold_signals(SIG_BLOCK);
    if (create(&run) < 0)
        undo(&run);
    close(run.lock);
    if (strcmp(call->verb, "run") != 0 || call->detach)
        return 0;
    int code = wait_for(&run.process);
    clean_up(&run);
    return code;
}
