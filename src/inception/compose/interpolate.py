"""Variables in Compose files: `$NAME`, `${NAME}` and its operators, nested as deep as one likes.

    $V ${V}        the value; unset: a warning, and empty
    ${V:-d} ${V-d} a default when unset or empty, when unset
    ${V:?e} ${V?e} an error when unset or empty, when unset
    ${V:+r} ${V+r} a replacement when set and not empty, when set
    $$             a dollar sign

Defaults, messages and replacements are templates themselves, and are evaluated only when they are used. A `$` that begins
none of these stays as it is; a `${` must be whole.
"""

from __future__ import annotations

import re

from inception.compose.errors import ComposeFileError
from inception.compose.yaml import Map, Seq

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from inception.compose.yaml import Place

_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_OPERATOR = re.compile(r":?[-?+]")
MAX_DEPTH = 50
# A value that doubles in every default would otherwise grow without bound while it is built.
MAX_RESULT = 1 << 20


class InvalidTemplate(ValueError):
    """`${` without an end, or something inside that is no expression."""


class MissingVariable(ValueError):
    """`${V:?message}` and V is not there."""


def substitute(template: str, env: Mapping[str, str], unset: Callable[[str], None] = lambda name: None) -> str:
    """*template* with its variables replaced. *unset* hears of names without a value and without a default.

    >>> substitute("${A:-${B}c} $$x ${C+set}", {"B": "b"})
    'bc $x '
    """
    if "$" not in template:
        return template
    text, _ = Template(template, env, unset).text(0, until_brace=False, depth=0)
    return text


class Template:
    """One string while it is read; *unset* hears of names without a value and without a default."""

    def __init__(self, source: str, env: Mapping[str, str], unset: Callable[[str], None]) -> None:
        self.source, self.env, self.unset = source, env, unset
        self.used = True

    def text(self, at: int, *, until_brace: bool, depth: int) -> tuple[str, int]:
        """Expands from *at* to the closing brace, or to the end; returns the text and where it stopped."""
        if depth > MAX_DEPTH:
            raise InvalidTemplate(self.source)
        parts: list[str] = []
        size, source = 0, self.source
        while True:
            dollar = source.find("$", at)
            brace = source.find("}", at, dollar if dollar >= 0 else len(source)) if until_brace else -1
            if brace >= 0:
                return "".join((*parts, source[at:brace])), brace
            if dollar < 0:
                if until_brace:
                    raise InvalidTemplate(source)
                return "".join((*parts, source[at:])), len(source)
            parts.append(source[at:dollar])
            value, at = self.variable(dollar, depth)
            parts.append(value)
            size += len(value)
            if size > MAX_RESULT:
                raise InvalidTemplate(source[:100] + "...")

    def variable(self, dollar: int, depth: int) -> tuple[str, int]:
        """The value of what starts at the `$`, and where it ends."""
        source, at = self.source, dollar + 1
        if source.startswith("$", at):
            return "$", at + 1
        if match := _NAME.match(source, at):
            return self.plain(match.group()), match.end()
        if not source.startswith("{", at):
            return "$", at
        match = _NAME.match(source, at + 1)
        if not match:
            raise InvalidTemplate(source)
        name, at = match.group(), match.end()
        if source.startswith("}", at):
            return self.plain(name), at + 1
        operator = _OPERATOR.match(source, at)
        if not operator:
            raise InvalidTemplate(source)
        return self.operation(name, operator.group(), operator.end(), depth)

    def plain(self, name: str) -> str:
        value = self.env.get(name)
        if value is None:
            if self.used:
                self.unset(name)
            return ""
        return value

    def operation(self, name: str, operator: str, at: int, depth: int) -> tuple[str, int]:
        value = self.env.get(name)
        present = value not in (None, "") if operator[0] == ":" else value is not None
        kind = operator[-1]
        # The other branch is walked as well, to find its end, but says nothing about unset variables.
        outer, self.used = self.used, self.used and (present if kind == "+" else not present)
        text, end = self.text(at, until_brace=True, depth=depth + 1)
        used, self.used = self.used, outer
        if kind == "+":
            return (text if present else ""), end + 1
        if present:
            return value or "", end + 1
        if kind == "?" and used:
            raise MissingVariable(
                f"required variable {name} is missing a value: {text}"
                if text
                else f"required variable {name} is missing a value"
            )
        return text if kind == "-" else "", end + 1


def interpolate(value: Any, env: Mapping[str, str], warn: Callable[[str], None]) -> Any:
    """A copy of the tree *value* with every string substituted; keys stay as they are.

    Raises ComposeFileError with Compose's words and the place. *warn* gets `The "X" variable is not set. ...`, once a name.
    """
    warned: set[str] = set()

    def unset(name: str) -> None:
        if name not in warned:
            warned.add(name)
            warn(f'The "{name}" variable is not set. Defaulting to a blank string.')

    return _walk(value, "", None, lambda text: substitute(text, env, unset))


def untouched(value: Any) -> Any:
    """A copy as `interpolate` makes it, with every string as it is written."""
    return _walk(value, "", None, lambda text: text)


def _walk(value: Any, path: str, place: Place | None, expand: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        if "$" not in value:
            return value
        try:
            return expand(value)
        except InvalidTemplate as error:
            raise ComposeFileError(
                f"invalid interpolation format for {path}.\nYou may need to escape any $ with another $.\n{error}", place
            ) from None
        except MissingVariable as error:
            raise ComposeFileError(f"error while interpolating {path}: {error}", place) from None
    if isinstance(value, Map):
        copy = Map(value.place)
        copy.reset, copy.override = set(value.reset), set(value.override)
        for key, item in value.items():
            if key in value.reset:
                continue  # the value is there to be valid YAML; it says that what it overrides goes
            where = value.place_of(key)
            copy.put(key, _walk(item, f"{path}.{key}" if path else key, where, expand), where)
        return copy
    if isinstance(value, Seq):
        items = Seq(value.place)
        for item, where in value.items():
            items.add(_walk(item, f"{path}.[]", where, expand), where)
        return items
    return value
