"""Rows of lists and samples of statistics, in Docker's shapes. Whole `inspect` documents are the engine's own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from inception.api.call import encode_json
from inception.engine.config import network_mode, wanted_networks
from inception.engine.inspect import mounts
from inception.engine.merge import arguments
from inception.engine.records import command_text
from inception.engine.status import status_text
from inception.engine.times import parse, timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inception.engine.container import Container
    from inception.engine.records import ContainerRecord
    from inception.engine.results import ContainerStats
    from inception.engine.volumes import Volume
    from inception.store.images import Image

_KEPT_ROWS = 4096
RUNNING = ("running", "paused", "restarting")


def container_summary(
    container: Container, *, size: bool = False, network_ids: dict[str, str] | None = None, linked: Sequence[str] = ()
) -> dict[str, Any]:
    """One row of `ps`. *network_ids*, when given, are ids by name for containers that don't run, *linked* names in links."""
    record = container.record
    document: dict[str, Any] = {
        "Id": record.id,
        "Names": [f"/{record.name}", *linked],
        "Image": record.config.image,
        "ImageID": record.image_id,
        "Command": command_text(arguments(record.config)),
        "Created": parse(record.created_at) // 10**9,
        "Ports": _ports(record),
        "Labels": record.config.labels,
        "State": record.state.status,
        "Status": status_text(record.state),
        "HostConfig": {"NetworkMode": network_mode(record.config)},
        "NetworkSettings": {"Networks": _networks(record, network_ids or {})},
        "Mounts": mounts(container.engine, record),
    }
    if size:
        own, whole = container.size()
        document |= {**({"SizeRw": own} if own else {}), "SizeRootFs": whole}
    return document


class Summaries:
    """Rows of `ps` as JSON, kept while what they are made of stays the same: a client that looks every second finds most of
    them written already."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[ContainerRecord, tuple[str, tuple[str, ...], dict[str, str]], bytes]] = {}

    def row(self, container: Container, network_ids: dict[str, str], linked: Sequence[str]) -> bytes:
        record = container.record
        key = (status_text(record.state), tuple(linked), network_ids)
        known = self._rows.get(record.id)
        # An unchanged row of the database is the same record.
        if known is not None and known[0] is record and known[1] == key:
            return known[2]
        data = encode_json(container_summary(container, network_ids=network_ids, linked=linked)).rstrip()
        if len(self._rows) >= _KEPT_ROWS:
            self._rows.clear()
        self._rows[record.id] = (record, key, data)
        return data


def _ports(record: ContainerRecord) -> list[dict[str, Any]]:
    if record.state.status not in RUNNING:
        return []
    found: list[dict[str, Any]] = []
    published = set()
    for port in record.state.ports:
        published.add(f"{port.container_port}/{port.protocol}")
        for address in port.addresses:
            found.append(
                {"IP": address, "PrivatePort": port.container_port, "PublicPort": port.host_port, "Type": port.protocol}
            )
    for text in record.config.exposed_ports:
        if text not in published:
            number, _, protocol = text.partition("/")
            found.append({"PrivatePort": int(number), "Type": protocol or "tcp"})
    return found


def _networks(record: ContainerRecord, ids: dict[str, str]) -> dict[str, Any]:
    mode = network_mode(record.config)
    names = list(wanted_networks(record.config)) or ([mode] if mode in ("host", "none") else [])
    found = {}
    for name in names:
        state = record.state.endpoints.get(name)
        found[name] = {
            "IPAMConfig": None,
            "Links": None,
            "Aliases": None,
            "MacAddress": state.mac_address if state else "",
            "DriverOpts": None,
            "GwPriority": 0,
            "NetworkID": state.network_id if state else ids.get(name, ""),
            "EndpointID": state.endpoint_id if state else "",
            "Gateway": state.gateway if state else "",
            "IPAddress": state.ipv4_address if state else "",
            "IPPrefixLen": state.prefix_length if state else 0,
            "IPv6Gateway": state.ipv6_gateway if state else "",
            "GlobalIPv6Address": state.ipv6_address if state else "",
            "GlobalIPv6PrefixLen": state.ipv6_prefix_length if state else 0,
            "DNSNames": None,
        }
    return found


def image_summary(image: Image, containers: int = -1, *, shared_size: int = -1) -> dict[str, Any]:
    """One row of `images`."""
    return {
        "Id": image.id,
        "ParentId": image.parent,
        "RepoTags": image.names,
        "RepoDigests": image.repo_digests,
        "Created": parse(image.created) // 10**9 if image.created else 0,
        "Size": image.size_bytes,
        "SharedSize": shared_size,
        "VirtualSize": image.size_bytes,
        "Labels": image.labels or None,
        "Containers": containers,
    }


def volume_document(volume: Volume, size_bytes: int | None = None) -> dict[str, Any]:
    """A volume, with what it uses where that is known."""
    document = volume.inspect()
    if size_bytes is not None:
        document["UsageData"] = {"Size": size_bytes, "RefCount": len(volume.users())}
    return document


def stats_document(now: ContainerStats, before: ContainerStats | None, system_ns: int, system_before_ns: int) -> dict[str, Any]:
    """One sample, with the one before it, from which clients compute percentages."""
    running = now.memory_limit_bytes > 0
    document: dict[str, Any] = {
        "id": now.id,
        "name": f"/{now.name}",
        "read": timestamp(now.time_ns) if running else "0001-01-01T00:00:00Z",
        "preread": timestamp(before.time_ns) if before and running else "0001-01-01T00:00:00Z",
        "num_procs": 0,
        "storage_stats": {},
        "pids_stats": {"current": now.pids, **({"limit": now.pids_limit} if now.pids_limit else {})} if running else {},
        "cpu_stats": _cpu(now, system_ns),
        "precpu_stats": _cpu(before, system_before_ns) if before else _cpu(None, 0),
        "memory_stats": {
            "usage": now.memory_usage_bytes,
            "limit": now.memory_limit_bytes,
            # Clients subtract the one of their cgroup version from the usage.
            "stats": {"inactive_file": now.memory_cache_bytes, "total_inactive_file": now.memory_cache_bytes},
        }
        if running
        else {},
        "blkio_stats": _block_io(now),
    }
    if running and (now.network_receive_bytes or now.network_transmit_bytes):
        zeros = dict.fromkeys(("rx_packets", "rx_errors", "rx_dropped", "tx_packets", "tx_errors", "tx_dropped"), 0)
        traffic = {"rx_bytes": now.network_receive_bytes, "tx_bytes": now.network_transmit_bytes}
        document["networks"] = {"eth0": {**zeros, **traffic}}
    return document


def _cpu(sample: ContainerStats | None, system_ns: int) -> dict[str, Any]:
    throttling = {"periods": 0, "throttled_periods": 0, "throttled_time": 0}
    if sample is None or not sample.memory_limit_bytes:
        usage = {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0}
        return {"cpu_usage": usage, "throttling_data": throttling}
    usage = {
        "total_usage": sample.cpu_total_ns,
        "usage_in_kernelmode": sample.cpu_system_ns,
        "usage_in_usermode": sample.cpu_user_ns,
    }
    return {
        "cpu_usage": usage,
        "system_cpu_usage": system_ns,
        "online_cpus": sample.online_cpus,
        "throttling_data": throttling,
    }


def _block_io(sample: ContainerStats) -> dict[str, Any]:
    rows = [("read", sample.block_read_bytes), ("write", sample.block_write_bytes)]
    return {
        "io_service_bytes_recursive": [
            {"major": 0, "minor": 0, "op": operation, "value": value} for operation, value in rows if value
        ],
        "io_serviced_recursive": None,
        "io_queue_recursive": None,
        "io_service_time_recursive": None,
        "io_wait_time_recursive": None,
        "io_merged_recursive": None,
        "io_time_recursive": None,
        "sectors_recursive": None,
    }


def system_cpu_ns() -> int:
    """CPU time of the whole machine, as Docker counts it. Source: proc_stat(5): user to steal, in ticks."""
    with open("/proc/stat") as file:
        words = file.readline().split()
    return sum(int(word) for word in words[1:9]) * 10**9 // os.sysconf("SC_CLK_TCK")
