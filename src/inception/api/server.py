"""The server: sockets, one door for all requests, start and graceful stop.

Who may speak: on a unix socket whoever may open it (0600 in a 0700 folder, so its owner); on TCP whoever shows a certificate of
our authority. A browser may not: a foreign `Host` or `Origin` is refused (DNS rebinding, CVE-2025-9074's neighbourhood).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from inception import __version__
from inception.api.attach import Attachments
from inception.api.call import Call, empty, reply
from inception.api.documents import Summaries
from inception.api.errors import message_of, status_of
from inception.api.hijack import HangUps, Taken
from inception.api.hub import Hub
from inception.api.router import API_VERSION, Router
from inception.api.threads import Threads
from inception.errors import Forbidden, InceptionError, NotModified

if TYPE_CHECKING:
    import ssl

    from inception.api.buildkit.jobs import Solver
    from inception.api.exec import Execs
    from inception.engine import Engine

# What is under way when the server is told to stop may take this long; containers don't mind either way.
_STOP_TIMEOUT_S = 5.0
_FOLLOWERS_TIMEOUT_S = 1.0
_HEAD_BYTES = 128 << 10
# Their total is bounded by the head's; aiohttp would take no more than 128.
_HEADERS_MOST = 1024


class Listener:
    """An open socket, and what protects it: nothing but its folder's mode (unix), or TLS. *names* are hosts it goes by;
    *ours* says that its name in the filesystem goes with the server."""

    def __init__(
        self, sock: socket.socket, tls: ssl.SSLContext | None = None, names: tuple[str, ...] = (), *, ours: bool = False
    ) -> None:
        self.ours = ours
        self.socket = sock
        self.tls = tls
        self.names = names
        self.name = sock.getsockname()


class Server:
    """Serves one engine until `stop`."""

    def __init__(self, engine: Engine, names: tuple[str, ...] = (), *, experimental: bool = False) -> None:
        from inception.api.exec import Execs

        self.engine = engine
        self.experimental = experimental  # what we say; Docker's command line hides its `checkpoint` from others
        # What every answer has; clients choose their version by it.
        self.headers = {
            "Api-Version": f"{API_VERSION[0]}.{API_VERSION[1]}",
            "Docker-Experimental": str(experimental).lower(),
            "Ostype": "linux",
            "Server": f"Inception/{__version__} (linux)",
        }
        self.threads = Threads()
        self.hub = Hub(engine)
        self.hang_ups = HangUps()
        self.attachments = Attachments(self.hub, self.threads)
        self.execs: Execs = Execs()
        self.followers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.summaries = Summaries()
        self._solver: Solver | None = None
        self._open: dict[asyncio.Task[Any], Call] = {}
        self._router = Router()
        self._names = names
        self._stopping: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def buildkit(self) -> Solver:
        """Builds with BuildKit's protocol; made for the first client that speaks it."""
        if self._solver is None:
            from inception.api.buildkit.jobs import Solver

            self._solver = Solver(self)
        return self._solver

    async def run(self, listeners: list[Listener], ready: Any = None) -> None:
        """Serve *listeners* until `stop` is called; *ready* is called when clients can connect."""
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self.hub.start()
        self.hang_ups.start()
        runner = web.ServerRunner(
            _Web(
                self.handle,
                self.headers,
                access_log=None,
                logger=_quiet_logger(),
                max_line_size=_HEAD_BYTES,
                max_field_size=_HEAD_BYTES,
                max_headers=_HEADERS_MOST,
                auto_decompress=False,  # a gzip body is the client's archive, not an encoding of it
            ),
            shutdown_timeout=_STOP_TIMEOUT_S,
        )
        await runner.setup()
        try:
            sites = [web.SockSite(runner, each.socket, ssl_context=each.tls, backlog=512) for each in listeners]
            for site in sites:
                await site.start()
            if ready is not None:
                ready()
            await self._stopping.wait()
            for site in sites:
                await site.stop()
            self._end_streams()
        finally:
            await runner.cleanup()
            self.execs.close()
            self.threads.close()
            self.hang_ups.close()
            self.hub.close()

    def _end_streams(self) -> None:
        """What would go on for as long as its client listens; calls that come to an end get the time for it."""
        for task, call in list(self._open.items()):
            if call.answered:
                task.cancel()

    def stop(self) -> None:
        """End `run`; from any thread."""
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request; every error becomes Docker's JSON, none a traceback."""
        call: Call | None = None
        task = asyncio.current_task()
        assert task is not None
        try:
            self._check_origin(request)
            if request.headers.get("Expect", "100-continue").lower() != "100-continue":
                return self._with_headers(empty(417))
            if request.method == "OPTIONS":
                return self._with_headers(empty(200))
            handler, version, arguments = self._router.find(request.method, request.path)
            call = Call(self, request, version, arguments)
            self._open[task] = call
            response: web.StreamResponse = await handler(call)
        except NotModified:
            response = web.Response(status=304)
        except InceptionError as error:
            if call is not None and call.answered:
                return _break_off(request)
            response = reply({"message": message_of(error)}, status_of(error))
        except ConnectionError:
            if request.transport is not None:
                request.transport.abort()
            return Taken()  # the client has gone: nobody to answer to
        except asyncio.CancelledError:
            raise
        except Exception as error:
            print(f"inception serve: {request.method} {request.path}: {type(error).__name__}: {error}", file=sys.stderr)
            if os.environ.get("INCEPTION_DEBUG"):
                import traceback

                traceback.print_exc()
            if call is not None and call.answered:
                return _break_off(request)
            response = reply({"message": f"{type(error).__name__}: {error}"}, 500)
        finally:
            if call is not None:
                call.close()
                del self._open[task]
        return self._with_headers(response)

    def _with_headers(self, response: web.StreamResponse) -> web.StreamResponse:
        if not response.prepared:
            response.headers.update(self.headers)
        return response

    @contextmanager
    def following(self, container_id: str) -> Iterator[None]:
        """While a client reads a container's log."""
        ended = asyncio.Event()
        self.followers[container_id].add(ended)
        try:
            yield
        finally:
            ended.set()
            self.followers[container_id].discard(ended)
            if not self.followers[container_id]:
                del self.followers[container_id]

    async def await_followers(self, container_id: str) -> None:
        """Let those who follow an ended container's log come to its end before it is removed, as docker-py does."""
        ends = [asyncio.create_task(ended.wait()) for ended in self.followers.get(container_id, ())]
        if ends:
            _, late = await asyncio.wait(ends, timeout=_FOLLOWERS_TIMEOUT_S)
            for task in late:
                task.cancel()

    def _check_origin(self, request: web.BaseRequest) -> None:
        host = _host_name(request.headers.get("Host", ""))
        if not self._is_ours(host):
            raise Forbidden(f"host {host!r} is not a name of this server")
        origin = request.headers.get("Origin", "")
        if origin and not self._is_ours(urlsplit(origin).hostname or "null"):
            raise Forbidden(f"requests from pages of {origin} are refused")

    def _is_ours(self, host: str) -> bool:
        """Docker's clients say `docker`, `localhost`, `api.moby.localhost`, the socket's path, or where they connect to."""
        return (
            host in ("", "docker", "localhost", "127.0.0.1", "::1", *self._names)
            or host.endswith(".localhost")
            or host.startswith(("/", "%2f"))
        )


class _Web(web.Server):
    """aiohttp's server, whose own answers (to what is no HTTP) say whose they are, as all others do."""

    def __init__(self, handler: Any, headers: dict[str, str], **options: Any) -> None:
        super().__init__(handler, handler_cancellation=True)
        self._headers, self._options = headers, options

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, self._headers, self._options)


class _Connection(web.RequestHandler):
    __slots__ = ("_headers",)

    def __init__(self, server: web.Server, headers: dict[str, str], options: dict[str, Any]) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._headers = headers

    def handle_error(self, *arguments: Any, **named: Any) -> web.StreamResponse:
        response = super().handle_error(*arguments, **named)
        response.headers.update(self._headers)
        return response


def _break_off(request: web.BaseRequest) -> Taken:
    """A stream that can't go on ends without its proper end, so that nobody takes the half for the whole."""
    if request.transport is not None:
        request.transport.abort()
    return Taken()


def _quiet_logger() -> logging.Logger:
    """aiohttp's own words are about clients that broke off or sent no HTTP: nothing that an operator could act on."""
    for name in ("aiohttp.websocket", "inception.api"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    return logger


def _host_name(header: str) -> str:
    """The name in a Host header, without its port."""
    header = header.strip().lower()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if header.count(":") == 1 else header


def listen_unix(path: str) -> socket.socket:
    """A listening socket at *path*: 0600, in a folder that is made 0700 when it is not there.

    A socket that nobody serves any more is replaced; raises Forbidden for anything else in its place, Conflict for one that
    somebody serves.
    """
    from inception.errors import Conflict, Unavailable

    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        _remove_stale(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        former = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(former)
        sock.listen(512)
    except InceptionError:
        raise
    except OSError as error:
        if error.errno == 98:
            raise Conflict(f"listen on {path}: {error.strerror}") from error
        raise Unavailable(f"listen on {path}: {error}") from error
    return sock


def _remove_stale(path: str) -> None:
    import stat

    from inception.errors import Conflict

    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise Forbidden(f"listen on {path}: there is something else that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            os.unlink(path)
        else:
            raise Conflict(f"listen on {path}: another server is there", "stop it, or give another --host")
