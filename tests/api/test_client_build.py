"""Our command line builds elsewhere what needs this machine's files: on our engine behind its server, and on Docker's."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support import Host

pytestmark = pytest.mark.needs("root", "nft", "docker", "dockerd", "ssh-agent")


@pytest.fixture(params=["served", "docker"])
def address(request: pytest.FixtureRequest, host: Host) -> str:
    found: str = host.address if request.param == "served" else request.getfixturevalue("dockerd").address
    return found


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "sub").mkdir(parents=True)
    (folder / "f").write_text("file")
    (folder / "sub/g").write_text("inner")
    (folder / "sub/left").write_text("out")
    os.symlink("sub/g", folder / "link")
    (folder / ".dockerignore").write_text("**/left\n")
    return folder


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    """The socket of an ssh-agent with one key."""
    path, key = f"{tmp_path}/agent", f"{tmp_path}/key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "canary-key", "-f", key], check=True)
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL) as process:
        while not os.path.exists(path):
            assert process.poll() is None
        subprocess.run(["ssh-add", "-q", key], env={**os.environ, "SSH_AUTH_SOCK": path}, check=True)
        yield path
        process.terminate()


def build(address: str, *words: str, stdin: bytes = b"", fails: bool = False) -> str:
    command = [sys.executable, "-m", "inception.cli", "-H", address, "build", *words]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)
    said = done.stderr.decode()
    assert "Traceback" not in said
    assert (done.returncode != 0) == fails, said
    return said


def dockerfile(context: Path, text: str) -> None:
    (context / "Dockerfile").write_text(text)


def test_secrets_come_from_here(address: str, context: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("hidden")
    monkeypatch.setenv("TOKEN", "from here")
    dockerfile(
        context,
        "FROM bb\nCOPY . /c\n"
        "RUN --mount=type=secret,id=s --mount=type=secret,id=TOKEN,target=/t "
        "md5sum </run/secrets/s >/sum && wc -c </t && ls /c /c/sub\n",
    )
    words = ["--secret", f"id=s,src={tmp_path}/secret", "--secret", "id=TOKEN", "-t", "made", "--no-cache"]
    said = build(address, *words, str(context))
    assert "\n9\n" in said.replace(" ", "").replace("\r", "") or " 9" in said
    assert "sub" in said and "left" not in said and "hidden" not in said
    dockerfile(context, "FROM bb\nRUN --mount=type=secret,id=other,required true\n")
    assert "other" in build(address, *words, str(context), fails=True)


def test_an_agent_lists_keys_and_signs_and_does_nothing_else(address: str, context: Path, agent: str) -> None:
    dockerfile(context, 'FROM bb\nRUN --mount=type=ssh [ -S "$SSH_AUTH_SOCK" ] && echo reachable\n')
    assert "reachable" in build(address, "--ssh", f"default={agent}", "--no-cache", str(context))
    dockerfile(context, "FROM bb\nRUN --mount=type=ssh,id=other,required true\n")
    build(address, "--ssh", f"default={agent}", str(context), fails=True)


def test_named_contexts_and_outputs_are_folders_of_this_machine(address: str, context: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "deep").mkdir(parents=True)
    (other / "deep/x").write_text("named")
    old = "/dockerd" in address  # its BuildKit 0.8 knows no named contexts
    if old:
        (context / "deep").mkdir()
        (context / "deep/x").write_text("named")
    dockerfile(context, f"FROM scratch\nCOPY {'' if old else '--from=more'} deep /d\nCOPY f link /\n")
    out = tmp_path / "out"
    out.mkdir()
    (out / "stays").write_text("mine")
    build(address, "--build-context", f"more={other}", "-o", str(out), str(context))
    assert (out / "d/x").read_text() == "named" and (out / "f").read_text() == "file" and (out / "link").read_text() == "inner"
    assert (out / "stays").read_text() == "mine" and (out / "f").stat().st_uid == os.getuid()
    build(address, "--build-context", f"more={other}", "-o", f"type=tar,dest={tmp_path}/t.tar", str(context))
    with tarfile.open(tmp_path / "t.tar") as tar:
        assert "d/x" in {name.removeprefix("./") for name in tar.getnames()}


def test_a_context_over_standard_input_and_a_dockerfile_elsewhere(address: str, context: Path, tmp_path: Path) -> None:
    archive = io.BytesIO()
    dockerfile(context, "FROM scratch\nCOPY sub /s\n")
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(context, ".")
    build(address, "-o", str(tmp_path / "one"), "-", stdin=archive.getvalue())
    assert (tmp_path / "one/s/g").read_text() == "inner"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/My.Dockerfile").write_text("FROM scratch\nCOPY f /moved\n")
    build(address, "-f", f"{tmp_path}/elsewhere/My.Dockerfile", "-o", str(tmp_path / "two"), str(context))
    assert (tmp_path / "two/moved").read_text() == "file"


def test_a_step_that_fails_and_what_is_not_possible_say_so(address: str, context: Path, tmp_path: Path) -> None:
    dockerfile(context, "FROM bb\nRUN echo before; exit 7\n")
    said = build(address, "-o", str(tmp_path / "out"), str(context), fails=True)
    assert "before" in said and "exit code: 7" in said
    assert "not possible" in build(address, "--metadata-file", f"{tmp_path}/m", str(context), fails=True)
    assert "path" in build(address, "--build-context", "x=/nowhere", str(context), fails=True)
