"""`system df`: what takes how much space."""

from __future__ import annotations

from inception.cli.call import Call
from inception.cli.flags import Command, UsageError
from inception.cli.format import Listing, ago, columns, human_size, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.cli.format import Row
    from inception.engine.results import DiskUsageRow

LISTING = Listing(
    {
        "Type": "TYPE",
        "TotalCount": "TOTAL",
        "Active": "ACTIVE",
        "Size": "SIZE",
        "Reclaimable": "RECLAIMABLE",
    },
    ("Type", "TotalCount", "Active", "Size", "Reclaimable"),
)


def df(call: Call) -> int:
    verbose, text = call.flags.on("verbose"), call.flags.text("format")
    if verbose and text:
        raise UsageError("the verbose and the format options conflict", exit_code=1)
    if verbose:
        write(_verbose(call))
        return 0
    write(LISTING.render([_row(row) for row in call.engine.system.df()], text))
    return 0


def _row(row: DiskUsageRow) -> Row:
    reclaimable = human_size(row.reclaimable_bytes)
    if row.size_bytes:
        reclaimable += f" ({100 * row.reclaimable_bytes // row.size_bytes}%)"
    return {
        "Type": row.type,
        "TotalCount": str(row.total),
        "Active": str(row.active),
        "Size": human_size(row.size_bytes),
        "Reclaimable": reclaimable,
    }


def _verbose(call: Call) -> str:
    from inception.cli.images import IMAGES, NONE
    from inception.cli.images import row_of as image_row
    from inception.cli.ps import row_of as container_row

    engine = call.engine
    containers = engine.containers.list(all=True)
    shared = engine.images.shared_sizes()
    images = []
    for image in engine.images.list():
        users = sum(1 for container in containers if container.image_id == image.id)
        for name in image.names or [f"{NONE}:{NONE}"]:
            repository, _, tag = name.rpartition(":")
            sizes = {
                "SharedSize": human_size(shared.get(image.id, 0)),
                "UniqueSize": human_size(image.size_bytes - shared.get(image.id, 0), 4),
            }
            images.append({**image_row(image, repository, tag, NONE), **sizes, "Containers": str(users)})
    wanted = ("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers")
    parts = ["Images space usage:\n\n", IMAGES.render(images, "", wanted), "\nContainers space usage:\n\n"]
    lines = [["CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES"]]
    for container in containers:
        row = container_row(container)
        size = human_size(container.size()[0])
        keys = ("ID", "Image", "Command", "LocalVolumes", "", "RunningFor", "Status", "Names")
        lines.append([row[key] if key else size for key in keys])
    parts += [columns(lines), "\nLocal Volumes space usage:\n\n"]
    lines = [["VOLUME NAME", "LINKS", "SIZE"]]
    for volume, size_bytes in engine.system.volume_sizes():
        lines.append([volume.name, str(len(volume.users())), human_size(size_bytes)])
    parts.append(columns(lines))
    cached = engine.system.build_cache()
    total = human_size(sum(each.size_bytes for each in cached if not each.shared), 4)
    parts.append(f"\nBuild cache usage: {total}\n\n")
    lines = [["CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED"]]
    for each in cached:
        size, shown = human_size(each.size_bytes), str(each.shared).lower()
        lines.append([each.id[7:19], "regular", size, ago(each.created), ago(each.used), str(each.usage), shown])
    parts.append(columns(lines))
    return "".join(parts)


DF = Command(
    df,
    "[OPTIONS]",
    "Show disk usage",
    """\
      --format string   Format output: "table", "table TEMPLATE", "json", or a Go template
  -v, --verbose         Show detailed information on space usage
""",
    maximum=0,
)
