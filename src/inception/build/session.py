"""One build under way for one platform: each stage from its base upwards, every step either found in the cache or made in a
snapshot of its own.

    stage     stack of layers ── key ──▶ cache? ── yes ─▶ its layer on top of the stack
                                              └─ no ──▶ snapshot ▸ run / copy / mkdir ▸ commit ▸ layer ▸ cache

Stages that don't need each other run side by side, each in a thread; a step that copies from another stage waits for it.
"""

from __future__ import annotations

import functools
import os
import threading
import time

from inception import jsontext
from inception.build.bases import Bases
from inception.build.cache import BuildCache, key_of
from inception.build.caller import Caller
from inception.build.config import BuildConfig
from inception.build.image import Outcome
from inception.build.inputs import Inputs, Stack
from inception.build.making import Maker
from inception.build.operations import Configure, Operation, hide_password
from inception.build.output import all_names
from inception.build.plan import BuildPlan, StagePlan, context_paths, plan_build
from inception.build.progress import Reporter, Step
from inception.build.running import Cancelled, Running
from inception.build.source import BuildFailed, CommandFailed, DockerfileError
from inception.engine.times import now
from inception.errors import InceptionError, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from inception.build.cache import Cached
    from inception.build.cacheexport import Made
    from inception.build.cacheimport import ImportedCache
    from inception.build.config import CachePlace
    from inception.build.context import Context
    from inception.engine import Engine
    from inception.oci.image import ImageDocument
    from inception.store.credentials import Credentials
    from inception.store.scratch import Scratch

_MAX_LAYERS = 500  # as many lower folders as overlayfs takes (fs/overlayfs/params.h, OVL_MAX_STACK)


class Session(Running):
    """One build under way, for one platform: its stages side by side, each from its base upwards."""

    plan: BuildPlan

    def __init__(
        self, engine: Engine, config: BuildConfig, context: Context, reporter: Reporter, scratch: Scratch, caller: Caller
    ) -> None:
        super().__init__()
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
        self.started = self.finished = now()
        self.bases = Bases(engine, config, caller, reporter)
        self.maker = Maker(self)
        self.downloads: dict[str, dict[str, str]] = {}
        self.fresh_stages = {name.lower() for text in config.no_cache_stages for name in text.split(",") if name}
        self.names = all_names(config.tags, config.outputs)
        self.contexts: dict[str, Context] = {}
        self.contexts_lock = threading.Lock()  # held while one is fetched
        self.paths: dict[str, list[str]] = {}
        self.stacks: dict[int, Stack] = {}
        self.steps = self.cached_steps = 0
        self.reasons: list[str] = []
        self.made: list[Made] = []
        self.imports: list[ImportedCache] = []

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
        from inception.build.checks import check_for_build, read_checked, warnings_before  # none for a build that is known

        file = None
        try:
            file = read_checked(self.context, self.config)
            plan = plan_build(file, self.config, self.bases.resolve)
        except DockerfileError as error:
            error.before = error.before or file
            for warning in warnings_before(error):
                self.reporter.warn(warning.short)
            raise
        plan.warnings[:0] = check_for_build(plan, self.context, self.store.images)
        return plan

    def key(self, definition: list[object], diff_ids: Sequence[str], content: Sequence[str]) -> str:
        """The cache's key of a step. A fixed time is part of it, since the times of files are."""
        return key_of([*definition, ["epoch", self.epoch[0]]] if self.epoch[0] else definition, diff_ids, content)

    def note_download(self, url: str, algorithm: str, digits: str) -> None:
        """What came from elsewhere, for whoever asks what the result was made of."""
        self.downloads[hide_password(url)] = {algorithm: digits}

    # --- stages ---

    def _run_stages(self, plan: BuildPlan) -> None:
        self.reporter.plan([title for stage in plan.stages for title in self._titles(stage)])
        self.run_together({stage.index: functools.partial(self._stage, stage) for stage in plan.stages})
        if self.failure is not None:
            failure = self.failure
            self.maker.show_left(failure)
            raise failure

    def await_stage(self, index: int) -> Stack:
        """The finished stack of another stage."""
        self.await_job(index)
        return self.stacks[index]

    def base_of(self, plan: StagePlan) -> Stack:
        kind, _, rest = plan.base.partition(":")
        if kind == "stage":
            return self.await_stage(int(rest)).copy()
        if kind == "image":
            image = self.bases.images[rest]
            return Stack(list(image.layer_ids), list(image.document.rootfs.diff_ids), [])
        if kind == "context":
            return self.maker.files_stack(self.context_of(plan.base), ".", "/")
        return Stack([], [], [])

    def _stage(self, plan: StagePlan) -> None:
        stack = self.base_of(plan)
        stack.stage = plan.index
        stack.fresh = plan.name in self.fresh_stages or str(plan.index) in self.fresh_stages
        base, *titles = self._titles(plan)
        if plan.base != "scratch":
            with self.reporter.step(base) as report:
                report.cached()
        for step, title in zip(plan.operations, titles, strict=True):
            self.check()
            if isinstance(step, Configure):
                stack.outcomes.append(Outcome(operation=step))
            else:
                self._step(step, stack, title)
        self.stacks[plan.index] = stack

    def _titles(self, plan: StagePlan) -> list[str]:
        """FROM and what follows it as they are shown: what makes files is numbered."""
        label = f"{self.label}{plan.name or f'stage-{plan.index}'} " if len(self.plan.stages) > 1 or plan.name else self.label
        steps = [(plan.title, plan.base != "scratch")]
        steps += [(step.title, not isinstance(step, Configure)) for step in plan.operations]
        total = sum(makes_files for _, makes_files in steps)
        numbers = iter(range(1, total + 1))
        return [f"[{label}{next(numbers)}/{total}] {title}" if makes_files else title for title, makes_files in steps]

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
        report.making()
        layer_id = self.maker.make(step, stack, inputs, report)
        created = self.epoch[0] or now()
        self.cache.add(keys, layer_id, created)
        self._push(stack, step, layer_id, created, cached=False)
        self._remember(stack, keys, layer_id, created)

    # --- caches elsewhere ---

    def _open_imports(self) -> None:
        if not self.config.cache_from:
            return
        from inception.build.cacheimport import open_places

        self.imports = open_places(self.config.cache_from, self.log_in, self.reporter)

    def log_in(self, place: CachePlace) -> Credentials | None:
        """For the registry of a cache."""
        return self.caller.credentials(place.place) if place.type == "registry" else None

    def _find_imported(self, key: str, stack: Stack) -> Cached | None:
        """What another machine's cache has for *key*, brought into this one's."""
        if not self.imports:
            return None
        from inception.build.cacheimport import bring

        return self.cache.find(key) if bring(self.imports, key, stack, self.store, self.cache, self.reporter) else None

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
        image = self.bases.images[rest]
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
