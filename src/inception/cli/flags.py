"""Flags as Go's pflag reads them, declared by the help page itself.

A verb writes the `Options:` part of its help page, in the layout that Docker prints, and that text is the declaration:

      -m, --memory bytes      Memory limit
          --pull string       Pull the image first ("always", "missing", "never") (default "missing")

The word after the name is the kind of the value (none is a switch), `--name[=word]` takes a value only after `=`, a closing
`(default ...)` is the default. So the page
and the parser can't disagree, and a table of a hundred flags is read in a tenth of a millisecond: importing click alone
takes longer than a container needs to start (docs/decisions/0001-flag-parser.md).

What pflag does and this does too: `--name=value`, `--name value`, `-p80:80`, `-it`, `-itp 80:80`, `--rm=false`; a switch
takes a value only after `=`; `--` ends the flags; the last of a repeated single value wins. `interspersed=False` ends the
flags at the first argument, so that `run IMAGE ls -l` leaves `-l` to the container.
"""

from __future__ import annotations

from inception.cli import values
from inception.duration import parse_duration_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from inception.cli.call import Call

# What a Docker command answers to a flag that it can't read; other failures are 1 (or the container's own code).
USAGE_EXIT_CODE = 125

_PARSERS: dict[str, Callable[[str], Any]] = {
    "": values.parse_bool,
    "string": str,
    "optional": str,
    "int": values.parse_int,
    "uint": values.parse_uint,
    "bytes": values.parse_bytes,
    "decimal": values.parse_nano,
    "duration": parse_duration_ns,
    "ip": values.parse_ip,
}
_LISTS: dict[str, Callable[[str], list[str]]] = {
    "list": lambda text: [text],
    "strings": lambda text: text.split(","),
    "mount": lambda text: [text],
    "network": lambda text: [text],
    "ulimit": lambda text: [text],
}
_PAIRS: dict[str, Callable[[str], tuple[str, str]]] = {"map": values.parse_pair, "filter": values.parse_filter}
_ZERO: dict[str, Any] = {
    "": False,
    "string": "",
    "optional": "",
    "int": 0,
    "uint": 0,
    "bytes": 0,
    "decimal": 0,
    "duration": 0,
    "ip": "",
}
# What a flag without a value stands for, where it may stand without one.
_ALONE = {"": "true", "optional": ""}


class UsageError(Exception):
    """The command line can't be read. `page` is what is shown below the message."""

    def __init__(self, message: str, page: str = "", exit_code: int = USAGE_EXIT_CODE) -> None:
        super().__init__(message)
        self.page = page
        self.exit_code = exit_code


class Flag:
    """One flag: its names, the kind of its value, its default as text."""

    def __init__(self, name: str, short: str, kind: str, default: str = "") -> None:
        self.name = name
        self.short = short
        self.kind = kind
        self.default = default

    @property
    def shown(self) -> str:
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


class Flags:
    """The values of one command line, by long name. Asking for a name that the table lacks is a KeyError: a bug of ours."""

    def __init__(self, table: dict[str, Flag]) -> None:
        self._table = table
        self._values: dict[str, Any] = {}

    def given(self, name: str) -> bool:
        """Whether the flag stood on the command line, whatever its value."""
        return name in self._values

    def has(self, name: str) -> bool:
        """Whether the verb has such a flag at all."""
        return name in self._table

    @property
    def any_given(self) -> bool:
        return bool(self._values)

    def shown(self, name: str) -> str:
        """The flag as messages name it: `-m, --memory`."""
        return self._table[name].shown

    def _get(self, name: str) -> Any:
        flag = self._table[name]
        return self._values[name] if name in self._values else self.default(flag)

    def default(self, flag: Flag) -> Any:
        """The value of *flag* when it is not given."""
        if flag.kind in _PARSERS:
            return _PARSERS[flag.kind](flag.default) if flag.default else _ZERO[flag.kind]
        return [] if flag.kind in _LISTS else {}

    def on(self, name: str) -> bool:
        return bool(self._get(name))

    def text(self, name: str) -> str:
        return str(self._get(name))

    def number(self, name: str) -> int:
        return int(self._get(name))

    def map(self, name: str) -> dict[str, str]:
        """The pairs of a `map`; a key given twice keeps its last value."""
        return {key: found[-1] for key, found in self._get(name).items()}

    def filters(self, name: str = "filter") -> dict[str, list[str]]:
        return dict(self._get(name))

    def set(self, flag: Flag, text: str) -> None:
        """Store *text* as the value of *flag*; raises ValueError with Go's wording when it can't be read."""
        if flag.kind in _PARSERS:
            self._values[flag.name] = _PARSERS[flag.kind](text)
        elif flag.kind in _LISTS:
            self._values.setdefault(flag.name, []).extend(_LISTS[flag.kind](text))
        else:
            key, value = _PAIRS[flag.kind](text)
            self._values.setdefault(flag.name, {}).setdefault(key, []).append(value)

    def list(self, name: str) -> list[str]:  # last, since it hides the built-in type from the annotations below it
        return [*self._get(name)]


class Command:
    """One verb: what it is called, what its page says, what it takes, and the function that does it.

    `usage` is what follows the verb on the usage line. `minimum` and `maximum` bound the number of arguments (None is no
    bound). `hidden` declares flags that work and are not on the page (old spellings). `renamed` maps such spellings to the
    flag that they mean. `refused` maps a flag of Docker's that does nothing here to the reason. `error_exit_code` is what a
    failure answers; with `start_exit_codes` a process that can't be started answers 126 or 127.
    """

    def __init__(
        self,
        run: Callable[[Call], int],
        usage: str,
        summary: str,
        options: str = "",
        *,
        minimum: int = 0,
        maximum: int | None = None,
        interspersed: bool = True,
        hidden: str = "",
        renamed: dict[str, str] | None = None,
        refused: dict[str, str] | None = None,
        error_exit_code: int = 1,
        start_exit_codes: bool = False,
    ) -> None:
        self.run = run
        self.usage = usage
        self.summary = summary
        self.options = options
        self.minimum = minimum
        self.maximum = maximum
        self.interspersed = interspersed
        self.hidden = hidden
        self.renamed = renamed or {}
        self.refused = refused or {}
        self.error_exit_code = error_exit_code
        self.start_exit_codes = start_exit_codes

    def table(self) -> dict[str, Flag]:
        return read_table(self.options) | read_table(self.hidden)

    def help(self, path: str, aliases: str = "") -> str:
        parts = [usage_line(path, self.usage), self.summary]
        if aliases:
            parts.append(f"Aliases:\n  {aliases}")
        if self.options:
            parts.append("Options:\n" + self.options.rstrip("\n"))
        return "\n\n".join(parts) + "\n"


def usage_line(path: str, usage: str) -> str:
    return f"Usage:  {path} {usage}".rstrip()


def read_table(page: str) -> dict[str, Flag]:
    """The flags that an options page declares, by long name."""
    table: dict[str, Flag] = {}
    flag: Flag | None = None
    for line in page.splitlines():
        text = line.strip()
        if text.startswith("-"):
            names, _, text = text.partition("  ")
            words = names.split()
            short = words.pop(0)[1:-1] if words[0][-1] == "," else ""
            name, optional, _ = words[0][2:].partition("[=")
            flag = Flag(name, short, "optional" if optional else words[1] if len(words) > 1 else "")
            table[flag.name] = flag
        if flag is not None and text.endswith(")") and "(default " in text:
            word = text.rpartition("(default ")[2][:-1]
            if word.startswith('"') or " " not in word:  # not prose such as `(default shows just running)`
                flag.default = word.strip('"')
    return table


class HelpAsked(Exception):
    """`--help` stood among the flags."""


def parse(command: Command, path: str, argv: list[str]) -> tuple[Flags, list[str]]:
    """The flags and the arguments of *argv*. Raises UsageError in Docker's words, or HelpAsked."""
    table = command.table()
    flags = Flags(table)
    arguments = _read(command, table, flags, argv, usage_page(path, command.usage))
    check_count(command, path, len(arguments))
    return flags, arguments


def _read(command: Command, table: dict[str, Flag], flags: Flags, argv: list[str], page: str) -> list[str]:
    arguments: list[str] = []
    rest = list(reversed(argv))
    help_asked = False
    while rest:
        word = rest.pop()
        if word == "--":
            arguments.extend(reversed(rest))
            break
        if not word.startswith("-") or word == "-":
            arguments.append(word)
            if command.interspersed:
                continue
            arguments.extend(reversed(rest))
            break
        if word == "--help" or (word == "-h" and not any(flag.short == "h" for flag in table.values())):
            help_asked = True
        elif word.startswith("--"):
            _read_long(command, table, flags, word, rest, page)
        else:
            _read_bundle(table, flags, word, rest, page)
    if help_asked:
        raise HelpAsked
    return arguments


def _read_long(command: Command, table: dict[str, Flag], flags: Flags, word: str, rest: list[str], page: str) -> None:
    name, equals, value = word[2:].partition("=")
    if not name or name.startswith("-"):
        raise UsageError(f"bad flag syntax: {word}", page)
    name = command.renamed.get(name, name)
    if name in command.refused:
        raise UsageError(f"--{name} is not supported: {command.refused[name]}", page)
    flag = table.get(name)
    if flag is None:
        raise UsageError(f"unknown flag: --{name}", page)
    if not equals:
        if flag.kind in _ALONE:
            value = _ALONE[flag.kind]
        elif rest:
            value = rest.pop()
        else:
            raise UsageError(f"flag needs an argument: --{name}", page)
    _set(flags, flag, value, page)


def _read_bundle(table: dict[str, Flag], flags: Flags, word: str, rest: list[str], page: str) -> None:
    shorts = {flag.short: flag for flag in table.values() if flag.short}
    letters = word[1:]
    while letters:
        flag = shorts.get(letters[0])
        if flag is None:
            raise UsageError(f"unknown shorthand flag: '{letters[0]}' in -{letters}", page)
        letter, letters = letters[0], letters[1:]
        if letters.startswith("="):
            value, letters = letters[1:], ""
        elif flag.kind in _ALONE:
            value = _ALONE[flag.kind]
        elif letters:
            value, letters = letters, ""
        elif rest:
            value = rest.pop()
        else:
            raise UsageError(f"flag needs an argument: '{letter}' in {word}", page)
        _set(flags, flag, value, page)


def _set(flags: Flags, flag: Flag, value: str, page: str) -> None:
    try:
        flags.set(flag, value)
    except ValueError as error:
        raise UsageError(f'invalid argument "{value}" for "{flag.shown}" flag: {error}', page) from None


def more(path: str) -> str:
    """Where to read on, as Docker says it below an error."""
    return f"\nRun '{path} --help' for more information"


def usage_page(path: str, usage: str) -> str:
    """What is shown below a complaint about a flag or the arguments."""
    return f"\n{usage_line(path, usage)}\n{more(path)}"


def check_count(command: Command, path: str, count: int) -> None:
    """Raise Docker's complaint when *count* arguments are too few or too many; it exits with 1, unlike a bad flag."""
    low, high = command.minimum, command.maximum
    if count >= low and (high is None or count <= high):
        return
    if high == 0:
        rule = "accepts no arguments"
    elif low == high:
        rule = f"requires {_arguments(low)}"
    elif low and high is not None:
        rule = f"requires at least {low} and at most {_arguments(high)}"
    elif count < low:
        rule = f"requires at least {_arguments(low)}"
    else:
        rule = f"requires at most {_arguments(high or 0)}"
    raise UsageError(f"{path.partition(' ')[0]}: '{path}' {rule}", usage_page(path, command.usage), exit_code=1)


def _arguments(count: int) -> str:
    return f"{count} argument" if count == 1 else f"{count} arguments"
