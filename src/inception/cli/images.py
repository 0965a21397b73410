"""`images`, `rmi`, `tag`, `history`."""

from __future__ import annotations

import sys

from inception.cli.call import Call, complain
from inception.cli.flags import Command
from inception.cli.format import (
    Listing,
    ago,
    columns,
    ellipsis,
    human_size,
    label_of,
    local_time,
    printable,
    rfc3339,
    short_id,
    write,
)
from inception.errors import InceptionError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from inception.cli.format import Row
    from inception.engine.results import HistoryEntry
    from inception.store.images import Image

IMAGES = Listing(
    {
        "Repository": "REPOSITORY",
        "Tag": "TAG",
        "Digest": "DIGEST",
        "ID": "IMAGE ID",
        "CreatedSince": "CREATED",
        "CreatedAt": "CREATED AT",
        "Size": "SIZE",
        "Containers": "CONTAINERS",
        "SharedSize": "SHARED SIZE",
        "UniqueSize": "UNIQUE SIZE",
        "VirtualSize": "VIRTUAL SIZE",
    },
    ("Repository", "Tag", "ID", "CreatedSince", "Size"),
)
_WITH_DIGESTS = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")
HISTORY_LISTING = Listing(
    {
        "ID": "IMAGE",
        "CreatedSince": "CREATED",
        "CreatedAt": "CREATED AT",
        "CreatedBy": "CREATED BY",
        "Size": "SIZE",
        "Comment": "COMMENT",
    },
    ("ID", "CreatedSince", "CreatedBy", "Size", "Comment"),
)
_HISTORY_EXACT = ("ID", "CreatedAt", "CreatedBy", "Size", "Comment")
_CREATED_BY_WIDTH = 45
_RAW = """\
repository: {{.Repository}}
tag: {{.Tag}}
image_id: {{.ID}}
created_at: {{.CreatedAt}}
virtual_size: {{.Size}}
"""
NONE = "<none>"


def ls(call: Call) -> int:
    flags = call.flags
    filters = flags.filters()
    if call.arguments:
        filters.setdefault("reference", []).append(call.arguments[0])
    images = call.engine.images.list(filters=filters, all=flags.on("all"))
    if flags.on("tree"):
        write(columns(_tree(call, images)))
        return 0
    full = flags.on("no-trunc")
    if flags.on("quiet"):
        shown = [image.id for image in images for _ in _names(image)]  # as often as it has names
        write("".join((each if full else short_id(each)) + "\n" for each in shown))
        return 0
    text = _RAW if flags.text("format") == "raw" else flags.text("format")
    digests = flags.on("digests") or ".Digest" in text
    templated = text not in ("", "table")
    rows = [
        row_of(image, *names, full=full, templated=templated) for image in images for names in _names(image, digests=digests)
    ]
    write(IMAGES.render(rows, text, _WITH_DIGESTS if flags.on("digests") else None))
    return 0


def _tree(call: Call, images: list[Image]) -> list[list[str]]:
    """Each name, and beneath it the platforms of it that are here."""
    from inception.oci.image import Platform, platform_text

    lines = [["IMAGE", "ID", "DISK USAGE"]]
    for image in images:
        for repository, tag, _ in _names(image):
            name = f"{repository}:{tag}" if repository != NONE else NONE
            branches = call.engine.images.platforms(name) if name in image.names else [image]
            lines.append([name, short_id(image.id), human_size(sum(each.size_bytes for each in branches))])
            for position, each in enumerate(branches, start=1):
                document = each.document
                platform = Platform(architecture=document.architecture, os=document.os, variant=document.variant)
                branch = "└─" if position == len(branches) else "├─"
                lines.append([f"{branch} {platform_text(platform)}", short_id(each.id), human_size(each.size_bytes)])
    return lines


def _names(image: Image, *, digests: bool = False) -> Iterator[tuple[str, str, str]]:
    """(repository, tag, digest) for each line that an image gets."""
    of_repository = {name.partition("@")[0]: name.partition("@")[2] for name in image.repo_digests}
    tagged = set()
    for name in image.names:
        repository, _, tag = name.rpartition(":")
        tagged.add(repository)
        yield repository, tag, of_repository.get(repository, NONE)
    for repository, digest in of_repository.items():
        if repository not in tagged and (digests or not image.names):
            yield repository, NONE, digest
    if not image.names and not of_repository:
        yield NONE, NONE, NONE


def row_of(image: Image, repository: str, tag: str, digest: str, *, full: bool = False, templated: bool = False) -> Row:
    """The cells of a line; those that only a template shows are there when it is for one: they look into each image."""
    row = {
        "Repository": repository,
        "Tag": tag,
        "Digest": digest,
        "ID": image.id if full else short_id(image.id),
        "CreatedSince": ago(image.created),
        "Size": human_size(image.size_bytes),
    }
    if not templated:
        return row
    return row | {
        "CreatedAt": local_time(image.created),
        "Containers": "N/A",
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "VirtualSize": human_size(image.size_bytes, 4),
        "Label": label_of(image.labels),
    }


def rm(call: Call) -> int:
    force, prune = call.flags.on("force"), not call.flags.on("no-prune")
    platforms = [text for value in call.flags.list("platform") for text in value.split(",") if text]
    failed = False
    for name in call.arguments:
        try:
            removals = call.engine.images.remove(name, force=force, prune=prune, platforms=platforms)
        except NotFound as error:
            complain(error)
            failed = failed or not force
        except InceptionError as error:
            complain(error)
            failed = True
        else:
            for removal in removals:
                print(f"Untagged: {removal.untagged}" if removal.untagged else f"Deleted: {removal.deleted}")
            sys.stdout.flush()
    return int(failed)


def tag(call: Call) -> int:
    call.engine.images.tag(*call.arguments)
    return 0


def history(call: Call) -> int:
    flags = call.flags
    entries = call.engine.images.history(call.arguments[0], platform=flags.text("platform"))
    full, human = flags.on("no-trunc"), flags.on("human")
    if flags.on("quiet"):
        write("".join((entry.id if full else short_id(entry.id)) + "\n" for entry in entries))
        return 0
    rows = [_history_row(entry, full=full, human=human) for entry in entries]
    write(HISTORY_LISTING.render(rows, flags.text("format"), None if human else _HISTORY_EXACT))
    return 0


def _history_row(entry: HistoryEntry, *, full: bool, human: bool) -> Row:
    created_by = printable(entry.created_by.replace("\t", " "))
    return {
        "ID": entry.id if full else short_id(entry.id) if entry.id.startswith("sha256:") else entry.id,
        "CreatedSince": ago(entry.created) if human else rfc3339(entry.created),
        "CreatedAt": rfc3339(entry.created),
        "CreatedBy": created_by if full else ellipsis(created_by, _CREATED_BY_WIDTH),
        "Size": human_size(entry.size_bytes) if human else str(entry.size_bytes),
        "Comment": printable(entry.comment),
    }


LS = Command(
    ls,
    "[OPTIONS] [REPOSITORY[:TAG]]",
    "List images",
    """\
  -a, --all             Show all images (default hides intermediate images)
      --digests         Show digests
  -f, --filter filter   Filter output based on conditions provided
      --format string   Format output: "table", "table TEMPLATE", "json", or a Go template
      --no-trunc        Don't truncate output
  -q, --quiet           Only show image IDs
      --tree            List the platforms of each image
""",
    maximum=1,
)
RM = Command(
    rm,
    "[OPTIONS] IMAGE [IMAGE...]",
    "Remove one or more images",
    """\
  -f, --force              Force removal of the image
      --no-prune           Do not delete untagged parents
      --platform strings   Remove only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")
""",
    minimum=1,
)
TAG = Command(
    tag,
    "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    minimum=2,
    maximum=2,
)
HISTORY = Command(
    history,
    "[OPTIONS] IMAGE",
    "Show the history of an image",
    """\
      --format string     Format output: "table", "table TEMPLATE", "json", or a Go template
  -H, --human             Print sizes and dates in human readable format (default true)
      --no-trunc          Don't truncate output
      --platform string   Show the history of the image for this platform
  -q, --quiet             Only show image IDs
""",
    minimum=1,
    maximum=1,
)
