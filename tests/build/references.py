"""Other builders, as judges: dockerd's classic one, BuildKit as it is inside dockerd, and buildah. What they built is read with
the same eyes as ours: it is loaded into a store, and looked at there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

from inception.oci.image import ImageDocument
from inception.record import encode

from .conftest import Builder

_DOCKERD = Path(__file__).parents[2] / "bench/dockerd"
DEBIAN_DOCKER = "/usr/bin/docker"
# What engines put into every container of theirs, and take along when they commit one.
_ENGINES_OWN = (".dockerenv", "run", "dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf")
_FIELDS = [
    "env",
    "cmd",
    "entrypoint",
    "working_dir",
    "user",
    "exposed_ports",
    "volumes",
    "labels",
    "stop_signal",
    "healthcheck",
    "on_build",
    "shell",
]


class Reference:
    """A builder whose command line begins with `base`."""

    def __init__(self, base: list[str], *build: str, buildkit: bool = False) -> None:
        self.base = base
        self._build = build
        self._buildkit = buildkit

    def build(self, context: Path, options: list[str], archive: Path) -> None:
        self.run("build", *self._build, "-q", "-t", "case", *options, str(context))
        if self.base[0] != "buildah":
            self.run("save", "-o", str(archive), "case")
            self.run("rmi", "-f", "case")
        else:
            self.run("push", "-q", "localhost/case", f"docker-archive:{archive}:case:latest")

    def run(self, *words: str) -> None:
        done = subprocess.run(
            [*self.base, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "DOCKER_BUILDKIT": str(int(self._buildkit))},
            text=True,
            errors="replace",
            timeout=120,
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout[-2000:]}"


def start_docker(folder: Path, busybox: Path) -> Reference:
    subprocess.run([_DOCKERD, "start", folder], check=True, stdin=subprocess.DEVNULL)
    docker = Reference(["docker", "-H", f"unix://{folder}/docker.sock"])
    docker.run("load", "-i", str(busybox))
    return docker


def buildkit_of(docker: Reference) -> Reference:
    """The same dockerd's other builder. Debian's client speaks to it by itself; later ones need a plugin for that."""
    return Reference([DEBIAN_DOCKER, *docker.base[1:]], buildkit=True)


def stop_docker(folder: Path) -> None:
    subprocess.run([_DOCKERD, "stop", folder], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def start_buildah(folder: Path, busybox: Path) -> Reference:
    roots = ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "overlay"]
    buildah = Reference(["buildah", *roots], "--isolation", "chroot")
    buildah.run("pull", "-q", f"docker-archive:{busybox}")
    return buildah


def stop_buildah(folder: Path, buildah: Reference) -> None:
    buildah.run("rmi", "-af")
    subprocess.run(["umount", f"{folder}/root/overlay"], stderr=subprocess.DEVNULL, check=False)


def picture(builder: Builder, image: str) -> dict[str, str]:
    """Every path of an image with what it is, and every field of its configuration."""
    found = {}
    image_found = builder.engine.images.get(image)
    with builder.engine.store.snapshots.open_layers(image_found.layer_ids) as root:
        top = root.open(".", os.O_RDONLY | os.O_DIRECTORY)
        digests: dict[int, str] = {}  # by inode: busybox has three hundred names
        try:
            for folder, folders, files, fd in os.fwalk(".", dir_fd=top, follow_symlinks=False):
                for name in [*folders, *files]:
                    path = f"{folder}/{name}".removeprefix("./")
                    if not any(path == own or path.startswith(f"{own}/") for own in _ENGINES_OWN):
                        found[f"tree {path}"] = _describe(name, fd, digests)
        finally:
            os.close(top)
    config = image_found.document.config
    config.labels.pop("io.buildah.version", None)
    for field in _FIELDS:
        value = getattr(config, field)
        found[f"config {field}"] = json.dumps(encode(value), sort_keys=True) if value else ""
    found["history"] = " ".join(_keywords(image_found.document))
    return found


def _describe(name: str, fd: int, digests: dict[int, str]) -> str:
    entry = os.stat(name, dir_fd=fd, follow_symlinks=False)
    line = f"{stat.filemode(entry.st_mode)} {entry.st_uid}:{entry.st_gid}"
    if stat.S_ISLNK(entry.st_mode):
        return f"{line} -> {os.readlink(name, dir_fd=fd)}"
    if stat.S_ISREG(entry.st_mode):
        if entry.st_ino not in digests:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
            digests[entry.st_ino] = hashlib.sha256(os.read(file, 8 << 20)).hexdigest()[:12]
            os.close(file)
        return f"{line} {entry.st_size} {digests[entry.st_ino]}"
    return f"{line} {entry.st_rdev}" if stat.S_ISCHR(entry.st_mode) or stat.S_ISBLK(entry.st_mode) else line


def _keywords(document: ImageDocument) -> list[str]:
    """The instructions of a history: `RUN`, `COPY`, `ENV`, ..."""
    found = []
    for entry in document.history:
        text = entry.created_by
        marker = "#(nop) "
        text = text.partition(marker)[2].strip() if marker in text else text
        word = text.split(" ", 1)[0]
        found.append(word if word.isupper() else "RUN")
    return found
