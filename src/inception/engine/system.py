"""The engine as a whole: what it is, what it uses, what can be thrown away."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.engine import Engine


class System:
    """`engine.system`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
