"""`syscall`: any system call, whose failure is an OSError that still shows the call.

umount2('/x', 0): Invalid argument
"""

from __future__ import annotations

import os

from inception import _spawn
from inception.linux import abi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Buffer

AT_FDCWD: int = _spawn.AT_FDCWD


def syscall(number: int, *arguments: int | str | Buffer | None) -> int:
    """Make system call *number* (`abi.SYS_...`); str and bytes are passed as C strings, None as a null pointer.

    Raises OSError with the kernel's errno; its text shows the call.
    """
    passed = [os.fsencode(argument) if isinstance(argument, str) else argument for argument in arguments]
    try:
        return _spawn.syscall(number, *passed)
    except OSError as error:
        raise failed(abi.syscall_name(number), arguments, error.errno or 0) from None


def failed(name: str, arguments: tuple[object, ...], errno: int) -> OSError:
    """The OSError for a call that gave *errno*."""
    shown = ", ".join(_show(argument) for argument in arguments)
    return _CallError(errno, os.strerror(errno), f"{name}({shown})")


class _CallError(OSError):
    """An OSError that prints as `call(arguments): reason`. OSError's own constructor picks the subclass by errno, so the
    built-in ones (FileNotFoundError, ...) are made below with this class mixed in."""

    def __new__(cls, errno: int, reason: str, call: str) -> _CallError:
        if cls is _CallError:
            builtin = type(OSError(errno, reason))
            cls = _kinds.get(builtin) or _kinds.setdefault(builtin, type(builtin.__name__, (_CallError, builtin), {}))
        return OSError.__new__(cls, errno, reason)

    def __init__(self, errno: int, reason: str, call: str) -> None:
        OSError.__init__(self, errno, reason)
        self.call = call

    def __str__(self) -> str:
        return f"{self.call}: {self.strerror}"


_kinds: dict[type[OSError], type[_CallError]] = {OSError: _CallError}


def _show(argument: object) -> str:
    if argument is None:
        return "NULL"
    if argument == AT_FDCWD:
        return "AT_FDCWD"
    if isinstance(argument, bytes) and (len(argument) > 255 or not argument.isascii() or not argument.decode().isprintable()):
        return f"<{len(argument)} bytes>"
    if isinstance(argument, (bytearray, memoryview)):
        return f"<{len(argument)} bytes>"
    return repr(os.fsdecode(argument)) if isinstance(argument, bytes) else repr(argument)
