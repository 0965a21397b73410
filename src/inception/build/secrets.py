"""`--secret`: where a value comes from. It is read when a step wants it and is kept nowhere."""

from __future__ import annotations

import os

from inception.build.config import SecretSource
from inception.errors import InvalidArgument, NotFound

MAX_BYTES = 500 << 10  # BuildKit's limit


def parse_secret(text: str) -> tuple[str, SecretSource]:
    """`id=NAME[,src=FILE|,env=VARIABLE][,type=file|env]`. Raises InvalidArgument with Docker's words."""
    given: dict[str, str] = {}
    for word in text.split(","):
        key, equals, value = word.partition("=")
        key = {"source": "src"}.get(key.lower(), key.lower())
        if not equals:
            raise InvalidArgument(f"invalid field {word!r} must be a key=value pair")
        if key not in ("id", "src", "env", "type"):
            raise InvalidArgument(f"unexpected key {key!r} in {word!r}")
        given[key] = value
    name, kind = given.get("id", ""), given.get("type", "")
    if kind not in ("", "file", "env"):
        raise InvalidArgument(f"unsupported secret type {kind!r}")
    if not name or "/" in name:
        raise InvalidArgument(f"invalid secret {text!r}: expected id=NAME, without a slash")
    variable = given.get("env", "")
    path = given.get("src", "")
    if kind == "env" and not variable:
        variable, path = path or name, ""
    if not path and not variable:
        # Docker's rule: a variable of that name where there is one, else a file.
        return name, SecretSource(env=name) if name in os.environ else SecretSource(path=name)
    return name, SecretSource(path=path, env="" if path else variable)


def read_secret(name: str, source: SecretSource) -> bytes:
    """Raises NotFound, InvalidArgument; no message holds a part of the value."""
    if source.data is not None:
        return _bounded(name, bytes.fromhex(source.data))
    if source.env:
        value = os.environb.get(os.fsencode(source.env))
        if value is None:
            raise NotFound(f"secret {name}: the variable {source.env} is not set")
        return _bounded(name, value)
    try:
        with open(source.path, "rb") as file:
            return _bounded(name, file.read(MAX_BYTES + 1))
    except OSError as error:
        raise NotFound(f"secret {name}: {source.path}: {error.strerror}") from None


def _bounded(name: str, value: bytes) -> bytes:
    if len(value) > MAX_BYTES:
        raise InvalidArgument(f"secret {name}: larger than {MAX_BYTES} bytes")
    return value
