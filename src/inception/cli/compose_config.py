"""`compose config`: the project as it was understood. Reads files, asks the engine nothing, writes only where `-o` says."""

from __future__ import annotations

import os

from inception.cli.call import Call
from inception.cli.compose import load_project
from inception.cli.flags import Command
from inception.cli.format import write
from inception.errors import InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.compose.model import Project


def config(call: Call) -> int:
    flags = call.flags
    project = load_project(
        call, call.arguments, interpolated=not flags.on("no-interpolate"), every_profile=flags.on("profiles")
    )
    for name in call.arguments:
        if name not in project.services:
            raise NotFound(f"no such service: {name}")
    text = _text(call, project)
    if flags.on("quiet"):
        return 0
    if flags.text("output"):
        _save(flags.text("output"), text)
    else:
        write(text)
    return 0


def _text(call: Call, project: Project) -> str:
    flags = call.flags
    if flags.on("services"):
        return _lines(project.services)
    if flags.on("volumes"):
        return _lines(sorted(project.volumes))
    if flags.on("networks"):
        return _lines(sorted(project.networks))
    if flags.on("profiles"):
        services = project.tree["services"]
        assert isinstance(services, dict)
        return _lines(sorted({profile for service in services.values() for profile in service.get("profiles") or ()}))
    if flags.on("images"):
        from inception.compose.container import image_name

        return _lines([image_name(project, project.services[name]) for name in sorted(project.services)])
    if flags.given("hash"):
        return _hashes(project, flags.text("hash"))
    if flags.on("environment"):
        return _lines(f"{key}={value}" for key, value in sorted(project.environment.items()))
    if flags.on("variables"):
        return _variables(project, flags.text("format"))
    return _document(project, flags.text("format"), call.arguments, escape=not flags.on("no-interpolate"))


def _variables(project: Project, style: str) -> str:
    from inception.cli.format import columns
    from inception.compose.load import read_trees
    from inception.compose.variables import variables_of

    found = variables_of(*(tree for path in project.files for tree in read_trees(path)))
    if style == "json":
        import json

        shown = {
            each.name: {
                "Name": each.name,
                "DefaultValue": each.default,
                "PresenceValue": each.presence,
                "Required": each.required,
            }
            for each in found
        }
        return json.dumps(shown, indent=4, ensure_ascii=False) + "\n"
    rows = [[each.name, str(each.required).lower(), each.default, each.presence] for each in found]
    return columns([["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"], *rows])


def _lines(found: object) -> str:
    return "".join(f"{each}\n" for each in found)  # type: ignore[attr-defined]


def _hashes(project: Project, wanted: str) -> str:
    from inception.compose.hashing import service_hash

    names = sorted(project.services) if wanted == "*" else wanted.split(",")
    for name in names:
        if name not in project.services:
            raise NotFound(f"no such service: {name}")
    return _lines(f"{name} {service_hash(project, project.services[name])}" for name in names)


def _document(project: Project, style: str, names: list[str], *, escape: bool) -> str:
    from inception.compose.emit import config_tree, in_alphabet, json_tree, to_json, to_yaml

    if style not in ("", "yaml", "json"):
        raise InvalidArgument(f"unsupported format {style!r}", "yaml and json are")
    tree = config_tree(project, escape=escape)
    if names:
        from inception.compose.normalise import select

        chosen = select(project, names)
        tree["services"] = {name: value for name, value in tree["services"].items() if name in chosen}
    if not escape:  # not interpolated: Docker Compose shows what it read, not its structs
        tree = in_alphabet(tree)
    elif style == "json":
        tree = json_tree(tree)
    return to_json(tree) + "\n" if style == "json" else to_yaml(tree)


def _save(path: str, text: str) -> None:
    fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with open(fd, "w") as file:
        file.write(text)
    os.rename(f"{path}.new", path)


CONFIG = Command(
    config,
    "[OPTIONS] [SERVICE...]",
    "Parse, resolve and render compose file in canonical format",
    """\
      --environment      Print environment used for interpolation.
      --format string    Format the output. Values: [yaml | json]
      --hash string      Print the service config hash, one per line.
      --images           Print the image names, one per line.
      --networks         Print the network names, one per line.
      --no-interpolate   Don't interpolate environment variables
  -o, --output string    Save to file (default to stdout)
      --profiles         Print the profile names, one per line.
  -q, --quiet            Only validate the configuration, don't print anything
      --services         Print the service names, one per line.
      --variables        Print model variables and default values.
      --volumes          Print the volume names, one per line.
""",
    hidden="      --dry-run\n",
    refused={
        "lock-image-digests": "images are not pinned",
        "models": "models are not supported",
        "no-consistency": "an inconsistent project is always an error",
        "no-env-resolution": "env files are always read",
        "no-normalize": "the output is always complete",
        "no-path-resolution": "paths are always absolute",
        "resolve-image-digests": "images are not pinned",
    },
)
