"""JSON text without the `json` package.

`json` costs 9 to 12 ms to import here, nearly all of it `re`, which it needs for error places and number patterns only;
its C parts, `_json`, cost 0.3 ms. A monitor holds 1 MB less this way. An error still imports `json`, to name line and column.
"""

from __future__ import annotations

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


class _Options:
    """What `_json.make_scanner` reads from its decoder."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}


_scan = _json.make_scanner(_Options)  # type: ignore[arg-type]
quote = _json.encode_basestring_ascii


def loads(text: str | bytes) -> Any:
    """The value in *text*. Raises ValueError (json.JSONDecodeError) naming line and column."""
    if isinstance(text, bytes):
        text = text.decode()
    text = text.strip(" \t\r\n")
    try:
        value, end = _scan(text, 0)
    except StopIteration as stop:
        _fail("Expecting value", text, stop.value)
    except SystemError:
        # The scanner raises json's error only where json is loaded already, and NULL without an error elsewhere (CPython 3.11,
        # _json.c raise_errmsg).
        import json

        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if end != len(text):
        _fail("Extra data", text, end)
    return value


def dumps(value: Any) -> str:
    """*value* as JSON in one line, ASCII only."""
    # The order is that of json.encoder.c_make_encoder: markers, default, encoder, indent, separators, sort, skip, NaN.
    encode = _json.make_encoder(None, _refuse, quote, None, ": ", ", ", False, False, False)
    return "".join(encode(value, 0))


def pretty(value: Any, indent: str = "  ", margin: str = "") -> str:
    """JSON for people."""
    inner = margin + indent
    if isinstance(value, dict) and value:
        rows = [f"{inner}{dumps(str(key))}: {pretty(item, indent, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{margin}}}"
    if isinstance(value, list) and value:
        rows = [inner + pretty(item, indent, inner) for item in value]
        return "[\n" + ",\n".join(rows) + f"\n{margin}]"
    return dumps(value)


def compact(value: Any) -> str:
    """The same without spaces, as Go's programs write it, for those who compare text."""
    return "".join(_json.make_encoder(None, _refuse, quote, None, ":", ",", False, False, False)(value, 0))


def _refuse(value: object) -> NoReturn:
    raise TypeError(f"{type(value).__name__} is not JSON")


def _fail(cause: str, text: str, position: int) -> NoReturn:
    import json  # only now: `re` is worth its price when there is a place to name

    raise json.JSONDecodeError(cause, text, position)
