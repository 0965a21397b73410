"""`linux.netDevices`: links of the host that become the container's.

A link loses its addresses and goes down when it changes namespaces; what it had for good (permanent, of global scope) is given
back there, and it comes up. After a container's end the kernel decides: hardware returns, virtual links are gone. While
`create` can still fail, what it took goes back. Source: runtime-spec config-linux.md, "Network Devices".
"""

from __future__ import annotations

import os

from inception.errors import Conflict, InvalidArgument, NotFound, Unavailable
from inception.linux import namespaces, netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.linux.netlink import Address, Link, Netlink
    from inception.oci.runtime import Linux

_NAME_BYTES = 15


def check_net_devices(linux: Linux) -> None:
    """Raises InvalidArgument for names that no link can have, or without a namespace to give them to."""
    if not linux.net_devices:
        return
    if not any(space.type == "network" for space in linux.namespaces):
        raise InvalidArgument("linux.netDevices: unable to move network devices without a NET namespace")
    if os.geteuid():
        raise InvalidArgument("linux.netDevices: network devices are not supported for rootless containers")
    for name, device in linux.net_devices.items():
        _check_name(name, f"linux.netDevices.{name}")
        if device.name:
            _check_name(device.name.replace("%d", "0"), f"linux.netDevices.{name}.name")


def _check_name(name: str, where: str) -> None:
    if not 0 < len(name.encode()) <= _NAME_BYTES or name in (".", "..") or any(c in "/:%" or c.isspace() for c in name):
        raise InvalidArgument(f"{where}: invalid network device name {name!r}")


class NetDevices:
    """Links on their way into the network namespace of a process."""

    def __init__(self, linux: Linux, pid: int) -> None:
        self._linux = linux
        self._theirs = namespaces.open_ns(pid, "network")
        self._moved: list[tuple[str, Link, list[Address]]] = []

    def move(self) -> None:
        """Move all. Raises NotFound, Conflict, Unavailable; `give_back` then undoes what was done."""
        if os.path.samestat(os.fstat(self._theirs), os.stat("/proc/self/ns/net")):
            raise InvalidArgument("linux.netDevices: unable to move network devices without a NET namespace")
        with netlink.Netlink() as ours, netlink.Netlink(self._theirs) as theirs:
            for name, device in self._linux.net_devices.items():
                where = f"linux.netDevices.{name}"
                link = ours.link(name)
                if link is None:
                    raise NotFound(f"{where}: there is no such network device")
                wanted = device.name or name
                if "%d" not in wanted and theirs.has(wanted):
                    raise Conflict(f"{where}: the container has a network device {wanted} already")
                kept = [
                    address
                    for address in ours.addresses()
                    if address.index == link.index
                    and address.scope == netlink.RT_SCOPE_UNIVERSE
                    and address.flags & netlink.IFA_F_PERMANENT
                ]
                try:
                    moved = _move(ours, theirs, self._theirs, link, wanted)
                    self._moved.append((name, moved, kept))
                    theirs.run(netlink.set_link(moved.index, up=True), *(netlink.copy_address(moved.index, a) for a in kept))
                except OSError as error:
                    raise Unavailable(f"{where}: {error.strerror or error}") from error

    def give_back(self) -> None:
        """Return what was moved, as it was but for its routes; what can't be stays."""
        here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with netlink.Netlink() as ours, netlink.Netlink(self._theirs) as theirs:
                for name, link, kept in self._moved:
                    try:
                        back = _move(theirs, ours, here, link, name)
                        ours.run(netlink.set_link(back.index, up=True), *(netlink.copy_address(back.index, a) for a in kept))
                    except OSError:
                        continue
        finally:
            os.close(here)

    def close(self) -> None:
        os.close(self._theirs)


def _move(source: Netlink, target: Netlink, target_fd: int, link: Link, name: str) -> Link:
    """The link as *target* has it: another number, and with `%d` another name too."""
    before = {found.index for found in target.links()}
    source.run(netlink.move_link(link.index, target_fd, name))
    return next(found for found in target.links() if found.index not in before)
