"""Digests are checked before they become parts of paths."""

from __future__ import annotations

import pytest

from inception.errors import InvalidArgument
from inception.oci.digest import Digest, chain_id, sha256


def test_a_digest_gives_its_parts() -> None:
    digest = sha256(b"")
    assert (digest.algorithm, len(digest.hex)) == ("sha256", 64)
    assert Digest("sha512:" + "0" * 128).algorithm == "sha512"


@pytest.mark.parametrize(
    "text",
    ["", "sha256", "sha256:", "sha256:" + "a" * 63, "sha256:" + "A" * 64, "md5:" + "a" * 32, "sha256:../../" + "a" * 58,
     "sha256:" + "a" * 63 + "/", "sha256:" + "a" * 64 + "\n", "/etc:" + "a" * 64],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Digest(text)


def test_the_chain_of_one_layer_is_its_own_diff_id() -> None:
    one, two = sha256(b"1"), sha256(b"2")
    assert chain_id([one]) == one
    assert chain_id([one, two]) == sha256(f"{one} {two}".encode())
