"""A project brought up and taken down in one call: what a program wants, where a person wants to see each step."""

from __future__ import annotations

from inception.compose.execute import Executor
from inception.compose.normalise import select
from inception.compose.observe import observe
from inception.compose.progress import Silent
from inception.compose.reconcile import UpOptions, plan_images, plan_up
from inception.compose.teardown import DownOptions, plan_down

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.compose.model import Project
    from inception.compose.progress import Progress
    from inception.engine import Engine
    from inception.engine.container import Container


def up(
    engine: Engine,
    project: Project,
    options: UpOptions | None = None,
    *,
    build: bool = False,
    progress: Progress | None = None,
    wait_timeout_s: float | None = None,
) -> list[Container]:
    """Make *project* real: images that lack, then networks, volumes and containers. Answers the containers that it started.

    *build* builds whatever can be built again. With `UpOptions(wait=True)` it returns when every service runs, and is healthy
    where it has a health check; after *wait_timeout_s* it raises Unavailable instead. Raises what builds, pulls and starts
    raise; what was made before that stays, as after `docker compose up`.
    """
    options = options or UpOptions()
    names = select(project, options.services, with_dependencies=not options.no_deps)
    executor = Executor(engine, project, progress or Silent(), wait_timeout_s=wait_timeout_s)
    executor.run(plan_images(project, observe(engine, project), names, build=build))
    executor.run(plan_up(project, observe(engine, project), options))
    return [engine.containers.get(name) for name in executor.started]


def down(
    engine: Engine,
    project: Project,
    options: DownOptions | None = None,
    *,
    progress: Progress | None = None,
    stop_timeout_s: float | None = None,
) -> None:
    """Stop and remove the project's containers and networks; with `DownOptions(volumes=True)` its volumes too.

    A container that does not end after *stop_timeout_s* (its own, else 10) is killed.
    """
    executor = Executor(engine, project, progress or Silent(), stop_timeout_s=stop_timeout_s)
    executor.run(plan_down(project, observe(engine, project), options or DownOptions()))
