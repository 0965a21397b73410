"""Dockerfile text to instructions.

Three layers, each a pass over what the one before yields:

    bytes  -> physical lines    size bounds, BOM, CRLF, UTF-8
    lines  -> logical lines     directives, comments, continuation lines, here-documents
    line   -> Instruction       name, --flags, arguments in the shape that the instruction wants

Nothing is expanded here: variables have their values only in a stage (`plan.py`). Every instruction keeps the lines it came
from, for errors and for history.

Source: Dockerfile reference; where it is silent or out of date, what BuildKit's parser does: an escaped escape character at
the end of a line does not continue it, empty lines inside a continued instruction are skipped, a here-document is known by a
word of its own (`<<EOF`, `3<<-"EOF"`, never `<<<`).
"""

from __future__ import annotations

from inception.build import expand
from inception.build.instruction import Heredoc, Instruction
from inception.build.shapes import NAMES, SHAPES, check_flags, read_flags, split_word
from inception.build.source import DockerfileError, Source
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

MAX_BYTES = 4 << 20
MAX_LINE_BYTES = 65535

_NO_EMPTY_CONTINUATION = "NoEmptyContinuation"  # the one of Docker's build checks that there is
_HEREDOC_INSTRUCTIONS = ("RUN", "COPY", "ADD")


class Dockerfile(Record):
    source: Source
    instructions: list[Instruction] = []
    escape: str = "\\"
    syntax: str = ""
    warnings: list[str] = []
    warnings_are_errors: bool = False


def parse_dockerfile(data: bytes, name: str = "Dockerfile") -> Dockerfile:
    """Raises DockerfileError naming file, line and instruction."""
    file = _Reader(_read_lines(data, name)).read()
    if not file.instructions:
        raise DockerfileError("the Dockerfile cannot be empty", file.source, 1, 1)
    if file.warnings and file.warnings_are_errors:
        raise DockerfileError(f"check=error=true: {file.warnings[0]}", file.source, 1, 1)
    return file


def parse_trigger(text: str, source: Source, line: int) -> Instruction:
    """An ONBUILD trigger as images keep it. It may not trigger FROM, MAINTAINER or another ONBUILD."""
    reader = _Reader(Source(name=source.name, lines=text.split("\n")))
    file = reader.read(directives=False)
    if len(file.instructions) != 1:
        raise DockerfileError(f"not one instruction: {text!r}", source, line, line, "ONBUILD")
    trigger = file.instructions[0]
    _check_trigger(trigger, lambda cause: DockerfileError(cause, source, line, line, "ONBUILD"))
    return trigger


def _read_lines(data: bytes, name: str) -> Source:
    empty = Source(name=name, lines=[])
    if len(data) > MAX_BYTES:
        raise DockerfileError(f"the Dockerfile is larger than {MAX_BYTES} bytes", empty, 1, 1)
    raw = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, line in enumerate(raw, 1):
        if len(line) > MAX_LINE_BYTES:
            raise DockerfileError(f"line greater than maximum allowed size of {MAX_LINE_BYTES}", empty, number, number)
        if b"\0" in line:
            raise DockerfileError("a NUL byte: this is not a text file", empty, number, number)
    try:
        return Source(name=name, lines=[line.decode() for line in raw])
    except UnicodeDecodeError:
        pass
    for number, line in enumerate(raw, 1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            raise DockerfileError(f"not UTF-8: {error.reason} at byte {error.start}", empty, number, number) from None
    return empty


class _Reader:
    """Walks the physical lines; `number` is the one last read, counted from 1."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.number = 0
        self.end = len(source.lines) - (1 if source.lines and not source.lines[-1] else 0)
        self.file = Dockerfile(source=source)
        self.skipped: set[str] = set()

    def read(self, directives: bool = True) -> Dockerfile:
        if directives:
            self._read_directives()
        while self.number < self.end:
            first, text = self._logical_line()
            if text:
                self.file.instructions.append(self._instruction(first, text))
        return self.file

    def _line(self) -> str:
        self.number += 1
        return self.source.lines[self.number - 1].removesuffix("\r")

    def _fail(self, cause: str, first: int, instruction: str = "") -> NoReturn:
        raise DockerfileError(cause, self.source, first, max(first, self.number), instruction)

    def _read_directives(self) -> None:
        seen: dict[str, str] = {}
        while self.number < self.end:
            name, value = _directive(self.source.lines[self.number].strip())
            if name not in ("syntax", "escape", "check"):
                break
            self.number += 1
            if name in seen:
                self._fail(f"only one {name} parser directive can be used", self.number)
            seen[name] = value
        self.file.syntax = seen.get("syntax", "")
        self._read_checks(seen.get("check", ""))
        self.file.escape = seen.get("escape", "\\")
        if self.file.escape not in ("\\", "`"):
            self._fail(f"invalid escape token '{self.file.escape}' does not match ` or \\", self.number)

    def _read_checks(self, text: str) -> None:
        for part in text.split(";") if text else ():
            name, _, value = part.strip().partition("=")
            if name == "error" and value in ("true", "false"):
                self.file.warnings_are_errors = value == "true"
            elif name == "skip" and value:
                self.skipped = {rule.strip() for rule in value.split(",")}
            elif name != "experimental" or not value:  # those rules are checks.py's alone
                self._fail(f"invalid check directive {text!r}: expected skip=<checks|all> or error=<boolean>", self.number)

    def _logical_line(self) -> tuple[int, str]:
        """The next instruction's first line and its text with continuation lines joined; empty text for nothing."""
        text, continues = self._strip(self._line().lstrip())
        first = self.number
        blank = False
        while continues and self.number < self.end:
            line = self._line()
            if line.lstrip().startswith("#"):
                continue
            if not line.strip():
                blank = True
                continue
            more, continues = self._strip(line)
            text += more
        if blank and text and not self.skipped & {"all", _NO_EMPTY_CONTINUATION}:
            self.file.warnings.append(f"{self.source.name}:{first}: {_NO_EMPTY_CONTINUATION}: empty continuation line")
        return first, text.strip()

    def _strip(self, line: str) -> tuple[str, bool]:
        if line.lstrip().startswith("#"):
            return "", False
        # An escaped escape character is no continuation.
        text, escape = line.rstrip(" \t"), self.file.escape
        continues = text.endswith(escape) and not text.endswith(escape * 2)
        return (text[:-1], True) if continues else (line, False)

    def _instruction(self, first: int, text: str) -> Instruction:
        word, rest = split_word(text)
        name = word.upper()
        if name not in NAMES:
            self._fail(f"unknown instruction: {word}{_suggest(name)}", first)
        try:
            flags, rest = read_flags(rest, self.file.escape)
            found = Instruction(name=name, flags=flags, first_line=first, original=text)
            check_flags(found)
            if name == "ONBUILD":
                self._read_trigger(found, first, rest)
            else:
                if name in _HEREDOC_INSTRUCTIONS and "<<" in rest:
                    found.heredocs.extend(self._heredocs(text))
                SHAPES[name](found, rest, self.file.escape)
        except ValueError as error:
            self._fail(str(error), first, name)
        found.last_line = self.number
        return found

    def _read_trigger(self, found: Instruction, first: int, rest: str) -> None:
        if not rest:
            raise ValueError("ONBUILD requires at least one argument")
        trigger = self._instruction(first, rest)
        _check_trigger(trigger, ValueError)
        found.trigger = trigger
        bodies = "".join(f"\n{doc.content}{doc.name}" for doc in trigger.heredocs)
        found.arguments.append(rest + bodies)

    def _heredocs(self, text: str) -> list[Heredoc]:
        try:
            words = expand.split_raw(text, self.file.escape)
        except expand.ExpansionError:
            return []  # a lone quote: for the shell to complain about
        found = []
        for word in words:
            heredoc = heredoc_word(word)
            if heredoc is None:
                continue
            lines: list[str] = []
            while True:
                if self.number >= self.end:
                    raise ValueError(f"unterminated heredoc {heredoc.name!r}")
                line = self._line()
                if (line.lstrip("\t") if heredoc.chomp else line) == heredoc.name:
                    break
                lines.append(self.source.lines[self.number - 1] + "\n")
            heredoc.content = "".join(lines)
            found.append(heredoc)
        return found


def _suggest(name: str) -> str:
    import difflib  # only when something is misspelt

    close = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def _check_trigger(trigger: Instruction, error: Callable[[str], Exception]) -> None:
    if trigger.name == "ONBUILD":
        raise error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger.name in ("FROM", "MAINTAINER"):
        raise error(f"{trigger.name} isn't allowed as an ONBUILD trigger")


def heredoc_word(word: str) -> Heredoc | None:
    """An empty Heredoc when *word* announces one: `<<EOF`, `3<<-"E O F"`."""
    descriptor, mark, name = word.partition("<<")
    chomp = name.startswith("-")
    name = name.removeprefix("-")
    if not mark or not name or "<" in name or descriptor.strip("0123456789"):
        return None
    try:
        names = expand.expand_words(name, {})
        if len(expand.split_raw(name)) != 1 or len(names) != 1:
            return None
    except expand.ExpansionError:
        return None
    plain = not any(char in name for char in "'\"\\")
    return Heredoc(name=name if plain else names[0], content="", expand=plain, chomp=chomp)


def _directive(line: str) -> tuple[str, str]:
    """Name (in lower case) and value of `# name = value`; empty when *line* is something else."""
    name, equals, value = line.removeprefix("#").partition("=")
    name, value = name.strip(" \t"), value.strip(" \t")
    if not line.startswith("#") or not equals or not value or not (name.isascii() and name.isalnum()):
        return "", ""
    return name.lower(), value
