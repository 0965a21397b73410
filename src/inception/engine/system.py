"""The engine as a whole: what it is, what it uses, what can be thrown away."""

from __future__ import annotations

import os

from inception.engine.results import CacheEntry, DiskUsageRow, PruneReport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.engine.engine import Engine
    from inception.engine.volumes import Volume

API_VERSION = "1.51"
MIN_API_VERSION = "1.24"
#: uname's names of machines, as Docker and the image-spec (and Go) spell them.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


class System:
    """`engine.system`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def info(self) -> dict[str, Any]:
        """What `docker info` asks for, in its keys."""
        from inception import __version__
        from inception.engine.times import now

        engine = self.engine
        machine = os.uname()
        states = [container.record.state.status for container in engine.containers.list(all=True)]
        cgroups = engine.cgroups
        controllers = cgroups.controllers()
        release = _os_release()
        return {
            "ID": engine.tag,
            "Name": machine.nodename,
            "ServerVersion": __version__,
            "Containers": len(states),
            "ContainersRunning": states.count("running") + states.count("restarting"),
            "ContainersPaused": states.count("paused"),
            "ContainersStopped": sum(state in ("created", "exited", "dead", "removing") for state in states),
            "Images": len(engine.images.list(all=True)),
            "Driver": engine.store.snapshots.driver,
            "DriverStatus": _driver_status(engine),
            "DockerRootDir": engine.root,
            "Plugins": {
                "Volume": ["local"],
                "Network": ["bridge", "host", "null"],
                "Authorization": None,
                "Log": ["json-file", "none"],
            },
            "LoggingDriver": "json-file",
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": "2" if cgroups.layout == "v2" else "1",
            "MemoryLimit": "memory" in controllers,
            "SwapLimit": "memory" in controllers and _counts_swap(cgroups.v1.get("memory")),
            "CpuCfsPeriod": "cpu" in controllers,
            "CpuCfsQuota": "cpu" in controllers,
            "CPUShares": "cpu" in controllers,
            "CPUSet": "cpuset" in controllers,
            "PidsLimit": "pids" in controllers,
            "OomKillDisable": "memory" in cgroups.v1,
            "IPv4Forwarding": _read("/proc/sys/net/ipv4/ip_forward") == "1",
            "Debug": False,
            "NFd": len(os.listdir("/proc/self/fd")),
            "NGoroutines": 0,
            "NEventsListener": 0,
            "SystemTime": now(),
            "KernelVersion": machine.release,
            "OperatingSystem": release.get("PRETTY_NAME", "Linux"),
            "OSVersion": release.get("VERSION_ID", ""),
            "OSType": "linux",
            "Architecture": machine.machine,
            "NCPU": len(os.sched_getaffinity(0)),
            "MemTotal": memory_total_bytes(),
            "IndexServerAddress": "https://index.docker.io/v1/",
            "RegistryConfig": _registry_config(),
            **_proxies(),
            "Labels": [],
            "ExperimentalBuild": False,
            "LiveRestoreEnabled": True,
            "Isolation": "",
            "InitBinary": "inception-init",
            "Runtimes": {"inception": {"path": "inception-runc"}},
            "DefaultRuntime": "inception",
            "Swarm": {"LocalNodeState": "inactive", "NodeID": "", "NodeAddr": "", "ControlAvailable": False, "Error": ""},
            "SecurityOptions": ["name=seccomp,profile=builtin"],
            "Warnings": [],
        }

    def version(self) -> dict[str, Any]:
        """What `docker version` asks a server for."""
        from inception import __version__

        machine = os.uname()
        architecture = ARCHITECTURES.get(machine.machine, machine.machine)
        details = {"ApiVersion": API_VERSION, "MinAPIVersion": MIN_API_VERSION, "Os": "linux", "Arch": architecture}
        return {
            "Platform": {"Name": "Inception"},
            "Components": [
                {"Name": "Engine", "Version": __version__, "Details": {**details, "KernelVersion": machine.release}}
            ],
            "Version": __version__,
            **details,
            "KernelVersion": machine.release,
        }

    def df(self) -> list[DiskUsageRow]:
        """What images (their layers, unpacked, and their blobs, as they came), containers and volumes take; what several
        images share counts once."""
        from inception.engine.records import listed

        engine = self.engine
        records = listed(engine, running_only=False)
        images = engine.images.list(all=True)
        used = {record.image_id for record in records}
        sizes = dict(engine.database.rows("SELECT id, size_bytes FROM layers"))
        stored = {layer for image in images for layer in image.layer_ids}
        containers = [(record, engine.store.snapshots.usage(record.id)) for record in records]
        volumes = [(bool(volume.users()), size) for volume, size in self.volume_sizes()]
        running = ("running", "paused", "restarting")
        image_bytes, unused_bytes = engine.store.disk_usage(used)
        return [
            DiskUsageRow(
                type="Images",
                total=len(images),
                active=sum(image.id in used for image in images),
                size_bytes=image_bytes,
                reclaimable_bytes=unused_bytes,
            ),
            DiskUsageRow(
                type="Containers",
                total=len(containers),
                active=sum(record.state.status in running for record, _ in containers),
                size_bytes=sum(size for _, size in containers),
                reclaimable_bytes=sum(size for record, size in containers if record.state.status not in running),
            ),
            DiskUsageRow(
                type="Local Volumes",
                total=len(volumes),
                active=sum(used for used, _ in volumes),
                size_bytes=sum(size for _, size in volumes),
                reclaimable_bytes=sum(size for used, size in volumes if not used),
            ),
            self._build_cache(sizes, stored),
        ]

    def _build_cache(self, sizes: dict[int, int], in_images: set[int]) -> DiskUsageRow:
        """Layers that only the builder's cache holds."""
        held = {row[0] for row in self.engine.database.rows("SELECT DISTINCT layer_id FROM layer_holds")}
        size = sum(sizes[layer] for layer in held - in_images)
        return DiskUsageRow(
            type="Build Cache", total=len(held), active=len(held & in_images), size_bytes=size, reclaimable_bytes=size
        )

    def build_cache(self) -> list[CacheEntry]:
        """The layers that the builder's cache holds, the one of use last first; `shared`: an image has it too."""
        import time

        if not self.engine.database.row("SELECT 1 FROM sqlite_master WHERE name = 'build_cache'"):
            return []

        def stamp(seconds: int) -> str:
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))

        rows = self.engine.database.rows(
            """SELECT diff_id, size_bytes, min(created), max(used_at), count(*),
                      EXISTS (SELECT 1 FROM image_layers WHERE image_layers.layer_id = layers.id)
               FROM build_cache JOIN layers ON layers.id = build_cache.layer_id GROUP BY layers.id ORDER BY 4 DESC"""
        )
        return [
            CacheEntry(id=row[0], size_bytes=row[1], created=row[2], used=stamp(row[3]), usage=row[4], shared=bool(row[5]))
            for row in rows
        ]

    def volume_sizes(self) -> list[tuple[Volume, int]]:
        """Each volume with its bytes; reads every folder, so only when asked for."""
        from inception.engine.inspect import tree_bytes

        return [(volume, tree_bytes(volume.mountpoint)) for volume in self.engine.volumes.list()]

    def prune(self, *, all: bool = False, volumes: bool = False, filters: dict[str, list[str]] | None = None) -> PruneReport:
        """Stopped containers, unused networks, images without a name (*all*: without a container), with *volumes* also
        anonymous volumes. Filters: label, label!, until."""
        engine = self.engine
        reports = [engine.containers.prune(filters), engine.networks.prune(filters)]
        if volumes:
            # Docker: volumes have no age that `until` could be compared with.
            reports.append(engine.volumes.prune({key: value for key, value in (filters or {}).items() if key != "until"}))
        reports.append(engine.images.prune(filters, all=all))
        return PruneReport(
            containers=[name for report in reports for name in report.containers],
            networks=[name for report in reports for name in report.networks],
            volumes=[name for report in reports for name in report.volumes],
            images=[name for report in reports for name in report.images],
            space_reclaimed_bytes=sum(report.space_reclaimed_bytes for report in reports),
        )

    def resume(self) -> list[str]:
        """Start again what should run, after a reboot or a crash; answers the names of what runs now by a restart policy."""
        from inception.engine.resume import resume

        return resume(self.engine)


def memory_total_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _counts_swap(mount_point: str | None) -> bool:
    return mount_point is None or os.path.exists(f"{mount_point}/memory.memsw.limit_in_bytes")


def _registry_config() -> dict[str, Any]:
    """What registries.json says, in Docker's keys."""
    from inception.store.hosts import load_registries

    hosts = load_registries().hosts
    mirrors = hosts["docker.io"].mirrors if "docker.io" in hosts else []
    configs = {"docker.io": {"Name": "docker.io", "Mirrors": mirrors, "Secure": True, "Official": True}}
    for name, host in hosts.items():
        if name != "docker.io":
            secure = not (host.http or host.skip_verify)
            configs[name] = {"Name": name, "Mirrors": host.mirrors, "Secure": secure, "Official": False}
    return {"InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"], "IndexConfigs": configs, "Mirrors": mirrors}


def _proxies() -> dict[str, str]:
    """Of the environment, their passwords left out."""
    found = {}
    for key, name in (("HttpProxy", "http_proxy"), ("HttpsProxy", "https_proxy"), ("NoProxy", "no_proxy")):
        text = os.environ.get(name) or os.environ.get(name.upper()) or ""
        before, at, host = text.rpartition("@")
        found[key] = f"{before.partition('://')[0]}://xxxxx:xxxxx@{host}" if at else text
    return found


def _driver_status(engine: Engine) -> list[list[str]]:
    status = [["Backing Filesystem", _filesystem(engine.root)]]
    if engine.store.snapshots.driver == "overlay2":
        return [*status, ["Supports d_type", "true"]]
    from inception.store.copies import shares_bytes

    return [*status, ["Reflinks", str(shares_bytes(engine.store.tmp)).lower()]]


def _filesystem(path: str) -> str:
    """The kind of filesystem that holds *path*: the mount with the longest path above it."""
    best, kind = "", ""
    with open("/proc/self/mountinfo", errors="surrogateescape") as lines:
        for line in lines:
            head, _, tail = line.partition(" - ")
            mount_point = head.split(" ")[4]
            if len(mount_point) >= len(best) and (path + "/").startswith(mount_point.rstrip("/") + "/"):
                best, kind = mount_point, tail.partition(" ")[0]
    return kind


def _os_release() -> dict[str, str]:
    """Source: os-release(5)."""
    found = {}
    for line in _read("/etc/os-release").splitlines():
        key, equals, value = line.partition("=")
        if equals:
            found[key] = value.strip("\"'")
    return found


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
