"""`inspect`: whole objects as JSON, or through a template."""

from __future__ import annotations

import sys

from inception.cli.call import Call, complain
from inception.cli.flags import Command, UsageError, more
from inception.cli.format import write
from inception.errors import InceptionError, InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Find = Callable[[str], dict[str, Any]]

_TYPES = ("container", "image", "network", "volume")


def _finders(call: Call, *, size: bool = False) -> dict[str, Find]:
    engine = call.engine
    return {
        "container": lambda name: engine.containers.get(name).inspect(size=size),
        "image": engine.images.inspect,
        "network": lambda name: engine.networks.get(name).inspect(),
        "volume": lambda name: engine.volumes.get(name).inspect(),
    }


def inspect(call: Call) -> int:
    kind = call.flags.text("type")
    if call.flags.given("type") and kind not in _TYPES:
        known = kind in ("node", "service", "secret", "config", "plugin", "task")
        reason = (
            f"'{kind}' objects are not supported" if known else f"unknown type: '{kind}': must be one of {', '.join(_TYPES)}"
        )
        raise UsageError(reason, more(call.path), exit_code=1)
    finders = _finders(call, size=call.flags.on("size"))
    return _show(call, finders[kind] if kind else lambda name: _any(finders, name))


def _any(finders: dict[str, Find], name: str) -> dict[str, Any]:
    for find in finders.values():
        try:
            return find(name)
        except NotFound:
            continue
    raise NotFound(f"No such object: {name}")


def _of(kind: str) -> Callable[[Call], int]:
    def run(call: Call) -> int:
        size = kind == "container" and call.flags.on("size")
        if kind == "image":
            platform = call.flags.text("platform")
            return _show(call, lambda name: call.engine.images.inspect(name, platform=platform))
        return _show(call, _finders(call, size=size)[kind])

    return run


def _show(call: Call, find: Find) -> int:
    """What was found, then what went wrong, as Docker orders them: JSON on standard output is whole either way."""
    text = call.flags.text("format")
    documents: list[dict[str, Any]] = []
    errors: list[InceptionError] = []
    for name in call.arguments:
        try:
            documents.append(find(name))
        except InceptionError as error:
            errors.append(error)
    if not text or text == "json":
        import json

        indent = None if text else 4
        separators = (",", ":") if text else None
        write(json.dumps(documents, indent=indent, separators=separators, ensure_ascii=False) + "\n")
    else:
        from inception.cli.template import Template, TemplateError
        from inception.cli.template_values import typed

        template = Template(text)
        for document in documents:
            try:
                write(template.render(_with_pointers(typed(document))) + "\n")
            except TemplateError as error:
                raise InvalidArgument(f"template parsing error: {error}") from None
    sys.stdout.flush()
    for each in errors:
        complain(each)
    return int(bool(errors))


def _with_pointers(document: dict[str, Any]) -> dict[str, Any]:
    """What a container's document leaves out when there is none of it is nil to a template, not unknown."""
    if "State" in document and "HostConfig" in document:
        document["State"].setdefault("Health", None)
        document["Config"].setdefault("Healthcheck", None)
    return document


_FORMAT = '  -f, --format string   Format output: "json", or a Go template\n'
_SIZE = "  -s, --size            Display total file sizes if the type is container\n"

INSPECT = Command(
    inspect,
    "[OPTIONS] NAME|ID [NAME|ID...]",
    "Return low-level information on objects",
    _FORMAT + _SIZE + "      --type string     Only inspect objects of the given type\n",
    minimum=1,
)
INSPECT_CONTAINER = Command(
    _of("container"),
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Display detailed information on one or more containers",
    _FORMAT + _SIZE,
    minimum=1,
)
INSPECT_IMAGE = Command(
    _of("image"),
    "[OPTIONS] IMAGE [IMAGE...]",
    "Display detailed information on one or more images",
    """\
  -f, --format string     Format output: "json", or a Go template
      --platform string   Inspect the image for this platform
""",
    minimum=1,
)
INSPECT_NETWORK = Command(
    _of("network"),
    "[OPTIONS] NETWORK [NETWORK...]",
    "Display detailed information on one or more networks",
    _FORMAT,
    minimum=1,
    refused={"verbose": "it shows what Swarm's services have in a network, and there is no Swarm"},
)
INSPECT_VOLUME = Command(
    _of("volume"),
    "[OPTIONS] VOLUME [VOLUME...]",
    "Display detailed information on one or more volumes",
    _FORMAT,
    minimum=1,
)
