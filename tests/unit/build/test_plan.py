"""A Dockerfile's plan, as text, and the configuration and history that it comes to."""

from __future__ import annotations

import pytest

from inception.build.config import BuildConfig
from inception.build.parse import parse_dockerfile
from inception.build.plan import BaseImage, plan_build
from inception.build.source import DockerfileError, place_of
from inception.errors import NotFound
from inception.oci.image import ImageConfig, ImageDocument, RootFs

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
IMAGES = {
    "base": ImageConfig(env=["PATH=/bin", "FROM_BASE=1"], cmd=["sh"], labels={"a": "1"}, working_dir="/srv"),
    "base:tag": ImageConfig(),
    "trigger": ImageConfig(env=["PATH=/bin"], on_build=["COPY . /app", "RUN build $x"]),
    "bash": ImageConfig(env=["PATH=/bin"], shell=["/bin/bash", "-ec"], user="app"),
}


def resolve(name: str) -> BaseImage:
    document = ImageDocument(architecture="amd64", os="linux", config=IMAGES[name], rootfs=RootFs(diff_ids=[]))
    return BaseImage(reference=f"docker.io/library/{name}", id="sha256:" + "0" * 64, document=document)


def plan(text: str, **config):
    return plan_build(parse_dockerfile(text.encode()), BuildConfig(**config), resolve, "linux/amd64")


def lines(text: str, **config) -> list[str]:
    return str(plan(text, **config)).splitlines()


def history(text: str, **config) -> list[str]:
    return [step.created_by for step in plan(text, **config).stages[-1].operations]


def final(text: str, **config) -> ImageConfig:
    return plan(text, **config).stages[-1].config


def fails(text: str, **config) -> str:
    with pytest.raises(DockerfileError) as caught:
        plan(text, **config)
    return str(caught.value)


def test_a_plan_reads_like_the_dockerfile_with_everything_expanded():
    text = """\
ARG V=tag
FROM base:$V AS build
ARG NAME=x
ENV OUT=/out/$NAME
WORKDIR /src
RUN make $NAME
FROM scratch
ARG OUT=/out
COPY --from=build --chown=1:2 $OUT ${OUT}/a /app/
"""
    assert lines(text) == [
        "stage 0 build: FROM image docker.io/library/base:tag  # line 2",
        "  ARG NAME=x  # line 3",
        "  ENV OUT=/out/x  # line 4",
        "  folder /src  # line 5",
        "  run '/bin/sh' '-c' 'make $NAME' cwd=/src env=NAME=x,OUT=/out/x," + PATH + "  # line 6",
        "stage 1: FROM scratch  # line 7",
        "  ARG OUT=/out  # line 8",
        "  copy from=stage:0 chown=1:2 '/out' '/out/a' -> /app/  # line 9",
    ]


def test_stages_that_the_target_does_not_need_are_not_planned():
    text = "FROM base AS a\nRUN a\nFROM a AS b\nRUN b\nFROM nowhere AS c\nRUN c\nFROM base AS d\nCOPY --from=b /x /x\n"
    assert [stage.name for stage in plan(text).stages] == ["a", "b", "d"]
    assert [stage.name for stage in plan(text, target="B").stages] == ["a", "b"]
    assert [stage.name for stage in plan(text, target="0").stages] == ["a"]


def test_copy_from_may_name_a_stage_by_number_and_an_image_by_name():
    text = "FROM base\nFROM base\nCOPY --from=0 a b\nCOPY --from=base:tag a b\n"
    assert [step.origin for step in plan(text).stages[-1].operations] == ["stage:0", "image:docker.io/library/base:tag"]


def test_a_stage_hides_an_image_of_its_name_from_then_on():
    text = "FROM base AS bash\nFROM bash\n"
    assert [stage.base for stage in plan(text).stages] == ["image:docker.io/library/base", "stage:0"]


def test_arguments_before_from_are_seen_inside_a_stage_only_when_declared_again():
    text = "ARG A=1\nARG B=$A-2\nFROM base\nRUN x $A\nARG A\nARG B=3\nLABEL a=$A b=$B"
    assert final(text).labels == {"a": "1", "b": "3"}
    assert final("ARG A=1\nFROM base\nLABEL a=$A").labels == {"a": ""}
    assert final(text, build_args={"A": "9", "B": "8"}).labels == {"a": "9", "b": "8"}


def test_env_wins_over_arg():
    text = "FROM base\nARG V\nENV V=v1\nARG V=2\nLABEL a=$V"
    assert final(text, build_args={"V": "3"}).labels["a"] == "v1"
    assert final("FROM base\nARG FROM_BASE=2\nLABEL a=$FROM_BASE").labels["a"] == "1"


def test_one_instruction_sees_the_values_from_before_it():
    config = final("FROM scratch\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc")
    assert config.env == [PATH, "abc=bye", "def=hello", "ghi=bye"]


def test_arguments_are_inherited_from_the_stage_that_another_starts_from():
    text = "FROM base AS a\nARG X=1\nFROM a\nLABEL a=$X"
    assert final(text).labels["a"] == "1"


def test_platform_arguments_are_known_when_declared():
    text = "FROM --platform=$BUILDPLATFORM base\nARG TARGETARCH TARGETOS\nLABEL a=$TARGETARCH b=$TARGETOS c=$TARGETPLATFORM"
    assert final(text).labels == {"a": "amd64", "b": "linux", "c": ""}


def test_proxies_reach_a_step_but_not_its_history_or_its_cache_key():
    text = "FROM base\nRUN x"
    step = plan(text, build_args={"HTTP_PROXY": "http://user:pass@proxy"}).stages[0].operations[0]
    assert step.uncached_env == ["HTTP_PROXY=http://user:pass@proxy"]
    assert "pass" not in step.created_by
    assert step.definition() == plan(text).stages[0].operations[0].definition()
    declared = plan("FROM base\nARG HTTP_PROXY\nRUN x", build_args={"HTTP_PROXY": "p"}).stages[0].operations[1]
    assert declared.uncached_env == [] and "HTTP_PROXY=p" in declared.env
    assert declared.created_by == "RUN |1 HTTP_PROXY=p /bin/sh -c x # buildkit"


def test_the_hosts_environment_never_leaks_in(monkeypatch):
    monkeypatch.setenv("CANARY", "secret")
    monkeypatch.setenv("http_proxy", "http://secret")
    text = "FROM base\nARG CANARY\nENV X=$CANARY\nRUN x"
    assert "secret" not in repr(plan(text))


def test_history_reads_as_dockers():
    text = """\
FROM base
ARG A B=2
ENV X="a b" Y=c
LABEL l="m n"
MAINTAINER me
WORKDIR app
RUN echo $X
RUN ["a", "b"]
COPY --chown=a:b --chmod=644 x y ./
ADD z /z
USER app:app
EXPOSE 80 53/udp
VOLUME /d /e
STOPSIGNAL SIGQUIT
SHELL ["/bin/bash", "-c"]
HEALTHCHECK --interval=1m30s --timeout=3s --retries=3 CMD curl -f x || exit 1
ONBUILD RUN later
CMD nginx
ENTRYPOINT ["a", "b c"]
"""
    assert history(text) == [
        "ARG A B=2",
        "ENV X=a b Y=c",
        "LABEL l=m n",
        "MAINTAINER me",
        "WORKDIR /srv/app",
        "RUN |2 A= B=2 /bin/sh -c echo $X # buildkit",
        "RUN |2 A= B=2 a b # buildkit",
        "COPY --chown=a:b --chmod=644 x y /srv/app/ # buildkit",
        "ADD z /z # buildkit",
        "USER app:app",
        "EXPOSE map[53/udp:{} 80/tcp:{}]",
        "VOLUME [/d /e]",
        "STOPSIGNAL SIGQUIT",
        "SHELL [/bin/bash -c]",
        'HEALTHCHECK &{["CMD-SHELL" "curl -f x || exit 1"] "1m30s" "3s" "0s" "0s" \'\\x03\'}',
        'CMD ["/bin/bash" "-c" "nginx"]',
        'ENTRYPOINT ["a" "b c"]',
    ]


def test_the_configuration_that_instructions_come_to():
    text = """\
FROM base
WORKDIR /a
WORKDIR b/../c
ENV P=80
EXPOSE $P 8000-8002/tcp
HEALTHCHECK --interval=5s --start-period=1m CMD ["x"]
ONBUILD COPY a b
CMD ["run"]
STOPSIGNAL 9
USER 1000
"""
    config = final(text, labels={"cli": "yes"})
    assert config.working_dir == "/a/c"
    assert sorted(config.exposed_ports) == ["80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]
    assert config.healthcheck is not None
    assert (config.healthcheck.test, config.healthcheck.interval) == (["CMD", "x"], 5 * 10**9)
    assert config.healthcheck.start_period == 60 * 10**9
    assert config.on_build == ["COPY a b"]
    assert config.labels == {"a": "1", "cli": "yes"}
    assert (config.cmd, config.stop_signal, config.user) == (["run"], "9", "1000")
    assert config.env == ["PATH=/bin", "FROM_BASE=1", "P=80"]


def test_planning_leaves_the_base_images_configuration_alone():
    final("FROM base\nENV N=1\nLABEL n=1\nVOLUME /n\nEXPOSE 1\nONBUILD RUN n")
    assert IMAGES["base"] == ImageConfig(env=["PATH=/bin", "FROM_BASE=1"], cmd=["sh"], labels={"a": "1"}, working_dir="/srv")


def test_an_entry_point_resets_the_bases_command_but_not_the_files_own():
    assert final('FROM base\nENTRYPOINT ["x"]').cmd is None
    assert final('FROM base\nCMD ["y"]\nENTRYPOINT ["x"]').cmd == ["y"]
    assert final("FROM base\nRUN x").cmd == ["sh"]


def test_triggers_of_the_base_run_first_and_are_not_handed_on():
    found = plan("FROM trigger\nARG x=1\nRUN mine")
    assert [(type(step).__name__, step.first_line) for step in found.stages[0].operations] == [
        ("Copy", 1),
        ("Run", 1),
        ("Configure", 2),
        ("Run", 3),
    ]
    assert found.stages[0].config.on_build == []


def test_the_shell_of_the_base_and_of_the_file_is_used():
    steps = plan('FROM bash\nRUN a\nSHELL ["/bin/zsh"]\nRUN b').stages[0].operations
    assert (steps[0].args, steps[0].user) == (["/bin/bash", "-ec", "a"], "app")
    assert steps[2].args == ["/bin/zsh", "b"]


@pytest.mark.parametrize(
    ("run", "args", "script"),
    [
        ("RUN <<EOF\na\nb\nEOF", ["/bin/sh", "-c", "a\nb\n"], None),
        ("RUN <<-EOF\n\ta\nEOF", ["/bin/sh", "-c", "a\n"], None),
        ("RUN <<EOF bash\na\nEOF", ["/bin/sh", "-c", "<<EOF bash\na\nEOF"], None),
        ("RUN <<A cat && <<B cat\na\nA\nb\nB", ["/bin/sh", "-c", "<<A cat && <<B cat\na\nA\nb\nB"], None),
        ("RUN <<EOF\n#!/usr/bin/env python\nx\nEOF", ["/dev/pipes/EOF"], ("EOF", "#!/usr/bin/env python\nx\n")),
    ],
)
def test_here_documents_of_run(run: str, args: list[str], script: tuple[str, str] | None):
    step = plan(f"FROM base\n{run}").stages[0].operations[0]
    assert (step.args, step.script) == (args, script)


def test_here_documents_of_copy_are_expanded_unless_their_name_is_quoted():
    text = "FROM base\nARG FOO=bar\nCOPY <<A <<-'B' /d/\n$FOO \"${FOO}\"\nA\n\t$FOO\nB"
    step = plan(text).stages[0].operations[1]
    assert step.files == [("A", 'bar "bar"\n'), ("B", "$FOO\n")]
    assert step.created_by == "COPY <<A <<B /d/ # buildkit"


def test_network_of_a_step():
    assert plan("FROM base\nRUN --network=none x").stages[0].operations[0].network == "none"
    assert plan("FROM base\nRUN x", network="host").stages[0].operations[0].network == "host"
    assert plan("FROM base\nRUN --network=host x", network="host").stages[0].operations[0].network == "host"


def test_what_a_step_depends_on_changes_its_definition():
    def definition(line: str, **config) -> list[object]:
        return plan(f"FROM base\n{line}", **config).stages[0].operations[-1].definition()

    base = definition("RUN x")
    assert definition("LABEL a=b\nRUN x") == base
    assert definition("HEALTHCHECK NONE\nRUN x") == base
    for changed in ("RUN y", 'RUN ["x"]', "RUN --network=none x", "ENV a=b\nRUN x", "USER a\nRUN x", "WORKDIR /w\nRUN x"):
        assert definition(changed) != base
    assert definition("ARG a\nRUN x", build_args={"a": "1"}) != definition("ARG a\nRUN x", build_args={"a": "2"})
    assert definition("COPY a b") != definition("COPY --chmod=1 a b") != definition("COPY --chown=1 a b")
    assert definition("COPY a b") != definition("ADD a b") != definition("ADD --unpack=true a b")


def test_unused_build_arguments_are_a_warning():
    found = plan("FROM base\nARG A", build_args={"A": "1", "B": "2", "http_proxy": "x", "SOURCE_DATE_EPOCH": "1"})
    assert found.warnings == ["One or more build-args [B] were not consumed"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RUN x", "Dockerfile:1: RUN: no build stage in current context: a Dockerfile begins with FROM"),
        ("ARG x", "Dockerfile:1: ARG: no build stage in current context: there is no FROM"),
        ("FROM $x", "Dockerfile:1: FROM: base name ($x) should not be blank"),
        ("FROM base AS a\nCOPY --from=a a b", "Dockerfile:2: COPY: circular dependency detected on stage: a"),
        (
            "FROM base AS a\nCOPY --from=b a b\nFROM base AS b\nCOPY --from=a a b",
            "Dockerfile:3: FROM: circular dependency detected on stage: b",
        ),
        (
            "FROM --platform=linux/arm64/v8/x base",
            'Dockerfile:1: FROM: "linux/arm64/v8/x": invalid platform: expected os[/architecture[/variant]]',
        ),
    ],
)
def test_errors_name_the_line_and_the_instruction(text: str, message: str):
    assert fails(text) == message


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("COPY --from=7 a b", "invalid from flag value 7: there are 1 stages"),
        (
            "COPY --from=$x a b",
            "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a "
            "workaround: FROM $x AS <name>",
        ),
        (
            "COPY a b c",
            "When using COPY with more than one source file, the destination must be a directory and end with a /",
        ),
        ("RUN --mount=type=ssh,size=1 y", "unexpected key 'size' for mount type 'ssh'"),
        (
            "RUN --device=a.b/c=d,required y",
            "required device a.b/c=d is not registered: no specification in /etc/cdi or /var/run/cdi has it",
        ),
        ("RUN --device=required y", "--device=required: no device is named"),
        ("RUN --security=insecure x", "security.insecure is not allowed: build with --allow security.insecure to allow it"),
        ("RUN --security=free x", 'security "free" is not valid: expected sandbox or insecure'),
        ("RUN --network=host x", "--network=host is not allowed here: build with --allow network.host to allow it"),
        ("RUN --network=foo x", 'invalid network mode "foo": expected default, none or host'),
        ("EXPOSE foo", "invalid containerPort: foo"),
        ("EXPOSE 80/foo", "invalid proto: foo"),
        ("EXPOSE 70000", "invalid containerPort: 70000"),
        ("EXPOSE 9-8", "invalid range format: 9-8"),
        ("STOPSIGNAL SIGFOO", "Invalid signal: SIGFOO"),
        ("ENV a='b", "unexpected end of statement while looking for matching single-quote"),
        ('LABEL a="${b:?is needed}"', "b: is needed"),
        ("ADD https://x/a.git#-u /x", "invalid git ref '-u'"),
        ("ADD git@x:a.git#main:../../etc /x", "invalid git subdirectory '../../etc': it leaves the tree"),
        ("ADD --checksum=sha256:ab http://x/y /x", "invalid checksum 'sha256:ab': expected sha256: and 64 hex digits"),
        ("HEALTHCHECK --interval=1 CMD x", 'time: missing unit in duration "1"'),
        ("HEALTHCHECK --interval=1us CMD x", 'Interval "interval" cannot be less than 1ms'),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative or that large: -1"),
    ],
)
def test_errors_inside_a_stage(line: str, cause: str):
    assert fails(f"FROM base\n{line}") == f"Dockerfile:2: {line.partition(' ')[0]}: {cause}"


def test_an_unknown_target_names_the_stages_there_are():
    with pytest.raises(DockerfileError) as caught:
        plan("FROM base AS a\nFROM base AS b", target="c")
    assert str(caught.value) == 'Dockerfile:2: FROM: target stage "c" could not be found'
    assert caught.value.hint == "stages: a, b"


def test_of_two_stages_with_one_name_the_later_one_is_meant():
    text = "FROM scratch AS a\nLABEL which=1\nFROM scratch AS a\nLABEL which=2\nFROM a"
    assert plan(text).stages[-1].config.labels == {"which": "2"}
    assert plan(text, target="a").stages[-1].config.labels == {"which": "2"}


def test_a_base_that_is_not_found_has_its_line():
    def resolve(name: str, platform: str = "") -> BaseImage:
        raise NotFound(f"no {name}")

    for text, line in (("FROM scratch AS a\nFROM nothing\n", 2), ("FROM scratch\n\nCOPY --from=nothing a b\n", 3)):
        with pytest.raises(NotFound) as caught:
            plan_build(parse_dockerfile(text.encode()), BuildConfig(), resolve, "linux/amd64")
        place = place_of(caught.value)
        assert place is not None and place.first_line == line and ">>>" in place.excerpt()
