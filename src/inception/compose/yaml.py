"""YAML as Compose reads it: libyaml's events, composed and resolved as go-yaml v3 does.

No stock loader gets this right: for PyYAML `yes` is a boolean, `22:22` a number in base 60, a second `image:` silently wins
and a kilobyte of aliases may stand for gigabytes. Here

- plain scalars resolve by the YAML 1.2 core rules with go-yaml's additions (`010` is 8, `0b11` is 3, `1_000` is 1000);
- a key given twice is an error, `<<` merges, and an anchor that contains itself is refused;
- depth, size and what aliases expand to are bounded before anything is expanded;
- every mapping and sequence knows where its entries were written, so that errors name file and line;
- Compose's own tags: `!reset` (take the value away again) and `!override` (replace, don't merge).

The result is made of `Map` and `Seq`, which are `dict` and `list` with places, and of plain strings, numbers, booleans, None.
"""

from __future__ import annotations

import re

import yaml
from yaml import _yaml

from inception.compose.errors import ComposeFileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MAX_BYTES = 1 << 20
MAX_DEPTH = 100
# What the document may grow to when its aliases are expanded. A file of MAX_BYTES without aliases stays below it.
MAX_NODES = 1 << 20


class Place:
    """Where something was written. `line` and `column` count from 1; `str()` is `file:line`."""

    __slots__ = ("column", "file", "line")

    def __init__(self, file: str, line: int, column: int = 1) -> None:
        self.file, self.line, self.column = file, line, column

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def __repr__(self) -> str:
        return f"Place({self.file}:{self.line}:{self.column})"


class Map(dict[str, "Any"]):
    """A mapping. `places` has the place of each key; `reset` and `override` the keys that carry that tag,
    `implied` those that nobody wrote."""

    __slots__ = ("implied", "override", "place", "places", "reset")

    def __init__(self, place: Place | None = None) -> None:
        super().__init__()
        self.place = place
        self.places: dict[str, Place] = {}
        self.reset: set[str] = set()
        self.override: set[str] = set()
        self.implied: set[str] = set()

    def put(self, key: str, value: Any, place: Place | None = None) -> None:
        """Sets *key*, remembering where it comes from."""
        self[key] = value
        place = place or self.place
        if place is not None:
            self.places[key] = place

    def place_of(self, key: str) -> Place | None:
        return self.places.get(key, self.place)


class Seq(list["Any"]):
    """A sequence. `places` has the place of each item, as far as it is known."""

    __slots__ = ("place", "places")

    def __init__(self, place: Place | None = None) -> None:
        super().__init__()
        self.place = place
        self.places: list[Place | None] = []

    def add(self, value: Any, place: Place | None = None) -> None:
        self.append(value)
        self.places.append(place or self.place)

    def place_of(self, index: int) -> Place | None:
        return self.places[index] if index < len(self.places) else self.place

    def items(self) -> Iterator[tuple[Any, Place | None]]:
        for index, value in enumerate(self):
            yield value, self.place_of(index)


def parse(text: bytes, file: str) -> list[Any]:
    """The documents in *text*, none when it is empty. *file* is the name that errors show.

    Raises ComposeFileError: `failed to parse FILE: line 4: mapping key "image" already defined at line 3`.
    """
    if len(text) > MAX_BYTES:
        raise ComposeFileError(f"failed to parse {file}: {len(text)} bytes are more than the limit of {MAX_BYTES}")
    try:
        return _Composer(_yaml.CParser(text), file).documents()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        if error.problem == "exceeded maximum nesting depth":  # newer parsers notice it themselves, further down
            raise ComposeFileError(f"failed to parse {file}: line {line}: nested deeper than {MAX_DEPTH} levels") from None
        raise ComposeFileError(f"failed to parse {file}: yaml: line {line}: {error.problem}") from None
    except (yaml.YAMLError, UnicodeError) as error:
        reason = str(error).split("\n")[0]
        raise ComposeFileError(f"failed to parse {file}: yaml: {reason}") from None


class _Composer:
    """Events to values. `weight` counts what each anchored value expands to, so a bomb is found before it goes off."""

    def __init__(self, parser: Any, file: str) -> None:
        self.parser = parser
        self.file = file
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.open_anchors: set[str] = set()
        self.weight = 0

    def documents(self) -> list[Any]:
        """All of them. As in go-yaml an anchor of one can be named in those after it."""
        values = []
        self.parser.get_event()  # stream start
        while not isinstance(self.parser.get_event(), yaml.StreamEndEvent):  # document start
            values.append(self.node(self.parser.get_event(), 0))
            self.parser.get_event()  # document end
        return values

    def error(self, event: Any, problem: str) -> ComposeFileError:
        return ComposeFileError(f"failed to parse {self.file}: line {event.start_mark.line + 1}: {problem}")

    def place(self, event: Any) -> Place:
        return Place(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def grow(self, event: Any, weight: int) -> None:
        self.weight += weight
        if self.weight > MAX_NODES:
            raise self.error(event, "document contains excessive aliasing")

    def node(self, event: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self.error(event, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event)
        before = self.weight
        self.grow(event, 1)
        anchor = event.anchor
        if anchor is not None:
            self.open_anchors.add(anchor)
        if isinstance(event, yaml.ScalarEvent):
            value = self.scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self.sequence(event, depth)
        else:
            value = self.mapping(event, depth)
        if anchor is not None:
            self.open_anchors.discard(anchor)
            self.anchors[anchor] = value, self.weight - before
        return value

    def alias(self, event: Any) -> Any:
        if event.anchor in self.open_anchors:
            raise self.error(event, f"anchor '{event.anchor}' value contains itself")
        if event.anchor not in self.anchors:
            raise self.error(event, f"unknown anchor '{event.anchor}' referenced")
        value, weight = self.anchors[event.anchor]
        self.grow(event, weight)
        return value

    def scalar(self, event: Any) -> Any:
        tag = event.tag
        if tag in (None, "!reset", "!override") and event.style in (None, ""):
            return resolve(event.value)
        if tag in (None, "!", "tag:yaml.org,2002:str", "!reset", "!override"):
            return event.value
        value = resolve(event.value)
        if tag in _TAGS and type(value) in _TAGS[tag]:
            return float(value) if tag.endswith(":float") else value
        raise self.error(event, f"cannot decode {event.value!r} as a {tag.replace('tag:yaml.org,2002:', '!!')}")

    def sequence(self, event: Any, depth: int) -> Seq:
        self.check_tag(event, "tag:yaml.org,2002:seq")
        items = Seq(self.place(event))
        while not isinstance(item := self.parser.get_event(), yaml.SequenceEndEvent):
            value = self.node(item, depth + 1)
            if getattr(item, "tag", None) != "!reset":
                items.add(value, self.place(item))
        return items

    def mapping(self, event: Any, depth: int) -> Map:
        self.check_tag(event, "tag:yaml.org,2002:map")
        values = Map(self.place(event))
        inherited: list[Map] = []
        while not isinstance(key_event := self.parser.get_event(), yaml.MappingEndEvent):
            key = self.node(key_event, depth + 1)
            value_event = self.parser.get_event()
            value = self.node(value_event, depth + 1)
            if key == "<<" and isinstance(key_event, yaml.ScalarEvent) and key_event.style in (None, ""):
                inherited += self.merged(value_event, value)
                continue
            if not isinstance(key, str):
                key = _NonString(key, self.place(key_event))
            if key in values:
                first = values.places[key].line
                raise self.error(key_event, f'mapping key "{key}" already defined at line {first}')
            values.put(key, value, self.place(key_event))
            tag = getattr(value_event, "tag", None)
            if tag == "!reset":
                values.reset.add(key)
            elif tag == "!override":
                values.override.add(key)
        for other in inherited:  # what is written here wins over what is merged, an earlier merge over a later one
            for key, value in other.items():
                if key not in values:
                    values.put(key, value, other.place_of(key))
        return values

    def merged(self, event: Any, value: Any) -> list[Map]:
        maps = list(value) if isinstance(value, Seq) else [value]
        if not all(isinstance(each, Map) for each in maps):
            raise self.error(event, "map merge requires map or sequence of maps as the value")
        self.grow(event, sum(len(each) for each in maps))
        return maps

    def check_tag(self, event: Any, expected: str) -> None:
        if event.tag not in (None, "!", expected, "!reset", "!override"):
            raise self.error(event, f"unknown tag {event.tag}")


class _NonString(str):
    """A key that is not a string, kept until its path is known; `check_keys` refuses it."""

    place: Place

    def __new__(cls, key: Any, place: Place) -> _NonString:
        self = super().__new__(cls, go_string(key) if not isinstance(key, (Map, Seq)) else "[...]")
        self.place = place
        return self


def check_keys(value: Any, path: str = "") -> None:
    """Raises ComposeFileError for a key that is not a string: `non-string key in services: 80`."""
    if isinstance(value, Map):
        for key, item in value.items():
            if isinstance(key, _NonString):
                where = f"in {path}" if path else "at top level"
                raise ComposeFileError(f"non-string key {where}: {key}", key.place)
            check_keys(item, f"{path}.{key}" if path else key)
    elif isinstance(value, Seq):
        for index, item in enumerate(value):
            check_keys(item, f"{path}[{index}]")


_TAGS: dict[str, tuple[type, ...]] = {
    "tag:yaml.org,2002:int": (int,),
    "tag:yaml.org,2002:float": (int, float),
    "tag:yaml.org,2002:bool": (bool,),
    "tag:yaml.org,2002:null": (type(None),),
}
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_INT = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


def resolve(text: str) -> Any:
    """What a plain scalar means to go-yaml.

    Source: go-yaml v3 resolve.go. Integers beyond 64 bits are floats there; 4300 digits would be quadratic work here.

    >>> [resolve(text) for text in ("yes", "010", "22:22", "1_000", "08", "true", "~")]
    ['yes', 8, '22:22', 1000, 8.0, True, None]
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789" or len(text) > 400:
        return text
    plain = text.replace("_", "")
    if match := _INT.fullmatch(plain):
        sign, *digits = match.groups()
        for base, found in zip((16, 2, 8, 10), digits, strict=True):
            if found is not None:
                number = int(sign + found, base)
                return number if -(1 << 63) <= number < 1 << 64 else float(number)
    if _FLOAT.fullmatch(plain):
        return float(plain)
    return text


def go_string(value: Any) -> str:
    """*value* as Go's fmt.Sprint shows it, which is how Compose turns numbers into text.

    >>> [go_string(value) for value in (1.0, 1.10, 1e21, 1e-7, True, float("inf"))]
    ['1', '1.1', '1e+21', '1e-07', 'true', '+Inf']
    """
    if value is True or value is False:
        return "true" if value else "false"
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    return repr(value)
