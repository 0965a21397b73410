"""Inside a stage: each instruction, expanded, becomes an operation and a change of the image's configuration.

What only changes the configuration is here; RUN is in runstep.py, COPY and ADD in copystep.py, and what single words of all of
them mean in values.py.

`created_by` texts are Docker's, so that `docker history` and scanners read them as they know them.
"""

from __future__ import annotations

from inception.build import expand as expansion
from inception.build.copystep import plan_copy
from inception.build.ignore import clean
from inception.build.operations import Configure, MakeFolder, Operation, hide_password
from inception.build.parse import parse_trigger
from inception.build.runstep import plan_run
from inception.build.values import DEFAULT_PATH, check_signal, duration, go_map, go_quoted, ports, retries, split_pair
from inception.duration import format_duration
from inception.oci.image import Healthcheck, ImageConfig
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.build.instruction import Instruction
    from inception.build.plan import Planner, StagePlan, StageSource

DEFAULT_SHELL = ["/bin/sh", "-c"]


def fill(planner: Planner, source: StageSource, plan: StagePlan) -> None:
    """Plans the base's triggers and the stage's instructions into *plan*."""
    worker = Stage(planner, source, plan)
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


class Stage:
    """One stage on its way through its instructions."""

    def __init__(self, planner: Planner, source: StageSource, plan: StagePlan) -> None:
        self.planner = planner
        self.source = source
        self.plan = plan
        self.config = plan.config
        self.env = dict(split_pair(text) for text in plan.config.env)
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
        self.plan.operations.append(self.operation(Configure, created_by))

    def operation(self, kind: type[Operation], created_by: str, **fields: object) -> Operation:
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
                found |= {name: {} for name in ports(port)}
        self.config.exposed_ports |= found
        self.note(f"EXPOSE {go_map(found)}")

    def volume(self, instruction: Instruction) -> None:
        paths = [self.expand(path).strip() for path in instruction.arguments]
        if not all(paths):
            raise ValueError("VOLUME specified can not be an empty string")
        self.config.volumes |= {path: {} for path in paths}
        self.note(f"VOLUME [{' '.join(paths)}]")

    def stop_signal(self, instruction: Instruction) -> None:
        signal = self.expand(instruction.arguments[0])
        check_signal(signal)
        self.config.stop_signal = signal
        self.note(f"STOPSIGNAL {signal}")

    def set_shell(self, instruction: Instruction) -> None:
        self.config.shell = list(instruction.arguments)
        self.note(f"SHELL [{' '.join(instruction.arguments)}]")

    def cmd(self, instruction: Instruction) -> None:
        self.config.cmd = self.command(instruction)
        self.command_set = True
        self.note(f"CMD {go_quoted(self.config.cmd)}")

    def entrypoint(self, instruction: Instruction) -> None:
        self.config.entrypoint = self.command(instruction)
        if not self.command_set:
            self.config.cmd = None  # the base's command was meant for the base's entry point
        self.note(f"ENTRYPOINT {go_quoted(self.config.entrypoint)}")

    def healthcheck(self, instruction: Instruction) -> None:
        kind, *command = instruction.arguments
        if kind == "NONE":
            check = Healthcheck(test=["NONE"])
        else:
            check = Healthcheck(
                test=["CMD" if instruction.json else "CMD-SHELL", *command],
                interval=duration(instruction, "interval"),
                timeout=duration(instruction, "timeout"),
                start_period=duration(instruction, "start-period"),
                start_interval=duration(instruction, "start-interval"),
                retries=retries(instruction),
            )
        self.config.healthcheck = check
        times = (check.interval, check.timeout, check.start_period, check.start_interval)
        shown = " ".join([go_quoted(check.test), *(f'"{format_duration(time)}"' for time in times)])
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
        folder = self.operation(MakeFolder, created_by, path=self.config.working_dir, user=self.config.user)
        self.plan.operations.append(folder)

    def find_origin(self, name: str) -> str:
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


_HANDLERS: dict[str, Callable[[Stage, Instruction], None]] = {
    "ADD": plan_copy,
    "ARG": Stage.arg,
    "CMD": Stage.cmd,
    "COPY": plan_copy,
    "ENTRYPOINT": Stage.entrypoint,
    "ENV": Stage.set_env,
    "EXPOSE": Stage.expose,
    "HEALTHCHECK": Stage.healthcheck,
    "LABEL": Stage.label,
    "MAINTAINER": Stage.maintainer,
    "ONBUILD": Stage.onbuild,
    "RUN": plan_run,
    "SHELL": Stage.set_shell,
    "STOPSIGNAL": Stage.stop_signal,
    "USER": Stage.user,
    "VOLUME": Stage.volume,
    "WORKDIR": Stage.workdir,
}
