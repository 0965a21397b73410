"""`compose`: the flags of the project, then a verb of its own table.

Each verb is a `flags.Command` in one of the `compose_*` modules, imported when it is asked for. What stands before the verb
says which files make the project; `Settings` carries it to the verb, which loads the project when it needs one.
"""

from __future__ import annotations

import os
import sys

from inception.cli.call import Call, Settings
from inception.cli.flags import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from inception.cli.flags import Flags
    from inception.compose.model import Project
    from inception.compose.progress import Progress

VERBS: dict[str, tuple[str, str]] = {
    "attach": ("compose_container:ATTACH", "Attach local standard input, output, and error streams to a service's container"),
    "build": ("compose_up:BUILD", "Build or rebuild services"),
    "commit": ("compose_container:COMMIT", "Create a new image from a service container's changes"),
    "config": ("compose_config:CONFIG", "Parse, resolve and render compose file in canonical format"),
    "cp": ("compose_exec:CP", "Copy files/folders between a service container and the local filesystem"),
    "create": ("compose_up:CREATE", "Creates containers for a service"),
    "down": ("compose_up:DOWN", "Stop and remove containers, networks"),
    "events": ("compose_show:EVENTS", "Receive real time events from containers"),
    "exec": ("compose_exec:EXEC", "Execute a command in a running container"),
    "export": ("compose_container:EXPORT", "Export a service container's filesystem as a tar archive"),
    "images": ("compose_show:IMAGES", "List images used by the created containers"),
    "kill": ("compose_life:KILL", "Force stop service containers"),
    "logs": ("compose_logs:LOGS", "View output from containers"),
    "ls": ("compose_show:LS", "List running compose projects"),
    "pause": ("compose_life:PAUSE", "Pause services"),
    "port": ("compose_show:PORT", "Print the public port for a port binding"),
    "ps": ("compose_show:PS", "List containers"),
    "pull": ("compose_up:PULL", "Pull service images"),
    "push": ("compose_up:PUSH", "Push service images"),
    "restart": ("compose_life:RESTART", "Restart service containers"),
    "rm": ("compose_life:RM", "Removes stopped service containers"),
    "run": ("compose_exec:RUN", "Run a one-off command on a service"),
    "scale": ("compose_up:SCALE", "Scale services"),
    "start": ("compose_life:START", "Start services"),
    "stats": ("compose_container:STATS", "Display a live stream of container(s) resource usage statistics"),
    "stop": ("compose_life:STOP", "Stop services"),
    "top": ("compose_show:TOP", "Display the running processes"),
    "unpause": ("compose_life:UNPAUSE", "Unpause services"),
    "up": ("compose_up:UP", "Create and start containers"),
    "version": ("compose_show:VERSION", "Show the version information"),
    "volumes": ("compose_show:VOLUMES", "List volumes"),
    "wait": ("compose_life:WAIT", "Block until containers of all (or specified) services stop."),
    "watch": ("compose_watch:WATCH", "Watch build context for service and rebuild/refresh containers when files are updated"),
}
ABSENT: dict[str, str] = {
    "alpha": "the experimental commands are Docker's own",
    "bridge": "models are not converted",
    "publish": "projects are not published to registries",
}


class ComposeSettings(Settings):
    """The global flags with those of `compose`."""

    def __init__(self, settings: Settings, flags: Flags) -> None:
        super().__init__()
        self.__dict__.update(settings.__dict__)
        self.flags = flags


def flags_of(call: Call) -> Flags:
    """The flags that stood before the verb."""
    assert isinstance(call.settings, ComposeSettings)
    return call.settings.flags


def load_project(
    call: Call,
    services: Sequence[str] = (),
    *,
    all_resources: bool = False,
    interpolated: bool = True,
    without_file: bool = False,
    every_profile: bool = False,
) -> Project:
    """The project that the flags name; *services* are those that the verb was given.

    *without_file*: for what exists its name is enough, from -p or COMPOSE_PROJECT_NAME, where no file is found.
    """
    from inception.compose.load import FileMissing

    flags = flags_of(call)
    name = flags.text("project-name") or os.environ.get("COMPOSE_PROJECT_NAME", "")
    try:
        return _load_files(call, services, all_resources=all_resources, interpolated=interpolated, every_profile=every_profile)
    except FileMissing:
        if not without_file or not name:
            raise
    from inception.compose.adopt import project_of_labels

    return project_of_labels(call.engine, name)


def _load_files(
    call: Call, services: Sequence[str], *, all_resources: bool, interpolated: bool, every_profile: bool
) -> Project:
    from inception.compose.load import load

    flags = flags_of(call)
    return load(
        flags.list("file"),
        env_files=flags.list("env-file"),
        project_name=flags.text("project-name"),
        project_directory=flags.text("project-directory"),
        profiles=["*"] if every_profile else flags.list("profile"),
        services=services,
        interpolated=interpolated,
        all_resources=all_resources or flags.on("all-resources"),
        warn=warn,
    )


def warn(text: str) -> None:
    print(f"WARN: {text}", file=sys.stderr)


def progress_of(call: Call, *, quiet: bool = False) -> Progress:
    from inception.compose.progress import open_progress

    flags = flags_of(call)
    return open_progress("quiet" if quiet else flags.text("progress"), flags.text("ansi"))


def dry_run(call: Call) -> bool:
    return call.flags.on("dry-run") or flags_of(call).on("dry-run")


def colour(call: Call) -> bool:
    """Whether output on stdout may be coloured."""
    ansi = flags_of(call).text("ansi")
    return ansi == "always" or (ansi == "auto" and os.isatty(1) and not os.environ.get("NO_COLOR"))


def parallel(call: Call) -> int:
    flags = flags_of(call)
    limit = os.environ.get("COMPOSE_PARALLEL_LIMIT", "")
    return flags.number("parallel") if flags.given("parallel") else int(limit) if limit.isdecimal() else -1


def compose(call: Call) -> int:
    from inception.cli.main import run_command

    if not call.arguments:
        print(COMPOSE.help(call.path), end="")
        return 0
    verb, *rest = call.arguments
    if call.flags.given("progress"):
        from inception.compose.progress import check_progress

        check_progress(call.flags.text("progress"))
    if verb == "help":
        return _help(call, rest)
    if verb not in VERBS:
        return _unknown(call, verb)
    return run_command(_load(verb), f"{call.path} {verb}", "", ComposeSettings(call.settings, call.flags), rest)


def _load(verb: str) -> Command:
    module, _, attribute = VERBS[verb][0].partition(":")
    return getattr(__import__(f"inception.cli.{module}", fromlist=[attribute]), attribute)  # type: ignore[no-any-return]


def _help(call: Call, words: list[str]) -> int:
    if words and words[0] in VERBS:
        print(_load(words[0]).help(f"{call.path} {words[0]}"), end="")
    else:
        print(COMPOSE.help(call.path), end="")
    return 0


def _unknown(call: Call, verb: str) -> int:
    if verb in ABSENT:
        print(f"inception: 'compose {verb}' is not supported: {ABSENT[verb]}", file=sys.stderr)
        return 1
    print(f"inception: unknown command: {call.path} {verb}", file=sys.stderr)
    from difflib import get_close_matches

    from inception.cli.flags import more

    close = get_close_matches(verb, VERBS, n=1)
    if close:
        print(f"hint: did you mean '{call.path} {close[0]}'?", file=sys.stderr)
    print(more(call.path), file=sys.stderr)
    return 1


class _Group(Command):
    """A command whose page lists its verbs."""

    def help(self, path: str, aliases: str = "") -> str:
        rows = "".join(f"  {name.ljust(12)}{summary}\n" for name, (_, summary) in VERBS.items())
        more = f"Run '{path} COMMAND --help' for more information on a command.\n"
        return f"{super().help(path, aliases)}\nCommands:\n{rows}\n{more}"


COMPOSE = _Group(
    compose,
    "[OPTIONS] COMMAND",
    "Define and run multi-container applications",
    """\
      --all-resources              Include all resources, even those not used by services
      --ansi string                Control when to print ANSI control characters ("never"|"always"|"auto") (default "auto")
      --dry-run                    Show what would be done, and do nothing
      --env-file list              Specify an alternate environment file
  -f, --file list                  Compose configuration files
      --parallel int               Control max parallelism, -1 for unlimited (default -1)
      --profile list               Specify a profile to enable
      --progress string            Set type of progress output (auto, tty, plain, json, quiet)
      --project-directory string   Specify an alternate working directory
                                   (default: the path of the, first specified, Compose file)
  -p, --project-name string        Project name
""",
    interspersed=False,
    refused={"compatibility": "container names have dashes, as Docker Compose's have since version 2"},
)
