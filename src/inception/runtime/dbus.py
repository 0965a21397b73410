"""A D-Bus client for one conversation: method calls and their answers, and signals that are waited for.

Only what talking to systemd takes: little-endian messages, no descriptors. Values are Python's own, in the shape that a
signature says; a variant is a pair of signature and value. Source: dbus.freedesktop.org/doc/dbus-specification.html.
"""

from __future__ import annotations

import os
import struct
import time

from inception.errors import Unavailable
from inception.linux import abi, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

SYSTEM_BUS = "/run/dbus/system_bus_socket"
_CALL, _RETURN, _ERROR, _SIGNAL = 1, 2, 3, 4
# Field code -> signature of its value.
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
_FIXED = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d"}
_ALIGNMENT = {"y": 1, "n": 2, "q": 2, "g": 1, "v": 1, "x": 8, "t": 8, "d": 8, "(": 8, "{": 8}
_MAX_BYTES = 1 << 26


class BusError(Exception):
    """The other side's error: its name and its words."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text or name)
        self.name = name


class Message:
    def __init__(self, kind: int, fields: dict[int, Any], body: list[Any]) -> None:
        self.kind, self.fields, self.body = kind, fields, body


class Bus:
    """A connection; `with Bus(path) as bus`. Raises Unavailable when there is none, or when it ends."""

    def __init__(self, path: str = SYSTEM_BUS) -> None:
        try:
            self._fd = socket.connect(path, abi.SOCK_STREAM)
        except OSError as error:
            raise Unavailable(f"D-Bus {path}: {error.strerror}", "is systemd running, with its message bus?") from error
        self._path = path
        self._rest = b""
        self._serial = 0
        self._signals: list[Message] = []
        try:
            self._authenticate()
            self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def call(
        self, destination: str, path: str, interface: str, member: str, signature: str = "", body: Sequence[Any] = ()
    ) -> list[Any]:
        """Calls a method; what it answers. Raises BusError."""
        self._serial += 1
        fields = [(_PATH, ("o", path)), (_INTERFACE, ("s", interface)), (_MEMBER, ("s", member))]
        fields.append((_DESTINATION, ("s", destination)))
        if signature:
            fields.append((_SIGNATURE, ("g", signature)))
        self._write(encode_message(_CALL, self._serial, fields, signature, body))
        deadline = time.monotonic() + 25
        while True:
            message = self._read(deadline)
            if message.kind == _SIGNAL:
                self._signals.append(message)
            elif message.fields.get(_REPLY_SERIAL) == self._serial:
                if message.kind == _ERROR:
                    raise BusError(message.fields.get(_ERROR_NAME, ""), str(message.body[0]) if message.body else "")
                return message.body

    def wait_signal(self, member: str, first: int, value: Any, timeout_s: float) -> list[Any]:
        """The body of the signal called *member* whose argument number *first* is *value*. Raises Unavailable."""
        deadline = time.monotonic() + timeout_s
        while True:
            message = self._signals.pop(0) if self._signals else self._read(deadline)
            if message.kind == _SIGNAL and message.fields.get(_MEMBER) == member and message.body[first] == value:
                return message.body

    def _authenticate(self) -> None:
        self._write(b"\0AUTH EXTERNAL %s\r\n" % str(os.geteuid()).encode().hex().encode())
        deadline = time.monotonic() + 25
        while b"\r\n" not in self._rest:
            self._fill(deadline)
        line, _, self._rest = self._rest.partition(b"\r\n")
        if not line.startswith(b"OK "):
            raise Unavailable(f"D-Bus {self._path}: {line.decode(errors='replace')}")
        self._write(b"BEGIN\r\n")

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            raise Unavailable(f"D-Bus {self._path}: {error.strerror}") from error

    def _read(self, deadline: float) -> Message:
        while (length := message_length(self._rest)) > len(self._rest):
            self._fill(deadline)
        data, self._rest = self._rest[:length], self._rest[length:]
        return decode_message(data)

    def _fill(self, deadline: float) -> None:
        from select import POLLIN, poll

        ready = poll()
        ready.register(self._fd, POLLIN)
        if not ready.poll(max(0, int(1000 * (deadline - time.monotonic())))):
            raise Unavailable(f"D-Bus {self._path}: no answer")
        try:
            data = os.read(self._fd, 65536)
        except OSError as error:
            raise Unavailable(f"D-Bus {self._path}: {error.strerror}") from error
        if not data:
            raise Unavailable(f"D-Bus {self._path}: the connection was closed")
        self._rest += data


# ---- messages -------------------------------------------------------------------------------------------------------------


def encode_message(kind: int, serial: int, fields: Sequence[Any], signature: str, body: Sequence[Any]) -> bytes:
    """A whole message."""
    content = bytearray()
    for one, value in zip(split(signature), body, strict=True):
        _encode(content, one, value)
    head = bytearray(struct.pack("<BBBBII", ord("l"), kind, 0, 1, len(content), serial))
    _encode(head, "a(yv)", fields)
    _pad(head, 8)
    return bytes(head + content)


def message_length(data: bytes) -> int:
    """How long the message is that *data* begins with; at least 16 while too little of it is there."""
    if len(data) < 16:
        return 16
    if data[0] != ord("l"):
        raise Unavailable("D-Bus: a message in another byte order")
    body, _, fields = struct.unpack_from("<III", data, 4)
    length: int = (16 + fields + 7) // 8 * 8 + body
    if length > _MAX_BYTES:
        raise Unavailable("D-Bus: a message that is too long")
    return length


def decode_message(data: bytes) -> Message:
    fields, position = _decode(data, 12, "a(yv)")
    found = {code: value[1] for code, value in fields}
    position = (position + 7) // 8 * 8
    body = []
    start = data[position:]
    at = 0
    for one in split(found.get(_SIGNATURE, "")):
        value, at = _decode(start, at, one)
        body.append(value)
    return Message(data[1], found, body)


def split(signature: str) -> list[str]:
    """The complete types of a signature.

    >>> split("sa(sv)u")
    ['s', 'a(sv)', 'u']
    """
    found: list[str] = []
    at = 0
    while at < len(signature):
        end = _end(signature, at)
        found.append(signature[at:end])
        at = end
    return found


def _end(signature: str, at: int) -> int:
    if signature[at] == "a":
        return _end(signature, at + 1)
    if signature[at] not in "({":
        return at + 1
    at += 1
    while signature[at] not in ")}":
        at = _end(signature, at)
    return at + 1


def _pad(out: bytearray, alignment: int) -> None:
    out += bytes(-len(out) % alignment)


def _encode(out: bytearray, signature: str, value: Any) -> None:
    kind = signature[0]
    _pad(out, _ALIGNMENT.get(kind, 4))
    if kind in _FIXED:
        out += struct.pack(f"<{_FIXED[kind]}", value)
    elif kind in "so":
        text = value.encode()
        out += struct.pack("<I", len(text)) + text + b"\0"
    elif kind == "g":
        out += bytes([len(value)]) + value.encode() + b"\0"
    elif kind == "v":
        _encode(out, "g", value[0])
        _encode(out, value[0], value[1])
    elif kind == "a":
        place = len(out)
        out += bytes(4)
        _pad(out, _ALIGNMENT.get(signature[1], 4))
        start = len(out)
        for item in value:
            _encode(out, signature[1:], item)
        struct.pack_into("<I", out, place, len(out) - start)
    else:
        for one, item in zip(split(signature[1:-1]), value, strict=True):
            _encode(out, one, item)


def _decode(data: bytes, at: int, signature: str) -> tuple[Any, int]:
    kind = signature[0]
    alignment = _ALIGNMENT.get(kind, 4)
    at = (at + alignment - 1) // alignment * alignment
    if kind in _FIXED:
        (value,) = struct.unpack_from(f"<{_FIXED[kind]}", data, at)
        return (bool(value) if kind == "b" else value), at + struct.calcsize(f"<{_FIXED[kind]}")
    if kind in "so":
        (length,) = struct.unpack_from("<I", data, at)
        return data[at + 4 : at + 4 + length].decode(errors="replace"), at + 5 + length
    if kind == "g":
        return data[at + 1 : at + 1 + data[at]].decode(), at + 2 + data[at]
    if kind == "v":
        inner, at = _decode(data, at, "g")
        value, at = _decode(data, at, inner)
        return (inner, value), at
    items = []
    if kind == "a":
        (length,) = struct.unpack_from("<I", data, at)
        alignment = _ALIGNMENT.get(signature[1], 4)
        at = (at + 4 + alignment - 1) // alignment * alignment
        end = at + length
        while at < end:
            item, at = _decode(data, at, signature[1:])
            items.append(item)
        return items, at
    for one in split(signature[1:-1]):
        item, at = _decode(data, at, one)
        items.append(item)
    return tuple(items), at
