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
from inception.build.directives import CheckOptions, parse_check_options, read_directives
from inception.build.instruction import Heredoc, Instruction
from inception.build.shapes import NAMES, SHAPES, check_flags, read_flags, split_word, suggest
from inception.build.source import DockerfileError, Source
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

MAX_BYTES = 4 << 20
MAX_LINE_BYTES = 65535

_HEREDOC_INSTRUCTIONS = ("RUN", "COPY", "ADD")


class Dockerfile(Record):
    """`checks` says which build checks count; `empty_continuations` are the lines of instructions with empty lines in them."""

    source: Source
    instructions: list[Instruction] = []
    escape: str = "\\"
    syntax: str = ""
    checks: CheckOptions = CheckOptions()
    empty_continuations: list[tuple[int, int]] = []


def parse_dockerfile(data: bytes, name: str = "Dockerfile") -> Dockerfile:
    """Raises DockerfileError naming file, line and instruction."""
    reader = _Reader(_read_lines(data, name))
    try:
        file = reader.read()
    except DockerfileError as error:
        error.before = reader.file
        raise
    if not file.instructions:
        raise DockerfileError("the Dockerfile cannot be empty", file.source, 1, 1)
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
        found: dict[str, str] = {}
        for number, name, value in read_directives(self.source.lines[: self.end]):
            self.number = number
            if name in found:
                self._fail(f"only one {name} parser directive can be used", self.number)
            found[name] = value
            try:
                self._apply_directive(name, value)
            except ValueError as error:
                self._fail(str(error), self.number)

    def _apply_directive(self, name: str, value: str) -> None:
        if name == "syntax":
            self.file.syntax = value
        elif name == "check":
            self.file.checks = parse_check_options(value)
        elif value in ("\\", "`"):
            self.file.escape = value
        else:
            raise ValueError(f"invalid escape token '{value}' does not match ` or \\")

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
        if blank and text:
            self.file.empty_continuations.append((first, self.number))
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
            self._fail(f"unknown instruction: {word}{suggest(name, NAMES)}", first)
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
        for word in _with_names(words):
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


def _check_trigger(trigger: Instruction, error: Callable[[str], Exception]) -> None:
    if trigger.name == "ONBUILD":
        raise error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger.name in ("FROM", "MAINTAINER"):
        raise error(f"{trigger.name} isn't allowed as an ONBUILD trigger")


def _with_names(words: list[str]) -> Iterator[str]:
    """*words*, with `<< EOF` as one of them; `$((1 << 4))` shifts."""
    rest = iter(words)
    for word in rest:
        if word.lstrip("0123456789") in ("<<", "<<-"):
            name = next(rest, "")
            yield f"{word} {name}" if (name[:1].isalpha() or name[:1] in ("_", "-", "'", '"')) and ")" not in name else word
        else:
            yield word


def heredoc_word(word: str) -> Heredoc | None:
    """An empty Heredoc when *word* announces one: `<<EOF`, `3<<-"E O F"`, `<< EOF`."""
    descriptor, mark, name = word.partition("<<")
    chomp = name.startswith("-")
    name = name.removeprefix("-").lstrip(" \t")
    if not mark or not name or "<" in name or descriptor.strip("0123456789"):
        return None
    try:
        # A variable is none here: `<<$EOF` ends at a line `$EOF`.
        names = expand.expand_words(name.replace("$", r"\$"), {})
        if len(expand.split_raw(name)) != 1 or len(names) != 1:
            return None
    except expand.ExpansionError:
        return None
    plain = not any(char in name for char in "'\"\\")
    return Heredoc(name=name if plain else names[0], content="", expand=plain, chomp=chomp)
