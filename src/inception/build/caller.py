"""What a build asks of whoever wants it: files, secrets, agents, log-ins, and where its result goes.

This one is the process itself: its options name its own files, variables and sockets. Others (a client of the API that builds
with BuildKit's protocol) answer from elsewhere.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from inception.build.config import BuildConfig, Output
    from inception.build.context import Context
    from inception.build.progress import Reporter
    from inception.build.source import BuildFailed
    from inception.engine.exec import ExecProcess
    from inception.linux.path import RootDir
    from inception.store import Store
    from inception.store.credentials import Credentials
    from inception.store.images import Image
    from inception.store.scratch import Scratch


class Caller:
    """*stdin* is read for a context or Dockerfile of `-`."""

    def __init__(self, config: BuildConfig, stdin: BinaryIO | None = None) -> None:
        self.config = config
        self._stdin = stdin

    def begin(self, cancel: Callable[[], None]) -> None:
        """The build goes on until *cancel* is called, from any thread."""

    def open_context(self, store: Store, scratch: Scratch, reporter: Reporter) -> Context:
        """Raises NotFound, InvalidArgument with Docker's words."""
        from inception.build.context import open_context

        return open_context(store, self.config, scratch, self._stdin)

    def open_named(self, store: Store, name: str, scratch: Scratch, reporter: Reporter) -> Context:
        """A context of `--build-context`."""
        from inception.build.context import open_folder

        return open_folder(store, self.config.contexts[name])

    def open_layout(self, store: Store, place: str, platform: str) -> Image:
        """The image of a context `oci-layout://FOLDER[:TAG][@DIGEST]`, which gets no name by that."""
        from inception.oci.image import host_platform, parse_platform
        from inception.store.archive import load_layout

        folder, _, digest = place.partition("@")
        folder, _, tag = folder.partition(":")
        parsed = parse_platform(platform) if platform else host_platform()
        return load_layout(store, folder, digest or tag or "latest", platform=parsed, named=False)[0]

    def secret(self, name: str) -> bytes | None:
        """The secret *name*; None when there is none."""
        from inception.build.secrets import read_secret

        source = self.config.secrets.get(name)
        return read_secret(name, source) if source is not None else None

    def agent(self, name: str) -> Callable[[], socket.socket] | None:
        """What connects to the ssh-agent *name*; None when there is none."""
        from inception.build.agent import connect

        path = self.config.ssh.get(name)
        return (lambda: connect(path)) if path is not None and not self.keys(name) else None

    def keys(self, name: str) -> list[str]:
        """The key files that `--ssh NAME=FILE,FILE` gives instead of an agent."""
        from inception.build.agent import key_files

        return key_files(self.config.ssh.get(name, ""))

    def credentials(self, reference: str) -> Credentials | None:
        """The log-in for the registry of *reference*; None is this user's own."""
        return None

    #: Whether what a failing step leaves is kept for `look_into`.
    wants_look = False

    def look_into(self, error: BuildFailed, open_shell: Callable[[], AbstractContextManager[ExecProcess]]) -> None:
        """A step has failed with *error*, and nothing is running any more: *open_shell* starts a shell with a terminal in the
        state that it left, with its mounts."""

    def write_files(self, root: RootDir, output: Output, clamp_mtime_ns: int | None) -> None:
        """The files beneath *root* to where *output* says."""
        from inception.build.output import write_files

        write_files(root, output, clamp_mtime_ns)

    def write_archive(self, chunks: Iterable[bytes], output: Output) -> None:
        from inception.build.output import write_stream

        write_stream(chunks, output.destination)
