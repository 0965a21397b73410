"""What `RUN --mount` says, as values."""

from __future__ import annotations

import pytest

from inception.build.config import SecretSource
from inception.build.mounts import RunMount, parse_mount
from inception.build.secrets import parse_secret
from inception.errors import InvalidArgument


def parse(text: str) -> RunMount:
    def place(path: str) -> str:
        return path if path.startswith("/") else f"/work/{path}"

    return parse_mount(text, lambda value: value.replace("$x", "X"), lambda name: f"stage:{name}", place)


def test_the_defaults_of_every_type():
    assert parse("target=/a") == RunMount(type="bind", target="/a")
    assert parse("type=cache,dst=a/") == RunMount(
        type="cache", target="/work/a", id="/work/a", origin="none", read_only=False, mode=0o755
    )
    assert parse("type=tmpfs,destination=/t,size=2GiB").size_bytes == 2 << 30
    assert parse("type=secret,id=k") == RunMount(type="secret", target="/run/secrets/k", id="k", mode=0o400)
    assert parse("type=secret,id=k,env=K").target == ""
    assert parse("type=secret,target=/a/b.txt").id == "b.txt"
    assert parse("type=secret,source=k") == parse("type=SECRET,id=k")
    assert parse("type=ssh").id == "default"


def test_values_are_expanded_and_may_be_quoted():
    assert parse('"target=/a,$x",from=1,rw').target == "/a,X"
    assert parse("target=/a,readonly=false").read_only is False


@pytest.mark.parametrize(
    "text", ["target", "target=/a,ro=maybe", "type=cache,target=/a,uid=-1", "type=tmpfs,target=/a,size=x", '"a']
)
def test_nonsense_is_an_error(text: str):
    with pytest.raises(ValueError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("typ=tmpfs", "unexpected key 'typ' in 'typ=tmpfs' (did you mean type?)"),
        ("type=tmp", 'unsupported mount type "tmp" (did you mean tmpfs?)'),
        ("type=cache,target=/a,sharing=share", 'unsupported sharing value "share" (did you mean shared?)'),
        ("type=tmpfs,target=/a,uid=1", "unexpected key 'uid' for mount type 'tmpfs'"),
        ("from=$x,target=/a", "'from' doesn't support variable expansion, define alias stage instead"),
    ],
)
def test_nonsense_is_refused_in_words(text: str, cause: str):
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert str(caught.value) == cause


def test_what_a_secret_holds_is_in_no_definition():
    assert parse("type=secret,id=k,required").definition() == parse("type=secret,id=k").definition()
    assert parse("type=cache,target=/a,id=x").definition() == parse("type=cache,target=/a,id=y").definition()


def test_secrets_of_the_command_line(monkeypatch):
    monkeypatch.setenv("NAMED", "x")
    assert parse_secret("id=a,src=/f") == ("a", SecretSource(path="/f"))
    assert parse_secret("id=a,env=V") == ("a", SecretSource(env="V"))
    assert parse_secret("id=NAMED") == ("NAMED", SecretSource(env="NAMED"))
    assert parse_secret("id=file") == ("file", SecretSource(path="file"))
    assert parse_secret("id=a,type=env,src=V") == ("a", SecretSource(env="V"))
    for wrong in ("a", "src=x", "id=../a,src=x", "id=a,foo=b", "id=a,type=x"):
        with pytest.raises(InvalidArgument):
            parse_secret(wrong)
