"""Names of images, as Docker reads them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inception.errors import InvalidArgument
from inception.oci import reference as module
from inception.oci.reference import Reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
        ("nginx:1.25", "docker.io/library/nginx:1.25", "nginx:1.25"),
        ("user/app", "docker.io/user/app:latest", "user/app:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
        ("index.docker.io/library/nginx:a", "docker.io/library/nginx:a", "nginx:a"),
        ("library/a/b:1", "docker.io/library/a/b:1", "library/a/b:1"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/a/b/c:t", "localhost:5000/a/b/c:t", "localhost:5000/a/b/c:t"),
        ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}", f"nginx@{DIGEST}"),
        (f"nginx:1@{DIGEST}", f"docker.io/library/nginx:1@{DIGEST}", f"nginx:1@{DIGEST}"),
        ("a__b--c.d_e", "docker.io/library/a__b--c.d_e:latest", "a__b--c.d_e:latest"),
    ],
)
def test_a_name_is_completed_as_docker_does(text: str, full: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert (str(reference), reference.familiar) == (full, familiar)
    assert Reference.parse(familiar) == reference


@pytest.mark.parametrize(
    "text",
    ["", ":", "a:", "a/", "/a", "a//b", "a___b", "a._b", "-a", "a-", "a:.x", "a:" + "x" * 129, "a b", "ä", "a\n", "a:b\n",
     "localhost:x/a", "[::1/a", "[]/a", "[::1]x/a", "a@sha256:12", "../a", "a..b", "x" * 256, "-x.y/a", "a/b:c/d"],
)  # fmt: skip
def test_a_bad_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"invalid reference format|expected sha256"):
        Reference.parse(text)


def test_upper_case_and_bare_ids_get_dockers_own_words() -> None:
    with pytest.raises(InvalidArgument, match=r"repository name \(library/Nginx\) must be lowercase"):
        Reference.parse("docker.io/Nginx")
    with pytest.raises(InvalidArgument, match="cannot specify 64-byte hexadecimal strings"):
        Reference.parse("a" * 64)


COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
DOMAIN = re.compile(rf"(?:{LABEL}(?:\.{LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@given(st.text("aZ09._-:[]é\n", max_size=8))
def test_the_hand_written_grammar_is_the_published_one(text: str) -> None:
    assert module._is_component(text) == bool(COMPONENT.fullmatch(text))
    assert module._is_domain(text) == bool(DOMAIN.fullmatch(text))
    assert module._is_tag(text) == bool(TAG.fullmatch(text))
