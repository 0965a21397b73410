"""Networks."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from inception.api.call import Call, empty, reply
from inception.api.convert import endpoint_config
from inception.api.fields import Fields
from inception.engine.config import NetworkConfig
from inception.engine.pools import pool_fields
from inception.errors import Conflict, Forbidden, InvalidArgument, NotFound

# Options of Docker's bridge driver, and what they are here.
_BRIDGE = "com.docker.network.bridge."
_ENABLE_IPV4, _ENABLE_IPV6 = "com.docker.network.enable_ipv4", "com.docker.network.enable_ipv6"
_TRUE, _FALSE = ("1", "t", "T", "true", "True", "TRUE"), ("0", "f", "F", "false", "False", "FALSE")


async def list_networks(call: Call) -> web.Response:
    filters = call.filters()

    def rows() -> list[dict[str, Any]]:
        return [{**network.inspect(), "Containers": {}} for network in call.engine.networks.list(filters)]

    return reply(await call.run(rows))


async def inspect(call: Call) -> web.Response:
    if call.text("scope") not in ("", "local"):
        raise NotFound(f"network {call.arguments['id']} not found")

    def document() -> dict[str, Any]:
        return call.engine.networks.get(call.arguments["id"]).inspect()

    return reply(await call.run(document))


async def create(call: Call) -> web.Response:
    config = network_config(Fields(await call.json(required=True)))
    network = await call.run(call.engine.networks.create, config)
    return reply({"Id": network.id, "Warning": ""}, 201)


def network_config(body: Fields) -> NetworkConfig:
    """The body of `POST /networks/create`."""
    body.refuse(
        ConfigOnly="it is for Swarm",
        Ingress="it is for Swarm",
    )
    if body.text("Scope") not in ("", "local"):
        raise InvalidArgument(f"scope {body.text('Scope')!r} is for Swarm")
    if body.object("ConfigFrom").text("Network"):
        raise InvalidArgument("ConfigFrom is not supported: it is for Swarm")
    ipam = body.object("IPAM")
    if ipam.text("Driver") not in ("", "default"):
        raise InvalidArgument(f"IPAM driver {ipam.text('Driver')!r} is not supported: there is only the default one")
    ipam.refuse(Options="the default IPAM driver has none")
    pools = [pool for pool in ipam.objects("Config") if pool.value]
    has_ipv6 = any(":" in pool.text("Subnet") for pool in pools)
    if body.get("EnableIPv6") is False:  # said so, it counts more than a pool that is left over (Docker ignores it, too)
        pools = [pool for pool in pools if ":" not in pool.text("Subnet")]
    auxiliary: dict[str, str] = {}
    for pool in pools:
        auxiliary |= pool.texts("AuxiliaryAddresses")
    found = pool_fields([(pool.text("Subnet"), pool.text("Gateway"), pool.text("IPRange")) for pool in pools], "IPAM.Config: ")
    options = body.texts("Options")
    # The daemon's own option for all networks, as a network may give it (docker 28).
    ipv4 = _boolean(_ENABLE_IPV4, options[_ENABLE_IPV4]) if _ENABLE_IPV4 in options else True
    ipv6 = _boolean(_ENABLE_IPV6, options[_ENABLE_IPV6]) if _ENABLE_IPV6 in options else has_ipv6
    return _with_options(
        NetworkConfig(
            name=body.text("Name"),
            driver=body.text("Driver") or "bridge",
            auxiliary_addresses=auxiliary,
            ipv4=body.flag("EnableIPv4", ipv4),
            ipv6=body.flag("EnableIPv6", ipv6),
            internal=body.flag("Internal"),
            attachable=body.flag("Attachable"),
            labels=body.texts("Labels"),
            **found,  # type: ignore[arg-type]
        ),
        options,
    )


def _with_options(config: NetworkConfig, options: dict[str, str]) -> NetworkConfig:
    config.options = options
    for key, value in options.items():
        if key in ("com.docker.network.driver.mtu", "mtu"):
            if not value.isdecimal():
                raise InvalidArgument(f"invalid value {value!r} for {key}")
            config.mtu = int(value)
        elif key == f"{_BRIDGE}name":
            config.bridge_name = value
        elif key == f"{_BRIDGE}enable_icc":
            config.inter_container = _boolean(key, value)
        elif key == f"{_BRIDGE}enable_ip_masquerade":
            config.masquerade = _boolean(key, value)
        elif key == f"{_BRIDGE}host_binding_ipv4":
            config.default_host_ip = value
        elif key in (_ENABLE_IPV4, _ENABLE_IPV6):
            pass  # read above
        else:
            raise InvalidArgument(f"network option {key} is not supported")
    return config


def _boolean(key: str, value: str) -> bool:
    if value not in (*_TRUE, *_FALSE):
        raise InvalidArgument(f"invalid value {value!r} for {key}")
    return value in _TRUE


async def remove(call: Call) -> web.Response:
    try:
        await call.run(lambda: call.engine.networks.get(call.arguments["id"]).remove())
    except Conflict as error:
        raise Forbidden(str(error), error.hint) from error  # the one conflict that has this status with Docker
    return empty()


async def connect(call: Call) -> web.Response:
    body = Fields(await call.json(required=True))
    endpoint = endpoint_config(body.object("EndpointConfig"))
    container = _container_of(body)
    await call.run(lambda: call.engine.networks.get(call.arguments["id"]).connect(container, endpoint))
    return empty(200)


async def disconnect(call: Call) -> web.Response:
    body = Fields(await call.json(required=True))
    container, force = _container_of(body), body.flag("Force")
    await call.run(lambda: call.engine.networks.get(call.arguments["id"]).disconnect(container, force=force))
    return empty(200)


def _container_of(body: Fields) -> str:
    name = body.text("Container")
    if not name:
        raise InvalidArgument("Container: missing")
    return name


async def prune(call: Call) -> web.Response:
    report = await call.run(call.engine.networks.prune, call.filters())
    return reply({"NetworksDeleted": report.networks or None})


ROUTES = [
    ("GET", "/networks", list_networks),
    ("GET", "/networks/", list_networks),
    ("POST", "/networks/create", create),
    ("POST", "/networks/prune", prune),
    ("GET", "/networks/{id}", inspect),
    ("DELETE", "/networks/{id}", remove),
    ("POST", "/networks/{id}/connect", connect),
    ("POST", "/networks/{id}/disconnect", disconnect),
]
