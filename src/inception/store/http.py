"""HTTP/1.1, the client's side, as registries need it: kept connections, bodies as streams, one way to read a URL.

urllib3 did this before; importing it (with `http.client`, `email` and `logging`) took 70 ms, and the second pull of an image is
one request of five. What is here does less on purpose: no redirects, retries, cookies or content coding. Who asks, how often
and with which secret is decided in transport.py.

A server may be hostile. Heads are bounded in bytes and lines, a length that is said twice must be the same, a body ends where
it was announced to end and not before, and each wait is bounded by a timeout.
Source: RFC 9112; for tunnels RFC 9110, 9.3.6.
"""

from __future__ import annotations

import _socket
import os
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ssl import SSLContext
    from typing import Any

    #: `tls(everyone)` makes a context when one is needed (authorities.py): without *everyone* one that is made sooner, and
    #: may not know an authority that the system trusts.
    Tls = Callable[[bool], SSLContext]

_MAX_HEAD = 64 << 10
_MAX_HEADERS = 256
_MAX_INTERIM = 16
_RECEIVE = 1 << 18
_KEPT = 8
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
#: X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, _SELF_SIGNED_CERT_IN_CHAIN, _UNABLE_TO_GET_ISSUER_CERT_LOCALLY, _UNABLE_TO_VERIFY_
#: LEAF_SIGNATURE, and _UNABLE_TO_GET_ISSUER_CERT. Source: openssl/x509_vfy.h.
_STRANGERS = (18, 19, 20, 21, 2)
_PORTS = {"http": 80, "https": 443}


class HttpError(Exception):
    """The exchange broke; asking again may help."""


class Unreachable(HttpError):
    """Nobody there: asking again won't help whoever waits."""


class NoSuchHost(Unreachable):
    """The name leads nowhere."""


class TlsError(Unreachable):
    """No trust between the two."""


class Stranger(TlsError):
    """Its certificate is of an authority that isn't known."""


class ProxyError(Unreachable):
    """The proxy is not there, or doesn't let us through."""


def split_url(url: str) -> tuple[str, str, int, str]:
    """Scheme, host (without brackets), port and request target. Raises ValueError for anything that two readers could read
    as two places."""
    scheme, colons, rest = url.partition("://")
    scheme = scheme.lower()
    if not colons or scheme not in _PORTS:
        raise ValueError("neither http nor https")
    end = min((at for at in (rest.find(mark) for mark in "/?#") if at >= 0), default=len(rest))
    authority, target = rest[:end], rest[end:].partition("#")[0]
    host, colon, port = authority.rpartition(":") if authority.rpartition(":")[2].isdigit() else (authority, "", "")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        sound = bool(host) and set("0123456789abcdefABCDEF:.").issuperset(host)
    else:
        host = host if host.isascii() else host.encode("idna").decode()
        sound = bool(host) and all(character.isalnum() or character in "-._~" for character in host)
    if not sound or (colon and not (port.isascii() and 0 < int(port) < 65536)):
        raise ValueError(f"{authority[:80]!r} is not a host")
    if not target.startswith("/"):
        target = f"/{target}"
    return scheme, host.lower(), int(port or _PORTS[scheme]), _quoted(target)


def _quoted(target: str) -> str:
    """Nothing that would end the request line, or that isn't ASCII."""
    if target.isascii() and target.isprintable() and " " not in target:
        return target
    return "".join(chr(byte) if 0x20 < byte < 0x7F else f"%{byte:02X}" for byte in target.encode("utf-8", "surrogateescape"))


class Headers:
    """Names without case; `all` for those that come several times."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def get(self, name: str, default: str = "") -> str:
        """The first value."""
        return next((value for key, value in self._pairs if key == name.lower()), default)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key == name.lower()]


class Client:
    """Connections to one origin (`scheme`, `host`, `port`), kept for the next request. Safe from several threads.

    `authority` is the origin as an address has it: brackets around an IPv6 address, and the port if it isn't the scheme's own.
    """

    def __init__(
        self, scheme: str, host: str, port: int, *, tls: Tls, proxy: str = "", connect_s: float = 5.0, read_s: float = 60.0
    ) -> None:
        self._scheme, self._host, self._port = scheme, host, port
        self.authority = f"[{host}]" if ":" in host else host
        if port != _PORTS[scheme]:
            self.authority += f":{port}"
        self._tls = tls
        self._context: SSLContext | None = None
        self._everyone = False
        self._proxy = proxy
        self._connect_s, self._read_s = connect_s, read_s
        self._lock = allocate_lock()
        self._idle: list[_Connection] = []

    def request(self, method: str, target: str, headers: dict[str, str], body: Any = None) -> Response:
        """The answer's head; its body is still to be read. *body* is bytes, or has `read(n)` and a Content-Length among
        *headers*. Raises HttpError, OSError."""
        used = self._take()
        if used is not None:
            try:
                return self._exchange(used, method, target, headers, body)
            except HttpError:
                # Its server may have hung up while we asked, which no look beforehand can see (RFC 9112, 9.3.1).
                if method not in ("GET", "HEAD") or used.answered:
                    raise
        return self._exchange(self._connect(), method, target, headers, body)

    def _exchange(self, connection: _Connection, method: str, target: str, headers: dict[str, str], body: Any) -> Response:
        try:
            connection.answered = False
            connection.send(self._head(method, target, headers, body), body)
            return Response(connection, method, self._give_back)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def _head(self, method: str, target: str, headers: dict[str, str], body: Any) -> bytes:
        sent = {"Host": self.authority, "User-Agent": "inception", "Accept-Encoding": "identity", **headers}
        if isinstance(body, bytes):
            sent["Content-Length"] = str(len(body))
        if self._proxy and self._scheme == "http":
            target = f"http://{self.authority}{target}"
            sent.update(_proxy_login(self._proxy))
        lines = [f"{method} {target} HTTP/1.1", *(f"{key}: {value}" for key, value in sent.items())]
        if any(not character.isprintable() for line in lines for character in line):
            raise HttpError("a line break in a header")
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")

    def _take(self) -> _Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not connection.is_stale():
                return connection
            connection.close()

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            if len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self) -> _Connection:
        everyone = self._everyone
        try:
            return self._connect_trusting()
        except Stranger:
            if everyone:
                raise
            with self._lock:
                if not self._everyone:
                    self._everyone, self._context = True, None
            return self._connect_trusting()

    def _connect_trusting(self) -> _Connection:
        if not self._proxy:
            connection = _Connection(_dial(self._host, self._port, self._connect_s), self._read_s)
        else:
            connection = self._through_proxy()
        try:
            if self._scheme == "https":
                connection.encrypt(self._tls_context(), self._host)
        except BaseException:
            connection.close()
            raise
        return connection

    def _through_proxy(self) -> _Connection:
        scheme, host, port, _ = _split_proxy(self._proxy)
        try:
            connection = _Connection(_dial(host, port, self._connect_s), self._read_s)
        except (HttpError, OSError) as error:
            raise ProxyError(f"proxy {host}:{port}: {error}") from error
        try:
            if scheme == "https":
                connection.encrypt(self._tls_context(), host)
            if self._scheme == "https":
                place = f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"
                login = "".join(f"{key}: {value}\r\n" for key, value in _proxy_login(self._proxy).items())
                connection.send(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{login}\r\n".encode(), None)
                status, reason, _ = connection.read_head()
                if status != 200:
                    raise ProxyError(f"proxy {host}:{port} answers {status} {reason}".rstrip())
        except BaseException:
            connection.close()
            raise
        return connection

    def _tls_context(self) -> SSLContext:
        with self._lock:
            if self._context is None:
                self._context = self._tls(self._everyone)
            return self._context


class Response:
    """One answer. Whoever has it reads its body, or closes it."""

    def __init__(self, connection: _Connection, method: str, give_back: Callable[[_Connection], None]) -> None:
        for _ in range(_MAX_INTERIM):
            self.status, self.reason, self.headers = connection.read_head()
            if self.status >= 200 or self.status == 101:
                break
        else:
            raise HttpError("interim answers without end")
        self._connection: _Connection | None = connection
        self._give_back = give_back
        self._keep = "close" not in self.headers.get("connection").lower() and connection.version >= 1 and not connection.spoilt
        self._chunked = self.headers.get("transfer-encoding").lower() == "chunked"
        self._left: int | None = None  # None: until the connection ends
        if self.headers.get("transfer-encoding") and not self._chunked:
            raise HttpError("a transfer coding that nobody asked for")
        lengths = set(self.headers.all("content-length"))
        if method == "HEAD" or self.status in (204, 304):
            self._chunked, self._left = False, 0
        elif self._chunked:
            self._left = 0
            self._keep = self._keep and not lengths  # two lengths: what follows may be read in two ways
        elif lengths:
            text = lengths.pop()
            if lengths or not (text.isascii() and text.isdigit()) or len(text) > 18:
                raise HttpError("a length that is no length")
            self._left = int(text)
        if not self._chunked and self._left == 0:
            self._end()

    def stream(self, size: int = _RECEIVE) -> Iterator[bytes]:
        """The body as it comes, at most *size* bytes at a time. Raises HttpError when it ends before it should."""
        while (connection := self._connection) is not None:
            if self._chunked and self._left == 0:
                self._left = self._chunk_length(connection)
                if self._left == 0:
                    self._end()
                    return
            data = connection.receive(size if self._left is None else min(size, self._left))
            if not data:
                if self._left is None:
                    self._keep = False
                    self._end()
                    return
                raise HttpError("the connection was closed in the middle")
            if self._left is not None:
                self._left -= len(data)
                if self._left == 0:
                    if self._chunked:
                        if connection.line():
                            raise HttpError("a chunk without its end")
                    else:
                        self._end()
            yield data

    def read(self, most: int) -> bytes:
        """The body, but no more than *most* bytes of it."""
        parts: list[bytes] = []
        for data in self.stream():
            parts.append(data[:most])
            most -= len(data)
            if most <= 0:
                break
        return b"".join(parts)

    def close(self) -> None:
        """Gives up what was not read, and with it the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _end(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._keep:
                self._give_back(connection)
            else:
                connection.close()

    def _chunk_length(self, connection: _Connection) -> int:
        text = connection.line().partition(b";")[0].strip()
        if not text or len(text) > 15 or not set(b"0123456789abcdefABCDEF").issuperset(text):
            raise HttpError("a chunk of no length")
        length = int(text, 16)
        if length == 0:
            for _ in range(_MAX_HEADERS):
                if not connection.line():
                    return 0
            raise HttpError("trailers without end")
        return length


class _Connection:
    """A socket, and what has come out of it too early."""

    def __init__(self, sock: Any, read_s: float) -> None:
        self._sock = sock
        self._read_s = read_s
        self._early = b""
        self.version = 1
        self.answered = False  # something came since the last request, or its time was up
        self.spoilt = False  # a request that was not sent whole: nothing can follow it
        sock.settimeout(read_s)

    def encrypt(self, context: SSLContext, host: str) -> None:
        """TLS from here on; *host* is who must be at the other end."""
        import socket
        import ssl  # with `socket` 17 ms, which plain connections don't pay

        try:
            if isinstance(self._sock, _socket.socket) and not isinstance(self._sock, socket.socket):
                self._sock = socket.socket(fileno=self._sock.detach())
                self._sock.settimeout(self._read_s)
            if isinstance(self._sock, ssl.SSLSocket):
                self._sock = _Inner(self._sock, context, host)  # through a proxy that itself speaks TLS
            else:
                self._sock = context.wrap_socket(self._sock, server_hostname=host)
        except ssl.SSLError as error:
            kind = Stranger if getattr(error, "verify_code", 0) in _STRANGERS else TlsError
            raise kind(_plain(error)) from error
        except TimeoutError:
            raise Unreachable("timed out") from None
        except OSError as error:
            raise TlsError(error.strerror or str(error)) from error

    def is_stale(self) -> bool:
        """Whether the server has hung up, or spoken out of turn."""
        import select

        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLIN)
        return bool(self._early) or bool(poll.poll(0))

    def send(self, head: bytes, body: Any) -> None:
        try:
            self._sock.sendall(head + body if isinstance(body, bytes) else head)
            if body is not None and not isinstance(body, bytes):
                while piece := body.read(_RECEIVE):
                    self._sock.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            self.spoilt = True  # a server that has heard enough answers before the end: its answer says why
        except TimeoutError:
            raise HttpError("timed out") from None

    def receive(self, size: int) -> bytes:
        if self._early:
            data, self._early = self._early[:size], self._early[size:]
            return data
        return self._receive(size)

    def line(self) -> bytes:
        """Up to the next line break, without it."""
        while (end := self._early.find(b"\n")) < 0:
            if len(self._early) > _MAX_HEAD:
                raise HttpError("a line without end")
            data = self._receive(_RECEIVE)
            if not data:
                raise HttpError("the connection was closed in the middle")
            self._early += data
        line, self._early = self._early[:end], self._early[end + 1 :]
        return line.removesuffix(b"\r")

    def read_head(self) -> tuple[int, str, Headers]:
        budget = _MAX_HEAD
        first = self.line().decode("latin-1")
        version, _, rest = first.partition(" ")
        code, _, reason = rest.partition(" ")
        if version not in ("HTTP/1.1", "HTTP/1.0") or len(code) != 3 or not code.isdigit():
            raise HttpError("not an HTTP answer")
        self.version = int(version[-1])
        pairs: list[tuple[str, str]] = []
        while line := self.line():
            budget -= len(line)
            key, colon, value = line.decode("latin-1").partition(":")
            if budget < 0 or len(pairs) >= _MAX_HEADERS:
                raise HttpError("a head without end")
            if not colon or not key or not _TOKEN.issuperset(key):
                raise HttpError("a header that is none")
            pairs.append((key.lower(), value.strip(" \t")))
        return int(code), "".join(character for character in reason if character.isprintable())[:80], Headers(pairs)

    def close(self) -> None:
        try:
            self._sock.close()
        except OSError:
            pass

    def _receive(self, size: int) -> bytes:
        try:
            data: bytes = self._sock.recv(min(size, _RECEIVE))
        except TimeoutError:
            self.answered = True  # it is there, and slow
            raise HttpError("timed out") from None
        except ConnectionResetError:
            raise HttpError("the connection was reset") from None
        except ValueError:
            raise HttpError("the connection is closed") from None
        self.answered = self.answered or bool(data)
        return data


class _Inner:
    """TLS within TLS: what `ssl` has no socket for."""

    def __init__(self, outer: Any, context: SSLContext, host: str) -> None:
        import ssl

        self._outer = outer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._wants = ssl.SSLWantReadError
        self._do(self._object.do_handshake)

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._do(self._object.write, view) :]

    def recv(self, size: int) -> bytes:
        return self._do(self._object.read, size)  # type: ignore[no-any-return]

    def fileno(self) -> int:
        return self._outer.fileno()  # type: ignore[no-any-return]

    def close(self) -> None:
        self._outer.close()

    def _do(self, call: Callable[..., Any], *values: Any) -> Any:
        while True:
            try:
                result = call(*values)
                self._flush()
                return result
            except self._wants:
                self._flush()
                data = self._outer.recv(_RECEIVE)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._outer.sendall(data)


def _dial(host: str, port: int, timeout_s: float) -> Any:
    """A connected socket, of the first address that answers."""
    try:
        addresses = _socket.getaddrinfo(host.encode(), port, 0, _socket.SOCK_STREAM)
    except _socket.gaierror as error:
        raise NoSuchHost("no such host" if error.errno != _socket.EAI_AGAIN else "no such host (no name server)") from error
    except UnicodeError as error:
        raise NoSuchHost("no such host") from error
    cause = "no address"
    for family, kind, protocol, _, address in addresses:
        try:
            sock = _socket.socket(family, kind, protocol)
        except OSError as error:
            cause = os.strerror(error.errno or 0)
            continue
        try:
            sock.settimeout(timeout_s)
            sock.connect(address)
            sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            return sock
        except TimeoutError:
            cause = "timed out"
        except OSError as error:
            cause = os.strerror(error.errno or 0)
        except BaseException:
            sock.close()
            raise
        sock.close()
    raise Unreachable(cause)


def _split_proxy(proxy: str) -> tuple[str, str, int, str]:
    scheme, _, rest = proxy.partition("://")
    try:
        return split_url(f"{scheme}://{rest.rpartition('@')[2]}")
    except ValueError as error:
        raise ProxyError(f"proxy {rest.rpartition('@')[2][:80]}: {error}") from error


def _proxy_login(proxy: str) -> dict[str, str]:
    login, at, _ = proxy.partition("://")[2].rpartition("@")
    if not at:
        return {}
    from base64 import b64encode
    from urllib.parse import unquote

    return {"Proxy-Authorization": f"Basic {b64encode(unquote(login).encode()).decode()}"}


def _plain(error: Any) -> str:
    """OpenSSL's reason in words, without its file and line."""
    message = getattr(error, "verify_message", "")
    if message:
        return f"certificate verify failed: {message}"
    text = str(error.args[1] if len(error.args) > 1 else error)
    return text.partition("] ")[2].rpartition(" (_ssl.c")[0] or text
