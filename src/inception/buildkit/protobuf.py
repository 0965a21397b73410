"""Protocol Buffers, as far as gRPC's messages need them: tables say which number is which field, values are dicts.

    VERTEX = Message("Vertex", '''
        1 string digest
        2 repeated string inputs
        5 Timestamp started
    ''')

Types are `string`, `bytes`, `bool`, `int` (all integers and enums that are written as varints), another message's name,
`repeated TYPE` and `map TYPE` (its keys are strings). A decoded message has all its fields: an absent one is `""`, `b""`,
`False`, `0`, `[]`, `{}`, and `None` for a message. Fields that a table doesn't know are skipped.

Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

from typing import Any

from inception.errors import InvalidArgument

Value = dict[str, Any]
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SCALARS: dict[str, tuple[int, Any]] = {
    "string": (_BYTES, ""),
    "bytes": (_BYTES, b""),
    "bool": (_VARINT, False),
    "int": (_VARINT, 0),
}
_MESSAGES: dict[str, Message] = {}


class Field:
    __slots__ = ("kind", "many", "name", "number", "wire")

    def __init__(self, number: int, many: str, kind: str, name: str) -> None:
        self.number = number
        self.many = many  # "repeated", "map" or nothing
        self.kind = kind
        self.name = name
        self.wire = _BYTES if many == "map" else _SCALARS.get(kind, (_BYTES, None))[0]

    def default(self) -> Any:
        if self.many:
            return {} if self.many == "map" else []
        return _SCALARS[self.kind][1] if self.kind in _SCALARS else None


class Message:
    """A message type; *table* has a line a field. Known to other tables by *name*."""

    def __init__(self, name: str, table: str = "") -> None:
        self.name = name
        self.fields = {}
        for line in table.strip().splitlines():
            number, *many, kind, field = line.split()
            self.fields[int(number)] = Field(int(number), many[0] if many else "", kind, field)
        self._by_name = {field.name: field for field in self.fields.values()}
        _MESSAGES[name] = self

    def encode(self, value: Value) -> bytes:
        """Raises KeyError for a field that the table doesn't have."""
        out = bytearray()
        for name, item in value.items():
            field = self._by_name[name]
            if field.many == "map":
                for key, each in item.items():
                    _put(out, field.number, _BYTES, _entry(field.kind, key, each))
            elif field.many:
                for each in item:
                    _put(out, field.number, field.wire, _raw(field.kind, each))
            elif item is not None and (item or field.kind not in _SCALARS):
                _put(out, field.number, field.wire, _raw(field.kind, item))
        return bytes(out)

    def decode(self, data: bytes) -> Value:
        """Raises InvalidArgument for bytes that are no message."""
        found = {field.name: field.default() for field in self.fields.values()}
        at, end = 0, len(data)
        try:
            while at < end:
                tag, at = _varint(data, at)
                wire = tag & 7
                raw: Any
                if wire == _VARINT:
                    raw, at = _varint(data, at)
                elif wire == _BYTES:
                    length, at = _varint(data, at)
                    if length > end - at:
                        raise IndexError
                    raw, at = data[at : at + length], at + length
                elif wire in (_FIXED32, _FIXED64):
                    raw, at = None, at + (4 if wire == _FIXED32 else 8)
                else:
                    raise IndexError
                field = self.fields.get(tag >> 3)
                if field is not None:
                    _take(found, field, wire, raw)
        except IndexError:
            raise InvalidArgument(f"invalid message: {self.name} is cut off or has an unknown form") from None
        if at > end:
            raise InvalidArgument(f"invalid message: {self.name} is cut off")
        return found


def _take(found: Value, field: Field, wire: int, raw: Any) -> None:
    if field.many == "repeated" and field.wire == _VARINT and wire == _BYTES:  # packed
        at = 0
        while at < len(raw):
            number, at = _varint(raw, at)
            found[field.name].append(_value(field.kind, number))
        return
    if wire != field.wire:
        raise IndexError
    if field.many == "map":
        key, value = _read_entry(field.kind, raw)
        found[field.name][key] = value
    elif field.many:
        found[field.name].append(_value(field.kind, raw))
    else:
        found[field.name] = _value(field.kind, raw)


def _value(kind: str, raw: Any) -> Any:
    if kind == "string":
        return raw.decode("utf-8", "surrogateescape")
    if kind == "bytes":
        return raw
    if kind == "int":
        return raw - (1 << 64) if raw >> 63 else raw
    if kind == "bool":
        return raw != 0
    return _MESSAGES[kind].decode(raw)


def _raw(kind: str, value: Any) -> Any:
    if kind == "string":
        return value.encode("utf-8", "surrogateescape")
    if kind in ("bytes", "bool"):
        return value
    if kind == "int":
        return int(value) & 0xFFFFFFFFFFFFFFFF
    return _MESSAGES[kind].encode(value)


def _entry(kind: str, key: str, value: Any) -> bytes:
    out = bytearray()
    _put(out, 1, _BYTES, key.encode("utf-8", "surrogateescape"))
    _put(out, 2, _SCALARS.get(kind, (_BYTES, None))[0], _raw(kind, value))
    return bytes(out)


def _read_entry(kind: str, data: bytes) -> tuple[str, Any]:
    """The key and the value of an entry of a map: a message of two fields."""
    entry = _ENTRIES.get(kind)
    if entry is None:
        entry = _ENTRIES[kind] = Message(f"map of {kind}", f"1 string key\n2 {kind} value")
    found = entry.decode(data)
    if found["value"] is None:
        found["value"] = _MESSAGES[kind].decode(b"")
    return found["key"], found["value"]


_ENTRIES: dict[str, Message] = {}


def _put(out: bytearray, number: int, wire: int, raw: Any) -> None:
    _put_varint(out, number << 3 | wire)
    if wire == _VARINT:
        _put_varint(out, raw)
    else:
        _put_varint(out, len(raw))
        out += raw


def _put_varint(out: bytearray, value: int) -> None:
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = data[at]
    at += 1
    if value < 128:
        return value, at
    value &= 127
    for shift in range(7, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise IndexError
