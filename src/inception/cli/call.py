"""One call of a verb: what stood on the command line, and the engine it speaks to."""

from __future__ import annotations

import sys

from inception.errors import InceptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from inception.cli.flags import Flags
    from inception.engine import Engine


class Settings:
    """The global flags."""

    def __init__(self, root: str = "", run_root: str = "", debug: bool = False) -> None:
        self.root = root
        self.run_root = run_root
        self.debug = debug


class Call:
    """A verb's only argument. `path` is what the user typed, for messages: `inception container run`."""

    def __init__(self, path: str, settings: Settings, flags: Flags, arguments: list[str]) -> None:
        self.path = path
        self.settings = settings
        self.flags = flags
        self.arguments = arguments
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """Opened when first asked for, so that a bad flag never touches the disk."""
        if self._engine is None:
            from inception.engine.engine import Engine

            self._engine = Engine(self.settings.root or None, self.settings.run_root or None)
        return self._engine


def complain(error: Exception) -> None:
    """Print one error as every verb does: the message, then the hint."""
    print(f"inception: {error}", file=sys.stderr)
    hint = getattr(error, "hint", "")
    if hint:
        print(f"hint: {hint}", file=sys.stderr)


def for_each(names: Iterable[str], act: Callable[[str], object], *, say: bool = True) -> int:
    """Do *act* to each of *names*; a failure is reported and the rest still done. Prints each name that worked.

    Answers the exit code: 1 when anything failed.
    """
    failed = False
    for name in names:
        try:
            act(name)
        except InceptionError as error:
            complain(error)
            failed = True
            continue
        if say:
            print(name, flush=True)
    return int(failed)


def confirm(question: str) -> bool:
    """Ask before deleting; anything but `y` or `yes` is a no, and so is the end of the input."""
    print(f"{question} [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
