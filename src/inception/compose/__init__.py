"""A project file made real: load, observe, reconcile, execute.

    files ──▶ Project ──┐
    engine ─▶ Observed ─┴─▶ Plan ──▶ engine
              load, observe  reconcile  execute

`load` reads files and asks nothing of the engine; `reconcile` is a pure function of values; only `observe` and `execute`
touch the engine, and only `execute` changes anything. The plan between them is what `--dry-run` prints. `up` and `down` are
the whole way in one call.
"""

from __future__ import annotations

from inception.compose.life import down, up
from inception.compose.load import load
from inception.compose.model import Project
from inception.compose.observe import Observed, observe
from inception.compose.plan import Operation, Plan
from inception.compose.reconcile import UpOptions, plan_images, plan_up
from inception.compose.teardown import DownOptions, plan_down

__all__ = [
    "DownOptions",
    "Observed",
    "Operation",
    "Plan",
    "Project",
    "UpOptions",
    "down",
    "load",
    "observe",
    "plan_down",
    "plan_images",
    "plan_up",
    "up",
]
