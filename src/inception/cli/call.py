"""One call of a verb: what stood on the command line, and the engine it speaks to."""

from __future__ import annotations

import os
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
        self.host = ""
        self.context = ""
        self.tls: dict[str, str] = {}


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
        """Opened when first asked for, so that a bad flag never touches the disk. Another machine's where `-H`, DOCKER_HOST or
        a context say so: it has the same attributes, and `is_remote` tells."""
        if self._engine is None:
            self._engine = self._elsewhere() or self._here()
        return self._engine

    @property
    def is_remote(self) -> bool:
        """Whether the engine is another machine's."""
        from inception.engine.engine import Engine

        return not isinstance(self.engine, Engine)

    def local_engine(self, what: str) -> Engine:
        """This machine's own engine, for *what* can't be done from afar. Raises InvalidArgument when another was asked for."""
        if self.settings.host or self.settings.context:
            from inception.errors import InvalidArgument

            raise InvalidArgument(f"{what} is not possible on another engine", "run it on that machine, without --host")
        return self._here()

    def _here(self) -> Engine:
        from inception.engine.engine import Engine

        return Engine(self.settings.root or None, self.settings.run_root or None)

    def _elsewhere(self) -> Engine | None:
        settings, environment = self.settings, os.environ
        if settings.root or settings.run_root:
            if settings.host or settings.context:
                from inception.errors import InvalidArgument

                raise InvalidArgument("conflicting options: --host and --context are about another engine's own --root")
            return None
        named = settings.host or settings.context or "DOCKER_HOST" in environment or "DOCKER_CONTEXT" in environment
        if not named:  # nearly always, and then nothing more is imported
            return None
        from inception.client import address
        from inception.client.engine import RemoteEngine

        found = address.find(settings.host, settings.context, environment, settings.tls)
        return None if found is None else cast(RemoteEngine(found))


def cast(engine: object) -> Engine:
    """`tests/unit/client/test_interface.py` holds that both engines have the same verbs."""
    return engine  # type: ignore[return-value]


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
