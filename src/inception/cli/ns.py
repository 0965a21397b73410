"""`ns`: the pid namespaces of this machine as a tree, each process with its pid at every level.

    pid:[4026531836]  this machine · 31 processes
    │    4711  inception
    ├── pid:[4026532301]  web (container)
    │      4712 → 1   nginx: master process
    └── pid:[4026532388]  sh
           4790 → 1   sh

Of the outermost namespace only those processes are shown that have something in the others: parents of their first processes.
`--all` shows the rest.
"""

from __future__ import annotations

import os

from inception.cli.call import Call
from inception.cli.flags import Command, UsageError, more
from inception.cli.format import ellipsis, printable, write
from inception.linux.nstree import observe_pid_namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.linux.nstree import NamespacedProcess, PidNamespace

_LEVEL_COLOURS = ("38;5;245", "36", "33", "35", "32", "34")
_COMMAND_WIDTH = 60


def ns(call: Call) -> int:
    flags = call.flags
    if flags.on("json") and flags.on("svg"):
        raise UsageError("conflicting options: cannot specify both --json and --svg", more(call.path))
    root = observe_pid_namespaces()
    names = container_names(call, root)
    if flags.on("json"):
        import json

        write(json.dumps(document(root, names), indent=2, ensure_ascii=False) + "\n")
    elif flags.on("svg"):
        from inception.cli.ns_svg import draw

        write(draw(root, names, everything=flags.on("all")))
    else:
        colour = os.isatty(1) and "NO_COLOR" not in os.environ
        write("".join(line + "\n" for line in lines(root, names, everything=flags.on("all"), colour=colour)))
    return 0


def container_names(call: Call, root: PidNamespace) -> dict[int, str]:
    """The names of our own containers by the pid namespace of their first process. Makes nothing where there is no engine."""
    engine = call.local_engine("ns")
    if not os.path.exists(f"{engine.root}/state.db"):
        return {}
    first = {namespace.processes[0].pid: namespace.id for namespace in root.all()[1:] if namespace.processes}
    names = {}
    for container in engine.containers.list(all=False):
        namespace = first.get(container.record.state.pid)
        if namespace is not None:
            names[namespace] = container.name
    return names


def title(namespace: PidNamespace, names: dict[int, str]) -> str:
    """What a namespace is called: its container's name, else its first process's."""
    if namespace.id in names:
        return f"{printable(names[namespace.id])} (container)"
    if namespace.level == 0:
        count = len(namespace.processes)
        return f"this machine · {count} process{'es' if count != 1 else ''}"
    return command_of(namespace.processes[0], 30) if namespace.processes else "no process of its own"


def command_of(process: NamespacedProcess, width: int = _COMMAND_WIDTH) -> str:
    return ellipsis(printable(" ".join(process.command) or f"[{process.name}]"), width)


def shown_processes(namespace: PidNamespace, *, everything: bool) -> list[NamespacedProcess]:
    """All of a nested namespace; of the outermost the parents of what lives in others, unless *everything*."""
    if namespace.level > 0 or everything:
        return namespace.processes
    parents = {process.parent for child in namespace.children for process in child.processes}
    return [process for process in namespace.processes if process.pid in parents]


def lines(root: PidNamespace, names: dict[int, str], *, everything: bool, colour: bool) -> list[str]:
    """The tree as text."""
    paint = _painted if colour else _plain
    return _lines(root, names, "", everything, paint, _widths(root))


def _painted(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m"


def _plain(text: str, _code: str) -> str:
    return text


def _widths(root: PidNamespace) -> list[int]:
    """How wide the pids of each level are."""
    widths: list[int] = []
    for namespace in root.all():
        for process in namespace.processes:
            for level, pid in enumerate(process.pids):
                if level == len(widths):
                    widths.append(0)
                widths[level] = max(widths[level], len(str(pid)))
    return widths


def _level_colour(level: int) -> str:
    return _LEVEL_COLOURS[level % len(_LEVEL_COLOURS)]


def _lines(
    namespace: PidNamespace, names: dict[int, str], indent: str, everything: bool, paint: Any, widths: list[int]
) -> list[str]:
    colour = _level_colour(namespace.level)
    head = paint(f"pid:[{namespace.id}]", colour)
    found = [f"{head}  {paint(title(namespace, names), '1')}"]
    rail = "│" if namespace.children else " "
    for process in shown_processes(namespace, everything=everything):
        pids = " → ".join(paint(str(pid).rjust(widths[level]), _level_colour(level)) for level, pid in enumerate(process.pids))
        found.append(f"{indent}{rail}   {pids}  {command_of(process)}")
    for i, child in enumerate(namespace.children):
        last = i == len(namespace.children) - 1
        below = _lines(child, names, indent + ("    " if last else "│   "), everything, paint, widths)
        found.append(f"{indent}{'└── ' if last else '├── '}{below[0]}")
        found.extend(below[1:])
    return found


def document(namespace: PidNamespace, names: dict[int, str]) -> dict[str, Any]:
    """The tree as JSON."""
    return {
        "pid_namespace": namespace.id,
        "level": namespace.level,
        "user_namespace": namespace.user_namespace,
        "container": names.get(namespace.id),
        "processes": [
            {
                "pids": process.pids,
                "parent": process.parent,
                "name": process.name,
                "command": process.command,
                "uid": process.uid,
            }
            for process in namespace.processes
        ],
        "children": [document(child, names) for child in namespace.children],
    }


NS = Command(
    ns,
    "[OPTIONS]",
    "Draw the pid namespaces of this machine with every process's pid at each level",
    """\
  -a, --all    Show all processes of the outermost namespace too
      --json   Print the tree as JSON
      --svg    Print the tree as an SVG picture
""",
    maximum=0,
)
