"""HTTP to an engine: over a unix socket, TCP with TLS, or ssh.

One connection a request under way, kept for the next; a stream or a taken connection (attach, exec) has its own. The paths
carry the API version that both sides know.
"""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from inception.errors import (
    Conflict,
    Forbidden,
    InceptionError,
    InvalidArgument,
    NotFound,
    NotModified,
    StartFailed,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inception.client.address import Address

_NEWEST, _OLDEST = (1, 51), (1, 24)
_CHUNK = 1 << 16
_CONNECT_TIMEOUT_S = 30.0
_ERRORS: dict[int, type[InceptionError]] = {400: InvalidArgument, 401: Forbidden, 403: Forbidden, 404: NotFound, 409: Conflict}


class Transport:
    """The way to one engine. Safe for several threads: each request takes a connection of its own."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._idle: list[http.client.HTTPConnection] = []
        self._prefix = ""

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def json(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The answer's document; None for an empty one."""
        with self.request(method, path, body, query=query) as answer:
            data = answer.read()
        return json.loads(data) if data.strip() else None

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """The answer, its body unread. *body* is a document, or bytes or pieces of them (a tar). Raises what it says."""
        return self._send(method, self._version() + path + _query_text(query or {}), body, headers or {})

    def _send(self, method: str, target: str, body: Any, headers: dict[str, str]) -> Answer:
        head = {"Host": "docker", **headers}
        if body is not None and not isinstance(body, bytes) and isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            head["Content-Type"] = "application/json"
        elif body is not None:
            head.setdefault("Content-Type", "application/x-tar")
        chunked = body is not None and not isinstance(body, bytes)
        while True:
            connection = self._idle.pop() if self._idle and not chunked else self._connect()
            used = getattr(connection, "used", False)
            connection.used = True  # type: ignore[attr-defined]
            try:
                connection.request(method, target, body, head, encode_chunked=chunked)
                answer = connection.getresponse()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
                connection.close()
                if used:
                    continue  # it was closed while it lay idle
                raise self._lost(error) from error
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                raise self._lost(error) from error
            break
        found = Answer(self, connection, answer)
        if answer.status >= 300:
            with found:
                raise error_of(answer.status, answer.read(1 << 20), target)
        return found

    def upgrade(self, path: str, body: Any = None, **query: Any) -> socket.socket:
        """A connection taken out of HTTP: what comes after the head is the stream's."""
        return self.upgrade_to("tcp", path, [("Accept", "application/vnd.docker.multiplexed-stream")], body, query)

    def upgrade_to(
        self, protocol: str, path: str, headers: list[tuple[str, str]], body: Any = None, query: dict[str, Any] | None = None
    ) -> socket.socket:
        data = json.dumps(body).encode() if body is not None else b""
        target = self._version() + path + _query_text(query or {})
        head = f"POST {target} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers)
        if body is not None:
            head += "Content-Type: application/json\r\n"
        connection = self.open_socket()
        try:
            connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            received = b""
            while not received.endswith(b"\r\n\r\n"):
                piece = connection.recv(1)
                if not piece:
                    raise ConnectionResetError("the connection ended")
                received += piece
            status = int(received.split(b" ", 2)[1])
            if status not in (101, 200):
                raise error_of(status, _rest_of(connection, received), target)
        except (OSError, ValueError, IndexError) as error:
            connection.close()
            raise self._lost(error) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _version(self) -> str:
        """`/v1.44`: the newest that both know."""
        if not self._prefix:
            with self._send("GET", "/_ping", None, {}) as answer:
                answer.read()
                said = answer.header("Api-Version")
            major, _, minor = said.partition(".")
            theirs = (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else _OLDEST
            if theirs < _OLDEST:
                raise Unavailable(f"{self.address.text}: its API version {said} is older than 1.24")
            used = min(theirs, _NEWEST)
            self._prefix = f"/v{used[0]}.{used[1]}"
        return self._prefix

    @property
    def api_version(self) -> tuple[int, int]:
        major, _, minor = self._version().removeprefix("/v").partition(".")
        return int(major), int(minor)

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("docker")
        connection.sock = self.open_socket()
        return connection

    def open_socket(self) -> socket.socket:
        """A connected socket. Raises Unavailable."""
        address = self.address
        try:
            if address.kind == "ssh":
                return _ssh(address)
            if address.kind == "unix":
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                sock.connect(address.path)
                return sock
            plain = socket.create_connection((address.host, address.port), _CONNECT_TIMEOUT_S)
            plain.settimeout(None)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return plain if address.tls is None else _secured(plain, address)
        except OSError as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> Unavailable:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Unavailable(
            f"cannot connect to the engine at {self.address.text}: {reason}", "is it running, and may you use it?"
        )

    def keep(self, connection: http.client.HTTPConnection) -> None:
        self._idle.append(connection)


class Answer:
    """A response with an unread body; a context manager that gives the connection back when everything was read."""

    def __init__(
        self, transport: Transport, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        self._transport = transport
        self._connection = connection
        self._response = response

    def header(self, name: str) -> str:
        return self._response.getheader(name) or ""

    def read(self, count: int | None = None) -> bytes:
        try:
            return self._response.read(count)
        except (OSError, http.client.HTTPException) as error:
            raise self._transport._lost(error) from error

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes; closes at its end."""
        with self:
            while True:
                try:
                    piece = self._response.read1(_CHUNK)
                except (OSError, ValueError, http.client.HTTPException) as error:
                    raise self._transport._lost(error) from error
                if not piece:
                    return
                yield piece

    def documents(self) -> Iterator[Any]:
        """A stream of JSON documents, one a line."""
        rest = b""
        for piece in self.pieces():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line.strip():
                    yield json.loads(line)
        if rest.strip():
            yield json.loads(rest)

    def hang_up(self) -> None:
        """End a stream that another thread reads."""
        if self._connection.sock is not None:
            try:
                self._connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def fileno(self) -> int:
        return self._connection.sock.fileno()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._response.isclosed() and not self._response.will_close:
            self._transport.keep(self._connection)
        else:
            self._response.close()
            self._connection.close()


def segment(name: str) -> str:
    """A name as one part of a path; the slashes of an image's stay."""
    return quote(name, safe="/:@")


def filters_text(filters: dict[str, list[str]] | None) -> str | None:
    return json.dumps(filters) if filters else None


def error_of(status: int, data: bytes, target: str) -> InceptionError:
    """What a status and its body mean."""
    try:
        message = str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        message = data.decode("utf-8", "replace").strip() or f"{target}: the engine answers {status}"
    if status == 304:
        return NotModified(message)
    lowered = message.lower()
    if target.partition("?")[0].endswith("/start") and status in (400, 500):
        missing = "executable file not found" in lowered or "no such file or directory" in lowered
        return StartFailed(
            message, exit_code=127 if missing else 126 if "permission denied" in lowered or "is a directory" in lowered else 128
        )
    return _ERRORS.get(status, Unavailable)(message)


def _query_text(query: dict[str, Any]) -> str:
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        key = name.replace("_", "-") if name.startswith(("one_", "shared_")) else name
        for each in value if isinstance(value, list) else [value]:
            if each is not None and each != "":
                pairs.append((key, ("1" if each else "0") if isinstance(each, bool) else str(each)))
    return "?" + urlencode(pairs) if pairs else ""


def _rest_of(connection: socket.socket, head: bytes) -> bytes:
    """The body of an error, as far as its length is said."""
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and value.strip().isdigit():
            length = min(int(value), 1 << 20)
    data = b""
    while len(data) < length and (piece := connection.recv(length - len(data))):
        data += piece
    return data


def _secured(plain: socket.socket, address: Address) -> socket.socket:
    import ssl

    tls = address.tls
    assert tls is not None
    try:
        context = ssl.create_default_context(cafile=tls.authority or None)
        if not tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key)
        return context.wrap_socket(plain, server_hostname=address.host)
    except BaseException:
        plain.close()
        raise


def _ssh(address: Address) -> socket.socket:
    """The ends of `ssh HOST docker system dial-stdio` as one socket. The program ends with the connection."""
    import subprocess

    ours, theirs = socket.socketpair()
    with theirs:
        host = address.host
        command = ["ssh", "-o", "ConnectTimeout=30", "-T", *(["-p", str(address.port)] if address.port else []), "--", host]
        # Ours where it is installed, else Docker's: both have the verb.
        remote = (
            "if command -v inception >/dev/null; then exec inception system dial-stdio; else exec docker system dial-stdio; fi"
        )
        try:
            subprocess.Popen([*command, remote], stdin=theirs.fileno(), stdout=theirs.fileno(), start_new_session=True)
        except FileNotFoundError:
            ours.close()
            raise Unavailable(f"{address.text}: ssh is not installed") from None
    return ours


__all__ = ["Answer", "Transport", "error_of", "filters_text", "segment"]
