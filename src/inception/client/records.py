"""Docker's JSON as the records that our verbs read: what `inspect` of a container says as a `ContainerRecord`."""

from __future__ import annotations

import re
from typing import Any

from inception.engine.config import (
    ContainerConfig,
    ContainerState,
    EndpointConfig,
    EndpointState,
    HealthState,
    LogConfig,
    PortBinding,
    ResourceConfig,
    RestartPolicy,
)
from inception.engine.records import ContainerRecord, MountPoint
from inception.oci.health import Healthcheck

#: Names that no user chooses.
_ANONYMOUS = re.compile("[0-9a-f]{64}")
_ALL_ADDRESSES = ("0.0.0.0", "::")


def container_record(document: dict[str, Any]) -> ContainerRecord:
    """A container as `GET /containers/ID/json` has it."""
    state = container_state(document)
    return ContainerRecord(
        id=document["Id"],
        name=document["Name"].removeprefix("/"),
        kind="container",
        image_id=document.get("Image") or "",
        created_at=document.get("Created") or "",
        config=container_config(document),
        mounts=[_mount_point(mount) for mount in document.get("Mounts") or []],
        status=state.status,
        state=state,
        wanted=False,
        owner_pid=0,
        owner_start=0,
    )


def container_config(document: dict[str, Any]) -> ContainerConfig:
    """The parts of a configuration that listings, sessions and Compose ask about."""
    own, host = document.get("Config") or {}, document.get("HostConfig") or {}
    policy, limits = host.get("RestartPolicy") or {}, host
    log = host.get("LogConfig") or {}
    mode = host.get("NetworkMode") or "bridge"
    networks = (document.get("NetworkSettings") or {}).get("Networks") or {}
    return ContainerConfig(
        image=own.get("Image") or "",
        name=document["Name"].removeprefix("/"),
        command=own.get("Cmd") or [],
        entrypoint=own.get("Entrypoint") or [],
        env=own.get("Env") or [],
        user=own.get("User") or "",
        working_dir=own.get("WorkingDir") or "",
        hostname=own.get("Hostname") or "",
        domainname=own.get("Domainname") or "",
        labels=own.get("Labels") or {},
        tty=bool(own.get("Tty")),
        open_stdin=bool(own.get("OpenStdin")),
        stdin_once=bool(own.get("StdinOnce")),
        attached=[stream for stream in ("stdin", "stdout", "stderr") if own.get(f"Attach{stream.capitalize()}")],
        stop_signal=own.get("StopSignal") or "",
        stop_timeout_s=own.get("StopTimeout"),
        healthcheck=_healthcheck(own.get("Healthcheck")),
        volumes_from=host.get("VolumesFrom") or [],
        network_mode="bridge" if mode == "default" else mode,
        networks={name: _endpoint_config(each or {}) for name, each in networks.items() if name not in ("host", "none")},
        ports=_ports(host.get("PortBindings")),
        exposed_ports=list(own.get("ExposedPorts") or {}),
        publish_all=bool(host.get("PublishAllPorts")),
        restart=RestartPolicy(name=policy.get("Name") or "no", maximum_retries=policy.get("MaximumRetryCount") or 0),
        resources=ResourceConfig(memory_bytes=limits.get("Memory") or 0, nano_cpus=limits.get("NanoCpus") or 0),
        privileged=bool(host.get("Privileged")),
        read_only=bool(host.get("ReadonlyRootfs")),
        auto_remove=bool(host.get("AutoRemove")),
        log=LogConfig(driver=log.get("Type") or "json-file", options=log.get("Config") or {}),
    )


def container_state(document: dict[str, Any]) -> ContainerState:
    state = document.get("State") or {}
    health = state.get("Health") or {}
    network = document.get("NetworkSettings") or {}
    return ContainerState(
        status=state.get("Status") or "created",
        pid=state.get("Pid") or 0,
        exit_code=state.get("ExitCode") or 0,
        error=state.get("Error") or "",
        oom_killed=bool(state.get("OOMKilled")),
        started_at=state.get("StartedAt") or "0001-01-01T00:00:00Z",
        finished_at=state.get("FinishedAt") or "0001-01-01T00:00:00Z",
        restart_count=document.get("RestartCount") or 0,
        health=HealthState(
            status=health.get("Status") or "none", failing_streak=health.get("FailingStreak") or 0, log=health.get("Log") or []
        ),
        endpoints={
            name: _endpoint_state(each or {})
            for name, each in (network.get("Networks") or {}).items()
            if (each or {}).get("EndpointID")
        },
        ports=_ports(network.get("Ports")),
    )


def is_anonymous(name: str) -> bool:
    return bool(_ANONYMOUS.fullmatch(name))


def _mount_point(mount: dict[str, Any]) -> MountPoint:
    named = mount.get("Type") == "volume"
    name = mount.get("Name") or ""
    return MountPoint(
        type=mount.get("Type") or "bind",
        destination=mount.get("Destination") or "",
        source=name if named else mount.get("Source") or "",
        read_only=not mount.get("RW", True),
        anonymous=named and is_anonymous(name),
    )


def _healthcheck(check: dict[str, Any] | None) -> Healthcheck | None:
    if not check:
        return None
    return Healthcheck(
        test=check.get("Test") or [],
        interval=check.get("Interval") or 0,
        timeout=check.get("Timeout") or 0,
        start_period=check.get("StartPeriod") or 0,
        start_interval=check.get("StartInterval") or 0,
        retries=check.get("Retries") or 0,
    )


def _endpoint_config(each: dict[str, Any]) -> EndpointConfig:
    asked = each.get("IPAMConfig") or {}
    return EndpointConfig(
        aliases=each.get("Aliases") or [],
        ipv4_address=asked.get("IPv4Address") or "",
        ipv6_address=asked.get("IPv6Address") or "",
        link_local_addresses=asked.get("LinkLocalIPs") or [],
        links=each.get("Links") or [],
        gateway_priority=each.get("GwPriority") or 0,
        driver_options=each.get("DriverOpts") or {},
    )


def _endpoint_state(each: dict[str, Any]) -> EndpointState:
    return EndpointState(
        network_id=each.get("NetworkID") or "",
        endpoint_id=each.get("EndpointID") or "",
        ipv4_address=each.get("IPAddress") or "",
        prefix_length=each.get("IPPrefixLen") or 0,
        gateway=each.get("Gateway") or "",
        mac_address=each.get("MacAddress") or "",
        ipv6_address=each.get("GlobalIPv6Address") or "",
        ipv6_prefix_length=each.get("GlobalIPv6PrefixLen") or 0,
        ipv6_gateway=each.get("IPv6Gateway") or "",
    )


def _ports(bindings: dict[str, Any] | None) -> list[PortBinding]:
    """`80/tcp` to where it is published. The same port of all IPv4 and all IPv6 addresses is one."""
    found: list[PortBinding] = []
    for key, places in (bindings or {}).items():
        number, _, protocol = key.partition("/")
        for place in places or []:
            address = place.get("HostIp") or ""
            first, _, last = (place.get("HostPort") or "").partition("-")
            binding = PortBinding(
                container_port=int(number),
                protocol=protocol or "tcp",
                host_ip="" if address in _ALL_ADDRESSES else address,
                host_port=int(first) if first.isdecimal() else 0,
                host_port_end=int(last) if last.isdecimal() else 0,
            )
            if binding not in found:
                found.append(binding)
    return found
