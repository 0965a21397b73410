"""Docker's `inspect` documents. Field names and shapes are the Engine API's."""

from __future__ import annotations

import os

from inception.engine.cgroups import PARENT
from inception.engine.config import network_mode, wanted_networks
from inception.engine.lifecycle import RUNNING, log_path
from inception.engine.limits import DEVICE_LIMITS, LIMITS
from inception.engine.merge import arguments, clean
from inception.engine.mounts import device_requests, mount_body
from inception.engine.pools import pools_of
from inception.engine.spec import security_options
from inception.engine.surroundings import hostname
from inception.errors import InvalidArgument, NotFound
from inception.network.address import parse_subnet
from inception.record import encode
from inception.runtime import defaults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.engine.config import ContainerState, EndpointConfig, EndpointState, MountConfig, PortBinding
    from inception.engine.engine import Engine
    from inception.engine.networks import Network
    from inception.engine.records import ContainerRecord, MountPoint
    from inception.oci.image import ImageConfig
    from inception.store.images import Image


def inspect(engine: Engine, record: ContainerRecord, *, size: bool = False) -> dict[str, Any]:
    """A container as `docker inspect` shows it."""
    config, state = record.config, record.state
    args = arguments(config)
    folder = engine.run_dir(record.id)
    shared = network_mode(config).startswith("container:")
    document: dict[str, Any] = {
        "Id": record.id,
        "Created": record.created_at,
        "Path": args[0] if args else "",
        "Args": args[1:],
        "State": _state(state),
        "Image": record.image_id,
        "ResolvConfPath": "" if shared else f"{folder}/resolv.conf",
        "HostnamePath": "" if shared else f"{folder}/hostname",
        "HostsPath": "" if shared else f"{folder}/hosts",
        "LogPath": log_path(engine, record.id) if config.log.driver == "json-file" else "",
        "Name": f"/{record.name}",
        "RestartCount": state.restart_count,
        "Driver": engine.store.snapshots.driver,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": security_options(config).get("apparmor", ""),
        "ExecIDs": None,
        "HostConfig": _host_config(record),
        "GraphDriver": {"Name": engine.store.snapshots.driver, "Data": _layers(engine, record)},
        "Mounts": mounts(engine, record),
        "Config": _config(engine, record),
        "NetworkSettings": _network_settings(engine, record),
    }
    if size:
        document["SizeRw"], document["SizeRootFs"] = size_of(engine, record)
    return document


def _state(state: ContainerState) -> dict[str, Any]:
    running = state.status in RUNNING
    document: dict[str, Any] = {
        "Status": state.status,
        "Running": running,
        "Paused": state.status == "paused",
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": state.status == "dead",
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": state.started_at,
        "FinishedAt": state.finished_at,
    }
    if state.health.status != "none":
        health = state.health
        document["Health"] = {"Status": health.status, "FailingStreak": health.failing_streak, "Log": health.log}
    return document


def _config(engine: Engine, record: ContainerRecord) -> dict[str, Any]:
    config = record.config
    document: dict[str, Any] = {
        "Hostname": hostname(engine, record) if network_mode(config) != "host" else config.hostname,
        "Domainname": config.domainname,
        "User": config.user,
        "AttachStdin": "stdin" in config.attached,
        "AttachStdout": "stdout" in config.attached,
        "AttachStderr": "stderr" in config.attached,
        "ExposedPorts": {port: {} for port in config.exposed_ports},
        "Tty": config.tty,
        "OpenStdin": config.open_stdin,
        "StdinOnce": config.stdin_once,
        "Env": config.env,
        "Cmd": config.command or None,
        "Image": config.image,
        "Volumes": {point.destination: {} for point in record.mounts if point.anonymous} or None,
        "WorkingDir": config.working_dir,
        "Entrypoint": config.entrypoint or None,
        "OnBuild": None,
        "Labels": config.labels,
    }
    if config.stop_signal:
        document["StopSignal"] = config.stop_signal
    if config.stop_timeout_s is not None:
        document["StopTimeout"] = config.stop_timeout_s
    if config.healthcheck is not None:
        document["Healthcheck"] = encode(config.healthcheck)
    return document


def _host_config(record: ContainerRecord) -> dict[str, Any]:
    config, limits = record.config, record.config.resources
    options = security_options(config)
    long = {clean(mount.target): mount for mount in config.mounts if _is_long(mount)}
    unconfined = config.privileged or options.get("systempaths") == "unconfined"
    return {
        "Binds": [_bind_text(point) for point in record.mounts if _is_bind(point, long)] or None,
        "ContainerIDFile": "",
        "LogConfig": {
            "Type": config.log.driver,
            "Config": config.log.options,
        },
        "NetworkMode": network_mode(config),
        "PortBindings": _port_map(config.ports, asked=True),
        "RestartPolicy": {"Name": config.restart.name or "no", "MaximumRetryCount": config.restart.maximum_retries},
        "AutoRemove": config.auto_remove,
        "VolumeDriver": config.volume_driver,
        "VolumesFrom": config.volumes_from or None,
        "ConsoleSize": [0, 0],
        "CapAdd": config.cap_add or None,
        "CapDrop": config.cap_drop or None,
        "CgroupnsMode": config.cgroupns_mode or "private",
        "Dns": config.dns,
        "DnsOptions": config.dns_options,
        "DnsSearch": config.dns_search,
        "ExtraHosts": config.extra_hosts or None,
        "GroupAdd": config.group_add or None,
        "IpcMode": config.ipc_mode or "private",
        "Cgroup": "",
        "Links": _links(record),
        "OomScoreAdj": limits.oom_score_adj,
        "PidMode": config.pid_mode,
        "Privileged": config.privileged,
        "PublishAllPorts": config.publish_all,
        "ReadonlyRootfs": config.read_only,
        "SecurityOpt": config.security_opt or None,
        "Tmpfs": {mount.target: _tmpfs_text(mount) for mount in config.mounts if mount.type == "tmpfs" and mount.short} or None,
        **({"Mounts": [mount_body(mount) for mount in long.values()]} if long else {}),
        "UTSMode": config.uts_mode,
        "UsernsMode": config.userns_mode,
        "ShmSize": limits.shm_size_bytes,
        "Sysctls": config.sysctls or None,
        "Runtime": config.runtime or "inception",
        "Isolation": config.isolation,
        **{document: getattr(limits, field) for field, _flag, document in LIMITS},
        "CgroupParent": config.cgroup_parent or PARENT,
        **{
            document: [{"Path": limit.path, name: limit.value} for limit in getattr(limits, field)]
            for field, _flag, document, name in DEVICE_LIMITS
        },
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "Devices": [
            {"PathOnHost": device.host_path, "PathInContainer": device.container_path, "CgroupPermissions": device.permissions}
            for device in limits.devices
        ],
        "DeviceCgroupRules": limits.device_cgroup_rules or None,
        "DeviceRequests": device_requests(limits) or None,
        "MemorySwap": limits.memory_swap_bytes or 2 * limits.memory_bytes,
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "PidsLimit": limits.pids_limit or None,
        "Ulimits": [{"Name": limit.name, "Hard": limit.hard, "Soft": limit.soft} for limit in limits.ulimits],
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "Init": config.init,
        **({"Annotations": config.annotations} if config.annotations else {}),
        "MaskedPaths": [] if unconfined else _or_default(config.masked_paths, defaults.MASKED_PATHS),
        "ReadonlyPaths": [] if unconfined else _or_default(config.readonly_paths, defaults.READONLY_PATHS),
    }


def _or_default(own: list[str] | None, default: Any) -> list[str]:
    return list(default if own is None else own)


def _links(record: ContainerRecord) -> list[str] | None:
    if not record.config.links:
        return None
    from inception.engine.links import texts

    return texts(record)


def _tmpfs_text(mount: MountConfig) -> str:
    """The options of a tmpfs as they were given."""
    size = [f"size={mount.tmpfs_size_bytes}"] if mount.tmpfs_size_bytes else []
    mode = [f"mode={mount.tmpfs_mode:o}"] if mount.tmpfs_mode != 0o1777 else []
    return ",".join([*(["ro"] if mount.read_only else []), *mount.tmpfs_options, *size, *mode])


def _is_long(mount: MountConfig) -> bool:
    """One of `--mount`, as far as it can be told: of an anonymous volume nobody can."""
    return not mount.short and not mount.create_host_path and bool(mount.source or mount.type == "tmpfs" or mount.labels)


def _is_bind(point: MountPoint, long: dict[str, MountConfig]) -> bool:
    return point.type in ("bind", "volume") and not point.anonymous and point.destination not in long


def _bind_text(point: MountPoint) -> str:
    options = [*(["ro"] if point.read_only else []), *([point.propagation] if point.propagation else [])]
    return ":".join([point.source, point.destination, *([",".join(options)] if options else [])])


def _layers(engine: Engine, record: ContainerRecord) -> dict[str, str]:
    if engine.store.snapshots.driver != "overlay2":
        return {}
    options = dict(option.partition("=")[::2] for option in engine.store.snapshots.mount(record.id).options)
    return {
        "LowerDir": options.get("lowerdir", ""),
        "MergedDir": "",  # mounted in the container's own mount namespace only
        "UpperDir": options.get("upperdir", ""),
        "WorkDir": options.get("workdir", ""),
    }


def mounts(engine: Engine, record: ContainerRecord) -> list[dict[str, Any]]:
    """The `Mounts` of a container."""
    found: list[dict[str, Any]] = []
    asked = {clean(mount.target): mount for mount in record.config.mounts}
    for point in record.mounts:
        mount = asked.get(point.destination)
        if point.type == "tmpfs" and mount is not None and mount.short:
            continue
        document: dict[str, Any] = {"Type": point.type}
        if point.type == "volume":
            document["Name"] = point.source
            document["Source"] = f"{engine.root}/volumes/{point.source}/_data"
        elif point.type == "image":
            document["Name"] = point.source
            document["Source"] = engine.store.snapshots.path(point.snapshot)
        else:
            document["Source"] = point.source
        document["Destination"] = point.destination
        if point.type == "volume":
            document["Driver"] = "local"
        document["Mode"] = _mode(point, mount)
        document["RW"] = not point.read_only
        document["Propagation"] = point.propagation or ("rprivate" if point.type == "bind" else "")
        found.append(document)
    return found


def _mode(point: MountPoint, mount: MountConfig | None) -> str:
    """What Docker calls so: the words of `-v`, without any `z` for a volume with a name, as for every one of `--mount`."""
    if mount is None:  # of another container (--volumes-from)
        return ""
    volume = point.type == "volume"
    if not mount.short:
        return "z" if volume else ""
    words = [*(["ro"] if point.read_only else []), *(["nocopy"] if mount.no_copy else []), *filter(None, [mount.propagation])]
    return ",".join(words) or ("z" if volume and not mount.anonymous else "")


def _network_settings(engine: Engine, record: ContainerRecord) -> dict[str, Any]:
    config, state = record.config, record.state
    default = state.endpoints.get("bridge")
    networks = {
        name: _endpoint(engine, record, name, endpoint, state.endpoints.get(name))
        for name, endpoint in wanted_networks(config).items()
    }
    mode = network_mode(config)
    if mode in ("host", "none"):
        networks[mode] = {**_EMPTY_ENDPOINT, "NetworkID": engine.networks.get(mode).id}
    running = state.status in RUNNING
    return {
        "Bridge": "",
        "SandboxID": record.id if running else "",
        "SandboxKey": f"/proc/{state.pid}/ns/net" if state.pid else "",
        "Ports": _port_map(state.ports, exposed=config.exposed_ports) if running else {},
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": default.endpoint_id if default else "",
        "Gateway": default.gateway if default else "",
        "GlobalIPv6Address": default.ipv6_address if default else "",
        "GlobalIPv6PrefixLen": default.ipv6_prefix_length if default else 0,
        "IPAddress": default.ipv4_address if default else "",
        "IPPrefixLen": default.prefix_length if default else 0,
        "IPv6Gateway": default.ipv6_gateway if default else "",
        "MacAddress": default.mac_address if default else "",
        "Networks": networks,
    }


_EMPTY_ENDPOINT: dict[str, Any] = {
    "IPAMConfig": None,
    "Links": None,
    "Aliases": None,
    "MacAddress": "",
    "DriverOpts": None,
    "NetworkID": "",
    "EndpointID": "",
    "Gateway": "",
    "IPAddress": "",
    "IPPrefixLen": 0,
    "IPv6Gateway": "",
    "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0,
    "DNSNames": None,
}


def _endpoint(
    engine: Engine, record: ContainerRecord, name: str, config: EndpointConfig, state: EndpointState | None
) -> dict[str, Any]:
    document = dict(_EMPTY_ENDPOINT)
    document["IPAMConfig"] = config.asked_addresses or None
    document["MacAddress"] = config.mac_address
    document["DriverOpts"] = config.driver_options or None
    document["GwPriority"] = config.gateway_priority
    document["Aliases"] = config.aliases or None
    document["Links"] = config.links or None
    if name != "bridge":
        document["DNSNames"] = list(dict.fromkeys([record.name, *config.aliases, record.id[:12]]))
    try:
        document["NetworkID"] = engine.networks.get(name).id
    except NotFound:
        pass  # removed while the container was stopped
    if state is not None:
        document.update(
            MacAddress=state.mac_address,
            EndpointID=state.endpoint_id,
            Gateway=state.gateway,
            IPAddress=state.ipv4_address,
            IPPrefixLen=state.prefix_length,
            IPv6Gateway=state.ipv6_gateway,
            GlobalIPv6Address=state.ipv6_address,
            GlobalIPv6PrefixLen=state.ipv6_prefix_length,
        )
    return document


def _port_map(ports: list[PortBinding], *, exposed: list[str] | None = None, asked: bool = False) -> dict[str, Any]:
    """`80/tcp` -> where it is reachable. What listens on all addresses does so for IPv4 and IPv6."""
    found: dict[str, Any] = dict.fromkeys(exposed or [])
    for port in ports:
        key = f"{port.container_port}/{port.protocol}"
        number = str(port.host_port) if port.host_port or not asked else ""
        if asked and port.host_port_end:
            number = f"{port.host_port}-{port.host_port_end}"
        addresses = [port.host_ip] if asked else port.addresses
        found[key] = [*(found.get(key) or []), *({"HostIp": address, "HostPort": number} for address in addresses)]
    return found


def port(record: ContainerRecord, container_port: str) -> list[PortBinding]:
    """Where a container's ports are reachable. Raises NotFound."""
    if not container_port:
        return record.state.ports
    number, _, protocol = container_port.partition("/")
    protocol = protocol or "tcp"
    if not number.isdecimal():
        raise InvalidArgument(f"invalid port ({container_port})")
    found = [
        binding for binding in record.state.ports if str(binding.container_port) == number and binding.protocol == protocol
    ]
    if not found:
        raise NotFound(f"No public port '{number}/{protocol}' published for {record.name}")
    return found


def size_of(engine: Engine, record: ContainerRecord) -> tuple[int, int]:
    """Bytes in the writable layer, and those plus the image's."""
    own = engine.store.snapshots.usage(record.id)
    try:
        return own, own + engine.images.get(record.image_id).size_bytes
    except NotFound:
        return own, own


def tree_bytes(path: str) -> int:
    """Bytes of all files beneath a folder of ours, each counted once; links are not followed."""
    from inception.store.layers import tree_size

    return tree_size(path) if os.path.isdir(path) else 0


# Images and networks


def inspect_image(engine: Engine, image: Image) -> dict[str, Any]:
    """An image as `docker image inspect` shows it."""
    document = image.document
    layers = [engine.store.layers.path(number) for number in reversed(image.layer_ids)]
    data = {"UpperDir": layers[0] if layers else "", **({"LowerDir": ":".join(layers[1:])} if len(layers) > 1 else {})}
    return {
        "Id": image.id,
        "RepoTags": image.names,
        "RepoDigests": image.repo_digests,
        "Parent": image.parent,
        "Comment": document.history[-1].comment if document.history else "",
        "Created": image.created,
        "DockerVersion": "",
        "Author": document.author,
        "Config": _image_config(document.config),
        "Architecture": document.architecture,
        **({"Variant": document.variant} if document.variant else {}),
        "Os": document.os,
        "Size": image.size_bytes,
        "VirtualSize": image.size_bytes,
        "GraphDriver": {"Name": engine.store.snapshots.driver, "Data": data},
        "RootFS": {"Type": "layers", "Layers": document.rootfs.diff_ids},
        "Metadata": {"LastTagTime": engine.store.images.named_at(image.id) or "0001-01-01T00:00:00Z"},
    }


def _image_config(config: ImageConfig) -> dict[str, Any]:
    document: dict[str, Any] = {
        "Hostname": "",
        "Domainname": "",
        "User": config.user,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        **({"ExposedPorts": config.exposed_ports} if config.exposed_ports else {}),
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "Env": config.env,
        "Cmd": config.cmd,
        "Image": "",
        "Volumes": config.volumes or None,
        "WorkingDir": config.working_dir,
        "Entrypoint": config.entrypoint,
        "OnBuild": config.on_build or None,
        "Labels": config.labels or None,
    }
    if config.healthcheck is not None:
        document["Healthcheck"] = encode(config.healthcheck)
    if config.stop_signal:
        document["StopSignal"] = config.stop_signal
    if config.shell:
        document["Shell"] = config.shell
    return document


def inspect_network(engine: Engine, network: Network) -> dict[str, Any]:
    """A network as `docker network inspect` shows it, with the containers that are in it now."""
    config = network.config
    query = """SELECT container_id, name, endpoint_id, mac, address, address6 FROM endpoints
               JOIN containers ON id = container_id WHERE network_id = ?"""
    rows = engine.database.rows(query, (network.id,))
    prefix = parse_subnet(network.subnet).prefix if network.subnet else 0
    prefix6 = parse_subnet(network.subnet6).prefix if network.subnet6 else 0
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": network.created_at,
        "Scope": "local",
        "Driver": config.driver,
        "EnableIPv4": config.ipv4,
        "EnableIPv6": config.ipv6,
        "IPAM": {
            "Driver": "default",
            "Options": None,
            "Config": pools_of(config, network.subnet, network.gateway, network.subnet6, network.gateway6),
        },
        "Internal": config.internal,
        "Attachable": config.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {
            row[0]: {
                "Name": row[1],
                "EndpointID": row[2],
                "MacAddress": row[3],
                "IPv4Address": f"{row[4]}/{prefix}" if prefix else "",
                "IPv6Address": f"{row[5]}/{prefix6}" if row[5] else "",
            }
            for row in rows
        },
        "Options": _network_options(network),
        "Labels": config.labels,
    }


def _network_options(network: Network) -> dict[str, str]:
    config = network.config
    if config.driver != "bridge":
        return {}
    shown = {"com.docker.network.bridge.name": network.bridge, **config.options}
    if config.mtu:
        shown["com.docker.network.driver.mtu"] = str(config.mtu)
    return shown
