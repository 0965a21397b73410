"""Networks and volumes of a project as the engine is asked for them. Pure."""

from __future__ import annotations

from inception.compose import labels
from inception.compose.hashing import network_hash, volume_hash
from inception.engine.config import NetworkConfig, VolumeConfig
from inception.engine.pools import pool_fields
from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.compose.model import Network, Project, Volume


def network_config(project: Project, network: Network) -> NetworkConfig:
    """What the engine is asked for. Raises InvalidArgument for more than one subnet of a family."""
    pools = [(pool.subnet, pool.gateway, pool.ip_range) for pool in network.ipam.config]
    options = dict(network.driver_opts)
    mtu = options.pop("com.docker.network.driver.mtu", "0")
    if not mtu.isdecimal():
        raise InvalidArgument(
            f"networks.{network.key}.driver_opts: com.docker.network.driver.mtu: expected a number, got {mtu!r}"
        )
    return NetworkConfig(
        name=network.name,
        driver=network.driver if network.driver not in ("", "default") else "bridge",
        internal=network.internal,
        attachable=network.attachable,
        mtu=int(mtu),
        bridge_name=options.pop("com.docker.network.bridge.name", ""),
        inter_container=options.pop("com.docker.network.bridge.enable_icc", "true") == "true",
        masquerade=options.pop("com.docker.network.bridge.enable_ip_masquerade", "true") == "true",
        default_host_ip=options.pop("com.docker.network.bridge.host_binding_ipv4", ""),
        options=_no_more(options, network),
        ipv4=network.enable_ipv4,
        ipv6=network.enable_ipv6,
        **pool_fields(pools, f"networks.{network.key}.ipam: "),  # type: ignore[arg-type]
        labels={**network.labels, **_resource_labels(project, labels.NETWORK, network.key, network_hash(network))},
    )


def _no_more(options: dict[str, str], network: Network) -> dict[str, str]:
    for key in options:
        raise InvalidArgument(f"networks.{network.key}.driver_opts: {key} is not supported")
    return dict(network.driver_opts)


def volume_config(project: Project, volume: Volume) -> VolumeConfig:
    """What the engine is asked for."""
    return VolumeConfig(
        name=volume.name,
        driver=volume.driver or "local",
        driver_options=volume.driver_opts,
        labels={**volume.labels, **_resource_labels(project, labels.VOLUME, volume.key, volume_hash(volume))},
    )


def _resource_labels(project: Project, kind: str, key: str, config_hash: str) -> dict[str, str]:
    from inception import __version__

    return {labels.PROJECT: project.name, kind: key, labels.CONFIG_HASH: config_hash, labels.VERSION: __version__}
