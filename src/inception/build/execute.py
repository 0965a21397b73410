"""A plan carried out: each stage from its base upwards, every step either found in the cache or made in a snapshot of its own.

    stage     stack of layers ── key ──▶ cache? ── yes ─▶ its layer on top of the stack
                                              └─ no ──▶ snapshot ▸ run / copy / mkdir ▸ commit ▸ layer ▸ cache

Stages that don't need each other run side by side, each in a thread; a step that copies from another stage waits for it. The
first failure kills the commands of the others. Snapshots carry the builder's pid and start time in their names, so the
next build removes what a killed one left.
"""

from __future__ import annotations

import os
import threading
import time

from inception import jsontext
from inception.build.cache import BuildCache, key_of
from inception.build.caller import Caller
from inception.build.config import BuildConfig, BuildResult
from inception.build.image import Outcome
from inception.build.inputs import Inputs, Stack, files_copy
from inception.build.operations import Configure, Copy, MakeFolder, Operation, Run, hide_password
from inception.build.output import all_names
from inception.build.plan import LAYOUT_CONTEXT, BaseImage, BuildPlan, StagePlan, context_paths, plan_build
from inception.build.progress import Reporter, Step
from inception.build.result import check_outputs, finish
from inception.build.source import BuildFailed, CommandFailed, DockerfileError
from inception.errors import InceptionError, InvalidArgument, NotFound
from inception.oci.reference import Reference
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import BinaryIO, TypeVar

    from inception.build.cache import Cached
    from inception.build.cacheexport import Made
    from inception.build.cacheimport import ImportedCache
    from inception.build.config import CachePlace
    from inception.build.context import Context
    from inception.build.progress import OnEvent
    from inception.engine import Engine
    from inception.engine.exec import ExecProcess
    from inception.oci.image import ImageDocument
    from inception.store.credentials import Credentials
    from inception.store.images import Image
    from inception.store.progress import Progress
    from inception.store.scratch import Scratch

if TYPE_CHECKING:
    S = TypeVar("S", bound="Session")
    T = TypeVar("T")

_MAX_LAYERS = 500  # as many lower folders as overlayfs takes (fs/overlayfs/params.h, OVL_MAX_STACK)


_END_S = 10.0  # how long an interrupted build waits for its other stages to clean up; a killed command takes milliseconds


class Cancelled(InceptionError):
    """Another stage failed."""


class Abandoned(InceptionError):
    """Whoever wanted the build has gone."""


def make(
    engine: Engine,
    config: BuildConfig,
    progress: OnEvent | None,
    caller: Caller,
    remember: Callable[[Session, str], None] | None = None,
) -> BuildResult:
    """`build` without a look at what whole builds came to; *remember* is told of this one."""
    for name in all_names(config.tags, config.outputs):
        try:
            digest = Reference.parse(name).digest
        except InvalidArgument as error:
            raise InvalidArgument(f'invalid tag "{name}": {error}') from None
        if digest:
            raise InvalidArgument(f'invalid tag "{name}": a tag can\'t have a digest')
    check_outputs(config, _platforms(config))
    return _in_session(Session, engine, config, progress, caller, lambda sessions: _build(sessions, remember))


def _build(sessions: Sequence[Session], remember: Callable[[Session, str], None] | None) -> BuildResult:
    first = sessions[0]
    _remove_abandoned(first.engine)
    for session in sessions:
        session.run()
    for session in sessions:
        session.finished = _now()
    finished = finish(sessions)
    _export_cache(sessions)
    if len(sessions) == 1 and remember is not None:
        remember(first, finished.image_id)
    first.store.db.tidy()
    if first.cache.expire():
        first.reporter.warn("forgot what the build cache hasn't used for a month, or the oldest of more than 20 GiB")
    return BuildResult(
        image_id=finished.image_id,
        steps=sum(session.steps for session in sessions),
        cached_steps=sum(session.cached_steps for session in sessions),
        warnings=first.plan.warnings,
        reasons=[reason for session in sessions for reason in session.reasons],
        metadata=finished.metadata,
    )


def _export_cache(sessions: Sequence[Session]) -> None:
    first = sessions[0]
    for place in first.config.cache_to:
        if place.type == "inline":
            continue
        from inception.build.cacheexport import export

        kept = []
        for session in sessions:
            stages = {stage.index for stage in session.plan.stages} if place.whole else {*session.plan.lineage()}
            kept += [made for made in session.made if made.stage in stages]
        try:
            with first.reporter.step(f"exporting cache to {place.type} {place.place}"):
                export(first.store, place, first.cache, kept, first.log_in(place))
        except InceptionError as error:
            if not place.optional:
                raise
            first.reporter.warn(f"failed to export cache to {place.place}: {error}")


def _platforms(config: BuildConfig) -> list[str]:
    """The platforms that are asked for, each once; the machine's as an empty text when none is."""
    return list(dict.fromkeys(word.strip() for word in config.platform.split(",")))


def explain(engine: Engine, config: BuildConfig, progress: OnEvent | None = None, stdin: BinaryIO | None = None) -> str:
    """The plan of a build as text, with the key of each step and whether the cache has it. Nothing is run."""
    from inception.build.explain import Explainer

    def tell(sessions: Sequence[Explainer]) -> str:
        return "\n".join(session.explain() for session in sessions)

    return _in_session(Explainer, engine, config, progress, Caller(config, stdin), tell)


def _in_session(
    kind: type[S],
    engine: Engine,
    config: BuildConfig,
    progress: OnEvent | None,
    caller: Caller,
    act: Callable[[Sequence[S]], T],
) -> T:
    store = engine.store
    with store.lease(), store.scratch() as scratch:
        reporter = Reporter(progress)
        context = caller.open_context(store, scratch, reporter)
        try:
            platforms = _platforms(config)
            sessions = [kind(engine, replace(config, platform=each), context, reporter, scratch, caller) for each in platforms]
            if len(sessions) > 1:
                for session, platform in zip(sessions, platforms, strict=True):
                    session.label = f"{platform} "
            try:
                caller.begin(lambda: _cancel(sessions))
                return act(sessions)
            finally:
                for session in sessions:
                    for named in session.contexts.values():
                        named.close()
        finally:
            context.close()


def _cancel(sessions: Sequence[Session]) -> None:
    for session in sessions:
        session.stop(Abandoned("the build was cancelled"))


class Session:
    """One build under way, for one platform."""

    plan: BuildPlan

    def __init__(
        self, engine: Engine, config: BuildConfig, context: Context, reporter: Reporter, scratch: Scratch, caller: Caller
    ) -> None:
        self.engine = engine
        self.store = engine.store
        self.config = config
        self.context = context
        self.reporter = reporter
        self.scratch = scratch
        self.caller = caller
        self.cache = BuildCache(self.store)
        self.epoch = _epoch(config)
        self.label = ""
        self.build_id = os.urandom(12).hex()
        self.started = self.finished = _now()
        self.bases: dict[str, BaseImage] = {}
        self.downloads: dict[str, dict[str, str]] = {}
        self.fresh_stages = {name.lower() for text in config.no_cache_stages for name in text.split(",") if name}
        self.names = all_names(config.tags, config.outputs)
        self.images: dict[str, Image] = {}
        self.contexts: dict[str, Context] = {}
        self.contexts_lock = threading.Lock()  # held while one is fetched
        self.paths: dict[str, list[str]] = {}
        self.stacks: dict[int, Stack] = {}
        self.done: dict[int, threading.Event] = {}
        self.failure: BaseException | None = None
        self.running: set[ExecProcess] = set()
        self.steps = self.cached_steps = 0
        self.reasons: list[str] = []
        self.made: list[Made] = []
        self.left: tuple[Run, str] | None = None
        self.imports: list[ImportedCache] = []
        self.lock = threading.Lock()

    def run(self) -> None:
        """Makes all stages that the target needs."""
        plan = self.make_plan()
        for warning in plan.warnings:
            self.reporter.warn(warning)
        self.plan = plan
        self.paths = context_paths(plan)
        self._fetch(self.context, "")
        try:
            self._open_imports()
            self._run_stages(plan)
        finally:
            for imported in self.imports:
                imported.close()

    def _fetch(self, context: Context, name: str) -> None:
        paths = self.paths.get(name, [])
        context.fetch(["."] if self.label and paths else paths)  # what another platform takes is not known yet

    def make_plan(self) -> BuildPlan:
        """What is to be done. Raises DockerfileError, and what finding base images raises."""
        from inception.build.checks import check_for_build, read_checked  # a build that is known as a whole has been checked

        file = read_checked(self.context, self.config)
        plan = plan_build(file, self.config, self.resolve)
        plan.warnings[:0] = check_for_build(file, self.context, self.store.images)
        return plan

    def key(self, definition: list[object], diff_ids: Sequence[str], content: Sequence[str]) -> str:
        """The cache's key of a step. A fixed time is part of it, since the times of files are."""
        return key_of([*definition, ["epoch", self.epoch[0]]] if self.epoch[0] else definition, diff_ids, content)

    def note_download(self, url: str, algorithm: str, digits: str) -> None:
        """What came from elsewhere, for whoever asks what the result was made of."""
        self.downloads[hide_password(url)] = {algorithm: digits}

    def resolve(self, name: str, platform: str = "") -> BaseImage:
        """The base image *name*, from the store, a registry, or made from packages; for another *platform* than the machine's
        without a change of what *name* means here."""
        with self.reporter.step(f"[internal] load metadata for {name}") as report:
            said: set[str] = set()

            def tell(progress: Progress) -> None:
                line = f"{progress.id}: {progress.status}" if progress.id else progress.status
                if line not in said:  # bytes come in many pieces, words change rarely
                    said.add(line)
                    report.output(f"{line}\n".encode())

            if name.startswith(LAYOUT_CONTEXT):
                image = self.caller.open_layout(self.store, name.removeprefix(LAYOUT_CONTEXT), platform)
            else:
                image = self._ensure(name, platform, tell)
        key = f"{name} for {platform}" if platform else name
        self.images[key] = image
        digest = image.repo_digests[0].partition("@")[2] if image.repo_digests else image.manifest_digest
        self.bases[key] = BaseImage(reference=key, id=image.id, document=image.document, digest=digest)
        return self.bases[key]

    def _ensure(self, name: str, platform: str, tell: Callable[[Progress], None]) -> Image:
        before = self._find(name) if platform else None
        pull = "always" if self.config.pull else "missing"
        log_in = self.caller.credentials(name)
        image = self.engine.images.ensure(name, pull=pull, progress=tell, platform=platform, credentials=log_in)
        if before is not None and before.id != image.id and name in before.names:
            self.store.images.tag(before.id, name)
        return image

    def _find(self, name: str) -> Image | None:
        try:
            return self.store.images.resolve(name)
        except NotFound:
            return None

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
        interrupted = isinstance(self.failure, KeyboardInterrupt)
        deadline = time.monotonic() + _END_S
        for thread in threads:
            # What a stage that hangs in a download leaves behind then, the next build removes.
            thread.join(max(0.0, deadline - time.monotonic()) if interrupted else None)
        if self.failure is not None:
            failure = self.failure
            self._show_left(failure)
            raise failure

    def _run_stage(self, plan: StagePlan) -> None:
        try:
            self._stage(plan)
        except Cancelled:
            pass
        except BaseException as error:  # raised again by the thread that waits for all
            self.stop(error)
        finally:
            self.done[plan.index].set()

    def stop(self, error: BaseException) -> None:
        """Nothing that is still going on is of use: its commands are killed, and with them all that they started. From any
        thread."""
        with self.lock:
            self.failure = self.failure or error
            for process in self.running:
                try:
                    process.kill()
                except OSError:
                    pass  # it has ended and was let go of
        for done in self.done.values():
            done.set()

    def check(self) -> None:
        """Raises Cancelled when the build has failed."""
        if self.failure is not None:
            raise Cancelled("another stage failed")

    def watch(self, process: ExecProcess) -> None:
        """From here on a failure elsewhere kills *process*."""
        with self.lock:
            self.running.add(process)
            if self.failure is not None:
                process.kill()

    def unwatch(self, processes: Iterable[ExecProcess]) -> None:
        """They have ended."""
        with self.lock:
            self.running.difference_update(processes)

    def await_stage(self, index: int) -> Stack:
        """The finished stack of another stage."""
        self.done[index].wait()
        self.check()
        return self.stacks[index]

    def base_of(self, plan: StagePlan) -> Stack:
        kind, _, rest = plan.base.partition(":")
        if kind == "stage":
            return self.await_stage(int(rest)).copy()
        if kind == "image":
            image = self.images[rest]
            return Stack(list(image.layer_ids), list(image.document.rootfs.diff_ids), [])
        if kind == "context":
            return self.files_stack(self.context_of(plan.base), ".", "/")
        return Stack([], [], [])

    def _stage(self, plan: StagePlan) -> None:
        stack = self.base_of(plan)
        stack.stage = plan.index
        stack.fresh = plan.name in self.fresh_stages or str(plan.index) in self.fresh_stages
        changing = [step for step in plan.operations if not isinstance(step, Configure)]
        number = 0 if plan.base == "scratch" else 1
        total = len(changing) + number
        label = f"{self.label}{plan.name or f'stage-{plan.index}'} " if len(self.plan.stages) > 1 or plan.name else self.label
        if number:
            with self.reporter.step(f"[{label}1/{total}] {plan.title}") as report:
                report.cached()
        for step in plan.operations:
            self.check()
            if isinstance(step, Configure):
                stack.outcomes.append(Outcome(operation=step))
                continue
            number += 1
            self._step(step, stack, f"[{label}{number}/{total}] {step.title}")
        self.stacks[plan.index] = stack

    # --- steps ---

    def _step(self, step: Operation, stack: Stack, title: str) -> None:
        try:
            with self.reporter.step(title) as report, Inputs(self, step) as inputs:
                self._do_step(step, stack, inputs, report, title)
        except (BuildFailed, DockerfileError, Cancelled):
            raise
        except InceptionError as error:
            self.check()  # a command that was killed because of another failure did not fail itself
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

    def _do_step(self, step: Operation, stack: Stack, inputs: Inputs, report: Step, title: str) -> None:
        keys: list[str] = []
        fresh = self.config.no_cache or stack.fresh
        for content in inputs.contents():
            keys.append(self.key(step.definition(), stack.diff_ids, content))
            hit = None if fresh else self.cache.find(keys[-1]) or self._find_imported(keys[-1], stack)
            if hit is not None:
                self._use(hit, step, stack, keys, report, title)
                return
        if fresh:
            self._do_anew(step, stack, inputs, report, title, keys, content)
            return
        from inception.build.turns import Turn

        with Turn(self.store.root, keys[-1], self.check):
            hit = self.cache.find(keys[-1])  # another build may have made it just now
            if hit is not None:
                self._use(hit, step, stack, keys, report, title)
            else:
                self._do_anew(step, stack, inputs, report, title, keys, content)

    def _use(self, hit: Cached, step: Operation, stack: Stack, keys: list[str], report: Step, title: str) -> None:
        if len(keys) > 1:
            self.cache.add(keys, hit.layer_id, hit.created)
        report.cached()
        with self.lock:
            self.reasons.append(f"{title.partition(chr(10))[0]}: cached, key {keys[-1][:12]}")
        self._push(stack, step, hit.layer_id, hit.created, cached=True)
        self._remember(stack, keys, hit.layer_id, hit.created)

    def _do_anew(
        self, step: Operation, stack: Stack, inputs: Inputs, report: Step, title: str, keys: list[str], content: list[str]
    ) -> None:
        if len(stack.layer_ids) >= _MAX_LAYERS:
            raise InvalidArgument(f"max depth exceeded: an image has at most {_MAX_LAYERS} layers")
        self._note(step, stack, inputs, title, content)
        layer_id = self._make(step, stack, inputs, report)
        created = self.epoch[0] or _now()
        self.cache.add(keys, layer_id, created)
        self._push(stack, step, layer_id, created, cached=False)
        self._remember(stack, keys, layer_id, created)

    # --- caches elsewhere ---

    def _open_imports(self) -> None:
        if not self.config.cache_from:
            return
        from inception.build.cacheimport import open_place

        for place in self.config.cache_from:
            try:
                with self.reporter.step(f"importing cache manifest from {place.place}") as report:
                    found = open_place(place, self.log_in(place))
                    report.output(f"{len(found)} records\n".encode())
            except InceptionError as error:
                self.reporter.warn(f"failed to import cache from {place.place}: {error}")
            else:
                self.imports.append(found)

    def log_in(self, place: CachePlace) -> Credentials | None:
        """For the registry of a cache."""
        return self.caller.credentials(place.place) if place.type == "registry" else None

    def _find_imported(self, key: str, stack: Stack) -> Cached | None:
        """What another machine's cache has for *key*, brought into this one's."""
        for imported in self.imports:
            entry = imported.find(key)
            if entry is None:
                continue
            try:
                layer_id = imported.bring(self.store, entry, stack)
            except InceptionError as error:
                self.reporter.warn(f"what the imported cache says is not there: {error}")
                continue
            self.cache.add([key], layer_id, entry.created)
            return self.cache.find(key)
        return None

    def _remember(self, stack: Stack, keys: list[str], layer_id: int | None, created: str) -> None:
        if not (self.config.cache_to or self.inline_cache):
            return
        from inception.build.cacheexport import Made

        with self.lock:
            self.made.append(Made(stage=stack.stage, keys=keys, layer_id=layer_id, created=created))

    @property
    def inline_cache(self) -> bool:
        asked = self.config.build_args.get("BUILDKIT_INLINE_CACHE", "") in ("1", "true")
        return asked or any(place.type == "inline" for place in self.config.cache_to)

    # --- how a step is made ---

    def _note(self, step: Operation, stack: Stack, inputs: Inputs, title: str, content: list[str]) -> None:
        """Puts down what this step is made of, and what of it was different the last time."""
        from inception.build import reasons

        files = inputs.list_files()
        place = reasons.place_of(self.config.context, self.context.name, title.partition("]")[0], len(stack.outcomes))
        now = reasons.facts_of(step.definition(), stack.diff_ids, content, files)
        why = "the cache was not asked" if self.config.no_cache or stack.fresh else ""
        line = why or reasons.explain_miss(self.cache.facts(place), now)
        with self.lock:
            self.reasons.append(f"{title.partition(chr(10))[0]}: {line}")
        self.cache.note_facts(place, jsontext.dumps(now))

    def with_layer(self, stack: Stack, layer_id: int | None) -> Stack:
        """A copy of *stack*, with one layer more if there is one."""
        found = stack.copy()
        if layer_id is not None:
            found.layer_ids.append(layer_id)
            found.diff_ids.append(self.store.layers.get(layer_id).diff_id)
        return found

    def _push(self, stack: Stack, step: Operation, layer_id: int | None, created: str, *, cached: bool) -> None:
        if layer_id is not None:
            stack.layer_ids.append(layer_id)
            stack.diff_ids.append(self.store.layers.get(layer_id).diff_id)
        stack.outcomes.append(Outcome(operation=step, layer=layer_id is not None, created=created))
        with self.lock:
            self.steps += 1
            self.cached_steps += cached

    def _make(self, step: Operation, stack: Stack, inputs: Inputs, report: Step) -> int | None:
        """Carries *step* out on top of *stack*; the new layer, None when nothing changed."""
        from inception.build import steps  # a build whose steps are all cached needs none of it

        if isinstance(step, Run):
            return self._in_snapshot(stack, lambda snapshot_id: steps.run(self, step, snapshot_id, stack, report.output), step)

        def change(snapshot_id: str) -> None:
            with self.store.snapshots.open(snapshot_id, read_only=False) as root:
                if isinstance(step, MakeFolder):
                    steps.make_folder(root, step)
                elif isinstance(step, Copy):
                    steps.copy(root, step, inputs.selection(), inputs.remotes, self.cache, self.scratch.path)
                    for repository, commit in zip(inputs.repositories, inputs.commits, strict=True):
                        steps.copy_repository(root, step, repository, commit, self.scratch.path)

        return self._in_snapshot(stack, change)

    def _in_snapshot(self, stack: Stack, change: Callable[[str], None], step: Run | None = None) -> int | None:
        """What *change* does to a snapshot on *stack*, as a layer; None when that is nothing. When *step* fails and somebody
        wants to look into it, what it left is kept."""
        snapshots = self.store.snapshots
        snapshot_id = self.new_snapshot_id()
        snapshots.prepare(snapshot_id, stack.layer_ids)
        try:
            before = os.stat(snapshots.writable(snapshot_id))
            change(snapshot_id)
            if not snapshots.is_changed(snapshot_id, before):
                snapshots.remove(snapshot_id)
                return None
            return snapshots.commit(snapshot_id, consume=True, clamp_mtime_ns=self.epoch[1])
        except BaseException as error:
            if step is not None and self.caller.wants_look and isinstance(error, InceptionError):
                with self.lock:
                    if self.failure is None and self.left is None:
                        self.left = (step, snapshot_id)
                        raise
            snapshots.remove(snapshot_id)
            raise

    def _show_left(self, error: BaseException) -> None:
        """Gives the caller a look into the state of the step that failed, and takes it away."""
        if self.left is None:
            return
        step, snapshot_id = self.left
        try:
            if isinstance(error, BuildFailed):
                from inception.build.steps import open_shell

                self.failure = None  # the mounts' locks can be waited for again
                self.caller.look_into(error, lambda: open_shell(self, step, snapshot_id))
        finally:
            self.left = None
            self.store.snapshots.remove(snapshot_id)

    def new_snapshot_id(self) -> str:
        """A name that the next build knows as this one's when it is killed."""
        return _snapshot_id()

    # --- files as layers: what RUN mounts of a context, and a context to start from ---

    def files_stack(self, context: Context, source: str, target: str) -> Stack:
        """*source* of *context* at *target*, as a stack of one layer; it is kept in the cache like a step's."""
        from inception.build import steps

        step = files_copy(source, target)
        selection = context.select(step)
        key = self.key(step.definition(), [], [selection.digest(context.digests.of)])
        hit = self.cache.find(key)
        layer_id = hit.layer_id if hit is not None else None
        if hit is None:

            def change(snapshot_id: str) -> None:
                with self.store.snapshots.open(snapshot_id, read_only=False) as root:
                    steps.copy(root, step, selection, [], self.cache, self.scratch.path)

            layer_id = self._in_snapshot(Stack([], [], []), change)
            self.cache.add([key], layer_id, self.epoch[0] or _now())
        if layer_id is None:
            return Stack([], [], [])
        return Stack([layer_id], [self.store.layers.get(layer_id).diff_id], [])

    def context_of(self, origin: str) -> Context:
        """The context that *origin* means: the build's own, or one of `--build-context`."""
        name = origin.removeprefix("context:")
        if not name:
            return self.context
        with self.contexts_lock:
            if name not in self.contexts:
                context = self.contexts[name] = self.caller.open_named(self.store, name, self.scratch, self.reporter)
                self._fetch(context, name)
            return self.contexts[name]

    def stack_of(self, origin: str) -> Stack:
        """The layers of the stage or image that *origin* means, when they are there."""
        kind, _, rest = origin.partition(":")
        if kind == "stage":
            return self.await_stage(int(rest))
        image = self.images[rest]
        return Stack(image.layer_ids, image.document.rootfs.diff_ids, [])

    def root_document(self) -> ImageDocument | None:
        """The document of the image at the bottom of the target, None for scratch."""
        stage = next(each for each in self.plan.stages if each.index == self.plan.lineage()[-1])
        return stage.image.document if stage.image is not None else None


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


# --- snapshots of builds that were killed ---

_PREFIX = "build-"


def _snapshot_id() -> str:
    from inception.linux.process import start_time

    return f"{_PREFIX}{os.getpid()}-{start_time(os.getpid())}-{os.urandom(6).hex()}"


def _remove_abandoned(engine: Engine) -> None:
    from inception.linux.process import is_alive

    rows = engine.store.db.rows("SELECT id FROM snapshots WHERE id >= ? AND id < ?", (_PREFIX, "build."))
    abandoned = []
    for (snapshot_id,) in rows:
        pid, started, _ = snapshot_id.removeprefix(_PREFIX).split("-")
        if not is_alive(int(pid), int(started)):
            abandoned.append(snapshot_id)
    if abandoned:
        from inception.engine.recover import recover

        recover(engine)  # what their steps ran in
    for snapshot_id in abandoned:
        engine.store.snapshots.remove(snapshot_id)
