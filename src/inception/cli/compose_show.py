"""`compose ps`, `images`, `ls`, `port`, `top`, `volumes`, `events`, `version`: what there is."""

from __future__ import annotations

from inception.cli.call import Call
from inception.cli.compose import load_project
from inception.cli.compose_exec import container_of
from inception.cli.flags import Command
from inception.cli.format import ago, columns, human_size, printable, short_id, write
from inception.compose import labels
from inception.compose.observe import containers_of
from inception.errors import InvalidArgument, NotFound
from inception.oci.image import host_platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.engine.container import Container

_STATUSES = ("paused", "restarting", "removing", "running", "dead", "created", "exited")


def _json(value: Any) -> str:
    from inception.cli.template_values import to_json  # it knows regular expressions, which few need

    return to_json(value)


def _containers(call: Call, *, everything: bool = True, orphans: bool = True) -> list[Container]:
    """The containers of the services that were named, in the order of their names; *orphans* too when none was."""
    project = load_project(call, call.arguments, without_file=True)
    for name in call.arguments:
        if name not in project.services and name not in project.disabled:
            raise NotFound(f"no such service: {name}")
    found = containers_of(call.engine, project.name)
    if call.arguments:
        found = [each for each in found if each.labels.get(labels.SERVICE) in call.arguments]
    if not orphans:
        known = {*project.services, *project.disabled}
        found = [each for each in found if each.labels.get(labels.SERVICE) in known]
    if not everything:
        found = [
            each
            for each in found
            if each.record.state.status in ("running", "paused", "restarting") and each.labels.get(labels.ONEOFF) != "True"
        ]
    return sorted(found, key=lambda each: each.name)


def ps(call: Call) -> int:
    flags = call.flags
    wanted = _statuses(call)
    containers = _containers(call, everything=flags.on("all") or bool(wanted), orphans=flags.on("orphans"))
    if wanted:
        containers = [each for each in containers if each.record.state.status in wanted]
    if flags.on("quiet"):
        write("".join(f"{each.id}\n" for each in containers))
        return 0
    if flags.on("services"):
        write("".join(f"{name}\n" for name in dict.fromkeys(each.labels.get(labels.SERVICE, "") for each in containers)))
        return 0
    style = flags.text("format")
    if style == "json":
        write("".join(_json(_document(each)) + "\n" for each in containers))
        return 0
    from inception.cli.ps import row_of

    rows = [_row(each, row_of(each, full=flags.on("no-trunc"))) for each in containers]
    if style not in ("", "table"):
        from inception.cli.format import Listing

        write(Listing(_HEADINGS, tuple(_HEADINGS)).render(rows, style))
        return 0
    shown = ("Name", "Image", "Command", "Service", "RunningFor", "Status", "Ports")
    write(columns([[_HEADINGS[key] for key in shown], *([str(row[key]) for key in shown] for row in rows)]))
    return 0


_HEADINGS = {
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "Names": "NAMES",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "Project": "PROJECT",
    "Service": "SERVICE",
    "RunningFor": "CREATED",
    "CreatedAt": "CREATED AT",
    "Status": "STATUS",
    "State": "STATE",
    "Health": "HEALTH",
    "ExitCode": "EXIT CODE",
    "Ports": "PORTS",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
    "Size": "SIZE",
}


def _statuses(call: Call) -> list[str]:
    wanted = call.flags.list("status")
    for key, values in call.flags.filters().items():
        if key != "status":
            raise InvalidArgument(f"unknown filter {key!r}", "the filter is status")
        wanted += values
    for status in wanted:
        if status not in _STATUSES:
            raise InvalidArgument(f"invalid status {status!r}", f"one of {', '.join(_STATUSES)}")
    return wanted


def _row(container: Container, row: dict[str, object]) -> dict[str, object]:
    return {
        **row,
        "Name": row["Names"],
        "Project": container.labels.get(labels.PROJECT, ""),
        "Service": container.labels.get(labels.SERVICE, ""),
        "Health": row["HealthStatus"],
        "ExitCode": str(container.record.state.exit_code),
    }


def _document(container: Container) -> dict[str, object]:
    """One line of `ps --format json`, with the fields of Docker Compose in their order."""
    from inception.cli.ps import row_of

    row = _row(container, row_of(container, full=True))
    publishers = [
        {
            "URL": address,
            "TargetPort": port.container_port,
            "PublishedPort": port.host_port,
            "Protocol": port.protocol,
        }
        for port in container.record.state.ports
        for address in port.addresses
    ]
    names = (
        "Command CreatedAt ExitCode Health ID Image Labels LocalVolumes Mounts Name Names Networks Ports Project Publishers "
        "RunningFor Service Size State Status"
    )
    values = {**row, "ExitCode": container.record.state.exit_code, "Publishers": publishers}
    return {name: values[name] for name in names.split()}


def images(call: Call) -> int:
    flags = call.flags
    containers = _containers(call)
    own = host_platform()
    platform = "/".join(part for part in (own.os, own.architecture, own.variant) if part)
    rows = []
    for container in containers:
        try:
            image = call.engine.images.get(container.image_id)
            size, created = image.size_bytes, image.created
        except NotFound:
            size, created = 0, ""
        repository, _, tag = (
            container.image.rpartition(":") if ":" in container.image.rpartition("/")[2] else (container.image, "", "latest")
        )
        rows.append((container, repository, tag, size, created))
    if flags.on("quiet"):
        write("".join(f"{image_id}\n" for image_id in dict.fromkeys(row[0].image_id.removeprefix("sha256:") for row in rows)))
        return 0
    if flags.text("format") == "json":
        found = [
            {
                "ID": c.image_id,
                "ContainerName": c.name,
                "Repository": r,
                "Tag": t,
                "Platform": platform,
                "Size": s,
                "Created": created,
            }
            for c, r, t, s, created in rows
        ]
        write(_json(found) + "\n")
        return 0
    heading = ["CONTAINER", "REPOSITORY", "TAG", "PLATFORM", "IMAGE ID", "SIZE", "CREATED"]
    lines = [[c.name, r, t, platform, short_id(c.image_id), human_size(s), ago(created)] for c, r, t, s, created in rows]
    write(columns([heading, *lines]))
    return 0


def ls(call: Call) -> int:
    flags = call.flags
    projects: dict[str, list[Container]] = {}
    for container in call.engine.containers.list(all=True, filters={"label": [labels.PROJECT]}):
        projects.setdefault(container.labels[labels.PROJECT], []).append(container)
    rows = []
    for name in sorted(projects):
        states: dict[str, int] = {}
        for container in projects[name]:
            status = container.record.state.status
            states[status] = states.get(status, 0) + 1
        if not flags.on("all") and "running" not in states:
            continue
        wanted = flags.filters().get("name")
        if wanted and not any(each in name for each in wanted):
            continue
        files = next((each.labels[labels.CONFIG_FILES] for each in projects[name] if labels.CONFIG_FILES in each.labels), "")
        rows.append((name, ", ".join(f"{status}({count})" for status, count in sorted(states.items())), files))
    if flags.on("quiet"):
        write("".join(f"{row[0]}\n" for row in rows))
    elif flags.text("format") == "json":
        write(_json([{"Name": n, "Status": s, "ConfigFiles": f} for n, s, f in rows]) + "\n")
    else:
        write(columns([["NAME", "STATUS", "CONFIG FILES"], *(list(row) for row in rows)]))
    return 0


def port(call: Call) -> int:
    service, private = call.arguments
    project = load_project(call, [service], without_file=True)
    container = container_of(call, project, service, call.flags.number("index"))
    protocol = call.flags.text("protocol")
    for binding in container.record.state.ports:
        if str(binding.container_port) == private and binding.protocol == protocol:
            print(binding.places[0])
            return 0
    raise NotFound(f"no port {private}/{protocol} for container {container.name}")


def top(call: Call) -> int:
    containers = _containers(call, everything=False)
    lines: list[list[str]] = []
    for container in containers:
        result = container.top()
        if not lines:
            lines.append(["SERVICE", "#", *result.titles])
        own = [container.labels.get(labels.SERVICE, ""), container.labels.get(labels.NUMBER, "")]
        lines += [[*own, *(printable(cell) for cell in process)] for process in result.processes]
    if lines:
        write(columns(lines))
    return 0


def volumes(call: Call) -> int:
    project = load_project(call, call.arguments, without_file=True)
    names = {each.name for each in project.volumes.values()}
    found = [
        each for each in call.engine.volumes.list() if each.name in names or each.labels.get(labels.PROJECT) == project.name
    ]
    if call.flags.on("quiet"):
        write("".join(f"{each.name}\n" for each in found))
    else:
        from inception.cli.volumes import LISTING, row_of

        write(LISTING.render([row_of(each) for each in found], call.flags.text("format")))
    return 0


def events(call: Call) -> int:
    flags = call.flags
    project = load_project(call, call.arguments, without_file=True)
    filters = {"type": ["container"], "label": [f"{labels.PROJECT}={project.name}"]}
    try:
        for event in call.engine.events.read(
            since=flags.text("since"), until=flags.text("until"), filters=filters, follow=True
        ):
            service = event.attributes.get(labels.SERVICE, "")
            if call.arguments and service not in call.arguments:
                continue
            from inception.monitor.times import timestamp

            own = {key: value for key, value in event.attributes.items() if not key.startswith("com.docker.compose.")}
            when = timestamp(event.time_ns)
            if flags.on("json"):
                found = {
                    "time": when,
                    "type": event.type,
                    "service": service,
                    "action": event.action,
                    "id": event.id,
                    "attributes": own,
                }
                write(_json(found) + "\n")
            else:
                shown = ", ".join(f"{key}={value}" for key, value in sorted(own.items()))
                write(f"{when} {event.type} {event.action} {event.id} ({shown})\n")
    except KeyboardInterrupt:
        return 130
    return 0


def version(call: Call) -> int:
    from inception import __version__

    if call.flags.on("short"):
        print(__version__)
    elif call.flags.text("format") == "json":
        print(_json({"version": __version__}))
    else:
        print(f"Inception Compose version {__version__}")
    return 0


_DRY = "      --dry-run\n"

PS = Command(
    ps,
    "[OPTIONS] [SERVICE...]",
    "List containers",
    """\
  -a, --all             Show all stopped containers (including those created by the run command)
      --filter filter   Filter services by a property (supported filters: status)
      --format string   Format output: "table", "json", or a Go template (default "table")
      --no-trunc        Don't truncate output
      --orphans         Include orphaned services (not declared by project) (default true)
  -q, --quiet           Only display IDs
      --services        Display services
      --status list     Filter services by status. Values: [paused | restarting | removing | running | dead | created | exited]
""",
    hidden=_DRY,
)
IMAGES = Command(
    images,
    "[OPTIONS] [SERVICE...]",
    "List images used by the created containers",
    """\
      --format string   Format the output. Values: [table | json] (default "table")
  -q, --quiet           Only display IDs
""",
    hidden=_DRY,
)
LS = Command(
    ls,
    "[OPTIONS]",
    "List running compose projects",
    """\
  -a, --all             Show all stopped Compose projects
      --filter filter   Filter output based on conditions provided
      --format string   Format the output. Values: [table | json] (default "table")
  -q, --quiet           Only display project names
""",
    maximum=0,
    hidden=_DRY,
)
PORT = Command(
    port,
    "[OPTIONS] SERVICE PRIVATE_PORT",
    "Print the public port for a port binding",
    """\
      --index int         Index of the container if service has multiple replicas
      --protocol string   tcp or udp (default "tcp")
""",
    minimum=2,
    maximum=2,
    hidden=_DRY,
)
TOP = Command(top, "[SERVICES...]", "Display the running processes", hidden=_DRY)
VOLUMES = Command(
    volumes,
    "[OPTIONS] [SERVICE...]",
    "List volumes",
    """\
      --format string   Format output: "table" or "json" (default "table")
  -q, --quiet           Only display volume names
""",
    hidden=_DRY,
)
EVENTS = Command(
    events,
    "[OPTIONS] [SERVICE...]",
    "Receive real time events from containers",
    """\
      --json            Output events as a stream of json objects
      --since string    Show all events created since timestamp
      --until string    Stream events until this timestamp
""",
    hidden=_DRY,
)
VERSION = Command(
    version,
    "[OPTIONS]",
    "Show the version information",
    """\
  -f, --format string   Format the output. Values: [pretty | json] (default "pretty")
      --short           Shows only the version number
""",
    maximum=0,
    hidden=_DRY,
)
