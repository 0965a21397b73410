"""Docker's documents as our records: the bodies of create, update and connect.

Every field of the specification is here: translated, or refused by name when a client sets it to something. What says nothing
on Linux without SELinux (`ConsoleSize`, `ArgsEscaped`, Windows' `Isolation: default`) is read past, as Docker does.
"""

from __future__ import annotations

from inception.api.fields import Fields
from inception.api.mounts import mounts_of
from inception.engine.config import (
    INTERFACE_NAME,
    ContainerConfig,
    DeviceConfig,
    DeviceLimit,
    DeviceRequest,
    EndpointConfig,
    LogConfig,
    PortBinding,
    ResourceConfig,
    RestartPolicy,
    Ulimit,
    UpdateConfig,
)
from inception.engine.limits import DEVICE_LIMITS, LIMITS, TEXTS
from inception.errors import InvalidArgument
from inception.network.ports import parse_expose
from inception.oci.health import Healthcheck
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NO_PER_DEVICE = "limits of single devices can't be changed"


def container_config(body: Fields, *, name: str = "", platform: str = "") -> ContainerConfig:
    """The body of `POST /containers/create`."""
    host = body.object("HostConfig")
    _check_supported(host)
    mode, networks = _networks(body, host)
    mac = body.text("MacAddress")
    if mac and mode in networks and not networks[mode].mac_address:
        networks[mode] = replace(networks[mode], mac_address=mac)
    elif mac and not networks:
        networks[mode] = EndpointConfig(mac_address=mac)
    links = host.strings("Links")
    if links and mode != "bridge":  # then they are aliases in that network
        endpoint = networks.get(mode, EndpointConfig())
        networks[mode] = replace(endpoint, links=list(dict.fromkeys([*endpoint.links, *links])))
    return ContainerConfig(
        image=body.text("Image"),
        name=name,
        command=body.strings("Cmd") or None,
        entrypoint=body.optional_strings("Entrypoint"),
        env=body.strings("Env"),
        user=body.text("User"),
        working_dir=body.text("WorkingDir"),
        hostname=body.text("Hostname"),
        domainname=body.text("Domainname"),
        labels=body.texts("Labels"),
        tty=body.flag("Tty"),
        open_stdin=body.flag("OpenStdin"),
        stdin_once=body.flag("StdinOnce"),
        attached=[stream for stream in ("stdin", "stdout", "stderr") if body.flag(f"Attach{stream.capitalize()}")],
        stop_signal=body.text("StopSignal"),
        stop_timeout_s=body.optional_number("StopTimeout"),
        healthcheck=healthcheck(body),
        mounts=mounts_of(body, host),
        volumes_from=host.strings("VolumesFrom"),
        network_mode=mode,
        networks=networks,
        ports=_ports(host),
        exposed_ports=[port for text in body.keys("ExposedPorts") for port in parse_expose(text)],
        publish_all=host.flag("PublishAllPorts"),
        restart=restart_policy(host.object("RestartPolicy")),
        resources=resource_config(host),
        cap_add=host.strings("CapAdd"),
        cap_drop=host.strings("CapDrop"),
        security_opt=host.strings("SecurityOpt"),
        privileged=host.flag("Privileged"),
        read_only=host.flag("ReadonlyRootfs"),
        init=host.flag("Init"),
        pid_mode=host.text("PidMode"),
        ipc_mode=host.text("IpcMode"),
        uts_mode=host.text("UTSMode"),
        cgroupns_mode=host.text("CgroupnsMode"),
        userns_mode=host.text("UsernsMode"),
        cgroup_parent=host.text("CgroupParent"),
        extra_hosts=host.strings("ExtraHosts"),
        dns=host.strings("Dns"),
        dns_search=host.strings("DnsSearch"),
        dns_options=host.strings("DnsOptions"),
        sysctls=host.texts("Sysctls"),
        group_add=host.strings("GroupAdd"),
        masked_paths=host.optional_strings("MaskedPaths"),
        readonly_paths=host.optional_strings("ReadonlyPaths"),
        auto_remove=host.flag("AutoRemove"),
        log=_log(host.object("LogConfig")),
        platform=platform,
        runtime=host.text("Runtime"),
        links=links if mode == "bridge" else [],
        isolation=host.text("Isolation"),
        volume_driver=host.text("VolumeDriver"),
        annotations=host.texts("Annotations"),
    )


def _check_supported(host: Fields) -> None:
    host.refuse(
        Cgroup="a container can't share another's cgroup",
        CpuCount="it is for Windows",
        CpuPercent="it is for Windows",
        CpuRealtimePeriod="realtime scheduling is not supported",
        CpuRealtimeRuntime="realtime scheduling is not supported",
        IOMaximumBandwidth="it is for Windows",
        IOMaximumIOps="it is for Windows",
        KernelMemoryTCP="the kernel has dropped this limit",
        StorageOpt="the size of a container's layer can't be limited",
    )
    if host.text("Isolation") not in ("", "default"):
        raise InvalidArgument(f"invalid isolation {host.text('Isolation')!r}: it is for Windows")


def healthcheck(body: Fields) -> Healthcheck | None:
    if body.get("Healthcheck") is None:
        return None
    check = body.object("Healthcheck")
    return Healthcheck(
        test=check.strings("Test"),
        interval=check.number("Interval"),
        timeout=check.number("Timeout"),
        start_period=check.number("StartPeriod"),
        start_interval=check.number("StartInterval"),
        retries=check.number("Retries"),
    )


def restart_policy(policy: Fields) -> RestartPolicy:
    return RestartPolicy(name=policy.text("Name") or "no", maximum_retries=policy.number("MaximumRetryCount"))


def _log(log: Fields) -> LogConfig:
    return LogConfig(driver=log.text("Type") or "json-file", options=log.texts("Config"))


def resource_config(host: Fields) -> ResourceConfig:
    swappiness = host.optional_number("MemorySwappiness")
    limits = _limits(host)
    limits["pids_limit"] = max(0, limits["pids_limit"])
    for field, _flag, document, value in DEVICE_LIMITS:
        limits[field] = [DeviceLimit(path=each.text("Path"), value=each.number(value)) for each in host.objects(document)]
    return ResourceConfig(
        **limits,
        memory_swappiness=None if swappiness == -1 else swappiness,
        oom_kill_disable=host.flag("OomKillDisable"),
        oom_score_adj=host.number("OomScoreAdj"),
        shm_size_bytes=host.number("ShmSize") or 64 << 20,
        ulimits=[
            Ulimit(name=limit.text("Name"), soft=limit.number("Soft"), hard=limit.number("Hard"))
            for limit in host.objects("Ulimits")
        ],
        devices=[
            DeviceConfig(
                host_path=device.text("PathOnHost"),
                container_path=device.text("PathInContainer") or device.text("PathOnHost"),
                permissions=device.text("CgroupPermissions") or "rwm",
            )
            for device in host.objects("Devices")
        ],
        cdi_devices=[name for each in host.objects("DeviceRequests") if _is_cdi(each) for name in each.strings("DeviceIDs")],
        device_requests=[_device_request(each) for each in host.objects("DeviceRequests") if not _is_cdi(each)],
        device_cgroup_rules=host.strings("DeviceCgroupRules"),
    )


def _is_cdi(request: Fields) -> bool:
    return request.text("Driver") == "cdi"


def _device_request(request: Fields) -> DeviceRequest:
    groups = request.get("Capabilities") or []
    if not isinstance(groups, list) or not all(isinstance(group, list) for group in groups):
        raise InvalidArgument(f"{request.where}.Capabilities: expected lists of texts")
    return DeviceRequest(
        driver=request.text("Driver"),
        count=request.number("Count"),
        device_ids=request.strings("DeviceIDs"),
        capabilities=[[str(word) for word in group] for group in groups],
        options=request.texts("Options"),
    )


def _limits(host: Fields) -> dict[str, Any]:
    return {field: (host.text if field in TEXTS else host.number)(document) for field, _flag, document in LIMITS}


def update_config(body: Fields) -> UpdateConfig:
    """The body of `POST /containers/ID/update`: a zero means that it stays."""
    body.refuse(
        BlkioWeightDevice=_NO_PER_DEVICE,
        BlkioDeviceReadBps=_NO_PER_DEVICE,
        BlkioDeviceWriteBps=_NO_PER_DEVICE,
        BlkioDeviceReadIOps=_NO_PER_DEVICE,
        BlkioDeviceWriteIOps=_NO_PER_DEVICE,
        CpuRealtimePeriod="realtime scheduling is not supported",
        CpuRealtimeRuntime="realtime scheduling is not supported",
        Devices="devices of a container can't be changed",
        Ulimits="ulimits of a container can't be changed",
    )
    policy = body.object("RestartPolicy")
    limits = {field: value or None for field, value in _limits(body).items()}
    limits["pids_limit"] = body.optional_number("PidsLimit")
    return UpdateConfig(
        **limits,
        restart=restart_policy(policy) if policy.text("Name") else None,
    )


# Networks and ports


def _networks(body: Fields, host: Fields) -> tuple[str, dict[str, EndpointConfig]]:
    """The network mode and the endpoints by network. Endpoints given without a mode are all the networks there are."""
    mode = _name(host.text("NetworkMode"))
    if body.flag("NetworkDisabled"):
        mode = "none"
    given = body.object("NetworkingConfig").object("EndpointsConfig")
    networks = {_name(name): endpoint_config(given.object(name)) for name in given.value}
    if networks and mode == "bridge" and "bridge" not in networks:
        mode = next(iter(networks))
    if mode in ("host", "none") or mode.startswith("container:"):
        networks = {name: endpoint for name, endpoint in networks.items() if name != mode}
    return mode, networks


def _name(network: str) -> str:
    return "bridge" if network in ("", "default") else network


def endpoint_config(endpoint: Fields) -> EndpointConfig:
    """One `EndpointSettings`."""
    options = endpoint.texts("DriverOpts")
    for key in options:  # a driver's options are labels to Docker: those that it knows do something, others are only kept
        if key.startswith("com.docker.network.") and key != INTERFACE_NAME:
            raise InvalidArgument(f"{endpoint.place('DriverOpts')}: {key} is not supported")
    address = endpoint.object("IPAMConfig")
    return EndpointConfig(
        aliases=endpoint.strings("Aliases"),
        ipv4_address=address.text("IPv4Address"),
        ipv6_address=address.text("IPv6Address"),
        mac_address=endpoint.text("MacAddress"),
        links=endpoint.strings("Links"),
        driver_options=options,
        gateway_priority=endpoint.number("GwPriority"),
        interface_name=options.get(INTERFACE_NAME, ""),
        link_local_addresses=address.strings("LinkLocalIPs"),
    )


def _ports(host: Fields) -> list[PortBinding]:
    found = []
    bindings = host.object("PortBindings")
    for key in bindings.value:
        (port,) = parse_expose(key)
        number, _, protocol = port.partition("/")
        for binding in bindings.objects(key):
            first, _, last = binding.text("HostPort").partition("-")
            found.append(
                PortBinding(
                    container_port=int(number),
                    protocol=protocol,
                    host_ip=binding.text("HostIp"),
                    host_port=_port_number(first),
                    host_port_end=_port_number(last) if last and last != first else 0,
                )
            )
    return found


def _port_number(text: str) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise InvalidArgument(f"invalid port specification: {text!r}")
    return int(text)
