from __future__ import annotations

import struct

import pytest

from inception.linux import netlink


def test_attributes_are_padded_and_read_back():
    data = netlink.attribute(3, b"lo\0") + netlink.nested(18, netlink.attribute(1, b"veth"))
    assert len(data) % 4 == 0
    found = netlink.parse_attributes(data)
    assert found[3] == b"lo\0"
    assert netlink.parse_attributes(found[18]) == {1: b"veth"}


@pytest.mark.parametrize(
    "data", [b"", b"\x04", struct.pack("=HH", 0, 1), struct.pack("=HH", 3, 1), struct.pack("=HH", 60, 1) + b"x"]
)
def test_attributes_that_lie_about_their_length_end_the_list(data):
    assert netlink.parse_attributes(data) == {}


def test_a_payload_whose_length_would_wrap_is_refused():
    netlink.attribute(1, bytes(65531))
    with pytest.raises(OSError, match="65532 bytes are too many"):
        netlink.attribute(1, bytes(65532))


def test_names_longer_than_the_kernels_are_refused():
    netlink.set_link("x" * 15, up=True)
    with pytest.raises(OSError, match="longer than 15 bytes"):
        netlink.set_link("x" * 16, up=True)


@pytest.mark.parametrize("mac", ["", "02:42", "02:42:ac:11:00:0g", "0242ac110002", "02:42:ac:11:00:02:03"])
def test_what_is_no_mac_address_is_refused(mac):
    with pytest.raises(ValueError):
        netlink.mac_bytes(mac)


def test_requests_print_as_ip_would_be_told_them():
    assert str(netlink.set_link("eth0", up=False, mtu=1400, master=0)) == "link set eth0 mtu 1400 master 0 down"
    assert str(netlink.set_bridge_port(4, isolated=True)) == "bridge link set 4 isolated on hairpin off"
    assert (
        str(netlink.add_route(2, destination="10.0.0.0", prefix=8, gateway="10.1.1.1"))
        == "route add 10.0.0.0/8 via 10.1.1.1 dev 2"
    )
