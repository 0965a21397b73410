"""Containers in a container: this engine in a privileged container of its own, as `docker` in `docker:dind`."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import pytest

import inception

from .conftest import Cli

pytestmark = pytest.mark.needs("root", "busybox")

INNER = """
set -e
export INCEPTION_ROOT=/root/inception INCEPTION_RUN_ROOT=/run/inception
inception() { "$PYTHON" -I -m inception.cli "$@"; }
inception load --quiet --input /busybox.tar >/dev/null
inception run --rm busybox echo first
inception run --detach --name one --publish 8080:80 --memory 64m busybox sleep 100 >/dev/null
inception exec one echo second
inception stats --no-stream --format '{{.Name}} {{.PIDs}}' one
inception rm --force one
inception run --name two busybox ls -d /.dockerenv
inception diff two
printf 'FROM busybox\\nRUN echo third >/made\\n' >/tmp/Dockerfile
inception build --quiet --tag built /tmp >/dev/null
inception run --rm built cat /made
"""


def test_an_engine_in_a_container_has_containers_of_its_own(cli: Cli, tmp_path: Path):
    cli("import", str(like_the_host(tmp_path)), "host")
    cli("save", "--output", f"{tmp_path}/busybox.tar", "busybox")
    source = Path(inception.__file__).parents[1]
    folders = {"/usr", "/etc", sys.prefix, sys.base_prefix, str(source)}
    mounts = [word for folder in sorted(folders) for word in ("--volume", f"{folder}:{folder}:ro")]
    mounts += ["--volume", f"{tmp_path}/busybox.tar:/busybox.tar:ro", "--env", f"PYTHON={sys.executable}"]
    done = cli.run("run", "--rm", "--privileged", *mounts, "host", "sh", "-c", INNER)
    assert (done.stdout.splitlines(), done.returncode) == (["first", "second", "one 1", "one", "/.dockerenv", "third"], 0), (
        done.stderr
    )


def like_the_host(folder: Path) -> Path:
    """The host's folders as a tar archive, all empty: what is in them is mounted."""
    with tarfile.open(folder / "host.tar", "w") as tar:
        for name in ("usr", "etc", "proc", "sys", "dev", "tmp", "run", "var", "var/tmp", "root"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name in ("bin", "sbin", "lib", "lib64"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
            tar.addfile(entry)
    return folder / "host.tar"
