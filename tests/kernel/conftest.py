"""A busybox root and a way to run a program in a container of it, with nothing but the runtime."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from inception.linux.seccomp import compile_filter
from inception.oci.runtime import Capabilities, Linux, Mount, Namespace, Process, Spec
from inception.record import replace
from inception.runtime import defaults, plan_container, start

APPLETS = (
    "sh true false ls cat id sleep mount ps echo env stat readlink touch mkdir ln rm tty stty hostname kill head pwd dd wc"
)


class Box:
    """A root folder under an overlay, and what `run` needs to put a process in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.image = folder / "image"
        (self.image / "bin").mkdir(parents=True)
        (self.image / "etc").mkdir()
        shutil.copy("/bin/busybox", self.image / "bin/busybox")
        for name in APPLETS.split():
            (self.image / "bin" / name).symlink_to("busybox")
        for name in ("upper", "work"):
            (folder / name).mkdir()
        self.rootfs = Mount(
            destination="/",
            type="overlay",
            options=[f"lowerdir={self.image}", f"upperdir={folder}/upper", f"workdir={folder}/work"],
        )

    def script(self, name: str, text: str) -> None:
        path = self.image / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def spec(
        self, *args: str, process: dict[str, object] | None = None, linux: dict[str, object] | None = None, **more: object
    ):
        caps = defaults.DEFAULT_CAPABILITIES
        base = Process(
            cwd="/",
            args=list(args),
            env=["PATH=/bin"],
            capabilities=Capabilities(bounding=caps, effective=caps, permitted=caps),
        )
        kinds = ("pid", "mount", "uts", "ipc", "network", "cgroup")
        spaces = Linux(
            namespaces=[Namespace(type=kind) for kind in kinds],
            masked_paths=defaults.masked_paths(),
            readonly_paths=defaults.READONLY_PATHS,
        )
        return Spec(
            process=replace(base, **(process or {})),
            linux=replace(spaces, **(linux or {})),
            **{"mounts": defaults.default_mounts(), "hostname": "box", **more},
        )

    def plan(self, spec: Spec, **options: object):
        return plan_container(spec, rootfs=self.rootfs, **{"seccomp": docker_filter(), **options})  # type: ignore[arg-type]

    def run(self, *args: str, options: dict[str, object] | None = None, **changes: object) -> tuple[int, str]:
        """(exit code, output of both streams)."""
        return self.run_plan(self.plan(self.spec(*args, **changes), **(options or {})))  # type: ignore[arg-type]

    def run_plan(self, plan, fds: dict[str, int] | None = None) -> tuple[int, str]:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            child = start(plan, fds or {}, (null, writer, writer))
        finally:
            os.close(writer)
            os.close(null)
        with os.fdopen(reader, "rb") as file:
            output = file.read().decode(errors="replace")
        return wait(child.pidfd), output


_filter: list[bytes] = []


def docker_filter() -> bytes:
    if not _filter:
        _filter.append(compile_filter(defaults.default_seccomp(defaults.DEFAULT_CAPABILITIES)))
    return _filter[0]


def wait(pidfd: int) -> int:
    from inception.linux.process import reap

    try:
        return reap(pidfd)
    finally:
        os.close(pidfd)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)
