"""More cases: what hooks, engines and the field's own suites take for granted, though no clause says so."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from .cases import case
from .field_cases import CASES
from .harness import CGROUP1, Runtime, cgroup_folder, mounts, namespaces

__all__ = ["CASES"]


# ---- hooks that bring files along ---------------------------------------------------------------------------------------


@case("config: createRuntime hooks", "enter the container's mount namespace, where the root is at its own path beside the host")
def hook_enters(rt: Runtime) -> None:
    (rt.folder / "driver").write_text("of the host")
    into = f"{rt.rootfs}/tmp/driver"
    enter = f"nsenter --mount --target ${{pid%%,*}} mount --bind {rt.folder}/driver {into}"
    script = f"read -r state; pid=${{state#*'\"pid\":'}}; {enter}"
    (rt.rootfs / "tmp/driver").touch()
    for kind in ("prestart", "createRuntime"):
        found = rt.run("cat /tmp/driver", hooks={kind: [{"path": "/bin/sh", "args": ["sh", "-c", script]}]})
        assert found.out == "of the host", found
    assert (rt.rootfs / "tmp/driver").read_text() == ""


@case("config: createContainer hooks", "run where the root is, with all that is mounted in it also at the root's own path")
def hook_in_root(rt: Runtime) -> None:
    (rt.folder / "driver").write_text("mounted")
    bind = {"destination": "/tmp/driver", "source": str(rt.folder / "driver"), "options": ["bind"]}
    script = f"cat tmp/driver {rt.rootfs}/tmp/driver >{rt.folder}/seen"
    assert rt.run(hooks={"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}, mounts=mounts(bind)).code == 0
    assert (rt.folder / "seen").read_text() == "mountedmounted"


@case("config: createRuntime hooks", "run where the bundle is")
def hook_in_bundle(rt: Runtime) -> None:
    hooks = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "pwd >where"]}]}
    id = rt.write({"process": {"args": ["true"]}, "hooks": hooks})
    (rt.folder / "elsewhere").mkdir()
    argv = ["run", "--bundle", "../bundle", id]
    assert rt.command(*argv, cwd=rt.folder / "elsewhere").code == 0
    assert (rt.bundle / "where").read_text() == f"{rt.bundle}\n"


# ---- options of mounts --------------------------------------------------------------------------------------------------


@case("config: mount options", "rro of a filesystem of its own makes it read-only")
def mount_rro_tmpfs(rt: Runtime) -> None:
    tmpfs = {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["rro", "rnoexec"]}
    found = rt.run("grep -o ' /tmp tmpfs [^ ]*' /proc/mounts; touch /tmp/x || echo refused", mounts=mounts(tmpfs)).out
    assert "ro," in found and "noexec" in found and found.endswith("refused\n"), found


@case("crun: mount options", "copy-symlink of a source that is a link makes that link; of any other it is a bind mount")
def mount_copy_symlink(rt: Runtime) -> None:
    (rt.folder / "link").symlink_to("points/nowhere")
    (rt.folder / "file").write_text("bound")
    both = [
        {"destination": place, "source": str(rt.folder / name), "options": ["rbind", "copy-symlink"]}
        for place, name in (("/tmp/a/link", "link"), ("/tmp/file", "file"))
    ]
    assert rt.run("readlink /tmp/a/link; cat /tmp/file", mounts=mounts(*both)).out == "points/nowhere\nbound"


# ---- descriptors --------------------------------------------------------------------------------------------------------


@case("runc: --preserve-fds", "passes on those that are there, each at its own number, and nothing of the runtime's")
def preserved_gaps(rt: Runtime) -> None:
    with (rt.folder / "given").open("w") as given:
        fds = tuple(fcntl.fcntl(given, fcntl.F_DUPFD, least) for least in (40, 60))
        try:
            assert "preserved-fd 0" in rt.run("true", "--preserve-fds", "1", fds=fds).err
            found = rt.run("ls /proc/self/fd", "--preserve-fds", "100", fds=fds)
            assert found.out.split() == ["0", "1", "2", "3", *map(str, fds)], found  # 3 is ls's own
            assert rt.create("sleep 60").code == 0 and rt.start().code == 0
            found = rt.command("exec", "--preserve-fds", "100", rt.id, "ls", "/proc/self/fd", fds=fds)
            assert found.out.split() == ["0", "1", "2", "3", *map(str, fds)], found
        finally:
            for fd in fds:
                os.close(fd)


# ---- the host's mount namespace -----------------------------------------------------------------------------------------


@case("linux: namespaces", "without a mount namespace the root is a folder all the same")
def host_mounts(rt: Runtime) -> None:
    linux = {"namespaces": namespaces(without=("mount",))}
    found = rt.run("ls -d /bin /etc/passwd 2>&1; grep -c ' /proc proc' /proc/mounts", linux=linux)
    assert found.code == 0 and "/bin\n" in found.out and "/etc/passwd: No such" in found.out, found


@case("runtime: errors", "a failing create leaves no mount where the container has no mount namespace")
def host_mounts_undone(rt: Runtime) -> None:
    script = f"grep -c ' {rt.rootfs}' /proc/mounts >{rt.folder}/left"
    hooks = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"{script}.before; exit 1"]}],
        "poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"{script}; true"]}],
    }
    assert rt.run(hooks=hooks, linux={"namespaces": namespaces(without=("mount",))}).code != 0
    assert int((rt.folder / "left.before").read_text()) > 1
    assert (rt.folder / "left").read_text() == "0\n"


@case("runc: exec", "in a container without a mount namespace is in its root")
def host_mounts_exec(rt: Runtime) -> None:
    assert rt.create("sleep 60", linux={"namespaces": namespaces(without=("mount",))}).code == 0 and rt.start().code == 0
    found = rt.command("exec", rt.id, "sh", "-c", "readlink /bin/sh; test -e /etc/passwd || echo none")
    assert found.out == "busybox\nnone\n", found


# ---- user namespaces ----------------------------------------------------------------------------------------------------


@case("linux: uidMappings", "need not have a root: the container is made by the first id that they have, exec joins it")
def no_root_inside(rt: Runtime) -> None:
    for path in (rt.rootfs, *rt.rootfs.rglob("*")):
        os.chown(path, 100000, 200000, follow_symlinks=False)
    linux = {
        "namespaces": namespaces("user"),
        "uidMappings": [{"containerID": 1000, "hostID": 100000, "size": 1}],
        "gidMappings": [{"containerID": 1000, "hostID": 200000, "size": 1}],
    }
    process = {"user": {"uid": 1000, "gid": 1000}}
    found = rt.run("id -u; id -g; cat /proc/self/uid_map", linux=linux, process=process)
    assert found.out.split() == ["1000", "1000", "1000", "100000", "1"], found
    assert rt.create("sleep 60", linux=linux, process=process).code == 0 and rt.start().code == 0
    assert rt.command("exec", rt.id, "sh", "-c", "id -u; id -g").out == "1000\n1000\n"


# ---- spelling and words -------------------------------------------------------------------------------------------------


@case("config: extensibility", "a property in another case is that property, as it is for programs in Go")
def other_case(rt: Runtime) -> None:
    changes = {"process": {"Args": ["echo", "seen"], "args": None}, "HostName": "spelt", "hostname": None}
    id = rt.write(changes)
    assert rt.command("run", id).out == "seen\n"
    linux = {"resources": {"pids": {"LIMIT": 77}}}
    id = rt.write({"process": {"args": ["hostname"]}, "hostname": None, "HOSTNAME": "spelt", "linux": linux})
    assert rt.command("run", id).out == "spelt\n"
    linux = {"resources": {"pids": {"limit": 77}, "CPU": {"SHARES": 300}, "cpu": {"Shares": 400, "cpus": "0"}}}
    assert rt.create("sleep 60", linux=linux).code == 0
    assert (cgroup_folder(rt.id, "cpuset") / "cpuset.cpus").read_text() == "0\n"
    if CGROUP1:
        assert (cgroup_folder(rt.id, "cpu") / "cpu.shares").read_text() == "400\n"


@case("runc: run, exec", "a script whose interpreter is missing is said in one line, as the kernel says it")
def no_interpreter(rt: Runtime) -> None:
    (rt.rootfs / "script").write_text("#!/missing\n")
    (rt.rootfs / "script").chmod(0o755)
    found = rt.run(["/script"])
    assert found.code != 0 and found.err == "exec /script: no such file or directory\n", found


@case("linux: memoryPolicy", "an error says which part of it is invalid; an empty one is none")
def memory_policy_words(rt: Runtime) -> None:
    assert rt.run(linux={"memoryPolicy": {}}).code == 0
    assert rt.run(linux={"memoryPolicy": {"mode": "MPOL_DEFAULT"}}).code == 0
    wrong = {
        "mode": {"nodes": "0"},
        "flag": {"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["badflag"]},
        "node": {"mode": "MPOL_BIND", "nodes": "0-9876543210"},
    }
    for part, policy in wrong.items():
        found = rt.run(linux={"memoryPolicy": policy})
        assert found.code == 1 and f"invalid memory policy {part}" in found.err, (part, found)
    found = rt.run(linux={"memoryPolicy": {"mode": "MPOL_DEFAULT", "nodes": "0"}})
    assert found.code == 1 and "set_mempolicy" in found.err and "invalid argument" in found.err, found


@case("linux: seccomp.flags", "none said are SPEC_ALLOW, an empty list is none; the debug log has their number")
def seccomp_flags(rt: Runtime) -> None:
    wanted = [(None, 4), ([], 0), (["SECCOMP_FILTER_FLAG_LOG"], 2), (["SECCOMP_FILTER_FLAG_TSYNC"], 0)]
    for flags, number in wanted:
        seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}
        if flags is not None:
            seccomp["flags"] = flags
        id = rt.write({"process": {"args": ["true"]}, "linux": {"seccomp": seccomp}})
        found = rt.command("--debug", "run", id)
        assert f'"seccomp filter flags: {number}"' in found.err, (flags, found)


@case("features", "names the annotations that reach beyond a container, and says that there are checkpoints")
def features_annotations(rt: Runtime) -> None:
    told = json.loads(rt.command("features").out)
    assert "org.systemd.property." in told["potentiallyUnsafeConfigAnnotations"]
    assert told["annotations"]["org.opencontainers.runc.checkpoint.enabled"] == "true"


@case("runc: --log", "one that can't be written is an error")
def log_unwritable(rt: Runtime) -> None:
    found = rt.command("--log", "/nonexistent/log", "list")
    assert found.code == 1 and "/nonexistent/log: no such file or directory" in found.err, found


@case("runc: exec", "goes where init is, once the container's cgroup hands v2 controllers on to cgroups below it")
def exec_beside_init(rt: Runtime) -> None:
    assert rt.create("sleep 60").code == 0 and rt.start().code == 0
    root = Path("/sys/fs/cgroup/unified" if CGROUP1 else "/sys/fs/cgroup")
    own = root / rt.id
    below = own / "init.scope"
    below.mkdir()
    for pid in (own / "cgroup.procs").read_text().split():
        (below / "cgroup.procs").write_text(pid)
    controllers = (own / "cgroup.controllers").read_text().split()
    assert rt.command("exec", rt.id, "grep", f"^0::.*{rt.id}$", "/proc/self/cgroup").code == 0
    if controllers:  # else nothing can be handed on
        (own / "cgroup.subtree_control").write_text(f"+{controllers[0]}")
        found = rt.command("exec", rt.id, "grep", "^0::.*/init.scope$", "/proc/self/cgroup")
        assert found.code == 0, found
        found = rt.command("exec", "--cgroup", "/", rt.id, "true")
        assert found.code == 255 and "adding pid" in found.err and "device or resource busy" in found.err, found


@case("runc: exec --process", "may be a pipe, which can be read once only")
def process_pipe(rt: Runtime) -> None:
    assert rt.create("sleep 60").code == 0 and rt.start().code == 0
    text = json.dumps({"args": ["echo", "said"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}})
    for _ in range(3):  # what is done again may be done in another way
        reader, writer = os.pipe()
        os.write(writer, text.encode())
        os.close(writer)
        found = rt.command("exec", "--process", f"/dev/fd/{reader}", rt.id, fds=(reader,))
        os.close(reader)
        assert found.out == "said\n", found


@case("crun: create", "an id that cannot be one is called so with the character that it must not have")
def id_words(rt: Runtime) -> None:
    rt.write({})
    for id in (".", "..", ".hidden", "two words"):
        assert "invalid" in rt.command("run", id).err, id
    found = rt.command("run", "no/such/id")
    assert found.code == 1 and "invalid character `/` in the ID" in found.err, found


@case("runc: exec --cgroup", "one that leads out is called so, in the words of each version")
def cgroup_words(rt: Runtime) -> None:
    assert rt.create("sleep 60").code == 0 and rt.start().code == 0
    found = rt.command("exec", "--cgroup", "..", rt.id, "true")
    assert found.code == 255 and ".. is not a sub cgroup path" in found.err, found
