"""Reading a JSON object that a client sent: typed, with errors that name the field.

Go's clients send null for what they leave out, so null is the default everywhere. Unknown fields are never looked at; known
ones are read in any case (docker-py sends `detachKeys`), as Go does.
"""

from __future__ import annotations

from typing import Any

from inception.errors import InvalidArgument


class Fields:
    """One object; *where* is its path for messages."""

    def __init__(self, value: Any, where: str = "") -> None:
        if value is not None and not isinstance(value, dict):
            raise InvalidArgument(f"invalid JSON: {where or 'request body'}: expected an object")
        self.value: dict[str, Any] = value or {}
        self.where = where

    def place(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name

    def get(self, name: str) -> Any:
        """The field's value as it came; None when there is none."""
        if name in self.value:
            return self.value[name]
        wanted = name.lower()
        return next((value for key, value in self.value.items() if key.lower() == wanted), None)

    def text(self, name: str, default: str = "") -> str:
        return str(self._typed(name, str, "a string", default))

    def number(self, name: str, default: int = 0) -> int:
        value = self.get(name)
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return default if isinstance(value, bool) and not value else self._typed(name, int, "a number", default)

    def optional_number(self, name: str) -> int | None:
        return None if self.get(name) is None else self.number(name)

    def flag(self, name: str, default: bool = False) -> bool:
        return bool(self._typed(name, bool, "a boolean", default))

    def object(self, name: str) -> Fields:
        return Fields(self.get(name), self.place(name))

    def objects(self, name: str) -> list[Fields]:
        return [Fields(item, f"{self.place(name)}[{i}]") for i, item in enumerate(self._typed(name, list, "an array", []))]

    def strings(self, name: str) -> list[str]:
        """A list of strings; one string stands for a list of itself."""
        value = self.get(name)
        if isinstance(value, str):
            return [value]
        items: list[Any] = self._typed(name, list, "an array", [])
        if not all(isinstance(item, str) for item in items):
            raise InvalidArgument(f"invalid JSON: {self.place(name)}: expected an array of strings")
        return items

    def optional_strings(self, name: str) -> list[str] | None:
        return None if self.get(name) is None else self.strings(name)

    def texts(self, name: str) -> dict[str, str]:
        """An object of strings."""
        items: dict[str, Any] = self._typed(name, dict, "an object", {})
        for key, value in items.items():
            if value is not None and not isinstance(value, str):
                raise InvalidArgument(f"invalid JSON: {self.place(name)}.{key}: expected a string")
        return {key: value or "" for key, value in items.items()}

    def keys(self, name: str) -> list[str]:
        """The keys of an object whose values say nothing (`ExposedPorts`, `Volumes`)."""
        return list(self._typed(name, dict, "an object", {}))

    def refuse(self, **reasons: str) -> None:
        """Raise InvalidArgument for a field that is set to something and isn't supported; *reasons* by name."""
        for name, reason in reasons.items():
            if self.get(name):
                raise InvalidArgument(f"{self.place(name)} is not supported: {reason}")

    def _typed(self, name: str, kind: type, expected: str, default: Any) -> Any:
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InvalidArgument(f"invalid JSON: {self.place(name)}: expected {expected}")
        return value
