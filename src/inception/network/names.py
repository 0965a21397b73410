"""The DNS tables: one folder a network, one folder a name, one empty file an address.

    RUN_ROOT/names/NETWORK_ID/web/172.18.0.2

Publishing is a mkdir and an open, withdrawing an unlink and a rmdir: atomic and O(1), whoever else does the same at that
moment. The monitors read these folders when they are asked a name, so nobody has to be told of a change. A name with several
addresses is answered with all of them.
"""

from __future__ import annotations

import os

from inception.errors import InvalidArgument
from inception.network.address import is_ipv4, is_ipv6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_NAME = 253  # RFC 1035, 2.3.4: 255 octets on the wire


def publish(table: str, names: Iterable[str], *addresses: str) -> None:
    """Let every one of *names* answer with *addresses* in the network whose folder is *table*. Idempotent."""
    for address in addresses:
        _check_address(address)
    for name in names:
        folder = f"{table}/{_key(name)}"
        for address in addresses:
            while True:
                try:
                    os.close(os.open(f"{folder}/{address}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
                    break
                except FileNotFoundError:  # a first name, or a withdrawal removed the folder just now
                    _make(table, folder)


def withdraw(table: str, names: Iterable[str], *addresses: str) -> None:
    """Undo `publish`; what is gone already counts as done."""
    for address in addresses:
        _check_address(address)
    for name in names:
        folder = f"{table}/{_key(name)}"
        for address in addresses:
            try:
                os.unlink(f"{folder}/{address}")
            except FileNotFoundError:
                pass
        try:
            os.rmdir(folder)
        except OSError:  # other addresses remain, or someone removed it first
            pass


def remove_table(table: str) -> None:
    """Remove a network's folder with all that is in it; what is gone already counts as done."""
    for name, addresses in read_table(table).items():
        for address in addresses:
            withdraw(table, (name,), address)
        try:
            os.rmdir(f"{table}/{name}")
        except FileNotFoundError:
            pass
    try:
        os.rmdir(table)
    except FileNotFoundError:
        pass


def read_table(table: str) -> dict[str, list[str]]:
    """Everything in a network's table, for recovery to compare with what should be there: name to sorted addresses."""
    found = {}
    for name in _entries(table):
        found[name] = sorted(_entries(f"{table}/{name}"))
    return found


def lookup(table: str, name: str) -> list[str]:
    """The addresses of *name*, sorted; none when the table doesn't know it."""
    try:
        key = _key(name)
    except InvalidArgument:
        return []
    return sorted(_entries(f"{table}/{key}"))


def _make(table: str, folder: str) -> None:
    # Not makedirs(exist_ok=True): it fails when a folder that it found in its way is withdrawn before its second look.
    try:
        os.mkdir(folder, 0o755)
    except FileExistsError:
        pass
    except FileNotFoundError:
        os.makedirs(table, mode=0o755, exist_ok=True)


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _key(name: str) -> str:
    key = name.rstrip(".").lower()
    # One path component, whatever a container's alias says: never "", ".", "..", a slash or a control character.
    if not key or key.startswith(".") or "/" in key or len(os.fsencode(key)) > _MAX_NAME or not key.isprintable():
        raise InvalidArgument(f"invalid network name for a container: {name!r}")
    return key


def _check_address(address: str) -> None:
    if not is_ipv4(address) and not is_ipv6(address):
        raise InvalidArgument(f"invalid IP address: {address}")
