"""An ordinary user with one mapped id: no privilege, no limits, no help."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from inception.runtime import cli, cli_control, cli_create, cli_process, cli_show, cli_spec  # noqa: F401 (imported while we may read them)
from inception.runtime.cli import run

from .harness import APPLETS

pytestmark = pytest.mark.needs("root", "busybox")
USER = 54321


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(f"/tmp/itest-rootless-{os.getpid()}")
    (folder / "bundle/rootfs/bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", folder / "bundle/rootfs/bin/busybox")
    for applet in APPLETS.split():
        (folder / "bundle/rootfs/bin" / applet).symlink_to("busybox")
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, USER, USER, follow_symlinks=False)
    yield folder
    as_user(folder, "delete", "--force", "one")
    shutil.rmtree(folder)


def as_user(folder: Path, *words: str, ranges: str = "", as_its_root: bool = False) -> int:
    """Run our command line as USER, in a process of its own; its exit code. Output goes to files in *folder*.

    *ranges* is what /etc/subuid and /etc/subgid give to the user. *as_its_root*: it is root in a user namespace of its own.
    """
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            if ranges:
                _give_ranges(folder, ranges)
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
            if as_its_root:
                _become_its_root()
            os.chdir(folder / "bundle")
            for fd, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), fd)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            code = run(["--root", f"{folder}/root", *words])
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _become_its_root() -> None:
    """As `unshare --user --map-root-user`."""
    user, libc = 0x10000000, ctypes.CDLL(None, use_errno=True)
    # Files of a process that gave up its root belong to root until it may be dumped again (proc(5)).
    assert libc.prctl(4, 1, 0, 0, 0) == 0 and libc.unshare(user) == 0
    for file, text in (("setgroups", "deny"), ("uid_map", f"0 {USER} 1"), ("gid_map", f"0 {USER} 1")):
        Path(f"/proc/self/{file}").write_text(text)


def _give_ranges(folder: Path, ranges: str) -> None:
    """In a mount namespace of our own, the helpers find a user with these ranges."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_mounts, private, recursive, bind = 0x20000, 1 << 18, 1 << 14, 1 << 12
    assert libc.unshare(new_mounts) == 0 and libc.mount(None, b"/", None, private | recursive, None) == 0
    passwd = f"{Path('/etc/passwd').read_text()}itest:x:{USER}:{USER}::/:/bin/sh\n"
    for name, text in (("passwd", passwd), ("subuid", f"itest:{ranges}\n"), ("subgid", f"itest:{ranges}\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
        assert libc.mount(bytes(folder / name), f"/etc/{name}".encode(), None, bind, None) == 0


def change(folder: Path, *args: str) -> None:
    path = folder / "bundle/config.json"
    spec = json.loads(path.read_text())
    spec["process"].update(args=list(args), terminal=False)
    path.write_text(json.dumps(spec))


def test_a_user_runs_a_container_as_its_root(folder: Path):
    assert as_user(folder, "spec", "--rootless") == 0
    change(folder, "sh", "-c", "id -u; cat /proc/self/uid_map; hostname; exit 5")
    assert as_user(folder, "run", "one") == 5
    assert (folder / "out").read_text().split() == ["0", "0", str(USER), "1", "inception"]


def test_a_user_execs_kills_and_deletes(folder: Path):
    assert as_user(folder, "spec", "--rootless") == 0
    change(folder, "sleep", "60")
    assert as_user(folder, "run", "--detach", "one") == 0
    assert as_user(folder, "exec", "one", "sh", "-c", "exit 7") == 7
    assert as_user(folder, "delete", "--force", "one") == 0
    assert as_user(folder, "state", "one") == 1


def test_without_a_cgroup_the_pid_namespace_tells_what_belongs_to_a_container(folder: Path):
    assert as_user(folder, "spec", "--rootless") == 0
    change(folder, "sh", "-c", "trap 'exit 5' HUP; sleep 60 & sleep 61 & wait")
    assert as_user(folder, "run", "--detach", "one") == 0
    deadline = time.monotonic() + 10
    found: list[int] = []
    while len(found) < 3 and time.monotonic() < deadline:
        assert as_user(folder, "ps", "--format", "json", "one") == 0
        found = json.loads((folder / "out").read_text())
    assert sorted(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[-2][:2] for pid in found[1:]) == [b"60", b"61"]
    assert as_user(folder, "pause", "one") == 1
    assert (folder / "err").read_text().startswith("unable to freeze: the container has no cgroup")
    assert as_user(folder, "kill", "--all", "one", "KILL") == 0
    while as_user(folder, "state", "one") == 0 and json.loads((folder / "out").read_text())["status"] != "stopped":
        assert time.monotonic() < deadline
    assert not any(Path(f"/proc/{pid}").exists() for pid in found[1:])


def test_a_limit_that_a_user_cannot_set_is_an_error(folder: Path):
    assert as_user(folder, "spec", "--rootless") == 0
    path = folder / "bundle/config.json"
    spec = json.loads(path.read_text())
    spec["linux"]["resources"] = {"memory": {"limit": 1 << 26}}
    path.write_text(json.dumps(spec))
    change(folder, "true")
    assert as_user(folder, "run", "one") == 1
    assert "linux.resources" in (folder / "err").read_text()


def test_a_user_who_says_that_it_is_not_rootless_needs_a_cgroup(folder: Path):
    assert as_user(folder, "spec", "--rootless") == 0
    change(folder, "true")
    assert as_user(folder, "--rootless=false", "run", "one") == 1
    assert "cgroup" in (folder / "err").read_text()
    for word in ("--rootless=true", "--rootless=auto", "--rootless="):
        assert as_user(folder, word, "run", "one") == 0, (word, (folder / "err").read_text())
    assert as_user(folder, "--rootless=perhaps", "run", "one") == 1
    assert "invalid value 'perhaps' for flag -rootless: expected true, false or auto" in (folder / "err").read_text()


def test_root_of_a_users_own_namespace_is_no_root_of_cgroups(folder: Path):
    assert as_user(folder, "spec") == 0
    change(folder, "sh", "-c", "id -u; exit 6")
    path = folder / "bundle/config.json"
    spec = json.loads(path.read_text())
    spec["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    for mount in spec["mounts"]:
        mount["options"] = [option for option in mount.get("options", []) if option != "gid=5"]  # is not mapped
    path.write_text(json.dumps(spec))
    assert as_user(folder, "run", "one", as_its_root=True) == 6, (folder / "err").read_text()
    assert (folder / "out").read_text() == "0\n"
    assert as_user(folder, "--rootless=false", "run", "one", as_its_root=True) == 1
    assert "cgroup" in (folder / "err").read_text()


def with_ranges(folder: Path, size: int = 1000) -> None:
    path = folder / "bundle/config.json"
    spec = json.loads(path.read_text())
    maps = [{"containerID": 0, "hostID": USER, "size": 1}, {"containerID": 1, "hostID": 400000, "size": size}]
    spec["linux"].update(uidMappings=maps, gidMappings=maps)
    path.write_text(json.dumps(spec))


@pytest.mark.needs("newuidmap")
def test_a_user_with_ranges_runs_a_container_with_many_ids(folder: Path):
    assert as_user(folder, "spec", "--rootless") == 0
    with_ranges(folder)
    change(folder, "sh", "-c", "id -u; echo x >/tmp/x; chown 5:7 /tmp/x; stat -c %u:%g /tmp/x; cat /proc/self/uid_map")
    path = folder / "bundle/config.json"
    spec = json.loads(path.read_text())
    spec["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), ("CAP_CHOWN",))
    spec["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
    path.write_text(json.dumps(spec))
    assert as_user(folder, "run", "one", ranges="400000:1000") == 0, (folder / "err").read_text()
    shown = (folder / "out").read_text().split()
    assert shown[:2] == ["0", "5:7"] and shown[2:] == ["0", str(USER), "1", "1", "400000", "1000"]


@pytest.mark.needs("newuidmap")
def test_a_range_that_is_somebody_elses_is_refused_and_leaves_nothing(folder: Path):
    assert as_user(folder, "spec", "--rootless") == 0
    with_ranges(folder, 2000)
    change(folder, "true")
    assert as_user(folder, "run", "one", ranges="400000:1000") == 1
    assert "newuidmap refuses the map" in (folder / "err").read_text()
    assert as_user(folder, "state", "one") == 1


@pytest.mark.needs("newuidmap")
def test_in_a_container_with_ranges_an_exec_has_any_of_its_users(folder: Path):
    assert as_user(folder, "spec", "--rootless") == 0
    with_ranges(folder)
    change(folder, "sleep", "60")
    assert as_user(folder, "run", "--detach", "one", ranges="400000:1000") == 0
    assert as_user(folder, "exec", "--user", "33:33", "one", "id", "-u") == 0
    assert (folder / "out").read_text() == "33\n"
    assert as_user(folder, "kill", "one", "KILL") == 0
    assert as_user(folder, "delete", "--force", "one") == 0


@pytest.mark.parametrize("own_cgroup_namespace", [True, False])
def test_cve_2023_25809_a_delegated_cgroup_of_the_host_is_read_only(folder: Path, own_cgroup_namespace: bool):
    assert as_user(folder, "spec", "--rootless") == 0
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    places = [Path(words[1], f"itest-{os.getpid()}-mine") for words in mounts if words[2] in ("cgroup", "cgroup2")]
    path = folder / "bundle/config.json"
    spec = json.loads(path.read_text())
    spec["linux"]["namespaces"] = [space for space in spec["linux"]["namespaces"] if space["type"] != "cgroup"]
    if own_cgroup_namespace:
        spec["linux"]["namespaces"].append({"type": "cgroup"})
    path.write_text(json.dumps(spec))
    found = f"/sys/fs/cgroup/{places[0].name} /sys/fs/cgroup/*/{places[0].name}"  # pure v2, and with hierarchies of v1
    change(folder, "sh", "-c", f"for folder in {found}; do mkdir $folder/x && echo made; done; true")
    try:
        for place in places:
            place.mkdir()
            os.chown(place, USER, USER)
        assert as_user(folder, "run", "one") == 0, (folder / "err").read_text()
        assert (folder / "out").read_text() == ""
        assert not [place for place in places if (place / "x").exists()]
        assert "Read-only" in (folder / "err").read_text()
    finally:
        for place in places:
            place.rmdir()
