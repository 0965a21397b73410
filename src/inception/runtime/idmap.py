"""Id maps of user namespaces: written by the caller for a container that pauses, or for a namespace that only holds a map.

As root both maps are written as they are. Without, a map of one's own single id can be written after setgroups was given up;
any other is left to newuidmap and newgidmap, which know /etc/subuid. Source: user_namespaces(7); newuidmap(1).
"""

from __future__ import annotations

import os

from inception.errors import InvalidArgument, Unavailable
from inception.linux import abi, process
from inception.runtime.child import begin
from inception.runtime.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.runtime import IdMapping

_HELPERS = ("/usr/bin", "/bin")  # never through a PATH that a caller set
_MAX_ENTRIES = 340  # of the kernel, since 4.15


def check_maps(maps: list[IdMapping], where: str) -> None:
    """Raises InvalidArgument for numbers out of range, or more entries than the kernel takes."""
    if len(maps) > _MAX_ENTRIES:
        raise InvalidArgument(f"{where}: {len(maps)} entries; the kernel takes {_MAX_ENTRIES}")
    for index, entry in enumerate(maps):
        for key, number in (("containerID", entry.container_id), ("hostID", entry.host_id), ("size", entry.size)):
            if not (key == "size") <= number < 1 << 32:
                raise InvalidArgument(f"{where}[{index}].{key}: {number} is out of range")


def write_maps(pid: int, uids: list[IdMapping], gids: list[IdMapping]) -> None:
    """Write the maps of *pid*'s user namespace, which nobody has written yet."""
    if os.geteuid() == 0:
        _write(pid, "uid_map", uids)
        _write(pid, "gid_map", gids)
        return
    if _is_own(uids, os.geteuid()) and _is_own(gids, os.getegid()):
        with open(f"/proc/{pid}/setgroups", "w", encoding="utf-8") as file:
            file.write("deny")
        _write(pid, "uid_map", uids)
        _write(pid, "gid_map", gids)
        return
    _ask_helper("newuidmap", pid, uids)
    _ask_helper("newgidmap", pid, gids)


def open_user_namespace(uids: list[IdMapping], gids: list[IdMapping]) -> int:
    """An fd of a new user namespace with these maps and nobody in it: what an id-mapped mount asks for."""
    plan = Plan()
    plan.call("unshare", abi.CLONE_NEWUSER)
    plan.call("pause", 0, 1)
    child = begin(plan.compile(), {})
    try:
        write_maps(child.pid, uids, gids)
        return os.open(f"/proc/{child.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        process.pidfd_send_signal(child.pidfd, 9)
        process.reap(child.pidfd)
        os.close(child.pidfd)
        os.close(child.channel)


def _is_own(maps: list[IdMapping], own: int) -> bool:
    return len(maps) == 1 and maps[0].size == 1 and maps[0].host_id == own


def _write(pid: int, name: str, maps: list[IdMapping]) -> None:
    text = "".join(f"{entry.container_id} {entry.host_id} {entry.size}\n" for entry in maps)
    fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())  # the kernel takes a map in one write
    except OSError as error:
        raise InvalidArgument(f"linux.{name[:3]}Mappings: the kernel refuses the map: {error.strerror}") from None
    finally:
        os.close(fd)


def _ask_helper(name: str, pid: int, maps: list[IdMapping]) -> None:
    program = next((path for folder in _HELPERS if os.path.exists(path := f"{folder}/{name}")), "")
    if not program:
        raise Unavailable(f"linux.{name[3:6]}Mappings: {name} is not installed", "install the package uidmap")
    numbers = [str(n) for entry in maps for n in (entry.container_id, entry.host_id, entry.size)]
    code = os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn(program, [name, str(pid), *numbers], {}), 0)[1])
    if code:
        raise Unavailable(f"linux.{name[3:6]}Mappings: {name} refuses the map", "see /etc/subuid and /etc/subgid")
