"""More cases: what the field's runtimes agree on beyond the words of the specification, and engines and scripts count on."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

from tests.waiting import wait_until

from .cases import CASES, case
from .harness import Result, Runtime, cgroups_named, mounts, namespaces

__all__ = ["CASES"]
_FULL = [{"containerID": 0, "hostID": 0, "size": 4294967295}]


def _spec(rt: Runtime) -> dict[str, object]:
    rt.command("spec", "--bundle", str(rt.folder))
    found: dict[str, object] = json.loads((rt.folder / "config.json").read_text())
    return found


# ---- environment --------------------------------------------------------------------------------------------------------


@case("config: process.env", "HOME is the user's of the container's passwd when it is missing or empty")
def home(rt: Runtime) -> None:
    (rt.rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/var/user:/bin/sh\n")
    for uid, env, shown in ((0, [], "/root"), (1000, ["HOME="], "/var/user"), (1001, [], "/"), (0, ["HOME=/x"], "/x")):
        process = {"env": ["PATH=/bin", *env], "user": {"uid": uid, "gid": 0}}
        assert rt.run("echo $HOME", process=process).out == f"{shown}\n", (uid, env)
    assert rt.create("sleep 60").code == 0 and rt.start().code == 0
    assert rt.command("exec", "--user", "1000", rt.id, "sh", "-c", "echo $HOME").out == "/var/user\n"


@case("config: process.env", "of a name that is there twice the last value counts")
def env_twice(rt: Runtime) -> None:
    found = rt.run(["env"], process={"env": ["PATH=/bin", "A=1", "A=", "HOME=/", "A=3"]}).out
    assert sorted(found.splitlines()) == ["A=3", "HOME=/", "PATH=/bin"]


@case("config: hooks.env", "absent, it is that of whoever runs the hook")
def hook_env(rt: Runtime) -> None:
    log = rt.folder / "log"
    (rt.rootfs / "hook").write_text('#!/bin/sh\ntest "$IN" = side\n')
    (rt.rootfs / "hook").chmod(0o755)
    hooks = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f'echo "$OUT" >> {log}']}],
        "poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f'echo "$OUT,$X" >> {log}'], "env": ["X=y"]}],
        "startContainer": [{"path": "/hook"}],
    }
    id = rt.write({"process": {"args": ["true"], "env": ["PATH=/bin", "IN=side"]}, "hooks": hooks})
    assert rt.command("run", id, env={"OUT": "side"}).code == 0
    assert log.read_text() == "side\n,y\n"


@case("config: hooks", "an error names the hook by its kind and place, with what it wrote")
def hook_errors(rt: Runtime) -> None:
    good, bad = {"path": "/bin/true"}, {"path": "/bin/sh", "args": ["sh", "-c", "echo said why >&2; exit 3"]}
    for kind in ("createRuntime", "createContainer", "startContainer"):
        found = rt.run(hooks={kind: [good, bad]})
        assert found.code == 1 and f"error running {kind} hook #1:" in found.err and "said why" in found.err, found


# ---- mounts and devices -------------------------------------------------------------------------------------------------


@case("config: mounts.destination", "a relative one begins at /")
def mount_relative_destination(rt: Runtime) -> None:
    tmpfs = {"destination": "tmp/x", "type": "tmpfs", "source": "tmpfs"}
    assert "/tmp/x" in rt.run("grep ' /tmp/x ' /proc/mounts", mounts=mounts(tmpfs)).out


@case("config: mounts", "a source in the root shows what was mounted there before")
def mount_inner_source(rt: Runtime) -> None:
    (rt.folder / "data").mkdir()
    (rt.folder / "data/x").write_text("seen")
    (rt.rootfs / "copy").mkdir()
    first = {"destination": "/tmp", "source": str(rt.folder / "data"), "options": ["bind"]}
    second = {"destination": "/copy", "source": str(rt.rootfs / "tmp"), "options": ["rbind"]}
    assert rt.run("cat /copy/x", mounts=mounts(first, second)).out == "seen"


@case("config: mount options", "a tmpfs without a mode has that of the folder it covers")
def mount_mode(rt: Runtime) -> None:
    (rt.rootfs / "private").mkdir()
    (rt.rootfs / "private").chmod(0o710)
    tmpfs = {"destination": "/private", "type": "tmpfs", "source": "tmpfs"}
    new = {"destination": "/new", "type": "tmpfs", "source": "tmpfs"}
    given = {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=0701"]}
    assert rt.run("stat -c %a /private /new /tmp", mounts=mounts(tmpfs, new, given)).out == "710\n1777\n701\n"


@case("config: mount options", "ro of /dev comes into force when its devices are there")
def mount_readonly_dev(rt: Runtime) -> None:
    changed = mounts()
    next(mount for mount in changed if mount["destination"] == "/dev")["options"].append("ro")
    found = rt.run("touch /dev/x 2>/dev/null; echo $?; echo x >/dev/null && test -c /dev/zero && ls /dev/pts", mounts=changed)
    assert found.out == "1\nptmx\n"


@case("linux: devices", "in a user namespace too, with their mode and owner")
def devices_in_user_namespace(rt: Runtime) -> None:
    if tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2]) < (6, 15):
        return  # there such a namespace has nodes that the host has at the same path, and no other
    device = {"path": "/dev/foo", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 10, "gid": 11}
    linux = {"devices": [device], "namespaces": namespaces("user"), "uidMappings": _FULL, "gidMappings": _FULL}
    found = rt.run("stat -c '%a %u:%g %t:%T' /dev/foo; head -c2 /dev/foo | wc -c", linux=linux)
    assert found.out == "640 10:11 1:5\n2\n", found


@case("linux: netDevices", "addresses stay; a name that is taken, or no namespace, is an error that moves nothing")
def net_devices_kept(rt: Runtime) -> None:
    link = f"it{os.getpid() % 100000}"
    subprocess.run(["ip", "link", "add", link, "type", "veth", "peer", "name", f"{link}p"], check=True)
    try:
        for words in (["link", "set", f"{link}p", "up"], ["link", "set", link, "up", "mtu", "1400"]):
            subprocess.run(["ip", *words], check=True)
        for address in ("192.0.2.7/25", "2001:db8::7/64"):
            subprocess.run(["ip", "address", "add", address, "dev", link], check=True)
        assert "already" in rt.run(linux={"netDevices": {link: {"name": "lo"}}}).err
        shared = {"netDevices": {link: {}}, "namespaces": namespaces(without=("network",)), "sysctl": None}
        assert rt.run(linux=shared).code != 0
        hooks = {"createRuntime": [{"path": "/bin/false"}]}
        assert rt.run(linux={"netDevices": {link: {"name": "x%d"}}}, hooks=hooks).code != 0
        assert "192.0.2.7/25" in subprocess.run(["ip", "address", "show", link], capture_output=True, text=True).stdout
        assert rt.create("sleep 60", linux={"netDevices": {link: {"name": "in%d"}}}).code == 0
        enter = ["nsenter", "--net", "--target", str(rt.state()["pid"]), "ip", "address", "show", "in0"]
        shown = subprocess.run(enter, capture_output=True, text=True, check=True).stdout
        assert "192.0.2.7/25" in shown and "2001:db8::7/64" in shown and "mtu 1400" in shown and ",UP" in shown
    finally:
        rt.close()
        subprocess.run(["ip", "link", "delete", f"{link}p"], check=False, capture_output=True)


@case("runc: --no-pivot", "leaves no procfs of the host to take masks off with")
def no_pivot_masks(rt: Runtime) -> None:
    held = ["CAP_SYS_ADMIN", "CAP_SETFCAP"]
    caps = {"bounding": held, "effective": held, "permitted": held}
    linux = {"maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"]}
    script = "busybox unshare -mrpf sh -c 'mount -t proc none /proc && echo bare'"
    found = rt.run(script, "--no-pivot", process={"capabilities": caps}, linux=linux)
    assert found.code != 0 and found.out == "" and "ermission denied" in found.err, found


@case("runtime-linux: file descriptors", "nothing of the host is open in a process that waits for start")
def waiting_descriptors(rt: Runtime) -> None:
    assert rt.create("true", linux={"maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"]}).code == 0
    folder = Path(f"/proc/{rt.state()['pid']}/fd")
    shown = {path.name: os.readlink(path) for path in folder.iterdir() if int(path.name) > 2}
    allowed = ("socket:", "pipe:", "anon_inode:", "/memfd:", "/proc")
    assert not [target for target in shown.values() if not target.startswith(allowed) and "exec.fifo" not in target], shown


# ---- processes ----------------------------------------------------------------------------------------------------------


@case("runc: exec --cap", "is ambient too when it is inheritable")
def exec_ambient(rt: Runtime) -> None:
    held = ["CAP_KILL", "CAP_CHOWN"]
    caps = {
        "bounding": held,
        "effective": ["CAP_CHOWN"],
        "permitted": ["CAP_CHOWN"],
        "inheritable": held,
        "ambient": ["CAP_CHOWN"],
    }
    assert rt.create("sleep 60", process={"capabilities": caps}).code == 0 and rt.start().code == 0
    found = rt.command("exec", "--cap", "CAP_KILL", rt.id, "grep", "CapAmb", "/proc/self/status").out
    assert int(found.split()[1], 16) == 0x21


@case("linux: personality", "holds for exec too")
def exec_personality(rt: Runtime) -> None:
    assert rt.create("sleep 60", linux={"personality": {"domain": "LINUX32"}}).code == 0 and rt.start().code == 0
    assert rt.command("exec", rt.id, "uname", "-m").out == "i686\n"


@case("runc: run, exec", "without a terminal of our own, what the program writes to its terminal arrives as it is")
def plain_newlines(rt: Runtime) -> None:
    # runc sets the terminal's mode while the program runs already.
    lines = ["sh", "-c", "sleep 0.3; echo a; echo b"]
    id = rt.write({"process": {"terminal": True, "args": lines}})
    assert _in_terminal(rt, "run", id).endswith(b"a\nb\n")
    assert rt.create("sleep 60").code == 0 and rt.start().code == 0
    assert _in_terminal(rt, "exec", "--tty", rt.id, *lines).endswith(b"a\nb\n")


def _in_terminal(rt: Runtime, *words: str) -> bytes:
    """The output of a command whose controlling terminal is one of ours, and whose stdout is a file."""
    from .harness import COMMANDS

    argv = [
        "script",
        "-qec",
        f"{_quoted(COMMANDS[rt.name])} --root {rt.root} {_quoted(list(words))} >{rt.folder}/tty",
        "/dev/null",
    ]
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=rt.bundle, timeout=30, check=False)
    return (rt.folder / "tty").read_bytes()


def _quoted(words: list[str]) -> str:
    import shlex

    return shlex.join(words)


@case("runc: --pidfd-socket", "gets a pidfd of the process")
def pidfd_socket(rt: Runtime) -> None:
    path = str(rt.folder / "pidfd")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        assert rt.create("sleep 60", "--pidfd-socket", path).code == 0
        connection, _ = listener.accept()
        with connection:
            _, (pidfd,), _, _ = socket.recv_fds(connection, 64, 1)
        info = Path(f"/proc/self/fdinfo/{pidfd}").read_text()
        assert f"Pid:\t{rt.state()['pid']}\n" in info
        os.close(pidfd)


@case("runc: kill", "KILL ends everything in a container that shares the host's pid namespace, also after its init")
def kill_shared_pids(rt: Runtime) -> None:
    linux = {"namespaces": namespaces(without=("pid",)), "resources": {"pids": {"limit": 50}}}
    for gone in (False, True):
        assert rt.create("sleep 1001 & sleep 1002 & wait", linux=linux).code == 0 and rt.start().code == 0
        cgroup = cgroups_named(rt.id)[0] / "cgroup.procs"
        wait_until(lambda file=cgroup: len(file.read_text().split()) == 3)
        if gone:
            os.kill(rt.state()["pid"], 9)
            rt.wait("stopped")
        assert rt.command("kill", rt.id, "KILL").code == 0
        wait_until(lambda file=cgroup: not file.exists() or not file.read_text())
        assert rt.command("delete", "--force", rt.id).code == 0


@case("runc: kill", "0 asks only; --all of a container that has stopped is no error")
def kill_zero(rt: Runtime) -> None:
    assert rt.create("sleep 60").code == 0 and rt.start().code == 0
    assert rt.command("kill", rt.id, "0").code == 0
    assert rt.command("kill", rt.id, "KILL").code == 0
    rt.wait("stopped")
    found = rt.command("kill", rt.id, "0")
    assert found.code != 0 and "container not running" in found.err
    assert rt.command("kill", "--all", rt.id, "0").code == 0


@case("runc: exec --cgroup", "a path that leads out, is missing, or names no controller is an error")
def exec_cgroup_errors(rt: Runtime) -> None:
    assert rt.create("sleep 60").code == 0 and rt.start().code == 0
    for below, message in (
        ("..", " .. is not a sub cgroup path"),
        ("none:/", "unknown controller"),
        ("gone", "/gone/cgroup.procs: no such"),
    ):
        found = rt.command("exec", "--cgroup", below, rt.id, "true")
        assert found.code != 0 and message in found.err, found
    assert rt.command("exec", "--cgroup", "/", rt.id, "true").code == 0


@case("runc: delete --force", "ends a container that somebody else's freezer holds")
def delete_frozen_elsewhere(rt: Runtime) -> None:
    freezer = Path(f"/sys/fs/cgroup/freezer/itest-{os.getpid()}-cold")
    if not freezer.parent.exists():
        return  # in cgroup v2 a process is in one cgroup only, and dies in a frozen one
    assert rt.create("sleep 60 & wait").code == 0 and rt.start().code == 0
    freezer.mkdir()
    try:
        (freezer / "cgroup.procs").write_text(str(rt.state()["pid"]))
        (freezer / "freezer.state").write_text("FROZEN")
        assert rt.command("delete", "--force", rt.id).code == 0
        assert rt.command("state", rt.id).code != 0
    finally:
        (freezer / "freezer.state").write_text("THAWED")
        wait_until(lambda: _removed(freezer))


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


# ---- the command line ---------------------------------------------------------------------------------------------------


@case("runc: spec", "what scripts change in it is there")
def spec_shape(rt: Runtime) -> None:
    made = _spec(rt)
    assert made["process"]["user"] == {"uid": 0, "gid": 0}  # type: ignore[index]
    assert made["linux"]["resources"] == {"devices": [{"allow": False, "access": "rwm"}]}  # type: ignore[index]
    kinds = [space["type"] for space in made["linux"]["namespaces"]]  # type: ignore[index]
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    assert kinds == ["pid", "network", "ipc", "uts", "mount", *(["cgroup"] if unified else [])]


@case("runc: list, ps, events", "JSON is as compact as Go writes it")
def compact_json(rt: Runtime) -> None:
    assert rt.create("sleep 60").code == 0 and rt.start().code == 0
    assert rt.command("list", "--format", "json").out.startswith('[{"ociVersion":"')
    assert rt.command("events", "--stats", rt.id).out.startswith(f'{{"type":"stats","id":"{rt.id}","data":{{"cpu":{{"usage":{{')
    log = rt.folder / "log"
    rt.command("--log", str(log), "--log-format", "json", "state", "none")
    assert '"level":"error"' in log.read_text()


@case("runc: --debug", "says what it does, in the log")
def debug(rt: Runtime) -> None:
    log = rt.folder / "log"
    for form, shown in (("text", "level=debug"), ("json", '"level":"debug"')):
        id = rt.write({})
        found = rt.command("--debug", "--log", str(log), "--log-format", form, "run", id)
        assert found.code == 0 and "debug" not in found.err and shown in log.read_text()
    assert "level=debug" in _debugged(rt).err


def _debugged(rt: Runtime) -> Result:
    return rt.command("--debug", "run", rt.write({}))


@case("runc: --help, --version", "in the form that scripts look for")
def help_form(rt: Runtime) -> None:
    lines = rt.command("--help").out.splitlines()
    assert lines[0] == "NAME:" and "runc - Open Container Initiative runtime" in lines[1]
    assert "runc exec" in rt.command("exec", "--help").out.splitlines()[1]
    first, second, third, *_ = rt.command("--version").out.splitlines()
    assert "runc version " in first and second.startswith("commit:") and third.startswith("spec: ")


# ---- namespaces, limits, filters ----------------------------------------------------------------------------------------


@case("linux: user namespace", "another container's is joined, and owns the container's other namespaces")
def join_user_namespace(rt: Runtime) -> None:
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    own = {"namespaces": namespaces("user"), "uidMappings": maps, "gidMappings": maps}
    assert rt.create("sleep 60", linux=own).code == 0
    joined = {"type": "user", "path": f"/proc/{rt.state()['pid']}/ns/user"}
    found = rt.run(
        "readlink /proc/self/ns/user; grep -c 100000 /proc/self/uid_map; hostname x && hostname",
        linux={"namespaces": namespaces(joined)},
    )
    assert found.out == f"{os.readlink(joined['path'])}\n1\nx\n", found


@case("process: CPU affinity", "that of the caller is not the container's, nor an exec's")
def affinity_reset(rt: Runtime) -> None:
    cpus = os.sched_getaffinity(0)
    show = ["grep", "Cpus_allowed_list", "/proc/self/status"]
    free = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    os.sched_setaffinity(0, {min(cpus)})
    try:
        assert rt.run(show).out == free
        assert rt.create("sleep 60").code == 0 and rt.start().code == 0
        assert rt.command("exec", rt.id, *show).out == free
    finally:
        os.sched_setaffinity(0, cpus)


@case("runc: update", "memory without a limit lifts that of memory and swap; 0 ends a burst")
def update_lifts(rt: Runtime) -> None:
    limits = {"memory": {"limit": 1 << 25, "swap": 1 << 26}, "cpu": {"quota": 50000, "period": 100000, "burst": 20000}}
    assert rt.create("sleep 60", linux={"resources": limits}).code == 0 and rt.start().code == 0
    for words in (["--memory", "-1"], ["--cpu-burst", "0"], ["--cpu-period", "1000000", "--cpu-quota", "500000"]):
        found = rt.command("update", *words, rt.id)
        assert found.code == 0, found
    shown = {
        file.name: file.read_text().strip()
        for folder in cgroups_named(rt.id)
        for name in ("memory.limit_in_bytes", "memory.max", "cpu.cfs_burst_us", "cpu.max.burst", "cpu.cfs_quota_us", "cpu.max")
        if (file := folder / name).exists()
    }
    assert shown.get("memory.max", "max") == "max" and int(shown.get("memory.limit_in_bytes", 1 << 62)) > 1 << 60
    assert shown.get("cpu.cfs_burst_us", "0") == shown.get("cpu.max.burst", "0") == "0"
    assert shown.get("cpu.cfs_quota_us", "500000") == "500000" and shown.get("cpu.max", "500000 1000000") == "500000 1000000"


@case("linux: cgroupsPath", "one that is frozen is an error")
def frozen_cgroup(rt: Runtime) -> None:
    folder = Path(f"/sys/fs/cgroup/freezer/itest-{os.getpid()}-ice")
    if not folder.parent.exists():
        return
    folder.mkdir()
    try:
        (folder / "freezer.state").write_text("FROZEN")
        found = rt.create("true", linux={"cgroupsPath": f"/{folder.name}"})
        assert found.code == 1 and "frozen" in found.err, found
    finally:
        (folder / "freezer.state").write_text("THAWED")
        wait_until(lambda: _removed(folder))


@case("linux: seccomp", "calls newer than a list of what is allowed do not exist: ENOSYS")
def seccomp_newer(rt: Runtime) -> None:
    if not shutil.which("gcc"):
        return  # the test machine has none
    source = rt.folder / "try.c"
    source.write_text(
        "#include <stdio.h>\n#include <errno.h>\n#include <unistd.h>\n#include <sys/syscall.h>\n"
        "int main(void){syscall(1000);int a=errno;syscall(SYS_getppid+0);errno=0;syscall(SYS_acct,0);"
        'printf("%d %d\\n",a,errno);}'
    )
    subprocess.run(["gcc", "-static", "-o", str(rt.rootfs / "bin/try"), str(source)], check=True)
    names = """
        execve brk arch_prctl set_tid_address set_robust_list rseq prlimit64 readlinkat getrandom mprotect newfstatat write
        exit_group fstat mmap munmap readlink uname getppid
    """.split()  # noqa: SIM905 (a list of names)
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]}
    nnp = {"noNewPrivileges": True}
    found = rt.run(["/bin/try"], linux={"seccomp": {**profile, "architectures": ["SCMP_ARCH_X86_64"]}}, process=nnp)
    assert found.out == "38 1\n", found


@case("linux: seccomp", "NOTIFY of everything, or of what hands the listener on, is an error")
def seccomp_notify_refused(rt: Runtime) -> None:
    listener = {"listenerPath": str(rt.folder / "none")}
    everything = {"defaultAction": "SCMP_ACT_NOTIFY", **listener}
    one = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}], **listener}
    for profile in (everything, one):
        found = rt.run("true", linux={"seccomp": profile})
        assert found.code == 1 and "SCMP_ACT_NOTIFY cannot be used" in found.err, found


@case("linux: cgroupsPath", "in every hierarchy, limited there or not; without one, the container's id at the root of each")
def every_hierarchy(rt: Runtime) -> None:
    for path in (None, "/{id}/below"):
        id = rt.write({"process": {"args": ["sleep", "60"]}, "linux": {"cgroupsPath": None}})
        if path:
            rt.write({"process": {"args": ["sleep", "60"]}, "linux": {"cgroupsPath": path.format(id=id)}})
        try:
            assert rt.command("create", rt.id, stdout="container").code == 0
            memberships = Path(f"/proc/{rt.state()['pid']}/cgroup").read_text().splitlines()
            assert {line.split(":", 2)[2] for line in memberships} == {path.format(id=id) if path else f"/{id}"}
        finally:
            rt.command("delete", "--force", rt.id)
            for folder in cgroups_named(id):
                wait_until(lambda folder=folder: _removed(folder))


@case("linux: cgroupsPath", "folders around it that nobody has given CPUs to get those that are around them")
def empty_cpuset(rt: Runtime) -> None:
    folder = Path(f"/sys/fs/cgroup/cpuset/itest-{os.getpid()}-pod")
    if not folder.parent.exists():
        return
    folder.mkdir()
    try:
        found = rt.run("true", linux={"cgroupsPath": f"/{folder.name}/one"})
        assert found.code == 0, found
    finally:
        for other in cgroups_named(folder.name):
            wait_until(lambda other=other: _removed(other))


@case("runc: kill", "a signal that ends programs ends a container that waits for start")
def kill_created(rt: Runtime) -> None:
    for signal in ("TERM", "INT", "HUP", "QUIT"):
        assert rt.create("sleep 60").code == 0
        assert rt.command("kill", rt.id, signal).code == 0
        rt.wait("stopped")
        assert rt.command("delete", rt.id).code == 0
    assert rt.create("trap 'echo heard' TERM; kill -TERM $$; echo $?").code == 0 and rt.start().code == 0
    rt.wait("stopped")
    assert rt.output() == "heard\n0\n"


@case("config: startContainer hooks", "have the container's seccomp filter; an error says which signal ended one")
def start_hook_filter(rt: Runtime) -> None:
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL"}]}
    hooks = {"startContainer": [{"path": "/bin/mkdir", "args": ["mkdir", "/dev/x"]}]}
    for process in ({"noNewPrivileges": True}, {"noNewPrivileges": False}):
        found = rt.run("true", hooks=hooks, linux={"seccomp": profile}, process=process)
        assert found.code == 1 and "error running startContainer hook #0" in found.err and "bad system call" in found.err, found


@case("config: mount options", "what /proc/mounts says of a tmpfs without a mode is the mode of the folder that it covers")
def tmpfs_mode_shown(rt: Runtime) -> None:
    (rt.rootfs / "covered").mkdir(mode=0o710)
    found = rt.run("grep covered /proc/mounts", mounts=mounts({"destination": "/covered", "type": "tmpfs"}))
    assert "mode=710" in found.out, found


@case("config: mounts.uidMappings", "idmap without maps has those of a user namespace that is joined")
def idmap_joined(rt: Runtime) -> None:
    (rt.folder / "files").mkdir()
    (rt.folder / "files/x").touch()
    ids = [{"containerID": 0, "hostID": 0, "size": 1000}]
    linux = {"namespaces": namespaces("user"), "uidMappings": ids, "gidMappings": ids}
    assert rt.create("sleep 60", linux=linux).code == 0
    joined = namespaces({"type": "user", "path": f"/proc/{rt.state()['pid']}/ns/user"})
    mount = {"destination": "/files", "type": "bind", "source": str(rt.folder / "files"), "options": ["bind", "idmap"]}
    found = rt.run("stat -c %u /files/x", mounts=mounts(mount), linux={"namespaces": joined})
    assert (found.code, found.out) == (0, "0\n"), found


@case("linux: resources.devices", "access `rwa` of files in use is understood")
def device_access(rt: Runtime) -> None:
    rule = {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "rwa"}
    assert rt.run("true", linux={"resources": {"devices": [{"allow": False, "access": "rwm"}, rule]}}).code == 0
