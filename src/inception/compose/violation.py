"""What the generated schema code raises; `validate` finds the words."""

from __future__ import annotations


class Violation(Exception):
    """*rule* of the schema is broken at *name* (`data.services.web`) by *value*; *wanted* is what the rule says."""

    def __init__(self, rule: str, name: str, value: object, wanted: object) -> None:
        super().__init__(rule, name)
        self.rule, self.name, self.value, self.wanted = rule, name, value, wanted
