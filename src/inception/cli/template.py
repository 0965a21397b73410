"""Go's text/template, as far as users of `--format` write it.

A template becomes a tree of closures `(scope) -> value`; rendering runs them over plain JSON values. Covered: fields and
field chains, variables, pipelines, parentheses, `if`/`else if`/`else`, `range` with key and value, `with`, `break`,
`continue`, trim marks, comments, all of the comparison functions, and the functions that Docker adds (`json`, `join`,
`split`, `upper`, `lower`, `title`, `pad`, `truncate`, `println`). `define`, `block` and `template` are refused by name.

Values render as Go's fmt does: `true`, `[a b]`, `map[k:v]`, `<no value>` for what is not there.
"""

from __future__ import annotations

import re

from inception.cli.template_values import FUNCTIONS, go_type, quote, render
from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Node = Callable[["Scope"], Any]

_ACTION = re.compile(
    r"\{\{(?P<left>-(?=\s))?(?P<body>(?:/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|`[^`]*`|'(?:\\.|[^'\\])*'|[^\"`'}]|\}(?!\}))*?)"
    r"(?P<right>(?<=\s)-)?\}\}",
    re.DOTALL,
)
_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<string>\"(?:\\.|[^\"\\])*\"|`[^`]*`)|(?P<char>'(?:\\.|[^'\\])')"
    r"|(?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?))"
    r"|(?P<chain>(?:\$\w*)?(?:\.[^\W\d]\w*)+|\$\w*|\.)|(?P<word>[^\W\d]\w*)|(?P<mark>:=|=|\||\(|\)|,)"
)
# Go's maps, as opposed to its structs: a key that is not there is no mistake.
_MAPS = {
    "Labels",
    "Attributes",
    "Ports",
    "ExposedPorts",
    "Volumes",
    "Options",
    "Sysctls",
    "Networks",
    "Containers",
    "PortBindings",
    "Tmpfs",
}


class TemplateError(InvalidArgument):
    """The template can't be parsed, or not be applied to the value; in Go's words."""


class _Leave(Exception):
    """`break` or `continue`, with what the body had written until then."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.output: list[str] = []


class Scope:
    """What names mean at one place: the dot, and the variables, each in a cell that inner scopes share."""

    def __init__(self, dot: Any, variables: dict[str, list[Any]]) -> None:
        self.dot = dot
        self.variables = variables

    def inner(self, dot: Any) -> Scope:
        return Scope(dot, dict(self.variables))


class Token:
    def __init__(self, kind: str, text: str, at: int, glued: bool) -> None:
        self.kind = kind
        self.text = text
        self.at = at
        self.glued = glued


class Template:
    """A parsed template; `render` applies it to a value. *functions* replace or add to the built-in ones."""

    def __init__(self, text: str, functions: dict[str, Callable[..., Any]] | None = None) -> None:
        try:
            self._body = _Parser(text, FUNCTIONS | (functions or {})).parse()
        except RecursionError:
            raise TemplateError("template parsing error: template: :1: exceeded maximum nesting") from None

    def render(self, value: Any) -> str:
        try:
            return "".join(self._body(Scope(value, {"$": [value]})))
        except _Leave as leave:
            raise TemplateError(f"template parsing error: template: :1: {{{{{leave.word}}}}} outside {{{{range}}}}") from None


class _Parser:
    def __init__(self, text: str, functions: dict[str, Callable[..., Any]]) -> None:
        self.text = text
        self.functions = functions
        self.pieces = list(self._split(text))
        self.next = 0

    def fail(self, at: int, message: str) -> TemplateError:
        line = self.text.count("\n", 0, at) + 1
        return TemplateError(f"template parsing error: template: :{line}: {message}")

    def _split(self, text: str) -> Iterator[str | tuple[int, list[Token]]]:
        end = 0
        trim = False
        while True:
            start = text.find("{{", end)
            match = _ACTION.match(text, start) if start >= 0 else None
            plain = text[end : start if start >= 0 else len(text)]
            if trim:
                plain = plain.lstrip()
            if start < 0:
                yield plain
                return
            if match is None:
                raise self.fail(start, "unclosed action")
            yield plain.rstrip() if match["left"] else plain
            trim, end = bool(match["right"]), match.end()
            if not match["body"].strip().startswith("/*"):
                yield match.start("body"), self._tokens(match.start("body"), match.end("body"))

    def _tokens(self, start: int, end: int) -> list[Token]:
        tokens: list[Token] = []
        at, glued = start, False
        while at < end:
            match = _TOKEN.match(self.text, at, end)
            if match is None or match.lastgroup is None:
                raise self.fail(at, f"unexpected {quote(self.text[at])} in command")
            if match.lastgroup == "space":
                glued = False
            else:
                tokens.append(Token(match.lastgroup, match.group(), at, glued))
                glued = True
            at = match.end()
        return tokens

    # -- lists of text and actions

    def parse(self) -> Node:
        body, stop = self._list(())
        if stop is not None:
            raise self.fail(stop[0].at, f"unexpected {{{{{stop[0].text}}}}}")
        return body

    def _list(self, stops: tuple[str, ...]) -> tuple[Node, list[Token] | None]:
        """Nodes until an action whose first word is in *stops* (or any `end`/`else`, which the caller judges)."""
        nodes: list[Node] = []
        while self.next < len(self.pieces):
            piece = self.pieces[self.next]
            self.next += 1
            if isinstance(piece, str):
                nodes.append(_constant([piece]))
                continue
            at, tokens = piece
            if not tokens:
                raise self.fail(at, "missing value for command")
            if tokens[0].text in ("end", "else"):
                return _sequence(nodes), tokens
            nodes.append(self._action(tokens))
        if stops:
            raise self.fail(len(self.text), "unexpected EOF")
        return _sequence(nodes), None

    def _action(self, tokens: list[Token]) -> Node:
        word = tokens[0].text if tokens[0].kind == "word" else ""
        if word in ("if", "with"):
            return self._branch(word, tokens[1:], tokens[0].at)
        if word == "range":
            return self._range(tokens[1:], tokens[0].at)
        if word in ("break", "continue"):
            return _leaver(word)
        if word in ("define", "block", "template"):
            raise self.fail(tokens[0].at, f"{{{{{word}}}}} is not supported in --format")
        names, declares, rest = self._declaration(tokens)
        value = self._pipeline(rest, tokens[0].at)
        if names:
            return _assign(names[0], declares, value)
        return lambda scope: [render(value(scope))]

    def _declaration(self, tokens: list[Token]) -> tuple[list[str], bool, list[Token]]:
        """`$x :=`, `$x =` or `$i, $x :=` in front of a pipeline."""
        for width in (1, 3):
            mark = tokens[width] if len(tokens) > width else None
            if mark is not None and mark.text in (":=", "=") and tokens[0].text.startswith("$"):
                return [t.text for t in tokens[:width:2]], mark.text == ":=", tokens[width + 1 :]
        return [], False, tokens

    def _branch(self, word: str, tokens: list[Token], at: int) -> Node:
        names, _, rest = self._declaration(tokens)
        condition = self._pipeline(rest, at)
        body, otherwise = self._arms()

        def run(scope: Scope) -> list[str]:
            value = condition(scope)
            inner = scope.inner(value if word == "with" else scope.dot)
            if names:
                inner.variables[names[0]] = [value]
            if value:
                return body(inner)  # type: ignore[no-any-return]
            return otherwise(scope)  # type: ignore[no-any-return]

        return run

    def _arms(self) -> tuple[Node, Node]:
        body, stop = self._list(("end",))
        if stop is None or stop[0].text == "end":
            return body, _sequence([])
        if len(stop) > 1 and stop[1].text in ("if", "with"):  # `else if` shares the `end` of its parent
            return body, self._branch(stop[1].text, stop[2:], stop[1].at)
        otherwise, stop = self._list(("end",))
        if stop is not None and stop[0].text == "else":
            raise self.fail(stop[0].at, "unexpected {{else}}")
        return body, otherwise

    def _range(self, tokens: list[Token], at: int) -> Node:
        names, _, rest = self._declaration(tokens)
        source = self._pipeline(rest, at)
        body, otherwise = self._arms()

        def run(scope: Scope) -> list[str]:
            pairs = _pairs(source(scope), self.text)
            output: list[str] = []
            for key, value in pairs:
                inner = scope.inner(value)
                for name, item in zip(names, [value] if len(names) == 1 else [key, value], strict=False):
                    inner.variables[name] = [item]
                try:
                    output.extend(body(inner))
                except _Leave as leave:
                    output.extend(leave.output)
                    if leave.word == "break":
                        break
            return output if pairs else otherwise(scope)

        return run

    # -- pipelines

    def _pipeline(self, tokens: list[Token], at: int) -> Node:
        if not tokens:
            raise self.fail(at, "missing value for command")
        commands: list[list[Token]] = [[]]
        depth = 0
        for token in tokens:
            depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == "mark" else 0
            if depth < 0:
                raise self.fail(token.at, "unexpected right paren")
            if token.kind == "mark" and token.text == "|" and depth == 0:
                commands.append([])
            else:
                commands[-1].append(token)
        if depth:
            raise self.fail(tokens[-1].at, "unclosed left paren")
        node: Node | None = None
        for command in commands:
            node = self._command(command, at, node)
        assert node is not None
        return node

    def _command(self, tokens: list[Token], at: int, piped: Node | None) -> Node:
        if not tokens:
            raise self.fail(at, "missing value for command")
        first = tokens[0]
        operands: list[Node] = []
        position = 1 if first.kind == "word" and first.text not in ("true", "false", "nil") else 0
        while position < len(tokens):
            operand, position = self._operand(tokens, position)
            operands.append(operand)
        if piped is not None:
            operands.append(piped)
        if first.kind == "word" and first.text not in ("true", "false", "nil"):
            return self._call(first, operands)
        head, *arguments = operands
        if not arguments:
            return _without_arguments(head)
        return self._method(first, head, arguments)

    def _call(self, name: Token, operands: list[Node]) -> Node:
        if name.text == "and":
            return _shortcut(operands, stop_on=False)
        if name.text == "or":
            return _shortcut(operands, stop_on=True)
        function = self.functions.get(name.text)
        if function is None:
            raise self.fail(name.at, f'function "{name.text}" not defined')

        def run(scope: Scope) -> Any:
            values = [_without_arguments(operand)(scope) for operand in operands]
            try:
                return function(*values)
            except TemplateError:
                raise
            except (TypeError, ValueError, LookupError, AttributeError) as error:
                raise self.executing(name, f"error calling {name.text}: {error}") from error

        return run

    def _method(self, name: Token, head: Node, arguments: list[Node]) -> Node:
        def run(scope: Scope) -> Any:
            function = head(scope)
            if not callable(function):
                field = name.text.rpartition(".")[2] or name.text
                raise self.executing(name, f"{field} is not a method but has arguments")
            return function(*(argument(scope) for argument in arguments))

        return run

    def executing(self, token: Token, message: str) -> TemplateError:
        line = self.text.count("\n", 0, token.at) + 1
        column = token.at - (self.text.rfind("\n", 0, token.at) + 1)
        return TemplateError(f'template: :{line}:{column}: executing "" at <{token.text}>: {message}')

    def _operand(self, tokens: list[Token], position: int) -> tuple[Node, int]:
        token = tokens[position]
        if token.text == "(" and token.kind == "mark":
            depth, end = 0, position
            for end in range(position, len(tokens)):
                depth += {"(": 1, ")": -1}.get(tokens[end].text, 0) if tokens[end].kind == "mark" else 0
                if depth == 0:
                    break
            node = self._pipeline(tokens[position + 1 : end], token.at)
            if end + 1 < len(tokens) and tokens[end + 1].kind == "chain" and tokens[end + 1].glued:
                return self._fields(node, tokens[end + 1]), end + 2
            return node, end + 1
        if token.kind == "chain":
            return self._fields(_root(token.text), token), position + 1
        if token.kind == "word" and token.text in self.functions:
            return self._call(token, []), position + 1
        return _constant(self._literal(token)), position + 1

    def _literal(self, token: Token) -> Any:
        text = token.text
        if token.kind == "string":
            return text[1:-1] if text[0] == "`" else _unquote(text)
        if token.kind == "char":
            return ord(_unquote('"' + text[1:-1].replace('"', '\\"') + '"'))
        if token.kind == "number":
            return float(text) if any(c in text for c in ".eE") and not text.lower().startswith("0x") else int(text, 0)
        if text in ("true", "false", "nil"):
            return {"true": True, "false": False, "nil": None}[text]
        if token.kind == "word":
            raise self.fail(token.at, f'function "{text}" not defined')
        raise self.fail(token.at, f"unexpected {quote(text)} in operand")

    def _fields(self, base: Node, token: Token) -> Node:
        names = token.text.split(".")[1:] if token.text != "." else []
        if not names:
            return base

        def run(scope: Scope) -> Any:
            value = _without_arguments(base)(scope)
            parent = ""
            for name in names:
                value = self._field(_call_plain(value), name, parent, token)
                parent = name
            return value

        return run

    def _field(self, value: Any, name: str, parent: str, token: Token) -> Any:
        if isinstance(value, dict):
            if name in value:
                return value[name]
            if parent in _MAPS:
                return None  # where `index` has the zero value, Go prints that there is none
            raise self.executing(token, f'map has no entry for key "{name}"')
        if value is None:
            raise self.executing(token, f"nil pointer evaluating interface {{}}.{name}")
        raise self.executing(token, f"can't evaluate field {name} in type {go_type(value)}")


# -- nodes


def _sequence(nodes: list[Node]) -> Node:
    def run(scope: Scope) -> list[str]:
        output: list[str] = []
        for node in nodes:
            try:
                output.extend(node(scope))
            except _Leave as leave:
                leave.output[:0] = output
                raise
        return output

    return run


def _leaver(word: str) -> Node:
    def run(_scope: Scope) -> Any:
        raise _Leave(word)

    return run


def _assign(name: str, declares: bool, value: Node) -> Node:
    def run(scope: Scope) -> list[str]:
        if declares:
            scope.variables[name] = [value(scope)]
        else:
            _cell(scope, name)[0] = value(scope)
        return []

    return run


def _root(text: str) -> Node:
    if text.startswith("$"):
        name = text.partition(".")[0]

        return lambda scope: _cell(scope, name)[0]
    return lambda scope: scope.dot


def _cell(scope: Scope, name: str) -> list[Any]:
    if name not in scope.variables:
        raise TemplateError(f'template parsing error: template: :1: undefined variable "{name}"')
    return scope.variables[name]


def _constant(value: Any) -> Node:
    return lambda _scope: value


def _call_plain(value: Any) -> Any:
    return value() if callable(value) else value


def _without_arguments(node: Node) -> Node:
    return lambda scope: _call_plain(node(scope))


def _shortcut(operands: list[Node], *, stop_on: bool) -> Node:
    def run(scope: Scope) -> Any:
        value: Any = None
        for operand in operands:
            value = operand(scope)
            if bool(value) is stop_on:
                break
        return value

    return run


def _pairs(value: Any, text: str) -> list[tuple[Any, Any]]:
    value = _call_plain(value)
    if value is None:
        return []
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, list):
        return list(enumerate(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return [(i, i) for i in range(value)]
    raise TemplateError(f'template: :1: executing "" at <{text}>: range can\'t iterate over {render(value)}')


def _unquote(text: str) -> str:
    from json import loads

    try:
        return str(loads(text.replace("\\'", "'").replace("\\a", "\\u0007").replace("\\v", "\\u000b")))
    except ValueError:
        raise TemplateError(f"template parsing error: template: :1: invalid syntax: {text}") from None
