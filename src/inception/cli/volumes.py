"""`volume`: create, ls, rm."""

from __future__ import annotations

from inception.cli.call import Call, for_each
from inception.cli.flags import Command, UsageError, more
from inception.cli.format import Listing, label_of, labels_text, write
from inception.cli.run_config import labels_of
from inception.engine.config import VolumeConfig
from inception.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.cli.format import Row
    from inception.engine.volumes import Volume

LISTING = Listing(
    {
        "Driver": "DRIVER",
        "Name": "VOLUME NAME",
        "Scope": "SCOPE",
        "Mountpoint": "MOUNTPOINT",
        "Labels": "LABELS",
        "Links": "LINKS",
        "Size": "SIZE",
    },
    ("Driver", "Name"),
)


def create(call: Call) -> int:
    flags = call.flags
    try:
        labels = labels_of(flags.list("label"))
    except ValueError as error:
        raise UsageError(str(error), more(call.path)) from None
    name = call.arguments[0] if call.arguments else flags.text("name")
    if call.arguments and flags.given("name"):
        raise UsageError(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg", exit_code=1
        )
    config = VolumeConfig(name=name, driver=flags.text("driver"), driver_options=flags.map("opt"), labels=labels)
    print(call.engine.volumes.create(config).name)
    return 0


def ls(call: Call) -> int:
    flags = call.flags
    volumes = call.engine.volumes.list(flags.filters())
    if flags.on("quiet"):
        write("".join(volume.name + "\n" for volume in volumes))
        return 0
    write(LISTING.render([row_of(volume) for volume in volumes], flags.text("format")))
    return 0


def row_of(volume: Volume) -> Row:
    return {
        "Driver": volume.config.driver,
        "Name": volume.name,
        "Scope": "local",
        "Mountpoint": volume.mountpoint,
        "Labels": labels_text(volume.labels),
        "Links": "N/A",
        "Size": "N/A",
        "Label": label_of(volume.labels),
    }


def rm(call: Call) -> int:
    force = call.flags.on("force")

    def remove(name: str) -> None:
        try:
            call.engine.volumes.get(name).remove(force=force)
        except NotFound:
            if not force:
                raise

    return for_each(call.arguments, remove)


_CLUSTER = "cluster volumes belong to Swarm, which is not supported"

CREATE = Command(
    create,
    "[OPTIONS] [VOLUME]",
    "Create a volume",
    """\
  -d, --driver string   Specify volume driver name (default "local")
      --label list      Set metadata for a volume
  -o, --opt map         Set driver specific options
""",
    maximum=1,
    hidden="      --name string   Name of the volume\n",
    refused=dict.fromkeys(
        [
            "availability",
            "group",
            "limit-bytes",
            "required-bytes",
            "scope",
            "secret",
            "sharing",
            "topology-preferred",
            "topology-required",
            "type",
        ],
        _CLUSTER,
    ),
)
LS = Command(
    ls,
    "[OPTIONS]",
    "List volumes",
    """\
  -f, --filter filter   Provide filter values (e.g. "dangling=true")
      --format string   Format output: "table", "table TEMPLATE", "json", or a Go template
  -q, --quiet           Only display volume names
""",
    maximum=0,
    refused={"cluster": _CLUSTER},
)
RM = Command(
    rm,
    "[OPTIONS] VOLUME [VOLUME...]",
    "Remove one or more volumes",
    "  -f, --force   Force the removal of one or more volumes\n",
    minimum=1,
)
