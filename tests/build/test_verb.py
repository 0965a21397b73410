"""`inception build` as a command: what it prints where, and its exit codes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.needs("root")


@pytest.fixture
def run(builder, tmp_path):
    def call(*argv: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        base = [sys.executable, "-m", "inception.cli", "--root", builder.engine.root, "--run-root", builder.engine.run_root]
        done = subprocess.run(
            [*base, "build", *argv],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            check=False,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    return call


def test_a_build_says_what_it_does_on_stderr_and_quiet_only_the_id(builder, run, tmp_path):
    builder.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /d\n")
    done = run("-t", "a:1", "-t", "b", "--iidfile", "id", str(builder.context))
    assert (done.returncode, done.stdout) == (0, "")
    assert "#1 [1/1] COPY Dockerfile /d\n" in done.stderr and "naming to a:1" in done.stderr
    quiet = run("-q", str(builder.context))
    assert (quiet.stdout, quiet.stderr) == ((tmp_path / "id").read_text() + "\n", "")
    assert builder.engine.images.get("b:latest").id == (tmp_path / "id").read_text()


def test_build_arguments_labels_and_target(builder, run):
    builder.write("Dockerfile", "FROM scratch AS one\nARG A B C=c\nLABEL a=$A b=$B c=$C\nFROM scratch\nLABEL wrong=1\n")
    flags = ["--build-arg", "A=1", "--build-arg", "B", "--build-arg", "C", "--label", "mine=yes", "--target", "one"]
    done = run(*flags, "-t", "result", str(builder.context), env={"B": "from the environment"})
    assert done.returncode == 0, done.stderr
    assert builder.document().config.labels == {"a": "1", "b": "from the environment", "c": "c", "mine": "yes"}


def test_the_dockerfile_may_come_on_stdin(builder, run):
    assert run("-t", "result", "-", stdin=b"FROM scratch\nLABEL a=1\n").returncode == 0
    builder.write("x")
    assert run("-t", "result", "-f", "-", str(builder.context), stdin=b"FROM scratch\nCOPY x /y\n").returncode == 0
    assert builder.tree() == ["-rw-r--r-- 0:0 y"]


def test_the_environments_source_date_epoch_is_honoured(builder, run):
    builder.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /d\n")
    assert run("-t", "result", str(builder.context), env={"SOURCE_DATE_EPOCH": "1600000000"}).returncode == 0
    assert builder.document().created == "2020-09-13T12:26:40Z"


@pytest.mark.parametrize(
    ("dockerfile", "message"),
    [
        ("FROM scratch\nCOPPY a b\n", "inception: Dockerfile:2: unknown instruction: COPPY (did you mean COPY?)"),
        ("FROM scratch\nCOPY a b\n", 'inception: Dockerfile:2: COPY: "/a": not found'),
    ],
)
def test_a_failure_shows_the_lines_and_ends_with_1(builder, run, dockerfile, message):
    builder.write("Dockerfile", dockerfile)
    done = run("-q", str(builder.context))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == message
    assert any(line.startswith("   2 | >>> COP") for line in done.stderr.splitlines())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        ([], 1, "inception: 'inception build' requires 1 argument"),
        (["--nope", "."], 125, "unknown flag: --nope"),
        (["--squash", "."], 125, "--squash is not supported: use a multi-stage build"),
        (["--progress", "fancy", "."], 1, "invalid progress type 'fancy': expected one of auto, plain, tty, quiet"),
        (["-t", "Bad", "."], 1, "Bad) must be lowercase"),
        (["--build-arg", "=x", "."], 1, "invalid build argument '=x': expected name=value"),
        (["--ulimit", "x", "."], 1, "invalid ulimit argument: x"),
        (["/nowhere"], 1, 'unable to prepare context: path "/nowhere" not found'),
    ],
)
def test_bad_command_lines(run, argv, code, message):
    done = run(*argv)
    assert done.returncode == code
    assert message in done.stderr and "Traceback" not in done.stderr


def test_a_failing_command_shows_its_output_and_its_code(busybox, run):
    busybox.write("Dockerfile", "FROM busybox\nRUN echo the reason; exit 3\n")
    done = run("-q", "--network", "none", str(busybox.context))
    assert done.returncode == 1
    assert " > [2/2] RUN echo the reason; exit 3:\nthe reason\n------\n" in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "inception: Dockerfile:2: RUN: The command '/bin/sh -c echo the reason; exit 3' returned a non-zero code: 3"
    )


def test_a_name_that_a_build_gives_is_an_event_of_the_image(builder):
    builder.build("FROM scratch\nLABEL a=1\n", tags=["one:1", "two"])
    builder.build("FROM scratch\nLABEL a=1\n", tags=["three"])
    events = builder.engine.events.read(since="0", until="2100-01-01T00:00:00Z", filters={"event": ["tag"]})
    assert [event.attributes["name"] for event in events] == ["one:1", "two:latest", "three:latest"]


def test_the_order_of_ports_and_labels_is_no_part_of_an_image(builder):
    documents = []
    for ports, volumes in (("80 443", "/a /b"), ("443 80", "/b /a")):
        builder.build(f"FROM scratch\nEXPOSE {ports}\nVOLUME {volumes}\n", build_args={"SOURCE_DATE_EPOCH": "1"})
        documents.append(builder.document().config)
    assert list(documents[0].exposed_ports) == list(documents[1].exposed_ports) == ["443/tcp", "80/tcp"]
    assert list(documents[0].volumes) == list(documents[1].volumes) == ["/a", "/b"]
