"""`.dockerignore`: which files of a folder are not part of the build context.

One pattern a line, matched against the path relative to the context with `/` between its parts; the last line that matches
decides, `!` turns it round. A pattern that matches a folder matches what is in it. `**` is any number of folders.

Source: Docker's build context page, ".dockerignore files"; Go's filepath.Match for `*`, `?`, `[a-z]`, `\\x`.
"""

from __future__ import annotations

from inception.errors import InvalidArgument

# A context has one ignore file, written by hand.
MAX_BYTES = 1 << 20


class Pattern:
    """One line: `text` cleaned as Docker does, `negated` when it began with `!`."""

    def __init__(self, text: str, negated: bool) -> None:
        import re  # only where there are patterns

        self.text = text
        self.negated = negated
        self._expression = re.compile(pattern_expression(text), re.DOTALL)
        self._literal = text.partition("*")[0].partition("?")[0].partition("[")[0].partition("\\")[0]

    def matches(self, path: str) -> bool:
        return self._expression.fullmatch(path) is not None

    def may_match_below(self, folder: str) -> bool:
        """Whether something inside *folder* could match: false only when the fixed start of the pattern leads elsewhere."""
        below = folder + "/"
        return self._literal.startswith(below) or below.startswith(self._literal)


class IgnoreRules:
    """The lines of one file in order. `decide` is called on the way down, with what was found for the parent folder."""

    def __init__(self, patterns: list[Pattern]) -> None:
        self.patterns = patterns
        self._negations = [pattern for pattern in patterns if pattern.negated]

    def decide(self, path: str, parent: tuple[bool, ...] = ()) -> tuple[bool, tuple[bool, ...]]:
        """Whether *path* is ignored, and which lines matched (to be handed down to what *path* contains)."""
        ignored = False
        matched = []
        for index, pattern in enumerate(self.patterns):
            hit = bool(parent and parent[index]) or pattern.matches(path)
            if hit:
                ignored = not pattern.negated
            matched.append(hit)
        return ignored, tuple(matched)

    def may_include_below(self, folder: str) -> bool:
        """Whether a `!` line could bring something inside the ignored *folder* back."""
        return any(pattern.may_match_below(folder) for pattern in self._negations)

    def ignored(self, path: str) -> bool:
        """The decision for one path alone, walking down its parents."""
        matched: tuple[bool, ...] = ()
        decision = False
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            decision, matched = self.decide("/".join(parts[:end]), matched)
        return decision


def parse_ignore(data: bytes, name: str = ".dockerignore") -> IgnoreRules:
    """Raises InvalidArgument naming file and line for a pattern that can't be read."""
    import re

    if len(data) > MAX_BYTES:
        raise InvalidArgument(f"{name}: larger than {MAX_BYTES} bytes")
    patterns = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").splitlines(), 1):
        if line.startswith("#"):
            continue
        text = line.strip()
        if not text:
            continue
        negated = text.startswith("!")
        text = clean(text.removeprefix("!").strip())
        if not text:
            raise InvalidArgument(f'{name}:{number}: illegal exclusion pattern: "!"')
        if text == ".":
            continue  # for historical reasons it means nothing
        try:
            patterns.append(Pattern(text, negated))
        except (ValueError, re.error):
            raise InvalidArgument(f"{name}:{number}: syntax error in pattern: {line.strip()!r}") from None
    return IgnoreRules(patterns)


def clean(path: str) -> str:
    """*path* without a leading slash, `.` and `..` (which stop at the root): what a pattern or a source means in a context.

    >>> clean("/../a/./b//c/")
    'a/b/c'
    """
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts) or ("." if path else "")


def pattern_expression(pattern: str) -> str:
    """A regular expression for Go's filepath.Match with `**`. Raises ValueError when it can't be read."""
    import re

    result: list[str] = []
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*":
            if pattern[position : position + 1] != "*":
                result.append("[^/]*")
                continue
            while pattern[position : position + 1] == "*":
                position += 1
            if pattern[position : position + 1] == "/":
                position += 1
            result.append("(?:.*/)?" if position < len(pattern) else ".*")
        elif char == "?":
            result.append("[^/]")
        elif char == "[":
            end, expression = _char_class(pattern, position)
            result.append(expression)
            position = end
        elif char == "\\":
            if position >= len(pattern):
                raise ValueError("a backslash at the end")
            result.append(re.escape(pattern[position]))
            position += 1
        else:
            result.append(re.escape(char))
    return "".join(result)


def _char_class(pattern: str, position: int) -> tuple[int, str]:
    """Reads `^a-z]` from *position*; returns where it ends and the expression."""
    import re

    negated = pattern[position : position + 1] == "^"
    position += negated
    items: list[str] = []
    while True:
        char = pattern[position : position + 1]
        if not char:
            raise ValueError("an unclosed [")
        if char == "]" and items:
            return position + 1, f"(?!/)[{'^' if negated else ''}{''.join(items)}]"
        if char == "\\":
            position += 1
            char = pattern[position : position + 1]
            if not char:
                raise ValueError("an unclosed [")
        elif char in "-]":
            raise ValueError(f"an unexpected {char}")
        position += 1
        low, high = char, char
        if pattern[position : position + 1] == "-":
            high = pattern[position + 1 : position + 2]
            position += 2
            if high == "\\":
                high = pattern[position : position + 1]
                position += 1
            if not high or high == "]":
                raise ValueError("an unclosed range")
        items.append(f"{re.escape(low)}-{re.escape(high)}" if high != low else re.escape(low))
