"""A plan carried out: each stage from its base upwards, every step either found in the cache or made in a snapshot of its own.

    stage     stack of layers ── key ──▶ cache? ── yes ─▶ its layer on top of the stack
                                              └─ no ──▶ snapshot ▸ run / copy / mkdir ▸ commit ▸ layer ▸ cache

Stages that don't need each other run side by side, each in a thread; a step that copies from another stage waits for it. The
first failure stops the others before their next step. Snapshots carry the builder's pid and start time in their names, so the
next build removes what a killed one left.
"""

from __future__ import annotations

import os
import threading
import time

from inception.build.cache import BuildCache, key_of
from inception.build.config import BuildConfig, BuildResult
from inception.build.context import Context, open_context
from inception.build.image import Outcome, make_document
from inception.build.operations import Configure, Copy, MakeFolder, Operation, Run
from inception.build.parse import parse_dockerfile
from inception.build.plan import BaseImage, BuildPlan, StagePlan, plan_build
from inception.build.progress import Reporter, Step
from inception.build.selection import Selection, hash_file, select
from inception.build.source import BuildFailed, CommandFailed, DockerfileError
from inception.build.tree import Tree
from inception.errors import InceptionError, InvalidArgument, NotFound
from inception.oci.digest import sha256
from inception.oci.reference import Reference
from inception.store.images import document_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from inception.build.progress import OnEvent
    from inception.build.remote import Remote
    from inception.engine import Engine
    from inception.linux.path import RootDir
    from inception.oci.image import ImageDocument
    from inception.store.images import Image
    from inception.store.progress import Progress
    from inception.store.scratch import Scratch

_MAX_LAYERS = 500  # as many lower folders as overlayfs takes (fs/overlayfs/params.h, OVL_MAX_STACK)


class Cancelled(InceptionError):
    """Another stage failed."""


class Stack:
    """Layers bottom first, and what each operation since the base image came to."""

    def __init__(self, layer_ids: list[int], diff_ids: list[str], outcomes: list[Outcome]) -> None:
        self.layer_ids = layer_ids
        self.diff_ids = diff_ids
        self.outcomes = outcomes

    def copy(self) -> Stack:
        return Stack(list(self.layer_ids), list(self.diff_ids), list(self.outcomes))


def build(engine: Engine, config: BuildConfig, progress: OnEvent | None = None, stdin: BinaryIO | None = None) -> BuildResult:
    """Builds an image and names it. *stdin* is read for a context or Dockerfile of `-`.

    Raises DockerfileError (nothing was run), BuildFailed (a step failed; nothing half-made stays), and what finding base
    images raises.
    """
    for name in config.tags:
        if Reference.parse(name).digest:
            raise InvalidArgument(f"invalid tag {name!r}: a tag can't have a digest")
    store = engine.store
    with store.lease(), store.scratch() as scratch:
        context = open_context(store, config, scratch, stdin)
        try:
            return _Build(engine, config, context, Reporter(progress), scratch).run()
        finally:
            context.close()


class _Build:
    def __init__(self, engine: Engine, config: BuildConfig, context: Context, reporter: Reporter, scratch: Scratch) -> None:
        self.engine = engine
        self.store = engine.store
        self.config = config
        self.context = context
        self.reporter = reporter
        self.scratch = scratch
        self.cache = BuildCache(self.store)
        self.epoch = _epoch(config)
        self.images: dict[str, Image] = {}
        self.stacks: dict[int, Stack] = {}
        self.done: dict[int, threading.Event] = {}
        self.failure: BaseException | None = None
        self.steps = self.cached_steps = 0
        self.lock = threading.Lock()

    def run(self) -> BuildResult:
        _remove_abandoned(self.engine)
        file = parse_dockerfile(self.context.dockerfile, self.context.name)
        plan = plan_build(file, self.config, self.resolve)
        for warning in plan.warnings:
            self.reporter.warn(warning)
        self.plan = plan
        self._run_stages(plan)
        image_id = self._finish(plan)
        if self.cache.expire():
            self.reporter.warn("removed what the build cache hasn't used for a month")
        return BuildResult(image_id=image_id, steps=self.steps, cached_steps=self.cached_steps, warnings=plan.warnings)

    def resolve(self, name: str) -> BaseImage:
        """The base image *name*, from the store, a registry, or made from packages."""
        with self.reporter.step(f"[internal] load metadata for {name}") as report:
            said: set[str] = set()

            def tell(progress: Progress) -> None:
                line = f"{progress.id}: {progress.status}" if progress.id else progress.status
                if line not in said:  # bytes come in many pieces, words change rarely
                    said.add(line)
                    report.output(f"{line}\n".encode())

            image = self.engine.images.ensure(name, pull="always" if self.config.pull else "missing", progress=tell)
        self.images[name] = image
        return BaseImage(reference=name, id=image.id, document=image.document)

    # --- stages ---

    def _run_stages(self, plan: BuildPlan) -> None:
        self.done = {stage.index: threading.Event() for stage in plan.stages}
        *others, target = plan.stages
        threads = [
            threading.Thread(target=self._run_stage, args=(stage,), name=f"build-stage-{stage.index}", daemon=True)
            for stage in others
        ]
        for thread in threads:
            thread.start()
        self._run_stage(target)
        if isinstance(self.failure, KeyboardInterrupt):
            raise self.failure  # commands of other stages end with this process; what they leave the next build removes
        for thread in threads:
            thread.join()
        if self.failure is not None:
            raise self.failure

    def _run_stage(self, plan: StagePlan) -> None:
        try:
            self._stage(plan)
        except Cancelled:
            pass
        except BaseException as error:  # raised again by the thread that waits for all
            with self.lock:
                self.failure = self.failure or error
        finally:
            self.done[plan.index].set()

    def _await(self, index: int) -> Stack:
        """The finished stack of another stage."""
        self.done[index].wait()
        if self.failure is not None or index not in self.stacks:
            raise Cancelled("another stage failed")
        return self.stacks[index]

    def _base(self, plan: StagePlan) -> Stack:
        kind, _, rest = plan.base.partition(":")
        if kind == "stage":
            return self._await(int(rest)).copy()
        if kind == "image":
            image = self.images[rest]
            return Stack(list(image.layer_ids), list(image.document.rootfs.diff_ids), [])
        return Stack([], [], [])

    def _stage(self, plan: StagePlan) -> None:
        stack = self._base(plan)
        changing = [step for step in plan.operations if not isinstance(step, Configure)]
        number = 0 if plan.base == "scratch" else 1
        total = len(changing) + number
        label = f"{plan.name or f'stage-{plan.index}'} " if len(self.plan.stages) > 1 or plan.name else ""
        if number:
            with self.reporter.step(f"[{label}1/{total}] {plan.title}") as report:
                report.cached()
        for step in plan.operations:
            if self.failure is not None:
                raise Cancelled("another stage failed")
            if isinstance(step, Configure):
                stack.outcomes.append(Outcome(operation=step))
                continue
            number += 1
            self._step(step, stack, f"[{label}{number}/{total}] {step.title}")
        self.stacks[plan.index] = stack

    # --- steps ---

    def _step(self, step: Operation, stack: Stack, title: str) -> None:
        try:
            with self.reporter.step(title) as report, _Inputs(self, step) as inputs:
                self._do_step(step, stack, inputs, report)
        except (BuildFailed, DockerfileError, Cancelled):
            raise
        except InceptionError as error:
            raise self._failed(step, error, title) from error
        except OSError as error:
            raise self._failed(step, InceptionError(str(error)), title) from error

    def _failed(
        self, step: Operation, error: InceptionError, title: str, output: bytes = b"", exit_code: int = 0
    ) -> BuildFailed:
        return BuildFailed(
            str(error),
            self.plan.file.source,
            step.first_line,
            step.last_line,
            step.instruction,
            title=title,
            output=error.output if isinstance(error, CommandFailed) else b"",
            exit_code=error.exit_code if isinstance(error, CommandFailed) else 0,
            hint=error.hint,
        )

    def _do_step(self, step: Operation, stack: Stack, inputs: _Inputs, report: Step) -> None:
        keys: list[str] = []
        for content in inputs.contents():
            keys.append(key_of(step.definition(), stack.diff_ids, content))
            hit = None if self.config.no_cache else self.cache.find(keys[-1])
            if hit is not None:
                if len(keys) > 1:
                    self.cache.add(keys, hit.layer_id, hit.created)
                report.cached()
                self._push(stack, step, hit.layer_id, hit.created, cached=True)
                return
        if len(stack.layer_ids) >= _MAX_LAYERS:
            raise InvalidArgument(f"max depth exceeded: an image has at most {_MAX_LAYERS} layers")
        layer_id = self._make(step, stack, inputs, report)
        created = self.epoch[0] or _now()
        self.cache.add(keys, layer_id, created)
        self._push(stack, step, layer_id, created, cached=False)

    def _push(self, stack: Stack, step: Operation, layer_id: int | None, created: str, *, cached: bool) -> None:
        if layer_id is not None:
            stack.layer_ids.append(layer_id)
            stack.diff_ids.append(self.store.layers.get(layer_id).diff_id)
        stack.outcomes.append(Outcome(operation=step, layer=layer_id is not None, created=created))
        with self.lock:
            self.steps += 1
            self.cached_steps += cached

    def _make(self, step: Operation, stack: Stack, inputs: _Inputs, report: Step) -> int | None:
        """Carries *step* out on top of *stack*; the new layer, None when nothing changed."""
        from inception.build import steps  # a build whose steps are all cached needs none of it

        snapshots = self.store.snapshots
        snapshot_id = _snapshot_id()
        snapshots.prepare(snapshot_id, stack.layer_ids)
        try:
            upper = f"{snapshots.path(snapshot_id)}/upper"
            before = os.stat(upper)
            if isinstance(step, Run):
                steps.run(self.engine, self.config, step, snapshot_id, self.scratch.path, report.output)
                with snapshots.open_layers(stack.layer_ids) as lower:
                    steps.remove_stubs(upper, lower)
            else:
                with snapshots.open(snapshot_id, read_only=False) as root:
                    if isinstance(step, MakeFolder):
                        steps.make_folder(root, step)
                    elif isinstance(step, Copy):
                        steps.copy(root, step, inputs.selection(), inputs.remotes, self.cache, self.scratch.path)
            if _unchanged(upper, before):
                snapshots.remove(snapshot_id)
                return None
            return snapshots.commit(snapshot_id, consume=True, clamp_mtime_ns=self.epoch[1])
        except BaseException:
            snapshots.remove(snapshot_id)
            raise

    def _finish(self, plan: BuildPlan) -> str:
        target = plan.stages[-1]
        stack = self.stacks[target.index]
        document = make_document(target, self._root_document(plan, target), stack.outcomes, stack.diff_ids, self.epoch[0])
        data = document_bytes(document)
        image_id = str(sha256(data))
        with self.reporter.step("exporting to image") as report:
            if self._known(image_id):
                for name in self.config.tags:
                    self.store.images.tag(image_id, name)
                report.cached()
            else:
                self.store.images.put(data, stack.layer_ids, names=self.config.tags)
            report.output(f"writing image {image_id}\n".encode())
            for name in self.config.tags:
                report.output(f"naming to {name}\n".encode())
        return image_id

    def _known(self, image_id: str) -> bool:
        try:
            return self.store.images.find(image_id) == image_id
        except NotFound:
            return False

    def _root_document(self, plan: BuildPlan, stage: StagePlan) -> ImageDocument | None:
        """The document of the image at the bottom of *stage*, None for scratch."""
        by_index = {each.index: each for each in plan.stages}
        while stage.base.startswith("stage:"):
            stage = by_index[int(stage.base.partition(":")[2])]
        return stage.image.document if stage.image is not None else None


class _Inputs:
    """The files that one step copies, opened when they are needed and closed at its end."""

    def __init__(self, build: _Build, step: Operation) -> None:
        self._build = build
        self._step = step
        self._view: RootDir | None = None
        self._selection: Selection | None = None
        self.remotes: list[Remote] = []

    def __enter__(self) -> _Inputs:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._view is not None:
            self._view.close()

    def contents(self) -> Iterator[list[str]]:
        """What the key says of the files, the cheap way first: files of a finished stage are known by its layers, and only
        when those are new by their own content."""
        step = self._step
        if not isinstance(step, Copy):
            yield []
            return
        if step.urls:
            from inception.build.remote import check

        self.remotes = [check(url, step.checksum, self._build.cache, self._build.scratch.path) for url in step.urls]
        downloads = [f"{remote.name} {remote.digest}" for remote in self.remotes]
        if not step.sources:
            yield downloads
            return
        if step.origin:
            yield [*downloads, "layers", *self._origin().diff_ids, *step.sources, "exclude", *step.exclude]
            selection = self.selection()
            assert selection is not None
            yield [*downloads, "files", selection.digest(hash_file)]
        else:
            selection = self.selection()
            assert selection is not None
            yield [*downloads, "files", selection.digest(self._build.context.digests.of)]

    def selection(self) -> Selection | None:
        step = self._step
        if self._selection is None and isinstance(step, Copy) and step.sources:
            if step.origin:
                self._selection = select(self._origin_tree(), step)
            else:
                context = self._build.context
                if context.tree is None:
                    raise InvalidArgument("there is no build context: only a Dockerfile came over standard input")
                self._selection = select(context.tree, step, context.rules)
        return self._selection

    def _origin(self) -> Stack:
        assert isinstance(self._step, Copy)
        kind, _, rest = self._step.origin.partition(":")
        if kind == "stage":
            return self._build._await(int(rest))
        image = self._build.images[rest]
        return Stack(image.layer_ids, image.document.rootfs.diff_ids, [])

    def _origin_tree(self) -> Tree:
        self._view = self._build.store.snapshots.open_layers(self._origin().layer_ids)
        return Tree(self._view.fd)


def _epoch(config: BuildConfig) -> tuple[str, int | None]:
    """SOURCE_DATE_EPOCH as RFC 3339 and in nanoseconds; empty and None when it isn't given."""
    text = config.build_args.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return "", None
    if not text.isdecimal() or len(text) > 11:
        raise InvalidArgument(f"invalid SOURCE_DATE_EPOCH: {text!r}: expected seconds since 1970")
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(text))), int(text) * 1_000_000_000


def _now() -> str:
    from inception.engine.times import now

    return now()


def _unchanged(upper: str, before: os.stat_result) -> bool:
    after = os.stat(upper)
    same = (before.st_mode, before.st_uid, before.st_gid) == (after.st_mode, after.st_uid, after.st_gid)
    return same and not os.listdir(upper)


# --- snapshots of builds that were killed ---

_PREFIX = "build-"


def _snapshot_id() -> str:
    from inception.linux.process import start_time

    return f"{_PREFIX}{os.getpid()}-{start_time(os.getpid())}-{os.urandom(6).hex()}"


def _remove_abandoned(engine: Engine) -> None:
    from inception.linux.process import is_alive

    rows = engine.store.db.rows("SELECT id FROM snapshots WHERE id >= ? AND id < ?", (_PREFIX, "build."))
    for (snapshot_id,) in rows:
        pid, started, _ = snapshot_id.removeprefix(_PREFIX).split("-")
        if not is_alive(int(pid), int(started)):
            engine.store.snapshots.remove(snapshot_id)
