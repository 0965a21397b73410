"""Dockerfile to image.

source.py    lines, errors that point into them     parse.py      text to instructions (shapes.py: their arguments)
expand.py    variables                              plan.py       instructions to a graph of stages (bases.py: their images)
stage.py     inside a stage (values.py)             runstep.py    a RUN; copystep.py: a COPY or ADD
context.py   what is copied from, .dockerignore     operations.py what a step does, decided
selection.py sources of a COPY, and their digest    execute.py    a build from end to end; session.py: its graph carried out
steps.py     how a step is made (copy.py, remote.py) making.py    how it becomes a layer; leftovers.py: what a kill leaves
running.py   what goes on at once                    calls.py     questions in the place of a build (outline.py)
inputs.py    what a step takes from elsewhere        mounts.py     RUN --mount (mounting.py, folders.py, secrets.py, agent.py)
git.py       repositories                            output.py     --output; result.py sends it there
attest.py    what is said of the result (sbom.py)    cacheplaces.py caches elsewhere (cacheimport.py, cacheexport.py)
recall.py    builds that nothing has changed for (wholebuilds.py)  reasons.py    why a step was not cached
explain.py   the graph with its keys                 start.py      where a build begins
devices.py   --allow and RUN --device                turns.py      a step that several builds want (waiting.py)
checks.py    build checks (rules.py)                 directives.py comments at the top that mean something
cache.py     what a step made, by what it rests on  image.py      the document and its history
progress.py  what is told meanwhile
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.build.config import BuildConfig, BuildResult
    from inception.build.execute import explain
    from inception.build.source import BuildFailed, DockerfileError
    from inception.build.start import build

__all__ = ["BuildConfig", "BuildFailed", "BuildResult", "DockerfileError", "build", "explain"]
_HOMES = {"build": "start", "explain": "execute", "BuildFailed": "source", "DockerfileError": "source"}


def __getattr__(name: str) -> object:
    # A build that nothing has changed for loads a tenth of this package.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = f"inception.build.{_HOMES.get(name, 'config')}"
    value = getattr(__import__(module, fromlist=[name]), name)
    globals()[name] = value
    return value
