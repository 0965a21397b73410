"""What can be asked of a Dockerfile in the place of a build (`build --call`): its warnings, targets, parameters.

Each answer is a document in BuildKit's form and the same as a table.
Source: BuildKit's frontend/subrequests.
"""

from __future__ import annotations

from base64 import b64encode

from inception.build.checks import check_file, read_checked, variables_of, warnings_before
from inception.build.outline import outline_of, outline_table, targets_of, targets_table
from inception.build.rules import DESCRIPTIONS
from inception.build.source import DockerfileError
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inception.build.config import BuildConfig
    from inception.build.context import Context
    from inception.build.outline import Wanted
    from inception.engine import Engine
    from inception.store.images import Images

    Document = dict[str, object]


class Answer(Record):
    """`failed` is for a question that has an exit code."""

    document: object
    text: str
    version: str
    failed: bool | None = None


def call(engine: Engine, config: BuildConfig, name: str) -> Answer:
    """*name* is one of ANSWERS. Raises DockerfileError, and what opening the context raises."""
    from inception.build.context import open_context

    with engine.store.scratch() as scratch:
        context = open_context(engine.store, config, scratch)
        try:
            return ANSWERS[name](engine.store.images, context, config)
        finally:
            context.close()


def _lint(images: Images, context: Context, config: BuildConfig) -> Answer:
    """A Dockerfile that can't be read has an answer too: the warnings up to there, and the error."""
    document: Document = {}
    failure = ""
    try:
        file = read_checked(context, config)
        warnings = check_file(file, context, lambda name: variables_of(images, name))
    except DockerfileError as error:
        warnings = warnings_before(error)
        document["buildError"] = {"message": str(error), "location": _location(error.first_line, error.last_line)}
        failure = f"{error}\n{error.excerpt()}\n"
    source = {"filename": context.name, "data": b64encode(context.dockerfile).decode(), "language": "Dockerfile"}
    found = [
        {
            "ruleName": each.rule,
            "description": DESCRIPTIONS[each.rule],
            "url": each.url,
            "detail": each.message,
            "location": _location(each.line, each.line),
        }
        for each in warnings
    ]
    text = "\n\n".join(map(str, warnings)) + ("\n" if warnings else "") + failure
    document |= {"warnings": found, "sources": [source]}
    return Answer(document=document, text=text, version="1.2.0", failed=bool(warnings or failure))


def _targets(images: Images, context: Context, config: BuildConfig) -> Answer:
    targets = targets_of(read_checked(context, config))
    found = [
        {
            "name": each.name,
            "description": each.description,
            "base": each.base,
            "platform": each.platform,
            "location": _location(each.first_line, each.last_line),
            **({"default": True} if each.default else {}),
        }
        for each in targets
    ]
    return Answer(document={"targets": found, "sources": _sources(context)}, text=targets_table(targets), version="1.0.0")


def _outline(images: Images, context: Context, config: BuildConfig) -> Answer:
    outline = outline_of(read_checked(context, config), config)
    document: Document = {"name": outline.name, "description": outline.description, "sources": _sources(context)}
    document["args"] = [
        {"name": each.name, "description": each.description, "value": each.value, "location": _location(each.line, each.line)}
        for each in outline.arguments
    ]
    document["secrets"] = _wanted(outline.secrets)
    document["ssh"] = _wanted(outline.agents)
    document = {name: value for name, value in document.items() if value}
    return Answer(document=document, text=outline_table(outline), version="1.0.0")


def _wanted(found: Sequence[Wanted]) -> list[Document]:
    return [{"name": each.name, "required": each.required, "location": _location(each.line, each.line)} for each in found]


def _sources(context: Context) -> list[str]:
    return [b64encode(context.dockerfile).decode()]


def _location(first: int, last: int) -> Document:
    return {"sourceIndex": 0, "ranges": [{"start": {"line": first}, "end": {"line": last}}]}


ANSWERS: dict[str, Callable[[Images, Context, BuildConfig], Answer]] = {
    "lint": _lint,
    "outline": _outline,
    "targets": _targets,
}
