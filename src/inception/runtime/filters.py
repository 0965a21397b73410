"""Compiled seccomp filters, kept: compiling one takes 20 ms, reading it back a tenth of one.

`ROOT/@seccomp/KEY` where KEY is a digest of the description, the machine's architecture and the compiler's version. The root
belongs to whoever runs containers; a file there is as trusted as the state beside it.
"""

from __future__ import annotations

import os

from inception.errors import InvalidArgument
from inception.jsontext import dumps
from inception.linux import abi
from inception.linux.files import read_file
from inception.oci.digest import sha256
from inception.record import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.runtime import Seccomp

_VERSION = 2  # of what the compiler makes of a description
_HANDS_OVER = ("sendmsg", "write")  # by which the listener reaches the agent
_FOLDER = "@seccomp"  # no container's: ids hold no @


def load(root: str, seccomp: Seccomp | None) -> bytes | None:
    """The filter for *seccomp*, compiled now or before. Raises InvalidArgument naming the place in it."""
    if seccomp is None:
        return None
    path = f"{root}/{_FOLDER}/{_key(seccomp)}"
    try:
        return read_file(path)
    except FileNotFoundError:
        pass
    from inception.linux.seccomp import compile_filter

    program = compile_filter(seccomp)
    _keep(path, program)
    return program


def _key(seccomp: Seccomp) -> str:
    return sha256(dumps([_VERSION, abi.ARCHITECTURE, encode(seccomp)]).encode()).hex


def _keep(path: str, program: bytes) -> None:
    """Only a saving of time: where it can't be written, the next container compiles again."""
    scratch = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        with open(scratch, "wb") as file:
            file.write(program)
        os.rename(scratch, path)
    except OSError:
        return


def check_listener(seccomp: Seccomp | None) -> None:
    """Raises InvalidArgument for metadata without anyone to read it, and for a filter that would wait for its own listener."""
    if seccomp is None:
        return
    if seccomp.default_action == "SCMP_ACT_NOTIFY":
        raise InvalidArgument("linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as default action")
    for index, rule in enumerate(seccomp.syscalls):
        for name in rule.names if rule.action == "SCMP_ACT_NOTIFY" else []:
            if name in _HANDS_OVER:
                place = f"linux.seccomp.syscalls[{index}].names"
                raise InvalidArgument(f"{place}: SCMP_ACT_NOTIFY cannot be used for the {name} syscall")
    if seccomp.listener_metadata and not seccomp.listener_path:
        raise InvalidArgument("linux.seccomp.listenerMetadata: must not be set without listenerPath")
