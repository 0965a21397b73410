"""A folder a case: a Dockerfile, its context, and `expected`, what must hold afterwards, a line each.

arg NAME=VALUE            a build argument               error TEXT    the build fails with this message
file PATH LINE|LINE       the text of a file             output TEXT   the failing command's output has this line
mode PATH OCTAL UID:GID   mode and owner                 absent PATH   there is no such file
config FIELD JSON         a field of the configuration
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from inception.build import BuildFailed, DockerfileError
from inception.record import encode

CASES = Path(__file__).parent / "cases"

pytestmark = pytest.mark.needs("root", "busybox")


@pytest.mark.parametrize("case", sorted(path.parent.name for path in CASES.glob("*/expected")))
def test_case(busybox, case: str):
    builder = busybox
    shutil.copytree(CASES / case, builder.context, symlinks=True, dirs_exist_ok=True)
    lines = [line.split(" ", 1) for line in (builder.context / "expected").read_text().splitlines()]
    (builder.context / "expected").unlink()
    settings = {"build_args": dict(rest.split("=", 1) for kind, rest in lines if kind == "arg")}
    error = next((rest for kind, rest in lines if kind == "error"), "")
    if error:
        with pytest.raises((BuildFailed, DockerfileError)) as caught:
            builder.build(**settings)
        assert str(caught.value) == error
        wanted = [rest for kind, rest in lines if kind == "output"]
        assert set(wanted) <= set(getattr(caught.value, "output", b"").decode().splitlines())
        return
    built = builder.build(**settings)
    for kind, rest in lines:
        if kind != "arg":
            CHECKS[kind](builder, *rest.split(" ", 1))
    again = builder.build(**settings)
    assert (again.image_id, again.cached_steps) == (built.image_id, built.steps)


def check_file(builder, path: str, text: str) -> None:
    assert builder.read(path) == text.replace("|", "\n") + ("\n" if text else "")


def check_mode(builder, path: str, rest: str) -> None:
    found = builder.stat(path)
    assert f"{found.st_mode & 0o7777:o} {found.st_uid}:{found.st_gid}" == rest


def check_absent(builder, path: str) -> None:
    with pytest.raises(FileNotFoundError):
        builder.stat(path)


def check_config(builder, field: str, text: str) -> None:
    assert encode(getattr(builder.document().config, field)) == json.loads(text)


CHECKS = {"file": check_file, "mode": check_mode, "absent": check_absent, "config": check_config}
