"""`build --debug`: a shell where a step has failed."""

from __future__ import annotations

import sys

from inception.build.caller import Caller
from inception.errors import InceptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from inception.build.config import BuildConfig
    from inception.build.source import BuildFailed
    from inception.engine.exec import ExecProcess


class Debugger(Caller):
    """*pause* gives the terminal free."""

    wants_look = True

    def __init__(self, config: BuildConfig, pause: Callable[[], None]) -> None:
        super().__init__(config)
        self._pause = pause

    def look_into(self, error: BuildFailed, open_shell: Callable[[], AbstractContextManager[ExecProcess]]) -> None:
        from inception.cli.build import show_failure
        from inception.cli.streams import Session

        self._pause()
        show_failure(error)
        print(f"{error}\nA shell in the state that it left; the build ends when it does.", file=sys.stderr, flush=True)
        session = Session(tty=True, interactive=True)
        try:
            with open_shell() as process:
                session.run(process)
        except InceptionError as refused:
            print(f"no shell: {refused}", file=sys.stderr)
        finally:
            session.close()
