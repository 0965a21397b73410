"""`compose attach`, `commit`, `export` and `stats`: the verbs of the same names, for the containers of a service."""

from __future__ import annotations

from inception.cli import attach as attach_verb
from inception.cli import files
from inception.cli import stats as stats_verb
from inception.cli.call import Call
from inception.cli.compose import dry_run, load_project
from inception.cli.compose_exec import container_of
from inception.cli.flags import Command
from inception.cli.format import write
from inception.compose import labels
from inception.compose.observe import containers_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_INDEX = "      --index int            Number of the container, if the service has several\n"
_DRY = "      --dry-run   Show what would be done, and do nothing\n"


def _of_service(verb: Callable[[Call], int]) -> Callable[[Call], int]:
    def run(call: Call) -> int:
        service, *rest = call.arguments
        project = load_project(call, [service], without_file=True)
        container = container_of(call, project, service, call.flags.number("index"))
        if dry_run(call):
            print(f"{call.path.rpartition(' ')[2]} {container.name}")
            return 0
        call.arguments = [container.name, *rest]
        return verb(call)

    return run


def stats(call: Call) -> int:
    project = load_project(call, call.arguments, without_file=True)
    wanted = set(call.arguments)
    found = [
        container.name
        for container in containers_of(call.engine, project.name)
        if (not wanted or container.labels.get(labels.SERVICE) in wanted)
        and (call.flags.on("all") or container.record.state.status in ("running", "paused"))
    ]
    call.arguments = sorted(found)
    return stats_verb.stats(call) if found else _nothing(call)


def _nothing(call: Call) -> int:
    """No name would mean every container of the machine."""
    write(stats_verb.LISTING.render([], call.flags.text("format")))
    return 0


def _like(verb: Command, usage: str, minimum: int, maximum: int) -> Command:
    """*verb* for a service in the place of its container."""
    hidden = verb.hidden + _DRY
    return Command(
        _of_service(verb.run), usage, verb.summary, verb.options + _INDEX, minimum=minimum, maximum=maximum, hidden=hidden
    )


ATTACH = _like(attach_verb.ATTACH, "[OPTIONS] SERVICE", 1, 1)
COMMIT = _like(files.COMMIT, "[OPTIONS] SERVICE [REPOSITORY[:TAG]]", 1, 2)
EXPORT = _like(files.EXPORT, "[OPTIONS] SERVICE", 1, 1)
STATS = Command(
    stats,
    "[OPTIONS] [SERVICE...]",
    stats_verb.STATS.summary,
    stats_verb.STATS.options,
    hidden=_DRY,
)
