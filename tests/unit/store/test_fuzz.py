"""What strangers write is read or refused, whatever it is: never another exception, never without end.

A short run with fixed seeds; INCEPTION_FUZZ=N makes it N times as long, with new ones. `corpus/` holds what once was
interesting, and is tried first.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from inception.errors import InceptionError, InvalidArgument
from inception.oci.image import Index, parse_platform
from inception.oci.reference import Reference
from inception.record import decode
from inception.store.artifacts import check_title
from inception.store.authorization import parse_challenges
from inception.store.compression import decompress
from inception.store.documents import RESERVED_LABELS, decode_manifest, load_json, parse_document
from inception.store.http import HttpError, Response, split_url
from inception.store.http import _Connection as Connection
from inception.store.push import compress
from inception.store.registry import next_page
from inception.store.tar import TarReader
from inception.store.transport import retry_after_s

TIMES = int(os.environ.get("INCEPTION_FUZZ", "0"))
CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())
short = settings(
    max_examples=100 * max(TIMES, 1),
    derandomize=not TIMES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
DIGEST = st.one_of(st.just("sha256:" + "a" * 64), st.text(max_size=80))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


def either(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what belongs there, sometimes anything."""
    return st.one_of(value, value, value, JSON)


DESCRIPTOR = st.fixed_dictionaries(
    {"mediaType": either(st.text(max_size=30)), "digest": either(DIGEST), "size": either(st.integers())},
    optional={"urls": JSON, "platform": JSON, "annotations": JSON, "data": JSON},
)
MANIFEST = st.fixed_dictionaries(
    {
        "schemaVersion": either(st.just(2)),
        "config": either(DESCRIPTOR),
        "layers": either(st.lists(either(DESCRIPTOR), max_size=3)),
    },
    optional={"mediaType": either(st.text(max_size=30)), "manifests": JSON, "subject": JSON},
)
DOCUMENT = st.fixed_dictionaries(
    {
        "architecture": either(st.just("amd64")),
        "os": either(st.just("linux")),
        "rootfs": either(st.fixed_dictionaries({"type": st.just("layers"), "diff_ids": either(st.lists(DIGEST, max_size=3))})),
    },
    optional={
        "config": either(
            st.fixed_dictionaries(
                {},
                optional={
                    "Env": either(st.lists(st.text(max_size=20))),
                    "Labels": either(st.dictionaries(st.text(max_size=20), st.text(max_size=20))),
                    "User": either(st.text()),
                    "Volumes": JSON,
                    "Healthcheck": JSON,
                    "StopTimeout": JSON,
                },
            )
        ),
        "history": JSON,
        "created": JSON,
    },
)


def refuses(call: Callable[[], object]) -> object:
    """The answer, or None for a refusal in words that a terminal can take."""
    try:
        return call()
    except InceptionError as error:
        assert len(str(error)) < 2000
        return None


@short
@given(MANIFEST)
@example({"config": {"mediaType": "", "digest": "sha256:" + "a" * 64, "size": -1}, "layers": []})
def test_manifests(value: Any) -> None:
    refuses(lambda: decode_manifest(json.dumps(value).encode()))
    refuses(lambda: decode(Index, value, "index"))


@short
@given(DOCUMENT)
@example(
    {"architecture": "", "os": "", "rootfs": {"diff_ids": []}, "config": {"Labels": {"inception.log": "binary:///bin/sh"}}}
)
def test_configurations(value: Any) -> None:
    document = refuses(lambda: parse_document(json.dumps(value).encode()))
    if document is not None:
        assert not any(key.startswith(RESERVED_LABELS) for key in document.config.labels)  # type: ignore[attr-defined]
        assert not any("\0" in text for text in document.config.env)  # type: ignore[attr-defined]


@short
@given(st.binary(max_size=2000))
@example(b"[" * 100_000)
@example(b'{"a": 1, "a": 2}')
@example(b"\xff\xfe[\0]\0")
def test_any_bytes_as_json(data: bytes) -> None:
    refuses(lambda: load_json(data, "document"))


@short
@given(st.text(max_size=100) | st.from_regex(r"[a-z.:/@_-]{1,40}(:[a-z0-9.]{1,5})?(@sha256:[0-9a-f]{64})?", fullmatch=True))
@example("a" * 64)
@example("x/" * 200)
@example("[::1]:5000/a@sha256:" + "0" * 64)
def test_references(text: str) -> None:
    reference = refuses(lambda: Reference.parse(text))
    if isinstance(reference, Reference):
        assert ".." not in reference.path.split("/")
        assert Reference.parse(str(reference)) == reference
        if not reference.digest or reference.tag:
            assert Reference.parse(reference.familiar) == reference
    refuses(lambda: parse_platform(text))


@short
@given(st.text(max_size=200) | st.from_regex(r'(Bearer|Basic) [a-z]+="[^"]*"(, ?[a-z]+=("[^"]*"|[a-z]+))*', fullmatch=True))
@example('Bearer realm="x\\"y",scope="a,b" , Basic')
@example('Basic realm="')
def test_headers(text: str) -> None:
    for challenge in parse_challenges([text, text]):
        assert challenge.scheme
    next_page(text)
    assert retry_after_s(text) >= 0


def read(data: bytes) -> int:
    """Everything of a tar as the extractor reads it; the number of entries."""
    count = 0
    reader = TarReader(decompress([data]))
    for entry in reader:
        count += 1
        for piece in reader.data(entry.size if entry.extents is None else 0):
            assert len(piece) <= 1 << 20
        assert count < 10_000
    return count


def sample(names: list[str], format: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as out:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(name)
            entry.pax_headers = {"SCHILY.xattr.user.x": "y"} if format == tarfile.PAX_FORMAT else {}
            out.addfile(entry, io.BytesIO(name.encode()[: entry.size].ljust(entry.size)))
    return buffer.getvalue()


class _Heard:
    """A socket on which only this was ever said."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)

    def settimeout(self, _seconds: float) -> None:
        pass

    def recv(self, size: int) -> bytes:
        return self.data.read(min(size, 7))

    def close(self) -> None:
        pass


PIECE = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 404 No\r\n", b"HTTP/1.1 100 Continue\r\n", b"\r\n", b"\n", b"Content-Length: 5\r\n",
        b"Content-Length: 99\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"5\r\nhello\r\n", b"0\r\n",
        b"hello",
        b"X: y\r\n", b" folded\r\n", b"\0", b"ffffffff\r\n",
    ]
)  # fmt: skip


@given(st.lists(st.one_of(PIECE, st.binary(max_size=20)), max_size=12), st.sampled_from(["GET", "HEAD"]))
@short
def test_answers_of_servers(pieces: list[bytes], method: str) -> None:
    try:
        response = Response(Connection(_Heard(b"".join(pieces)), 1), method, lambda connection: connection.close())
        assert len(response.read(1 << 20)) <= sum(map(len, pieces))
    except HttpError:
        pass


@given(st.one_of(st.text(max_size=60), st.from_regex(r"https?://[a-z0-9.@:\\\[\]/?#%-]{0,40}", fullmatch=True)))
@short
def test_urls(text: str) -> None:
    """Python's own reader, where it finds a host, finds the same one."""
    from urllib.parse import urlsplit

    try:
        scheme, host, port, target = split_url(text)
    except (ValueError, UnicodeError):
        return
    assert scheme in ("http", "https") and host and 0 < port < 65536
    assert target.startswith("/") and target.isascii() and " " not in target
    if text.isascii() and text.isprintable():
        parts = urlsplit(text)
        assert (parts.hostname, parts.port or port) == (host, port)


@given(st.text(max_size=60))
@short
def test_names_of_an_artifacts_files(text: str) -> None:
    try:
        check_title(text)
    except InvalidArgument:
        return
    path = os.path.normpath(f"/folder/{text}")
    assert path == f"/folder/{text}" and "\0" not in path


@short
@given(
    st.sampled_from([sample(["a", "b/" * 60 + "c"], each) for each in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)]),
    st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=12)), max_size=6),
    st.integers(0, 12_000),
    st.sampled_from(["", "gzip", "zstd"]),
)
def test_damaged_tars(data: bytes, damage: list[tuple[int, bytes]], length: int, compression: str) -> None:
    broken = bytearray(data)
    for at, what in damage:
        broken[at : at + len(what)] = what
        if at % 512 < 148:  # so that it isn't only ever the checksum that is wrong
            start = at - at % 512
            broken[start + 148 : start + 156] = b" " * 8
            total = sum(broken[start : start + 512])
            broken[start + 148 : start + 156] = b"%06o\0 " % total
    plain = bytes(broken[:length])
    refuses(lambda: read(plain))
    if compression:
        packed = b"".join(compress([plain], compression))
        refuses(lambda: read(packed))
        refuses(lambda: read(packed[: length % (len(packed) + 1)]))


@short
@given(st.binary(max_size=3000))
def test_any_bytes_as_tar(data: bytes) -> None:
    refuses(lambda: read(data))


@pytest.mark.parametrize("path", CORPUS, ids=[path.name for path in CORPUS])
def test_the_corpus(path: Path) -> None:
    data = path.read_bytes()
    if ".tar" in path.name:
        refuses(lambda: read(data))
    else:
        refuses(lambda: decode_manifest(data))
        refuses(lambda: parse_document(data))


def test_an_image_of_too_many_layers_is_refused() -> None:
    value = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "a" * 64] * 128}}
    with pytest.raises(InvalidArgument, match="more than 127 layers"):
        parse_document(json.dumps(value).encode())
    value = {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": []}, "config": {"Env": ["A=b\0c"]}}
    with pytest.raises(InvalidArgument, match=r"config.Env: a NUL character"):
        parse_document(json.dumps(value).encode())
