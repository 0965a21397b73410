"""Bridges and rules of engines whose root is gone: nobody who would remove them is left.

An engine that is killed and its root deleted, as test suites do, leaves its bridges on the machine, each with a subnet that no
other network then gets; thirty use up the default pools. A bridge bears the root of its engine as its alias. One is a leftover
when that root is not there and nothing is plugged in: a root that only another mount namespace sees may live, so what runs on a
bridge keeps it, and an idle bridge that is taken from a living engine comes back with its next container, as after a reboot.
"""

from __future__ import annotations

import os

from inception.linux import netlink
from inception.linux.netlink import Netlink
from inception.network import firewall
from inception.network.address import engine_tag

_MARK = "inception "
_LONGEST = 255  # of an alias (IFALIASZ)


def owner_alias(engine_root: str) -> str:
    """The alias of an engine's bridges; none for a root whose path is too long for it."""
    alias = _MARK + engine_root
    return alias if len(os.fsencode(alias)) <= _LONGEST else ""


def remove_leftovers() -> list[str]:
    """Remove them, with the tables of engines that have no bridge any more; answers the names of the bridges."""
    removed: list[str] = []
    tags: set[str] = set()
    with Netlink() as sock:
        links = sock.links()
        busy = {link.master for link in links}
        for link in links:
            root = link.alias.removeprefix(_MARK)
            if link.kind != "bridge" or root == link.alias or link.index in busy or not _is_gone(root):
                continue
            sock.run(netlink.delete_link(link.name))
            removed.append(link.name)
            tags.add(engine_tag(root))
        left = {engine_tag(link.alias.removeprefix(_MARK)) for link in sock.links() if link.alias.startswith(_MARK)}
    for tag in sorted(tags - left):
        if firewall.present(tag) or firewall.present6(tag):
            firewall.remove_table(tag)
    return removed


def _is_gone(root: str) -> bool:
    try:
        os.stat(root)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass  # there is something that we can't see
    return False
