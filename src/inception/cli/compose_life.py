"""`compose start`, `stop`, `restart`, `kill`, `rm`, `pause`, `unpause`, `wait`: verbs on containers that exist."""

from __future__ import annotations

import sys

from inception.cli.call import Call, confirm
from inception.cli.compose import dry_run, load_project, parallel, progress_of
from inception.cli.flags import Command
from inception.compose import labels
from inception.compose.execute import Executor
from inception.compose.normalise import select
from inception.compose.observe import containers_of, observe
from inception.compose.plan import REMOVE_CONTAINER, Operation, Plan
from inception.compose.teardown import plan_start, plan_stop
from inception.errors import InceptionError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.compose.model import Project
    from inception.compose.observe import Observed, ObservedContainer
    from inception.engine.container import Container


def _project(call: Call) -> tuple[Project, Observed]:
    project = load_project(call, call.arguments, all_resources=True, without_file=True)
    for name in call.arguments:
        if name not in project.services:
            raise NotFound(f"no such service: {name}")
    return project, observe(call.engine, project)


def _chosen(call: Call, project: Project, observed: Observed) -> list[ObservedContainer]:
    """The containers of the services that were named, or else of all whose profile is on."""
    wanted = call.arguments or project.services
    return [each for each in observed.containers if not each.oneoff and each.service in wanted]


def _timeout(call: Call) -> float | None:
    return float(call.flags.number("timeout")) if call.flags.given("timeout") else None


def _run(
    call: Call, project: Project, *plans: Plan, stop_timeout_s: float | None = None, wait_timeout_s: float | None = None
) -> int:
    if dry_run(call):
        for plan in plans:
            print(plan, end="")
        return 0
    progress = progress_of(call)
    executor = Executor(
        call.engine,
        project,
        progress,
        parallel=parallel(call),
        stop_timeout_s=stop_timeout_s,
        wait_timeout_s=wait_timeout_s,
    )
    try:
        for plan in plans:
            executor.run(plan)
    finally:
        progress.close()
    return 0


def start(call: Call) -> int:
    project, observed = _project(call)
    flags = call.flags
    plan = plan_start(project, observed, select(project, call.arguments), wait=flags.on("wait"))
    timeout_s = float(flags.number("wait-timeout")) if flags.number("wait-timeout") else None
    return _run(call, project, plan, wait_timeout_s=timeout_s)


def stop(call: Call) -> int:
    project, observed = _project(call)
    return _run(call, project, plan_stop(observed, _chosen(call, project, observed)), stop_timeout_s=_timeout(call))


def restart(call: Call) -> int:
    project, observed = _project(call)
    chosen = _chosen(call, project, observed)
    services = {each.service for each in chosen}
    names = [name for name in select(project, call.arguments, with_dependencies=False) if name in services]
    plans = plan_stop(observed, chosen), plan_start(project, observed, names, again=True)
    return _run(call, project, *plans, stop_timeout_s=_timeout(call))


def rm(call: Call) -> int:
    flags = call.flags
    project, observed = _project(call)
    chosen = _chosen(call, project, observed)
    plans = []
    if flags.on("stop"):
        plans.append(plan_stop(observed, chosen))
    else:
        chosen = [each for each in chosen if not each.running]
    if not chosen:
        print("No stopped containers", file=sys.stderr)
        return 0
    if not dry_run(call):
        print("Going to remove " + ", ".join(each.name for each in chosen))
        if not flags.on("force") and not confirm("Are you sure?"):
            return 0
    removal = Plan(
        operations=[
            Operation(
                kind=REMOVE_CONTAINER,
                target=each.name,
                key=each.service,
                container_id=each.id,
                volumes=flags.on("volumes"),
                inherited=each.volumes,
            )
            for each in chosen
        ]
    )
    return _run(call, project, *plans, removal)


def kill(call: Call) -> int:
    signal = call.flags.text("signal") or "SIGKILL"
    return _each(
        call,
        ("running", "paused", "restarting"),
        lambda container: container.kill(signal),
        "Killed",
        orphans=call.flags.on("remove-orphans"),
    )


def pause(call: Call) -> int:
    return _each(call, ("running",), lambda container: container.pause(), "Paused")


def unpause(call: Call) -> int:
    return _each(call, ("paused",), lambda container: container.unpause(), "Unpaused")


def _each(call: Call, states: tuple[str, ...], act: Callable[[Container], None], word: str, *, orphans: bool = False) -> int:
    """Does *act* to every chosen container in one of *states*; the first failure is the answer, after all were tried."""
    project, observed = _project(call)
    progress = progress_of(call)
    failure: InceptionError | None = None
    try:
        for each in observed.containers:
            wanted = each.service in call.arguments if call.arguments else each.service in project.services or orphans
            if each.status not in states or not wanted or dry_run(call):
                continue
            try:
                act(call.engine.containers.get(each.id))
                progress.update(f"Container {each.name}", word, done=True)
            except InceptionError as error:
                progress.update(f"Container {each.name}", "Error", failed=True)
                failure = failure or error
    finally:
        progress.close()
    if failure is not None:
        raise failure
    return 0


def wait(call: Call) -> int:
    """Waits for one container of the chosen services to end; its exit code is the answer."""
    import threading

    project, _ = _project(call)
    containers = [
        each
        for each in containers_of(call.engine, project.name)
        if each.labels.get(labels.SERVICE) in call.arguments and each.record.state.status in ("running", "paused", "restarting")
    ]
    if not containers:
        raise NotFound(f"no containers for project {project.name!r}")
    ended = threading.Event()
    codes: list[tuple[str, int]] = []

    def follow(container: Container) -> None:
        codes.append((container.id, container.wait()))
        ended.set()

    threads = [threading.Thread(target=follow, args=(container,), daemon=True) for container in containers]
    for thread in threads:
        thread.start()
    if call.flags.on("down-project"):
        ended.wait()
        from inception.compose.teardown import DownOptions, plan_down

        first = codes[0][1]
        _run(call, project, plan_down(project, observe(call.engine, project), DownOptions()))
        return first
    for thread in threads:
        thread.join()
    for name, code in codes:
        print(f'container "{name}" exited with status code {code}')
    return codes[-1][1]


_DRY = "      --dry-run             Show what would be done, and do nothing\n"
_STOPPING = _DRY + "  -t, --timeout int         Specify a shutdown timeout in seconds\n"

START = Command(
    start,
    "[SERVICE...]",
    "Start services",
    _DRY
    + """\
      --wait                Wait for services to be running|healthy
      --wait-timeout int    Maximum duration in seconds to wait for the project to be running|healthy
""",
)
STOP = Command(stop, "[OPTIONS] [SERVICE...]", "Stop services", _STOPPING)
RESTART = Command(
    restart,
    "[OPTIONS] [SERVICE...]",
    "Restart service containers",
    _STOPPING + "      --no-deps             Don't restart dependent services\n",
)
RM = Command(
    rm,
    "[OPTIONS] [SERVICE...]",
    "Removes stopped service containers",
    _DRY
    + """\
  -f, --force               Don't ask to confirm removal
  -s, --stop                Stop the containers, if required, before removing
  -v, --volumes             Remove any anonymous volumes attached to containers
""",
)
KILL = Command(
    kill,
    "[OPTIONS] [SERVICE...]",
    "Force stop service containers",
    _DRY
    + """\
      --remove-orphans      Kill containers for services not defined in the Compose file too
  -s, --signal string       SIGNAL to send to the container (default "SIGKILL")
""",
)
PAUSE = Command(pause, "[SERVICE...]", "Pause services", _DRY)
UNPAUSE = Command(unpause, "[SERVICE...]", "Unpause services", _DRY)
WAIT = Command(
    wait,
    "SERVICE [SERVICE...]",
    "Block until containers of all (or specified) services stop.",
    _DRY + "      --down-project        Drops project when the first container stops\n",
    minimum=1,
)
