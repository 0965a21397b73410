"""`build`: an image from a Dockerfile."""

from __future__ import annotations

import os
import sys

from inception.cli.call import Call
from inception.cli.flags import Command
from inception.errors import InceptionError, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.build import BuildConfig, BuildFailed, BuildResult
    from inception.build.config import Annotation, Attestations, CachePlace, Output, SecretSource
    from inception.cli.flags import Flags
    from inception.engine.config import ResourceConfig, Ulimit

    Builder = Callable[..., BuildResult]

_PROGRESS = ("auto", "plain", "tty", "quiet", "json", "rawjson")
# Whoever gives none of these loads nothing that knows of them.
_LIMITS = ("cpu-period", "cpu-quota", "cpu-shares", "cpuset-cpus", "cpuset-mems", "memory", "memory-swap", "shm-size", "ulimit")


def build(call: Call) -> int:
    flags = call.flags
    progress = "quiet" if flags.on("quiet") else flags.text("progress")
    if progress not in _PROGRESS:
        raise InvalidArgument(f"invalid progress type {progress!r}: expected one of {', '.join(_PROGRESS)}")
    if flags.on("debug") and not (os.isatty(0) and os.isatty(1) and progress != "quiet"):
        raise InvalidArgument("--debug opens a shell when a step fails: it needs a terminal")
    config = _config(flags, call.arguments[0])
    asked = _asked(flags)
    for name in ("explain", "call", "check", "why", "debug"):
        if flags.given(name) and call.is_remote:
            raise InvalidArgument(f"build --{name} is not possible on another engine", "run it on that machine, without --host")
    if flags.on("explain"):
        return _explain(call, config)
    if asked == ("lint", "text"):
        return _check(call, config)
    if asked:
        return _ask(call, config, *asked)
    result = _build(call, config, progress)
    if flags.text("iidfile"):
        _write(flags.text("iidfile"), result.image_id)
    if flags.text("metadata-file"):
        import json  # nothing smaller indents

        _write(flags.text("metadata-file"), json.dumps(result.metadata, indent=2) + "\n")
    if flags.on("why"):
        print("\n".join(result.reasons))
    if flags.on("quiet"):
        print(result.image_id)
    return 0


def _explain(call: Call, config: BuildConfig) -> int:
    from inception.build import explain

    try:
        print(explain(call.engine, config))
    except InceptionError as error:
        show_failure(error)
        raise
    return 0


_CALLS = {"check": "lint", "outline": "outline", "targets": "targets"}


def _asked(flags: Flags) -> tuple[str, str] | None:
    """What is wanted in the place of a build: one of the questions of `build/calls.py`, and the form of the answer."""
    if flags.on("check"):
        return "lint", "text"
    words = flags.text("call").split(",")
    name, form = words[0], "text"
    for word in words[1:]:
        key, _, value = word.partition("=")
        if key != "format" or value not in ("text", "json"):
            raise InvalidArgument(f"invalid call {flags.text('call')!r}: {word!r} is no format=text or format=json")
        form = value
    if name in ("", "build"):
        return None
    if name not in _CALLS:
        raise InvalidArgument(f"invalid call {name!r}: expected one of build, {', '.join(_CALLS)}")
    return _CALLS[name], form


def _ask(call: Call, config: BuildConfig, name: str, form: str) -> int:
    from inception.build.calls import call as ask

    try:
        answer = ask(call.engine, config, name)
    except InceptionError as error:
        show_failure(error)
        raise
    if form == "json":
        import json  # nothing smaller indents

        print(json.dumps(answer.document, indent=2))
    else:
        print(answer.text, end="")
    return 1 if answer.failed else 0


def _check(call: Call, config: BuildConfig) -> int:
    """As `docker build --check`: the warnings with their lines; the exit code is 1 when there are any."""
    from inception.build import DockerfileError
    from inception.build.checks import check, warnings_before

    failure = None
    try:
        warnings = check(call.engine, config)
    except DockerfileError as error:
        warnings, failure = warnings_before(error), error
    if warnings:
        count = "1 warning has" if len(warnings) == 1 else f"{len(warnings)} warnings have"
        print(f"Check complete, {count} been found!\n\n" + "\n\n".join(map(str, warnings)), flush=True)
    elif failure is None:
        print("Check complete, no warnings found.")
    if failure is not None:
        show_failure(failure)
        raise failure
    return 1 if warnings else 0


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise InvalidArgument(f"write {path}: {error.strerror}") from error


def _build(call: Call, config: BuildConfig, progress: str) -> BuildResult:
    from inception.build.progress import open_progress

    build = builder_of(call)
    try:
        if progress == "quiet":
            return build(call.engine, config)
        with open_progress(progress, sys.stderr) as shown:
            if not call.flags.on("debug"):
                return build(call.engine, config, shown)
            from inception.cli.build_debug import Debugger

            return build(call.engine, config, shown, caller=Debugger(config, shown.stop))
    except InceptionError as error:
        show_failure(error)
        raise


def builder_of(call: Call) -> Builder:
    """The one here, or the one of another machine's engine."""
    if call.is_remote:
        from inception.client.build import build as build_there

        return build_there
    from inception.build import build

    return build


def show_failure(error: InceptionError) -> None:
    """The end of what the failed step said, and the lines of the Dockerfile; nothing for an error that is not a build's."""
    from inception.build import BuildFailed
    from inception.build.source import place_of

    if isinstance(error, BuildFailed):
        if error.shown:
            return
        error.shown = True
        _show_output(error)
    place = place_of(error)
    if place is not None:
        print(place.excerpt(), file=sys.stderr)


def _show_output(error: BuildFailed) -> None:
    from inception.build.progress import printable_lines

    if error.output:
        rule = "------"
        lines = printable_lines(error.output)
        print("\n".join([rule, f" > {error.title.partition(chr(10))[0]}:", *lines, rule]), file=sys.stderr)


def _config(flags: Flags, context: str) -> BuildConfig:
    from inception.build import BuildConfig

    try:
        resources = _resources(flags)
        hosts = _hosts(flags.list("add-host"))
    except ValueError as error:
        raise InvalidArgument(str(error)) from None
    return BuildConfig(
        context=context,
        dockerfile=flags.text("file"),
        tags=flags.list("tag"),
        target=flags.text("target"),
        build_args=_build_args(flags.list("build-arg")),
        labels=dict(_pair(text) for text in flags.list("label")),
        no_cache=flags.on("no-cache"),
        pull=flags.on("pull"),
        network=flags.text("network"),
        extra_hosts=hosts,
        platform=",".join(flags.list("platform")),
        resources=resources,
        secrets=dict(_secrets(flags.list("secret"))),
        ssh=dict(_agents(flags.list("ssh"))),
        allow=_allowed(flags.list("allow")),
        outputs=_outputs(flags),
        no_cache_stages=flags.list("no-cache-filter"),
        metadata=bool(flags.text("metadata-file")),
        annotations=_annotations(flags.list("annotation")),
        attestations=_attestations(flags),
        cache_from=_places(flags.list("cache-from"), out=False),
        cache_to=_places(flags.list("cache-to"), out=True),
        contexts=dict(_context(text) for text in flags.list("build-context")),
    )


def _resources(flags: Flags) -> ResourceConfig | None:
    if not any(flags.given(name) for name in _LIMITS):
        return None
    from inception.engine.config import ResourceConfig
    from inception.engine.limits import LIMITS, TEXTS

    found = ResourceConfig(ulimits=_ulimits(flags.list("ulimit")))
    if flags.number("shm-size"):
        found.shm_size_bytes = flags.number("shm-size")
    for field, name, _document in LIMITS:
        if flags.has(name):
            setattr(found, field, flags.text(name) if field in TEXTS else flags.number(name))
    return found


def _outputs(flags: Flags) -> list[Output]:
    texts = flags.list("output")
    if not texts and not flags.on("push"):
        return []
    from inception.build.config import Output
    from inception.build.output import parse_output

    pushed = [Output(type="registry")] if flags.on("push") else []
    return [*(parse_output(text) for text in texts), *pushed]


def _annotations(texts: list[str]) -> list[Annotation]:
    if not texts:
        return []
    from inception.build.output import parse_annotation

    return [note for text in texts for note in parse_annotation(text)]


def _attestations(flags: Flags) -> Attestations:
    from inception.build.config import Attestations

    given = [flags.list(name) for name in ("attest", "provenance", "sbom")]
    if not any(given):
        return Attestations()
    from inception.build.attest import parse_attestations

    return parse_attestations(*given)


def _places(texts: list[str], *, out: bool) -> list[CachePlace]:
    if not texts:
        return []
    from inception.build.cacheplaces import parse_source, parse_target

    return [parse_target(text) if out else parse_source(text) for text in texts]


def _secrets(texts: list[str]) -> list[tuple[str, SecretSource]]:
    if not texts:
        return []
    from inception.build.secrets import parse_secret

    return [parse_secret(text) for text in texts]


def _agents(texts: list[str]) -> list[tuple[str, str]]:
    if not texts:
        return []
    from inception.build.agent import parse_ssh

    return [parse_ssh(text) for text in texts]


def _allowed(texts: list[str]) -> list[str]:
    if not texts:
        return []
    from inception.build.devices import parse_allow

    return [parse_allow(text) for text in texts]


def _context(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InvalidArgument(f"invalid context value: {text}, expected key=value")
    return name.lower(), value


def _ulimits(texts: list[str]) -> list[Ulimit]:
    if not texts:
        return []
    from inception.cli.run_config import parse_ulimit

    return [parse_ulimit(text) for text in texts]


def _hosts(texts: list[str]) -> list[str]:
    if not texts:
        return []
    from inception.cli.run_config import parse_host

    return [parse_host(text) for text in texts]


def _build_args(given: list[str]) -> dict[str, str]:
    """`name=value`, or `name` for the value that it has in the environment, if any."""
    found: dict[str, str] = {}
    # As Docker's client does: reproducible builds set it for all tools at once.
    if "SOURCE_DATE_EPOCH" in os.environ:
        found["SOURCE_DATE_EPOCH"] = os.environ["SOURCE_DATE_EPOCH"]
    for text in given:
        name, equals, value = text.partition("=")
        if not name:
            raise InvalidArgument(f"invalid build argument {text!r}: expected name=value")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return found


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


BUILD = Command(
    build,
    "[OPTIONS] PATH | URL | -",
    "Build an image from a Dockerfile",
    """\
      --add-host list            Add a custom host-to-IP mapping ("host:ip")
      --allow strings            Allow extra privileged entitlement (e.g., "network.host", "security.insecure", "device")
      --annotation list          Add annotation to the image
      --attest list              Attestation parameters (format: "type=sbom,generator=image")
      --build-arg list           Set build-time variables
      --build-context strings    Additional build contexts (e.g., name=path)
      --cache-from list          External cache sources (e.g., "user/app:cache", "type=local,src=path/to/dir")
      --cache-to list            Cache export destinations (e.g., "user/app:cache", "type=local,dest=path/to/dir")
      --call string              Set method for evaluating build ("check", "outline", "targets") (default "build")
      --check                    Check the Dockerfile and show warnings; nothing is built
      --cpu-period int           Limit the CPU CFS (Completely Fair Scheduler) period
      --cpu-quota int            Limit the CPU CFS (Completely Fair Scheduler) quota
  -c, --cpu-shares int           CPU shares (relative weight)
      --cpuset-cpus string       CPUs in which to allow execution (0-3, 0,1)
      --cpuset-mems string       MEMs in which to allow execution (0-3, 0,1)
      --explain                  Print the operations with their cache keys; nothing is built
      --debug                    Open a shell in the state of a step that fails, on a terminal
  -f, --file string              Name of the Dockerfile (default: "PATH/Dockerfile")
      --iidfile string           Write the image ID to the file
      --label list               Set metadata for an image
      --metadata-file string     Write build result metadata to a file
  -m, --memory bytes             Memory limit
      --memory-swap bytes        Swap limit equal to memory plus swap: -1 to enable unlimited swap
      --network string           Set the networking mode for the RUN instructions during build (default "default")
      --no-cache                 Do not use cache when building the image
      --no-cache-filter strings  Do not cache specified stages
  -o, --output list              Output destination (format: "type=local,dest=path")
      --platform list            Set target platform for build
      --progress string          Set type of progress output ("auto", "plain", "tty", "quiet", "json") (default "auto")
      --provenance list          Shorthand for "--attest=type=provenance"
      --pull                     Always attempt to pull all referenced images
      --push                     Shorthand for "--output=type=registry"
  -q, --quiet                    Suppress the build output and print image ID on success
      --sbom list                Shorthand for "--attest=type=sbom"
      --secret list              Secret to expose to the build (format: "id=mysecret[,src=/local/secret]")
      --shm-size bytes           Shared memory size for build containers
      --ssh strings              SSH agent socket or keys to expose to the build ("default|<id>[=<socket>|<key>[,<key>]]")
  -t, --tag list                 Name and optionally a tag (format: "name:tag")
      --target string            Set the target build stage to build
      --ulimit ulimit            Ulimit options
      --why                      Say of every step whether it was cached, or what exactly had changed
""",
    minimum=1,
    maximum=1,
    # What these ask for is always so: nothing is left of a step, the context isn't sent, the result is in the store.
    hidden="""\
      --compress              Compress the build context
      --force-rm              Always remove intermediate containers
      --load                  Put the result into the image store
      --rm                    Remove intermediate containers
""",
    refused={
        "cgroup-parent": "steps run in the engine's own cgroup",
        "isolation": "it is for Windows",
        "builder": "there is one builder",
        "security-opt": "it is for Windows",
        "squash": "use a multi-stage build",
    },
)
