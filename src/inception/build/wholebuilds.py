"""What whole builds came to, for `recall.py`: a file a build.

    ROOT/build-cache/whole/KEY        KEY: the digest of what was asked

Files and not rows, because the quickest way doesn't open the database.
"""

from __future__ import annotations

import os
import time

_KEEP_S = 3600


class WholeBuilds:
    """Those of the store at *root*."""

    def __init__(self, root: str) -> None:
        self._folder = f"{root}/build-cache/whole"

    def load(self, key: str) -> str | None:
        """None when there is none, or none that is young enough."""
        try:
            fd = os.open(f"{self._folder}/{key}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        with open(fd, encoding="utf-8", errors="surrogateescape") as file:
            return file.read() if os.fstat(fd).st_mtime >= time.time() - _KEEP_S else None

    def save(self, key: str, text: str) -> None:
        """A failure costs the next build time, and nothing else."""
        self._write(key, text, None)
        self._remove(time.time() - _KEEP_S)

    def note(self, key: str, text: str) -> None:
        """What is there already, with more in it: it gets no younger by that."""
        try:
            self._write(key, text, os.stat(f"{self._folder}/{key}").st_mtime)
        except OSError:
            pass  # it was forgotten meanwhile

    def _write(self, key: str, text: str, made_at: float | None) -> None:
        partial = f"{self._folder}/{key}.{os.getpid()}.{time.time_ns()}"
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            with open(partial, "x", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
            if made_at is not None:
                os.utime(partial, (made_at, made_at))
            os.replace(partial, f"{self._folder}/{key}")
        except OSError:
            pass

    def forget(self) -> None:
        """All of them: the entries that they rest on are about to go."""
        self._remove(None)

    def _remove(self, before: float | None) -> None:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return
        for name in names:
            path = f"{self._folder}/{name}"
            try:
                if before is None or os.stat(path).st_mtime < before:
                    os.unlink(path)
            except FileNotFoundError:
                pass  # another build was quicker
