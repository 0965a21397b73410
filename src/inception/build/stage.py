"""Inside a stage: each instruction, expanded, becomes an operation and a change of the image's configuration.

`created_by` texts are Docker's, so that `docker history` and scanners read them as they know them.
"""

from __future__ import annotations

from inception.build import expand as expansion
from inception.build.ignore import clean
from inception.build.mounts import parse_mount
from inception.build.operations import Configure, Copy, MakeFolder, Operation, Run, hide_password
from inception.build.parse import heredoc_word, parse_trigger
from inception.duration import format_duration, parse_duration_ns
from inception.errors import InvalidArgument
from inception.oci.image import Healthcheck, ImageConfig
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.build.instruction import Instruction
    from inception.build.plan import Planner, StagePlan, StageSource

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ["/bin/sh", "-c"]
# Set with --build-arg alone: in the environment of RUN, never in the history, never in a cache key.
PREDEFINED = [name for word in ("http", "https", "ftp", "no", "all") for name in (f"{word}_proxy", f"{word}_proxy".upper())]
_MINIMUM_DURATION_NS = 1_000_000


def fill(planner: Planner, source: StageSource, plan: StagePlan) -> None:
    """Plans the base's triggers and the stage's instructions into *plan*."""
    worker = _Stage(planner, source, plan)
    triggers, plan.config.on_build = plan.config.on_build, []
    for text in triggers:
        trigger = parse_trigger(text, planner.file.source, source.head.first_line)
        trigger.first_line, trigger.last_line = source.head.first_line, source.head.last_line
        worker.add(trigger)
    for instruction in source.body:
        worker.add(instruction)
    worker.finish()


def empty_config() -> ImageConfig:
    """What `FROM scratch` begins with, as Docker has it."""
    return ImageConfig(env=[f"PATH={DEFAULT_PATH}"], working_dir="/")


def copy_config(config: ImageConfig) -> ImageConfig:
    """*config* with lists and dicts of its own."""
    return replace(
        config,
        exposed_ports=dict(config.exposed_ports),
        volumes=dict(config.volumes),
        labels=dict(config.labels),
        env=list(config.env),
        on_build=list(config.on_build),
    )


class _Stage:
    """One stage on its way through its instructions."""

    def __init__(self, planner: Planner, source: StageSource, plan: StagePlan) -> None:
        self.planner = planner
        self.source = source
        self.plan = plan
        self.config = plan.config
        self.env = dict(_split_pair(text) for text in plan.config.env)
        self.variables: dict[str, str | None] = dict(plan.variables)
        self.command_set = False
        self.at = source.head

    def finish(self) -> None:
        self.plan.variables = list(self.variables.items())

    def add(self, instruction: Instruction) -> None:
        self.at = instruction
        try:
            _HANDLERS[instruction.name](self, instruction)
        except (expansion.ExpansionError, ValueError) as error:
            raise self.planner.fail(str(error), instruction) from None

    # --- helpers ---

    def names(self) -> dict[str, str]:
        """What `$name` means at this point."""
        return {name: value for name, value in self.variables.items() if value is not None} | self.env

    def expand(self, text: str) -> str:
        return expansion.expand(text, self.names(), self.planner.file.escape)

    def note(self, created_by: str) -> None:
        self.plan.operations.append(self._operation(Configure, created_by))

    def _operation(self, kind: type[Operation], created_by: str, **fields: object) -> Operation:
        return kind(
            instruction=self.at.name,
            title=hide_password(self.at.original) if self.at.name == "ADD" else self.at.original,
            created_by=created_by,
            first_line=self.at.first_line,
            last_line=self.at.last_line,
            **fields,
        )

    def shell(self) -> list[str]:
        return list(self.config.shell or DEFAULT_SHELL)

    def command(self, instruction: Instruction) -> list[str]:
        if instruction.json or not instruction.arguments:
            return list(instruction.arguments)
        return [*self.shell(), instruction.arguments[0]]

    def absolute(self, path: str) -> str:
        """*path* from the working directory; a `/` at the end is kept, `.` means a folder."""
        folder = path in ("", ".") or path.endswith(("/", "/."))
        base = "" if path.startswith("/") else self.config.working_dir
        cleaned = clean(f"{base}/{path}")
        return f"/{'' if cleaned == '.' else cleaned}" + ("/" if folder and cleaned != "." else "")

    # --- configuration ---

    def arg(self, instruction: Instruction) -> None:
        shown = []
        for raw_name, default in instruction.pairs:
            name = self.expand(raw_name)
            given = self.planner.config.build_args
            if name in given:
                self.planner.used_args.add(name)
                self.variables[name] = given[name]
            elif default is not None:
                self.variables[name] = self.expand(default)
            else:
                self.variables[name] = self.planner.globals.get(name, self.variables.get(name))
            value = self.variables[name]
            shown.append(name if value is None else f"{name}={value}")
        self.note("ARG " + " ".join(shown))

    def set_env(self, instruction: Instruction) -> None:
        before = self.names()
        escape = self.planner.file.escape
        shown = []
        for raw_name, raw_value in instruction.pairs:
            name = expansion.expand(raw_name, before, escape)
            value = expansion.expand(raw_value or "", before, escape)
            if not name or "=" in name or "\0" in name + value:
                raise ValueError(f"invalid environment variable name {name!r}")
            self.env[name] = value
            shown.append(f"{name}={value}")
        self.config.env = [f"{name}={value}" for name, value in self.env.items()]
        self.note("ENV " + " ".join(shown))

    def label(self, instruction: Instruction) -> None:
        shown = []
        for raw_name, raw_value in instruction.pairs:
            name, value = self.expand(raw_name), self.expand(raw_value or "")
            self.config.labels[name] = value
            shown.append(f"{name}={value}")
        self.note("LABEL " + " ".join(shown))

    def maintainer(self, instruction: Instruction) -> None:
        self.plan.author = instruction.arguments[0]
        self.note(f"MAINTAINER {self.plan.author}")

    def user(self, instruction: Instruction) -> None:
        self.config.user = self.expand(instruction.arguments[0])
        self.note(f"USER {self.config.user}")

    def expose(self, instruction: Instruction) -> None:
        escape = self.planner.file.escape
        found: dict[str, dict[str, object]] = {}
        for word in instruction.arguments:
            for port in expansion.expand_words(word, self.names(), escape):
                found |= {name: {} for name in _ports(port)}
        self.config.exposed_ports |= found
        self.note(f"EXPOSE {_go_map(found)}")

    def volume(self, instruction: Instruction) -> None:
        paths = [self.expand(path).strip() for path in instruction.arguments]
        if not all(paths):
            raise ValueError("VOLUME specified can not be an empty string")
        self.config.volumes |= {path: {} for path in paths}
        self.note(f"VOLUME [{' '.join(paths)}]")

    def stop_signal(self, instruction: Instruction) -> None:
        signal = self.expand(instruction.arguments[0])
        _check_signal(signal)
        self.config.stop_signal = signal
        self.note(f"STOPSIGNAL {signal}")

    def set_shell(self, instruction: Instruction) -> None:
        self.config.shell = list(instruction.arguments)
        self.note(f"SHELL [{' '.join(instruction.arguments)}]")

    def cmd(self, instruction: Instruction) -> None:
        self.config.cmd = self.command(instruction)
        self.command_set = True
        self.note(f"CMD {_go_quoted(self.config.cmd)}")

    def entrypoint(self, instruction: Instruction) -> None:
        self.config.entrypoint = self.command(instruction)
        if not self.command_set:
            self.config.cmd = None  # the base's command was meant for the base's entry point
        self.note(f"ENTRYPOINT {_go_quoted(self.config.entrypoint)}")

    def healthcheck(self, instruction: Instruction) -> None:
        kind, *command = instruction.arguments
        if kind == "NONE":
            check = Healthcheck(test=["NONE"])
        else:
            check = Healthcheck(
                test=["CMD" if instruction.json else "CMD-SHELL", *command],
                interval=_duration(instruction, "interval"),
                timeout=_duration(instruction, "timeout"),
                start_period=_duration(instruction, "start-period"),
                start_interval=_duration(instruction, "start-interval"),
                retries=_retries(instruction),
            )
        self.config.healthcheck = check
        times = (check.interval, check.timeout, check.start_period, check.start_interval)
        shown = " ".join([_go_quoted(check.test), *(f'"{format_duration(time)}"' for time in times)])
        self.note(f"HEALTHCHECK &{{{shown} '\\x{check.retries:02x}'}}")

    def onbuild(self, instruction: Instruction) -> None:
        self.config.on_build.append(instruction.arguments[0])  # BuildKit's history has no line for it

    # --- files ---

    def workdir(self, instruction: Instruction) -> None:
        path = self.expand(instruction.arguments[0])
        if not path:
            raise ValueError("the path is empty")
        self.config.working_dir = self.absolute(path).rstrip("/") or "/"
        created_by = f"WORKDIR {self.config.working_dir}"
        if self.config.working_dir == "/":
            self.note(created_by)
            return
        folder = self._operation(MakeFolder, created_by, path=self.config.working_dir, user=self.config.user)
        self.plan.operations.append(folder)

    def run(self, instruction: Instruction) -> None:
        allow = self.planner.config.allow
        security = instruction.flag("security", "sandbox")
        if security not in ("sandbox", "insecure"):
            raise ValueError(f'security "{security}" is not valid: expected sandbox or insecure')
        if security == "insecure" and "security.insecure" not in allow:
            raise ValueError("security.insecure is not allowed: build with --allow security.insecure to allow it")
        devices: list[str] = []
        if "device" in instruction.flags:
            from inception.build.devices import find_devices

            devices = find_devices([self.expand(text) for text in instruction.flags["device"]], allow)
        args, script = self._run_args(instruction)
        env, uncached = self._run_env()
        mounts = [
            parse_mount(text, self.expand, self._find_origin, self.absolute) for text in instruction.flags.get("mount", [])
        ]
        self.plan.operations.append(
            self._operation(
                Run,
                f"RUN {self._shown_args()}{' '.join(args)} # buildkit",
                args=args,
                env=env,
                uncached_env=uncached,
                user=self.config.user,
                working_dir=self.config.working_dir or "/",
                network=self._network(instruction),
                script=script,
                mounts=mounts,
                devices=devices,
                insecure=security == "insecure",
            )
        )

    def _run_args(self, instruction: Instruction) -> tuple[list[str], tuple[str, str] | None]:
        """What is executed. A lone here-document is a script of its own; with other words the shell gets it all."""
        if not instruction.heredocs:
            return self.command(instruction), None
        text = instruction.arguments[0]
        first = instruction.heredocs[0]
        if heredoc_word(text) is None:
            documents = "".join(f"\n{document.content}{document.name}" for document in instruction.heredocs)
            return [*self.shell(), text + documents], None
        if first.text.startswith("#!"):
            return [f"{SCRIPT_FOLDER}/{first.name}"], (first.name, first.text)
        return [*self.shell(), first.text], None

    def _run_env(self) -> tuple[list[str], list[str]]:
        env = dict(self.names())
        env.setdefault("PATH", DEFAULT_PATH)
        given = self.planner.config.build_args
        uncached = [f"{name}={given[name]}" for name in PREDEFINED if name in given and name not in env]
        return [f"{name}={value}" for name, value in env.items()], uncached

    def _shown_args(self) -> str:
        """Docker's `|2 a=1 b=2 ` in front of a command that saw build arguments."""
        if not self.variables:
            return ""
        names = self.names()
        pairs = [f"{name}={names.get(name, '')}" for name in self.variables]
        return f"|{len(pairs)} {' '.join(pairs)} "

    def _network(self, instruction: Instruction) -> str:
        general = self.planner.config.network or "default"
        wanted = instruction.flag("network", "default")
        if wanted == "default":
            return general
        if wanted == "none" or (wanted == "host" and (general == "host" or "network.host" in self.planner.config.allow)):
            return wanted
        if wanted == "host":
            raise ValueError("--network=host is not allowed here: build with --allow network.host to allow it")
        raise ValueError(f'invalid network mode "{wanted}": expected default, none or host')

    def copy(self, instruction: Instruction) -> None:
        flags = {name: self.expand(instruction.flag(name)) for name in ("chown", "chmod", "checksum")}
        if flags["chmod"]:
            from inception.build.mode import parse_mode

            parse_mode(flags["chmod"])
        *words, last = instruction.arguments
        documents = iter(instruction.heredocs)
        sources: list[str] = []
        files: list[tuple[str, str]] = []
        urls: list[str] = []
        repositories: list[str] = []
        for word in words:
            if not instruction.json and instruction.heredocs and heredoc_word(word) is not None:
                document = next(documents)
                text = expansion.expand_heredoc(document.text, self.names()) if document.expand else document.text
                files.append((document.name, text))
                continue
            source = self.expand(word)
            if instruction.name == "ADD" and _is_repository(source):
                repositories.append(source)
            elif source.lower().startswith(("http://", "https://")):
                if instruction.name == "COPY":
                    raise ValueError("source can't be a URL for COPY")
                urls.append(source)
            else:
                sources.append(source)
        if next(documents, None) is not None:
            raise ValueError("a here-document can't be the destination")
        destination = self.absolute(self.expand(last))
        if instruction.name == "ADD":
            _check_add(instruction, sources, urls, repositories, flags["checksum"])
        if len(words) > 1 and not destination.endswith("/"):
            raise ValueError(
                f"When using {instruction.name} with more than one source file, "
                "the destination must be a directory and end with a /"
            )
        origin = self._origin(instruction)
        exclude = [self.expand(text) for text in instruction.flags.get("exclude", [])]
        shown = [f"--{name}={value}" for name, value in flags.items() if value] + [f"--exclude={text}" for text in exclude]
        shown += ["--parents"] if instruction.flag("parents") == "true" else []
        shown += ["--link"] if instruction.flag("link") == "true" else []
        shown += ["--keep-git-dir"] if instruction.flag("keep-git-dir") == "true" else []
        names = [*sources, *urls, *repositories, *(f"<<{name}" for name, _ in files)]
        unpack = {"": None, "true": True, "false": False}[instruction.flag("unpack")] if instruction.name == "ADD" else False
        self.plan.operations.append(
            self._operation(
                Copy,
                hide_password(" ".join([instruction.name, *shown, *names, destination])) + " # buildkit",
                sources=sources,
                destination=destination,
                origin=origin,
                files=files,
                urls=urls,
                repositories=repositories,
                keep_git_dir=instruction.flag("keep-git-dir") == "true",
                chown=flags["chown"],
                chmod=flags["chmod"],
                exclude=exclude,
                parents=instruction.flag("parents") == "true",
                unpack=unpack,
                checksum=flags["checksum"],
            )
        )

    def _origin(self, instruction: Instruction) -> str:
        name = instruction.flag("from")
        if not name:
            return ""
        if "$" in name:
            raise ValueError(
                "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a "
                f"workaround: FROM {name} AS <name>"
            )
        return self._find_origin(name)

    def _find_origin(self, name: str) -> str:
        """The stage, named context or image that *name* means."""
        planner = self.planner
        context = planner.find_context(name, self.at)
        if context is not None:
            return context
        index = planner.find_stage(name, len(planner.stages))
        if index is None and name.isdecimal():
            index = int(name)
            if index >= len(planner.stages):
                raise ValueError(f"invalid from flag value {name}: there are {len(planner.stages)} stages")
        if index is not None:
            if index == self.source.index:
                raise ValueError(f"circular dependency detected on stage: {name}")
            planner.plan_stage(index)
            return f"stage:{index}"
        if name == "scratch":
            raise ValueError("invalid from flag value scratch: it holds no files")
        return f"image:{planner.find_image(name, self.at).reference}"


# Where a here-document with a `#!` line appears inside a step, as in Docker.
SCRIPT_FOLDER = "/dev/pipes"

_HANDLERS: dict[str, Callable[[_Stage, Instruction], None]] = {
    "ADD": _Stage.copy,
    "ARG": _Stage.arg,
    "CMD": _Stage.cmd,
    "COPY": _Stage.copy,
    "ENTRYPOINT": _Stage.entrypoint,
    "ENV": _Stage.set_env,
    "EXPOSE": _Stage.expose,
    "HEALTHCHECK": _Stage.healthcheck,
    "LABEL": _Stage.label,
    "MAINTAINER": _Stage.maintainer,
    "ONBUILD": _Stage.onbuild,
    "RUN": _Stage.run,
    "SHELL": _Stage.set_shell,
    "STOPSIGNAL": _Stage.stop_signal,
    "USER": _Stage.user,
    "VOLUME": _Stage.volume,
    "WORKDIR": _Stage.workdir,
}


def _split_pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _ports(text: str) -> list[str]:
    """`80`, `80/udp`, `8000-8010/tcp` as the keys of ExposedPorts. Of `127.0.0.1:8080:80`, which a build check warns of, the
    container's side."""
    ports, _, protocol = text.partition("/")
    ports = ports.rpartition(":")[2]
    protocol = protocol.lower() or "tcp"
    first, dash, last = ports.partition("-")
    last = last if dash else first
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f"invalid proto: {protocol}")
    for number in (first, last):
        if not (number.isascii() and number.isdecimal() and 0 < int(number) < 65536):
            raise ValueError(f"invalid containerPort: {text}")
    if int(last) < int(first):
        raise ValueError(f"invalid range format: {text}")
    return [f"{port}/{protocol}" for port in range(int(first), int(last) + 1)]


def _check_signal(text: str) -> None:
    from signal import Signals  # a wrong signal would only be noticed when a container is stopped

    if text.isdecimal():
        known = 0 < int(text) < 65
    else:
        name = text.upper().removeprefix("SIG")
        known = f"SIG{name}" in Signals.__members__ or name.startswith(("RTMIN", "RTMAX"))
    if not known:
        raise ValueError(f"Invalid signal: {text}")


def _is_repository(source: str) -> bool:
    if not source.startswith(("git@", "git://", "ssh://", "http://", "https://", "github.com/")):
        return False
    from inception.build.git import parse_repository

    try:
        return parse_repository(source) is not None
    except InvalidArgument as error:
        raise ValueError(str(error)) from None


def _check_add(instruction: Instruction, sources: list[str], urls: list[str], repositories: list[str], checksum: str) -> None:
    if instruction.flag("keep-git-dir") == "true" and not repositories:
        raise ValueError("--keep-git-dir is for git repositories: none is a source")
    if not checksum:
        return
    if len(sources) + len(urls) + len(repositories) != 1 or sources:
        raise ValueError("checksum can't be specified for " + ("non-HTTP(S) sources" if not urls else "multiple sources"))
    if repositories:
        from inception.build.git import is_commit

        if not is_commit(checksum):
            raise ValueError(f'invalid checksum "{checksum}", expected hex commit hash')
        return
    algorithm, _, digits = checksum.partition(":")
    if algorithm != "sha256" or len(digits) != 64 or digits.strip("0123456789abcdef"):
        raise ValueError(f"invalid checksum {checksum!r}: expected sha256: and 64 hex digits")


def _duration(instruction: Instruction, name: str) -> int:
    text = instruction.flag(name)
    if not text:
        return 0
    duration = parse_duration_ns(text)
    if duration and duration < _MINIMUM_DURATION_NS:
        raise ValueError(f'Interval "{name}" cannot be less than 1ms')
    return duration


def _retries(instruction: Instruction) -> int:
    text = instruction.flag("retries", "0")
    try:
        retries = int(text)
    except ValueError:
        raise ValueError(f"--retries: {text!r} is not a number") from None
    if not 0 <= retries < 1 << 31:
        raise ValueError(f"--retries cannot be negative or that large: {text}")
    return retries


def _go_quoted(words: list[str]) -> str:
    """A list as Go's `%q` prints it, which is what Docker's history shows: `["nginx" "-g" "daemon off;"]`."""
    from inception import jsontext

    return "[" + " ".join(jsontext.quote(word) for word in words) + "]"


def _go_map(ports: dict[str, dict[str, object]]) -> str:
    return "map[" + " ".join(f"{name}:{{}}" for name in sorted(ports)) + "]"
