"""Digests: `sha256:` and 64 hex digits. Source: image-spec descriptor.md, "Digests"."""

from __future__ import annotations

from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    import hashlib

_HEX = frozenset("0123456789abcdef")
_LENGTHS = {"sha256": 64, "sha512": 128}


class Digest(str):
    """A checked digest; `algorithm` and `hex` are safe as path components."""

    __slots__ = ()

    def __new__(cls, text: str) -> Digest:
        """Raises InvalidArgument when *text* is not a digest of an algorithm we know."""
        if not is_digest(text):
            raise InvalidArgument(f"digest {text!r}: expected sha256: and 64 hex digits")
        return super().__new__(cls, text)

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]


def is_digest(text: str) -> bool:
    """Whether *text* is one, of an algorithm that we know."""
    algorithm, _, digits = text.partition(":")
    return len(digits) == _LENGTHS.get(algorithm) and _HEX.issuperset(digits)


def sha256(data: bytes) -> Digest:
    """The digest of *data*, which is a document or a key; streams are hashed with hashlib, three times as fast."""
    hasher = small_sha256()
    hasher.update(data)
    return Digest("sha256:" + hasher.hexdigest())


def small_sha256() -> hashlib._Hash:
    """A hash object for a few kilobytes: Python's own, without the 4 ms that it takes to load OpenSSL."""
    try:
        from _sha256 import sha256 as new  # type: ignore[import-not-found]
    except ImportError:
        try:
            from _sha2 import sha256 as new  # type: ignore[import-not-found]  # from Python 3.12 on
        except ImportError:
            from hashlib import sha256 as new
    return new()  # type: ignore[no-any-return]


def chain_id(diff_ids: list[str]) -> Digest:
    """The ChainID of a stack of layers, bottom first. Source: image-spec config.md, "Layer ChainID"."""
    return chain_ids(diff_ids)[-1]


def chain_ids(diff_ids: list[str]) -> list[Digest]:
    """Those of a stack's every layer with what is beneath it, bottom first."""
    chains: list[Digest] = []
    for diff_id in diff_ids:
        chains.append(sha256(f"{chains[-1]} {Digest(diff_id)}".encode()) if chains else Digest(diff_id))
    return chains
