"""The corpus beside other builders: each case with a file `peers` is built by ours, by dockerd's classic builder (`docker`), by
BuildKit and by `buildah build`, and trees, configurations and histories are compared.

A line of `peers` is a builder that is asked, or what of it differs and why: `differs BUILDER WHAT: REASON`, WHAT being a path,
a field or `history`, perhaps with a `*`. A difference that is gone is an error too. docs/dockerfile.md has them as a table.
"""

from __future__ import annotations

import fnmatch
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Builder
from .references import Reference, buildkit_of, picture, start_buildah, start_docker, stop_buildah, stop_docker

CASES = Path(__file__).parent / "cases"
NAMES = sorted(path.parent.name for path in CASES.glob("*/peers"))

pytestmark = pytest.mark.needs("root", "busybox", "dockerd", "docker", "buildah")


@pytest.fixture(scope="module")
def peers(busybox_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Reference]]:
    docker = Path("/tmp") / f"itest-build-{tmp_path_factory.getbasetemp().name}"  # a socket's path is short
    folder = tmp_path_factory.mktemp("buildah")
    try:
        buildah = start_buildah(folder, busybox_root)
        classic = start_docker(docker, busybox_root)
        yield {"docker": classic, "buildkit": buildkit_of(classic), "buildah": buildah}
    finally:
        stop_docker(docker)
        stop_buildah(folder, buildah)


@pytest.mark.parametrize("name", NAMES)
def test_others_build_the_same(name: str, busybox: Builder, peers: dict[str, Reference], tmp_path: Path):
    shutil.copytree(CASES / name, busybox.context, symlinks=True, dirs_exist_ok=True)
    if (busybox.context / "prepare").exists():
        subprocess.run(["sh", "-e", "prepare"], cwd=busybox.context, check=True)
    options = shlex.split(_take(busybox.context / "options"))
    lines = _take(busybox.context / "peers").splitlines()
    for extra in ("prepare", "expected"):
        _take(busybox.context / extra)
    busybox.build(**_config(options))
    ours = picture(busybox, "result")
    unsaid: dict[str, tuple[str | None, str | None]] = {}
    gone: list[str] = []
    for peer in [line for line in lines if " " not in line]:
        archive = tmp_path / f"{peer}.tar"
        peers[peer].build(busybox.context, options, archive)
        with open(archive, "rb") as file:
            loaded = busybox.engine.images.load(file)[0]
        theirs = picture(busybox, loaded)
        busybox.engine.images.remove(loaded, force=True)
        if peer == "buildah":
            ours_here = {what: value for what, value in ours.items() if what != "history"}  # it keeps its own form
            theirs.pop("history")
        else:
            ours_here = ours
        different = {
            what: (ours_here.get(what), theirs.get(what))
            for what in {*ours_here, *theirs}
            if ours_here.get(what) != theirs.get(what)
        }
        said = [line.split(" ", 2)[2].partition(": ")[0] for line in lines if line.startswith(f"differs {peer} ")]
        unsaid |= {
            f"{peer} {what}": pair for what, pair in different.items() if not any(fnmatch.fnmatch(what, glob) for glob in said)
        }
        gone += [f"{peer} {glob}" for glob in said if not fnmatch.filter(different, glob)]
    lines = [f"{what}: ours {mine}, theirs {theirs}" for what, (mine, theirs) in sorted(unsaid.items())]
    lines += [f"{what} does not differ any more" for what in gone]
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def _take(path: Path) -> str:
    """The text of a file that is no part of the case's context."""
    if not path.exists():
        return ""
    text = path.read_text()
    path.unlink()
    return text


def _config(options: list[str]) -> dict[str, object]:
    args: dict[str, str] = {}
    found: dict[str, object] = {"build_args": args}
    for flag, value in zip(options[::2], options[1::2], strict=True):
        if flag == "--build-arg":
            args.update([value.split("=", 1)])
        else:
            found[flag.removeprefix("--")] = value
    return found
