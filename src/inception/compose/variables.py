"""The variables that Compose files take their values from, for `config --variables`."""

from __future__ import annotations

from inception.compose.interpolate import InvalidTemplate, Template
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Variable(Record):
    """`default` is what stands for one without a value, `presence` for one that has a value."""

    name: str
    required: bool = False
    default: str = ""
    presence: str = ""


def variables_of(*trees: Any) -> list[Variable]:
    """All that are in the strings of *trees*, in the order of the alphabet; keys have none."""
    found: dict[str, Variable] = {}
    pending = list(trees)
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, str) and "$" in value:
            _Reader(value, found).read()
    return [found[name] for name in sorted(found)]


class _Reader(Template):
    def __init__(self, source: str, found: dict[str, Variable]) -> None:
        super().__init__(source, {}, lambda name: None)
        self.found = found

    def read(self) -> None:
        try:
            self.text(0, until_brace=False, depth=0)
        except InvalidTemplate:
            pass  # whoever interpolates says so, with the place

    def plain(self, name: str) -> str:
        self.found.setdefault(name, Variable(name=name))
        return ""

    def operation(self, name: str, operator: str, at: int, depth: int) -> tuple[str, int]:
        _, end = self.text(at, until_brace=True, depth=depth + 1)
        known = self.found.setdefault(name, Variable(name=name))
        text = self.source[at:end]
        if operator.endswith("-"):
            known.default = text
        elif operator.endswith("+"):
            known.presence = text
        else:
            known.required = True
        return "", end + 1
