"""`build --explain`: the graph of operations with their keys, and which of them the cache has. Nothing is made.

Base images are looked up (and fetched when they are missing), since everything rests on them. The key of a step is known when
all below it and all that it copies is there; a step that rests on one that is to be made has none yet.
"""

from __future__ import annotations

from inception.build.inputs import Inputs, Stack
from inception.build.operations import Configure, Operation
from inception.build.running import Cancelled
from inception.build.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.build.plan import BuildPlan, StagePlan

_DIGITS = 12


class Explainer(Session):
    """Reads the cache as a build would."""

    def explain(self) -> str:
        plan = self.make_plan()
        return "\n".join(line for stage in plan.stages for line in self._stage_lines(plan, stage))

    def await_stage(self, index: int) -> Stack:
        if index not in self.stacks:
            raise Cancelled("not known yet")
        return self.stacks[index]

    def _stage_lines(self, plan: BuildPlan, stage: StagePlan) -> list[str]:
        lines = [str(stage).partition("\n")[0]]
        try:
            stack: Stack | None = self.base_of(stage)
        except Cancelled:
            stack = None
        for step in stage.operations:
            if isinstance(step, Configure):
                lines.append(f"  {'':{_DIGITS}}  {'config':8}  {step.describe()}  # line {step.first_line}")
                continue
            key, state, stack = self._look(step, stack)
            lines.append(f"  {key[:_DIGITS]:{_DIGITS}}  {state:8}  {step.describe()}  # line {step.first_line}")
        if stack is not None:
            self.stacks[stage.index] = stack
        return lines

    def _look(self, step: Operation, stack: Stack | None) -> tuple[str, str, Stack | None]:
        """The step's key, what the cache says, and what later steps rest on: None when it isn't there."""
        if stack is None:
            return "?", "to make", None
        key = ""
        try:
            with Inputs(self, step) as inputs:
                for content in inputs.contents():
                    key = self.key(step.definition(), stack.diff_ids, content)
                    hit = self.cache.find(key)
                    if hit is not None:
                        return key, "cached", self.with_layer(stack, hit.layer_id)
        except Cancelled:
            return "?", "to make", None
        return key, "to make", None
