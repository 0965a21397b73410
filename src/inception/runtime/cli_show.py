"""`state`, `list`, `ps`, `events`: the commands that tell. Shapes are runc's, since engines parse them."""

from __future__ import annotations

import os
import sys

from inception.errors import InceptionError, InvalidArgument, Unavailable
from inception.jsontext import compact, pretty
from inception.runtime.lifecycle import Container
from inception.runtime.state import list_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.runtime.cli import Call

_PS = ("/bin/ps", "/usr/bin/ps")  # never through a PATH that a caller set
_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def state(call: Call) -> int:
    """`state`"""
    print(pretty(_row(Container(call.root, call.id))))
    return 0


def list_(call: Call) -> int:
    """`list`"""
    form = call.text("format", "table")
    if form not in ("table", "json"):
        raise InvalidArgument("invalid format option")
    ids = list_ids(call.root)
    if call.on("quiet"):
        for id in ids:
            print(id)
        return 0
    rows = []
    for id in ids:
        try:
            rows.append({**_row(Container(call.root, id)), "owner": _owner(call.root, id)})
        except InceptionError:
            continue  # gone meanwhile
    if form == "json":
        print(compact(rows) if rows else "null")
        return 0
    lines = [_COLUMNS, *(tuple(str(row[column.lower()]) for column in _COLUMNS) for row in rows)]
    widths = [max(12, *(len(line[column]) + 3 for line in lines)) for column in range(len(_COLUMNS))]
    for line in lines:
        print("".join(f"{word:<{width}}" for word, width in zip(line, widths, strict=True)).rstrip())
    return 0


def _row(container: Container) -> dict[str, Any]:
    kept, status = container.load()
    return kept.row(status, kept.pid)


def _owner(root: str, id: str) -> str:
    import pwd

    uid = os.stat(f"{root}/{id}").st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def ps(call: Call) -> int:
    """`ps`"""
    form = call.text("format", "table")
    if form not in ("table", "json"):
        raise InvalidArgument("invalid format option")
    pids = Container(call.root, call.id).pids()
    if form == "json":
        print(compact(pids))
        return 0
    program = next((path for path in _PS if os.path.exists(path)), "")
    if not program:
        raise Unavailable("ps: the host has no ps; use --format json")
    lines = _output([program, *(call.arguments[1:] or ["-ef"])])
    heads = lines[0].split()
    if "PID" not in heads:
        raise InvalidArgument("couldn't find PID field in ps output")
    column = heads.index("PID")
    print(lines[0])
    for line in lines[1:]:
        words = line.split()
        if len(words) > column and words[column].isdigit() and int(words[column]) in pids:
            print(line)
    return 0


def _output(argv: list[str]) -> list[str]:
    reader, writer = os.pipe()
    pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)])
    os.close(writer)
    with os.fdopen(reader, errors="replace") as file:
        lines = file.read().splitlines()
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) or not lines:
        raise Unavailable("ps failed")
    return lines


def events(call: Call) -> int:
    """`events`"""
    from inception.runtime.events import follow, stats

    container = Container(call.root, call.id)
    if call.on("stats"):
        print(compact(stats(container)))
        return 0
    for event in follow(container, _seconds(call.text("interval", "5s"))):
        sys.stdout.write(compact(event) + "\n")
        sys.stdout.flush()
    return 0


def _seconds(text: str) -> float:
    from inception.duration import parse_duration_ns

    try:
        seconds = parse_duration_ns(text) / 1e9
    except (ValueError, InceptionError):
        seconds = 0
    if seconds <= 0:
        raise InvalidArgument(f"--interval: {text!r} is not a duration like 5s")
    return seconds
