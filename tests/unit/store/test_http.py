"""Our HTTP client against servers that misbehave, one canned answer at a time."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inception.store.authorities import trusting
from inception.store.http import Client, HttpError, NoSuchHost, ProxyError, TlsError, Unreachable, split_url

Serve = Callable[[socket.socket], None]


class Server:
    """Runs *serve* on each connection; `port` is where. `connections` counts them."""

    def __init__(self, serve: Serve, context: ssl.SSLContext | None = None) -> None:
        self.serve, self.context = serve, context
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection: socket.socket) -> None:
        try:
            if self.context is not None:
                connection = self.context.wrap_socket(connection, server_side=True)
            self.serve(connection)
        except OSError:
            pass
        finally:
            connection.close()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


@pytest.fixture
def servers() -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def start(serve: Serve, context: ssl.SSLContext | None = None) -> Server:
        started.append(Server(serve, context))
        return started[-1]

    yield start
    for server in started:
        server.close()


def head(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(4096)
        if not piece:
            raise OSError("gone")
        data += piece
    return data


def answering(*answers: bytes) -> Serve:
    """Each request of a connection gets the next of *answers*; then the connection ends."""

    def serve(connection: socket.socket) -> None:
        for answer in answers:
            head(connection)
            connection.sendall(answer)

    return serve


def client(
    port: int, *, scheme: str = "http", context: ssl.SSLContext | None = None, proxy: str = "", read_s: float = 5
) -> Client:
    return Client(
        scheme, "127.0.0.1", port, tls=lambda everyone: context or trusting(everyone), proxy=proxy, connect_s=5, read_s=read_s
    )


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: t\r\n\r\n", b"hello"),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
def test_bodies_end_where_they_are_announced_to_end(answer: bytes, body: bytes, servers: Callable[..., Server]) -> None:
    response = client(servers(answering(answer)).port).request("GET", "/", {})
    assert b"".join(response.stream(2)) == body


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 1000,
    ],
)
def test_answers_that_are_none_are_errors(answer: bytes, servers: Callable[..., Server]) -> None:
    with pytest.raises((HttpError, OSError)):
        client(servers(answering(answer)).port).request("GET", "/", {}).read(1 << 20)


def test_a_connection_is_used_again_until_the_server_hangs_up(servers: Callable[..., Server]) -> None:
    one = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"
    server = servers(answering(one, one))
    asks = client(server.port)
    assert [asks.request("GET", "/", {}).read(9) for _ in range(4)] == [b"1"] * 4
    assert server.connections == 2
    asks.close()


def test_a_server_that_hangs_up_as_it_is_asked_is_asked_again(servers: Callable[..., Server]) -> None:
    """It closes an idle connection when the next request is on its way: no look at the connection can see that."""
    one = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"

    def serve(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(one)
        head(connection)  # and not a word

    server = servers(serve)
    asks = client(server.port)
    assert [asks.request("GET", "/", {}).read(9) for _ in range(3)] == [b"1"] * 3
    assert server.connections == 3
    with pytest.raises(HttpError):
        asks.request("POST", "/", {}, b"once")
    assert server.connections == 3
    asks.close()


def test_what_was_not_read_spoils_no_later_answer(servers: Callable[..., Server]) -> None:
    server = servers(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc", b"HTTP/1.1 200 OK\r\n\r\n"))
    asks = client(server.port)
    response = asks.request("GET", "/", {})
    assert response.read(3) == b"abc"
    response.close()
    asks.request("GET", "/", {}).close()
    assert server.connections == 2


def test_two_lengths_in_one_answer_end_the_connection(servers: Callable[..., Server]) -> None:
    both = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    server = servers(answering(both, both))
    asks = client(server.port)
    assert [asks.request("GET", "/", {}).read(9) for _ in range(2)] == [b"x", b"x"]
    assert server.connections == 2


def test_an_answer_before_the_end_of_a_request_is_heard(servers: Callable[..., Server]) -> None:
    def refuse(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
            pass

    response = client(servers(refuse).port).request("PATCH", "/", {"Content-Length": str(8 << 20)}, _Zeros(8 << 20))
    assert response.status == 413


class _Zeros:
    def __init__(self, left: int) -> None:
        self.left = left

    def read(self, size: int) -> bytes:
        size = min(size, self.left)
        self.left -= size
        return bytes(size)


def test_a_server_that_says_nothing_is_not_waited_for_forever(servers: Callable[..., Server]) -> None:
    with pytest.raises(HttpError, match="timed out"):
        client(servers(lambda connection: connection.recv(1 << 20) and connection.recv(1)).port, read_s=0.2).request(
            "GET", "/", {}
        )


def test_nobody_there_has_words(servers: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(Unreachable, match="Connection refused"):
        client(port).request("GET", "/", {})
    with pytest.raises(NoSuchHost):
        Client("http", "nowhere.invalid", 80, tls=trusting).request("GET", "/", {})


def test_a_line_break_gets_into_no_head(servers: Callable[..., Server]) -> None:
    with pytest.raises(HttpError, match="line break"):
        client(servers(answering(b"")).port).request("GET", "/", {"X": "a\r\nY: b"})


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://h.example", ("https", "h.example", 443, "/")),
        ("HTTP://H.example:5000/v2/?a=b#c", ("http", "h.example", 5000, "/v2/?a=b")),
        ("http://[::1]:80?x", ("http", "::1", 80, "/?x")),
        ("http://h/a b\u00fc", ("http", "h", 80, "/a%20b%C3%BC")),
    ],
)
def test_a_url_is_read_in_one_way(url: str, parts: tuple[str, str, int, str]) -> None:
    assert split_url(url) == parts


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/", "//h/", "h/", "http://", "http://u@h/", "http://u:p@h/", "http://h\\@evil/", "http://h evil/", "http://h:0/",
        "http://h:99999/", "http://h:8x/", "http://[::1", "http://[x]/", "http://h\n/", "http:///x", "http://h%2eexample/",
    ],
)  # fmt: skip
def test_a_url_that_could_mean_two_places_is_none(url: str) -> None:
    with pytest.raises(ValueError, match=r"host|http"):
        split_url(url)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's side, and a client's that believes it."""
    folder: Path = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", folder / "key", "-out", folder / "cert"],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(folder / "cert", folder / "key")
    ours = ssl.create_default_context(cafile=str(folder / "cert"))
    return theirs, ours


ONE = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"


def test_tls_with_someone_unknown_is_refused(
    certificate: tuple[ssl.SSLContext, ssl.SSLContext], servers: Callable[..., Server]
) -> None:
    server = servers(answering(ONE), certificate[0])
    with pytest.raises(TlsError, match="self-signed certificate"):
        client(server.port, scheme="https").request("GET", "/", {})
    assert client(server.port, scheme="https", context=certificate[1]).request("GET", "/", {}).read(9) == b"yes"


def test_whom_the_first_context_does_not_know_the_whole_one_may(
    certificate: tuple[ssl.SSLContext, ssl.SSLContext], servers: Callable[..., Server]
) -> None:
    theirs, knowing = certificate
    server = servers(answering(ONE), theirs)
    asked = []

    def tls(everyone: bool) -> ssl.SSLContext:
        asked.append(everyone)
        return knowing if everyone else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    asks = Client("https", "127.0.0.1", server.port, tls=tls)
    assert [asks.request("GET", "/", {}).read(9) for _ in range(2)] == [b"yes", b"yes"]
    assert asked == [False, True]
    asks.close()


def test_the_folder_of_authorities_is_enough_and_the_file_is_read_where_it_is_not(
    certificate: tuple[ssl.SSLContext, ssl.SSLContext],
    servers: Callable[..., Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = servers(answering(ONE), certificate[0])
    (authority,) = certificate[1].get_ca_certs(binary_form=True)
    pem = tmp_path / "own.pem"
    pem.write_text(ssl.DER_cert_to_PEM_cert(authority))
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "hashed"
    folder.mkdir()
    places = ssl.get_default_verify_paths()._replace(capath=str(folder))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: places)

    def read_at_once(everyone: bool) -> dict[str, int]:
        return trusting(everyone).cert_store_stats()

    everything = ssl.create_default_context().cert_store_stats()
    assert read_at_once(False) == read_at_once(True) == everything  # nothing is in the folder: it isn't kept here
    name = subprocess.run(["openssl", "x509", "-hash", "-noout", "-in", pem], check=True, capture_output=True, text=True)
    (folder / f"{name.stdout.strip()}.0").symlink_to(pem)
    assert read_at_once(False)["x509"] == 0
    assert read_at_once(True) == everything
    assert client(server.port, scheme="https").request("GET", "/", {}).read(9) == b"yes"
    (folder / f"{name.stdout.strip()}.0").rename(folder / "00000000.0")
    with pytest.raises(TlsError, match="self-signed certificate"):
        client(server.port, scheme="https").request("GET", "/", {})
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    assert client(server.port, scheme="https").request("GET", "/", {}).read(9) == b"yes"


def test_who_speaks_no_tls_is_told_apart(servers: Callable[..., Server]) -> None:
    plain = servers(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    with pytest.raises(TlsError, match=r"(?i)wrong.version.number"):
        client(plain.port, scheme="https").request("GET", "/", {})


def tunnel(said: list[bytes], target: int, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> Serve:
    def serve(connection: socket.socket) -> None:
        said.append(head(connection))
        connection.sendall(answer)
        if b" 200 " not in answer:
            return
        with socket.create_connection(("127.0.0.1", target)) as onward:
            back = threading.Thread(target=pump, args=(onward, connection), daemon=True)
            back.start()
            pump(connection, onward)
            back.join()

    return serve


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_tls_goes_through_a_proxy_that_sees_nothing_of_it(
    scheme: str, certificate: tuple[ssl.SSLContext, ssl.SSLContext], servers: Callable[..., Server]
) -> None:
    theirs, ours = certificate
    said: list[bytes] = []
    behind = servers(answering(ONE), theirs)
    proxy = servers(tunnel(said, behind.port), theirs if scheme == "https" else None)
    asks = client(behind.port, scheme="https", context=ours, proxy=f"{scheme}://me:p%40ss@127.0.0.1:{proxy.port}")
    assert asks.request("GET", "/secret", {"Authorization": "Bearer t"}).read(9) == b"yes"
    asks.close()
    assert said[0].startswith(f"CONNECT 127.0.0.1:{behind.port} HTTP/1.1\r\n".encode())
    assert b"Proxy-Authorization: Basic bWU6cEBzcw==" in said[0]
    assert b"secret" not in said[0] and b"Bearer" not in said[0]


def test_plain_http_asks_a_proxy_for_the_whole_address(servers: Callable[..., Server]) -> None:
    said: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        said.append(head(connection))
        connection.sendall(ONE)

    proxy = servers(serve)
    asks = Client("http", "far.example", 80, tls=trusting, proxy=f"http://127.0.0.1:{proxy.port}")
    assert asks.request("GET", "/v2/", {}).read(9) == b"yes"
    assert said[0].startswith(b"GET http://far.example/v2/ HTTP/1.1\r\nHost: far.example\r\n")


def test_a_proxy_that_refuses_or_is_not_there_is_named(servers: Callable[..., Server]) -> None:
    said: list[bytes] = []
    proxy = servers(tunnel(said, 0, b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"))
    with pytest.raises(ProxyError, match=f"proxy 127.0.0.1:{proxy.port} answers 407"):
        client(1, scheme="https", proxy=f"http://127.0.0.1:{proxy.port}").request("GET", "/", {})
    with pytest.raises(ProxyError, match="Connection refused"):
        client(1, scheme="https", proxy="http://127.0.0.1:1").request("GET", "/", {})
