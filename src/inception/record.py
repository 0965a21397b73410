"""Typed values with JSON at their door.

A `Record` is a class whose annotations are its fields: keyword construction, defaults, equality, a readable repr, and
`decode`/`encode` between JSON values and records, with errors that name the place (`process.rlimits[2].soft`).

Why not dataclasses or msgspec: both pull `inspect` or `typing` in, which cost more than a container start
(docs/decisions/0002-records.md has the figures). Nothing here imports either; annotations are evaluated on first decode.
"""

from __future__ import annotations

import sys

from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, dataclass_transform

    R = TypeVar("R", bound="Record")
else:

    def dataclass_transform(**_options):
        return lambda cls: cls


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _pascal(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


_STYLES: dict[str, Callable[[str], str]] = {"snake": str, "camel": _camel, "pascal": _pascal}


class _Keys:
    """The JSON keys of a class's fields, spelt when they are first asked for: of a hundred classes that `run` makes most
    never meet JSON, and to spell all of their fields took 2 ms."""

    def __init__(self, style: str, names: dict[str, str]) -> None:
        self.style = style
        self.names = names

    def __get__(self, record: Record | None, cls: type[Record]) -> dict[str, str]:
        spell = _STYLES[self.style]
        own = {name: self.names.get(name) or spell(name) for name in _annotations(cls)}
        base: type[Record] = cls.__base__  # type: ignore[assignment]
        cls.__keys__ = base.__keys__ | own
        return cls.__keys__


class _Signature:
    """What help() and shells that complete say of a record's fields; nobody else pays for `inspect`."""

    def __get__(self, record: Record | None, cls: type[Record]) -> Any:
        import inspect

        def field(name: str) -> inspect.Parameter:
            default = cls.__defaults__.get(name, inspect.Parameter.empty)
            return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=cls.__fields__[name])

        given = sorted(cls.__fields__, key=lambda name: name in cls.__defaults__)
        return inspect.Signature([field(name) for name in given])


@dataclass_transform(kw_only_default=True)
class Record:
    """Base of every value type; subclass it and annotate the fields.

    Class options: `style` says how field names are spelt in JSON (`snake`, `camel`, `pascal`), `names` overrides single
    ones. A field without a default must be given. A list or dict default is copied for each record. Treat records as
    immutable: change one with `replace`.
    """

    __fields__: dict[str, str] = {}
    __defaults__: dict[str, Any] = {}
    __copied__: tuple[str, ...] = ()
    __keys__: dict[str, str] = {}
    __types__: dict[str, Any] = {}
    __signature__ = _Signature()

    def __init_subclass__(cls, style: str = "snake", names: dict[str, str] | None = None) -> None:
        own, given = _annotations(cls), cls.__dict__
        cls.__fields__ = cls.__fields__ | own
        cls.__defaults__ = cls.__defaults__ | {name: given[name] for name in own if name in given}
        cls.__copied__ = tuple(name for name, value in cls.__defaults__.items() if type(value) in (list, dict))
        cls.__keys__ = _Keys(style, names or {})  # type: ignore[assignment]
        cls.__types__ = _Types(cls)

    def __init__(self, **values: Any) -> None:
        fields, defaults = self.__dict__, self.__defaults__
        fields.update(defaults)
        for name in self.__copied__:
            if name not in values:
                fields[name] = defaults[name].copy()
        fields.update(values)
        if len(fields) != len(self.__fields__) or not values.keys() <= self.__fields__.keys():
            self._refuse(values)

    def _refuse(self, values: dict[str, Any]) -> None:
        for name in values:
            if name not in self.__fields__:
                raise TypeError(f"{type(self).__name__}() has no field {name!r}")
        missing = [name for name in self.__fields__ if name not in self.__dict__]
        raise TypeError(f"{type(self).__name__}() needs {', '.join(missing)}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), repr(self)))

    def __repr__(self) -> str:
        shown = (
            f"{name}={value!r}"
            for name, value in self.__dict__.items()
            if name not in self.__defaults__ or self.__defaults__[name] != value
        )
        return f"{type(self).__name__}({', '.join(shown)})"


def replace(record: R, **changes: Any) -> R:
    """A copy of *record* with *changes* applied."""
    return type(record)(**{**record.__dict__, **changes})


def encode(value: Any, *, keep_defaults: bool = False) -> Any:
    """*value* as plain JSON types; fields that hold their default are left out unless *keep_defaults*."""
    if isinstance(value, Record):
        keys, defaults = value.__keys__, value.__defaults__
        return {
            keys[name]: encode(item, keep_defaults=keep_defaults)
            for name, item in value.__dict__.items()
            if keep_defaults or name not in defaults or item != defaults[name]
        }
    if isinstance(value, dict):
        return {str(key): encode(item, keep_defaults=keep_defaults) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item, keep_defaults=keep_defaults) for item in value]
    return value


def decode(cls: type[R], value: Any, where: str = "", *, unknown: str = "ignore") -> R:
    """A *cls* from JSON types.

    *where* is the path that errors start with. *unknown* is what to do about keys that no field has: `ignore`, `error`, or
    `fold`, which takes a key in another case for the field's (what is written for Go programs may be spelt so) and ignores the
    rest. JSON null stands for the default.
    Raises InvalidArgument: `process.user.uid: expected an integer, got a string`.
    """
    if type(value) is not dict:
        raise _mismatch(where, "an object", value)
    types, keys, defaults = cls.__types__, cls.__keys__, cls.__defaults__
    if unknown == "fold":
        value = _fold(value, keys)
    values: dict[str, Any] = {}
    for name in cls.__fields__:
        key = keys[name]
        item = value.get(key)
        if item is not None:
            values[name] = _decode(types[name], item, f"{where}.{key}" if where else key, unknown)
        elif name not in defaults:
            raise InvalidArgument(f"{f'{where}.{key}' if where else key}: missing")
    if unknown == "error":
        known = set(cls.__keys__.values())
        for key in value:
            if key not in known:
                raise InvalidArgument(f"{f'{where}.{key}' if where else key}: unknown property")
    return cls(**values)


def _fold(value: dict[str, Any], keys: dict[str, str]) -> dict[str, Any]:
    """*value* with keys that differ from a field's in case alone spelt like it. As in Go, of two the last one wins, and two
    objects are one."""
    known = set(keys.values())
    if known.issuperset(value):
        return value
    spelt = {key.lower(): key for key in known}
    folded: dict[str, Any] = {}
    for key, item in value.items():
        name = spelt.get(key.lower(), key)
        before = folded.get(name)
        folded[name] = {**before, **item} if type(before) is dict and type(item) is dict else item
    return folded


def _annotations(cls: type) -> dict[str, Any]:
    """The class's own annotations, as the strings that `from __future__ import annotations` leaves."""
    found: dict[str, Any] = cls.__dict__.get("__annotations__", {})  # noqa: RUF063 (inspect costs 10 ms to import)
    return found


class _Types(dict):  # type: ignore[type-arg]
    """field -> its type, each evaluated when it is first asked for: most documents name few of the fields there are."""

    def __init__(self, cls: type[Record]) -> None:
        self._cls = cls

    def __missing__(self, name: str) -> Any:
        owner = next(klass for klass in self._cls.__mro__ if name in _annotations(klass))
        text = _annotations(owner)[name]
        kind = _NAMED.get(text) or eval(text, sys.modules[owner.__module__].__dict__) if isinstance(text, str) else text
        self[name] = kind
        return kind


_NAMED = {"str": str, "bool": bool, "int": int, "list[str]": list[str], "dict[str, str]": dict[str, str]}
_PLAIN = {str: "a string", bool: "a boolean", int: "an integer", float: "a number", dict: "an object", list: "an array"}


def _decode(kind: Any, value: Any, where: str, unknown: str) -> Any:
    if kind is object:
        return value
    if kind is float and type(value) is int:
        return float(value)
    if kind in _PLAIN:
        if type(value) is not kind:
            raise _mismatch(where, _PLAIN[kind], value)
        return value
    if isinstance(kind, type) and issubclass(kind, Record):
        return decode(kind, value, where, unknown=unknown)
    origin = getattr(kind, "__origin__", None)
    if origin is list or origin is tuple:
        if type(value) is not list:
            raise _mismatch(where, "an array", value)
        items = [_decode(kind.__args__[0], item, f"{where}[{i}]", unknown) for i, item in enumerate(value)]
        return items if origin is list else tuple(items)
    if origin is dict:
        if type(value) is not dict:
            raise _mismatch(where, "an object", value)
        return {key: _decode(kind.__args__[1], item, f"{where}.{key}", unknown) for key, item in value.items()}
    options = [option for option in getattr(kind, "__args__", ()) if option is not type(None)]
    if len(options) == 1:
        return _decode(options[0], value, where, unknown)
    for option in options:
        if type(value) is option or type(value) is getattr(option, "__origin__", None):
            return _decode(option, value, where, unknown)
    if callable(kind) and not options:  # an enum of strings or numbers
        try:
            return kind(value)
        except ValueError:
            raise InvalidArgument(f"{where}: unknown value {value!r}") from None
    raise _mismatch(where, " or ".join(_PLAIN.get(option, str(option)) for option in options), value)


def _mismatch(where: str, expected: str, value: Any) -> InvalidArgument:
    got = "null" if value is None else _PLAIN.get(type(value), type(value).__name__)
    return InvalidArgument(f"{where or 'document'}: expected {expected}, got {got}")
