"""nfnetlink: the two things that are asked of netfilter too often to start nft(8) or conntrack(8) for them.

Sources: linux/netfilter/nfnetlink.h, nf_tables.h, nfnetlink_conntrack.h.
"""

from __future__ import annotations

import _socket
import struct

from inception.linux.netlink import F_DUMP, NETLINK_NETFILTER, Netlink, Request, attribute, nested, parse_attributes

_AF_INET, _AF_INET6 = 2, 10
_GENERIC = struct.Struct("=BBH")  # nfgenmsg: family, version, resource id
_SUBSYS_CTNETLINK, _SUBSYS_NFTABLES = 1, 10
_NFT_MSG_GETTABLE, _NFTA_TABLE_NAME = 1, 1
_IPCTNL_MSG_CT_NEW, _IPCTNL_MSG_CT_GET, _IPCTNL_MSG_CT_DELETE = 0, 1, 2
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_ID = 1, 2, 12
_CTA_TUPLE_IP, _CTA_IP_V4_SRC, _CTA_IP_V6_SRC = 1, 1, 3
_ENOENT = 2


def table_exists(name: str, netns_fd: int | None = None, *, family: str = "ip") -> bool:
    """Whether the nftables table `FAMILY NAME` exists; `ip` or `ip6`."""
    body = _GENERIC.pack(_AF_INET if family == "ip" else _AF_INET6, 0, 0) + attribute(_NFTA_TABLE_NAME, name.encode() + b"\0")
    request = Request(_SUBSYS_NFTABLES << 8 | _NFT_MSG_GETTABLE, 0, body, f"nft list table {family} {name}")
    with Netlink(netns_fd, NETLINK_NETFILTER) as netlink:
        try:
            netlink.run(request)
        except OSError as error:
            if error.errno == _ENOENT:
                return False
            raise
    return True


def forget_flows(address: str, netns_fd: int | None = None) -> int:
    """Delete the tracked connections that are answered by *address* (where dnat led them); returns how many.

    Without this a UDP peer that never pauses is sent to the old address for as long as it speaks.
    """
    family, source = (_AF_INET6, _CTA_IP_V6_SRC) if ":" in address else (_AF_INET, _CTA_IP_V4_SRC)
    wanted = _socket.inet_pton(family, address)
    dump = Request(_SUBSYS_CTNETLINK << 8 | _IPCTNL_MSG_CT_GET, F_DUMP, _GENERIC.pack(family, 0, 0), "conntrack list")
    count = 0
    with Netlink(netns_fd, NETLINK_NETFILTER) as listing, Netlink(netns_fd, NETLINK_NETFILTER) as deleting:
        for _kind, body in listing.dump(dump):
            attributes = parse_attributes(body[_GENERIC.size :])
            reply = parse_attributes(attributes.get(_CTA_TUPLE_REPLY, b""))
            if parse_attributes(reply.get(_CTA_TUPLE_IP, b"")).get(source) != wanted:
                continue
            key = nested(_CTA_TUPLE_ORIG, attributes[_CTA_TUPLE_ORIG]) + attribute(_CTA_ID, attributes[_CTA_ID])
            kind = _SUBSYS_CTNETLINK << 8 | _IPCTNL_MSG_CT_DELETE
            words = f"conntrack delete (answered by {address})"
            deleting.run(Request(kind, 0, _GENERIC.pack(family, 0, 0) + key, words, allow=(_ENOENT,)))
            count += 1
    return count
