"""Does a Compose file follow the specification's schema? The generated code looks, this module finds words and place."""

from __future__ import annotations

from inception.compose.errors import ComposeFileError
from inception.compose.schema import validate as check_schema
from inception.compose.violation import Violation
from inception.compose.yaml import Map, Seq, go_string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.compose.yaml import Place

_TYPES = {"object": "mapping", "array": "array", "string": "string", "number": "number", "integer": "integer", "null": "null"}


def check_document(tree: Any, file: str) -> None:
    """Raises ComposeFileError as Compose words it, with the line: `validating FILE:4: services.web additional ...`."""
    try:
        check_schema(tree)  # type: ignore[no-untyped-call]
    except Violation as violation:
        path = violation.name.removeprefix("data").removeprefix(".")
        key = next(iter(_in_order(violation, tree, path)), None) if violation.rule == "additionalProperties" else None
        place = _place(tree, path, key)
        shown = path.replace("[", ".").replace("]", "")
        raise ComposeFileError(
            f"validating {place or file}: {shown + ' ' if shown else ''}{_words(violation, tree, path)}"
        ) from None


def _words(violation: Violation, tree: Any, path: str) -> str:
    rule, value, wanted = violation.rule, violation.value, violation.wanted
    if rule == "type":
        kinds = sorted({_TYPES.get(kind, kind) for kind in ([wanted] if isinstance(wanted, str) else list(wanted))})  # type: ignore[call-overload]
        return f"must be a {', '.join(kinds[:-1])} or {kinds[-1]}" if len(kinds) > 1 else f"must be a {kinds[0]}"
    if rule == "additionalProperties":
        keys = ", ".join(f"'{key}'" for key in _in_order(violation, tree, path))
        return f"additional properties {keys} not allowed"
    if rule == "enum":
        return "value must be one of " + ", ".join(f"'{each}'" for each in list(wanted))  # type: ignore[call-overload]
    if rule == "pattern":
        return f"'{value}' does not match pattern '{wanted}'"
    if rule == "required":
        missing = [each for each in list(wanted) if each not in (value if isinstance(value, dict) else {})]  # type: ignore[call-overload]
        return f"missing properties {', '.join(repr(each) for each in missing)}"
    if rule == "minimum":
        return f"must be >= {wanted}, got {go_string(value)}"
    if rule == "maximum":
        return f"must be <= {wanted}, got {go_string(value)}"
    return f"breaks the rule {rule!r}"


def _in_order(violation: Violation, tree: Any, path: str) -> list[str]:
    """The unexpected keys, in the order of the file."""
    found = set(violation.value) if isinstance(violation.value, (set, list, tuple, dict)) else set()
    holder = _find(tree, path)[0]
    return [key for key in holder if key in found] if isinstance(holder, Map) else sorted(found)


def _find(tree: Any, path: str) -> tuple[Any, Place | None]:
    """The value at *path* and where it is written. Keys may hold dots, so at each mapping the longest fitting one is taken."""
    value, place = tree, getattr(tree, "place", None)
    while path:
        if path.startswith("[") and isinstance(value, Seq):
            number, _, path = path[1:].partition("]")
            value, place = value[int(number)], value.place_of(int(number))
            path = path.removeprefix(".")
            continue
        if not isinstance(value, Map):
            break
        fitting = [key for key in value if path == key or path.startswith((f"{key}.", f"{key}["))]
        if not fitting:
            break
        key = max(fitting, key=len)
        value, place = value[key], value.place_of(key)
        path = path[len(key) :].removeprefix(".")
    return value, place


def _place(tree: Any, path: str, key: str | None) -> Place | None:
    value, place = _find(tree, path)
    if key is not None and isinstance(value, Map):
        return value.place_of(key)
    return place
