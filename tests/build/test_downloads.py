"""ADD of a URL, from a server on loopback."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from inception.build import BuildFailed, DockerfileError

pytestmark = pytest.mark.needs("root")


class Server(ThreadingHTTPServer):
    """Serves `files` by path; counts what it was asked for and how it answered."""

    files: dict[str, bytes]
    moved: dict[str, str]
    logins: set[str]
    answers: list[tuple[str, int]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.logins.add(self.headers.get("Authorization", ""))
        if self.path in self.server.moved:
            self.send_response(302)
            self.send_header("Location", self.server.moved[self.path])
            self.end_headers()
            return
        data = self.server.files.get(self.path)
        tag = f'"{hashlib.md5(data or b"").hexdigest()}"'
        if data is None:
            status = 404
        elif self.headers.get("If-None-Match") == tag:
            status = 304
        else:
            status = 200
        self.server.answers.append((self.path, status))
        self.send_response(status)
        if status == 200:
            self.send_header("Last-Modified", "Sun, 13 Sep 2020 12:26:40 GMT")
            self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        if status == 200:
            self.wfile.write(data or b"")

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server(("127.0.0.1", 0), Handler)
    found.files, found.answers, found.moved, found.logins = {}, [], {}, set()
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


@pytest.fixture
def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_a_download_is_private_and_has_the_servers_time(builder, server, url):
    server.files["/d/file.txt"] = b"x"
    builder.build(f"FROM scratch\nADD {url}/d/file.txt /dir/\nADD {url}/d/file.txt /other\n")
    assert builder.tree() == ["drwxr-xr-x 0:0 dir/", "-rw------- 0:0 dir/file.txt", "-rw------- 0:0 other"]
    assert builder.stat("other").st_mtime_ns == 1_600_000_000 * 10**9


def test_an_unchanged_download_is_asked_for_but_not_fetched_again(builder, server, url):
    server.files["/f"] = b"1"
    text = f"FROM scratch\nADD {url}/f /f\n"
    builder.build(text)
    builder.build(text)
    assert builder.cached() == [True]
    assert [status for _, status in server.answers] == [200, 304]
    server.files["/f"] = b"2"
    builder.build(text)
    assert builder.cached() == [False]
    assert builder.read("f") == "2"


def test_a_checksum_needs_no_server_when_the_step_is_cached(builder, server, url):
    server.files["/f"] = b"1"
    text = f"FROM scratch\nADD --checksum=sha256:{hashlib.sha256(b'1').hexdigest()} {url}/f /f\n"
    builder.build(text)
    builder.build(text)
    assert builder.cached() == [True]
    assert len(server.answers) == 1


def test_redirects_are_followed_to_an_end(builder, server, url):
    server.files["/there/real"] = b"1"
    server.moved = {"/f": "/g", "/g": f"{url}/there/real", "/round": "/round", "/away": "ftp://127.0.0.1/x"}
    builder.build(f"FROM scratch\nADD {url}/f /\n")
    assert builder.read("f") == "1"
    with pytest.raises(BuildFailed, match="more than 10 redirects"):
        builder.build(f"FROM scratch\nADD {url}/round /\n")
    with pytest.raises(BuildFailed, match="neither http nor https"):
        builder.build(f"FROM scratch\nADD {url}/away /\n")


def test_a_log_in_of_the_url_is_for_its_server_and_shown_nowhere(builder, server, url):
    server.files["/f"] = b"1"
    builder.build(f"FROM scratch\nADD {url.replace('://', '://me:canary@')}/f /\n")
    assert server.logins == {"Basic bWU6Y2FuYXJ5"}
    assert "canary" not in str(builder.document()) + str(builder.events)


def test_a_wrong_checksum_is_refused(builder, server, url):
    server.files["/f"] = b"1"
    with pytest.raises(BuildFailed, match="digest mismatch sha256:6b86b"):
        builder.build(f"FROM scratch\nADD --checksum=sha256:{'0' * 64} {url}/f /f\n")


def test_archives_are_unpacked_only_when_asked(builder, server, url):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("inside"))
    server.files["/a.tgz"] = data.getvalue()
    builder.build(f"FROM scratch\nADD {url}/a.tgz /one/\nADD --unpack {url}/a.tgz /two\n")
    assert [line.split(" ")[2] for line in builder.tree()] == ["one/", "one/a.tgz", "two/", "two/inside"]


@pytest.mark.parametrize(
    ("path", "destination", "message"),
    [
        ("/missing", "/x", "invalid response status 404 of http://127.0.0.1"),
        ("/", "/x/", "cannot determine filename from url"),
    ],
)
def test_failures_name_the_url(builder, server, url, path, destination, message):
    server.files["/"] = b"x"
    with pytest.raises((BuildFailed, DockerfileError), match=message):
        builder.build(f"FROM scratch\nADD {url}{path} {destination}\n")


def test_a_server_that_is_not_there_is_named(builder):
    with pytest.raises(BuildFailed, match=r"Dockerfile:2: ADD: download http://127\.0\.0\.1:9/x"):
        builder.build("FROM scratch\nADD http://127.0.0.1:9/x /x\n")
