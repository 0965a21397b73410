"""A build from end to end: one session a platform, what they made joined and sent where it should go.

Dockerfile ── plan ──▶ session (session.py: stages and their steps) ──▶ result.py ──▶ image, archive, folder, registry
"""

from __future__ import annotations

from inception.build.caller import Caller
from inception.build.config import BuildConfig, BuildResult
from inception.build.leftovers import remove_abandoned
from inception.build.output import all_names
from inception.build.progress import Reporter
from inception.build.result import check_outputs, finish
from inception.build.running import Abandoned
from inception.build.session import Session
from inception.engine.times import now
from inception.errors import InceptionError, InvalidArgument
from inception.oci.reference import Reference
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO, TypeVar

    from inception.build.explain import Explainer
    from inception.build.progress import OnEvent
    from inception.engine import Engine

    S = TypeVar("S", bound=Session)
    T = TypeVar("T")


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
    remove_abandoned(first.engine)
    for session in sessions:
        session.run()
    for session in sessions:
        session.finished = now()
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
