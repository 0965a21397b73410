"""A RUN: what is executed, in which environment, with which mounts and privileges."""

from __future__ import annotations

from inception.build.mounts import parse_mount
from inception.build.operations import Run
from inception.build.parse import heredoc_word
from inception.build.values import DEFAULT_PATH, PREDEFINED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.build.instruction import Instruction
    from inception.build.stage import Stage

# Where a here-document with a `#!` line appears inside a step, as in Docker.
SCRIPT_FOLDER = "/dev/pipes"


def plan_run(stage: Stage, instruction: Instruction) -> None:
    allow = stage.planner.config.allow
    security = instruction.flag("security", "sandbox")
    if security not in ("sandbox", "insecure"):
        raise ValueError(f'security "{security}" is not valid: expected sandbox or insecure')
    if security == "insecure" and "security.insecure" not in allow:
        raise ValueError("security.insecure is not allowed: build with --allow security.insecure to allow it")
    devices: list[str] = []
    if "device" in instruction.flags:
        from inception.build.devices import find_devices

        devices = find_devices([stage.expand(text) for text in instruction.flags["device"]], allow)
    args, script = _run_args(stage, instruction)
    env, uncached = _run_env(stage)
    mounts = [parse_mount(text, stage.expand, stage.find_origin, stage.absolute) for text in instruction.flags.get("mount", [])]
    stage.plan.operations.append(
        stage.operation(
            Run,
            f"RUN {_shown_args(stage)}{' '.join(args)} # buildkit",
            args=args,
            env=env,
            uncached_env=uncached,
            user=stage.config.user,
            working_dir=stage.config.working_dir or "/",
            network=_network(stage, instruction),
            script=script,
            mounts=mounts,
            devices=devices,
            insecure=security == "insecure",
        )
    )


def _run_args(stage: Stage, instruction: Instruction) -> tuple[list[str], tuple[str, str] | None]:
    """What is executed. A lone here-document is a script of its own; with other words the shell gets it all."""
    if not instruction.heredocs:
        return stage.command(instruction), None
    text = instruction.arguments[0]
    first = instruction.heredocs[0]
    if heredoc_word(text) is None:
        documents = "".join(f"\n{document.content}{document.name}" for document in instruction.heredocs)
        return [*stage.shell(), text + documents], None
    if first.text.startswith("#!"):
        return [f"{SCRIPT_FOLDER}/{first.name}"], (first.name, first.text)
    return [*stage.shell(), first.text], None


def _run_env(stage: Stage) -> tuple[list[str], list[str]]:
    env = dict(stage.names())
    env.setdefault("PATH", DEFAULT_PATH)
    given = stage.planner.config.build_args
    uncached = [f"{name}={given[name]}" for name in PREDEFINED if name in given and name not in env]
    return [f"{name}={value}" for name, value in env.items()], uncached


def _shown_args(stage: Stage) -> str:
    """Docker's `|2 a=1 b=2 ` in front of a command that saw build arguments."""
    if not stage.variables:
        return ""
    names = stage.names()
    pairs = [f"{name}={names.get(name, '')}" for name in stage.variables]
    return f"|{len(pairs)} {' '.join(pairs)} "


def _network(stage: Stage, instruction: Instruction) -> str:
    general = stage.planner.config.network or "default"
    wanted = instruction.flag("network", "default")
    if wanted == "default":
        return general
    if wanted == "none" or (wanted == "host" and (general == "host" or "network.host" in stage.planner.config.allow)):
        return wanted
    if wanted == "host":
        raise ValueError("--network=host is not allowed here: build with --allow network.host to allow it")
    raise ValueError(f'invalid network mode "{wanted}": expected default, none or host')
