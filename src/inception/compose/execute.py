"""A plan made real: a thread an operation, as soon as everything that it waits for is done.

The first failure stops what has not begun; what runs is waited for, and the error raised. An operation either happens or
leaves nothing: a container that could not be made is not there, and one that was to be replaced still is. Ctrl-C does the
same, at once for whoever waits for a condition.
"""

from __future__ import annotations

import threading
import time

from inception.compose import labels
from inception.compose.conditions import Cancelled, Stop, await_condition
from inception.compose.container import container_config, image_name
from inception.compose.files import service_files
from inception.compose.plan import (
    AWAIT_SERVICE,
    BUILD_IMAGE,
    CREATE_CONTAINER,
    CREATE_NETWORK,
    CREATE_VOLUME,
    PULL_IMAGE,
    RECREATE_CONTAINER,
    REMOVE_CONTAINER,
    REMOVE_IMAGE,
    REMOVE_NETWORK,
    REMOVE_VOLUME,
    START_CONTAINER,
    STOP_CONTAINER,
)
from inception.compose.resources import network_config, volume_config
from inception.errors import Conflict, InceptionError, InvalidArgument, NotFound, NotModified, StartFailed, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.compose.model import Hook, Project
    from inception.compose.plan import Operation, Plan
    from inception.compose.progress import Progress
    from inception.engine import Engine
    from inception.engine.container import Container


class Executor:
    """Runs plans for one project. `parallel` bounds how many operations run at once; -1 is no bound."""

    def __init__(
        self,
        engine: Engine,
        project: Project,
        progress: Progress,
        *,
        parallel: int = -1,
        stop_timeout_s: float | None = None,
        wait_timeout_s: float | None = None,
        quiet_build: bool = False,
        build_arguments: dict[str, str] | None = None,
        no_cache: bool = False,
        pull: bool = False,
    ) -> None:
        self.engine, self.project, self.progress = engine, project, progress
        self.parallel = parallel if parallel > 0 else 1 << 30
        self.stop_timeout_s, self.wait_timeout_s = stop_timeout_s, wait_timeout_s
        self.quiet_build, self.build_arguments = quiet_build, build_arguments or {}
        self.no_cache, self.pull = no_cache, pull
        self.created: dict[str, str] = {}
        self.started: list[str] = []

    def run(self, plan: Plan) -> None:
        """Every operation of *plan*. Raises the first error, or KeyboardInterrupt."""
        if any("container" in operation.kind for operation in plan):
            # Modules that import one another, imported by several threads at once, can be seen half-made.
            from inception.engine import create, exec, lifecycle, recover, remove, start  # noqa: F401
            from inception.runtime import child, container  # noqa: F401
        if plan:
            _Walk(self, plan).run()

    def perform(self, operation: Operation, stop: Stop) -> None:
        """One operation, in the calling thread."""
        _PERFORM[operation.kind](self, operation, stop)

    # networks and volumes

    def create_network(self, operation: Operation, stop: Stop) -> None:
        network = self.project.networks[operation.key]
        name = f"Network {network.name}"
        self.progress.update(name, "Creating")
        try:
            self.engine.networks.create(network_config(self.project, network))
        except Conflict:
            self.engine.networks.get(network.name)  # somebody else made it at this moment; NotFound: the conflict is another
        self.progress.update(name, "Created", done=True)

    def remove_network(self, operation: Operation, stop: Stop) -> None:
        self._remove(f"Network {operation.target}", lambda: self.engine.networks.get(operation.target).remove())

    def create_volume(self, operation: Operation, stop: Stop) -> None:
        volume = self.project.volumes[operation.key]
        name = f"Volume {volume.name}"
        self.progress.update(name, "Creating")
        self.engine.volumes.create(volume_config(self.project, volume))
        self.progress.update(name, "Created", done=True)

    def remove_volume(self, operation: Operation, stop: Stop) -> None:
        self._remove(f"Volume {operation.target}", lambda: self.engine.volumes.get(operation.target).remove())

    def _remove(self, name: str, remove: Callable[[], object]) -> None:
        self.progress.update(name, "Removing")
        try:
            remove()
        except NotFound:
            pass
        except Conflict:
            # As Docker Compose: somebody else's container has it, so it stays.
            self.progress.update(name, "Resource is still in use", done=True)
            return
        self.progress.update(name, "Removed", done=True)

    # images

    def build_image(self, operation: Operation, stop: Stop) -> None:
        from inception.compose.building import build_image

        name = f"Image {operation.target}"
        self.progress.update(name, "Building")
        build_image(
            self.engine,
            self.project,
            self.project.services[operation.key],
            progress=self.progress,
            arguments=self.build_arguments,
            no_cache=self.no_cache,
            pull=self.pull,
            quiet=self.quiet_build,
        )
        self.progress.update(name, "Built", done=True)

    def pull_image(self, operation: Operation, stop: Stop) -> None:
        name = f"Image {operation.target}"
        self.progress.update(name, "Pulling")
        if operation.reason == "no such image":
            self.engine.images.ensure(operation.target)
        else:
            self.engine.images.pull(operation.target)
        self.progress.update(name, "Pulled", done=True)

    def remove_image(self, operation: Operation, stop: Stop) -> None:
        self._remove(f"Image {operation.target}", lambda: self.engine.images.remove(operation.target))

    # containers

    def create_container(self, operation: Operation, stop: Stop) -> None:
        self.progress.update(f"Container {operation.target}", "Creating")
        container = self._make(operation, operation.target)
        self.created[operation.target] = container.id
        self.progress.update(f"Container {operation.target}", "Created", done=True)

    def recreate_container(self, operation: Operation, stop: Stop) -> None:
        """The new one first, under a name that is free; then the old one goes and the new one takes its name."""
        name = f"Container {operation.target}"
        self.progress.update(name, "Recreate")
        container = self._make(operation, f"{operation.container_id[:12]}_{operation.target}")
        try:
            old = self.engine.containers.get(operation.container_id)
            self._stop(old)
            old.remove(force=True)
        except NotFound:
            pass  # removed by somebody else: it is to go anyway
        except BaseException:
            container.remove(force=True)
            raise
        container.rename(operation.target)
        self.created[operation.target] = container.id
        self.progress.update(name, "Recreated", done=True)

    def _make(self, operation: Operation, name: str) -> Container:
        service = self.project.services[operation.key]
        config = container_config(
            self.project,
            service,
            operation.number,
            name=operation.target,
            image_id=self.engine.images.get(image_name(self.project, service)).id,
            inherited=operation.inherited,
            container_of=self._container_of,
        )
        config.name = name
        return self.engine.containers.create(config, pull="never", files=service_files(self.project, service))

    def _container_of(self, service: str) -> str:
        """The id of the first container of *service*."""
        from inception.compose.observe import observe_containers

        found = [
            each for each in observe_containers(self.engine, self.project.name) if each.service == service and not each.oneoff
        ]
        if not found:
            raise NotFound(f'no container found for service "{service}"')
        return min(found, key=lambda each: each.number).id

    def container(self, operation: Operation) -> Container:
        return self.engine.containers.get(operation.container_id or self.created.get(operation.target, operation.target))

    def start_container(self, operation: Operation, stop: Stop) -> None:
        name = f"Container {operation.target}"
        self.progress.update(name, "Starting")
        container = self.container(operation)
        try:
            container.start()
        except NotModified:
            pass
        except StartFailed as error:
            prefix = f"start {operation.target}: "
            text = str(error) if str(error).startswith(prefix) else prefix + str(error)
            raise StartFailed(text, error.hint, error.exit_code) from error
        service = self.project.services.get(operation.key)
        for hook in service.post_start if service else ():
            run_hook(container, hook, "post_start")
        self.started.append(operation.target)
        self.progress.update(name, "Started", done=True)

    def stop_container(self, operation: Operation, stop: Stop) -> None:
        name = f"Container {operation.target}"
        self.progress.update(name, "Stopping")
        try:
            self._stop(self.container(operation))
        except NotFound:
            pass
        self.progress.update(name, "Stopped", done=True)

    def _stop(self, container: Container) -> None:
        service = self.project.services.get(container.labels.get(labels.SERVICE, ""))
        if service is not None and service.pre_stop and container.state.status == "running":
            for hook in service.pre_stop:
                run_hook(container, hook, "pre_stop")
        try:
            container.stop(timeout_s=self.stop_timeout_s)
        except NotModified:
            pass

    def remove_container(self, operation: Operation, stop: Stop) -> None:
        name = f"Container {operation.target}"
        try:
            container = self.container(operation)
            if container.state.status in ("running", "paused", "restarting"):
                self.progress.update(name, "Stopping")
                self._stop(container)
                self.progress.update(name, "Stopped")
            self.progress.update(name, "Removing")
            container.remove(force=True, volumes=operation.volumes)
        except NotFound:
            pass
        if operation.volumes:
            self._remove_volumes(list(operation.inherited.values()))
        self.progress.update(name, "Removed", done=True)

    def _remove_volumes(self, names: list[str]) -> None:
        """Anonymous volumes of a container that is gone. Those that it took over it had by name, so they are still there."""
        for name in names:
            try:
                self.engine.volumes.get(name).remove()
            except (NotFound, Conflict):
                continue  # gone with the container, or another one has it

    # conditions

    def await_service(self, operation: Operation, stop: Stop) -> None:
        for container in self._containers_of(operation.key):
            name = f"Container {container.name}"
            self.progress.update(name, "Waiting")
            deadline = None
            if self.wait_timeout_s is not None and operation.condition == "running_or_healthy":
                deadline = time.monotonic() + self.wait_timeout_s
            try:
                done = await_condition(self.engine, container, operation.condition, stop, deadline)
            except InceptionError as error:
                if operation.required:
                    self.progress.update(name, "Error", failed=True)
                    raise
                self.progress.update(name, f"Skipped: {error}", done=True)
                continue
            self.progress.update(name, done, done=True)

    def _containers_of(self, service: str) -> list[Container]:
        from inception.compose.observe import containers_of

        return [
            each
            for each in containers_of(self.engine, self.project.name)
            if each.labels.get(labels.SERVICE) == service and each.labels.get(labels.ONEOFF) != "True"
        ]


_PERFORM: dict[str, Callable[[Executor, Operation, Stop], None]] = {
    CREATE_NETWORK: Executor.create_network,
    REMOVE_NETWORK: Executor.remove_network,
    CREATE_VOLUME: Executor.create_volume,
    REMOVE_VOLUME: Executor.remove_volume,
    BUILD_IMAGE: Executor.build_image,
    PULL_IMAGE: Executor.pull_image,
    REMOVE_IMAGE: Executor.remove_image,
    CREATE_CONTAINER: Executor.create_container,
    RECREATE_CONTAINER: Executor.recreate_container,
    START_CONTAINER: Executor.start_container,
    STOP_CONTAINER: Executor.stop_container,
    REMOVE_CONTAINER: Executor.remove_container,
    AWAIT_SERVICE: Executor.await_service,
}


class _Walk:
    """One run through a plan: the state that its threads share is behind `changed`."""

    def __init__(self, executor: Executor, plan: Plan) -> None:
        self.executor = executor
        self.waiting = {operation.id: operation for operation in plan}
        self.open = set(self.waiting)
        self.running = 0
        self.errors: list[BaseException] = []
        self.changed = threading.Condition()
        self.stop = Stop()

    def run(self) -> None:
        try:
            self._run()
        finally:
            self.stop.close()
        if self.errors:
            raise self.errors[0]

    def _run(self) -> None:
        interrupted: KeyboardInterrupt | None = None
        with self.changed:
            while True:
                try:
                    if not self.stop.is_set:
                        self._begin_ready()
                    if not self.running:
                        break
                    self.changed.wait()
                except KeyboardInterrupt as error:
                    interrupted = error
                    self.stop.set()
        if interrupted is not None:
            raise interrupted

    def _begin_ready(self) -> None:
        for operation in list(self.waiting.values()):
            if self.running >= self.executor.parallel:
                return
            if not any(other in self.open for other in operation.after):
                del self.waiting[operation.id]
                self.running += 1
                threading.Thread(target=self._perform, args=(operation,), name=operation.id, daemon=True).start()
        if self.waiting and not self.running:
            raise InvalidArgument(f"operations wait for one another: {', '.join(self.waiting)}")

    def _perform(self, operation: Operation) -> None:
        error: BaseException | None = None
        try:
            self.executor.perform(operation, self.stop)
        except Cancelled:
            pass
        except BaseException as raised:
            error = raised
            kind = "Image" if "image" in operation.kind else "Container" if "container" in operation.kind else ""
            if kind:
                self.executor.progress.update(f"{kind} {operation.target}", "Error", failed=True)
        with self.changed:
            self.running -= 1
            self.open.discard(operation.id)
            if error is not None:
                self.errors.append(error)
                self.stop.set()
            self.changed.notify()


def run_hook(container: Container, hook: Hook, kind: str) -> None:
    """Raises Unavailable when the command fails."""
    result = container.exec(
        hook.command,
        env=[f"{key}={value}" for key, value in hook.environment.items()],
        user=hook.user,
        working_dir=hook.working_dir,
        privileged=hook.privileged,
    )
    if result.exit_code:
        raise Unavailable(
            f"{container.name}: {kind} hook exited with status {result.exit_code}",
            result.output.decode(errors="replace").strip()[-400:],
        )
