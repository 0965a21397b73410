"""`.env` and `env_file` files, in the syntax of Compose.

    KEY=value           # unquoted: up to ` #` or the end of the line, expanded
    KEY='value'         # single quotes: literal, over several lines
    KEY="value\n"       # double quotes: escapes, then expanded, over several lines
    export KEY: value   # `export` is allowed, `:` as good as `=`
    KEY                 # the value that KEY has outside, if any

Later lines see the values of earlier ones, but what is set outside wins in an expansion.
Source: compose-spec, "Env_file format"; compose-go's dotenv package for what the page leaves open.
"""

from __future__ import annotations

import re

from inception.compose.interpolate import InvalidTemplate, MissingVariable, substitute
from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_BYTES = 1 << 20
_EXPORT = re.compile(r"export[ \t]+")
_SPACES = re.compile(r"[ \t\v\f\r\x85\xa0]*")
_ESCAPE = re.compile(r'\\([abcfnrtv$"\\]|0[0-7]{0,3})')
_ESCAPED = {"a": "\a", "b": "\b", "c": "\\c", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", '"': '"', "\\": "\\"}


def load_dotenv(path: str, outside: Mapping[str, str], warn: Callable[[str], None] = lambda text: None) -> dict[str, str]:
    """The variables of the file at *path*. Raises InvalidArgument naming file and line, OSError when it can't be read."""
    return parse_dotenv(_read(path), outside, path, warn)


def parse_dotenv(
    text: str, outside: Mapping[str, str], name: str, warn: Callable[[str], None] = lambda text: None
) -> dict[str, str]:
    """The variables of *text*; *name* is what errors call it."""
    return _Parser(text, outside, name, warn).variables()


def load_raw(path: str, outside: Mapping[str, str]) -> dict[str, str]:
    """`format: raw`, as `docker run --env-file`: no quotes, no expansion; a line is a variable."""
    found: dict[str, str] = {}
    for line in _read(path).splitlines():
        line = line.lstrip()
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if any(char.isspace() for char in key):
            raise InvalidArgument(f"failed to read {path}: variable '{key}' contains whitespaces")
        if equals:
            found[key] = value
        elif key in outside:
            found[key] = outside[key]
    return found


def _read(path: str) -> str:
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InvalidArgument(f"failed to read {path}: more than the limit of {MAX_BYTES} bytes")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise InvalidArgument(f"failed to read {path}: not UTF-8 text") from None


class _Parser:
    def __init__(self, text: str, outside: Mapping[str, str], name: str, warn: Callable[[str], None]) -> None:
        self.text, self.at = text, 0
        self.outside, self.name, self.warn = outside, name, warn
        self.found: dict[str, str] = {}
        self.known = dict(outside)

    def variables(self) -> dict[str, str]:
        while self.skip():
            key, has_value = self.key()
            if has_value:
                self.found[key] = value = self.value()
                self.known[key] = self.outside.get(key, value)
            elif key in self.outside:
                self.found[key] = self.outside[key]
        return self.found

    def error(self, problem: str) -> InvalidArgument:
        line = self.text.count("\n", 0, self.at) + 1
        return InvalidArgument(f"failed to read {self.name}: line {line}: {problem}")

    def skip(self) -> bool:
        """Goes to the start of the next statement; False at the end."""
        while self.at < len(self.text):
            if self.text[self.at].isspace():
                self.at += 1
            elif self.text[self.at] == "#":
                self.at = self.line_end()
            else:
                return True
        return False

    def line_end(self) -> int:
        end = self.text.find("\n", self.at)
        return end if end >= 0 else len(self.text)

    def key(self) -> tuple[str, bool]:
        if match := _EXPORT.match(self.text, self.at):
            self.at = match.end()
        start, end = self.at, self.line_end()
        for at in range(start, end):
            char = self.text[at]
            if char in "=:":
                self.at = _SPACES.match(self.text, at + 1).end()  # type: ignore[union-attr]
                return self.checked(self.text[start:at].rstrip()), True
            if not (char.isalnum() or char.isspace() or char in "_.-[]"):
                raise self.error(f'unexpected character "{char}" in variable name "{self.text[start:end]}"')
        self.at = end
        return self.checked(self.text[start:end].rstrip()), False

    def checked(self, key: str) -> str:
        if any(char.isspace() for char in key):
            raise self.error(f'key cannot contain a space: "{key}"')
        return key

    def value(self) -> str:
        quote = self.text[self.at : self.at + 1]
        if quote not in ("'", '"') or not quote:
            end = self.line_end()
            line, self.at = self.text[self.at : end], end
            return self.expand(line.partition(" #")[0].rstrip())
        start = self.at + 1
        at = start
        while at < len(self.text) and self.text[at] != quote:
            at += 2 if self.text[at] == "\\" else 1
        if at >= len(self.text):
            raise self.error(f"unterminated quoted value {self.text[self.at : self.line_end()]}")
        raw = self.text[start:at].replace("\\" + quote, quote) if quote == "'" else self.text[start:at]
        value = raw if quote == "'" else self.expand(_ESCAPE.sub(_unescape, raw))
        self.at = at + 1
        return value

    def expand(self, value: str) -> str:
        try:
            return substitute(value, self.known, self.unset)
        except InvalidTemplate as error:
            raise self.error(f"invalid template: {error}") from None
        except MissingVariable as error:
            raise self.error(str(error)) from None

    def unset(self, name: str) -> None:
        self.warn(f'The "{name}" variable is not set. Defaulting to a blank string.')


def _unescape(match: re.Match[str]) -> str:
    code = match.group(1)
    if code == "$":
        return "$$"  # a dollar sign for the expansion that follows
    if code.startswith("0"):
        return chr(int(code, 8) & 0xFF)
    return _ESCAPED[code]
