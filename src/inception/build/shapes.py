"""What follows an instruction's name: its flags, and its arguments in the shape that it wants.

Every function of the table fills an `Instruction` from the rest of its line, or raises ValueError with Docker's words.
"""

from __future__ import annotations

from inception import jsontext
from inception.build.instruction import Instruction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# What separates words; a no-break space is part of one.
_BLANKS = "\t\v\f\r "
_NAME_START = frozenset("abcdefghijklmnopqrstuvwxyz")
_NAME = _NAME_START | frozenset("0123456789._-")


def split_word(text: str) -> tuple[str, str]:
    """The first word of *text*, and what follows the white space after it."""
    end = next((position for position, char in enumerate(text) if char in _BLANKS), len(text))
    return text[:end], text[end:].lstrip(_BLANKS)


def split_words(text: str) -> list[str]:
    for char in _BLANKS:
        text = text.replace(char, " ")
    return [word for word in text.split(" ") if word]


# --- flags ---

_FLAGS = {
    "FROM": ("platform",),
    "RUN": ("mount", "network", "security", "device"),
    "COPY": ("from", "chown", "chmod", "link", "parents", "exclude"),
    "ADD": ("chown", "chmod", "link", "exclude", "checksum", "keep-git-dir", "unpack"),
    "HEALTHCHECK": ("interval", "timeout", "start-period", "start-interval", "retries"),
}
_SWITCHES = ("link", "parents", "keep-git-dir", "unpack")
_REPEATED = ("mount", "exclude", "device")


def read_flags(rest: str, escape: str) -> tuple[dict[str, list[str]], str]:
    """The `--name=value` words at the start of *rest*, and what follows them. `--` ends them."""
    flags: dict[str, list[str]] = {}
    while rest.startswith("--"):
        word, after = _flag_word(rest, escape)
        if word == "--":
            return flags, after
        name, equals, value = word[2:].partition("=")
        flags.setdefault(name, []).append(value if equals else "")
        rest = after
    return flags, rest


def _flag_word(text: str, escape: str) -> tuple[str, str]:
    word: list[str] = []
    quote = ""
    position = 0
    while position < len(text):
        char = text[position]
        if quote:
            if char == quote:
                quote = ""
                position += 1
                continue
        elif char.isspace():
            break
        elif char in "'\"":
            quote = char
            position += 1
            continue
        if char == escape and position + 1 < len(text):
            position += 1
            char = text[position]
        word.append(char)
        position += 1
    return "".join(word), text[position:].lstrip()


def check_flags(found: Instruction) -> None:
    known = _FLAGS.get(found.name, ())
    for name, values in found.flags.items():
        if name not in known:
            raise ValueError(f"unknown flag: --{name}{suggest(name, known)}")
        if len(values) > 1 and name not in _REPEATED:
            raise ValueError(f"duplicate flag specified: --{name}")
        if name in _SWITCHES:
            value = values[0].lower() or "true"
            if value not in ("true", "false"):
                raise ValueError(f"expecting boolean value for flag --{name}, not: {values[0]}")
            values[0] = value
        elif not all(values):
            raise ValueError(f"missing a value on flag: --{name}")


def suggest(name: str, known: Sequence[str]) -> str:
    """What may have been meant, in brackets; empty for what is like nothing that is known."""
    import difflib  # only when something is misspelt

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


# --- the shape of each instruction's arguments ---


def _at_least(found: Instruction, count: int) -> None:
    if len(found.arguments) + len(found.pairs) < count:
        number = "one argument" if count == 1 else "two arguments"
        raise ValueError(f"{found.name} requires at least {number}")


def _exactly_one(found: Instruction) -> None:
    if len(found.arguments) != 1 or not found.arguments[0]:
        raise ValueError(f"{found.name} requires exactly one argument")


def _words(found: Instruction, rest: str, escape: str) -> None:
    found.arguments.extend(split_words(rest))
    _at_least(found, 1)


def _from(found: Instruction, rest: str, escape: str) -> None:
    found.arguments.extend(split_words(rest))
    words = found.arguments
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
        raise ValueError("FROM requires either one or three arguments: FROM <image> [AS <name>]")
    if len(words) == 3:
        words[2] = words[2].lower()
        if words[2][0] not in _NAME_START or not _NAME.issuperset(words[2]):
            raise ValueError(f'invalid name for build stage: "{words[2]}", name can\'t start with a number or contain symbols')


def _text(found: Instruction, rest: str, escape: str) -> None:
    found.arguments.append(rest)
    _exactly_one(found)


def _array(rest: str) -> list[str] | None:
    """The strings of a JSON array, None when *rest* is none."""
    if not rest.startswith("["):
        return None
    try:
        value = jsontext.loads(rest)
    except (ValueError, RecursionError):
        return None
    if type(value) is not list:
        return None
    if not all(type(item) is str for item in value):
        raise ValueError("when using JSON array syntax, arrays must be comprised of strings only")
    return value


def _array_or(found: Instruction, rest: str, otherwise: list[str]) -> None:
    array = _array(rest)
    found.json = array is not None
    found.arguments.extend(otherwise if array is None else array)


def _command(found: Instruction, rest: str, escape: str) -> None:
    _array_or(found, rest, [rest] if rest else [])


def _run(found: Instruction, rest: str, escape: str) -> None:
    _command(found, rest, escape)
    _at_least(found, 1)


def _sources(found: Instruction, rest: str, escape: str) -> None:
    _array_or(found, rest, split_words(rest))
    _at_least(found, 2)


def _volume(found: Instruction, rest: str, escape: str) -> None:
    _array_or(found, rest, split_words(rest))
    _at_least(found, 1)
    if not all(path.strip() for path in found.arguments):
        raise ValueError("VOLUME specified can not be an empty string")


def _shell(found: Instruction, rest: str, escape: str) -> None:
    _array_or(found, rest, [])
    if not found.json:
        raise ValueError("SHELL requires the arguments to be in JSON form")
    _at_least(found, 1)


def _pairs(found: Instruction, rest: str, escape: str) -> None:
    words = _raw_words(rest, escape)
    if words and "=" not in words[0]:
        key, value = split_word(rest)
        if not value:
            raise ValueError(f"{found.name} must have two arguments")
        words = [f"{key}={value}"]
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"Syntax error - can't find = in {jsontext.quote(word)}. Must be of the form: name=value")
        if not name:
            raise ValueError(f"{found.name} names can not be blank")
        found.pairs.append((name, text))
    _at_least(found, 1)


def _arg(found: Instruction, rest: str, escape: str) -> None:
    for word in _raw_words(rest, escape):
        name, equals, text = word.partition("=")
        if not name:
            raise ValueError("ARG names can not be blank")
        found.pairs.append((name, text if equals else None))
    _at_least(found, 1)


def _raw_words(rest: str, escape: str) -> list[str]:
    """Words with their quotes and escapes still in them; an unclosed quote reaches to the end and fails when expanded."""
    words: list[str] = []
    word = quote = ""
    position = 0
    while position < len(rest):
        char = rest[position]
        position += 1
        if char == escape and position < len(rest):
            char += rest[position]
            position += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char.isspace():
            if word:
                words.append(word)
            word = ""
            continue
        word += char
    return [*words, word] if word else words


def _healthcheck(found: Instruction, rest: str, escape: str) -> None:
    kind, rest = split_word(rest)
    kind = kind.upper()
    if kind not in ("CMD", "NONE"):
        raise ValueError(
            f'Unknown type "{kind}" in HEALTHCHECK (try CMD)' if kind else "HEALTHCHECK requires at least one argument"
        )
    if kind == "NONE" and (rest or found.flags):
        raise ValueError("HEALTHCHECK NONE takes no arguments" if rest else "HEALTHCHECK NONE takes no flags")
    _array_or(found, rest, [rest] if rest else [])
    if kind == "CMD" and not found.arguments:
        raise ValueError("Missing command after HEALTHCHECK CMD")
    found.arguments.insert(0, kind)


SHAPES: dict[str, Callable[[Instruction, str, str], None]] = {
    "ADD": _sources,
    "ARG": _arg,
    "CMD": _command,
    "COPY": _sources,
    "ENTRYPOINT": _command,
    "ENV": _pairs,
    "EXPOSE": _words,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _pairs,
    "MAINTAINER": _text,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _text,
    "USER": _text,
    "VOLUME": _volume,
    "WORKDIR": _text,
}
# ONBUILD has no shape: the reader reads its trigger as an instruction of its own, here-documents included.
NAMES = (*SHAPES, "ONBUILD")
