"""`manifest`: documents of registries as they are, and images of several platforms under one name."""

from __future__ import annotations

import sys

from inception.cli.call import Call, complain
from inception.cli.flags import Command
from inception.cli.progress import PullProgress
from inception.errors import InceptionError, InvalidArgument, NotFound


def inspect(call: Call) -> int:
    import json  # indented, as people read it

    from inception.store.pull import fetch_document

    *lists, name = call.arguments
    if lists:
        known = call.engine.images.manifest_lists.get(lists[0])
        wanted = _full(name)
        found = next((entry for entry in known.entries if entry.source == wanted), None)
        if found is None:
            raise NotFound(f"manifest for image {name} does not exist in {lists[0]}")
        name = f"{wanted.partition('@')[0].rpartition(':')[0] or wanted}@{found.descriptor.digest}"
    data, media_type = (None, "") if lists else _in_the_making(call, name)
    if data is None:
        data, media_type = fetch_document(name)
    if call.flags.on("verbose"):
        print(f"{media_type}, {len(data)} bytes", file=sys.stderr)
    value = json.loads(data)
    print(json.dumps(value, indent="   " if "manifests" in value else "\t", ensure_ascii=False))  # as Docker does
    return 0


def _in_the_making(call: Call, name: str) -> tuple[bytes | None, str]:
    try:
        data = call.engine.images.manifest_lists.get(name).index()
    except InceptionError:  # none of that name, or a name that no list can have
        return None, ""
    return data, "manifest list, not pushed yet"


def _full(name: str) -> str:
    from inception.oci.reference import Reference

    return str(Reference.parse(name))


def create(call: Call) -> int:
    name, *sources = call.arguments
    made = call.engine.images.manifest_lists.create(name, sources, amend=call.flags.on("amend"))
    print(f"Created manifest list {made.name}")
    return 0


def annotate(call: Call) -> int:
    from inception.oci.image import Platform

    flags = call.flags
    platform = Platform(
        architecture=flags.text("arch"),
        os=flags.text("os"),
        os_version=flags.text("os-version"),
        os_features=flags.list("os-features"),
        variant=flags.text("variant"),
    )
    name, source = call.arguments
    call.engine.images.manifest_lists.annotate(name, source, platform)
    return 0


def rm(call: Call) -> int:
    failed = False
    for name in call.arguments:
        try:
            call.engine.images.manifest_lists.remove(name)
        except InceptionError as error:
            complain(error)
            failed = True
    return int(failed)


def push(call: Call) -> int:
    name, *sources = call.arguments
    images, flags = call.engine.images, call.flags
    progress = PullProgress(sys.stdout, quiet=flags.on("quiet"))
    if not sources:
        pushed = images.manifest_lists.push(name, progress)
        if flags.on("purge"):
            images.manifest_lists.remove(name)
    elif flags.on("purge"):
        raise InvalidArgument("--purge is for lists of `manifest create`: nothing is kept of images that are pushed by name")
    else:
        pushed = images.push_index(name, sources, progress=progress, compression=flags.text("compression-format"))
    print(pushed.digest)
    return 0


_INSECURE = {"insecure": "say which hosts are in registries.json"}

INSPECT = Command(
    inspect,
    "[OPTIONS] [MANIFEST_LIST] MANIFEST",
    "Display an image manifest, or manifest list",
    "  -v, --verbose   Say media type and size, too\n",
    minimum=1,
    maximum=2,
    refused=_INSECURE,
)
CREATE = Command(
    create,
    "MANIFEST_LIST MANIFEST [MANIFEST...]",
    "Create a local manifest list for annotating and pushing to a registry",
    "  -a, --amend   Amend an existing manifest list\n",
    minimum=2,
    refused=_INSECURE,
)
ANNOTATE = Command(
    annotate,
    "[OPTIONS] MANIFEST_LIST MANIFEST",
    "Add additional information to a local image manifest",
    """\
      --arch string           Set architecture
      --os string             Set operating system
      --os-features strings   Set operating system feature
      --os-version string     Set operating system version
      --variant string        Set architecture variant
""",
    minimum=2,
    maximum=2,
)
RM = Command(
    rm,
    "MANIFEST_LIST [MANIFEST_LIST...]",
    "Delete one or more manifest lists from local storage",
    minimum=1,
)
PUSH = Command(
    push,
    "[OPTIONS] MANIFEST_LIST | NAME[:TAG] IMAGE [IMAGE...]",
    "Push a manifest list, or images that are here, under one name",
    """\
      --compression-format string   How layers made here are compressed ("gzip", "zstd") (default "gzip")
  -p, --purge                       Remove the local manifest list after push
  -q, --quiet                       Suppress verbose output
""",
    minimum=1,
    refused=_INSECURE,
)
