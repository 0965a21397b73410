"""Where a build begins."""

from __future__ import annotations

from inception.build.recall import Recollection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from inception.build.caller import Caller
    from inception.build.config import BuildConfig, BuildResult
    from inception.build.progress import OnEvent
    from inception.engine import Engine


def build(
    engine: Engine,
    config: BuildConfig,
    progress: OnEvent | None = None,
    stdin: BinaryIO | None = None,
    caller: Caller | None = None,
) -> BuildResult:
    """Builds an image and names it. *stdin* is read for a context or Dockerfile of `-`; *caller* answers what the build asks
    for, where that is not this process.

    Raises DockerfileError (nothing was run), BuildFailed (a step failed; nothing half-made stays), and what finding base
    images raises.
    """
    if caller is not None:
        from inception.build.execute import make

        return make(engine, config, progress, caller)
    recollection = Recollection(engine, config)
    found = recollection.result(progress)
    if found is not None:
        return found
    from inception.build.caller import Caller
    from inception.build.execute import make

    return make(engine, config, progress, Caller(config, stdin), recollection.remember)
