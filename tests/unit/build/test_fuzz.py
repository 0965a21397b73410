"""Whatever bytes a Dockerfile, an ignore file or a word holds: an answer or one of our errors, soon."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from inception.build.config import BuildConfig
from inception.build.expand import ExpansionError, expand, expand_heredoc, expand_words, split_raw
from inception.build.ignore import parse_ignore
from inception.build.mode import parse_mode
from inception.build.parse import parse_dockerfile
from inception.build.plan import BaseImage, plan_build
from inception.errors import InvalidArgument
from inception.oci.image import ImageDocument, RootFs

VOCABULARY = """
    FROM RUN COPY ADD ENV ARG ONBUILD HEALTHCHECK EXPOSE USER WORKDIR LABEL CMD AS x <<EOF <<-'X' EOF # = " ' $x ${x:- } [ ]
    ["a","b"] , --from=0 --mount=type=bind --chown=1:2 / a 80/tcp é ` <<
"""
WORDS = st.sampled_from([*VOCABULARY.split(), "\\\n", "\n", "\r\n", "\t", "\x00", "\ufeff"])
DOCKERFILES = st.lists(WORDS, max_size=40).map(lambda words: " ".join(["FROM a\n", *words]))
TEXT = st.lists(st.sampled_from([*"ab$ {}:-+?#%/\\'\"*?[]^!\n.=~", "${a", "**/"]), max_size=30).map("".join)


def resolve(name: str) -> BaseImage:
    document = ImageDocument(architecture="amd64", os="linux", rootfs=RootFs(diff_ids=[]))
    return BaseImage(reference=name, id="", document=document)


@settings(max_examples=300, deadline=None)
@given(st.one_of(DOCKERFILES.map(str.encode), st.binary(max_size=200)))
def test_a_dockerfile_is_planned_or_refused(data: bytes):
    try:
        str(plan_build(parse_dockerfile(data), BuildConfig(build_args={"x": "1"}), resolve, "linux/amd64"))
    except InvalidArgument as error:
        assert str(error).startswith("Dockerfile:")


@settings(max_examples=300, deadline=None)
@given(TEXT)
def test_words_are_expanded_or_refused(text: str):
    for function in (expand, expand_words, expand_heredoc):
        try:
            function(text, {"a": "ab*", "b": ""})
        except ExpansionError:
            pass
    try:
        split_raw(text)
    except ExpansionError:
        pass


@settings(max_examples=300, deadline=None)
@given(TEXT, TEXT)
def test_ignore_files_decide_or_are_refused(text: str, path: str):
    try:
        rules = parse_ignore(text.encode())
    except InvalidArgument:
        return
    rules.ignored(path)
    rules.may_include_below(path)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ugoarwxXst+-=,01278", max_size=12), st.integers(0, 0o177777))
def test_modes_are_understood_or_refused(text: str, before: int):
    try:
        assert 0 <= parse_mode(text)(before) <= 0o7777
    except ValueError:
        pass
