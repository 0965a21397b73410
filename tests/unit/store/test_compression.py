"""Compressed streams: whole, in members, cut off, damaged, and bombs."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable, Iterator

import pytest
import zstandard

from inception.errors import InvalidArgument
from inception.store.compression import decompress

PLAIN = os.urandom(1 << 20) + bytes(3 << 20) + b"end"
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 1),
    "bzip2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": zstandard.compress,
}


def pieces(data: bytes, size: int = 65_000) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("size", [1 << 20, 65_000])
def test_each_kind_is_recognised_and_unpacked(kind: str, size: int) -> None:
    packed = PACKERS[kind](PLAIN)
    assert b"".join(decompress(pieces(packed, size))) == PLAIN
    assert b"".join(decompress(pieces(packed + packed, size))) == PLAIN * 2


def test_the_first_bytes_may_come_one_at_a_time() -> None:
    assert b"".join(decompress(pieces(gzip.compress(b"hello"), 1))) == b"hello"


def test_what_is_not_compressed_passes_through() -> None:
    assert b"".join(decompress(pieces(b"plain"))) == b"plain"
    assert b"".join(decompress([])) == b""


def test_only_one_layer_is_taken_off() -> None:
    inner = gzip.compress(b"x")
    assert b"".join(decompress([gzip.compress(inner)])) == inner


@pytest.mark.parametrize("kind", PACKERS)
def test_a_stream_that_ends_early_is_an_error(kind: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{kind} stream"):
        b"".join(decompress(pieces(PACKERS[kind](PLAIN)[:-20])))


@pytest.mark.parametrize("kind", PACKERS)
def test_damage_is_an_error(kind: str) -> None:
    packed = bytearray(PACKERS[kind](bytes(range(256)) * 4000))
    packed[10:30] = b"\xff" * 20
    with pytest.raises(InvalidArgument, match=f"{kind} stream"):
        b"".join(decompress([bytes(packed)]))


def test_a_bomb_is_stopped_by_its_ratio() -> None:
    frame = zstandard.compress(bytes(64 << 20))  # a few kilobytes; the frames come one after the other

    def endless() -> Iterator[bytes]:
        while True:
            yield frame

    with pytest.raises(InvalidArgument, match="decompression bomb"):
        for piece in decompress(endless(), max_ratio=100):
            assert len(piece) <= 128 << 20
