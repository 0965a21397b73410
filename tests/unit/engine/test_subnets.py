"""What people give a network for its subnets, sorted and checked."""

from __future__ import annotations

import pytest

from inception.engine.config import NetworkConfig
from inception.engine.pools import match_pools
from inception.engine.subnets import plan_subnet
from inception.errors import InvalidArgument


def test_an_auxiliary_address_outside_of_the_subnet_is_refused():
    config = NetworkConfig(name="n", subnet="10.98.0.0/24", auxiliary_addresses={"router": "10.99.0.2"})
    with pytest.raises(InvalidArgument, match=r"aux-address router=10\.99\.0\.2"):
        plan_subnet(config, [])


def test_gateways_and_ranges_go_with_the_subnet_of_their_family():
    subnets = ["10.98.0.0/24", "fd00:98::/64"]
    assert match_pools(subnets, ["fd00:98::1", "10.98.0.1"], ["10.98.0.128/25"]) == [
        ("10.98.0.0/24", "10.98.0.1", "10.98.0.128/25"),
        ("fd00:98::/64", "fd00:98::1", ""),
    ]
    with pytest.raises(InvalidArgument, match="no matching subnet for gateway fd00:98::1"):
        match_pools(subnets[:1], ["fd00:98::1"], [])
    with pytest.raises(InvalidArgument, match=r"cannot configure multiple gateways \(10.98.0.1, 10.98.0.2\)"):
        match_pools(subnets, ["10.98.0.1", "10.98.0.2"], [])
