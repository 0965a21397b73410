"""Why a step was not found in the cache: what it was made of the last time, and what is different now.

A key says that something differs, never what. So whenever a step is made, what went into its key is noted too, under the place
where the step stands: context, Dockerfile, stage, number. `--why` compares. Nothing of this decides anything.
"""

from __future__ import annotations

import stat

from inception import jsontext
from inception.oci.digest import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inception.build.selection import Selection
    from inception.build.tree import Node, Tree

_MAX_FILES = 5000
_SHOWN = 4
_RUN_PARTS = ("command", "environment", "user", "working directory", "network", "script", "mounts")
_COPY_PARTS = ("destination", "here-documents", "options")


def place_of(context: str, dockerfile: str, stage: str, number: int) -> str:
    return sha256("\0".join((context, dockerfile, stage, str(number))).encode("utf-8", "surrogateescape")).hex


def facts_of(
    definition: list[object],
    below: Sequence[str],
    content: Sequence[str],
    files: dict[str, str],
) -> dict[str, object]:
    """What went into a key, as JSON values."""
    return {"definition": definition, "below": list(below), "content": list(content), "files": files}


def list_files(selection: Selection, content: Callable[[Tree, Node], str]) -> dict[str, str]:
    """A short digest for every file of a COPY, by its path; empty when there are too many to keep."""
    entries = [(node.path, node) for source in selection.sources for _, node in source.entries]
    if len(entries) > _MAX_FILES:
        return {}
    found = {}
    for path, node in entries:
        value = ""
        if node.is_link:
            value = selection.tree.readlink(node)
        elif stat.S_ISREG(node.stat.st_mode):
            value = content(selection.tree, node)
        found[path] = f"{node.stat.st_mode:o} {value[:16]}"
    return found


def explain_miss(before: str | None, now: dict[str, object]) -> str:
    """*before* is what was noted, as JSON. One line."""
    if before is None:
        return "nothing like it was built before"
    then = jsontext.loads(before)
    reasons = _definition(then["definition"], now["definition"])
    reasons += _files(then["files"], now["files"])
    if not reasons and then["content"] != now["content"]:
        reasons.append("what it copies changed")
    if then["below"] != now["below"]:
        reasons.append("the files below it are others")
    return "; ".join(reasons) or "its entry is not in the cache any more"


def _definition(then: object, now: object) -> list[str]:
    if not isinstance(then, list) or not isinstance(now, list) or then[:1] != now[:1]:
        return ["another kind of instruction stood here"]
    names = _RUN_PARTS if now[0] == "run" else _COPY_PARTS if now[0] == "copy" else ("folder",)
    reasons = []
    for position, name in enumerate(names, 1):
        old, new = (part[position] if position < len(part) else [] for part in (then, now))
        if old == new:
            continue
        if name == "environment":
            reasons += _variables(old, new)
        elif name == "command":
            reasons.append(f"the command was {' '.join(old)!r}")
        else:
            reasons.append(f"{name}: {old!r} became {new!r}")
    return reasons


def _variables(old: list[str], new: list[str]) -> list[str]:
    then, now = (dict(text.partition("=")[::2] for text in texts) for texts in (old, new))
    reasons = []
    for name in sorted({*then, *now}):
        if name not in then:
            reasons.append(f"variable {name} is new")
        elif name not in now:
            reasons.append(f"variable {name} is gone")
        elif then[name] != now[name]:
            reasons.append(f"variable {name}: {then[name]!r} became {now[name]!r}")
    return reasons


def _files(then: dict[str, str], now: object) -> list[str]:
    if not isinstance(now, dict) or not then or not now:
        return []
    changed = [path for path in now if path in then and then[path] != now[path]]
    kinds = {"changed": changed, "new": [path for path in now if path not in then], "gone": [p for p in then if p not in now]}
    reasons = []
    for word, paths in kinds.items():
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        reasons += [f"{word}: {', '.join(paths[:_SHOWN])}{more}"] if paths else []
    return reasons
