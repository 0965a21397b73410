"""Builds beside dockerd's builder and buildah: a Dockerfile of five stages of which two can run side by side, and a context of
50,000 files.

docker is its classic builder, buildkit the other one of the same dockerd: Debian's client speaks to it by itself, later ones
want a plugin. buildah runs its steps in a chroot, the quickest way it knows. What is still to be written is written before each
run: only ours waits for its layers to be on the disk, and would wait for the others' as well.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable

from bench.cases import Peers
from bench.measure import Result, command, measure

_MANY = 50_000
_DEBIAN_DOCKER = "/usr/bin/docker"
_FIVE = """FROM busybox AS base
RUN mkdir /out && echo base >/out/base
ENV MODE=release
FROM base AS code
COPY src /src
RUN cat /src/* | md5sum >/out/code
RUN i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo $i >/out/count
FROM base AS pages
COPY web /web
RUN for f in /web/*; do echo "$f"; done | sort >/out/pages
RUN i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo $i >/out/count
FROM base AS joined
COPY --from=code /out /out/code
COPY --from=pages /out /out/pages
RUN find /out -type f | wc -l >/out/files
FROM busybox
WORKDIR /srv
COPY --from=joined /out /srv
RUN ls -lR /srv >/srv/listing
LABEL stage=five
CMD ["cat", "/srv/listing"]
"""


def builds(peers: Peers, runs: int) -> list[Result]:
    os.environ["DOCKER_BUILDKIT"] = "0"
    five, many = f"{peers.work}/five", f"{peers.work}/many"
    for folder, count in (("src", 60), ("web", 60)):
        os.makedirs(f"{five}/{folder}", exist_ok=True)
        for number in range(count):
            _write(f"{five}/{folder}/{number}", f"{folder} {number}\n" * 100)
    _write(f"{five}/Dockerfile", _FIVE)
    for number in range(_MANY):
        if number % 250 == 0:
            os.makedirs(f"{many}/tree/{number // 250:03d}")
        _write(f"{many}/tree/{number // 250:03d}/{number}", f"file {number}\n" * 4)
    _write(f"{many}/changing", "0")
    _write(f"{many}/Dockerfile", "FROM busybox\nCOPY tree /tree\nRUN find /tree -type f | wc -l >/count\nCOPY changing /\n")
    with _Buildah(peers) as buildah:
        few = max(3, runs // 3)
        fresh = _all(peers, buildah, "--no-cache", "-t", "bench-five", five)
        cached = _all(peers, buildah, "-t", "bench-five", five)
        results = [
            measure(
                "build of five stages, fresh", fresh, runs=few, peer="docker", reach=1.0, before=dict.fromkeys(fresh, os.sync)
            ),
            measure("build of five stages, all cached", cached, runs=runs, peer="docker", reach=0.25),
            measure(
                "build of five stages, one file changed",
                cached,
                runs=few,
                peer="docker",
                reach=1.0,
                before=dict.fromkeys(cached, _changes(f"{five}/src/7")),
            ),
        ]
        large = _all(peers, buildah, "-t", "bench-many", many)
        for name, path in (("another step's file", f"{many}/changing"), ("one of them", f"{many}/tree/100/25000")):
            results.append(
                measure(
                    f"context of 50,000 files, {name} changed",
                    large,
                    runs=3,
                    peer="docker",
                    reach=1.0,
                    before=dict.fromkeys(large, _changes(path)),
                )
            )
        return results


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _changes(path: str) -> Callable[[], None]:
    count = itertools.count()

    def change() -> None:
        _write(path, f"change {next(count)}\n" * 10)
        os.sync()

    return change


def _all(peers: Peers, buildah: _Buildah, *words: str) -> dict[str, Callable[[], None]]:
    found = {"inception": command(*peers.ours, "build", *words)}
    if peers.docker:
        found["docker"] = command(*peers.docker, "build", *words)
        if os.path.exists(_DEBIAN_DOCKER):
            buildkit = [_DEBIAN_DOCKER, *peers.docker[1:], "build", "--progress=plain", *words]
            found["buildkit"] = command(*buildkit, env={"DOCKER_BUILDKIT": "1"})
    if buildah.base:
        layers = () if "--no-cache" in words else ("--layers",)
        found["buildah"] = command(*buildah.base, "build", "--isolation", "chroot", *layers, *words)
    return found


class _Buildah:
    """With a store of its own that has busybox; `base` is empty where it isn't installed or doesn't run."""

    def __init__(self, peers: Peers) -> None:
        self.base: list[str] = []
        self._root = f"{peers.work}/buildah"
        self._words = ["buildah", "--root", self._root, "--runroot", f"{peers.work}/buildah-run", "--storage-driver", "overlay"]
        self._archive = f"{peers.work}/busybox.tar"

    def __enter__(self) -> _Buildah:
        try:
            command(*self._words, "pull", "-q", f"docker-archive:{self._archive}")()
            self.base = self._words
        except (RuntimeError, OSError) as error:
            print(f"buildah left out: {error}")
        return self

    def __exit__(self, *_error: object) -> None:
        subprocess.run([*self._words, "rmi", "-af"], capture_output=True, check=False)
        subprocess.run(["umount", f"{self._root}/overlay"], stderr=subprocess.DEVNULL, check=False)
