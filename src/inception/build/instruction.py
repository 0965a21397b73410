"""One instruction as the Dockerfile has it, its variables not yet expanded."""

from __future__ import annotations

from inception.record import Record


class Heredoc(Record):
    """`content` is as written; `chomp` (`<<-`) asks for leading tabs to go, `expand` (an unquoted name) for variables."""

    name: str
    content: str
    expand: bool = True
    chomp: bool = False

    @property
    def text(self) -> str:
        if not self.chomp:
            return self.content
        return "".join(line.lstrip("\t") for line in self.content.splitlines(keepends=True))


class Instruction(Record):
    """One instruction, its variables not yet expanded.

    `arguments` are words, or one text for the shell form; `json` says that they were a JSON array. `pairs` are the names and
    values of ENV, LABEL and ARG (None where ARG gives no value). `trigger` is what ONBUILD holds back.
    """

    name: str
    arguments: list[str] = []
    pairs: list[tuple[str, str | None]] = []
    flags: dict[str, list[str]] = {}
    heredocs: list[Heredoc] = []
    json: bool = False
    trigger: Instruction | None = None
    first_line: int = 1
    last_line: int = 1
    original: str = ""

    def flag(self, name: str, default: str = "") -> str:
        """The last value given for *name*."""
        return self.flags.get(name, [default])[-1]
