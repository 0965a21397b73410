/* Attaches to every process that appears in its pid namespace and says what it has caught: "PID NAME PROGRAM". */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static void show(int pid)
{
    char path[64], name[64] = "", program[256] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    int fd = open(path, O_RDONLY);
    ssize_t size = fd < 0 ? 0 : read(fd, name, sizeof name - 1);
    if (fd >= 0)
        close(fd);
    if (size > 0)
        name[strcspn(name, "\n")] = 0;
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    if (readlink(path, program, sizeof program - 1) < 0)
        strcpy(program, "?");
    printf("%d %s %s\n", pid, name, program);
    fflush(stdout);
}

int main(void)
{
    static char known[1 << 22];
    unsigned long attempts = 0;
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        DIR *proc = opendir("/proc");
        struct dirent *entry;
        while ((entry = readdir(proc))) {
            int pid = atoi(entry->d_name), status;
            if (pid <= 1 || pid == getpid() || known[pid])
                continue;
            attempts++;
            if (ptrace(PTRACE_ATTACH, pid, 0, 0) < 0)
                continue;
            if (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
                show(pid);
                ptrace(PTRACE_DETACH, pid, 0, 0);
                kill(pid, SIGCONT);
            }
            known[pid] = 1;
        }
        closedir(proc);
    }
}
