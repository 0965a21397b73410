"""Compressed streams to plain ones, recognised by their first bytes, a bounded piece at a time.

A bomb is stopped while it unrolls: pieces and decoder memory are bounded, and what comes out may exceed
what went in only up to `max_ratio` times (beyond a free allowance). One layer of compression is taken off, never two.
"""

from __future__ import annotations

from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

PIECE = 1 << 20
_FREE_BYTES = 256 << 20  # what may come out of however little: a gigabyte of zeros in one file is honest
_MEMORY = 256 << 20
_ZSTD_INPUT = 4096

_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)


def detect(start: bytes) -> str:
    """`gzip`, `zstd`, `bzip2`, `xz`, or an empty text for anything else."""
    for magic, name in _MAGIC:
        if start.startswith(magic):
            return name
    if start[1:4] == b"\x2a\x4d\x18" and 0x50 <= start[0] <= 0x5F:
        return "zstd"  # a skippable frame first, as parallel compressors write it
    return ""


def decompress(chunks: Iterable[bytes], max_ratio: int = 2000) -> Iterator[bytes]:
    """The plain stream. Raises InvalidArgument when it is damaged, cut off or a bomb."""
    iterator = iter(chunks)
    start = b""
    for chunk in iterator:
        start += chunk
        if len(start) >= 6:
            break
    kind = detect(start)
    source = _Meter(start, iterator)
    if not kind:
        yield from source
        return
    given = 0
    try:
        for piece in _unroll(kind, source):
            given += len(piece)
            if given > _FREE_BYTES and given > source.taken * max_ratio:
                raise InvalidArgument(f"{kind} stream: {given} bytes out of {source.taken}: looks like a decompression bomb")
            yield piece
    except _errors() as error:
        raise InvalidArgument(f"{kind} stream: {error}") from error


class _Meter:
    """The compressed chunks, counted."""

    def __init__(self, start: bytes, rest: Iterator[bytes]) -> None:
        self._start = start
        self._rest = rest
        self.taken = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk, self._start = self._start or next(self._rest), b""
        self.taken += len(chunk)
        return chunk


def _unroll(kind: str, source: _Meter) -> Iterator[bytes]:
    # Imported when first met: each is several milliseconds, and most streams need one.
    if kind == "gzip":
        from isal import isal_zlib  # three times as fast as zlib

        return _members(source, lambda: isal_zlib.decompressobj(wbits=31))
    if kind == "zstd":
        import zstandard

        return _frames(source, lambda: zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj())
    if kind == "bzip2":
        import bz2

        return _members(source, bz2.BZ2Decompressor)
    import lzma

    return _members(source, lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MEMORY))


def _frames(source: Iterable[bytes], new_decoder: Callable[[], Any]) -> Iterator[bytes]:
    """zstd. Its decoder can't bound what it gives, so what it takes is: 4 KiB are at most a thousand blocks of 128 KiB.

    (Its stream reader could, but takes a frame that is cut off for the end.)
    """
    decoder: Any = None
    for chunk in source:
        view, at = memoryview(chunk), 0
        while at < len(view):
            if decoder is None or decoder.eof:
                decoder = new_decoder()
            part = view[at : at + _ZSTD_INPUT]
            piece = decoder.decompress(part)
            at += len(part) - len(decoder.unused_data if decoder.eof else b"")
            if piece:
                yield piece
    if decoder is not None and not decoder.eof:
        raise EOFError("unexpected end")


def _members(source: Iterable[bytes], new_decoder: Callable[[], Any]) -> Iterator[bytes]:
    """Streams of several members one after the other, as `cat a.gz b.gz` and parallel compressors make them."""
    decoder, fresh = new_decoder(), True
    for pending in source:
        while True:
            if decoder.eof:
                if not pending.strip(b"\0"):  # padding after the last member, as tapes and signers leave it
                    break
                decoder = new_decoder()
            piece = decoder.decompress(pending, PIECE)
            fresh = False
            if piece:
                yield piece
            # zlib hands back what it could not use yet, bz2 and lzma keep it.
            pending = decoder.unused_data if decoder.eof else getattr(decoder, "unconsumed_tail", b"")
            if not decoder.eof and not pending and len(piece) < PIECE:
                break
    if not decoder.eof and not fresh:
        raise EOFError("unexpected end")


def _errors() -> tuple[type[BaseException], ...]:
    """What the decoders raise for damaged input; looked up only when something was raised."""
    import lzma
    import zlib

    import zstandard
    from isal import isal_zlib

    found: Any = (lzma.LZMAError, zlib.error, zstandard.ZstdError, isal_zlib.error, OSError, EOFError, ValueError)
    return found  # type: ignore[no-any-return]
