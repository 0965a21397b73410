"""An engine elsewhere as a whole, and what happens there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from inception.client.networks import RemoteVolume
from inception.client.transport import filters_text
from inception.engine.results import CacheEntry, DiskUsageRow, Event, PruneReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inception.client.engine import RemoteEngine

_RUNNING = ("running", "paused", "restarting")


class RemoteSystem:
    """`engine.system`."""

    def __init__(self, engine: RemoteEngine) -> None:
        self.engine = engine

    def info(self) -> dict[str, Any]:
        document: dict[str, Any] = self.engine.transport.json("GET", "/info")
        return document

    def version(self) -> dict[str, Any]:
        document: dict[str, Any] = self.engine.transport.json("GET", "/version")
        return document

    def df(self) -> list[DiskUsageRow]:
        """What images, containers, volumes and the build cache take."""
        found = self.engine.transport.json("GET", "/system/df")
        images, containers = found.get("Images") or [], found.get("Containers") or []
        volumes, cache = found.get("Volumes") or [], found.get("BuildCache") or []
        used = [image for image in images if image.get("Containers", 0) > 0]
        layers = found.get("LayersSize") or 0
        idle = sum(row.get("SizeRw") or 0 for row in containers if row["State"] not in _RUNNING)
        sizes = {row["Name"]: max(0, (row.get("UsageData") or {}).get("Size") or 0) for row in volumes}
        held = [row["Name"] for row in volumes if (row.get("UsageData") or {}).get("RefCount", 0) > 0]
        cached = found.get("BuilderSize") or sum(row.get("Size") or 0 for row in cache)
        return [
            DiskUsageRow(
                type="Images",
                total=len(images),
                active=len(used),
                size_bytes=layers,
                reclaimable_bytes=max(0, layers - sum(image.get("Size") or 0 for image in used)),
            ),
            DiskUsageRow(
                type="Containers",
                total=len(containers),
                active=sum(row["State"] in _RUNNING for row in containers),
                size_bytes=sum(row.get("SizeRw") or 0 for row in containers),
                reclaimable_bytes=idle,
            ),
            DiskUsageRow(
                type="Local Volumes",
                total=len(volumes),
                active=len(held),
                size_bytes=sum(sizes.values()),
                reclaimable_bytes=sum(size for name, size in sizes.items() if name not in held),
            ),
            DiskUsageRow(
                type="Build Cache",
                total=len(cache),
                active=sum(bool(row.get("InUse")) for row in cache),
                size_bytes=cached,
                reclaimable_bytes=cached,
            ),
        ]

    def build_cache(self) -> list[CacheEntry]:
        """What the builder's cache holds."""
        return [
            CacheEntry(
                id=row["ID"],
                size_bytes=row.get("Size") or 0,
                created=row.get("CreatedAt") or "",
                used=row.get("LastUsedAt") or "",
                usage=row.get("UsageCount") or 0,
                shared=bool(row.get("Shared")),
            )
            for row in self.engine.transport.json("GET", "/system/df", type="build-cache").get("BuildCache") or []
        ]

    def volume_sizes(self) -> list[tuple[RemoteVolume, int]]:
        rows = self.engine.transport.json("GET", "/system/df").get("Volumes") or []
        return [(RemoteVolume(self.engine, row), max(0, (row.get("UsageData") or {}).get("Size") or 0)) for row in rows]

    def prune(self, *, all: bool = False, volumes: bool = False, filters: dict[str, list[str]] | None = None) -> PruneReport:
        """Stopped containers, unused networks, images without a name (*all*: without a container), unused volumes."""
        engine = self.engine
        reports = [engine.containers.prune(filters), engine.networks.prune(filters)]
        if volumes:
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
        raise self.engine.unsupported("resume")


class RemoteEvents:
    """`engine.events`."""

    def __init__(self, engine: RemoteEngine) -> None:
        self.engine = engine

    def read(
        self, *, since: str = "", until: str = "", filters: dict[str, list[str]] | None = None, follow: bool = False
    ) -> Iterator[Event]:
        """Events from *since* to *until*; *follow* waits for more."""
        from inception.client.containers import moment

        end = moment(until) if until else "" if follow else f"{time.time():.9f}"
        query = {"since": moment(since), "until": end, "filters": filters_text(filters)}
        # The request goes out here, so that nothing is missed between this call and the first look.
        answer = self.engine.transport.request("GET", "/events", query=query)
        return map(_event, answer.documents())


def _event(document: dict[str, Any]) -> Event:
    actor = document.get("Actor") or {}
    return Event(
        type=document.get("Type") or "",
        action=document.get("Action") or "",
        id=actor.get("ID") or "",
        attributes=actor.get("Attributes") or {},
        time_ns=document.get("timeNano") or 0,
    )
