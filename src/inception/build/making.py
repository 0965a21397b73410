"""How a step becomes a layer: a snapshot on what is below, changed, and committed.

What is made of files alone is here too: what RUN mounts of a context, and a context that a stage starts from.
"""

from __future__ import annotations

import os

from inception.build.inputs import Stack, files_copy
from inception.build.leftovers import new_snapshot_id
from inception.build.operations import Copy, MakeFolder, Operation, Run
from inception.build.source import BuildFailed
from inception.engine.times import now
from inception.errors import InceptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.build.context import Context
    from inception.build.inputs import Inputs
    from inception.build.progress import Step
    from inception.build.session import Session


class Maker:
    """Makes the layers of one build; from any of its threads."""

    def __init__(self, build: Session) -> None:
        self._build = build
        self._left: tuple[Run, str] | None = None  # of the step that failed, kept for who wants to look into it

    def make(self, step: Operation, stack: Stack, inputs: Inputs, report: Step) -> int | None:
        """Carries *step* out on top of *stack*; the new layer, None when nothing changed."""
        from inception.build import steps  # a build whose steps are all cached needs none of it

        if isinstance(step, Run):
            return self._in_snapshot(
                stack, lambda snapshot_id: steps.run(self._build, step, snapshot_id, stack, report.output), step
            )

        def change(snapshot_id: str) -> None:
            with self._build.store.snapshots.open(snapshot_id, read_only=False) as root:
                if isinstance(step, MakeFolder):
                    steps.make_folder(root, step)
                elif isinstance(step, Copy):
                    steps.copy(root, step, inputs.selection(), inputs.remotes, self._build.cache, self._build.scratch.path)
                    for repository, commit in zip(inputs.repositories, inputs.commits, strict=True):
                        steps.copy_repository(root, step, repository, commit, self._build.scratch.path)

        return self._in_snapshot(stack, change)

    def _in_snapshot(self, stack: Stack, change: Callable[[str], None], step: Run | None = None) -> int | None:
        """What *change* does to a snapshot on *stack*, as a layer; None when that is nothing. When *step* fails and somebody
        wants to look into it, what it left is kept."""
        snapshots = self._build.store.snapshots
        snapshot_id = new_snapshot_id()
        snapshots.prepare(snapshot_id, stack.layer_ids)
        try:
            before = os.stat(snapshots.writable(snapshot_id))
            change(snapshot_id)
            if not snapshots.is_changed(snapshot_id, before):
                snapshots.remove(snapshot_id)
                return None
            return snapshots.commit(snapshot_id, consume=True, clamp_mtime_ns=self._build.epoch[1])
        except BaseException as error:
            if step is not None and self._build.caller.wants_look and isinstance(error, InceptionError):
                with self._build.lock:
                    if self._build.failure is None and self._left is None:
                        self._left = (step, snapshot_id)
                        raise
            snapshots.remove(snapshot_id)
            raise

    def show_left(self, error: BaseException) -> None:
        """Gives the caller a look into the state of the step that failed, and takes it away."""
        if self._left is None:
            return
        step, snapshot_id = self._left
        try:
            if isinstance(error, BuildFailed):
                from inception.build.steps import open_shell

                self._build.failure = None  # the mounts' locks can be waited for again
                self._build.caller.look_into(error, lambda: open_shell(self._build, step, snapshot_id))
        finally:
            self._left = None
            self._build.store.snapshots.remove(snapshot_id)

    def files_stack(self, context: Context, source: str, target: str) -> Stack:
        """*source* of *context* at *target*, as a stack of one layer; it is kept in the cache like a step's."""
        from inception.build import steps

        step = files_copy(source, target)
        selection = context.select(step)
        key = self._build.key(step.definition(), [], [selection.digest(context.digests.of)])
        hit = self._build.cache.find(key)
        layer_id = hit.layer_id if hit is not None else None
        if hit is None:

            def change(snapshot_id: str) -> None:
                with self._build.store.snapshots.open(snapshot_id, read_only=False) as root:
                    steps.copy(root, step, selection, [], self._build.cache, self._build.scratch.path)

            layer_id = self._in_snapshot(Stack([], [], []), change)
            self._build.cache.add([key], layer_id, self._build.epoch[0] or now())
        if layer_id is None:
            return Stack([], [], [])
        return Stack([layer_id], [self._build.store.layers.get(layer_id).diff_id], [])
