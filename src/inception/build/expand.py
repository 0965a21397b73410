"""Variables in a Dockerfile: `$name`, `${name}` and the operators of the reference, quotes and escapes.

The rules are the shell's, reduced: single quotes keep everything, in double quotes `$` works and the escape character
protects only `"`, `$` and itself, elsewhere it protects any character. What an unquoted variable holds is split at white
space where an instruction takes several words (EXPOSE), never where it takes one.

Source: Dockerfile reference, "Environment replacement"; POSIX 2.6.2 for the operators.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# `${a:-${b:-...}}` nests by recursion; nobody writes more than a few levels.
_MAX_DEPTH = 50
# One expansion may grow to this many characters: `${a//x/$b}` in a chain of ENV lines doubles quickly.
_MAX_LENGTH = 1 << 20


class ExpansionError(ValueError):
    """A word that can't be expanded: an unclosed quote or brace, an unknown operator, an unset `${name:?}`."""


def expand(word: str, env: Mapping[str, str], escape: str = "\\") -> str:
    """*word* with variables replaced and quotes removed; white space stays.

    >>> expand("${user:-nobody}@'$host'", {"user": ""})
    'nobody@$host'
    """
    return _Scanner(word, env, escape).read()[0]


def expand_words(text: str, env: Mapping[str, str], escape: str = "\\") -> list[str]:
    """The words of *text* after expansion.

    >>> expand_words("$ports 'a b'", {"ports": "80 443"})
    ['80', '443', 'a b']
    """
    return _Scanner(text, env, escape).read()[1]


def split_raw(text: str, escape: str = "\\") -> list[str]:
    """The words of *text* as they are written: quotes group, and stay; variables stay.

    >>> split_raw("cat <<'E O F' x")
    ['cat', "<<'E O F'", 'x']
    """
    return _Scanner(text, {}, escape, raw=True).read()[1]


def expand_heredoc(text: str, env: Mapping[str, str]) -> str:
    """A here-document with an unquoted name: variables are replaced, quotes mean nothing, a backslash protects only `$`,
    a backtick, itself and the end of a line. Source: POSIX 2.7.4.
    """
    result: list[str] = []
    scanner = _Scanner(text, env, "\\")
    while char := scanner.peek():
        if char == "$":
            result.append(scanner.dollar())
            continue
        scanner.position += 1
        if char == "\\" and scanner.peek() in ("$", "`", "\\", "\n"):
            char = scanner.next().strip("\n")
        result.append(char)
    return "".join(result)


class _Words:
    """Collects words: `split` starts a new one at white space, `keep` never does."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._word: list[str] | None = None

    def split(self, text: str) -> None:
        for char in text:
            if char.isspace():
                self.close()
            else:
                self.keep(char)

    def keep(self, text: str) -> None:
        if self._word is None:
            self._word = []
        self._word.append(text)

    def close(self) -> None:
        if self._word is not None:
            self.found.append("".join(self._word))
            self._word = None


class _Scanner:
    def __init__(self, text: str, env: Mapping[str, str], escape: str, raw: bool = False) -> None:
        self.text = text
        self.env = env
        self.escape = escape
        self.raw = raw
        self.position = 0
        self.depth = 0

    def peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def next(self) -> str:
        char = self.peek()
        self.position += 1
        return char

    def read(self, stop: str = "", raw_escapes: bool = False) -> tuple[str, list[str]]:
        """The text up to *stop* (the end when empty), and the words it makes."""
        result: list[str] = []
        words = _Words()
        raw_escapes = raw_escapes or self.raw
        while char := self.peek():
            if char == stop:
                self.position += 1
                break
            if char in "'\"":
                piece = self._quoted(char, raw_escapes)
                words.keep(piece)
            elif char == "$":
                piece = self.dollar()
                words.split(piece)
            elif char == self.escape:
                self.position += 1
                escaped = self.next()  # nothing at the very end: the escape character goes
                piece = char + escaped if raw_escapes else escaped
                if piece:
                    words.keep(piece)
            else:
                self.position += 1
                piece = char
                words.split(piece)
            result.append(piece)
        else:
            if stop:
                raise ExpansionError(f"unexpected end of statement while looking for matching {stop}")
        words.close()
        text = "".join(result)
        if len(text) > _MAX_LENGTH:
            raise ExpansionError(f"expanded to more than {_MAX_LENGTH} characters")
        return text, words.found

    def _quoted(self, quote: str, raw_escapes: bool) -> str:
        self.position += 1
        result = [quote] if self.raw else []
        while char := self.peek():
            if char == quote:
                self.position += 1
                if self.raw:
                    result.append(quote)
                return "".join(result)
            if char == "$" and quote == '"':
                result.append(self.dollar())
                continue
            self.position += 1
            if char == self.escape and quote == '"':
                if raw_escapes:
                    result.append(char)
                    char = ""
                if not self.peek():
                    break
                if self.peek() in ('"', "$", self.escape):
                    char = self.next()
            result.append(char)
        name = "single" if quote == "'" else "double"
        raise ExpansionError(f"unexpected end of statement while looking for matching {name}-quote")

    def dollar(self) -> str:
        start = self.position
        self.position += 1
        if self.peek() != "{":
            name = self._name()
            if not name or self.raw:
                return self.text[start : self.position]
            return self.env.get(name, "")
        self.position += 1
        if not self.peek():
            raise ExpansionError("syntax error: missing '}'")
        name = self._name()
        if not name:
            raise ExpansionError("syntax error: bad substitution")
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise ExpansionError("syntax error: substitutions nested too deeply")
        value = self._braced(name)
        self.depth -= 1
        return self.text[start : self.position] if self.raw else value

    def _name(self) -> str:
        char = self.peek()
        if not char:
            return ""
        start = self.position
        if char in _NAME_CHARS:
            allowed = _DIGITS if char in _DIGITS else _NAME_CHARS
            while (char := self.peek()) and char in allowed:
                self.position += 1
        elif char in "@*#?-$!":
            self.position += 1
        return self.text[start : self.position]

    def _braced(self, name: str) -> str:
        value = self.env.get(name)
        operator = self.next()
        if operator == "}":
            return value or ""
        if not operator:
            raise ExpansionError("syntax error: missing '}'")
        if operator in ":+-?":
            present = value is not None
            if operator == ":":
                present = bool(value)
                operator = self.next()
            if operator not in ("+", "-", "?"):
                raise ExpansionError(f"unsupported modifier ({operator}) in substitution")
            word = self.read("}")[0]
            if operator == "+":
                return word if present else ""
            if present or self.raw:
                return value or ""
            if operator == "?":
                raise ExpansionError(f"{name}: {word or 'is not allowed to be unset'}")
            return word
        if operator in "#%":
            longest = self.peek() == operator
            if longest:
                self.position += 1
            return _trim(value or "", self.read("}", raw_escapes=True)[0], operator, longest)
        if operator == "/":
            everywhere = self.peek() == "/"
            if everywhere:
                self.position += 1
            pattern = self.read("/", raw_escapes=True)[0]
            replacement = self.read("}", raw_escapes=True)[0]
            import re

            return re.sub(_shell_pattern(pattern), lambda _: replacement, value or "", count=0 if everywhere else 1)
        raise ExpansionError(f"unsupported modifier ({operator}) in substitution")


_DIGITS = frozenset("0123456789")
_NAME_CHARS = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")


def _trim(value: str, pattern: str, side: str, longest: bool) -> str:
    """*value* without the shortest or longest match of *pattern* at its start (`#`) or end (`%`)."""
    import re

    expression = re.compile(_shell_pattern(pattern), re.DOTALL)
    lengths = range(len(value), -1, -1) if longest else range(len(value) + 1)
    for length in lengths:
        part = value[:length] if side == "#" else value[len(value) - length :]
        if expression.fullmatch(part):
            return value[length:] if side == "#" else value[: len(value) - length]
    return value


_PATTERN_ESCAPES = "*?\\}/"  # the last two mean something to what is around the pattern


def _shell_pattern(pattern: str) -> str:
    """A regular expression for a pattern of `*`, `?` and backslash escapes."""
    from re import escape

    result: list[str] = []
    chars = iter(pattern)
    for char in chars:
        if char == "*":
            if result[-1:] != [".*"]:  # `***` means `*`, and stacked `.*` would backtrack for ever
                result.append(".*")
        elif char == "?":
            result.append(".")
        elif char == "\\":
            escaped = next(chars, "")
            if not escaped or escaped not in _PATTERN_ESCAPES:
                raise ExpansionError(f"invalid escape '\\{escaped}' in pattern {pattern!r}")
            result.append(escape(escaped))
        else:
            result.append(escape(char))
    return "".join(result)
