"""`prune`: remove what nothing uses, after asking."""

from __future__ import annotations

from inception.cli.call import Call, confirm
from inception.cli.flags import Command
from inception.cli.format import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.results import PruneReport

_RECLAIMED = "Total reclaimed space: "


def _asked(call: Call, warning: str) -> bool:
    return call.flags.on("force") or confirm(f"WARNING! {warning}\nAre you sure you want to continue?")


def _show(title: str, lines: list[str]) -> None:
    if lines:
        print(f"{title}:")
        print("\n".join(lines))
        print()


def _total(report: PruneReport) -> None:
    print(_RECLAIMED + human_size(report.space_reclaimed_bytes, 4))


def containers(call: Call) -> int:
    if _asked(call, "This will remove all stopped containers."):
        report = call.engine.containers.prune(call.flags.filters())
        _show("Deleted Containers", report.containers)
        _total(report)
    return 0


def images(call: Call) -> int:
    everything = call.flags.on("all")
    what = "all images without at least one container associated to them" if everything else "all dangling images"
    if _asked(call, f"This will remove {what}."):
        report = call.engine.images.prune(call.flags.filters(), all=everything)
        _show("Deleted Images", report.images)
        _total(report)
    return 0


def networks(call: Call) -> int:
    if _asked(call, "This will remove all custom networks not used by at least one container."):
        report = call.engine.networks.prune(call.flags.filters())
        _show("Deleted Networks", report.networks)
    return 0


def volumes(call: Call) -> int:
    everything = call.flags.on("all")
    what = "all local volumes" if everything else "anonymous local volumes"
    if _asked(call, f"This will remove {what} not used by at least one container."):
        report = call.engine.volumes.prune(call.flags.filters(), all=everything)
        _show("Deleted Volumes", report.volumes)
        _total(report)
    return 0


def system(call: Call) -> int:
    flags = call.flags
    parts = ["all stopped containers", "all networks not used by at least one container"]
    if flags.on("volumes"):
        parts.append("all anonymous volumes not used by at least one container")
    if flags.on("all"):
        parts.append("all images without at least one container associated to them")
    else:
        parts.append("all dangling images")
    parts.append("unused build cache")
    warning = "This will remove:\n" + "".join(f"  - {part}\n" for part in parts)
    if _asked(call, warning):
        report = call.engine.system.prune(all=flags.on("all"), volumes=flags.on("volumes"), filters=flags.filters())
        _show("Deleted Containers", report.containers)
        _show("Deleted Networks", report.networks)
        _show("Deleted Volumes", report.volumes)
        _show("Deleted Images", report.images)
        _total(report)
    return 0


_FILTER = '      --filter filter   Provide filter values (e.g. "until=<timestamp>")\n'
_FORCE = "  -f, --force           Do not prompt for confirmation\n"

CONTAINERS = Command(containers, "[OPTIONS]", "Remove all stopped containers", _FILTER + _FORCE, maximum=0)
IMAGES = Command(
    images,
    "[OPTIONS]",
    "Remove unused images",
    "  -a, --all             Remove all unused images, not just dangling ones\n" + _FILTER + _FORCE,
    maximum=0,
)
NETWORKS = Command(networks, "[OPTIONS]", "Remove all unused networks", _FILTER + _FORCE, maximum=0)
VOLUMES = Command(
    volumes,
    "[OPTIONS]",
    "Remove unused local volumes",
    "  -a, --all             Remove all unused volumes, not just anonymous ones\n" + _FILTER + _FORCE,
    maximum=0,
)
SYSTEM = Command(
    system,
    "[OPTIONS]",
    "Remove unused data",
    "  -a, --all             Remove all unused images not just dangling ones\n"
    + _FILTER
    + _FORCE
    + "      --volumes         Prune anonymous volumes\n",
    maximum=0,
)
