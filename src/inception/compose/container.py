"""A service as the engine's `ContainerConfig`. Pure: what depends on the moment comes in as arguments."""

from __future__ import annotations

from inception.compose import labels
from inception.compose.hashing import service_hash
from inception.compose.values import file_mode, size_bytes
from inception.engine.config import (
    INTERFACE_NAME,
    ContainerConfig,
    DeviceConfig,
    DeviceLimit,
    DeviceRequest,
    EndpointConfig,
    LogConfig,
    MountConfig,
    PortBinding,
    ResourceConfig,
    RestartPolicy,
    Ulimit,
)
from inception.errors import InvalidArgument
from inception.oci.health import Healthcheck

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.compose.model import DeviceRate, Mount, Port, Project, Service
    from inception.compose.model import DeviceRequest as ModelRequest

_SHM_BYTES = 64 << 20


def container_name(project: Project, service: Service, number: int) -> str:
    """`container_name`, or `PROJECT-SERVICE-NUMBER`."""
    return service.container_name or f"{project.name}-{service.name}-{number}"


def image_name(project: Project, service: Service) -> str:
    """`image`, or what a build is tagged as when there is none: `PROJECT-SERVICE`."""
    return service.image or f"{project.name}-{service.name}"


def container_config(
    project: Project,
    service: Service,
    number: int,
    *,
    name: str,
    image_id: str = "",
    inherited: dict[str, str] | None = None,
    container_of: Callable[[str], str] = lambda service: service,
) -> ContainerConfig:
    """What the engine is asked for.

    *inherited* are the anonymous volumes of the container that this one replaces, by target; *container_of* gives the
    container whose namespace or volumes a `service:x` shares.
    """
    return ContainerConfig(
        image=image_name(project, service),
        name=name,
        command=service.command,
        entrypoint=service.entrypoint,
        env=[f"{key}={value}" for key, value in service.environment.items()],
        user=service.user,
        working_dir=service.working_dir,
        hostname=service.hostname,
        domainname=service.domainname,
        labels={**service.labels, **container_labels(project, service, number, image_id)},
        tty=service.tty,
        open_stdin=service.stdin_open,
        attached=["stdout", "stderr"],
        stop_signal=service.stop_signal,
        stop_timeout_s=None if service.stop_grace_period_ns is None else -(-service.stop_grace_period_ns // 10**9),
        healthcheck=_healthcheck(service),
        mounts=_mounts(project, service, inherited or {}),
        volumes_from=[_shared_volumes(entry, container_of) for entry in service.volumes_from],
        network_mode=_network_mode(project, service, container_of),
        networks=_endpoints(project, service, name),
        ports=[_port(port) for port in service.ports],
        exposed_ports=[each for text in service.expose for each in _exposed(text)],
        restart=_restart(service),
        resources=_resources(service),
        cap_add=service.cap_add,
        cap_drop=service.cap_drop,
        security_opt=service.security_opt,
        privileged=service.privileged,
        read_only=service.read_only,
        init=service.init,
        pid_mode=_shared(service.pid, container_of),
        ipc_mode=_shared(service.ipc, container_of),
        uts_mode=_shared(service.uts, container_of),
        cgroupns_mode=service.cgroup,
        userns_mode=service.userns_mode,
        cgroup_parent=service.cgroup_parent,
        extra_hosts=[text.replace("=", ":", 1) for text in service.extra_hosts],
        dns=service.dns,
        dns_search=service.dns_search,
        dns_options=service.dns_opt,
        sysctls=service.sysctls,
        group_add=service.group_add,
        log=LogConfig(driver=service.logging.driver or "json-file", options=service.logging.options),
        platform=service.platform,
        runtime=service.runtime,
        annotations=service.annotations,
    )


def container_labels(project: Project, service: Service, number: int, image_id: str) -> dict[str, str]:
    """What marks a container as this service's."""
    from inception import __version__

    depends_on = ",".join(
        f"{name}:{each.condition}:{str(each.restart).lower()}" for name, each in sorted(service.depends_on.items())
    )
    return {
        labels.PROJECT: project.name,
        labels.SERVICE: service.name,
        labels.NUMBER: str(number),
        labels.ONEOFF: "False",
        labels.CONFIG_HASH: service_hash(project, service),
        labels.IMAGE: image_id,
        labels.DEPENDS_ON: depends_on,
        labels.WORKING_DIR: project.directory,
        labels.CONFIG_FILES: ",".join(project.files),
        labels.VERSION: __version__,
    }


def _healthcheck(service: Service) -> Healthcheck | None:
    check = service.healthcheck
    if check is None:
        return None
    if check.disable:
        return Healthcheck(test=["NONE"])
    return Healthcheck(
        test=check.test,
        interval=check.interval_ns,
        timeout=check.timeout_ns,
        start_period=check.start_period_ns,
        start_interval=check.start_interval_ns,
        retries=check.retries,
    )


# ---- files --------------------------------------------------------------------------------------------------------------


def _mounts(project: Project, service: Service, inherited: dict[str, str]) -> list[MountConfig]:
    mounts = [_mount(project, mount, inherited) for mount in service.volumes]
    mounts += [_tmpfs(text) for text in service.tmpfs]
    taken = {mount.target for mount in mounts}
    # What the image declares as volumes: the engine would make new ones, the old container's go on instead.
    mounts += [
        MountConfig(type="volume", source=source, target=target) for target, source in inherited.items() if target not in taken
    ]
    return mounts


def _mount(project: Project, mount: Mount, inherited: dict[str, str]) -> MountConfig:
    if mount.type == "tmpfs":
        return MountConfig(
            type="tmpfs",
            target=mount.target,
            read_only=mount.read_only,
            tmpfs_size_bytes=mount.tmpfs.size,
            tmpfs_mode=mount.tmpfs.mode,
        )
    if mount.type == "image":
        return MountConfig(type="image", source=mount.source, target=mount.target, subpath=mount.image.subpath)
    if mount.type == "bind":
        return MountConfig(
            type="bind",
            source=mount.source,
            target=mount.target,
            read_only=mount.read_only,
            propagation=mount.bind.propagation,
            create_host_path=mount.bind.create_host_path,
            non_recursive=mount.bind.recursive == "disabled",
            recursive_read_only=mount.bind.recursive != "writable",
            force_recursive_read_only=mount.bind.recursive == "readonly",
        )
    return MountConfig(
        type="volume",
        source=project.volumes[mount.source].name if mount.source else inherited.get(mount.target, ""),
        target=mount.target,
        read_only=mount.read_only,
        no_copy=mount.volume.nocopy,
        subpath=mount.volume.subpath,
        labels=mount.volume.labels,
        short=bool(mount.source and not mount.volume.subpath and not mount.volume.labels),  # so Docker Compose says it
    )


def _tmpfs(text: str) -> MountConfig:
    """`PATH[:OPTIONS]`, the options as mount(8) takes them."""
    target, _, options = text.partition(":")
    size, mode, rest = 0, 0o1777, []
    for word in options.split(",") if options else ():
        key, _, value = word.partition("=")
        try:
            if key == "size" and not value.endswith("%"):
                size = size_bytes(value)
            elif key == "mode":
                mode = file_mode(value)
            else:
                rest.append(word)
        except ValueError as error:
            raise InvalidArgument(f"tmpfs {text}: {error}") from None
    return MountConfig(type="tmpfs", target=target, tmpfs_size_bytes=size, tmpfs_mode=mode, tmpfs_options=rest, short=True)


# ---- namespaces and networks --------------------------------------------------------------------------------------------


def _shared(mode: str, container_of: Callable[[str], str]) -> str:
    """`service:x` as the `container:ID` that it is now."""
    return f"container:{container_of(mode[8:])}" if mode.startswith("service:") else mode


def _shared_volumes(entry: str, container_of: Callable[[str], str]) -> str:
    if entry.startswith("container:"):
        return entry[len("container:") :]
    service, colon, mode = entry.partition(":")
    return container_of(service) + colon + mode


def _network_mode(project: Project, service: Service, container_of: Callable[[str], str]) -> str:
    if service.network_mode:
        return _shared(service.network_mode, container_of)
    return project.networks[ordered_networks(service)[0]].name


def ordered_networks(service: Service) -> list[str]:
    """The keys of its networks, the one with the highest priority first."""
    return sorted(service.networks, key=lambda key: (-service.networks[key].priority, key))


def _endpoints(project: Project, service: Service, name: str) -> dict[str, EndpointConfig]:
    found: dict[str, EndpointConfig] = {}
    # A name that only this service knows, for a name that the network knows.
    links = [link for link in (*service.links, *service.external_links) if ":" in link]
    for index, key in enumerate(ordered_networks(service)):
        own = service.networks[key]
        found[project.networks[key].name] = EndpointConfig(
            aliases=list(dict.fromkeys([name, service.name, *own.aliases])),
            ipv4_address=own.ipv4_address,
            ipv6_address=own.ipv6_address,
            link_local_addresses=own.link_local_ips,
            gateway_priority=own.gw_priority,
            driver_options=own.driver_opts,
            interface_name=own.interface_name or _interface(service, key, own.driver_opts),
            mac_address=own.mac_address or (service.mac_address if index == 0 else ""),
            links=links,
        )
    return found


def _interface(service: Service, key: str, options: dict[str, str]) -> str:
    for option in options:
        if option != INTERFACE_NAME:
            raise InvalidArgument(f"services.{service.name}.networks.{key}.driver_opts: {option} is not supported")
    return options.get(INTERFACE_NAME, "")


def _port(port: Port) -> PortBinding:
    first, _, last = port.published.partition("-")
    return PortBinding(
        container_port=port.target,
        protocol=port.protocol,
        host_ip=port.host_ip,
        host_port=int(first or 0),
        host_port_end=int(last or 0),
    )


def _exposed(text: str) -> list[str]:
    ports, _, protocol = text.partition("/")
    first, dash, last = ports.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise InvalidArgument(f"invalid containerPort: {text}")
    return [f"{port}/{protocol or 'tcp'}" for port in range(int(first), int(last or first) + 1)]


# ---- life and limits ----------------------------------------------------------------------------------------------------


def _restart(service: Service) -> RestartPolicy:
    policy = service.deploy.restart_policy
    if service.restart:
        name, _, retries = service.restart.partition(":")
        if retries and not retries.isdecimal():
            raise InvalidArgument(f"services.{service.name}.restart: invalid maximum retry count in {service.restart!r}")
        return RestartPolicy(name=name, maximum_retries=int(retries or 0))
    if policy is None:
        return RestartPolicy()
    names = {"none": "no", "on-failure": "on-failure", "any": "always"}
    if policy.condition not in names:
        raise InvalidArgument(f"services.{service.name}.deploy.restart_policy.condition: unknown value {policy.condition!r}")
    return RestartPolicy(name=names[policy.condition], maximum_retries=policy.max_attempts)


def _resources(service: Service) -> ResourceConfig:
    limits, reservations = service.deploy.resources.limits, service.deploy.resources.reservations
    block_io = service.blkio_config
    return ResourceConfig(
        memory_bytes=service.mem_limit or limits.memory,
        memory_swap_bytes=service.memswap_limit,
        memory_reservation_bytes=service.mem_reservation or reservations.memory,
        memory_swappiness=service.mem_swappiness,
        nano_cpus=round((service.cpus or limits.cpus) * 10**9),
        # On one machine, what is reserved is a share of what others want too, as Kubernetes has it for its requests.
        cpu_shares=service.cpu_shares or round(reservations.cpus * 1024),
        cpu_quota_us=service.cpu_quota,
        cpu_period_us=service.cpu_period,
        cpuset_cpus=service.cpuset,
        pids_limit=service.pids_limit or limits.pids,
        blkio_weight=block_io.weight,
        blkio_weight_device=[DeviceLimit(path=each.path, value=each.weight) for each in block_io.weight_device],
        device_read_bps=_rates(block_io.device_read_bps),
        device_write_bps=_rates(block_io.device_write_bps),
        device_read_iops=_rates(block_io.device_read_iops),
        device_write_iops=_rates(block_io.device_write_iops),
        oom_kill_disable=service.oom_kill_disable,
        oom_score_adj=service.oom_score_adj,
        shm_size_bytes=service.shm_size or _SHM_BYTES,
        ulimits=[Ulimit(name=name, soft=each.soft, hard=each.hard) for name, each in service.ulimits.items()],
        devices=[
            DeviceConfig(host_path=each.source, container_path=each.target or each.source, permissions=each.permissions)
            for each in service.devices
        ],
        device_cgroup_rules=service.device_cgroup_rules,
        device_requests=[
            *(_request(each, each.capabilities) for each in reservations.devices),
            *(_request(each, [*each.capabilities, "gpu"]) for each in service.gpus),
        ],
    )


def _request(request: ModelRequest, capabilities: list[str]) -> DeviceRequest:
    return DeviceRequest(
        driver=request.driver,
        count=request.count,
        device_ids=request.device_ids,
        capabilities=[capabilities],
        options=request.options,
    )


def _rates(rates: list[DeviceRate]) -> list[DeviceLimit]:
    return [DeviceLimit(path=each.path, value=each.rate) for each in rates]
