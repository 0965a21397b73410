"""A runtime under test, by its command line, on bundles that differ in one thing from a good one."""

from __future__ import annotations

import copy
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.waiting import wait_until

OURS = str(Path(sys.prefix) / "bin/inception-runc")  # as `make setup` makes it
PRIVATE = ["unshare", "--mount", "--propagation", "private"]
# It takes no machine whose cgroups are in the hybrid layout: in a mount namespace of its own the v2 hierarchy can go.
_CRUN = 'umount -l /sys/fs/cgroup/unified 2>/dev/null; exec crun "$@"'
COMMANDS = {"inception-runc": [OURS], "runc": ["runc"], "crun": [*PRIVATE, "sh", "-c", _CRUN, "crun"]}
APPLETS = """
    sh true false cat ls sleep echo id env mount stat touch hostname date kill head readlink tty stty grep mkdir rm ln pwd
    dd tail test ps chmod nproc wc mknod uname sort tr printf unlink
"""
CAPS = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_ADMIN",
]
_serial = itertools.count()

GOOD: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "process": {
        "user": {"uid": 0, "gid": 0},
        "args": ["true"],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "capabilities": {"bounding": CAPS, "effective": CAPS, "permitted": CAPS},
    },
    "root": {"path": "rootfs"},
    "hostname": "conformance",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    ],
    "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
}


#: Whether the controllers sit in hierarchies of their own, or all in one.
CGROUP1 = Path("/sys/fs/cgroup/memory").is_dir()


def cgroup_folder(path: str, controller: str) -> Path:
    """The folder of the cgroup *path* that has *controller*'s files."""
    return Path("/sys/fs/cgroup", controller if CGROUP1 else "", path)


def cgroups_named(pattern: str) -> list[Path]:
    """The folders with such a name at the roots of all hierarchies."""
    root = Path("/sys/fs/cgroup")
    return [path for path in [*root.glob(pattern), *root.glob(f"*/{pattern}")] if path.is_dir()]


class Result:
    """What a command gave. `out` is the container's stdout, or the command's own."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def __repr__(self) -> str:
        return f"<{self.code}: {self.out!r} {self.err!r}>"


class Runtime:
    """One runtime with a root and a bundle of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.root = folder / "root"
        self.bundle = folder / "bundle"
        self.rootfs = self.bundle / "rootfs"
        (self.rootfs / "bin").mkdir(parents=True)
        for name in ("proc", "dev", "sys", "tmp", "etc"):
            (self.rootfs / name).mkdir()
        shutil.copy("/bin/busybox", self.rootfs / "bin/busybox")
        for applet in APPLETS.split():
            (self.rootfs / "bin" / applet).symlink_to("busybox")
        self.ids: list[str] = []
        self.id = ""

    def command(
        self,
        *words: str,
        env: dict[str, str] | None = None,
        fds: tuple[int, ...] = (),
        stdout: str = "out",
        cwd: Path | None = None,
    ) -> Result:
        """Run the runtime; stdio are files, since a created container keeps what it was given."""
        argv = [*PRIVATE, *COMMANDS[self.name], "--root", str(self.root), *words]
        with open(self.folder / stdout, "w+") as out, open(self.folder / "err", "w+") as err:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=cwd or self.bundle,
                env={**os.environ, **(env or {})},
                pass_fds=fds,
                timeout=30,
            )
            out.seek(0)
            err.seek(0)
            return Result(done.returncode, out.read(), err.read())

    def write(self, changes: dict[str, Any]) -> str:
        """Write config.json with *changes* laid over the good one (None removes); a new id."""
        self.id = f"itest-{os.getpid()}-{next(_serial)}"
        self.ids.append(self.id)
        spec = _overlay(copy.deepcopy(GOOD), {"linux": {"cgroupsPath": f"/{self.id}"}})
        (self.bundle / "config.json").write_text(json.dumps(_overlay(spec, changes)))
        return self.id

    def run(self, script: str | list[str] = "true", *options: str, fds: tuple[int, ...] = (), **changes: Any) -> Result:
        """`run` with the script (or words) as its program."""
        id = self.write(_with_args(changes, script))
        return self.command("run", *options, id, fds=fds)

    def create(self, script: str | list[str] = "true", *options: str, **changes: Any) -> Result:
        """`create` of a new container, whose id is `self.id` then."""
        id = self.write(_with_args(changes, script))
        return self.command("create", *options, id, stdout="container")

    def start(self) -> Result:
        """`start` of the last one."""
        return self.command("start", self.id)

    def state(self) -> dict[str, Any]:
        """`state` of the last one."""
        found: dict[str, Any] = json.loads(self.command("state", self.id).out)
        return found

    def output(self) -> str:
        """What the container that was created last has written so far."""
        return (self.folder / "container").read_text()

    def wait(self, status: str) -> None:
        """Until the last container is in *status*."""
        wait_until(lambda: self.state()["status"] == status, f"the container is {status}")

    def close(self) -> None:
        """Remove every container of this runtime."""
        for id in self.ids:
            self.command("delete", "--force", id)


def _with_args(changes: dict[str, Any], script: str | list[str]) -> dict[str, Any]:
    args = ["sh", "-c", script] if isinstance(script, str) else script
    return _overlay({"process": {"args": args}}, changes)


def _overlay(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for key, value in changes.items():
        if value is None:
            base.pop(key, None)
        elif isinstance(value, dict) and isinstance(base.get(key), dict):
            _overlay(base[key], value)
        else:
            base[key] = value
    return base


def mounts(*more: dict[str, Any]) -> list[dict[str, Any]]:
    """The good mounts and *more*."""
    return [*copy.deepcopy(GOOD["mounts"]), *more]


def namespaces(*more: str | dict[str, str], without: tuple[str, ...] = ()) -> list[dict[str, str]]:
    """The good namespaces, those in *more* added or put in place of their kind."""
    found = {space["type"]: space for space in GOOD["linux"]["namespaces"] if space["type"] not in without}
    for space in more:
        entry = {"type": space} if isinstance(space, str) else space
        found[entry["type"]] = entry
    return list(found.values())
