"""`prune`: throw away what nothing uses, one kind at a time."""

from __future__ import annotations

from inception.engine.filters import check_keys, created_ns, labels_match
from inception.engine.results import PruneReport
from inception.engine.times import parse, parse_when_ns
from inception.errors import Conflict, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from inception.engine.engine import Engine

    Filters = dict[str, list[str]]


def prune_containers(engine: Engine, filters: Filters) -> PruneReport:
    """Remove those that do not run."""
    check_keys(filters, ("label", "label!", "until"))
    limits = _limits(filters)
    report = PruneReport()
    for container in engine.containers.list(all=True):
        status = container.record.state.status
        if status in ("created", "exited", "dead") and _selected(
            filters, limits, container.labels, parse(container.created_at)
        ):
            try:
                size = container.size()[0]
                container.remove()
            except (Conflict, NotFound):
                continue  # started or removed meanwhile
            report.containers.append(container.id)
            report.space_reclaimed_bytes += size
    return report


def prune_networks(engine: Engine, filters: Filters) -> PruneReport:
    """Remove those of the user's that no container, running or not, belongs to.

    Of the others, where nothing runs in them, the bridge and the rules go, and come back with the next container: so a root
    whose containers have ended leaves nothing of the network on the machine. So do engines whose root is gone.
    """
    from inception.engine.config import wanted_networks
    from inception.engine.endpoints import take_down_idle
    from inception.engine.networks import PREDEFINED
    from inception.engine.records import listed
    from inception.network.leftovers import remove_leftovers

    check_keys(filters, ("label", "label!", "until"))
    limits = _limits(filters)
    named = {key for record in listed(engine, running_only=False) for key in wanted_networks(record.config)}
    report = PruneReport()
    for network in engine.networks.list():
        if network.name in PREDEFINED or {network.name, network.id} & named:
            if not filters:
                take_down_idle(engine, network)
            continue
        if _selected(filters, limits, network.labels, parse(network.created_at)):
            try:
                network.remove()
            except (Conflict, NotFound):
                continue
            report.networks.append(network.name)
    if not filters:
        remove_leftovers()
    return report


def prune_volumes(engine: Engine, filters: Filters, *, all: bool) -> PruneReport:
    """Remove unused anonymous volumes, with *all* the named ones too."""
    from inception.engine.inspect import tree_bytes

    check_keys(filters, ("label", "label!", "all"))
    everything = all or any(value.lower() in ("1", "true") for value in filters.get("all", []))
    report = PruneReport()
    for volume in engine.volumes.list():
        if volume.users() or not (everything or volume.anonymous) or not labels_match(filters, volume.labels):
            continue
        try:
            size = tree_bytes(volume.mountpoint)
            volume.remove()
        except (Conflict, NotFound):
            continue
        report.volumes.append(volume.name)
        report.space_reclaimed_bytes += size
    return report


def prune_images(engine: Engine, filters: Filters, *, all: bool) -> PruneReport:
    """Remove nameless images that nothing uses, with *all* every image that no container uses."""
    check_keys(filters, ("label", "label!", "until", "dangling"))
    limits = _limits(filters)
    everything = all or "false" in filters.get("dangling", [])
    used = {row[0] for row in engine.database.rows("SELECT DISTINCT image_id FROM containers")}
    report = PruneReport()
    for image in engine.images.list(all=True):
        if image.id in used or ((image.names or image.indexed) and not everything):
            continue
        if not _selected(filters, limits, image.labels, created_ns(image)):
            continue
        for reference in image.names or [image.id]:
            try:
                removals = engine.images.remove(reference, prune=False)
            except (Conflict, NotFound):
                continue
            for removal in removals:
                report.images.append(f"untagged: {removal.untagged}" if removal.untagged else f"deleted: {removal.deleted}")
    report.space_reclaimed_bytes = engine.store.collect(everything=True)
    return report


def apply_policy(engine: Engine, *, keep: Collection[str] = ()) -> PruneReport:
    """What store.json says of images that nobody needs: those that were long of no use go, and of the others the oldest while
    the store is too large. An image that a container has stays, and so do those in *keep*."""
    import time

    from inception.store.settings import load_settings

    policy, report = load_settings().gc, PruneReport()
    if not policy.unused_days and not policy.max_bytes:
        return report
    images = engine.store.images
    used = {row[0] for row in engine.database.rows("SELECT DISTINCT image_id FROM containers")}
    ages = sorted((images.used_at(image.id), image.id) for image in images.list() if image.id not in used | {*keep})
    oldest = time.time() - policy.unused_days * 24 * 3600
    for used_at, image_id in ages:
        old = bool(policy.unused_days) and used_at < oldest
        if not old and not (policy.max_bytes and engine.store.disk_usage(used)[0] > policy.max_bytes):
            continue
        try:
            removals = engine.images.remove(image_id, force=True, prune=False)
        except (Conflict, NotFound):
            continue  # taken for a container meanwhile, or another image is made from it
        for removal in removals:
            report.images.append(f"untagged: {removal.untagged}" if removal.untagged else f"deleted: {removal.deleted}")
        report.space_reclaimed_bytes += engine.store.collect()
    return report


def _limits(filters: Filters) -> list[int]:
    """The times of `until`; read first of all, so that a wrong one is told when there is nothing to remove, too."""
    return [parse_when_ns(text) for text in filters.get("until", [])]


def _selected(filters: Filters, limits: list[int], labels: dict[str, str], at_ns: int) -> bool:
    return labels_match(filters, labels) and all(at_ns < limit for limit in limits)
