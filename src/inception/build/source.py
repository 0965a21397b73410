"""A Dockerfile's text with its lines, and the errors that point into it.

Dockerfile:3: RUNN: unknown instruction: RUNN (did you mean RUN?)
"""

from __future__ import annotations

from inception.errors import InceptionError, InvalidArgument
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.build.parse import Dockerfile

# Lines shown before and after the one that an error is about.
_CONTEXT = 3
# Of a long instruction (a heredoc) this many lines are shown.
_MOST = 20


class Source(Record):
    """`name` is the file as the user named it."""

    name: str
    lines: list[str]

    def excerpt(self, first: int, last: int) -> str:
        """The lines *first* to *last*, counted from 1, marked with `>>>` among their neighbours."""
        shown_last = min(last, first + _MOST - 1)
        rows = []
        # After the end of the last line there is no line more.
        end = len(self.lines) - (1 if self.lines and not self.lines[-1] else 0)
        for number in range(max(1, first - _CONTEXT), min(end, shown_last + _CONTEXT) + 1):
            mark = ">>>" if first <= number <= last else "   "
            rows.append(f"{number:4} | {mark} {self.lines[number - 1]}".rstrip())
        rule = "-" * 20
        return "\n".join([f"{self.name}:{first}", rule, *rows, rule])


class Located:
    """What errors about an instruction have in common: where it is, and its lines."""

    source: Source
    first_line: int
    last_line: int

    def excerpt(self) -> str:
        return self.source.excerpt(self.first_line, self.last_line)


def place_of(error: InceptionError) -> Located | None:
    """Where in the Dockerfile *error* comes from, as far as it knows."""
    found = error if isinstance(error, Located) else getattr(error, "place", None)
    return found if isinstance(found, Located) else None


class Place(Located):
    """The instruction that an error of another kind is about: its `place`."""

    def __init__(self, source: Source, first: int, last: int) -> None:
        self.source, self.first_line, self.last_line = source, first, last


class DockerfileError(InvalidArgument, Located):
    """The Dockerfile can't be read, or asks for something that doesn't exist. Nothing was run. `before` is what was read of it
    before the error, where it is one of reading."""

    before: Dockerfile | None = None

    def __init__(self, cause: str, source: Source, first: int, last: int, instruction: str = "", hint: str = "") -> None:
        place = f"{source.name}:{first}: " + (f"{instruction}: " if instruction else "")
        super().__init__(place + cause, hint)
        self.source, self.first_line, self.last_line = source, first, last


class BuildFailed(InceptionError, Located):
    """A step failed while it ran. `output` is the end of what its command wrote, `exit_code` its exit code or 0; `shown`: the
    user has seen lines and output already."""

    shown = False

    def __init__(
        self,
        cause: str,
        source: Source,
        first: int,
        last: int,
        instruction: str,
        *,
        title: str = "",
        output: bytes = b"",
        exit_code: int = 0,
        hint: str = "",
    ) -> None:
        super().__init__(f"{source.name}:{first}: {instruction}: {cause}", hint)
        self.source, self.first_line, self.last_line = source, first, last
        self.title = title
        self.output = output
        self.exit_code = exit_code


class CommandFailed(InceptionError):
    """A RUN step's command ended with something else than 0."""

    def __init__(self, args: list[str], exit_code: int, output: bytes) -> None:
        super().__init__(f"The command '{' '.join(args)}' returned a non-zero code: {exit_code}")
        self.command = args
        self.exit_code = exit_code
        self.output = output
