"""`network`: create, ls, rm, connect, disconnect."""

from __future__ import annotations

from inception.cli.call import Call, for_each
from inception.cli.flags import Command, UsageError, more
from inception.cli.format import Listing, label_of, labels_text, local_time, short_id, write
from inception.cli.run_config import interface_of, labels_of
from inception.cli.values import parse_bool
from inception.engine.config import EndpointConfig, NetworkConfig
from inception.engine.pools import match_pools, pool_fields
from inception.errors import InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.cli.flags import Flags
    from inception.cli.format import Row
    from inception.engine.networks import Network

LISTING = Listing(
    {
        "ID": "NETWORK ID",
        "Name": "NAME",
        "Driver": "DRIVER",
        "Scope": "SCOPE",
        "IPv4": "IPV4",
        "IPv6": "IPV6",
        "Internal": "INTERNAL",
        "Labels": "LABELS",
        "CreatedAt": "CREATED AT",
    },
    ("ID", "Name", "Driver", "Scope"),
)
# Options of Docker's bridge driver and the field that each one is.
_BRIDGE_OPTIONS = {
    "com.docker.network.bridge.name": "bridge_name",
    "com.docker.network.bridge.enable_icc": "inter_container",
    "com.docker.network.bridge.enable_ip_masquerade": "masquerade",
    "com.docker.network.bridge.host_binding_ipv4": "default_host_ip",
    "com.docker.network.driver.mtu": "mtu",
}


def create(call: Call) -> int:
    flags = call.flags
    subnets, gateways, ranges = flags.list("subnet"), flags.list("gateway"), flags.list("ip-range")
    if (gateways or ranges) and not subnets:
        raise UsageError("every ip-range or gateway must have a corresponding subnet", exit_code=1)
    try:
        labels = labels_of(flags.list("label"))
    except ValueError as error:
        raise UsageError(str(error), more(call.path)) from None
    network = call.engine.networks.create(
        NetworkConfig(
            name=call.arguments[0],
            driver=flags.text("driver"),
            auxiliary_addresses=flags.map("aux-address"),
            internal=flags.on("internal"),
            attachable=flags.on("attachable"),
            labels=labels,
            ipv4=flags.on("ipv4"),
            ipv6=flags.on("ipv6"),
            **pool_fields(match_pools(subnets, gateways, ranges)),  # type: ignore[arg-type]
            **_driver_options(flags),
        )
    )
    print(network.id)
    return 0


def _driver_options(flags: Flags) -> dict[str, Any]:
    """`-o` as fields; what the bridge driver does not know is refused by name."""
    fields: dict[str, Any] = {"options": flags.map("opt")}
    for key, value in flags.map("opt").items():
        field = _BRIDGE_OPTIONS.get(key)
        if field is None:
            raise InvalidArgument(f"the bridge driver has no option {key}", f"it has {', '.join(sorted(_BRIDGE_OPTIONS))}")
        if field == "mtu":
            if not value.isdecimal():
                raise InvalidArgument(f"invalid value for {key}: {value}")
            fields[field] = int(value)
        elif field in ("inter_container", "masquerade"):
            try:
                fields[field] = parse_bool(value)
            except ValueError as error:
                raise InvalidArgument(f"invalid value for {key}: {error}") from None
        else:
            fields[field] = value
    return fields


def ls(call: Call) -> int:
    flags = call.flags
    networks = call.engine.networks.list(flags.filters())
    full = flags.on("no-trunc")
    if flags.on("quiet"):
        write("".join((each.id if full else short_id(each.id)) + "\n" for each in networks))
        return 0
    write(LISTING.render([_row(each, full=full) for each in networks], flags.text("format")))
    return 0


def _row(network: Network, *, full: bool) -> Row:
    return {
        "ID": network.id if full else short_id(network.id),
        "Name": network.name,
        "Driver": network.config.driver,
        "Scope": "local",
        "IPv4": str(network.config.ipv4).lower(),
        "IPv6": str(network.config.ipv6).lower(),
        "Internal": str(network.config.internal).lower(),
        "Labels": labels_text(network.labels),
        "CreatedAt": local_time(network.created_at),
        "Label": label_of(network.labels),
    }


def rm(call: Call) -> int:
    def remove(name: str) -> None:
        try:
            call.engine.networks.get(name).remove()
        except NotFound:
            if not call.flags.on("force"):
                raise
        else:
            print(name, flush=True)

    return for_each(call.arguments, remove, say=False)


def connect(call: Call) -> int:
    flags = call.flags
    network, container = call.arguments
    endpoint = EndpointConfig(
        aliases=flags.list("alias"),
        ipv4_address=flags.text("ip"),
        ipv6_address=flags.text("ip6"),
        link_local_addresses=flags.list("link-local-ip"),
        links=flags.list("link"),
        gateway_priority=flags.number("gw-priority"),
        driver_options=flags.map("driver-opt"),
        interface_name=interface_of(flags.map("driver-opt")),
    )
    call.engine.networks.get(network).connect(container, endpoint)
    return 0


def disconnect(call: Call) -> int:
    network, container = call.arguments
    call.engine.networks.get(network).disconnect(container, force=call.flags.on("force"))
    return 0


_SWARM = "Swarm is not supported"

CREATE = Command(
    create,
    "[OPTIONS] NETWORK",
    "Create a network",
    """\
      --aux-address map   Addresses that no container gets (NAME=ADDRESS)
      --attachable        Enable manual container attachment
  -d, --driver string     Driver of the network (default "bridge")
      --gateway strings   Gateway of the subnet
      --internal          Restrict external access to the network
      --ip-range strings  Give out addresses of this part of the subnet only
      --ipv4              IPv4 addresses for its containers (default true)
      --ipv6              IPv6 addresses for its containers
      --label list        Set metadata on a network
  -o, --opt map           Options of the driver
      --subnet strings    Subnet in CIDR format
""",
    minimum=1,
    maximum=1,
    refused={
        "config-from": _SWARM,
        "config-only": _SWARM,
        "ingress": _SWARM,
        "ipam-driver": "there is one address manager, the default",
        "ipam-opt": "the default address manager has no options",
        "scope": _SWARM,
    },
)
LS = Command(
    ls,
    "[OPTIONS]",
    "List networks",
    """\
  -f, --filter filter   Provide filter values (e.g. "driver=bridge")
      --format string   Format output: "table", "table TEMPLATE", "json", or a Go template
      --no-trunc        Do not truncate the output
  -q, --quiet           Only display network IDs
""",
    maximum=0,
)
RM = Command(
    rm,
    "[OPTIONS] NETWORK [NETWORK...]",
    "Remove one or more networks",
    "  -f, --force   Do not error if the network does not exist\n",
    minimum=1,
)
CONNECT = Command(
    connect,
    "[OPTIONS] NETWORK CONTAINER",
    "Connect a container to a network",
    """\
      --alias strings           Add network-scoped alias for the container
      --driver-opt map          com.docker.network.endpoint.ifname: the name of its interface
      --gw-priority int         The network with the highest has the default route
      --ip ip                   IPv4 address (e.g., 172.30.100.104)
      --ip6 ip                  IPv6 address (e.g., 2001:db8::33)
      --link list               Another container under a name that only this one knows
      --link-local-ip strings   A link-local address for the container
""",
    minimum=2,
    maximum=2,
)
DISCONNECT = Command(
    disconnect,
    "[OPTIONS] NETWORK CONTAINER",
    "Disconnect a container from a network",
    "  -f, --force   Force the container to disconnect from a network\n",
    minimum=2,
    maximum=2,
)
