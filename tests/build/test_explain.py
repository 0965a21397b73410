"""--explain, --why, --check: the graph, its keys, and what had changed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from inception.build import BuildConfig, DockerfileError, explain

pytestmark = pytest.mark.needs("root")


def test_the_graph_shows_which_steps_are_cached(builder):
    builder.write("a", "one")
    builder.write("Dockerfile", "FROM scratch AS x\nCOPY a /\nWORKDIR /w\nFROM scratch\nCOPY --from=x / /\nENV A=1\n")

    def states() -> list[str]:
        text = explain(builder.engine, BuildConfig(context=str(builder.context)))
        return [" ".join(line.split()[:3]) for line in text.splitlines()]

    first = states()
    assert first[0].startswith("stage 0") and "to make" in first[1] and first[2] == "? to make"
    assert builder.engine.images.list() == []
    builder.build()
    cached = states()
    assert [line.split()[1] for line in cached if line[0] not in "sc"] == ["cached"] * 3
    builder.write("a", "two")
    assert "to make" in states()[1]
    assert states()[1].split()[0] != cached[1].split()[0]


def why(builder, **config) -> list[str]:
    return [line.partition("] ")[2] for line in builder.build(**config).reasons]


def test_a_miss_says_what_changed(busybox):
    busybox.write("src/a", "one")
    busybox.write("src/b", "one")
    busybox.write("Dockerfile", "FROM busybox\nARG V=1\nCOPY src /src\nRUN echo $V\n")
    assert [line.partition(": ")[2] for line in why(busybox)] == ["nothing like it was built before"] * 2
    assert all(": cached, key " in line for line in why(busybox))
    busybox.write("src/a", "two")
    busybox.write("src/c", "new")
    (busybox.context / "src/b").unlink()
    assert why(busybox) == [
        "COPY src /src: changed: src/a; new: src/c; gone: src/b",
        "RUN echo $V: the files below it are others",
    ]
    assert why(busybox, build_args={"V": "2"})[1] == "RUN echo $V: variable V: '1' became '2'"
    busybox.write("Dockerfile", "FROM busybox\nARG V=1\nCOPY src /src\nRUN echo hello\n")
    assert "the command was '/bin/sh -c echo $V'" in why(busybox)[1]
    assert why(busybox, no_cache=True)[0] == "COPY src /src: the cache was not asked"


def test_the_verb_prints_the_graph_the_reasons_and_the_warnings(builder):
    rule = "# check=experimental=CopyIgnoredFile\n"
    builder.write("Dockerfile", f"{rule}FROM scratch\nWORKDIR /a\nCOPY ignored /\nMAINTAINER me\n")
    builder.write(".dockerignore", "ignored\n")
    base = [sys.executable, "-m", "inception.cli", "--root", builder.engine.root, "--run-root", builder.engine.run_root]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*base, "build", *words, str(builder.context)], capture_output=True, text=True, check=False)

    checked = run("--check")
    assert checked.returncode == 1
    assert 'Attempting to Copy file "ignored" that is excluded by .dockerignore' in checked.stdout
    assert "2 warnings have been found!" in checked.stdout
    builder.write("Dockerfile", "FROM scratch\nWORKDIR /a\n")
    assert run("--check").stdout == "Check complete, no warnings found.\n"
    assert "to make   folder /a  # line 2" in run("--explain").stdout
    assert "WORKDIR /a: nothing like it was built before" in run("--why").stdout
    assert "cached" in run("--explain").stdout


def test_a_build_says_what_the_checks_found_and_says_it_again_when_all_is_cached(builder):
    text = "FROM scratch as one\nCOPY Dockerfile /d\n"
    said = "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)"
    for _ in range(2):
        assert builder.build(text).warnings == [said]
        assert [event.name for event in builder.events if event.kind == "warning"] == [said]
    assert builder.build(text, build_args={"BUILDKIT_DOCKERFILE_CHECK": "skip=FromAsCasing"}).warnings == []


def test_where_warnings_are_errors_nothing_is_built(builder):
    with pytest.raises(DockerfileError, match="lint violation found for rules: FromAsCasing") as caught:
        builder.build("# check=error=true\nFROM scratch as one\nCOPY Dockerfile /d\n")
    assert "(line 2)" in caught.value.hint
    assert builder.engine.images.list() == []
