"""A client at the other end of a session as the builder's caller: its files, secrets, agents, log-ins and output folders.

A context is fetched when it is known what is copied from it, and only that. Where the client names its folder (a shared key),
it is kept for the next build, which then gets what has changed:

    ROOT/build-cache/contexts/HEX/data.N        HEX: digest of the shared key, the folder's name and the paths
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from inception.api.buildkit.options import UPLOAD
from inception.api.errors import NotSupported
from inception.build.caller import Caller
from inception.build.context import Context, Digests, open_context
from inception.build.folders import CacheFolder, CacheFolders
from inception.build.ignore import IgnoreRules, clean, parse_ignore
from inception.build.parse import MAX_BYTES
from inception.build.tree import Tree
from inception.buildkit import filesync
from inception.errors import InvalidArgument, NotFound
from inception.linux.path import RootDir
from inception.oci.reference import Reference
from inception.record import replace
from inception.store.credentials import Credentials

if TYPE_CHECKING:
    import socket

    from inception.api.buildkit.options import Request
    from inception.api.buildkit.session import Client
    from inception.build.config import Output
    from inception.build.progress import Reporter, Step
    from inception.store import Store
    from inception.store.scratch import Scratch

# What contexts that are kept may take, and how long they are kept without use.
_KEEP_BYTES = 10 << 30
_KEEP_S = 7 * 86400
_TELL_S = 0.5


class RemoteCaller(Caller):
    def __init__(self, request: Request, client: Client, begun: Callable[[Callable[[], None]], None]) -> None:
        super().__init__(request.config)
        self._request = request
        self._client = client
        self._begun = begun

    def begin(self, cancel: Callable[[], None]) -> None:
        self._begun(cancel)

    # --- contexts ---

    def open_context(self, store: Store, scratch: Scratch, reporter: Reporter) -> Context:
        request = self._request
        dockerfile: RootDir | None = None
        if request.dockerfile_from:
            dockerfile = self._fetch_dockerfile(scratch, reporter)
        try:
            if request.context.startswith(UPLOAD) or "://" in request.context or request.context.startswith("git@"):
                return self._open_elsewhere(store, scratch, dockerfile)
            assert dockerfile is not None
            text, name = _read_dockerfile(dockerfile, request.filename)
            own = _read(dockerfile, f"{name}.dockerignore")
            rules = parse_ignore(own, f"{name}.dockerignore") if own is not None else None
        finally:
            if dockerfile is not None:
                dockerfile.close()
        return RemoteContext(self._client, request.context, store, scratch, reporter, text=text, name=name, rules=rules)

    def open_named(self, store: Store, name: str, scratch: Scratch, reporter: Reporter) -> Context:
        folder = self._request.locals.get(name)
        if folder is None:
            raise NotSupported(f"build context {name}={self.config.contexts[name]} is not supported here")
        return RemoteContext(self._client, folder, store, scratch, reporter, label=f" {name}")

    def _fetch_dockerfile(self, scratch: Scratch, reporter: Reporter) -> RootDir:
        name = self._request.filename
        path = f"{scratch.path}/dockerfile"
        os.mkdir(path, 0o700)
        root = RootDir.open_host(path)
        try:
            with reporter.step(f"[internal] load build definition from {name}") as report:
                follow = [name, f"{name}.dockerignore", *(["dockerfile"] if name == "Dockerfile" else [])]
                _fetch(self._client, self._request.dockerfile_from, root.fd, [], follow, report, "dockerfile")
            return root
        except BaseException:
            root.close()
            raise

    def _open_elsewhere(self, store: Store, scratch: Scratch, dockerfile: RootDir | None) -> Context:
        """An archive that the client uploads, or an address."""
        config = replace(self.config, context=self._request.context, dockerfile=self._request.filename)
        if dockerfile is not None:
            config.dockerfile_inline = _read_dockerfile(dockerfile, self._request.filename)[0].decode(
                "utf-8", "surrogateescape"
            )
        if not config.context.startswith(UPLOAD):
            return open_context(store, config, scratch)
        stream = io.BufferedReader(_Reader(self._client.upload(config.context.removeprefix(UPLOAD))), 1 << 20)
        config.context = "-"
        return open_context(store, config, scratch, stream)

    # --- the rest ---

    def secret(self, name: str) -> bytes | None:
        return self._client.secret(name)

    def agent(self, name: str) -> Callable[[], socket.socket] | None:
        return self._client.agent(name)

    def credentials(self, reference: str) -> Credentials | None:
        user, secret = self._client.log_in(Reference.parse(reference).domain)
        if user:
            return Credentials(username=user, password=secret)
        return Credentials(identity_token=secret)

    def write_files(self, root: RootDir, output: Output, clamp_mtime_ns: int | None) -> None:
        number = self.config.outputs.index(output)
        if output.type == "local":
            exchange = self._client.receive_files(number)
            try:
                filesync.send(Tree(root.fd), exchange, clamp_mtime_ns)
            except BaseException:
                exchange.cancel()
                raise
            return
        from inception.store.pack import pack

        fd = root.open(".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._client.receive_bytes(number, pack(fd, root_entry=False, clamp_mtime_ns=clamp_mtime_ns))
        finally:
            os.close(fd)

    def write_archive(self, chunks: Iterable[bytes], output: Output) -> None:
        self._client.receive_bytes(self.config.outputs.index(output), chunks)


class RemoteContext(Context):
    """The folder that a client calls *folder*. Its rules are those beside the Dockerfile, or its own."""

    def __init__(
        self,
        client: Client,
        folder: str,
        store: Store,
        scratch: Scratch,
        reporter: Reporter,
        *,
        text: bytes = b"",
        name: str = "",
        rules: IgnoreRules | None = None,
        label: str = "",
    ) -> None:
        self._client = client
        self._folder = folder
        self._store = store
        self._scratch = scratch
        self._reporter = reporter
        self._label = label
        self._kept: CacheFolder | None = None
        super().__init__(None, text, name, rules if rules is not None else self._fetch_rules(), Digests("", ""))

    def _fetch_rules(self) -> IgnoreRules:
        path = f"{self._scratch.path}/{os.urandom(8).hex()}"
        os.mkdir(path, 0o700)
        with RootDir.open_host(path) as root, self._reporter.step(f"[internal] load{self._label} .dockerignore") as report:
            _fetch(self._client, self._folder, root.fd, [], [".dockerignore"], report, "context")
            data = _read(root, ".dockerignore")
            return parse_ignore(data) if data is not None else IgnoreRules([])

    def fetch(self, paths: list[str]) -> None:
        if not paths or self.tree is not None:
            return
        follow = _followed(paths)
        excludes = [f"!{each.text}" if each.negated else each.text for each in self.rules.patterns]
        path = self._take(follow)
        self._root = RootDir.open_host(path)
        what = f"{self._label} from client" if self._label else " build context"
        with self._reporter.step(f"[internal] load{what}") as report:
            size = _fetch(self._client, self._folder, self._root.fd, excludes, follow, report, "context")
        if self._kept is not None:
            self._kept.note_size(size)
            CacheFolders(self._store.root, "contexts").trim(_KEEP_BYTES, time.time() - _KEEP_S)
            self.digests = Digests(self._kept.digests, path)
        self.tree = Tree(self._root.fd, self.rules)

    def _take(self, follow: list[str] | None) -> str:
        """A folder that is kept, where the client says what it is, or one for this build alone."""
        session = self._client.session
        key = session.shared_key if session is not None else ""
        if key:
            words = "\0".join([key, self._folder, *(follow or [])])
            self._kept = CacheFolders(self._store.root, "contexts").take(words, "private", lambda: None)
            return self._kept.path
        path = f"{self._scratch.path}/{os.urandom(8).hex()}"
        os.mkdir(path, 0o700)
        return path

    def close(self) -> None:
        super().close()
        if self._kept is not None:
            self._kept.close()


def _fetch(
    client: Client, folder: str, top: int, excludes: list[str], follow: list[str] | None, report: Step, what: str
) -> int:
    """The bytes of what is there in the end."""
    told = time.monotonic()

    def tell(size: int) -> None:
        nonlocal told
        if time.monotonic() - told > _TELL_S:
            told = time.monotonic()
            report.output(f"transferring {what}: {_size(size)}\n".encode())

    exchange = client.sync(folder, excludes=excludes, follow=follow)
    receiver = filesync.Receiver(top, exchange, tell)
    try:
        receiver.run()
    except BaseException:
        exchange.cancel()
        raise
    report.output(f"transferring {what}: {_size(receiver.sent_bytes)}\n".encode())
    return receiver.size_bytes


def _followed(paths: list[str]) -> list[str] | None:
    """What the client is asked for; None is everything."""
    found = sorted({clean(path) for path in paths})
    return None if any(path in ("", ".") or "**" in path for path in found) else found


def _read_dockerfile(root: RootDir, name: str) -> tuple[bytes, str]:
    for each in (name, *(["dockerfile"] if name == "Dockerfile" else [])):
        data = _read(root, each)
        if data is not None:
            return data, each
    raise NotFound(f"failed to read dockerfile: open {name}: no such file or directory")


def _read(root: RootDir, path: str) -> bytes | None:
    try:
        return root.read_bytes(path, MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidArgument(f"failed to read {path}: {error.strerror}") from error


def _size(count: float) -> str:
    """In Docker's units: `2B`, `1.52kB`."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 1000 and len(units) > 1:
        count /= 1000
        units.pop(0)
    return f"{count:.2f}".rstrip("0").rstrip(".") + units[0]


class _Reader(io.RawIOBase):
    """Pieces as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        while not self._rest:
            try:
                self._rest = next(self._pieces)
            except StopIteration:
                return 0
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
