"""The client's end of a build on another engine: what that engine may ask of us while it builds.

    this machine                                     the engine
    POST /session, h2c          ──▶                  from here on it calls, and we answer:
    FileSync.DiffCopy           ◀──                  the files of a folder that we named
    FileSend.DiffCopy           ◀──                  the result, into a folder or an archive here
    Secrets, SSH, Auth, Upload  ◀──                  a secret, an agent, a log-in, standard input

Only what the build's own options name is given away: a folder, secret or agent by another name is an error over there.
The event loop runs in a thread; files are read and written in others, which may wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import unquote_plus

from inception.build.caller import Caller
from inception.build.ignore import IgnoreRules, clean, parse_ignore
from inception.build.tree import Node, Tree
from inception.buildkit import filesync, messages
from inception.buildkit.grpc import NOT_FOUND, UNKNOWN, Call, GrpcError, Method, Service
from inception.errors import InceptionError, InvalidArgument
from inception.linux.path import RootDir

if TYPE_CHECKING:
    from inception.build.config import BuildConfig, Output
    from inception.buildkit.protobuf import Value

T = TypeVar("T")
_PIECE = 1 << 16
_SERVING = 1
_HUB_HOSTS = ("registry-1.docker.io", "docker.io", "index.docker.io")


class SocketWire:
    """A connected socket, TLS or not, for `http2.Connection`. All of it happens in the event loop's thread."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        stream.setblocking(False)

    async def receive(self) -> bytes:
        return await self._do(partial(self._stream.recv, _PIECE), writes=False)

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[await self._do(partial(self._stream.send, view), writes=True) :]

    async def _do(self, attempt: Callable[[], T], *, writes: bool) -> T:
        """Until it can be done; TLS may have to read for a write, and the reverse."""
        while True:
            try:
                return attempt()
            except BlockingIOError:
                await self._ready(write=writes)
            except ssl.SSLWantReadError:
                await self._ready(write=False)
            except ssl.SSLWantWriteError:
                await self._ready(write=True)
            except OSError as error:
                raise ConnectionError(str(error)) from error

    async def _ready(self, *, write: bool) -> None:
        loop, fd = asyncio.get_running_loop(), self._stream.fileno()
        if fd < 0:
            raise ConnectionError("the connection is closed")
        ready: asyncio.Future[None] = loop.create_future()
        add, remove = (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
        add(fd, _wake, ready)
        try:
            await ready
        finally:
            remove(fd)

    def close(self) -> None:
        self._stream.close()


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


class Services:
    """What a build with *config* offers. `folders` are the local folders by the names that the engine asks for."""

    def __init__(self, config: BuildConfig, folders: dict[str, str], stdin: BinaryIO, upload: str) -> None:
        self._caller = Caller(config)
        self._config = config
        self._folders = folders
        self._stdin = stdin
        self._upload = upload
        self._agents: dict[str, Callable[[], socket.socket]] = {}
        self._closing = contextlib.ExitStack()

    def close(self) -> None:
        self._closing.close()

    def methods(self) -> dict[str, Method]:
        m = messages
        result = m.PACKET if self._config.outputs and self._config.outputs[0].type == "local" else m.BYTES
        return {
            "/moby.filesync.v1.FileSync/DiffCopy": Method(m.PACKET, m.PACKET, self._send_files, streams=True),
            "/moby.filesync.v1.FileSend/DiffCopy": Method(result, result, self._take_result, streams=True),
            "/moby.filesync.v1.Auth/Credentials": Method(m.CREDENTIALS_REQUEST, m.CREDENTIALS_RESPONSE, self._log_in),
            "/moby.buildkit.secrets.v1.Secrets/GetSecret": Method(m.ID_REQUEST, m.BYTES, self._secret),
            "/moby.sshforward.v1.SSH/CheckAgent": Method(m.ID_REQUEST, m.EMPTY, self._check_agent),
            "/moby.sshforward.v1.SSH/ForwardAgent": Method(m.BYTES, m.BYTES, self._forward_agent, streams=True),
            "/moby.upload.v1.Upload/Pull": Method(m.BYTES, m.BYTES, self._send_stdin, streams=True),
            "/grpc.health.v1.Health/Check": Method(m.EMPTY, m.HEALTH_RESPONSE, self._health),
        }

    def service(self) -> Service:
        return Service(self.methods(), explain)

    async def _health(self, call: Call) -> Value:
        return {"status": _SERVING}

    # --- files ---

    async def _send_files(self, call: Call) -> None:
        name = call.metadata("dir-name")
        if name not in self._folders:
            raise GrpcError(NOT_FOUND, f"no access allowed to dir {name!r}")
        excludes, follow = _values(call, "exclude-patterns"), _values(call, "followpaths")
        await _in_thread(_send_folder, self._folders[name], excludes, follow, call, asyncio.get_running_loop())

    async def _take_result(self, call: Call) -> None:
        if not self._config.outputs:
            raise GrpcError(NOT_FOUND, "no output was asked for")
        await _in_thread(_take_output, self._config.outputs[0], call, asyncio.get_running_loop())

    # --- the rest ---

    async def _secret(self, call: Call) -> Value:
        name = call.request["id"]
        data = await _in_thread(self._caller.secret, name)
        if data is None:
            raise GrpcError(NOT_FOUND, f"secret {name} not found")
        return {"data": data}

    async def _log_in(self, call: Call) -> Value:
        from inception.store.credentials import find_or_anonymous
        from inception.store.login import domain_of

        host = call.request["host"]
        found = (await _in_thread(find_or_anonymous, domain_of("docker.io" if host in _HUB_HOSTS else host)))[0]
        return {"username": found.username, "secret": found.password if found.username else found.identity_token}

    async def _check_agent(self, call: Call) -> Value:
        await _in_thread(self._reach, call.request["id"])
        return {}

    async def _forward_agent(self, call: Call) -> None:
        reach = await _in_thread(self._reach, call.metadata("buildkit.ssh.id"))
        ours, theirs = socket.socketpair()
        with ours:
            from inception.build.agent import relay

            # Which lists keys and signs, whatever else the engine asks for.
            threading.Thread(target=relay, args=(theirs, reach), name="ssh-client", daemon=True).start()
            ours.setblocking(False)
            await _carry(ours, call)

    def _reach(self, name: str) -> Callable[[], socket.socket]:
        """What connects to the agent *name*. Raises GrpcError when the build has none."""
        name = name or "default"
        if name not in self._agents:
            keys = self._caller.keys(name)
            found = self._caller.agent(name)
            if keys:
                import tempfile

                from inception.build.agent import KeyAgent

                folder = self._closing.enter_context(tempfile.TemporaryDirectory(prefix="inception-ssh-"))
                agent = KeyAgent(keys, folder)
                self._closing.callback(agent.close)
                found = agent.reach
            if found is None:
                raise GrpcError(NOT_FOUND, f"unset ssh forward key {name}")
            self._agents[name] = found
        return self._agents[name]

    async def _send_stdin(self, call: Call) -> None:
        if call.metadata("urlpath").strip("/") != self._upload:
            raise GrpcError(NOT_FOUND, f"nothing is to be had at {call.metadata('urlpath')!r}")
        while data := await _in_thread(self._stdin.read, _PIECE):
            await call.send({"data": data})


def explain(error: InceptionError) -> GrpcError:
    return GrpcError(UNKNOWN, str(error))


class _CallPackets:
    """The packets of a call that came to us, for a thread."""

    def __init__(self, call: Call, loop: asyncio.AbstractEventLoop) -> None:
        self._call = call
        self._loop = loop

    def some(self) -> list[Value]:
        return self._wait(self._call.messages.some())

    def send_all(self, packets: list[Value]) -> None:
        self._wait(self._send_all(packets))

    async def _send_all(self, packets: list[Value]) -> None:
        for packet in packets:
            await self._call.send(packet)

    def end(self) -> None:
        """The call's own end is the end of what we send."""

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _send_folder(path: str, excludes: list[str], follow: list[str], call: Call, loop: asyncio.AbstractEventLoop) -> None:
    with RootDir.open_host(path) as root:
        tree = _Followed(root.fd, parse_ignore("\n".join(excludes).encode("utf-8", "surrogateescape")), follow)
        filesync.send(tree, _CallPackets(call, loop), None, as_root=True)


class _Followed(Tree):
    """A folder of which only *paths* are wanted; all of it, where it isn't plain what they lead to (patterns, links)."""

    def __init__(self, root_fd: int, rules: IgnoreRules, paths: list[str]) -> None:
        super().__init__(root_fd, rules)
        self._wanted = {f"{clean(path)}/" for path in paths}
        if not all(self._is_plain(path.rstrip("/")) for path in self._wanted):
            self._wanted = set()

    def _is_plain(self, path: str) -> bool:
        node: Node | None = self.root
        for part in path.split("/"):
            node = self.children(node).get(part) if node is not None and node.is_dir else None
            if node is not None and node.is_link:
                return False
        return path != "." and not any(char in path for char in "*?[\\")

    def walk(self, folder: Node) -> Iterator[Node]:
        for child in self.children(folder).values():
            here = f"{child.path}/"
            if self._wanted and not any(here.startswith(each) or each.startswith(here) for each in self._wanted):
                continue
            if not child.is_dir:
                yield child
            elif self.holds_something(child):
                yield child
                yield from self.walk(child)


def _take_output(output: Output, call: Call, loop: asyncio.AbstractEventLoop) -> None:
    packets = _CallPackets(call, loop)
    if output.type == "local":
        _take_folder(output.destination, packets)
        return
    from inception.build.output import write_stream

    def chunks() -> Iterator[bytes]:
        while some := packets.some():
            for packet in some:
                yield packet["data"]

    write_stream(chunks(), output.destination)


def _take_folder(path: str, packets: _CallPackets) -> None:
    try:
        os.makedirs(path, exist_ok=True)
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidArgument(f"output {path}: {error.strerror}") from error
    try:
        filesync.Receiver(top, packets, keep=True).run()
    finally:
        os.close(top)


async def _in_thread(act: Callable[..., T], *values: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, act, *values)


async def _carry(stream: socket.socket, call: Call) -> None:
    loop = asyncio.get_running_loop()

    async def there() -> None:
        while packets := await call.messages.some():
            for packet in packets:
                await loop.sock_sendall(stream, packet["data"])
        stream.shutdown(socket.SHUT_WR)

    async def back() -> None:
        while data := await loop.sock_recv(stream, _PIECE):
            await call.send({"data": data})

    task = asyncio.ensure_future(there())
    try:
        await back()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _values(call: Call, name: str) -> list[str]:
    """All values of a header; escaped where a header beside them says so."""
    found = [value for key, value in call.stream.headers if key == name]
    return [unquote_plus(value, errors="surrogateescape") for value in found] if call.metadata(f"{name}-encoded") else found
