"""A case a clause of the runtime specification: what a container sees, or what an operation answers.

Each function gets a fresh runtime and asserts. The same code runs on ours and on the distribution's runc, so that a case
which fails on both is known to be wrong itself. `WANTED` names what a case needs of the machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from .harness import CGROUP1, Runtime, cgroup_folder, mounts, namespaces

Check = Callable[[Runtime], None]


class Case:
    def __init__(self, clause: str, title: str, check: Check) -> None:
        self.clause, self.title, self.check = clause, title, check

    @property
    def id(self) -> str:
        return self.check.__name__


CASES: list[Case] = []


def case(clause: str, title: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        CASES.append(Case(clause, title, check))
        return check

    return register


# ---- config.md ----------------------------------------------------------------------------------------------------------


@case("config: ociVersion", "a version that is not SemVer 1.x is an error")
def version(rt: Runtime) -> None:
    assert rt.run(ociVersion="x").code != 0
    assert rt.run(ociVersion="1.0.0").code == 0


@case("config: root.path", "a directory must exist there")
def root_missing(rt: Runtime) -> None:
    assert rt.run(root={"path": "nothing"}).code != 0
    assert rt.run(root={"path": str(rt.rootfs)}).code == 0


@case("config: root.readonly", "the root is read-only, mounts in it are not")
def root_readonly(rt: Runtime) -> None:
    found = rt.run("touch /x; echo $?; touch /dev/x; echo $?", root={"path": "rootfs", "readonly": True})
    assert found.out == "1\n0\n"


@case("config: mounts", "in the listed order")
def mount_order(rt: Runtime) -> None:
    more = mounts(
        {"destination": "/tmp", "type": "tmpfs", "source": "one"}, {"destination": "/tmp", "type": "tmpfs", "source": "two"}
    )
    assert rt.run("grep ' /tmp ' /proc/mounts | cut -d' ' -f1 | tail -n1 || true", mounts=more).out in ("two\n", "")
    found = rt.run("grep ' /tmp ' /proc/mounts", mounts=more).out.splitlines()
    assert [line.split()[0] for line in found] == ["one", "two"]


@case("config: mounts", "a missing destination is made, like its source")
def mount_makes_destination(rt: Runtime) -> None:
    (rt.folder / "file").write_text("text")
    bind = {"destination": "/a/b/c", "type": "bind", "source": str(rt.folder / "file"), "options": ["bind"]}
    assert rt.run("cat /a/b/c", mounts=mounts(bind)).out == "text"


@case("config: mounts", "a bind mount's relative source begins at the bundle")
def mount_relative_source(rt: Runtime) -> None:
    (rt.bundle / "data").mkdir()
    (rt.bundle / "data/x").write_text("here")
    assert rt.run("cat /tmp/x", mounts=mounts({"destination": "/tmp", "source": "data", "options": ["bind"]})).out == "here"


@case("config: mount options", "ro nosuid nodev noexec of a bind mount")
def mount_flags(rt: Runtime) -> None:
    (rt.folder / "data").mkdir()
    bind = {"destination": "/tmp", "source": str(rt.folder / "data"), "options": ["bind", "ro", "nosuid", "nodev", "noexec"]}
    flags = rt.run("grep ' /tmp ' /proc/mounts", mounts=mounts(bind)).out.split()[3].split(",")
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(flags)


@case("config: mount options", "rro reaches the mounts below a recursive bind mount")
def mount_recursive_attributes(rt: Runtime) -> None:
    first = {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}
    bind = {"destination": "/etc", "source": "/dev", "options": ["rbind", "rro"]}
    lines = rt.run("grep ' /etc' /proc/mounts", mounts=mounts(first, bind)).out.splitlines()
    assert lines and all("ro" in line.split()[3].split(",") for line in lines)


@case("config: mount options", "data options reach the filesystem")
def mount_data(rt: Runtime) -> None:
    tmpfs = {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k", "mode=0700"]}
    assert rt.run("stat -c %a /tmp; df -k /tmp 2>/dev/null | tail -n1", mounts=mounts(tmpfs)).out.startswith("700\n")


@case("config: mount options", "remount changes what is mounted already")
def mount_remount(rt: Runtime) -> None:
    more = mounts(
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["remount", "ro"]},
    )
    assert rt.run("touch /tmp/x; echo $?", mounts=more).out == "1\n"


@case("config: mount options", "tmpcopyup begins with what the image has there")
def mount_copy_up(rt: Runtime) -> None:
    (rt.rootfs / "etc/kept").write_text("from the image")
    tmpfs = {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}
    assert rt.run("cat /etc/kept; touch /etc/new", mounts=mounts(tmpfs)).out == "from the image"
    assert not (rt.rootfs / "etc/new").exists()


@case("config: mount options", "rshared, rslave and private are the mount's propagation")
def mount_propagation(rt: Runtime) -> None:
    for option, shown in (("rshared", "shared:"), ("private", "")):
        tmpfs = {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": [option]}
        line = rt.run("grep ' /tmp ' /proc/self/mountinfo", mounts=mounts(tmpfs)).out
        assert ("shared:" in line) == bool(shown)


@case("config: mounts.uidMappings", "an id-mapped mount translates the owners of its files")
def mount_idmap(rt: Runtime) -> None:
    (rt.folder / "data").mkdir()
    (rt.folder / "data/x").write_text("")
    os.chown(rt.folder / "data/x", 1000, 1000)
    maps = [{"containerID": 1000, "hostID": 3000, "size": 1}]
    bind = {"destination": "/tmp", "source": str(rt.folder / "data"), "options": ["bind", "idmap"]}
    found = rt.run("stat -c %u:%g /tmp/x", mounts=mounts({**bind, "uidMappings": maps, "gidMappings": maps}))
    assert found.out == "3000:3000\n"


@case("config: mounts.uidMappings", "idmap without maps and without a user namespace is an error")
def mount_idmap_without_maps(rt: Runtime) -> None:
    bind = {"destination": "/tmp", "source": "/tmp", "options": ["bind", "idmap"]}
    assert rt.run(mounts=mounts(bind)).code != 0


@case("config: process.cwd", "is where the program begins, and absolute")
def cwd(rt: Runtime) -> None:
    assert rt.run("pwd", process={"cwd": "/tmp"}).out == "/tmp\n"
    assert rt.run("pwd", process={"cwd": "tmp"}).code != 0


@case("config: process.env", "is exactly the environment")
def env(rt: Runtime) -> None:
    found = rt.run(["env"], process={"env": ["PATH=/bin", "A=b c"]}).out.splitlines()
    assert {"PATH=/bin", "A=b c"} <= set(found) and {line.partition("=")[0] for line in found} <= {"PATH", "A", "HOME"}


@case("config: process.args", "at least one, searched like execvp")
def args(rt: Runtime) -> None:
    assert rt.run([]).code != 0
    missing = rt.run(["nothing"])
    assert missing.code != 0 and "executable file not found" in missing.err
    assert rt.run(["/bin/echo", "a  b"]).out == "a  b\n"


@case("config: process.terminal", "standard streams are a pseudoterminal, also /dev/console")
def terminal(rt: Runtime) -> None:
    import socket

    path = str(rt.folder / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        size = {"height": 10, "width": 70}
        changes = {"process": {"terminal": True, "consoleSize": size}}
        assert rt.create("tty; stty size; ls -la /dev/console", "--console-socket", path, **changes).code == 0
        connection, _ = listener.accept()
        _, (master,), _, _ = socket.recv_fds(connection, 4096, 1)
    assert rt.start().code == 0
    text = b""
    try:
        while chunk := os.read(master, 4096):
            text += chunk
    except OSError:
        pass
    os.close(master)
    assert b"/dev/pts/0" in text and b"10 70" in text and b"crw" in text


@case("config: process.rlimits", "soft and hard; the same twice is an error")
def rlimits(rt: Runtime) -> None:
    limit = {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}
    assert rt.run("ulimit -Sn; ulimit -Hn", process={"rlimits": [limit]}).out == "100\n200\n"
    assert rt.run(process={"rlimits": [{**limit, "type": "RLIMIT_NONE"}]}).code != 0
    assert rt.run(process={"rlimits": [limit, limit]}).code != 0


@case("config: process.capabilities", "each set is what was asked for")
def capabilities(rt: Runtime) -> None:
    one, two = ["CAP_KILL"], ["CAP_KILL", "CAP_CHOWN"]
    caps = {"bounding": two, "permitted": two, "inheritable": one, "effective": one, "ambient": one}
    text = rt.run("grep Cap /proc/self/status", process={"capabilities": caps}).out
    found = dict(line.split() for line in text.splitlines())
    assert found["CapBnd:"] == found["CapPrm:"].replace("x", "x") == f"{0x21:016x}"
    assert found["CapInh:"] == found["CapAmb:"] == f"{0x20:016x}"


@case("config: process.capabilities", "one that does not exist is a warning, no error")
def capabilities_unknown(rt: Runtime) -> None:
    found = rt.run("echo ran", process={"capabilities": {"bounding": ["CAP_NOTHING", "CAP_KILL"]}})
    assert found.out == "ran\n" and "CAP_NOTHING" in found.err


@case("config: process.capabilities", "one that cannot be granted is a warning, no error")
def capabilities_withheld(rt: Runtime) -> None:
    every = ["CAP_SYS_RESOURCE", "CAP_KILL"]
    assert (
        rt.run("echo ran", process={"capabilities": {"bounding": every, "permitted": every, "effective": every}}).out == "ran\n"
    )


@case("config: process.noNewPrivileges", "is set")
def no_new_privileges(rt: Runtime) -> None:
    assert rt.run("grep NoNewPrivs /proc/self/status", process={"noNewPrivileges": True}).out.split()[1] == "1"


@case("config: process.oomScoreAdj", "is set, and left alone when absent")
def oom_score(rt: Runtime) -> None:
    assert rt.run("cat /proc/self/oom_score_adj", process={"oomScoreAdj": 321}).out == "321\n"
    assert rt.run("cat /proc/self/oom_score_adj").out == Path("/proc/self/oom_score_adj").read_text()


@case("config: process.scheduler", "policy and nice value")
def scheduler(rt: Runtime) -> None:
    found = rt.run(
        "cut -d' ' -f19,41 /proc/self/stat || true; cat /proc/self/stat",
        process={"scheduler": {"policy": "SCHED_BATCH", "nice": 3}},
    )
    fields = found.out.splitlines()[-1].rsplit(")", 1)[1].split()
    assert (fields[16], fields[38]) == ("3", "3")


@case("config: process.ioPriority", "an unknown class is an error")
def io_priority(rt: Runtime) -> None:
    assert rt.run(process={"ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 4}}).code == 0
    assert rt.run(process={"ioPriority": {"class": "IOPRIO_CLASS_NONE_SUCH", "priority": 4}}).code != 0


@case("config: process.execCPUAffinity", "holds for exec, not for the container's process")
def exec_affinity(rt: Runtime) -> None:
    assert (
        rt.create(
            "grep Cpus_allowed_list /proc/self/status; sleep 60", process={"execCPUAffinity": {"initial": "0", "final": "0"}}
        ).code
        == 0
    )
    assert rt.start().code == 0
    found = rt.command("exec", rt.id, "grep", "Cpus_allowed_list", "/proc/self/status").out
    assert found.split()[1] == "0"


@case("config: process.user", "uid, gid, additionalGids and umask")
def user(rt: Runtime) -> None:
    who = {"uid": 12, "gid": 34, "additionalGids": [56, 78], "umask": 0o27}
    text = rt.run("id -u; id -g; grep Groups /proc/self/status; umask", process={"user": who}).out
    assert text.split() == ["12", "34", "Groups:", "56", "78", "0027"]


@case("config: hostname, domainname", "in the container's uts namespace only")
def hostname(rt: Runtime) -> None:
    text = rt.run("hostname; cat /proc/sys/kernel/domainname", hostname="one", domainname="two").out
    assert text == "one\ntwo\n" and os.uname().nodename != "one"
    assert rt.run(hostname="one", linux={"namespaces": namespaces(without=("uts",))}).code != 0


@case("config: annotations", "are part of the state")
def annotations(rt: Runtime) -> None:
    assert rt.create("sleep 60", annotations={"org.example.a": "b"}).code == 0
    assert rt.state()["annotations"]["org.example.a"] == "b"


@case("config: extensibility", "unknown properties are ignored")
def unknown_properties(rt: Runtime) -> None:
    assert rt.run("echo ran", something={"else": 1}, process={"something": True}).out == "ran\n"


# ---- hooks --------------------------------------------------------------------------------------------------------------


def _hook(rt: Runtime, name: str, text: str, **more: object) -> dict[str, object]:
    path = rt.folder / f"hook-{name}"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return {"path": str(path), "args": [name], "env": ["PATH=/bin:/usr/bin"], **more}


@case("config: hooks", "prestart, createRuntime, createContainer, startContainer, poststart, poststop in this order")
def hooks_in_order(rt: Runtime) -> None:
    log = rt.folder / "log"
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    hooks = {kind: [_hook(rt, kind, f"echo {kind} >>{log}")] for kind in kinds}
    hooks["startContainer"] = [{"path": "/bin/sh", "args": ["sh", "-c", "echo started >/tmp/mark"], "env": ["PATH=/bin"]}]
    assert rt.create("cat /tmp/mark; sleep 60", hooks=hooks).code == 0
    assert log.read_text().split() == ["prestart", "createRuntime", "createContainer"]
    assert rt.start().code == 0
    assert log.read_text().split()[-1] == "poststart"
    assert rt.command("delete", "--force", rt.id).code == 0
    assert log.read_text().split()[-1] == "poststop" and rt.output() == "started\n"


@case("config: hooks", "get the state on stdin")
def hooks_get_the_state(rt: Runtime) -> None:
    state = rt.folder / "state"
    hooks = {"createRuntime": [_hook(rt, "state", f"cat >{state}")]}
    assert rt.create("sleep 60", hooks=hooks, annotations={"a": "b"}).code == 0
    told = json.loads(state.read_text())
    assert (told["id"], told["bundle"], told["annotations"]) == (rt.id, str(rt.bundle), {"a": "b"})
    assert told["pid"] == rt.state()["pid"] and told["status"] in ("creating", "created")


@case("config: createContainer hooks", "run in the container's namespaces before its root is entered")
def create_container_namespace(rt: Runtime) -> None:
    seen = rt.folder / "seen"
    hooks = {"createContainer": [_hook(rt, "ns", f"readlink /proc/self/ns/uts >{seen}; hostname >>{seen}")]}
    assert rt.create("sleep 60", hooks=hooks).code == 0
    namespace, _ = seen.read_text().split()
    assert namespace == os.readlink(f"/proc/{rt.state()['pid']}/ns/uts")


@case("config: startContainer hooks", "run in the container's namespaces as part of start")
def start_container_namespace(rt: Runtime) -> None:
    hooks = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "hostname >/tmp/seen"], "env": ["PATH=/bin"]}]}
    assert rt.create("sleep 60", hooks=hooks).code == 0
    assert not (rt.rootfs / "tmp/seen").exists()
    assert rt.start().code == 0
    assert (rt.rootfs / "tmp/seen").read_text() == "conformance\n"


@case("config: hooks", "one that fails before start leaves no container")
def hooks_that_fail(rt: Runtime) -> None:
    for kind in ("prestart", "createRuntime", "createContainer"):
        failed = rt.create("sleep 60", hooks={kind: [_hook(rt, "bad", "echo because; exit 3")]})
        assert failed.code != 0, kind
        assert rt.command("state", rt.id).code != 0
        assert not cgroup_folder(rt.id, "memory").exists()


@case("config: startContainer hooks", "one that fails stops the container")
def start_hook_fails(rt: Runtime) -> None:
    assert rt.create("sleep 60", hooks={"startContainer": [{"path": "/bin/false"}]}).code == 0
    assert rt.start().code != 0
    found = rt.command("state", rt.id)
    assert found.code != 0 or json.loads(found.out)["status"] == "stopped"


@case("config: hooks.timeout", "ends a hook that takes too long, as a failure")
def hooks_timeout(rt: Runtime) -> None:
    assert rt.create("sleep 60", hooks={"createRuntime": [_hook(rt, "slow", "exec sleep 30", timeout=1)]}).code != 0


@case("runtime: lifecycle 13", "a poststop hook that fails is a warning; the others run")
def poststop_fails(rt: Runtime) -> None:
    mark = rt.folder / "mark"
    hooks = {"poststop": [_hook(rt, "bad", "exit 3"), _hook(rt, "good", f"touch {mark}")]}
    assert rt.create("sleep 60", hooks=hooks).code == 0
    assert rt.command("delete", "--force", rt.id).code == 0 and mark.exists()


# ---- config-linux.md ----------------------------------------------------------------------------------------------------


@case("linux: namespaces", "each that is listed is new, each that is not is the runtime's")
def namespaces_new(rt: Runtime) -> None:
    rt.create("sleep 60")
    pid = rt.state()["pid"]
    for name in ("pid", "net", "ipc", "uts", "mnt"):
        assert os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"), name
    for name in ("user", "time"):
        assert os.readlink(f"/proc/{pid}/ns/{name}") == os.readlink(f"/proc/self/ns/{name}"), name


@case("linux: namespaces", "a path is joined; one of another kind is an error")
def namespaces_joined(rt: Runtime) -> None:
    rt.create("sleep 60")
    pid, first = rt.state()["pid"], rt.id
    for kind, name in (("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")):
        spaces = namespaces({"type": kind, "path": f"/proc/{pid}/ns/{name}"})
        found = rt.run(f"readlink /proc/self/ns/{name}", linux={"namespaces": spaces})
        assert found.out.strip() == os.readlink(f"/proc/{pid}/ns/{name}"), (kind, found)
    wrong = namespaces({"type": "network", "path": f"/proc/{pid}/ns/ipc"})
    assert rt.run(linux={"namespaces": wrong}).code != 0
    assert rt.command("state", first).code == 0


@case("linux: namespaces", "an unknown kind, or one twice, is an error")
def namespaces_wrong(rt: Runtime) -> None:
    assert rt.run(linux={"namespaces": [*namespaces(), {"type": "other"}]}).code != 0
    assert rt.run(linux={"namespaces": [*namespaces(), {"type": "ipc"}]}).code != 0


@case("linux: namespaces", "a new network namespace has its loopback up")
def loopback(rt: Runtime) -> None:
    assert rt.run("cat /sys/class/net/lo/operstate /sys/class/net/lo/flags").out.split()[1] == "0x9"


@case("linux: cgroup namespace", "shows the container's own cgroup as the root")
def cgroup_namespace(rt: Runtime) -> None:
    text = rt.run("cat /proc/self/cgroup", linux={"namespaces": namespaces("cgroup")}).out
    root = ":memory:/" if CGROUP1 else "0::/"
    assert any(line.endswith(root) for line in text.splitlines()) and rt.id not in text, text


@case("linux: user namespace", "maps are those of the spec")
def user_namespace(rt: Runtime) -> None:
    maps = [{"containerID": 0, "hostID": 100000, "size": 10}, {"containerID": 10, "hostID": 200000, "size": 5}]
    os.chown(rt.rootfs, 100000, 100000)
    changes = {"namespaces": namespaces("user"), "uidMappings": maps, "gidMappings": maps}
    found = rt.run("cat /proc/self/uid_map /proc/self/gid_map; id -u; echo >/dev/null", linux=changes)
    lines = [line.split() for line in found.out.splitlines()]
    assert lines == [["0", "100000", "10"], ["10", "200000", "5"]] * 2 + [["0"]], found


@case("linux: user namespace", "its root owns the container's other namespaces")
def user_namespace_owns(rt: Runtime) -> None:
    maps = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    changes = {"namespaces": namespaces("user"), "uidMappings": maps, "gidMappings": maps}
    found = rt.run("mount -t tmpfs x /tmp && hostname other && hostname", linux=changes)
    assert found.out == "other\n", found


@case("linux: user namespace", "exec enters it")
def user_namespace_exec(rt: Runtime) -> None:
    maps = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    changes = {"namespaces": namespaces("user"), "uidMappings": maps, "gidMappings": maps}
    assert rt.create("sleep 60", linux=changes).code == 0 and rt.start().code == 0
    assert rt.command("exec", "--user", "5:6", rt.id, "sh", "-c", "id -u; id -g; cat /proc/self/uid_map").out.split() == [
        *("5", "6"),
        *("0", "100000", "1000"),
    ]


@case("linux: timeOffsets", "clocks are moved; an unknown clock is an error")
def time_offsets(rt: Runtime) -> None:
    offsets = {"boottime": {"secs": 1000000}, "monotonic": {"secs": 2000000, "nanosecs": 5}}
    spaces = namespaces("time")
    found = rt.run("cat /proc/uptime /proc/self/timens_offsets", linux={"namespaces": spaces, "timeOffsets": offsets})
    lines = found.out.splitlines()
    assert float(lines[0].split()[0]) > 1000000, found
    assert [line.split() for line in lines[1:]] == [["monotonic", "2000000", "5"], ["boottime", "1000000", "0"]]
    assert rt.run(linux={"namespaces": spaces, "timeOffsets": {"other": {"secs": 1}}}).code != 0


@case("linux: devices", "each is there with its mode and owner")
def devices(rt: Runtime) -> None:
    device = {"path": "/dev/made", "type": "c", "major": 1, "minor": 7, "fileMode": 0o640, "uid": 3, "gid": 4}
    assert rt.run("stat -c '%a %u %g %t %T' /dev/made", linux={"devices": [device]}).out == "640 3 4 1 7\n"
    pipe = {"path": "/opt/pipe", "type": "p", "fileMode": 0o600}
    assert rt.run("test -p /opt/pipe && echo yes", linux={"devices": [pipe]}).out == "yes\n"


@case("linux: devices", "another file in its place is an error")
def device_in_the_way(rt: Runtime) -> None:
    (rt.rootfs / "opt").mkdir()
    (rt.rootfs / "opt/made").write_text("")
    device = {"path": "/opt/made", "type": "c", "major": 1, "minor": 7}
    assert rt.run(linux={"devices": [device]}).code != 0


@case("linux: default devices", "null zero full random urandom tty ptmx")
def default_devices(rt: Runtime) -> None:
    text = rt.run("for d in null zero full random urandom tty; do stat -c '%t:%T' /dev/$d; done; readlink /dev/ptmx").out
    assert text.split()[:6] == ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0"] and text.split()[6] in ("pts/ptmx", "/dev/pts/ptmx")


@case("runtime-linux: dev symbolic links", "/dev/fd, stdin, stdout, stderr")
def dev_links(rt: Runtime) -> None:
    text = rt.run("for l in fd stdin stdout stderr; do readlink /dev/$l; done").out
    assert text.split() == ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"]


@case("runtime-linux: file descriptors", "only the standard streams are open; --preserve-fds adds")
def descriptors(rt: Runtime) -> None:
    reader, writer = os.pipe()
    for fd in (reader, writer):
        os.set_inheritable(fd, True)
    fds = tuple(os.dup(writer) for _ in range(50))
    try:
        assert rt.run("ls /proc/self/fd", fds=fds).out.split()[:4] == ["0", "1", "2", "3"]  # 3 is ls's own
    finally:
        for fd in (reader, writer, *fds):
            os.close(fd)


@case("linux: cgroupsPath", "is where the process is, from each hierarchy's root")
def cgroups_path(rt: Runtime) -> None:
    assert rt.create("sleep 60").code == 0
    text = Path(f"/proc/{rt.state()['pid']}/cgroup").read_text()
    wanted = [f":memory:/{rt.id}\n", f":pids:/{rt.id}\n"] if CGROUP1 else [f"0::/{rt.id}\n"]
    assert all(line in text for line in wanted)
    assert rt.command("delete", "--force", rt.id).code == 0
    assert not cgroup_folder(rt.id, "memory").exists()


LIMITS = [
    ("memory", {"memory": {"limit": 64 << 20}}, "memory/{}/memory.limit_in_bytes", str(64 << 20)),
    ("memory.reservation", {"memory": {"reservation": 32 << 20}}, "memory/{}/memory.soft_limit_in_bytes", str(32 << 20)),
    ("memory.swappiness", {"memory": {"swappiness": 10}}, "memory/{}/memory.swappiness", "10"),
    ("cpu.shares", {"cpu": {"shares": 512}}, "cpu/{}/cpu.shares", "512"),
    ("cpu.quota", {"cpu": {"quota": 50000, "period": 100000}}, "cpu/{}/cpu.cfs_quota_us", "50000"),
    ("cpu.cpus", {"cpu": {"cpus": "0", "mems": "0"}}, "cpuset/{}/cpuset.cpus", "0"),
    ("pids", {"pids": {"limit": 50}}, "pids/{}/pids.max", "50"),
]
LIMITS2 = [
    ("memory", {"memory": {"limit": 64 << 20}}, "{}/memory.max", str(64 << 20)),
    ("memory.reservation", {"memory": {"reservation": 32 << 20}}, "{}/memory.low", str(32 << 20)),
    ("memory.swap", {"memory": {"limit": 64 << 20, "swap": 96 << 20}}, "{}/memory.swap.max", str(32 << 20)),
    ("cpu.shares", {"cpu": {"shares": 2}}, "{}/cpu.weight", "1"),
    ("cpu.quota", {"cpu": {"quota": 50000, "period": 200000}}, "{}/cpu.max", "50000 200000"),
    ("cpu.cpus", {"cpu": {"cpus": "0", "mems": "0"}}, "{}/cpuset.cpus", "0"),
    ("pids", {"pids": {"limit": 50}}, "{}/pids.max", "50"),
    ("unified", {"unified": {"memory.high": str(48 << 20)}}, "{}/memory.high", str(48 << 20)),
]


@case("linux: resources", "each limit is in force")
def limits(rt: Runtime) -> None:
    for name, resources, file, value in LIMITS if CGROUP1 else LIMITS2:
        assert rt.create("sleep 60", linux={"resources": resources}).code == 0, name
        assert Path("/sys/fs/cgroup", file.format(rt.id)).read_text().strip() == value, name
        rt.command("delete", "--force", rt.id)


@case("linux: resources", "a controller that is not there is an error")
def limits_without_controller(rt: Runtime) -> None:
    assert not Path("/sys/fs/cgroup/net_cls").exists(), "this machine has it"
    missing = {"network": {"classID": 1}} if CGROUP1 else {"unified": {"nothing.max": "1"}}
    assert rt.run(linux={"resources": missing}).code != 0


@case("linux: resources.devices", "what is not allowed cannot be opened")
def device_rules(rt: Runtime) -> None:
    rules = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 7, "access": "r"}]
    script = (
        "mknod /tmp/k c 1 11; head -c1 /tmp/k >/dev/null; echo $?; echo x >/dev/full; head -c1 /dev/full >/dev/null; echo $?"
    )
    assert rt.run(script, linux={"resources": {"devices": rules}}).out == "1\n0\n"


@case("linux: sysctl", "is set in the container's namespaces; the machine's own is an error")
def sysctl(rt: Runtime) -> None:
    assert rt.run("cat /proc/sys/net/ipv4/ip_forward", linux={"sysctl": {"net.ipv4.ip_forward": "1"}}).out == "1\n"
    assert rt.run(linux={"sysctl": {"vm.swappiness": "1"}}).code != 0
    assert rt.run(linux={"sysctl": {"net.core.somaxconn": "1"}, "namespaces": namespaces(without=("network",))}).code != 0


@case("linux: seccomp", "actions, errno, arguments")
def seccomp(rt: Runtime) -> None:
    rules = [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
        {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]},
    ]
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    found = rt.run("mkdir /tmp/x; kill -USR1 $$; echo $?; kill -0 $$; echo $?", linux={"seccomp": profile})
    assert "No space left" in found.err and found.out == "1\n0\n"


@case("linux: seccomp", "an unknown action is an error")
def seccomp_unknown(rt: Runtime) -> None:
    assert rt.run(linux={"seccomp": {"defaultAction": "SCMP_ACT_NONE_SUCH"}}).code != 0


@case("linux: seccomp.listenerPath", "the agent gets the descriptor and the process's state")
def seccomp_listener(rt: Runtime) -> None:
    import socket
    import threading

    path = str(rt.folder / "agent")
    got: list[object] = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        data, fds, _, _ = socket.recv_fds(connection, 65536, 4)
        got.extend([json.loads(data), len(fds)])
        for fd in fds:
            os.close(fd)  # nobody answers: the calls end with ENOSYS

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        rules = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]
        profile = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "meta", "syscalls": rules}
        found = rt.run("mkdir /tmp/x 2>/dev/null; echo $?", linux={"seccomp": profile})
        thread.join(5)
    state, count = got
    assert isinstance(state, dict) and (state["fds"], state["metadata"], count) == (["seccompFd"], "meta", 1)
    assert state["state"]["id"] == rt.id
    assert (found.code, found.out) == (0, "1\n"), found


@case("linux: rootfsPropagation", "shared, slave, private, unbindable; another word is an error")
def rootfs_propagation(rt: Runtime) -> None:
    for value, word in (("shared", "shared:"), ("private", ""), ("unbindable", "unbindable")):
        line = rt.run(
            "grep ' / / ' /proc/self/mountinfo || grep -E '^[^ ]+ [^ ]+ [^ ]+ [^ ]+ / ' /proc/self/mountinfo",
            linux={"rootfsPropagation": value},
        ).out
        assert (word in line) if word else ("shared:" not in line), (value, line)
    assert rt.run(linux={"rootfsPropagation": "other"}).code != 0


@case("linux: maskedPaths", "files read as empty, directories too; a missing one is no error")
def masked_paths(rt: Runtime) -> None:
    (rt.rootfs / "etc/secret").write_text("secret")
    paths = ["/etc/secret", "/proc/fs", "/not/there"]
    assert rt.run("cat /etc/secret; ls /proc/fs; echo x >/etc/secret; echo done", linux={"maskedPaths": paths}).out == "done\n"


@case("linux: readonlyPaths", "cannot be written")
def readonly_paths(rt: Runtime) -> None:
    assert rt.run("touch /tmp/x; echo $?; touch /etc/x; echo $?", linux={"readonlyPaths": ["/tmp"]}).out == "1\n0\n"


@case("linux: mountLabel, apparmorProfile", "asked for where the kernel has none: an error")
def labels(rt: Runtime) -> None:
    if not os.path.exists("/sys/module/apparmor"):
        assert rt.run(process={"apparmorProfile": "none-such"}).code != 0


@case("linux: personality", "LINUX32 is what uname shows")
def personality(rt: Runtime) -> None:
    if os.uname().machine == "x86_64":
        assert rt.run("uname -m", linux={"personality": {"domain": "LINUX32"}}).out == "i686\n"
    assert rt.run(linux={"personality": {"domain": "OTHER"}}).code != 0


@case("linux: memoryPolicy", "is the program's; an unknown mode is an error")
def memory_policy(rt: Runtime) -> None:
    policy = {"mode": "MPOL_BIND", "nodes": "0"}
    assert "bind:0" in rt.run("cat /proc/self/numa_maps", linux={"memoryPolicy": policy}).out
    assert rt.run(linux={"memoryPolicy": {"mode": "MPOL_OTHER"}}).code != 0


@case("linux: intelRdt", "without a mounted resctrl it is an error")
def intel_rdt(rt: Runtime) -> None:
    assert rt.run(linux={"intelRdt": {"closID": "one"}}).code != 0


@case("linux: netDevices", "a device is moved into the container and set up")
def net_devices(rt: Runtime) -> None:
    import subprocess

    link = f"it{os.getpid() % 100000}"
    subprocess.run(["ip", "link", "add", link, "type", "veth", "peer", "name", f"{link}p"], check=True)
    try:
        found = rt.run("cat /sys/class/net/inside/flags", linux={"netDevices": {link: {"name": "inside"}}})
        assert int(found.out, 16) & 1
    finally:
        subprocess.run(["ip", "link", "del", link], check=False, stderr=subprocess.DEVNULL)


# ---- runtime.md ---------------------------------------------------------------------------------------------------------


@case("runtime: state", "ociVersion, id, status, pid, bundle; one that does not exist is an error")
def state(rt: Runtime) -> None:
    assert rt.create("sleep 60").code == 0
    told = rt.state()
    assert (told["id"], told["status"], told["bundle"]) == (rt.id, "created", str(rt.bundle)) and told["pid"] > 0
    assert rt.start().code == 0 and rt.state()["status"] == "running"
    assert rt.command("kill", rt.id, "KILL").code == 0
    rt.wait("stopped")
    assert rt.command("state", "none-such").code != 0 and rt.command("state").code != 0


@case("runtime: create", "the program does not run before start; later changes of config.json have no effect")
def create(rt: Runtime) -> None:
    assert rt.create("echo ran; sleep 60").code == 0
    (rt.bundle / "config.json").write_text("{}")
    assert rt.output() == ""
    assert rt.start().code == 0
    for _ in range(100):
        if rt.output():
            break
        rt.state()
    assert rt.output() == "ran\n"


@case("runtime: create", "an id that exists, or cannot be one, is an error that changes nothing")
def create_twice(rt: Runtime) -> None:
    assert rt.create("sleep 60").code == 0
    before = rt.state()
    assert rt.command("create", rt.id).code != 0 and rt.state() == before
    for id in ("../x", "a/b", "", "."):
        assert rt.command("create", id).code != 0


@case("runtime: start", "only of a created container")
def start_twice(rt: Runtime) -> None:
    assert rt.create("sleep 60").code == 0 and rt.start().code == 0
    pid = rt.state()["pid"]
    assert rt.start().code != 0 and rt.state()["pid"] == pid
    assert rt.command("start", "none-such").code != 0 and rt.command("start").code != 0


@case("runtime: kill", "sends the signal, by name and number; not to one that has stopped")
def kill(rt: Runtime) -> None:
    assert rt.create("trap 'echo got' USR1; echo ready; while :; do sleep 0.05; done").code == 0
    assert rt.start().code == 0
    for signal in ("USR1", "10", "SIGUSR1"):
        before = rt.output().count("got")
        while "ready" not in rt.output():
            pass
        assert rt.command("kill", rt.id, signal).code == 0
        for _ in range(200):
            if rt.output().count("got") > before:
                break
            rt.state()
        assert rt.output().count("got") > before, signal
    assert rt.command("kill", rt.id, "KILL").code == 0
    rt.wait("stopped")
    assert rt.command("kill", rt.id, "KILL").code != 0 and rt.command("kill", rt.id, "NONE").code != 0


@case("runtime: delete", "only of a stopped container; --force ends it first")
def delete(rt: Runtime) -> None:
    assert rt.create("sleep 60").code == 0 and rt.start().code == 0
    assert rt.command("delete", rt.id).code != 0 and rt.state()["status"] == "running"
    assert rt.command("delete", "--force", rt.id).code == 0
    assert rt.command("state", rt.id).code != 0
    assert rt.command("delete", rt.id).code != 0 and rt.command("delete", "--force", rt.id).code == 0


@case("runtime: errors", "a failing create leaves no cgroup and no state")
def create_fails(rt: Runtime) -> None:
    assert rt.create(linux={"devices": [{"path": "/dev/x", "type": "q"}]}).code != 0
    assert rt.create(["none-such"]).code != 0
    for id in rt.ids:
        assert rt.command("state", id).code != 0 and not cgroup_folder(id, "memory").exists()


@case("runc: run", "ends with the program's code, 128 + n for a signal")
def exit_codes(rt: Runtime) -> None:
    assert rt.run("exit 42").code == 42
    assert rt.run("kill -TERM $$; sleep 5", linux={"namespaces": namespaces(without=("pid",))}).code == 143


@case("runc: exec", "another process in the container, with its own code")
def exec_(rt: Runtime) -> None:
    assert rt.create("sleep 60").code == 0 and rt.start().code == 0
    found = rt.command(
        "exec",
        "--env",
        "A=b",
        "--cwd",
        "/tmp",
        "--user",
        "7:8",
        rt.id,
        "sh",
        "-c",
        "echo $A; pwd; id -u; id -g; hostname; exit 6",
    )
    assert (found.code, found.out.split()) == (6, ["b", "/tmp", "7", "8", "conformance"])
    process = {"args": ["sh", "-c", "echo $X; exit 9"], "cwd": "/", "env": ["PATH=/bin", "X=y"], "user": {"uid": 0, "gid": 0}}
    (rt.folder / "process.json").write_text(json.dumps(process))
    found = rt.command("exec", "--process", str(rt.folder / "process.json"), rt.id)
    assert (found.code, found.out) == (9, "y\n")
    assert rt.command("exec", rt.id, "none-such").code == 255


@case("runc: pause, resume", "freeze and thaw all of its processes")
def pause(rt: Runtime) -> None:
    assert rt.create("sleep 60").code == 0 and rt.start().code == 0
    assert rt.command("pause", rt.id).code == 0 and rt.state()["status"] == "paused"
    assert rt.command("exec", rt.id, "true").code == 255
    assert rt.command("resume", rt.id).code == 0 and rt.state()["status"] == "running"
    assert rt.command("pause", rt.id).code == 0 and rt.command("delete", "--force", rt.id).code == 0


@case("runc: update", "changes limits of a running container")
def update(rt: Runtime) -> None:
    assert rt.create("sleep 60").code == 0 and rt.start().code == 0
    assert rt.command("update", "--memory", "67108864", "--pids-limit", "33", rt.id).code == 0
    limit = "memory.limit_in_bytes" if CGROUP1 else "memory.max"
    assert (cgroup_folder(rt.id, "memory") / limit).read_text() == "67108864\n"
    assert (cgroup_folder(rt.id, "pids") / "pids.max").read_text() == "33\n"
    (rt.folder / "r.json").write_text(json.dumps({"memory": {"limit": 33554432}, "cpu": {"shares": 2}}))
    assert rt.command("update", "--resources", str(rt.folder / "r.json"), rt.id).code == 0
    shares = ("cpu.shares", "2\n") if CGROUP1 else ("cpu.weight", "1\n")
    assert (cgroup_folder(rt.id, "cpu") / shares[0]).read_text() == shares[1]


@case("runc: list, ps, events", "the shapes that engines parse")
def shapes(rt: Runtime) -> None:
    assert rt.create("sleep 60").code == 0 and rt.start().code == 0
    rows = json.loads(rt.command("list", "--format", "json").out)
    row = next(row for row in rows if row["id"] == rt.id)
    assert {"ociVersion", "id", "pid", "status", "bundle", "created", "owner"} <= set(row)
    assert json.loads(rt.command("ps", "--format", "json", rt.id).out) == [row["pid"]]
    assert rt.id in rt.command("list").out and rt.command("list", "-q").out.split() == [rt.id]
    event = json.loads(rt.command("events", "--stats", rt.id).out)
    assert event["type"] == "stats" and event["data"]["memory"]["usage"]["usage"] > 0 and event["data"]["pids"]["current"] == 1


@case("runc: --log-format json", "the last error is there for engines")
def log_format(rt: Runtime) -> None:
    log = rt.folder / "log.json"
    id = rt.write({"process": {"args": ["none-such"]}})
    assert rt.command("--log", str(log), "--log-format", "json", "create", id).code != 0
    last = json.loads(log.read_text().splitlines()[-1])
    assert last["level"] == "error" and "executable file not found" in last["msg"] and last["time"]


@case("runc: --pid-file", "holds the pid when create returns")
def pid_file(rt: Runtime) -> None:
    assert rt.create("sleep 60", "--pid-file", str(rt.folder / "pid")).code == 0
    assert int((rt.folder / "pid").read_text()) == rt.state()["pid"]


@case("runc: --no-pivot, --no-new-keyring", "are understood")
def no_pivot(rt: Runtime) -> None:
    assert rt.run("echo ran; ls /work /root 2>/dev/null", "--no-pivot", "--no-new-keyring").out == "ran\n"


@case("features", "the structure says what the runtime knows")
def features(rt: Runtime) -> None:
    told = json.loads(rt.command("features").out)
    assert told["ociVersionMin"] and told["ociVersionMax"] and "rro" in told["mountOptions"]
    assert "seccomp" in told["linux"] and {"prestart", "createContainer", "poststop"} <= set(told["hooks"])
