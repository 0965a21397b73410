"""What a Dockerfile offers to whoever builds it, without building it: its targets, and what a target takes.

    targets   each stage, with what the comment above says of it
    outline   of one target: the arguments, secrets and agents that it and the stages below it ask for

A comment `# NAME what it is` above an ARG or FROM describes it. Pure: base images are not looked for.
Source: BuildKit's frontend/subrequests; Dockerfile reference, "Comments".
"""

from __future__ import annotations

import re

from inception.build.plan import BaseImage, Planner, platform_name
from inception.oci.image import ImageDocument, RootFs
from inception.record import Record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from inception.build.config import BuildConfig
    from inception.build.instruction import Instruction
    from inception.build.parse import Dockerfile
    from inception.build.plan import StagePlan

_VARIABLE = re.compile(r"(?<!\\)\$(?:\{(\w+)|(\w+))")


class Target(Record):
    """`default` is what is built when none is asked for."""

    name: str
    description: str
    base: str
    platform: str
    first_line: int
    last_line: int
    default: bool = False


class Argument(Record):
    """`value` is what it has in this build."""

    name: str
    description: str
    value: str
    line: int


class Wanted(Record):
    """A secret or an agent."""

    name: str
    required: bool
    line: int


class Outline(Record):
    name: str
    description: str
    arguments: list[Argument] = []
    secrets: list[Wanted] = []
    agents: list[Wanted] = []


def targets_of(file: Dockerfile) -> list[Target]:
    found = []
    for each in file.instructions:
        if each.name == "FROM":
            name = each.arguments[2] if len(each.arguments) == 3 else ""
            found.append(
                Target(
                    name=name,
                    description=_description(file, each, name),
                    base=each.arguments[0],
                    platform=each.flag("platform"),
                    first_line=each.first_line,
                    last_line=each.last_line,
                )
            )
    if found:
        found[-1].default = True
    return found


def outline_of(file: Dockerfile, config: BuildConfig) -> Outline:
    """Raises DockerfileError for a target that isn't there, and what planning raises."""
    platform = config.platform.partition(",")[0]
    planner = Planner(file, replace(config, platform=platform), lambda name, _platform="": _unknown(name), platform_name())
    plan = planner.plan()
    target, *_ = stages = list(reversed(plan.stages))
    head = planner.stages[target.index].head
    found = Outline(name=target.name, description=_description(file, head, target.name))
    arguments: dict[str, Argument] = {}
    for stage in stages:
        for each in _stage_arguments(file, planner.stages[stage.index].body, stage):
            arguments.setdefault(each.name, each)
    for each in _global_arguments(file, planner, stages):
        arguments.setdefault(each.name, each)
    found.arguments = sorted(arguments.values(), key=lambda each: each.line)
    found.secrets = _wanted(stages, "secret")
    found.agents = _wanted(stages, "ssh")
    return found


def _unknown(name: str) -> BaseImage:
    return BaseImage(reference=name, id="", document=ImageDocument(architecture="", os="", rootfs=RootFs(diff_ids=[])))


def _stage_arguments(file: Dockerfile, body: Sequence[Instruction], stage: StagePlan) -> list[Argument]:
    values = dict(stage.variables)
    found: dict[str, Argument] = {}
    for each in body:
        for name, _ in each.pairs if each.name == "ARG" else ():
            found[name] = Argument(
                name=name, description=_description(file, each, name), value=values.get(name) or "", line=each.first_line
            )
    return list(found.values())


def _global_arguments(file: Dockerfile, planner: Planner, stages: Sequence[StagePlan]) -> list[Argument]:
    """Those that the stages rest on: named in a FROM, taken by an ARG without a value of its own, or in such a one's value."""
    defined: dict[str, Argument] = {}
    needs: dict[str, set[str]] = {}
    for each in file.instructions:
        if each.name == "FROM":
            break
        for name, default in each.pairs:
            needs.setdefault(name, set()).update(_names([default or ""]))
            value = planner.globals.get(name, "")
            defined[name] = Argument(name=name, description=_description(file, each, name), value=value, line=each.first_line)
    wanted: list[str] = []
    for stage in stages:
        source = planner.stages[stage.index]
        wanted += _names([source.head.arguments[0], source.head.flag("platform")])
        wanted += [name for each in source.body if each.name == "ARG" for name, default in each.pairs if default is None]
    used: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in used:
            used.add(name)
            wanted += needs.get(name, ())
    return [each for name, each in defined.items() if name in used]


def _names(texts: Iterable[str]) -> set[str]:
    return {match[1] or match[2] for text in texts for match in _VARIABLE.finditer(text)}


def _wanted(stages: Sequence[StagePlan], kind: str) -> list[Wanted]:
    from inception.build.operations import Run

    found: dict[str, Wanted] = {}
    for stage in stages:
        for step in stage.operations:
            for mount in step.mounts if isinstance(step, Run) else ():
                if mount.type == kind:
                    found.setdefault(mount.id, Wanted(name=mount.id, required=mount.required, line=step.first_line))
    return sorted(found.values(), key=lambda each: each.line)


def _description(file: Dockerfile, at: Instruction, name: str) -> str:
    """What the comments right above say of *name*."""
    lines = file.source.lines
    number = at.first_line - 2
    while name and number >= 0 and lines[number].lstrip().startswith("#"):
        word, _, rest = lines[number].lstrip()[1:].strip().partition(" ")
        if word.lower() == name.lower() and rest:
            return rest.strip()
        number -= 1
    return ""


# --- as tables ---


def targets_table(targets: Sequence[Target]) -> str:
    rows = [(f"{each.name or '(unnamed)'}{' (default)' if each.default else ''}", each.description) for each in targets]
    return _table([("TARGET", "DESCRIPTION"), *rows], 3)


def outline_table(outline: Outline) -> str:
    parts = []
    if outline.name or outline.description:
        rows = [("TARGET:", outline.name or "(default)")]
        parts.append(_table([*rows, *([("DESCRIPTION:", outline.description)] if outline.description else [])], 1))
    if outline.arguments:
        found = [(each.name, each.value, each.description) for each in outline.arguments]
        parts.append(_table([("BUILD ARG", "VALUE", "DESCRIPTION"), *found], 3))
    for title, wanted in (("SECRET", outline.secrets), ("SSH", outline.agents)):
        if wanted:
            parts.append(_table([(title, "REQUIRED"), *((each.name, "true" if each.required else "") for each in wanted)], 3))
    return "\n".join(parts)


def _table(rows: Sequence[tuple[str, ...]], gap: int) -> str:
    widths = [max(map(len, column)) + gap for column in zip(*rows, strict=True)]
    return "".join("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows)
