"""The help pages of `inception-runc`: what each option means, in the order of its name.

Read by `--help` alone: `cli` imports it when it is asked for.
"""

from __future__ import annotations

from inception.runtime.cli import GLOBAL, NAME, REFUSED, VERBS, Verb

# option -> (what its value is called, its meaning); a switch has no value
OPTIONS: dict[str, tuple[str, str]] = {
    "additional-gids": ("GID", "a supplementary group of the program's; may be repeated"),
    "all": ("", "send it to every process of the container"),
    "apparmor": ("PROFILE", "the AppArmor profile that the program runs under"),
    "auto-dedup": ("", "drop from earlier images the memory that a later one holds too"),
    "blkio-weight": ("NUMBER", "share of block I/O, 10 to 1000"),
    "bundle": ("DIR", "the bundle: the folder with config.json (default: the current one)"),
    "cap": ("CAPABILITY", "a capability for the program, as CAP_NET_RAW; may be repeated"),
    "cgroup": ("PATH", "a cgroup below the container's to run in, as [CONTROLLER,...:]PATH; may be repeated"),
    "cgroup-manager": ("NAME", "cgroupfs or systemd; the latter is --systemd-cgroup (default: cgroupfs)"),
    "config": ("FILE", "the configuration, in the bundle unless absolute (default: config.json)"),
    "console-socket": ("SOCKET", "the unix socket that gets the terminal's controlling end"),
    "cpu-burst": ("USECS", "CPU time above the quota that may be saved up"),
    "cpu-idle": ("0|1", "1: run only where nobody else wants the CPU"),
    "cpu-period": ("USECS", "the period of --cpu-quota"),
    "cpu-quota": ("USECS", "CPU time in each period; -1: no limit"),
    "cpu-rt-period": ("USECS", "the period of --cpu-rt-runtime"),
    "cpu-rt-runtime": ("USECS", "realtime CPU time in each period"),
    "cpu-share": ("NUMBER", "share of CPU time beside other containers, 2 to 262144"),
    "cpuset-cpus": ("LIST", "the CPUs to run on, as 0-3,8"),
    "cpuset-mems": ("LIST", "the memory nodes to use, as 0,1"),
    "criu": ("PROGRAM", "the criu to checkpoint and restore with (default: criu)"),
    "cwd": ("DIR", "the program's working directory"),
    "debug": ("", "write debug messages too"),
    "detach": ("", "return when the program has started"),
    "empty-ns": ("KIND", "network: a network namespace is made anew and left empty"),
    "env": ("NAME=VALUE", "a variable of the environment; may be repeated"),
    "ext-unix-sk": ("", "allow connections to unix sockets outside"),
    "file-locks": ("", "save and restore file locks"),
    "force": ("", "kill the container first if it still runs; one that is not there is no error"),
    "format": ("FORMAT", "table or json (default: table)"),
    "help": ("", "show this page"),
    "ignore-paused": ("", "run in a paused container too, where it waits for resume"),
    "image-path": ("DIR", "the folder of the checkpoint's images (default: checkpoint)"),
    "interval": ("DURATION", "time between statistics, as 5s (default: 5s)"),
    "keep": ("", "do not delete the container when its program has ended"),
    "kernel-memory": ("BYTES", ""),
    "kernel-memory-tcp": ("BYTES", "memory of its TCP buffers, where cgroups are v1"),
    "l3-cache-schema": ("SCHEMA", "the part of the L3 cache (Intel RDT)"),
    "lazy-pages": ("", "memory stays behind and is fetched when it is touched; needs --page-server"),
    "leave-running": ("", "let the container go on afterwards"),
    "link-remap": ("", "save files that have been unlinked while open, by a link beside them"),
    "log": ("FILE", "where messages are appended (default: stderr)"),
    "log-format": ("FORMAT", "text or json (default: text)"),
    "lsm-mount-context": ("CONTEXT", "the SELinux context of restored mounts"),
    "lsm-profile": ("TYPE:NAME", "the AppArmor or SELinux profile of restored processes"),
    "manage-cgroups-mode": ("MODE", "soft, full, strict or ignore: what criu does about cgroups (default: soft)"),
    "mem-bw-schema": ("SCHEMA", "the part of the memory bandwidth (Intel RDT)"),
    "memory": ("BYTES", "the memory limit, with k, m or g behind it if you like; -1: none"),
    "memory-reservation": ("BYTES", "memory that is left to it when there is too little for all"),
    "memory-swap": ("BYTES", "the limit of memory and swap together; -1: none"),
    "no-new-keyring": ("", "share the caller's session keyring"),
    "no-new-privs": ("", "the program can't gain privileges by setuid files"),
    "no-pivot": ("", "enter the root by MS_MOVE and chroot, for a bundle on the initial ramdisk"),
    "no-subreaper": ("", "taken for runc's sake: the program is our child anyway"),
    "page-server": ("ADDRESS:PORT", "where memory is sent to"),
    "parent-path": ("DIR", "the images of an earlier --pre-dump, relative to --image-path"),
    "pid-file": ("FILE", "gets the pid of the container's first process"),
    "pidfd-socket": ("SOCKET", "the unix socket that gets a pidfd of the process"),
    "pids-limit": ("NUMBER", "the most processes and threads; -1: no limit"),
    "pre-dump": ("", "save the memory alone and let the container go on"),
    "preserve-fds": ("NUMBER", "pass this many descriptors on, from 3 (after those of LISTEN_FDS)"),
    "process": ("FILE", "the program and its attributes as JSON, in place of a command"),
    "process-label": ("LABEL", ""),
    "quiet": ("", "print ids only"),
    "regex": ("", "CONTAINER-ID is a regular expression: all whose ids it finds"),
    "resources": ("FILE", "limits as linux.resources has them, in JSON; - is stdin. Other options are then ignored"),
    "root": ("DIR", "where containers' states are kept, best in memory"),
    "rootless": (
        "BOOL",
        "true: without limits, a cgroup that may not be made is no error; false: it is; auto: as the user is (default)",
    ),
    "shell-job": ("", "allow a program that shares the caller's terminal and session"),
    "stats": ("", "print statistics once and end"),
    "status-fd": ("FD", "gets a zero byte when the pages of --lazy-pages can be fetched"),
    "systemd-cgroup": ("", "let systemd make the cgroup; cgroupsPath is then SLICE:PREFIX:NAME"),
    "tcp-established": ("", "save and restore open TCP connections"),
    "tcp-skip-in-flight": ("", "leave out TCP connections that are not open yet"),
    "tty": ("", "give the program a terminal"),
    "user": ("UID[:GID]", "the user to run as (default: the container's)"),
    "version": ("", "print the version, and that of the specification"),
    "work-path": ("DIR", "the folder for criu's logs and sockets"),
}
_IN_VERB = {
    ("spec", "bundle"): ("DIR", "where to write config.json (default: the current folder)"),
    ("spec", "rootless"): ("", "for an ordinary user: a user namespace, no limits"),
}


def show(verb: str = "") -> None:
    """Print the page of a command, or that of the program."""
    if verb:
        found = VERBS[verb]
        print(f"NAME:\n   {NAME} {verb} - {found.summary}\n\nUSAGE:\n   {NAME} {verb} [OPTIONS] {found.usage}\n")
        _show_options("OPTIONS", verb, found)
        return
    print(
        f"NAME:\n   {NAME} - Open Container Initiative runtime\n\nUSAGE:\n   {NAME} [OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]\n"
    )
    print("COMMANDS:")
    for name, found in VERBS.items():
        print(f"   {name:<10} {found.summary}")
    print(f"\n`{NAME} COMMAND --help` shows a command's options.\n")
    _show_options("GLOBAL OPTIONS", "", GLOBAL)


def _show_options(title: str, name: str, verb: Verb) -> None:
    letters = {long: letter for letter, long in verb.short.items()}
    rows = []
    for option in sorted(verb.valued | verb.switches):
        value, meaning = _IN_VERB.get((name, option)) or OPTIONS[option]
        left = f"{f'-{letters[option]}, ' if option in letters else ''}--{option}{f' {value}' if value else ''}"
        rows.append((left, f"not supported: {REFUSED[option]}" if option in REFUSED else meaning))
    width = max(len(left) for left, _ in rows)
    print(f"{title}:")
    for left, meaning in rows:
        print(f"   {left:<{width}}  {meaning}")
