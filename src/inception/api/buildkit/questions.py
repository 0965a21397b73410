"""What a client asks of a Dockerfile without building it: `build --check`, `build --call targets`.

An answer is `result.json` (buildx writes tables of its own from it), `result.txt` for others, and the version of its form.
Source: BuildKit's frontend/subrequests.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from inception.api.buildkit.remote import RemoteCaller
from inception.build.checks import check_file
from inception.build.parse import parse_dockerfile
from inception.build.progress import Reporter

if TYPE_CHECKING:
    from inception.api.buildkit.options import Request
    from inception.api.buildkit.session import Client
    from inception.build.context import Context
    from inception.store import Store


def answer(store: Store, asked: Request, client: Client) -> dict[str, bytes]:
    """The metadata of the result. Raises what reading a Dockerfile raises."""
    caller = RemoteCaller(asked, client, lambda cancel: None)
    with store.lease(), store.scratch() as scratch:
        context = caller.open_context(store, scratch, Reporter(None))
        try:
            return ANSWERS[asked.subrequest](context)
        finally:
            context.close()


def _lint(context: Context) -> dict[str, bytes]:
    warnings = check_file(parse_dockerfile(context.dockerfile, context.name), context)
    source = {"filename": context.name, "data": b64encode(context.dockerfile).decode(), "language": "Dockerfile"}
    found = [
        {
            "ruleName": each.rule,
            "detail": each.message,
            "description": "",
            "url": "",
            "location": _location(each.line, each.line),
        }
        for each in warnings
    ]
    text = "\n\n".join(map(str, warnings)) + ("\n" if warnings else "")
    status = b"1" if warnings else b"0"
    return {**_result({"warnings": found, "sources": [source]}, text, b"1.2.0"), "result.statuscode": status}


def _targets(context: Context) -> dict[str, bytes]:
    file = parse_dockerfile(context.dockerfile, context.name)
    found: list[dict[str, Any]] = []
    for each in file.instructions:
        if each.name != "FROM":
            continue
        base, *rest = each.arguments
        name = rest[1] if len(rest) == 2 else ""
        found.append(
            {
                "name": name.lower(),
                "description": _description(file.source.lines, each.first_line, name),
                "base": base,
                "platform": each.flag("platform"),
                "location": _location(each.first_line, each.last_line),
            }
        )
    if found:
        found[-1]["default"] = True
    rows = [
        f"{each['name'] or '(unnamed)'}{' (default)' if 'default' in each else ''}\t{each['description']}" for each in found
    ]
    text = "TARGET\tDESCRIPTION\n" + "".join(f"{row}\n" for row in rows)
    return _result({"targets": found, "sources": [b64encode(context.dockerfile).decode()]}, text, b"1.0.0")


def _description(lines: list[str], first_line: int, name: str) -> str:
    """What a comment above the stage says of it: `# NAME description`."""
    above = lines[first_line - 2].strip() if first_line > 1 else ""
    word, _, rest = above.removeprefix("#").strip().partition(" ")
    return rest.strip() if above.startswith("#") and name and word.lower() == name.lower() else ""


def _location(first: int, last: int) -> dict[str, Any]:
    return {"sourceIndex": 0, "ranges": [{"start": {"line": first}, "end": {"line": last}}]}


def _result(document: dict[str, Any], text: str, version: bytes) -> dict[str, bytes]:
    return {"result.json": json.dumps(document).encode(), "result.txt": text.encode(), "version": version}


ANSWERS = {"frontend.lint": _lint, "frontend.targets": _targets}
