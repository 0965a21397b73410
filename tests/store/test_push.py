"""Pushing and logging in: Debian's registry plain, with TLS and passwords, with tokens; and one that misbehaves."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import zstandard

from inception.errors import Conflict, Forbidden, InvalidArgument, NotFound, Unavailable
from inception.oci.digest import sha256
from inception.oci.image import DOCKER_MANIFEST, MEDIA_INDEX, MEDIA_MANIFEST, Platform
from inception.oci.reference import Reference
from inception.store import Store, credentials
from inception.store.artifacts import push as push_artifact
from inception.store.credentials import Credentials
from inception.store.hosts import Host, Registries, endpoint
from inception.store.login import check, login, logout, search
from inception.store.progress import Progress
from inception.store.pull import fetch_document, open_repository, pull, pull_all_tags
from inception.store.push import push, push_index

from .registries import HTPASSWD, DebianRegistry, TokenServer, free_port, make_certificate
from .support import archive, folder, make_image, member, tree

pytestmark = pytest.mark.needs("root", "docker-registry", "openssl")

LAYERS = [
    archive(folder("d"), member("d/f", b"hello" * 1000), folder("etc"), member("etc/x", b"1")),
    archive(member("top", b"on top"), member("d/.wh.f")),
]
LOGIN = Credentials(username="user", password="secret")


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Neither this machine's log-ins nor its settings matter; waits are short."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("INCEPTION_REGISTRIES", str(tmp_path / "registries.json"))
    monkeypatch.setattr("inception.store.registry._BACKOFF_S", 0.01)
    monkeypatch.setattr("inception.store.transport._BACKOFF_S", 0.01)
    return tmp_path / "docker"


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[DebianRegistry]:
    server = DebianRegistry(tmp_path)
    yield server
    server.close()


@pytest.fixture
def with_password(tmp_path: Path) -> Iterator[DebianRegistry]:
    """TLS and basic authentication."""
    key, certificate = make_certificate(tmp_path)
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    server = DebianRegistry(
        tmp_path,
        f"auth: {{htpasswd: {{realm: tests, path: {tmp_path}/htpasswd}}}}",
        f"  tls: {{certificate: {certificate}, key: {key}}}",
    )
    (tmp_path / "registries.json").write_text(json.dumps({"hosts": {server.host: {"ca": str(certificate)}}}))
    yield server
    server.close()


@pytest.fixture
def token_server(tmp_path: Path) -> Iterator[TokenServer]:
    (tmp_path / "tokens").mkdir()
    server = TokenServer(tmp_path / "tokens", anonymous=("pull",))
    yield server
    server.close()


@pytest.fixture
def with_tokens(tmp_path: Path, token_server: TokenServer) -> Iterator[DebianRegistry]:
    server = DebianRegistry(tmp_path, token_server.config())
    yield server
    server.close()


def statuses(news: list[Progress]) -> list[str]:
    return [line.status for line in news]


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_what_was_pushed_is_pulled_as_the_same_image(
    compression: str, plain: DebianRegistry, store: Store, tmp_path: Path
) -> None:
    name = f"{plain.host}/team/app:1"
    image = make_image(store, *LAYERS, name=name)
    pushed = push(store, name, compression=compression)
    document, media_type = fetch_document(name)
    assert media_type == MEDIA_MANIFEST
    assert sha256(document) == pushed.digest
    kinds = {layer["mediaType"].rpartition("+")[2] for layer in json.loads(document)["layers"]}
    assert kinds == {compression}
    assert f"{plain.host}/team/app@{pushed.digest}" in store.images.resolve(name).repo_digests
    other = Store(str(tmp_path / "other"))
    pulled = pull(other, name)
    assert pulled.id == image.id
    for ours, theirs in zip(image.layer_ids, pulled.layer_ids, strict=True):
        assert tree(store.layers.path(ours)) == tree(other.layers.path(theirs))
    # What came compressed goes up as it came: the same manifest, whichever compression is asked for.
    other.images.tag(name, f"{plain.host}/else/where:2")
    assert push(other, f"{plain.host}/else/where:2", compression="gzip").digest == pushed.digest


def test_a_second_push_sends_no_layer_and_a_neighbour_mounts_it(plain: DebianRegistry, store: Store) -> None:
    first, second = f"{plain.host}/team/app:1", f"{plain.host}/team/other:1"
    make_image(store, *LAYERS, name=first)
    store.images.tag(first, second)
    digest = push(store, first).digest
    news: list[Progress] = []
    assert push(store, first, news.append).digest == digest
    assert statuses(news).count("Layer already exists") == 2
    news.clear()
    assert push(store, second, news.append).digest == digest
    assert statuses(news).count("Mounted from team/app") == 2


def test_the_base_of_an_image_goes_in_the_form_it_came_in(plain: DebianRegistry, store: Store, tmp_path: Path) -> None:
    maker = Store(str(tmp_path / "maker"))
    base = f"{plain.host}/base:1"
    make_image(maker, LAYERS[0], name=base)
    push(maker, base, compression="zstd")
    below = pull(store, base)
    with store.lease(), store.scratch() as scratch:
        from inception.oci.image import ImageDocument, RootFs

        top = store.layers.stage([LAYERS[1]], scratch)
        document = ImageDocument(
            architecture="amd64", os="linux", rootfs=RootFs(diff_ids=[*below.document.rootfs.diff_ids, top.diff_id])
        )
        store.images.create(document, [*below.layer_ids, top], names=[f"{plain.host}/app:1"])
        store.content.put([LAYERS[1]])
    news: list[Progress] = []
    push(store, f"{plain.host}/app:1", news.append)
    assert statuses(news).count("Mounted from base") == 1
    assert statuses(news).count("Compressing") == 1
    layers = json.loads(fetch_document(f"{plain.host}/app:1")[0])["layers"]
    assert layers[0]["digest"] == json.loads(fetch_document(base)[0])["layers"][0]["digest"]


def test_compression_gives_the_same_bytes_again(store: Store) -> None:
    from inception.store.push import compress

    data = os.urandom(100_000) + bytes(3 << 20)
    for kind, unpack in (
        ("gzip", gzip.decompress),
        ("zstd", lambda packed: zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed)).read()),
    ):
        first = b"".join(compress([data], kind))
        assert first == b"".join(compress([data], kind))
        assert unpack(first) == data


def test_images_of_several_platforms_go_under_one_name(plain: DebianRegistry, store: Store, tmp_path: Path) -> None:
    from inception.oci.image import ImageDocument, RootFs

    for architecture in ("amd64", "s390x"):
        with store.lease(), store.scratch() as scratch:
            layer = archive(member("arch", architecture.encode()))
            staged = store.layers.stage([layer], scratch)
            store.content.put([layer])
            document = ImageDocument(architecture=architecture, os="linux", rootfs=RootFs(diff_ids=[staged.diff_id]))
            store.images.create(document, [staged], names=[f"{architecture}:1"])
    name = f"{plain.host}/many:1"
    pushed = push_index(store, name, ["amd64:1", "s390x:1"])
    document, media_type = fetch_document(name)
    assert media_type == MEDIA_INDEX
    assert sha256(document) == pushed.digest
    other = Store(str(tmp_path / "other"))
    for architecture in ("amd64", "s390x"):
        image = pull(other, name, platform=Platform(os="linux", architecture=architecture))
        assert image.document.architecture == architecture
        assert image.id == store.images.resolve(f"{architecture}:1").id
    with pytest.raises(Conflict, match="two images for linux/amd64"):
        push_index(store, name, ["amd64:1", "amd64:1"])


def test_all_tags_of_a_repository_are_pulled(plain: DebianRegistry, store: Store, tmp_path: Path) -> None:
    image = make_image(store, LAYERS[0], name=f"{plain.host}/app:a")
    for tag in ("a", "b", "c"):
        store.images.tag(image.id, f"{plain.host}/app:{tag}")
        push(store, f"{plain.host}/app:{tag}")
    pulled = pull_all_tags(Store(str(tmp_path / "other")), f"{plain.host}/app")
    assert pulled[-1].names == [f"{plain.host}/app:{tag}" for tag in ("a", "b", "c")]
    for repository in ("app", "signatures"):
        push_artifact(f"{plain.host}/{repository}:b.sig", [], artifact_type="application/x-signature")
    told: list[str] = []
    again = pull_all_tags(Store(str(tmp_path / "other")), f"{plain.host}/app", lambda news: told.append(news.status))
    assert [each.id for each in again] == [image.id] * 3
    assert any(text.startswith(f"Skipped: {plain.host}/app:b.sig: this is an artifact") for text in told)
    with pytest.raises(InvalidArgument, match="artifact of type 'application/x-signature'") as caught:
        pull_all_tags(store, f"{plain.host}/signatures")
    assert caught.value.hint == f"`inception artifact pull {plain.host}/signatures:b.sig` brings its files"
    assert [found.name for found in search(f"{plain.host}/ap")] == [f"{plain.host}/app"]


def test_a_password_opens_a_registry_over_tls(with_password: DebianRegistry, store: Store, own_settings: Path) -> None:
    host = with_password.host
    name = f"{host}/app:1"
    make_image(store, *LAYERS, name=name)
    with pytest.raises(
        Forbidden, match=f"push access denied for {host}/app, repository does not exist or may require a login"
    ) as caught:
        push(store, name)
    assert caught.value.hint == f"inception login {host}"
    with pytest.raises(Forbidden, match="unauthorized"):
        login(host, Credentials(username="user", password="wrong"))
    assert not own_settings.exists()
    assert login(host, LOGIN) == str(own_settings / "config.json")
    assert (own_settings / "config.json").stat().st_mode & 0o777 == 0o600
    assert push(store, name).digest
    assert pull(store, name).names == [name]
    logout(host)
    with pytest.raises(NotFound, match=f"Not logged in to {host}"):
        logout(host)
    with pytest.raises(Forbidden, match="pull access denied"):
        pull(store, name)
    assert pull(store, name, credentials=LOGIN).names == [name]


def test_tokens_are_asked_for_what_is_needed_and_no_more(
    with_tokens: DebianRegistry, token_server: TokenServer, store: Store
) -> None:
    name, other = f"{with_tokens.host}/app:1", f"{with_tokens.host}/other:1"
    make_image(store, *LAYERS, name=name)
    store.images.tag(name, other)
    with pytest.raises(Forbidden, match="push access denied"):
        push(store, name)
    login(with_tokens.host, LOGIN)
    push(store, name)
    token_server.asked.clear()
    news: list[Progress] = []
    push(store, other, news.append)
    assert "Mounted from app" in statuses(news)
    assert [scopes for scopes, _ in token_server.asked if "repository:app:pull" in scopes]
    logout(with_tokens.host)
    token_server.asked.clear()
    assert pull(store, name).names  # anonymous
    assert token_server.asked == [(["repository:app:pull"], "")]


def test_a_token_that_has_expired_is_replaced(
    with_tokens: DebianRegistry, token_server: TokenServer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{with_tokens.host}/app:1"
    make_image(store, *LAYERS, name=name)
    push(store, name, credentials=LOGIN)
    token_server.asked.clear()
    monkeypatch.setattr("inception.store.authorization._MIN_LIFE_S", 0)
    monkeypatch.setattr("inception.store.authorization._SLACK_S", token_server.life_s - 1)
    reference = Reference.parse(name)
    repository = open_repository(reference, endpoint(Registries(), reference.domain), "check", LOGIN, "pull")
    for _ in range(2):
        assert repository.tags() == ["1"]
    assert len(token_server.asked) == 1
    time.sleep(1.1)
    assert repository.tags() == ["1"]
    assert len(token_server.asked) == 2
    repository.close()


def test_an_identity_token_is_exchanged(with_tokens: DebianRegistry, token_server: TokenServer, store: Store) -> None:
    name = f"{with_tokens.host}/app:1"
    make_image(store, LAYERS[0], name=name)
    push(store, name, credentials=Credentials(identity_token="identity"))
    assert {secret for _, secret in token_server.asked} == {"identity"}
    with pytest.raises(Forbidden, match="refuses a token: incorrect username or password"):
        check(with_tokens.host, Credentials(username="user", password="wrong"))


class Misbehaving:
    """A registry that takes uploads; `hook(request, body)` may answer instead. `seen` are (method, path, Authorization)."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.uploads: dict[str, bytes] = {}
        self.seen: list[tuple[str, str, str]] = []
        self.hook: Callable[[BaseHTTPRequestHandler, bytes], bool] = lambda request, body: False
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server.seen.append((self.command, self.path, self.headers.get("Authorization", "")))
                if not server.hook(self, body):
                    server.answer(self, body)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.host = f"127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        path, _, query = request.path.partition("?")
        key = path.rpartition("/")[2]
        if "/uploads/" in path:
            self.upload(request, key, body, query)
        elif "/blobs/" in path:
            reply(request, 200 if key in self.blobs else 404, self.blobs.get(key, b""))
        elif request.command == "PUT":
            self.manifests[key] = (body, request.headers["Content-Type"])
            reply(request, 201)
        else:
            reply(request, 404, b"{}")

    def upload(self, request: BaseHTTPRequestHandler, key: str, body: bytes, query: str) -> None:
        if request.command == "POST":
            key = str(len(self.uploads))
            self.uploads[key] = b""
            reply(request, 202, Location=f"/v2/app/blobs/uploads/{key}?state=x")
            return
        if request.command in ("PATCH", "PUT"):
            self.uploads[key] += body
        have = len(self.uploads[key])
        if request.command == "PUT":
            digest = query.rpartition("digest=")[2].replace("%3A", ":")
            good = sha256(self.uploads[key]) == digest
            self.blobs[digest] = self.uploads[key]
            reply(request, 201 if good else 400)
        else:
            status = 204 if request.command == "GET" else 202
            reply(request, status, Location=f"/v2/app/blobs/uploads/{key}?state={have}", Range=f"0-{max(have - 1, 0)}")


def reply(request: BaseHTTPRequestHandler, status: int, data: bytes = b"", **headers: str) -> None:
    request.send_response(status)
    if status != 204:
        request.send_header("Content-Length", str(len(data)))
    for key, value in headers.items():
        request.send_header(key.replace("_", "-"), value)
    request.end_headers()
    if request.command != "HEAD" and status != 204:
        request.wfile.write(data)


@pytest.fixture
def misbehaving() -> Iterator[Misbehaving]:
    server = Misbehaving()
    yield server
    server.close()


BIG = archive(member("noise", os.urandom(6 << 20)))


def test_an_upload_that_breaks_is_taken_up_where_the_registry_got_to(misbehaving: Misbehaving, store: Store) -> None:
    name = f"{misbehaving.host}/app:1"
    make_image(store, BIG, name=name)
    broken = [2_000_000, 3_000_000]
    ranges: list[str] = []

    def breaks(request: BaseHTTPRequestHandler, body: bytes) -> bool:
        if request.command != "PATCH":
            return False
        ranges.append(request.headers.get("Content-Range", ""))
        if not broken:
            return False
        misbehaving.uploads[request.path.rpartition("/")[2].partition("?")[0]] += body[: broken.pop()]
        request.close_connection = True
        return True

    misbehaving.hook = breaks
    push(store, name)
    assert len(ranges) >= 3
    assert ranges[0] == ""
    assert ranges[1].startswith("3000000-")
    assert ranges[2].startswith("5000000-")


def test_a_registry_that_wants_smaller_pieces_gets_them(
    misbehaving: Misbehaving, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inception.store.registry._PIECE_BYTES", 2 << 20)
    name = f"{misbehaving.host}/app:1"
    make_image(store, BIG, name=name)
    sizes: list[int] = []

    def picky(request: BaseHTTPRequestHandler, body: bytes) -> bool:
        if request.command != "PATCH":
            return False
        sizes.append(len(body))
        if len(body) > 2 << 20:
            reply(request, 413)
            return True
        return False

    misbehaving.hook = picky
    push(store, name)
    assert max(sizes[1:]) == 2 << 20


def test_a_registry_from_before_oci_gets_dockers_manifest(misbehaving: Misbehaving, store: Store) -> None:
    name = f"{misbehaving.host}/app:1"
    make_image(store, *LAYERS, name=name)

    def old(request: BaseHTTPRequestHandler, body: bytes) -> bool:
        if request.command == "PUT" and request.headers["Content-Type"] == MEDIA_MANIFEST:
            reply(request, 415, b'{"errors": [{"code": "MANIFEST_INVALID", "message": "what is this"}]}')
            return True
        return False

    misbehaving.hook = old
    push(store, name)
    document, media_type = misbehaving.manifests["1"]
    assert media_type == DOCKER_MANIFEST == json.loads(document)["mediaType"]
    with pytest.raises(Unavailable, match="what is this"):
        push(store, name, compression="zstd") if store.db.execute("DELETE FROM layer_blobs") else None


def test_a_busy_registry_is_given_the_time_it_asks_for(
    misbehaving: Misbehaving, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{misbehaving.host}/app:1"
    make_image(store, LAYERS[0], name=name)
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    answers = ["7", "3600"]

    def busy(request: BaseHTTPRequestHandler, body: bytes) -> bool:
        if request.command != "HEAD" or not answers:
            return False
        reply(request, 429, Retry_After=answers.pop(0))
        return True

    misbehaving.hook = busy
    with pytest.raises(Unavailable, match="has had too many requests") as caught:
        push(store, name)
    assert caught.value.hint == "it says: again in 3600 s"
    assert 7 in [round(wait) for wait in waits]


def test_no_secret_follows_an_upload_to_another_origin(misbehaving: Misbehaving, store: Store) -> None:
    other = Misbehaving()
    name = f"{misbehaving.host}/app:1"
    make_image(store, LAYERS[0], name=name)

    def elsewhere(request: BaseHTTPRequestHandler, body: bytes) -> bool:
        if not request.headers.get("Authorization"):
            reply(request, 401, WWW_Authenticate='Basic realm="x"')
        elif request.command == "POST":
            upload = os.urandom(4).hex()
            other.uploads[upload] = b""
            reply(request, 202, Location=f"http://{other.host}/v2/app/blobs/uploads/{upload}?x=1")
        elif request.command == "PUT":
            misbehaving.answer(request, body)
        else:
            return False
        return True

    misbehaving.hook = elsewhere
    try:
        push(store, name, credentials=LOGIN)
        assert [method for method, _, _ in other.seen] == ["PUT", "PUT"]
        assert {secret for _, _, secret in other.seen} == {""}
        assert {secret for _, _, secret in misbehaving.seen} == {"", "Basic " + base64.b64encode(b"user:secret").decode()}
    finally:
        other.close()


def test_names_that_are_not_there_have_dockers_words(plain: DebianRegistry, store: Store) -> None:
    with pytest.raises(NotFound, match="An image does not exist locally with the tag: nothing"):
        push(store, "nothing:1")
    with pytest.raises(InvalidArgument, match="cannot push a digest reference"):
        push(store, f"x@{sha256(b'')}")
    with pytest.raises(InvalidArgument, match="must be gzip or zstd"):
        push(store, "x", compression="lzma")


def test_a_helper_keeps_what_would_be_plain_text(
    plain: DebianRegistry, own_settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    helper = tmp_path / "bin/docker-credential-box"
    helper.write_text(
        "#!/bin/sh\ncase $1 in\n"
        f"store) cat >{tmp_path}/box;;\n"
        f"get) read s; [ -f {tmp_path}/box ] && exec cat {tmp_path}/box\n"
        "echo credentials not found in native keychain; exit 1;;\n"
        f"erase) rm {tmp_path}/box;;\nesac\n"
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    own_settings.mkdir()
    (own_settings / "config.json").write_text('{"credsStore": "box", "other": 1}')
    with pytest.raises(Unavailable, match="docker-credential-box: not found in /usr/local/sbin"):
        credentials.find(plain.host)  # what PATH says is not asked
    assert "docker-credential-box" in credentials.find_or_anonymous(plain.host)[1]
    monkeypatch.setattr(credentials, "_HELPER_FOLDERS", (str(tmp_path / "bin"), "/usr/bin", "/bin"))
    assert not credentials.find(plain.host)
    assert login(plain.host, LOGIN) == "box"
    text = (own_settings / "config.json").read_text()
    assert "secret" not in text
    assert json.loads(text) == {"credsStore": "box", "other": 1, "auths": {plain.host: {}}}
    assert credentials.find(plain.host) == LOGIN
    logout(plain.host)
    assert not (tmp_path / "box").exists()


def test_a_mirror_is_asked_first_and_the_registry_when_it_has_nothing(
    plain: DebianRegistry, store: Store, tmp_path: Path
) -> None:
    mirror = DebianRegistry(tmp_path)
    try:
        name, gone = f"{plain.host}/app:1", f"127.0.0.1:{free_port()}"
        make_image(store, *LAYERS, name=name)
        push(store, name)
        registries = Registries(hosts={plain.host: Host(mirrors=[gone, mirror.host])})
        assert pull(Store(str(tmp_path / "a")), name, registries=registries).names == [name]
        copy = f"{mirror.host}/app:1"
        store.images.tag(name, copy)
        push(store, copy)
        plain.close()
        assert pull(Store(str(tmp_path / "b")), name, registries=registries).names == [name]
        everything = pull_all_tags(Store(str(tmp_path / "c")), name.removesuffix(":1"), registries=registries)
        assert [image.names for image in everything] == [[name]]
        with pytest.raises(Unavailable, match="does not answer") as caught:
            pull(store, f"{plain.host}/app:2", registries=registries)
        assert f" Asked before: mirror {gone}: " in caught.value.hint
        assert f"; mirror {mirror.host}: manifest for {plain.host}/app:2 not found: " in caught.value.hint
    finally:
        mirror.close()


def test_the_settings_can_forbid(plain: DebianRegistry, store: Store, tmp_path: Path) -> None:
    settings = tmp_path / "registries.json"
    settings.write_text(json.dumps({"hosts": {plain.host: {"blocked": True}}}))
    with pytest.raises(Forbidden, match=f"registry {plain.host}: blocked"):
        pull(store, f"{plain.host}/app:1")
    settings.write_text('{"offline": true}')
    with pytest.raises(Unavailable, match="this machine is offline") as caught:
        pull(store, f"{plain.host}/app:1")
    assert str(settings) in caught.value.hint
    settings.write_text('{"hosts": {"x": {"insecure": true}}}')
    with pytest.raises(InvalidArgument, match=r"registries.json.hosts.x.insecure: unknown property"):
        pull(store, f"{plain.host}/app:1")


def test_compressed_layers_are_kept_a_week_and_counted(plain: DebianRegistry, store: Store) -> None:
    name = f"{plain.host}/app:1"
    image = make_image(store, BIG, name=name)
    push(store, name)
    [(digest,)] = store.db.rows("SELECT digest FROM layer_blobs WHERE made = 1")
    total, unused = store.disk_usage({image.id})
    assert total > 3 * len(BIG) - 100_000  # the folder, the blob it came as, the blob it went as
    assert unused == store.content.size(digest)
    assert store.disk_usage(set()) == (total, total)
    store.collect()
    assert store.content.exists(digest)
    os.utime(store.content.path(digest), (0, 0))
    assert store.collect() == unused
    assert not store.content.exists(digest)
    push(store, name)
    assert store.collect(everything=True) == unused


def test_a_layer_from_elsewhere_is_asked_for_without_a_secret(misbehaving: Misbehaving, store: Store) -> None:
    """CVE-2020-15157: a manifest names a URL of the attacker's, who answers 401."""
    evil = Misbehaving()
    layer = gzip.compress(LAYERS[0])
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha256(LAYERS[0])]}}
    ).encode()
    media = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    url = f"http://{evil.host}/layer"
    manifest = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": sha256(config),
            "size": len(config),
        },
        "layers": [{"mediaType": media, "digest": sha256(layer), "size": len(layer), "urls": [url]}],
    }
    misbehaving.blobs[sha256(config)] = config
    wants = {"login": True}

    def serve(request: BaseHTTPRequestHandler, body: bytes) -> bool:
        if not request.headers.get("Authorization"):
            reply(request, 401, WWW_Authenticate='Basic realm="x"')
        elif "/manifests/" in request.path:
            reply(request, 200, json.dumps(manifest).encode(), Content_Type=DOCKER_MANIFEST)
        else:
            return False
        return True

    def lure(request: BaseHTTPRequestHandler, body: bytes) -> bool:
        if wants["login"]:
            reply(request, 401, WWW_Authenticate='Basic realm="give me"')
        else:
            reply(request, 200, layer)
        return True

    misbehaving.hook, evil.hook = serve, lure
    try:
        with pytest.raises(Forbidden):
            pull(store, f"{misbehaving.host}/app:1", credentials=LOGIN)
        wants["login"] = False
        assert pull(store, f"{misbehaving.host}/app:1", credentials=LOGIN).id == sha256(config)
        assert {secret for _, _, secret in evil.seen} == {""}
        news: list[Progress] = []
        store.images.tag(f"{misbehaving.host}/app:1", f"{misbehaving.host}/app:2")
        push(store, f"{misbehaving.host}/app:2", news.append, credentials=LOGIN)
        assert "Skipped foreign layer" in statuses(news)
    finally:
        evil.close()


def test_a_redirect_to_another_host_travels_bare(misbehaving: Misbehaving, store: Store) -> None:
    other = Misbehaving()
    make_image(store, LAYERS[0], name=f"{misbehaving.host}/app:1")
    push(store, f"{misbehaving.host}/app:1")
    other.blobs = dict(misbehaving.blobs)

    def serve(request: BaseHTTPRequestHandler, body: bytes) -> bool:
        if not request.headers.get("Authorization"):
            reply(request, 401, WWW_Authenticate='Basic realm="x"')
        elif "/blobs/" in request.path:
            reply(request, 307, Location=f"http://{other.host}{request.path}")
        else:
            data, media_type = misbehaving.manifests["1"]
            reply(request, 200, data, Content_Type=media_type)
        return True

    misbehaving.hook = serve
    try:
        pull(Store(f"{store.root}-other"), f"{misbehaving.host}/app:1", credentials=LOGIN)
        assert other.seen
        assert {secret for _, _, secret in other.seen} == {""}
    finally:
        other.close()


@pytest.mark.parametrize("size", [1 << 10, 6 << 20])
def test_an_upload_that_is_given_up_is_cancelled(size: int, misbehaving: Misbehaving, store: Store) -> None:
    make_image(store, archive(member("noise", os.urandom(size))), name=f"{misbehaving.host}/app:1")

    def refuse(request: BaseHTTPRequestHandler, body: bytes) -> bool:
        if request.command in ("PUT", "PATCH") and "/uploads/" in request.path:
            reply(request, 403, b'{"errors": [{"code": "DENIED", "message": "no"}]}')
            return True
        return False

    misbehaving.hook = refuse
    with pytest.raises(Forbidden):
        push(store, f"{misbehaving.host}/app:1")
    begun = [path for command, path, _ in misbehaving.seen if command == "POST"]
    cancelled = [path for command, path, _ in misbehaving.seen if command == "DELETE"]
    assert len(cancelled) == len(begun) and all("/blobs/uploads/" in path for path in cancelled)


def test_warnings_of_a_registry_are_told_once(misbehaving: Misbehaving, store: Store) -> None:
    make_image(store, archive(member("f", b"f")), archive(member("g", b"g")), name=f"{misbehaving.host}/app:1")

    def warn(request: BaseHTTPRequestHandler, body: bytes) -> bool:
        if request.command != "HEAD":
            return False
        request.send_response(404)
        for text in ('299 - "your \\"plan\\" ends \x1b[31msoon"', '199 - "of HTTP itself"', "299 nonsense"):
            request.send_header("Warning", text)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return True

    misbehaving.hook = warn
    news: list[Progress] = []
    push(store, f"{misbehaving.host}/app:1", news.append)
    told = [each.status for each in news if each.status.startswith("Warning")]
    assert told == [f'Warning from {misbehaving.host}: your "plan" ends [31msoon']


def test_a_short_name_means_the_repository_that_the_settings_say(plain: DebianRegistry, store: Store, tmp_path: Path) -> None:
    full = f"{plain.host}/team/web"
    image = make_image(store, *LAYERS, name=f"{full}:2")
    push(store, f"{full}:2")
    (tmp_path / "registries.json").write_text(json.dumps({"short_names": {"web": full, "team/x": f"{full}:tag"}}))
    fresh = Store(str(tmp_path / "fresh"))
    assert pull(fresh, "web:2").names == [f"{full}:2"]
    assert fresh.images.resolve("web:2").id == image.id
    assert push(fresh, "web:2").digest
    fresh.images.tag("web:2", "web:2")
    assert fresh.images.resolve("web:2").names == [f"{full}:2", "web:2"], "a name that is here comes first"
    with pytest.raises(NotFound, match="No such image: web:3"):
        fresh.images.resolve("web:3")
    with pytest.raises(InvalidArgument, match=r"short_names.team/x: .*: a repository, without a tag"):
        pull(fresh, "team/x")
