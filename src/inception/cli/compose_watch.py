"""`compose watch`: services follow the files that they are made of."""

from __future__ import annotations

import io

from inception.cli.call import Call
from inception.cli.compose import dry_run, load_project, parallel, progress_of
from inception.cli.compose_up import run_images
from inception.cli.flags import Command
from inception.compose.execute import Executor, run_hook
from inception.compose.normalise import select
from inception.compose.observe import observe
from inception.compose.plan import BUILD_IMAGE, Operation, Plan
from inception.compose.reconcile import UpOptions, plan_images, plan_up
from inception.compose.watch import Batch, Watcher, pack, plan_batches, watched_rules
from inception.errors import InceptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from inception.compose.model import Project
    from inception.compose.watch import Watched
    from inception.engine.container import Container


def watch(call: Call) -> int:
    flags = call.flags
    project = load_project(call, call.arguments)
    names = select(project, call.arguments, with_dependencies=False)
    rules = watched_rules(project, names)
    session = Session(call, project, _print, quiet=flags.on("quiet"), prune=flags.on("prune"))
    if dry_run(call):
        for each in rules:
            print(f"watch {each.rule.path} for {each.service} ({each.rule.action})")
        return 0
    if not flags.on("no-up"):
        session.up(select(project, call.arguments), build=True)
    try:
        for batch in session.batches(rules):
            session.follow(batch)
    except KeyboardInterrupt:
        session.say("Watch disabled")
    return 130


def _print(text: str) -> None:
    print(text, flush=True)


class Session:
    """One project followed, by `watch` or beside an `up --watch`; *tell* shows a line."""

    def __init__(self, call: Call, project: Project, tell: Callable[[str], None], *, quiet: bool, prune: bool = False) -> None:
        self.call, self.project = call, project
        self.tell, self.quiet, self.prune = tell, quiet, prune

    def say(self, text: str) -> None:
        if not self.quiet:
            self.tell(text)

    def batches(self, rules: list[Watched]) -> Iterator[Batch]:
        """What there is to do, as it comes; for ever."""
        with Watcher(rules) as watcher:
            self.say("Watch enabled")
            yield from plan_batches([change for each in rules if each.rule.initial_sync for change in watcher.everything(each)])
            while True:
                yield from plan_batches(watcher.changes())

    def follow(self, batch: Batch) -> None:
        """One service's part of a batch. What fails is said, and the next change is waited for: it may be the remedy."""
        name = batch.service
        try:
            if batch.rebuild:
                self.say(f'Rebuilding service "{name}" after {batch.changes} changes were detected...')
                self._rebuild(name)
                self.say(f'service "{name}" successfully built')
                return
            if batch.synchronized:
                self.say(f'Syncing service "{name}" after {batch.changes} changes were detected')
            for container in self._containers(name):
                self._synchronize(container, batch)
            if batch.restart:
                self.say(f'service "{name}" restarted')
        except InceptionError as error:
            self.tell(f'service "{name}": {error}')

    def up(self, names: list[str], *, build: bool, no_deps: bool = False) -> None:
        """What `up -d` does, with images built anew where *build* says so."""
        engine, project = self.call.engine, self.project
        progress = progress_of(self.call, quiet=self.quiet)
        executor = Executor(engine, project, progress, parallel=parallel(self.call))
        try:
            run_images(executor, plan_images(project, observe(engine, project), names, build=build))
            executor.run(plan_up(project, observe(engine, project), UpOptions(services=names, no_deps=no_deps)))
        finally:
            progress.close()

    def _rebuild(self, name: str) -> None:
        from inception.compose.container import image_name

        engine, project = self.call.engine, self.project
        progress = progress_of(self.call, quiet=self.quiet)
        executor = Executor(engine, project, progress, parallel=parallel(self.call))
        image = image_name(project, project.services[name])
        former = observe(engine, project).images.get(name, "")
        try:
            plan = Plan(operations=[Operation(kind=BUILD_IMAGE, target=image, key=name, reason="its files have changed")])
            run_images(executor, plan)
            executor.run(plan_up(project, observe(engine, project), UpOptions(services=[name], no_deps=True)))
        finally:
            progress.close()
        if self.prune and former and former != observe(engine, project).images.get(name):
            engine.images.remove(former)

    def _containers(self, name: str) -> list[Container]:
        running = [each.id for each in observe(self.call.engine, self.project).of(name) if each.running]
        return [self.call.engine.containers.get(each) for each in running]

    def _synchronize(self, container: Container, batch: Batch) -> None:
        gone = [change.container_path for change in batch.synchronized if change.gone]
        if gone:
            container.exec(["rm", "-rf", *gone], user="0")
        if len(gone) < len(batch.synchronized):
            container.put_archive("/", io.BytesIO(pack(batch.synchronized)))
        if batch.restart:
            container.restart()
        for rule in batch.hooks:
            run_hook(container, rule.exec, "exec")


WATCH = Command(
    watch,
    "[OPTIONS] [SERVICE...]",
    "Watch build context for service and rebuild/refresh containers when files are updated",
    """\
      --dry-run   Show what would be watched, and do nothing
      --no-up     Do not build & start services before watching
      --prune     Remove the former image after a rebuild
      --quiet     hide build output
""",
)
