"""Pulling: from Debian's own registry, and from one on loopback that lies in every way it can."""

from __future__ import annotations

import gzip
import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from inception.errors import Forbidden, InceptionError, InvalidArgument, NotFound, Unavailable
from inception.oci.digest import sha256
from inception.oci.image import DOCKER_INDEX, DOCKER_MANIFEST, MEDIA_INDEX, MEDIA_MANIFEST, Platform, host_platform
from inception.store import Store
from inception.store.hosts import Host, Registries, is_loopback
from inception.store.progress import Progress
from inception.store.pull import pull

from .registries import DebianRegistry, make_certificate
from .support import archive, folder, make_image, member
from .test_archive import assert_empty

pytestmark = pytest.mark.needs("root")

LAYER = archive(folder("d"), member("d/f", b"hello" * 1000))
PACKED = gzip.compress(LAYER, mtime=0)
CONFIG = json.dumps(
    {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha256(LAYER)]}}
).encode()


def manifest(**changes: object) -> dict[str, object]:
    return {
        "schemaVersion": 2,
        "mediaType": MEDIA_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(CONFIG), "size": len(CONFIG)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": sha256(PACKED), "size": len(PACKED)}],
        **changes,
    }


def index(*entries: tuple[bytes, str, str], media: str = MEDIA_INDEX) -> dict[str, object]:
    return {
        "schemaVersion": 2,
        "mediaType": media,
        "manifests": [
            {
                "mediaType": MEDIA_MANIFEST,
                "digest": sha256(data),
                "size": len(data),
                "platform": {"os": os_, "architecture": architecture},
            }
            for data, os_, architecture in entries
        ],
    }


class Registry:
    """A registry of one repository; a test changes what it answers. `requests` are the paths that were asked for."""

    def __init__(self) -> None:
        self.documents: dict[str, tuple[bytes, str]] = {}
        self.blobs: dict[str, bytes] = {sha256(CONFIG): CONFIG, sha256(PACKED): PACKED}
        self.requests: list[str] = []
        self.hook: Callable[[BaseHTTPRequestHandler], bool] = lambda request: False
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                registry.requests.append(self.path)
                if not registry.hook(self):
                    registry.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.name = f"127.0.0.1:{self.server.server_address[1]}/app"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def put(self, tag: str, value: dict[str, object] | bytes, media: str = "") -> bytes:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        kind = media or (MEDIA_MANIFEST if isinstance(value, bytes) else str(value.get("mediaType", MEDIA_MANIFEST)))
        self.documents[tag] = self.documents[sha256(data)] = (data, kind)
        return data

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        kind, _, key = request.path.removeprefix("/v2/app/").partition("/")
        if kind == "manifests" and key in self.documents:
            send(request, *self.documents[key])
        elif kind == "blobs" and key in self.blobs:
            send(request, self.blobs[key], "application/octet-stream")
        else:
            send(request, b"{}", "application/json", 404)

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def send(request: BaseHTTPRequestHandler, data: bytes, media: str, status: int = 200, **headers: str) -> None:
    request.send_response(status)
    for key, value in {"Content-Type": media, "Content-Length": str(len(data)), **headers}.items():
        request.send_header(key.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(data)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setattr("inception.store.registry._BACKOFF_S", 0.01)
    monkeypatch.setattr("inception.store.transport._BACKOFF_S", 0.01)
    monkeypatch.setenv("DOCKER_CONFIG", "/nonexistent")
    monkeypatch.setenv("INCEPTION_REGISTRIES", "/nonexistent")
    server = Registry()
    server.put("1", manifest())
    yield server
    server.close()


def test_an_image_is_pulled_and_not_fetched_twice(registry: Registry, store: Store) -> None:
    news: list[Progress] = []
    image = pull(store, f"{registry.name}:1", news.append)
    assert image.id == sha256(CONFIG)
    assert image.names == [f"{registry.name}:1"]
    assert image.repo_digests == [f"{registry.name}@{sha256(registry.documents['1'][0])}"]
    assert [line.status for line in news if not line.id][-1] == f"Status: Downloaded newer image for {registry.name}:1"
    registry.requests.clear()
    pull(store, f"{registry.name}:1", news.append)
    assert registry.requests == ["/v2/app/manifests/1"]
    assert news[-1].status == f"Status: Image is up to date for {registry.name}:1"
    store.snapshots.prepare("s", image_id=image.id)
    with store.snapshots.view("s") as root:
        assert root.read_bytes("d/f", 10_000) == b"hello" * 1000


@pytest.mark.parametrize("media", [MEDIA_INDEX, DOCKER_INDEX])
def test_the_manifest_of_this_machine_is_taken_from_an_index(media: str, registry: Registry, store: Store) -> None:
    own = registry.put("x", manifest())
    other = registry.put("y", manifest(annotations={"other": "one"}))
    own_platform = host_platform()
    top = registry.put("m", index((other, "linux", "s390x"), (own, "linux", own_platform.architecture), media=media))
    image = pull(store, f"{registry.name}:m")
    assert image.manifest_digest == sha256(own)
    assert image.repo_digests == [f"{registry.name}@{sha256(top)}"]
    by_digest = pull(store, f"{registry.name}@{sha256(top)}")
    assert by_digest.id == image.id
    with pytest.raises(NotFound, match="no matching manifest for plan9/mips in the manifest list entries"):
        pull(store, f"{registry.name}:m", platform=Platform(os="plan9", architecture="mips"))


def test_dockers_own_media_types_are_understood(registry: Registry, store: Store) -> None:
    value = manifest(mediaType=DOCKER_MANIFEST)
    value["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"  # type: ignore[index]
    value["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"  # type: ignore[index]
    registry.put("d", value)
    assert pull(store, f"{registry.name}:d").id == sha256(CONFIG)


def with_config(**changes: object) -> dict[str, object]:
    value = manifest()
    value["config"] = {**value["config"], **changes}  # type: ignore[dict-item]
    return value


def with_layer(**changes: object) -> dict[str, object]:
    value = manifest()
    value["layers"] = [{**value["layers"][0], **changes}]  # type: ignore[index]
    return value


LIES: dict[str, dict[str, object] | bytes] = {
    "both index and manifest": {**manifest(), "manifests": []},
    "index that is a manifest": {**manifest(), "mediaType": MEDIA_INDEX},
    "manifest that is an index": {**index(), "mediaType": MEDIA_MANIFEST},
    "schema 1": {"schemaVersion": 1, "name": "x"},
    "unknown type": manifest(mediaType="text/html"),
    "duplicate keys": b'{"schemaVersion": 2, "schemaVersion": 2, "mediaType": "%s"}' % MEDIA_MANIFEST.encode(),
    "deep": b"[" * 100_000,
    "50 MB": b" " * (50 << 20),
    "no json": b"<html>",
    "array": b"[]",
    "no layers": {key: value for key, value in manifest().items() if key != "layers"},
    "layers of wrong type": manifest(layers=["x"]),
    "digest with a path": with_layer(digest="sha256:../../../../etc/passwd"),
    "digest of another algorithm": with_layer(digest="md5:" + "0" * 32),
    "negative size": with_layer(size=-1),
    "too small a size": with_layer(size=len(PACKED) - 1),
    "too large a size": with_layer(size=len(PACKED) + 1),
    "foreign format": with_layer(mediaType="application/vnd.erofs"),
    "helm chart": with_config(mediaType="application/vnd.cncf.helm.config.v1+json"),
    "config is the layer": with_config(digest=sha256(PACKED), size=len(PACKED)),
    "two layers for one diff_id": manifest(layers=manifest()["layers"] * 2),  # type: ignore[operator]
    "no layers for one diff_id": manifest(layers=[]),
    "blob that is not there": with_layer(digest=sha256(b"nowhere")),
}


@pytest.mark.parametrize("case", LIES)
def test_a_lie_in_the_manifest_is_refused_and_leaves_nothing(case: str, registry: Registry, store: Store, canary: Path) -> None:
    registry.put("lie", LIES[case])
    with pytest.raises((InvalidArgument, NotFound, Unavailable)) as caught:
        pull(store, f"{registry.name}:lie")
    assert len(str(caught.value)) < 500
    assert_empty(store)


@pytest.mark.parametrize("header", ["application/json", "text/plain; charset=utf-8", "application/octet-stream"])
def test_a_server_of_plain_files_is_a_registry_too(header: str, registry: Registry, store: Store) -> None:
    plain = {key: value for key, value in manifest().items() if key != "mediaType"}
    data = registry.put("latest", json.dumps(plain).encode(), header)
    registry.put(
        "many", json.dumps({"schemaVersion": 2, "manifests": index((data, "linux", "amd64"))["manifests"]}).encode(), header
    )
    assert pull(store, registry.name).manifest_digest == sha256(data)
    assert pull(store, f"{registry.name}:many").manifest_digest == sha256(data)


@pytest.mark.parametrize("place", ["created", "history[1].created"])
def test_a_time_that_is_none_is_refused(place: str, registry: Registry, store: Store) -> None:
    document = json.loads(CONFIG)
    times = {"created": "yesterday", "history[1].created": "2026-13-01T00:00:00Z"}
    if place == "created":
        document["created"] = times[place]
    else:
        document["history"] = [{"created": "2026-12-01T00:00:00.123456789+01:00"}, {"created": times[place]}]
    data = json.dumps(document).encode()
    registry.blobs[sha256(data)] = data
    described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(data), "size": len(data)}
    registry.put("latest", manifest(config=described))
    with pytest.raises(InvalidArgument, match=re.escape(f"{place}: not a time of RFC 3339: {times[place]!r}")):
        pull(store, registry.name)
    assert_empty(store)


def test_what_an_index_lists_beside_images_is_nobodys_mistake(registry: Registry, store: Store) -> None:
    data = registry.put("image", manifest())
    strange = {"mediaType": "application/vnd.example+json", "digest": sha256(b"{}"), "size": 2}
    here = {"platform": {"os": "linux", "architecture": "amd64"}}
    unknown = {
        "mediaType": MEDIA_MANIFEST,
        "digest": f"blake3:{'0' * 64}",
        "size": 2,
        "platform": {"os": "plan9", "architecture": "x"},
    }
    image = index((data, "linux", "amd64"))["manifests"]
    assert isinstance(image, list)
    entries = [strange, strange | here, unknown, *image]
    registry.put(
        "latest",
        {"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": entries, "futureField": {}, "annotations": {"new": "x"}},
    )
    assert pull(store, registry.name).manifest_digest == sha256(data)
    registry.put("none", {"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": [strange]})
    with pytest.raises(InvalidArgument, match="no image in its index"):
        pull(store, f"{registry.name}:none")


def test_a_root_filesystem_of_another_type_is_refused(registry: Registry, store: Store) -> None:
    data = json.dumps({**json.loads(CONFIG), "rootfs": {"type": "squash", "diff_ids": [sha256(LAYER)]}}).encode()
    registry.blobs[sha256(data)] = data
    described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(data), "size": len(data)}
    registry.put("latest", manifest(config=described))
    with pytest.raises(InvalidArgument, match=r"rootfs\.type: 'squash' is not supported"):
        pull(store, registry.name)
    assert_empty(store)


def test_header_and_body_must_agree_on_what_it_is(registry: Registry, store: Store) -> None:
    registry.put("1", manifest(), media=MEDIA_INDEX)
    with pytest.raises(InvalidArgument, match=r"it says .* the registry says"):
        pull(store, f"{registry.name}:1")


@pytest.mark.parametrize("data", [b"other bytes", PACKED[:-1], PACKED + b"x", PACKED[:-1] + b"x", b""])
@pytest.mark.parametrize("digest", [sha256(CONFIG), sha256(PACKED)])
def test_other_bytes_than_promised_are_refused(data: bytes, digest: str, registry: Registry, store: Store) -> None:
    registry.blobs[digest] = data
    with pytest.raises((InvalidArgument, Unavailable)):
        pull(store, f"{registry.name}:1")
    assert_empty(store)


def test_a_manifest_asked_for_by_digest_must_have_it(registry: Registry, store: Store) -> None:
    digest = sha256(b"something else")
    registry.documents[digest] = registry.documents["1"]
    with pytest.raises(InvalidArgument, match="the bytes have digest"):
        pull(store, f"{registry.name}@{digest}")


def test_a_digest_that_the_registry_says_must_be_that_of_its_bytes(registry: Registry, store: Store, canary: Path) -> None:
    def lie(request: BaseHTTPRequestHandler) -> bool:
        if "/manifests/" not in request.path:
            return False
        send(request, *registry.documents["1"], Docker_Content_Digest=sha256(b"another"))
        return True

    registry.hook = lie
    with pytest.raises(InvalidArgument, match="the registry says sha256"):
        pull(store, f"{registry.name}:1")
    assert_empty(store)


def test_limits_are_those_of_the_settings(
    registry: Registry, store: Store, canary: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path_factory.mktemp("settings") / "store.json"
    monkeypatch.setenv("INCEPTION_STORE", str(path))
    for limits, words in (
        ({"max_entries": 1}, "more than 1 entries"),
        ({"max_bytes": 4999}, "more than the allowed 4999 bytes"),
        ({"max_depth": 1}, "deeper than 1 folders"),
        ({"max_name_bytes": 2}, "the name is longer than 2 bytes"),
    ):
        path.write_text(json.dumps({"limits": limits}))
        with pytest.raises(InvalidArgument, match=words):
            pull(store, f"{registry.name}:1")
        assert_empty(store)
    path.write_text(json.dumps({"limits": {"max_entries": 2, "max_bytes": 5000}}))
    pull(store, f"{registry.name}:1")
    store.images.remove(f"{registry.name}:1")


def test_a_layer_that_unpacks_to_something_else_is_refused(registry: Registry, store: Store) -> None:
    packed = gzip.compress(archive(member("other")))
    registry.blobs[sha256(packed)] = packed
    registry.put("1", with_layer(digest=sha256(packed), size=len(packed)))
    with pytest.raises(InvalidArgument, match="the unpacked bytes have digest"):
        pull(store, f"{registry.name}:1")
    assert_empty(store)


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_transfer_that_breaks_is_taken_up_again(knows_ranges: bool, registry: Registry, store: Store) -> None:
    import os as system

    noise = archive(member("noise", system.urandom(3 << 20)))
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha256(noise)]}}
    ).encode()
    registry.blobs.update({sha256(noise): noise, sha256(config): config})
    value = with_layer(digest=sha256(noise), size=len(noise), mediaType="application/vnd.oci.image.layer.v1.tar")
    value["config"] = {**value["config"], "digest": sha256(config), "size": len(config)}  # type: ignore[dict-item]
    registry.put("1", value)
    ranges: list[str] = []

    def broken(request: BaseHTTPRequestHandler) -> bool:
        if not request.path.endswith(sha256(noise)):
            return False
        asked = request.headers.get("Range", "")
        ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and knows_ranges else 0
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(noise) - 1}/{len(noise)}")
        request.send_header("Content-Length", str(len(noise) - start))
        request.end_headers()
        request.wfile.write(noise[start : start + (1 << 20)] if len(ranges) < 3 else noise[start:])
        request.close_connection = True
        return True

    registry.hook = broken
    assert pull(store, f"{registry.name}:1").id == sha256(config)
    assert len(ranges) >= 3
    assert ranges[0] == ""
    assert all(asked.startswith("bytes=") for asked in ranges[1:])


def test_an_overloaded_registry_is_asked_again(registry: Registry, store: Store) -> None:
    answers = [503, 429]

    def busy(request: BaseHTTPRequestHandler) -> bool:
        if not answers:
            return False
        send(request, b"", "text/plain", answers.pop())
        return True

    registry.hook = busy
    assert pull(store, f"{registry.name}:1").id == sha256(CONFIG)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, Forbidden, "pull access denied for 127.0.0.1:.*/app, repository does not exist or may require a login"),
        (403, Forbidden, "pull access denied for 127.0.0.1:.*/app, repository does not exist or may require a login"),
        (404, NotFound, "manifest for .*/app:1 not found: manifest unknown"),
        (418, Unavailable, "answers 418"),
    ],
)
def test_a_refusal_has_words(status: int, error: type[InceptionError], words: str, registry: Registry, store: Store) -> None:
    def refuse(request: BaseHTTPRequestHandler) -> bool:
        send(request, b"{}", "application/json", status, WWW_Authenticate='Basic realm="x"')
        return True

    registry.hook = refuse
    with pytest.raises(error, match=words):
        pull(store, f"{registry.name}:1")
    assert len(registry.requests) == 1


def test_a_repository_that_is_not_there_is_said_in_the_registrys_words(registry: Registry, store: Store) -> None:
    def refuse(request: BaseHTTPRequestHandler) -> bool:
        body = b'{"errors": [{"code": "NAME_UNKNOWN", "message": "repository name not known"}]}'
        send(request, body, "application/json", 404)
        return True

    registry.hook = refuse
    with pytest.raises(NotFound, match=r"manifest for .*/app:1 not found: name unknown: repository name not known"):
        pull(store, f"{registry.name}:1")


def test_a_limit_that_lasts_too_long_says_how_long(registry: Registry, store: Store) -> None:
    def busy(request: BaseHTTPRequestHandler) -> bool:
        body = b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "your pull rate limit"}]}'
        send(request, body, "application/json", 429, Retry_After="3600")
        return True

    registry.hook = busy
    with pytest.raises(Unavailable, match="has had too many requests: toomanyrequests: your pull rate limit") as caught:
        pull(store, f"{registry.name}:1")
    assert caught.value.hint == "it says: again in 3600 s"
    assert len(registry.requests) == 1


def test_a_wrong_clock_is_named_when_no_token_is_good(registry: Registry, store: Store) -> None:
    def refuse(request: BaseHTTPRequestHandler) -> bool:
        request.date_time_string = lambda timestamp=None: "Mon, 01 Jan 2024 00:00:00 GMT"  # type: ignore[method-assign]
        send(request, b"", "text/plain", 401)
        return True

    registry.hook = refuse
    with pytest.raises(Forbidden) as caught:
        pull(store, f"{registry.name}:1")
    assert "the clocks of this machine and of 127.0.0.1" in caught.value.hint and "minutes apart" in caught.value.hint


def test_plain_http_and_tls_taken_for_each_other_have_hints(registry: Registry, store: Store) -> None:
    host = registry.name.partition("/")[0]
    with pytest.raises(Unavailable, match=r"TLS with 127\.0\.0\.1:\d+ failed") as caught:
        pull(store, f"{registry.name}:1", registries=Registries(hosts={host: Host(http=False)}))
    assert caught.value.hint.startswith(f'it does not speak TLS: "hosts": {{"{host}": {{"http": true}}}}')

    def complain(request: BaseHTTPRequestHandler) -> bool:
        send(request, b"Client sent an HTTP request to an HTTPS server.\n", "text/plain", 400)
        return True

    registry.hook = complain
    with pytest.raises(Unavailable, match="speaks TLS, and was asked in plain http") as caught:
        pull(store, f"{registry.name}:1")
    assert caught.value.hint.startswith(f'"hosts": {{"{host}": {{"ca": "FILE"}}}} in ')
    with pytest.raises(Unavailable, match=r"TLS with .* failed"):  # who doubts a certificate wants one
        pull(store, f"{registry.name}:1", registries=Registries(hosts={host: Host(skip_verify=True)}))


def test_a_proxy_of_the_environment_is_asked_for_other_hosts_alone(
    registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = registry.name.partition("/")[0]
    asked: list[str] = []

    def forward(request: BaseHTTPRequestHandler) -> bool:
        asked.append(request.path)
        request.path = request.path.removeprefix("http://registry.invalid")
        return False

    registry.hook = forward
    settings = Registries(hosts={"registry.invalid": Host(http=True)})
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy}")
    assert pull(store, "registry.invalid/app:1", registries=settings).names == ["registry.invalid/app:1"]
    assert asked and all(path.startswith("http://registry.invalid/v2/app/") for path in asked)
    monkeypatch.setenv("NO_PROXY", ".invalid")
    with pytest.raises(Unavailable, match="does not answer: no such host"):
        pull(Store(f"{store.root}-2"), "registry.invalid/app:1", registries=settings)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY")
    with pytest.raises(Unavailable, match=r"proxy 127\.0\.0\.1:1: Connection refused"):
        pull(Store(f"{store.root}-2"), "registry.invalid/app:1", registries=settings)
    pull(store, f"{registry.name}:1")


def test_a_redirect_of_a_blob_is_followed_and_a_circle_is_not(registry: Registry, store: Store) -> None:
    def moved(request: BaseHTTPRequestHandler) -> bool:
        if "/blobs/" not in request.path or "?moved" in request.path:
            request.path = request.path.partition("?")[0]
            return False
        send(request, b"", "text/plain", 307, Location=f"{request.path}?moved")
        return True

    registry.hook = moved
    assert pull(store, f"{registry.name}:1").id == sha256(CONFIG)

    def circle(request: BaseHTTPRequestHandler) -> bool:
        send(request, b"", "text/plain", 307, Location=request.path)
        return True

    registry.hook = circle
    with pytest.raises(Unavailable, match="redirects too often"):
        pull(store, f"{registry.name}:1")


def test_a_registry_that_is_not_there_is_an_error_at_once(store: Store) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        name = f"127.0.0.1:{taken.getsockname()[1]}/app:1"
        with pytest.raises(Unavailable, match="does not answer: Connection refused"):
            pull(store, name)


def test_plain_http_is_for_this_machine_only() -> None:
    assert all(is_loopback(host) for host in ("localhost", "localhost:5000", "127.0.0.1:1", "127.9.9.9", "[::1]:5000"))
    assert not any(is_loopback(host) for host in ("127.evil.example", "127.0.0.1.example", "example", "10.0.0.1", "1270.0.0.1"))


def test_https_with_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path, store: Store) -> None:
    key, certificate = make_certificate(tmp_path)
    server = Registry()
    server.put("1", manifest())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.server.socket = context.wrap_socket(server.server.socket, server_side=True)
    name = f"{server.name.replace('127.0.0.1', 'localhost')}:1"
    host = name.partition("/")[0]
    try:
        with pytest.raises(Unavailable, match="certificate verify failed") as caught:
            pull(store, name, registries=Registries(hosts={host: Host(http=False)}))
        assert f'"{host}": {{"ca": "FILE"}}' in caught.value.hint
        assert server.requests == []
        assert pull(store, name, registries=Registries(hosts={host: Host(ca=str(certificate))})).id == sha256(CONFIG)
        assert pull(store, name, registries=Registries(hosts={host: Host(http=False, skip_verify=True)}))
        with pytest.raises(InvalidArgument, match="certificates /nonexistent"):
            pull(store, name, registries=Registries(hosts={host: Host(ca="/nonexistent")}))
    finally:
        server.close()


def test_a_registry_on_loopback_that_speaks_tls_is_asked_so(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker's registry answers plain http with words, Python's TLS with an end of the connection."""
    key, certificate = make_certificate(tmp_path)
    of_debian = DebianRegistry(tmp_path, http=f"  tls: {{certificate: {certificate}, key: {key}}}")
    of_python = Registry()
    of_python.put("1", manifest())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    of_python.server.socket = context.wrap_socket(of_python.server.socket, server_side=True)
    try:
        for name in (f"{of_debian.host}/none:1", f"{of_python.name}:1"):
            with pytest.raises(Unavailable, match="certificate verify failed") as caught:
                pull(store, name)
            assert f'"{name.partition("/")[0]}": {{"ca": "FILE"}}' in caught.value.hint
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert pull(store, f"{of_python.name}:1").id == sha256(CONFIG)
        with pytest.raises(InceptionError, match="manifest unknown"):
            pull(store, f"{of_debian.host}/none:1")
    finally:
        of_python.close()
        of_debian.close()


@pytest.fixture
def debian_registry(tmp_path: Path) -> Iterator[str]:
    """`docker-registry` of Debian on a free port of loopback."""
    server = DebianRegistry(tmp_path)
    yield server.host
    server.close()


@pytest.mark.needs("docker-registry")
def test_what_debians_registry_holds_is_pulled(debian_registry: str, store: Store, tmp_path: Path) -> None:
    import urllib3

    base = f"http://{debian_registry}/v2/team/app"
    http = urllib3.PoolManager()
    for data in (CONFIG, PACKED):
        location = http.request("POST", f"{base}/blobs/uploads/").headers["Location"]
        joined = f"{location}&digest={sha256(data)}"
        assert http.request("PUT", joined, body=data, headers={"Content-Type": "application/octet-stream"}).status == 201
    answer = http.request("PUT", f"{base}/manifests/1", body=json.dumps(manifest()), headers={"Content-Type": MEDIA_MANIFEST})
    assert answer.status == 201
    http.clear()
    image = pull(store, f"{debian_registry}/team/app:1")
    assert image.id == sha256(CONFIG)
    with pytest.raises(NotFound, match="manifest unknown"):
        pull(store, f"{debian_registry}/team/app:2")


def test_three_processes_pull_the_same_image_at_once(registry: Registry, store: Store) -> None:
    pids = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            try:
                pull(Store(store.root), f"{registry.name}:1")
                os._exit(0)
            finally:
                os._exit(1)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    store.recover()
    assert sorted(os.listdir(f"{store.root}/layers")) == ["1", "empty"]
    assert make_image(store, LAYER).layer_ids == store.images.resolve(f"{registry.name}:1").layer_ids


def test_a_mirror_is_told_which_registry_it_stands_for(registry: Registry, store: Store) -> None:
    mirror = registry.name.removesuffix("/app")
    settings = Registries(hosts={"registry.example": Host(mirrors=[f"http://{mirror}"])})
    answer = registry.answer

    def without_query(request: BaseHTTPRequestHandler) -> bool:
        request.path = request.path.partition("?")[0]
        answer(request)
        return True

    registry.hook = without_query
    assert pull(store, "registry.example/app:1", registries=settings).names == ["registry.example/app:1"]
    assert {path.rpartition("?")[2] for path in registry.requests} == {"ns=registry.example"}
    assert len(registry.requests) == 3  # manifest, configuration, layer
